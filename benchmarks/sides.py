"""What `datasets.py` compares: our defaults and recipes, Keras' convnet, a plain skorch net, and scikit-learn's own.

A side yields jobs, one after the other, and a job gives one measured point for each of its budgets. Ours are timed over
all of `fit`, and each budget of epochs is a fit of its own, as a schedule is stretched over it. Networks with a
constant rate are timed while they train, and one long run passes through its shorter budgets; their images are numbers
from 0 to 1. All share one process, so after our first fit the others, too, have an allocator that keeps more memory.
"""

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import Data, ImageSet
from plain_skorch import plain_skorch
from recording import HERE
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from time_to_accuracy import listen

from cnnclf import RECIPES, CNNClassifier

Point = dict[str, Any]
CHOSEN, HALF, DOUBLE, ONE_FIT = "as chosen", "half", "double", "one fit"
MOST_NUMBERS, CUT = 60_000 * 784, 10_000  # larger data than MNIST are cut to so many images for what is no network
NOT_DRAWN = 10_000  # images: for more, histogram gradient boosting holds some out by its seed
SMALLEST = 10  # pixels a side, of which the two convolutions and poolings of Keras' convnet leave one
CHOICES = ("architecture", "max_epochs", "augment")  # what may be left to the data


@dataclass(frozen=True)
class Job:
    """One training: its budgets, all that sets it, and what carries it out."""

    budgets: tuple[str | int, ...]
    settings: dict[str, Any]
    carry_out: Callable[[], Iterator[Point]]


@dataclass(frozen=True)
class Turn:
    """One turn of a side: on what, with which seed and precision.

    `keras` is an interpreter that has Keras, and `finished` gives the side's run of this seed by its budget.
    """

    image_set: ImageSet
    data: Data
    seed: int
    precision: str
    keras: Path | None
    finished: Callable[[str], dict[str, Any]]
    short: bool = False

    @property
    def epochs(self) -> tuple[int, ...]:
        """Budgets of a network with a constant rate."""
        return (2,) if self.short else self.image_set.epochs


@dataclass(frozen=True)
class Side:
    """A side: its name in tables, its jobs, and whether the seed decides anything but the split."""

    label: str
    jobs: Callable[[Turn], Iterator[Job]]
    draws: Callable[[int], bool] = lambda n_images: True


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Give settings as JSON gives them back.

    >>> plain({"augment": ("flip", "crop"), "lr": 0.1})
    {'augment': ['flip', 'crop'], 'lr': 0.1}
    """
    return json.loads(json.dumps(settings, default=str))


def our_job(turn: Turn, budget: str, parameters: dict[str, Any]) -> Job:
    """Fit once, and note what the network chose by itself."""
    clf = CNNClassifier(**parameters | {"precision": turn.precision, "device": "cpu", "random_state": turn.seed})
    X, y, X_test, y_test = turn.data

    def carry_out() -> Iterator[Point]:
        start = clocks()
        clf.fit(X, y)
        seconds = passed(start)
        chosen = {name: getattr(clf, f"{name}_", getattr(clf, name)) for name in CHOICES}
        yield point(budget, seconds, clf.score(X_test, y_test), clf.n_parameters_, plain(chosen))

    return Job((budget,), plain(clf.get_params()), carry_out)


def of_defaults(turn: Turn) -> Iterator[Job]:
    """Fit with the defaults and, with the first seed, with half and double the epochs that they mean."""
    if turn.short:
        yield our_job(turn, CHOSEN, {"max_epochs": 2})
        return
    yield our_job(turn, CHOSEN, {})
    if turn.seed:
        return
    epochs = turn.finished(CHOSEN)["chosen"]["max_epochs"]
    for budget, number in ((HALF, epochs // 2), (DOUBLE, 2 * epochs)):
        if number:
            yield our_job(turn, budget, {"max_epochs": number})


def of_recipe(name: str) -> Callable[[Turn], Iterator[Job]]:
    """Make the side of a recipe."""

    def jobs(turn: Turn) -> Iterator[Job]:
        if turn.short or name in turn.image_set.recipes:
            yield our_job(turn, CHOSEN, RECIPES[name] | ({"max_epochs": 1} if turn.short else {}))

    return jobs


def clocks() -> tuple[float, float]:
    """Read the clock of CPU seconds, of all threads together, and that of the wall."""
    return time.process_time(), time.perf_counter()


def passed(start: tuple[float, float]) -> tuple[float, float]:
    """Give the seconds since then on both."""
    cpu, wall = clocks()
    return cpu - start[0], wall - start[1]


def point(
    budget: str | int,
    seconds: tuple[float, float],
    accuracy: float,
    n_parameters: int | None = None,
    chosen: dict[str, Any] | None = None,
) -> Point:
    """Make the record of one measured point; the accuracy is a share."""
    measured = {"accuracy": float(accuracy), "cpu_seconds": seconds[0], "wall_seconds": seconds[1]}
    return {"budget": budget} | measured | {"n_parameters": n_parameters, "chosen": chosen}


def epoch_by_epoch(
    epochs: Sequence[int], train: Callable[[], object], measure: Callable[[], float], count: Callable[[], int]
) -> Iterator[Point]:
    """Train for the longest budget, the clocks stopped while the test images are evaluated after each budget."""
    cpu = wall = 0.0
    for epoch in range(1, max(epochs) + 1):
        start = clocks()
        train()
        more = passed(start)
        cpu, wall = cpu + more[0], wall + more[1]
        if epoch in epochs:
            yield point(epoch, (cpu, wall), measure(), count())


def channels_first(X: np.ndarray, white: int) -> np.ndarray:
    """Give images the shape, type and range that torch's own users give them."""
    return (X[:, np.newaxis] if X.ndim == 3 else X.transpose(0, 3, 1, 2)).astype(np.float32, order="C") / white


def skorch_points(turn: Turn, architecture: str) -> Iterator[Point]:
    """Train a plain skorch net: Adam 0.001, batch 128, float32."""
    X, y, X_test, y_test = turn.data
    white = int(X.max())
    X, X_test = channels_first(X, white), channels_first(X_test, white)
    torch.manual_seed(turn.seed)
    settings: dict[str, Any] = {"optimizer": torch.optim.Adam, "lr": 0.001, "max_epochs": 1, "batch_size": 128}
    net = plain_skorch(architecture, X.shape[1:], int(y.max()) + 1, **settings)
    yield from epoch_by_epoch(
        turn.epochs,
        lambda: net.partial_fit(X, y),
        lambda: net.score(X_test, y_test),
        lambda: sum(weights.numel() for weights in net.module_.parameters()),
    )


def of_skorch(turn: Turn) -> Iterator[Job]:
    """Train the layers of `compact` in a plain skorch net."""
    yield Job(turn.epochs, {"trained by": "skorch"}, lambda: skorch_points(turn, "compact"))


def keras_points(turn: Turn) -> Iterator[Point]:
    """Run Keras in a process of its own, which measures itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/data.npz"
        np.savez(path, **dict(zip(("X", "y", "X_test", "y_test"), turn.data, strict=True)))
        script = str(HERE / "keras_convnet.py")
        said = listen([str(turn.keras), script, path, str(turn.seed), str(max(turn.epochs))])
    for measured, wall in zip(said["points"], said["wall_seconds"], strict=True):
        if measured["epochs"] in turn.epochs:
            seconds = measured["cpu_seconds"], wall
            made = point(measured["epochs"], seconds, measured["accuracy"], said["n_parameters"])
            yield made | {"versions": said["versions"]}


def of_keras(turn: Turn) -> Iterator[Job]:
    """Train Keras' convnet as its example does, or in a plain skorch net where that cannot be."""
    small = min(turn.data[0].shape[1:3]) < SMALLEST
    if turn.keras is None or small:
        because = "such small images need fewer poolings" if small else "Keras is not installed"
        settings = {"trained by": "skorch", "because": because}
        yield Job(turn.epochs, settings, lambda: skorch_points(turn, "keras_mnist"))
    else:
        yield Job(turn.epochs, {"trained by": "Keras"}, lambda: keras_points(turn))


def find_keras(folder: Path) -> Path | None:
    """Find an interpreter with Keras: that of `time_to_accuracy.py`, or this one."""
    python = folder / "bin" / "python"
    if python.exists():
        return python
    here = all(importlib.util.find_spec(name) is not None for name in ("keras", "tensorflow"))
    return Path(sys.executable) if here else None


def flat(X: np.ndarray, white: int) -> np.ndarray:
    """Give images as rows of numbers."""
    return X.reshape(len(X), -1) / white


def of_mlp(turn: Turn) -> Iterator[Job]:
    """Train scikit-learn's network, epoch by epoch."""
    X, y, X_test, y_test = turn.data
    mlp = MLPClassifier(random_state=turn.seed)

    def carry_out() -> Iterator[Point]:
        white, classes = int(X.max()), np.unique(y)
        rows, test_rows = flat(X, white), flat(X_test, white)
        yield from epoch_by_epoch(
            turn.epochs,
            lambda: mlp.partial_fit(rows, y, classes=classes),
            lambda: mlp.score(test_rows, y_test),
            lambda: sum(weights.size for weights in (*mlp.coefs_, *mlp.intercepts_)),
        )

    yield Job(turn.epochs, plain(mlp.get_params()), carry_out)


def n_fitted(X: np.ndarray) -> int:
    """Count the images that a side that is no network is fitted on."""
    return len(X) if X.size <= MOST_NUMBERS else CUT


def of_sklearn(make: Callable[[int], Any]) -> Callable[[Turn], Iterator[Job]]:
    """Make the side of another classifier of scikit-learn."""

    def jobs(turn: Turn) -> Iterator[Job]:
        X, y, X_test, y_test = turn.data
        n, clf = n_fitted(X), make(turn.seed)

        def carry_out() -> Iterator[Point]:
            white = int(X.max())
            rows, test_rows = flat(X[:n], white), flat(X_test, white)
            start = clocks()
            clf.fit(rows, y[:n])
            yield point(ONE_FIT, passed(start), clf.score(test_rows, y_test)) | {"n_train": n}

        yield Job((ONE_FIT,), plain(clf.get_params()) | {"n_train": n}, carry_out)

    return jobs


DEFAULTS = "defaults"
SIDES = {
    DEFAULTS: Side("cnnclf, defaults", of_defaults),
    **{name: Side(f"cnnclf, recipe `{name}`", of_recipe(name)) for name in RECIPES},
    "keras": Side("Keras' convnet", of_keras),
    "skorch": Side("skorch, the layers of `compact`", of_skorch),
    "mlp": Side("MLPClassifier", of_mlp),
    "svc": Side("SVC, RBF, C = 10", of_sklearn(lambda seed: SVC(C=10)), lambda n_images: False),
    "hgb": Side(
        "HistGradientBoostingClassifier",
        of_sklearn(lambda seed: HistGradientBoostingClassifier(random_state=seed)),
        lambda n_images: n_images > NOT_DRAWN,
    ),
}
