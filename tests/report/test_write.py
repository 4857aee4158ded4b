"""What the report promises: everything on one offline page, the same bytes each time, whole files or none."""

import json
import re
from collections import OrderedDict
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from cnnclf._utils.files import write_atomically
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._summary import LayerSummary
from cnnclf.classifier._settings import Setting
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._overfitting import RULE
from cnnclf.evaluation._robustness import Probe, Robustness
from cnnclf.inspection._items import Arithmetic, Beside, Matrix, Paragraph
from cnnclf.inspection._narrative import narrate
from cnnclf.inspection._trace import Trace
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from cnnclf.report._data import DataRecord
from cnnclf.report._model_card import model_card
from cnnclf.report._records import Example, ModelRecord, Report, Reproduction, Run
from cnnclf.report._render import data_uri
from cnnclf.report._write import figures, metrics, picture_grids, to_html, to_markdown, write

JUDGED = ("confusion", "confusion_shares", "per_class", "reliability")
COMPARED = ("fold_curves", "folds", "accuracy_parameters", "accuracy_multiply_adds")
FIGURES = (*JUDGED, *COMPARED, "classes", "loss", "accuracy")
FILES = {
    "index.html",
    "report.md",
    "model_card.md",
    "walkthrough.html",
    "walkthrough.md",
    "metrics.json",
    *(f"figures/{name}.svg" for name in FIGURES),
    *(f"figures/{name}.png" for name in ("samples", "mistakes")),
}
RUN = Run(83.4, (40.0, 43.0), "2001-02-03 04:05 UTC", "2 looms")
HISTORY = (
    {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "valid_loss": 0.6, "valid_accuracy": 0.7, "lr": 0.003},
    {"epoch": 2, "train_loss": 0.2, "train_accuracy": 0.9, "valid_loss": 0.4, "valid_accuracy": 0.85, "lr": 0.001},
)
SETTINGS = (
    Setting("architecture", "compact", "compact", True, "which layers", "a name", "Small images need few layers."),
    Setting("lr", "0.003", "0.005", False, "how far a step goes", "a number above 0", "Adam’s usual is 0.001."),
    Setting("unheard_of", "None", "", False, "", "", ""),
)
LAYERS = (
    LayerSummary("conv1", "Conv2d 3×3", (8, 4, 3), 80, 864),
    LayerSummary("relu1", "ReLU", (8, 4, 3), 0, 0),
    LayerSummary("output", "Linear", (3,), 1_234, 288),
)
PROBES = (Probe("as they are", 0.5, 0.75), Probe("turned by 45°", 0.25, 0.625))


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


def make_comparison(slower=1):
    """Compare two networks in two folds of one epoch, on a machine that may be slower."""

    def folds(fit_seconds, predict_seconds, *accuracies):
        seconds = slower * fit_seconds
        return tuple(
            Fold(
                *(i, 20, 20, accuracy),
                history=({"epoch": 1, "valid_accuracy": accuracy, "seconds": seconds},),
                fit_seconds=seconds,
                predict_seconds=slower * predict_seconds,
            )
            for i, accuracy in enumerate(accuracies, start=1)
        )

    tiny = ArchitectureResult("tiny", "a paper", LAYERS[:2], 80, 864, folds(2.5, 7e-6, 0.70, 0.80))
    compact = ArchitectureResult("compact", "", LAYERS, 1_314, 1_152, folds(3.5, 5e-6, 0.90, 0.92))
    return Comparison((tiny, compact), 2)


def make_report(classes=("ant", "bee", "cow"), *, note="", channels=1, history=HISTORY, perfect=False, comparison=None):
    """Report on random pixels and predictions: 40 training, 10 validation and 20 test images of 6 × 5 pixels."""
    rng = np.random.default_rng(0)
    classes = np.array(classes)
    X, y = rng.integers(0, 200, size=(70, channels, 6, 5)).astype(np.uint8), np.resize(classes, 70)
    splits = {"training": slice(0, 40), "validation": slice(40, 50), "test": slice(50, 70)}
    y_test = y[splits["test"]]
    proba = rng.dirichlet(np.ones(len(classes)), size=20)
    if perfect:
        proba = (classes == y_test[:, np.newaxis]).astype(float)
    evaluation = Evaluation.from_predictions(y_test, proba, classes)
    example = Example.from_evaluation(evaluation)
    return Report.of(
        DataRecord.from_splits(
            "Insects", note=note, splits={name: (f"{name} origin", X[part], y[part]) for name, part in splits.items()}
        ),
        ModelRecord(
            architecture="compact",
            source="a book",
            layers=LAYERS,
            n_parameters=1_314,
            standardisation=((100.0, 50.0),) * channels,
            settings=SETTINGS,
            history=history,
            file="model.cnn",
        ),
        evaluation,
        X[splits["test"]],
        example=example,
        trace=Trace.record(make_net(channels, len(classes)), X[splits["test"]][example.index], classes),
        reproduction=Reproduction("cnnclf report --dataset insects", 7, {"Python": "3.99"}),
        run=RUN,
        comparison=comparison,
        robustness=Robustness(PROBES, 0.875),
    )


def make_predictions(classes=("ant", "bee", "cow"), *, with_probabilities=True, with_images=True):
    """Report on 40 random predictions of which nothing else is known."""
    rng = np.random.default_rng(1)
    y_true, proba = np.resize(np.array(classes), 40), rng.dirichlet(np.ones(len(classes)), size=40)
    evaluation = Evaluation.from_predictions(y_true, proba, classes)
    if not with_probabilities:
        evaluation = Evaluation.from_labels(y_true, evaluation.y_pred, classes)
    X = rng.integers(0, 200, size=(40, 1, 6, 5)) if with_images else None
    reproduction = Reproduction("cnnclf report --from-predictions said.csv", None, {"Python": "3.99"})
    return Report.of_predictions("“said.csv”", evaluation, reproduction, X)


class Page(HTMLParser):
    """What a browser would see: tags, ids, links, tables and the text inside whatever has an id."""

    VOID = ("meta", "link", "img", "br")  # ends where it begins

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.text = [], [], [], [], ""
        self.text_of = {}
        self.sections = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("href", "src", "xlink:href", "srcset") if name in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self.sections.append("")
        if tag in ("tr", "td", "th", "li", "p", "dt", "dd"):
            self.handle_data("\n" if tag in ("tr", "dt") else " ")
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
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        for _, name in self.open:
            self.text_of[name] = self.text_of.get(name, "") + data
        if {"style", "script"} & {tag for tag, _ in self.open}:
            return
        self.text += data
        if "section" in {tag for tag, _ in self.open}:
            self.sections[-1] += data

    def rows(self, name):
        return [" ".join(row.split()) for row in self.text_of[name].strip().split("\n") if row.strip()]


def words(text):
    return " ".join(text.split())


def render(report):
    """Make the page without its figures, which take long to draw."""
    return to_html(report, dict.fromkeys(FIGURES, "<svg></svg>"))


def markdown_tables(markdown):
    """Give the cells of every row of every table, as a reader of Markdown shows them."""
    tables, tokens = [], MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    for i, token in enumerate(tokens):
        match token.type:
            case "table_open":
                tables.append([])
            case "tr_open":
                tables[-1].append([])
            case "th_open" | "td_open":
                tables[-1][-1].append("".join(child.content for child in tokens[i + 1].children))
    return tables


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def report():
    return make_report(comparison=make_comparison())


@pytest.fixture(scope="module")
def html(report):
    return render(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    """A folder with the whole report."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    assert write(report, folder) == folder / "index.html"
    return folder


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


def matrix_cells(html):
    """Give what stands in the cells of the confusion matrix, and the share that the button shows in their place."""
    table = re.search(r'<table id="matrix".*?</table>', html, re.DOTALL)[0]
    rows = [re.findall(r"<td([^>]*)>([^<]*)</td>", row) for row in table.split("<tbody>")[1].split("<tr>")[1:]]
    counts = [[int(text or 0) for _, text in row] for row in rows]
    shares = [[float((re.findall(r'data-share="(.*?)"', look) or [0])[0]) for look, _ in row] for row in rows]
    return counts, shares


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


STEPS = ("standardise", "conv1", "res1", "res1.conv", "res1.shortcut", "tanh1", "flatten1", "output", "softmax")


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
    assert "How this network reads an image" in (written / "walkthrough.html").read_text()
    markdown = (written / "report.md").read_text()
    assert "## 8 How the network reads one image\n" in markdown
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


# Predictions of which nothing else is known


@pytest.fixture(scope="module", params=[(True, True), (False, False)], ids=["probabilities and images", "labels alone"])
def judged(request, tmp_path_factory):
    """A report on predictions alone, and its folder."""
    with_probabilities, with_images = request.param
    report = make_predictions(with_probabilities=with_probabilities, with_images=with_images)
    folder = tmp_path_factory.mktemp("judged")
    write(report, folder)
    return report, folder


def test_predictions_alone_have_the_files_of_the_judging_part(judged):
    report, folder = judged
    expected = {"index.html", "report.md", "metrics.json", *(f"figures/{name}.svg" for name in JUDGED[:3])}
    if report.evaluation.y_proba is not None:
        expected |= {"figures/reliability.svg", "figures/mistakes.png"}
    assert files_in(folder) == expected


def test_predictions_alone_have_no_link_to_what_is_not_there(judged):
    _, folder = judged
    page = Page((folder / "index.html").read_text())
    there = files_in(folder) | {f"#{name}" for name in page.ids}
    links = {link for link in page.links if not link.startswith("data:")}
    links |= set(re.findall(r"\]\((.*?)\)", (folder / "report.md").read_text()))
    assert links <= there
    assert links & {"metrics.json", "report.md", "figures/confusion.svg"}
    text = page.text + (folder / "report.md").read_text()
    for name in ("model_card", "walkthrough", "model.cnn", "CNNClassifier"):
        assert name not in text


def test_predictions_alone_have_no_empty_section(judged):
    report, folder = judged
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


def test_predictions_alone_are_judged_as_those_of_our_own(judged):
    report, folder = judged
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
