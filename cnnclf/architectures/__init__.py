"""Named architectures, the modules that they are built from, and layer summaries."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.architectures._table import (
        Architecture,
        LayerSummary,
        Residual,
        Standardise,
        count_multiply_adds,
        count_parameters,
        find_architecture,
        list_architectures,
        summarize,
    )

__all__ = [
    "Architecture",
    "LayerSummary",
    "Residual",
    "Standardise",
    "count_multiply_adds",
    "count_parameters",
    "find_architecture",
    "list_architectures",
    "summarize",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Architecture": "_table",
        "LayerSummary": "_table",
        "Residual": "_table",
        "Standardise": "_table",
        "count_multiply_adds": "_table",
        "count_parameters": "_table",
        "find_architecture": "_table",
        "list_architectures": "_table",
        "summarize": "_table",
    },
)
