"""What every kind of file needs: written whole or not at all, bounded, sealed by a digest, and labels as JSON."""

import hashlib
import math
import os
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import quote, quote_all

LARGEST_FILE = 128 * 2**20  # bytes of a model: 33 million weights
MOST_CLASSES = 10_000
LONGEST_LABEL = 1_000  # letters: an array of labels is as wide as the longest
MOST_PIXELS = 2**20  # numbers in an image that a model takes: every layer costs a multiple of it
PLACEHOLDER = "0" * 64  # what stands in a digest's place while it is computed

# What a stranger's file may be unpacked to: any size that is small, else so many times its own. Images and labels that
# are worth learning from pack less tightly; a bomb of zeros packs a thousandfold.
FREE_UNPACKED = 32 * 2**20  # bytes
LARGEST_RATIO = 100

LABEL_TYPES = re.compile(r"object|[<>|=]?(b1|[iu][1248]|f[248]|U(1000|[1-9][0-9]{0,2}))")


def most_unpacked(packed: int) -> int:
    """Tell how many bytes a file of so many may be unpacked to.

    Examples
    --------
    >>> most_unpacked(10 * 2**20) // 2**20
    1032
    """
    return FREE_UNPACKED + LARGEST_RATIO * packed


def read_bounded(path: str | os.PathLike[str], expected: str) -> bytes:
    """Read a whole model file, unless it is too large.

    Parameters
    ----------
    path : path-like
        The file.
    expected : str
        What it should be, for the errors.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is larger than ``LARGEST_FILE``.
    """
    path = Path(path)
    if not path.is_file():  # neither a folder nor a pipe, which would never end
        raise FileNotFoundError(f"{path}: expected {expected}; there is none.")
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1) if os.fstat(file.fileno()).st_size <= LARGEST_FILE else None
    try:
        check_size(LARGEST_FILE + 1 if content is None else len(content))
    except ValueError as error:
        raise ValueError(f"{path}: expected {expected}; {error}") from error
    assert content is not None
    return content


def check_size(size: int) -> None:
    """Refuse a model of more bytes than ``LARGEST_FILE``."""
    if size > LARGEST_FILE:
        raise ValueError(f"a model has at most {LARGEST_FILE:,} bytes, this has more. Use a smaller network.")


def find_digest(content: bytes, place: re.Pattern[bytes]) -> int | None:
    """Find where the one digest stands, group 1 of the pattern; None where there is none or more than one."""
    places = [match.start(1) for _, match in zip(range(2), place.finditer(content), strict=False)]
    return places[0] if len(places) == 1 else None


def compute_digest(content: bytes, start: int) -> bytes:
    """Hash a file as if its digest, which starts there, were all zeros; 64 hexadecimal digits."""
    view = memoryview(content)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(PLACEHOLDER.encode())
    sha256.update(view[start + len(PLACEHOLDER) :])
    return sha256.hexdigest().encode()


def put_digest(content: bytes, start: int) -> bytes:
    """Put a file's digest into its place."""
    return content[:start] + compute_digest(content, start) + content[start + len(PLACEHOLDER) :]


def holds_digest(content: bytes, start: int) -> bool:
    """Tell whether a file's digest, which starts there, is that of the file."""
    return content[start : start + len(PLACEHOLDER)] == compute_digest(content, start)


def check_image_size(image_shape: tuple[int, ...]) -> None:
    """Refuse a model of images that are larger than ``MOST_PIXELS``."""
    if math.prod(image_shape) > MOST_PIXELS:
        raise ValueError(
            f"Expected a model of images of at most {MOST_PIXELS:,} numbers each; got (channels, height, width) "
            f"{image_shape}. Resize the images."
        )


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any moment either the old or the new one is there.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    content : bytes
        All of it.

    Raises
    ------
    OSError
        If `path` is a folder, or the folder it is in is missing or cannot be written to; an older file at ``path`` is
        left as it was.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_atomically(path, b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise IsADirectoryError(
            f"{path}: expected the name of a file to write; this is a folder. Add a file name to it."
        )
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        found = "it is a file" if folder.exists() else "there is none"
        raise kind(f"{folder}: expected a folder to write {path.name} into; {found}.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            # With the path that was asked for, as the temporary file's name means nothing to the caller.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if os.name == "posix":  # the new name, too, must survive a power cut
        folder_descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)


def holds_text(labels: NDArray[Any]) -> bool:
    """Tell labels that are all text from others."""
    return all(isinstance(label, str) for label in labels.tolist())


def encode_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Turn an array of labels into JSON-able values, type included.

    Raises
    ------
    ValueError
        For object labels that are not all str, int, float or bool, and for more or longer ones than a file may hold.

    Examples
    --------
    >>> encode_labels(np.array(["cat", "dog"]))
    {'dtype': '<U3', 'values': ['cat', 'dog']}
    """
    values = labels.tolist()
    check_label_values(values)
    return {"dtype": "object" if labels.dtype == object else labels.dtype.str, "values": values}


def decode_labels(encoded: Any) -> NDArray[Any]:
    """Turn the result of :func:`encode_labels` back into the array.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> decode_labels({"dtype": "<U3", "values": ["cat", "dog"]})
    array(['cat', 'dog'], dtype='<U3')
    """
    dtype, values = unpack_labels(encoded)
    check_label_values(values)
    try:
        labels = np.array(values, dtype=np.dtype(dtype))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"Expected class labels of the type {dtype}; got others ({error}).") from error
    if labels.tolist() != values or len(set(values)) < len(values):
        raise ValueError(f"Expected different class labels of the type {dtype}; got {quote_all(values)}.")
    return labels


def unpack_labels(encoded: Any) -> tuple[str, list[Any]]:
    """Take the type and the values of encoded labels, if they are such."""
    match encoded:
        case {"dtype": str(dtype), "values": [_, *_] as values} if LABEL_TYPES.fullmatch(dtype):
            return dtype, values
    raise ValueError(f"Expected class labels as a type and a list of one or more; got {quote(encoded)}.")


def check_label_values(values: list[Any]) -> None:
    """Refuse labels that JSON would change, and more or longer ones than a file may hold."""
    if not all(isinstance(value, str | int | float | bool) for value in values):
        raise ValueError(
            f"Expected class labels that are text, numbers or bools; got {quote_all(values)}. Use such labels."
        )
    texts = [value for value in values if isinstance(value, str)]
    longest = max(map(len, texts), default=0)
    if len(values) > MOST_CLASSES or longest > LONGEST_LABEL:
        raise ValueError(
            f"Expected at most {MOST_CLASSES:,} class labels of at most {LONGEST_LABEL:,} letters; got "
            f"{len(values):,}, the longest of {longest:,}. Use fewer or shorter ones."
        )
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Expected class labels that can be written in UTF-8; got {error}. Use others.") from error


def plain(value: Any) -> Any:
    """Give a value as JSON knows it; None for functions and live objects, which JSON does not know.

    Examples
    --------
    >>> plain((1, np.float32(0.5), len))
    [1, 0.5, None]
    """
    match value:
        case np.generic():
            return value.item()
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case str() | bool() | int() | float():
            return value
    return None
