"""What a report says, as frozen records: data, networks, training, judgement, one image followed, what it took."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import Summarised, Summary
from cnnclf.classifier._settings import Setting, explain, readable
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._overfitting import Verdict, diagnose
from cnnclf.evaluation._records import Mistake
from cnnclf.evaluation._robustness import Robustness
from cnnclf.report._data import DataRecord
from cnnclf.report._pictures import CellImages, behind_cells
from cnnclf.report._render import pictures

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Trace
    from cnnclf.model_selection._comparison import Comparison

N_MISTAKES = 24

VERSIONS_OF = ("cnnclf", "torch", "skorch", "scikit-learn", "numpy")


class LayerRow(Protocol):
    """One layer of a network, as ``architectures.summarize`` lists it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_multiply_adds(self) -> int: ...


@dataclass(frozen=True, eq=False, repr=False)
class ModelRecord(Summarised):
    """What was trained, and how it went.

    Attributes
    ----------
    architecture : str
        Its name.
    source : str
        Where the architecture comes from; may be empty.
    layers : tuple of LayerRow
        In the order in which an image passes them.
    n_parameters : int
        Trainable numbers.
    standardisation : tuple of (mean, std)
        What the first layer subtracts from each channel and divides it by, in pixel units.
    settings : tuple of Setting
        Every constructor parameter with its value, range and reason.
    history : tuple of dict
        One an epoch, without the seconds.
    file : str
        Name of the saved model beside the report; empty where there is none.
    """

    architecture: str
    source: str
    layers: tuple[LayerRow, ...]
    n_parameters: int
    standardisation: tuple[tuple[float, float], ...]
    settings: tuple[Setting, ...]
    history: tuple[Mapping[str, Any], ...]
    file: str

    def _summary(self) -> Summary:
        return Summary(
            f"{self.architecture}: {self.n_parameters:,} parameters, {len(self.history)} epochs, {self.verdict.kind}",
            "llr",
            ("layer", "what it is", "parameters"),
            tuple((layer.name, layer.kind, f"{layer.n_parameters:,}") for layer in self.layers),
        )

    @classmethod
    def from_estimator(
        cls,
        clf: Any,
        layers: Sequence[LayerRow],
        *,
        source: str = "",
        file: str = "",
        on_mnist: bool = False,
        usual: Mapping[str, Any] | None = None,
    ) -> "ModelRecord":
        """Describe a fitted classifier.

        Parameters
        ----------
        clf : fitted CNNClassifier
            Read: its parameters, ``history_``, ``n_parameters_``, the first layer of ``module_``, and from ``net_``
            what "auto" became.
        layers : sequence of LayerRow
            ``architectures.summarize(clf.module_, clf.image_shape_)``.
        source, file : str, optional
            As the attributes.
        on_mnist : bool, default=False
            Whether it learnt MNIST, so that reasons that were measured there hold.
        usual : mapping, optional
            Parameters that nobody set although they are not the constructor's defaults.

        Returns
        -------
        ModelRecord
            The description.
        """
        state = clf.module_.state_dict()
        mean, std = (state[f"standardise.{name}"].flatten().tolist() for name in ("mean", "std"))
        return cls(
            architecture=readable(clf.architecture),
            source=source,
            layers=tuple(layers),
            n_parameters=clf.n_parameters_,
            standardisation=tuple(zip(mean, std, strict=True)),
            settings=explain(clf, on_mnist=on_mnist, usual=usual),
            history=tuple({key: epoch[key] for key in epoch if key != "seconds"} for epoch in clf.history_),
            file=file,
        )

    @property
    def n_multiply_adds(self) -> int:
        """Multiplications with an addition that one image costs in convolutions and dense layers."""
        return sum(layer.n_multiply_adds for layer in self.layers)

    @property
    def verdict(self) -> Verdict:
        """Whether it has learnt by heart."""
        return diagnose(self.history)


@dataclass(frozen=True)
class Reproduction:
    """What it takes to do it again.

    Attributes
    ----------
    command : str
        The command line.
    seed : int or None
        Seed of every random choice; None where there was none.
    versions : mapping of str to str
        Of Python and the packages that matter.
    """

    command: str
    seed: int | None
    versions: Mapping[str, str]

    @classmethod
    def here(cls, command: str, seed: int | None) -> "Reproduction":
        """Note the installed versions."""
        return cls(command, seed, {"Python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF})


@dataclass(frozen=True)
class Cost:
    """What one architecture cost in the comparison.

    Attributes
    ----------
    architecture : str
        Its name.
    fit_seconds : float
        CPU seconds of the training in one fold, mean over the folds.
    predict_seconds : float
        CPU seconds of the prediction of one image, mean over the folds.
    """

    architecture: str
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class Run:
    """What differs when the same is done again: time, date, hardware.

    Attributes
    ----------
    fit_seconds : float
        Wall time of the training.
    epoch_seconds : tuple of float
        Wall time of each epoch.
    costs : tuple of Cost
        Of each architecture that was compared.
    date : str
        When, in UTC.
    hardware : str
        Processor and number of cores, and the device that did the arithmetic.
    """

    fit_seconds: float
    epoch_seconds: tuple[float, ...]
    costs: tuple[Cost, ...]
    date: str
    hardware: str

    @classmethod
    def of(cls, clf: Any, fit_seconds: float, comparison: "Comparison | None" = None) -> "Run":
        """Note the time a fitted classifier took, now and on this machine."""
        device = next(iter(clf.module_.parameters())).device.type
        return cls(
            fit_seconds=fit_seconds,
            epoch_seconds=tuple(epoch["seconds"] for epoch in clf.history_),
            costs=tuple(
                Cost(result.name, result.fit_seconds, result.predict_seconds)
                for result in (comparison.results if comparison else ())
            ),
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            hardware=f"{processor_name()}, {os.cpu_count()} cores{'' if device == 'cpu' else f' and {device}'}",
        )


@dataclass(frozen=True)
class Example:
    """The test image that the report follows through the network.

    Attributes
    ----------
    index : int
        Its place among the test images.
    label : label
        What it is.
    title : str
        What to call its walkthrough.
    reason : str
        Why it is this one.
    """

    index: int
    label: Any
    title: str
    reason: str

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> "Example":
        """Choose the first 5 that the network gets right; where there are no digits, one of the commonest class.

        Parameters
        ----------
        evaluation : Evaluation
            What the network said about the test images.

        Returns
        -------
        Example
            An image that it gets right, if there is one of this class.

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
        return cls(
            index,
            label,
            "How the network reads a 5" if is_five else "How the network reads one image",
            f"Test image {index} is the first {first} that the network names correctly{commonest}."
            if len(right)
            else f"Test image {index} is the first {first}{commonest}. The network is wrong about it, as it is about "
            "every image of this class.",
        )


@dataclass(frozen=True, eq=False, repr=False)
class Report(Summarised):
    """Everything the report shows; what is None is left out.

    Attributes
    ----------
    name : str
        What to call what was judged.
    evaluation : Evaluation
        What was said about the test images.
    mistakes : tuple of Mistake
        The surest of the mistakes.
    mistake_pictures : ndarray of shape (n_mistakes, height, width[, channels]), uint8, or None
        The picture of each.
    cells : tuple of CellImages
        What opens when a cell of the confusion matrix is clicked.
    reproduction : Reproduction
        How to do it again.
    data : DataRecord or None
        What was learnt from and judged on.
    comparison : Comparison or None
        k-fold cross-validation of several architectures.
    model : ModelRecord or None
        What was trained.
    robustness : Robustness or None
        How it does on changed images.
    example : Example or None
        The test image that is followed through the network.
    trace : Trace or None
        What it is in every layer.
    example_picture : ndarray of shape (height, width[, channels]), uint8, or None
        The image itself.
    run : Run or None
        What will differ when it is done again.
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
        """Put the records of a whole study together with the pictures of the test images that are shown.

        Parameters
        ----------
        data, model, evaluation, example, trace, reproduction, run, comparison, robustness
            As the attributes.
        X_test : ndarray of shape (n, channels, height, width)
            The images that were judged.

        Returns
        -------
        Report
            Ready for :func:`write`.
        """
        mistakes = evaluation.mistakes(N_MISTAKES)
        return cls(
            name=data.name,
            evaluation=evaluation,
            mistakes=mistakes,
            mistake_pictures=pictures(X_test[[mistake.index for mistake in mistakes]], data.pixel_range),
            cells=behind_cells(evaluation, X_test, data.pixel_range),
            reproduction=reproduction,
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
        cls, name: str, evaluation: Evaluation, reproduction: Reproduction, X_test: NDArray[Any] | None = None
    ) -> "Report":
        """Report on predictions of any classifier, of which nothing else is known.

        Parameters
        ----------
        name, evaluation, reproduction
            As the attributes.
        X_test : ndarray of shape (n, channels, height, width), optional
            The images that were judged.

        Returns
        -------
        Report
            Ready for :func:`write`.
        """
        mistakes = evaluation.mistakes(N_MISTAKES)
        shown: NDArray[np.uint8] | None = None
        cells: tuple[CellImages, ...] = ()
        if X_test is not None:
            pixel_range = float(X_test.min()), float(X_test.max())
            shown = pictures(X_test[[mistake.index for mistake in mistakes]], pixel_range)
            cells = behind_cells(evaluation, X_test, pixel_range)
        return cls(name, evaluation, mistakes, shown, cells, reproduction)

    @property
    def sections(self) -> dict[str, str]:
        """Heading of each section by its id, in order."""
        headings = {
            "data": ("The data", self.data),
            "networks": ("The networks compared", self.comparison),
            "network": ("The network", self.model),
            "training": ("The training", self.model),
            "settings": ("The settings", self.model),
            "test": ("The test", self.evaluation),
            "confusion": ("What is taken for what", self.evaluation),
            "walkthrough": (self.example.title if self.example else "", self.trace),
            "mistakes": ("The mistakes it was surest of", self.mistake_pictures),
            "limits": ("The limits of this model", self.robustness),
            "again": ("Appendix: how to do it again", self.reproduction),
        }
        return {name: heading for name, (heading, record) in headings.items() if record is not None}


def processor_name() -> str:
    """Name the processor as well as the system can."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
