"""Records drawn with matplotlib, in the manner of scikit-learn's displays.

Each display holds data, draws it with ``plot(ax=None)``, keeps ``figure_`` and ``ax_`` and never shows a window.
Backgrounds are transparent and the ink is a mid-grey, so that one figure reads on light and on dark pages; what colour
says is also said by position, line style or a number, so that it reads in black and white.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cnnclf.evaluation import Evaluation, Mistake

# Lightness between black and white: contrast of 4 : 1 or so on either.
INK = "#777b83"
BLUE = "#2b7fc3"
ORANGE = "#c97600"
RED = "#c84e00"
SMALL = 9  # points
LETTERS = 12  # that fit an inch at this size
STRONG = 2 / 3  # from here on a mistake's cell is so strongly coloured that its number is white

Picture = NDArray[Any]


@dataclass
class TrainingCurvesDisplay:
    """Loss and accuracy against the epoch, for training and validation images.

    Parameters
    ----------
    history : sequence of dict
        One an epoch, with ``epoch``, ``train_loss``, ``train_accuracy`` and, where there was validation data,
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
    figure_: Figure = field(init=False, repr=False)
    axes_: tuple[Axes, Axes] = field(init=False, repr=False)

    @classmethod
    def from_estimator(cls, clf: Any, *, ax: tuple[Axes, Axes] | None = None) -> "TrainingCurvesDisplay":
        """Draw the curves of a fitted classifier's ``history_``."""
        return cls(clf.history_).plot(ax)

    def plot(self, ax: tuple[Axes, Axes] | None = None) -> "TrainingCurvesDisplay":
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
        if ax is None:
            loss, accuracy = new_figure(8.4, 3.2).subplots(1, 2)
        else:
            loss, accuracy = ax
        self.figure_, self.axes_ = figure_of(loss), (loss, accuracy)
        for axes, quantity in zip(self.axes_, ("loss", "accuracy"), strict=True):
            draw_curves(axes, self.history, quantity)
        accuracy.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")
        return self


@dataclass
class ConfusionMatrixDisplay:
    """How often each class (row) was called each class (column).

    Correct answers are pale blue whatever their number, mistakes orange by the logarithm of theirs, so that a single
    mistake is seen beside a thousand correct answers.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_classes, n_classes), int
        Counts, rows true and columns predicted.
    classes : sequence of label
        The labels, in the order of the rows.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The axes.

    Examples
    --------
    >>> from cnnclf.plots import ConfusionMatrixDisplay
    >>> display = ConfusionMatrixDisplay.from_predictions(["cat", "dog"], ["cat", "cat"])
    >>> display.confusion_matrix
    array([[1, 0],
           [1, 0]])
    """

    confusion_matrix: NDArray[np.integer[Any]]
    classes: Sequence[Any]
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, *, ax: Axes | None = None) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of an evaluation."""
        return cls(evaluation.confusion_matrix, evaluation.classes.tolist()).plot(ax)

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike, *, ax: Axes | None = None) -> "ConfusionMatrixDisplay":
        """Judge a fitted classifier on labelled data and draw its confusion matrix."""
        return cls.from_evaluation(Evaluation.from_estimator(clf, X, y), ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_pred: ArrayLike, *, ax: Axes | None = None
    ) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of predicted labels."""
        classes, positions = np.unique([y_true, y_pred], return_inverse=True)
        matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(matrix, tuple(positions.reshape(2, -1)), 1)
        return cls(matrix, classes.tolist()).plot(ax)

    def plot(self, ax: Axes | None = None) -> "ConfusionMatrixDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        ConfusionMatrixDisplay
            This display.
        """
        n = len(self.classes)
        names = [str(label) for label in self.classes]
        long = max(map(len, names)) > 3
        if ax is None:
            side = 1.6 + 0.36 * n
            ax = new_figure(side, side).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        ax.imshow(confusion_colours(self.confusion_matrix), interpolation="none")
        strengths = strength(self.confusion_matrix)
        # More than thirty classes leave no room for a number in each cell.
        for row, column in np.argwhere(self.confusion_matrix) if n <= 30 else ():
            count = int(self.confusion_matrix[row, column])
            strong = row != column and strengths[row, column] >= STRONG
            ax.text(
                column,
                row,
                f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k",
                ha="center",
                va="center",
                fontsize=SMALL if self.confusion_matrix.max() < 1000 else SMALL - 1,
                fontweight="bold" if row != column else "normal",
                color="white" if strong else INK,
            )
        tidy(ax)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(n), names, rotation=90 if long else 0, parse_math=False)
        ax.set_yticks(range(n), names, parse_math=False)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        ax.tick_params(length=0)
        ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=INK, alpha=0.25, linewidth=0.5)
        ax.tick_params(which="minor", length=0)
        return self


@dataclass
class ClassDistributionDisplay:
    """Images of each class in each split, as one stacked bar a class.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    counts : mapping of str to sequence of int
        For each split, in the order in which they are stacked, the images of each class.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The axes.

    Examples
    --------
    >>> from cnnclf.plots import ClassDistributionDisplay
    >>> display = ClassDistributionDisplay.from_labels({"training": ["cat", "dog", "dog"], "test": ["cat"]})
    >>> display.classes, display.counts
    (['cat', 'dog'], {'training': [1, 2], 'test': [1, 0]})
    """

    classes: Sequence[Any]
    counts: Mapping[str, Sequence[int]]
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_labels(cls, labels: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> "ClassDistributionDisplay":
        """Count and draw the labels of each split."""
        arrays = {split: np.asarray(y) for split, y in labels.items()}
        classes = np.unique(np.concatenate(list(arrays.values())))
        counts = {split: [int((y == label).sum()) for label in classes] for split, y in arrays.items()}
        return cls(classes.tolist(), counts).plot(ax)

    def plot(self, ax: Axes | None = None) -> "ClassDistributionDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        ClassDistributionDisplay
            This display.
        """
        n = len(self.classes)
        if ax is None:
            ax = new_figure(5.4, 0.9 + 0.25 * n).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        fills = (to_rgba(BLUE), to_rgba(ORANGE), to_rgba(INK, 0.55))
        left = np.zeros(n)
        for (split, counts), fill in zip(self.counts.items(), fills, strict=False):
            ax.barh(range(n), counts, left=left, height=0.66, color=fill, label=f"{split} {sum(counts):,}")
            left += counts
        tidy(ax)
        ax.spines["left"].set_visible(False)
        ax.set_yticks(range(n), [str(label) for label in self.classes], parse_math=False)
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.margins(y=0.02)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.set_xlabel("images")
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            frameon=False,
            fontsize=SMALL,
            labelcolor=INK,
            handlelength=0.9,
            handleheight=0.9,
            borderaxespad=0.2,
            borderpad=0.2,
        )
        return self


@dataclass
class ImageGridDisplay:
    """Pictures side by side, each with a caption.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        Grey pictures of any range, from the darkest to the brightest pixel of all; or RGB or RGBA, uint8 or 0..1.
    captions : sequence of str
        One a picture; lines that are wider than it are cut.
    n_columns : int, default=10
        Pictures in a row.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The one axes that holds all pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots import ImageGridDisplay
    >>> ImageGridDisplay(np.zeros((3, 8, 8)), ["a", "b", "c"], n_columns=2).shape
    (2, 2)
    """

    images: Picture
    captions: Sequence[str]
    n_columns: int = 10
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_labels(cls, images: Picture, y: ArrayLike, *, ax: Axes | None = None) -> "ImageGridDisplay":
        """Draw pictures with their labels."""
        return cls(images, [str(label) for label in np.asarray(y).tolist()]).plot(ax)

    @classmethod
    def from_mistakes(
        cls, images: Picture, mistakes: Sequence[Mistake], *, ax: Axes | None = None
    ) -> "ImageGridDisplay":
        """Draw each mistake's picture with what it is, → what was said, and the confidence in that.

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
        captions = [f"{m.true}{gap}→ {m.predicted}\n{percent(m.confidence, 1)}" for m in mistakes]
        return cls(images, captions, n_columns=6).plot(ax)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        columns = max(1, min(self.n_columns, len(self.images)))
        return math.ceil(len(self.images) / columns), columns

    def plot(self, ax: Axes | None = None) -> "ImageGridDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        ImageGridDisplay
            This display.
        """
        rows, columns = self.shape
        height, width = self.images.shape[1:3]
        lines = 1 + max((caption.count("\n") for caption in self.captions), default=0)
        inch = 7.2 / columns  # of one cell, in which a picture is 0.86 wide
        cell = 0.86 * height / width + (0.1 + 0.16 * lines) / inch
        if ax is None:
            ax = new_figure(7.2, max(rows, 1) * cell * inch).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        # Only grey pictures look at these.
        darkest = self.images.astype(float).min(initial=np.inf)
        brightest = self.images.astype(float).max(initial=-np.inf)
        for i, (image, caption) in enumerate(zip(self.images, self.captions, strict=True)):
            x, y = i % columns, (i // columns) * cell
            extent = (x + 0.07, x + 0.93, y + 0.86 * height / width, y)
            ax.imshow(image, extent=extent, interpolation="none", cmap="gray", vmin=darkest, vmax=brightest)
            ax.text(
                x + 0.5,
                extent[2] + 0.04 / inch,
                "\n".join(cut(line, int(inch * LETTERS)) for line in caption.split("\n")),
                ha="center",
                va="top",
                fontsize=SMALL,
                color=INK,
                parse_math=False,
                linespacing=1.15,
            )
        ax.set(xlim=(0, columns), ylim=(max(rows, 1) * cell, 0), aspect="equal")
        ax.axis("off")
        return self


def new_figure(width: float, height: float) -> Figure:
    """Make a transparent figure, in inches, that pyplot knows nothing of."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def figure_of(ax: Axes) -> Figure:
    """Find the figure that can be saved, also of axes in a sub-figure."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def cut(line: str, length: int) -> str:
    """Shorten a line to at most `length` letters."""
    return line if len(line) <= length else f"{line[: length - 1]}…"


def tidy(ax: Axes) -> None:
    """Keep of an axes what carries information, in an ink that reads on light and dark pages."""
    ax.set_facecolor("none")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set(color=INK, linewidth=0.7)
    ax.tick_params(which="both", colors=INK, labelsize=SMALL, width=0.7, length=3)
    ax.xaxis.label.set(color=INK, fontsize=SMALL + 0.5)
    ax.yaxis.label.set(color=INK, fontsize=SMALL + 0.5)


def draw_curves(ax: Axes, history: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Draw one quantity of the history: training dashed, validation solid, each named at its end."""
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) <= 30 else ""
    ends = []
    for key, name, colour, style in (("train", "training", BLUE, (0, (4, 2))), ("valid", "validation", ORANGE, "-")):
        values = [record[f"{key}_{quantity}"] for record in history if f"{key}_{quantity}" in record]
        if values:
            ax.plot(epochs, values, color=colour, linestyle=style, linewidth=1.6, marker=marker, markersize=3.5)
            ends.append((values[-1], name, colour))
    tidy(ax)
    ax.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel("epoch")
    ax.set_ylabel(quantity)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.margins(y=0.12)
    # The higher line is named above its end and the lower one below, so that the names never meet.
    for (value, name, colour), offset in zip(sorted(ends, reverse=True), (7, -7), strict=False):
        ax.annotate(
            name,
            (epochs[-1], value),
            xytext=(5, offset),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=colour,
        )


def strength(matrix: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Scale mistakes by ln(count) / ln(largest count), 0 (one mistake) … 1; 0 as well where there are none."""
    mistakes = matrix - np.diag(np.diag(matrix))
    log = np.log(np.maximum(mistakes, 1))
    scaled: NDArray[np.float64] = log / max(float(log.max()), 1e-9)
    return scaled


def confusion_colours(matrix: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Colour each cell, RGBA of shape (n, n, 4): nothing for zero, pale blue on the diagonal, orange for mistakes."""
    t = strength(matrix)
    colours = np.empty((*matrix.shape, 4))
    colours[:] = to_rgba(RED)
    # A gap in the middle: mid-grey ink reads on the pale half and white on the strong half, on any page.
    colours[..., 3] = np.where(t < STRONG, 0.18 + 0.3 * t, 0.7 + 0.3 * t)
    diagonal = np.eye(len(matrix), dtype=bool)
    colours[diagonal] = to_rgba(BLUE, 0.14)
    colours[matrix == 0] = 0
    return colours


def percent(share: float, decimals: int = 2) -> str:
    """Write a share 0..1 as per cent, such as ``99.21 %``.

    Rounding never turns an imperfect share into 100 %.

    Examples
    --------
    >>> percent(0.9921), percent(0.99999, 1), percent(1.0)
    ('99.21 %', '99.9 %', '100.00 %')
    """
    text = f"{share:.{decimals}%}"[:-1]
    if share < 1 and float(text) == 100:
        text = f"{math.floor(share * 100 * 10**decimals) / 10**decimals:.{decimals}f}"
    return f"{text} %"
