"""Judge a classifier: predictions on held-out images become one frozen :class:`Evaluation`.

Every figure that scikit-learn also has equals scikit-learn's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile
SUM_TOLERANCE = 1e-3  # float32 softmax is off by 1e-6, probabilities rounded to four decimals by up to 1e-3


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, each in 0..1, of one class or of a mean over the classes.

    Attributes
    ----------
    precision : float
        Of the images called this class, the share that was.
    recall : float
        Of this class's images, the share that was found.
    f1 : float
        Harmonic mean of the two.
    support : int
        Images that truly belong here.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """One image that was called something else.

    Attributes
    ----------
    index : int
        Its row in the data that was judged.
    true, predicted : label
        What it is, and what the classifier said.
    confidence : float
        The probability, 0..1, the classifier gave to what it said.
    """

    index: int
    true: Any
    predicted: Any
    confidence: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier said about labelled images, and every figure that follows from it.

    Made by :meth:`from_estimator` or :meth:`from_predictions`, which check their input.

    Attributes
    ----------
    y_true, y_pred : ndarray of shape (n_samples,)
        True and predicted labels; the predicted one has the largest probability.
    y_proba : ndarray of shape (n_samples, n_classes), float
        Probabilities, 0..1, columns in the order of `classes`.
    classes : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> from cnnclf.evaluation import Evaluation
    >>> proba = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]
    >>> evaluation = Evaluation.from_predictions(["cat", "dog", "cat", "dog"], proba, ["cat", "dog"])
    >>> evaluation.accuracy
    0.75
    >>> evaluation.confusion_matrix
    array([[2, 0],
           [1, 1]])
    >>> evaluation.mistakes(5)
    (Mistake(index=3, true='dog', predicted='cat', confidence=0.6),)
    """

    y_true: NDArray[Any]
    y_pred: NDArray[Any]
    y_proba: NDArray[np.floating[Any]]
    classes: NDArray[Any]

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike) -> "Evaluation":
        """Judge a fitted classifier on labelled data.

        Parameters
        ----------
        clf : fitted classifier
            Anything with ``predict_proba`` and ``classes_``.
        X : array of shape (n_samples, ...)
            What the classifier takes.
        y : array-like of shape (n_samples,)
            True labels.

        Returns
        -------
        Evaluation
            The predictions and everything that follows from them.

        Raises
        ------
        ValueError
            As :meth:`from_predictions`.
        """
        return cls.from_predictions(y, clf.predict_proba(X), clf.classes_)

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike) -> "Evaluation":
        """Judge predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels, each one of `classes`; not every class has to occur.
        y_proba : array-like of shape (n_samples, n_classes), float
            Probabilities, 0..1, each row summing to 1.
        classes : array-like of shape (n_classes,)
            The label of each column of `y_proba`.

        Returns
        -------
        Evaluation
            The predictions and everything that follows from them.

        Raises
        ------
        ValueError
            When shapes do not fit together, a label is not among `classes`, or `y_proba` does not hold probabilities.
        """
        true, proba, labels = np.array(y_true), np.array(y_proba), np.array(classes)
        if not np.issubdtype(proba.dtype, np.floating):
            proba = proba.astype(np.float64)
        check_classes(labels)
        check_labels(true, labels)
        check_probabilities(proba, (len(true), len(labels)))
        record = cls(true, labels[proba.argmax(axis=1)], proba, labels)
        for array in (record.y_true, record.y_pred, record.y_proba, record.classes):
            array.setflags(write=False)
        return record

    @property
    def n_samples(self) -> int:
        """Images judged."""
        return len(self.y_true)

    @property
    def n_mistakes(self) -> int:
        """Images called something else."""
        return int((self.y_true != self.y_pred).sum())

    @property
    def accuracy(self) -> float:
        """Share of images called what they are, 0..1."""
        return (self.n_samples - self.n_mistakes) / self.n_samples

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the accuracy (Wilson 1927, JASA 22, 209-212)."""
        return wilson_interval(self.n_samples - self.n_mistakes, self.n_samples)

    @property
    def log_loss(self) -> float:
        """Mean of -ln(probability of the true class), clipped to the float type's epsilon as scikit-learn does."""
        epsilon = np.finfo(self.y_proba.dtype).eps
        of_true = self.y_proba[np.arange(self.n_samples), encode(self.y_true, self.classes)]
        return float(-np.log(np.clip(of_true, epsilon, 1 - epsilon)).mean(dtype=np.float64))

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """Counts of shape (n_classes, n_classes): row = true class, column = predicted class."""
        columns = np.arange(len(self.classes))
        matrix: NDArray[np.int64] = confusion_matrix(*self._encoded(), labels=columns)
        return matrix

    @property
    def per_class(self) -> tuple[Scores, ...]:
        """Scores of each class, in the order of `classes`; 0 where there is nothing to divide by."""
        table = precision_recall_fscore_support(
            *self._encoded(), labels=np.arange(len(self.classes)), average=None, zero_division=0
        )
        return tuple(Scores(float(p), float(r), float(f), int(n)) for p, r, f, n in zip(*table, strict=True))

    @property
    def macro_mean(self) -> Scores:
        """Mean over the classes, each counting the same."""
        return self._mean(np.ones(len(self.classes)))

    @property
    def weighted_mean(self) -> Scores:
        """Mean over the classes, each counting as often as it occurs."""
        return self._mean(np.array([scores.support for scores in self.per_class]))

    def mistakes(self, k: int) -> tuple[Mistake, ...]:
        """Find the mistakes the classifier was surest of.

        Parameters
        ----------
        k : int
            How many at most.

        Returns
        -------
        tuple of Mistake
            Most confident first; the earlier image first among equals.
        """
        wrong = np.flatnonzero(self.y_true != self.y_pred)
        confidence = self.y_proba[wrong].max(axis=1)
        surest = np.argsort(-confidence, kind="stable")[:k]
        rows = wrong[surest]
        return tuple(
            Mistake(*found)
            for found in zip(
                rows.tolist(),
                self.y_true[rows].tolist(),
                self.y_pred[rows].tolist(),
                confidence[surest].tolist(),
                strict=True,
            )
        )

    def _encoded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return encode(self.y_true, self.classes), self.y_proba.argmax(axis=1)

    def _mean(self, weights: NDArray[Any]) -> Scores:
        table = np.array([(scores.precision, scores.recall, scores.f1) for scores in self.per_class])
        precision, recall, f1 = np.average(table, axis=0, weights=weights)
        return Scores(float(precision), float(recall), float(f1), self.n_samples)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Bound a proportion at 95 % (Wilson 1927, JASA 22, 209-212).

    Parameters
    ----------
    successes, n : int
        How often it happened, out of how many.

    Returns
    -------
    tuple of float
        Lower and upper bound, 0..1.

    Examples
    --------
    >>> from cnnclf.evaluation import wilson_interval
    >>> "{:.4f} {:.4f}".format(*wilson_interval(9921, 10_000))
    '0.9902 0.9937'
    """
    p, z2 = successes / n, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def encode(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Turn labels into the positions they have in `classes`, -1 where they have none."""
    # A dictionary, because np.isin and np.searchsorted would take 1 and "1" for the same label.
    position = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([position.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def check_classes(classes: NDArray[Any]) -> None:
    """Refuse anything but two or more different labels in one row."""
    if classes.ndim != 1 or len(classes) < 2:
        raise ValueError(
            f"Expected classes to be a row of two or more labels, got shape {classes.shape}; pass clf.classes_."
        )
    if len(set(classes.tolist())) < len(classes):
        raise ValueError(
            f"Expected classes to be different labels, got {preview(classes.tolist())}; pass each label once."
        )


def check_labels(y_true: NDArray[Any], classes: NDArray[Any]) -> None:
    """Refuse labels that are not a row of known classes."""
    if y_true.ndim != 1 or len(y_true) == 0:
        raise ValueError(f"Expected y_true to be a row of one or more labels, got shape {y_true.shape}.")
    unknown = dict.fromkeys(y_true[encode(y_true, classes) < 0].tolist())
    if unknown:
        raise ValueError(
            f"Expected every label of y_true to be one of the classes {preview(classes.tolist())}, "
            f"got {preview(list(unknown))}; leave those images out, or fit with them."
        )


def check_probabilities(y_proba: NDArray[np.floating[Any]], shape: tuple[int, int]) -> None:
    """Refuse anything but one row of probabilities an image."""
    if y_proba.shape != shape:
        raise ValueError(
            f"Expected y_proba of shape {shape} (one row an image, one column a class), got {y_proba.shape}."
        )
    if np.isnan(y_proba).any():
        raise ValueError(f"Expected y_proba without NaN, got NaN in row {int(np.isnan(y_proba).any(axis=1).argmax())}.")
    outside = (y_proba < 0) | (y_proba > 1 + SUM_TOLERANCE)
    if outside.any():
        row = int(outside.any(axis=1).argmax())
        raise ValueError(
            f"Expected probabilities between 0 and 1, got {y_proba[outside][0]:g} in row {row} of y_proba; "
            "logits go through a softmax first."
        )
    sums = y_proba.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        raise ValueError(
            f"Expected each row of y_proba to sum to 1, got {sums[row]:g} in row {row}; "
            "pass the output of predict_proba."
        )


def preview(labels: Sequence[Any], n: int = 10) -> str:
    """Write out the first few labels."""
    shown = ", ".join(repr(label) for label in labels[:n])
    return f"[{shown}, … {len(labels) - n} more]" if len(labels) > n else f"[{shown}]"
