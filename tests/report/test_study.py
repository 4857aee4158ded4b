"""A whole report on few digits: compared on training images, one trained, evaluated once, kept when stopped."""

import json
import re

import numpy as np
import pytest

from cnnclf import CNNClassifier
from cnnclf.datasets._splits import Data, divide
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.model_selection._compare import compare_architectures
from cnnclf.report._records import Reproduction
from cnnclf.report._study import FOLDS_FOLDER, MODEL_FILE, carry_out, match_images, train

REPRODUCTION = Reproduction("cnnclf report", 0, {})
NAMES = ("tiny", "lenet5")


@pytest.fixture(scope="module")
def data(few_digits):
    """400 digits: 288 to learn from, 32 for validation, 80 for the test."""
    return Data("Few digits", "Read this.", "few", 16, "handwriting", *divide(*few_digits[:2], seed=0))


@pytest.fixture(scope="module")
def full(data, tmp_path_factory):
    """A study that compares two architectures and trains the better one: records and folder."""
    folder = tmp_path_factory.mktemp("study")
    clf = CNNClassifier(max_epochs=3, random_state=0)
    return carry_out(clf, data, folder, reproduction=REPRODUCTION, architectures=NAMES, n_folds=2, choose=True), folder


def test_the_architectures_are_compared_on_the_training_images_alone(full, data):
    report, _ = full
    clf = CNNClassifier(max_epochs=3, random_state=0)
    again = compare_architectures(data.training.X, data.training.y, NAMES, cv=2, estimator=clf)
    assert [result.accuracies for result in report.comparison.results] == [
        result.accuracies for result in again.results
    ]
    assert {fold.n_train + fold.n_test for result in report.comparison.results for fold in result.folds} == {288}


def test_the_best_of_them_is_trained_and_judged_and_kept(full, data):
    report, folder = full
    assert report.comparison.best.name == report.model.architecture == "lenet5"
    clf = CNNClassifier.load(folder / MODEL_FILE)
    assert clf.architecture == "lenet5"
    assert np.array_equal(clf.predict(data.test.X), report.evaluation.y_pred)
    alone = CNNClassifier("lenet5", max_epochs=3, random_state=0)
    alone.fit(data.training.X, data.training.y, X_val=data.validation.X, y_val=data.validation.y)
    assert np.array_equal(alone.predict_proba(data.test.X), report.evaluation.y_proba)


def test_every_finished_fit_is_kept(full):
    _, folder = full
    kept = [json.loads(file.read_text())["key"] for file in (folder / FOLDS_FOLDER).iterdir()]
    assert sorted((key["name"], key["fold"]) for key in kept) == [
        (name, number) for name in ("lenet5", "tiny") for number in (1, 2)
    ]


def test_what_is_kept_is_not_trained_again(full, data, monkeypatch, capsys):
    report, folder = full
    fits = []
    fit = CNNClassifier.fit
    monkeypatch.setattr(
        CNNClassifier, "fit", lambda self, *a, **k: fits.append(self.architecture) or fit(self, *a, **k)
    )
    clf = CNNClassifier(max_epochs=3, random_state=0)
    again = carry_out(clf, data, folder, reproduction=REPRODUCTION, architectures=NAMES, n_folds=2, choose=True)
    assert fits == ["lenet5"]  # the one that is evaluated
    assert again.comparison.to_dict() == report.comparison.to_dict()
    assert capsys.readouterr().err == (
        "Few digits: 288 training, 32 validation, 80 test images\n"
        "comparing tiny, lenet5 in 2 folds\n"
        "training lenet5, 3 epochs\n"
    )


def test_the_records_belong_together(full, data):
    report, _ = full
    assert (report.name, report.data.note) == ("Few digits", "Read this.")
    assert [split.n_images for split in report.data.splits] == [288, 32, 80]
    assert [split.origin for split in report.data.splits] == [part.origin for part in data.parts.values()]
    assert np.array_equal(report.evaluation.y_true, data.test.y)
    assert np.array_equal(report.trace.image, data.test.X[[report.example.index]])
    assert data.test.y[report.example.index] == report.example.label == 5
    assert report.robustness.probes[0].accuracy == report.evaluation.accuracy
    assert [result.name for result in report.comparison.results] == list(NAMES)
    assert report.reproduction is REPRODUCTION
    for cell in report.cells:
        for index, picture in zip(cell.indices, cell.pictures, strict=True):
            # Training pixels reach from 0 to 16.
            assert np.array_equal(picture, np.rint(data.test.X[index] * (255 / 16)))


def test_without_architectures_nothing_is_compared_and_its_own_is_trained(data, tmp_path, capsys):
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0)
    report = carry_out(clf, data, tmp_path, reproduction=REPRODUCTION)
    assert (report.comparison, report.model.architecture) == (None, "tiny")
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]
    assert capsys.readouterr().err.splitlines()[1:] == ["training tiny, 1 epoch"]


def test_the_architecture_that_was_asked_for_is_trained_whatever_is_best(full, data):
    _, folder = full
    clf = CNNClassifier("tiny", max_epochs=3, random_state=0)
    report = carry_out(clf, data, folder, reproduction=REPRODUCTION, architectures=NAMES, n_folds=2)
    assert (report.comparison.best.name, report.model.architecture) == ("lenet5", "tiny")


def test_on_a_terminal_the_fits_of_a_comparison_are_a_line_each_and_only_the_last_has_a_bar(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0, verbose=1)
    carry_out(clf, data, tmp_path, reproduction=REPRODUCTION, architectures=NAMES, n_folds=2)
    before, after = capsys.readouterr().err.split("training tiny, 1 epoch\n")
    assert [re.sub(r": [\d.]+ % in [\d.]+ CPU s$", "", line) for line in before.splitlines()[2:]] == [
        f"{name}, fold {number} of 2" for name in NAMES for number in (1, 2)
    ]
    assert "batch" in after


# In a step, and between two epochs, where an interrupt looks like a callback's decision to stop.
@pytest.mark.parametrize("moment", ["torch.optim.AdamW.step", "skorch.callbacks.EpochTimer.on_epoch_end"])
def test_an_interrupted_training_is_the_end_and_leaves_no_model(data, tmp_path, monkeypatch, moment):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        carry_out(CNNClassifier(random_state=0), data, tmp_path, reproduction=REPRODUCTION)
    assert list(tmp_path.iterdir()) == []


def test_the_training_is_timed(data):
    clf = CNNClassifier("tiny", max_epochs=2, random_state=0)
    assert train(clf, data) >= sum(epoch["seconds"] for epoch in clf.history_) > 0


def test_predictions_get_the_images_whose_labels_they_have():
    X = np.zeros((3, 4, 5), np.uint8)
    for y_true in ([1, 0, 1], ["1", "0", "1"]):  # as a file or a folder has them
        evaluation = Evaluation.from_labels(y_true, y_true)
        assert match_images(evaluation, X, np.array([1, 0, 1])).shape == (3, 1, 4, 5)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (
            [1, 0],
            (
                "Expected a prediction for each of the 2 test images; got 3. "
                "Leave out --dataset to evaluate the predictions without their images."
            ),
        ),
        (
            [1, 1, 0],
            (
                "Expected the true labels of the predictions to be those of the test images; got 0 for test image 1, "
                "which is 1. Sort the rows as the images are, or leave out --dataset."
            ),
        ),
    ],
)
def test_refuses_predictions_of_other_images(y, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared
        match_images(Evaluation.from_labels([1, 0, 1], [1, 1, 1]), np.zeros((len(y), 4, 5), np.uint8), np.array(y))
    assert str(error.value) == sentence
