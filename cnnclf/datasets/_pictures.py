"""Encoded images, in files or in memory → images of one size and colour: `Pictures`."""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import quote_all, unexpected
from cnnclf.datasets._cache import Keep
from cnnclf.datasets._contents import LOADED_MODES, Labels, Plan, Size, refuse_other_sizes
from cnnclf.datasets._memo import Memo, identify

if TYPE_CHECKING:
    from cnnclf.images._decode import Header
    from cnnclf.images._many import Result, Source, Unreadable


@dataclass(eq=False)
class Pictures:
    """Images in files, or the contents of such files.

    Attributes
    ----------
    path : Path or str
        The folder or the file that they are in, for errors.
    names : sequence of str
        What errors call each.
    sources : sequence of path or bytes
        The files, or their contents.
    y : ndarray of shape (n,)
        Their labels.
    memo : Memo or None, default=None
        What was read of them before.
    n_jobs : int, default=-1
        How many are read at once; -1 is one per processor core.
    known : list of Header or None, default=None
        What their first bytes say, if that was read before.
    """

    path: Path | str
    names: Sequence[str]
    sources: Sequence[str | Path | bytes]
    y: Labels
    memo: Memo | None = None
    n_jobs: int = -1
    known: "list[Header] | None" = None
    _decoded: tuple[Plan, NDArray[np.uint8], list[str]] | None = field(default=None, init=False)

    @property
    def headers(self) -> "list[Header]":
        """What the first bytes of each picture say; one error is for all that cannot be read."""
        from cnnclf.images._decode import read_header
        from cnnclf.images._many import Unreadable

        if self.known is None:
            found = list(self.map(read_header, "header"))
            if any(isinstance(header, Unreadable) for header in found):
                # All are decoded, to name also those that are damaged behind their header.
                self.check_all()
            self.known = [header for header in found if not isinstance(header, Unreadable)]
        return self.known

    @property
    def sizes(self) -> Counter[Size]:
        """How many images there are of each (height, width)."""
        return Counter(header.size for header in self.headers)

    @property
    def colours(self) -> set[str]:
        """What colours they have, in words, as far as the first bytes say."""
        return {header.colours for header in self.headers}

    def map(
        self, function: "Callable[[Source, int | None, str], Result]", what: Hashable, *, returned: int = 256
    ) -> "Iterator[Result | Unreadable]":
        """Give what a function returns for each picture, `what`, and about so many bytes, or why it cannot be read."""
        from cnnclf.images._many import map_pictures

        if self.memo is None:
            return map_pictures(function, self.names, self.sources, returned=returned, n_jobs=self.n_jobs)
        return self.memo.map(function, what, self.names, self.sources, returned=returned, n_jobs=self.n_jobs)

    def check_all(self) -> None:
        """Decode all pictures, and raise one error for all that cannot be read, if there are any."""
        from cnnclf.images._decode import try_to_decode
        from cnnclf.images._many import map_pictures

        self.refuse(map_pictures(try_to_decode, self.names, self.sources, n_jobs=1))

    def refuse(self, results: "Iterable[object | Unreadable]") -> None:
        """Raise one error for all pictures that could not be read, if there are any."""
        from cnnclf.images._many import Unreadable
        from cnnclf.images._pictures import refuse_pictures

        pairs = zip(self.names, results, strict=False)
        refuse_pictures(self.path, sorted((name, it.sentence) for name, it in pairs if isinstance(it, Unreadable)))

    @property
    def identity(self) -> str:
        """A digest of what tells these pictures in this order from all others."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(repr(identify(source)).encode())
        return digest.hexdigest()

    def plan(self, size: Size | str | None, mode: str | None, stacklevel: int = 2, *, decodes: bool = True) -> Plan:
        """Return what all splits become where this is the training split.

        Parameters
        ----------
        size, mode
            What the caller asks for.
        stacklevel : int
            Of warnings.
        decodes : bool, default=True
            Whether pictures may be decoded into memory on the way.

        Warns
        -----
        UserWarning
            If fewer than half of the images have colour or transparency, so that the others get it, too.
        """
        if isinstance(size, tuple) and mode is not None:
            return Plan(size, mode, resizes=True)
        if decodes and size != "median" and self.known is None:
            self.decode_alike(size, mode)
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

    def decode_alike(self, size: object, mode: str | None) -> None:
        """Decode all pictures in one pass, for :meth:`load`, if all have the size and the colours of the first one."""
        try:
            (first,) = replace(self, names=self.names[:1], sources=self.sources[:1], known=None).headers
        except (ValueError, OSError):
            return
        if first.mode is None or mode not in (None, first.mode) or size not in (None, first.size):
            return
        plan = Plan(first.size, first.mode, size is not None)
        X = np.empty((len(self.names), *plan.spec.input_shape), np.uint8)
        found = self.decode(plan, X.__setitem__, only=(first.size, first.mode))
        if found is not None:
            self.known, self._decoded = found[0], (plan, X, found[1])

    def decode(
        self, plan: Plan, keep: Keep, only: tuple[Size | None, str | None]
    ) -> "tuple[list[Header], list[str]] | None":
        """Decode all pictures; return headers and the names of nearly black ones, or None if there are others.

        Parameters
        ----------
        plan : Plan
            What they become.
        keep : callable
            Is called with the number and the pixels of each.
        only : (size or None, mode or None)
            The only ones that are wanted.
        """
        from cnnclf.images._many import Unreadable
        from cnnclf.images._pictures import is_one_of, read_row

        headers: list[Header] = []
        nearly_black: list[str] = []
        read = partial(read_row, spec=plan.spec, only=only)
        readings = self.map(read, ("row", plan.spec), returned=math.prod(plan.spec.input_shape))
        for i, (name, reading) in enumerate(zip(self.names, readings, strict=True)):
            if isinstance(reading, Unreadable) or not is_one_of(reading.header, only):  # as one that was read before
                return None
            keep(i, reading.row)
            headers.append(reading.header)
            nearly_black += [name] if reading.is_nearly_black else []
        return headers, nearly_black

    def richest_mode(self, stacklevel: int) -> str:
        """Return the mode that holds the colours of all pictures: grey if all are, else RGB, or RGBA."""
        from cnnclf.images._many import Unreadable

        modes: list[str] = [header.mode or "" for header in self.headers]
        if len(set(modes)) == 1 and modes[0]:
            return modes[0]
        # What transparency there is, and whether a picture that is stored in colour is grey, only its pixels show.
        found = list(self.map(look, "look"))
        self.refuse(found)
        looks = [it for it in found if not isinstance(it, Unreadable)]
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

    def load(self, plan: Plan, stacklevel: int = 2) -> NDArray[np.uint8]:
        """Return images, uint8.

        Warns
        -----
        UserWarning
            If pictures of 16 bits are nearly black. It names them.
        """
        if self._decoded is not None and self._decoded[0] == plan:
            _, X, nearly_black = self._decoded
            self._decoded = None
            self.warn_of(nearly_black, stacklevel + 1)
        else:
            X = np.empty((len(self.names), *plan.spec.input_shape), np.uint8)
            self.load_into(X.__setitem__, plan, stacklevel + 1)
        return X

    def load_into(self, keep: Keep, plan: Plan, stacklevel: int) -> None:
        """Pass the number and the pixels of each image on, instead of holding all in memory; for the rest as `load`."""
        found = self.decode(plan, keep, (None if plan.resizes else plan.size, None))
        if found is None:
            for name, header in zip(self.names, self.headers, strict=True):
                if header.size != plan.size and not plan.resizes:
                    refuse_other_sizes(self.path, plan.size, self.sizes, name)
            self.check_all()
            others = "others, as another program writes them"
            raise ValueError(unexpected(self.path, "files that stay as they are", others, "Load them again"))
        self.known, nearly_black = found
        self.warn_of(nearly_black, stacklevel + 1)

    def warn_of(self, nearly_black: Sequence[str], stacklevel: int) -> None:
        """Warn of nearly black pictures, if there are any."""
        from cnnclf.images._pictures import warn_of_nearly_black

        if nearly_black:
            warn_of_nearly_black(nearly_black, stacklevel + 1)

    def take(self, order: NDArray[np.int64]) -> "Pictures":
        """Return the pictures of these numbers, in their order."""
        names, sources = [self.names[i] for i in order], [self.sources[i] for i in order]
        known = None if self.known is None else [self.known[i] for i in order]
        return replace(self, names=names, sources=sources, y=self.y[order], known=known)


def look(source: "Source", most_bytes: int | None, name: str) -> tuple[str, bool]:
    """Return the mode of a decoded picture, and whether it is RGB whose red, green and blue are the same everywhere."""
    from cnnclf.images._decode import decode

    image = decode(source, most_bytes, name)
    is_grey = image.mode == "RGB" and bool((np.ptp(np.asarray(image), axis=-1) == 0).all())
    return image.mode.replace("F", "L"), is_grey


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
