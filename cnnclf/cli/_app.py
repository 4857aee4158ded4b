"""The command `app`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnclf import __version__
from cnnclf.cli._models import open_model
from cnnclf.cli._options import Classifier
from cnnclf.cli._train import make_classifier

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.cli._app_server import Server


# Recipe of the page's own network, and the text for visitors, by what it learns from.
OWN_MODELS = {
    "mnist": ("first_look", "The network is a small one that has seen each of MNIST’s 60,000 training images once."),
    "digits": (
        "handwriting",
        "The network learnt from scikit-learn’s 1,797 digits of 8 × 8 pixels, as there was no MNIST: it errs often.",
    ),
}


def make_server(model: Path | None, port: int) -> "Server":
    """Get the page ready, with the port already ours."""
    from cnnclf.cli._app_network import ExportedNetwork, Network, TracedNetwork
    from cnnclf.cli._app_server import Reader, Server
    from cnnclf.images._strokes import Paper
    from cnnclf.onnx._classifier import ONNXClassifier

    clf: Classifier
    if model is None:
        clf, about = open_own_model()
    else:
        clf, about = open_model(model), f"The network is {model.name}."
    paper = Paper.of(clf.input_spec_)
    network: Network = ExportedNetwork(clf) if isinstance(clf, ONNXClassifier) else TracedNetwork(clf)
    return Server(Reader(network, paper, about), port)


def open_own_model() -> "tuple[CNNClassifier, str]":
    """Load the network that the page has where none is given; train it the first time, on MNIST where it can be had."""
    import pooch

    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.classifier._persistence import SCHEMA
    from cnnclf.datasets._mnist import load_digits, load_mnist
    from cnnclf.model_selection._compare import fit_to_the_end

    folder = Path(pooch.os_cache("cnnclf"))
    file_of = {name: folder / f"app-{__version__}-{SCHEMA}-{name}.cnn" for name in OWN_MODELS}
    name = "mnist"
    if not file_of["mnist"].exists():
        try:
            X, y = load_mnist(download=not file_of["digits"].exists())  # asked for once, and not at every start
        except FileNotFoundError as error:
            typer.echo(f"{error}\nUsing scikit-learn's bundled digits instead of MNIST.", err=True)
            name = "digits"
            X, y = load_digits()
    file = file_of[name]
    recipe, about = OWN_MODELS[name]
    if not file.exists():
        typer.echo(f"training a small network on {len(y):,} images, once; it is kept in {file}", err=True)
        clf = make_classifier(None, None, 0, recipe).set_params(preparation="handwriting")
        fit_to_the_end(clf, X, y)
        folder.mkdir(parents=True, exist_ok=True)
        clf.save(file)
    return CNNClassifier.load(file), about
