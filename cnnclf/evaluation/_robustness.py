"""The robustness of a classifier: its accuracy on test images that were shifted, turned, faded, noisy or inverted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Images = NDArray[Any]


@dataclass(frozen=True)
class Probe:
    """The accuracy on test images that were all changed in the same way.

    Attributes
    ----------
    change : str
        The change of every image.
    accuracy : float
        0..1, on the changed images.
    confidence : float
        Mean probability, 0..1, of the predicted class on the changed images.
    """

    change: str
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class Robustness:
    """How a classifier performs on images unlike those that it learnt from.

    Attributes
    ----------
    probes : tuple of Probe
        One per change; the first is no change.
    noise_confidence : float
        Mean probability, 0..1, of the predicted class on images of noise alone.
    """

    probes: tuple[Probe, ...]
    noise_confidence: float


def probe(clf: Any, X: Images, y: NDArray[Any], pixel_range: tuple[float, float]) -> Robustness:
    """Evaluate a classifier on changed test images and on noise.

    Parameters
    ----------
    clf : fitted classifier
        With ``predict_proba`` and ``classes_``.
    X : ndarray of shape (n, height, width) or (n, height, width, channels)
        Test images as the classifier takes them.
    y : ndarray of shape (n,)
        True labels.
    pixel_range : tuple of float
        Values of black and white; changed pixels are clipped to them.

    Returns
    -------
    Robustness
        The same for the same input, as the noise has a fixed seed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from cnnclf.evaluation import probe
    >>> X, y = np.zeros((4, 8, 8)), np.array([0, 0, 0, 1])
    >>> clf = make_pipeline(FunctionTransformer(lambda X: X.reshape(len(X), -1)), DummyClassifier()).fit(X, y)
    >>> probe(clf, X, y, (0, 16)).probes[0]
    Probe(change='as they are', accuracy=0.75, confidence=0.75)
    """
    low, high = pixel_range
    random = np.random.default_rng(0)
    pixels = max(1, round(0.1 * X.shape[2]))
    offsets = (0, 0, pixels, 0)[: X.ndim]
    changes: dict[str, Callable[[Images], Images]] = {
        "as they are": lambda X: X,
        f"shifted right by a tenth ({pixels} px)": lambda X: ndimage.shift(X, offsets, order=0, cval=low),
        "turned by 15°": lambda X: ndimage.rotate(X, 15, axes=(1, 2), reshape=False, order=1, cval=low),
        "turned by 45°": lambda X: ndimage.rotate(X, 45, axes=(1, 2), reshape=False, order=1, cval=low),
        "at half the contrast": lambda X: low + (X - low) / 2,
        "with noise, sd a quarter of the range": lambda X: X + random.normal(0, (high - low) / 4, X.shape),
        "black and white exchanged": lambda X: high + low - X,
    }
    probes: list[Probe] = []
    for change, apply in changes.items():
        # Unchanged images are not clipped.
        changed = fit(apply(X.astype(np.float64)), X.dtype, low, high) if probes else X
        proba = clf.predict_proba(changed)
        accuracy = (clf.classes_[proba.argmax(axis=1)] == y).mean()
        probes.append(Probe(change, float(accuracy), float(proba.max(axis=1).mean(dtype=np.float64))))
    noise = fit(random.uniform(low, high, (min(1000, max(100, len(X))), *X.shape[1:])), X.dtype, low, high)
    return Robustness(tuple(probes), float(clf.predict_proba(noise).max(axis=1).mean(dtype=np.float64)))


def fit(X: Images, dtype: np.dtype[Any], low: float, high: float) -> Images:
    """Clip changed pixels to the range, and convert them to the type, of the classifier's images."""
    clipped = np.clip(X, low, high)
    return (np.rint(clipped) if np.issubdtype(dtype, np.integer) else clipped).astype(dtype)
