"""Every parameter of ``CNNClassifier`` in one row: what it is, what may be given, and the reason for its default."""

import math
import numbers
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import BatchScoring, Callback, EpochScoring, LRScheduler
from torch import nn

from cnnclf._utils.text import did_you_mean, quote
from cnnclf.architectures._table import find_architecture
from cnnclf.classifier._recipes import RECIPES
from cnnclf.images._spec import PREPARATIONS
from cnnclf.training._augmentation import AUGMENTATIONS
from cnnclf.training._net import OPTIMIZERS, SCHEDULES

# What the history has of validation data, for callbacks that watch it.
OF_VALIDATION = {f"{name}{best}" for name in ("valid_loss", "valid_accuracy", "valid_acc") for best in ("", "_best")}


@dataclass(frozen=True)
class Range:
    """What may be given.

    Attributes
    ----------
    holds : callable
        Whether a value may be given.
    words : str
        The same in words, as errors and explanations write it.
    names : tuple of str
        The names among it, one of which may have been misspelt.
    """

    holds: Callable[[Any], bool]
    words: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes
    ----------
    meaning : str
        What it is, in one line.
    allowed : Range
        What may be given.
    reason : str
        Why the default is what it is, and who says so.
    usual : str
        Which values are usual, or what single values mean.
    on_mnist : str
        What of the reason holds for MNIST.
    """

    meaning: str
    allowed: Range
    reason: str
    usual: str = ""
    on_mnist: str = ""

    @property
    def range(self) -> str:
        """What may be given and what is usual, in words."""
        return f"{self.allowed.words}; {self.usual}" if self.usual else self.allowed.words


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
    return Range(lambda v: (none and v is None) or (isinstance(v, str) and v in names), words, names)


def is_architecture(value: object) -> bool:
    """Check that a value is the name of an architecture or can be called to make a module."""
    if isinstance(value, str):
        if value in RECIPES:
            raise ValueError(
                f"Expected architecture to be the name of a network; got {quote(value)}, which is a recipe. Pass "
                f"CNNClassifier(**RECIPES[{value!r}]), or --recipe {value} on the command line."
            )
        if value != "auto":
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


def is_augmentation(value: object) -> bool:
    return callable(value) or (isinstance(value, str) and value in AUGMENTATIONS)


def are_augmentations(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(is_augmentation, value))


def is_class_weight(value: object) -> bool:
    return isinstance(value, dict) and all(is_real(weight) and weight >= 0 for weight in value.values())


SWITCH = Range(is_bool, "True or False")

# In the order of the explanations. “Measured here”: on MNIST's validation images, means of three seeds.
PARAMETERS: dict[str, Parameter] = {
    "architecture": Parameter(
        "which layers, in which order",
        Range(
            is_architecture,
            "'auto', a name of list_architectures(), or a function (image_shape, n_classes) -> nn.Module",
        ),
        "'auto' is 'general': a stage of two convolutions for each halving of the image, with batch normalisation "
        "(Ioffe & Szegedy 2015), so that it learns in few epochs, and global pooling (Lin et al. 2014), so that the "
        "number of parameters does not grow with the area of the image.",
    ),
    "max_epochs": Parameter(
        "how often every training image is used",
        whole_number(1, auto=True),
        "'auto' shows the network about 200,000 images, in 4 to 30 epochs; of fewer than 100 rows it shows 3,000, in "
        "30 to 200 epochs, as an optimiser needs some hundred steps however few the images are.",
        usual="4 to 30 is usual",
    ),
    "batch_size": Parameter(
        "images per step of the optimiser",
        whole_number(1, auto=True),
        "Small batches generalise best (Masters & Luschi 2018: 2 to 32), larger ones use the processor better. 'auto' "
        "makes about a hundred steps per epoch, within 16 and 128 images each. A step has two images at least, as "
        "batch normalisation needs them.",
        usual="16 to 256 is usual",
        on_mnist="MNIST's 60,000 get 128.",
    ),
    "lr": Parameter(
        "peak learning rate: how far a step goes",
        Range(lambda v: is_real(v) and v > 0, "a number above 0"),
        "Adam's usual 0.001 (Kingma & Ba 2015) is meant for a constant rate. A one-cycle schedule reaches its peak "
        "only briefly and allows a higher one (Smith 2018), as does batch normalisation (Ioffe & Szegedy 2015).",
        usual="0.0001 to 0.1 is usual",
    ),
    "optimizer": Parameter(
        "how gradients become steps",
        choice(*OPTIMIZERS),
        "Muon makes the step of each convolution orthogonal, so that it learns in all directions equally fast (Jordan "
        "et al. 2024). All other layers take the steps of AdamW (Loshchilov & Hutter 2019). The steps are scaled so "
        "that one rate suits both (Liu et al. 2025).",
    ),
    "lr_schedule": Parameter(
        "how the learning rate changes from step to step",
        choice(*SCHEDULES),
        "One cycle (Smith 2018) reaches a good network in few epochs: the rate starts low while weights are random, "
        "rises over the first 30 % of the steps, which regularises, and falls to zero, so that the weights settle.",
    ),
    "weight_decay": Parameter(
        "pull of every weight towards zero",
        Range(lambda v: is_real(v) and v >= 0, "a number, 0 or more"),
        "torch's own default for AdamW (Loshchilov & Hutter 2019). Biases and norms are exempt (He et al. 2019).",
        usual="0.0001 to 0.1 is usual",
    ),
    "label_smoothing": Parameter(
        "share of the target spread over the other classes",
        Range(lambda v: is_real(v) and 0 <= v < 1, "a number from 0 to 1, 1 excluded"),
        "Off, so that the loss is the plain cross-entropy, scikit-learn's log loss. With 0.1, Szegedy et al. 2016 "
        "gained 0.2 points on ImageNet. Leave it off where probabilities matter more than the class: it flattens them.",
        usual="0 to 0.1 is usual",
        on_mnist="Measured here, on writers who were not trained on: 99.62 % with 0.05 and 99.51 % without, after ten "
        "epochs with 'affine'.",
    ),
    "augment": Parameter(
        "random changes to each training image",
        Range(
            lambda v: v is None or is_exactly(v, "auto") or is_augmentation(v) or are_augmentations(v),
            f"None, 'auto', {', '.join(map(repr, AUGMENTATIONS))}, a function from batch to batch, or a list of names "
            "and functions",
            ("auto", *AUGMENTATIONS),
        ),
        "It depends on the data which changes leave the class as it is: a mirrored cat is a cat, a mirrored 2 is "
        "none. 'auto' tries mirrors and shifts after a short training, and uses those after which images are still "
        "recognised, from 6 epochs on; with 25,000 images or more, mirrors from 4 on. Too few images to try are "
        "shifted. In fewer epochs the network does not memorise the images.",
    ),
    "weight_averaging": Parameter(
        "whether the final weights are a moving average",
        SWITCH,
        "Averaging removes the noise of the last steps from the weights (Polyak & Juditsky 1992). A schedule that ends "
        "at zero leaves little noise, so it is off; with lr_schedule='constant' it is worth a try.",
    ),
    "early_stopping": Parameter(
        "whether to stop when validation no longer improves",
        SWITCH,
        "Off, because the one-cycle schedule is at its best at its end, and because stopping needs validation images, "
        "from which the network then cannot learn.",
        on_mnist="Measured here with 'compact', ten epochs do not overfit: 99.38 % against 99.32 % after five.",
    ),
    "validation_fraction": Parameter(
        "share of the training images kept for early stopping, when no validation images are given",
        Range(lambda v: is_real(v) and 0 < v < 1, "a number between 0 and 1, both excluded"),
        "The network cannot learn from images held out; with fewer, the estimate is less certain (Kohavi 1995).",
        usual="0.05 to 0.3 is usual",
        on_mnist="A tenth of MNIST, 6,000 images, gives an accuracy of 99 % a standard error of "
        "√(.99 · .01 / 6000) = 0.13 points.",
    ),
    "patience": Parameter(
        "epochs without improvement before stopping early",
        whole_number(1),
        "A validation loss goes up and down before its minimum, so the first rise is no reason to stop; waiting longer "
        "brings little and costs much time (Prechelt 1998).",
        usual="3 to 10 is usual",
    ),
    "class_weight": Parameter(
        "how much the images of each class count",
        Range(
            lambda v: v is None or is_exactly(v, "balanced") or is_class_weight(v),
            "None, 'balanced', or a dict from class to a weight of 0 or more",
        ),
        "Every image counts the same, as in every scikit-learn classifier.",
        on_mnist="MNIST's classes are nearly balanced, from 9.0 % (5) to 11.2 % (1) of its training images, and need "
        "no weights.",
    ),
    "image_shape": Parameter(
        "(channels, height, width), where the data does not show it",
        Range(lambda v: v is None or isinstance(v, Sequence), "None, or three whole numbers (channels, height, width)"),
        "The shape of the array is enough; a flat row of 784 numbers is a square grey image of 28 × 28. Only other "
        "flat rows and an ambiguous order of channels need it.",
    ),
    "preparation": Parameter(
        "how a picture file becomes an image of this network",
        choice(*PREPARATIONS, none=True),
        "The training images do not show whether a picture is a page with a digit on it, to be cut out and centred, or "
        "a photograph, to be kept whole. None guesses nothing: a picture of their size is taken as it is.",
    ),
    "precision": Parameter(
        "number format of the training arithmetic",
        choice("auto", "float32", "bfloat16"),
        "bfloat16 has float32's range in half the bits, so no other setting changes (Kalamkar et al. 2019). 'auto' "
        "uses it only where the processor multiplies it natively, else float32; prediction is always float32.",
    ),
    "device": Parameter(
        "where the arithmetic is done",
        Range(is_device, "'auto', or the name of a torch device such as 'cpu' or 'cuda'"),
        "'auto' uses a CUDA GPU where there is one, else the CPU, which is enough for such small networks.",
    ),
    "compile": Parameter(
        "whether the network is compiled before training",
        SWITCH,
        "Compiling needs a C++ compiler and many seconds, which the short training of a small network seldom saves.",
    ),
    "warm_start": Parameter(
        "whether fit continues from the weights of the last fit",
        SWITCH,
        "scikit-learn's convention: fit starts anew, so that the same data and seed give the same network.",
    ),
    "checkpoint": Parameter(
        "the folder in which a fit is saved after every epoch, so that a stopped one can continue",
        Range(
            lambda v: v is None or is_path(v),
            "None, or the path of a folder, in which '{fit}' gives each fit a folder of its own",
        ),
        "None, because a small network is trained again in little time. Give a folder where training takes hours.",
    ),
    "callbacks": Parameter(
        "code called after every epoch",
        Range(are_callbacks, "None, or a list of skorch callbacks or of (name, callback) pairs"),
        "A network learns without them, and the history of every epoch is kept anyway.",
    ),
    "random_state": Parameter(
        "seed of every random choice",
        Range(is_seed, "None, a whole number from 0 to 4294967295, or a numpy RandomState"),
        "scikit-learn's convention: None draws a new seed in every fit, so that no result rests on one lucky seed "
        "(Bouthillier et al. 2021). Give a number to get the same network again.",
    ),
    "verbose": Parameter(
        "whether progress is shown",
        Range(lambda v: is_bool(v) or (is_int(v) and v >= 0), "a whole number, 0 or more"),
        "Silent, as scikit-learn's estimators are: a search fits hundreds of networks.",
        usual="0 is silent, 1 shows a progress bar",
    ),
}


def check_parameters(clf: Any) -> None:
    """Check every parameter of a classifier; the error names it, what was expected and what came."""
    for name, row in PARAMETERS.items():
        value = getattr(clf, name)  # not from get_params, as a subclass may have other parameters
        if not row.allowed.holds(value):
            error = TypeError if name == "architecture" else ValueError
            given = value if isinstance(value, list | tuple) else [value]
            unknown = next((v for v in given if isinstance(v, str) and v not in row.allowed.names), "")
            raise error(
                f"Expected {name} to be {row.allowed.words}; got {quote(value)}. Change {name}."
                + did_you_mean(unknown, row.allowed.names)
            )


def check_callbacks(callbacks: Sequence[Any] | None, schedule: str, *, validates: bool) -> None:
    """Check that no callback is without effect: changes a scheduled rate, or measures missing validation data."""
    for given in callbacks or ():
        callback = given[1] if isinstance(given, tuple) else given
        callback = callback() if isinstance(callback, type) else callback
        name = type(callback).__name__
        if isinstance(callback, LRScheduler) and SCHEDULES[schedule] is not None:
            raise ValueError(
                f"Expected lr_schedule='constant' beside the callback {name}, which changes the learning rate; "
                f"got lr_schedule={schedule!r}, which overrides it. Pass lr_schedule='constant', or drop the callback."
            )
        measures = isinstance(callback, EpochScoring | BatchScoring) and not callback.on_train
        watches = getattr(callback, "monitor", None) in OF_VALIDATION
        if (measures or watches) and not validates:
            raise ValueError(
                f"Expected validation data for the callback {name}, which measures it; got none. "
                "Pass X_val and y_val or early_stopping=True, or let the callback measure training data."
            )
