"""The ONNX file: its digest, its metadata and its forbidden parts, read from its bytes before anything is run.

The metadata has two entries: under ``KEY`` all that a caller needs, as JSON, and under ``DIGEST_KEY`` the SHA-256 of
the file itself, as 64 hexadecimal digits, so that a flipped bit is found.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cnnclf._utils.digest import find_digest, holds_digest, put_digest
from cnnclf._utils.files import check_image_size, read_bounded
from cnnclf._utils.labels import decode_labels
from cnnclf._utils.text import quote
from cnnclf.images._spec import InputSpec
from cnnclf.training._recognition import TrainingData

FORMAT = 2
KEY = "cnnclf"
DIGEST_KEY = "cnnclf.sha256"
EXPECTED = "an ONNX file written by CNNClassifier.to_onnx"

# A protobuf string is a tag, its length in bytes and its bytes; a metadata entry's value has the tag 0x12.
DIGEST = re.compile(re.escape(DIGEST_KEY.encode()) + rb"\x12\x40([0-9a-f]{64})")

# The one setting that a file may ask of the session it is loaded into, and the values that it may have.
DISABLED_OPTIMIZERS = "optimization.disable_specified_optimizers"
MAY_BE_DISABLED = ("", "QDQPropagationTransformer")

MOST_FIELDS = 1_000_000  # of a protobuf message; weights are one field each
MOST_LEVELS = 100  # of messages within messages, which is also where protobuf stops
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # the standard's operators; others would come with code of their own


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file, unless it is missing or too large."""
    return read_bounded(path, EXPECTED)


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A checked file and its decoded metadata.

    Attributes
    ----------
    content : bytes
        The whole file.
    source : str
        Its name in errors.
    metadata : dict
        The entry under ``KEY``.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    input_spec : InputSpec
        What the network takes.
    training_data : TrainingData
        What the file stores of the training data.
    """

    content: bytes
    source: str
    metadata: dict[str, Any]
    classes: NDArray[Any]
    input_spec: InputSpec
    training_data: TrainingData


def check_file(content: bytes, source: str) -> ModelFile:
    """Check a file's content, which errors call `source`, before anything is run, and decode its metadata.

    Raises
    ------
    ValueError
        If it is damaged, not ours, refers to other files, holds graphs within its graph or functions or operators
        that are not ONNX's own, or has impossible metadata.
    """
    check_digest(content, source)
    try:
        foreign = find_foreign(content)
        metadata = json.loads(read_entries(content).get(KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise not_ours(source, f"it cannot be read as one ({error})") from error
    if foreign is not None:
        raise ValueError(
            f"{source}: expected one self-contained file; {foreign}. Export the model again with CNNClassifier.to_onnx."
        )
    if not isinstance(metadata, dict):
        raise not_ours(source, f"it has no metadata {KEY!r}")
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{source}: expected format {FORMAT}; got {quote(metadata.get('format'))}. "
            "Load it with the version of cnnclf that wrote it, or upgrade cnnclf."
        )
    match metadata:
        case {"classes": classes, "input": dict(spec), "session": dict(settings)}:
            pass
        case _:
            raise not_ours(source, "its metadata lacks parts")
    try:
        decoded = decode_labels(classes), InputSpec.from_json(spec), TrainingData.from_json(metadata)
        file = ModelFile(content, source, metadata, *decoded)
        check_image_size(file.input_spec.image_shape)
        if (disabled := settings.get(DISABLED_OPTIMIZERS, "")) not in MAY_BE_DISABLED:
            raise ValueError(f"Expected session to disable {MAY_BE_DISABLED[1]} or nothing; got {quote(disabled)}.")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return file


def not_ours(source: str, found: str) -> ValueError:
    """Return the error for a file that `to_onnx` did not write."""
    return ValueError(f"{source}: expected {EXPECTED}; {found}. Export the model again.")


def seal(content: bytes) -> bytes:
    """Write the digest of a serialised model where its metadata has a place for it.

    Parameters
    ----------
    content : bytes
        An ONNX model with the entry ``DIGEST_KEY`` in its metadata, its value ``PLACEHOLDER``.

    Returns
    -------
    bytes
        As long as `content`, with the SHA-256 of `content` as the value.

    Raises
    ------
    ValueError
        If there is no such place, or more than one.

    Examples
    --------
    >>> from cnnclf._utils.digest import PLACEHOLDER
    >>> sealed = seal(b"a model, cnnclf.sha256" + bytes([0x12, 64]) + PLACEHOLDER.encode())
    >>> sealed[24:32]
    b'43922db2'
    >>> check_digest(sealed, "model.onnx")
    """
    start = find_digest(content, DIGEST)
    if start is None:
        raise ValueError(
            f"Expected a model with one metadata entry {DIGEST_KEY!r} of 64 hexadecimal digits; "
            f"got {len(DIGEST.findall(content))}. Add one with the value PLACEHOLDER."
        )
    return put_digest(content, start)


def check_digest(content: bytes, source: str) -> None:
    """Refuse a file whose bytes are not those that were sealed; errors call it `source`.

    Raises
    ------
    ValueError
        If the file has no digest, or has the digest of something else.
    """
    start = find_digest(content, DIGEST)
    if start is None:
        raise not_ours(
            source, f"it holds no {DIGEST_KEY!r}, so it was made by another program, or is cut short or damaged"
        )
    if not holds_digest(content, start):
        raise ValueError(
            f"{source}: expected an intact file; its SHA-256 is not the one stored in it. Export or copy it again."
        )


# Which fields of which protobuf messages hold a message that may, somewhere inside, hold a tensor; from onnx.proto.
NESTED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION, MODEL_METADATA = 13, 14, 14
NODE_DOMAIN = 7


def find_foreign(content: bytes) -> str | None:
    """Describe the part of a serialised model that must not be run, None if there is none.

    ONNX Runtime would read a tensor in another file from any place that the model names. Graphs within the graph can
    run forever, and nested ones take exponential time to load. So the bytes are searched before ONNX Runtime reads
    them.
    """
    n_fields = 0
    pending = [("model", read_fields(memoryview(content)))]
    while pending:
        kind, fields = pending[-1]
        if (field := next(fields, None)) is None:
            pending.pop()
            continue
        number, value = field
        n_fields += 1
        if n_fields > MOST_FIELDS or len(pending) > MOST_LEVELS:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields, or more than {MOST_LEVELS} within each other")
        if kind == "tensor" and (number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value)):
            return "it refers to other files for its weights"
        if not isinstance(value, memoryview):
            continue
        if kind == "node" and number == NODE_DOMAIN and (domain := str(value, "utf-8")) not in DOMAINS:
            return f"it needs operators of {quote(domain)}, which are not ONNX's own"
        if (inner := NESTED[kind].get(number)) is not None:
            if (inner == "graph" and kind != "model") or inner in ("function", "training"):
                return "it holds graphs or functions within its graph, such as loops"
            pending.append((inner, read_fields(value)))
    return None


def read_entries(content: bytes) -> dict[str, str]:
    """Read the metadata of a serialised model whose fields were counted: its keys and values.

    ONNX Runtime returns them only after it has loaded the model, and they describe how to load it.
    """
    entries = {}
    for number, message in read_fields(memoryview(content)):
        if number == MODEL_METADATA and isinstance(message, memoryview):
            entry = {i: str(text, "utf-8") for i, text in read_fields(message) if isinstance(text, memoryview)}
            entries[entry.get(1, "")] = entry.get(2, "")
    return entries


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Return number and value of each field of a serialised protobuf message.

    See "Encoding" in the documentation of Protocol Buffers, https://protobuf.dev/programming-guides/encoding/.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value: int | memoryview
        match tag & 7:  # the wire type
            case 0:
                value, at = read_varint(message, at)
            case 2:
                length, at = read_varint(message, at)
                value, at = message[at : at + length], at + length
            case (1 | 5) as wire_type:
                length = 8 if wire_type == 1 else 4
                value, at = message[at : at + length], at + length
            case wire_type:
                raise ValueError(f"a field has the unknown type {wire_type}")
        if at > len(message):
            raise ValueError("a field is longer than the message it is in")
        yield tag >> 3, value


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a whole number, seven bits per byte, lowest first; return it and the position behind it."""
    number = 0
    for i, byte in enumerate(message[at : at + 10]):  # ten bytes hold 64 bits
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, at + i + 1
    raise ValueError("a number has no end")
