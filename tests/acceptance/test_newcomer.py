"""The README's five steps on MNIST, as written there: report, network, ONNX file, predictions, page to draw on."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from helpers import ENVIRONMENT, ROOT, run_python
from tests.repo.test_readme import ELSEWHERE

pytestmark = pytest.mark.acceptance

STEPS = re.split(r"^\*\*\d\. ", ELSEWHERE, flags=re.MULTILINE)[1:]


def programs(step: int) -> list[str]:
    """The Python blocks of a step."""
    return re.findall(r"```python\n(.*?)```", STEPS[step - 1], flags=re.DOTALL)


def commands(step: int) -> list[str]:
    """The commands of a step."""
    lines = "".join(re.findall(r"```console\n(.*?)```", STEPS[step - 1], flags=re.DOTALL)).splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def run(command: str, folder: Path) -> str:
    """Run a command; give what it prints."""
    words = shlex.split(command)
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_report_comes_first() -> None:
    """What `make report` runs is `test_mnist.py`'s; here, that it is this, in an environment of its own."""
    clone, enter, report, activate = commands(1)
    assert clone == "git clone https://github.com/cnnclf/cnnclf"
    assert enter == "cd cnnclf"
    make = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "report"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert make.stdout.splitlines()[-1] == ".venv/bin/cnnclf report --out report"
    assert report == "make report"
    assert activate == "source .venv/bin/activate"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tuned network and its ONNX file are."""
    folder = tmp_path_factory.mktemp("clone")
    (tune,) = programs(2)
    printed = run_python(tune, folder)
    assert re.fullmatch(r"\{'architecture': '\w+', .*\} 0\.9[78]\d\d\n", printed.replace("'augment'", "")), printed
    evaluate, export = commands(3)
    assert float(re.search(r"accuracy +(\d+\.\d+) %", run(evaluate, folder))[1]) >= 99.3
    assert run(export, folder).startswith("mnist.onnx")
    return folder


def test_the_onnx_file_predicts_without_torch(folder: Path) -> None:
    (predict,) = programs(4)
    printed = run_python(f"{predict}\nimport sys\nassert 'torch' not in sys.modules", folder)
    assert printed == "[7 2 1 0 4] and they are [7 2 1 0 4]\n"


def test_the_page_is_written(folder: Path) -> None:
    """What it does in a browser is `test_page.py`'s."""
    (command,) = commands(5)
    assert run(command, folder).startswith("mnist.html\n")
    assert (folder / "mnist.html").stat().st_size > 100_000


def test_every_block_belongs_to_a_step_that_is_run() -> None:
    assert "```" not in ELSEWHERE.partition("**1. ")[0]
    assert [(len(programs(step)), len(commands(step))) for step in range(1, 6)] == [
        (0, 4),
        (1, 0),
        (0, 2),
        (1, 0),
        (0, 1),
    ]
