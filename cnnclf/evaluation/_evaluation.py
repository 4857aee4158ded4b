"""Judge a classifier: predictions on held-out images become one frozen :class:`Evaluation`, and two can be compared.

Every figure that scikit-learn also has equals scikit-learn's.
"""

import html
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cnnclf._utils.files import holds_text
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import cut, percent, points, quote, quote_all, share_of

Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile
SUM_TOLERANCE = 1e-3  # float32 softmax is off by 1e-6, probabilities rounded to four decimals by up to 1e-3
N_PAIRS = 10  # confused pairs in a record
LONGEST_LABEL = 40  # letters of a label in a table
LEVEL = 0.05  # a difference that chance makes more seldom than this is evidence


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
    confidence : float or None
        The probability, 0..1, the classifier gave to what it said; None where it gives no probabilities.
    """

    index: int
    true: Any
    predicted: Any
    confidence: float | None


@dataclass(frozen=True)
class ConfusedPair:
    """One class that was called another.

    Attributes
    ----------
    true, predicted : label
        What the images are, and what the classifier said.
    count : int
        How many.
    share : float
        How many of the true class's images, 0..1.
    """

    true: Any
    predicted: Any
    count: int
    share: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose predicted class has a probability within ``(lower, upper]``.

    Attributes
    ----------
    lower, upper : float
        Bounds of the probability, 0..1.
    n_images : int
        How many, one or more.
    confidence : float
        Mean probability of the predicted class.
    accuracy : float
        Share of them that are what was predicted; as large as `confidence` where probabilities can be trusted.
    """

    lower: float
    upper: float
    n_images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Summarised):
    """What a classifier said about labelled images, and every figure that follows from it.

    Made by :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_labels`, which check their input.

    Attributes
    ----------
    y_true, y_pred : ndarray of shape (n_samples,)
        True and predicted labels; the predicted one has the largest probability, where there are any.
    y_proba : ndarray of shape (n_samples, n_classes), float, or None
        Probabilities, 0..1, columns in the order of `classes`; None where the classifier gives none.
    classes : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> from cnnclf.evaluation._evaluation import Evaluation
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
        """Judge a fitted classifier on labelled data.

        Parameters
        ----------
        clf : fitted classifier
            Anything with ``classes_`` and ``predict_proba`` or, failing that, ``predict``.
        X : array of shape (n_samples, ...)
            What the classifier takes.
        y : array-like of shape (n_samples,)
            True labels. Where they are numbers and the classes are text, or the other way round, those that are written
            the same are the same, as 7 and "7" are.

        Returns
        -------
        Evaluation
            The predictions and everything that follows from them.

        Raises
        ------
        ValueError
            As :meth:`from_predictions` and :meth:`from_labels`.
        """
        true = match_labels(np.asarray(y), np.asarray(clf.classes_))
        if hasattr(clf, "predict_proba"):
            return cls.from_predictions(true, clf.predict_proba(X), clf.classes_)
        return cls.from_labels(true, clf.predict(X), clf.classes_)

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
            try:
                proba = proba.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Expected y_proba to hold numbers; got {quote_all(proba.ravel())}. "
                    "Pass the output of predict_proba."
                ) from error
        check_classes(labels)
        check_labels(true, labels)
        check_probabilities(proba, (len(true), len(labels)))
        return cls(*read_only(true, labels[proba.argmax(axis=1)], proba, labels))

    @classmethod
    def from_labels(cls, y_true: ArrayLike, y_pred: ArrayLike, classes: ArrayLike | None = None) -> "Evaluation":
        """Judge predicted labels, where the classifier gives no probabilities.

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
            When shapes do not fit together, a label is not among `classes`, or labels without `classes` cannot be
            sorted or are all the same.

        Examples
        --------
        >>> from cnnclf.evaluation._evaluation import Evaluation
        >>> evaluation = Evaluation.from_labels(["cat", "dog", "cat"], ["cat", "cat", "cat"])
        >>> evaluation.mistakes(1)
        (Mistake(index=1, true='dog', predicted='cat', confidence=None),)
        >>> evaluation.log_loss is None
        True
        """
        true, predicted = np.array(y_true), np.array(y_pred)
        labels = sort_labels(true, predicted) if classes is None else np.array(classes)
        check_classes(labels)
        check_labels(true, labels)
        check_labels(predicted, labels, "y_pred", "pass the classes of the classifier that said so")
        if len(predicted) != len(true):
            raise ValueError(
                f"Expected one label an image, {len(true)} in y_pred as in y_true, got {len(predicted)}; "
                "pass those of the same images."
            )
        true, predicted, labels = read_only(true, labels[encode(predicted, labels)], labels)
        return cls(true, predicted, None, labels)

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
    def log_loss(self) -> float | None:
        """Mean of -ln(probability of the true class), clipped to the float type's epsilon as scikit-learn does."""
        if self.y_proba is None:
            return None
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
        """Find the mistakes the classifier was surest of; without probabilities the first ones.

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
            surest = np.argsort(-self.y_proba[rows].max(axis=1), kind="stable")[:k]
            rows = rows[surest]
            confidence = [share_of(row.tolist(), int(row.argmax())) for row in self.y_proba[rows]]
        labels = self.y_true[rows].tolist(), self.y_pred[rows].tolist()
        return tuple(Mistake(*found) for found in zip(rows.tolist(), *labels, confidence, strict=True))

    def confused_pairs(self, k: int) -> tuple[ConfusedPair, ...]:
        """Find the classes that were most often called another.

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
        >>> from cnnclf.evaluation._evaluation import Evaluation
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
        """Sort the images by the probability of the predicted class and see how often each lot is right.

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
            When there is not one bin.

        References
        ----------
        Guo et al. 2017, "On calibration of modern neural networks", section 2, equations 2 and 3.

        Examples
        --------
        >>> from cnnclf.evaluation._evaluation import Evaluation
        >>> proba = [[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
        >>> Evaluation.from_predictions(["cat", "dog", "cat"], proba, ["cat", "dog"]).reliability(4)[1]
        ReliabilityBin(lower=0.75, upper=1.0, n_images=1, confidence=0.8, accuracy=1.0)
        """
        if n_bins < 1:
            raise ValueError(f"Expected n_bins to be 1 or more, got {n_bins}; 10 is usual.")
        if self.y_proba is None:
            return ()
        confidence, right = self.y_proba.max(axis=1), self.y_true == self.y_pred
        # In the type of the confidences, because 0.6 as float32 is above 0.6 as float64.
        edges = (np.arange(1, n_bins) / n_bins).astype(confidence.dtype)
        bins = np.searchsorted(edges, confidence)
        return tuple(
            ReliabilityBin(
                lower=m / n_bins,
                upper=(m + 1) / n_bins,
                n_images=int((bins == m).sum()),
                confidence=float(confidence[bins == m].mean(dtype=np.float64)),
                accuracy=float(right[bins == m].mean()),
            )
            for m in np.unique(bins).tolist()
        )

    def to_dict(self) -> dict[str, Any]:
        """Give every figure in a form that JSON can hold.

        Returns
        -------
        dict
            Shares are 0..1 and None stands for what needs probabilities where there are none; the ten most confused
            pairs; rows of the confusion matrix in the order of ``per_class``.

        Examples
        --------
        >>> from cnnclf.evaluation._evaluation import Evaluation
        >>> figures = Evaluation.from_labels(["cat", "dog"], ["cat", "cat"]).to_dict()
        >>> figures["accuracy"], figures["confusion_matrix"]
        (0.5, [[1, 0], [1, 0]])
        """
        return {
            "n_images": self.n_samples,
            "n_mistakes": self.n_mistakes,
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.accuracy_interval),
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
        mistakes = f"{self.n_mistakes:,} {'mistake' if self.n_mistakes == 1 else 'mistakes'}"
        scores = [*zip(self.classes.tolist(), self.per_class, strict=True), ("mean", self.macro_mean)]
        notes: tuple[str, ...] = ()
        if self.log_loss is not None and self.brier_score is not None and self.calibration_error is not None:
            error = percent(self.calibration_error)
            notes = (f"log loss {self.log_loss:.4f}, Brier score {self.brier_score:.4f}, calibration error {error}",)
        return Summary(
            f"accuracy {percent(self.accuracy)} (95 % interval {low} to {high}), "
            f"{mistakes} on {self.n_samples:,} {'image' if self.n_samples == 1 else 'images'}",
            "lrrrr",
            ("class", "precision", "recall", "F1", "images"),
            tuple(
                (
                    cut(str(label), LONGEST_LABEL),
                    percent(s.precision),
                    percent(s.recall),
                    percent(s.f1),
                    f"{s.support:,}",
                )
                for label, s in scores
            ),
            notes,
        )

    def _encoded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return encode(self.y_true, self.classes), encode(self.y_pred, self.classes)

    def _mean(self, weights: NDArray[Any]) -> Scores:
        table = np.array([(scores.precision, scores.recall, scores.f1) for scores in self.per_class])
        precision, recall, f1 = np.average(table, axis=0, weights=weights)
        return Scores(float(precision), float(recall), float(f1), self.n_samples)


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of whether two classifiers, a and b, are equally accurate on the images that both have judged.

    Attributes
    ----------
    n_images : int
        Images that both have judged.
    only_a_right, only_b_right : int
        Images on which one is right and the other wrong.
    p_value : float
        How often, 0..1, two equally accurate classifiers would differ as much or more by chance.
    """

    n_images: int
    only_a_right: int
    only_b_right: int
    p_value: float

    @property
    def difference(self) -> float:
        """Accuracy of a less that of b, -1..1."""
        return (self.only_a_right - self.only_b_right) / self.n_images

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>"

    @property
    def sentence(self) -> str:
        """The result in words, for a reader."""
        found = (
            f"a is right where b is wrong on {self.only_a_right:,} of {self.n_images:,} images, "
            f"the other way round on {self.only_b_right:,}"
        )
        test = f"McNemar's exact test, p {'< 0.0001' if self.p_value < 1e-4 else f'= {self.p_value:.2g}'}"
        if self.p_value > LEVEL:
            return f"{found}: no evidence of a difference, which is no proof that there is none ({test})."
        better = "a" if self.difference > 0 else "b"
        return (
            f"{found}: {better} is more accurate by {points(abs(self.difference))}, more than chance explains ({test})."
        )


def compare(a: Evaluation, b: Evaluation) -> McNemar:
    """Test whether two classifiers differ in accuracy, on the same images (McNemar's exact test, two-sided).

    Only images on which one is right and the other wrong count: were the two equally accurate, each would be the right
    one as often as a coin shows heads. Dietterich recommends the test where each was trained once.

    Parameters
    ----------
    a, b : Evaluation
        Of two classifiers on the same images in the same order.

    Returns
    -------
    McNemar
        The counts and the p value, which is 1 where no image tells the two apart.

    Raises
    ------
    ValueError
        When the true labels differ, so that the images cannot be the same.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157; Dietterich 1998, "Approximate statistical tests for comparing supervised
    classification learning algorithms", Neural Computation 10, section 3.1.

    Examples
    --------
    >>> from cnnclf.evaluation._evaluation import Evaluation, compare
    >>> a = Evaluation.from_labels([0, 1, 0, 1], [0, 1, 0, 0])
    >>> b = Evaluation.from_labels([0, 1, 0, 1], [1, 1, 1, 0])
    >>> compare(a, b)
    McNemar(n_images=4, only_a_right=2, only_b_right=0, p_value=0.5)
    """
    check_same_images(a, b)
    right_a, right_b = a.y_true == a.y_pred, b.y_true == b.y_pred
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(a.n_samples, only_a, only_b, p_value)


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
    >>> from cnnclf.evaluation._evaluation import wilson_interval
    >>> "{:.4f} {:.4f}".format(*wilson_interval(9921, 10_000))
    '0.9902 0.9937'
    """
    p, z2 = successes / n, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def match_labels(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Replace labels by the classes that are written the same, where one is text and the other numbers.

    "07" is another label than 7, so that no two labels become one.

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
    >>> from cnnclf.evaluation._evaluation import match_labels
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
    """Write a label as a word: a whole number without a point, whatever its type."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def encode(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Turn labels into the positions they have in `classes`, -1 where they have none."""
    # A dictionary, because np.isin and np.searchsorted would take 1 and "1" for the same label.
    position = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([position.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def read_only(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Lock arrays, so that a record cannot change."""
    for array in arrays:
        array.setflags(write=False)
    return arrays


def sort_labels(*rows: NDArray[Any]) -> NDArray[Any]:
    """Give the labels that occur, sorted."""
    # A set, because np.union1d would turn 1 into "1" beside words.
    found = {label for row in rows for label in row.ravel().tolist()}
    try:
        return np.array(sorted(found))
    except TypeError as error:
        raise ValueError(
            f"Expected y_true and y_pred to hold labels of one kind, got {quote_all(found)}; "
            "make all of them numbers or all of them words."
        ) from error


def check_classes(classes: NDArray[Any]) -> None:
    """Refuse anything but two or more different labels in one row."""
    if classes.ndim != 1 or len(classes) < 2:
        raise ValueError(
            f"Expected classes to be a row of two or more labels, got shape {classes.shape}; pass clf.classes_."
        )
    if len(set(classes.tolist())) < len(classes):
        raise ValueError(f"Expected classes to be different labels, got {quote_all(classes)}; pass each label once.")


def check_labels(
    labels: NDArray[Any],
    classes: NDArray[Any],
    name: str = "y_true",
    advice: str = "leave those images out, or fit with them",
) -> None:
    """Refuse labels that are not a row of known classes."""
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"Expected {name} to be a row of one or more labels, got shape {labels.shape}.")
    unknown = dict.fromkeys(labels[encode(labels, classes) < 0].tolist())
    if unknown:
        raise ValueError(
            f"Expected every label of {name} to be one of the classes {quote_all(classes)}, "
            f"got {quote_all(unknown)}; {advice}."
        )


def check_same_images(a: Evaluation, b: Evaluation) -> None:
    """Refuse to compare evaluations whose true labels differ."""
    if a.n_samples != b.n_samples:
        raise ValueError(
            f"Expected two evaluations of the same images, got {a.n_samples:,} and {b.n_samples:,} images; "
            "judge both classifiers on the same data."
        )
    pairs = zip(a.y_true.tolist(), b.y_true.tolist(), strict=True)
    for row, (of_a, of_b) in enumerate(pairs):
        if of_a != of_b:
            raise ValueError(
                f"Expected two evaluations of the same images, got {quote(of_a)} and {quote(of_b)} as the true labels "
                f"of row {row}; judge both classifiers on the same data in the same order."
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
