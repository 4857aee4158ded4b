"""Write a report: web pages, Markdown, figures, a model card and ``metrics.json``.

The same records give the same bytes; what differs from run to run (times, date, hardware) is in one place of each file.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from cnnclf._utils.files import write_atomically
from cnnclf.evaluation._overfitting import RULE
from cnnclf.inspection._narrative import narrate
from cnnclf.model_selection._comparison import ArchitectureResult
from cnnclf.plots._comparison import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
from cnnclf.plots._data import ClassDistributionDisplay, ImageGridDisplay, TrainingCurvesDisplay
from cnnclf.plots._evaluation import ConfusionMatrixDisplay, PerClassDisplay, ReliabilityDisplay, strength
from cnnclf.plots._style import new_figure
from cnnclf.report._data import MATRIX_CLASSES
from cnnclf.report._model_card import model_card
from cnnclf.report._records import Report, without_time
from cnnclf.report._render import feature_maps, standalone, templates, to_png, to_svg

N_PAIRS = 10  # most confused pairs


def write(report: Report, folder: str | os.PathLike[str]) -> Path:
    """Write the report.

    Parameters
    ----------
    report : Report
        The records to show.
    folder : path
        Created if it is missing. Gets ``index.html``, ``report.md``, ``metrics.json`` and ``figures/``; of a trained
        network also ``model_card.md``, ``walkthrough.html``, which explains every number that the reader points at,
        and ``walkthrough.md``. Each file is written whole or not at all.

    Returns
    -------
    Path
        The path of ``index.html``.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    drawings = figures(report)
    for name, svg in drawings.items():
        write_text(folder / "figures" / f"{name}.svg", standalone(svg))
    for name, png in picture_grids(report).items():
        write_atomically(folder / "figures" / f"{name}.png", png)
    write_text(folder / "metrics.json", json.dumps(metrics(report), indent=2, ensure_ascii=False, allow_nan=False))
    if report.trace is not None:
        report.trace.to_html(folder / "walkthrough.html")
        write_text(folder / "walkthrough.md", report.trace.to_markdown())
    if report.model is not None:
        write_text(folder / "model_card.md", model_card(report))
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "index.html", to_html(report, drawings))
    return folder / "index.html"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_atomically(path, text.encode())


def metrics(report: Report) -> dict[str, Any]:
    """Return the numbers of the report as JSON has them; of the walkthrough, the image and the probabilities."""
    data, comparison, model = report.data, report.comparison, report.model
    record: dict[str, Any] = {}
    if data is not None:
        record["dataset"] = {
            "name": data.name,
            "note": data.note,
            "classes": list(data.classes),
            "image_shape": list(data.image_shape),
            "images": {split.name: split.n_images for split in data.splits},
        }
    if comparison is not None:
        record["comparison"] = {
            "n_folds": comparison.n_folds,
            "best": comparison.best.name,
            "architectures": [compared(result) for result in comparison.results],
        }
    if model is not None:
        record["model"] = {
            "architecture": model.architecture,
            "n_parameters": model.n_parameters,
            "n_multiply_adds": model.n_multiply_adds,
            "hyperparameters": {setting.name: setting.value for setting in model.settings},
            "history": list(map(dict, model.history)),
            "overfitting": asdict(model.verdict),
        }
    record["test"] = report.evaluation.to_dict()
    if report.robustness is not None:
        record["robustness"] = asdict(report.robustness)
    if report.example is not None and report.trace is not None:
        record["walkthrough"] = {
            "test_image": report.example.index,
            "class": report.example.label,
            "predicted": report.trace.ranking.tolist()[0],
            "probabilities": report.trace.probabilities.tolist(),
        }
    record["reproduction"] = asdict(report.reproduction)
    if report.run is not None:
        results = comparison.results if comparison else ()
        costs = [(result.name, result.fit_seconds, result.predict_seconds) for result in results]
        names = ("architecture", "fit_seconds", "predict_seconds")
        record["run"] = asdict(report.run) | {"costs": [dict(zip(names, cost, strict=True)) for cost in costs]}
    return record


def compared(result: ArchitectureResult) -> dict[str, Any]:
    """Return the numbers of one architecture of a comparison, without those that differ from run to run."""
    return {
        "architecture": result.name,
        "n_parameters": result.n_parameters,
        "n_multiply_adds": result.n_multiply_adds,
        "accuracy_mean": result.mean_accuracy,
        "accuracy_sd": result.std_accuracy,
        "folds": [
            {"accuracy": fold.accuracy, "history": list(map(without_time, fold.history))} for fold in result.folds
        ],
    }


def to_html(report: Report, drawings: Mapping[str, str]) -> str:
    """Render the page, self-contained, with the SVG of each of :func:`figures` inside."""
    story: dict[str, Any] | None = None
    if report.trace is not None:
        title, image, *sections = narrate(report.trace)
        maps = [feature_maps(step.output) for step in report.trace.walk()]
        layers, decision = sections[: len(maps)], sections[len(maps) :]
        story = {"title": title, "image": image, "layers": zip(layers, maps, strict=True), "decision": decision}
    inline = {name: Markup(svg) for name, svg in drawings.items()}
    coloured = strength(report.evaluation.confusion_matrix).tolist()
    return render("index.html.j2", report, figures=inline, story=story, strength=coloured)


def to_markdown(report: Report) -> str:
    """Render the Markdown, which refers to the files in ``figures/``."""
    return render("report.md.j2", report)


def render(template: str, report: Report, **more: Any) -> str:
    """Render a template with the values that both pages need."""
    numbers = {name: number for number, name in enumerate(report.sections, start=1)}
    pairs = report.evaluation.confused_pairs(N_PAIRS)
    small = len(report.evaluation.classes) <= MATRIX_CLASSES
    shared = {"numbers": numbers, "pairs": pairs, "small": small, "rule": RULE}
    return templates().get_template(template).render(report=report, **shared, **more)


def figures(report: Report) -> dict[str, str]:
    """Draw the figures of lines and text as SVG in the text colour of the page around them."""
    drawn = {
        "confusion": ConfusionMatrixDisplay.from_evaluation(report.evaluation).figure_,
        "confusion_shares": ConfusionMatrixDisplay.from_evaluation(report.evaluation, normalize="true").figure_,
        "per_class": PerClassDisplay.from_evaluation(report.evaluation).figure_,
    }
    if report.evaluation.y_proba is not None:
        drawn["reliability"] = ReliabilityDisplay.from_evaluation(report.evaluation).figure_
    if report.data is not None:
        counts = {split.name: split.counts for split in report.data.splits}
        drawn["classes"] = ClassDistributionDisplay(report.data.classes, counts).plot().figure_
    if report.comparison is not None:
        drawn["fold_curves"] = FoldCurvesDisplay.from_comparison(report.comparison).figure_
        drawn["folds"] = FoldBoxDisplay.from_comparison(report.comparison).figure_
        for cost in ("parameters", "multiply_adds"):
            drawn[f"accuracy_{cost}"] = new_figure(4.2, 2.9)
            AccuracyCostDisplay.from_comparison(report.comparison, cost=cost, ax=drawn[f"accuracy_{cost}"].subplots())
    if report.model is not None:
        drawn["loss"], drawn["accuracy"] = new_figure(4.2, 2.9), new_figure(4.2, 2.9)
        axes = drawn["loss"].subplots(), drawn["accuracy"].subplots()
        TrainingCurvesDisplay(report.model.history).plot(axes)
    return {name: to_svg(figure, name) for name, figure in drawn.items()}


def picture_grids(report: Report) -> dict[str, bytes]:
    """Draw the grids of pictures as PNG."""
    grids = {}
    if report.data is not None:
        per_class = zip(report.data.classes, report.data.samples, strict=False)
        labels = [label for label, samples in per_class for _ in samples]
        grids["samples"] = ImageGridDisplay.from_labels(np.concatenate(report.data.samples), labels)
    if report.mistakes and report.mistake_pictures is not None:
        grids["mistakes"] = ImageGridDisplay.from_mistakes(report.mistake_pictures, report.mistakes)
    return {name: to_png(grid.figure_) for name, grid in grids.items()}
