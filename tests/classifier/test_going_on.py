"""Going on with a fit: warm_start and partial_fit."""

import numpy as np
import pytest
import torch
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    TrainEndCheckpoint,
)

from cnnclf import CNNClassifier
from cnnclf.training._net import Epochs
from helpers import STRANGERS, Seen, cross_entropy, exactly, quick, same_bits

# Going on


def test_warm_start_goes_on(some):
    X, y = some
    clf = quick(max_epochs=2, warm_start=True).fit(X, y)
    module, first = clf.module_, clf.history_
    clf.fit(X, y)
    assert clf.module_ is module
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3, 4]
    assert clf.history_[:2] == first
    assert clf.history_[2]["train_loss"] < first[1]["train_loss"]
    assert clf.score(X, y) > 0.5


def test_without_warm_start_fit_starts_anew(some):
    X, y = some
    clf = quick().fit(X, y)
    once = clf.predict_proba(X)
    assert clf.fit(X, y).predict_proba(X).tobytes() == once.tobytes()
    assert len(clf.history_) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.0001},
        {"batch_size": 40},
        {"optimizer": "sgd"},
        {"lr_schedule": "constant"},
        {"weight_decay": 50.0},
        {"label_smoothing": 0.5},
        {"augment": "shift"},
        {"weight_averaging": True},
        {"class_weight": {3: 50.0}},
        {"early_stopping": True},
        {"callbacks": [GradientNormClipping(1e-6)]},
        {"max_epochs": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_warm_start_goes_on_with_the_parameters_that_are_set_now(change, some):
    X, y = some
    as_before = quick(max_epochs=2, warm_start=True).fit(X, y).fit(X, y)
    changed = quick(max_epochs=2, warm_start=True).fit(X, y).set_params(**change).fit(X, y)
    assert [row["train_loss"] for row in changed.history_[:2]] == [row["train_loss"] for row in as_before.history_[:2]]
    assert not same_bits(changed, as_before, X)


def test_warm_start_wants_the_same_images_and_classes(some):
    X, y = some
    clf = quick(warm_start=True).fit(X, y)
    sentence = (
        "X has shape (120, 7, 8), but CNNClassifier is expecting (n, 8, 8) as input. "
        "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.fit(X[:, 1:], y)
    sentence = STRANGERS.format("y", "0, 1, 2, 3, 4 and 5 more", "17")
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.fit(X, np.where(y == 3, 17, y))


def test_partial_fit_learns_batch_by_batch(few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick(lr=0.01)
    for epoch in range(3):
        for start in range(0, 400, 100):
            part = slice(start, start + 100)
            clf.partial_fit(X[part], y[part], classes=range(10) if epoch == start == 0 else None)
    assert clf.score(X_test, y_test) > 0.85
    assert len(clf.history_) == 12
    assert {row["lr"] for row in clf.history_} == {0.01}


def test_partial_fit_knows_classes_before_it_sees_them(some):
    X, y = some
    clf = quick().partial_fit(X[y < 2], y[y < 2], classes=[9, 3, 1, 0])
    assert clf.classes_.tolist() == [0, 1, 3, 9]
    assert clf.predict_proba(X).shape == (len(y), 4)
    clf.partial_fit(X[y == 9], y[y == 9])
    clf.partial_fit(X[y == 3], y[y == 3], classes=[0, 1, 3, 9])
    assert len(clf.history_) == 3


def test_partial_fit_goes_on_after_fit(some):
    X, y = some
    clf = quick(max_epochs=2).fit(X, y)
    loss = clf.history_[-1]["train_loss"]
    clf.partial_fit(X, y)
    assert len(clf.history_) == 3
    assert clf.history_[-1]["train_loss"] < loss
    assert clf.history_[-1]["lr"] == clf.lr  # not what the schedule of fit has fallen to


def test_every_call_of_partial_fit_visits_the_rows_in_another_order(some):
    X, y = some
    seen, orders = Seen(), []
    clf = quick(callbacks=[seen])
    for _ in range(3):
        clf.partial_fit(X, y, classes=range(10))
        orders.append(tuple(seen.labels[True]))
    assert len(set(orders)) == 3


def test_partial_fit_takes_weights_as_fit_does(some):
    X, y = some
    weight = np.tile([1.0, 2.0, 0.0], 40)
    weighted = quick().partial_fit(X, y, classes=range(10), sample_weight=weight)
    repeated = quick().partial_fit(
        np.repeat(X, weight.astype(int), axis=0), np.repeat(y, weight.astype(int)), range(10)
    )
    assert same_bits(weighted, repeated, X)


def test_partial_fit_takes_more_than_twenty_classes_without_a_word(some):
    # In labels, each of its own, scikit-learn suspects a regression; the list of classes has each once.
    X, y = some
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    assert len(quick().partial_fit(X, letters[y], classes=letters).classes_) == 26


def test_partial_fit_goes_on_for_ever(some, monkeypatch, tmp_path):
    # With three epochs kept instead of ten thousand.
    monkeypatch.setattr("cnnclf.classifier._persistence.KEPT_EPOCHS", 3)
    monkeypatch.setattr("cnnclf.training._net.KEPT_EPOCHS", 3)
    X, y = some
    clf, sizes = quick("tiny"), []
    for call in range(1, 8):
        clf.partial_fit(X, y, classes=range(10))
        clf.save(tmp_path / "model.cnn")
        sizes.append((tmp_path / "model.cnn").stat().st_size)
        assert [row["epoch"] for row in clf.history_] == list(range(max(1, call - 2), call + 1))
        assert sum(bool(epoch["batches"]) for epoch in clf.net_.history) == 1  # those of the last training
    assert sizes[-1] < sizes[2] + 200  # bytes: the same number of epochs, of a few digits more or less
    assert [row["epoch"] for row in CNNClassifier.load(tmp_path / "model.cnn").history_] == [5, 6, 7]


def test_the_epochs_that_a_file_left_out_count_after_it_is_loaded(some, monkeypatch, tmp_path):
    monkeypatch.setattr("cnnclf.classifier._persistence.KEPT_EPOCHS", 2)
    clf = quick("tiny", max_epochs=4).fit(*some)
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3, 4]
    clf.save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    assert [row["epoch"] for row in loaded.history_] == [3, 4]
    assert [row["epoch"] for row in loaded.partial_fit(*some).history_] == [3, 4, 5]


@pytest.mark.parametrize("n", [100, 10_000])
def test_to_look_at_the_newest_epoch_does_not_copy_all_of_them(n):
    history = Epochs({"epoch": i, "batches": []} for i in range(n))
    reads = []
    history.to_list = lambda: reads.append(n) or list(history)  # what skorch copies to look at any epoch
    assert history[-1]["epoch"] == n - 1
    assert reads == []
    assert history[-1, "epoch"] == n - 1  # skorch's own notation still holds
    assert history[:, "epoch"] == list(range(n))


def test_the_header_of_the_most_epochs_that_are_saved_is_taken(some, tmp_path):
    clf = quick("tiny").fit(*some, X_val=some[0], y_val=some[1])
    row = {"batches": [], **clf.net_.history[-1], "train_loss": 1 / 3, "valid_loss": 2e-9 / 3, "train_accuracy": 1 / 7}
    clf.net_.history[:] = [{**row, "epoch": 10**6 + i} for i in range(20_000)]
    clf.save(tmp_path / "model.cnn")
    assert len(CNNClassifier.load(tmp_path / "model.cnn").history_) == 10_000


def test_partial_fit_refuses_what_it_cannot_know(some):
    X, y = some
    sentence = "Expected classes in the first call of partial_fit; got none. Pass all labels of all calls."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().partial_fit(X, y)
    clf = quick().partial_fit(X, y, classes=range(10))
    sentence = (
        "Expected the classes that the first call of partial_fit was given, 0, 1, 2, 3, 4 and 5 more; "
        "got 1 and 2. Leave classes out."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.partial_fit(X, y, classes=[1, 2])
    for labels, unknown in [
        (np.where(y == 9, 10, y), "10"),
        (np.full(len(y), "a"), "'a'"),
        (np.full(len(y), "a", dtype=object), "'a'"),
    ]:
        sentence = STRANGERS.format("y", "0, 1, 2, 3, 4 and 5 more", unknown)
        with pytest.raises(ValueError, match=exactly(sentence)):
            clf.partial_fit(X, labels)
    with pytest.raises(
        ValueError, match=exactly("Expected classes to hold at least one label; got []. Pass all labels of all calls.")
    ):
        quick().partial_fit(X, y, classes=[])
    sentence = (
        "Expected class_weight to be None or a dict, as partial_fit never has all labels at once; got 'balanced'. "
        "Pass a dict from class to weight."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(class_weight="balanced").partial_fit(X, y, classes=range(10))


# skorch callbacks


@pytest.mark.parametrize("use_caching", [True, False])
def test_callback_epoch_scoring(use_caching, few_digits):
    X, y, X_val, y_val = few_digits
    scoring = EpochScoring("accuracy", lower_is_better=False, use_caching=use_caching)
    clf = quick(max_epochs=2, callbacks=[scoring]).fit(X, y, X_val=X_val, y_val=y_val)
    scores = [row["accuracy"] for row in clf.net_.history]
    assert scores == [row["valid_accuracy"] for row in clf.history_]
    assert scores[-1] == clf.score(X_val, y_val)


def test_callback_epoch_scoring_of_training_data_with_a_name(some):
    X, y = some
    scoring = EpochScoring("f1_macro", on_train=True, lower_is_better=False, name="f1")
    clf = quick(max_epochs=3, callbacks=[("scoring", scoring)]).fit(X, y, sample_weight=np.linspace(0.5, 1.5, len(y)))
    scores = [row["f1"] for row in clf.net_.history]
    assert 0 <= scores[0] < scores[2] <= 1


def test_callback_batch_scoring(few_digits):
    X, y, X_val, y_val = few_digits
    scoring = BatchScoring("accuracy", lower_is_better=False, name="mean_accuracy")
    clf = quick(max_epochs=2, callbacks=[scoring]).fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.net_.history[-1, "mean_accuracy"] == pytest.approx(clf.score(X_val, y_val))


def test_callback_lr_scheduler_rules_a_constant_schedule(some):
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5, step_every="epoch")
    clf = quick(max_epochs=3, lr=0.008, lr_schedule="constant", callbacks=[scheduler]).fit(*some)
    assert [row["lr"] for row in clf.history_] == [0.008, 0.004, 0.002]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize(
    "callback",
    [LRScheduler("StepLR", step_size=1), ("rate", LRScheduler()), LRScheduler],
    ids=["alone", "named", "class"],
)
def test_a_scheduler_that_the_schedule_would_override_is_refused(callback, schedule, some):
    sentence = (
        "Expected lr_schedule='constant' beside the callback LRScheduler, which changes the learning rate; got "
        f"lr_schedule={schedule!r}, which overrides it. Pass lr_schedule='constant', or drop the callback."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(lr_schedule=schedule, callbacks=[callback]).fit(*some)


@pytest.mark.parametrize(
    "callback",
    [
        EpochScoring("accuracy"),
        BatchScoring("accuracy"),
        EarlyStopping("valid_acc"),
        Checkpoint(),
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_a_callback_that_looks_at_validation_data_is_refused_without(callback, some, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where skorch's Checkpoint writes
    X, y = some
    sentence = (
        f"Expected validation data for the callback {type(callback).__name__}, which measures it; got "
        "none. Pass X_val and y_val or early_stopping=True, or let the callback measure training data."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(lr_schedule="constant", callbacks=[callback]).fit(X, y)
    quick(lr_schedule="constant", callbacks=[callback]).fit(X, y, X_val=X, y_val=y)
    quick(lr_schedule="constant", callbacks=[callback], early_stopping=True).fit(X, y)


def test_callback_early_stopping_on_any_figure(some):
    # No epoch improves by ten thousand: training stops after the first epoch that fails to.
    stopping = EarlyStopping("train_loss", patience=1, threshold=10_000, threshold_mode="abs", sink=lambda _: None)
    clf = quick(max_epochs=9, callbacks=[stopping]).fit(*some)
    assert len(clf.history_) == 2


@pytest.mark.parametrize("monitor", ["valid_loss_best", "valid_acc_best"])  # skorch's own names
def test_callback_checkpoint(monitor, few_digits, tmp_path):
    X, y, X_val, y_val = few_digits
    checkpoint = Checkpoint(monitor, dirname=tmp_path, load_best=True)
    clf = quick(max_epochs=3, callbacks=[checkpoint]).fit(X, y, X_val=X_val, y_val=y_val)
    assert {"params.pt", "optimizer.pt", "history.json"} <= {path.name for path in tmp_path.iterdir()}
    if monitor == "valid_loss_best":
        best = min(row["valid_loss"] for row in clf.history_)
        assert cross_entropy(clf, X_val, y_val) == pytest.approx(best, rel=1e-5)
    else:
        assert clf.score(X_val, y_val) == max(row["valid_accuracy"] for row in clf.history_)


def test_callback_train_end_checkpoint(some, tmp_path):
    X, y = some
    clf = quick(callbacks=[TrainEndCheckpoint(dirname=tmp_path)]).fit(X, y)
    saved = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    assert saved.keys() == clf.module_.state_dict().keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in clf.module_.state_dict().items())


def test_callback_gradient_norm_clipping(some):
    # Plain SGD moves by at most 1.9 · lr · norm in the first step, so a clipped norm of 10⁻⁶ hardly moves it at all.
    X, y = some
    parameters = {"optimizer": "sgd", "weight_decay": 0.0, "batch_size": 120, "lr": 0.1, "lr_schedule": "constant"}
    initial = Weights()
    clf = quick(callbacks=[initial, GradientNormClipping(1e-6)], **parameters).fit(X, y)
    final = [parameter.detach() for parameter in clf.module_.parameters()]
    moved = max(float((a - b).abs().max()) for a, b in zip(initial.weights, final, strict=True))
    assert 0 < moved <= 1.01 * 0.19e-6 + 1e-7  # and float32's own step


class Weights(Callback):
    """Keep a copy of the weights that training began with."""

    def on_train_begin(self, net, **kwargs):
        self.weights = [parameter.detach().clone() for parameter in net.module_.parameters()]


def test_a_callback_of_ones_own_sees_all_that_happens(some):
    X, y = some
    calls = []

    class Spy(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and name != "on_grad_computed":
                calls.append(name)
            return super().__getattribute__(name)

    clf = quick(max_epochs=2, batch_size=60, callbacks=[Spy()]).fit(X, y)
    batch, epoch = ["on_batch_begin", "on_batch_end"], ["on_epoch_begin", "on_epoch_end"]
    assert calls == ["on_train_begin", *[epoch[0], *batch * 2, epoch[1]] * 2, "on_train_end"]
    assert same_bits(clf, quick(max_epochs=2, batch_size=60).fit(X, y), X)
