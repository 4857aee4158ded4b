"""Fuzz ``ONNXClassifier``.

The first byte of an input says what the rest is: a file; a file to be sealed; or the metadata of a good file, sealed.
What passes the package's checks is loaded by ONNX Runtime and predicts, so that a crash of its own is found, too.
"""

from functools import partial

from fuzzing import fuzz, instrumented

with instrumented():
    import hostile
    from cnnclf.onnx._file import read_entries, seal
    from cnnclf.onnx._runtime import limit_memory


def make(data: bytes) -> bytes:
    kind, content = data[:1], data[1:]
    try:
        if kind == b"S":
            return seal(content)
        if kind == b"M":
            model = hostile.good_onnx()
            model.metadata_props[0].value = content.decode("utf-8", "replace")
            return seal(model.SerializeToString())
    except ValueError:  # there is no one place for a digest
        pass
    return content


def seeds():
    for change, _ in hostile.ONNX.values():
        content = change()
        yield b"F" + content
        yield b"S" + content
        try:
            yield b"M" + read_entries(content)["cnnclf"].encode()
        except (ValueError, KeyError):
            continue  # it has no metadata to begin with


if __name__ == "__main__":
    limit_memory(256 * 2**20)  # what a graph asks for when it predicts is bounded by nothing else
    fuzz(seeds(), partial(hostile.read, "onnx"), make, "model.onnx")
