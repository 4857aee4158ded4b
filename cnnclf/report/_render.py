"""The parts of a page: figures as SVG in the page's own text colour, pictures as data URIs, templates."""

import base64
import io
import json
import re
import warnings
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cnnclf._utils.jinja import page_templates
from cnnclf._utils.text import counted, mean_and_deviation, percent
from cnnclf.inspection._items import Beside, Matrix, Paragraph, Picture
from cnnclf.inspection._text import hold
from cnnclf.plots._style import INK, as_maps, signed_colours

LARGEST_PICTURE = 96  # pixels; a larger one is shrunk, so that the page stays small
N_MAPS = 8  # feature maps of a layer
LARGEST_MAP = 48  # pixels


def pictures(X: NDArray[Any], pixel_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Return images as 8-bit pixels for display.

    Parameters
    ----------
    X : ndarray of shape (n, channels, height, width)
        Pixels.
    pixel_range : tuple of float
        The values that become 0 and 255; values outside are clipped.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, height, width, channels), uint8
        Grey, unless there are 3 or 4 channels; no side longer than 96 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.report._render import pictures
    >>> pictures(np.array([[[[0, 8, 16]]]]), (0, 16))
    array([[[  0, 128, 255]]], dtype=uint8)
    """
    low, high = pixel_range
    X = X if X.shape[1] in (3, 4) else X.mean(axis=1, keepdims=True)
    scaled = np.clip((X.astype(np.float64) - low) / ((high - low) or 1), 0, 1)
    levels = np.moveaxis(np.rint(scaled * 255).astype(np.uint8), 1, -1)
    return shrink(levels[..., 0] if X.shape[1] == 1 else levels, LARGEST_PICTURE)


def shrink(levels: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """Shrink pictures (n, height, width[, channels]) in proportion to sides of at most so many pixels."""
    height, width = levels.shape[1:3]
    factor = largest / max(height, width)
    if factor >= 1 or not len(levels):
        return levels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.stack([np.asarray(Image.fromarray(level).resize(size, Image.Resampling.BOX)) for level in levels])


def feature_maps(values: NDArray[Any]) -> dict[str, NDArray[np.uint8]]:
    """Draw the most active channels of a layer on one scale, RGBA; a row of features is one picture without a name.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnclf.report._render import feature_maps
    >>> feature_maps(np.array([0.0, -2.0]))[""].tolist()  # nothing for zero, blue below
    [[[201, 118, 0, 0], [43, 127, 195, 255]]]
    """
    maps = as_maps(values)
    chosen = np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:N_MAPS]
    drawn = np.rint(255 * signed_colours(maps[chosen])).astype(np.uint8)
    if maps.shape != values.shape:
        return {"": drawn[0]}
    return {f"channel {channel}": picture for channel, picture in zip(chosen, shrink(drawn, LARGEST_MAP), strict=True)}


def ink(picture: Picture) -> NDArray[np.uint8]:
    """Draw a picture in black on transparent, which a dark page can invert: grey and opacity (height, width, 2)."""
    opacity = np.rint(255 * np.array(picture.ink)).astype(np.uint8)
    return np.stack([np.zeros_like(opacity), opacity], axis=-1)


def strengths(matrix: Matrix) -> tuple[tuple[float, ...], ...]:
    """Return how strongly to colour each cell of a matrix, -1 to 1: its number as a share of the largest one.

    Examples
    --------
    >>> from cnnclf.report._render import strengths
    >>> from cnnclf.inspection._items import Matrix
    >>> strengths(Matrix("", (("·", "-0.50", "2.00"),), ("0",), ("0", "1", "2")))
    ((0.0, -0.25, 1.0),)
    """
    values = [[0.0 if cell in ("·", "") else float(cell) for cell in row] for row in matrix.cells]
    largest = max(abs(value) for row in values for value in row) or 1.0
    return tuple(tuple(round(value / largest, 2) for value in row) for row in values)


def to_svg(figure: Figure, name: str) -> str:
    """Save a figure as one ``<svg>`` element in the page's own font and ink, the same bytes every time."""
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        svg = save(figure, format="svg", transparent=True).decode()  # the page has its own background
    svg = svg[svg.index("<svg") :]
    # The metadata holds the date.
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Matplotlib gives the same ids in every figure, but ids must be unique on a page: keep those that are referred to.
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if f"#{found[1]}" in svg else "", svg)
    return svg.replace(INK, "currentColor")


def standalone(svg: str) -> str:
    """Set the text colours of an SVG on light and on dark pages."""
    style = "<style>svg{color:#33363b}@media(prefers-color-scheme:dark){svg{color:#d6d4cf}}</style>"
    return re.sub(r"(<svg[^>]*>)", rf"\1{style}", svg, count=1)


def to_png(figure: Figure) -> bytes:
    """Save a figure as PNG, the same bytes every time."""
    return save(figure, format="png", dpi=160, metadata={"Software": None})


def save(figure: Figure, **options: Any) -> bytes:
    """Return a figure as a file of matplotlib, without warnings of glyphs that its font lacks."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a reader's fonts have them
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI, so that the page needs no other file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def cell_json(cells: Iterable[Any]) -> Markup:
    """Return the images of a matrix's cells as JSON: "row column" → [index, confidence, data URI] of each image."""
    behind = {
        f"{cell.row} {cell.column}": [
            [index, None if confidence is None else round(confidence, 8), data_uri(picture)]
            for index, confidence, picture in zip(cell.indices, cell.confidences, cell.pictures, strict=True)
        ]
        for cell in cells
    }
    return Markup(json.dumps(behind, separators=(",", ":")))  # numbers and base64 alone: nothing to escape


def in_words(number: int) -> str:
    """Write a small number as a word.

    Examples
    --------
    >>> in_words(3), in_words(13)
    ('three', '13')
    """
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return words[number] if number < len(words) else str(number)


def duration(seconds: float) -> str:
    """Write a time for people.

    Examples
    --------
    >>> duration(4.25), duration(58.3), duration(187)
    ('4.2 s', '58 s', '3 min 7 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def templates() -> Environment:
    """Return the environment in which the templates of the report are rendered."""
    environment = page_templates("cnnclf.report")
    environment.autoescape = select_autoescape(["html.j2"])
    environment.keep_trailing_newline = True
    filters = (percent, counted, duration, data_uri, cell_json, hold, in_words, ink, strengths)
    environment.filters |= {function.__name__: function for function in filters}
    environment.filters |= {
        "kind": lambda record: type(record).__name__,
        "hold_units": lambda text: text.replace(" %", "\u00a0%"),
        "number": lambda value: f"{value:,}",
        "shape": lambda shape: " × ".join(map(str, shape)),
        "md": lambda value: re.sub(r"([\\`*_\[\]<>|#~]|&(?=#?\w+;))", r"\\\1", " ".join(str(value).split())),
    }
    environment.tests |= {
        "sentences": lambda item: isinstance(item, Paragraph),
        "pictures": lambda item: isinstance(item, Beside) and isinstance(item.blocks[0], Picture),
    }
    environment.globals |= {"ln": np.log, "n_maps": N_MAPS, "mean_and_deviation": mean_and_deviation}
    return environment
