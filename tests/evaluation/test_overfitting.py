"""The verdict over the curves of a fit: each branch of its rule by hand, and real fits that are what they are."""

import dataclasses
import json

import numpy as np
import pytest

from cnnclf import CNNClassifier, load_digits
from cnnclf.evaluation._overfitting import FALL, FALL_LOSS, GAP, LOW, RISE, RISE_LOSS, RULE, Verdict, diagnose

NAMES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")


def history(*rows):
    """Epochs 1, 2, … from (train_loss, train_accuracy, valid_loss, valid_accuracy) of each."""
    return [{"epoch": i, **dict(zip(NAMES, row, strict=True))} for i, row in enumerate(rows, start=1)]


def with_losses(train, valid, train_accuracy=0.99, valid_accuracy=0.98):
    """Epochs that differ in their losses alone."""
    return history(*((t, train_accuracy, v, valid_accuracy) for t, v in zip(train, valid, strict=True)))


def constant(train_loss, train_accuracy, valid_loss, valid_accuracy, n=4):
    """The same figures in every epoch."""
    return history(*[(train_loss, train_accuracy, valid_loss, valid_accuracy)] * n)


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting():
    # Lowest 0.4 in epoch 2; of the three epochs since, the second half (two) stays at 0.5 = 0.4 · 1.25 or above.
    # The loss ends at 0.6 = 0.4 · 1.5; a gap of 0.95 - 0.90 would not be enough.
    verdict = diagnose(
        history(
            (0.60, 0.80, 0.50, 0.84),
            (0.30, 0.90, 0.40, 0.88),
            (0.20, 0.93, 0.44, 0.89),
            (0.15, 0.94, 0.50, 0.90),
            (0.10, 0.95, 0.60, 0.90),
        )
    )
    assert verdict == Verdict(
        kind="overfitting",
        epoch=5,
        best_epoch=2,
        turned_at=2,
        gap=pytest.approx(0.05),
        rise=pytest.approx(0.5),
        reason=(
            "The validation loss was lowest after epoch 2, at 0.4, and rose by 0.2 to 0.6 until epoch 5, while the "
            "training loss fell from 0.3 to 0.1; the network is right on 95.00 % of the training images and on "
            "90.00 % of the validation images, a gap of 5.00 points. It memorises its images: more images, "
            "augmentation, weight decay or dropout help, and early stopping keeps the network of epoch 2."
        ),
    )


def test_a_loss_that_turns_while_the_accuracy_stays_is_overfitting():
    # 0.06 is twice 0.03, and 0.03 above it; the accuracies are half a point apart.
    verdict = diagnose(
        with_losses([0.02, 0.004, 0.001, 0.0005], [0.03, 0.05, 0.06, 0.06], train_accuracy=0.999, valid_accuracy=0.994)
    )
    assert (verdict.kind, verdict.best_epoch, verdict.turned_at, verdict.gap) == ("overfitting", 1, 1, 0.005)


def test_labels_learnt_by_heart_are_overfitting():
    # Ten random classes: the training loss goes from ln 10 = 2.3 to nothing, the validation loss only up.
    verdict = diagnose(
        history((2.2, 0.15, 2.3, 0.1), (1.5, 0.5, 2.9, 0.1), (0.6, 0.8, 4.0, 0.1), (0.05, 1.0, 5.2, 0.09))
    )
    assert (verdict.kind, verdict.turned_at, verdict.gap) == ("overfitting", 1, 0.91)


def test_a_gap_alone_is_overfitting():
    # The loss is lowest at the end; 1.00 - 0.92 is 8 points.
    verdict = diagnose(history((0.5, 0.9, 0.6, 0.85), (0.01, 1.0, 0.3, 0.92), (0.005, 1.0, 0.29, 0.92)))
    assert (verdict.kind, verdict.best_epoch, verdict.turned_at, verdict.gap) == ("overfitting", 3, None, 0.08)
    assert verdict.rise == 0
    assert verdict.reason == (
        "After epoch 3 the network is right on 100.00 % of the training images and on 92.00 % of the validation "
        "images, a gap of 8.00 points. It memorises its images: more images, augmentation, weight decay or "
        "dropout help."
    )


def test_a_run_as_on_mnist_is_healthy_and_its_gap_is_said():
    # 0.024 is 9 % above the lowest, 0.022, and 0.002 in itself.
    verdict = diagnose(
        history(
            (0.050, 0.985, 0.055, 0.984),
            (0.012, 0.997, 0.025, 0.992),
            (0.004, 0.999, 0.022, 0.993),
            (0.003, 0.999, 0.023, 0.993),
            (0.002, 0.999, 0.024, 0.993),
        )
    )
    assert (verdict.kind, verdict.best_epoch, verdict.turned_at, verdict.gap) == ("healthy", 3, None, 0.006)
    assert verdict.rise == pytest.approx(0.002 / 0.022)
    assert verdict.reason == (
        "After epoch 5 the network is right on 99.90 % of the training images and on 99.30 % of the validation "
        "images, a gap of 0.60 points. The validation loss ended at 0.024 after a lowest of 0.022 in epoch 3, and has "
        "not risen permanently: nothing needs to change."
    )


def test_a_loss_that_is_lowest_at_the_end_is_healthy():
    verdict = diagnose(history((0.2, 0.95, 0.2, 0.95), (0.19, 0.95, 0.19, 0.96)))
    assert verdict.kind == "healthy"
    assert verdict.reason == (
        "After epoch 2 the network is right on 95.00 % of the training images and on 96.00 % of the validation "
        "images, without a gap. The validation loss was lowest at the end, at 0.19: nothing needs to change."
    )


@pytest.mark.parametrize(
    ("train_accuracy", "valid_accuracy", "kind"),
    [(0.99, 0.98, "healthy"), (0.99, 0.90, "overfitting"), (0.6, 0.6, "underfitting")],
)
def test_one_epoch_is_judged_by_its_gap_and_its_level(train_accuracy, valid_accuracy, kind):
    verdict = diagnose(history((0.3, train_accuracy, 0.3, valid_accuracy)))
    assert (verdict.kind, verdict.epoch, verdict.best_epoch, verdict.turned_at) == (kind, 1, 1, None)
    assert verdict.rise == 0


@pytest.mark.parametrize(
    ("valid_images", "wrong", "kind"),
    [
        # Of 60 images at 95 %, 3 ± 1.7 are wrong: six or more in 8 % of samples, seven or more in 3 %.
        (60, 6, "healthy"),
        (60, 7, "overfitting"),
        # Of 1,000 images, 50 ± 6.9 are: 61 or more in 7 %, 63 or more in 4 %.
        (1000, 61, "healthy"),
        (1000, 63, "overfitting"),
        (1000, 50, "healthy"),  # five points are not more than five points
    ],
)
def test_a_gap_that_few_validation_images_may_show_by_chance_is_none(valid_images, wrong, kind):
    (epoch,) = history((0.01, 1.0, 0.2, 1 - wrong / valid_images))
    assert diagnose([epoch | {"valid_images": valid_images}]).kind == kind


def test_one_healthy_epoch_says_that_it_shows_no_trend():
    assert diagnose(history((0.04, 0.99, 0.045, 0.99))).reason == (
        "After epoch 1 the network is right on 99.00 % of the training images and on 99.00 % of the validation "
        "images, without a gap. The validation loss is 0.045; one epoch shows no trend, so train for more epochs."
    )


def test_training_images_that_were_not_learnt_are_underfitting():
    verdict = diagnose(constant(2.2, 0.2, 2.2, 0.19))
    assert (verdict.kind, verdict.best_epoch, verdict.turned_at, verdict.gap) == ("underfitting", 1, None, 0.01)
    assert verdict.reason == (
        "After epoch 4 the network is right on 20.00 % of the training images and on 19.00 % of the validation "
        "images, a gap of 1.00 points. It has not learnt its training images: more epochs, a larger network "
        "or a higher learning rate help, or a lower one if the losses jump up and down."
    )


def test_losses_that_still_fall_are_underfitting():
    # From the lowest so far to the last: 0.40 → 0.30 and 0.42 → 0.33, a quarter and a fifth, each more than 0.05.
    verdict = diagnose(with_losses([0.6, 0.4, 0.3], [0.61, 0.42, 0.33], train_accuracy=0.93, valid_accuracy=0.92))
    assert verdict.kind == "underfitting"
    assert verdict.reason == (
        "In epoch 3 both losses were still falling, the training loss from 0.4 to 0.3 and the validation loss from "
        "0.42 to 0.33; the network is right on 93.00 % of the training images and on 92.00 % of the validation images, "
        "a gap of 1.00 points. It has not finished learning: more epochs or a higher learning rate help."
    )


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        ([0.40, 0.30], [0.42, 0.385]),  # the validation loss by 0.035
        ([0.40, 0.37], [0.42, 0.33]),  # the training loss by 0.03
        ([0.90, 0.82], [0.90, 0.82]),  # both by 0.08, which is 9 %
        ([0.04, 0.01], [0.06, 0.02]),  # both to a fraction, which is no more than 0.04
        ([0.30, 0.50, 0.31], [0.30, 0.50, 0.31]),  # to where they had been
    ],
)
def test_losses_that_hardly_fall_are_healthy(train, valid):
    assert diagnose(with_losses(train, valid)).kind == "healthy"


def test_losses_that_rise_together_are_underfitting():
    # The validation loss turned after epoch 1, but nothing was learnt by heart: 0.2 → 0.5 on the training images too.
    verdict = diagnose(with_losses([0.2, 0.4, 0.5], [0.25, 0.5, 0.6], train_accuracy=0.92, valid_accuracy=0.91))
    assert (verdict.kind, verdict.turned_at) == ("underfitting", 1)
    assert verdict.reason == (
        "The validation loss was lowest after epoch 1, at 0.25, and rose by 0.35 to 0.6 until epoch 3, while the "
        "training loss rose from 0.2 to 0.5; the network is right on 92.00 % of the training images and on 91.00 % of "
        "the validation images, a gap of 1.00 points. It has become worse: a lower learning rate helps, and early "
        "stopping keeps the network of epoch 1."
    )


def test_a_training_loss_with_nothing_left_to_fall_may_rise_a_little():
    # 0.001 → 0.002 is below the 0.02 that count.
    assert diagnose(with_losses([0.001, 0.001, 0.002], [0.1, 0.15, 0.2])).kind == "overfitting"


@pytest.mark.parametrize(
    ("train_accuracy", "valid_accuracy", "kind"),
    [
        (0.30, 0.24, "underfitting"),  # wrong on 70 % of the training images, 6 points more on the others
        (0.80, 0.65, "underfitting"),  # 20 % and 15 points
        (0.70, 0.30, "overfitting"),  # 30 % and 40 points
        (0.89, 0.78, "overfitting"),  # 11 % and 11 points
    ],
)
def test_of_a_gap_and_a_low_level_the_larger_counts(train_accuracy, valid_accuracy, kind):
    assert diagnose(constant(1.0, train_accuracy, 1.0, valid_accuracy)).kind == kind


@pytest.mark.parametrize(
    "valid",
    [
        [0.40, 0.60],  # one epoch above the lowest is no trend
        [0.40, 0.47, 0.47, 0.47],  # 17.5 % above it
        [0.05, 0.069, 0.069, 0.069],  # 38 %, but 0.019
        [0.0001, 0.001, 0.01, 0.01],  # a hundred times nothing is still next to nothing
        [0.0, 0.0, 0.01, 0.01],  # nor is zero divided by
        [0.40, 0.60, 0.60, 0.41],  # it came back in the end
        [0.40, 0.60, 0.60, 0.60, 0.41, 0.60, 0.60],  # or on the way: of six epochs since, the last three count
        [0.50, 0.80, 0.40, 0.56, 0.56],  # 40 % above the lowest, but it came back from 60 % before
    ],
)
def test_a_wiggle_is_not_a_turn(valid):
    verdict = diagnose(with_losses(np.linspace(0.3, 0.1, len(valid)), valid))
    assert (verdict.kind, verdict.turned_at) == ("healthy", None)


@pytest.mark.parametrize(
    "valid",
    [
        [0.40, 0.49, 0.49],  # 22.5 %
        [0.05, 0.071, 0.071],  # 42 %, and 0.021
        [0.0001, 0.001, 0.03, 0.03],  # 0.03 from nothing
        [0.40, 0.41, 0.60, 0.60],  # early epochs since the lowest do not count
        [0.50, 0.60, 0.40, 0.56, 0.56],  # 40 %, and it came back from 20 % only
    ],
)
def test_a_lasting_rise_is_a_turn(valid):
    verdict = diagnose(with_losses(np.linspace(0.3, 0.1, len(valid)), valid))
    assert (verdict.kind, verdict.turned_at) == ("overfitting", 1 + valid.index(min(valid)))


def test_a_rise_from_next_to_nothing_is_measured_against_what_counts():
    # (0.0121 - 0.0001) / 0.02 = 0.6, where 0.0121 / 0.0001 - 1 = 120.
    assert diagnose(with_losses([0.1, 0.1], [0.0001, 0.0121])).rise == pytest.approx(0.6)


def test_the_gap_of_whole_images_is_exact():
    # 60/60 - 57/60 = 3/60 are 5 points, no more, but 0.05000000000000004 in floating point.
    verdict = diagnose(constant(0.1, 60 / 60, 0.1, 57 / 60))
    assert (verdict.kind, verdict.gap) == ("healthy", 0.05)
    assert diagnose(constant(0.1, 1.0, 0.1, 0.949)).kind == "overfitting"


def test_the_first_of_equally_low_epochs_is_the_best():
    assert diagnose(with_losses([0.3, 0.2, 0.1], [0.3, 0.2, 0.2])).best_epoch == 2


def test_without_validation_images_nothing_is_known():
    epochs = [{"epoch": i, "train_loss": 0.1, "train_accuracy": 0.99} for i in (1, 2, 3)]
    assert diagnose(epochs) == Verdict(
        "unknown",
        epoch=3,
        best_epoch=None,
        turned_at=None,
        gap=None,
        rise=None,
        reason=(
            "Without validation images, overfitting cannot be detected. "
            "Fit with X_val and y_val, or with early_stopping=True, which holds some images out."
        ),
    )


def test_epochs_without_validation_are_passed_over():
    epochs = [*constant(0.1, 0.99, 0.1, 0.98), {"epoch": 5, "train_loss": 0.1, "train_accuracy": 0.5}]
    assert diagnose(epochs) == diagnose(epochs[:4])


def test_a_verdict_fits_into_json():
    epochs = constant(*np.array([0.1, 0.99, 0.1, 0.98]))
    assert json.loads(json.dumps(dataclasses.asdict(diagnose(epochs))))["kind"] == "healthy"


def test_the_rule_names_its_thresholds():
    assert (RISE, RISE_LOSS, FALL, FALL_LOSS, GAP, LOW) == (0.2, 0.02, 0.1, 0.05, 0.05, 0.9)
    for threshold in ("20 % and at least 0.02", "below 0.02", "10 % and at least 0.05", "more than 5 points", "90 %"):
        assert threshold in RULE


@pytest.mark.parametrize(
    ("epochs", "sentence"),
    [
        ([], "Expected a history of one or more epochs; got none. Pass the history_ of a fit."),
        (
            [{"epoch": 1, "loss": 0.1}],
            (
                "Expected epoch, train_loss, train_accuracy for every epoch; got no train_loss in row 1. "
                "Pass the history_ of a fit."
            ),
        ),
        (
            [*history((0.1, 0.9, 0.1, 0.9)), {"epoch": 2, "train_loss": 0.1, "train_accuracy": 1.0, "valid_loss": 0.1}],
            (
                "Expected epoch, train_loss, train_accuracy, valid_loss, valid_accuracy for every epoch; got no "
                "valid_accuracy in row 2. Pass the history_ of a fit."
            ),
        ),
        (
            history((0.1, 0.9, 0.1, 0.9), (0.1, 0.9, float("nan"), 0.9)),
            (
                "Expected finite numbers; got valid_loss nan in epoch 2. Training diverged there, so lower the "
                "learning rate and fit again."
            ),
        ),
    ],
)
def test_refuses_what_is_no_history(epochs, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared
        diagnose(epochs)
    assert str(error.value) == sentence


def fit(digits, seed, *, n_train, noise=0.0, n_valid=300, **parameters):
    """The verdict on a fit to some digits, of which a share has random labels."""
    X, y = digits
    rng = np.random.default_rng(seed)
    train, valid = np.split(rng.permutation(len(X))[: n_train + n_valid], [n_train])
    labels = np.where(rng.random(n_train) < noise, rng.integers(0, 10, n_train), y[train])
    clf = CNNClassifier(random_state=seed, **parameters)
    return diagnose(clf.fit(X[train], labels, X_val=X[valid], y_val=y[valid]).history_)


@pytest.mark.parametrize("seed", range(3))
class TestRealFits:
    @pytest.mark.parametrize("noise", [0.4, 1.0])
    def test_digits_with_wrong_labels_are_learnt_by_heart(self, digits, seed, noise):
        verdict = fit(digits, seed, n_train=200, noise=noise, architecture="compact", max_epochs=20, augment=None)
        assert verdict.kind == "overfitting"
        assert verdict.turned_at == verdict.best_epoch < 20
        assert verdict.gap > 0.2
        assert verdict.rise > 0.2

    def test_fifty_digits_are_too_few(self, digits, seed):
        verdict = fit(digits, seed, n_train=50, max_epochs=20, augment=None)
        assert (verdict.kind, verdict.epoch) == ("overfitting", 20)

    def test_the_defaults_are_healthy(self, digits, seed):
        assert fit(digits, seed, n_train=1200).kind == "healthy"

    def test_sixty_validation_images_do_not_upset_the_verdict(self, digits, seed):
        assert fit(digits, seed, n_train=1200, n_valid=60, architecture="compact").kind == "healthy"

    def test_one_epoch_is_healthy(self, digits, seed):
        assert fit(digits, seed, n_train=1200, max_epochs=1).kind == "healthy"

    def test_a_learning_rate_that_is_too_low_is_underfitting(self, digits, seed):
        verdict = fit(digits, seed, n_train=600, max_epochs=3, lr=1e-5)
        assert (verdict.kind, verdict.turned_at) == ("underfitting", None)


def test_a_sample_of_the_training_images_is_said_to_be_one():
    epochs = history((0.05, 0.99, 0.06, 0.98))
    assert "right on 99.00 % of the training images and" in diagnose(epochs).reason
    sampled = [{**epoch, "train_images": 6_000} for epoch in epochs]
    assert "right on 99.00 % of 6,000 of the training images and" in diagnose(sampled).reason


def test_few_training_images_are_all_measured_and_of_many_a_sample(monkeypatch):
    X, y = load_digits()
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:144], y[:144], X_val=X[144:160], y_val=y[144:160])
    (epoch,) = clf.history_
    assert epoch["train_accuracy"] == clf.score(
        X[:144], y[:144]
    )  # of all 144, not of as many as there are to validate on
    assert "train_images" not in epoch
    monkeypatch.setattr("cnnclf.training._net.FEWEST_MEASURED", 100)
    (epoch,) = clf.fit(X[:144], y[:144], X_val=X[144:160], y_val=y[144:160]).history_
    assert epoch["train_images"] == 100
    assert "of 100 of the training images" in diagnose(clf.history_).reason
