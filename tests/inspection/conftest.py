"""Traces that several modules of this folder look at."""

import numpy as np
import pytest

from cnnclf.inspection._trace import Trace
from helpers import quick
from small_networks import random_net


@pytest.fixture(scope="session")
def zoo():
    image = np.random.default_rng(0).integers(0, 256, (3, 13, 17), dtype=np.uint8)
    return Trace.record(random_net(), image, np.array(["ant", "bee", "cat", "dog"]))


@pytest.fixture(scope="session")
def clf(few_digits):
    X, y, _, _ = few_digits
    return quick().fit(X, y)


@pytest.fixture(scope="session")
def digit(clf, few_digits):
    return clf.trace(few_digits[2][0])


@pytest.fixture
def trace(which, request):
    return request.getfixturevalue(which)
