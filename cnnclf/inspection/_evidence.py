"""The evidence for a class: what each feature of the last dense layer contributes to its logit."""

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import quote, quote_all
from cnnclf.inspection._geometry import unravel
from cnnclf.inspection._records import ACTIVATIONS, IMAGE, Cell, StepRecord, TraceRecord, same_bits, walk, wire


@dataclass(frozen=True)
class Contribution:
    """What one feature contributes to a logit.

    Attributes
    ----------
    feature : int
        Its position in the input of the last dense layer.
    cell : tuple of int or None
        (channel, row, column) before flattening; None where the features are not flattened maps.
    value, weight, product : float
        The feature, its weight and the product of the two.
    """

    feature: int
    cell: Cell | None
    value: float
    weight: float
    product: float


@dataclass(frozen=True, repr=False)
class Evidence(Summarised):
    """Why a logit, or the difference of two, is what it is: top + rest + bias = logit.

    Attributes
    ----------
    label : label
        The class of the logit.
    against : label or None
        The class whose logit is subtracted.
    top : tuple of Contribution
        The largest contributions by absolute value, largest first.
    rest : float
        The sum of all other contributions.
    n_rest : int
        How many those are.
    bias, logit : float
        In float64; the sum of all products, rest and bias is exactly the logit.
    recorded : float
        The logit as torch computed it.
    """

    label: Any
    against: Any
    top: tuple[Contribution, ...]
    rest: float
    n_rest: int
    bias: float
    logit: float
    recorded: float

    def _summary(self) -> Summary:
        against = "" if self.against is None else f" less that of {self.against}"
        title = f"the logit of {self.label}{against} is {self.logit:.4f}: all products and a bias of {self.bias:.4f}"
        rows = tuple(
            (str(p.feature), ", ".join(map(str, p.cell or ())), *(f"{x:.4f}" for x in (p.value, p.weight, p.product)))
            for p in self.top
        )
        notes = (f"the other {self.n_rest:,}: {self.rest:.4f}",) if self.n_rest else ()
        return Summary(title, "rlrrr", ("feature", "cell", "value", "weight", "product"), rows, notes)


def collect_evidence(trace: TraceRecord, label: Any = None, against: Any = None, k: int = 10) -> Evidence:
    """Compute which features made the logit of a class, or separate it from another class."""
    if k < 0:
        raise ValueError(f"Expected k of at least 0; got {k}.")
    dense = find_last_dense(trace)
    chosen = [find_class(trace, label)]
    chosen += [] if against is None else [find_class(trace, against)]
    weights, biases = dense.weights["weight"], dense.weights.get("bias", np.zeros(len(trace.classes)))
    weight, bias, recorded = (
        functools.reduce(operator.sub, array.astype(np.float64)[chosen]) for array in (weights, biases, trace.logits)
    )
    products = weight * dense.input
    largest, rest, n_rest = keep_largest(products, k)
    shape = flattened_shape(trace, dense)
    factors = np.column_stack((dense.input, weight, products))
    top = tuple(Contribution(i, None if shape is None else unravel(i, shape), *factors[i].tolist()) for i in largest)
    logit = math.fsum([*products[largest], rest, bias])
    labels = trace.classes[chosen[0]], None if against is None else trace.classes[chosen[1]]
    return Evidence(*labels, top, rest, n_rest, float(bias), logit, float(recorded))


def keep_largest(parts: ArrayLike, n: int) -> tuple[list[int], float, int]:
    """Return the positions of the ``n`` largest parts of a sum, by absolute value, and sum and number of the others.

    Examples
    --------
    >>> keep_largest([1.0, -3.0, 2.0, 0.5], 2)
    ([1, 2], 1.5, 2)
    """
    numbers = np.asarray(parts)
    order = np.argsort(-np.abs(numbers), kind="stable")
    return order[:n].tolist(), math.fsum(numbers[order[n:]]), len(order[n:])


def find_class(trace: TraceRecord, label: Any = None) -> int:
    """Return the position of a label among the classes; that of the predicted class without a label."""
    classes: list[Any] = trace.classes.tolist()
    label = trace.label if label is None else label
    if label not in classes:
        raise ValueError(f"Expected a label among the classes {quote_all(classes)}; got {quote(label)}.")
    return classes.index(label)


def find_last_dense(trace: TraceRecord) -> StepRecord:
    """Return the dense layer that computes the logits."""
    *_, last, _ = (step for step in walk(trace.steps) if not step.steps)
    if last.kind != "dense" or not same_bits(last.output, trace.logits):
        raise ValueError(
            f"Expected logits that come from a dense layer, whose products are the evidence; got {last.name!r} "
            f"({last.description}) as the last layer. Use occlusion or gradient, which need none."
        )
    return last


def flattened_shape(trace: TraceRecord, dense: StepRecord) -> tuple[int, ...] | None:
    """Return the shape of the maps that a dense layer's features were flattened from; None if they were not."""
    wired = {step.name: (step, inputs) for step, inputs in wire(trace.steps)}
    _, inputs = wired[dense.name]
    while inputs[0] != IMAGE:
        step, inputs = wired[inputs[0]]
        if step.kind == "flatten":
            return step.input.shape
        if step.kind not in ("dropout", *ACTIVATIONS, "norm", "block"):  # these leave every feature in its place
            return None
    return None
