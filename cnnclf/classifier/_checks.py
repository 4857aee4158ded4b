"""The data of a fit and of a prediction, checked: images, labels, sample weights."""

import numbers
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from cnnclf._utils.labels import check_none_missing
from cnnclf._utils.text import quote, quote_all
from cnnclf.images._arrays import check_images
from cnnclf.images._spec import InputSpec, warn_of_another_unit
from cnnclf.training._data import Labelled, Pixels, arrange
from cnnclf.training._recognition import TrainingData

N_EXAMPLES = 32  # training images that are kept while the program runs, to compare an exported file on


def check_training_data(clf: Any, X: Any, y: Any, sample_weight: Any, classes: NDArray[Any] | None) -> Labelled:
    """Check the data of a fit, and set the attributes of a classifier that they decide.

    Without `classes` they are the labels in `y`.
    """
    # First, as a loader or a dataset may hold y, too.
    pixels = check_known_images(clf, X) if hasattr(clf, "net_") else check_new_images(clf, X)
    if y is None:
        raise ValueError(f"This {type(clf).__name__} estimator requires y to be passed, but the target y is None.")
    clf.input_spec_ = replace(clf.input_spec_, preparation=clf.preparation)
    y = check_labels(y)
    check_consistent_length(pixels, y)
    clf.classes_ = np.unique(y) if classes is None else classes
    labels = encode(y, clf.classes_)
    order, weight = arrange(pixels, labels, check_sample_weight(sample_weight, len(pixels)))
    return Labelled(pixels, labels, weight, order)


def check_new_images(clf: Any, X: Any) -> Pixels:
    """Check the images of a new fit, and set what they decide: the input and the examples."""
    pixels, layout = check_images(X, image_shape=clf.image_shape, estimator=type(clf).__name__)
    validate_data(clf, X, reset=True, skip_check_array=True, ensure_2d=False)  # feature names alone
    clf.input_spec_ = InputSpec.of(pixels, layout)
    clf.training_data_ = TrainingData(examples=pixels[:N_EXAMPLES].copy())
    return pixels


def check_known_images(clf: Any, X: Any) -> Pixels:
    """Check that images are such as a fitted network takes."""
    pixels, _ = check_images(X, layout=clf.input_spec_, estimator=type(clf).__name__)
    validate_data(clf, X, reset=False, skip_check_array=True, ensure_2d=False)  # feature names alone
    warn_of_another_unit(pixels, clf.input_spec_)
    return pixels


def check_validation_data(clf: Any, X_val: Any, y_val: Any) -> Labelled | None:
    """Check the validation data of a fit, where there is any, by its checked training data."""
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"Expected both X_val and y_val; got no {missing}. Pass both, or neither.")
    if X_val is None:
        return None
    pixels = check_known_images(clf, X_val)
    y_val = check_labels(y_val, "y_val")
    check_consistent_length(pixels, y_val)
    return Labelled(pixels, encode(y_val, clf.classes_, "y_val"), None, np.arange(len(pixels)))


def check_labels(y: Any, name: str = "y") -> NDArray[Any]:
    """Check that ``y`` has one finite label per row, of classes rather than of a regression."""
    labels = read_labels(y, name)
    check_classification_targets(labels)
    return labels


def read_labels(y: Any, name: str) -> NDArray[Any]:
    """Check that there is one finite label per row, all of one kind."""
    try:
        array = np.asarray(y)
    except ValueError as error:
        raise ValueError(
            f"Expected {name} of shape (n,), one label per image; got a {type(y).__name__} that NumPy cannot read "
            "as an array. Give each image one label."
        ) from error
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: expected class labels, got {name} of dtype {array.dtype}.")
    shape = array.shape
    if len(shape) == 2 and shape[1] > 1:
        raise ValueError(
            f"Expected {name} of shape (n,), one label per image; got shape {shape}. "
            f"If {name} is one-hot encoded, pass {name}.argmax(axis=1)."
        )
    check_none_missing(y, name)
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    if labels.dtype == object:
        labels = check_object_labels(labels, name)
    assert_all_finite(labels, input_name=name)
    return labels


def is_text(labels: NDArray[Any]) -> bool:
    """Check whether labels are strings, as objects too, rather than numbers."""
    return labels.dtype.kind in "OSTU"


def check_object_labels(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return strings unchanged and numbers in their own dtype; ValueError for a mixture, which cannot be sorted."""
    if all(isinstance(label, str) for label in labels):
        return labels
    if all(isinstance(label, numbers.Real | np.bool_) for label in labels):
        return np.asarray(labels.tolist())
    kinds = sorted({type(label).__name__ for label in labels})
    raise ValueError(
        f"Expected labels of one kind, all strings or all numbers; got {quote_all(kinds)} in {name}. "
        "Convert them, for example to strings."
    )


def check_classes(classes: ArrayLike | None, known: NDArray[Any] | None) -> NDArray[Any]:
    """Return the classes of a partial fit: those of the first call, which later calls may only repeat."""
    if known is None:
        if classes is None:
            raise ValueError(
                "Expected classes in the first call of partial_fit; got none. Pass all labels of all calls."
            )
        if np.size(classes) == 0:
            raise ValueError("Expected classes to hold at least one label; got []. Pass all labels of all calls.")
        return np.unique(read_labels(classes, "classes"))
    if classes is not None and not np.array_equal(np.unique(read_labels(classes, "classes")), known):
        raise ValueError(
            f"Expected the classes that the first call of partial_fit was given, {quote_all(known)}; "
            f"got {quote_all(np.ravel(classes))}. Leave classes out."
        )
    return known


def encode(y: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """Return the positions of labels in ``classes``, which are sorted."""
    if is_text(y) == is_text(classes):
        positions = np.searchsorted(classes, y).clip(max=len(classes) - 1)
        unknown = classes[positions] != y
    else:  # strings and numbers have no order between them
        unknown = np.ones(len(y), dtype=bool)
    if unknown.any():
        raise ValueError(
            f"Expected every label of {name} to be one of the classes {quote_all(classes)}; "
            f"got {quote_all(np.unique(y[unknown]))}. Leave those rows out, or fit with them."
        )
    return positions.astype(np.int64)


def check_sample_weight(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    """Check that there is one finite, non-negative weight per row, and not only zeros."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n, sample_weight)
    try:
        array = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"Expected sample_weight to hold numbers; got {quote(sample_weight)}. Give one number per row of X."
        ) from error
    weight: NDArray[np.float64] = check_array(array, ensure_2d=False, allow_nd=True, input_name="sample_weight")
    if weight.shape != (n,):
        raise ValueError(f"Expected sample_weight of shape ({n},), one number per row of X; got {weight.shape}.")
    if weight.min() < 0:
        raise ValueError(f"Expected sample_weight of at least 0; got {weight.min():g}. Drop rows by giving them 0.")
    if weight.max() == 0:
        raise ValueError("Expected some sample_weight above 0; got only zeros. There is nothing to learn from.")
    return weight
