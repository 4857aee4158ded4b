"""The records of an evaluation: scores, misclassified images, confused pairs and bins of reliability."""

from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, each in 0..1, of one class or of a mean over the classes.

    Attributes
    ----------
    precision : float
        Of the images predicted as this class, the share that belongs to it.
    recall : float
        Of the images of this class, the share that was predicted as it.
    f1 : float
        Harmonic mean of the two.
    support : int
        Images of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """One misclassified image.

    Attributes
    ----------
    index : int
        Its row in the evaluated data.
    true, predicted : label
        The true and the predicted class.
    confidence : float or None
        The probability, 0..1, of the predicted class; None without probabilities.
    """

    index: int
    true: Any
    predicted: Any
    confidence: float | None


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were predicted as another.

    Attributes
    ----------
    true, predicted : label
        The true and the predicted class.
    count : int
        How many.
    share : float
        The share of the true class's images, 0..1.
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
        Share of correct predictions; equal to `confidence` if the probabilities are calibrated.
    """

    lower: float
    upper: float
    n_images: int
    confidence: float
    accuracy: float


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927, JASA 22, 209-212).

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
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
