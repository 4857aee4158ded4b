"""The arithmetic behind one number of a layer's output: every product, written down so that it adds up on paper."""

import decimal
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.frozen import ReadOnly
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import decimals_apart, quote
from cnnclf.inspection._recompute import norm_parts, summands

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Step

Cell = tuple[int, ...]

TERMS_A_LINE = 8  # of a sum that has no rows
MOST_LINES = 12  # of arithmetic in a summary
SMALLEST_FLOAT32 = 2.0**-149


@dataclass(frozen=True)
class Term:
    """One summand of a cell.

    Attributes
    ----------
    weight, value : float
        The two factors; the weight is 1 where the layer has none.
    product : float
        weight · value, which float64 holds exactly.
    source : tuple of int or None
        Where in ``step.input`` the value stands; None for a padding tap, whose value is 0. The first summand of a
        residual block stands in the output of its last layer.
    """

    weight: float
    value: float
    product: float
    source: Cell | None


@dataclass(frozen=True)
class Exact:
    """A cell in full precision.

    Attributes
    ----------
    float32 : float
        As torch computed it.
    float64 : float
        Recomputed by NumPy from the same inputs and weights.
    bound : float
        How far rounding in float32 can bring the two apart.
    """

    float32: float
    float64: float
    bound: float


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Summarised, ReadOnly):
    """The arithmetic behind one number of a layer's output.

    Attributes
    ----------
    name, kind : str
        Of the layer; of the last layer inside for a block.
    cell : tuple of int
        (channel, row, column), or (feature,).
    value : float
        What torch computed.
    bias : float or None
        Of a convolution or dense layer.
    terms : tuple of Term
        What the value is made of: all products of a convolution or dense layer, the window of a pooling, every logit
        for the softmax, the two summands of a residual block, else the one number that came in.
    shape : tuple of int
        How the terms are laid out: (channels, height, width) of a kernel, (height, width) of a window, (features,).
    parts : mapping
        What else the formula needs, by kind.

        - standardise: "x", "mean", "std";
        - norm: "x", "mean", "variance", "eps", "gamma", "beta", and as one multiplication and one addition "scale",
          "shift"; where a convolution comes before it, perhaps with pooling between them, also that channel's folded
          "kernel" (scale · kernel) and "kernel_bias" (scale · bias + shift), which give the value in one go; of a
          pooling window they give that of the cell that won;
        - max_pool: "winner", the position in ``terms`` of the first of the largest;
        - softmax: "max", "exponentials" (one a class, of logit − max), "sum".
    exact : Exact
        Float32 beside float64, and the bound between them.
    """

    name: str
    kind: str
    cell: Cell
    value: float
    bias: float | None
    terms: tuple[Term, ...]
    shape: tuple[int, ...]
    parts: Mapping[str, Any]
    exact: Exact

    def _summary(self) -> Summary:
        cell, n = ", ".join(map(str, self.cell)), len(self.terms)
        title = f"{self.name} ({cell}) is {self.value:.7g}, of {n:,} {'term' if n == 1 else 'terms'}"
        lines = self.lines()
        return Summary(title, notes=lines if len(lines) <= MOST_LINES else ("lines() has the arithmetic.",))

    def lines(self, decimals: int = 4) -> tuple[str, ...]:
        """Write the arithmetic down so that it adds up on paper.

        Every line is an equation in the numbers that are printed: evaluated exactly and rounded to the digits of its
        right side it gives that side, if need be with a term that is marked "(rounding)". Long sums carry a running
        total from line to line, one row of a kernel in each; channels are added up at the end.

        Parameters
        ----------
        decimals : int, default=4
            Digits behind the point. Divisors and scales have at least as many significant digits.

        Returns
        -------
        tuple of str
            The last one ends in the value.

        Raises
        ------
        ValueError
            For a negative number of decimals.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace["flatten1"].explain(3).terms[0].source
        (3, 0, 0)
        >>> half = Term(0.5, 0.25, 0.125, (0,))
        >>> exact = Exact(0.25, 0.25, 0.0)
        >>> Explanation("dense1", "dense", (0,), 0.25, 0.125, (half,), (1,), {}, exact).lines(2)
        ('0.50×0.25 + 0.12 + 0.005 (rounding) = 0.25',)
        """
        if decimals < 0:
            raise ValueError(f"Expected 0 decimals or more; got {decimals}.")
        with decimal.localcontext(prec=100 + 4 * decimals):  # float32 reaches from 1e-45 to 1e38
            return tuple(LINES[self.kind](self, decimals))


def explain(step: "Step", cell: tuple[Any, ...]) -> Explanation:
    """Take one number of a layer's output apart; a block's is that of the last layer inside."""
    cell = check_cell(step.name, step.output.shape, cell)
    if step.kind == "block":
        return explain(step.steps[-1], cell)
    recomputed = step.recomputed
    if recomputed is None:
        raise ValueError(
            f"Layer {step.name!r} ({step.description}) is shown but not recomputed, so there is no arithmetic to "
            "explain. Look at its input and output instead."
        )
    terms, shape, parts = EXPLAIN[step.kind](step, cell)
    bias = step.weights["bias"][cell[0]].item() if step.kind in ("conv", "dense") and "bias" in step.weights else None
    value = step.output[cell].item()
    exact = Exact(value, recomputed.value[cell].item(), recomputed.bound[cell].item())
    return Explanation(step.name, step.kind, cell, value, bias, tuple(terms), shape, parts, exact)


# The terms of one cell, their layout, and what else its formula needs.

Facts = tuple[Sequence[Term], tuple[int, ...], dict[str, Any]]


def explain_conv(step: "Step", cell: Cell) -> Facts:
    """List all products of a kernel with the patch it is laid on."""
    s, weight = step.settings, step.weights["weight"]
    kernel = weight[cell[0]]
    # Each group of output channels sees its own group of as many input channels as a kernel has.
    first = cell[0] // (len(weight) // s["groups"]) * len(kernel)
    corner = find_corner(step, cell)
    terms = []
    for (channel, *tap), w in np.ndenumerate(kernel):
        place = [c + i * d for c, i, d in zip(corner, tap, s["dilation"], strict=True)]
        inside = all(0 <= p < size for p, size in zip(place, step.input.shape[1:], strict=True))
        terms.append(multiply(w, step.input, (first + channel, *place) if inside else None))
    return terms, kernel.shape, {}


def explain_dense(step: "Step", cell: Cell) -> Facts:
    """List the products of all features with their weights."""
    terms = [multiply(w, step.input, (i,)) for i, w in enumerate(step.weights["weight"][cell[0]])]
    return terms, (len(terms),), {}


def explain_standardise(step: "Step", cell: Cell) -> Facts:
    """Show the pixel, and its channel's mean and standard deviation."""
    mean, std = (step.weights[name][cell[0], 0, 0].item() for name in ("mean", "std"))
    return [pick(step.input, cell)], (1,), {"x": step.input[cell].item(), "mean": mean, "std": std}


def explain_norm(step: "Step", cell: Cell) -> Facts:
    """Show the number that came in and what batch norm does to its channel, also as part of the convolution before."""
    channel = {name: values[cell[0]].item() for name, values in norm_parts(step).items()}
    parts = {"x": step.input[cell].item(), "eps": step.settings["eps"], **channel}
    if step.conv is not None:
        kernel, bias = step.conv.weights["weight"], step.conv.weights.get("bias", np.zeros(len(step.output)))
        parts["kernel"] = channel["scale"] * kernel[cell[0]].astype(np.float64)
        parts["kernel_bias"] = channel["scale"] * bias[cell[0]].item() + channel["shift"]
    return [pick(step.input, cell)], (1,), parts


def explain_one(step: "Step", cell: Cell) -> Facts:
    """Show the one number in the same place."""
    return [pick(step.input, cell)], (1,), {}


def explain_flatten(step: "Step", cell: Cell) -> Facts:
    """Show where a feature stood in the maps."""
    return [pick(step.input, unravel(cell[0], step.input.shape))], (1,), {}


def explain_pool(step: "Step", cell: Cell) -> Facts:
    """Show the window, without the padding, and which of a maximum's numbers won."""
    corner = find_corner(step, cell)
    places = [
        range(max(c, 0), min(c + size, end))
        for c, size, end in zip(corner, step.settings["window"], step.input.shape[1:], strict=True)
    ]
    terms = [pick(step.input, (cell[0], *place)) for place in itertools.product(*places)]
    parts = {"winner": int(np.argmax([term.value for term in terms]))} if step.kind == "max_pool" else {}
    return terms, tuple(map(len, places)), parts


def explain_global_avg_pool(step: "Step", cell: Cell) -> Facts:
    """Show the whole map."""
    shape = step.input.shape[1:]
    return [pick(step.input, (cell[0], *place)) for place in np.ndindex(shape)], shape, {}


def explain_residual(step: "Step", cell: Cell) -> Facts:
    """Show the two summands, the long way's first."""
    return [pick(summand, cell) for summand in summands(step)], (2,), {}


def explain_softmax(step: "Step", cell: Cell) -> Facts:
    """Show all logits, the exponentials of what they are less than the largest, and the sum of these."""
    logits = step.input.astype(np.float64)
    exponentials = np.exp(logits - logits.max())
    parts = {
        "max": logits.max().item(),
        "exponentials": tuple(exponentials.tolist()),
        "sum": math.fsum(exponentials),
    }
    return [pick(step.input, (i,)) for i in range(len(logits))], logits.shape, parts


EXPLAIN: dict[str, Callable[["Step", Cell], Facts]] = {
    "standardise": explain_standardise,
    "conv": explain_conv,
    "norm": explain_norm,
    "relu": explain_one,
    "max_pool": explain_pool,
    "avg_pool": explain_pool,
    "global_avg_pool": explain_global_avg_pool,
    "dropout": explain_one,
    "flatten": explain_flatten,
    "dense": explain_dense,
    "softmax": explain_softmax,
    "residual": explain_residual,
}


def find_corner(step: "Step", cell: Cell) -> list[int]:
    """Find the row and column where a window begins, perhaps in the padding."""
    s = step.settings
    return [i * stride - padding for i, stride, padding in zip(cell[1:], s["stride"], s["padding"], strict=True)]


def multiply(weight: np.float32, x: NDArray[Any], source: Cell | None) -> Term:
    """Multiply a weight by one number, or by the 0 of padding."""
    value = 0.0 if source is None else float(x[source])
    return Term(float(weight), value, float(weight) * value, source)


def pick(x: NDArray[Any], source: Cell) -> Term:
    """Take one number as it is."""
    return multiply(np.float32(1), x, source)


def check_cell(name: str, shape: tuple[int, ...], cell: tuple[Any, ...]) -> Cell:
    """Check that there is one index an axis, and that each is within it."""
    words = AXES.get(len(shape), tuple(f"index {i}" for i in range(len(shape))))
    expected = ", ".join(f"{word} 0 to {size - 1}" for word, size in zip(words, shape, strict=True))
    try:
        indices = tuple(operator.index(i) for i in cell)
    except TypeError:
        indices = ()
    if len(indices) != len(shape) or not all(0 <= i < size for i, size in zip(indices, shape, strict=True)):
        raise ValueError(f"Expected whole numbers that name a cell of layer {name!r}: {expected}; got {quote(cell)}.")
    return indices


def unravel(feature: int, shape: tuple[int, ...]) -> Cell:
    """Find where a feature stood before maps were flattened."""
    return tuple(map(int, np.unravel_index(feature, shape)))


AXES = {1: ("feature",), 2: ("row", "column"), 3: ("channel", "row", "column")}


# Writing arithmetic down: numbers are rounded first, and then everything is exact, in decimal.

Item = tuple[str, Decimal]  # a summand as it is printed, and what that is


def write_conv(e: Explanation, decimals: int) -> list[str]:
    """Add up row by row of the kernel; where there are several channels, add up theirs."""
    products = write_products(e, decimals)
    width, n_taps = e.shape[-1], math.prod(e.shape[1:])
    if n_taps == 1:
        return write_dense(e, decimals)
    channels = [split(products[i : i + n_taps], width) for i in range(0, len(products), n_taps)]
    if len(channels) == 1:
        return add_up(with_bias(e, channels[0], decimals), decimals, e.value)[0]
    lines, totals = [], []
    for rows in channels:
        some, total = add_up(rows, decimals)
        lines += some
        totals.append(written(total))
    return lines + add_up(with_bias(e, split(totals, TERMS_A_LINE), decimals), decimals, e.value)[0]


def write_dense(e: Explanation, decimals: int) -> list[str]:
    """Add up the products, some in each line."""
    rows = split(write_products(e, decimals), TERMS_A_LINE)
    return add_up(with_bias(e, rows, decimals), decimals, e.value)[0]


def write_products(e: Explanation, decimals: int) -> list[Item]:
    """Write every weight times its value; padding is a plain 0."""
    factors = [
        (number(term.weight, decimals), Decimal(0) if term.source is None else number(term.value, decimals))
        for term in e.terms
    ]
    return [(f"{bracketed(weight)}×{bracketed(value)}", weight * value) for weight, value in factors]


def with_bias(e: Explanation, rows: list[list[Item]], decimals: int) -> list[list[Item]]:
    """Put the bias, if there is one, behind the last summand."""
    return rows if e.bias is None else [*rows[:-1], [*rows[-1], written(number(e.bias, decimals))]]


def write_average(e: Explanation, decimals: int) -> list[str]:
    """Add up the window row by row and divide."""
    values = [written(number(term.value, decimals)) for term in e.terms]
    lines, total = add_up(split(values, e.shape[-1]), decimals)
    n = len(values)
    return [*lines, equation(f"{bracketed(total)}/{n}", total / n, number(e.value, decimals))]


def write_sum(e: Explanation, decimals: int) -> list[str]:
    """Add up two numbers."""
    return add_up([[written(number(term.value, decimals)) for term in e.terms]], decimals, e.value)[0]


def write_maximum(e: Explanation, decimals: int) -> list[str]:
    """Name all candidates; for ReLU the first one is 0."""
    values = [number(term.value, decimals) for term in e.terms]
    candidates = [Decimal(0), *values] if e.kind == "relu" else values
    text = ", ".join(f"{value:f}" for value in candidates)
    return [equation(f"max({text})", max(candidates), number(e.value, decimals))]


def write_standardise(e: Explanation, decimals: int) -> list[str]:
    """Subtract the mean and divide by the standard deviation; pixels that are whole numbers stay whole.

    A channel that never varied, of deviation 0, is multiplied by 0 instead.
    """
    x, mean, std = number(e.parts["x"], decimals), number(e.parts["mean"], decimals), fine(e.parts["std"], decimals)
    if not std:
        return [equation(f"0×({x:f} - {bracketed(mean)})", Decimal(0), number(e.value, decimals))]
    return [equation(f"({x:f} - {bracketed(mean)})/{std:f}", (x - mean) / std, number(e.value, decimals))]


def write_norm(e: Explanation, decimals: int) -> list[str]:
    """Take the root, standardise with it, scale and shift; then the same with one scale and one shift."""
    x, mean, gamma, beta, shift = (number(e.parts[name], decimals) for name in ("x", "mean", "gamma", "beta", "shift"))
    variance, scale, eps = (
        fine(e.parts["variance"], decimals),
        fine(e.parts["scale"], decimals),
        Decimal(repr(e.parts["eps"])),
    )
    root, value = fine(math.sqrt(e.parts["variance"] + e.parts["eps"]), decimals), number(e.value, decimals)
    return [
        equation(f"√({variance:f} + {eps:f})", (variance + eps).sqrt(), root),
        equation(
            f"({x:f} - {bracketed(mean)})/{root:f}×{bracketed(gamma)} + {bracketed(beta)}",
            (x - mean) / root * gamma + beta,
            value,
        ),
        equation(f"{bracketed(x)}×{bracketed(scale)} + {bracketed(shift)}", x * scale + shift, value),
    ]


def write_softmax(e: Explanation, decimals: int) -> list[str]:
    """Take the exponentials, add them up and divide."""
    largest = number(e.parts["max"], decimals)
    logits = [number(term.value, decimals) for term in e.terms]
    exponentials = [apart(value, decimals) for value in e.parts["exponentials"]]
    lines = [
        equation(f"exp({logit:f} - {bracketed(largest)})", (logit - largest).exp(), exponential)
        for logit, exponential in zip(logits, exponentials, strict=True)
    ]
    rows = split([written(value) for value in exponentials], TERMS_A_LINE)
    sums, total = add_up(rows, max(-int(value.as_tuple().exponent) for value in exponentials))
    mine = exponentials[e.cell[0]]
    # Float32 gives 1 where others take less than it can tell from 1; the quotient of what is printed does not.
    share = mine / total if e.value == 1 else e.value
    return [*lines, *sums, equation(f"{mine:f}/{total:f}", mine / total, apart(share, decimals))]


def write_one(e: Explanation, decimals: int) -> list[str]:
    """Show that nothing changes."""
    x = number(e.terms[0].value, decimals)
    return [equation(f"{x:f}", x, number(e.value, decimals))]


LINES: dict[str, Callable[[Explanation, int], list[str]]] = {
    "standardise": write_standardise,
    "conv": write_conv,
    "norm": write_norm,
    "relu": write_maximum,
    "max_pool": write_maximum,
    "avg_pool": write_average,
    "global_avg_pool": write_average,
    "dropout": write_one,
    "flatten": write_one,
    "dense": write_dense,
    "softmax": write_softmax,
    "residual": write_sum,
}


def number(x: float | Decimal, decimals: int) -> Decimal:
    """Round to so many decimals; whole numbers that are integers stay as they are, and there is no −0."""
    rounded = Decimal(x) if isinstance(x, int) else Decimal(x).quantize(Decimal(1).scaleb(-decimals))
    return abs(rounded) if rounded == 0 else rounded


def fine(x: float, decimals: int) -> Decimal:
    """Round as :func:`number`, but to at least as many significant digits, so that a divisor never becomes 0."""
    return number(x, max(decimals, max(decimals, 1) - 1 - Decimal(x).adjusted()) if x else decimals)


def apart(share: float | Decimal, decimals: int) -> Decimal:
    """Round as :func:`number`, but so that only 0 and 1 read 0 and 1; what float32 takes for 0 is 0 here, too."""
    return number(share, decimals_apart(share, decimals) if share >= SMALLEST_FLOAT32 else decimals)


def written(value: Decimal) -> Item:
    """Print a number as a summand."""
    return bracketed(value), value


def bracketed(value: Decimal) -> str:
    """Print a number in full, in parentheses where it is negative."""
    return f"({value:f})" if value < 0 else f"{value:f}"


def split(items: list[Item], width: int) -> list[list[Item]]:
    """Break a sum into rows."""
    return [items[i : i + width] for i in range(0, len(items), width)]


def add_up(rows: list[list[Item]], decimals: int, value: float | None = None) -> tuple[list[str], Decimal]:
    """Write one line a row, each going on from the total of the one before; the last one gives the value, if known."""
    lines: list[str] = []
    total = Decimal(0)
    for i, row in enumerate(rows):
        items = [written(total), *row] if i else row
        exact = sum((item for _, item in items), Decimal(0))
        total = number(exact if value is None or i < len(rows) - 1 else value, decimals)
        lines.append(equation(" + ".join(text for text, _ in items), exact, total))
    return lines, total


def equation(text: str, exact: Decimal, value: Decimal) -> str:
    """Write ``text = value``, with a rounding term where the printed numbers do not round to the value.

    A tie, half a unit of the last digit, is closed exactly: people do not agree on where to round it.
    """
    unit = Decimal(1).scaleb(int(value.as_tuple().exponent))
    gap = value - exact
    if 2 * abs(gap) >= unit:
        rounding = gap.quantize(unit)
        if 2 * abs(gap - rounding) == unit:
            rounding = gap.normalize()
        text += f" + {bracketed(rounding)} (rounding)"
    text = re.sub(r"^\((-[\d.]+)\)", r"\1", text)  # at the beginning of a line a minus needs no parentheses
    return f"{text} = {value:f}"
