"""The evaluation of a classifier: its predictions on held-out images, and every figure that follows from them.

Every figure that scikit-learn also has equals scikit-learn's.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.utils.validation import check_is_fitted

from cnnclf._utils.frozen import ReadOnly
from cnnclf._utils.labels import check_none_missing
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import counted, cut, percent, quote_all, share_of
from cnnclf.evaluation._labels import check_classes, check_labels, check_proba, encode, match_labels, sort_labels
from cnnclf.evaluation._records import ConfusedPair, Mistake, ReliabilityBin, Scores, wilson_interval

N_PAIRS = 10  # confused pairs in a record
LONGEST_LABEL = 40  # letters of a label in a table
SCORE_COLUMNS = ("class", "precision", "recall", "F1", "images")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Summarised, ReadOnly):
    """The predictions of a classifier for labelled images, and every figure that follows from them.

    Made by :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_labels`, which check their input.

    Attributes
    ----------
    y_true, y_pred : ndarray of shape (n_samples,)
        True and predicted labels; the predicted one has the largest probability, where there are any.
    y_proba : ndarray of shape (n_samples, n_classes), float, or None
        Probabilities, 0..1, columns in the order of `classes`; None if the classifier gives none.
    classes : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> from cnnclf import Evaluation
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
    y_proba: NDArray[np.floating[Any]] | None
    classes: NDArray[Any]

    @classmethod
    def from_estimator(cls, clf: Any, X: Any, y: ArrayLike) -> "Evaluation":
        """Evaluate a fitted classifier on labelled data.

        Parameters
        ----------
        clf : fitted classifier
            Anything with ``classes_`` and ``predict_proba`` or, failing that, ``predict``.
        X : array of shape (n_samples, ...)
            What the classifier takes.
        y : array-like of shape (n_samples,)
            True labels. Where they are numbers and the classes are text, or the other way round, labels with the same
            spelling are the same, as 7 and "7".

        Returns
        -------
        Evaluation
            The predictions and everything that follows from them.

        Raises
        ------
        NotFittedError
            If a scikit-learn estimator is not fitted.
        ValueError
            As :meth:`from_predictions` and :meth:`from_labels`.
        """
        if isinstance(clf, BaseEstimator):
            check_is_fitted(clf)
        check_none_missing(y, "y")
        true = match_labels(np.asarray(y), np.asarray(clf.classes_))
        if hasattr(clf, "predict_proba"):
            return cls.from_predictions(true, clf.predict_proba(X), clf.classes_)
        return cls.from_labels(true, clf.predict(X), clf.classes_)

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike) -> "Evaluation":
        """Evaluate predicted probabilities.

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
            If shapes do not fit together, a label is missing or not among `classes`, or `y_proba` does not hold
            probabilities.
        """
        true, proba, labels = np.asarray(y_true), np.asarray(y_proba), np.asarray(classes)
        if not np.issubdtype(proba.dtype, np.floating):
            try:
                proba = proba.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Expected y_proba to hold numbers; got {quote_all(proba.ravel())}. "
                    "Pass the output of predict_proba."
                ) from error
        check_classes(labels)
        check_none_missing(y_true, "y_true")
        check_labels(true, labels)
        check_proba(proba, (len(true), len(labels)))
        return cls(true, labels[proba.argmax(axis=1)], proba, labels)

    @classmethod
    def from_labels(cls, y_true: ArrayLike, y_pred: ArrayLike, classes: ArrayLike | None = None) -> "Evaluation":
        """Evaluate the predicted labels of a classifier that gives no probabilities.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted labels.
        classes : array-like of shape (n_classes,), optional
            All labels, in the order of the figures; by default those that occur, sorted.

        Returns
        -------
        Evaluation
            The predictions and everything that follows from them; `y_proba` and what needs it are None.

        Raises
        ------
        ValueError
            If shapes do not fit together, a label is missing or not among `classes`, or labels without `classes`
            cannot be sorted or are all the same.

        Examples
        --------
        >>> from cnnclf import Evaluation
        >>> evaluation = Evaluation.from_labels(["cat", "dog", "cat"], ["cat", "cat", "cat"])
        >>> evaluation.mistakes(1)
        (Mistake(index=1, true='dog', predicted='cat', confidence=None),)
        >>> evaluation.log_loss is None
        True
        """
        true, predicted = np.asarray(y_true), np.asarray(y_pred)
        check_none_missing(y_true, "y_true")
        check_none_missing(y_pred, "y_pred")
        labels = sort_labels(true, predicted) if classes is None else np.asarray(classes)
        check_classes(labels)
        check_labels(true, labels)
        check_labels(predicted, labels, "y_pred", "Pass the classes of the classifier")
        if len(predicted) != len(true):
            raise ValueError(
                f"Expected one label per image, {len(true)} in y_pred as in y_true; got {len(predicted)}. "
                "Pass those of the same images."
            )
        return cls(true, labels[encode(predicted, labels)], None, labels)

    @property
    def n_samples(self) -> int:
        """How many images were evaluated."""
        return len(self.y_true)

    @property
    def n_mistakes(self) -> int:
        """How many images were misclassified."""
        return int((self.y_true != self.y_pred).sum())

    @property
    def accuracy(self) -> float:
        """Share of correctly classified images, 0..1."""
        return (self.n_samples - self.n_mistakes) / self.n_samples

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the accuracy (Wilson 1927, JASA 22, 209-212)."""
        return wilson_interval(self.n_samples - self.n_mistakes, self.n_samples)

    @property
    def log_loss(self) -> float | None:
        """Mean of -ln(probability of the true class), clipped to the float type's epsilon as scikit-learn does."""
        if self.y_proba is None:
            return None
        # By hand, as scikit-learn's own warns of sums that differ from 1 by rounding, and up to 1.7 of many classes.
        epsilon = np.finfo(self.y_proba.dtype).eps
        of_true = self.y_proba[np.arange(self.n_samples), encode(self.y_true, self.classes)]
        return float(-np.log(np.clip(of_true, epsilon, 1 - epsilon)).mean(dtype=np.float64))

    @property
    def brier_score(self) -> float | None:
        """Mean of Σ(p - y)² over the classes, y being 1 for the true class and 0 for the others; 0 is best.

        The worst is 2; with two classes half of the sum is taken, so that it is 1, as scikit-learn does (Brier 1950,
        Monthly Weather Review 78, 1-3, equation 2).
        """
        if self.y_proba is None:
            return None
        errors = self.y_proba.astype(np.float64)
        errors[np.arange(self.n_samples), encode(self.y_true, self.classes)] -= 1
        score = (errors**2).sum(axis=1).mean()
        return float(score / 2 if len(self.classes) == 2 else score)

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error, 0..1: mean of ``|accuracy - confidence|`` of ten bins, weighted by their images.

        The bins are those of :meth:`reliability` (Guo et al. 2017, "On calibration of modern neural networks",
        section 2, equation 5).
        """
        if self.y_proba is None:
            return None
        return sum(part.n_images * abs(part.accuracy - part.confidence) for part in self.reliability()) / self.n_samples

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """Counts of shape (n_classes, n_classes): row = true class, column = predicted class."""
        columns = np.arange(len(self.classes))
        matrix: NDArray[np.int64] = confusion_matrix(*self._encoded(), labels=columns)
        return matrix

    @property
    def per_class(self) -> tuple[Scores, ...]:
        """Scores of each class, in the order of `classes`; 0 where there is nothing to divide by."""
        return tuple(
            Scores(float(p), float(r), float(f), int(n)) for p, r, f, n in zip(*self._score(None), strict=True)
        )

    @property
    def macro_mean(self) -> Scores:
        """Mean over the classes, each counting the same."""
        return self._mean("macro")

    @property
    def weighted_mean(self) -> Scores:
        """Mean over the classes, each counting as often as it occurs."""
        return self._mean("weighted")

    def mistakes(self, k: int) -> tuple[Mistake, ...]:
        """Return the misclassified images with the most confident predictions; without probabilities the first ones.

        Parameters
        ----------
        k : int
            How many at most.

        Returns
        -------
        tuple of Mistake
            Most confident first; the earlier image first among equals, or where there are no probabilities.
        """
        rows = np.flatnonzero(self.y_true != self.y_pred)
        if self.y_proba is None:
            rows = rows[:k]
            confidence: list[float | None] = [None] * len(rows)
        else:
            rows = rows[np.argsort(-self.y_proba[rows].max(axis=1), kind="stable")[:k]]
            confidence = [share_of(row.tolist(), int(row.argmax())) for row in self.y_proba[rows]]
        labels = self.y_true[rows].tolist(), self.y_pred[rows].tolist()
        return tuple(Mistake(*found) for found in zip(rows.tolist(), *labels, confidence, strict=True))

    def confused_pairs(self, k: int) -> tuple[ConfusedPair, ...]:
        """Return the pairs of classes that were most often confused.

        Parameters
        ----------
        k : int
            How many pairs at most.

        Returns
        -------
        tuple of ConfusedPair
            Most frequent first; in the order of the rows of the confusion matrix, then of its columns, among equals.

        Examples
        --------
        >>> from cnnclf import Evaluation
        >>> Evaluation.from_labels([3, 3, 3, 3, 8], [3, 8, 8, 5, 8]).confused_pairs(1)
        (ConfusedPair(true=3, predicted=8, count=2, share=0.5),)
        """
        matrix, labels = self.confusion_matrix, self.classes.tolist()
        rows, columns = np.nonzero(matrix - np.diag(np.diag(matrix)))
        counts = matrix[rows, columns]
        order = np.argsort(-counts, kind="stable")[:k]
        shares = counts / matrix.sum(axis=1)[rows]
        return tuple(ConfusedPair(labels[rows[i]], labels[columns[i]], int(counts[i]), float(shares[i])) for i in order)

    def reliability(self, n_bins: int = 10) -> tuple[ReliabilityBin, ...]:
        """Compute how often the predictions of each bin of confidence are right.

        Parameters
        ----------
        n_bins : int, default=10
            Bins of equal width between 0 and 1. A probability on the edge of two belongs to the lower one.

        Returns
        -------
        tuple of ReliabilityBin
            Those with images in them, in order; none without probabilities.

        Raises
        ------
        ValueError
            If ``n_bins`` is below 1.

        References
        ----------
        Guo et al. 2017, "On calibration of modern neural networks", section 2, equations 2 and 3.

        Examples
        --------
        >>> from cnnclf import Evaluation
        >>> proba = [[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
        >>> Evaluation.from_predictions(["cat", "dog", "cat"], proba, ["cat", "dog"]).reliability(4)[1]
        ReliabilityBin(lower=0.75, upper=1.0, n_images=1, confidence=0.8, accuracy=1.0)
        """
        if n_bins < 1:
            raise ValueError(f"Expected n_bins to be 1 or more; got {n_bins}. 10 is usual.")
        if self.y_proba is None:
            return ()
        confidence, right = self.y_proba.max(axis=1), self.y_true == self.y_pred
        # In the type of the confidences, because 0.6 as float32 is above 0.6 as float64.
        edges = (np.arange(1, n_bins) / n_bins).astype(confidence.dtype)
        bins = np.searchsorted(edges, confidence)
        found = []
        for m in np.unique(bins).tolist():
            inside = bins == m
            means = float(confidence[inside].mean(dtype=np.float64)), float(right[inside].mean())
            found.append(ReliabilityBin(m / n_bins, (m + 1) / n_bins, int(inside.sum()), *means))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return every figure in a form that JSON can hold.

        Returns
        -------
        dict
            Shares are 0..1; figures that need probabilities are None without them; the ten most confused pairs; the
            rows of the confusion matrix are in the order of ``per_class``.

        Examples
        --------
        >>> from cnnclf import Evaluation
        >>> figures = Evaluation.from_labels(["cat", "dog"], ["cat", "cat"]).to_dict()
        >>> figures["accuracy"], figures["confusion_matrix"]
        (0.5, [[1, 0], [1, 0]])
        """
        return {
            "n_samples": self.n_samples,
            "n_mistakes": self.n_mistakes,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "log_loss": self.log_loss,
            "brier_score": self.brier_score,
            "calibration_error": self.calibration_error,
            "reliability": [asdict(part) for part in self.reliability()],
            "per_class": [
                {"class": label} | asdict(scores)
                for label, scores in zip(self.classes.tolist(), self.per_class, strict=True)
            ],
            "macro_mean": asdict(self.macro_mean),
            "weighted_mean": asdict(self.weighted_mean),
            "confused_pairs": [asdict(pair) for pair in self.confused_pairs(N_PAIRS)],
            "confusion_matrix": self.confusion_matrix.tolist(),
        }

    def _summary(self) -> Summary:
        low, high = map(percent, self.accuracy_interval)
        mistakes, images = counted(self.n_mistakes, "mistake"), counted(self.n_samples, "image")
        title = f"accuracy {percent(self.accuracy)} (95 % interval {low} to {high}), {mistakes} on {images}"
        rows = tuple((cut(label, LONGEST_LABEL), *scores) for label, *scores in score_rows(self))
        notes: tuple[str, ...] = ()
        if self.log_loss is not None and self.brier_score is not None and self.calibration_error is not None:
            error = percent(self.calibration_error)
            notes = (f"log loss {self.log_loss:.4f}, Brier score {self.brier_score:.4f}, calibration error {error}",)
        return Summary(title, "lrrrr", SCORE_COLUMNS, rows, notes)

    def _encoded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return encode(self.y_true, self.classes), encode(self.y_pred, self.classes)

    def _score(self, average: str | None) -> tuple[Any, Any, Any, Any]:
        labels = np.arange(len(self.classes))
        table: tuple[Any, Any, Any, Any] = precision_recall_fscore_support(
            *self._encoded(), labels=labels, average=average, zero_division=0
        )
        return table

    def _mean(self, average: str) -> Scores:
        precision, recall, f1, _ = self._score(average)
        return Scores(float(precision), float(recall), float(f1), self.n_samples)


def score_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return the scores of each class and their mean as text, for the columns `SCORE_COLUMNS`."""
    scores = [*zip(evaluation.classes.tolist(), evaluation.per_class, strict=True), ("mean", evaluation.macro_mean)]
    return [(str(label), *map(percent, (s.precision, s.recall, s.f1)), f"{s.support:,}") for label, s in scores]
