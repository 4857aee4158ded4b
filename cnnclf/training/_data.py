"""Training data in memory: rows in canonical order, and batches of them."""

import hashlib
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.dataset import Dataset

from cnnclf.architectures._modules import Standardise
from cnnclf.training._recognition import Hashes, hash_rows
from cnnclf.training._runtime import session

# Σw up to which whole-number weights become repetitions, in multiples of the number of rows.
REPETITION_LIMIT = 10

Batch = tuple[Any, torch.Tensor]


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
        self,
        X: torch.Tensor,
        y: torch.Tensor,
        order: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> None:
        super().__init__(X, y)
        self.order = torch.arange(len(y), device=y.device) if order is None else order
        self.weight = weight

    def to(self, device: str) -> "Rows":
        """Move everything to a device, once."""
        weight = None if self.weight is None else self.weight.to(device)
        return Rows(self.X.to(device), self.y.to(device), self.order.to(device), weight)

    def take(self, order: torch.Tensor) -> Batch:
        """Gather a batch; with weights, X is a dict, which is skorch's way for sample weights."""
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
        # A lone row stands beside itself.
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


def arrange(
    pixels: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decide which rows an epoch visits, in an order that does not depend on how they came.

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
            stacklevel=3,  # the caller of fit or partial_fit
        )
    order = np.lexsort([sample_weight, *keys])
    return order[sample_weight[order] > 0], sample_weight


def fingerprint(
    pixels: np.ndarray, labels: np.ndarray, weight: np.ndarray | None, order: np.ndarray, before: str = ""
) -> str:
    """Name training data by its content: SHA-256 of images, class indices and weights in the order of `arrange`.

    Data that came in several calls is named by all of them: `before` is the name of what came earlier.
    """
    sha256 = hashlib.sha256(f"{before} {pixels.dtype.str} {pixels.shape[1:]}\n".encode())
    for array in (pixels, labels, *([] if weight is None else [weight])):
        step = max(1, 2**17 // array[:1].nbytes)  # so that a gathered slice is still in the cache when it is hashed
        for start in range(0, len(order), step):
            sha256.update(array[order[start : start + step]])
    return sha256.hexdigest()


def choose_batch_size(batch_size: int | str, n_rows: int) -> int:
    """Resolve ``"auto"``: about a hundred steps an epoch, by a power of two from 16 to 128."""
    if not isinstance(batch_size, str):
        return int(batch_size)
    return int(2 ** np.clip(round(math.log2(max(1, n_rows) / 100)), 4, 7))


Pixels = NDArray[np.uint8 | np.float32]
Labelled = tuple[Pixels, NDArray[np.int64], NDArray[np.float64] | None]  # pixels, encoded labels, sample weights


class TrainingData(NamedTuple):
    """What is kept of all data that training has seen: a name for its content, and hashes to recognise images by."""

    sha256: str
    learnt: Hashes


def split_rows(
    order: NDArray[np.int64], pixels: Pixels, labels: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set a share of the distinct rows aside, each with all of its visits, so that none is learnt and validated on.

    Each class gives its share of them by Webster's method, row r = 0, 1, … of its n rows coming at (r + ½) / n, but
    never its last row: what is to be told apart must be learnt.
    """
    # Equal rows stand next to each other in the order, as it is sorted by content.
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
            "early_stopping needs two different rows of a class, one to learn from and one to validate on; "
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


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """View an array as a tensor; a read-only one is copied, as torch knows no read-only memory."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def make_rows(
    pixels: Pixels,
    labels: NDArray[np.int64],
    sample_weight: NDArray[np.float64] | None,
    of_class: NDArray[np.float64] | None,
    order: NDArray[np.int64] | None = None,
) -> Rows:
    """Hand arrays over to torch; the weights in the loss, sample times class, get mean one over the order."""
    weight = None
    if sample_weight is not None or of_class is not None:
        combined = np.ones(len(labels)) if sample_weight is None else sample_weight
        combined = combined if of_class is None else combined * of_class[labels]
        combined = combined / max(combined.max(), np.finfo(np.float64).tiny)  # so that no sum overflows
        total = combined.sum() if order is None else combined[order].sum()
        if total > 0:  # validation data may hold nothing but classes of weight zero: it is measured all the same
            n_visits = len(labels) if order is None else len(order)
            weight = (combined * (n_visits / total)).astype(np.float32)
    with session("cpu"):
        visits, factors = (None if array is None else torch.from_numpy(array) for array in (order, weight))
        return Rows(as_tensor(pixels), torch.from_numpy(labels), visits, factors)


def measure(rows: Rows, *, one_unit: bool) -> Standardise:
    """Learn the first layer: mean and standard deviation of what training visits.

    Of channels in one unit none gets a deviation below a quarter of the largest: one that is constant but for a few
    pixels, such as alpha, would else outweigh all others where it is different later.
    """
    with session("cpu"):
        standardise = Standardise.learn(rows.X, rows.order)
        if one_unit:
            std = standardise.std
            standardise.std = torch.where(std > 0, std.clamp(min=std.max() / 4), std)
        return standardise
