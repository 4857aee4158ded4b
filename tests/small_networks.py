"""Small networks whose weights are chosen, and traces of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.inspection._trace import Trace
from helpers import sequential


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
        pool4=nn.AdaptiveMaxPool2d(1),
        flatten1=nn.Flatten(),
        dense1=nn.Linear(8, 20),
        norm2=nn.BatchNorm1d(20, affine=False),
        relu2=nn.ReLU(),
        **{
            "leaky1": nn.LeakyReLU(),
            "gelu1": nn.GELU(),
            "silu1": nn.SiLU(),
            "tanh1": nn.Tanh(),
            "sigmoid1": nn.Sigmoid(),
        },
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


BOTH = pytest.mark.parametrize("which", ["zoo", "digit"])


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


def random_cells(step, n):
    rng = np.random.default_rng(0)
    return {tuple(int(rng.integers(size)) for size in step.output.shape) for _ in range(n)}
