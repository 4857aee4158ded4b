"""The evaluation of saved predictions of any classifier, from a CSV or NPZ file that need not be trusted."""

import csv
import io
import itertools
import math
import os
import re
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import quote, quote_all
from cnnclf.evaluation._evaluation import Evaluation

LARGEST_FILE = 128 * 2**20  # bytes, also of what a compressed file holds
PIECE = 2**20  # bytes
MOST_IMAGES = 1_000_000
MOST_CLASSES = 1_000  # whose confusion matrix has a million cells
LONGEST_LABEL = 100  # letters: an array of labels is as wide as the longest
MOST_MEMBERS = 1_000  # of an archive, whose table of contents is read whole
WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")  # as an int64 is written, so that no two words are one number
LABELS, NUMBERS = "biufU", "biuf"  # NumPy's kinds
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DAMAGE = (  # what zipfile and NumPy raise, found by feeding them damaged files
    *(EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(UserWarning, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_predictions(path: str | os.PathLike[str]) -> Evaluation:
    r"""Read the predictions of any classifier, and evaluate them.

    Parameters
    ----------
    path : path
        A CSV file (UTF-8, comma, one row per image below a row of names) with a column ``true``, the label, and either
        one column per class, named as the class, with probabilities, or one column ``predicted``, a label. Labels that
        all look like whole numbers become numbers.

        Or a file ``.npz`` of NumPy with arrays ``y_true`` and either ``y_proba`` and ``classes``, or ``y_pred`` and,
        if need be, ``classes``.

    Returns
    -------
    Evaluation
        With the classes in the order of the columns or of ``classes``, else sorted.

    Raises
    ------
    ValueError
        If the file does not hold predictions, or is larger than 128 MB, a million images or a thousand classes; the
        error names the file, if possible the line and column, and what to do.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from cnnclf.evaluation import read_predictions
    >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
    >>> _ = path.write_text("true,cat,dog\ncat,0.9,0.1\ndog,0.6,0.4\n")
    >>> read_predictions(path).mistakes(1)
    (Mistake(index=1, true='dog', predicted='cat', confidence=0.6),)
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # In pieces, because a read of so many bytes takes as much memory before it begins; none of a file too large.
        pieces = itertools.islice(iter(lambda: file.read(PIECE), b""), LARGEST_FILE // PIECE + 1)
        content = b"".join(pieces) if size <= LARGEST_FILE else b""
    try:
        if max(size, len(content)) > LARGEST_FILE:
            raise ValueError(f"Expected at most {LARGEST_FILE:,} bytes; got more. Evaluate fewer images.")
        return evaluate_npz(content) if path.suffix.lower() == ".npz" else evaluate_csv(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def evaluate_csv(content: bytes) -> Evaluation:
    """Evaluate the predictions in the bytes of a CSV file."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    lines = csv.reader(text, skipinitialspace=True, strict=True)
    try:
        names = next(lines, [])
        check_names(names)
        at = names.index("true")
        classes = [name for name in names if name != "true"]
        has_labels = classes == ["predicted"]
        known = None if has_labels else dict.fromkeys(classes)  # found faster than in a list
        true: list[str] = []
        read: Callable[[str, str, int], Any] = read_label if has_labels else read_probability
        values: Any = [] if has_labels else array("d")
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"Expected {len(names)} cells in line {lines.line_num}, as in the first; got {len(cells)}. "
                    "Write one per column, separated by commas."
                )
            true.append(read_label(cells.pop(at), "true", lines.line_num, known))
            check_count(len(true), MOST_IMAGES, "images")
            values.extend(read(*cell, lines.line_num) for cell in zip(cells, classes, strict=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in UTF-8; got {error}. Save the table as CSV in UTF-8.") from error
    except csv.Error as error:
        raise ValueError(
            f"Expected a CSV file; got one whose line {lines.line_num} cannot be read ({error}). Save the table again."
        ) from error
    if not true:
        raise ValueError("Expected one line or more below the names of the columns; got none. Write one per image.")
    if has_labels:
        return evaluate_labels(*as_labels(true, values))
    labels, columns = as_labels(true, classes)
    try:
        return Evaluation.from_predictions(labels, np.frombuffer(values).reshape(len(true), -1), columns)
    except ValueError as error:
        raise ValueError(f"{error} Rows are counted from 0, below the names of the columns.") from error


def check_names(names: Sequence[str]) -> None:
    """Check that there is a column true, and one column predicted or two or more for classes."""
    if names.count("true") != 1 or (len(names) < 3 and "predicted" not in names) or {"true", "predicted"} < set(names):
        raise ValueError(
            "Expected a column true and either one column predicted or two or more columns named as the classes; got "
            f"the columns {quote_all(names)}. Name them in the first line, separated by commas."
        )
    check_count(len(names) - 1, MOST_CLASSES, "classes")
    for position, name in enumerate(names, start=1):
        if not 0 < len(name) <= LONGEST_LABEL or name in names[: position - 1]:
            raise ValueError(
                f"Expected columns with different names of 1 to {LONGEST_LABEL} characters; got {quote(name)} "
                f"in column {position}. Name each column after its class."
            )


def check_count(n: int, most: int, what: str) -> None:
    """Check that there are no more images or classes than fit into a report."""
    if n > most:
        raise ValueError(f"Expected at most {most:,} {what}; got more. Evaluate a part of them.")


def read_label(cell: str, column: str, line: int, classes: Collection[str] | None = None) -> str:
    """Check the label in a cell, which is one of the classes where they are known."""
    if classes is not None and cell not in classes:
        raise ValueError(
            f"Expected one of the classes {quote_all(classes)} in line {line}, column {column}; "
            f"got {quote(cell)}. Name a column after it, or leave the line out."
        )
    if not 0 < len(cell) <= LONGEST_LABEL:
        raise ValueError(
            f"Expected a label of 1 to {LONGEST_LABEL} characters in line {line}, column {column}; got {len(cell)}. "
            "Write one, or leave the line out."
        )
    return cell


def read_probability(cell: str, column: str, line: int) -> float:
    """Read the number in a cell."""
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(
            f"Expected a probability in line {line}, column {column}; got {quote(cell)}. Write it as in 0.25."
        ) from error


def as_labels(*rows: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Return words as arrays of labels: numbers if all of them look like whole numbers."""
    words = {word for row in rows for word in row}
    numbers = all(WHOLE_NUMBER.fullmatch(word) for word in words)
    return tuple(np.array([int(word) for word in row] if numbers else row) for row in rows)


def evaluate_labels(y_true: NDArray[Any], y_pred: NDArray[Any], classes: NDArray[Any] | None = None) -> Evaluation:
    """Evaluate predicted labels, if they are few enough to be classes."""
    evaluation = Evaluation.from_labels(y_true, y_pred, classes)
    check_count(len(evaluation.classes), MOST_CLASSES, "classes")
    return evaluation


def evaluate_npz(content: bytes) -> Evaluation:
    """Evaluate the predictions in the bytes of an NPZ file."""
    if content.count(b"PK\x01\x02") > MOST_MEMBERS:  # the start of an entry in the table of contents
        raise ValueError(f"Expected an archive of at most {MOST_MEMBERS:,} arrays; got more. Save only those needed.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except DAMAGE as error:
        raise ValueError(f"Expected an NPZ file; got {error!r}. Save it again with numpy.savez.") from error
    there = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    names = {"y_true", "y_pred", "y_proba", "classes"} & there
    if names not in ({"y_true", "y_pred"}, {"y_true", "y_pred", "classes"}, {"y_true", "y_proba", "classes"}):
        raise ValueError(
            "Expected arrays y_true and either y_proba and classes, or y_pred; got "
            f"{quote_all(sorted(there))}. Save these with numpy.savez."
        )
    most = min(LARGEST_FILE, most_unpacked(len(content)))
    if sum(archive.getinfo(f"{name}.npy").file_size for name in names) > most:
        raise ValueError(f"Expected arrays of at most {most:,} bytes; got more. Evaluate fewer images.")
    arrays = {name: read_array(archive, name) for name in names}
    check_count(len(np.atleast_1d(arrays["y_true"])), MOST_IMAGES, "images")
    if "y_pred" in arrays:
        return evaluate_labels(**arrays)
    check_count(len(np.atleast_1d(arrays["classes"])), MOST_CLASSES, "classes")
    return Evaluation.from_predictions(**arrays)


def read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array, no larger than its entry declares and without running code in it."""
    info = archive.getinfo(f"{name}.npy")
    try:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("a compression other than NumPy's")
        with archive.open(info) as member:
            content = member.read(info.file_size)  # with a number, because zipfile else unpacks without bounds
        stream = io.BytesIO(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # NumPy's, about a header that it had to guess
            shape, is_fortran, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    except DAMAGE as error:
        raise ValueError(f"Expected {name} to be a readable array; got {error!r}. Save it again.") from error
    kinds, what = (NUMBERS, "numbers") if name == "y_proba" else (LABELS, "words or numbers")
    if dtype.kind not in kinds:
        raise ValueError(
            f"Expected {name} to hold {what}; got dtype {dtype}. "
            "Objects could run code when they are loaded, so save words with .astype(str)."
        )
    if dtype.kind == "U" and not 0 < dtype.itemsize <= 4 * LONGEST_LABEL:
        raise ValueError(
            f"Expected labels of 1 to {LONGEST_LABEL} characters in {name}; got {dtype}. Use shorter ones."
        )
    size, expected = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if size != expected or not all(0 <= n <= LARGEST_FILE for n in shape):
        raise ValueError(f"Expected {expected:,} bytes of {name}, by its shape {shape}; got {size:,}. Save it again.")
    if dtype.kind == "U":
        letters = np.frombuffer(content, dtype.str[0] + "u4", offset=stream.tell())
        if ((letters > sys.maxunicode) | ((letters >= 0xD800) & (letters < 0xE000))).any():
            raise ValueError(f"Expected {name} to hold text; got letters that Unicode does not have. Save it again.")
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if is_fortran else "C")
