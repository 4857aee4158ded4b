"""A folder with one sub-folder of pictures per class → images and labels."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import most_unpacked
from cnnclf._utils.text import quote_all, unexpected

if TYPE_CHECKING:
    from PIL import Image


LOADED_MODES = ("L", "RGB", "RGBA")  # each can hold all that the ones before it hold


def load_image_folder(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Load images of one size from a folder that has one sub-folder per class.

    Sub-folders and files are loaded in the order of their names. Hidden ones (``.name``) are skipped, and files that
    often accompany pictures: ``Thumbs.db``, ``desktop.ini``, notes and tables such as ``README.txt``. The images are
    turned upright by their EXIF orientation. They are grey if all of them are, else RGB, or RGBA if any has
    transparency; palettes, CMYK and YCbCr become RGB. If some images are stored as grey, another one with grey pixels
    alone counts as grey, however it is stored. Of colour with 16 bits per channel Pillow keeps the upper 8 bits; grey
    of 16 bits is rounded to 8.

    Parameters
    ----------
    path : path
        The folder. Its sub-folders have the names of the classes and hold the images, in one of the formats AVIF (where
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
        animated, of another size than most, too large to be decoded safely, or a link that leads out of the folder. One
        error names all such files.

    Warns
    -----
    UserWarning
        If fewer than half of the images have colour or transparency, so that the others get it, too. It names them.

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
    images = decode_all(Path(path), files)
    if any(image.mode == "L" for image in images):  # then an image that is stored in colour may still be grey
        images = [image.getchannel(0) if looks_grey(image) else image for image in images]
    mode = max((image.mode for image in images), key=LOADED_MODES.index)
    richest = [file for file, image in zip(files, images, strict=True) if image.mode == mode]
    if 2 * len(richest) < len(files):
        warnings.warn(
            f"{len(richest)} of {len(files):,} images {'has' if len(richest) == 1 else 'have'} "
            f"{'transparency' if mode == 'RGBA' else 'colour'}, so all are loaded as {mode}: {quote_all(richest)}. "
            "Save them like the others to avoid this.",
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


def looks_grey(image: "Image.Image") -> bool:
    """Return whether this is an RGB image whose red, green and blue are the same everywhere."""
    return image.mode == "RGB" and bool((np.ptp(np.asarray(image), axis=-1) == 0).all())


def list_image_folder(path: str | os.PathLike[str]) -> list[Path]:
    """List the image files under the class folders in a folder, sorted by class and name.

    Parameters
    ----------
    path : path
        The folder, as for :func:`load_image_folder`.

    Returns
    -------
    list of Path
        The class of a file is the name of its folder.

    Raises
    ------
    ValueError
        If it has another layout, or a link that leads out of it.
    """
    with needed_by("load_image_folder"):
        from cnnclf.images._decode import is_litter
        from cnnclf.images._pictures import refuse_pictures

    folder = Path(path)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ValueError(unexpected(folder, "a folder with one sub-folder per class", found, "Check the path"))
    inside = Path(os.path.realpath(folder))
    classes = sorted(entry for entry in folder.iterdir() if not is_litter(entry))
    if not classes:
        advice = "Move the images into one sub-folder per class"
        raise ValueError(unexpected(folder, "one sub-folder per class", "none", advice))
    files: list[Path] = []
    wrong: dict[Path, str | None] = {}
    for subfolder in classes:
        wrong[subfolder] = find_wrong(subfolder, inside, is_class=True)
        if wrong[subfolder] is None:
            members = sorted(entry for entry in subfolder.iterdir() if not is_litter(entry))
            wrong |= {member: find_wrong(member, inside, is_class=False) for member in members}
            files += members
            if not members:
                wrong[subfolder] = "expected images of this class; got none. Add some, or remove the folder."
    refuse_pictures(folder, [(str(entry), f"{entry}: {error}") for entry, error in wrong.items() if error is not None])
    return files


def find_wrong(entry: Path, folder: Path, *, is_class: bool) -> str | None:
    """Describe what is wrong with an entry that should be the folder of a class, or an image; None if nothing."""
    # A stranger's archive must not read other files here. realpath, unlike Path.resolve, accepts links in a circle.
    if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(folder):
        return (
            "expected links within the folder only; got one that leads out of it. Replace it with a copy of its target."
        )
    if is_class and not entry.is_dir():
        return "expected only sub-folders, one per class; got a file. Move it into that of its class, or away."
    if not is_class and not entry.is_file():
        kind = "a folder" if entry.is_dir() else "a link to nothing or a pipe"
        return f"expected only image files here; got {kind}. Move it away."
    return None


def decode_all(folder: Path, files: Sequence[Path]) -> "list[Image.Image]":
    """Decode images in modes of `LOADED_MODES` and of one size, or raise an error that names the others."""
    from cnnclf.images._decode import as_bytes, decode
    from cnnclf.images._pictures import refuse_pictures

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
    wanted = f"an image of {pixels(*size)}, as {like} is"
    refuse_pictures(
        folder,
        [
            (str(file), unexpected(file, wanted, pixels(*image.size), "Bring all images to one size"))
            for file, image in images.items()
            if image.size != size
        ],
    )
    return list(images.values())


def pixels(width: int, height: int) -> str:
    """Write an image's size."""
    return f"{width}×{height} pixels (width × height)"
