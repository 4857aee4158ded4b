"""What every benchmark does alike: its options, numbers with their spread, and the files that are committed."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
from matplotlib.figure import Figure

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


def write(name: str, result: dict[str, Any], table: str, figure: Figure | None = None) -> None:
    """Write a benchmark's figures, table and picture beside it, and the page of them all."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (HERE / f"{name}.md").write_text(table, encoding="utf-8")
    if figure is not None:
        figure.savefig(HERE / f"{name}.png", dpi=160)
    results.main()
