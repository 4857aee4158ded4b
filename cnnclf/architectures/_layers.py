"""Layers of the table of architectures, as plain records that need no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import nn

ImageShape = tuple[int, int, int]
ArchitectureFunction: TypeAlias = Callable[[ImageShape, int], "nn.Module"]


@dataclass(frozen=True)
class Conv:
    """A convolution; its kernel shrinks to the feature map if that is smaller.

    With the padding "same" the kernel is odd, and the map keeps its size.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int | Literal["same"] = 0
    bias: bool = True


@dataclass(frozen=True)
class Flatten:
    """Turns feature maps into one row of features."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer."""

    features: int


@dataclass(frozen=True)
class Dropout:
    """Dropout with probability ``p``."""

    p: float


@dataclass(frozen=True)
class Pool:
    """2×2 max pooling, left out if fewer than four pixels are left."""


@dataclass(frozen=True)
class GlobalPool:
    """Pools each feature map to one number, its largest or its mean; the parameters do not grow with the image."""

    of: Literal["max", "mean"] = "max"


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over channels."""


@dataclass(frozen=True)
class ReLU:
    """Rectified linear unit: max(0, x)."""


@dataclass(frozen=True)
class LeakyReLU:
    """ReLU that multiplies negative numbers by a slope instead of 0."""

    slope: float = 0.01


@dataclass(frozen=True)
class GELU:
    """Gaussian error linear unit: x·(1 + erf(x / √2)) / 2."""


@dataclass(frozen=True)
class SiLU:
    """Sigmoid linear unit: x / (1 + exp(−x))."""


@dataclass(frozen=True)
class Tanh:
    """Hyperbolic tangent."""


@dataclass(frozen=True)
class Sigmoid:
    """Logistic function: 1 / (1 + exp(−x))."""


@dataclass(frozen=True)
class Residual:
    """A residual block: the output of ``layers``, which keep the size of the map, plus their input.

    Where the number of channels differs, the input passes a 1×1 convolution and batch normalisation (He et al. 2016,
    Deep residual learning for image recognition, section 3.3, option B).
    """

    layers: "tuple[Layer, ...]"


@dataclass(frozen=True)
class Stage:
    """Layers that are left out if the longer side of the feature map has fewer than ``smallest`` pixels."""

    layers: "tuple[Layer, ...]"
    smallest: int


Activation = ReLU | LeakyReLU | GELU | SiLU | Tanh | Sigmoid
Layer = Conv | Pool | GlobalPool | Norm | Activation | Dropout | Flatten | Dense | Residual | Stage
