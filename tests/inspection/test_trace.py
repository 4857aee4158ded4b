"""What a trace promises: every number is torch's, is proved, explained and adds up on paper; and nothing changes."""

import copy
import dataclasses
import gc
import itertools
import math
import pickle
import re
import weakref
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, weight_norm

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.inspection._arithmetic import Exact, Term
from cnnclf.inspection._evidence import Contribution
from cnnclf.inspection._geometry import ReceptiveField
from cnnclf.inspection._narrative import SENTENCES
from cnnclf.inspection._recompute import RECOMPUTE, gamma
from cnnclf.inspection._records import StepDiff
from cnnclf.inspection._trace import Trace
from cnnclf.inspection._verify import EXPORTS, LayerCheck, Verification
from cnnclf.training._network import rows_alike
from helpers import exactly, quick, sequential


def hand_set(layer, **values):
    """Give a layer the weights that are named, and zeros for those that are not."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.tensor(values.get(name, 0.0)).expand_as(parameter))
    return layer


def arange(*shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def record(image, n_classes=2, **layers):
    return Trace.record(sequential(**layers), image, np.arange(n_classes))


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def random_net():
    """A network that has every kind of layer we know, and inputs that reach into every corner of it."""
    torch.manual_seed(0)
    long_way = sequential(
        conv1=nn.Conv2d(6, 6, 3, padding=1, groups=3, bias=False), norm1=nn.BatchNorm2d(6), relu1=nn.ReLU()
    )
    net = sequential(
        standardise=Standardise(torch.tensor([120.0, 99.5, -3.0]), torch.tensor([70.0, 0.003, 60.0])),
        conv1=nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
        norm1=nn.BatchNorm2d(6),
        relu1=nn.ReLU(),
        block1=Residual(long_way, nn.Conv2d(6, 6, 1)),
        block2=sequential(conv1=nn.Conv2d(6, 8, 3, padding=1), relu1=nn.ReLU()),
        block3=Residual(sequential(conv1=nn.Conv2d(8, 8, (1, 3), padding=(0, 1)))),
        pool2=nn.AvgPool2d((2, 3), stride=1),
        dropout1=nn.Dropout(0.5),
        pool3=nn.AdaptiveAvgPool2d(1),
        flatten1=nn.Flatten(),
        dense1=nn.Linear(8, 20),
        norm2=nn.BatchNorm1d(20, affine=False),
        relu2=nn.ReLU(),
        output=nn.Linear(20, 4),
    )
    for layer in net.modules():  # statistics and scales as training leaves them, not all 0 and 1
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(1e-4, 2.0)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return net


@pytest.fixture(scope="module")
def zoo():
    image = np.random.default_rng(0).integers(0, 256, (3, 13, 17), dtype=np.uint8)
    return Trace.record(random_net(), image, np.array(["ant", "bee", "cat", "dog"]))


@pytest.fixture(scope="module")
def clf(few_digits):
    X, y, _, _ = few_digits
    return quick().fit(X, y)


@pytest.fixture(scope="module")
def digit(clf, few_digits):
    return clf.trace(few_digits[2][0])


BOTH = pytest.mark.parametrize("which", ["zoo", "digit"])


@pytest.fixture
def trace(which, request):
    return request.getfixturevalue(which)


# Small networks, worked out by hand


def test_convolution():
    # 0 1 2                     (0, 0): 1·0 + 2·1 + 3·3 + 4·4 + 1 = 28   (0, 1): 1·1 + 2·2 + 3·4 + 4·5 + 1 = 38
    # 3 4 5  under  1 2  + 1:   (1, 0): 1·3 + 2·4 + 3·6 + 4·7 + 1 = 58   (1, 1): 1·4 + 2·5 + 3·7 + 4·8 + 1 = 68
    # 6 7 8         3 4
    conv = hand_set(nn.Conv2d(1, 1, 2), weight=[[[[1.0, 2], [3, 4]]]], bias=[1.0])
    trace = record(arange(1, 3, 3), conv1=conv)
    step = trace["conv1"]
    assert step.output.tolist() == [[[28, 38], [58, 68]]]
    assert (step.kind, step.n_parameters, step.n_multiply_adds) == ("conv", 5, 16)

    explanation = step.explain(0, 1, 0)
    assert explanation.terms == (
        Term(1.0, 3.0, 3.0, (0, 1, 0)),
        Term(2.0, 4.0, 8.0, (0, 1, 1)),
        Term(3.0, 6.0, 18.0, (0, 2, 0)),
        Term(4.0, 7.0, 28.0, (0, 2, 1)),
    )
    assert (explanation.value, explanation.bias, explanation.shape) == (58.0, 1.0, (1, 2, 2))
    # γ₅ = 5·2⁻²⁴ / (1 − 5·2⁻²⁴) for four products and the bias, which add up to 58 without their signs.
    assert explanation.exact == Exact(58.0, 58.0, pytest.approx(58 * 5 * 2**-24 / (1 - 5 * 2**-24), rel=1e-12))
    assert explanation.lines(0) == ("1×3 + 2×4 = 11", "11 + 3×6 + 4×7 + 1 = 58")


def test_padding():
    # The sum of each number and its neighbours; beyond the border there are zeros.
    # 0 1 2      0+1+3+4            0+1+2+3+4+5          1+2+4+5
    # 3 4 5  →   0+1+3+4+6+7        0+1+…+8              1+2+4+5+7+8
    # 6 7 8      3+4+6+7            3+4+5+6+7+8          4+5+7+8
    conv = hand_set(nn.Conv2d(1, 1, 3, padding="same", bias=False), weight=1.0)
    trace = record(arange(1, 3, 3), conv1=conv)
    assert trace["conv1"].output.tolist() == [[[8, 15, 12], [21, 36, 27], [20, 33, 24]]]
    explanation = trace["conv1"].explain(0, 0, 0)
    assert [term.source for term in explanation.terms[:5]] == [None, None, None, None, (0, 0, 0)]
    assert explanation.bias is None
    assert explanation.lines(1) == (
        "1.0×0 + 1.0×0 + 1.0×0 = 0.0",
        "0.0 + 1.0×0 + 1.0×0.0 + 1.0×1.0 = 1.0",
        "1.0 + 1.0×0 + 1.0×3.0 + 1.0×4.0 = 8.0",
    )


def test_stride_and_dilation():
    # Of 0 … 24 in rows of five, the kernel takes every second in a 3×3 square: 1·a + 10·b + 100·c + 1000·d.
    # (0, 0): 0 20 1000 12000   (0, 1): 2 40 1200 14000   (1, 0): 10 120 2000 22000   (1, 1): 12 140 2200 24000
    conv = hand_set(nn.Conv2d(1, 1, 2, stride=2, dilation=2), weight=[[[[1.0, 10], [100, 1000]]]])
    trace = record(arange(1, 5, 5), conv1=conv)
    assert trace["conv1"].output.tolist() == [[[13_020, 15_242], [24_130, 26_352]]]
    sources = [term.source for term in trace["conv1"].explain(0, 1, 0).terms]
    assert sources == [(0, 2, 0), (0, 2, 2), (0, 4, 0), (0, 4, 2)]


def test_two_input_channels():
    # 0 1   4 5   under  1 0   0 1 :  0 + 3 + 5 + 6 − 4 = 10
    # 2 3   6 7          0 1   1 0
    conv = hand_set(nn.Conv2d(2, 1, 2), weight=[[[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]]], bias=[-4.0])
    trace = record(arange(2, 2, 2), conv1=conv)
    assert trace["conv1"].output.tolist() == [[[10]]]
    assert trace["conv1"].explain(0, 0, 0).lines(0) == (
        "1×0 + 0×1 = 0",
        "0 + 0×2 + 1×3 = 3",
        "0×4 + 1×5 = 5",
        "5 + 1×6 + 0×7 = 11",
        "3 + 11 + (-4) = 10",
    )


def test_groups():
    # Two groups of one input and two output channels; channel 3 belongs to the second: −2 · (4, 5, 6, 7).
    weight = [[[[1.0]]], [[[2.0]]], [[[-1.0]]], [[[-2.0]]]]
    trace = record(arange(2, 2, 2), conv1=hand_set(nn.Conv2d(2, 4, 1, groups=2, bias=False), weight=weight))
    assert trace["conv1"].output[3].tolist() == [[-8, -10], [-12, -14]]
    assert trace["conv1"].explain(3, 1, 0).terms == (Term(-2.0, 6.0, -12.0, (1, 1, 0)),)
    assert trace["conv1"].n_multiply_adds == 4 * 4


def test_max_pooling():
    # −0 −1 −2   Windows of 2×2, every second, with a border of padding that never wins although all numbers are
    # −3 −4 −5   negative: {0}, {−1, −2}, {−3, −6}, {−4, −5, −7, −8}.
    # −6 −7 −8
    trace = record(-arange(1, 3, 3), pool1=nn.MaxPool2d(2, stride=2, padding=1))
    assert trace["pool1"].output.tolist() == trace["pool1"].recomputed.value.tolist() == [[[0, -1], [-3, -4]]]
    corner, inner = trace["pool1"].explain(0, 0, 0), trace["pool1"].explain(0, 1, 1)
    assert (corner.shape, corner.terms) == ((1, 1), (Term(1.0, 0.0, 0.0, (0, 0, 0)),))
    assert inner.shape == (2, 2)
    assert inner.terms[inner.parts["argmax"]].source == (0, 1, 1)
    assert inner.lines(0) == ("max(-4, -5, -7, -8) = -4",)


def test_average_pooling():
    # 0 1 2 3     means of 2×2: (0 + 1 + 4 + 5) / 4 = 2.5, (2 + 3 + 6 + 7) / 4 = 4.5; of all: 28 / 8 = 3.5
    # 4 5 6 7
    trace = record(arange(1, 2, 4), pool1=nn.AvgPool2d(2), pool2=nn.AdaptiveAvgPool2d(1))
    assert trace["pool1"].output.tolist() == [[[2.5, 4.5]]]
    assert trace["pool2"].output.tolist() == [[[3.5]]]
    assert trace["pool1"].explain(0, 0, 1).lines(1) == ("2.0 + 3.0 = 5.0", "5.0 + 6.0 + 7.0 = 18.0", "18.0/4 = 4.5")
    assert trace["pool2"].explain(0, 0, 0).lines(1) == ("2.5 + 4.5 = 7.0", "7.0/2 = 3.5")


def test_batch_norm_and_the_kernel_it_is_folded_into():
    # Kernel 3 4, bias 1, on 0 1 2:  0·3 + 1·4 + 1 = 5   1·3 + 2·4 + 1 = 12;  the pooling takes 12.
    # μ = 2, σ² + ε = 3 + 1 = 2², γ = −6, β = 10:  (12 − 2) / 2 · (−6) + 10 = −20.
    # As one kernel: scale −6/2 = −3, shift 10 − 2·(−3) = 16; kernel −9 −12, bias −3·1 + 16 = 13.
    # On the patch that won, 1 2:  −9 − 24 + 13 = −20.
    conv = hand_set(nn.Conv2d(1, 1, (1, 2)), weight=[[[[3.0, 4]]]], bias=[1.0])
    norm = hand_set(nn.BatchNorm2d(1, eps=1.0), weight=[-6.0], bias=[10.0])
    norm.running_mean.fill_(2)
    norm.running_var.fill_(3)
    trace = record(arange(1, 1, 3), conv1=conv, pool1=nn.MaxPool2d((1, 2)), norm1=norm)
    assert trace["norm1"].output.tolist() == [[[-20]]]
    explanation = trace["norm1"].explain(0, 0, 0)
    parts = dict(explanation.parts)
    assert parts.pop("kernel").tolist() == [[[-9, -12]]]
    assert parts == {
        **{"x": 12, "mean": 2, "variance": 3, "eps": 1, "gamma": -6, "beta": 10},
        **{"scale": -3, "shift": 16, "kernel_bias": 13},
    }
    assert explanation.lines(0) == ("√(3 + 1.0) = 2", "(12 - 2)/2×(-6) + 10 = -20", "12×(-3) + 16 = -20")


def test_a_norm_that_does_not_follow_a_convolution_has_no_kernel_to_be_folded_into():
    norms = {"norm1": nn.BatchNorm2d(1), "norm2": nn.BatchNorm2d(1)}
    trace = record(arange(1, 3, 3), norm0=nn.BatchNorm2d(1), conv1=nn.Conv2d(1, 1, 2), **norms)
    assert [step.conv and step.conv.name for step in trace.steps[:-1]] == [None, None, "conv1", None]
    assert "kernel" not in trace["norm2"].explain(0, 0, 0).parts


def test_a_channel_that_never_varied_is_explained_as_zero():
    # (7 − 3)/2 = 2 in the first channel; the second was 255 throughout training, so 230 is nothing that is known.
    standardise = Standardise(torch.tensor([3.0, 255.0]), torch.tensor([2.0, 0.0]))
    dense = hand_set(nn.Linear(2, 2), weight=[[1.0, 1], [2, 2]], bias=[0.0, 0.0])
    image = np.array([[[7]], [[230]]], dtype=np.uint8)
    layers = {"standardise": standardise, "flatten1": nn.Flatten(), "output": dense}
    trace = Trace.record(sequential(**layers), image, np.array(["no", "yes"]))

    assert trace.logits.tolist() == [2, 4]
    assert trace["standardise"].explain(0, 0, 0).lines(2) == ("(7 - 3.00)/2.00 = 2.00",)
    assert trace["standardise"].explain(1, 0, 0).lines(2) == ("0×(230 - 255.00) = 0.00",)
    text = " ".join(trace.to_text().split())
    assert "both learnt from the training images; 0 in a channel that never varied there." in text
    trace.verify()


def test_relu_flatten_dense_and_softmax():
    # (−1, 0, 1, 2) / 1 → ReLU (0, 0, 1, 2) → dense  1·1 − 2·2 + 3 = 0   and   −1 + ln 3 with weights 0, 0, −1, ln 3 / 2
    #                                                                          and bias 1: 0 + ln 3.
    # Softmax of (0, ln 3): e⁰ / (e⁰ + e^(ln 3)) = 1 / 4, 3 / 4.
    dense = hand_set(nn.Linear(4, 2), weight=[[9.0, 9, 1, -2], [9, 9, -1, math.log(3) / 2]], bias=[3.0, 1.0])
    standardise = Standardise(torch.tensor([3.0]), torch.tensor([2.0]))
    image = np.array([[[1, 3], [5, 7]]], dtype=np.uint8)
    layers = {"standardise": standardise, "relu1": nn.ReLU(), "flatten1": nn.Flatten(), "output": dense}
    trace = Trace.record(sequential(**layers), image, np.array(["no", "yes"]))

    assert [step.name for step in trace.steps] == ["standardise", "relu1", "flatten1", "output", "softmax"]
    assert trace["standardise"].output.tolist() == [[[-1, 0], [1, 2]]]
    assert trace["relu1"].output.tolist() == [[[0, 0], [1, 2]]]
    assert trace["flatten1"].output.tolist() == [0, 0, 1, 2]
    assert trace.logits == pytest.approx([0, math.log(3)])
    assert trace.probabilities == pytest.approx([0.25, 0.75])
    assert (trace.label, trace.ranking.tolist()) == ("yes", ["yes", "no"])

    assert trace["standardise"].explain(0, 1, 1).lines(2) == ("(7 - 3.00)/2.00 = 2.00",)
    assert trace["relu1"].explain(0, 0, 0).lines(2) == ("max(0, -1.00) = 0.00",)
    assert trace["flatten1"].explain(2).terms == (Term(1.0, 1.0, 1.0, (0, 1, 0)),)
    assert trace["flatten1"].explain(2).lines(1) == ("1.0 = 1.0",)
    assert trace["output"].explain(0).lines(0) == ("9×0 + 9×0 + 1×1 + (-2)×2 + 3 = 0",)
    # exp(0 − 1.0986) = 0.333; 1.000 / 1.333 = 0.750
    assert trace["softmax"].explain(1).lines(3) == (
        "exp(0.000 - 1.099) = 0.333",
        "exp(1.099 - 1.099) = 1.000",
        "0.333 + 1.000 = 1.333",
        "1.000/1.333 = 0.750",
    )
    parts = trace["softmax"].explain(1).parts
    assert (parts["max"], parts["sum"]) == (pytest.approx(math.log(3)), pytest.approx(4 / 3))
    assert parts["exponentials"] == pytest.approx((1 / 3, 1))


def test_residual_blocks():
    # x = 0 1 2 3; the residual branch doubles and takes 3 off: −3 −1 1 3, ReLU 0 0 1 3; the shortcut is x, or 10·x.
    conv = hand_set(nn.Conv2d(1, 1, 1), weight=2.0, bias=-3.0)
    body = sequential(conv1=conv, relu1=nn.ReLU())
    tenfold = hand_set(nn.Conv2d(1, 1, 1, bias=False), weight=10.0)
    trace = record(arange(1, 2, 2), block1=Residual(body), block2=Residual(body, sequential(conv=tenfold)))
    assert trace["block1"].output.tolist() == [[[0, 1], [3, 6]]]
    # y = 0 1 3 6: 2·y − 3 = −3 −1 3 9, ReLU 0 0 3 9, and 10·y = 0 10 30 60
    assert trace["block2"].output.tolist() == [[[0, 10], [33, 69]]]
    assert [step.name for step in trace.walk()] == [
        *("block1", "block1.conv1", "block1.relu1", "block1.shortcut"),
        *("block2", "block2.conv1", "block2.relu1", "block2.shortcut", "block2.shortcut.conv", "softmax"),
    ]
    assert trace["block2"].explain(0, 1, 1).lines(0) == ("9 + 60 = 69",)
    assert trace["block2.shortcut"].explain(0, 1, 1).lines(0) == ("10×6 = 60",)  # a block is what is last in it
    assert (trace["block2"].n_parameters, trace["block2"].n_multiply_adds) == (3, 8)


# What is recorded


def state_of(clf):
    """All that tracing could change."""
    module = clf.module_
    tensors = {name: (t.numpy().tobytes(), t.stride()) for name, t in module.state_dict().items()}
    rng = torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global one
    return tensors, [layer.training for layer in module.modules()], rng, torch.get_num_threads(), clf.get_params()


def assert_is_torchs(trace, clf, X):
    """Whether the trace of the first row is what the estimator gives for it, to the bit."""
    assert same_bits(trace.logits, clf.decision_function(X[:1])[0])
    assert same_bits(trace.probabilities, clf.predict_proba(X[:1])[0])
    assert trace.label == clf.predict(X[:1])[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (12, 3, 16, 13), dtype=np.uint8), np.arange(12) % 3
    clf = quick(name).fit(X, y)
    trace = clf.trace(X[0])
    assert_is_torchs(trace, clf, X)
    assert trace.coverage == 1.0
    assert sum(step.n_parameters for step in trace.steps) == clf.n_parameters_
    for before, after in zip(trace.steps[:-1], trace.steps[1:], strict=True):
        assert same_bits(before.output, after.input)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_in_the_estimator_changes(few_digits, training):
    X, y, X_test, _ = few_digits
    clf = quick("accurate").fit(X, y)  # has dropout and batch norm
    clf.module_.train(training)
    before = state_of(clf)
    trace = clf.trace(X_test[0])
    assert state_of(clf) == before
    trace.occlusion()
    trace.gradient()
    assert state_of(clf) == before
    assert all(parameter.grad is None for parameter in trace._module.parameters())


def test_a_trace_is_a_copy(clf, few_digits):
    image = few_digits[2][0].copy()
    clf = copy.deepcopy(clf)
    trace = clf.trace(image)
    values = [step.output.copy() for step in trace.walk()]
    weights = trace["conv1"].weights["weight"].copy()
    image[:] = 0
    with torch.no_grad():
        clf.module_.conv1.weight.zero_()
    assert same_bits(trace.image[0], few_digits[2][0])
    assert all(same_bits(step.output, value) for step, value in zip(trace.walk(), values, strict=True))
    assert same_bits(trace["conv1"].weights["weight"], weights)
    for array in (trace.image, trace.classes, trace["conv1"].input, trace["conv1"].output, weights.base):
        assert array is None or not array.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace["conv1"].name = "conv2"
    with pytest.raises(TypeError):
        trace["conv1"].weights["weight"] = weights


def contents(trace):
    """All that a trace records, as plain values; arrays as dtype, shape and bytes."""

    def bits(array):
        return array.dtype, array.shape, array.tobytes()

    steps = [
        (
            *(step.name, step.kind, step.description, step.n_parameters, step.n_multiply_adds, dict(step.settings)),
            *(bits(step.input), bits(step.output), {name: bits(array) for name, array in step.weights.items()}),
        )
        for step in trace.walk()
    ]
    return bits(trace.image), bits(trace.classes), steps


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copied", "pickled"])
@BOTH
def test_a_trace_that_is_copied_or_pickled(trace, again):
    other = again(trace)
    assert contents(other) == contents(trace)
    assert contents(other.follow(trace.image)) == contents(trace)  # its network came along
    assert other["norm1"].conv is other["conv1"]
    # It is as read-only as the first one was.
    for step in other.walk():
        arrays = step.input, step.output, *step.weights.values()
        assert not any(array.flags.writeable for array in (other.image, other.classes, *arrays))
        for mapping in (step.weights, step.settings):
            with pytest.raises(TypeError):
                mapping["weight"] = 0

    step, explanation = again(trace["norm1"]), again(trace["norm1"].explain(2, 0, 1))
    assert same_bits(step.output, trace["norm1"].output)
    assert same_bits(step.conv.output, trace["conv1"].output)
    assert explanation.lines() == trace["norm1"].explain(2, 0, 1).lines()
    assert same_bits(explanation.parts["kernel"], trace["norm1"].explain(2, 0, 1).parts["kernel"])


def test_a_step_with_another_output_is_a_copy_too(digit):
    output = np.zeros((16, 4, 4), dtype=np.float32)
    step = dataclasses.replace(digit["conv1"], output=output)
    output[:] = 1
    assert not step.output.any()


COLOUR = np.random.default_rng(0).integers(0, 256, (12, 3, 9, 14), dtype=np.uint8)
INPUTS = {
    "grey": COLOUR[:, 0],
    "channels first": COLOUR,
    "channels last": COLOUR.transpose(0, 2, 3, 1),
    "square rows": COLOUR[:, 0, :8, :8].reshape(12, 64),
    "tabular rows": COLOUR[:, 0, :1, :7].reshape(12, 7).astype(np.float64),
    "0 to 1": (COLOUR / 255).astype(np.float32),
}


@pytest.mark.parametrize("X", INPUTS.values(), ids=INPUTS.keys())
def test_inputs(X):
    labels = np.array(["cat", "dog", "5 & more"])[np.arange(12) % 3]
    clf = quick().fit(X, labels)
    trace = clf.trace(X[0])
    assert trace.image.shape == clf.image_shape_
    assert_is_torchs(trace, clf, X)


def test_two_classes():
    X = COLOUR[:, 0]
    clf = quick().fit(X, np.arange(12) % 2)
    trace = clf.trace(X[0])
    # as everywhere in scikit-learn, the decision is one number: the second logit minus the first
    assert clf.decision_function(X[:1]).tolist() == [trace.logits[1] - trace.logits[0]]
    assert same_bits(trace.probabilities, clf.predict_proba(X[:1])[0])


def test_where_an_estimator_may_come_from(clf, few_digits, tmp_path):
    X, y, X_test, _ = few_digits
    clf.save(tmp_path / "model.cnn")
    search = GridSearchCV(quick(), {"lr": [0.01]}, cv=2).fit(X, y)
    pipe = make_pipeline(FunctionTransformer(np.negative), quick()).fit(X.astype(np.float32), y)
    for other in (pickle.loads(pickle.dumps(clf)), CNNClassifier.load(tmp_path / "model.cnn"), search.best_estimator_):
        assert_is_torchs(other.trace(X_test[0]), other, X_test)
    inverted = pipe[:-1].transform(X_test[:1].astype(np.float32))
    trace = pipe[-1].trace(inverted[0])
    assert same_bits(trace.probabilities, pipe.predict_proba(X_test[:1].astype(np.float32))[0])


def test_a_compiled_estimator(few_digits, monkeypatch):
    # What compiling leaves behind is a wrapper; a stand-in for the compiler makes the same one in no time.
    monkeypatch.setattr(torch, "compile", lambda module, **_: torch._dynamo.OptimizedModule(module, lambda f: f))
    X, y, X_test, _ = few_digits
    clf = quick(compile=True).fit(X, y)
    assert type(clf.net_.module_).__name__ == "OptimizedModule"
    trace = clf.trace(X_test[0])
    assert [step.kind for step in trace.steps][:3] == ["standardise", "conv", "max_pool"]
    assert_is_torchs(trace, clf, X_test)


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


class LeakyByHand(nn.ReLU):
    def forward(self, x):
        return torch.maximum(x, 0.1 * x)


def test_kinds(zoo):
    seen = {step.kind for step in zoo.walk()}
    assert seen == set(SENTENCES) - {"unknown"}
    assert set(RECOMPUTE) == set(SENTENCES) - {"unknown"}
    assert zoo.coverage == 1.0
    x = torch.from_numpy(zoo.image[np.newaxis].copy()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert same_bits(zoo.logits, rows_alike(zoo._module)(x)[0].numpy())  # as prediction computes it


def test_any_sequence():
    relu = nn.ReLU(inplace=True)
    conv = hand_set(nn.Conv2d(1, 2, 3), weight=1.0)
    bare = nn.Sequential(conv, nn.Sequential(relu, nn.Sequential()), relu, nn.Flatten())
    trace = record(-arange(1, 4, 4), body=bare, act=relu, out=nn.Linear(8, 2), softmax=nn.Softmax(dim=1))
    # A layer object that stands there twice has two steps; an empty sequence passes things on; no two names are equal.
    assert [(step.name, step.kind) for step in trace.walk()] == [
        *(("body", "block"), ("body.0", "conv"), ("body.1", "block"), ("body.1.0", "relu"), ("body.1.1", "dropout")),
        *(("body.2", "relu"), ("body.3", "flatten"), ("act", "relu"), ("out", "dense")),
        *(("softmax", "softmax"), ("softmax_", "softmax")),
    ]
    # A layer that writes over its input has been seen before it did.
    assert trace["body.1.0"].input.min() < 0
    assert trace["body.1.0"].output.min() == 0
    assert same_bits(trace["body.0"].output, trace["body.1.0"].input)


def test_names_inside_a_residual_block_are_unique():
    block = Residual(sequential(shortcut=nn.Conv2d(1, 1, 1)))
    trace = record(arange(1, 2, 2), block1=block)
    assert [step.name for step in trace.walk()] == ["block1", "block1.shortcut", "block1.shortcut_", "softmax"]


def test_a_residual_block_whose_layers_write_over_its_input():
    # −1 becomes 0 in the residual branch, in place, and so does the shortcut's: 0 + 0, not 0 + (−1).
    image = np.array([[[-1.0, 2.0]]], dtype=np.float32)
    block = Residual(sequential(relu1=nn.ReLU(inplace=True)))
    trace = record(image, block1=block)
    assert (
        trace["block1"].output.tolist() == block(torch.from_numpy(image[np.newaxis].copy()))[0].tolist() == [[[0, 4]]]
    )
    assert trace["block1.shortcut"].output.tolist() == [[[0, 2]]]


def test_unknown_layers():
    # 8 numbers of an identity, 8 of an unknown layer, twice over 2 numbers, softmax 2: 8 + 2 of 8 + 8 + 8 + 2 + 2 + 2.
    layers = {"id": nn.Identity(), "twice": Twice(), "leaky": LeakyByHand(), "flat": nn.Flatten(0, -1)}
    with pytest.raises(IndexError):  # the batch axis must stay
        record(arange(1, 2, 4), **layers)
    layers = {"id": nn.Identity(), "twice": Twice(), "leaky": LeakyByHand(), "flat": nn.Flatten(), "out": nn.GELU()}
    trace = record(arange(1, 2, 4), n_classes=8, **layers)
    assert [step.kind for step in trace.steps] == ["dropout", "unknown", "unknown", "flatten", "unknown", "softmax"]
    assert trace.coverage == 3 / 6
    assert trace["twice"].output.tolist() == (2 * arange(1, 2, 4)).tolist()
    assert trace["twice"].recomputed is None
    sentence = "Expected a layer that NumPy can recompute; got 'out' (GELU). Look at its input and output instead."
    with pytest.raises(ValueError, match=exactly(sentence)):
        trace["out"].explain(0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 1, 2, padding="same"),
        nn.MaxPool2d(3, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(2),
        nn.BatchNorm2d(1, track_running_stats=False),
        nn.Flatten(start_dim=2),
        nn.Softmax(dim=1),
        nn.Linear(5, 5),
        nn.LeakyReLU(),
    ],
    ids=repr,
)
def test_what_we_would_compute_otherwise_is_unknown(layer):
    assert record(arange(1, 5, 5), n_classes=5, layer=layer)["layer"].kind == "unknown"


def test_layers_in_disguise():
    normed = weight_norm(nn.Conv2d(1, 2, 2))  # its weight is computed from two parameters
    lazy = nn.LazyLinear(2)
    trace = record(arange(1, 3, 3), conv1=normed, flatten1=nn.Flatten(), out=nn.Sequential(lazy))
    assert [step.kind for step in trace.steps] == ["conv", "flatten", "block", "softmax"]
    assert same_bits(trace["conv1"].weights["weight"], normed.weight.detach().numpy())
    assert trace["conv1"].recomputed.value == pytest.approx(trace["conv1"].output, abs=1e-5)


class Last(nn.Module):
    def forward(self, outputs):
        return outputs[0][:, -1]


def test_a_layer_that_gives_several_tensors_shows_the_first():
    layers = {"rows": nn.Flatten(1, 2), "gru": nn.GRU(4, 3, batch_first=True), "last": Last()}
    trace = record(arange(1, 5, 4), n_classes=3, **layers)
    assert trace["gru"].output.shape == trace["last"].input.shape == (5, 3)
    assert same_bits(trace["last"].output, trace["gru"].output[-1])


def test_a_bare_module_is_one_layer(few_digits):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(64, 10)

        def forward(self, x):
            return self.dense(x.flatten(1))

    X, y, X_test, _ = few_digits
    clf = quick(lambda image_shape, n_classes: Net()).fit(X, y)
    trace = clf.trace(X_test[0])
    assert [(step.name, step.kind) for step in trace.steps] == [
        ("standardise", "standardise"),
        ("module", "unknown"),
        ("softmax", "softmax"),
    ]
    assert set(trace["module"].weights) == {"dense.weight", "dense.bias"}
    assert trace.coverage == (64 + 10) / (64 + 10 + 10)
    assert_is_torchs(trace, clf, X_test)


def test_a_name_that_no_layer_has():
    trace = record(arange(1, 1, 2), flatten1=nn.Flatten(), out=sequential(dense=nn.Linear(2, 2)))
    sentence = "Expected the name of a layer, one of 'flatten1', 'out', 'out.dense' and 'softmax'; got 'conv1'."
    with pytest.raises(KeyError) as error:
        trace["conv1"]
    assert error.value.args == (sentence,)


def test_another_image_goes_the_same_way(clf, digit, few_digits):
    image = few_digits[2][1]
    followed, traced = digit.follow(image[np.newaxis]), clf.trace(image)
    for a, b in zip(followed.walk(), traced.walk(), strict=True):
        assert same_bits(a.output, b.output)
    assert followed._module is digit._module
    sentence = "Expected an image of shape (1, 8, 8), as the traced one; got (8, 8)."
    with pytest.raises(ValueError, match=exactly(sentence)):
        digit.follow(image)


# Three engines


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
    strangers = sequential(**{f"gelu{k}": nn.GELU() for k in range(1, 8)})
    trace = record(arange(1, 2, 4), n_classes=8, block=strangers, flat=nn.Flatten())
    assert [step.name for step in trace.unknown] == [f"block.gelu{k}" for k in range(1, 8)]
    assert "recompute 'block.gelu1 (GELU)', 'block.gelu2 (GELU)', 'block.gelu3 (GELU)', " in trace.to_latex()
    assert "'block.gelu5 (GELU)' and 2 more, so only" in " ".join(trace.to_text().split())
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


# Arithmetic on paper


def evaluate(text):
    """Evaluate one side of a printed equation in decimal; nothing here comes from the code that wrote it."""
    tokens = re.findall(r"\d+(?:\.\d+)?|√|exp|max|[-+×/(),]", text)
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


def assert_adds_up(line):
    """Hold one printed line to what it says: its left side, in decimal, is its right side in the last digit."""
    left, right = line.split(" = ")
    half = Decimal(1).scaleb(Decimal(right).as_tuple().exponent) / 2
    with localcontext(prec=200):
        plain = left.removesuffix(" (rounding)")
        assert "rounding" not in plain
        error = abs(evaluate(plain) - Decimal(right))
        assert error < half, line
        if plain != left:  # a rounding term stands only where it is needed
            without = plain.rpartition(" + ")[0]
            assert abs(evaluate(without) - Decimal(right)) >= half, line
    assert not re.search(r"-0(\.0+)?(?![\d.])", line), line  # no minus zero
    assert not re.match(r"\(-[\d.]+\)", line), line  # nor does the first number need parentheses
    assert not re.search(r"[-+×/] -", line), line  # a minus behind an operator stands in parentheses


def random_cells(step, n):
    rng = np.random.default_rng(0)
    return {tuple(int(rng.integers(size)) for size in step.output.shape) for _ in range(n)}


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
            value = f"{step.output[cell].item():.{decimals}f}"
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


# Receptive fields


def test_receptive_fields_by_hand():
    # 9×9: conv 3×3 stride 2 padding 1 → 5×5: unit i sees 2i − 1 … 2i + 1.
    # pool 2×2 stride 1 → 4×4: unit i sees i, i + 1 → 2i − 1 … 2i + 3.   conv 2×2 dilation 3 → 1×1: sees 0 and 3.
    trace = record(
        arange(1, 9, 9),
        conv1=nn.Conv2d(1, 1, 3, stride=2, padding=1),
        pool1=nn.MaxPool2d(2, stride=1),
        conv2=nn.Conv2d(1, 2, 2, dilation=3),
        flatten1=nn.Flatten(),
    )
    assert trace.receptive_field("conv1", 0, 4) == ReceptiveField(top=0, left=7, bottom=2, right=9)
    assert trace.receptive_field("conv1", 1, 2) == ReceptiveField(top=1, left=3, bottom=4, right=6)
    assert trace.receptive_field("pool1", 1, 2) == ReceptiveField(top=1, left=3, bottom=6, right=8)
    assert trace.receptive_field("conv2", 0, 0, within="pool1") == ReceptiveField(top=0, left=0, bottom=4, right=4)
    assert trace.receptive_field("flatten1", 1, within="conv2") == ReceptiveField(top=0, left=0, bottom=1, right=1)
    assert trace.receptive_field("softmax", 1) == ReceptiveField(top=0, left=0, bottom=9, right=9)


def test_a_unit_that_sees_nothing_but_padding():
    # 2×2, then a border of two: unit (0, 0) sees padding alone, unit (2, 3) the number at (0, 1).
    convs = {"conv1": nn.Conv2d(1, 1, 3, padding=1), "conv2": nn.Conv2d(1, 1, 1, padding=2)}
    trace = record(arange(1, 2, 2), **convs)
    assert trace.receptive_field("conv2", 0, 0) == ReceptiveField(top=0, left=0, bottom=0, right=0)
    assert trace.receptive_field("conv2", 2, 3, within="conv1") == ReceptiveField(top=0, left=1, bottom=1, right=2)
    # With a border of one, every third unit of the residual branch sees padding alone; the shortcut sees its own place.
    body = sequential(conv1=nn.Conv2d(1, 1, 1), conv2=nn.Conv2d(1, 1, 1, stride=3, padding=1))
    trace = record(arange(1, 2, 2), block1=Residual(body))
    assert trace.receptive_field("block1", 1, 1) == ReceptiveField(top=1, left=1, bottom=2, right=2)


def unit_of(trace, name, cell):
    output = trace[name].output
    return output[cell] if output.ndim == 1 else output[:, *cell]


def border(shape, field):
    """The pixels of each side of a field: masks."""
    for rows, columns in (
        (slice(field.top, field.top + 1), slice(field.left, field.right)),
        (slice(field.bottom - 1, field.bottom), slice(field.left, field.right)),
        (slice(field.top, field.bottom), slice(field.left, field.left + 1)),
        (slice(field.top, field.bottom), slice(field.right - 1, field.right)),
    ):
        mask = np.zeros(shape, dtype=bool)
        mask[rows, columns] = True
        yield mask


def smooth_net():
    """As the network of the zoo up to its average pooling, but every number counts: no ReLU, no maximum."""
    torch.manual_seed(1)
    body = sequential(conv1=nn.Conv2d(4, 4, 3, padding=1), conv2=nn.Conv2d(4, 4, 3, padding=1))
    return sequential(
        conv1=nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
        block1=Residual(body, nn.Conv2d(4, 4, 1)),
        block2=sequential(conv1=nn.Conv2d(4, 4, 3, stride=2)),
        pool1=nn.AvgPool2d(2, stride=1),
        flatten1=nn.Flatten(),
    )


@pytest.mark.parametrize("make", [random_net, smooth_net])
def test_pixels_outside_of_a_receptive_field_do_not_matter_and_those_on_its_border_do(make):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 21, 25)).astype(np.float32)
    trace = Trace.record(make(), image, np.arange(4))
    for step in trace.walk():
        cells = {cell[-2:] for cell in random_cells(step, 4)}
        for cell in sorted(cells):
            field = trace.receptive_field(step.name, *cell)
            inside = np.zeros(image.shape[1:], dtype=bool)
            inside[field.top : field.bottom, field.left : field.right] = True
            noise = rng.normal(size=image.shape).astype(np.float32)
            outside = trace.follow(np.where(inside, image, noise))
            assert same_bits(unit_of(outside, step.name, cell), unit_of(trace, step.name, cell))
            if make is smooth_net and step.name != "softmax":
                for mask in border(image.shape[1:], field):
                    changed = trace.follow(np.where(mask, noise, image))
                    assert not same_bits(unit_of(changed, step.name, cell), unit_of(trace, step.name, cell))


def test_a_receptive_field_in_an_earlier_layer(zoo):
    # Through both ways of a residual block: 3×3 on the long one, 1×1 on the short one.
    field = zoo.receptive_field("block1", 2, 2, within="relu1")
    assert field == ReceptiveField(top=1, left=1, bottom=4, right=4)
    assert zoo.receptive_field("block1.shortcut", 2, 2, within="relu1") == ReceptiveField(2, 2, 3, 3)
    assert zoo.receptive_field("block1", 2, 2, within="block1.norm1") == ReceptiveField(2, 2, 3, 3)
    assert zoo.receptive_field("dense1", 2, within="dropout1") == ReceptiveField(
        0, 0, *zoo["dropout1"].output.shape[1:]
    )


def test_receptive_fields_that_are_not_there(zoo):
    with pytest.raises(KeyError):
        zoo.receptive_field("conv9", 0, 0)
    sentence = "Expected within to name a layer that 'conv1' is computed from; got 'pool1'."
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.receptive_field("conv1", 0, 0, within="pool1")
    sentence = "Expected whole numbers that name a cell of layer 'pool3': row 0 to 0, column 0 to 0; got (0, 1)."
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.receptive_field("pool3", 0, 1)


# Differences


def test_differences_by_hand():
    # −1 0 1 2 and −3 0 1 6: after the ReLU 0 0 1 2 and 0 0 1 6 – one number, by 4, of a vector of length √5.
    a = record(np.array([[[-1, 0, 1, 2]]], dtype=np.float32), n_classes=4, relu1=nn.ReLU(), flatten1=nn.Flatten())
    b = a.follow(np.array([[[-3, 0, 1, 6]]], dtype=np.float32))
    relu, flatten, softmax = a.diff(b)
    assert relu == StepDiff("relu1", 4.0, 1.0, pytest.approx(4 / math.sqrt(5)), 1)
    assert (flatten.name, softmax.name) == ("flatten1", "softmax")
    assert b.diff(b)[0] == StepDiff("relu1", 0.0, 0.0, 0.0, 0)
    zero = a.follow(np.zeros((1, 1, 4), dtype=np.float32))
    assert zero.diff(a)[0] == StepDiff("relu1", 2.0, 0.75, math.inf, 2)
    assert zero.diff(zero)[0].relative == 0


def test_two_networks(clf, digit, few_digits):
    X, y, X_test, _ = few_digits
    diffs = digit.diff(quick(random_state=1).fit(X, y).trace(X_test[0]))
    assert [diff.name for diff in diffs] == [step.name for step in digit.walk()]
    assert diffs[0].n_changed == 0  # the same training images, hence the same standardisation
    assert all(diff.n_changed > 0 for diff in diffs[1:])


def test_networks_that_cannot_be_compared():
    a = record(arange(1, 1, 2), flatten1=nn.Flatten())
    b = record(arange(1, 1, 3), flatten2=nn.Flatten())
    sentence = (
        "Expected two traces whose layers have the same names and shapes; got flatten1 (2,), softmax (2,) and "
        "flatten2 (3,), softmax (3,). Compare networks of one architecture."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        a.diff(b)


# Evidence


def evidence_net():
    # Features 1 2 3 4 from maps of two channels of one row of two; logits
    # no: 1·1 + 0·2 − 1·3 + 2·4 + 1 = 7      yes: 2·1 + 1·2 + 1·3 + 0·4 + 0.5 = 7.5      maybe: 0
    dense = hand_set(nn.Linear(4, 3), weight=[[1.0, 0, -1, 2], [2, 1, 1, 0], [0, 0, 0, 0]], bias=[1.0, 0.5, 0.0])
    layers = {"flatten1": nn.Flatten(), "dropout1": nn.Dropout(), "relu1": nn.ReLU(), "output": dense}
    return Trace.record(sequential(**layers), 1 + arange(2, 1, 2), np.array(["no", "yes", "maybe"]))


def test_evidence_by_hand():
    evidence = evidence_net().evidence("no", k=2)
    assert evidence.top == (
        Contribution(feature=3, cell=(1, 0, 1), value=4.0, weight=2.0, product=8.0),
        Contribution(feature=2, cell=(1, 0, 0), value=3.0, weight=-1.0, product=-3.0),
    )
    assert (evidence.label, evidence.against) == ("no", None)
    assert (evidence.rest, evidence.n_rest, evidence.bias, evidence.logit, evidence.recorded) == (1, 2, 1, 7, 7)


def test_what_separates_the_first_from_the_second():
    # yes − no: weights 1 1 2 −2, products 1 2 6 −8, biases −0.5: 0.5
    trace = evidence_net()
    evidence = trace.evidence(against=trace.ranking[1], k=2)
    assert (evidence.label, evidence.against) == ("yes", "no")
    assert [(c.feature, c.weight, c.product) for c in evidence.top] == [(3, -2, -8), (2, 2, 6)]
    assert (evidence.rest, evidence.bias, evidence.logit, evidence.recorded) == (3, -0.5, 0.5, 0.5)


@pytest.mark.parametrize("k", [0, 10, 1000])
@BOTH
def test_evidence_adds_up(trace, k):
    dense = trace["output"]
    for i, label in enumerate(trace.classes):
        evidence = trace.evidence(label, k=k)
        parts = [*(contribution.product for contribution in evidence.top), evidence.rest, evidence.bias]
        assert math.fsum(parts) == evidence.logit
        assert len(evidence.top) + evidence.n_rest == len(dense.input)
        expected = dense.weights["weight"][i].astype(np.float64) @ dense.input + dense.weights["bias"][i]
        assert evidence.logit == pytest.approx(expected, rel=1e-12)
        assert evidence.recorded == trace.logits[i]
        assert abs(evidence.logit - evidence.recorded) <= dense.recomputed.bound[i]
        against = trace.evidence(label, against=trace.ranking[-1], k=k)
        assert against.recorded == float(trace.logits[i]) - float(trace.logits.min())
        sizes = [abs(contribution.product) for contribution in evidence.top]
        assert sizes == sorted(sizes, reverse=True)


def test_features_that_are_no_flattened_maps_have_no_cell(zoo):
    assert zoo.evidence(k=1).top[0].cell is None  # another dense layer comes before
    flat = record(arange(1, 1, 3), flatten1=nn.Flatten(), block1=sequential(out=nn.Linear(3, 2)))
    assert [contribution.cell for contribution in flat.evidence(k=3).top] != [None] * 3


def test_evidence_that_cannot_be_had(zoo):
    sentence = "Expected a label among the classes 'ant', 'bee', 'cat' and 'dog'; got 'cow'."
    for ask in (zoo.evidence, zoo.occlusion, zoo.gradient):
        with pytest.raises(ValueError, match=exactly(sentence)):
            ask(label="cow")
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.evidence(against="cow")
    with pytest.raises(ValueError, match=exactly("Expected k of at least 0; got -1.")):
        zoo.evidence(k=-1)
    trace = record(arange(2, 2, 2), pool1=nn.AdaptiveAvgPool2d(1), flatten1=nn.Flatten())
    sentence = (
        "Expected logits that come from a dense layer, whose products are the evidence; got 'flatten1' (Flatten) as "
        "the last layer. Use occlusion or gradient, which need none."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        trace.evidence()


# Which pixels matter


@pytest.mark.parametrize(("size", "label"), [(1, "dog"), (5, "bee"), (None, None)])
def test_occlusion_pixel_by_pixel(zoo, size, label):
    drop = zoo.occlusion(size, label)
    assert drop.shape == (13, 17)
    position = zoo.classes.tolist().index(label or zoo.label)
    reach = (size or 3) // 2  # a quarter of 13 rows, made odd
    mean = np.array([120.0, 99.5, -3.0], dtype=np.float32)
    for row, column in [(0, 0), (12, 16), (0, 9), (6, 8), (11, 2)]:
        image = zoo.image.astype(np.float32)
        for r in range(row - reach, row + reach + 1):
            for c in range(column - reach, column + reach + 1):
                if 0 <= r < 13 and 0 <= c < 17:
                    image[:, r, c] = mean
        with torch.no_grad():
            logit = zoo._module(torch.from_numpy(image[np.newaxis]))[0, position].item()
        # the second channel's tiny standard deviation makes logits of some thousands
        assert drop[row, column] == pytest.approx(zoo.logits[position] - logit, rel=1e-4, abs=1e-6 * abs(logit))


@pytest.mark.parametrize("size", [0, 2, -1])
def test_squares_without_a_centre(zoo, size):
    sentence = f"Expected size to be an odd number of pixels, so that a square has a centre; got {size}."
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.occlusion(size)


def test_the_gradient_against_central_differences(digit):
    # In float64, where a step of 1e-5 grey levels is far from the rounding and far from the next kink.
    module = copy.deepcopy(digit._module).double()
    image, h = torch.from_numpy(digit.image.astype(np.float64))[np.newaxis], 1e-5
    for label in (None, 3):
        gradient = digit.gradient(label)
        assert gradient.shape == digit.image.shape
        position = digit.classes.tolist().index(digit.label if label is None else label)
        differences = np.zeros(gradient.shape)
        for pixel in np.ndindex(gradient.shape):
            up, down = image.clone(), image.clone()
            up[0][pixel] += h
            down[0][pixel] -= h
            with torch.no_grad():
                differences[pixel] = (module(up) - module(down))[0, position].item() / (2 * h)
        assert gradient == pytest.approx(differences, rel=1e-3, abs=1e-5 * np.abs(differences).max())


# Renderings


def test_renderings_are_made_elsewhere(digit, monkeypatch, tmp_path):
    for module, name in (("_text", "text"), ("_text", "markdown"), ("_latex", "latex")):
        monkeypatch.setattr(f"cnnclf.inspection.{module}.to_{name}", lambda trace, name=name: (name, trace))
    for module in ("_html", "_xlsx"):
        monkeypatch.setattr(f"cnnclf.inspection.{module}.write", lambda *call: call)
    assert digit.to_text() == ("text", digit)
    assert digit.to_markdown() == ("markdown", digit)
    assert digit.to_latex() == ("latex", digit)
    assert digit.to_html(tmp_path) == (digit, tmp_path)
    assert digit.to_xlsx(tmp_path, ["conv1"]) == (digit, tmp_path, ["conv1"])
