"""What a network takes: how the shape of an array is read as images, and `InputSpec` with the unit of their pixels."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import quote

# Below eight pixels a side, a shift by one pixel is no longer a small change.
SMALLEST_SIDE = 8

CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA
WHITES = (1, 16, 255, 65535)  # floats and truth values, scikit-learn's digits, 8 bits, 16 bits
PREPARATIONS = ("resize", "pad", "handwriting")


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
    """Return how rows of one shape are read as images.

    A flat row holds its pixels in (channels, height, width) order. Without `image_shape` it is a square grey image
    if its length is a perfect square, and one line of pixels otherwise. Two axes are a grey image. Of three axes, the
    first or the last is the channels, whichever has length 1, 3 or 4.

    Parameters
    ----------
    input_shape : tuple of int
        ``X.shape[1:]``: one to three positive lengths.
    image_shape : sequence of three int, optional
        The (channels, height, width) of the images. Where both channel orders fit, as only for three equal lengths,
        the channels come first.

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
        f"Expected image_shape to be {' or '.join(str(reading.image_shape) for reading in readings)} for X of shape "
        f"{shape_of_x(input_shape)}; got {wanted}. Give image_shape as (channels, height, width), or reshape X."
    )


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """Return the shape as Python integers, if it is three positive whole numbers."""
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
    """Return the image shape of a flat row: as wanted, else a square if it can be one, else a line."""
    if wanted is None:
        side = math.isqrt(n_features)
        return (1, side, side) if side * side == n_features else (1, 1, n_features)
    if math.prod(wanted) != n_features:
        raise ValueError(
            f"Expected image_shape to have {n_features} pixels, as a row of X has; got {wanted} with "
            f"{math.prod(wanted)}. Give the (channels, height, width) whose product is the number of features."
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
                f"image_shape={layout.image_shape} if a line is right.",
                UserWarning,
                stacklevel=6,  # from fit's caller on
            )


def only_likely_reading(readings: list[ImageLayout]) -> ImageLayout:
    """Return the one reading with 1, 3 or 4 channels."""
    likely = [reading for reading in readings if reading.image_shape[0] in CHANNEL_COUNTS]
    shape = shape_of_x(readings[0].input_shape)
    if not likely:
        raise ValueError(
            f"Expected 1, 3 or 4 channels as the first or the last axis of an image; got X of shape {shape}. "
            "Pass image_shape=(channels, height, width) to choose the axis."
        )
    # A single pixel is the only image that does not change when its channel axis moves.
    if len(likely) == 2 and readings[0].input_shape != (1, 1, 1):
        raise ValueError(
            f"Expected one possible channel order; got X of shape {shape}, which can be images of (channels, height, "
            f"width) = {likely[0].image_shape}, channels first, or {likely[1].image_shape}, channels last. "
            "Pass image_shape=(channels, height, width) to choose."
        )
    return likely[0]


def shape_of_x(input_shape: tuple[int, ...]) -> str:
    """Write the shape of X with its first axis as n."""
    return f"({', '.join(['n', *map(str, input_shape)])})"


@dataclass(frozen=True)
class InputSpec(ImageLayout):
    """What a network takes: the arrays that it was fitted on, and how a picture file becomes a row of them.

    Both classifiers carry it as ``input_spec_``, and both kinds of file store it.

    Parameters
    ----------
    input_shape, image_shape, channels_last
        As in :class:`ImageLayout`.
    dtype : {"uint8", "float32"}
        Of the pixels.
    white : int or None
        The number that is white where 0 is black, see :func:`white_level`; None where it is not known.
    mean, std : tuple of float, one per channel
        Of the training pixels, in their unit.
    preparation : {"resize", "pad", "handwriting"} or None
        How a picture file is prepared: see :mod:`cnnclf.images._pictures`.
    """

    dtype: str
    white: int | None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preparation: str | None = None

    @classmethod
    def of(cls, pixels: NDArray[np.uint8 | np.float32], layout: ImageLayout) -> "InputSpec":
        """Describe training images, as `check_images` gives them; their mean and std are not measured here."""
        return cls(**asdict(layout), dtype=str(pixels.dtype), white=white_level(pixels))

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Any) -> "InputSpec":
        """Load what :meth:`to_json` returned, which may come from a stranger.

        Raises
        ------
        ValueError
            If a part is missing or impossible.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(stored, dict) or stored.keys() != set(names):
            raise ValueError(f"Expected input to have {', '.join(names)}; got other parts. Save the model again.")
        for name, (is_valid, expected) in SPEC_PARTS.items():
            if not is_valid(stored[name]):
                raise ValueError(f"Expected {name} to be {expected}; got {quote(stored[name])}. Save the model again.")
        parts: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in stored.items()}
        spec = cls(**parts)
        if infer_layout(spec.input_shape, spec.image_shape).channels_last != spec.channels_last:
            raise ValueError("Expected channels_last to fit the shapes; got the opposite. Save the model again.")
        if not len(spec.mean) == len(spec.std) == spec.image_shape[0]:
            raise ValueError("Expected mean and std to be one number per channel; got others. Save the model again.")
        return spec


def white_level(pixels: NDArray[Any]) -> int | None:
    """Return the number that is white in training images whose black is 0.

    It is the smallest of 1, 16, 255 and 65535 that no pixel exceeds. The dtype does not matter: truth values may be
    stored as bytes, and bytes as floats. Scikit-learn's digits, 0 to 16, are recognised by their 8×8 pixels and their
    largest pixel, 16.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width)
        All of the images.

    Returns
    -------
    int or None
        None where the pixels do not show it: if one is negative or above 65535, if all are 0, if the largest is above 1
        and up to 16 in other images than those digits, as in dark ones of 8 bits, and if it is above 255 and in the
        lower half of 16 bits, as in images of 12 bits.

    Examples
    --------
    >>> images = np.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    >>> white_level(0.3 * images), white_level(90 * images), white_level(16 * images)
    (1, 255, 16)
    >>> white_level(images - 1), white_level(9 * images), white_level(4095 * images)
    (None, None, None)
    """
    darkest, brightest = float(pixels.min()), float(pixels.max())
    if pixels.shape[1:] == (1, 8, 8) and brightest == 16 and darkest >= 0:
        return 16
    if darkest < 0 or brightest == 0 or 1 < brightest <= 16 or 255 < brightest < 2**15:
        return None
    return next((white for white in WHITES if brightest <= white), None)


def warn_of_another_unit(pixels: NDArray[np.uint8 | np.float32], spec: InputSpec) -> None:
    """Warn of images whose pixels are not in the unit of the training pixels; both classifiers use it.

    Dark images and images of one value are accepted. Images count as in another unit if their brightest pixel is within
    a usual unit that is at least 16 times smaller, as after a division by 255 or for truth values. Negative pixels are
    accepted as far as resizing makes them, but standardised images are not.
    """
    if spec.white is None or pixels.size == 0:
        return
    darkest, brightest = float(pixels.min()), float(pixels.max())
    smaller = max((white for white in WHITES if 16 * white <= spec.white), default=0)
    largest = max(-darkest, brightest)
    is_divided = darkest != brightest and largest <= (smaller if darkest >= 0 else spec.white / 16)
    if is_divided or largest > 10 * spec.white:
        warnings.warn(
            f"Expected pixels of 0 to {spec.white}, as in training; got {darkest:.4g} to {brightest:.4g}, which seem "
            "to be in another unit. Scale them as the training images were.",
            UserWarning,
            stacklevel=5,  # the caller of predict
        )


def is_whole(value: object, least: int = 0) -> bool:
    """Return whether a value from JSON is a whole number that fits into 63 bits."""
    return type(value) is int and least <= value < 2**63


def is_shape(value: object) -> bool:
    """Return whether a value from JSON is a shape."""
    return isinstance(value, list) and 1 <= len(value) <= 3 and all(is_whole(n, 1) for n in value)


def is_finite(value: object) -> bool:
    """Return whether a value from JSON is a number that a float holds."""
    # As a comparison, which measures any whole number; NaN fails it.
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]


def are_finite(value: object) -> bool:
    return isinstance(value, list) and all(map(is_finite, value))


# For each part of an InputSpec in JSON, a test and its meaning in words.
SPEC_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input_shape": (is_shape, "one to three lengths"),
    "image_shape": (lambda v: is_shape(v) and len(v) == 3, "three lengths"),
    "channels_last": (lambda v: isinstance(v, bool), "true or false"),
    "dtype": (lambda v: v in ("uint8", "float32"), "uint8 or float32"),
    "white": (lambda v: v is None or (is_whole(v) and v in WHITES), f"null or one of {', '.join(map(str, WHITES))}"),
    "mean": (are_finite, "finite numbers"),
    "std": (are_finite, "finite numbers"),
    "preparation": (lambda v: v is None or v in PREPARATIONS, f"null or one of {', '.join(PREPARATIONS)}"),
}
