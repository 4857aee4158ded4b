"""Every Python block of the README runs, in order, in one namespace.

Those from a clone to the page to draw on are programs of their own: `acceptance/test_newcomer.py` runs them.
"""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cnnclf
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.cli import _main as cli
from helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADING = "## From a clone to a page that reads your handwriting\n"
ELSEWHERE = README[README.index(HEADING) :].partition("\n## ")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", README.replace(ELSEWHERE, ""), flags=re.DOTALL)


def run(block: str, namespace: dict[str, Any]) -> Any:
    """Run a block; give the value of its last line if that is an expression."""
    *statements, last = ast.parse(block).body
    exec(compile(ast.Module(statements, []), "README.md", "exec"), namespace)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "README.md", "eval"), namespace)
    exec(compile(ast.Module([last], []), "README.md", "exec"), namespace)
    return None


def test_first_block_on_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MNIST, the README's first block works on the digits: every fourth one is the test set."""
    X, y = cnnclf.load_digits()
    test = slice(None, None, 4)
    train = [i for i in range(len(X)) if i % 4]
    parts = {"train": (X[train], y[train]), "test": (X[test], y[test])}
    monkeypatch.setattr(cnnclf, "load_mnist", lambda split="train": parts[split])
    assert "CNNClassifier(random_state=0).fit(X, y).score(Xt, yt)" in BLOCKS[0]
    assert run(BLOCKS[0], {}) > 0.97


# What makes a command short: the digits instead of MNIST, one epoch, two folds.
SHORTER = {
    "report --profile full": "--dataset digits --epochs 1 --folds 2",
    "compare --architectures compact,lenet5,tiny --folds 5": "--dataset digits --epochs 1 --folds 2 --jobs 1",
    "report --from-predictions svm.csv": "",
}
RUN_ELSEWHERE = ("make report", "make test")  # acceptance/test_newcomer.py, CI


@pytest.mark.slow
def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command that is shown runs, those of the five steps in `acceptance/test_newcomer.py`."""
    monkeypatch.chdir(tmp_path)
    Path("svm.csv").write_text("true,predicted\n1,1\n7,1\n7,7\n", encoding="utf-8")
    lines = "".join(re.findall(r"```console\n(.*?)```", README.replace(ELSEWHERE, ""), flags=re.DOTALL)).splitlines()
    commands = [" ".join(shlex.split(line.removeprefix("$ "), comments=True)) for line in lines]
    shown = [command for command in commands if not command.startswith(RUN_ELSEWHERE)]
    assert shown == [f"cnnclf {command}" for command in SHORTER]
    for command, shorter in SHORTER.items():
        result = CliRunner().invoke(cli.app, [*command.split(), *shorter.split()])
        assert result.exit_code == 0, f"{command}\n{result.output}"


def test_architectures_are_all_there_with_their_parameters() -> None:
    rows = re.findall(r"^\| `(\w+)`.*\| ([\d,]+) \|$", README, flags=re.MULTILINE)
    assert rows == [(name, f"{architecture.n_parameters:,}") for name, architecture in ARCHITECTURES.items()]


@pytest.mark.slow
def test_other_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    search, folds, pipeline, history, loaded, best, *_, served = (run(block, namespace) for block in BLOCKS[1:])
    printed = capsys.readouterr().out
    assert search.shape == (8, 6)
    assert search["mean_test_score"].max() > 0.9
    assert len(re.findall(r"^\w+ +9\d\.\d+ ± [0-2]\.\d+ %", printed, flags=re.MULTILINE)) == 3
    assert folds.tolist() == list(namespace["comparison"].results[0].accuracies)
    assert pipeline > 0.95
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert set(best) == {"lr"}
    assert len(list(tmp_path.glob("search/*"))) == 5  # 2 × 2 fits, and the best once more on all images
    assert "points" in printed  # the gap between training and validation accuracy
    assert (tmp_path / "confusion.svg").exists()
    assert namespace["trace"].label == namespace["clf"].predict(namespace["five"][None])
    assert namespace["trace"].verify().passed
    assert (tmp_path / "five.html").exists()
    assert (served == loaded).all()
    assert (loaded == namespace["clf"].predict(namespace["Xt"][:5])).all()
