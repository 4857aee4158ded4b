"""The network of a fit: an architecture by name or function, built and checked."""

from collections import OrderedDict

import torch
from torch import nn

from cnnclf.architectures._layers import ArchitectureFunction, ImageShape
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._summary import count_parameters, list_layers
from cnnclf.architectures._table import find_architecture


def build_module(
    architecture: str | ArchitectureFunction, image_shape: ImageShape, n_classes: int, standardise: Standardise
) -> nn.Sequential:
    """Return the network of a standardising layer and an architecture's layers, and check it on one image."""
    build = find_architecture(architecture).build if isinstance(architecture, str) else architecture
    body = build(image_shape, n_classes)
    if not isinstance(body, nn.Module):
        raise TypeError(f"Expected architecture to return an nn.Module; got {type(body).__name__}.")
    if any(name == "standardise" for name, _ in list_layers(body)):
        raise ValueError("Expected no layer of architecture to be named 'standardise'; got one. Rename it.")
    module = nn.Sequential(OrderedDict([("standardise", standardise), *list_layers(body)]))
    with torch.no_grad():  # in evaluation mode: lazy layers take their shape, statistics stay as they are
        logits = module.eval()(torch.zeros(1, *image_shape))
    if not isinstance(logits, torch.Tensor):
        raise ValueError(
            f"Expected architecture to give one tensor, the logits; got {type(logits).__name__}. "
            "Return the logits alone from forward."
        )
    shape = tuple(logits.shape)
    if shape != (1, n_classes):
        raise ValueError(
            f"Expected architecture to give logits of shape (n, {n_classes}), one per class; "
            f"got {shape} for a single image of shape {image_shape}."
        )
    if not count_parameters(module):
        n_frozen = sum(parameter.numel() for parameter in module.parameters())
        found = f"{n_frozen:,} that are all frozen (requires_grad=False)" if n_frozen else "none"
        raise ValueError(f"Expected architecture to have parameters to train; got {found}.")
    if not isinstance(architecture, str) and n_classes > 1:
        check_logits(module[1:], image_shape)
    return module


def check_logits(body: nn.Module, image_shape: ImageShape) -> None:
    """Check that a network does not end in probabilities: the loss applies the softmax, which must not happen twice.

    The inputs are noise with the deviation of standardised images, and noise with a hundred times that, for which
    logits do not stay between 0 and 1.
    """
    noise = torch.randn(16, *image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = body(torch.cat([noise, 100 * noise])).double()
    ones = torch.ones(len(outputs), dtype=torch.float64)
    if (outputs >= 0).all() and outputs.sum(dim=1).allclose(ones, atol=1e-4):
        got, last = "probabilities, which add up to one", "softmax"
    elif outputs.exp().sum(dim=1).allclose(ones, atol=1e-4):
        got, last = "logarithms of probabilities", "log-softmax"
    elif 0 <= outputs.min() < 0.01 and 0.99 < outputs.max() <= 1:  # the louder noise saturates a sigmoid
        got, last = "numbers from 0 to 1 alone", "sigmoid"
    else:
        return
    raise ValueError(f"Expected architecture to give logits; got {got}. Leave out the {last}: the loss applies one.")
