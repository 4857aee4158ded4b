"""Records drawn with matplotlib, in the manner of scikit-learn's displays.

Each display holds data, draws it with ``plot(ax=None)``, keeps ``figure_`` and ``ax_`` and never shows a window.
Backgrounds are transparent and the ink is a mid-grey, so that one figure reads on light and on dark pages; what colour
says is also said by position, line style or a number, so that it reads in black and white.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cnnclf.evaluation import Evaluation, Mistake

if TYPE_CHECKING:
    from cnnclf.tracing import Trace

# Lightness between black and white: contrast of 4 : 1 or so on either.
INK = "#777b83"
BLUE = "#2b7fc3"
ORANGE = "#c97600"
RED = "#c84e00"
SMALL = 9  # points
LETTERS = 12  # that fit an inch at this size
LONGEST_ROW = 64  # features; more are broken into rows, as text is
LONGEST_LABEL = 32  # letters; longer ones are cut beside bars
PAGE, LABELS, GAP = 7.2, 1.4, 0.06  # inches: width of a trace, of the names in it, and between two of its pictures
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


@dataclass
class FeatureMapsDisplay:
    """The feature maps of one layer: positive numbers orange, negative ones blue, zero as the page.

    All maps share one scale. Features without height and width are a strip, broken into rows of at most 64.

    Parameters
    ----------
    values : ndarray of shape (channels, height, width) or (features,)
        What leaves the layer.
    name : str
        The layer's name.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The one axes that holds all maps.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots import FeatureMapsDisplay
    >>> display = FeatureMapsDisplay(np.linspace(-1, 2, 12).reshape(3, 2, 2), "conv1").plot()
    >>> display.ax_.get_title(loc="left")
    'conv1: −1 (blue) … 0 … 2 (orange)'
    """

    values: NDArray[Any]
    name: str
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_trace(cls, trace: "Trace", layer: str, *, ax: Axes | None = None) -> "FeatureMapsDisplay":
        """Draw what leaves one layer of a traced network."""
        return cls(trace[layer].output, layer).plot(ax)

    def plot(self, ax: Axes | None = None) -> "FeatureMapsDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        FeatureMapsDisplay
            This display.
        """
        maps = as_maps(self.values)
        n, height, width = maps.shape
        n_columns = min(n, 8 if n <= 32 else 16)
        if ax is None:
            # Few maps need not fill the page, unless they are long.
            inches = PAGE if width > 4 * height else PAGE * min(1.0, max(n_columns, 4) / 8)
            n_rows = math.ceil(n / n_columns)
            ax = new_figure(inches, 0.4 + n_rows * (0.2 + inches / n_columns * height / width)).subplots()
        captions = [""] if n == 1 else [str(k) for k in range(n)]
        grid = ImageGridDisplay(signed_colours(maps), captions, n_columns).plot(ax)
        self.figure_, self.ax_ = grid.figure_, grid.ax_
        for image in ax.images:
            frame(ax, image.get_extent())
        ax.set_title(f"{self.name}: {in_words(maps)}", loc="left", color=INK, fontsize=SMALL, parse_math=False)
        return self


@dataclass
class KernelsDisplay:
    """The kernels of a convolution: a column for each output channel, a row for each input channel.

    Positive weights are orange, negative ones blue, zero is as the page. Of more than 16 channels 16 are drawn, evenly
    spread; their numbers stand beside them.

    Parameters
    ----------
    weight : ndarray of shape (out_channels, in_channels, height, width)
        The weights; the input channels are those of the group.
    name : str
        The layer's name.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The axes.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.plots import KernelsDisplay
    >>> display = KernelsDisplay(np.ones((64, 32, 3, 3)), "conv2").plot()
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('output channel (16 of 64)', 'input channel (16 of 32)')
    """

    weight: NDArray[Any]
    name: str
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_trace(cls, trace: "Trace", layer: str, *, ax: Axes | None = None) -> "KernelsDisplay":
        """Draw the kernels of one convolution of a traced network.

        Raises
        ------
        ValueError
            If the layer is not a convolution.
        """
        step = trace[layer]
        if step.kind != "conv":
            raise ValueError(f"Expected a convolution; {layer!r} is {step.description}. Choose a layer of kind 'conv'.")
        return cls(step.weights["weight"], layer).plot(ax)

    def plot(self, ax: Axes | None = None) -> "KernelsDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        KernelsDisplay
            This display.
        """
        n_outputs, n_inputs, height, width = self.weight.shape
        outputs, inputs = spread(n_outputs, 16), spread(n_inputs, 16)
        if ax is None:
            size = (1.0 + 0.42 * max(len(outputs), 4), 0.9 + 0.42 * len(inputs) * height / width)
            ax = new_figure(*size).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        colours = signed_colours(self.weight)
        for x, output in enumerate(outputs):
            for y, channel in enumerate(inputs):
                extent = (x - 0.43, x + 0.43, (y + 0.43) * height / width, (y - 0.43) * height / width)
                ax.imshow(colours[output, channel], extent=extent, interpolation="none")
                frame(ax, extent)
        tidy(ax)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set(xlim=(-0.5, len(outputs) - 0.5), ylim=((len(inputs) - 0.5) * height / width, -0.5 * height / width))
        ax.set_aspect("equal")
        ax.set_xticks(range(len(outputs)), [str(k) for k in outputs])
        ax.set_yticks([y * height / width for y in range(len(inputs))], [str(k) for k in inputs])
        ax.set_xlabel("output channel" + of_all(outputs, n_outputs))
        ax.set_ylabel("input channel" + of_all(inputs, n_inputs))
        ax.set_title(f"{self.name}: {in_words(self.weight)}", loc="left", color=INK, fontsize=SMALL, parse_math=False)
        return self


@dataclass
class ClassScoresDisplay:
    """How probable each class is, as bars; the prediction is bold and blue.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    probabilities : sequence of float
        One a class. Of more than 20 classes the 20 most probable are drawn.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The axes.

    Examples
    --------
    >>> from cnnclf.plots import ClassScoresDisplay
    >>> display = ClassScoresDisplay(["cat", "dog"], [0.02, 0.98]).plot()
    >>> [text.get_text() for text in display.ax_.texts]
    ['2.00 %', '98.00 %']
    """

    classes: Sequence[Any]
    probabilities: Sequence[float]
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_trace(cls, trace: "Trace", *, ax: Axes | None = None) -> "ClassScoresDisplay":
        """Draw the probabilities at the end of a traced network."""
        return cls(trace.classes.tolist(), trace.probabilities.tolist()).plot(ax)

    def plot(self, ax: Axes | None = None) -> "ClassScoresDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        ClassScoresDisplay
            This display.
        """
        values = np.asarray(self.probabilities)
        best = int(values.argmax())
        # In the order of the classes, unless there is only room for the first of them.
        order = np.arange(len(values)) if len(values) <= 20 else np.argsort(-values, kind="stable")[:20]
        if ax is None:
            ax = new_figure(5.4, 0.5 + 0.25 * len(order)).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        fills = [to_rgba(BLUE) if k == best else to_rgba(INK, 0.55) for k in order]
        ax.barh(range(len(order)), values[order], height=0.66, color=fills)
        for y, k in enumerate(order):
            weight = "bold" if k == best else "normal"
            text = percent(float(values[k]))
            ax.text(values[k] + 0.01, y, text, va="center", fontsize=SMALL, color=INK, fontweight=weight)
        tidy(ax)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.set_yticks(range(len(order)), [cut(str(self.classes[k]), LONGEST_LABEL) for k in order], parse_math=False)
        ax.get_yticklabels()[int(np.flatnonzero(order == best)[0])].set_fontweight("bold")
        ax.tick_params(axis="y", length=0)
        ax.set_xticks([])
        ax.set_xlim(0, 1.14)  # room for "100.00 %"
        ax.invert_yaxis()
        ax.margins(y=0.02)
        ax.set_xlabel("probability" + of_all(order, len(values)))
        return self


@dataclass
class TraceDisplay:
    r"""The whole way of one image through a network: pixels, the maps of each layer, class scores.

    One row a layer, in the order in which the image passes them; layers that change nothing are left out. Where a layer
    has more maps than a row holds, an even choice of them is drawn, and their number is said. Positive numbers are
    orange, negative ones blue, zero is as the page; each layer has a scale of its own.

    Parameters
    ----------
    trace : Trace
        From ``clf.trace(image)``.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    ax_ : matplotlib Axes
        The one axes that holds all rows; the class scores are an inset of it.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.plots import TraceDisplay
    >>> X, y = load_digits()
    >>> clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, y)
    >>> display = TraceDisplay.from_trace(clf.trace(X[5]))
    >>> display.ax_.texts[2].get_text()
    'conv1\n6 × 8×8'
    """

    trace: "Trace"
    figure_: Figure = field(init=False, repr=False)
    ax_: Axes = field(init=False, repr=False)

    @classmethod
    def from_trace(cls, trace: "Trace", *, ax: Axes | None = None) -> "TraceDisplay":
        """Draw a traced network."""
        return cls(trace).plot(ax)

    def plot(self, ax: Axes | None = None) -> "TraceDisplay":
        """Draw on the axes, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        TraceDisplay
            This display.
        """
        *layers, softmax = (step for step in self.trace.steps if step.kind != "dropout")
        rows = [Row.of("image", self.trace.image, as_pictures(self.trace.image))]
        rows += [Row.of(step.name, step.output, signed_colours(as_maps(step.output))) for step in layers]
        # All lengths are inches, from the upper left corner downwards.
        tops = np.cumsum([0.0, *(max(row.height, 0.34) + 0.16 for row in rows)]).tolist()
        end = tops[-1] + 0.25 * min(len(softmax.output), 20)
        if ax is None:
            ax = new_figure(PAGE, end).subplots()
        self.figure_, self.ax_ = figure_of(ax), ax
        for row, top in zip(rows, tops, strict=False):
            draw_row(ax, row, top)
        draw_label(ax, softmax.name, str(len(softmax.output)), tops[-1])
        ax.set(xlim=(0, PAGE), ylim=(end, 0), aspect="equal")
        ax.axis("off")
        longest = max(len(cut(str(label), LONGEST_LABEL)) for label in self.trace.classes.tolist())
        left = (LABELS + 0.1 + longest / LETTERS) / PAGE
        scores = ax.inset_axes((left, 0, 1 - left, 1 - tops[-1] / end))
        ClassScoresDisplay.from_trace(self.trace, ax=scores)
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


def as_maps(values: NDArray[Any]) -> NDArray[Any]:
    """Give values as maps (n, height, width); what has no height and width becomes one map, NaN where it ends early.

    Channels of one row or column become the rows of the map, and features or channels of one number a strip.

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


def as_pictures(image: NDArray[Any]) -> NDArray[np.float64]:
    """Give an image (channels, height, width) as pictures (n, height, width, RGBA): one of RGB, else one a channel."""
    low, high = (0, 255) if image.dtype == np.uint8 else (float(image.min()), float(image.max()))
    scaled = (image - low) / max(high - low, 1e-30)
    in_colour = len(image) == 3 and min(image.shape[1:]) > 1
    maps = scaled.transpose(1, 2, 0)[np.newaxis] if in_colour else as_maps(scaled)[..., np.newaxis]
    pictures = np.ones((*maps.shape[:3], 4))
    pictures[..., :3] = np.nan_to_num(maps)
    pictures[..., 3] = ~np.isnan(maps[..., 0])
    return pictures


def signed_colours(values: NDArray[Any]) -> NDArray[np.float64]:
    """Colour numbers, RGBA in a last axis of 4: orange above zero, blue below, the more opaque the farther from it."""
    numbers = np.nan_to_num(values.astype(float))
    colours = np.empty((*values.shape, 4))
    colours[:] = to_rgba(ORANGE)
    colours[numbers < 0] = to_rgba(BLUE)
    # The power lifts small numbers out of a dark page.
    colours[..., 3] = (np.abs(numbers) / max(float(np.abs(numbers).max()), 1e-30)) ** 0.75
    return colours


def in_words(values: NDArray[Any]) -> str:
    """Say what the colours of numbers mean, from the lowest to the highest."""
    low, high = (f"{value:.3g}".replace("-", "−") for value in (np.nanmin(values), np.nanmax(values)))
    ends = ([f"{low} (blue)"] if np.nanmin(values) < 0 else [], [f"{high} (orange)"] if np.nanmax(values) > 0 else [])
    return " … ".join((*ends[0], "0", *ends[1]))


def frame(ax: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draw a thin line around a picture, so that an empty one is seen."""
    left, right, bottom, top = extent
    ax.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=INK, alpha=0.5, linewidth=0.5)
    )


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a :class:`TraceDisplay`: RGBA pictures of so many inches, as many of them as there is room for."""

    name: str
    size: str
    pictures: NDArray[np.float64]
    width: float
    height: float

    @classmethod
    def of(cls, name: str, values: NDArray[Any], pictures: NDArray[np.float64]) -> "Row":
        """Find room for the pictures of a layer's output."""
        n, height, width, _ = pictures.shape
        room = PAGE - LABELS - GAP
        are_maps = values.shape[1:] == (height, width) and height > 1
        pixel = min(0.56 / height, room / width) if are_maps else min(0.16, room / width, 1.2 / height)
        chosen = spread(n, int((room + GAP) / (width * pixel + GAP)))
        some = f"{len(chosen)} of " if len(chosen) < n else ""
        size = f"{some}{len(values)} × {height}×{width}" if are_maps else "×".join(map(str, values.shape))
        return cls(name, size, pictures[chosen], width * pixel, height * pixel)


def draw_row(ax: Axes, row: Row, top: float) -> None:
    """Draw a layer's name and its pictures, side by side."""
    draw_label(ax, row.name, row.size, top)
    for place, picture in enumerate(row.pictures):
        left = LABELS + place * (row.width + GAP)
        extent = (left, left + row.width, top + row.height, top)
        ax.imshow(picture, extent=extent, interpolation="none")
        frame(ax, extent)


def draw_label(ax: Axes, name: str, size: str, top: float) -> None:
    """Name a layer, and say how large its output is."""
    text = f"{cut(name, int(LABELS * LETTERS))}\n{size}"
    ax.text(0, top, text, va="top", fontsize=SMALL, color=INK, parse_math=False, linespacing=1.2)


def spread(n: int, most: int) -> list[int]:
    """Choose at most so many of n, evenly.

    Examples
    --------
    >>> spread(3, 4), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    chosen: list[int] = np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()
    return chosen


def of_all(chosen: Sequence[int] | NDArray[Any], n: int) -> str:
    """Say how many were chosen, where not all were."""
    return f" ({len(chosen)} of {n})" if len(chosen) < n else ""
