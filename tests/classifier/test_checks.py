"""For every parameter: what it must be, and values that are not."""

import inspect
import re
import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from torch import nn

from cnnclf import CNNClassifier, Evaluation, ONNXClassifier, TestTimeAugmentation
from cnnclf._utils.text import quote
from cnnclf.architectures._table import ARCHITECTURES
from helpers import STRANGERS, Interrupt, exactly, layers, quick, same_bits

PARAMETER_NAMES = list(inspect.signature(CNNClassifier).parameters)
WHOLE = "a whole number, 1 or more"
TRUTH = "True or False"
ALL_ARCHITECTURES = (
    f"Expected architecture to be one of auto, {', '.join(ARCHITECTURES)}, or a function (image_shape, n_classes) -> "
    "nn.Module; got "
)
AUGMENT = (
    "None, 'auto', 'flip', 'crop', 'shift', 'affine', 'elastic', 'colour', 'erase', a function from batch to batch"
    ", or a list of names and functions"
)
OPTIMIZER = "'muon', 'adamw', 'adam' or 'sgd'"
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
        "'auto', a name of list_architectures(), or a function (image_shape, n_classes) -> nn.Module",
        [None, 5, ("lenet5",), ("lenet", ALL_ARCHITECTURES + "'lenet'. Did you mean 'lenet5'?")],
    ),
    "max_epochs": (f"'auto', or {WHOLE}", [0, -1, 2.0, "3", None, True]),
    "batch_size": (f"'auto', or {WHOLE}", [0, -5, 32.0, "big", None, False]),
    "lr": ("a number above 0", [0, -0.1, float("nan"), float("inf"), "0.1", None, True]),
    "optimizer": (
        OPTIMIZER,
        [
            *("", None, torch.optim.SGD),
            ("AdamW", f"Expected optimizer to be {OPTIMIZER}; got 'AdamW'. Change optimizer. Did you mean 'adamw'?"),
        ],
    ),
    "lr_schedule": ("'one_cycle', 'cosine' or 'constant'", ["linear", None, 1]),
    "weight_decay": ("a number, 0 or more", [-1e-9, float("nan"), "0", None, False]),
    "label_smoothing": ("a number from 0 to 1, 1 excluded", [-0.1, 1, float("nan"), None]),
    "augment": (
        AUGMENT,
        [
            *("mirror", ["shift", "mirror"], 3, ("shift", None), True),
            (
                ["flip", "shfit"],
                f"Expected augment to be {AUGMENT}; got ['flip', 'shfit']. Change augment. Did you mean 'shift'?",
            ),
        ],
    ),
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
    "precision": ("'auto', 'float32' or 'bfloat16'", ["half", 32, None, torch.float32]),
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
    sentence = "Expected a device that is available here; got 'cuda:99'. Pass device='auto' or 'cpu'."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(device="cuda:99").fit(*some)


@pytest.mark.parametrize(
    ("class_weight", "sentence"),
    [
        (
            {99: 2.0},
            (
                "Expected class_weight to name the classes of y; got 99 and nothing for 0, 1, 2, 3, 4 and 5 more. "
                "Name the classes as y does."
            ),
        ),
        (
            dict.fromkeys(range(10), 0),
            "Expected some class_weight above 0; got {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, ...}. Set one above 0.",
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
COMPLEX = "Complex data not supported: expected real pixels; got X of dtype complex128. Pass X.real or np.abs(X)."
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
            "Expected a dense array of images; got a sparse csr_array. Use X.toarray() to convert it.",
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
                "Expected one possible channel order; got X of shape (n, 3, 32, 3), which can be images of (channels, "
                "height, width) = (3, 32, 3), channels first, or (3, 3, 32), channels last. "
                "Pass image_shape=(channels, height, width) to choose."
            ),
        ),
        (
            (8, 8, 8),
            (
                "Expected 1, 3 or 4 channels as the first or the last axis of an image; got X of shape (n, 8, 8, 8). "
                "Pass image_shape=(channels, height, width) to choose the axis."
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
    keep = ~np.array([pd.isna(label) for label in y])
    row = int(np.flatnonzero(~keep)[0])
    sentence = (
        f"Expected a label for each row; got {quote(np.asarray(y)[row])} in row {row} of y. "
        "Leave out rows without a label."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(some[0][:4], y)
    quick("tiny").fit(some[0][:4][keep], np.array(["no", "yes"])[[0, 1, 0]])


def test_missing_labels_of_validation_data_are_counted(some):
    X, y = some
    y_val = np.where(y < 2, None, y)
    rows = np.flatnonzero(y < 2)
    sentence = (
        f"Expected a label for each row; got None in row {rows[0]} of y_val, and {len(rows) - 1} more. "
        "Leave out rows without a label."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick().fit(X, y, X_val=X, y_val=y_val)


def without_labels(y, missing):
    """Labels of which those in the rows 3 and 5 are missing."""
    labels = y.astype(object)
    labels[[3, 5]] = missing
    return labels


@pytest.mark.parametrize(
    ("take_out", "got"),
    [
        (partial(without_labels, missing=None), "None"),
        (partial(without_labels, missing=np.nan), "nan"),
        (partial(without_labels, missing=pd.NA), "<NA>"),
        (lambda y: np.ma.array(y, mask=np.isin(np.arange(len(y)), [3, 5])), "None"),
    ],
    ids=["None", "NaN", "NA", "masked"],
)
def test_score_and_evaluate_name_the_row_of_a_missing_label(take_out, got, some, tmp_path):
    X, y = some
    clf = quick("tiny").fit(X, y)
    clf.to_onnx(tmp_path / "model.onnx")
    labels = take_out(y)
    sentence = f"Expected a label for each row; got {got} in row 3 of y, and 1 more. Leave out rows without a label."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick("tiny").fit(X, labels)
    for measure in (
        clf.score,
        TestTimeAugmentation(clf, image_shape=(1, 8, 8)).fit(X, y).score,
        ONNXClassifier(tmp_path / "model.onnx").score,
        partial(Evaluation.from_estimator, clf),
    ):
        with pytest.raises(ValueError, match=exactly(sentence)):
            measure(X, labels)
    keep = ~np.isin(np.arange(len(y)), [3, 5])
    assert clf.score(X[keep], labels[keep].astype(int)) == Evaluation.from_estimator(clf, X[keep], y[keep]).accuracy


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
        (slice(None), None, "Expected both X_val and y_val; got no y_val. Pass both, or neither."),
        (None, slice(None), "Expected both X_val and y_val; got no X_val. Pass both, or neither."),
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
        "Expected two different rows of a class for early_stopping, one to train on and one to validate on; "
        "got n_samples=1, all of different classes or equal. "
        "Pass more rows, or X_val and y_val, or early_stopping=False."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(early_stopping=True).fit(X[:1], y[:1])
    quick(early_stopping=True).fit(X[:1], y[:1], X_val=X[:1], y_val=y[:1])


@pytest.mark.parametrize(
    ("architecture", "error", "sentence"),
    [
        (lambda image_shape, n_classes: None, TypeError, "Expected architecture to return an nn.Module; got NoneType."),
        (
            lambda image_shape, n_classes: nn.Linear,
            TypeError,
            "Expected architecture to return an nn.Module; got type.",
        ),
        (
            layers(nn.Flatten(), nn.Linear(64, 3)),
            ValueError,
            (
                "Expected architecture to give logits of shape (n, 10), one per class; "
                "got (1, 3) for a single image of shape (1, 8, 8)."
            ),
        ),
        (
            layers(nn.Conv2d(1, 10, 3)),
            ValueError,
            (
                "Expected architecture to give logits of shape (n, 10), one per class; "
                "got (1, 10, 6, 6) for a single image of shape (1, 8, 8)."
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
            "Expected no layer of architecture to be named 'standardise'; got one. Rename it.",
        ),
    ],
    ids=["None", "class", "too few logits", "feature maps", "module", "name taken"],
)
def test_an_architecture_that_makes_no_classifier_is_refused(architecture, error, sentence, some):
    with pytest.raises(error, match=exactly(sentence)):
        quick(architecture).fit(*some)


class Ending(nn.Module):
    """A dense layer whose logits go through a function, without a layer that would show it."""

    def __init__(self, function, n_classes):
        super().__init__()
        self.dense = nn.Linear(64, n_classes)
        self.function = function

    def forward(self, x):
        return self.function(self.dense(x.flatten(1)))


PROBABILITIES = (
    "Expected architecture to give logits; got probabilities, which add up to one. "
    "Leave out the softmax: the loss applies one."
)
LOGARITHMS = (
    "Expected architecture to give logits; got logarithms of probabilities. "
    "Leave out the log-softmax: the loss applies one."
)
SHARES = (
    "Expected architecture to give logits; got numbers from 0 to 1 alone. Leave out the sigmoid: the loss applies one."
)


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
        "the image, here 100×100. Pass architecture='general', which pools globally, or make the images smaller."
    )
    for fit in (lambda: quick().fit(X, y), lambda: quick().partial_fit(X, y, classes=[0, 1])):
        with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
            assert fit().n_parameters_ == n
        assert [warning.filename for warning in caught] == [__file__]
    assert quick("general").fit(X, y).n_parameters_ < 500_000  # as the sentence says
    quick().fit(X[:, :64, :64], y)  # 13² · 32 · 256 weights of the dense layer are 1.4 million


def test_a_network_that_pools_globally_has_not_outgrown_the_image(monkeypatch):
    # Where it has more than three million parameters, it is for 30,000 classes, which would take a test minutes.
    monkeypatch.setattr("cnnclf.classifier._fitting.MANY_PARAMETERS", 10_000)
    X = np.arange(1024, dtype=np.uint8).reshape(4, 16, 16)
    assert quick("general").fit(X, [0, 1, 0, 1]).n_parameters_ > 10_000


def test_a_set_augmentation_of_images_that_are_too_small_for_it_is_told():
    X, y = np.arange(80, dtype=np.uint8).reshape(2, 5, 8), [0, 1]
    sentence = (
        "Expected images of at least 8×8 pixels for augment='flip'; got 5×8. They are not changed. Pass augment=None."
    )
    clf = quick(augment="flip")
    for fit in (lambda: clf.fit(X, y), lambda: clf.partial_fit(X, y)):
        with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
            fit()
        assert [warning.filename for warning in caught] == [__file__]
        assert clf.augment_ is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for augment in ("auto", None, []):
            quick(augment=augment).fit(X, y)


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
    sentence = (
        f"Expected augment to return a tensor of the shape it was given, (60, 1, 8, 8); got {got}. Change the function."
    )
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
            "Expected architecture to give one tensor, the logits; got tuple. Return the logits alone from forward.",
        ),
        (
            frozen,
            "Expected architecture to have parameters to train; got 650 that are all frozen (requires_grad=False).",
        ),
        (without_parameters, "Expected architecture to have parameters to train; got none."),
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
        "Training diverged in epoch 1: the loss is nan. lr ({}) or weight_decay ({}) may be too large{}. "
        "Change one of them."
    )
    usual = CNNClassifier()
    for parameters, filled in (
        ({"lr": 1e30}, ("1e+30", f"{usual.weight_decay:g}", "")),
        (
            {"augment": lambda x: x * torch.nan},
            (f"{usual.lr:g}", f"{usual.weight_decay:g}", ", or augment may give NaN or infinity"),
        ),
    ):
        with pytest.raises(ValueError, match=exactly(sentence.format(*filled))):
            quick(**parameters).fit(*some)


@pytest.mark.parametrize("change", [{"architecture": "lenet5"}, {"image_shape": [1, 4, 16]}], ids=["layers", "shape"])
def test_a_warm_start_refuses_another_network(change, some):
    clf = quick(warm_start=True).fit(*some).set_params(**change)
    sentence = (
        "Expected warm_start=True to continue training the fitted network, architecture='compact' for images of "
        f"shape (1, 8, 8); got architecture={clf.architecture!r} and image_shape={clf.image_shape!r}. "
        "Set them back, or pass warm_start=False to start anew."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.fit(*some)
    sentence = sentence.replace("warm_start=True", "partial_fit").replace("pass warm_start=False", "call fit")
    with pytest.raises(ValueError, match=exactly(sentence)):
        clf.partial_fit(*some)


def test_weights_near_the_largest_number_are_as_good_as_ones(some):
    X, y = some
    with pytest.warns(UserWarning, match=r"\AExpected whole-number sample_weight of a sum of at most 1,200, "):
        huge = quick().fit(X, y, sample_weight=np.full(len(y), 1e308))
    assert same_bits(huge, quick().fit(X, y), X)
