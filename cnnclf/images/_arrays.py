"""Any array of images → one checked array, and its layout.

Everything that takes an ``X`` checks it here, so this module needs NumPy and nothing heavier.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import cut, quote
from cnnclf.images._spec import ImageLayout, infer_layout, shape_of_x, warn_of_a_column_too_many

READ = "If it is a path, read the pictures first, for example with cnnclf.load_image_folder."
DECODE = "If they are an encoded picture, decode it with np.asarray(PIL.Image.open(io.BytesIO(data)))."
# By the name of a class, so that no library has to be loaded.
COLLECT = {
    "PIL.Image.Image": 'Convert each with np.asarray(image.convert("RGB")), or "L", and stack them with np.stack.',
    "torch.utils.data.dataset.Dataset": "Collect its images and labels in arrays, for example X, y = map(np.stack, "
    "zip(*dataset)).",
    "torch.utils.data.dataloader.DataLoader": "Collect its images and labels in tensors, for example X, y = "
    "map(torch.cat, zip(*loader)).",
}


def check_images(
    X: Any,
    *,
    image_shape: Sequence[int] | None = None,
    layout: ImageLayout | None = None,
    estimator: str = "CNNClassifier",
    min_samples: int = 1,
) -> tuple[NDArray[np.uint8 | np.float32], ImageLayout]:
    """Convert any array of images to one array of pixels, or raise an error that describes what is wrong with it.

    Parameters
    ----------
    X : array-like of shape (n, features), (n, height, width), (n, channels, height, width) or \
(n, height, width, channels)
        Real numbers: an array of any dtype and memory order, nested lists, a torch tensor, a data frame, or anything
        else that NumPy or DLPack can read. A single image must be given as ``image[np.newaxis]``: two axes are always
        rows of features.
    image_shape : sequence of three int, optional
        The (channels, height, width) of every image, where ``X.shape`` is not enough; see `infer_layout`.
    layout : ImageLayout, optional
        The layout that X must have, as an earlier call returned it. `image_shape` is then ignored. Flat rows of as many
        numbers are accepted, too, in the order of ``X.reshape(n, -1)``: tools made for scikit-learn's estimators pass
        rows of ``n_features_in_`` numbers.
    estimator : str, default="CNNClassifier"
        The estimator's name in errors.
    min_samples : int, default=1
        The fewest images to accept.

    Returns
    -------
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        C-contiguous, aligned and in native byte order. uint8 and bool become uint8, every other dtype float32. Shares
        memory with X where nothing had to be converted, so do not write to it.
    layout : ImageLayout
        How X was read.

    Raises
    ------
    ValueError
        If X is not a stack of equally large images of finite real numbers, or does not have the given layout.
    TypeError
        If X is sparse, or holds objects that are not numbers.

    Warns
    -----
    UserWarning
        If flat rows are one number longer than a square image, as with a column of labels that was left in.

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
    check_counts(array, min_samples)
    if layout is None:
        layout = infer_layout(array.shape[1:], image_shape)
        if image_shape is None:
            warn_of_a_column_too_many(layout)
    else:
        if array.ndim == 2 and array.shape[1] == math.prod(layout.input_shape):
            array = array.reshape(len(array), *layout.input_shape)
        check_layout(array.shape, layout, estimator)
    pixels = as_pixels(as_numbers(array), layout)
    check_finite(pixels)
    return pixels, layout


def as_array(X: Any) -> NDArray[Any]:
    """Convert any array-like to a NumPy array of its own shape and dtype; torch's floats become float32.

    Parameters
    ----------
    X : array-like
        Anything that NumPy or DLPack can read: lists, a data frame, a torch tensor on any device.

    Returns
    -------
    ndarray
        Shares memory with X where it can, so do not write to it.

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
    refuse_other_kinds(X, X)
    if isinstance(X, list | tuple) and any(getattr(row, "mode", None) == "P" for row in X):  # of PIL
        raise ValueError(
            "Expected grey or colour pictures; got some of mode P, whose pixels are positions in a palette. "
            'Convert each with image.convert("RGB"), or "L".'
        )
    # A frame's columns are its attributes, so a name alone proves nothing: only a method is callable.
    if hasattr(X, "nnz") and callable(getattr(X, "toarray", None)):
        raise TypeError(
            f"Expected a dense array of images; got a sparse {type(X).__name__}. Use X.toarray() to convert it."
        )
    if np.ma.is_masked(X):
        raise ValueError(
            "Expected a value for every pixel; got a masked array with masked values. Fill them with X.filled(value)."
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
            f"Expected images that all have one size; got {describe_sizes(X)}. "
            "Give one array per image, resized or padded to one size, and stack them with np.stack."
        ) from error
    except (TypeError, RuntimeError) as error:  # of arrays on a GPU, and of tensors with gradients in a list
        raise TypeError(
            f"Expected X to be one array of images; got {type(X).__name__}, which NumPy cannot read "
            f"({cut(str(error).rstrip('.'), 100)}). Convert it to a NumPy array."
        ) from error
    if array.dtype.kind in "OSUT" and array.size == len(np.atleast_1d(array)):  # a column of one object a row
        refuse_other_kinds(X, array.flat[0] if array.size else None)
    return array


def refuse_other_kinds(X: Any, value: Any) -> None:
    """Refuse X if `value`, which is X itself or its first row, is known to be no array of pixels."""
    if (found := recognise(value)) is None:
        return
    what, advice = found
    if value is not X:
        n = f"{len(X):,} " if isinstance(X, Sized) else ""
        what = f"{n}rows of type {type(value).__name__}, the first {what}"
    raise TypeError(f"Expected X to be one array of images; got {what}. {advice}")


def recognise(value: Any) -> tuple[str, str] | None:
    """Describe a value that holds images in another form than an array, and what to do; None for all others."""
    name = type(value).__name__
    match value:
        case str() | os.PathLike():
            return f"the {'text' if isinstance(value, str) else 'path'} {quote(value)}", READ
        case bytes() | bytearray():
            return f"{len(value):,} bytes", DECODE
        case Mapping():
            return f"{name} with the keys {quote(list(value))}", "Pass the array of images in it."
        case Set() | Iterator():
            return name, "Make one array of it, for example with np.stack(list(images))."
    for cls in type(value).__mro__:
        if advice := COLLECT.get(f"{cls.__module__}.{cls.__name__}"):
            return f"PIL's {name}" if cls.__module__ == "PIL.Image" else name, advice
    return None


def describe_sizes(X: Any) -> str:
    """Describe the first row of another size, as far as rows have sizes."""
    shapes: list[tuple[int, ...] | None] = []
    for row in X if isinstance(X, Iterable) else ():
        try:
            shapes.append(np.shape(row))
        except ValueError:  # rows of rows of different lengths, such as pairs of image and label
            return f"rows of type {type(row).__name__} that are no arrays"
        if shapes[-1] != shapes[0]:
            return f"{shapes[0]} for the first and {shapes[-1]} for row {len(shapes) - 1}"
    return "rows that NumPy cannot stack"


def check_counts(array: NDArray[Any], min_samples: int) -> None:
    """Refuse an array of fewer than two axes, of too few images or without features, in scikit-learn's words."""
    if array.ndim < 2:
        rows = f" of {type(array[0]).__name__}" if array.dtype == object and array.ndim and len(array) else ""
        raise ValueError(
            f"Expected 2D array, got {'1D' if array.ndim else 'scalar'} array instead: {quote(array)}{rows}. "
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


def check_layout(shape: tuple[int, ...], layout: ImageLayout, estimator: str) -> None:
    """Refuse images of another shape than the fitted ones, in scikit-learn's words."""
    if shape[1:] == layout.input_shape:
        return
    if len(shape) == 2 and len(layout.input_shape) == 1:
        raise ValueError(
            f"X has {shape[1]} features, but {estimator} is expecting {layout.input_shape[0]} features as input."
        )
    raise ValueError(
        f"X has shape {shape}, but {estimator} is expecting {shape_of_x(layout.input_shape)} as input. "
        "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
    )


def as_numbers(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of real numbers: itself, or objects converted to float64."""
    match array.dtype.kind:
        case "b" | "u" | "i" | "f":
            return array
        case "O":
            try:
                return array.astype(np.float64)
            except (TypeError, ValueError, OverflowError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(
                    "Expected a number for every pixel; got X of dtype object with another value: "
                    f"{cut(str(error).rstrip('.'), 100)}. Give every pixel as a number."
                ) from error
        case "c":
            problem, advice = "Complex data not supported: expected real pixels;", "Pass X.real or np.abs(X)."
        case "S" | "U" | "T":
            problem = "dtype='numeric' is not compatible with arrays of bytes/strings:"
            advice = "Convert your data to numeric values explicitly instead."
        case _:
            problem, advice = "Expected pixels of a real numeric dtype;", "Convert it to float32."
    raise ValueError(f"{problem} got X of dtype {array.dtype}. {advice}")


def as_pixels(numbers: NDArray[Any], layout: ImageLayout) -> NDArray[np.uint8 | np.float32]:
    """Convert numbers to pixels (n, channels, height, width), uint8 or float32."""
    planes = np.moveaxis(numbers, -1, 1) if layout.channels_last else numbers
    dtype = np.uint8 if numbers.dtype in (np.uint8, np.bool) else np.float32
    with np.errstate(all="ignore"):  # overflow becomes infinite, and is reported as that
        pixels = np.require(planes, dtype=dtype, requirements=["C", "A"])
    # By way of one axis, because an axis of length 1 may keep a negative stride, which torch refuses.
    return pixels.reshape(-1).reshape(len(numbers), *layout.image_shape)


def check_finite(pixels: NDArray[np.uint8 | np.float32]) -> None:
    """Refuse NaN and infinity."""
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
