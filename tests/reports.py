"""Reports on random pixels and predictions, and a reader of their pages."""

import re
from collections import OrderedDict
from html.parser import HTMLParser

import numpy as np
import torch
from markdown_it import MarkdownIt
from torch import nn

from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._summary import LayerSummary
from cnnclf.classifier._settings import Setting
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._robustness import Probe, Robustness
from cnnclf.inspection._trace import Trace
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from cnnclf.report._data import DataRecord
from cnnclf.report._records import Example, ModelRecord, Report, Reproduction, Run
from cnnclf.report._write import to_html

OF_EVALUATION = ("confusion", "confusion_shares", "per_class", "reliability")
COMPARED = ("fold_curves", "folds", "accuracy_parameters", "accuracy_multiply_adds")
FIGURES = (*OF_EVALUATION, *COMPARED, "classes", "loss", "accuracy")
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
            "softplus1": nn.Softplus(),
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


def matrix_cells(html):
    """Give the texts in the cells of the confusion matrix, and the share that the button shows in their place."""
    table = re.search(r'<table id="matrix".*?</table>', html, re.DOTALL)[0]
    rows = [re.findall(r"<td([^>]*)>([^<]*)</td>", row) for row in table.split("<tbody>")[1].split("<tr>")[1:]]
    counts = [[int(text or 0) for _, text in row] for row in rows]
    shares = [[float((re.findall(r'data-share="(.*?)"', look) or [0])[0]) for look, _ in row] for row in rows]
    return counts, shares
