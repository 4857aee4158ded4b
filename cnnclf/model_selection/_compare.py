"""k-fold cross-validation of several architectures on the same folds, with every fold's history and costs."""

import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from cnnclf._utils.text import percent, quote
from cnnclf.architectures._layers import ArchitectureFunction
from cnnclf.architectures._summary import summarize
from cnnclf.architectures._table import find_architecture
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.classifier._parameters import check_parameters
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from cnnclf.model_selection._store import Job, find_measured, find_places, read, write
from cnnclf.training._runtime import ONE_SEED_AT_A_TIME, session

N_WARM_UP = 8  # images of the prediction before the one that is timed


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
        Names of :func:`cnnclf.list_architectures`; a mapping gives names of one's own to such names and to functions
        ``(image_shape, n_classes) -> nn.Module``.
    cv : int, splitter or iterable of (train, test), default=5
        As in :func:`sklearn.model_selection.cross_validate`: an integer is the number of stratified folds. It is asked
        once, so that all architectures see the same folds.
    estimator : CNNClassifier, optional
        All other parameters; it is copied, never changed. ``CNNClassifier(random_state=0)`` by default.
    n_jobs : int, optional
        Fits at the same time, in joblib's backend of the moment; the accuracies are the same bits for any number. One
        process fits one network at a time, so that threads take turns: processes are faster.
    checkpoint : path-like, optional
        A folder, made if it is missing, that keeps each finished fit at once, so that a call with the same data and
        parameters goes on where an earlier one was stopped, and repeats its results, times included.
    verbose : int, default=0
        1 says on stderr how each fit ended.

    Returns
    -------
    Comparison
        The figures of each architecture and the history of each of its fits.

    Raises
    ------
    ValueError
        For an unknown name or one that comes twice, fewer than two folds, parameters or data that cannot be used, and
        with ``checkpoint`` for a parameter that no file can name, such as ``random_state=None``.
    TypeError
        For names that are no text, and an estimator that is no ``CNNClassifier``.
    KeyboardInterrupt
        When a fit is interrupted: a network that is trained by half is not judged.

    See Also
    --------
    sklearn.model_selection.cross_validate : Gives the same accuracies for the same ``cv`` and an integer
        ``random_state``.

    Notes
    -----
    After each epoch the network is measured on the fold that is held out, which changes no weight. With
    ``early_stopping=True`` that would let the held-out fold choose the epoch. The estimator then takes its validation
    images out of the fold's training part, and ``valid_*`` in the history is of those. Held-out images of a class that
    the training part has none of have no loss: they count in the accuracy alone.

    In a checkpoint a function is known by its name, code, default values and closure, and a class by its source. What
    they call is not looked into: empty the folder when that has changed.

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
        raise ValueError("y must hold one label per image; got None.")
    X, y = indexable(X, y)
    rows = np.arange(_num_samples(X))
    most = max(Counter(np.asarray(y).ravel().tolist()).values(), default=0)
    if (
        isinstance(cv, int | np.integer) and most < cv
    ):  # where any class has enough, scikit-learn goes on with a warning
        raise ValueError(
            f"Expected {cv} images of each class or more, for {cv} folds; got at most {most} per class. "
            "Add images, or use fewer folds."
        )
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
    kept = [None if job.place is None else read(job.place) for job in jobs]
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
        raise TypeError(f"estimator must be a CNNClassifier; got {type(estimator).__name__}. Pass CNNClassifier(...).")
    if isinstance(names, str) or not isinstance(names, Sequence | Mapping):
        raise TypeError(f"names must be a list of names or a mapping from name to architecture; got {quote(names)}.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"names must be text; got {quote(name)}. To compare functions, pass a mapping from name to function."
            )
    if not names:
        raise ValueError("names must hold at least one architecture; got none.")
    twice = [name for i, name in enumerate(names) if name in list(names)[:i]]
    if twice:
        raise ValueError(f"names must differ from each other; got {quote(twice[0])} twice. Pass each once.")
    architectures = names if isinstance(names, Mapping) else {name: name for name in names}
    candidates = {name: clone(estimator).set_params(architecture=made_by) for name, made_by in architectures.items()}
    for candidate in candidates.values():
        check_parameters(candidate)
    return candidates


def run(job: Job, X: Any, y: Any, verbose: int) -> ArchitectureResult:
    """Run one fit, score it on the fold that is held out, and keep what is to be kept."""
    X_train, y_train = _safe_indexing(X, job.train), _safe_indexing(y, job.train)
    X_test, y_test = _safe_indexing(X, job.test), _safe_indexing(y, job.test)
    clf = clone(job.clf)
    measured = find_measured(clf, y_train, y_test)
    validation = (
        {"X_val": _safe_indexing(X_test, measured), "y_val": _safe_indexing(y_test, measured)} if len(measured) else {}
    )
    warm_up()
    # A fit runs in this thread alone, so its time is right while other threads run, too.
    start = time.thread_time()
    fit_to_the_end(clf, X_train, y_train, **validation)
    fit_seconds = time.thread_time() - start
    with session(clf.net_.device):  # torch's other threads would not be timed, and do not survive a fork
        accuracy = float(clf.score(X_test, y_test))
        clf.predict_proba(_safe_indexing(X_test, np.arange(min(N_WARM_UP, len(job.test)))))
        start = time.thread_time()
        clf.predict_proba(X_test)
        predict_seconds = (time.thread_time() - start) / len(job.test)
        layers = tuple(summarize(clf.module_, clf.image_shape_))
    fold = Fold(
        number=job.number,
        n_train=len(job.train),
        n_test=len(job.test),
        accuracy=accuracy,
        history=tuple(clf.history_),
        fit_seconds=fit_seconds,
        predict_seconds=predict_seconds,
    )
    result = ArchitectureResult(
        name=job.name,
        source=find_architecture(clf.architecture).source if isinstance(clf.architecture, str) else "",
        layers=layers,
        n_parameters=clf.n_parameters_,
        n_multiply_adds=sum(layer.n_multiply_adds for layer in layers),
        folds=(fold,),
    )
    if job.place is not None:
        write(job.place, result)
    if verbose:
        print(
            f"{job.name}, fold {job.number} of {job.n_folds}: {percent(accuracy, 1)} in {fit_seconds:.1f} CPU s",
            file=sys.stderr,
            flush=True,
        )
    return result


@cache
def warm_up() -> None:
    """Fit once in each process, untimed: torch loads much of itself in its first training step."""
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0)
    fit_to_the_end(clf, np.zeros((4, 8, 8), np.uint8), [0, 0, 1, 1])


def fit_to_the_end(clf: CNNClassifier, X: Any, y: Any, **validation: Any) -> None:
    """Fit, or raise KeyboardInterrupt: a fit that is interrupted warns and leaves a usable estimator, here unwanted."""
    with ONE_SEED_AT_A_TIME, warnings.catch_warnings():  # what is ignored is ignored in all threads
        warnings.filterwarnings("ignore", message="Training interrupted")
        clf.fit(X, y, **validation)
    if not clf.net_.ended_:
        raise KeyboardInterrupt


def join(fits: Sequence[ArchitectureResult]) -> ArchitectureResult:
    """Combine the folds of one architecture."""
    return replace(fits[0], folds=tuple(fold for fit in fits for fold in fit.folds))
