"""Every constructor parameter of the estimator: what it is, what may be given, and why its default is what it is."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Hyperparameter:
    """One parameter, explained.

    Attributes
    ----------
    meaning : str
        What it is, in one line.
    range : str
        What may be given; after a semicolon, what is usual.
    reason : str
        Why the default is what it is, and who says so.
    on_mnist : str
        What of it holds for MNIST.
    """

    meaning: str
    range: str
    reason: str
    on_mnist: str = ""


@dataclass(frozen=True)
class Setting:
    """One parameter of one classifier.

    Attributes
    ----------
    name : str
        The parameter.
    value : str
        What it is here, and what "auto" became where the classifier is fitted.
    default : str
        What it is where nothing is said; empty where the constructor has no default.
    is_default : bool
        Whether it was left as it is where nothing is said.
    meaning, range, reason : str
        As in :class:`Hyperparameter`; empty for a parameter that is not in the table. The reason is empty, too, where
        another value than the default was set: it speaks for the default.
    """

    name: str
    value: str
    default: str
    is_default: bool
    meaning: str
    range: str
    reason: str


# In the order in which they are explained. “Measured here”: on MNIST's validation images, means of three seeds.
HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "architecture": Hyperparameter(
        "which layers, in which order",
        "a name of list_architectures(), or a function (image_shape, n_classes) -> nn.Module",
        "Small images need few layers: 'compact' has two convolutions, as LeNet-5 (LeCun et al. 1998), with batch "
        "normalisation (Ioffe & Szegedy 2015), so that it learns in few epochs.",
        on_mnist="Measured here: 99.32 % after five epochs.",
    ),
    "max_epochs": Hyperparameter(
        "how often every training image is seen",
        "a whole number, 1 or more; 5 to 20 is usual",
        "",
        on_mnist="Measured here: 98.97 to 99.07 % after 1 epoch, 99.32 % after 5, 99.38 % after 10. The second five "
        "bring 0.06 points: more time would bring little.",
    ),
    "batch_size": Hyperparameter(
        "images a step of the optimiser looks at",
        "'auto', or a whole number, 1 or more; 16 to 256 is usual",
        "Small batches generalise best (Masters & Luschi 2018 find 2 to 32), larger ones use the processor better. "
        "'auto' gives about a hundred steps an epoch within 16 and 128: few images still make enough steps.",
        on_mnist="MNIST's 60,000 get 128.",
    ),
    "lr": Hyperparameter(
        "peak learning rate: how far a step goes",
        "a number above 0; 0.0001 to 0.1 is usual",
        "Adam's usual 0.001 (Kingma & Ba 2015) is meant for a rate that stays. A one-cycle schedule is at its peak "
        "only for a moment and bears a higher one (Smith 2018), the more so with batch normalisation (Ioffe & "
        "Szegedy 2015).",
    ),
    "optimizer": Hyperparameter(
        "the rule that turns gradients into steps",
        "'adamw', 'adam' or 'sgd'",
        "Adam scales the step of each weight by its own gradients, so one rate suits all layers (Kingma & Ba 2015). "
        "AdamW takes weight decay out of that scaling, which generalises better and leaves the two to be chosen "
        "apart (Loshchilov & Hutter 2019).",
    ),
    "lr_schedule": Hyperparameter(
        "how the learning rate changes from step to step",
        "'one_cycle', 'cosine' or 'constant'",
        "One cycle (Smith 2018) reaches a good network in few epochs: it starts low while the weights are random, "
        "rises over the first 30 % of the steps, where large steps regularise, and falls to zero, where the weights "
        "settle.",
    ),
    "weight_decay": Hyperparameter(
        "pull of every weight towards zero",
        "a number, 0 or more; 0.0001 to 0.1 is usual",
        "torch's own default for AdamW, the decoupled decay of Loshchilov & Hutter 2019. Biases and normalisation are "
        "exempt, as in He et al. 2019.",
    ),
    "label_smoothing": Hyperparameter(
        "share of the target spread over the other classes",
        "a number from 0 to 1, 1 excluded; 0 to 0.1 is usual",
        "Off, so that the loss is the plain cross-entropy, which is scikit-learn's log loss, and runs compare. With "
        "0.1, Szegedy et al. 2016 gained 0.2 points on ImageNet. The probabilities then say less than the network "
        "knows: leave it off where they matter more than the class.",
        on_mnist="Measured here, on handwriting of people who were not trained on: 0.05 brings 99.62 % instead of "
        "99.51 % after ten epochs with 'affine'.",
    ),
    "augment": Hyperparameter(
        "random changes to each training image",
        "None, 'shift', 'affine', 'elastic', 'erase', several of them in a list, or a function from batch to batch",
        "Off, because which change leaves a class alone depends on the data: a shifted digit is the same digit (Simard "
        "et al. 2003), a shift of other images may not be harmless.",
        on_mnist="Measured here: 'shift' brings 99.40 % instead of 99.32 % after five epochs.",
    ),
    "weight_averaging": Hyperparameter(
        "whether the final weights are a moving average",
        "True or False",
        "Averaging takes the noise of the last steps out of the weights (Polyak & Juditsky 1992). A schedule that ends "
        "at zero leaves little of that noise, so it is off; with lr_schedule='constant' it is worth a try.",
    ),
    "early_stopping": Hyperparameter(
        "whether to stop when validation no longer improves",
        "True or False",
        "Off, because the one-cycle schedule is at its best at its end, and because stopping needs validation images, "
        "from which the network then cannot learn.",
        on_mnist="Measured here, ten epochs do not overfit: 99.38 % against 99.32 % after five.",
    ),
    "validation_fraction": Hyperparameter(
        "share of the training images kept for early stopping, when no validation images are given",
        "a number between 0 and 1, both excluded; 0.05 to 0.3 is usual",
        "What is held out is missing for learning, and the fewer are held out, the wider the interval (Kohavi 1995).",
        on_mnist="A tenth of MNIST, 6,000 images, gives an accuracy of 99 % a standard error of "
        "√(.99 · .01 / 6000) = 0.13 points.",
    ),
    "patience": Hyperparameter(
        "epochs without improvement before stopping early",
        "a whole number, 1 or more; 3 to 10 is usual",
        "A validation loss goes up and down before it is at its best, so the first rise is no reason to stop; waiting "
        "longer brings little and costs much time (Prechelt 1998). Five is half of the default's ten epochs.",
    ),
    "class_weight": Hyperparameter(
        "how much the images of each class count",
        "None, 'balanced', or a dict from class to a weight of 0 or more",
        "Every image counts the same, as in every scikit-learn classifier.",
        on_mnist="MNIST's classes are nearly balanced, from 9.0 % (5) to 11.2 % (1) of its training images, and need "
        "no weights.",
    ),
    "image_shape": Hyperparameter(
        "(channels, height, width), where the data does not tell",
        "None, or three whole numbers (channels, height, width)",
        "The shape of the array tells, and a flat row of 784 numbers is a square grey image of 28 × 28. Only rows that "
        "are no square grey images, and an ambiguous order of channels, need words.",
    ),
    "preparation": Hyperparameter(
        "how a picture file becomes an image of this network",
        "None, 'resize', 'pad' or 'handwriting'",
        "Whether a picture is a page with a digit on it, to be cut out and centred, or a photograph, to be kept whole, "
        "cannot be seen from the training images. None guesses nothing: a picture of their size is taken as it is.",
    ),
    "precision": Hyperparameter(
        "number format of the training arithmetic",
        "'auto', 'float32' or 'bfloat16'",
        "bfloat16 has float32's range in half the bits, so training needs no change of its settings (Kalamkar et al. "
        "2019). 'auto' takes it only where the processor multiplies it natively, and float32 elsewhere; prediction is "
        "always float32.",
    ),
    "device": Hyperparameter(
        "where the arithmetic is done",
        "'auto', or the name of a torch device such as 'cpu' or 'cuda'",
        "'auto' takes a CUDA GPU where there is one, else the CPU, so that the same program runs everywhere. Such "
        "small networks do not need more than a CPU.",
    ),
    "compile": Hyperparameter(
        "whether the network is compiled before training",
        "True or False",
        "Compiling needs a C++ compiler and many seconds before the first step, which the short training of a small "
        "network seldom gives back.",
    ),
    "warm_start": Hyperparameter(
        "whether fit goes on from the weights of the last fit",
        "True or False",
        "scikit-learn's convention: fit forgets what was before, so that the same data and seed give the same network.",
    ),
    "checkpoint": Hyperparameter(
        "the folder that keeps a fit epoch by epoch, so that a stopped one goes on",
        "None, or the path of a folder, in which '{fit}' gives each fit a folder of its own",
        "None, because nobody wants files that nobody asked for. A small network is trained again in less time than "
        "it takes to look for a folder; give one where training takes hours.",
    ),
    "callbacks": Hyperparameter(
        "code called after every epoch",
        "None, or a list of skorch callbacks or of (name, callback) pairs",
        "Nothing has to be watched or changed from outside for a network to learn; the history of every epoch is kept "
        "anyway.",
    ),
    "random_state": Hyperparameter(
        "seed of every random choice",
        "None, a whole number from 0 to 4294967295, or a numpy RandomState",
        "scikit-learn's convention: None draws a new seed in every fit, so that nobody takes one lucky seed for the "
        "truth (Bouthillier et al. 2021 show how much it moves results). Give a number to get the same network again.",
    ),
    "verbose": Hyperparameter(
        "whether progress is shown",
        "a whole number, 0 or more; 0 is silent, 1 shows a progress bar",
        "Silent, as scikit-learn's estimators are: a search fits hundreds of networks.",
    ),
}


def explain(clf: Any, *, on_mnist: bool = False, usual: Mapping[str, Any] | None = None) -> tuple[Setting, ...]:
    """Explain every parameter of a classifier.

    Parameters
    ----------
    clf : CNNClassifier
        Fitted or not; read: its parameters, its constructor's defaults, and from ``net_`` what "auto" became.
    on_mnist : bool, default=False
        Whether it learnt MNIST, so that what was measured there holds.
    usual : mapping, optional
        Values that whoever made the classifier sets where nothing is said, in place of the constructor's defaults.

    Returns
    -------
    tuple of Setting
        One a parameter, in the order of ``HYPERPARAMETERS``; parameters that are not there, of a subclass, last.

    Examples
    --------
    >>> from cnnclf import CNNClassifier
    >>> from cnnclf.classifier._parameters import explain
    >>> settings = {setting.name: setting for setting in explain(CNNClassifier(lr=0.01))}
    >>> settings["lr"].value, settings["lr"].default, settings["lr"].is_default
    ('0.01', '0.005', False)
    >>> settings["optimizer"].range
    "'adamw', 'adam' or 'sgd'"
    """
    parameters = clf.get_params(deep=False)
    arguments = inspect.signature(type(clf).__init__).parameters.values()
    defaults = {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}
    return tuple(
        explain_parameter(name, parameters[name], resolved(clf, name), defaults, usual or {}, on_mnist=on_mnist)
        for name in sorted(parameters, key=place_of)
    )


def explain_parameter(
    name: str, given: Any, value: str, defaults: Mapping[str, Any], usual: Mapping[str, Any], *, on_mnist: bool
) -> Setting:
    """Put together what one parameter is here, what it would be, and what the table says about it."""
    known = HYPERPARAMETERS.get(name, Hyperparameter("", "", ""))
    speaks_for_it = name in defaults and is_same(given, defaults[name])
    reason = f"{known.reason} {known.on_mnist if on_mnist else ''}".strip() if speaks_for_it else ""
    defaults = {**defaults, **usual}
    is_default = name in defaults and is_same(given, defaults[name])
    return Setting(
        name=name,
        value=value,
        default=readable(defaults[name]) if name in defaults else "",
        is_default=is_default,
        meaning=known.meaning,
        range=known.range,
        reason=reason,
    )


def is_same(value: Any, default: Any) -> bool:
    """Tell whether a value reads as the default does and is text where that is text: a function has a name, too."""
    return readable(value) == readable(default) and isinstance(value, str) == isinstance(default, str)


def place_of(parameter: str) -> int:
    """Put the parameters in the order in which they are explained, unknown ones last."""
    return [*HYPERPARAMETERS, parameter].index(parameter)


def readable(value: Any) -> str:
    """Write a parameter's value the same way in every run: no memory addresses.

    Examples
    --------
    >>> readable(0.003), readable(None), readable("adamw"), readable(readable), readable(object())
    ('0.003', 'None', 'adamw', 'readable', 'object(…)')
    """
    match value:
        case str():
            return value
        case np.generic():
            return readable(value.item())
        case None | bool() | int() | float():
            return repr(value)
        case list() | tuple():
            inside = ", ".join(readable(item) for item in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        case dict():
            return "{" + ", ".join(f"{readable(key)}: {readable(item)}" for key, item in value.items()) + "}"
        case os.PathLike():
            return str(value)
        case _ if hasattr(value, "__qualname__"):
            return str(value.__qualname__)
    return f"{type(value).__name__}(…)"


def resolved(clf: Any, parameter: str) -> str:
    """Write out a parameter, with what "auto" became where the classifier is fitted."""
    value = readable(getattr(clf, parameter))
    net = getattr(clf, "net_", None)
    return f"auto: {readable(getattr(net, parameter))}" if value == "auto" and hasattr(net, parameter) else value
