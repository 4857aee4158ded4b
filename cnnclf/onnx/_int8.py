"""Static int8 quantisation of an exported graph, per channel, laid out so that it is faster on a CPU.

Weights have seven bits, −64 to 64. A processor without VNNI adds two products of a byte and a weight in 16 bits, and
cuts off what is beyond them: 2 · 255 · 64 = 32,640 is within 32,767, and 2 · 255 · 127 is not. So the file gives the
same answers on every processor.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_shapes

from cnnclf.onnx._graph import (
    Weights,
    bias_of,
    declare_versions,
    drop_unused,
    only_reader,
    quiet,
    settings,
    strip,
    swap_behind,
    writer,
)

POOLING = {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [1, 1], "pads": [0, 0, 0, 0], "ceil_mode": 0}
# Pixels of 0 to 255 as the bytes that they are.
BYTES = {"scale": np.array([1], dtype=np.float32), "zero_point": np.array([0], dtype=np.uint8)}


def to_int8(model: onnx.ModelProto, rows: NDArray[Any]) -> onnx.ModelProto:
    """Quantise statically and per channel, all but the output layer, and the first convolution where bytes are slow."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts = iter(np.array_split(rows, -(-len(rows) // 64)))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            part = next(self.parts, None)
            return None if part is None else {"X": part}

    pixels = pool_as_channels(model)
    nodes = [*model.graph.node]
    weighted = [node for node in nodes if node.op_type in ("Conv", "Gemm")]
    first = weighted[0 if pixels else 1 : -1][:1]
    if not first:
        raise ValueError(
            "quantize='int8' needs a network with at least one layer between the first convolution and the output "
            f"layer, as these stay float32; this one has {len(weighted)} layers with weights. "
            "Export it without quantize."
        )
    if not pixels:
        # The ReLU keeps a runtime from quantising before the pooling, which would take longer than int8 gains.
        swap_behind(model.graph, weighted[0], "Relu", "MaxPool")
    in_float = [*nodes[: nodes.index(first[0])], *nodes[nodes.index(weighted[-1]) :]]
    with tempfile.TemporaryDirectory() as folder, quiet():
        quantize_static(
            model,
            Path(folder) / "int8.onnx",
            Rows(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Relu", "Reshape", "Transpose"],
            per_channel=True,
            reduce_range=True,  # weights of seven bits
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in in_float],
            calibration_providers=["CPUExecutionProvider"],
            extra_options={"TensorQuantOverrides": {pixels: [BYTES]}} if pixels else {},
        )
        quantized = strip(onnx.load(Path(folder) / "int8.onnx"))
    if pixels:
        take_bytes(quantized.graph, pixels)
    return declare_versions(quantized)


def pool_as_channels(model: onnx.ModelProto) -> str | None:
    """Rewrite the first convolution and its 2×2 pooling for bytes; give the name of what the convolution reads.

    An integer convolution wants many input channels, and an image has one or three. So each block of 2×2 pixels becomes
    one pixel of four times the channels; and the four neighbours among which the pooling finds the maximum become
    channels, too: one kernel for each, the same one moved by a pixel within a window that is a pixel larger. None where
    the network does not begin with whole pixels, an even size, and a convolution without padding.
    """
    graph, weights = model.graph, Weights(model.graph)
    conv = next((node for node in graph.node if node.op_type == "Conv"), None)
    cast = None if conv is None else writer(graph, conv.input[0])
    a = None if conv is None else only_reader(graph, conv)
    b = None if a is None else only_reader(graph, a)
    if conv is None or cast is None or a is None or b is None or cast.op_type != "Cast":
        return None
    takes_bytes = graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    if not takes_bytes or {a.op_type, b.op_type} != {"MaxPool", "Relu"}:
        return None
    given = {value.name: value.type.tensor_type.shape.dim for value in infer_shapes(model).graph.value_info}
    channels, height, width = (axis.dim_value for axis in given[cast.output[0]][1:])
    kernel = weights[conv.input[1]]
    n_kernels, _, *size = kernel.shape  # (n_kernels, channels, height, width)
    pool = settings(a if a.op_type == "MaxPool" else b)
    is_plain = settings(conv) == settings_of_conv(size) and pool == POOLING
    if not is_plain or height % 2 or width % 2:
        return None

    blocks = [(k + 2) // 2 for k in size]
    moved, bias = move_by_a_pixel(kernel, blocks), np.tile(bias_of(weights, conv), 4)
    pooled = [(side - k + 1) // 2 for side, k in zip((height, width), size, strict=True)]

    flat = writer(graph, cast.input[0])
    source = cast.input[0] if flat is None or flat.op_type != "Reshape" else flat.input[0]
    for name, shape in {
        "split": [0, *([channels] if channels > 1 else []), height // 2, 2, width // 2, 2],
        "blocks": [0, height // 2, width // 2, 4 * channels],
        "neighbours": [0, pooled[0], 4 * pooled[1], n_kernels],
    }.items():
        graph.initializer.append(numpy_helper.from_array(np.array(shape), name))
    node = helper.make_node
    # An axis of one channel is left out: with five axes a runtime moves rows, with six single bytes.
    move = [0, 2, 4, 1, 3, 5] if channels > 1 else [0, 1, 3, 2, 4]
    conv_names = [weights.add("moved.weight", moved), weights.add("moved.bias", bias)]
    new = [
        node("Reshape", [source, "split"], ["pixels_split"], "split"),
        node("Transpose", ["pixels_split"], ["pixels_moved"], "move", perm=move),
        node("Reshape", ["pixels_moved", "blocks"], ["pixels_last"], "join"),
        node("Transpose", ["pixels_last"], ["pixels"], "channels_first", perm=[0, 3, 1, 2]),
        node("Cast", ["pixels"], ["pixels_float"], "to_float", to=onnx.TensorProto.FLOAT),
        node("Conv", ["pixels_float", *conv_names], ["moved"], "moved", **settings_of_conv(blocks)),
        node("Relu", ["moved"], ["moved_relu"], "moved_relu"),
        node("Transpose", ["moved_relu"], ["moved_last"], "moved_last", perm=[0, 2, 3, 1]),
        node("Reshape", ["moved_last", "neighbours"], ["neighbours_last"], "neighbours"),
        node("Transpose", ["neighbours_last"], ["neighbours_first"], "neighbours_first", perm=[0, 3, 1, 2]),
        node("MaxPool", ["neighbours_first"], [b.output[0]], "pool", kernel_shape=[1, 4], strides=[1, 4]),
    ]
    nodes = [*graph.node]
    kept = [n for n in nodes[: nodes.index(cast)] if n.output[0] != cast.input[0] or source == cast.input[0]]
    rest = nodes[nodes.index(b) + 1 :]
    del graph.node[:]
    graph.node.extend([*kept, *new, *rest])
    drop_unused(graph)
    return "pixels_float"


def move_by_a_pixel(kernel: NDArray[Any], blocks: Sequence[int]) -> NDArray[np.float64]:
    """Return one kernel per neighbour of a 2×2 pooling, over blocks of 2×2 pixels that stand as channels.

    Parameters
    ----------
    kernel : ndarray of shape (n_kernels, channels, height, width)
        The convolution's own.
    blocks : sequence of two int
        Height and width of a window, in blocks.

    Returns
    -------
    ndarray of shape (4 n_kernels, 4 channels, *blocks), float64
    """
    n_kernels, channels, *size = kernel.shape
    moved = np.zeros((2, 2, n_kernels, *blocks, channels, 2, 2))
    # Neighbour (p, q) sees pixel (i, j) of its window at (p + i, q + j) of the larger one: in which block, and where.
    for p, q, i, j in np.ndindex(2, 2, *size):
        y, x = p + i, q + j
        moved[p, q, :, y // 2, x // 2, :, y % 2, x % 2] = kernel[:, :, i, j]
    return moved.reshape(4 * n_kernels, *blocks, 4 * channels).transpose(0, 3, 1, 2)


def settings_of_conv(size: Sequence[int]) -> dict[str, Any]:
    """Write down all attributes of a plain convolution."""
    return {"kernel_shape": [*size], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1}


def take_bytes(graph: onnx.GraphProto, pixels: str) -> None:
    """Let the first convolution read the image's own bytes: to quantise them with scale 1 would give them back."""
    cast = writer(graph, pixels)
    quantize = next(node for node in graph.node if pixels in node.input)
    assert cast is not None
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == quantize.output[0]:
                node.input[position] = cast.input[0]
    graph.node.remove(cast)
    graph.node.remove(quantize)
