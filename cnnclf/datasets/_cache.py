"""Images in a file instead of memory: decoded once into an ``.npy`` file, which the system maps into memory."""

import hashlib
import os
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import opened_atomically
from cnnclf._utils.text import counted, quote, unexpected
from cnnclf.images._spec import InputSpec

ABANDONED = 3600  # seconds without a change, after which an unfinished file is removed

Keep = Callable[[int, NDArray[np.uint8]], None]


def name_cache(folder: Path, split: str, *made_from: Hashable) -> Path:
    """Return the file for the images of a split that are made from all this; other pictures get another file."""
    digest = hashlib.sha256(repr(made_from).encode()).hexdigest()
    return folder / f"{split}-{digest[:16]}.npy"


def check_cache(cache: Any, data: Path) -> Path:
    """Return the folder for files of images, which is made if need be.

    Raises
    ------
    TypeError
        If it is no path.
    ValueError
        If it cannot be a folder, or lies within the images.
    """
    if not isinstance(cache, str | os.PathLike) or not os.fspath(cache):
        raise TypeError(f"Expected cache to be the path of a folder or None; got {quote(cache)}. Pass a path.")
    folder = Path(cache).expanduser()
    if folder.resolve().is_relative_to(data.resolve()):
        raise ValueError(unexpected(folder, "a folder outside of the images", f"one in {data}", "Pass another cache"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = (error.strerror or "none").lower()
        raise ValueError(unexpected(folder, "a folder that can be made", found, "Pass another cache")) from error
    return folder


def open_cache(file: Path, n: int) -> NDArray[np.uint8] | None:
    """Map the n images of a file into memory, read-only; None if there is none.

    Raises
    ------
    ValueError
        If it is none that `write_cache` wrote.
    """
    if not file.exists():
        return None
    try:
        X: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
        if X.dtype == np.uint8 and X.ndim in (3, 4) and len(X) == n:
            return np.moveaxis(X, 1, 3) if X.ndim == 4 else X
        found = f"an array of shape {X.shape} of {X.dtype}"
    except (ValueError, OSError, EOFError):
        found = "a damaged file"
    raise ValueError(unexpected(file, f"{counted(n, 'image')} that were written here", found, "Remove the file"))


def write_cache(file: Path, n: int, spec: InputSpec, decode: Callable[[Keep], None]) -> None:
    """Write images one after the other, with the channels first, as networks take them, so that none is copied later.

    Parameters
    ----------
    file : Path
        There is the whole file in the end, or none.
    n : int
        How many there are.
    spec : InputSpec
        Their size and colours.
    decode : callable
        Calls its argument with the number and the pixels of each image, in their order.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk.
    """
    for left in file.parent.glob(f".{file.name}.*"):  # by a process that was killed
        with suppress(FileNotFoundError):  # another process has finished its file
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    shape = (n, *(spec.image_shape if spec.channels_last else spec.input_shape))
    with opened_atomically(file) as opened:
        np.lib.format.write_array_header_1_0(opened, {"descr": "|u1", "fortran_order": False, "shape": shape})
        decode(lambda _, row: write_row(opened, row, channels_last=spec.channels_last))


def write_row(opened: BinaryIO, row: NDArray[np.uint8], *, channels_last: bool) -> None:
    opened.write((np.moveaxis(row, 2, 0) if channels_last else row).tobytes())
