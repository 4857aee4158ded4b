"""A convolutional classifier that is a scikit-learn estimator.

Every public name is importable from here and loaded on first use (PEP 562), so that
``from cnnclf import load_mnist`` costs NumPy and ``from cnnclf import CNNClassifier`` costs torch.
"""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.architectures._table import list_architectures
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.classifier._recipes import RECIPES
    from cnnclf.classifier._test_time import TestTimeAugmentation
    from cnnclf.datasets._folders import load_image_folder
    from cnnclf.datasets._idx import load_idx
    from cnnclf.datasets._load import load_dataset
    from cnnclf.datasets._mnist import load_digits, load_mnist
    from cnnclf.datasets._read_images import ReadImages
    from cnnclf.evaluation._evaluation import Evaluation
    from cnnclf.model_selection._compare import compare_architectures
    from cnnclf.onnx._classifier import ONNXClassifier

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "CNNClassifier",
    "Evaluation",
    "ONNXClassifier",
    "ReadImages",
    "TestTimeAugmentation",
    "compare_architectures",
    "list_architectures",
    "load_dataset",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_mnist",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "architectures._table": ["list_architectures"],
        "classifier._classifier": ["CNNClassifier"],
        "classifier._recipes": ["RECIPES"],
        "classifier._test_time": ["TestTimeAugmentation"],
        "datasets._folders": ["load_image_folder"],
        "datasets._idx": ["load_idx"],
        "datasets._load": ["load_dataset"],
        "datasets._mnist": ["load_digits", "load_mnist"],
        "datasets._read_images": ["ReadImages"],
        "evaluation._evaluation": ["Evaluation"],
        "model_selection._compare": ["compare_architectures"],
        "onnx._classifier": ["ONNXClassifier"],
    },
)
