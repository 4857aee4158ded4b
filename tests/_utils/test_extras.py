"""Where an optional library is missing, one sentence names the extra that brings it."""

import numpy as np
import pytest

from cnnclf import CNNClassifier
from cnnclf._utils.extras import LIBRARIES, needed_by
from helpers import run_in_child


def run_without(library, program):
    """Run a program in a process in which a library is not installed; give what it says at last."""
    run = run_in_child(f"import sys\nsys.modules[{library!r}] = None\n{program}")
    assert run.returncode == 1
    return run.stderr


def sentence(distribution, what, extra):
    return (
        f"Expected {distribution} to be installed, which {what} needs; got none. "
        f"Install it with pip install 'cnnclf[{extra}]'."
    )


@pytest.mark.parametrize(
    ("library", "program", "what"),
    [
        ("matplotlib", "from cnnclf.plots import ConfusionMatrixDisplay", "ConfusionMatrixDisplay"),
        ("jinja2", "import cnnclf._utils.jinja", "an HTML page"),
        ("pooch", "from cnnclf import load_mnist; load_mnist()", "load_mnist"),
        ("PIL", "from cnnclf import load_image_folder; load_image_folder('.')", "load_image_folder"),
        ("PIL", "from cnnclf.images import read_picture", "read_picture"),
        ("skl2onnx", "from cnnclf.onnx import to_onnx", "to_onnx"),
    ],
)
def test_the_last_line_names_the_extra(library, program, what):
    distribution, extra = LIBRARIES[library]
    assert run_without(library, program).splitlines()[-1] == f"ImportError: {sentence(distribution, what, extra)}"


def test_the_command_says_it_without_a_traceback():
    said = run_without("typer", "from cnnclf.cli import main; main()")
    assert said == f"error: {sentence('typer', 'the cnnclf command', 'cli')}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("matplotlib", "report --dataset digits --epochs 1"),
        ("jinja2", "app --no-browser"),
        ("PIL", "predict model.cnn picture.png"),
        ("pooch", "evaluate model.cnn --dataset mnist"),
    ],
)
def test_a_command_says_it_without_a_traceback(library, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(images, [0, 0, 1, 1]).save("model.cnn")
    arguments = ["cnnclf", *command.split()]
    said = run_without(library, f"sys.argv = {arguments}\nfrom cnnclf.cli import main; main()")
    distribution, extra = LIBRARIES[library]
    what = {"jinja2": "an HTML page", "pooch": "load_mnist"}.get(library, "this command")
    assert said.splitlines()[-1] == f"error: {sentence(distribution, what, extra)}"
    assert "Traceback" not in said


def test_another_missing_library_is_none_of_ours():
    with pytest.raises(ModuleNotFoundError, match=r"\ANo module named 'no_such_library'\Z"), needed_by("a test"):
        import no_such_library  # noqa: F401
