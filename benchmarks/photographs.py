"""What each piece of the recipe for photographs brings, and what was left out of it.

It trains on a part of CIFAR-10's training images, for as many epochs as the recipe, and is judged by the last 10,000 of
them; the test images are not looked at. Finished runs are kept in photographs.json, and only missing ones are measured,
so that a stopped benchmark goes on.

    python benchmarks/photographs.py --cifar PATH    # 3 seeds, two hours, one thread; writes photographs.json, .md
    python benchmarks/photographs.py --short
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import results
import torch
from environment import environment
from image_sets import SETS
from recording import HERE, Store, footer, mean_sd, options
from torch import nn

from cnnclf import RECIPES, CNNClassifier, load_digits
from cnnclf.architectures import find_architecture
from cnnclf.architectures._build import build_sequential
from cnnclf.architectures._layers import GELU, GlobalPool, Layer, ReLU, Residual, Stage
from cnnclf.training._net import Net

RECIPE = "photographs"
BASE = RECIPES[RECIPE]
TRAIN, HELD_OUT, SEEDS = 10_000, 10_000, 3
WHOLE = "everything"

Pair = tuple[np.ndarray, np.ndarray]
Shape = tuple[int, int, int]


def changed(change: Callable[[Layer], tuple[Layer, ...]]) -> Callable[[Shape, int], nn.Module]:
    """Make the recipe's architecture with some layers replaced, also within stages and blocks."""

    def walk(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        out: list[Layer] = []
        for layer in layers:
            if isinstance(layer, Stage):
                out.append(Stage(walk(layer.layers), layer.smallest))
            elif isinstance(layer, Residual):
                out += change(Residual(walk(layer.layers)))
            else:
                out += change(layer)
        return tuple(out)

    layers = walk(find_architecture(BASE["architecture"]).layers)
    return lambda shape, n_classes: build_sequential(layers, shape, n_classes)


def identity(shape: Shape, n_classes: int) -> nn.Module:
    """Make the recipe's architecture, whose convolutions begin by handing their first channels on.

    Source: Jordan 2024, “94% on CIFAR-10 in 3.29 seconds on a single GPU”, section 3.3.
    """
    network = find_architecture(BASE["architecture"]).build(shape, n_classes)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight.data[: layer.in_channels])
    return network


def whitened(images: np.ndarray) -> Callable[[Shape, int], nn.Module]:
    """Make the recipe's architecture behind a fixed first convolution of 2×2, whose outputs are uncorrelated.

    Of each of the twelve principal components of the patches there are two signs, divided by the deviation.

    Source: Jordan 2024, section 3.2.
    """
    x = torch.from_numpy(images[:5000]).permute(0, 3, 1, 2).float()
    x = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / x.std(dim=(0, 2, 3), keepdim=True)
    patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (components / (variances + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)

    def build(shape: Shape, n_classes: int) -> nn.Module:
        first = nn.Conv2d(shape[0], 24, 2)
        with torch.no_grad():
            first.weight.copy_(torch.cat([kernels, -kernels]))
        first.weight.requires_grad_(False)
        rest = build_sequential(
            find_architecture(BASE["architecture"]).layers, (24, shape[1] - 1, shape[2] - 1), n_classes
        )
        return nn.Sequential(OrderedDict([("whitening", first), ("gelu0", nn.GELU()), *rest.named_children()]))

    return build


@contextmanager
def mixing(cut: bool) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Give a change that mixes each image with another one, and mix the losses of their labels in the same way.

    Sources: Zhang et al. 2018, “mixup: Beyond empirical risk minimization”, with α = 0.2; Yun et al. 2019, “CutMix”,
    with α = 1, in half of the batches.
    """
    last: dict[str, Any] = {}
    loss_of = Net.get_loss

    def mix(x: torch.Tensor) -> torch.Tensor:
        share, other = float(torch.distributions.Beta(*([1.0, 1.0] if cut else [0.2, 0.2])).sample()), x.flip(0)
        if not cut:
            x = share * x + (1 - share) * other
        elif torch.rand(()) < 0.5:
            share = 1.0
        else:
            x, (height, width) = x.clone(), x.shape[2:]
            half = [round(side * (1 - share) ** 0.5 / 2) for side in (height, width)]
            middle = [int(torch.randint(side, ())) for side in (height, width)]
            (top, bottom), (left, right) = (
                (max(0, m - h), min(side, m + h)) for m, h, side in zip(middle, half, (height, width), strict=True)
            )
            x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (height * width)
        last["share"] = share
        return x

    def mixed_loss(net: Net, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Any:
        loss = loss_of(net, y_pred, y_true, X, training)
        if not training:
            return loss
        return last["share"] * loss + (1 - last["share"]) * loss_of(net, y_pred, y_true.flip(0), X, training)

    with patch.object(Net, "get_loss", mixed_loss):
        yield mix


def pieces(images: np.ndarray) -> dict[str, dict[str, Any]]:
    """Give what each row leaves out of the recipe, puts in its place, or adds; a mixing stands for its change."""
    both = BASE["augment"]
    return {
        WHOLE: {},
        "AdamW instead of Muon": {"optimizer": "adamw"},
        "no mirror images": {"augment": [name for name in both if name != "flip"]},
        "no shifts": {"augment": ["flip"]},
        "crops instead of shifts": {"augment": ["flip", "crop"]},
        "and erased rectangles": {"augment": [*both, "erase"]},
        "and changed colours": {"augment": [*both, "colour"]},
        "and mixup": {"augment": [*both, mixing(cut=False)]},
        "and CutMix": {"augment": [*both, mixing(cut=True)]},
        "no label smoothing": {"label_smoothing": 0.0},
        "no weight averaging": {"weight_averaging": False},
        "the default weight decay": {"weight_decay": 0.01},
        "the default batch size": {"batch_size": "auto"},
        "ReLU instead of GELU": {
            "architecture": changed(lambda layer: (ReLU(),) if isinstance(layer, GELU) else (layer,))
        },
        "the largest number of a map instead of its mean": {
            "architecture": changed(lambda layer: (GlobalPool(),) if isinstance(layer, GlobalPool) else (layer,))
        },
        "one convolution instead of each residual block": {
            "architecture": changed(lambda layer: layer.layers[:3] if isinstance(layer, Residual) else (layer,))
        },
        "and a whitening first convolution": {"architecture": whitened(images)},
        "and identity initialisation": {"architecture": identity},
        "the architecture `general`": {"architecture": "general"},
    }


def carry_out(change: dict[str, Any], data: tuple[Pair, Pair], seed: int, **more: Any) -> dict[str, Any]:
    """Train with one change, and judge with the held-out images."""
    (X, y), (X_held, y_held) = data
    with ExitStack() as stack:
        parameters = BASE | change | more
        augment = parameters["augment"]
        parameters["augment"] = [step if isinstance(step, str) else stack.enter_context(step) for step in augment]
        clf = CNNClassifier(**parameters, device="cpu", random_state=seed)
        start = time.process_time()
        clf.fit(X, y)
        seconds = time.process_time() - start
        return {"accuracy": clf.score(X_held, y_held), "cpu_seconds": seconds}


def main() -> None:
    """Measure what is missing, print and write."""
    parser = options(__doc__)
    parser.add_argument("--cifar", type=Path, help="the folder of CIFAR-10's images as JPEG")
    parser.add_argument("--only", nargs="+", help="some of the rows")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"{SEEDS} by default")
    parser.add_argument("--fresh", action="store_true", help="forget the finished runs")
    args = parser.parse_args()
    if args.short:
        X, y = load_digits()
        X = np.repeat(X[..., np.newaxis], 3, axis=3)
        data, more, seeds, path = ((X[:200], y[:200]), (X[200:300], y[200:300])), {"max_epochs": 1}, 1, None
    elif args.cifar is None:
        parser.error("Expected --cifar PATH; got none. Give the folder of CIFAR-10's images as JPEG.")
    else:
        (X, y), _ = SETS["cifar"].load(args.cifar)
        data, more, seeds = ((X[:TRAIN], y[:TRAIN]), (X[-HELD_OUT:], y[-HELD_OUT:])), {}, args.seeds
        path = HERE / "photographs.json"
    store = Store(path, environment(), ("name", "seed"), fresh=args.fresh)
    store.refuse_another(environment())
    for seed in range(seeds):
        for name, change in pieces(data[0][0]).items():
            which = {"name": name, "seed": seed, "recipe": BASE}
            if (args.only is None or name in args.only) and not store.find(**which):
                store.add([which | carry_out(change, data, seed, **more)])
                print(f"{name:48} seed {seed}: {store.find(**which)['accuracy']:.2%}", flush=True)
    print(table := render(store.result))
    if path is not None:
        path.with_suffix(".md").write_text(table, encoding="utf-8")
        results.main()


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in result["runs"]:
        rows.setdefault(run["name"], []).append(run)
    reference = {run["seed"]: 100 * run["accuracy"] for run in rows.get(WHOLE, [])}
    lines = []
    for name, runs in rows.items():
        values = np.array([100 * run["accuracy"] for run in runs])
        change = values - [reference.get(run["seed"], np.nan) for run in runs]
        compared = name != WHOLE and np.isfinite(change).all()
        difference = f"{'+' if change.mean() >= 0 else ''}{mean_sd(change, 2)}" if compared else ""
        seconds = mean_sd([run["cpu_seconds"] for run in runs], 0)
        lines.append(f"| {name} | {len(runs)} | {mean_sd(values, 2)} | {difference} | {seconds} |\n")
    return (
        "# The pieces of the recipe for photographs\n\n"
        f'CIFAR-10 as JPEG, `RECIPES["{RECIPE}"]` trained on {TRAIN:,} of the training images; accuracy in per cent '
        f"on {HELD_OUT:,} others of them. Mean ± sd over n seeds; the difference is to the same seed with everything. "
        "Made by `python benchmarks/photographs.py`.\n\n"
        "| | n | validation accuracy | difference | CPU s |\n|---|---:|---:|---:|---:|\n"
        f"{''.join(lines)}\n{footer(result['environment'], 'one thread')}\n"
    )


if __name__ == "__main__":
    main()
