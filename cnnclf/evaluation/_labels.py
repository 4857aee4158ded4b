"""True and predicted labels and probabilities, checked and matched to classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.labels import holds_text
from cnnclf._utils.text import quote_all

SUM_TOLERANCE = 1e-3  # float32 softmax is off by 1e-6, probabilities rounded to four decimals by up to 1e-3


def match_labels(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Replace labels by the classes with the same spelling, where one is text and the other numbers.

    "07" and 7 are different labels, so that no two labels become one.

    Parameters
    ----------
    y, classes : ndarray of shape (n,) and (n_classes,)
        Labels.

    Returns
    -------
    ndarray of shape (n,)
        Of the type of `classes` where every label has a class; labels without one are left as they are.

    Examples
    --------
    >>> from cnnclf.evaluation._labels import match_labels
    >>> match_labels(np.array([7, 1]), np.array(["1", "7"])), match_labels(np.array(["7"]), np.array([1, 7]))
    (array(['7', '1'], dtype='<U1'), array([7]))
    >>> match_labels(np.array(["7", "07"]), np.array([1, 7]))
    array([7, '07'], dtype=object)
    """
    if y.ndim != 1 or holds_text(y) == holds_text(classes):
        return y
    class_of = {spell(label): label for label in classes.tolist()}
    found = [class_of.get(spell(label), label) for label in y.tolist()]
    is_whole = all(spell(label) in class_of for label in y.tolist())
    return np.array(found, dtype=classes.dtype if is_whole else object)


def spell(label: Any) -> str:
    """Return a label as text: a whole number without a point, whatever its type."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def encode(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each label in `classes`, -1 for a label that is not among them."""
    # A dictionary, because for np.isin and np.searchsorted 1 and "1" are the same label.
    position = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([position.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def sort_labels(*rows: NDArray[Any]) -> NDArray[Any]:
    """Return the labels that occur, sorted."""
    # A set, because np.union1d would turn 1 into "1" beside words.
    found = {label for row in rows for label in row.ravel().tolist()}
    try:
        return np.array(sorted(found))
    except TypeError as error:
        raise ValueError(
            f"Expected y_true and y_pred to hold labels of one kind; got {quote_all(found)}. "
            "Make all of them numbers or all of them text."
        ) from error


def check_classes(classes: NDArray[Any]) -> None:
    """Check that there are two or more labels in one row, all of them different."""
    if classes.ndim != 1 or len(classes) < 2:
        raise ValueError(f"Expected a row of two or more classes; got shape {classes.shape}. Pass clf.classes_.")
    if len(set(classes.tolist())) < len(classes):
        raise ValueError(f"Expected classes to be different labels; got {quote_all(classes)}. Pass each label once.")


def check_labels(
    labels: NDArray[Any],
    classes: NDArray[Any],
    name: str = "y_true",
    advice: str = "Leave those images out, or fit with them",
) -> None:
    """Check that labels are a row of known classes."""
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"Expected {name} to be a row of one or more labels; got shape {labels.shape}.")
    unknown = dict.fromkeys(labels[encode(labels, classes) < 0].tolist())
    if unknown:
        raise ValueError(
            f"Expected every label of {name} to be one of the classes {quote_all(classes)}; "
            f"got {quote_all(unknown)}. {advice}."
        )


def check_proba(y_proba: NDArray[np.floating[Any]], shape: tuple[int, int]) -> None:
    """Check that there is one row of probabilities per image."""
    if y_proba.shape != shape:
        raise ValueError(f"Expected y_proba of shape {shape}, (images, classes); got {y_proba.shape}.")
    outside = ~((y_proba >= 0) & (y_proba <= 1 + SUM_TOLERANCE))  # NaN, too
    if outside.any():
        raise ValueError(
            f"Expected probabilities between 0 and 1; got {y_proba[outside][0]:g} in row "
            f"{np.flatnonzero(outside.any(axis=1))[0]} of y_proba. Pass the output of predict_proba, not logits."
        )
    sums = y_proba.sum(axis=1, dtype=np.float64)
    off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(off):
        raise ValueError(
            f"Expected each row of y_proba to sum to 1; got {sums[off[0]]:g} in row {off[0]}. "
            "Pass the output of predict_proba."
        )
