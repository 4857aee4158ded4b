"""Class labels: missing ones, all of them as JSON and back, and plain values of any object that JSON knows."""

import numbers
import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.text import quote, quote_all

MOST_CLASSES = 10_000
LONGEST_LABEL = 1_000  # letters: an array of labels is as wide as the longest

LABEL_TYPES = re.compile(r"object|[<>|=]?(b1|[iu][1248]|f[248]|U(1000|[1-9][0-9]{0,2}))")


def holds_text(labels: NDArray[Any]) -> bool:
    """Return whether all labels are text."""
    return all(isinstance(label, str) for label in labels.tolist())


def is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, NaN of any type, or NA and NaT of pandas."""
    is_nan = isinstance(label, numbers.Number) and label != label
    return label is None or is_nan or type(label).__name__ in ("NAType", "NaTType")


def check_none_missing(labels: ArrayLike, name: str) -> None:
    """Check that no label is missing or masked; the error has the row of the first one."""
    array = np.asanyarray(labels, dtype=None if hasattr(labels, "dtype") else object)  # a masked array stays one
    column = array.ravel().tolist() if array.ndim and array.size == len(array) else []  # and lists None where masked
    rows = [row for row, label in enumerate(column) if is_missing(label)]
    if rows:
        more = f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise ValueError(
            f"Expected a label for each row; got {quote(column[rows[0]])} in row {rows[0]} of {name}{more}. "
            "Leave out rows without a label."
        )


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
    match encoded:
        case {"dtype": str(dtype), "values": [_, *_] as values} if LABEL_TYPES.fullmatch(dtype):
            check_label_values(values)
        case _:
            raise ValueError(f"Expected class labels as a type and a list of one or more; got {quote(encoded)}.")
    try:
        labels = np.array(values, dtype=np.dtype(dtype))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"Expected class labels of the type {dtype}; got others ({error}).") from error
    read = labels.tolist()  # False is 0 in Python, but no label of such a file
    if read != values or [*map(type, read)] != [*map(type, values)] or len(set(values)) < len(values):
        raise ValueError(f"Expected different class labels of the type {dtype}; got {quote_all(values)}.")
    return labels


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
    """Return a value as JSON knows it; None for functions and live objects, which JSON does not know.

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
