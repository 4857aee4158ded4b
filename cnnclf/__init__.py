"""A convolutional classifier that is a scikit-learn estimator.

Every public name is importable from here and loaded on first use (PEP 562), so that
``from cnnclf import load_mnist`` costs NumPy and ``from cnnclf import CNNClassifier`` costs torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnclf.architectures import list_architectures
    from cnnclf.classifier import CNNClassifier
    from cnnclf.comparison import compare_architectures
    from cnnclf.datasets import load_digits, load_idx, load_image_folder, load_mnist
    from cnnclf.evaluation import Evaluation
    from cnnclf.onnx_classifier import ONNXClassifier
    from cnnclf.recipes import RECIPES
    from cnnclf.test_time import TestTimeAugmentation

__version__ = "0.1.0"

# From 1.29 on, ONNX Runtime reports to its makers when it is loaded, and keeps a device's number on disk for it; set
# before, this turns it off, and a value of the user's own stands: https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "RECIPES",
    "CNNClassifier",
    "Evaluation",
    "ONNXClassifier",
    "TestTimeAugmentation",
    "compare_architectures",
    "list_architectures",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_mnist",
]

_MODULE_OF = {
    "RECIPES": "recipes",
    "CNNClassifier": "classifier",
    "Evaluation": "evaluation",
    "ONNXClassifier": "onnx_classifier",
    "TestTimeAugmentation": "test_time",
    "compare_architectures": "comparison",
    "list_architectures": "architectures",
    "load_digits": "datasets",
    "load_idx": "datasets",
    "load_image_folder": "datasets",
    "load_mnist": "datasets",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"cnnclf.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'cnnclf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
