"""IDX files → arrays; memory follows the size of the file, and not the sizes in its header."""

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import quote, quote_all, unexpected
from cnnclf.datasets._contents import Arrays, as_arrays
from cnnclf.datasets._source import EMNIST_NOTE, SPLIT_NAMES, SPLITS, WHOLE, Source, ambiguous, is_emnist

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


# As MNIST, Fashion-MNIST, KMNIST, EMNIST (emnist-letters-train-…) and their copies are named.
USUAL_NAME = re.compile(r"(.*?)(train|t10k|test|val)-(images|labels)[-.]idx([13])-ubyte(\.gz)?", re.IGNORECASE)
KINDS = {"images": "3", "labels": "1"}


def find_idx(path: Path) -> Source | None:
    """Find pairs of IDX files by their usual names; None where there is none.

    The path is a folder, one of the files, whose split is then all, or what the names of several begin with, as
    gzip/emnist-letters. The images of EMNIST lie on their side, and are turned upright.
    """
    folder = path if path.is_dir() else path.parent
    own = USUAL_NAME.fullmatch(path.name) if path.is_file() else None
    if (path.is_file() and own is None) or not folder.is_dir():
        return None
    files: dict[tuple[str, str, str], Path] = {}
    for file in sorted(folder.iterdir()):
        match = USUAL_NAME.fullmatch(file.name)
        if match is None or not file.is_file() or KINDS[match[3].lower()] != match[4]:
            continue
        key = (match[1], SPLIT_NAMES[match[2].lower()], match[3].lower())
        if own is not None and key[:2] != (own[1], SPLIT_NAMES[own[2].lower()]):
            continue
        if not path.exists() and match[1].rstrip("-_") != path.name:
            continue
        other = files.setdefault(key, file)
        if other is not file and other.with_suffix("") != file and file.with_suffix("") != other:
            raise ambiguous(folder, key[1], quote_all([other.name, file.name]))
        if file == path:  # of one file that is there twice, packed and not
            files[key] = file
    prefixes = sorted({prefix for prefix, _, _ in files})
    if not prefixes:
        return None
    if len(prefixes) > 1:
        found = f"files that begin with {quote_all(prefixes)}"
        advice = f"Pass such a beginning, {quote(folder / prefixes[-1].rstrip('-_'))}"
        raise ValueError(unexpected(folder, "the IDX files of one dataset", found, advice))
    readers, unlabelled = {}, []
    for split in SPLITS:
        pair = [files.get((prefixes[0], split, kind)) for kind in KINDS]
        if pair[0] is not None and pair[1] is not None:
            readers[split] = partial(read_pair, pair[0], pair[1])
        elif pair[0] is not None:
            unlabelled.append(split)
    if not readers:
        advice = "Add the other file of each pair"
        raise ValueError(unexpected(path, "IDX files of images and of their labels", "one of both", advice))
    notes = (EMNIST_NOTE,) if is_emnist(prefixes[0]) else ()
    if own is not None:
        return Source(path, "IDX files", {WHOLE: next(iter(readers.values()))}, notes)
    return Source(path, "IDX files", readers, notes, tuple(unlabelled))


def read_pair(images: Path, labels: Path) -> Arrays:
    """Read images and their labels; EMNIST's are turned upright, and named by its mapping if that lies beside them."""
    X, y = load_idx(images), load_idx(labels)
    match = USUAL_NAME.fullmatch(images.name)
    if match is not None and is_emnist(match[1]):
        X = X.transpose(0, 2, 1) if X.ndim == 3 else X
        mapping = images.with_name(f"{match[1].rstrip('-_')}-mapping.txt")
        if mapping.is_file():
            y = named_by(mapping, y)
    return as_arrays(images, np.ascontiguousarray(X), y)


def named_by(mapping: Path, y: NDArray[Any]) -> NDArray[Any]:
    """Return the characters of labels, whose codes a line of EMNIST's mapping gives: label, code, and others alike."""
    expected = "lines of a label and the codes of its characters"
    try:
        rows = [[int(word) for word in line.split()] for line in mapping.read_text(encoding="ascii").splitlines()]
        characters = {row[0]: chr(row[1]) for row in rows if row}
        if len(set(characters.values())) < len(characters):
            raise ValueError("two labels of one character")
        return np.array([characters[label] for label in y.tolist()])
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(unexpected(mapping, expected, repr(error), "Fetch it again, or move it away")) from error
