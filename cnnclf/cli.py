"""The ``cnnclf`` command.

Results go to stdout, progress and errors to stderr. It exits with 0, 1 (failed), 2 (bad usage) or 130 (interrupted).
"""

import shlex
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from numpy.typing import NDArray

from cnnclf import __version__

if TYPE_CHECKING:
    from cnnclf.classifier import CNNClassifier

MODEL_FILE = "model.cnn"

TRAINING = "All that is left. The network learns from these."
VALIDATION = "A tenth of each class, taken out of the training set. Watched after every epoch, never learnt from."
TEST_USE = "Judged once, when all was done."

Images = NDArray[Any]
Labels = NDArray[Any]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


class BadUsageError(Exception):
    """The command line asks for something that there is not."""


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels of one split, with where they come from and what they are for."""

    origin: str
    X: Images
    y: Labels


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset in three parts: what to call it, what the reader has to know first, and how to ask for it again."""

    name: str
    note: str
    argument: str
    training: Part
    validation: Part
    test: Part


def print_version(wanted: bool) -> None:
    """Print the version and leave, if that is wanted."""
    if wanted:
        typer.echo(f"cnnclf {__version__}")
        raise typer.Exit


@app.callback()
def cnnclf(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train and judge convolutional classifiers of small images."""


@app.command()
def report(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="auto|mnist|digits|PATH",
            help="Data: MNIST, scikit-learn's small digits, or a folder with one sub-folder of images a class. "
            "auto is MNIST where it can be had, else the digits.",
        ),
    ] = "auto",
    architecture: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which network.", show_default="the estimator's own")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Passes over the training images.", show_default="the estimator's own"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Seed of every random choice.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("report"),
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON document.")] = False,
) -> None:
    """Train a network, judge it on images it has never seen, and write the report."""
    with clear_errors():
        check_dataset_name(dataset)
        clf = make_classifier(architecture, epochs, seed)
        prepare_folder(out)
        summary = train_and_judge(clf, load(dataset, seed), seed, out)
        typer.echo((out / "metrics.json").read_text(encoding="utf-8") if json else summary)


def main() -> None:
    """Run the command; the entry point of the installed script."""
    app()


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can cause into one sentence on stderr and an exit code."""
    try:
        yield
    except BadUsageError as error:
        fail(str(error), 2)
    except (ValueError, OSError) as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("interrupted; nothing was judged", 130)


def fail(sentence: str, code: int) -> NoReturn:
    """Say what went wrong and leave."""
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


def prepare_folder(folder: Path) -> None:
    """Make the folder and see that it can be written to, before anything costly is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadUsageError(
            f"--out must be a folder that can be written to; {folder} is not ({error.strerror})"
        ) from error


def check_dataset_name(dataset: str) -> None:
    """Refuse what is neither a known dataset nor a folder."""
    if dataset not in ("auto", "mnist", "digits") and not Path(dataset).is_dir():
        raise BadUsageError(
            f"--dataset must be auto, mnist, digits or a folder with one sub-folder of images a class; "
            f"{dataset!r} is none of these"
        )


def make_classifier(architecture: str | None, epochs: int | None, seed: int) -> "CNNClassifier":
    """Make the classifier, with its own defaults for what was not asked for."""
    from cnnclf.architectures import find_architecture
    from cnnclf.classifier import CNNClassifier

    clf = CNNClassifier(random_state=seed, verbose=1)
    if architecture is not None:
        try:
            find_architecture(architecture)
        except ValueError as error:
            raise BadUsageError(str(error)) from error
        clf.set_params(architecture=architecture)
    if epochs is not None:
        clf.set_params(max_epochs=epochs)
    return clf


def load(dataset: str, seed: int) -> Data:
    """Load a dataset and divide it."""
    from cnnclf.datasets import load_mnist

    if dataset in ("auto", "mnist"):
        try:
            return mnist(load_mnist("train"), load_mnist("test"), seed)
        except FileNotFoundError as error:
            if dataset == "mnist":
                raise
            typer.echo(f"{error}\nUsing scikit-learn's bundled digits instead of MNIST.", err=True)
            return digits("MNIST was not found and could not be downloaded", seed)
    if dataset == "digits":
        return digits("they were asked for with --dataset digits", seed)
    return folder(Path(dataset), seed)


def mnist(train: tuple[Images, Labels], test: tuple[Images, Labels], seed: int) -> Data:
    """Keep MNIST's own test set, and take the validation images out of its training set."""
    return Data("MNIST", "", "mnist", *divide_training(*train, seed), Part(f"MNIST’s own test set. {TEST_USE}", *test))


def digits(reason: str, seed: int) -> Data:
    """Divide scikit-learn's digits, and say why it is them."""
    from cnnclf.datasets import load_digits

    X, y = load_digits()
    note = (
        f"These are scikit-learn’s bundled digits, {len(X):,} images of 8 × 8 pixels, and not MNIST, because {reason}. "
        "Numbers from one say nothing about the other."
    )
    return Data("scikit-learn’s bundled digits", note, "digits", *divide(X, y, seed))


def folder(path: Path, seed: int) -> Data:
    """Divide a folder of images."""
    from cnnclf.datasets import load_image_folder

    return Data(f"“{path.resolve().name}”", "", str(path), *divide(*load_image_folder(path), seed))


def divide(X: Images, y: Labels, seed: int) -> tuple[Part, Part, Part]:
    """Set a fifth of each class aside for the test, and a tenth of the rest for validation."""
    X_rest, X_test, y_rest, y_test = stratified(X, y, 0.2, seed)
    origin = f"A fifth of each class, drawn at random before all else. {TEST_USE}"
    return *divide_training(X_rest, y_rest, seed), Part(origin, X_test, y_test)


def divide_training(X: Images, y: Labels, seed: int) -> tuple[Part, Part]:
    """Set a tenth of each class of the training set aside for validation."""
    X_train, X_val, y_train, y_val = stratified(X, y, 0.1, seed)
    return Part(TRAINING, X_train, y_train), Part(VALIDATION, X_val, y_val)


def stratified(X: Images, y: Labels, share: float, seed: int) -> tuple[Images, Images, Labels, Labels]:
    """Set a share of each class aside."""
    from sklearn.model_selection import train_test_split

    try:
        kept, aside, y_kept, y_aside = train_test_split(X, y, test_size=share, stratify=y, random_state=seed)
    except ValueError as error:
        raise ValueError(
            f"Expected enough images of each class to set {share:.0%} of them aside; {error} Add images."
        ) from error
    return kept, aside, y_kept, y_aside


def train_and_judge(clf: "CNNClassifier", data: Data, seed: int, out: Path) -> str:
    """Train on the training images, judge on the test images once, write everything; sum it up in two lines."""
    from cnnclf import report as reports
    from cnnclf.architectures import find_architecture, summarize
    from cnnclf.evaluation import Evaluation
    from cnnclf.images import check_images
    from cnnclf.plots import percent

    parts = {"training": data.training, "validation": data.validation, "test": data.test}
    typer.echo(f"{data.name}: {', '.join(f'{len(part.y):,} {name}' for name, part in parts.items())} images", err=True)
    typer.echo(f"training {clf.architecture}, {clf.max_epochs} epoch{'s' if clf.max_epochs > 1 else ''}", err=True)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # An interrupted fit warns and leaves a usable estimator; here that is the end, and said once.
        warnings.filterwarnings("ignore", message="Training interrupted")
        clf.fit(data.training.X, data.training.y, X_val=data.validation.X, y_val=data.validation.y)
    if clf.net_.interrupted_:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - start
    clf.save(out / MODEL_FILE)

    evaluation = Evaluation.from_estimator(clf, data.test.X, data.test.y)
    pixels = {name: check_images(part.X)[0] for name, part in parts.items()}
    page = reports.write(
        reports.Report.of(
            reports.DataRecord.from_splits(
                data.name,
                note=data.note,
                splits={name: (part.origin, pixels[name], part.y) for name, part in parts.items()},
            ),
            reports.ModelRecord.from_estimator(
                clf,
                summarize(clf.module_, clf.image_shape_),
                source=find_architecture(str(clf.architecture)).source,
                file=MODEL_FILE,
            ),
            evaluation,
            pixels["test"],
            reproduction=reports.Reproduction.here(command_line(clf, data, seed), seed),
            run=reports.Run.of(clf, seconds),
        ),
        out,
    )
    low, high = (percent(bound) for bound in evaluation.accuracy_interval)
    return (
        f"{page}\ntest accuracy {percent(evaluation.accuracy)} (95 % interval {low} to {high}) "
        f"on {evaluation.n_samples:,} images of {data.name}"
    )


def command_line(clf: "CNNClassifier", data: Data, seed: int) -> str:
    """Write the command that does the same again, whatever the defaults will then be."""
    options = {"dataset": data.argument, "architecture": clf.architecture, "epochs": clf.max_epochs, "seed": seed}
    return shlex.join(
        ["cnnclf", "report", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    )
