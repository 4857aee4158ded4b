"""What fitting learnt: as a record, in a file, restored, and as the start of another fit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnclf._utils.files import check_image_size
from cnnclf._utils.labels import plain
from cnnclf._utils.text import quote, quote_all
from cnnclf.architectures._modules import Standardise
from cnnclf.classifier._build import make_module, make_net
from cnnclf.images._spec import InputSpec, is_whole
from cnnclf.training._callbacks import KEPT_EPOCHS, Epochs
from cnnclf.training._recognition import TrainingData

# What the history says of an epoch, by skorch's names.
HISTORY = {
    name: name for name in ("epoch", "train_loss", "train_accuracy", "train_images", "valid_loss", "valid_accuracy")
} | {"lr": "lr", "dur": "seconds"}


def is_epoch(row: object) -> bool:
    """Check whether a value from JSON is what the history says of an epoch."""
    return (
        isinstance(row, dict)
        and {"epoch", "seconds"} <= row.keys() <= set(HISTORY.values())
        and is_whole(row["epoch"], 1)
        and all(type(value) in (int, float) for value in row.values())
    )


# What a file says of fitting: a test and the words for it.
PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input": (lambda v: isinstance(v, dict), "what the network takes"),
    "feature_names": (
        lambda v: v is None or (isinstance(v, list) and all(isinstance(name, str) for name in v)),
        "null or a list of text",
    ),
    "batch_size": (lambda v: is_whole(v, 1), "a whole number of at least 1"),
    "seed": (is_whole, "a whole number of at least 0"),
    "history": (lambda v: isinstance(v, list) and all(map(is_epoch, v)), "a list of epochs"),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """All that fitting learnt, beside the tensors of the network.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    input : InputSpec
        What the network takes.
    training_data : TrainingData
        What is remembered of the training data.
    feature_names : ndarray of str, list of str or None
        Column names, where ``X`` was a data frame with string names.
    batch_size : int
        Images per gradient step.
    seed : int
        Of the fit.
    history : list of dict
        The last epochs.
    """

    classes: NDArray[Any]
    input: InputSpec
    training_data: TrainingData
    feature_names: NDArray[Any] | list[str] | None
    batch_size: int
    seed: int
    history: list[dict[str, Any]]

    @classmethod
    def of(cls, clf: Any) -> "Fitted":
        """Return what a fitted classifier has learnt."""
        return cls(
            classes=clf.classes_,
            input=clf.input_spec_,
            training_data=clf.training_data_,
            feature_names=getattr(clf, "feature_names_in_", None),
            batch_size=clf.net_.batch_size,
            seed=clf.seed_,
            history=clf.history_[-KEPT_EPOCHS:],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON types, without the classes, which have a format of their own."""
        rest = {name: plain(getattr(self, name)) for name in ("feature_names", "batch_size", "seed", "history")}
        return {"input": self.input.to_json(), **self.training_data.to_json(), **rest}

    @classmethod
    def from_json(cls, told: Mapping[str, Any], classes: NDArray[Any]) -> "Fitted":
        """Read what :meth:`to_json` returned, which may come from a stranger.

        Raises
        ------
        ValueError
            If a part is missing, or cannot be.
        """
        names = [*PARTS, *TrainingData().to_json()]
        if told.keys() != set(names):
            raise ValueError(f"Expected of fitting {', '.join(names)}; it has other parts. Save the model again.")
        for name, (is_valid, expected) in PARTS.items():
            if not is_valid(told[name]):
                raise ValueError(f"Expected {name} to be {expected}; got {quote(told[name])}. Save the model again.")
        if classes.tolist() != sorted(classes.tolist()):
            raise ValueError(f"Expected sorted class labels; got {quote_all(classes)}. Save the model again.")
        spec = InputSpec.from_json(told["input"])
        check_image_size(spec.image_shape)
        features, n_features = told["feature_names"], math.prod(spec.input_shape)
        if features is not None and len(features) != n_features:
            raise ValueError(f"Expected {n_features:,} feature_names; got {len(features):,}. Save the model again.")
        training_data = TrainingData.from_json(told)
        return cls(classes, spec, training_data, features, told["batch_size"], told["seed"], told["history"])


def restore(clf: Any, fitted: Fitted, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set the fitted attributes of a classifier from a record and the tensors of its network."""
    clf.classes_, clf.input_spec_, clf.training_data_ = fitted.classes, fitted.input, fitted.training_data
    clf.seed_, clf.architecture_ = fitted.seed, clf.architecture
    if fitted.feature_names is not None:
        clf.feature_names_in_ = np.asarray(fitted.feature_names, dtype=object)
    standardise = Standardise(tensors["standardise.mean"], tensors["standardise.std"])
    module = make_module(clf.architecture, clf.image_shape_, len(clf.classes_), standardise, clf.seed_)
    module.load_state_dict(tensors)
    history = Epochs({"batches": [], **row, "dur": row["seconds"]} for row in fitted.history)
    clf.net_ = make_net(clf, module, fitted.batch_size, history)


def tidy_history(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is known of each whole epoch, under plain names."""
    return [{new: row[old] for old, new in HISTORY.items() if old in row} for row in history if "dur" in row]


def check_warm_start(clf: Any) -> bool:
    """Return whether a fit continues an earlier one; ValueError where the parameters are of another network."""
    if clf.warm_start and clf.checkpoint is not None:
        raise ValueError(
            f"Expected warm_start=True or a checkpoint, which are two ways to go on; got both, with checkpoint="
            f"{quote(Path(clf.checkpoint))}. Pass warm_start=False, or checkpoint=None."
        )
    if not (clf.warm_start and hasattr(clf, "net_")):
        return False
    is_same_shape = clf.image_shape is None or tuple(clf.image_shape) == clf.image_shape_
    if clf.architecture != clf.architecture_ or not is_same_shape:
        raise ValueError(
            "Expected warm_start=True to go on with the network that was fitted, "
            f"architecture={quote(clf.architecture_)} for images of shape {clf.image_shape_}; got "
            f"architecture={quote(clf.architecture)} and image_shape={quote(clf.image_shape)}. "
            "Set them back, or pass warm_start=False to start anew."
        )
    return True
