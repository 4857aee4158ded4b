"""Parquet files with pictures in a column, as on the Hugging Face Hub → pictures."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import cut, quote, quote_all, unexpected
from cnnclf.datasets._contents import as_labels
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._source import SPLIT_NAMES, WHOLE, Source, ambiguous
from cnnclf.datasets._tables import LABEL_NAMES, USAGE_NAMES

LEVELS = ("*", "*/*", "*/*/*")  # a dataset, its configuration and its split
HIDDEN = -1  # what the Hub writes for a label that is not published
ROWS_AT_ONCE = 100


def find_parquet(path: Path, label: str | int | None) -> Source | None:
    """Find a Parquet file of pictures, or those of a folder, whose names or folders say splits; None without any."""
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            return None
        return Source(
            path,
            "a Parquet file",
            {WHOLE: partial(read_parquet, path, [path], label, undivided=True)},
            takes_label=True,
        )
    found = itertools.chain.from_iterable(path.glob(level) for level in LEVELS)
    shards: dict[str, list[Path]] = {}
    for file in sorted(file for file in found if file.suffix.lower() == ".parquet" and file.is_file()):
        inside = file.relative_to(path).parts
        if not any(part.startswith(".") for part in inside):
            folder = file.parent.name.lower().removeprefix("partial-") if len(inside) > 1 else ""
            split = split_of(file.stem) or SPLIT_NAMES.get(folder, WHOLE)
            shards.setdefault(split, []).append(file)
    for split, of_split in shards.items():
        folders = list(dict.fromkeys(file.parent for file in of_split))
        if len(folders) > 1:
            raise ambiguous(path, split, quote_all(folders))
        check_shards(path, of_split)
    notes = []
    if len(shards) > 1 and WHOLE in shards:
        notes.append(f"not used: {quote_all([file.name for file in shards.pop(WHOLE)])}")
    if any(file.parent.name.lower().startswith("partial-") for of_split in shards.values() for file in of_split):
        notes.append("the Hub converted a part of the images alone")
    readers = {
        split: partial(read_parquet, path, of_split, label, undivided=split == WHOLE)
        for split, of_split in shards.items()
    }
    return Source(path, "Parquet files", readers, tuple(notes), takes_label=True) if readers else None


def check_shards(path: Path, files: Sequence[Path]) -> None:
    """Refuse files of which one is missing, or some are not numbered as the others are, such as 00001-of-00003."""
    numbers = [re.search(r"-([0-9]{5})-of-([0-9]{5})", file.stem) for file in files]
    found = [(int(match[1]), int(match[2])) for match in numbers if match is not None]
    if found and (len(found) < len(files) or [i for i, _ in found] != list(range(found[0][1]))):
        expected = f"{found[0][1]:,} files, numbered from 0"
        raise ValueError(unexpected(path, expected, quote_all([file.name for file in files]), "Add or move away files"))


def split_of(name: str) -> str | None:
    """Return the split that a name says, such as train-00000-of-00002; None if it says none or several."""
    splits = {SPLIT_NAMES[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in SPLIT_NAMES}
    return splits.pop() if len(splits) == 1 else None


@contextmanager
def refused_if_damaged(path: Path) -> Iterator[None]:
    """Raise a ValueError that names the file for what pyarrow raises for damaged ones."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ArithmeticError, LookupError, MemoryError, RecursionError, UnicodeError) as error:
        found = cut(repr(error), 100)
        raise ValueError(unexpected(path, "a readable Parquet file", found, "Fetch it again")) from error


def read_parquet(path: Path, files: Sequence[Path], label: str | int | None, *, undivided: bool = False) -> Pictures:
    """Read pictures and labels of one split."""
    with needed_by("reading Parquet files"):
        from pyarrow.parquet import ParquetFile

    names: list[str] = []
    sources: list[Path | bytes] = []
    labels: list[Any] = []
    of_classes: list[list[str] | None] = []
    left = most_unpacked(sum(file.stat().st_size for file in files))
    for file in files:
        with refused_if_damaged(file), ParquetFile(file) as table:
            image_column, label_column = find_columns(file, table.schema_arrow, label, undivided=undivided)
            of_classes.append(class_names(file, table.schema_arrow, label_column))
            n = 0
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=[image_column, label_column]):
                for image, value in zip(batch[image_column].to_pylist(), batch[label_column].to_pylist(), strict=True):
                    content = image.get("bytes") if isinstance(image, dict) else image
                    if not content or value is None:
                        found = f"none in row {n:,}"
                        raise ValueError(unexpected(file, "a picture and a label in each row", found, "Remove the row"))
                    left -= len(content) + len(str(value))
                    if left < 0:
                        expected = "files that unpack to at most a hundred times their size and 32 MB"
                        raise ValueError(unexpected(file, expected, "more", "Save them anew if you trust them"))
                    names.append(f"{file}, row {n:,}")
                    sources.append(content)
                    labels.append(value)
                    n += 1
    if not labels:
        raise ValueError(unexpected(path, "rows", "none", "Check the file"))
    if any(others != of_classes[0] for others in of_classes):
        found = "others in some files"
        raise ValueError(unexpected(path, "the same classes in all files", found, "Pass the path of one file"))
    return Pictures(path, names, sources, as_classes(path, labels, of_classes[0]))


def as_classes(path: Path, labels: Sequence[Any], of_classes: Sequence[str] | None) -> Any:
    """Return labels, as the names of their classes where the file has those."""
    if HIDDEN in labels:
        raise ValueError(unexpected(path, "labels", f"{HIDDEN}, which hides them", "Pass another split"))
    if of_classes is not None:
        beyond = [value for value in labels if not isinstance(value, int) or not 0 <= value < len(of_classes)]
        if beyond:
            expected = f"labels from 0 to {len(of_classes) - 1}, as there are so many names"
            raise ValueError(unexpected(path, expected, quote(beyond[0]), "Check the file"))
        return np.array([of_classes[value] for value in labels])
    kinds = {type(value) for value in labels}
    if kinds not in ({int}, {str}, {bool}, {float}):
        found = quote_all(sorted(kind.__name__ for kind in kinds))
        raise ValueError(unexpected(path, "labels that are whole numbers or text", found, "Pass label"))
    return as_labels(path, np.array(labels), len(labels))


def find_columns(path: Path, schema: Any, label: str | int | None, *, undivided: bool) -> tuple[str, str]:
    """Return the names of the columns of pictures and of labels."""
    from pyarrow import types

    def holds_pictures(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(field.name == "bytes" and is_binary(field.type) for field in kind)
        return is_binary(kind)

    def is_binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    splits = [name for name in schema.names if name.lower() in USAGE_NAMES]
    if splits and undivided:
        found = f"a column {splits[0]!r} in one file"
        raise ValueError(
            unexpected(path, "a file for each split", found, "Write a file, such as train.parquet, for each")
        )
    pictures = [field.name for field in schema if holds_pictures(field.type)]
    if len(pictures) != 1:
        found = quote_all(schema.names) if not pictures else quote_all(pictures)
        raise ValueError(unexpected(path, "one column of pictures", found, "Keep one of them"))
    if label is not None:
        labels = [name for name in schema.names if name == str(label)]
        labels = labels or [name for name in schema.names if name.lower() == str(label).lower()]
        if not labels and re.fullmatch(r"-?[0-9]+", str(label)) and -len(schema) <= int(label) < len(schema):
            labels = [schema.names[int(label)]]
        labels = [name for name in labels if name != pictures[0]]
    else:
        labels = [name for name in schema.names if name.lower() in LABEL_NAMES]
    if len(labels) != 1:
        found = f"columns {quote_all(schema.names)}"
        advice = "Pass label, or --label on the command line"
        raise ValueError(
            unexpected(path, f"one column of labels{'' if label is None else f', {label!r}'}", found, advice)
        )
    return pictures[0], labels[0]


def class_names(path: Path, schema: Any, column: str) -> list[str] | None:
    """Return the names that Hugging Face's metadata gives to the classes; None without it."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if isinstance(names, list) and len(set(map(str, names))) < len(names):
        raise ValueError(unexpected(path, "a name of its own for each class", quote_all(names), "Check the file"))
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return None
