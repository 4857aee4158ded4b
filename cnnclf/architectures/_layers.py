"""Layers of the table of architectures, as plain records that need no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import nn

ImageShape = tuple[int, int, int]
ArchitectureFunction: TypeAlias = Callable[[ImageShape, int], "nn.Module"]


@dataclass(frozen=True)
class Conv:
    """A convolution; its kernel shrinks to the feature map if that is smaller."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
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
class Norm:
    """Batch normalisation over channels."""


@dataclass(frozen=True)
class ReLU:
    """Rectified linear unit."""


Layer = Conv | Pool | Norm | ReLU | Dropout | Flatten | Dense
