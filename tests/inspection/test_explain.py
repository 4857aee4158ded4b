"""Every kind of layer in a small network, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.inspection._arithmetic import Exact, Term
from cnnclf.inspection._trace import Trace
from helpers import sequential
from small_networks import arange, hand_set, record


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
