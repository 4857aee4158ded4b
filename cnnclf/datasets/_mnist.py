"""Images and labels from files: MNIST, scikit-learn's digits, IDX files and folders of images.

Nothing is ever half loaded: a file that is cut short, too long, changed or not what its name says is refused with a
``ValueError`` that names it.
"""

import gzip
import hashlib
import math
import os
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import quote, quote_all

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["load_digits", "load_idx", "load_image_folder", "load_mnist"]

_HeaderCheck = Callable[[np.dtype[Any], tuple[int, ...]], None]

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 2**20  # bytes asked for at once, so that memory follows the file and not what its header claims


@dataclass(frozen=True)
class _MnistFile:
    name: str
    sha256: str  # of the uncompressed content, so that any gzip of it is fine
    shape: tuple[int, ...]


MNIST_FILES = {
    "train": (
        _MnistFile(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            (60_000, 28, 28),
        ),
        _MnistFile(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            (60_000,),
        ),
    ),
    "test": (
        _MnistFile(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            (10_000, 28, 28),
        ),
        _MnistFile(
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
_TIMEOUT = (3.05, 10.0)  # seconds to connect and between two pieces of an answer: without a network, fail soon

_LOADED_MODES = ("L", "RGB", "RGBA")  # each can hold all that the ones before it hold


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in notebooks without ipywidgets
        import pooch

    if split not in MNIST_FILES:
        raise ValueError(f"split: expected 'train' or 'test', got {quote(split)}; pass one of the two")
    cache = Path(pooch.os_cache("cnnclf"))
    places = [Path(place).expanduser() for place in (data_home, os.environ.get("CNNCLF_DATA")) if place] + [cache]
    home = places[0] if data_home else cache
    images, labels = (_load_mnist_file(file, places, home if download else None) for file in MNIST_FILES[split])
    return images, labels.astype(np.int64)


def _load_mnist_file(file: _MnistFile, places: Sequence[Path], home: Path | None) -> NDArray[np.uint8]:
    """Return the content of `file` from the first place that has it, else from a mirror by way of `home`."""
    for candidate in find_candidates(file.name, places):
        if candidate.is_file():
            return _read_mnist(candidate, str(candidate), file)
    failures = []
    if home is not None:
        import requests  # what pooch downloads with

        for mirror in MIRRORS:
            try:
                return _download(f"{mirror}{file.name}.gz", home / "mnist" / f"{file.name}.gz", file)
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


def _download(url: str, target: Path, file: _MnistFile) -> NDArray[np.uint8]:
    """Fetch `url`, check it, and only then put it at `target`."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as scratch:
        temporary = Path(scratch) / target.name
        pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT)(url, temporary, None)
        array = _read_mnist(temporary, url, file)
        temporary.replace(target)
    return array


def _read_mnist(path: Path, source: str, file: _MnistFile) -> NDArray[np.uint8]:
    """Return the array in `path`, which errors call `source`, if it is what was published as `file`."""

    def check_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if dtype != np.uint8 or shape != file.shape:
            raise ValueError(
                f"{source}: expected MNIST's {file.name}, uint8 of shape {file.shape}, "
                f"got {dtype.newbyteorder('=')} of shape {shape}; replace it by the published file"
            )

    content = _read_idx_content(path, source, check_header)
    array = _decode_idx(content, source)
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


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the small handwritten digits that scikit-learn brings along; nothing is downloaded.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8), dtype uint8
        Grey levels from 0 (paper) to 16 (ink).
    y : ndarray of shape (1797,), dtype int64
        The digits, 0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49; its test set, by way of :func:`sklearn.datasets.load_digits`.

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


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one array from an IDX file, the format MNIST is published in, compressed with gzip or not.

    The reader is strict: the file must hold exactly the bytes its header announces. It is also frugal: memory follows
    the bytes that are there, not the sizes a header claims, and a gzip is unpacked no further than the array's end, nor
    beyond 32 MB and a hundred times its size.

    Parameters
    ----------
    path : path
        The file; whether it is compressed is decided by its content, not by its name.

    Returns
    -------
    ndarray
        Array of the shape in the header; dtype uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises
    ------
    ValueError
        If the file cannot be read, is no IDX file, is damaged, is longer or shorter than its header says, or unpacks to
        more than a hundred times its size.

    References
    ----------
    "The IDX file format", http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from cnnclf import load_idx
    >>> header = bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 3])  # uint8, two dimensions: 2 and 3
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "six-idx2-ubyte")
    ...     _ = file.write_bytes(header + bytes([1, 2, 3, 4, 5, 6]))
    ...     load_idx(file)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    """
    return _decode_idx(_read_idx_content(Path(path), str(path)), str(path))


def _read_idx_content(path: Path, source: str, check_header: _HeaderCheck | None = None) -> bytearray:
    """Return the uncompressed bytes of the IDX file at `path`, checked against its header.

    `check_header` may refuse a header before the data behind it is read: what is not wanted costs nothing.
    """
    content = bytearray()
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would never end
        raise ValueError(f"{source}: expected a file, got a pipe or a device; copy its content into a file")
    try:
        with path.open("rb") as raw:
            # An IDX file starts with two zeros, a gzip with 1f 8b.
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
                _extend(content, stream, 4, source)
                if content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES or content[3] == 0:
                    raise ValueError(
                        f"{source}: expected an IDX file, which starts with 00 00, a type (08, 09, 0b, 0c, 0d or 0e) "
                        f"and a number of dimensions (01 or more), got {content.hex(' ')}; "
                        "check that this is the right file"
                    )
                _extend(content, stream, 4 + 4 * content[3], source)
                dtype, shape = _idx_header(content)
                if check_header is not None:
                    check_header(dtype, shape)
                length = len(content) + dtype.itemsize * math.prod(shape)
                most = most_unpacked(os.fstat(raw.fileno()).st_size)
                if packed and length > most:
                    raise ValueError(
                        f"{source}: expected a gzip that unpacks to at most {most:,} bytes, a hundred times its size "
                        f"and 32 MB, got one of {length:,}; unpack it yourself if you trust it"
                    )
                _extend(content, stream, length, source)
                if stream.read(1):
                    raise ValueError(
                        f"{source}: expected {length} bytes, as its header says, got more; "
                        "the file is damaged, fetch it again"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{source}: expected a readable IDX file, compressed with gzip or not, got {error!r}; "
            "check the path, or fetch the file again"
        ) from error
    return content


def _extend(content: bytearray, stream: BinaryIO | gzip.GzipFile, length: int, source: str) -> None:
    """Read on until `content` is `length` bytes long."""
    while len(content) < length:
        chunk = stream.read(min(_CHUNK, length - len(content)))
        if not chunk:
            raise ValueError(
                f"{source}: expected at least {length} bytes, as its header says, got {len(content)}; "
                "the file is cut short, fetch it again"
            )
        content += chunk


def _idx_header(content: bytearray) -> tuple[np.dtype[Any], tuple[int, ...]]:
    # 00 00, type, n, then n sizes: big-endian unsigned integers of four bytes
    return np.dtype(_IDX_DTYPES[content[2]]), struct.unpack_from(f">{content[3]}I", content, 4)


def _decode_idx(content: bytearray, source: str) -> NDArray[Any]:
    dtype, shape = _idx_header(content)
    flat = np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).astype(dtype.newbyteorder("="), copy=False)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or sizes it cannot multiply beside a zero
        raise ValueError(
            f"{source}: expected a shape that NumPy can hold, got {shape} ({error}); check that this is the right file"
        ) from error


def load_image_folder(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Load images of one size from a folder that has one sub-folder for each class.

    Sub-folders and files are taken in the order of their names. Hidden ones (``.name``) are passed over, and what often
    lies beside pictures: ``Thumbs.db``, ``desktop.ini``, notes and tables such as ``README.txt``. The images are
    turned upright as their EXIF orientation says. They are grey if all of them are, else RGB, or RGBA if any has
    transparency; palettes, CMYK and YCbCr become RGB. Beside images that are stored as grey, one of which all pixels
    are grey counts as grey, however it is stored. Of a colour with 16 bits a channel Pillow keeps the upper 8; grey
    of 16 bits is rounded to 8.

    Parameters
    ----------
    path : path
        The folder. Its sub-folders are named as the classes and hold the images, in one of the formats AVIF (where
        Pillow has it), BMP, GIF, JPEG, PGM, PNG, PPM, TIFF and WebP.

    Returns
    -------
    X : ndarray of shape (n, height, width), (n, height, width, 3) or (n, height, width, 4), dtype uint8
        Grey levels, RGB or RGBA, 0 to 255.
    y : ndarray of shape (n,), dtype str
        The name of the sub-folder that each image was in.

    Raises
    ------
    ValueError
        If there is no such folder, no sub-folder or an empty one; or if any file in it is no image, unreadable,
        animated, of another size than most, too large to be decoded safely, or a link that leads out of the folder. All
        such files are named at once.

    Warns
    -----
    UserWarning
        If fewer than half of the images, which it names, have colour or transparency, so that the others get it, too.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from cnnclf import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, grey in [("black", 0), ("white", 255)]:
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (4, 3), grey).save(Path(folder, name, "1.png"))
    ...     X, y = load_image_folder(folder)
    >>> X.shape, X[1, 0].tolist(), y.tolist()
    ((2, 3, 4), [255, 255, 255, 255], ['black', 'white'])
    """
    files = list_image_folder(path)
    images = _decode_all(Path(path), files)
    if any(image.mode == "L" for image in images):  # then what is stored in colour may be grey all the same
        images = [image.getchannel(0) if _looks_grey(image) else image for image in images]
    mode = max((image.mode for image in images), key=_LOADED_MODES.index)
    richest = [file for file, image in zip(files, images, strict=True) if image.mode == mode]
    if 2 * len(richest) < len(files):
        warnings.warn(
            f"{len(richest)} of {len(files):,} images {'has' if len(richest) == 1 else 'have'} "
            f"{'transparency' if mode == 'RGBA' else 'colour'}, so all are loaded as {mode}: {quote_all(richest)}. "
            "Save them as the others are, if that is not meant.",
            UserWarning,
            stacklevel=2,
        )
    width, height = images[0].size
    n_channels = len(mode)  # L, RGB, RGBA
    X = np.empty((len(files), height, width, n_channels) if n_channels > 1 else (len(files), height, width), np.uint8)
    for i, row in enumerate(X):
        row[:] = np.asarray(images[i].convert(mode))
        images[i].close()  # its memory is free for the rows to come
    return X, np.array([file.parent.name for file in files])


def _looks_grey(image: "Image.Image") -> bool:
    """Tell an RGB image whose red, green and blue are the same everywhere."""
    if image.mode != "RGB":
        return False
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def list_image_folder(path: str | os.PathLike[str]) -> list[Path]:
    """List the image files under the class folders in a folder, sorted by class and name.

    Parameters
    ----------
    path : path
        The folder, as for :func:`load_image_folder`.

    Returns
    -------
    list of Path
        The name of a file's folder is its class.

    Raises
    ------
    ValueError
        If it is not laid out so, or has a link that leads out of it.
    """
    from cnnclf.images._pictures import is_litter, refuse_pictures

    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: expected a folder with one sub-folder for each class, got "
            f"{'a file' if folder.exists() else 'no such folder'}; check the path"
        )
    inside = Path(os.path.realpath(folder))
    classes = sorted(entry for entry in folder.iterdir() if not is_litter(entry))
    if not classes:
        raise ValueError(
            f"{folder}: expected one sub-folder for each class, got none; "
            "put the images in sub-folders named as their classes"
        )
    files: list[Path] = []
    wrong: dict[Path, str | None] = {}
    for subfolder in classes:
        wrong[subfolder] = _find_wrong_class(subfolder, inside)
        if wrong[subfolder] is None:
            members = sorted(entry for entry in subfolder.iterdir() if not is_litter(entry))
            wrong |= {member: _find_wrong_image(member, inside) for member in members}
            files += members
            if not members:
                wrong[subfolder] = "expected images of this class, got none; add some, or remove the folder"
    refuse_pictures(folder, [(str(entry), f"{entry}: {error}") for entry, error in wrong.items() if error is not None])
    return files


def _find_wrong_class(entry: Path, folder: Path) -> str | None:
    """Say what is wrong with an entry that is to be the folder of a class."""
    if _leads_out(entry, folder):
        return _LEADS_OUT
    if not entry.is_dir():
        return "expected only sub-folders, one for each class, got a file; move it into that of its class, or away"
    return None


def _find_wrong_image(entry: Path, folder: Path) -> str | None:
    """Say what is wrong with an entry that is to be an image of a class."""
    if _leads_out(entry, folder):
        return _LEADS_OUT
    if not entry.is_file():
        kind = "a folder" if entry.is_dir() else "a link to nothing or a pipe"
        return f"expected only image files here, got {kind}; move it away"
    return None


_LEADS_OUT = (
    "expected links within the folder only, got one that leads out of it; put a copy of what it leads to in its place"
)


def _leads_out(entry: Path, folder: Path) -> bool:
    """Find links out of the folder: what a stranger's archive names is not what lies elsewhere on this machine."""
    # realpath, unlike Path.resolve, takes links that go in a circle.
    return entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(folder)


def _decode_all(folder: Path, files: Sequence[Path]) -> "list[Image.Image]":
    """Decode images in modes of `_LOADED_MODES` and of one size, or say which are no such."""
    from cnnclf.images._pictures import as_bytes, decode, refuse_pictures

    most = most_unpacked(sum(file.stat().st_size for file in files)) // len(files)
    images: dict[Path, Image.Image] = {}
    errors = []
    for file in files:
        try:
            images[file] = as_bytes(decode(file, most))
        except ValueError as error:
            errors.append((str(file), str(error)))
    refuse_pictures(folder, errors)
    size, _ = Counter(image.size for image in images.values()).most_common(1)[0]
    like = next(file for file, image in images.items() if image.size == size)
    wanted = f"expected an image of {_pixels(*size)}, as {like} is"
    refuse_pictures(
        folder,
        [
            (str(file), f"{file}: {wanted}, got {_pixels(*image.size)}; bring all images to one size")
            for file, image in images.items()
            if image.size != size
        ],
    )
    return list(images.values())


def _pixels(width: int, height: int) -> str:
    return f"{width}×{height} pixels (width × height)"
