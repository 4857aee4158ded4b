"""The digest of an ONNX file, and what a file must not hold, read from its bytes alone."""

import re
from collections.abc import Iterator

from cnnclf._utils.digest import find_digest, holds_digest, put_digest
from cnnclf._utils.text import quote

EXPECTED = "an ONNX file written by CNNClassifier.to_onnx"
DIGEST_KEY = "cnnclf.sha256"

# A protobuf string is a tag, its length in bytes and its bytes; a metadata entry's value has the tag 0x12.
DIGEST = re.compile(re.escape(DIGEST_KEY.encode()) + rb"\x12\x40([0-9a-f]{64})")

MOST_FIELDS = 1_000_000  # of a protobuf message; weights are one field each
MOST_LEVELS = 100  # of messages within messages, which is also where protobuf stops
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # the operators of the standard, none that would come with other code


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
        raise ValueError(
            f"{source}: expected {EXPECTED}; it holds no {DIGEST_KEY!r}, so it was "
            "made by another program, or is cut short or damaged. Export the model again."
        )
    if not holds_digest(content, start):
        raise ValueError(
            f"{source}: the file is damaged: its SHA-256 is not the one stored in it. Export or copy it again."
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
    """Describe what a serialised model holds that is not to be run, None if nothing.

    ONNX Runtime would read a tensor that lies in another file from wherever the model says. Graphs within the graph can
    run forever, and such within each other take exponential time to load. So this is looked up before, in the bytes.
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
    """Read the metadata of a serialised model, whose fields were counted: its keys and values.

    ONNX Runtime gives them only after it has loaded the model, and they say how it has to be loaded.
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
    """Read a whole number, seven bits a byte, lowest first; give it and where the next field or value starts."""
    number = 0
    for i, byte in enumerate(message[at : at + 10]):  # ten bytes hold 64 bits
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, at + i + 1
    raise ValueError("a number has no end")
