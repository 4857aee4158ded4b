"""The page in a browser."""

import json
import time

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cnnclf.cli._app_server import Reader
from drawings import Page, drawing, online


@pytest.fixture
def page(chromium, server):
    """The page at desktop size; it asks only its server, and logs no error, as a breach of its policy would be."""
    online(chromium)
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    page = Page(chromium, server.url)
    page.resize(1280, 900)
    yield page
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith((server.url, "data:")) for url in asked)


def test_the_page_reads_while_the_mouse_draws(page, clf, monkeypatch, server):
    sent = []
    monkeypatch.setattr(
        type(server.reader), "read", lambda self, told, read=Reader.read: sent.append(told) or read(self, told)
    )
    told = drawing(0)
    page.draw(told)
    page.wait_for("label", "0")
    assert len(sent) > 3  # while it was drawn, and not only at its end
    time.sleep(0.5)  # for the last of it
    (stroke,) = sent[-1]["strokes"]
    assert np.abs(np.array(stroke[0]) - told["strokes"][0][0]).max() <= 2
    assert np.abs(np.array(stroke[-1]) - told["strokes"][0][-1]).max() <= 8
    answer = Reader.read(server.reader, sent[-1])
    shown = page.run("return [...document.querySelectorAll('#bars li')].map((bar) => bar.textContent)")
    assert [text[0] for text in shown] == list("0123456789")
    share = max(answer["probabilities"])
    assert float(shown[0][1:].strip("> %")) == pytest.approx(100 * share, abs=0.1)
    assert page.text("how-sure").startswith("with ")
    captions = page.run("return [...document.querySelectorAll('#maps figcaption')].map((each) => each.textContent)")
    assert [text.split(",")[0] for text in captions] == ["conv1: 16 × 4 × 4", "pool1: 16 × 2 × 2", "conv2: 32 × 1 × 1"]
    assert page.ink("seen") == 64
    page.wait_for("live", f"0, {page.text('how-sure').removeprefix('with ')}")  # said once, when the hand rests


def test_a_finger_draws_on_a_phone(page):
    page.resize(390, 844)
    page.touch(drawing(5))
    page.wait_for("label", "5")
    assert page.run("return scrollY") == 0  # the finger drew, and did not scroll


def test_clear_and_undo_with_the_keyboard(page):
    page.draw(drawing(5))
    page.wait_for("label", "5")
    both = page.ink("pad")
    page.press(Keys.TAB, Keys.TAB, Keys.ENTER)  # undo takes one stroke of the two
    assert page.run("return document.activeElement.id") == "undo"
    assert 0 < page.ink("pad") < both
    page.press_with(Keys.SHIFT, Keys.TAB)
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "clear"
    page.wait_for("label", "?")
    assert (page.ink("pad"), page.ink("seen"), page.text("how-sure")) == (0, 0, "Nothing is drawn yet.")
    assert page.run("return document.getElementById('walk').getAttribute('href')") is None
    page.draw(drawing(5))
    page.wait_for("label", "5")
    page.press_with(Keys.CONTROL, "z")
    assert 0 < page.ink("pad") < both
    page.press(Keys.ESCAPE)
    page.wait_for("label", "?")


def test_the_walkthrough_of_what_was_drawn(page, server):
    page.draw(drawing(0))
    page.wait_for("label", "0")
    link = page.driver.find_element(By.ID, "walk")
    assert link.get_attribute("target") == "_blank"  # the drawing stays
    page.driver.get(link.get_attribute("href"))
    assert page.driver.current_url.startswith(f"{server.url}walkthrough/")
    assert page.driver.find_element(By.TAG_NAME, "h1").text.startswith("How this network reads an image: 0 with ")
    assert page.text("name")  # its script has run


@pytest.mark.parametrize(
    ("size", "scheme"), [((1280, 900), "dark"), ((820, 1000), "light"), ((390, 844), "dark"), ((320, 600), "light")]
)
def test_nothing_sticks_out_sideways_and_the_pen_can_be_seen(page, size, scheme):
    page.resize(*size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.draw(drawing(5))
    page.wait_for("label", "5")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    paper, ink = page.run(
        "const { backgroundColor, color } = getComputedStyle(document.getElementById('pad'));"
        "const brightness = (colour) => colour.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765;"
        "return [backgroundColor, color].map(brightness)"
    )
    assert abs(paper - ink) > 0.6
    assert (paper > ink) == (scheme == "light")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_every_control_has_a_name(page):
    nameless = """return [...document.querySelectorAll("button, a, canvas, [role], section")].filter((each) =>
        !(each.textContent.trim() || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby"))
        && each.id !== "trouble").map((each) => each.outerHTML)"""
    page.draw(drawing(0))
    page.wait_for("label", "0")
    assert page.run(nameless) == []


def test_an_answer_that_does_not_come_is_said_and_the_drawing_stays(page, server, monkeypatch):
    page.draw(drawing(5))
    page.wait_for("label", "5")
    drawn = page.ink("pad")
    monkeypatch.setattr(server, "handle_error", lambda *_: None)
    monkeypatch.setattr(server.reader.network, "look", lambda row: 1 / 0)  # the connection breaks
    page.draw({"strokes": [[[10, 10], [20, 20]]]})
    sentence = "The network does not answer any more. Start cnnclf app again, and open the page that it names."
    page.wait_for("trouble", sentence)
    assert page.text("label") == "5"
    assert page.ink("pad") > drawn
    (error,) = {entry["message"].split(" - ")[1] for entry in page.driver.get_log("browser")}
    assert error.startswith("Failed to load resource: net::ERR_EMPTY_RESPONSE")
    monkeypatch.undo()
    page.press(Keys.ESCAPE)
    page.draw(drawing(5))
    page.wait_for("trouble", "")
