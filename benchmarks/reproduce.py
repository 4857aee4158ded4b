"""Networks that others reported for MNIST, trained for their epochs with our defaults otherwise.

All 60,000 training images, no validation data, no choice of an epoch or a seed: the accuracy on the 10,000 test images
after the last epoch, once per seed. Cross-validation is over the training images, as it was reported.

    python benchmarks/reproduce.py            # 3 seeds, one thread, about an hour; writes reproduce.json, .md and .png
    python benchmarks/reproduce.py --only pool2_conv3
    python benchmarks/reproduce.py --short
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from environment import environment
from matplotlib.figure import Figure
from recording import footer, mean_sd, options, write
from torch import nn

from cnnclf import CNNClassifier, load_mnist
from cnnclf.architectures._build import build_sequential
from cnnclf.architectures._layers import Conv, Dense, Dropout, Flatten, ImageShape, Pool, ReLU

SEEDS = 3


def dropout_net(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Two convolutions with pooling, dropout after them and in the head."""
    blocks = (Conv(32), ReLU(), Pool(), Conv(64), ReLU(), Pool(), Dropout(0.25))
    return build_sequential((*blocks, Flatten(), Dense(128), ReLU(), Dropout(0.5)), image_shape, n_classes)


@dataclass(frozen=True)
class Claim:
    """What was reported for a network: accuracy in per cent, of what, after how many epochs of which batches."""

    name: str
    architecture: Any
    epochs: int
    batch_size: int | str  # "auto" where it was not reported
    reported: float
    measured_on: str
    folds: int = 0


CLAIMS = (
    Claim("keras_mnist", "keras_mnist", 15, 128, 99.19, "test images; keras.io, “Simple MNIST convnet”"),
    Claim("pool3_head1", "pool3_head1", 20, "auto", 99.00, "test images"),
    Claim("pool3_head3", "pool3_head3", 20, "auto", 98.67, "test images"),
    Claim("pool2_conv3", "pool2_conv3", 5, "auto", 98.70, "half of the test images, called validation"),
    Claim("pool2_conv3, 3 folds", "pool2_conv3", 5, "auto", 98.5, "held-out folds, the upper of 98.4–98.5", folds=3),
    Claim("dropout net", dropout_net, 5, "auto", 98.45, "test images"),
)


def measure(claim: Claim, seed: int, train: tuple[Any, Any], test: tuple[Any, Any]) -> float:
    """Train once and evaluate once; with folds, once for each of them, and the mean."""
    ours = {"optimizer": "adamw", "lr": 0.005, "augment": None, "random_state": seed}
    clf = CNNClassifier(claim.architecture, max_epochs=claim.epochs, batch_size=claim.batch_size, **ours)
    if not claim.folds:
        return float(clf.fit(*train).score(*test))
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(claim.folds, shuffle=True, random_state=seed)
    return float(cross_val_score(clf, *train, cv=folds).mean())


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--only", choices=[claim.name for claim in CLAIMS], help="one network; writes no file")
    args = parser.parse_args()

    (X, y), test = load_mnist("train"), load_mnist("test")
    train = (X[:600], y[:600]) if args.short else (X, y)
    n_seeds = 1 if args.short else SEEDS
    results = []
    for claim in CLAIMS:
        if args.only not in (None, claim.name):
            continue
        accuracies, seconds = [], []
        for seed in range(n_seeds):
            start = time.process_time()
            accuracies.append(measure(claim, seed, train, test))
            seconds.append(time.process_time() - start)
            print(f"{claim.name:22} seed {seed}: {accuracies[-1]:.2%} in {seconds[-1]:.0f} CPU s", flush=True)
        record = asdict(claim) | {"architecture": getattr(claim.architecture, "__name__", claim.architecture)}
        results.append(record | {"accuracies": accuracies, "cpu_seconds": seconds})
    result = {"seeds": n_seeds, "claims": results, "environment": environment()}
    print(table := render(result))
    if args.only is None and not args.short:
        write("reproduce", result, table, draw(result))


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = []
    for claim in result["claims"]:
        ours = 100 * np.array(claim["accuracies"])
        batch = "ours, 128" if claim["batch_size"] == "auto" else claim["batch_size"]
        rows.append(
            f"| {claim['name']} | {claim['epochs']} | {batch} | {claim['reported']:.2f} | {claim['measured_on']} "
            f"| **{mean_sd(ours, 2)}** | {ours.min():.2f} | {np.mean(claim['cpu_seconds']):.0f} |\n"
        )
    return (
        "# What others reported, and what the same networks reach here\n\n"
        f"MNIST, accuracy in per cent, n = {result['seeds']} seeds, mean ± sd at the last epoch; made by "
        "`python benchmarks/reproduce.py`. Ours is measured on all 10,000 test images (folds: each fold of the 60,000 "
        "training images). The batch size is ours where none was reported.\n\n"
        "| network | epochs | batch | reported | measured on | ours | worst seed | CPU s |\n"
        "|---|---:|---:|---:|---|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


def draw(result: dict[str, Any]) -> Figure:
    """Draw reported and reached accuracies side by side."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    for row, claim in enumerate(result["claims"]):
        ours = 100 * np.array(claim["accuracies"])
        ax.plot([claim["reported"], ours.mean()], [row, row], color="#777b83", linewidth=1)
        ax.plot(claim["reported"], row, "o", color="#777b83", label="reported" if row == 0 else None)
        ax.plot(
            ours, [row] * len(ours), "D", color="#2b7fc3", markersize=5, label="ours, each seed" if row == 0 else None
        )
    ax.set_yticks(range(len(result["claims"])), [claim["name"] for claim in result["claims"]])
    ax.set_xlabel("accuracy, %")
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


if __name__ == "__main__":
    main()
