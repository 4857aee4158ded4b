"""What `Evaluation` promises: scikit-learn's figures, any labels, and a refusal of anything that is no prediction."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from cnnclf.evaluation import Evaluation, Mistake, Scores, wilson_interval

CLASSES = np.array(["ant", "bee", "cow"])
PROBA = np.array(
    [
        [0.7, 0.2, 0.1],  # ant, right
        [0.1, 0.8, 0.1],  # ant taken for a bee at 0.8
        [0.3, 0.6, 0.1],  # bee, right
        [0.9, 0.1, 0.0],  # cow taken for an ant at 0.9
        [0.0, 0.2, 0.8],  # cow, right
        [0.1, 0.1, 0.8],  # bee taken for a cow at 0.8
    ]
)
Y_TRUE = np.array(["ant", "ant", "bee", "cow", "cow", "bee"])


@pytest.fixture
def evaluation():
    return Evaluation.from_predictions(Y_TRUE, PROBA, CLASSES)


@st.composite
def predictions(draw):
    """Any labels (strings, gaps, in no order, some never seen) with any probabilities, in either float type."""
    classes = draw(st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True))
    if draw(st.booleans()):
        classes = [f"class {label}" for label in classes]
    n = draw(st.integers(1, 30))
    y_true = draw(st.lists(st.sampled_from(classes), min_size=n, max_size=n))
    logits = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(scale=3, size=(n, len(classes)))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y_true, proba.astype(draw(st.sampled_from([np.float32, np.float64]))), classes


@settings(deadline=None, max_examples=60)
@given(predictions())
def test_every_figure_is_scikit_learns(case):
    y_true, proba, classes = case
    evaluation = Evaluation.from_predictions(y_true, proba, classes)
    y_pred = np.array(classes)[proba.argmax(axis=1)]
    # scikit-learn sorts labels and expects the columns of log_loss in that order
    order = np.argsort(classes)

    assert evaluation.n_samples == len(y_true)
    assert evaluation.accuracy == metrics.accuracy_score(y_true, y_pred)
    assert evaluation.log_loss == pytest.approx(
        metrics.log_loss(y_true, proba[:, order], labels=np.array(classes)[order]), rel=1e-6
    )
    np.testing.assert_array_equal(
        evaluation.confusion_matrix, metrics.confusion_matrix(y_true, y_pred, labels=np.array(classes))
    )

    report = metrics.classification_report(y_true, y_pred, labels=classes, output_dict=True, zero_division=0)
    named = dict(zip(map(str, classes), evaluation.per_class, strict=True))
    named |= {"macro avg": evaluation.macro_mean, "weighted avg": evaluation.weighted_mean}
    for name, scores in named.items():
        expected = report[name]
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certain_and_wrong_costs_what_it_costs_in_scikit_learn(dtype):
    proba = np.array([[1, 0], [1, 0], [0.5, 0.5]], dtype=dtype)
    loss = Evaluation.from_predictions([0, 1, 0], proba, [0, 1]).log_loss
    assert np.isfinite(loss)
    assert loss == pytest.approx(metrics.log_loss([0, 1, 0], proba), rel=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (1, 2), (9921, 10_000), (360, 360)])
def test_the_interval_is_wilsons(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_an_evaluation_is_that_of_its_accuracy(evaluation):
    low, high = evaluation.accuracy_interval
    expected = binomtest(3, 6).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_mistakes_come_surest_first_and_in_order_of_the_data_among_equals(evaluation):
    assert evaluation.mistakes(10) == (
        Mistake(index=3, true="cow", predicted="ant", confidence=0.9),
        Mistake(index=1, true="ant", predicted="bee", confidence=0.8),
        Mistake(index=5, true="bee", predicted="cow", confidence=0.8),
    )
    assert evaluation.mistakes(1) == evaluation.mistakes(10)[:1]
    assert evaluation.mistakes(0) == ()
    assert evaluation.n_mistakes == 3


def test_a_perfect_classifier_makes_no_mistakes():
    perfect = Evaluation.from_predictions([3, 7], np.eye(2), [3, 7])
    assert perfect.mistakes(10) == ()
    assert perfect.accuracy == 1
    assert perfect.log_loss == pytest.approx(0, abs=1e-15)


def test_a_class_that_never_occurs_scores_zero_without_a_warning():
    evaluation = Evaluation.from_predictions(["ant", "bee"], np.eye(3)[:2], CLASSES)
    assert evaluation.per_class[2] == Scores(precision=0, recall=0, f1=0, support=0)
    assert evaluation.macro_mean.f1 == pytest.approx(2 / 3)
    assert evaluation.weighted_mean.f1 == 1


def test_columns_follow_the_classes_in_whatever_order_they_come():
    order = [2, 0, 1]
    evaluation = Evaluation.from_predictions(Y_TRUE, PROBA[:, order], CLASSES[order])
    assert evaluation.y_pred.tolist() == ["ant", "bee", "bee", "ant", "cow", "cow"]
    assert evaluation.confusion_matrix.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 1]]


def test_from_estimator_asks_the_estimator_for_probabilities_and_classes(evaluation):
    asked = []
    clf = SimpleNamespace(classes_=CLASSES, predict_proba=lambda X: asked.append(X) or PROBA)
    judged = Evaluation.from_estimator(clf, "images", Y_TRUE)
    assert asked == ["images"]
    np.testing.assert_array_equal(judged.confusion_matrix, evaluation.confusion_matrix)


def test_an_evaluation_cannot_change_after_the_fact():
    y_proba = PROBA.copy()
    evaluation = Evaluation.from_predictions(Y_TRUE, y_proba, CLASSES)
    y_proba[0] = [0, 0, 1]
    assert evaluation.accuracy == 0.5
    assert evaluation.y_proba[0, 0] == 0.7
    with pytest.raises(ValueError, match="read-only"):
        evaluation.y_pred[0] = "cow"


def refused(y_true, y_proba, classes):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - each caller compares the whole sentence
        Evaluation.from_predictions(y_true, y_proba, classes)
    return str(error.value)


def test_refuses_labels_that_are_no_class():
    assert refused(["ant", "fly", "gnu", "fly"], PROBA[:4], CLASSES) == (
        "Expected every label of y_true to be one of the classes ['ant', 'bee', 'cow'], "
        "got ['fly', 'gnu']; leave those images out, or fit with them."
    )


def test_a_number_is_not_the_word_for_it():
    assert refused([1, 2], np.eye(2), ["1", "2"]) == (
        "Expected every label of y_true to be one of the classes ['1', '2'], "
        "got [1, 2]; leave those images out, or fit with them."
    )


def test_names_a_few_of_many_classes():
    assert refused([-1], np.eye(12)[:1], np.arange(12)) == (
        "Expected every label of y_true to be one of the classes [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 2 more], "
        "got [-1]; leave those images out, or fit with them."
    )


@pytest.mark.parametrize(
    ("y_proba", "shape"), [(PROBA[:5], "(5, 3)"), (PROBA[:, :2], "(6, 2)"), (PROBA.argmax(axis=1), "(6,)")]
)
def test_refuses_probabilities_of_another_shape(y_proba, shape):
    assert refused(Y_TRUE, y_proba, CLASSES) == (
        f"Expected y_proba of shape (6, 3) (one row an image, one column a class), got {shape}."
    )


def test_refuses_nan():
    proba = PROBA.copy()
    proba[4, 1] = np.nan
    assert refused(Y_TRUE, proba, CLASSES) == "Expected y_proba without NaN, got NaN in row 4."


@pytest.mark.parametrize(
    ("row", "value"), [([-0.5, 0.5, 1.0], "-0.5"), ([3.0, -2.0, 0.0], "3"), ([np.inf, 0, 0], "inf")]
)
def test_refuses_logits(row, value):
    proba = PROBA.copy()
    proba[2] = row
    assert refused(Y_TRUE, proba, CLASSES) == (
        f"Expected probabilities between 0 and 1, got {value} in row 2 of y_proba; logits go through a softmax first."
    )


def test_refuses_rows_that_do_not_sum_to_one():
    proba = PROBA.copy()
    proba[2] = [0.3, 0.3, 0.3]
    assert refused(Y_TRUE, proba, CLASSES) == (
        "Expected each row of y_proba to sum to 1, got 0.9 in row 2; pass the output of predict_proba."
    )


def test_takes_probabilities_rounded_for_a_file():
    assert Evaluation.from_predictions([0, 1], [[0.333, 0.6665], [0.5, 0.5]], [0, 1]).n_samples == 2


@pytest.mark.parametrize(("y_true", "shape"), [([], "(0,)"), (np.eye(3), "(3, 3)"), ("ant", "()")])
def test_refuses_anything_but_a_row_of_labels(y_true, shape):
    assert refused(y_true, PROBA, CLASSES) == f"Expected y_true to be a row of one or more labels, got shape {shape}."


@pytest.mark.parametrize(("classes", "shape"), [(["ant"], "(1,)"), ([], "(0,)"), (np.eye(3), "(3, 3)")])
def test_refuses_fewer_than_two_classes(classes, shape):
    assert refused(Y_TRUE, PROBA, classes) == (
        f"Expected classes to be a row of two or more labels, got shape {shape}; pass clf.classes_."
    )


def test_refuses_a_class_given_twice():
    assert refused(Y_TRUE, PROBA, ["ant", "bee", "ant"]) == (
        "Expected classes to be different labels, got ['ant', 'bee', 'ant']; pass each label once."
    )
