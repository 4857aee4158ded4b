"""Fuzz ``load_image_folder`` and ``read_picture``, which ``cnnclf predict`` reads with."""

import struct
import zlib
from pathlib import Path

from fuzzing import fuzz, instrumented

with instrumented():
    import hostile


def make(data: bytes) -> bytes:
    """Put right the checksums of a PNG's chunks, which no mutation would find."""
    if not data.startswith(b"\x89PNG"):
        return data
    mended, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        inside = data[at + 4 : at + 8 + length]
        mended += data[at : at + 4] + inside + struct.pack(">I", zlib.crc32(inside))
        at += 12 + length
    return bytes(mended)


def read(path: Path) -> None:
    try:
        hostile.read("picture", path)
    except ValueError as error:
        if str(path) not in str(error):
            raise
    hostile.read("folder", path.parents[1])


def seeds():
    for form in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"):
        yield hostile.image(form)
        yield hostile.image(form, "RGB")
    for mode in ("1", "P", "LA", "RGBA", "I;16"):
        yield hostile.image("PNG", mode)
    yield hostile.image("JPEG", "CMYK")
    for change, _ in hostile.PICTURES.values():
        yield change()


if __name__ == "__main__":
    fuzz(seeds(), read, make, "folder/class/1.png")
