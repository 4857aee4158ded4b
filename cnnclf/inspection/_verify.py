"""Three engines over every recorded number: torch again, NumPy in float64, and onnxruntime."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import percent
from cnnclf.inspection._geometry import Doubles
from cnnclf.inspection._recompute import recompute
from cnnclf.inspection._records import StepRecord, TraceRecord, same_bits, walk
from cnnclf.inspection._run import fold_to_softmax, record_steps
from cnnclf.training._runtime import session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TOLERANCE = 1e-5  # between torch and onnxruntime, relative to a layer's largest value

# The last export of each network and what it was made of; traces that follow one another share their network. An export
# is deleted with its network.
EXPORTS: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], "InferenceSession"]] = WeakKeyDictionary()


@dataclass(frozen=True)
class LayerCheck:
    """How the three engines agree on one layer.

    Attributes
    ----------
    name, kind : str
        The layer's name and kind.
    n_values : int
        Numbers in its output.
    torch : bool
        Whether a second run in torch gives the recorded numbers and weights, bit for bit.
    numpy : float or None
        The largest error against NumPy's float64 as a share of what rounding can explain; None for an unknown layer.
    onnx : float
        The largest difference from onnxruntime as a share of the tolerance, 1e-5·max(1, max|a|).
    """

    name: str
    kind: str
    n_values: int
    torch: bool
    numpy: float | None
    onnx: float

    @property
    def passed(self) -> bool:
        """Whether all engines agree."""
        return self.torch and (self.numpy is None or self.numpy <= 1) and self.onnx <= 1


@dataclass(frozen=True, repr=False)
class Verification(Summarised):
    """How the three engines agree on every layer; it prints as a table.

    Attributes
    ----------
    layers : tuple of LayerCheck
        In the order of computation: a block comes after what is inside it.

    Examples
    --------
    >>> conv = LayerCheck("conv1", "conv", 9216, torch=True, numpy=0.021, onnx=0.004)
    >>> relu = LayerCheck("relu1", "relu", 9216, torch=True, numpy=0.0, onnx=1.5)
    >>> print(Verification((conv, relu)))
    1 of 2 layers verified; failed: relu1
    <BLANKLINE>
       layer  kind  values  torch   NumPy  onnxruntime
    ✓  conv1  conv   9,216   same  2.10 %       0.40 %
    ✗  relu1  relu   9,216   same    same     150.00 %
    <BLANKLINE>
    torch: run again, outputs and weights bit for bit.
    NumPy: float64 from the recorded inputs; largest error in percent of what rounding to float32 explains.
    onnxruntime: the exported graph, not optimised; largest difference in percent of 1e-5·max(1, max|a|).
    """

    layers: tuple[LayerCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether all engines agree on every layer."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the layers that did not pass, in the order of computation."""
        return tuple(layer.name for layer in self.layers if not layer.passed)

    def _summary(self) -> Summary:
        n_verified = sum(layer.passed and layer.numpy is not None for layer in self.layers)
        n_again = len(self.layers) - len(self.failed) - n_verified
        again = f", {n_again} only run again" if n_again else ""
        failed = f"; failed: {', '.join(self.failed)}" if self.failed else ""
        notes = (
            "torch: run again, outputs and weights bit for bit.",
            "NumPy: float64 from the recorded inputs; largest error in percent of what rounding to float32 explains.",
            "onnxruntime: the exported graph, not optimised; largest difference in percent of 1e-5·max(1, max|a|).",
            *("○: NumPy does not know the layer, so it was only run again.",) * (n_again > 0),
        )
        title = f"{n_verified} of {len(self.layers)} layers verified{again}{failed}"
        head = ("", "layer", "kind", "values", "torch", "NumPy", "onnxruntime")
        return Summary(title, "lllrrrr", head, tuple(map(list_cells, self.layers)), notes)


def verify(trace: TraceRecord, module: nn.Module) -> Verification:
    """Compare recorded steps with those recorded again, and with what NumPy and onnxruntime compute."""
    recorded = list(walk(trace.steps, inside_first=True))
    again = walk(record_steps(module, trace.image, StepRecord), inside_first=True)
    try:
        onnx = run_exported(module, trace.image, len(recorded))
    except torch.onnx.OnnxExporterError as error:
        unknown = ", ".join(f"{step.name!r} ({step.description})" for step in recorded if step.kind == "unknown")
        raise RuntimeError(
            "Expected a network that torch can export to ONNX, for onnxruntime to compute it, too; got one that it "
            f"cannot, most likely because of {unknown or 'the way its weights are computed'}. Build it of operations "
            "that torch.onnx.export knows, or compare the output of each step with its recomputed value yourself."
        ) from error
    layers = zip(recorded, again, onnx, strict=True)
    return Verification(tuple(check_layer(*each) for each in layers))


def check_layer(recorded: StepRecord, again: StepRecord, onnx: NDArray[Any]) -> LayerCheck:
    """Compare one recorded layer with the results of the three engines."""
    recomputed = recompute(recorded)
    numpy = None if recomputed is None else share(recorded.output - recomputed.value, recomputed.bound)
    tolerance = TOLERANCE * max(1.0, np.abs(recorded.output).max(initial=0).item())
    onnx_share = share(recorded.output.astype(np.float64) - onnx, np.float64(tolerance))
    same = same_step(recorded, again)
    return LayerCheck(recorded.name, recorded.kind, recorded.output.size, same, numpy, onnx_share)


def share(error: Doubles, bound: Doubles | np.float64) -> float:
    """Return the largest error as a share of its bound; where the bound is 0, any error is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(error == 0, 0.0, np.abs(error) / bound).max(initial=0))


def same_step(a: StepRecord, b: StepRecord) -> bool:
    """Check that two steps hold the same bits and settings."""
    return (
        (a.name, a.kind) == (b.name, b.kind)
        and a.settings == b.settings
        and a.weights.keys() == b.weights.keys()
        and same_bits(a.input, b.input)
        and same_bits(a.output, b.output)
        and all(same_bits(a.weights[name], b.weights[name]) for name in a.weights)
    )


class EveryOutput(nn.Module):
    """A network that returns the output of every layer, including those inside blocks and the softmax."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return every output, in the order of computation."""
        return tuple(each.output for each in walk(fold_to_softmax(self.network, x), inside_first=True))


def run_exported(module: nn.Module, image: NDArray[Any], n_outputs: int) -> list[NDArray[Any]]:
    """Return the output of every layer as onnxruntime computes it."""
    made_of = fingerprint(module), image.shape, image.dtype
    known, exported = EXPORTS.get(module, (None, None))
    if exported is None or known != made_of:
        exported = export_every_output(module, image.shape, image.dtype, n_outputs)
        EXPORTS[module] = made_of, exported
    return [output[0] for output in exported.run(None, {"X": image[np.newaxis]})]


def fingerprint(module: nn.Module) -> bytes:
    """Return a digest of a network's weights."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())).digest()


def export_every_output(
    module: nn.Module, shape: tuple[int, ...], dtype: np.dtype[Any], n_outputs: int
) -> "InferenceSession":
    """Export a network with every layer's output, for onnxruntime without optimisation, in one thread."""
    from cnnclf.onnx._export import to_graph
    from cnnclf.onnx._runtime import onnxruntime

    example = torch.from_numpy(np.zeros((2, *shape), dtype))
    with session("cpu"):
        graph = to_graph(EveryOutput(module), example, [f"output{i}" for i in range(n_outputs)])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def list_cells(layer: LayerCheck) -> tuple[str, ...]:
    """Return the row of a layer in the table of a verification."""
    mark = "✗" if not layer.passed else "○" if layer.numpy is None else "✓"
    again = "same" if layer.torch else "differs"
    errors = error_share(layer.numpy), error_share(layer.onnx)
    return mark, layer.name, layer.kind, f"{layer.n_values:,}", again, *errors


def error_share(value: float | None) -> str:
    """Return a share as text, for the table of a verification."""
    if value is None:
        return "not recomputed"
    return "same" if value == 0 else percent(value)
