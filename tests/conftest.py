"""What several test modules share: scikit-learn's digits, whole and in a small part."""

import os

# scikit-learn checks dispatch on array namespaces only where SciPy's switch is on, and skips that check otherwise.
# SciPy reads the switch once, when it is imported: hence here, before anything that imports SciPy.
os.environ["SCIPY_ARRAY_API"] = "1"

import pytest
import torch
from sklearn.model_selection import train_test_split

from cnnclf import load_digits


def read_only(*arrays):
    for array in arrays:
        array.flags.writeable = False  # shared by all tests, so none may change them
    return arrays


@pytest.fixture(scope="session")
def digits():
    """All 1,797 digits: X (n, 8, 8) uint8, y (n,) int64."""
    return read_only(*load_digits())


@pytest.fixture(scope="session")
def few_digits(digits):
    """400 digits to learn from and 400 others to score on, classes in equal shares: X, y, X_test, y_test."""
    X, y = digits
    X, X_test, y, y_test = train_test_split(X, y, train_size=400, test_size=400, stratify=y, random_state=0)
    return read_only(X, y, X_test, y_test)


@pytest.fixture
def one_thread():
    """Run torch in one thread: threads that wait for each other by spinning cost more than such small layers do."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
