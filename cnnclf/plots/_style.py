"""What all displays share: colours that are readable on any page, and axes without decoration.

Figures are dark on white; ``figure_.savefig(path, transparent=True)`` leaves the white out. A position, line style,
marker or number repeats what a colour means, so that figures are readable in black and white.
"""

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnnclf._utils.text import cut

INK = "#33363b"
BLUE = "#2b7fc3"
ORANGE = "#c97600"
RED = "#c84e00"
SMALL = 9  # points
LETTERS = 12  # per inch, at this size
LONGEST_ROW = 64  # features; more of them continue in the next row
LONGEST_LABEL = 32  # letters; longer ones are cut beside bars
PAGE = 7.2  # inches
DOTS = 96  # per inch, of a picture in a notebook

# The order of Okabe and Ito (2008) moved into the band of lightness that reads on white and on near-black. Neighbours
# are dark and light in turn; all stay apart for readers who see no red or no green.
COLOURS = (BLUE, ORANGE, "#3152f5", "#1f9999", "#c72828", "#459953", "#a84c6b", "#f500cc")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*")
DASHES = ((5, 2), (1, 1.2), (5, 1.5, 1, 1.5), (9, 2), (2.5, 1), (5, 1.5, 1, 1.5, 1, 1.5), (9, 2, 1, 2))
Line = str | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = ("-", *((0, dashes) for dashes in DASHES))

# Of text in a figure, which holds names that are no formulas.
LETTERING: dict[str, Any] = {"fontsize": SMALL, "color": INK, "parse_math": False}

Picture = NDArray[Any]


@dataclass(frozen=True)
class Series:
    """The look of one of several series, of which no two look the same in black and white.

    Attributes
    ----------
    colour : str
        As #rrggbb.
    marker : str
        A marker of matplotlib.
    line : str or tuple
        A line style of matplotlib: solid, or an offset and the lengths of dashes and gaps in line widths.
    """

    colour: str
    marker: str
    line: Line

    @classmethod
    def of(cls, k: int) -> "Series":
        """Return the look of series number `k`, from 0."""
        return cls(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], LINES[k % len(LINES)])


@dataclass
class Drawn:
    """Data drawn on a figure, which a notebook shows if the display is the last line of a cell.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once the data is drawn.
    """

    figure_: Figure = field(init=False, repr=False, compare=False)

    def _repr_png_(self) -> bytes | None:
        """Return the picture; None before it is drawn, and if pyplot shows it in any case."""
        if not hasattr(self, "figure_") or self.figure_.canvas.manager is not None:
            return None
        png = io.BytesIO()
        self.figure_.savefig(png, format="png", dpi=DOTS)
        return png.getvalue()


@dataclass
class Display(Drawn, ABC):
    """Data drawn on one axes; each display defines its size and how it is drawn.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes, once the data is drawn.
    """

    ax_: Axes = field(init=False, repr=False, compare=False)

    @abstractmethod
    def _inches(self) -> tuple[float, float]:
        """Return the width and height of a new figure."""

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw the data."""

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        Display
            This display.
        """
        if ax is None:
            ax = new_figure(*self._inches()).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        self._draw(ax)
        return self


def new_figure(width: float, height: float) -> Figure:
    """Return a white figure of a size in inches, which pyplot does not manage."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def figure_of(ax: Axes) -> Figure:
    """Return the figure of an axes, which can be saved; of a sub-figure, the figure around it."""
    return ax.figure.figure


def tidy(ax: Axes, grid: Literal["x", "y", "both"] | None = None) -> None:
    """Remove what carries no information from an axes, and draw the rest in one colour."""
    ax.set_facecolor("none")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set(color=INK, linewidth=0.7)
    ax.tick_params(which="both", colors=INK, labelsize=SMALL, width=0.7, length=3)
    ax.xaxis.label.set(color=INK, fontsize=SMALL + 0.5)
    ax.yaxis.label.set(color=INK, fontsize=SMALL + 0.5)
    if grid:
        ax.grid(axis=grid, color=INK, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)


def one_row_each(ax: Axes, labels: Sequence[Any]) -> None:
    """Assign each label a row, the first at the top, without a line on the left."""
    ax.spines["left"].set_visible(False)
    ax.set_yticks(range(len(labels)), [cut(str(label), LONGEST_LABEL) for label in labels], parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def legend_above(ax: Axes) -> None:
    """Write the legend in one line above the axes."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "frameon": False}
    sizes: dict[str, Any] = {"handlelength": 0.9, "handleheight": 0.9, "borderaxespad": 0.2, "borderpad": 0.2}
    ax.legend(fontsize=SMALL, labelcolor=INK, **place, **sizes)


def caption(ax: Axes, text: str) -> None:
    """Write a line above the axes, aligned with its left end."""
    ax.set_title(text, loc="left", **LETTERING)


def in_percent(axis: Axis) -> None:
    """Write the ticks of an axis of shares as percentages."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")


def share_limits(low: float, high: float) -> tuple[float, float]:
    """Return the limits of an axis of shares, with room around them but hardly any above 100 % or below 0.

    Examples
    --------
    >>> [round(limit, 4) for limit in (*share_limits(0.6, 0.8), *share_limits(0.9, 1.0))]
    [0.58, 0.82, 0.89, 1.005]
    """
    low = min(low, high - 0.001)
    room = 0.1 * (high - low)
    # Half of the room: enough for a marker at 100 %, too little for a tick beyond.
    return max(low - room, -room / 2), min(high + room, 1 + room / 2)


def grid_shape(n: int, n_columns: int) -> tuple[int, int]:
    """Return the rows and columns of so many pictures."""
    columns = max(1, min(n_columns, n))
    return math.ceil(n / columns), columns


def cell_size(images: Picture, captions: Sequence[str], n_columns: int) -> tuple[float, float]:
    """Return the width and height of a picture with its caption, in inches."""
    width = PAGE / grid_shape(len(images), n_columns)[1]
    lines = 1 + max((text.count("\n") for text in captions), default=0)
    return width, 0.86 * width * images.shape[1] / images.shape[2] + 0.1 + 0.16 * lines


def draw_grid(ax: Axes, images: Picture, captions: Sequence[str], n_columns: int) -> None:
    """Draw pictures in rows, each with its caption below; a length of 1 is the width of a cell."""
    rows, columns = grid_shape(len(images), n_columns)
    inch, tall = cell_size(images, captions, n_columns)
    cell, height = tall / inch, 0.86 * images.shape[1] / images.shape[2]
    # The scale of grey pictures; matplotlib ignores it for colours.
    darkest = images.astype(float).min(initial=np.inf)
    brightest = images.astype(float).max(initial=-np.inf)
    for i, (image, text) in enumerate(zip(images, captions, strict=True)):
        x, y = i % columns, (i // columns) * cell
        extent = (x + 0.07, x + 0.93, y + height, y)
        ax.imshow(image, extent=extent, interpolation="none", cmap="gray", vmin=darkest, vmax=brightest)
        lines = [cut(line, int(inch * LETTERS)) for line in text.split("\n")]
        below = y + height + 0.04 / inch
        ax.text(x + 0.5, below, "\n".join(lines), ha="center", va="top", linespacing=1.15, **LETTERING)
    ax.set(xlim=(0, columns), ylim=(max(rows, 1) * cell, 0), aspect="equal")
    ax.axis("off")


def as_maps(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as maps (n, height, width); without height and width as one map, its rest filled with NaN.

    Channels of one row or column become the rows of the map; features and channels of one number become a strip.

    Examples
    --------
    >>> as_maps(np.zeros((3, 4, 5))).shape, as_maps(np.zeros((3, 1, 5))).shape, as_maps(np.zeros(100)).shape
    ((3, 4, 5), (1, 3, 5), (1, 2, 50))
    """
    if values.ndim == 3 and min(values.shape[1:]) > 1:
        return values
    rows = values.reshape(len(values), -1)
    if 1 in rows.shape:
        n_lines = math.ceil(rows.size / LONGEST_ROW)
        strip = np.full(n_lines * math.ceil(rows.size / n_lines), np.nan)
        strip[: rows.size] = rows.ravel()
        rows = strip.reshape(n_lines, -1)
    return rows[np.newaxis]


def signed_colours(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers as colours: orange above zero, blue below, more opaque farther from zero.

    Parameters
    ----------
    values : ndarray of any shape
        Numbers; NaN counts as 0.

    Returns
    -------
    ndarray of shape (…, 4), float64
        Red, green, blue and opacity, 0..1, for ``ax.imshow``.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots import signed_colours
    >>> signed_colours(np.array([[-1.0, 0.0, 0.5]]))[..., 3].round(2)  # opacity
    array([[1.  , 0.  , 0.59]])
    """
    numbers = np.nan_to_num(values.astype(float))
    colours = np.full((*values.shape, 4), to_rgba(ORANGE))
    colours[numbers < 0] = to_rgba(BLUE)
    # The power makes small numbers visible on a dark page.
    colours[..., 3] = (np.abs(numbers) / max(float(np.abs(numbers).max()), 1e-30)) ** 0.75
    return colours
