"""A network that has seen MNIST once reads what hands draw: 120 drawings, and the ten digits in a browser."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from selenium import webdriver

from cnnclf import RECIPES, CNNClassifier, ONNXClassifier, load_mnist
from drawings import MNIST, Page, drawing, drawings, online, put, reader_of, serving

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def clf() -> CNNClassifier:
    """The page's own network."""
    return CNNClassifier(**RECIPES["first_look"], random_state=0).fit(*load_mnist())


def test_drawings_are_recognised(clf: CNNClassifier) -> None:
    told = drawings()
    assert len(told) == 120  # ten digits, three ways to write each, four hands
    read = clf.predict(np.stack([MNIST.to_row(put(each)) for _, each in told]))
    wrong = [(digit, int(label)) for (digit, _), label in zip(told, read, strict=True) if digit != label]
    assert len(wrong) <= 2, wrong


@pytest.fixture(params=["cnn", "onnx"])
def page(
    request: pytest.FixtureRequest, clf: CNNClassifier, chromium: webdriver.Chrome, tmp_path: Any
) -> Iterator[Page]:
    """The page of that network, and of its file."""
    network: CNNClassifier | ONNXClassifier = clf
    if request.param == "onnx":
        clf.to_onnx(tmp_path / "digits.onnx")
        network = ONNXClassifier(tmp_path / "digits.onnx")
    online(chromium)
    with serving(reader_of(network)) as server:
        yield Page(chromium, server.url)


def test_ten_digits_are_read_while_they_are_drawn(page: Page) -> None:
    for digit in range(10):
        page.draw(drawing(digit))
        page.wait_for("label", str(digit))
        page.run("document.getElementById('clear').click()")
        page.wait_for("label", "?")
    assert page.run("return performance.getEntriesByType('resource').length") > 50  # while drawing, not after it
