"""scikit-learn's 8 × 8 digits."""

import numpy as np
from numpy.typing import NDArray


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the small handwritten digits that scikit-learn brings along; nothing is downloaded.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8), dtype uint8
        Grey levels from 0 (paper) to 16 (ink).
    y : ndarray of shape (1797,), dtype int64
        The digits, 0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49; its test set, by way of :func:`sklearn.datasets.load_digits`.

    Examples
    --------
    >>> from cnnclf import load_digits
    >>> X, y = load_digits()
    >>> X.shape, X.dtype, int(X.max())
    ((1797, 8, 8), dtype('uint8'), 16)
    >>> y[:5]
    array([0, 1, 2, 3, 4])
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    return digits.images.astype(np.uint8), digits.target.astype(np.int64)
