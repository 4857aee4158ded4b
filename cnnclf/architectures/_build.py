"""Layer records + image shape → `nn.Sequential` of named modules."""

import math
from collections import Counter

from torch import nn

from cnnclf.architectures import _modules as modules
from cnnclf.architectures._layers import (
    GELU,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    ImageShape,
    Layer,
    LeakyReLU,
    Norm,
    Pool,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Stage,
    Tanh,
)

Shape = tuple[int, ...]  # of feature maps or features, without the batch axis


def build_sequential(layers: tuple[Layer, ...], image_shape: ImageShape, n_classes: int) -> nn.Sequential:
    """Return a literal list of layers as torch modules that fit the image.

    Parameters
    ----------
    layers : tuple of Layer
        All layers before the output layer.
    image_shape : tuple of int
        (channels, height, width).
    n_classes : int
        Width of the output layer.

    Returns
    -------
    nn.Sequential
        Modules named after their kind and count (``conv1``, ``relu1``, ``pool1``, …), the last one ``output``.

    Examples
    --------
    >>> build_sequential((Conv(8), ReLU(), Flatten()), (1, 5, 5), 10)
    Sequential(
      (conv1): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
      (relu1): ReLU()
      (flatten1): Flatten(start_dim=1, end_dim=-1)
      (output): Linear(in_features=72, out_features=10, bias=True)
    )
    """
    sequential, shape = stack(layers, image_shape)
    sequential.add_module("output", nn.Linear(shape[0], n_classes))
    return sequential


def stack(layers: tuple[Layer, ...], shape: Shape) -> tuple[nn.Sequential, Shape]:
    """Return layers for feature maps of ``shape``, named after their kind and count, and the shape of their output."""
    sequential = nn.Sequential()
    count: Counter[str] = Counter()
    pending = [*reversed(layers)]
    while pending:
        layer = pending.pop()
        if isinstance(layer, Stage):
            if max(shape[1:]) >= layer.smallest:
                pending += reversed(layer.layers)
            continue
        module, shape = fit_layer(layer, shape)
        if module is not None:
            kind = type(layer).__name__.lower()
            count[kind] += 1
            sequential.add_module(f"{kind}{count[kind]}", module)
    return sequential, shape


def fit_layer(layer: Layer, shape: Shape) -> tuple[nn.Module | None, Shape]:
    """Return one layer for feature maps of ``shape``, and the shape of its output.

    The module is None if the layer has nothing to do: no pooling below four pixels, no global one of a single pixel.
    """
    match layer:
        case Conv(channels, kernel, stride, padding, bias):
            kernels, paddings = fit_kernel(kernel, padding, shape[1:])
            sizes = ((n + 2 * p - k) // stride + 1 for n, k, p in zip(shape[1:], kernels, paddings, strict=True))
            return nn.Conv2d(shape[0], channels, kernels, stride, paddings, bias=bias), (channels, *sizes)
        case Pool():
            if math.prod(shape[1:]) < 4:
                return None, shape
            window = (min(2, shape[1]), min(2, shape[2]))
            return nn.MaxPool2d(window), (shape[0], shape[1] // window[0], shape[2] // window[1])
        case GlobalPool():
            if math.prod(shape[1:]) == 1:
                return None, shape
            return (nn.AdaptiveMaxPool2d(1) if layer.of == "max" else nn.AdaptiveAvgPool2d(1)), (shape[0], 1, 1)
        case Norm():
            return nn.BatchNorm2d(shape[0]), shape
        case ReLU() | GELU() | SiLU() | Tanh() | Sigmoid():
            return getattr(nn, type(layer).__name__)(), shape
        case LeakyReLU(slope):
            return nn.LeakyReLU(slope), shape
        case Dropout(p):
            return nn.Dropout(p), shape
        case Flatten():
            return nn.Flatten(), (math.prod(shape),)
        case Dense(features):
            return nn.Linear(shape[0], features), (features,)
        case Residual(layers):
            body, after = stack(layers, shape)
            if after == shape:
                return modules.Residual(body), shape
            shortcut = (Conv(after[0], kernel=1, bias=False), Norm())
            return modules.Residual(body, stack(shortcut, shape)[0]), after
    raise AssertionError(layer)


def fit_kernel(kernel: int, padding: int | str, sizes: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return height and width of a kernel and of its padding.

    A kernel is never larger than its input, and its padding never more than half of the kernel. With the padding "same"
    it is never larger than 2n − 1 for n pixels: the weights beyond would meet nothing but padding.
    """
    if padding == "same":
        height, width = (min(kernel, 2 * n - 1) for n in sizes)
        return (height, width), (height // 2, width // 2)
    height, width = (min(kernel, n) for n in sizes)
    return (height, width), (min(int(padding), height // 2), min(int(padding), width // 2))
