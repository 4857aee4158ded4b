"""What the figures of a comparison promise: every fold is seen, nothing is cut in silence, names meet nothing."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy.stats import tstd

from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from cnnclf.plots import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
from cnnclf.plots._style import COLOURS, MARKERS
from helpers import texts

CURVES = {"tiny": [[0.90, 0.96, 0.98], [0.92, 0.97, 0.99]], "lenet5": [[0.2, 0.94, 0.96], [0.5, 0.95, 0.97]]}


def result(name, n_parameters, n_multiply_adds):
    histories = [tuple({"epoch": e, "valid_accuracy": a} for e, a in enumerate(fold, 1)) for fold in CURVES[name]]
    folds = [Fold(k, 8, 4, history[-1]["valid_accuracy"], history, 1, 1) for k, history in enumerate(histories, 1)]
    return ArchitectureResult(name, "", (), n_parameters, n_multiply_adds, tuple(folds))


COMPARISON = Comparison((result("tiny", 9_000, 2_000_000), result("lenet5", 61_706, 416_520)), 2)


def test_each_fold_is_a_thin_line_and_their_mean_a_thick_one_in_a_panel_of_the_architecture():
    panels = FoldCurvesDisplay.from_comparison(COMPARISON).axes_
    assert [panel.get_title(loc="left") for panel in panels] == ["tiny", "lenet5"]
    for panel, folds in zip(panels, CURVES.values(), strict=True):
        *thin, thick = panel.lines
        assert [line.get_ydata().tolist() for line in thin] == folds
        np.testing.assert_allclose(thick.get_ydata(), np.mean(folds, axis=0))
        assert thick.get_xdata().tolist() == [1, 2, 3]
        assert thick.get_linewidth() > 2 * thin[0].get_linewidth()
    assert len({panel.lines[-1].get_color() for panel in panels}) == 2
    assert len({panel.lines[-1].get_linestyle() for panel in panels}) == 2
    assert len({panel.lines[-1].get_marker() for panel in panels}) == 2


def test_low_first_epochs_do_not_flatten_the_rest_and_the_cut_is_said():
    first, second = FoldCurvesDisplay(CURVES).plot().axes_
    # Last epochs reach 0.96 … 0.99: drawn is 0.96 − 2·0.03 = 0.90 … 0.99, with a tenth of that range around it.
    assert first.get_ylim() == second.get_ylim() == pytest.approx((0.891, 0.999))
    assert first.get_ylabel() == "held-out accuracy\n(cut below 89.1 %)"
    assert second.get_ylabel() == ""  # one for the row


def test_the_second_half_of_the_epochs_is_never_cut():
    (panel,) = FoldCurvesDisplay({"tiny": [[0.5, 0.6, 0.89, 0.99]]}).plot().axes_
    # The last epoch is the highest: 0.99 − 2·0.005 = 0.98 would cut the third.
    assert panel.get_ylim() == pytest.approx((0.88, 1.0))
    assert panel.get_ylabel() == "held-out accuracy\n(cut below 88.0 %)"


def test_what_is_not_cut_is_not_said():
    (panel,) = FoldCurvesDisplay({"tiny": [[0.97, 0.98], [0.98, 0.99]]}).plot().axes_
    assert panel.get_ylim() == pytest.approx((0.968, 0.992))
    assert panel.get_ylabel() == "held-out accuracy"


def test_the_mean_ends_with_the_fold_that_stops_first():
    (panel,) = FoldCurvesDisplay({"tiny": [[0.8, 0.9, 1.0], [0.6, 0.8]]}).plot().axes_
    mean = panel.lines[-1]
    assert mean.get_xdata().tolist() == [1, 2]
    np.testing.assert_allclose(mean.get_ydata(), [0.7, 0.85])


def test_a_single_epoch_is_points():
    (panel,) = FoldCurvesDisplay({"tiny": [[0.8], [0.9]]}).plot().axes_
    assert "" not in {line.get_marker() for line in panel.lines}
    assert "None" not in {line.get_marker() for line in panel.lines}


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (8, (2, 4)), (9, (3, 3))])
def test_panels_stand_in_even_rows(n, shape):
    display = FoldCurvesDisplay({str(k): [[0.9, 0.95]] for k in range(n)}).plot()
    assert len(display.figure_.axes) == len(display.axes_) == n
    assert display.axes_[0].get_gridspec().get_geometry() == shape


def test_curves_draw_on_the_axes_they_are_given():
    figure, axes = plt.subplots(2)
    display = FoldCurvesDisplay.from_comparison(COMPARISON, ax=axes)
    assert display.axes_ == tuple(axes)
    assert display.figure_ is figure
    assert axes[1].get_ylabel() == axes[0].get_ylabel()  # each is on its own
    plt.close(figure)
    figure, ax = plt.subplots()
    assert FoldCurvesDisplay({"tiny": CURVES["tiny"]}).plot(ax).axes_ == (ax,)
    plt.close(figure)


def test_each_architecture_needs_an_axes():
    figure, axes = plt.subplots(3)
    with pytest.raises(ValueError, match=r"\AExpected one axes for each of 2 architectures; got 3\.\Z"):
        FoldCurvesDisplay(CURVES).plot(axes)
    plt.close(figure)


def test_every_fold_is_a_dot_in_the_row_of_its_architecture():
    display = FoldBoxDisplay.from_comparison(COMPARISON)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["tiny", "lenet5"]
    for row, (line, accuracies) in enumerate(zip(display.ax_.lines, ([0.98, 0.99], [0.96, 0.97]), strict=True)):
        assert line.get_xdata().tolist() == accuracies
        assert np.abs(line.get_ydata() - row).max() < 0.5
        assert len(set(line.get_ydata())) == 2  # equal folds would not hide each other
        assert (line.get_color(), line.get_marker()) == (COLOURS[row], MARKERS[row])
    # The standard deviation of two numbers 0.01 apart is 0.01/√2.
    assert texts(display.ax_) == ["98.50 ± 0.71 %", "96.50 ± 0.71 %"]


def test_fewer_than_five_folds_have_no_box_but_their_mean():
    ax = FoldBoxDisplay({"tiny": [0.9, 0.9, 0.9, 0.98]}).plot().ax_
    assert len(ax.patches) == 0
    ((start, end),) = ax.collections[0].get_segments()
    assert start[0] == end[0] == pytest.approx(0.92)


def test_five_folds_have_a_box_from_quartile_to_quartile():
    # Of 0.5, 0.6, 0.7, 0.8, 1.0 the quartiles are 0.6 and 0.8, the median 0.7.
    ax = FoldBoxDisplay({"tiny": [0.8, 0.5, 0.7, 1.0, 0.6]}).plot().ax_
    (box,) = ax.patches
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((0.6, 0.8))
    whiskers, median = (lines.get_segments() for lines in ax.collections)
    assert sorted(x for segment in whiskers for x, _ in segment) == pytest.approx([0.5, 0.6, 0.8, 1.0])
    assert median[0][:, 0] == pytest.approx([0.7, 0.7])
    assert texts(ax) == [f"72.00 ± {100 * tstd([0.8, 0.5, 0.7, 1.0, 0.6]):.2f} %"]


def test_a_single_fold_has_no_deviation():
    assert texts(FoldBoxDisplay({"tiny": [0.9]}).plot().ax_) == ["90.00 %"]


@pytest.mark.parametrize(
    ("cost", "expected", "label"),
    [("parameters", [9_000, 61_706], "parameters"), ("multiply_adds", [2e6, 416_520], "multiply-adds per image")],
)
def test_accuracy_is_drawn_against_what_it_costs(cost, expected, label):
    ax = AccuracyCostDisplay.from_comparison(COMPARISON, cost=cost).ax_
    points = [container.lines[0] for container in ax.containers]
    assert [point.get_xdata()[0] for point in points] == expected
    assert [point.get_ydata()[0] for point in points] == pytest.approx([0.985, 0.965])
    assert [to_hex(point.get_color()) for point in points] == list(COLOURS[:2])
    assert [point.get_marker() for point in points] == list(MARKERS[:2])
    (low, high) = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.985 - 0.01 / 2**0.5, 0.985 + 0.01 / 2**0.5))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", label)


def test_only_what_is_counted_can_be_a_cost():
    sentence = r"\AExpected cost to be 'parameters' or 'multiply_adds'; got 'seconds'\.\Z"
    with pytest.raises(ValueError, match=sentence):
        AccuracyCostDisplay({"tiny": 9_000}, {"tiny": [0.9]}, "seconds")


NAMES = ["compact", "accurate", "tiny", "lenet5", "keras_mnist", "pytorch_mnist", "a name that is very long", "x"]
PLACES = {
    "apart": ([61_674, 272_000, 9_400, 61_706, 34_826, 1_199_882, 110_474, 119_850], np.linspace(0.99, 0.983, 8)),
    "in a row": ([60_000 + 2_000 * k for k in range(8)], [0.99] * 8),
    "above each other": ([60_000] * 8, [0.99 - k / 1e4 for k in range(8)]),
    "in one place": ([60_000] * 8, [0.99] * 8),
    "perfect": ([60_000 * 2**k for k in range(8)], [1.0] * 8),
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_names_meet_neither_names_nor_points_and_stay_on_the_axes(places, n):
    costs, means = PLACES[places]
    names = NAMES[:n]
    folds = [[1.0] if mean == 1 else [mean - 0.0001, mean + 0.0001] for mean in means[:n]]
    of_names = [dict(zip(names, numbers, strict=True)) for numbers in (costs[:n], folds)]
    ax = AccuracyCostDisplay(*of_names).plot().ax_
    ax.figure.draw_without_rendering()
    assert texts(ax) == names
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the line to the point
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    points = ax.transData.transform([(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in ax.containers])
    assert not any(box.contains(*point) for box in boxes for point in points)
    room = ax.bbox.padded(1)
    assert all(room.contains(*box.min) and room.contains(*box.max) for box in boxes)


def test_a_name_beside_its_point_needs_no_line_and_one_farther_away_has_one():
    ax = AccuracyCostDisplay({"tiny": 9_000, "lenet5": 61_706}, {"tiny": [0.9], "lenet5": [0.8]}).plot().ax_
    assert [text.arrow_patch.get_visible() for text in ax.texts] == [False, False]
    # Eight in one place: no more than the first few find room around it.
    costs, accuracies = dict.fromkeys(NAMES, 60_000), {name: [0.99] for name in NAMES}
    ax = AccuracyCostDisplay(costs, accuracies).plot().ax_
    assert not ax.texts[0].arrow_patch.get_visible()
    assert ax.texts[-1].arrow_patch.get_visible()


@pytest.mark.parametrize("label", [r"$\nonsense$", "$x_1", "<b>", "50 %"])
def test_names_are_written_as_they_are(label):
    displays = (
        FoldCurvesDisplay({label: [[0.9]]}).plot(),
        FoldBoxDisplay({label: [0.9]}).plot(),
        AccuracyCostDisplay({label: 5}, {label: [0.9]}).plot(),
    )
    for display in displays:
        display.figure_.draw_without_rendering()
    curves, box, cost = displays
    assert curves.axes_[0].get_title(loc="left") == label
    assert box.ax_.get_yticklabels()[0].get_text() == label
    assert texts(cost.ax_) == [label]
