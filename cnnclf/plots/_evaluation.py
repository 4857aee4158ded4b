"""Records drawn with matplotlib, in the manner of scikit-learn's displays: data, training and judgement.

Each display holds data, draws it with ``plot(ax=None)``, keeps ``figure_`` and ``ax_`` and never shows a window. The
displays of traces and of comparisons have modules of their own; all are imported from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.text import cut, percent, quote, short
from cnnclf.evaluation._evaluation import Evaluation, Mistake, ReliabilityBin, Scores, wilson_interval
from cnnclf.plots._comparison import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
from cnnclf.plots._style import (
    BLUE,
    INK,
    LETTERS,
    LONGEST_LABEL,
    ORANGE,
    PAGE,
    RED,
    SMALL,
    Display,
    Drawn,
    Picture,
    caption,
    cell_size,
    draw_grid,
    figure_of,
    grid_shape,
    in_percent,
    legend_above,
    new_figure,
    one_row_each,
    share_limits,
    tidy,
)
from cnnclf.plots._trace import ClassScoresDisplay, FeatureMapsDisplay, KernelsDisplay, TraceDisplay

__all__ = [
    "AccuracyCostDisplay",
    "ClassDistributionDisplay",
    "ClassScoresDisplay",
    "ConfusionMatrixDisplay",
    "FeatureMapsDisplay",
    "FoldBoxDisplay",
    "FoldCurvesDisplay",
    "ImageGridDisplay",
    "KernelsDisplay",
    "PerClassDisplay",
    "ReliabilityDisplay",
    "TraceDisplay",
    "TrainingCurvesDisplay",
]

MOST_NUMBERED = 30  # classes of a confusion matrix with a number in each cell
MOST_SCORED = 30  # classes with a row of scores
STARTS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)  # where an axis of scores may begin

Normalize = Literal["true", "pred", "all"]
# What the cells of a normalised confusion matrix are shares of, and over which axes those are summed.
NORMALISED: dict[Normalize, tuple[str, int | tuple[int, int]]] = {
    "true": ("% of each true class", 1),
    "pred": ("% of each predicted class", 0),
    "all": ("% of all images", (0, 1)),
}


@dataclass
class TrainingCurvesDisplay(Drawn):
    """Loss and accuracy against the epoch, for training and validation images.

    A dotted line marks the epoch of the lowest validation loss, where it is not the last one.

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
    >>> from cnnclf.plots._evaluation import TrainingCurvesDisplay
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
        loss, accuracy = new_figure(8.4, 3.2).subplots(1, 2) if ax is None else ax
        self.figure_, self.axes_ = figure_of(loss), (loss, accuracy)
        for axes, quantity in zip(self.axes_, ("loss", "accuracy"), strict=True):
            draw_curves(axes, self.history, quantity)
            mark_lowest(axes, self.history)
        in_percent(accuracy.yaxis)
        return self


@dataclass
class ConfusionMatrixDisplay(Display):
    """How often each class (row) was called each class (column).

    Correct answers are pale blue whatever their number, mistakes orange by the logarithm of theirs, so that a single
    mistake is seen beside a thousand correct answers.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_classes, n_classes), int
        Counts, rows true and columns predicted.
    classes : sequence of label
        The labels, in the order of the rows.
    normalize : {"true", "pred", "all"}, optional
        Write per cent of the row's sum, of the column's or of all, as scikit-learn's display does, instead of counts.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        What it is drawn on.

    Raises
    ------
    ValueError
        If `normalize` is none of these.

    Examples
    --------
    >>> from cnnclf.plots._evaluation import ConfusionMatrixDisplay
    >>> display = ConfusionMatrixDisplay.from_predictions(["cat", "dog"], ["cat", "cat"], normalize="pred")
    >>> display.confusion_matrix
    array([[1, 0],
           [1, 0]])
    >>> [text.get_text() for text in display.ax_.texts]
    ['50.0', '50.0']
    """

    confusion_matrix: NDArray[np.integer[Any]]
    classes: Sequence[Any]
    normalize: Normalize | None = None

    def __post_init__(self) -> None:
        if self.normalize is not None and self.normalize not in NORMALISED:
            raise ValueError(f"Expected normalize to be 'true', 'pred', 'all' or None, got {quote(self.normalize)}.")

    @classmethod
    def from_evaluation(
        cls, evaluation: Evaluation, *, normalize: Normalize | None = None, ax: Axes | None = None
    ) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of an evaluation."""
        return cls(evaluation.confusion_matrix, evaluation.classes.tolist(), normalize).plot(ax)

    @classmethod
    def from_estimator(
        cls, clf: Any, X: Any, y: ArrayLike, *, normalize: Normalize | None = None, ax: Axes | None = None
    ) -> "ConfusionMatrixDisplay":
        """Judge a fitted classifier on labelled data and draw its confusion matrix."""
        return cls.from_evaluation(Evaluation.from_estimator(clf, X, y), normalize=normalize, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_pred: ArrayLike, *, normalize: Normalize | None = None, ax: Axes | None = None
    ) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of predicted labels."""
        return cls.from_evaluation(Evaluation.from_labels(y_true, y_pred), normalize=normalize, ax=ax)

    def _inches(self) -> tuple[float, float]:
        n, longest = len(self.classes), max(len(str(label)) for label in self.classes)
        side = 1.5 + min(longest, LONGEST_LABEL) / LETTERS + (0.36 if n <= MOST_NUMBERED else 0.15) * n
        return max(side, 3.0), max(side, 3.0)

    def _draw(self, ax: Axes) -> None:
        n = len(self.classes)
        numbered = n <= MOST_NUMBERED
        names = [cut(str(label), LONGEST_LABEL) for label in self.classes]
        long = max(map(len, names)) > (3 if numbered else 1)
        sums = sums_for(self.confusion_matrix, self.normalize)
        shares = self.confusion_matrix / sums
        # Colours are of whole images, as many as the largest sum would have: of counts, the counts.
        images = np.rint(shares * sums.max())
        ax.imshow(confusion_colours(images), interpolation="none")
        for row, column in np.argwhere(self.confusion_matrix) if numbered else ():
            number = self.confusion_matrix[row, column] if self.normalize is None else shares[row, column]
            ax.text(
                column,
                row,
                in_cell(number),
                ha="center",
                va="center",
                fontsize=SMALL if self.normalize is None and self.confusion_matrix.max() < 1000 else SMALL - 1,
                fontweight="bold" if row != column else "normal",
                color=INK,
            )
        tidy(ax)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(n), names, rotation=90 if long else 0, parse_math=False)
        ax.set_yticks(range(n), names, parse_math=False)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        ax.tick_params(length=0, labelsize=SMALL if numbered else SMALL - 2)
        ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=INK, alpha=0.25, linewidth=0.5)
        ax.tick_params(which="minor", length=0)
        if self.normalize is not None:
            caption(ax, NORMALISED[self.normalize][0])


@dataclass
class PerClassDisplay(Display):
    """Precision, recall and F1 of each class as three marks on a row, with F1 as a number beside them.

    The axis starts where it shows the differences between good scores, and says where. Of more than 30 classes the 30
    of the lowest F1 are drawn, worst first. A class without images has no scores.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    scores : sequence of Scores
        One a class: ``evaluation.per_class``.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        What it is drawn on.

    Examples
    --------
    >>> from cnnclf.plots._evaluation import PerClassDisplay
    >>> display = PerClassDisplay.from_predictions([0, 0, 1, 1], [0, 0, 1, 0])
    >>> [text.get_text() for text in display.ax_.texts], display.ax_.get_xlabel()
    (['80.0 %', '66.7 %'], 'score, axis from 50 %')
    """

    classes: Sequence[Any]
    scores: Sequence[Scores]

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, *, ax: Axes | None = None) -> "PerClassDisplay":
        """Draw the scores of an evaluation."""
        return cls(evaluation.classes.tolist(), evaluation.per_class).plot(ax)

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike, *, ax: Axes | None = None) -> "PerClassDisplay":
        """Judge a fitted classifier on labelled data and draw its scores."""
        return cls.from_evaluation(Evaluation.from_estimator(clf, X, y), ax=ax)

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, y_pred: ArrayLike, *, ax: Axes | None = None) -> "PerClassDisplay":
        """Draw the scores of predicted labels."""
        return cls.from_evaluation(Evaluation.from_labels(y_true, y_pred), ax=ax)

    def _inches(self) -> tuple[float, float]:
        return 5.4, 0.9 + 0.28 * min(len(self.classes), MOST_SCORED)

    def _draw(self, ax: Axes) -> None:
        n = len(self.classes)
        order = list(range(n))
        if n > MOST_SCORED:
            order.sort(key=lambda k: (self.scores[k].support == 0, self.scores[k].f1))
        order = order[:MOST_SCORED]
        rows = [row for row, k in enumerate(order) if self.scores[k].support > 0]
        drawn = [self.scores[order[row]] for row in rows]
        table = np.array([(scores.precision, scores.recall, scores.f1) for scores in drawn])
        tidy(ax, grid="x")
        one_row_each(ax, [self.classes[k] for k in order])
        ax.hlines(rows, table.min(axis=1), table.max(axis=1), color=INK, linewidth=0.8)
        # A little above and below the row, so that equal scores do not hide each other.
        for values, name, marker, colour, up in zip(
            table.T, ("precision", "recall", "F1"), ("^", "v", "o"), (BLUE, ORANGE, INK), (-0.2, 0.2, 0), strict=True
        ):
            ax.plot(values, np.add(rows, up), marker, color=colour, markersize=5, label=name, clip_on=False)
        for row, k in enumerate(order):
            text = percent(self.scores[k].f1, 1) if self.scores[k].support > 0 else "no images"
            ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL, color=INK)
        start = max(start for start in STARTS if start <= table.min())
        ax.set_xlim(start - 0.02 * (1 - start), 1 + 0.02 * (1 - start))
        ax.xaxis.set_major_locator(MaxNLocator(5))
        in_percent(ax.xaxis)
        chosen = f"; {MOST_SCORED} classes of {n}, lowest F1 first" if n > MOST_SCORED else ""
        ax.set_xlabel(f"score, axis from {100 * start:g} %{chosen}")
        legend_above(ax)


@dataclass
class ReliabilityDisplay(Display):
    """How often the classifier is right against how sure it is, in bins; on the diagonal its probabilities are true.

    Each bin's accuracy has its Wilson 95 % interval; a strip below says how many images the bin has (Guo et al. 2017,
    "On calibration of modern neural networks", section 2).

    Parameters
    ----------
    bins : sequence of ReliabilityBin
        From ``evaluation.reliability()``.
    calibration_error : float, optional
        Expected calibration error, 0..1, to be written above.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        What it is drawn on; the strip is an inset.

    Examples
    --------
    >>> from cnnclf.plots._evaluation import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions([0, 1], [[0.9, 0.1], [0.7, 0.3]], [0, 1])
    >>> display.ax_.get_title(loc="left")
    'expected calibration error 40.00 %'
    """

    bins: Sequence[ReliabilityBin]
    calibration_error: float | None = None

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, *, ax: Axes | None = None) -> "ReliabilityDisplay":
        """Draw the reliability of an evaluation's probabilities.

        Raises
        ------
        ValueError
            If the evaluation has no probabilities.
        """
        if evaluation.y_proba is None:
            raise ValueError(
                "Expected an evaluation with probabilities, got one of predicted labels alone; "
                "judge a classifier with predict_proba."
            )
        return cls(evaluation.reliability(), evaluation.calibration_error).plot(ax)

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike, *, ax: Axes | None = None) -> "ReliabilityDisplay":
        """Judge a fitted classifier on labelled data and draw the reliability of its probabilities."""
        return cls.from_evaluation(Evaluation.from_estimator(clf, X, y), ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike, *, ax: Axes | None = None
    ) -> "ReliabilityDisplay":
        """Draw the reliability of predicted probabilities."""
        return cls.from_evaluation(Evaluation.from_predictions(y_true, y_proba, classes), ax=ax)

    def _inches(self) -> tuple[float, float]:
        return 4.4, 5.0

    def _draw(self, ax: Axes) -> None:
        confidence, accuracy = [b.confidence for b in self.bins], [b.accuracy for b in self.bins]
        intervals = [wilson_interval(round(b.accuracy * b.n_images), b.n_images) for b in self.bins]
        ax.plot([0, 1], [0, 1], color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
        ax.vlines(confidence, *zip(*intervals, strict=True), color=BLUE, linewidth=1.2, clip_on=False)
        ax.plot(confidence, accuracy, "o-", color=BLUE, markersize=5, linewidth=1.6, clip_on=False)
        tidy(ax, grid="both")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="share that is right")
        # Along the diagonal, where a classifier of several classes has hardly any images.
        for x, y, text in ((0.17, 0.23, "not sure enough"), (0.23, 0.17, "too sure")):
            ax.text(x, y, text, ha="center", va="center", rotation=45, fontsize=SMALL, color=INK)
        in_percent(ax.yaxis)
        ax.tick_params(axis="x", labelbottom=False)
        if self.calibration_error is not None:
            caption(ax, f"expected calibration error {percent(self.calibration_error)}")
        draw_sizes(ax.inset_axes((0, -0.27, 1, 0.2)), self.bins)


@dataclass
class ClassDistributionDisplay(Display):
    """Images of each class in each split, as one stacked bar a class.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    counts : mapping of str to sequence of int
        For each split, in the order in which they are stacked, the images of each class.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        What it is drawn on.

    Examples
    --------
    >>> from cnnclf.plots._evaluation import ClassDistributionDisplay
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
        # Solid, pale within an outline, solid: neighbours differ in black and white.
        fills = cycle(((BLUE, 1.0), (ORANGE, 0.4), (INK, 1.0)))
        left = np.zeros(n)
        for (split, counts), (colour, alpha) in zip(self.counts.items(), fills, strict=False):
            face, name = to_rgba(colour, alpha), f"{split} {sum(counts):,}"
            ax.barh(
                range(n), counts, left=left, height=0.64, facecolor=face, edgecolor=colour, linewidth=0.8, label=name
            )
            left += counts
        tidy(ax, grid="x")
        one_row_each(ax, self.classes)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("images")
        legend_above(ax)


@dataclass
class ImageGridDisplay(Display):
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
    figure_, ax_ : matplotlib Figure and Axes
        The one axes that holds all pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots._evaluation import ImageGridDisplay
    >>> ImageGridDisplay(np.zeros((3, 8, 8)), ["a", "b", "c"], n_columns=2).shape
    (2, 2)
    """

    images: Picture
    captions: Sequence[str]
    n_columns: int = 10

    @classmethod
    def from_labels(cls, images: Picture, y: ArrayLike, *, ax: Axes | None = None) -> "ImageGridDisplay":
        """Draw pictures with their labels."""
        return cls(images, [str(label) for label in np.asarray(y).tolist()]).plot(ax)

    @classmethod
    def from_mistakes(
        cls, images: Picture, mistakes: Sequence[Mistake], *, ax: Axes | None = None
    ) -> "ImageGridDisplay":
        """Draw each mistake's picture with what it is, → what was said, and the confidence in that, where it is known.

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
        sure = ["" if m.confidence is None else f"\n{percent(m.confidence)}" for m in mistakes]
        captions = [f"{m.true}{gap}→ {m.predicted}{end}" for m, end in zip(mistakes, sure, strict=True)]
        return cls(images, captions, n_columns=6).plot(ax)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return grid_shape(len(self.images), self.n_columns)

    def _inches(self) -> tuple[float, float]:
        return PAGE, max(self.shape[0], 1) * cell_size(self.images, self.captions, self.n_columns)[1]

    def _draw(self, ax: Axes) -> None:
        draw_grid(ax, self.images, self.captions, self.n_columns)


def draw_curves(ax: Axes, history: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Draw one quantity of the history: training dashed, validation solid, each named at its end."""
    marker = "o" if len(history) <= 30 else ""
    ends = []
    for key, name, colour, style in (("train", "training", BLUE, (0, (4, 2))), ("valid", "validation", ORANGE, "-")):
        points = [(epoch["epoch"], epoch[f"{key}_{quantity}"]) for epoch in history if f"{key}_{quantity}" in epoch]
        if points:
            epochs, values = zip(*points, strict=True)
            ax.plot(epochs, values, color=colour, linestyle=style, linewidth=1.6, marker=marker, markersize=3.5)
            ends.append((values[-1], epochs[-1], name))
    tidy(ax, grid="y")
    ax.set_xlabel("epoch")
    ax.set_ylabel(quantity)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.margins(y=0.12)
    if quantity == "accuracy":
        shares = np.concatenate([line.get_ydata() for line in ax.lines])
        ax.set_ylim(share_limits(np.nanmin(shares), np.nanmax(shares)))
    # The higher line is named above its end and the lower one below, so that the names never meet.
    for (value, epoch, name), offset in zip(sorted(ends, reverse=True), (7, -7), strict=False):
        ax.annotate(
            name,
            (epoch, value),
            xytext=(5, offset),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )


def mark_lowest(ax: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Mark the epoch of the lowest validation loss, where it is not the last one."""
    losses = {epoch["epoch"]: epoch["valid_loss"] for epoch in history if np.isfinite(epoch.get("valid_loss", np.nan))}
    best = min(losses, key=losses.__getitem__, default=None)
    if best in (None, history[-1]["epoch"]):
        return
    ax.axvline(best, color=INK, linestyle=(0, (1, 2)), linewidth=1)
    caption(ax, f"dotted: lowest validation loss, epoch {best}")


def draw_sizes(ax: Axes, bins: Sequence[ReliabilityBin]) -> None:
    """Draw how many images each bin has as a strip of bars with their numbers."""
    edges, widths, sizes = zip(*((b.lower, b.upper - b.lower, b.n_images) for b in bins), strict=True)
    ax.bar(edges, sizes, widths, align="edge", facecolor=to_rgba(INK, 0.55), edgecolor=INK, linewidth=0.7)
    for edge, size, width in zip(edges, sizes, widths, strict=True):
        ax.text(edge + width / 2, size, short(size), ha="center", va="bottom", fontsize=SMALL - 1, color=INK)
    tidy(ax)
    ax.set(xlim=(0, 1), ylim=(0, 1.35 * max(sizes)), yticks=[], xlabel="confidence", ylabel="images")
    ax.spines["left"].set_visible(False)
    in_percent(ax.xaxis)


def sums_for(matrix: NDArray[np.integer[Any]], normalize: Normalize | None) -> NDArray[np.int64]:
    """Give what each count is divided by: 1 for counts, and for nothing."""
    if normalize is None:
        return np.ones((1, 1), dtype=np.int64)
    sums: NDArray[np.int64] = np.maximum(matrix.sum(axis=NORMALISED[normalize][1], keepdims=True), 1)
    return sums


def in_cell(number: np.integer[Any] | np.floating[Any]) -> str:
    """Write a count, or a share as per cent without its sign.

    Examples
    --------
    >>> [in_cell(np.float64(share)) for share in (1.0, 0.99996, 0.9866, 0.0004)], in_cell(np.int64(12_345))
    (['100', '99.996', '98.7', '0.04'], '12k')
    """
    if isinstance(number, np.integer):
        return short(int(number))
    return percent(float(number), 0 if number == 1 else 1).removesuffix(" %")


def strength(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Scale mistakes by ln(count) / ln(largest count), 0 (one mistake) … 1; 0 as well where there are none."""
    mistakes = matrix - np.diag(np.diag(matrix))
    log = np.log(np.maximum(mistakes, 1))
    scaled: NDArray[np.float64] = log / max(float(log.max()), 1e-9)
    return scaled


def confusion_colours(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Colour each cell, RGBA of shape (n, n, 4): nothing for zero, pale blue on the diagonal, orange for mistakes."""
    t = strength(matrix)
    colours = np.empty((*matrix.shape, 4))
    colours[:] = to_rgba(RED)
    colours[..., 3] = 0.18 + 0.4 * t  # as pale as it takes to read a number on it, on a light page and on a dark one
    diagonal = np.eye(len(matrix), dtype=bool)
    colours[diagonal] = to_rgba(BLUE, 0.14)
    colours[matrix == 0] = 0
    return colours
