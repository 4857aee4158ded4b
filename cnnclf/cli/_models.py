"""The commands `evaluate`, `export` and `trace`, and what they share with `predict`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent, quote_all
from cnnclf.cli._options import (
    NAMED,
    BadUsageError,
    Classifier,
    Images,
    Labels,
    show_table,
    tell_what_was_read,
    to_json,
)
from cnnclf.cli._train import in_short

if TYPE_CHECKING:
    from cnnclf.datasets._contents import Arrays
    from cnnclf.datasets._pictures import Pictures

MODEL_MEMORY = 2**30  # bytes for the computations of an .onnx file, which may come from a stranger
N_CALIBRATION = 500  # images on which int8 ranges are measured
# The methods of a trace by the suffix of the file.
TRACE_FORMATS = {".html": "to_html", ".md": "to_markdown", ".tex": "to_latex", ".txt": "to_text", ".xlsx": "to_xlsx"}


def open_model(path: Path) -> Classifier:
    """Load a network; only .cnn files need torch."""
    if path.suffix == ".onnx":
        from cnnclf.onnx._classifier import ONNXClassifier
        from cnnclf.onnx._runtime import limit_memory

        limit_memory(MODEL_MEMORY)
        return ONNXClassifier(path)
    from cnnclf.classifier._classifier import CNNClassifier

    return CNNClassifier.load(path)


def load_test_images(
    dataset: str | None, clf: Classifier, label: str | None, *, is_evaluated: bool = False
) -> tuple[str, Images, Labels]:
    """Load test images in the format of a network, and their labels, which it must know if it is evaluated on them."""
    if dataset is None:
        dataset = find_dataset(clf)
    if dataset == "digits":
        typer.echo("The test images are the 20 % of each class that `cnnclf report` holds out.", err=True)
    return load_for(clf, dataset, label, training=False, is_evaluated=is_evaluated)


def load_for(
    clf: Classifier, dataset: str, label: str | None, *, training: bool, is_evaluated: bool = False
) -> tuple[str, Images, Labels]:
    """Load images in the format of a network, and their labels; pictures are read as by `predict`."""
    from cnnclf.datasets._load import describe_contents, find_source
    from cnnclf.datasets._source import WHOLE
    from cnnclf.datasets._splits import load_part, name_own

    if dataset in NAMED:
        name, X, y, white = load_part(dataset, training=training)
        if clf.input_spec_.image_shape[1:] != X.shape[1:]:
            _, height, width = clf.input_spec_.image_shape
            raise BadUsageError(
                f"Expected images of {width}×{height} pixels, as this network takes them; got {name}, "
                f"{X.shape[2]}×{X.shape[1]}. Pass the path of other images."
            )
        return name, as_taken(X, white, clf), y
    source = find_source(dataset, label)
    split = source.choose(None if training or WHOLE in source.readers else "test")
    content = source.readers[split]()
    if is_evaluated:  # before pictures are decoded
        check_known(content.y, clf, dataset)
    tell_what_was_read(describe_contents(source, {split: content}))
    return name_own(dataset), as_rows(content, clf), content.y


def check_known(labels: Labels, clf: Classifier, dataset: str) -> None:
    """Check that a network knows all labels."""
    from cnnclf.evaluation._labels import check_labels, match_labels

    classes = np.asarray(clf.classes_)
    check_labels(match_labels(labels, classes), classes, dataset, "Move their images away, or fit with them")


def as_rows(content: "Arrays | Pictures", clf: Classifier) -> Images:
    """Return the images of a dataset in the size, the colours and the unit that a network takes."""
    from PIL import Image

    from cnnclf.datasets._contents import Arrays
    from cnnclf.images._pictures import prepare, read_pictures, refuse_pictures

    spec = clf.input_spec_
    if isinstance(content, Arrays):
        n_channels, *size = spec.image_shape
        is_grey = content.X.ndim == 3 and n_channels == 1
        if content.X.shape[1:] == spec.input_shape or (is_grey and content.X.shape[1:] == tuple(size)):
            return as_taken(content.X, content.white, clf)
        return np.stack(
            [prepare(Image.fromarray(image), spec, str(content.path)) for image in content.as_bytes(content.white)]
        )
    rows, errors = read_pictures(zip(content.names, content.sources, strict=True), spec)
    refuse_pictures(content.path, errors)
    return np.stack([row for _, row in rows])


def find_dataset(clf: Classifier) -> str:
    """Return the name of the dataset that a network was trained on, if its file records that."""
    from cnnclf.datasets._splits import load_part

    for dataset, image_shape in (("digits", (1, 8, 8)), ("mnist", (1, 28, 28))):
        if clf.image_shape_ == image_shape:
            _, X, _, white = load_part(dataset, training=True)
            if count_learnt(as_taken(X, white, clf), clf)[0]:
                return dataset
    raise BadUsageError(
        "Expected --dataset, as this network was trained neither on MNIST nor on scikit-learn's digits; got none. Pass "
        "a folder of images."
    )


def count_learnt(X: Images, clf: Classifier) -> tuple[int, int]:
    """Count the images that a network was trained on, and those that its file can identify."""
    from cnnclf.images._arrays import check_images
    from cnnclf.training import _recognition as recognition

    return recognition.count_learnt(clf.training_data_.learnt, check_images(X, layout=clf.input_spec_)[0])


def warn_of_learnt(X: Images, clf: Classifier) -> None:
    """Warn if a network was trained on some of the images that it is evaluated on."""
    n_learnt, n_looked_up = count_learnt(X, clf)
    if n_learnt:
        of = "these" if n_looked_up == len(X) else f"the {n_looked_up:,} that its file can identify among these"
        typer.echo(
            f"warning: the network was trained on {n_learnt:,} of {of} {len(X):,} images, which makes the accuracy too "
            "high. Evaluate it on images that it has not seen.",
            err=True,
        )


def as_taken(X: Images, white: int | None, clf: Classifier) -> Images:
    """Convert images (n, height, width, …) to the shape and, if both are known, the unit that a network takes."""
    from cnnclf.images._pictures import white_of

    shape = clf.input_spec_.input_shape
    if X[0].size == math.prod(shape) and len(shape) != X.ndim - 1:  # flat rows, or grey with an axis of one channel
        X = X.reshape(len(X), *shape)
    own_white = clf.input_spec_.white
    if own_white is None and white is not None:
        white_of(clf.input_spec_)  # raises, as it is not known how to bring these to the unit of training
    if white is None or own_white in (white, None):
        return X
    return X / white if own_white == 1 else np.rint(X / white * own_white)


def export_checked(model: Path, out: Path, calibration: str | None, label: str | None) -> str:
    """Export a network, load the file, and describe its input and output."""
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.onnx._classifier import ONNXClassifier

    clf = CNNClassifier.load(model)
    if calibration is None:
        clf.to_onnx(out)
    else:
        _, X, _ = load_for(clf, calibration, label, training=True)
        spread = np.linspace(0, len(X) - 1, min(len(X), N_CALIBRATION)).astype(int)  # as they may be sorted by class
        clf.to_onnx(out, quantize="int8", calibration=X[spread])
    spec, n_classes = ONNXClassifier(out).input_spec_, len(clf.classes_)
    shape = ", ".join(["n", *map(str, spec.input_shape)])
    return f"{out}\n{out.stat().st_size:,} bytes; X: {spec.dtype} ({shape}) → label (n), probabilities (n, {n_classes})"


def evaluate(clf: Classifier, dataset: str | None, label: str | None, *, json: bool) -> None:
    """Evaluate a network on test images and print the figures."""
    from cnnclf.evaluation._evaluation import SCORE_COLUMNS, Evaluation, score_rows

    name, X, y = load_test_images(dataset, clf, label, is_evaluated=True)
    warn_of_learnt(X, clf)
    evaluation = Evaluation.from_estimator(clf, X, y)
    if json:
        typer.echo(to_json({"dataset": name} | evaluation.to_dict()))
        return
    typer.echo(in_short(evaluation, name))
    show_table(SCORE_COLUMNS, score_rows(evaluation))


def write_trace(
    model: Path,
    digit: str | None,
    index: int,
    dataset: str | None,
    label: str | None,
    image: Path | None,
    out: Path | None,
) -> str:
    """Trace one image; return the text to print, which is the trace itself if there is no file to write."""
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.images._pictures import read_picture

    clf = CNNClassifier.load(model)
    if image is not None:
        row, what = read_picture(image, clf.input_spec_), str(image)
    else:
        name, X, y = load_test_images(dataset, clf, label)
        found = np.flatnonzero([str(label) == digit for label in y.tolist()])
        if not len(found):
            raise BadUsageError(f"Expected --digit to be one of {quote_all(np.unique(y).tolist())}; got {digit}.")
        if index >= len(found):
            raise BadUsageError(
                f"Expected --index below {len(found)}, the test images of class {digit} in {name}; got {index}."
            )
        row, what = X[found[index]], f"test image {found[index]} of {name}, a {digit}"
    trace = clf.trace(row)
    if out is None:
        return trace.to_text().rstrip("\n")
    render = getattr(trace, TRACE_FORMATS[out.suffix])
    if out.suffix in (".html", ".xlsx"):
        render(out)
    else:
        write_atomically(out, render().encode())
    return f"{out}\n{what}: predicted {trace.label} with probability {percent(trace.share)}"
