"""The ``cnnclf`` command.

Results go to stdout, progress and errors to stderr. It exits with 0, 1 (failed), 2 (bad usage), 130 (interrupted) or
141 (nobody reads what it writes).
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from cnnclf import __version__
from cnnclf._utils.text import quote
from cnnclf.cli._app import make_server
from cnnclf.cli._models import (
    TRACE_FORMATS,
    classify,
    export_checked,
    find_pictures,
    judge,
    open_model,
    show_predictions,
    write_trace,
)
from cnnclf.cli._options import (
    ARCHITECTURE,
    COMPARED,
    DATASET,
    EITHER_MODEL,
    EPOCHS,
    FOLDS,
    FROM_PREDICTIONS,
    JOBS,
    JSON,
    LABELLED,
    MODEL,
    PROFILE,
    RECIPE,
    SEED,
    TO_COMPARE,
    BadUsageError,
    Profile,
    check_dataset_name,
    check_jobs,
    check_names,
    clear_errors,
    complete_architectures,
    complete_labelled,
    prepare_folder,
)
from cnnclf.cli._train import compare_and_draw, judge_predictions, make_classifier, study

PIPE_CLOSED = 141  # as the shell tells of a program that SIGPIPE (13) ended: 128 + 13

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


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


@app.command()
def report(
    dataset: Annotated[str, DATASET] = "auto",
    profile: Annotated[Profile, PROFILE] = Profile.quick,
    architecture: Annotated[str | None, ARCHITECTURE] = None,
    recipe: Annotated[str | None, RECIPE] = None,
    architectures: Annotated[str | None, TO_COMPARE] = None,
    folds: Annotated[int | None, FOLDS] = None,
    epochs: Annotated[int | None, EPOCHS] = None,
    seed: Annotated[int, SEED] = 0,
    jobs: Annotated[int, JOBS] = -1,
    from_predictions: Annotated[Path | None, FROM_PREDICTIONS] = None,
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
                raise BadUsageError("--from-predictions trains nothing; leave out the options of training")
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
