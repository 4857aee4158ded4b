"""ONNX files: the classifier that reads them, export, int8 quantisation, and the skl2onnx converter."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.onnx._classifier import ONNXClassifier, limit_memory
    from cnnclf.onnx._converter import register, to_onnx

__all__ = [
    "ONNXClassifier",
    "limit_memory",
    "register",
    "to_onnx",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ONNXClassifier": "_classifier",
        "limit_memory": "_classifier",
        "register": "_converter",
        "to_onnx": "_converter",
    },
)
