"""What `CNNClassifier` promises: it takes whatever people pass in, does what they ask for, and says what it cannot."""

import fcntl
import inspect
import math
import os
import pickle
import random
import re
import struct
import sys
import termios
import threading
import warnings
from collections import OrderedDict

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils import compute_class_weight
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
from torch import nn

from cnnclf import CNNClassifier, ONNXClassifier, load_digits
from cnnclf._utils.text import percent, quote
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.training._callbacks import Epochs
from cnnclf.training._data import arrange, split_rows
from helpers import exactly, run_in_child

PARAMETER_NAMES = list(inspect.signature(CNNClassifier).parameters)


def quick(architecture="compact", **parameters):
    """One epoch, seeded, but for what is asked for."""
    return CNNClassifier(architecture, **({"max_epochs": 1, "random_state": 0} | parameters))


def same_bits(clf, other, X, X_other=None):
    """Whether two fitted classifiers give the same probabilities, bit for bit."""
    a, b = clf.predict_proba(X), other.predict_proba(X if X_other is None else X_other)
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def cross_entropy(clf, X, y, weight=None):
    """The weighted mean of −ln p of the true class, from logits in float64, so that no probability is rounded to 0."""
    logits = clf.decision_function(X).astype(np.float64)
    log_p = logits[np.arange(len(y)), y] - np.logaddexp.reduce(logits, axis=1)
    return -np.average(log_p, weights=weight)


STRANGERS = "Expected every label of {} to be one of the classes {}; got {}. Leave those rows out, or fit with them."


@pytest.fixture(scope="module")
def some(few_digits):
    """120 digits, enough to see that two fits are the same."""
    X, y, _, _ = few_digits
    return X[:120], y[:120]


@pytest.fixture(scope="module")
def fitted(some):
    """One classifier for all tests that only ask it something."""
    return quick(max_epochs=3).fit(*some)


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
@settings(deadline=None, max_examples=30)
def test_any_set_of_labels_goes_in_and_comes_out(labels, chance):
    in_order = sorted(labels) if chance is None else chance.sample(sorted(labels), len(labels))
    y = np.array(in_order * 3)
    X = np.random.default_rng(0).integers(0, 256, (len(y), 2, 2), dtype=np.uint8)
    clf = quick().fit(X, y)

    assert clf.classes_.tolist() == sorted(set(y.tolist()))
    assert clf.classes_.dtype == y.dtype
    assert set(clf.predict(X).tolist()) <= set(y.tolist())
    assert clf.predict_proba(X).shape == (len(y), len(labels))


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


# Class weights


def test_balanced_class_weights_help_the_rare_class(few_digits):
    # 40 nines and three threes: taking all of them for nines is right in nearly all cases, but of no use.
    X, y, X_test, y_test = few_digits
    rows = np.concatenate([np.flatnonzero(y == 9), np.flatnonzero(y == 3)[:3]])
    test = np.isin(y_test, [3, 9])

    def recall_of_threes(class_weight):
        clf = quick(max_epochs=5, class_weight=class_weight).fit(X[rows], y[rows])
        return recall_score(y_test[test], clf.predict(X_test[test]), pos_label=3)

    assert recall_of_threes("balanced") > recall_of_threes(None) + 0.2


@pytest.mark.parametrize("names", [list(range(10)), [f"digit {i}" for i in range(10)]])
def test_balanced_is_the_dict_of_balanced_weights(names, some):
    X, y = some
    y = np.array(names)[np.minimum(y, 6)]
    classes = np.unique(y)
    weights = compute_class_weight("balanced", classes=classes, y=y)  # n / (n_classes · count)
    by_dict = quick(class_weight=dict(zip(classes.tolist(), weights, strict=True))).fit(X, y)
    assert same_bits(quick(class_weight="balanced").fit(X, y), by_dict, X)


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5, 1e-300])
def test_balanced_weighs_a_class_by_its_sample_weights_whatever_their_scale(scale, some):
    # Ten classes, Σw of each is scale · (0.25 · n), of threes scale · (2.25 · n): the weights are Σw / (10 · Σw of the
    # class), which has no scale. The numbers are no whole ones, so that nothing is repeated.
    X, y = some
    weight = np.where(y == 3, 2.25, 0.25)
    sums = {label: weight[y == label].sum() for label in range(10)}
    by_dict = quick(class_weight={label: weight.sum() / (10 * s) for label, s in sums.items()})
    by_dict.fit(X, y, sample_weight=weight)
    balanced = quick(class_weight="balanced").fit(X, y, sample_weight=scale * weight)
    np.testing.assert_allclose(balanced.predict_proba(X), by_dict.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
def test_balanced_sees_repetitions_as_weights(parameters, some):
    X, y = some
    count = np.where(y == 3, 3, 1)
    weighted = quick(class_weight="balanced", **parameters).fit(X, y, sample_weight=count)
    repeated = quick(class_weight="balanced", **parameters).fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    assert same_bits(weighted, repeated, X)


def test_class_weights_multiply_sample_weights(some):
    X, y = some
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    by_class = quick(class_weight={3: 4.0, 5: 0.5}).fit(X, y, sample_weight=weight)
    by_hand = quick().fit(X, y, sample_weight=weight * np.where(y == 3, 4, np.where(y == 5, 0.5, 1)))
    np.testing.assert_allclose(by_class.predict_proba(X), by_hand.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
def test_a_class_left_out_of_class_weights_weighs_one(parameters, some):
    X, y = some
    some_classes = quick(class_weight={3: 4.0}, **parameters).fit(X, y)
    all_classes = quick(class_weight=dict.fromkeys(range(10), 1.0) | {3: 4.0}, **parameters).fit(X, y)
    assert same_bits(some_classes, all_classes, X)


def test_class_weights_may_name_a_class_that_no_row_is_left_of(some):
    X, y = some
    weights = {3: 4.0}
    without = y != 3
    by_weight = quick(class_weight=weights).fit(X, y, sample_weight=without.astype(float))
    assert by_weight.classes_.tolist() == list(range(10))
    by_part = quick(class_weight=weights).partial_fit(X[without], y[without], classes=range(10))
    assert by_part.classes_.tolist() == list(range(10))


def test_class_weights_may_name_a_class_that_a_fold_lacks(some):
    X, y = some
    low = y < 2
    named = quick(class_weight={0: 1.0, 1: 3.0, 2: 5.0}).fit(X[low], y[low])
    assert same_bits(named, quick(class_weight={0: 1.0, 1: 3.0}).fit(X[low], y[low]), X[low])


def test_a_search_over_class_weights_scores_folds_that_lack_a_class(some):
    # The only "two" is in one of two folds, so that the other one's training rows lack it.
    X, y = some
    rows = np.concatenate([np.flatnonzero(y == 0)[:6], np.flatnonzero(y == 1)[:6], np.flatnonzero(y == 2)[:1]])
    names = np.array(["zero", "one", "two"])[y[rows]]
    weights = {"zero": 1.0, "one": 1.0, "two": 4.0}
    scores = cross_val_score(quick(class_weight=weights), X[rows], names, cv=KFold(2), error_score="raise")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_misspelt_class_is_refused_where_another_one_is_left_out(method, some):
    X, y = some
    names = np.array(["cat", "dog"])[y % 2]
    classes = {"classes": ["cat", "dog"]} if method == "partial_fit" else {}
    sentence = "class_weight names 'dgo', which y does not have, and leaves out 'dog'. Name the classes as y does."
    with pytest.raises(ValueError, match=exactly(sentence)):
        getattr(quick(class_weight={"cat": 1.0, "dgo": 2.0}), method)(X, names, **classes)


# Validation and early stopping


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])  # which is a matter of training, not of measuring
def test_validation_data_is_measured_not_learnt(label_smoothing, few_digits):
    X, y, X_val, y_val = few_digits
    clf = quick(max_epochs=3, label_smoothing=label_smoothing).fit(X, y, X_val=X_val, y_val=y_val)
    assert same_bits(clf, quick(max_epochs=3, label_smoothing=label_smoothing).fit(X, y), X)
    assert clf.history_[-1]["valid_loss"] == pytest.approx(cross_entropy(clf, X_val, y_val), rel=1e-5)
    assert clf.history_[-1]["valid_accuracy"] == accuracy_score(y_val, clf.predict(X_val))


@pytest.mark.parametrize("weight_averaging", [False, True])
def test_early_stopping_restores_the_best_weights(weight_averaging, few_digits):
    # So high a learning rate on so few digits overfits soon.
    X, y, X_val, y_val = few_digits
    clf = quick(
        early_stopping=True, max_epochs=60, patience=4, lr=0.02, lr_schedule="constant", batch_size=16,
        weight_averaging=weight_averaging,
    ).fit(X[:100], y[:100], X_val=X_val, y_val=y_val)  # fmt: skip
    losses = [row["valid_loss"] for row in clf.history_]
    best = int(np.argmin(losses))

    assert len(losses) < 60
    assert len(losses) == best + 1 + 4  # four epochs without improvement after the best
    assert losses[-1] > losses[best]
    assert cross_entropy(clf, X_val, y_val) == pytest.approx(losses[best], rel=1e-5)


def test_early_stopping_that_is_not_needed_lets_training_end(some):
    X, y = some
    clf = quick(early_stopping=True, max_epochs=3, patience=5).fit(X, y)
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3]


def test_early_stopping_sets_a_stratified_share_aside(digits):
    # 20 digits of each class and a fraction of 0.1: two of each class are held out, 180 of 200 are learnt from.
    X, y = digits
    rows = np.concatenate([np.flatnonzero(y == k)[:20] for k in range(10)])
    seen = Seen()
    clf = quick(early_stopping=True, callbacks=[seen]).fit(X[rows], y[rows])
    assert sorted(seen.labels[False]) == sorted(list(range(10)) * 2)
    assert sorted(seen.labels[True]) == sorted(list(range(10)) * 18)
    assert clf.history_[0]["valid_accuracy"] * 20 == pytest.approx(round(clf.history_[0]["valid_accuracy"] * 20))


class Seen(Callback):
    """Note the labels of each batch, of training (True) and of validation (False), and where torch stood then."""

    def on_train_begin(self, net, **kwargs):
        self.labels = {True: [], False: []}
        self.n_threads = set()

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.labels[training] += batch[1].tolist()
        self.n_threads.add(torch.get_num_threads())


class Visited(Callback):
    """Note the content and label of each row that is learnt (True) and validated on (False)."""

    def on_train_begin(self, net, **kwargs):
        self.rows = {True: [], False: []}

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        X, y = batch
        X = X["X"] if isinstance(X, dict) else X
        self.rows[training] += [(x.numpy().tobytes(), label) for x, label in zip(X, y.tolist(), strict=True)]


@pytest.mark.parametrize("weight", [None, 2, [0.5, 1.5]], ids=str)
@pytest.mark.parametrize("times", [1, 2])
def test_no_row_is_learnt_and_validated_on_however_often_it_is_visited(times, weight, some):
    X, y = (np.repeat(a, times, axis=0) for a in some)
    weight = np.resize(weight, len(y)) if isinstance(weight, list) else weight
    visited = Visited()
    quick(early_stopping=True, callbacks=[visited]).fit(X, y, sample_weight=weight)
    learnt, held_out = set(visited.rows[True]), set(visited.rows[False])
    assert not learnt & held_out
    assert len(learnt | held_out) == 120
    assert len(held_out) == 12  # a tenth of the distinct rows
    n_visits = 120 * times * (2 if np.array_equal(weight, 2) else 1)
    assert len(visited.rows[True]) + len(visited.rows[False]) == n_visits


def test_a_class_of_one_row_is_learnt_and_the_others_give_their_share():
    # Of 921 rows a tenth is 93. Row r of n is held out in the order of (r + ½) / n: of 900 rows the 91st at
    # 90.5 / 900 = 0.1006, of 20 rows the second at 1.5 / 20 = 0.075 and the third only at 0.125.
    labels = np.repeat([0, 1, 2], [900, 20, 1])
    pixels = np.arange(921, dtype=np.float32).reshape(-1, 1, 1, 1)
    order, _ = arrange(pixels, labels, None)
    for seed in range(20):
        learnt, held_out = split_rows(order, pixels, labels, 0.1, seed)
        assert np.bincount(labels[held_out], minlength=3).tolist() == [91, 2, 0]
        assert sorted([*learnt, *held_out]) == list(range(921))


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.5, 0.99]),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None)
@example([(0, 0), (1, 0), (0, 1), (1, 1)], 0.99, 0)  # of two rows of each class one is learnt
def test_every_class_is_learnt_and_distinct_rows_stay_together(rows, fraction, seed):
    pixel, labels = map(np.array, zip(*rows, strict=True))
    pixels = pixel.astype(np.uint8).reshape(-1, 1, 1, 1)
    order, _ = arrange(pixels, labels, None)
    distinct = set(rows)
    if len(distinct) == len(np.unique(labels)):
        with pytest.raises(ValueError, match=r"\Aearly_stopping needs two different rows of a class, "):
            split_rows(order, pixels, labels, fraction, seed)
        return
    learnt, held_out = ({rows[i] for i in side} for side in split_rows(order, pixels, labels, fraction, seed))
    assert learnt | held_out == distinct
    assert not learnt & held_out
    assert {label for _, label in learnt} == set(labels.tolist())
    assert len(held_out) == min(math.ceil(fraction * len(distinct)), len(distinct) - len(np.unique(labels)))


# History


def test_history_without_validation_data(some):
    clf = quick(max_epochs=3, lr=0.01, lr_schedule="constant").fit(*some)
    assert [list(row) for row in clf.history_] == [["epoch", "train_loss", "train_accuracy", "lr", "seconds"]] * 3
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3]
    assert [row["lr"] for row in clf.history_] == [0.01] * 3
    assert clf.history_[2]["train_loss"] < clf.history_[0]["train_loss"]
    assert clf.history_[2]["train_accuracy"] > clf.history_[0]["train_accuracy"]
    for row in clf.history_:
        assert row["seconds"] > 0
        assert (row["train_accuracy"] * 120) % 1 == pytest.approx(0, abs=1e-9)  # a share of 120 rows
        assert [type(value) for value in row.values()] == [int, float, float, float, float]


@pytest.mark.parametrize("architecture", ["compact", "keras_mnist"])  # the second has dropout before its output
@pytest.mark.parametrize("class_weight", [None, {3: 5.0, 4: 0.2}])
def test_with_validation_data_both_are_measured_alike(architecture, class_weight, some):
    # Where the validation data is the training data, so are the figures, dropout or not.
    X, y = some
    clf = quick(architecture, max_epochs=2, class_weight=class_weight).fit(X, y, X_val=X, y_val=y)
    keys = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr", "seconds"]
    assert [list(row) for row in clf.history_] == [keys] * 2
    for row in clf.history_:
        assert row["train_loss"] == pytest.approx(row["valid_loss"], rel=1e-5)
        assert row["train_accuracy"] == row["valid_accuracy"]
    assert clf.history_[-1]["train_accuracy"] == clf.score(X, y)
    weight = np.array([(class_weight or {}).get(label, 1.0) for label in y])
    expected = cross_entropy(clf, X, y, weight)
    assert clf.history_[-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_history_is_a_data_frame_in_one_call(fitted):
    frame = pd.DataFrame(fitted.history_)
    assert frame.columns.tolist() == ["epoch", "train_loss", "train_accuracy", "lr", "seconds"]
    assert frame["epoch"].tolist() == [1, 2, 3]


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
    # With three epochs remembered between trainings instead of ten thousand.
    monkeypatch.setattr("cnnclf.training._net.KEPT_EPOCHS", 3)
    monkeypatch.setattr("cnnclf.classifier._fitted.KEPT_EPOCHS", 3)
    X, y = some
    clf, sizes = quick("tiny"), []
    for call in range(1, 8):
        clf.partial_fit(X, y, classes=range(10))
        clf.save(tmp_path / "model.cnn")
        sizes.append((tmp_path / "model.cnn").stat().st_size)
        assert [row["epoch"] for row in clf.history_] == list(range(max(1, call - 3), call + 1))
        assert sum(bool(epoch["batches"]) for epoch in clf.net_.history) == 1  # those of the last training
    assert sizes[-1] < sizes[2] + 200  # bytes: the same number of epochs, of a few digits more or less
    assert [row["epoch"] for row in CNNClassifier.load(tmp_path / "model.cnn").history_] == [5, 6, 7]


def test_the_epochs_that_a_file_left_out_count_after_it_is_loaded(some, monkeypatch, tmp_path):
    monkeypatch.setattr("cnnclf.classifier._fitted.KEPT_EPOCHS", 2)
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
    sentence = "classes must be passed in the first call of partial_fit: all labels that will ever come."
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
    with pytest.raises(ValueError, match=exactly("classes must hold at least one label; got [].")):
        quick().partial_fit(X, y, classes=[])
    sentence = (
        "class_weight='balanced' needs all labels at once, which partial_fit does not have; "
        "pass a dict from class to weight."
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
        "Expected lr_schedule='constant' beside the callback LRScheduler, which rules the learning rate; got "
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
        f"Expected validation data for the callback {type(callback).__name__}, which has nothing to look at without; "
        "got none. Pass X_val and y_val or early_stopping=True, or let the callback look at training data."
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


# Progress


@pytest.mark.parametrize("verbose", [0, 1, True])
def test_nothing_is_printed_where_there_is_no_terminal(verbose, some, capfd):
    X, y = some
    quick(max_epochs=3, verbose=verbose, early_stopping=True, patience=1).fit(X, y).predict(X)
    assert capfd.readouterr() == ("", "")


def test_a_program_without_stderr_shows_no_bar(some, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw.exe
    quick("tiny", verbose=1).fit(*some)


@pytest.mark.parametrize(("verbose", "valid"), [(1, False), (1, True), (0, False)])
def test_a_terminal_shows_a_bar(verbose, valid, some, monkeypatch, capfd):
    X, y = some
    terminal, screen = os.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # lines, columns, pixels
    shown = []

    def read():
        while True:
            try:
                shown.append(os.read(terminal, 4096))
            except OSError:  # the other end is closed: that is how a pseudo-terminal ends
                return

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(screen, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        clf = quick(max_epochs=2, batch_size=40, verbose=verbose)
        clf.fit(X, y, X_val=X if valid else None, y_val=y if valid else None)
        monkeypatch.undo()
    reader.join(timeout=60)
    os.close(terminal)
    text = b"".join(shown).decode()

    assert capfd.readouterr().out == ""
    if not verbose:
        assert text == ""
        return
    last = clf.history_[-1]
    kind = "valid" if valid else "train"
    assert "epoch 2: 100%" in text
    assert "6/6" in text  # 120 rows in batches of 40, twice
    assert f"{kind} loss {last[f'{kind}_loss']:.4f}, accuracy {percent(last[f'{kind}_accuracy'])}" in text


# Interruption


class Interrupt(Callback):
    """The user's Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch and len(net.history[-1, "batches"]) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("parameters", [{}, {"weight_averaging": True}, {"early_stopping": True}, {"augment": "shift"}])
@pytest.mark.parametrize("whole_epochs", [0, 2])
def test_an_interrupted_fit_is_a_fit(whole_epochs, parameters, some):
    X, y = some
    clf = quick(max_epochs=9, batch_size=20, callbacks=[Interrupt(whole_epochs + 1)], **parameters)
    sentence = f"Training interrupted by user in epoch {whole_epochs + 1}; the estimator is usable."
    with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
        assert clf.fit(X, y) is clf
    assert [warning.filename for warning in caught] == [__file__]  # it points at the call of fit

    assert len(clf.history_) == whole_epochs
    assert set(clf.predict(X)) <= set(range(10))
    assert not clf.module_.training
    assert same_bits(pickle.loads(pickle.dumps(clf)), clf, X)
    clf.set_params(callbacks=None)
    clf.partial_fit(X, y)
    assert len(clf.history_) == whole_epochs + 1


def test_after_an_interruption_training_goes_on_where_it_stood(some):
    X, y = some
    clf = quick(max_epochs=4, batch_size=20, warm_start=True, callbacks=[Interrupt(3)])
    with pytest.warns(UserWarning, match=r"\ATraining interrupted by user in epoch 3; "):
        clf.fit(X, y)
    loss = clf.history_[-1]["train_loss"]
    clf.set_params(callbacks=None).fit(X, y)
    assert len(clf.history_) == 6
    assert clf.history_[2]["train_loss"] < loss


# --- Refusals --------------------------------------------------------------------------------------------------------


WHOLE = "a whole number, 1 or more"
TRUTH = "True or False"
ALL_ARCHITECTURES = (
    f"Expected architecture to be one of {', '.join(ARCHITECTURES)}, or a function (image_shape, n_classes) -> "
    "nn.Module; got "
)
AUGMENT = "None, 'shift', 'affine', 'elastic', 'erase', several of them in a list, or a function from batch to batch"
CLASS_WEIGHT = "None, 'balanced', or a dict from class to a weight of 0 or more"
CALLBACKS = "None, or a list of skorch callbacks or of (name, callback) pairs"
DEVICE = "'auto', or the name of a torch device such as 'cpu' or 'cuda'"
FOLDER = "None, or the path of a folder, in which '{fit}' gives each fit a folder of its own"
IMAGE_SHAPE = (
    "Expected image_shape to be three positive whole numbers (channels, height, width); got {!r}. "
    "For a grey image of 28 by 28 pixels pass (1, 28, 28)."
)

# For every parameter: what it must be, and values that are not. A value may bring a whole sentence of its own.
BAD_VALUES = {
    "architecture": (
        "a name of list_architectures(), or a function (image_shape, n_classes) -> nn.Module",
        [None, 5, ("lenet5",), ("lenet", ALL_ARCHITECTURES + "'lenet'. Did you mean 'lenet5'?")],
    ),
    "max_epochs": (WHOLE, [0, -1, 2.0, "3", None, True]),
    "batch_size": (f"'auto', or {WHOLE}", [0, -5, 32.0, "big", None, False]),
    "lr": ("a number above 0", [0, -0.1, float("nan"), float("inf"), "0.1", None, True]),
    "optimizer": ("'adamw', 'adam' or 'sgd'", ["AdamW", "", None, torch.optim.SGD]),
    "lr_schedule": ("'one_cycle', 'cosine' or 'constant'", ["linear", None, 1]),
    "weight_decay": ("a number, 0 or more", [-1e-9, float("nan"), "0", None, False]),
    "label_smoothing": ("a number from 0 to 1, 1 excluded", [-0.1, 1, float("nan"), None]),
    "augment": (AUGMENT, ["flip", ["shift", "flip"], 3, ("shift", None), True]),
    "weight_averaging": (TRUTH, [1, "yes", None, 0.999]),
    "early_stopping": (TRUTH, [0, "auto", None]),
    "validation_fraction": ("a number between 0 and 1, both excluded", [0, 1, -0.1, 20, float("nan"), None]),
    "patience": (WHOLE, [0, -2, 1.5, None]),
    "preparation": ("None, 'resize', 'pad' or 'handwriting'", ["center", "", 1, True]),
    "class_weight": (CLASS_WEIGHT, ["auto", [1] * 10, {0: -1}, {0: "1"}, {0: float("nan")}, 2]),
    "image_shape": (
        "None, or three whole numbers (channels, height, width)",
        [8, {1, 8}, *((v, IMAGE_SHAPE.format(v)) for v in [(8, 8), "188", (1, 8, 8.0), (0, 8, 8), (True, 8, 8)])],
    ),
    "precision": ("'auto', 'float32' or 'bfloat16'", ["float16", 32, None, torch.float32]),
    "device": (DEVICE, [0, None, "gpu", "", "cuda:x", "meta"]),
    "compile": (TRUTH, [1, "reduce-overhead", None]),
    "warm_start": (TRUTH, [1, None, "yes"]),
    "checkpoint": (FOLDER, [0, True, "", b"run", ["run"]]),
    "callbacks": (CALLBACKS, [Interrupt, "progress", [3], [("name", 3)], [None]]),
    "random_state": (
        "None, a whole number from 0 to 4294967295, or a numpy RandomState",
        ["seed", 0.5, -1, 2**32, True],
    ),
    "verbose": ("a whole number, 0 or more", [-1, 0.5, "yes", None]),
}


def bad_values():
    for name, (expected, values) in BAD_VALUES.items():
        for value in values:
            is_pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)
            value, sentence = (
                value
                if is_pair
                else (
                    value,
                    f"Expected {name} to be {expected}; got {quote(value)}. Change {name}.",
                )
            )
            yield pytest.param(name, value, sentence, id=f"{name}={value!r}")


def test_every_parameter_is_documented_and_has_values_that_are_refused():
    documented = re.findall(r"^    (\w+) : ", CNNClassifier.__doc__.split("Attributes\n")[0], flags=re.MULTILINE)
    assert documented == PARAMETER_NAMES
    assert sorted(BAD_VALUES) == sorted(PARAMETER_NAMES)
    assert list(CNNClassifier().get_params()) == sorted(PARAMETER_NAMES)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value", "sentence"), list(bad_values()))
def test_a_parameter_out_of_range_is_refused(name, value, sentence, method, some):
    X, y = some
    clf = CNNClassifier(**{"max_epochs": 1, name: value})  # nothing is checked before fit
    error = TypeError if name == "architecture" and not isinstance(value, str) else ValueError
    with pytest.raises(error, match=exactly(sentence)):
        getattr(clf, method)(X, y, **({"classes": range(10)} if method == "partial_fit" else {}))
    assert not hasattr(clf, "net_")


NUMPY_SCALARS = {
    "max_epochs": np.int64(1),
    "batch_size": np.int64(40),
    "lr": np.float32(2**-7),
    "weight_decay": np.float64(0.5),
    "label_smoothing": np.float32(0.25),
    "weight_averaging": np.True_,
    "early_stopping": np.True_,
    "validation_fraction": np.float32(0.25),
    "patience": np.uint8(2),
    "random_state": np.int64(3),
    "verbose": np.int64(0),
    "warm_start": np.False_,
    "compile": np.False_,
    "optimizer": np.str_("sgd"),
}


@pytest.mark.parametrize("name", NUMPY_SCALARS)
def test_numbers_of_numpy_are_as_good_as_pythons(name, some):
    # Searches draw parameters from arrays and distributions.
    X, y = some
    value = NUMPY_SCALARS[name]
    by_numpy, by_python = quick(**{name: value}).fit(X, y), quick(**{name: value.item()}).fit(X, y)
    assert same_bits(by_numpy, by_python, X)


def test_an_unavailable_device_is_refused(some):
    sentence = "device='cuda:99' is not available here. Pass device='auto' or 'cpu'."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(device="cuda:99").fit(*some)


@pytest.mark.parametrize(
    ("class_weight", "sentence"),
    [
        (
            {99: 2.0},
            (
                "class_weight names 99, which y does not have, and leaves out 0, 1, 2, 3, 4 and 5 more. "
                "Name the classes as y does."
            ),
        ),
        (
            dict.fromkeys(range(10), 0),
            ("class_weight={0: 0, 1: 0, 2: 0, 3: 0, 4: 0, ...} gives every row weight 0; give some class more."),
        ),
    ],
)
def test_class_weights_that_leave_nothing_or_name_nothing_are_refused(class_weight, sentence, some):
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(class_weight=class_weight).fit(*some)


WRONG_SHAPE = (
    "X has shape {}, but CNNClassifier is expecting (n, {}) as input. "
    "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function", "score"])
@pytest.mark.parametrize(
    ("fitted_shape", "shape"),
    [
        ((8, 8), (8, 7)),  # the trailing axis, which scikit-learn itself does not look at
        ((8, 8), (7, 8)),
        ((8, 8), (8, 8, 1)),
        ((8, 8), (1, 8, 8)),
        ((64,), (8, 8)),
        ((8, 6, 3), (3, 8, 6)),
        ((8, 6, 3), (8, 6, 4)),
        ((3, 8, 6), (3, 6, 8)),
        ((2, 3), (3, 2)),
    ],
)
def test_another_image_shape_is_refused_at_predict(method, fitted_shape, shape):
    clf = quick().fit(np.arange(4 * np.prod(fitted_shape)).reshape(4, *fitted_shape) % 251, [0, 1, 0, 1])
    sentence = WRONG_SHAPE.format((5, *shape), str(fitted_shape).strip("(,)"))
    with pytest.raises(ValueError, match=exactly(sentence)):
        getattr(clf, method)(np.zeros((5, *shape)), *([np.zeros(5)] if method == "score" else []))


def test_another_number_of_features_is_refused_at_predict(some):
    X, y = some
    clf = quick().fit(X.reshape(-1, 64), y)
    sentence = "X has 63 features, but CNNClassifier is expecting 64 features as input."
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.predict(X.reshape(-1, 64)[:, 1:])


def with_pixel(value, dtype=np.float64):
    X = np.zeros((20, 8, 8), dtype)
    X[3, 4, 5] = value
    return X


SINGLE_IMAGE = (
    "Expected 2D array, got 1D array instead: ndarray of shape (3,). "
    "Reshape your data using array.reshape(1, -1) if it is a single row, "
    "or stack your images with np.stack(images)."
)
NO_IMAGE = "Found array with 0 sample(s) (shape=(0, 8, 8)) while a minimum of 1 is required."
NAN = "Input X contains NaN. Fill the missing pixels or drop those images before you pass X."
INFINITE = (
    "Input X contains infinity or a value too large for dtype('float32'). Scale or clip the pixels before you pass X."
)
COMPLEX = "Complex data not supported: expected real pixels, got X of dtype complex128. Pass X.real or np.abs(X)."
STRINGS = (
    "dtype='numeric' is not compatible with arrays of bytes/strings: got X of dtype <U1. "
    "Convert your data to numeric values explicitly instead."
)


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize(
    ("X", "error", "sentence"),
    [
        (with_pixel(np.nan), ValueError, NAN),
        (with_pixel(np.inf), ValueError, INFINITE),
        (with_pixel(-np.inf), ValueError, INFINITE),
        (with_pixel(1e300), ValueError, INFINITE),
        (with_pixel(1j, complex), ValueError, COMPLEX),
        (np.full((20, 8, 8), "a"), ValueError, STRINGS),
        (np.zeros((0, 8, 8)), ValueError, NO_IMAGE),
        (np.zeros(3), ValueError, SINGLE_IMAGE),
        (
            scipy.sparse.csr_array(np.eye(20)),
            TypeError,
            "Expected a dense array of images, got a sparse csr_array. Use X.toarray() to convert it.",
        ),
        (
            [np.zeros((8, 8)), np.zeros((7, 8))],
            ValueError,
            (
                "Expected images that all have one size; got (8, 8) for the first and (7, 8) for row 1. "
                "Give one array per image, resized or padded to one size, and stack them with np.stack."
            ),
        ),
    ],
    ids=["NaN", "infinity", "minus infinity", "overflow", "complex", "strings", "empty", "1-D", "sparse", "ragged"],
)
def test_data_that_is_no_stack_of_images_is_refused(X, error, sentence, method, fitted):
    with pytest.raises(error, match=exactly(sentence)):
        quick().fit(X, np.arange(20) % 2) if method == "fit" else fitted.predict(X)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            (3, 32, 3),
            (
                "Ambiguous channel order: X of shape (n, 3, 32, 3) can be read as images of (channels, height, width) "
                "= (3, 32, 3), channels first, or (3, 3, 32), channels last. "
                "Pass image_shape=(channels, height, width) to choose."
            ),
        ),
        (
            (8, 8, 8),
            (
                "Expected 1, 3 or 4 channels as the first or the last axis of an image; got X of shape (n, 8, 8, 8). "
                "Pass image_shape=(channels, height, width) to say which axis is the channels."
            ),
        ),
    ],
)
def test_an_unclear_channel_order_is_refused(shape, sentence):
    X, y = np.zeros((4, *shape)), [0, 1, 0, 1]
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(X, y)
    assert quick(image_shape=shape).fit(X, y).image_shape_ == shape  # what the sentence says to do


MIXED = "Expected labels of one kind, all strings or all numbers; got {} in y. Convert them, for example to strings."
REGRESSION = (
    " Maybe you are trying to fit a classifier, which expects discrete classes on a regression target with "
    "continuous values."
)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (None, "This CNNClassifier estimator requires y to be passed, but the target y is None."),
        (
            np.eye(10)[np.arange(120) % 10],
            (
                "Expected y of shape (n,), one label per image; got shape (120, 10). "
                "If y is one-hot encoded, pass y.argmax(axis=1)."
            ),
        ),
        (np.arange(119) % 2, "Found input variables with inconsistent numbers of samples: [120, 119]"),
        (np.linspace(0, 1, 120), f"Unknown label type: continuous.{REGRESSION}"),
        (np.array(["a", 1] * 60, object), MIXED.format("'int' and 'str'")),
        (np.array([1, "a"] * 60, object), MIXED.format("'int' and 'str'")),
    ],
    ids=[
        "None",
        "one-hot",
        "too short",
        "continuous",
        "strings and numbers",
        "numbers and strings",
    ],
)
def test_labels_that_are_none_are_refused(y, sentence, some):
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(some[0], y)


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b", None, "a"],
        [1, None, 2, 1],
        [None, "a", 2, "a"],  # which are of two kinds, too
        np.array([1.0, np.nan, 2.0, 1.0]),
        np.array(["a", np.nan, "b", "a"], object),
        pd.Series(["a", pd.NA, "b", "a"], dtype="string"),
        pd.Series(["a", None, "b", "a"], dtype="category"),
        pd.Series([1, pd.NA, 2, 1], dtype="Int64"),
        pl.Series(["a", None, "b", "a"]),
    ],
)
def test_a_missing_label_is_called_one(y, some):
    sentence = "Expected a label for each row; y has 1 missing label (None, NaN or NA). Drop those rows."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(some[0][:4], y)
    keep = ~np.array([pd.isna(label) for label in y])
    quick("tiny").fit(some[0][:4][keep], np.array(["no", "yes"])[[0, 1, 0]])


def test_missing_labels_of_validation_data_are_counted(some):
    X, y = some
    y_val = np.where(y < 2, None, y)
    sentence = (
        f"Expected a label for each row; y_val has {(y < 2).sum()} missing labels (None, NaN or NA). Drop those rows."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(X, y, X_val=X, y_val=y_val)


def test_what_the_one_hot_refusal_says_to_do_works(some):
    X, y = some
    assert same_bits(quick().fit(X, np.eye(10)[y].argmax(axis=1)), quick().fit(X, y), X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("sample_weight", "sentence"),
    [
        ([-0.5] + [1] * 119, "Expected sample_weight of at least 0; got -0.5. Drop rows by giving them 0."),
        (-1, "Expected sample_weight of at least 0; got -1. Drop rows by giving them 0."),
        (
            np.zeros(120),
            "Expected some sample_weight above 0; got only zeros. There is nothing to learn from.",
        ),
        (np.ones(119), "Expected sample_weight of shape (120,), one number per row of X; got (119,)."),
        (np.ones((120, 1)), "Expected sample_weight of shape (120,), one number per row of X; got (120, 1)."),
        ([np.nan] + [1] * 119, "Input sample_weight contains NaN."),
        (
            [np.inf] + [1] * 119,
            "Input sample_weight contains infinity or a value too large for dtype('float64').",
        ),
    ],
    ids=["negative", "one negative number", "zeros", "too short", "2-D", "NaN", "infinity"],
)
def test_sample_weights_that_are_none_are_refused(sample_weight, sentence, method, some):
    X, y = some
    classes = {"classes": range(10)} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=exactly(sentence)):
        getattr(quick(), method)(X, y, sample_weight=sample_weight, **classes)


@pytest.mark.parametrize(
    ("X_val", "y_val", "sentence"),
    [
        (slice(None), None, "Validation data needs both X_val and y_val; y_val is missing."),
        (None, slice(None), "Validation data needs both X_val and y_val; X_val is missing."),
        (slice(None), slice(1, None), "Found input variables with inconsistent numbers of samples: [120, 119]"),
        (slice(0), slice(0), NO_IMAGE),
    ],
)
def test_validation_data_that_does_not_fit_is_refused(X_val, y_val, sentence, some):
    X, y = some
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(X, y, X_val=None if X_val is None else X[X_val], y_val=None if y_val is None else y[y_val])


def test_validation_labels_that_were_not_learnt_are_refused(some):
    X, y = some
    low = y < 5
    sentence = STRANGERS.format("y_val", "0, 1, 2, 3 and 4", "5, 6, 7, 8 and 9")
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(X[low], y[low], X_val=X, y_val=y)


def test_early_stopping_of_a_single_row_is_refused(some):
    X, y = some
    sentence = (
        "early_stopping needs two different rows of a class, one to learn from and one to validate on; "
        "got n_samples=1, all of different classes or equal. "
        "Pass more rows, or X_val and y_val, or early_stopping=False."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(early_stopping=True).fit(X[:1], y[:1])
    quick(early_stopping=True).fit(X[:1], y[:1], X_val=X[:1], y_val=y[:1])


def layers(*modules, **named):
    return lambda image_shape, n_classes: nn.Sequential(*modules) if modules else nn.Sequential(OrderedDict(named))


@pytest.mark.parametrize(
    ("architecture", "error", "sentence"),
    [
        (lambda image_shape, n_classes: None, TypeError, "architecture must return an nn.Module; got NoneType."),
        (lambda image_shape, n_classes: nn.Linear, TypeError, "architecture must return an nn.Module; got type."),
        (
            layers(nn.Flatten(), nn.Linear(64, 3)),
            ValueError,
            (
                "architecture must give logits of shape (n, 10), one for each class; "
                "for a single image of shape (1, 8, 8) it gave (1, 3)."
            ),
        ),
        (
            layers(nn.Conv2d(1, 10, 3)),
            ValueError,
            (
                "architecture must give logits of shape (n, 10), one for each class; "
                "for a single image of shape (1, 8, 8) it gave (1, 10, 6, 6)."
            ),
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),  # a module can be called, but not with these arguments
            TypeError,
            (
                "Expected architecture to be a function (image_shape, n_classes) -> nn.Module; got a Sequential, "
                "which is a module already. Pass a function that makes it, so that every fit starts from new weights."
            ),
        ),
        (
            layers(standardise=nn.Flatten(), output=nn.Linear(64, 10)),
            ValueError,
            "architecture must not name a layer 'standardise': that is the first layer of every network.",
        ),
    ],
    ids=["None", "class", "too few logits", "feature maps", "module", "name taken"],
)
def test_an_architecture_that_makes_no_classifier_is_refused(architecture, error, sentence, some):
    with pytest.raises(error, match=exactly(sentence)):
        quick(architecture).fit(*some)


class Ending(nn.Module):
    """A dense layer whose logits go through a function, without a layer that would tell."""

    def __init__(self, function, n_classes):
        super().__init__()
        self.dense = nn.Linear(64, n_classes)
        self.function = function

    def forward(self, x):
        return self.function(self.dense(x.flatten(1)))


PROBABILITIES = (
    "architecture must give logits; got probabilities, which add up to one. "
    "Leave out the softmax: the loss has one in it."
)
LOGARITHMS = (
    "architecture must give logits; got logarithms of probabilities. Leave out the log-softmax: the loss has one in it."
)
SHARES = "architecture must give logits; got numbers from 0 to 1 alone. Leave out the sigmoid: the loss has one in it."


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (nn.Softmax(dim=1), PROBABILITIES),
        (nn.LogSoftmax(dim=1), LOGARITHMS),
        (nn.Sigmoid(), SHARES),
        (lambda x: x.softmax(dim=1), PROBABILITIES),
        (lambda x: x.softmax(dim=1).clamp(1e-7), PROBABILITIES),
        (lambda x: nn.functional.log_softmax(x, dim=1), LOGARITHMS),
        (torch.sigmoid, SHARES),
    ],
)
def test_a_network_that_ends_in_probabilities_is_refused(last, sentence, n_classes, some):
    X, y = some
    ends = (
        [lambda shape, n: Ending(last, n)]
        if not isinstance(last, nn.Module)
        else [lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(64, n), last), lambda shape, n: Ending(last, n)]
    )
    for architecture in ends:
        with pytest.raises(ValueError, match=exactly(sentence)):
            quick(architecture).fit(X, y % n_classes)


@pytest.mark.parametrize("last", [lambda x: x, torch.tanh, lambda x: 0 * x, torch.relu, lambda x: 1e-3 * x])
@pytest.mark.parametrize("n_classes", [1, 2, 10])
def test_a_network_that_ends_in_other_numbers_is_taken(last, n_classes, some):
    X, y = some
    quick(lambda shape, n: Ending(last, n)).fit(X, y % n_classes)


def test_an_architecture_that_has_outgrown_its_layers_warns(digits):
    # compact on 100×100 pixels: 5×5 convolutions and halvings leave (100 − 4) / 2 = 48 and (48 − 4) / 2 = 22 pixels a
    # side. 5²·16 + 5²·16·32 weights, 2·16 + 2·32 of batch normalisation, 22²·32·256 + 256 and 256·2 + 2 of dense ones.
    n = 400 + 12_800 + 32 + 64 + 3_964_928 + 256 + 514
    X, y = np.zeros((4, 100, 100), np.uint8), [0, 1, 0, 1]
    X[1::2] = 255
    sentence = (
        f"Expected at most 3,000,000 parameters of architecture='compact'; got {n:,}, as its dense layer grows with "
        "the image, here 100×100. Make the images smaller, or pass an architecture of your own that pools globally, "
        "with nn.AdaptiveAvgPool2d(1)."
    )
    for fit in (lambda: quick().fit(X, y), lambda: quick().partial_fit(X, y, classes=[0, 1])):
        with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
            assert fit().n_parameters_ == n
        assert [warning.filename for warning in caught] == [__file__]

    def pools_globally(image_shape, n_classes):  # as the sentence says
        return nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_classes)
        )

    assert quick(pools_globally).fit(X, y).n_parameters_ < 1_000
    quick().fit(X[:, :64, :64], y)  # 13² · 32 · 256 weights of the dense layer are 1.4 million


@pytest.mark.parametrize(
    ("augment", "got"),
    [
        (lambda x: x[:, :, 1:], "(60, 1, 7, 8)"),
        (lambda x: None, "None"),
        (lambda x: x.numpy(), "ndarray of shape (60, 1, 8, 8)"),
    ],
    ids=["shape", "None", "NumPy"],
)
def test_an_augmentation_that_gives_no_batch_like_the_one_it_got_is_refused(augment, got, some):
    sentence = f"augment must give a batch, a tensor of the shape it was given, (60, 1, 8, 8); got {got}."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(batch_size=60, augment=augment).fit(*some)


def gives_a_pair(image_shape, n_classes):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(64, n_classes)

        def forward(self, x):
            return self.dense(x.flatten(1)), x

    return Pair()


def frozen(image_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes)).requires_grad_(False)


def without_parameters(image_shape, n_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d((1, n_classes)), nn.Flatten())


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        (
            gives_a_pair,
            "architecture must give one tensor, the logits; got tuple. Return the logits alone from forward.",
        ),
        (frozen, "architecture must have parameters to train; all of its 650 are frozen (requires_grad=False)."),
        (without_parameters, "architecture must have parameters to train; it has none."),
    ],
)
def test_an_architecture_that_cannot_be_trained_is_refused(architecture, sentence, some):
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(architecture).fit(*some)


def test_no_warning_comes_from_an_ordinary_day(few_digits):
    X, y, X_test, y_test = few_digits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_epochs=2, early_stopping=True, augment="affine").fit(X, y).score(X_test, y_test)


def test_training_that_diverges_names_what_may_have_done_it(some):
    sentence = (
        "Training diverged in epoch 1: the loss is nan. It may be lr ({}) or weight_decay ({}), too large{}. "
        "Lower or change it."
    )
    usual = CNNClassifier()
    for parameters, filled in (
        ({"lr": 1e30}, ("1e+30", f"{usual.weight_decay:g}", "")),
        (
            {"augment": lambda x: x * torch.nan},
            (f"{usual.lr:g}", f"{usual.weight_decay:g}", ", or augment, if it gives NaN or infinity"),
        ),
    ):
        with pytest.raises(ValueError, match=exactly(sentence.format(*filled))):
            quick(**parameters).fit(*some)


@pytest.mark.parametrize("change", [{"architecture": "lenet5"}, {"image_shape": [1, 4, 16]}], ids=["layers", "shape"])
def test_a_warm_start_refuses_another_network(change, some):
    clf = quick(warm_start=True).fit(*some).set_params(**change)
    sentence = (
        "Expected warm_start=True to go on with the network that was fitted, architecture='compact' for images of "
        f"shape (1, 8, 8); got architecture={clf.architecture!r} and image_shape={clf.image_shape!r}. "
        "Set them back, or pass warm_start=False to start anew."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.fit(*some)


def test_weights_near_the_largest_number_are_as_good_as_ones(some):
    X, y = some
    with pytest.warns(UserWarning, match=r"\AExpected whole-number sample_weight of a sum of at most 1,200, "):
        huge = quick().fit(X, y, sample_weight=np.full(len(y), 1e308))
    assert same_bits(huge, quick().fit(X, y), X)
