"""The terms behind one number of a layer's output, their layout, and what else its formula needs."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf.inspection._arithmetic import Exact, Explanation, Term
from cnnclf.inspection._geometry import Window, check_cell, look_back, unit_region, unravel
from cnnclf.inspection._recompute import Recomputed, norm_parts
from cnnclf.inspection._records import ACTIVATIONS, POOLINGS, Cell, S, StepRecord, residual_summands


def explain(step: StepRecord, cell: tuple[Any, ...], recomputed: Recomputed | None) -> Explanation:
    """Return the arithmetic behind one number of a layer's output; a block's is that of the last layer inside.

    ``recomputed`` is the recomputed output of the step's :func:`last_layer`.
    """
    cell = check_cell(step.name, step.output.shape, cell)
    step = last_layer(step)
    if recomputed is None:
        raise ValueError(
            f"Expected a layer that NumPy can recompute; got {step.name!r} ({step.description}). "
            "Look at its input and output instead."
        )
    terms, shape, parts = EXPLAIN[step.kind](step, cell)
    bias = step.weights["bias"][cell[0]].item() if step.kind in ("conv", "dense") and "bias" in step.weights else None
    value = step.output[cell].item()
    exact = Exact(value, recomputed.value[cell].item(), recomputed.bound[cell].item())
    return Explanation(step.name, step.kind, cell, value, bias, tuple(terms), shape, parts, exact)


def last_layer(step: S) -> S:
    """Return the layer that computes a step's output: the last one inside a block, else the step itself."""
    while step.kind == "block":
        step = step.steps[-1]  # type: ignore[assignment]  # mypy does not see that Self is S
    return step


# The terms of one cell, their layout, and what else its formula needs.

Facts = tuple[Sequence[Term], tuple[int, ...], dict[str, Any]]


def explain_conv(step: StepRecord, cell: Cell) -> Facts:
    """Return all products of a kernel with its patch of the input."""
    s, weight = step.settings, step.weights["weight"]
    kernel = weight[cell[0]]
    # Each group of output channels sees its own group of as many input channels as a kernel has.
    first = cell[0] // (len(weight) // s["groups"]) * len(kernel)
    corner = Window.of(s).corner(cell[1:])
    terms = []
    for (channel, *tap), w in np.ndenumerate(kernel):
        place = [c + i * d for c, i, d in zip(corner, tap, s["dilation"], strict=True)]
        inside = all(0 <= p < size for p, size in zip(place, step.input.shape[1:], strict=True))
        terms.append(multiply(w, step.input, (first + channel, *place) if inside else None))
    return terms, kernel.shape, {}


def explain_dense(step: StepRecord, cell: Cell) -> Facts:
    """Return the products of all features with their weights."""
    terms = [multiply(w, step.input, (i,)) for i, w in enumerate(step.weights["weight"][cell[0]])]
    return terms, (len(terms),), {}


def explain_standardise(step: StepRecord, cell: Cell) -> Facts:
    """Return the pixel, and its channel's mean and standard deviation."""
    mean, std = (step.weights[name][cell[0], 0, 0].item() for name in ("mean", "std"))
    return [pick(step.input, cell)], (1,), {"x": step.input[cell].item(), "mean": mean, "std": std}


def explain_norm(step: StepRecord, cell: Cell) -> Facts:
    """Return the input and what batch norm does to its channel, also folded into the convolution before it."""
    channel = {name: values[cell[0]].item() for name, values in norm_parts(step).items()}
    parts = {"x": step.input[cell].item(), "eps": step.settings["eps"], **channel}
    if step.conv is not None:
        kernel, bias = step.conv.weights["weight"], step.conv.weights.get("bias", np.zeros(len(step.output)))
        parts["kernel"] = channel["scale"] * kernel[cell[0]].astype(np.float64)
        parts["kernel_bias"] = channel["scale"] * bias[cell[0]].item() + channel["shift"]
    return [pick(step.input, cell)], (1,), parts


def explain_one(step: StepRecord, cell: Cell) -> Facts:
    """Return the one number at the same place."""
    return [pick(step.input, cell)], (1,), {}


def explain_leaky_relu(step: StepRecord, cell: Cell) -> Facts:
    """Return the one number at the same place, and the slope."""
    return [pick(step.input, cell)], (1,), {"slope": step.settings["slope"]}


def explain_flatten(step: StepRecord, cell: Cell) -> Facts:
    """Return the number at the feature's place in the maps."""
    return [pick(step.input, unravel(cell[0], step.input.shape))], (1,), {}


def explain_pool(step: StepRecord, cell: Cell) -> Facts:
    """Return the window without padding, perhaps a whole map; for max pooling also the position of the largest."""
    places = [range(*interval) for interval in look_back(step, unit_region(cell[1:]))]
    terms = [pick(step.input, (cell[0], *place)) for place in itertools.product(*places)]
    takes_largest = step.kind in ("max_pool", "global_max_pool")
    parts = {"argmax": int(np.argmax([term.value for term in terms]))} if takes_largest else {}
    return terms, tuple(map(len, places)), parts


def explain_residual(step: StepRecord, cell: Cell) -> Facts:
    """Return the outputs of the residual branch and the shortcut, in this order."""
    return [pick(summand, cell) for summand in residual_summands(step)], (2,), {}


def explain_softmax(step: StepRecord, cell: Cell) -> Facts:
    """Return all logits, the exponentials of their differences from the largest, and the sum of these."""
    logits = step.input.astype(np.float64)
    exponentials = np.exp(logits - logits.max())
    parts = {"max": logits.max().item(), "exponentials": tuple(exponentials.tolist()), "sum": math.fsum(exponentials)}
    return [pick(step.input, (i,)) for i in range(len(logits))], logits.shape, parts


EXPLAIN: dict[str, Callable[[StepRecord, Cell], Facts]] = {
    "standardise": explain_standardise,
    "conv": explain_conv,
    "norm": explain_norm,
    **dict.fromkeys(ACTIVATIONS, explain_one),
    "leaky_relu": explain_leaky_relu,
    **dict.fromkeys(POOLINGS, explain_pool),
    "dropout": explain_one,
    "flatten": explain_flatten,
    "dense": explain_dense,
    "softmax": explain_softmax,
    "residual": explain_residual,
}


def multiply(weight: np.float32, x: NDArray[Any], source: Cell | None) -> Term:
    """Return the product of a weight and one number of ``x``; without a source it is padding, 0."""
    value = 0.0 if source is None else float(x[source])
    return Term(float(weight), value, float(weight) * value, source)


def pick(x: NDArray[Any], source: Cell) -> Term:
    """Return one number as a term of weight 1."""
    return multiply(np.float32(1), x, source)
