"""Grid search: `CNNClassifier` against a plain skorch net of the same architecture, epochs and batch size.

12 candidates (learning rate × weight decay) × 3 folds on 6,000 MNIST images; CPU seconds of the whole
`GridSearchCV.fit`, all interleaved in one process. The skorch net runs as it comes, with as many threads as torch
takes, and on one thread, which is what `CNNClassifier` always does.

    python benchmarks/search.py            # n = 3, about twenty minutes; writes search.json and search.md
    python benchmarks/search.py --short
"""

import time

import numpy as np
import torch
from environment import environment
from plain_skorch import plain_skorch, standardised
from recording import footer, mean_sd, options, write
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from cnnclf import CNNClassifier, load_mnist

ARCHITECTURE, EPOCHS, BATCH_SIZE = "compact", 3, 64
OURS = "cnnclf, one thread"
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
LEARNING_RATES, WEIGHT_DECAYS = [0.001, 0.002, 0.004, 0.008], [0.0, 0.01, 0.1]


def our_search(architecture: str) -> GridSearchCV:
    """Search over `CNNClassifier`."""
    clf = CNNClassifier(architecture, max_epochs=EPOCHS, batch_size=BATCH_SIZE, random_state=0)
    return GridSearchCV(clf, {"lr": LEARNING_RATES, "weight_decay": WEIGHT_DECAYS}, cv=FOLDS)


def skorch_search(architecture: str) -> GridSearchCV:
    """Search over the plain skorch net."""
    grid = {"lr": LEARNING_RATES, "optimizer__weight_decay": WEIGHT_DECAYS}
    net = plain_skorch(architecture, optimizer=torch.optim.AdamW, lr=0.01, max_epochs=EPOCHS, batch_size=BATCH_SIZE)
    return GridSearchCV(net, grid, cv=FOLDS, scoring="accuracy")


def main() -> None:
    """Run, print and write the comparison."""
    short = options(__doc__).parse_args().short
    n, n_images = (1, 600) if short else (3, 6000)

    usual = torch.get_num_threads()
    X, y = load_mnist()
    chosen = np.random.default_rng(0).choice(len(X), n_images, replace=False)
    X, y = X[chosen], y[chosen]
    floats = standardised(X)
    sides = {  # what is searched, what it is given, and torch's threads
        OURS: (our_search, X, usual),
        "skorch, one thread": (skorch_search, floats, 1),
        f"skorch as it comes, {usual} threads": (skorch_search, floats, usual),
    }

    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores = {}
    for _ in range(n):
        for name, (make, images, n_threads) in sides.items():
            torch.set_num_threads(n_threads)
            search = make(ARCHITECTURE)
            start = time.process_time()
            search.fit(images, y)
            seconds[name].append(time.process_time() - start)
            scores[name] = search.best_score_
            print(f"{name:30} {seconds[name][-1]:7.1f} CPU s   best mean accuracy {scores[name]:.4f}", flush=True)

    result = {
        "architecture": ARCHITECTURE,
        "images": n_images,
        "candidates": len(LEARNING_RATES) * len(WEIGHT_DECAYS),
        "folds": 3,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "n": n,
        "cpu_seconds": seconds,
        "best_mean_accuracy": scores,
        "environment": environment(),
    }
    print(table := render(result))
    if not short:
        write("search", result, table)


def render(result: dict) -> str:
    """Write the result as Markdown."""
    rows = []
    for name, spent in result["cpu_seconds"].items():
        times = np.array(spent) / np.array(result["cpu_seconds"][OURS])
        cheaper = "" if name == OURS else mean_sd(times, 2)
        rows.append(f"| {name} | {mean_sd(spent)} | {cheaper} | {result['best_mean_accuracy'][name]:.4f} |\n")
    return (
        f"# Grid search: {result['candidates']} candidates × {result['folds']} folds, {result['images']:,} images\n\n"
        f"MNIST, `{result['architecture']}`, {result['epochs']} epochs, batch {result['batch_size']}, "
        f"interleaved, n = {result['n']}; made by `python benchmarks/search.py`.\n\n"
        "| | CPU seconds, mean ± sd | times ours | best mean accuracy |\n|---|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
        f"{footer(result['environment'])}\n"
    )


if __name__ == "__main__":
    main()
