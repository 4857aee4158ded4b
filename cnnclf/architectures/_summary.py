"""The output shape, the parameters and the cost of every layer of a network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cnnclf.architectures._layers import ImageShape


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network, as a row of a table.

    Attributes
    ----------
    name : str
        Its name in the ``nn.Sequential``.
    kind : str
        Its class, with the settings that matter.
    output_shape : tuple of int
        Shape of its output, without the batch axis.
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiplications with an addition, for one image, as :func:`count_multiply_adds` counts them.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    n_parameters: int
    n_multiply_adds: int


def summarize(module: nn.Module, image_shape: ImageShape) -> list[LayerSummary]:
    """Return the layers of a network.

    Parameters
    ----------
    module : nn.Module
        An ``nn.Sequential`` gives one row per layer; any other module one row.
    image_shape : tuple of int
        (channels, height, width) of the images it takes.

    Returns
    -------
    list of LayerSummary
        In the order of computation.

    Examples
    --------
    >>> from cnnclf.architectures import find_architecture
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
    """Count the multiply-adds of a forward pass of one image.

    They are half of the operations that ``torch.utils.flop_counter`` counts. A convolution has output positions ×
    kernel × input channels ÷ groups × output channels, a transposed one input positions instead of output positions; a
    linear layer has input features × output features. Matrix products are counted wherever they are called, also within
    blocks and functions. Biases, normalisation, activation and pooling are not counted.

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
    """Count the multiply-adds that torch computes in this thread inside the context, by torch's own formulas.

    ``FlopCounterMode`` has the same total, but hooks into every module of the process, also those of other threads.

    Attributes
    ----------
    total : int
        Multiply-adds so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operation, in parts if torch has a formula for the parts alone."""
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
    """Return the named layers of an ``nn.Sequential``; any other module is one layer named ``module``."""
    if type(module).forward is nn.Sequential.forward:
        # named_children() would leave out the second occurrence of a layer object.
        return [(name, layer) for name, layer in module._modules.items() if layer is not None]
    return [("module", module)]


# Layers that move a window over a row, over maps and over volumes.
WINDOWED = (
    (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d),
    (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d),
    (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d),
)
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def describe(layer: nn.Module) -> str:
    """Return a layer's class with the settings that matter to a reader."""
    kind = type(layer).__name__
    if isinstance(layer, nn.Dropout):
        return f"{kind} {layer.p:g}"
    if isinstance(layer, nn.LeakyReLU):
        return f"{kind} {layer.negative_slope:g}"
    if isinstance(layer, nn.GELU) and layer.approximate != "none":
        return f"{kind} {layer.approximate}"
    if isinstance(layer, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d) and along(layer.output_size, 2) != (1, 1):
        return f"{kind} {'×'.join(map(str, along(layer.output_size, 2)))}"
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
    """Return a setting with one value per axis, where one number or word may stand for all axes."""
    return tuple(setting) if isinstance(setting, tuple | list) else (setting,) * n_axes


def count_parameters(module: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
