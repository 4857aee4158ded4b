"""``RECIPES``: sets of ``CNNClassifier`` parameters that go well together, each for one purpose.

A recipe is a plain dictionary, so that any of its values can be overridden:

>>> from cnnclf import RECIPES, CNNClassifier
>>> clf = CNNClassifier(**RECIPES["handwriting_accurate"] | {"max_epochs": 1}, random_state=0)
>>> clf.architecture, clf.lr
('accurate', 0.004)

Small networks that differ in their seed alone and vote with their probabilities are more accurate than one:

>>> from sklearn.ensemble import VotingClassifier
>>> small = RECIPES["handwriting_small"]
>>> members = [(str(seed), CNNClassifier(**small, random_state=seed)) for seed in range(5)]
>>> committee = VotingClassifier(members, voting="soft")
"""

from typing import Any

from cnnclf._utils.text import did_you_mean, quote
from cnnclf.architectures._table import ARCHITECTURES

# What recipes were called before, some of them as their architecture.
FORMER_NAMES = {
    "one_epoch": "first_look",
    "compact": "handwriting",
    "tiny": "handwriting_small",
    "accurate": "handwriting_accurate",
}

# Other parameters keep the constructor's defaults. benchmarks/accuracy.md measures the effect of each piece.
RECIPES: dict[str, dict[str, Any]] = {
    # For a first look: the fewest seconds to 99 %. Measured on MNIST.
    "first_look": {
        "architecture": "compact",  # the fewest seconds to 99 % of all architectures
        "max_epochs": 1,  # every image is used once
        "batch_size": 192,  # a tenth less time than with 128, at slightly lower accuracy
        "optimizer": "adamw",  # what it was tuned with
        "label_smoothing": 0.1,  # so that images already classified correctly still give gradients
    },
    # For handwriting: most of a small network's best accuracy, in little time. Measured on MNIST. "affine" changes
    # slant and size, which hurts on other images: in 0.1.0, 89.9 % on Fashion-MNIST instead of the defaults' 91.8 %.
    "handwriting": {
        "architecture": "compact",  # the fewest seconds to 99 % of all architectures
        "max_epochs": 5,  # twice as many remove a seventh of the mistakes
        "optimizer": "adamw",  # what it was tuned with, as is the rate
        "lr": 0.005,
        "label_smoothing": 0.05,  # prevents overconfidence on ambiguous images
        "augment": "affine",  # how handwriting differs: slant, size and position
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # For handwriting: the same small network, trained for longer. Measured on MNIST. "affine" hurts on other images, as
    # above.
    "handwriting_longer": {
        "architecture": "compact",  # the fewest seconds to 99 % of all architectures
        "max_epochs": 28,  # five to six minutes in float32
        "lr": 0.005,  # half of the default, as for shorter trainings of these layers
        "label_smoothing": 0.05,  # prevents overconfidence on ambiguous images
        # How handwriting differs, and gaps. 24 epochs recognised 99.70 % of the digits of held-out writers, and 99.63
        # without "erase"; one seed.
        "augment": ["affine", "erase"],
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # For handwriting: the fewest parameters, trained for long. Measured on MNIST. "affine" hurts on other images, as
    # above.
    "handwriting_small": {
        "architecture": "tiny",  # fewer than 10,000 parameters
        "max_epochs": 30,  # a small network learns slowly
        "optimizer": "adamw",  # what it was tuned with
        "augment": "affine",  # over so many epochs the images should vary in slant, size and position
        "weight_averaging": True,  # removes the noise of the last steps, to which few weights are most sensitive
    },
    # For handwriting: the fewest mistakes, at several times the cost. Measured on MNIST. "affine" hurts on other
    # images, as above.
    "handwriting_accurate": {
        "architecture": "accurate",  # the most accurate for its compute
        "max_epochs": 12,  # random changes make each epoch new; more epochs gain nothing
        "optimizer": "adamw",  # what it was tuned with, as is the rate; more layers tolerate shorter steps
        "lr": 0.004,
        "label_smoothing": 0.05,  # prevents overconfidence on ambiguous images
        "augment": "affine",  # how handwriting differs: slant, size and position
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # For few handwritten images. Measured on MNIST's first 1,000. "affine" hurts on other images, as above.
    "handwriting_few": {
        "architecture": "general",  # padding and global pooling leave few parameters to learn from few images
        "max_epochs": 60,  # twice as many as by default, as random changes make each epoch new
        "label_smoothing": 0.1,  # prevents overconfidence on images that are soon known by heart
        "augment": "affine",  # how handwriting differs: slant, size and position
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # For clothes, and other things that are photographed the same way up and in the middle. Measured on Fashion-MNIST.
    # Mirror images hurt on handwriting.
    "clothes": {
        "architecture": "general",  # as accurate as `residual` with fewer epochs, in the same time
        "max_epochs": 8,  # twice as many as by default
        "label_smoothing": 0.1,  # prevents overconfidence: a tenth of the shirts might be T-shirts
        "augment": "flip",  # a mirrored shoe is a shoe; six epochs of `residual` were .8 points worse with shifts
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # For photographs of things, in colour. Measured on CIFAR-10 as JPEG; benchmarks/photographs.py measures the effect
    # of each piece. Mirror images hurt on handwriting.
    "photographs": {
        "architecture": "residual",  # no plain network of the same cost was more accurate
        "max_epochs": 12,  # a quarter of an hour in float32
        "batch_size": 256,  # half as many steps of Muon, each of which costs the same; no less accurate than 128
        "weight_decay": 0.1,  # ten times the default; held-out images were recognised no worse
        "label_smoothing": 0.1,  # prevents overconfidence
        "augment": ["flip", "shift"],  # from the other side, and at another place; "crop" moves too far for 12 epochs
        "weight_averaging": True,  # removes the noise of the last steps
    },
}


def find_recipe(name: str) -> dict[str, Any]:
    """Look up a recipe by name.

    Parameters
    ----------
    name : str
        One of ``RECIPES``.

    Returns
    -------
    dict
        Parameters of ``CNNClassifier``.

    Raises
    ------
    ValueError
        For an unknown name; the error gives the new name of a renamed recipe, says that it is an architecture's, or
        suggests the nearest known one.

    Examples
    --------
    >>> find_recipe("first_look")
    {'architecture': 'compact', 'max_epochs': 1, 'batch_size': 192, 'optimizer': 'adamw', 'label_smoothing': 0.1}
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in FORMER_NAMES:
        hint = f" It is called {FORMER_NAMES[name]!r} now."
    elif name in ARCHITECTURES:
        hint = " That is an architecture."
    else:
        hint = did_you_mean(name, RECIPES)
    raise ValueError(f"Expected recipe to be one of {', '.join(RECIPES)}; got {quote(name)}.{hint}")
