"""Tables of pixels, or of the paths of pictures, in .csv files → arrays or pictures."""

import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import PICTURE_ENDINGS, most_unpacked
from cnnclf._utils.text import cut, did_you_mean, quote, quote_all, unexpected
from cnnclf.datasets._contents import Arrays, Labels, as_arrays
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._source import EMNIST_NOTE, SPLIT_NAMES, TABLE, WHOLE, Reader, Source, ambiguous, is_emnist

DELIMITERS = ",;\t"
LONGEST_LINE = 2**22
LABEL_NAMES = (
    *("label", "labels", "class", "classid", "class_id", "target", "y"),
    *("category", "digit", "letter", "emotion"),
)
ID_NAMES = ("", "id", "index", "imageid", "image_id", "unnamed: 0")
PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "picture", "pixels")
USAGE_NAMES = ("usage", "split", "subset", "set")
USAGES = {**SPLIT_NAMES, "publictest": "val", "privatetest": "test"}  # the last two are FER2013's
NO_DATA = ("", "na", "nan", "null")
FEWEST_PIXELS = 16
# A column without a name is the label if it has few values, dense and none too frequent, and the one at the other end
# is almost constant, as pixels at the edges of drawings are.
MOST_CLASSES, MOST_FREQUENT, ALMOST_CONSTANT = 200, 0.9, 0.98
LONGEST_LABEL = 256  # letters: NumPy gives all labels the length of the longest

WHOLE_NUMBER = re.compile(r"(0|-?[1-9][0-9]{0,14})(\.0+)?|-?[0-9]\.[0-9]+e[+-][0-9]{2}")  # without leading zeros
# Which of two numbers in the name of a pixel is the row: by the words before them.
ROW_WORDS, COLUMN_WORDS = {"r", "row", "y", "h"}, {"c", "col", "column", "x", "w"}

Row: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Columns:
    """Where the parts of a table are, by position.

    Attributes
    ----------
    n : int
        How many columns there are.
    delimiter : str
        What is between them.
    has_header : bool
        Whether the first row names them.
    label : int
        The label, or -1 where labels are not read.
    of_label : str
        Its name or position, in words.
    unused : tuple of str
        The names of columns that are none of these.
    pixels : tuple of int
        A number of each pixel, in the order of the numbers in their names; empty where one column has the path of a
        picture, or all pixels as text.
    shape : tuple of int or None
        The (height, width) that names with two numbers each say.
    picture : int
        That column, or -1.
    usage : int
        The column that names a split, or -1.
    identifier : int
        The column of numbers or names that tell the rows apart, or -1.
    of_identifier : str
        Its name.
    """

    n: int
    delimiter: str
    has_header: bool
    label: int
    of_label: str = ""
    unused: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()
    shape: tuple[int, int] | None = None
    picture: int = -1
    usage: int = -1
    identifier: int = -1
    of_identifier: str = ""


class NoLabelError(ValueError):
    """A table has no column of labels that could be found."""


def find_tables(path: Path, label: str | int | None) -> Source | None:
    """Find a table of labelled images, or those of a folder whose names say splits; None where there is none."""
    if path.is_file():
        return None if TABLE.fullmatch(path.name) is None else find_table(path, label)
    files: dict[str, Path] = {}
    others, beginnings = [], set()
    for file in sorted(path.iterdir()):
        match = TABLE.fullmatch(file.name)
        if match is None or not file.is_file():
            continue
        words = re.split(r"[^a-z0-9]+", match[1].lower())
        splits = [word for word in words if word in SPLIT_NAMES]
        if len(splits) != 1:
            others.append(file.name)
            continue
        split = SPLIT_NAMES[splits[0]]
        if split in files:
            raise ambiguous(path, split, quote_all([files[split].name, file.name]))
        files[split] = file
        beginnings.add(tuple(word for word in words if word not in splits))
    if len(beginnings) > 1:
        names = quote_all([file.name for file in files.values()])
        raise ValueError(unexpected(path, "tables of one dataset", names, "Pass the path of one"))
    if not files:
        return None
    found = {split: columns_or_none(file, label, split) for split, file in files.items()}
    train, test = found.get("train"), found.get("test")
    if train is not None and test is not None and test.n < train.n:
        found["test"] = None  # its label is missing, and a position would be that of a pixel
    labelled = {split: columns for split, columns in found.items() if columns is not None}
    usages = [files[split].name for split, columns in labelled.items() if columns.usage >= 0]
    if usages:
        got = f"one in {quote_all(usages)}, too"
        raise ValueError(unexpected(path, "splits by name or by a column", got, "Pass the path of that file"))
    readers = {split: partial(read_table, files[split], columns, None) for split, columns in labelled.items()}
    unlabelled = tuple(split for split, columns in found.items() if columns is None)  # as in Kaggle's competitions
    unused = [*others, *dict.fromkeys(name for columns in labelled.values() for name in columns.unused)]
    notes = [f"not used: {quote_all(unused)}"] if unused else []
    notes += [EMNIST_NOTE] if any(is_emnist(file.name) for file in files.values()) else []
    if not readers:
        return None
    form = f"tables, labels in {' and '.join(dict.fromkeys(columns.of_label for columns in labelled.values()))}"
    return Source(path, form, readers, tuple(notes), unlabelled, takes_label=True)


def columns_or_none(file: Path, label: str | int | None, split: str) -> "Columns | None":
    """Return the columns of a table; None of test images without labels."""
    try:
        return find_columns(file, label)
    except NoLabelError:
        if split != "test":
            raise
        return None


def find_table(path: Path, label: str | int | None) -> Source:
    """Find the splits of one table, which a column may name."""
    columns = find_columns(path, label)
    readers: dict[str, Reader] = {WHOLE: partial(read_table, path, columns, None)}
    if columns.usage >= 0:
        splits = dict.fromkeys(split_of(path, number, row[columns.usage]) for number, row in rows_of(path, columns))
        readers = {split: partial(read_table, path, columns, split) for split in splits}
    notes = [f"not used: {quote_all(columns.unused)}"] if columns.unused else []
    notes += [EMNIST_NOTE] if is_emnist(path.name) else []
    return Source(path, f"a table, labels in {columns.of_label}", readers, tuple(notes), takes_label=True)


def split_of(path: Path, number: int, usage: str) -> str:
    """Return the split that a row belongs to."""
    split = USAGES.get(usage.strip().lower())
    if split is None:
        found = f"{quote(usage)} in line {number:,}"
        raise ValueError(unexpected(path, "train, val or test in the column of splits", found, "Correct it"))
    return split


def lines_of(path: Path) -> Iterator[str]:
    """Read a table line by line; a packed one is unpacked no further than a hundred times its size and 32 MB."""
    try:
        with path.open("rb") as raw:
            is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
            left = most_unpacked(path.stat().st_size) if is_packed else path.stat().st_size
            stream = gzip.GzipFile(fileobj=raw) if is_packed else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                while line := text.readline(LONGEST_LINE):
                    left -= len(line)
                    if len(line) == LONGEST_LINE or left < 0:
                        raise ValueError(unexpected(path, "a table of pixels", "too long a line or file", "Check it"))
                    yield line
    except UnicodeDecodeError as error:
        raise ValueError(unexpected(path, "a table in UTF-8", "another encoding", "Save it as UTF-8")) from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(unexpected(path, "a readable table", cut(repr(error), 100), "Fetch it again")) from error


def cells_of(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read a table row by row, with the number of the line that each ends in; empty lines are passed over."""
    reader = csv.reader(lines_of(path), delimiter=delimiter)
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield reader.line_num, row
    except csv.Error as error:
        found = f"{error} in line {reader.line_num:,}"
        raise ValueError(unexpected(path, "a readable table", found, "Check the file")) from error


def rows_of(path: Path, columns: Columns) -> Iterator[tuple[int, list[str]]]:
    """Read a table row by row, without its header; each row must have all columns."""
    for i, (number, row) in enumerate(cells_of(path, columns.delimiter)):
        if len(row) != columns.n:
            found = f"{len(row):,} in line {number:,}"
            raise ValueError(
                unexpected(path, f"{columns.n:,} columns, as in the first row", found, "Correct that line")
            )
        if i or not columns.has_header:
            yield number, row


def find_columns(path: Path, label: str | int | None, *, labelled: bool = True) -> Columns:
    """Find label, pixels or pictures, and splits in a table; a label that is not wanted has a usual name, if any.

    Raises
    ------
    NoLabelError
        If no label is asked for, and no column is clearly one.
    ValueError
        If the table has nothing that is an image.
    """
    first = next((line for line in lines_of(path) if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    rows = [row for _, row in itertools.islice(cells_of(path, delimiter), 2)]
    if not rows:
        raise ValueError(unexpected(path, "a table of images", "an empty file", "Check the path"))
    cells, row = [cell.strip() for cell in rows[0]], rows[-1]
    names = [cell.lower() for cell in cells]
    numbers = [cell for cell in cells if cell and is_number(cell)]
    counts = is_counting(numbers)
    paths = any(Path(cell).suffix.lower() in PICTURE_ENDINGS for cell in cells)
    has_header = not paths and (counts or 2 * len(numbers) < len(cells) or any(name in LABEL_NAMES for name in names))
    if has_header and len(rows) < 2:
        raise ValueError(unexpected(path, "rows below the header", "none", "Check the file"))
    partly = Columns(len(cells), delimiter, has_header, 0)
    if len(row) != len(cells):
        list(rows_of(path, partly))  # raises
    if labelled:
        at = find_label(path, partly, cells if has_header else None, label, named=has_header and not counts)
    else:
        at = next((i for i, name in enumerate(names) if has_header and name in LABEL_NAMES), -1)
    names = names if has_header else ["?"] * len(cells)
    are_pixels = sum(map(is_number, row)) > FEWEST_PIXELS  # beside which a text cannot be the path of a picture
    ids = [i for i, name in enumerate(names) if i != at and name in ID_NAMES and (are_pixels or is_number(row[i]))]
    others = [i for i in range(len(names)) if i != at and i not in ids]
    usage = next((i for i in others if (names[i] in USAGE_NAMES or not is_number(row[i])) and is_usage(row[i])), -1)
    others = [i for i in others if i != usage]
    texts = [i for i in others if not is_number(row[i])]
    likely = [i for i in texts if names[i] in (*PATH_NAMES, *ID_NAMES)]
    likely = likely or (texts if len(others) < FEWEST_PIXELS else [])
    pixels: list[int] = []
    shape = None
    if len(likely) != 1 and texts:
        found = f"text in {quote_all([cells[i] for i in texts])}"
        raise ValueError(unexpected(path, "one column of paths, or numbers alone", found, "Remove the others"))
    if len(likely) != 1:
        pixels, shape = order_pixels(names, others) if has_header and not counts else (others, None)
        if len(pixels) < FEWEST_PIXELS:
            expected = f"{FEWEST_PIXELS} columns of pixels or more, or a column of paths"
            found = f"{len(pixels)}{' beside the label' if labelled else ''}"
            raise ValueError(unexpected(path, expected, found, "Check the file"))
    used = {usage, *pixels, *likely, *([at] if labelled else [])}
    unused = tuple(cells[i] for i in range(len(cells)) if has_header and cells[i] and i not in used)
    of_label = quote(cells[at]) if has_header and cells[at] else f"column {at}"
    picture = likely[0] if len(likely) == 1 else -1
    columns = replace(partly, pixels=tuple(pixels), shape=shape, picture=picture, usage=usage, unused=unused)
    named = [i for i in (*ids, picture) if has_header and i >= 0]
    if named:
        columns = replace(columns, identifier=named[0], of_identifier=cells[named[0]] or "id")
    return replace(columns, label=at if labelled else -1, of_label=of_label)


def is_usage(cell: str) -> bool:
    """Check whether a cell names a split."""
    return cell.strip().lower() in USAGES


def order_pixels(names: Sequence[str], others: Sequence[int]) -> tuple[list[int], tuple[int, int] | None]:
    """Return the columns of pixels in the order of the numbers in their names, and the size that two numbers say.

    Columns without a number in their name are no pixels, unless it is that of others without theirs, as pandas repeats
    names: pixel, pixel.1, pixel.2.
    """
    skeletons = {i: re.sub(r"[^a-z]", "", names[i]) for i in others}
    numbers = {i: numbers_in(names[i]) for i in others}
    numbered = {skeletons[i] for i in others if numbers[i]}
    pixels = [i for i in others if skeletons[i] in numbered]
    if len({skeletons[i] for i in pixels}) == 1 and len({numbers[i] for i in pixels}) == len(pixels):
        pixels.sort(key=numbers.__getitem__)
        if all(len(numbers[i]) == 2 for i in pixels):
            height, width = (len({numbers[i][axis] for i in pixels}) for axis in (0, 1))
            return pixels, (height, width) if min(height, width) > 1 and height * width == len(pixels) else None
    return pixels, None


def numbers_in(name: str) -> tuple[int, ...]:
    """Return the numbers in the name of a pixel, the row before the column where words say which is which.

    Examples
    --------
    >>> numbers_in("pixel12"), numbers_in("1x28"), numbers_in("r3c4"), numbers_in("col4_row3"), numbers_in("x4_y3")
    ((12,), (1, 28), (3, 4), (3, 4), (3, 4))
    """
    numbers = tuple(map(int, re.findall(r"[0-9]{1,9}", name)))
    words = [word for word in re.findall(r"[a-z]+", name) if word in ROW_WORDS | COLUMN_WORDS]
    return numbers[::-1] if len(words) == 2 and words[0] in COLUMN_WORDS and words[1] in ROW_WORDS else numbers


def find_label(
    path: Path, columns: Columns, header: Sequence[str] | None, label: str | int | None, *, named: bool
) -> int:
    """Return the position of the label: of the name or position that is asked for, of a usual name, or at an end."""
    names = [] if header is None else [name.lower() for name in header]
    if label is not None:
        return named_or_placed(path, columns.n, header, label)
    usual = [i for i, name in enumerate(names) if name in LABEL_NAMES and not (name == "y" and "x" in names)]
    if len(usual) == 1:
        return usual[0]
    words = [name for name in header or () if name and not is_number(name)]
    if usual or named or words:
        found = f"columns {quote_all([header[i] for i in usual] or words)}" if header else ""
        advice = "Pass label, or --label on the command line"
        raise NoLabelError(unexpected(path, f"one column named {', '.join(LABEL_NAMES[:4])} or so", found, advice))
    pairs = [(row[0].strip(), row[-1].strip()) for _, row in rows_of(path, columns)]
    values = [list(column) for column in zip(*pairs, strict=True)]
    ends = [at for at in (0, 1) if is_label(values[at]) and is_edge(values[1 - at])]
    if len(ends) != 1:
        advice = "Pass label=0 for the first column or label=-1 for the last one"
        raise NoLabelError(unexpected(path, "a column that is clearly the label", "none", advice))
    return ends[0] * (columns.n - 1)


def named_or_placed(path: Path, n: int, header: Sequence[str] | None, label: str | int) -> int:
    """Return the position of a column that is asked for: of a text, by its name before its position."""
    text = str(label)
    place = int(text) % n if re.fullmatch(r"-?[0-9]{1,9}", text) and -n <= int(text) < n else None
    if isinstance(label, str) and header is not None:
        lowered = [name.lower() for name in header]
        at = header.index(text) if text in header else lowered.index(text.lower()) if text.lower() in lowered else None
        if at is not None and place not in (None, at):
            found = f"{label!r}, the name of one and the position of another"
            raise ValueError(unexpected(path, "a column", found, "Pass its name, or in Python its position as an int"))
        place = at if at is not None else place
    if place is None or isinstance(label, bool):
        there = quote_all(header) if header is not None else f"{n:,} columns without names"
        sentence = unexpected(path, f"a column {label!r}", there, "Pass one of them, or its position, from 0")
        raise NoLabelError(sentence + did_you_mean(text, header or ()))
    return place


def is_label(values: Sequence[str]) -> bool:
    """Check whether a column may be the label: few whole numbers, one after the other, or few texts."""
    counts = Counter(values)
    n_most = max(counts.values())
    if not 2 <= len(counts) <= min(MOST_CLASSES, len(values) / 2) or n_most > MOST_FREQUENT * len(values):
        return False
    if any(is_number(value) for value in counts):
        whole = [int(float(value)) for value in counts if is_whole(value)]
        return len(whole) == len(counts) == max(whole) - min(whole) + 1
    return True


def is_whole(value: str) -> bool:
    """Check whether a text is written as a whole number, as programs write them."""
    return WHOLE_NUMBER.fullmatch(value) is not None and float(value).is_integer()


def is_edge(values: Sequence[str]) -> bool:
    """Check whether a column is almost constant, black or white, as pixels at the edges of drawings are."""
    value, n = Counter(values).most_common(1)[0]
    return is_finite(value) and float(value) in (0, 1, 255) and n >= ALMOST_CONSTANT * len(values)


def is_number(cell: str) -> bool:
    """Check whether a cell is a number or empty."""
    try:
        return cell.strip().lower() in NO_DATA or float(cell) is not None
    except ValueError:
        return False


def is_finite(cell: str) -> bool:
    """Check whether a cell is a finite number, written in ASCII and without underscores."""
    try:
        return math.isfinite(float(cell)) and cell.isascii() and "_" not in cell
    except ValueError:
        return False


def is_counting(cells: Sequence[str]) -> bool:
    """Check whether numbers are names that pandas gave: 0, 1, 2 and so on, or 0, 0.1, 0.2 for a repeated 0.

    Examples
    --------
    >>> is_counting(["0", "1", "2"]), is_counting(["5", "0", "0.1", "0.2", "12"]), is_counting(["0", "0", "12"])
    (True, True, False)
    """
    if len(cells) < 3 or len(set(cells)) < len(cells):
        return False
    if [*map(str, range(len(cells)))] == list(cells) or [*map(str, range(1, len(cells) + 1))] == list(cells):
        return True
    repeated = [re.fullmatch(r"(\d+)\.[1-9]\d*", cell) for cell in cells]
    return any(repeated) and all(
        cell.isdigit() if match is None else match[1] in cells for cell, match in zip(cells, repeated, strict=True)
    )


def read_table(path: Path, columns: Columns, split: str | None) -> Arrays | Pictures:
    """Read a table, or the rows of one split of it."""
    labels: list[str] = []
    numbers: list[int] = []
    rows: list[Row] = []
    paths: list[str] = []
    pixels_of = itemgetter(*columns.pixels) if columns.pixels else None
    for number, row in rows_of(path, columns):
        if split is not None and split_of(path, number, row[columns.usage]) != split:
            continue
        label = row[columns.label].strip() if columns.label >= 0 else "0"
        if label.lower() in NO_DATA or len(label) > LONGEST_LABEL or "\0" in label:
            found = f"{quote(label)} in line {number:,}"
            raise ValueError(unexpected(path, "a label in each row", found, "Correct the line, or remove it"))
        labels.append(label)
        numbers.append(number)
        if pixels_of is not None:
            rows.append(as_numbers(path, number, pixels_of(row)))
            continue
        cell = row[columns.picture].strip()
        words = cell.split()
        if len(words) >= FEWEST_PIXELS and is_number(words[0]):
            rows.append(as_numbers(path, number, words))
        else:
            paths.append(cell.replace("\\", "/"))
    if not columns.has_header and labels and not is_number(labels[0]) and all(map(is_number, labels[1:])):
        found = f"{quote(labels[0])} in the first row alone"
        raise ValueError(unexpected(path, "labels of one kind", found, "Give all columns a name, or none"))
    y = as_whole(labels)
    if paths and not rows:
        return Pictures(path, *find_pictures(path, numbers, paths), y)
    lengths = {len(row) for row in rows} | ({0} if paths else set())
    if len(lengths) > 1:
        found = f"rows of {quote_all(sorted(lengths))}"
        raise ValueError(unexpected(path, "as many pixels in each row", found, "Check the file"))
    X = np.stack(rows)
    arrays = as_arrays(path, X if columns.shape is None else X.reshape(len(X), *columns.shape), y)
    if not is_emnist(path.name):
        return arrays
    return Arrays(path, np.ascontiguousarray(np.swapaxes(arrays.X, 1, 2)), arrays.y)


def find_pictures(path: Path, numbers: Sequence[int], paths: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the names and the files of pictures, all of which must be there."""
    files = [path.parent / name for name in paths]
    missing = [i for i, file in enumerate(files) if not is_there(file)]
    if missing:
        found = f"{len(missing):,} that are none, such as {quote(paths[missing[0]])} in line {numbers[missing[0]]:,}"
        advice = "Write paths that begin at the table's folder"
        raise ValueError(unexpected(path, "paths of pictures", found, advice))
    return [str(file) for file in files], files


def is_there(file: Path) -> bool:
    """Check whether there is such a file."""
    try:
        return file.is_file()
    except (OSError, ValueError):  # too long a name, or one with a null
        return False


def as_numbers(path: Path, number: int, cells: Sequence[str]) -> Row:
    """Return the pixels of a row, as bytes where they are whole numbers up to 255."""
    text = ",".join(cells)
    if not text.isascii() or "_" in text:  # which int and float would read
        pixels = np.array([np.nan])
    else:
        try:
            return np.frombuffer(bytes(map(int, cells)), np.uint8)
        except ValueError:
            pass
        try:
            pixels = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            pixels = np.array([np.nan])
    if not np.isfinite(pixels).all():
        found = f"{quote(next(cell for cell in cells if not is_finite(cell)))} in line {number:,}"
        raise ValueError(unexpected(path, "a number for each pixel", found, "Correct the line, or remove it"))
    with np.errstate(invalid="ignore"):
        whole = pixels.astype(np.uint8)
    return whole if np.array_equal(whole, pixels) else pixels.astype(np.float32)


def as_whole(labels: Sequence[str]) -> Labels:
    """Return labels as whole numbers where they are written as such, else as text, so that 01 and 1 stay apart.

    Examples
    --------
    >>> as_whole(["3", "-1"]).dtype, as_whole(["3.0", "4.0"]), as_whole(["01", "1"])
    (dtype('int64'), array([3, 4]), array(['01', '1'], dtype='<U2'))
    """
    if all(map(is_whole, labels)):
        return np.array([int(float(label)) for label in labels])
    return np.array(labels)
