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
from cnnclf.architectures._summary import MultiplyAdds, along, count_parameters, describe, list_layers
from cnnclf.inspection._records import POOLINGS, Array, S
from cnnclf.training._network import rows_alike
from cnnclf.training._runtime import session


def record_steps(module: nn.Module, image: NDArray[Any], record: type[S]) -> tuple[S, ...]:
    """Run a network on one image (channels, height, width); return one record of the given class per layer."""
    counts: dict[str, int] = {}

    def count(name: str, layer: nn.Module, x: Any) -> Any:
        with MultiplyAdds() as counter:
            y = layer(x)
        counts[name] = counter.total
        return y

    with session("cpu"), torch.inference_mode():
        # rows_alike gives the bits of predict, but pads the batch; so the products are counted in a plain run.
        passes = fold_to_softmax(module, as_batch(image), lambda _, layer, x: rows_alike(layer)(x))
        fold_to_softmax(module, as_batch(image), count)
        return to_steps(passes, counts, record)


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


Apply = Callable[[str, nn.Module, Any], Any]  # returns the output of a layer with a name for an input


def fold_to_softmax(
    module: nn.Module, x: torch.Tensor, apply: Apply = lambda _, layer, x: layer(x)
) -> tuple[Pass, ...]:
    """Run a network and a softmax on a batch."""
    passes, logits = fold(module, x, "", apply)
    softmax = nn.Softmax(dim=1)
    name = unused("softmax", [each.name for each in passes])
    return *passes, Pass(name, softmax, snapshot(logits), softmax(logits))


def fold(module: nn.Module, x: Any, prefix: str, apply: Apply) -> tuple[tuple[Pass, ...], Any]:
    """Run the layers of an ``nn.Sequential`` on a batch; return every pass and the last output."""
    passes = []
    before = snapshot(x)
    for name, layer in list_layers(module):
        inside, x = enter(prefix + name, layer, x, apply)
        after = snapshot(x)
        passes.append(Pass(prefix + name, layer, before, after, inside))
        before = after
    return tuple(passes), x


def enter(name: str, layer: nn.Module, x: Any, apply: Apply) -> tuple[tuple[Pass, ...], Any]:
    """Run one layer on a batch; return the passes inside, if it is a block, and the output."""
    if is_forward_of(layer, nn.Sequential):
        return fold(layer, x, f"{name}.", apply)
    if isinstance(layer, Residual) and is_forward_of(layer, Residual):
        before = snapshot(x)
        shortcut = nn.Identity() if layer.shortcut is None else layer.shortcut
        short_name = unused(f"{name}.shortcut", [f"{name}.{inner}" for inner, _ in list_layers(layer.body)])
        inside, short = enter(short_name, shortcut, x, apply)  # before the body, as in Residual.forward
        body, y = fold(layer.body, x, f"{name}.", apply)
        return (*body, Pass(short_name, shortcut, before, snapshot(short), inside)), y + short
    return (), apply(name, layer, x)


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


def to_steps(passes: tuple[Pass, ...], counts: dict[str, int], record: type[S]) -> tuple[S, ...]:
    """Return passes as records of NumPy arrays; each batch norm refers to the convolution before it."""
    steps: list[S] = []
    conv: S | None = None
    for each in passes:
        step = to_step(each, counts, conv, record)
        if step.kind == "conv":
            conv = step
        elif step.kind not in (*POOLINGS, "dropout"):  # what a kernel folds through
            conv = None
        steps.append(step)
    return tuple(steps)


def to_step(each: Pass, counts: dict[str, int], conv: S | None, record: type[S]) -> S:
    """Return one pass as a record of NumPy arrays; a block has the multiply-adds of the layers inside."""
    kind, settings = recognise(each.layer, each.input)
    inner = to_steps(each.steps, counts, record)
    weights = {} if inner else read_weights(each.layer, kind)
    arrays = each.input[0].numpy(), each.output[0].numpy(), weights
    n_multiply_adds = counts.get(each.name, 0) + sum(step.n_multiply_adds for step in inner)
    sizes = count_parameters(each.layer), n_multiply_adds
    before = conv if kind == "norm" else None
    return record(each.name, kind, describe(each.layer), *arrays, settings, *sizes, inner, before)


# The kinds of layers without settings that matter, and the layers that are recognised by their settings.
WITHOUT_SETTINGS: dict[type[nn.Module], str] = {
    Standardise: "standardise",
    **{nn.ReLU: "relu", nn.SiLU: "silu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"},
    **dict.fromkeys([nn.Dropout, nn.Dropout2d, nn.Identity], "dropout"),
    Residual: "residual",
}
WITH_SETTINGS = (
    *(nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.LeakyReLU, nn.GELU, nn.MaxPool2d, nn.AvgPool2d),
    *(nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.Softmax, nn.Sequential),
)


def recognise(layer: nn.Module, x: torch.Tensor) -> tuple[str, dict[str, Any]]:
    """Return a layer's kind and settings; "unknown" for a layer that could not be recomputed."""
    for known, kind in WITHOUT_SETTINGS.items():
        if isinstance(layer, known) and is_forward_of(layer, known):
            return kind, {}
    if not any(isinstance(layer, known) and is_forward_of(layer, known) for known in WITH_SETTINGS):
        return "unknown", {}
    match layer:
        case nn.Conv2d() if layer.padding_mode == "zeros" and (padding := conv_padding(layer)) is not None:
            settings = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": padding}
            return "conv", {**settings, "dilation": layer.dilation, "groups": layer.groups}
        case nn.BatchNorm2d() | nn.BatchNorm1d() if layer.running_mean is not None:
            return "norm", {"eps": layer.eps}
        case nn.LeakyReLU():
            return "leaky_relu", {"slope": layer.negative_slope}
        case nn.GELU() if layer.approximate == "none":
            return "gelu", {}
        case nn.MaxPool2d() if along(layer.dilation, 2) == (1, 1) and not layer.ceil_mode and not layer.return_indices:
            return "max_pool", pooling_settings(layer)
        case nn.AvgPool2d() if (
            not layer.ceil_mode and layer.divisor_override is None and along(layer.padding, 2) == (0, 0)
        ):
            return "avg_pool", pooling_settings(layer)
        case nn.AdaptiveMaxPool2d() if along(layer.output_size, 2) == (1, 1) and not layer.return_indices:
            return "global_max_pool", {}
        case nn.AdaptiveAvgPool2d() if along(layer.output_size, 2) == (1, 1):
            return "global_avg_pool", {}
        case nn.Flatten() if layer.start_dim == 1 and layer.end_dim == -1:
            return "flatten", {}
        case nn.Linear() if x.ndim == 2:
            return "dense", {}
        case nn.Softmax() if x.ndim == 2 and layer.dim in (1, -1):
            return "softmax", {}
        case nn.Sequential():
            return ("block" if len(layer) else "dropout"), {}  # an empty one changes nothing
    return "unknown", {}


def conv_padding(layer: nn.Conv2d) -> tuple[int, ...] | None:
    """Return a convolution's padding as (vertical, horizontal); None where the two ends of an axis differ."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
    return along(layer.padding, 2)


def pooling_settings(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """Return a pooling layer's window, stride and padding as pairs."""
    attributes = {"window": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    return {name: along(setting, 2) for name, setting in attributes.items()}


WEIGHTS = ("weight", "bias", "running_mean", "running_var", "mean", "std")


def read_weights(layer: nn.Module, kind: str) -> dict[str, Array]:
    """Return a layer's weights as NumPy arrays, including those that a parametrisation computes."""
    tensors: dict[str, Any] = {name: getattr(layer, name, None) for name in WEIGHTS}
    if kind == "unknown":
        tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    return {
        name: tensor.detach().numpy()
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
