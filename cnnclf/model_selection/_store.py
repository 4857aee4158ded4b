"""Folds that were measured before, kept in a folder."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from cnnclf._utils.files import write_atomically
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.model_selection._comparison import ArchitectureResult, from_json, to_json
from cnnclf.training._identity import describe_fit, digest


@dataclass(frozen=True, eq=False)
class Place:
    """Where a finished fit is kept, and all that decides its result."""

    path: Path
    key: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """One fit to make: an unfitted estimator and the rows of one fold."""

    name: str
    clf: CNNClassifier
    number: int
    n_folds: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    place: Place | None = None


def find_places(jobs: Sequence[Job], X: Any, y: Any, folder: Path) -> list[Job]:
    """Assign each fit the place in a checkpoint that belongs to its data and parameters."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint must be a folder; {folder} is a file. Pass another name.")
    described = {job.name: describe_fit(job.clf, job.clf.get_params(deep=False)) for job in jobs}
    data = {
        job.number: {"train": hash_rows(X, y, job.train), "test": hash_rows(X, y, job.test)}
        for job in jobs[: jobs[0].n_folds]
    }
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.absolute()  # a worker that is still there from earlier is where the program was then
    keys = [{"name": job.name, "fold": job.number, **data[job.number], **described[job.name]} for job in jobs]
    return [replace(job, place=Place(folder / f"{digest(key)}.json", key)) for job, key in zip(jobs, keys, strict=True)]


def hash_rows(X: Any, y: Any, rows: NDArray[np.int64]) -> str:
    """Name some images and their labels by their content, in their order."""
    sha256 = hashlib.sha256()
    for part in (X, y):
        array = np.asarray(_safe_indexing(part, rows))
        sha256.update(f"{array.dtype.str} {array.shape}\n".encode())
        # The bytes of an array of objects are addresses.
        sha256.update(array.tobytes() if array.dtype.kind in "biuf" else repr(array.tolist()).encode())
    return sha256.hexdigest()


def write(place: Place, result: ArchitectureResult) -> None:
    """Keep a finished fit, with all that decides it and a digest that finds damage."""
    content = {"key": place.key, "result": to_json(result)}
    write_atomically(place.path, json.dumps({**content, "sha256": digest(content)}, indent=1).encode())


def read(place: Place) -> ArchitectureResult | None:
    """Read a finished fit; None where there is none, or a file that is damaged or another's."""
    try:
        content = json.loads(place.path.read_bytes())
        whole = content.pop("sha256") == digest(content) and content["key"] == place.key
        return from_json(content["result"]) if whole else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):  # what files that are none of ours can cause
        return None


def find_measured(clf: CNNClassifier, y_train: Any, y_test: Any) -> NDArray[np.int64]:
    """Find the held-out rows to measure while training: of known classes, and none where that would end it."""
    if clf.early_stopping:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isin(np.asarray(y_test), np.unique(np.asarray(y_train))))
