"""Receptive fields, by hand and by changing pixels."""

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.architectures._modules import Residual
from cnnclf.inspection._geometry import ReceptiveField
from cnnclf.inspection._trace import Trace
from helpers import exactly, sequential
from small_networks import arange, random_cells, random_net, record, same_bits


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
