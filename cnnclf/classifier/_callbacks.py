"""Callbacks of a fit: those that could do nothing are refused."""

from collections.abc import Sequence
from typing import Any

from skorch.callbacks import BatchScoring, EpochScoring, LRScheduler

from cnnclf.training._schedules import SCHEDULES

# What the history has of validation data, for callbacks that watch it.
OF_VALIDATION = {f"{name}{best}" for name in ("valid_loss", "valid_accuracy", "valid_acc") for best in ("", "_best")}


def check_callbacks(callbacks: Sequence[Any] | None, schedule: str, *, validates: bool) -> None:
    """Refuse callbacks that could do nothing: that rule a rate which is ruled, or look at data which is not there."""
    for given in callbacks or ():
        callback = given[1] if isinstance(given, tuple) else given
        callback = callback() if isinstance(callback, type) else callback
        name = type(callback).__name__
        if isinstance(callback, LRScheduler) and SCHEDULES[schedule] is not None:
            raise ValueError(
                f"Expected lr_schedule='constant' beside the callback {name}, which rules the learning rate; "
                f"got lr_schedule={schedule!r}, which overrides it. Pass lr_schedule='constant', or drop the callback."
            )
        measures = isinstance(callback, EpochScoring | BatchScoring) and not callback.on_train
        watches = getattr(callback, "monitor", None) in OF_VALIDATION
        if (measures or watches) and not validates:
            raise ValueError(
                f"Expected validation data for the callback {name}, which has nothing to look at without; got none. "
                "Pass X_val and y_val or early_stopping=True, or let the callback look at training data."
            )
