"""The files of a report: the same bytes each time, whole or not at all, and names as they are."""

import json
import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from cnnclf._utils.files import write_atomically
from cnnclf.report._model_card import model_card
from cnnclf.report._records import Run
from cnnclf.report._write import figures, metrics, picture_grids, to_markdown, write
from reports import (
    FIGURES,
    FILES,
    HISTORY,
    Page,
    files_in,
    make_comparison,
    make_predictions,
    make_report,
    markdown_tables,
    matrix_cells,
    render,
    words,
)


def test_writes_all_files(written):
    assert files_in(written) == FILES


def test_the_same_records_give_the_same_bytes_but_for_the_run_which_stands_in_one_place(written, tmp_path):
    run = Run(1.5, (0.7, 0.7), "2002-03-04 05:06 UTC", "64 looms")
    write(replace(make_report(comparison=make_comparison(slower=9)), run=run), tmp_path)
    assert files_in(tmp_path) == FILES

    def differ(name, without=lambda text: text):
        one, two = ((folder / name).read_bytes() for folder in (written, tmp_path))
        return without(one.decode("latin-1")) != without(two.decode("latin-1"))

    assert {name for name in FILES if differ(name)} == {"index.html", "report.md", "metrics.json", "model_card.md"}
    assert not differ("index.html", lambda text: re.sub(r'<div id="run">.*?</section>', "", text, flags=re.DOTALL))
    assert not differ("report.md", lambda text: text.partition("### What it took")[0])
    assert not differ("metrics.json", lambda text: {**json.loads(text), "run": None})
    cards = [(folder / "model_card.md").read_text().splitlines() for folder in (written, tmp_path)]
    ((ours, theirs),) = [lines for lines in zip(*cards, strict=True) if lines[0] != lines[1]]
    assert ours == "Trained in 1 min 23 s on 2 looms, 2001-02-03 04:05 UTC."
    assert theirs == "Trained in 1.5 s on 64 looms, 2002-03-04 05:06 UTC."


def test_the_page_is_written_last_and_an_older_one_stays_until_then(report, tmp_path, monkeypatch):
    def break_off(path, content):
        if path.name == "report.md":
            raise OSError("disk full")
        write_atomically(path, content)

    (tmp_path / "index.html").write_text("old")
    for name in ("figures", "picture_grids"):
        monkeypatch.setattr(f"cnnclf.report._write.{name}", lambda _: {})
    monkeypatch.setattr("cnnclf.report._write.write_atomically", break_off)
    with pytest.raises(OSError, match="disk full"):
        write(report, tmp_path)
    assert (tmp_path / "index.html").read_text() == "old"
    assert "report.md" not in files_in(tmp_path)


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def fsync(_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, b"new content")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_page_asks_for_nothing_from_outside(written):
    html = (written / "index.html").read_text()
    page = Page(html)
    for link in page.links:
        assert re.match(r"data:|#", link) or "/" not in link, link
    assert all(reference.startswith("#") for reference in re.findall(r"url\(['\"]?([^)]*)\)", html))
    assert not re.search(r"@import|fetch\(|XMLHttpRequest|<script[^>]* src", html)
    # names of XML vocabularies, which nobody fetches
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_ids_are_unique_and_every_link_leads_somewhere(written):
    page = Page((written / "index.html").read_text())
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert len(inside) > 11
    assert inside <= set(page.ids)
    beside = {link for link in page.links if not link.startswith(("#", "data:"))}
    beside |= set(re.findall(r"\]\((.*?)\)", (written / "report.md").read_text()))
    assert {"walkthrough.html", "model_card.md", "figures/folds.svg"} <= beside
    assert beside - {"model.cnn"} <= FILES  # which the training has left there


def test_metrics_json_tells_which_image_was_followed_and_what_came_out(report):
    told = metrics(report)["walkthrough"]
    index = told.pop("test_image")
    assert report.evaluation.y_true[index] == told.pop("class")
    assert told == {
        "predicted": report.trace.label,
        "probabilities": [float(share) for share in report.trace.probabilities],
    }


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_colour_pictures(channels):
    report = make_report(channels=channels)
    assert "" not in picture_grids(report)
    assert Page(render(report)).rows("matrix")


HOSTILE = (
    "</td><script>alert(1)</script>",
    "</script><b>",
    "a|b",
    "a\"b'c",
    "$x_1^",
    "{{ 7 * 7 }}",
    "猫",
    "&amp;",
    "*_`~~[x](y)",
)


def test_names_are_shown_as_they_are_whatever_they_hold():
    report = make_report(HOSTILE)
    html = render(report)
    page = Page(html)
    assert page.tags.count("script") == 2  # the cells and the page's own
    story = words(page.text_of["story"])
    assert f"is the first of class {report.example.label}" in story
    for label in HOSTILE:
        assert f" {label} " in story  # in the table of probabilities
    for name in ("classes", "matrix"):
        for label, row in zip(HOSTILE, page.rows(name)[1:], strict=False):
            assert f"{row} ".startswith(f"{label} ")
    assert page.rows("matrix")[0] == " ".join(HOSTILE)
    pairs = report.evaluation.confused_pairs(10)
    assert [row.split(" 1 ")[0] for row in page.rows("pairs")[1:]] == [
        f"{pair.true} {pair.predicted}" for pair in pairs
    ]
    gallery = [f"{mistake.true} → {mistake.predicted}" for mistake in report.mistakes]
    assert all(words(names) in words(page.text) for names in gallery)
    assert matrix_cells(html)[0] == report.evaluation.confusion_matrix.tolist()


@pytest.mark.parametrize("name", ["report.md", "model_card.md"])
def test_markdown_shows_names_as_they_are_whatever_they_hold(name):
    report = make_report(HOSTILE)
    tables = markdown_tables({"report.md": to_markdown, "model_card.md": model_card}[name](report))
    scores, pairs = (table[1:] for table in tables if table[0][0] in ("class", "true class"))
    assert [row[0] for row in scores][: len(HOSTILE)] == list(HOSTILE)
    assert {len(row) for row in scores} == {5}
    expected = [[pair.true, pair.predicted] for pair in report.evaluation.confused_pairs(10)]
    assert [row[:2] for row in pairs] == expected[: len(pairs)]
    assert len(pairs) >= 5


def test_figures_show_names_as_they_are_whatever_they_hold():
    drawn = figures(make_predictions(HOSTILE))
    for svg in drawn.values():
        assert "<script" not in svg
        assert "<b>" not in svg
    for label in ("</script><b>", "a|b", "$x_1^", "{{ 7 * 7 }}", "猫", "&amp;"):
        assert f">{escape(label, quote=False)}<" in drawn["confusion"]


def test_markdown_tables_are_whole_and_figures_are_there(written):
    markdown = (written / "report.md").read_text()
    tables = markdown_tables(markdown)
    assert len(tables) == 12
    for table in tables:
        assert len({len(row) for row in table}) == 1, table
        assert len(table) > 1
    # Every line that looks like a row of a table is one.
    rows = sum(len(table) + 1 for table in tables)  # and the line below the head
    assert len(re.findall(r"^\|.*\|$", markdown, flags=re.MULTILINE)) == rows
    for name in re.findall(r"\]\((figures/.*?)\)", markdown):
        assert (written / name).stat().st_size > 0


def test_every_figure_is_in_the_markdown_and_every_svg_on_the_page(written):
    markdown, html = ((written / name).read_text() for name in ("report.md", "index.html"))
    drawn = {name for name in FILES if name.startswith("figures/")}
    assert set(re.findall(r"\]\((figures/.*?)\)", markdown)) == drawn
    # All but the two matrices, in whose place the page has a table.
    assert html.count("<svg") == len(FIGURES) - 2


def test_figures_take_the_ink_of_the_page_and_beside_it_have_their_own(written):
    html = (written / "index.html").read_text()
    assert "currentColor" in html
    assert "<style>svg{" not in html
    for name in FIGURES:
        beside = (written / "figures" / f"{name}.svg").read_text()
        assert beside.startswith("<svg")
        assert "prefers-color-scheme:dark" in beside


def test_metrics_json_holds_scikit_learns_numbers(report, written):
    numbers = json.loads((written / "metrics.json").read_text())
    test, evaluation = numbers["test"], report.evaluation
    assert test["accuracy"] == accuracy_score(evaluation.y_true, evaluation.y_pred)
    assert test["log_loss"] == pytest.approx(log_loss(evaluation.y_true, evaluation.y_proba))
    assert test["confusion_matrix"] == evaluation.confusion_matrix.tolist()
    assert [row["class"] for row in test["per_class"]] == ["ant", "bee", "cow"]
    assert numbers["dataset"]["images"] == {"training": 40, "validation": 10, "test": 20}
    assert numbers["model"]["history"] == list(HISTORY)
    assert numbers["model"]["hyperparameters"] == {"architecture": "compact", "lr": "0.003", "unheard_of": "None"}
    assert numbers["model"]["overfitting"]["kind"] == "underfitting"
    assert numbers["robustness"]["probes"][1] == {"change": "turned by 45°", "accuracy": 0.25, "confidence": 0.625}
    assert numbers["run"]["fit_seconds"] == 83.4
    assert numbers["run"]["costs"] == [
        {"architecture": "tiny", "fit_seconds": 2.5, "predict_seconds": 7e-6},
        {"architecture": "compact", "fit_seconds": 3.5, "predict_seconds": 5e-6},
    ]


def test_metrics_json_holds_every_fold_of_the_comparison(report, written):
    told = json.loads((written / "metrics.json").read_text())["comparison"]
    assert (told["n_folds"], told["best"]) == (2, "compact")
    tiny = told["architectures"][0]
    assert tiny.pop("accuracy_mean") == pytest.approx(0.75)
    assert tiny.pop("accuracy_sd") == pytest.approx(0.1 / np.sqrt(2))
    assert tiny == {
        "architecture": "tiny",
        "n_parameters": 80,
        "n_multiply_adds": 864,
        "folds": [
            {"accuracy": accuracy, "history": [{"epoch": 1, "valid_accuracy": accuracy}]} for accuracy in (0.7, 0.8)
        ],
    }
