"""All results on one page: RESULTS.md, made of the tables that the benchmarks wrote. No figure is typed.

python benchmarks/results.py    # at once; every benchmark does it at its end
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent
PAGE = "RESULTS.md"

# The first ones, in this order; others follow by name.
ORDER = (
    "time_to_accuracy",
    "accuracy",
    "float32",
    "overhead",
    "scaling",
    "datasets",
    "photographs",
    "loading",
    "allocator",
    "gpu",
    "inference",
    "search",
    "clusters",
    "tracing",
    "page",
    "reproduce",
)

OPENING = """# Results

Written by `python benchmarks/results.py` from the tables beside it, never by hand. Each section begins with the command
that makes it anew; it wants `pip install -e '.[dev,bench]'`, real MNIST and a quiet machine. `make bench` runs a short
version of all in under ten minutes and changes no file. CPU seconds are those of all threads of a process together.
"""


def place(name: str) -> tuple[int, str]:
    """Give a benchmark's place on the page.

    >>> place("accuracy") < place("tracing") < place("other")
    True
    """
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


def command(script: Path) -> str:
    """Give the first command of a script's docstring, with the comment beside it."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")), clean=False) or ""
    return next(line.strip() for line in docstring.splitlines() if line.startswith("    python "))


def nested(table: str) -> str:
    """Make a page a section: its headings go down a level.

    >>> nested("# Grid search")
    '## Grid search'
    """
    return "\n".join(f"#{line}" if line.startswith(("# ", "## ")) else line for line in table.splitlines())


def render(folder: Path) -> str:
    """Make the page from a folder of benchmarks."""
    sections = [OPENING]
    for path in sorted(folder.glob("*.md"), key=lambda path: place(path.stem)):
        if path.name == PAGE:
            continue
        title, *rest = nested(path.read_text(encoding="utf-8")).split("\n")
        picture = f"\n![{path.stem}]({path.stem}.png)\n" if path.with_suffix(".png").exists() else ""
        text = "\n".join(rest).strip("\n")
        sections.append(f"{title}\n\n```bash\n{command(path.with_suffix('.py'))}\n```\n\n{text}\n{picture}")
    return "\n".join(sections)


def main() -> None:
    """Write the page."""
    (HERE / PAGE).write_text(render(HERE), encoding="utf-8")


if __name__ == "__main__":
    main()
