"""A trace as one offline page: the network from left to right, and the arithmetic of every cell in it.

The page holds the recorded float32 values and weights, bit for bit, and computes from them the arithmetic of the cell
that a reader points at. To stay below 2 MB it holds fewer channels of the widest layers; the contribution of the
others is stored as one number per cell, so that every sum is complete.
"""

import base64
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cnnclf._utils.files import write_atomically
from cnnclf._utils.jinja import digest, page_templates, read_as_is
from cnnclf._utils.text import percent
from cnnclf.inspection._geometry import Window
from cnnclf.inspection._narrative import caveat
from cnnclf.inspection._records import StepRecord, TraceRecord, follow

TEMPLATES = page_templates("cnnclf.inspection")

BUDGET = 2_000_000  # bytes of a page

# Kinds with channels of their own; all others have the channels of their input.
WITH_OWN_CHANNELS = ("image", "conv", "dense", "unknown")

# Kinds without rounding, so that the page can compute bit-identical outputs itself.
WITHOUT_ROUNDING = ("relu", "max_pool", "global_max_pool", "dropout", "flatten", "block")


def write(trace: TraceRecord, path: str | os.PathLike[str]) -> Path:
    """Write a trace as one offline page.

    An existing file is replaced, whole or not at all; ``OSError`` is raised if that is not possible.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.inspection._html import write
    >>> X, y = load_digits()
    >>> trace = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X[:100], y[:100]).trace(X[5])
    >>> page = write(trace, Path(tempfile.mkdtemp()) / "five.html")
    >>> page.name, page.stat().st_size < 2_000_000
    ('five.html', True)
    """
    path = Path(path)
    write_atomically(path, render(trace).encode())
    return path


def render(trace: TraceRecord) -> str:
    """Return the page, of at most 2 MB if leaving out channels can achieve that.

    Returns
    -------
    str
        HTML that needs no other file; the same for the same trace.

    Notes
    -----
    Every cell has an address: ``#conv1/3/4/5`` after the page's address is channel 3, row 4, column 5 of ``conv1``, and
    ``#output/7`` is feature 7 of ``output``, all counted from 0.
    """
    nodes = list_nodes(trace)
    # The image and the classes are never sampled.
    fewest = max(len(trace.classes), len(nodes[0].output))
    widest = max(len(node.output) for node in nodes if node.step.kind in WITH_OWN_CHANNELS)
    page = fill_in(trace, nodes, widest)
    if len(page.encode()) <= BUDGET:
        return page
    limits = range(fewest, max(fewest, widest) + 1)
    n_fitting = bisect_right(limits, BUDGET, key=lambda limit: len(fill_in(trace, nodes, limit).encode()))
    return fill_in(trace, nodes, limits[max(n_fitting - 1, 0)])


@dataclass(frozen=True, eq=False)
class Node:
    """A step in the flow of data.

    Attributes
    ----------
    step : StepRecord
        The layer; the first node has the image instead.
    output : ndarray of shape (channels, height, width)
        The step's output; a row of features has height and width 1.
    inputs : tuple of int
        The positions of the nodes that it takes its numbers from.
    """

    step: StepRecord
    output: NDArray[Any]
    inputs: tuple[int, ...] = ()

    @property
    def is_row(self) -> bool:
        """Whether the output is a row of features."""
        return self.step.output.ndim not in (2, 3)

    @property
    def inside(self) -> str:
        """The block that the step is a part of; empty for none."""
        return self.step.name.rpartition(".")[0]


def list_nodes(trace: TraceRecord) -> list[Node]:
    """Return the image and all steps in the order of computation: a block after what is inside it."""
    image = StepRecord("image", "image", "raw pixels", trace.image, trace.image, {}, {}, 0, 0)
    nodes = [Node(image, trace.image)]

    def append(step: StepRecord, inputs: tuple[int, ...]) -> int:
        nodes.append(Node(step, as_maps(step.output), inputs))
        return len(nodes) - 1

    follow(trace.steps, 0, append)
    return nodes


def as_maps(output: NDArray[Any]) -> NDArray[Any]:
    """Return values in the shape (channels, height, width); other shapes than maps and lines become a row.

    Examples
    --------
    >>> [as_maps(np.zeros(shape)).shape for shape in [(2, 3, 4), (2, 3), (2,), (2, 3, 4, 5)]]
    [(2, 3, 4), (2, 1, 3), (2, 1, 1), (120, 1, 1)]
    """
    match output.ndim:
        case 3:
            return output
        case 2:
            return output[:, np.newaxis]
    return output.reshape(-1, 1, 1)


@dataclass
class Numbers:
    """Arrays of float32 in one sequence."""

    parts: list[NDArray[np.float32]] = field(default_factory=list)
    size: int = 0

    def add(self, array: NDArray[Any]) -> int:
        """Append an array; return the position of its first number."""
        self.parts.append(array.astype(np.float32, copy=False).ravel())
        place, self.size = self.size, self.size + array.size
        return place

    def to_base64(self) -> str:
        """Return all numbers, little-endian."""
        return base64.b64encode(np.concatenate(self.parts).astype("<f4").tobytes()).decode()


def fill_in(trace: TraceRecord, nodes: list[Node], limit: int) -> str:
    """Return the page with at most ``limit`` channels of every layer that has channels of its own."""
    numbers = Numbers()
    shown: list[NDArray[np.intp]] = []
    layers = []
    for node in nodes:
        shown.append(choose_channels(node, nodes, shown, limit))
        layers.append(describe_layer(node, nodes, shown, numbers))
    files = {
        "style": read_as_is(TEMPLATES, "style.css", "walkthrough.css"),
        "script": read_as_is(TEMPLATES, "percent.js", "walkthrough.js"),
    }
    return TEMPLATES.get_template("walkthrough.html.j2").render(
        trace=trace,
        probability=percent(trace.share),
        caveat=caveat(trace).strip(),
        n_layers=len(nodes) - 1,  # the image is none; trace.verify() counts the same
        nested=any(node.inside for node in nodes),
        sampled=[
            (node.step.name, "features" if node.is_row else "channels", len(channels), len(node.output))
            for node, channels in zip(nodes, shown, strict=True)
            if node.step.kind in WITH_OWN_CHANNELS and len(channels) < len(node.output)
        ],
        net={"classes": [str(label) for label in trace.classes.tolist()], "layers": layers},
        numbers=Markup(numbers.to_base64()),
        **{name: Markup(text) for name, text in files.items()},
        **{f"{name}_hash": digest(text) for name, text in files.items()},
    )


def describe_layer(node: Node, nodes: list[Node], shown: list[NDArray[np.intp]], numbers: Numbers) -> dict[str, Any]:
    """Return a node as the page's script reads it, after appending its numbers; ``shown`` ends in its channels."""
    step, channels = node.step, shown[-1]
    return {
        **{name: getattr(step, name) for name in ("name", "kind", "description")},
        "shape": node.output.shape,
        "is_row": node.is_row,
        "channels": as_ranges(channels),
        "inputs": node.inputs,
        "inside": node.inside,
        "settings": dict(step.settings),
        **{name: getattr(step, name) for name in ("n_parameters", "n_multiply_adds")},
        "values": None if step.kind in WITHOUT_ROUNDING else numbers.add(node.output[channels]),
        **add_weights(node, nodes, shown, numbers),
    }


def choose_channels(node: Node, nodes: list[Node], shown: Sequence[NDArray[np.intp]], limit: int) -> NDArray[np.intp]:
    """Return the channels of a node that the page holds, given those of all nodes before it."""
    n_channels = len(node.output)
    if node.step.kind in WITH_OWN_CHANNELS:
        # Evenly spaced, and the same for layers with equally many channels, so that both maps of a sum are there.
        return np.arange(n_channels) if n_channels <= limit else np.arange(limit) * n_channels // limit
    if node.step.kind == "flatten":
        (source,) = node.inputs
        places = np.arange(n_channels).reshape(len(nodes[source].output), -1)
        return places[shown[source]].ravel()
    channels = shown[node.inputs[0]]
    for source in node.inputs[1:]:
        channels = np.intersect1d(channels, shown[source])
    return channels


def as_ranges(channels: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return ascending numbers as half-open ranges.

    Examples
    --------
    >>> as_ranges(np.array([0, 1, 2, 5, 7, 8]))
    [(0, 3), (5, 6), (7, 9)]
    """
    runs = np.split(channels, np.flatnonzero(np.diff(channels) != 1) + 1)
    return [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]


def add_weights(node: Node, nodes: list[Node], shown: Sequence[NDArray[np.intp]], numbers: Numbers) -> dict[str, Any]:
    """Append a node's weights for the channels in the page; return their positions.

    A convolution or dense layer has, per output channel, the kernels of the input channels in its group that are in the
    page. If some are missing, "rest" is what they add to each cell.
    """
    channels = shown[-1]
    if node.step.kind not in ("conv", "dense"):
        known = node.step.weights if node.step.kind in ("standardise", "norm") else {}
        return {"weights": {name: numbers.add(array.ravel()[channels]) for name, array in known.items()}, "rest": None}
    (source,) = node.inputs
    weight = node.step.weights["weight"].reshape(len(node.output), -1, *node.step.settings.get("kernel", (1, 1)))
    there = np.isin(np.arange(len(nodes[source].output)), shown[source])
    windows = None if there.all() else Window.of(node.step.settings).view(nodes[source].output.astype(np.float64))
    kernels, rest = [], []
    n_groups = node.step.settings.get("groups", 1)
    for group, seen in enumerate(np.split(np.arange(len(there)), n_groups)):
        own = weight[channels[channels // (len(weight) // n_groups) == group]]
        kernels.append(own[:, there[seen]])
        if windows is not None:
            missing = own[:, ~there[seen]].astype(np.float64)
            rest.append(np.tensordot(missing, windows[seen[~there[seen]]], ((1, 2, 3), (0, 3, 4))))
    weights = {"weight": numbers.add(np.concatenate(kernels, axis=None))}
    if "bias" in node.step.weights:
        weights["bias"] = numbers.add(node.step.weights["bias"][channels])
    return {"weights": weights, "rest": numbers.add(np.concatenate(rest)) if rest else None}
