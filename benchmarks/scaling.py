"""How the cost of fit grows: with the number of images, of classes, with their size, and with the batch.

Every point is one epoch of `compact` in a process of its own, on one thread: CPU seconds of all of `fit`, and the most
memory that it takes beyond the data, as Linux counts it for the process. The slope of a straight line through the
logarithms, by least squares, is the exponent: 1 is proportional.

    python benchmarks/scaling.py    # n = 3, about half an hour; writes scaling.json, .md and .png; Linux
    python benchmarks/scaling.py --short
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from recording import footer, mean_sd, options, write

from cnnclf import load_mnist

PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Point:
    """One fit: how many images of which side in pixels, in how many classes, and the batch."""

    images: int = 12_800
    classes: int = 10
    side: int = 28
    batch: int = 128


# What is varied, what a reader calls it, and the values; the first two of each are the short version's.
AXES: dict[str, tuple[str, list[Point]]] = {
    "images": ("images", [Point(images=n) for n in (1000, 4000, 15_000, 60_000, 240_000, 600_000)]),
    "classes": ("classes", [Point(classes=k) for k in (2, 10, 100, 500)]),
    "side": ("pixels a side, 2,000 images", [Point(images=2000, side=side) for side in (14, 28, 56, 112)]),
    "batch": ("images a batch", [Point(batch=batch) for batch in (16, 32, 64, 128, 256, 512, 1024)]),
}


def make_data(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Make MNIST as large as asked for: more images by shifting them, other sides by dropping or repeating pixels."""
    X, y = load_mnist("train")
    images = np.empty((point.images, point.side, point.side), np.uint8)
    for copy, start in enumerate(range(0, point.images, len(X))):
        part = X[: point.images - start]
        if point.side < 28:
            part = part[:, :: 28 // point.side, :: 28 // point.side]
        else:
            part = part.repeat(point.side // 28, axis=1).repeat(point.side // 28, axis=2)
        # Another copy, another shift: down by up to two pixels, to the side by up to five.
        images[start : start + len(part)] = np.roll(part, (copy % 3, copy // 2), axis=(1, 2))
    labels = np.resize(y, point.images) if point.classes == 10 else np.arange(point.images) % point.classes
    return images, labels


def memory(name: str) -> float:
    """Read a number of this process, in MiB: VmRSS is what it has now, VmHWM the most it had."""
    line = next(line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def fit_once(point: Point) -> dict[str, float]:
    """Fit in this process, after a throw-away fit of 256 images."""
    from cnnclf import CNNClassifier

    X, y = make_data(point)
    settings = {"optimizer": "adamw", "batch_size": point.batch, "device": "cpu", "random_state": 0}
    clf = CNNClassifier("compact", max_epochs=1, **settings)
    clf.fit(X[:256], np.arange(256) % 2)
    ctypes.CDLL(None).malloc_trim(0)  # what making the data freed would be taken again, and not be counted
    (PROCESS / "clear_refs").write_text("5")  # forgets the peak of making the data: proc(5)
    before, start = memory("VmRSS"), time.process_time()
    clf.fit(X, y)
    return {"cpu_seconds": time.process_time() - start, "peak_mib": memory("VmHWM") - before}


def measure(point: Point) -> dict[str, float]:
    """Fit in a process of its own."""
    command = [sys.executable, __file__, "--point", json.dumps(asdict(point))]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout)


def exponent(x: list[float], y: list[float]) -> float:
    """Give the slope of log y over log x by least squares.

    >>> round(exponent([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    """Run, print and write the measurements."""
    parser = options(__doc__)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(fit_once(Point(**json.loads(args.point)))))
        return

    n = 1 if args.short else 3
    rows: list[dict[str, Any]] = [
        {"axis": axis, "value": getattr(point, axis), "point": point, "cpu_seconds": [], "peak_mib": []}
        for axis, (_, points) in AXES.items()
        for point in (points[:2] if args.short else points)
    ]
    for _ in range(n):
        for row in rows:
            for key, number in measure(row["point"]).items():
                row[key].append(number)
            seconds, peak = row["cpu_seconds"][-1], row["peak_mib"][-1]
            print(f"{row['axis']:8} {row['value']:7,}: {seconds:7.2f} CPU s, {peak:6.0f} MiB", flush=True)
    rows = [row | {"point": asdict(row["point"])} for row in rows]
    result = {"n": n, "rows": rows, "environment": environment()}
    print(table := render(result))
    if not args.short:
        write("scaling", result, table, draw(result))


def series(result: dict[str, Any], axis: str, key: str) -> tuple[list[float], list[float]]:
    """Give the values of an axis and the means of what was measured there."""
    rows = [row for row in result["rows"] if row["axis"] == axis]
    return [row["value"] for row in rows], [float(np.mean(row[key])) for row in rows]


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    sections = []
    for axis, (words, _) in AXES.items():
        lines = "".join(
            f"| {row['value']:,} | {mean_sd(row['cpu_seconds'], 2)} "
            f"| {1e6 * np.mean(row['cpu_seconds']) / row['point']['images']:,.0f} | {mean_sd(row['peak_mib'], 0)} |\n"
            for row in result["rows"]
            if row["axis"] == axis
        )
        time_exponent, memory_exponent = (exponent(*series(result, axis, key)) for key in ("cpu_seconds", "peak_mib"))
        sections.append(
            f"| {words} | CPU s | CPU µs an image | memory beyond the data, MiB |\n|---:|---:|---:|---:|\n{lines}"
            f"| **exponent** | **{time_exponent:.2f}** | | **{memory_exponent:.2f}** |\n\n"
        )
    return (
        "# How the cost of fit grows\n\n"
        f"One epoch of `compact`, {Point.images:,} MNIST images in {Point.classes} classes and batches of "
        f"{Point.batch} where nothing else is said; n = {result['n']}, mean ± sd; made by `python "
        "benchmarks/scaling.py`. The exponent is the slope of the logarithms: 1 is proportional, 0 is constant.\n\n"
        f"{''.join(sections)}"
        f"{footer(result['environment'], 'one thread')}\n"
    )


def draw(result: dict[str, Any]) -> Figure:
    """Draw CPU seconds above and memory below, a column an axis, all logarithmic."""
    from cnnclf.plots._style import INK, SMALL, Series, new_figure, tidy

    figure = new_figure(9.6, 4.4)
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for line, (key, words) in enumerate((("cpu_seconds", "CPU s"), ("peak_mib", "memory, MiB"))):
        style = Series.of(line)
        for ax, (axis, (title, _)) in zip(panels[line], AXES.items(), strict=True):
            x, y = series(result, axis, key)
            ax.plot(x, y, marker=style.marker, color=style.colour, linewidth=1.8, markersize=5)
            slope = exponent(x, y)
            fitted = np.exp(np.mean(np.log(y)) + slope * (np.log(x) - np.mean(np.log(x))))
            ax.plot(x, fitted, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.set(xscale="log", yscale="log")
            text = f"exponent {slope:.2f}".replace("-", "−")
            ax.text(0.05, 0.97, text, transform=ax.transAxes, va="top", color=INK, fontsize=SMALL)
            if line:
                ax.set_xlabel(title)
                shown = [x[0], x[-1]] if axis == "images" else x[:: 1 + len(x) // 5]  # what has room
                ax.set_xticks(shown, [f"{value:,}" for value in shown])
            ax.minorticks_off()
            tidy(ax, "y")
        panels[line][0].set_ylabel(words)
        panels[line][0].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panels[line][0].yaxis.set_major_formatter("{x:,g}")
    return figure


if __name__ == "__main__":
    main()
