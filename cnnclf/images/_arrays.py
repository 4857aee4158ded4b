"""From any array of images to one checked array and the way it was read.

Everything that takes an ``X`` passes it through here, so this module needs NumPy and nothing heavier.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import cut, quote

CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA

WHITES = (1, 16, 255, 65535)  # floats and truth values, scikit-learn's digits, 8 bits, 16 bits
PREPARATIONS = ("resize", "pad", "handwriting")

# Below eight pixels a side, a shift by one pixel is no longer a small change.
SMALLEST_SIDE = 8


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
        """Write the record as JSON knows it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, told: Any) -> "InputSpec":
        """Read what :meth:`to_json` wrote, which may come from a stranger.

        Raises
        ------
        ValueError
            If a part is missing, or cannot be.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(told, dict) or told.keys() != set(names):
            raise ValueError(f"Expected of its input {', '.join(names)}; got other parts. Save the model again.")
        for name, (is_valid, expected) in _SPEC_PARTS.items():
            if not is_valid(told[name]):
                raise ValueError(f"{name} must be {expected}; got {quote(told[name])}. Save the model again.")
        parts: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in told.items()}
        spec = cls(**parts)
        if infer_layout(spec.input_shape, spec.image_shape).channels_last != spec.channels_last:
            raise ValueError("channels_last must be as the shapes say; got the other. Save the model again.")
        if not len(spec.mean) == len(spec.std) == spec.image_shape[0]:
            raise ValueError("mean and std must be one number per channel; got others. Save the model again.")
        return spec


def white_level(pixels: NDArray[Any]) -> int | None:
    """Find the number that stands for white in training images whose black is 0.

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
    """Warn of images whose pixels are not in the unit of the training pixels; both classifiers ask here.

    Dark images are in order, and so are those of one value. In another unit are those whose brightest pixel is within
    the range of a usual unit that is 16 times smaller, or more: divided by 255, or truth values. Negative pixels are
    in order as far as resizing makes them, and standardised images are not.
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
    """Tell whether a value from JSON is a whole number that fits into 63 bits."""
    return type(value) is int and least <= value < 2**63


def is_shape(value: object) -> bool:
    """Tell whether a value from JSON is a shape."""
    return isinstance(value, list) and 1 <= len(value) <= 3 and all(is_whole(n, 1) for n in value)


def is_finite(value: object) -> bool:
    """Tell whether a value from JSON is a number that a float holds."""
    # As a comparison, which measures any whole number; NaN fails it.
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]


def _are_finite(value: object) -> bool:
    return isinstance(value, list) and all(map(is_finite, value))


# What the parts of an InputSpec must be, as JSON has them: a test and the words for it.
_SPEC_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input_shape": (is_shape, "one to three lengths"),
    "image_shape": (lambda v: is_shape(v) and len(v) == 3, "three lengths"),
    "channels_last": (lambda v: isinstance(v, bool), "true or false"),
    "dtype": (lambda v: v in ("uint8", "float32"), "uint8 or float32"),
    "white": (lambda v: v is None or (is_whole(v) and v in WHITES), f"null or one of {', '.join(map(str, WHITES))}"),
    "mean": (_are_finite, "finite numbers"),
    "std": (_are_finite, "finite numbers"),
    "preparation": (lambda v: v is None or v in PREPARATIONS, f"null or one of {', '.join(PREPARATIONS)}"),
}


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
    wanted = None if image_shape is None else _check_image_shape(image_shape)
    match input_shape:
        case (n,) if n > 0:
            return ImageLayout(input_shape, _shape_of_flat_row(n, wanted), channels_last=False)
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
                f"(n, height, width, channels), no length zero; got {_shape_of_x(input_shape)}. "
                "Reshape X to one of these."
            )
    if wanted is None:
        return _only_likely_reading(readings)
    for reading in readings:
        if reading.image_shape == wanted:
            return reading
    raise ValueError(
        f"image_shape={wanted} does not fit X of shape {_shape_of_x(input_shape)}, which can be read as "
        f"{' or '.join(str(reading.image_shape) for reading in readings)}. "
        "Give image_shape as (channels, height, width), or reshape X."
    )


def check_images(
    X: Any,
    *,
    image_shape: Sequence[int] | None = None,
    layout: ImageLayout | None = None,
    estimator: str = "CNNClassifier",
    min_samples: int = 1,
) -> tuple[NDArray[np.uint8 | np.float32], ImageLayout]:
    """Turn any array of images into one array of pixels, or say what is wrong with it.

    Parameters
    ----------
    X : array-like of shape (n, features), (n, height, width), (n, channels, height, width) or \
(n, height, width, channels)
        Real numbers: an array of any dtype and memory order, nested lists, a torch tensor, a data frame, or anything
        else that NumPy or DLPack can read. One image on its own must be given as ``image[np.newaxis]``: two axes are
        always rows of features.
    image_shape : sequence of three int, optional
        The (channels, height, width) of every image, where ``X.shape`` does not tell; see `infer_layout`.
    layout : ImageLayout, optional
        The reading that X must have, as an earlier call returned it. `image_shape` is not looked at then. Flat rows of
        as many numbers are taken, too, in the order of ``X.reshape(n, -1)``: tools that know scikit-learn's estimators
        alone hand on rows of ``n_features_in_`` numbers.
    estimator : str, default="CNNClassifier"
        Who is asking, for the errors.
    min_samples : int, default=1
        The fewest images to accept.

    Returns
    -------
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        C-contiguous, aligned and in native byte order. uint8 and bool give uint8, every other dtype float32. Shares
        memory with X where nothing had to be converted, so it is not to be written to.
    layout : ImageLayout
        How X was read.

    Raises
    ------
    ValueError
        If X is not a stack of equally large images of finite real numbers, or does not have the layout asked for.
    TypeError
        If X is sparse, or holds objects that are not numbers.

    Warns
    -----
    UserWarning
        If flat rows are one number longer than a square image, as they are where a column of labels was left in.

    Examples
    --------
    >>> pixels, layout = check_images([[0, 64, 128, 255]])
    >>> pixels.shape, pixels.dtype, layout.image_shape
    ((1, 1, 2, 2), dtype('float32'), (1, 2, 2))
    >>> pixels, _ = check_images(np.zeros((5, 32, 48, 3), dtype=np.uint8))
    >>> pixels.shape, pixels.dtype
    ((5, 3, 32, 48), dtype('uint8'))
    """
    array = as_array(X)
    _check_counts(array, min_samples)
    if layout is None:
        layout = infer_layout(array.shape[1:], image_shape)
        if image_shape is None:
            _warn_of_a_column_too_many(layout)
    else:
        if array.ndim == 2 and array.shape[1] == math.prod(layout.input_shape):
            array = array.reshape(len(array), *layout.input_shape)
        _check_layout(array.shape, layout, estimator)
    pixels = _as_pixels(_as_numbers(array), layout)
    _check_finite(pixels)
    return pixels, layout


def as_array(X: Any) -> NDArray[Any]:
    """Take any array-like for a NumPy array of its own shape and dtype; torch's floats become float32.

    Parameters
    ----------
    X : array-like
        What NumPy or DLPack can read: lists, a data frame, a torch tensor on any device.

    Returns
    -------
    ndarray
        Shares memory with X where it can, so it is not to be written to.

    Raises
    ------
    ValueError
        If NumPy cannot stack the images, or values are masked.
    TypeError
        If X is sparse, or no array of images: a path, encoded pictures, a dict, a torch ``Dataset`` or
        ``DataLoader``, an iterator, or a list or column of such.

    Examples
    --------
    >>> as_array([[0, 64], [128, 255]]).shape
    (2, 2)
    >>> as_array("digits/7.png")
    Traceback (most recent call last):
        ...
    TypeError: Expected X to be one array of images; got the text 'digits/7.png'. If it is a path, read the pictures \
first, for example with cnnclf.load_image_folder.
    """
    _refuse_other_kinds(X, X)
    if isinstance(X, list | tuple) and any(getattr(row, "mode", None) == "P" for row in X):  # of PIL
        raise ValueError(
            "Expected pictures of grey or colour; got some of mode P, whose pixels are places in a palette. "
            'Convert each with image.convert("RGB"), or "L".'
        )
    # A frame hands out its columns as attributes, so a name alone proves nothing: only a method is callable.
    if hasattr(X, "nnz") and callable(getattr(X, "toarray", None)):
        raise TypeError(
            f"Expected a dense array of images, got a sparse {type(X).__name__}. Use X.toarray() to convert it."
        )
    if np.ma.is_masked(X):
        raise ValueError(
            "Expected a value for every pixel, got a masked array with masked values. Fill them with X.filled(value)."
        )
    if callable(getattr(X, "detach", None)):
        X = X.detach().cpu()
        # NumPy has no bfloat16 or float8; float32 holds both.
        X = X.float() if X.is_floating_point() else X
    elif hasattr(X, "__dlpack__") and not hasattr(X, "__array__"):
        X = np.from_dlpack(X)
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"Expected images that all have one size; got {_describe_sizes(X)}. "
            "Give one array per image, resized or padded to one size, and stack them with np.stack."
        ) from error
    except (TypeError, RuntimeError) as error:  # of arrays on a GPU, and of tensors with gradients in a list
        raise TypeError(
            f"Expected X to be one array of images; got {type(X).__name__}, which NumPy cannot read "
            f"({cut(str(error).rstrip('.'), 100)}). Convert it to a NumPy array."
        ) from error
    if array.dtype.kind in "OSUT" and array.size == len(np.atleast_1d(array)):  # a column of one object a row
        _refuse_other_kinds(X, array.flat[0] if array.size else None)
    return array


def _refuse_other_kinds(X: Any, value: Any) -> None:
    """Refuse X if `value`, which is X itself or its first row, is known not to be an array of pixels."""
    if (found := _recognise(value)) is None:
        return
    what, advice = found
    if value is not X:
        n = f"{len(X):,} " if isinstance(X, Sized) else ""
        what = f"{n}rows of type {type(value).__name__}, the first {what}"
    raise TypeError(f"Expected X to be one array of images; got {what}. {advice}")


def _recognise(value: Any) -> tuple[str, str] | None:
    """Say what a value is that holds images in another way than as an array, and what to do; None for all others."""
    kinds = {f"{cls.__module__}.{cls.__name__}" for cls in type(value).__mro__}  # no library has to be loaded for it
    name = type(value).__name__
    match value:
        case str() | os.PathLike():
            return (
                f"the text {quote(value)}" if isinstance(value, str) else f"the path {quote(value)}",
                "If it is a path, read the pictures first, for example with cnnclf.load_image_folder.",
            )
        case bytes() | bytearray():
            return (
                f"{len(value):,} bytes",
                "If they are an encoded picture, decode it with np.asarray(PIL.Image.open(io.BytesIO(data))).",
            )
        case Mapping():
            return f"{name} with the keys {quote(list(value))}", "Pass the array of images in it."
        case Set() | Iterator():
            return name, "Make one array of it, for example with np.stack(list(images))."
    if "PIL.Image.Image" in kinds:
        return (
            f"PIL's {name}",
            'Convert each with np.asarray(image.convert("RGB")), or "L", and stack them with np.stack.',
        )
    if "torch.utils.data.dataset.Dataset" in kinds:
        return name, "Collect its images and labels in arrays, for example X, y = map(np.stack, zip(*dataset))."
    if "torch.utils.data.dataloader.DataLoader" in kinds:
        return name, "Collect its images and labels in tensors, for example X, y = map(torch.cat, zip(*loader))."
    return None


def _describe_sizes(X: Any) -> str:
    """Say which rows differ, as far as they have shapes."""
    shapes: list[tuple[int, ...] | None] = []
    for row in X if isinstance(X, Iterable) else ():
        try:
            shapes.append(np.shape(row))
        except ValueError:  # rows of rows of different lengths, such as pairs of image and label
            return f"rows of type {type(row).__name__} that are no arrays"
        if shapes[-1] != shapes[0]:
            return f"{shapes[0]} for the first and {shapes[-1]} for row {len(shapes) - 1}"
    return "rows that NumPy cannot stack"


def _check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    match image_shape:
        case [c, h, w] if _is_length(c) and _is_length(h) and _is_length(w):
            return int(c), int(h), int(w)
    raise ValueError(
        f"Expected image_shape to be three positive whole numbers (channels, height, width); got {quote(image_shape)}. "
        "For a grey image of 28 by 28 pixels pass (1, 28, 28)."
    )


def _is_length(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def _shape_of_flat_row(n_features: int, wanted: tuple[int, int, int] | None) -> tuple[int, int, int]:
    if wanted is None:
        side = math.isqrt(n_features)
        return (1, side, side) if side * side == n_features else (1, 1, n_features)
    if math.prod(wanted) != n_features:
        raise ValueError(
            f"image_shape={wanted} has {math.prod(wanted)} pixels, but a row of X has {n_features} features. "
            "Give the (channels, height, width) whose product is the number of features."
        )
    return wanted


def _warn_of_a_column_too_many(layout: ImageLayout) -> None:
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


def _only_likely_reading(readings: list[ImageLayout]) -> ImageLayout:
    likely = [reading for reading in readings if reading.image_shape[0] in CHANNEL_COUNTS]
    shape = _shape_of_x(readings[0].input_shape)
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


def _shape_of_x(input_shape: tuple[int, ...]) -> str:
    return f"({', '.join(['n', *map(str, input_shape)])})"


def _check_counts(array: NDArray[Any], min_samples: int) -> None:
    if array.ndim < 2:
        raise ValueError(
            f"Expected 2D array, got {'1D' if array.ndim else 'scalar'} array instead: {_describe_column(array)}. "
            "Reshape your data using array.reshape(1, -1) if it is a single row, "
            "or stack your images with np.stack(images)."
        )
    if len(array) < min_samples:
        raise ValueError(
            f"Found array with {len(array)} sample(s) (shape={array.shape}) "
            f"while a minimum of {min_samples} is required."
        )
    if array.ndim == 2 and array.shape[1] == 0:
        raise ValueError(f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")


def _describe_column(array: NDArray[Any]) -> str:
    rows = f" of {type(array[0]).__name__}" if array.dtype == object and array.ndim and len(array) else ""
    return f"{quote(array)}{rows}"


def _check_layout(shape: tuple[int, ...], layout: ImageLayout, estimator: str) -> None:
    if shape[1:] == layout.input_shape:
        return
    if len(shape) == 2 and len(layout.input_shape) == 1:
        raise ValueError(
            f"X has {shape[1]} features, but {estimator} is expecting {layout.input_shape[0]} features as input."
        )
    raise ValueError(
        f"X has shape {shape}, but {estimator} is expecting {_shape_of_x(layout.input_shape)} as input. "
        "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
    )


def _as_numbers(array: NDArray[Any]) -> NDArray[Any]:
    match array.dtype.kind:
        case "b" | "u" | "i" | "f":
            return array
        case "O":
            try:
                return array.astype(np.float64)
            except (TypeError, ValueError, OverflowError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(
                    "Expected a number for every pixel; got X of dtype object with a value that is none: "
                    f"{cut(str(error).rstrip('.'), 100)}. Give every pixel as a number."
                ) from error
        case "c":
            raise ValueError(
                f"Complex data not supported: expected real pixels, got X of dtype {array.dtype}. "
                "Pass X.real or np.abs(X)."
            )
        case "S" | "U" | "T":
            raise ValueError(
                f"dtype='numeric' is not compatible with arrays of bytes/strings: got X of dtype {array.dtype}. "
                "Convert your data to numeric values explicitly instead."
            )
        case _:
            raise ValueError(
                f"Expected pixels of a real numeric dtype, got X of dtype {array.dtype}. Convert it to float32."
            )


def _as_pixels(numbers: NDArray[Any], layout: ImageLayout) -> NDArray[np.uint8 | np.float32]:
    planes = np.moveaxis(numbers, -1, 1) if layout.channels_last else numbers
    dtype = np.uint8 if numbers.dtype in (np.uint8, np.bool) else np.float32
    with np.errstate(all="ignore"):  # what overflows becomes infinite, and is reported as that
        pixels = np.require(planes, dtype=dtype, requirements=["C", "A"])
    # By way of one axis, because an axis of length 1 may keep a negative stride, which torch refuses.
    return pixels.reshape(-1).reshape(len(numbers), *layout.image_shape)


def _check_finite(pixels: NDArray[np.uint8 | np.float32]) -> None:
    if pixels.dtype == np.uint8:
        return
    # The extremes show any NaN (it propagates) or infinity, without the temporary array that np.isfinite needs.
    smallest, largest = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if math.isnan(smallest):
        raise ValueError("Input X contains NaN. Fill the missing pixels or drop those images before you pass X.")
    if math.isinf(smallest) or math.isinf(largest):
        raise ValueError(
            "Input X contains infinity or a value too large for dtype('float32'). "
            "Scale or clip the pixels before you pass X."
        )
