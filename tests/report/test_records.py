"""What a report says, before it is drawn: counts, the image that is followed, the pictures behind each number."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnclf import CNNClassifier
from cnnclf.architectures._summary import summarize
from cnnclf.architectures._table import find_architecture
from cnnclf.classifier._settings import explain
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._overfitting import diagnose
from cnnclf.report._data import CELL_PIXELS, IMAGES_A_CELL, DataRecord, Split, behind_cells
from cnnclf.report._records import Example, ModelRecord, Report, Reproduction, Run
from cnnclf.training._runtime import name_processor

RANGE = (0.0, 255.0)
REPRODUCTION = Reproduction("cnnclf report", 0, {"Python": "3.99"})


def numbered(n, shape=(1, 2, 2)):
    """Images that differ: all pixels of image i are i."""
    return np.broadcast_to(np.arange(n).reshape(n, 1, 1, 1), (n, *shape))


@pytest.fixture(scope="module")
def clf(few_digits):
    X, y, X_test, y_test = few_digits
    return CNNClassifier("lenet5", max_epochs=2, random_state=0).fit(X, y, X_val=X_test, y_val=y_test)


def test_the_data_are_counted_class_by_class_in_each_part():
    X = numbered(7, (3, 4, 5))
    parts = {
        "training": ("all that is left", X[:4], np.array(["b", "a", "b", "b"])),
        "validation": ("a tenth", X[4:5], np.array(["c"])),
        "test": ("a fifth", X[5:], np.array(["a", "c"])),
    }
    record = DataRecord.from_splits("Letters", note="Read this.", splits=parts)
    assert (record.name, record.note, record.classes) == ("Letters", "Read this.", ("a", "b", "c"))
    assert [(split.name, split.origin, split.counts) for split in record.splits] == [
        ("training", "all that is left", (1, 3, 0)),
        ("validation", "a tenth", (0, 0, 1)),
        ("test", "a fifth", (1, 0, 1)),
    ]
    assert [split.n_images for split in record.splits] == [4, 1, 2]
    assert (record.n_images, record.image_shape, record.pixel_range) == (7, (3, 4, 5), (0.0, 3.0))


def test_the_samples_are_the_first_training_images_of_each_class():
    X, y = numbered(60), np.repeat([1, 0], 30)
    record = DataRecord.from_splits("Bits", note="", splits={"training": ("", X, y)})
    # From 0 to 59, stretched to 0 … 255.
    shown = [np.unique(pictures).tolist() for pictures in record.samples]
    assert shown == [np.rint(np.arange(start, start + 10) * 255 / 59).tolist() for start in (30, 0)]


def test_of_many_classes_the_first_have_samples_and_one_without_training_images_has_none():
    y = np.arange(35)
    parts = {"training": ("", numbered(34), y[:34]), "test": ("", numbered(1), np.array([-1]))}
    record = DataRecord.from_splits("Many", note="", splits=parts)
    assert len(record.classes) == 35
    assert [len(pictures) for pictures in record.samples] == [0] + [1] * 29


def test_split_counts_its_images():
    assert Split("test", "", (3, 0, 4)).n_images == 7


def test_a_model_is_described_by_what_it_is(clf, few_digits):
    record = ModelRecord.from_estimator(clf, file="model.cnn")
    assert (record.architecture, record.file) == ("lenet5", "model.cnn")
    assert record.source == find_architecture("lenet5").source != ""
    assert record.layers == tuple(summarize(clf.module_, clf.image_shape_))
    assert record.n_parameters == sum(p.numel() for p in clf.module_.parameters())
    # 5·5 products for each of 6·8·8 outputs; 6·4·4 for 16·1·1; then 16·120, 120·84 and 84·10.
    assert record.n_multiply_adds == 25 * 384 + 96 * 16 + 16 * 120 + 120 * 84 + 84 * 10
    X = few_digits[0].astype(np.float64)
    ((mean, std),) = record.standardisation
    assert (mean, std) == pytest.approx((X.mean(), X.std()), rel=1e-6)
    assert record.settings == explain(clf)
    assert [epoch["epoch"] for epoch in record.history] == [1, 2]
    assert record.verdict == diagnose(clf.history_)


def test_the_history_of_a_model_is_without_its_times(clf):
    record = ModelRecord.from_estimator(clf)
    assert all("seconds" in epoch for epoch in clf.history_)
    assert [{**epoch, "seconds": None} for epoch in record.history] == [
        {**epoch, "seconds": None} for epoch in clf.history_
    ]
    assert all("seconds" not in epoch for epoch in record.history)


def test_what_it_took(clf):
    run = Run.of(clf, 1.5)
    assert run.fit_seconds == 1.5
    assert run.epoch_seconds == tuple(epoch["seconds"] for epoch in clf.history_)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", run.date)
    assert re.fullmatch(r".+, \d+ cores", run.hardware)
    assert run.hardware.startswith(name_processor())


def test_another_device_than_the_processor_is_named():
    parameter = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    clf = SimpleNamespace(module_=SimpleNamespace(parameters=lambda: iter([parameter])), history_=[])
    assert Run.of(clf, 1.5).hardware.endswith(" cores and cuda")


def test_the_versions_are_those_that_are_installed():
    here = Reproduction.here("cnnclf report", 3)
    assert (here.command, here.seed) == ("cnnclf report", 3)
    assert list(here.versions) == ["Python", "cnnclf", "torch", "skorch", "scikit-learn", "numpy"]
    assert here.versions["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("classes", "y_true", "y_pred", "index", "title", "reason"),
    [
        (
            list(range(10)),
            [1, 5, 5, 1, 1],
            [1, 6, 5, 1, 1],
            2,
            "How the network reads a 5",
            "Test image 2 is the first 5 that the network classifies correctly.",
        ),
        (
            list("0123456789"),
            ["5", "5", "1"],
            ["6", "6", "1"],
            0,
            "How the network reads a 5",
            "Test image 0 is the first 5. The network misclassifies it, as every image of this class.",
        ),
        (
            list(range(10)),
            [1, 7, 7],
            [1, 1, 7],
            2,
            "How the network reads one image",
            (
                "Test image 2 is the first of class 7 that the network classifies correctly; no class has more test "
                "images."
            ),
        ),
        (
            ["cat", "dog"],
            ["cat", "dog", "dog"],
            ["cat", "cat", "dog"],
            2,
            "How the network reads one image",
            (
                "Test image 2 is the first of class dog that the network classifies correctly; no class has more test "
                "images."
            ),
        ),
        (
            ["cat", "dog"],
            ["cat", "dog", "dog"],
            ["cat", "cat", "cat"],
            1,
            "How the network reads one image",
            (
                "Test image 1 is the first of class dog; no class has more test images. The network misclassifies "
                "it, as every image of this class."
            ),
        ),
    ],
    ids=["first 5 got right", "no 5 got right", "no 5 at all", "commonest class", "commonest class always wrong"],
)
def test_which_image_is_followed(classes, y_true, y_pred, index, title, reason):
    example = Example.from_evaluation(Evaluation.from_labels(y_true, y_pred, classes))
    assert example == Example(index, y_true[index], title, reason)


def test_behind_each_cell_are_its_images_the_most_confident_first():
    y_true, sure_of_a = ["a", "a", "a", "b", "b", "a"], np.array([0.6, 0.9, 0.3, 0.2, 0.8, 0.6])
    evaluation = Evaluation.from_predictions(y_true, np.stack([sure_of_a, 1 - sure_of_a], axis=1), ["a", "b"])
    cells = behind_cells(evaluation, numbered(6), RANGE)
    assert [(cell.row, cell.column, cell.indices, cell.confidences) for cell in cells] == [
        (0, 0, (1, 0, 5), (0.9, 0.6, 0.6)),  # of equals the first
        (0, 1, (2,), (0.7,)),
        (1, 0, (4,), (0.8,)),
        (1, 1, (3,), (0.8,)),
    ]
    for cell in cells:
        assert cell.pictures.dtype == np.uint8
        assert cell.pictures.tolist() == [[[index, index]] * 2 for index in cell.indices]


def test_labels_alone_have_no_confidence():
    evaluation = Evaluation.from_labels(["a", "b"], ["b", "b"])
    cells = behind_cells(evaluation, numbered(2), RANGE)
    assert [(cell.row, cell.column, cell.indices, cell.confidences) for cell in cells] == [
        (0, 1, (0,), (None,)),
        (1, 1, (1,), (None,)),
    ]


def test_a_full_cell_shows_a_few_and_the_diagonal_half_of_that():
    y_true = np.repeat([0, 1], 100)
    evaluation = Evaluation.from_labels(y_true, np.zeros(200, int))
    right, wrong = behind_cells(evaluation, numbered(200), RANGE)
    assert right.indices == tuple(range(IMAGES_A_CELL // 2))
    assert wrong.indices == tuple(range(100, 100 + IMAGES_A_CELL))


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30), st.integers(1, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_every_image_behind_a_cell_belongs_there(n_classes, n, seed, with_probabilities):
    random = np.random.default_rng(seed)
    classes = random.permutation(n_classes) - 3
    y_true, proba = random.choice(classes, n), random.dirichlet(np.ones(n_classes), n)
    evaluation = Evaluation.from_predictions(y_true, proba, classes)
    if not with_probabilities:
        evaluation = Evaluation.from_labels(y_true, evaluation.y_pred, classes)
    cells = behind_cells(evaluation, numbered(n), RANGE)
    assert [[cell.row, cell.column] for cell in cells] == np.argwhere(evaluation.confusion_matrix).tolist()
    for cell in cells:
        at = list(cell.indices)
        assert set(evaluation.y_true[at]) == {classes[cell.row]}
        assert set(evaluation.y_pred[at]) == {classes[cell.column]}
        room = IMAGES_A_CELL // 2 if cell.row == cell.column else IMAGES_A_CELL
        assert len(set(at)) == len(at) == min(room, evaluation.confusion_matrix[cell.row, cell.column])


@pytest.mark.parametrize(
    ("n_classes", "shape", "n_pictures", "picture"),
    [
        (2, (1, 28, 28), 12 + 24 + 24 + 12, (28, 28)),
        # One is 27,648 numbers, so a million has room for 36: nine for each of four cells, half of that where right.
        (2, (3, 96, 96), 4 + 9 + 9 + 4, (96, 96, 3)),
        # 100 cells have 10,000 numbers each, which is a side of √(10,000 / 3) = 57.7; 900 cells one of 19.2.
        (10, (3, 96, 96), 100, (57, 57, 3)),
        (30, (3, 96, 96), 900, (19, 19, 3)),
        (30, (3, 300, 300), 900, (19, 19, 3)),
    ],
)
def test_the_pictures_behind_the_cells_never_fill_the_page(n_classes, shape, n_pictures, picture):
    pairs = np.indices((n_classes, n_classes)).reshape(2, -1)
    y_true, y_pred = np.repeat(pairs, 24 if n_classes == 2 else 2, axis=1)
    X = np.broadcast_to(np.uint8(0), (len(y_true), *shape))
    cells = behind_cells(Evaluation.from_labels(y_true, y_pred), X, RANGE)
    assert sum(len(cell.pictures) for cell in cells) == n_pictures
    assert {cell.pictures.shape[1:] for cell in cells} == {picture}
    assert sum(cell.pictures.size for cell in cells) <= CELL_PIXELS


def test_more_classes_than_the_page_has_cells_for_have_no_pictures():
    y = np.arange(31)
    assert behind_cells(Evaluation.from_labels(y, y), numbered(31), RANGE) == ()
    assert len(behind_cells(Evaluation.from_labels(y[:30], y[:30]), numbered(30), RANGE)) == 30


def test_predictions_alone_are_a_report_without_all_that_is_not_known():
    evaluation = Evaluation.from_labels(["a", "b", "b"], ["a", "b", "a"])
    report = Report.of_predictions("said.csv", evaluation, REPRODUCTION)
    assert (report.name, report.cells, report.mistake_pictures) == ("said.csv", (), None)
    assert report.mistakes == evaluation.mistakes(24)
    assert list(report.sections) == ["test", "confusion", "again"]


def test_predictions_with_their_images_show_them_from_the_darkest_to_the_brightest():
    evaluation = Evaluation.from_labels(["a", "b", "b"], ["a", "b", "a"])
    report = Report.of_predictions("said.csv", evaluation, REPRODUCTION, 1.0 + numbered(3))
    assert list(report.sections) == ["test", "confusion", "mistakes", "again"]
    assert report.mistake_pictures.tolist() == [[[255, 255], [255, 255]]]
    assert [(cell.row, cell.column, np.unique(cell.pictures).tolist()) for cell in report.cells] == [
        (0, 0, [0]),
        (1, 0, [255]),
        (1, 1, [128]),
    ]
