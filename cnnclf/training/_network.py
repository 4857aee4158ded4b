"""A network made ready for training: the order of its layers and what bfloat16 cannot do."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn


def cheapest_order(network: nn.Module) -> list[nn.Module]:
    """Return the layers in the order that is cheapest to compute: pooling before the ReLU that precedes it.

    A maximum commutes with ReLU, to the bit, and so do their gradients: the first largest of a window stays the first
    largest, and a window without a positive value passes nothing on either way. ReLU then has a quarter of the work.

    Parameters
    ----------
    network : nn.Module
        What is not an ``nn.Sequential``, and what hooks watch, is applied as it is.

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
        Its layers are looked at; a convolution that is a call of a function is not seen.

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
        Is left in evaluation mode.
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
