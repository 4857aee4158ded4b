"""Activations and pooling of whole maps: values by hand, the bound on rounding, and equations that hold as printed."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.inspection._trace import Trace

LAYERS = {
    "leaky_relu": nn.LeakyReLU(0.1),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
}
every_activation = pytest.mark.parametrize("kind", LAYERS)

# Definitions in Python's own functions of a real number. GELU is x·Φ(x), of the normal distribution: erfc keeps digits
# where x is far below 0.
DEFINITIONS = {
    "leaky_relu": lambda x: x if x >= 0 else 0.1 * x,
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)) if x > -700 else 0.0,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "tanh": math.tanh,
}


def record(image, **layers):
    """Trace one image through layers of these names, into two classes."""
    return Trace.record(nn.Sequential(OrderedDict(layers)), image, np.array(["a", "b"]))


def activated(kind, numbers):
    """The step of an activation that takes a row of numbers."""
    image = np.array(numbers, dtype=np.float32).reshape(1, 1, -1)
    return record(image, act=LAYERS[kind], flatten=nn.Flatten(), output=nn.Linear(image.size, 2))["act"]


@every_activation
def test_the_kind_and_its_setting(kind):
    step = activated(kind, [1.0])
    assert (step.kind, dict(step.settings)) == (kind, {"slope": 0.1} if kind == "leaky_relu" else {})


@pytest.mark.parametrize(
    "layer",
    [nn.GELU(approximate="tanh"), nn.AdaptiveMaxPool2d(2), nn.ELU(), nn.Softplus()],
    ids=repr,
)
def test_what_is_computed_otherwise_is_unknown(layer):
    trace = record(np.ones((1, 2, 2), dtype=np.float32), layer=layer, flatten=nn.Flatten(), output=nn.LazyLinear(2))
    assert trace["layer"].kind == "unknown"


@every_activation
def test_float64_is_the_definition(kind):
    numbers = [-90.0, -5.5, -1.0, -1e-6, 0.0, 1e-6, 0.75, 1.0, 4.0, 90.0]
    step = activated(kind, numbers)
    expected = [DEFINITIONS[kind](x) for x in step.input.ravel().tolist()]
    np.testing.assert_allclose(step.recomputed.value.ravel(), expected, rtol=1e-14, atol=0)


@every_activation
def test_torch_is_within_the_bound_for_numbers_of_all_sizes(kind):
    rng = np.random.default_rng(0)
    numbers = rng.choice([-1, 1], 40_000) * 10 ** rng.uniform(-6, 2, 40_000)
    step = activated(kind, numbers)
    error = np.abs(step.output - step.recomputed.value)
    assert (error <= step.recomputed.bound).all()
    # The bound is no more than 50 roundings of the number that comes out, or for GELU of the one that goes in.
    size = np.maximum(np.abs(step.recomputed.value), np.abs(step.input) if kind == "gelu" else 0)
    assert (step.recomputed.bound <= 50 * 2.0**-24 * size + 2.0**-118).all()  # and what underflows, times at most 100


@every_activation
def test_a_wrong_number_is_found(kind):
    step = activated(kind, [-2.0, -0.5, 0.5, 2.0])
    wrong = step.output * np.float32(1 + 1e-5)
    assert (np.abs(wrong - step.recomputed.value) > step.recomputed.bound).any()


@pytest.mark.parametrize(
    ("kind", "x", "line"),
    [
        # −1·0.1; 1·(1 + erf(−1/√2))/2 with erf(0.7071) = 0.6827; e = 2.7183, e² = 7.3891
        ("leaky_relu", -1.0, "0.1000×(-1.0000) = -0.1000"),
        ("leaky_relu", 1.0, "1.0000 = 1.0000"),
        ("gelu", -1.0, "-1.0000×(1 + erf(-1.0000/√(2)))/2 = -0.1587"),
        ("gelu", 2.0, "2.0000×(1 + erf(2.0000/√(2)))/2 = 1.9545"),
        ("silu", -1.0, "-1.0000/(1 + exp(1.0000)) = -0.2689"),
        ("silu", 0.0, "0.0000/(1 + exp(0.0000)) = 0.0000"),
        ("sigmoid", 1.0, "1/(1 + exp(-1.0000)) = 0.7311"),
        ("tanh", -1.0, "2/(1 + exp(-2×(-1.0000))) - 1 = -0.7616"),
    ],
)
def test_the_equation_by_hand(kind, x, line):
    explanation = activated(kind, [x]).explain(0, 0, 0)
    assert explanation.lines() == (line,)
    assert [(term.weight, term.value, term.source) for term in explanation.terms] == [(1.0, x, (0, 0, 0))]


@every_activation
@pytest.mark.parametrize("decimals", [0, 2, 4, 9])
def test_equations_hold_as_printed(kind, decimals):
    numbers = np.random.default_rng(1).normal(size=60) * 4
    step = activated(kind, numbers)
    world = {"__builtins__": {}, "exp": math.exp, "erf": math.erf, "sqrt": math.sqrt}
    for column in range(60):
        (line,) = step.explain(0, 0, column).lines(decimals)
        left, right = line.removesuffix(" (rounding)").replace(" (rounding)", "").split(" = ")
        value = eval(left.replace("×", "*").replace("√", "sqrt"), world)
        assert abs(value - float(right)) <= 0.5 * 10**-decimals + 1e-12, line


def test_the_largest_number_of_a_whole_map():
    image = np.array([[[3, 1, 2], [0, 7, 5]], [[-4, -2, -9], [-3, -2, -8]]], dtype=np.float32)
    step = record(image, pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), output=nn.Linear(2, 2))["pool"]
    assert (step.kind, dict(step.settings), step.output.tolist()) == ("global_max_pool", {}, [[[7.0]], [[-2.0]]])
    assert step.recomputed.value.tolist() == step.output.tolist()
    assert step.recomputed.bound.max() == 0
    explanation = step.explain(1, 0, 0)
    assert explanation.shape == (2, 3)
    assert explanation.parts["argmax"] == 1  # the first of the two −2
    assert explanation.terms[1].source == (1, 0, 1)
    assert explanation.lines(0) == ("max(-4, -2, -9, -3, -2, -8) = -2",)


def test_the_maximum_of_many_numbers_has_a_line_per_row_and_one_of_the_rows():
    image = np.arange(20, dtype=np.float32).reshape(1, 5, 4)
    step = record(image, pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), output=nn.Linear(1, 2))["pool"]
    assert step.explain(0, 0, 0).lines(0) == (
        "max(0, 1, 2, 3) = 3",
        "max(4, 5, 6, 7) = 7",
        "max(8, 9, 10, 11) = 11",
        "max(12, 13, 14, 15) = 15",
        "max(16, 17, 18, 19) = 19",
        "max(3, 7, 11, 15, 19) = 19",
    )


def test_a_unit_behind_a_pooling_of_whole_maps_depends_on_all_of_the_image():
    image = np.ones((1, 4, 6), dtype=np.float32)
    trace = record(image, pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), output=nn.Linear(1, 2))
    field = trace.receptive_field("pool", 0, 0)
    assert (field.top, field.left, field.bottom, field.right) == (0, 0, 4, 6)


def test_three_engines_agree_on_all_of_them():
    torch.manual_seed(0)
    image = np.random.default_rng(0).normal(size=(2, 6, 7)).astype(np.float32)
    trace = record(image, **LAYERS, pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten(), output=nn.Linear(2, 2))
    verification = trace.verify()
    assert verification.passed
    assert all(layer.numpy is not None for layer in verification.layers)


def test_features_keep_their_place_through_activations():
    image = np.random.default_rng(0).normal(size=(2, 2, 2)).astype(np.float32)
    trace = record(image, flatten=nn.Flatten(), **LAYERS, output=nn.Linear(8, 2))
    assert {part.cell for part in trace.evidence(k=8).top} == set(np.ndindex(2, 2, 2))
