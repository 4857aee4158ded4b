"""Picture files → pixels: the one decoder, bounded, of the formats that are taken."""

import io
import math
import os
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError

# Pillow's names. AVIF is not in every build of it.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if AvifImagePlugin.SUPPORTED else ()))

# What lies in folders of pictures beside them: hidden files apart, what systems leave there, and notes and tables.
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "readme", "license", "licence"}
LITTER_ENDINGS = {
    *(".csv", ".htm", ".html", ".ini", ".json", ".log", ".md", ".rst"),
    *(".toml", ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml"),
}
MOST_PIXELS = 2**24  # of a picture, which decoded takes four bytes each
ENOUGH_PIXELS = 2**22  # a larger one is made smaller before anything else, by averaging


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
    """Shrink a picture of more than ``ENOUGH_PIXELS`` by averaging, so that all that follows costs little."""
    factor = math.ceil(math.sqrt(image.width * image.height / ENOUGH_PIXELS))
    return image.reduce(factor) if factor > 1 else image


def name_of(source: str | os.PathLike[str] | bytes) -> str:
    """Name a picture in an error."""
    return "picture" if isinstance(source, bytes) else os.fspath(source)
