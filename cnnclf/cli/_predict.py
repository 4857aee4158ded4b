"""The command `predict`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnclf._utils.text import percent, share_of
from cnnclf.cli._options import Classifier, show_table

N_TOP = 3


@dataclass(frozen=True)
class Guess:
    """A label and its probability."""

    label: Any
    probability: float


@dataclass(frozen=True)
class Prediction(Guess):
    """The label of one picture, and the most probable labels, the first of which it is."""

    picture: str
    top: tuple[Guess, ...]


def find_pictures(arguments: Sequence[str]) -> list[str]:
    """Return the paths of the pictures; a folder gives all pictures in it and in its sub-folders, by name."""
    from cnnclf.images._pictures import list_pictures

    found: list[str] = []
    for argument in arguments:
        inside = [*map(str, list_pictures(Path(argument)))] if Path(argument).is_dir() else [argument]
        if not inside:
            raise ValueError(f"{Path(argument)}: expected pictures in this folder; there are none.")
        found += inside
    return found


def classify(clf: Classifier, pictures: Sequence[str]) -> tuple[list[Prediction], list[str]]:
    """Predict the class of each picture, and return the errors of those that cannot be read."""
    from cnnclf.images._pictures import read_pictures

    sources = [(picture, sys.stdin.buffer.read() if picture == "-" else picture) for picture in pictures]
    rows, errors = read_pictures(sources, clf.input_spec_)
    predictions = []
    if rows:
        classes = clf.classes_.tolist()
        for (name, _), row in zip(rows, clf.predict_proba(np.stack([row for _, row in rows])), strict=True):
            top = tuple(Guess(classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:N_TOP])
            predictions.append(Prediction(top[0].label, top[0].probability, name, top))
    return predictions, [sentence for _, sentence in errors]


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print a table of the most probable labels of each picture; on a terminal with a bar of the probability."""
    rows = []
    for prediction in predictions:
        probability = percent(share_of([guess.probability for guess in prediction.top], 0))
        if sys.stdout.isatty():
            probability += " " + "█" * round(10 * prediction.probability)
        others = "   ".join(f"{other.label} {percent(other.probability)}" for other in prediction.top[1:])
        rows.append((prediction.picture, str(prediction.label), probability, others))
    show_table(("picture", "label", "probability", "else"), rows)
