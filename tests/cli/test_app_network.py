"""What a network makes of a drawing: probabilities, maps and the walkthrough."""

import base64
import json
import math
import re

import numpy as np
import pytest
from torch import nn

from cnnclf import CNNClassifier, ONNXClassifier
from cnnclf._utils.text import quote
from cnnclf.cli._app_network import MOST_MAPS, ExportedNetwork, Maps, TracedNetwork, pack
from drawings import DIGITS, drawing, drawings, put, reader_of
from helpers import error_of


def test_the_digits_network_recognises_most_drawings(clf):
    """Its images are 8 × 8 pixels, of which a stretched 7 has few: MNIST's is tested in the acceptance tests."""
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
