"""A network's pass in training and in evaluation.

In training, layers are computed in the cheapest order and memory format. In evaluation, the output for an image is
bit-identical whatever else is in the batch, and images pass in slices of bounded memory.

On a CPU torch chooses the arithmetic of a layer by the number of rows, and MKL by the place of a row among them. Three
things are done about it, by layers, so that they hold within any network:

* Dense layers are multiplied by oneDNN, whose products add up each row alike, rather than by MKL.
* Convolutions get as many rows as it takes for torch to choose oneDNN, which goes through images one by one.
* Activations with an approximated exponential get rows up to a whole number of vectors: the rest of an array, a few
  numbers at its end, is computed by another formula.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

# Most rows of one forward pass: the activations of small images stay in the L2 cache.
MOST_ROWS = 256

# Most bytes of a slice's largest activation. About three of that size are alive at a time.
MOST_BYTES = 2**26

# Numbers that torch computes at a time where its loops are vectorised: two registers of AVX-512.
VECTOR = 32

# Images on which batch normalisation is measured after an epoch of changed ones: 2 % of a deviation, at the worst.
STATISTICS_ROWS = 2048

Forward = Callable[[Any, torch.Tensor], torch.Tensor]


def compute_logits(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute the output for a batch: in training in the cheapest order, in evaluation on a CPU each row alike."""
    x = x.contiguous(memory_format=choose_memory_format(network))
    if network.training:
        layers = cheapest_order(network)
    else:
        layers = [rows_alike(network) if x.device.type == "cpu" else network]
    for layer in layers:
        x = layer(x)
    return x


# Training


def cheapest_order(network: nn.Module) -> list[nn.Module]:
    """Return the layers in the order that is cheapest to compute: pooling before the ReLU that precedes it.

    A maximum commutes with ReLU, to the bit, and so do their gradients: the first largest of a window stays the first
    largest, and a window without a positive value passes nothing on either way. ReLU then has a quarter of the work.

    Parameters
    ----------
    network : nn.Module
        It is applied as it is if it is no ``nn.Sequential`` or has hooks.

    Returns
    -------
    list of nn.Module
        The very same layers, or the network itself.

    Examples
    --------
    >>> layers = cheapest_order(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()))
    >>> [type(layer).__name__ for layer in layers]
    ['Conv2d', 'MaxPool2d', 'ReLU', 'Flatten']
    """
    if type(network) is not nn.Sequential:
        return [network]
    layers = list(network)
    if any(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks for layer in (network, *layers)):
        return [network]
    for i, (layer, following) in enumerate(pairwise(network)):
        if type(layer) is nn.ReLU and type(following) is nn.MaxPool2d and not following.return_indices:
            layers[i : i + 2] = following, layer
    return layers


def choose_memory_format(network: nn.Module) -> torch.memory_format:
    """Return the memory format that a network is trained in: channels-last, the fastest, where that is safe.

    In channels-last the gradient of a 1×1 convolution of stride 2 or more, whose input has 2 or more channels and not a
    multiple of 8, is written beyond its memory on a processor with AVX2 alone: oneDNN in torch 2.13 then ends the
    process. In the format that torch has by default it is not.

    Parameters
    ----------
    network : nn.Module
        Only its layers are checked, not convolutions that are function calls.

    Returns
    -------
    torch.memory_format

    Examples
    --------
    >>> [choose_memory_format(nn.Conv2d(channels, 8, 1, stride=2)) for channels in (1, 3, 8)]
    [torch.channels_last, torch.contiguous_format, torch.channels_last]
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and tuple(layer.kernel_size) == (1, 1) and max(layer.stride) > 1:
            n_channels = layer.in_channels // layer.groups
            if n_channels > 1 and n_channels % 8:
                return torch.contiguous_format
    return torch.channels_last


def steps_to_one_column(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Check whether a convolution of stride 2 or more, anywhere in a network, leaves rows of a single column.

    In bfloat16 oneDNN multiplies memory there that nobody wrote (torch 2.13), which at times is not a number. A single
    row of a single column is correct.

    Parameters
    ----------
    network : nn.Module
        It is left in evaluation mode.
    image_shape : tuple of int
        (channels, height, width) of the images it takes.

    Returns
    -------
    bool

    Examples
    --------
    >>> layer = nn.Conv2d(3, 8, 5, stride=2)
    >>> [steps_to_one_column(layer, (3, 17, width)) for width in (5, 6, 7)]
    [True, True, False]
    """
    found = []

    def look(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        height, width = output.shape[-2:]
        found.append(width == 1 < height)

    hooks = [
        layer.register_forward_hook(look)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.stride[1] > 1
    ]
    if hooks:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *image_shape, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return any(found)


def relearn_statistics(network: nn.Module, pixels: torch.Tensor, order: torch.Tensor, batch_size: int) -> None:
    """Compute the means and variances of batch normalisation again, on a sample of unchanged images.

    Training saw them changed, and resampled images are smoother than those that will be predicted.

    Source: Touvron et al. 2019, “Fixing the train-test resolution discrepancy”, section 4, of images whose size
    differs between training and test.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    pixels : Tensor of shape (n, channels, height, width)
        The training images, where the network is.
    order : Tensor of shape (n_visits,), int64
        Row numbers, sorted by hash, so that the first ones are a sample.
    batch_size : int
        Of the training.
    """
    # What the layers remember with torch's momentum of 0.1: a smaller sample would know less.
    remembered = 10 * batch_size
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not norms or len(order) < remembered:
        return
    sample = order[: max(STATISTICS_ROWS, remembered)]
    n_parts = max(1, len(sample) // max(2, rows_at_once(network, pixels[:2])))
    before = [(layer.momentum, {name: value.clone() for name, value in layer.named_buffers()}) for layer in norms]
    try:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over all batches
            layer.train()
        with torch.no_grad():
            memory_format = choose_memory_format(network)
            for part in sample.tensor_split(n_parts):
                network(pixels.index_select(0, part).contiguous(memory_format=memory_format))
    except BaseException:  # half of a measurement is none: an interrupted estimator keeps what it had
        for layer, (_, buffers) in zip(norms, before, strict=True):
            layer.load_state_dict(buffers, strict=False)
        raise
    finally:
        for layer, (momentum, _) in zip(norms, before, strict=True):
            layer.momentum = momentum
            layer.eval()


# Evaluation


def apply_padded(layer: nn.Module, x: torch.Tensor, n_rows: int, forward: Forward | None = None) -> torch.Tensor:
    """Return a layer's output for x (n, …), to which rows of zeros are appended up to n_rows."""
    forward = forward or type(layer).forward
    if len(x) >= n_rows:
        return forward(layer, x)
    return forward(layer, pad(x, (0, 0) * (x.ndim - 1) + (0, n_rows - len(x))))[: len(x)]


def dense(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Multiply by oneDNN; a single row, for which it has another algorithm, gets a second one."""
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return nn.Linear.forward(layer, x)
    return apply_padded(layer, x, 2, onednn_product)


def onednn_product(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Compute x @ weight.T + bias."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")
    return product


def convolution(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve as many rows as it takes for oneDNN: of two in general, of 16 with a kernel of one pixel."""
    return apply_padded(layer, x, 16 if math.prod(layer.kernel_size) == 1 else 2, onednn_convolution)


def onednn_convolution(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve by oneDNN as torch does, also while ``torch.export`` runs in another thread.

    It turns oneDNN off for the whole process while it traces a network, which would change the last bits.
    """
    padding, onednn = layer.padding, torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    is_plain = x.ndim == 4 and layer.padding_mode == "zeros"
    if not (onednn and is_plain and x.dtype == torch.float32) or isinstance(padding, str):
        return type(layer).forward(layer, x)
    weight, last = layer.weight, torch.channels_last
    use_last = any(tensor.is_contiguous(memory_format=last) for tensor in (x, weight))
    x, weight = (
        tensor.contiguous(memory_format=last if use_last else torch.contiguous_format) for tensor in (x, weight)
    )
    y: torch.Tensor = torch.mkldnn_convolution(
        x, weight, layer.bias, padding, layer.stride, layer.dilation, layer.groups
    )
    return y


def activation(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply an activation to a whole number of vectors."""
    return apply_padded(layer, x, -(-len(x) // VECTOR) * VECTOR)


ALIKE: dict[Any, Forward] = {
    nn.Linear.forward: dense,
    **dict.fromkeys([nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward], convolution),
    **dict.fromkeys(
        [kind.forward for kind in (nn.CELU, nn.ELU, nn.GELU, nn.Mish, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus)],
        activation,
    ),
}


def rows_alike(network: nn.Module) -> nn.Module:
    """Return a network whose output for a row depends neither on its place nor on the number of rows.

    Parameters
    ----------
    network : nn.Module
        It is not changed.

    Returns
    -------
    nn.Module
        The same layers, or stand-ins that share all of their tensors; the network itself where no layer is replaced.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> alike = rows_alike(network)
    >>> alike[0] is network[0], alike[1] is network[1], alike[1].weight is network[1].weight
    (True, False, True)
    """
    children = {name: rows_alike(child) for name, child in network.named_children()}
    forward = None if "forward" in vars(network) else ALIKE.get(type(network).forward)
    if forward is None and all(child is network._modules[name] for name, child in children.items()):
        return network
    alike: nn.Module = object.__new__(type(network))
    vars(alike).update(vars(network), _modules=network._modules | children)
    if forward is not None:
        alike.forward = MethodType(forward, network)
    return alike


class LargestActivation(TorchFunctionMode):
    """Record the size in bytes of the largest tensor that a function of torch returns within the context."""

    n_bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and record the size of its result."""
        given = func(*args, **(kwargs or {}))
        if isinstance(given, torch.Tensor):
            self.n_bytes = max(self.n_bytes, given.numel() * given.element_size())
        return given


ROWS_AT_ONCE: WeakKeyDictionary[nn.Module, dict[torch.Size, int]] = WeakKeyDictionary()


def rows_at_once(network: nn.Module, pixels: torch.Tensor) -> int:
    """Choose how many images of one shape go through a network together, by its largest activation.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, where the pixels are.
    pixels : Tensor of shape (n, channels, height, width)
        The images; the first one is evaluated when this is first asked of a network.

    Returns
    -------
    int
        From 1 to ``MOST_ROWS``.
    """
    if len(pixels) <= 1:
        return 1
    known = ROWS_AT_ONCE.setdefault(network, {})
    shape = pixels.shape[1:]
    if shape not in known:
        with torch.no_grad(), LargestActivation() as largest:  # what a network keeps of it, training may use
            network(pixels[:1])
        known[shape] = max(1, min(MOST_ROWS, MOST_BYTES // max(1, largest.n_bytes)))
    return known[shape]
