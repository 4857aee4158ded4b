"""A display of training images as augmentation changes them, beside the originals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cnnclf._utils.text import quote
from cnnclf.plots import _style as style
from cnnclf.plots._style import LETTERING, PAGE
from cnnclf.plots._trace import draw_framed

GAP = 0.3  # between an original and its views; a length of 1 is the width of a picture with the space beside it
SPACE = 0.04  # on each side of a picture
HEADING = 0.25  # inches


@dataclass(repr=False)  # its arrays would fill the screen
class AugmentationDisplay(style.Display):
    """Images as ``augment`` changes them in training: a row per image, the original at the left, a column per epoch.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, 3 or 4)
        The originals as RGB or RGBA, 0..1.
    views : ndarray of shape (n, n_views, height, width, 3 or 4)
        The changed images of each epoch.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes
        The figure, and the one axes that holds all pictures.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.plots import AugmentationDisplay
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(augment=["flip", "affine"])  # fitted or not
    >>> display = AugmentationDisplay.from_estimator(clf, X, n_images=3, random_state=0)
    >>> display.views.shape
    (3, 6, 8, 8, 3)
    """

    images: style.Picture
    views: style.Picture

    @classmethod
    def from_estimator(
        cls,
        clf: Any,
        X: Any,
        *,
        n_images: int = 4,
        n_views: int = 6,
        random_state: Any = None,
        ax: Axes | None = None,
    ) -> "AugmentationDisplay":
        """Change images as the training of a classifier would, and draw them.

        Parameters
        ----------
        clf : CNNClassifier
            Fitted or not; its ``augment`` is used, of a fitted one that of the fit.
        X : array-like
            Images, as ``fit`` takes them.
        n_images : int, default=4
            How many are drawn, from the first on.
        n_views : int, default=6
            Epochs, of which each changes the images anew.
        random_state : int, RandomState or None, default=None
            Seed of the changes; None draws one. It is not that of the training.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        AugmentationDisplay
            The display, drawn. Three channels are RGB, four RGBA; of any other number the mean is drawn in grey. Black
            and white are those of the unit of the pixels, or where it is not known the darkest and the brightest pixel
            of the originals; what is beyond them is clipped in the picture.

        Raises
        ------
        TypeError
            If ``clf`` has no ``augment``, such as a pipeline.
        ValueError
            If ``augment`` is None, empty, or "auto" before the fit; if ``n_images`` or ``n_views`` is no whole
            number above 0; and for what ``fit`` refuses.
        """
        import torch

        from cnnclf.classifier._parameters import check_parameters
        from cnnclf.images._arrays import check_images
        from cnnclf.images._spec import InputSpec
        from cnnclf.training._augmentation import find_augmentation
        from cnnclf.training._runtime import draw_seed, session

        if not hasattr(clf, "augment"):
            raise TypeError(
                f"Expected a CNNClassifier; got {type(clf).__name__}. Pass the classifier itself, such as pipeline[-1]."
            )
        augment = getattr(clf, "augment_", clf.augment)
        is_open = isinstance(augment, str) and augment == "auto"
        if not is_open:
            check_parameters(clf)
        change = None if is_open else find_augmentation(augment)
        if change is None:
            raise ValueError(
                f"Expected a classifier that changes its training images; got augment={augment!r}. "
                f"{'Fit it, as augment is chosen then' if is_open else 'Set augment to one or several changes'}."
            )
        if not all(isinstance(n, int | np.integer) and n >= 1 for n in (n_images, n_views)):
            raise ValueError(
                "Expected n_images and n_views to be whole numbers, 1 or more; got "
                f"{quote(n_images)} and {quote(n_views)}. Change them."
            )
        spec = getattr(clf, "input_spec_", None)
        pixels, layout = check_images(X, image_shape=clf.image_shape, layout=spec, estimator=type(clf).__name__)
        if spec is None:
            spec = InputSpec.of(pixels, layout)
        pixels = pixels[:n_images]
        batch = torch.from_numpy(pixels.copy())
        with session("cpu", (draw_seed(random_state),)):
            views = [change(batch, epoch).float().numpy() for epoch in range(n_views)]
        black, white = (pixels.min(), pixels.max()) if spec.white is None else (0, spec.white)
        images, *changed = (as_pictures(each, float(black), float(white)) for each in (pixels, *views))
        return cls(images, np.stack(changed, axis=1)).plot(ax)

    def _inches(self) -> tuple[float, float]:
        n, n_views, height, width, _ = self.views.shape
        inches = min(1.2, PAGE / (1 + GAP + n_views))  # a picture with the space beside it
        return inches * (1 + GAP + n_views), HEADING + inches * n * row_height(height, width)

    def _draw(self, ax: Axes) -> None:
        n, n_views, height, width, _ = self.views.shape
        cell = row_height(height, width)
        lefts = [0.0, *(1 + GAP + epoch for epoch in range(n_views))]
        for row, (image, views) in enumerate(zip(self.images, self.views, strict=True)):
            top, bottom = row * cell + SPACE, (row + 1) * cell - SPACE
            for left, picture in zip(lefts, (image, *views), strict=True):
                draw_framed(ax, picture, (left + SPACE, left + 1 - SPACE, bottom, top))
        for left, name in zip(lefts, ["original", "epoch 1", *map(str, range(2, n_views + 1))], strict=False):
            ax.text(left + 0.5, -SPACE, name, ha="center", va="bottom", **LETTERING)
        ax.set(xlim=(0, 1 + GAP + n_views), ylim=(n * cell, 0), aspect="equal")
        ax.axis("off")


def row_height(height: int, width: int) -> float:
    """Return the height of a row of pictures with the space around them."""
    return (1 - 2 * SPACE) * height / width + 2 * SPACE


def as_pictures(pixels: NDArray[Any], black: float, white: float) -> NDArray[np.float64]:
    """Return pixels (n, channels, height, width) as RGB or RGBA (n, height, width, 3 or 4), 0..1.

    Examples
    --------
    >>> as_pictures(np.array([[[[0, 8, 16, 20]]]]), 0, 16)[0, 0, :, 0]
    array([0. , 0.5, 1. , 1. ])
    """
    shares = ((pixels - black) / max(white - black, 1e-30)).clip(0, 1)
    if shares.shape[1] not in (3, 4):
        shares = shares.mean(axis=1, keepdims=True).repeat(3, axis=1)
    return np.moveaxis(shares, 1, -1).astype(np.float64)
