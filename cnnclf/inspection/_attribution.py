"""How much each pixel matters to a class, by covering parts of the image and by the gradient."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnclf.inspection._evidence import find_class
from cnnclf.inspection._records import Array, TraceRecord
from cnnclf.inspection._run import as_batch
from cnnclf.training._network import rows_alike, rows_at_once
from cnnclf.training._runtime import session


def compute_occlusion(trace: TraceRecord, module: nn.Module, size: int | None, label: Any) -> Array:
    """Compute how far a class's logit drops when a square around each pixel is covered.

    Parameters
    ----------
    trace : TraceRecord
        The image and its logits.
    module : nn.Module
        The network that was traced.
    size : int or None
        Side of the square in pixels, odd; about a quarter of the image's shorter side for None.
    label : label or None
        The class; the predicted one for None.

    Returns
    -------
    ndarray of shape (height, width), float32
        The drop for the square centred at each pixel.
    """
    position = find_class(trace, label)
    _, height, width = trace.image.shape
    size = min(height, width) // 4 | 1 if size is None else size
    if size < 1 or size % 2 == 0:
        raise ValueError(f"Expected size to be an odd number of pixels, so that a square has a centre; got {size}.")
    covered = cover(trace.image, trace.steps[0].weights["mean"], size)
    with session("cpu"), torch.inference_mode():
        images = torch.from_numpy(covered)
        network, n_rows = rows_alike(module), rows_at_once(module, images)
        logits = torch.cat([network(part) for part in torch.split(images, n_rows)])
    drop: Array = trace.logits[position] - logits[:, position].numpy()
    return drop.reshape(height, width)


def cover(image: NDArray[Any], mean: Array, size: int) -> Array:
    """Return one copy of an image per pixel, with a square of the mean around it.

    The result has the shape (height · width, channels, height, width).
    """
    _, height, width = image.shape
    covered = np.repeat(image[np.newaxis].astype(np.float32), height * width, axis=0)
    reach = size // 2
    for i, (row, column) in enumerate(np.ndindex(height, width)):
        covered[i, :, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = mean
    return covered


def compute_gradient(trace: TraceRecord, module: nn.Module, label: Any) -> Array:
    """Compute the derivative of a class's logit with respect to the raw pixels.

    Parameters
    ----------
    trace : TraceRecord
        The image.
    module : nn.Module
        The network that was traced.
    label : label or None
        The class; the predicted one for None.

    Returns
    -------
    ndarray of shape (channels, height, width), float32
        The rise of the logit per unit of each pixel.
    """
    position = find_class(trace, label)
    with session("cpu"):
        x = as_batch(trace.image.astype(np.float32)).requires_grad_()
        (gradient,) = torch.autograd.grad(module(x)[0, position], x)
    return gradient[0].numpy()
