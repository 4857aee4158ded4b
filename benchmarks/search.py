"""Grid search: `CNNClassifier` against a plain skorch net of the same architectures, epochs and batch sizes.

12 candidates (architecture × learning rate × batch size) × 3 folds on 6,000 MNIST images; CPU seconds of the whole
`GridSearchCV.fit`. Every search is a process of its own, and the sides take turns. The skorch net runs as it comes,
with as many threads as torch takes, and on one thread, which is what `CNNClassifier` always does. A throw-away fit of
256 rows comes first and does not count.

    python benchmarks/search.py            # n = 3, about twenty minutes; writes search.json and search.md
    python benchmarks/search.py --short
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from environment import environment
from plain_skorch import layers, plain_skorch, standardised
from recording import footer, mean_sd, options, write
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from cnnclf import load_mnist

ARCHITECTURES, LEARNING_RATES, BATCH_SIZES, EPOCHS = (
    ["compact", "pool3_head1", "pool2_conv3"],
    [0.002, 0.005],
    [64, 128],
    3,
)
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
OURS = "cnnclf, one thread"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SIDES: dict[str, dict[str, str]] = {OURS: ONE_THREAD, "skorch, one thread": ONE_THREAD, "skorch as it comes": {}}


def our_search() -> GridSearchCV:
    """Search over `CNNClassifier`."""
    from cnnclf import CNNClassifier

    grid = {"architecture": ARCHITECTURES, "lr": LEARNING_RATES, "batch_size": BATCH_SIZES}
    return GridSearchCV(
        CNNClassifier(max_epochs=EPOCHS, optimizer="adamw", augment=None, random_state=0), grid, cv=FOLDS
    )


def skorch_search() -> GridSearchCV:
    """Search over the plain skorch net."""
    torch.manual_seed(0)
    net = plain_skorch("compact", optimizer=torch.optim.AdamW, lr=0.005, max_epochs=EPOCHS, batch_size=64)
    grid = {"module": list(map(layers, ARCHITECTURES)), "lr": LEARNING_RATES, "batch_size": BATCH_SIZES}
    return GridSearchCV(net, grid, cv=FOLDS, scoring="accuracy")


def child(side: str, n_images: int) -> None:
    """Search once and print what it took; this is what a process of its own does."""
    X, y = load_mnist()
    chosen = np.random.default_rng(0).choice(len(X), n_images, replace=False)
    X, y = X[chosen], y[chosen]
    search, images = (our_search(), X) if side == OURS else (skorch_search(), standardised(X))
    clone(search.estimator).fit(images[:256], y[:256])
    start = time.process_time()
    search.fit(images, y)
    print(json.dumps({"cpu_seconds": time.process_time() - start, "best": search.best_score_}))


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "IMAGES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], int(args.child[1]))
        return

    n, n_images = (1, 600) if args.short else (3, 6000)
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(n):
        for side, variables in SIDES.items():
            command = [sys.executable, __file__, "--child", side, str(n_images)]
            said = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
            runs[side].append(json.loads(said.stdout))
            print(f"{side:20} {runs[side][-1]['cpu_seconds']:7.1f} CPU s", flush=True)

    result = {
        "architectures": ARCHITECTURES,
        "images": n_images,
        "candidates": len(ARCHITECTURES) * len(LEARNING_RATES) * len(BATCH_SIZES),
        "folds": FOLDS.get_n_splits(),
        "epochs": EPOCHS,
        "n": n,
        "threads": torch.get_num_threads(),
        "cpu_seconds": {side: [run["cpu_seconds"] for run in of_side] for side, of_side in runs.items()},
        "best_mean_accuracy": {side: [run["best"] for run in of_side] for side, of_side in runs.items()},
        "environment": environment(),
    }
    print(table := render(result))
    if not args.short:
        write("search", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = []
    ours = np.array(result["cpu_seconds"][OURS])
    for side, spent in result["cpu_seconds"].items():
        cheaper = "" if side == OURS else mean_sd(list(np.array(spent) / ours), 2)
        best = mean_sd([100 * accuracy for accuracy in result["best_mean_accuracy"][side]], 2)
        rows.append(f"| {side} | {mean_sd(spent)} | {cheaper} | {best} |\n")
    return (
        f"# Grid search: {result['candidates']} candidates × {result['folds']} folds, {result['images']:,} images\n\n"
        f"MNIST; {', '.join(f'`{name}`' for name in result['architectures'])} × learning rate × batch size, "
        f"{result['epochs']} epochs, each search a process of its own, taking turns, n = {result['n']}, mean ± sd; "
        f"made by `python benchmarks/search.py`. As it comes, skorch leaves torch its {result['threads']} threads.\n\n"
        "| | CPU seconds | times ours | best mean accuracy, % |\n|---|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
        f"{footer(result['environment'], 'one thread a fit')}\n"
    )


if __name__ == "__main__":
    main()
