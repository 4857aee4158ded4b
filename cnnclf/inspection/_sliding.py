"""A kernel that moves over a small image, to play with in a notebook; the engine of the page computes it."""

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.jinja import digest, page_templates, read_as_is
from cnnclf._utils.text import quote

TEMPLATES = page_templates("cnnclf.inspection")
LARGEST = 16  # rows or columns of an image that a page shows as numbers


def as_numbers(matrix: ArrayLike) -> NDArray[np.float32]:
    """Return a matrix as float32, if it holds finite numbers."""
    numbers = np.asarray(matrix)
    if numbers.dtype.kind not in "biuf" or not np.isfinite(numbers).all():
        raise ValueError(f"Expected finite numbers; got {quote(matrix)}. Remove what is no number.")
    return numbers.astype(np.float32)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class SlidingWindow:
    """A convolution of one small image with one kernel, shown in a notebook: point at a result to see its sum.

    In the page the weights, the stride and the padding can be changed.

    Parameters
    ----------
    image : array-like of shape (height, width)
        At most 16×16 numbers.
    kernel : array-like of shape (height, width)
        The weights.
    stride, padding : int
        In both directions.

    Raises
    ------
    ValueError
        If image or kernel are not such matrices, or no place fits the kernel.

    Examples
    --------
    >>> from cnnclf.inspection import SlidingWindow
    >>> window = SlidingWindow([[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[1, 0], [0, -1]])
    >>> window
    SlidingWindow(image of 3×3, kernel of 2×2, stride 1, padding 0)
    """

    image: NDArray[np.float32]
    kernel: NDArray[np.float32]
    stride: int
    padding: int

    def __init__(self, image: ArrayLike, kernel: ArrayLike, stride: int = 1, padding: int = 0) -> None:
        pixels, weights = (as_numbers(matrix) for matrix in (image, kernel))
        if not (pixels.ndim == weights.ndim == 2 and min(pixels.shape) > 0 and max(pixels.shape) <= LARGEST):
            raise ValueError(
                f"Expected an image of at most {LARGEST}×{LARGEST} numbers and a kernel, two matrices; got shapes "
                f"{pixels.shape} and {weights.shape}. Cut a patch out of the image."
            )
        for name, value, least in (("stride", stride, 1), ("padding", padding, 0)):
            if type(value) is not int or value < least:
                raise ValueError(
                    f"Expected {name} to be a whole number of at least {least}; got {quote(value)}. Pass {least}."
                )
        spare = min(n + 2 * padding - k for n, k in zip(pixels.shape, weights.shape, strict=True))
        if min(weights.shape) < 1 or spare < 0:
            raise ValueError(
                f"Expected a kernel that fits the padded image; got {weights.shape} on {pixels.shape} with padding "
                f"{padding}. Make the kernel smaller."
            )
        for name, part in {"image": pixels, "kernel": weights, "stride": stride, "padding": padding}.items():
            object.__setattr__(self, name, part)

    def __repr__(self) -> str:
        image, kernel = ("×".join(map(str, matrix.shape)) for matrix in (self.image, self.kernel))
        return f"SlidingWindow(image of {image}, kernel of {kernel}, stride {self.stride}, padding {self.padding})"

    def to_html(self) -> str:
        """Return the page: HTML that needs no other file."""
        files = {
            "style": read_as_is(TEMPLATES, "style.css", "sliding.css"),
            "script": read_as_is(TEMPLATES, "engine.js", "sliding.js"),
        }
        data: dict[str, Any] = {name: getattr(self, name).tolist() for name in ("image", "kernel")}
        return TEMPLATES.get_template("sliding.html.j2").render(
            data=data | {"stride": self.stride, "padding": self.padding},
            **{name: Markup(text) for name, text in files.items()},
            **{f"{name}_hash": digest(text) for name, text in files.items()},
        )

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        return (
            f'<iframe srcdoc="{page}" title="{self!r}" sandbox="allow-scripts" '
            'style="width:100%;height:26rem;border:0"></iframe>'
        )
