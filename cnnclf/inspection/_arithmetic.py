"""The arithmetic behind one number of a layer's output, as equations that hold exactly for the printed digits."""

import decimal
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cnnclf._utils.frozen import ReadOnly
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import counted, decimals_apart
from cnnclf.inspection._records import Cell

TERMS_PER_LINE = 8  # of a sum that has no rows
TERMS_PER_MAXIMUM = 16  # of a maximum that is written in one line
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
        The cell of the value in ``step.input``; None for padding, whose value is 0. For the first summand of a
        residual block it is the cell in the output of the residual branch.
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
        The largest difference of the two that rounding in float32 can cause.
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
        The name and kind of the layer; for a block, of the last layer inside.
    cell : tuple of int
        (channel, row, column), or (feature,).
    value : float
        The number as torch computed it.
    bias : float or None
        Of a convolution or dense layer.
    terms : tuple of Term
        The summands or candidates: all products of a convolution or dense layer, the window of a pooling, every logit
        for the softmax, the two summands of a residual block, else the one input number.
    shape : tuple of int
        The arrangement of the terms: (channels, height, width) of a kernel, (height, width) of a window, (features,).
    parts : mapping
        What else the formula needs, by kind.

        - standardise: "x", "mean", "std";
        - norm: "x", "mean", "variance", "eps", "gamma", "beta", and as one multiplication and one addition "scale",
          "shift"; where a convolution comes before it, perhaps with pooling between them, also that channel's folded
          "kernel" (scale · kernel) and "kernel_bias" (scale · bias + shift), which give the value in one
          step; after pooling, that of the largest cell in the window;
        - leaky_relu: "slope";
        - max_pool, global_max_pool: "argmax", the position in ``terms`` of the first of the largest;
        - softmax: "max", "exponentials" (one per class, of logit − max), "sum".
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
        cell, terms = ", ".join(map(str, self.cell)), counted(len(self.terms), "term")
        title = f"{self.name} ({cell}) is {self.value:.7g}, of {terms}"
        lines = self.lines()
        return Summary(title, notes=lines if len(lines) <= MOST_LINES else ("lines() has the arithmetic.",))

    def lines(self, decimals: int = 4) -> tuple[str, ...]:
        """Return the arithmetic as equations in the printed numbers.

        The left side of each equation, evaluated exactly and rounded to the digits of the right side, equals the right
        side; where needed, a term marked "(rounding)" closes the gap. Long sums carry a running total from line to
        line, one row of a kernel per line; the sums of the channels are added at the end.

        Parameters
        ----------
        decimals : int, default=4
            Digits after the decimal point. Divisors and scales have at least as many significant digits.

        Returns
        -------
        tuple of str
            The equations; the last one ends in the value.

        Raises
        ------
        ValueError
            If the number of decimals is negative.

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
        with decimal.localcontext(prec=enough_digits(decimals)):
            return tuple(LINES[self.kind](self, decimals))


def enough_digits(decimals: int) -> int:
    """Return how many digits hold every product of float32 numbers, which reach from 1e-45 to 1e38."""
    return 100 + 4 * decimals


Item = tuple[str, Decimal]  # a summand as it is printed, and its value


def write_conv(e: Explanation, decimals: int) -> list[str]:
    """Return the sum row by row of the kernel, then the sum of the channels if there are several."""
    n_taps = math.prod(e.shape[1:])
    if n_taps == 1:
        return write_dense(e, decimals)
    channels = [batched(products, e.shape[-1]) for products in batched(write_products(e, decimals), n_taps)]
    if len(channels) == 1:
        return add_up_with_bias(e, channels[0], decimals)
    lines, totals = [], []
    for rows in channels:
        some, total = add_up(rows, decimals)
        lines += some
        totals.append(written(total))
    return lines + add_up_with_bias(e, batched(totals, TERMS_PER_LINE), decimals)


def write_dense(e: Explanation, decimals: int) -> list[str]:
    """Return the sum of the products, several per line."""
    return add_up_with_bias(e, batched(write_products(e, decimals), TERMS_PER_LINE), decimals)


def write_products(e: Explanation, decimals: int) -> list[Item]:
    """Return every weight times its value; padding is 0 without decimals."""
    factors = [
        (number(term.weight, decimals), Decimal(0) if term.source is None else number(term.value, decimals))
        for term in e.terms
    ]
    return [(f"{bracketed(weight)}×{bracketed(value)}", weight * value) for weight, value in factors]


def add_up_with_bias(e: Explanation, rows: list[list[Item]], decimals: int) -> list[str]:
    """Return the sum of rows of summands and of the bias, if there is one, which gives the value."""
    bias = [] if e.bias is None else [written(number(e.bias, decimals))]
    return add_up([*rows[:-1], [*rows[-1], *bias]], decimals, e.value)[0]


def write_average(e: Explanation, decimals: int) -> list[str]:
    """Return the sum of the window row by row, and its quotient."""
    values = [written(number(term.value, decimals)) for term in e.terms]
    lines, total = add_up(batched(values, e.shape[-1]), decimals)
    n = len(values)
    return [*lines, equation(f"{bracketed(total)}/{n}", total / n, number(e.value, decimals))]


def write_sum(e: Explanation, decimals: int) -> list[str]:
    """Return the sum of two numbers."""
    return add_up([[written(number(term.value, decimals)) for term in e.terms]], decimals, e.value)[0]


def write_maximum(e: Explanation, decimals: int) -> list[str]:
    """Return the maximum of all candidates; of many those of the rows, and the largest of these."""
    candidates = [number(term.value, decimals) for term in e.terms]
    rows = batched(candidates, e.shape[-1]) if len(candidates) > TERMS_PER_MAXIMUM else [candidates]
    largest = [max(row) for row in rows]
    lines = [maximum(row, value) for row, value in zip(rows, largest, strict=True)]
    return [*lines, maximum(largest, max(largest))] if len(rows) > 1 else lines


def write_relu(e: Explanation, decimals: int) -> list[str]:
    """Return the maximum of 0 and the number."""
    return [maximum([Decimal(0), number(e.terms[0].value, decimals)], number(e.value, decimals))]


def maximum(candidates: Sequence[Decimal], value: Decimal) -> str:
    """Return the maximum of some numbers as one equation."""
    return equation(f"max({', '.join(f'{candidate:f}' for candidate in candidates)})", max(candidates), value)


def write_leaky_relu(e: Explanation, decimals: int) -> list[str]:
    """Return the number, times the slope where it is negative."""
    if e.terms[0].value >= 0:
        return write_one(e, decimals)
    x, slope = number(e.terms[0].value, decimals), fine(e.parts["slope"], decimals)
    return [equation(f"{bracketed(slope)}×{bracketed(x)}", slope * x, number(e.value, decimals))]


def write_sigmoid(e: Explanation, decimals: int) -> list[str]:
    """Return 1/(1 + exp(−x))."""
    x = number(e.terms[0].value, decimals)
    return [equation(f"1/(1 + exp({number(-x, decimals):f}))", 1 / (1 + (-x).exp()), number(e.value, decimals))]


def write_silu(e: Explanation, decimals: int) -> list[str]:
    """Return x/(1 + exp(−x))."""
    x = number(e.terms[0].value, decimals)
    text = f"{bracketed(x)}/(1 + exp({number(-x, decimals):f}))"
    return [equation(text, x / (1 + (-x).exp()), number(e.value, decimals))]


def write_tanh(e: Explanation, decimals: int) -> list[str]:
    """Return tanh(x) = 2/(1 + exp(−2x)) − 1."""
    x = number(e.terms[0].value, decimals)
    text = f"2/(1 + exp(-2×{bracketed(x)})) - 1"
    return [equation(text, 2 / (1 + (-2 * x).exp()) - 1, number(e.value, decimals))]


def write_gelu(e: Explanation, decimals: int) -> list[str]:
    """Return x×(1 + erf(x/√2))/2."""
    x = number(e.terms[0].value, decimals)
    exact = x * (1 + error_function(x / Decimal(2).sqrt())) / 2
    return [equation(f"{bracketed(x)}×(1 + erf({x:f}/√(2)))/2", exact, number(e.value, decimals))]


def error_function(z: Decimal) -> Decimal:
    """Compute erf(z) to the precision of the decimal context."""
    from mpmath import mp  # comes with torch, and is needed for this alone

    digits = decimal.getcontext().prec
    with mp.workdps(digits):
        return Decimal(mp.nstr(mp.erf(mp.mpf(str(z))), digits))


def write_standardise(e: Explanation, decimals: int) -> list[str]:
    """Return (pixel − mean) / standard deviation; integer pixels are printed without decimals.

    A channel that never varied has a deviation of 0 and is multiplied by 0 instead.
    """
    x, mean, std = number(e.parts["x"], decimals), number(e.parts["mean"], decimals), fine(e.parts["std"], decimals)
    if not std:
        return [equation(f"0×({x:f} - {bracketed(mean)})", Decimal(0), number(e.value, decimals))]
    return [equation(f"({x:f} - {bracketed(mean)})/{std:f}", (x - mean) / std, number(e.value, decimals))]


def write_norm(e: Explanation, decimals: int) -> list[str]:
    """Return the root, the standardised, scaled and shifted value, and the same with one scale and one shift."""
    x, mean, gamma, beta, shift = (number(e.parts[name], decimals) for name in ("x", "mean", "gamma", "beta", "shift"))
    variance, scale = (fine(e.parts[name], decimals) for name in ("variance", "scale"))
    eps = Decimal(repr(e.parts["eps"]))
    root, value = fine(math.sqrt(e.parts["variance"] + e.parts["eps"]), decimals), number(e.value, decimals)
    standardised = f"({x:f} - {bracketed(mean)})/{root:f}×{bracketed(gamma)} + {bracketed(beta)}"
    return [
        equation(f"√({variance:f} + {eps:f})", (variance + eps).sqrt(), root),
        equation(standardised, (x - mean) / root * gamma + beta, value),
        equation(f"{bracketed(x)}×{bracketed(scale)} + {bracketed(shift)}", x * scale + shift, value),
    ]


def write_softmax(e: Explanation, decimals: int) -> list[str]:
    """Return the exponentials, their sum, and the quotient."""
    largest = number(e.parts["max"], decimals)
    logits = [number(term.value, decimals) for term in e.terms]
    exponentials = [apart(value, decimals) for value in e.parts["exponentials"]]
    lines = [
        equation(f"exp({logit:f} - {bracketed(largest)})", (logit - largest).exp(), exponential)
        for logit, exponential in zip(logits, exponentials, strict=True)
    ]
    rows = batched([written(value) for value in exponentials], TERMS_PER_LINE)
    sums, total = add_up(rows, max(-int(value.as_tuple().exponent) for value in exponentials))
    mine = exponentials[e.cell[0]]
    # In float32 a probability rounds to 1 where the others are tiny; the quotient of the printed numbers does not.
    share = mine / total if e.value == 1 else e.value
    return [*lines, *sums, equation(f"{mine:f}/{total:f}", mine / total, apart(share, decimals))]


def write_one(e: Explanation, decimals: int) -> list[str]:
    """Return the number, which does not change."""
    x = number(e.terms[0].value, decimals)
    return [equation(f"{x:f}", x, number(e.value, decimals))]


LINES: dict[str, Callable[[Explanation, int], list[str]]] = {
    "standardise": write_standardise,
    "conv": write_conv,
    "norm": write_norm,
    "relu": write_relu,
    "leaky_relu": write_leaky_relu,
    "gelu": write_gelu,
    "silu": write_silu,
    "sigmoid": write_sigmoid,
    "tanh": write_tanh,
    "max_pool": write_maximum,
    "avg_pool": write_average,
    "global_max_pool": write_maximum,
    "global_avg_pool": write_average,
    "dropout": write_one,
    "flatten": write_one,
    "dense": write_dense,
    "softmax": write_softmax,
    "residual": write_sum,
}


def number(x: float | Decimal, decimals: int) -> Decimal:
    """Round to a number of decimals, never to −0; an int keeps no decimals."""
    rounded = Decimal(x) if isinstance(x, int) else Decimal(x).quantize(Decimal(1).scaleb(-decimals))
    return abs(rounded) if rounded == 0 else rounded


def fine(x: float, decimals: int) -> Decimal:
    """Round as :func:`number`, but to at least as many significant digits, so that a divisor never becomes 0."""
    return number(x, max(decimals, max(decimals, 1) - 1 - Decimal(x).adjusted()) if x else decimals)


def apart(share: float | Decimal, decimals: int) -> Decimal:
    """Round as :func:`number`, but so that only 0 prints as 0 and only 1 as 1; 0 is also what is 0 in float32."""
    return number(share, decimals_apart(share, decimals) if share >= SMALLEST_FLOAT32 else decimals)


def written(value: Decimal, note: str = "") -> Item:
    """Return a number as a summand, with a note after it."""
    return bracketed(value) + note, value


def bracketed(value: Decimal) -> str:
    """Return a number as text, in parentheses where it is negative."""
    return f"({value:f})" if value < 0 else f"{value:f}"


def batched(items: Sequence[Any], n: int) -> list[Any]:
    """Return a sequence in pieces of ``n``."""
    return [items[i : i + n] for i in range(0, len(items), n)]


def sum_up(summands: Sequence[tuple[float, str]], value: float, decimals: int) -> str:
    """Return a sum of named numbers as one equation, which holds for the printed digits."""
    with decimal.localcontext(prec=enough_digits(decimals)):
        row = [written(number(summand, decimals), f" ({name})") for summand, name in summands]
        return add_up([row], decimals, value)[0][0]


def add_up(rows: list[list[Item]], decimals: int, value: float | None = None) -> tuple[list[str], Decimal]:
    """Return one equation per row, each starting from the total so far, and the total; the last one gives ``value``."""
    lines: list[str] = []
    total = Decimal(0)
    for i, row in enumerate(rows):
        items = [written(total), *row] if i else row
        exact = sum((item for _, item in items), Decimal(0))
        total = number(exact if value is None or i < len(rows) - 1 else value, decimals)
        lines.append(equation(" + ".join(text for text, _ in items), exact, total))
    return lines, total


def equation(text: str, exact: Decimal, value: Decimal) -> str:
    """Return ``text = value``, with a rounding term where the printed numbers do not round to the value.

    A tie, half a unit of the last digit, gets an exact term, because rounding conventions differ.
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
