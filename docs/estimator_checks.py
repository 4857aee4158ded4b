"""How many of scikit-learn's estimator checks the wrappers of neural networks pass, for docs/comparison.md.

    pip install scikeras keras    # besides cnnclf; Keras then computes with torch
    python docs/estimator_checks.py

Each wrapper is given a network that suits the checks: a dense layer of 32 units that takes any number type, made for as
many features and classes as it is shown. How many checks there are depends on what an estimator says of itself.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
os.environ["SCIPY_ARRAY_API"] = "1"  # or the checks of the array API are skipped; before anything imports SciPy

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import check_estimator
from skorch import NeuralNetClassifier
from torch import nn

from cnnclf import CNNClassifier


class Dense(nn.Module):
    """A dense network for skorch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(3))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Give logits; skorch leaves the conversion from float64 to the module."""
        return self.layers(X.float())


def dense(n_features: int, n_outputs: int, activation: str, loss: str) -> Any:
    """Make a dense network of Keras."""
    import keras

    hidden, output = keras.layers.Dense(32, activation="relu"), keras.layers.Dense(n_outputs, activation=activation)
    model = keras.Sequential([keras.layers.Input((n_features,)), hidden, output])
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def for_scikeras(meta: dict[str, Any]) -> Any:
    """Make the network that scikeras asks for."""
    if meta["target_type_"] == "binary":
        return dense(meta["n_features_in_"], 1, "sigmoid", "binary_crossentropy")
    return dense(meta["n_features_in_"], meta["n_classes_"], "softmax", "sparse_categorical_crossentropy")


def for_keras(X: Any, y: Any) -> Any:
    """Make the network that Keras' own wrapper asks for."""
    return dense(X.shape[1], y.shape[1], "softmax", "categorical_crossentropy")


def list_wrappers() -> Iterator[tuple[str, BaseEstimator]]:
    """Give each wrapper with the name of its package."""
    yield "cnnclf", CNNClassifier()
    settings = {"criterion": nn.CrossEntropyLoss, "max_epochs": 50, "lr": 0.1, "train_split": None, "verbose": 0}
    yield "skorch", NeuralNetClassifier(Dense, **settings)

    from keras.utils import set_random_seed
    from keras.wrappers import SKLearnClassifier
    from scikeras.wrappers import KerasClassifier

    yield "scikeras", KerasClassifier(for_scikeras, epochs=50, verbose=0, random_state=0)
    set_random_seed(0)
    yield "keras", SKLearnClassifier(for_keras, fit_kwargs={"epochs": 50, "verbose": 0})


def main() -> None:
    """Print a row for each wrapper."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for package, estimator in list_wrappers():
        results = check_estimator(estimator, on_skip=None, on_fail=None)
        found = Counter(result["status"] for result in results)
        failed = sorted({result["check_name"] for result in results if result["status"] == "failed"})
        print(f"{package} {version(package)}: {found['passed']} of {len(results)} passed")
        print("failed:", ", ".join(failed) or "none")


if __name__ == "__main__":
    main()
