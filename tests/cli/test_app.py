"""A page to draw on: what a hand draws, as the network gets it; the server, which nobody else can use; the browser."""

import base64
import hashlib
import http.client
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import nn

from cnnclf import RECIPES, CNNClassifier, ONNXClassifier, __version__, load_digits
from cnnclf._utils.text import quote
from cnnclf.classifier._persistence import SCHEMA
from cnnclf.cli._app_network import MOST_MAPS, ExportedNetwork, Maps, TracedNetwork, pack
from cnnclf.cli._app_server import MOST_BYTES, PATIENCE, Handler, Reader, Server
from cnnclf.datasets import _mnist as datasets
from cnnclf.images._spec import InputSpec
from cnnclf.images._strokes import MOST_POINTS, THICKEST, THINNEST, Drawing, Paper, draw
from helpers import cnnclf, error_of

# How digits are written by hand, three ways each: points x,y of a box 100 high, x to the right and y down. A bar lifts
# the pen; a point that is there twice is a corner, all others are rounded. The first two ways are the common ones, the
# third is how it is written elsewhere, in haste or with a flourish.
WAYS = {
    0: [
        "35,0 8,12 0,50 10,90 35,100 60,88 68,50 58,10 35,0",
        "45,4 15,20 0,62 12,96 40,96 66,66 72,30 58,4 40,2",
        "50,2 20,0 0,30 0,70 22,100 60,98 84,66 82,28 60,2 36,6",
    ],
    1: [
        "20,0 20,50 20,100",
        "0,26 14,14 28,0 28,0 26,50 24,100",
        "34,0 22,50 8,100",
    ],
    2: [
        "4,24 16,4 42,0 60,16 56,40 30,70 2,98 2,98 34,97 68,96",
        "0,18 30,0 56,12 54,36 28,66 4,88 8,98 20,86 40,90 66,98",
        "6,30 8,8 34,0 58,14 58,36 34,64 0,100 0,100 70,100",
    ],
    3: [
        "4,14 24,0 54,6 56,30 26,46 26,46 56,56 62,80 40,100 12,98 0,84",
        "0,8 30,0 54,14 46,38 20,48 50,54 64,74 46,96 20,100 0,92",
        "2,2 56,2 56,2 24,42 24,42 54,50 60,78 40,100 4,92",
    ],
    4: [
        "10,0 4,50 4,50 64,52 | 50,4 50,50 48,100",
        "24,0 12,30 0,62 0,62 36,62 70,60 | 52,26 50,60 46,100",
        "12,4 2,40 16,56 48,46 58,2 58,2 52,50 44,100",
    ],
    5: [
        "8,2 4,44 4,44 30,36 58,50 62,78 40,98 14,98 0,86 | 8,2 62,0",
        "60,0 10,4 10,4 4,42 30,40 56,56 54,82 30,100 0,92",
        "66,2 22,0 8,22 16,42 46,52 52,78 28,98 0,90",
    ],
    6: [
        "46,0 18,24 2,64 10,92 34,100 58,86 56,62 34,54 8,72",
        "36,0 8,34 0,74 20,100 50,92 54,68 32,56 6,70",
        "56,4 26,14 4,48 6,88 32,100 54,82 46,60 22,62 8,80",
    ],
    7: [
        "0,4 60,2 60,2 40,48 22,100",
        "0,14 2,2 2,2 62,0 62,0 46,40 34,100",
        "0,4 62,0 62,0 42,46 24,100 | 16,50 62,46",
    ],
    8: [
        "52,14 28,0 6,16 16,38 46,58 58,82 32,100 6,84 14,60 46,38 52,14",
        "32,48 10,32 12,8 34,0 56,10 54,32 30,48 6,66 6,90 32,100 58,90 58,66 32,48",
        "56,8 26,2 12,22 34,46 50,68 38,96 12,94 6,72 32,48 58,26 60,6",
    ],
    9: [
        "56,14 32,0 6,14 6,40 30,50 54,34 58,10 58,10 56,50 50,100",
        "54,10 26,2 2,26 18,46 44,38 56,12 50,54 38,100",
        "52,6 24,0 2,20 12,44 40,42 56,8 58,50 52,86 28,100 6,92",
    ],
}

# Of the pad's 1000: height, left and top edge, pen; the lean of the top to the right, the breadth, how it trembles.
HANDS = {
    "plain": {"height": 700, "left": 260, "top": 150, "pen": 80, "slant": 0.0, "breadth": 1.0, "tremor": 0.0},
    "small, in a corner": {
        "height": 300, "left": 90, "top": 620, "pen": 60, "slant": 0.25, "breadth": 0.8, "tremor": 0.0,
    },
    "large, thin": {"height": 900, "left": 120, "top": 50, "pen": 30, "slant": -0.1, "breadth": 1.1, "tremor": 0.0},
    "unsteady": {"height": 600, "left": 250, "top": 200, "pen": 80, "slant": 0.1, "breadth": 0.9, "tremor": 2.5},
}  # fmt: skip


def rounded(points):
    """Cut the corners three times (Chaikin 1974), but for the ends and for points that are there twice."""
    for _ in range(3):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def drawing(digit, way=0, hand="plain"):
    """Give one drawing, as the page sends it."""
    how, rng = HANDS[hand], np.random.default_rng([digit, way])
    strokes = []
    for stroke in WAYS[digit][way].split(" | "):
        x, y = rounded(np.array([point.split(",") for point in stroke.split()], dtype=float)).T
        x, y = (axis + how["tremor"] * rng.uniform(-1, 1, len(axis)) for axis in (x, y))
        x = how["breadth"] * x + how["slant"] * (100 - y)
        placed = np.stack([how["left"] + x * how["height"] / 100, how["top"] + y * how["height"] / 100], axis=1)
        strokes.append(np.rint(placed).clip(0, 1000).astype(int).tolist())
    return {"strokes": strokes, "width": how["pen"]}


def drawings():
    """Give (digit, drawing) of every way and every hand: 120."""
    return [
        (digit, drawing(digit, way, hand)) for digit, ways in WAYS.items() for way in range(len(ways)) for hand in HANDS
    ]


OF_MNIST = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,))
MNIST = Paper.of(OF_MNIST)
DIGITS = Paper.of(InputSpec((8, 8), (1, 8, 8), False, "uint8", 16, (4.9,), (6.0,)))


def put(told, paper=MNIST):
    return paper.place(Drawing.from_json(told))


# What a hand draws, as the network gets it


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


# What a network makes of it


@pytest.fixture(scope="module")
def clf(digits):
    """A network of the digits, good enough to be asked."""
    return CNNClassifier(**RECIPES["compact"], random_state=0).fit(*digits)


@pytest.fixture(scope="module")
def model(clf, tmp_path_factory):
    """Its files."""
    folder = tmp_path_factory.mktemp("model")
    clf.save(folder / "digits.cnn")
    clf.to_onnx(folder / "digits.onnx")
    clf.to_onnx(folder / "int8.onnx", quantize="int8", calibration=load_digits()[0][:200])
    return folder


def test_the_digits_network_recognises_most_drawings(clf):
    """Its images are 8 × 8 pixels, of which a stretched 7 has few: MNIST's is judged in the acceptance tests."""
    told = drawings()
    rows = np.stack([DIGITS.to_row(put(each, DIGITS)) for _, each in told])
    assert np.mean(clf.predict(rows) == [digit for digit, _ in told]) > 0.8


def test_a_traced_network_gives_what_the_estimator_gives(clf, digits):
    row = digits[0][7]
    look = TracedNetwork(clf).look(row)
    assert np.allclose(look.probabilities, clf.predict_proba(row[None])[0], atol=1e-6)
    assert [maps.name for maps in look.maps] == ["conv1", "pool1", "conv2"]  # nothing is pooled below four pixels
    for maps in look.maps:
        assert np.array_equal(maps.values, clf.trace(row)[maps.name].output)


def test_an_exported_network_gives_the_maps_of_its_graph(few_digits, tmp_path):
    """Without batch normalisation nothing is folded but the standardisation: the maps are the same up to rounding.

    The graph has its ReLU before the pooling, the network behind it: what leaves the pooling is positive there.
    """
    X, y, X_test, _ = few_digits
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "lenet5.onnx")
    exported = ExportedNetwork(ONNXClassifier(tmp_path / "lenet5.onnx"))
    look, traced = exported.look(X_test[0]), TracedNetwork(clf).look(X_test[0])
    assert np.allclose(look.probabilities, traced.probabilities, atol=1e-5)
    assert [maps.name for maps in look.maps] == [maps.name for maps in traced.maps]
    for ours, theirs in zip(look.maps, traced.maps, strict=True):
        assert np.allclose(ours.values.clip(0), theirs.values.clip(0), atol=1e-4)
    assert exported.walk(X_test[0]) is None


def test_an_int8_network_is_asked_as_it_is_served(model, digits):
    served = ONNXClassifier(model / "int8.onnx")
    look = ExportedNetwork(served).look(digits[0][3])
    assert np.array_equal(look.probabilities, served.predict_proba(digits[0][3:4])[0])
    assert all(maps.values.ndim == 3 for maps in look.maps)
    assert look.maps


def lines(image_shape, n_classes):
    """Take an image's rows for channels of a line: a convolution makes (n, 4, 6) of (n, 8, 8)."""
    return nn.Sequential(nn.Flatten(1, 2), nn.Conv1d(8, 4, 3), nn.Flatten(), nn.Linear(24, n_classes))


def pooled_lines(image_shape, n_classes):
    """Pool such a line in both directions: (n, 8, 8) becomes (n, 4, 4)."""
    return nn.Sequential(nn.Flatten(1, 2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, n_classes))


def dense(image_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), n_classes))


@pytest.mark.parametrize("architecture", [lines, pooled_lines, dense])
def test_a_network_without_maps_of_an_image_shows_none(architecture, few_digits, tmp_path):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(architecture, max_epochs=1, random_state=0).fit(X, y)
    look = TracedNetwork(clf).look(X_test[0])
    assert look.maps == ()
    assert np.allclose(look.probabilities, clf.predict_proba(X_test[:1])[0], atol=1e-6)
    if architecture is not pooled_lines:  # which an ONNX graph has to make images of
        clf.to_onnx(tmp_path / "dense.onnx")
        exported = ExportedNetwork(ONNXClassifier(tmp_path / "dense.onnx")).look(X_test[0])
        assert exported.maps == ()
        assert np.allclose(exported.probabilities, look.probabilities, atol=1e-5)


def test_the_session_that_gives_maps_is_bounded_as_the_first_is(model):
    served = ONNXClassifier(model / "digits.onnx", n_threads=2)
    first, second = (session.get_session_options() for session in (served._session, ExportedNetwork(served)._session))
    assert second.intra_op_num_threads == first.intra_op_num_threads == 2
    largest = "optimization.constant_folding_max_output_size_in_bytes"
    assert second.get_session_config_entry(largest) == first.get_session_config_entry(largest)


def reader_of(clf):
    network = TracedNetwork(clf) if isinstance(clf, CNNClassifier) else ExportedNetwork(clf)
    return Reader(network, Paper.of(clf.input_spec_), "The network is <small>.")


def test_a_reading_has_all_that_the_page_shows(clf):
    reader = reader_of(clf)
    answer = reader.read(drawing(0))
    ink = put(drawing(0), DIGITS)
    look = reader.network.look(DIGITS.to_row(ink))
    assert json.loads(json.dumps(answer)).keys() == {"probabilities", "image", "maps"}
    assert (
        answer["probabilities"] == look.probabilities.tolist()
    )  # unrounded: only the page knows how a share is written
    assert base64.urlsafe_b64decode(answer["image"]) == ink.tobytes()
    for told, maps in zip(answer["maps"], look.maps, strict=True):
        n = len(maps.values)
        assert (told["name"], told["shape"]) == (maps.name, maps.values.shape)
        assert told["channels"] == [i * n // min(n, MOST_MAPS) for i in range(min(n, MOST_MAPS))]
        shades = np.frombuffer(base64.b64decode(told["values"]), dtype=np.int8).reshape(-1, *maps.values.shape[1:])
        largest = np.abs(maps.values).max()
        assert told["largest"] == float(f"{largest:.2g}")
        assert np.abs(shades / 127 * largest - maps.values[told["channels"]]).max() <= largest / 254 + 1e-6


def test_maps_of_nothing_but_zeros():
    told = pack(Maps("conv1", np.zeros((1, 2, 2), dtype=np.float32)))
    assert told == {"name": "conv1", "shape": (1, 2, 2), "channels": [0], "largest": 1.0, "values": "AAAAAA=="}


@pytest.mark.parametrize(
    "image", ["", "AAAA", "!" * 86, "é", "A" * 85, "!" + "A" * 86 + "==", "A" * 174 + "==", "A" * 99 + "tail"]
)
def test_what_is_no_image_to_walk_through(clf, image):
    assert error_of(reader_of(clf).walk, image) == (
        f"Expected an image of 8×8 bytes in base64; got {quote(image)}. Draw it again."
    )


def test_labels_of_any_kind_are_text(clf, monkeypatch):
    reader = reader_of(clf)
    monkeypatch.setattr(reader.network, "labels", ["</script><script>alert(1)</script>", "<b>"])
    page, _ = reader.page()
    assert page.count("<script") == 2  # its own
    assert "<h1>Draw one of &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; &lt;b&gt;</h1>" in page
    settings = re.search(r'id="settings">(.*?)</script>', page)[1]
    assert json.loads(settings)["labels"] == reader.network.labels


# The server


@contextmanager
def serving(reader):
    with Server(reader) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(clf):
    with serving(reader_of(clf)) as server:
        yield server


def ask(server, method, path, body=None, headers=(), **more):
    """Send a request just so, and give its status, its headers and its content."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        named = {"Host": f"127.0.0.1:{server.port}"} | dict(headers) | more
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in named.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def read(server, told, **headers):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    return ask(server, "POST", "/read", body, named)


def refused(answer):
    status, headers, content = answer
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Connection"] == "close"
    return status, json.loads(content)["error"]


def test_it_is_on_this_machine_alone(server):
    assert server.server_address == ("127.0.0.1", server.port)
    assert server.url == f"http://127.0.0.1:{server.port}/"


def test_the_page(server):
    status, headers, content = ask(server, "GET", "/")
    page = content.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    style, script = (
        base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1].encode()).digest()
        ).decode()
        for tag in ("style", "script")
    )
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "The network is &lt;small&gt;." in page
    assert "://" not in page.replace("http://www.w3.org", "")  # no address of anything else
    assert len(page) < 40_000
    assert "<h1>Draw a digit</h1>" in page


def test_a_drawing_is_read(server):
    status, headers, content = read(server, drawing(0))
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(content) == json.loads(json.dumps(server.reader.read(drawing(0))))


def test_the_walkthrough_is_that_of_the_trace(server, clf):
    image = json.loads(read(server, drawing(0))[2])["image"]
    status, headers, content = ask(server, "GET", f"/walkthrough/{image}")
    assert (status, headers["Content-Security-Policy"]) == (200, "frame-ancestors 'none'")
    assert content.decode() == TracedNetwork(clf).walk(DIGITS.to_row(put(drawing(0), DIGITS)))


def test_no_answer_is_kept_framed_guessed_at_or_given_to_another_site(server):
    image = json.loads(read(server, drawing(0))[2])["image"]
    nothing = "default-src 'none'; frame-ancestors 'none'"
    for (_, headers, _), policy in [
        (ask(server, "GET", "/"), None),  # its policy is a test of its own
        (ask(server, "GET", f"/walkthrough/{image}"), "frame-ancestors 'none'"),
        (read(server, drawing(0)), nothing),
        (ask(server, "GET", "/", Host="evil.example"), nothing),
        (read(server, {}), nothing),
    ]:
        assert policy in (None, headers["Content-Security-Policy"])
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"].strip() == "cnnclf"  # and not which Python
        assert not {name for name in headers if name.startswith("Access-Control-")}


def test_an_onnx_file_has_no_walkthrough_and_the_page_says_so(model):
    with serving(reader_of(ONNXClassifier(model / "digits.onnx"))) as server:
        page = ask(server, "GET", "/")[2].decode()
        assert "start with its <code>.cnn</code> file" in page
        assert 'id="walk"' not in page
        answer = json.loads(read(server, drawing(0))[2])
        assert [maps["name"] for maps in answer["maps"]] == ["conv1", "pool1", "conv2"]
        status, sentence = refused(ask(server, "GET", f"/walkthrough/{answer['image']}"))
        assert (status, sentence) == (404, f"There is nothing here. The page is {server.url}.")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", None]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_for_this_machine_is_refused(server, host, method):
    """DNS rebinding: a name that a stranger owns is made to mean 127.0.0.1, so that his page and this are one site."""
    host = host and host.format(port=server.port)
    assert refused(ask(server, method, "/", Host=host)) == (421, f"This server is {server.url} and no other.")


@pytest.mark.parametrize("order", [1, -1])
def test_two_names_for_this_machine_are_refused(server, order):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.putrequest("GET", "/", skip_host=True)
        for host in (f"127.0.0.1:{server.port}", "evil.example")[::order]:
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 421


def test_localhost_is_this_machine(server):
    assert ask(server, "GET", "/", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_get_no_answers(server, headers):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    sentence = f"Only the page {server.url} gets answers here."
    assert refused(read(server, drawing(0), **headers)) == (403, sentence)
    assert refused(ask(server, "GET", f"/walkthrough/{'A' * 86}==", **headers)) == (403, sentence)
    assert ("Origin" in headers) == (ask(server, "GET", "/", **headers)[0] == 403)  # a link to the page is fine


def test_its_own_page_gets_answers(server):
    for host in ("127.0.0.1", "localhost"):
        origin = f"http://{host}:{server.port}"
        assert read(server, drawing(0), Origin=origin, **{"Sec-Fetch-Site": "same-origin"})[0] == 200
    image = json.loads(read(server, drawing(0))[2])["image"]  # asked for without a browser
    for site in ("same-origin", "none"):  # its link, and an address that was typed or kept
        assert ask(server, "GET", f"/walkthrough/{image}", **{"Sec-Fetch-Site": site})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 415, "Expected a drawing as application/json."),
        (b"{}", {"Content-Type": None}, 415, "Expected a drawing as application/json."),
        (b"", {"Content-Length": None}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "-1"}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "٣"}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "262145"}, 413, "Expected at most 262,144 bytes; got 262145. Draw less."),
        (b"", {"Content-Length": "9" * 5000}, 413, f"Expected at most 262,144 bytes; got {'9' * 20}. Draw less."),
        (b"{}".ljust(MOST_BYTES), {}, 422, None),
        (b"nil", {}, 400, "Expected JSON; got other bytes (Expecting value: line 1 column 1 (char 0))."),
        (b"\xff\xfe\xfd", {}, 400, None),
        (b"[" * 200_000, {}, 400, None),
        (b'{"strokes": [[[0, 1e999]]], "width": 1}', {}, 422, None),
        (b"9" * 5000, {}, 400, None),
    ],
)  # fmt: skip
def test_what_is_no_drawing_is_refused_and_the_server_goes_on(server, body, headers, status, sentence):
    headers = {name: value and value.encode() for name, value in headers.items()}
    got = refused(read(server, body, **headers))
    assert got[0] == status
    assert sentence in (None, got[1])
    assert read(server, drawing(0))[0] == 200


@pytest.mark.parametrize(
    "path", ["/favicon.ico", "/index.html", "/../../etc/passwd", "/read", "/?", "/walkthrough", "/x/walkthrough/"]
)
def test_there_is_nothing_else(server, path):
    assert refused(ask(server, "GET", path)) == (404, f"There is nothing here. The page is {server.url}.")


def test_drawings_are_read_in_one_place(server):
    assert refused(ask(server, "POST", "/")) == (404, "There is nothing here. Drawings are read at /read.")


def test_other_methods_are_unknown(server):
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(server, method, "/read")[0] == 501


def test_a_connection_serves_stroke_after_stroke_without_delay(server):
    body = json.dumps(drawing(0)).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        for _ in range(20):
            connection.request("POST", "/read", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, len(json.loads(response.read())["probabilities"])) == (200, 10)
        assert connection.sock is not None


def test_a_connection_is_set_for_small_answers_and_not_kept_for_ever(server, monkeypatch):
    seen, setup = [], Handler.setup

    def note(self):
        setup(self)
        no_delay = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen.append((bool(no_delay), self.connection.gettimeout()))

    monkeypatch.setattr(Handler, "setup", note)
    ask(server, "GET", "/")
    assert seen == [(True, PATIENCE)]


@pytest.mark.parametrize("begun", [b"", b"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", None])
def test_a_silent_visitor_is_left_without_a_word(server, begun, monkeypatch, capsys):
    monkeypatch.setattr(Handler, "timeout", 0.2)
    if begun is None:  # silent in the middle of a drawing
        begun = (
            b"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as visitor:
        visitor.sendall(begun.replace(b"{port}", str(server.port).encode()))
        assert visitor.recv(1) == b""
    assert capsys.readouterr().err == ""


def test_a_visitor_who_stays_does_not_keep_the_server_from_ending(clf, monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 4)
    with serving(reader_of(clf)) as server:
        visitor = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        visitor.request("GET", "/")
        visitor.getresponse().read()
        end = time.monotonic()
    assert time.monotonic() - end < 2
    visitor.close()


def test_a_port_can_be_had_again_at_once(clf):
    with serving(reader_of(clf)) as server, socket.create_connection(("127.0.0.1", server.port), 10) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without Host
        while visitor.recv(4096):  # until the server hangs up: then its side of the connection lingers
            pass
    with Server(server.reader, server.port) as again:
        assert again.url == server.url


def test_a_visitor_who_goes_away_is_no_error(server, capsys):
    with socket.create_connection(("127.0.0.1", server.port)) as visitor:
        visitor.sendall(
            f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000\r\n\r\n{".encode()
        )
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
    time.sleep(0.2)
    assert read(server, drawing(0))[0] == 200
    assert capsys.readouterr().err == ""


def test_what_nobody_thought_of_is_one_line(clf, capsys, monkeypatch):
    with serving(reader_of(clf)) as server:
        monkeypatch.setattr(server.reader.network, "look", lambda row: 1 / 0)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            read(server, drawing(0))
        monkeypatch.undo()
        assert read(server, drawing(0))[0] == 200
    assert capsys.readouterr().err == "error: ZeroDivisionError('division by zero')\n"


# The command


@pytest.fixture
def not_served(monkeypatch):
    """Stop where serving would begin, as by Ctrl-C; give what was served."""
    served = []

    def serve_forever(self):
        served.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", serve_forever)
    return served


@pytest.mark.parametrize("name", ["digits.cnn", "digits.onnx", "int8.onnx"])
def test_it_says_where_the_page_is(model, name, not_served):
    result = cnnclf("app", model / name, "--no-browser")
    (server,) = not_served
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{server.url}\n", "Ctrl-C stops it.\n")
    assert server.reader.about == f"The network is {name}."
    assert server.socket.fileno() == -1  # closed


def test_the_browser_opens_the_page(model, not_served, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: (addresses.append(url), opened.set()))
    addresses = []
    cnnclf("app", model / "digits.cnn")
    assert opened.wait(5)
    assert addresses == [not_served[0].url]


def test_a_port_that_is_taken(model):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        result = cnnclf("app", model / "digits.cnn", "--no-browser", "--port", port)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: Port {port} of 127.0.0.1 cannot be had (Address already in use). Give another one, or 0 for any that "
        "is free.\n"
    )


def test_a_model_that_is_not_there(tmp_path):
    for name in ("model.onnx", "model.cnn"):
        result = cnnclf("app", tmp_path / name, "--no-browser")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {tmp_path / name}: expected ")
        assert result.stderr.count("\n") == 1


def test_a_model_of_other_images(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (20, 3, 12, 12), dtype=np.uint8)
    CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, [0, 1] * 10).save(tmp_path / "colour.cnn")
    result = cnnclf("app", tmp_path / "colour.cnn", "--no-browser")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: Expected a network of handwriting; got one that takes 12×12 pixels of 3 channels and was fitted with "
        "preparation=None. Fit it with preparation='handwriting', or classify pictures with cnnclf predict.\n"
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty user cache."""
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "cnnclf"


def test_without_a_model_it_trains_its_own_once(cache, digits, not_served, monkeypatch):
    X, y = digits
    asked = []
    monkeypatch.setattr(datasets, "load_mnist", lambda download: (asked.append(download), (X, y))[1])
    file = cache / f"app-{__version__}-{SCHEMA}-mnist.cnn"
    first, second = cnnclf("app", "--no-browser"), cnnclf("app", "--no-browser")
    assert first.stderr == f"training a small network on 1,797 images, once; it is kept in {file}\nCtrl-C stops it.\n"
    assert (first.exit_code, second.exit_code, second.stderr) == (0, 0, "Ctrl-C stops it.\n")
    assert asked == [True]
    assert CNNClassifier.load(file).max_epochs == RECIPES["one_epoch"]["max_epochs"]
    assert "MNIST’s 60,000 training images" in not_served[0].reader.about


def test_without_mnist_its_own_is_of_the_digits_and_mnist_is_not_downloaded_again(cache, not_served, monkeypatch):
    asked = []

    def load_mnist(download):
        asked.append(download)
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)
    note = "MNIST: expected files, found none\nUsing scikit-learn's bundled digits instead of MNIST.\n"
    file = cache / f"app-{__version__}-{SCHEMA}-digits.cnn"
    first, second = cnnclf("app", "--no-browser"), cnnclf("app", "--no-browser")
    assert first.stderr == (
        f"{note}training a small network on 1,797 images, once; it is kept in {file}\nCtrl-C stops it.\n"
    )
    assert second.stderr == f"{note}Ctrl-C stops it.\n"
    assert asked == [True, False]
    assert "as there was no MNIST" in not_served[1].reader.about


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits.cnn", "digits.onnx"])
def test_ctrl_c_ends_it_cleanly_and_nothing_was_written(model, name, tmp_path):
    command = [Path(sys.executable).with_name("cnnclf"), "app", model / name, "--no-browser"]
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(tmp_path))
    others = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=others | homes
    )
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    assert process.stderr.readline() == "Ctrl-C stops it.\n"
    there = SimpleNamespace(port=int(url.rstrip("/").rpartition(":")[2]))
    status, _, answer = read(there, drawing(0))
    assert (status, ask(there, "GET", "/")[0]) == (200, 200)
    walked = ask(there, "GET", f"/walkthrough/{json.loads(answer)['image']}")[0]
    assert walked == (200 if name.endswith(".cnn") else 404)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.rglob("*")) == []


# In a browser


class Page:
    """The page in a browser, and a hand on its pad."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def ink(self, name):
        """How many pixels of a canvas have ink."""
        script = """const canvas = document.getElementById(arguments[0]);
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length;"""
        return self.run(script, name)

    def places(self, stroke):
        left, top, side = self.run(
            "const box = document.getElementById('pad').getBoundingClientRect(); return [box.left, box.top, box.width]"
        )
        return [{"x": left + x * side / 1000, "y": top + y * side / 1000} for x, y in stroke]

    def draw(self, told):
        """Draw with the mouse, by every third point; the browser makes pointer events of it, as of a real one."""
        for stroke in told["strokes"]:
            first, *others = self.places([*stroke[:-1:3], stroke[-1]])
            for kind, place in [("Pressed", first), *(("Moved", place) for place in others), ("Released", others[-1])]:
                event = {"type": f"mouse{kind}", "button": "left", "buttons": 1, "clickCount": 1}
                self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place)

    def touch(self, told):
        """Draw with a finger."""
        for stroke in told["strokes"]:
            for i, place in enumerate(self.places(stroke)):
                event = {"type": "touchMove" if i else "touchStart", "touchPoints": [place]}
                self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def wait_for(self, name, text):
        end = time.monotonic() + 10
        while self.text(name) != text:
            assert time.monotonic() < end, f"{name} is {self.text(name)!r} and not {text!r}"
            time.sleep(0.02)

    def press(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def press_with(self, modifier, key):
        ActionChains(self.driver, duration=0).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        touch = {"enabled": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)


def online(driver):
    """Give the browser a network: without one it does not find this machine either."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


@pytest.fixture
def page(chromium, server):
    """The page at desktop size; it asks only its server, and logs no error, as a breach of its policy would be."""
    online(chromium)
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    page = Page(chromium, server.url)
    page.resize(1280, 900)
    yield page
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith((server.url, "data:")) for url in asked)


def test_the_page_reads_while_the_mouse_draws(page, clf, monkeypatch, server):
    sent = []
    monkeypatch.setattr(
        type(server.reader), "read", lambda self, told, read=Reader.read: sent.append(told) or read(self, told)
    )
    told = drawing(0)
    page.draw(told)
    page.wait_for("label", "0")
    assert len(sent) > 3  # while it was drawn, and not only at its end
    time.sleep(0.5)  # for the last of it
    (stroke,) = sent[-1]["strokes"]
    assert np.abs(np.array(stroke[0]) - told["strokes"][0][0]).max() <= 2
    assert np.abs(np.array(stroke[-1]) - told["strokes"][0][-1]).max() <= 8
    answer = Reader.read(server.reader, sent[-1])
    shown = page.run("return [...document.querySelectorAll('#bars li')].map((bar) => bar.textContent)")
    assert [text[0] for text in shown] == list("0123456789")
    share = max(answer["probabilities"])
    assert float(shown[0][1:].strip("> %")) == pytest.approx(100 * share, abs=0.1)
    assert page.text("how-sure").startswith("with ")
    captions = page.run("return [...document.querySelectorAll('#maps figcaption')].map((each) => each.textContent)")
    assert [text.split(",")[0] for text in captions] == ["conv1: 16 × 4 × 4", "pool1: 16 × 2 × 2", "conv2: 32 × 1 × 1"]
    assert page.ink("seen") == 64
    page.wait_for("live", f"0, {page.text('how-sure').removeprefix('with ')}")  # told once, when the hand rests


def test_a_finger_draws_on_a_phone(page):
    page.resize(390, 844)
    page.touch(drawing(5))
    page.wait_for("label", "5")
    assert page.run("return scrollY") == 0  # the finger drew, and did not scroll


def test_clear_and_undo_with_the_keyboard(page):
    page.draw(drawing(5))
    page.wait_for("label", "5")
    both = page.ink("pad")
    page.press(Keys.TAB, Keys.TAB, Keys.ENTER)  # undo takes one stroke of the two
    assert page.run("return document.activeElement.id") == "undo"
    assert 0 < page.ink("pad") < both
    page.press_with(Keys.SHIFT, Keys.TAB)
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "clear"
    page.wait_for("label", "?")
    assert (page.ink("pad"), page.ink("seen"), page.text("how-sure")) == (0, 0, "Nothing is drawn yet.")
    assert page.run("return document.getElementById('walk').getAttribute('href')") is None
    page.draw(drawing(5))
    page.wait_for("label", "5")
    page.press_with(Keys.CONTROL, "z")
    assert 0 < page.ink("pad") < both
    page.press(Keys.ESCAPE)
    page.wait_for("label", "?")


def test_the_walkthrough_of_what_was_drawn(page, server):
    page.draw(drawing(0))
    page.wait_for("label", "0")
    link = page.driver.find_element(By.ID, "walk")
    assert link.get_attribute("target") == "_blank"  # the drawing stays
    page.driver.get(link.get_attribute("href"))
    assert page.driver.current_url.startswith(f"{server.url}walkthrough/")
    assert page.driver.find_element(By.TAG_NAME, "h1").text.startswith("How this network reads an image: 0 with ")
    assert page.text("name")  # its script has run


@pytest.mark.parametrize(
    ("size", "scheme"), [((1280, 900), "dark"), ((820, 1000), "light"), ((390, 844), "dark"), ((320, 600), "light")]
)
def test_nothing_sticks_out_sideways_and_the_pen_can_be_seen(page, size, scheme):
    page.resize(*size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.draw(drawing(5))
    page.wait_for("label", "5")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    paper, ink = page.run(
        "const { backgroundColor, color } = getComputedStyle(document.getElementById('pad'));"
        "const brightness = (colour) => colour.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765;"
        "return [backgroundColor, color].map(brightness)"
    )
    assert abs(paper - ink) > 0.6
    assert (paper > ink) == (scheme == "light")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_every_control_has_a_name(page):
    nameless = """return [...document.querySelectorAll("button, a, canvas, [role], section")].filter((each) =>
        !(each.textContent.trim() || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby"))
        && each.id !== "trouble").map((each) => each.outerHTML)"""
    page.draw(drawing(0))
    page.wait_for("label", "0")
    assert page.run(nameless) == []


def test_an_answer_that_does_not_come_is_said_and_the_drawing_stays(page, server, monkeypatch):
    page.draw(drawing(5))
    page.wait_for("label", "5")
    drawn = page.ink("pad")
    monkeypatch.setattr(server, "handle_error", lambda *_: None)
    monkeypatch.setattr(server.reader.network, "look", lambda row: 1 / 0)  # the connection breaks
    page.draw({"strokes": [[[10, 10], [20, 20]]]})
    sentence = "The network does not answer any more. Start cnnclf app again, and open the page that it names."
    page.wait_for("trouble", sentence)
    assert page.text("label") == "5"
    assert page.ink("pad") > drawn
    (error,) = {entry["message"].split(" - ")[1] for entry in page.driver.get_log("browser")}
    assert error.startswith("Failed to load resource: net::ERR_EMPTY_RESPONSE")
    monkeypatch.undo()
    page.press(Keys.ESCAPE)
    page.draw(drawing(5))
    page.wait_for("trouble", "")
