"""k-fold cross-validation of several architectures on the same folds, and the checkpoint of its finished fits."""

import hashlib
import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent, quote, say
from cnnclf.architectures._layers import ArchitectureFunction
from cnnclf.architectures._summary import summarize
from cnnclf.architectures._table import source_of
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.classifier._parameters import check_parameters
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold, from_json, to_json
from cnnclf.training._identity import describe_fit, digest
from cnnclf.training._runtime import ONE_SEED_AT_A_TIME, session

N_WARM_UP = 8  # images of the prediction before the one that is timed


@dataclass(frozen=True, eq=False)
class Job:
    """One fit: an unfitted estimator, the rows of one fold and, in a checkpoint, its file and all that decides it."""

    name: str
    clf: CNNClassifier
    number: int
    n_folds: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    path: Path | None = None
    key: Mapping[str, Any] = field(default_factory=dict)


def compare_architectures(
    X: Any,
    y: ArrayLike,
    names: Sequence[str] | Mapping[str, str | ArchitectureFunction],
    cv: Any = 5,
    *,
    estimator: CNNClassifier | None = None,
    n_jobs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    verbose: int = 0,
) -> Comparison:
    """Cross-validate several architectures on the same folds.

    Parameters
    ----------
    X : array-like
        Images, as :meth:`cnnclf.CNNClassifier.fit` takes them.
    y : array-like of shape (n,)
        Class labels of any type.
    names : sequence of str, or mapping of str to str or callable
        Names of :func:`cnnclf.list_architectures`; a mapping from your own names to such names or to functions
        ``(image_shape, n_classes) -> nn.Module``.
    cv : int, splitter or iterable of (train, test), default=5
        As in :func:`sklearn.model_selection.cross_validate`: an integer is the number of stratified folds. The data is
        split once, so that all architectures have the same folds.
    estimator : CNNClassifier, optional
        All other parameters; it is copied, never changed. ``CNNClassifier(random_state=0)`` by default.
    n_jobs : int, optional
        Fits at the same time, in the active backend of joblib; the accuracies are bit-identical for any number. One
        process fits one network at a time, so that threads take turns: processes are faster.
    checkpoint : path-like, optional
        A folder, created if it is missing, in which each finished fit is saved at once. A later call with the same data
        and parameters continues where this one stopped, and returns the saved results, times included.
    verbose : int, default=0
        1 prints a line on stderr after each fit.

    Returns
    -------
    Comparison
        The figures of each architecture and the history of each of its fits.

    Raises
    ------
    ValueError
        For an unknown or repeated name, fewer than two folds, parameters or data that cannot be used and, with
        ``checkpoint``, a parameter that a file cannot identify, such as ``random_state=None``.
    TypeError
        For names that are not text, and an estimator that is not a ``CNNClassifier``.
    KeyboardInterrupt
        If a fit is interrupted: a partly trained network is not evaluated.

    See Also
    --------
    sklearn.model_selection.cross_validate : Gives the same accuracies for the same ``cv`` and an integer
        ``random_state``.

    Notes
    -----
    After each epoch the network is evaluated on the held-out fold, which changes no weight. With
    ``early_stopping=True`` the held-out fold would thus choose the epoch. The estimator then takes its validation
    images from the training part, and ``valid_*`` in the history is of those. Held-out images whose class is missing in
    the training part have no loss: they count in the accuracy alone.

    A checkpoint identifies a function by its name, code, default values and closure, and a class by its source. It does
    not inspect what they call: empty the folder if that has changed.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, compare_architectures, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=2, random_state=0)
    >>> comparison = compare_architectures(X[:300], y[:300], ["tiny", "lenet5"], cv=3, estimator=clf)
    >>> for result in comparison.results:
    ...     print(result.name, len(result.folds), result.n_parameters, result.n_multiply_adds)
    tiny 3 2784 24712
    lenet5 3 14762 23976
    """
    candidates = make_candidates(names, CNNClassifier(random_state=0) if estimator is None else estimator)
    if y is None:
        raise ValueError("Expected y to hold one label per image; got None. Pass the labels.")
    X, y = indexable(X, y)
    rows = np.arange(_num_samples(X))
    most = max(Counter(np.asarray(y).ravel().tolist()).values(), default=0)
    if isinstance(cv, int | np.integer) and most < cv:  # scikit-learn only warns if any class has enough
        raise ValueError(f"Expected {cv} images per class for {cv} folds; got at most {most}. Use fewer folds.")
    splits = [(rows[train], rows[test]) for train, test in check_cv(cv, y, classifier=True).split(X, y)]
    if len(splits) < 2:
        raise ValueError(f"Expected cv to give two folds or more; got {len(splits)}. Pass cv=5.")
    jobs = [
        Job(name, clf, number, len(splits), train, test)
        for name, clf in candidates.items()
        for number, (train, test) in enumerate(splits, start=1)
    ]
    if checkpoint is not None:
        jobs = find_places(jobs, X, y, Path(checkpoint))
    kept = [read(job) for job in jobs]
    missing = [job for job, result in zip(jobs, kept, strict=True) if result is None]
    made = iter(Parallel(n_jobs=n_jobs)(delayed(run)(job, X, y, verbose) for job in missing))
    fits = [next(made) if result is None else result for result in kept]
    starts = range(0, len(fits), len(splits))
    return Comparison(tuple(join(fits[start : start + len(splits)]) for start in starts), len(splits))


def make_candidates(
    names: Sequence[str] | Mapping[str, str | ArchitectureFunction], estimator: CNNClassifier
) -> dict[str, CNNClassifier]:
    """Return for each name an unfitted estimator of its architecture, all parameters checked."""
    if not isinstance(estimator, CNNClassifier):
        raise TypeError(f"Expected estimator to be a CNNClassifier; got {quote(estimator)}. Pass CNNClassifier(...).")
    if isinstance(names, str) or not isinstance(names, Sequence | Mapping):
        raise TypeError(f"Expected names to be a list or a mapping; got {quote(names)}. Pass ['tiny', 'lenet5'].")
    if not names:
        raise ValueError("Expected one name or more; got none. Pass names of list_architectures().")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"Expected names that are text; got {quote(name)}. Pass functions as values of a mapping.")
        if name in list(names)[:i]:
            raise ValueError(f"Expected names that differ; got {quote(name)} twice. Pass each once.")
    architectures = names if isinstance(names, Mapping) else {name: name for name in names}
    candidates = {name: clone(estimator).set_params(architecture=made_by) for name, made_by in architectures.items()}
    for candidate in candidates.values():
        check_parameters(candidate)
    return candidates


def run(job: Job, X: Any, y: Any, verbose: int) -> ArchitectureResult:
    """Fit once, evaluate on the held-out fold, and save the result if there is a checkpoint."""
    X_train, y_train = _safe_indexing(X, job.train), _safe_indexing(y, job.train)
    X_test, y_test = _safe_indexing(X, job.test), _safe_indexing(y, job.test)
    clf = clone(job.clf)
    validation = choose_validation(clf, y_train, X_test, y_test)
    warm_up()
    start = time.thread_time()  # a fit runs in this thread alone; other threads may run at the same time
    fit_to_the_end(clf, X_train, y_train, **validation)
    fit_seconds = time.thread_time() - start
    with session(clf.net_.device):  # torch's other threads would not be timed, and do not survive a fork
        accuracy = float(clf.score(X_test, y_test))
        clf.predict_proba(_safe_indexing(X_test, np.arange(min(N_WARM_UP, len(job.test)))))
        start = time.thread_time()
        clf.predict_proba(X_test)
        predict_seconds = (time.thread_time() - start) / len(job.test)
        layers = tuple(summarize(clf.module_, clf.image_shape_))
    fold = Fold(job.number, len(job.train), len(job.test), accuracy, tuple(clf.history_), fit_seconds, predict_seconds)
    source, n_multiply_adds = source_of(clf.architecture_), sum(layer.n_multiply_adds for layer in layers)
    result = ArchitectureResult(job.name, source, layers, clf.n_parameters_, n_multiply_adds, (fold,))
    write(job, result)
    if verbose:
        say(f"{job.name}, fold {job.number} of {job.n_folds}: {percent(accuracy, 1)} in {fit_seconds:.1f} CPU s")
    return result


def choose_validation(clf: CNNClassifier, y_train: Any, X_test: Any, y_test: Any) -> dict[str, Any]:
    """Return the held-out images to evaluate after each epoch: those of known classes, none with early stopping."""
    if clf.early_stopping:
        return {}
    rows = np.flatnonzero(np.isin(np.asarray(y_test), np.unique(np.asarray(y_train))))
    return {"X_val": _safe_indexing(X_test, rows), "y_val": _safe_indexing(y_test, rows)} if len(rows) else {}


@cache
def warm_up() -> None:
    """Fit once per process, untimed: torch loads much of itself in its first training step."""
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0)
    fit_to_the_end(clf, np.zeros((4, 8, 8), np.uint8), [0, 0, 1, 1])


def fit_to_the_end(clf: CNNClassifier, X: Any, y: Any, **validation: Any) -> None:
    """Fit, and raise KeyboardInterrupt after an interrupt, of which a fit alone only warns."""
    with ONE_SEED_AT_A_TIME, warnings.catch_warnings():  # a filter holds for all threads
        warnings.filterwarnings("ignore", message="Training interrupted")
        clf.fit(X, y, **validation)
    if not clf.net_.ended_:
        raise KeyboardInterrupt


def join(fits: Sequence[ArchitectureResult]) -> ArchitectureResult:
    """Combine the folds of one architecture."""
    return replace(fits[0], folds=tuple(fold for fit in fits for fold in fit.folds))


def find_places(jobs: Sequence[Job], X: Any, y: Any, folder: Path) -> list[Job]:
    """Assign each fit the file in a checkpoint that belongs to its data and parameters."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected checkpoint to be a folder; got the file {folder}. Pass another name.")
    described = {job.name: describe_fit(job.clf, job.clf.get_params(deep=False)) for job in jobs}
    data = {
        job.number: {"train": hash_rows(X, y, job.train), "test": hash_rows(X, y, job.test)}
        for job in jobs[: jobs[0].n_folds]
    }
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.absolute()  # workers of earlier calls may have another working directory
    keys = [{"name": job.name, "fold": job.number, **data[job.number], **described[job.name]} for job in jobs]
    return [replace(job, path=folder / f"{digest(key)}.json", key=key) for job, key in zip(jobs, keys, strict=True)]


def hash_rows(X: Any, y: Any, rows: NDArray[np.int64]) -> str:
    """Return a digest of some images and their labels, in their order."""
    sha256 = hashlib.sha256()
    for part in (X, y):
        array = np.asarray(_safe_indexing(part, rows))
        sha256.update(f"{array.dtype.str} {array.shape}\n".encode())
        # The bytes of an array of objects are addresses.
        sha256.update(array.tobytes() if array.dtype.kind in "biuf" else repr(array.tolist()).encode())
    return sha256.hexdigest()


def write(job: Job, result: ArchitectureResult) -> None:
    """Save a finished fit in its file, if it has one, with all that decides it and a digest that detects damage."""
    if job.path is not None:
        content = {"key": job.key, "result": to_json(result)}
        write_atomically(job.path, json.dumps({**content, "sha256": digest(content)}, indent=1).encode())


def read(job: Job) -> ArchitectureResult | None:
    """Read a finished fit; None without a file, and for one that is damaged or of another fit."""
    if job.path is None:
        return None
    try:
        content = json.loads(job.path.read_bytes())
        whole = content.pop("sha256") == digest(content) and content["key"] == job.key
        return from_json(content["result"]) if whole else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):  # which foreign files can cause
        return None
