"""Changed test images: what each change does to a pixel, measured by classifiers that look at one pixel only."""

import numpy as np
import pytest

from cnnclf.evaluation._robustness import Probe, probe

NAMES = (
    "as they are",
    "shifted right by a tenth (1 px)",
    "turned by 15°",
    "turned by 45°",
    "at half the contrast",
    "with noise, sd a quarter of the range",
    "black and white exchanged",
)


class OnePixel:
    """Says "white" with the brightness of one pixel as its probability, and remembers what it was shown."""

    classes_ = np.array(["black", "white"])

    def __init__(self, row, column, low=0.0, high=1.0):
        self.row, self.column, self.low, self.high = row, column, low, high
        self.shown = []

    def predict_proba(self, X):
        self.shown.append(X)
        white = (X[:, self.row, self.column].astype(np.float64) - self.low) / (self.high - self.low)
        return np.stack([1 - white, white], axis=1)


def corner(brightness, dtype=np.float64, shape=(5, 10)):
    """Images that are black but for the pixel in the upper left corner."""
    X = np.zeros((len(brightness), *shape), dtype)
    X[:, 0, 0] = brightness
    return X


def probes(clf, X, y, pixel_range=(0, 1)):
    return {found.change: found for found in probe(clf, X, y, pixel_range).probes}


def test_every_change_is_tried_and_no_change_first():
    assert tuple(probes(OnePixel(0, 0), corner([1.0]), ["white"])) == NAMES


def test_what_becomes_of_a_classifier_that_looks_at_the_corner():
    y = np.array(["white", "white", "black", "black"])
    found = probes(OnePixel(0, 0), corner([1.0, 0.75, 0.25, 0.0]), y)
    # Sure by 1, .75, .75 and 1.
    assert found["as they are"] == Probe("as they are", 1.0, 0.875)
    # The corner is empty then: all are called black, and it is sure of it.
    assert found[NAMES[1]] == Probe(NAMES[1], 0.5, 1.0)
    # .5, .375, .125 and 0 are white to that degree: the first is a tie, which goes to the first class, black.
    assert found["at half the contrast"] == Probe("at half the contrast", 0.5, (0.5 + 0.625 + 0.875 + 1) / 4)
    # 0, .25, .75 and 1: each is the other.
    assert found["black and white exchanged"] == Probe("black and white exchanged", 0.0, 0.875)


def test_a_shift_moves_to_the_right_by_a_tenth_of_the_width():
    X = corner([1.0], shape=(5, 30))
    found = probes(OnePixel(0, 3), X, np.array(["white"]))
    assert found["as they are"].accuracy == 0
    assert found["shifted right by a tenth (3 px)"] == Probe("shifted right by a tenth (3 px)", 1.0, 1.0)


def test_turning_keeps_the_middle_and_empties_the_corner():
    middle, edge = OnePixel(3, 3), OnePixel(0, 0)
    for clf, accuracy in ((middle, 1.0), (edge, 0.0)):
        found = probes(clf, np.ones((1, 7, 7)), np.array(["white"]))
        assert found["turned by 45°"].accuracy == accuracy
        assert found["turned by 45°"].confidence == pytest.approx(1.0)


def test_a_turn_is_by_its_angle():
    # A dot seven pixels right of the middle lies, turned by 45°, 7·√½ = 4.9 pixels right of it and as far up.
    X = np.zeros((1, 21, 21))
    X[0, 10, 17] = 1
    clf = OnePixel(0, 0)
    probe(clf, X, np.array(["white"]), (0, 1))
    turned = clf.shown[NAMES.index("turned by 45°")]
    rows, columns = np.indices((21, 21)) - 10
    centre = [(turned[0] * axis).sum() / turned[0].sum() for axis in (rows, columns)]
    assert np.abs(centre) == pytest.approx([7 * np.sqrt(0.5)] * 2, abs=0.1)
    assert centre[1] > 0


def test_noise_has_the_strength_that_is_said():
    X = np.full((200, 20, 20), 0.5)
    clf = OnePixel(0, 0)
    probe(clf, X, np.array(["white"] * 200), (0, 1))
    noise = clf.shown[NAMES.index("with noise, sd a quarter of the range")] - 0.5
    # Cut at black and white, which are two standard deviations away: outside lie 4.55 %, which become ±2 sd, and the
    # variance inside is 1 − 2·2·φ(2)/.9545 = .7737: .25²·(.9545·.7737 + .0455·4) = .9205·.25².
    assert noise.std() == pytest.approx(0.25 * np.sqrt(0.9205), rel=0.01)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.uint8, 0, 16), (np.uint8, 0, 255), (np.float32, -1, 1), (np.float64, 0, 1)]
)
def test_type_shape_and_range_stay_as_the_classifier_knows_them(dtype, low, high):
    X = np.random.default_rng(0).uniform(low, high, (12, 9, 7, 3)).astype(dtype)
    before = X.copy()
    clf = OnePixel((0,), (0,), low, high)
    clf.predict_proba = lambda X: clf.shown.append(X) or np.full((len(X), 2), 0.5)
    probe(clf, X, np.array(["white"] * 12), (low, high))
    assert clf.shown[0] is X
    assert np.array_equal(X, before)
    assert [shown.shape for shown in clf.shown] == [(12, 9, 7, 3)] * 7 + [(100, 9, 7, 3)]
    for shown in clf.shown:
        assert shown.dtype == dtype
        assert low <= shown.min() <= shown.max() <= high


def test_black_may_be_any_number():
    X = np.full((1, 5, 5), -1.0)
    found = probes(OnePixel(0, 0, -1, 1), X, np.array(["black"]), (-1, 1))
    # What comes in from outside is black, half the contrast of black is black, and its opposite is white.
    for name in NAMES[1:5]:
        assert found[name] == Probe(name, 1.0, 1.0)
    assert found[NAMES[6]] == Probe(NAMES[6], 0.0, 1.0)


def test_of_noise_alone_it_is_as_sure_as_the_pixel_is_far_from_grey():
    # The larger of u and 1 − u of a uniform u is .75 on average; the mean of 1,000 has a standard error of .0046.
    found = probe(OnePixel(0, 0), np.zeros((1000, 4, 4)), np.array(["black"] * 1000), (0, 1))
    assert found.noise_confidence == pytest.approx(0.75, abs=0.02)


def test_the_same_twice():
    X = np.random.default_rng(0).uniform(0, 1, (20, 6, 6))
    y = np.array(["black", "white"] * 10)
    assert probe(OnePixel(2, 2), X, y, (0, 1)) == probe(OnePixel(2, 2), X, y, (0, 1))
