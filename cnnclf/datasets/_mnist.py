"""MNIST, from files or mirrors, and scikit-learn's digits.

No file is loaded in part: one that is cut short, too long, changed or not the file of its name is refused with a
``ValueError`` that names it.
"""

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.text import quote, unexpected
from cnnclf.datasets._idx import decode_idx, read_idx_content

# SHA-256 of each file's uncompressed content, so that any gzip of it is accepted.
MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}  # the start of the files' names, and how many images

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
TIMEOUT = (3.05, 10.0)  # seconds to connect and between two pieces of an answer: without a network, fail soon


def load_mnist(
    split: Literal["train", "test"] = "train",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the MNIST handwritten digits.

    The files are looked for in `data_home`, in the folder named by the environment variable ``CNNCLF_DATA`` and in the
    user's cache, in this order; directly or in a sub-folder ``mnist``, compressed or not. A file in none of them is
    downloaded. In every case, its uncompressed content must have the SHA-256 of the published one.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        The 60,000 training images or the 10,000 test images.
    data_home : path, default=None
        Folder to look in first and to download into; None downloads into the user's cache.
    download : bool, default=True
        Whether to download missing files. Progress is shown where standard error is a terminal.

    Returns
    -------
    X : ndarray of shape (60000, 28, 28) or (10000, 28, 28), dtype uint8
        Grey levels from 0 (paper) to 255 (ink).
    y : ndarray of shape (60000,) or (10000,), dtype int64
        The digits, 0 to 9.

    Raises
    ------
    ValueError
        If `split` is neither, or if a file is damaged or is not MNIST's.
    FileNotFoundError
        If a file is in none of the places and no mirror supplied it.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998, section III.A.

    Examples
    --------
    With MNIST's files on this machine, or without:

    >>> from cnnclf import load_digits, load_mnist
    >>> try:
    ...     X, y = load_mnist("test", download=False)
    ... except FileNotFoundError:
    ...     X, y = load_digits()
    >>> X.ndim, X.dtype, y.dtype
    (3, dtype('uint8'), dtype('int64'))
    """
    with warnings.catch_warnings(), needed_by("load_mnist"):
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in notebooks without ipywidgets
        import pooch

    if split not in SPLITS:
        raise ValueError(f"Expected split to be 'train' or 'test'; got {quote(split)}. Change split.")
    cache = Path(pooch.os_cache("cnnclf"))
    places = [Path(place).expanduser() for place in (data_home, os.environ.get("CNNCLF_DATA")) if place] + [cache]
    home = (places[0] if data_home else cache) if download else None
    prefix, n = SPLITS[split]
    images = load_mnist_file(f"{prefix}-images-idx3-ubyte", (n, 28, 28), places, home)
    return images, load_mnist_file(f"{prefix}-labels-idx1-ubyte", (n,), places, home).astype(np.int64)


def load_mnist_file(name: str, shape: tuple[int, ...], places: Sequence[Path], home: Path | None) -> NDArray[np.uint8]:
    """Return the content of a file from the first place that has it, else from a mirror, stored in `home`."""
    for candidate in find_candidates(name, places):
        if candidate.is_file():
            return read_mnist(candidate, str(candidate), name, shape)
    failures = []
    if home is not None:
        with needed_by("load_mnist"):
            import requests  # pooch downloads with it

        for mirror in MIRRORS:
            try:
                return download_mnist(f"{mirror}{name}.gz", home / "mnist" / f"{name}.gz", name, shape)
            except requests.ConnectionError:
                failures.append(f"{urlsplit(mirror).hostname} (no connection)")
            except (OSError, ValueError) as error:
                failures.append(f"{mirror} ({error})")
    raise FileNotFoundError(
        f"MNIST: expected {name}.gz or {name} in one of {', '.join(map(str, places))}; found neither"
        + (f", and no mirror supplied it: {', '.join(failures)}" if failures else "")
        + ". Set CNNCLF_DATA or pass data_home to name a folder that has MNIST's files."
    )


def find_candidates(name: str, places: Sequence[Path]) -> Iterator[Path]:
    """Return each path at which a file is looked for."""
    for place in places:
        for folder in (place / "mnist", place):
            for spelling in (name, name.replace("-idx", ".idx")):
                yield folder / f"{spelling}.gz"
                yield folder / spelling


def download_mnist(url: str, target: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Download a file, check it, and only then move it to `target`."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as scratch:
        temporary = Path(scratch) / target.name
        pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)(url, temporary, None)
        array = read_mnist(temporary, url, name, shape)
        temporary.replace(target)
    return array


def read_mnist(path: Path, source: str, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the array in `path`, which errors call `source`, if it is the published one."""

    def refuse(expected: str, found: str) -> ValueError:
        return ValueError(unexpected(source, f"MNIST's {expected}", found, "Replace it with the published file"))

    def check_header(found_dtype: np.dtype[Any], found: tuple[int, ...]) -> None:
        if found_dtype != np.uint8 or found != shape:
            raise refuse(f"{name}, uint8 of shape {shape}", f"{found_dtype.newbyteorder('=')} of shape {found}")

    content = read_idx_content(path, source, check_header)
    array = decode_idx(content, source)
    if array.ndim == 1 and array.max() > 9:
        raise refuse("labels, 0 to 9", f"a label {array.max()}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != MNIST_FILES[name]:
        raise refuse(f"{name}, content with SHA-256 {MNIST_FILES[name]}", f"SHA-256 {sha256}")
    return array


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the small handwritten digits that are part of scikit-learn; nothing is downloaded.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8), dtype uint8
        Grey levels from 0 (paper) to 16 (ink).
    y : ndarray of shape (1797,), dtype int64
        The digits, 0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49; its test set, from :func:`sklearn.datasets.load_digits`.

    Examples
    --------
    >>> from cnnclf import load_digits
    >>> X, y = load_digits()
    >>> X.shape, X.dtype, int(X.max())
    ((1797, 8, 8), dtype('uint8'), 16)
    >>> y[:5]
    array([0, 1, 2, 3, 4])
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    return digits.images.astype(np.uint8), digits.target.astype(np.int64)
