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

# What is not named keeps the constructor's default. What each piece brings is measured in benchmarks/accuracy.md.
RECIPES: dict[str, dict[str, Any]] = {
    # The fewest seconds to 99 % on MNIST.
    "one_epoch": {
        "architecture": "compact",
        "max_epochs": 1,  # every image is seen once
        "batch_size": 192,  # a tenth less time than with 128, and a hair less accuracy
        "lr": 0.01,  # so few steps have to be long ones
        "label_smoothing": 0.1,  # keeps the few steps there are busy with images that are right but not yet certain
    },
    # Most of what a small network can reach, in little time.
    "compact": {
        "architecture": "compact",
        "max_epochs": 5,  # twice as many take a seventh of the mistakes away
        "label_smoothing": 0.05,  # keeps the network from being too sure of doubtful images
        "augment": "affine",  # how hands differ: slant, size and place
        "weight_averaging": True,  # takes out the noise of the last steps
    },
    # The fewest parameters, and time to use them well.
    "tiny": {
        "architecture": "tiny",
        "max_epochs": 30,  # a small network learns slowly
        "lr": 0.01,  # few weights, each of which bears a longer step
        "augment": "affine",  # so many epochs over the same images want changes to them
        "weight_averaging": True,  # takes out the noise of the last steps, which few weights feel the most
    },
    # The most accurate, at several times the cost.
    "accurate": {
        "architecture": "accurate",
        "max_epochs": 12,  # random changes make each epoch a new one; more of them bring nothing
        "lr": 0.004,  # more layers in a row bear a little less than the default
        "label_smoothing": 0.05,  # keeps the network from being too sure of doubtful images
        "augment": "affine",  # how hands differ: slant, size and place
        "weight_averaging": True,  # takes out the noise of the last steps
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
        For an unknown name; the sentence offers the nearest known one.

    Examples
    --------
    >>> find_recipe("one_epoch")
    {'architecture': 'compact', 'max_epochs': 1, 'batch_size': 192, 'lr': 0.01, 'label_smoothing': 0.1}
    """
    if name in RECIPES:
        return RECIPES[name]
    raise ValueError(
        f"Expected recipe to be one of {', '.join(RECIPES)}; got {quote(name)}.{did_you_mean(name, RECIPES)}"
    )
