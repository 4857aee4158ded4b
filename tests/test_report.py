"""What the report promises: everything on one offline page, the same bytes each time, whole files or none."""

import json
import re
from collections import OrderedDict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from cnnclf import CNNClassifier
from cnnclf.architectures import Residual, Standardise
from cnnclf.evaluation import Evaluation
from cnnclf.report import (
    HYPERPARAMETERS,
    DataRecord,
    Example,
    ModelRecord,
    Report,
    Reproduction,
    Run,
    feature_maps,
    figures,
    ink,
    metrics,
    pictures,
    readable,
    strengths,
    to_html,
    to_markdown,
    write,
    write_whole,
)
from cnnclf.tracing import Trace
from cnnclf.walkthrough import Arithmetic, Beside, Matrix, Paragraph, Picture, tell

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = {
    "index.html",
    "report.md",
    "walkthrough.html",
    "walkthrough.md",
    "metrics.json",
    *(f"figures/{name}.svg" for name in ("loss", "accuracy", "classes", "confusion")),
    *(f"figures/{name}.png" for name in ("samples", "mistakes")),
}
RUN = Run(fit_seconds=83.4, epoch_seconds=(40.0, 43.0), date="2001-02-03 04:05 UTC", hardware="Abacus, 2 cores")
HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "valid_loss": 0.6, "valid_accuracy": 0.7, "lr": 0.003},
    {"epoch": 2, "train_loss": 0.2, "train_accuracy": 0.9, "valid_loss": 0.4, "valid_accuracy": 0.85, "lr": 0.001},
]
PARAMETERS = {"unheard_of": None, "lr": 0.003, "architecture": "compact", "batch_size": "auto", "max_epochs": 2}


def make_net(channels, n_classes):
    """Make a random net with a convolution, layers inside a block, a layer that is not known and a dense one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {
            "standardise": Standardise(torch.full((channels,), 100.0), torch.full((channels,), 50.0)),
            "conv1": nn.Conv2d(channels, 3, 3),
            "res1": Residual(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 1)))),
            "tanh1": nn.Tanh(),
            "flatten1": nn.Flatten(),
            "output": nn.Linear(36, n_classes),
        }
    return nn.Sequential(OrderedDict(layers)).eval()


def make_report(classes=("ant", "bee", "cow"), *, note="", channels=1, history=HISTORY, perfect=False):
    """Report on random pixels and predictions: 40 training, 10 validation and 20 test images of 6 × 5 pixels."""
    rng = np.random.default_rng(0)
    classes = np.array(classes)
    X, y = rng.integers(0, 200, size=(70, channels, 6, 5)).astype(np.uint8), np.resize(classes, 70)
    splits = {"training": slice(0, 40), "validation": slice(40, 50), "test": slice(50, 70)}
    y_test = y[splits["test"]]
    proba = rng.dirichlet(np.ones(len(classes)), size=20)
    if perfect:
        proba = (classes == y_test[:, np.newaxis]).astype(float)
    clf = SimpleNamespace(
        **PARAMETERS,
        get_params=lambda deep: PARAMETERS,
        history_=[{**epoch, "seconds": 40.0} for epoch in history],
        n_parameters_=1_314,
        net_=SimpleNamespace(batch_size=128),
    )
    layers = [
        SimpleNamespace(name="conv1", kind="Conv2d 3×3", output_shape=(8, 4, 3), n_parameters=80),
        SimpleNamespace(name="relu1", kind="ReLU", output_shape=(8, 4, 3), n_parameters=0),
        SimpleNamespace(name="output", kind="Linear", output_shape=(3,), n_parameters=1_234),
    ]
    evaluation = Evaluation.from_predictions(y_test, proba, classes)
    example = Example.from_evaluation(evaluation)
    return Report.of(
        DataRecord.from_splits(
            "Insects", note=note, splits={name: (f"{name} origin", X[part], y[part]) for name, part in splits.items()}
        ),
        ModelRecord.from_estimator(clf, layers, source="a book", file="model.cnn"),
        evaluation,
        X[splits["test"]],
        example=example,
        trace=Trace.record(make_net(channels, len(classes)), X[splits["test"]][example.index], classes),
        reproduction=Reproduction("cnnclf report --dataset insects", 7, {"Python": "3.99"}),
        run=RUN,
    )


class Page(HTMLParser):
    """What a browser would see: tags, ids, links, tables and the text inside whatever has an id."""

    VOID = ("meta", "link", "img", "br")  # ends where it begins

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.text = [], [], [], [], ""
        self.text_of = {}
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("href", "src", "xlink:href", "srcset") if name in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag in ("tr", "td", "th", "li", "p"):
            self.handle_data("\n" if tag == "tr" else " ")
        if tag not in self.VOID:
            self.open.append((tag, attributes.get("id")))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag

    def handle_data(self, data):
        if ("style", None) in self.open:
            return
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        self.text += data
        for _, name in self.open:
            self.text_of[name] = self.text_of.get(name, "") + data

    def rows(self, name):
        return [" ".join(row.split()) for row in self.text_of[name].strip().split("\n") if row.strip()]


def render(report):
    return to_html(report, figures(report))


@pytest.fixture(scope="module")
def report():
    return make_report()


@pytest.fixture(scope="module")
def html(report):
    return render(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_writes_all_files_and_says_where_the_page_is(report, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert write(report, folder) == folder / "index.html"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES


def test_the_same_records_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write(make_report(), tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_what_differs_between_runs_stands_in_one_place(report, html):
    other = replace(report, run=Run(1.5, (0.7, 0.7), "2002-03-04 05:06 UTC", "Loom, 64 cores"))

    assert html != render(other)
    without_run = [re.sub(r'<div id="run">.*?</div>', "", text, flags=re.DOTALL) for text in (html, render(other))]
    assert without_run[0] == without_run[1]

    lines = zip(to_markdown(report).splitlines(), to_markdown(other).splitlines(), strict=True)
    assert [ours.split(" in ")[0] for ours, theirs in lines if ours != theirs] == ["Trained"]

    numbers, other_numbers = metrics(report), metrics(other)
    assert numbers.pop("run") != other_numbers.pop("run")
    assert numbers == other_numbers


def test_the_page_asks_for_nothing_from_outside(html, page):
    assert "script" not in page.tags
    for link in page.links:
        assert re.match(r"data:|#|(model\.cnn|metrics\.json|report\.md|walkthrough\.(html|md))$", link), link
    assert all(reference.startswith("#") for reference in re.findall(r"url\(['\"]?([^)]*)\)", html))
    assert "@import" not in html
    # names of XML vocabularies, which nobody fetches
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_ids_are_unique_and_every_link_inside_the_page_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert len(inside) > 6
    assert inside <= set(page.ids)


def test_headline(report, page):
    accuracy, (low, high) = report.evaluation.accuracy, report.evaluation.accuracy_interval
    assert page.text_of["test-accuracy"] == f"{accuracy:.2%}".replace("%", " %")
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in page.text
    assert page.text_of["run"].split("\n") == ["training time", "1 min 23 s", "Abacus, 2 cores2001-02-03 04:05 UTC"]
    n_correct = round(20 * accuracy)
    assert f"test images\n20\n{20 - n_correct} mistakes" in page.text
    assert "parameters\n1,314\n" in page.text


def test_the_three_parts_with_their_origins(page):
    assert page.rows("splits")[1:] == [
        "training 40 57.1 % training origin",
        "validation 10 14.3 % validation origin",
        "test 20 28.6 % test origin",
    ]


def test_every_layer_with_its_output_and_parameters(page):
    assert page.rows("layers")[1:] == [
        "image the pixels 1 × 6 × 5",
        "conv1 Conv2d 3×3 8 × 4 × 3 80",
        "relu1 ReLU 8 × 4 × 3 –",
        "output Linear 3 1,234",
        "all 1,314",
    ]


def test_every_hyperparameter_with_its_value_and_meaning(page):
    assert page.rows("hyperparameters")[1:] == [
        f"architecture compact {HYPERPARAMETERS['architecture']}",
        f"max_epochs 2 {HYPERPARAMETERS['max_epochs']}",
        f"batch_size auto: 128 {HYPERPARAMETERS['batch_size']}",
        f"lr 0.003 {HYPERPARAMETERS['lr']}",
        "unheard_of None",
    ]


def test_every_parameter_of_the_estimator_is_explained():
    assert set(HYPERPARAMETERS) == set(CNNClassifier().get_params())


def test_every_epoch_with_its_numbers(page):
    assert page.rows("history")[1:] == [
        "1 0.5000 80.00 % 0.6000 70.00 % 0.003",
        "2 0.2000 90.00 % 0.4000 85.00 % 0.001",
    ]


def test_every_class_with_its_scores_and_the_means(report, page):
    rows = page.rows("classes")[1:]
    assert [row.split()[0] for row in rows] == ["ant", "bee", "cow", "mean", "mean"]
    ant = report.evaluation.per_class[0]
    assert rows[0] == f"ant {100 * ant.precision:.2f} {100 * ant.recall:.2f} {100 * ant.f1:.2f} {ant.support}"
    weighted = report.evaluation.weighted_mean
    assert rows[4].endswith(f"{100 * weighted.precision:.2f} {100 * weighted.recall:.2f} {100 * weighted.f1:.2f} 20")


def test_every_mistake_with_its_picture(report, html):
    shown = re.findall(r'<li><img alt="test image (\d+)" src="data:image/png;base64,', html)
    assert [int(index) for index in shown] == [mistake.index for mistake in report.mistakes]
    assert len(shown) == report.evaluation.n_mistakes


def test_the_command_and_the_versions(page):
    assert page.text_of["command"] == "cnnclf report --dataset insects"
    assert page.text_of["versions"] == "Seed 7; Python 3.99."
    assert 'CNNClassifier.load("model.cnn")' in page.text


def test_a_note_comes_first_on_page_and_in_markdown():
    report = make_report(note="Not MNIST, because the moon was full.")
    body = Page(render(report).split("<body>")[1].split("</body>")[0])
    assert body.text.strip().startswith("Not MNIST, because the moon was full.")
    assert to_markdown(report).startswith("> Not MNIST, because the moon was full.\n")
    assert to_markdown(make_report()).startswith("# ")


STEPS = ("standardise", "conv1", "res1", "res1.conv", "res1.shortcut", "tanh1", "flatten1", "output", "softmax")


def words(text):
    return " ".join(text.split())


def records(trace, kind):
    return [item for section in tell(trace) for item in section.items if isinstance(item, kind)]


def test_the_walkthrough_tells_every_layer_in_order(report, page):
    assert tuple(step.name for step in report.trace.walk()) == STEPS
    story = page.text_of["story"]
    places = [story.index(f"{i}. {name}") for i, name in enumerate(STEPS, start=1)]
    assert places == sorted(places)
    assert "Not recomputed: the arithmetic of this layer is not known here." in words(story)
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
    assert f"is {100 * report.trace.probabilities.max():.2f} % sure" in story


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


def test_strengths_are_shares_of_the_largest_number():
    matrix = Matrix("", (("4", "·"), ("-8", "")), ("0", "1"), ("0", "1"))
    assert strengths(matrix) == ((0.5, 0.0), (-1.0, 0.0))
    assert strengths(Matrix("", (("·", "·"),), ("0",), ("0", "1"))) == ((0.0, 0.0),)


def test_feature_maps_are_the_most_active_channels_on_one_scale():
    values = np.zeros((10, 2, 3), np.float32)
    values[7, 0, 0], values[2, 1, 2], values[4, 0, 1] = 4, 1, -4
    maps = feature_maps(values)
    assert list(maps) == [f"channel {i}" for i in (7, 2, 0, 1, 3, 4, 5, 6)]  # the others do not fit
    orange, blue = [201, 118, 0], [43, 127, 195]
    assert maps["channel 7"][0, 0].tolist() == [*orange, 255]
    assert maps["channel 2"][1, 2].tolist() == [*orange, round(255 * 0.25**0.75)]
    assert maps["channel 4"][0, 1].tolist() == [*blue, 255]
    assert maps["channel 0"][..., 3].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_row_of_features_is_one_picture_and_large_maps_shrink():
    assert {name: picture.shape for name, picture in feature_maps(np.ones(128)).items()} == {"": (2, 64, 4)}
    assert feature_maps(np.ones((1, 96, 48)))["channel 0"].shape == (48, 24, 4)


def test_ink_is_black_where_there_is_much_and_nothing_where_there_is_none():
    assert ink(Picture("", ((0.0, 0.2), (1.0, 0.0)))).tolist() == [[[0, 0], [0, 51]], [[0, 255], [0, 0]]]


@pytest.mark.parametrize(
    ("classes", "y_true", "y_pred", "index", "title", "reason"),
    [
        (
            list(range(10)),
            [1, 5, 5, 1, 1],
            [1, 6, 5, 1, 1],
            2,
            "How the network reads a 5",
            "Test image 2 is the first 5 that the network names correctly.",
        ),
        (
            list("0123456789"),
            ["5", "5", "1"],
            ["6", "6", "1"],
            0,
            "How the network reads a 5",
            "Test image 0 is the first 5. The network is wrong about it, as it is about every image of this class.",
        ),
        (
            list(range(10)),
            [1, 7, 7],
            [1, 1, 7],
            2,
            "How the network reads one image",
            "Test image 2 is the first of class 7 that the network names correctly; no class has more test images.",
        ),
        (
            ["cat", "dog"],
            ["cat", "dog", "dog"],
            ["cat", "cat", "dog"],
            2,
            "How the network reads one image",
            "Test image 2 is the first of class dog that the network names correctly; no class has more test images.",
        ),
        (
            ["cat", "dog"],
            ["cat", "dog", "dog"],
            ["cat", "cat", "cat"],
            1,
            "How the network reads one image",
            (
                "Test image 1 is the first of class dog; no class has more test images. The network is wrong about it, "
                "as it is about every image of this class."
            ),
        ),
    ],
    ids=["first 5 got right", "no 5 got right", "no 5 at all", "commonest class", "commonest class always wrong"],
)
def test_which_image_is_followed(classes, y_true, y_pred, index, title, reason):
    proba = (np.array(classes) == np.array(y_pred)[:, np.newaxis]).astype(float)
    example = Example.from_evaluation(Evaluation.from_predictions(y_true, proba, classes))
    assert example == Example(index, y_true[index], title, reason)


def test_the_reader_learns_which_image_it_is_and_where_to_explore_it(report, page, tmp_path):
    assert report.example.reason in words(page.text_of["story"])
    assert np.array_equal(report.trace.image, make_report().trace.image)
    assert {"#walkthrough", "walkthrough.html", "walkthrough.md"} <= set(page.links)
    write(report, tmp_path)
    assert (tmp_path / "walkthrough.md").read_text() == report.trace.to_markdown()
    assert "How this network reads an image" in (tmp_path / "walkthrough.html").read_text()
    markdown = (tmp_path / "report.md").read_text()
    assert "## 5 How the network reads one image\n" in markdown
    assert "[walkthrough.md](walkthrough.md)" in markdown
    assert "[walkthrough.html](walkthrough.html)" in markdown


def test_metrics_json_tells_which_image_was_followed_and_what_came_out(report):
    told = metrics(report)["walkthrough"]
    index = told.pop("test_image")
    assert report.evaluation.y_true[index] == told.pop("class")
    assert told == {
        "predicted": report.trace.label,
        "probabilities": [float(share) for share in report.trace.probabilities],
    }


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


def test_a_perfect_classifier_has_no_gallery(tmp_path):
    report = make_report(perfect=True)
    assert "There are none: every test image was named correctly." in Page(render(report)).text
    write(report, tmp_path)
    assert not (tmp_path / "figures" / "mistakes.png").exists()
    assert "mistakes.png" not in (tmp_path / "report.md").read_text()


def test_training_without_validation_shows_training_alone():
    history = [{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "lr": 0.003}]
    page = Page(render(make_report(history=history)))
    assert page.rows("history")[1:] == ["1 0.5000 80.00 % – – 0.003"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_colour_pictures(channels, tmp_path):
    assert write(make_report(channels=channels), tmp_path).exists()


def test_names_are_shown_as_they_are_whatever_they_hold(tmp_path):
    classes = ["</td><script>alert(1)</script>", "a|b", "$x_1^", "{{ 7 * 7 }}", "猫", "&amp;"]
    report = make_report(classes)
    page = Page(write(report, tmp_path).read_text())
    assert "script" not in page.tags
    story = words(page.text_of["story"])
    assert f"is the first of class {report.example.label}" in story
    for label in classes:
        assert f" {label} " in story  # in the table of probabilities
    rows = page.rows("classes")[1:]
    for label, row in zip(classes, rows, strict=False):
        assert row.startswith(f"{label} ")
    markdown = (tmp_path / "report.md").read_text()
    assert "| a\\|b | " in markdown
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    assert "<script>" not in (tmp_path / "figures" / "confusion.svg").read_text()


def test_many_classes_are_all_in_the_tables_and_some_in_the_samples():
    classes = [f"class {i:02d}" for i in range(35)]
    page = Page(render(make_report(classes)))
    assert len(page.rows("classes")) == 1 + 35 + 2
    assert "The first training images of the first 30 classes." in page.text


def test_markdown_tables_are_whole_and_figures_are_there(report, tmp_path):
    write(report, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    tables = re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    for name in re.findall(r"\]\((figures/.*?)\)", markdown):
        assert name in FILES
        assert (tmp_path / name).stat().st_size > 0


def test_figures_take_the_ink_of_the_page_and_beside_it_have_their_own(report, tmp_path):
    assert all("currentColor" in svg and "<style>svg{" not in svg for svg in figures(report).values())
    write(report, tmp_path)
    beside = (tmp_path / "figures" / "loss.svg").read_text()
    assert beside.startswith("<svg")
    assert "prefers-color-scheme:dark" in beside


def test_metrics_json_holds_scikit_learns_numbers(report, tmp_path):
    write(report, tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    test, evaluation = numbers["test"], report.evaluation
    assert test["accuracy"] == accuracy_score(evaluation.y_true, evaluation.y_pred)
    assert test["log_loss"] == pytest.approx(log_loss(evaluation.y_true, evaluation.y_proba))
    assert test["confusion_matrix"] == evaluation.confusion_matrix.tolist()
    assert [row["class"] for row in test["per_class"]] == ["ant", "bee", "cow"]
    assert numbers["dataset"]["images"] == {"training": 40, "validation": 10, "test": 20}
    assert numbers["model"]["history"] == HISTORY
    assert numbers["run"]["fit_seconds"] == 83.4


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def break_off(path, content):
        with path.open("wb") as file:
            file.write(content[:2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_whole(target, "new content")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_pictures_are_stretched_to_the_range_and_clipped():
    X = np.array([[[[-4, 0, 8, 16, 20]]]])
    assert pictures(X, (0, 16)).tolist() == [[[0, 0, 128, 255, 255]]]
    assert pictures(np.full((1, 1, 2, 2), 5.0), (5, 5)).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (2, 6, 5)), (2, (2, 6, 5)), (3, (2, 6, 5, 3)), (4, (2, 6, 5, 4)), (7, (2, 6, 5))]
)
def test_pictures_have_the_shape_that_pillow_and_matplotlib_take(channels, shape):
    shown = pictures(np.zeros((2, channels, 6, 5), np.uint8), (0, 255))
    assert shown.shape == shape
    assert shown.dtype == np.uint8
    Image.fromarray(shown[0])


def test_colours_stay_where_they_are():
    red = np.zeros((1, 3, 2, 2), np.uint8)
    red[:, 0] = 255
    assert pictures(red, (0, 255))[0, 0, 0].tolist() == [255, 0, 0]


def test_large_pictures_shrink_and_keep_their_proportions():
    assert pictures(np.zeros((2, 3, 400, 200), np.uint8), (0, 255)).shape == (2, 96, 48, 3)
    assert pictures(np.zeros((0, 1, 400, 200), np.uint8), (0, 255)).shape[0] == 0


def test_values_are_written_without_addresses():
    values = [np.float64(0.5), [1, None], ("a", 2), {"b": 0.5}, Path("x"), make_report, object()]
    assert [readable(value) for value in values] == [
        "0.5",
        "[1, None]",
        "(a, 2)",
        "{b: 0.5}",
        "x",
        "make_report",
        "object(…)",
    ]
