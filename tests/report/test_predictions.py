"""A report on predictions of which nothing else is known."""

import json
import re

import pytest

from cnnclf.report._write import picture_grids, write
from reports import OF_EVALUATION, Page, files_in, make_predictions, matrix_cells, render, words


@pytest.fixture(scope="module", params=[(True, True), (False, False)], ids=["probabilities and images", "labels alone"])
def evaluated(request, tmp_path_factory):
    """A report on predictions alone, and its folder."""
    with_probabilities, with_images = request.param
    report = make_predictions(with_probabilities=with_probabilities, with_images=with_images)
    folder = tmp_path_factory.mktemp("evaluated")
    write(report, folder)
    return report, folder


def test_predictions_alone_have_the_files_of_the_judging_part(evaluated):
    report, folder = evaluated
    expected = {"index.html", "report.md", "metrics.json", *(f"figures/{name}.svg" for name in OF_EVALUATION[:3])}
    if report.evaluation.y_proba is not None:
        expected |= {"figures/reliability.svg", "figures/mistakes.png"}
    assert files_in(folder) == expected


def test_predictions_alone_have_no_link_to_what_is_not_there(evaluated):
    _, folder = evaluated
    page = Page((folder / "index.html").read_text())
    there = files_in(folder) | {f"#{name}" for name in page.ids}
    links = {link for link in page.links if not link.startswith("data:")}
    links |= set(re.findall(r"\]\((.*?)\)", (folder / "report.md").read_text()))
    assert links <= there
    assert links & {"metrics.json", "report.md", "figures/confusion.svg"}
    text = page.text + (folder / "report.md").read_text()
    for name in ("model_card", "walkthrough", "model.cnn", "CNNClassifier"):
        assert name not in text


def test_predictions_alone_have_no_empty_section(evaluated):
    report, folder = evaluated
    html = (folder / "index.html").read_text()
    page = Page(html)
    assert re.findall(r'<h2 id="(\w+)">', html) == list(report.sections)
    assert len(page.sections) == len(report.sections)
    assert all(len(words(section)) > 50 for section in page.sections)
    assert "None" not in page.text
    parts = re.split("^## .*$", (folder / "report.md").read_text(), flags=re.MULTILINE)
    assert len(parts) == 1 + len(report.sections)
    assert all(len(words(part)) > 20 for part in parts)
    assert "None" not in "".join(parts)


def test_predictions_alone_are_judged_as_those_of_our_own(evaluated):
    report, folder = evaluated
    html = (folder / "index.html").read_text()
    page, evaluation = Page(html), report.evaluation
    assert page.text_of["test-accuracy"] == f"{evaluation.accuracy:.2%}".replace("%", " %")
    assert f"Of 40 images, {40 - evaluation.n_mistakes} were classified correctly." in words(page.text)
    assert matrix_cells(html)[0] == evaluation.confusion_matrix.tolist()
    assert ("log loss" in page.text) == ("Brier" in page.text) == (evaluation.y_proba is not None)
    assert set(json.loads((folder / "metrics.json").read_text())) == {"test", "reproduction"}
    assert page.text_of["command"] == "cnnclf report --from-predictions said.csv"
    assert page.text_of["versions"] == "Python 3.99."


def test_predictions_without_probabilities_show_their_images_without_confidence():
    report = make_predictions(with_probabilities=False)
    page = Page(render(report))
    assert {shown[1] for cell in json.loads(page.text_of["cells"]).values() for shown in cell} == {None}
    assert "the most confident first" not in page.text
    assert f"The first 24 of {report.evaluation.n_mistakes} mistakes: true class →" in words(page.text)
    assert set(picture_grids(report)) == {"mistakes"}


def test_without_images_no_number_can_be_pressed():
    page = Page(render(make_predictions(with_images=False)))
    assert "Press a number" not in page.text
    assert not {"cells", "behind", "mistakes"} & set(page.ids)
