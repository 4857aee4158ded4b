"""The preview of augmentation: the images that training sees, in their own grey or colours, beside the originals."""

import re

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from cnnclf import CNNClassifier
from cnnclf.plots import AugmentationDisplay
from helpers import texts

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 12, 3), dtype=np.uint8)


def display_of(augment, X=COLOUR, **parameters):
    return AugmentationDisplay.from_estimator(CNNClassifier(augment=augment), X, **parameters)


def test_a_row_is_an_image_and_its_changed_versions_epoch_by_epoch():
    display = display_of("flip", n_images=5, n_views=4)
    images = COLOUR[:5] / 255
    assert display.images.shape == (5, 9, 12, 3)
    assert display.views.shape == (5, 4, 9, 12, 3)
    np.testing.assert_allclose(display.images, images, atol=1e-6)
    for image, views in zip(images, display.views, strict=True):
        sides = [image, image[:, ::-1]]
        begins_mirrored = int(np.allclose(views[0], sides[1], atol=1e-6))
        for epoch, view in enumerate(views):
            np.testing.assert_allclose(view, sides[(begins_mirrored + epoch) % 2], atol=1e-6)


def test_the_columns_are_the_epochs_of_training():
    seen = []

    def watch(x):
        seen.append({image.tobytes() for image in np.moveaxis(x.numpy(), 1, -1)})
        return x

    CNNClassifier(augment=["flip", watch], max_epochs=3, batch_size=6, random_state=0).fit(COLOUR, [0, 1] * 3)
    views = display_of("flip", n_images=6, n_views=3).views
    shown = np.round(255 * views).astype(np.uint8)
    assert [{image.tobytes() for image in shown[:, epoch]} for epoch in range(3)] == seen


def test_all_pictures_are_drawn_in_rows_under_their_epochs():
    display = display_of(["crop", "colour"], n_images=2, n_views=3, random_state=0)
    drawn = [image.get_array() for image in display.ax_.images]
    expected = [
        picture for image, views in zip(display.images, display.views, strict=True) for picture in (image, *views)
    ]
    assert len(drawn) == 8
    for found, picture in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(found, picture)
    assert texts(display.ax_) == ["original", "epoch 1", "2", "3"]
    lefts, tops = zip(*((image.get_extent()[0], image.get_extent()[3]) for image in display.ax_.images), strict=True)
    assert lefts[:4] == lefts[4:] == tuple(sorted(lefts[:4]))
    assert len(set(tops[:4])) == len(set(tops[4:])) == 1
    assert tops[0] < tops[4]
    # Where they stand, pixels are square: 9 rows are as high as 9 of 12 columns are wide.
    left, right, bottom, top = display.ax_.images[0].get_extent()
    assert (bottom - top) / 9 == pytest.approx((right - left) / 12)


def test_the_seed_decides_and_torchs_own_random_numbers_stay():
    state = torch.get_rng_state()
    first, again, other = (display_of("affine", random_state=seed).views for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:, 0], first[:, 1])
    assert not np.array_equal(display_of("affine").views, display_of("affine").views)
    assert torch.equal(torch.get_rng_state(), state)


def brighter(x):
    return x.float() * 2


@pytest.mark.parametrize(
    ("X", "image", "view"),
    [
        # bytes: 0 to 255, and beyond white is white
        (np.full((1, 8, 8), 51, dtype=np.uint8), (0.2,) * 3, (0.4,) * 3),
        (np.full((1, 8, 8), 204, dtype=np.uint8), (0.8,) * 3, (1,) * 3),
        (np.full((1, 8, 8), 0.25), (0.25,) * 3, (0.5,) * 3),
        # unknown: from the darkest, −1, to the brightest, 3
        (np.linspace(-1, 3, 64).reshape(1, 8, 8), (0,) * 3, (0,) * 3),
        # RGB, RGBA, and the mean of five channels
        (np.tile(np.uint8([51, 0, 102]), (1, 8, 8, 1)), (0.2, 0, 0.4), (0.4, 0, 0.8)),
        (np.tile(np.uint8([51, 0, 102, 255]), (1, 8, 8, 1)), (0.2, 0, 0.4, 1), (0.4, 0, 0.8, 1)),
    ],
    ids=["bytes", "bright", "shares", "unknown", "RGB", "RGBA"],
)
def test_grey_and_colours_are_in_the_unit_of_the_pixels(X, image, view):
    display = display_of(brighter, X, n_views=1)
    assert display.images[0, 0, 0] == pytest.approx(image, abs=1e-6)
    assert display.views[0, 0, 0, 0] == pytest.approx(view, abs=1e-6)


def test_of_other_numbers_of_channels_the_mean_is_drawn():
    X = np.stack([np.full((8, 8), 0.2), np.full((8, 8), 0.6)])[np.newaxis]
    display = AugmentationDisplay.from_estimator(CNNClassifier(augment="flip", image_shape=(2, 8, 8)), X)
    np.testing.assert_allclose(display.images, np.full((1, 8, 8, 3), 0.4), atol=1e-6)


def test_a_fitted_classifier_knows_its_images_and_its_augmentation():
    clf = CNNClassifier(augment="flip", max_epochs=1).fit(COLOUR, [0, 1] * 3)
    dark = COLOUR[:2] // 255  # of which alone it would seem that 1 is white
    display = AugmentationDisplay.from_estimator(clf, dark.reshape(2, -1), n_views=2)
    assert display.images.max() == pytest.approx(1 / 255)
    assert display.images.shape == (2, 9, 12, 3)
    clf.augment, clf.augment_ = None, [brighter]  # as of a fit with "auto"
    views = AugmentationDisplay.from_estimator(clf, COLOUR // 2, n_images=2).views
    np.testing.assert_allclose(views[:, 0], COLOUR[:2] // 2 * 2 / 255, atol=1e-6)


SENTENCE = "Expected a classifier that changes its training images; got augment={!r}. {}."
TO_DO = {"auto": "Fit it, as augment is chosen then"}


@pytest.mark.parametrize(
    ("augment", "parameters", "sentence"),
    [
        *(
            (nothing, {}, SENTENCE.format(nothing, TO_DO.get(str(nothing), "Set augment to one or several changes")))
            for nothing in (None, [], (), "auto")
        ),
        (
            "flip",
            {"n_views": 0},
            "Expected n_images and n_views to be whole numbers, 1 or more; got 4 and 0. Change them.",
        ),
        (
            "flip",
            {"n_images": 2.5},
            "Expected n_images and n_views to be whole numbers, 1 or more; got 2.5 and 6. Change them.",
        ),
        ("mirror", {}, "Expected augment to be None, 'auto', 'flip', "),
    ],
)
def test_what_cannot_be_drawn(augment, parameters, sentence):
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}"):
        display_of(augment, **parameters)


def test_a_pipeline_is_refused_with_what_to_pass():
    pipeline = make_pipeline(CNNClassifier(augment="flip"))
    sentence = "Expected a CNNClassifier; got Pipeline. Pass the classifier itself, such as pipeline[-1]."
    with pytest.raises(TypeError, match=rf"\A{re.escape(sentence)}\Z"):
        AugmentationDisplay.from_estimator(pipeline, np.zeros((2, 8, 8)))
