"""Loading pictures: `cnnclf.datasets.load` against a bare loop of Pillow; a report, and a search over paths.

CIFAR-10 as JPEG, 60,000 files of 32×32 pixels, and 24 JPEGs of twelve megapixels that are made here. Each run is a
process of its own, and the sides take turns. CPU seconds are those of loading, in all processes that it starts; memory
is the peak of the process above what it held before, when `load` was imported. The files are in the system's cache. The
report and the search run once: `cnnclf report` with one epoch, and a `GridSearchCV` over two sizes and two folds of one
epoch each.

    python benchmarks/loading.py --cifar PATH      # n = 3, ten minutes; writes loading.json and loading.md
    python benchmarks/loading.py --short
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from PIL import Image
from recording import footer, mean_sd, options, write

N = 3
LARGE, N_LARGE, SMALL = (3000, 4000), 24, 64  # height and width of the large pictures, how many, and what they become
SPLITS = ("train", "test")


def bare(folder: Path, *_: Any) -> int:
    """Load small pictures as anybody would; return the bytes of the array."""
    n_bytes = 0
    for split in SPLITS:
        files = sorted((folder / split).glob("*/*"))
        with Image.open(files[0]) as first:
            X = np.empty((len(files), first.height, first.width, 3), np.uint8)
        for row, file in zip(X, files, strict=True):
            with Image.open(file) as image:
                row[:] = np.asarray(image)
        n_bytes += X.nbytes
    return n_bytes


def ours(folder: Path, cache: Path | None = None, size: int | None = None) -> int:
    """Load both splits as the command line does; return the bytes of the arrays."""
    from cnnclf.datasets import load

    return sum(part.X.nbytes for part in load(str(folder), seed=0, cache=cache, size=size).parts.values())


def on_one_core(folder: Path, *_: Any) -> int:
    """Load pictures in this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return ours(folder)


def bare_large(folder: Path, *_: Any) -> int:
    """Load large pictures as anybody would."""
    files = sorted(folder.glob("*/*/*"))
    X = np.empty((len(files), SMALL, SMALL, 3), np.uint8)
    for row, file in zip(X, files, strict=True):
        with Image.open(file) as image:
            row[:] = np.asarray(image.convert("RGB").resize((SMALL, SMALL)))
    return X.nbytes


def search(folder: Path, *_: Any) -> int:
    """Search over two sizes, with the pictures as paths; return the bytes of the largest array."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from cnnclf import CNNClassifier, ReadImages
    from cnnclf.datasets import load_paths

    paths, y = load_paths(folder)
    pipeline = make_pipeline(ReadImages(mode="rgb"), CNNClassifier("compact", max_epochs=1, random_state=0))
    found = GridSearchCV(pipeline, {"readimages__size": [24, 32]}, cv=2).fit(paths, y)
    print(f"best: {found.best_params_}, {found.best_score_:.4f}", file=sys.stderr)
    return len(paths) * 32 * 32 * 3


def report(folder: Path, *_: Any) -> int:
    """Write a report on a folder of pictures; return the bytes of all images."""
    from cnnclf.cli._main import app

    with tempfile.TemporaryDirectory() as out:
        chosen = ["--architecture", "compact", "--epochs", "1", "--out", out]
        app(["report", "--dataset", str(folder), *chosen], standalone_mode=False)
    return sum(1 for _ in folder.glob("*/*/*")) * 32 * 32 * 3


SIDES: dict[str, tuple[str, Callable[..., int]]] = {
    "a bare loop of Pillow": ("small", bare),
    "`load`": ("small", ours),
    "`load` on one core": ("small", on_one_core),
    "`load(cache=…)`, first": ("small", ours),
    "`load(cache=…)`, again": ("small", ours),
    "a bare loop of Pillow, with `resize`": ("large", bare_large),
    "`load(size=64)`": ("large", lambda folder, _: ours(folder, None, SMALL)),
    "`cnnclf report`, one epoch": ("once", report),
    "`GridSearchCV` over paths": ("once", search),
}


def status(name: str, process: str = "self") -> int:
    """Read bytes of memory of a process from the system."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def watch(memory: list[int]) -> None:
    """Note now and again how much memory the processes take that this one has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        with suppress(OSError):  # one may have ended
            memory.append(sum(status("VmRSS", process) for process in children.read_text(encoding="utf-8").split()))
        time.sleep(0.1)


def child(side: str, folder: Path, cache: Path) -> None:
    """Load once, and print what it took; this is what a process of its own does."""
    import cnnclf.datasets._splits
    import cnnclf.images._pictures  # noqa: F401

    helpers: list[int] = []
    threading.Thread(target=watch, args=(helpers,), daemon=True).start()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before, spent, start = status("VmRSS"), time.process_time(), time.perf_counter()
    n_bytes = SIDES[side][1](folder, cache if "cache" in side else None)
    result = {
        "seconds": time.perf_counter() - start,
        "peak": status("VmHWM") - before,
        "array": n_bytes,
        "helpers": max(helpers),
    }
    times = os.times()
    result["cpu_seconds"] = time.process_time() - spent + times.children_user + times.children_system
    print(json.dumps(result))


def run(side: str, folder: Path, cache: Path) -> dict[str, Any]:
    """Load once in a process of its own."""
    command = [sys.executable, __file__, "--child", side, str(folder), str(cache)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"side": side} | result


def make_large(folder: Path, n: int, size: tuple[int, int]) -> Path:
    """Make large pictures of something smooth."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize(size[::-1])
    for i in range(n):
        file = folder / SPLITS[i % 4 == 3] / "ab"[i // 2 % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(np.asarray(coarse), 50 * i, axis=0)).save(file, quality=90)
    return folder


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--cifar", type=Path, help="the folder of CIFAR-10's images as JPEG")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "FOLDER", "CACHE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), Path(args.child[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        small, n, size = args.cifar, N_LARGE, LARGE
        if args.short:
            n, size = 8, (60, 80)
        large = make_large(Path(folder, "large"), n, size)
        if args.short:
            small = make_large(Path(folder, "small"), 80, (32, 32))
        elif small is None:
            parser.error("Expected --cifar PATH; got none. Give the folder of CIFAR-10's images as JPEG.")
        runs = []
        for i in range(1 if args.short else N):
            for side, (kind, _) in SIDES.items():
                if kind != "once" or i == 0:
                    runs.append(run(side, large if kind == "large" else small, Path(folder, f"cache{i}")))
                    print(side, {name: value for name, value in runs[-1].items() if name != "side"}, flush=True)
    result = {"runs": runs, "large": [N_LARGE, *LARGE], "environment": environment("pillow", "joblib")}
    print(table := render(result))
    if not args.short:
        write("loading", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    of_side = {side: [run for run in result["runs"] if run["side"] == side] for side in SIDES}
    references = {kind: next(side for side, (of, _) in SIDES.items() if of == kind) for kind in ("small", "large")}
    rows = {"small": "", "large": "", "once": ""}
    for side, (kind, _) in SIDES.items():
        runs = of_side[side]
        cpu = np.array([run["cpu_seconds"] for run in runs])
        seconds = mean_sd([run["seconds"] for run in runs])
        above = mean_sd([(run["peak"] - run["array"]) / 2**20 for run in runs], 0)
        others = [run["helpers"] / 2**20 for run in runs]
        helpers = mean_sd(others, 0) if any(others) else ""
        if kind == "once":
            peak = mean_sd([run["peak"] / 2**20 for run in runs], 0)
            rows[kind] += f"| {side} | {mean_sd(cpu)} | {seconds} | {peak} | {helpers} |\n"
            continue
        reference = np.array([run["cpu_seconds"] for run in of_side[references[kind]]])
        times = "" if side == references[kind] else mean_sd(cpu / reference, 2)
        rows[kind] += f"| {side} | {mean_sd(cpu)} | {times} | {seconds} | {above} | {helpers} |\n"
    n, height, width = result["large"]
    head = (
        "| | CPU s | times the loop | seconds | MB above the array | MB of other processes |\n"
        "|---|---:|---:|---:|---:|---:|\n"
    )
    array = of_side[references["small"]][0]["array"] / 2**20
    return (
        "# Loading pictures\n\n"
        "`cnnclf.datasets.load`, which `--dataset` uses, on CIFAR-10 as JPEG, 60,000 files of 32×32 pixels in class "
        "folders in `train` and `test`, "
        f"{array:.0f} MB as an array; each run a process of its own, taking turns, n = {N}, "
        "mean ± sd; made by `python benchmarks/loading.py`. CPU seconds are those of all processes, and memory is the "
        "peak above what the process held before, when `load` was imported; with a cache the array is in a file, of "
        f"which the system keeps in memory what it likes.\n\n{head}{rows['small']}\n"
        f"{n} JPEGs of {width}×{height} pixels, which become {SMALL}×{SMALL}; the loop does not keep proportions.\n\n"
        f"{head}{rows['large']}\n"
        "All of it, once: the report trains `compact` for an epoch on 45,000 pictures and evaluates it on 10,000; the "
        "search fits it on 25,000 of two sizes in two folds, decodes each picture once per size, and fits the best on "
        "50,000.\n\n"
        "| | CPU s | seconds | peak, MB | MB of other processes |\n|---|---:|---:|---:|---:|\n"
        f"{rows['once']}\n"
        f"{footer(result['environment'], 'one thread a fit, a process or thread per core for decoding')}\n"
    )


if __name__ == "__main__":
    main()
