"""scikit-learn's compositions around a ``CNNClassifier`` → one ONNX model, compared before it is returned.

skl2onnx converts; this module registers converters for the classifiers of this package, ``FrozenEstimator``, and
scikit-learn's voting and calibration, where its own converters refuse some settings and compute others differently.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import skl2onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper
from skl2onnx import update_registered_converter
from skl2onnx._parse import _parse_sklearn as parse
from skl2onnx._supported_operators import get_model_alias
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_proto_type,
)
from skl2onnx.helpers import add_onnx_graph
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from cnnclf._utils.text import cut, percent
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.classifier._test_time import TestTimeAugmentation, changed
from cnnclf.images._arrays import as_array
from cnnclf.onnx._export import build, difference, first_line, label_table, positions_of, served
from cnnclf.onnx._runtime import label_type, load_graph
from cnnclf.training._runtime import session

LABEL_TYPES = {
    "bool": BooleanTensorType,
    "double": DoubleTensorType,
    "int64": Int64TensorType,
    "string": StringTensorType,
}
# Of a probability. An isotonic step is as steep as its data: the last bit of a score can change a probability by 1e-4.
MOST_DIFFERENCE = 1e-3
REMEDY = "Export the CNNClassifier alone with its to_onnx, and compute the rest where the file is served."
RAW_SCORES = {"raw_scores": [True, False]}  # calibration needs decision_function instead of probabilities


def to_onnx(model: Any, X: ArrayLike) -> onnx.ModelProto:
    """Convert a fitted composition around a ``CNNClassifier``, and compare the result with it.

    Pipelines, votes, calibration, frozen estimators and ``TestTimeAugmentation`` can be converted, also nested.

    Parameters
    ----------
    model : estimator
        A fitted classifier of scikit-learn or of this package.
    X : array-like
        Rows as the model takes them, ideally a few hundred. The ONNX model takes their dtype and shape; it is compared
        with `model` on all of them.

    Returns
    -------
    onnx.ModelProto
        From ``X`` to ``label`` and ``probabilities`` (n, n_classes), float32. ``SerializeToString()`` gives the bytes
        of the file.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ValueError
        If the model does not take X.
    RuntimeError
        If a part of the model cannot be converted, or the result disagrees with the model.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> X = X.reshape(-1, 64).astype("float32")
    >>> model = make_pipeline(StandardScaler(), CNNClassifier(max_epochs=1, random_state=0)).fit(X, y)
    >>> onnx_model = to_onnx(model, X[:500])
    >>> [output.name for output in onnx_model.graph.output]
    ['label', 'probabilities']
    """
    register()
    rows = as_array(X)
    model.predict(X)  # its own errors are the best ones for a model that is not fitted, or takes other rows
    try:
        converted: onnx.ModelProto = skl2onnx.to_onnx(model, rows[:1], options={"zipmap": False})
    except Exception as error:  # whatever one of its converters raises
        raise RuntimeError(
            f"Expected a model of parts that skl2onnx converts; got one that it cannot ({reason(error)}). {REMEDY}"
        ) from error
    check_converted(converted, model, X, rows)
    return converted


def reason(error: Exception) -> str:
    """Shorten an error of skl2onnx or onnxruntime, so that there is room for the advice."""
    return cut(first_line(error), 110)


def check_converted(converted: onnx.ModelProto, model: Any, X: Any, rows: NDArray[Any]) -> None:
    """Refuse a converted model that disagrees with the estimator."""
    try:
        converted_session = load_graph(converted.SerializeToString())
        labels, found = converted_session.run(None, {converted_session.get_inputs()[0].name: rows})
    except Exception as error:  # onnxruntime's exceptions have no other base
        raise RuntimeError(
            f"Expected a converted model that onnxruntime runs on X; got one that it cannot ({reason(error)}). {REMEDY}"
        ) from error
    if not hasattr(model, "predict_proba"):  # a vote of labels
        agreement = float((labels == model.predict(X)).mean())
        if agreement == 1:
            return
        differs = f"other labels for {percent(1 - agreement)} of X"
    else:
        largest, short = difference(positions_of(labels, model.classes_), found, np.asarray(model.predict_proba(X)))
        if max(largest, short) <= MOST_DIFFERENCE:
            return
        differs = f"a probability that differs by {largest:.2g}, and a label's by {short:.2g}"
    raise RuntimeError(
        f"Expected a converted model that agrees with the estimator within {MOST_DIFFERENCE}; got {differs}. {REMEDY}"
    )


def register() -> None:
    """Register the converters of this module with skl2onnx; `to_onnx` calls it."""
    common = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    for kind, alias, converter, options, parser in (
        (CNNClassifier, "CnnclfCNNClassifier", convert, RAW_SCORES, None),
        (TestTimeAugmentation, "CnnclfTestTimeAugmentation", composed(mean_of_views), {}, None),
        (FrozenEstimator, "CnnclfFrozenEstimator", composed(frozen), RAW_SCORES, parse_frozen),
        (VotingClassifier, "SklearnVotingClassifier", composed(vote), {}, None),
        (CalibratedClassifierCV, "SklearnCalibratedClassifierCV", composed(mean_of_calibrated), {}, None),
    ):
        update_registered_converter(kind, alias, infer_shapes, converter, options=common | options, parser=parser)


def infer_shapes(operator: Any) -> None:
    """Set the outputs' types: one label per row, and one probability per row and class."""
    classes = operator.raw_operator.classes_
    n = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = LABEL_TYPES[label_type(classes)]([n])
    operator.outputs[1].type = FloatTensorType([n, len(classes)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Insert the network's graph, built for the type of the input, into the whole model's."""
    clf = operator.raw_operator
    dtype = helper.tensor_dtype_to_np_dtype(guess_proto_type(operator.inputs[0].type))
    options = scope.get_options(clf, {"raw_scores": False})
    with session("cpu"):
        model = build(served(clf, raw_scores=options["raw_scores"]), clf.classes_, dtype.name)
    opset = model.opset_import[0].version
    if opset > container.target_opset:
        raise ValueError(
            f"Expected target_opset to be {opset} or more for this CNNClassifier; got {container.target_opset}. "
            f"Pass target_opset={opset} to skl2onnx."
        )
    add_onnx_graph(scope, operator, container, model)


class Graph:
    """The part of the whole model for one classifier that combines others; a tensor is referred to by its name.

    The names begin with cnnclf, because add_onnx_graph gives the networks' constants names that it does not reserve.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope = scope
        self.operator = operator
        self.container = container

    def add(self, kind: str, *inputs: Any, output: str = "", **attributes: Any) -> str:
        """Add a node and return its one output's name; an input that is a number or an array becomes a constant."""
        names = [value if isinstance(value, str) else self.constant(np.asarray(value)) for value in inputs]
        output = output or self.scope.get_unique_variable_name(f"cnnclf_{kind.lower()}")
        self.container.add_node(kind, names, output, name=self.scope.get_unique_operator_name(kind), **attributes)
        return output

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant: numbers as float32, whole numbers as int64."""
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name: str = self.scope.get_unique_variable_name("cnnclf_constant")
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.container.add_initializer(name, kind, array.shape, array.ravel())
        return name

    def apply(self, estimator: Any, inputs: list[Any] | None = None, *, scores: bool = False) -> str:
        """Apply a classifier to the rows, or other `inputs`; return its probabilities or scores, (n, k), float32."""
        self.set_options(estimator, {"zipmap": False, "raw_scores": scores})
        inner = self.scope.declare_local_operator(get_model_alias(type(estimator)), estimator)
        inner.inputs = self.operator.inputs if inputs is None else inputs
        label = self.scope.declare_local_variable("label", Int64TensorType())
        values = self.scope.declare_local_variable("values", FloatTensorType())
        inner.outputs.extend([label, values])
        return self.add("Cast", values.onnx_name, to=onnx.TensorProto.FLOAT)

    def set_options(self, estimator: Any, options: dict[str, bool]) -> None:
        """Set options of a classifier, and of the one within it that computes its output."""
        known = {name: value for name, value in options.items() if self.container.has_options(estimator, name)}
        for place in (self.container, self.scope):
            place.add_options(id(estimator), known)
        if isinstance(estimator, Pipeline):
            self.set_options(estimator[-1], options)
        elif isinstance(estimator, FrozenEstimator):
            self.set_options(estimator.estimator, options)

    def write_outputs(self, probabilities: str) -> None:
        """Write the classifier's outputs: its probabilities, and as its label that of the largest."""
        table = label_table(self.operator.raw_operator.classes_)
        table.name = self.scope.get_unique_variable_name("cnnclf_labels")
        self.container.initializers.append(table)
        largest = self.add("ArgMax", probabilities, axis=1, keepdims=0)
        label, output = (variable.full_name for variable in self.operator.outputs)
        self.add("Gather", table.name, largest, output=label)
        self.add("Identity", probabilities, output=output)

    def mean(self, parts: list[str], weights: list[float] | None = None) -> str:
        """Average tensors of one shape."""
        shares = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
        weighted = [self.add("Mul", part, share) for part, share in zip(parts, shares / shares.sum(), strict=True)]
        return self.add("Sum", *weighted)


def composed(compute: Callable[[Graph, Any], str]) -> Callable[[Any, Any, Any], None]:
    """Return the converter of a classifier whose probabilities `compute` adds to a graph."""

    def convert_composition(scope: Any, operator: Any, container: Any) -> None:
        graph = Graph(scope, operator, container)
        graph.write_outputs(compute(graph, operator.raw_operator))

    return convert_composition


def parse_frozen(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> Any:
    """Parse a frozen estimator, alone or in a pipeline, classifier or transformer, as the estimator in it."""
    scope.add_options(id(model.estimator), scope.get_options(model))
    return parse(scope, model.estimator, inputs, custom_parsers=custom_parsers)


def frozen(graph: Graph, model: Any) -> str:
    """Apply the frozen classifier, with the options of the estimator that freezes it."""
    options = graph.scope.get_options(model, {"raw_scores": False})
    return graph.apply(model.estimator, scores=options["raw_scores"])


def mean_of_views(graph: Graph, model: Any) -> str:
    """Apply the classifier to all views of the images as one batch; a view is an order of the row's numbers."""
    (rows,) = graph.operator.inputs
    shape, n_features, n_classes = rows.type.shape[1:], model.n_features_in_, len(model.classes_)
    order = np.arange(n_features).reshape(1, *model.layout_.input_shape)
    others = changed(order, model.layout_, int(model.reach), mirror=bool(model.mirror))
    views = np.stack([view.ravel() for view in (order, *others)])
    seen = graph.add("Gather", graph.add("Reshape", rows.onnx_name, [-1, n_features]), views, axis=1)
    batch = graph.scope.declare_local_variable("views", type(rows.type)([None, *shape]))
    graph.add("Reshape", seen, [-1, *shape], output=batch.onnx_name)
    each = graph.add("Reshape", graph.apply(model.estimator_, [batch]), [-1, len(views), n_classes])
    mean = graph.add("Div", graph.add("ReduceSum", each, [1], keepdims=0), float(len(views)))
    if model.confidence is None:
        return mean
    plain = graph.add("Gather", each, 0, axis=1)
    reached = graph.add("Cast", graph.add("GreaterOrEqual", plain, float(model.confidence)), to=onnx.TensorProto.INT64)
    is_certain = graph.add("Cast", graph.add("ReduceSum", reached, [1], keepdims=1), to=onnx.TensorProto.BOOL)
    return graph.add("Where", is_certain, plain, mean)


def vote(graph: Graph, model: Any) -> str:
    """Compute the weighted mean of the members' probabilities; in a vote of labels, of ones and zeros."""
    weights = None
    if model.weights is not None:
        weights = [w for (_, member), w in zip(model.estimators, model.weights, strict=True) if member != "drop"]
    parts = [graph.apply(member) for member in model.estimators_]
    if model.voting == "hard":
        labels = [graph.add("ArgMax", part, axis=1, keepdims=1) for part in parts]
        ones = [graph.add("Equal", label, np.arange(len(model.classes_))) for label in labels]
        parts = [graph.add("Cast", one, to=onnx.TensorProto.FLOAT) for one in ones]
    return graph.mean(parts, weights)


def mean_of_calibrated(graph: Graph, model: Any) -> str:
    """Compute the mean of the calibrated classifiers."""
    return graph.mean([calibrated(graph, each) for each in model.calibrated_classifiers_])


def calibrated(graph: Graph, model: Any) -> str:
    """Compute one classifier's calibrated probabilities, as scikit-learn's ``_CalibratedClassifier`` does."""
    n_classes = len(model.classes)
    has_scores = hasattr(model.estimator, "decision_function")
    scores = graph.apply(model.estimator, scores=has_scores)
    if model.method == "temperature":
        logits = scores if has_scores else graph.add("Log", graph.add("Add", scores, 1e-12))
        return graph.add("Softmax", graph.add("Mul", logits, model.calibrators[0].beta_), axis=1)
    if n_classes == 2:
        scores = graph.add("Gather", scores, [1], axis=1)
    if model.method == "sigmoid":
        slopes, offsets = (np.array([getattr(each, name) for each in model.calibrators]) for name in ("a_", "b_"))
        found = graph.add("Sigmoid", graph.add("Sub", graph.add("Mul", scores, -slopes), offsets))
    else:
        columns = [graph.add("Gather", scores, [k], axis=1) for k in range(len(model.calibrators))]
        found = graph.add(
            "Concat", *(isotonic(graph, *pair) for pair in zip(columns, model.calibrators, strict=True)), axis=1
        )
    if n_classes == 2:
        return graph.add("Concat", graph.add("Sub", 1.0, found), found, axis=1)
    known = np.searchsorted(model.classes, model.estimator.classes_)
    if len(known) < n_classes:  # a fold may lack a class
        found = graph.add("MatMul", found, np.eye(n_classes)[known])
    total = graph.add("ReduceSum", found, [1], keepdims=1)
    return graph.add("Where", graph.add("Equal", total, 0.0), 1 / n_classes, graph.add("Div", found, total))


def isotonic(graph: Graph, x: str, calibrator: Any) -> str:
    """Interpolate x (n, 1) between the thresholds: y₀ + (x − x₀) · slope, x₀ the last threshold that is not above x."""
    at, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    if len(at) == 1:
        return graph.add("Add", graph.add("Mul", x, 0.0), values[0])
    clipped = graph.add("Min", graph.add("Max", x, at[0]), at[-1])
    passed = graph.add("Cast", graph.add("GreaterOrEqual", clipped, at[1:-1]), to=onnx.TensorProto.INT64)
    place = graph.add("ReduceSum", passed, [1], keepdims=1)
    x0, y0, slope = (graph.add("Gather", a, place) for a in (at[:-1], values[:-1], np.diff(values) / np.diff(at)))
    return graph.add("Add", y0, graph.add("Mul", graph.add("Sub", clipped, x0), slope))
