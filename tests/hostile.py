"""Make the corpus of hostile files, and try every one of them in a process of its own.

``python tests/hostile.py FOLDER`` makes the files, unless they are there; with ``--try`` it reads each, too, and prints
one line of JSON for each: what was raised, how long it took, and by how much the memory grew. `HOSTILE` says what every
file is, and with which words it has to be refused.

Whoever can write a file can seal it: all that is changed here has a right digest again, unless the digest is the point.
"""

import gc
import gzip
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cnnclf._utils import digest
from cnnclf.classifier import _persistence as persistence
from cnnclf.onnx._file import DIGEST_KEY, FORMAT, seal

N_CLASSES = 2
MARK = "executed"  # a file of this name would show that a stranger's code was run


class Payload:
    """What a pickle from a stranger does when it is loaded."""

    def __reduce__(self):
        return (os.system, (f"touch {MARK}",))


PICKLE = pickle.dumps(Payload())


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ZIP = zipped(**{"data.pkl": PICKLE})
DISGUISED = {
    "empty": b"",
    "text": b"not what you expect\n" * 20,
    "pickle": PICKLE,
    "zip": ZIP,
    "gzip of nothing": gzip.compress(b""),
}


# CNNClassifier.load


def good_cnn() -> bytes:
    """A fitted network of 4×4 pixels and two classes, trained on nothing worth knowing."""
    import tempfile

    from cnnclf import CNNClassifier

    X = np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.cnn"
        CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, np.arange(20) % N_CLASSES).save(path)
        return path.read_bytes()


def unpack(content: bytes) -> tuple[dict, bytes]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def pack(header: object, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def seal_cnn(content: bytes) -> bytes:
    start = digest.find_digest(content, digest.place_of_digest(persistence.KEY))
    return content if start is None else digest.put_digest(content, start)


def with_header(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """Change the header of a model file."""

    def make(good: bytes) -> bytes:
        header, data = unpack(good)
        changed = change(header)
        return seal_cnn(pack(header if changed is None else changed, data))

    return make


def with_tensor(name: str, **entry: object) -> Callable[[bytes], bytes]:
    """Let the header lie about a tensor."""
    return with_header(lambda header: header[name].update(entry))


def with_state(*path: str, to: object) -> Callable[[bytes], bytes]:
    """Let the metadata say something else at a place."""

    def change(header: dict) -> None:
        told = json.loads(header["__metadata__"]["cnnclf"])
        place = told
        for key in path[:-1]:
            place = place[key]
        if to is MISSING:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        header["__metadata__"]["cnnclf"] = json.dumps(told)

    return with_header(change)


MISSING = object()
LABELS = ("state", "classes")
FITTED = ("state", "fitted")
INPUT = (*FITTED, "input")
PARAMS = ("state", "params")


def with_weight(value: float) -> Callable[[bytes], bytes]:
    return lambda good: seal_cnn(good[:-4] + struct.pack("<f", value))


def first_offsets(begin: int, end: int) -> Callable[[bytes], bytes]:
    return with_tensor("standardise.mean", data_offsets=[begin, end])


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda good: good[: int(share * len(good))]


def with_wrong_digest(good: bytes) -> bytes:
    start = digest.find_digest(good, digest.place_of_digest(persistence.KEY))
    return good[:start] + digest.PLACEHOLDER.encode() + good[start + len(digest.PLACEHOLDER) :]


def header_length(length: int) -> Callable[[bytes], bytes]:
    return lambda good: length.to_bytes(8, "little") + good[8:]


UNREADABLE, DAMAGED = "it cannot be read as one", "its SHA-256 is not the one stored"
PARTS = "its metadata lacks parts"

CNN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    **{name: (lambda _, content=content: content, UNREADABLE) for name, content in DISGUISED.items()},
    "empty": (lambda _: b"", UNREADABLE),
    "cut in the length": (lambda good: good[:5], UNREADABLE),
    "cut behind the length": (lambda good: good[:8], UNREADABLE),
    "cut in the header": (lambda good: good[:300], UNREADABLE),
    "cut behind the header": (lambda good: good[: 8 + int.from_bytes(good[:8], "little")], DAMAGED),
    "cut in the data": (cut(0.9), DAMAGED),
    "one byte short": (lambda good: good[:-1], DAMAGED),
    "one byte short, sealed": (lambda good: seal_cnn(good[:-1]), UNREADABLE),
    "one byte long": (lambda good: good + b"\0", DAMAGED),
    "one byte long, sealed": (lambda good: seal_cnn(good + b"\0"), UNREADABLE),
    "length 0": (header_length(0), UNREADABLE),
    "length 2^63": (header_length(2**63), UNREADABLE),
    "length 2^64 - 1": (header_length(2**64 - 1), UNREADABLE),
    "length one more": (
        lambda good: (int.from_bytes(good[:8], "little") + 1).to_bytes(8, "little") + good[8:],
        UNREADABLE,
    ),
    "header of brackets": (lambda good: (3 * 10**6).to_bytes(8, "little") + b"[" * 3 * 10**6, UNREADABLE),
    "header of empty lists": (
        lambda good: (4 * 2**20).to_bytes(8, "little") + b"[" + b"[]," * 1398100 + b"1]  ",
        UNREADABLE,
    ),
    "header too long": (lambda good: (10**7).to_bytes(8, "little") + b" " * 10**7, "expected a header of at most"),
    "header a list": (with_header(lambda header: [header]), UNREADABLE),
    "header of a huge number": (lambda _: pack({"x": 0}, b"", 5006)[:13] + b"9" * 5000 + b"}", UNREADABLE),
    "no metadata": (with_header(lambda header: header.pop("__metadata__") and None), "without 'cnnclf' metadata"),
    "other metadata": (
        with_header(lambda header: {**header, "__metadata__": {"format": "pt"}}),
        "without 'cnnclf' metadata",
    ),
    "metadata a number": (with_header(lambda header: {**header, "__metadata__": {"cnnclf": 1}}), UNREADABLE),
    "metadata a list": (with_header(lambda header: {**header, "__metadata__": []}), UNREADABLE),
    "metadata of brackets": (
        with_header(lambda header: {**header, "__metadata__": {"cnnclf": "[" * 10**6}}),
        UNREADABLE,
    ),
    "schema 1": (with_state("schema", to=1), "expected schema 3; got 1"),
    "schema true": (with_state("schema", to="1"), "expected schema 3; got '1'"),
    "schema missing": (with_state("schema", to=MISSING), "expected schema 3; got None"),
    "state missing": (with_state("state", to=MISSING), PARTS),
    "state a list": (with_state("state", to=[]), PARTS),
    "digest wrong": (with_wrong_digest, DAMAGED),
    "digest missing": (with_state("sha256", to=MISSING), DAMAGED),
    "digest no text": (with_state("sha256", to=7), DAMAGED),
    "offsets overlap": (first_offsets(4, 8), UNREADABLE),
    "offsets reversed": (first_offsets(4, 0), UNREADABLE),
    "offsets negative": (first_offsets(-4, 0), UNREADABLE),
    "offsets beyond": (first_offsets(0, 2**40), UNREADABLE),
    "offsets 2^63": (first_offsets(2**63, 2**63 + 4), UNREADABLE),
    "offsets missing": (
        with_header(lambda header: header["standardise.mean"].pop("data_offsets") and None),
        UNREADABLE,
    ),
    "shape larger": (
        with_tensor("output.weight", shape=[3, 84]),
        "Expected output.weight of type F32 and shape (2, 84)",
    ),
    "shape smaller": (
        with_tensor("output.weight", shape=[1, 84]),
        "Expected output.weight of type F32 and shape (2, 84)",
    ),
    "shape turned": (
        with_tensor("output.weight", shape=[84, 2]),
        "Expected output.weight of type F32 and shape (2, 84)",
    ),
    "shape 2^63": (
        with_tensor("output.weight", shape=[2**63, 84]),
        "Expected output.weight of type F32 and shape (2, 84)",
    ),
    "shape negative": (
        with_tensor("output.weight", shape=[-2, -84]),
        "Expected output.weight of type F32 and shape (2, 84)",
    ),
    "shape a number": (with_tensor("output.weight", shape=168), UNREADABLE),
    "shape of text": (with_tensor("output.weight", shape=["2", "x"]), UNREADABLE),
    "type F16": (with_tensor("output.weight", dtype="F16"), "Expected output.weight of type F32"),
    "type I32": (with_tensor("output.weight", dtype="I32"), "Expected output.weight of type F32"),
    "type unknown": (with_tensor("output.weight", dtype="PY_OBJECT"), "Expected output.weight of type F32"),
    "tensor extra": (
        with_header(lambda header: {**header, "x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
        "got 'x' beside them",
    ),
    "tensor missing": (with_header(lambda header: header.pop("output.bias") and None), "output.bias is missing"),
    "tensor renamed": (
        with_header(lambda header: {("../x" if k == "output.bias" else k): v for k, v in header.items()}),
        "output.bias is missing",
    ),
    "weight NaN": (with_weight(float("nan")), "Expected finite weights"),
    "weight infinite": (with_weight(float("-inf")), "Expected finite weights"),
    "architecture imported": (with_state(*PARAMS, "architecture", to="os.system"), "os.system"),
    "architecture a list": (
        with_state(*PARAMS, "architecture", to=["compact"]),
        "beside that of the file, ['compact']",
    ),
    "architecture null": (
        with_state(*PARAMS, "architecture", to=None),
        "Expected the function that was the architecture",
    ),
    "architecture another": (
        with_state(*PARAMS, "architecture", to="tiny"),
        "Expected the weights of the architecture",
    ),
    "params missing": (with_state(*PARAMS, to=MISSING), PARTS),
    "params a list": (with_state(*PARAMS, to=[1]), PARTS),
    "param unknown": (
        with_state(*PARAMS, "__class__", to="x"),
        "Expected parameters of CNNClassifier; got '__class__'",
    ),
    "param lr text": (with_state(*PARAMS, "lr", to="fast"), "Expected lr to be"),
    "param lr endless": (with_state(*PARAMS, "lr", to=10**4000), "Expected lr to be a number above 0"),
    "param epochs negative": (with_state(*PARAMS, "max_epochs", to=-1), "Expected max_epochs to be"),
    "param callbacks": (with_state(*PARAMS, "callbacks", to=["os.system"]), "Expected callbacks to be"),
    "param device": (with_state(*PARAMS, "device", to="meta"), "Expected device to be"),
    "param augment": (with_state(*PARAMS, "augment", to=["os.system"]), "Expected augment to be"),
    "param class_weight": (with_state(*PARAMS, "class_weight", to=[[[], 1]]), "unhashable"),
    "classes missing": (with_state(*LABELS, to=MISSING), "Expected class labels as a type and a list"),
    "classes empty": (with_state(*LABELS, "values", to=[]), "Expected class labels as a type and a list"),
    "classes one more": (
        with_state(*LABELS, "values", to=[0, 1, 2]),
        "Expected output.bias of type F32 and shape (3,)",
    ),
    "classes unsorted": (with_state(*LABELS, "values", to=[1, 0]), "Expected sorted class labels; got 1 and 0"),
    "classes equal": (with_state(*LABELS, "values", to=[1, 1]), "Expected different class labels"),
    "classes out of range": (
        with_state(*LABELS, to={"dtype": "|i1", "values": [0, 1000]}),
        "Expected class labels of the type",
    ),
    "classes of lists": (with_state(*LABELS, "values", to=[[0], [1]]), "Expected class labels that are text"),
    "classes endless": (with_state(*LABELS, "values", to=[0, 10**4000]), "Expected class labels of the type"),
    "classes of bytes": (with_state(*LABELS, "dtype", to="V8"), "Expected class labels as a type"),
    "classes with fields": (with_state(*LABELS, "dtype", to="i4,f8"), "Expected class labels as a type"),
    "classes very wide": (
        with_state(*LABELS, to={"dtype": "<U999999999", "values": ["a", "b"]}),
        "Expected class labels as a type",
    ),
    "classes very long": (
        with_state(*LABELS, to={"dtype": "object", "values": ["a", "b" * 10**6]}),
        "of at most 1,000 letters",
    ),
    "classes very many": (with_state(*LABELS, "values", to=list(range(10**5))), "Expected at most 10,000 class labels"),
    "classes half letters": (
        with_state(*LABELS, to={"dtype": "object", "values": ["a", "\ud800"]}),
        "written in UTF-8",
    ),
    "fitted missing": (with_state(*FITTED, to=MISSING), PARTS),
    "fitted more": (with_state(*FITTED, "more", to=1), "got other parts"),
    "input missing": (with_state(*FITTED, "input", to=MISSING), "got other parts"),
    "input a list": (with_state(*FITTED, "input", to=[]), "Expected input to be what the network takes"),
    "input less": (with_state(*INPUT, "dtype", to=MISSING), "Expected input to have input_shape, image_shape"),
    "input more": (with_state(*INPUT, "more", to=1), "Expected input to have input_shape, image_shape"),
    "image_shape negative": (
        with_state(*INPUT, "image_shape", to=[1, -4, -4]),
        "Expected image_shape to be three lengths",
    ),
    "image_shape text": (with_state(*INPUT, "image_shape", to="144"), "Expected image_shape to be three lengths"),
    "image_shape another": (with_state(*INPUT, "image_shape", to=[1, 2, 8]), "for X of shape (n, 4, 4); got"),
    "image very large": (
        lambda good: with_state(*INPUT, "input_shape", to=[10**5, 10**5])(
            with_state(*INPUT, "image_shape", to=[1, 10**5, 10**5])(good)
        ),
        "at most 1,048,576 numbers",
    ),
    "image large": (
        lambda good: with_state(*INPUT, "input_shape", to=[1024, 1024])(
            with_state(*INPUT, "image_shape", to=[1, 1024, 1024])(good)
        ),
        "Expected conv1.weight of type F32 and shape",
    ),
    "channels_last": (with_state(*INPUT, "channels_last", to=True), "Expected channels_last to fit the shapes"),
    "dtype": (with_state(*INPUT, "dtype", to="object"), "Expected dtype to be uint8 or float32"),
    "white 0": (with_state(*INPUT, "white", to=0), "Expected white to be null or one of 1, 16, 255, 65535"),
    "white true": (with_state(*INPUT, "white", to=True), "Expected white to be null or one of"),
    "mean too short": (with_state(*INPUT, "mean", to=[]), "Expected mean and std to be one number per channel"),
    "mean NaN": (with_state(*INPUT, "mean", to=[float("nan")]), "Expected mean to be finite numbers"),
    "std endless": (with_state(*INPUT, "std", to=[10**4000]), "Expected std to be finite numbers"),
    "preparation of another kind": (
        with_state(*INPUT, "preparation", to="/etc"),
        "Expected preparation to be null or one of",
    ),
    "preparation a list": (with_state(*INPUT, "preparation", to=["pad"]), "Expected preparation to be null or one of"),
    "training_data": (with_state(*FITTED, "training_data", to=[]), "Expected training_data to be text"),
    "learnt a list": (with_state(*FITTED, "learnt", to=[]), "Expected learnt to be sorted hashes"),
    "learnt no hashes": (with_state(*FITTED, "learnt", to="?"), "Expected learnt to be sorted hashes"),
    "learnt very much": (with_state(*FITTED, "learnt", to="A" * 10**6), "Expected learnt to be sorted hashes"),
    "feature_names": (with_state(*FITTED, "feature_names", to=["a"]), "Expected 16 feature_names; got 1"),
    "batch_size": (with_state(*FITTED, "batch_size", to=0), "Expected batch_size to be"),
    "chosen architecture unknown": (
        lambda good: with_state(*FITTED, "architecture", to="resnet")(
            with_state("state", "params", "architecture", to="auto")(good)
        ),
        "Expected architecture to be one of",
    ),
    "chosen architecture missing": (
        lambda good: with_state(*FITTED, "architecture", to=None)(
            with_state("state", "params", "architecture", to="auto")(good)
        ),
        "Expected the name of the architecture that was chosen",
    ),
    "chosen architecture a number": (with_state(*FITTED, "architecture", to=1), "Expected architecture to be null or"),
    "max_epochs": (with_state(*FITTED, "max_epochs", to=0), "Expected max_epochs to be"),
    "augment unknown": (with_state(*FITTED, "augment", to=["flip", "twist"]), "Expected augment to be null or names"),
    "probe a list": (with_state(*FITTED, "augment_probe", to=[]), "Expected augment_probe to be null or the figures"),
    "probe less": (with_state(*FITTED, "augment_probe", to={"n_images": 9}), "Expected the figures of a probe"),
    "seed negative": (with_state(*FITTED, "seed", to=-1), "Expected seed to be"),
    "seed endless": (with_state(*FITTED, "seed", to=10**4000), "Expected seed to be"),
    "history a number": (with_state(*FITTED, "history", to=1), "Expected history to be"),
    "history of numbers": (with_state(*FITTED, "history", to=[1]), "Expected history to be"),
    "history without time": (
        with_state(*FITTED, "history", to=[{"epoch": 1}]),
        "Expected history to be",
    ),
}


# ONNXClassifier


GOOD_INPUT = {
    "input_shape": [4, 4],
    "image_shape": [1, 4, 4],
    "channels_last": False,
    "dtype": "uint8",
    "white": 255,
    "mean": [60.0],
    "std": [50.0],
    "preparation": None,
}


def good_onnx():
    """A dense layer and a softmax over 4×4 pixels, with the metadata of an export."""
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["X"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
            helper.make_node("ArgMax", ["logits"], ["class_index"], axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "class_index"], ["label"]),
        ],
        "dense",
        [helper.make_tensor_value_info("X", TensorProto.UINT8, ["n", 4, 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", N_CLASSES]),
        ],
        [
            numpy_helper.from_array(rng.normal(0, 0.01, (16, N_CLASSES)).astype(np.float32), "weights"),
            numpy_helper.from_array(np.arange(N_CLASSES), "table"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = {
        "format": FORMAT,
        "classes": {"dtype": "<i8", "values": [0, 1]},
        "input": GOOD_INPUT,
        "training_data": "",
        "learnt": "",
        "session": {},
    }
    helper.set_model_props(model, {"cnnclf": json.dumps(metadata), DIGEST_KEY: digest.PLACEHOLDER})
    return model


def with_model(change: Callable) -> Callable[[], bytes]:
    """Change the model and seal it."""

    def make() -> bytes:
        model = good_onnx()
        change(model)
        return seal(model.SerializeToString())

    return make


def with_metadata(*keys: str, to: object) -> Callable[[], bytes]:
    def change(model) -> None:
        metadata = json.loads(model.metadata_props[0].value)
        *way, last = keys
        within = metadata
        for key in way:
            within = within[key]
        if to is MISSING:
            del within[last]
        else:
            within[last] = to
        model.metadata_props[0].value = json.dumps(metadata)

    return with_model(change)


PLACE = DIGEST_KEY.encode() + b"\x12\x40" + digest.PLACEHOLDER.encode()
ENTRY = b"\x72" + bytes([len(PLACE) + 2]) + b"\x0a" + bytes([len(DIGEST_KEY)]) + PLACE


def sealed(fields: bytes) -> Callable[[], bytes]:
    """Put a digest beside serialised fields."""
    return lambda: seal(fields + ENTRY)


def varint(number: int) -> bytes:
    return (bytes([number & 127 | 128]) + varint(number >> 7)) if number > 127 else bytes([number])


def nested_graphs(depth: int) -> bytes:
    """Serialise a graph in an attribute of a node of a graph, so deep: as bytes, for protobuf itself would refuse."""
    parts, size = [], 0
    for _ in range(depth):
        for tag in (0x32, 0x2A, 0x0A):  # attribute.g, node.attribute, graph.node
            parts.append(bytes([tag]) + varint(size))
            size += len(parts[-1])
    return b"\x3a" + varint(size) + b"".join(reversed(parts))


def outside(location: str) -> Callable:
    def change(model) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def branch(name: str, inner=()) -> object:
    node = helper.make_node("Identity", ["logits"], [name])
    return helper.make_graph([*inner, node], name, [], [helper.make_tensor_value_info(name, 1, None)])


def loop_forever(model) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("go", 9, []), ("x", 1, None))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("on", 9, []), ("y", 1, None))],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**63 - 1), "times"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "start"))
    model.graph.node[3].input[0] = "looped"
    model.graph.node.insert(3, helper.make_node("Loop", ["times", "start", "logits"], ["looped"], body=body))


def nested_ifs(model) -> None:
    """Conditions within both branches of conditions: the time that ONNX Runtime takes to load them is exponential."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    inner = []
    for depth in range(12):
        graphs = {"then_branch": branch(f"a{depth}", inner), "else_branch": branch(f"b{depth}", inner)}
        inner = [helper.make_node("If", ["yes"], [f"c{depth}"], **graphs)]
    model.graph.node.insert(3, inner[0])


def constant(shape: list[int]) -> Callable:
    """Add a constant of that many numbers, which takes a few bytes in the file, to the logits."""

    def change(model) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "large"))
        model.graph.node[3].input[0] = "sum"
        model.graph.node.insert(3, helper.make_node("ConstantOfShape", ["large"], ["many"]))
        model.graph.node.insert(4, helper.make_node("ReduceSum", ["many"], ["total"], keepdims=0))
        model.graph.node.insert(5, helper.make_node("Add", ["logits", "total"], ["sum"]))

    return change


def change_node(position: int, **changed: object) -> Callable:
    def change(model) -> None:
        for name, value in changed.items():
            if isinstance(value, list):
                getattr(model.graph.node[position], name)[:] = value
            else:
                setattr(model.graph.node[position], name, value)

    return change


def dims(*lengths: int) -> Callable:
    return lambda model: model.graph.initializer[0].dims.__setitem__(slice(None), lengths)


def function(model) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 13)]))


ONNX_PARTS, OUTSIDE, INSIDE = "its metadata lacks parts", "it refers to other files", "it holds graphs or functions"
NO_DIGEST, CANNOT_LOAD, CANNOT_RUN = "it holds no 'cnnclf.sha256'", "can load; got", "can run; got"

ONNX: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: (lambda content=content: content, NO_DIGEST) for name, content in DISGUISED.items()},
    "of another program": (lambda: good_onnx().SerializeToString().replace(b"cnnclf.", b"others."), NO_DIGEST),
    **{
        f"cut to {share:.0%}": (lambda share=share: with_model(lambda model: None)()[: int(share * 1000)], NO_DIGEST)
        for share in (0.01, 0.1, 0.3, 0.5, 0.8)
    },
    "one byte long": (lambda: with_model(lambda model: None)() + b"\0", "its SHA-256 is not the one stored in it"),
    "one bit flipped": (
        lambda: bytes([byte ^ (i == 40) for i, byte in enumerate(with_model(lambda model: None)())]),
        "its SHA-256 is not the one stored in it",
    ),
    "two digests": (lambda: with_model(lambda model: None)() + ENTRY, NO_DIGEST),
    "nothing but a digest": (sealed(b""), "it has no metadata 'cnnclf'"),
    "length beyond the end": (sealed(b"\x3a\xff\xff\xff\xff\x7f"), UNREADABLE),
    "length 2^63": (sealed(b"\x3a" + b"\xff" * 8 + b"\x7f"), UNREADABLE),
    "number without end": (sealed(b"\x08" + b"\xff" * 20), UNREADABLE),
    "unknown wire type": (sealed(b"\x0f"), UNREADABLE),
    "messages 100,000 deep": (lambda: seal(nested_graphs(100_000) + ENTRY), INSIDE),
    "two million nodes": (sealed(b"\x3a" + varint(4_000_000) + b"\x0a\x00" * 2_000_000), "more than 1,000,000 fields"),
    "metadata no JSON": (with_model(lambda model: setattr(model.metadata_props[0], "value", "{")), UNREADABLE),
    "metadata of brackets": (
        with_model(lambda model: setattr(model.metadata_props[0], "value", "[" * 10**6)),
        UNREADABLE,
    ),
    "metadata no UTF-8": (
        lambda: seal(good_onnx().SerializeToString().replace(b"uint8", b"uin\xff8")),
        UNREADABLE,
    ),
    "metadata a list": (
        with_model(lambda model: setattr(model.metadata_props[0], "value", "[]")),
        "it has no metadata 'cnnclf'",
    ),
    "format 1": (with_metadata("format", to=1), "expected format 2; got 1"),
    "format missing": (with_metadata("format", to=MISSING), "expected format 2; got None"),
    **{f"{key} missing": (with_metadata(key, to=MISSING), ONNX_PARTS) for key in ("classes", "input", "session")},
    **{
        f"input's {key} missing": (with_metadata("input", key, to=MISSING), "Expected input to have input_shape")
        for key in ("input_shape", "image_shape", "channels_last", "dtype", "white", "mean", "std", "preparation")
    },
    "training_data missing": (with_metadata("training_data", to=MISSING), "Expected training_data to be text"),
    "learnt no hashes": (with_metadata("learnt", to="?"), "Expected learnt to be sorted hashes"),
    "dtype object": (with_metadata("input", "dtype", to="object"), "Expected dtype to be uint8 or float32"),
    "dtype float32": (with_metadata("input", "dtype", to="float32"), "expected a graph that takes and gives"),
    "input_shape negative": (with_metadata("input", "input_shape", to=[-4, -4]), "to be one to three lengths"),
    "input_shape another": (with_metadata("input", "input_shape", to=[2, 8]), "for X of shape (n, 2, 8); got"),
    "image_shape of text": (with_metadata("input", "image_shape", to=["1", "4", "4"]), "to be three lengths"),
    "image very large": (
        with_metadata("input", to=GOOD_INPUT | {"input_shape": [10**9, 10**9], "image_shape": [1, 10**9, 10**9]}),
        "at most 1,048,576 numbers",
    ),
    "channels_last": (
        with_metadata("input", "channels_last", to=True),
        "Expected channels_last to fit the shapes",
    ),
    "white 7": (with_metadata("input", "white", to=7), "Expected white to be null or one of 1, 16, 255, 65535"),
    "mean too short": (with_metadata("input", "mean", to=[]), "Expected mean and std to be one number per channel"),
    "mean NaN": (with_metadata("input", "mean", to=[float("nan")]), "Expected mean to be finite numbers"),
    "mean endless": (with_metadata("input", "mean", to=[10**4000]), "Expected mean to be finite numbers"),
    "preparation unknown": (
        with_metadata("input", "preparation", to="sh"),
        "Expected preparation to be null or one of",
    ),
    "session of other code": (
        with_metadata("session", to={"optimization.disable_specified_optimizers": "/tmp/x.so"}),
        "Expected session to disable",
    ),
    "classes empty": (with_metadata("classes", to={"dtype": "<i8", "values": []}), "Expected class labels"),
    "classes very wide": (
        with_metadata("classes", to={"dtype": "<U999999999", "values": ["a", "b"]}),
        "Expected class labels",
    ),
    "classes out of range": (
        with_metadata("classes", to={"dtype": "|i1", "values": [0, 1000]}),
        "Expected class labels",
    ),
    "classes one more": (
        with_metadata("classes", to={"dtype": "<i8", "values": [0, 1, 2]}),
        "expected a graph that takes",
    ),
    "classes of text": (
        with_metadata("classes", to={"dtype": "<U1", "values": ["a", "b"]}),
        "expected a graph that takes",
    ),
    **{
        f"weights in {location}": (with_model(outside(location)), OUTSIDE)
        for location in ("weights.bin", "../../weights.bin", "/etc/passwd", "a/../../b", "*/_ORT_MEM_ADDR_/*")
    },
    "loop without end": (with_model(loop_forever), INSIDE),
    "conditions within conditions": (with_model(nested_ifs), INSIDE),
    "function": (with_model(function), INSIDE),
    "training": (with_model(lambda model: model.training_info.add()), INSIDE),
    "operator of another domain": (with_model(change_node(2, domain="evil.so")), "operators of 'evil.so'"),
    "operator unknown": (with_model(change_node(2, op_type="System")), CANNOT_LOAD),
    "graph in a circle": (with_model(change_node(0, input=["logits"])), CANNOT_LOAD),
    "graph without nodes": (with_model(lambda model: model.graph.ClearField("node")), CANNOT_LOAD),
    "no graph": (with_model(lambda model: model.ClearField("graph")), CANNOT_LOAD),
    "weights shorter": (
        with_model(lambda model: setattr(model.graph.initializer[0], "raw_data", b"1234")),
        CANNOT_LOAD,
    ),
    "weights 2^62": (with_model(dims(2**62, 2)), CANNOT_LOAD),
    "weights 2^40": (with_model(dims(2**40, 2)), CANNOT_LOAD),
    "weights negative": (with_model(dims(-16, -2)), CANNOT_LOAD),
    "weights of unknown type": (
        with_model(lambda model: setattr(model.graph.initializer[0], "data_type", 99)),
        CANNOT_LOAD,
    ),
    "weights turned": (with_model(dims(2, 16)), CANNOT_LOAD),
    "opset 9999": (with_model(lambda model: setattr(model.opset_import[0], "version", 9999)), CANNOT_LOAD),
    "input of another name": (with_model(lambda model: setattr(model.graph.input[0], "name", "Y")), CANNOT_LOAD),
    "output of another shape": (
        with_model(lambda model: setattr(model.graph.output[1].type.tensor_type.shape.dim[1], "dim_value", 3)),
        "expected a graph that takes and gives",
    ),
    "constant of 2^40 numbers": (with_model(constant([2**20, 2**20])), CANNOT_RUN),
    "constant of 2^64 numbers": (with_model(constant([2**32, 2**32])), "ONNX Runtime"),
    "label out of range": (
        with_model(lambda model: model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.arange(0), "table"))),
        CANNOT_RUN,
    ),
}


# load_idx


def idx(kind: int, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    return bytes([0, 0, kind, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + data


def wrong_check(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    return bytes(packed)


IDX: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: (lambda content=content: content, "expected") for name, content in DISGUISED.items()},
    "type 7": (lambda: idx(7, (1,), b"1"), "expected an IDX file"),
    "no dimensions": (lambda: idx(8, ()), "expected an IDX file"),
    "255 dimensions": (lambda: idx(8, (1,) * 255, b"1"), "expected a shape that NumPy can hold"),
    "sizes cut": (lambda: idx(8, (3, 3))[:9], "The file is cut short"),
    "data cut": (lambda: idx(8, (3, 3), bytes(8)), "The file is cut short"),
    "data longer": (lambda: idx(8, (3, 3), bytes(10)), "got more"),
    "sizes 2^32 - 1": (lambda: idx(14, (2**32 - 1,) * 3, bytes(8)), "The file is cut short"),
    "sizes beside a zero": (lambda: idx(8, (0, *(2**32 - 1,) * 3)), "expected a shape that NumPy can hold"),
    "gzip cut": (lambda: gzip.compress(idx(8, (100,), bytes(100)))[:-9], "expected a readable IDX file"),
    "gzip with a wrong check": (lambda: wrong_check(idx(8, (9,), bytes(9))), "expected a readable IDX file"),
    "gzip of a gzip": (lambda: gzip.compress(gzip.compress(idx(8, (9,), bytes(9)))), "expected an IDX file"),
    "gzip bomb": (lambda: gzip.compress(idx(8, (2**26,), bytes(2**26)), 6), "a hundred times its size"),
    "gzip bomb behind the end": (lambda: gzip.compress(idx(8, (9,), bytes(2**26)), 6), "got more"),
    "gzip bomb of a header": (lambda: gzip.compress(idx(8, (2**32 - 1,) * 9), 1), "a hundred times its size"),
}


# load_image_folder and read_picture


def png(width: int, height: int, rows: bytes = b"", *, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG that says it has a size, with the rows of another."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def whole_png(side: int, *, colour: int, channels: int) -> bytes:
    """An evenly black picture, which packs a thousandfold."""
    return png(side, side, bytes(side * (1 + channels * side)), colour=colour)


def image(form: str, mode: str = "L", size: tuple[int, int] = (4, 4), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, form, **options)
    return stream.getvalue()


def animated(form: str) -> bytes:
    frames = [Image.new("L", (4, 4), grey) for grey in (0, 100, 200)]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def circular_tiff() -> bytes:
    """A TIFF whose next page is its first."""
    content = bytearray(image("TIFF"))
    start = int.from_bytes(content[4:8], "little")
    n = int.from_bytes(content[start : start + 2], "little")
    content[start + 2 + 12 * n : start + 6 + 12 * n] = content[4:8]
    return bytes(content)


def text_bomb() -> bytes:
    packed = zlib.compress(bytes(2**26), 9)
    return png(4, 4, bytes(20), extra=chunk(b"zTXt", b"a\0\0" + packed) * 8)


# What is neither read as an image of a folder nor as a picture
PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: (lambda content=content: content, "expected a") for name, content in DISGUISED.items()},
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n(executed) (w) file\n", "expected a"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "expected a"),
    "PNG cut": (lambda: image("PNG")[:-24], "expected a readable"),
    "PNG without rows": (lambda: png(4, 4), "expected a readable"),
    "PNG of 2^31 pixels a side": (lambda: png(2**31 - 1, 2**31 - 1), "expected a"),
    "PNG of 50,000 pixels a side": (lambda: png(50_000, 50_000), "Image size (2500000000 pixels)"),
    "PNG bomb, grey": (lambda: whole_png(9_000, colour=0, channels=1), "9000×9000 pixels"),
    "PNG bomb, RGB": (lambda: whole_png(5_000, colour=2, channels=3), "5000×5000 pixels"),
    "PNG bomb, interlaced": (lambda: png(9_000, 9_000, b"").replace(b"\0\0\0\0\0IDAT", b"\0\0\0\0\1IDAT"), "expected"),
    "PNG without its palette": (lambda: whole_png(4, colour=3, channels=1), "expected a palette of its colours"),
    "PNG with a text bomb": (text_bomb, "expected a readable"),
    "GIF animated": (lambda: animated("GIF"), "got several frames"),
    "PNG animated": (lambda: animated("PNG"), "got several frames"),
    "WebP animated": (lambda: animated("WEBP"), "got several frames"),
    "TIFF of several pages": (lambda: animated("TIFF"), "got several frames"),
    "GIF of 65,535 pixels a side": (lambda: image("GIF").replace(b"\x04\0\x04\0", b"\xff\xff\xff\xff"), "expected a"),
    "BMP of 2^31 pixels": (
        lambda: image("BMP").replace(b"\x04\0\0\0\x04\0\0\0", b"\xff\xff\xff\x7f\x01\0\0\0", 1),
        "expected a",
    ),
    "PPM of 10^9 pixels": (lambda: b"P5 100000 10000 255\n\0", "expected a"),
    "PPM of a number without end": (lambda: b"P5 " + b"9" * 10**5 + b" 4 255\n", "expected a"),
    "TIFF of floats": (lambda: image("TIFF", "F"), "expected"),
    "WebP of 16,383 pixels a side": (
        lambda: b"RIFF\x2a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0VP8L\x05\0\0\0\x2f\xfe\xff\xff\x0f\0",
        "expected a",
    ),
    "JPEG cut": (lambda: image("JPEG", size=(64, 64))[:-200], "expected a readable"),
    "JPEG of 65,535 pixels a side": (
        lambda: image("JPEG").replace(b"\x08\0\x04\0\x04", b"\x08\xff\xff\xff\xff", 1),
        "expected a",
    ),
}


def put(content: bytes) -> Callable[[Path], None]:
    """Make a folder of one class with one good image before a bad one."""

    def make(folder: Path) -> None:
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "1.png").write_bytes(content)

    return make


def link(name: str, target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        put(image("PNG"))(folder)
        (folder.parent / "outside" / "b").mkdir(parents=True, exist_ok=True)
        (folder.parent / "outside" / "b" / "secret.png").write_bytes(image("PNG"))
        (folder / name).symlink_to(target)

    return make


def pipe(folder: Path) -> None:
    put(image("PNG"))(folder)
    os.mkfifo(folder / "a" / "2.png")


def many_bombs(folder: Path) -> None:
    bomb = whole_png(2_000, colour=2, channels=3)  # each unpacks to 12 MB, or 16 in Pillow
    (folder / "a").mkdir(parents=True)
    for i in range(50):
        (folder / "a" / f"{i}.png").write_bytes(bomb)


def two(first: bytes, second: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        put(first)(folder)
        (folder / "a" / "2.png").write_bytes(second)

    return make


LEADS_OUT = "got one that leads out of it"
FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    **{name: (lambda folder, make=make: put(make())(folder), reason) for name, (make, reason) in PICTURES.items()},
    "empty folder": (lambda folder: folder.mkdir(parents=True), "expected one sub-folder per class"),
    "empty class": (lambda folder: (folder / "a").mkdir(parents=True), "expected images of this class"),
    "link to a file outside": (link("a/2.png", "../../outside/b/secret.png"), LEADS_OUT),
    "link to a password": (link("a/2.png", "/etc/passwd"), LEADS_OUT),
    "link to a device": (link("a/2.png", "/dev/zero"), LEADS_OUT),
    "link to a class outside": (link("b", "../outside/b"), LEADS_OUT),
    "link to the folder above": (link("b", ".."), LEADS_OUT),
    "link to the folder itself": (link("b", "."), "expected images directly in the folder"),
    "link to nothing": (link("a/2.png", "nothing.png"), "expected images directly in the folder"),
    "link in a circle": (link("a/2.png", "2.png"), "expected"),
    "pipe": (pipe, "expected images directly in the folder"),
    "many bombs": (many_bombs, "50 files cannot be read"),
    "small beside large": (two(image("PNG"), whole_png(2_000, colour=2, channels=3)), "expected images of one size"),
}


# read_predictions


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npy(shape: str, data: bytes = b"", dtype: str = "'<i8'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def two_arrays(content: bytes) -> bytes:
    return zipped(**{"y_true.npy": content, "y_pred.npy": content})


GOOD = np.array([0, 1])
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    **{
        name: (lambda content=content: content, "Expected an NPZ file" if name != "zip" else "Expected arrays")
        for name, content in DISGUISED.items()
    },
    "cut": (lambda: npz(y_true=GOOD, y_pred=GOOD)[:-30], "Expected an NPZ file"),
    "names that lead out": (
        lambda: zipped(**{"../../y_true.npy": npy("(1,)", bytes(8)), "/y_pred.npy": npy("(1,)", bytes(8))}),
        "Expected arrays y_true",
    ),
    "objects": (lambda: npz(y_true=np.array([Payload()] * 2, dtype=object), y_pred=GOOD), "Objects could run code"),
    "bomb": (lambda: npz(y_true=np.zeros(2**24, np.int64), y_pred=GOOD), "Expected arrays of at most"),
    "shape 2^63": (lambda: two_arrays(npy(f"({2**63},)", bytes(8))), "by its shape"),
    "shape negative": (lambda: two_arrays(npy("(-1,)", bytes(8))), "by its shape"),
    "shape beside a zero": (lambda: two_arrays(npy(f"(0, {2**63})")), "by its shape"),
    "shape of brackets": (lambda: two_arrays(npy("(" * 5000)), "to be a readable array"),
    "shape an expression": (lambda: two_arrays(npy("__import__('os')")), "to be a readable array"),
    "type with fields": (lambda: two_arrays(npy("(1,)", bytes(8), "[('a', '<i8')]")), "got dtype"),
    "type very wide": (lambda: two_arrays(npy("(0,)", b"", "'<U999999999'")), "to be a readable array"),
    "letters beyond Unicode": (
        lambda: two_arrays(npy("(1,)", b"\xff" * 12, "'<U3'")),
        "letters that Unicode does not have",
    ),
    "half letters": (lambda: two_arrays(npy("(1,)", b"\0\xd8\0\0", "'<U1'")), "letters that Unicode does not have"),
    "probabilities NaN": (
        lambda: npz(y_true=GOOD, y_proba=np.full((2, 2), np.nan), classes=GOOD),
        "Expected",
    ),
    "labels out of range": (lambda: npz(y_true=GOOD + 7, y_proba=np.eye(2), classes=GOOD), "Expected"),
    "probabilities of three classes": (lambda: npz(y_true=GOOD, y_proba=np.eye(3)[:2], classes=GOOD), "Expected"),
}
TABLES: dict[str, tuple[Callable[[], bytes], str]] = {
    **{name: (lambda content=content: content, "Expected") for name, content in DISGUISED.items()},
    "zeros": (lambda: bytes(10**6), "Expected"),
    "no rows": (lambda: b"true,predicted\n", "Expected one line or more"),
    "quote without end": (lambda: b'true,predicted\na,"' + b"x" * 10**6, "cannot be read"),
    "cell without end": (lambda: b"true,predicted\na," + b"x" * 10**6, "cannot be read"),
    "a million columns": (
        lambda: b"true," + b",".join(b"%d" % i for i in range(10**6)),
        "Expected at most 1,000 classes",
    ),
    "label out of range": (lambda: b"true,a,b\nc,0.5,0.5\n", "Expected one of the classes"),
    "probability NaN": (lambda: b"true,a,b\na,nan,0.5\n", "Expected"),
    "probability infinite": (lambda: b"true,a,b\na,1e999,0.5\n", "Expected"),
    "probability negative": (lambda: b"true,a,b\na,-1,2\n", "Expected"),
    "half letters": (lambda: b"true,predicted\n\xed\xa0\x80,a\n", "Expected text in UTF-8"),
    "row too short": (lambda: b"true,a,b\na,1\n", "Expected 3 cells in line 2"),
}

# A reader and a name → with which words the file has to be refused; those of "folder" and "dataset" are folders.
HOSTILE = {
    (reader, name): reason
    for reader, table in {
        "load": CNN,
        "onnx": ONNX,
        "idx": IDX,
        "folder": FOLDERS,
        "dataset": FOLDERS,
        "picture": PICTURES,
        "column": PICTURES,
        "npz": ARCHIVES,
        "csv": TABLES,
    }.items()
    for name, (_, reason) in table.items()
} | {
    ("load", "64 GB"): "at most 134,217,728 bytes",
    ("onnx", "64 GB"): "at most 134,217,728 bytes",
    ("csv", "64 GB"): "Expected at most 134,217,728 bytes",
    ("idx", "pipe"): "got a pipe or a device",
}
ENDINGS = {
    "load": ".cnn",
    "onnx": ".onnx",
    "idx": "-ubyte",
    "picture": ".png",
    "column": ".png",
    "npz": ".npz",
    "csv": ".csv",
    "folder": "",
    "dataset": "",
}


def place(folder: Path, reader: str, name: str) -> Path:
    """Where the file lies that is read by a reader."""
    words = "".join(letter if letter.isalnum() else "_" for letter in name)
    return folder / reader / f"{words}{ENDINGS[reader]}"


def make_corpus(folder: Path) -> None:
    """Write all hostile files below a folder, and the good ones that some are read with."""
    for reader in ENDINGS:
        (folder / reader).mkdir(parents=True, exist_ok=True)
    cnn = good_cnn()
    (folder / "good.cnn").write_bytes(cnn)
    (folder / "good.onnx").write_bytes(with_model(lambda model: None)())
    (folder / "good.png").write_bytes(image("PNG"))
    for label in ("0", "1"):
        (folder / "good" / label).mkdir(parents=True)
        (folder / "good" / label / "1.png").write_bytes(image("PNG"))
    for name, (make, _) in CNN.items():
        place(folder, "load", name).write_bytes(make(cnn))
    of_one_file = {"onnx": ONNX, "idx": IDX, "npz": ARCHIVES, "csv": TABLES, "picture": PICTURES, "column": PICTURES}
    for reader, table in of_one_file.items():
        for name, (make, _) in table.items():
            place(folder, reader, name).write_bytes(make())
    for name, (make, _) in FOLDERS.items():
        make(place(folder, "folder", name))
        make(place(folder, "dataset", name))
    for reader in ("load", "onnx", "csv"):
        with place(folder, reader, "64 GB").open("wb") as file:
            file.truncate(2**36)  # takes no room on the disk
    os.mkfifo(place(folder, "idx", "pipe"))


def read(reader: str, path: Path) -> None:
    """Do with a file what its reader does."""
    from cnnclf import CNNClassifier, ONNXClassifier, ReadImages, load_dataset, load_idx, load_image_folder
    from cnnclf.evaluation._predictions import read_predictions
    from cnnclf.images._pictures import read_picture
    from cnnclf.images._spec import InputSpec

    match reader:
        case "load":
            CNNClassifier.load(path).predict(np.zeros((1, 4, 4), np.uint8))
        case "onnx":
            ONNXClassifier(path).predict(np.zeros((1, 4, 4), np.uint8))
        case "idx":
            load_idx(path)
        case "folder":
            load_image_folder(path)
        case "dataset":
            load_dataset(path)
        case "column":
            ReadImages(4, "rgb").fit_transform([path])
        case "picture":
            read_picture(path, InputSpec((3, 4, 4), (3, 4, 4), False, "uint8", 255, (99,) * 3, (50,) * 3, "pad"))
        case "npz" | "csv":
            read_predictions(path)


def in_a_child(task: Callable[[], object], seconds: int) -> dict:
    """Do something in a process of its own, and return its result; a crash or a hang is the end of that one only."""
    receiver, sender = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(seconds)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            said = {"kind": None, "message": str(task())}
        except BaseException as error:
            said = {"kind": type(error).__name__, "message": str(error)}
        said["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(sender, json.dumps(said).encode()[:60_000])
        os._exit(0)
    os.close(sender)
    start = time.monotonic()
    _, status = os.waitpid(child, 0)
    with os.fdopen(receiver, "rb") as pipe:
        answer = pipe.read()
    said = json.loads(answer) if answer else {"kind": f"killed by signal {status & 127}", "message": "", "megabytes": 0}
    return said | {"seconds": time.monotonic() - start}


def try_all(folder: Path) -> Iterator[dict]:
    """Read every file in a process of its own, from one that has loaded all that reading needs."""
    import warnings

    warnings.simplefilter("error")
    read("load", folder / "good.cnn")
    read("onnx", folder / "good.onnx")
    read("picture", folder / "good.png")
    os.chdir(folder)
    gc.collect()
    gc.freeze()  # a child that collected what is here would copy all of its pages
    for reader, name in HOSTILE:
        path = place(folder, reader, name)
        yield {"reader": reader, "name": name, "path": str(path)} | in_a_child(lambda r=reader, p=path: read(r, p), 60)


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    if not (target / "good").exists():
        make_corpus(target)
    if "--try" in sys.argv:
        for result in try_all(target):
            print(json.dumps(result), flush=True)
