"""Rewriting an ONNX graph: smaller, silent about who made it, readable by old runtimes; its function stays."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

TRACED_OPSET = 18  # the exporter's own; what is written asks for less where it can
OLDEST_OPSET = 13  # the first with per-channel quantisation
# Settings that the exporter writes before the standard knew them: node type, attribute, value, its first opset.
LATER_SETTINGS = (("Pad", "mode", b"wrap", 19),)
LARGEST_OFFSET = 8.0  # standard deviations; see fold_standardise


class Weights:
    """A graph's initializers as float64 arrays that can be read and replaced."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def __contains__(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self.graph.initializer)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        (tensor,) = (tensor for tensor in self.graph.initializer if tensor.name == name)
        array: NDArray[np.float64] = numpy_helper.to_array(tensor).astype(np.float64)
        return array

    def add(self, name: str, array: NDArray[np.float64]) -> str:
        """Add a float32 initializer, under a name that is still free."""
        while name in self:
            name += "'"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name


def fold(graph: onnx.GraphProto) -> None:
    """Put into the convolutions' weights all that can go there; the function that the graph computes stays."""
    weights = Weights(graph)
    for node in list(graph.node):
        if node.op_type == "Conv":
            fold_norm(graph, weights, node)
            swap_behind(graph, node, "MaxPool", "Relu")  # a runtime computes convolution and ReLU in one
    fold_standardise(graph, weights)
    drop_unused(graph)


def fold_norm(graph: onnx.GraphProto, weights: Weights, conv: onnx.NodeProto) -> None:
    """Fold the batch normalisation behind a convolution's pooling into the convolution.

    norm(pool(conv(x))) = pool(s·conv(x) + t) with s = γ/√(σ² + ε) and t = β − s·μ: a maximum commutes with what rises,
    hence only where every s > 0. (Where no pooling stands between, the exporter has folded it already.)
    """
    pool = only_reader(graph, conv)
    norm = None if pool is None or pool.op_type != "MaxPool" else only_reader(graph, pool)
    if norm is None or norm.op_type != "BatchNormalization":
        return
    if not all(name in weights for name in (*conv.input[1:], *norm.input[1:])):
        return  # computed in the graph
    gamma, beta, mean, variance = (weights[name] for name in norm.input[1:])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    if (scale > 0).all():
        scale_conv(weights, conv, scale, beta - scale * mean)
        remove(graph, norm)


def fold_standardise(graph: onnx.GraphProto, weights: Weights) -> None:
    """Fold (x − mean) / std into the convolution that follows: w·(x − m)/d = (w/d)·x − (w/d)·m.

    Not with padding, which pads standardised images with zeros, and not where the mean is so many standard deviations
    away from zero that the sum would lose digits.
    """
    subtract = next((node for node in graph.node if node.op_type == "Sub" and node.input[1] in weights), None)
    divide = None if subtract is None else only_reader(graph, subtract)
    conv = None if divide is None or divide.op_type != "Div" else only_reader(graph, divide)
    if subtract is None or divide is None or conv is None or conv.op_type != "Conv":
        return
    if not all(name in weights for name in (divide.input[1], *conv.input[1:])):
        return  # computed in the graph
    attributes = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    mean, std = weights[subtract.input[1]].reshape(-1), weights[divide.input[1]].reshape(-1)
    if any(attributes["pads"]) or attributes["group"] != 1 or (abs(mean) > LARGEST_OFFSET * std).any():
        return
    kernel = weights[conv.input[1]]
    per_channel = (-1, *[1] * (kernel.ndim - 2))
    kernel = kernel / std.reshape(per_channel)
    shift = (kernel * mean.reshape(per_channel)).reshape(len(kernel), -1).sum(axis=1)
    set_kernel(weights, conv, kernel, bias_of(weights, conv) - shift)
    remove(graph, subtract)
    remove(graph, divide)


def swap_behind(graph: onnx.GraphProto, conv: onnx.NodeProto, first: str, second: str) -> None:
    """Let two nodes behind a convolution, MaxPool and ReLU in either order, change places: the same bits come out."""
    a = only_reader(graph, conv)
    b = None if a is None else only_reader(graph, a)
    if a is None or b is None or (a.op_type, b.op_type) != (first, second):
        return
    a.op_type, b.op_type = second, first
    attributes = [*a.attribute], [*b.attribute]
    for node, others in ((a, attributes[1]), (b, attributes[0])):
        del node.attribute[:]
        node.attribute.extend(others)


def scale_conv(weights: Weights, conv: onnx.NodeProto, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    """Change a convolution so that it gives scale · conv(x) + shift, channel by channel."""
    kernel = weights[conv.input[1]]
    kernel = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))
    set_kernel(weights, conv, kernel, bias_of(weights, conv) * scale + shift)


def bias_of(weights: Weights, conv: onnx.NodeProto) -> NDArray[np.float64]:
    """Read a convolution's bias; zeros where it has none."""
    return weights[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weights[conv.input[1]]))


def set_kernel(weights: Weights, conv: onnx.NodeProto, kernel: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    """Assign a convolution new weights, under new names, as the exporter shares equal initializers between nodes."""
    data, name = conv.input[0], conv.input[1]
    del conv.input[:]
    conv.input.extend([data, weights.add(name, kernel), weights.add(name.replace("weight", "bias"), bias)])


def settings(node: onnx.NodeProto) -> dict[str, Any]:
    """Read a node's attributes, but for those that always say the same."""
    return {
        a.name: helper.get_attribute_value(a) for a in node.attribute if a.name not in ("auto_pad", "storage_order")
    }


def writer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """Find the node that gives a tensor; None for inputs and weights."""
    return next((node for node in graph.node if name in node.output), None)


def only_reader(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Find the node that reads a node's output, if it is one alone."""
    readers = [reader for reader in graph.node if node.output[0] in reader.input]
    is_output = any(output.name == node.output[0] for output in graph.output)
    return readers[0] if len(readers) == 1 and not is_output else None


def remove(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Take a node out; who read its output reads its first input."""
    for reader in graph.node:
        for position, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[position] = node.input[0]
    graph.node.remove(node)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop initializers that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter tells about the machine and the source code that ran it."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.value_info[:]  # shapes that folding would make wrong; every reader infers them
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def declare_versions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Ask for the oldest opset and file version that mean the same for every node."""
    opset = max(OLDEST_OPSET, *map(opset_of, model.graph.node))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def opset_of(node: onnx.NodeProto) -> int:
    """Find the oldest opset in which a node means what it means here."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    later = [
        opset for kind, name, value, opset in LATER_SETTINGS if node.op_type == kind and attributes.get(name) == value
    ]
    return max(later, default=int(onnx.defs.get_schema(node.op_type, TRACED_OPSET).since_version))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress, its notes on torchvision and its own deprecated calls from the user."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),  # what it says of a failure is in the exception, too
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
