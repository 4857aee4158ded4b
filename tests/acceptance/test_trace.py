"""The walkthrough's numbers on real MNIST: four networks, fifty images each, three engines."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf import CNNClassifier, load_mnist
from cnnclf.architectures._layers import ImageShape
from cnnclf.architectures._modules import Residual

pytestmark = pytest.mark.acceptance


def residual_net(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Two residual blocks, the second one with a projection, and a global average."""

    def block(channels_in: int, channels: int, stride: int) -> Residual:
        body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        if stride == 1:
            return Residual(body)
        return Residual(body, nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride), nn.BatchNorm2d(channels)))

    return nn.Sequential(
        nn.Conv2d(image_shape[0], 16, 5, stride=2, padding=2),
        nn.ReLU(inplace=True),
        *(block(16, 16, 1), nn.ReLU(inplace=True), block(16, 32, 2), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, n_classes)),
    )


NETWORKS = {"plain": "keras_mnist", "norm, stride, padding": "accurate", "residual": residual_net, "tiny": "tiny"}


@pytest.fixture(scope="module", params=NETWORKS.values(), ids=NETWORKS.keys())
def clf(request: pytest.FixtureRequest) -> CNNClassifier:
    """A network after one epoch on 2,000 images."""
    X, y = load_mnist("train")
    return CNNClassifier(request.param, max_epochs=1, random_state=0).fit(X[:2000], y[:2000])


def test_fifty_images_pass_all_three_engines(clf: CNNClassifier) -> None:
    X, _ = load_mnist("test")
    logits = [clf.decision_function(X[i : i + 1])[0] for i in range(50)]
    first = clf.trace(X[0])
    assert first.coverage == 1.0
    for image, expected in zip(X[:50], logits, strict=True):
        trace = first.follow(image[np.newaxis])
        assert trace.logits.tobytes() == expected.tobytes()
        verification = trace.verify()
        assert verification.passed, str(verification)


def test_an_altered_weight_is_found_and_its_layer_named_twenty_times_of_twenty(clf: CNNClassifier) -> None:
    X, _ = load_mnist("test")
    trace = clf.trace(X[0])
    layers = {name.replace(".body", ""): name for name, _ in trace._module.named_modules()}
    steps = [step for step in trace.walk() if step.kind in ("conv", "dense", "norm")]
    rng = np.random.default_rng(0)
    for _ in range(5):  # by four networks
        step = steps[rng.integers(len(steps))]
        module = copy.deepcopy(trace._module)
        weight = module.get_parameter(f"{layers[step.name]}.weight")
        index = tuple(int(rng.integers(size)) for size in weight.shape)
        with torch.no_grad():
            weight[index] += 1e-3
        assert dataclasses.replace(trace, _module=module).verify().failed[0] == step.name
