"""A drawing or photograph of handwriting → an image framed like MNIST's digits."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

FloatImage = NDArray[np.float32]

# Pixels of a drawing's longer side while it is cleaned: strokes are some pixels wide, noise is one.
SMALLEST_SIDE, LARGEST_SIDE = 56, 280
FAINTEST = 0.1  # the smallest contrast, 0 to 1, of a drawing


@dataclass(frozen=True)
class Frame:
    """How the images of a set of handwritten digits were made.

    Attributes
    ----------
    canvas : tuple of int
        (height, width) of the field that the ink was placed on.
    box : tuple of int
        (height, width) that the ink was scaled to fit.
    in_proportion : bool
        Whether the ink kept its proportions and its centre of mass was placed at the canvas's centre; otherwise it was
        stretched to fill the box, and the box was centred.
    block : int
        Side of the squares of the canvas whose means are the pixels.
    """

    canvas: tuple[int, int]
    box: tuple[int, int]
    in_proportion: bool
    block: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> "Frame":
        """Return how digits of a size (height, width) were made.

        Those of 8×8 pixels are scikit-learn's; all others were made like MNIST's, whose ink fits 20 of 28 pixels.

        References
        ----------
        LeCun et al. 1998, Gradient-based learning applied to document recognition, section III.A.

        Alpaydin and Kaynak 1998, Optical recognition of handwritten digits, made with the programs of Garris et al.
        1994, NIST form-based handprint recognition system.

        Examples
        --------
        >>> Frame.of((28, 28)).box, Frame.of((32, 32)).box
        ((20, 20), (23, 23))
        """
        if size == (8, 8):
            return cls(canvas=(32, 32), box=(32, 20), in_proportion=False, block=4)
        side = max(1, round(min(size) * 20 / 28))
        return cls(canvas=size, box=(side, side), in_proportion=True, block=1)


def frame_drawing(grey: FloatImage, size: tuple[int, int], name: str) -> FloatImage:
    """Find the ink, 0..1, in a grey picture of a drawing, and frame it like digits of a size (height, width)."""
    ink = 1 - grey if np.median(border(grey)) > 0.5 else grey
    frame = Frame.of(size)
    if ink.shape == size != frame.canvas:
        return ink  # these pixels are already means of blocks, and cannot be framed without the blocks' own pixels
    return frame_ink(clean_ink(enlarge(ink), name), frame)


def border(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels, one per row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def paste(ground: FloatImage, pixels: FloatImage, top: int, left: int) -> FloatImage:
    """Paste a picture onto a ground."""
    ground[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return ground


def clean_ink(picture: FloatImage, name: str = "picture") -> FloatImage:
    """Return the ink, 0 to 1, of a picture of bright ink on a darker ground, such as a photograph.

    Parameters
    ----------
    picture : ndarray of shape (height, width), float32
        Brightness, 0..1.
    name : str, default="picture"
        Its name in the error.

    Returns
    -------
    ndarray of shape (height, width), float32, within 0..1
        At most ``LARGEST_SIDE`` pixels high and wide.

    Raises
    ------
    ValueError
        If nothing contrasts with the ground.

    Notes
    -----
    Otsu's threshold finds the ink in the blurred picture. The pixels around it keep their grey, so that edges stay
    smooth. All other pixels are ground.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.

    Examples
    --------
    >>> grey = np.full((6, 9), 0.3, dtype=np.float32)
    >>> grey[1:5, 1] = 0.9
    >>> clean_ink(grey)[2].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    small = shrink(Image.fromarray(picture), LARGEST_SIDE)
    pixels = np.asarray(small) - light(small)
    blurred = Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    levels = np.asarray(blurred)
    if int(levels.max()) - int(levels.min()) < FAINTEST * 255:
        raise ValueError(f"{name}: expected a drawing that contrasts with its paper; got an even shade.")
    is_ink = levels > otsu_threshold(levels)
    near = np.asarray(Image.fromarray(is_ink).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
    # Blurred ink is broader than ink: of a line one pixel wide, only a third of the blurred pixels is ink.
    paper, ink = np.median(pixels[~is_ink]), np.quantile(pixels[is_ink], 0.9)
    cleaned: FloatImage = (near * (pixels - paper) / (ink - paper)).clip(0, 1).astype(np.float32)
    return cleaned


def enlarge(picture: FloatImage) -> FloatImage:
    """Repeat the pixels of a small picture, so that its strokes are some pixels wide when it is cleaned."""
    factor = math.ceil(SMALLEST_SIDE / max(picture.shape))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def shrink(image: Image.Image, largest_side: int) -> Image.Image:
    """Shrink a picture in proportion, by averaging."""
    scale = min(1.0, largest_side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def light(image: Image.Image) -> FloatImage:
    """Estimate the ground under bright ink, uneven in a photograph, by a morphological opening wider than the ink."""
    tiny = shrink(image, 36)
    ground = Image.fromarray(np.rint(np.asarray(tiny) * 255).astype(np.uint8))
    for step in (ImageFilter.MinFilter(13), ImageFilter.MaxFilter(13), ImageFilter.GaussianBlur(4)):
        ground = ground.filter(step)
    estimate: FloatImage = np.asarray(ground.convert("F").resize(image.size, Image.Resampling.BILINEAR))
    return estimate / np.float32(255)


def otsu_threshold(levels: NDArray[np.uint8]) -> int:
    """Find the level that divides a picture into two classes with the largest variance between them (Otsu 1979)."""
    share = np.bincount(levels.ravel(), minlength=256) / levels.size
    below = np.cumsum(share)  # ω
    mass = np.cumsum(share * np.arange(256))  # μ
    with np.errstate(divide="ignore", invalid="ignore"):  # where one class is empty
        variance = (mass[-1] * below - mass) ** 2 / (below * (1 - below))
    return int(np.nanargmax(variance))


def frame_ink(ink: FloatImage, frame: Frame) -> FloatImage:
    """Scale and place drawn ink like the digits of a training set.

    Parameters
    ----------
    ink : ndarray of shape (height, width), float32
        Amount of ink, 0 to 1, somewhere above 0.
    frame : Frame
        How the digits were made.

    Returns
    -------
    ndarray of shape (height, width), float32, within 0..1
        For MNIST the ink, scaled in proportion to fit 20×20 pixels, with its centre of mass at the centre of 28×28.

    Examples
    --------
    >>> ink = np.zeros((300, 400), dtype=np.float32)
    >>> ink[10:60, 20:30] = 1  # 50×10 pixels become 20×4
    >>> framed = frame_ink(ink, Frame.of((28, 28)))
    >>> framed.any(axis=1).nonzero()[0][[0, -1]], framed.any(axis=0).nonzero()[0]
    (array([ 4, 23]), array([12, 13, 14, 15]))
    """
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = np.ascontiguousarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    height, width = frame.box
    if frame.in_proportion:
        scale = min(height / cropped.shape[0], width / cropped.shape[1])
        height, width = (max(1, round(length * scale)) for length in cropped.shape)
    scaled = np.asarray(Image.fromarray(cropped).resize((width, height), Image.Resampling.BOX))
    if frame.in_proportion:
        # (row, column) of the centre of mass, which is moved to within half a pixel of the canvas's.
        centre = [
            float(np.average(np.arange(n), weights=scaled.sum(axis=1 - axis))) for axis, n in enumerate(scaled.shape)
        ]
    else:
        centre = [height / 2, width / 2]
    # To the pixel n/2, counted from 0, as in MNIST; but no ink is cut off.
    top, left = (
        min(max(math.ceil((side - 1) / 2 - middle), 0), side - length)
        for side, middle, length in zip(frame.canvas, centre, scaled.shape, strict=True)
    )
    canvas = paste(np.zeros(frame.canvas, dtype=np.float32), scaled, top, left)
    n_rows, n_columns = (side // frame.block for side in frame.canvas)
    framed: FloatImage = canvas.reshape(n_rows, frame.block, n_columns, frame.block).mean(axis=(1, 3))
    framed /= framed.max()  # thin strokes are grey after scaling
    return framed
