"""One image on its way through a fitted network: every layer's values, recorded once, proved three times."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnclf.architectures import Residual, Standardise, count_parameters, describe, list_layers
from cnnclf.training import session

Array = NDArray[np.float32]

KINDS = (
    *("standardise", "conv", "norm", "relu", "max_pool", "avg_pool", "global_avg_pool"),
    *("dropout", "flatten", "dense", "softmax", "block", "residual", "unknown"),
)


@dataclass(frozen=True, eq=False)
class Step:
    """What one layer made of one image.

    Attributes
    ----------
    name : str
        The layer's name, "conv1"; inside a block with the block's name before it, "block1.conv1".
    kind : str
        One of ``KINDS``; "unknown" for a layer that is shown but not recomputed.
    description : str
        The layer in words, "Conv2d 5×5, padding 2".
    input, output : ndarray, float32 (the first input may be uint8)
        Without the batch axis: (channels, height, width) or (features,). Read-only copies.
    weights : mapping of str to ndarray, float32
        Named as in torch: "weight", "bias", "running_mean", "running_var", and "mean", "std" of the first layer.
        Read-only copies.
    settings : mapping of str to int, float or pairs of int
        What else the layer needs, each pair (vertical, horizontal). A convolution has "kernel", "stride", "padding"
        (both ends alike), "dilation" and "groups"; pooling "window", "stride" and "padding"; batch norm "eps".
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiplications that are added up, for one image.
    steps : tuple of Step
        What happened inside a block; empty for a single layer.
    """

    name: str
    kind: str
    description: str
    input: NDArray[Any]
    output: NDArray[Any]
    weights: Mapping[str, Array]
    settings: Mapping[str, Any]
    n_parameters: int
    n_multiply_adds: int
    steps: tuple["Step", ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """The values of every layer of a fitted network for one image.

    Attributes
    ----------
    image : ndarray of shape (channels, height, width), uint8 or float32
        The raw pixels.
    classes : ndarray of shape (n_classes,)
        The labels, in the order of the logits.
    steps : tuple of Step
        One a layer, in the order in which the image passes them; the last one is the softmax.
    """

    image: NDArray[Any]
    classes: NDArray[Any]
    steps: tuple[Step, ...]
    _module: nn.Sequential

    @classmethod
    def record(cls, module: nn.Sequential, image: NDArray[Any], classes: NDArray[Any]) -> "Trace":
        """Send one image (channels, height, width) through a copy of a network and keep what every layer gives."""
        module = copy.deepcopy(module).cpu().eval()
        with session("cpu"), torch.inference_mode():
            x = torch.from_numpy(np.array(image)[np.newaxis]).contiguous(memory_format=torch.channels_last)
            steps, logits = run(module, x)
            softmax = Step(
                "softmax", "softmax", "Softmax", as_array(logits), as_array(logits.softmax(dim=1)), {}, {}, 0, 0
            )
        return cls(frozen(image), frozen(classes), (*steps, softmax), module)

    @property
    def logits(self) -> Array:
        """One number a class, before the softmax."""
        return self.steps[-1].input

    @property
    def probabilities(self) -> Array:
        """One probability a class."""
        return self.steps[-1].output

    @property
    def label(self) -> Any:
        """The predicted class."""
        return self.classes[self.logits.argmax()]

    def __getitem__(self, name: str) -> Step:
        """Find a step by its layer's name; those inside blocks too."""
        for step in walk(self.steps):
            if step.name == name:
                return step
        names = ", ".join(step.name for step in walk(self.steps))
        raise KeyError(f"Expected the name of a layer, one of {names}; got {name!r}.")


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Give every step, a block before what is inside it."""
    for step in steps:
        yield step
        yield from walk(step.steps)


def run(module: nn.Module, x: torch.Tensor, prefix: str = "") -> tuple[tuple[Step, ...], torch.Tensor]:
    """Fold an ``nn.Sequential`` over a batch of one image: the steps, and what leaves the last layer."""
    steps = []
    for name, layer in list_layers(module):
        step, x = run_layer(prefix + name, layer, x)
        steps.append(step)
    return tuple(steps), x


def run_layer(name: str, layer: nn.Module, x: torch.Tensor) -> tuple[Step, torch.Tensor]:
    """Send a batch of one image through one layer."""
    kind, settings = recognise(layer, x)
    inner: tuple[Step, ...] = ()
    if kind == "block":
        inner, y = run(layer, x, f"{name}.")
    elif kind == "residual":
        inner, y = run(layer.body, x, f"{name}.")
        if layer.shortcut is not None:
            step, shortcut = run_layer(f"{name}.shortcut", layer.shortcut, x)
            inner = (*inner, step)
        else:
            shortcut = x
        y = y + shortcut
    else:
        y = layer(x)
    tensors = {} if inner else {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    weights = {key: as_weights(value) for key, value in tensors.items() if value.is_floating_point()}
    step = Step(
        name,
        kind,
        describe(layer),
        as_array(x),
        as_array(y),
        MappingProxyType(weights),
        MappingProxyType(settings),
        count_parameters(layer),
        sum(step.n_multiply_adds for step in inner) if inner else count_multiply_adds(kind, weights, y),
        inner,
    )
    return step, y


def recognise(layer: nn.Module, x: torch.Tensor) -> tuple[str, dict[str, Any]]:
    """Tell what kind of layer this is, and its settings; "unknown" for whatever we could not recompute."""
    match layer:
        case Standardise():
            return "standardise", {}
        case nn.Conv2d() if layer.padding_mode == "zeros" and (padding := conv_padding(layer)) is not None:
            return "conv", {
                "kernel": layer.kernel_size,
                "stride": layer.stride,
                "padding": padding,
                "dilation": layer.dilation,
                "groups": layer.groups,
            }
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
        case Residual():
            return "residual", {}
    return ("block", {}) if type(layer).forward is nn.Sequential.forward else ("unknown", {})


def conv_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Resolve a convolution's padding to (vertical, horizontal); None where the two ends differ."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
    assert not isinstance(layer.padding, str)
    return pair(layer.padding)


def pooling_settings(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """Give a pooling layer's window, stride and padding as pairs."""
    return {name: pair(getattr(layer, attribute)) for name, attribute in POOLING_SETTINGS}


POOLING_SETTINGS = (("window", "kernel_size"), ("stride", "stride"), ("padding", "padding"))


def pair(value: Any) -> tuple[int, int]:
    """Give a setting that torch lets one number or two stand for as two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def count_multiply_adds(kind: str, weights: Mapping[str, Array], y: torch.Tensor) -> int:
    """Count the products of a convolution or dense layer: one weight matrix for every place it is laid on."""
    if kind not in ("conv", "dense"):
        return 0
    n_places = math.prod(y.shape[2:])
    return weights["weight"].size * n_places


def as_array(x: torch.Tensor) -> NDArray[Any]:
    """Copy a batch of one out of torch, C-contiguous, read-only, without the batch axis."""
    return frozen(x[0].numpy())


def as_weights(tensor: torch.Tensor) -> Array:
    """Copy a parameter or buffer out of torch, C-contiguous and read-only."""
    return frozen(tensor.detach().numpy())


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array, C-contiguous and read-only."""
    copied = np.array(array, order="C")
    copied.flags.writeable = False
    return copied
