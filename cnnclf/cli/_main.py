"""The ``cnnclf`` command.

Results go to stdout, progress and errors to stderr. It exits with 0, 1 (failed), 2 (bad usage), 130 (interrupted) or
141 (nothing reads its output).
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cnnclf import __version__
from cnnclf._utils.text import counted, of_all, quote
from cnnclf.cli import _models as models
from cnnclf.cli import _options as options
from cnnclf.cli import _page as pages
from cnnclf.cli import _predict as predicting
from cnnclf.cli import _train as training
from cnnclf.cli._options import BadUsageError, Profile, check_dataset_name, clear_errors, to_json

PIPE_CLOSED = 141  # 128 + 13, the code of the shell for a program that SIGPIPE (13) ended

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def print_version(wanted: bool) -> None:
    """Print the version and exit, if that is wanted."""
    if wanted:
        typer.echo(f"cnnclf {__version__}")
        raise typer.Exit


@app.callback()
def cnnclf(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, evaluate, inspect and export convolutional classifiers of small images."""


@app.command()
def report(
    dataset: Annotated[str, options.DATASET] = "auto",
    size: Annotated[str | None, options.SIZE] = None,
    label: Annotated[str | None, options.LABEL] = None,
    cache: Annotated[Path | None, options.CACHE] = None,
    profile: Annotated[Profile, options.PROFILE] = Profile.quick,
    architecture: Annotated[str | None, options.ARCHITECTURE] = None,
    recipe: Annotated[str | None, options.RECIPE] = None,
    architectures: Annotated[str | None, options.TO_COMPARE] = None,
    folds: Annotated[int | None, options.FOLDS] = None,
    epochs: Annotated[int | None, options.EPOCHS] = None,
    seed: Annotated[int, options.SEED] = 0,
    jobs: Annotated[int, options.JOBS] = -1,
    from_predictions: Annotated[Path | None, options.FROM_PREDICTIONS] = None,
    out: Annotated[Path, options.OUT] = Path("report"),
    json: Annotated[bool, options.JSON] = False,
) -> None:
    """Train a network, evaluate it on images that it has never seen, and write a report."""
    full = profile is Profile.full
    kept = f"; {saved_in(out)}" if full else ""
    with clear_errors(f"nothing was evaluated{kept}"):
        if recipe is not None and (full or architecture is not None or architectures is not None):
            raise BadUsageError(
                "Expected --recipe without --architecture, --architectures and --profile full, as it sets the network; "
                "got both. Leave out one."
            )
        if not full and (architectures is not None or folds is not None):
            raise BadUsageError("Expected --profile full with --architectures and --folds; got quick. Add it.")
        data = options.DataOptions(dataset, size, label, cache)
        options.check_jobs(jobs)
        if from_predictions is not None:
            if full or any(choice is not None for choice in (architecture, recipe, epochs, cache)):
                raise BadUsageError(
                    "Expected --from-predictions without options of training; got both. Leave out --profile full, "
                    "--architecture, --recipe, --epochs and --cache."
                )
            options.prepare_folder(out)
            summary = training.report_predictions(from_predictions, data, out)
        else:
            names = options.split_names(architectures or options.COMPARED) if full else []
            clf = training.make_classifier(architecture, epochs, seed, recipe)
            options.prepare_folder(out)
            choose = full and architecture is None
            summary = training.study(clf, data, seed, out, names, folds or 3, jobs, choose=choose, recipe=recipe)
        typer.echo((out / "metrics.json").read_text(encoding="utf-8") if json else summary)


def saved_in(out: Path) -> str:
    """Return the sentence on what an interrupted comparison keeps."""
    return f"finished fits are saved in {out / 'folds'}, and the same command continues from there"


@app.command()
def compare(
    architectures: Annotated[str, options.ARCHITECTURES] = options.COMPARED,
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds of the cross-validation.")] = 5,
    dataset: Annotated[str, options.DATASET] = "auto",
    size: Annotated[str | None, options.SIZE] = None,
    label: Annotated[str | None, options.LABEL] = None,
    epochs: Annotated[int | None, options.EPOCHS] = None,
    seed: Annotated[int, options.SEED] = 0,
    jobs: Annotated[int, options.JOBS] = -1,
    out: Annotated[Path, options.OUT] = Path("comparison"),
    json: Annotated[bool, options.JSON] = False,
) -> None:
    """Compare architectures by k-fold cross-validation on the training images."""
    with clear_errors(saved_in(out)):
        data = options.DataOptions(dataset, size, label)
        options.check_jobs(jobs)
        names = options.split_names(architectures)
        clf = training.make_classifier(None, epochs, seed)
        options.prepare_folder(out)
        comparison, summary = training.compare_and_draw(clf, data, seed, out, names, folds, jobs)
        typer.echo(to_json(comparison.to_dict()) if json else summary)


@app.command()
def export(
    model: Annotated[Path, options.MODEL],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx file to write.", show_default=False)],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to int8, which is smaller and faster.")] = False,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    label: Annotated[str | None, options.LABEL] = None,
) -> None:
    """Export a trained network as one ONNX file that takes raw pixels and returns labels."""
    with clear_errors("nothing was exported"):
        if int8 != (calibration is not None):
            raise BadUsageError("Expected --int8 and --calibration together; got one of them. Pass both or neither.")
        check_dataset_name(calibration, *options.NAMED, option="--calibration")
        options.check_own(calibration, label)
        typer.echo(models.export_checked(model, out, calibration, label))


@app.command()
def predict(
    model: Annotated[Path, options.EITHER_MODEL],
    pictures: Annotated[list[str], options.PICTURES],
    out: Annotated[Path | None, options.SUBMISSION] = None,
    show: Annotated[Path | None, options.CONTACT_SHEET] = None,
    json: Annotated[bool, options.JSON] = False,
) -> None:
    """Classify pictures of any size and colour, or the rows of a table."""
    with clear_errors("nothing was predicted"):
        predicting.check_files(out, show, pictures)
        clf = models.open_model(model)
        inputs = predicting.read_inputs(pictures, clf)
        predictions = predicting.classify(clf, inputs)
        if json:
            typer.echo(to_json([asdict(prediction) for prediction in predictions]))
        elif predictions and out is None:
            predicting.show_predictions(predictions)
        for sentence in inputs.errors:
            typer.echo(f"error: {sentence}", err=True)
        if show is not None and predictions:
            n_drawn = predicting.draw_contact_sheet(show, clf, inputs, predictions)
            typer.echo(f"{show}: the images as the network sees them{of_all(n_drawn, len(predictions))}", err=True)
        if out is not None:
            predicting.write_submission(out, inputs, predictions)
            typer.echo(f"{out}: {counted(len(predictions), 'label')}", err=True)
        if inputs.errors:
            raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[Path, options.EITHER_MODEL],
    dataset: Annotated[str | None, options.LABELLED] = None,
    label: Annotated[str | None, options.LABEL] = None,
    json: Annotated[bool, options.JSON] = False,
) -> None:
    """Evaluate a trained network on labelled images."""
    with clear_errors("nothing was evaluated"):
        check_dataset_name(dataset, *options.NAMED)
        options.check_own(dataset, label)
        models.evaluate(models.open_model(model), dataset, label, json=json)


@app.command()
def trace(
    model: Annotated[Path, options.MODEL],
    digit: Annotated[str | None, options.DIGIT] = None,
    index: Annotated[int, typer.Option(min=0, metavar="N", help="Which of these images, counted from 0.")] = 0,
    dataset: Annotated[str | None, options.LABELLED] = None,
    label: Annotated[str | None, options.LABEL] = None,
    image: Annotated[Path | None, options.IMAGE] = None,
    out: Annotated[Path | None, options.TRACE_FILE] = None,
) -> None:
    """Show every step from the pixels of one image to its prediction."""
    with clear_errors("nothing was traced"):
        if (digit is None) == (image is None):
            raise BadUsageError(f"Expected either --digit or --image; got {'neither' if image is None else 'both'}.")
        if image is not None and (dataset is not None or label is not None):
            raise BadUsageError("Expected --image without --dataset and --label; got both. Leave them out.")
        check_dataset_name(dataset, *options.NAMED)
        options.check_own(dataset, label)
        if out is not None and out.suffix not in models.TRACE_FORMATS:
            raise BadUsageError(f"Expected --out to end in {', '.join(models.TRACE_FORMATS)}; got {quote(out)}.")
        typer.echo(models.write_trace(model, digit, index, dataset, label, image, out))


@app.command()
def page(
    model: Annotated[Path, options.MODEL],
    out: Annotated[Path, options.PAGE] = Path("network.html"),
    dataset: Annotated[str | None, options.SAMPLES] = None,
    label: Annotated[str | None, options.LABEL] = None,
) -> None:
    """Write a network as one offline page that runs it: draw, and every number follows."""
    with clear_errors("no page was written"):
        check_dataset_name(dataset, *options.NAMED)
        options.check_own(dataset, label)
        typer.echo(pages.write_page(model, out, dataset, label))


@app.command("app")
def open_page(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="File of CNNClassifier.save (.cnn).",
            show_default="a small network, trained at the first use and kept",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page to draw on, in which the network reads every stroke."""
    with clear_errors("no page was written"):
        out = pages.write_own_page(model)
        typer.echo(out)
        if browser:
            import webbrowser

            webbrowser.open(out.as_uri())


@app.command()
def doctor(json: Annotated[bool, options.JSON] = False) -> None:
    """Check this machine: versions, devices, data, and what is missing."""
    with clear_errors("the checks are incomplete"):
        from cnnclf.cli._doctor import examine, is_broken, to_dict, to_text

        findings = examine()
        typer.echo(to_json(to_dict(findings)) if json else to_text(findings))
        if is_broken(findings):
            raise typer.Exit(1)


class Output(io.TextIOWrapper):
    """A standard stream that ends the program silently if its reader has gone, as after ``| head -1``."""

    def write(self, text: str) -> int:
        """Write text, or exit."""
        with quiet_end(self):
            return super().write(text)

    def flush(self) -> None:
        """Write the buffer, or exit."""
        with quiet_end(self):
            super().flush()


@contextmanager
def quiet_end(stream: io.TextIOWrapper) -> Iterator[None]:
    """Exit as a program that SIGPIPE ends, and discard the rest of the output."""
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
