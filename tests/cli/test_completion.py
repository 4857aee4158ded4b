"""Tab completion: names of architectures, recipes and data, without waiting for torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnclf import RECIPES, list_architectures
from cnnclf.cli import _main as cli

COMMANDS = ["report", "compare", "export", "predict", "evaluate", "trace", "page", "app", "doctor"]
COMMAND = Path(sys.executable).with_name("cnnclf")


def complete(line):
    """Give what bash would be offered at the end of a line."""
    words = line.split(" ")
    variables = {"_CNNCLF_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(cli.app, env=variables, prog_name="cnnclf")
    return result.stdout.split()


OTHERS = [name for name in list_architectures() if name != "compact"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cnnclf ", COMMANDS),
        ("cnnclf e", ["export", "evaluate"]),
        ("cnnclf report --arc", ["--architecture", "--architectures"]),
        ("cnnclf report --architecture ", list_architectures()),
        ("cnnclf report --architecture pool3", ["pool3_head1", "pool3_head3"]),
        ("cnnclf report --recipe ", list(RECIPES)),
        ("cnnclf report --recipe f", ["first_look"]),
        ("cnnclf report --recipe handwriting_s", ["handwriting_small"]),
        ("cnnclf report --profile ", ["quick", "full"]),
        (
            "cnnclf compare --architectures compact,",
            [f"compact,{name}" for name in OTHERS],
        ),
        ("cnnclf compare --architectures tiny,compact,l", ["tiny,compact,lenet5"]),
        ("cnnclf report --dataset ", ["auto", "mnist", "digits", "my[1]/", "pets/"]),
        ("cnnclf report --dataset p", ["pets/"]),
        ("cnnclf report --dataset my[", ["my[1]/"]),
        ("cnnclf report --dataset pets/", ["pets/cat/", "pets/dog/"]),
        ("cnnclf evaluate model.cnn --dataset ", ["mnist", "digits", "my[1]/", "pets/"]),
        ("cnnclf export model.cnn --calibration d", ["digits"]),
    ],
)
def test_what_is_offered(line, offered, tmp_path, monkeypatch):
    for folder in ("pets/cat", "pets/dog", "my[1]"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert complete(line) == offered


def test_completing_loads_nothing_heavy():
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from cnnclf.cli._main import app\n"
        "app(prog_name='cnnclf')\n"
    )
    line = "cnnclf report --architecture c"
    variables = {"_CNNCLF_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "3"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | variables)
    assert run.stdout.split() == ["compact"]
    assert not {"torch", "sklearn", "onnxruntime", "matplotlib", "PIL", "pandas"} & set(run.stderr.split())


@pytest.mark.slow
def test_bash_completes_once_it_is_installed(tmp_path):
    home = os.environ | {"HOME": str(tmp_path), "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"}
    # From a bash, as the command looks for the shell among its parent processes, and pytest need not have one.
    install = ["bash", "-c", "cnnclf --install-completion; exit $?"]
    installed = subprocess.run(install, capture_output=True, text=True, env=home)
    assert installed.returncode == 0, installed.stdout
    script = (
        'source "$HOME/.bashrc"\nCOMP_WORDS=(cnnclf report --recipe fi)\nCOMP_CWORD=3\n'
        '_cnnclf_completion cnnclf\necho "${COMPREPLY[@]}"\n'
    )
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=home)
    assert run.stdout == "first_look\n"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_80_columns_and_cuts_nothing_off(command):
    result = CliRunner().invoke(cli.app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line.replace("A,B,…", "")]
