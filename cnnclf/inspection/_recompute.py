"""Each layer once more, in NumPy's float64 from its recorded input, with a bound of what rounding can explain.

The bounds are rigorous, in Higham's calculus: n roundings to float32 in a row are a factor 1 + θ, |θ| ≤ γₙ, also for
quotients and roots. What float64 itself rounds is smaller than the slack of γₙ over n·u, some n²·u².
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf.inspection._geometry import Doubles, Window
from cnnclf.inspection._records import StepRecord, residual_summands

UNIT_ROUNDOFF = 2.0**-24  # of float32
TINY = 2.0**-126  # smallest normal float32: what a product that underflows can lose


@dataclass(frozen=True, eq=False, repr=False)
class Recomputed:
    """A layer's output by NumPy in float64, and how far float32 may be from it."""

    value: Doubles
    bound: Doubles

    def __repr__(self) -> str:
        return f"Recomputed of shape {self.value.shape}, within {self.bound.max(initial=0):.2g} of float32"


def recompute(step: StepRecord) -> Recomputed | None:
    """Compute a step's output from its input; None for an unknown layer."""
    return Recomputed(*RECOMPUTE[step.kind](step)) if step.kind in RECOMPUTE else None


def gamma(n: Any) -> Any:
    """Bound the relative error of n roundings to float32: γₙ = n·u / (1 − n·u)."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)


def exactly(value: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Allow no error at all, where a layer only picks numbers."""
    return value.astype(np.float64), np.zeros(value.shape)


def recompute_standardise(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute (x − mean) / std, one subtraction and one division: two roundings; 0 of a channel that never varied."""
    mean, std = (step.weights[name].astype(np.float64) for name in ("mean", "std"))
    value = (step.input - mean) / np.where(std > 0, std, np.inf)
    return value, gamma(2) * np.abs(value) + TINY


def recompute_conv(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Correlate every patch with every kernel: sums of n products, in any order, are within γₙ·Σ|w·x|."""
    weight, n_groups = step.weights["weight"].astype(np.float64), step.settings["groups"]
    patches = Window.of(step.settings).view(step.input.astype(np.float64))
    groups = list(
        zip(np.split(patches, n_groups), np.split(weight, n_groups), strict=True)
    )  # (channels, height, width, *kernel) and (channels out, channels, *kernel)
    value, size = (
        np.concatenate([np.moveaxis(np.tensordot(f(x), f(w), ((0, 3, 4), (1, 2, 3))), -1, 0) for x, w in groups])
        for f in (np.positive, np.abs)
    )
    return add_bias(step, value, size, math.prod(weight.shape[1:]))


def recompute_dense(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Multiply by the weight matrix: sums of n products, in any order, are within γₙ·Σ|w·x|."""
    weight, x = step.weights["weight"].astype(np.float64), step.input.astype(np.float64)
    return add_bias(step, weight @ x, np.abs(weight) @ np.abs(x), len(x))


def add_bias(step: StepRecord, value: Doubles, size: Doubles, n: int) -> tuple[Doubles, Doubles]:
    """Add the bias, if there is one, as one more term to sums of n products of the size Σ|w·x|."""
    if "bias" in step.weights:
        bias = step.weights["bias"].astype(np.float64).reshape(-1, *(1,) * (value.ndim - 1))
        value, size, n = value + bias, size + np.abs(bias), n + 1
    return value, gamma(n) * size + n * TINY


def recompute_norm(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute x·a + (β − μ·a) with a = γ / √(σ² + ε), in whatever order.

    No term goes through more than eight roundings: ε, its sum with σ², the root, its reciprocal, the products with γ
    and with x or μ, and two sums.
    """
    parts, shape = norm_parts(step), (-1, *(1,) * (step.input.ndim - 1))
    a, mean, beta = (parts[name].reshape(shape) for name in ("scale", "mean", "beta"))
    x = step.input.astype(np.float64)
    size = np.abs(x * a) + np.abs(mean * a) + np.abs(beta)
    return (x - mean) * a + beta, gamma(8) * size + TINY * (1 + np.abs(x) + np.abs(mean))


def norm_parts(step: StepRecord) -> dict[str, Doubles]:
    """Give what a batch norm does to each channel, in float64: as learnt, and as one scale and one shift."""
    w = {name: array.astype(np.float64) for name, array in step.weights.items()}
    mean, variance = w["running_mean"], w["running_var"]
    gamma, beta = w.get("weight", np.ones(len(mean))), w.get("bias", np.zeros(len(mean)))
    scale = gamma / np.sqrt(variance + step.settings["eps"])
    return {
        "mean": mean,
        "variance": variance,
        "gamma": gamma,
        "beta": beta,
        "scale": scale,
        "shift": beta - mean * scale,
    }


def recompute_max_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Take the largest of every window; padding never is."""
    return exactly(Window.of(step.settings).view(step.input.astype(np.float64), fill=-np.inf).max(axis=(3, 4)))


def recompute_avg_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Average every window."""
    return average(Window.of(step.settings).view(step.input.astype(np.float64)), (3, 4))


def recompute_global_avg_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Average every map."""
    value, bound = average(step.input.astype(np.float64), (1, 2))
    return value.reshape(step.output.shape), bound.reshape(step.output.shape)


def average(x: Doubles, over: tuple[int, ...]) -> tuple[Doubles, Doubles]:
    """Take means of n: n − 1 sums, 1 / n and its product round n + 1 times."""
    n = math.prod(x.shape[axis] for axis in over)
    return x.mean(axis=over), gamma(n + 1) * np.abs(x).mean(axis=over) + TINY


def recompute_residual(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Add the long way and the short one: one rounding."""
    body, shortcut = residual_summands(step)
    value = body.astype(np.float64) + shortcut
    return value, gamma(1) * np.abs(value)


def recompute_softmax(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute exp(xᵢ − max) / Σⱼ exp(xⱼ − max).

    The difference dᵢ = xᵢ − max is rounded once, which makes a factor exp(dᵢ·δ), |δ| ≤ u, hence as good as |dᵢ|
    roundings of the exponential; torch's vectorised exponential itself is within 20 units in the last place, 40
    roundings, and gives 0 instead of a subnormal number. The sum of n has those of its terms, weighted as the terms
    are, and n − 1 more; the division is the last.
    """
    d = step.input.astype(np.float64) - step.input.max()
    value = np.exp(d) / np.exp(d).sum()
    n = (np.abs(d) + 40) + ((value * np.abs(d)).sum() + 40 + len(d) - 1) + 1
    return value, gamma(n) * value + (len(d) + 2) * TINY


def recompute_relu(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Cut off what is negative."""
    return exactly(np.maximum(step.input, 0))


def recompute_flatten(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Write maps in one row, channel by channel, row by row."""
    return exactly(step.input.reshape(-1))


def recompute_dropout(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Change nothing: numbers are dropped in training only."""
    return exactly(step.input)


def recompute_block(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Take what leaves the last layer inside."""
    return exactly(step.steps[-1].output)


RECOMPUTE: dict[str, Callable[[StepRecord], tuple[Doubles, Doubles]]] = {
    "standardise": recompute_standardise,
    "conv": recompute_conv,
    "norm": recompute_norm,
    "relu": recompute_relu,
    "max_pool": recompute_max_pool,
    "avg_pool": recompute_avg_pool,
    "global_avg_pool": recompute_global_avg_pool,
    "dropout": recompute_dropout,
    "flatten": recompute_flatten,
    "dense": recompute_dense,
    "softmax": recompute_softmax,
    "block": recompute_block,
    "residual": recompute_residual,
}
