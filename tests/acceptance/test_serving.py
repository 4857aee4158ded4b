"""``docs/serving.md``: its files, commands and requests, run as they are written, on real servers."""

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests

from cnnclf import CNNClassifier, ONNXClassifier
from helpers import ROOT, free_ports, need, run_python, serving

pytestmark = pytest.mark.acceptance

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


class Exported(NamedTuple):
    """What the page exports, and where; beside it lies a file of text labels, as int8."""

    folder: Path
    X: np.ndarray
    clf: CNNClassifier


def blocks(section: str, language: str) -> list[str]:
    """All blocks of a section in one language."""
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], flags=re.DOTALL)


def commands(section: str) -> list[list[str]]:
    """The words of each command of a section."""
    lines = "".join(blocks(section, "console")).splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [shlex.split(line.removeprefix("$ ")) for line in lines]


def assert_shown(printed: str, shown: str) -> None:
    """What is printed is what the page shows, but for a number's last digits, and for where lines break."""
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    assert re.sub(number, "#", printed).split() == re.sub(number, "#", shown).split()
    assert [float(n) for n in re.findall(number, printed)] == pytest.approx(
        [float(n) for n in re.findall(number, shown)], abs=0.01
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("serving")
    namespace: dict[str, Any] = {}
    with contextlib.chdir(folder):
        (block,) = blocks("Export", "python")
        exec(block, namespace)
    X, y, clf = namespace["X"], namespace["y"], namespace["clf"]
    words = CNNClassifier(max_epochs=3, random_state=0).fit(X, WORDS[y])
    words.to_onnx(folder / "words.onnx", quantize="int8", calibration=X[:300])
    return Exported(folder, X, clf)


def test_in_your_own_process(exported: Exported) -> None:
    (program,), (shown,) = blocks("In your own process", "python"), blocks("In your own process", "text")
    assert run_python(program, exported.folder) == shown


@pytest.fixture(scope="module", params=["digits", "words"])
def mlflow(request: pytest.FixtureRequest, exported: Exported) -> Iterator[tuple[str, str]]:
    """Which model is served, and where; text labels from int8 by the page's very lines, with another name."""
    need("mlflow")
    save, _ = blocks("MLflow", "python")
    run_python(save.replace("digits", request.param), exported.folder)
    (command,) = commands("MLflow")
    assert (command[3], command[-2:]) == ("-m", ["--port", "5000"])
    (port,) = free_ports(1)
    command[4], command[-1] = f"{request.param}_mlflow", str(port)
    with serving(command, exported.folder, f"http://127.0.0.1:{port}/ping"):
        yield request.param, f"http://127.0.0.1:{port}"


def test_mlflow_answers_as_the_page_shows(exported: Exported, mlflow: tuple[str, str]) -> None:
    model, address = mlflow
    _, ask = blocks("MLflow", "python")
    (shown,) = blocks("MLflow", "text")
    printed = run_python(ask.replace("http://127.0.0.1:5000", address), exported.folder)
    if model == "digits":
        assert_shown(printed, shown)
    else:
        assert ast.literal_eval(printed)["predictions"]["label"] == ["zero"]


def test_mlflow_gives_the_labels_of_the_estimator(exported: Exported, mlflow: tuple[str, str]) -> None:
    model, address = mlflow
    for images in (exported.X[:1], exported.X[1:65], exported.X):
        answer = requests.post(f"{address}/invocations", json={"inputs": images.tolist()}, timeout=60)
        predictions = answer.json()["predictions"]
        served = ONNXClassifier(exported.folder / f"{model}.onnx")
        # int8 rounds, so that of 1,797 images a few labels may be others than the estimator's, but none the file's.
        wanted = exported.clf.predict(images) if model == "digits" else served.predict(images)
        assert predictions["label"] == wanted.tolist()
        assert predictions["probabilities"] == pytest.approx(served.predict_proba(images), abs=1e-6)


def test_mlflow_refuses_what_is_no_image(mlflow: tuple[str, str]) -> None:
    image = np.zeros((1, 8, 8), dtype=int)
    for wrong in (image + 256, image - 1, image[0], image[:, :7], image[:0]):
        assert requests.post(f"{mlflow[1]}/invocations", json={"inputs": wrong.tolist()}, timeout=60).status_code == 400
    cut = requests.post(f"{mlflow[1]}/invocations", json={"inputs": (image + 3.9).tolist()}, timeout=60)
    assert cut.text == requests.post(f"{mlflow[1]}/invocations", json={"inputs": (image + 3).tolist()}, timeout=60).text


def test_mlflow_loads_the_file_as_it_asks_for(exported: Exported, mlflow: tuple[str, str]) -> None:
    saved = exported.folder / f"{mlflow[0]}_mlflow"
    session = ONNXClassifier(saved / "model.onnx").metadata_["session"]  # whole: its digest holds
    description = (saved / "MLmodel").read_text(encoding="utf-8")
    assert all(f"{key}: {value}\n" in description for key, value in session.items())
