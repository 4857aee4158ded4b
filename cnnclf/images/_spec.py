"""`InputSpec`: what a network takes, and the unit of its pixels."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import quote
from cnnclf.images._layout import ImageLayout, infer_layout

WHITES = (1, 16, 255, 65535)  # floats and truth values, scikit-learn's digits, 8 bits, 16 bits
PREPARATIONS = ("resize", "pad", "handwriting")


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
        The number that stands for white where 0 is black, see :func:`white_level`; None where it is not known.
    mean, std : tuple of float, one per channel
        Of the training pixels, in their unit.
    preparation : {"resize", "pad", "handwriting"} or None
        What is done to a picture file: see :mod:`cnnclf.pictures`.
    """

    dtype: str
    white: int | None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preparation: str | None = None

    @classmethod
    def of(cls, pixels: NDArray[np.uint8 | np.float32], layout: ImageLayout) -> "InputSpec":
        """Describe training images, as `check_images` gives them; their mean and std are not measured here."""
        return cls(
            input_shape=layout.input_shape,
            image_shape=layout.image_shape,
            channels_last=layout.channels_last,
            dtype=str(pixels.dtype),
            white=white_level(pixels),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, told: Any) -> "InputSpec":
        """Load what :meth:`to_json` returned, which may come from a stranger.

        Raises
        ------
        ValueError
            If a part is missing, or cannot be.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(told, dict) or told.keys() != set(names):
            raise ValueError(f"Expected of its input {', '.join(names)}; got other parts. Save the model again.")
        for name, (is_valid, expected) in SPEC_PARTS.items():
            if not is_valid(told[name]):
                raise ValueError(f"Expected {name} to be {expected}; got {quote(told[name])}. Save the model again.")
        parts: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in told.items()}
        spec = cls(**parts)
        if infer_layout(spec.input_shape, spec.image_shape).channels_last != spec.channels_last:
            raise ValueError("Expected channels_last to be as the shapes say; got the other. Save the model again.")
        if not len(spec.mean) == len(spec.std) == spec.image_shape[0]:
            raise ValueError("Expected mean and std to be one number per channel; got others. Save the model again.")
        return spec


def white_level(pixels: NDArray[Any]) -> int | None:
    """Return the number that stands for white in training images whose black is 0.

    It is the smallest of 1, 16, 255 and 65535 that no pixel exceeds. The dtype does not count: truth values are stored
    as bytes, too, and bytes as floats. Scikit-learn's digits, 0 to 16, are known by their 8×8 pixels and their largest
    pixel, 16.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width)
        All of the images.

    Returns
    -------
    int or None
        None where it cannot be known: if a pixel is negative or above 65535, if all are 0, if the largest is above 1
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


# What the parts of an InputSpec must be, as JSON has them: a test and the words for it.
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
