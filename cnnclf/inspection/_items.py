"""The items of a walkthrough, in no particular format: paragraphs, equations, tables, matrices and pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import printable
from cnnclf.inspection._arithmetic import batched
from cnnclf.inspection._geometry import unravel

DECIMALS = 4  # of worked arithmetic
MATRIX_DECIMALS = 2  # of maps that are not whole numbers
LARGEST_MAP = (12, 12)  # rows and columns of a map that are written out, around its largest value
LARGEST_IMAGE = (32, 32)  # the same for the image and for kernels
MATRIX_WIDTH = 98  # characters
PICTURE_WIDTH = 28  # pixels
N_PICTURES = 4  # channels shown side by side
LABEL = 40  # characters of a label or name
GAP = 3  # characters between blocks side by side


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Arithmetic:
    """Equations, each true as printed."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows below a header; ``align`` has one of l and r per column."""

    align: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Matrix:
    """Numbers as text, with the indices of their rows and columns, and perhaps one marked cell."""

    caption: str
    cells: tuple[tuple[str, ...], ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    marked: tuple[int, int] | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels between 0 (blank) and 1 (full ink)."""

    caption: str
    ink: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Beside:
    """Matrices and pictures side by side."""

    blocks: tuple[Matrix | Picture, ...]


Item = Paragraph | Arithmetic | Table | Beside


@dataclass(frozen=True)
class Section:
    """A heading and the items below it; ``depth`` counts the blocks it is inside."""

    heading: str
    items: tuple[Item, ...]
    depth: int = 0


def maps(values: NDArray[Any], limits: tuple[int, int]) -> list[Item]:
    """Return the most active channel as a matrix, or as much of it as fits around its largest value."""
    cell = peak(values)
    one_each = values.ndim < 3 or values[0].size == 1  # one number per channel
    chosen = values.ravel() if one_each else values[cell[0]]
    decimals = 0 if (chosen == np.round(chosen)).all() else MATRIX_DECIMALS
    if chosen.ndim == 2 and 1 not in chosen.shape:
        cells = numbers(chosen, decimals)
        rows, columns = map(range, chosen.shape)
        marked = (cell[1], cell[2])
    else:  # a long row, broken into rows of ten
        (written,) = numbers(chosen.reshape(1, -1), decimals)
        n = min(10, len(written))
        cells = tuple((*ten, *[""] * (n - len(ten))) for ten in batched(written, 10))
        rows, columns = range(0, len(written), 10), range(n)
        marked, limits = divmod(int(chosen.argmax()), 10), (limits[0] // 2, 10)
    shown = matrix("", cells, rows, columns, marked, limits)
    which = (
        f"Channel {cell[0]} of {len(values)}, the most active" if not one_each and len(values) > 1 else "Its numbers"
    )
    precision = f", to {decimals} decimals" * (decimals > 0)
    return [Paragraph(f"{which}{precision}{left_out(shown, len(cells), len(cells[0]))}:"), Beside((shown,))]


def left_out(shown: Matrix, n_rows: int, n_columns: int) -> str:
    """Return how much of a matrix is shown; empty where that is all of it."""
    rows, columns = len(shown.rows), len(shown.columns)
    if (rows, columns) == (n_rows, n_columns):
        return ""
    return f"; {rows} of {n_rows} rows and {columns} of {n_columns} columns are shown"


def matrix(
    caption: str,
    cells: tuple[tuple[str, ...], ...],
    rows: Sequence[int],
    columns: Sequence[int],
    marked: tuple[int, int] | None = None,
    limits: tuple[int, int] = LARGEST_IMAGE,
) -> Matrix:
    """Return as much of a matrix, around its marked cell, as there is room for."""
    row, column = marked or (0, 0)
    top, bottom = window(len(cells), row, limits[0])
    for n in range(min(limits[1], len(cells[0])), 0, -1):
        left, right = window(len(cells[0]), column, n)
        kept = tuple(line[left:right] for line in cells[top:bottom])
        if sum(1 + max(map(len, each)) for each in zip(*kept, strict=True)) <= MATRIX_WIDTH:
            break
    row_names, column_names = tuple(map(str, rows[top:bottom])), tuple(map(str, columns[left:right]))
    return Matrix(caption, kept, row_names, column_names, (row - top, column - left) if marked else None)


def window(length: int, centre: int, size: int) -> tuple[int, int]:
    """Return a window of at most ``size`` within ``length``, with ``centre`` as near to its middle as possible."""
    start = max(0, min(centre - size // 2, length - size))
    return start, min(length, start + size)


def draw(values: NDArray[Any]) -> list[Item]:
    """Return pictures of the most active channels, as many as fit side by side."""
    if values.ndim != 3 or min(values.shape[1:]) == 1:
        return []
    _, height, width = values.shape
    f = math.ceil(max(width / PICTURE_WIDTH, height / (2 * PICTURE_WIDTH)))  # one pixel drawn for f×f of them
    n = min(N_PICTURES, (MATRIX_WIDTH + GAP) // (math.ceil(width / f) + GAP))
    order = np.argsort(-values.max(axis=(1, 2)).astype(np.float64), kind="stable")[:n]
    drawn = values[order].astype(np.float64)
    scale = drawn.max() - drawn.min()
    ink = (drawn - drawn.min()) / (scale if scale > 0 else 1)
    padded = np.pad(ink, ((0, 0), (0, -height % f), (0, -width % f)), mode="edge")
    means = padded.reshape(len(order), padded.shape[1] // f, f, padded.shape[2] // f, f).mean(axis=(2, 4))
    pictures = (
        Picture(f"channel {channel}" if len(values) > 1 else "", tuple(map(tuple, picture.tolist())))
        for channel, picture in zip(order, means, strict=True)
    )
    return [Beside(tuple(pictures))]


def peak(values: NDArray[Any]) -> tuple[int, ...]:
    """Return the cell of the largest value."""
    return unravel(int(values.argmax()), values.shape)


def numbers(values: NDArray[Any], decimals: int) -> tuple[tuple[str, ...], ...]:
    """Return a matrix as text; a dot means exactly 0."""
    return tuple(tuple("·" if v == 0 else fixed(v, decimals) for v in row) for row in values.tolist())


def fixed(value: float, decimals: int = DECIMALS) -> str:
    """Return a number with fixed decimals, never as -0."""
    return f"{value:z.{decimals}f}"


def plain(label: Any) -> str:
    """Return a label or name on one line, without control characters."""
    line = printable(" ".join(str(label).split()))
    return line if len(line) <= LABEL else f"{line[: LABEL - 1]}…"
