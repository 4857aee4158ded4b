"""Images that are numbers already: `Arrays`; and `Plan`, the size and the colours that all splits get."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import MOST_PIXELS
from cnnclf._utils.text import counted, quote, unexpected
from cnnclf.images._spec import InputSpec, infer_layout, white_level

MODES = {"grey": "L", "rgb": "RGB"}  # what the parameter `mode` calls Pillow's modes
LOADED_MODES = ("L", "RGB", "RGBA")  # each can hold all that the ones before it hold
COLOURS = {"L": "grey", "RGB": "RGB", "RGBA": "RGBA"}
N_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
FEWEST_FLATTENED = 64  # pixels: an axis that is so long, a square, and beside one of channels has been an image
MOST_OF_WHITE = 10  # times the training images' white: brighter pixels are in another unit
# Neighbours differ less in one order of channels than in the other, by this factor at least.
CLEARLY_SMOOTHER = 0.8

Size: TypeAlias = tuple[int, int]  # height, width
Images: TypeAlias = NDArray[Any]
Labels: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """What all splits of a dataset become: decided by the training split and by what the caller asks for.

    Attributes
    ----------
    size : tuple of int
        (height, width).
    mode : {"L", "RGB", "RGBA"}
        Pillow's mode.
    resizes : bool
        Whether images of another size are resized, or refused.
    recolours : bool
        Whether arrays become uint8, with other channels if need be, or those with others are refused; pictures always
        become it.
    white : int or None
        The number that is white in training images that are arrays; None where it is not known.
    """

    size: Size
    mode: str
    resizes: bool
    recolours: bool = True
    white: int | None = 255

    @property
    def spec(self) -> InputSpec:
        """The same as a network's input that keeps proportions, so that training and prediction prepare alike."""
        n_channels = N_CHANNELS[self.mode]
        shape = (*self.size, n_channels) if n_channels > 1 else self.size
        image_shape = (n_channels, *self.size)
        return InputSpec(shape, image_shape, n_channels > 1, "uint8", 255, preparation="pad")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images that are numbers already.

    Attributes
    ----------
    path : Path
        Where they come from.
    X : ndarray of shape (n, height, width) or (n, height, width, channels)
        Their pixels.
    y : ndarray of shape (n,)
        Their labels.
    """

    path: Path
    X: Images
    y: Labels

    @property
    def sizes(self) -> Counter[Size]:
        """How many images there are of each (height, width)."""
        return Counter({self.X.shape[1:3]: len(self.X)})

    @property
    def mode(self) -> str:
        """Pillow's mode of so many channels."""
        return LOADED_MODES[{1: 0, 3: 1, 4: 2}[self.X.shape[3] if self.X.ndim == 4 else 1]]

    @property
    def colours(self) -> set[str]:
        """What colours they have, in words."""
        return {COLOURS[self.mode]}

    @cached_property
    def white(self) -> int | None:
        """The number that is white, see :func:`cnnclf.images._spec.white_level`."""
        return white_level(self.X[:, np.newaxis] if self.X.ndim == 3 else np.moveaxis(self.X, 3, 1))

    def plan(self, size: Size | str | None, mode: str | None) -> Plan:
        """Return what all splits become where this is the training split."""
        wanted = size if isinstance(size, tuple) else self.X.shape[1:3]
        recolours = size is not None or mode is not None
        return Plan(wanted, mode or self.mode, size is not None, recolours, self.white)

    def load(self, plan: Plan) -> Images:
        """Return images; where a size or a mode is asked for, pixels are uint8, 0 to 255."""
        size = self.X.shape[1:3]
        if plan.white is not None and self.X.max() > MOST_OF_WHITE * plan.white:
            expected, found = f"pixels of 0 to {plan.white}, as the training images have", f"up to {self.X.max():.4g}"
            raise ValueError(unexpected(self.path, expected, found, "Bring all splits to one unit"))
        if size == plan.size and self.mode == plan.mode:
            return self.as_bytes(plan.white) if plan.recolours else self.X
        if size != plan.size and not plan.resizes:
            refuse_other_sizes(self.path, plan.size, self.sizes)
        if not plan.recolours:
            expected, found = f"{COLOURS[plan.mode]} images, as the training images are", COLOURS[self.mode]
            advice = "Give all splits the same channels, or pass mode to load_dataset"
            raise ValueError(unexpected(self.path, expected, found, advice))
        from PIL import Image

        from cnnclf.images._many import progress_bar
        from cnnclf.images._pictures import prepare

        out = np.empty((len(self.X), *plan.spec.input_shape), np.uint8)
        with progress_bar(len(out)) as update:
            for row, image in zip(out, self.as_bytes(plan.white), strict=True):
                row[:] = prepare(Image.fromarray(image), plan.spec, str(self.path))
                update(1)
        return out

    def take(self, order: NDArray[np.int64]) -> "Arrays":
        """Return the images of these numbers, in their order."""
        return Arrays(self.path, self.X[order], self.y[order])

    def as_bytes(self, white: int | None) -> NDArray[np.uint8]:
        """Return the pixels in 8 bits, if this number is white in them; bytes whose white is not known stay."""
        if self.X.dtype == np.uint8 and white in (None, 255):
            return self.X
        if white is None:
            raise ValueError(
                unexpected(
                    self.path,
                    "pixels from 0 to 1, 255 or 65535, to resize them or change their channels",
                    f"{self.X.min():.4g} to {self.X.max():.4g}",
                    "Scale the pixels",
                )
            )
        return np.rint(self.X / white * 255).clip(0, 255).astype(np.uint8)


def check_pixels(path: Path | str, plan: Plan) -> None:
    """Refuse images that are larger than a network takes."""
    if math.prod(plan.spec.input_shape) > MOST_PIXELS:
        expected, found = f"images of at most {MOST_PIXELS:,} numbers", f"{pixels(plan.size)} pixels"
        raise ValueError(unexpected(path, expected, found, "Pass a smaller size, or --size on the command line"))


def refuse_other_sizes(path: Path | str, wanted: Size | None, sizes: Counter[Size], odd: str | None = None) -> None:
    """Raise the error for images that should have one size and have others, with the sizes found and an odd image."""
    most = 4
    listed = [f"{pixels(size)} ({n:,})" for size, n in sizes.most_common(most)]
    rest = len(sizes) - len(listed)
    found = ", ".join(listed) + (f" and {counted(rest, 'more size')}" if rest else "") + ", width × height"
    found += f"; the first other is {quote(Path(odd))}" if odd else ""
    expected = "images of one size" if wanted is None else f"images of {pixels(wanted)}, as the training images are"
    advice = "Pass size=(height, width) or size='median', or --size on the command line"
    raise ValueError(unexpected(path, expected, found, advice))


def pixels(size: Size) -> str:
    """Write an image's size, width first, as programs that show pictures do.

    Examples
    --------
    >>> pixels((480, 640))
    '640×480'
    """
    return f"{size[1]}×{size[0]}"


def as_arrays(path: Path, X: Images, y: Labels) -> Arrays:
    """Check arrays from a file, and bring images to (n, height, width[, channels]) and labels to (n,).

    Raises
    ------
    ValueError
        If they are no images and their labels.
    """
    return Arrays(path, as_images(path, X), as_labels(path, y, len(X)))


def as_images(path: Path, X: Images) -> Images:
    """Return images of the shape (n, height, width) or (n, height, width, channels)."""
    if X.dtype.kind not in "buif" or X.ndim < 2 or 0 in X.shape:
        found = f"an array of shape {X.shape} of {X.dtype.newbyteorder('=')}"
        raise ValueError(unexpected(path, "images, as rows of real numbers", found, "Check the file"))
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        raise ValueError(unexpected(path, "finite pixels", "some that are NaN or infinite", "Check the file"))
    if X.ndim == 2:
        return as_squares(path, X)
    shortest, longest = min(X.shape[1:]), max(X.shape[1:])
    if X.ndim == 3 and shortest in N_CHANNELS.values() and longest >= FEWEST_FLATTENED and is_square(longest):
        found = f"an array of shape {X.shape}, which seems flattened"
        raise ValueError(unexpected(path, "images", found, "Store them as (n, height, width, channels)"))
    if X.ndim == 3:
        return X
    try:
        layout = infer_layout(X.shape[1:])
    except ValueError as error:
        raise ValueError(
            unexpected(
                path,
                "one axis of 1, 3 or 4 channels, the first or the last of an image",
                f"an array of shape {X.shape}",
                "Store it with the shape (n, height, width, channels)",
            )
        ) from error
    if not layout.channels_last:
        X = np.moveaxis(X, 1, 3)
    return X[..., 0] if X.shape[3] == 1 else X


def is_square(number: int) -> bool:
    """Check whether a number is the square of another one."""
    return math.isqrt(number) ** 2 == number


def as_squares(path: Path, X: Images) -> Images:
    """Return flat rows as square images, grey or RGB; of the two orders of channels, the one with smoother images."""
    for n_channels in (1, 3):
        side = math.isqrt(X.shape[1] // n_channels)
        if n_channels * side * side != X.shape[1]:
            continue
        if n_channels == 1:
            return X.reshape(len(X), side, side)
        readings = X.reshape(len(X), side, side, 3), np.moveaxis(X.reshape(len(X), 3, side, side), 1, 3)
        # Between rows, as in the wrong order neighbours in a row may be the colours of one grey pixel.
        last, first = (float(np.abs(np.diff(x[:1000].astype(np.float64), axis=1)).mean()) for x in readings)
        if min(last, first) < CLEARLY_SMOOTHER * max(last, first):
            return readings[0 if last < first else 1]
        advice = "Save an .npz of images, (n, height, width, 3)"
        raise ValueError(unexpected(path, "a clear order of channels", f"rows of {X.shape[1]:,} numbers", advice))
    found = f"rows of {X.shape[1]:,} numbers"
    raise ValueError(unexpected(path, "rows of a square number of pixels", found, "Store them as images"))


def as_labels(path: Path, y: Labels, n: int) -> Labels:
    """Return n labels as whole numbers or text."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "biuf":
        of = "(one-hot)" if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all() else "(several labels)"
        advice = "Save y.argmax(axis=1)" if of == "(one-hot)" else "Choose one of them"
        raise ValueError(unexpected(path, "one label per image", f"{y.shape[1]} numbers {of}", advice))
    if y.ndim != 1 or len(y) != n:
        raise ValueError(unexpected(path, f"{n:,} labels, one per image", f"an array of shape {y.shape}", "Check it"))
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(unexpected(path, "labels in UTF-8", "other bytes", "Save them as text")) from error
    if y.dtype.kind == "f" and (y == np.floor(y)).all() and (np.abs(y) < 2**53).all():  # NaN is not equal to itself
        y = y.astype(np.int64)
    if y.dtype.kind not in "biuU":
        odd = next((label for label in y.tolist() if not (isinstance(label, float) and label.is_integer())), y[0])
        raise ValueError(unexpected(path, "labels that are whole numbers or text", quote(odd), "Check the file"))
    if y.dtype.kind == "u" and y.max() > np.iinfo(np.int64).max:
        raise ValueError(unexpected(path, "labels of at most 63 bits", quote(int(y.max())), "Check the file"))
    if y.dtype.kind == "U" and not (np.char.strip(y) != "").all():
        raise ValueError(unexpected(path, "a label for each image", "empty ones", "Check the file"))
    return y.astype(np.int64) if y.dtype.kind in "biu" else y
