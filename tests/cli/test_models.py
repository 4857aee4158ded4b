"""The commands for a trained network: export, predict, evaluate and trace."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from typer.testing import CliRunner

from cnnclf import CNNClassifier, ONNXClassifier, load_digits
from cnnclf._utils.text import percent
from cnnclf.cli import _main as cli
from cnnclf.cli import _options, _predict
from cnnclf.datasets import _splits as splits
from cnnclf.images._decode import FORMATS
from helpers import cnnclf


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a network that was trained on all digits but the test images: model.cnn and model.onnx."""
    folder = tmp_path_factory.mktemp("trained")
    training = splits.load_part("digits", training=True)
    clf = CNNClassifier(max_epochs=5, preparation="handwriting", random_state=0).fit(training[1], training[2])
    clf.save(folder / "model.cnn")
    clf.to_onnx(folder / "model.onnx")
    return folder


@pytest.fixture
def set_by_hand(tmp_path):
    """The ONNX file of a network that takes ink in the middle for a 1, and none for a 0."""
    X, y = load_digits()
    clf = CNNClassifier(
        lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(64, n)), max_epochs=1, preparation="handwriting"
    ).fit(X, y)
    mean, std = float(clf.module_.standardise.mean), float(clf.module_.standardise.std)
    dense = clf.module_[-1]
    middle = torch.zeros(8, 8)
    middle[3:5, 3:5] = std  # times (pixel − mean) / std, and 4 × mean added: Σ of four pixels, of 0 to 16 each
    with torch.no_grad():
        dense.weight.zero_()
        dense.bias.zero_()
        dense.weight[1], dense.weight[0] = middle.flatten(), -middle.flatten()
        dense.bias[1], dense.bias[0] = 4 * mean - 1, 1 - 4 * mean  # logits of 1 and 0: Σ − 1 and 1 − Σ
    clf.to_onnx(tmp_path / "by_hand.onnx")
    return tmp_path / "by_hand.onnx"


@pytest.fixture
def drawings(tmp_path):
    """A folder with a drawing, another in a sub-folder, and a note that is no picture."""
    folder = tmp_path / "drawings"
    (folder / "sub").mkdir(parents=True)
    (folder / "note.txt").touch()
    for name, draw in (
        ("one.png", lambda pen: pen.line((150, 60, 150, 340), fill="black", width=24)),
        ("sub/zero.jpg", lambda pen: pen.ellipse((80, 80, 220, 320), outline="black", width=24)),
    ):
        image = Image.new("L", (300, 400), "white")
        draw(ImageDraw.Draw(image))
        image.save(folder / name)
    return folder


def test_export_writes_a_file_that_says_the_same(trained, tmp_path):
    result = cnnclf("export", trained / "model.cnn", "--out", tmp_path / "out.onnx")
    size = (tmp_path / "out.onnx").stat().st_size
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{tmp_path / 'out.onnx'}\n{size:,} bytes; X: uint8 (n, 8, 8) → label (n), probabilities (n, 10)\n"
    )
    X, _ = load_digits()
    clf = CNNClassifier.load(trained / "model.cnn")
    assert ONNXClassifier(tmp_path / "out.onnx").predict(X).tolist() == clf.predict(X).tolist()


def test_export_to_int8(trained, tmp_path):
    out = tmp_path / "out.onnx"
    result = cnnclf("export", trained / "model.cnn", "--out", out, "--int8", "--calibration", "digits")
    assert result.exit_code == 0, result.stderr
    assert out.stat().st_size < (trained / "model.onnx").stat().st_size
    assert ONNXClassifier(out).metadata_["quantize"] == "int8"


def test_calibration_images_are_spread_over_a_folder_that_is_sorted_by_class(trained, tmp_path, monkeypatch):
    for label in range(10):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        for i in range(60):
            grey = np.zeros((8, 8), dtype=np.uint8)
            grey[3, 4] = round(label / 16 * 255)  # white is 16 in the digits
            Image.fromarray(grey).save(tmp_path / "data" / str(label) / f"{i}.png")
    given = {}

    def to_onnx(self, path, quantize=None, calibration=None):
        given.update(quantize=quantize, calibration=calibration)
        Path(path).write_bytes((trained / "model.onnx").read_bytes())

    monkeypatch.setattr(CNNClassifier, "to_onnx", to_onnx)
    result = cnnclf(
        *("export", trained / "model.cnn", "--out", tmp_path / "out.onnx"),
        *("--int8", "--calibration", tmp_path / "data"),
    )
    assert result.exit_code == 0, result.stderr
    assert given["quantize"] == "int8"
    assert given["calibration"].shape == (500, 8, 8)
    assert np.bincount(given["calibration"][:, 3, 4]).tolist() == [50] * 10


def test_predict_takes_pictures_and_folders_and_says_what_they_are(set_by_hand, drawings):
    result = cnnclf("predict", set_by_hand, drawings)
    assert (result.exit_code, result.stderr) == (0, "")
    head, one, zero = (line.split("\t") for line in result.stdout.splitlines())
    assert head == ["picture", "label", "probability", "else"]
    assert one[:2] == [str(drawings / "one.png"), "1"]
    assert zero[:2] == [str(drawings / "sub" / "zero.jpg"), "0"]
    assert 10 < float(one[2].removesuffix(" %")) <= 100
    assert len(re.findall(r"\d %", one[3])) == 2  # two more labels with their probabilities


def test_predict_as_json_is_the_same_for_both_kinds_of_file_and_for_standard_input(trained, drawings):
    file = drawings / "one.png"
    (onnx,) = json.loads(cnnclf("predict", trained / "model.onnx", file, "--json").stdout)
    assert onnx["picture"] == str(file)
    assert onnx["top"][0] == {"label": onnx["label"], "probability": onnx["probability"]}
    assert len({guess["label"] for guess in onnx["top"]}) == 3
    (cnn,) = json.loads(cnnclf("predict", trained / "model.cnn", file, "--json").stdout)
    assert [guess["label"] for guess in cnn["top"]] == [guess["label"] for guess in onnx["top"]]
    assert cnn["probability"] == pytest.approx(onnx["probability"], abs=1e-5)
    piped = CliRunner().invoke(
        cli.app, ["predict", str(trained / "model.onnx"), "-", "--json"], input=file.read_bytes()
    )
    assert json.loads(piped.stdout) == [onnx | {"picture": "-"}]


def test_predict_goes_on_after_a_bad_picture_and_fails_at_the_end(trained, drawings):
    (drawings / "bad.png").write_text("no picture")
    result = cnnclf("predict", trained / "model.onnx", drawings / "bad.png", drawings / "one.png", drawings / "no.png")
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["picture", str(drawings / "one.png")]
    assert result.stderr == (
        f"error: {drawings / 'bad.png'}: expected a picture ({', '.join(FORMATS)}); got another or a "
        "damaged file. Save it as PNG.\n"
        f"error: {drawings / 'no.png'}: expected an image file; there is none. Check the path.\n"
    )


def test_predict_needs_neither_torch_nor_scikit_learn(trained, drawings):
    program = (
        "import sys; from typer.testing import CliRunner; from cnnclf import cli\n"
        f"result = CliRunner().invoke(cli.app, ['predict', {str(trained / 'model.onnx')!r}, {str(drawings)!r}])\n"
        "print(result.exit_code, *{'torch', 'sklearn', 'skorch', 'scipy', 'matplotlib', 'onnx'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "0\n"


def test_on_a_terminal_predictions_are_an_aligned_table(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    prediction = _predict.Prediction(1, 0.98, "one.png", (_predict.Guess(1, 0.98), _predict.Guess(7, 0.02)))
    _predict.show_predictions([prediction])
    _options.show_table(("class", "images"), [("[b]", "10"), ("b", "1,000")])
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)  # without bold type
    assert [line.rstrip() for line in shown.splitlines()] == [
        "",
        " picture   label   probability          else",
        " ───────────────────────────────────────────────",
        " one.png       1   98.00 % ██████████   7 2.00 %",
        "",
        "",
        " class   images",
        " ──────────────",
        " [b]         10",
        " b        1,000",
        "",
    ]


@pytest.mark.parametrize("model", ["model.onnx", "model.cnn"])
def test_evaluate_judges_on_the_images_that_the_report_holds_out(trained, model):
    _, X_test, y_test, _ = splits.load_part("digits", training=False)
    accuracy = CNNClassifier.load(trained / "model.cnn").score(X_test, y_test)
    result = cnnclf("evaluate", trained / model)  # digits, as the network takes 8×8 pixels
    assert result.exit_code == 0
    first, *table = result.stdout.splitlines()
    assert first.startswith(f"accuracy {100 * accuracy:.2f} % (95 % interval ")
    assert first.endswith(" on 360 images of scikit-learn’s bundled digits")
    rows = [line.split("\t") for line in table]
    assert rows[0] == ["class", "precision", "recall", "F1", "images"]
    assert [row[0] for row in rows[1:]] == [*map(str, range(10)), "mean"]
    assert [int(row[4]) for row in rows[1:-1]] == np.bincount(y_test).tolist()
    assert result.stderr == "The test images are the 20 % of each class that `cnnclf report` holds out.\n"


def test_images_that_the_network_learnt_from_are_said(trained, tmp_path):
    X, y = load_digits()
    _, learnt, *_ = splits.load_part("digits", training=True)
    seen = {image.tobytes() for image in learnt}
    n_seen = sum(image.tobytes() in seen for image in X[:50])
    assert 0 < n_seen < 50
    for i, (image, label) in enumerate(zip(X[:50], y[:50], strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        grey = np.rint(image / 16 * 255).astype(np.uint8)  # white is 16 in the digits
        Image.fromarray(grey).save(tmp_path / "data" / str(label) / f"{i}.png")
    for model in ("model.cnn", "model.onnx"):
        result = cnnclf("evaluate", trained / model, "--dataset", tmp_path / "data")
        assert result.exit_code == 0
        assert result.stderr == (
            f"{tmp_path / 'data'}: class folders, 50 images of 8×8 pixels, grey, 10 classes\n"
            f"warning: the network was trained on {n_seen} of these 50 images, which makes the accuracy too high. "
            "Evaluate it on images that it has not seen.\n"
        )


def test_a_report_and_then_evaluate_on_the_same_folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(100):
        (tmp_path / "small" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(
            tmp_path / "small" / "ab"[i % 2] / f"{i}.png"
        )
    options = ("--dataset", tmp_path / "small", "--architecture", "tiny", "--epochs", 1, "--out", tmp_path / "r")
    assert cnnclf("report", *options).exit_code == 0
    # A fifth of 100 is held out for the test, a tenth of the other 80 for validation: 72 are learnt from.
    result = cnnclf("evaluate", tmp_path / "r" / "model.cnn", "--dataset", tmp_path / "small")
    assert "the network was trained on 72 of these 100 images" in result.stderr


@pytest.mark.parametrize("command", [["evaluate"], ["trace", "--digit", "5"]], ids=" ".join)
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32, 3)])
def test_a_network_of_other_images_is_not_judged_on_digits_unless_asked(command, shape, tmp_path, monkeypatch):
    mnist = np.ones((20, 28, 28), dtype=np.uint8), np.arange(20) % 10
    monkeypatch.setattr(splits, "load_mnist", lambda split: mnist)
    X = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, np.arange(20) % 10).save(tmp_path / "other.cnn")
    first, *rest = command
    result = cnnclf(first, tmp_path / "other.cnn", *rest)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: Expected --dataset, as this network was trained neither on MNIST nor on scikit-learn's digits; got "
        "none. Pass a folder of images.\n"
    )


@pytest.mark.parametrize("white", [255, 1])
def test_a_network_that_learnt_from_mnist_is_judged_on_its_test_set_without_being_asked(white, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    parts = {
        part: (rng.integers(0, 256, (40, 28, 28), dtype=np.uint8), np.arange(40) % 10) for part in ("train", "test")
    }
    monkeypatch.setattr(splits, "load_mnist", lambda split: parts[split])
    X, y = parts["train"]
    X = X[:20] if white == 255 else X[:20] / 255
    CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y[:20]).save(tmp_path / "mnist.cnn")
    result = cnnclf("evaluate", tmp_path / "mnist.cnn", "--json")
    assert json.loads(result.stdout)["dataset"] == "MNIST"
    assert result.stderr == ""


def test_evaluate_as_json(trained):
    result = cnnclf("evaluate", trained / "model.onnx", "--dataset", "digits", "--json")
    numbers = json.loads(result.stdout)
    assert numbers["n_samples"] == 360
    assert np.trace(numbers["confusion_matrix"]) == numbers["accuracy"] * 360
    assert [row["class"] for row in numbers["per_class"]] == list(range(10))


def test_evaluate_on_a_folder_whose_names_are_the_labels(trained, tmp_path):
    X, y = load_digits()
    for i, (image, label) in enumerate(zip(X[:50], y[:50], strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        grey = np.rint(image / 16 * 255).astype(np.uint8)  # white is 16 in the digits
        Image.fromarray(grey).save(tmp_path / "data" / str(label) / f"{i}.png")
    result = cnnclf("evaluate", trained / "model.onnx", "--dataset", tmp_path / "data", "--json")
    numbers = json.loads(result.stdout)
    assert (numbers["dataset"], numbers["n_samples"]) == ("“data”", 50)
    assert numbers["accuracy"] == ONNXClassifier(trained / "model.onnx").score(X[:50], y[:50])


def test_a_network_whose_labels_are_text_is_judged_on_numbers(tmp_path):
    _, X, y, _ = splits.load_part("digits", training=True)
    CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y.astype(str)).save(tmp_path / "text.cnn")
    _, X_test, y_test, _ = splits.load_part("digits", training=False)
    result = cnnclf("evaluate", tmp_path / "text.cnn", "--dataset", "digits", "--json")
    numbers = json.loads(result.stdout)
    assert numbers["accuracy"] == CNNClassifier.load(tmp_path / "text.cnn").score(X_test, y_test.astype(str))
    assert [row["class"] for row in numbers["per_class"]] == [*"0123456789"]


def test_networks_of_flat_rows_of_floats_are_judged_on_images_all_the_same(tmp_path):
    _, X, y, _ = splits.load_part("digits", training=True)
    flat = (X / 16).reshape(-1, 64)
    CNNClassifier(max_epochs=5, random_state=0).fit(flat, y).save(tmp_path / "flat.cnn")
    _, X_test, y_test, _ = splits.load_part("digits", training=False)
    accuracy = CNNClassifier.load(tmp_path / "flat.cnn").score((X_test / 16).reshape(-1, 64), y_test)
    assert accuracy > 0.9
    result = cnnclf("evaluate", tmp_path / "flat.cnn", "--dataset", "digits", "--json")
    assert json.loads(result.stdout)["accuracy"] == accuracy


def test_mnist_is_judged_on_its_own_test_set(trained, monkeypatch):
    X = np.zeros((20, 8, 8), dtype=np.uint8)
    monkeypatch.setattr(splits, "load_mnist", lambda split: {"test": (X, np.arange(20) % 10)}[split])
    result = cnnclf("evaluate", trained / "model.onnx", "--dataset", "mnist", "--json")
    assert json.loads(result.stdout)["dataset"] == "MNIST"
    assert result.stderr == ""


def start(words, **streams):
    """Start the command as the shell does."""
    command = [sys.executable, "-c", "from cnnclf.cli._main import main; main()", *map(str, words)]
    return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams)


def closed_pipe():
    """The end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is of POSIX")
@pytest.mark.parametrize(
    "words",
    [
        ["trace", "--help"],
        ["doctor"],
        ["evaluate", "model.onnx", "--json"],
        ["trace", "model.cnn", "--digit", "5"],
    ],
    ids=" ".join,
)
def test_a_command_whose_output_nobody_reads_ends_without_a_word(trained, words):
    run = start([trained / word if "model." in word else word for word in words], stdout=closed_pipe())
    _, said = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGPIPE
    assert b"Broken pipe" not in said
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is of POSIX")
def test_an_error_that_nobody_reads_ends_without_a_word():
    run = start(["teach"], stderr=closed_pipe())
    assert run.communicate(timeout=120)[0] == b""
    assert run.returncode == 128 + signal.SIGPIPE


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is of POSIX")
def test_the_first_line_alone_is_read(trained, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / f"{'picture' * 20}.png")
    pictures = [*tmp_path.iterdir()] * 1000  # their table is larger than a pipe, which holds 64 kB
    run = start(["predict", trained / "model.onnx", *pictures])
    assert run.stdout.readline() == b"picture\tlabel\tprobability\telse\n"
    run.stdout.close()
    said = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=120) == 128 + signal.SIGPIPE
    assert b"Broken pipe" not in said


@pytest.mark.parametrize(
    ("suffix", "start"), [(".html", b"<!doctype html"), (".md", b"# "), (".tex", b"\\documentclass"), (".txt", b"From")]
)
def test_trace_writes_what_the_name_asks_for(trained, tmp_path, suffix, start):
    out = tmp_path / f"five{suffix}"
    result = cnnclf("trace", trained / "model.cnn", "--digit", 5, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert out.read_bytes().lower().startswith(start.lower())
    _, X_test, y_test, _ = splits.load_part("digits", training=False)
    first = int(np.flatnonzero(y_test == 5)[0])
    trace = CNNClassifier.load(trained / "model.cnn").trace(X_test[first])
    assert result.stdout == (
        f"{out}\ntest image {first} of scikit-learn’s bundled digits, a 5: "
        f"predicted {trace.label} with probability {percent(float(trace.probabilities.max()))}\n"
    )


def test_trace_without_a_file_prints_the_text(trained):
    result = cnnclf("trace", trained / "model.cnn", "--digit", 3, "--index", 2)
    _, X_test, y_test, _ = splits.load_part("digits", training=False)
    image = X_test[np.flatnonzero(y_test == 3)[2]]
    assert result.stdout == CNNClassifier.load(trained / "model.cnn").trace(image).to_text().rstrip("\n") + "\n"


def test_trace_of_a_picture(trained, drawings, tmp_path):
    picture = drawings / "one.png"
    (said,) = json.loads(cnnclf("predict", trained / "model.cnn", picture, "--json").stdout)
    result = cnnclf("trace", trained / "model.cnn", "--image", picture, "--out", tmp_path / "one.txt")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1].startswith(f"{picture}: predicted {said['label']} with probability ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("export", "CNN", "--out", "x.onnx", "--int8"),
            "Expected --int8 and --calibration together; got one of them. Pass both or neither.",
        ),
        (
            ("export", "CNN", "--out", "x.onnx", "--calibration", "digits"),
            "Expected --int8 and --calibration together; got one of them. Pass both or neither.",
        ),
        (
            ("export", "CNN", "--out", "x.onnx", "--int8", "--calibration", "nmist"),
            ("Expected --calibration to be mnist, digits or the path of a folder or a file of images; got 'nmist'."),
        ),
        (
            ("evaluate", "CNN", "--dataset", "auto"),
            ("Expected --dataset to be mnist, digits or the path of a folder or a file of images; got 'auto'."),
        ),
        (("trace", "CNN"), "Expected either --digit or --image; got neither."),
        (
            ("trace", "CNN", "--digit", "5", "--image", "x.png"),
            "Expected either --digit or --image; got both.",
        ),
        (
            ("trace", "CNN", "--digit", "5", "--out", "x.pdf"),
            "Expected --out to end in .html, .md, .tex, .txt, .xlsx; got 'x.pdf'.",
        ),
        (
            ("trace", "CNN", "--digit", "5", "--index", "99"),
            "Expected --index below 37, the test images of class 5 in scikit-learn’s bundled digits; got 99.",
        ),
        (
            ("trace", "CNN", "--digit", "ten"),
            "Expected --digit to be one of 0, 1, 2, 3, 4 and 5 more; got ten.",
        ),
        (
            ("trace", "CNN", "--image", "7.png", "--dataset", "digits"),
            "Expected --image without --dataset and --label; got both. Leave them out.",
        ),
        (
            ("evaluate", "CNN", "--dataset", "mnist", "--label", "kind"),
            "Expected a path for --dataset with --size, --label or --cache; got none. Leave them out.",
        ),
        (
            ("evaluate", "CNN", "--dataset", ""),
            "Expected --dataset to be mnist, digits or the path of a folder or a file of images; got ''.",
        ),
    ],
)
def test_bad_usage_of_a_trained_network(trained, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cnnclf(*(trained / "model.cnn" if argument == "CNN" else argument for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"error: {sentence}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("predict", "no.onnx", "1.png"),
            "no.onnx: expected an ONNX file written by CNNClassifier.to_onnx; there is none. Check the path.",
        ),
        (
            ("evaluate", "no.cnn"),
            "no.cnn: expected a model file written by CNNClassifier.save; there is none. Check the path.",
        ),
        (
            ("predict", "MODEL", "empty"),
            ("empty: expected pictures in this folder; there are none."),
        ),
        (("predict", "MODEL", "no.png"), "no.png: expected an image file; there is none. Check the path."),
        (
            ("export", "CNN", "--out", "no/x.onnx"),
            "no: expected a folder to write x.onnx into; there is none. Make it first.",
        ),
    ],
)
def test_files_that_are_not_there(trained, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    files = {"MODEL": trained / "model.onnx", "CNN": trained / "model.cnn"}
    result = cnnclf(*(files.get(argument, argument) for argument in arguments))
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {sentence}\n")


def test_export_over_a_folder_or_below_a_file_writes_nothing_and_names_what_was_given(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img").mkdir()
    (tmp_path / "h.py").touch()
    result = cnnclf("export", trained / "model.cnn", "--out", "img")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: img: expected the name of a file to write; this is a folder. Add a file name to it.\n",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.py", "img"]


@pytest.mark.parametrize("command", [("trace", "--digit", "5"), ("export", "--out", "x.onnx")])
def test_an_onnx_file_where_a_saved_network_is_needed_is_called_one(trained, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cnnclf(command[0], trained / "model.onnx", *command[1:])
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {trained / 'model.onnx'}: expected a model file written by CNNClassifier.save (.cnn); it is an ONNX "
        "file, which holds too little to be traced, exported or trained on. Give the .cnn file; ONNXClassifier, "
        "predict and evaluate take this one.\n"
    )


@pytest.mark.filterwarnings("always:Expected pictures")
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_that_pictures_are_of_another_size_is_said_once_with_how_many(command, tmp_path):
    X, y = load_digits()
    CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:100], y[:100]).save(tmp_path / "any.cnn")
    (tmp_path / "data" / "0").mkdir(parents=True)
    for i, side in enumerate((8, 9, 10, 11)):  # the network's are 8×8
        Image.new("L", (side, side)).save(tmp_path / "data" / "0" / f"{i}.png")
    words = [tmp_path / "data"] if command == "predict" else ["--dataset", tmp_path / "data"]
    result = cnnclf(command, tmp_path / "any.cnn", *words)
    assert result.exit_code == 0
    read = f"{tmp_path / 'data'}: class folders, 4 images of 8×8 to 11×11 pixels, grey, 1 class\n"
    assert result.stderr == (
        ("" if command == "predict" else read)
        + "warning: Expected pictures of 8×8 pixels, as this network was fitted without preparation; 3 of 4 are of "
        "another size, resized in proportion and padded. Choose at fit how to prepare them: preparation='resize', "
        "'pad' or 'handwriting'.\n"
    )


def test_classes_that_a_network_does_not_know_are_refused_before_pictures_are_read(trained, tmp_path):
    (tmp_path / "ten").mkdir()
    (tmp_path / "ten" / "1.png").write_text("no picture")
    result = cnnclf("evaluate", trained / "model.cnn", "--dataset", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: Expected every label of {tmp_path} to be one of the classes 0, 1, 2, 3, 4 and 5 more; got 'ten'. "
        "Move their images away, or fit with them.\n"
    )


def test_a_network_too_large_for_a_workbook_is_told_what_the_command_can_write(drawings, tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    CNNClassifier(max_epochs=1, preparation="handwriting", random_state=0).fit(X, np.arange(20) % 2).save(
        tmp_path / "default.cnn"
    )
    words = ("trace", tmp_path / "default.cnn", "--image", drawings / "one.png", "--out")
    result = cnnclf(*words, tmp_path / "t.xlsx")
    assert result.exit_code == 1
    assert "Write .html instead, or in Python to_xlsx(path, layers=(" in result.stderr
    assert cnnclf(*words, tmp_path / "t.html").exit_code == 0
    assert [path.name for path in tmp_path.glob("t.*")] == ["t.html"]


@pytest.mark.parametrize("command", ["report", "compare", "export", "predict", "evaluate", "trace"])
def test_help_of_every_command(command):
    result = cnnclf(command, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


@pytest.mark.parametrize("change", ["dark on white", "RGB", "56 × 56"])
def test_evaluate_prepares_pictures_as_predict_does(trained, tmp_path, change):
    X, y = load_digits()
    for i, (image, label) in enumerate(zip(X[:30], y[:30], strict=True)):
        picture = Image.fromarray(255 - np.rint(image / 16 * 255).astype(np.uint8))
        if change == "RGB":
            picture = picture.convert("RGB")
        elif change == "56 × 56":
            picture = picture.resize((56, 56))
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "data" / str(label) / f"{i}.png")
    evaluated = json.loads(cnnclf("evaluate", trained / "model.onnx", "--dataset", tmp_path / "data", "--json").stdout)
    said = json.loads(cnnclf("predict", trained / "model.onnx", tmp_path / "data", "--json").stdout)
    right = [str(prediction["label"]) == Path(prediction["picture"]).parent.name for prediction in said]
    assert len(right) == 30
    assert evaluated["accuracy"] == np.mean(right)
    if change != "56 × 56":  # which are made anew from 8×8
        assert evaluated["accuracy"] > 0.9
