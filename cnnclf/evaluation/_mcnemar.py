"""McNemar's test: two classifiers compared on the same images."""

import html
from dataclasses import dataclass

from scipy.stats import binomtest

from cnnclf._utils.text import points, quote
from cnnclf.evaluation._evaluation import Evaluation

LEVEL = 0.05  # a smaller p value is evidence of a difference


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of whether two classifiers, a and b, are equally accurate on the same images.

    Attributes
    ----------
    n_images : int
        Images that both have classified.
    only_a_right, only_b_right : int
        Images on which one is right and the other wrong.
    p_value : float
        The probability, 0..1, that two equally accurate classifiers differ as much or more by chance.
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
            f"a is right where b is wrong on {self.only_a_right:,} of {self.n_images:,} images "
            f"and b where a is wrong on {self.only_b_right:,}"
        )
        test = f"McNemar's exact test, p {'< 0.0001' if self.p_value < 1e-4 else f'= {self.p_value:.2g}'}"
        if self.p_value > LEVEL:
            return f"{found}: no evidence of a difference, which does not prove that there is none ({test})."
        better = "a" if self.difference > 0 else "b"
        return (
            f"{found}: {better} is more accurate by {points(abs(self.difference))}, more than chance explains ({test})."
        )


def compare(a: Evaluation, b: Evaluation) -> McNemar:
    """Test whether two classifiers differ in accuracy on the same images (McNemar's exact test, two-sided).

    Only images on which one is right and the other wrong count: if the two are equally accurate, each is right on half
    of them, like heads and tails of a coin. Dietterich recommends the test for classifiers that were trained once.

    Parameters
    ----------
    a, b : Evaluation
        Of two classifiers on the same images in the same order.

    Returns
    -------
    McNemar
        The counts and the p value, which is 1 if the two are right on the same images.

    Raises
    ------
    ValueError
        If the true labels differ, so that the images cannot be the same.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157; Dietterich 1998, "Approximate statistical tests for comparing supervised
    classification learning algorithms", Neural Computation 10, section 3.1.

    Examples
    --------
    >>> from cnnclf.evaluation import Evaluation, compare
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


def check_same_images(a: Evaluation, b: Evaluation) -> None:
    """Check that two evaluations have the same true labels."""
    if a.n_samples != b.n_samples:
        raise ValueError(
            f"Expected two evaluations of the same images; got {a.n_samples:,} and {b.n_samples:,} images. "
            "Evaluate both classifiers on the same data."
        )
    pairs = zip(a.y_true.tolist(), b.y_true.tolist(), strict=True)
    for row, (of_a, of_b) in enumerate(pairs):
        if of_a != of_b:
            raise ValueError(
                f"Expected two evaluations of the same images; got {quote(of_a)} and {quote(of_b)} as the true labels "
                f"of row {row}. Evaluate both classifiers on the same data in the same order."
            )
