"""A comparison of architectures: its folds, results and tables."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from cnnclf._utils.tables import Summarised, Summary, aligned
from cnnclf._utils.text import counted, mean_and_deviation, percent
from cnnclf.architectures._summary import LayerSummary


@dataclass(frozen=True, eq=False, repr=False)
class Fold(Summarised):
    """One fit of one architecture: trained on all other folds, evaluated on this one.

    Attributes
    ----------
    number : int
        The fold that was held out, from 1.
    n_train, n_test : int
        Training images and held-out images.
    accuracy : float
        Accuracy on the held-out images, 0..1, of the network that ``fit`` returned.
    history : tuple of mapping
        The estimator's ``history_``, one per epoch; ``valid_loss`` and ``valid_accuracy`` are of the held-out images.
    fit_seconds : float
        CPU seconds of ``fit``, with the evaluation after each epoch.
    predict_seconds : float
        CPU seconds of ``predict_proba`` per image.
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
            f"fold {self.number}: {percent(self.accuracy)} of {self.n_test:,} images, trained on {self.n_train:,} in "
            f"{counted(len(self.history), 'epoch')}, {self.fit_seconds:.2f} CPU s"
        )


@dataclass(frozen=True, eq=False, repr=False)
class ArchitectureResult(Summarised):
    """One architecture of a comparison and the results of its folds.

    Attributes
    ----------
    name : str
        Its name in the comparison.
    source : str
        Where it comes from; empty for a function.
    layers : tuple of LayerSummary
        The fitted network, from raw pixels to logits, as the first fold has it.
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiply-adds per image, as :func:`cnnclf.architectures.count_multiply_adds` counts them.
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
        title = f"{self.name}: {self.n_parameters:,} parameters, {self.n_multiply_adds:,} multiply-adds per image"
        sizes = [(f"{fold.n_train:,}", f"{fold.n_test:,}") for fold in self.folds]
        rows = tuple(
            (str(fold.number), percent(fold.accuracy), *size, f"{fold.fit_seconds:.2f}")
            for fold, size in zip(self.folds, sizes, strict=True)
        )
        return Summary(title, "rrrrr", ("fold", "accuracy", "trained on", "held out", "CPU s per fit"), rows)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy on each held-out fold, 0..1."""
        return tuple(fold.accuracy for fold in self.folds)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy of the folds, 0..1."""
        return fmean(self.accuracies)  # bit-identical for any order of the folds

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
        """Mean CPU seconds of the prediction of one image."""
        return fmean(fold.predict_seconds for fold in self.folds)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Summarised):
    """Several architectures, evaluated on the same folds by :func:`compare_architectures`.

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
        """The architecture with the highest mean accuracy; of equals, the one with fewer parameters."""
        return max(self.results, key=lambda result: (result.mean_accuracy, -result.n_parameters))

    def to_dict(self) -> dict[str, Any]:
        """Return everything, the means included, as JSON types.

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
        """Return the figures as a table for a terminal.

        Returns
        -------
        str
            A line of headings and one line per architecture: accuracy as mean ± standard deviation of the folds,
            parameters, multiply-adds per image, CPU seconds per fit, CPU microseconds per predicted image.
        """
        summary = self._summary()
        return "\n".join(aligned(summary.align, (summary.head, *summary.rows)))

    def _summary(self) -> Summary:
        accuracy, seconds = f"accuracy, {self.n_folds} folds", ("CPU s per fit", "µs per image")
        title = f"{counted(len(self.results), 'architecture')}; best mean accuracy: {self.best.name}"
        rows = tuple(
            (
                result.name,
                mean_and_deviation(result.mean_accuracy, result.std_accuracy),
                f"{result.n_parameters:,}",
                f"{result.n_multiply_adds:,}",
                f"{result.fit_seconds:.2f}",
                f"{1e6 * result.predict_seconds:.1f}",
            )
            for result in self.results
        )
        return Summary(title, "lrrrrr", ("architecture", accuracy, "parameters", "multiply-adds", *seconds), rows)


def to_json(result: ArchitectureResult) -> dict[str, Any]:
    """Return a result as JSON types."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(result)))
    return plain


def from_json(plain: Mapping[str, Any]) -> ArchitectureResult:
    """Return the result that :func:`to_json` was given."""
    layers = (LayerSummary(**{**layer, "output_shape": tuple(layer["output_shape"])}) for layer in plain["layers"])
    folds = (Fold(**{**fold, "history": tuple(fold["history"])}) for fold in plain["folds"])
    return ArchitectureResult(**{**plain, "layers": tuple(layers), "folds": tuple(folds)})
