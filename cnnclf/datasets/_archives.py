"""NumPy's .npz archives and the .mat files of SVHN → arrays; nothing in them can run, nor unpack without bounds."""

import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import cut, quote_all, unexpected
from cnnclf.datasets._contents import Arrays, as_arrays
from cnnclf.datasets._source import SPLIT_NAMES, WHOLE, Source, ambiguous

# What arrays are called, in Keras' and MedMNIST's archives and in those that people write.
KIND_NAMES = {
    **dict.fromkeys(("x", "images", "image", "imgs", "img", "data", "pixels"), "X"),
    **dict.fromkeys(("y", "labels", "label", "targets", "target"), "y"),
}
SVHN = re.compile(r"(train|test|extra)_32x32\.mat", re.IGNORECASE)
SVHN_NOTE = "label 10 is the digit 0"
UNNAMED = "arr_0"  # the only array of a file of KMNIST
ADVICE = "Save it again with np.savez_compressed(path, X=X, y=y)"


@contextmanager
def refused_if_damaged(path: Path) -> Iterator[None]:
    """Raise a ValueError that names the file for what the readers of archives raise for damaged ones."""
    kinds = (OSError, EOFError, LookupError, TypeError, MemoryError, RuntimeError, ArithmeticError, SyntaxError)
    try:
        yield
    except (*kinds, AttributeError, ValueError, zipfile.BadZipFile, zlib.error, struct.error, TokenError) as error:
        if str(error).startswith(str(path)):
            raise
        found = cut(repr(error), 100)
        raise ValueError(unexpected(path, "a readable archive of arrays", found, "Fetch it again")) from error


def find_npz(path: Path) -> Source | None:
    """Find images and labels in an .npz archive, or in those of a folder whose names say splits, as KMNIST's do."""
    if path.is_dir():
        found: list[tuple[Path, str, tuple[str | None, str | None]]] = []
        for file in sorted(path.iterdir()):
            split, kind = parts_of(file.stem)
            if file.suffix.lower() == ".npz" and file.is_file() and split is not None:
                names = names_in(file)
                is_alone = names == [UNNAMED]  # and the file's name says what it is
                found += [(file, name, (split, kind if is_alone else parts_of(name, strict=True)[1])) for name in names]
        return find_among(path, found)
    if path.suffix.lower() != ".npz":
        return None
    names = names_in(path)
    source = find_among(path, [(path, name, parts_of(name, strict=True)) for name in names])
    if source is None:
        expected = "arrays X and y, or such of splits, as x_train and y_train"
        raise ValueError(unexpected(path, expected, quote_all(names), ADVICE))
    return source


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in an archive."""
    with refused_if_damaged(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def parts_of(name: str, *, strict: bool = False) -> tuple[str | None, str | None]:
    """Read split and kind from a name; a strict reading gives neither where other words are in it.

    Examples
    --------
    >>> parts_of("x_train"), parts_of("trainY"), parts_of("kmnist-test-imgs"), parts_of("label_names", strict=True)
    (('train', 'X'), ('train', 'y'), ('test', 'X'), (None, None))
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    words = [word for word in re.split(r"[^a-z0-9]+|(?<=^[xy])(?=t[er])", apart) if word]
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    kinds = {KIND_NAMES[word] for word in words if word in KIND_NAMES}
    if strict and not all(word in SPLIT_NAMES or word in KIND_NAMES for word in words):
        return None, None
    return (splits.pop() if len(splits) == 1 else None), (kinds.pop() if len(kinds) == 1 else None)


def find_among(path: Path, arrays: list[tuple[Path, str, tuple[str | None, str | None]]]) -> Source | None:
    """Combine arrays, given with the file, the name and what it says, to splits; None where no pair is complete."""
    found: dict[str, dict[str, tuple[Path, str]]] = defaultdict(dict)
    for file, name, (split, kind) in arrays:
        if kind is None:
            continue
        key = split or WHOLE
        if kind in found[key]:
            both = (file, name), found[key][kind]
            raise ambiguous(path, key, quote_all([one.name if path.is_dir() else called for one, called in both]))
        found[key][kind] = (file, name)
    if path.is_dir() and len({beginning_of(file.stem) for file, _, _ in arrays}) > 1:
        files = quote_all(sorted({file.name for file, _, _ in arrays}))
        raise ValueError(unexpected(path, "archives of one dataset", files, "Pass the path of one"))
    pairs = {split: pair for split, pair in found.items() if len(pair) == len(set(KIND_NAMES.values()))}
    if len(pairs) > 1 and WHOLE in pairs:  # X and y beside X_test and y_test
        if "train" in pairs:
            raise ambiguous(path, "train", quote_all(["X", "X_train"]))
        pairs["train"] = pairs.pop(WHOLE)
    readers = {split: partial(read_npz, path, pair["X"], pair["y"]) for split, pair in pairs.items()}
    others = [
        name for file, name, _ in arrays if (file, name) not in [use for p in pairs.values() for use in p.values()]
    ]
    notes = (f"not used: {quote_all(others)}",) if others and not path.is_dir() else ()
    return Source(path, "arrays of NumPy", readers, notes) if readers else None


def beginning_of(stem: str) -> str:
    """Return the words of a name that say neither a split nor a kind.

    Examples
    --------
    >>> beginning_of("kmnist-train-imgs"), beginning_of("test")
    ('kmnist', '')
    """
    words = re.split(r"[^a-z0-9]+", stem.lower())
    return " ".join(word for word in words if word not in SPLIT_NAMES and word not in KIND_NAMES)


def read_npz(path: Path, images: tuple[Path, str], labels: tuple[Path, str]) -> Arrays:
    """Read images and labels, each given with its archive and its name."""
    return as_arrays(path, read_array(*images), read_array(*labels))


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read one array of an .npz archive, if it is as large as its header says and not too large for its file."""
    with refused_if_damaged(path), zipfile.ZipFile(path) as archive:
        member = f"{name}.npy"
        n_bytes, most = archive.getinfo(member).file_size, most_unpacked(path.stat().st_size)
        if n_bytes > most:
            expected = f"an archive that unpacks to at most {most:,} bytes, a hundred times its size and 32 MB"
            raise ValueError(unexpected(path, expected, f"one of {n_bytes:,}", "Save it anew if you trust it"))
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
            if dtype.hasobject:
                expected = f"numbers or text in {name}"
                raise ValueError(unexpected(path, expected, "Python objects, which can run code", ADVICE))
            if file.tell() + dtype.itemsize * int(np.prod(shape, dtype=object)) != n_bytes:
                raise ValueError(unexpected(path, f"{name} as large as its header says", f"{n_bytes:,} bytes", ADVICE))
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def find_mat(path: Path) -> Source | None:
    """Find SVHN's cropped digits, in a .mat file or in those of a folder that are named train_32x32.mat and so on."""
    if path.is_dir():
        readers = {}
        for file in sorted(path.iterdir()):
            match = SVHN.fullmatch(file.name)
            if match is not None and match[1].lower() != "extra" and file.is_file():
                readers[match[1].lower()] = partial(read_mat, file)
        others = [file.name for file in sorted(path.glob("*.mat")) if file not in [r.args[0] for r in readers.values()]]
        notes = (SVHN_NOTE, *([f"not used: {quote_all(others)}"] if others else []))
        return Source(path, "SVHN's .mat files", readers, notes) if readers else None
    if path.suffix.lower() != ".mat":
        return None
    notes = (SVHN_NOTE,) if SVHN.fullmatch(path.name) else ()
    return Source(path, "a .mat file", {WHOLE: partial(read_mat, path)}, notes)


def read_mat(path: Path) -> Arrays:
    """Read X (height, width, channels, n) and y (n, 1), as SVHN has them; there 10 is the digit 0.

    Source: Netzer et al. 2011, “Reading digits in natural images with unsupervised feature learning”.
    """
    arrays = read_matrices(path)
    X, y = arrays.get("X"), arrays.get("y")
    if X is None or y is None or X.ndim != 4 or y.shape != (X.shape[3], 1) or 0 in X.shape:
        expected = "X (height, width, channels, n) and y (n, 1), as SVHN has them"
        found = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items())) or "neither"
        raise ValueError(unexpected(path, expected, cut(found, 100), ADVICE))
    if SVHN.fullmatch(path.name) is not None and X.shape[:3] == (32, 32, 3) and y.min() >= 1 and y.max() <= 10:
        y = y % 10
    return as_arrays(path, np.ascontiguousarray(X.transpose(3, 0, 1, 2)), y)


# By number, the types of MATLAB's elements that hold numbers.
MAT_TYPES = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
MAT_MATRIX, MAT_PACKED, MAT_COMPLEX = 14, 15, 0x800


def read_matrices(path: Path) -> dict[str, NDArray[Any]]:
    """Read the real matrices of a .mat file of version 5; what else is in it is passed over.

    SciPy's own reader ends the process for some damaged files, and unpacks without bounds.

    Source: MathWorks, “MAT-File Format”, chapter 1, level 5.
    """
    content, most = path.read_bytes(), most_unpacked(path.stat().st_size)
    if content[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in content[:128]:
        raise ValueError(unexpected(path, "a .mat file of version 5", "one of version 7.3", ADVICE))
    arrays = {}
    with refused_if_damaged(path):
        if content[124:128] != b"\x00\x01IM":
            raise ValueError(unexpected(path, "a .mat file of version 5", "another file", "Check the path"))
        for kind, element in elements(content, 128):
            if kind == MAT_PACKED:
                unpacking = zlib.decompressobj()
                unpacked = unpacking.decompress(element, most + 1)  # 0 would be without a limit
                if len(unpacked) > most or not unpacking.eof:
                    expected = f"elements that unpack to at most {most:,} bytes, a hundred times the file and 32 MB"
                    raise ValueError(unexpected(path, expected, "a larger or a damaged one", ADVICE))
                most -= len(unpacked)
                ((kind, element),) = elements(unpacked, 0)
            if kind == MAT_MATRIX:
                (_, flags), (_, lengths), (_, name), *numbers = elements(element, 0)
                shape = tuple(np.frombuffer(lengths, "<i4").tolist())
                is_complex = struct.unpack("<I", flags[:4])[0] & MAT_COMPLEX
                if len(numbers) == 1 and numbers[0][0] in MAT_TYPES and not is_complex:
                    flat = np.frombuffer(numbers[0][1], MAT_TYPES[numbers[0][0]])
                    arrays[name.decode("ascii")] = flat.reshape(shape, order="F")
    return arrays


def elements(content: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Read elements, each a type, a length and so many bytes, filled up to eight; small ones are eight bytes in all."""
    while start < len(content):
        kind, length = struct.unpack_from("<II", content, start)
        if kind >> 16:
            kind, length, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            begin = start + 8
            end = begin + length + (0 if kind == MAT_PACKED else -length % 8)
        if begin + length > len(content) or begin + length > end:
            raise ValueError("an element is cut short")
        yield kind, content[begin : begin + length]
        start = end
