"""The whole way of a report: compare architectures, train one, judge it once, follow one image through it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.base import clone

from cnnclf.architectures._summary import summarize
from cnnclf.architectures._table import find_architecture
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.datasets._splits import Data, Images
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._robustness import probe
from cnnclf.images._arrays import check_images
from cnnclf.model_selection._compare import compare_architectures, fit_to_the_end
from cnnclf.model_selection._comparison import Comparison
from cnnclf.report._data import DataRecord
from cnnclf.report._records import Example, ModelRecord, Report, Reproduction, Run

MODEL_FILE = "model.cnn"
FOLDS_FOLDER = "folds"
USUAL = {"random_state": 0, "verbose": 1}  # what `cnnclf report` sets where nothing is said


def carry_out(
    clf: CNNClassifier,
    data: Data,
    folder: Path,
    *,
    reproduction: Reproduction,
    architectures: Sequence[str] = (),
    n_folds: int = 3,
    n_jobs: int | None = None,
    choose: bool = False,
) -> Report:
    """Do everything that a report tells of; what is done is said on stderr.

    Parameters
    ----------
    clf : CNNClassifier
        Is fitted, on the training images.
    data : Data
        In three parts; the test images are judged once, at the end.
    folder : Path
        Gets the trained network at the end and, of a comparison, every finished fit at once, so that what was
        interrupted goes on where it stopped.
    reproduction : Reproduction
        How to do it again.
    architectures : sequence of str, optional
        Compared by k-fold cross-validation over the training images; without them nothing is compared.
    n_folds : int, default=3
        Folds of the comparison.
    n_jobs : int, optional
        Fits of the comparison at the same time, as everywhere in scikit-learn.
    choose : bool, default=False
        Whether the architecture that the comparison found best is trained, in place of the classifier's own.

    Returns
    -------
    Report
        All records.

    Raises
    ------
    KeyboardInterrupt
        Also when the training was interrupted, which leaves the estimator usable but the report without its subject.
    ValueError, OSError
        When the data cannot be learnt from or the folder not be written to.
    """
    sizes = ", ".join(f"{len(part.y):,} {name}" for name, part in data.parts.items())
    say(f"{data.name}: {sizes} images")
    comparison = None
    if architectures:
        say(f"comparing {', '.join(architectures)} in {n_folds} folds")
        comparison = compare_architectures(
            data.training.X,
            data.training.y,
            architectures,
            cv=n_folds,
            estimator=clone(clf).set_params(verbose=0),  # each fit says one line; bars of several would mix
            n_jobs=n_jobs,
            checkpoint=folder / FOLDS_FOLDER,
            verbose=1,
        )
        if choose:
            clf.set_params(architecture=comparison.best.name)
    say(f"training {clf.architecture}, {clf.max_epochs} epoch{'s' if clf.max_epochs > 1 else ''}")
    seconds = train(clf, data)
    clf.save(folder / MODEL_FILE)
    return judge(clf, data, reproduction, comparison, seconds)


def train(clf: CNNClassifier, data: Data) -> float:
    """Fit the classifier and give the wall time in seconds."""
    start = time.perf_counter()
    clf.set_params(preparation=data.preparation)
    fit_to_the_end(clf, data.training.X, data.training.y, X_val=data.validation.X, y_val=data.validation.y)
    clf.input_spec_ = replace(clf.input_spec_, white=data.white)  # which very dark images would not tell
    return time.perf_counter() - start


def judge(
    clf: CNNClassifier, data: Data, reproduction: Reproduction, comparison: Comparison | None, seconds: float
) -> Report:
    """Evaluate the fitted classifier on the test images and put all records together."""
    evaluation = Evaluation.from_estimator(clf, data.test.X, data.test.y)
    example = Example.from_evaluation(evaluation)
    pixels = {name: check_images(part.X)[0] for name, part in data.parts.items()}
    splits = {name: (part.origin, pixels[name], part.y) for name, part in data.parts.items()}
    record = DataRecord.from_splits(data.name, note=data.note, splits=splits)
    return Report.of(
        record,
        ModelRecord.from_estimator(
            clf,
            summarize(clf.module_, clf.image_shape_),
            source=find_architecture(clf.architecture).source if isinstance(clf.architecture, str) else "",
            file=MODEL_FILE,
            on_mnist=data.name == "MNIST",
            usual={**USUAL, "preparation": data.preparation},
        ),
        evaluation,
        pixels["test"],
        example=example,
        trace=clf.trace(data.test.X[example.index]),
        reproduction=reproduction,
        run=Run.of(clf, seconds, comparison),
        comparison=comparison,
        robustness=probe(clf, data.test.X, data.test.y, record.pixel_range),
    )


def say(sentence: str) -> None:
    """Tell whoever waits what is being done."""
    print(sentence, file=sys.stderr, flush=True)


def match_labels(evaluation: Evaluation, X: Images, y: np.ndarray) -> Images:
    """Match test images to predictions that were made on them, as far as their labels can tell.

    Raises
    ------
    ValueError
        When number or labels differ: then the predictions are of other images.
    """
    if len(y) != evaluation.n_samples:
        raise ValueError(
            f"Expected a prediction for each of the {len(y):,} test images, got {evaluation.n_samples:,}; "
            "leave out --dataset to judge the predictions without their images."
        )
    differ = np.flatnonzero(
        np.array([str(a) != str(b) for a, b in zip(y.tolist(), evaluation.y_true.tolist(), strict=True)])
    )
    if len(differ):
        row = int(differ[0])
        raise ValueError(
            f"Expected the true labels of the predictions to be those of the test images, got "
            f"{evaluation.y_true[row]} for test image {row}, which is {y[row]}; put the rows into the order of the "
            "images, or leave out --dataset."
        )
    return check_images(X)[0]
