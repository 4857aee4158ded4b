"""``TestTimeAugmentation``: predict each image, its shifts by a pixel and its mirror images, and take the mean.

It is an estimator around a classifier and not a parameter of ``CNNClassifier``, so that the network, its ONNX file and
its trace stay one and the same function; and so that any classifier can have it, one from a file without torch, too.
"""

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from cnnclf._utils.text import quote
from cnnclf.classifier._scoring import ScoreMixin
from cnnclf.images._arrays import as_array
from cnnclf.images._spec import SMALLEST_SIDE, ImageLayout, infer_layout
from cnnclf.training._sklearn_callbacks import CallbackSupportMixin, fit_within


class TestTimeAugmentation(CallbackSupportMixin, ScoreMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Average a classifier's probabilities over each image and its shifts up, down, left and right, or mirrored.

    Source: Krizhevsky, Sutskever & Hinton 2012, “ImageNet classification with deep convolutional neural networks”,
    section 4.1, which averages over patches and their reflections.

    Parameters
    ----------
    estimator : estimator
        A classifier with ``predict_proba``: a ``CNNClassifier``, or any of scikit-learn's. One that is fitted is used
        without being trained again where it is wrapped in ``sklearn.frozen.FrozenEstimator``, as an
        ``ONNXClassifier`` always has to be.
    reach : int, default=1
        Distance of the shifts in pixels; borders are repeated. 0 is without shifts, for mirror images alone.
    mirror : bool, default=False
        Whether each of these views is also predicted mirrored, left to right, for images whose class that leaves alone.
    confidence : float or None, default=None
        Only images whose largest probability is below it get views; the others keep the prediction of the plain image.
        None is views for all images.
    image_shape : tuple of int or None, default=None
        (channels, height, width) of the images. None is the ``image_shape_`` of the fitted estimator; if it has
        none, the shape of ``X`` decides, as for ``CNNClassifier``.

    Attributes
    ----------
    estimator_ : estimator
        The fitted classifier.
    layout_ : ImageLayout
        How a row of ``X`` is read as an image.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Numbers in one row of ``X``, where the classifier counts them.
    feature_names_in_ : ndarray of str
        Column names, where ``X`` was a data frame with string names.

    See Also
    --------
    cnnclf.CNNClassifier : Its parameter ``augment`` changes training images.

    Notes
    -----
    Shifts help where they are small compared with the image: one pixel of 28 is, one of 8 may make predictions worse.
    Compare on validation images.

    A prediction takes five times as long, with ``mirror`` ten times, and the memory of one more ``X``, with ``mirror``
    of two; with ``confidence`` that holds for the uncertain images alone. Images with a side below 8 pixels are
    predicted as they are, as ``CNNClassifier`` leaves them unchanged in training.

    The classifier is given ``X`` as it is, and the shifted images in the same shape, and as a data frame of the same
    columns where they came in one of pandas or polars; lists and tensors become arrays.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, TestTimeAugmentation, load_digits
    >>> from sklearn.frozen import FrozenEstimator
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:1000], y[:1000])
    >>> five_views = TestTimeAugmentation(FrozenEstimator(clf)).fit(X[:1000], y[:1000])  # nothing is trained
    >>> five_views.estimator_.estimator is clf
    True
    >>> five_views.predict_proba(X[1000:]).shape
    (797, 10)
    """

    __test__ = False  # pytest takes what is called Test for tests

    def __init__(
        self,
        estimator: Any,
        *,
        reach: int = 1,
        mirror: bool = False,
        confidence: float | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.estimator = estimator
        self.reach = reach
        self.mirror = mirror
        self.confidence = confidence
        self.image_shape = image_shape

    def fit(self, X: Any, y: ArrayLike, **fit_params: Any) -> Self:
        """Fit a copy of the classifier on the images as they are.

        Parameters
        ----------
        X : array-like
            Images, as the classifier takes them.
        y : array-like of shape (n,)
            Labels.
        **fit_params
            Handed on to the classifier's ``fit``, ``sample_weight`` for one; where metadata routing is enabled, as it
            was requested.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``reach`` is no whole number above 0 (0 and above with ``mirror``), ``mirror`` no truth value or
            ``confidence`` no number above 0 and up to 1; if ``image_shape`` does not fit X or X can be read in two
            ways; and for what the classifier refuses.
        TypeError
            If X is sparse, or the classifier has no ``predict_proba``.
        """
        check_views(self.reach, self.mirror, self.confidence)
        input_shape = as_array(X).shape[1:]
        if self.image_shape is not None:
            infer_layout(input_shape, self.image_shape)  # refuses it before anything costly is done
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params)["estimator"]["fit"]
        fitted = clone(self.estimator)
        fit_within(self, fitted, X, y, **fit_params)
        if not hasattr(fitted, "predict_proba"):  # asked now, as some have it only once they are fitted
            raise TypeError(
                "Expected a classifier with predict_proba, as probabilities are averaged; got "
                f"{type(self.estimator).__name__}. Give one that has it, or wrap this one in CalibratedClassifierCV."
            )
        image_shape = getattr(fitted, "image_shape_", None) if self.image_shape is None else self.image_shape
        self.layout_: ImageLayout = infer_layout(input_shape, image_shape)
        self.estimator_: Any = fitted
        return self

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like
            Images of the shape that :meth:`fit` was given, apart from their number, or flat rows of as many numbers.

        Returns
        -------
        ndarray of shape (n, n_classes), of the classifier's own dtype
            The mean of the classifier's probabilities over the views; columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        plain: NDArray[np.floating[Any]] = self.estimator_.predict_proba(X)
        if self.confidence is None:
            return self._mean(plain, X, slice(None))
        uncertain = plain.max(axis=1) < float(self.confidence)  # compared in the probabilities' own precision
        if not uncertain.any():
            return plain
        probabilities = plain.copy()
        probabilities[uncertain] = self._mean(plain[uncertain], X, uncertain)
        return probabilities

    def _mean(self, plain: NDArray[np.floating[Any]], X: Any, chosen: Any) -> NDArray[np.floating[Any]]:
        """Average the probabilities of some plain images with those of their views."""
        total, n_views = plain, 1
        for view in changed(as_array(X)[chosen], self.layout_, int(self.reach), mirror=bool(self.mirror)):
            total = total + self.estimator_.predict_proba(in_frame_of(X, view, chosen))
            n_views += 1
        return total / n_views

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like
            Images of the shape that :meth:`fit` was given, apart from their number, or flat rows of as many numbers.

        Returns
        -------
        ndarray of shape (n,)
            Members of ``classes_`` with the largest mean probability.
        """
        positions = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[positions]
        return labels

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, sorted."""
        return np.asarray(self.estimator_.classes_)

    @property
    def n_features_in_(self) -> int:
        """Numbers in one row of ``X``."""
        return int(self.estimator_.n_features_in_)

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Column names."""
        return np.asarray(self.estimator_.feature_names_in_)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata, as scikit-learn asks for it.

        Returns
        -------
        MetadataRouter
            What :meth:`fit` is given goes to the classifier's ``fit``; ``score`` takes its own.
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        )

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags = replace(inner.input_tags, sparse=False)
        tags.classifier_tags = inner.classifier_tags
        return tags


def check_views(reach: object, mirror: object, confidence: object) -> None:
    """Check the parameters that decide which views there are."""
    if not isinstance(mirror, bool | np.bool_):
        raise ValueError(f"Expected mirror to be True or False; got {quote(mirror)}. Change mirror.")
    least = 0 if mirror else 1
    if isinstance(reach, bool) or not isinstance(reach, numbers.Integral) or reach < least:
        raise ValueError(f"Expected reach to be a whole number, {least} or more; got {quote(reach)}. Change reach.")
    is_number = isinstance(confidence, numbers.Real) and not isinstance(confidence, bool)
    if confidence is not None and not (is_number and 0 < confidence <= 1):  # type: ignore[operator]
        raise ValueError(
            f"Expected confidence to be None, or a number above 0 and up to 1; got {quote(confidence)}. "
            "Change confidence."
        )


def changed(array: NDArray[Any], layout: ImageLayout, reach: int, *, mirror: bool) -> Iterator[NDArray[Any]]:
    """Shift images up, down, left and right, repeating the border, and mirror them; below 8 pixels a side, do nothing.

    Parameters
    ----------
    array : ndarray of shape (n, …)
        Images as they were given, of any dtype.
    layout : ImageLayout
        How a row is read as an image.
    reach : int
        How far, in pixels; 0 is without shifts.
    mirror : bool
        Whether to give, after the shifts, the mirror image and its shifts.

    Yields
    ------
    ndarray
        Of the same shape and dtype, in memory of its own.

    Examples
    --------
    >>> image = np.arange(64).reshape(1, 8, 8)
    >>> [int(view[0, 3, 3]) - 27 for view in changed(image, infer_layout((8, 8)), 1, mirror=False)]
    [8, -8, 1, -1]
    >>> [int(view[0, 3, 3]) - 28 for view in changed(image, infer_layout((8, 8)), 1, mirror=True)][4:]
    [0, 8, -8, -1, 1]
    """
    channels, height, width = layout.image_shape
    if min(height, width) < SMALLEST_SIDE:
        return
    shape = (height, width, channels) if layout.channels_last else (channels, height, width)
    images, rows = array.reshape(-1, *shape), 1 if layout.channels_last else 2
    for is_mirrored in (False, True) if mirror else (False,):
        if is_mirrored:
            images = images.take(np.arange(width)[::-1], axis=rows + 1)
            yield images.reshape(array.shape)
        for axis, size in ((rows, height), (rows + 1, width)) if reach else ():
            for offset in (reach, -reach):
                taken_from = (np.arange(size) + offset).clip(0, size - 1)
                yield images.take(taken_from, axis=axis).reshape(array.shape)


def in_frame_of(X: Any, array: NDArray[Any], chosen: Any = slice(None)) -> Any:
    """Return an array of some rows of `X`, by default all, in a data frame like `X` if that is of pandas or polars."""
    if hasattr(X, "iloc"):
        return type(X)(array, index=X.index[chosen], columns=X.columns)
    if hasattr(X, "with_columns"):
        return type(X)(array, schema=X.columns, orient="row")
    return array
