"""Picture files → pixels: the only decoder, with bounds, of all formats that are accepted."""

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

# Other files in folders of pictures, beside hidden ones: files of operating systems, notes and tables.
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "readme", "license", "licence"}
LITTER_ENDINGS = {
    *(".csv", ".htm", ".html", ".ini", ".json", ".log", ".md", ".rst"),
    *(".toml", ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml"),
}
MOST_PIXELS = 2**24  # of a picture; decoded, each takes four bytes
ENOUGH_PIXELS = 2**22  # a larger picture is shrunk first, by averaging


def is_litter(path: Path) -> bool:
    """Return whether a name is that of a file that usually accompanies pictures and is none."""
    name = path.name.lower()
    return name.startswith(".") or name in LITTER or path.suffix.lower() in LITTER_ENDINGS


def decode(source: str | os.PathLike[str] | bytes, most_bytes: int | None = None) -> Image.Image:
    """Decode a picture of any format; everything that reads pictures calls this function.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content.
    most_bytes : int, optional
        The largest size of its pixels, if that is less than 2²⁴ pixels need.

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
    name = name_of(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"{name}: expected an image file; there is none.")
    try:
        with warnings.catch_warnings():
            for category in (Image.DecompressionBombWarning, UserWarning):  # Pillow warns of damage with the latter
                warnings.simplefilter("error", category)
            # The formats are listed so that no other program reads a stranger's file: Pillow passes EPS to Ghostscript.
            # Pillow gets no path, either: it ignores the orientation of a TIFF that is mapped into memory.
            with (
                io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file,
                Image.open(file, formats=FORMATS) as image,
            ):
                check_header(image, most_bytes)
                image.load()
                if image.format != "TIFF":  # Pillow turns those itself
                    ImageOps.exif_transpose(image, in_place=True)
                if image.mode in ("P", "PA") and image.palette is None:
                    raise UnwantedPictureError("expected a palette of its colours; got none. Save it as PNG.")
                return as_known_mode(image)
    except UnwantedPictureError as error:
        raise ValueError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: expected a picture that is safe to decode; got {error} Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}: expected a picture ({', '.join(FORMATS)}); got another or a damaged file. Save it as PNG."
        ) from error
    # Pillow's decoders raise all of these for damaged files.
    except (LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, UserWarning) as error:
        raise ValueError(f"{name}: expected a readable picture; got {error!r}. Save it again as PNG.") from error


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
            raise UnwantedPictureError("expected pixels of 8 or 16 bits; got others, whose unit is unknown.")
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
