"""A folder of models for MLServer: what is written, and that nothing is written of what cannot be served.

What the server answers is in `test_acceptance_serving.py`, which runs it."""

import json

import pytest

from cnnclf import CNNClassifier, mlserver
from cnnclf.mlserver import write_repository

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def path(few_digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    CNNClassifier(max_epochs=1, random_state=0).fit(few_digits[0][:200], few_digits[1][:200]).to_onnx(path)
    return path


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folder_holds_the_file_and_settings(path, tmp_path):
    written = write_repository(path, tmp_path / "new" / "models", name="handwriting-2")
    assert written == tmp_path / "new" / "models" / "handwriting-2"
    assert {file.name for file in written.iterdir()} == {"model-settings.json", "model.onnx"}
    assert (written / "model.onnx").read_bytes() == path.read_bytes()
    assert read(written / "model-settings.json") == {
        "name": "handwriting-2",
        "implementation": "cnnclf.mlserver_runtime.ImageClassifier",
        "parameters": {"uri": "./model.onnx"},
    }
    assert read(written.parent / "settings.json") == {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}


def test_a_model_of_the_same_name_is_replaced_and_all_else_stays(path, tmp_path):
    other = write_repository(path, tmp_path, name="other")
    written = write_repository(path, tmp_path)
    assert written.name == "digits"
    for file in (written / "model.onnx", written / "model-settings.json", tmp_path / "settings.json"):
        file.write_bytes(b"{}")

    write_repository(path, tmp_path)
    assert (written / "model.onnx").read_bytes() == path.read_bytes()
    assert read(written / "model-settings.json")["name"] == "digits"
    assert read(tmp_path / "settings.json") == {}  # the server's are the user's
    assert read(other / "model-settings.json")["name"] == "other"


def test_the_settings_are_written_last(path, tmp_path, monkeypatch):
    """A server that looks in between finds a folder that is no model yet, never a model without its file."""
    seen = []

    def write(file, content):
        seen.append(file.name)
        file.write_bytes(content)

    monkeypatch.setattr(mlserver, "write_atomically", write)
    write_repository(path, tmp_path)
    assert seen == ["settings.json", "model.onnx", "model-settings.json"]


def test_a_name_that_cannot_be_part_of_an_address(path, tmp_path):
    with pytest.raises(ValueError, match="Expected a model name of letters, digits"):
        write_repository(path, tmp_path, name="../digits")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_refused_before_anything_is_written(path, tmp_path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        write_repository(damaged, tmp_path / "models")
    assert not (tmp_path / "models").exists()
