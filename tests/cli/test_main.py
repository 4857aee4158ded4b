"""What the command promises: results on stdout, all else on stderr, exit codes, and a report that can be made again."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnclf import RECIPES, CNNClassifier, Evaluation, __version__, load_digits
from cnnclf.classifier._settings import readable
from cnnclf.cli import _train
from cnnclf.datasets import _splits as splits
from helpers import cnnclf

DIGITS = ("report", "--dataset", "digits", "--epochs", "1")
FOLDS = ("--dataset", "digits", "--architectures", "tiny,lenet5", "--folds", "2", "--epochs", "2")
FULL = ("report", "--profile", "full", *FOLDS)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """One report on the digits: what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("digits") / "report"
    return cnnclf(*DIGITS, "--out", folder), folder


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """One report with a comparison: what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("full") / "report"
    return cnnclf(*FULL, "--jobs", 1, "--out", folder), folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One comparison: what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("compared") / "comparison"
    return cnnclf("compare", *FOLDS, "--jobs", 1, "--out", folder), folder


def without_run(folder):
    """Give the content of every file of a report without what differs from run to run, which is in one place."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    # The network holds the seconds of its epochs, and each finished fit its own.
    content = {name: path.read_bytes() for name, path in files.items() if not name.startswith(("folds/", "model.cnn"))}
    numbers = json.loads(content["metrics.json"])
    assert numbers.pop("run")
    for name, pattern in (
        ("index.html", rb'<div id="run">.*?</section>'),
        ("report.md", rb"### What it took\n.*"),
        ("model_card.md", rb"Trained in [^\n]*\n"),
    ):
        content[name], n = re.subn(pattern, b"", content[name], flags=re.DOTALL)
        assert n == 1
    return content | {"metrics.json": numbers}


@pytest.fixture
def untrained(monkeypatch):
    """Fail the test if anything is trained."""
    monkeypatch.setattr(CNNClassifier, "fit", lambda *_, **__: pytest.fail("training began"))


@pytest.fixture
def no_mnist(monkeypatch):
    """A machine without MNIST and without a network."""

    def load_mnist(split):
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(splits, "load_mnist", load_mnist)


def test_writes_the_report_the_numbers_and_the_model(digits):
    result, folder = digits
    assert result.exit_code == 0
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "report.md",
        "model_card.md",
        "walkthrough.html",
        "walkthrough.md",
        "metrics.json",
        "figures",
        "model.cnn",
    }


def test_stdout_says_where_the_report_is_and_the_test_accuracy(digits):
    result, folder = digits
    test = json.loads((folder / "metrics.json").read_text())["test"]
    low, high = test["accuracy_interval"]
    assert result.stdout == (
        f"{folder / 'index.html'}\n"
        f"test accuracy {100 * test['accuracy']:.2f} % (95 % interval {100 * low:.2f} % to {100 * high:.2f} %) "
        "on 360 images of scikit-learn’s bundled digits\n"
    )
    assert result.stderr == (
        "scikit-learn’s bundled digits: 1,293 training, 144 validation, 360 test images\n"
        "training the network that the images suggest, 1 epoch\n"
    )


@pytest.mark.parametrize(("options", "chosen"), [((), ["max_epochs"]), (("--seed", 3), ["max_epochs", "random_state"])])
def test_only_what_the_command_line_says_is_told_as_set_for_this_run(digits, tmp_path, options, chosen):
    _, folder = digits
    if options:
        folder = tmp_path
        assert cnnclf(*DIGITS, *options, "--out", folder).exit_code == 0
    page = (folder / "index.html").read_text()
    assert re.findall(r'<div class="set"><dt><code>(\w+)</code>', page) == chosen  # DIGITS ask for one epoch


def test_the_saved_model_scores_what_the_report_says(digits):
    _, folder = digits
    X, y = load_digits()
    _, _, test = splits.divide(X, y, seed=0)
    accuracy = json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
    assert CNNClassifier.load(folder / "model.cnn").score(test.X, test.y) == accuracy


def test_the_report_follows_the_first_5_that_the_model_gets_right(digits):
    _, folder = digits
    _, _, test = splits.divide(*load_digits(), seed=0)
    clf = CNNClassifier.load(folder / "model.cnn")
    index = np.flatnonzero((test.y == 5) & (clf.predict(test.X) == 5))[0]
    trace = clf.trace(test.X[index])
    assert json.loads((folder / "metrics.json").read_text())["walkthrough"] == {
        "test_image": index,
        "class": 5,
        "predicted": 5,
        "probabilities": trace.probabilities.tolist(),
    }
    assert (folder / "walkthrough.md").read_text() == trace.to_markdown()
    page = (folder / "index.html").read_text()
    assert "</span>How the network reads a 5</h2>" in page
    assert f"Test image {index} is the first 5 that the network classifies correctly." in page


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


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_is_made_and_epochs_override_its_own(name):
    def made(epochs):
        clf = _train.make_classifier(None, epochs, seed=5, recipe=name)
        return {parameter: getattr(clf, parameter) for parameter in RECIPES[name]}, clf.random_state

    assert made(None) == (RECIPES[name], 5)
    assert made(99) == (RECIPES[name] | {"max_epochs": 99}, 5)


def test_a_report_on_a_recipe_names_its_settings_and_its_command_makes_it_again(tmp_path):
    result = cnnclf(
        "report", "--dataset", "digits", "--recipe", "handwriting_small", "--epochs", 1, "--out", tmp_path, "--json"
    )
    assert result.exit_code == 0
    assert result.stderr.endswith("training tiny, 1 epoch\n")
    numbers = json.loads(result.stdout)
    told = numbers["model"]["hyperparameters"]
    assert {name: told[name] for name in RECIPES["handwriting_small"]} == {
        name: readable(value) for name, value in (RECIPES["handwriting_small"] | {"max_epochs": 1}).items()
    }
    page = (tmp_path / "report.md").read_text().replace("\\_", "_")
    for name in RECIPES["handwriting_small"]:
        assert f"\n| {name} | {told[name]} (usual: {readable(getattr(CNNClassifier(), name))}) |" in page

    command = numbers["reproduction"]["command"]
    assert command == "cnnclf report --dataset digits --recipe handwriting_small --epochs 1 --seed 0"
    again = json.loads(cnnclf(*shlex.split(command)[1:], "--out", tmp_path, "--json").stdout)
    assert again.pop("run") != numbers.pop("run")
    assert again == numbers


def test_defaults_are_the_estimators_own():
    own, made = CNNClassifier().get_params(), _train.make_classifier(None, None, seed=5).get_params()
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
        "found and could not be downloaded. Results on one do not carry over to the other."
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

    monkeypatch.setattr(splits, "load_mnist", load_mnist)
    result = cnnclf("report", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "error: train-images: expected SHA-256 1, got 2\n")


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
    assert "</span>How the network reads one image</h2>" in (tmp_path / "out" / "index.html").read_text()


def test_too_few_images_to_divide(pets, untrained, tmp_path):
    for file in list((pets / "cat").iterdir())[1:]:
        file.unlink()
    result = cnnclf("report", "--dataset", pets, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Expected enough images of each class to set 20% of them aside; ")
    assert result.stderr.endswith(" Add images: 13 per class always suffice.\n")


def test_more_folds_than_images_of_a_class(pets, untrained, tmp_path):
    result = cnnclf("compare", "--dataset", pets, "--folds", 40, "--out", tmp_path / "out")
    assert result.exit_code == 1
    # 30 of each class, of which 6 are held out for the test
    assert result.stderr.splitlines()[-1] == (
        "error: Expected 40 images per class for 40 folds; got at most 24. Use fewer folds."
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--dataset", "nmist"),
            "or the path of a folder or a file of images; got 'nmist'.\n",
        ),
        (("--architecture", "lenet"), "got 'lenet'. Did you mean 'lenet5'?"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--epochs", "many"), "Invalid value for '--epochs'"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
        (("--colour", "red"), "No such option: --colour"),
        (("--profile", "slow"), "Invalid value for '--profile'"),
        (
            ("--architectures", "tiny,lenet5"),
            "error: Expected --profile full with --architectures and --folds; got quick. Add it.\n",
        ),
        (("--folds", "2"), "error: Expected --profile full with --architectures and --folds; got quick. Add it.\n"),
        (
            ("--recipe", "first_lok"),
            f"error: Expected recipe to be one of {', '.join(RECIPES)}; got 'first_lok'. Did you mean 'first_look'?\n",
        ),
        (
            ("--recipe", "compact"),
            (
                f"error: Expected recipe to be one of {', '.join(RECIPES)}; got 'compact'. "
                "It is called 'handwriting' now.\n"
            ),
        ),
        *(
            (
                ("--recipe", "handwriting_small", *beside),
                (
                    "error: Expected --recipe without --architecture, --architectures and --profile full, as it sets "
                    "the network; got both. Leave out one.\n"
                ),
            )
            for beside in (("--architecture", "tiny"), ("--architectures", "tiny,lenet5"), ("--profile", "full"))
        ),
        (("--profile", "full", "--folds", "1"), "Invalid value for '--folds'"),
        (("--profile", "full", "--architectures", "tiny,lenet"), "got 'lenet'. Did you mean 'lenet5'?"),
        (("--profile", "full", "--architecture", "lenet"), "got 'lenet'. Did you mean 'lenet5'?"),
        *(
            (
                ("--profile", "full", "--architectures", names),
                (
                    "error: Expected --architectures to be two or more different names, such as "
                    f"compact,lenet5,keras_mnist; got {names!r}.\n"
                ),
            )
            for names in ("tiny", "tiny, tiny", ",")
        ),
        (("--jobs", "many"), "Invalid value for '--jobs'"),
        (("--jobs", "0"), "error: Expected --jobs to be 1 or more, or -1 for one per core; got 0.\n"),
        *(
            (
                ("--from-predictions", "said.csv", *how),
                (
                    "error: Expected --from-predictions without options of training; got both. Leave out --profile "
                    "full, --architecture, --recipe, --epochs and --cache.\n"
                ),
            )
            for how in (
                ("--profile", "full"),
                ("--architecture", "tiny"),
                ("--recipe", "handwriting_small"),
                ("--epochs", "2"),
            )
        ),
        (
            ("--from-predictions", "said.csv", "--dataset", "nmist"),
            "or the path of a folder or a file of images; got 'nmist'.\n",
        ),
    ],
)
def test_bad_usage_is_found_before_training(arguments, sentence, untrained, tmp_path):
    result = cnnclf("report", *arguments, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--dataset", "nmist"), "or the path of a folder or a file of images; got 'nmist'.\n"),
        (("--architectures", "tiny"), "error: Expected --architectures to be two or more different names, such as"),
        (("--architectures", "tiny,lenet"), "got 'lenet'. Did you mean 'lenet5'?"),
        (("--folds", "1"), "Invalid value for '--folds'"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
        (("--jobs", "0"), "error: Expected --jobs to be 1 or more, or -1 for one per core; got 0.\n"),
        (("--profile", "full"), "No such option: --profile"),
    ],
)
def test_bad_usage_is_found_before_comparing(arguments, sentence, untrained, tmp_path):
    result = cnnclf("compare", *arguments, "--out", tmp_path / "out")
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
        result.stderr
        == f"error: Expected --out to be a folder that can be written to; got {tmp_path / out} ({reason}). "
        "Pass another one.\n"
    )


def test_a_folder_without_permission_is_bad_usage(untrained, tmp_path, monkeypatch):
    def refuse(dir):  # noqa: A002 - as tempfile calls it
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    result = cnnclf("report", "--dataset", "digits", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (
        2,
        (
            f"error: Expected --out to be a folder that can be written to; got {tmp_path} (Permission denied). "
            "Pass another one.\n"
        ),
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
    assert result.stderr.endswith("1 epoch\nerror: interrupted; nothing was evaluated\n")
    assert list(tmp_path.iterdir()) == []


def test_control_c_elsewhere(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(splits, "load_digits", interrupt)
    result = cnnclf(*DIGITS, "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (130, "error: interrupted; nothing was evaluated\n")


@pytest.mark.slow
def test_control_c_in_a_comparison_keeps_what_is_finished_and_the_same_command_goes_on(full, tmp_path):
    command = [*FULL, "--out", str(tmp_path)]
    run = subprocess.Popen(
        [Path(sys.executable).with_name("cnnclf"), *command, "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # which a terminal interrupts as a whole
    )
    with run:
        next(line for line in run.stderr if "fold" in line and "CPU s" in line)
        os.killpg(run.pid, signal.SIGINT)
        stdout, stderr = run.communicate()
    assert (run.returncode, stdout) == (130, "")
    *fits, last = stderr.splitlines()
    assert last == (
        f"error: interrupted; nothing was evaluated; finished fits are saved in {tmp_path / 'folds'}, "
        "and the same command continues from there"
    )
    assert [fit for fit in fits if not re.fullmatch(r"\w+, fold \d of 2: .* CPU s", fit)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["folds"]

    kept = {path: path.read_bytes() for path in (tmp_path / "folds").iterdir()}
    assert kept
    assert cnnclf(*command, "--jobs", "1").exit_code == 0
    assert len(list((tmp_path / "folds").iterdir())) == 4
    assert {path: path.read_bytes() for path in kept} == kept  # with its time, so none of them was made anew
    _, uninterrupted = full
    assert without_run(tmp_path) == without_run(uninterrupted)


def test_version():
    result = cnnclf("--version")
    assert (result.exit_code, result.stdout) == (0, f"cnnclf {__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("report", "--help")])
def test_help(arguments):
    result = cnnclf(*arguments)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_the_help_of_a_report_names_all_recipes():
    text = " ".join(re.sub(r"[│\n]", " ", cnnclf("report", "--help").stdout).split())
    assert f"in place of --architecture: {', '.join(RECIPES)}." in text


def test_help_loads_nothing_heavy():
    code = "import sys, cnnclf.cli._main; print(*{'torch', 'sklearn', 'matplotlib', 'skorch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"


@pytest.mark.slow
def test_the_installed_command(tmp_path):
    command = Path(sys.executable).with_name("cnnclf")
    result = subprocess.run(
        [command, *DIGITS, "--out", "out"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, accuracy = result.stdout.splitlines()
    assert where == "out/index.html"
    assert accuracy.startswith("test accuracy ")
    assert result.stderr.splitlines()[1:] == ["training the network that the images suggest, 1 epoch"]
    assert (tmp_path / where).exists()


# The report with a comparison


def test_the_full_report_has_all_files(full):
    result, folder = full
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "report.md",
        "model_card.md",
        "walkthrough.html",
        "walkthrough.md",
        "metrics.json",
        "figures",
        "folds",
        "model.cnn",
    }
    assert len(list((folder / "folds").iterdir())) == 4


def test_stdout_of_the_full_report_is_the_comparison_and_the_test(full):
    result, folder = full
    numbers = json.loads((folder / "metrics.json").read_text())
    head, *table, empty, trained, page, accuracy = result.stdout.splitlines()
    assert head.split("  ")[0] == "architecture"
    for line, told in zip(table, numbers["comparison"]["architectures"], strict=True):
        mean, sd = (100 * told[name] for name in ("accuracy_mean", "accuracy_sd"))
        assert line.split()[:6] == [
            *(told["architecture"], f"{mean:.2f}", "±", f"{sd:.2f}", "%"),
            f"{told['n_parameters']:,}",
        ]
    best = max(numbers["comparison"]["architectures"], key=lambda told: told["accuracy_mean"])["architecture"]
    assert (empty, trained, page) == ("", f"trained: {best}", str(folder / "index.html"))
    assert accuracy.startswith(f"test accuracy {100 * numbers['test']['accuracy']:.2f} % (95 % interval ")
    assert result.stderr.splitlines()[:2] == [
        "scikit-learn’s bundled digits: 1,293 training, 144 validation, 360 test images",
        "comparing tiny, lenet5 in 2 folds",
    ]
    assert len(result.stderr.splitlines()) == 2 + 4 + 1


def test_the_full_report_tells_what_the_fits_on_disk_say(full):
    _, folder = full
    kept = [json.loads(path.read_text())["result"] for path in (folder / "folds").iterdir()]
    accuracy_of = {(fit["name"], fit["folds"][0]["number"]): fit["folds"][0]["accuracy"] for fit in kept}
    told = json.loads((folder / "metrics.json").read_text())["comparison"]["architectures"]
    page = (folder / "index.html").read_text()
    for result in told:
        accuracies = [accuracy_of[result["architecture"], number] for number in (1, 2)]
        assert [fold["accuracy"] for fold in result["folds"]] == accuracies
        assert f"{100 * np.mean(accuracies):.2f} ± {100 * np.std(accuracies, ddof=1):.2f}\u00a0%" in page


@pytest.mark.slow
def test_two_full_reports_are_the_same_bytes_but_for_the_run(full, tmp_path):
    _, folder = full
    numbers = json.loads((folder / "metrics.json").read_text())
    command = numbers["reproduction"]["command"]
    assert command == (
        "cnnclf report --dataset digits --profile full --architectures tiny,lenet5 --folds 2 --epochs 2 --seed 0"
    )
    again = cnnclf(*shlex.split(command)[1:], "--jobs", 1, "--out", tmp_path, "--json")
    assert json.loads(again.stdout)["run"] != numbers["run"]
    assert json.loads(again.stdout)["run"]["costs"] != numbers["run"]["costs"]  # the folds were trained anew
    assert without_run(tmp_path) == without_run(folder)


def test_an_architecture_that_is_asked_for_is_trained_after_the_comparison(full, monkeypatch):
    _, folder = full
    asked = {}

    def carry_out(clf, data, out, **how):
        asked.update(how, architecture=clf.architecture)
        raise ValueError("enough")

    monkeypatch.setattr("cnnclf.report._study.carry_out", carry_out)
    result = cnnclf("report", "--dataset", "digits", "--profile", "full", "--architecture", "tiny", "--out", folder)
    assert result.stderr == "error: enough\n"
    assert (asked["architecture"], asked["choose"], asked["n_folds"], asked["n_jobs"]) == ("tiny", False, 3, -1)
    assert asked["architectures"] == ["compact", "lenet5", "keras_mnist"]
    assert asked["reproduction"].command == (
        "cnnclf report --dataset digits --profile full --architectures compact,lenet5,keras_mnist --folds 3 "
        "--architecture tiny --seed 0"
    )


# Predictions of any classifier


@pytest.fixture
def said(tmp_path):
    """What a classifier said of the test images of the digits, of which it gets every tenth wrong, in a CSV file."""
    _, _, y, _ = splits.load_part("digits", training=False)
    y_pred = np.where(np.arange(len(y)) % 10, y, (y + 1) % 10)
    rows = [f"{true},{predicted}" for true, predicted in zip(y, y_pred, strict=True)]
    (tmp_path / "said.csv").write_text("\n".join(["true,predicted", *rows]))
    return tmp_path / "said.csv", Evaluation.from_labels(y, y_pred)


def test_saved_predictions_are_judged_and_nothing_is_trained(said, untrained, tmp_path):
    file, evaluation = said
    out = tmp_path / "out"
    result = cnnclf("report", "--from-predictions", file, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    low, high = (100 * bound for bound in evaluation.accuracy_interval)
    assert result.stdout == (
        f"{out / 'index.html'}\naccuracy 90.00 % (95 % interval {low:.2f} % to {high:.2f} %) "
        "on 360 images of “said.csv”\n"
    )
    assert {path.name for path in out.iterdir()} == {"index.html", "report.md", "metrics.json", "figures"}
    assert json.loads((out / "metrics.json").read_text())["test"] == evaluation.to_dict()


def test_with_a_dataset_the_images_are_shown(said, untrained, tmp_path):
    file, evaluation = said
    out = tmp_path / "out"
    result = cnnclf("report", "--from-predictions", file, "--dataset", "digits", "--out", out, "--json")
    numbers = json.loads(result.stdout)
    assert numbers["test"]["confusion_matrix"] == evaluation.confusion_matrix.tolist()
    name, *arguments = shlex.split(numbers["reproduction"]["command"])
    assert (name, arguments) == ("cnnclf", ["report", "--from-predictions", str(file), "--dataset", "digits"])
    assert (numbers["reproduction"]["seed"], "run" in numbers) == (None, False)
    page = (out / "index.html").read_text()
    assert "“said.csv” on scikit-learn’s bundled digits" in page
    behind = json.loads(re.search(r'<script type="application/json" id="cells">(.*?)</script>', page)[1])
    y_true, y_pred = evaluation.y_true, evaluation.y_pred
    for cell, shown in behind.items():
        assert {f"{y_true[index]} {y_pred[index]}" for index, _, _ in shown} == {cell}


def test_predictions_of_other_images_are_refused(said, tmp_path):
    file, _ = said
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]))
    result = cnnclf("report", "--from-predictions", file, "--dataset", "digits", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: Expected a prediction for each of the 360 test images; got 359. Leave out --dataset to evaluate the "
        "predictions without their images.\n"
    )


def test_a_file_of_predictions_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cnnclf("report", "--from-predictions", "said.csv", "--out", "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert "said.csv" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# Comparisons alone


def test_compare_writes_numbers_and_four_figures(compared):
    result, folder = compared
    assert result.exit_code == 0, result.stderr
    figures = ("fold_curves", "folds", "accuracy_parameters", "accuracy_multiply_adds")
    assert {path.name for path in folder.iterdir()} == {
        "comparison.json",
        "folds",
        *(f"{name}.svg" for name in figures),
    }
    assert all((folder / f"{name}.svg").read_text().startswith("<svg") for name in figures)


def test_compare_prints_the_table(compared):
    result, folder = compared
    numbers = json.loads((folder / "comparison.json").read_text())
    head, *table, empty, where = result.stdout.splitlines()
    assert head.split("  ")[0] == "architecture"
    assert [line.split()[:4] for line in table] == [
        [told["name"], f"{100 * told['mean_accuracy']:.2f}", "±", f"{100 * told['std_accuracy']:.2f}"]
        for told in numbers["results"]
    ]
    assert [line.split()[0] for line in table] == ["tiny", "lenet5"]
    assert (empty, where) == ("", f"numbers and figures: {folder}")
    # All but the 360 test images.
    assert result.stderr.splitlines()[0] == "scikit-learn’s bundled digits: 1,437 training images, 2 folds"
    assert {fold["n_train"] + fold["n_test"] for told in numbers["results"] for fold in told["folds"]} == {1437}


def test_compare_as_json_and_from_what_was_kept(compared, untrained):
    _, folder = compared
    before = (folder / "comparison.json").read_bytes()
    result = cnnclf("compare", *FOLDS, "--jobs", 1, "--out", folder, "--json")
    assert json.loads(result.stdout) == json.loads(before)
    assert (folder / "comparison.json").read_bytes() == before


def test_control_c_in_compare_ends_with_one_sentence(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.optim.AdamW.step", interrupt)
    result = cnnclf("compare", *FOLDS, "--jobs", 1, "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[1:] == [
        (
            f"error: interrupted; finished fits are saved in {tmp_path / 'folds'}, and the same command continues "
            "from there"
        )
    ]
