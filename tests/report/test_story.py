"""The walkthrough of one image, on the page of a report."""

import re
from collections import OrderedDict
from dataclasses import replace

import numpy as np
from torch import nn

from cnnclf.inspection._items import Arithmetic, Beside, Matrix, Paragraph
from cnnclf.inspection._narrative import narrate
from cnnclf.inspection._trace import Trace
from reports import make_report, render, words

STEPS = ("standardise", "conv1", "res1", "res1.conv", "res1.shortcut", "softplus1", "flatten1", "output", "softmax")


def records(trace, kind):
    return [item for section in narrate(trace) for item in section.items if isinstance(item, kind)]


def test_the_walkthrough_tells_every_layer_in_order(report, page):
    assert tuple(step.name for step in report.trace.walk()) == STEPS
    story = page.text_of["story"]
    places = [story.index(f"{i}. {name}") for i, name in enumerate(STEPS, start=1)]
    assert places == sorted(places)
    assert "Not recomputed: cnnclf does not know the arithmetic of this layer." in words(story)
    first, second = report.trace.ranking[:2]
    assert story.index("The image: raw pixels") < places[0] < places[-1] < story.index(f"Why {first} and not {second}")


def test_every_equation_of_the_walkthrough_is_on_the_page(report, page):
    lines = [line for item in records(report.trace, Arithmetic) for line in item.lines]
    assert len(lines) > 20
    story = words(page.text_of["story"])
    for line in lines:
        assert line in story


def test_every_sentence_of_the_walkthrough_is_on_the_page(report, page):
    story = words(page.text_of["story"])
    for paragraph in records(report.trace, Paragraph):
        assert paragraph.text in story


def test_the_pixels_are_there_as_a_matrix_with_the_largest_marked(report, html):
    (table,) = re.findall(r'<table class="numbers"[^>]*>.*?</table>', html.split("raw pixels</h3>")[1], re.DOTALL)[:1]
    rows = re.findall(r"<tr><th>\d+</th>(.*?)</tr>", table)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    image = report.trace.image[0]
    assert np.array_equal([[int(cell.replace("·", "0")) for cell in row] for row in cells], image)
    assert re.findall(r'<td class="[^"]*marked"[^>]*>(\d+)<', table) == [str(image.max())]


def test_the_probabilities_are_the_traces(report, page):
    story = words(page.text_of["story"])
    for label, logit, share in zip(("ant", "bee", "cow"), report.trace.logits, report.trace.probabilities, strict=True):
        e = np.exp(np.float64(logit) - np.float64(report.trace.logits.max()))
        assert f"{label} {logit:.4f} {e:.4f} {100 * share:.2f} %" in story
    assert f"with a probability of {100 * report.trace.probabilities.max():.2f} %" in story


def test_matrices_are_coloured_by_sign_and_size_and_keep_their_numbers(report, html):
    matrices = [block for item in records(report.trace, Beside) for block in item.blocks if isinstance(block, Matrix)]
    tables = re.findall(r'<table class="numbers"[^>]*>.*?</table>', html, re.DOTALL)
    assert len(tables) == len(matrices) > 5
    for matrix, table in zip(matrices, tables, strict=True):
        cells = re.findall(r"<td([^>]*)>([^<]*)</td>", table.split("<tbody>")[1])
        assert [cell for _, cell in cells] == [cell for row in matrix.cells for cell in row]
        numbers = [float(cell.replace("·", "0") or 0) for _, cell in cells]
        for (look, _), number in zip(cells, numbers, strict=True):
            share = round(number / max(map(abs, numbers)), 2)
            assert re.findall(r"below|above|--v:[0-9.]+", look) == (
                ["below" if share < 0 else "above", f"--v:{abs(share)}"] if share else []
            )


def test_the_reader_learns_which_image_it_is_and_where_to_explore_it(report, page, written):
    assert report.example.reason in words(page.text_of["story"])
    assert np.array_equal(report.trace.image, make_report().trace.image)
    assert {"#walkthrough", "walkthrough.html", "walkthrough.md"} <= set(page.links)
    assert (written / "walkthrough.md").read_text() == report.trace.to_markdown()
    assert "From pixels to the answer" in (written / "walkthrough.html").read_text()
    markdown = (written / "report.md").read_text()
    assert "## 8 How the network reads one image\n" in markdown
    assert "[walkthrough.md](walkthrough.md)" in markdown
    assert "[walkthrough.html](walkthrough.html)" in markdown


def test_a_colour_image_is_shown_in_its_colours_and_channel_by_channel():
    story = render(make_report(channels=3)).split('id="story"')[1]
    opening, pixels = (re.findall(r'<img[^>]* alt="([^"]*)"', part) for part in story.split("<h3>")[:2])
    assert (opening, sorted(pixels)) == (["the image"], ["channel 0", "channel 1", "channel 2"])
    assert '<img class="true"' not in render(make_report())


def test_a_row_of_numbers_has_no_picture_of_itself(report):
    trace = Trace.record(
        nn.Sequential(OrderedDict({"<u>flatten</u>": nn.Flatten(), "output": nn.Linear(5, 3)})),
        np.zeros((1, 1, 5), np.float32),
        report.trace.classes,
    )
    story = render(replace(report, trace=trace)).split('id="story"')[1]
    assert "<img" not in story.split("<h3>")[0]
    assert story.count("<details") == 3
    assert "<b>1. &lt;u&gt;flatten&lt;/u&gt;</b>" in story
