"""Random changes to a batch of images that leave their class alone, vectorised, on the batch's device."""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import grid_sample, interpolate

from cnnclf._utils.text import quote
from cnnclf.images._spec import SMALLEST_SIDE

Augmentation = Callable[[torch.Tensor], torch.Tensor]
AugmentationInEpoch = Callable[[torch.Tensor, int], torch.Tensor]
CoordinateMap = Callable[[torch.Tensor], torch.Tensor]

# How far `elastic` moves each of its coarse grid's points along each axis: standard deviation, as a share of the side.
ELASTIC_GRID = 5
ELASTIC_SD = 0.02


def flip(x: torch.Tensor, epoch: int = 0) -> torch.Tensor:
    """Mirror each image, left to right, in every second epoch; half of the images begin with it.

    The pixels of an image decide with which epoch it begins, so in any two epochs in a row the network sees each image
    and its mirror image once. After a random change the pixels are random, and so is the choice.

    Source: Jordan 2024, “94% on CIFAR-10 in 3.29 seconds on a single GPU”, section 3.6.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.
    epoch : int, default=0
        Number of epochs that are over.

    Returns
    -------
    Tensor of the same shape and dtype

    Examples
    --------
    >>> x = torch.arange(3, 9, dtype=torch.uint8).reshape(2, 1, 1, 3)
    >>> flip(x).flatten(1).tolist(), flip(x, epoch=1).flatten(1).tolist()
    ([[3, 4, 5], [8, 7, 6]], [[5, 4, 3], [6, 7, 8]])
    """
    mirrored = own_bit(x) != epoch % 2
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def own_bit(x: torch.Tensor) -> torch.Tensor:
    """Return a pseudo-random bit (n,) of each image that its pixels alone decide.

    It is the highest bit of Σ wᵢ bᵢ modulo 256 over the bytes b of the image, with fixed random weights w below 256.
    The lowest bit would not do: it is 0 for all images of even bytes.

    Source: Thorup 2015, “High speed hashing for integers and strings”, on vectors.

    Examples
    --------
    >>> own_bit(torch.eye(6).reshape(6, 1, 2, 3)).tolist()
    [1, 1, 0, 0, 0, 0]
    """
    # Bytes wrap around, which is modulo 256, and are an eighth of the memory of the int64 that a sum takes otherwise.
    image_bytes = x.contiguous().view(torch.uint8).flatten(1)
    fixed = torch.Generator(x.device).manual_seed(0)
    weights = torch.randint(256, image_bytes.shape[1:], generator=fixed, dtype=torch.uint8, device=x.device)
    return (image_bytes * weights).sum(dim=1, dtype=torch.uint8) >> 7


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
        return random_places(n, size, max(1, round(0.07 * size)), x.device).clamp(0, size - 1)

    return take(x, moved(height), moved(width))


def crop(x: torch.Tensor) -> torch.Tensor:
    """Pad each side by an eighth of its length, at least one pixel, by reflection; cut the old size out somewhere.

    Source: He, Zhang, Ren & Sun 2016, “Deep residual learning for image recognition”, section 4.2, who pad 32 pixels
    by 4, with zeros.

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
    >>> bool((crop(x)[0, 0, 3, 3] - x[0, 0, 3, 3]).abs() <= 9)  # one row (8) and one column (1) at most
    True
    """
    n, _, height, width = x.shape

    def moved(size: int) -> torch.Tensor:
        last = size - 1
        # The first pixel is not repeated: pixel -1 is pixel 1, and size is size - 2.
        return last - (last - random_places(n, size, max(1, size // 8), x.device).abs()).abs()

    return take(x, moved(height), moved(width))


def random_places(n: int, size: int, reach: int, device: torch.device) -> torch.Tensor:
    """Return the places 0, 1, …, size − 1 of n images (n, size), all of one image moved by a random whole number."""
    offsets = torch.randint(-reach, reach + 1, (n, 1), device=device)
    return torch.arange(size, device=device) + offsets


def take(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return each image composed of its rows (n, height) and columns (n, width) of these numbers."""
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
    return resample(x, [turn])


def elastic(x: torch.Tensor) -> torch.Tensor:
    """Bend each image smoothly, by about 2 % of its side, bilinearly, repeating the border.

    Five by five points that are spread evenly over the image, corners included, move by normal random numbers of a
    standard deviation of ``ELASTIC_SD`` of the side, along each axis; what lies between them follows bicubically.

    Source: Simard, Steinkraus & Platt 2003, “Best practices for convolutional neural networks applied to visual
    document analysis”, section 2; the coarse grid is that of Ronneberger, Fischer & Brox 2015, “U-Net: Convolutional
    networks for biomedical image segmentation”, section 3.1.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.

    Returns
    -------
    Tensor of the same shape, float32

    Examples
    --------
    >>> torch.allclose(elastic(torch.full((2, 1, 8, 8), 7.0)), torch.tensor(7.0))  # an even image stays even
    True
    """
    return resample(x, [bend])


def resample(x: torch.Tensor, maps: list[CoordinateMap]) -> torch.Tensor:
    """Take every pixel from its place on the maps, bilinearly, repeating the border.

    Several maps are combined into one resampling, because each resampling blurs.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.
    maps : list of callables, coordinates (n, height, width, xy) -> same shape
        Where a changed image takes each pixel from, in the order of the changes; coordinates run from -1 to 1.

    Returns
    -------
    Tensor of the same shape, float32
    """
    n, _, height, width = x.shape
    rows = (2 * torch.arange(height, device=x.device) + 1) / height - 1
    columns = (2 * torch.arange(width, device=x.device) + 1) / width - 1
    coordinates = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).expand(n, -1, -1, -1)
    # The last change is asked first where it takes a pixel from: that is a place in what the changes before it gave.
    for place in reversed(maps):
        coordinates = place(coordinates)
    return grid_sample(x.float(), coordinates, mode="bilinear", padding_mode="border", align_corners=False)


def turn(coordinates: torch.Tensor) -> torch.Tensor:
    """Map coordinates as `affine` does: A·p + t, with an A and a t of each image."""
    n, height, width, _ = coordinates.shape

    def uniform(reach: float) -> torch.Tensor:
        return (2 * torch.rand(n, device=coordinates.device) - 1) * reach

    angle = uniform(math.radians(15))
    zoom_x, zoom_y = 1 + uniform(0.1), 1 + uniform(0.1)
    shear = uniform(0.1)
    # Grid coordinates run from -1 to 1, so 7 % of a side is 0.14; rotation happens in pixels, hence the ratio.
    ratio = height / width
    cos, sin = angle.cos(), angle.sin()
    to_x = torch.stack([zoom_x * cos, ratio * zoom_x * (shear * cos - sin)], dim=1)
    to_y = torch.stack([zoom_y * sin / ratio, zoom_y * (shear * sin + cos)], dim=1)
    move = torch.stack([uniform(0.14), uniform(0.14)], dim=1)
    moved = coordinates.reshape(n, -1, 2) @ torch.stack([to_x, to_y], dim=2) + move[:, None]
    return moved.reshape(coordinates.shape)


def bend(coordinates: torch.Tensor) -> torch.Tensor:
    """Map coordinates as `elastic` does: each one moves by the displacement of its place in the image."""
    n, height, width, _ = coordinates.shape

    def bicubic(size: int) -> torch.Tensor:  # (size, points): what each pixel takes of each point
        points = torch.eye(ELASTIC_GRID, device=coordinates.device)[None, None]
        return interpolate(points, (size, ELASTIC_GRID), mode="bicubic", align_corners=True)[0, 0]

    # Grid coordinates run from -1 to 1, so a share of the side is twice that.
    coarse = 2 * ELASTIC_SD * torch.randn(n, 2, ELASTIC_GRID, ELASTIC_GRID, device=coordinates.device)
    # (n, xy, height, width). Two products of small matrices take a tenth of the time of interpolating every image.
    displacement = bicubic(height) @ coarse @ bicubic(width).T
    return coordinates + displacement.permute(0, 2, 3, 1)


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


def colour(x: torch.Tensor) -> torch.Tensor:
    """Change the brightness, the contrast and, of three channels, the saturation of each image by up to ±20 %.

    Brightness multiplies all pixels, contrast their distance from the image's mean, and saturation their distance from
    the grey of the same pixel, its luma as in ITU-R BT.601. Nothing is clipped, as the unit of the pixels is not known.
    Images of one, two, four or more channels get brightness and contrast only.

    Source: Howard 2013, “Some improvements on deep convolutional neural network based image classification”, section 2,
    who changes each by up to ±50 %; before him Krizhevsky, Sutskever & Hinton 2012, “ImageNet classification with deep
    convolutional neural networks”, section 4.1.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
        Raw pixels.

    Returns
    -------
    Tensor of the same shape, float32

    Examples
    --------
    >>> x = torch.full((5, 1, 8, 8), 100)  # an even image has no contrast
    >>> bool(((colour(x) >= 80) & (colour(x) <= 120)).all())
    True
    """
    x = x.float()

    def factor() -> torch.Tensor:
        return 0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, device=x.device)

    if x.shape[1] == 3:
        red, green, blue = x.unbind(dim=1)
        grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
        x = grey + factor() * (x - grey)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return factor() * (mean + factor() * (x - mean))


AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": flip,
    "crop": crop,
    "shift": shift,
    "affine": affine,
    "elastic": elastic,
    "colour": colour,
    "erase": erase,
}


class Compose:
    """Apply augmentations in order to images of at least 8×8 pixels; smaller ones are not changed.

    Neighbours among `affine` and `elastic` are one resampling. `flip` gets the epoch.

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
        self.steps: list[Augmentation] = []
        for moves, group in groupby(steps, key=lambda step: step is affine or step is elastic):
            members = list(group)
            if moves:
                members = [partial(resample, maps=[turn if step is affine else bend for step in members])]
            self.steps += members

    def __call__(self, x: torch.Tensor, epoch: int = 0) -> torch.Tensor:
        """Change a batch, after so many epochs."""
        if min(x.shape[2:]) < SMALLEST_SIDE:
            return x
        shape = x.shape
        for step in self.steps:
            x = flip(x, epoch) if step is flip else step(x)
            if not isinstance(x, torch.Tensor) or x.shape != shape:
                got = tuple(x.shape) if isinstance(x, torch.Tensor) else quote(x)
                raise ValueError(
                    f"Expected augment to return a tensor of the shape it was given, {tuple(shape)}; got {got}. "
                    "Change the function."
                )
        return x


def find_augmentation(augment: Any) -> Compose | None:
    """Return one function for the parameter ``augment``: a name, a function, or a sequence of them."""
    steps = [augment] if isinstance(augment, str) or callable(augment) else augment or ()
    functions = [AUGMENTATIONS[step] if isinstance(step, str) else step for step in steps]
    return Compose(functions) if functions else None
