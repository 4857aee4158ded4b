"""What the table of architectures promises: published sizes, and networks that fit any image."""

import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from cnnclf.architectures import _modules as modules
from cnnclf.architectures._build import build_sequential
from cnnclf.architectures._layers import (
    GELU,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LeakyReLU,
    Pool,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Stage,
    Tanh,
)
from cnnclf.architectures._summary import (
    LayerSummary,
    count_multiply_adds,
    count_parameters,
    describe,
    list_layers,
    summarize,
)
from cnnclf.architectures._table import ARCHITECTURES, find_architecture, list_architectures
from cnnclf.inspection._trace import Trace

# Trainable parameters at 1×28×28 and 10 classes, by hand. A convolution of k×k from a to b channels has
# (k·k·a + 1)·b, a dense layer from a to b features (a + 1)·b. A valid 3×3 convolution takes 2 off each side, a 2×2
# pooling halves it, rounded down.
BY_HAND = {
    # 28 → 14 → 7 → 3, padded, two convolutions a stage without a bias; a norm has 2 parameters a channel
    #   9·(1·24 + 24·24 + 24·48 + 48·48 + 48·96 + 96·96) + 4·(24 + 48 + 96) + (96 + 1)·10
    # = 9·17,880 + 672 + 970
    "general": 162_562,
    # 28 → 14 → 7 → 3, padded, without a bias: one convolution, then three a stage, of which two keep the channels
    #   9·(1·32 + 32·64 + 2·64·64 + 64·112 + 2·112·112) + 2·(32 + 3·64 + 3·112) + (112 + 1)·10
    # = 9·42,528 + 1,120 + 1,130
    "residual": 385_002,
    # 28 → 28 (5×5, padding 2) → 14 → 10 (5×5) → 5; 16·5·5 = 400 features
    #   (25·1 + 1)·6 + (25·6 + 1)·16 + (400 + 1)·120 + (120 + 1)·84 + (84 + 1)·10
    # =      156     +     2,416     +     48,120     +    10,164     +    850
    "lenet5": 61_706,
    # 28 → 26 → 13 → 11 → 5; 64·5·5 = 1,600 features
    #   (9·1 + 1)·32 + (9·32 + 1)·64 + (1,600 + 1)·10
    # =     320      +    18,496     +    16,010
    "keras_mnist": 34_826,
    # 28 → 26 → 24 → 12; 64·12·12 = 9,216 features
    #   (9·1 + 1)·32 + (9·32 + 1)·64 + (9,216 + 1)·128 + (128 + 1)·10
    # =     320      +    18,496     +    1,179,776    +    1,290
    "pytorch_mnist": 1_199_882,
    # 28 → 26 → 13 → 11 → 5 → 3 → 1; 128 features
    #   (9·1 + 1)·32 + (9·32 + 1)·64 + (9·64 + 1)·128 + (128 + 1)·128 + (128 + 1)·10
    # =     320      +    18,496     +     73,856     +    16,512     +    1,290
    "pool3_head1": 110_474,
    # the same convolutions and first dense layer, 109,184, then 64 and 32
    #   109,184 + (128 + 1)·64 + (64 + 1)·32 + (32 + 1)·10
    # = 109,184 +    8,256     +    2,080    +    330
    "pool3_head3": 119_850,
    # 28 → 26 → 13 → 11 → 5 → 3; 64·3·3 = 576 features
    #   (9·1 + 1)·32 + (9·32 + 1)·64 + (9·64 + 1)·64 + (576 + 1)·64 + (64 + 1)·10
    # =     320      +    18,496     +    36,928     +    36,928    +    650
    "pool2_conv3": 93_322,
}

IMAGE_SHAPES = [
    (1, 1, 1),
    (1, 1, 2),
    (1, 1, 3),
    (1, 1, 13),
    (1, 13, 1),
    (1, 1, 64),
    (1, 64, 1),
    (1, 2, 2),
    (1, 3, 3),
    (1, 5, 5),
    (1, 8, 8),
    (1, 28, 28),
    (3, 32, 32),
    (4, 7, 19),
]

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
every_image_shape = pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=lambda s: "x".join(map(str, s)))


def build(name, image_shape, n_classes=10):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return find_architecture(name).build(image_shape, n_classes)


# The table


def test_our_own_come_first_and_the_classics_are_there():
    names = list_architectures()
    assert names[:5] == ["general", "residual", "compact", "accurate", "tiny"]
    assert {*names[:2], *names[5:]} == set(BY_HAND)
    assert names == list(ARCHITECTURES)


def test_tiny_is_tiny():
    assert find_architecture("tiny").n_parameters < 10_000


@every_architecture
def test_the_table_tells_the_number_of_parameters(name):
    assert count_parameters(build(name, (1, 28, 28))) == find_architecture(name).n_parameters


@pytest.mark.parametrize(("name", "n_parameters"), BY_HAND.items())
def test_the_number_of_parameters_is_that_derived_by_hand(name, n_parameters):
    assert find_architecture(name).n_parameters == n_parameters


@every_architecture
def test_every_architecture_names_its_source(name):
    assert find_architecture(name).source


def test_a_list_of_names_is_the_callers_own():
    list_architectures().clear()
    assert list_architectures()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lenet", " Did you mean 'lenet5'?"),
        ("Compact", " Did you mean 'compact'?"),
        ("Auto", " Did you mean 'auto'?"),
        ("keras-mnist", " Did you mean 'keras_mnist'?"),
        ("pool3-head3", " Did you mean 'pool3_head3'?"),
        ("handwriting", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name, hint):
    sentence = (
        f"Expected architecture to be one of auto, {', '.join(ARCHITECTURES)}, or a function (image_shape, n_classes) "
        f"-> nn.Module; got {name!r}.{hint}"
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        find_architecture(name)


# Networks that fit the image


@every_image_shape
@every_architecture
def test_every_architecture_fits_every_image(name, image_shape):
    network = build(name, image_shape, n_classes=3)
    assert all(height > 0 for row in summarize(network, image_shape) for height in row.output_shape)

    x = torch.ones(2, *image_shape)
    logits = network(x)  # in training mode: batch normalisation of 1×1 maps needs more than one row, and has two
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(x[:1]).shape == (1, 3)


@every_image_shape
@every_architecture
def test_no_kernel_is_larger_than_its_input_and_nothing_below_four_pixels_is_pooled(name, image_shape):
    checked = []

    def check(layer, inputs):
        height, width = inputs[0].shape[2:]
        window = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
        if isinstance(layer, nn.Conv2d) and layer.padding == tuple(k // 2 for k in window):
            height, width = 2 * height - 1, 2 * width - 1  # each weight meets a pixel somewhere
        assert window[0] <= height
        assert window[1] <= width
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            assert height * width >= 4
        checked.append(layer)

    network = build(name, image_shape).eval()
    for layer in network.modules():  # also those within blocks
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.register_forward_pre_hook(check)
    network(torch.ones(1, *image_shape))
    assert checked


@pytest.mark.parametrize("n_classes", [1, 2, 500])
@every_architecture
def test_there_is_one_logit_a_class(name, n_classes):
    assert build(name, (1, 8, 8), n_classes).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, n_classes)


@every_architecture
def test_the_layers_have_names_and_the_last_is_the_output(name):
    names = [layer_name for layer_name, _ in list_layers(build(name, (1, 28, 28)))]
    assert len(set(names)) == len(names) > 3
    assert names[-1] == "output"
    assert all(layer_name.isidentifier() for layer_name in names)


@every_architecture
def test_the_seed_decides_the_weights(name):
    # A fold over the layers is the network.
    x = torch.linspace(-1, 1, 784).reshape(1, 1, 28, 28)
    network, again = build(name, (1, 28, 28)).eval(), build(name, (1, 28, 28)).eval()
    folded = x
    for _, layer in list_layers(again):
        folded = layer(folded)
    assert torch.equal(folded, network(x))


def test_kernels_and_padding_shrink_with_the_image():
    # 5×5 with padding 2 on 2 rows of 9: the kernel becomes 2×5, its padding (1, 2), so 3 rows and 9 columns leave it;
    # the pooling takes 1 row and 4 columns of them; 3×3 becomes 1×3 and leaves 2 columns, which are too few to pool.
    network = build_sequential(
        (Conv(6, kernel=5, padding=2), ReLU(), Pool(), Conv(7), Pool(), Flatten(), Dense(5)), (1, 2, 9), 10
    )
    assert summarize(network, (1, 2, 9)) == [
        LayerSummary("conv1", "Conv2d 2×5, padding 1×2", (6, 3, 9), (2 * 5 + 1) * 6, 3 * 9 * (2 * 5) * 6),
        LayerSummary("relu1", "ReLU", (6, 3, 9), 0, 0),
        LayerSummary("pool1", "MaxPool2d 2×2", (6, 1, 4), 0, 0),
        LayerSummary("conv2", "Conv2d 1×3", (7, 1, 2), (3 * 6 + 1) * 7, 1 * 2 * (3 * 6) * 7),
        LayerSummary("flatten1", "Flatten", (14,), 0, 0),
        LayerSummary("dense1", "Linear", (5,), 15 * 5, 14 * 5),
        LayerSummary("output", "Linear", (10,), 6 * 10, 5 * 10),
    ]


def test_a_padded_kernel_keeps_the_size_and_has_no_weight_that_meets_only_padding():
    # Of 5×5: on 1 row only the middle one meets it, on 2 rows three do; 9 columns hold all five.
    network = build_sequential((Conv(2, kernel=5, padding="same"), Flatten()), (1, 2, 9), 10)
    assert summarize(network, (1, 2, 9))[0] == LayerSummary(
        "conv1", "Conv2d 3×5, padding 1×2", (2, 2, 9), (3 * 5 + 1) * 2, 2 * 9 * (3 * 5) * 2
    )
    network = build_sequential((Conv(2, kernel=5, padding="same"), Flatten()), (1, 1, 3), 10)
    assert summarize(network, (1, 1, 3))[0].kind == "Conv2d 1×5, padding 0×2"


@pytest.mark.parametrize(
    ("side", "names"), [(3, ["dense1"]), (4, ["conv1", "dense1"]), (8, ["conv1", "conv2", "dense1"])]
)
def test_a_stage_is_left_out_of_smaller_maps(side, names):
    # The longer side counts: of 1×8 pixels the second stage has a row of 4, within the first one too.
    inner = Stage((Conv(3, padding="same"),), smallest=8)
    layers = (Stage((Conv(2, padding="same"), inner), smallest=4), Flatten(), Dense(5))
    rows = summarize(build_sequential(layers, (1, 1, side), 2), (1, 1, side))
    assert [row.name for row in rows if row.n_parameters] == [*names, "output"]


@pytest.mark.parametrize(("of", "pooled"), [("max", [6.0, 9.0]), ("mean", [3.0, 4.0])])
def test_global_pooling_gives_one_number_per_map(of, pooled):
    network = build_sequential((GlobalPool(of), Flatten()), (2, 1, 3), 2)
    x = torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, 3.0, 9.0]]]])
    assert network[:-1](x).tolist() == [pooled]


def test_activations_are_torchs():
    acts = (ReLU(), LeakyReLU(0.2), GELU(), SiLU(), Tanh(), Sigmoid())
    x = torch.linspace(-3, 3, 4).reshape(1, 1, 2, 2)
    for act, function in zip(
        acts,
        (
            torch.relu,
            lambda x: functional.leaky_relu(x, 0.2),
            functional.gelu,
            functional.silu,
            torch.tanh,
            torch.sigmoid,
        ),
        strict=True,
    ):
        assert torch.equal(build_sequential((act, Flatten()), (1, 2, 2), 2)[0](x), function(x))


def test_a_residual_block_adds_its_input_or_a_projection_of_it():
    # Two 3×3 maps to two keep the shape, so the input itself is added; two to three need a 1×1 convolution and a norm.
    same = build_sequential((Residual((Conv(2, padding="same"), ReLU())), Flatten()), (2, 3, 3), 2)
    wider = build_sequential((Residual((Conv(3, padding="same"), ReLU())), Flatten()), (2, 3, 3), 2)
    assert same.residual1.shortcut is None
    assert [repr(layer) for layer in wider.residual1.shortcut] == [
        repr(nn.Conv2d(2, 3, 1, bias=False)),
        repr(nn.BatchNorm2d(3)),
    ]
    x = torch.randn(4, 2, 3, 3)
    assert torch.equal(same.residual1(x), same.residual1.body(x) + x)
    assert torch.equal(wider.residual1(x), wider.residual1.body(x) + wider.residual1.shortcut(x))
    assert [name for name, _ in list_layers(wider.residual1.body)] == ["conv1", "relu1"]


@pytest.mark.parametrize(
    ("image_shape", "window", "pooled"),
    [
        ((1, 2, 2), (2, 2), (1, 1)),
        ((1, 1, 4), (1, 2), (1, 2)),
        ((1, 5, 1), (2, 1), (2, 1)),
        ((1, 3, 3), (2, 2), (1, 1)),
        ((1, 1, 3), None, (1, 3)),
        ((1, 1, 1), None, (1, 1)),
    ],
)
def test_pooling_halves_the_sides_that_it_can(image_shape, window, pooled):
    network = build_sequential((Pool(), Flatten()), image_shape, 2)
    assert [layer.kernel_size for layer in network if isinstance(layer, nn.MaxPool2d)] == [window] * (
        window is not None
    )
    assert network[-1].in_features == pooled[0] * pooled[1]


# The description of a network


def test_lenet5_layer_by_layer():
    #                                                              28 − 5 + 1 + 2·2 = 28, 28 / 2 = 14
    #                                                              14 − 5 + 1 = 10, 10 / 2 = 5, 16·5·5 = 400
    assert summarize(build("lenet5", (1, 28, 28)), (1, 28, 28)) == [
        LayerSummary("conv1", "Conv2d 5×5, padding 2", (6, 28, 28), 156, 117_600),  # 28·28 · 25·1 · 6
        LayerSummary("relu1", "ReLU", (6, 28, 28), 0, 0),
        LayerSummary("pool1", "MaxPool2d 2×2", (6, 14, 14), 0, 0),
        LayerSummary("conv2", "Conv2d 5×5", (16, 10, 10), 2_416, 240_000),  # 10·10 · 25·6 · 16
        LayerSummary("relu2", "ReLU", (16, 10, 10), 0, 0),
        LayerSummary("pool2", "MaxPool2d 2×2", (16, 5, 5), 0, 0),
        LayerSummary("flatten1", "Flatten", (400,), 0, 0),
        LayerSummary("dense1", "Linear", (120,), 48_120, 48_000),
        LayerSummary("relu3", "ReLU", (120,), 0, 0),
        LayerSummary("dense2", "Linear", (84,), 10_164, 10_080),
        LayerSummary("relu4", "ReLU", (84,), 0, 0),
        LayerSummary("output", "Linear", (10,), 850, 840),
    ]


@every_architecture
def test_a_summary_adds_up_and_leaves_the_network_as_it_was(name):
    network = build(name, (1, 28, 28))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    rows = summarize(network, (1, 28, 28))

    assert sum(row.n_parameters for row in rows) == count_parameters(network)
    assert rows[-1].output_shape == (10,)
    assert network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    network.eval()
    summarize(network, (1, 28, 28))
    assert not network.training


def test_a_layer_object_that_stands_there_twice_is_listed_twice():
    relu = nn.ReLU()
    network = nn.Sequential(OrderedDict(flat=nn.Flatten(), act1=relu, dense=nn.Linear(4, 4), act2=relu))
    assert [name for name, _ in list_layers(network)] == ["flat", "act1", "dense", "act2"]
    assert [row.name for row in summarize(network, (1, 2, 2))] == ["flat", "act1", "dense", "act2"]


def test_a_module_that_is_no_sequence_is_one_layer():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.left(x.flatten(1)) + self.right(x.flatten(1))

    class Reversed(nn.Sequential):
        def forward(self, x):
            return super().forward(x.flip(1))

    for module in (Branches(), Reversed(nn.Flatten(), nn.Linear(4, 2))):
        assert list_layers(module) == [("module", module)]
        (row,) = summarize(module, (1, 2, 2))
        assert (row.name, row.kind, row.output_shape) == ("module", type(module).__name__, (2,))
        assert row.n_parameters == count_parameters(module)


def test_frozen_parameters_are_not_counted():
    dense = nn.Linear(4, 2)  # 4 · 2 weights and 2 biases
    assert count_parameters(dense) == 10
    dense.weight.requires_grad = False
    assert count_parameters(dense) == 2


# Multiply-adds of one image at 1×28×28 and 10 classes, by hand: positions that leave a convolution × kernel × channels
# that enter it × channels that leave it. The sides are those of the parameters above.
MULTIPLY_ADDS = {
    #   28·28·25·6 + 10·10·25·6·16 + 400·120 + 120·84 + 84·10
    "lenet5": 117_600 + 240_000 + 48_000 + 10_080 + 840,
    #   26·26·9·32 + 11·11·9·32·64 + 1,600·10
    "keras_mnist": 194_688 + 2_230_272 + 16_000,
    #   26·26·9·32 + 24·24·9·32·64 + 9,216·128 + 128·10
    "pytorch_mnist": 194_688 + 10_616_832 + 1_179_648 + 1_280,
    #   26·26·9·32 + 11·11·9·32·64 + 3·3·9·64·128 + 128·128 + 128·10
    "pool3_head1": 194_688 + 2_230_272 + 663_552 + 16_384 + 1_280,
    # the same convolutions and first dense layer, then 128·64 + 64·32 + 32·10
    "pool3_head3": 194_688 + 2_230_272 + 663_552 + 16_384 + 8_192 + 2_048 + 320,
    #   26·26·9·32 + 11·11·9·32·64 + 3·3·9·64·64 + 576·64 + 64·10
    "pool2_conv3": 194_688 + 2_230_272 + 331_776 + 36_864 + 640,
    # 28 → 24 → 12 → 8 → 4, and 512 features
    #   24·24·25·16 + 8·8·25·16·32 + 512·256 + 256·10
    "compact": 230_400 + 819_200 + 131_072 + 2_560,
    # 28, 14 | 14, 7 | 7, 3, and 96 features
    #   28·28·9·24 + 14·14·9·24·24 + 14·14·9·24·48 + 7·7·9·48·48 + 7·7·9·48·96 + 3·3·9·96·96 + 96·10
    "general": 169_344 + 1_016_064 + 2_032_128 + 1_016_064 + 2_032_128 + 746_496 + 960,
    # 28 | 14, and twice 7 | 7, and twice 3, and 112 features
    #   28·28·9·32 + 14·14·9·32·64 + 2·7·7·9·64·64 + 7·7·9·64·112 + 2·3·3·9·112·112 + 112·10
    "residual": 225_792 + 3_612_672 + 3_612_672 + 3_161_088 + 2_032_128 + 1_120,
    # 28 → 26 → 24 → 12 → 10 → 8 → 4, and 256 features
    #   26·26·9·10 + 24·24·9·10·14 + 10·10·9·14·16 + 8·8·9·16·16 + 256·10
    "tiny": 60_840 + 725_760 + 201_600 + 147_456 + 2_560,
    # 28 → 24 → 12 (stride 2, padding 2) → 8 → 4, and 1,536 features
    #   24·24·25·32 + 12·12·25·32·48 + 8·8·25·48·64 + 4·4·25·64·96 + 1536·10
    "accurate": 460_800 + 5_529_600 + 4_915_200 + 2_457_600 + 15_360,
}


@every_architecture
def test_the_multiply_adds_are_those_derived_by_hand(name):
    network = build(name, (1, 28, 28))
    assert count_multiply_adds(network, (1, 28, 28)) == MULTIPLY_ADDS[name]
    assert sum(row.n_multiply_adds for row in summarize(network, (1, 28, 28))) == MULTIPLY_ADDS[name]


@pytest.mark.parametrize(
    ("layers", "n_multiply_adds"),
    [
        ([nn.Conv2d(4, 6, 3, groups=2)], 3 * 4 * 9 * 2 * 6),  # each channel that leaves sees two of the four
        ([nn.Conv2d(4, 6, 3, stride=2, padding=1)], 3 * 3 * 9 * 4 * 6),
        ([nn.Conv2d(4, 6, 3, dilation=2)], 1 * 2 * 9 * 4 * 6),
        ([nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()], 0),
        ([nn.Linear(6, 7)], 4 * 5 * 6 * 7),  # at each of 4·5 places
        ([nn.Flatten(2), nn.Conv1d(4, 2, 3)], 28 * 3 * 4 * 2),
    ],
    ids=["groups", "stride", "dilation", "none", "linear", "one side"],
)
def test_multiply_adds_of_a_layer(layers, n_multiply_adds):
    assert count_multiply_adds(nn.Sequential(*layers), (4, 5, 6)) == n_multiply_adds


def test_what_a_block_calls_is_counted_as_often_as_it_is_called():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
            self.never = nn.Linear(100, 100)

        def forward(self, x):
            return self.inner(self.inner(x))

    network = nn.Sequential(OrderedDict(block=Twice(), flat=nn.Flatten(), output=nn.Linear(12, 2)))
    hooks_before = [len(layer._forward_hooks) for layer in network.modules()]
    # twice 3·4 positions of 9; 12·2
    assert [row.n_multiply_adds for row in summarize(network, (1, 3, 4))] == [2 * 108, 0, 24]
    assert count_multiply_adds(Twice(), (1, 3, 4)) == 216
    assert [len(layer._forward_hooks) for layer in network.modules()] == hooks_before


ODD_LAYERS = {
    # positions that leave it × kernel × channels in ÷ groups × channels out; a transposed one: positions that enter it
    "a stride for each axis": ([nn.Conv2d(4, 6, 3, stride=(1, 2))], 3 * 2 * 9 * 4 * 6),
    "groups": ([nn.Conv2d(4, 8, (1, 2), groups=4)], 5 * 5 * 2 * 1 * 8),
    "transposed": ([nn.ConvTranspose2d(4, 6, 3, stride=2)], 5 * 6 * 9 * 4 * 6),
    "transposed in groups": ([nn.ConvTranspose2d(4, 6, 2, groups=2)], 5 * 6 * 4 * 2 * 6),
    "Conv1d": ([nn.Flatten(2), nn.Conv1d(4, 2, 3, stride=2, padding=1)], 15 * 3 * 4 * 2),
    "weights that are computed": ([nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 2, 5))], 1 * 2 * 25 * 4 * 2),
    "a block": ([modules.Residual(nn.Sequential(nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 4, 1))], 2 * 5 * 6 * 4 * 4),
}


@pytest.mark.parametrize("name", ODD_LAYERS)
def test_summary_trace_and_torch_count_the_same_multiply_adds(name):
    layers, n_multiply_adds = ODD_LAYERS[name]
    assert counted_by_all(nn.Sequential(*layers).eval(), (4, 5, 6)) == [n_multiply_adds] * 3


@every_architecture
def test_summary_trace_and_torch_count_the_same_for_every_architecture(name):
    assert counted_by_all(build(name, (1, 28, 28)).eval(), (1, 28, 28)) == [MULTIPLY_ADDS[name]] * 3


def test_products_within_a_forward_of_ones_own_are_counted():
    class Functional(nn.Module):
        def forward(self, x):
            return functional.conv2d(x, torch.ones(2, 1, 3, 3)).flatten(1) @ torch.ones(4, 5)

    # 1×2 positions of 9 for 2 channels; 4·5
    assert counted_by_all(nn.Sequential(Functional()), (1, 3, 4)) == [2 * 9 * 2 + 20] * 3


def counted_by_all(network, image_shape):
    """Multiply-adds by the summary, by a trace, and half of the operations that torch's own counter counts."""
    trace = Trace.record(nn.Sequential(network, nn.Flatten()), np.zeros(image_shape, np.float32), np.arange(2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *image_shape))
    return [
        count_multiply_adds(network, image_shape),
        sum(step.n_multiply_adds for step in trace.steps),
        counter.get_total_flops() / 2,
    ]


@pytest.mark.parametrize(
    ("layer", "description"),
    [
        (nn.Conv2d(1, 1, 3, stride=(1, 2), padding=(0, 1)), "Conv2d 3×3, stride 1×2, padding 0×1"),
        (nn.Conv2d(1, 1, (3, 1), stride=2, padding=1), "Conv2d 3×1, stride 2, padding 1"),
        (nn.Conv2d(1, 1, 3, padding="same"), "Conv2d 3×3, padding same"),
        (nn.Conv2d(1, 1, 3, padding="valid"), "Conv2d 3×3"),
        (nn.Conv1d(1, 1, 5, stride=2), "Conv1d 5, stride 2"),
        (nn.ConvTranspose2d(1, 1, 2, stride=2), "ConvTranspose2d 2×2, stride 2"),
        (nn.MaxPool2d(3, stride=2, padding=1), "MaxPool2d 3×3, stride 2, padding 1"),
        (nn.AvgPool2d((1, 2)), "AvgPool2d 1×2"),
        (nn.AdaptiveMaxPool2d(1), "AdaptiveMaxPool2d"),
        (nn.AdaptiveAvgPool2d((2, None)), "AdaptiveAvgPool2d 2×None"),
        (nn.LeakyReLU(0.25), "LeakyReLU 0.25"),
        (nn.GELU(), "GELU"),
        (nn.GELU(approximate="tanh"), "GELU tanh"),
    ],
)
def test_a_description_has_the_settings_of_both_axes(layer, description):
    assert describe(layer) == description


# Residual blocks


def constant(factor):
    conv = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(conv.weight, factor)
    return conv


def test_a_residual_block_adds_what_came_in_or_its_shortcut():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    # the ReLU leaves nothing of −2·x; 2·x + x = 3·x; 2·x + 5·x = 7·x
    assert torch.equal(modules.Residual(nn.Sequential(constant(-2.0), nn.ReLU()))(x), x)
    assert torch.equal(modules.Residual(nn.Sequential(constant(2.0)))(x), 3 * x)
    assert torch.equal(modules.Residual(nn.Sequential(constant(2.0)), constant(5.0))(x), 7 * x)


def test_a_residual_block_is_one_layer_of_a_sequence():
    network = nn.Sequential(OrderedDict(block1=modules.Residual(nn.Sequential(constant(2.0)), constant(5.0))))
    (row,) = summarize(network, (1, 2, 2))
    assert row == LayerSummary("block1", "Residual", (1, 2, 2), 2, 8)  # two 1×1 convolutions at 2·2 positions each
    assert set(network.state_dict()) == {"block1.body.0.weight", "block1.shortcut.weight"}
    assert set(modules.Residual(nn.Sequential(constant(2.0))).state_dict()) == {"body.0.weight"}
