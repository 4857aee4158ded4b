"""Image files → the pixels that a network wants: its size, its channels, its unit, and its colour of ink.

What is done to a picture is what the network was told at fit by ``preparation``, in this order and without any
randomness:

1. The file is decoded and turned upright as its EXIF orientation says.
2. It becomes grey (ITU-R 601-2 luma), RGB or RGBA, as the network has one, three or four channels. Where the network
   has no place for transparency, the picture is laid on white, or, if it is to be grey and its ink is bright, on black.
3. ``"handwriting"``: whatever its size, it is taken for a drawing on paper. Its ground is the median of its outermost
   pixels; if that is bright, the picture is inverted. It is cleaned and framed as the digits were that the network
   learnt: `clean_ink`, `frame_ink`. All channels get the same, in the network's colour of ink, see `from_ink`. Only one
   of scikit-learn's digits itself, 8×8 pixels, is taken as it is.
   ``"resize"``: it is resized to the network's size, with antialiasing.
   ``"pad"``: it is resized in proportion to just fit, and padded evenly with its ground.
   None: a picture of the network's size is taken as it is, another as by ``"pad"``, with a warning.
4. Brightness is brought into the unit of the training pixels, ``white`` of the `InputSpec`.
"""

import io
import math
import os
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFilter, ImageOps, UnidentifiedImageError

from cnnclf._utils.text import quote_all
from cnnclf.images._arrays import CHANNEL_COUNTS, WHITES, InputSpec

FloatImage = NDArray[np.float32]

# Pillow's names. AVIF is not in every build of it.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if AvifImagePlugin.SUPPORTED else ()))

# What lies in folders of pictures beside them: hidden files apart, what systems leave there, and notes and tables.
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "readme", "license", "licence"}
LITTER_ENDINGS = {
    *(".csv", ".htm", ".html", ".ini", ".json", ".log", ".md", ".rst"),
    *(".toml", ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml"),
}

# Pixels of a drawing's longer side while it is cleaned: strokes are some pixels wide, noise is one.
SMALLEST_SIDE, LARGEST_SIDE = 56, 280
MOST_PIXELS = 2**24  # of a picture, which decoded takes four bytes each
ENOUGH_PIXELS = 2**22  # a larger one is made smaller before anything else, by averaging
FAINTEST = 0.1  # contrast, of 1, that a drawing needs


@dataclass(frozen=True)
class Frame:
    """How the images of a set of handwritten digits were made.

    Attributes
    ----------
    canvas : tuple of int
        (height, width) of what the ink was put on.
    box : tuple of int
        (height, width) that the ink was scaled to fit.
    in_proportion : bool
        Whether its height and width were scaled alike, and its centre of mass put at the canvas's centre; or each to
        fit, and the box put there.
    block : int
        Side of the squares of the canvas whose means are the pixels.
    """

    canvas: tuple[int, int]
    box: tuple[int, int]
    in_proportion: bool
    block: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> "Frame":
        """Find how digits of a size (height, width) were made.

        Those of 8×8 pixels are scikit-learn's, all others were made as MNIST's were, whose ink fits 20 of 28 pixels.

        References
        ----------
        LeCun et al. 1998, Gradient-based learning applied to document recognition, section III.A.

        Alpaydin and Kaynak 1998, Optical recognition of handwritten digits, made with the programs of Garris et al.
        1994, NIST form-based handprint recognition system.

        Examples
        --------
        >>> Frame.of((28, 28)).box, Frame.of((32, 32)).box
        ((20, 20), (23, 23))
        """
        if size == (8, 8):
            return cls(canvas=(32, 32), box=(32, 20), in_proportion=False, block=4)
        side = max(1, round(min(size) * 20 / 28))
        return cls(canvas=size, box=(side, side), in_proportion=True, block=1)


def read_picture(source: str | os.PathLike[str] | bytes, spec: InputSpec) -> NDArray[Any]:
    """Read an image file as one row of the X that a network was trained on; see the module for how.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content: AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, of at most 2²⁴ pixels (4096×4096), with
        8 bits a channel, or 16 if it is grey.
    spec : InputSpec
        What the network takes: the ``input_spec_`` of either classifier.

    Returns
    -------
    ndarray of shape ``spec.input_shape``
        Pixels in the training data's unit; whole numbers unless that is 0..1 in floats.

    Raises
    ------
    ValueError
        If it is not one readable picture, shows nothing where a drawing is wanted, or if the network is not one of
        pictures with a known unit.

    Warns
    -----
    UserWarning
        If it is of another size than the training images, and the network was fitted without ``preparation``.

    Examples
    --------
    A black line on white paper becomes a bright line, 20 pixels long, on a dark ground.

    >>> from PIL import ImageDraw
    >>> paper = Image.new("L", (300, 400), "white")
    >>> ImageDraw.Draw(paper).line((100, 50, 100, 250), fill="black", width=20)
    >>> file = io.BytesIO()
    >>> paper.save(file, "PNG")
    >>> mnist = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,), "handwriting")
    >>> row = read_picture(file.getvalue(), mnist)
    >>> row.shape, row.dtype, (row > 128).sum(axis=0)[11:17]
    ((28, 28), dtype('uint8'), array([ 0,  0, 20, 20,  0,  0]))
    """
    image = open_for(source, spec)
    if was_not_told(image, spec):
        warn_of_padding(spec, "one is")
    return prepare(image, spec, name_of(source))


def open_for(source: str | os.PathLike[str] | bytes, spec: InputSpec) -> Image.Image:
    """Decode a picture for a network, if that is one of pictures."""
    n_channels = spec.image_shape[0]
    if n_channels not in CHANNEL_COUNTS:
        raise ValueError(f"Expected a network of pictures, with 1, 3 or 4 channels; got one with {n_channels}.")
    white_of(spec)
    return open_picture(source)


def was_not_told(image: Image.Image, spec: InputSpec) -> bool:
    """Tell whether a picture is of another size than a network's that was fitted without ``preparation``."""
    _, height, width = spec.image_shape
    return spec.preparation is None and image.size != (width, height)


def warn_of_padding(spec: InputSpec, others: str) -> None:
    """Warn that pictures of another size are padded: "one is", or how many of how many "are"."""
    _, height, width = spec.image_shape
    warnings.warn(
        f"Expected pictures of {width}×{height} pixels, as this network was fitted without preparation; {others} of "
        "another size, resized in proportion and padded. Say at fit what is done with such: preparation='resize', "
        "'pad' or 'handwriting'.",
        UserWarning,
        stacklevel=3,
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
    """Bring channels (n_channels, height, width), 0..1, to the unit, the order and the shape of a row."""
    white = white_of(spec)
    if white > 1 or np.issubdtype(spec.dtype, np.integer):
        planes = np.rint(planes * white)
    if spec.channels_last:
        planes = np.moveaxis(planes, 0, -1)
    return planes.reshape(spec.input_shape).astype(spec.dtype)


def white_of(spec: InputSpec) -> int:
    """Give the number that stands for white, or say that it is not known.

    Raises
    ------
    ValueError
        If it is not, as when the training pixels were standardised.
    """
    if spec.white is None:
        raise ValueError(
            f"Expected a network whose training pixels tell what white is, {', '.join(map(str, WHITES[:-1]))} or "
            f"{WHITES[-1]}; these do not. Say it with clf.input_spec_ = dataclasses.replace(clf.input_spec_, "
            "white=255), or pass pixels in their unit to predict."
        )
    return spec.white


def from_ink(ink: FloatImage, spec: InputSpec) -> FloatImage:
    """Give ink (height, width), 0..1, the colours of a network's training images, (n_channels, height, width).

    Their ground was black and their ink white if they were darker than mid-grey, the other way about if they were
    brighter. What there is of a fourth channel is opaque.
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
    rows, errors, n_padded = [], [], 0
    for name, source in sources:
        try:
            image = open_for(source, spec)
            rows.append((name, prepare(image, spec, name_of(source))))
            n_padded += was_not_told(image, spec)
        except (ValueError, OSError) as error:
            errors.append((name, str(error)))
    if n_padded:
        warn_of_padding(spec, f"{n_padded:,} of {len(rows):,} are")
    return rows, errors


def refuse_pictures(folder: str | os.PathLike[str], errors: Sequence[tuple[str, str]]) -> None:
    """Say at once what is wrong with files of a folder, given as (name, sentence), if there are any.

    Raises
    ------
    ValueError
        If there are.
    """
    if not errors:
        return
    (_, first), *others = errors
    if not others:
        raise ValueError(first)
    names = quote_all([Path(name) for name, _ in errors])
    raise ValueError(f"{folder}: {len(errors)} files cannot be read: {names}. The first: {first}")


def list_pictures(folder: str | os.PathLike[str]) -> list[Path]:
    """List all files in a folder and its sub-folders, by name, but for what usually lies beside pictures."""
    found: list[Path] = []
    for entry in sorted(Path(folder).iterdir()):
        if is_litter(entry) or (entry.is_dir() and entry.is_symlink()):  # which may lead back here
            continue
        found += list_pictures(entry) if entry.is_dir() else [entry]
    return found


def is_litter(path: Path) -> bool:
    """Tell what usually lies beside pictures from what may be one, by its name."""
    name = path.name.lower()
    return name.startswith(".") or name in LITTER or path.suffix.lower() in LITTER_ENDINGS


def open_picture(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Decode a picture, and make it smaller if it is very large; see :func:`decode`."""
    return reduce(decode(source))


def decode(source: str | os.PathLike[str] | bytes, most_bytes: int | None = None) -> Image.Image:
    """Decode a picture of whichever kind; everything that reads pictures does it with this function.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content.
    most_bytes : int, optional
        What it may be unpacked to, where that is to be less than 2²⁴ pixels.

    Returns
    -------
    PIL.Image.Image
        Upright, in Pillow's mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits. RGBA is only what has
        transparency: an alpha channel that is opaque everywhere is dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not one picture that is safe to decode.
    """
    name = name_of(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"{name}: expected an image file; there is none.")
    try:
        with warnings.catch_warnings():
            for category in (Image.DecompressionBombWarning, UserWarning):  # Pillow warns of damage with the latter
                warnings.simplefilter("error", category)
            # The formats are named so that nothing else is run on a stranger's file: Pillow hands EPS to Ghostscript.
            # They get no path, either: of a TIFF that is mapped into memory Pillow heeds no orientation.
            with (
                io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file,
                Image.open(file, formats=FORMATS) as image,
            ):
                check_header(image, most_bytes)
                image.load()
                if image.format != "TIFF":  # which Pillow turns itself
                    ImageOps.exif_transpose(image, in_place=True)
                if image.mode in ("P", "PA") and image.palette is None:
                    raise UnwantedPictureError("expected a palette of its colours, got none. Save it as PNG.")
                return as_known_mode(image)
    except UnwantedPictureError as error:
        raise ValueError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: expected a picture that is safe to decode, got {error} Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}: expected a picture, {', '.join(FORMATS)}; it is of another kind, or damaged. Save it as PNG."
        ) from error
    # what Pillow's decoders raise, found by feeding them damaged files
    except (LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, UserWarning) as error:
        raise ValueError(f"{name}: expected a readable picture, got {error!r}. Save it again as PNG.") from error


class UnwantedPictureError(Exception):
    """A picture that can be read and is not to be."""


def check_header(image: Image.Image, most_bytes: int | None) -> None:
    """Refuse a picture by what its header says, before it is decoded."""
    # An MPO is a JPEG with further views of the same scene, such as a camera for two eyes makes. The first is meant.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnwantedPictureError("expected one picture, got several frames. Save the one that is meant on its own.")
    n_pixels = image.width * image.height
    n_bytes = n_pixels * (1 if image.mode in ("1", "L") else 4)  # that Pillow decodes it to
    if n_pixels > MOST_PIXELS:
        limit = f"more than {MOST_PIXELS:,}"
    elif most_bytes is not None and n_bytes > most_bytes:
        limit = "more than a hundred times the bytes of all files and 32 MB allow"
    else:
        return
    raise UnwantedPictureError(
        f"expected a picture that is safe to decode, got {image.width}×{image.height} pixels, {limit}. Make it smaller."
    )


def as_known_mode(image: Image.Image) -> Image.Image:
    """Bring a decoded picture to mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits."""
    if image.mode == "F":
        raise UnwantedPictureError("expected whole-number pixels, got floats, whose unit is unknown. Save it as PNG.")
    if image.mode.startswith("I"):  # 16 bits, which some decoders give in 32
        grey = np.asarray(image).astype(np.float32)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnwantedPictureError("expected pixels of 8 or 16 bits, got others, whose unit is unknown.")
        grey /= np.float32(257)
        return Image.fromarray(grey)
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        if np.asarray(shown.getchannel("A")).min() < 255:
            return shown
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def as_bytes(image: Image.Image) -> Image.Image:
    """Round grey of more than 8 bits to 8."""
    return Image.fromarray(np.rint(np.asarray(image)).astype(np.uint8)) if image.mode == "F" else image


def reduce(image: Image.Image) -> Image.Image:
    """Make a picture of more than ``ENOUGH_PIXELS`` smaller by averaging, so that all that follows costs little."""
    factor = math.ceil(math.sqrt(image.width * image.height / ENOUGH_PIXELS))
    return image.reduce(factor) if factor > 1 else image


def name_of(source: str | os.PathLike[str] | bytes) -> str:
    """Name a picture in an error."""
    return "picture" if isinstance(source, bytes) else os.fspath(source)


def as_grey(image: Image.Image) -> FloatImage:
    """Give the luma (height, width), 0..1, of a picture; a transparent one on the paper that shows its ink."""
    if image.mode == "RGBA":
        luma, alpha = (np.asarray(part, dtype=np.float64) for part in (image.convert("L"), image.getchannel("A")))
        ink = (luma * alpha).sum() / max(alpha.sum(), 1)
        paper = Image.new("RGBA", image.size, "black" if ink > 127.5 else "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("F"), dtype=np.float32) / np.float32(255)


def as_colours(image: Image.Image, n_channels: int) -> Image.Image:
    """Give a picture in RGB, a transparent one on white, or in RGBA."""
    if n_channels == 3 and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return as_bytes(image).convert("RGB" if n_channels == 3 else "RGBA")


def frame_drawing(grey: FloatImage, size: tuple[int, int], name: str) -> FloatImage:
    """Find the ink, 0..1, in a grey picture of a drawing, and frame it as digits of a size (height, width) were."""
    ink = 1 - grey if np.median(border(grey)) > 0.5 else grey
    frame = Frame.of(size)
    if ink.shape == size != frame.canvas:
        return ink  # these pixels are means of blocks already; without what they are means of there is no framing
    return frame_ink(clean_ink(enlarge(ink), name), frame)


def fit(image: Image.Image, spec: InputSpec) -> FloatImage:
    """Give the channels (n_channels, height, width) of a picture, made to have the network's size."""
    _, height, width = spec.image_shape
    if spec.preparation == "resize":
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float32)
    if pixels.shape[:2] != (height, width):
        ground = np.median(border(pixels), axis=0)
        pixels = pad(np.asarray(resize_to_fit(image, (height, width)), dtype=np.float32), (height, width), ground)
    return np.moveaxis(np.atleast_3d(pixels), -1, 0)


def border(pixels: NDArray[Any]) -> NDArray[Any]:
    """Give the outermost pixels, one a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def resize_to_fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture in proportion, with antialiasing, so that it just fits (height, width)."""
    scale = min(size[0] / image.height, size[1] / image.width)
    fitting = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(fitting, Image.Resampling.BICUBIC)


def pad(pixels: FloatImage, size: tuple[int, int], ground: Any) -> FloatImage:
    """Put a picture (height, width) or (height, width, n_channels) at the centre of a larger ground."""
    padded = np.empty((*size, *pixels.shape[2:]), dtype=np.float32)
    padded[:] = ground
    return paste(padded, pixels, (size[0] - pixels.shape[0]) // 2, (size[1] - pixels.shape[1]) // 2)


def paste(ground: FloatImage, pixels: FloatImage, top: int, left: int) -> FloatImage:
    """Lay a picture on a ground."""
    ground[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return ground


def clean_ink(picture: FloatImage, name: str = "picture") -> FloatImage:
    """Make a picture of bright ink on a darker ground, such as a photograph, 0 where there is none and 1 where it is.

    Parameters
    ----------
    picture : ndarray of shape (height, width), float32
        Brightness, 0..1.
    name : str, default="picture"
        What to call it in the error.

    Returns
    -------
    ndarray of shape (height, width), float32, within 0..1
        Of at most ``LARGEST_SIDE`` pixels each way.

    Raises
    ------
    ValueError
        If nothing stands out from the ground.

    Notes
    -----
    Ink is what Otsu's threshold finds in the blurred picture, with the pixels around it, whose grey is kept so that
    edges stay smooth. All else is ground.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.

    Examples
    --------
    >>> grey = np.full((6, 9), 0.3, dtype=np.float32)
    >>> grey[1:5, 1] = 0.9
    >>> clean_ink(grey)[2].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    small = shrink(Image.fromarray(picture), LARGEST_SIDE)
    pixels = np.asarray(small) - light(small)
    blurred = Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    levels = np.asarray(blurred)
    if int(levels.max()) - int(levels.min()) < FAINTEST * 255:
        raise ValueError(f"{name}: expected a drawing that stands out from its paper; got an even shade.")
    is_ink = levels > otsu_threshold(levels)
    near = np.asarray(Image.fromarray(is_ink).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
    # Blurred ink is broader than ink, so that not all of it is: of a line one pixel wide, a third.
    paper, ink = np.median(pixels[~is_ink]), np.quantile(pixels[is_ink], 0.9)
    cleaned: FloatImage = (near * (pixels - paper) / (ink - paper)).clip(0, 1).astype(np.float32)
    return cleaned


def enlarge(picture: FloatImage) -> FloatImage:
    """Repeat the pixels of a small picture, so that its strokes are some pixels wide when it is cleaned."""
    factor = math.ceil(SMALLEST_SIDE / max(picture.shape))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def shrink(image: Image.Image, largest_side: int) -> Image.Image:
    """Make a picture small enough, in proportion, by averaging."""
    scale = min(1.0, largest_side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def light(image: Image.Image) -> FloatImage:
    """Estimate the ground under bright ink, which is uneven in a photograph: what an opening wider than ink leaves."""
    tiny = shrink(image, 36)
    ground = Image.fromarray(np.rint(np.asarray(tiny) * 255).astype(np.uint8))
    for step in (ImageFilter.MinFilter(13), ImageFilter.MaxFilter(13), ImageFilter.GaussianBlur(4)):
        ground = ground.filter(step)
    estimate: FloatImage = np.asarray(ground.convert("F").resize(image.size, Image.Resampling.BILINEAR))
    return estimate / np.float32(255)


def otsu_threshold(levels: NDArray[np.uint8]) -> int:
    """Find the level that divides a picture into two classes with the largest variance between them (Otsu 1979)."""
    share = np.bincount(levels.ravel(), minlength=256) / levels.size
    below = np.cumsum(share)  # ω
    mass = np.cumsum(share * np.arange(256))  # μ
    with np.errstate(divide="ignore", invalid="ignore"):  # where one class is empty
        variance = (mass[-1] * below - mass) ** 2 / (below * (1 - below))
    return int(np.nanargmax(variance))


def frame_ink(ink: FloatImage, frame: Frame) -> FloatImage:
    """Scale and place drawn ink as the digits of a training set were.

    Parameters
    ----------
    ink : ndarray of shape (height, width), float32
        How much ink there is, 0 to 1. Some of it is above 0.
    frame : Frame
        What they were like.

    Returns
    -------
    ndarray of shape (height, width), float32, within 0..1
        For MNIST the ink, scaled in proportion to fit 20×20 pixels, with its centre of mass at the centre of 28×28.

    Examples
    --------
    >>> ink = np.zeros((300, 400), dtype=np.float32)
    >>> ink[10:60, 20:30] = 1  # 50×10 pixels become 20×4
    >>> framed = frame_ink(ink, Frame.of((28, 28)))
    >>> framed.any(axis=1).nonzero()[0][[0, -1]], framed.any(axis=0).nonzero()[0]
    (array([ 4, 23]), array([12, 13, 14, 15]))
    """
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = np.ascontiguousarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    height, width = frame.box
    if frame.in_proportion:
        scale = min(height / cropped.shape[0], width / cropped.shape[1])
        height, width = (max(1, round(length * scale)) for length in cropped.shape)
    scaled = np.asarray(Image.fromarray(cropped).resize((width, height), Image.Resampling.BOX))
    if frame.in_proportion:
        # (row, column) of the centre of mass; it comes to lie within half a pixel of the canvas's.
        centre = [
            float(np.average(np.arange(n), weights=scaled.sum(axis=1 - axis))) for axis, n in enumerate(scaled.shape)
        ]
    else:
        centre = [height / 2, width / 2]
    # To the pixel n/2, counted from 0, as in MNIST; but nothing is cut off.
    top, left = (
        min(max(math.ceil((side - 1) / 2 - middle), 0), side - length)
        for side, middle, length in zip(frame.canvas, centre, scaled.shape, strict=True)
    )
    canvas = paste(np.zeros(frame.canvas, dtype=np.float32), scaled, top, left)
    n_rows, n_columns = (side // frame.block for side in frame.canvas)
    framed: FloatImage = canvas.reshape(n_rows, frame.block, n_columns, frame.block).mean(axis=(1, 3))
    framed /= framed.max()  # thin strokes are grey after scaling
    return framed
