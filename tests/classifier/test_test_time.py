"""The mean over an image and its four shifts: which views there are, how a classifier is given them, what comes out."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnclf import CNNClassifier, ONNXClassifier, TestTimeAugmentation
from cnnclf.classifier._test_time import in_frame_of


class OnePixel(ClassifierMixin, BaseEstimator):
    """A classifier that takes one number of each row for the probability of its first class, and keeps what it gets."""

    def __init__(self, pixel=0, image_shape=None):
        self.pixel = pixel
        self.image_shape = image_shape

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.given_ = []
        if self.image_shape is not None:
            self.image_shape_ = self.image_shape
        return self

    def predict_proba(self, X):
        self.given_.append(X)
        p = np.asarray(X).reshape(len(X), -1)[:, self.pixel].astype(np.float32)
        return np.stack([p, 1 - p], axis=1)


def quick():
    return CNNClassifier(max_epochs=3, batch_size=16, random_state=0)


@pytest.fixture(scope="module")
def fitted(few_digits):
    X, y, *_ = few_digits
    return quick().fit(X, y)


@parametrize_with_checks(
    [
        TestTimeAugmentation(LogisticRegression()),
        TestTimeAugmentation(LogisticRegression(), mirror=True, confidence=0.9),
        TestTimeAugmentation(CNNClassifier(random_state=0)),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# Which views there are


def test_five_views_by_hand():
    image = np.zeros((1, 8, 8))
    image[0, 3, 3] = 0.5
    image[0, 4, 3] = 0.1  # is at (3, 3) when the image goes up,
    image[0, 2, 3] = 0.2  # down,
    image[0, 3, 4] = 0.3  # left
    image[0, 3, 2] = 0.9  # and right
    image[0, 5, 3] = 1.0  # as does this when it goes up by two
    at_3_3 = OnePixel(pixel=3 * 8 + 3)
    labels = ["cat", "dog"]

    one = TestTimeAugmentation(at_3_3).fit(image.repeat(2, axis=0), labels)
    # (0.5 + 0.1 + 0.2 + 0.3 + 0.9) / 5 = 0.4
    np.testing.assert_allclose(one.predict_proba(image), [[0.4, 0.6]], rtol=1e-6)
    assert one.predict_proba(image).dtype == np.float32  # the classifier's own
    assert one.predict(image).tolist() == ["dog"]

    two = TestTimeAugmentation(at_3_3, reach=2).fit(image.repeat(2, axis=0), labels)
    # (0.5 + 1.0 + 0 + 0 + 0) / 5 = 0.3
    np.testing.assert_allclose(two.predict_proba(image), [[0.3, 0.7]], rtol=1e-6)


def test_mirror_images_and_their_shifts_by_hand():
    image = np.zeros((1, 8, 8))
    image[0, 2:5, 2:6] = [
        [0.0, 0.2, 0.6, 0.0],  # pixel (3, 3) is 0.5, and 0.1, 0.2, 0.3 and 0.9 as the image goes up, down, left, right;
        [0.9, 0.5, 0.3, 0.8],  # in the mirror image it is 0.3,
        [0.0, 0.1, 0.4, 0.0],  # and 0.4, 0.6, 0.5 and 0.8 as that goes up, down, left, right
    ]
    twice = image.repeat(2, axis=0)
    at_3_3 = OnePixel(pixel=3 * 8 + 3)
    # (0.5 + 0.1 + 0.2 + 0.3 + 0.9 + 0.3 + 0.4 + 0.6 + 0.5 + 0.8) / 10 = 0.46
    ten = TestTimeAugmentation(at_3_3, mirror=True).fit(twice, [0, 1])
    np.testing.assert_allclose(ten.predict_proba(image), [[0.46, 0.54]], rtol=1e-6)
    # (0.5 + 0.3) / 2 = 0.4
    two = TestTimeAugmentation(at_3_3, mirror=True, reach=0).fit(twice, [0, 1])
    np.testing.assert_allclose(two.predict_proba(image), [[0.4, 0.6]], rtol=1e-6)
    assert len(two.estimator_.given_) == 2


def four_images():
    """Pixel (3, 3) is 0.95, 0.5, 0.05 and 0.75, and above it are 0.1, 0.2, 0.3 and 0.65."""
    images = np.zeros((4, 8, 8))
    images[:, 3, 3], images[:, 2, 3] = [0.95, 0.5, 0.05, 0.75], [0.1, 0.2, 0.3, 0.65]
    return images


def test_views_of_uncertain_images_alone():
    X = four_images()
    clf = TestTimeAugmentation(OnePixel(pixel=3 * 8 + 3), confidence=0.8).fit(X, [0, 1, 0, 1])
    # The second and the fourth have no probability of 0.8: (0.5 + 0.2) / 5 = 0.14 and (0.75 + 0.65) / 5 = 0.28.
    expected = [[0.95, 0.05], [0.14, 0.86], [0.05, 0.95], [0.28, 0.72]]
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-6)
    assert clf.predict(X).tolist() == [0, 1, 1, 1]
    plain, *views = clf.estimator_.given_[:5]
    assert plain is X
    down = views[1]  # the pixel above comes into place
    np.testing.assert_array_equal(down[:, 3, 3], [0.2, 0.65])
    assert [len(view) for view in views] == [2, 2, 2, 2]


@pytest.mark.parametrize(("confidence", "n_views"), [(0.75, 4), (0.5, 0), (np.float32(0.5), 0), (1, 4)])
def test_an_image_that_is_as_certain_as_it_must_be_keeps_its_prediction(confidence, n_views):
    X = four_images()
    clf = TestTimeAugmentation(OnePixel(pixel=3 * 8 + 3), confidence=confidence).fit(X, [0, 1, 0, 1])
    found = clf.predict_proba(X)
    assert len(clf.estimator_.given_) == 1 + n_views
    below = np.array([0.95, 0.5, 0.95, 0.75]) < confidence
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[~below, 0], X[~below, 3, 3].astype(np.float32))
    np.testing.assert_allclose(found[below, 0], (X[below, 3, 3] + X[below, 2, 3]) / 5, rtol=1e-6)


def test_the_border_is_repeated():
    image = np.zeros((1, 8, 8))
    image[0, 0, 0], image[0, 1, 0], image[0, 0, 1] = 0.6, 0.3, 0.2
    corner = TestTimeAugmentation(OnePixel()).fit(image.repeat(2, axis=0), [0, 1])
    # Up brings the pixel below, left the one at the right; down and right repeat the corner:
    # (0.6 + 0.3 + 0.6 + 0.2 + 0.6) / 5 = 0.46
    np.testing.assert_allclose(corner.predict_proba(image), [[0.46, 0.54]], rtol=1e-6)


LAYOUTS = {
    "grey": ((9, 12), None, lambda planes: planes[:, 0]),
    "channels first": ((3, 9, 12), None, lambda planes: planes),
    "channels last": ((9, 12, 3), None, lambda planes: np.moveaxis(planes, 1, -1)),
    "flat square": ((81,), None, lambda planes: planes.reshape(len(planes), -1)),
    "flat colours": ((324,), (3, 9, 12), lambda planes: planes.reshape(len(planes), -1)),
}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize(("input_shape", "image_shape", "given_as"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_classifier_gets_the_images_and_then_the_views_as_the_images_came(
    input_shape, image_shape, given_as, dtype, mirror
):
    c, h, w = image_shape or (3 if 3 in input_shape else 1, 9, 9 if input_shape == (81,) else 12)
    planes = (np.random.default_rng(0).random((6, c, h, w)) * 255).astype(dtype)
    X = given_as(planes)
    X.flags.writeable = False
    assert X.shape == (6, *input_shape)

    def shifts(planes):  # up, down, left, right
        padded = np.pad(planes, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
        return [given_as(padded[:, :, r : r + h, s : s + w]) for r, s in ((4, 2), (0, 2), (2, 4), (2, 0))]

    expected_views = shifts(planes)
    if mirror:
        mirrored = planes[:, :, :, ::-1]
        expected_views += [given_as(mirrored), *shifts(mirrored)]

    clf = TestTimeAugmentation(OnePixel(), reach=2, mirror=mirror, image_shape=image_shape)
    clf.fit(X, [0, 1, 0, 1, 0, 1])
    clf.predict_proba(X)
    first, *views = clf.estimator_.given_
    assert first is X
    for view, expected in zip(views, expected_views, strict=True):
        assert type(view) is np.ndarray
        assert view.dtype == X.dtype
        np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize("input_shape", [(7, 7), (7, 20), (20, 7), (49,), (63,), (3, 7, 8), (7, 8, 3)])
def test_small_images_are_predicted_as_they_are(input_shape):
    X = np.random.default_rng(0).random((4, *input_shape))
    clf = TestTimeAugmentation(OnePixel(), mirror=True).fit(X, [0, 1, 0, 1])
    np.testing.assert_array_equal(clf.predict_proba(X), clf.estimator_.predict_proba(X))
    assert len(clf.estimator_.given_) == 2


def test_the_shape_is_the_one_given_or_else_the_classifiers_or_else_that_of_x():
    X = np.arange(144.0).reshape(1, 144).repeat(2, axis=0) / 144

    def right_of_the_first(estimator, **parameters):
        clf = TestTimeAugmentation(estimator, **parameters).fit(X, [0, 1])
        clf.predict_proba(X)
        return [round(144 * view[0, 0]) for view in clf.estimator_.given_[1::2]]  # up and left

    assert right_of_the_first(OnePixel()) == [12, 1]  # 144 = 12 · 12
    assert right_of_the_first(OnePixel(image_shape=(1, 9, 16))) == [16, 1]
    assert right_of_the_first(OnePixel(image_shape=(1, 9, 16)), image_shape=(1, 16, 9)) == [9, 1]


# Around real classifiers


def test_it_is_the_mean_over_the_views_of_real_digits(few_digits, fitted):
    X, y, X_test, y_test = few_digits
    clf = TestTimeAugmentation(quick()).fit(X, y)
    padded = np.pad(X_test, ((0, 0), (1, 1), (1, 1)), mode="edge")
    views = [padded[:, r : r + 8, c : c + 8] for r, c in ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0))]
    expected = np.mean([fitted.predict_proba(view) for view in views], axis=0)
    assert clf.predict_proba(X_test).dtype == np.float32
    np.testing.assert_allclose(clf.predict_proba(X_test), expected, atol=1e-6)
    np.testing.assert_array_equal(clf.predict(X_test), expected.argmax(axis=1))
    assert clf.score(X_test, y_test) > 0.8
    np.testing.assert_allclose(clf.predict_proba(X_test[:7]), clf.predict_proba(X_test)[:7], atol=1e-6)


def test_a_fitted_classifier_is_used_without_training(few_digits, fitted, tmp_path, monkeypatch):
    X, y, X_test, _ = few_digits
    fitted.to_onnx(tmp_path / "digits.onnx")
    monkeypatch.setattr(CNNClassifier, "fit", lambda *_, **__: pytest.fail("training began"))
    frozen = TestTimeAugmentation(FrozenEstimator(fitted)).fit(X[:1], y[:1])
    served = TestTimeAugmentation(FrozenEstimator(ONNXClassifier(tmp_path / "digits.onnx"))).fit(X[:1], y[:1])
    assert frozen.estimator_.estimator is fitted
    assert frozen.classes_.tolist() == served.classes_.tolist() == list(range(10))
    assert frozen.n_features_in_ == served.n_features_in_ == 64
    np.testing.assert_allclose(frozen.predict_proba(X_test), served.predict_proba(X_test), atol=1e-5)
    assert (frozen.predict_proba(X_test) != fitted.predict_proba(X_test)).any()


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 3), (3, 9, 12)])
def test_flat_rows_are_the_images_that_fit_was_given(shape):
    X = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    clf = TestTimeAugmentation(quick()).fit(X, np.arange(20) % 2)
    assert np.array_equal(clf.predict_proba(X.reshape(20, clf.n_features_in_)), clf.predict_proba(X))


def test_around_a_pipeline_of_flat_rows(few_digits):
    X, y, X_test, y_test = few_digits
    pipeline = make_pipeline(FunctionTransformer(lambda X: X / 16), GaussianNB(var_smoothing=0.01))
    clf = TestTimeAugmentation(pipeline).fit(X.reshape(-1, 64), y)
    assert clf.score(X_test.reshape(-1, 64), y_test) > 0.7
    assert not hasattr(clf, "feature_names_in_")


FRAMES = {
    "pandas": lambda X, columns: pd.DataFrame(X, columns=columns, index=range(3, 3 + len(X))),
    "polars": lambda X, columns: pl.DataFrame(X, schema=columns, orient="row"),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("n", [1, 64, 100])  # one row, as many as the 64 columns, and more
def test_a_data_frame_stays_one_of_the_same_columns(frame, n, few_digits):
    X, y, X_test, _ = few_digits
    X, X_test, columns = X.reshape(-1, 64), X_test[:n].reshape(-1, 64), [f"pixel{i}" for i in range(64)]
    plain, named = (TestTimeAugmentation(GaussianNB(var_smoothing=0.01)) for _ in range(2))
    plain.fit(X, y)
    named.fit(frame(X, columns), y)  # without the names, scikit-learn would warn
    assert named.feature_names_in_.tolist() == columns
    # A frame's memory runs by column, so sums come in another order.
    np.testing.assert_allclose(named.predict_proba(frame(X_test, columns)), plain.predict_proba(X_test), atol=1e-12)

    keeping = TestTimeAugmentation(OnePixel()).fit(frame(X[:2], columns), [0, 1])
    keeping.predict_proba(given := frame(X_test, columns))
    # polars would read a square array by its memory order
    np.testing.assert_array_equal(in_frame_of(given, np.asfortranarray(X_test)), X_test)
    for view in keeping.estimator_.given_:
        assert type(view) is type(given)
        assert list(view.columns) == columns
        assert list(view.dtypes) == list(given.dtypes)
        assert list(getattr(view, "index", [])) == list(getattr(given, "index", []))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_uncertain_rows_of_a_data_frame_stay_rows_of_it(frame):
    columns = [f"pixel{i}" for i in range(64)]
    X = frame(four_images().reshape(4, 64), columns)
    clf = TestTimeAugmentation(OnePixel(pixel=27), confidence=0.8).fit(X, [0, 1, 0, 1])
    np.testing.assert_allclose(clf.predict_proba(X)[:, 0], [0.95, 0.14, 0.05, 0.28], rtol=1e-6)
    for view in clf.estimator_.given_[1:]:
        assert type(view) is type(X)
        assert list(view.columns) == columns
        assert list(getattr(view, "index", [4, 6])) == [4, 6]  # of 3 to 6, the second and the fourth


def test_lists_and_tensors(few_digits, fitted):
    X, y, X_test, _ = few_digits
    clf = TestTimeAugmentation(FrozenEstimator(fitted)).fit(X, y)
    expected = clf.predict_proba(X_test[:5])
    np.testing.assert_array_equal(clf.predict_proba(X_test[:5].tolist()), expected)
    np.testing.assert_array_equal(clf.predict_proba(torch.tensor(X_test[:5])), expected)
    np.testing.assert_array_equal(clf.predict_proba(torch.tensor(X_test[:5]).bfloat16()), expected)  # whole, below 17


# What fit is given


def test_sample_weights_reach_the_classifier(few_digits):
    X, y, X_test, _ = few_digits
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    weighted = TestTimeAugmentation(quick()).fit(X, y, sample_weight=weight)
    direct = TestTimeAugmentation(FrozenEstimator(quick().fit(X, y, sample_weight=weight))).fit(X, y)
    np.testing.assert_array_equal(weighted.predict_proba(X_test), direct.predict_proba(X_test))
    assert (weighted.predict_proba(X_test) != TestTimeAugmentation(quick()).fit(X, y).predict_proba(X_test)).any()

    with config_context(enable_metadata_routing=True):
        asked = TestTimeAugmentation(quick().set_fit_request(sample_weight=True)).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(asked.predict_proba(X_test), direct.predict_proba(X_test))
        with pytest.raises(UnsetMetadataPassedError):
            TestTimeAugmentation(quick()).fit(X, y, sample_weight=weight)


def test_sample_weights_are_routed_through_cross_validation(few_digits):
    X, y, *_ = few_digits
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    X = X.reshape(-1, 64)
    folds = [(np.arange(0, 400, 2), np.arange(1, 400, 2))]
    with config_context(enable_metadata_routing=True):
        inner = GaussianNB(var_smoothing=0.01).set_fit_request(sample_weight=True)
        clf = TestTimeAugmentation(inner).set_score_request(sample_weight=True)
        scores = cross_validate(clf, X, y, cv=folds, params={"sample_weight": weight})["test_score"]
    (a, b), direct = folds[0], TestTimeAugmentation(GaussianNB(var_smoothing=0.01))
    direct.fit(X[a], y[a], sample_weight=weight[a])
    assert scores.tolist() == [direct.score(X[b], y[b], sample_weight=weight[b])]


# What is refused


def refused(error, sentence):
    return pytest.raises(error, match=rf"\A{re.escape(sentence)}")


@pytest.fixture
def untrainable(monkeypatch):
    monkeypatch.setattr(OnePixel, "fit", lambda *_, **__: pytest.fail("training began"))


@pytest.mark.parametrize("reach", [0, -1, 1.0, True, None, "1"])
@pytest.mark.usefixtures("untrainable")
def test_a_reach_that_is_no_whole_number_above_zero(reach):
    with refused(ValueError, f"Expected reach to be a whole number, 1 or more; got {reach!r}. Change reach."):
        TestTimeAugmentation(OnePixel(), reach=reach).fit(np.zeros((2, 8, 8)), [0, 1])


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"reach": -1, "mirror": True}, "Expected reach to be a whole number, 0 or more; got -1. Change reach."),
        *(
            ({"mirror": mirror}, f"Expected mirror to be True or False; got {mirror!r}. Change mirror.")
            for mirror in (1, None, "left")
        ),
        *(
            ({"confidence": value}, f"Expected confidence to be None, or a number above 0 and up to 1; got {value!r}. ")
            for value in (0, -0.1, 1.01, 90, float("nan"), True, "0.9")
        ),
    ],
)
@pytest.mark.usefixtures("untrainable")
def test_views_that_there_cannot_be(parameters, sentence):
    with refused(ValueError, sentence):
        TestTimeAugmentation(OnePixel(), **parameters).fit(np.zeros((2, 8, 8)), [0, 1])


@pytest.mark.parametrize(
    ("image_shape", "sentence"),
    [
        ((1, 8, 9), "Expected image_shape to be (1, 8, 8) for X of shape (n, 8, 8); got (1, 8, 9)."),
        ((8, 8), "Expected image_shape to be three positive whole numbers (channels, height, width); got (8, 8)."),
    ],
)
@pytest.mark.usefixtures("untrainable")
def test_a_shape_that_does_not_fit(image_shape, sentence):
    with refused(ValueError, sentence):
        TestTimeAugmentation(OnePixel(), image_shape=image_shape).fit(np.zeros((2, 8, 8)), [0, 1])


def test_images_that_can_be_read_in_two_ways():
    with refused(ValueError, "Expected one possible channel order; got X of shape (n, 3, 9, 4)"):
        TestTimeAugmentation(OnePixel()).fit(np.zeros((2, 3, 9, 4)), [0, 1])


@pytest.mark.usefixtures("untrainable")
def test_a_sparse_matrix():
    with refused(TypeError, "Expected a dense array of images; got a sparse csr_array."):
        TestTimeAugmentation(OnePixel()).fit(csr_array(np.eye(64)), [0, 1] * 32)


def test_a_classifier_without_probabilities(few_digits):
    X, y, *_ = few_digits
    sentence = (
        "Expected a classifier with predict_proba, as probabilities are averaged; got LinearSVC. "
        "Give one that has it, or wrap this one in CalibratedClassifierCV."
    )
    clf = TestTimeAugmentation(LinearSVC())
    with refused(TypeError, sentence):
        clf.fit(X.reshape(-1, 64) / 16, y)
    with pytest.raises(NotFittedError):
        clf.predict(X.reshape(-1, 64))
