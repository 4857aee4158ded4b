"""``CNNClassifier`` inside what skl2onnx converts: pipelines, voting, calibration."""

from typing import Any

from onnx import helper
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_proto_type,
)
from skl2onnx.helpers import add_onnx_graph

from cnnclf.classifier import CNNClassifier
from cnnclf.onnx_export import build

# By the kind of the classes' dtype, as the labels stand in the file.
LABEL_TYPES = {
    "U": StringTensorType,
    "O": StringTensorType,
    "T": StringTensorType,
    "f": DoubleTensorType,
    "b": BooleanTensorType,
}


def register() -> None:
    """Tell skl2onnx how to convert a ``CNNClassifier``, wherever it stands in a model.

    Examples
    --------
    >>> from skl2onnx import to_onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from cnnclf import CNNClassifier, load_digits
    >>> register()
    >>> X, y = load_digits()
    >>> X = X.reshape(-1, 64).astype("float32")
    >>> model = make_pipeline(StandardScaler(), CNNClassifier(max_epochs=1, random_state=0)).fit(X, y)
    >>> onnx_model = to_onnx(model, X[:1], options={"zipmap": False})
    >>> [output.name for output in onnx_model.graph.output]
    ['label', 'probabilities']
    """
    update_registered_converter(
        CNNClassifier,
        "CnnclfCNNClassifier",
        infer_shapes,
        convert,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
            "raw_scores": [True, False],  # what calibration asks for
        },
    )


def infer_shapes(operator: Any) -> None:
    """Say what comes out: one label a row, and one probability a row and class."""
    clf = operator.raw_operator
    n = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = LABEL_TYPES.get(clf.classes_.dtype.kind, Int64TensorType)([n])
    operator.outputs[1].type = FloatTensorType([n, len(clf.classes_)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Put the network's graph, made for the type that comes in, into the whole model's."""
    dtype = helper.tensor_dtype_to_np_dtype(guess_proto_type(operator.inputs[0].type))
    options = scope.get_options(operator.raw_operator, {"raw_scores": False})
    model = build(operator.raw_operator, dtype.name, raw_scores=options["raw_scores"])
    opset = model.opset_import[0].version
    if opset > container.target_opset:
        raise ValueError(
            f"This CNNClassifier needs opset {opset}; got target_opset={container.target_opset}. "
            f"Pass target_opset={opset} or more to skl2onnx."
        )
    add_onnx_graph(scope, operator, container, model)
