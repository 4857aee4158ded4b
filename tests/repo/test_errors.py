"""Bad input of every kind, to every public door: the error is of the right type, short, and says what to do.

At most 300 characters without what it quotes: values and paths that the caller passed, five of them at most.
"""

import functools
import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.svm import LinearSVC
from torch import nn
from typer.testing import CliRunner

from cnnclf import (
    CNNClassifier,
    Evaluation,
    ONNXClassifier,
    TestTimeAugmentation,
    compare_architectures,
    load_idx,
    load_image_folder,
    load_mnist,
)
from cnnclf.cli._main import app
from cnnclf.evaluation._mcnemar import compare
from cnnclf.evaluation._predictions import read_predictions
from cnnclf.plots import ConfusionMatrixDisplay, KernelsDisplay, ReliabilityDisplay

MOST_LETTERS = 300


def quick(**parameters):
    return CNNClassifier(**({"architecture": "tiny", "max_epochs": 1, "random_state": 0} | parameters))


@pytest.fixture(scope="module")
def shop(few_digits, tmp_path_factory):
    """What the rows of the table work on: data, a fitted network and its files, and a folder for bad ones."""
    X, y, *_ = few_digits
    X, y, folder = X[:60], y[:60], tmp_path_factory.mktemp("shop")
    clf = quick().fit(X, y)
    clf.save(folder / "net.cnn")
    clf.to_onnx(folder / "net.onnx")
    for part in ("a", "b"):
        (folder / "pictures" / part).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "pictures" / part / "1.png")
    (folder / "empty").mkdir()
    evaluated = Evaluation.from_estimator(clf, X, y)
    served = ONNXClassifier(folder / "net.onnx")
    return SimpleNamespace(
        X=X,
        y=y,
        flat=X.reshape(60, -1),
        clf=clf,
        served=served,
        evaluated=evaluated,
        folder=folder,
        trace=clf.trace(X[0]),
    )


def write(shop, name, content):
    """Make a file, and give its path."""
    path = shop.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def picture(i):
    """A file's content: a picture of a size of its own."""
    data = io.BytesIO()
    Image.new("L", (8, 8 + i)).save(data, "PNG")
    return data.getvalue()


def make(shop, name, content):
    """Make a folder of one class of nine files, and give its path."""
    for i in range(9):
        write(shop, f"{name}/a/{i}.png", content(i))
    return shop.folder / name


class Pairs(torch.utils.data.Dataset):
    def __getitem__(self, i):
        return np.zeros((8, 8)), i

    def __len__(self):
        return 60


def parameter(name, value):
    """Fit with a bad parameter."""
    return lambda s: quick(**{name: value}).fit(s.X, s.y)


def replaced(values, value):
    """Labels or pixels as floats or objects, one of them replaced."""
    changed = values.astype(object if isinstance(value, str) else float)
    changed.flat[3] = value
    return changed


MANY = [f"class number {i}" for i in range(1000)]
LONG = "long" * 100_000

PARAMETERS = {
    "architecture unknown": (parameter("architecture", "lenet"), ValueError),
    "architecture long": (parameter("architecture", LONG), ValueError),
    "architecture a module": (parameter("architecture", nn.Linear(2, 2)), TypeError),
    "architecture a number": (parameter("architecture", 5), TypeError),
    "architecture gives no module": (parameter("architecture", lambda shape, n: MANY), TypeError),
    "architecture gives other logits": (
        parameter("architecture", lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))),
        ValueError,
    ),
    "max_epochs 0": (parameter("max_epochs", 0), ValueError),
    "max_epochs list": (parameter("max_epochs", list(range(10_000))), ValueError),
    "batch_size word": (parameter("batch_size", "large"), ValueError),
    "batch_size fraction": (parameter("batch_size", 0.5), ValueError),
    "lr negative": (parameter("lr", -1), ValueError),
    "lr NaN": (parameter("lr", float("nan")), ValueError),
    "lr a number no float holds": (parameter("lr", 10**400), ValueError),
    "lr array": (parameter("lr", np.ones(100_000)), ValueError),
    "optimizer unknown": (parameter("optimizer", "lion"), ValueError),
    "lr_schedule unknown": (parameter("lr_schedule", MANY), ValueError),
    "weight_decay word": (parameter("weight_decay", LONG), ValueError),
    "label_smoothing 1": (parameter("label_smoothing", 1.0), ValueError),
    "augment unknown": (parameter("augment", ["mirror", "shift"]), ValueError),
    "augment many unknown": (parameter("augment", MANY), ValueError),
    "weight_averaging word": (parameter("weight_averaging", "yes"), ValueError),
    "early_stopping number": (parameter("early_stopping", 3), ValueError),
    "validation_fraction 2": (parameter("validation_fraction", 2), ValueError),
    "patience 0": (parameter("patience", 0), ValueError),
    "class_weight word": (parameter("class_weight", "even"), ValueError),
    "class_weight negative": (parameter("class_weight", dict.fromkeys(range(1000), -1.0)), ValueError),
    "class_weight strangers": (parameter("class_weight", dict.fromkeys(MANY, 1.0)), ValueError),
    "class_weight zero": (parameter("class_weight", dict.fromkeys(range(10), 0.0)), ValueError),
    "image_shape two": (parameter("image_shape", (8, 8)), ValueError),
    "image_shape other": (parameter("image_shape", (3, 8, 8)), ValueError),
    "image_shape long": (parameter("image_shape", list(range(100_000))), ValueError),
    "precision unknown": (parameter("precision", "half"), ValueError),
    "device unknown": (parameter("device", "tpu"), ValueError),
    "device missing": (parameter("device", "cuda:99"), ValueError),
    "compile word": (parameter("compile", "no"), ValueError),
    "warm_start word": (parameter("warm_start", "no"), ValueError),
    "checkpoint number": (parameter("checkpoint", 3), ValueError),
    "checkpoint a file": (lambda s: quick(checkpoint=s.folder / "net.cnn").fit(s.X, s.y), ValueError),
    "checkpoint of a function": (
        lambda s: quick(checkpoint=s.folder / "c", augment=functools.partial(np.add, MANY)).fit(s.X, s.y),
        ValueError,
    ),
    "callbacks numbers": (parameter("callbacks", [1, 2, 3]), ValueError),
    "random_state word": (parameter("random_state", LONG), ValueError),
    "verbose word": (parameter("verbose", "loud"), ValueError),
}

# What is given as X, to fit and to predict.
IMAGES = {
    "text": (lambda s: LONG, TypeError),
    "path": (lambda s: s.folder, TypeError),
    "paths": (lambda s: pd.Series([f"{i}.png" for i in range(60)]), TypeError),
    "bytes": (lambda s: b"PNG" * 100_000, TypeError),
    "column of bytes": (lambda s: pd.Series([b"PNG" * 1000] * 60), TypeError),
    "frame of bytes": (lambda s: pd.DataFrame({"image": [b"PNG" * 1000] * 60}), TypeError),
    "column of dicts": (lambda s: [{"bytes": b"PNG" * 1000, "path": None}] * 60, TypeError),
    "dict": (lambda s: {"images": s.X, "labels": s.y}, TypeError),
    "dict of many": (lambda s: dict.fromkeys(MANY, s.X), TypeError),
    "dataset": (lambda s: Pairs(), TypeError),
    "loader": (lambda s: torch.utils.data.DataLoader(Pairs()), TypeError),
    "generator": (lambda s: (x for x in s.X), TypeError),
    "picture": (lambda s: Image.new("L", (8, 8)), TypeError),
    "pairs": (lambda s: [(x, 1) for x in s.X], ValueError),
    "sizes": (lambda s: [np.zeros((8, 8 + i)) for i in range(60)], ValueError),
    "column of arrays": (lambda s: pd.Series([*s.X]), ValueError),
    "None": (lambda s: None, ValueError),
    "number": (lambda s: 5, ValueError),
    "function": (lambda s: print, ValueError),
    "one row": (lambda s: np.zeros(400_000), ValueError),
    "no rows": (lambda s: s.X[:0], ValueError),
    "no columns": (lambda s: np.zeros((60, 0)), ValueError),
    "five axes": (lambda s: np.zeros((60, 1, 1, 8, 8)), ValueError),
    "two channels": (lambda s: np.zeros((60, 2, 8, 8)), ValueError),
    "words for pixels": (lambda s: np.full((60, 8, 8), "x" * 10_000), ValueError),
    "a word among numbers": (lambda s: replaced(s.X, LONG), ValueError),
    "dates": (lambda s: np.zeros((60, 8, 8), "M8[D]"), ValueError),
    "complex": (lambda s: s.X + 1j, ValueError),
    "NaN": (lambda s: replaced(s.X, np.nan), ValueError),
    "infinite": (lambda s: replaced(s.X, np.inf), ValueError),
    "masked": (lambda s: np.ma.masked_less(s.X, 1), ValueError),
}

DATA = {
    "y missing": (lambda s: quick().fit(s.X, None), ValueError),
    "y not given": (lambda s: quick().fit(s.X), ValueError),
    "a loader alone": (lambda s: quick().fit(torch.utils.data.DataLoader(Pairs())), TypeError),
    "y short": (lambda s: quick().fit(s.X, s.y[:9]), ValueError),
    "y one-hot": (lambda s: quick().fit(s.X, np.eye(10)[s.y]), ValueError),
    "y continuous": (lambda s: quick().fit(s.X, np.linspace(0, 1, 60)), ValueError),
    "y complex": (lambda s: quick().fit(s.X, s.y * 1j), ValueError),
    "y NaN": (lambda s: quick().fit(s.X, replaced(s.y, np.nan)), ValueError),
    "y mixed": (lambda s: quick().fit(s.X, replaced(s.y, LONG)), ValueError),
    "y with None": (lambda s: quick().fit(s.X, [None, "a"] * 30), ValueError),
    "y lists": (lambda s: quick().fit(s.X, [[1, 2], [3]] * 30), ValueError),
    "y dict": (lambda s: quick().fit(s.X, {"labels": s.y}), ValueError),
    "y scalar": (lambda s: quick().fit(s.X, 3), ValueError),
    "score with NaN": (lambda s: s.clf.score(s.X, replaced(s.y, np.nan)), ValueError),
    "score with None": (lambda s: s.clf.score(s.X, [None, *s.y[1:].tolist()]), ValueError),
    "score of views with NaN": (
        lambda s: TestTimeAugmentation(s.clf, image_shape=(1, 8, 8)).fit(s.X, s.y).score(s.X, replaced(s.y, np.nan)),
        ValueError,
    ),
    "weight short": (lambda s: quick().fit(s.X, s.y, np.ones(9)), ValueError),
    "weight negative": (lambda s: quick().fit(s.X, s.y, -np.ones(60)), ValueError),
    "weight zero": (lambda s: quick().fit(s.X, s.y, np.zeros(60)), ValueError),
    "weight NaN": (lambda s: quick().fit(s.X, s.y, np.full(60, np.nan)), ValueError),
    "weight words": (lambda s: quick().fit(s.X, s.y, [LONG] * 60), ValueError),
    "validation without labels": (lambda s: quick().fit(s.X, s.y, X_val=s.X), ValueError),
    "validation of strangers": (lambda s: quick().fit(s.X, s.y, X_val=s.X, y_val=s.y + 100), ValueError),
    "validation of many strangers": (
        lambda s: quick().fit(s.X, MANY[:20] * 3, X_val=s.X, y_val=MANY[100:120] * 3),
        ValueError,
    ),
    "validation of another size": (lambda s: quick().fit(s.X, s.y, X_val=s.X[:, 1:], y_val=s.y), ValueError),
    "validation short": (lambda s: quick().fit(s.X, s.y, X_val=s.X, y_val=s.y[:3]), ValueError),
    "partial_fit without classes": (lambda s: quick().partial_fit(s.X, s.y), ValueError),
    "partial_fit without a class": (lambda s: quick().partial_fit(s.X, s.y, classes=[]), ValueError),
    "partial_fit of strangers": (lambda s: quick().partial_fit(s.X, MANY[:20] * 3, classes=MANY[10:]), ValueError),
    "partial_fit of other classes": (
        lambda s: (
            quick().partial_fit(s.X, MANY[:20] * 3, classes=MANY[:20]).partial_fit(s.X, MANY[:9], classes=MANY[:9])
        ),
        ValueError,
    ),
    "partial_fit balanced": (
        lambda s: quick(class_weight="balanced").partial_fit(s.X, s.y, classes=range(10)),
        ValueError,
    ),
    "predict before fit": (lambda s: quick().predict(s.X), NotFittedError),
    "predict another size": (lambda s: s.clf.predict(s.X[:, 1:]), ValueError),
    "predict flat rows of another length": (
        lambda s: quick().fit(s.flat, s.y).predict(s.flat[:, 1:]),
        ValueError,
    ),
    "trace of many": (lambda s: s.clf.trace(s.X), ValueError),
    "trace of a path": (lambda s: s.clf.trace("7.png"), TypeError),
}

FILES = {
    "save before fit": (lambda s: quick().save(s.folder / "x.cnn"), NotFittedError),
    "save into no folder": (lambda s: s.clf.save(s.folder / "no" / "x.cnn"), FileNotFoundError),
    "load nothing": (lambda s: CNNClassifier.load(s.folder / "no.cnn"), FileNotFoundError),
    "load a folder": (lambda s: CNNClassifier.load(s.folder), FileNotFoundError),
    "load another kind": (lambda s: CNNClassifier.load(s.folder / "net.onnx"), ValueError),
    "load a text": (lambda s: CNNClassifier.load(write(s, "text.cnn", LONG)), ValueError),
    "load half": (
        lambda s: CNNClassifier.load(write(s, "half.cnn", (s.folder / "net.cnn").read_bytes()[:9000])),
        ValueError,
    ),
    "load changed": (
        lambda s: CNNClassifier.load(write(s, "changed.cnn", (s.folder / "net.cnn").read_bytes()[:-1] + b"?")),
        ValueError,
    ),
    "load with another architecture": (
        lambda s: CNNClassifier.load(s.folder / "net.cnn", architecture=print),
        ValueError,
    ),
    "to_onnx before fit": (lambda s: quick().to_onnx(s.folder / "x.onnx"), NotFittedError),
    "to_onnx into no folder": (lambda s: s.clf.to_onnx(s.folder / "no" / "x.onnx"), FileNotFoundError),
    "to_onnx quantize unknown": (lambda s: s.clf.to_onnx(s.folder / "x.onnx", quantize=LONG), ValueError),
    "to_onnx without calibration": (lambda s: s.clf.to_onnx(s.folder / "x.onnx", quantize="int8"), ValueError),
    "to_onnx calibration of another size": (
        lambda s: s.clf.to_onnx(s.folder / "x.onnx", quantize="int8", calibration=s.X[:, 1:]),
        ValueError,
    ),
    "to_onnx calibration of paths": (
        lambda s: s.clf.to_onnx(s.folder / "x.onnx", quantize="int8", calibration=MANY),
        TypeError,
    ),
    "onnx nothing": (lambda s: ONNXClassifier(s.folder / "no.onnx"), FileNotFoundError),
    "onnx another kind": (lambda s: ONNXClassifier(s.folder / "net.cnn"), ValueError),
    "onnx changed": (
        lambda s: ONNXClassifier(write(s, "changed.onnx", (s.folder / "net.onnx").read_bytes()[:-1] + b"?")),
        ValueError,
    ),
    "onnx n_threads": (lambda s: ONNXClassifier(s.folder / "net.onnx", n_threads=0), ValueError),
    "onnx batch_size": (lambda s: ONNXClassifier(s.folder / "net.onnx", batch_size=MANY), ValueError),
    "onnx unknown parameter": (lambda s: s.served.set_params(**dict.fromkeys(MANY, 1)), ValueError),
    "onnx fit": (lambda s: s.served.fit(s.X, s.y), NotImplementedError),
    "onnx another size": (lambda s: s.served.predict(s.X[:, 1:]), ValueError),
    "onnx fractions": (lambda s: s.served.predict(s.X * 0.7), ValueError),
    "onnx score of another kind": (lambda s: s.served.score(s.X, s.y.astype(str)), ValueError),
    "onnx score with NaN": (lambda s: s.served.score(s.X, replaced(s.y, np.nan)), ValueError),
    "onnx score of too few": (lambda s: s.served.score(s.X, s.y[:3]), ValueError),
    "idx nothing": (lambda s: load_idx(s.folder / "no"), ValueError),
    "idx another kind": (lambda s: load_idx(s.folder / "net.cnn"), ValueError),
    "idx short": (lambda s: load_idx(write(s, "short", b"\0\0\x08\x01\0\0\0\x09ab")), ValueError),
    "mnist split": (lambda s: load_mnist(LONG), ValueError),
    "folder nothing": (lambda s: load_image_folder(s.folder / "no"), ValueError),
    "folder a file": (lambda s: load_image_folder(s.folder / "net.cnn"), ValueError),
    "folder empty": (lambda s: load_image_folder(s.folder / "empty"), ValueError),
    "folder of sizes": (
        lambda s: load_image_folder(make(s, "sizes", picture)),
        ValueError,
    ),
    "folder of broken files": (
        lambda s: load_image_folder(make(s, "broken", lambda i: b"no picture")),
        ValueError,
    ),
    "folder of others": (lambda s: load_image_folder(write(s, "others/a/notes.doc", "x").parents[1]), ValueError),
    "predictions nothing": (lambda s: read_predictions(s.folder / "no.csv"), OSError),
    "predictions without columns": (lambda s: read_predictions(write(s, "a.csv", ",".join(MANY))), ValueError),
    "predictions of strangers": (lambda s: read_predictions(write(s, "b.csv", "true,a,b\nc,1,0\n")), ValueError),
    "predictions no archive": (lambda s: read_predictions(write(s, "c.npz", LONG)), ValueError),
}

EVALUATING = {
    "labels of strangers": (lambda s: Evaluation.from_estimator(s.clf, s.X, s.y + 100), ValueError),
    "labels of many strangers": (lambda s: Evaluation.from_estimator(s.clf, s.X, MANY[:60]), ValueError),
    "labels with NaN": (lambda s: Evaluation.from_estimator(s.clf, s.X, replaced(s.y, np.nan)), ValueError),
    "labels with None": (lambda s: Evaluation.from_predictions([0, None], np.eye(2), [0, 1]), ValueError),
    "predicted labels with None": (lambda s: Evaluation.from_labels([0, 1], [0, None]), ValueError),
    "labels short": (lambda s: Evaluation.from_estimator(s.clf, s.X, s.y[:9]), ValueError),
    "labels in two columns": (lambda s: Evaluation.from_estimator(s.clf, s.X, np.eye(10)[s.y]), ValueError),
    "images of a path": (lambda s: Evaluation.from_estimator(s.clf, LONG, s.y), TypeError),
    "logits": (lambda s: Evaluation.from_predictions([0, 1], [[5.0, -5.0]] * 2, [0, 1]), ValueError),
    "probabilities of words": (lambda s: Evaluation.from_predictions([0, 1], [["a", LONG]] * 2, [0, 1]), ValueError),
    "classes twice": (lambda s: Evaluation.from_predictions([0], np.eye(2000)[:1], [*range(1000)] * 2), ValueError),
    "one class": (lambda s: Evaluation.from_labels([1, 1], [1, 1]), ValueError),
    "kinds of labels": (lambda s: Evaluation.from_labels([1, 2], ["1", LONG]), ValueError),
    "other images": (lambda s: compare(s.evaluated, Evaluation.from_labels([0, 1], [0, 1])), ValueError),
    "no bins": (lambda s: s.evaluated.reliability(0), ValueError),
    "networks by one word": (lambda s: compare_architectures(s.X, s.y, "tiny"), TypeError),
    "networks unknown": (lambda s: compare_architectures(s.X, s.y, ["tiny", LONG]), ValueError),
    "networks twice": (lambda s: compare_architectures(s.X, s.y, ["tiny", "tiny"]), ValueError),
    "networks none": (lambda s: compare_architectures(s.X, s.y, []), ValueError),
    "networks of another estimator": (
        lambda s: compare_architectures(s.X, s.y, ["tiny"], estimator=LinearSVC()),
        TypeError,
    ),
    "networks in one fold": (lambda s: compare_architectures(s.X, s.y, ["tiny"], cv=1), ValueError),
    "networks without labels": (lambda s: compare_architectures(s.X, None, ["tiny"]), ValueError),
    "views of another classifier": (lambda s: TestTimeAugmentation(LinearSVC()).fit(s.flat, s.y), TypeError),
    "views of anything": (lambda s: TestTimeAugmentation(quick(), confidence=MANY).fit(s.X, s.y), ValueError),
    "views in many mirrors": (lambda s: TestTimeAugmentation(quick(), mirror=LONG).fit(s.X, s.y), ValueError),
    "views from afar": (lambda s: TestTimeAugmentation(quick(), reach=MANY).fit(s.X, s.y), ValueError),
    "a step by another name": (lambda s: s.trace[LONG], KeyError),
    "a cell outside": (lambda s: s.trace["conv1"].explain(*range(1000)), ValueError),
    "evidence of a stranger": (lambda s: s.trace.evidence(LONG), ValueError),
    "a workbook of other layers": (lambda s: s.trace.to_xlsx(s.folder / "x.xlsx", layers=MANY), ValueError),
    "a trace of other images": (lambda s: s.trace.follow(np.zeros((3, 9, 9))), ValueError),
    "a plot normalised otherwise": (
        lambda s: ConfusionMatrixDisplay.from_evaluation(s.evaluated, normalize=LONG),
        ValueError,
    ),
    "reliability of labels": (
        lambda s: ReliabilityDisplay.from_evaluation(Evaluation.from_labels([0, 1], [0, 1])),
        ValueError,
    ),
    "filters of another layer": (lambda s: KernelsDisplay.from_trace(s.trace, "relu1"), ValueError),
}

TABLE = {
    **{f"parameter {name}": row for name, row in PARAMETERS.items()},
    **{f"fit {name}": (lambda s, X=X: quick().fit(X(s), s.y), error) for name, (X, error) in IMAGES.items()},
    **{f"predict {name}": (lambda s, X=X: s.clf.predict(X(s)), error) for name, (X, error) in IMAGES.items()},
    **{
        f"onnx predict {name}": (lambda s, X=X: s.served.predict(X(s)), error)
        for name, (X, error) in IMAGES.items()
        if name != "no rows"  # which it takes
    },
    **DATA,
    **FILES,
    **EVALUATING,
}


def unquoted(sentence, folder):
    """Leave out what a sentence quotes: paths, and texts in quotation marks."""
    sentence = re.sub(rf"{re.escape(str(folder))}[^\s:;,]*", "", sentence)
    return re.sub(r"'[^']*'|\"[^\"]*\"", "", sentence)


def check(sentence, folder):
    """What holds of every error."""
    assert len(unquoted(sentence, folder)) <= MOST_LETTERS, sentence
    assert len(sentence) <= 2 * MOST_LETTERS + 2 * len(str(folder)), sentence  # what it quotes is shortened, too
    assert "\n" not in sentence
    assert not re.search(r"(?<!as)array\(|tensor\(|dtype=[a-z]|Traceback|object at 0x", sentence)


# What says what came, or what is wrong with it; scikit-learn's and Python's own sentences have other words for it.
CAME = (
    r"\b(?:got|gave|gives|is|are|was|contains|does not|cannot|must|needs|has|Found|"
    r"not fitted yet|Unknown|No such file|names)\b"
)


@pytest.mark.parametrize("name", TABLE)
def test_an_error_about_bad_input_is_short_and_says_what_came(shop, name):
    run, kind = TABLE[name]
    with pytest.raises(kind) as error:
        run(shop)
    sentence = str(error.value)
    check(sentence, shop.folder)
    assert re.search(CAME, sentence), sentence


def test_the_table_is_long():
    assert len(PARAMETERS | IMAGES | DATA | FILES | EVALUATING) >= 100


COMMANDS = {  # exit code and words
    "no such command": (2, ["teach"]),
    "no such option": (2, ["report", "--colour", "red"]),
    "no number": (2, ["report", "--epochs", "many"]),
    "a number out of range": (2, ["report", "--epochs", "0"]),
    "another profile": (2, ["report", "--profile", LONG]),
    "another dataset": (1, ["report", "--dataset", LONG]),
    "another network": (2, ["report", "--architecture", LONG]),
    "another recipe": (2, ["report", "--recipe", LONG]),
    "networks without a comparison": (2, ["report", "--architectures", "tiny,compact"]),
    "no jobs": (2, ["compare", "--jobs", "0"]),
    "one network": (2, ["compare", "--architectures", "tiny"]),
    "many networks": (2, ["compare", "--architectures", ",".join(MANY)]),
    "an output that is a file": (2, ["compare", "--dataset", "digits", "--out", "FOLDER/net.cnn"]),
    "predictions that are not there": (1, ["report", "--from-predictions", "FOLDER/no.csv", "--out", "FOLDER/r"]),
    "export of nothing": (1, ["export", "FOLDER/no.cnn", "--out", "FOLDER/x.onnx"]),
    "export without an output": (2, ["export", "FOLDER/net.cnn"]),
    "int8 without images": (2, ["export", "FOLDER/net.cnn", "--out", "FOLDER/x.onnx", "--int8"]),
    "export of an export": (1, ["export", "FOLDER/net.onnx", "--out", "FOLDER/x.onnx"]),
    "predict with nothing": (1, ["predict", "FOLDER/no.cnn", "FOLDER/pictures/a/1.png"]),
    "predict no pictures": (1, ["predict", "FOLDER/net.cnn", "FOLDER/empty"]),
    "predict a text": (1, ["predict", "FOLDER/net.cnn", "FOLDER/net.onnx"]),
    "predict what is not there": (1, ["predict", "FOLDER/net.cnn", *[f"FOLDER/no{i}.png" for i in range(9)]]),
    "evaluate nothing": (1, ["evaluate", "FOLDER/no.onnx", "--dataset", "digits"]),
    "evaluate on nothing": (2, ["evaluate", "FOLDER/net.cnn", "--dataset", "FOLDER/no"]),
    "evaluate on an empty folder": (1, ["evaluate", "FOLDER/net.cnn", "--dataset", "FOLDER/empty"]),
    "evaluate on other classes": (1, ["evaluate", "FOLDER/net.cnn", "--dataset", "FOLDER/pictures"]),
    "trace of nothing": (2, ["trace", "FOLDER/net.cnn"]),
    "trace of a stranger": (2, ["trace", "FOLDER/net.cnn", "--digit", "cat", "--dataset", "digits"]),
    "trace into another format": (2, ["trace", "FOLDER/net.cnn", "--digit", "3", "--out", "FOLDER/x.docx"]),
    "trace of another file": (1, ["trace", "FOLDER/net.cnn", "--image", "FOLDER/net.cnn"]),
    "a page of nothing": (1, ["app", "FOLDER/no.cnn", "--no-browser"]),
    "a page of another kind": (2, ["page", "FOLDER/net.cnn", "--out", "FOLDER/page.txt"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_that_cannot_be_done_says_so_in_a_line(shop, name):
    code, words = COMMANDS[name]
    run = CliRunner().invoke(app, [word.replace("FOLDER", str(shop.folder)) for word in words])
    assert run.exit_code == code, run.output
    assert run.exception is None or isinstance(run.exception, SystemExit)
    assert "Traceback" not in run.output
    sentences = re.findall(r"^error: (.*)$", run.stderr, re.MULTILINE)
    assert sentences or "Usage" in run.stderr
    for sentence in sentences:
        check(sentence, shop.folder)
