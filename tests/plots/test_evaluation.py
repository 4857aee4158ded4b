"""What every figure promises: the data it was given, drawn without pyplot, readable on any page."""

import inspect
import io
import re
import subprocess
import sys
from itertools import combinations, pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.formatters import PNGFormatter
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.svm import LinearSVC
from torch import nn

from cnnclf import plots
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._records import Mistake, ReliabilityBin, Scores, wilson_interval
from cnnclf.inspection._trace import Trace
from cnnclf.plots import (
    AccuracyCostDisplay,
    AugmentationDisplay,
    ClassScoresDisplay,
    ConfusionMatrixDisplay,
    FeatureMapsDisplay,
    FoldBoxDisplay,
    FoldCurvesDisplay,
    KernelsDisplay,
    PerClassDisplay,
    ReliabilityDisplay,
    TraceDisplay,
)
from cnnclf.plots._data import ClassDistributionDisplay, ImageGridDisplay, TrainingCurvesDisplay
from cnnclf.plots._evaluation import confusion_colours
from cnnclf.plots._style import BLUE, COLOURS, INK, ORANGE, RED, Display, Series, signed_colours
from cnnclf.plots._trace import as_pictures
from helpers import texts

HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "valid_loss": 0.6, "valid_accuracy": 0.7},
    {"epoch": 2, "train_loss": 0.2, "train_accuracy": 0.9, "valid_loss": 0.4, "valid_accuracy": 0.85},
    {"epoch": 3, "train_loss": 0.1, "train_accuracy": 1.0, "valid_loss": 0.45, "valid_accuracy": 0.9},
]
MATRIX = np.array([[1000, 1, 0], [40, 7, 0], [0, 3, 0]])
SCORES = [Scores(0.9, 0.8, 0.85, 10), Scores(1.0, 0.96, 0.98, 25)]
BINS = [ReliabilityBin(0.5, 0.6, 4, 0.55, 0.5), ReliabilityBin(0.9, 1.0, 96, 0.99, 0.96875)]
GREY = np.arange(5 * 4 * 6).reshape(5, 4, 6)


def trace_of(n_channels=1, n_maps=20, classes=("ant", "bee"), size=(6, 9)):
    """A trace of random pixels through a convolution, global pooling and a dense layer."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(n_channels, n_maps, (min(3, size[0]), 3)))
    net.add_module("pool1", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten1", nn.Flatten())
    net.add_module("dropout1", nn.Dropout())
    net.add_module("output", nn.Linear(n_maps, len(classes)))
    image = np.random.default_rng(0).random((n_channels, *size), dtype=np.float32)
    return Trace.record(net, image, np.array(classes))


TRACE = trace_of()

DISPLAYS = {
    "curves": lambda ax=None: TrainingCurvesDisplay(HISTORY).plot(ax),
    "confusion": lambda ax=None: ConfusionMatrixDisplay(MATRIX, ["ant", "bee", "cow"]).plot(ax),
    "shares": lambda ax=None: ConfusionMatrixDisplay(MATRIX, ["ant", "bee", "cow"], "true").plot(ax),
    "per_class": lambda ax=None: PerClassDisplay(["ant", "bee"], SCORES).plot(ax),
    "reliability": lambda ax=None: ReliabilityDisplay(BINS, 0.02).plot(ax),
    "classes": lambda ax=None: ClassDistributionDisplay(["ant", "bee"], {"training": [3, 4], "test": [1, 1]}).plot(ax),
    "images": lambda ax=None: ImageGridDisplay(GREY, list("abcde"), n_columns=3).plot(ax),
    "augmentation": lambda ax=None: AugmentationDisplay(np.zeros((2, 6, 8, 3)), np.ones((2, 3, 6, 8, 3))).plot(ax),
    "maps": lambda ax=None: FeatureMapsDisplay.from_trace(TRACE, "conv1", ax=ax),
    "kernels": lambda ax=None: KernelsDisplay.from_trace(TRACE, "conv1", ax=ax),
    "scores": lambda ax=None: ClassScoresDisplay.from_trace(TRACE, ax=ax),
    "trace": lambda ax=None: TraceDisplay.from_trace(TRACE, ax=ax),
    "fold_curves": lambda ax=None: FoldCurvesDisplay({"tiny": [[0.5, 0.9], [0.6, 0.8]]}).plot(ax),
    "folds": lambda ax=None: FoldBoxDisplay({"tiny": [0.9, 0.8]}).plot(ax),
    "cost": lambda ax=None: AccuracyCostDisplay({"tiny": 9000}, {"tiny": [0.9, 0.8]}).plot(ax),
}
ONE_AXES = [name for name in DISPLAYS if name not in ("curves", "fold_curves")]


def contrast(foreground, background):
    """Contrast of two colours, 1 … 21 (WCAG 2.2, relative luminance)."""

    low, high = sorted(linear(colour) @ (0.2126, 0.7152, 0.0722) for colour in (foreground, background))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_new_figure_is_white_and_unknown_to_pyplot(name):
    before = plt.get_fignums()
    display = DISPLAYS[name]()
    assert plt.get_fignums() == before
    assert to_hex(display.figure_.get_facecolor()) == "#ffffff"
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


def test_words_need_no_matplotlib():
    code = "import sys; from cnnclf._utils.text import percent; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_notebook_shows_a_display_that_is_a_cells_last_line(name):
    display = DISPLAYS[name]()
    shown = PNGFormatter()(display)
    picture = plt.imread(io.BytesIO(shown))
    width, height = display.figure_.get_size_inches()
    assert picture.shape == pytest.approx((96 * height, 96 * width, 4), abs=1)
    assert (picture[0, 0] == 1).all()  # white ground
    assert (picture != 1).any()


def test_a_picture_is_transparent_where_that_is_asked_for(tmp_path):
    DISPLAYS["scores"]().figure_.savefig(tmp_path / "scores.png", transparent=True)
    assert plt.imread(tmp_path / "scores.png")[0, 0, 3] == 0


@pytest.mark.parametrize("name", DISPLAYS)
def test_every_text_reads_on_white(name):
    figure = DISPLAYS[name]().figure_
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert contrast(text.get_color(), "white") >= 4.5, text.get_text()


@pytest.mark.parametrize("name", DISPLAYS)
def test_what_pyplot_shows_is_not_shown_again(name):
    n_axes = {"curves": 2}.get(name, 1)
    figure, axes = plt.subplots(1, n_axes)
    display = DISPLAYS[name](axes if n_axes == 1 else tuple(axes))
    assert display.figure_ is figure
    assert PNGFormatter()(display) is None
    plt.close(figure)


@pytest.mark.parametrize(
    "display", [ClassScoresDisplay(["a"], [1.0]), TrainingCurvesDisplay(HISTORY), FoldCurvesDisplay({"tiny": [[0.5]]})]
)
def test_a_display_that_is_not_drawn_is_its_text(display):
    assert display._repr_png_() is None  # a notebook's formatter would hide an error


def test_all_displays_are_public_and_tested():
    displays = {name for name in dir(plots) if name.endswith("Display")} - {Display.__name__}
    assert set(plots.__all__) == displays | {"signed_colours"}
    assert {type(draw()).__name__ for draw in DISPLAYS.values()} == displays


@pytest.mark.parametrize("page", ["white", "#fdfcf9", "#15161a", "black"])
@pytest.mark.parametrize("colour", dict.fromkeys([BLUE, ORANGE, RED, *COLOURS]))
def test_lines_and_marks_read_on_light_and_dark_pages(page, colour):
    assert contrast(colour, page) >= 3


def linear(colour):
    """Red, green and blue light of a colour, 0 … 1 each (IEC 61966-2-1)."""
    return np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])


def lab(light):
    """CIE L*a*b* of red, green and blue light, for white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(light, 0.01, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_series_are_told_apart_in_black_and_white():
    styles = [Series.of(k) for k in range(9)]
    assert len({style.marker for style in styles}) == 9
    assert len({style.line for style in styles[:8]}) == 8
    lightness = [lab(linear(style.colour))[0] for style in styles]
    assert all(abs(a - b) > 5 for a, b in pairwise(lightness))


# Machado, Oliveira and Fernandes (2009), table 1, severity 1: what is seen of red, green and blue light.
SIGHT = {
    "full": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_series_are_told_apart_by_the_colour_blind(sight):
    seen = [lab(np.array(SIGHT[sight]) @ linear(colour)) for colour in COLOURS]
    # A difference of 2.3 is just noticed (Mahy et al. 1994).
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_curves_show_the_history():
    loss, accuracy = TrainingCurvesDisplay.from_estimator(SimpleNamespace(history_=HISTORY)).axes_
    assert [line.get_ydata().tolist() for line in loss.lines[:2]] == [[0.5, 0.2, 0.1], [0.6, 0.4, 0.45]]
    assert [line.get_ydata().tolist() for line in accuracy.lines[:2]] == [[0.8, 0.9, 1.0], [0.7, 0.85, 0.9]]
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_curves_are_told_apart_without_colour_and_named_at_their_ends():
    loss, _ = DISPLAYS["curves"]().axes_
    training, validation, _ = loss.lines
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
    assert [tick for tick in loss.get_xticks() if tick == int(tick)] == loss.get_xticks().tolist()


def test_curves_mark_the_epoch_of_the_lowest_validation_loss():
    for ax in DISPLAYS["curves"]().axes_:
        assert ax.lines[2].get_xdata() == [2, 2]
        assert ax.get_title(loc="left") == "dotted: lowest validation loss, epoch 2"


@pytest.mark.parametrize("losses", [[0.6, 0.4, 0.3], [0.6, np.nan, 0.3], [np.nan] * 3, [0.5]])
def test_curves_mark_nothing_where_the_last_epoch_is_the_best_or_none_is(losses):
    history = [{"epoch": e, "train_loss": 1.0, "train_accuracy": 0.5, "valid_loss": v} for e, v in enumerate(losses, 1)]
    loss, accuracy = TrainingCurvesDisplay(history).plot().axes_
    assert len(loss.lines) == 2
    assert loss.get_title(loc="left") == accuracy.get_title(loc="left") == ""


def test_curves_begin_and_end_where_their_numbers_do():
    later = [{"epoch": 4, "train_loss": 0.1, "train_accuracy": 1.0}]
    loss, _ = TrainingCurvesDisplay([*HISTORY, *later]).plot().axes_
    assert [line.get_xdata().tolist() for line in loss.lines[:2]] == [[1, 2, 3, 4], [1, 2, 3]]
    assert {text.get_text(): text.xy for text in loss.texts} == {"validation": (3, 0.45), "training": (4, 0.1)}


def test_no_axis_goes_beyond_100_per_cent():
    history = [{"epoch": e, "train_loss": 0.1, "train_accuracy": 1.0} for e in (1, 2)]
    _, accuracy = TrainingCurvesDisplay(history).plot().axes_
    bottom, top = accuracy.get_ylim()
    assert [tick for tick in accuracy.get_yticks() if bottom <= tick <= top][-1] == pytest.approx(1)


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


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_shares_of_a_confusion_matrix_are_scikit_learns(normalize):
    y_true = np.repeat([0, 0, 1, 1, 1, 2], [30, 10, 500, 3, 1, 7])
    y_pred = np.repeat([0, 1, 1, 2, 0, 2], [30, 10, 500, 3, 1, 7])
    expected = confusion_matrix(y_true, y_pred, normalize=normalize)
    ax = ConfusionMatrixDisplay.from_predictions(y_true, y_pred, normalize=normalize).ax_
    cells = {text.get_position()[::-1]: text.get_text() for text in ax.texts}
    assert set(cells) == set(zip(*np.nonzero(expected), strict=True))
    for place, text in cells.items():
        assert float(text) == pytest.approx(100 * expected[place], abs=0.05)
    what = {"true": "each true class", "pred": "each predicted class", "all": "all images"}
    assert ax.get_title(loc="left") == f"% of {what[normalize]}"


def test_shares_round_neither_to_nothing_nor_to_all_and_a_class_without_images_has_none():
    # Row 0: 9999 / 10000 and 1 / 10000; row 1: all; row 2: none.
    display = ConfusionMatrixDisplay(np.array([[9999, 1, 0], [0, 4, 0], [0, 0, 0]]), ["a", "b", "c"], "true").plot()
    assert texts(display.ax_) == ["99.99", "0.01", "100"]


def test_equal_shares_of_classes_of_different_size_look_the_same():
    # One of ten is as much as ten of a hundred; one of a hundred is less.
    display = ConfusionMatrixDisplay(np.array([[90, 10, 0], [1, 9, 0], [1, 0, 99]]), ["a", "b", "c"], "true").plot()
    colours = display.ax_.images[0].get_array()
    np.testing.assert_array_equal(colours[0, 1], colours[1, 0])
    assert colours[2, 0, 3] < colours[0, 1, 3]


def test_cells_are_normalised_over_something_that_is_there():
    sentence = r"\AExpected normalize to be 'true', 'pred', 'all' or None; got 'row'\.\Z"
    with pytest.raises(ValueError, match=sentence):
        ConfusionMatrixDisplay(MATRIX, ["ant", "bee", "cow"], "row")


def test_a_confusion_matrix_takes_the_arguments_of_scikit_learns():
    display = ConfusionMatrixDisplay(MATRIX, display_labels=["ant", "bee", "cow"]).plot(values_format="05d")
    assert {text.get_text() for text in display.ax_.texts} == {f"{count:05d}" for count in MATRIX.ravel() if count}
    assert not ConfusionMatrixDisplay(MATRIX).plot(include_values=False).ax_.texts
    ticks = ConfusionMatrixDisplay(MATRIX).plot().ax_.get_yticklabels()
    assert [tick.get_text() for tick in ticks] == ["0", "1", "2"]
    shown = ConfusionMatrixDisplay.from_predictions(
        [0, 1], [0, 0], display_labels=["no", "yes"], normalize="true", values_format=".2g"
    )
    assert [text.get_text() for text in shown.ax_.texts] == ["1", "1"]
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == ["no", "yes"]
    sentence = "Expected 3 display_labels, one per row; got 2."
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        ConfusionMatrixDisplay(MATRIX, ["ant", "bee"])


def test_every_way_to_a_confusion_matrix_shows_the_same_options():
    options = ["normalize", "display_labels", "include_values", "values_format", "ax"]
    for name, inputs in {
        "from_evaluation": ["evaluation"],
        "from_estimator": ["estimator", "X", "y"],
        "from_predictions": ["y_true", "y_pred"],
    }.items():
        parameters = inspect.signature(getattr(ConfusionMatrixDisplay, name)).parameters
        assert list(parameters) == inputs + options
        assert {parameters[option].default for option in options} == {None}


def test_scores_of_classes_are_scikit_learns_whichever_way_they_come():
    X, y = load_iris(return_X_y=True)
    clf = LogisticRegression(max_iter=1000).fit(X[:, :2], y)
    y_pred = clf.predict(X[:, :2])
    *expected, _ = precision_recall_fscore_support(y, y_pred)
    displays = (
        PerClassDisplay.from_estimator(clf, X[:, :2], y),
        PerClassDisplay.from_predictions(y, y_pred),
        PerClassDisplay.from_evaluation(Evaluation.from_estimator(clf, X[:, :2], y)),
    )
    for display in displays:
        lines = display.ax_.lines
        assert [line.get_label() for line in lines] == ["precision", "recall", "F1"]
        np.testing.assert_allclose([line.get_xdata() for line in lines], expected)
        assert texts(display.ax_) == [f"{100 * f1:.1f} %" for f1 in expected[2]]
        assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["0", "1", "2"]


@pytest.mark.parametrize(("lowest", "start"), [(0.3, 0), (0.5, 50), (0.79, 50), (0.97, 95), (1.0, 99)])
def test_the_axis_of_scores_starts_below_the_lowest_and_says_where(lowest, start):
    ax = PerClassDisplay(["ant", "bee"], [Scores(lowest, 1, 1, 5), Scores(1, 1, 1, 5)]).plot().ax_
    assert ax.get_xlabel() == f"score, axis from {start} %"
    left, right = ax.get_xlim()
    # A fiftieth of the axis on either side, so that no mark is cut.
    assert (left, right) == pytest.approx((start / 100 - 0.0002 * (100 - start), 1 + 0.0002 * (100 - start)))


def test_marks_of_equal_scores_do_not_hide_each_other():
    ax = PerClassDisplay(["ant"], [Scores(1, 1, 1, 5)]).plot().ax_
    assert sorted(line.get_ydata()[0] for line in ax.lines) == [-0.2, 0, 0.2]
    assert len({line.get_marker() for line in ax.lines}) == 3


def test_a_class_without_images_has_no_marks():
    ax = PerClassDisplay(["ant", "bee", "cow"], [SCORES[0], Scores(0, 0, 0, 0), SCORES[1]]).plot().ax_
    assert texts(ax) == ["85.0 %", "no images", "98.0 %"]
    assert ax.lines[2].get_xdata().tolist() == [0.85, 0.98]
    assert ax.lines[2].get_ydata().tolist() == [0, 2]
    assert ax.get_xlabel() == "score, axis from 80 %"


def test_of_many_classes_the_worst_are_drawn_and_said():
    scores = [Scores(f1, f1, f1, 9) for f1 in np.linspace(1, 0.9, 39)] + [Scores(0, 0, 0, 0)]
    ax = PerClassDisplay(range(40), scores).plot().ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(k) for k in range(38, 8, -1)]
    assert ax.get_xlabel() == "score, axis from 90 %; 30 classes of 40, lowest F1 first"


def test_reliability_draws_each_bin_where_it_is_with_its_interval_and_its_size():
    display = DISPLAYS["reliability"]()
    diagonal, curve = display.ax_.lines
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert curve.get_xydata().tolist() == [[0.55, 0.5], [0.99, 0.96875]]
    # 2 of 4 and 93 of 96 are right
    (intervals,) = display.ax_.collections
    drawn = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert drawn == [list(wilson_interval(2, 4)), list(wilson_interval(93, 96))]
    (strip,) = display.ax_.child_axes
    assert texts(strip) == ["4", "96"]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in strip.patches]
    np.testing.assert_allclose(bars, [(0.5, 0.1, 4), (0.9, 0.1, 96)])
    assert strip.get_xlim() == display.ax_.get_xlim() == (0, 1)


def test_reliability_is_that_of_the_evaluation_whichever_way_it_comes():
    X, y = load_iris(return_X_y=True)
    clf = LogisticRegression(max_iter=1000).fit(X[:, :2], y)
    evaluation = Evaluation.from_estimator(clf, X[:, :2], y)
    expected = [[b.confidence, b.accuracy] for b in evaluation.reliability()]
    displays = (
        ReliabilityDisplay.from_estimator(clf, X[:, :2], y),
        ReliabilityDisplay.from_predictions(y, clf.predict_proba(X[:, :2]), clf.classes_),
        ReliabilityDisplay.from_evaluation(evaluation),
    )
    for display in displays:
        assert display.ax_.lines[1].get_xydata().tolist() == expected
        title = display.ax_.get_title(loc="left")
        assert title == f"expected calibration error {100 * evaluation.calibration_error:.2f} %"


def test_labels_without_probabilities_have_no_reliability():
    X, y = load_iris(return_X_y=True)
    sentence = r"\AExpected an evaluation with probabilities; got labels\. Use a classifier with predict_proba\.\Z"
    with pytest.raises(ValueError, match=sentence):
        ReliabilityDisplay.from_estimator(LinearSVC().fit(X, y), X, y)


def test_a_single_mistake_is_seen_beside_a_thousand_correct_answers():
    colours = confusion_colours(MATRIX)
    alpha = colours[..., 3]
    assert alpha[0, 1] > alpha[0, 0]  # one mistake against 1000 correct
    assert alpha[1, 0] > alpha[2, 1] > alpha[0, 1]  # 40 > 3 > 1
    assert (alpha[MATRIX == 0] == 0).all()
    assert to_hex(colours[0, 0]) == BLUE


@pytest.mark.parametrize(("page", "ink"), [("white", INK), ("#fdfcf9", "#1e1f22"), ("#15161a", "#dedbd4")])
@pytest.mark.parametrize("largest", [1, 2, 5, 100])
def test_counts_read_on_their_cells_in_a_figure_and_on_a_page_that_gives_them_its_ink(page, ink, largest):
    matrix = np.diag([9] * (largest + 1))
    matrix[0, 1:] = np.arange(1, largest + 1)
    display = ConfusionMatrixDisplay(matrix[:20, :20], range(20)[: len(matrix)]).plot()
    colours = confusion_colours(display.confusion_matrix)
    for text in display.ax_.texts:
        column, row = text.get_position()
        cell = colours[row, column]
        background = cell[3] * cell[:3] + (1 - cell[3]) * np.array(to_rgb(page))
        assert text.get_color() == INK
        assert contrast(ink, background) >= 4.5


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


def test_class_distribution_draws_every_split_and_neighbours_differ_in_black_and_white():
    ax = ClassDistributionDisplay(["ant"], {split: [1] for split in "abcd"}).plot().ax_
    alphas = [container[0].get_facecolor()[3] for container in ax.containers]
    assert len(alphas) == 4
    assert all(a != b for a, b in pairwise(alphas[:3]))


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
    assert texts(display.ax_) == ["ant → bee\n98.70 %", "bee → cow\n99.999 %"]


def test_mistakes_of_a_classifier_without_probabilities_say_no_confidence():
    display = ImageGridDisplay.from_mistakes(GREY[:1], [Mistake(4, "ant", "bee", None)])
    assert texts(display.ax_) == ["ant → bee"]


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


def test_numbers_are_orange_above_zero_blue_below_and_zero_is_the_page():
    colours = signed_colours(np.array([-2.0, 0.0, 1.0, 4.0, np.nan]))
    assert [to_hex(colour) for colour in colours[[0, 2, 3]]] == [BLUE, ORANGE, ORANGE]
    alpha = colours[:, 3]
    assert alpha[3] == 1  # the farthest from zero
    assert alpha[3] > alpha[0] > alpha[2] > alpha[1] == alpha[4] == 0


def test_numbers_that_are_all_zero_are_the_page():
    assert (signed_colours(np.zeros((2, 3)))[..., 3] == 0).all()


def test_every_map_is_drawn_with_its_number_on_a_scale_they_share():
    maps = np.array([[[-1.0, 2.0], [0.0, 1.0]], [[-0.25, 0.0], [0.0, 0.5]]])
    ax = FeatureMapsDisplay(maps, "conv1").plot().ax_
    assert texts(ax) == ["0", "1"]
    for image, expected in zip(ax.images, signed_colours(maps), strict=True):
        np.testing.assert_array_equal(image.get_array(), expected)
    assert ax.get_title(loc="left") == "conv1: −1 (blue) … 0 … 2 (orange)"
    assert len(ax.patches) == 2  # a frame around each, or an empty one would not be seen


@pytest.mark.parametrize(
    ("values", "title"),
    [([0.0, 3.0], "0 … 3 (orange)"), ([-3.0, -1.0], "−3 (blue) … 0"), ([0.0, 0.0], "0")],
)
def test_the_title_names_the_colours_that_are_there(values, title):
    assert FeatureMapsDisplay(np.array(values), "relu1").plot().ax_.get_title(loc="left") == f"relu1: {title}"


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((5, 4, 3), [(4, 3)] * 5),
        ((10,), [(1, 10)]),
        ((100,), [(2, 50)]),  # rows of at most 64, as even as can be
        ((16, 1, 1), [(1, 16)]),
        ((16, 1, 30), [(16, 30)]),  # a row for each channel
        ((16, 30, 1), [(16, 30)]),
        ((1, 1, 130), [(3, 44)]),
        ((1, 1, 1), [(1, 1)]),
    ],
)
def test_what_has_no_height_or_width_is_a_strip(shape, drawn):
    display = FeatureMapsDisplay(np.arange(np.prod(shape), dtype=float).reshape(shape), "layer").plot()
    display.figure_.draw_without_rendering()
    assert [image.get_array().shape[:2] for image in display.ax_.images] == drawn


def test_kernels_are_in_the_column_of_their_output_and_the_row_of_their_input():
    weight = np.arange(-12.0, 12.0).reshape(2, 3, 2, 2)
    ax = KernelsDisplay(weight, "conv1").plot().ax_
    colours = signed_colours(weight)
    assert len(ax.images) == 6
    for image in ax.images:
        left, right, bottom, top = image.get_extent()
        np.testing.assert_array_equal(image.get_array(), colours[round((left + right) / 2), round((bottom + top) / 2)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("output channel", "input channel")


def test_of_many_kernels_an_even_choice_is_drawn_and_said():
    ax = DISPLAYS["kernels"]().ax_
    assert len(ax.images) == 16
    # 20 channels: 0, 19 and 14 between them, 19/15 apart
    chosen = [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19]
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(k) for k in chosen]
    assert ax.get_xlabel() == "output channel (16 of 20)"
    assert ax.get_ylabel() == "input channel"


def test_only_a_convolution_has_kernels():
    sentence = r"\AExpected a convolution; got 'output' \(Linear\)\. Choose a layer of kind 'conv'\.\Z"
    with pytest.raises(ValueError, match=sentence):
        KernelsDisplay.from_trace(TRACE, "output")


def test_the_prediction_is_bold_and_every_class_has_its_bar():
    ax = ClassScoresDisplay(["ant", "bee", "cow"], [0.25, 0.7, 0.05]).plot().ax_
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.7, 0.05]
    assert texts(ax) == ["25.00 %", "70.00 %", "5.00 %"]
    assert [label.get_fontweight() for label in ax.get_yticklabels()] == ["normal", "bold", "normal"]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [INK, BLUE, INK]
    assert ax.yaxis_inverted()  # the first class on top


def test_of_many_classes_the_most_probable_are_drawn():
    probabilities = np.arange(40) / np.arange(40).sum()
    ax = ClassScoresDisplay(range(40), probabilities).plot().ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(k) for k in range(39, 19, -1)]
    assert ax.get_xlabel() == "probability (20 of 40)"
    assert ax.get_yticklabels()[0].get_fontweight() == "bold"


def test_a_trace_shows_every_layer_that_changes_something_and_says_how_large_it_is():
    ax = DISPLAYS["trace"]().ax_
    # A map of 4×7 pixels is 0.56 inches high and 0.98 wide; with gaps of 0.06 there is room for 5 on 5.74 inches.
    assert texts(ax) == [
        "image\n1 × 6×9",
        "conv1\n5 of 20 × 4×7",
        "pool1\n20×1×1",
        "flatten1\n20",
        "output\n2",
        "softmax\n2",
    ]
    (scores,) = ax.child_axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["ant", "bee"]


def test_the_rows_of_a_trace_do_not_overlap_and_stay_on_the_page():
    display = DISPLAYS["trace"]()
    display.figure_.draw_without_rendering()
    boxes = [image.get_extent() for image in display.ax_.images]  # left, right, bottom, top; y grows downwards
    for (left, right, bottom, top), (next_left, _, _, next_top) in pairwise(boxes):
        assert next_left > right if next_top == top else next_top > bottom
        assert left < right
    assert max(right for _, right, _, _ in boxes) <= display.ax_.get_xlim()[1]


@pytest.mark.parametrize(
    ("n_channels", "size", "n_pictures"), [(1, (6, 9), 1), (2, (6, 9), 2), (3, (6, 9), 1), (1, (1, 70), 1)]
)
def test_the_image_is_drawn_in_its_own_colours(n_channels, size, n_pictures):
    trace = trace_of(n_channels, n_maps=1, size=size)
    ax = TraceDisplay.from_trace(trace).ax_
    top = ax.images[0].get_extent()[3]
    pictures = [image.get_array() for image in ax.images if image.get_extent()[3] == top]
    assert len(pictures) == n_pictures
    # Float pixels are drawn from the lowest to the highest, as grey or as red, green and blue.
    low, high = trace.image.min(), trace.image.max()
    expected = ((trace.image - low) / (high - low)).reshape(n_channels, -1)
    drawn = np.stack([picture[..., :3].reshape(-1, 3) for picture in pictures])
    shown = drawn[0].T if n_channels == 3 else drawn[..., 0]
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_bytes_are_drawn_from_0_to_the_brightest():
    drawn = as_pictures(np.array([[[4, 8], [12, 16]]], dtype=np.uint8))
    np.testing.assert_array_equal(drawn[0, :, :, 0], [[0.25, 0.5], [0.75, 1]])


def test_long_labels_stay_beside_their_bars_and_off_the_names_of_layers():
    display = TraceDisplay.from_trace(trace_of(classes=("a very long name indeed, longer than a line", "$x_1")))
    display.figure_.draw_without_rendering()
    (scores,) = display.ax_.child_axes
    softmax = display.ax_.texts[-1].get_window_extent()
    assert all(label.get_window_extent().x0 > softmax.x1 for label in scores.get_yticklabels())
