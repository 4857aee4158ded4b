"""The pages in ``docs/``: every block of code runs, every link leads somewhere, and what can go stale is compared."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import cnnclf
from cnnclf import plots
from cnnclf.cli import _main as cli
from helpers import ROOT
from tests.repo.test_layout import MAY_IMPORT, PACKAGE

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))

# Pages whose blocks another test runs, as they need servers or clusters.
RUN_ELSEWHERE = {
    "clusters.md": "repo/test_clusters.py",
    "serving.md": "acceptance/test_serving.py",
    "tracking.md": "repo/test_tracking.py",
}
# Commands that change the machine they run on, and one that opens a browser, in tests/cli/test_page.py.
NOT_RUN = ("python -m venv", "source ", "pip install", "cnnclf app")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Read all blocks of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(*found) for found in re.findall(r"^```([\w{}-]*)[^\n]*\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    ]


def has_code(page: str) -> bool:
    return any(block.language in ("python", "console") for block in blocks(page))


def run_commands(text: str) -> None:
    """Run the ``cnnclf`` commands of a block."""
    for line in text.splitlines():
        command = line.removeprefix("$ ")
        assert line.startswith("$ "), "a console block shows commands alone"
        if command.startswith(NOT_RUN):
            continue
        program, *arguments = shlex.split(command, comments=True)
        assert program == "cnnclf", f"no test runs {command!r}"
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"


def assert_shown(printed: str, shown: str) -> None:
    """What is printed is what the page shows; numbers with a point may differ by what another processor rounds."""
    number = r"\d+\.\d+|\d+(?=%)"
    assert re.sub(number, "#", printed) == re.sub(number, "#", shown)
    differences = zip(re.findall(number, printed), re.findall(number, shown), strict=True)
    for found, expected in differences:
        assert float(found) == pytest.approx(float(expected), abs=2 if "." not in expected else 0.02)


RUN_HERE = [page for page in PAGES if has_code(page) and page not in RUN_ELSEWHERE]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_HERE)
def test_every_block_of_a_page_runs_in_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page}
    printed = ""
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), namespace)
            printed = capsys.readouterr().out
        elif language == "console":
            run_commands(text)
        elif language == "text":
            assert_shown(printed, text)


@pytest.mark.parametrize(("page", "test"), RUN_ELSEWHERE.items())
def test_a_page_that_is_not_run_here_is_run_by_the_test_that_is_named(page: str, test: str) -> None:
    assert has_code(page), f"{page} has nothing to run: take it out of the table"
    assert f'"{page}"' in (ROOT / "tests" / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("0.97 of 360", "0.98 of 360", True),
        ("0.90 of 360", "0.98 of 360", False),
        ("0.98 of 359", "0.98 of 360", False),  # a count is exact
        ("97% right", "98% right", True),
        ("90% right", "98% right", False),
        ("True", "False", False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(printed: str, shown: str, same: bool) -> None:
    if same:
        assert_shown(printed, shown)
    else:
        with pytest.raises(AssertionError):
            assert_shown(printed, shown)


@pytest.mark.parametrize("command", ["$ rm -r digits", "cnnclf doctor", "$ cnnclf evaluate no.onnx"])
def test_a_command_that_fails_or_is_of_another_program_is_noticed(command: str) -> None:
    with pytest.raises(AssertionError):
        run_commands(command)


def anchors(page: Path) -> set[str]:
    """Give the anchors that GitHub makes of a page's headings: small letters, hyphens for blanks, no punctuation."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """Find the relative links and pictures of a page that lead to no file, or to no heading in it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("https://") and not (target.exists() and (not anchor or anchor in anchors(target))):
            dead.append(link)
    return dead


@pytest.mark.parametrize(
    "page",
    sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "benchmarks" / "RESULTS.md"]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_links_lead_somewhere_on_github_too(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[a](page.md#one-two) [b](page.md#three) [c](none.md) [d](https://e.org/f) ![g](h.png)")
    assert dead_links(page) == ["page.md#three", "none.md", "h.png"]


def house() -> str:
    """Write the table of packages: what is in each, by its docstring, and what it may import."""
    rows = ["| package | what is in it | may import |", "|---|---|---|"]
    for package, others in MAY_IMPORT.items():
        source = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        content = " ".join((ast.get_docstring(source) or "").partition("\n\n")[0].split())
        content = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"`\1\2`", content)
        names = "all but `cli`" if package == "report" else "all" if package == "cli" else ""
        names = names or ", ".join(f"`{name}`" for name in MAY_IMPORT if name in others) or "–"
        rows.append(f"| `{package}` | {content} | {names} |")
    return "\n".join(rows)


def test_the_house_on_the_design_page_is_the_one_that_the_layout_test_holds() -> None:
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    assert house() in page, f"put this table into docs/design.md:\n{house()}"


def test_the_figures_of_the_comparison_are_those_that_were_measured() -> None:
    figures = re.findall(r"\d+\.\d+ ± \d+\.\d+", (DOCS / "comparison.md").read_text(encoding="utf-8"))
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert len(figures) == 9
    assert [figure for figure in figures if figure not in results] == []


def test_every_public_name_is_in_the_reference() -> None:
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst"))
    documented = set(re.findall(r"^\.\. (?:autoclass|autofunction|data):: (\S+)$", reference, flags=re.MULTILINE))
    assert set(cnnclf.__all__) <= documented
    assert {f"cnnclf.plots.{name}" for name in plots.__all__} <= documented


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in set(PAGES) - {"index.md"}:
        assert f"\n{page.removesuffix('.md')}\n" in contents
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"<../notebooks/{notebook.stem}>" in contents


def test_nothing_is_installed_by_the_name_that_it_has_after_release():
    files = [ROOT / "README.md", *DOCS.glob("*.md"), *PACKAGE.rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    by_name = [line for line in lines if re.search(r"pip install[^\n`]*(?<![/\w])'?cnnclf\b", line)]
    # Who reads this error has the package, and pip adds the extra to that one.
    by_name = [line for line in by_name if "Install it with pip install 'cnnclf[" not in line]
    assert len(by_name) == 2  # README and the page on installing
    assert all(line.startswith("After release, ") for line in by_name)


def test_the_package_installs_from_a_clone():
    assert "$ pip install '.[all]'" in (DOCS / "install.md").read_text(encoding="utf-8").splitlines()
    assert (ROOT / "pyproject.toml").is_file()
