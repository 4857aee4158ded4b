"""The stages of a study: compare architectures, train one, evaluate it once, trace one image."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.base import clone

from cnnclf._utils.text import counted, say
from cnnclf.classifier._auto import is_auto
from cnnclf.classifier._classifier import CNNClassifier
from cnnclf.classifier._settings import readable
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
USUAL = {"random_state": 0, "verbose": 1}  # the defaults of `cnnclf report`


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
    """Compare, train and evaluate, and print on stderr what is being done.

    Parameters
    ----------
    clf : CNNClassifier
        Is fitted, on the training images.
    data : Data
        In three parts; the test images are evaluated once, at the end.
    folder : Path
        Gets the trained network at the end and, of a comparison, each fit as soon as it has finished, so that an
        interrupted study continues where it stopped.
    reproduction : Reproduction
        How to make the report again.
    architectures : sequence of str, optional
        Compared by k-fold cross-validation on the training images; by default nothing is compared.
    n_folds : int, default=3
        Folds of the comparison.
    n_jobs : int, optional
        Fits of the comparison at the same time, as everywhere in scikit-learn.
    choose : bool, default=False
        Whether to train the best architecture of the comparison in place of the classifier's own.

    Returns
    -------
    Report
        All records.

    Raises
    ------
    KeyboardInterrupt
        Also if the training was interrupted, which leaves a usable estimator but no report.
    ValueError, OSError
        If the data cannot be learnt from or the folder cannot be written to.
    """
    sizes = ", ".join(f"{len(part.y):,} {name}" for name, part in data.parts.items())
    say(f"{data.name}: {sizes} images")
    comparison = None
    if architectures:
        say(f"comparing {', '.join(architectures)} in {n_folds} folds")
        X, y = data.training.X, data.training.y
        quiet = clone(clf).set_params(verbose=0)  # each fit prints one line; several progress bars would mix
        folds = folder / FOLDS_FOLDER
        comparison = compare_architectures(
            X, y, architectures, cv=n_folds, estimator=quiet, n_jobs=n_jobs, checkpoint=folds, verbose=1
        )
        if choose:
            clf.set_params(architecture=comparison.best.name)
    name = "the network that the images suggest" if is_auto(clf.architecture) else readable(clf.architecture)
    epochs = "" if isinstance(clf.max_epochs, str) else f", {counted(clf.max_epochs, 'epoch')}"
    say(f"training {name}{epochs}")
    seconds = train(clf, data)
    clf.save(folder / MODEL_FILE)
    return evaluate(clf, data, reproduction, comparison, seconds)


def train(clf: CNNClassifier, data: Data) -> float:
    """Fit the classifier and return the wall time in seconds."""
    start = time.perf_counter()
    clf.set_params(preparation=data.preparation)
    fit_to_the_end(clf, data.training.X, data.training.y, X_val=data.validation.X, y_val=data.validation.y)
    if data.white is not None:
        clf.input_spec_ = replace(clf.input_spec_, white=data.white)  # which very dark images would not show
    return time.perf_counter() - start


def evaluate(
    clf: CNNClassifier, data: Data, reproduction: Reproduction, comparison: Comparison | None, seconds: float
) -> Report:
    """Evaluate the fitted classifier on the test images and combine all records."""
    evaluation = Evaluation.from_estimator(clf, data.test.X, data.test.y)
    example = Example.from_evaluation(evaluation)
    pixels = {name: check_images(part.X)[0] for name, part in data.parts.items()}
    splits = {name: (part.origin, pixels[name], part.y) for name, part in data.parts.items()}
    record = DataRecord.from_splits(data.name, note=data.note, splits=splits)
    return Report.of(
        record,
        ModelRecord.from_estimator(
            clf, file=MODEL_FILE, on_mnist=data.name == "MNIST", usual={**USUAL, "preparation": data.preparation}
        ),
        evaluation,
        pixels["test"],
        example=example,
        trace=clf.trace(data.test.X[example.index]),
        reproduction=reproduction,
        run=Run.of(clf, seconds),
        comparison=comparison,
        robustness=probe(clf, data.test.X, data.test.y, record.pixel_range),
    )


def match_images(evaluation: Evaluation, X: Images, y: np.ndarray) -> Images:
    """Return the test images of predictions, after a check that their labels are those of the predictions.

    Raises
    ------
    ValueError
        If number or labels differ: then the predictions are of other images.
    """
    if len(y) != evaluation.n_samples:
        raise ValueError(
            f"Expected a prediction for each of the {len(y):,} test images; got {evaluation.n_samples:,}. "
            "Leave out --dataset to evaluate the predictions without their images."
        )
    for row, (label, true) in enumerate(zip(y.tolist(), evaluation.y_true.tolist(), strict=True)):
        if str(label) != str(true):
            raise ValueError(
                f"Expected the true labels of the predictions to be those of the test images; got {true} for test "
                f"image {row}, which is {label}. Sort the rows as the images are, or leave out --dataset."
            )
    return check_images(X)[0]
