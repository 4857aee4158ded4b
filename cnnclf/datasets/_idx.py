"""IDX files → arrays; memory follows the size of the file, and not the sizes in its header."""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import unexpected

HeaderCheck = Callable[[np.dtype[Any], tuple[int, ...]], None]

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_START = (
    "an IDX file, which starts with 00 00, a type (08, 09, 0b, 0c, 0d or 0e) and a number of dimensions (01 or more)"
)
RIGHT_FILE = "Check that this is the right file"
CHUNK = 2**20  # bytes read at once, so that memory follows the file's size and not the sizes in its header


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one array from an IDX file, the format MNIST is published in, compressed with gzip or not.

    The file must hold exactly as many bytes as its header says. The reader needs memory for the bytes that are there,
    not for the sizes in the header, and unpacks a gzip no further than the array's end, nor beyond 32 MB and a hundred
    times its size.

    Parameters
    ----------
    path : path
        The file; its content, not its name, decides whether it is compressed.

    Returns
    -------
    ndarray
        Array of the shape in the header; dtype uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises
    ------
    ValueError
        If the file cannot be read, is no IDX file, is damaged, is longer or shorter than its header says, or unpacks to
        more than a hundred times its size.

    References
    ----------
    "The IDX file format", http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from cnnclf import load_idx
    >>> header = bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 3])  # uint8, two dimensions: 2 and 3
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "six-idx2-ubyte")
    ...     _ = file.write_bytes(header + bytes([1, 2, 3, 4, 5, 6]))
    ...     load_idx(file)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    """
    return decode_idx(read_idx_content(Path(path), str(path)), str(path))


def read_idx_content(path: Path, source: str, check_header: HeaderCheck | None = None) -> bytearray:
    """Return the uncompressed bytes of the IDX file at `path`, checked against its header.

    `check_header` may refuse a header before the data behind it is read.
    """
    content = bytearray()
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would never end
        raise ValueError(unexpected(source, "a file", "a pipe or a device", "Copy its content into a file"))
    try:
        with path.open("rb") as raw:
            # An IDX file starts with two zeros, a gzip with 1f 8b.
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
                extend(content, stream, 4, source)
                if content[:2] != b"\0\0" or content[2] not in IDX_DTYPES or content[3] == 0:
                    raise ValueError(unexpected(source, IDX_START, content.hex(" "), RIGHT_FILE))
                extend(content, stream, 4 + 4 * content[3], source)
                dtype, shape = idx_header(content)
                if check_header is not None:
                    check_header(dtype, shape)
                length = len(content) + dtype.itemsize * math.prod(shape)
                most = most_unpacked(os.fstat(raw.fileno()).st_size)
                if packed and length > most:
                    limit = f"a gzip that unpacks to at most {most:,} bytes, a hundred times its size and 32 MB"
                    raise ValueError(
                        unexpected(source, limit, f"one of {length:,}", "Unpack it yourself if you trust it")
                    )
                extend(content, stream, length, source)
                if stream.read(1):
                    expected = f"{length} bytes, as its header says"
                    raise ValueError(unexpected(source, expected, "more", "The file is damaged: fetch it again"))
    except (OSError, EOFError, zlib.error) as error:
        expected, advice = "a readable IDX file, compressed with gzip or not", "Check the path, or fetch the file again"
        raise ValueError(unexpected(source, expected, repr(error), advice)) from error
    return content


def extend(content: bytearray, stream: BinaryIO | gzip.GzipFile, length: int, source: str) -> None:
    """Read on until `content` is `length` bytes long."""
    while len(content) < length:
        chunk = stream.read(min(CHUNK, length - len(content)))
        if not chunk:
            expected = f"at least {length} bytes, as its header says"
            raise ValueError(unexpected(source, expected, len(content), "The file is cut short: fetch it again"))
        content += chunk


def idx_header(content: bytearray) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the dtype and the shape: 00 00, type, n, then n sizes as big-endian unsigned integers of four bytes."""
    return np.dtype(IDX_DTYPES[content[2]]), struct.unpack_from(f">{content[3]}I", content, 4)


def decode_idx(content: bytearray, source: str) -> NDArray[Any]:
    """Return the array in an IDX file's content, in native byte order."""
    dtype, shape = idx_header(content)
    flat = np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).astype(dtype.newbyteorder("="), copy=False)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or sizes it cannot multiply beside a zero
        raise ValueError(unexpected(source, "a shape that NumPy can hold", f"{shape} ({error})", RIGHT_FILE)) from error
