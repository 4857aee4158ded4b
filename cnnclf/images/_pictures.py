"""Image files → the pixels that a network takes: in its size, its channels, its unit, and its colour of ink.

The parameter ``preparation`` of fit decides what is done to a picture, in this order and without any randomness:

1. The file is decoded and turned upright by its EXIF orientation.
2. It becomes grey (ITU-R 601-2 luma), RGB or RGBA, as the network has one, three or four channels. If the network has
   no channel for transparency, the picture is composited on white, or, if it becomes grey and its ink is bright, on
   black.
3. ``"handwriting"``: a picture of any size is a drawing on paper. Its ground is the median of its outermost pixels; if
   that is bright, the picture is inverted. It is cleaned and framed as the digits of the training set were:
   `clean_ink`, `frame_ink`. All channels get the same, in the network's colour of ink, see `from_ink`. Only a picture
   of 8×8 pixels for a network of scikit-learn's digits is left as it is.
   ``"resize"``: it is resized to the network's size, with antialiasing.
   ``"pad"``: it is resized in proportion to just fit, and padded evenly with its ground.
   None: a picture of the network's size is left as it is, another is padded as by ``"pad"``, with a warning.
4. Brightness is converted to the unit of the training pixels, ``white`` of the `InputSpec`.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnclf._utils.files import is_litter
from cnnclf._utils.text import quote_all
from cnnclf.images._decode import Header, as_bytes, is_nearly_black, name_of, read, reduce
from cnnclf.images._handwriting import FloatImage, border, frame_drawing, paste
from cnnclf.images._many import Source, Unreadable, map_pictures
from cnnclf.images._spec import CHANNEL_COUNTS, WHITES, InputSpec


def read_picture(source: str | os.PathLike[str] | bytes, spec: InputSpec) -> NDArray[Any]:
    """Read an image file as one row of the X that a network was trained on; see the module for how.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content: AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, of at most 2²⁴ pixels (4096×4096), with
        8 bits per channel, or 16 if it is grey.
    spec : InputSpec
        What the network takes: the ``input_spec_`` of either classifier.

    Returns
    -------
    ndarray of shape ``spec.input_shape``
        Pixels in the training data's unit; whole numbers unless that is 0..1 in floats.

    Raises
    ------
    ValueError
        If it is not one readable picture, if it should be a drawing and is empty, or if the network does not take
        pictures in a known unit.

    Warns
    -----
    UserWarning
        If it is of another size than the training images, and the network was fitted without ``preparation``.

    Examples
    --------
    A black line on white paper becomes a bright line, 20 pixels long, on a dark ground.

    >>> import io
    >>> from PIL import Image, ImageDraw
    >>> paper = Image.new("L", (300, 400), "white")
    >>> ImageDraw.Draw(paper).line((100, 50, 100, 250), fill="black", width=20)
    >>> file = io.BytesIO()
    >>> paper.save(file, "PNG")
    >>> mnist = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,), "handwriting")
    >>> row = read_picture(file.getvalue(), mnist)
    >>> row.shape, row.dtype, (row > 128).sum(axis=0)[11:17]
    ((28, 28), dtype('uint8'), array([ 0,  0, 20, 20,  0,  0]))
    """
    check_takes_pictures(spec)
    reading = read_row(source, None, name_of(source), spec=spec)
    if reading.is_padded(spec):
        warn_of_padding(spec, "one is")
    if reading.is_nearly_black:
        warn_of_nearly_black([name_of(source)], 2)
    return reading.row


@dataclass(frozen=True, eq=False)
class Reading:
    """What came of a picture.

    Attributes
    ----------
    header : Header
        Its size and colours, as they are in the file.
    row : ndarray
        Its pixels, as a network takes them.
    is_nearly_black : bool
        Whether it is one of 16 bits that is darker than a picture of 12.
    """

    header: Header
    row: NDArray[Any]
    is_nearly_black: bool

    def is_padded(self, spec: InputSpec) -> bool:
        """Return whether a network was not told how to prepare a picture of this size."""
        return spec.preparation is None and self.header.size != spec.image_shape[1:]


def read_row(
    source: Source,
    most_bytes: int | None,
    name: str,
    *,
    spec: InputSpec,
    only: tuple[tuple[int, int] | None, str | None] = (None, None),
) -> Reading:
    """Read a picture as one row of the X of a network, in one pass over its file.

    Parameters
    ----------
    source, most_bytes, name
        As for :func:`cnnclf.images._decode.decode`.
    spec : InputSpec
        What the network takes.
    only : (size or None, mode or None), default=(None, None)
        Refuse pictures of another size or mode, undecoded.

    Returns
    -------
    Reading
    """
    header, image = read(source, most_bytes, name, lambda header: is_one_of(header, only))
    if image is None:
        raise ValueError(f"{name}: expected the size and the colours of other pictures; got {header}.")
    is_black = is_nearly_black(image)
    if spec.white == 255 and spec.dtype == "uint8" and spec.preparation != "handwriting":
        pixels = np.asarray(image)
        if pixels.shape == spec.input_shape and pixels.dtype == np.uint8:  # there is nothing to prepare
            return Reading(header, pixels, is_black)
    return Reading(header, prepare(reduce(image), spec, name), is_black)


def is_one_of(header: Header, only: tuple[tuple[int, int] | None, str | None]) -> bool:
    """Return whether a picture has this size and this mode, each None for any."""
    size, mode = only
    return size in (None, header.size) and mode in (None, header.mode)


def check_takes_pictures(spec: InputSpec) -> None:
    """Refuse a network that does not take pictures."""
    n_channels = spec.image_shape[0]
    if n_channels not in CHANNEL_COUNTS:
        raise ValueError(f"Expected a network of pictures, with 1, 3 or 4 channels; got one with {n_channels}.")
    white_of(spec)


def warn_of_padding(spec: InputSpec, others: str) -> None:
    """Warn that pictures of another size are padded: "one is", or how many of how many "are"."""
    _, height, width = spec.image_shape
    warnings.warn(
        f"Expected pictures of {width}×{height} pixels, as this network was fitted without preparation; {others} of "
        "another size, resized in proportion and padded. Choose at fit how to prepare them: preparation='resize', "
        "'pad' or 'handwriting'.",
        UserWarning,
        stacklevel=3,
    )


def warn_of_nearly_black(names: Sequence[str], stacklevel: int) -> None:
    """Warn of pictures of 16 bits whose pixels use 12 of them or fewer."""
    warnings.warn(
        f"Expected grey of 16 bits with white at 65535; got {len(names):,} nearly black, as of 12 bits: "
        f"{quote_all([Path(name) for name in names])}. Save them in 8 bits.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def prepare(image: Image.Image, spec: InputSpec, name: str) -> NDArray[Any]:
    """Bring a decoded picture to a network's size, colours and unit."""
    n_channels, height, width = spec.image_shape
    if spec.preparation == "handwriting":
        return as_row(from_ink(frame_drawing(as_grey(image), (height, width), name), spec), spec)
    if n_channels == 1:
        planes = fit(Image.fromarray(as_grey(image)), spec)
    else:
        planes = fit(as_colours(image, n_channels), spec) / np.float32(255)
    return as_row(planes.clip(0, 1), spec)  # bicubic interpolation overshoots


def as_row(planes: FloatImage, spec: InputSpec) -> NDArray[Any]:
    """Convert channels (n_channels, height, width), 0..1, to the unit, the order and the shape of a row."""
    white = white_of(spec)
    if white > 1 or np.issubdtype(spec.dtype, np.integer):
        planes = np.rint(planes * white)
    if spec.channels_last:
        planes = np.moveaxis(planes, 0, -1)
    return planes.reshape(spec.input_shape).astype(spec.dtype)


def white_of(spec: InputSpec) -> int:
    """Return the number that is white.

    Raises
    ------
    ValueError
        If it is not known, as when the training pixels were standardised.
    """
    if spec.white is None:
        raise ValueError(
            f"Expected training pixels in a usual unit, with white at {', '.join(map(str, WHITES[:-1]))} or "
            f"{WHITES[-1]}; got another. Set it with clf.input_spec_ = dataclasses.replace(clf.input_spec_, "
            "white=255), or pass pixels in that unit to predict."
        )
    return spec.white


# The mean of handwritten digits, as a share of white, is below these: MNIST's is 0.13, that of scikit-learn's digits
# 0.31. That of Fashion-MNIST, photographs in MNIST's size, is 0.29.
MOST_INK = {(28, 28): 0.25, (8, 8): 0.35}


def takes_handwriting(spec: InputSpec) -> bool:
    """Return whether a network takes drawings.

    It does if it was fitted with ``preparation="handwriting"``; and, fitted without any, if its images have the size of
    MNIST's or scikit-learn's digits, and as little ink.
    """
    n_channels, height, width = spec.image_shape
    if spec.preparation is not None or spec.white is None:
        return spec.preparation == "handwriting" and spec.white is not None
    brightness = float(np.mean(spec.mean)) / spec.white if spec.mean else 1 / 2
    return n_channels == 1 and min(brightness, 1 - brightness) <= MOST_INK.get((height, width), -1.0)


def from_ink(ink: FloatImage, spec: InputSpec) -> FloatImage:
    """Colour ink (height, width), 0..1, in the colours of a network's training images, (n_channels, height, width).

    Their ground was black and their ink white if they were darker than mid-grey, and the other way round if they were
    brighter. A fourth channel is opaque.
    """
    n_channels = spec.image_shape[0]
    is_dark = float(np.mean(spec.mean[:3])) < white_of(spec) / 2
    planes = np.repeat((ink if is_dark else 1 - ink)[np.newaxis], n_channels, axis=0)
    planes[3:] = 1
    return planes


def read_pictures(
    sources: Iterable[tuple[str, str | os.PathLike[str] | bytes]], spec: InputSpec
) -> tuple[list[tuple[str, NDArray[Any]]], list[tuple[str, str]]]:
    """Read every picture that can be read, as :func:`read_picture` does.

    Parameters
    ----------
    sources : iterable of (name, path-like or bytes)
        The pictures.
    spec : InputSpec
        What the network takes.

    Returns
    -------
    rows : list of (name, ndarray of shape ``spec.input_shape``)
        Of those that can be read.
    errors : list of (name, str)
        Why each of the others cannot.

    Warns
    -----
    UserWarning
        Once, if any is of another size than the training images, and the network was fitted without ``preparation``.
    """
    check_takes_pictures(spec)
    pairs = list(sources)
    called = [name_of(source) if name == "-" else name for name, source in pairs]
    readings = map_pictures(partial(read_row, spec=spec), called, [source for _, source in pairs])
    rows, errors, n_padded = [], [], 0
    nearly_black: list[str] = []
    for (name, _), reading in zip(pairs, readings, strict=True):
        if isinstance(reading, Unreadable):
            errors.append((name, reading.sentence))
            continue
        rows.append((name, reading.row))
        n_padded += reading.is_padded(spec)
        nearly_black += [name] if reading.is_nearly_black else []
    if n_padded:
        warn_of_padding(spec, f"{n_padded:,} of {len(rows):,} are")
    if nearly_black:
        warn_of_nearly_black(nearly_black, 2)
    return rows, errors


def refuse_pictures(folder: str | os.PathLike[str], errors: Sequence[tuple[str, str]]) -> None:
    """Raise one error for all files of a folder that cannot be read, given as (name, sentence).

    Raises
    ------
    ValueError
        If there are any.
    """
    if len(errors) > 1:
        names = quote_all([Path(name) for name, _ in errors])
        raise ValueError(f"{folder}: {len(errors)} files cannot be read: {names}. The first: {errors[0][1]}")
    if errors:
        raise ValueError(errors[0][1])


def list_pictures(folder: str | os.PathLike[str]) -> list[Path]:
    """List all files in a folder and its sub-folders, by name, except those that usually accompany pictures."""
    found: list[Path] = []
    for entry in sorted(Path(folder).iterdir()):
        if is_litter(entry) or (entry.is_dir() and entry.is_symlink()):  # which may lead back here
            continue
        found += list_pictures(entry) if entry.is_dir() else [entry]
    return found


def as_grey(image: Image.Image) -> FloatImage:
    """Return the luma (height, width), 0..1, of a picture; a transparent one on paper that contrasts with its ink."""
    if image.mode == "RGBA":
        luma, alpha = (np.asarray(part, dtype=np.float64) for part in (image.convert("L"), image.getchannel("A")))
        ink = (luma * alpha).sum() / max(alpha.sum(), 1)
        paper = Image.new("RGBA", image.size, "black" if ink > 127.5 else "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("F"), dtype=np.float32) / np.float32(255)


def as_colours(image: Image.Image, n_channels: int) -> Image.Image:
    """Return a picture in RGB, a transparent one on white, or in RGBA."""
    if n_channels == 3 and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return as_bytes(image).convert("RGB" if n_channels == 3 else "RGBA")


def fit(image: Image.Image, spec: InputSpec) -> FloatImage:
    """Return the channels (n_channels, height, width) of a picture in the network's size."""
    _, height, width = spec.image_shape
    if spec.preparation == "resize":
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float32)
    if image.size != (width, height):
        pixels = pad(image, (height, width), np.median(border(pixels), axis=0))
    return np.moveaxis(np.atleast_3d(pixels), -1, 0)


def pad(image: Image.Image, size: tuple[int, int], ground: Any) -> FloatImage:
    """Resize a picture in proportion, with antialiasing, to just fit (height, width), and pad it evenly."""
    scale = min(size[0] / image.height, size[1] / image.width)
    fitting = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    pixels = np.asarray(image.resize(fitting, Image.Resampling.BICUBIC), dtype=np.float32)
    padded = np.full((*size, *pixels.shape[2:]), ground, dtype=np.float32)
    return paste(padded, pixels, (size[0] - pixels.shape[0]) // 2, (size[1] - pixels.shape[1]) // 2)
