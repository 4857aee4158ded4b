"""What `Evaluation` promises: scikit-learn's figures, any labels, and a refusal of anything that is no prediction."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._mcnemar import McNemar, compare
from cnnclf.evaluation._records import ConfusedPair, Mistake, ReliabilityBin, Scores, wilson_interval

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
    assert evaluation.brier_score == pytest.approx(
        metrics.brier_score_loss(y_true, proba[:, order], labels=np.array(classes)[order]), rel=1e-5, abs=1e-7
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


@settings(deadline=None, max_examples=60)
@given(predictions(), st.integers(1, 20))
def test_the_reliability_is_scikit_learns_calibration_curve_of_the_predicted_class(case, n_bins):
    y_true, proba, classes = case
    evaluation = Evaluation.from_predictions(y_true, proba, classes)
    bins = evaluation.reliability(n_bins)
    right = evaluation.y_true == evaluation.y_pred
    accuracy, confidence = calibration_curve(right, proba.max(axis=1), n_bins=n_bins, pos_label=True)

    assert [part.accuracy for part in bins] == pytest.approx(accuracy)
    assert [part.confidence for part in bins] == pytest.approx(confidence, rel=1e-6)
    assert sum(part.n_images for part in bins) == len(y_true)
    for part in bins:
        of_bin = (proba.max(axis=1) > part.lower) & (proba.max(axis=1) <= part.upper)
        assert part.n_images == of_bin.sum()
        assert part.upper - part.lower == pytest.approx(1 / n_bins)


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


def test_the_brier_score_of_two_classes_is_half_of_the_sum():
    # Two classes: (0.1² + 0.1²) / 2 = 0.01 and (0.8² + 0.8²) / 2 = 0.64, whose mean is 0.325.
    two = Evaluation.from_predictions([0, 1], [[0.9, 0.1], [0.8, 0.2]], [0, 1])
    assert two.brier_score == pytest.approx(0.325)
    # The same with a third class that never comes: 0.02 and 1.28, whose mean is 0.65.
    three = Evaluation.from_predictions([0, 1], [[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]], [0, 1, 2])
    assert three.brier_score == pytest.approx(0.65)


def test_the_bins_hold_the_images_by_the_probability_of_what_was_said(evaluation):
    # Sorted: 0.6 right; 0.7 right; 0.8 wrong, 0.8 right, 0.8 wrong; 0.9 wrong. Each is the upper edge of its bin.
    assert evaluation.reliability() == (
        ReliabilityBin(lower=0.5, upper=0.6, n_images=1, confidence=0.6, accuracy=1.0),
        ReliabilityBin(lower=0.6, upper=0.7, n_images=1, confidence=0.7, accuracy=1.0),
        ReliabilityBin(lower=0.7, upper=0.8, n_images=3, confidence=pytest.approx(0.8), accuracy=pytest.approx(1 / 3)),
        ReliabilityBin(lower=0.8, upper=0.9, n_images=1, confidence=0.9, accuracy=0.0),
    )
    # (|1 - 0.6| + |1 - 0.7| + 3 · |1/3 - 0.8| + |0 - 0.9|) / 6 = (0.4 + 0.3 + 1.4 + 0.9) / 6
    assert evaluation.calibration_error == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("tenths", range(5, 11))
def test_a_probability_on_an_edge_belongs_to_the_bin_below(dtype, tenths):
    proba = np.array([[tenths / 10, 1 - tenths / 10]]).astype(dtype)
    (part,) = Evaluation.from_predictions([0], proba, [0, 1]).reliability(10)
    assert (part.lower, part.upper) == ((tenths - 1) / 10, tenths / 10)


def test_a_probability_rounded_to_above_one_belongs_to_the_last_bin():
    (part,) = Evaluation.from_predictions([0], [[1.0005, 0.0]], [0, 1]).reliability()
    assert (part.lower, part.upper) == (0.9, 1.0)


def test_refuses_no_bins(evaluation):
    with pytest.raises(ValueError, match=r"\AExpected n_bins to be 1 or more; got 0. 10 is usual\.\Z"):
        evaluation.reliability(0)


def test_confused_pairs_come_most_frequent_first_and_in_order_of_the_matrix_among_equals():
    # Rows ant, bee, cow: [[1, 0, 2], [1, 0, 0], [1, 2, 1]]; ant → cow are two of three ants.
    y_true = ["ant"] * 3 + ["bee"] + ["cow"] * 4
    y_pred = ["ant", "cow", "cow", "ant", "ant", "bee", "bee", "cow"]
    pairs = Evaluation.from_labels(y_true, y_pred).confused_pairs(10)
    assert pairs == (
        ConfusedPair(true="ant", predicted="cow", count=2, share=2 / 3),
        ConfusedPair(true="cow", predicted="bee", count=2, share=0.5),
        ConfusedPair(true="bee", predicted="ant", count=1, share=1.0),
        ConfusedPair(true="cow", predicted="ant", count=1, share=0.25),
    )
    assert Evaluation.from_labels(y_true, y_pred).confused_pairs(3) == pairs[:3]
    assert Evaluation.from_labels(y_true, y_true).confused_pairs(10) == ()


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


def test_an_estimator_that_is_not_fitted_says_so():
    with pytest.raises(NotFittedError, match="This LogisticRegression instance is not fitted yet"):
        Evaluation.from_estimator(LogisticRegression(), np.zeros((2, 8)), [0, 1])


def test_from_estimator_asks_the_estimator_for_probabilities_and_classes(evaluation):
    asked = []
    clf = SimpleNamespace(classes_=CLASSES, predict_proba=lambda X: asked.append(X) or PROBA)
    evaluated = Evaluation.from_estimator(clf, "images", Y_TRUE)
    assert asked == ["images"]
    np.testing.assert_array_equal(evaluated.confusion_matrix, evaluation.confusion_matrix)


def test_predicted_labels_give_the_figures_that_need_no_probabilities(evaluation):
    evaluated = Evaluation.from_labels(Y_TRUE, evaluation.y_pred)
    assert evaluated.accuracy == evaluation.accuracy
    assert evaluated.accuracy_interval == evaluation.accuracy_interval
    assert evaluated.per_class == evaluation.per_class
    assert evaluated.macro_mean == evaluation.macro_mean
    assert evaluated.weighted_mean == evaluation.weighted_mean
    assert evaluated.confused_pairs(10) == evaluation.confused_pairs(10)
    np.testing.assert_array_equal(evaluated.confusion_matrix, evaluation.confusion_matrix)


def test_predicted_labels_have_none_of_the_others(evaluation):
    evaluated = Evaluation.from_labels(Y_TRUE, evaluation.y_pred)
    assert (evaluated.y_proba, evaluated.log_loss, evaluated.brier_score, evaluated.calibration_error) == (
        None,
        None,
        None,
        None,
    )
    assert evaluated.reliability() == ()
    assert evaluated.mistakes(2) == (
        Mistake(index=1, true="ant", predicted="bee", confidence=None),
        Mistake(index=3, true="cow", predicted="ant", confidence=None),
    )


def test_the_classes_of_predicted_labels_are_those_that_occur_unless_they_are_given():
    assert Evaluation.from_labels([8, 3], [3, 5]).classes.tolist() == [3, 5, 8]
    evaluated = Evaluation.from_labels(["b", "c"], ["b", "b"], classes=["c", "b", "a"])
    assert evaluated.confusion_matrix.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_predicted_labels_cannot_change_after_the_fact():
    y_pred = np.array([0, 1, 1])
    evaluation = Evaluation.from_labels([0, 1, 0], y_pred)
    y_pred[0] = 1
    assert evaluation.n_mistakes == 1
    with pytest.raises(ValueError, match="read-only"):
        evaluation.y_true[0] = 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ([0, 1], [0, 1, 1]),
            "Expected one label per image, 2 in y_pred as in y_true; got 3. Pass those of the same images.",
        ),
        (
            ([0, 1], [0, 2], [0, 1]),
            (
                "Expected every label of y_pred to be one of the classes 0 and 1; got 2. "
                "Pass the classes of the classifier."
            ),
        ),
        (
            ([0, 2], [0, 1], [0, 1]),
            (
                "Expected every label of y_true to be one of the classes 0 and 1; got 2. "
                "Leave those images out, or fit with them."
            ),
        ),
        (([0, 1], [[0], [1]]), "Expected y_pred to be a row of one or more labels; got shape (2, 1)."),
        (
            ([0, 0], ["0", "0"]),
            (
                "Expected y_true and y_pred to hold labels of one kind; got 0 and '0'. "
                "Make all of them numbers or all of them text."
            ),
        ),
        (
            ([7, 7], [7, 7]),
            "Expected a row of two or more classes; got shape (1,). Pass clf.classes_.",
        ),
    ],
)
def test_refuses_predicted_labels_that_are_none(arguments, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared
        Evaluation.from_labels(*arguments)
    assert str(error.value) == sentence


def test_an_estimator_without_probabilities_is_asked_for_labels(few_digits):
    X, y, X_test, y_test = (array.reshape(len(array), -1) if array.ndim > 1 else array for array in few_digits)
    clf = LinearSVC(random_state=0).fit(X[:, ::4], y == 3)
    evaluated = Evaluation.from_estimator(clf, X_test[:, ::4], y_test == 3)
    assert evaluated.y_proba is None
    assert evaluated.accuracy == clf.score(X_test[:, ::4], y_test == 3)
    assert evaluated.classes.tolist() == [False, True]


def test_any_scikit_learn_classifier_is_judged(few_digits):
    X, y, X_test, y_test = (array.reshape(len(array), -1) if array.ndim > 1 else array / 1 for array in few_digits)
    clf = LogisticRegression(max_iter=2000).fit(X, y)
    evaluated = Evaluation.from_estimator(clf, X_test, y_test)
    proba = clf.predict_proba(X_test)
    assert evaluated.accuracy == clf.score(X_test, y_test)
    assert evaluated.log_loss == pytest.approx(metrics.log_loss(y_test, proba))
    assert evaluated.brier_score == pytest.approx(metrics.brier_score_loss(y_test, proba))


def test_the_record_holds_every_figure(evaluation):
    assert evaluation.to_dict() == {
        "n_samples": 6,
        "n_mistakes": 3,
        "accuracy": 0.5,
        "accuracy_interval": list(evaluation.accuracy_interval),
        "log_loss": evaluation.log_loss,
        "brier_score": evaluation.brier_score,
        "calibration_error": evaluation.calibration_error,
        "reliability": [
            {
                "lower": part.lower,
                "upper": part.upper,
                "n_images": part.n_images,
                "confidence": part.confidence,
                "accuracy": part.accuracy,
            }
            for part in evaluation.reliability()
        ],
        # Each class is said twice and right once, and occurs twice.
        "per_class": [
            {"class": label, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
            for label in ("ant", "bee", "cow")
        ],
        "macro_mean": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 6},
        "weighted_mean": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 6},
        "confused_pairs": [
            {"true": "ant", "predicted": "bee", "count": 1, "share": 0.5},
            {"true": "bee", "predicted": "cow", "count": 1, "share": 0.5},
            {"true": "cow", "predicted": "ant", "count": 1, "share": 0.5},
        ],
        "confusion_matrix": [[1, 1, 0], [0, 1, 1], [1, 0, 1]],
    }


@settings(deadline=None, max_examples=30)
@given(predictions(), st.booleans())
def test_the_record_goes_through_json(case, with_probabilities):
    y_true, proba, classes = case
    evaluated = Evaluation.from_predictions(y_true, proba, classes)
    if not with_probabilities:
        evaluated = Evaluation.from_labels(y_true, evaluated.y_pred, classes)
    assert json.loads(json.dumps(evaluated.to_dict(), allow_nan=False)) == evaluated.to_dict()
    assert len(evaluated.to_dict()["confused_pairs"]) <= 10


def two_classifiers(both, only_a, only_b, neither):
    """Evaluations a and b of two classes with that many images right by both, one and none."""
    right_a = [True] * (both + only_a) + [False] * (only_b + neither)
    right_b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    y_true = np.arange(len(right_a)) % 2
    return (Evaluation.from_labels(y_true, np.where(right, y_true, 1 - y_true)) for right in (right_a, right_b))


def test_mcnemars_test_looks_at_the_images_that_one_alone_gets_right():
    # Of ten such images eight are a's: P = 2 · (C(10,0) + C(10,1) + C(10,2)) / 2¹⁰ = 2 · 56 / 1024.
    result = compare(*two_classifiers(both=80, only_a=8, only_b=2, neither=10))
    assert result == McNemar(n_images=100, only_a_right=8, only_b_right=2, p_value=pytest.approx(112 / 1024))
    assert result.difference == pytest.approx(0.06)  # 88 % less 82 %


@pytest.mark.parametrize("counts", [(0, 1, 0, 1), (5, 3, 3, 0), (50, 31, 12, 7), (1000, 400, 500, 100)])
def test_the_p_value_is_that_of_a_coin(counts):
    _, only_a, only_b, _ = counts
    n = only_a + only_b
    heads = np.arange(n + 1)
    # At least as far from n/2 as what was found
    extreme = np.abs(heads - n / 2) >= abs(only_a - n / 2)
    assert compare(*two_classifiers(*counts)).p_value == pytest.approx(binom(n, 0.5).pmf(heads)[extreme].sum())


def test_swapping_the_two_swaps_the_result():
    a, b = two_classifiers(50, 31, 12, 7)
    forth, back = compare(a, b), compare(b, a)
    assert (back.only_a_right, back.only_b_right, back.p_value) == (12, 31, forth.p_value)
    assert back.difference == -forth.difference == -0.19


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            (310, 31, 12, 7),
            (
                "a is right where b is wrong on 31 of 360 images and b where a is wrong on 12: a is more accurate by "
                "5.28 points, more than chance explains (McNemar's exact test, p = 0.0054)."
            ),
        ),
        (
            (900, 0, 100, 0),
            (
                "a is right where b is wrong on 0 of 1,000 images and b where a is wrong on 100: b is more accurate "
                "by 10.00 points, more than chance explains (McNemar's exact test, p < 0.0001)."
            ),
        ),
        (
            (80, 8, 2, 10),
            (
                "a is right where b is wrong on 8 of 100 images and b where a is wrong on 2: no evidence of a "
                "difference, which does not prove that there is none (McNemar's exact test, p = 0.11)."
            ),
        ),
        (
            (9, 0, 0, 1),
            (
                "a is right where b is wrong on 0 of 10 images and b where a is wrong on 0: no evidence of a "
                "difference, which does not prove that there is none (McNemar's exact test, p = 1)."
            ),
        ),
    ],
)
def test_the_result_reads_as_a_sentence(counts, sentence):
    assert compare(*two_classifiers(*counts)).sentence == sentence


def test_no_image_that_tells_the_two_apart_is_no_difference():
    a, b = two_classifiers(9, 0, 0, 1)
    assert compare(a, b) == McNemar(n_images=10, only_a_right=0, only_b_right=0, p_value=1.0)
    assert compare(a, a).difference == 0


@pytest.mark.parametrize(
    ("y_true", "sentence"),
    [
        (
            [0, 1, 1],
            (
                "Expected two evaluations of the same images; got 4 and 3 images. "
                "Evaluate both classifiers on the same data."
            ),
        ),
        (
            [0, 1, 0, 1],
            (
                "Expected two evaluations of the same images; got 1 and 0 as the true labels of row 2. "
                "Evaluate both classifiers on the same data in the same order."
            ),
        ),
        (
            ["0", "1", "1", "0"],
            (
                "Expected two evaluations of the same images; got 0 and '0' as the true labels of row 0. "
                "Evaluate both classifiers on the same data in the same order."
            ),
        ),
    ],
)
def test_refuses_to_compare_different_images(y_true, sentence):
    a, b = Evaluation.from_labels([0, 1, 1, 0], [0, 1, 1, 1]), Evaluation.from_labels(y_true, y_true)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared
        compare(a, b)
    assert str(error.value) == sentence


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
        "Expected every label of y_true to be one of the classes 'ant', 'bee' and 'cow'; "
        "got 'fly' and 'gnu'. Leave those images out, or fit with them."
    )


def test_a_number_is_not_the_word_for_it():
    assert refused([1, 2], np.eye(2), ["1", "2"]) == (
        "Expected every label of y_true to be one of the classes '1' and '2'; "
        "got 1 and 2. Leave those images out, or fit with them."
    )


class Knows:
    """A classifier of given classes that always answers with the first."""

    def __init__(self, classes):
        self.classes_ = np.array(classes)

    def predict_proba(self, X):
        return np.eye(len(self.classes_))[np.zeros(len(X), int)]


@pytest.mark.parametrize(
    ("classes", "y"),
    [
        (["0", "1", "2"], [0, 2, 0]),
        (["0", "1", "2"], [0.0, 2.0, 0.0]),  # as a table with gaps has them
        ([0, 1, 2], ["0", "2", "0"]),
        ([0.0, 1.0, 2.0], ["0", "2", "0"]),
        ([0, 1, 2], np.array(["0", "2", "0"], dtype=object)),
        ([0, 1, 2], [0, 2, 0]),
    ],
)
def test_numbers_and_the_same_numbers_as_text_are_one_label_of_an_estimator(classes, y):
    evaluation = Evaluation.from_estimator(Knows(classes), np.zeros(3), y)
    assert evaluation.accuracy == 2 / 3
    assert evaluation.y_true.dtype == evaluation.classes.dtype
    assert evaluation.y_true.tolist() == [classes[0], classes[2], classes[0]]


@pytest.mark.parametrize(
    ("classes", "y", "unknown"),
    [
        (["0", "1", "2"], [0, 9, 1], "9"),
        ([0, 7], ["7", "07", "0"], "'07'"),  # as "7" is 7, so that no two labels become one
        (["cat", "dog"], [0, 1, 0], "0 and 1"),
        ([1, 2], ["1.0", "1", "2"], "'1.0'"),
    ],
)
def test_labels_that_are_written_otherwise_are_no_class(classes, y, unknown):
    with pytest.raises(ValueError, match=re.escape(f"; got {unknown}. Leave those images out")):
        Evaluation.from_estimator(Knows(classes), np.zeros(3), y)


def test_names_a_few_of_many_classes():
    assert refused([-1], np.eye(12)[:1], np.arange(12)) == (
        "Expected every label of y_true to be one of the classes 0, 1, 2, 3, 4 and 7 more; "
        "got -1. Leave those images out, or fit with them."
    )


@pytest.mark.parametrize(
    ("y_proba", "shape"), [(PROBA[:5], "(5, 3)"), (PROBA[:, :2], "(6, 2)"), (PROBA.argmax(axis=1), "(6,)")]
)
def test_refuses_probabilities_of_another_shape(y_proba, shape):
    assert refused(Y_TRUE, y_proba, CLASSES) == (f"Expected y_proba of shape (6, 3), (images, classes); got {shape}.")


def test_refuses_nan():
    proba = PROBA.copy()
    proba[4, 1] = np.nan
    assert refused(Y_TRUE, proba, CLASSES) == (
        "Expected probabilities between 0 and 1; got nan in row 4 of y_proba. "
        "Pass the output of predict_proba, not logits."
    )


@pytest.mark.parametrize(
    ("row", "value"), [([-0.5, 0.5, 1.0], "-0.5"), ([3.0, -2.0, 0.0], "3"), ([np.inf, 0, 0], "inf")]
)
def test_refuses_logits(row, value):
    proba = PROBA.copy()
    proba[2] = row
    assert refused(Y_TRUE, proba, CLASSES) == (
        f"Expected probabilities between 0 and 1; got {value} in row 2 of y_proba. "
        "Pass the output of predict_proba, not logits."
    )


def test_refuses_rows_that_do_not_sum_to_one():
    proba = PROBA.copy()
    proba[2] = [0.3, 0.3, 0.3]
    assert refused(Y_TRUE, proba, CLASSES) == (
        "Expected each row of y_proba to sum to 1; got 0.9 in row 2. Pass the output of predict_proba."
    )


def test_takes_probabilities_rounded_for_a_file():
    assert Evaluation.from_predictions([0, 1], [[0.333, 0.6665], [0.5, 0.5]], [0, 1]).n_samples == 2


@pytest.mark.parametrize(("y_true", "shape"), [([], "(0,)"), (np.eye(3), "(3, 3)"), ("ant", "()")])
def test_refuses_anything_but_a_row_of_labels(y_true, shape):
    assert refused(y_true, PROBA, CLASSES) == f"Expected y_true to be a row of one or more labels; got shape {shape}."


@pytest.mark.parametrize(("classes", "shape"), [(["ant"], "(1,)"), ([], "(0,)"), (np.eye(3), "(3, 3)")])
def test_refuses_fewer_than_two_classes(classes, shape):
    assert refused(Y_TRUE, PROBA, classes) == (
        f"Expected a row of two or more classes; got shape {shape}. Pass clf.classes_."
    )


def test_refuses_a_class_given_twice():
    assert refused(Y_TRUE, PROBA, ["ant", "bee", "ant"]) == (
        "Expected classes to be different labels; got 'ant', 'bee' and 'ant'. Pass each label once."
    )
