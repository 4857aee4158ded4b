"""Evaluation of a network: bit-identical for an image whatever else is in the batch, in slices of bounded memory.

On a CPU torch chooses the arithmetic of a layer by the number of rows, and MKL by the place of a row among them. Three
things are done about it, by layers, so that they hold within any network:

* Dense layers are multiplied by oneDNN, whose products add up each row alike, rather than by MKL.
* Convolutions get as many rows as it takes for torch to choose oneDNN, which goes through images one by one.
* Activations with an approximated exponential get rows up to a whole number of vectors: the rest of an array, a few
  numbers at its end, is computed by another formula.
"""

import math
from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

# Most rows of one forward pass: the activations of small images stay in the L2 cache.
MOST_ROWS = 256

# Most bytes of a slice's largest activation. About three of that size are alive at a time.
MOST_BYTES = 2**26

# Numbers that torch computes at a time where its loops are vectorised: two registers of AVX-512.
VECTOR = 32

Forward = Callable[[Any, torch.Tensor], torch.Tensor]


def apply_padded(layer: nn.Module, x: torch.Tensor, n_rows: int, forward: Forward | None = None) -> torch.Tensor:
    """Return a layer's output for x (n, …), computed with rows of zeros appended up to n_rows."""
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
    return apply_padded(layer, x, 16 if math.prod(layer.kernel_size) == 1 else 2)


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
        Is left as it is.

    Returns
    -------
    nn.Module
        The same layers, or stand-ins that share all of their tensors; the network itself where nothing is to be done.

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
