"""What `CNNClassifier` costs beyond the arithmetic: fit and predict against the same network in a bare torch loop.

The bare loop does the arithmetic of training and no more, to the bit, which a test holds: the same layers,
channels-last, in bfloat16 where training takes it, the same optimiser and learning rates, the images in memory as
uint8. Pairs take turns in who is first, one thread, one process; `fit` counts whole, the checks of the data included,
which the bare loop does not make.

    python benchmarks/overhead.py    # n = 5 pairs, about seven minutes; writes overhead.json, .md and .png
    python benchmarks/overhead.py --short
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from environment import environment
from matplotlib.figure import Figure
from recording import footer, mean_sd, options, write
from torch import nn
from torch.nn.functional import cross_entropy

from cnnclf import CNNClassifier, load_mnist
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._table import find_architecture
from cnnclf.images._arrays import check_images
from cnnclf.plots._style import INK, SMALL, Series, new_figure, tidy
from cnnclf.training._data import Labelled, arrange, fingerprint
from cnnclf.training._net import OPTIMIZERS, one_cycle
from cnnclf.training._runtime import choose_precision

OPTIMIZER = "adamw"  # one of torch, so that the bare loop has it, too
BATCHES = (16, 32, 64, 128, 256, 512, 1024)
CALLS = (1, 16, 64, 256, 1024, 10_000)  # images of one call of predict_proba
CHUNK = 256  # images of one pass of the bare prediction
AT_LEAST = 2048  # images that a measurement of prediction predicts
Pairs = list[tuple[float, float]]  # CPU seconds of ours and of the bare side


def bare_network(X: np.ndarray) -> nn.Sequential:
    """Build `compact` behind the standardising layer, whose numbers the bare side knows beforehand."""
    standardise = Standardise.learn(torch.from_numpy(X)[:, None], torch.arange(len(X)))
    body = find_architecture("compact").build((1, 28, 28), 10)
    return nn.Sequential(standardise, *body).to(memory_format=torch.channels_last)


def bare_fit(network: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, batch_size: int, epochs: int = 1) -> None:
    """Train with the arithmetic of `CNNClassifier("compact")`, on the device where everything lies.

    `pixels` (n, 1, height, width), uint8, and `labels` (n,), int64, stay there as they are.
    """
    settings = CNNClassifier(optimizer=OPTIMIZER).get_params()
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[settings["optimizer"]](groups, lr=settings["lr"])
    device = pixels.device.type
    low = choose_precision("auto", device) == "bfloat16"
    n_steps, step = epochs * math.ceil(len(labels) / batch_size), 0
    network.train()
    for _ in range(epochs):
        for part in torch.randperm(len(labels)).to(device).tensor_split(n_steps // epochs):
            for group in optimizer.param_groups:
                group["lr"] = settings["lr"] * one_cycle(step / n_steps)
            x = pixels.index_select(0, part).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            # As in training: within another autocast torch would keep the converted weights of the first step.
            with torch.autocast(device, torch.bfloat16, enabled=low, cache_enabled=False):
                logits = network(x)
            cross_entropy(logits.float(), labels.index_select(0, part)).backward()
            optimizer.step()
            step += 1


@torch.inference_mode()
def bare_predict(network: nn.Module, X: np.ndarray) -> np.ndarray:
    """Predict probabilities in chunks."""
    parts = torch.from_numpy(X)[:, None].split(CHUNK)
    logits = [network(part.contiguous(memory_format=torch.channels_last)) for part in parts]
    return torch.cat(logits).softmax(dim=1).numpy()


def check_data(X: np.ndarray, y: np.ndarray) -> None:
    """Do what `fit` does once with its data before it trains: check, order, name and measure it."""
    pixels, _ = check_images(X)
    order, _ = arrange(pixels, y, None)
    fingerprint(Labelled(pixels, y, None, order))
    Standardise.learn(torch.from_numpy(pixels), torch.from_numpy(order))


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def repeat(times: int, work: Callable[..., object], *given: object) -> None:
    for _ in range(times):
        work(*given)


def measure_pairs(n: int, ours: Callable[[int], Callable], bare: Callable[[int], Callable]) -> Pairs:
    """Time both sides n times, the first of a pair in turn; what makes the work of a repetition is not timed."""
    pairs = []
    for repetition in range(n):
        sides = [("ours", ours(repetition)), ("bare", bare(repetition))]
        if repetition % 2:
            sides.reverse()
        seconds = {name: cpu_seconds(work) for name, work in sides}
        pairs.append((seconds["ours"], seconds["bare"]))
    return pairs


def main() -> None:
    """Run, print and write the comparison."""
    short = options(__doc__).parse_args().short
    n, n_images = (3, 2560) if short else (5, 60_000)
    torch.set_num_threads(1)
    X, y = (array[:n_images] for array in load_mnist("train"))
    X_test, _ = load_mnist("test")

    def our_fit(batch_size: int, seed: int) -> Callable[[], object]:
        clf = CNNClassifier("compact", max_epochs=1, optimizer=OPTIMIZER, batch_size=batch_size, device="cpu")
        clf.set_params(random_state=seed)
        return lambda: clf.fit(X, y)

    def bare_side(batch_size: int, seed: int) -> Callable[[], None]:
        torch.manual_seed(seed)
        network = bare_network(X)
        pixels, labels = torch.from_numpy(X)[:, None], torch.from_numpy(y)
        return lambda: bare_fit(network, pixels, labels, batch_size)

    result: dict[str, Any] = {"n": n, "images": n_images, "fit": [], "predict": []}
    for batch in BATCHES[::3] if short else BATCHES:
        our_fit(batch, 0)()
        bare_side(batch, 0)()
        pairs = measure_pairs(n, partial(our_fit, batch), partial(bare_side, batch))
        result["fit"].append({"batch": batch, "steps": math.ceil(n_images / batch), "pairs": pairs})
        print(f"fit, batch {batch:5}: {ratio(pairs)} × the bare loop", flush=True)

    clf = CNNClassifier("compact", max_epochs=1, optimizer=OPTIMIZER, device="cpu", random_state=0).fit(X, y)
    network = clf.module_.eval()
    for size in CALLS[::2] if short else CALLS:
        images, repeats = X_test[:size], math.ceil(AT_LEAST / size)
        assert np.allclose(clf.predict_proba(images), bare_predict(network, images), atol=1e-5)
        ours = partial(repeat, repeats, clf.predict_proba, images)
        bare = partial(repeat, repeats, bare_predict, network, images)
        pairs = measure_pairs(n, lambda _, ours=ours: ours, lambda _, bare=bare: bare)
        result["predict"].append({"images": size, "repeats": repeats, "pairs": pairs})
        print(f"predict, {size:6} images: {ratio(pairs)} × the bare pass", flush=True)
    result["check_seconds"] = [cpu_seconds(lambda: check_data(X, y)) for _ in range(n)]
    result["environment"] = environment()

    print(table := render(result))
    if not short:
        write("overhead", result, table, draw(result))


def ratios(pairs: Pairs) -> np.ndarray:
    """Give the ratio of ours to the bare side, pair by pair."""
    ours, bare = np.array(pairs).T
    return ours / bare


def ratio(pairs: Pairs) -> str:
    """Write the median of the ratios with their quartiles.

    >>> ratio([(1.0, 1.0), (1.1, 1.0), (1.2, 1.0)])
    '1.100 (1.050–1.150)'
    """
    low, middle, high = np.quantile(ratios(pairs), (0.25, 0.5, 0.75))
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    n, n_images = result["n"], result["images"]
    fits, calls = [], []
    for row in result["fit"]:
        ours, bare = np.array(row["pairs"]).T
        each = 1000 / row["steps"]
        fits.append(
            f"| {row['batch']:,} | {mean_sd(ours * each, 2)} | {mean_sd(bare * each, 2)} "
            f"| {n_images / ours.mean():,.0f} | {n_images / bare.mean():,.0f} | **{ratio(row['pairs'])}** |\n"
        )
    for row in result["predict"]:
        ours, bare = np.array(row["pairs"]).T
        each, n_predicted = 1000 / row["repeats"], row["images"] * row["repeats"]
        calls.append(
            f"| {row['images']:,} | {mean_sd(ours * each, 2)} | {mean_sd(bare * each, 2)} "
            f"| {n_predicted / ours.mean():,.0f} | {n_predicted / bare.mean():,.0f} | **{ratio(row['pairs'])}** |\n"
        )
    checks = mean_sd(np.array(result["check_seconds"]) / n_images * 1e6, 2)
    return (
        "# What fit and predict cost beyond the arithmetic\n\n"
        f'`CNNClassifier("compact")` against the same network in a bare torch loop on MNIST, CPU time, n = {n} pairs '
        "in turn; mean ± sd, of the ratio of a pair the median with the quartiles; made by `python "
        "benchmarks/overhead.py`.\n\n"
        f"## fit, one epoch of {n_images:,} images\n\n"
        f"Ours is all of `fit`. Its checks of the data take {checks} ms per fit for 1,000 images; the bare "
        "loop makes none.\n\n"
        "| batch | ours, ms a batch | bare, ms a batch | ours, images/s | bare, images/s | ours ÷ bare |\n"
        "|---:|---:|---:|---:|---:|---:|\n"
        f"{''.join(fits)}\n"
        "## predict_proba\n\n"
        f"The bare side makes passes of {CHUNK} images under `inference_mode`.\n\n"
        "| images a call | ours, ms | bare, ms | ours, images/s | bare, images/s | ours ÷ bare |\n"
        "|---:|---:|---:|---:|---:|---:|\n"
        f"{''.join(calls)}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


def draw(result: dict[str, Any]) -> Figure:
    """Draw the ratios against the batch size: every pair, the median and a line at 1.05."""
    figure = new_figure(7.2, 3.0)
    panels = zip(figure.subplots(1, 2), (("fit", "batch"), ("predict", "images")), strict=True)
    for k, (ax, (side, size)) in enumerate(panels):
        style, rows = Series.of(k), result[side]
        for i, row in enumerate(rows):
            ax.plot([i] * len(row["pairs"]), ratios(row["pairs"]), "o", color=style.colour, alpha=0.35, markersize=3)
        medians = [np.median(ratios(row["pairs"])) for row in rows]
        ax.plot(
            range(len(rows)), medians, style.marker, linestyle="-", color=style.colour, linewidth=1.8, label="median"
        )
        ax.axhline(1, color=INK, linewidth=0.8)
        if side == "fit":
            ax.axhline(1.05, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_xticks(range(len(rows)), [f"{row[size]:,}" for row in rows])
        ax.set(xlabel="batch size" if side == "fit" else "images a call")
        title = "fit; the dashes are 5 % more" if side == "fit" else "predict_proba"
        ax.set_title(title, loc="left", color=INK, fontsize=SMALL + 1)
        tidy(ax, "y")
    figure.axes[0].set_ylabel("CPU time, ours ÷ bare loop")
    return figure


if __name__ == "__main__":
    main()
