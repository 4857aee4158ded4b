"""What the command promises: results on stdout, all else on stderr, exit codes, and a report that can be made again."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cnnclf import CNNClassifier, __version__, cli, datasets, load_digits

DIGITS = ("report", "--dataset", "digits", "--epochs", "1")


def cnnclf(*arguments):
    """Run the command in this process, as a user would type it."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """One report on the digits: what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("digits") / "report"
    return cnnclf(*DIGITS, "--out", folder), folder


@pytest.fixture
def untrained(monkeypatch):
    """Fail the test if anything is trained."""
    monkeypatch.setattr(CNNClassifier, "fit", lambda *_, **__: pytest.fail("training began"))


@pytest.fixture
def no_mnist(monkeypatch):
    """A machine without MNIST and without a network."""

    def load_mnist(split):
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)


def test_writes_the_report_the_numbers_and_the_model(digits):
    result, folder = digits
    assert result.exit_code == 0
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "report.md",
        "metrics.json",
        "figures",
        "model.cnn",
    }


def test_stdout_says_where_the_report_is_and_the_test_accuracy(digits):
    result, folder = digits
    test = json.loads((folder / "metrics.json").read_text())["test"]
    low, high = test["accuracy_interval_95"]
    assert result.stdout == (
        f"{folder / 'index.html'}\n"
        f"test accuracy {100 * test['accuracy']:.2f} % (95 % interval {100 * low:.2f} % to {100 * high:.2f} %) "
        "on 360 images of scikit-learn’s bundled digits\n"
    )
    assert result.stderr == (
        "scikit-learn’s bundled digits: 1,293 training, 144 validation, 360 test images\ntraining compact, 1 epoch\n"
    )


def test_the_saved_model_scores_what_the_report_says(digits):
    _, folder = digits
    X, y = load_digits()
    _, _, test = cli.divide(X, y, seed=0)
    accuracy = json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
    assert CNNClassifier.load(folder / "model.cnn").score(test.X, test.y) == accuracy


def test_the_command_in_the_report_makes_the_same_report_but_for_the_run(digits, tmp_path):
    _, folder = digits
    numbers = json.loads((folder / "metrics.json").read_text())
    name, *arguments = shlex.split(numbers["reproduction"]["command"])
    assert name == "cnnclf"
    result = cnnclf(*arguments, "--out", tmp_path, "--json")
    again = json.loads(result.stdout)
    assert again.pop("run") != numbers.pop("run")
    assert again == numbers


def test_json_is_the_content_of_metrics_json(tmp_path):
    result = cnnclf(*DIGITS, "--out", tmp_path, "--json", "--seed", 3, "--architecture", "keras_mnist")
    assert json.loads(result.stdout) == json.loads((tmp_path / "metrics.json").read_text())
    assert json.loads(result.stdout)["model"]["architecture"] == "keras_mnist"
    assert json.loads(result.stdout)["reproduction"]["command"] == (
        "cnnclf report --dataset digits --architecture keras_mnist --epochs 1 --seed 3"
    )


def test_defaults_are_the_estimators_own():
    own, made = CNNClassifier().get_params(), cli.make_classifier(None, None, seed=5).get_params()
    assert {name for name in own if own[name] != made[name]} == {"random_state", "verbose"}


def test_auto_falls_back_to_the_digits_and_says_so_and_why(no_mnist, tmp_path):
    result = cnnclf("report", "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 0
    assert result.stderr.startswith(
        "MNIST: expected files, found none\nUsing scikit-learn's bundled digits instead of MNIST.\n"
    )
    assert "of scikit-learn’s bundled digits\n" in result.stdout
    note = (
        "These are scikit-learn’s bundled digits, 1,797 images of 8 × 8 pixels, and not MNIST, because MNIST was not "
        "found and could not be downloaded. Numbers from one say nothing about the other."
    )
    body = (tmp_path / "index.html").read_text().split("<body>")[1]
    assert body.index(note) < body.index("<h1>A convolutional network learns scikit-learn’s bundled digits</h1>")
    assert (tmp_path / "report.md").read_text().startswith(f"> {note}\n")


def test_mnist_that_was_asked_for_and_is_not_there_is_a_failure(no_mnist, untrained, tmp_path):
    result = cnnclf("report", "--dataset", "mnist", "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: MNIST: expected files, found none\n"


def test_damaged_mnist_is_a_failure_and_not_replaced_by_digits(monkeypatch, untrained, tmp_path):
    def load_mnist(split):
        raise ValueError("train-images: expected SHA-256 1, got 2")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)
    result = cnnclf("report", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "error: train-images: expected SHA-256 1, got 2\n")


def test_mnist_keeps_its_own_test_set_and_gives_up_a_tenth_of_its_training_set(monkeypatch):
    rng = np.random.default_rng(0)
    sets = {name: (rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10) for name, n in (("train", 200), ("test", 50))}
    monkeypatch.setattr(datasets, "load_mnist", lambda split: sets[split])
    data = cli.load("auto", seed=0)
    assert (data.name, data.note, data.argument) == ("MNIST", "", "mnist")
    assert data.test.X is sets["test"][0]
    assert data.test.y is sets["test"][1]
    assert [np.bincount(part.y).tolist() for part in (data.training, data.validation)] == [[18] * 10, [2] * 10]


def test_the_parts_hold_every_image_once_and_each_class_in_proportion():
    y = np.repeat(["ant", "bee"], [300, 100])
    parts = cli.divide(np.arange(400), y, seed=0)
    assert sorted(np.concatenate([part.X for part in parts]).tolist()) == list(range(400))
    counts = [[int((part.y == label).sum()) for label in ("ant", "bee")] for part in parts]
    assert counts == [[216, 72], [24, 8], [60, 20]]


def test_the_seed_decides_the_division():
    X, y = np.arange(400), np.repeat([0, 1], 200)
    tests = [cli.divide(X, y, seed=seed)[2].X.tolist() for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


@pytest.fixture
def pets(tmp_path):
    """Write two classes of thirty small colour images to a folder whose name needs quoting."""
    rng = np.random.default_rng(0)
    for label, brightness in (("cat", 60), ("dog", 180)):
        folder = tmp_path / "my pets" / label
        folder.mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 60, (9, 12, 3)) + brightness
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "my pets"


def test_a_folder_of_images(pets, tmp_path):
    result = cnnclf("report", "--dataset", pets, "--epochs", 1, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0
    numbers = json.loads(result.stdout)
    assert numbers["dataset"]["name"] == "“my pets”"
    assert numbers["dataset"]["image_shape"] == [3, 9, 12]
    assert numbers["dataset"]["classes"] == ["cat", "dog"]
    assert numbers["dataset"]["images"] == {"training": 43, "validation": 5, "test": 12}
    assert str(pets) in shlex.split(numbers["reproduction"]["command"])


def test_too_few_images_to_divide(pets, untrained, tmp_path):
    for file in list((pets / "cat").iterdir())[1:]:
        file.unlink()
    result = cnnclf("report", "--dataset", pets, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Expected enough images of each class to set 20% of them aside; ")
    assert result.stderr.endswith(" Add images.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--dataset", "nmist"),
            "or a folder with one sub-folder of images a class; 'nmist' is none of these\n",
        ),
        (("--architecture", "lenet"), "got 'lenet'. Did you mean 'lenet5'?"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--epochs", "many"), "Invalid value for '--epochs'"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
        (("--colour", "red"), "No such option: --colour"),
    ],
)
def test_bad_usage_is_found_before_training(arguments, sentence, untrained, tmp_path):
    result = cnnclf("report", *arguments, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_to_is_found_before_training(out, untrained, tmp_path):
    (tmp_path / "file").touch()
    result = cnnclf("report", "--dataset", "digits", "--out", tmp_path / out)
    assert (result.exit_code, result.stdout) == (2, "")
    reason = "File exists" if out == "file" else "Not a directory"
    assert (
        result.stderr == f"error: --out must be a folder that can be written to; {tmp_path / out} is not ({reason})\n"
    )


def test_a_folder_without_permission_is_bad_usage(untrained, tmp_path, monkeypatch):
    def refuse(dir):  # noqa: A002 - as tempfile calls it
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    result = cnnclf("report", "--dataset", "digits", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: --out must be a folder that can be written to; {tmp_path} is not (Permission denied)\n",
    )


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError("wrong")])
def test_a_failure_is_one_sentence(error, tmp_path, monkeypatch):
    def fit(*_, **__):
        raise error

    monkeypatch.setattr(CNNClassifier, "fit", fit)
    result = cnnclf(*DIGITS, "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("1 epoch\nerror: wrong\n")


def test_our_own_bugs_are_not_hidden(tmp_path, monkeypatch):
    def fit(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(CNNClassifier, "fit", fit)
    assert isinstance(cnnclf(*DIGITS, "--out", tmp_path).exception, ZeroDivisionError)


def test_control_c_while_training_ends_with_one_sentence_and_no_report(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    # Where a user's Ctrl-C lands: inside the training loop, which the estimator ends with a warning.
    monkeypatch.setattr("torch.optim.AdamW.step", interrupt)
    result = cnnclf(*DIGITS, "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.endswith("1 epoch\nerror: interrupted; nothing was judged\n")
    assert list(tmp_path.iterdir()) == []


def test_control_c_elsewhere(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load_digits", interrupt)
    result = cnnclf(*DIGITS, "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (130, "error: interrupted; nothing was judged\n")


def test_version():
    result = cnnclf("--version")
    assert (result.exit_code, result.stdout) == (0, f"cnnclf {__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("report", "--help")])
def test_help(arguments):
    result = cnnclf(*arguments)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_help_loads_nothing_heavy():
    code = "import sys, cnnclf.cli; print(*{'torch', 'sklearn', 'matplotlib', 'skorch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"


def test_the_installed_command(tmp_path):
    command = Path(sys.executable).with_name("cnnclf")
    result = subprocess.run(
        [command, *DIGITS, "--out", "out"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, accuracy = result.stdout.splitlines()
    assert where == "out/index.html"
    assert accuracy.startswith("test accuracy ")
    assert result.stderr.splitlines()[1:] == ["training compact, 1 epoch"]
    assert (tmp_path / where).exists()
