"""Picture files → pixels: the only decoder, with bounds, of all formats that are accepted."""

import io
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import AvifImagePlugin, ExifTags, Image, ImageOps, UnidentifiedImageError

from cnnclf._utils.text import cut, printable, unexpected

# Pillow's names. AVIF is not in every build of it.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if AvifImagePlugin.SUPPORTED else ()))

STORED_AS = {"1": "L", "F": "L", "CMYK": "RGB", "YCbCr": "RGB"}  # other modes of Pillow's, without transparency
COLOURS = {"L": "grey", "RGB": "RGB"}
NEARLY_BLACK = 16
RAISED = (UserWarning, Image.DecompressionBombWarning)  # Pillow warns of damage with the former
FILTERS = [("error", None, category, None, 0) for category in RAISED]  # of Python's warnings
LYING = (5, 6, 7, 8)  # EXIF orientations of a picture that is turned by a quarter
MOST_PIXELS = 2**24  # of a picture; decoded, each takes four bytes
ENOUGH_PIXELS = 2**22  # a larger picture is shrunk first, by averaging


def decode(
    source: str | os.PathLike[str] | bytes, most_bytes: int | None = None, name: str | None = None
) -> Image.Image:
    """Decode a picture of any format; everything that reads pictures calls this function.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content.
    most_bytes : int, optional
        The largest size of its pixels, if that is less than 2²⁴ pixels need.
    name : str, optional
        What errors call it; its path, or "picture", if not given.

    Returns
    -------
    PIL.Image.Image
        Upright, in Pillow's mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits. RGBA is for pictures
        with transparency only: an alpha channel that is opaque everywhere is dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not one picture that is safe to decode.
    """
    with opened(source, name or name_of(source), most_bytes) as image:
        return upright(image)


def try_to_decode(source: str | os.PathLike[str] | bytes, most_bytes: int | None, name: str) -> None:
    """Raise what :func:`decode` raises, without holding on to the pixels."""
    decode(source, most_bytes, name)


def upright(image: Image.Image) -> Image.Image:
    """Decode an opened picture as :func:`decode` says."""
    image.load()
    if may_be_turned(image):
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("P", "PA") and image.palette is None:
        raise UnwantedPictureError("expected a palette of its colours; got none. Save it as PNG.")
    return as_known_mode(image)


@dataclass(frozen=True)
class Header:
    """What a picture's first bytes say.

    Attributes
    ----------
    size : tuple of int
        Its (height, width) once it is upright.
    mode : {"L", "RGB"} or None
        Whether it is grey or has colour; None where that can only be said of its pixels, as of transparency.
    colours : str
        How they are stored, in words.
    """

    size: tuple[int, int]
    mode: str | None
    colours: str


def read_header(
    source: str | os.PathLike[str] | bytes, most_bytes: int | None = None, name: str | None = None
) -> Header:
    """Read the size and the colours of a picture without decoding it; the arguments are those of :func:`decode`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`decode`, for what is wrong with the first bytes.
    """
    with opened(source, name or name_of(source), most_bytes) as image:
        return header_of(image)


def read(
    source: str | os.PathLike[str] | bytes, most_bytes: int | None, name: str, is_wanted: Callable[[Header], bool]
) -> tuple[Header, Image.Image | None]:
    """Read a picture's header, and decode it if that is wanted; the other arguments are those of :func:`decode`."""
    with opened(source, name, most_bytes) as image:
        header = header_of(image)
        return header, upright(image) if is_wanted(header) else None


def header_of(image: Image.Image) -> Header:
    """Return what the header of an opened picture says."""
    lies = may_be_turned(image) and image.getexif().get(ExifTags.Base.Orientation) in LYING
    return make_header(image.size if lies else image.size[::-1], image.mode, "transparency" in image.info)


@lru_cache  # one header for all pictures of a kind, of which there may be millions
def make_header(size: tuple[int, int], mode: str, has_transparency: bool) -> Header:
    """Return the header of pictures of one (height, width) and one of Pillow's modes."""
    stored = "L" if mode.startswith("I") else STORED_AS.get(mode, mode)
    if has_transparency or stored not in COLOURS:
        return Header(size, None, "transparency or palette")
    return Header(size, stored, COLOURS[stored])


def may_be_turned(image: Image.Image) -> bool:
    """Return whether an opened picture may have an EXIF orientation that is left to us: Pillow turns TIFF itself.

    Without this, Pillow would decode a PNG to look for EXIF behind its pixels, where hardly any program writes it.
    """
    if image.format == "TIFF":
        return False
    keys = " ".join(map(str, image.info))
    return "exif" in keys or "xmp" in keys


def is_nearly_black(image: Image.Image) -> bool:
    """Return whether grey of 16 bits has used 12 of them or fewer: its brightest pixel is at most 16 of 255."""
    return image.mode == "F" and float(np.asarray(image).max()) <= NEARLY_BLACK


@contextmanager
def opened(source: str | os.PathLike[str] | bytes, name: str, most_bytes: int | None) -> Iterator[Image.Image]:
    """Open a picture whose header is safe, and raise errors that call it `name` for all that Pillow raises."""
    if not isinstance(source, bytes) and not os.path.isfile(source):  # noqa: PTH113 - four times as fast as pathlib's
        raise FileNotFoundError(f"{printable(cut(name, 200))}: expected an image file; there is none. Check the path.")
    try:
        # The formats are listed so that no other program reads a stranger's file: Pillow passes EPS to Ghostscript.
        # Pillow gets no path, either: it ignores the orientation of a TIFF that is mapped into memory.
        with (
            damage_raised(),
            io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file,  # noqa: PTH123 - faster
            Image.open(file, formats=FORMATS) as image,
        ):
            check_header(image, most_bytes)
            yield image
    except UnwantedPictureError as error:
        raise ValueError(f"{printable(name)}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{printable(name)}: expected a picture that is safe to decode; got {error} Make it smaller."
        ) from error
    except UnidentifiedImageError as error:
        expected = f"a picture ({', '.join(FORMATS)})"
        raise ValueError(unexpected(name, expected, "another or a damaged file", "Save it as PNG")) from error
    # Pillow's decoders raise all of these for damaged files.
    except (LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, UserWarning) as error:
        raise ValueError(unexpected(name, "a readable picture", repr(error), "Save it again as PNG")) from error


@contextmanager
def damage_raised() -> Iterator[None]:
    """Raise what Pillow only warns of, damage and too many pixels.

    Whoever decodes in threads enters this before they start: then nothing is changed in them, as Python's warnings must
    not be.
    """
    if warnings.filters[: len(FILTERS)] == FILTERS:
        yield
        return
    with warnings.catch_warnings():
        for category in reversed(RAISED):
            warnings.simplefilter("error", category)
        yield


class UnwantedPictureError(Exception):
    """A picture that could be read but must not be."""


def check_header(image: Image.Image, most_bytes: int | None) -> None:
    """Refuse a picture by its header, before it is decoded."""
    # An MPO is a JPEG with further views of the same scene, as a stereo camera makes. The first view is the picture.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnwantedPictureError("expected one picture; got several frames. Save the right frame on its own.")
    n_pixels = image.width * image.height
    n_bytes = n_pixels * (1 if image.mode in ("1", "L") else 4)  # of Pillow's decoded picture
    limit = f"more than {MOST_PIXELS:,}" if n_pixels > MOST_PIXELS else ""
    if not limit and most_bytes is not None and n_bytes > most_bytes:
        limit = "more than a hundred times the bytes of all files and 32 MB allow"
    if limit:
        raise UnwantedPictureError(
            f"expected a picture that is safe to decode; got {image.width}×{image.height} pixels, {limit}. "
            "Make it smaller."
        )


def as_known_mode(image: Image.Image) -> Image.Image:
    """Convert a decoded picture to mode L, RGB or RGBA, or F (0 to 255) for grey of more than 8 bits."""
    if image.mode == "F":
        raise UnwantedPictureError("expected whole-number pixels; got floats, whose unit is unknown. Save it as PNG.")
    if image.mode.startswith("I"):  # 16 bits, which some decoders return in 32
        grey = np.asarray(image).astype(np.float32)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnwantedPictureError(
                "expected pixels of 8 or 16 bits; got more, whose unit is unknown. Save it in 8."
            )
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
    """Shrink a picture of more than ``ENOUGH_PIXELS`` by averaging, so that all later steps are fast."""
    factor = math.ceil(math.sqrt(image.width * image.height / ENOUGH_PIXELS))
    return image.reduce(factor) if factor > 1 else image


def name_of(source: str | os.PathLike[str] | bytes) -> str:
    """Name a picture in an error."""
    return "picture" if isinstance(source, bytes) else os.fspath(source)
