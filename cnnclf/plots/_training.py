"""Curves of a fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cnnclf.plots._style import (
    BLUE,
    INK,
    ORANGE,
    SMALL,
    Drawn,
    caption,
    figure_of,
    in_percent,
    new_figure,
    share_limits,
    tidy,
)

STARTS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)  # where an axis of scores may begin


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
        loss, accuracy = new_figure(8.4, 3.2).subplots(1, 2) if ax is None else ax
        self.figure_, self.axes_ = figure_of(loss), (loss, accuracy)
        for axes, quantity in zip(self.axes_, ("loss", "accuracy"), strict=True):
            draw_curves(axes, self.history, quantity)
            mark_lowest(axes, self.history)
        in_percent(accuracy.yaxis)
        return self


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
