"""The layout of an array of images: its image shape and the place of its channels."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnclf._utils.text import quote

# Below eight pixels a side, a shift by one pixel is no longer a small change.
SMALLEST_SIDE = 8

CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA


@dataclass(frozen=True)
class ImageLayout:
    """How one row of X is read as an image.

    Parameters
    ----------
    input_shape : tuple of int
        ``X.shape[1:]``.
    image_shape : tuple of int
        The (channels, height, width) of the image that is read.
    channels_last : bool
        Whether the channels are the last axis of X. Otherwise they are the first after the rows, or implied.
    """

    input_shape: tuple[int, ...]
    image_shape: tuple[int, int, int]
    channels_last: bool


def infer_layout(input_shape: tuple[int, ...], image_shape: Sequence[int] | None = None) -> ImageLayout:
    """Decide how rows of one shape are read as images.

    A flat row holds its pixels in (channels, height, width) order. Without `image_shape` it is a square grey image
    if its length is a perfect square, and one line of pixels otherwise. Two axes are a grey image. Of three axes, the
    first or the last is the channels, whichever has length 1, 3 or 4.

    Parameters
    ----------
    input_shape : tuple of int
        ``X.shape[1:]``: one to three positive lengths.
    image_shape : sequence of three int, optional
        The (channels, height, width) that the images have. Where both channel orders give it, which only three equal
        lengths do, the channels come first.

    Returns
    -------
    ImageLayout
        The one reading that fits.

    Raises
    ------
    ValueError
        If no reading fits, or if two different ones do.

    Examples
    --------
    >>> infer_layout((784,)).image_shape
    (1, 28, 28)
    >>> infer_layout((32, 48, 3))
    ImageLayout(input_shape=(32, 48, 3), image_shape=(3, 32, 48), channels_last=True)
    >>> infer_layout((3072,), image_shape=(3, 32, 32)).image_shape
    (3, 32, 32)
    """
    wanted = None if image_shape is None else check_image_shape(image_shape)
    match input_shape:
        case (n,) if n > 0:
            return ImageLayout(input_shape, shape_of_flat_row(n, wanted), channels_last=False)
        case (h, w) if min(h, w) > 0:
            readings = [ImageLayout(input_shape, (1, h, w), channels_last=False)]
        case (a, b, c) if min(a, b, c) > 0:
            readings = [
                ImageLayout(input_shape, (a, b, c), channels_last=False),
                ImageLayout(input_shape, (c, a, b), channels_last=True),
            ]
        case _:
            raise ValueError(
                "Expected X of shape (n, features), (n, height, width), (n, channels, height, width) or "
                f"(n, height, width, channels), no length zero; got {shape_of_x(input_shape)}. "
                "Reshape X to one of these."
            )
    if wanted is None:
        return only_likely_reading(readings)
    for reading in readings:
        if reading.image_shape == wanted:
            return reading
    raise ValueError(
        f"image_shape={wanted} does not fit X of shape {shape_of_x(input_shape)}, which can be read as "
        f"{' or '.join(str(reading.image_shape) for reading in readings)}. "
        "Give image_shape as (channels, height, width), or reshape X."
    )


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    match image_shape:
        case [c, h, w] if is_length(c) and is_length(h) and is_length(w):
            return int(c), int(h), int(w)
    raise ValueError(
        f"Expected image_shape to be three positive whole numbers (channels, height, width); got {quote(image_shape)}. "
        "For a grey image of 28 by 28 pixels pass (1, 28, 28)."
    )


def is_length(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def shape_of_flat_row(n_features: int, wanted: tuple[int, int, int] | None) -> tuple[int, int, int]:
    if wanted is None:
        side = math.isqrt(n_features)
        return (1, side, side) if side * side == n_features else (1, 1, n_features)
    if math.prod(wanted) != n_features:
        raise ValueError(
            f"image_shape={wanted} has {math.prod(wanted)} pixels, but a row of X has {n_features} features. "
            "Give the (channels, height, width) whose product is the number of features."
        )
    return wanted


def warn_of_a_column_too_many(layout: ImageLayout) -> None:
    """Warn where flat rows would be square images, grey or RGB, without one of their columns."""
    *_, height, n = layout.image_shape
    if len(layout.input_shape) > 1 or height > 1:
        return
    for n_channels in (1, 3):
        side = math.isqrt((n - 1) // n_channels)
        if n_channels * side**2 == n - 1 and side >= SMALLEST_SIDE:
            size = f"{side} × {side}" + (f" × {n_channels}" if n_channels > 1 else "")
            warnings.warn(
                f"X has rows of {n} = {n - 1} + 1 numbers, which are read as one line of {n} pixels; {n - 1} would be "
                f"images of {size}. Drop the column that is no pixel, such as a label or a row number, or pass "
                f"image_shape={layout.image_shape} if this is meant.",
                UserWarning,
                stacklevel=6,  # from fit's caller on
            )


def only_likely_reading(readings: list[ImageLayout]) -> ImageLayout:
    likely = [reading for reading in readings if reading.image_shape[0] in CHANNEL_COUNTS]
    shape = shape_of_x(readings[0].input_shape)
    if not likely:
        raise ValueError(
            f"Expected 1, 3 or 4 channels as the first or the last axis of an image; got X of shape {shape}. "
            "Pass image_shape=(channels, height, width) to say which axis is the channels."
        )
    # A single pixel is the one image that moving its channel axis leaves as it is.
    if len(likely) == 2 and readings[0].input_shape != (1, 1, 1):
        raise ValueError(
            f"Ambiguous channel order: X of shape {shape} can be read as images of (channels, height, width) = "
            f"{likely[0].image_shape}, channels first, or {likely[1].image_shape}, channels last. "
            "Pass image_shape=(channels, height, width) to choose."
        )
    return likely[0]


def shape_of_x(input_shape: tuple[int, ...]) -> str:
    return f"({', '.join(['n', *map(str, input_shape)])})"
