"""Image files → the pixels that a network wants: its size, its channels, its unit, and its colour of ink.

What is done, in this order, and without any randomness:

1. The file is decoded and turned upright as its EXIF orientation says.
2. It becomes grey (ITU-R 601-2 luma), RGB or RGBA, as the network has one, three or four channels. Where the network
   has no place for transparency, the picture is laid on white, or, if it is to be grey and its ink is bright, on black.
3. A network of one channel was taught bright ink on a dark ground if the mean of its training pixels is within the
   lowest third of their range, and dark ink on a bright ground if it is within the highest. The ground of a picture is
   the median of its outermost pixels: if that is on the other side of the middle, the picture is inverted.
4. A picture that has the network's size is taken as it is now.
5. For a network of handwritten digits (see ``DRAWINGS``) a drawing is cleaned and framed as those digits were:
   `clean_ink`, `frame_ink`. Any other picture is resized in proportion, with antialiasing, to just fit, and padded
   evenly with its ground.
6. Brightness is brought into the unit of the training pixels: `white_level`.
"""

import io
import math
import os
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from cnnclf.images import ImageLayout

FloatImage = NDArray[np.float32]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's names
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

WHITES = (1, 16, 255, 65535)  # floats, scikit-learn's digits, 8 bits, 16 bits
LARGEST_SIDE = 280  # pixels of a drawing while it is cleaned: strokes are some pixels wide, noise is one
MOST_PIXELS = 2**24  # of a picture, which decoded takes four bytes each
ENOUGH_PIXELS = 2**22  # a larger one is made smaller before anything else, by averaging
FAINTEST = 0.1  # contrast, of 1, that a drawing needs


@dataclass(frozen=True)
class Frame:
    """How the images of a set of handwritten digits were made.

    Attributes
    ----------
    canvas : int
        Side of the square that the ink was put on.
    box : tuple of int
        (height, width) that the ink was scaled to fit.
    in_proportion : bool
        Whether its height and width were scaled alike, and its centre of mass put at the canvas's centre; or each to
        fit, and the box put there.
    block : int
        Side of the squares of the canvas whose means are the pixels.
    largest_mean : float
        The largest mean of the training pixels, 0..1, bright ink on dark, that tells such digits from other images.
    """

    canvas: int
    box: tuple[int, int]
    in_proportion: bool
    block: int
    largest_mean: float


DRAWINGS = {
    # MNIST: LeCun et al. 1998, Gradient-based learning applied to document recognition, section III.A.
    # Its mean is 0.13. That of Fashion-MNIST, which is photographs, is 0.29.
    (28, 28): Frame(canvas=28, box=(20, 20), in_proportion=True, block=1, largest_mean=0.25),
    # scikit-learn's digits: Alpaydin and Kaynak 1998, Optical recognition of handwritten digits, made with the
    # programs of Garris et al. 1994, NIST form-based handprint recognition system. Their mean is 0.31.
    (8, 8): Frame(canvas=32, box=(32, 20), in_proportion=False, block=4, largest_mean=0.35),
}


def read_picture(
    source: str | os.PathLike[str] | bytes,
    layout: ImageLayout,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Read an image file as one row of the X that a network was trained on; see the module for how.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content: BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, of at most 2²⁴ pixels (4096×4096), with 8 bits
        a channel, or 16 if it is grey.
    layout : ImageLayout
        The shape of a row, and how it is read as an image.
    mean, std : sequence of float, one a channel
        Of the training pixels, in their unit.
    dtype : dtype, default=float32
        Of the training pixels.

    Returns
    -------
    ndarray of shape ``layout.input_shape``
        Pixels in the training data's unit; whole numbers unless that is 0..1 in floats.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not one readable picture, shows nothing where a drawing is wanted, or if the network is not one of
        pictures with a known unit.

    Examples
    --------
    A black line on white paper becomes a bright line, 20 pixels long, on a dark ground.

    >>> from PIL import ImageDraw
    >>> paper = Image.new("L", (300, 400), "white")
    >>> ImageDraw.Draw(paper).line((100, 50, 100, 250), fill="black", width=20)
    >>> file = io.BytesIO()
    >>> paper.save(file, "PNG")
    >>> mnist = ImageLayout((28, 28), (1, 28, 28), channels_last=False)
    >>> row = read_picture(file.getvalue(), mnist, mean=[33.3], std=[78.6], dtype="uint8")
    >>> row.shape, row.dtype, (row > 128).sum(axis=0)[11:17]
    ((28, 28), dtype('uint8'), array([ 0,  0, 20, 20,  0,  0]))
    """
    n_channels, *size = layout.image_shape
    white = white_level(mean, std)
    image = open_picture(source)
    if n_channels == 1:
        planes = fit_grey(as_grey(image), (size[0], size[1]), float(np.mean(mean)) / white, name_of(source))[np.newaxis]
    else:
        planes = fit_colours(as_colours(image, n_channels), (size[0], size[1]))
    return as_row(planes, layout, white, dtype)


def as_row(planes: FloatImage, layout: ImageLayout, white: int, dtype: DTypeLike) -> NDArray[Any]:
    """Bring channels (n_channels, height, width), 0..1, to the unit, the order and the shape of a row."""
    if white > 1 or np.issubdtype(dtype, np.integer):
        planes = np.rint(planes * white)
    if layout.channels_last:
        planes = np.moveaxis(planes, 0, -1)
    return planes.reshape(layout.input_shape).astype(dtype)


def white_level(mean: Sequence[float], std: Sequence[float]) -> int:
    """Tell what number stands for white: 1, 16, 255 or 65535, the smallest that the training pixels allow.

    No numbers between 0 and w have a variance above mean · (w − mean) (Bhatia and Davis 2000), so w is at least
    mean + std²/mean.

    Raises
    ------
    ValueError
        If no such number is possible, as when the training pixels were standardised.

    Examples
    --------
    MNIST as bytes and as floats, and scikit-learn's digits:

    >>> white_level([33.3], [78.6]), white_level([0.131], [0.308]), white_level([4.9], [6.0])
    (255, 1, 16)
    """
    m, s = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    least = float((m + s**2 / m).max()) if (m > 0).all() else np.inf
    for white in WHITES:
        if least <= white:
            return white
    raise ValueError(
        "Expected a network trained on pixels from 0 for black to 1, 16, 255 or 65535 for white; its training pixels "
        f"had mean {m.tolist()} and standard deviation {s.tolist()}. Bring the picture into their unit yourself, and "
        "pass it to predict."
    )


def open_picture(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Decode a picture, upright, in Pillow's mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits."""
    name = name_of(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"{name}: expected an image file; there is none.")
    try:
        with warnings.catch_warnings():
            for category in (Image.DecompressionBombWarning, UserWarning):  # Pillow warns of damage with the latter
                warnings.simplefilter("error", category)
            # The formats are named so that nothing else is run on a stranger's file: Pillow hands EPS to Ghostscript.
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                check_header(image)
                ImageOps.exif_transpose(image, in_place=True)
                image.load()
                if image.mode in ("P", "PA") and image.palette is None:
                    raise UnwantedPictureError("expected a palette of its colours, got none. Save it as PNG.")
    except UnwantedPictureError as error:
        raise ValueError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: expected a picture that is safe to decode, got {error} Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}: expected a picture, {', '.join(FORMATS)}; it is of another kind, or damaged. Save it as PNG."
        ) from error
    except (LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error, UserWarning) as error:
        raise ValueError(f"{name}: expected a readable picture, got {error!r}. Save it again as PNG.") from error
    if image.mode == "F":
        raise ValueError(f"{name}: expected whole-number pixels, got floats, whose unit is unknown. Save it as PNG.")
    return reduce(as_known_mode(image))


class UnwantedPictureError(Exception):
    """A picture that can be read and is not to be."""


def check_header(image: Image.Image) -> None:
    """Refuse a picture by what its header says, before it is decoded."""
    if getattr(image, "is_animated", False):
        raise UnwantedPictureError("expected one picture, got several frames. Save the one that is meant on its own.")
    if image.width * image.height > MOST_PIXELS:
        raise UnwantedPictureError(
            f"expected a picture that is safe to decode, got {image.width}×{image.height} pixels, more than "
            f"{MOST_PIXELS:,}. Make it smaller."
        )


def as_known_mode(image: Image.Image) -> Image.Image:
    """Bring a decoded picture to mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits."""
    if image.mode.startswith("I"):  # 16 bits, which some decoders give in 32
        grey = np.asarray(image, dtype=np.float32).copy()
        grey /= np.float32(257)
        return Image.fromarray(grey)
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


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
    if n_channels not in (3, 4):
        raise ValueError(f"Expected a network of pictures, with 1, 3 or 4 channels; got one with {n_channels}.")
    if n_channels == 3 and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "F":
        image = Image.fromarray(np.rint(np.asarray(image)).astype(np.uint8))
    return image.convert("RGB" if n_channels == 3 else "RGBA")


def fit_colours(image: Image.Image, size: tuple[int, int]) -> FloatImage:
    """Give the channels (n_channels, height, width), 0..1, of a picture that is made to fit."""
    ground = np.median(border(np.asarray(image)), axis=0)
    planes = np.asarray(resize_to_fit(image, size), dtype=np.float32)
    padded = pad(planes, size, ground.astype(np.float32))
    return np.moveaxis(padded, -1, 0) / np.float32(255)


def fit_grey(grey: FloatImage, size: tuple[int, int], mean: float, name: str) -> FloatImage:
    """Give a grey picture (height, width), 0..1, the size and ground of training images with this mean, 0..1."""
    ground = float(np.median(border(grey)))
    if 1 / 3 <= mean <= 2 / 3:  # no telling what is ink
        return grey if grey.shape == size else pad(resize_grey(grey, size), size, ground)
    ink, ground = (1 - grey, 1 - ground) if ground > 0.5 else (grey, ground)
    frame = DRAWINGS.get(size)
    if ink.shape != size:
        if frame is not None and min(mean, 1 - mean) <= frame.largest_mean:
            ink = frame_ink(clean_ink(ink, name), frame)
        else:
            ink = pad(resize_grey(ink, size), size, ground)
    return ink if mean < 0.5 else 1 - ink


def border(pixels: NDArray[Any]) -> NDArray[Any]:
    """Give the outermost pixels, one a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def resize_to_fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture in proportion, with antialiasing, so that it just fits (height, width)."""
    scale = min(size[0] / image.height, size[1] / image.width)
    fitting = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(fitting, Image.Resampling.BICUBIC)


def resize_grey(grey: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Resize a grey picture, 0..1, in proportion so that it just fits."""
    return np.asarray(resize_to_fit(Image.fromarray(grey), size)).clip(0, 1)  # bicubic interpolation overshoots


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


def frame_ink(ink: FloatImage, frame: Frame = DRAWINGS[28, 28]) -> FloatImage:
    """Scale and place drawn ink as the digits of a training set were.

    Parameters
    ----------
    ink : ndarray of shape (height, width), float32
        How much ink there is, 0 to 1. Some of it is above 0.
    frame : Frame, default=MNIST's
        What they were like.

    Returns
    -------
    ndarray of shape (n, n), float32, within 0..1
        For MNIST the ink, scaled in proportion to fit 20×20 pixels, with its centre of mass at the centre of 28×28.

    Examples
    --------
    >>> ink = np.zeros((300, 400), dtype=np.float32)
    >>> ink[10:60, 20:30] = 1  # 50×10 pixels become 20×4
    >>> framed = frame_ink(ink)
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
        min(max(math.ceil((frame.canvas - 1) / 2 - middle), 0), frame.canvas - length)
        for middle, length in zip(centre, scaled.shape, strict=True)
    )
    canvas = paste(np.zeros((frame.canvas, frame.canvas), dtype=np.float32), scaled, top, left)
    n = frame.canvas // frame.block
    framed: FloatImage = canvas.reshape(n, frame.block, n, frame.block).mean(axis=(1, 3))
    framed /= framed.max()  # thin strokes are grey after scaling
    return framed
