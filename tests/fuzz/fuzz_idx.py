"""Fuzz ``load_idx``; an input that begins with Z is packed with gzip."""

import gzip
from functools import partial

from fuzzing import fuzz, instrumented

with instrumented():
    import hostile


def make(data: bytes) -> bytes:
    return gzip.compress(data[1:], 1) if data[:1] == b"Z" else data[1:]


def seeds():
    yield b"F" + hostile.idx(8, (2, 3), bytes(6))
    yield b"Z" + hostile.idx(13, (2, 3), bytes(24))
    for change, _ in hostile.IDX.values():
        content = change()
        yield b"F" + content
        if content[:2] == b"\x1f\x8b" and len(content) < 1000:
            try:
                yield b"Z" + gzip.decompress(content)
            except (EOFError, OSError):
                continue


if __name__ == "__main__":
    fuzz(seeds(), partial(hostile.read, "idx"), make, "array-ubyte")
