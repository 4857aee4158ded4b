"""What may be given for a parameter: a test and the words for it."""

import math
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from cnnclf.architectures._table import find_architecture
from cnnclf.training._augmentation import AUGMENTATIONS


@dataclass(frozen=True)
class Range:
    """What may be given.

    Attributes
    ----------
    holds : callable
        Whether a value may be given.
    words : str
        The same in words, as errors and explanations write it.
    """

    holds: Callable[[Any], bool]
    words: str


def whole_number(least: int, *, auto: bool = False) -> Range:
    """Return the range of whole numbers from `least` on, and of ``"auto"`` where that may be given, too.

    Examples
    --------
    >>> allowed = whole_number(1, auto=True)
    >>> allowed.words, allowed.holds("auto"), allowed.holds(0)
    ("'auto', or a whole number, 1 or more", True, False)
    """
    words = f"a whole number, {least} or more"
    if auto:
        return Range(lambda v: is_exactly(v, "auto") or (is_int(v) and v >= least), f"'auto', or {words}")
    return Range(lambda v: is_int(v) and v >= least, words)


def choice(*names: str, none: bool = False) -> Range:
    """Return the range of some names, and of None where that may be given, too.

    Examples
    --------
    >>> choice("resize", "pad", none=True).words
    "None, 'resize' or 'pad'"
    """
    *others, last = [*(["None"] if none else []), *map(repr, names)]
    words = f"{', '.join(others)} or {last}"
    return Range(lambda v: (none and v is None) or (isinstance(v, str) and v in names), words)


def is_architecture(value: object) -> bool:
    """Check that a value is the name of an architecture or can be called to make a module."""
    if isinstance(value, str):
        find_architecture(value)  # whose error suggests the nearest name
    elif isinstance(value, nn.Module):
        raise TypeError(
            "Expected architecture to be a function (image_shape, n_classes) -> nn.Module; got a "
            f"{type(value).__name__}, which is a module already. "
            "Pass a function that makes it, so that every fit starts from new weights."
        )
    return callable(value) or isinstance(value, str)


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


def is_device(name: object) -> bool:
    try:  # tensors on the device "meta" hold no numbers
        return isinstance(name, str) and (name == "auto" or torch.device(name).type != "meta")
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


def are_callbacks(value: object) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(map(is_callback, value)))


def names_augmentations(value: object) -> bool:
    names = [value] if isinstance(value, str) else value
    return isinstance(names, list | tuple) and all(isinstance(n, str) and n in AUGMENTATIONS for n in names)


def is_class_weight(value: object) -> bool:
    return isinstance(value, dict) and all(is_real(weight) and weight >= 0 for weight in value.values())


SWITCH = Range(is_bool, "True or False")
