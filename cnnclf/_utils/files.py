"""What every kind of file needs: written whole or not at all, bounded, sealed by a digest, and labels as JSON."""

import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LARGEST_FILE = 128 * 2**20  # bytes of a model: 33 million weights
MOST_PIXELS = 2**20  # numbers in an image that a model takes: every layer costs a multiple of it

# What a stranger's file may be unpacked to: any size that is small, else so many times its own. Images and labels that
# are worth learning from pack less tightly; a bomb of zeros packs a thousandfold.
FREE_UNPACKED = 32 * 2**20  # bytes
LARGEST_RATIO = 100


# Other files in folders of pictures, beside hidden ones: files of operating systems, notes and tables.
LITTER_FOLDERS = {"__macosx", "@eadir"}
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "readme", "license", "licence"}
PICTURE_ENDINGS = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
}
LITTER_ENDINGS = (
    *(".csv", ".htm", ".html", ".ini", ".json", ".log", ".md", ".rst"),
    *(".toml", ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml"),
)


def most_unpacked(packed: int) -> int:
    """Return how many bytes a file may be unpacked to, by its packed size.

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
        raise FileNotFoundError(f"{path}: expected {expected}; there is none. Check the path.")
    try:
        check_size(path.stat().st_size)
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        check_size(len(content))  # a file can grow while it is read
    except ValueError as error:
        raise ValueError(f"{path}: expected {expected}; {error}") from error
    return content


def check_size(size: int) -> None:
    """Refuse a model of more bytes than ``LARGEST_FILE``."""
    if size > LARGEST_FILE:
        raise ValueError(f"a model has at most {LARGEST_FILE:,} bytes, this has more. Use a smaller network.")


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
    with opened_atomically(path) as file:
        file.write(content)


@contextmanager
def opened_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written in parts, as :func:`write_atomically` does; after an error the old one is there."""
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise IsADirectoryError(
            f"{path}: expected the name of a file to write; this is a folder. Add a file name to it."
        )
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        found = "it is a file. Choose another one." if folder.exists() else "there is none. Make it first."
        raise kind(f"{folder}: expected a folder to write {path.name} into; {found}")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
            # With the path that was asked for, as the temporary file's name means nothing to the caller.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if os.name == "posix":  # the new name, too, must survive a power cut
        folder_descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)


def is_litter(entry: "Path | os.DirEntry[str]") -> bool:
    """Return whether a name is that of a file that usually accompanies pictures and is none."""
    name = entry.name.lower()
    if name.startswith(".") or name in LITTER_FOLDERS:
        return True
    return (name in LITTER or name.endswith(LITTER_ENDINGS)) and not entry.is_dir()
