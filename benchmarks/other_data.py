"""The same defaults on other images: few and many, grey and colour, square and not, ten classes and a hundred.

Nothing is tuned. A fifth of each set, stratified, is held out and evaluated after the last epoch, once per seed. The
reference is scikit-learn's support vector classifier. The images are made from MNIST's training images and from the
data that comes with scikit-learn, so that nothing has to be downloaded.

    python benchmarks/other_data.py    # n = 3 seeds, about ten minutes, one thread; writes other_data.json and .md
    python benchmarks/other_data.py --short
"""

import time
from typing import Any

import numpy as np
import torch
from environment import environment
from recording import footer, mean_sd, options, write
from sklearn.datasets import load_sample_images
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from cnnclf import RECIPES, CNNClassifier, load_digits, load_mnist

Data = tuple[np.ndarray, np.ndarray]


def on_photographs(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Data:
    """Blend digits into patches of two photographs, 32×32 RGB: the difference of digit and patch.

    Source: Ganin et al. 2016, “Domain-adversarial training of neural networks”, section 5.2.4, MNIST-M.
    """
    photographs = load_sample_images().images
    padded = np.pad(X, ((0, 0), (2, 2), (2, 2)))[..., None].astype(np.int16)
    patches = np.empty((len(X), 32, 32, 3), np.int16)
    for patch, which in zip(patches, rng.integers(0, len(photographs), len(X)), strict=True):
        photograph = photographs[which]
        row, column = (rng.integers(0, size - 32) for size in photograph.shape[:2])
        patch[:] = photograph[row : row + 32, column : column + 32]
    return np.abs(patches - padded).astype(np.uint8), y


def side_by_side(X: np.ndarray, y: np.ndarray, n: int) -> Data:
    """Make two-digit numbers, 28×56, a hundred classes."""
    return np.concatenate([X[:n], X[n : 2 * n]], axis=2), 10 * y[:n] + y[n : 2 * n]


def data_sets(n: int) -> dict[str, Data]:
    """Make all sets; n is the size of the larger ones."""
    rng = np.random.default_rng(0)
    X, y = load_mnist()
    order = rng.permutation(len(X))
    X, y = X[order], y[order]
    return {
        "scikit-learn's digits": load_digits(),
        "MNIST, a few": (X[: n // 10], y[: n // 10]),
        "MNIST, some": (X[:n], y[:n]),
        "digits on photographs": on_photographs(X[:n], y[:n], rng),
        "two-digit numbers": side_by_side(X, y, n),
    }


def classifiers(seed: int) -> dict[str, Any]:
    """Make what is compared."""
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1) / 255)
    return {
        "defaults": CNNClassifier(random_state=seed),
        "`compact` recipe": CNNClassifier(**RECIPES["compact"], random_state=seed),
        "SVC, RBF": make_pipeline(flat, SVC(C=10)),
    }


def main() -> None:
    """Run, print and write the table."""
    short = options(__doc__).parse_args().short
    torch.set_num_threads(1)
    seeds, n = (1, 2000) if short else (3, 10_000)
    rows = []
    for name, (X, y) in data_sets(n).items():
        measured: dict[str, dict[str, list[float]]] = {}
        for seed in range(seeds):
            X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
            for side, clf in classifiers(seed).items():
                start = time.process_time()
                clf.fit(X_train, y_train)
                spent = time.process_time() - start
                of_side = measured.setdefault(side, {"accuracy": [], "cpu_seconds": []})
                of_side["accuracy"].append(100 * float(clf.score(X_test, y_test)))
                of_side["cpu_seconds"].append(spent)
        print(name, {side: mean_sd(of_side["accuracy"], 2) for side, of_side in measured.items()}, flush=True)
        classes = len(np.unique(y))
        rows.append({"data": name, "n": len(X), "shape": X.shape[1:], "classes": classes, "sides": measured})
    result = {"seeds": seeds, "rows": rows, "environment": environment()}
    print(table := render(result))
    if not short:
        write("other_data", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    sides = list(result["rows"][0]["sides"])
    rows = "".join(
        f"| {row['data']} | {row['n']:,} | {' × '.join(map(str, row['shape']))} | {row['classes']} | "
        + " | ".join(
            f"{mean_sd(row['sides'][side]['accuracy'], 2)} | {np.mean(row['sides'][side]['cpu_seconds']):.1f}"
            for side in sides
        )
        + " |\n"
        for row in result["rows"]
    )
    head = " | ".join(f"{side}, % | CPU s" for side in sides)
    return (
        "# Other data, same defaults\n\n"
        f"Accuracy on the held-out fifth, CPU seconds of the fit on the rest, n = {result['seeds']} seeds, mean ± sd "
        "at the last epoch; made by `python benchmarks/other_data.py`. Nothing was tuned for any of them.\n\n"
        f"| data | images | shape | classes | {head} |\n|---|---:|---|---:|{'---:|' * 2 * len(sides)}\n"
        f"{rows}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


if __name__ == "__main__":
    main()
