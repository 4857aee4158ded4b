"""How values that somebody passed are written in a sentence: on one line, shortened, and never more than five."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cnnclf._utils.text import quote, quote_all


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cat", "'cat'"),
        (None, "None"),
        (np.float32(0.5), "0.5"),
        (np.str_("cat"), "'cat'"),
        (torch.tensor(3), "3"),
        (Path("a/b.cnn"), "'a/b.cnn'"),
        (np.zeros((3, 4)), "ndarray of shape (3, 4)"),
        (torch.zeros(2, 1, 8, 8), "Tensor of shape (2, 1, 8, 8)"),
        (pd.DataFrame({"a": [1, 2]}), "DataFrame of shape (2, 1)"),
        ([1, 2, 3, 4, 5, 6], "[1, 2, 3, 4, 5, ...]"),
        pytest.param(10**5000, "int of very many digits", id="huge int"),
    ],
)
def test_a_value_is_written_as_python_does(value, expected):
    assert quote(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "long" * 100_000,
        b"bytes" * 100_000,
        [["long" * 1000] * 1000] * 1000,
        dict.fromkeys(range(1000), "long" * 1000),
        [np.zeros((100, 100))] * 100,
        np.longdouble(1) / 3,
        range(10**30, 10**90),
        Unspeakable(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_any_size_and_kind_is_one_short_line(value):
    assert 0 < len(quote(value)) <= 120
    assert "\n" not in quote(value)


def test_of_many_values_five_are_written_and_the_rest_is_counted():
    assert quote_all(np.array(["a", "b", "c", "d", "e"])) == "'a', 'b', 'c', 'd' and 'e'"
    assert quote_all([Path(f"{n}.png") for n in range(6)]) == "'0.png', '1.png', '2.png', '3.png', '4.png' and 1 more"
    assert quote_all({"cat": 1}) == "'cat'"
    assert quote_all([]) == "none"


def test_writing_values_needs_no_library():
    program = "import sys, cnnclf._utils.text; print({'numpy', 'torch'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"
