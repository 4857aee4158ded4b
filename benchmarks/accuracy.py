"""The accuracy of every recipe on MNIST's test images, and what each piece of one brings on validation images.

The ladder trains on all 60,000 training images and evaluates the last epoch, once per seed, on the 10,000 test images,
which choose nothing. The ablation holds the last 10,000 training images out and never sees a test image. Finished runs
are kept in a work folder by parameters, machine and versions, so that a stopped benchmark goes on, and several
processes can share the seeds; delete the folder when the training code has changed.

    python benchmarks/accuracy.py               # the ladder, ten CPU hours or so, one thread; then --render
    python benchmarks/accuracy.py --ablation    # five seeds of each piece, 50 CPU minutes or so
    python benchmarks/accuracy.py --only handwriting_accurate --seeds 0,1,2
    python benchmarks/accuracy.py --render      # writes accuracy.json, .md and .png from what is there
    python benchmarks/accuracy.py --short
"""

import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from matplotlib.figure import Figure
from recording import HERE, footer, mean_sd, options, write
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from cnnclf import RECIPES, CNNClassifier, TestTimeAugmentation, load_mnist
from cnnclf.architectures._table import find_architecture
from cnnclf.plots._style import INK, SMALL, Series, new_figure, one_row_each, tidy

# Seeds of each recipe, and the accuracy in per cent that it is made for.
LADDER = {
    "first_look": (10, 99.0),
    "handwriting": (10, 99.4),
    "handwriting_small": (5, 99.4),
    "handwriting_accurate": (10, 99.77),
}
COMMITTEE, COMMITTEE_AIM = "handwriting_accurate", 99.84

# MNIST's images come writer by writer: the last ones are by hands that the others do not show, as the test images are.
HELD_OUT = 10_000
ABLATION_SEEDS = 5
BASE: dict[str, Any] = {
    "architecture": "compact",
    "max_epochs": 10,
    "optimizer": "adamw",
    "lr": 0.005,
    "augment": ["affine"],
    "label_smoothing": 0.05,
    "weight_averaging": True,
}
WHOLE = "everything"
WITH_VIEWS = "and test-time augmentation"
# One row for each piece: what is left out of the base, or put in its place.
PIECES: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "no augmentation": {"augment": None},
    "shift instead of affine": {"augment": ["shift"]},
    "elastic instead of affine": {"augment": ["elastic"]},
    "erase instead of affine": {"augment": ["erase"]},
    "affine and elastic": {"augment": ["affine", "elastic"]},
    "no label smoothing": {"label_smoothing": 0.0},
    "no weight averaging": {"weight_averaging": False},
    "cosine instead of one cycle": {"lr_schedule": "cosine"},
    "constant instead of one cycle": {"lr_schedule": "constant"},
    "Adam instead of AdamW": {"optimizer": "adam"},
    "SGD instead of AdamW": {"optimizer": "sgd", "lr": 0.05},
    "float32 instead of bfloat16": {"precision": "float32"},
}


@dataclass(frozen=True)
class Run:
    """One fit: its parameters and seed, and how many training images, the last ones, are held out.

    None means that the test images are used.
    """

    parameters: dict[str, Any]
    seed: int
    held_out: int

    def place(self, work: Path) -> Path:
        """Name where it is kept, by all that decides it: the layers, which parameters only name; machine, versions."""
        layers = repr(find_architecture(self.parameters["architecture"]))
        judged_on = self.held_out and f"last {self.held_out}"
        text = json.dumps([self.parameters, layers, judged_on, environment()], sort_keys=True)
        return work / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{self.seed}.json"


def ladder(recipe: str) -> list[Run]:
    """List the runs of a recipe."""
    return [Run(RECIPES[recipe], seed, 0) for seed in range(LADDER[recipe][0])]


def ablation(piece: str) -> list[Run]:
    """List the runs of a piece."""
    return [Run(BASE | PIECES[piece], seed, HELD_OUT) for seed in range(ABLATION_SEEDS)]


def judging_data(held_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give images and labels to learn from, and images and labels to evaluate on."""
    X, y = load_mnist("train")
    if not held_out:
        return X, y, *load_mnist("test")
    X, X_held, y, y_held = train_test_split(X, y, test_size=held_out, shuffle=False)
    return X, y, X_held, y_held


def carry_out(run: Run, work: Path) -> dict[str, Any]:
    """Train and evaluate, unless that was done before; keep the probabilities beside the record."""
    path = run.place(work)
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    X, y, X_judge, y_judge = judging_data(run.held_out)
    clf = CNNClassifier(**run.parameters, random_state=run.seed)
    start = time.process_time()
    clf.fit(X, y)
    seconds = time.process_time() - start
    probabilities = clf.predict_proba(X_judge)
    five_views = TestTimeAugmentation(FrozenEstimator(clf)).fit(X[:10], y[:10]).predict_proba(X_judge)
    record = {
        "parameters": run.parameters,
        "seed": run.seed,
        "held_out": run.held_out,
        "n_parameters": clf.n_parameters_,
        "cpu_seconds": seconds,
        "accuracy": share_correct(probabilities, y_judge),
        "five_views": share_correct(five_views, y_judge),
    }
    work.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz"), probabilities=probabilities, five_views=five_views)
    # Last and whole or not at all: where the record is, the run is finished.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
    unfinished.replace(path)
    return record


def share_correct(probabilities: np.ndarray, y: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == y).mean())


def finished(runs: list[Run], work: Path) -> list[Run]:
    """Keep the runs whose records are there."""
    return [run for run in runs if run.place(work).exists()]


def summarise(name: str, runs: list[Run], work: Path) -> dict[str, Any]:
    """Combine the records of several seeds."""
    records = [carry_out(run, work) for run in runs]
    row: dict[str, Any] = {"name": name, "n_parameters": records[0]["n_parameters"]}
    of_seeds = ("seed", "accuracy", "five_views", "cpu_seconds")
    return row | {key: [record[key] for record in records] for key in of_seeds}


def committee(runs: list[Run], work: Path, y: np.ndarray) -> dict[str, Any]:
    """Evaluate the mean of several networks' probabilities, which is what `VotingClassifier(voting="soft")` gives."""
    files = [np.load(run.place(work).with_suffix(".npz")) for run in runs]
    shares = {
        key: share_correct(np.mean([file[name] for file in files], axis=0), y)
        for key, name in (("accuracy", "probabilities"), ("five_views", "five_views"))
    }
    return {"members": len(runs)} | shares


def collect(work: Path) -> dict[str, Any]:
    """Combine what is there."""
    rows, committees = [], []
    for recipe in LADDER:
        if runs := finished(ladder(recipe), work):
            rows.append(summarise(recipe, runs, work))
        if len(runs) > 1:
            committees.append({"name": recipe} | committee(runs, work, load_mnist("test")[1]))
    pieces = [summarise(piece, runs, work) for piece in PIECES if (runs := finished(ablation(piece), work))]
    parts = {"ladder": rows, "committees": committees, "ablation": pieces}
    return parts | {"environment": environment()}


def main() -> None:
    """Run what is asked for and missing; print, and write, what there is."""
    parser = options(__doc__)
    parser.add_argument("--ablation", action="store_true", help="run the ablation instead of the ladder")
    parser.add_argument("--only", help="one recipe of the ladder, or one piece of the ablation")
    parser.add_argument("--seeds", help="such as 0,1,2; all by default")
    parser.add_argument("--work", type=Path, default=HERE / ".accuracy", help="where finished runs are kept")
    parser.add_argument("--render", action="store_true", help="run nothing; write the files from what is there")
    args = parser.parse_args()
    names = list(PIECES if args.ablation else LADDER)
    if args.only is not None and args.only not in names:
        parser.error(f"--only must be one of {', '.join(names)}; got {args.only!r}.")

    if args.short:
        with tempfile.TemporaryDirectory() as folder:
            carry_out(ladder("first_look")[0], Path(folder))
            print(render(collect(Path(folder))))
        return
    if not args.render:
        seeds = None if args.seeds is None else {int(seed) for seed in args.seeds.split(",")}
        for name in names if args.only is None else [args.only]:
            for run in ablation(name) if args.ablation else ladder(name):
                if seeds is None or run.seed in seeds:
                    record = carry_out(run, args.work)
                    accuracies = f"{record['accuracy']:.2%}, five views {record['five_views']:.2%}"
                    print(f"{name:36} seed {run.seed}: {accuracies}, {record['cpu_seconds']:.0f} CPU s", flush=True)
        return
    result = collect(args.work)
    if not result["ladder"]:
        raise SystemExit(f"There is no finished run in {args.work}. Run this script without --render first.")
    print(table := render(result))
    write("accuracy", result, table, draw(result))


def per_cent(row: dict[str, Any], key: str) -> np.ndarray:
    """Give the accuracies of a row in per cent."""
    return 100 * np.array(row[key])


def first_five(row: dict[str, Any]) -> dict[str, Any]:
    """Give a row of the first five seeds alone."""
    few = {key: row[key][:5] for key in ("accuracy", "five_views", "cpu_seconds")}
    return row | few | {"name": f"{row['name']}, first five seeds"}


def ladder_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """List the rows of the ladder, the one that a committee is made of by its first five seeds, too."""
    rows = []
    for row in result["ladder"]:
        if row["name"] == COMMITTEE and len(row["accuracy"]) > 5:
            rows.append(first_five(row))
        rows.append(row)
    return rows


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = []
    for row in ladder_rows(result):
        accuracies, views = per_cent(row, "accuracy"), per_cent(row, "five_views")
        rows.append(
            f"| {row['name']} | {len(accuracies)} | **{mean_sd(accuracies, 2)}** | {accuracies.min():.2f} "
            f"| {accuracies.max():.2f} | {mean_sd(views, 2)} | {row['n_parameters']:,} "
            f"| {mean_sd(row['cpu_seconds'])} |\n"
        )
    rows += [
        f"| {group['name']}, committee of the {group['members']} | 1 | **{100 * group['accuracy']:.2f}** | | "
        f"| {100 * group['five_views']:.2f} | | |\n"
        for group in result["committees"]
    ]
    text = (
        "# Accuracy\n\n"
        "MNIST, test accuracy in per cent at the last epoch of training on all 60,000 training images; the test images "
        "are used once per seed and choose nothing. Mean ± sd over n seeds; made by `python benchmarks/accuracy.py`. "
        "With test-time augmentation, probabilities are the mean over the image and its shifts by a pixel. A committee "
        'is the mean of its members\' probabilities, as `VotingClassifier(voting="soft")` takes it.\n\n'
        "| recipe | n | accuracy | worst | best | with test-time augmentation | parameters | CPU seconds a run |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
    )
    if result["ablation"]:
        text += render_ablation(result["ablation"])
    return f"{text}{footer(result['environment'], 'one thread')}\n"


def differences(pieces: list[dict[str, Any]]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """List name, accuracies and, seed by seed, their differences to the base, in per cent, for each piece."""
    base = next((piece for piece in pieces if piece["name"] == WHOLE), None)
    if base is None:
        return []
    reference = dict(zip(base["seed"], per_cent(base, "accuracy"), strict=True))
    listed = [(piece["name"], piece["seed"], per_cent(piece, "accuracy")) for piece in pieces]
    listed.append((WITH_VIEWS, base["seed"], per_cent(base, "five_views")))
    return [
        (name, values, np.array([value - reference[seed] for seed, value in zip(seeds, values, strict=True)]))
        for name, seeds, values in listed
        if set(seeds) <= set(reference)
    ]


def signed(change: np.ndarray) -> str:
    """Write a mean with its sign.

    >>> signed(np.array([0.1, 0.3])), signed(np.array([-0.25]))
    ('+0.20 ± 0.14', '-0.25')
    """
    return f"{'+' if change.mean() >= 0 else ''}{mean_sd(change, 2)}"


def render_ablation(pieces: list[dict[str, Any]]) -> str:
    """Write the ablation as Markdown."""
    seconds = {piece["name"]: mean_sd(piece["cpu_seconds"], 0) for piece in pieces}
    rows = "".join(
        f"| {name} | {len(values)} | {mean_sd(values, 2)} "
        f"| {'' if name == WHOLE else signed(change)} "
        f"| {seconds.get(name, seconds[WHOLE])} |\n"
        for name, values, change in differences(pieces)
    )
    return (
        "## What each piece brings\n\n"
        f"`compact`, {BASE['max_epochs']} epochs on 50,000 of the training images with random affine changes, label "
        f"smoothing and weight averaging; accuracy in per cent on the other {HELD_OUT:,}. The difference is to the "
        "same seed with everything. The images come writer by writer, and the last are held out: those are by hands "
        "that training has not seen, as the test images are.\n\n"
        "| | n | validation accuracy | difference | CPU s |\n|---|---:|---:|---:|---:|\n"
        f"{rows}\n"
    )


def draw(result: dict[str, Any]) -> Figure:
    """Draw every seed of the ladder, and beside it what the pieces bring."""
    rows, pieces = ladder_rows(result), differences(result["ablation"])[1:]
    names = [row["name"] for row in rows] + [f"{g['name']}, committee of {g['members']}" for g in result["committees"]]
    height = 1.1 + 0.3 * max(len(names), len(pieces))
    figure = new_figure(10.4 if pieces else 7.2, height)
    axes = figure.subplots(1, 2 if pieces else 1, squeeze=False)[0]
    ax, (plain, views) = axes[0], (Series.of(0), Series.of(1))
    for i, row in enumerate(rows):
        for key, style, lift in (("accuracy", plain, -0.14), ("five_views", views, 0.14)):
            values = per_cent(row, key)
            label = {"accuracy": "one pass", "five_views": "test-time augmentation"}[key] if i == 0 else None
            ax.plot(values, [i + lift] * len(values), style.marker, color=style.colour, alpha=0.45, markersize=3.5)
            ax.plot(values.mean(), i + lift, style.marker, color=style.colour, markersize=7, label=label)
        aim = LADDER[row["name"].split(",")[0]][1]
        ax.plot([aim, aim], [i - 0.38, i + 0.38], color=INK, linewidth=1.2, label=None if i else "aim")
    for i, group in enumerate(result["committees"], start=len(rows)):
        ax.plot(100 * group["accuracy"], i - 0.14, plain.marker, color=plain.colour, markersize=7)
        ax.plot(100 * group["five_views"], i + 0.14, views.marker, color=views.colour, markersize=7)
        if group["name"] == COMMITTEE:
            ax.plot([COMMITTEE_AIM] * 2, [i - 0.38, i + 0.38], color=INK, linewidth=1.2)
    ax.set(xlabel="test accuracy, %")
    tidy(ax, "x")
    one_row_each(ax, names)
    ax.set_yticklabels(names)  # in full
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
    if pieces:
        right = axes[1]
        for i, (_, _, change) in enumerate(pieces):
            right.plot(change, [i] * len(change), plain.marker, color=plain.colour, alpha=0.45, markersize=3.5)
            right.plot(change.mean(), i, plain.marker, color=plain.colour, markersize=7)
        right.axvline(0, color=INK, linewidth=0.8)
        right.set(xlabel="validation accuracy, points more or less")
        right.locator_params(axis="x", nbins=5)
        tidy(right, "x")
        one_row_each(right, [name for name, _, _ in pieces])
    return figure


if __name__ == "__main__":
    main()
