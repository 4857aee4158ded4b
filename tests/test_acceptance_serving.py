"""``docs/serving.md``: its files, commands and requests, run as they stand, on servers that are really there."""

import ast
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests

from cnnclf import CNNClassifier, ONNXClassifier

pytestmark = pytest.mark.acceptance

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Whoever asks for an address outside this machine is sent to a port that nobody listens at.
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
}


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


def run_python(program: str, folder: Path) -> str:
    """Run a block as a program of its own; give what it prints."""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def free_ports(n: int) -> list[int]:
    """Find ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


@contextlib.contextmanager
def serving(command: list[str], folder: Path, ready: str, **environment: str) -> Iterator[None]:
    """Run a server until the block ends, which begins when an address answers 200."""
    log = folder / f"{command[0]}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server and what it has started: a session of their own
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(address: str) -> bool:
    """Tell whether an address answers 200."""
    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def assert_shown(printed: str, shown: str) -> None:
    """What is printed is what the page shows, but for a number's last digits, and for where lines break."""
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    assert re.sub(number, "#", printed).split() == re.sub(number, "#", shown).split()
    assert [float(n) for n in re.findall(number, printed)] == pytest.approx(
        [float(n) for n in re.findall(number, shown)], abs=0.01
    )


def need(package: str, extra: str = "serve") -> None:
    """Skip where a package of an extra is missing."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install '.[{extra}]'")


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


@pytest.fixture(scope="module")
def mlserver(exported: Exported) -> Iterator[str]:
    """Where the page's model is served, and another one beside it: text labels from int8."""
    need("mlserver")
    (write, _), (export, start) = blocks("MLServer", "python"), commands("MLServer")
    run_python(write, exported.folder)
    run_python(write.replace("digits", "words"), exported.folder)
    written = {path: path.read_text(encoding="utf-8") for path in (exported.folder / "models").rglob("*.json")}
    settings, server = blocks("MLServer", "json")
    models = exported.folder / "models"
    assert written == {
        models / "settings.json": server,
        models / "digits" / "model-settings.json": settings,
        models / "words" / "model-settings.json": settings.replace("digits", "words"),
    }
    exported.clf.save(exported.folder / "digits.cnn")
    subprocess.run(export, cwd=exported.folder, env=ENVIRONMENT, check=True)  # writes the same once more
    assert written == {path: path.read_text(encoding="utf-8") for path in models.rglob("*.json")}
    names = ("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT")
    ports = free_ports(len(names))
    address = f"http://127.0.0.1:{ports[0]}"
    environment = {name: str(port) for name, port in zip(names, ports, strict=True)}
    with serving(start, exported.folder, f"{address}/v2/health/ready", **environment):
        yield address


def infer(address: str, model: str, images: np.ndarray, **changed: Any) -> requests.Response:
    """Send images as the page does."""
    tensor = {"name": "X", "datatype": "UINT8", "shape": images.shape, "data": images.flatten().tolist()} | changed
    return requests.post(f"{address}/v2/models/{model}/infer", json={"inputs": [tensor]}, timeout=60)


def test_mlserver_answers_as_the_page_shows(exported: Exported, mlserver: str) -> None:
    (_, ask), (shown,) = blocks("MLServer", "python"), blocks("MLServer", "text")
    assert "http://127.0.0.1:8080/" in ask
    assert_shown(run_python(ask.replace("http://127.0.0.1:8080", mlserver), exported.folder), shown)


def test_mlserver_is_ready(mlserver: str) -> None:
    assert all(
        answers(f"{mlserver}/v2/{path}")
        for path in ("health/live", "health/ready", "models/digits/ready", "models/words/ready")
    )


@pytest.mark.parametrize(("model", "datatype"), [("digits", "INT64"), ("words", "BYTES")])
def test_mlserver_gives_the_labels_of_the_estimator(
    exported: Exported, mlserver: str, model: str, datatype: str
) -> None:
    served = ONNXClassifier(exported.folder / f"{model}.onnx")
    for images in (exported.X[:1], exported.X[1:65], exported.X):
        label, probabilities = infer(mlserver, model, images).json()["outputs"]
        wanted = exported.clf.predict(images) if model == "digits" else served.predict(images)
        assert (label["name"], label["datatype"], label["shape"]) == ("label", datatype, [len(images), 1])
        assert label["data"] == wanted.tolist()
        assert (probabilities["name"], probabilities["datatype"]) == ("probabilities", "FP32")
        assert probabilities["shape"] == [len(images), 10]
        assert probabilities["data"] == pytest.approx(served.predict_proba(images).flatten(), abs=1e-6)


def test_mlserver_takes_an_empty_batch(exported: Exported, mlserver: str) -> None:
    label, probabilities = infer(mlserver, "digits", exported.X[:0]).json()["outputs"]
    assert (label["shape"], label["data"]) == ([0, 1], [])
    assert (probabilities["shape"], probabilities["data"]) == ([0, 10], [])


def test_mlserver_refuses_what_is_no_image_with_one_sentence(mlserver: str) -> None:
    image = np.zeros((1, 8, 8), dtype=int)
    shape = infer(mlserver, "digits", image[:, :7])
    assert (shape.status_code, shape.json()) == (
        400,
        {
            "error": "X has shape (1, 7, 8), but ONNXClassifier is expecting (n, 8, 8) as input. "
            "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
        },
    )
    fraction = infer(mlserver, "digits", image + 3.5, datatype="FP32")
    assert fraction.status_code == 400
    assert fraction.json()["error"].startswith("Expected whole numbers from 0 to 255, ")
    assert infer(mlserver, "digits", image + 256).status_code == 400


def test_mlserver_wants_one_input(mlserver: str) -> None:
    nothing = requests.post(f"{mlserver}/v2/models/digits/infer", json={"inputs": []}, timeout=60)
    assert (nothing.status_code, nothing.json()) == (400, {"error": "Expected one input, the images; got 0."})


def test_triton_repository_is_what_the_page_shows(exported: Exported) -> None:
    (program,), (shown,) = blocks("Triton", "python"), blocks("Triton", "text")
    exported.clf.save(exported.folder / "digits.cnn")
    export, _ = commands("Triton")
    repository = exported.folder / "triton"
    for write in (
        lambda: run_python(program, exported.folder),
        lambda: subprocess.run(export, cwd=exported.folder, env=ENVIRONMENT, check=True),
    ):
        shutil.rmtree(repository, ignore_errors=True)
        write()
        assert (repository / "digits" / "config.pbtxt").read_text(encoding="utf-8") == shown
        served = ONNXClassifier(repository / "digits" / "1" / "model.onnx")
        assert np.array_equal(served.predict(exported.X), exported.clf.predict(exported.X))


def test_triton_reads_the_configuration(exported: Exported) -> None:
    """By Triton's own schema, which its Python client brings."""
    need("tritonclient")
    program = """
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
config = text_format.Parse(open("triton/digits/config.pbtxt").read(), ModelConfig())
print(config.name, config.max_batch_size, *config.input[0].dims, config.output[0].HasField("reshape"))
"""
    assert run_python(program, exported.folder) == "digits 64 8 8 True\n"
