"""Each layer computed again by NumPy in float64 from its recorded input, with a bound on the rounding error.

The bounds are rigorous and follow Higham: n roundings to float32 in a row are a factor 1 + θ with |θ| ≤ γₙ, also for
quotients and roots. The rounding of float64 itself is smaller than the difference between γₙ and n·u, about n²·u².
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, expit

from cnnclf.inspection._geometry import Doubles, Window
from cnnclf.inspection._records import StepRecord, residual_summands

UNIT_ROUNDOFF = 2.0**-24  # of float32
TINY = 2.0**-126  # smallest normal float32: what a product that underflows can lose

# Roundings of torch's vectorised functions: its exponential is within 20 units in the last place, each two roundings,
# its tanh within 4.
EXPONENTIAL, TANH = 40, 8


@dataclass(frozen=True, eq=False, repr=False)
class Recomputed:
    """A layer's output computed by NumPy in float64, and how far float32 may differ from it."""

    value: Doubles
    bound: Doubles

    def __repr__(self) -> str:
        return f"Recomputed of shape {self.value.shape}, within {self.bound.max(initial=0):.2g} of float32"


def recompute(step: StepRecord) -> Recomputed | None:
    """Compute a step's output from its recorded input; None for an unknown layer."""
    return Recomputed(*RECOMPUTE[step.kind](step)) if step.kind in RECOMPUTE else None


def gamma(n: Any) -> Any:
    """Return the bound on the relative error of n roundings to float32: γₙ = n·u / (1 − n·u)."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)


def exactly(value: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Return a value with a bound of 0, for layers that only select numbers."""
    return value.astype(np.float64), np.zeros(value.shape)


def recompute_standardise(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute (x − mean) / std, one subtraction and one division: two roundings; 0 in a channel that never varied."""
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
    """Add the bias, if there is one, as one more term, to sums of n products whose absolute values add up to size."""
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
    """Return what a batch norm does to each channel, in float64: as learnt, and as one scale and one shift."""
    w = {name: array.astype(np.float64) for name, array in step.weights.items()}
    mean, variance = w["running_mean"], w["running_var"]
    gamma, beta = w.get("weight", np.ones(len(mean))), w.get("bias", np.zeros(len(mean)))
    scale = gamma / np.sqrt(variance + step.settings["eps"])
    as_learnt = {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta}
    return as_learnt | {"scale": scale, "shift": beta - mean * scale}


def recompute_leaky_relu(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute x, or slope·x where x is negative: the slope is rounded, and the product."""
    x = step.input.astype(np.float64)
    value = np.where(x < 0, step.settings["slope"] * x, x)
    return value, np.where(x < 0, gamma(2) * np.abs(value) + TINY, 0.0)


def recompute_sigmoid(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute 1 / (1 + exp(−x)): an exponential, a sum and a quotient."""
    value = expit(step.input.astype(np.float64))
    return value, gamma(EXPONENTIAL + 2) * value + TINY


def recompute_silu(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute x / (1 + exp(−x)), perhaps as a product with 1 / (1 + exp(−x)), which may underflow."""
    x = step.input.astype(np.float64)
    value = x * expit(x)
    return value, gamma(EXPONENTIAL + 3) * np.abs(value) + TINY * (1 + np.abs(x))


def recompute_tanh(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute tanh(x)."""
    value = np.tanh(step.input.astype(np.float64))
    return value, gamma(TANH) * np.abs(value) + TINY


def recompute_gelu(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute x·(1 + erf(z)) / 2 with z = x / √2.

    torch's vectorised erf is 1 minus a polynomial times an exponential, so its error is not relative to erf(z) but to
    1: at most that of the exponential. z has two roundings, of 1 / √2 and of the product, which change erf(z) by at
    most 2u·z·2·exp(−z²) / √π < u. The sum and two products add three roundings. Where x is negative, 1 + erf(z) is
    small, so the bound is relative to x, not to the value.
    """
    x = step.input.astype(np.float64)
    value = x * erfc(-x / math.sqrt(2)) / 2  # 1 + erf(z) without cancellation
    return value, gamma(3) * np.abs(value) + gamma(EXPONENTIAL + 4) * np.abs(x) / 2 + TINY * (1 + np.abs(x))


def recompute_max_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute the largest number of every window; padding is never the largest."""
    return exactly(Window.of(step.settings).view(step.input.astype(np.float64), fill=-np.inf).max(axis=(3, 4)))


def recompute_avg_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute the mean of every window."""
    return average(Window.of(step.settings).view(step.input.astype(np.float64)), (3, 4))


def recompute_global_max_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute the largest number of every map."""
    return exactly(step.input.max(axis=(1, 2)).reshape(step.output.shape))


def recompute_global_avg_pool(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute the mean of every map."""
    value, bound = average(step.input.astype(np.float64), (1, 2))
    return value.reshape(step.output.shape), bound.reshape(step.output.shape)


def average(x: Doubles, over: tuple[int, ...]) -> tuple[Doubles, Doubles]:
    """Compute means of n numbers: n − 1 sums, 1 / n and the product with it are n + 1 roundings."""
    n = math.prod(x.shape[axis] for axis in over)
    return x.mean(axis=over), gamma(n + 1) * np.abs(x).mean(axis=over) + TINY


def recompute_residual(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Add the residual branch and the shortcut: one rounding."""
    body, shortcut = residual_summands(step)
    value = body.astype(np.float64) + shortcut
    return value, gamma(1) * np.abs(value)


def recompute_softmax(step: StepRecord) -> tuple[Doubles, Doubles]:
    """Compute exp(xᵢ − max) / Σⱼ exp(xⱼ − max).

    The difference dᵢ = xᵢ − max is rounded once, which is a factor exp(dᵢ·δ) with |δ| ≤ u, so it counts as |dᵢ|
    roundings of the exponential, which has its own and returns 0 instead of a subnormal number. The sum of n terms has
    their roundings, weighted as the terms are, and n − 1 more; the division adds one.
    """
    d = step.input.astype(np.float64) - step.input.max()
    value = np.exp(d) / np.exp(d).sum()
    n = (np.abs(d) + EXPONENTIAL) + ((value * np.abs(d)).sum() + EXPONENTIAL + len(d) - 1) + 1
    return value, gamma(n) * value + (len(d) + 2) * TINY


# An entry per kind that can be recomputed; those without rounding only select or reorder numbers.
RECOMPUTE: dict[str, Callable[[StepRecord], tuple[Doubles, Doubles]]] = {
    "standardise": recompute_standardise,
    "conv": recompute_conv,
    "norm": recompute_norm,
    "relu": lambda step: exactly(np.maximum(step.input, 0)),
    "leaky_relu": recompute_leaky_relu,
    "gelu": recompute_gelu,
    "silu": recompute_silu,
    "sigmoid": recompute_sigmoid,
    "tanh": recompute_tanh,
    "max_pool": recompute_max_pool,
    "avg_pool": recompute_avg_pool,
    "global_max_pool": recompute_global_max_pool,
    "global_avg_pool": recompute_global_avg_pool,
    "dropout": lambda step: exactly(step.input),
    "flatten": lambda step: exactly(step.input.reshape(-1)),
    "dense": recompute_dense,
    "softmax": recompute_softmax,
    "block": lambda step: exactly(step.steps[-1].output),
    "residual": recompute_residual,
}
