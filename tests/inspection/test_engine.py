"""The engine of the page, in a browser, against torch: outputs of every kind of layer, gradients, small changes."""

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf import CNNClassifier, list_architectures
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.inspection._trace import Trace
from helpers import sequential

SIZES = {"digit": (8, 8), "photograph": (20, 24, 3)}


def open_page(chromium, trace, folder):
    chromium.get("about:blank")
    chromium.get(trace.to_html(folder / "page.html").as_uri())
    return chromium


def walk(steps):
    for step in steps:
        yield from walk(step.steps)
        yield step


@pytest.fixture
def zoo_page(zoo, chromium, tmp_path):
    """The page of a network that has every kind of layer."""
    return open_page(chromium, zoo, tmp_path)


def test_every_kind_of_layer_gives_what_torch_gives(zoo, zoo_page):
    names, outputs = zoo_page.execute_script("return [layers.map((l) => l.name), layers.map((l) => [...l.values])]")
    computed = dict(zip(names, outputs, strict=True))
    kinds = set()
    for step in walk(zoo.steps):
        torch_s = step.output.ravel()
        np.testing.assert_allclose(
            computed[step.name], torch_s, rtol=0, atol=1e-5 * max(1, np.abs(torch_s).max()), err_msg=step.name
        )
        kinds.add(step.kind)
    assert {"conv", "norm", "residual", "avg_pool", "global_avg_pool", "gelu", "leaky_relu", "sigmoid"} <= kinds


def test_nan_and_infinity_go_through_as_in_torch(zoo, zoo_page):
    pixels = zoo.image.astype(np.float64).ravel()
    pixels[100] = np.nan
    assert all(np.isnan(predict(zoo_page, pixels)))


def predict(driver, pixels):
    """Return the page's probabilities for raw pixels."""
    texts = driver.execute_script(
        "return [...cnnclf.predict(arguments[0].map(Number))].map(String)", [str(v) for v in pixels]
    )
    return np.array([float(text) for text in texts])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list_architectures())
def test_every_architecture_predicts_what_torch_predicts(name, size, chromium, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (24, *SIZES[size])).astype(np.uint8), np.arange(24) % 3
    clf = CNNClassifier(name, max_epochs=1, augment=None, random_state=0).fit(X, y)
    path = clf.to_html(tmp_path / "page.html")
    chromium.get("about:blank")
    chromium.get(path.as_uri())
    rows = clf.trace(X[0]).follow  # channels first
    pixels = [rows(image).image.ravel().tolist() for image in as_channels_first(X[:6], clf)]
    found = chromium.execute_script("return arguments[0].map((pixels) => [...cnnclf.predict(pixels)])", pixels)
    probabilities = clf.predict_proba(X[:6])
    assert np.abs(np.array(found) - probabilities).max() <= 1e-5
    assert np.array_equal(np.argmax(found, axis=1), probabilities.argmax(axis=1))
    assert chromium.get_log("browser") == []


def as_channels_first(X, clf):
    return np.moveaxis(X, -1, 1) if clf.input_spec_.channels_last else X.reshape(len(X), *clf.image_shape_)


def smooth_net():
    """A network that has every kind of layer and lets a gradient through to the pixels."""
    torch.manual_seed(0)
    net = sequential(
        standardise=Standardise(torch.tensor([120.0, 99.5, 3.0]), torch.tensor([70.0, 60.0, 50.0])),
        conv1=nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
        norm1=nn.BatchNorm2d(6),
        silu1=nn.SiLU(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
        block1=Residual(sequential(conv1=nn.Conv2d(6, 6, 3, padding=1, groups=3), gelu1=nn.GELU()), nn.Conv2d(6, 6, 1)),
        leaky1=nn.LeakyReLU(0.3),
        pool2=nn.AvgPool2d((2, 3), stride=1),
        whole=Residual(sequential(largest=nn.AdaptiveMaxPool2d(1)), nn.AdaptiveAvgPool2d(1)),
        flatten1=nn.Flatten(),
        dense1=nn.Linear(6, 20),
        norm2=nn.BatchNorm1d(20, affine=False),
        relu1=nn.ReLU(),
        tanh1=nn.Tanh(),
        sigmoid1=nn.Sigmoid(),
        output=nn.Linear(20, 4),
    )
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
    return net.eval()


def test_the_gradient_is_that_of_autograd(zoo, chromium, tmp_path):
    # The weighted sum of logits that separates class 2 from class 0.
    pixels = torch.from_numpy(zoo.image.astype(np.float64))[None].requires_grad_()
    logits = smooth_net().double()(pixels)[0]
    (logits[2] - logits[0]).backward()
    expected = pixels.grad.numpy().ravel()
    assert np.count_nonzero(expected) > expected.size / 2
    driver = open_page(chromium, Trace.record(smooth_net(), zoo.image, zoo.classes), tmp_path)
    found = driver.execute_script(
        "return [...differentiate(layers, layers.map(({ values }) => values), [-1, 0, 1, 0])[0]]"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_with_secants_the_parts_of_a_layer_add_up_to_the_logit_but_for_a_constant(chromium, tmp_path):
    # Two features h through ReLU, GELU and a dense layer without biases: f(0) = 0 for both, so there is no constant.
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False)
    )
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    nn.init.zeros_(net[1].bias)
    image = np.array([[[1, 2], [3, 4]]], dtype=np.float32)
    trace = Trace.record(net.eval(), image, np.array(["no", "yes"]))
    driver = open_page(chromium, trace, tmp_path)
    total = driver.execute_script(
        """const slopes = differentiate(layers, layers.map(({ values }) => values), [1, 0], { secants: true })[0];
        return slopes.reduce((sum, slope, i) => sum + slope * layers[0].values[i], 0);"""
    )
    assert total == pytest.approx(float(trace.logits[0]), rel=1e-5)


def test_a_small_change_reaches_the_other_class_and_each_pixel_of_it_is_needed(clf, few_digits, chromium, tmp_path):
    image = few_digits[2][0]
    driver = open_page(chromium, clf.trace(image), tmp_path)
    ranked = np.argsort(-clf.predict_proba(image[None])[0])
    steps = driver.execute_script(
        """const [from, to] = arguments;
        return [...searchChange({ layers, input }, drawing.pixels, from, to)].map(
          ({ pixels, painted, done, isReached }) => ({ pixels: [...pixels], painted, done, isReached }))""",
        *ranked[:2].tolist(),
    )
    last = steps[-1]
    assert (last["done"], last["isReached"]) == (True, True)
    changed = np.array(last["pixels"]).reshape(8, 8)
    assert sorted(last["painted"]) == np.flatnonzero(changed != image).tolist()
    assert set(changed[changed != image]) <= {0, 16}  # black and white of these digits
    assert clf.predict_proba(changed[None].astype(image.dtype))[0].argmax() == ranked[1]
    for place in last["painted"]:
        without = changed.copy().ravel()
        without[place] = image.ravel()[place]
        assert clf.predict_proba(without.reshape(1, 8, 8).astype(image.dtype))[0].argmax() != ranked[1]
