"""Displays of a comparison: learning curves of each fold, accuracies of all folds, and accuracy against cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from cnnclf._utils.text import cut, mean_and_deviation, percent, quote, short
from cnnclf.plots import _style as style
from cnnclf.plots._style import INK, LETTERING, LETTERS, LONGEST_LABEL, PAGE

if TYPE_CHECKING:
    from cnnclf.model_selection._comparison import Comparison

MOST_PANELS = 4  # side by side
FEWEST_FOR_A_BOX = 5  # folds; fewer have no meaningful quartiles
MOST_MARKED = 30  # epochs with a marker each
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))  # of a name from its point
Cost = Literal["parameters", "multiply_adds"]
COSTS: dict[Cost, str] = {"parameters": "parameters", "multiply_adds": "multiply-adds per image"}


@dataclass
class FoldCurvesDisplay(style.Drawn):
    """Held-out accuracy against the epoch: a thin line per fold, their mean thick, a panel per architecture.

    All panels share one accuracy axis. It leaves out low accuracies of early epochs, which would flatten the rest; its
    label then says so. The mean ends with the fold that ends first.

    Parameters
    ----------
    curves : mapping of str to sequence of sequence of float
        For each architecture, for each fold, the accuracy, 0..1, after each epoch.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the first axes.
    axes_ : tuple of matplotlib Axes
        One per architecture.

    Examples
    --------
    >>> from cnnclf.plots import FoldCurvesDisplay
    >>> display = FoldCurvesDisplay({"tiny": [[0.91, 0.97], [0.93, 0.98]]}).plot()
    >>> mean = display.axes_[0].lines[-1]
    >>> mean.get_xdata().tolist(), mean.get_ydata().round(3).tolist()
    ([1, 2], [0.92, 0.975])
    """

    curves: Mapping[str, Sequence[Sequence[float]]]
    axes_: tuple[Axes, ...] = field(init=False, repr=False, compare=False)

    @classmethod
    def from_comparison(
        cls, comparison: "Comparison", *, ax: Axes | Sequence[Axes] | None = None
    ) -> "FoldCurvesDisplay":
        """Draw every fold of a comparison.

        With early stopping, the curves are of the rows that decided when to stop.
        """
        curves = {
            result.name: [[epoch["valid_accuracy"] for epoch in fold.history] for fold in result.folds]
            for result in comparison.results
        }
        return cls(curves).plot(ax)

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Self:
        """Draw on axes, one per architecture, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            Where to draw.

        Returns
        -------
        FoldCurvesDisplay
            This display.

        Raises
        ------
        ValueError
            If the number of axes is not that of the architectures.
        """
        n = len(self.curves)
        self.axes_ = new_panels(n) if ax is None else (ax,) if isinstance(ax, Axes) else tuple(ax)
        if len(self.axes_) != n:
            raise ValueError(f"Expected one axes for each of {n} architectures; got {len(self.axes_)}.")
        self.figure_ = style.figure_of(self.axes_[0])
        folds = [accuracies for of_one in self.curves.values() for accuracies in of_one]
        low, high = curve_limits(folds)
        is_cut = low > min(map(min, folds))
        label = "held-out accuracy" + (f"\n(cut below {percent(low, 1)})" if is_cut else "")
        for k, (panel, (name, of_one)) in enumerate(zip(self.axes_, self.curves.items(), strict=True)):
            draw_folds(panel, of_one, style.Series.of(k))
            style.caption(panel, cut(name, int(panel_width(n) * LETTERS)))
            panel.set(xlabel="epoch", ylim=(low, high))
            style.in_percent(panel.yaxis)
            if ax is not None or k % panel_shape(n)[1] == 0:
                panel.set_ylabel(label)
        return self


@dataclass
class FoldBoxDisplay(style.Display):
    """The accuracy of every fold as a dot, one row per architecture, with mean ± standard deviation.

    For five folds or more, a box spans the quartiles, with the median in it and whiskers to the lowest and the highest.
    For fewer, a line marks their mean.

    Parameters
    ----------
    accuracies : mapping of str to sequence of float
        For each architecture the accuracy, 0..1, of each fold.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Examples
    --------
    >>> from cnnclf.plots import FoldBoxDisplay
    >>> display = FoldBoxDisplay({"tiny": [0.97, 0.98, 0.99], "compact": [0.98, 0.98, 0.98]}).plot()
    >>> [text.get_text() for text in display.ax_.texts]
    ['98.00 ± 1.00 %', '98.00 ± 0.00 %']
    """

    accuracies: Mapping[str, Sequence[float]]

    @classmethod
    def from_comparison(cls, comparison: "Comparison", *, ax: Axes | None = None) -> "FoldBoxDisplay":
        """Draw the folds of a comparison."""
        return cls({result.name: result.accuracies for result in comparison.results}).plot(ax)

    def _inches(self) -> tuple[float, float]:
        return PAGE, 0.6 + 0.42 * len(self.accuracies)

    def _draw(self, ax: Axes) -> None:
        style.tidy(ax, grid="x")
        style.one_row_each(ax, list(self.accuracies))
        for row, accuracies in enumerate(self.accuracies.values()):
            values, series = np.asarray(accuracies, dtype=float), style.Series.of(row)
            if len(values) >= FEWEST_FOR_A_BOX:
                draw_box(ax, values, row, series)
            else:
                ax.vlines(values.mean(), row - 0.3, row + 0.3, color=series.colour, linewidth=2.2)
            # Each fold is a little below the one before, so that equal ones do not hide each other.
            heights = row + 0.2 * np.linspace(-1, 1, len(values)) if len(values) > 1 else [row]
            ax.plot(values, heights, series.marker, color=series.colour, markersize=4)
            ax.text(1.02, row, accuracy_label(values), transform=ax.get_yaxis_transform(), va="center", **LETTERING)
        every = np.concatenate([*self.accuracies.values()])
        ax.set_xlim(style.share_limits(every.min(), every.max()))
        style.in_percent(ax.xaxis)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        ax.set_xlabel("accuracy of a fold")


@dataclass
class AccuracyCostDisplay(style.Display):
    """Mean accuracy ± standard deviation over the folds against the cost of a network, on a logarithmic axis.

    Parameters
    ----------
    costs : mapping of str to int
        The cost of each architecture, 1 or more.
    accuracies : mapping of str to sequence of float
        For each architecture the accuracy, 0..1, of each fold.
    cost : {"parameters", "multiply_adds"}, default="parameters"
        What is counted.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Raises
    ------
    ValueError
        If `cost` is neither of them.

    Examples
    --------
    >>> from cnnclf.plots import AccuracyCostDisplay
    >>> display = AccuracyCostDisplay({"tiny": 9_000, "lenet5": 61_706}, {"tiny": [0.97], "lenet5": [0.98]}).plot()
    >>> display.ax_.get_xlabel(), [text.get_text() for text in display.ax_.texts]
    ('parameters', ['tiny', 'lenet5'])
    """

    costs: Mapping[str, int]
    accuracies: Mapping[str, Sequence[float]]
    cost: Cost = "parameters"

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise ValueError(f"Expected cost to be 'parameters' or 'multiply_adds'; got {quote(self.cost)}.")

    @classmethod
    def from_comparison(
        cls, comparison: "Comparison", *, cost: Cost = "parameters", ax: Axes | None = None
    ) -> "AccuracyCostDisplay":
        """Draw the accuracy and the cost of each architecture of a comparison."""
        results = comparison.results
        costs = {r.name: r.n_parameters if cost == "parameters" else r.n_multiply_adds for r in results}
        return cls(costs, {r.name: r.accuracies for r in results}, cost).plot(ax)

    def _inches(self) -> tuple[float, float]:
        return 6.4, 3.8

    def _draw(self, ax: Axes) -> None:
        style.tidy(ax, grid="both")
        names = list(self.costs)
        costs = np.array([self.costs[name] for name in names], dtype=float)
        means = np.array([np.mean(self.accuracies[name]) for name in names])
        spreads = np.array([deviation(self.accuracies[name]) for name in names])
        for k, (cost, mean, spread) in enumerate(zip(costs, means, spreads, strict=True)):
            series = style.Series.of(k)
            ax.errorbar(cost, mean, spread, color=series.colour, marker=series.marker, markersize=6.5, capsize=2.5)
        ax.set_xscale("log")
        # Factors leave room for names beside the cheapest and the dearest, also if all cost the same.
        ax.set_xlim(costs.min() / 1.6, costs.max() * 1.6)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda number, _: short(number))
        ax.set_ylim(style.share_limits((means - spreads).min(), (means + spreads).max()))
        style.in_percent(ax.yaxis)
        ax.set(xlabel=COSTS[self.cost], ylabel="accuracy, mean ± standard deviation")
        name_points(ax, [cut(name, LONGEST_LABEL) for name in names], costs, means, spreads)


def new_panels(n: int) -> tuple[Axes, ...]:
    """Return the panels of a new figure, which share one vertical axis."""
    rows, columns = panel_shape(n)
    figure = style.new_figure(0.7 + columns * panel_width(n), 2.6 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for unused in panels[n:]:
        unused.remove()
    return tuple(panels[:n])


def panel_shape(n: int) -> tuple[int, int]:
    """Return the number of rows and columns of panels, the rows as even as possible.

    Examples
    --------
    >>> [panel_shape(n) for n in (1, 4, 5, 9)]
    [(1, 1), (1, 4), (2, 3), (3, 3)]
    """
    rows = math.ceil(n / MOST_PANELS)
    return rows, math.ceil(n / rows)


def panel_width(n: int) -> float:
    """Return the width of each of `n` panels, in inches."""
    return 4.7 if n == 1 else max(6.4, PAGE - 0.7) / panel_shape(n)[1]


def curve_limits(folds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the lowest and the highest accuracy of the axis.

    It has all of the second half of the epochs, and at least those of the last epochs with twice their range below.

    Examples
    --------
    >>> [round(limit, 3) for limit in curve_limits([[0.2, 0.97, 0.98], [0.5, 0.98, 0.99]])]
    [0.957, 0.993]
    """
    last, high = min(accuracies[-1] for accuracies in folds), max(map(max, folds))
    late = min(min(accuracies[len(accuracies) // 2 :]) for accuracies in folds)
    low = min(late, last - 2 * max(high - last, 0.005))
    return style.share_limits(max(low, min(map(min, folds))), high)


def draw_folds(ax: Axes, folds: Sequence[Sequence[float]], series: style.Series) -> None:
    """Draw a thin line per fold, and their mean."""
    marker = series.marker if max(map(len, folds)) <= MOST_MARKED else ""
    for accuracies in folds:
        single = "." if len(accuracies) == 1 else ""  # which has no line
        ax.plot(range(1, len(accuracies) + 1), accuracies, color=series.colour, linewidth=0.8, marker=single)
    shortest = min(map(len, folds))
    mean = np.mean([accuracies[:shortest] for accuracies in folds], axis=0)
    (thick,) = ax.plot(range(1, shortest + 1), mean, color=series.colour, linestyle=series.line, marker=marker)
    thick.set(linewidth=2.2, markersize=4.5)
    style.tidy(ax, grid="y")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def draw_box(ax: Axes, values: NDArray[np.float64], row: int, series: style.Series) -> None:
    """Draw the quartiles as a box, the median as a line in it, and the range as whiskers."""
    low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100))
    ax.hlines([row, row], [low, third], [first, high], color=series.colour, linewidth=1)
    ax.barh(row, third - first, left=first, height=0.6, facecolor="none", edgecolor=series.colour, linewidth=1.2)
    ax.vlines(median, row - 0.3, row + 0.3, color=series.colour, linewidth=2.2)


def deviation(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the sample standard deviation; 0 for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def accuracy_label(values: NDArray[np.float64]) -> str:
    """Return the mean and the standard deviation as text, in per cent."""
    mean = float(values.mean())
    return mean_and_deviation(mean, deviation(values)) if len(values) > 1 else percent(mean)


def name_points(
    ax: Axes, names: Sequence[str], x: NDArray[np.float64], y: NDArray[np.float64], spreads: NDArray[np.float64]
) -> None:
    """Write each name beside its point, without overlap with names, points or bars; farther away with a thin line."""
    style.figure_of(ax).draw_without_rendering()  # which computes the positions
    point = style.figure_of(ax).dpi / 72  # pixels
    ends = [ax.transData.transform(np.column_stack([x, y + sign * spreads])) for sign in (-1, 1)]
    taken = [Bbox([low - 5 * point, high + 5 * point]) for low, high in zip(*ends, strict=True)]
    for name, *place in zip(names, x, y, strict=True):
        line = {"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        look = {"textcoords": "offset points", "ha": "center", "va": "center", "arrowprops": line, **LETTERING}
        label = ax.annotate(name, (place[0], place[1]), xytext=(0, 0), **look)
        half = np.array(Text.get_window_extent(label).size) / 2  # of the text alone, without the line
        middle = ax.transData.transform(place)
        boxes = [Bbox([middle + move - half, middle + move + half]) for move in moves(half, point)]
        meets = [sum(map(box.overlaps, taken)) + (not is_within(box, ax.bbox)) for box in boxes]
        best = int(np.argmin(meets))
        taken.append(boxes[best])
        label.set_position(tuple(moves(half, point)[best] / point))
        if label.arrow_patch is not None:
            label.arrow_patch.set_visible(best >= len(DIRECTIONS))


def moves(half: NDArray[np.float64], point: float) -> NDArray[np.float64]:
    """Return the offsets of a name's middle from its point: all directions, near ones first."""
    return np.concatenate([np.array(DIRECTIONS) * (half + far * point) for far in (6, 18, 32, 48)])


def is_within(box: Bbox, room: Bbox) -> bool:
    """Return whether a box is wholly inside another."""
    return bool(room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1)
