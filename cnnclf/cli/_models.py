"""The commands `predict`, `evaluate`, `export` and `trace`."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import typer

from cnnclf.cli._options import BadUsageError, Classifier, Images, Labels, show_table
from cnnclf.cli._train import in_short

MODEL_MEMORY = 2**30  # bytes for what an .onnx file computes, which may come from a stranger
N_CALIBRATION = 500  # images that int8 ranges are measured on
N_TOP = 3
TRACE_FORMATS = (".html", ".md", ".tex", ".txt", ".xlsx")


def open_model(path: Path) -> Classifier:
    """Load a network; torch is needed for a .cnn file only."""
    if path.suffix == ".onnx":
        from cnnclf.onnx._classifier import ONNXClassifier
        from cnnclf.onnx._file import limit_memory

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
        typer.echo("The test images are the fifth of each class that `cnnclf report` holds out.", err=True)
    return name, X, y


def load_for(clf: Classifier, dataset: str, *, training: bool) -> tuple[str, Images, Labels]:
    """Load images as a network takes them, and their labels; the pictures of a folder as `predict` reads them."""
    from cnnclf.datasets._folders import list_image_folder
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
    from cnnclf.datasets._folders import list_image_folder
    from cnnclf.evaluation._labels import check_labels, match_labels

    labels = np.array([file.parent.name for file in list_image_folder(folder)])
    classes = np.asarray(clf.classes_)
    check_labels(match_labels(labels, classes), classes, folder, "Move their sub-folders away, or fit with them")


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
    from cnnclf.training import _recognition as recognition

    return recognition.count_learnt(clf.training_data_.learnt, check_images(X, layout=clf.input_spec_)[0])


def warn_of_learnt(X: Images, clf: Classifier) -> None:
    """Warn that a network learnt from images that it is evaluated on."""
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
    """Predict the class of each picture, and collect why the others cannot be read."""
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


def judge(clf: Classifier, dataset: str | None, *, json: bool) -> None:
    """Evaluate a network on test images and print the figures."""
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
