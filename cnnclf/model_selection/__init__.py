"""`compare_architectures`, its records, and the store of finished folds."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.model_selection._compare import compare_architectures
    from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold

__all__ = ["ArchitectureResult", "Comparison", "Fold", "compare_architectures"]

__getattr__, __dir__ = attach(
    __name__, {"_compare": ["compare_architectures"], "_comparison": ["ArchitectureResult", "Comparison", "Fold"]}
)
