"""A dataset by name → training, validation and test images, divided before training.

Each part has a sentence on its origin and its use, which a report prints.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from cnnclf._utils.text import quote, quote_all, say
from cnnclf.datasets._contents import Arrays, Size, pixels
from cnnclf.datasets._load import check_size, describe_contents, find_source, load_contents
from cnnclf.datasets._mnist import load_digits, load_mnist
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._source import WHOLE

TRAINING = "All other images. The network learns from these."
OWN_VALIDATION = "The dataset’s own validation set. Evaluated after every epoch, never trained on."
VALIDATION = "A tenth of each class of the training set. Evaluated after every epoch, never trained on."
TEST_USE = "Evaluated once, at the end."
OWN_TEST = f"The dataset’s own test set. {TEST_USE}"
TEST = f"A fifth of each class, drawn at random first. {TEST_USE}"

# Of each of k classes: the test set gets 2.6 k of 13 k images, validation 1.1 k of the rest, and both need k or more.
ENOUGH = 13

Images = NDArray[Any]
Labels = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels of one split.

    Attributes
    ----------
    origin : str
        Their origin and their use.
    X : ndarray of shape (n, height, width[, channels])
        Raw pixels.
    y : ndarray of shape (n,)
        Labels.
    """

    origin: str
    X: Images
    y: Labels


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset in three parts.

    Attributes
    ----------
    name : str
        Its name in a report.
    note : str
        A warning that a reader must see first; empty where there is none.
    argument : str
        The argument of :func:`load` that loads it again.
    white : int or None
        The pixel value that is white; None where it is not known.
    preparation : str
        The ``preparation`` that does to picture files what was done to these images.
    training, validation, test : Part
        Every image is in one of them.
    description : str
        What was understood of the user's own files, in one line; empty for named data.
    """

    name: str
    note: str
    argument: str
    white: int | None
    preparation: str
    training: Part
    validation: Part
    test: Part
    description: str = ""

    @property
    def parts(self) -> dict[str, Part]:
        """The three parts by name."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def load(
    dataset: str,
    seed: int,
    *,
    size: Size | str | None = None,
    label: str | int | None = None,
    cache: Path | None = None,
) -> Data:
    """Load a dataset and divide it.

    Parameters
    ----------
    dataset : str
        ``mnist``, ``digits``, ``auto`` (MNIST if it is here or can be downloaded, else the digits, with a note on
        stderr), or a path, as for :func:`cnnclf.load_dataset`.
    seed : int
        Decides the part of each image.
    size, label, cache : optional
        As for :func:`cnnclf.load_dataset`, of a path only.

    Returns
    -------
    Data
        The test part is the dataset's own, if it has one, else a fifth of each class; so is the validation part, or a
        tenth of each class of the rest.

    Raises
    ------
    FileNotFoundError
        If `dataset` is ``mnist``, and it is neither here nor can be downloaded.
    ValueError
        If files are damaged, or a class has too few images to divide.

    Examples
    --------
    >>> from cnnclf.datasets import load
    >>> {name: len(part.y) for name, part in load("digits", seed=0).parts.items()}
    {'training': 1293, 'validation': 144, 'test': 360}
    """
    if dataset in ("auto", "mnist"):
        try:
            return mnist(load_mnist("train"), load_mnist("test"), seed)
        except FileNotFoundError as error:
            if dataset == "mnist":
                raise
            say(f"{error}\nUsing scikit-learn's bundled digits instead of MNIST.")
            return digits("MNIST was not found and could not be downloaded", seed)
    if dataset == "digits":
        return digits("they were asked for with --dataset digits", seed)
    return own(dataset, seed, size, label, cache)


def load_part(
    dataset: str, *, training: bool, size: Size | str | None = None, label: str | int | None = None
) -> tuple[str, Images, Labels, int | None]:
    """Load only the training images, or only the test images.

    Parameters
    ----------
    dataset : str
        ``mnist``, ``digits`` or a path, as for :func:`cnnclf.load_dataset`.
    training : bool
        Which of the two; data that come undivided are not divided.
    size, label : optional
        As for :func:`cnnclf.load_dataset`, of a path only.

    Returns
    -------
    name : str
        The data's name in a report.
    X : ndarray of shape (n, height, width[, channels])
        Raw pixels.
    y : ndarray of shape (n,)
        Labels.
    white : int or None
        The pixel value that is white; None where it is not known.
    """
    if dataset == "mnist":
        return ("MNIST", *load_mnist("train" if training else "test"), 255)
    if dataset == "digits":
        data = digits("", seed=0)
        part = data.training if training else data.test
        return data.name, part.X, part.y, data.white
    source = find_source(dataset, label)
    key = source.choose(None if training or WHOLE in source.readers else "test")
    contents = {name: source.readers[name]() for name in {key, source.training}}
    X, y = load_contents(source, contents, check_size(size), None, [key], stacklevel=2)[key]
    return name_own(dataset), X, y, known_white(contents[key], X)


def name_own(path: str | Path) -> str:
    """Return the name of the user's own data in a report."""
    return f"“{Path(path).resolve().name}”"


def mnist(train: tuple[Images, Labels], test: tuple[Images, Labels], seed: int) -> Data:
    """Divide MNIST's training set into training and validation images, and keep its own test set."""
    test_part = Part(f"MNIST’s own test set. {TEST_USE}", *test)
    return Data("MNIST", "", "mnist", 255, "handwriting", *divide_training(*train, seed), test_part)


def digits(reason: str, seed: int) -> Data:
    """Divide scikit-learn's digits; the note gives the reason for using them."""
    X, y = load_digits()
    note = (
        f"These are scikit-learn’s bundled digits, {len(X):,} images of 8 × 8 pixels, and not MNIST, because {reason}. "
        "Results on one do not carry over to the other."
    )
    return Data("scikit-learn’s bundled digits", note, "digits", 16, "handwriting", *divide(X, y, seed))


def own(dataset: str, seed: int, size: Size | str | None, label: str | int | None, cache: Path | None) -> Data:
    """Read the user's own files, and divide what comes undivided."""
    source = find_source(dataset, label)
    key = source.choose(None)
    contents = source.read()
    # Divided before they are loaded, so that each part is a slice of images that lie in memory, or in a file, once.
    y = contents[key].y
    training, validation, test = np.arange(len(y)), np.arange(0), np.arange(0)
    if "test" not in contents:
        training, test, y, _ = stratified(training, y, 0.2, seed)
    if "val" not in contents:
        training, validation, y, _ = stratified(training, y, 0.1, seed)
    contents[key] = contents[key].take(np.concatenate([training, validation, test]))
    loaded = load_contents(source, contents, check_size(size), None, source.splits, cache=cache, stacklevel=2)
    X, y = loaded[key]
    n, n_val = len(training), len(validation)
    parts = {
        "training": Part(TRAINING, X[:n], y[:n]),
        "validation": Part(OWN_VALIDATION, *loaded["val"])
        if "val" in loaded
        else Part(VALIDATION, X[n : n + n_val], y[n : n + n_val]),
        "test": Part(OWN_TEST, *loaded["test"]) if "test" in loaded else Part(TEST, X[n + n_val :], y[n + n_val :]),
    }
    note = ""
    if source.unlabelled:
        note = f"Not evaluated on {quote_all(source.unlabelled)} of these data, which come without labels."
    description, white = describe_contents(source, contents), known_white(contents[key], X)
    if size is not None:
        description += f"; brought to {pixels(X.shape[1:3])}"
    return Data(name_own(dataset), note, dataset, white, "pad", **parts, description=description)


def known_white(content: Arrays | Pictures, X: Images) -> int | None:
    """Return the number that is white in images that were loaded from a content."""
    return content.white if isinstance(content, Arrays) and X is content.X else 255


def divide(X: Images, y: Labels, seed: int) -> tuple[Part, Part, Part]:
    """Set a fifth of each class aside for the test, and a tenth of the rest for validation."""
    X_rest, X_test, y_rest, y_test = stratified(X, y, 0.2, seed)
    return *divide_training(X_rest, y_rest, seed), Part(TEST, X_test, y_test)


def divide_training(X: Images, y: Labels, seed: int) -> tuple[Part, Part]:
    """Set a tenth of each class of the training set aside for validation."""
    X_train, X_val, y_train, y_val = stratified(X, y, 0.1, seed)
    return Part(TRAINING, X_train, y_train), Part(VALIDATION, X_val, y_val)


def stratified(X: Images, y: Labels, share: float, seed: int) -> tuple[Images, Images, Labels, Labels]:
    """Set a share of each class aside."""
    try:
        kept, aside, y_kept, y_aside = train_test_split(X, y, test_size=share, stratify=y, random_state=seed)
    except ValueError as error:
        counts = Counter(y.tolist())
        label, fewest = min(counts.items(), key=lambda item: item[1])
        raise ValueError(
            f"Expected enough images of each class to set {share:.0%} of them aside; got {len(y):,} of "
            f"{len(counts):,} classes, {fewest:,} of {quote(label)}. Add images: {ENOUGH} per class always suffice."
        ) from error
    return kept, aside, y_kept, y_aside
