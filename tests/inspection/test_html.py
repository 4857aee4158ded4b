"""What the offline page holds: every weight, what the network takes, and nothing that runs but its own scripts."""

import base64
import json
import re
from collections import OrderedDict
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from torch import nn

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual
from cnnclf.architectures._summary import summarize
from cnnclf.images._spec import InputSpec
from cnnclf.inspection import _html as pages
from cnnclf.inspection._html import render, write
from cnnclf.training import Snapshots


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
        self.net = json.loads(self.text["network"])
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

    def read(self, start, like):
        return self.numbers[start : start + like.size].reshape(like.shape)


def walk(steps):
    for step in steps:
        yield from walk(step.steps)
        yield step


def page_of(trace, *images, spec=None):
    return Page(render(trace, spec or spec_of(trace), images))


def spec_of(trace):
    _, height, width = trace.image.shape
    return InputSpec((height, width), trace.image.shape, False, str(trace.image.dtype), 16, (4.9,), (6.0,))


def test_the_page_holds_all_weights_bit_for_bit_and_values_only_of_layers_that_it_cannot_compute(trace):
    page = page_of(trace)
    assert [layer["name"] for layer in page.net["layers"]] == ["image", *(step.name for step in walk(trace.steps))]
    for step in walk(trace.steps):
        layer = page.layers[step.name]
        if step.kind == "unknown":
            assert page.read(layer["values"], step.output).tobytes() == step.output.tobytes()
            assert layer["weights"] == {}
            continue
        assert layer["values"] is None
        assert layer["weights"].keys() == step.weights.keys()
        for name, weight in step.weights.items():
            assert page.read(layer["weights"][name], weight).tobytes() == weight.tobytes()
    assert page.layers["norm1"]["settings"] == {"eps": 1e-5}
    assert page.net["isLive"] is False


def test_every_layer_knows_where_its_numbers_come_from(trace):
    layers = page_of(trace).net["layers"]
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


@pytest.mark.parametrize("name", ["compact", "residual", "tiny"])
def test_a_page_is_not_much_larger_than_the_weights(name):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (20, 28, 28)).astype(np.uint8), np.arange(20) % 10
    clf = CNNClassifier(name, max_epochs=1, random_state=0).fit(X, y)
    trace = clf.trace(X[0])
    html = render(trace, clf.input_spec_, X[:, np.newaxis])
    assert len(html.encode()) <= 1.4 * 4 * trace.n_parameters + 300_000
    assert Page(html).net["isLive"] is True


def test_a_page_that_browsers_open_slowly_is_written_with_a_warning(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LARGE", 50_000)
    message = (
        r"\AExpected a page of at most 0 MB; got 0 MB, as the network has [\d,]+ parameters. Browsers take seconds"
    )
    with pytest.warns(UserWarning, match=message):
        assert write(trace, spec_of(trace), tmp_path / "page.html").exists()


def test_samples_are_raw_pixels_in_the_dtype_of_training(trace):
    page = page_of(trace, trace.image, 16 - trace.image)
    assert page.net["samples"] == {"n": 2, "dtype": "uint8"}
    pixels = np.frombuffer(base64.b64decode(page.text["samples"]), "u1").reshape(2, *trace.image.shape)
    assert np.array_equal(pixels, [trace.image, 16 - trace.image])
    floats = page_of(trace, trace.image / 16, spec=replace(spec_of(trace), dtype="float32", white=1))
    assert np.array_equal(
        np.frombuffer(base64.b64decode(floats.text["samples"]), "<f4"), (trace.image / 16).astype("f4").ravel()
    )


def test_too_many_samples_are_an_error_that_says_how_many_fit(trace):
    message = (
        "Expected at most 1875 images, as the page holds 120,000 bytes of them; got 1876. Pass fewer, such as X[:1875]."
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        page_of(trace, *[trace.image] * 1876)  # 64 bytes each


def describe(**changes):
    mnist = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,))
    return pages.describe_input(replace(mnist, **changes), ())


def test_the_page_knows_what_the_network_takes():
    # MNIST-like without any preparation: drawn on, as the pixels are as dark as handwriting; 0 is its ground.
    mnist = describe()
    assert (mnist["black"], mnist["white"], mnist["whole"], mnist["ground"]) == (0, 255, True, [0])
    assert mnist["frame"] == {"canvas": (28, 28), "box": (20, 20), "in_proportion": True, "block": 1}
    assert mnist["takesPictures"] is True
    # Ink on bright paper: the ground is white.
    assert describe(mean=(221.7,))["ground"] == [255]
    # Clothes, as Fashion-MNIST's mean is: nothing to draw, and an empty image is the mean.
    clothes = describe(mean=(72.9,))
    assert (clothes["frame"], clothes["ground"]) == (None, [73])
    # Shares of white stay shares.
    shares = describe(dtype="float32", white=1, mean=(0.3,))
    assert (shares["whole"], shares["ground"]) == (False, [0.3])


def test_pixels_of_an_unknown_unit_take_no_pictures_and_are_shown_between_the_ends_of_the_samples():
    standardised = InputSpec((2, 2), (1, 2, 2), False, "float32", None, (0.5,), (2.0,))
    images = [np.array([[[-1.5, 0.0], [0.25, 3.0]]], dtype=np.float32)]
    assert pages.describe_input(standardised, images)["takesPictures"] is False
    assert [pages.describe_input(standardised, images)[end] for end in ("black", "white")] == [-1.5, 3.0]
    # Without samples three standard deviations around the mean: 0.5 ± 6.
    assert [pages.describe_input(standardised, ())[end] for end in ("black", "white")] == [-5.5, 6.5]


def test_snapshots_are_further_weights_in_the_same_order(few_digits):
    X, y, *_ = few_digits
    clf = CNNClassifier("tiny", max_epochs=4, callbacks=[Snapshots(3)], random_state=0).fit(X, y)
    page = Page(clf.to_html(Path(mkdtemp()) / "page.html").read_text(encoding="utf-8"))
    assert page.net["epochs"] == [0, 2]  # the last of the three is the network itself
    first = np.frombuffer(base64.b64decode(page.text["epoch-0"]), "<f4")
    assert first.shape == page.numbers.shape
    assert not np.array_equal(first, page.numbers)
    fresh = CNNClassifier("tiny", max_epochs=1, lr=1e-12, random_state=0).fit(X, y)  # as good as before training
    weight = fresh.trace(X[0])["conv1"].weights["weight"]
    start = page.layers["conv1"]["weights"]["weight"]
    np.testing.assert_allclose(first[start : start + weight.size], weight.ravel(), atol=1e-6)


def test_a_classifier_with_a_layer_that_the_page_cannot_compute_is_refused_by_name(few_digits, tmp_path):
    X, y, *_ = few_digits
    clf = CNNClassifier(build, max_epochs=1, random_state=0).fit(X, y)
    message = (
        "Expected layers that the page can compute; got 'block.softplus (Softplus)'. Write the page of one image with "
        "clf.trace(image).to_html(path), or use layers and settings that docs/look_inside.md lists."
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        clf.to_html(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_writes_the_page_of_its_network_with_images_as_fit_takes_them(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (20, 9, 6, 3)).astype(np.uint8), np.arange(20) % 2
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y)
    page = Page(clf.to_html(tmp_path / "page.html", X[:2]).read_text(encoding="utf-8"))
    pixels = np.frombuffer(base64.b64decode(page.text["samples"]), "u1").reshape(2, 3, 9, 6)
    assert np.array_equal(pixels, X[:2].transpose(0, 3, 1, 2))
    assert page.net["samples"]["n"] == 2
    assert Page(clf.to_html(tmp_path / "none.html").read_text(encoding="utf-8")).net["samples"]["n"] == 0


def test_labels_are_text_and_nothing_else(few_digits):
    X, y, *_ = few_digits
    labels = np.array(["</script><b>bold</b>", "cat & dog", "{{ 7 * 7 }}"])
    trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, labels[y % 3]).trace(X[0])
    html = render(trace, spec_of(trace))
    page = Page(html)
    assert page.net["classes"] == sorted(labels)
    assert "<b>bold" not in html
    assert page.text["title"] == "A network that tells </script><b>bold</b>, cat & dog and {{ 7 * 7 }} apart"
    assert page.tags.count("script") == 5  # the network, its numbers, samples, and what runs: the engine and the page


def test_nothing_runs_or_loads_but_what_the_policy_names(trace):
    page = page_of(trace)
    (policy,) = [value for name, value in page.attributes if name == "content" and "default-src" in value]

    def source(text):
        return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"

    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src {source(page.text['style'])}",
        f"script-src {source(page.text['engine'])} {source(page.text['script'])}",
        "worker-src blob:",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [value for name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert not re.search(
        r"https?:|@import|url\(|\bfetch\b|innerHTML|\beval\b",
        page.text["style"] + page.text["engine"] + page.text["script"],
    )


def test_it_is_written_whole_and_the_same_each_time(trace, tmp_path):
    path = write(trace, spec_of(trace), tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert path.read_text(encoding="utf-8") == render(trace, spec_of(trace))
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(trace, tmp_path):
    folder = tmp_path / "missing"
    message = f"{folder}: expected a folder to write page.html into; there is none. Make it first."
    with pytest.raises(FileNotFoundError, match=rf"\A{re.escape(message)}\Z"):
        write(trace, spec_of(trace), folder / "page.html")


def test_a_layer_that_cannot_be_worked_out_is_named_at_the_top(trace, few_digits):
    html = render(trace, spec_of(trace))
    assert html.index('id="caveat"') < html.index("<main>")
    assert "cannot recompute 'block.softplus (Softplus)', so only" in Page(html).text["caveat"]
    X, y, *_ = few_digits
    known = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y).trace(X[0])
    assert 'id="caveat"' not in render(known, spec_of(known))


def test_the_page_counts_what_is_inside_blocks_as_verify_does(trace):
    n_layers = len(trace.verify().layers)
    sentence = f"The network has {n_layers} layers, including the softmax and the layers inside blocks, and "
    assert sentence in page_of(trace).text["p"]


def test_the_page_counts_the_layers_of_the_network_as_its_summary_does(few_digits):
    X, y, *_ = few_digits
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y)
    rows = summarize(clf.module_, clf.image_shape_)
    trace = clf.trace(X[0])
    page = page_of(trace)
    n_layers = len(rows) + 1  # the softmax, which the summary leaves out
    assert f"The network has {n_layers} layers, including the softmax, and " in page.text["p"]
    assert str(trace.verify()).startswith(f"{n_layers} of {n_layers} layers verified")
    assert f"needs {sum(row.n_multiply_adds for row in rows):,} multiplications" in page.text["p"]
