"""The offline page in a browser without a network: every cell's arithmetic, on MNIST and on a net with blocks.

A cell is chosen by its address, ``#conv1/3/4/5``, as by a bookmark; numbers are read off the page.
"""

import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import nn

from cnnclf import CNNClassifier, load_digits, load_mnist
from cnnclf.architectures._modules import Residual
from helpers import set_size

pytestmark = pytest.mark.acceptance

N_CELLS = 200  # of each layer

READ = """
const number = (element) => element && Number(element.textContent.replaceAll("−", "-"));
const first = (selector) => number(document.querySelector(selector));
return arguments[0].map((address) => {
  select(cellAt(address));
  const all = document.querySelector("#list-all");
  if (all?.textContent.startsWith("List all")) all.click();  // from here on all products of a dense layer are there
  return {
    name: document.querySelector("#name").textContent,
    value: first("#value"), result: first(".calculated"), bias: first(".bias"),
    products: [...document.querySelectorAll("#how .product")].map(number),
  };
});
"""


@dataclass(frozen=True, eq=False)
class Site:
    """A page, and what torch itself gave for its image: the input and output of every layer."""

    address: str
    layers: dict[str, tuple[nn.Module, torch.Tensor, torch.Tensor]]


def publish(clf: CNNClassifier, image: Any, path: Path) -> Site:
    layers: dict[str, tuple[nn.Module, torch.Tensor, torch.Tensor]] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            layers[name] = layer, inputs[0][0].clone(), output[0].clone()

        return hook

    hooks = [
        layer.register_forward_hook(remember(name.replace(".body.", ".")))
        for name, layer in clf.module_.named_modules()
        if name and not name.endswith(".body")
    ]
    probabilities = torch.from_numpy(clf.predict_proba(image[np.newaxis]))
    logits = torch.from_numpy(clf.decision_function(image[np.newaxis]))
    for hook in hooks:
        hook.remove()
    layers["softmax"] = nn.Softmax(dim=1), logits[0], probabilities[0]
    clf.trace(image).to_html(path)
    return Site(path.as_uri(), layers)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small net, one epoch old, and a 5."""
    X, y = load_mnist()
    X_test, y_test = load_mnist("test")
    clf = CNNClassifier("compact", max_epochs=1, lr=0.005, random_state=0).fit(X[:10_000], y[:10_000])
    return publish(clf, X_test[y_test == 5][1], tmp_path_factory.mktemp("five") / "five.html")


def with_blocks(image_shape: tuple[int, int, int], n_classes: int) -> nn.Sequential:
    """Every kind of layer that a trace knows, and one that it does not.

    There is no ReLU before the flattening, so that all of a field takes part.
    """
    acts = OrderedDict(
        gelu=nn.GELU(),
        leaky=nn.LeakyReLU(0.3),
        sigmoid=nn.Sigmoid(),
        tanh=nn.Tanh(),
        silu=nn.SiLU(),
        softplus=nn.Softplus(),
    )
    body = OrderedDict(conv1=nn.Conv2d(6, 6, 3, padding=1, groups=2), norm=nn.BatchNorm2d(6), conv2=nn.Conv2d(6, 6, 1))
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(image_shape[0], 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
            block1=Residual(nn.Sequential(body)),
            block2=nn.Sequential(OrderedDict(mean=nn.AvgPool2d(2, stride=1), **acts)),
            pool=nn.MaxPool2d(2, stride=1, padding=1),
            drop=nn.Dropout(0.2),
            whole=Residual(nn.Sequential(OrderedDict(largest=nn.AdaptiveMaxPool2d(1))), nn.AdaptiveAvgPool2d(1)),
            flatten=nn.Flatten(),
            dense=nn.Linear(6, 20),
            relu=nn.ReLU(),
            output=nn.Linear(20, n_classes),
        )
    )


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A net with a residual and a plain block, and scikit-learn's first digit."""
    X, y = load_digits()
    clf = CNNClassifier(with_blocks, max_epochs=1, random_state=0).fit(X, y)
    return publish(clf, X[0], tmp_path_factory.mktemp("blocks") / "blocks.html")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what the page does in its own time, at most ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def prefer(driver: webdriver.Chrome, **features: str) -> None:
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def text_of(driver: webdriver.Chrome, name: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).textContent", name))


def press(driver: webdriver.Chrome, *keys: str) -> None:
    ActionChains(driver).send_keys(*keys).perform()


def choose_cells(shape: torch.Size) -> list[tuple[int, ...]]:
    n = math.prod(shape)
    flat = np.random.default_rng(0).choice(n, size=min(n, N_CELLS), replace=False)
    return [tuple(int(i) for i in np.unravel_index(cell, shape)) for cell in flat]


def check_layer(driver: webdriver.Chrome, name: str, site: Site) -> None:
    layer, x, y = site.layers[name]
    cells = choose_cells(y.shape)
    shown = driver.execute_script(READ, ["#" + "/".join(map(str, (name, *cell))) for cell in cells])
    for cell, on_page in zip(cells, shown, strict=True):
        where = f"{name} {cell}"
        assert on_page["name"].startswith(name), where
        assert on_page["value"] == pytest.approx(y[cell].item(), rel=1e-5, abs=1e-5), where  # torch's, but for rounding
        match layer:
            case nn.Conv2d():
                assert len(on_page["products"]) == layer.weight[0].numel(), where
            case nn.Linear():
                assert len(on_page["products"]) == len(x), where
        if on_page["products"]:
            total = math.fsum([*on_page["products"], on_page["bias"] or 0])
            assert total == pytest.approx(on_page["value"], abs=1e-5), where
            assert (on_page["bias"] is None) == (layer.bias is None), where
        if not isinstance(layer, nn.Softplus):  # the stranger: shown, not recomputed
            assert on_page["result"] == pytest.approx(on_page["value"], abs=1e-5), where


@pytest.mark.parametrize("site", ["five", "blocks"])
def test_the_arithmetic_of_every_layer_adds_up_to_what_torch_gives(
    site: str, browser: webdriver.Chrome, request: pytest.FixtureRequest
) -> None:
    published: Site = request.getfixturevalue(site)
    browser.get(published.address)
    press(browser, "e")  # exact numbers
    assert browser.find_element(By.ID, "exact").get_attribute("aria-pressed") == "true"
    for name in published.layers:
        check_layer(browser, name, published)


def test_a_channel_that_never_varied_is_zero_on_the_page(browser: webdriver.Chrome, tmp_path: Path) -> None:
    X, y = load_digits()
    X = np.stack([X, np.full_like(X, 255)], axis=1)
    clf = CNNClassifier("tiny", max_epochs=1, image_shape=(2, 8, 8), random_state=0).fit(X, y)
    site = publish(clf, np.where(X[0] == 255, 230, X[0]), tmp_path / "page.html")
    browser.get(site.address)
    press(browser, "e")  # exact numbers
    check_layer(browser, "standardise", site)
    check_layer(browser, "output", site)


def test_a_convolution_shows_its_patch_and_its_kernel(five: Site, browser: webdriver.Chrome) -> None:
    layer, x, _ = five.layers["conv2"]
    assert isinstance(layer, nn.Conv2d)
    browser.get(five.address + "#conv2/7/4/3")
    press(browser, "e")
    parts = browser.execute_script(
        """const texts = (part, name) => [...part.querySelectorAll(name)].map((cell) => cell.textContent);
        return [...document.querySelectorAll(".part")].map((part) =>
          [part.querySelector("h4").firstChild.textContent, texts(part, ".patch"), texts(part, ".weight")])"""
    )
    assert len(parts) == 16
    for title, patch, kernel in parts:
        channel = int(title.removeprefix("channel "))
        numbers = [[float(cell.replace("−", "-")) for cell in cells] for cells in (patch, kernel)]
        # A 5 × 5 kernel without padding at row 4, column 3 lies on rows 4–8 and columns 3–7.
        assert numbers[0] == pytest.approx(x[channel, 4:9, 3:8].flatten().tolist(), rel=1e-5, abs=1e-5)
        assert numbers[1] == layer.weight[7, channel].flatten().tolist()


def test_the_field_of_a_cell_is_what_has_a_part_in_it(blocks: Site, browser: webdriver.Chrome) -> None:
    # Autograd, through this very net without its ReLU: the pixels whose gradient is not zero.
    browser.get(blocks.address)
    net = nn.Sequential(*(blocks.layers[name][0] for name in ("standardise", "stem", "block1", "block2.mean")))
    _, image, _ = blocks.layers["standardise"]
    pixels = image[None].float().requires_grad_()
    output = net(pixels)
    for channel, row, column in choose_cells(output[0].shape)[:20]:
        (gradient,) = torch.autograd.grad(output[0, channel, row, column], pixels, retain_graph=True)
        rows, columns = np.nonzero(gradient[0, 0].numpy())
        address = f"#block2.mean/{channel}/{row}/{column}"
        field = browser.execute_script("return fieldsOf(cellAt(arguments[0]))[0]", address)
        assert [field[side] for side in ("y0", "y1", "x0", "x1")] == [
            rows.min(),
            rows.max() + 1,
            columns.min(),
            columns.max() + 1,
        ]


def test_the_field_of_a_cell_of_the_default_net(five: Site, browser: webdriver.Chrome) -> None:
    # conv2 at row 4 takes rows 4–8 of relu1, norm1 and pool1; these take rows 8–17 of conv1, these 8–21 of the image.
    # Columns alike: 3–7, 6–15, 6–19. All channels of relu1 take part, and so all before them.
    browser.get(five.address)
    fields = browser.execute_script("return fieldsOf(cellAt('#conv2/7/4/3'))")
    sides = [[field[side] for side in ("c0", "c1", "y0", "y1", "x0", "x1")] for field in fields[:7]]
    assert sides == [
        [0, 1, 8, 22, 6, 20],  # image
        [0, 1, 8, 22, 6, 20],  # standardise
        [0, 16, 8, 18, 6, 16],  # conv1
        [0, 16, 4, 9, 3, 8],  # pool1
        [0, 16, 4, 9, 3, 8],  # norm1
        [0, 16, 4, 9, 3, 8],  # relu1
        [7, 8, 4, 5, 3, 4],  # conv2
    ]
    assert fields[7:] == [None] * 8


def test_it_asks_the_network_for_nothing(five: Site, browser: webdriver.Chrome) -> None:
    browser.get(five.address)
    press(browser, "n", "n", "n", "e")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # Beside itself only the worker, which it makes of its own script.
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [five.address]


def test_a_walk_with_the_keyboard(five: Site, browser: webdriver.Chrome) -> None:
    browser.get(five.address + "#conv1/3/4/5")
    _, _, conv1 = five.layers["conv1"]
    focused = "return document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
    browser.execute_script("layers[0].map.focus()")
    assert browser.execute_script(focused) == "image, raw pixels, 1 × 28 × 28; arrow keys move"
    press(browser, "n", "n")
    assert browser.execute_script(focused) == "conv1, Conv2d 5×5, 16 × 24 × 24; arrow keys move"
    assert text_of(browser, "name") == "conv1 channel 3, row 4, column 5"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert text_of(browser, "live") == f"conv1, channel 3, row 5, column 4: {conv1[3, 5, 4]:.4f}".replace("-", "−")
    press(browser, Keys.PAGE_DOWN, Keys.PAGE_DOWN, Keys.PAGE_UP)
    assert text_of(browser, "name") == "conv1 channel 4, row 5, column 4"
    press(browser, Keys.TAB)
    assert text_of(browser, "name").startswith("pool1 channel 4")
    press(browser, "[", "]", "p")
    assert text_of(browser, "name") == "conv1 channel 4, row 5, column 4"
    press(browser, *[Keys.ARROW_LEFT] * 9)  # stops at the edge
    assert text_of(browser, "name") == "conv1 channel 4, row 5, column 0"
    wait_until(lambda: browser.current_url.endswith("#conv1/4/5/0"))  # a bookmark of it


def test_the_mouse_shows_and_a_click_keeps(five: Site, browser: webdriver.Chrome) -> None:
    set_size(browser, 1280, 2400)  # the offsets below are from the middle of what is in sight: all of the map
    browser.get(five.address + "#conv1/3/4/5")
    large = browser.find_element(By.CSS_SELECTOR, "#large canvas")
    cell = large.size["width"] / 24
    ActionChains(browser).move_to_element_with_offset(large, round(cell * 2.5), round(cell * -0.5)).pause(0.2).perform()
    assert text_of(browser, "name") == "conv1 channel 3, row 11, column 14"
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).pause(0.2).perform()
    assert text_of(browser, "name") == "conv1 channel 3, row 4, column 5"
    ActionChains(browser).move_to_element_with_offset(large, round(cell * 2.5), round(cell * -0.5)).click().perform()
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).pause(0.2).perform()
    assert text_of(browser, "name") == "conv1 channel 3, row 11, column 14"
    browser.execute_script("document.querySelector('td.source').click()")  # and on, to the cell it was made of
    assert text_of(browser, "name") == "standardise channel 0, row 11, column 14"


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_it_plays_pauses_and_stops(motion: str, five: Site, browser: webdriver.Chrome) -> None:
    prefer(browser, prefers_reduced_motion=motion)
    browser.get(five.address)
    play = browser.find_element(By.ID, "play")
    play.click()
    wait_until(lambda: text_of(browser, "playing") == "2 of 15: standardise")
    assert "ahead" in browser.execute_script("return document.querySelector('.layer:nth-child(3)').className")
    play.click()
    assert play.text == "Resume"
    time.sleep(2.5)  # longer than it stays at one layer
    assert text_of(browser, "playing") == "2 of 15: standardise"
    play.click()
    wait_until(lambda: text_of(browser, "playing") == "3 of 15: conv1")
    press(browser, Keys.ESCAPE)
    assert (play.text, text_of(browser, "playing")) == ("Play", "")
    assert not browser.find_elements(By.CLASS_NAME, "ahead")
    prefer(browser, prefers_reduced_motion="no-preference")


def test_a_block_opens_when_a_cell_inside_is_asked_for(blocks: Site, browser: webdriver.Chrome) -> None:
    browser.get(blocks.address)
    inner = browser.find_element(By.CSS_SELECTOR, "[aria-label='block1.conv1']")
    assert not inner.is_displayed()
    browser.get(blocks.address + "#block1.conv1/2/3/3")
    inner = browser.find_element(By.CSS_SELECTOR, "[aria-label='block1.conv1']")
    assert inner.is_displayed()
    browser.execute_script("document.querySelector('[aria-label=block1] .opener').click()")
    assert not inner.is_displayed()
    assert text_of(browser, "name").startswith("block1 channel")
    browser.get(blocks.address + "#block2.softplus/0/0/0")
    assert "Not recomputed." in text_of(browser, "how")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["wide", "phone"])
def test_nothing_sticks_out_sideways(
    size: tuple[int, int], scheme: str, five: Site, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    set_size(browser, *size)
    prefer(browser, prefers_color_scheme=scheme)
    for place in ("image/0/9/9", "conv2/7/4/3", "pool2/0/1/1", "norm2/0/1/1", "dense1/3", "output/5", "softmax/5"):
        browser.get("about:blank")
        browser.get(f"{five.address}#{place}")
        for _ in ("short", "exact"):
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), place
            assert browser.save_screenshot(str(tmp_path / f"{place.replace('/', '-')}.png"))
            press(browser, "e")
