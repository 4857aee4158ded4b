"""``RECIPES``: sets of ``CNNClassifier`` parameters that go well together, each for one purpose.

A recipe is a plain dictionary, so that any of its values can be overridden:

>>> from cnnclf import RECIPES, CNNClassifier
>>> clf = CNNClassifier(**RECIPES["accurate"] | {"max_epochs": 1}, random_state=0)
>>> clf.architecture, clf.lr
('accurate', 0.004)

Small networks that differ in their seed alone and vote with their probabilities are more accurate than one:

>>> from sklearn.ensemble import VotingClassifier
>>> members = [(str(seed), CNNClassifier(**RECIPES["tiny"], random_state=seed)) for seed in range(5)]
>>> committee = VotingClassifier(members, voting="soft")
"""

from typing import Any

from cnnclf._utils.text import did_you_mean, quote

# Other parameters keep the constructor's defaults. benchmarks/accuracy.md measures the effect of each piece.
RECIPES: dict[str, dict[str, Any]] = {
    # The fewest seconds to 99 % on MNIST.
    "one_epoch": {
        "architecture": "compact",
        "max_epochs": 1,  # every image is used once
        "batch_size": 192,  # a tenth less time than with 128, at slightly lower accuracy
        "optimizer": "adamw",  # what it was tuned with
        "label_smoothing": 0.1,  # so that images already classified correctly still give gradients
    },
    # Most of a small network's best accuracy, in little time.
    "compact": {
        "architecture": "compact",
        "max_epochs": 5,  # twice as many remove a seventh of the mistakes
        "optimizer": "adamw",  # what it was tuned with, as is the rate
        "lr": 0.005,
        "label_smoothing": 0.05,  # prevents overconfidence on ambiguous images
        "augment": "affine",  # how handwriting differs: slant, size and position
        "weight_averaging": True,  # removes the noise of the last steps
    },
    # The fewest parameters, trained for long.
    "tiny": {
        "architecture": "tiny",
        "max_epochs": 30,  # a small network learns slowly
        "optimizer": "adamw",  # what it was tuned with
        "augment": "affine",  # over so many epochs the images should vary
        "weight_averaging": True,  # removes the noise of the last steps, to which few weights are most sensitive
    },
    # The most accurate, at several times the cost.
    "accurate": {
        "architecture": "accurate",
        "max_epochs": 12,  # random changes make each epoch new; more epochs gain nothing
        "optimizer": "adamw",  # what it was tuned with, as is the rate; more layers tolerate shorter steps
        "lr": 0.004,
        "label_smoothing": 0.05,  # prevents overconfidence on ambiguous images
        "augment": "affine",  # how handwriting differs: slant, size and position
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
        For an unknown name; the error suggests the nearest known one.

    Examples
    --------
    >>> find_recipe("one_epoch")
    {'architecture': 'compact', 'max_epochs': 1, 'batch_size': 192, 'optimizer': 'adamw', 'label_smoothing': 0.1}
    """
    if name in RECIPES:
        return RECIPES[name]
    raise ValueError(
        f"Expected recipe to be one of {', '.join(RECIPES)}; got {quote(name)}.{did_you_mean(name, RECIPES)}"
    )
