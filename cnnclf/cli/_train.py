"""The commands `report` and `compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent
from cnnclf.classifier._recipes import find_recipe
from cnnclf.cli._options import NAMED, BadUsageError, DataOptions, command_line, tell_what_was_read, to_json

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.evaluation._evaluation import Evaluation
    from cnnclf.model_selection._comparison import Comparison


def make_classifier(
    architecture: str | None, epochs: int | None, seed: int, recipe: str | None = None
) -> "CNNClassifier":
    """Return the classifier, with its own defaults for what neither the recipe nor the command line sets."""
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.classifier._parameters import is_architecture

    clf = CNNClassifier(random_state=seed, verbose=1)
    try:
        if recipe is not None:
            clf.set_params(**find_recipe(recipe))
        if architecture is not None:
            is_architecture(architecture)
            clf.set_params(architecture=architecture)
    except ValueError as error:
        raise BadUsageError(str(error)) from error
    if epochs is not None:
        clf.set_params(max_epochs=epochs)
    return clf


def study(
    clf: "CNNClassifier",
    asked: DataOptions,
    seed: int,
    out: Path,
    names: list[str],
    folds: int,
    jobs: int,
    *,
    choose: bool,
    recipe: str | None,
) -> str:
    """Carry out a study, write its report, and return a summary."""
    from cnnclf.datasets._splits import load
    from cnnclf.report._records import Reproduction
    from cnnclf.report._study import carry_out
    from cnnclf.report._write import write

    data = load(asked.dataset, seed, **asked.own, cache=asked.cache)
    tell_what_was_read(data.description)
    options = asked.to_options() | {"dataset": data.argument}
    if names:
        options |= {"profile": "full", "architectures": ",".join(names), "folds": folds}
    if recipe is not None:
        options["recipe"] = recipe
    elif not choose:
        options["architecture"] = clf.architecture
    options |= {"epochs": clf.max_epochs, "seed": seed}
    options = {name: value for name, value in options.items() if value != "auto" or name == "dataset"}
    reproduction = Reproduction.here(command_line("report", options), seed)
    records = carry_out(
        clf, data, out, reproduction=reproduction, architectures=names, n_folds=folds, n_jobs=jobs, choose=choose
    )
    page = write(records, out)
    lines = [str(page), f"test {in_short(records.evaluation, data.name)}"]
    if records.comparison is not None:
        lines = [records.comparison.to_text().rstrip(), "", f"trained: {clf.architecture_}", *lines]
    return "\n".join(lines)


def report_predictions(file: Path, asked: DataOptions, out: Path) -> str:
    """Evaluate saved predictions, write the report, and return a summary."""
    from cnnclf.datasets._load import describe
    from cnnclf.datasets._splits import load_part
    from cnnclf.evaluation._predictions import read_predictions
    from cnnclf.report._records import Report, Reproduction
    from cnnclf.report._study import match_images
    from cnnclf.report._write import write

    evaluation = read_predictions(file)
    name, X, options = f"“{file.name}”", None, {"from-predictions": str(file)}
    if asked.dataset != "auto":
        if asked.dataset not in NAMED:
            tell_what_was_read(describe(asked.dataset, label=asked.label))
        test, images, y, _ = load_part(asked.dataset, training=False, **asked.own)
        name, X = f"{name} on {test}", match_images(evaluation, images, y)
        options |= asked.to_options()
    records = Report.of_predictions(name, evaluation, Reproduction.here(command_line("report", options), None), X)
    return f"{write(records, out)}\n{in_short(evaluation, name)}"


def compare_and_draw(
    clf: "CNNClassifier", asked: DataOptions, seed: int, out: Path, names: list[str], folds: int, jobs: int
) -> "tuple[Comparison, str]":
    """Compare architectures, write figures and numbers, and return the comparison with its table."""
    from cnnclf.datasets._splits import load
    from cnnclf.model_selection._compare import compare_architectures
    from cnnclf.plots._comparison import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
    from cnnclf.report._render import standalone, to_svg

    data = load(asked.dataset, seed, **asked.own)
    tell_what_was_read(data.description)
    X, y = (np.concatenate([getattr(part, name) for part in (data.training, data.validation)]) for name in "Xy")
    typer.echo(f"{data.name}: {len(y):,} training images, {folds} folds", err=True)
    clf.set_params(verbose=0)  # each fit prints one line; several progress bars would mix
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
    write_atomically(out / "comparison.json", to_json(comparison.to_dict()).encode())
    return comparison, f"{comparison.to_text().rstrip()}\n\nnumbers and figures: {out}"


def in_short(evaluation: "Evaluation", name: str) -> str:
    """Return the accuracy of an evaluation in one line."""
    low, high = (percent(bound) for bound in evaluation.accuracy_interval)
    accuracy = f"accuracy {percent(evaluation.accuracy)} (95 % interval {low} to {high})"
    return f"{accuracy} on {evaluation.n_samples:,} images of {name}"
