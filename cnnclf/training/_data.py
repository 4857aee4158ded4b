"""Training data: which rows an epoch visits and in which order, what is held out, the weights, and the batches."""

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.dataset import Dataset

from cnnclf._utils.text import quote, quote_all
from cnnclf.architectures._modules import Standardise
from cnnclf.training._recognition import TrainingData, hash_images, hash_rows, keep
from cnnclf.training._runtime import session

# Σw up to which whole-number weights become repetitions, in multiples of the number of rows.
REPETITION_LIMIT = 10

Pixels = NDArray[np.uint8 | np.float32]
Batch = tuple[Any, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Checked images with their labels, in the order in which an epoch visits them before it shuffles.

    Attributes
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        Raw pixels.
    labels : ndarray of shape (n,), int64
        Class indices.
    weight : ndarray of shape (n,), float64, or None
        What the loss of each row is multiplied with.
    order : ndarray of shape (n_visits,), int64
        Row numbers.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    weight: NDArray[np.float64] | None
    order: NDArray[np.int64]


class Rows(Dataset):  # type: ignore[misc]
    """Images and labels in memory, with the order in which training visits them.

    Parameters
    ----------
    X : Tensor of shape (n, channels, height, width), uint8 or float32
        Raw pixels.
    y : Tensor of shape (n,), int64
        Class indices.
    order : Tensor of shape (n_visits,), int64, optional
        Row numbers of one epoch before shuffling; a row may come several times. All rows once by default.
    weight : Tensor of shape (n,), float32, optional
        What each row's loss is multiplied with.
    """

    def __init__(
        self, X: torch.Tensor, y: torch.Tensor, order: torch.Tensor | None = None, weight: torch.Tensor | None = None
    ) -> None:
        super().__init__(X, y)
        self.order = torch.arange(len(y), device=y.device) if order is None else order
        self.weight = weight

    def to(self, device: str) -> "Rows":
        """Move everything to a device, once."""
        weight = None if self.weight is None else self.weight.to(device)
        return Rows(self.X.to(device), self.y.to(device), self.order.to(device), weight)

    def take(self, order: torch.Tensor) -> Batch:
        """Return a batch; with weights X is a dict, as skorch expects for sample weights."""
        X = self.X.index_select(0, order)
        y = self.y.index_select(0, order)
        if self.weight is None:
            return X, y
        return {"X": X, "sample_weight": self.weight.index_select(0, order)}, y


class Batches:
    """One epoch over :class:`Rows`: shuffled for training, in order otherwise.

    Batches differ in size by at most one row, and a training batch has at least two: batch normalisation has no
    variance to learn from one.
    """

    def __init__(self, rows: Rows, batch_size: int, *, shuffle: bool) -> None:
        # A single row is repeated, as batch normalisation needs two.
        self.order = rows.order.repeat(2) if shuffle and len(rows.order) == 1 else rows.order
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        n_batches = math.ceil(len(self.order) / self.batch_size)
        return min(n_batches, len(self.order) // 2) if self.shuffle else n_batches

    def __iter__(self) -> Iterator[Batch]:
        order = self.order
        if self.shuffle:
            # Drawn on the CPU, so that every device sees the same order.
            order = order[torch.randperm(len(order)).to(order.device)]
        for part in order.tensor_split(len(self)):
            yield self.rows.take(part)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The data of a fit.

    Attributes
    ----------
    rows : Rows
        The images to learn from.
    valid : Rows or None
        The images that are only evaluated, after each epoch.
    batch_size : int
        Images per gradient step.
    """

    rows: Rows
    valid: Rows | None
    batch_size: int


def prepare(clf: Any, data: Labelled, validation: Labelled | None = None, held_out: float | None = None) -> TrainingSet:
    """Return the data of a fit: validation rows set aside, weights combined, arrays as tensors.

    Parameters
    ----------
    clf : CNNClassifier
        Its parameters and classes are checked, its seed is drawn.
    data : Labelled
        The training data.
    validation : Labelled, optional
        The validation data that the caller gave.
    held_out : float, optional
        Share of the distinct training rows that is set aside where the caller gave no validation data.

    Returns
    -------
    TrainingSet

    Raises
    ------
    ValueError
        If no row can be set aside, or if the class weights name other classes or are all zero.
    """
    order = data.order
    if validation is None and held_out is not None:
        order, aside = split_rows(order, data.pixels, data.labels, held_out, clf.seed_)
        weight = None if data.weight is None else data.weight[aside]
        validation = Labelled(data.pixels[aside], data.labels[aside], weight, np.arange(len(aside)))
    of_class = class_weights(clf.class_weight, clf.classes_, data.labels, data.weight, order)
    rows = make_rows(replace(data, order=order), of_class)
    valid = None if validation is None else make_rows(validation, of_class)
    return TrainingSet(rows, valid, choose_batch_size(clf.batch_size, len(order)))


def remember(seen: TrainingData, data: Labelled) -> TrainingData:
    """Return the record of all training data after more of it was learnt."""
    hashes = keep(seen.learnt, hash_images(data.pixels)[data.order])
    return TrainingData(fingerprint(data, seen.sha256), hashes, seen.examples)


def arrange(
    pixels: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows that an epoch visits, in an order that does not depend on the order of the data.

    Rows of weight zero are dropped. Whole-number weights become repetitions, so that a weight of two is a row
    that stands there twice, to the bit, shuffling and batch normalisation included; they do as long as Σw is at
    most ``REPETITION_LIMIT`` times the number of rows with a weight, which bounds an epoch to ten times its visits.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width)
        Checked images.
    labels : ndarray of shape (n,), int64
        Class indices.
    sample_weight : ndarray of shape (n,), float64, or None
        Non-negative, not all zero.

    Returns
    -------
    order : ndarray of shape (n_visits,), int64
        Row numbers, sorted by content.
    weight : ndarray of shape (n,), float64, or None
        What is left to multiply each row's loss with.

    Examples
    --------
    >>> pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> order, weight = arrange(pixels, np.zeros(4, np.int64), np.array([0.0, 1.0, 3.0, 0.0]))
    >>> np.bincount(order, minlength=4).tolist(), weight
    ([0, 1, 3, 0], None)
    """
    keys = [labels, hash_rows(pixels)]
    if sample_weight is None:
        return np.lexsort(keys), None
    if (sample_weight == np.floor(sample_weight)).all():
        n_rows = np.count_nonzero(sample_weight)
        limit = REPETITION_LIMIT * n_rows
        # The maximum is looked at first, as the sum of the largest numbers would overflow.
        if sample_weight.max() <= limit and sample_weight.sum() <= limit:
            order = np.lexsort(keys)
            return np.repeat(order, sample_weight[order].astype(np.int64)), None
        warnings.warn(
            f"Expected whole-number sample_weight of a sum of at most {limit:,}, {REPETITION_LIMIT} times the "
            f"{n_rows:,} rows, so that each weight is a repetition; got more, so they multiply the loss. "
            "If they are counts, repeat the rows with np.repeat; if not, divide them by their mean.",
            UserWarning,
            stacklevel=4,  # the caller of fit or partial_fit
        )
    order = np.lexsort([sample_weight, *keys])
    return order[sample_weight[order] > 0], sample_weight


def fingerprint(data: Labelled, before: str = "") -> str:
    """Compute the SHA-256 of images, class indices and weights in their order.

    Data that came in several calls is named by all of them: `before` is the SHA-256 of what came earlier.
    """
    pixels, order = data.pixels, data.order
    sha256 = hashlib.sha256(f"{before} {pixels.dtype.str} {pixels.shape[1:]}\n".encode())
    arrays: list[Any] = [pixels, data.labels, *([] if data.weight is None else [data.weight])]
    for array in arrays:
        step = max(1, 2**17 // array[:1].nbytes)  # so that a gathered slice is still in the cache when it is hashed
        for start in range(0, len(order), step):
            sha256.update(array[order[start : start + step]])
    return sha256.hexdigest()


def choose_batch_size(batch_size: int | str, n_rows: int) -> int:
    """Return the batch size; ``"auto"`` is a power of two from 16 to 128, for about a hundred steps per epoch."""
    if not isinstance(batch_size, str):
        return int(batch_size)
    return int(2 ** np.clip(round(math.log2(max(1, n_rows) / 100)), 4, 7))


def split_rows(
    order: NDArray[np.int64], pixels: Pixels, labels: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the distinct rows, each with all of its visits, into rows to train on and rows to validate on.

    Webster's method shares them out among the classes: row r = 0, 1, … of the n rows of a class has rank (r + ½) / n.
    The last row of a class is never held out, so that every class is trained on.
    """
    # Equal rows are next to each other in the order, as it is sorted by content.
    hashes, visited = hash_rows(pixels)[order], labels[order]
    is_new = np.append(True, (hashes[1:] != hashes[:-1]) | (visited[1:] != visited[:-1]))
    labels_of_distinct = visited[is_new]
    n_distinct = len(labels_of_distinct)

    shuffled = np.random.default_rng(seed).permutation(n_distinct)
    shuffled = shuffled[np.argsort(labels_of_distinct[shuffled], kind="stable")]  # class by class
    counts = np.bincount(labels_of_distinct)
    n = np.repeat(counts, counts)
    r = np.arange(n_distinct) - np.repeat(counts.cumsum() - counts, counts)
    candidates = np.flatnonzero(r < n - 1)
    if not len(candidates):
        raise ValueError(
            "Expected two different rows of a class for early_stopping, one to train on and one to validate on; "
            f"got n_samples={len(order)}, all of different classes or equal. "
            "Pass more rows, or X_val and y_val, or early_stopping=False."
        )
    n_held_out = min(math.ceil(fraction * n_distinct), len(candidates))
    turn = (r + 0.5) / n
    chosen = candidates[np.lexsort([shuffled[candidates], turn[candidates]])[:n_held_out]]

    is_held_out = np.zeros(n_distinct, dtype=bool)
    is_held_out[shuffled[chosen]] = True
    held_out = is_held_out[is_new.cumsum() - 1]
    return order[~held_out], order[held_out]


def class_weights(
    class_weight: dict[Any, float] | str | None,
    classes: NDArray[Any],
    labels: NDArray[np.int64],
    sample_weight: NDArray[np.float64] | None,
    order: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """Return one weight per class for ``class_weight``, "balanced" as Σw / (n_classes · Σw of the class)."""
    if class_weight is None:
        return None
    visited = labels[order]
    weights = np.ones(len(classes))
    if isinstance(class_weight, dict):
        left_out = [label for label in classes.tolist() if label not in class_weight]
        strangers = [label for label in class_weight if label not in classes]
        # Classes may be missing here, as in a fold; but an unknown one beside one left out is a misspelling.
        if left_out and strangers:
            raise ValueError(
                f"Expected class_weight to name the classes of y; got {quote_all(strangers)} and nothing for "
                f"{quote_all(left_out)}. Name the classes as y does."
            )
        for label, weight in class_weight.items():
            weights[classes == label] = weight
    else:
        counted = None if sample_weight is None else sample_weight[order] / sample_weight.max()  # no sum overflows
        sums = np.bincount(visited, counted, minlength=len(classes))
        present = sums > 0
        weights[present] = sums.sum() / (present.sum() * sums[present])
    if not weights[visited].any():
        raise ValueError(f"Expected some class_weight above 0; got {quote(class_weight)}. Set one above 0.")
    return weights


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor in the same memory, to which nothing may be written."""
    return torch.from_numpy(array if array.flags.writeable else np.asarray(Writeable(array)))


class Writeable:
    """A read-only array as torch takes it, which knows no such memory; a copy of a mapped file could be too large."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # is kept as long as this is
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def make_rows(data: Labelled, of_class: NDArray[np.float64] | None) -> Rows:
    """Return data as tensors; the weights in the loss, sample times class, have mean one over the order."""
    weight = None
    if data.weight is not None or of_class is not None:
        combined = np.ones(len(data.labels)) if data.weight is None else data.weight
        combined = combined if of_class is None else combined * of_class[data.labels]
        combined = combined / max(combined.max(), np.finfo(np.float64).tiny)  # so that no sum overflows
        total = combined[data.order].sum()
        if total > 0:  # validation data may hold nothing but classes of weight zero: it is measured all the same
            weight = (combined * (len(data.order) / total)).astype(np.float32)
    with session("cpu"):
        factors = None if weight is None else torch.from_numpy(weight)
        return Rows(as_tensor(data.pixels), torch.from_numpy(data.labels), torch.from_numpy(data.order), factors)


def measure(rows: Rows, *, one_unit: bool) -> Standardise:
    """Return the first layer, with the mean and standard deviation of the rows that training visits.

    Where all channels have one unit, no deviation is below a quarter of the largest: a channel that is constant but for
    a few pixels, such as alpha, would otherwise outweigh all others where it differs in prediction.
    """
    with session("cpu"):
        standardise = Standardise.learn(rows.X, rows.order)
        if one_unit:
            std = standardise.std
            standardise.std = torch.where(std > 0, std.clamp(min=std.max() / 4), std)
        return standardise
