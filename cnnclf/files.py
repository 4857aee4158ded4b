"""What every kind of file needs: written whole or not at all, and labels as JSON."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        If the folder is missing or cannot be written to; an older file at ``path`` is left as it was.

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
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder to write {path.name} into; there is none.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name, too, must survive a power cut
        folder_descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)


def encode_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Turn an array of labels into JSON-able values, type included.

    Raises
    ------
    ValueError
        For object labels that are not all str, int, float or bool.

    Examples
    --------
    >>> encode_labels(np.array(["cat", "dog"]))
    {'dtype': '<U3', 'values': ['cat', 'dog']}
    """
    values = labels.tolist()
    if not all(isinstance(value, str | int | float | bool) for value in values):
        raise ValueError(f"Expected class labels that are text, numbers or bools; got {values}. Use such labels.")
    return {"dtype": "object" if labels.dtype == object else labels.dtype.str, "values": values}


def decode_labels(encoded: Mapping[str, Any]) -> NDArray[Any]:
    """Turn the result of :func:`encode_labels` back into the array.

    Examples
    --------
    >>> decode_labels({"dtype": "<U3", "values": ["cat", "dog"]})
    array(['cat', 'dog'], dtype='<U3')
    """
    return np.array(encoded["values"], dtype=np.dtype(encoded["dtype"]))
