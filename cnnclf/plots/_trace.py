"""Displays of a trace: feature maps, kernels, class scores, and all layers that one image passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnnclf._utils.text import cut, of_all, percent, quote, share_of
from cnnclf.plots import _style as style
from cnnclf.plots._style import BLUE, INK, LETTERING, LETTERS, LONGEST_LABEL, PAGE, SMALL

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Trace

MOST_SCORES = 20  # classes with a bar
LABELS, GAP = 1.4, 0.06  # inches: width of the names in a trace, and between two of its pictures


@dataclass
class FeatureMapsDisplay(style.Display):
    """The feature maps of one layer: positive numbers orange, negative ones blue, zero transparent.

    All maps share one scale. Features without height and width are drawn as rows of at most 64.

    Parameters
    ----------
    values : ndarray of shape (channels, height, width) or (features,)
        The output of the layer.
    name : str
        The layer's name.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure, and the one axes of all maps.

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

    @classmethod
    def from_trace(cls, trace: "Trace", layer: str, *, ax: Axes | None = None) -> "FeatureMapsDisplay":
        """Draw the output of one layer of a traced network."""
        return cls(trace[layer].output, layer).plot(ax)

    def _inches(self) -> tuple[float, float]:
        n, height, width = style.as_maps(self.values).shape
        rows, columns = style.grid_shape(n, most_columns(n))
        # Few maps need not fill the page, unless they are long.
        inches = PAGE if width > 4 * height else PAGE * min(1.0, max(columns, 4) / 8)
        return inches, 0.4 + rows * (0.2 + inches / columns * height / width)

    def _draw(self, ax: Axes) -> None:
        maps = style.as_maps(self.values)
        numbers = [""] if len(maps) == 1 else [str(k) for k in range(len(maps))]
        style.draw_grid(ax, style.signed_colours(maps), numbers, most_columns(len(maps)))
        for image in ax.images:
            frame(ax, image.get_extent())
        style.caption(ax, f"{self.name}: {in_words(maps)}")


@dataclass
class KernelsDisplay(style.Display):
    """The kernels of a convolution: one column per output channel, one row per input channel.

    Positive weights are orange, negative ones blue, zero is transparent. Of more than 16 channels, 16 are drawn, evenly
    spaced, with their numbers beside them.

    Parameters
    ----------
    weight : ndarray of shape (out_channels, in_channels, height, width)
        The weights; the input channels are those of the group.
    name : str
        The layer's name.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

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
            raise ValueError(
                f"Expected a convolution; got {quote(layer)} ({step.description}). Choose a layer of kind 'conv'."
            )
        return cls(step.weights["weight"], layer).plot(ax)

    def _inches(self) -> tuple[float, float]:
        n_outputs, n_inputs, height, width = self.weight.shape
        return 1.0 + 0.42 * min(max(n_outputs, 4), 16), 0.9 + 0.42 * min(n_inputs, 16) * height / width

    def _draw(self, ax: Axes) -> None:
        n_outputs, n_inputs, height, width = self.weight.shape
        outputs, inputs = spread(n_outputs, 16), spread(n_inputs, 16)
        colours = style.signed_colours(self.weight)
        for x, output in enumerate(outputs):
            for y, channel in enumerate(inputs):
                extent = (x - 0.43, x + 0.43, (y + 0.43) * height / width, (y - 0.43) * height / width)
                draw_framed(ax, colours[output, channel], extent)
        style.tidy(ax)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set(xlim=(-0.5, len(outputs) - 0.5), ylim=((len(inputs) - 0.5) * height / width, -0.5 * height / width))
        ax.set_aspect("equal")
        ax.set_xticks(range(len(outputs)), [str(k) for k in outputs])
        ax.set_yticks([y * height / width for y in range(len(inputs))], [str(k) for k in inputs])
        ax.set_xlabel("output channel" + of_all(len(outputs), n_outputs))
        ax.set_ylabel("input channel" + of_all(len(inputs), n_inputs))
        style.caption(ax, f"{self.name}: {in_words(self.weight)}")


@dataclass
class ClassScoresDisplay(style.Display):
    """The probability of each class as a bar; the prediction is bold and blue.

    Parameters
    ----------
    classes : sequence of label
        The labels.
    probabilities : sequence of float
        One per class, 0..1. Of more than 20 classes, the 20 most probable are drawn.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure and the axes of the plot.

    Examples
    --------
    >>> from cnnclf.plots import ClassScoresDisplay
    >>> display = ClassScoresDisplay(["cat", "dog"], [0.02, 0.98]).plot()
    >>> [text.get_text() for text in display.ax_.texts]
    ['2.00 %', '98.00 %']
    """

    classes: Sequence[Any]
    probabilities: Sequence[float]

    @classmethod
    def from_trace(cls, trace: "Trace", *, ax: Axes | None = None) -> "ClassScoresDisplay":
        """Draw the probabilities at the end of a traced network."""
        return cls(trace.classes.tolist(), trace.probabilities.tolist()).plot(ax)

    def _inches(self) -> tuple[float, float]:
        return 5.4, 0.5 + 0.25 * min(len(self.probabilities), MOST_SCORES)

    def _draw(self, ax: Axes) -> None:
        values = np.asarray(self.probabilities)
        best = int(values.argmax())
        # In the order of the classes if there is room for all.
        order = np.arange(len(values)) if len(values) <= MOST_SCORES else np.argsort(-values, kind="stable")
        order = order[:MOST_SCORES]
        fills = [to_rgba(BLUE) if k == best else to_rgba(INK, 0.55) for k in order]
        ax.barh(range(len(order)), values[order], height=0.66, color=fills)
        for y, k in enumerate(order):
            weight = "bold" if k == best else "normal"
            text = percent(share_of(values.tolist(), int(k)))
            ax.text(values[k] + 0.01, y, text, va="center", fontsize=SMALL, color=INK, fontweight=weight)
        style.tidy(ax)
        style.one_row_each(ax, [self.classes[k] for k in order])
        ax.get_yticklabels()[int(np.flatnonzero(order == best)[0])].set_fontweight("bold")
        ax.spines["bottom"].set_visible(False)
        ax.set_xticks([])
        ax.set_xlim(0, 1.14)  # room for "100.00 %"
        ax.set_xlabel("probability" + of_all(len(order), len(values)))


@dataclass
class TraceDisplay(style.Display):
    r"""One image on its way through a network: pixels, the maps of each layer, class scores.

    One row per layer, in the order in which the image passes them; layers that change nothing are left out. If a layer
    has more maps than fit into a row, evenly spaced ones are drawn and their number is written. Positive numbers are
    orange, negative ones blue, zero is transparent; each layer has its own scale.

    Parameters
    ----------
    trace : Trace
        From ``clf.trace(image)``.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure, and the one axes of all rows; the class scores are an inset.

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

    @classmethod
    def from_trace(cls, trace: "Trace", *, ax: Axes | None = None) -> "TraceDisplay":
        """Draw a traced network."""
        return cls(trace).plot(ax)

    # All lengths are in inches, from the upper left corner.

    @cached_property
    def _rows(self) -> list["Row"]:
        layers = [step for step in self.trace.steps if step.kind != "dropout"][:-1]
        colours = [style.signed_colours(style.as_maps(step.output)) for step in layers]
        image = Row.of("image", self.trace.image, as_pictures(self.trace.image))
        return [image, *(Row.of(step.name, step.output, maps) for step, maps in zip(layers, colours, strict=True))]

    @cached_property
    def _tops(self) -> list[float]:
        tops: list[float] = np.cumsum([0.0, *(max(row.height, 0.34) + 0.16 for row in self._rows)]).tolist()
        return tops

    def _inches(self) -> tuple[float, float]:
        return PAGE, self._tops[-1] + 0.25 * min(len(self.trace.classes), MOST_SCORES)

    def _draw(self, ax: Axes) -> None:
        tops, (_, end) = self._tops, self._inches()
        for row, top in zip(self._rows, tops, strict=False):
            draw_row(ax, row, top)
        draw_label(ax, self.trace.steps[-1].name, str(len(self.trace.classes)), tops[-1])
        ax.set(xlim=(0, PAGE), ylim=(end, 0), aspect="equal")
        ax.axis("off")
        longest = max(len(cut(str(label), LONGEST_LABEL)) for label in self.trace.classes.tolist())
        left = (LABELS + 0.1 + longest / LETTERS) / PAGE
        scores = ax.inset_axes((left, 0, 1 - left, 1 - tops[-1] / end))
        ClassScoresDisplay.from_trace(self.trace, ax=scores)


def most_columns(n: int) -> int:
    """Return how many of `n` maps are drawn side by side."""
    return 8 if n <= 32 else 16


def as_pictures(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return an image (channels, height, width) as pictures (n, height, width, RGBA): one of RGB or one per channel."""
    # Bytes are brightness from 0, but not always up to 255: scikit-learn's digits end at 16.
    low, high = 0.0 if image.dtype == np.uint8 else float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-30)
    in_colour = len(image) == 3 and min(image.shape[1:]) > 1
    maps = scaled.transpose(1, 2, 0)[np.newaxis] if in_colour else style.as_maps(scaled)[..., np.newaxis]
    pictures = np.ones((*maps.shape[:3], 4))
    pictures[..., :3] = np.nan_to_num(maps)
    pictures[..., 3] = ~np.isnan(maps[..., 0])
    return pictures


def in_words(values: NDArray[Any]) -> str:
    """Return the legend of the colours, from the lowest number to the highest."""
    low, high = (f"{value:.3g}".replace("-", "−") for value in (np.nanmin(values), np.nanmax(values)))
    ends = ([f"{low} (blue)"] if np.nanmin(values) < 0 else [], [f"{high} (orange)"] if np.nanmax(values) > 0 else [])
    return " … ".join((*ends[0], "0", *ends[1]))


def draw_framed(ax: Axes, picture: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    """Draw a picture with a frame."""
    ax.imshow(picture, extent=extent, interpolation="none")
    frame(ax, extent)


def frame(ax: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draw a thin line around a picture, so that an empty one is visible."""
    left, right, bottom, top = extent
    look: dict[str, Any] = {"fill": False, "edgecolor": INK, "alpha": 0.5, "linewidth": 0.5}
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, **look))


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a :class:`TraceDisplay`: its RGBA pictures, as many as fit, and their width and height in inches."""

    name: str
    size: str
    pictures: NDArray[np.float64]
    width: float
    height: float

    @classmethod
    def of(cls, name: str, values: NDArray[Any], pictures: NDArray[np.float64]) -> "Row":
        """Choose the pictures of a layer's output that fit into a row."""
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
        draw_framed(ax, picture, (left, left + row.width, top + row.height, top))


def draw_label(ax: Axes, name: str, size: str, top: float) -> None:
    """Write the name of a layer and the shape of its output."""
    text = f"{cut(name, int(LABELS * LETTERS))}\n{size}"
    ax.text(0, top, text, va="top", linespacing=1.2, **LETTERING)


def spread(n: int, most: int) -> list[int]:
    """Return at most so many of the numbers below n, evenly spaced.

    Examples
    --------
    >>> spread(3, 4), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    chosen: list[int] = np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()
    return chosen
