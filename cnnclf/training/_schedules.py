"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable
from functools import partial

import torch

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), fused=True),
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


def one_cycle(progress: float) -> float:
    """Rise linearly to the peak over the first 30 % of training, then fall along a cosine to zero.

    Source: Smith 2018, “A disciplined approach to neural network hyper-parameters”, section 4; the cosine
    descent as in fastai.
    """
    if progress < 0.3:
        return 0.1 + 0.9 * progress / 0.3
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7))


def cosine(progress: float) -> float:
    """Fall along a cosine from the peak to zero.

    Source: Loshchilov & Hutter 2017, “SGDR”, eq. 5 without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * progress))


# progress in [0, 1) → share of the peak learning rate; None leaves the optimiser's own value alone, so that
# a skorch LRScheduler callback can rule it.
SCHEDULES: dict[str, Callable[[float], float] | None] = {"one_cycle": one_cycle, "cosine": cosine, "constant": None}
