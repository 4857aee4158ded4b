"""The commands `page` and `app`: a network as one offline page, written to a file, and opened in a browser."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from cnnclf import __version__
from cnnclf._utils.text import quote
from cnnclf.cli._models import load_test_images
from cnnclf.cli._options import BadUsageError, Images
from cnnclf.cli._train import make_classifier

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier

N_SAMPLES = 30  # images that can be picked in a page

# The recipe of the built-in network, by what it learns from.
OWN_RECIPES = {"mnist": "first_look", "digits": "handwriting"}


def write_page(model: Path, out: Path, dataset: str | None, label: str | None) -> str:
    """Write the page of a network, with some test images to pick if a dataset is given; return what to print."""
    if model.suffix == ".onnx":
        raise BadUsageError(
            f"Expected a .cnn file, as the graph of an ONNX file has no layers to show; got {quote(model)}. Pass the "
            "file of CNNClassifier.save."
        )
    if out.suffix not in (".html", ".htm"):
        raise BadUsageError(f"Expected --out to end in .html; got {quote(out)}. Name a page.")
    from cnnclf.classifier._classifier import CNNClassifier

    clf = CNNClassifier.load(model)
    images = None
    if dataset is not None:
        _, X, y = load_test_images(dataset, clf, label)
        images = choose_samples(X, y)
    clf.to_html(out, images)
    return f"{out}\n{out.stat().st_size / 1e6:.1f} MB: open it in a browser; it needs no other file"


def choose_samples(X: Images, y: "np.typing.NDArray[np.generic]") -> Images:
    """Return a few images of each class, the first ones, class by class in turn; as many as a page holds.

    Examples
    --------
    >>> choose_samples(np.arange(6).reshape(6, 1, 1), np.array([1, 1, 0, 0, 1, 0])).ravel().tolist()
    [2, 0, 3, 1, 5, 4]
    """
    from cnnclf.inspection._html import MOST_SAMPLES

    _, position = np.unique(y, return_inverse=True)
    turn = np.empty(len(y), dtype=np.int64)
    for c in range(position.max() + 1):
        turn[position == c] = np.arange((position == c).sum())
    most = max(1, min(N_SAMPLES, MOST_SAMPLES // X[0].nbytes))
    return X[np.lexsort((position, turn))[:most]]


def write_own_page(model: Path | None) -> Path:
    """Write the page of a network into the user's cache; without a file that of the built-in network."""
    import_module("cnnclf.inspection._html")  # what it needs is missed before anything is trained
    import pooch

    folder = Path(pooch.os_cache("cnnclf"))
    dataset = None
    if model is None:
        model, dataset = find_own_model(folder)
    out = folder / f"{model.stem}.html"
    folder.mkdir(parents=True, exist_ok=True)
    write_page(model, out, dataset, None)
    return out


def find_own_model(folder: Path) -> tuple[Path, str]:
    """Return the file of the built-in network and its dataset; train it at first, on MNIST where it can be had."""
    from cnnclf.classifier._persistence import SCHEMA
    from cnnclf.datasets._mnist import load_digits, load_mnist
    from cnnclf.model_selection._compare import fit_to_the_end

    file_of = {name: folder / f"app-{__version__}-{SCHEMA}-{name}.cnn" for name in OWN_RECIPES}
    name = "mnist"
    if not file_of["mnist"].exists():
        try:
            X, y = load_mnist(download=not file_of["digits"].exists())  # asked for once, and not at every start
        except FileNotFoundError as error:
            typer.echo(f"{error}\nUsing scikit-learn's bundled digits instead of MNIST.", err=True)
            name = "digits"
            X, y = load_digits()
    file = file_of[name]
    if not file.exists():
        typer.echo(f"training a small network on {len(y):,} images, once; it is kept in {file}", err=True)
        clf: CNNClassifier = make_classifier(None, None, 0, OWN_RECIPES[name]).set_params(preparation="handwriting")
        fit_to_the_end(clf, X, y)
        folder.mkdir(parents=True, exist_ok=True)
        clf.save(file)
    return file, name
