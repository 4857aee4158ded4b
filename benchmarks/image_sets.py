"""The data sets of `datasets.py`: where each comes from, how it is split, and what was drawn or photographed.

Nothing is downloaded but MNIST. Fashion-MNIST is looked for in $CNNCLF_DATA/fashion-mnist: four IDX files, named as
MNIST's. CIFAR-10 is a folder of JPEGs, train/CLASS/*.jpg and test/CLASS/*.jpg, which differ a little from the lossless
originals. The others come with scikit-learn.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.model_selection import train_test_split

from cnnclf import load_digits, load_idx, load_image_folder, load_mnist

Pair = tuple[np.ndarray, np.ndarray]
Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # X, y, X_test, y_test; labels are 0, 1, 2, …

HEIGHT, WIDTH, SCALE = 40, 56, 4  # of digits on photographs, and how much the digits are enlarged
HELD_OUT = 0.25


@dataclass(frozen=True)
class ImageSet:
    """One data set.

    `load` takes the folder of CIFAR-10 and gives training and test images; without official test images, one pair that
    each seed splits. `recipes` were made for such images. `epochs` are the budgets of networks with a constant rate.
    """

    label: str
    load: Callable[[Path | None], tuple[Pair, Pair] | tuple[Pair]]
    official: bool = True
    seeds: int = 3
    recipes: tuple[str, ...] = ()
    epochs: tuple[int, ...] = (1, 2, 4, 8)


def mnist(_: Path | None) -> tuple[Pair, Pair]:
    """Load all of MNIST."""
    return load_mnist("train"), load_mnist("test")


def few(_: Path | None) -> tuple[Pair, Pair]:
    """Load the first thousand training images, and all test images."""
    X, y = load_mnist("train")
    return (X[:1000], y[:1000]), load_mnist("test")


def fashion(_: Path | None) -> tuple[Pair, Pair]:
    """Load Fashion-MNIST from its IDX files."""
    folder = Path(os.environ.get("CNNCLF_DATA", ""), "fashion-mnist")
    if not folder.is_dir():
        raise FileNotFoundError("Expected Fashion-MNIST's four IDX files in $CNNCLF_DATA/fashion-mnist; got none.")
    train, test = (
        (load_idx(folder / f"{part}-images-idx3-ubyte.gz"), load_idx(folder / f"{part}-labels-idx1-ubyte.gz"))
        for part in ("train", "t10k")
    )
    return train, test


def cifar(folder: Path | None) -> tuple[Pair, Pair]:
    """Load CIFAR-10 from JPEGs, the training images in a random order, as files come class by class."""
    if folder is None:
        raise FileNotFoundError("Expected a folder of CIFAR-10's images as JPEG; got none. Pass --cifar PATH.")
    (X, y), test = (load_image_folder(folder / part) for part in ("train", "test"))
    order = np.random.default_rng(0).permutation(len(X))
    return (X[order], y[order]), test


def digits(_: Path | None) -> tuple[Pair]:
    """Load scikit-learn's digits."""
    return (load_digits(),)


def photographs(_: Path | None) -> tuple[Pair]:
    """Write digits on photographs into a folder of PNGs, and load it."""
    X, y = on_photographs(*load_digits(), np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            Path(folder, str(label)).mkdir(exist_ok=True)
            Image.fromarray(image).save(Path(folder, str(label), f"{i:04}.png"))
        return (load_image_folder(folder),)


def on_photographs(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Pair:
    """Blend enlarged digits into patches of two photographs: the difference of both.

    Source: Ganin et al. 2016, “Domain-adversarial training of neural networks”, section 5.2.4, MNIST-M.
    """
    sources = load_sample_images().images
    patches = np.empty((len(X), HEIGHT, WIDTH, 3), np.uint8)
    for patch, digit in zip(patches, X, strict=True):
        source = sources[rng.integers(len(sources))]
        row, column = rng.integers(source.shape[0] - HEIGHT), rng.integers(source.shape[1] - WIDTH)
        patch[:] = source[row : row + HEIGHT, column : column + WIDTH]
        large = digit.astype(np.int16).repeat(SCALE, axis=0).repeat(SCALE, axis=1) * 255 // 16
        top, left = rng.integers(HEIGHT - len(large) + 1), rng.integers(WIDTH - len(large) + 1)
        place = patch[top : top + len(large), left : left + len(large)]
        place[:] = np.abs(place.astype(np.int16) - large[..., np.newaxis])
    return patches, y


SETS = {
    "mnist": ImageSet(
        "MNIST",
        mnist,
        recipes=("first_look", "handwriting", "handwriting_longer", "handwriting_small", "handwriting_accurate"),
    ),
    "fashion": ImageSet("Fashion-MNIST", fashion, recipes=("clothes",)),
    "cifar": ImageSet("CIFAR-10 as JPEG", cifar, recipes=("photographs",)),
    "few": ImageSet("MNIST, the first images", few, recipes=("handwriting_few",), epochs=(10, 40, 160)),
    "digits": ImageSet("scikit-learn's digits", digits, official=False, seeds=10, epochs=(10, 40, 160)),
    "photographs": ImageSet("Digits on photographs", photographs, official=False, epochs=(10, 40, 160)),
}


def split(parts: tuple[Pair, Pair] | tuple[Pair], seed: int) -> Data:
    """Give training and test images: the official ones, or a stratified quarter held out by the seed."""
    if len(parts) == 2:
        (X, y), (X_test, y_test) = parts
    else:
        X, X_test, y, y_test = train_test_split(*parts[0], test_size=HELD_OUT, stratify=parts[0][1], random_state=seed)
    classes = np.unique(y)
    return X, np.searchsorted(classes, y), X_test, np.searchsorted(classes, y_test)
