"""Random changes to a batch of images that leave their class alone, vectorised, on the batch's device."""

import math
from collections.abc import Callable

import torch
from torch.nn.functional import affine_grid, grid_sample

Augmentation = Callable[[torch.Tensor], torch.Tensor]

# Below eight pixels a side, a shift by one pixel is no longer a small change.
SMALLEST_SIDE = 8


def shift(x: torch.Tensor) -> torch.Tensor:
    """Move each image by whole pixels, up to 7 % of its side and at least one, repeating the border.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.

    Returns
    -------
    Tensor of the same shape and dtype

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> x = torch.arange(64.0).reshape(1, 1, 8, 8)
    >>> bool((shift(x)[0, 0, 3, 3] - x[0, 0, 3, 3]).abs() <= 9)  # one row (8) and one column (1) at most
    True
    """
    n, _, height, width = x.shape

    def moved(size: int) -> torch.Tensor:
        reach = max(1, round(0.07 * size))
        offsets = torch.randint(-reach, reach + 1, (n, 1), device=x.device)
        return (torch.arange(size, device=x.device) + offsets).clamp(0, size - 1)

    rows, columns = moved(height), moved(width)
    x = x.gather(2, rows[:, None, :, None].expand(x.shape))
    return x.gather(3, columns[:, None, None, :].expand(x.shape))


def affine(x: torch.Tensor) -> torch.Tensor:
    """Rotate by up to ±15°, zoom by ±10 %, shear by ±10 % and move by ±7 %, bilinearly, repeating the border.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.

    Returns
    -------
    Tensor of the same shape, float32

    Examples
    --------
    >>> torch.allclose(affine(torch.full((2, 1, 8, 8), 7.0)), torch.tensor(7.0))  # an even image stays even
    True
    """
    n, _, height, width = x.shape

    def uniform(reach: float) -> torch.Tensor:
        return (2 * torch.rand(n, device=x.device) - 1) * reach

    angle = uniform(math.radians(15))
    zoom_x, zoom_y = 1 + uniform(0.1), 1 + uniform(0.1)
    shear = uniform(0.1)
    # Grid coordinates run from -1 to 1, so 7 % of a side is 0.14; rotation happens in pixels, hence the ratio.
    ratio = height / width
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([zoom_x * cos, ratio * zoom_x * (shear * cos - sin), uniform(0.14)], dim=1),
            torch.stack([zoom_y * sin / ratio, zoom_y * (shear * sin + cos), uniform(0.14)], dim=1),
        ],
        dim=1,
    )
    grid = affine_grid(theta, list(x.shape), align_corners=False)
    return grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def erase(x: torch.Tensor) -> torch.Tensor:
    """Overwrite a rectangle in half of the images with the image's own mean; its sides are 1/8 to 3/8 of the image's.

    Source: Zhong et al. 2020, “Random erasing data augmentation”, algorithm 1.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.

    Returns
    -------
    Tensor of the same shape, float32

    Examples
    --------
    >>> erase(torch.ones(4, 1, 8, 8)).unique()
    tensor([1.])
    """
    n, _, height, width = x.shape
    x = x.float()

    def covered(size: int) -> torch.Tensor:
        length = (torch.rand(n, 1, device=x.device) * size / 4 + size / 8).round()
        start = (torch.rand(n, 1, device=x.device) * (size - length + 1)).floor()
        position = torch.arange(size, device=x.device)
        return (position >= start) & (position < start + length)

    chosen = torch.rand(n, device=x.device) < 0.5
    mask = chosen[:, None, None] & covered(height)[:, :, None] & covered(width)[:, None, :]
    return torch.where(mask[:, None], x.mean(dim=(2, 3), keepdim=True), x)


AUGMENTATIONS: dict[str, Augmentation] = {"shift": shift, "affine": affine, "erase": erase}


class Compose:
    """Apply augmentations one after the other to images of at least eight pixels a side; leave smaller ones alone.

    Parameters
    ----------
    steps : sequence of callables (n, channels, height, width) -> same shape
        Applied in this order.

    Examples
    --------
    >>> Compose([shift, erase])(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, steps: list[Augmentation]) -> None:
        self.steps = steps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Change a batch."""
        if min(x.shape[2:]) < SMALLEST_SIDE:
            return x
        for step in self.steps:
            x = step(x)
        return x
