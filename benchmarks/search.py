"""Grid search: `CNNClassifier` against a plain skorch net of the same architecture, epochs and batch size.

12 candidates (learning rate × weight decay) × 3 folds on 6,000 MNIST images; CPU seconds of the whole
`GridSearchCV.fit`, all interleaved in one process. The skorch net runs as it comes, with as many threads as torch
takes, and on one thread, which is what `CNNClassifier` always does.

    python benchmarks/search.py            # n = 3, about twenty minutes; writes search.json and search.md beside itself
    python benchmarks/search.py --n 1 --images 600
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from environment import environment
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier
from torch import nn

from cnnclf import CNNClassifier, load_mnist
from cnnclf.architectures import find_architecture

EPOCHS, BATCH_SIZE = 3, 64
OURS = "cnnclf, one thread"
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
LEARNING_RATES, WEIGHT_DECAYS = [0.001, 0.002, 0.004, 0.008], [0.0, 0.01, 0.1]


def plain_skorch(architecture: str) -> NeuralNetClassifier:
    """Build what the skorch documentation leads to: float32, torch's DataLoader, standardised images."""
    return NeuralNetClassifier(
        find_architecture(architecture).build((1, 28, 28), 10),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def our_search(architecture: str) -> GridSearchCV:
    """Search over `CNNClassifier`."""
    clf = CNNClassifier(architecture, max_epochs=EPOCHS, batch_size=BATCH_SIZE, random_state=0)
    return GridSearchCV(clf, {"lr": LEARNING_RATES, "weight_decay": WEIGHT_DECAYS}, cv=FOLDS)


def skorch_search(architecture: str) -> GridSearchCV:
    """Search over the plain skorch net."""
    grid = {"lr": LEARNING_RATES, "optimizer__weight_decay": WEIGHT_DECAYS}
    return GridSearchCV(plain_skorch(architecture), grid, cv=FOLDS, scoring="accuracy")


def main() -> None:
    """Run, print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3, help="repetitions of each side")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--architecture", default="compact")
    args = parser.parse_args()

    usual = torch.get_num_threads()
    X, y = load_mnist()
    chosen = np.random.default_rng(0).choice(len(X), args.images, replace=False)
    X, y = X[chosen], y[chosen]
    floats = ((X[:, None] - X.mean()) / X.std()).astype(np.float32)
    sides = {  # what is searched, what it is given, and torch's threads
        OURS: (our_search, X, usual),
        "skorch, one thread": (skorch_search, floats, 1),
        f"skorch as it comes, {usual} threads": (skorch_search, floats, usual),
    }

    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores = {}
    for _ in range(args.n):
        for name, (make, images, n_threads) in sides.items():
            torch.set_num_threads(n_threads)
            search = make(args.architecture)
            start = time.process_time()
            search.fit(images, y)
            seconds[name].append(time.process_time() - start)
            scores[name] = search.best_score_
            print(f"{name:30} {seconds[name][-1]:7.1f} CPU s   best mean accuracy {scores[name]:.4f}", flush=True)

    result = {
        "architecture": args.architecture,
        "images": args.images,
        "candidates": len(LEARNING_RATES) * len(WEIGHT_DECAYS),
        "folds": 3,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "n": args.n,
        "cpu_seconds": seconds,
        "best_mean_accuracy": scores,
        "environment": environment(),
    }
    table = render(result)
    print(table)
    here = Path(__file__).parent
    (here / "search.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (here / "search.md").write_text(table, encoding="utf-8")


def render(result: dict) -> str:
    """Write the result as Markdown."""
    rows = []
    for name, spent in result["cpu_seconds"].items():
        times = np.array(spent) / np.array(result["cpu_seconds"][OURS])
        cheaper = "" if name == OURS else f"{times.mean():.2f} ± {deviation(times):.2f}"
        best = result["best_mean_accuracy"][name]
        rows.append(f"| {name} | {np.mean(spent):.1f} ± {deviation(spent):.1f} | {cheaper} | {best:.4f} |\n")
    return (
        f"# Grid search: {result['candidates']} candidates × {result['folds']} folds, {result['images']:,} images\n\n"
        f"MNIST, `{result['architecture']}`, {result['epochs']} epochs, batch {result['batch_size']}, "
        f"interleaved, n = {result['n']}; made by `python benchmarks/search.py`.\n\n"
        "| | CPU seconds, mean ± sd | times ours | best mean accuracy |\n|---|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
        f"{result['environment']['cpu']}, {result['environment']['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in result["environment"]["versions"].items())
        + ".\n"
    )


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
