"""Fuzz ``CNNClassifier.load``.

The first byte of an input says what the rest is: a file; a header that gets its length and good weights; or what the
metadata says, which gets all else. The latter two are sealed, so that the search gets past the digest.
"""

from functools import partial

from fuzzing import fuzz, instrumented

with instrumented():
    import hostile
    from cnnclf import CNNClassifier as CNNClassifier


def make(good: bytes, data: bytes) -> bytes:
    header, weights = hostile.unpack(good)
    kind, text = data[:1], data[1:]
    if kind == b"H":
        return hostile.seal_cnn(len(text).to_bytes(8, "little") + text + weights)
    if kind == b"T":
        header["__metadata__"]["cnnclf"] = text.decode("utf-8", "surrogateescape")
        return hostile.seal_cnn(hostile.pack(header, weights))
    return text


def seeds(good: bytes):
    for change, _ in hostile.CNN.values():
        content = change(good)
        yield b"F" + content
        yield b"H" + content[8 : 8 + int.from_bytes(content[:8], "little")]
        try:
            yield b"T" + hostile.unpack(content)[0]["__metadata__"]["cnnclf"].encode()
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            continue  # it has no metadata to begin with


if __name__ == "__main__":
    good = hostile.good_cnn()
    fuzz(seeds(good), partial(hostile.read, "load"), partial(make, good), "model.cnn")
