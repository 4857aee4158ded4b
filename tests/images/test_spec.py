"""What a network takes: which number white is, in which unit pixels are, and the record of it."""

import json

import numpy as np
import pytest
from PIL import Image

from cnnclf import CNNClassifier, ONNXClassifier
from cnnclf.images._arrays import as_array
from cnnclf.images._spec import InputSpec, warn_of_another_unit, white_level
from helpers import exactly


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (np.array([0, 1], dtype=np.uint8), 1),  # truth values
        (np.array([0.0, 1.0]), 1),
        (np.array([0.2, 0.7], dtype=np.float32), 1),
        (np.array([0.0, 1e-3]), 1),
        (np.array([0, 255], dtype=np.uint8), 255),  # black and white, nothing between
        (np.array([0.0, 255.0]), 255),
        (np.arange(256, dtype=np.uint8), 255),
        (np.array([0, 90], dtype=np.uint8), 255),  # dark
        (np.array([0.0, 17.5]), 255),
        (np.repeat(np.array([0, 16], dtype=np.uint8), 32).reshape(1, 1, 8, 8), 16),  # scikit-learn's digits
        (np.linspace(0, 16, 64).reshape(1, 1, 8, 8), 16),
        (np.array([0, 40_000], dtype=np.uint16), 65535),
        (np.array([0, 65535], dtype=np.uint16), 65535),
    ],
)
def test_white_is_the_smallest_usual_number_that_no_pixel_exceeds(images, white):
    assert white_level(images) == white


@pytest.mark.parametrize(
    "images",
    [
        np.array([-1.0, 1.0]),  # standardised
        np.array([0, 0], dtype=np.uint8),
        np.array([0, 9], dtype=np.uint8),  # dark, or scikit-learn's digits without their brightest
        np.array([0, 16], dtype=np.uint8),  # dark, as only images of 8×8 pixels are those digits
        np.array([0.0, 1.5]),
        np.array([0, 4095]),  # 12 bits, or 16
        np.array([0.0, 1e5]),
    ],
)
def test_what_white_is_is_not_guessed(images):
    assert white_level(images) is None


@pytest.mark.parametrize("name", ["digits", "in black and white", "of truth values"])
def test_the_unit_of_a_thousand_training_images_is_kept_at_fit(name, digits):
    # By mean and standard deviation alone, images in black and white were taken for pictures of 16 bits.
    X, y = digits
    X, white = {
        "digits": (X, 16),
        "in black and white": (np.where(X > 7, 255, 0).astype(np.uint8), 255),
        "of truth values": (X > 7, 1),
    }[name]
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:1000], y[:1000])
    assert clf.input_spec_ == InputSpec(
        input_shape=(8, 8),
        image_shape=(1, 8, 8),
        channels_last=False,
        dtype="uint8",
        white=white,
        mean=(pytest.approx(X[:1000].mean()),),
        std=(pytest.approx(X[:1000].std()),),
        preparation=None,
    )


def test_the_record_of_the_input_comes_back_from_json():
    spec = InputSpec((32, 48, 3), (3, 32, 48), True, "float32", 1, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "resize")
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


ANOTHER_UNIT = "which seem to be in another unit"


@pytest.mark.parametrize(
    ("white", "darkest", "brightest"),
    [
        *((255, 0, 1), (255, 0, 0.9), (65535, 0, 1), (65535, 0, 255), (1, 0, 255), (16, 0, 255), (255, 0, 65535)),
        (16, 0, 1),  # scikit-learn's digits, divided by 16
        (255, -0.4, 2.8),  # standardised
    ],
)
def test_pixels_in_another_unit_than_the_fitted_one_are_warned_of(white, darkest, brightest):
    spec = InputSpec((2, 2), (1, 2, 2), False, "float32", white)
    images = np.linspace(darkest, brightest, 12, dtype=np.float32).reshape(3, 1, 2, 2)
    with pytest.warns(UserWarning, match=ANOTHER_UNIT):
        warn_of_another_unit(images, spec)


def test_truth_values_for_a_network_of_bytes_are_warned_of(digits):
    X, y = digits
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    with pytest.warns(UserWarning, match=ANOTHER_UNIT):
        clf.predict(X > 7)


@pytest.mark.parametrize(
    ("white", "image"),
    [
        (255, np.zeros((1, 1, 2, 2), np.float32)),  # black
        (255, np.ones((1, 1, 2, 2), np.float32)),
        (255, np.array([[[[0, 3], [0, 1]]]], dtype=np.uint8)),  # nearly black
        (255, np.array([[[[0, 3], [0, 1]]]], dtype=np.float32)),
        (255, np.array([[[[-12, 250], [0, 260]]]], dtype=np.float32)),  # resized
        (255, np.array([[[[0, 0], [0, 400]]]], dtype=np.float32)),  # brighter than any in training
        (1, np.array([[[[0, 0], [0, 1 / 255]]]], dtype=np.float32)),
        (16, np.array([[[[0, 2], [0, 0]]]], dtype=np.float32)),
        (None, np.array([[[[0, 1e4], [0, 0]]]], dtype=np.float32)),  # standardised
        (255, np.zeros((0, 1, 2, 2), np.float32)),
    ],
)
def test_dark_and_bright_images_are_in_the_unit_still(white, image):
    warn_of_another_unit(image, InputSpec((2, 2), (1, 2, 2), False, "float32", white))  # a warning is an error here


def test_both_classifiers_warn_of_another_unit(digits, tmp_path):
    X, y = digits
    X = np.rint(X / 16 * 255)
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    clf.to_onnx(tmp_path / "model.onnx")
    for either in (clf, ONNXClassifier(tmp_path / "model.onnx")):
        with pytest.warns(UserWarning, match=r"Expected pixels of 0 to 255, as in training; got 0 to 1, which seem to"):
            either.score(X / 255, y)
        either.predict(X[:1])


@pytest.mark.parametrize("kind", [list, tuple])
def test_places_in_a_palette_are_no_pixels(kind):
    grey = [Image.new("L", (8, 8), level) for level in (0, 99)]
    assert as_array(kind(grey)).shape == (2, 8, 8)
    sentence = (
        "Expected grey or colour pictures; got some of mode P, whose pixels are positions in a palette. "
        'Convert each with image.convert("RGB"), or "L".'
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        as_array(kind([grey[0], grey[1].convert("P")]))
