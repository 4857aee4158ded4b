"""The page of a network in a browser: draw, paint, open, undo, reload; reasons, changes, a tour, epochs."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cnnclf import RECIPES, CNNClassifier
from cnnclf.images._pictures import read_picture
from cnnclf.training import Snapshots
from drawings import Page, drawing

N_SAMPLES = 4


@pytest.fixture(scope="module")
def digits_clf(digits):
    """A network of the digits that reads drawings."""
    recipe = RECIPES["handwriting"] | {"preparation": "handwriting", "callbacks": [Snapshots(3)], "max_epochs": 6}
    return CNNClassifier(**recipe, random_state=0).fit(*digits)


@pytest.fixture(scope="module")
def colour_clf():
    """A network of colour pictures that tells red from blue."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 60, (40, 12, 10, 3)).astype(np.uint8), np.arange(40) % 2
    X[y == 0, ..., 0] += 150
    X[y == 1, ..., 2] += 150
    clf = CNNClassifier("tiny", max_epochs=8, preparation="resize", random_state=0)
    return clf.fit(X, np.array(["red", "blue"])[y]), X


@pytest.fixture(scope="module")
def files(digits_clf, colour_clf, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    clf, X = colour_clf
    return {
        "digits": digits_clf.to_html(folder / "digits.html", digits[0][:N_SAMPLES]),
        "colour": clf.to_html(folder / "colour.html", X[:2]),
        "empty": digits_clf.to_html(folder / "empty.html"),
    }


@pytest.fixture
def look(chromium, files):
    """Open a page; at the end it has asked for nothing, and logged no error, as a breach of its policy would be."""
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)

    def look(name):
        page = Page(chromium, files[name])
        page.run("removeEventListener('pagehide', remember); sessionStorage.clear()")  # what tests before this one drew
        chromium.refresh()
        page.resize(1280, 1000)
        return page

    yield look
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


def predict(clf, page):
    """Return what torch makes of the image in the page."""
    pixels = page.pixels().reshape(1, *clf.image_shape_).astype(clf.input_spec_.dtype)
    X = np.moveaxis(pixels, 1, -1) if clf.input_spec_.channels_last else pixels
    return clf.predict_proba(X.reshape(1, *clf.input_spec_.input_shape))[0]


def shares(page):
    return page.run("return [...layers.at(-1).values]")


def test_a_page_without_images_begins_empty_and_reads_while_the_mouse_draws(look, digits_clf):
    page = look("empty")
    assert (page.text("label"), page.text("how-sure")) == ("?", "This image is empty.")
    page.run("window.answers = 0; onImage.push(() => { window.answers += 1; })")
    page.draw(drawing(0)[0])
    page.settle()
    assert page.text("label") == "0"
    assert page.run("return window.answers") > 3  # while it was drawn, and not only at its end
    np.testing.assert_allclose(shares(page), predict(digits_clf, page), atol=1e-5)
    assert page.driver.title == f"0 {page.text('how-sure')} – A network that reads digits"
    page.wait_for("said", f"0, {page.text('how-sure').removeprefix('with ')}")  # said once, when the hand rests


def test_a_finger_draws_on_a_phone(look):
    page = look("empty")
    page.resize(390, 844)
    page.touch(drawing(5)[0])
    page.settle()
    assert page.text("label") == "5"
    assert page.run("return scrollY") == 0  # the finger drew, and did not scroll


def test_undo_takes_back_stroke_by_stroke_and_clear_can_be_undone(look):
    page = look("empty")
    strokes, _ = drawing(5)  # of two strokes
    page.draw(strokes)
    page.settle()
    five = page.pixels()
    page.press_with(Keys.CONTROL, "z")
    page.settle()
    assert page.run("return drawing.strokes.length") == 1
    page.click("undo")
    page.settle()
    assert page.text("label") == "?"
    page.draw(strokes)
    page.click("clear")
    page.settle()
    assert page.text("label") == "?"
    page.click("undo")
    page.settle()
    assert np.array_equal(page.pixels(), five)


def test_the_drawing_survives_a_reload(look):
    page = look("empty")
    page.draw(drawing(3)[0])
    page.settle()
    before = page.pixels()
    page.driver.refresh()
    assert np.array_equal(page.pixels(), before)
    assert page.text("label") == "3"
    assert page.run("return drawing.strokes.length") == 1
    page.choose("paint")
    page.run("setPixel(0, 0, false); ask({ pixels: drawing.pixels })")
    page.settle()
    before = page.pixels()
    page.driver.refresh()
    assert np.array_equal(page.pixels(), before)


def test_samples_are_picked_and_pixels_are_painted_and_erased(look, digits, digits_clf):
    page = look("digits")
    assert np.array_equal(page.pixels(), digits[0][0].ravel())  # the page opens at the first
    page.run("document.querySelectorAll('.sample')[1].click()")
    page.settle()
    assert np.array_equal(page.pixels(), digits[0][1].ravel())
    # One click in the middle of row 2, column 6 of 8×8 pixels: 16 is white.
    page.draw([[[812, 312], [812, 312]]])
    page.settle()
    expected = digits[0][1].copy()
    expected[2, 6] = 16
    assert np.array_equal(page.pixels(), expected.ravel())
    np.testing.assert_allclose(shares(page), predict(digits_clf, page), atol=1e-5)
    page.choose("erase")
    page.draw([[[62, 312], [937, 312]]])  # all of row 2
    page.settle()
    expected[2] = 0
    assert np.array_equal(page.pixels(), expected.ravel())


def test_erasing_brings_back_the_pixels_of_a_colour_picture(look, colour_clf):
    page = look("colour")
    clf, X = colour_clf
    width, height = page.run("return [pad.offsetWidth, pad.offsetHeight]")
    assert width / height == pytest.approx(10 / 12, rel=0.01)  # the pixels are square
    first = X[0].transpose(2, 0, 1).ravel()
    assert page.text("label") == "red"
    page.run("byId('ink').value = '#0000ff'")
    for row in range(12):
        page.run("for (let column = 0; column < 10; column++) setPixel(arguments[0], column, false)", row)
    page.run("ask({ pixels: drawing.pixels })")
    page.settle()
    assert page.text("label") == "blue"
    np.testing.assert_allclose(shares(page), predict(clf, page), atol=1e-5)
    page.run(
        "for (let i = 0; i < 120; i++) setPixel(Math.floor(i / 10), i % 10, true); ask({ pixels: drawing.pixels })"
    )
    page.settle()
    assert np.array_equal(page.pixels(), first)


def test_the_keyboard_paints(look):
    page = look("empty")
    page.choose("paint")
    page.run("pad.focus()")
    page.press(Keys.ARROW_LEFT, Keys.ARROW_UP, " ", Keys.ARROW_DOWN, " ")  # from the middle, row 4, column 4
    page.settle()
    assert np.flatnonzero(page.pixels()).tolist() == [3 * 8 + 3, 4 * 8 + 3]
    assert page.text("said") == "row 4, column 3"
    page.press(Keys.DELETE)
    page.settle()
    assert np.flatnonzero(page.pixels()).tolist() == [3 * 8 + 3]


def test_the_keyboard_draws_with_a_pen_that_space_puts_down_and_lifts(look, digits_clf):
    page = look("empty")
    page.run("pad.focus()")
    page.press(*[Keys.ARROW_UP] * 8, " ", *[Keys.ARROW_DOWN] * 16)
    page.settle()
    assert page.text("said") == "pen down"
    # From the middle, 500, eight steps of 40 up; sixteen down from there.
    assert page.run("return drawing.strokes") == [[[500, y] for y in range(180, 821, 40)]]
    np.testing.assert_allclose(shares(page), predict(digits_clf, page), atol=1e-5)
    page.press(" ", Keys.ARROW_LEFT)
    assert page.text("said") == "pen up"
    assert page.run("return drawing.strokes[0].length") == 17
    page.press(Keys.DELETE)  # the stroke
    page.settle()
    assert page.text("label") == "?"


def picture(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drop(page, content, kind="image/png"):
    page.run(
        """const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const files = new DataTransfer();
        files.items.add(new File([bytes], "dropped.png", { type: arguments[1] }));
        dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));""",
        base64.b64encode(content).decode(),
        kind,
    )
    page.run("return new Promise((resolve) => setTimeout(resolve, 300))")
    page.settle()


@pytest.mark.parametrize("name", ["digits", "colour"])
def test_a_dropped_picture_becomes_the_same_pixels_as_in_python(look, name, digits_clf, colour_clf):
    page = look(name)
    clf = digits_clf if name == "digits" else colour_clf[0]
    rng = np.random.default_rng(1)
    pixels = (
        rng.integers(0, 256, (50, 40, 3)).astype(np.uint8) if name == "colour" else np.full((90, 70), 240, np.uint8)
    )
    if name == "digits":
        pixels[10:80, 30:42] = 20  # a dark upright line
    drop(page, picture(pixels))
    row = read_picture(picture(pixels), clf.input_spec_)
    expected = np.moveaxis(row, -1, 0) if clf.input_spec_.channels_last else row
    assert np.array_equal(page.pixels(), expected.ravel())
    page.click("undo")
    page.settle()
    assert not np.array_equal(page.pixels(), expected.ravel())


def test_a_file_that_is_no_picture_is_said_so_and_the_image_stays(look):
    page = look("digits")
    before = page.pixels()
    drop(page, b"not a picture", "text/plain")
    page.wait_for("trouble", "Expected a picture that this browser can show; got dropped.png. Save it as PNG.")
    assert np.array_equal(page.pixels(), before)


def test_a_blank_sheet_of_paper_is_an_error_in_a_sentence(look):
    page = look("digits")
    drop(page, picture(np.full((90, 70), 240, np.uint8)))
    assert page.text("trouble").startswith("Expected a drawing that contrasts with its paper; got an even shade.")
    before = page.pixels()
    page.run("document.querySelectorAll('.sample')[1].click()")
    page.settle()
    assert page.run("return byId('trouble').hidden")
    assert not np.array_equal(page.pixels(), before)


def test_a_chosen_cell_keeps_its_place_and_its_arithmetic_follows(look, digits, digits_clf):
    page = look("digits")
    page.run("select(cellAt('#conv1/2/1/1'))")
    before = page.text("value")
    page.run("document.querySelectorAll('.sample')[2].click()")
    page.settle()
    assert page.text("name") == "conv1 channel 2, row 1, column 1"
    value = digits_clf.trace(digits[0][2])["conv1"].output[2, 1, 1]
    assert page.text("value") == f"{value:.6f}".replace("-", "−")
    assert page.text("value") != before


def test_why_one_class_and_not_another_adds_up_to_the_difference_of_their_logits(look, digits, digits_clf):
    page = look("digits")
    trace = digits_clf.trace(digits[0][0])
    first, second = trace.ranking[:2].tolist()
    assert page.text("why-title").split()[0] == "Why"
    assert [page.run("return Number(byId(arguments[0]).value)", f"why-{c}") for c in "ab"] == [first, second]
    parts = page.run(
        """const cells = [...document.querySelectorAll("#waterfall tr .n")];
        return cells.map((td) => Number(td.textContent.replace("−", "-")));"""
    )
    *parts, total = parts
    difference = float(trace.logits[first] - trace.logits[second])
    assert total == pytest.approx(difference, abs=1e-4)
    assert sum(parts) == pytest.approx(total, abs=1e-3)  # ten numbers of four decimals
    exact, features = page.run(
        """const parts = partsOf(...chosenClasses());
        return [parts.reduce((sum, { value }) => sum + value, 0), parts.length];"""
    )
    assert exact == pytest.approx(difference, abs=1e-5)
    assert features == 8 + 1 + 1  # the eight largest, the others, the bias
    evidence = trace.evidence(against=trace.ranking[1], k=1)
    name = page.run("return document.querySelector('#waterfall tbody th').textContent")
    assert name == f"feature {evidence.top[0].feature}"


def test_other_classes_can_be_chosen_and_stay_chosen(look):
    page = look("digits")
    page.run("byId('why-b').value = '7'; byId('why-b').onchange()")
    page.run("document.querySelectorAll('.sample')[1].click()")
    page.settle()
    assert page.run("return byId('why-b').value") == "7"
    assert page.text("evidence-b-name") == "for 7"
    page.run("byId('why-a').value = '7'; byId('why-a').onchange()")
    assert page.run("return [byId('why-same').hidden, byId('why-body').hidden]") == [False, True]


def test_a_small_change_is_searched_while_one_watches_and_can_be_put_on_the_pad(look):
    page = look("digits")
    other = page.run("return classes[Number(byId('why-b').value)]")
    page.click("find-change")
    page.driver.set_script_timeout(60)
    page.run(
        """return new Promise((resolve) => {
          const look = setInterval(() => { if (!searcher) { clearInterval(look); resolve(); } }, 50);
        });"""
    )
    n_painted, rest = page.text("change-text").split(" ", 1)
    assert rest.startswith(("pixel painted: ", "pixels painted: "))
    page.click("use-change")
    page.settle()
    assert page.text("label") == other
    assert int(n_painted) > 0


def test_what_was_found_is_forgotten_with_its_image(look):
    page = look("digits")
    page.click("find-change")
    page.run("document.querySelectorAll('.sample')[1].click()")  # while it searches, or after it
    page.settle()
    assert page.run("return [byId('change').hidden, byId('use-change').hidden, searcher]") == [True, True, None]
    page.click("find-change")
    page.click("stop-change")
    assert page.text("change-text").startswith("Stopped. ")
    page.run("byId('why-b').value = '3'; byId('why-b').onchange()")
    assert page.run("return byId('change').hidden")


def test_reasons_out_of_sight_follow_when_the_hand_rests_and_at_once_for_paper(look):
    page = look("digits")
    page.resize(1280, 300)
    page.run("scrollTo(0, 0)")
    page.run("return new Promise((resolve) => setTimeout(resolve, 300))")
    for i, event in ((1, "beforeprint"), (2, None)):
        page.run("document.querySelectorAll('.sample')[arguments[0]].click()", i)
        page.settle()
        if event is not None:
            page.run("dispatchEvent(new Event(arguments[0]))", event)
        else:
            page.run("return new Promise((resolve) => setTimeout(resolve, 1000))")
        assert page.run("return [chosenClasses(), rankedClasses().slice(0, 2)]")[0] == page.run(
            "return rankedClasses().slice(0, 2)"
        )
        total = page.run("return document.querySelector('#waterfall .sum .n').textContent")
        assert float(total.replace("−", "-")) == pytest.approx(
            page.run("const [a, b] = chosenClasses(); return logitsLayer.values[a] - logitsLayer.values[b]"), abs=1e-4
        )


def test_an_address_that_leads_nowhere_is_replaced_and_that_of_a_layer_is_its_last_cell(look):
    page = look("digits")
    page.run("select(cellAt('#conv1/2/1/1'))")
    page.run("location.hash = '#conv1/99/4/5'; return new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.driver.current_url.endswith("#conv1/2/1/1")
    page.run("location.hash = '#output'; return new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.text("name").startswith("output feature")


def test_a_network_of_many_classes_is_no_taller_than_others(chromium, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 16, (600, 8, 8)).astype(np.uint8), np.arange(600) % 200
    page = Page(
        chromium, CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y).to_html(tmp_path / "page.html", X[:1])
    )
    page.resize(1280, 1000)
    assert page.run("return byId('net').offsetHeight") < 500
    assert page.run("return byId('bars').offsetHeight") < 500


def test_the_tour_goes_through_the_layers_in_their_order_and_follows_the_image(look, digits_clf, digits):
    page = look("digits")
    page.click("start-tour")
    seen, sentences = [], []
    while not page.run("return byId('tour').hidden"):
        seen.append(page.run("return now().layer.index"))
        sentences.append(page.text("tour-text"))
        assert page.text("tour-place").startswith(f"{len(seen)} of ")
        page.click("tour-next")
    assert 8 <= len(seen) <= 10
    assert seen == sorted(seen)
    trace = digits_clf.trace(digits[0][0])
    conv1 = trace["conv1"].output
    assert f"{conv1.max():.4f}" in " ".join(sentences)
    (sentence,) = (each for each in sentences if "is a sum of" in each)
    parts = [float(number.replace("−", "-")) for number in re.findall(r"(?:add|bias is) (−?\d+\.\d+)", sentence)]
    assert sum(parts) == pytest.approx(conv1.max(), abs=3e-4)
    n_negative = int((trace["relu1"].input < 0).sum())
    assert f"turns what is negative into 0: {n_negative:,} of {trace['relu1'].input.size:,} numbers" in " ".join(
        sentences
    )
    assert sentences[-1].endswith("Now change a pixel above, and see all of this change.")
    page.click("start-tour")
    page.click("tour-next")
    before = page.text("tour-text")
    page.run("document.querySelectorAll('.sample')[1].click()")
    page.settle()
    assert page.text("tour-text") != before or page.text("tour-place").startswith("2 of")


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ([[1, 1, 1], [0, 0, 0], [-1, -1, -1]], "edges with bright above and dark below"),
        ([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], "edges with dark on the left and bright on the right"),
        ([[-1, -1, -1], [2, 2, 2], [-1, -1, -1]], "bright horizontal lines"),
        ([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], "bright spots"),
        ([[1, -1, 1], [-1, 1, -1], [1, -1, 1]], None),  # a chessboard
    ],
)
def test_the_tour_names_kernels_that_answer_to_a_simple_pattern(look, kernel, name):
    page = look("digits")
    assert page.run("return nameKernel(arguments[0], [3, 3])", np.ravel(kernel).tolist()) == name


def test_a_slider_shows_the_same_image_through_the_weights_of_earlier_epochs(look, digits_clf, digits):
    page = look("digits")
    assert page.text("epoch-name") == "after training"
    page.run("byId('epoch').value = 0; byId('epoch').oninput({ target: byId('epoch') })")
    page.settle()
    assert page.text("epoch-name") == "before training"
    (snapshots,) = digits_clf.callbacks
    kernel = snapshots.snapshots_[0]["conv1.weight"].numpy()
    shown = page.run("return [...layers.find(({ name }) => name === 'conv1').w.weight.subarray(0, 5)]")
    np.testing.assert_allclose(shown, kernel.ravel()[:5], rtol=1e-6)
    assert np.array_equal(page.pixels(), digits[0][0].ravel())
    page.run("byId('epoch').value = 2; byId('epoch').oninput({ target: byId('epoch') })")
    page.settle()
    np.testing.assert_allclose(shares(page), predict(digits_clf, page), atol=1e-5)


def test_pixels_that_are_painted_while_the_network_computes_are_all_kept(look):
    page = look("digits")
    # Eight pixels, each with its own request, before any answer can arrive.
    page.run("for (let i = 0; i < 8; i++) { setPixel(i, i, false); readDrawing(); }")
    page.settle()
    assert page.run("return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => drawing.pixels[9 * i])") == [16] * 8
    # A third pixel, painted when the first answer arrives while the second request is under way.
    page.run(
        """let isPainted = false;
        onImage.push(() => {
          if (isPainted) return;
          isPainted = true;
          setPixel(2, 7, false);
          readDrawing();
        });
        for (const row of [0, 1]) { setPixel(row, 7, false); readDrawing(); }"""
    )
    page.run("return new Promise((resolve) => setTimeout(resolve, 300))")
    page.settle()
    assert page.run("return [0, 1, 2].map((row) => drawing.pixels[8 * row + 7])") == [16] * 3


def test_pixels_of_a_wrong_number_are_refused(look):
    page = look("digits")
    message = page.run("try { cnnclf.predict([1, 2]) } catch (error) { return error.message }")
    assert message == "Expected 64 pixels, 1 × 8 × 8, channels first; got 2. Pass one flat array."


def test_without_a_worker_the_page_computes_by_itself(look):
    page = look("empty")
    page.run("worker = null")
    page.draw(drawing(0)[0])
    page.settle()
    assert page.text("label") == "0"


def test_a_recorded_page_has_no_input(few_digits, chromium, tmp_path):
    from torch import nn

    def build(image_shape, n_classes):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(72, n_classes))

    X, y, *_ = few_digits
    clf = CNNClassifier(build, max_epochs=1, random_state=0).fit(X, y)
    page = Page(chromium, clf.trace(X[0]).to_html(tmp_path / "page.html"))
    tools = chromium.find_element(By.ID, "pad-tools")
    assert not tools.is_displayed()
    assert page.run("return document.querySelector('.why').hidden")
    np.testing.assert_allclose(shares(page), clf.predict_proba(X[:1])[0], atol=1e-5)
    page.run("pad.focus()")
    page.press(Keys.ARROW_LEFT, " ")
    assert np.array_equal(page.pixels(), X[0].ravel())
