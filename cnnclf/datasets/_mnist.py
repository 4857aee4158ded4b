"""Images and labels from files: MNIST, scikit-learn's digits, IDX files and folders of images.

Nothing is ever half loaded: a file that is cut short, too long, changed or not what its name says is refused with a
``ValueError`` that names it.
"""

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.text import quote
from cnnclf.datasets._idx import decode_idx, read_idx_content


@dataclass(frozen=True)
class MnistFile:
    name: str
    sha256: str  # of the uncompressed content, so that any gzip of it is fine
    shape: tuple[int, ...]


MNIST_FILES = {
    "train": (
        MnistFile(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            (60_000, 28, 28),
        ),
        MnistFile(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            (60_000,),
        ),
    ),
    "test": (
        MnistFile(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            (10_000, 28, 28),
        ),
        MnistFile(
            "t10k-labels-idx1-ubyte",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            (10_000,),
        ),
    ),
}

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
    user's cache, in this order; directly or in a sub-folder ``mnist``, compressed or not. What is found in none of them
    is downloaded. Whichever way a file came, its uncompressed content must have the SHA-256 of the published one.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        The 60,000 training images or the 10,000 test images.
    data_home : path, default=None
        Folder to look in first and to download into; None downloads into the user's cache.
    download : bool, default=True
        Whether to download what is not found. Progress is shown where standard error is a terminal.

    Returns
    -------
    X : ndarray of shape (60000, 28, 28) or (10000, 28, 28), dtype uint8
        Grey levels from 0 (paper) to 255 (ink).
    y : ndarray of shape (60000,) or (10000,), dtype int64
        The digits, 0 to 9.

    Raises
    ------
    ValueError
        If `split` is neither, or if a file that was found is damaged or is not MNIST's.
    FileNotFoundError
        If a file is in none of the places and no mirror supplied it.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998, section III.A.

    Examples
    --------
    With or without MNIST at hand:

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

    if split not in MNIST_FILES:
        raise ValueError(f"split: expected 'train' or 'test', got {quote(split)}; pass one of the two")
    cache = Path(pooch.os_cache("cnnclf"))
    places = [Path(place).expanduser() for place in (data_home, os.environ.get("CNNCLF_DATA")) if place] + [cache]
    home = places[0] if data_home else cache
    images, labels = (load_mnist_file(file, places, home if download else None) for file in MNIST_FILES[split])
    return images, labels.astype(np.int64)


def load_mnist_file(file: MnistFile, places: Sequence[Path], home: Path | None) -> NDArray[np.uint8]:
    """Return the content of `file` from the first place that has it, else from a mirror by way of `home`."""
    for candidate in find_candidates(file.name, places):
        if candidate.is_file():
            return read_mnist(candidate, str(candidate), file)
    failures = []
    if home is not None:
        with needed_by("load_mnist"):
            import requests  # what pooch downloads with

        for mirror in MIRRORS:
            try:
                return download(f"{mirror}{file.name}.gz", home / "mnist" / f"{file.name}.gz", file)
            except requests.ConnectionError:
                failures.append(f"{urlsplit(mirror).hostname} (no connection)")
            except (OSError, ValueError) as error:
                failures.append(f"{mirror} ({error})")
    raise FileNotFoundError(
        f"MNIST: expected {file.name}.gz or {file.name} in one of {', '.join(map(str, places))}, found neither"
        + (f", and no mirror supplied it: {', '.join(failures)}" if failures else "")
        + "; set CNNCLF_DATA or pass data_home to name a folder that has MNIST's files"
    )


def find_candidates(name: str, places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        for folder in (place / "mnist", place):
            for spelling in (name, name.replace("-idx", ".idx")):
                yield folder / f"{spelling}.gz"
                yield folder / spelling


def download(url: str, target: Path, file: MnistFile) -> NDArray[np.uint8]:
    """Fetch `url`, check it, and only then move it to `target`."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as scratch:
        temporary = Path(scratch) / target.name
        pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)(url, temporary, None)
        array = read_mnist(temporary, url, file)
        temporary.replace(target)
    return array


def read_mnist(path: Path, source: str, file: MnistFile) -> NDArray[np.uint8]:
    """Return the array in `path`, which errors call `source`, if it is what was published as `file`."""

    def check_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if dtype != np.uint8 or shape != file.shape:
            raise ValueError(
                f"{source}: expected MNIST's {file.name}, uint8 of shape {file.shape}, "
                f"got {dtype.newbyteorder('=')} of shape {shape}; replace it by the published file"
            )

    content = read_idx_content(path, source, check_header)
    array = decode_idx(content, source)
    if array.ndim == 1 and array.max() > 9:
        raise ValueError(
            f"{source}: expected MNIST's labels, 0 to 9, got a label {array.max()}; replace it by the published file"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256:
        raise ValueError(
            f"{source}: expected MNIST's {file.name}, content with SHA-256 {file.sha256}, "
            f"got SHA-256 {sha256}; replace it by the published file"
        )
    return array
