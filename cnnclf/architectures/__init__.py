"""The table of named architectures, what builds it, its modules, and layer summaries."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.architectures._modules import Residual, Standardise
    from cnnclf.architectures._summary import LayerSummary, count_multiply_adds, count_parameters, summarize
    from cnnclf.architectures._table import Architecture, find_architecture, list_architectures

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
        "_modules": ["Residual", "Standardise"],
        "_summary": ["LayerSummary", "count_multiply_adds", "count_parameters", "summarize"],
        "_table": ["Architecture", "find_architecture", "list_architectures"],
    },
)
