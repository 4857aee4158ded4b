"""The commands `cnnclf page` and `cnnclf app`: the page of a network, written and opened."""

import json
import re

import numpy as np
import pytest

from cnnclf import RECIPES, CNNClassifier, __version__
from cnnclf.classifier._persistence import SCHEMA
from cnnclf.datasets import _mnist as datasets
from helpers import cnnclf


def network_in(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="network">(.*?)</script>', page).group(1))


def test_page_writes_a_file_and_says_how_large_it_is(model, tmp_path):
    out = tmp_path / "digits.html"
    result = cnnclf("page", model / "digits.cnn", "--out", out)
    size = f"{out.stat().st_size / 1e6:.1f}"
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{out}\n{size} MB: open it in a browser; it needs no other file\n"
    assert network_in(out)["samples"]["n"] == 0


def test_page_has_images_of_every_class_from_a_dataset(model, tmp_path):
    out = tmp_path / "digits.html"
    result = cnnclf("page", model / "digits.cnn", "--out", out, "--dataset", "digits")
    assert result.exit_code == 0
    assert network_in(out)["samples"] == {"n": 30, "dtype": "uint8"}  # three of each digit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["FOLDER/digits.onnx"],
            (
                "Expected a .cnn file, as the graph of an ONNX file has no layers to show; got 'FOLDER/digits.onnx'. "
                "Pass the file of CNNClassifier.save."
            ),
        ),
        (
            ["FOLDER/digits.cnn", "--out", "page.txt"],
            "Expected --out to end in .html; got 'page.txt'. Name a page.",
        ),
    ],
)
def test_what_page_does_not_take(arguments, message, model):
    result = cnnclf("page", *(argument.replace("FOLDER", str(model)) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {message}\n".replace("FOLDER", str(model))


def test_a_model_that_is_not_there(tmp_path):
    for command in (["page"], ["app", "--no-browser"]):
        result = cnnclf(*command, tmp_path / "model.cnn")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {tmp_path / 'model.cnn'}: expected ")
        assert result.stderr.count("\n") == 1


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty user cache."""
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "cnnclf"


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser is asked to open."""
    addresses = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_app_opens_the_page_of_a_network(model, cache, opened):
    result = cnnclf("app", model / "digits.cnn")
    page = cache / "digits.html"
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{page}\n", "")
    assert opened == [page.as_uri()]
    assert cnnclf("app", model / "digits.cnn", "--no-browser").exit_code == 0
    assert len(opened) == 1


def test_a_network_of_other_images_has_a_page_too(tmp_path, cache, opened):
    X = np.random.default_rng(0).integers(0, 256, (20, 3, 12, 12), dtype=np.uint8)
    CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, [0, 1] * 10).save(tmp_path / "colour.cnn")
    assert cnnclf("app", tmp_path / "colour.cnn").exit_code == 0
    assert network_in(cache / "colour.html")["input"]["shape"] == [3, 12, 12]


def test_without_a_model_it_trains_its_own_once(cache, digits, opened, monkeypatch):
    X, y = digits
    asked = []
    monkeypatch.setattr(datasets, "load_mnist", lambda download: (asked.append(download), (X, y))[1])
    monkeypatch.setattr("cnnclf.cli._page.load_test_images", lambda *arguments: ("MNIST", X, y))
    file = cache / f"app-{__version__}-{SCHEMA}-mnist.cnn"
    first, second = cnnclf("app"), cnnclf("app")
    assert first.stderr == f"training a small network on 1,797 images, once; it is kept in {file}\n"
    assert (first.exit_code, second.exit_code, second.stderr) == (0, 0, "")
    assert asked == [True]
    assert opened == [file.with_suffix(".html").as_uri()] * 2
    clf = CNNClassifier.load(file)
    assert (clf.max_epochs, clf.preparation) == (RECIPES["first_look"]["max_epochs"], "handwriting")
    assert network_in(file.with_suffix(".html"))["samples"]["n"] == 30


def test_without_mnist_its_own_is_of_the_digits_and_mnist_is_not_downloaded_again(cache, opened, monkeypatch):
    asked = []

    def load_mnist(download):
        asked.append(download)
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)
    note = "MNIST: expected files, found none\nUsing scikit-learn's bundled digits instead of MNIST.\n"
    held_out = "The test images are the 20 % of each class that `cnnclf report` holds out.\n"
    file = cache / f"app-{__version__}-{SCHEMA}-digits.cnn"
    first, second = cnnclf("app"), cnnclf("app")
    assert first.stderr == f"{note}training a small network on 1,797 images, once; it is kept in {file}\n{held_out}"
    assert second.stderr == note + held_out
    assert asked == [True, False]
