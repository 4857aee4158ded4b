"""Static int8 quantisation of an exported graph, per channel, arranged so that it is faster on a CPU.

Weights have seven bits, −64 to 64. A processor without VNNI adds two products of a byte and a weight in 16 bits, which
saturate: 2 · 255 · 64 = 32,640 is within 32,767, and 2 · 255 · 127 is not. So the file gives the same results on every
processor.
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

from cnnclf.onnx._graph import GraphEditor, declare_versions, quiet, settings, strip

POOLING = {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [1, 1], "pads": [0, 0, 0, 0], "ceil_mode": 0}
# Pixels of 0 to 255, stored as bytes without change.
BYTES = {"scale": np.array([1], dtype=np.float32), "zero_point": np.array([0], dtype=np.uint8)}


def to_int8(model: onnx.ModelProto, rows: NDArray[Any]) -> onnx.ModelProto:
    """Quantise statically and per channel, all but the output layer, and the first convolution where bytes are slow."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    parts = iter([{"X": part} for part in np.array_split(rows, -(-len(rows) // 64))])

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(parts, None)

    pixels = pool_as_channels(model)
    nodes = [*model.graph.node]
    weighted = [node for node in nodes if node.op_type in ("Conv", "Gemm")]
    first = weighted[0 if pixels else 1 : -1][:1]
    if not first:
        raise ValueError(
            "Expected for quantize='int8' a layer between the first convolution and the output layer, as these two "
            f"stay float32; got {len(weighted)} layers with weights. Export the network without quantize."
        )
    if not pixels:
        # The ReLU keeps a runtime from quantising before the pooling, which would take longer than int8 gains.
        GraphEditor(model.graph).swap_behind(weighted[0], "Relu", "MaxPool")
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
    """Rewrite the first convolution and its 2×2 pooling for bytes; return the name of the convolution's input.

    An integer convolution is fast with many input channels, and an image has one or three. So each block of 2×2 pixels
    becomes one pixel of four times the channels; and the four neighbours among which the pooling finds the maximum
    become channels, too: one kernel for each, the same one moved by a pixel within a window that is a pixel larger.
    None where the network does not begin with whole pixels, an even size, and a convolution without padding.
    """
    graph, editor = model.graph, GraphEditor(model.graph)
    takes_bytes = graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    conv = next((node for node in graph.node if node.op_type == "Conv"), None)
    cast = None if conv is None else editor.find_writer(conv.input[0])
    if conv is None or cast is None or cast.op_type != "Cast" or not takes_bytes:
        return None
    behind = editor.find_behind(conv, "MaxPool", "Relu") or editor.find_behind(conv, "Relu", "MaxPool")
    if not behind:
        return None
    given = {value.name: value.type.tensor_type.shape.dim for value in infer_shapes(model).graph.value_info}
    channels, height, width = (axis.dim_value for axis in given[cast.output[0]][1:])
    size = editor[conv.input[1]].shape[2:]
    (pool,) = (node for node in behind if node.op_type == "MaxPool")
    is_plain = settings(conv) == settings_of_conv(size) and settings(pool) == POOLING
    if not is_plain or height % 2 or width % 2:
        return None

    flat = editor.find_writer(cast.input[0])
    source = cast.input[0] if flat is None or flat.op_type != "Reshape" else flat.input[0]
    new = pool_blocks(editor, conv, source, (channels, height, width), behind[1].output[0])
    nodes = [*graph.node]
    kept = [n for n in nodes[: nodes.index(cast)] if n.output[0] != cast.input[0] or source == cast.input[0]]
    rest = nodes[nodes.index(behind[1]) + 1 :]
    del graph.node[:]
    graph.node.extend([*kept, *new, *rest])
    editor.drop_unused()
    return "pixels_float"


def pool_blocks(
    editor: GraphEditor, conv: onnx.NodeProto, source: str, image_shape: tuple[int, int, int], output: str
) -> list[onnx.NodeProto]:
    """Return the nodes that compute a convolution and its pooling from blocks; their weights are added to the graph."""
    channels, height, width = image_shape
    kernel = editor[conv.input[1]]
    n_kernels, _, *size = kernel.shape  # (n_kernels, channels, height, width)
    blocks = [(k + 2) // 2 for k in size]
    moved, bias = move_by_a_pixel(kernel, blocks), np.tile(editor.bias_of(conv), 4)
    pooled = [(side - k + 1) // 2 for side, k in zip((height, width), size, strict=True)]
    for name, shape in {
        "split": [0, *([channels] if channels > 1 else []), height // 2, 2, width // 2, 2],
        "blocks": [0, height // 2, width // 2, 4 * channels],
        "neighbours": [0, pooled[0], 4 * pooled[1], n_kernels],
    }.items():
        editor.graph.initializer.append(numpy_helper.from_array(np.array(shape), name))
    node = helper.make_node
    # An axis of one channel is left out: with five axes a runtime moves rows, with six single bytes.
    move = [0, 2, 4, 1, 3, 5] if channels > 1 else [0, 1, 3, 2, 4]
    conv_names = [editor.add_weights("moved.weight", moved), editor.add_weights("moved.bias", bias)]
    return [
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
        node("MaxPool", ["neighbours_first"], [output], "pool", kernel_shape=[1, 4], strides=[1, 4]),
    ]


def move_by_a_pixel(kernel: NDArray[Any], blocks: Sequence[int]) -> NDArray[np.float64]:
    """Return one kernel per neighbour of a 2×2 pooling, over blocks of 2×2 pixels that are channels.

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
    """Return all attributes of a plain convolution."""
    return {"kernel_shape": [*size], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1}


def take_bytes(graph: onnx.GraphProto, pixels: str) -> None:
    """Let the first convolution read the image's own bytes: quantised with scale 1 they would stay the same."""
    editor = GraphEditor(graph)
    cast = editor.find_writer(pixels)
    assert cast is not None
    editor.remove(next(node for node in graph.node if pixels in node.input))
    editor.remove(cast)
