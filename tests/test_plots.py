"""What every figure promises: the data it was given, drawn without pyplot, readable on any page."""

import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from cnnclf.evaluation import Evaluation, Mistake
from cnnclf.plots import (
    BLUE,
    INK,
    ORANGE,
    ClassDistributionDisplay,
    ConfusionMatrixDisplay,
    ImageGridDisplay,
    TrainingCurvesDisplay,
    confusion_colours,
)

HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "valid_loss": 0.6, "valid_accuracy": 0.7},
    {"epoch": 2, "train_loss": 0.2, "train_accuracy": 0.9, "valid_loss": 0.4, "valid_accuracy": 0.85},
    {"epoch": 3, "train_loss": 0.1, "train_accuracy": 1.0, "valid_loss": 0.45, "valid_accuracy": 0.9},
]
MATRIX = np.array([[1000, 1, 0], [40, 7, 0], [0, 3, 0]])
GREY = np.arange(5 * 4 * 6).reshape(5, 4, 6)

DISPLAYS = {
    "curves": lambda ax=None: TrainingCurvesDisplay(HISTORY).plot(ax),
    "confusion": lambda ax=None: ConfusionMatrixDisplay(MATRIX, ["ant", "bee", "cow"]).plot(ax),
    "classes": lambda ax=None: ClassDistributionDisplay(["ant", "bee"], {"training": [3, 4], "test": [1, 1]}).plot(ax),
    "images": lambda ax=None: ImageGridDisplay(GREY, list("abcde"), n_columns=3).plot(ax),
}
ONE_AXES = [name for name in DISPLAYS if name != "curves"]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def contrast(foreground, background):
    """Contrast of two colours, 1 … 21 (WCAG 2.2, relative luminance)."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(foreground), luminance(background)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_new_figure_is_transparent_and_unknown_to_pyplot(name):
    display = DISPLAYS[name]()
    assert plt.get_fignums() == []
    assert display.figure_.get_facecolor() == (0, 0, 0, 0)
    assert all(ax.get_facecolor()[3] == 0 or not ax.axison for ax in display.figure_.axes)
    display.figure_.draw_without_rendering()


@pytest.mark.parametrize("name", ONE_AXES)
def test_draws_on_the_axes_it_is_given(name):
    figure, ax = plt.subplots()
    display = DISPLAYS[name](ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert figure.axes == [ax]
    plt.close(figure)


def test_curves_draw_on_the_two_axes_they_are_given():
    figure, axes = plt.subplots(2)
    display = DISPLAYS["curves"](tuple(axes))
    assert display.axes_ == tuple(axes)
    assert display.figure_ is figure
    plt.close(figure)


def test_drawing_needs_no_pyplot():
    code = (
        "import sys; from cnnclf.plots import ClassDistributionDisplay as D; D(['a'], {'test': [1]}).plot(); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("page", ["white", "#fdfcf9", "#15161a", "black"])
@pytest.mark.parametrize("colour", [INK, BLUE, ORANGE])
def test_ink_and_lines_read_on_light_and_dark_pages(page, colour):
    assert contrast(colour, page) > 3


def test_curves_show_the_history():
    loss, accuracy = TrainingCurvesDisplay.from_estimator(SimpleNamespace(history_=HISTORY)).axes_
    assert [line.get_ydata().tolist() for line in loss.lines] == [[0.5, 0.2, 0.1], [0.6, 0.4, 0.45]]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[0.8, 0.9, 1.0], [0.7, 0.85, 0.9]]
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_curves_are_told_apart_without_colour_and_named_at_their_ends():
    loss, _ = DISPLAYS["curves"]().axes_
    training, validation = loss.lines
    assert training.get_linestyle() == "--"
    assert validation.get_linestyle() == "-"
    # validation ends higher, so it is named first and above
    assert texts(loss) == ["validation", "training"]
    assert [text.xy[1] for text in loss.texts] == [0.45, 0.1]


def test_curves_without_validation_show_training_alone():
    history = [{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8}]
    loss, accuracy = TrainingCurvesDisplay(history).plot().axes_
    assert texts(loss) == texts(accuracy) == ["training"]
    assert loss.lines[0].get_marker() == "o"  # or a single epoch would not be seen


def test_confusion_matrix_equals_scikit_learns_whichever_way_it_comes():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = LogisticRegression(max_iter=1000).fit(X[:, :2], names)
    expected = confusion_matrix(names, clf.predict(X[:, :2]))
    displays = (
        ConfusionMatrixDisplay.from_estimator(clf, X[:, :2], names),
        ConfusionMatrixDisplay.from_predictions(names, clf.predict(X[:, :2])),
        ConfusionMatrixDisplay.from_evaluation(Evaluation.from_estimator(clf, X[:, :2], names)),
    )
    for display in displays:
        np.testing.assert_array_equal(display.confusion_matrix, expected)
        assert [label.get_text() for label in display.ax_.get_yticklabels()] == list(clf.classes_)


def test_confusion_matrix_writes_each_count_in_its_cell_and_leaves_zeros_empty():
    ax = DISPLAYS["confusion"]().ax_
    cells = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "1,000", (0, 1): "1", (1, 0): "40", (1, 1): "7", (2, 1): "3"}


def test_a_single_mistake_is_seen_beside_a_thousand_correct_answers():
    colours = confusion_colours(MATRIX)
    alpha = colours[..., 3]
    assert alpha[0, 1] > alpha[0, 0]  # one mistake against 1000 correct
    assert alpha[1, 0] > alpha[2, 1] > alpha[0, 1]  # 40 > 3 > 1
    assert (alpha[MATRIX == 0] == 0).all()
    assert to_hex(colours[0, 0]) == BLUE


@pytest.mark.parametrize("page", ["#fdfcf9", "#15161a"])
@pytest.mark.parametrize("largest", [1, 2, 5, 100])
def test_counts_of_mistakes_read_on_their_cells(page, largest):
    matrix = np.diag([9] * (largest + 1))
    matrix[0, 1:] = np.arange(1, largest + 1)
    display = ConfusionMatrixDisplay(matrix[:20, :20], range(20)[: len(matrix)]).plot()
    colours = confusion_colours(display.confusion_matrix)
    for text in display.ax_.texts:
        column, row = text.get_position()
        cell = colours[row, column]
        background = cell[3] * cell[:3] + (1 - cell[3]) * np.array(to_rgb(page))
        assert contrast(text.get_color(), background) > 2.4


def test_a_matrix_of_many_classes_is_drawn_without_numbers():
    display = ConfusionMatrixDisplay(np.eye(31, dtype=int), range(31)).plot()
    assert texts(display.ax_) == []


def test_class_distribution_stacks_the_splits():
    ax = (
        ClassDistributionDisplay(["ant", "bee"], {"training": [30, 40], "validation": [3, 4], "test": [8, 9]})
        .plot()
        .ax_
    )
    bars = [[(bar.get_x(), bar.get_width()) for bar in container] for container in ax.containers]
    assert bars == [[(0, 30), (0, 40)], [(30, 3), (40, 4)], [(33, 8), (44, 9)]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training 70", "validation 7", "test 17"]
    assert ax.yaxis_inverted()  # the first class on top


def test_class_distribution_counts_labels():
    display = ClassDistributionDisplay.from_labels({"training": np.array([7, 3, 7]), "test": [9]})
    assert display.classes == [3, 7, 9]
    assert display.counts == {"training": [1, 2, 0], "test": [0, 0, 1]}


@pytest.mark.parametrize(
    "images",
    [GREY, GREY / 120, np.zeros((5, 4, 6, 3), np.uint8), np.full((5, 4, 6, 4), 0.5), np.zeros((5, 4, 6), np.uint8)],
    ids=["integers", "floats", "rgb", "rgba", "black"],
)
def test_image_grid_shows_every_picture_with_its_caption(images):
    display = ImageGridDisplay(images, list("abcde"), n_columns=3).plot()
    display.figure_.draw_without_rendering()
    assert display.shape == (2, 3)
    assert texts(display.ax_) == list("abcde")
    for drawn, image in zip(display.ax_.images, images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)


def test_grey_pictures_share_one_scale():
    display = ImageGridDisplay.from_labels(GREY, [3, 1, 4, 1, 5])
    assert {image.get_clim() for image in display.ax_.images} == {(0, GREY.max())}
    assert texts(display.ax_) == ["3", "1", "4", "1", "5"]


def test_pictures_keep_their_proportions_and_do_not_overlap():
    display = ImageGridDisplay(GREY, ["two\nlines"] * 5, n_columns=3).plot()
    boxes = [image.get_extent() for image in display.ax_.images]  # left, right, bottom, top; y grows downwards
    for left, right, bottom, top in boxes:
        assert (bottom - top) / (right - left) == pytest.approx(4 / 6)
    assert boxes[0][1] < boxes[1][0]
    assert boxes[0][2] < boxes[3][3]


def test_mistakes_say_what_it_is_what_was_said_and_how_surely():
    mistakes = [Mistake(4, "ant", "bee", 0.987), Mistake(2, "bee", "cow", 0.99999)]
    display = ImageGridDisplay.from_mistakes(GREY[:2], mistakes)
    assert texts(display.ax_) == ["ant → bee\n98.7 %", "bee → cow\n99.9 %"]


def test_long_names_go_on_lines_of_their_own_and_do_not_run_into_each_other():
    mistakes = [Mistake(i, "a very long name indeed, longer than a picture", "Golden Retriever", 0.5) for i in range(5)]
    display = ImageGridDisplay.from_mistakes(np.repeat(GREY, 2, axis=0)[:5], mistakes)
    display.figure_.draw_without_rendering()
    assert {text.count("\n") for text in texts(display.ax_)} == {2}
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_no_mistakes_are_an_empty_figure():
    display = ImageGridDisplay.from_mistakes(GREY[:0], [])
    assert len(display.ax_.images) == 0
    display.figure_.draw_without_rendering()


@pytest.mark.parametrize("label", [r"$\nonsense$", "$x_1", r"\frac", "{", "<b>", "50 %"])
def test_labels_are_written_as_they_are(label):
    matrix = ConfusionMatrixDisplay(np.eye(2, dtype=int), [label, "other"]).plot()
    bars = ClassDistributionDisplay([label, "other"], {"test": [1, 2]}).plot()
    grid = ImageGridDisplay(GREY[:1], [label]).plot()
    for display in (matrix, bars, grid):
        display.figure_.draw_without_rendering()
    assert matrix.ax_.get_xticklabels()[0].get_text() == label
    assert bars.ax_.get_yticklabels()[0].get_text() == label
