"""The page of a report: every section with its numbers."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from markdown_it import MarkdownIt

from cnnclf.evaluation._overfitting import RULE
from cnnclf.report._render import data_uri
from cnnclf.report._write import figures, metrics, picture_grids, to_markdown
from reports import COMPARED, HISTORY, SETTINGS, Page, make_report, markdown_tables, matrix_cells, render, words

SECTIONS = [
    ("data", "The data"),
    ("networks", "The networks compared"),
    ("network", "The network"),
    ("training", "The training"),
    ("settings", "The settings"),
    ("test", "The test"),
    ("confusion", "The confusion matrix"),
    ("walkthrough", "How the network reads one image"),
    ("mistakes", "The most confident mistakes"),
    ("limits", "The limits of this model"),
    ("again", "Appendix: how to reproduce it"),
]


def test_the_contents_list_every_section_in_order(report, html, page):
    contents = re.search(r'<nav aria-label="Contents">(.*?)</nav>', html, re.DOTALL)[1]
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', contents) == [
        (name, f"{i} {heading}") for i, (name, heading) in enumerate(SECTIONS, start=1)
    ]
    assert [(name, page.text_of[name]) for name in page.ids if name in dict(SECTIONS)] == [
        (name, f"{i}{heading}") for i, (name, heading) in enumerate(SECTIONS, start=1)
    ]
    assert re.findall("^## (.*)$", to_markdown(report), flags=re.MULTILINE) == [
        f"{i} {heading}" for i, (_, heading) in enumerate(SECTIONS, start=1)
    ]


def test_headline(report, page):
    accuracy, (low, high) = report.evaluation.accuracy, report.evaluation.accuracy_interval
    assert page.text_of["test-accuracy"] == f"{accuracy:.2%}".replace("%", " %")
    head = words(page.text)
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in head
    n_correct = round(20 * accuracy)
    assert f"test images 20 {20 - n_correct} mistakes" in head
    assert "parameters 1,314 3 layers" in head
    assert "overfitting? no it has not learnt enough: why" in head
    assert "Two networks were compared by cross-validation. The one trained is called compact" in head
    assert (
        f"It saw 40 images, twice each. Then it was shown 20 new ones and classified {n_correct} of them correctly."
        in head
    )


def test_what_it_took(page, report):
    assert words(page.text_of["run"]).startswith(
        "What it took Made 2001-02-03 04:05 UTC on 2 looms. The training took 1 min 23 s, 42 s per epoch."
    )
    assert page.rows("costs")[1:] == ["tiny 2.5 7", "compact 3.5 5"]
    table = markdown_tables(to_markdown(report))[-1]
    assert table[1:] == [["tiny", "2.5", "7"], ["compact", "3.5", "5"]]


def test_the_three_parts_with_their_origins(page):
    assert page.rows("splits")[1:] == [
        "training 40 57.1 % training origin",
        "validation 10 14.3 % validation origin",
        "test 20 28.6 % test origin",
    ]
    assert "the test images influenced no choice and were evaluated once, with the finished network." in words(
        page.text
    )


def test_standardisation_and_one_hot_are_told_with_the_numbers_of_this_network(page, report):
    assert words(page.text_of["standardisation"]).startswith("Every pixel x becomes (x − 100) / 50: the mean")
    assert "The label cow is the row 0 0 1 (one-hot)." in words(page.text)
    assert "(x − mean) / sd, with mean 100 and sd 50, measured on the training images" in words(to_markdown(report))
    colours = make_report(channels=3)
    assert "channel 2: mean 100, sd 50." in words(Page(render(colours)).text_of["standardisation"])
    assert "with mean 100 and sd 50; mean 100 and sd 50; mean 100 and sd 50 (channel by" in words(to_markdown(colours))


def test_the_comparison_is_that_of_the_record(page, html, report):
    # .70 and .80 are .10 apart: sd .10/√2 = 7.07 points. .90 and .92: .02/√2 = 1.41.
    assert page.rows("comparison")[1:] == [
        "tiny 75.00 ± 7.07 % 70.00 % 80.00 % 80 864",
        "compact 91.00 ± 1.41 % 90.00 % 92.00 % 1,314 1,152",
    ]
    assert re.findall(r'<tr class="best"><th class="name">(\w+)<', html) == ["compact"]
    assert markdown_tables(to_markdown(report))[2][1:] == [
        ["tiny", "75.00 ± 7.07 %", "70.00 %, 80.00 %", "80", "864", "a paper"],
        ["compact", "91.00 ± 1.41 %", "90.00 %, 92.00 %", "1,314", "1,152", ""],
    ]
    assert words(page.text_of["choice"]) == (
        "compact has the highest mean accuracy. It was trained on all training images and evaluated on the test "
        "images; the following sections are about it."
    )


def test_a_network_that_was_asked_for_is_not_called_the_best(report):
    asked = replace(report, model=replace(report.model, architecture="tiny"))
    sentence = "As requested, tiny was trained on all training images;"
    assert sentence in words(Page(render(asked)).text_of["choice"])
    assert "As requested, tiny was trained on all training images." in to_markdown(asked)


def test_every_network_that_was_compared_has_its_layers(html, report):
    nets = re.findall(r'<details class="net">.*?</details>', html, re.DOTALL)
    assert [words(Page(net).text).partition(" layer ")[0] for net in nets] == [
        "tiny 80 parameters; a paper",
        "compact 1,314 parameters",
    ]
    for net, result in zip(nets, report.comparison.results, strict=True):
        assert re.findall(r'<th class="name">(.*?)</th>', net) == ["image", *(layer.name for layer in result.layers)]


def test_without_a_comparison_nothing_is_said_of_one(tmp_path):
    report = make_report()
    page = Page(render(report))
    assert "networks" not in page.ids
    assert "cross-validation" not in page.text
    assert "The network is called compact" in words(page.text)
    assert "cross-validation" not in to_markdown(report)
    assert not set(COMPARED) & set(figures(report))
    assert "comparison" not in metrics(report)


def test_every_layer_with_its_output_and_parameters(page):
    assert page.rows("layers")[1:] == [
        "image the pixels 1 × 6 × 5",
        "conv1 Conv2d 3×3 8 × 4 × 3 80 864",
        "relu1 ReLU 8 × 4 × 3 – –",
        "output Linear 3 1,234 288",
        "all 1,314 1,152",
    ]


def told_settings(html):
    """Give all that the page says of each setting."""
    listed = re.findall(r'<dl class="hyperparameters" id="(\w+)">(.*?)</dl>', html, re.DOTALL)
    return {name: [words(Page(part + "</div>").text) for part in some.split("</div>")[:-1]] for name, some in listed}


def test_every_hyperparameter_with_its_value_range_and_reason(html, report):
    assert told_settings(html) == {
        "changed": [
            "lr 0.003 set for this run; usual: 0.005 How far a step goes. Adam’s usual is 0.001. a number above 0",
            "unheard_of None set for this run",
        ],
        "usual": ["architecture compact Which layers. Small images need few layers. a name"],
    }
    folded = re.search(r'<details class="untouched">(.*?)</details>', html, re.DOTALL)[1]
    assert 'id="usual"' in folded
    assert 'id="changed"' not in folded
    (table,) = [table for table in markdown_tables(to_markdown(report)) if table[0][0] == "setting"]
    assert table[1:] == [
        ["architecture", "compact", "which layers", "a name", "Small images need few layers."],
        ["lr", "0.003 (usual: 0.005)", "how far a step goes", "a number above 0", "Adam’s usual is 0.001."],
        ["unheard_of", "None", "", "", ""],
    ]


def test_an_architecture_that_the_comparison_chose_is_said_to_be(report):
    chosen = replace(SETTINGS[0], default="other", is_default=False)
    model = replace(report.model, settings=(chosen,))
    ((row,),) = told_settings(render(replace(report, model=model))).values()
    assert row.startswith("architecture compact chosen by cross-validation; usual: other")
    ((row,),) = told_settings(render(replace(report, model=model, comparison=None))).values()
    assert row.startswith("architecture compact set for this run; usual: other")


def test_every_epoch_with_its_numbers(page):
    assert page.rows("history")[1:] == [
        "1 0.5000 80.00 % 0.6000 70.00 % 3.0e-03",
        "2 0.2000 90.00 % 0.4000 85.00 % 1.0e-03",
    ]


@pytest.mark.parametrize(
    ("change", "short", "long"),
    [
        # In the last epoch both losses still fall: .5 to .2 and .6 to .4.
        ({}, "no", "No: it has not learnt enough yet."),
        ({"train_loss": 0.47, "valid_loss": 0.58}, "no", "No."),
        (
            {"train_accuracy": 1.0, "train_loss": 0.47, "valid_loss": 0.58},
            "yes",
            "Yes: it has begun to memorise its training images.",
        ),
        ({"valid_loss": None}, "–", "Unknown."),
    ],
    ids=["underfitting", "healthy", "overfitting", "unknown"],
)
def test_the_verdict_with_its_reason_and_its_rule(change, short, long):
    history = [HISTORY[0], {**HISTORY[1], **change}]
    if None in change.values():
        history = [{key: epoch[key] for key in epoch if "valid" not in key} for epoch in HISTORY]
    report = make_report(history=tuple(history))
    page = Page(render(report))
    assert page.text_of["verdict-short"] == short
    verdict = words(page.text_of["verdict"])
    assert verdict.startswith(f"{long} {report.model.verdict.reason}")
    assert words(RULE) in verdict
    markdown = markdown_text(to_markdown(report))
    assert (
        f"Is it overfitting? {long.replace('Yes: it has begun to memorise its training images.', 'Yes.')}" in markdown
    )
    assert report.model.verdict.reason in markdown


def markdown_text(markdown):
    """Give all text of a Markdown document, as a reader shows it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    return words(" ".join("".join(c.content or " " for c in token.children or ()) for token in tokens))


def test_every_class_with_its_scores_and_the_means(report, page):
    rows = page.rows("classes")[1:]
    assert [row.split()[0] for row in rows] == ["ant", "bee", "cow", "mean", "mean"]
    ant = report.evaluation.per_class[0]
    assert rows[0] == f"ant {100 * ant.precision:.2f} {100 * ant.recall:.2f} {100 * ant.f1:.2f} {ant.support}"
    weighted = report.evaluation.weighted_mean
    assert rows[4].endswith(f"{100 * weighted.precision:.2f} {100 * weighted.recall:.2f} {100 * weighted.f1:.2f} 20")


def test_the_test_is_told_with_all_its_figures(report, page):
    evaluation, text = report.evaluation, words(page.text)
    assert f"The loss on the test images is {evaluation.log_loss:.4f}:" in text
    assert "Guessing would give ln 3 = 1.0986." in text
    assert f"are off by {100 * evaluation.calibration_error:.2f} % on average (expected" in text
    assert f"is {evaluation.brier_score:.4f}: 0 is perfect." in text


def test_the_matrix_on_the_page_is_the_matrix(report, page, html):
    matrix = report.evaluation.confusion_matrix
    counts, shares = matrix_cells(html)
    assert counts == matrix.tolist()
    np.testing.assert_allclose(shares, 100 * matrix / matrix.sum(axis=1, keepdims=True), atol=0.05)
    assert page.rows("matrix")[0] == "ant bee cow"
    assert [row.split()[0] for row in page.rows("matrix")[1:]] == ["ant", "bee", "cow"]


def test_behind_every_cell_are_the_images_of_the_record(report, page):
    behind = json.loads(page.text_of["cells"])
    assert behind == {
        f"{cell.row} {cell.column}": [
            [index, pytest.approx(confidence, abs=5e-5), data_uri(picture)]
            for index, confidence, picture in zip(cell.indices, cell.confidences, cell.pictures, strict=True)
        ]
        for cell in report.cells
    }
    matrix = report.evaluation.confusion_matrix
    assert {name: len(shown) for name, shown in behind.items()} == {
        f"{row} {column}": matrix[row, column] for row, column in np.argwhere(matrix)
    }


def test_the_most_confused_pairs(report, page):
    pairs = report.evaluation.confused_pairs(10)
    assert page.rows("pairs")[1:] == [
        f"{pair.true} {pair.predicted} {pair.count} {100 * pair.share:.2f} %" for pair in pairs
    ]
    (table,) = [table for table in markdown_tables(to_markdown(report)) if table[0][0] == "true class"]
    assert table[1:] == [[pair.true, pair.predicted, str(pair.count), f"{100 * pair.share:.2f} %"] for pair in pairs]


def test_every_mistake_with_its_picture(report, html):
    shown = re.findall(r'<li><img alt="test image (\d+)" src="data:image/png;base64,', html)
    assert [int(index) for index in shown] == [mistake.index for mistake in report.mistakes]
    assert len(shown) == report.evaluation.n_mistakes


def test_the_limits_are_told_with_numbers(page, report):
    assert page.rows("robustness")[1:] == ["as they are 50.00 % 75.00 %", "turned by 45° 25.00 % 62.50 %"]
    text = words(page.text)
    assert "for pure noise with a mean probability of 88 %." in text
    assert "It takes images of 6 × 5 pixels, grey," in text
    rarest = min(scores.support for scores in report.evaluation.per_class)
    assert f"The rarest class has {rarest} test images;" in text
    (table,) = [table for table in markdown_tables(to_markdown(report)) if table[0][0] == "test images"]
    assert table[1:] == [["as they are", "50.00 %", "75.00 %"], ["turned by 45°", "25.00 %", "62.50 %"]]


def test_the_command_and_the_versions(page):
    assert page.text_of["command"] == "cnnclf report --dataset insects"
    assert page.text_of["versions"] == "Seed 7; Python 3.99."
    assert 'CNNClassifier.load("model.cnn")' in page.text


def test_every_table_that_can_be_sorted_has_a_head_and_rows_as_wide(html):
    tables = re.findall(r'<table id="(\w+)" class="sortable">(.*?)</table>', html, re.DOTALL)
    assert [name for name, _ in tables] == ["comparison", "history", "classes", "pairs", "robustness", "costs"]
    for _, table in tables:
        head, *rows = table.split("<tr")[1:]
        assert {len(re.findall("<t[hd]", row)) for row in rows} == {len(re.findall("<th", head))}


def test_a_note_comes_first_on_page_and_in_markdown():
    report = make_report(note="Not MNIST, because the moon was full.")
    body = Page(render(report).split("<body>")[1].split("</body>")[0])
    assert body.text.strip().startswith("Not MNIST, because the moon was full.")
    assert to_markdown(report).startswith("> Not MNIST, because the moon was full.\n")
    assert to_markdown(make_report()).startswith("# ")


def test_a_perfect_classifier_has_no_gallery():
    report = make_report(perfect=True)
    page = Page(render(report))
    assert "There are none: every test image was classified correctly." in page.text
    assert "pairs" not in page.ids
    assert "There are none: every test image was classified correctly." in to_markdown(report)
    assert "mistakes.png" not in to_markdown(report)
    assert set(picture_grids(report)) == {"samples"}


def test_training_without_validation_shows_training_alone():
    history = ({"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "lr": 0.003},)
    report = make_report(history=history)
    assert Page(render(report)).rows("history")[1:] == ["1 0.5000 80.00 % – – 3.0e-03"]
    (table,) = [table for table in markdown_tables(to_markdown(report)) if table[0][0] == "epoch"]
    assert table[1:] == [["1", "0.5000", "80.00 %", "–", "–", "3.0e-03"]]
    assert {"loss", "accuracy"} <= set(figures(report))


def test_many_classes_are_all_in_the_tables_and_some_in_the_samples():
    report = make_report([f"class {i:02d}" for i in range(35)])
    page = Page(render(report))
    assert len(page.rows("classes")) == 1 + 35 + 2
    assert "The first training images of the first 30 classes." in page.text


def test_more_classes_than_can_be_pressed_are_a_picture():
    for n_classes in (30, 31):
        page = Page(render(make_report([f"class {i:02d}" for i in range(n_classes)])))
        assert ("matrix" in page.ids, "cells" in page.ids, "Press a number" in page.text) == ((n_classes == 30),) * 3
        assert "A label is a row of" in words(page.text)
