"""Strokes of a pen → the image that a network of handwritten digits takes, made as MNIST's were.

MNIST's digits were size-normalised to fit 20×20 pixels in proportion, which made them grey at their edges, and put into
28×28 with the centre of mass at the centre. The same is done here: the pen's way is drawn finely, scaled by averaging,
and placed by :func:`cnnclf.pictures.frame_ink`. The only liberty is with the pen: one width for all sizes makes a small
digit all blot and a large one a hairline, so it is brought into the range that MNIST's pens have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, ImageDraw

from cnnclf.images import ImageLayout
from cnnclf.pictures import DRAWINGS, FloatImage, Frame, as_row, frame_ink, white_level
from cnnclf.wording import quote

SIDE = 1000  # of the square that is drawn on, in units of the points
MOST_POINTS = 10_000  # of one drawing
FINE = 320  # pixels of the longer side of a drawing before it is scaled: 16×16 for each of MNIST's

# Of 20 pixels, the box of a digit: nine of ten of MNIST's are drawn with pens between these.
THINNEST, THICKEST = 1.75, 4.0


@dataclass(frozen=True)
class Drawing:
    """What was drawn.

    Attributes
    ----------
    strokes : tuple of ndarray of shape (n, 2), float64
        The points (x, y) of each stroke, x to the right and y down, 0 to ``SIDE``.
    width : float
        Of the pen, in the same unit.
    """

    strokes: tuple[NDArray[np.float64], ...]
    width: float

    @classmethod
    def from_json(cls, told: Any) -> "Drawing":
        """Take a drawing out of decoded JSON.

        Parameters
        ----------
        told : object
            ``{"strokes": [[[x, y], …], …], "width": w}`` with whole numbers, if it is a drawing.

        Returns
        -------
        Drawing

        Raises
        ------
        ValueError
            If it is none, or larger than a drawing may be.

        Examples
        --------
        >>> Drawing.from_json({"strokes": [[[500, 100], [500, 900]]], "width": 80}).strokes[0].tolist()
        [[500.0, 100.0], [500.0, 900.0]]
        """
        match told:
            case {"strokes": [_, *_] as strokes, "width": int(width)} if all(map(is_stroke, strokes)):
                pass
            case _:
                raise ValueError(
                    'Expected a drawing, {"strokes": [[[x, y], …], …], "width": w}, with one stroke or more, each of '
                    f"one point or more, in whole numbers; got {quote(told)}."
                )
        n_points = sum(map(len, strokes))
        if n_points > MOST_POINTS:
            raise ValueError(f"Expected a drawing of at most {MOST_POINTS:,} points; got {n_points:,}. Draw less.")
        numbers = [width, *(number for stroke in strokes for point in stroke for number in point)]
        if not (min(numbers) >= 0 and max(numbers) <= SIDE and width > 0):
            raise ValueError(f"Expected points from 0 to {SIDE:,} and a pen of 1 to {SIDE:,}; got others.")
        return cls(tuple(np.array(stroke, dtype=np.float64) for stroke in strokes), float(width))


def is_stroke(told: object) -> bool:
    """Tell whether a value from JSON is a list of points in whole numbers."""
    return (
        isinstance(told, list)
        and len(told) > 0
        and all(isinstance(point, list) and [type(number) for number in point] == [int, int] for point in told)
    )


@dataclass(frozen=True)
class Paper:
    """What a network takes drawings as.

    Attributes
    ----------
    layout : ImageLayout
        The shape of a row of its X, and how it is read as an image.
    frame : Frame
        How the images that it was trained on were made.
    white : int
        The number that stands for white in them.
    is_dark : bool
        Whether their ground was black and their ink bright.
    dtype : dtype
        Of their pixels.
    """

    layout: ImageLayout
    frame: Frame
    white: int
    is_dark: bool
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, layout: ImageLayout, *, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> "Paper":
        """Find out what a network takes drawings as.

        Parameters
        ----------
        layout : ImageLayout
            The shape of a row of its X, and how it is read as an image.
        mean, std : sequence of float, one a channel
            Of the training pixels, in their unit.
        dtype : dtype
            Of the training pixels.

        Returns
        -------
        Paper

        Raises
        ------
        ValueError
            If it was not trained on handwriting of a size that is known here.

        Examples
        --------
        >>> mnist = ImageLayout((28, 28), (1, 28, 28), channels_last=False)
        >>> paper = Paper.of(mnist, mean=[33.3], std=[78.6], dtype="uint8")
        >>> paper.white, paper.is_dark
        (255, True)
        """
        n_channels, *size = layout.image_shape
        frame = DRAWINGS.get((size[0], size[1])) if n_channels == 1 else None
        if frame is None:
            sizes = " or ".join(f"{height}×{width}" for height, width in DRAWINGS)
            raise ValueError(
                f"Expected a network of handwriting in grey images of {sizes} pixels; this one takes "
                f"{'×'.join(map(str, size))} pixels of {n_channels} channel{'s' if n_channels > 1 else ''}. "
                "Show it pictures with cnnclf predict."
            )
        white = white_level(mean, std)
        brightness = float(mean[0]) / white
        if min(brightness, 1 - brightness) > frame.largest_mean:
            raise ValueError(
                f"Expected a network of handwriting, of which at most {frame.largest_mean:.0%} is ink; the mean of "
                f"this one's training pixels is {brightness:.0%} of white. Show it pictures with cnnclf predict."
            )
        return cls(layout, frame, white, brightness < 0.5, np.dtype(dtype))

    def put(self, drawing: Drawing) -> NDArray[np.uint8]:
        """Scale and place a drawing as the training images were.

        Parameters
        ----------
        drawing : Drawing
            What was drawn.

        Returns
        -------
        ndarray of shape (height, width), uint8
            How much ink there is: 0 for none, 255 for all.

        References
        ----------
        LeCun et al. 1998, Gradient-based learning applied to document recognition, section III.A.

        Examples
        --------
        A long upright stroke becomes 20 pixels high, and as thin as MNIST's thinnest:

        >>> mnist = ImageLayout((28, 28), (1, 28, 28), channels_last=False)
        >>> paper = Paper.of(mnist, mean=[33.3], std=[78.6], dtype="uint8")
        >>> image = paper.put(Drawing((np.array([[500, 100], [500, 900]]),), 10))
        >>> (image > 127).sum(axis=0)[11:17]
        array([ 0,  0, 20, 20,  0,  0])
        """
        framed = frame_ink(draw(drawing), self.frame)
        return np.rint(framed * 255).astype(np.uint8)

    def to_row(self, ink: NDArray[np.uint8]) -> NDArray[Any]:
        """Give an image of ink as one row of the network's X.

        Parameters
        ----------
        ink : ndarray of shape (height, width), uint8
            As :meth:`put` gives it.

        Returns
        -------
        ndarray of shape ``layout.input_shape``
            Pixels in the training data's unit and with its colour of ink.
        """
        bright = ink.astype(np.float32) / np.float32(255)
        return as_row((bright if self.is_dark else 1 - bright)[np.newaxis], self.layout, self.white, self.dtype)


def draw(drawing: Drawing) -> FloatImage:
    """Draw strokes with a round pen, as large as fits ``FINE`` pixels, on a ground that ends where the ink does."""
    points = np.concatenate(drawing.strokes)
    low = points.min(axis=0)
    extent = points.max(axis=0) - low
    longest = float(extent.max())
    # A pen of t pixels in a box of 20 leaves 20 − t for the way of its middle.
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
