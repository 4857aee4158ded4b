"""The differences between two traces."""

import math

import numpy as np
import pytest
from torch import nn

from cnnclf.inspection._records import StepDiff
from helpers import exactly, quick
from small_networks import arange, record


def test_differences_by_hand():
    # −1 0 1 2 and −3 0 1 6: after the ReLU 0 0 1 2 and 0 0 1 6 – one number, by 4, of a vector of length √5.
    a = record(np.array([[[-1, 0, 1, 2]]], dtype=np.float32), n_classes=4, relu1=nn.ReLU(), flatten1=nn.Flatten())
    b = a.follow(np.array([[[-3, 0, 1, 6]]], dtype=np.float32))
    relu, flatten, softmax = a.diff(b)
    assert relu == StepDiff("relu1", 4.0, 1.0, pytest.approx(4 / math.sqrt(5)), 1)
    assert (flatten.name, softmax.name) == ("flatten1", "softmax")
    assert b.diff(b)[0] == StepDiff("relu1", 0.0, 0.0, 0.0, 0)
    zero = a.follow(np.zeros((1, 1, 4), dtype=np.float32))
    assert zero.diff(a)[0] == StepDiff("relu1", 2.0, 0.75, math.inf, 2)
    assert zero.diff(zero)[0].relative == 0


def test_two_networks(clf, digit, few_digits):
    X, y, X_test, _ = few_digits
    diffs = digit.diff(quick(random_state=1).fit(X, y).trace(X_test[0]))
    assert [diff.name for diff in diffs] == [step.name for step in digit.walk()]
    assert diffs[0].n_changed == 0  # the same training images, hence the same standardisation
    assert all(diff.n_changed > 0 for diff in diffs[1:])


def test_networks_that_cannot_be_compared():
    a = record(arange(1, 1, 2), flatten1=nn.Flatten())
    b = record(arange(1, 1, 3), flatten2=nn.Flatten())
    sentence = (
        "Expected two traces whose layers have the same names and shapes; got flatten1 (2,), softmax (2,) and "
        "flatten2 (3,), softmax (3,). Compare networks of one architecture."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        a.diff(b)
