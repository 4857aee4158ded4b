"""Images and labels from files of all usual forms, MNIST, scikit-learn's digits, and splits."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.datasets._folders import load_image_folder
    from cnnclf.datasets._idx import load_idx
    from cnnclf.datasets._load import describe, load_dataset
    from cnnclf.datasets._mnist import load_digits, load_mnist
    from cnnclf.datasets._read_images import ReadImages, load_paths
    from cnnclf.datasets._splits import load

__all__ = [
    "ReadImages",
    "describe",
    "load",
    "load_dataset",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_mnist",
    "load_paths",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "_folders": ["load_image_folder"],
        "_idx": ["load_idx"],
        "_load": ["describe", "load_dataset"],
        "_mnist": ["load_digits", "load_mnist"],
        "_read_images": ["ReadImages", "load_paths"],
        "_splits": ["load"],
    },
)
