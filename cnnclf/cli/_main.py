"""The ``cnnclf`` command.

Results go to stdout, progress and errors to stderr. It exits with 0, 1 (failed), 2 (bad usage), 130 (interrupted) or
141 (nobody reads what it writes).
"""

import io
import math
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from glob import escape, glob
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray

from cnnclf import __version__
from cnnclf._utils.text import cut, quote
from cnnclf.classifier._recipes import RECIPES, find_recipe

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.cli._app_server import Server
    from cnnclf.evaluation._evaluation import Evaluation
    from cnnclf.model_selection._compare import Comparison
    from cnnclf.onnx._classifier import ONNXClassifier

COMPARED = "compact,lenet5,keras_mnist"  # by --profile full

# Recipe of the page's own network, and what a visitor is told, by what it learns from.
OWN_MODELS = {
    "mnist": ("one_epoch", "The network is a small one that has seen each of MNIST’s 60,000 training images once."),
    "digits": (
        "compact",
        "The network learnt from scikit-learn’s 1,797 digits of 8 × 8 pixels, as there was no MNIST: it errs often.",
    ),
}

MODEL_MEMORY = 2**30  # bytes for what an .onnx file computes, which may come from a stranger
N_CALIBRATION = 500  # images that int8 ranges are measured on
N_TOP = 3
PIPE_CLOSED = 141  # as the shell tells of a program that SIGPIPE (13) ended: 128 + 13
TRACE_FORMATS = (".html", ".md", ".tex", ".txt", ".xlsx")

Images = NDArray[Any]
Labels = NDArray[Any]
Classifier: TypeAlias = "CNNClassifier | ONNXClassifier"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


# By name, as completing a line must not wait for torch, which the table of architectures needs.
ARCHITECTURES = (
    "compact",
    "accurate",
    "tiny",
    "lenet5",
    "keras_mnist",
    "pytorch_mnist",
    "pool3_head1",
    "pool3_head3",
    "pool2_conv3",
)


def complete_architecture(typed: str) -> list[str]:
    """Offer the architectures that begin so."""
    return [name for name in ARCHITECTURES if name.startswith(typed)]


def complete_architectures(typed: str) -> list[str]:
    """Offer those that are not yet in a comma-separated list, for its last place."""
    *before, last = typed.split(",")
    return [",".join([*before, name]) for name in complete_architecture(last) if name not in before]


def complete_recipe(typed: str) -> list[str]:
    """Offer the recipes that begin so."""
    return [name for name in RECIPES if name.startswith(typed)]


def complete_dataset(typed: str) -> list[str]:
    """Offer the datasets that have a name, and folders."""
    names = [name for name in ("auto", "mnist", "digits") if name.startswith(typed)]
    found = sorted(glob(f"{escape(typed)}*"))  # noqa: PTH207 - Path.glob changes how the beginning is written
    return names + [f"{path}/" for path in found if Path(path).is_dir()]


def complete_labelled(typed: str) -> list[str]:
    """Offer the datasets that are asked for by name."""
    return [name for name in complete_dataset(typed) if name != "auto"]


class Profile(StrEnum):
    """How much of a report is made."""

    quick = "quick"
    full = "full"


class BadUsageError(Exception):
    """The command line asks for something that there is not."""


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
    """Train, judge, look into and ship convolutional classifiers of small images."""


DATASET = typer.Option(
    autocompletion=complete_dataset,
    metavar="auto|mnist|digits|PATH",
    help="Data: MNIST, scikit-learn's small digits, or a folder with one sub-folder of images a class. auto is MNIST "
    "where it can be had, else the digits.",
)
EPOCHS = typer.Option(min=1, metavar="N", help="Passes over the training images.", show_default="the estimator's own")
SEED = typer.Option(min=0, max=2**32 - 1, metavar="N", help="Seed of every random choice.")
JOBS = typer.Option(metavar="N", help="Fits of the comparison at the same time; -1 is one a core.")


@app.command()
def report(
    dataset: Annotated[str, DATASET] = "auto",
    profile: Annotated[
        Profile,
        typer.Option(help="quick trains one network; full compares several by k-fold first, and trains the best."),
    ] = Profile.quick,
    architecture: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_architecture,
            metavar="NAME",
            help="Which network is trained.",
            show_default="the estimator's own; full: the best of them",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_recipe,
            metavar="NAME",
            help=f"Network and training that go well together, in place of --architecture: {', '.join(RECIPES)}. "
            "--epochs overrides its own.",
            show_default=False,
        ),
    ] = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_architectures,
            metavar="A,B,…",
            help="full: networks to compare.",
            show_default=COMPARED.replace(",", ", "),
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="full: folds of the comparison.", show_default="3")
    ] = None,
    epochs: Annotated[int | None, EPOCHS] = None,
    seed: Annotated[int, SEED] = 0,
    jobs: Annotated[int, JOBS] = -1,
    from_predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Judge saved predictions of any classifier instead: a .csv file with a column true and a column "
            "predicted or one of probabilities a class, or an .npz file with y_true and y_pred, or y_proba and "
            "classes. With --dataset, which names the test images, they are shown.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("report"),
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON document.")] = False,
) -> None:
    """Train a network, judge it on images it has never seen, and write the report."""
    full = profile is Profile.full
    kept = f"; finished fits are kept in {out / 'folds'}, the same command goes on from there" if full else ""
    with clear_errors(f"nothing was judged{kept}"):
        if recipe is not None and (full or architecture is not None or architectures is not None):
            raise BadUsageError(
                "--recipe names one network and how it is trained; leave out --architecture, --architectures and "
                "--profile full, or --recipe"
            )
        if not full and (architectures is not None or folds is not None):
            raise BadUsageError("--architectures and --folds go with --profile full")
        check_dataset_name(dataset, "auto", "mnist", "digits")
        check_jobs(jobs)
        if from_predictions is not None:
            if full or any(choice is not None for choice in (architecture, recipe, epochs)):
                raise BadUsageError("--from-predictions trains nothing; leave out what tells how to train")
            prepare_folder(out)
            summary = judge_predictions(from_predictions, dataset, out)
        else:
            names = check_names(architectures or COMPARED) if full else []
            clf = make_classifier(architecture, epochs, seed, recipe)
            prepare_folder(out)
            choose = full and architecture is None
            summary = study(clf, dataset, seed, out, names, folds or 3, jobs, choose=choose, recipe=recipe)
        typer.echo((out / "metrics.json").read_text(encoding="utf-8") if json else summary)


@app.command()
def compare(
    architectures: Annotated[
        str, typer.Option(autocompletion=complete_architectures, metavar="A,B,…", help="Networks to compare.")
    ] = COMPARED,
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds of the cross-validation.")] = 5,
    dataset: Annotated[str, DATASET] = "auto",
    epochs: Annotated[int | None, EPOCHS] = None,
    seed: Annotated[int, SEED] = 0,
    jobs: Annotated[int, JOBS] = -1,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for figures, numbers and finished fits.")] = Path(
        "comparison"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON document.")] = False,
) -> None:
    """Compare architectures by k-fold cross-validation over the training images."""
    kept = f"finished fits are kept in {out / 'folds'}, the same command goes on from there"
    with clear_errors(kept):
        check_dataset_name(dataset, "auto", "mnist", "digits")
        check_jobs(jobs)
        names = check_names(architectures)
        clf = make_classifier(None, epochs, seed)
        prepare_folder(out)
        comparison, summary = compare_and_draw(clf, dataset, seed, out, names, folds, jobs)
        typer.echo(dumps(comparison.to_dict(), indent=2, ensure_ascii=False) if json else summary)


MODEL = typer.Argument(metavar="MODEL", help="File of CNNClassifier.save (.cnn).", show_default=False)
EITHER_MODEL = typer.Argument(metavar="MODEL", help="File of to_onnx (.onnx) or of save (.cnn).", show_default=False)
JSON = typer.Option("--json", help="Print JSON.")
LABELLED = typer.Option(
    autocompletion=complete_labelled,
    metavar="mnist|digits|DIR",
    help="Data: MNIST’s test set, the fifth of scikit-learn’s digits that `report` holds out, or a folder with one "
    "sub-folder of images a class.",
    show_default="mnist or digits, if the network learnt from it",
)


@app.command()
def export(
    model: Annotated[Path, MODEL],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx file to write.", show_default=False)],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to int8, which is smaller and faster.")] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_labelled,
            metavar="mnist|digits|DIR",
            help="Training images, of which --int8 measures the range of every layer.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a trained network to one ONNX file that takes raw pixels and gives labels."""
    with clear_errors("nothing was exported"):
        if int8 != (calibration is not None):
            raise BadUsageError("--int8 and --calibration go together; give both or neither")
        if calibration is not None:
            check_dataset_name(calibration, "mnist", "digits", option="--calibration")
        typer.echo(export_checked(model, out, calibration))


@app.command()
def predict(
    model: Annotated[Path, EITHER_MODEL],
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE",
            help="Image files, folders of them, or - for one on standard input.",
            show_default=False,
        ),
    ],
    json: Annotated[bool, JSON] = False,
) -> None:
    """Say what is in pictures of any size and colour."""
    with clear_errors("nothing was predicted"):
        predictions, errors = classify(open_model(model), find_pictures(pictures))
        if json:
            typer.echo(dumps([asdict(prediction) for prediction in predictions], indent=2, ensure_ascii=False))
        elif predictions:
            show_predictions(predictions)
        for sentence in errors:
            typer.echo(f"error: {sentence}", err=True)
        if errors:
            raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[Path, EITHER_MODEL],
    dataset: Annotated[str | None, LABELLED] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Judge a trained network on labelled images."""
    with clear_errors("nothing was judged"):
        if dataset is not None:
            check_dataset_name(dataset, "mnist", "digits")
        judge(open_model(model), dataset, json=json)


@app.command()
def trace(
    model: Annotated[Path, MODEL],
    digit: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Trace a test image of this class.", show_default=False)
    ] = None,
    index: Annotated[int, typer.Option(min=0, metavar="N", help="Which of them, counted from 0.")] = 0,
    dataset: Annotated[str | None, LABELLED] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trace the picture in this file.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What to write: .html is a page to explore, .xlsx a workbook with live formulas, .md, .tex and .txt "
            "are for reading.",
            show_default="text on standard output",
        ),
    ] = None,
) -> None:
    """Show every step from the pixels of one image to its prediction."""
    with clear_errors("nothing was traced"):
        if (digit is None) == (image is None):
            raise BadUsageError("give either --digit or --image")
        if dataset is not None:
            check_dataset_name(dataset, "mnist", "digits")
        if out is not None and out.suffix not in TRACE_FORMATS:
            raise BadUsageError(f"--out must end in {', '.join(TRACE_FORMATS)}; got {quote(out)}")
        typer.echo(write_trace(model, digit, index, dataset, image, out))


@app.command("app")
def serve_page(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="File of save (.cnn) or of to_onnx (.onnx).",
            show_default="a small network, trained at the first use and kept",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port of 127.0.0.1; 0 is any that is free.")
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page to draw on, and see what a network makes of every stroke."""
    # Once it is served, Ctrl-C is how it is meant to end.
    with clear_errors("no page was served"), make_server(model, port) as server, suppress(KeyboardInterrupt):
        typer.echo(server.url)
        typer.echo("Ctrl-C stops it.", err=True)
        if browser:
            import threading
            import webbrowser

            # Beside the server, as a browser in the terminal keeps its caller until it is closed.
            threading.Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
        server.serve_forever()


@app.command()
def doctor(json: Annotated[bool, JSON] = False) -> None:
    """Look at this machine: versions, devices, data, and what is missing."""
    with clear_errors("not all was looked at"):
        from cnnclf.cli._doctor import examine, to_dict, to_text

        findings = examine()
        typer.echo(dumps(to_dict(findings), indent=2, ensure_ascii=False) if json else to_text(findings))
        if any(finding.is_broken for finding in findings):
            raise typer.Exit(1)


class Output(io.TextIOWrapper):
    """A standard stream that ends the program without a word when nobody reads on, as behind ``| head -1``."""

    def write(self, text: str) -> int:
        """Write text, or leave."""
        with quiet_end(self):
            return super().write(text)

    def flush(self) -> None:
        """Write what is left, or leave."""
        with quiet_end(self):
            super().flush()


@contextmanager
def quiet_end(stream: io.TextIOWrapper) -> Iterator[None]:
    """Leave as a program does that SIGPIPE ends; what is still to be written goes nowhere."""
    try:
        yield
    except BrokenPipeError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        raise SystemExit(PIPE_CLOSED) from None


def main() -> None:
    """Run the command; the entry point of the installed script."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before
            continue
        settings = {key: getattr(stream, key) for key in ("encoding", "errors", "line_buffering", "write_through")}
        setattr(sys, name, Output(stream.detach(), **settings))
    app()


@contextmanager
def clear_errors(nothing: str) -> Iterator[None]:
    """Turn what a user can cause into one sentence on stderr and an exit code, and warnings into one each."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
            yield
    except BadUsageError as error:
        fail(str(error), 2)
    except typer.Exit:  # which is a RuntimeError
        raise
    except OSError as error:  # the system's own have the path apart, of any length
        fail(str(error) if error.filename is None else f"{cut(str(error.filename), 200)}: {error.strerror}", 1)
    except (ValueError, RuntimeError) as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail(f"interrupted; {nothing}", 130)


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


def check_dataset_name(dataset: str, *names: str, option: str = "--dataset") -> None:
    """Refuse what is neither a known dataset nor a folder."""
    if dataset not in names and not Path(dataset).is_dir():
        raise BadUsageError(
            f"{option} must be {', '.join(names)} or a folder with one sub-folder of images a class; "
            f"{quote(dataset)} is none of these"
        )


def check_jobs(jobs: int) -> None:
    """Refuse to do nothing at the same time."""
    if jobs == 0:
        raise BadUsageError("--jobs must be 1 or more, or -1 for one a core; got 0")


def make_classifier(
    architecture: str | None, epochs: int | None, seed: int, recipe: str | None = None
) -> "CNNClassifier":
    """Make the classifier, with its own defaults for what neither the recipe says nor was asked for."""
    from cnnclf.architectures._table import find_architecture
    from cnnclf.classifier._classifier import CNNClassifier

    clf = CNNClassifier(random_state=seed, verbose=1)
    try:
        if recipe is not None:
            clf.set_params(**find_recipe(recipe))
        if architecture is not None:
            find_architecture(architecture)
            clf.set_params(architecture=architecture)
    except ValueError as error:
        raise BadUsageError(str(error)) from error
    if epochs is not None:
        clf.set_params(max_epochs=epochs)
    return clf


def check_names(architectures: str) -> list[str]:
    """Take a comma-separated list of architectures apart, and refuse unknown ones."""
    from cnnclf.architectures._table import find_architecture

    names = [name.strip() for name in architectures.split(",") if name.strip()]
    try:
        for name in names:
            find_architecture(name)
    except ValueError as error:
        raise BadUsageError(str(error)) from error
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadUsageError(
            f"--architectures needs two or more different names, such as {COMPARED}; got {quote(architectures)}"
        )
    return names


def study(
    clf: "CNNClassifier",
    dataset: str,
    seed: int,
    out: Path,
    names: list[str],
    folds: int,
    jobs: int,
    *,
    choose: bool,
    recipe: str | None,
) -> str:
    """Do all that the report tells of, write it, and sum it up."""
    from cnnclf.datasets._splits import load
    from cnnclf.report._records import Reproduction
    from cnnclf.report._study import carry_out
    from cnnclf.report._write import write

    data = load(dataset, seed)
    options: dict[str, Any] = {"dataset": data.argument}
    if names:
        options |= {"profile": "full", "architectures": ",".join(names), "folds": folds}
    if recipe is not None:
        options["recipe"] = recipe
    elif not choose:
        options["architecture"] = clf.architecture
    options |= {"epochs": clf.max_epochs, "seed": seed}
    records = carry_out(
        clf,
        data,
        out,
        reproduction=Reproduction.here(command_line("report", options), seed),
        architectures=names,
        n_folds=folds,
        n_jobs=jobs,
        choose=choose,
    )
    page = write(records, out)
    lines = [str(page), f"test {in_short(records.evaluation, data.name)}"]
    if records.comparison is not None:
        lines = [records.comparison.to_text().rstrip(), "", f"trained: {clf.architecture}", *lines]
    return "\n".join(lines)


def judge_predictions(file: Path, dataset: str, out: Path) -> str:
    """Write the judging part of a report on saved predictions, and sum it up."""
    from cnnclf.datasets._splits import load_part
    from cnnclf.evaluation._predictions import read_predictions
    from cnnclf.report._records import Report, Reproduction
    from cnnclf.report._study import match_labels
    from cnnclf.report._write import write

    evaluation = read_predictions(file)
    name, X, options = f"“{file.name}”", None, {"from-predictions": str(file)}
    if dataset != "auto":
        test, images, y, _ = load_part(dataset, training=False)
        name, X, options = f"{name} on {test}", match_labels(evaluation, images, y), options | {"dataset": dataset}
    records = Report.of_predictions(name, evaluation, Reproduction.here(command_line("report", options), None), X)
    return f"{write(records, out)}\n{in_short(evaluation, name)}"


def compare_and_draw(
    clf: "CNNClassifier", dataset: str, seed: int, out: Path, names: list[str], folds: int, jobs: int
) -> "tuple[Comparison, str]":
    """Compare architectures, write figures and numbers, and make a table of it."""
    from cnnclf._utils.files import write_atomically
    from cnnclf.datasets._splits import load
    from cnnclf.model_selection._compare import compare_architectures
    from cnnclf.plots._evaluation import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
    from cnnclf.report._render import standalone, to_svg

    data = load(dataset, seed)
    X, y = (np.concatenate([getattr(part, name) for part in (data.training, data.validation)]) for name in "Xy")
    typer.echo(f"{data.name}: {len(y):,} training images, {folds} folds", err=True)
    clf.set_params(verbose=0)  # each fit says one line; bars of several would mix
    comparison = compare_architectures(
        X, y, names, cv=folds, estimator=clf, n_jobs=jobs, checkpoint=out / "folds", verbose=1
    )
    drawn = {
        "fold_curves": FoldCurvesDisplay.from_comparison(comparison).figure_,
        "folds": FoldBoxDisplay.from_comparison(comparison).figure_,
        "accuracy_parameters": AccuracyCostDisplay.from_comparison(comparison, cost="parameters").figure_,
        "accuracy_multiply_adds": AccuracyCostDisplay.from_comparison(comparison, cost="multiply_adds").figure_,
    }
    for name, figure in drawn.items():
        write_atomically(out / f"{name}.svg", standalone(to_svg(figure, name)).encode())
    record = dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    write_atomically(out / "comparison.json", record.encode())
    return comparison, f"{comparison.to_text().rstrip()}\n\nnumbers and figures: {out}"


def in_short(evaluation: "Evaluation", name: str) -> str:
    """Sum up a judgement in one line."""
    from cnnclf._utils.text import percent

    low, high = (percent(bound) for bound in evaluation.accuracy_interval)
    return (
        f"accuracy {percent(evaluation.accuracy)} (95 % interval {low} to {high}) "
        f"on {evaluation.n_samples:,} images of {name}"
    )


def command_line(command: str, options: Mapping[str, Any]) -> str:
    """Write the command that does the same again, whatever the defaults will then be."""
    return shlex.join(
        ["cnnclf", command, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    )


def open_model(path: Path) -> Classifier:
    """Load a network; torch is needed for a .cnn file only."""
    if path.suffix == ".onnx":
        from cnnclf.onnx._classifier import ONNXClassifier, limit_memory

        limit_memory(MODEL_MEMORY)
        return ONNXClassifier(path)
    from cnnclf.classifier._classifier import CNNClassifier

    return CNNClassifier.load(path)


def images_to_judge(dataset: str | None, clf: Classifier) -> tuple[str, Images, Labels]:
    """Load test images as a network takes them, and their labels."""
    if dataset is None:
        dataset = find_dataset(clf)
    name, X, y = load_for(clf, dataset, training=False)
    if dataset == "digits":
        typer.echo(
            "The test images are the fifth of each class that `cnnclf report` holds out; "
            "a network that was trained in another way may have seen them.",
            err=True,
        )
    return name, X, y


def load_for(clf: Classifier, dataset: str, *, training: bool) -> tuple[str, Images, Labels]:
    """Load images as a network takes them, and their labels; the pictures of a folder as `predict` reads them."""
    from cnnclf.datasets._mnist import list_image_folder
    from cnnclf.datasets._splits import load_part, name_folder
    from cnnclf.images._pictures import read_pictures, refuse_pictures

    if dataset in ("mnist", "digits"):
        name, X, y, white = load_part(dataset, training=training)
        return name, as_taken(X, white, clf), y
    files = list_image_folder(dataset)
    rows, errors = read_pictures([(str(file), file) for file in files], clf.input_spec_)
    refuse_pictures(dataset, errors)
    return name_folder(dataset), np.stack([row for _, row in rows]), np.array([file.parent.name for file in files])


def check_classes_of(folder: str, clf: Classifier) -> None:
    """Refuse a folder with classes that a network does not know, before its pictures are read."""
    from cnnclf.datasets._mnist import list_image_folder
    from cnnclf.evaluation._evaluation import check_labels, match_labels

    labels = np.array([file.parent.name for file in list_image_folder(folder)])
    classes = np.asarray(clf.classes_)
    check_labels(match_labels(labels, classes), classes, folder, "move their sub-folders away, or fit with them")


def find_dataset(clf: Classifier) -> str:
    """Name the data that a network learnt from, if its file tells."""
    from cnnclf.datasets._splits import load_part

    for dataset, image_shape in (("digits", (1, 8, 8)), ("mnist", (1, 28, 28))):
        if clf.image_shape_ == image_shape:
            _, X, _, white = load_part(dataset, training=True)
            if count_learnt(as_taken(X, white, clf), clf)[0]:
                return dataset
    raise BadUsageError(
        "give --dataset: this network learnt from no images of MNIST's training set or of scikit-learn's digits, so "
        "there is nothing it is sure to be judged on"
    )


def count_learnt(X: Images, clf: Classifier) -> tuple[int, int]:
    """Count the images, as a network takes them, that it learnt from; and of how many that can be told."""
    from cnnclf.images._arrays import check_images
    from cnnclf.onnx._classifier import ONNXClassifier
    from cnnclf.training import _recognition as recognition

    text = clf.metadata_.get("learnt", "") if isinstance(clf, ONNXClassifier) else clf._fitted_state()["learnt"]
    kept = recognition.from_text(text)
    return recognition.count_learnt(kept, check_images(X, layout=clf.input_spec_)[0])


def warn_of_learnt(X: Images, clf: Classifier) -> None:
    """Say that a network has learnt from images that it is judged on."""
    n_learnt, n_looked_up = count_learnt(X, clf)
    if n_learnt:
        of = "these" if n_looked_up == len(X) else f"{n_looked_up:,} that its file can tell of, out of"
        typer.echo(
            f"warning: the network learnt from {n_learnt:,} of {of} {len(X):,} images, so it looks better here than it "
            "is; judge it on images that it has not seen.",
            err=True,
        )


def as_taken(X: Images, white: int, clf: Classifier) -> Images:
    """Bring images (n, height, width, …) to the shape and the unit that a network takes."""
    shape = clf.input_spec_.input_shape
    if X[0].size == math.prod(shape) and len(shape) != X.ndim - 1:  # flat rows, or grey with an axis of one channel
        X = X.reshape(len(X), *shape)
    own_white = clf.input_spec_.white
    if own_white in (white, None):
        return X
    return X / white if own_white == 1 else np.rint(X / white * own_white)


def export_checked(model: Path, out: Path, calibration: str | None) -> str:
    """Export a network, load what was written, and say what it takes and gives."""
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.onnx._classifier import ONNXClassifier

    clf = CNNClassifier.load(model)
    if calibration is None:
        clf.to_onnx(out)
    else:
        _, X, _ = load_for(clf, calibration, training=True)
        spread = np.linspace(0, len(X) - 1, min(len(X), N_CALIBRATION)).astype(int)  # as they may be sorted by class
        clf.to_onnx(out, quantize="int8", calibration=X[spread])
    spec, n_classes = ONNXClassifier(out).input_spec_, len(clf.classes_)
    shape = ", ".join(["n", *map(str, spec.input_shape)])
    return f"{out}\n{out.stat().st_size:,} bytes; X: {spec.dtype} ({shape}) → label (n), probabilities (n, {n_classes})"


@dataclass(frozen=True)
class Guess:
    """A label and its probability."""

    label: Any
    probability: float


@dataclass(frozen=True)
class Prediction(Guess):
    """What a network says about one picture, and the likeliest labels, that one the first."""

    picture: str
    top: tuple[Guess, ...]


def find_pictures(arguments: Sequence[str]) -> list[str]:
    """List the pictures that are meant: a folder stands for all in it and in its sub-folders, by name."""
    from cnnclf.images._pictures import list_pictures

    found: list[str] = []
    for argument in arguments:
        folder = Path(argument)
        if not folder.is_dir():
            found.append(argument)
            continue
        inside = list_pictures(folder)
        if not inside:
            raise ValueError(f"{folder}: expected pictures in this folder; there are none.")
        found += map(str, inside)
    return found


def classify(clf: Classifier, pictures: Sequence[str]) -> tuple[list[Prediction], list[str]]:
    """Say what is in each picture, and why the others cannot be read."""
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
    """Print a table of what pictures are and what else they could be; on a terminal the eye sees probabilities."""
    from cnnclf._utils.text import percent, share_of

    rows = []
    for prediction in predictions:
        probability = percent(share_of([guess.probability for guess in prediction.top], 0))
        if sys.stdout.isatty():
            probability += " " + "█" * round(10 * prediction.probability)
        others = "   ".join(f"{other.label} {percent(other.probability)}" for other in prediction.top[1:])
        rows.append((prediction.picture, str(prediction.label), probability, others))
    show_table(("picture", "label", "probability", "else"), rows)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: aligned on a terminal, elsewhere with tabs, for other programs."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            typer.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        whole_numbers = all(cell.replace(",", "").isdecimal() for cell in column)
        table.add_column(name, justify="right" if whole_numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def judge(clf: Classifier, dataset: str | None, *, json: bool) -> None:
    """Judge a network on test images and print the figures."""
    from cnnclf._utils.text import percent
    from cnnclf.evaluation._evaluation import Evaluation

    if dataset is not None and dataset not in ("mnist", "digits"):
        check_classes_of(dataset, clf)
    name, X, y = images_to_judge(dataset, clf)
    warn_of_learnt(X, clf)
    evaluation = Evaluation.from_estimator(clf, X, y)
    labels = evaluation.classes.tolist()
    if json:
        typer.echo(dumps({"dataset": name} | evaluation.to_dict(), indent=2, ensure_ascii=False))
        return
    typer.echo(in_short(evaluation, name))
    show_table(
        ("class", "precision", "recall", "F1", "images"),
        [
            (str(label), percent(s.precision), percent(s.recall), percent(s.f1), f"{s.support:,}")
            for label, s in zip([*labels, "mean"], [*evaluation.per_class, evaluation.macro_mean], strict=True)
        ],
    )


def write_trace(
    model: Path, digit: str | None, index: int, dataset: str | None, image: Path | None, out: Path | None
) -> str:
    """Trace one image; give the text to print, which is the trace itself where there is no file to write."""
    from cnnclf._utils.files import write_atomically
    from cnnclf._utils.text import percent
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.images._pictures import read_picture

    clf = CNNClassifier.load(model)
    if image is not None:
        row, what = read_picture(image, clf.input_spec_), str(image)
    else:
        name, X, y = images_to_judge(dataset, clf)
        found = np.flatnonzero([str(label) == digit for label in y.tolist()])
        if index >= len(found):
            raise BadUsageError(f"--digit {digit} --index {index}: {name} has {len(found)} such test images")
        row, what = X[found[index]], f"test image {found[index]} of {name}, a {digit}"
    trace = clf.trace(row)
    if out is None:
        return trace.to_text().rstrip("\n")
    match out.suffix:
        case ".html":
            trace.to_html(out)
        case ".xlsx":
            trace.to_xlsx(out)
        case suffix:
            text = {".md": trace.to_markdown, ".tex": trace.to_latex, ".txt": trace.to_text}[suffix]()
            write_atomically(out, text.encode())
    return f"{out}\n{what}: the network says {trace.label} with probability {percent(trace.share)}"


def make_server(model: Path | None, port: int) -> "Server":
    """Get the page ready, with the port already ours."""
    from cnnclf.cli._app_server import ExportedNetwork, Network, Reader, Server, TracedNetwork
    from cnnclf.images._strokes import Paper
    from cnnclf.onnx._classifier import ONNXClassifier

    clf: Classifier
    if model is None:
        clf, about = open_own_model()
    else:
        clf, about = open_model(model), f"The network is {model.name}."
    paper = Paper.of(clf.input_spec_)
    network: Network = ExportedNetwork(clf) if isinstance(clf, ONNXClassifier) else TracedNetwork(clf)
    return Server(Reader(network, paper, about), port)


def open_own_model() -> "tuple[CNNClassifier, str]":
    """Load the network that the page has where none is given; train it the first time, on MNIST where it can be had."""
    import pooch

    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.classifier._persistence import SCHEMA
    from cnnclf.datasets._mnist import load_digits, load_mnist
    from cnnclf.model_selection._compare import fit_to_the_end

    folder = Path(pooch.os_cache("cnnclf"))
    file_of = {name: folder / f"app-{__version__}-{SCHEMA}-{name}.cnn" for name in OWN_MODELS}
    name = "mnist"
    if not file_of["mnist"].exists():
        try:
            X, y = load_mnist(download=not file_of["digits"].exists())  # asked for once, and not at every start
        except FileNotFoundError as error:
            typer.echo(f"{error}\nUsing scikit-learn's bundled digits instead of MNIST.", err=True)
            name = "digits"
            X, y = load_digits()
    file = file_of[name]
    recipe, about = OWN_MODELS[name]
    if not file.exists():
        typer.echo(f"training a small network on {len(y):,} images, once; it is kept in {file}", err=True)
        clf = make_classifier(None, None, 0, recipe).set_params(preparation="handwriting")
        fit_to_the_end(clf, X, y)
        folder.mkdir(parents=True, exist_ok=True)
        clf.save(file)
    return CNNClassifier.load(file), about
