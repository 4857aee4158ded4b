"""Layer records + image shape → `nn.Sequential` of named modules."""

import math
from collections import Counter

from torch import nn

from cnnclf.architectures._layers import Conv, Dense, Dropout, Flatten, ImageShape, Layer, Norm, Pool, ReLU


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
    sequential = nn.Sequential()
    count: Counter[str] = Counter()
    shape: tuple[int, ...] = image_shape
    for layer in layers:
        module, shape = fit_layer(layer, shape)
        if module is not None:
            kind = type(layer).__name__.lower()
            count[kind] += 1
            sequential.add_module(f"{kind}{count[kind]}", module)
    sequential.add_module("output", nn.Linear(shape[0], n_classes))
    return sequential


def fit_layer(layer: Layer, shape: tuple[int, ...]) -> tuple[nn.Module | None, tuple[int, ...]]:
    """Return one layer for feature maps of ``shape`` (without the batch axis), and the shape of its output.

    The module is None if the layer has nothing to do: no pooling below four pixels.
    """
    match layer:
        case Conv(channels, kernel, stride, padding, bias):
            # A kernel is never larger than its input, and its padding never more than half of the kernel.
            kernels = (min(kernel, shape[1]), min(kernel, shape[2]))
            paddings = (min(padding, kernels[0] // 2), min(padding, kernels[1] // 2))
            sizes = ((n + 2 * p - k) // stride + 1 for n, k, p in zip(shape[1:], kernels, paddings, strict=True))
            return nn.Conv2d(shape[0], channels, kernels, stride, paddings, bias=bias), (channels, *sizes)
        case Pool():
            if math.prod(shape[1:]) < 4:
                return None, shape
            window = (min(2, shape[1]), min(2, shape[2]))
            return nn.MaxPool2d(window), (shape[0], shape[1] // window[0], shape[2] // window[1])
        case Norm():
            return nn.BatchNorm2d(shape[0]), shape
        case ReLU():
            return nn.ReLU(), shape
        case Dropout(p):
            return nn.Dropout(p), shape
        case Flatten():
            return nn.Flatten(), (math.prod(shape),)
        case Dense(features):
            return nn.Linear(shape[0], features), (features,)
