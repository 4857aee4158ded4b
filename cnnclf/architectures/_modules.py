"""Modules of our own: the standardising first layer and the residual block."""

import math

import torch
from torch import nn


class Standardise(nn.Module):
    """First layer of every fitted network: raw pixels of any dtype become (pixel − mean) / std, channel by channel.

    A channel that never varied in training, of std 0, becomes 0 for any image, as the network has not learnt from it.

    Parameters
    ----------
    mean, std : Tensor of shape (channels,), float32
        Learnt from the training images, in pixel units.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    @classmethod
    def learn(cls, pixels: torch.Tensor, order: torch.Tensor) -> "Standardise":
        """Measure mean and standard deviation of each channel over the rows in ``order``.

        Parameters
        ----------
        pixels : Tensor of shape (n, channels, height, width), uint8 or float32
            Raw pixels.
        order : Tensor of shape (n_visits,), int64
            Rows to measure, in the order in which they are added up.
        """
        n_channels = pixels.shape[1]
        n = len(order) * pixels[0, 0].numel()
        step = max(1, 2**17 // pixels[0].numel())  # slices whose float64 copies stay in the cache
        mean = variance = torch.zeros(n_channels, dtype=torch.float64)
        if pixels.dtype == torch.uint8:  # sums of whole numbers are exact in any order, and one pass is enough
            total, squares = torch.zeros(2, n_channels, dtype=torch.float64)
            visits = torch.bincount(order, minlength=len(pixels)).double()
            for part, times in zip(torch.split(pixels, step), torch.split(visits, step), strict=True):
                x = part.double()
                total += times @ x.sum(dim=(2, 3))
                squares += times @ x.square_().sum(dim=(2, 3))
            mean = total / n
            # n Σx² − (Σx)² in Python's integers, as it may be the small difference of large numbers.
            pairs = zip(total.tolist(), squares.tolist(), strict=True)
            variance = torch.tensor([(n * int(q) - int(s) ** 2) / n**2 for s, q in pairs], dtype=torch.float64)
        else:
            varies = torch.zeros(n_channels, dtype=torch.bool)
            for part in torch.split(order, step):
                x = pixels.index_select(0, part)
                mean = mean + x.double().sum(dim=(0, 2, 3)) / n
                varies |= (x != pixels[order[0], :, :1, :1]).any(dim=3).any(dim=2).any(dim=0)
            for part in torch.split(order, step):
                deviation = pixels.index_select(0, part).double() - mean[:, None, None]
                variance = variance + deviation.square_().sum(dim=(0, 2, 3)) / n
            variance *= varies  # of a channel that never varies rounding alone is left
        return cls(mean.float(), variance.sqrt().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise images of shape (n, channels, height, width)."""
        return (x.to(self.mean.dtype) - self.mean) / self.std.masked_fill(self.std == 0, math.inf)


class Residual(nn.Module):
    """A residual block, ``body(x) + shortcut(x)``: one layer of an ``nn.Sequential`` that a trace can enter.

    Parameters
    ----------
    body : nn.Sequential
        The named layers of the residual branch.
    shortcut : nn.Module, optional
        Brings ``x`` to the shape of the residual branch's output, such as a 1×1 convolution; the default is ``x``.

    References
    ----------
    He et al. 2016, Deep residual learning for image recognition, section 3.2.

    Examples
    --------
    >>> block = Residual(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)))
    >>> block(torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 1, 5, 5])
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of the residual branch and the shortcut."""
        shortcut: torch.Tensor = x if self.shortcut is None else self.shortcut(x)
        body: torch.Tensor = self.body(x)
        return body + shortcut
