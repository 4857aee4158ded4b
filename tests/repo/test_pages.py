"""The pages as a browser shows them: nothing sticks out, nothing fuses, everything can be read, paper included."""

import re
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from typer.testing import CliRunner

import cnnclf
from cnnclf import CNNClassifier, Evaluation
from cnnclf.cli import _main as cli
from cnnclf.inspection._items import Matrix
from cnnclf.report._records import Report, Reproduction
from cnnclf.report._render import templates
from cnnclf.report._write import to_html

TEMPLATES = {path.name: path for path in Path(cnnclf.__file__).parent.glob("*/templates/*")}
SHEETS = {
    "index.html": ("style.css", "report.css", "story.css"),
    "walkthrough.html": ("style.css", "page.css"),
}
ADJUSTED = {"kicker", "lead", "note"}  # words of the style that all pages share, which a page may set in another size
CELLS = {"index.html": ("",), "walkthrough.html": ("#conv1/3/4/5", "#softmax/5")}
PAGES = [(page, cell) for page, cells in CELLS.items() for cell in cells]

# Of every text in sight: the contrast with the colours that lie behind it, by WCAG 2.2, 1.4.3.
FAINT = """
const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
};
const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => (c * a + below[i] * (255 - a)) / 255);
const behind = (element) => {
  if (!element) return [255, 255, 255];
  const below = behind(element.parentElement);
  return element instanceof HTMLElement ? over(rgba(getComputedStyle(element).backgroundColor), below) : below;
};
const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const faint = [];
for (let node; (node = walker.nextNode());) {
  const element = node.parentElement;
  if (!node.data.trim() || !element.checkVisibility() || element.closest("script, style")) continue;
  const style = getComputedStyle(element), ground = behind(element);
  const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), ground);
  const [low, high] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  if (contrast >= 4.5) continue;
  faint.push(`${contrast.toFixed(2)}: ${node.data.trim()} in ${element.tagName}.${element.className}`);
}
return faint;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with a story inside and the walkthrough beside it."""
    folder = tmp_path_factory.mktemp("report")
    arguments = ["report", "--dataset", "digits", "--architecture", "lenet5", "--epochs", "1", "--out", str(folder)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    return folder


LONG_NAME = "a very long class name number 0 <b>&" + "w" * 60
LONG_PAGES = [("long.html", cell) for cell in ("#0/1/3/4", "#softmax/0", "#2/0/1/1")]


def build_small(image_shape, n_classes):
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, n_classes)
    )


@pytest.fixture(scope="module")
def long_numbers(folder, few_digits):
    """Beside the report: a walkthrough of long numbers and long class names."""
    X, y, *_ = few_digits
    labels = np.array([LONG_NAME, *(f"a very long class name number {k} <b>&" for k in range(1, 10))])
    clf = CNNClassifier(build_small, max_epochs=1, random_state=0).fit(X, labels[y])
    convolution = next(layer for layer in clf.module_.modules() if isinstance(layer, nn.Conv2d))
    convolution.weight.data *= -12345
    return clf.trace(X[0]).to_html(folder / "long.html")


@pytest.fixture(scope="module")
def long_names(folder):
    """A report of predictions whose classes have long names, one of them a single word."""
    classes = [LONG_NAME, *(f"a very long class name number {k} <b>&" for k in range(1, 4))]
    evaluation = Evaluation.from_labels(classes * 2, [*classes, *classes[::-1]], classes)
    report = Report.of_predictions("predictions.csv", evaluation, Reproduction("cnnclf report", None, {}))
    path = folder / "names.html"
    path.write_text(
        to_html(report, dict.fromkeys(("confusion", "confusion_shares", "per_class"), "")), encoding="utf-8"
    )
    return path


@pytest.fixture
def look(chromium, folder):
    """Open a page at a width, light or dark, on the screen or on paper, with all that can be opened open."""

    def look(page, cell="", width=1280, scheme="light", media="screen"):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        prefers = [{"name": "prefers-color-scheme", "value": scheme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": prefers, "media": "screen"})
        chromium.get("about:blank")
        chromium.get((folder / page).as_uri() + cell)
        chromium.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        chromium.execute_script("document.querySelector('#matrix td.miss button')?.click()")
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": prefers, "media": media})
        return chromium

    return look


@pytest.mark.parametrize("page", SHEETS)
def test_no_class_is_styled_by_two_style_sheets_of_a_page(page):
    styled = {}
    for sheet in SHEETS[page]:
        css = re.sub(r"/\*.*?\*/", "", TEMPLATES[sheet].read_text(encoding="utf-8"), flags=re.DOTALL)
        selectors = " ".join(re.findall(r"([^{}]+)\{", css))
        for name in set(re.findall(r"\.([a-zA-Z_][\w-]*)", selectors)) - ADJUSTED:
            styled.setdefault(name, []).append(sheet)
    assert {name: sheets for name, sheets in styled.items() if len(sheets) > 1} == {}


def test_the_pages_have_the_style_sheets_that_are_compared_here(folder):
    for page in CELLS:
        html = (folder / page).read_text(encoding="utf-8")
        for sheet in (path for name, path in TEMPLATES.items() if name.endswith(".css")):
            assert (sheet.read_text(encoding="utf-8").strip() in html) == (sheet.name in SHEETS[page])


@pytest.mark.parametrize(("page", "tables"), [("index.html", ".numbers"), ("walkthrough.html", "table.grid")])
def test_all_columns_of_a_grid_have_the_same_padding_and_no_number_leaves_its_cell(look, page, tables):
    grids = look(page, CELLS[page][0]).execute_script(
        """return [...document.querySelectorAll(arguments[0])].map((table) => {
          const cells = [...table.querySelectorAll("tbody td")];
          const styles = cells.map((td) => getComputedStyle(td));
          const paddings = new Set(styles.map((style) => style.paddingLeft + style.paddingRight));
          return [paddings.size, cells.filter((td) => td.scrollWidth > td.clientWidth + 1).map((td) => td.textContent)];
        })""",
        tables,
    )
    assert len(grids) > 2
    assert [grid for grid in grids if grid != [1, []]] == []


@pytest.mark.parametrize("width", [390, 720, 1440])
@pytest.mark.parametrize(("page", "cell"), [*LONG_PAGES[:1], LONG_PAGES[2], ("walkthrough.html", "#conv2/3/2/2")])
def test_numbers_of_a_grid_keep_apart_and_a_sign_stands_before_its_grid(look, long_numbers, page, cell, width):
    driver = look(page, cell, width)
    gaps, overflowing, apart, texts = driver.execute_script(
        """const gaps = [], texts = [];
        for (const td of document.querySelectorAll(".grid td")) {
          const range = document.createRange();
          range.selectNodeContents(td);
          const text = range.getBoundingClientRect(), cell = td.getBoundingClientRect();
          gaps.push(Math.min(text.left - cell.left, cell.right - text.right));
          texts.push(td.textContent);
        }
        const boxes = [...document.querySelectorAll(".part, .how")];
        const outside = boxes.filter((each) => each.scrollWidth > each.clientWidth + 1);
        const apart = [...document.querySelectorAll(".operator")].filter((each) => {
          const sign = each.getBoundingClientRect(), grid = each.nextElementSibling.getBoundingClientRect();
          return !(grid.left > sign.right && grid.top < sign.bottom && grid.bottom > sign.top);
        });
        return [gaps, outside.length, apart.length, texts];"""
    )
    assert min(gaps) >= 0.3 * 9.6  # em of the smallest type
    assert (overflowing, apart) == (0, 0)
    assert not {text for text in texts if re.fullmatch(r"−0\.0+", text)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["pixels", "inside"])
def test_every_strength_of_a_cell_leaves_its_number_readable(chromium, place, scheme):
    # A matrix whose largest number is 1.00 has every strength from -1 to 1 in hundredths.
    cells = tuple(tuple(f"{sign * v / 100:.2f}" for v in range(1, 101)) for sign in (1, -1))
    matrix = Matrix("", cells, ("0", "1"), tuple(map(str, range(100))))
    source = (
        "{% import 'story.html.j2' as story %}<style>{% include 'style.css' %}{% include 'report.css' %}"
        "{% include 'story.css' %}</style>"
        "<div class='story'><div class='{{ place }}'>{{ story.matrix(matrix) }}</div></div>"
    )
    html = templates().from_string(source).render(matrix=matrix, place=place)
    prefers = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": prefers, "media": "screen"})
    chromium.get("about:blank")
    chromium.execute_script("document.documentElement.innerHTML = arguments[0]", html)
    assert chromium.execute_script("return document.querySelectorAll('td[style]').length") == 200
    assert chromium.execute_script(FAINT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("page", "cell"), PAGES)
def test_every_text_has_a_contrast_of_4_5(look, page, cell, scheme):
    assert look(page, cell, scheme=scheme).execute_script(FAINT) == []


def test_the_measure_of_contrast(chromium):
    chromium.get(
        "data:text/html,<p style='color:%23777'>grey</p><p style='background:%23000'><b style='color:%23777'>a</b></p>"
    )
    # #777 on white is 4.48 : 1, on black 4.69 : 1.
    assert chromium.execute_script(FAINT) == ["4.48: grey in P."]


@pytest.mark.parametrize("width", [390, 720, 760, 1024, 1440])
@pytest.mark.parametrize(("page", "cell"), PAGES)
def test_no_page_scrolls_sideways(look, page, cell, width):
    measure = "return [document.documentElement.scrollWidth, window.innerWidth]"
    whole, shown = look(page, cell, width).execute_script(measure)
    assert whole <= shown


@pytest.mark.parametrize("width", [390, 720, 1440])
@pytest.mark.parametrize(("page", "cell"), LONG_PAGES)
def test_long_class_names_neither_widen_the_page_nor_leave_its_heading(look, long_numbers, page, cell, width):
    measure = """const right = (name) => {
      const range = document.createRange();
      range.selectNodeContents(document.querySelector(name));
      return range.getBoundingClientRect().right;
    };
    return [document.documentElement.scrollWidth, right("h1"), window.innerWidth]"""
    whole, heading, shown = look(page, cell, width).execute_script(measure)
    assert whole <= shown
    assert heading <= shown


@pytest.mark.parametrize("width", [390, 720, 1440])
def test_long_class_names_wrap_in_the_tables_of_a_report(look, long_names, width):
    driver = look("names.html", width=width)
    measure = "return [document.documentElement.scrollWidth, window.innerWidth]"
    whole, shown = driver.execute_script(measure)
    assert whole <= shown
    names = driver.execute_script(
        """return [...document.querySelectorAll("#classes tbody th, #pairs tbody th, .confusion th")].map(
          (each) => [each.getBoundingClientRect().width, each.scrollWidth <= each.clientWidth + 1])"""
    )
    assert len(names) > 8
    assert min(name_width for name_width, _ in names) >= 60  # several letters in a line
    assert max(name_width for name_width, _ in names) <= 0.6 * width
    assert all(fits for _, fits in names)


@pytest.mark.parametrize("width", [718, 1047])  # A4 upright and across, less Chromium's margins
def test_the_printed_walkthrough_has_every_layer_and_the_answer_and_marks_the_chosen_cell(look, width):
    driver = look("walkthrough.html", "#conv1/3/4/5", width, media="print")
    edges = driver.execute_script(
        "return [...document.querySelectorAll('.layer, .classes b')].map((each) => each.getBoundingClientRect().right)"
    )
    assert len(edges) > 10 + 10  # layers, and the ten probabilities of the softmax
    assert max(edges) <= width
    # Nothing is drawn across the layers; over the large map the mark keeps 4 pixels of room around it, at any size.
    assert (
        driver.execute_script("return getComputedStyle(document.querySelector('.columns > .overlay')).display")
        == "none"
    )
    offsets = driver.execute_script(
        """const canvases = [...document.querySelectorAll("#large > canvas")];
        const [map, marks] = canvases.map((each) => each.getBoundingClientRect());
        return [map.left - marks.left, map.top - marks.top, marks.right - map.right, marks.bottom - map.bottom];"""
    )
    assert offsets == pytest.approx([4, 4, 4, 4], abs=0.1)


def test_the_table_headings_of_a_report_are_not_empty_and_its_wide_tables_can_be_scrolled_by_keyboard(look):
    driver = look("index.html", width=390)
    assert (
        driver.execute_script(
            "return [...document.querySelectorAll('th')].filter((th) => !th.textContent.trim()).length"
        )
        == 0
    )
    assert (
        driver.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter((div) => div.tabIndex !== 0).length"
        )
        == 0
    )


def test_a_table_that_is_cut_at_the_edge_has_a_shadow_there(look):
    driver = look("index.html", width=390)
    layers = driver.execute_script(
        """const boxes = [...document.querySelectorAll(".scroll")];
        return boxes.map((each) => getComputedStyle(each).backgroundAttachment);"""
    )
    # The paper moves with the table and bares the shadow, which stays.
    assert set(layers) == {"local, local, scroll, scroll"}


def test_the_learning_rates_of_a_table_are_written_alike(folder):
    table = re.findall('id="history".*?</table>', (folder / "index.html").read_text(encoding="utf-8"), flags=re.DOTALL)[
        0
    ]
    rates = re.findall(r'<td class="n">([^<]*)</td></tr>', table)
    assert len(rates) == 1  # one epoch
    assert re.fullmatch(r"\d\.\de-\d\d", rates[0])


def test_the_title_and_the_strip_write_the_probability_alike(look):
    driver = look("walkthrough.html")
    strip = driver.execute_script("return document.querySelector('.classes .first b').textContent")
    assert f" with {strip} – " in driver.title
    assert driver.execute_script("return document.getElementById('how-sure').textContent") == f"with {strip}"
