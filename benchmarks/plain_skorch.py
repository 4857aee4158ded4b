"""A skorch net as its documentation leads to, which is what benchmarks compare with.

It runs no training of cnnclf, which sets the allocator to keep what training frees.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn

from cnnclf.architectures._table import find_architecture


def standardised(X: np.ndarray) -> np.ndarray:
    """Give images (n, height, width) the shape, type and range that torch's own users give them."""
    return ((X[:, None] - X.mean()) / X.std()).astype(np.float32)


def layers(
    architecture: str, image_shape: tuple[int, int, int] = (1, 28, 28), n_classes: int = 10
) -> Callable[[], nn.Module]:
    """Give what skorch makes a new network with."""
    return partial(find_architecture(architecture).build, image_shape, n_classes)


def plain_skorch(
    architecture: str,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    n_classes: int = 10,
    *,
    optimizer: type[torch.optim.Optimizer],
    lr: float,
    max_epochs: int,
    batch_size: int,
) -> NeuralNetClassifier:
    """Build a net: float32, torch's DataLoader, no validation data."""
    return NeuralNetClassifier(
        layers(architecture, image_shape, n_classes),
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
