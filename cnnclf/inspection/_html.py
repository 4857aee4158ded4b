"""A network as one offline page that runs it: draw, paint or drop an image, and every number and its arithmetic follow.

The page holds the network's float32 weights and a small engine in JavaScript, which computes every layer. A layer that
the engine does not know has the values that were recorded for one image; then the page shows that image alone.
"""

import base64
import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cnnclf._utils.files import write_atomically
from cnnclf._utils.jinja import digest, page_templates, read_as_is
from cnnclf._utils.text import cut, quote_all
from cnnclf.images._handwriting import Frame
from cnnclf.images._pictures import from_ink, takes_handwriting
from cnnclf.images._spec import CHANNEL_COUNTS, InputSpec
from cnnclf.inspection._narrative import caveat
from cnnclf.inspection._records import StepRecord, TraceRecord, follow, walk

TEMPLATES = page_templates("cnnclf.inspection")
ENGINE = ("engine.js", "gradient.js", "resample.js", "prepare.js", "answer.js")
SCRIPT = (
    *("percent.js", "layers.js", "views.js", "arithmetic.js", "play.js"),
    *("input.js", "why.js", "tour.js", "epochs.js", "begin.js"),
)
STYLE = ("style.css", "page.css")

LARGE = 8_000_000  # bytes of a page that takes browsers seconds to open
MOST_SAMPLES = 120_000  # bytes of all samples


def write(
    trace: TraceRecord,
    spec: InputSpec,
    path: str | os.PathLike[str],
    images: Sequence[NDArray[Any]] = (),
    snapshots: Sequence[tuple[int, TraceRecord]] = (),
) -> Path:
    """Write a network as one offline page that runs it.

    Parameters
    ----------
    trace : TraceRecord
        The network's layers, for any image; of a layer that the engine does not know, the values are shown.
    spec : InputSpec
        What the network takes.
    path : path-like
        Replaced if it exists, whole or not at all.
    images : sequence of ndarray of shape (channels, height, width)
        Raw pixels that can be picked in the page, which opens at the first one.
    snapshots : sequence of (int, TraceRecord)
        Epochs with traces of the network at their ends, in ascending order.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If there are several images of more than ``MOST_SAMPLES`` bytes together.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If the page is larger than 8 MB.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.inspection._html import write
    >>> X, y = load_digits()
    >>> clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> trace = clf.trace(X[5])
    >>> page = write(trace, clf.input_spec_, Path(tempfile.mkdtemp()) / "five.html", [trace.image])
    >>> page.name, page.stat().st_size < 1.4 * 4 * trace.n_parameters + 300_000
    ('five.html', True)
    """
    path = Path(path)
    page = render(trace, spec, images, snapshots).encode()
    if len(page) > LARGE:
        warnings.warn(
            f"Expected a page of at most {LARGE // 10**6} MB; got {len(page) / 1e6:.0f} MB, as the network has "
            f"{trace.n_parameters:,} parameters. Browsers take seconds to open it; a smaller architecture is faster.",
            UserWarning,
            stacklevel=3,
        )
    write_atomically(path, page)
    return path


def check_runs(trace: TraceRecord) -> None:
    """Refuse a network with a layer that the page's engine does not know.

    Raises
    ------
    ValueError
        If there is one.
    """
    unknown = [f"{step.name} ({step.description})" for step in walk(trace.steps) if step.kind == "unknown"]
    if unknown:
        raise ValueError(
            f"Expected layers that the page can compute; got {quote_all(unknown)}. Write the page of one image with "
            "clf.trace(image).to_html(path), or use layers and settings that docs/look_inside.md lists."
        )


def render(
    trace: TraceRecord,
    spec: InputSpec,
    images: Sequence[NDArray[Any]] = (),
    snapshots: Sequence[tuple[int, TraceRecord]] = (),
) -> str:
    """Return the page: HTML that needs no other file, the same for the same network and images.

    Notes
    -----
    Every cell has an address: ``#conv1/3/4/5`` after the page's address is channel 3, row 4, column 5 of ``conv1``, and
    ``#output/7`` is feature 7 of ``output``, all counted from 0.
    """
    nodes = list_nodes(trace)
    numbers, samples = Numbers(), pack_samples(images, spec)
    network = {
        "classes": [str(label) for label in trace.classes.tolist()],
        "layers": [describe_layer(node, numbers) for node in nodes],
        "input": describe_input(spec, images),
        "isLive": all(node.step.kind != "unknown" for node in nodes),
        "samples": {"n": len(images), "dtype": spec.dtype},
        "epochs": [epoch for epoch, _ in snapshots],
    }
    encoded = numbers.to_base64()
    network["key"] = f"cnnclf-{hashlib.sha256((encoded + samples).encode()).hexdigest()[:16]}"
    files = {
        "style": read_as_is(TEMPLATES, *STYLE),
        "engine": read_as_is(TEMPLATES, *ENGINE),
        "script": read_as_is(TEMPLATES, *SCRIPT),
    }
    return TEMPLATES.get_template("page.html.j2").render(
        title=make_title(trace.classes),
        trace=trace,
        caveat=caveat(trace).strip(),
        n_layers=len(nodes) - 1,  # the image is none; trace.verify() counts the same
        nested=any(node.inside for node in nodes),
        network=network,
        numbers=Markup(encoded),
        samples=Markup(samples),
        snapshots=[(epoch, Markup(encode_weights(each))) for epoch, each in snapshots],
        **{name: Markup(text) for name, text in files.items()},
        **{f"{name}_hash": digest(text) for name, text in files.items()},
    )


def make_title(classes: NDArray[Any]) -> str:
    """Return the heading of a page by what its network tells apart."""
    labels = [cut(str(label), 40) or "(empty)" for label in classes.tolist()]
    if labels == [str(digit) for digit in range(10)]:
        return "A network that reads digits"
    return f"A network that tells {quote_plainly(labels)} apart"


def quote_plainly(labels: Sequence[str]) -> str:
    """Return some labels as a phrase, at most four of them.

    Examples
    --------
    >>> quote_plainly(["cat", "dog"]), quote_plainly(list("abcdef"))
    ('cat and dog', 'a, b, c and 3 more classes')
    """
    shown = list(labels) if len(labels) <= 4 else [*labels[:3], f"{len(labels) - 3} more classes"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def describe_input(spec: InputSpec, images: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Return what the network takes, as the page's scripts read it.

    ``black`` and ``white`` are the values that the screen shows as such: where the unit of the pixels is not known, the
    smallest and the largest of the images, or three standard deviations around the mean.
    """
    n_channels, height, width = spec.image_shape
    draws = takes_handwriting(spec)
    if spec.white is not None:
        black, white = 0.0, float(spec.white)
    elif len(images):
        black, white = float(np.min(images)), float(np.max(images))
    else:
        mean, std = np.array(spec.mean or (0.0,)), np.array(spec.std or (1.0,))
        black, white = float((mean - 3 * std).min()), float((mean + 3 * std).max())
    ground = [float(round(x)) if is_whole(spec) else float(x) for x in spec.mean] or [black] * n_channels
    if draws:
        ground = as_unit(from_ink(np.zeros((1, 1), dtype=np.float32), spec).ravel(), spec)
    frame = Frame.of((height, width)) if draws else None
    return {
        "shape": spec.image_shape,
        "black": black,
        "white": white,
        "whole": is_whole(spec),
        "mean": spec.mean,
        "preparation": spec.preparation,
        "frame": frame and {name: getattr(frame, name) for name in ("canvas", "box", "in_proportion", "block")},
        "ground": ground,
        "takesPictures": spec.white is not None and n_channels in CHANNEL_COUNTS,
    }


def is_whole(spec: InputSpec) -> bool:
    """Return whether pixels are whole numbers."""
    return spec.dtype == "uint8" or (spec.white is not None and spec.white > 1)


def as_unit(shares: NDArray[Any], spec: InputSpec) -> list[float]:
    """Return shares of white in the unit of the training pixels."""
    return [float(share * (spec.white or 1)) for share in shares.tolist()]


def pack_samples(images: Sequence[NDArray[Any]], spec: InputSpec) -> str:
    """Return images as base64, in the dtype of the training pixels, little-endian."""
    pixels = np.array([image.astype(spec.dtype) for image in images])
    if len(pixels) > 1 and pixels.nbytes > MOST_SAMPLES:
        most = max(1, MOST_SAMPLES // pixels[0].nbytes)
        raise ValueError(
            f"Expected at most {most} images, as the page holds {MOST_SAMPLES:,} bytes of them; got {len(pixels)}. "
            f"Pass fewer, such as X[:{most}]."
        )
    return base64.b64encode(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()).decode()


def encode_weights(trace: TraceRecord) -> str:
    """Return the weights of a network as base64, in the order in which its layers are described."""
    numbers = Numbers()
    for node in list_nodes(trace):
        describe_layer(node, numbers)
    return numbers.to_base64()


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


def describe_layer(node: Node, numbers: Numbers) -> dict[str, Any]:
    """Return a node as the page's scripts read it, after appending its numbers."""
    step = node.step
    known = step.kind != "unknown"
    return {
        **{name: getattr(step, name) for name in ("name", "kind", "description")},
        "shape": node.output.shape,
        "is_row": node.is_row,
        "inputs": node.inputs,
        "inside": node.inside,
        "settings": dict(step.settings),
        **{name: getattr(step, name) for name in ("n_parameters", "n_multiply_adds")},
        "values": None if known else numbers.add(node.output),
        "weights": {name: numbers.add(array) for name, array in step.weights.items()} if known else {},
    }
