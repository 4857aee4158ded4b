"""Named architectures: ``name → build(image_shape, n_classes) → nn.Sequential``, and each one's facts."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cnnclf._utils.text import did_you_mean, quote

ImageShape = tuple[int, int, int]
ArchitectureFunction = Callable[[ImageShape, int], nn.Module]


@dataclass(frozen=True)
class Conv:
    """A convolution; its kernel shrinks to the feature map where that is smaller."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    bias: bool = True


@dataclass(frozen=True)
class Flatten:
    """Feature maps become one row of features."""


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
    """2×2 max pooling, left out where fewer than four pixels are left."""


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over channels."""


@dataclass(frozen=True)
class ReLU:
    """Rectified linear unit."""


Layer = Conv | Pool | Norm | ReLU | Dropout | Flatten | Dense


@dataclass(frozen=True)
class Architecture:
    """One row of the table: the layers before the output layer, and what is known about them.

    Attributes
    ----------
    layers : tuple of Layer
        What stands between the pixels and the output layer.
    source : str
        Where the architecture comes from.
    n_parameters : int
        Trainable parameters for 1×28×28 images and 10 classes.
    """

    layers: tuple[Layer, ...]
    source: str
    n_parameters: int

    def build(self, image_shape: ImageShape, n_classes: int) -> nn.Sequential:
        """Make the network for images of ``image_shape`` (channels, height, width) with ``n_classes`` logits."""
        return build_sequential(self.layers, image_shape, n_classes)


# The order inside our own blocks is convolution, pool, norm, ReLU: pooling first quarters the work of
# the other two, and a maximum commutes with ReLU.
ARCHITECTURES: dict[str, Architecture] = {
    "compact": Architecture(
        layers=(
            *(Conv(16, kernel=5, bias=False), Pool(), Norm(), ReLU()),
            *(Conv(32, kernel=5, bias=False), Pool(), Norm(), ReLU()),
            *(Flatten(), Dense(256), ReLU()),
        ),
        source="cnnclf: the fewest CPU seconds to 99 % on MNIST",
        n_parameters=147_194,
    ),
    "accurate": Architecture(
        layers=(
            *(Conv(32, kernel=5, bias=False), Norm(), ReLU()),
            *(Conv(48, kernel=5, stride=2, padding=2, bias=False), Norm(), ReLU()),
            *(Conv(64, kernel=5, bias=False), Norm(), ReLU()),
            *(Conv(96, kernel=5, bias=False), Norm(), ReLU()),
            *(Flatten(), Dropout(0.3)),
        ),
        source="cnnclf: the most accurate for its compute; 5×5 throughout, and a stride of 2 instead of pooling",
        n_parameters=285_450,
    ),
    "tiny": Architecture(
        layers=(
            *(Conv(10, bias=False), Norm(), ReLU()),
            *(Conv(14, bias=False), Pool(), Norm(), ReLU()),
            *(Conv(16, bias=False), Norm(), ReLU()),
            *(Conv(16, bias=False), Pool(), Norm(), ReLU(), Flatten()),
        ),
        source="cnnclf: fewer than 10,000 parameters",
        n_parameters=8_352,
    ),
    "lenet5": Architecture(
        layers=(
            *(Conv(6, kernel=5, padding=2), ReLU(), Pool()),
            *(Conv(16, kernel=5), ReLU(), Pool()),
            *(Flatten(), Dense(120), ReLU(), Dense(84), ReLU()),
        ),
        source="LeCun et al. 1998, Gradient-based learning applied to document recognition, fig. 2; "
        "with ReLU, max pooling and full connections",
        n_parameters=61_706,
    ),
    "keras_mnist": Architecture(
        layers=(*(Conv(32), ReLU(), Pool()), *(Conv(64), ReLU(), Pool()), Flatten(), Dropout(0.5)),
        source="Keras code example “Simple MNIST convnet”",
        n_parameters=34_826,
    ),
    "pytorch_mnist": Architecture(
        layers=(
            *(Conv(32), ReLU()),
            *(Conv(64), ReLU(), Pool(), Dropout(0.25)),
            *(Flatten(), Dense(128), ReLU(), Dropout(0.5)),
        ),
        source="PyTorch examples, mnist/main.py",
        n_parameters=1_199_882,
    ),
    "pool3_head1": Architecture(
        layers=(
            *(Conv(32), ReLU(), Pool()),
            *(Conv(64), ReLU(), Pool()),
            *(Conv(128), ReLU(), Pool()),
            *(Flatten(), Dense(128), ReLU(), Dropout(0.3)),
        ),
        source="course net: three convolution–pool blocks, one hidden dense layer",
        n_parameters=110_474,
    ),
    "pool3_head3": Architecture(
        layers=(
            *(Conv(32), ReLU(), Pool()),
            *(Conv(64), ReLU(), Pool()),
            *(Conv(128), ReLU(), Pool()),
            *(Flatten(), Dense(128), ReLU(), Dropout(0.3)),
            *(Dense(64), ReLU(), Dropout(0.3)),
            *(Dense(32), ReLU(), Dropout(0.3)),
        ),
        source="course net: three convolution–pool blocks, three hidden dense layers",
        n_parameters=119_850,
    ),
    "pool2_conv3": Architecture(
        layers=(
            *(Conv(32), ReLU(), Pool()),
            *(Conv(64), ReLU(), Pool()),
            *(Conv(64), ReLU()),
            *(Flatten(), Dense(64), ReLU()),
        ),
        source="course net: two convolution–pool blocks, a third convolution, one hidden dense layer",
        n_parameters=93_322,
    ),
}


def list_architectures() -> list[str]:
    """List the names that ``CNNClassifier(architecture=...)`` knows.

    Returns
    -------
    list of str
        The default first.

    Examples
    --------
    >>> from cnnclf import list_architectures
    >>> list_architectures()[0]
    'compact'
    """
    return list(ARCHITECTURES)


def find_architecture(name: str) -> Architecture:
    """Look up an architecture by name.

    Parameters
    ----------
    name : str
        One of :func:`list_architectures`.

    Returns
    -------
    Architecture
        Its layers and facts.

    Raises
    ------
    ValueError
        For an unknown name; the sentence offers the nearest known one.

    Examples
    --------
    >>> find_architecture("lenet5").n_parameters
    61706
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    raise ValueError(
        f"architecture must be one of {', '.join(ARCHITECTURES)}, or a callable (image_shape, n_classes) -> nn.Module; "
        f"got {quote(name)}.{did_you_mean(name, ARCHITECTURES)}"
    )


class Standardise(nn.Module):
    """First layer of every fitted network: raw pixels of any dtype become (pixel − mean) / std, channel by channel.

    A channel that never varied in training, of std 0, becomes 0 whatever comes later: the network knows nothing of it.

    Parameters
    ----------
    mean, std : Tensor of shape (channels,), float32
        Learnt from the training images, in pixel units.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    @classmethod
    def learn(cls, pixels: torch.Tensor, order: torch.Tensor) -> "Standardise":
        """Measure mean and standard deviation of each channel over the rows in ``order``.

        Parameters
        ----------
        pixels : Tensor of shape (n, channels, height, width), uint8 or float32
            Raw pixels.
        order : Tensor of shape (n_visits,), int64
            Rows to measure, in the order in which they are added up.
        """
        n_channels = pixels.shape[1]
        n = len(order) * pixels[0, 0].numel()
        step = max(1, 2**17 // pixels[0].numel())  # slices whose float64 copies stay in the cache
        mean = variance = torch.zeros(n_channels, dtype=torch.float64)
        if pixels.dtype == torch.uint8:  # sums of whole numbers are exact in any order, and one pass is enough
            total, squares = torch.zeros(2, n_channels, dtype=torch.float64)
            visits = torch.bincount(order, minlength=len(pixels)).double()
            for part, times in zip(torch.split(pixels, step), torch.split(visits, step), strict=True):
                x = part.double()
                total += times @ x.sum(dim=(2, 3))
                squares += times @ x.square_().sum(dim=(2, 3))
            mean = total / n
            # n Σx² − (Σx)² in Python's integers, as it may be the small difference of large numbers.
            pairs = zip(total.tolist(), squares.tolist(), strict=True)
            variance = torch.tensor([(n * int(q) - int(s) ** 2) / n**2 for s, q in pairs], dtype=torch.float64)
        else:
            varies = torch.zeros(n_channels, dtype=torch.bool)
            for part in torch.split(order, step):
                x = pixels.index_select(0, part)
                mean = mean + x.double().sum(dim=(0, 2, 3)) / n
                varies |= (x != pixels[order[0], :, :1, :1]).any(dim=3).any(dim=2).any(dim=0)
            for part in torch.split(order, step):
                deviation = pixels.index_select(0, part).double() - mean[:, None, None]
                variance = variance + deviation.square_().sum(dim=(0, 2, 3)) / n
            variance *= varies  # of a channel that never varies rounding alone is left
        return cls(mean.float(), variance.sqrt().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise images of shape (n, channels, height, width)."""
        return (x.to(self.mean.dtype) - self.mean) / self.std.masked_fill(self.std == 0, math.inf)


class Residual(nn.Module):
    """A residual block, ``body(x) + shortcut(x)``: one layer of an ``nn.Sequential`` that a trace can enter.

    Parameters
    ----------
    body : nn.Sequential
        The named layers of the long way.
    shortcut : nn.Module, optional
        What brings ``x`` to the shape that leaves the body, such as a 1×1 convolution; ``x`` itself without it.

    References
    ----------
    He et al. 2016, Deep residual learning for image recognition, section 3.2.

    Examples
    --------
    >>> block = Residual(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)))
    >>> block(torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 1, 5, 5])
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the long way and the short one."""
        shortcut: torch.Tensor = x if self.shortcut is None else self.shortcut(x)
        body: torch.Tensor = self.body(x)
        return body + shortcut


def build_sequential(layers: tuple[Layer, ...], image_shape: ImageShape, n_classes: int) -> nn.Sequential:
    """Turn a literal list of layers into torch modules that fit the image.

    Parameters
    ----------
    layers : tuple of Layer
        Everything before the output layer.
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
    """Make one layer for feature maps of ``shape`` (without the batch axis); give it with the shape that leaves it.

    The module is None where the layer has nothing to do: no pooling below four pixels.
    """
    match layer:
        case Conv(channels, kernel, stride, padding, bias):
            # A kernel is never larger than its input, and its padding never more than half of it.
            (k_h, k_w) = kernels = (min(kernel, shape[1]), min(kernel, shape[2]))
            (p_h, p_w) = paddings = (min(padding, k_h // 2), min(padding, k_w // 2))
            height, width = (shape[1] + 2 * p_h - k_h) // stride + 1, (shape[2] + 2 * p_w - k_w) // stride + 1
            return nn.Conv2d(shape[0], channels, kernels, stride, paddings, bias=bias), (channels, height, width)
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


@dataclass(frozen=True)
class LayerSummary:
    """What one layer of a network is, for a table.

    Attributes
    ----------
    name : str
        Its name in the ``nn.Sequential``.
    kind : str
        Its class, with the settings that matter.
    output_shape : tuple of int
        Shape of what leaves it, without the batch axis.
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiplications, each with an addition, that one image costs, as :func:`count_multiply_adds` counts them.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    n_parameters: int
    n_multiply_adds: int


def summarize(module: nn.Module, image_shape: ImageShape) -> list[LayerSummary]:
    """Walk once through a network and list its layers.

    Parameters
    ----------
    module : nn.Module
        An ``nn.Sequential`` gives one row a layer; any other module one row.
    image_shape : tuple of int
        (channels, height, width) of the images it takes.

    Returns
    -------
    list of LayerSummary
        In the order in which an image passes them.

    Examples
    --------
    >>> net = find_architecture("lenet5").build((1, 28, 28), 10)
    >>> for layer in summarize(net, (1, 28, 28))[:3]:
    ...     print(layer.name, layer.kind, layer.output_shape, layer.n_parameters, layer.n_multiply_adds)
    conv1 Conv2d 5×5, padding 2 (6, 28, 28) 156 117600
    relu1 ReLU (6, 28, 28) 0 0
    pool1 MaxPool2d 2×2 (6, 14, 14) 0 0
    """
    first = next(module.parameters(), None)
    x = torch.zeros(1, *image_shape, dtype=torch.float32, device="cpu" if first is None else first.device)
    rows = []
    training = module.training
    module.eval()
    with torch.no_grad(), MultiplyAdds() as counter:
        for name, layer in list_layers(module):
            before = counter.total
            x = layer(x)
            n_multiply_adds = counter.total - before
            rows.append(
                LayerSummary(name, describe(layer), tuple(x.shape[1:]), count_parameters(layer), n_multiply_adds)
            )
    module.train(training)
    return rows


def count_multiply_adds(module: nn.Module, image_shape: ImageShape) -> int:
    """Count the multiply-adds of one image's way through a network.

    They are half of the operations that ``torch.utils.flop_counter`` counts. A convolution has positions that leave it
    × kernel × channels that enter it ÷ groups × channels that leave it, a transposed one the positions that enter it; a
    linear layer has the features that enter it × those that leave it. Products of matrices are counted wherever they
    are called, within blocks and functions too. Biases, normalisation, activation and pooling are not counted.

    Parameters
    ----------
    module : nn.Module
        The network.
    image_shape : tuple of int
        (channels, height, width) of the images it takes.

    Returns
    -------
    int
        Multiply-adds of a forward pass of one image.

    Examples
    --------
    >>> count_multiply_adds(nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(24, 10)), (1, 6, 6))
    840
    """
    return sum(layer.n_multiply_adds for layer in summarize(module, image_shape))


class MultiplyAdds(TorchDispatchMode):
    """Count the multiply-adds of all that torch computes meanwhile in this thread, by torch's own formulas.

    ``FlopCounterMode`` has the same total, but hooks into every module of the process, those of other threads too.

    Attributes
    ----------
    total : int
        Multiply-adds so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what was asked for, in parts where torch has a formula for the parts alone."""
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=result) // 2
        return result


def list_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List the named layers of an ``nn.Sequential``; any other module is one layer named ``module``."""
    if type(module).forward is nn.Sequential.forward:
        # named_children() would leave out a layer object that stands there a second time.
        return [(name, layer) for name, layer in module._modules.items() if layer is not None]
    return [("module", module)]


# Layers that lay a window on a row, on maps and on volumes.
WINDOWED = (
    (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d),
    (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d),
    (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d),
)
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def describe(layer: nn.Module) -> str:
    """Name a layer's class with the settings that matter to a reader."""
    kind = type(layer).__name__
    if isinstance(layer, nn.Dropout):
        return f"{kind} {layer.p:g}"
    n_axes = next((n for n, kinds in enumerate(WINDOWED, start=1) if isinstance(layer, kinds)), 0)
    if not n_axes:
        return kind
    window = along(layer.kernel_size, n_axes)
    usual = {"stride": window if isinstance(layer, POOLINGS) else (1,) * n_axes, "padding": (0,) * n_axes}
    text = f"{kind} {'×'.join(map(str, window))}"
    for name, value in usual.items():
        setting = along(getattr(layer, name), n_axes)
        if setting not in (value, ("valid",) * n_axes):
            text += f", {name} {'×'.join(map(str, setting)) if len({*setting}) > 1 else setting[0]}"
    return text


def along(setting: Any, n_axes: int) -> tuple[Any, ...]:
    """Give a setting that one number or word may stand for once an axis."""
    return tuple(setting) if isinstance(setting, tuple | list) else (setting,) * n_axes


def count_parameters(module: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
