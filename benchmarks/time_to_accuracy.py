"""CPU seconds to 99.0, 99.4 and 99.6 % on MNIST: `CNNClassifier` against Keras, torch, skorch and scikit-learn.

Every run is a process of its own on one thread; the sides take turns, seed by seed. Ours goes on for more seeds, as its
accuracies lie close to the targets. A throw-away fit of 256 rows comes first and does not count. Ours counts all of
`fit`, each budget of epochs being a fit of its own, as a schedule is stretched over it; the others count training
alone, epoch by epoch, without preparing the data. The test images are only measured. Keras runs in an environment of
its own, which is made when it is missing.

    python benchmarks/time_to_accuracy.py    # 3 seeds, ours 10, 95 minutes; writes time_to_accuracy.json, .md and .png
    python benchmarks/time_to_accuracy.py --without-keras
    python benchmarks/time_to_accuracy.py --short
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from matplotlib.figure import Figure
from recording import HERE, footer, mean_sd, options, write

from cnnclf import load_mnist

Point = dict[str, Any]
Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # X, y, X_test, y_test, as load_mnist gives them

TARGETS = (99.0, 99.4, 99.6)

# Ours: a recipe and its epochs. The first one is the short version's.
BUDGETS = (
    ("first_look", 1),
    ("handwriting", 2),
    ("handwriting", 3),
    ("handwriting", 5),
    ("handwriting", 10),
    ("handwriting_accurate", 3),
    ("handwriting_accurate", 5),
)

# The others: epochs of a run, and what it is.
KERAS = "Keras, Simple MNIST convnet"
OTHERS = {
    KERAS: (
        15,
        "as on keras.io: Adam, batch 128, a tenth of the images held out and evaluated after each epoch, which counts",
    ),
    "PyTorch, mnist example": (6, "a plain loop: Adadelta 1.0, × 0.7 an epoch, batch 64, float32"),
    "skorch, the layers of Keras": (15, "the layers of Keras' convnet: Adam 0.001, batch 128, float32"),
    "skorch, the layers of compact": (12, "the layers of our `compact`, the fastest we know: as above"),
    "MLPClassifier": (10, "scikit-learn's defaults"),
    "SVC": (1, "scikit-learn's, RBF, C = 10; one run, as nothing is drawn"),
}
SKORCH = {"skorch, the layers of Keras": "keras_mnist", "skorch, the layers of compact": "compact"}
OURS, OUR_SEEDS = "cnnclf", 10
PINS = ("keras==3.15.1", "tensorflow-cpu==2.21.0", "numpy==2.4.6")

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "CNNCLF")} | {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


def cnnclf_points(data: Data, seed: int, epochs: int, recipe: str) -> Iterator[Point]:
    """Fit a recipe once, for so many epochs."""
    from cnnclf import RECIPES, CNNClassifier

    X, y, X_test, y_test = data
    CNNClassifier(**RECIPES[recipe] | {"max_epochs": 1}).fit(X[:256], y[:256])
    clf = CNNClassifier(**RECIPES[recipe] | {"max_epochs": epochs, "random_state": seed})
    start = time.process_time()
    clf.fit(X, y)
    spent = time.process_time() - start
    yield {"recipe": recipe, "epochs": epochs, "cpu_seconds": spent, "accuracy": float(clf.score(X_test, y_test))}


def timed_epochs(train: Callable[[], object], measure: Callable[[], float], epochs: int) -> Iterator[Point]:
    """Train epoch by epoch, the clock stopped while the test images are evaluated."""
    spent = 0.0
    for epoch in range(1, epochs + 1):
        start = time.process_time()
        train()
        spent += time.process_time() - start
        yield {"epochs": epoch, "cpu_seconds": spent, "accuracy": measure()}


def torch_points(data: Data, seed: int, epochs: int) -> Iterator[Point]:
    """Train the network of PyTorch's example as its loop does, from memory.

    Source: PyTorch examples, mnist/main.py: layers, optimiser, schedule, batch size and normalisation.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from cnnclf.architectures._table import find_architecture

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    X, X_test = (torch.from_numpy(pixels)[:, None].float().div(255).sub(0.1307).div(0.3081) for pixels in data[::2])
    y = torch.from_numpy(data[1])

    def start(n: int) -> tuple[torch.nn.Module, Callable[[], None]]:
        model = find_architecture("pytorch_mnist").build((1, 28, 28), 10)
        optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)

        def epoch() -> None:
            model.train()
            for batch in torch.randperm(n).split(64):
                optimizer.zero_grad()
                cross_entropy(model(X[batch]), y[batch]).backward()
                optimizer.step()
            schedule.step()

        return model, epoch

    start(256)[1]()
    model, epoch = start(len(y))

    @torch.no_grad()
    def measure() -> float:
        model.eval()
        labels = torch.cat([model(part).argmax(dim=1) for part in X_test.split(1000)])
        return float((labels.numpy() == data[3]).mean())

    return timed_epochs(epoch, measure, epochs)


def skorch_points(data: Data, seed: int, epochs: int, architecture: str) -> Iterator[Point]:
    """Train a plain skorch net with the layers of an architecture."""
    import torch
    from plain_skorch import plain_skorch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    X, X_test = (pixels[:, None].astype(np.float32) / 255 for pixels in data[::2])

    def make() -> Any:
        return plain_skorch(architecture, optimizer=torch.optim.Adam, lr=0.001, max_epochs=1, batch_size=128)

    make().partial_fit(X[:256], data[1][:256])
    net = make()
    return timed_epochs(lambda: net.partial_fit(X, data[1]), lambda: float(net.score(X_test, data[3])), epochs)


def sklearn_points(data: Data, seed: int, epochs: int, name: str) -> Iterator[Point]:
    """Train scikit-learn's own: the network epoch by epoch, the support vectors at once."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    X, X_test = (pixels.reshape(len(pixels), -1) / 255 for pixels in data[::2])
    y = data[1]
    if name == "SVC":
        SVC().fit(X[:256], y[:256])
        clf = SVC(C=10, gamma="scale")
        return timed_epochs(lambda: clf.fit(X, y), lambda: float(clf.score(X_test, data[3])), epochs)
    classes = np.unique(y)
    MLPClassifier().partial_fit(X[:256], y[:256], classes=classes)
    mlp = MLPClassifier(random_state=seed)
    return timed_epochs(
        lambda: mlp.partial_fit(X, y, classes=classes), lambda: float(mlp.score(X_test, data[3])), epochs
    )


def child(side: str, path: str, seed: int, epochs: int) -> None:
    """Run one side once and print its points; this is what a process of its own does."""
    with np.load(path) as file:
        data = file["X"], file["y"], file["X_test"], file["y_test"]
    match side:
        case "PyTorch, mnist example":
            points = torch_points(data, seed, epochs)
        case _ if side in SKORCH:
            points = skorch_points(data, seed, epochs, SKORCH[side])
        case "MLPClassifier" | "SVC":
            points = sklearn_points(data, seed, epochs, side)
        case _:
            points = cnnclf_points(data, seed, epochs, side)
    print(json.dumps({"points": list(points)}))


def make_keras_environment(folder: Path) -> Path:
    """Make an environment with the pinned Keras, unless it is there; give its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    # Our own pins would forbid what TensorFlow needs.
    variables = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS]
    if subprocess.run(install, env=variables).returncode:
        raise SystemExit(f"Keras could not be installed in {folder}. Mend what pip says, or give --without-keras.")
    return python


def listen(command: list[str]) -> dict[str, Any]:
    """Run a child on one thread; give what its last line says."""
    lines = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(lines.splitlines()[-1])


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="of the others; ours has ten, or as many")
    parser.add_argument("--keras-env", type=Path, default=HERE / ".keras-env", help="where Keras is, or is installed")
    parser.add_argument("--without-keras", action="store_true", help="where it cannot be installed")
    parser.add_argument("--child", nargs=4, metavar=("SIDE", "DATA", "SEED", "EPOCHS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, path, seed, epochs = args.child
        child(side, path, int(seed), int(epochs))
        return

    seeds, n = (1, 2000) if args.short else (args.seeds, 60_000)
    our_seeds = 1 if args.short else max(seeds, OUR_SEEDS)
    with_keras = not args.without_keras and (not args.short or args.keras_env.exists())
    budgets = list(BUDGETS[:1] if args.short else BUDGETS)
    others = [(name, min(epochs, 2) if args.short else epochs) for name, (epochs, _) in OTHERS.items()]
    sides = [side for side in budgets + others if side[0] != KERAS or with_keras]
    keras = make_keras_environment(args.keras_env) if with_keras else None
    (X, y), (X_test, y_test) = load_mnist("train"), load_mnist("test")

    runs: dict[tuple[str, int], list[list[Point]]] = {side: [] for side in sides}
    versions = {}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/mnist.npz"
        np.savez(path, X=X[:n], y=y[:n], X_test=X_test, y_test=y_test)

        for seed in range(our_seeds):
            for side, epochs in sides:
                if side in OTHERS and seed >= (1 if side == "SVC" else seeds):
                    continue
                if side == KERAS:
                    run = [str(keras), str(HERE / "keras_convnet.py"), path, str(seed), str(epochs)]
                else:
                    run = [sys.executable, __file__, "--child", side, path, str(seed), str(epochs)]
                said = listen(run)
                versions |= said.get("versions", {})
                runs[side, epochs].append(said["points"])
                last = said["points"][-1]
                print(f"{side:28} seed {seed}: {last['accuracy']:.2%} in {last['cpu_seconds']:.1f} CPU s", flush=True)

    points = {side: merge(of_seeds) for side, of_seeds in runs.items()}
    ours = {OURS: [point for budget in budgets for point in points[budget]]}
    machine = environment()
    machine["versions"] |= versions
    result = {
        "seeds": seeds,
        "our_seeds": our_seeds,
        "images": n,
        "sides": ours | {side: points[side, epochs] for side, epochs in sides if side in OTHERS},
        "environment": machine,
    }
    print(table := render(result))
    if not args.short:
        write("time_to_accuracy", result, table, draw(result))


def merge(of_seeds: list[list[Point]]) -> list[Point]:
    """Combine the seeds' measurements of each point.

    >>> merge([[{"epochs": 1, "cpu_seconds": 4, "accuracy": 0.9}], [{"epochs": 1, "cpu_seconds": 5, "accuracy": 1}]])
    [{'epochs': 1, 'cpu_seconds': [4, 5], 'accuracy': [0.9, 1]}]
    """
    measured = ("cpu_seconds", "accuracy")
    return [
        points[0] | {name: [point[name] for point in points] for name in measured}
        for points in zip(*of_seeds, strict=True)
    ]


def per_cent(point: Point) -> list[float]:
    """Give the accuracies of a point in per cent."""
    return [100 * accuracy for accuracy in point["accuracy"]]


def reach(points: list[Point], target: float) -> Point | None:
    """Find the point of fewest CPU seconds whose mean accuracy is at least `target` per cent."""
    # Rounded, so that 98.9, 99.0 and 99.1 % have a mean of 99.0 %.
    enough = [point for point in points if round(float(np.mean(per_cent(point))), 9) >= target]
    return min(enough, key=lambda point: float(np.mean(point["cpu_seconds"])), default=None)


def describe(point: Point) -> str:
    """Name a point: a budget of ours, or an epoch of a run."""
    epochs = f"{point['epochs']} epoch{'s' if point['epochs'] > 1 else ''}"
    return f"`{point['recipe']}`, {epochs}" if "recipe" in point else epochs


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    ours = {target: reach(result["sides"][OURS], target) for target in TARGETS}
    rows = []
    for name, points in result["sides"].items():
        cells = []
        for target in TARGETS:
            point, best = reach(points, target), max(float(np.mean(per_cent(point))) for point in points)
            if point is None:
                span = "" if name == OURS or len(points) == 1 else f" in {describe(points[-1])}"
                cells.append(f"not reached{span} (best {best:.2f} %)")
                continue
            cell = f"**{mean_sd(point['cpu_seconds'])}** ({describe(point)})"
            if name != OURS and (reference := ours[target]) is not None:
                taking_turns = reference["cpu_seconds"][: len(point["cpu_seconds"])]
                times = np.mean(point["cpu_seconds"]) / np.mean(taking_turns)
                cell += f", {times:.1f} × ours"
            cells.append(cell)
        rows.append(f"| {name} | {' | '.join(cells)} |\n")
    curves = "".join(
        f"| {name} | {describe(point)} | {mean_sd(per_cent(point), 2)} | {mean_sd(point['cpu_seconds'])} |\n"
        for name, points in result["sides"].items()
        for point in points
    )
    settings = "".join(f"- {name}: {text}.\n" for name, (_, text) in OTHERS.items() if name in result["sides"])
    missing = "" if KERAS in result["sides"] else "Keras was left out: it is not installed here. "
    return (
        "# CPU seconds to an accuracy\n\n"
        f"MNIST, {result['images']:,} training images, n = {result['seeds']} seeds, of ours {result['our_seeds']}, "
        "mean ± sd; made by `python benchmarks/time_to_accuracy.py`. The fewest CPU seconds after which the mean "
        "accuracy over the seeds, on the 10,000 test images, is at least what the column says; for ours all of `fit`, "
        "for the others training alone; how many times ours, of the seeds that took turns. "
        "Accuracies during training are measured on the same test images for all sides; the test images choose "
        f"nothing else. {missing}All that was measured is in the second table.\n\n"
        f"| | {' | '.join(f'{target} %' for target in TARGETS)} |\n|---|{'---|' * len(TARGETS)}\n"
        f"{''.join(rows)}\n"
        f"{settings}\n"
        f"{footer(result['environment'], 'one thread')}\n\n"
        "## Every budget and epoch\n\n"
        "| | after | test accuracy, % | CPU s |\n|---|---|---:|---:|\n"
        f"{curves}"
    )


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points that no cheaper point is as good as, the cheapest first.

    >>> frontier([(9.0, 0.6), (4.0, 1.0), (5.0, 1.2)])
    [(4.0, 1.0), (9.0, 0.6)]
    """
    kept: list[tuple[float, float]] = []
    for seconds, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((seconds, error))
    return kept


def draw(result: dict[str, Any]) -> Figure:
    """Draw the test error against CPU seconds, both on logarithmic axes."""
    from cnnclf.plots._style import INK, SMALL, Series, new_figure, tidy

    figure = new_figure(7.2, 4.4)
    ax = figure.subplots()
    for target in TARGETS:
        ax.axhline(100 - target, color=INK, linewidth=0.7, alpha=0.6)
        ax.annotate(
            f"{target} %",
            (1, 100 - target),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            color=INK,
            fontsize=SMALL,
        )
    for k, (name, points) in enumerate(result["sides"].items()):
        style = Series.of(k)
        where = [(float(np.mean(p["cpu_seconds"])), 100 - float(np.mean(per_cent(p)))) for p in points]
        if name == OURS:
            ax.plot(*zip(*where, strict=True), "o", color=style.colour, markersize=6, markerfacecolor="none", zorder=3)
        line = frontier(where) if name == OURS else where
        ax.plot(
            *zip(*line, strict=True),
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            linewidth=2.4 if name == OURS else 1.2,
            markersize=6.5 if name == OURS else 4,
            label=name,
            zorder=4 if name == OURS else 2,
        )
    ax.set(xscale="log", yscale="log", xlabel="CPU seconds on one thread", ylabel="test error, %")
    ax.xaxis.set_major_formatter("{x:,.4g}")
    errors = (0.2, 0.3, 0.4, 0.6, 1, 2, 3, 5, 10)
    low, high = ax.get_ylim()
    ax.set_yticks([error for error in errors if low <= error <= high])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    tidy(ax)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=2.4)
    return figure


if __name__ == "__main__":
    main()
