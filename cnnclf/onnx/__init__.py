"""`ONNXClassifier`, its file format, export, graph rewriting, int8, and the converter for skl2onnx."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.onnx._classifier import ONNXClassifier
    from cnnclf.onnx._converter import register, to_onnx
    from cnnclf.onnx._runtime import limit_memory

__all__ = ["ONNXClassifier", "limit_memory", "register", "to_onnx"]

__getattr__, __dir__ = attach(
    __name__, {"_classifier": ["ONNXClassifier"], "_converter": ["register", "to_onnx"], "_runtime": ["limit_memory"]}
)
