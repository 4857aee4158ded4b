"""A dataset by name → training, validation and test images, divided before training.

Each part has a sentence on its origin and its use, which a report prints.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from cnnclf._utils.text import quote, say
from cnnclf.datasets._folders import load_image_folder
from cnnclf.datasets._mnist import load_digits, load_mnist

TRAINING = "All other images. The network learns from these."
VALIDATION = "A tenth of each class of the training set. Evaluated after every epoch, never trained on."
TEST_USE = "Evaluated once, at the end."

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
    white : int
        The pixel value that is white.
    preparation : str
        The ``preparation`` that does to picture files what was done to these images.
    training, validation, test : Part
        Every image is in one of them.
    """

    name: str
    note: str
    argument: str
    white: int
    preparation: str
    training: Part
    validation: Part
    test: Part

    @property
    def parts(self) -> dict[str, Part]:
        """The three parts by name."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def load(dataset: str, seed: int) -> Data:
    """Load a dataset and divide it.

    Parameters
    ----------
    dataset : str
        ``mnist``, ``digits``, ``auto`` (MNIST if it is here or can be downloaded, else the digits, with a note on
        stderr), or the path of a folder with one sub-folder of images per class.
    seed : int
        Decides the part of each image.

    Returns
    -------
    Data
        The test part is MNIST's own, or a fifth of each class of other data; a tenth of each class of the rest is the
        validation part.

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
    return folder(Path(dataset), seed)


def load_part(dataset: str, *, training: bool) -> tuple[str, Images, Labels, int]:
    """Load only the training images, or only the test images.

    Parameters
    ----------
    dataset : str
        ``mnist``, ``digits`` or the path of a folder.
    training : bool
        Which of the two; a folder is not divided.

    Returns
    -------
    name : str
        The data's name in a report.
    X : ndarray of shape (n, height, width[, channels])
        Raw pixels.
    y : ndarray of shape (n,)
        Labels.
    white : int
        The pixel value that is white.
    """
    if dataset == "mnist":
        return ("MNIST", *load_mnist("train" if training else "test"), 255)
    if dataset == "digits":
        data = digits("", seed=0)
        part = data.training if training else data.test
        return data.name, part.X, part.y, data.white
    return (name_folder(dataset), *load_image_folder(dataset), 255)


def name_folder(path: str | Path) -> str:
    """Return the name of a folder's data in a report."""
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


def folder(path: Path, seed: int) -> Data:
    """Divide a folder of images."""
    return Data(name_folder(path), "", str(path), 255, "pad", *divide(*load_image_folder(path), seed))


def divide(X: Images, y: Labels, seed: int) -> tuple[Part, Part, Part]:
    """Set a fifth of each class aside for the test, and a tenth of the rest for validation."""
    X_rest, X_test, y_rest, y_test = stratified(X, y, 0.2, seed)
    origin = f"A fifth of each class, drawn at random first. {TEST_USE}"
    return *divide_training(X_rest, y_rest, seed), Part(origin, X_test, y_test)


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
