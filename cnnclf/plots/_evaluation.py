"""Displays of an evaluation: confusion matrix, scores of each class, and reliability of the probabilities.

Each holds data, draws it with ``plot(ax=None)``, keeps ``figure_`` and ``ax_``, and never shows a window, as
scikit-learn's displays do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.text import cut, percent, quote, short
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._records import ReliabilityBin, Scores, wilson_interval
from cnnclf.plots import _style as style
from cnnclf.plots._style import BLUE, INK, LETTERS, LONGEST_LABEL, ORANGE, RED, SMALL

MOST_NUMBERED = 30  # classes of a confusion matrix with a number in each cell
MOST_SCORED = 30  # classes with a row of scores
STARTS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)  # where an axis of scores may begin

Normalize = Literal["true", "pred", "all"]
# The caption of a normalised confusion matrix, and the axes over which its counts are summed.
NORMALISED: dict[Normalize, tuple[str, int | tuple[int, int]]] = {
    "true": ("% of each true class", 1),
    "pred": ("% of each predicted class", 0),
    "all": ("% of all images", (0, 1)),
}


@dataclass
class ConfusionMatrixDisplay(style.Display):
    """How many images of each true class (row) were predicted as each class (column).

    Correct predictions are pale blue whatever their number; mistakes are orange, stronger with the logarithm of their
    number, so that a single mistake is visible beside a thousand correct predictions.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_classes, n_classes), int
        Counts, rows true and columns predicted.
    display_labels : sequence of label, optional
        Names of the rows and columns, in their order; 0, 1, … by default.
    normalize : {"true", "pred", "all"}, optional
        Write percentages of the sum of the row, of the column or of all images instead of counts.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Raises
    ------
    ValueError
        If `normalize` is none of these, or the number of labels is not that of the rows.

    Examples
    --------
    >>> from cnnclf.plots import ConfusionMatrixDisplay
    >>> display = ConfusionMatrixDisplay.from_predictions(["cat", "dog"], ["cat", "cat"], normalize="pred")
    >>> display.confusion_matrix
    array([[1, 0],
           [1, 0]])
    >>> [text.get_text() for text in display.ax_.texts]
    ['50.0', '50.0']
    """

    confusion_matrix: NDArray[np.integer[Any]]
    display_labels: Sequence[Any] | None = None
    normalize: Normalize | None = None
    include_values: bool | None = field(init=False, default=None, repr=False)
    values_format: str | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.normalize is not None and self.normalize not in NORMALISED:
            raise ValueError(f"Expected normalize to be 'true', 'pred', 'all' or None; got {quote(self.normalize)}.")
        n = len(self.confusion_matrix)
        self.display_labels = range(n) if self.display_labels is None else self.display_labels
        if len(self.display_labels) != n:
            raise ValueError(f"Expected {n} display_labels, one per row; got {len(self.display_labels)}.")

    def plot(
        self, ax: Axes | None = None, *, include_values: bool | None = None, values_format: str | None = None
    ) -> Self:
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.
        include_values : bool, optional
            Whether to write the numbers into the cells; by default up to 30 classes.
        values_format : str, optional
            Format specification of the numbers, such as ``"d"`` for counts or ``".2g"`` for shares from 0 to 1; by
            default short counts, or percentages.

        Returns
        -------
        ConfusionMatrixDisplay
            This display.
        """
        self.include_values, self.values_format = include_values, values_format
        return super().plot(ax)

    @classmethod
    def from_evaluation(
        cls,
        evaluation: Evaluation,
        *,
        normalize: Normalize | None = None,
        display_labels: Sequence[Any] | None = None,
        include_values: bool | None = None,
        values_format: str | None = None,
        ax: Axes | None = None,
    ) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of an evaluation; see `plot` for the arguments."""
        labels = evaluation.classes.tolist() if display_labels is None else display_labels
        display = cls(evaluation.confusion_matrix, labels, normalize)
        return display.plot(ax, include_values=include_values, values_format=values_format)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        normalize: Normalize | None = None,
        display_labels: Sequence[Any] | None = None,
        include_values: bool | None = None,
        values_format: str | None = None,
        ax: Axes | None = None,
    ) -> "ConfusionMatrixDisplay":
        """Evaluate a fitted classifier on labelled data and draw its confusion matrix; see `plot` for the arguments."""
        return cls.from_evaluation(
            Evaluation.from_estimator(estimator, X, y),
            normalize=normalize,
            display_labels=display_labels,
            include_values=include_values,
            values_format=values_format,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        normalize: Normalize | None = None,
        display_labels: Sequence[Any] | None = None,
        include_values: bool | None = None,
        values_format: str | None = None,
        ax: Axes | None = None,
    ) -> "ConfusionMatrixDisplay":
        """Draw the confusion matrix of predicted labels; see `plot` for the arguments."""
        return cls.from_evaluation(
            Evaluation.from_labels(y_true, y_pred),
            normalize=normalize,
            display_labels=display_labels,
            include_values=include_values,
            values_format=values_format,
            ax=ax,
        )

    def _inches(self) -> tuple[float, float]:
        n, longest = len(self.confusion_matrix), max(len(str(label)) for label in self.display_labels or ())
        side = 1.5 + min(longest, LONGEST_LABEL) / LETTERS + (0.36 if n <= MOST_NUMBERED else 0.15) * n
        return max(side, 3.0), max(side, 3.0)

    def _draw(self, ax: Axes) -> None:
        n = len(self.confusion_matrix)
        numbered = n <= MOST_NUMBERED if self.include_values is None else self.include_values
        names = [cut(str(label), LONGEST_LABEL) for label in self.display_labels or ()]
        long = max(map(len, names)) > (3 if numbered else 1)
        sums = sums_for(self.confusion_matrix, self.normalize)
        shares = self.confusion_matrix / sums
        # The colours are those of counts: of shares, the counts that they would be of the largest sum.
        images = np.rint(shares * sums.max())
        ax.imshow(confusion_colours(images), interpolation="none")
        small = self.normalize is not None or self.confusion_matrix.max() >= 1000
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL - 1 if small else SMALL, "color": INK}
        for row, column in np.argwhere(self.confusion_matrix) if numbered else ():
            number = self.confusion_matrix[row, column] if self.normalize is None else shares[row, column]
            text = in_cell(number) if self.values_format is None else format(number, self.values_format)
            ax.text(column, row, text, fontweight="bold" if row != column else "normal", **look)
        style.tidy(ax)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(n), names, rotation=90 if long else 0, parse_math=False)
        ax.set_yticks(range(n), names, parse_math=False)
        ax.set(xlabel="predicted", ylabel="true")
        ax.tick_params(length=0, labelsize=SMALL if numbered else SMALL - 2)
        ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=INK, alpha=0.25, linewidth=0.5)
        ax.tick_params(which="minor", length=0)
        if self.normalize is not None:
            style.caption(ax, NORMALISED[self.normalize][0])


@dataclass
class PerClassDisplay(style.Display):
    """Precision, recall and F1 of each class as three marks in a row, with F1 as a number beside them.

    The axis starts where differences between good scores are visible; its label states the start. Of more than 30
    classes, the 30 with the lowest F1 are drawn, worst first. A class without images has no scores.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    scores : sequence of Scores
        One per class: ``evaluation.per_class``.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Examples
    --------
    >>> from cnnclf.plots import PerClassDisplay
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
        """Evaluate a fitted classifier on labelled data and draw its scores."""
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
        style.tidy(ax, grid="x")
        style.one_row_each(ax, [self.classes[k] for k in order])
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
        style.in_percent(ax.xaxis)
        chosen = f"; {MOST_SCORED} classes of {n}, lowest F1 first" if n > MOST_SCORED else ""
        ax.set_xlabel(f"score, axis from {100 * start:g} %{chosen}")
        style.legend_above(ax)


@dataclass
class ReliabilityDisplay(style.Display):
    """Accuracy against confidence, in bins; on the diagonal the classifier is calibrated.

    The accuracy of each bin has its Wilson 95 % interval; a strip below shows the number of images in each bin (Guo et
    al. 2017, "On calibration of modern neural networks", section 2).

    Parameters
    ----------
    bins : sequence of ReliabilityBin
        From ``evaluation.reliability()``.
    calibration_error : float, optional
        Expected calibration error, 0..1, to write above the axes.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot; the strip is an inset.

    Examples
    --------
    >>> from cnnclf.plots import ReliabilityDisplay
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
                "Expected an evaluation with probabilities; got labels. Use a classifier with predict_proba."
            )
        return cls(evaluation.reliability(), evaluation.calibration_error).plot(ax)

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike, *, ax: Axes | None = None) -> "ReliabilityDisplay":
        """Evaluate a fitted classifier on labelled data and draw the reliability of its probabilities."""
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
        style.tidy(ax, grid="both")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="accuracy")
        # At the lower end of the diagonal, where a classifier of several classes has hardly any images.
        for x, y, text in ((0.17, 0.23, "underconfident"), (0.23, 0.17, "overconfident")):
            ax.text(x, y, text, ha="center", va="center", rotation=45, fontsize=SMALL, color=INK)
        style.in_percent(ax.yaxis)
        ax.tick_params(axis="x", labelbottom=False)
        if self.calibration_error is not None:
            style.caption(ax, f"expected calibration error {percent(self.calibration_error)}")
        draw_sizes(ax.inset_axes((0, -0.27, 1, 0.2)), self.bins)


def draw_sizes(ax: Axes, bins: Sequence[ReliabilityBin]) -> None:
    """Draw the number of images in each bin as a strip of labelled bars."""
    edges, widths, sizes = zip(*((b.lower, b.upper - b.lower, b.n_images) for b in bins), strict=True)
    ax.bar(edges, sizes, widths, align="edge", facecolor=to_rgba(INK, 0.55), edgecolor=INK, linewidth=0.7)
    for edge, size, width in zip(edges, sizes, widths, strict=True):
        ax.text(edge + width / 2, size, short(size), ha="center", va="bottom", fontsize=SMALL - 1, color=INK)
    style.tidy(ax)
    ax.set(xlim=(0, 1), ylim=(0, 1.35 * max(sizes)), yticks=[], xlabel="confidence", ylabel="images")
    ax.spines["left"].set_visible(False)
    style.in_percent(ax.xaxis)


def sums_for(matrix: NDArray[np.integer[Any]], normalize: Normalize | None) -> NDArray[np.int64]:
    """Return the divisor of each count, 1 without normalisation and for an empty row or column."""
    if normalize is None:
        return np.ones((1, 1), dtype=np.int64)
    sums: NDArray[np.int64] = np.maximum(matrix.sum(axis=NORMALISED[normalize][1], keepdims=True), 1)
    return sums


def in_cell(number: np.integer[Any] | np.floating[Any]) -> str:
    """Return a count as text, or a share in per cent without the sign.

    Examples
    --------
    >>> [in_cell(np.float64(share)) for share in (1.0, 0.99996, 0.9866, 0.0004)], in_cell(np.int64(12_345))
    (['100', '99.996', '98.7', '0.04'], '12k')
    """
    if isinstance(number, np.integer):
        return short(int(number))
    return percent(float(number), 0 if number == 1 else 1).removesuffix(" %")


def strength(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Scale mistakes by ln(count) / ln(largest count), 0 (one mistake) … 1; 0 also where there are none."""
    log: NDArray[np.float64] = np.log(np.maximum(matrix - np.diag(np.diag(matrix)), 1))
    return log / max(float(log.max()), 1e-9)


def confusion_colours(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Return the colour of each cell, (n, n, RGBA): transparent for 0, pale blue for correct, orange for mistakes."""
    colours = np.full((*matrix.shape, 4), to_rgba(RED))
    colours[..., 3] = 0.18 + 0.4 * strength(matrix)  # pale, so that numbers are readable on light and on dark pages
    colours[np.eye(len(matrix), dtype=bool)] = to_rgba(BLUE, 0.14)
    colours[matrix == 0] = 0
    return colours
