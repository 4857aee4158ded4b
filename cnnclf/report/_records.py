"""The content of a report as frozen records: data, networks, training, evaluation, one traced image, times."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import counted
from cnnclf.architectures._summary import LayerSummary, summarize
from cnnclf.architectures._table import source_of
from cnnclf.classifier._settings import Setting, explain, readable
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._overfitting import Verdict, diagnose
from cnnclf.evaluation._records import Mistake
from cnnclf.evaluation._robustness import Robustness
from cnnclf.report._data import CellImages, DataRecord, behind_cells
from cnnclf.report._render import pictures
from cnnclf.training._runtime import name_processor

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Trace
    from cnnclf.model_selection._comparison import Comparison

N_MISTAKES = 24

VERSIONS_OF = ("cnnclf", "torch", "skorch", "scikit-learn", "numpy")


@dataclass(frozen=True, eq=False, repr=False)
class ModelRecord(Summarised):
    """The trained network and its training.

    Attributes
    ----------
    architecture : str
        Its name.
    source : str
        Where the architecture comes from; empty for a function.
    layers : tuple of LayerSummary
        In the order in which an image passes them.
    n_parameters : int
        Trainable numbers.
    standardisation : tuple of (mean, std)
        What the first layer subtracts from each channel and divides it by, in pixel units.
    settings : tuple of Setting
        Every constructor parameter with its value, range and reason.
    history : tuple of dict
        One per epoch, without the seconds.
    file : str
        Name of the saved model in the report's folder; empty where there is none.
    """

    architecture: str
    source: str
    layers: tuple[LayerSummary, ...]
    n_parameters: int
    standardisation: tuple[tuple[float, float], ...]
    settings: tuple[Setting, ...]
    history: tuple[Mapping[str, Any], ...]
    file: str

    def _summary(self) -> Summary:
        epochs = counted(len(self.history), "epoch")
        title = f"{self.architecture}: {self.n_parameters:,} parameters, {epochs}, {self.verdict.kind}"
        rows = tuple((layer.name, layer.kind, f"{layer.n_parameters:,}") for layer in self.layers)
        return Summary(title, "llr", ("layer", "kind", "parameters"), rows)

    @classmethod
    def from_estimator(
        cls, clf: Any, *, file: str = "", on_mnist: bool = False, usual: Mapping[str, Any] | None = None
    ) -> "ModelRecord":
        """Describe a fitted classifier.

        Parameters
        ----------
        clf : fitted CNNClassifier
            Its parameters, ``history_``, ``n_parameters_`` and ``module_`` are read, and from ``net_`` what "auto"
            became.
        file : str, optional
            As the attribute.
        on_mnist : bool, default=False
            Whether it was trained on MNIST, so that reasons that were measured there hold.
        usual : mapping, optional
            Parameters that nobody set although they differ from the constructor's defaults.

        Returns
        -------
        ModelRecord
            The description.
        """
        state = clf.module_.state_dict()
        mean, std = (state[f"standardise.{name}"].flatten().tolist() for name in ("mean", "std"))
        return cls(
            architecture=readable(clf.architecture_),
            source=source_of(clf.architecture_),
            layers=tuple(summarize(clf.module_, clf.image_shape_)),
            n_parameters=clf.n_parameters_,
            standardisation=tuple(zip(mean, std, strict=True)),
            settings=explain(clf, on_mnist=on_mnist, usual=usual),
            history=tuple(map(without_time, clf.history_)),
            file=file,
        )

    @property
    def n_multiply_adds(self) -> int:
        """Multiply-adds per image, in convolutions and dense layers."""
        return sum(layer.n_multiply_adds for layer in self.layers)

    @property
    def verdict(self) -> Verdict:
        """Whether the network overfits."""
        return diagnose(self.history)


@dataclass(frozen=True)
class Reproduction:
    """Command, seed and versions that reproduce the report.

    Attributes
    ----------
    command : str
        The command line.
    seed : int or None
        Seed of every random choice; None if nothing was random.
    versions : mapping of str to str
        Of Python and the packages that matter.
    """

    command: str
    seed: int | None
    versions: Mapping[str, str]

    @classmethod
    def here(cls, command: str, seed: int | None) -> "Reproduction":
        """Record the installed versions."""
        return cls(command, seed, {"Python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF})


@dataclass(frozen=True)
class Run:
    """What differs when the report is made again: time, date, hardware. The times of a comparison are in its results.

    Attributes
    ----------
    fit_seconds : float
        Wall time of the training.
    epoch_seconds : tuple of float
        Wall time of each epoch.
    date : str
        Date and time, in UTC.
    hardware : str
        Processor, number of cores, and the device of the training if that is another one.
    """

    fit_seconds: float
    epoch_seconds: tuple[float, ...]
    date: str
    hardware: str

    @classmethod
    def of(cls, clf: Any, fit_seconds: float) -> "Run":
        """Record the times of a fitted classifier, the present date and this machine."""
        device = next(iter(clf.module_.parameters())).device.type
        return cls(
            fit_seconds=fit_seconds,
            epoch_seconds=tuple(epoch["seconds"] for epoch in clf.history_),
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            hardware=f"{name_processor()}, {os.cpu_count()} cores{'' if device == 'cpu' else f' and {device}'}",
        )


@dataclass(frozen=True)
class Example:
    """The test image that the report traces through the network.

    Attributes
    ----------
    index : int
        Its row among the test images.
    label : label
        Its true class.
    title : str
        The heading of its walkthrough.
    reason : str
        Why this image was chosen.
    """

    index: int
    label: Any
    title: str
    reason: str

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> "Example":
        """Choose the first 5 that is classified correctly; if the classes are not the digits, one of the commonest.

        Parameters
        ----------
        evaluation : Evaluation
            Of the network on the test images.

        Returns
        -------
        Example
            A correctly classified image, if there is one of this class.

        Examples
        --------
        >>> proba = [[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]]
        >>> Example.from_evaluation(Evaluation.from_predictions(["cat", "dog", "dog"], proba, ["cat", "dog"])).index
        2
        """
        labels = evaluation.classes.tolist()
        counts = [scores.support for scores in evaluation.per_class]
        is_five = [str(label) for label in labels] == list("0123456789") and counts[5] > 0
        chosen = 5 if is_five else int(np.argmax(counts))
        label = labels[chosen]
        of_class = np.flatnonzero(evaluation.y_true == evaluation.classes[chosen])
        right = of_class[evaluation.y_pred[of_class] == evaluation.classes[chosen]]
        index = int(right[0] if len(right) else of_class[0])
        first, commonest = ("5", "") if is_five else (f"of class {label}", "; no class has more test images")
        reason = f"Test image {index} is the first {first} that the network classifies correctly{commonest}."
        if not len(right):
            reason = (
                f"Test image {index} is the first {first}{commonest}. The network misclassifies it, as every image of "
                "this class."
            )
        return cls(index, label, f"How the network reads {'a 5' if is_five else 'one image'}", reason)


@dataclass(frozen=True, eq=False, repr=False)
class Report(Summarised):
    """Everything that the report shows; sections whose record is None are left out.

    Attributes
    ----------
    name : str
        Name of the data or of the predictions.
    evaluation : Evaluation
        Of the test images.
    mistakes : tuple of Mistake
        The most confident ones.
    mistake_pictures : ndarray of shape (n_mistakes, height, width[, channels]), uint8, or None
        The picture of each.
    cells : tuple of CellImages
        The images that a click on a cell of the confusion matrix shows.
    reproduction : Reproduction
        How to make the report again.
    data : DataRecord or None
        Training, validation and test data.
    comparison : Comparison or None
        k-fold cross-validation of several architectures.
    model : ModelRecord or None
        The trained network.
    robustness : Robustness or None
        Accuracy on changed test images.
    example : Example or None
        The test image that is traced through the network.
    trace : Trace or None
        Its trace.
    example_picture : ndarray of shape (height, width[, channels]), uint8, or None
        Its picture.
    run : Run or None
        What differs when the report is made again.
    """

    name: str
    evaluation: Evaluation
    mistakes: tuple[Mistake, ...]
    mistake_pictures: NDArray[np.uint8] | None
    cells: tuple[CellImages, ...]
    reproduction: Reproduction
    data: DataRecord | None = None
    comparison: "Comparison | None" = None
    model: ModelRecord | None = None
    robustness: Robustness | None = None
    example: Example | None = None
    trace: "Trace | None" = None
    example_picture: NDArray[np.uint8] | None = None
    run: Run | None = None

    def _summary(self) -> Summary:
        headings = "; ".join(heading for heading in self.sections.values() if heading)
        return Summary(f"a report on {self.name}", notes=(headings,))

    @classmethod
    def of(
        cls,
        data: DataRecord,
        model: ModelRecord,
        evaluation: Evaluation,
        X_test: NDArray[Any],
        *,
        example: Example,
        trace: "Trace",
        reproduction: Reproduction,
        run: Run,
        comparison: "Comparison | None" = None,
        robustness: Robustness | None = None,
    ) -> "Report":
        """Combine the records of a whole study with the pictures of the test images that are shown.

        Parameters
        ----------
        data, model, evaluation, example, trace, reproduction, run, comparison, robustness
            As the attributes.
        X_test : ndarray of shape (n, channels, height, width)
            The test images.

        Returns
        -------
        Report
            Ready for :func:`write`.
        """
        return replace(
            cls.of_predictions(data.name, evaluation, reproduction, X_test, data.pixel_range),
            data=data,
            comparison=comparison,
            model=model,
            robustness=robustness,
            example=example,
            trace=trace,
            example_picture=pictures(X_test[[example.index]], data.pixel_range)[0],
            run=run,
        )

    @classmethod
    def of_predictions(
        cls,
        name: str,
        evaluation: Evaluation,
        reproduction: Reproduction,
        X_test: NDArray[Any] | None = None,
        pixel_range: tuple[float, float] | None = None,
    ) -> "Report":
        """Report on predictions of any classifier, without anything else about it.

        Parameters
        ----------
        name, evaluation, reproduction
            As the attributes.
        X_test : ndarray of shape (n, channels, height, width), optional
            The test images.
        pixel_range : tuple of float, optional
            The pixel values that are drawn black and white; by default the smallest and the largest of `X_test`.

        Returns
        -------
        Report
            Ready for :func:`write`.
        """
        mistakes = evaluation.mistakes(N_MISTAKES)
        if X_test is None:
            return cls(name, evaluation, mistakes, None, (), reproduction)
        pixel_range = pixel_range or (float(X_test.min()), float(X_test.max()))
        shown = pictures(X_test[[mistake.index for mistake in mistakes]], pixel_range)
        return cls(name, evaluation, mistakes, shown, behind_cells(evaluation, X_test, pixel_range), reproduction)

    @property
    def sections(self) -> dict[str, str]:
        """The heading of each section, by its id, in order."""
        headings = {
            "data": ("The data", self.data),
            "networks": ("The networks compared", self.comparison),
            "network": ("The network", self.model),
            "training": ("The training", self.model),
            "settings": ("The settings", self.model),
            "test": ("The test", self.evaluation),
            "confusion": ("The confusion matrix", self.evaluation),
            "walkthrough": (self.example.title if self.example else "", self.trace),
            "mistakes": ("The most confident mistakes", self.mistake_pictures),
            "limits": ("The limits of this model", self.robustness),
            "again": ("Appendix: how to reproduce it", self.reproduction),
        }
        return {name: heading for name, (heading, record) in headings.items() if record is not None}


def without_time(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch of a history without its seconds, which differ from run to run."""
    return {name: value for name, value in epoch.items() if name != "seconds"}
