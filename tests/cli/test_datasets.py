"""The user's own data at the command line: in any form, from the file to report, evaluation and prediction."""

import json
import re
import shlex

import forms
import numpy as np
import pytest
from PIL import Image

from cnnclf import CNNClassifier, ONNXClassifier, load_dataset
from cnnclf.classifier import _classifier as classifier
from helpers import cnnclf


@pytest.fixture
def learnt_from(monkeypatch):
    """What `fit` was given, in place of a training: images, labels, and those of validation."""
    given = []

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        given.append((X, y, X_val, y_val))
        raise ValueError("no training in this test")

    monkeypatch.setattr(classifier.CNNClassifier, "fit", fit)
    return given


@pytest.mark.slow
@pytest.mark.parametrize("form", forms.FORMS)
def test_every_form_goes_from_the_file_to_report_evaluation_and_prediction(form, tmp_path):
    path, (_, y), (X_test, y_test) = forms.make(form, tmp_path)
    out, picture = tmp_path / "out", tmp_path / "picture.png"
    result = cnnclf("report", "--dataset", path, "--epochs", 2, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert f"{path}: " in result.stderr
    numbers = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    n_train, n_validation, n_test = numbers["dataset"]["images"].values()
    assert (n_train + n_validation, n_test) == (60, 15)
    assert "The dataset’s own test set." in (out / "index.html").read_text(encoding="utf-8")

    clf = CNNClassifier.load(out / "model.cnn")
    assert clf.classes_.tolist() == sorted(set(y.tolist()))
    assert numbers["test"]["accuracy"] == pytest.approx(np.mean(clf.predict(X_test) == y_test))
    clf.to_onnx(tmp_path / "model.onnx")
    for model in (out / "model.cnn", tmp_path / "model.onnx"):
        result = cnnclf("evaluate", model, "--dataset", path, "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["accuracy"] == pytest.approx(numbers["test"]["accuracy"])
        Image.fromarray(X_test[0]).save(picture)
        result = cnnclf("predict", model, picture, "--json")
        assert str(json.loads(result.stdout)[0]["label"]) == str(clf.predict(X_test[:1])[0])


@pytest.mark.parametrize(
    ("splits", "sizes", "origins"),
    [
        (["train", "val", "test"], (60, 9, 15), ("own validation set", "own test set")),
        (["train", "test"], (54, 6, 15), ("tenth of each class", "own test set")),
        (["train", "val"], (48, 9, 12), ("own validation set", "fifth of each class")),
        (["train"], (43, 5, 12), ("tenth of each class", "fifth of each class")),
    ],
)
def test_own_splits_are_used_as_such_and_the_others_are_drawn(splits, sizes, origins, tmp_path):
    from cnnclf.datasets import load

    for split in splits:
        forms.write_folders(tmp_path / split, *forms.noise({"train": 60, "val": 9, "test": 15}[split]))
    data = load(str(tmp_path), seed=0)
    assert tuple(len(part.y) for part in data.parts.values()) == sizes
    for part, origin in zip((data.validation, data.test), origins, strict=True):
        assert origin in part.origin


def test_one_number_brings_photographs_of_all_sizes_to_a_network(tmp_path, learnt_from):
    rng = np.random.default_rng(0)
    for i in range(60):
        height, width = rng.integers(20, 60, 2)
        exif = Image.Exif()
        exif[0x0112] = [1, 6, 8, 3][i % 4]
        file = tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        image.save(file, "MPO" if i % 3 else "JPEG", exif=exif)
    result = cnnclf("report", "--dataset", tmp_path / "photos", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert re.search(
        r": expected images of one size; got \d+×\d+ \(\d\).* --size on the command line\.\n", result.stderr
    )
    assert not learnt_from
    result = cnnclf("report", "--dataset", tmp_path / "photos", "--size", 24, "--out", tmp_path / "out")
    assert result.stderr.endswith("error: no training in this test\n")
    assert ": class folders, 60 images of " in result.stderr
    ((X, _, X_val, _),) = learnt_from
    all_images, _ = load_dataset(tmp_path / "photos", size=24)
    rows = {image.tobytes() for image in all_images}
    assert all(image.tobytes() in rows for image in [*X, *X_val])
    assert re.search(r" pixels, RGB, 2 classes; brought to 24×24\n", result.stderr)
    assert X.shape[1:] == (24, 24, 3)


@pytest.mark.slow
def test_the_report_of_a_table_can_be_made_again_by_its_command(tmp_path):
    X, y = forms.noise(60, (4, 4))
    path = forms.write_csv(tmp_path / "my table.csv", X, y, "kind,{}")
    options = ["--dataset", path, "--label", "kind", "--size", "9,12", "--epochs", 1]
    assert cnnclf("report", *options, "--out", tmp_path / "a").exit_code == 0
    numbers = json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["dataset"]["image_shape"] == [1, 9, 12]
    command = shlex.split(numbers["reproduction"]["command"])
    assert command[:8] == ["cnnclf", "report", "--dataset", str(path), "--size", "9,12", "--label", "kind"]
    assert cnnclf(*command[1:], "--out", tmp_path / "b").exit_code == 0
    again = json.loads((tmp_path / "b" / "metrics.json").read_text(encoding="utf-8"))
    assert again["test"] == numbers["test"]

    # The table's images have another size than the network's: they are prepared as pictures are.
    model = tmp_path / "a" / "model.cnn"
    result = cnnclf("evaluate", model, "--dataset", path, "--label", "kind", "--json")
    assert result.exit_code == 0
    clf = CNNClassifier.load(model)
    expected = np.mean(clf.predict(load_dataset(path, label="kind", size=(9, 12))[0]) == y)
    assert json.loads(result.stdout)["accuracy"] == pytest.approx(expected)
    result = cnnclf("trace", model, "--digit", "2", "--dataset", path, "--label", "kind")
    assert result.exit_code == 0
    calibration = ["--int8", "--calibration", path, "--label", "kind"]
    assert cnnclf("export", model, "--out", tmp_path / "int8.onnx", *calibration).exit_code == 0
    assert ONNXClassifier(tmp_path / "int8.onnx").input_spec_.image_shape == (1, 9, 12)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1, 255, None], ids=["0 to 1", "0 to 255", "standardised"])
def test_arrays_of_any_unit_are_evaluated_in_the_unit_that_was_learnt_from(unit, tmp_path):
    X, y = forms.noise(60, (8, 8))
    X[:, 2:5, 2:5] = 80 * y[:, None, None]  # so that there is something to learn
    floats = (X - X.mean()) / X.std() if unit is None else X / 255 * unit
    np.savez(tmp_path / "floats.npz", X=floats.astype(np.float32), y=y)
    np.savez(tmp_path / "bytes.npz", X=X, y=y)
    out = tmp_path / "out"
    assert cnnclf("report", "--dataset", tmp_path / "floats.npz", "--epochs", 20, "--out", out).exit_code == 0
    clf = CNNClassifier.load(out / "model.cnn")
    assert clf.input_spec_.white == unit
    expected = np.mean(clf.predict(floats.astype(np.float32)) == y)
    assert expected > 0.6
    for name in ("floats", "bytes") if unit is not None else ("floats",):
        result = cnnclf("evaluate", out / "model.cnn", "--dataset", tmp_path / f"{name}.npz", "--json")
        assert json.loads(result.stdout)["accuracy"] == pytest.approx(expected, abs=0.02)
    if unit is None:
        result = cnnclf("evaluate", out / "model.cnn", "--dataset", tmp_path / "bytes.npz")
        assert result.exit_code == 1
        assert "error: Expected training pixels in a usual unit, with white at " in result.stderr


def test_named_images_of_another_size_than_the_networks_are_refused(tmp_path):
    X, y = forms.noise(30, (16, 16))
    CNNClassifier("compact", max_epochs=1, random_state=0).fit(X, y).save(tmp_path / "model.cnn")
    result = cnnclf("evaluate", tmp_path / "model.cnn", "--dataset", "digits")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: Expected images of 16×16 pixels, as this network takes them; got scikit-learn’s bundled digits, 8×8. "
        "Pass the path of other images."
    )


def test_too_little_memory_is_one_sentence(tmp_path, monkeypatch):
    def fit(*_, **__):
        raise MemoryError("Unable to allocate 5.62 GiB")

    monkeypatch.setattr(classifier.CNNClassifier, "fit", fit)
    result = cnnclf("report", "--dataset", "digits", "--out", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.endswith("\nerror: not enough memory: Unable to allocate 5.62 GiB\n")


def test_a_class_that_only_the_test_split_has_is_refused_before_training(tmp_path, learnt_from):
    X, y = forms.noise(30)
    np.savez(tmp_path / "a.npz", X_train=X, y_train=y % 2, X_test=X, y_test=y)
    result = cnnclf("report", "--dataset", tmp_path / "a.npz", "--out", tmp_path / "out")
    assert result.stderr == (
        f"error: {tmp_path / 'a.npz'}: expected every class of test in train, too; got 2 in test alone. Add images of "
        "these, or remove them.\n"
    )
    assert not learnt_from


def test_test_images_without_labels_are_said_in_the_report(tmp_path):
    from cnnclf.datasets import load

    forms.write_folders(tmp_path / "train", *forms.noise(60))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(forms.png(forms.noise(1)[0][0]))
    data = load(str(tmp_path), seed=0)
    assert data.note == "Not evaluated on 'test' of these data, which come without labels."
    assert data.description.endswith("; train 60; test has no labels")


A_SIZE = "Expected --size to be a number of pixels from 1 to 4,096, two of them, height,width, or median"
BAD_USAGE = [
    (
        ["--size", "64"],
        "Expected a path for --dataset with --size, --label or --cache; got none. Leave them out.",
    ),
    (
        ["--dataset", "digits", "--label", "kind"],
        "Expected a path for --dataset with --size, --label or --cache; got none. Leave them out.",
    ),
    *(
        (
            ["--dataset", ".", "--size", size],
            f"{A_SIZE}; got '{size}'.",
        )
        for size in ("0", "large", "3,4,5", "64x64", "100000", "")
    ),
]


@pytest.mark.parametrize(("options", "sentence"), BAD_USAGE)
@pytest.mark.parametrize("command", ["report", "compare"])
def test_bad_usage_is_found_before_data_are_read(command, options, sentence, tmp_path, learnt_from):
    result = cnnclf(command, *options, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {sentence}\n")
    assert not (tmp_path / "out").exists()
