"""Images and a classifier that several modules of this folder ask something."""

import pytest

from helpers import quick


@pytest.fixture(scope="module")
def some(few_digits):
    """120 digits, enough to see that two fits are the same."""
    X, y, _, _ = few_digits
    return X[:120], y[:120]


@pytest.fixture(scope="module")
def fitted(some):
    """One classifier for all tests that only ask it something."""
    return quick(max_epochs=3).fit(*some)
