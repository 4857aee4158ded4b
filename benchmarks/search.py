"""Grid search: `CNNClassifier` against a plain skorch net of the same architecture, epochs and batch size.

12 candidates (learning rate × weight decay) × 3 folds on 6,000 MNIST images; CPU seconds of the whole
`GridSearchCV.fit`, one thread, the two interleaved in one process.

    python benchmarks/search.py            # n = 3, about ten minutes; writes search.json and search.md beside itself
    python benchmarks/search.py --n 1 --images 600
"""

import argparse
import json
import time
from collections import OrderedDict
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


def searches(architecture: str) -> dict[str, tuple[GridSearchCV, bool]]:
    """Each side's search, and whether it wants standardised float images."""
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    ours = CNNClassifier(architecture, max_epochs=EPOCHS, batch_size=BATCH_SIZE, random_state=0)
    grid = {"lr": LEARNING_RATES, "weight_decay": WEIGHT_DECAYS}
    skorch_grid = {"lr": LEARNING_RATES, "optimizer__weight_decay": WEIGHT_DECAYS}
    return OrderedDict(
        {
            "cnnclf": (GridSearchCV(ours, grid, cv=cv), False),
            "skorch": (GridSearchCV(plain_skorch(architecture), skorch_grid, cv=cv, scoring="accuracy"), True),
        }
    )


def main() -> None:
    """Run, print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3, help="repetitions of each side")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--architecture", default="compact")
    args = parser.parse_args()

    torch.set_num_threads(1)
    X, y = load_mnist()
    chosen = np.random.default_rng(0).choice(len(X), args.images, replace=False)
    X, y = X[chosen], y[chosen]
    floats = ((X[:, None] - X.mean()) / X.std()).astype(np.float32)

    seconds: dict[str, list[float]] = {"cnnclf": [], "skorch": []}
    scores = {}
    for _ in range(args.n):
        for name, (search, wants_floats) in searches(args.architecture).items():
            start = time.process_time()
            search.fit(floats if wants_floats else X, y)
            seconds[name].append(time.process_time() - start)
            scores[name] = search.best_score_
            print(f"{name:8} {seconds[name][-1]:7.1f} CPU s   best mean accuracy {scores[name]:.4f}", flush=True)

    ratios = np.array(seconds["skorch"]) / np.array(seconds["cnnclf"])
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
        "ratio_mean": ratios.mean(),
        "ratio_sd": ratios.std(ddof=1) if args.n > 1 else 0.0,
        "environment": environment(),
    }
    table = render(result)
    print(table)
    here = Path(__file__).parent
    (here / "search.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (here / "search.md").write_text(table, encoding="utf-8")


def render(result: dict) -> str:
    """Write the result as Markdown."""
    rows = "".join(
        f"| {name} | {np.mean(s):.1f} ± {np.std(s, ddof=1) if len(s) > 1 else 0:.1f} "
        f"| {result['best_mean_accuracy'][name]:.4f} |\n"
        for name, s in result["cpu_seconds"].items()
    )
    return (
        f"# Grid search: {result['candidates']} candidates × {result['folds']} folds, {result['images']:,} images\n\n"
        f"MNIST, `{result['architecture']}`, {result['epochs']} epochs, batch {result['batch_size']}, one thread, "
        f"interleaved, n = {result['n']}; made by `python benchmarks/search.py`.\n\n"
        "| | CPU seconds, mean ± sd | best mean accuracy |\n|---|---|---|\n"
        f"{rows}\n"
        f"skorch takes {result['ratio_mean']:.2f} ± {result['ratio_sd']:.2f} times the CPU seconds of cnnclf.\n\n"
        f"{result['environment']['cpu']}, {result['environment']['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in result["environment"]["versions"].items())
        + ".\n"
    )


if __name__ == "__main__":
    main()
