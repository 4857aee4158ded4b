"""The pages as a browser shows them: nothing sticks out, nothing fuses, everything can be read, paper included."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnclf import cli, walkthrough_html

TEMPLATES = Path(walkthrough_html.__file__).parent / "templates"
SHEETS = {
    "index.html": ("style.css", "report.css", "story.css"),
    "walkthrough.html": ("style.css", "walkthrough.css"),
    "app.html": ("style.css", "app.css"),
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

    yield look
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})


@pytest.mark.parametrize("page", SHEETS)
def test_no_class_is_styled_by_two_style_sheets_of_a_page(page):
    styled = {}
    for sheet in SHEETS[page]:
        css = re.sub(r"/\*.*?\*/", "", (TEMPLATES / sheet).read_text(encoding="utf-8"), flags=re.DOTALL)
        selectors = " ".join(re.findall(r"([^{}]+)\{", css))
        for name in set(re.findall(r"\.([a-zA-Z_][\w-]*)", selectors)) - ADJUSTED:
            styled.setdefault(name, []).append(sheet)
    assert {name: sheets for name, sheets in styled.items() if len(sheets) > 1} == {}


def test_the_pages_have_the_style_sheets_that_are_compared_here(folder):
    for page in CELLS:
        html = (folder / page).read_text(encoding="utf-8")
        for sheet in TEMPLATES.glob("*.css"):
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
