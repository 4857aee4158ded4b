"""What the offline page holds: every recorded number, sums that stay whole, nothing that runs but its own script."""

import base64
import json
import re
from collections import OrderedDict
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual
from cnnclf.architectures._summary import summarize
from cnnclf.inspection import _html as walkthrough_html
from cnnclf.inspection._html import render, write


def build(image_shape, n_classes):
    """Everything that a layer can do with its neighbours: padding, stride, dilation, groups, blocks, and a stranger."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(image_shape[0], 6, (3, 2), padding=1),
            norm1=nn.BatchNorm2d(6),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 8, 3, stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2, bias=False),
            block=nn.Sequential(OrderedDict(softplus=nn.Softplus(), pool=nn.MaxPool2d(2))),
            residual=Residual(nn.Sequential(OrderedDict(conv=nn.Conv2d(8, 12, 1))), nn.Conv2d(8, 12, 1)),
            flatten=nn.Flatten(),
            dense=nn.LazyLinear(20),
            relu2=nn.ReLU(),
            output=nn.Linear(20, n_classes),
        )
    )


@pytest.fixture(scope="module")
def trace(few_digits):
    X, y, *_ = few_digits
    return CNNClassifier(build, max_epochs=1, random_state=0).fit(X, y).trace(X[0])


class Page(HTMLParser):
    """A page taken apart: the text of every element with an id, all attributes, and the numbers."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.inside, self.attributes = [], {}, None, []
        self.feed(html)
        self.net = json.loads(self.text["layers"])
        self.layers = {layer["name"]: layer for layer in self.net["layers"]}
        self.numbers = np.frombuffer(base64.b64decode(self.text["numbers"]), "<f4")

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = attributes.get("id", tag)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        self.text[self.inside] = self.text.get(self.inside, "") + data

    def channels(self, name):
        return np.concatenate([np.arange(*limits) for limits in self.layers[name]["channels"]])

    def read(self, start, *shape):
        return self.numbers[start : start + np.prod(shape, dtype=int)].reshape(shape)

    def weight(self, name, whole):
        """A weight as the page has it, in the shape of the whole; zero where the page leaves it out."""
        layer = self.layers[name]
        source = self.net["layers"][layer["inputs"][0]]["name"]
        there = np.isin(np.arange(self.net["layers"][layer["inputs"][0]]["shape"][0]), self.channels(source))
        n_groups = len(there) // whole.shape[1]
        weight, start = np.zeros(whole.shape), layer["weights"]["weight"]
        for c in self.channels(name):
            seen = np.flatnonzero(np.split(there, n_groups)[c // (len(whole) // n_groups)])
            weight[c, seen] = self.read(start, len(seen), *whole.shape[2:])
            start += weight[c, seen].size
        return weight


def walk(steps):
    for step in steps:
        yield from walk(step.steps)
        yield step


def sums(page, step):
    """What a convolution or dense layer gives with the weights of the page: the cells in the page, in float64."""
    layer, channels = page.layers[step.name], page.channels(step.name)
    weight = torch.from_numpy(page.weight(step.name, step.weights["weight"]))
    x = torch.from_numpy(step.input.astype(np.float64))
    if step.kind == "conv":
        settings = {name: step.settings[name] for name in ("stride", "padding", "dilation", "groups")}
        total = functional.conv2d(x[None], weight, **settings)[0].numpy()[channels]
    else:
        total = functional.linear(x, weight).numpy()[channels]
    if "bias" in layer["weights"]:
        bias = page.read(layer["weights"]["bias"], len(channels))
        total = total + bias.reshape(-1, *[1] * (total.ndim - 1))
    return total if layer["rest"] is None else total + page.read(layer["rest"], *total.shape)


def test_the_page_holds_what_torch_recorded(trace):
    page = Page(render(trace))
    assert [layer["name"] for layer in page.net["layers"]] == ["image", *(step.name for step in walk(trace.steps))]
    image = page.layers["image"]
    assert np.array_equal(page.read(image["values"], *image["shape"]), trace.image)
    for step in walk(trace.steps):
        layer = page.layers[step.name]
        if step.kind in ("relu", "max_pool", "flatten", "dropout", "block"):  # what needs no rounding needs no bytes
            assert layer["values"] is None
        else:
            assert page.read(layer["values"], *step.output.shape).tobytes() == step.output.tobytes()
    norm, step = page.layers["norm1"], trace["norm1"]
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert page.read(norm["weights"][name], 6).tobytes() == step.weights[name].tobytes()
    assert norm["settings"] == {"eps": 1e-5}


def test_every_layer_knows_where_its_numbers_come_from(trace):
    layers = Page(render(trace)).net["layers"]
    sources = {layer["name"]: [layers[i]["name"] for i in layer["inputs"]] for layer in layers}
    assert sources["image"] == []
    assert sources["conv1"] == ["standardise"]
    assert sources["block.softplus"] == ["conv2"]
    assert sources["block"] == ["block.pool"]
    assert sources["residual.conv"] == sources["residual.shortcut"] == ["block"]
    assert sources["residual"] == ["residual.conv", "residual.shortcut"]
    assert sources["flatten"] == ["residual"]
    assert sources["softmax"] == ["output"]
    assert {layer["name"]: layer["inside"] for layer in layers if layer["inside"]} == {
        "block.softplus": "block",
        "block.pool": "block",
        "residual.conv": "residual",
        "residual.shortcut": "residual",
    }
    assert {layer["name"] for layer in layers if layer["kind"] == "unknown"} == {"block.softplus"}


@pytest.mark.parametrize("limit", [20, 12, 11, 10])
def test_every_sum_in_the_page_is_whole_however_many_channels_it_holds(trace, limit, monkeypatch):
    # A page of at most 20 channels a layer holds all; one of 10 leaves out parts of residual.*, flatten and dense.
    monkeypatch.setattr(walkthrough_html, "BUDGET", page_size(trace, limit))
    page = Page(render(trace))
    assert len(page.channels("dense")) == limit
    assert len(page.channels("residual")) == min(limit, 12)
    assert (page.layers["output"]["rest"] is None) == (limit == 20)
    for step in walk(trace.steps):
        if step.kind in ("conv", "dense"):
            recorded = step.output[page.channels(step.name)]
            np.testing.assert_allclose(sums(page, step), recorded, rtol=0, atol=1e-5)


def page_size(trace, limit):
    nodes = walkthrough_html.list_nodes(trace)
    return len(walkthrough_html.fill_in(trace, nodes, limit).encode())


def test_a_large_page_keeps_to_the_budget_and_says_what_it_holds(trace, monkeypatch):
    monkeypatch.setattr(walkthrough_html, "BUDGET", page_size(trace, 15))
    html = render(trace)
    assert len(html.encode()) == walkthrough_html.BUDGET
    assert "this page holds 15 of 20 features of <em>dense</em>,\nevenly spaced." in html
    # 15 of 20, evenly spaced: ⌊20·i/15⌋ leaves out every fourth.
    assert Page(html).channels("dense").tolist() == [c for c in range(20) if c % 4 != 3]

    monkeypatch.setattr(walkthrough_html, "BUDGET", 1)  # cannot be kept: classes and image are never left out
    page = Page(render(trace))
    assert [len(page.channels(name)) for name in ("image", "dense", "output", "softmax")] == [1, 10, 10, 10]


def test_features_of_a_map_that_is_left_out_are_left_out(trace, monkeypatch):
    monkeypatch.setattr(walkthrough_html, "BUDGET", page_size(trace, 10))
    page = Page(render(trace))
    n_cells = np.prod(trace["residual"].output.shape[1:])
    assert set(page.channels("flatten") // n_cells) == set(page.channels("residual"))
    assert len(page.channels("flatten")) == 10 * n_cells


def test_the_default_net_fits_whole():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (20, 28, 28)).astype(np.uint8), np.arange(20) % 10
    html = render(CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[0]))
    assert len(html.encode()) < 2_000_000
    assert 'id="sampled"' not in html


@pytest.mark.parametrize("shape", [(3, 9, 6), (1, 1, 30)], ids=["RGB, not square", "flat"])
def test_any_image(shape):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, *shape)).astype(np.float32), np.arange(12) % 2
    trace = CNNClassifier(max_epochs=1, image_shape=shape, random_state=0).fit(X, y).trace(X[0])
    page = Page(render(trace))
    image = page.layers["image"]
    assert page.read(image["values"], *shape).tobytes() == trace.image.tobytes()
    for step in trace.steps:
        if step.kind in ("conv", "dense"):
            np.testing.assert_allclose(sums(page, step), step.output, rtol=0, atol=1e-5)


def test_labels_are_text_and_nothing_else(few_digits):
    X, y, *_ = few_digits
    labels = np.array(["</script><b>bold</b>", "cat & dog", "{{ 7 * 7 }}"])
    trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, labels[y % 3]).trace(X[0])
    html = render(trace)
    page = Page(html)
    assert page.net["classes"] == sorted(labels)
    assert "<b>bold" not in html
    assert page.text["title"].startswith(f"How this network reads an image: {trace.label} with ")
    assert page.tags.count("script") == 3  # the layers, the numbers, and what runs


def test_nothing_runs_or_loads_but_what_the_policy_names(trace):
    page = Page(render(trace))
    (policy,) = [value for name, value in page.attributes if name == "content" and "default-src" in value]

    def source(text):
        return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"

    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src {source(page.text['style'])}",
        f"script-src {source(page.text['script'])}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [value for name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert not re.search(
        r"https?:|@import|url\(|\bfetch\b|innerHTML|\beval\b", page.text["style"] + page.text["script"]
    )


def test_it_is_written_whole_and_the_same_each_time(trace, tmp_path):
    path = write(trace, tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert path.read_text(encoding="utf-8") == render(trace)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(trace, tmp_path):
    folder = tmp_path / "missing"
    message = f"{folder}: expected a folder to write page.html into; there is none. Make it first."
    with pytest.raises(FileNotFoundError, match=rf"\A{re.escape(message)}\Z"):
        write(trace, folder / "page.html")


def test_a_layer_that_cannot_be_worked_out_is_named_at_the_top(trace, few_digits):
    html = render(trace)
    assert html.index('id="caveat"') < html.index("<main>")
    assert "cannot recompute 'block.softplus (Softplus)', so only" in Page(html).text["caveat"]
    X, y, *_ = few_digits
    assert 'id="caveat"' not in render(CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y).trace(X[0]))


def test_the_page_counts_what_is_inside_blocks_as_verify_does(trace):
    n_layers = len(trace.verify().layers)
    sentence = f"The network has {n_layers} layers, including the softmax and the layers inside blocks, and "
    assert sentence in Page(render(trace)).text["p"]


def test_the_page_counts_the_layers_of_the_network_as_its_summary_does(few_digits):
    X, y, *_ = few_digits
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y)
    rows = summarize(clf.module_, clf.image_shape_)
    trace = clf.trace(X[0])
    page = Page(render(trace))
    n_layers = len(rows) + 1  # the softmax, which the summary leaves out
    assert f"The network has {n_layers} layers, including the softmax, and " in page.text["p"]
    assert str(trace.verify()).startswith(f"{n_layers} of {n_layers} layers verified")
    assert f"needs {sum(row.n_multiply_adds for row in rows):,} multiplications" in page.text["p"]
