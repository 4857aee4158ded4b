"""Recognise images that a network learnt from, by hashes that its file keeps of them: no image can be read from those.

Of each image the first 64 bits of the SHA-256 of its pixels are taken, and of all images the smallest 2,048 of these
numbers are kept, 16 kB. Up to so many images each one is recognised; of more, those whose number is no larger than the
largest that is kept, which are a random share.
"""

import base64
import hashlib

import numpy as np
from numpy.typing import NDArray

MOST_KEPT = 2_048

Hashes = NDArray[np.uint64]

NONE_YET: Hashes = np.empty(0, dtype=np.uint64)


def hash_images(pixels: NDArray[np.uint8 | np.float32]) -> Hashes:
    """Hash each image to 64 bits; the same numbers give the same hash, whatever their dtype.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        Checked images.

    Returns
    -------
    ndarray of shape (n,), uint64

    Examples
    --------
    >>> images = np.array([[[[0, 1]]], [[[0, 2]]], [[[0, 1]]]], dtype=np.uint8)
    >>> one, two, again = hash_images(images)
    >>> bool(one == again != two), bool((hash_images(images.astype(np.float32)) == [one, two, one]).all())
    (True, True)
    """
    digests = (hashlib.sha256(image.astype("<f4").tobytes()).digest()[:8] for image in pixels)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def keep(kept: Hashes, pixels: NDArray[np.uint8 | np.float32]) -> Hashes:
    """Add images to those that are to be recognised.

    Parameters
    ----------
    kept : ndarray of uint64
        What earlier calls returned, `NONE_YET` at first.
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        Checked images.

    Returns
    -------
    ndarray of uint64
        Sorted, each once, `MOST_KEPT` at most; the same whatever the order of images and calls.

    Examples
    --------
    >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    >>> at_once, in_turn = keep(NONE_YET, images), keep(keep(NONE_YET, images[2:]), images[:2])
    >>> len(at_once), bool((at_once == in_turn).all())
    (3, True)
    """
    return np.unique(np.concatenate([kept, hash_images(pixels)]))[:MOST_KEPT]


def count_learnt(kept: Hashes, pixels: NDArray[np.uint8 | np.float32]) -> tuple[int, int]:
    """Count the images that were learnt from.

    Parameters
    ----------
    kept : ndarray of uint64
        What `keep` returned.
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        Checked images.

    Returns
    -------
    n_learnt : int
        How many of them are recognised.
    n_looked_up : int
        Of how many that can be said: of all, where no more than `MOST_KEPT` images were learnt from.

    Examples
    --------
    >>> images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> count_learnt(keep(NONE_YET, images[:3]), images)
    (3, 4)
    """
    found = hash_images(pixels)
    n_looked_up = len(found) if len(kept) < MOST_KEPT else int((found <= kept[-1]).sum())
    return int(np.isin(found, kept).sum()), n_looked_up


def to_text(kept: Hashes) -> str:
    """Write hashes as text, for a file.

    Examples
    --------
    >>> to_text(np.array([1, 2], dtype=np.uint64)), from_text("AQAAAAAAAAACAAAAAAAAAA==")
    ('AQAAAAAAAAACAAAAAAAAAA==', array([1, 2], dtype=uint64))
    """
    return base64.b64encode(kept.astype("<u8").tobytes()).decode()


def from_text(text: object) -> Hashes:
    """Read what `to_text` wrote, which may come from a stranger.

    Raises
    ------
    ValueError
        If it is no text of sorted hashes, or of too many.
    """
    wrong = f"learnt must be the hashes of at most {MOST_KEPT:,} images, sorted; got others."
    try:
        kept = np.frombuffer(base64.b64decode(str(text), validate=True), dtype="<u8").astype(np.uint64)
    except ValueError as error:
        raise ValueError(wrong) from error
    if len(kept) > MOST_KEPT or not (kept[:-1] < kept[1:]).all():
        raise ValueError(wrong)
    return kept
