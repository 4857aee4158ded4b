"""``CNNClassifier.save`` and ``load``: to the bit, whole or not at all, and nothing damaged is believed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cnnclf import CNNClassifier
from cnnclf._utils.labels import decode_labels, encode_labels
from cnnclf.classifier._persistence import read_header, read_tensors, write_model

LABELS = {
    "int": np.array([3, 7]),
    "negative": np.array([-1, 1], dtype=np.int8),
    "text": np.array(["cat", "dog"]),
    "object": np.array(["cat", "dog"], dtype=object),
    "bool": np.array([False, True]),
    "float": np.array([0.0, 1.0]),
}


@pytest.fixture(scope="module")
def X() -> np.ndarray:  # noqa: N802 - the name of every matrix of samples
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


def fitted(X: np.ndarray, labels: np.ndarray, **params: object) -> CNNClassifier:
    return CNNClassifier(max_epochs=1, random_state=0, **params).fit(X, labels[np.arange(len(X)) % 2])


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_round_trip(tmp_path: Path, X: np.ndarray, labels: np.ndarray) -> None:
    clf = fitted(X, labels, class_weight={labels.tolist()[0]: 2.0, labels.tolist()[1]: 1.0}, image_shape=(1, 8, 8))
    clf.save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    assert np.array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert loaded.predict(X).tolist() == clf.predict(X).tolist()
    assert loaded.classes_.dtype == clf.classes_.dtype
    assert loaded.history_ == clf.history_
    assert loaded.class_weight == clf.class_weight
    assert (loaded.n_features_in_, loaded.image_shape_) == (64, (1, 8, 8))
    assert [p.name for p in tmp_path.iterdir()] == ["model.cnn"]


def test_every_parameter_comes_back(tmp_path: Path, X: np.ndarray) -> None:
    params = {
        "architecture": "lenet5",
        "max_epochs": 1,
        "batch_size": 8,
        "lr": 0.01,
        "optimizer": "sgd",
        "lr_schedule": "cosine",
        "weight_decay": 0.0,
        "label_smoothing": 0.1,
        "augment": ["shift", "erase"],
        "weight_averaging": True,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "patience": 2,
        "class_weight": "balanced",
        "image_shape": [1, 8, 8],
        "preparation": "pad",
        "precision": "float32",
        "device": "cpu",
        "compile": False,
        "warm_start": True,
        "checkpoint": None,
        "callbacks": None,
        "random_state": 3,
        "verbose": 0,
    }
    clf = CNNClassifier(**params).fit(X, np.arange(len(X)) % 2)
    assert clf.get_params() == params  # a new parameter needs a line above
    clf.save(tmp_path / "model.cnn")
    assert CNNClassifier.load(tmp_path / "model.cnn").get_params() == params


@pytest.mark.parametrize("augment", [torch.clone, ["flip", torch.clone], ("flip", torch.clone)])
def test_an_augmentation_with_a_function_in_it_is_not_stored(augment: object, tmp_path: Path, X: np.ndarray) -> None:
    clf = fitted(X, np.array([0, 1]), augment=augment)
    clf.save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    assert loaded.augment is None
    assert np.array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_a_file_names_no_folder_to_write_to(tmp_path: Path, X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    clf = CNNClassifier(max_epochs=1, checkpoint=str(tmp_path / "run")).fit(X, np.arange(len(X)) % 2)
    clf.save(tmp_path / "model.cnn")
    assert CNNClassifier.load(tmp_path / "model.cnn").checkpoint is None
    monkeypatch.setattr("cnnclf.classifier._persistence.OF_THIS_PLACE", set())  # as a stranger may write it
    clf.save(tmp_path / "other.cnn")
    monkeypatch.undo()
    assert str(tmp_path / "run").encode() in (tmp_path / "other.cnn").read_bytes()
    assert CNNClassifier.load(tmp_path / "other.cnn").checkpoint is None


def test_feature_names_come_back(tmp_path: Path, X: np.ndarray) -> None:
    import pandas as pd

    frame = pd.DataFrame(X.reshape(len(X), -1), columns=[f"pixel{i}" for i in range(64)])
    clf = CNNClassifier(max_epochs=1).fit(frame, np.arange(len(X)) % 2)
    clf.save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    assert loaded.feature_names_in_.tolist() == list(frame.columns)
    assert np.array_equal(loaded.predict_proba(frame), clf.predict_proba(frame))


def test_partial_fit_goes_on(tmp_path: Path, X: np.ndarray) -> None:
    labels = np.arange(len(X)) % 2
    fitted(X, np.array([0, 1])).save(tmp_path / "model.cnn")
    loaded = CNNClassifier.load(tmp_path / "model.cnn")
    before = loaded.predict_proba(X)
    loaded.partial_fit(X, labels)
    assert [row["epoch"] for row in loaded.history_] == [1, 2]
    assert not np.array_equal(loaded.predict_proba(X), before)


def small_net(image_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(n_classes))


def test_a_function_as_architecture_is_handed_to_load(tmp_path: Path, X: np.ndarray) -> None:
    clf = fitted(X, np.array([0, 1]), architecture=small_net)
    path = tmp_path / "model.cnn"
    clf.save(path)
    loaded = CNNClassifier.load(path, architecture=small_net)
    assert np.array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    with pytest.raises(
        ValueError,
        match=r"model\.cnn: Expected the function that was the architecture, as a file holds no code; got none\. Pass "
        r"it in Python, CNNClassifier\.load\(path, architecture=function\); for the command line, write an ONNX file "
        r"with to_onnx\.\Z",
    ):
        CNNClassifier.load(path)
    with pytest.raises(ValueError, match=r"Expected the weights of the architecture; 2\.bias is missing"):
        CNNClassifier.load(
            path, architecture=lambda shape, n: nn.Sequential(nn.Flatten(), nn.LazyLinear(9), nn.LazyLinear(n))
        )


def test_a_named_architecture_needs_no_function(tmp_path: Path, X: np.ndarray) -> None:
    fitted(X, np.array([0, 1])).save(tmp_path / "model.cnn")
    with pytest.raises(
        ValueError,
        match=r"Expected no architecture beside that of the file, 'auto'; got .*\. "
        r"Call load without architecture\.\Z",
    ):
        CNNClassifier.load(tmp_path / "model.cnn", architecture=small_net)


def test_objects_that_cannot_be_stored_are_refused() -> None:
    labels = np.empty(1, dtype=object)
    labels[0] = (1,)
    with pytest.raises(ValueError, match=r"^Expected class labels that are text, numbers or bools; got \(1,\)"):
        encode_labels(labels)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_survive_json(labels: np.ndarray) -> None:
    back = decode_labels(json.loads(json.dumps(encode_labels(labels))))
    assert back.dtype == labels.dtype
    assert back.tolist() == labels.tolist()


def test_a_truth_value_among_numbers_is_no_label() -> None:
    sentence = "Expected different class labels of the type <i8; got -1 and False."
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        decode_labels({"dtype": "<i8", "values": [-1, False]})  # equal to -1 and 0, as Python counts


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.cnn"
    sentence = "expected a model file written by CNNClassifier.save; there is none. Check the path."
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'{path}: {sentence}')}$"):
        CNNClassifier.load(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(100)])
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.cnn"
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=rf"^{re.escape(str(path))}: expected a model file written by CNNClassifier.save; it cannot be read",
    ):
        CNNClassifier.load(path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.cnn"
    save_file({"w": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"; got a safetensors file without 'cnnclf' metadata\. Give another file\.$"):
        CNNClassifier.load(path)


def test_unknown_schema(tmp_path: Path) -> None:
    path = tmp_path / "model.cnn"
    save_file({"w": torch.ones(2)}, path, {"cnnclf": json.dumps({"schema": 99})})
    with pytest.raises(
        ValueError, match=r"expected schema 3; got 99\. Load it with the version of cnnclf that saved it"
    ):
        CNNClassifier.load(path)


def read(path: Path) -> None:
    content = path.read_bytes()
    read_header(content)
    read_tensors(content)


def test_every_flipped_weight_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.cnn"
    write_model(path, {"w": torch.ones(2)}, {})
    content = path.read_bytes()
    for bit in range(64):  # the two float32 are the file's last eight bytes
        damaged = bytearray(content)
        damaged[-8 + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="the file is damaged: its SHA-256 is not the one stored in it"):
            read(path)


def test_truncation_is_found_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "model.cnn"
    write_model(path, {"w": torch.ones(2)}, {"a": 1})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"it cannot be read as one|the file is damaged"):
            read(path)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.cnn"
    write_model(path, {"w": torch.ones(2)}, {"generation": "old"})

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cnnclf.classifier._persistence.os.fsync", no_space)
    with pytest.raises(OSError, match="No space left on device"):
        write_model(path, {"w": torch.zeros(2)}, {"generation": "new"})
    assert read_header(path.read_bytes())[0] == {"generation": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["model.cnn"]


def test_a_write_over_a_folder_or_that_fails_names_the_path_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = f"{tmp_path}: expected the name of a file to write; this is a folder. Add a file name to it."
    with pytest.raises(IsADirectoryError, match=f"^{re.escape(sentence)}$"):
        write_model(tmp_path, {}, {})

    def refused(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refused)
    path = tmp_path / "model.cnn"
    with pytest.raises(PermissionError, match=f"^{re.escape(f'[Errno 13] Permission denied: {str(path)!r}')}$"):
        write_model(path, {}, {})


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected a folder to write model.cnn into; there is none. Make it first.$"
    ):
        write_model(tmp_path / "none" / "model.cnn", {}, {})
