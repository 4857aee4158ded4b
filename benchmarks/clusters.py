"""What a search costs on Dask's workers instead of joblib's own, and what training one network in two processes costs.

The search: 6 candidates × 3 folds of `compact` on 6,000 MNIST images, in two worker processes. CPU seconds are those of
all processes, scheduler included. As Dask comes, it sets `MALLOC_TRIM_THRESHOLD_=65536` for its workers, which cnnclf
overrides; `CNNCLF_MALLOPT=0` shows the setting itself, and the recipe is that of docs/clusters.md. Every search is a
process of its own with new workers, and the sides take turns; a throw-away search of 256 rows does not count.

One network in two processes: an epoch of the bare loop of overhead.py against the same loop under torch's
DistributedDataParallel (gloo), half of each batch in each process, so that both take the same number of steps.

    python benchmarks/clusters.py    # n = 5, about twelve minutes; writes clusters.json and clusters.md
    python benchmarks/clusters.py --short
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from environment import environment
from joblib import parallel_config
from overhead import bare_fit, bare_network
from recording import footer, mean_sd, options, write
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold, cross_val_score

from cnnclf import CNNClassifier, load_mnist

GRID, EPOCHS, BATCH = {"lr": [0.002, 0.005, 0.01], "batch_size": [64, 128]}, 3, 128
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
LOKY = "loky"
AS_GLIBC = {"CNNCLF_MALLOPT": "0"}
RECIPE = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TOP_PAD_": str(2**26),
}
SIDES = {  # name: environment variables
    LOKY: {},
    "Dask as it comes": {},
    "Dask, `CNNCLF_MALLOPT=0`": AS_GLIBC,
    "Dask, `CNNCLF_MALLOPT=0`, the recipe": AS_GLIBC | RECIPE,
}
Spent = dict[str, float]


@contextmanager
def two_workers(side: str) -> Iterator[str]:
    """Start what a side computes on; give joblib's name of it."""
    if side == LOKY:
        yield "loky"
        return
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        yield "dask"


def cpu_seconds() -> tuple[float, float]:
    """Give what this process has spent, and those that it started and that still run."""
    import psutil

    workers = psutil.Process().children(recursive=True)
    return time.process_time(), sum(sum(worker.cpu_times()[:2]) for worker in workers)


def child(side: str, n_images: int) -> None:
    """Search once and print what it took."""
    X, y = (array[:n_images] for array in load_mnist())
    clf = CNNClassifier("compact", max_epochs=EPOCHS, optimizer="adamw", lr=0.005, augment=None, random_state=0)
    with two_workers(side) as backend:
        with parallel_config(backend):
            cross_val_score(clf, X[:256], y[:256], cv=4, n_jobs=2)
        given = {} if side == LOKY else {"scatter": [X, y]}
        before, start = cpu_seconds(), time.perf_counter()
        with parallel_config(backend, **given):
            best = GridSearchCV(clf, GRID, cv=FOLDS, n_jobs=2, refit=False).fit(X, y).best_score_
        wall, after = time.perf_counter() - start, cpu_seconds()
    here, there = (late - early for early, late in zip(before, after, strict=True))
    print(json.dumps({"cpu_seconds": here + there, "in_workers": there, "wall_seconds": wall, "best": best}))


def search_on(side: str, n_images: int) -> Spent:
    """Search once in a process of its own: what one cluster sets in the environment would stay there for the next."""
    command = [sys.executable, __file__, "--child", side, str(n_images)]
    said = subprocess.run(command, env=os.environ | SIDES[side], stdout=subprocess.PIPE, text=True, check=True)
    spent: Spent = json.loads(said.stdout)
    return spent


def train(rank: int, n_processes: int, n_images: int, folder: str) -> None:
    """Train one network for an epoch, alone or with others on as many parts of each batch, and write what it took."""
    from torch.distributed import barrier, destroy_process_group, init_process_group

    torch.set_num_threads(1)
    torch.manual_seed(0)
    init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n_processes)
    X, y = (array[:n_images] for array in load_mnist())
    network: torch.nn.Module = bare_network(X)
    if n_processes > 1:
        network = torch.nn.parallel.DistributedDataParallel(network)
    pixels, labels = torch.from_numpy(X[rank::n_processes])[:, None], torch.from_numpy(y[rank::n_processes])
    bare_fit(network, pixels[:256], labels[:256], BATCH // n_processes)
    barrier()
    cpu, start = time.process_time(), time.perf_counter()
    bare_fit(network, pixels, labels, BATCH // n_processes)
    barrier()
    spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - start}
    Path(folder, f"{rank}.json").write_text(json.dumps(spent), encoding="utf-8")
    destroy_process_group()


def train_in(n_processes: int, n_images: int) -> Spent:
    """Train one network in some processes; the CPU seconds of all, the wall seconds of the slowest."""
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (n_processes, n_images, folder), n_processes)
        spent = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")]
    return {
        "cpu_seconds": sum(one["cpu_seconds"] for one in spent),
        "wall_seconds": max(one["wall_seconds"] for one in spent),
    }


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "IMAGES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], int(args.child[1]))
        return

    n, n_images, sides = (1, 600, [LOKY, list(SIDES)[-1]]) if args.short else (5, 6000, list(SIDES))
    searched: dict[str, list[Spent]] = {side: [] for side in sides}
    trained: dict[str, list[Spent]] = {"1": [], "2": []}
    for _ in range(n):
        for side, spent in searched.items():
            spent.append(search_on(side, n_images))
            print(f"{side:36} {spent[-1]['cpu_seconds']:7.1f} CPU s", flush=True)
        for n_processes, spent in trained.items():
            spent.append(train_in(int(n_processes), n_images))
            print(f"{'one network, processes: ' + n_processes:36} {spent[-1]['cpu_seconds']:7.2f} CPU s", flush=True)

    result = {
        "images": n_images,
        "candidates": len(ParameterGrid(GRID)),
        "folds": FOLDS.get_n_splits(),
        "epochs": EPOCHS,
        "batch": BATCH,
        "n": n,
        "search": {side: columns(spent) for side, spent in searched.items()},
        "one_network": {n_processes: columns(spent) for n_processes, spent in trained.items()},
        "environment": environment("joblib", "dask", "distributed"),
    }
    print(table := render(result))
    if not args.short:
        write("clusters", result, table)


def columns(runs: list[Spent]) -> dict[str, list[float]]:
    """Turn runs into lists by name.

    >>> columns([{"cpu_seconds": 1.0}, {"cpu_seconds": 2.0}])
    {'cpu_seconds': [1.0, 2.0]}
    """
    return {name: [run[name] for run in runs] for name in runs[0]}


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown; every ratio is that of runs that followed each other."""

    def times(spent: dict[str, list[float]], usual: dict[str, list[float]], name: str) -> str:
        return "" if spent is usual else mean_sd(np.divide(spent[name], usual[name]), 2)

    searches, alone = result["search"], result["one_network"]["1"]
    of_sides = "".join(
        f"| {side} | {mean_sd(spent['cpu_seconds'])} | {times(spent, searches[LOKY], 'cpu_seconds')} "
        f"| {mean_sd(spent['in_workers'])} | {mean_sd(spent['wall_seconds'])} "
        f"| {times(spent, searches[LOKY], 'wall_seconds')} |\n"
        for side, spent in searches.items()
    )
    steps = -(-result["images"] // result["batch"])
    of_processes = "".join(
        f"| {n_processes} | {mean_sd(spent['cpu_seconds'], 2)} | {times(spent, alone, 'cpu_seconds')} "
        f"| {mean_sd(spent['wall_seconds'], 2)} | {times(spent, alone, 'wall_seconds')} "
        f"| {1000 * np.mean(spent['wall_seconds']) / steps:.1f} |\n"
        for n_processes, spent in result["one_network"].items()
    )
    return (
        f"# Searches on a cluster: {result['candidates']} candidates × {result['folds']} folds\n\n"
        f"`compact`, {result['images']:,} MNIST images, {result['epochs']} epochs, two workers of one thread, "
        f"n = {result['n']}, mean ± sd; made by `python benchmarks/clusters.py`. CPU seconds are those of all "
        "processes, scheduler included.\n\n"
        "| | CPU s | × loky | of that in workers | wall s | × loky |\n|---|---:|---:|---:|---:|---:|\n"
        f"{of_sides}\n"
        "## One network in two processes\n\n"
        f"An epoch of `compact` on {result['images']:,} images, {steps} steps of {result['batch']} images, in a bare "
        "torch loop; two processes have half of each batch each and average their gradients (DistributedDataParallel, "
        "gloo).\n\n"
        "| processes | CPU s | × one | wall s | × one | ms a step |\n|---:|---:|---:|---:|---:|---:|\n"
        f"{of_processes}\n"
        f"{footer(result['environment'], 'one thread a fit')}\n"
    )


if __name__ == "__main__":
    main()
