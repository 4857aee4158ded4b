"""What a report says of its data: sizes, classes, samples and how they were divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import Summarised, Summary
from cnnclf.report._render import pictures, shrink

N_SAMPLES = 10  # of each class
N_SAMPLE_CLASSES = 30
LARGEST_SAMPLE = 64  # pixels: as large as the page shows them


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data.

    Attributes
    ----------
    name : str
        ``training``, ``validation`` or ``test``.
    origin : str
        Where its images come from and what they are for.
    counts : tuple of int
        Images of each class.
    """

    name: str
    origin: str
    counts: tuple[int, ...]

    @property
    def n_images(self) -> int:
        """Images in this part."""
        return sum(self.counts)


@dataclass(frozen=True, eq=False, repr=False)
class DataRecord(Summarised):
    """What the classifier learnt from and was judged on.

    Attributes
    ----------
    name : str
        What to call the data.
    note : str
        What a reader has to know before all else, such as why it is not MNIST; empty where there is nothing.
    classes : tuple of label
        The labels, in the order of all counts.
    splits : tuple of Split
        Training, validation and test.
    image_shape : tuple of int
        (channels, height, width).
    pixel_range : tuple of float
        Smallest and largest pixel value of the training images.
    samples : tuple of ndarray of shape (n, height, width[, channels]), uint8
        A few training pictures of each of the first classes.
    """

    name: str
    note: str
    classes: tuple[Any, ...]
    splits: tuple[Split, ...]
    image_shape: tuple[int, int, int]
    pixel_range: tuple[float, float]
    samples: tuple[NDArray[np.uint8], ...]

    def _summary(self) -> Summary:
        shape = "×".join(map(str, self.image_shape))
        return Summary(
            f"{self.name}: {self.n_images:,} images of {shape} pixels in {len(self.classes)} classes",
            "lrl",
            ("part", "images", "where they come from"),
            tuple((split.name, f"{split.n_images:,}", split.origin) for split in self.splits),
        )

    @classmethod
    def from_splits(
        cls,
        name: str,
        *,
        note: str,
        splits: Mapping[str, tuple[str, NDArray[Any], NDArray[Any]]],
    ) -> "DataRecord":
        """Describe the data.

        Parameters
        ----------
        name, note : str
            As the attributes.
        splits : mapping of str to (origin, X, y)
            ``training`` first, then ``validation`` and ``test``; X of shape (n, channels, height, width), y of
            shape (n,).

        Returns
        -------
        DataRecord
            Counts, and the first few training images of each class.
        """
        _, X, y = splits["training"]
        classes = np.unique(np.concatenate([labels for _, _, labels in splits.values()]))
        pixel_range = (float(X.min()), float(X.max()))
        return cls(
            name=name,
            note=note,
            classes=tuple(classes.tolist()),
            splits=tuple(
                Split(split, origin, tuple(int((labels == label).sum()) for label in classes))
                for split, (origin, _, labels) in splits.items()
            ),
            image_shape=X.shape[1:],
            pixel_range=pixel_range,
            samples=tuple(
                shrink(pictures(X[np.flatnonzero(y == label)[:N_SAMPLES]], pixel_range), LARGEST_SAMPLE)
                for label in classes[:N_SAMPLE_CLASSES]
            ),
        )

    @property
    def n_images(self) -> int:
        """Images in all splits together."""
        return sum(split.n_images for split in self.splits)
