"""What every benchmark does alike: its options, numbers with their spread, and the files that are committed."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results
from matplotlib.figure import Figure

from cnnclf._utils.files import write_atomically

HERE = Path(__file__).parent


def options(description: str | None) -> argparse.ArgumentParser:
    """Make the parser of a benchmark; `--short` is the option of them all."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a tiny version that shows it works; writes no file")
    return parser


def deviation(values: Sequence[float] | np.ndarray) -> float:
    """Sample standard deviation; 0 of one value.

    >>> deviation([1.0, 3.0]) == 2**0.5, deviation([5.0])
    (True, 0.0)
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def mean_sd(values: Sequence[float] | np.ndarray, digits: int = 1) -> str:
    """Write mean and standard deviation; one value has none.

    >>> mean_sd([1.0, 3.0], 2), mean_sd([5.0], 0)
    ('2.00 ± 1.41', '5')
    """
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {deviation(values):.{digits}f}" if len(values) > 1 else mean


def footer(environment: dict[str, Any], threads: str, *notes: str) -> str:
    """Say what the figures hold for: processor and extensions, cores, threads, precision, notes; versions.

    >>> versions = {"python": "3.11.7", "torch": "2.13.0"}
    >>> zen = {"cpu": "Zen", "extensions": ["avx2"], "cores": 2, "precision": "float32", "versions": versions}
    >>> footer(zen, "one thread", "load 1.0")
    'Zen (avx2), 2 cores, one thread, training in float32, load 1.0; python 3.11.7, torch 2.13.0.'

    Older files hold neither extensions nor precision.

    >>> footer({"cpu": "Zen", "cores": 2, "versions": versions}, "one thread")
    'Zen (extensions not recorded), 2 cores, one thread, precision not recorded; python 3.11.7, torch 2.13.0.'
    """
    extensions, precision = environment.get("extensions"), environment.get("precision")
    has = "extensions not recorded" if extensions is None else ", ".join(extensions) or "no vector extensions"
    trains = "precision not recorded" if precision is None else f"training in {precision}"
    machine = ", ".join([f"{environment['cpu']} ({has})", f"{environment['cores']} cores", threads, trains, *notes])
    return f"{machine}; {', '.join(f'{name} {version}' for name, version in environment['versions'].items())}."


class Store:
    """Finished runs in a file, written whole after each, so that a stopped benchmark goes on; no path: in memory alone.

    `key` names the entries that tell one run from another.
    """

    def __init__(
        self, path: Path | None, machine: dict[str, Any], key: tuple[str, ...], *, fresh: bool = False
    ) -> None:
        self.path = path
        self.key = key
        self.result: dict[str, Any] = {"environment": machine, "runs": []}
        if path is not None and path.exists() and not fresh:
            self.result = json.loads(path.read_text(encoding="utf-8"))

    def refuse_another(self, machine: dict[str, Any]) -> None:
        """Stop if the file is of another processor, precision or version."""
        there = self.result["environment"]
        differ = [name for name in ("cpu", "extensions", "precision") if there[name] != machine[name]]
        differ += [name for name, version in machine["versions"].items() if there["versions"].get(name) != version]
        if differ:
            raise SystemExit(
                f"{self.path}: expected runs of this machine, precision and these versions; got another "
                f"{', '.join(differ)}. Pass --fresh to begin anew, or move the file away to keep both."
            )

    def find(self, **wanted: Any) -> dict[str, Any] | None:
        """Return the run with these entries."""
        runs = (run for run in self.result["runs"] if all(run[name] == value for name, value in wanted.items()))
        return next(runs, None)

    def add(self, new: list[dict[str, Any]]) -> None:
        """Put runs in the place of older ones with the same key."""
        keys = [[run[name] for name in self.key] for run in new]
        kept = [run for run in self.result["runs"] if [run[name] for name in self.key] not in keys]
        for run in new:
            self.result["environment"]["versions"] |= run.pop("versions", {})
        self.result["runs"] = kept + new
        if self.path is not None:
            self.path.parent.mkdir(exist_ok=True)
            write_atomically(self.path, as_lines(self.result).encode())


def as_lines(result: dict[str, Any]) -> str:
    """Write the result as JSON, one line for each run.

    >>> print(as_lines({"environment": {}, "runs": [{"seed": 0}, {"seed": 1}]}), end="")
    {
    "environment": {},
    "runs": [
    {"seed": 0},
    {"seed": 1}
    ]
    }
    """
    dump = partial(json.dumps, ensure_ascii=False)
    runs = ",\n".join(map(dump, result["runs"]))
    rest = "".join(f"{dump(name)}: {dump(value)},\n" for name, value in result.items() if name != "runs")
    return f'{{\n{rest}"runs": [\n{runs}\n]\n}}\n'


def write(name: str, result: dict[str, Any], table: str, figure: Figure | None = None) -> None:
    """Write a benchmark's figures, table and picture beside it, and the page of them all."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (HERE / f"{name}.md").write_text(table, encoding="utf-8")
    if figure is not None:
        figure.savefig(HERE / f"{name}.png", dpi=160)
    results.main()
