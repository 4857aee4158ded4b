"""What `CNNClassifier` promises: it takes whatever people pass in, does what they ask for, and says what it cannot."""

import pickle
import random
from collections import OrderedDict

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from torch import nn

from cnnclf import CNNClassifier, ONNXClassifier, load_digits
from helpers import Seen, exactly, quick, run_in_child, same_bits

# --- Everything people pass in ---------------------------------------------------------------------------------------


def negative_strides(X):
    return np.ascontiguousarray(X[:, ::-1, ::-1])[:, ::-1, ::-1]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    buffer = np.zeros(X.nbytes + 1, np.uint8)
    view = buffer[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def memory_mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


PIXEL_NAMES = [f"pixel_{i}" for i in range(64)]

AS_THEY_ARE = {  # forms that hold the same unsigned bytes
    "flat": lambda X: X.reshape(len(X), -1),
    "channels first": lambda X: X[:, np.newaxis],
    "channels last": lambda X: X[..., np.newaxis],
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "negative strides": negative_strides,
    "every other column": lambda X: np.repeat(X, 2, axis=2)[:, :, ::2],
    "torch tensor": torch.tensor,
    "torch tensor, transposed in memory": lambda X: torch.tensor(X.transpose(0, 2, 1).copy()).transpose(1, 2),
    "pandas": lambda X: pd.DataFrame(X.reshape(len(X), -1), columns=PIXEL_NAMES),
    "polars": lambda X: pl.DataFrame(X.reshape(len(X), -1), schema=PIXEL_NAMES),
    "object that knows __array__": lambda X: type("Wrapped", (), {"__array__": lambda *a, **k: X, "shape": X.shape})(),
}

AS_FLOATS = {  # forms that hold the same numbers in other types
    "float16": lambda X: X.astype(np.float16),
    "float64": lambda X: X.astype(np.float64),
    "big-endian float32": lambda X: X.astype(">f4"),
    "big-endian float64, Fortran order": lambda X: np.asfortranarray(X.astype(">f8")),
    "float32 on odd addresses": lambda X: unaligned(X.astype(np.float32)),
    "int64": lambda X: X.astype(np.int64),
    "big-endian int16": lambda X: X.astype(">i2"),
    "uint16": lambda X: X.astype(np.uint16),
    "Python objects": lambda X: X.astype(object),
    "nested lists": lambda X: X.tolist(),
    "list of arrays": lambda X: list(X.astype(np.float32)),
    "torch float32": lambda X: torch.tensor(X).float(),
    "torch bfloat16": lambda X: torch.tensor(X).bfloat16(),
    "torch float64 with gradient": lambda X: torch.tensor(X).double().requires_grad_(),
    "pandas Float64": lambda X: pd.DataFrame(X.reshape(len(X), -1), columns=PIXEL_NAMES).astype("Float64"),
    "pandas of mixed types": lambda X: pd.DataFrame(X.reshape(len(X), -1)).astype({0: "float64", 1: "int8"}),
    "polars Float32": lambda X: pl.DataFrame(X.reshape(len(X), -1).astype(np.float32), schema=PIXEL_NAMES),
}


@pytest.mark.parametrize("form", AS_THEY_ARE)
def test_any_form_of_the_same_bytes_is_the_same_data(form, some):
    X, y = some
    converted = AS_THEY_ARE[form](X)
    assert same_bits(quick().fit(converted, y), quick().fit(X, y), converted, X)


def test_a_memory_map_is_the_same_data(some, tmp_path):
    X, y = some
    mapped = memory_mapped(X, tmp_path)
    assert same_bits(quick().fit(mapped, y), quick().fit(X, y), mapped, X)


@pytest.mark.parametrize("form", AS_FLOATS)
def test_any_form_of_the_same_numbers_is_the_same_data(form, some):
    X, y = some
    converted = AS_FLOATS[form](X)
    assert same_bits(quick().fit(converted, y), quick().fit(X.astype(np.float32), y), converted, X)


def test_bytes_and_floats_are_predicted_alike(fitted, some):
    X, _ = some
    assert same_bits(fitted, fitted, X, X.astype(np.float64))


def test_black_and_white_images_are_zeros_and_ones(few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick(max_epochs=5).fit(X > 7, y)
    assert same_bits(clf, quick(max_epochs=5).fit((X > 7).astype(np.uint8), y), X_test > 7)
    assert clf.score(X_test > 7, y_test) > 0.8


def test_what_is_passed_in_is_not_written_to(some):
    X, y = some
    given_X, given_y, weight = X.astype(np.float32), y.copy(), np.linspace(0.5, 2, len(y))
    before = given_X.copy(), given_y.copy(), weight.copy()
    quick(augment="erase", early_stopping=True).fit(given_X, given_y, sample_weight=weight).predict(given_X)
    for now, then in zip((given_X, given_y, weight), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_bring_feature_names(frame, some):
    X, y = some
    X = frame(dict(zip(PIXEL_NAMES, X.reshape(-1, 64).T, strict=True)))
    clf = quick().fit(X, y)
    assert clf.feature_names_in_.tolist() == PIXEL_NAMES
    assert clf.n_features_in_ == 64
    assert clf.predict(X).shape == (len(y),)

    with pytest.raises(ValueError, match=r"(?s)\AThe feature names should match those that were passed during fit\.\n"):
        clf.predict(X[PIXEL_NAMES[::-1]])
    sentence = "X does not have valid feature names, but CNNClassifier was fitted with feature names"
    with pytest.warns(UserWarning, match=exactly(sentence)):
        clf.predict(X.to_numpy())
    clf.fit(X.to_numpy(), y)
    assert not hasattr(clf, "feature_names_in_")


@pytest.mark.parametrize(
    ("names", "dtype"),
    [
        (list("abcdefghij"), "U1"),
        ([f"digit {i}" for i in range(10)], object),
        (list(range(-7, 3)), np.int64),
        ([10**i for i in range(10)], np.int64),  # gaps
        (range(10), np.uint8),
        (range(10), ">i4"),
        (range(10), np.float64),
        (range(10), object),
    ],
)
def test_labels_of_any_kind_come_back(names, dtype, some):
    X, y = some
    labels = np.array(list(names), dtype=dtype)
    clf = quick(max_epochs=3).fit(X, labels[y])

    assert clf.classes_.tolist() == sorted(names)
    assert clf.predict(X).dtype == clf.classes_.dtype
    assert np.mean(clf.predict(X) == labels[y]) > 0.5  # guessing would be 0.1


@pytest.mark.parametrize(
    "form",
    [
        list,
        pd.Series,
        pl.Series,
        torch.tensor,
        lambda y: pd.Series(y, index=range(1000, 1000 + len(y))),
        lambda y: pd.Series(y).astype("category"),
        lambda y: pd.Series(y, dtype="Int64"),
    ],
)
def test_labels_in_any_container_are_the_same_labels(form, some):
    X, y = some
    clf = quick().fit(X, form(y))
    assert same_bits(clf, quick().fit(X, y), X)
    assert clf.classes_.tolist() == list(range(10))


@pytest.mark.parametrize("form", [list, pd.Series, pl.Series, torch.tensor, np.float32])
def test_sample_weights_in_any_container_are_the_same_weights(form, some):
    X, y = some
    weight = np.tile([0.5, 1.5, 2.0], 40)
    assert same_bits(quick().fit(X, y, sample_weight=form(weight)), quick().fit(X, y, sample_weight=weight), X)


def test_one_column_of_labels_is_taken_with_a_warning(some):
    X, y = some
    sentence = (
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples, ), "
        "for example using ravel()."
    )
    with pytest.warns(DataConversionWarning, match=exactly(sentence)):
        clf = quick().fit(X, y[:, np.newaxis])
    assert same_bits(clf, quick().fit(X, y), X)


LABELS = st.one_of(
    st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12),
    st.sets(st.text(min_size=0, max_size=5), min_size=1, max_size=12),
    st.just({False, True}),
)


@given(LABELS, st.randoms(use_true_random=False))
@example({"", " ", "0", "é", "e\u0301"}, None)
@example({"a", "a\x00b"}, None)
@example({"", "\x00"}, None)  # one label, as NumPy drops zeros at the end of text
@settings(deadline=None, max_examples=30)
def test_any_set_of_labels_goes_in_and_comes_out(labels, chance):
    in_order = sorted(labels) if chance is None else chance.sample(sorted(labels), len(labels))
    y = np.array(in_order * 3)
    X = np.random.default_rng(0).integers(0, 256, (len(y), 2, 2), dtype=np.uint8)
    clf = quick().fit(X, y)

    assert clf.classes_.tolist() == sorted(set(y.tolist()))
    assert clf.classes_.dtype == y.dtype
    assert set(clf.predict(X).tolist()) <= set(y.tolist())
    assert clf.predict_proba(X).shape == (len(y), len(set(y.tolist())))


def test_two_classes(few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick(max_epochs=3).fit(X, y == 3)
    assert clf.classes_.tolist() == [False, True]
    assert clf.predict_proba(X_test).shape == (400, 2)
    assert clf.score(X_test, y_test == 3) > 0.95  # always False would be 0.9


def test_five_hundred_classes(digits):
    X, y = np.repeat(digits[0][:500], 2, axis=0), np.repeat(np.arange(500) * 7 - 99, 2)
    clf = quick(max_epochs=12).fit(X, y)
    assert clf.predict_proba(X).shape == (1000, 500)
    assert clf.score(X, y) > 0.5  # guessing would be 0.002


def test_one_sample_in_a_class_is_a_class(some):
    X, y = some
    y = y.copy()
    y[17] = 42
    for clf in (quick(), quick(early_stopping=True), quick(class_weight="balanced")):
        clf.fit(X, y)
        assert clf.classes_.tolist() == [*range(10), 42]
        assert clf.predict_proba(X).shape == (len(y), 11)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_one_class_is_always_predicted(n, some):
    X, _ = some
    clf = quick().fit(X[:n], ["zebra"] * n)
    assert clf.predict(X).tolist() == ["zebra"] * len(X)
    assert clf.predict_proba(X).tolist() == [[1]] * len(X)
    assert clf.decision_function(X).shape == (len(X), 1)


@pytest.mark.parametrize(
    ("row", "image"),
    [
        ((1,), (1, 1, 1)),
        ((2,), (1, 1, 2)),
        ((10,), (1, 1, 10)),
        ((784,), (1, 28, 28)),
        ((1, 1), (1, 1, 1)),
        ((2, 2), (1, 2, 2)),
        ((3, 5), (1, 3, 5)),
        ((1, 64), (1, 1, 64)),
        ((19, 7), (1, 19, 7)),
        ((1, 8, 8), (1, 8, 8)),
        ((8, 8, 1), (1, 8, 8)),
        ((3, 16, 24), (3, 16, 24)),
        ((16, 24, 3), (3, 16, 24)),
        ((4, 7, 19), (4, 7, 19)),
        ((7, 19, 4), (4, 7, 19)),
        pytest.param(
            *((256, 256), (1, 256, 256)),
            marks=pytest.mark.filterwarnings("ignore:Expected at most 3,000,000 parameters"),
        ),
    ],
)
def test_images_of_any_shape_are_learnt(row, image):
    # Dark images are of one class and bright ones of the other.
    n = 40 if np.prod(row) < 2_000 else 8
    y = np.arange(n) % 2
    noise = np.random.default_rng(0).integers(0, 100, (n, *row))
    X = (noise + 150 * y.reshape(-1, *[1] * len(row))).astype(np.uint8)
    clf = quick(max_epochs=10 if n == 40 else 4).fit(X, y)

    assert clf.image_shape_ == image
    assert clf.n_features_in_ == np.prod(row)
    assert clf.predict_proba(X).shape == (n, 2)
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    assert clf.score(X, y) == 1


def test_channel_orders_and_flat_rows_are_the_same_images():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (30, 3, 8, 6), dtype=np.uint8), np.arange(30) % 3
    clf = quick().fit(X, y)
    assert same_bits(quick().fit(np.moveaxis(X, 1, -1), y), clf, np.moveaxis(X, 1, -1), X)
    assert same_bits(quick(image_shape=(3, 8, 6)).fit(X.reshape(30, -1), y), clf, X.reshape(30, -1), X)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 6), (8, 6, 3), (1, 8, 8), (8, 8, 1)])
def test_flat_rows_are_the_images_that_fit_was_given(shape):
    # As tools hand them on that know rows of n_features_in_ numbers alone.
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (30, *shape), dtype=np.uint8), np.arange(30) % 3
    clf = quick().fit(X, y)
    flat = X.reshape(30, clf.n_features_in_)
    assert np.array_equal(clf.predict(flat), clf.predict(X))
    assert np.array_equal(clf.predict_proba(flat), clf.predict_proba(X))
    assert np.array_equal(clf.decision_function(flat), clf.decision_function(X))
    assert clf.score(flat, y) == clf.score(X, y)
    assert np.array_equal(clf.predict(pd.DataFrame(flat)), clf.predict(X))


def test_flat_rows_of_another_length_are_refused():
    X, y = load_digits()
    clf = quick().fit(X[:30], y[:30])
    with pytest.raises(ValueError, match=r"\AX has shape \(30, 63\), but CNNClassifier is expecting \(n, 8, 8\) as in"):
        clf.predict(X[:30].reshape(30, -1)[:, :63])


def test_an_alpha_channel_that_never_varied_has_no_say(some, tmp_path):
    # RGBA, opaque in training and a little less later; lenet5 pads and tiny does not, so that ONNX folds only one.
    X, y = some
    opaque = np.stack([16 * X, 255 - 16 * X, 8 * X, np.full_like(X, 255)], axis=-1)
    faint = opaque.copy()
    faint[..., 3] = 230
    for name in ("tiny", "lenet5"):
        clf = quick(name).fit(opaque, y)
        assert same_bits(clf, clf, opaque, faint)
        clf.to_onnx(tmp_path / "float.onnx")
        served = ONNXClassifier(tmp_path / "float.onnx")
        assert same_bits(served, served, opaque, faint)
        np.testing.assert_allclose(served.predict_proba(faint), clf.predict_proba(opaque), atol=1e-5)
        clf.save(tmp_path / "model.cnn")
        assert same_bits(CNNClassifier.load(tmp_path / "model.cnn"), clf, faint)


def test_an_alpha_channel_that_hardly_varied_does_not_outweigh_colours(some):
    # Opaque but for one pixel. Its deviation of 0.004 would make (230 − 255) / 0.004 = −6,000 of a faint image.
    X, y = some
    opaque = np.stack([16 * X, 255 - 16 * X, 8 * X, np.full_like(X, 255)], axis=-1)
    opaque[0, 0, 0, 3] = 254
    clf = quick("tiny").fit(opaque, y)
    *colours, alpha = clf.input_spec_.std
    assert alpha == pytest.approx(max(colours) / 4)
    assert clf.module_.standardise.std.flatten().tolist() == list(clf.input_spec_.std)


def test_channels_in_units_of_their_own_are_standardised_each(some):
    # Negative pixels are in no unit of pictures: a band of a sensor may have a hundredth of another one's range.
    X, y = some
    bands = np.stack([X / 16 - 0.5, (X / 16 - 0.5) / 100], axis=1)
    clf = quick("tiny", image_shape=(2, *X.shape[1:])).fit(bands, y)
    assert clf.input_spec_.std == pytest.approx(bands.std(axis=(0, 2, 3)), rel=1e-5)


@pytest.mark.parametrize("value", [0, 200, 0.1])
def test_images_that_never_varied_say_nothing(value):
    X, y = np.full((10, 8, 8), value), [0, 0, 1] * 3 + [0]
    clf = quick("tiny", max_epochs=3).fit(X, y)
    assert same_bits(
        clf, clf, X, np.random.default_rng(0).uniform(0, 1 if value == 0.1 else 255, X.shape).astype(X.dtype)
    )


# --- What people ask for ---------------------------------------------------------------------------------------------

DEMANDING = {  # everything that draws random numbers or looks at a whole batch
    "default": {},
    "dropout": {"architecture": "pool3_head3"},
    "augmented": {"augment": ("shift", "affine", "erase")},
    "flipped": {"augment": ("flip", "crop", "colour")},
    "averaged": {"weight_averaging": True, "label_smoothing": 0.1},
    "stopped early": {"early_stopping": True, "validation_fraction": 0.2},
    "small odd batches": {"batch_size": 7, "optimizer": "sgd", "lr_schedule": "cosine"},
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
}
demanding = pytest.mark.parametrize("parameters", DEMANDING.values(), ids=DEMANDING)


@demanding
def test_the_same_seed_gives_the_same_bits(parameters, some):
    X, y = some
    first = quick(max_epochs=2, **parameters).fit(X, y)
    assert same_bits(first, quick(max_epochs=2, **parameters).fit(X, y), X)
    assert same_bits(first, clone(first).fit(X, y), X)
    assert not same_bits(first, quick(max_epochs=2, **(parameters | {"random_state": 1})).fit(X, y), X)


@demanding
def test_the_order_of_rows_does_not_matter(parameters, some):
    X, y = some
    weight = np.tile([0.5, 1.5, 0.0, 2.0], 30)
    order = np.random.default_rng(0).permutation(len(y))
    assert same_bits(quick(**parameters).fit(X[order], y[order]), quick(**parameters).fit(X, y), X)
    assert same_bits(
        quick(**parameters).fit(X[order], y[order], sample_weight=weight[order]),
        quick(**parameters).fit(X, y, sample_weight=weight),
        X,
    )


@demanding
def test_a_weight_of_two_is_a_row_that_stands_there_twice(parameters, some):
    X, y = some
    count = np.random.default_rng(0).integers(1, 4, len(y))
    weighted = quick(**parameters).fit(X, y, sample_weight=count)
    repeated = quick(**parameters).fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    assert same_bits(weighted, repeated, X)


@demanding
@pytest.mark.parametrize("others", [1.0, 0.75])
def test_a_weight_of_zero_is_a_row_that_is_not_there(parameters, others, some):
    X, y = some
    weight = np.full(len(y), others)
    weight[::3] = 0
    kept = weight > 0
    weighted = quick(**parameters).fit(X, y, sample_weight=weight)
    assert same_bits(weighted, quick(**parameters).fit(X[kept], y[kept], sample_weight=weight[kept]), X)


@pytest.mark.parametrize("weight", [0.5, 1, 3.0, np.float32(2), 1e-12])
def test_equal_weights_are_no_weights(weight, some):
    X, y = some
    if weight in (1, 3.0, 2):  # a whole number repeats every row, which makes the epoch longer
        X_same, y_same = np.repeat(X, int(weight), axis=0), np.repeat(y, int(weight))
    else:
        X_same, y_same = X, y
    unweighted = quick().fit(X_same, y_same)
    assert same_bits(quick().fit(X, y, sample_weight=weight), unweighted, X)
    assert same_bits(quick().fit(X, y, sample_weight=np.full(len(y), weight)), unweighted, X)


@pytest.mark.parametrize("factor", [2.0**-40, 0.25, 2.0**40])  # exact in binary
def test_only_the_ratios_of_weights_matter(factor, some):
    X, y = some
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    assert same_bits(quick().fit(X, y, sample_weight=factor * weight), quick().fit(X, y, sample_weight=weight), X)


def test_a_fraction_of_a_weight_makes_rows_count_less(few_digits):
    # Half of the labels are wrong; rows that count a twentieth are hardly believed.
    X, y, X_test, y_test = few_digits
    wrong = np.arange(len(y)) % 2 == 0
    y = np.where(wrong, (y + 1) % 10, y)
    believed = quick(max_epochs=10).fit(X, y).score(X_test, y_test)
    doubted = quick(max_epochs=10).fit(X, y, sample_weight=np.where(wrong, 0.05, 1)).score(X_test, y_test)
    assert doubted > 0.8
    assert doubted > believed + 0.2


def test_whole_numbers_beyond_the_limit_of_repetition_multiply_the_loss_and_say_so(some):
    # 119 · 10 + 11 = 1,201 visits, one more than ten times 120 rows. A fraction of 0 visits, the same weights as
    # fractions: 2⁻⁵ is exact, so that all ratios stay.
    X, y = some
    weight = np.array([10.0] * 119 + [11.0])
    sentence = (
        "Expected whole-number sample_weight of a sum of at most 1,200, 10 times the 120 rows, so that each weight is "
        "a repetition; got more, so they multiply the loss. If they are counts, repeat the rows with np.repeat; "
        "if not, divide them by their mean."
    )
    with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
        clf = quick().fit(X, y, sample_weight=weight)
    assert [warning.filename for warning in caught] == [__file__]
    assert same_bits(clf, quick().fit(X, y, sample_weight=weight / 32), X)

    with pytest.warns(UserWarning, match=exactly(sentence)):
        quick().partial_fit(X, y, sample_weight=weight, classes=range(10))


def test_what_the_warning_of_the_limit_says_to_do_is_done_without_a_warning(some):
    X, y = some[0][:12], some[1][:12]
    count = np.array([1] * 6 + [20] * 6)  # Σ = 126 > 120
    quick().fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    quick().fit(X, y, sample_weight=count / count.mean())


def test_rows_that_weigh_nothing_do_not_raise_the_limit_of_repetition(some):
    # Half of the rows weigh nothing: with and without them 60 rows count, and 20 · 60 > 10 · 60.
    X, y = some
    weight = np.where(np.arange(120) < 60, 20.0, 0.0)
    with pytest.warns(UserWarning, match=r"\AExpected whole-number sample_weight of a sum of at most 600, "):
        among_others = quick().fit(X, y, sample_weight=weight)
    with pytest.warns(UserWarning, match=r"\AExpected whole-number sample_weight of a sum of at most 600, "):
        alone = quick().fit(X[:60], y[:60], sample_weight=weight[:60])
    assert same_bits(among_others, alone, X)


# Architectures of one's own


def lazy_network(image_shape, n_classes):
    return nn.Sequential(
        OrderedDict(
            conv=nn.LazyConv2d(8, 3),
            act=nn.ReLU(),
            flat=nn.Flatten(),
            hidden=nn.LazyLinear(32),
            act2=nn.ReLU(),
            output=nn.LazyLinear(n_classes),
        )
    )


class OfVolumes(nn.Module):
    """A convolution over (depth, height, width) = (1, 8, 8), whose weights have five axes."""

    def __init__(self, image_shape, n_classes):
        super().__init__()
        self.conv, self.dense = nn.Conv3d(1, 4, (1, 3, 3)), nn.Linear(4 * 6 * 6, n_classes)

    def forward(self, x):
        return self.dense(self.conv(x[:, None]).relu().flatten(1))


def test_convolutions_of_three_dimensions_are_trained(some):
    X, y = some
    assert same_bits(quick(OfVolumes).fit(X, y), quick(OfVolumes).fit(X, y), X)


def test_what_is_no_array_is_named_before_y_is_missed(some):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*map(torch.from_numpy, map(np.array, some))))
    with pytest.raises(TypeError, match=r"got DataLoader\. Collect its images and labels in tensors"):
        quick().fit(loader, None)


class TwoPaths(nn.Module):
    """No sequence: two paths that meet again, made with the very arguments an architecture is called with."""

    def __init__(self, image_shape, n_classes):
        super().__init__()
        channels, height, width = image_shape
        self.fine = nn.Conv2d(channels, 4, 3, padding=1)
        self.coarse = nn.Conv2d(channels, 4, 5, padding=2)
        self.output = nn.Linear(8 * height * width, n_classes)

    def forward(self, x):
        return self.output(torch.cat([self.fine(x), self.coarse(x)], dim=1).relu().flatten(1))


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        (lazy_network, ["standardise", "conv", "act", "flat", "hidden", "act2", "output"]),
        (TwoPaths, ["standardise", "module"]),
    ],
)
def test_an_architecture_may_be_a_function(architecture, names, few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick(architecture, max_epochs=5).fit(X, y)
    assert [name for name, _ in clf.module_.named_children()] == names
    assert clf.n_parameters_ == sum(p.numel() for p in clf.module_.parameters())
    assert clf.score(X_test, y_test) > 0.85
    assert same_bits(pickle.loads(pickle.dumps(clf)), clf, X)
    assert same_bits(clone(clf).fit(X, y), clf, X)


def test_lazy_layers_have_as_many_parameters_as_they_come_to():
    # 8×8 → 6×6 of 8 channels, 288 features: (9 + 1) · 8 + (288 + 1) · 32 + (32 + 1) · 10 = 80 + 9,248 + 330
    X, y = load_digits()
    assert quick(lazy_network).fit(X[:50], y[:50]).n_parameters_ == 9_658


def test_a_layer_object_used_twice_is_kept_twice(some):
    def shared(image_shape, n_classes):
        act = nn.ReLU()
        layers = [nn.Flatten(), nn.Linear(64, 9), act, nn.Linear(9, 9), act, nn.Linear(9, n_classes)]
        return nn.Sequential(*layers)

    clf = quick(shared).fit(*some)
    assert [type(layer).__name__ for layer in clf.module_._modules.values()] == [
        "Standardise", "Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear",
    ]  # fmt: skip


def test_an_augmentation_may_be_a_function(some):
    X, y = some
    batches = []

    def mirror(x):
        batches.append((tuple(x.shape[1:]), x.dtype))
        return x.flip(3)

    clf = quick(batch_size=60, augment=mirror).fit(X, y)
    assert batches == [((1, 8, 8), torch.uint8)] * 2  # raw pixels, in training only
    clf.predict(X)
    assert len(batches) == 2
    # The network has learnt mirrored digits: the same as from data that was mirrored before.
    mirrored = quick(max_epochs=5, augment=mirror).fit(X, y)
    assert mirrored.score(X[:, :, ::-1], y) > mirrored.score(X, y) + 0.3


def test_each_image_is_mirrored_in_every_second_epoch_also_of_later_fits(some):
    X, y = some
    seen = []

    def watch(x):
        seen.append({image.tobytes() for image in x.numpy()})
        return x

    clf = quick(batch_size=120, max_epochs=2, augment=["flip", watch], warm_start=True).fit(X, y)
    clf.fit(X, y)
    clf.partial_fit(X, y)
    images = {image.tobytes(): image[:, ::-1].tobytes() for image in X}
    assert len(seen) == 5
    assert images.keys() - seen[0]  # some are mirrored in the first epoch,
    assert images.keys() & seen[0]  # some are not,
    assert seen[1] == {mirror if image in seen[0] else image for image, mirror in images.items()}
    assert seen[0] == seen[2] == seen[4]
    assert seen[1] == seen[3]


# What one can ask a fitted classifier


def test_the_decision_function_is_the_logits(fitted, some):
    X, _ = some
    logits = fitted.decision_function(X)
    assert logits.shape == (120, 10)
    assert logits.dtype == np.float32
    exponentials = np.exp(logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), softmax, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[logits.argmax(axis=1)])


def test_the_decision_function_of_two_classes_is_one_number(some):
    X, y = some
    clf = quick(max_epochs=2).fit(X, np.where(y > 4, "high", "low"))
    margin = clf.decision_function(X)
    assert margin.shape == (120,)
    assert clf.classes_.tolist() == ["high", "low"]
    np.testing.assert_array_equal(clf.predict(X) == "low", margin > 0)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], 1 / (1 + np.exp(-margin.astype(float))), rtol=1e-5)


def test_probabilities_are_float32_and_add_up(fitted, some):
    probabilities = fitted.predict_proba(some[0])
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (120, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_the_module_takes_raw_pixels(fitted, some):
    X, _ = some
    assert isinstance(fitted.module_, nn.Sequential)
    with torch.no_grad():
        logits = fitted.module_.eval()(torch.tensor(X[:, np.newaxis])).numpy()
    np.testing.assert_allclose(logits, fitted.decision_function(X), rtol=1e-4, atol=1e-5)
    assert fitted.n_parameters_ == sum(p.numel() for p in fitted.module_.parameters())


def test_predictions_of_many_rows_are_those_of_few(fitted, digits):
    X, _ = digits
    together = fitted.predict_proba(X)
    np.testing.assert_allclose(together[:3], fitted.predict_proba(X[:3]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together[-1:], fitted.predict_proba(X[-1:]), rtol=1e-4, atol=1e-6)


def test_the_html_shows_the_layers_once_fitted(fitted):
    unfitted, page = CNNClassifier()._repr_html_(), fitted._repr_html_()
    assert "CNNClassifier" in unfitted
    assert ">layer</th>" not in unfitted
    assert f"Layers ({fitted.n_parameters_:,} parameters)" in page
    for name, _ in fitted.module_.named_children():
        assert f">{name}</td>" in page
    assert ">layer</th>" in fitted._repr_mimebundle_()["text/html"]  # what a notebook asks for


def test_the_html_escapes_names():
    def architecture(image_shape, n_classes):
        return nn.Sequential(OrderedDict([("<b>", nn.Flatten()), ("output", nn.Linear(64, n_classes))]))

    X, y = load_digits()
    page = quick(architecture).fit(X[:50], y[:50])._repr_html_()
    assert ">&lt;b&gt;</td>" in page
    assert "<b></td>" not in page


@pytest.mark.parametrize(
    "ask",
    ["predict", "predict_proba", "decision_function", "score", "module_", "n_parameters_", "history_", "classes_"],
)
def test_what_only_a_fitted_one_can_tell(ask, some):
    X, y = some
    clf = CNNClassifier()
    if ask.endswith("_"):
        assert not hasattr(clf, ask)
        return
    sentence = (
        "This CNNClassifier instance is not fitted yet. "
        "Call 'fit' with appropriate arguments before using this estimator."
    )
    with pytest.raises(NotFittedError, match=exactly(sentence)):
        getattr(clf, ask)(X, *([y] if ask == "score" else []))


# What a fit leaves alone


def test_global_random_states_and_threads_are_left_alone(some):
    X, y = some
    n_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        before = torch.get_rng_state(), pickle.dumps(np.random.mtrand._rand), random.getstate()
        clf = quick(augment="affine", early_stopping=True, architecture="pool3_head1").fit(X, y)
        clf.partial_fit(X, y).predict(X)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert pickle.dumps(np.random.mtrand._rand) == before[1]
        assert random.getstate() == before[2]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


def test_the_callers_random_state_does_not_matter(some):
    X, y = some
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = quick(augment="affine").fit(X, y)
        torch.manual_seed(2)
        torch.rand(5)
        other = quick(augment="affine").fit(X, y)
    assert same_bits(one, other, X)


def test_random_states_of_numpy(some):
    X, y = some

    def two_fits(seed):
        clf = quick(random_state=np.random.RandomState(seed))
        return clf.fit(X, y).predict_proba(X).tobytes(), clf.fit(X, y).predict_proba(X).tobytes()

    first, second = two_fits(5)
    assert first != second  # the state moves on
    assert two_fits(5) == (first, second)
    assert not same_bits(quick(random_state=None).fit(X, y), quick(random_state=None).fit(X, y), X)


def test_one_thread_whatever_torch_is_set_to(some):
    seen = Seen()
    quick(callbacks=[seen]).fit(*some)
    assert seen.n_threads == {1}


FIT_AND_HASH = """
import hashlib
from cnnclf import CNNClassifier, load_digits
X, y = load_digits()
clf = CNNClassifier("pool3_head1", max_epochs=2, augment="affine", early_stopping=True, random_state=7)
print(hashlib.sha256(clf.fit(X[:200], y[:200]).predict_proba(X).tobytes()).hexdigest())
"""


def test_another_process_gets_the_same_bits(capsys):
    run = run_in_child(f"import warnings\nwarnings.simplefilter('error')\n{FIT_AND_HASH}")
    exec(FIT_AND_HASH)
    assert run.stdout == capsys.readouterr().out
    assert len(run.stdout.strip()) == 64
