"""Recognise training images by hashes that a file stores; no image can be reconstructed from these.

Each image is hashed to 64 bits, and the 2,048 smallest hashes are stored, 16 kB. Up to 2,048 images, all are
recognised; of more images, the random share whose hashes are not above the largest that is stored.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.text import quote

MOST_KEPT = 2_048

Hashes = NDArray[np.uint64]

NONE_YET: Hashes = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What is remembered of all images that a network has learnt from.

    Both classifiers carry it as ``training_data_``, and both kinds of file store it.

    Parameters
    ----------
    sha256 : str
        The SHA-256 of images, labels and weights; empty where it is not known.
    learnt : ndarray of uint64
        Hashes of at most 2,048 images, sorted.
    examples : ndarray of shape (n, channels, height, width) or None
        A few of the images, to compare an exported file on. They never leave the process: neither a pickle nor a file
        holds them, because whoever gets the model need not get the data.
    """

    sha256: str = ""
    learnt: Hashes = field(default_factory=NONE_YET.copy)
    examples: NDArray[np.uint8 | np.float32] | None = None

    def __reduce__(self) -> tuple[type["TrainingData"], tuple[str, Hashes]]:
        return type(self), (self.sha256, self.learnt)

    def to_json(self) -> dict[str, str]:
        """Return the two entries that a file stores."""
        return {"training_data": self.sha256, "learnt": to_text(self.learnt)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "TrainingData":
        """Read what :meth:`to_json` returned, which may come from a stranger.

        Raises
        ------
        ValueError
            If an entry is missing or is not text, or if the hashes are not sorted hashes, or too many.
        """
        sha256 = fields.get("training_data")
        if not isinstance(sha256, str):
            raise ValueError(f"Expected training_data to be text; got {quote(sha256)}. Save the model again.")
        return cls(sha256, from_text(fields.get("learnt")))


def hash_images(pixels: NDArray[np.uint8 | np.float32]) -> Hashes:
    """Compute a hash of 64 bits per image; equal pixels have equal hashes, whatever their dtype.

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
    if pixels.dtype == np.uint8:
        return hash_rows(pixels)
    with np.errstate(invalid="ignore"):  # what is no byte differs from its pixel, whatever it becomes
        as_bytes = pixels.astype(np.uint8)
    is_whole = (as_bytes == pixels).all(axis=(1, 2, 3))
    return np.where(is_whole, hash_rows(as_bytes), hash_rows(pixels))


def hash_rows(pixels: NDArray[np.uint8 | np.float32]) -> Hashes:
    """Compute a hash of 64 bits per image: Σ odd random multiplier × 8-byte word, modulo 2⁶⁴.

    Source: multiply-shift hashing of vectors, Dietzfelbinger 1996.
    """
    n = len(pixels)
    row_bytes = pixels[:1].nbytes
    n_words = -(-row_bytes // 8)
    multipliers = np.random.default_rng(0).integers(0, 2**63, n_words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(n, np.uint64)
    step = max(1, 2**17 // row_bytes)  # slices that stay in the cache
    for start in range(0, n, step):
        rows = pixels[start : start + step].reshape(-1, row_bytes // pixels.itemsize).view(np.uint8)
        if row_bytes % 8:
            rows = np.pad(rows, ((0, 0), (0, -row_bytes % 8)))
        hashes[start : start + step] = rows.view(np.uint64) @ multipliers
    return hashes


def keep(kept: Hashes, hashes: Hashes) -> Hashes:
    """Return the hashes to store after more images.

    Parameters
    ----------
    kept : ndarray of uint64
        What earlier calls returned, `NONE_YET` at first.
    hashes : ndarray of shape (n,), uint64
        Of the images, as `hash_images` gives them.

    Returns
    -------
    ndarray of uint64
        Sorted, each once, `MOST_KEPT` at most; the same whatever the order of images and calls.

    Examples
    --------
    >>> hashes = hash_images(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1))
    >>> at_once, in_turn = keep(NONE_YET, hashes), keep(keep(NONE_YET, hashes[2:]), hashes[:2])
    >>> len(at_once), bool((at_once == in_turn).all())
    (3, True)
    """
    return np.unique(np.concatenate([kept, hashes]))[:MOST_KEPT]


def count_learnt(kept: Hashes, pixels: NDArray[np.uint8 | np.float32]) -> tuple[int, int]:
    """Count the images that the network was trained on.

    Parameters
    ----------
    kept : ndarray of uint64
        What `keep` returned.
    pixels : ndarray of shape (n, channels, height, width), uint8 or float32
        Checked images.

    Returns
    -------
    n_learnt : int
        How many images are recognised.
    n_looked_up : int
        Among how many they were looked for: all, if the network was trained on at most `MOST_KEPT` images.

    Examples
    --------
    >>> images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> count_learnt(keep(NONE_YET, hash_images(images[:3])), images)
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
    """Read the output of `to_text`, which may come from an untrusted file.

    Raises
    ------
    ValueError
        If the text does not hold sorted hashes, or holds too many.
    """
    wrong = f"Expected learnt to be sorted hashes of at most {MOST_KEPT:,} images; got others. Save the model again."
    try:
        kept = np.frombuffer(base64.b64decode(str(text), validate=True), dtype="<u8").astype(np.uint64)
    except ValueError as error:
        raise ValueError(wrong) from error
    if len(kept) > MOST_KEPT or not (kept[:-1] < kept[1:]).all():
        raise ValueError(wrong)
    return kept
