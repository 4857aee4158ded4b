"""Cross-validated comparison of architectures."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.model_selection._compare import ArchitectureResult, Comparison, Fold, compare_architectures

__all__ = [
    "ArchitectureResult",
    "Comparison",
    "Fold",
    "compare_architectures",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ArchitectureResult": "_compare",
        "Comparison": "_compare",
        "Fold": "_compare",
        "compare_architectures": "_compare",
    },
)
