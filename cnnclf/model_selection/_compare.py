"""k-fold cross-validation of several architectures on the same folds, with every fold's history and costs."""

import hashlib
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from cnnclf._utils.files import write_atomically
from cnnclf._utils.tables import Summarised, Summary, aligned
from cnnclf._utils.text import mean_and_deviation, percent, quote
from cnnclf.architectures._table import ArchitectureFunction, LayerSummary, find_architecture, summarize
from cnnclf.classifier._classifier import CNNClassifier, check_parameters
from cnnclf.training._checkpoint import describe_fit, digest
from cnnclf.training._net import ONE_SEED_AT_A_TIME, session

N_WARM_UP = 8  # images of the prediction before the one that is timed


@dataclass(frozen=True, eq=False, repr=False)
class Fold(Summarised):
    """One fit of one architecture: learnt from all other folds, judged on this one.

    Attributes
    ----------
    number : int
        Which fold was held out, from 1.
    n_train, n_test : int
        Images learnt from and images held out.
    accuracy : float
        Share of the held-out images called what they are, 0..1, by the network as ``fit`` left it.
    history : tuple of mapping
        The estimator's ``history_``, one an epoch; ``valid_loss`` and ``valid_accuracy`` are of the held-out images.
    fit_seconds : float
        CPU seconds of ``fit``, with what is measured after each epoch.
    predict_seconds : float
        CPU seconds of ``predict_proba`` an image.
    """

    number: int
    n_train: int
    n_test: int
    accuracy: float
    history: tuple[Mapping[str, Any], ...]
    fit_seconds: float
    predict_seconds: float

    def _summary(self) -> Summary:
        return Summary(
            f"fold {self.number}: {percent(self.accuracy)} of {self.n_test:,} images, learnt from {self.n_train:,} in "
            f"{len(self.history)} {'epoch' if len(self.history) == 1 else 'epochs'}, {self.fit_seconds:.2f} CPU s"
        )


@dataclass(frozen=True, eq=False, repr=False)
class ArchitectureResult(Summarised):
    """One architecture: what it is, and what every fold says of it.

    Attributes
    ----------
    name : str
        What it was called in the comparison.
    source : str
        Where it comes from; empty for a function.
    layers : tuple of LayerSummary
        The fitted network, from raw pixels to logits, as the first fold has it.
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiply-adds of one image, as :func:`cnnclf.architectures.count_multiply_adds` counts them.
    folds : tuple of Fold
        In the order of the splitter.
    """

    name: str
    source: str
    layers: tuple[LayerSummary, ...]
    n_parameters: int
    n_multiply_adds: int
    folds: tuple[Fold, ...]

    def _summary(self) -> Summary:
        return Summary(
            f"{self.name}: {self.n_parameters:,} parameters, {self.n_multiply_adds:,} multiply-adds an image",
            "rrrrr",
            ("fold", "accuracy", "learnt from", "held out", "CPU s a fit"),
            tuple(
                (
                    str(fold.number),
                    percent(fold.accuracy),
                    f"{fold.n_train:,}",
                    f"{fold.n_test:,}",
                    f"{fold.fit_seconds:.2f}",
                )
                for fold in self.folds
            ),
        )

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy on each held-out fold, 0..1."""
        return tuple(fold.accuracy for fold in self.folds)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy of the folds, 0..1."""
        return fmean(self.accuracies)  # of equal folds in any order the same bits

    @property
    def std_accuracy(self) -> float:
        """Sample standard deviation (n − 1) of the accuracy of the folds."""
        return stdev(self.accuracies)

    @property
    def fit_seconds(self) -> float:
        """Mean CPU seconds of a fit."""
        return fmean(fold.fit_seconds for fold in self.folds)

    @property
    def predict_seconds(self) -> float:
        """Mean CPU seconds of a prediction an image."""
        return fmean(fold.predict_seconds for fold in self.folds)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Summarised):
    """Several architectures, judged on the same folds by :func:`compare_architectures`.

    Attributes
    ----------
    results : tuple of ArchitectureResult
        In the order asked for.
    n_folds : int
        Fits of each architecture.
    """

    results: tuple[ArchitectureResult, ...]
    n_folds: int

    @property
    def best(self) -> ArchitectureResult:
        """The one of the highest mean accuracy; of equals the one of fewer parameters."""
        return max(self.results, key=lambda result: (result.mean_accuracy, -result.n_parameters))

    def to_dict(self) -> dict[str, Any]:
        """Give everything, the means included, in dicts, lists, text and numbers, as JSON knows them.

        Returns
        -------
        dict
            ``n_folds``, and ``results`` with the attributes and properties of each :class:`ArchitectureResult`.
        """
        figures = ("mean_accuracy", "std_accuracy", "fit_seconds", "predict_seconds")
        return {
            "n_folds": self.n_folds,
            "results": [
                {**to_json(result), **{name: getattr(result, name) for name in figures}} for result in self.results
            ],
        }

    def to_text(self) -> str:
        """Write the figures as a table for a terminal.

        Returns
        -------
        str
            A line of headings and a line for each architecture: accuracy as mean ± standard deviation of the folds,
            parameters, multiply-adds of an image, CPU seconds of a fit, CPU microseconds of a prediction an image.
        """
        summary = self._summary()
        return "\n".join(aligned(summary.align, (summary.head, *summary.rows)))

    def _summary(self) -> Summary:
        return Summary(
            f"{len(self.results)} {'architecture' if len(self.results) == 1 else 'architectures'}, the highest mean: "
            f"{self.best.name}",
            "lrrrrr",
            (
                "architecture",
                f"accuracy, {self.n_folds} folds",
                "parameters",
                "multiply-adds",
                "CPU s a fit",
                "µs an image",
            ),
            tuple(
                (
                    result.name,
                    mean_and_deviation(result.mean_accuracy, result.std_accuracy),
                    f"{result.n_parameters:,}",
                    f"{result.n_multiply_adds:,}",
                    f"{result.fit_seconds:.2f}",
                    f"{1e6 * result.predict_seconds:.1f}",
                )
                for result in self.results
            ),
        )


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
        raise ValueError("y must hold one label an image; got None.")
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
    """Give each name an unfitted estimator of its architecture, all parameters checked."""
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


def find_places(jobs: Sequence[Job], X: Any, y: Any, folder: Path) -> list[Job]:
    """Give each fit the place in a checkpoint that belongs to its data and parameters."""
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


def to_json(result: ArchitectureResult) -> dict[str, Any]:
    """Turn a result into dicts, lists, text and numbers."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(result)))
    return plain


def from_json(plain: Mapping[str, Any]) -> ArchitectureResult:
    """Turn what :func:`to_json` gives back into the result."""
    layers = (LayerSummary(**{**layer, "output_shape": tuple(layer["output_shape"])}) for layer in plain["layers"])
    folds = (Fold(**{**fold, "history": tuple(fold["history"])}) for fold in plain["folds"])
    return ArchitectureResult(**{**plain, "layers": tuple(layers), "folds": tuple(folds)})


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


def run(job: Job, X: Any, y: Any, verbose: int) -> ArchitectureResult:
    """Make one fit, judge it on the fold that is held out, and keep what is to be kept."""
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


def find_measured(clf: CNNClassifier, y_train: Any, y_test: Any) -> NDArray[np.int64]:
    """Find the held-out rows to measure while training: of known classes, and none where that would end it."""
    if clf.early_stopping:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isin(np.asarray(y_test), np.unique(np.asarray(y_train))))


def fit_to_the_end(clf: CNNClassifier, X: Any, y: Any, **validation: Any) -> None:
    """Fit, or raise KeyboardInterrupt: a fit that is interrupted warns and leaves a usable estimator, here unwanted."""
    with ONE_SEED_AT_A_TIME, warnings.catch_warnings():  # what is ignored is ignored in all threads
        warnings.filterwarnings("ignore", message="Training interrupted")
        clf.fit(X, y, **validation)
    if not clf.net_.ended_:
        raise KeyboardInterrupt


def join(fits: Sequence[ArchitectureResult]) -> ArchitectureResult:
    """Put the folds of one architecture together."""
    return replace(fits[0], folds=tuple(fold for fit in fits for fold in fit.folds))
