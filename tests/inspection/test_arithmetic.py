"""Arithmetic on paper: every printed line adds up in decimal."""

import itertools
import math
import re
from decimal import Decimal, localcontext

import numpy as np
import pytest
from torch import nn

from helpers import exactly
from small_networks import BOTH, hand_set, random_cells, record

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def erf(z):
    """Sum the Maclaurin series, 2/√π · Σ (−1)ⁿ z²ⁿ⁺¹ / (n! (2n + 1)), to 40 digits."""
    if abs(z) > 10:  # 1 − |erf(z)| < exp(−100)
        return Decimal(1).copy_sign(z)
    power = total = z
    n = 0
    while abs(power) > Decimal("1e-40"):
        n += 1
        power *= -z * z / n
        total += power / (2 * n + 1)
    return 2 * total / PI.sqrt()


def evaluate(text):
    """Evaluate one side of a printed equation in decimal; nothing here comes from the code that wrote it."""
    tokens = re.findall(r"\d+(?:\.\d+)?|√|exp|erf|max|[-+×/(),]", text)
    assert "".join(tokens) == text.replace(" ", ""), text

    def take(expected=None):
        token = tokens.pop(0)
        assert expected in (None, token), text
        return token

    def sum_of_products():
        value = product()
        while tokens and tokens[0] in "+-":
            value = value + product() if take() == "+" else value - product()
        return value

    def product():
        value = factor()
        while tokens and tokens[0] in "×/":
            value = value * factor() if take() == "×" else value / factor()
        return value

    def in_parentheses():
        take("(")
        values = [sum_of_products()]
        while tokens[0] == ",":
            take()
            values.append(sum_of_products())
        take(")")
        return values

    def factor():
        match tokens[0]:
            case "-":
                take()
                return -factor()
            case "(":
                (value,) = in_parentheses()
                return value
            case "√":
                take()
                return in_parentheses()[0].sqrt()
            case "exp":
                take()
                return in_parentheses()[0].exp()
            case "erf":
                take()
                return erf(in_parentheses()[0])
            case "max":
                take()
                return max(in_parentheses())
        return Decimal(take())

    value = sum_of_products()
    assert not tokens, text
    return value


def test_the_parser_of_these_tests():
    with localcontext(prec=50):
        assert evaluate("-0.5×(-2) + 3") == 4
        assert evaluate("(7 - (-1))/2×3") == 12
        assert evaluate("√(0.24 + 0.01) + max(-1, 2, 0)") == Decimal("2.5")
        assert evaluate("exp(2 - 2.0)") == 1
        assert float(evaluate("erf(-1.25/√(2))")) == pytest.approx(math.erf(-1.25 / math.sqrt(2)), rel=1e-15)


def assert_adds_up(line):
    """Hold one printed line to what it says: its left side, in decimal, is its right side in the last digit."""
    left, right = line.split(" = ")
    half = Decimal(1).scaleb(Decimal(right).as_tuple().exponent) / 2
    with localcontext(prec=200):
        plain = left.removesuffix(" (rounding)")
        assert "rounding" not in plain
        error = abs(evaluate(plain) - Decimal(right))
        assert error < half, line
        if plain != left:  # a rounding term is only where it is needed
            without = plain.rpartition(" + ")[0]
            assert abs(evaluate(without) - Decimal(right)) >= half, line
    assert not re.search(r"-0(\.0+)?(?![\d.])", line), line  # no minus zero
    assert not re.match(r"\(-[\d.]+\)", line), line  # nor does the first number need parentheses
    assert not re.search(r"[-+×/] -", line), line  # a minus behind an operator is in parentheses


@pytest.mark.parametrize("decimals", [2, 4, 6])
@BOTH
def test_every_line_adds_up(trace, decimals):
    n_lines = 0
    for step in trace.walk():
        for cell in random_cells(step, 40):
            explanation = step.explain(*cell)
            lines = explanation.lines(decimals)
            for line in lines:
                assert_adds_up(line)
            exact, digits = step.output[cell].item(), decimals
            while explanation.kind == "softmax" and float(f"{exact:.{digits}f}") in (0, 1):
                digits += 1  # a probability that is neither reads neither
            value = f"{exact:.{digits}f}"
            assert lines[-1].split(" = ")[1] == (value if float(value) else value.removeprefix("-"))
            if explanation.kind in ("conv", "dense"):  # every product is there
                assert sum(line.count("×") for line in lines) == len(explanation.terms)
            n_lines += len(lines)
    assert n_lines > 1_500


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_few_and_many_decimals(zoo, decimals):
    for step in zoo.walk():
        for cell in random_cells(step, 3):
            for line in step.explain(*cell).lines(decimals):
                assert_adds_up(line)


def test_ties_and_rounding_terms():
    # 0.25·0.5 = 0.125 is half-way between 0.12 and 0.13: whoever rounds, 0.12 + 0.005 is needed for it.
    dense = hand_set(nn.Linear(1, 1, bias=False), weight=0.5)
    trace = record(np.array([[[0.25]]], dtype=np.float32), n_classes=1, flatten1=nn.Flatten(), out=dense)
    assert trace["out"].explain(0).lines(2) == ("0.50×0.25 + (-0.005) (rounding) = 0.12",)
    # 0.004 · 100 = 0.4, but 0.00 × 100.00 = 0.00
    dense = hand_set(nn.Linear(1, 1, bias=False), weight=0.004)
    trace = record(np.array([[[100.0]]], dtype=np.float32), n_classes=1, flatten1=nn.Flatten(), out=dense)
    assert trace["out"].explain(0).lines(2) == ("0.00×100.00 + 0.40 (rounding) = 0.40",)
    assert trace["out"].explain(0).lines(3) == ("0.004×100.000 = 0.400",)


def test_small_divisors_do_not_vanish(zoo):
    # the standard deviation of the second channel is 0.003
    line = zoo["standardise"].explain(1, 0, 0).lines(2)[0]
    assert "/0.0030" in line


def test_a_sum_of_many_products_has_rows_of_eight(digit):
    lines = digit["dense1"].explain(7).lines()  # 32 features
    assert [line.count("×") for line in lines] == [8, 8, 8, 8]
    assert all(b.startswith(a.split(" = ")[1] + " + ") for a, b in itertools.pairwise(lines))


@BOTH
def test_an_explanation_is_what_was_recorded(trace):
    for step in trace.walk():
        for cell in random_cells(step, 10):
            explanation = step.explain(*cell)
            assert (explanation.cell, explanation.value) == (cell, step.output[cell].item())
            assert explanation.exact.float32 == explanation.value
            assert abs(explanation.exact.float64 - explanation.value) <= explanation.exact.bound
            assert len(explanation.terms) == math.prod(explanation.shape)
            if explanation.kind in ("conv", "dense"):
                total = math.fsum(term.product for term in explanation.terms) + (explanation.bias or 0)
                assert total == pytest.approx(explanation.exact.float64, rel=1e-12, abs=1e-12)
            if step.kind not in ("block", "residual"):
                for term in explanation.terms:
                    assert term.value == (0 if term.source is None else step.input[term.source])


def test_folded_kernels_give_the_norms_output(digit):
    # conv1 – pool1 – norm1: the folded kernel on the patch of the cell that won, in float64
    for cell in random_cells(digit["norm1"], 10):
        parts = digit["norm1"].explain(*cell).parts
        pooled = digit["pool1"].explain(*cell)
        largest = pooled.terms[pooled.parts["argmax"]].source
        patch = np.array([term.value for term in digit["conv1"].explain(*largest).terms])
        value = patch @ parts["kernel"].ravel() + parts["kernel_bias"]
        assert value == pytest.approx(digit["norm1"].output[cell], abs=1e-5)


@pytest.mark.parametrize("cell", [(16, 0, 0), (0, -1, 0), (0, 4, 0), (0, 0), (0, 0, 0, 0), (0, 0.5, 0), ("a", 0, 0)])
def test_cells_that_are_not_there(digit, cell):
    sentence = (
        "Expected whole numbers that name a cell of layer 'conv1': channel 0 to 15, row 0 to 3, column 0 to 3; "
        f"got {cell}."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        digit["conv1"].explain(*cell)


def test_decimals_below_zero(digit):
    with pytest.raises(ValueError, match=exactly("Expected 0 decimals or more; got -1.")):
        digit["output"].explain(0).lines(-1)
