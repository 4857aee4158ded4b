"""Images and labels in memory, and the batches of one epoch over them."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from skorch.dataset import Dataset

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
