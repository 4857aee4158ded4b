"""Running a network and recording what every layer computes.

Recording and exporting use the same function, ``fold_to_softmax``, so that both see the same layers.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._summary import MultiplyAdds, count_parameters, describe, list_layers
from cnnclf.inspection._records import Array, S
from cnnclf.training._inference import rows_alike
from cnnclf.training._runtime import session


def record_steps(module: nn.Module, image: NDArray[Any], record: type[S]) -> tuple[S, ...]:
    """Run a network on one image (channels, height, width); return one record of the given class per layer."""
    with session("cpu"), torch.inference_mode():
        # rows_alike gives the bits of predict, but pads the batch; so the products are counted in a plain run.
        passes = fold_to_softmax(module, as_batch(image), How(apply=lambda layer, x: rows_alike(layer)(x)))
        with MultiplyAdds() as counter:
            counted = fold_to_softmax(module, as_batch(image), How(count=lambda: counter.total))
        return to_steps(passes, counted, record)


def as_batch(image: NDArray[Any]) -> torch.Tensor:
    """Return an image as a batch of one, in the memory format of prediction."""
    return torch.from_numpy(np.array(image)[np.newaxis]).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class Pass:
    """The input and output of one layer for a batch of images, and the passes through the layers inside a block."""

    name: str
    layer: nn.Module
    input: torch.Tensor
    output: torch.Tensor
    steps: tuple["Pass", ...] = ()
    n_multiply_adds: int = 0


@dataclass(frozen=True)
class How:
    """How a layer is applied, and what returns the multiply-adds counted so far."""

    apply: Callable[[nn.Module, Any], Any] = lambda layer, x: layer(x)
    count: Callable[[], int] = lambda: 0


PLAINLY = How()


def fold_to_softmax(module: nn.Module, x: torch.Tensor, how: How = PLAINLY) -> tuple[Pass, ...]:
    """Run a network and a softmax on a batch."""
    passes, logits = fold(module, x, "", how)
    softmax = nn.Softmax(dim=1)
    name = unused("softmax", [each.name for each in passes])
    return *passes, Pass(name, softmax, snapshot(logits), softmax(logits))


def fold(module: nn.Module, x: Any, prefix: str, how: How) -> tuple[tuple[Pass, ...], Any]:
    """Run the layers of an ``nn.Sequential`` on a batch; return every pass and the last output."""
    passes = []
    before = snapshot(x)
    for name, layer in list_layers(module):
        counted = how.count()
        inside, x = enter(prefix + name, layer, x, how)
        after = snapshot(x)
        passes.append(Pass(prefix + name, layer, before, after, inside, how.count() - counted))
        before = after
    return tuple(passes), x


def enter(name: str, layer: nn.Module, x: Any, how: How) -> tuple[tuple[Pass, ...], Any]:
    """Run one layer on a batch; return the passes inside, if it is a block, and the output."""
    if is_forward_of(layer, nn.Sequential):
        return fold(layer, x, f"{name}.", how)
    if isinstance(layer, Residual) and is_forward_of(layer, Residual):
        before = snapshot(x)
        shortcut = nn.Identity() if layer.shortcut is None else layer.shortcut
        short_name = unused(f"{name}.shortcut", [f"{name}.{inner}" for inner, _ in list_layers(layer.body)])
        counted = how.count()
        inside, short = enter(short_name, shortcut, x, how)  # before the body, as in Residual.forward
        counted = how.count() - counted
        body, y = fold(layer.body, x, f"{name}.", how)
        return (*body, Pass(short_name, shortcut, before, snapshot(short), inside, counted)), y + short
    return (), how.apply(layer, x)


def is_forward_of(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Check that a layer runs the ``forward`` of the given class, not that of a subclass."""
    return getattr(layer.forward, "__func__", None) is kind.forward


def snapshot(x: Any) -> torch.Tensor:
    """Copy a tensor before a layer may overwrite it; the first one of several, as recurrent layers return them."""
    while not isinstance(x, torch.Tensor):
        x = x[0]
    return x.clone()


def unused(name: str, taken: Collection[str]) -> str:
    """Return a name, with underscores appended until it is not taken."""
    while name in taken:
        name += "_"
    return name


def to_steps(passes: tuple[Pass, ...], counted: tuple[Pass, ...], record: type[S]) -> tuple[S, ...]:
    """Return passes as records of NumPy arrays; each batch norm refers to the convolution before it."""
    steps: list[S] = []
    conv: S | None = None
    for each, count in zip(passes, counted, strict=True):
        step = to_step(each, count, conv, record)
        if step.kind == "conv":
            conv = step
        elif step.kind not in ("max_pool", "avg_pool", "global_avg_pool", "dropout"):  # what a kernel folds through
            conv = None
        steps.append(step)
    return tuple(steps)


def to_step(each: Pass, counted: Pass, conv: S | None, record: type[S]) -> S:
    """Return one pass as a record of NumPy arrays."""
    kind, settings = recognise(each.layer, each.input)
    inner = to_steps(each.steps, counted.steps, record)
    weights = {} if inner else read_weights(each.layer, kind)
    arrays = each.input[0].numpy(), each.output[0].numpy(), weights
    counts = count_parameters(each.layer), counted.n_multiply_adds
    before = conv if kind == "norm" else None
    return record(each.name, kind, describe(each.layer), *arrays, settings, *counts, inner, before)


RECOGNISED = (
    *(Standardise, nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Softmax),
    *(nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, nn.Linear, Residual, nn.Sequential),
)


def recognise(layer: nn.Module, x: torch.Tensor) -> tuple[str, dict[str, Any]]:
    """Return a layer's kind and settings; "unknown" for a layer that could not be recomputed."""
    if not any(isinstance(layer, kind) and is_forward_of(layer, kind) for kind in RECOGNISED):
        return "unknown", {}
    match layer:
        case Standardise():
            return "standardise", {}
        case nn.Conv2d() if layer.padding_mode == "zeros" and (padding := conv_padding(layer)) is not None:
            settings = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": padding}
            return "conv", {**settings, "dilation": layer.dilation, "groups": layer.groups}
        case nn.BatchNorm2d() | nn.BatchNorm1d() if layer.running_mean is not None:
            return "norm", {"eps": layer.eps}
        case nn.ReLU():
            return "relu", {}
        case nn.MaxPool2d() if pair(layer.dilation) == (1, 1) and not layer.ceil_mode and not layer.return_indices:
            return "max_pool", pooling_settings(layer)
        case nn.AvgPool2d() if not layer.ceil_mode and layer.divisor_override is None and pair(layer.padding) == (0, 0):
            return "avg_pool", pooling_settings(layer)
        case nn.AdaptiveAvgPool2d() if pair(layer.output_size) == (1, 1):
            return "global_avg_pool", {}
        case nn.Dropout() | nn.Dropout2d() | nn.Identity():
            return "dropout", {}
        case nn.Flatten() if layer.start_dim == 1 and layer.end_dim == -1:
            return "flatten", {}
        case nn.Linear() if x.ndim == 2:
            return "dense", {}
        case nn.Softmax() if x.ndim == 2 and layer.dim in (1, -1):
            return "softmax", {}
        case Residual():
            return "residual", {}
        case nn.Sequential():
            return ("block" if len(layer) else "dropout"), {}  # an empty one changes nothing
    return "unknown", {}


def conv_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Return a convolution's padding as (vertical, horizontal); None where the two ends of an axis differ."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
    assert not isinstance(layer.padding, str)
    return pair(layer.padding)


def pooling_settings(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """Return a pooling layer's window, stride and padding as pairs."""
    return {name: pair(getattr(layer, attribute)) for name, attribute in POOLING_SETTINGS}


POOLING_SETTINGS = (("window", "kernel_size"), ("stride", "stride"), ("padding", "padding"))


def pair(value: Any) -> tuple[int, int]:
    """Return a setting that may be one number in torch as a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


WEIGHTS = ("weight", "bias", "running_mean", "running_var", "mean", "std")


def read_weights(layer: nn.Module, kind: str) -> dict[str, Array]:
    """Return a layer's weights as NumPy arrays, including those that a parametrisation computes."""
    if kind == "unknown":
        tensors: dict[str, Any] = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    else:
        tensors = {name: getattr(layer, name, None) for name in WEIGHTS}
    return {
        name: tensor.detach().numpy()
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
