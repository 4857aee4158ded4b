"""Records of one training, its judgement and one traced image → web pages, Markdown, figures and ``metrics.json``.

The renderers see records only. The same records give the same bytes; what differs from run to run (time, date,
hardware) is kept in :class:`Run` and stands in one place of each file.
"""

import base64
import io
import json
import os
import platform
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib as mpl
import numpy as np
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cnnclf.evaluation import Evaluation, Mistake
from cnnclf.plots import (
    INK,
    ClassDistributionDisplay,
    ConfusionMatrixDisplay,
    ImageGridDisplay,
    TrainingCurvesDisplay,
    as_maps,
    new_figure,
    percent,
    signed_colours,
)
from cnnclf.walkthrough import Beside, Matrix, Paragraph, Picture, hold, tell

if TYPE_CHECKING:
    from cnnclf.tracing import Trace

N_MISTAKES = 24
N_SAMPLES = 10  # of each class
N_SAMPLE_CLASSES = 30
LARGEST_PICTURE = 96  # pixels; a larger one is shrunk, so that the page stays small
N_MAPS = 8  # feature maps of a layer
LARGEST_MAP = 48  # pixels

VERSIONS_OF = ("cnnclf", "torch", "skorch", "scikit-learn", "numpy")

# What each constructor parameter of the estimator is, in one line.
HYPERPARAMETERS = {
    "architecture": "which layers, in which order",
    "max_epochs": "how often every training image is seen",
    "batch_size": "images a step of the optimiser looks at",
    "lr": "peak learning rate: how far a step goes",
    "optimizer": "the rule that turns gradients into steps",
    "lr_schedule": "how the learning rate changes from step to step",
    "weight_decay": "pull of every weight towards zero",
    "label_smoothing": "share of the target spread over the other classes",
    "augment": "random changes to each training image",
    "weight_averaging": "whether the final weights are a moving average",
    "early_stopping": "whether to stop when validation no longer improves",
    "validation_fraction": "share of the training images kept for validation, when none are given",
    "patience": "epochs without improvement before stopping early",
    "class_weight": "how much the images of each class count",
    "image_shape": "(channels, height, width), where the data does not tell",
    "precision": "number format of the arithmetic",
    "device": "where the arithmetic is done",
    "compile": "whether the network is compiled before training",
    "warm_start": "whether fit goes on from the weights of the last fit",
    "callbacks": "code called after every epoch",
    "random_state": "seed of every random choice",
    "verbose": "whether progress is shown",
}


def place_of(parameter: str) -> int:
    """Put the parameters in the order in which they are explained, unknown ones last."""
    return [*HYPERPARAMETERS, parameter].index(parameter)


class LayerRow(Protocol):
    """One layer of a network, as ``architectures.summarize`` lists it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def output_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def n_parameters(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data.

    Attributes
    ----------
    name : str
        ``training``, ``validation`` or ``test``.
    origin : str
        Where its images come from and what they are for.
    counts : tuple of int
        Images of each class.
    """

    name: str
    origin: str
    counts: tuple[int, ...]

    @property
    def n_images(self) -> int:
        """Images in this part."""
        return sum(self.counts)


@dataclass(frozen=True, eq=False)
class DataRecord:
    """What the classifier learnt from and was judged on.

    Attributes
    ----------
    name : str
        What to call the data.
    note : str
        What a reader has to know before all else, such as why it is not MNIST; empty where there is nothing.
    classes : tuple of label
        The labels, in the order of all counts.
    splits : tuple of Split
        Training, validation and test.
    image_shape : tuple of int
        (channels, height, width).
    pixel_range : tuple of float
        Smallest and largest pixel value of the training images.
    samples : tuple of ndarray of shape (n, height, width[, channels]), uint8
        A few training pictures of each of the first classes.
    """

    name: str
    note: str
    classes: tuple[Any, ...]
    splits: tuple[Split, ...]
    image_shape: tuple[int, int, int]
    pixel_range: tuple[float, float]
    samples: tuple[NDArray[np.uint8], ...]

    @classmethod
    def from_splits(
        cls,
        name: str,
        *,
        note: str,
        splits: Mapping[str, tuple[str, NDArray[Any], NDArray[Any]]],
    ) -> "DataRecord":
        """Describe the data.

        Parameters
        ----------
        name, note : str
            As the attributes.
        splits : mapping of str to (origin, X, y)
            ``training`` first, then ``validation`` and ``test``; X of shape (n, channels, height, width), y of
            shape (n,).

        Returns
        -------
        DataRecord
            Counts, and the first few training images of each class.
        """
        _, X, y = splits["training"]
        classes = np.unique(np.concatenate([labels for _, _, labels in splits.values()]))
        pixel_range = (float(X.min()), float(X.max()))
        return cls(
            name=name,
            note=note,
            classes=tuple(classes.tolist()),
            splits=tuple(
                Split(split, origin, tuple(int((labels == label).sum()) for label in classes))
                for split, (origin, _, labels) in splits.items()
            ),
            image_shape=X.shape[1:],
            pixel_range=pixel_range,
            samples=tuple(
                pictures(X[np.flatnonzero(y == label)[:N_SAMPLES]], pixel_range) for label in classes[:N_SAMPLE_CLASSES]
            ),
        )

    @property
    def n_images(self) -> int:
        """Images in all splits together."""
        return sum(split.n_images for split in self.splits)


@dataclass(frozen=True, eq=False)
class ModelRecord:
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
    hyperparameters : mapping of str to str
        Every constructor parameter, written out.
    history : tuple of dict
        One an epoch, without the seconds.
    file : str
        Name of the saved model beside the report; empty where there is none.
    """

    architecture: str
    source: str
    layers: tuple[LayerRow, ...]
    n_parameters: int
    hyperparameters: Mapping[str, str]
    history: tuple[Mapping[str, Any], ...]
    file: str

    @classmethod
    def from_estimator(cls, clf: Any, layers: Sequence[LayerRow], *, source: str = "", file: str = "") -> "ModelRecord":
        """Describe a fitted classifier.

        Parameters
        ----------
        clf : fitted CNNClassifier
            Read: its parameters, ``history_``, ``n_parameters_``, and from ``net_`` what "auto" became.
        layers : sequence of LayerRow
            ``architectures.summarize(clf.module_, clf.image_shape_)``.
        source, file : str, optional
            As the attributes.

        Returns
        -------
        ModelRecord
            The description.
        """
        parameters = clf.get_params(deep=False)
        return cls(
            architecture=readable(parameters["architecture"]),
            source=source,
            layers=tuple(layers),
            n_parameters=clf.n_parameters_,
            hyperparameters={name: resolved(clf, name) for name in sorted(parameters, key=place_of)},
            history=tuple({key: epoch[key] for key in epoch if key != "seconds"} for epoch in clf.history_),
            file=file,
        )


@dataclass(frozen=True)
class Reproduction:
    """What it takes to do it again.

    Attributes
    ----------
    command : str
        The command line.
    seed : int
        Seed of every random choice.
    versions : mapping of str to str
        Of Python and the packages that matter.
    """

    command: str
    seed: int
    versions: Mapping[str, str]

    @classmethod
    def here(cls, command: str, seed: int) -> "Reproduction":
        """Note the installed versions."""
        return cls(command, seed, {"Python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF})


@dataclass(frozen=True)
class Run:
    """What differs when the same is done again: time, date, hardware.

    Attributes
    ----------
    fit_seconds : float
        Wall time of the training.
    epoch_seconds : tuple of float
        Wall time of each epoch.
    date : str
        When, in UTC.
    hardware : str
        Processor and number of cores, and the device that did the arithmetic.
    """

    fit_seconds: float
    epoch_seconds: tuple[float, ...]
    date: str
    hardware: str

    @classmethod
    def of(cls, clf: Any, fit_seconds: float) -> "Run":
        """Note the time a fitted classifier took, now and on this machine."""
        device = next(iter(clf.module_.parameters())).device.type
        return cls(
            fit_seconds=fit_seconds,
            epoch_seconds=tuple(epoch["seconds"] for epoch in clf.history_),
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


@dataclass(frozen=True, eq=False)
class Report:
    """Everything the report shows.

    Attributes
    ----------
    data : DataRecord
        What it learnt from and was judged on.
    model : ModelRecord
        What was trained.
    evaluation : Evaluation
        What it said about the test images.
    mistakes : tuple of Mistake
        The surest of its mistakes.
    mistake_pictures : ndarray of shape (n_mistakes, height, width[, channels]), uint8
        The picture of each.
    example : Example
        The test image that is followed through the network.
    trace : Trace
        What it is in every layer.
    example_picture : ndarray of shape (height, width[, channels]), uint8
        The image itself.
    reproduction : Reproduction
        How to do it again.
    run : Run
        What will then differ.
    """

    data: DataRecord
    model: ModelRecord
    evaluation: Evaluation
    mistakes: tuple[Mistake, ...]
    mistake_pictures: NDArray[np.uint8]
    example: Example
    trace: "Trace"
    example_picture: NDArray[np.uint8]
    reproduction: Reproduction
    run: Run

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
    ) -> "Report":
        """Put the records together with the pictures of the surest mistakes and of the example.

        Parameters
        ----------
        data, model, evaluation, example, trace, reproduction, run
            As the attributes.
        X_test : ndarray of shape (n, channels, height, width)
            The images that were judged.

        Returns
        -------
        Report
            Ready for :func:`write`.
        """
        mistakes = evaluation.mistakes(N_MISTAKES)
        shown = pictures(X_test[[*(mistake.index for mistake in mistakes), example.index]], data.pixel_range)
        return cls(data, model, evaluation, mistakes, shown[:-1], example, trace, shown[-1], reproduction, run)


def write(report: Report, folder: str | os.PathLike[str]) -> Path:
    """Write the report.

    Parameters
    ----------
    report : Report
        What to show.
    folder : path
        Gets ``index.html``, ``report.md``, ``metrics.json`` and ``figures/``, and of the walkthrough
        ``walkthrough.html``, where every number can be pointed at, and ``walkthrough.md``; made where it is missing.
        Each file appears whole or not at all.

    Returns
    -------
    Path
        Of ``index.html``.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    drawings = figures(report)
    for name, svg in drawings.items():
        write_whole(folder / "figures" / f"{name}.svg", standalone(svg))
    for name, png in picture_grids(report).items():
        write_whole(folder / "figures" / f"{name}.png", png)
    write_whole(folder / "metrics.json", json.dumps(metrics(report), indent=2, ensure_ascii=False, allow_nan=False))
    report.trace.to_html(folder / "walkthrough.html")
    write_whole(folder / "walkthrough.md", report.trace.to_markdown())
    write_whole(folder / "report.md", to_markdown(report))
    write_whole(folder / "index.html", to_html(report, drawings))
    return folder / "index.html"


def metrics(report: Report) -> dict[str, Any]:
    """Give the numbers of the report in a form that JSON can hold; of the walkthrough, what goes in and comes out."""
    data, model, evaluation = report.data, report.model, report.evaluation
    return {
        "dataset": {
            "name": data.name,
            "note": data.note,
            "classes": list(data.classes),
            "image_shape": list(data.image_shape),
            "images": {split.name: split.n_images for split in data.splits},
        },
        "model": {
            "architecture": model.architecture,
            "n_parameters": model.n_parameters,
            "hyperparameters": dict(model.hyperparameters),
            "history": [dict(epoch) for epoch in model.history],
        },
        "test": {
            "n_images": evaluation.n_samples,
            "n_mistakes": evaluation.n_mistakes,
            "accuracy": evaluation.accuracy,
            "accuracy_interval_95": list(evaluation.accuracy_interval),
            "log_loss": evaluation.log_loss,
            "per_class": [
                {"class": label} | asdict(scores)
                for label, scores in zip(evaluation.classes.tolist(), evaluation.per_class, strict=True)
            ],
            "macro_mean": asdict(evaluation.macro_mean),
            "weighted_mean": asdict(evaluation.weighted_mean),
            "confusion_matrix": evaluation.confusion_matrix.tolist(),
        },
        "walkthrough": {
            "test_image": report.example.index,
            "class": report.example.label,
            "predicted": report.trace.ranking.tolist()[0],
            "probabilities": report.trace.probabilities.tolist(),
        },
        "reproduction": asdict(report.reproduction),
        "run": asdict(report.run),
    }


def to_html(report: Report, drawings: Mapping[str, str]) -> str:
    """Render the page, self-contained, with the SVG of each of :func:`figures` inside."""
    title, image, *sections = tell(report.trace)
    maps = [feature_maps(step.output) for step in report.trace.walk()]
    layers, decision = sections[: len(maps)], sections[len(maps) :]
    story = {"title": title, "image": image, "layers": zip(layers, maps, strict=True), "decision": decision}
    inline = {name: Markup(svg) for name, svg in drawings.items()}
    return templates().get_template("index.html.j2").render(report=report, figures=inline, story=story)


def to_markdown(report: Report) -> str:
    """Render the Markdown, which refers to the files in ``figures/``."""
    return templates().get_template("report.md.j2").render(report=report)


def figures(report: Report) -> dict[str, str]:
    """Draw the figures that are lines and letters, as SVG whose ink is the text colour of the page around it."""
    curves = new_figure(4.2, 2.9), new_figure(4.2, 2.9)
    TrainingCurvesDisplay(report.model.history).plot((curves[0].subplots(), curves[1].subplots()))
    distribution = ClassDistributionDisplay(
        report.data.classes, {split.name: split.counts for split in report.data.splits}
    ).plot()
    confusion = ConfusionMatrixDisplay.from_evaluation(report.evaluation)
    drawn = {
        "loss": curves[0],
        "accuracy": curves[1],
        "classes": distribution.figure_,
        "confusion": confusion.figure_,
    }
    return {name: to_svg(figure, name) for name, figure in drawn.items()}


def picture_grids(report: Report) -> dict[str, bytes]:
    """Draw the figures that are pictures, as PNG."""
    per_class = zip(report.data.classes, report.data.samples, strict=False)
    labels = [label for label, samples in per_class for _ in samples]
    grids = {"samples": ImageGridDisplay.from_labels(np.concatenate(report.data.samples), labels)}
    if report.mistakes:
        grids["mistakes"] = ImageGridDisplay.from_mistakes(report.mistake_pictures, report.mistakes)
    return {name: to_png(grid.figure_) for name, grid in grids.items()}


def pictures(X: NDArray[Any], pixel_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Make images fit to be looked at.

    Parameters
    ----------
    X : ndarray of shape (n, channels, height, width)
        Pixels.
    pixel_range : tuple of float
        The values that become 0 and 255; what lies outside is clipped.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, height, width, channels), uint8
        Grey, unless there are 3 or 4 channels; no side longer than 96 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.report import pictures
    >>> pictures(np.array([[[[0, 8, 16]]]]), (0, 16))
    array([[[  0, 128, 255]]], dtype=uint8)
    """
    low, high = pixel_range
    X = X if X.shape[1] in (3, 4) else X.mean(axis=1, keepdims=True)
    scaled = np.clip((X.astype(np.float64) - low) / ((high - low) or 1), 0, 1)
    levels = np.moveaxis(np.rint(scaled * 255).astype(np.uint8), 1, -1)
    return shrink(levels[..., 0] if X.shape[1] == 1 else levels, LARGEST_PICTURE)


def shrink(levels: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """Bring pictures (n, height, width[, channels]) to sides of at most so many pixels, proportions kept."""
    height, width = levels.shape[1:3]
    factor = largest / max(height, width)
    if factor >= 1 or not len(levels):
        return levels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.stack([np.asarray(Image.fromarray(level).resize(size, Image.Resampling.BOX)) for level in levels])


def feature_maps(values: NDArray[Any]) -> dict[str, NDArray[np.uint8]]:
    """Draw the most active channels of a layer on one scale, RGBA; a row of features is one picture without a name.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.report import feature_maps
    >>> feature_maps(np.array([0.0, -2.0]))[""].tolist()  # nothing for zero, blue below
    [[[201, 118, 0, 0], [43, 127, 195, 255]]]
    """
    maps = as_maps(values)
    chosen = np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:N_MAPS]
    drawn = np.rint(255 * signed_colours(maps[chosen])).astype(np.uint8)
    if maps.shape != values.shape:
        return {"": drawn[0]}
    return {f"channel {channel}": picture for channel, picture in zip(chosen, shrink(drawn, LARGEST_MAP), strict=True)}


def ink(picture: Picture) -> NDArray[np.uint8]:
    """Draw a picture in black on nothing, so that a dark page can invert it: grey and opacity (height, width, 2)."""
    opacity = np.rint(255 * np.array(picture.ink)).astype(np.uint8)
    return np.stack([np.zeros_like(opacity), opacity], axis=-1)


def strengths(matrix: Matrix) -> tuple[tuple[float, ...], ...]:
    """Measure how strongly to colour each cell of a matrix, from -1 to 1: its number as a share of the largest.

    Examples
    --------
    >>> from cnnclf.report import strengths
    >>> from cnnclf.walkthrough import Matrix
    >>> strengths(Matrix("", (("·", "-0.50", "2.00"),), ("0",), ("0", "1", "2")))
    ((0.0, -0.25, 1.0),)
    """
    values = [[0.0 if cell in ("·", "") else float(cell) for cell in row] for row in matrix.cells]
    largest = max(abs(value) for row in values for value in row) or 1.0
    return tuple(tuple(round(value / largest, 2) for value in row) for row in values)


def to_svg(figure: Figure, name: str) -> str:
    """Save a figure as one ``<svg>`` element in the page's own font and ink, the same bytes every time."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        # The reader's fonts draw the text, so a glyph that matplotlib's font lacks is not missed.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The metadata holds the date.
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Matplotlib numbers parts the same in every figure, but a page may hold an id only once: keep what is referred to.
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if f"#{found[1]}" in svg else "", svg)
    return svg.replace(INK, "currentColor")


def standalone(svg: str) -> str:
    """Give an SVG a text colour of its own, for light and for dark pages."""
    style = "<style>svg{color:#33363b}@media(prefers-color-scheme:dark){svg{color:#d6d4cf}}</style>"
    return re.sub(r"(<svg[^>]*>)", rf"\1{style}", svg, count=1)


def to_png(figure: Figure) -> bytes:
    """Save a figure as PNG, the same bytes every time."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Write a picture into an address, so that the page needs no file beside it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def readable(value: Any) -> str:
    """Write a parameter's value the same way in every run: no memory addresses.

    Examples
    --------
    >>> readable(0.003), readable(None), readable("adamw"), readable(readable), readable(object())
    ('0.003', 'None', 'adamw', 'readable', 'object(…)')
    """
    match value:
        case str():
            return value
        case np.generic():
            return readable(value.item())
        case None | bool() | int() | float():
            return repr(value)
        case list() | tuple():
            inside = ", ".join(readable(item) for item in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        case dict():
            return "{" + ", ".join(f"{readable(key)}: {readable(item)}" for key, item in value.items()) + "}"
        case os.PathLike():
            return str(value)
        case _ if hasattr(value, "__qualname__"):
            return str(value.__qualname__)
    return f"{type(value).__name__}(…)"


def resolved(clf: Any, parameter: str) -> str:
    """Write out a parameter of a fitted classifier, with what "auto" became."""
    value = readable(getattr(clf, parameter))
    return f"auto: {readable(getattr(clf.net_, parameter))}" if value == "auto" else value


def duration(seconds: float) -> str:
    """Write a time for people.

    Examples
    --------
    >>> duration(4.25), duration(58.3), duration(187)
    ('4.2 s', '58 s', '3 min 7 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def processor_name() -> str:
    """Name the processor as well as the system can."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def templates() -> Templates:
    """Make the environment in which the templates are rendered."""
    environment = Templates(
        loader=PackageLoader("cnnclf"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "data_uri": data_uri,
        "kind": lambda record: type(record).__name__,
        "hold": hold,
        "ink": ink,
        "strengths": strengths,
        "number": lambda value: f"{value:,}",
        "shape": lambda shape: " × ".join(map(str, shape)),
        "md": lambda value: re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split())),
    }
    environment.tests |= {
        "sentences": lambda item: isinstance(item, Paragraph),
        "pictures": lambda item: isinstance(item, Beside) and isinstance(item.blocks[0], Picture),
    }
    environment.globals |= {"meaning": HYPERPARAMETERS, "ln": np.log, "n_maps": N_MAPS}
    return environment


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside its place and then put it there, so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
