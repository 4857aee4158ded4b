"""What a record shows of itself: at most a screen of text in a terminal, a table in a notebook, never its arrays."""

from html.parser import HTMLParser

import numpy as np
import pytest
from IPython.core.formatters import HTMLFormatter

from cnnclf import CNNClassifier, Evaluation, compare_architectures
from cnnclf._utils.tables import MOST_ROWS, aligned
from cnnclf.evaluation._mcnemar import compare
from cnnclf.evaluation._overfitting import diagnose
from cnnclf.report._data import DataRecord
from cnnclf.report._records import ModelRecord, Report, Reproduction


@pytest.fixture(scope="module")
def shown(few_digits):
    """Each record that somebody meets, by name."""
    X, y, X_test, y_test = few_digits
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, y)
    evaluation = Evaluation.from_estimator(clf, X_test, y_test)
    trace = clf.trace(X_test[0])
    comparison = compare_architectures(X[:60], y[:60], ["tiny", "lenet5"], cv=2, estimator=clf)
    images = X_test[:, np.newaxis]
    return {
        "evaluation": evaluation,
        "McNemar": compare(evaluation, Evaluation.from_labels(y_test, np.roll(y_test, 1))),
        "verdict": diagnose(clf.history_),
        "trace": trace,
        "step": trace["conv2"],
        "recomputed": trace["conv2"].recomputed,
        "explanation": trace["conv2"].explain(0, 0, 0),
        "evidence": trace.evidence(against=trace.ranking[1]),
        "verification": trace.verify(),
        "comparison": comparison,
        "result": comparison.results[0],
        "fold": comparison.results[0].folds[0],
        "data": DataRecord.from_splits("digits", note="", splits={"training": ("all", images, y_test)}),
        "model": ModelRecord.from_estimator(clf),
        "report": Report.of_predictions("digits", evaluation, Reproduction("python", 0, {}), images),
    }


RECORDS = (
    *("evaluation", "McNemar", "verdict", "trace", "step", "recomputed", "explanation", "evidence", "verification"),
    *("comparison", "result", "fold", "data", "model", "report"),
)
TABLES = ("evaluation", "trace", "evidence", "verification", "comparison", "result", "data", "model")


def test_every_record_is_looked_at(shown):
    assert tuple(shown) == RECORDS


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_prints_as_a_screen_of_text_without_its_arrays(shown, name):
    for text in (str(shown[name]), repr(shown[name])):
        assert len(text.splitlines()) <= 25
        assert "array(" not in text
        assert "Fold(" not in text
        assert text == text.rstrip()


class Cells(HTMLParser):
    """The text of each row of a table."""

    def __init__(self, html):
        super().__init__()
        self.rows = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows:
            self.rows[-1][-1:] = [self.rows[-1][-1] + data] if self.rows[-1] else []


@pytest.mark.parametrize("name", TABLES)
def test_a_notebook_shows_the_same_table(shown, name):
    record = shown[name]
    rows = Cells(HTMLFormatter()(record).split("</table>")[0]).rows
    text = repr(record)
    assert len(rows) > 1
    for row in rows:
        assert all(cell in text for cell in row)


def test_an_evaluation_of_two_classes():
    evaluation = Evaluation.from_predictions(
        ["ant", "ant", "bee", "bee"], np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.25, 0.75]]), ["ant", "bee"]
    )
    # One ant of two is found, and all that is called ant is one: precision 1, recall 1/2, F1 2/3. Of three called bee
    # two are: precision 2/3, recall 1, F1 4/5. Wilson's interval of 3 of 4: 30.06 to 95.44 %.
    # Log loss −(3·ln .75 + ln .25) / 4 = .5623; Brier (3·.25² + .75²) / 4 = .1875; sure .75 and right .75.
    assert str(evaluation).splitlines() == [
        "accuracy 75.00 % (95 % interval 30.06 % to 95.44 %), 1 mistake on 4 images",
        "",
        "class  precision    recall       F1  images",
        "ant     100.00 %   50.00 %  66.67 %       2",
        "bee      66.67 %  100.00 %  80.00 %       2",
        "mean     83.33 %   75.00 %  73.33 %       4",
        "",
        "log loss 0.5623, Brier score 0.1875, calibration error 0.00 %",
    ]


def test_labels_are_text_in_a_notebook():
    evaluation = Evaluation.from_labels(["<b>", "&"], ["<b>", "<b>"])
    assert "<b>" not in evaluation._repr_html_()
    assert '<td style="text-align: left">&lt;b&gt;</td>' in evaluation._repr_html_()


def test_of_very_many_classes_the_first_are_shown():
    labels = np.arange(1_000)
    text = str(Evaluation.from_labels(labels, labels))
    assert len(text.splitlines()) == 4 + MOST_ROWS + 1
    assert text.endswith("… and 961 more")  # 1,000 classes and their mean


def test_columns_are_aligned_to_their_sides():
    assert aligned("lr", [("layer", "n"), ("conv1", "9,216"), ("a", "1")]) == [
        "layer      n",
        "conv1  9,216",
        "a          1",
    ]
