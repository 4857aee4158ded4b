"""On a CUDA GPU: seconds to 99.0 and 99.6 %, and the images a second of fit against a bare loop of the same network.

Wall seconds, the device synchronised at both ends, after a throw-away fit. The bare loop holds the images on the device
as uint8 and does what training does and no more. Without a GPU it says so, and that is all.

    python benchmarks/gpu.py    # n = 3, some minutes; writes gpu.json and gpu.md
    python benchmarks/gpu.py --short
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from environment import environment
from overhead import bare_fit, bare_network
from recording import footer, mean_sd, options, write

from cnnclf import RECIPES, CNNClassifier, load_mnist

TARGETS = (99.0, 99.6)
BUDGETS = (
    ("first_look", 1),
    ("handwriting", 2),
    ("handwriting", 5),
    ("handwriting", 10),
    ("handwriting_accurate", 3),
    ("handwriting_accurate", 6),
)
BATCHES = (128, 512, 2048)
EPOCHS = 3
DEVICE = "cuda"


def wall_seconds(work: Callable[[], object]) -> float:
    """Time the work of the device, and not only its start."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Run, print and write the figures."""
    short = options(__doc__).parse_args().short
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here: nothing was measured.")
        return
    n = 1 if short else 3
    (X, y), test = load_mnist("train"), load_mnist("test")

    budgets = []
    for recipe, epochs in BUDGETS[:1] if short else BUDGETS:
        row: dict[str, Any] = {"recipe": recipe, "epochs": epochs, "seconds": [], "accuracy": []}
        settings = RECIPES[recipe] | {"device": DEVICE}
        CNNClassifier(**settings | {"max_epochs": 1}).fit(X[:256], y[:256])
        for seed in range(n):
            clf = CNNClassifier(**settings | {"max_epochs": epochs, "random_state": seed})
            row["seconds"].append(wall_seconds(lambda clf=clf: clf.fit(X, y)))
            row["accuracy"].append(float(clf.score(*test)))
        budgets.append(row)

    pixels, labels = torch.from_numpy(X).to(DEVICE), torch.from_numpy(y).to(DEVICE)
    rates: list[dict[str, Any]] = []
    for batch in BATCHES[:1] if short else BATCHES:
        sides = {
            "bare loop": lambda seed, batch=batch: bare_epochs(X, pixels, labels, batch, seed),
            "fit": lambda seed, batch=batch: our_fit(X, y, batch, seed, compiled=False),
            "fit, compile=True": lambda seed, batch=batch: our_fit(X, y, batch, seed, compiled=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for seed in range(n + 1):
            for name, make in sides.items():
                spent = wall_seconds(make(seed))
                if seed:  # the first compiles and chooses kernels
                    seconds[name].append(spent)
        rates += [{"batch": batch, "side": name, "seconds": spent} for name, spent in seconds.items()]

    machine = environment(device=DEVICE)
    machine["gpu"] = torch.cuda.get_device_name()
    result = {"n": n, "images": len(X), "epochs": EPOCHS, "budgets": budgets, "rates": rates, "environment": machine}
    print(table := render(result))
    if not short:
        write("gpu", result, table)


def our_fit(X: np.ndarray, y: np.ndarray, batch: int, seed: int, *, compiled: bool) -> Callable[[], object]:
    """Make a fit of a few epochs."""
    settings: dict[str, Any] = {"max_epochs": EPOCHS, "batch_size": batch, "device": DEVICE, "compile": compiled}
    clf = CNNClassifier("compact", **settings, optimizer="adamw", augment=None, random_state=seed)
    return lambda: clf.fit(X, y)


def bare_epochs(
    X: np.ndarray, pixels: torch.Tensor, labels: torch.Tensor, batch: int, seed: int
) -> Callable[[], object]:
    """Make the bare loop over as many epochs."""
    torch.manual_seed(seed)
    network = bare_network(X).to(DEVICE, memory_format=torch.channels_last)
    return lambda: bare_fit(network, pixels[:, None], labels, batch, epochs=EPOCHS)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    n_seen = result["images"] * result["epochs"]
    bare = {row["batch"]: np.mean(row["seconds"]) for row in result["rates"] if row["side"] == "bare loop"}
    budgets = "".join(
        f"| `{row['recipe']}`, {row['epochs']} | {mean_sd(row['seconds'], 2)} "
        f"| {mean_sd(100 * np.array(row['accuracy']), 2)} |\n"
        for row in result["budgets"]
    )
    rates = "".join(
        f"| {row['batch']:,} | {row['side']} | {n_seen / np.mean(row['seconds']):,.0f} "
        f"| {bare[row['batch']] / np.mean(row['seconds']):.0%} |\n"
        for row in result["rates"]
    )
    return (
        f"# On a GPU: {result['environment']['gpu']}\n\n"
        f"MNIST, {result['images']:,} images, wall seconds, n = {result['n']}, mean ± sd; made by `python "
        f"benchmarks/gpu.py`. {' '.join(sentence(result['budgets'], target) for target in TARGETS)} The test images "
        "choose nothing else.\n\n"
        f"| recipe, epochs | seconds of fit | test accuracy, % |\n|---|---:|---:|\n{budgets}\n"
        f"Images a second of `compact` over {result['epochs']} epochs, and their share of the bare loop's:\n\n"
        f"| batch | | images/s | of the bare loop |\n|---:|---|---:|---:|\n{rates}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


def sentence(budgets: list[dict[str, Any]], target: float) -> str:
    """Say what is the fastest way to a mean accuracy."""
    enough = [row for row in budgets if round(100 * float(np.mean(row["accuracy"])), 9) >= target]
    if not enough:
        return f"{target} % is not reached."
    best = min(enough, key=lambda row: float(np.mean(row["seconds"])))
    return f"To {target} %: **{mean_sd(best['seconds'], 2)} s** (`{best['recipe']}`, {best['epochs']})."


if __name__ == "__main__":
    main()
