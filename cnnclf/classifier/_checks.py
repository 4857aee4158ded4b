"""Every constructor parameter checked when `fit` begins."""

import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import BatchScoring, Callback, EpochScoring, LRScheduler
from torch import nn

from cnnclf._utils.text import quote
from cnnclf.architectures._table import find_architecture
from cnnclf.images._spec import PREPARATIONS
from cnnclf.training._augmentation import AUGMENTATIONS
from cnnclf.training._schedules import OPTIMIZERS, SCHEDULES

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


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check every constructor parameter; the sentence names it, what was expected and what came."""
    architecture = parameters["architecture"]
    if isinstance(architecture, str):
        find_architecture(architecture)
    elif isinstance(architecture, nn.Module):
        raise TypeError(
            "architecture must be a name or a callable (image_shape, n_classes) -> nn.Module; "
            f"got a {type(architecture).__name__}, which is a module already. "
            "Pass a function that makes it, so that every fit starts from new weights."
        )
    elif not callable(architecture):
        raise TypeError(
            "architecture must be a name or a callable (image_shape, n_classes) -> nn.Module; "
            f"got {quote(architecture)}."
        )
    for name, (is_valid, expected) in PARAMETERS.items():
        value = parameters[name]
        if not is_valid(value):
            raise ValueError(f"{name} must be {expected}; got {quote(value)}.")


def is_exactly(value: object, name: str) -> bool:
    return isinstance(value, str) and value == name


def is_bool(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not is_bool(value)


def is_real(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and not is_bool(value) and math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


def is_device(name: str) -> bool:
    try:
        return name == "auto" or torch.device(name).type != "meta"  # meta tensors hold no numbers
    except RuntimeError:
        return False


def is_seed(value: Any) -> bool:
    return value is None or isinstance(value, np.random.RandomState) or (is_int(value) and 0 <= value < 2**32)


def is_path(value: object) -> bool:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    return isinstance(path, str) and path != ""


def is_callback(value: object) -> bool:
    callback = value[1] if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) else value
    return isinstance(callback, Callback) or (isinstance(callback, type) and issubclass(callback, Callback))


def names_augmentations(value: object) -> bool:
    names = [value] if isinstance(value, str) else value
    return isinstance(names, list | tuple) and all(isinstance(n, str) and n in AUGMENTATIONS for n in names)


def is_class_weight(value: object) -> bool:
    return isinstance(value, dict) and all(is_real(weight) and weight >= 0 for weight in value.values())


# What every parameter must be: a test and the sentence that says so.
PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_epochs": (lambda v: is_int(v) and v >= 1, "an integer of at least 1"),
    "batch_size": (lambda v: is_exactly(v, "auto") or (is_int(v) and v >= 1), "'auto' or an integer of at least 1"),
    "lr": (lambda v: is_real(v) and v > 0, "a number above 0"),
    "optimizer": (lambda v: isinstance(v, str) and v in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
    "lr_schedule": (lambda v: isinstance(v, str) and v in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
    "weight_decay": (lambda v: is_real(v) and v >= 0, "a number of at least 0"),
    "label_smoothing": (lambda v: is_real(v) and 0 <= v < 1, "a number in [0, 1)"),
    "augment": (
        lambda v: v is None or callable(v) or names_augmentations(v),
        f"None, one or several of {', '.join(AUGMENTATIONS)}, or a callable from batch to batch",
    ),
    "weight_averaging": (lambda v: is_bool(v), "True or False"),
    "early_stopping": (lambda v: is_bool(v), "True or False"),
    "validation_fraction": (lambda v: is_real(v) and 0 < v < 1, "a number in (0, 1)"),
    "patience": (lambda v: is_int(v) and v >= 1, "an integer of at least 1"),
    "class_weight": (
        lambda v: v is None or is_exactly(v, "balanced") or is_class_weight(v),
        "None, 'balanced' or a dict from class to a weight of at least 0",
    ),
    "image_shape": (lambda v: v is None or isinstance(v, Sequence), "None or (channels, height, width)"),
    "preparation": (
        lambda v: v is None or (isinstance(v, str) and v in PREPARATIONS),
        f"None or one of {', '.join(PREPARATIONS)}",
    ),
    "precision": (lambda v: isinstance(v, str) and v in ("auto", "float32", "bfloat16"), "auto, float32 or bfloat16"),
    "device": (lambda v: isinstance(v, str) and is_device(v), "'auto' or the name of a torch device"),
    "compile": (lambda v: is_bool(v), "True or False"),
    "warm_start": (lambda v: is_bool(v), "True or False"),
    "checkpoint": (lambda v: v is None or is_path(v), "None or the path of a folder"),
    "callbacks": (
        lambda v: v is None or (isinstance(v, list | tuple) and all(map(is_callback, v))),
        "None or a list of skorch callbacks",
    ),
    "random_state": (is_seed, "None, an integer from 0 to 2**32 - 1 or a RandomState"),
    "verbose": (lambda v: is_bool(v) or (is_int(v) and v >= 0), "an integer of at least 0"),
}

# What the history has of validation data, for callbacks that watch it.
