"""What a split of a dataset holds, `Pictures` or `Arrays`, and how both become images of one size and colour."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import counted, quote, quote_all, unexpected
from cnnclf.images._spec import InputSpec, infer_layout, white_level

if TYPE_CHECKING:
    from PIL import Image

    from cnnclf.images._decode import Header

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
Item = TypeVar("Item")


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

    def load(self, plan: Plan) -> tuple[Images, Labels]:
        """Return images and labels; where a size or a mode is asked for, pixels are uint8, 0 to 255."""
        size = self.X.shape[1:3]
        if plan.white is not None and self.X.max() > MOST_OF_WHITE * plan.white:
            expected, found = f"pixels of 0 to {plan.white}, as the training images have", f"up to {self.X.max():.4g}"
            raise ValueError(unexpected(self.path, expected, found, "Bring all splits to one unit"))
        if size == plan.size and self.mode == plan.mode:
            return self.as_bytes(plan.white) if plan.recolours else self.X, self.y
        if size != plan.size and not plan.resizes:
            refuse_other_sizes(self.path, plan.size, self.sizes)
        if not plan.recolours:
            expected, found = f"{COLOURS[plan.mode]} images, as the training images are", COLOURS[self.mode]
            advice = "Give all splits the same channels, or pass mode to load_dataset"
            raise ValueError(unexpected(self.path, expected, found, advice))
        from PIL import Image

        from cnnclf.images._pictures import prepare

        out = np.empty((len(self.X), *plan.spec.input_shape), np.uint8)
        for row, image in zip(out, show_progress(self.as_bytes(plan.white), len(out)), strict=True):
            row[:] = prepare(Image.fromarray(image), plan.spec, str(self.path))
        return out, self.y

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


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images in files, or the contents of such files.

    Attributes
    ----------
    path : Path
        The folder or the file that they are in.
    names : sequence of str
        What errors call each.
    sources : sequence of Path or bytes
        The files, or their contents.
    y : ndarray of shape (n,)
        Their labels.
    """

    path: Path
    names: Sequence[str]
    sources: Sequence[Path | bytes]
    y: Labels

    @property
    def sizes(self) -> Counter[Size]:
        """How many images there are of each (height, width)."""
        return Counter(header.size for header in self.headers)

    @property
    def colours(self) -> set[str]:
        """What colours they have, in words, as far as the first bytes say."""
        return {header.colours for header in self.headers}

    @cached_property
    def most_bytes(self) -> int:
        """To how many bytes one of them may be decoded."""
        files = [source for source in self.sources if isinstance(source, Path) and source.is_file()]
        packed = sum(file.stat().st_size for file in files)
        packed += sum(len(source) for source in self.sources if isinstance(source, bytes))
        return most_unpacked(packed) // len(self.sources)

    @cached_property
    def headers(self) -> "list[Header]":
        """The first bytes of all pictures; one error names all that cannot be read."""
        from cnnclf.images._decode import decode, read_header

        headers: list[Header] = []
        errors: list[tuple[str, str]] = []
        pairs = list(zip(self.names, self.sources, strict=True))
        for name, source in show_progress(pairs, len(pairs)):
            try:
                headers.append(read_header(source, self.most_bytes, name))
            except (ValueError, OSError) as error:
                errors.append((name, str(error)))
        if errors:  # then the others are decoded, to name also what is damaged behind its header
            for name, source in pairs:
                try:
                    decode(source, self.most_bytes, name)
                except (ValueError, OSError) as error:
                    errors.append((name, str(error)))
            order = {name: i for i, name in enumerate(self.names)}
            self.refuse(sorted(dict(errors).items(), key=lambda error: order[error[0]]))
        return headers

    def decoded(self) -> "Iterator[tuple[str, Image.Image]]":
        """Decode one picture after the other, with its name; at the end, one error names all that cannot be."""
        from cnnclf.images._decode import decode

        errors: list[tuple[str, str]] = []
        for name, source in show_progress(zip(self.names, self.sources, strict=True), len(self.names)):
            try:
                image = decode(source, self.most_bytes, name)
            except (ValueError, OSError) as error:
                errors.append((name, str(error)))
                continue
            if not errors:  # otherwise nothing comes of the others
                yield name, image
        self.refuse(errors)

    def refuse(self, errors: Sequence[tuple[str, str]]) -> None:
        """Raise one error for pictures that cannot be used, given as (name, sentence), if there are any."""
        from cnnclf.images._pictures import refuse_pictures

        refuse_pictures(self.path, errors)

    def plan(self, size: Size | str | None, mode: str | None, stacklevel: int = 2) -> Plan:
        """Return what all splits become where this is the training split.

        Warns
        -----
        UserWarning
            If fewer than half of the images have colour or transparency, so that the others get it, too.
        """
        if isinstance(size, tuple):
            wanted = size
        elif size == "median":
            wanted = median_size(self.sizes)
        else:
            (wanted, _), *others = self.sizes.most_common()
            if others:
                odd = next(name for name, h in zip(self.names, self.headers, strict=True) if h.size != wanted)
                refuse_other_sizes(self.path, None, self.sizes, odd)
        return Plan(wanted, mode or self.richest_mode(stacklevel + 1), size is not None)

    def richest_mode(self, stacklevel: int) -> str:
        """Return the mode that holds the colours of all pictures: grey if all are, else RGB, or RGBA."""
        modes: list[str] = [header.mode or "" for header in self.headers]
        if len(set(modes)) == 1 and modes[0]:
            return modes[0]
        # What transparency there is, and whether a picture that is stored in colour is grey, only its pixels show.
        looks = [(image.mode.replace("F", "L"), looks_grey(image)) for _, image in self.decoded()]
        any_grey = any(mode == "L" for mode, _ in looks)
        modes = ["L" if is_grey and any_grey else mode for mode, is_grey in looks]
        richest = max(modes, key=LOADED_MODES.index)
        names = [name for name, mode in zip(self.names, modes, strict=True) if mode == richest]
        if 2 * len(names) < len(modes):
            warnings.warn(
                f"{len(names)} of {len(modes):,} images {'has' if len(names) == 1 else 'have'} "
                f"{'transparency' if richest == 'RGBA' else 'colour'}, so all are loaded as {richest}: "
                f"{quote_all([Path(name) for name in names])}. Save them like the others to avoid this.",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
        return richest

    def load(self, plan: Plan, stacklevel: int = 2) -> tuple[NDArray[np.uint8], Labels]:
        """Return images, uint8, and labels.

        Warns
        -----
        UserWarning
            If pictures of 16 bits are nearly black. It names them.
        """
        from cnnclf.images._decode import is_nearly_black, reduce
        from cnnclf.images._pictures import prepare, warn_of_nearly_black

        spec = plan.spec
        X = np.empty((len(self.names), *spec.input_shape), np.uint8)
        nearly_black = []
        for row, (name, image) in zip(X, self.decoded(), strict=False):  # shorter if it raises in the end
            size = image.size[::-1]
            if size != plan.size and not plan.resizes:
                refuse_other_sizes(self.path, plan.size, self.sizes, name)
            if is_nearly_black(image):
                nearly_black.append(name)
            as_it_is = size == plan.size and image.mode == plan.mode
            row[:] = np.asarray(image) if as_it_is else prepare(reduce(image), spec, name)
        if nearly_black:
            warn_of_nearly_black(nearly_black, stacklevel + 1)
        return X, self.y


def looks_grey(image: "Image.Image") -> bool:
    """Return whether this is an RGB image whose red, green and blue are the same everywhere."""
    return image.mode == "RGB" and bool((np.ptp(np.asarray(image), axis=-1) == 0).all())


def show_progress(items: Iterable[Item], n: int) -> Iterable[Item]:
    """Show a progress bar on a terminal where this takes longer than a second."""
    yield from tqdm(items, total=n, desc="reading images", unit=" images", delay=1, leave=False, disable=None)


def median_size(sizes: Counter[Size]) -> Size:
    """Return the medians of heights and of widths, each rounded.

    Examples
    --------
    >>> median_size(Counter({(10, 20): 2, (30, 20): 1, (30, 50): 1}))
    (20, 20)
    """
    heights, widths = (
        np.repeat([size[axis] for size in sizes], list(sizes.values())).astype(np.float64) for axis in (0, 1)
    )
    return round(float(np.median(heights))), round(float(np.median(widths)))


def refuse_other_sizes(path: Path, wanted: Size | None, sizes: Counter[Size], odd: str | None = None) -> None:
    """Raise the error for images that should have one size and have others, with the sizes found and an odd image."""
    most = 4
    listed = [f"{pixels(size)} ({n:,})" for size, n in sizes.most_common(most)]
    rest = len(sizes) - len(listed)
    found = ", ".join(listed) + (f" and {counted(rest, 'more size')}" if rest else "") + ", width × height"
    found += f"; the first other is {quote(Path(odd))}" if odd else ""
    expected = "images of one size" if wanted is None else f"images of {pixels(wanted)}, as the training images are"
    advice = "Pass size=(height, width) or size='median' to load_dataset, or --size on the command line"
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
