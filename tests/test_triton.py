"""A model repository for Triton: what its text says is what the model really takes and gives."""

import functools
import re

import numpy as np
import onnxruntime
import pytest

from cnnclf import CNNClassifier, triton
from cnnclf.triton import write_repository

pytestmark = pytest.mark.usefixtures("one_thread")

# "Datatypes" in Triton's "Model Configuration": its name of each NumPy dtype; text is dtype(object).
TRITON_TYPES = {
    "uint8": "TYPE_UINT8",
    "float32": "TYPE_FP32",
    "int64": "TYPE_INT64",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
    "object": "TYPE_STRING",
}

WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
KINDS = {  # images, labels and options of the export
    "uint8 images": (lambda X: X, lambda y: y, lambda X: {}),
    "float32 rows": (lambda X: X.reshape(-1, 64).astype(np.float32) / 16, lambda y: y.astype(float), lambda X: {}),
    "words": (lambda X: X[:, np.newaxis], lambda y: WORDS[y], lambda X: {}),
    "int8": (lambda X: X, lambda y: y < 5, lambda X: {"quantize": "int8", "calibration": X}),
}


@pytest.fixture(scope="module")
def export(few_digits, tmp_path_factory):
    """Write a file of a kind, once; give it with three rows for it."""

    @functools.cache
    def export(kind):
        to_X, to_y, options = KINDS[kind]
        X, y = to_X(few_digits[0][:200]), to_y(few_digits[1][:200])
        path = tmp_path_factory.mktemp("exported") / "digits.onnx"
        CNNClassifier(max_epochs=1, random_state=0).fit(X, y).to_onnx(path, **options(X))
        return path, X[:3]

    return export


@pytest.fixture
def path(export):
    """A file for images of 8×8 pixels, uint8."""
    path, _ = export("uint8 images")
    return path


def parse(text):
    """Read protobuf's text format: a dict of lists, as every field may be repeated."""
    words = re.findall(r'"[^"]*"|[\w.-]+|[{}\[\],:]', text)

    def message(end=None):
        fields = {}
        while words and words[0] != end:
            field = words.pop(0)
            if words[0] == ":":
                words.pop(0)
            if words[0] == "[":
                words.pop(0)
                values = fields.setdefault(field, [])
                while words[0] != "]":
                    values.append(value())
                    if words[0] == ",":
                        words.pop(0)
                words.pop(0)
            else:
                fields.setdefault(field, []).append(value())
        return fields

    def value():
        word = words.pop(0)
        if word == "{":
            inner = message("}")
            assert words.pop(0) == "}"
            return inner
        return int(word) if re.fullmatch(r"-?\d+", word) else word.strip('"')

    return message()


def tensor(name, array):
    """What the configuration has to say of an array whose first axis is the batch."""
    fields = {"name": [name], "data_type": [TRITON_TYPES[array.dtype.name]], "dims": list(array.shape[1:])}
    # "Reshape" in Triton's "Model Configuration": dims may not be empty, so that (n,) is declared as (n, 1).
    return fields if fields["dims"] else fields | {"dims": [1], "reshape": [{"shape": []}]}


def error_of(kind, *arguments, **named):
    with pytest.raises(kind) as caught:
        write_repository(*arguments, **named)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_names_what_the_model_takes_and_gives(export, kind, tmp_path):
    path, rows = export(kind)
    written = write_repository(path, tmp_path / "models")

    config = parse((written / "config.pbtxt").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(written / "1" / "model.onnx")
    outputs = session.run(None, {"X": rows})
    assert config["input"] == [tensor("X", rows)]
    assert config["output"] == [
        tensor(output.name, array) for output, array in zip(session.get_outputs(), outputs, strict=True)
    ]
    assert [output["name"] for output in config["output"]] == [["label"], ["probabilities"]]


def test_the_whole_text(path, tmp_path):
    assert (write_repository(path, tmp_path) / "config.pbtxt").read_text(encoding="utf-8") == (
        'name: "digits"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 64\n"
        "input {\n"
        '  name: "X"\n'
        "  data_type: TYPE_UINT8\n"
        "  dims: [8, 8]\n"
        "}\n"
        "output {\n"
        '  name: "label"\n'
        "  data_type: TYPE_INT64\n"
        "  dims: [1]\n"
        "  reshape: { shape: [ ] }\n"
        "}\n"
        "output {\n"
        '  name: "probabilities"\n'
        "  data_type: TYPE_FP32\n"
        "  dims: [10]\n"
        "}\n"
        "dynamic_batching { }\n"
        "instance_group [ { kind: KIND_CPU count: 2 } ]\n"
        'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n'
    )


def test_the_reader_of_configurations_sees_all_of_them():
    text = 'name: "a.b" dims: [ 1, -2 ] input { name: "X" } input [ { name: "Y" }, { } ] reshape: { shape: [ ] }'
    assert parse(text) == {
        "name": ["a.b"],
        "dims": [1, -2],
        "input": [{"name": ["X"]}, {"name": ["Y"]}, {}],
        "reshape": [{"shape": []}],
    }


def test_the_folder_holds_the_configuration_and_the_file_as_version_1(path, tmp_path):
    written = write_repository(path, tmp_path / "new" / "models", name="handwriting-2")
    assert written == tmp_path / "new" / "models" / "handwriting-2"
    assert sorted(file.relative_to(written).as_posix() for file in written.rglob("*")) == [
        "1",
        "1/model.onnx",
        "config.pbtxt",
    ]
    assert (written / "1" / "model.onnx").read_bytes() == path.read_bytes()
    assert parse((written / "config.pbtxt").read_text(encoding="utf-8"))["name"] == ["handwriting-2"]


def test_a_model_of_the_same_name_is_replaced_and_others_stay(path, tmp_path):
    other = write_repository(path, tmp_path, name="other")
    model = write_repository(path, tmp_path) / "1" / "model.onnx"
    model.write_bytes(b"old")
    (model.parent.parent / "config.pbtxt").write_text("old", encoding="utf-8")

    assert write_repository(path, tmp_path) == model.parent.parent
    assert model.read_bytes() == path.read_bytes()
    assert (model.parent.parent / "config.pbtxt").read_text(encoding="utf-8").startswith('name: "digits"\n')
    assert (other / "1" / "model.onnx").read_bytes() == path.read_bytes()


def test_the_model_is_written_last(path, tmp_path, monkeypatch):
    """A server that looks in between finds a configuration without a version, never a model without configuration."""
    seen = []

    def write(file, content):
        seen.append((file.name, sorted(there.name for there in tmp_path.rglob("*"))))
        file.write_bytes(content)

    monkeypatch.setattr(triton, "write_atomically", write)
    write_repository(path, tmp_path)
    assert seen == [("config.pbtxt", ["digits"]), ("model.onnx", ["1", "config.pbtxt", "digits"])]


@pytest.mark.parametrize("name", ["", "my digits", "../digits", "a/b", ".digits", 'a"b', "ziffern-ä", "a\n"])
def test_a_name_that_cannot_be_a_folder_and_part_of_an_address(path, tmp_path, name):
    assert error_of(ValueError, path, tmp_path, name=name) == (
        "Expected a model name of letters, digits, '.', '_' and '-' that begins with a letter or digit; "
        f"got {name!r}. Rename the file, or pass another name."
    )
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there(tmp_path):
    assert error_of(FileNotFoundError, tmp_path / "none.onnx", tmp_path / "models") == (
        f"{tmp_path / 'none.onnx'}: expected an ONNX file written by CNNClassifier.to_onnx; there is none."
    )
    assert not list(tmp_path.iterdir())


def test_a_damaged_file(path, tmp_path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    assert error_of(ValueError, damaged, tmp_path / "models") == (
        f"{damaged}: the file is damaged: its SHA-256 is not the one stored in it. Export or copy it again."
    )
    assert not (tmp_path / "models").exists()
