"""Accuracy against CPU seconds on six data sets: our defaults and recipes, and what else one might use.

The sides take turns, seed by seed, in one process on one thread. Each point is a whole run, evaluated at its last epoch
on test images that choose nothing. Before each data set the same epoch of Keras' convnet is timed, so that figures of
different processors can be compared. Finished runs are kept in datasets/NAME.json, and only missing ones are measured,
so that a stopped benchmark goes on; runs of one data set on different processors, with different precisions or
versions are not mixed. What each data set needs is in image_sets.py; one that is not there is skipped.

    python benchmarks/datasets.py --cifar PATH    # hours, one thread; writes datasets/*.json, datasets.md and .png
    python benchmarks/datasets.py --data digits few --sides defaults svc --seeds 3
    python benchmarks/datasets.py --render        # measures nothing; writes the table and the picture anew
    python benchmarks/datasets.py --fresh         # forgets the finished runs of these data sets first
    python benchmarks/datasets.py --short
"""

import argparse
import math
import subprocess
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from environment import environment
from image_sets import SETS, ImageSet, split
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from recording import HERE, Store, footer, mean_sd, options
from sides import CHOSEN, DEFAULTS, SIDES, Turn, find_keras
from threadpoolctl import threadpool_limits

from cnnclf import CNNClassifier, load_digits
from cnnclf.training._runtime import choose_precision

Run = dict[str, Any]
KEY = ("side", "seed", "budget")
ERRORS = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 70, 90)  # per cent, on the axes
FINE_ERRORS = (0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30)
REFERENCE = 21.0  # CPU seconds of the unit on the reference core
UNIT_IMAGES = 60_000

# Published accuracies, which were not measured here: source, per cent, and the number that is drawn, if it is one.
PUBLISHED: dict[str, tuple[tuple[str, str, float | None], ...]] = {
    "fashion": (
        ("fastai, 5 epochs, on a GPU", "92.8 to 93.4", None),
        ("fastai, 20 epochs with crop and flip, on a GPU", "94.3", 94.3),
    ),
    "cifar": (
        ("the network of PyTorch's tutorial, lossless images", "55", 55.0),
        ("the network of Keras' example, lossless images", "75", 75.0),
    ),
}


def measure_unit(n: int) -> float:
    """Time an epoch of Keras' convnet, CPU seconds for 60,000 images of noise, of which n are there; float32."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n)
    settings: dict[str, Any] = {"max_epochs": 1, "batch_size": 128, "lr": 0.001, "optimizer": "adam", "augment": None}
    steady = {"lr_schedule": "constant", "precision": "float32", "device": "cpu", "random_state": 0}
    CNNClassifier("keras_mnist", **settings | steady).fit(X[:256], y[:256])  # the first steps take longer
    start = time.process_time()
    CNNClassifier("keras_mnist", **settings | steady).fit(X, y)
    return (time.process_time() - start) * UNIT_IMAGES / n


def commit() -> str:
    """Name the commit of the code, with a + if it was changed since; "unknown" outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(HERE.parent), *words], capture_output=True, text=True, check=True
        ).stdout

    try:
        return git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain", "cnnclf") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure(name: str, image_set: ImageSet, store: Store, args: argparse.Namespace) -> None:
    """Measure what is missing of one data set, and say so as it comes."""
    try:
        parts = ((load_digits()[0][:400], load_digits()[1][:400]),) if args.short else image_set.load(args.cifar)
    except FileNotFoundError as error:
        print(f"{name}: skipped. {error}")
        return
    unit = cache(partial(measure_unit, 640 if args.short else UNIT_IMAGES))
    code = {"processor": store.result["environment"]["cpu"], "commit": commit()}
    for seed in range(args.seeds or image_set.seeds):
        X, y, X_test, _ = data = split(parts, seed)
        sizes = {"images": len(X), "test_images": len(X_test), "shape": X.shape[1:], "classes": int(y.max()) + 1}
        store.result["size"] = sizes
        for side in args.sides:
            if seed and len(parts) == 2 and not SIDES[side].draws(len(X)):
                continue
            which = {"side": side, "seed": seed}

            def finished(budget: str, which: dict[str, Any] = which) -> Run:
                return store.find(**which, budget=budget) or {}

            turn = Turn(image_set, data, seed, args.precision, find_keras(args.keras_env), finished, args.short)
            for job in SIDES[side].jobs(turn):
                if all(store.find(**which, budget=budget, settings=job.settings) for budget in job.budgets):
                    continue
                more = {"settings": job.settings, "unit_seconds": unit(), "n_train": len(X)} | code
                with threadpool_limits(1):
                    runs = [which | more | point for point in job.carry_out()]
                store.add(runs)
                for run in runs:
                    said = f"{run['accuracy']:.2%} in {run['cpu_seconds']:.1f} CPU s"
                    print(f"{name}, {SIDES[side].label}, {run['budget']}, seed {seed}: {said}", flush=True)


def main() -> None:
    """Run what is asked for and missing; print, and write, what there is."""
    parser = options(__doc__)
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS), metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="NAME", help=", ".join(SIDES))
    parser.add_argument("--seeds", type=int, help="3 by default, 10 of the digits, which each seed splits")
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10 as JPEG: train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of our own training")
    parser.add_argument("--keras-env", type=Path, default=HERE / ".keras-env", help="where Keras may be installed")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of datasets.md, datasets.png and datasets/")
    parser.add_argument("--render", action="store_true", help="run nothing; write the files from what is there")
    parser.add_argument("--fresh", action="store_true", help="forget the finished runs")
    args = parser.parse_args()
    if args.precision == "bfloat16" and choose_precision("auto", "cpu") != "bfloat16":
        parser.error("This processor has no bfloat16 of its own: figures would be of its emulation.")
    torch.set_num_threads(1)
    machine = environment() | {"precision": args.precision}
    stores = {}
    for name in ["digits"] if args.short else SETS:
        path = None if args.short else args.out / "datasets" / f"{name}.json"
        asked = name in args.data and not args.render
        stores[name] = Store(path, machine, KEY, fresh=args.fresh and asked)
        if asked:
            stores[name].refuse_another(machine)
    if args.short:
        args.data, args.seeds = list(stores), 1
    for name in [] if args.render else args.data:
        measure(name, SETS[name], stores[name], args)
    measured = {name: store.result for name, store in stores.items() if store.result["runs"]}
    if not measured:
        raise SystemExit("There is no finished run, so nothing was written.")
    print(table := render(measured))
    if not args.short:
        (args.out / "datasets.md").write_text(table, encoding="utf-8")
        draw(measured).savefig(args.out / "datasets.png", dpi=160)
        if args.out == HERE:
            results.main()


def rows_of(result: dict[str, Any]) -> Iterator[tuple[str, list[Run]]]:
    """Give side and runs of each row of a data set: side by side, the fewest CPU seconds first."""
    for side in SIDES:
        budgets: dict[str | int, list[Run]] = {}
        for run in (run for run in result["runs"] if run["side"] == side):
            budgets.setdefault(run["budget"], []).append(run)
        for runs in sorted(budgets.values(), key=lambda runs: cpu_seconds(runs).mean()):
            yield side, runs


def cpu_seconds(runs: list[Run]) -> np.ndarray:
    """Give the CPU seconds of runs as they were measured."""
    return np.array([run["cpu_seconds"] for run in runs])


def scaled(runs: list[Run]) -> np.ndarray:
    """Give the CPU seconds of runs on the reference core.

    >>> scaled([{"cpu_seconds": 10.0, "unit_seconds": 42.0}])
    array([5.])
    """
    return cpu_seconds(runs) * REFERENCE / np.array([run["unit_seconds"] for run in runs])


def seconds(values: np.ndarray) -> str:
    """Write seconds, short ones with two decimals.

    >>> seconds(np.array([0.5])), seconds(np.array([50.0]))
    ('0.50', '50.0')
    """
    return mean_sd(values, 1 if values.mean() >= 10 else 2)


def per_cent(runs: list[Run]) -> np.ndarray:
    """Give the accuracies of runs in per cent."""
    return 100 * np.array([run["accuracy"] for run in runs])


def after(runs: list[Run]) -> str:
    """Say how long a row trained.

    >>> after([{"budget": 4, "chosen": None}]), after([{"budget": "half", "chosen": {"max_epochs": 1}}])
    ('4 epochs', '1 epoch')
    """
    numbers = sorted({run["chosen"]["max_epochs"] if run["chosen"] else run["budget"] for run in runs})
    if not isinstance(numbers[0], int):
        return ""
    return f"{' or '.join(map(str, numbers))} epoch{'' if numbers == [1] else 's'}"


def chosen(runs: list[Run]) -> str:
    """Say which network and which changes a row of ours used.

    >>> chosen([{"chosen": {"architecture": "general", "augment": ["flip", "crop"]}}] * 2)
    '`general`, flip and crop'
    """
    texts = set()
    for run in runs:
        if run["chosen"]:
            changes = run["chosen"]["augment"] or "no changes"
            joined = changes if isinstance(changes, str) else " and ".join(changes)
            texts.add(f"`{run['chosen']['architecture']}`, {joined}")
    return "; ".join(sorted(texts))


def label(side: str, runs: list[Run], images: int) -> str:
    """Name a side as it ran: with the loop in the place of Keras' own, and with the cut of its images."""
    text = SIDES[side].label
    if "because" in runs[0]["settings"]:
        text += " in skorch"
    n = runs[0]["n_train"]
    return text if n == images else f"{text}, on {n:,} images"


def render_set(name: str, result: dict[str, Any]) -> str:
    """Write the table of one data set as Markdown."""
    size = result["size"]
    lines = []
    for side, runs in rows_of(result):
        mark = "**" if (side, runs[0]["budget"]) == (DEFAULTS, CHOSEN) else ""
        accuracy, of_one = per_cent(runs), runs[0]["n_parameters"]
        lines.append(
            f"| {mark}{label(side, runs, size['images'])}{mark} | {after(runs)} | {mark}{mean_sd(accuracy, 2)}{mark} "
            f"| {len(runs)} | {seconds(cpu_seconds(runs))} | {seconds(scaled(runs))} "
            f"| {'' if of_one is None else f'{of_one:,}'} | {chosen(runs)} |\n"
        )
    lines += [f"| {source}, published | | {text} | | | | | |\n" for source, text, _ in PUBLISHED.get(name, ())]
    reasons = {run["settings"].get("because") for run in result["runs"]} - {None}
    notes = "".join(f"Keras' convnet was trained by skorch: {reason}.\n\n" for reason in sorted(reasons))
    shape = " × ".join(map(str, size["shape"]))
    tested = "the official ones" if SETS[name].official else "a quarter, which each seed holds out"
    units = sorted({run["unit_seconds"] for run in result["runs"]})
    commits = ", ".join(sorted({run["commit"] for run in result["runs"]}))
    unit = f"a unit of {mean_sd(units)} CPU s (n = {len(units)})"
    return (
        f"## {SETS[name].label}\n\n"
        f"{size['images']:,} training images of {shape}, {size['classes']} classes; {size['test_images']:,} test "
        f"images, {tested}.\n\n"
        "| side | after | accuracy, % | n | CPU s | CPU s, reference core | parameters | network and changes |\n"
        "|---|---|---:|---:|---:|---:|---:|---|\n"
        f"{''.join(lines)}\n{notes}{footer(result['environment'], 'one thread', unit, f'commit {commits}')}\n"
    )


def render(measured: dict[str, dict[str, Any]]) -> str:
    """Write the results of all data sets as Markdown."""
    tables = "\n".join(render_set(name, result) for name, result in measured.items())
    return (
        "# Accuracy against CPU seconds, by data set\n\n"
        "Accuracy on the test images, mean ± sd over n seeds at the last epoch of each run; made by "
        "`python benchmarks/datasets.py`. Recipes were chosen on held-out training images, and nothing else was tuned "
        "for any of them. The defaults are in bold; beside them are half and double the epochs that they choose. CPU "
        "seconds are those of all of `fit` for cnnclf, and of training alone for the others. Keras' convnet trains as "
        "on keras.io, with Adam, batch 128 and a tenth of the images held out and evaluated after each epoch, which "
        "counts; the skorch net has Adam 0.001 and batch 128; scikit-learn's have their defaults where the table names "
        "nothing else. A support vector classifier and gradient boosting are fitted on fewer images where the table "
        "says so, and on one seed where they draw "
        "nothing. Published figures were not measured here.\n\n"
        f"Below each table is the CPU time of a unit, an epoch of `keras_mnist` over 60,000 images of 28 × 28 in "
        f"batches of 128 in float32, timed beside its runs. It takes {REFERENCE:g} on the reference core, to which the "
        "second column of seconds is scaled.\n\n"
        f"{tables}"
    )


def draw(measured: dict[str, dict[str, Any]]) -> Figure:
    """Draw a panel for each data set: accuracy, stretched towards 100 %, against CPU seconds on the reference core."""
    from cnnclf.plots._style import INK, SMALL, new_figure

    columns = min(3, len(measured))
    rows = math.ceil(len(measured) / columns)
    figure = new_figure(max(7.2, 3.3 * columns), 1.1 + 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    lines: dict[str, Any] = {}
    for ax, (name, result) in zip(panels, measured.items(), strict=False):
        lines |= draw_panel(ax, name, result)
    for ax in panels[len(measured) :]:
        ax.remove()
    figure.supxlabel("CPU seconds on the reference core, one thread", color=INK, fontsize=SMALL + 0.5)
    figure.supylabel("accuracy, %", color=INK, fontsize=SMALL + 0.5)
    ordered = {SIDES[side].label.replace("`", ""): lines[side] for side in SIDES if side in lines}
    style: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, "handlelength": 2.4}
    figure.legend(ordered.values(), ordered.keys(), loc="outside upper left", ncols=3, **style)
    return figure


def draw_panel(ax: Axes, name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Draw one data set; give the line of each side."""
    from cnnclf.plots._style import COLOURS, INK, SMALL, Series, caption, tidy

    points: dict[str, list[tuple[float, float]]] = {}
    for side, runs in rows_of(result):
        error = max(100 - float(per_cent(runs).mean()), 0.05)  # a logarithm has no zero
        points.setdefault(side, []).append((float(scaled(runs).mean()), error))
    lines = {}
    for k, side in enumerate(SIDES):
        if side in points:
            look, ours = Series.of(k), side == DEFAULTS
            style: dict[str, Any] = {"color": look.colour if k < len(COLOURS) else INK, "marker": look.marker}
            style |= {"linestyle": look.line if len(points[side]) > 1 else "none"}
            style |= {"linewidth": 2.6 if ours else 1.1, "markersize": 7 if ours else 4.5, "zorder": 4 if ours else 2}
            (lines[side],) = ax.plot(*zip(*points[side], strict=True), **style)
    for source, _, accuracy in PUBLISHED.get(name, ()):
        if accuracy is not None:
            ax.axhline(100 - accuracy, color=INK, linewidth=0.7, alpha=0.6)
            words: dict[str, Any] = {
                "xycoords": ("axes fraction", "data"),
                "xytext": (2, 2),
                "textcoords": "offset points",
            }
            said = f"{source.split(',')[0].removeprefix('the network of ')}, published"
            ax.annotate(said, (0, 100 - accuracy), color=INK, fontsize=SMALL - 2, **words)
    ax.set(xscale="log", yscale="log")
    best, worst = ax.get_ylim()
    inside = [error for error in ERRORS if best <= error <= worst]
    if len(inside) < 3:
        inside = [error for error in FINE_ERRORS if best <= error <= worst]
    ax.set_yticks(inside, [f"{100 - error:g}" for error in inside])
    ax.minorticks_off()
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:,.4g}")
    tidy(ax)
    caption(ax, f"{SETS[name].label}: {result['size']['images']:,} images")
    return lines


if __name__ == "__main__":
    main()
