"""Pictures of a report: misclassified images behind the cells of a confusion matrix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import Summarised, Summary
from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.report._render import pictures, shrink

MATRIX_CLASSES = 30  # more make the matrix on the page a picture, whose cells cannot be opened
IMAGES_A_CELL = 24
CELL_PIXELS = 1_000_000  # numbers in all pictures behind the confusion matrix: about a megabyte of page


@dataclass(frozen=True, eq=False, repr=False)
class CellImages(Summarised):
    """Test images behind one cell of the confusion matrix.

    Attributes
    ----------
    row, column : int
        Positions of the true and of the predicted class.
    indices : tuple of int
        Test images, the most confident first.
    confidences : tuple of float or None
        Probability, 0..1, of what was said; None where the classifier gives none.
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
    """Take the pictures behind each cell of the confusion matrix, as many as the page has room for."""
    n = len(evaluation.classes)
    if n > MATRIX_CLASSES:
        return ()
    row_of = {label: position for position, label in enumerate(evaluation.classes.tolist())}
    rows, columns = (
        np.array([row_of[label] for label in labels.tolist()]) for labels in (evaluation.y_true, evaluation.y_pred)
    )
    proba = evaluation.y_proba
    confidence = np.zeros(len(rows)) if proba is None else proba.max(axis=1)
    one = pictures(X_test[:1], pixel_range)
    room = CELL_PIXELS / one.size / np.count_nonzero(evaluation.confusion_matrix)  # pictures per cell
    n_shown = int(np.clip(room, 1, IMAGES_A_CELL))
    largest = max(1, int(max(one.shape[1:3]) * min(1, room) ** 0.5))  # sides, where not even one per cell fits
    cells = []
    for row, column in np.argwhere(evaluation.confusion_matrix).tolist():
        inside = np.flatnonzero((rows == row) & (columns == column))
        chosen = inside[np.argsort(-confidence[inside], kind="stable")][
            : n_shown if row != column else max(1, n_shown // 2)
        ]
        said = [None if proba is None else float(confidence[index]) for index in chosen]
        shown = shrink(pictures(X_test[chosen], pixel_range), largest)
        cells.append(CellImages(row, column, tuple(chosen.tolist()), tuple(said), shown))
    return tuple(cells)
