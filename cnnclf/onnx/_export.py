"""Fitted estimator → one self-contained ``.onnx`` file, compared with torch before it is written.

The graph from torch's exporter is folded (normalisation and standardisation go into the convolutions' weights),
declares no newer opset than its nodes need, gets the labels and the metadata, and is run by two independent engines.
"""

import copy
import json
import os
import threading
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from cnnclf._utils.digest import PLACEHOLDER
from cnnclf._utils.files import write_atomically
from cnnclf._utils.labels import encode_labels
from cnnclf._utils.text import percent, quote, quote_all
from cnnclf.images._spec import ImageLayout, InputSpec
from cnnclf.onnx._file import DIGEST_KEY, DISABLED_OPTIMIZERS, FORMAT, KEY, MAY_BE_DISABLED, check_file, seal
from cnnclf.onnx._graph import TRACED_OPSET, declare_versions, fold, quiet, strip
from cnnclf.onnx._int8 import to_int8
from cnnclf.onnx._runtime import label_type, open_session

ONE_EXPORT_AT_A_TIME = threading.Lock()  # torch's exporter is for one thread
N_TRACED = 2  # images that the exporter traces: it would treat an axis of length one as a constant
TOLERANCE = 1e-5  # of a probability, between torch and the file
REFERENCE_NUMBERS = 2**18  # of all images that the slow reference gets: 334 of MNIST, or 7 of 96×128 pixels in colour
OUTPUTS = ["label", "probabilities"]

# onnxruntime would move QuantizeLinear up across a float pooling, which costs more than int8 gains. A ReLU in between
# prevents that (see to_int8), and this setting where there is none.
INT8_SESSION = {DISABLED_OPTIMIZERS: MAY_BE_DISABLED[-1]}
INT8_AGREEMENT = 0.98  # share of the calibration images that must keep their label


def export(
    clf: Any, path: str | os.PathLike[str], *, quantize: str | None = None, calibration: NDArray[Any] | None = None
) -> None:
    """Write a fitted ``CNNClassifier``; see :meth:`cnnclf.CNNClassifier.to_onnx`, which checks the images.

    The caller opens a session of torch on the CPU, as for :func:`build` and :func:`to_graph`.
    """
    if quantize not in (None, "int8"):
        raise ValueError(f"Expected quantize to be None or 'int8'; got {quote(quantize)}. Change quantize.")
    if quantize and calibration is None:
        raise ValueError(
            "Expected calibration images for quantize='int8', which measures the range of every layer on them; got "
            "none. Pass a few hundred images as fit was given them, for example calibration=X[:500]."
        )
    network, spec = served(clf), clf.input_spec_
    model = build(network, clf.classes_, spec.dtype)
    rows = [examples_of(network, spec, clf.training_data_.examples)]
    if calibration is not None:
        given = input_rows(spec, calibration)
        rows.append(given[:256])
        model = to_int8(model, given) if quantize else model
    describe(model, clf, quantize)
    onnx.checker.check_model(model, full_check=True)
    content = seal(model.SerializeToString(deterministic=True))
    compare(content, network, clf.classes_, np.concatenate(rows), quantize)
    write_atomically(path, content)


def served(clf: Any, *, raw_scores: bool = False) -> "Served":
    """Copy a fitted classifier's network to the CPU, as it is served."""
    return Served(copy.deepcopy(clf.module_).cpu(), clf.input_spec_, raw_scores).eval()


class Served(nn.Module):
    """The network as it is served: images as ``fit`` saw them in, probabilities and the likeliest class's position out.

    With `raw_scores` the first output has the scores that scikit-learn calibrates: the logits, or for two classes
    (−d, d) with d their difference.
    """

    def __init__(self, network: nn.Module, layout: ImageLayout, raw_scores: bool) -> None:
        super().__init__()
        self.network = network
        self.layout = layout
        self.raw_scores = raw_scores

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring X (n, *input_shape) to (n, channels, height, width) and classify it."""
        if self.layout.channels_last:
            X = X.movedim(-1, 1)
        elif self.layout.input_shape != self.layout.image_shape:
            X = X.reshape(X.shape[0], *self.layout.image_shape)
        logits = self.network(X)
        class_index = logits.argmax(dim=1)
        if not self.raw_scores:
            return logits.softmax(dim=1), class_index
        return logits - logits.flip(1) if logits.shape[1] == 2 else logits, class_index


def build(network: Served, classes: NDArray[Any], dtype: str) -> onnx.ModelProto:
    """Build the graph from ``X``, of a dtype and of the shape given to ``fit``, to ``label`` and ``probabilities``."""
    example = torch.zeros(N_TRACED, *network.layout.input_shape, dtype=getattr(torch, dtype))
    try:
        model = to_graph(copy.deepcopy(network), example, ["probabilities", "class_index"])
    except torch.onnx.OnnxExporterError as error:
        raise RuntimeError(
            "Expected a network of operations that torch.onnx.export knows; got one that it cannot export. Build the "
            "architecture of other layers; the cause is above."
        ) from error
    fold(model.graph)
    add_labels(model.graph, label_table(classes))
    return declare_versions(model)


def to_graph(module: nn.Module, example: torch.Tensor, output_names: Sequence[str]) -> onnx.ModelProto:
    """Export a module with torch's exporter: input ``X`` with a free batch axis, nothing but the graph in the file.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor; gives a tensor or a tuple of tensors.
    example : Tensor of shape (2, …)
        Any input. Two rows, because the exporter treats an axis of length one as a constant.
    output_names : sequence of str
        One per tensor.

    Returns
    -------
    onnx.ModelProto
        Without the source lines and paths that the exporter records.
    """
    with ONE_EXPORT_AT_A_TIME, quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=TRACED_OPSET,
            input_names=["X"],
            output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    assert program is not None
    return strip(program.model_proto)


def label_table(classes: NDArray[Any]) -> onnx.TensorProto:
    """Return the labels in ONNX's types: text as strings, whole numbers as int64, others as double or bool."""
    values, kind = encode_labels(classes)["values"], label_type(classes)
    if kind == "string":
        return helper.make_tensor("class_table", onnx.TensorProto.STRING, [len(values)], [v.encode() for v in values])
    try:
        return numpy_helper.from_array(np.array(values, dtype=kind), "class_table")
    except OverflowError as error:
        raise ValueError(f"Expected whole numbers as labels to fit into int64; got {quote_all(values)}.") from error


def add_labels(graph: onnx.GraphProto, table: onnx.TensorProto) -> None:
    """Look up the likeliest class's label, and make it the first output."""
    # Gather, unlike ai.onnx.ml's ArrayFeatureExtractor, takes an empty batch.
    graph.initializer.append(table)
    graph.node.append(helper.make_node("Gather", ["class_table", "class_index"], ["label"], name="label", axis=0))
    probabilities = copy.deepcopy(next(output for output in graph.output if output.name == "probabilities"))
    batch_axis = probabilities.type.tensor_type.shape.dim[0].dim_param
    del graph.output[:]
    graph.output.extend([helper.make_tensor_value_info("label", table.data_type, [batch_axis]), probabilities])


def describe(model: onnx.ModelProto, clf: Any, quantize: str | None) -> None:
    """Write the metadata, and leave room for the digest."""
    metadata = {
        "format": FORMAT,
        "classes": encode_labels(clf.classes_),
        "input": clf.input_spec_.to_json(),
        "versions": {name: version(name) for name in ("cnnclf", "torch", "onnx", "onnxruntime")},
        **clf.training_data_.to_json(),
        "quantize": quantize,
        "session": INT8_SESSION if quantize else {},
    }
    model.producer_name, model.producer_version = "cnnclf", version("cnnclf")
    helper.set_model_props(model, {KEY: json.dumps(metadata, ensure_ascii=False), DIGEST_KEY: PLACEHOLDER})


def input_rows(spec: InputSpec, pixels: NDArray[Any]) -> NDArray[Any]:
    """Bring checked images (n, channels, height, width) back to the shape and type that ``fit`` was given."""
    if spec.channels_last:
        pixels = np.moveaxis(pixels, 1, -1)
    return np.ascontiguousarray(pixels.reshape(len(pixels), *spec.input_shape), dtype=spec.dtype)


def examples_of(network: Served, spec: InputSpec, training: NDArray[Any] | None) -> NDArray[Any]:
    """Gather rows to compare on: noise of the images' range, a flat one, and training images if it was fitted here."""
    standardise: Any = network.network.standardise
    mean, std = standardise.mean.numpy(), standardise.std.numpy()
    std = np.where(std > 0, std, 1)  # a channel that never varied in training varies here, and must have no effect
    noise = mean + std * np.random.default_rng(0).standard_normal((32, *spec.image_shape))
    noise = np.concatenate([noise, np.broadcast_to(mean, (1, *spec.image_shape))])
    rows = input_rows(spec, noise.clip(0, 255) if spec.dtype == "uint8" else noise)
    return rows if training is None else np.concatenate([rows, input_rows(spec, training)])


def compare(content: bytes, network: Served, classes: NDArray[Any], rows: NDArray[Any], quantize: str | None) -> None:
    """Refuse a file that disagrees with the network.

    Two engines read the file: ONNX Runtime as it will be served, and ONNX's own reference implementation. A file that
    the reference cannot run may still be right; a warning says that only one engine has read it.
    """
    with torch.inference_mode():
        wanted = network(torch.from_numpy(rows))[0].numpy()
    check_answers("onnxruntime", run_as_served(content, rows), wanted, classes, quantize)
    if not quantize:  # each image is compared; for int8 a share of them, which needs many
        step = -(-rows.size // REFERENCE_NUMBERS)
        rows, wanted = rows[::step], wanted[::step]
    try:
        answers = run_by_reference(content, rows, quantize)
    except Exception as error:  # whatever an operator's Python raises
        warnings.warn(
            "The file is compared with the network in onnxruntime alone: onnx.reference cannot run it "
            f"({first_line(error)}). Where another runtime is to read it, compare some predictions there.",
            UserWarning,
            stacklevel=4,
        )
        return
    check_answers("onnx.reference", answers, wanted, classes, quantize)


def run_as_served(content: bytes, rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Compute labels and probabilities in ONNX Runtime."""
    onnxruntime = open_session(check_file(content, "the exported file"), 1)
    try:
        return [*onnxruntime.run(OUTPUTS, {"X": rows})]
    except Exception as error:  # onnxruntime's exceptions have no other base
        try:
            onnxruntime.run(OUTPUTS, {"X": rows[:N_TRACED]})
        except Exception:
            raise RuntimeError(
                f"Expected a network that onnxruntime can run; got one that it cannot ({first_line(error)}). Build the "
                "architecture of other layers."
            ) from error
        raise RuntimeError(
            f"Expected a network for any number of images; got one whose exported graph takes {N_TRACED} and no other "
            "number. In its forward use x.shape[0], which stays open, instead of len(x), int(x.shape[0]) or a constant."
        ) from error


def first_line(error: Exception) -> str:
    """Shorten the error of another library, which may list every node of the graph."""
    return str(error).strip().partition("\n")[0][:150]


def run_by_reference(content: bytes, rows: NDArray[Any], quantize: str | None) -> list[NDArray[Any]]:
    """Compute labels and probabilities in ONNX's reference implementation."""
    model = onnx.load_from_string(content)
    if quantize:  # it knows DequantizeLinear from opset 19 on; for int8 that means the same
        model.opset_import[0].version = max(19, model.opset_import[0].version)
    read = {name for node in model.graph.node for name in node.input}
    if any(node.op_type == "MaxPool" and read.intersection(node.output[1:]) for node in model.graph.node):
        raise NotImplementedError("it counts the positions of maxima within one plane, the standard within the batch")
    return [*ReferenceEvaluator(model).run(OUTPUTS, {"X": rows})]


def check_answers(
    engine: str,
    answers: Sequence[NDArray[Any]],
    probabilities: NDArray[np.float32],
    classes: NDArray[Any],
    quantize: str | None,
) -> None:
    """Refuse labels and probabilities of an engine that are not the network's; for int8, too many other labels."""
    labels, found = answers
    positions = positions_of(labels, classes)
    if quantize:
        agreement = float((positions == probabilities.argmax(axis=1)).mean())
        if agreement < INT8_AGREEMENT:
            raise RuntimeError(
                f"Expected an int8 file that gives at least {percent(INT8_AGREEMENT, 0)} of the images the network's "
                f"label; got {percent(agreement)} in {engine}. Nothing was written. Pass more calibration images, like "
                "those that the file will see, or export without quantize."
            )
        return
    largest, short = difference(positions, found, probabilities)
    if not max(largest, short) <= TOLERANCE:
        raise RuntimeError(
            f"Expected a graph that agrees with the network within {TOLERANCE:g}; got in {engine} a probability that "
            f"differs by {largest:.2g}, and a label's by {short:.2g}. Nothing was written. Please report it with the "
            "architecture and the versions of torch and onnx."
        )


def difference(positions: NDArray[np.int64], found: NDArray[Any], probabilities: NDArray[Any]) -> tuple[float, float]:
    """Return the largest difference of a probability, and of a label's probability from the largest of its image.

    Of two classes whose probabilities are equal within the tolerance, either is right.
    """
    of_label = np.take_along_axis(probabilities, positions[:, None], axis=1)[:, 0]
    return float(np.abs(found - probabilities).max()), float((probabilities.max(axis=1) - of_label).max())


def positions_of(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Find each label's position among the classes, which are sorted."""
    return np.searchsorted(classes, labels.astype(classes.dtype)).clip(max=len(classes) - 1)
