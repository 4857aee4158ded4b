"""The data of a report: its classes, splits and samples, and the images behind each cell of the confusion matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import Summarised, Summary
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._labels import encode
from cnnclf.report._render import pictures, shrink

N_SAMPLES = 10  # of each class
N_SAMPLE_CLASSES = 30
LARGEST_SAMPLE = 64  # pixels: as large as the page shows them
MATRIX_CLASSES = 30  # more make the matrix on the page a picture, whose cells cannot be opened
IMAGES_A_CELL = 24
CELL_PIXELS = 1_000_000  # numbers in all pictures behind the confusion matrix: about a megabyte of page


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data.

    Attributes
    ----------
    name : str
        ``training``, ``validation`` or ``test``.
    origin : str
        Where its images come from and what they are used for.
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
    """The data that a classifier was trained, validated and tested on.

    Attributes
    ----------
    name : str
        The name of the data.
    note : str
        What a reader must know first, such as why the data are not MNIST; empty if there is nothing.
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
        title = f"{self.name}: {self.n_images:,} images of {shape} pixels in {len(self.classes)} classes"
        rows = tuple((split.name, f"{split.n_images:,}", split.origin) for split in self.splits)
        return Summary(title, "lrl", ("part", "images", "where they come from"), rows)

    @classmethod
    def from_splits(
        cls, name: str, *, note: str, splits: Mapping[str, tuple[str, NDArray[Any], NDArray[Any]]]
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
        parts = tuple(
            Split(split, origin, tuple(int((labels == label).sum()) for label in classes))
            for split, (origin, _, labels) in splits.items()
        )
        samples = tuple(
            shrink(pictures(X[np.flatnonzero(y == label)[:N_SAMPLES]], pixel_range), LARGEST_SAMPLE)
            for label in classes[:N_SAMPLE_CLASSES]
        )
        return cls(name, note, tuple(classes.tolist()), parts, X.shape[1:], pixel_range, samples)

    @property
    def n_images(self) -> int:
        """Images in all splits together."""
        return sum(split.n_images for split in self.splits)


@dataclass(frozen=True, eq=False, repr=False)
class CellImages(Summarised):
    """The test images of one cell of the confusion matrix.

    Attributes
    ----------
    row, column : int
        Positions of the true and of the predicted class.
    indices : tuple of int
        Test images, the most confident first.
    confidences : tuple of float or None
        Probability, 0..1, of the predicted class; None if the classifier gives none.
    pictures : ndarray of shape (n, height, width[, channels]), uint8
        The picture of each.
    """

    row: int
    column: int
    indices: tuple[int, ...]
    confidences: tuple[float | None, ...]
    pictures: NDArray[np.uint8]

    def _summary(self) -> Summary:
        return Summary(f"{len(self.indices)} images of row {self.row}, column {self.column}")


def behind_cells(
    evaluation: Evaluation, X_test: NDArray[Any], pixel_range: tuple[float, float]
) -> tuple[CellImages, ...]:
    """Return the images of each cell of the confusion matrix, as many as the page has room for."""
    n = len(evaluation.classes)
    if n > MATRIX_CLASSES:
        return ()
    rows, columns = (encode(labels, evaluation.classes) for labels in (evaluation.y_true, evaluation.y_pred))
    proba = evaluation.y_proba
    confidence = np.zeros(len(rows)) if proba is None else proba.max(axis=1)
    one = pictures(X_test[:1], pixel_range)
    room = CELL_PIXELS / one.size / np.count_nonzero(evaluation.confusion_matrix)  # pictures per cell
    n_shown = int(np.clip(room, 1, IMAGES_A_CELL))
    largest = max(1, int(max(one.shape[1:3]) * min(1, room) ** 0.5))  # sides, where not even one per cell fits
    cells = []
    for row, column in np.argwhere(evaluation.confusion_matrix).tolist():
        inside = np.flatnonzero((rows == row) & (columns == column))
        most = n_shown if row != column else max(1, n_shown // 2)
        chosen = inside[np.argsort(-confidence[inside], kind="stable")][:most]
        said = [None if proba is None else float(confidence[index]) for index in chosen]
        shown = shrink(pictures(X_test[chosen], pixel_range), largest)
        cells.append(CellImages(row, column, tuple(chosen.tolist()), tuple(said), shown))
    return tuple(cells)
