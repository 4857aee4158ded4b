"""Rewriting an ONNX graph so that it is smaller, anonymous and readable by old runtimes, and computes the same."""

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

TRACED_OPSET = 18  # the exporter's own; the written file declares an older one where it can
OLDEST_OPSET = 13  # the first with per-channel quantisation
# Settings that the exporter writes before the standard knew them: node type, attribute, value, its first opset.
LATER_SETTINGS = (("Pad", "mode", b"wrap", 19),)
GLOBAL_POOLINGS = {"ReduceMax": "GlobalMaxPool", "ReduceMean": "GlobalAveragePool"}
SAME_SHAPE = {"Relu", "LeakyRelu", "Gelu", "Sigmoid", "Tanh", "Mul", "Add", "BatchNormalization"}  # as their input
LARGEST_OFFSET = 8.0  # standard deviations; see fold_standardise


class GraphEditor:
    """A graph whose nodes can be found, swapped and removed, and whose weights are float64 arrays that can be replaced.

    Parameters
    ----------
    graph : onnx.GraphProto
        Changed in place.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def __contains__(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self.graph.initializer)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        (tensor,) = (tensor for tensor in self.graph.initializer if tensor.name == name)
        array: NDArray[np.float64] = numpy_helper.to_array(tensor).astype(np.float64)
        return array

    def add_weights(self, name: str, array: NDArray[np.float64]) -> str:
        """Add a float32 initializer, under a name that is still free, and return the name."""
        while name in self:
            name += "'"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def bias_of(self, conv: onnx.NodeProto) -> NDArray[np.float64]:
        """Return a convolution's bias; zeros where it has none."""
        return self[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(self[conv.input[1]]))

    def set_kernel(self, conv: onnx.NodeProto, kernel: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Give a convolution new weights under new names, because the exporter shares equal ones between nodes."""
        data, name = conv.input[0], conv.input[1]
        del conv.input[:]
        names = [self.add_weights(name, kernel), self.add_weights(name.replace("weight", "bias"), bias)]
        conv.input.extend([data, *names])

    def find_writer(self, name: str) -> onnx.NodeProto | None:
        """Find the node that computes a tensor; None for inputs and weights."""
        return next((node for node in self.graph.node if name in node.output), None)

    def find_behind(self, node: onnx.NodeProto, *kinds: str) -> list[onnx.NodeProto]:
        """Find the chain of nodes of these kinds, each the only reader of the one before; empty if there is none."""
        found = [node]
        for kind in kinds:
            name = found[-1].output[0]
            readers = [reader for reader in self.graph.node if name in reader.input]
            is_output = any(output.name == name for output in self.graph.output)
            if len(readers) != 1 or readers[0].op_type != kind or is_output:
                return []
            found += readers
        return found[1:]

    def swap_behind(self, conv: onnx.NodeProto, first: str, second: str) -> None:
        """Swap two nodes behind a convolution, MaxPool and ReLU in either order: the results are bit-identical."""
        if not (behind := self.find_behind(conv, first, second)):
            return
        a, b = behind
        a.op_type, b.op_type = second, first
        attributes = [*a.attribute], [*b.attribute]
        for node, others in ((a, attributes[1]), (b, attributes[0])):
            del node.attribute[:]
            node.attribute.extend(others)

    def remove(self, node: onnx.NodeProto) -> None:
        """Remove a node; the readers of its output then read its first input."""
        for reader in self.graph.node:
            for position, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[position] = node.input[0]
        self.graph.node.remove(node)

    def drop_unused(self) -> None:
        """Drop initializers that no node reads any more."""
        read = {name for node in self.graph.node for name in node.input}
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in read]:
            self.graph.initializer.remove(tensor)


def settings(node: onnx.NodeProto) -> dict[str, Any]:
    """Read a node's attributes, except those that are always the same."""
    return {
        a.name: helper.get_attribute_value(a) for a in node.attribute if a.name not in ("auto_pad", "storage_order")
    }


def fold(graph: onnx.GraphProto) -> None:
    """Fold into the convolutions' weights all that can be; the graph computes the same function."""
    editor = GraphEditor(graph)
    for node in list(graph.node):
        if node.op_type == "Conv":
            fold_norm(editor, node)
            editor.swap_behind(node, "MaxPool", "Relu")  # a runtime computes convolution and ReLU in one
        elif node.op_type in GLOBAL_POOLINGS:
            name_global_pooling(editor, node)
    fold_standardise(editor)
    editor.drop_unused()


def name_global_pooling(graph: GraphEditor, node: onnx.NodeProto) -> None:
    """Write a maximum or a mean over height and width as global pooling, which runtimes had long before opset 18."""
    keeps = settings(node).get("keepdims", 1) == 1
    if not keeps or len(node.input) < 2 or node.input[1] not in graph or not is_of_images(graph, node):
        return
    if sorted(int(axis) % 4 for axis in graph[node.input[1]]) == [2, 3]:
        node.op_type = GLOBAL_POOLINGS[node.op_type]
        del node.input[1:], node.attribute[:]


def is_of_images(graph: GraphEditor, node: onnx.NodeProto) -> bool:
    """Check that a node reads feature maps: a convolution or pooling with a kernel of two lengths is before it."""
    writer = graph.find_writer(node.input[0])
    while writer is not None and writer.op_type in SAME_SHAPE:
        writer = graph.find_writer(writer.input[0])
    return writer is not None and len(settings(writer).get("kernel_shape", ())) == 2


def fold_norm(graph: GraphEditor, conv: onnx.NodeProto) -> None:
    """Fold the batch normalisation behind a convolution's pooling into the convolution.

    norm(pool(conv(x))) = pool(s·conv(x) + t) with s = γ/√(σ² + ε) and t = β − s·μ: a maximum commutes with a rising
    function, hence only where every s > 0. (The exporter has already folded a normalisation without pooling before it.)
    """
    if not (behind := graph.find_behind(conv, "MaxPool", "BatchNormalization")):
        return
    _, norm = behind
    if not all(name in graph for name in (*conv.input[1:], *norm.input[1:])):
        return  # computed in the graph
    gamma, beta, mean, variance = (graph[name] for name in norm.input[1:])
    scale = gamma / np.sqrt(variance + settings(norm).get("epsilon", 1e-5))
    if (scale > 0).all():
        kernel = graph[conv.input[1]]
        scaled = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))
        graph.set_kernel(conv, scaled, graph.bias_of(conv) * scale + (beta - scale * mean))
        graph.remove(norm)


def fold_standardise(graph: GraphEditor) -> None:
    """Fold (x − mean) / std into the convolution that follows: w·(x − m)/d = (w/d)·x − (w/d)·m.

    Not with padding, which pads standardised images with zeros, and not where the mean is so many standard deviations
    away from zero that the sum would lose digits.
    """
    subtract = next((node for node in graph.graph.node if node.op_type == "Sub" and node.input[1] in graph), None)
    if subtract is None or not (behind := graph.find_behind(subtract, "Div", "Conv")):
        return
    divide, conv = behind
    if not all(name in graph for name in (divide.input[1], *conv.input[1:])):
        return  # computed in the graph
    mean, std = graph[subtract.input[1]].reshape(-1), graph[divide.input[1]].reshape(-1)
    if any(settings(conv)["pads"]) or settings(conv)["group"] != 1 or (abs(mean) > LARGEST_OFFSET * std).any():
        return
    kernel = graph[conv.input[1]]
    per_channel = (-1, *[1] * (kernel.ndim - 2))
    kernel = kernel / std.reshape(per_channel)
    shift = (kernel * mean.reshape(per_channel)).reshape(len(kernel), -1).sum(axis=1)
    graph.set_kernel(conv, kernel, graph.bias_of(conv) - shift)
    graph.remove(subtract)
    graph.remove(divide)


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter wrote about the machine and the source code that ran it."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.value_info[:]  # shapes that folding would make wrong; every reader infers them
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def declare_versions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the oldest opset and file version in which every node means the same."""
    opset = max(OLDEST_OPSET, *map(opset_of, model.graph.node))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def opset_of(node: onnx.NodeProto) -> int:
    """Find the oldest opset in which a node has the meaning that it has here."""
    given = settings(node)
    later = [opset for kind, name, value, opset in LATER_SETTINGS if node.op_type == kind and given.get(name) == value]
    return max(later, default=int(onnx.defs.get_schema(node.op_type, TRACED_OPSET).since_version))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the exporter's progress, its notes on torchvision and the warnings of its own deprecated calls."""
    with contextlib.ExitStack() as stack:
        for logger in map(logging.getLogger, ("torch", "torch.onnx", "root")):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))  # reports of failures are in exceptions, too
        yield
