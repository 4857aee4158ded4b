"""Numbers as people read them: only all is 100 %, only nothing is 0 %, and one number reads the same everywhere."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf import Evaluation
from cnnclf._utils.jinja import page_templates, read_as_is
from cnnclf._utils.text import percent, points
from cnnclf.architectures._modules import Standardise
from cnnclf.cli import _predict
from cnnclf.inspection._trace import Trace
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from cnnclf.plots import ClassScoresDisplay
from cnnclf.plots._data import ImageGridDisplay
from cnnclf.report._records import Report, Reproduction
from cnnclf.report._write import to_html, to_markdown

# One logit is 13.6 above the other: 1 / (1 + exp(−13.6)) = 1 − 1.24e-6, in float32 0.9999988.
GAP = 13.6
ALMOST = "99.9999 %"


@pytest.fixture(scope="module")
def almost_sure():
    """A trace whose two probabilities are almost 1 and almost 0."""
    dense = nn.Linear(4, 2)
    dense.weight.data = torch.zeros(2, 4)
    dense.bias.data = torch.tensor([GAP, 0.0])
    layers = {"standardise": Standardise(torch.tensor([3.0]), torch.tensor([2.0])), "flatten1": nn.Flatten()}
    module = nn.Sequential(OrderedDict({**layers, "output": dense}))
    trace = Trace.record(module, np.array([[[1, 3], [5, 7]]], np.uint8), np.array(["yes", "no"]))
    assert 0.99995 < trace.probabilities[0] < 1
    return trace


@pytest.fixture(scope="module", params=[18.6, 60.0])
def rounded_to_sure(request):
    """A trace whose larger probability is 1 in float32 though the other one, exp(−18.6) = 8e-9 or less, is above 0."""
    dense = nn.Linear(4, 2)
    dense.weight.data = torch.zeros(2, 4)
    dense.bias.data = torch.tensor([request.param, 0.0])
    layers = {"standardise": Standardise(torch.tensor([3.0]), torch.tensor([2.0])), "flatten1": nn.Flatten()}
    module = nn.Sequential(OrderedDict({**layers, "output": dense}))
    trace = Trace.record(module, np.array([[[1, 3], [5, 7]]], np.uint8), np.array(["yes", "no"]))
    assert trace.probabilities[0] == 1 > trace.probabilities[1] > 0
    return trace


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (0.0, "0.00 %"),
        (1.0, "100.00 %"),
        (0.9921, "99.21 %"),
        (0.99994, "99.99 %"),
        (0.99996, "99.996 %"),
        (0.9999988, "99.9999 %"),
        (1 - 2.0**-53, "99.99999999999999 %"),
        (0.00004, "0.004 %"),
        (1.2e-6, "0.0001 %"),
        (1e-8, "0.000001 %"),
        (9.9e-9, "<0.000001 %"),
        (2.0**-149, "<0.000001 %"),  # 1.4e-45, the smallest of float32
    ],
)
def test_only_all_reads_100_percent_and_only_nothing_reads_0_percent(share, written):
    assert percent(share) == written


def test_differences_of_shares_are_never_0_points_either():
    assert (points(0.0), points(0.00004), points(0.0123)) == ("0.00 points", "0.004 points", "1.23 points")


def test_a_browser_writes_the_same_percentages(chromium):
    rng = np.random.default_rng(0)
    shares = [0.0, 1.0, *rng.random(200), *(10.0 ** -rng.uniform(0, 40, 200)), *(1 - 10.0 ** -rng.uniform(0, 15, 200))]
    script = read_as_is(page_templates("cnnclf.inspection"), "percent.js")
    for decimals in (0, 1, 2):
        found = chromium.execute_script(
            f"{script}\nreturn arguments[0].map((share) => percent(share, {decimals}));",
            shares,
        )
        assert found == [percent(share, decimals) for share in shares]


def test_a_probability_near_1_reads_the_same_in_every_rendering_of_a_trace(almost_sure, tmp_path, chromium):
    chromium.get(almost_sure.to_html(tmp_path / "page.html").as_uri())
    figure = ClassScoresDisplay.from_trace(almost_sure).ax_
    for text in (
        almost_sure.to_text(),
        almost_sure.to_markdown(),
        almost_sure.to_latex().replace(r"\%", "%"),
        chromium.title,
        chromium.execute_script("return document.getElementById('how-sure').textContent"),
        " ".join(text.get_text() for text in figure.texts),
    ):
        assert ALMOST in text
        assert "100.00 %" not in text
        assert "99.99 %" not in text


def test_a_probability_that_float32_rounds_to_1_is_what_the_others_leave(rounded_to_sure, tmp_path, chromium):
    path = rounded_to_sure.to_html(tmp_path / "page.html")
    figure = ClassScoresDisplay.from_trace(rounded_to_sure).ax_
    chromium.get(path.as_uri())
    for text in (
        str(rounded_to_sure),
        rounded_to_sure.to_text(),
        chromium.title,
        " ".join(text.get_text() for text in figure.texts),
        chromium.execute_script("return document.querySelector('.classes .first b').textContent"),
    ):
        assert "99.99999" in text
        assert "100.00 %" not in text


def test_the_last_quotient_of_a_softmax_is_not_1_where_the_divisor_is_more(rounded_to_sure):
    quotient, _, share = rounded_to_sure["softmax"].explain(0).lines()[-1].partition(" = ")
    assert quotient.startswith("1.0000/1.0000000")
    assert share.startswith("0.9999999")


def test_the_arithmetic_of_a_softmax_shows_every_summand(almost_sure):
    # exp(−13.6) = 1.24e-6, and 1 / (1 + 1.24e-6) = 0.9999988: six decimals distinguish them from 0 and from 1.
    assert almost_sure["softmax"].explain(0).lines() == (
        "exp(13.6000 - 13.6000) = 1.0000",
        "exp(0.0000 - 13.6000) = 0.000001",
        "1.0000 + 0.000001 = 1.000001",
        "1.0000/1.000001 = 0.999999",
    )
    assert almost_sure["softmax"].explain(1).lines()[-1] == "0.000001/1.000001 = 0.000001"
    assert "0.0000/" not in almost_sure.to_text()


def test_a_report_of_a_classifier_with_one_mistake_in_a_million_does_not_call_it_perfect():
    y_true = np.zeros(1_000_000, np.int64)
    y_true[-1] = 1
    evaluation = Evaluation.from_labels(y_true, np.zeros_like(y_true), [0, 1])  # 999,999 right: 99.9999 %
    report = Report.of_predictions("ones", evaluation, Reproduction("python", None, {}))
    page = to_html(report, dict.fromkeys(("confusion", "confusion_shares", "per_class"), ""))
    assert f'<span id="test-accuracy">{ALMOST}</span>' in page
    assert f'an accuracy of\n<b><span class="whole">{ALMOST}</span></b>' in page
    assert f"| **{ALMOST}** |" in to_markdown(report)


def test_a_mistake_made_with_near_certainty_is_not_one_of_100_percent():
    mistakes = Evaluation.from_predictions([1, 0], np.array([[0.9999988, 1.2e-6], [0.75, 0.25]]), [0, 1]).mistakes(2)
    display = ImageGridDisplay.from_mistakes(np.zeros((1, 2, 2), np.uint8), mistakes)
    assert [text.get_text() for text in display.ax_.texts] == [f"1 → 0\n{ALMOST}"]


def test_a_mistake_whose_probability_float32_rounds_to_1_is_not_one_of_100_percent():
    proba = np.array([[1.0, 2.0**-30], [0.75, 0.25]], np.float32)
    # 1 − 2⁻³⁰ = 1 − 9.3e-10.
    (mistake,) = Evaluation.from_predictions([1, 0], proba, [0, 1]).mistakes(2)
    assert percent(mistake.confidence) == "99.9999999 %"


def test_the_table_of_predicted_pictures_calls_no_probability_100_percent_beside_another_one(capsys):
    top = (_predict.Guess("cat", 1.0), _predict.Guess("dog", 2.0**-30))
    _predict.show_predictions([_predict.Prediction("cat", 1.0, "cat.png", top)])
    assert capsys.readouterr().out.splitlines()[1].split("\t") == ["cat.png", "cat", "99.9999999 %", "dog <0.000001 %"]


def test_a_comparison_in_which_one_image_in_a_million_was_wrong_has_no_perfect_network():
    folds = tuple(Fold(number, 10, 10, accuracy, (), 1.0, 1.0) for number, accuracy in enumerate((1.0, 0.999998), 1))
    # The mean is .999999, the standard deviation 2e-6 / √2 = 1.4e-6.
    text = Comparison((ArchitectureResult("net", "", (), 1, 1, folds),), 2).to_text()
    assert "99.9999 ± 0.0001 %" in text
