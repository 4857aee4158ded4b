"""Displays of data: class sizes and grids of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from cnnclf._utils.text import percent, short
from cnnclf.evaluation._records import Mistake, ReliabilityBin
from cnnclf.plots._style import (
    BLUE,
    INK,
    ORANGE,
    PAGE,
    SMALL,
    Display,
    Picture,
    cell_size,
    draw_grid,
    grid_shape,
    in_percent,
    legend_above,
    one_row_each,
    tidy,
)


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
    >>> from cnnclf.plots import ImageGridDisplay
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
