"""What is found behind a path: `Source`, with a reader for each split."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cnnclf._utils.text import quote, quote_all, unexpected
from cnnclf.datasets._contents import Arrays
from cnnclf.datasets._pictures import Pictures

WHOLE = "all"  # the only split of a dataset that is not divided
SPLITS = ("train", "val", "test")
# How folders, files and arrays name them.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
}

TABLE = re.compile(r"(.*)\.(csv|tsv)(\.gz)?", re.IGNORECASE)
# What a folder may hold, beside pictures.
DATA_FILES = (".npz", ".csv", ".tsv", ".gz", ".parquet", ".mat")

Reader = Callable[[], Pictures | Arrays]


@dataclass(frozen=True)
class Source:
    """A dataset that has been found, and not yet been read.

    Attributes
    ----------
    path : Path
        Where it was found.
    form : str
        What it is, for the line that says what was understood.
    readers : mapping of str to callable
        By split, "train", "val" and "test", or "all", what reads it.
    notes : tuple of str
        What else there is and is not used.
    unlabelled : tuple of str
        Splits that are there without labels.
    takes_label : bool
        Whether a column of labels can be named.
    """

    path: Path
    form: str
    readers: Mapping[str, Reader]
    notes: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    takes_label: bool = False

    def choose(self, split: str | None) -> str:
        """Return the key of a split; of None that of the training images, or of all.

        Raises
        ------
        ValueError
            If there is no such split.
        """
        if split is not None and (not isinstance(split, str) or split not in SPLITS):
            raise ValueError(f"Expected split to be None, 'train', 'val' or 'test'; got {quote(split)}. Change split.")
        if split is not None and split in self.readers:
            return split
        if split is None and self.training in ("train", WHOLE):
            return self.training
        there = "undivided images" if WHOLE in self.readers else f"{quote_all(self.splits)} alone"
        if split in self.unlabelled:
            advice = "`cnnclf predict` classifies pictures without labels"
            raise ValueError(unexpected(self.path, f"labels in {split}", "images without", advice))
        if split is None:
            advice = "Add training images, or pass split to load_dataset"
            raise ValueError(unexpected(self.path, "a training split", there, advice))
        advice = "Leave out split" if WHOLE in self.readers else "Add it, or pass the path of the images themselves"
        raise ValueError(unexpected(self.path, f"a {split} split", there, advice))

    def read(self) -> dict[str, Pictures | Arrays]:
        """Read all splits, the training images first."""
        return {split: self.readers[split]() for split in self.splits}

    @property
    def splits(self) -> list[str]:
        """The splits in their usual order."""
        return [split for split in (*SPLITS, WHOLE) if split in self.readers]

    @property
    def training(self) -> str:
        """The key of the split that decides the size and the colours of all."""
        return self.splits[0]


def is_data(file: Path) -> bool:
    """Check whether a file is one of data, by its name."""
    return file.suffix.lower() in DATA_FILES


EMNIST_NOTE = "EMNIST's images were turned upright"


def is_emnist(name: str) -> bool:
    """Check whether a file is named as EMNIST's, whose images lie on their side."""
    return name.lower().startswith("emnist")


def ambiguous(path: Path, split: str, names: object) -> ValueError:
    """Return the error for two things that are the same split."""
    expected = "one dataset" if split == WHOLE else f"one {split} split"
    return ValueError(unexpected(path, expected, str(names), "Move all but one away"))
