"""The command `cnnclf app`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cnnclf import RECIPES, CNNClassifier, __version__
from cnnclf.classifier._persistence import SCHEMA
from cnnclf.cli._app_server import Server
from cnnclf.datasets import _mnist as datasets
from drawings import ask, drawing, read
from helpers import cnnclf


@pytest.fixture
def not_served(monkeypatch):
    """Stop where serving would begin, as by Ctrl-C; give what was served."""
    served = []

    def serve_forever(self):
        served.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", serve_forever)
    return served


@pytest.mark.parametrize("name", ["digits.cnn", "digits.onnx", "int8.onnx"])
def test_it_says_where_the_page_is(model, name, not_served):
    result = cnnclf("app", model / name, "--no-browser")
    (server,) = not_served
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{server.url}\n", "Ctrl-C stops it.\n")
    assert server.reader.about == f"The network is {name}."
    assert server.socket.fileno() == -1  # closed


def test_the_browser_opens_the_page(model, not_served, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: (addresses.append(url), opened.set()))
    addresses = []
    cnnclf("app", model / "digits.cnn")
    assert opened.wait(5)
    assert addresses == [not_served[0].url]


def test_a_port_that_is_taken(model):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        result = cnnclf("app", model / "digits.cnn", "--no-browser", "--port", port)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: Port {port} of 127.0.0.1 cannot be had (Address already in use). Give another one, or 0 for any that "
        "is free.\n"
    )


def test_a_model_that_is_not_there(tmp_path):
    for name in ("model.onnx", "model.cnn"):
        result = cnnclf("app", tmp_path / name, "--no-browser")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {tmp_path / name}: expected ")
        assert result.stderr.count("\n") == 1


def test_a_model_of_other_images(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (20, 3, 12, 12), dtype=np.uint8)
    CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, [0, 1] * 10).save(tmp_path / "colour.cnn")
    result = cnnclf("app", tmp_path / "colour.cnn", "--no-browser")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: Expected a network of handwriting; got one that takes 12×12 pixels of 3 channels and was fitted with "
        "preparation=None. Fit it with preparation='handwriting', or classify pictures with cnnclf predict.\n"
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty user cache."""
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "cnnclf"


def test_without_a_model_it_trains_its_own_once(cache, digits, not_served, monkeypatch):
    X, y = digits
    asked = []
    monkeypatch.setattr(datasets, "load_mnist", lambda download: (asked.append(download), (X, y))[1])
    file = cache / f"app-{__version__}-{SCHEMA}-mnist.cnn"
    first, second = cnnclf("app", "--no-browser"), cnnclf("app", "--no-browser")
    assert first.stderr == f"training a small network on 1,797 images, once; it is kept in {file}\nCtrl-C stops it.\n"
    assert (first.exit_code, second.exit_code, second.stderr) == (0, 0, "Ctrl-C stops it.\n")
    assert asked == [True]
    assert CNNClassifier.load(file).max_epochs == RECIPES["first_look"]["max_epochs"]
    assert "MNIST’s 60,000 training images" in not_served[0].reader.about


def test_without_mnist_its_own_is_of_the_digits_and_mnist_is_not_downloaded_again(cache, not_served, monkeypatch):
    asked = []

    def load_mnist(download):
        asked.append(download)
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)
    note = "MNIST: expected files, found none\nUsing scikit-learn's bundled digits instead of MNIST.\n"
    file = cache / f"app-{__version__}-{SCHEMA}-digits.cnn"
    first, second = cnnclf("app", "--no-browser"), cnnclf("app", "--no-browser")
    assert first.stderr == (
        f"{note}training a small network on 1,797 images, once; it is kept in {file}\nCtrl-C stops it.\n"
    )
    assert second.stderr == f"{note}Ctrl-C stops it.\n"
    assert asked == [True, False]
    assert "as there was no MNIST" in not_served[1].reader.about


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits.cnn", "digits.onnx"])
def test_ctrl_c_ends_it_cleanly_and_nothing_was_written(model, name, tmp_path):
    command = [Path(sys.executable).with_name("cnnclf"), "app", model / name, "--no-browser"]
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(tmp_path))
    others = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=others | homes
    )
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    assert process.stderr.readline() == "Ctrl-C stops it.\n"
    there = SimpleNamespace(port=int(url.rstrip("/").rpartition(":")[2]))
    status, _, answer = read(there, drawing(0))
    assert (status, ask(there, "GET", "/")[0]) == (200, 200)
    walked = ask(there, "GET", f"/walkthrough/{json.loads(answer)['image']}")[0]
    assert walked == (200 if name.endswith(".cnn") else 404)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.rglob("*")) == []
