"""Class weights, validation and early stopping, and the history of a fit."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils import compute_class_weight
from skorch.callbacks import Callback

from cnnclf.training._data import arrange, split_rows
from helpers import Seen, cross_entropy, exactly, quick, same_bits

# Class weights


def test_balanced_class_weights_help_the_rare_class(few_digits):
    # 40 nines and three threes: taking all of them for nines is right in nearly all cases, but of no use.
    X, y, X_test, y_test = few_digits
    rows = np.concatenate([np.flatnonzero(y == 9), np.flatnonzero(y == 3)[:3]])
    test = np.isin(y_test, [3, 9])

    def recall_of_threes(class_weight):
        clf = quick(max_epochs=5, class_weight=class_weight).fit(X[rows], y[rows])
        return recall_score(y_test[test], clf.predict(X_test[test]), pos_label=3)

    assert recall_of_threes("balanced") > recall_of_threes(None) + 0.2


@pytest.mark.parametrize("names", [list(range(10)), [f"digit {i}" for i in range(10)]])
def test_balanced_is_the_dict_of_balanced_weights(names, some):
    X, y = some
    y = np.array(names)[np.minimum(y, 6)]
    classes = np.unique(y)
    weights = compute_class_weight("balanced", classes=classes, y=y)  # n / (n_classes · count)
    by_dict = quick(class_weight=dict(zip(classes.tolist(), weights, strict=True))).fit(X, y)
    assert same_bits(quick(class_weight="balanced").fit(X, y), by_dict, X)


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5, 1e-300])
def test_balanced_weighs_a_class_by_its_sample_weights_whatever_their_scale(scale, some):
    # Ten classes, Σw of each is scale · (0.25 · n), of threes scale · (2.25 · n): the weights are Σw / (10 · Σw of the
    # class), which has no scale. The numbers are no whole ones, so that nothing is repeated.
    X, y = some
    weight = np.where(y == 3, 2.25, 0.25)
    sums = {label: weight[y == label].sum() for label in range(10)}
    by_dict = quick(class_weight={label: weight.sum() / (10 * s) for label, s in sums.items()})
    by_dict.fit(X, y, sample_weight=weight)
    balanced = quick(class_weight="balanced").fit(X, y, sample_weight=scale * weight)
    np.testing.assert_allclose(balanced.predict_proba(X), by_dict.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
def test_balanced_sees_repetitions_as_weights(parameters, some):
    X, y = some
    count = np.where(y == 3, 3, 1)
    weighted = quick(class_weight="balanced", **parameters).fit(X, y, sample_weight=count)
    repeated = quick(class_weight="balanced", **parameters).fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    assert same_bits(weighted, repeated, X)


def test_class_weights_multiply_sample_weights(some):
    X, y = some
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    by_class = quick(class_weight={3: 4.0, 5: 0.5}).fit(X, y, sample_weight=weight)
    by_hand = quick().fit(X, y, sample_weight=weight * np.where(y == 3, 4, np.where(y == 5, 0.5, 1)))
    np.testing.assert_allclose(by_class.predict_proba(X), by_hand.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
def test_a_class_left_out_of_class_weights_weighs_one(parameters, some):
    X, y = some
    some_classes = quick(class_weight={3: 4.0}, **parameters).fit(X, y)
    all_classes = quick(class_weight=dict.fromkeys(range(10), 1.0) | {3: 4.0}, **parameters).fit(X, y)
    assert same_bits(some_classes, all_classes, X)


def test_class_weights_may_name_a_class_that_no_row_is_left_of(some):
    X, y = some
    weights = {3: 4.0}
    without = y != 3
    by_weight = quick(class_weight=weights).fit(X, y, sample_weight=without.astype(float))
    assert by_weight.classes_.tolist() == list(range(10))
    by_part = quick(class_weight=weights).partial_fit(X[without], y[without], classes=range(10))
    assert by_part.classes_.tolist() == list(range(10))


def test_class_weights_may_name_a_class_that_a_fold_lacks(some):
    X, y = some
    low = y < 2
    named = quick(class_weight={0: 1.0, 1: 3.0, 2: 5.0}).fit(X[low], y[low])
    assert same_bits(named, quick(class_weight={0: 1.0, 1: 3.0}).fit(X[low], y[low]), X[low])


def test_a_search_over_class_weights_scores_folds_that_lack_a_class(some):
    # The only "two" is in one of two folds, so that the other one's training rows lack it.
    X, y = some
    rows = np.concatenate([np.flatnonzero(y == 0)[:6], np.flatnonzero(y == 1)[:6], np.flatnonzero(y == 2)[:1]])
    names = np.array(["zero", "one", "two"])[y[rows]]
    weights = {"zero": 1.0, "one": 1.0, "two": 4.0}
    scores = cross_val_score(quick(class_weight=weights), X[rows], names, cv=KFold(2), error_score="raise")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_misspelt_class_is_refused_where_another_one_is_left_out(method, some):
    X, y = some
    names = np.array(["cat", "dog"])[y % 2]
    classes = {"classes": ["cat", "dog"]} if method == "partial_fit" else {}
    sentence = (
        "Expected class_weight to name the classes of y; got 'dgo' and nothing for 'dog'. Name the classes as y does."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        getattr(quick(class_weight={"cat": 1.0, "dgo": 2.0}), method)(X, names, **classes)


# Validation and early stopping


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])  # which is a matter of training, not of measuring
def test_validation_data_is_measured_not_learnt(label_smoothing, few_digits):
    X, y, X_val, y_val = few_digits
    clf = quick(max_epochs=3, label_smoothing=label_smoothing).fit(X, y, X_val=X_val, y_val=y_val)
    assert same_bits(clf, quick(max_epochs=3, label_smoothing=label_smoothing).fit(X, y), X)
    assert clf.history_[-1]["valid_loss"] == pytest.approx(cross_entropy(clf, X_val, y_val), rel=1e-5)
    assert clf.history_[-1]["valid_accuracy"] == accuracy_score(y_val, clf.predict(X_val))


@pytest.mark.parametrize("weight_averaging", [False, True])
def test_early_stopping_restores_the_best_weights(weight_averaging, few_digits):
    # So high a learning rate on so few digits overfits soon.
    X, y, X_val, y_val = few_digits
    clf = quick(
        early_stopping=True, max_epochs=60, patience=4, lr=0.02, lr_schedule="constant", batch_size=16,
        weight_averaging=weight_averaging,
    ).fit(X[:100], y[:100], X_val=X_val, y_val=y_val)  # fmt: skip
    losses = [row["valid_loss"] for row in clf.history_]
    best = int(np.argmin(losses))

    assert len(losses) < 60
    assert len(losses) == best + 1 + 4  # four epochs without improvement after the best
    assert losses[-1] > losses[best]
    assert cross_entropy(clf, X_val, y_val) == pytest.approx(losses[best], rel=1e-5)


def test_early_stopping_that_is_not_needed_lets_training_end(some):
    X, y = some
    clf = quick(early_stopping=True, max_epochs=3, patience=5).fit(X, y)
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3]


def test_early_stopping_sets_a_stratified_share_aside(digits):
    # 20 digits of each class and a fraction of 0.1: two of each class are held out, 180 of 200 are learnt from.
    X, y = digits
    rows = np.concatenate([np.flatnonzero(y == k)[:20] for k in range(10)])
    seen = Seen()
    clf = quick(early_stopping=True, callbacks=[seen]).fit(X[rows], y[rows])
    assert sorted(seen.labels[False]) == sorted(list(range(10)) * 2)
    assert sorted(seen.labels[True]) == sorted(list(range(10)) * 18)
    assert clf.history_[0]["valid_accuracy"] * 20 == pytest.approx(round(clf.history_[0]["valid_accuracy"] * 20))


class Visited(Callback):
    """Note the content and label of each row that is learnt (True) and validated on (False)."""

    def on_train_begin(self, net, **kwargs):
        self.rows = {True: [], False: []}

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        X, y = batch
        X = X["X"] if isinstance(X, dict) else X
        self.rows[training] += [(x.numpy().tobytes(), label) for x, label in zip(X, y.tolist(), strict=True)]


@pytest.mark.parametrize("weight", [None, 2, [0.5, 1.5]], ids=str)
@pytest.mark.parametrize("times", [1, 2])
def test_no_row_is_learnt_and_validated_on_however_often_it_is_visited(times, weight, some):
    X, y = (np.repeat(a, times, axis=0) for a in some)
    weight = np.resize(weight, len(y)) if isinstance(weight, list) else weight
    visited = Visited()
    quick(early_stopping=True, callbacks=[visited]).fit(X, y, sample_weight=weight)
    learnt, held_out = set(visited.rows[True]), set(visited.rows[False])
    assert not learnt & held_out
    assert len(learnt | held_out) == 120
    assert len(held_out) == 12  # a tenth of the distinct rows
    n_visits = 120 * times * (2 if np.array_equal(weight, 2) else 1)
    assert len(visited.rows[True]) + len(visited.rows[False]) == n_visits


def test_a_class_of_one_row_is_learnt_and_the_others_give_their_share():
    # Of 921 rows a tenth is 93. Row r of n is held out in the order of (r + ½) / n: of 900 rows the 91st at
    # 90.5 / 900 = 0.1006, of 20 rows the second at 1.5 / 20 = 0.075 and the third only at 0.125.
    labels = np.repeat([0, 1, 2], [900, 20, 1])
    pixels = np.arange(921, dtype=np.float32).reshape(-1, 1, 1, 1)
    order, _ = arrange(pixels, labels, None)
    for seed in range(20):
        learnt, held_out = split_rows(order, pixels, labels, 0.1, seed)
        assert np.bincount(labels[held_out], minlength=3).tolist() == [91, 2, 0]
        assert sorted([*learnt, *held_out]) == list(range(921))


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.5, 0.99]),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None)
@example([(0, 0), (1, 0), (0, 1), (1, 1)], 0.99, 0)  # of two rows of each class one is learnt
def test_every_class_is_learnt_and_distinct_rows_stay_together(rows, fraction, seed):
    pixel, labels = map(np.array, zip(*rows, strict=True))
    pixels = pixel.astype(np.uint8).reshape(-1, 1, 1, 1)
    order, _ = arrange(pixels, labels, None)
    distinct = set(rows)
    if len(distinct) == len(np.unique(labels)):
        with pytest.raises(ValueError, match=r"\AExpected two different rows of a class for early_stopping, "):
            split_rows(order, pixels, labels, fraction, seed)
        return
    learnt, held_out = ({rows[i] for i in side} for side in split_rows(order, pixels, labels, fraction, seed))
    assert learnt | held_out == distinct
    assert not learnt & held_out
    assert {label for _, label in learnt} == set(labels.tolist())
    assert len(held_out) == min(math.ceil(fraction * len(distinct)), len(distinct) - len(np.unique(labels)))


# History


def test_history_without_validation_data(some):
    clf = quick(max_epochs=3, lr=0.01, lr_schedule="constant").fit(*some)
    assert [list(row) for row in clf.history_] == [["epoch", "train_loss", "train_accuracy", "lr", "seconds"]] * 3
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3]
    assert [row["lr"] for row in clf.history_] == [0.01] * 3
    assert clf.history_[2]["train_loss"] < clf.history_[0]["train_loss"]
    assert clf.history_[2]["train_accuracy"] > clf.history_[0]["train_accuracy"]
    for row in clf.history_:
        assert row["seconds"] > 0
        assert (row["train_accuracy"] * 120) % 1 == pytest.approx(0, abs=1e-9)  # a share of 120 rows
        assert [type(value) for value in row.values()] == [int, float, float, float, float]


@pytest.mark.parametrize("architecture", ["compact", "keras_mnist"])  # the second has dropout before its output
@pytest.mark.parametrize("class_weight", [None, {3: 5.0, 4: 0.2}])
def test_with_validation_data_both_are_measured_alike(architecture, class_weight, some):
    # Where the validation data is the training data, so are the figures, dropout or not.
    X, y = some
    clf = quick(architecture, max_epochs=2, class_weight=class_weight).fit(X, y, X_val=X, y_val=y)
    keys = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_images", "lr", "seconds"]
    assert [list(row) for row in clf.history_] == [keys] * 2
    for row in clf.history_:
        assert row["train_loss"] == pytest.approx(row["valid_loss"], rel=1e-5)
        assert row["train_accuracy"] == row["valid_accuracy"]
    assert clf.history_[-1]["train_accuracy"] == clf.score(X, y)
    weight = np.array([(class_weight or {}).get(label, 1.0) for label in y])
    expected = cross_entropy(clf, X, y, weight)
    assert clf.history_[-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_history_is_a_data_frame_in_one_call(fitted):
    frame = pd.DataFrame(fitted.history_)
    assert frame.columns.tolist() == ["epoch", "train_loss", "train_accuracy", "lr", "seconds"]
    assert frame["epoch"].tolist() == [1, 2, 3]
