"""Accuracy on labels that are checked first."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin

from cnnclf._utils.labels import check_none_missing


class ScoreMixin(ClassifierMixin):  # type: ignore[misc]
    """A classifier whose ``score`` names the row of a missing label."""

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Measure the accuracy.

        Parameters
        ----------
        X : array-like
            Images, as for ``predict``.
        y : array-like of shape (n,)
            True labels.
        sample_weight : array-like of shape (n,), optional
            The weight of each image.

        Returns
        -------
        float
            Share of images whose predicted label is the true one, 0..1.

        Raises
        ------
        ValueError
            If a label is missing, and as ``predict`` and scikit-learn's ``accuracy_score``.
        """
        check_none_missing(y, "y")
        accuracy: float = super().score(X, y, sample_weight)
        return accuracy
