"""Three engines compute every layer; a number that was altered is found."""

import copy
import dataclasses
import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from cnnclf.architectures._modules import Standardise
from cnnclf.inspection._recompute import gamma
from cnnclf.inspection._verify import EXPORTS, LayerCheck, Verification
from helpers import exactly, sequential
from small_networks import BOTH, Twice, arange, record


@BOTH
def test_verification_passes(trace):
    verification = trace.verify()
    assert verification.passed, str(verification)
    assert verification.failed == ()
    # a block comes after what is inside it
    names = [layer.name for layer in verification.layers]
    assert sorted(names) == sorted(step.name for step in trace.walk())
    assert [name for name in names if name.startswith("block1")] in (
        [],
        ["block1.conv1", "block1.norm1", "block1.relu1", "block1.shortcut", "block1"],
    )
    exact = {"relu", "max_pool", "flatten", "dropout", "block"}
    assert all(layer.numpy == 0 for layer in verification.layers if layer.kind in exact)
    assert 0 < max(layer.numpy for layer in verification.layers) <= 1
    assert 0 < max(layer.onnx for layer in verification.layers) <= 1


def test_float64_recomputation_is_torchs(zoo):
    # The same layers in torch's own float64, from the same recorded inputs.
    for name, layer in copy.deepcopy(zoo._module).double().named_children():
        x = torch.from_numpy(zoo[name].input.astype(np.float64))[np.newaxis]
        expected = layer(x)[0].detach().numpy()
        recomputed = zoo[name].recomputed
        if not zoo[name].steps:
            assert recomputed.value == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert recomputed.value.shape == recomputed.bound.shape == zoo[name].output.shape


def alter(step, name, index, change=1e-3):
    """A step with one weight altered."""
    weight = step.weights[name].copy()
    weight[index] += change
    return dataclasses.replace(step, weights={**step.weights, name: weight})


def exchange(steps, new):
    """Steps of which one, perhaps inside a block, is replaced by another of the same name."""
    return tuple(
        new if step.name == new.name else dataclasses.replace(step, steps=exchange(step.steps, new)) for step in steps
    )


def shows(step, name, index):
    """Whether altering a weight of a convolution or dense layer by 1e-3 moves some cell out of its bound.

    The weight is multiplied by the numbers that a kernel of zeros with a single one picks, so the cells of its output
    channel move by 1e-3 times these; the bound holds on either side.
    """
    if name != "weight":
        return name == "bias" and 3 * step.recomputed.bound[index[0]].min() < 1e-3
    one_hot = torch.zeros(step.weights[name].shape)
    one_hot[index] = 1
    x = torch.from_numpy(step.input.copy())[np.newaxis]
    s = step.settings
    if step.kind == "dense":
        picked = nn.functional.linear(x, one_hot)
    else:
        picked = nn.functional.conv2d(x, one_hot, None, s["stride"], s["padding"], s["dilation"], s["groups"])
    return bool((1e-3 * picked[0].abs().numpy() > 3 * step.recomputed.bound)[index[0]].any())


def draw_weights(trace, kinds, n, condition=lambda *_: True):
    """Draw random weights: (step, name of the array, index)."""
    rng = np.random.default_rng(0)
    steps = [step for step in trace.walk() if step.kind in kinds and step.weights]
    drawn = []
    while len(drawn) < n:
        step = steps[rng.integers(len(steps))]
        name = sorted(step.weights)[rng.integers(len(step.weights))]
        index = tuple(int(rng.integers(size)) for size in step.weights[name].shape)
        if condition(step, name, index):
            drawn.append((step, name, index))
    return drawn


@BOTH
def test_a_recorded_weight_that_was_altered_is_found(trace):
    for step, name, index in draw_weights(trace, {"conv", "dense", "norm", "standardise"}, 20):
        altered = dataclasses.replace(trace, steps=exchange(trace.steps, alter(step, name, index)))
        assert altered.verify().failed == (step.name,)
    # Where the alteration must show in the arithmetic, NumPy finds it on its own.
    for step, name, index in draw_weights(trace, {"conv", "dense"}, 20, shows):
        altered = dataclasses.replace(trace, steps=exchange(trace.steps, alter(step, name, index)))
        assert [layer.name for layer in altered.verify().layers if layer.numpy > 1] == [step.name]


def test_a_weight_of_the_network_that_was_altered_is_found():
    torch.manual_seed(0)
    layers = {"norm1": nn.BatchNorm2d(1), "conv1": nn.Conv2d(1, 2, 2), "flatten1": nn.Flatten(), "out": nn.Linear(8, 2)}
    trace = record(arange(1, 3, 3), **layers)
    assert trace.verify().passed
    # Each altered network is exported anew, hence only some here, and twenty on MNIST in the acceptance tests.
    for step, name, index in draw_weights(trace, {"conv", "dense", "norm"}, 3):
        module = copy.deepcopy(trace._module)
        with torch.no_grad():
            getattr(module.get_submodule(step.name), name)[index] += 1e-3
        assert dataclasses.replace(trace, _module=module).verify().failed[0] == step.name


def test_a_number_that_was_altered_is_found_by_each_engine(digit):
    step = digit["conv2"]
    output = step.output.copy()
    output[3, 0, 0] += 1e-3
    altered = dataclasses.replace(digit, steps=exchange(digit.steps, dataclasses.replace(step, output=output)))
    (check,) = [layer for layer in altered.verify().layers if not layer.passed]
    assert check.name == "conv2"
    assert not check.torch
    assert check.numpy > 1
    assert check.onnx > 1


def test_onnxruntime_runs_the_exported_network(digit):
    # A network that changes after it was recorded and exported: from the altered layer on onnxruntime disagrees.
    module = copy.deepcopy(digit._module)
    trace = dataclasses.replace(digit, _module=module)
    assert trace.verify().passed
    with torch.no_grad():
        module.norm1.bias += 0.5
    checks = trace.verify().layers
    disagrees = [layer.name for layer in checks if layer.onnx > 1]
    assert disagrees[0] == "norm1"
    assert not {"standardise", "conv1", "pool1"} & set(disagrees)


@pytest.mark.parametrize(
    ("engines", "passed"),
    [
        ({"torch": True, "numpy": 1.0, "onnx": 1.0}, True),
        ({"torch": True, "numpy": None, "onnx": 0.0}, True),
        ({"torch": False, "numpy": 0.0, "onnx": 0.0}, False),
        ({"torch": True, "numpy": 1.01, "onnx": 0.0}, False),
        ({"torch": True, "numpy": 0.0, "onnx": 1.01}, False),
        ({"torch": True, "numpy": math.nan, "onnx": 0.0}, False),
    ],
)
def test_a_layer_passes_when_no_engine_disagrees(engines, passed):
    assert LayerCheck("conv1", "conv", 4, **engines).passed is passed


def test_a_layer_under_another_name_is_found(digit):
    *others, output, softmax = digit.steps
    altered = dataclasses.replace(digit, steps=(*others, dataclasses.replace(output, name="dense"), softmax))
    assert altered.verify().failed == ("dense",)


def test_unknown_layers_are_verified_by_two_engines():
    trace = record(arange(1, 2, 2), twice=Twice(), flatten1=nn.Flatten(), out=nn.Linear(4, 2))
    verification = trace.verify()
    assert verification.passed, str(verification)
    assert [layer.numpy is None for layer in verification.layers] == [True, False, False, False]
    assert "not recomputed" in str(verification)


class Upright(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x  # which way the exporter cannot know


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (Upright, "'layer' (Upright)"),
        # a dense layer like any other to torch and NumPy, but its weights come from a matrix exponential
        (lambda: orthogonal(nn.Linear(4, 4)), "the way its weights are computed"),
    ],
)
def test_a_network_that_torch_cannot_export(make, cause):
    trace = record(arange(1, 2, 2), flatten1=nn.Flatten(), layer=make(), output=nn.Linear(4, 2))
    sentence = (
        "Expected a network that torch can export to ONNX, for onnxruntime to compute it, too; got one that it cannot, "
        f"most likely because of {cause}. Build it of operations that torch.onnx.export knows, or compare the output "
        "of each step with its recomputed value yourself."
    )
    with pytest.raises(RuntimeError, match=exactly(sentence)):
        trace.verify()


def test_the_table_of_a_verification():
    layers = (
        LayerCheck("conv1", "conv", 1024, torch=True, numpy=0.25, onnx=0.0),
        LayerCheck("act", "unknown", 1024, torch=False, numpy=None, onnx=0.5),
        LayerCheck("pool", "max_pool", 256, torch=True, numpy=math.nan, onnx=0.5),
    )
    verification = Verification(layers)
    assert not verification.passed
    assert verification.failed == ("act", "pool")
    assert str(verification).splitlines() == [
        "1 of 3 layers verified; failed: act, pool",
        "",
        "   layer  kind      values    torch           NumPy  onnxruntime",
        "✓  conv1  conv       1,024     same         25.00 %         same",
        "✗  act    unknown    1,024  differs  not recomputed      50.00 %",
        "✗  pool   max_pool     256     same           NaN %      50.00 %",
        "",
        "torch: run again, outputs and weights bit for bit.",
        "NumPy: float64 from the recorded inputs; largest error in percent of what rounding to float32 explains.",
        "onnxruntime: the exported graph, not optimised; largest difference in percent of 1e-5·max(1, max|a|).",
    ]


def test_a_layer_that_numpy_does_not_know_is_not_called_verified():
    again = LayerCheck("module", "unknown", 10, torch=True, numpy=None, onnx=0.02)
    known = LayerCheck("softmax", "softmax", 10, torch=True, numpy=0.03, onnx=0.0)
    verification = Verification((again, known))
    assert verification.passed
    head, _, _, row, *_, note = str(verification).splitlines()
    assert head == "1 of 2 layers verified, 1 only run again"
    assert row.startswith("○  module")
    assert note == "○: NumPy does not know the layer, so it was only run again."


def test_a_network_of_ones_own_class_is_said_to_be_unknown_at_the_top():
    trace = record(arange(1, 2, 4), n_classes=8, standardise=Standardise(torch.zeros(1), torch.ones(1)), net=Own())
    assert str(trace.verify()).splitlines()[0] == "2 of 3 layers verified, 1 only run again"
    sentence = "cnnclf cannot recompute 'net (Own)', so only the recorded numbers are shown."
    for text in (trace.to_text(), trace.to_markdown(), trace.to_latex()):
        above, below = " ".join(text.split()).split("standardise", 1)
        assert sentence in above
        assert sentence not in below


def test_unknown_layers_inside_blocks_are_named_at_the_top_and_of_many_the_first_five():
    strangers = sequential(**{f"softplus{k}": nn.Softplus() for k in range(1, 8)})
    trace = record(arange(1, 2, 4), n_classes=8, block=strangers, flat=nn.Flatten())
    assert [step.name for step in trace.unknown] == [f"block.softplus{k}" for k in range(1, 8)]
    assert (
        "recompute 'block.softplus1 (Softplus)', 'block.softplus2 (Softplus)', 'block.softplus3 (Softplus)', "
        in trace.to_latex()
    )
    assert "'block.softplus5 (Softplus)' and 2 more, so only" in " ".join(trace.to_text().split())
    assert "cannot recompute" not in record(arange(1, 2, 4), n_classes=8, flat=nn.Flatten()).to_text()


class Own(nn.Module):
    """A network that is no nn.Sequential."""

    def forward(self, x):
        return x.flatten(1) ** 2


def test_the_bound_of_a_sum():
    # n·u / (1 − n·u) with u = 2⁻²⁴; sums in the worst order stay within it: 1 + u + u + … is 1 in float32.
    assert gamma(25) == 25 * 2**-24 / (1 - 25 * 2**-24)
    n, u = 4096, 2.0**-24
    in_float32 = np.float32(1)
    for _ in range(n - 1):
        in_float32 += np.float32(u)
    exact = 1 + (n - 1) * u
    assert in_float32 == 1
    assert 0.99 * gamma(n - 1) < (exact - in_float32) / exact < gamma(n - 1)


def test_traces_of_one_network_share_its_export_which_goes_with_them():
    trace = record(arange(1, 3, 3), conv1=nn.Conv2d(1, 2, 2), flatten1=nn.Flatten(), out=nn.Linear(8, 2))
    assert trace.verify().passed
    exported = weakref.ref(EXPORTS[trace._module][1])
    other = trace.follow(trace.image + 1)
    assert other.verify().passed
    assert EXPORTS[other._module][1] is exported()
    del trace, other
    gc.collect()
    assert exported() is None
