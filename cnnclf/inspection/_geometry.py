"""Which part of the input a layer's output depends on: windows, cells and receptive fields."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cnnclf._utils.text import quote
from cnnclf.inspection._records import GLOBAL_POOLINGS, IMAGE, Cell, StepRecord, TraceRecord, axes, find_step, wire

Doubles = NDArray[np.float64]
Region = tuple[tuple[int, int], ...]  # one half-open interval per axis: rows and columns of maps, or features of a row

AXES = {1: ("feature",), 2: ("row", "column"), 3: ("channel", "row", "column")}


@dataclass(frozen=True)
class Window:
    """The window that a convolution or a pooling moves over its input; each pair is (vertical, horizontal)."""

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Window":
        """Return the window in a step's settings; a layer without one looks at single cells."""
        size = settings.get("kernel", settings.get("window", cls.size))
        return cls(size, *(settings.get(name, getattr(cls, name)) for name in ("stride", "padding", "dilation")))

    def corner(self, place: Sequence[int]) -> tuple[int, ...]:
        """Return the row and column at which the window of an output cell begins, perhaps in the padding."""
        return tuple(i * stride - padding for i, stride, padding in zip(place, self.stride, self.padding, strict=True))

    def look_back(self, region: Region, sizes: Sequence[int]) -> Region:
        """Return the part of the input that a part of the output is computed from, without the padding."""
        starts = self.corner([start for start, _ in region])
        ends = self.corner([stop - 1 for _, stop in region])
        axes = zip(starts, ends, self.size, self.dilation, sizes, strict=True)
        return tuple(clip(start, end + d * (k - 1) + 1, size) for start, end, k, d, size in axes)

    def view(self, maps: Doubles, fill: float = 0.0) -> Doubles:
        """Return maps (channels, height, width) as all their windows (channels, height, width, *size)."""
        padded = np.pad(maps, ((0, 0), *((p, p) for p in self.padding)), constant_values=fill)
        spans = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.size, strict=True))
        steps = (slice(None, None, s) for s in (*self.stride, *self.dilation))
        windows: Doubles = sliding_window_view(padded, spans, axis=(1, 2))[:, *steps]
        return windows


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the image, or of an earlier layer's maps, that a unit depends on.

    Attributes
    ----------
    top, left, bottom, right : int
        Rows top to bottom − 1 and columns left to right − 1. A row of features counts as one row of a map.
    """

    top: int
    left: int
    bottom: int
    right: int


def find_receptive_field(
    trace: TraceRecord, name: str, cell: tuple[Any, ...], within: str | None = None
) -> ReceptiveField:
    """Return the part of the image, or of an earlier layer's output, that a unit depends on."""
    step = find_step(trace.steps, name)
    unit = check_cell(name, axes(step.output.shape), cell)
    goal = IMAGE if within is None else find_step(trace.steps, within).name
    regions: dict[str, Region] = {name: unit_region(unit)}
    for step, inputs in reversed(wire(trace.steps)):
        if step.name in regions:
            seen = look_back(step, regions[step.name])
            for source in inputs:
                regions[source] = unite(regions.get(source, seen), seen)
    if goal not in regions:
        raise ValueError(f"Expected within to name a layer that {quote(name)} is computed from; got {quote(within)}.")
    (top, bottom), (left, right) = ((0, 1), *regions[goal])[-2:]
    return ReceptiveField(top, left, bottom, right)


def look_back(step: StepRecord, region: Region) -> Region:
    """Return the part of a layer's input that a part of its output is computed from."""
    sizes = axes(step.input.shape)
    if any(start == stop for start, stop in region):  # the window holds nothing but padding
        return ((0, 0),) * len(sizes)
    if step.kind in ("conv", "max_pool", "avg_pool"):
        return Window.of(step.settings).look_back(region, sizes)
    if step.kind == "flatten" and region != ((0, step.output.size),):
        ((feature, _),) = region
        return unit_region(axes(unravel(feature, step.input.shape)))
    if step.kind in ("flatten", *GLOBAL_POOLINGS, "dense", "softmax", "unknown"):
        return tuple((0, size) for size in sizes)
    return region


def unit_region(cell: Iterable[int]) -> Region:
    """Return the region of a single cell."""
    return tuple((i, i + 1) for i in cell)


def clip(start: int, stop: int, size: int) -> tuple[int, int]:
    """Return the part of an interval that is within an axis."""
    start = min(max(start, 0), size)
    return start, max(min(stop, size), start)


def unite(a: Region, b: Region) -> Region:
    """Return the smallest region that holds two; an empty one adds nothing."""
    regions = [region for region in (a, b) if all(start < stop for start, stop in region)] or [a]
    return tuple(
        (min(starts), max(stops)) for starts, stops in (zip(*axis, strict=True) for axis in zip(*regions, strict=True))
    )


def check_cell(name: str, shape: tuple[int, ...], cell: tuple[Any, ...]) -> Cell:
    """Check that there is one index per axis and that each is in range; return them as integers."""
    words = AXES.get(len(shape), tuple(f"index {i}" for i in range(len(shape))))
    expected = ", ".join(f"{word} 0 to {size - 1}" for word, size in zip(words, shape, strict=True))
    try:
        indices = tuple(operator.index(i) for i in cell)
    except TypeError:
        indices = ()
    if len(indices) != len(shape) or not all(0 <= i < size for i, size in zip(indices, shape, strict=True)):
        raise ValueError(f"Expected whole numbers that name a cell of layer {name!r}: {expected}; got {quote(cell)}.")
    return indices


def check_shape(image: Any, shape: tuple[int, ...]) -> None:
    """Check that another image has the shape of the traced one."""
    if np.shape(image) != shape:
        raise ValueError(f"Expected an image of shape {shape}, as the traced one; got {np.shape(image)}.")


def unravel(feature: int, shape: tuple[int, ...]) -> Cell:
    """Return the cell of a feature in the maps before flattening."""
    return tuple(map(int, np.unravel_index(feature, shape)))
