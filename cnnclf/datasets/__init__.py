"""Images and labels from MNIST, scikit-learn's digits, IDX files and folders, and their splits."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.datasets._mnist import load_digits, load_idx, load_image_folder, load_mnist
    from cnnclf.datasets._splits import load

__all__ = [
    "load",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_mnist",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "load": "_splits",
        "load_digits": "_mnist",
        "load_idx": "_mnist",
        "load_image_folder": "_mnist",
        "load_mnist": "_mnist",
    },
)
