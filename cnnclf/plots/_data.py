"""Displays of data and of training: class sizes, grids of images, and the curves of a fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from cnnclf._utils.text import percent
from cnnclf.evaluation._records import Mistake
from cnnclf.plots import _style as style
from cnnclf.plots._style import BLUE, INK, LETTERING, ORANGE, PAGE


@dataclass
class ClassDistributionDisplay(style.Display):
    """The number of images of each class and split, as one stacked bar per class.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    counts : mapping of str to sequence of int
        The images of each class in each split; the splits are stacked in this order.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Examples
    --------
    >>> from cnnclf.plots import ClassDistributionDisplay
    >>> display = ClassDistributionDisplay.from_labels({"training": ["cat", "dog", "dog"], "test": ["cat"]})
    >>> display.classes, display.counts
    (['cat', 'dog'], {'training': [1, 2], 'test': [1, 0]})
    """

    classes: Sequence[Any]
    counts: Mapping[str, Sequence[int]]

    @classmethod
    def from_labels(cls, labels: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> "ClassDistributionDisplay":
        """Count and draw the labels of each split."""
        arrays = {split: np.asarray(y) for split, y in labels.items()}
        classes = np.unique(np.concatenate(list(arrays.values())))
        counts = {split: [int((y == label).sum()) for label in classes] for split, y in arrays.items()}
        return cls(classes.tolist(), counts).plot(ax)

    def _inches(self) -> tuple[float, float]:
        return 5.4, 0.9 + 0.25 * len(self.classes)

    def _draw(self, ax: Axes) -> None:
        n = len(self.classes)
        # Solid, pale with an outline, solid: neighbours differ in black and white.
        fills = cycle(((BLUE, 1.0), (ORANGE, 0.4), (INK, 1.0)))
        left = np.zeros(n)
        for (split, counts), (colour, alpha) in zip(self.counts.items(), fills, strict=False):
            look: dict[str, Any] = {"facecolor": to_rgba(colour, alpha), "edgecolor": colour, "linewidth": 0.8}
            ax.barh(range(n), counts, left=left, height=0.64, label=f"{split} {sum(counts):,}", **look)
            left += counts
        style.tidy(ax, grid="x")
        style.one_row_each(ax, self.classes)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("images")
        style.legend_above(ax)


@dataclass
class ImageGridDisplay(style.Display):
    """Pictures side by side, each with a caption.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        Grey pictures of any range, scaled from the darkest to the brightest pixel of all; or RGB or RGBA, uint8 or
        0..1.
    captions : sequence of str
        One per picture; lines that are wider than the picture are cut.
    n_columns : int, default=10
        Pictures per row.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The one axes that holds all pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots import ImageGridDisplay
    >>> ImageGridDisplay(np.zeros((3, 8, 8)), ["a", "b", "c"], n_columns=2).shape
    (2, 2)
    """

    images: style.Picture
    captions: Sequence[str]
    n_columns: int = 10

    @classmethod
    def from_labels(cls, images: style.Picture, y: ArrayLike, *, ax: Axes | None = None) -> "ImageGridDisplay":
        """Draw pictures with their labels."""
        return cls(images, [str(label) for label in np.asarray(y).tolist()]).plot(ax)

    @classmethod
    def from_mistakes(
        cls, images: style.Picture, mistakes: Sequence[Mistake], *, ax: Axes | None = None
    ) -> "ImageGridDisplay":
        """Draw the picture of each mistake with its true class → predicted class and, if known, the confidence.

        Parameters
        ----------
        images : ndarray of shape (len(mistakes), height, width[, channels])
            The picture of each mistake.
        mistakes : sequence of Mistake
            As ``evaluation.mistakes(k)`` gives them.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        ImageGridDisplay
            The display, drawn.
        """
        gap = "\n" if any(len(f"{m.true}{m.predicted}") > 9 for m in mistakes) else " "
        ends = ["" if m.confidence is None else f"\n{percent(m.confidence)}" for m in mistakes]
        captions = [f"{m.true}{gap}→ {m.predicted}{end}" for m, end in zip(mistakes, ends, strict=True)]
        return cls(images, captions, n_columns=6).plot(ax)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return style.grid_shape(len(self.images), self.n_columns)

    def _inches(self) -> tuple[float, float]:
        return PAGE, max(self.shape[0], 1) * style.cell_size(self.images, self.captions, self.n_columns)[1]

    def _draw(self, ax: Axes) -> None:
        style.draw_grid(ax, self.images, self.captions, self.n_columns)


@dataclass
class TrainingCurvesDisplay(style.Drawn):
    """Loss and accuracy against the epoch, for training and validation images.

    A dotted line marks the epoch of the lowest validation loss, unless it is the last one.

    Parameters
    ----------
    history : sequence of dict
        One per epoch, with ``epoch``, ``train_loss``, ``train_accuracy`` and, if there was validation data,
        ``valid_loss`` and ``valid_accuracy``: ``clf.history_``.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the first axes.
    axes_ : tuple of two matplotlib Axes
        Loss and accuracy.

    Examples
    --------
    >>> from cnnclf.plots import TrainingCurvesDisplay
    >>> history = [{"epoch": 1, "train_loss": 0.9, "train_accuracy": 0.7}]
    >>> display = TrainingCurvesDisplay(history).plot()
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['loss', 'accuracy']
    """

    history: Sequence[Mapping[str, Any]]
    axes_: tuple[Axes, Axes] = field(init=False, repr=False, compare=False)

    @classmethod
    def from_estimator(cls, clf: Any, *, ax: tuple[Axes, Axes] | None = None) -> "TrainingCurvesDisplay":
        """Draw the curves of a fitted classifier's ``history_``."""
        return cls(clf.history_).plot(ax)

    def plot(self, ax: tuple[Axes, Axes] | None = None) -> Self:
        """Draw on a pair of axes, or on a new figure.

        Parameters
        ----------
        ax : tuple of two matplotlib Axes, optional
            For the loss and for the accuracy.

        Returns
        -------
        TrainingCurvesDisplay
            This display.
        """
        loss, accuracy = style.new_figure(8.4, 3.2).subplots(1, 2) if ax is None else ax
        self.figure_, self.axes_ = style.figure_of(loss), (loss, accuracy)
        for axes, quantity in zip(self.axes_, ("loss", "accuracy"), strict=True):
            draw_curves(axes, self.history, quantity)
            mark_lowest(axes, self.history)
        style.in_percent(accuracy.yaxis)
        return self


def draw_curves(ax: Axes, history: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Draw one quantity of the history: training dashed, validation solid, each with its name at its end."""
    marker = "o" if len(history) <= 30 else ""
    ends = []
    for key, name, colour, line in (("train", "training", BLUE, (0, (4, 2))), ("valid", "validation", ORANGE, "-")):
        points = [(epoch["epoch"], epoch[f"{key}_{quantity}"]) for epoch in history if f"{key}_{quantity}" in epoch]
        if points:
            epochs, values = zip(*points, strict=True)
            ax.plot(epochs, values, color=colour, linestyle=line, linewidth=1.6, marker=marker, markersize=3.5)
            ends.append((values[-1], epochs[-1], name))
    style.tidy(ax, grid="y")
    ax.set_xlabel("epoch")
    ax.set_ylabel(quantity)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.margins(y=0.12)
    if quantity == "accuracy":
        shares = np.concatenate([line.get_ydata() for line in ax.lines])
        ax.set_ylim(style.share_limits(np.nanmin(shares), np.nanmax(shares)))
    # The name of the higher line is above its end and that of the lower one below, so that they never overlap.
    for (value, epoch, name), offset in zip(sorted(ends, reverse=True), (7, -7), strict=False):
        ax.annotate(name, (epoch, value), xytext=(5, offset), textcoords="offset points", va="center", **LETTERING)


def mark_lowest(ax: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Mark the epoch of the lowest validation loss, unless it is the last one."""
    losses = {epoch["epoch"]: epoch["valid_loss"] for epoch in history if np.isfinite(epoch.get("valid_loss", np.nan))}
    best = min(losses, key=losses.__getitem__, default=None)
    if best in (None, history[-1]["epoch"]):
        return
    ax.axvline(best, color=INK, linestyle=(0, (1, 2)), linewidth=1)
    style.caption(ax, f"dotted: lowest validation loss, epoch {best}")
