"""What a model card promises: metadata that the Hub can read, numbers that are those of the records, the same bytes."""

import ast
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import log_loss

from cnnclf import CNNClassifier
from cnnclf.architectures._summary import LayerSummary, summarize
from cnnclf.classifier._settings import explain
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._robustness import Probe, Robustness
from cnnclf.report._data import DataRecord, Split
from cnnclf.report._model_card import model_card, quoted
from cnnclf.report._records import ModelRecord, Report, Reproduction, Run

CLASSES = ("ant", "bee", "cow")
Y_TRUE = ["ant", "ant", "ant", "bee", "bee", "cow"]
PROBA = [
    [0.7, 0.2, 0.1],  # ant, right
    [0.1, 0.8, 0.1],  # ant taken for a bee
    [0.2, 0.7, 0.1],  # ant taken for a bee
    [0.3, 0.6, 0.1],  # bee, right
    [0.0, 0.2, 0.8],  # bee taken for a cow
    [0.0, 0.2, 0.8],  # cow, right
]
NASTY = [
    'a: "b" # c',
    "---\nlicense: mit\n---",
    "- x",
    "{{ 7 * 7 }}",
    "| a | b |\n|---|---|",
    "yes\u2028\x85\x7f\ufeff",
    "\\",
    "*😀*",
    "<script>",
]
RUN = Run(fit_seconds=83.4, epoch_seconds=(40.0, 43.0), date="2001-02-03 04:05 UTC", hardware="Abacus, 2 cores")
ROBUSTNESS = Robustness((Probe("as they are", 0.5, 0.75), Probe("turned by 45°", 0.25, 0.625)), 0.875)
EPOCH = {"train_loss": 0.2, "train_accuracy": 0.9, "valid_loss": 0.3, "valid_accuracy": 0.9, "lr": 0.003}
HISTORY = tuple({"epoch": epoch, **EPOCH} for epoch in (1, 2))

FRONT_MATTER = """---
library_name: cnnclf
pipeline_tag: image-classification
tags:
- cnnclf
- convolutional-neural-network
- scikit-learn
metrics:
- accuracy
model-index:
- name: "compact"
  results:
  - task:
      type: image-classification
      name: Image classification
    dataset:
      type: other
      name: "Insects"
      split: test
    metrics:
    - type: accuracy
      name: Test accuracy
      value: 0.500000
---
"""


def make_report(*, name="Insects", note="", classes=CLASSES, evaluation=None, robustness=None, clf=None, **model):
    """Report on the six predictions above, 50 training images and two epochs."""
    return Report(
        name=name,
        evaluation=Evaluation.from_predictions(Y_TRUE, PROBA, CLASSES) if evaluation is None else evaluation,
        mistakes=(),
        mistake_pictures=None,
        cells=(),
        reproduction=Reproduction("cnnclf report --dataset insects", 7, {"Python": "3.99", "torch": "9.8"}),
        data=DataRecord(
            name=name,
            note=note,
            classes=classes,
            splits=(Split("training", "All that is left.", (20, 20, 10)), Split("test", "Used once.", (3, 2, 1))),
            image_shape=(1, 6, 5),
            pixel_range=(0.0, 255.0),
            samples=(),
        ),
        model=ModelRecord(
            **{
                "architecture": "compact",
                "source": "a book",
                "layers": (
                    LayerSummary("conv1", "Conv2d 3×3", (8, 4, 3), 80, 864),
                    LayerSummary("output", "Linear", (3,), 1_234, 288),
                ),
                "n_parameters": 1_314,
                "standardisation": ((100.0, 50.0),),
                "settings": explain(clf or CNNClassifier(lr=0.02)),
                "history": HISTORY,
                "file": "model.cnn",
                **model,
            }
        ),
        robustness=robustness,
        run=RUN,
    )


def rows(card, heading):
    """Give the cells of every row of the first table after a heading."""
    table = re.search(r"^\|.*?(?=\n\n|\Z)", card.split(f"\n{heading}\n")[1], flags=re.MULTILINE | re.DOTALL)[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.split("\n")]


@pytest.fixture(scope="module")
def card():
    return model_card(make_report())


def test_the_metadata_are_those_the_hub_knows(card):
    assert card.startswith(FRONT_MATTER)


def test_only_mnist_is_named_as_a_data_set_of_the_hub():
    card = model_card(make_report(name="MNIST"))
    assert "\ndatasets:\n- mnist\nmetrics:" in card
    assert '      type: mnist\n      name: "MNIST"\n' in card
    assert "Census Bureau" in card
    folder = model_card(make_report(name="“MNIST”"))  # a folder of somebody's images that is called so
    assert "datasets:" not in folder
    assert "      type: other\n" in folder
    assert "Census Bureau" not in folder


@given(st.text())
def test_quoted_text_is_one_scalar_of_yaml_json_and_python(text):
    line = quoted(text)
    # YAML 1.2.2: c-printable (5.1) without line breaks, and those of its escapes (5.7) that JSON has, too.
    plain = r"[ !#-\[\]-~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    assert re.fullmatch(rf'"({plain}|\\["\\bfnrt]|\\u[0-9a-f]{{4}})*"', line)
    assert "\u2028" not in line
    assert json.loads(line) == text
    assert ast.literal_eval(line) == text


@pytest.mark.parametrize("name", NASTY)
def test_names_of_strangers_stay_names(name):
    classes = (name, "bee", "cow")
    y_true = [name if label == "ant" else label for label in Y_TRUE]
    evaluation = Evaluation.from_predictions(y_true, PROBA, classes)
    card = model_card(
        make_report(name=name, note=name, classes=classes, evaluation=evaluation, architecture=name, file=f"{name}.cnn")
    )
    front = card.split("\n---\n")[0]
    assert re.findall(r"^- name: (.*)$", front, flags=re.MULTILINE) == [quoted(name)]
    assert re.findall(r"^      name: (\".*)$", front, flags=re.MULTILINE) == [quoted(name)]
    assert front.count("\n") == FRONT_MATTER.count("\n") - 2  # without the line that ends it
    assert re.findall(r"^clf = CNNClassifier\.load\((.*)\)$", card, flags=re.MULTILINE) == [quoted(f"{name}.cnn")]
    for heading, n_columns in (("## Evaluation", 2), ("## Training procedure", 3), ("## Training data", 4)):
        assert {len(row) for row in rows(card, heading)} == {n_columns}
    per_class = card.split("\n| class | precision")[1].split("\n\n")[0].split("\n")[2:]
    assert [len(re.split(r"(?<!\\)\|", line)) for line in per_class] == [7, 7, 7]  # five cells between borders
    assert "49" not in front


def test_the_sections_are_those_of_mitchell_et_al(card):
    assert re.findall(r"^## (.*)$", card, flags=re.MULTILINE) == [
        "Model details",
        "Intended use",
        "How to use",
        "Training data",
        "Training procedure",
        "Evaluation",
        "Limitations",
        "Compute",
        "How to reproduce",
    ]
    assert "\n### Out of scope\n" in card


def test_a_note_comes_first():
    card = model_card(make_report(note="Not MNIST, because the moon was full."))
    assert card.split("\n---\n")[1].strip().startswith("> Not MNIST, because the moon was full.\n")


def test_every_layer_every_split_and_every_setting(card):
    assert rows(card, "## Model details")[2:] == [
        ["conv1", "Conv2d 3×3", "8 × 4 × 3", "80"],
        ["output", "Linear", "3", "1,234"],
    ]
    assert rows(card, "## Training data")[2:] == [
        ["training", "50", "89.3 %", "All that is left."],  # 50 of 56
        ["test", "6", "10.7 %", "Used once."],
    ]
    settings = {name: value for name, value, _ in rows(card, "## Training procedure")[2:]}
    assert len(settings) == len(CNNClassifier().get_params())
    assert settings["lr"] == "0.02 (set for this run; default 0.01)"
    assert settings["max\\_epochs"] == "auto"


def test_the_verdict_on_the_training_is_told():
    report = make_report()
    assert f"\n2 epochs. {report.model.verdict.reason}" in model_card(report).replace("\\", "")
    assert "\n1 epoch. " in model_card(make_report(history=HISTORY[:1]))


def test_the_figures_are_those_of_the_predictions(card):
    # right: 3 of 6; F1: ant 2·1·(1/3)/(4/3) = 0.5, bee 2·(1/3)·(1/2)/(5/6) = 0.4, cow 2·(1/2)·1/(3/2) = 0.6667
    interval = binomtest(3, 6).proportion_ci(0.95, method="wilson")
    figures = dict(rows(card, "## Evaluation")[2:])
    assert figures["accuracy"] == "50.00 %"
    bounds = f"{100 * interval.low:.2f} % to {100 * interval.high:.2f} %"
    assert figures["95 % interval of the accuracy (Wilson 1927)"] == bounds
    assert figures["F1, mean over the classes"] == "52.22 %"  # (0.5 + 0.4 + 0.6667) / 3
    assert figures["log loss (guessing: 1.0986)"] == f"{log_loss(Y_TRUE, PROBA):.4f}"  # ln 3
    report = make_report()
    assert figures["Brier score (0 is best)"] == f"{report.evaluation.brier_score:.4f}"
    # confidences .7 right · .8 wrong · .7 wrong · .6 right · .8 wrong · .8 right, by bins of a tenth:
    # (0.5, 0.6]: |1 - .6| · 1, (0.6, 0.7]: |1/2 - .7| · 2, (0.7, 0.8]: |1/3 - .8| · 3; over 6: (.4 + .4 + 1.4) / 6
    assert figures["calibration error"] == "36.67 %"
    per_class = card.split("\n| class | precision")[1].split("\n\n")[0].split("\n")[2:]
    assert per_class == [
        "| ant | 100.00 % | 33.33 % | 50.00 % | 3 |",
        "| bee | 33.33 % | 50.00 % | 40.00 % | 2 |",
        "| cow | 50.00 % | 100.00 % | 66.67 % | 1 |",
    ]
    assert rows(card, "The most frequent mistakes:")[2:] == [
        ["ant", "bee", "2", "66.67 %"],
        ["bee", "cow", "1", "50.00 %"],
    ]


def test_a_classifier_without_mistakes():
    proba = np.eye(3)[[CLASSES.index(label) for label in Y_TRUE]]
    card = model_card(make_report(evaluation=Evaluation.from_predictions(Y_TRUE, proba, CLASSES)))
    assert "\nEvery test image was classified correctly.\n" in card
    assert "The most frequent mistakes" not in card
    assert "with the finished network: 0 mistakes.\n" in card


def test_without_probabilities_there_is_nothing_to_say_about_them():
    card = model_card(
        make_report(evaluation=Evaluation.from_labels(Y_TRUE, ["ant", "bee", "bee", "bee", "cow", "cow"]))
    )
    figures = dict(rows(card, "## Evaluation")[2:])
    assert figures["accuracy"] == "50.00 %"
    assert not [name for name in figures if re.search("loss|Brier|calibration", name)]
    assert "None" not in re.sub(r"\| None \|", "", card)


def test_the_limits_name_the_weakest_class_and_those_that_were_not_tested(card):
    interval = binomtest(1, 3).proportion_ci(0.95, method="wilson")
    assert (
        f"\n- The weakest class is ant: 33.33 % of its 3 test images were classified correctly "
        f"(95 % interval {100 * interval.low:.2f} % to {100 * interval.high:.2f} %).\n"
    ) in card
    assert "No test image shows" not in card

    proba = np.insert(PROBA, 3, 0, axis=1)
    unseen = Evaluation.from_predictions(Y_TRUE, proba, [*CLASSES, "dog"])
    assert "\n- No test image shows dog: its recall" in model_card(make_report(evaluation=unseen))


def test_the_limits_tell_what_became_of_changed_images():
    assert "Accuracy on changed test images" not in model_card(make_report())
    card = model_card(make_report(robustness=ROBUSTNESS))
    assert "\n  For pictures of pure noise, the mean probability of the predicted class is 87.50 %.\n" in card
    assert rows(card, "Accuracy on changed test images:")[2:] == [
        ["as they are", "50.00 %", "75.00 %"],
        ["turned by 45°", "25.00 %", "62.50 %"],
    ]


def test_of_many_classes_only_the_first_are_listed():
    labels = list(range(40))
    evaluation = Evaluation.from_predictions([0, 1], np.eye(40)[:2], labels)
    card = model_card(make_report(evaluation=evaluation, classes=tuple(labels)))
    assert "each of 40 classes: 0, 1, 2," in card
    assert ", 28, 29 and 10 more.\n" in card
    assert "\n- No test image shows 2, 3," in card
    assert ", 30, 31 and 8 more: its recall" in card  # 2 to 31 of 2 to 39


def test_the_cost_of_one_image_is_counted(card):
    # 864 + 288
    assert "\n1,314 parameters; 1,152 multiply-adds per image. " in card


def test_the_same_records_give_the_same_text_and_runs_differ_in_one_line(card):
    assert model_card(make_report()) == card
    other = model_card(replace(make_report(), run=Run(1.5, (0.7, 0.7), "2002-03-04 05:06 UTC", "Loom, 64 cores")))
    lines = [(ours, theirs) for ours, theirs in zip(card.split("\n"), other.split("\n"), strict=True) if ours != theirs]
    assert lines == [
        (
            "Trained in 1 min 23 s on Abacus, 2 cores, 2001-02-03 04:05 UTC.",
            "Trained in 1.5 s on Loom, 64 cores, 2002-03-04 05:06 UTC.",
        )
    ]


def test_the_command_is_code_whatever_it_holds():
    report = make_report()
    again = Reproduction("cnnclf report --dataset '```\n# no heading'", None, {"Python": "3.99"})
    assert "\n    cnnclf report --dataset insects\n\nWith the seed 7 " in model_card(report)
    card = model_card(replace(report, reproduction=again))
    assert "\n    cnnclf report --dataset '```\n    # no heading'\n\nNo seed was set" in card


def test_the_program_on_the_card_runs(few_digits, tmp_path, monkeypatch):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, y)
    monkeypatch.chdir(tmp_path)
    clf.save("digits.cnn")
    layers = tuple(summarize(clf.module_, clf.image_shape_))
    card = model_card(make_report(clf=clf, architecture="lenet5", layers=layers, file="digits.cnn"))
    load, export, serve = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    names = {"X": X_test}
    exec(load, names)
    assert names["clf"].predict(X_test).tolist() == clf.predict(X_test).tolist()
    exec(export, names)
    exec(serve, names)

    nowhere = model_card(make_report(file=""))
    assert re.findall(r"```python\n(.*?)```", nowhere, flags=re.DOTALL) == [export, serve]
    assert ".load(" not in nowhere


def test_predictions_alone_have_no_card():
    report = make_report()
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared
        model_card(Report.of_predictions("Insects", report.evaluation, report.reproduction))
    assert str(error.value) == (
        "Expected a report with data, model and run; got one of predictions alone. "
        "A model card describes a trained network: make the report with Report.of."
    )
