"""What a hand draws, as the network gets it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cnnclf._utils.text import quote
from cnnclf.cli._app_server import MOST_BYTES
from cnnclf.images._spec import InputSpec
from cnnclf.images._strokes import MOST_POINTS, THICKEST, THINNEST, Drawing, Paper, draw
from drawings import DIGITS, MNIST, OF_MNIST, drawing, drawings, put
from helpers import error_of


def test_a_drawing_fits_20_pixels_with_its_centre_of_mass_in_the_middle():
    for _, told in drawings():
        ink = put(told)
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert ink.shape == (28, 28)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        middle = [np.average(np.arange(28), weights=ink.sum(axis=axis)) for axis in (1, 0)]
        assert all(13.5 <= place <= 14.5 for place in middle)  # MNIST's: the pixel 14 counted from 0
        assert ink.max() == 255


def test_size_and_place_do_not_matter():
    def five(scale, dx, dy):
        told = drawing(5)
        strokes = [[[round(x * scale) + dx, round(y * scale) + dy] for x, y in stroke] for stroke in told["strokes"]]
        return put({"strokes": strokes, "width": round(told["width"] * scale)}).astype(float)

    for scale, dx, dy in [(1, 200, -100), (0.5, 0, 0), (0.5, 400, 300)]:
        # Up to a pixel in its place, as centres of mass are rounded; of 255, as points are whole numbers.
        shifted = [np.roll(five(scale, dx, dy), (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        assert min(np.abs(pixels - five(1, 0, 0)).mean() for pixels in shifted) < 3


@pytest.mark.parametrize(("pen", "thick"), [(10, THINNEST), (30, THINNEST), (100, 2.5), (400, THICKEST)])
def test_a_pen_is_as_thick_as_those_of_mnist(pen, thick):
    # A line of 700 and a pen of 100 are 800 high; of 20 pixels the pen has 20 · 100/800 = 2.5.
    ink = draw(Drawing((np.array([[500.0, 100.0], [500.0, 800.0]]),), pen))
    assert ink.any(axis=1).sum() == pytest.approx(320, abs=2)
    assert ink[160].sum() == pytest.approx(320 * thick / 20, abs=2)


def test_a_stroke_goes_the_way_of_its_points_and_lifting_leaves_a_gap():
    # A cross of two strokes: the corners stay empty, no line joins the end of the first and the start of the second.
    ink = draw(Drawing((np.array([[0.0, 500.0], [1000.0, 500.0]]), np.array([[500.0, 0.0], [500.0, 1000.0]])), 100))
    n = len(ink)
    assert ink[n // 2].all()
    assert ink[:, n // 2].all()
    assert not any(ink[i, j] for i in (n // 4, 3 * n // 4) for j in (n // 4, 3 * n // 4))


def test_a_dot_is_a_disc():
    ink = put({"strokes": [[[300, 300]]], "width": 80})
    assert ink.any(axis=1).sum() == ink.any(axis=0).sum() == 20
    assert (ink > 127).sum() == pytest.approx(np.pi * 10**2, abs=8)


def test_dark_ink_and_other_units():
    told, ink = drawing(3), put(drawing(3))
    assert np.array_equal(MNIST.to_row(ink), ink)
    paper = Paper.of(replace(OF_MNIST, mean=(221.7,)))
    assert np.array_equal(paper.to_row(put(told, paper)), 255 - ink)
    paper = Paper.of(replace(OF_MNIST, input_shape=(784,), mean=(0.1306,), white=1, dtype="float32"))
    assert np.array_equal(paper.to_row(ink), ink.reshape(784).astype(np.float32) / np.float32(255))
    small = put(told, DIGITS)
    assert np.array_equal(DIGITS.to_row(small), np.rint(small / 255 * 16))


def test_a_network_that_was_told_handwriting_is_drawn_for_at_any_size_and_in_any_colours():
    # A 32×32 frame has a box of 32 · 20/28 = 22.9, so 23 pixels; its middle is the pixel 16, counted from 0.
    paper = Paper.of(InputSpec((32, 32, 3), (3, 32, 32), True, "uint8", 255, (30.0,) * 3, (78.0,) * 3, "handwriting"))
    ink = put(drawing(5), paper)
    assert max(np.ptp(ink.any(axis=axis).nonzero()[0]) for axis in (0, 1)) + 1 == 23
    middle = [np.average(np.arange(32), weights=ink.sum(axis=axis)) for axis in (1, 0)]
    assert all(15.5 <= place <= 16.5 for place in middle)
    assert np.array_equal(paper.to_row(ink), np.dstack([ink] * 3))


def test_networks_of_something_else():
    colour = InputSpec((3, 32, 32), (3, 32, 32), False, "uint8", 255, (120.0,) * 3, (60.0,) * 3)
    assert error_of(Paper.of, colour) == (
        "Expected a network of handwriting; got one that takes 32×32 pixels of 3 channels and was fitted with "
        "preparation=None. Fit it with preparation='handwriting', or classify pictures with cnnclf predict."
    )
    assert error_of(Paper.of, replace(OF_MNIST, preparation="pad")) == (
        "Expected a network of handwriting; got one that takes 28×28 pixels of 1 channel and was fitted with "
        "preparation='pad'. Fit it with preparation='handwriting', or classify pictures with cnnclf predict."
    )
    assert error_of(Paper.of, replace(OF_MNIST, mean=(72.9,))) == (  # Fashion-MNIST's
        "Expected a network of handwriting, of which at most 25% is ink; got one whose training pixels have a mean of "
        "29% of white. Classify pictures with cnnclf predict."
    )


LINE = [[[0, 0], [1000, 1000]]]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "drawing",
        {},
        {"strokes": LINE},
        {"strokes": [], "width": 80},
        {"strokes": [[]], "width": 80},
        {"strokes": LINE, "width": 80.0},
        {"strokes": [[[0, 0, 0]]], "width": 80},
        {"strokes": [[[0, "0"]]], "width": 80},
        {"strokes": [[[0, True]]], "width": 80},
        {"strokes": [[[0, float("nan")]]], "width": 80},
        {"strokes": [[0, 0]], "width": 80},
        {"strokes": {"0": LINE}, "width": 80},
    ],
)
def test_what_is_no_drawing(told):
    assert error_of(Drawing.from_json, told) == (
        'Expected a drawing, {"strokes": [[[x, y], …], …], "width": w}, with one stroke or more, each of one point or '
        f"more, in whole numbers; got {quote(told)}."
    )


@pytest.mark.parametrize(
    "told", [{"strokes": [[[-1, 0]]]}, {"strokes": [[[0, 10**400]]]}, {"width": 0}, {"width": 1001}]
)
def test_what_does_not_fit_the_pad(told):
    sentence = "Expected points from 0 to 1,000 and a pen of 1 to 1,000; got others."
    assert error_of(Drawing.from_json, {"strokes": LINE, "width": 80} | told) == sentence


def test_more_points_than_a_hand_draws():
    strokes = [[[0, 0]] * MOST_POINTS]
    assert len(Drawing.from_json({"strokes": strokes, "width": 80}).strokes[0]) == MOST_POINTS
    assert error_of(Drawing.from_json, {"strokes": [*strokes, [[0, 0]]], "width": 80}) == (
        "Expected a drawing of at most 10,000 points; got 10,001. Draw less."
    )
    largest = {"strokes": [[[1000, 1000]] * MOST_POINTS], "width": 1000}
    assert len(json.dumps(largest)) < MOST_BYTES
