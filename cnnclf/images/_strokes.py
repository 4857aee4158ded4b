"""Strokes of a pen → the image that a network of handwritten digits takes, made like MNIST's.

MNIST's digits were size-normalised to fit 20×20 pixels in proportion, which made them grey at their edges, and placed
in 28×28 with the centre of mass at the centre. The same is done here: the strokes are drawn finely, scaled by
averaging, and placed by :func:`cnnclf.images._handwriting.frame_ink`. Only the pen's width differs: with one width for
all sizes a small digit would be a blot and a large one a hairline, so the width is clipped to that of MNIST's pens.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnclf._utils.text import quote
from cnnclf.images._handwriting import FloatImage, Frame, frame_ink
from cnnclf.images._pictures import as_row, from_ink, white_of
from cnnclf.images._spec import InputSpec

SIDE = 1000  # of the square that is drawn on, in units of the points
MOST_POINTS = 10_000  # of one drawing
# The mean of handwritten digits, as a share of white, is below these: MNIST's is 0.13, that of scikit-learn's digits
# 0.31. That of Fashion-MNIST, photographs in MNIST's size, is 0.29.
MOST_INK = {(28, 28): 0.25, (8, 8): 0.35}
FINE = 320  # pixels of the longer side of a drawing before it is scaled: 16×16 for each of MNIST's

# In a digit's box of 20 pixels: nine of ten of MNIST's digits are drawn with pens between these widths.
THINNEST, THICKEST = 1.75, 4.0


@dataclass(frozen=True)
class Drawing:
    """The strokes of a pen.

    Attributes
    ----------
    strokes : tuple of ndarray of shape (n, 2), float64
        The points (x, y) of each stroke, x to the right and y down, 0 to ``SIDE``.
    width : float
        The pen's width, in the same unit.
    """

    strokes: tuple[NDArray[np.float64], ...]
    width: float

    @classmethod
    def from_json(cls, stored: Any) -> "Drawing":
        """Load a drawing from decoded JSON.

        Parameters
        ----------
        stored : object
            ``{"strokes": [[[x, y], …], …], "width": w}`` with whole numbers, if it is a drawing.

        Returns
        -------
        Drawing

        Raises
        ------
        ValueError
            If it is no drawing, or too large.

        Examples
        --------
        >>> Drawing.from_json({"strokes": [[[500, 100], [500, 900]]], "width": 80}).strokes[0].tolist()
        [[500.0, 100.0], [500.0, 900.0]]
        """
        match stored:
            case {"strokes": [_, *_] as strokes, "width": int(width)} if all(map(is_stroke, strokes)):
                pass
            case _:
                raise ValueError(
                    'Expected a drawing, {"strokes": [[[x, y], …], …], "width": w}, with one stroke or more, each of '
                    f"one point or more, in whole numbers; got {quote(stored)}."
                )
        n_points = sum(map(len, strokes))
        if n_points > MOST_POINTS:
            raise ValueError(f"Expected a drawing of at most {MOST_POINTS:,} points; got {n_points:,}. Draw less.")
        numbers = [width, *(number for stroke in strokes for point in stroke for number in point)]
        if not (min(numbers) >= 0 and max(numbers) <= SIDE and width > 0):
            raise ValueError(f"Expected points from 0 to {SIDE:,} and a pen of 1 to {SIDE:,}; got others.")
        return cls(tuple(np.array(stroke, dtype=np.float64) for stroke in strokes), float(width))


def is_stroke(value: object) -> bool:
    """Return whether a value from JSON is a list of points in whole numbers."""
    match value:
        case [_, *_] as points:
            return all(isinstance(point, list) and [*map(type, point)] == [int, int] for point in points)
    return False


@dataclass(frozen=True)
class Paper:
    """How a network takes drawings.

    Attributes
    ----------
    spec : InputSpec
        What it takes.
    frame : Frame
        How its training images were made.
    """

    spec: InputSpec
    frame: Frame

    @classmethod
    def of(cls, spec: InputSpec) -> "Paper":
        """Return how a network takes drawings.

        Parameters
        ----------
        spec : InputSpec
            What it takes: the ``input_spec_`` of either classifier.

        Returns
        -------
        Paper

        Raises
        ------
        ValueError
            If it was fitted with another ``preparation`` than "handwriting"; and, where it was fitted without any,
            unless its images have the size of MNIST's or scikit-learn's digits, and as little ink.

        Examples
        --------
        >>> mnist = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,), "handwriting")
        >>> Paper.of(mnist).frame.box
        (20, 20)
        """
        _, *size = spec.image_shape
        if spec.preparation != "handwriting":
            check_handwriting(spec)
        return cls(spec, Frame.of((size[0], size[1])))

    def place(self, drawing: Drawing) -> NDArray[np.uint8]:
        """Scale and place a drawing like the training images.

        Parameters
        ----------
        drawing : Drawing
            The strokes.

        Returns
        -------
        ndarray of shape (height, width), uint8
            Amount of ink, 0 to 255.

        References
        ----------
        LeCun et al. 1998, Gradient-based learning applied to document recognition, section III.A.

        Examples
        --------
        A long upright stroke becomes 20 pixels high, and as thin as MNIST's thinnest:

        >>> mnist = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,), "handwriting")
        >>> paper = Paper.of(mnist)
        >>> image = paper.place(Drawing((np.array([[500, 100], [500, 900]]),), 10))
        >>> (image > 127).sum(axis=0)[11:17]
        array([ 0,  0, 20, 20,  0,  0])
        """
        framed = frame_ink(draw(drawing), self.frame)
        return np.rint(framed * 255).astype(np.uint8)

    def to_row(self, ink: NDArray[np.uint8]) -> NDArray[Any]:
        """Return an image of ink as one row of the network's X.

        Parameters
        ----------
        ink : ndarray of shape (height, width), uint8
            As :meth:`place` returns it.

        Returns
        -------
        ndarray of shape ``spec.input_shape``
            Pixels in the training data's unit and with its colour of ink.
        """
        return as_row(from_ink(ink.astype(np.float32) / np.float32(255), self.spec), self.spec)


def check_handwriting(spec: InputSpec) -> None:
    """Refuse a network that was not fitted for handwriting, unless its images look like handwriting."""
    n_channels, *size = spec.image_shape
    most_ink = MOST_INK.get((size[0], size[1])) if n_channels == 1 and spec.preparation is None else None
    if most_ink is None:
        raise ValueError(
            f"Expected a network of handwriting; got one that takes {'×'.join(map(str, size))} pixels of {n_channels} "
            f"channel{'s' if n_channels > 1 else ''} and was fitted with preparation={spec.preparation!r}. Fit it with "
            "preparation='handwriting', or classify pictures with cnnclf predict."
        )
    brightness = float(spec.mean[0]) / white_of(spec)
    if min(brightness, 1 - brightness) > most_ink:
        raise ValueError(
            f"Expected a network of handwriting, of which at most {most_ink:.0%} is ink; got one whose training pixels "
            f"have a mean of {brightness:.0%} of white. Classify pictures with cnnclf predict."
        )


def draw(drawing: Drawing) -> FloatImage:
    """Draw strokes with a round pen, ``FINE`` pixels at the longer side, on a ground without margins."""
    points = np.concatenate(drawing.strokes)
    low = points.min(axis=0)
    extent = points.max(axis=0) - low
    longest = float(extent.max())
    # A pen of t pixels in a box of 20 leaves 20 − t for the path of its centre.
    thinnest, thickest = (longest * t / (20 - t) for t in (THINNEST, THICKEST))
    width = min(max(drawing.width, thinnest), thickest) if longest else drawing.width
    scale = FINE / (longest + width)  # pixels a unit
    radius = scale * width / 2
    size = [math.ceil(length * scale + 2 * radius) + 1 for length in extent]
    image = Image.new("L", (size[0], size[1]))
    pen = ImageDraw.Draw(image)
    for stroke in drawing.strokes:
        way = [(x, y) for x, y in ((stroke - low) * scale + radius).tolist()]
        pen.line(way, fill=255, width=round(2 * radius))
        for x, y in way:  # rounds the ends and the corners
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
