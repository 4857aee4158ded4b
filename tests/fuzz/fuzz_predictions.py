"""Fuzz ``read_predictions``.

The first byte of an input says what the rest is: a table, an archive, or the array of a whole archive.
"""

from pathlib import Path

from fuzzing import fuzz, instrumented

with instrumented():
    import hostile


def make(data: bytes) -> bytes:
    return hostile.two_arrays(data[1:]) if data[:1] == b"A" else data[1:]


def read(path: Path) -> None:
    """Read a file as its content asks for, by a name that ends so."""
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if not is_archive:
        return hostile.read("csv", path)
    archive = Path(f"{path}.npz")
    path.rename(archive)
    return hostile.read("npz", archive)


def seeds():
    yield b"T" + b"true,a,b\na,0.5,0.5\nb,1,0\n"
    yield b"T" + b"true,predicted\n1,2\n"
    yield b"A" + hostile.npy("(2,)", bytes(16))
    yield b"A" + hostile.npy("(2,)", bytes(24), "'<U3'")
    for table in (hostile.TABLES, hostile.ARCHIVES):
        for change, _ in table.values():
            yield b"T" + change()


if __name__ == "__main__":
    fuzz(seeds(), read, make, "said.csv")
