"""What ``fit`` chooses where architecture, max_epochs and augment are "auto"."""

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import possible
from sklearn.model_selection import HalvingGridSearchCV

from cnnclf import CNNClassifier, load_digits
from cnnclf.classifier import _auto
from cnnclf.classifier._auto import CHANGES, AugmentProbe, compare_recognition
from cnnclf.classifier._settings import explain
from cnnclf.training._net import Net
from helpers import quick, same_bits

FIRST, PROBED = sorted(_auto.PAYS_FROM.values())  # epochs from which on mirrors are tried, and shifts, too


def blobs(n, seed=0):
    """Images of three classes, a bright block of 2, 4 or 6 pixels a side anywhere: mirrors and shifts are alike."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 40, (n, 12, 12)).astype(np.uint8), np.arange(n) % 3
    for image, side in zip(X, 2 + 2 * y, strict=True):
        row, column = rng.integers(0, 12 - side, 2)
        image[row : row + side, column : column + side] = 200
    return X, y


def wedges(n, seed=0):
    """Images of two classes, a wedge anywhere that points to the left or to the right: a mirror swaps the classes."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 40, (n, 12, 12)).astype(np.uint8), np.arange(n) % 2
    for image, points_right in zip(X, y, strict=True):
        row, column = rng.integers(0, 6), rng.integers(0, 7)
        lengths = np.array([1, 3, 5, 5, 3, 1])
        wedge = np.arange(5) < lengths[:, None]
        image[row : row + 6, column : column + 5][wedge if points_right else wedge[:, ::-1]] = 220
    return X, y


def bars(n, seed=0):
    """Images of six classes, a bar in the second, fourth, … row: a shift swaps the classes, a mirror does not."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 40, (n, 12, 12)).astype(np.uint8), np.arange(n) % 6
    for image, k in zip(X, y, strict=True):
        image[2 * k + 1] = 220
        image[: 2 * k + 1] //= 2  # darker above, so that a network without positions knows the row
    return X, y


def auto(**parameters):
    """A small network with the epochs and the augmentation that fit chooses."""
    return CNNClassifier(**({"architecture": "tiny", "random_state": 0} | parameters))


@pytest.fixture(scope="module")
def fitted_blobs():
    return auto().fit(*blobs(240))


# The architecture


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (3, 32, 32), (1, 1, 40)], ids=str)
def test_the_architecture_depends_on_the_shape_of_the_images_alone(shape):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (12, *shape)).astype(np.uint8)
    few = CNNClassifier(max_epochs=1, random_state=0).fit(X[:4], [0, 1, 0, 1])
    many = CNNClassifier(random_state=1).partial_fit(X, np.arange(12) % 3, classes=range(3))
    assert few.architecture_ == many.architecture_ == "general"
    assert few.architecture == "auto"


def test_the_network_does_not_grow_with_the_image():
    def n_parameters(side):
        X = np.zeros((2, side, side), np.uint8)
        return CNNClassifier(max_epochs=1, random_state=0).fit(X, [0, 1]).n_parameters_

    assert n_parameters(128) == n_parameters(160) < 500_000


# The epochs


def test_the_number_of_epochs_is_that_of_the_visits_after_weights_have_become_repetitions():
    X, y = blobs(30)
    # 3,000 / 30 rows = 100 epochs; with every row twice 3,000 / 60 = 50
    assert auto().fit(X, y).max_epochs_ == 100
    assert auto().fit(X, y, sample_weight=np.full(30, 2)).max_epochs_ == 50
    # a third is held out: 3,000 / 20 = 150
    stopped = auto(early_stopping=True, validation_fraction=1 / 3, patience=150).fit(X, y)
    assert stopped.max_epochs_ == 150


def test_the_schedule_and_the_history_have_the_chosen_number_of_epochs(fitted_blobs):
    assert fitted_blobs.max_epochs == "auto"
    assert len(fitted_blobs.history_) == fitted_blobs.max_epochs_ == 30
    assert fitted_blobs.history_[-1]["lr"] < fitted_blobs.lr / 100


def test_halving_over_the_number_of_epochs_works_from_the_default():
    X, y = blobs(60)
    search = HalvingGridSearchCV(
        quick("tiny", max_epochs="auto"),
        {"lr": [0.001, 0.01]},
        resource="max_epochs",
        min_resources=1,
        max_resources=2,
        factor=2,
        cv=2,
    ).fit(X, y)
    assert search.best_estimator_.max_epochs_ == search.best_estimator_.max_epochs == 2


# The augmentation


@pytest.mark.parametrize(
    ("images", "chosen"),
    [(blobs, ["flip", "shift"]), (wedges, "shift"), (bars, "flip")],
    ids=["blobs", "wedges", "bars"],
)
def test_changes_are_used_if_held_out_images_are_recognised_after_them(images, chosen):
    X, y = images(600)
    clf = auto(max_epochs=PROBED).fit(X, y)
    assert clf.augment_ == chosen
    assert clf.augment_probe_.n_images == 120  # a fifth
    assert clf.augment_probe_.recognised > 0.9
    (reason,) = (setting.reason for setting in explain(clf) if setting.name == "augment")
    assert reason.endswith(f" does not memorise the images. {clf.augment_probe_.to_text()}")
    explicit = auto(max_epochs=PROBED, augment=chosen).fit(X, y)
    assert same_bits(clf, explicit, X)


def test_mirrors_of_many_images_pay_in_fewer_epochs_than_shifts(monkeypatch):
    X, y = blobs(600)
    assert auto(max_epochs=PROBED - 1).fit(X, y).augment_ is None  # too few images for so few epochs
    monkeypatch.setattr(_auto, "MANY_ROWS", 600)
    assert auto(max_epochs=FIRST - 1).fit(X, y).augment_ is None
    assert auto(max_epochs=FIRST).fit(X, y).augment_ == "flip"
    assert auto(max_epochs=PROBED - 1).fit(X, y).augment_ == "flip"
    assert auto(max_epochs=FIRST).fit(*wedges(600)).augment_ is None  # a mirror swaps its classes


def probe_of(held_out, recognised, all_images, still, n_classes):
    """Compare recognition: how many images of each class are held out, recognised of them, there, and still recognised.

    Both changes leave the same ones.
    """
    true = np.concatenate(
        [np.repeat(range(n_classes), held_out), np.repeat(range(n_classes), np.subtract(all_images, held_out))]
    )
    plain, kept = np.zeros(sum(held_out), bool), np.zeros(len(true), bool)
    for k in range(n_classes):
        plain[np.flatnonzero(true[: len(plain)] == k)[: recognised[k]]] = True
        kept[np.flatnonzero(true == k)[: still[k]]] = True
    return compare_recognition(true, plain, {"flip": kept, "shift": kept}, n_classes)


def test_a_change_that_clearly_hides_images_is_not_tolerated():
    # All of 50 held-out images are recognised; the lower end of their interval, with 1.6449² = 2.7055, is
    # 50 / (50 + 2.7055) = 0.949. So 0.85 · 0.949 · 100 = 80.6 ± 4.0 of 100 changed ones are expected at least.
    # 70 are 2.7 standard deviations fewer; 78 are 0.7 fewer, which is no clear sign.
    probe = probe_of([25, 25], [25, 25], [50, 50], [35, 35], 2)
    # Of a class (25 + 5 · 1) / (25 + 5) · 0.949 are expected, of which 0.7 are 0.738.
    worst = pytest.approx(dict.fromkeys(CHANGES, 0.7 / (50 / 52.7055)), abs=1e-4)
    assert probe == AugmentProbe(50, 1.0, 100, {"flip": 0.7, "shift": 0.7}, worst, 0, ())
    assert probe_of([25, 25], [25, 25], [50, 50], [39, 39], 2).tolerated == ("flip", "shift")


def test_one_class_that_a_change_hides_is_enough_to_leave_it_out():
    # 40 classes of five images, of which one is held out and recognised: at least 40 / (40 + 2.7055) = 0.937 of a class
    # are expected, and half of that, 0.468. That none of five is recognised then has probability 0.532⁵ = 0.042, and
    # that at most one is, 0.042 + 5 · 0.468 · 0.532⁴ = 0.230.
    others = ([1] * 40, [1] * 40, [5] * 40)
    hidden = probe_of(*others, [5] * 39 + [0], 40)
    assert (hidden.tolerated, hidden.kept["flip"], hidden.kept_of_worst_class["flip"]) == ((), 195 / 200, 0)
    assert probe_of(*others, [5] * 39 + [1], 40).tolerated == ("flip", "shift")


def test_of_a_class_without_held_out_images_the_share_of_all_is_expected():
    # 39 / (39 + 2.7055) = 0.935, half of which is 0.468; none of six has probability 0.532⁶ = 0.023.
    others = ([1] * 39 + [0], [1] * 39 + [0], [6] * 40)
    assert probe_of(*others, [6] * 40, 40).tolerated == ("flip", "shift")
    assert probe_of(*others, [6] * 39 + [0], 40).tolerated == ()


def test_a_changed_image_counts_once_however_well_training_knows_it():
    # Half of the held-out images are recognised, and all changed ones: most of these were trained on.
    probe = probe_of([20, 20], [15, 15], [100, 100], [100, 100], 2)
    assert probe.kept == probe.kept_of_worst_class == {"flip": 1.0, "shift": 1.0}


@pytest.mark.parametrize(
    ("recognised", "all_images", "n_unknown", "tolerated"),
    [
        # Guessing is right in 0.5 of 20, two standard errors more are 0.5 + 2 · √(0.25 / 20) = 0.724: 15 of 20 are more
        ([8, 7], [50, 50], 0, ("flip", "shift")),
        ([7, 7], [50, 50], 0, ("shift",)),
        # 0.75 · 38 = 28.5 images are expected to be recognised, and 0.75 · 40 = 30
        ([8, 7], [19, 19], 0, ("shift",)),
        ([8, 7], [20, 20], 0, ("flip", "shift")),
    ],
)
def test_mirrors_need_evidence_and_shifts_do_not(recognised, all_images, n_unknown, tolerated):
    assert probe_of([10, 10], recognised, all_images, all_images, 2).tolerated == tolerated


def test_mirrors_need_five_images_of_each_class():
    probe = probe_of([10, 10, 1], [10, 10, 1], [50, 50, 4], [50, 50, 4], 3)
    assert (probe.n_unknown, probe.tolerated) == (1, ("shift",))
    assert probe.to_text().endswith(" Classes with fewer than 5 images: 1, so none is mirrored.")
    assert probe_of([10, 10, 1], [10, 10, 1], [50, 50, 5], [50, 50, 5], 3).tolerated == ("flip", "shift")


@pytest.mark.parametrize("seed", range(3))
def test_mirrored_pairs_among_many_classes_are_found(seed):
    # 54 classes of ten noisy images: 50 symmetric ones, and two pairs of which one is the mirror image of the other.
    rng = np.random.default_rng(seed)
    halves, wholes = rng.integers(0, 2, (50, 12, 6)), rng.integers(0, 2, (2, 12, 12))
    patterns = [*np.concatenate([halves, halves[:, :, ::-1]], axis=2), *wholes, *wholes[:, :, ::-1]]
    y = np.arange(540) % 54
    X = (150 * np.array(patterns)[y] + rng.integers(0, 100, (540, 12, 12))).astype(np.uint8)
    probe = auto(max_epochs=PROBED).fit(X, y).augment_probe_
    assert "flip" not in probe.tolerated
    assert probe.kept["flip"] > 0.9  # 50 of 54 classes
    assert auto(max_epochs=PROBED).fit(X[y < 50], y[y < 50]).augment_probe_.kept["flip"] > 0.98


@pytest.mark.parametrize(
    ("images", "parameters"),
    [
        (blobs(600), {"max_epochs": PROBED - 1}),
        (blobs(600), {"max_epochs": PROBED, "augment": None}),
        (blobs(600), {"max_epochs": PROBED, "augment": "shift"}),
        ((np.zeros((600, 7, 7), np.uint8), np.arange(600) % 2), {"max_epochs": PROBED}),
    ],
    ids=["few epochs", "none", "given", "too small"],
)
def test_nothing_is_probed_where_there_is_nothing_to_decide(images, parameters, monkeypatch):
    monkeypatch.setattr(_auto, "measure", lambda *_, **__: pytest.fail("a network was trained"))
    clf = auto(**parameters).fit(*images)
    assert clf.augment_probe_ is None
    assert clf.augment_ == parameters.get("augment")


@pytest.mark.parametrize(
    "images",
    [blobs(100), (np.zeros((200, 8, 8), np.uint8), np.zeros(200))],
    ids=["too few", "all equal"],
)
def test_images_are_shifted_where_there_are_too_few_to_hold_some_out(images, monkeypatch):
    monkeypatch.setattr(_auto, "measure", lambda *_, **__: pytest.fail("a network was trained"))
    clf = auto(max_epochs=PROBED).fit(*images)
    assert (clf.augment_, clf.augment_probe_) == ("shift", None)


def test_the_probe_depends_neither_on_the_order_of_rows_nor_on_other_parameters():
    X, y = blobs(300)
    order = np.random.default_rng(1).permutation(300)
    one = auto(max_epochs=PROBED).fit(X, y)
    other = auto(max_epochs=PROBED).fit(X[order], y[order])
    assert one.augment_probe_ == other.augment_probe_
    assert same_bits(one, other, X)
    assert auto(max_epochs=PROBED + 1, lr=0.003, architecture="lenet5").fit(X, y).augment_probe_ == one.augment_probe_


def test_whole_number_weights_are_repetitions_with_everything_on_auto():
    X, y = blobs(200)
    weight = 1 + np.arange(200) % 2
    weighted = auto().fit(X, y, sample_weight=weight)
    repeated = auto().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert weighted.augment_probe_ == repeated.augment_probe_ is not None
    assert weighted.max_epochs_ == repeated.max_epochs_
    assert same_bits(weighted, repeated, X)


def test_equal_rows_are_on_one_side_of_the_probe(monkeypatch):
    X, y = blobs(300)
    sides = []
    split_rows = _auto.split_rows
    monkeypatch.setattr(_auto, "split_rows", lambda *given: sides.append(split_rows(*given)) or sides[0])
    auto(max_epochs=PROBED).fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    learnt, held_out = ({row // 2 for row in side} for side in sides[0])
    assert not learnt & held_out
    assert len(held_out) == 60


# Going on, and files


def test_a_warm_start_keeps_the_network_and_the_changes_and_chooses_the_epochs_anew(monkeypatch):
    X, y = blobs(300)
    clf = CNNClassifier(warm_start=True, random_state=0).fit(X, y)
    probe = clf.augment_probe_
    monkeypatch.setattr(_auto, "measure", lambda *_, **__: pytest.fail("probed again"))
    clf.fit(X[:60], y[:60])
    assert (clf.architecture_, clf.augment_, clf.augment_probe_) == ("general", ["flip", "shift"], probe)
    assert clf.max_epochs_ == 50  # 3,000 / 60
    assert len(clf.history_) == 80


def test_partial_fit_is_one_epoch_without_changes():
    X, y = blobs(300)
    clf = auto().partial_fit(X, y, classes=range(3))
    assert (clf.max_epochs_, clf.augment_, clf.augment_probe_) == (1, None, None)
    assert same_bits(clf, auto(augment=None).partial_fit(X, y, classes=range(3)), X)
    after_fit = auto(max_epochs=PROBED).fit(X, y).partial_fit(X, y)
    assert (after_fit.max_epochs_, after_fit.augment_, after_fit.net_.augment) == (1, None, None)


def test_a_warm_start_that_fails_leaves_the_number_of_epochs(fitted_blobs):
    X, y = blobs(240)
    clf = auto(max_epochs=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="Training diverged"):
        clf.set_params(max_epochs=3, lr=1e30).fit(X, y)
    assert clf.max_epochs_ == 2


def test_a_checkpoint_keeps_what_the_probe_found(tmp_path, monkeypatch):
    X, y = blobs(300)
    whole = auto(max_epochs=PROBED).fit(X, y)
    first = auto(max_epochs=PROBED, checkpoint=tmp_path).fit(X, y)
    monkeypatch.setattr(_auto, "measure", lambda *_, **__: pytest.fail("probed again"))
    again = auto(max_epochs=PROBED, checkpoint=tmp_path).fit(X, y)
    assert again.augment_probe_ == first.augment_probe_ == whole.augment_probe_
    assert again.augment_ == ["flip", "shift"]
    assert same_bits(again, whole, X)


def test_ctrl_c_in_the_probe_ends_the_fit_and_leaves_no_half_of_it(tmp_path, monkeypatch):
    X, y = blobs(300)
    step, steps = Net.train_step, []

    def interrupted(net, *args, **kwargs):
        steps.append(net)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(net, *args, **kwargs)

    monkeypatch.setattr(Net, "train_step", interrupted)
    clf = auto(max_epochs=PROBED, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert not hasattr(clf, "net_")
    again = clf.fit(X, y)
    assert again.augment_probe_ == auto(max_epochs=PROBED).fit(X, y).augment_probe_


def test_a_saved_model_says_what_was_chosen(tmp_path, fitted_blobs):
    fitted_blobs.save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    for name in ("architecture_", "max_epochs_", "augment_", "augment_probe_"):
        assert getattr(loaded, name) == getattr(fitted_blobs, name), name
    assert same_bits(loaded, fitted_blobs, blobs(240)[0])


@pytest.mark.parametrize(
    "change",
    [
        {"n_images": 0},
        {"n_images": 1.5},
        {"recognised": float("nan")},
        {"recognised": "all"},
        {"n_changed": 0},
        {"kept": {"flip": -1.0, "shift": 1.0}},
        {"kept": {"flip": 1.0}},
        {"tolerated": ("twist",)},
        {"tolerated": "flip"},
        {"kept": {"twist": 1.0}, "kept_of_worst_class": {"twist": 1.0}},
        {"n_unknown": -1},
        {"more": 1},
    ],
    ids=str,
)
def test_figures_that_no_probe_gives_are_refused(change):
    shares = {"flip": 0.9, "shift": 1.0}, {"flip": 0.2, "shift": 1.0}
    fields = asdict(AugmentProbe(100, 0.9, 500, *shares, 0, ("shift",)))
    assert asdict(AugmentProbe.from_json(fields)) == fields
    with pytest.raises(ValueError, match=r"\AExpected the figures of a probe; got .*\. Save the model again\.\Z"):
        AugmentProbe.from_json(fields | change)


def test_the_network_of_digits_learns_them():
    X, y = load_digits()
    clf = CNNClassifier(random_state=0).fit(X[::3], y[::3])
    assert clf.augment_ is None  # a mirrored 2 is none, and a pixel is an eighth of the image
    assert clf.score(X[1::3], y[1::3]) > 0.96
