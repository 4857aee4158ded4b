"""Folders with one sub-folder of pictures per class → images and labels."""

import itertools
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import PICTURE_ENDINGS, is_litter
from cnnclf._utils.text import printable, quote, quote_all, unexpected
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._source import SPLIT_NAMES, TABLE, WHOLE, Reader, Source, ambiguous

OUTPUTS = ("metrics.json", "comparison.json", "folds")  # in the folders of `cnnclf report` and `cnnclf compare`


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
        error counts all such files and names five.

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
    pictures = pictures_of(Path(path))
    return pictures.load(pictures.plan(None, None)), pictures.y


def pictures_of(folder: Path, root: Path | None = None) -> Pictures:
    """Return the pictures of a folder that has one sub-folder per class; links may lead anywhere in the root."""
    classes = list_image_folder(folder, root)
    files = [file for members in classes.values() for file in members]
    return Pictures(folder, files, files, np.repeat(list(classes), list(map(len, classes.values()))))


def find_folders(path: Path) -> Source | None:
    """Find class folders in a folder, or in its folders train, val and test; None where there are no such folders.

    A folder with the name of a split is one if all others have such names, too, or if it has sub-folders: "train" may
    also be a class, beside "car". Beside a table, a single folder holds its pictures, and is no class.
    """
    entries = list_entries(path)
    folders = [entry for entry in entries if entry.is_dir()]
    if not any(holds_picture(folder) for folder in folders):
        return None
    broken = [entry for entry in entries if not entry.exists()]
    if broken:
        raise ValueError(unexpected(broken[0], "a folder", "a link to nothing", "Remove it, or restore its target"))
    tables = sorted(file.name for file in path.iterdir() if TABLE.fullmatch(file.name) and file.is_file())
    named = [(SPLIT_NAMES[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLIT_NAMES]
    all_named = len(named) == len(folders)
    if not all_named:
        named = [(split, folder) for split, folder in named if has_folders(folder)]
    divided = any(has_folders(folder) for _, folder in named)
    words = [word for folder in folders for word in re.split(r"[^a-z]+", folder.name.lower())]
    if tables and not divided and (len(folders) < 2 or any(word in SPLIT_NAMES for word in words)):
        return None
    if not divided and not any(holds_picture(folder, here=True) for folder in folders):
        advice = f"Pass {quote(folders[0])} if that is the dataset"
        raise ValueError(unexpected(path, "class folders", "folders that hold folders", advice))
    if all_named and not divided:
        advice = "Move them into one sub-folder per class"
        raise ValueError(unexpected(path, f"class folders in {named[0][1].name}", "pictures without labels", advice))
    readers: dict[str, Reader] = {}
    unlabelled = []
    inside = Path(os.path.realpath(path))
    for split, folder in named if divided else []:
        wrong = find_wrong(folder, inside, is_class=True)
        if wrong is not None:
            raise ValueError(f"{folder}: {wrong}")
        if split in readers or split in unlabelled:
            raise ambiguous(path, split, quote_all([other.name for name, other in named if name == split]))
        if has_folders(folder):
            readers[split] = partial(pictures_of, folder, path)
        else:
            unlabelled.append(split)
    used = [folder for _, folder in named] if divided else folders
    others = [*(folder.name for folder in folders if folder not in used), *tables]
    notes = [f"not used: {quote_all(others)}"] if others else []
    like_splits = [folder.name for folder in folders if not divided and folder.name.lower() in SPLIT_NAMES]
    notes += [f"taken as classes: {quote_all(like_splits)}"] if like_splits else []
    return Source(
        path, "class folders", readers or {WHOLE: partial(pictures_of, path)}, tuple(notes), tuple(unlabelled)
    )


def holds_picture(folder: Path, *, here: bool = False) -> bool:
    """Check whether a folder, or one of its sub-folders unless only here, holds a file with the name of a picture."""
    files = itertools.chain(folder.glob("*"), () if here else folder.glob("*/*"))
    return any(file.suffix.lower() in PICTURE_ENDINGS and file.is_file() for file in files)


def has_folders(folder: Path) -> bool:
    """Check whether a folder has sub-folders that are not hidden."""
    return any(entry.is_dir() for entry in list_entries(folder))


def list_entries(folder: Path) -> list[Path]:
    """List what is in a folder by name, without what usually lies beside pictures and what our commands wrote."""
    entries = (entry for entry in folder.iterdir() if not is_litter(entry))
    return sorted(entry for entry in entries if not any((entry / name).exists() for name in OUTPUTS))


def list_image_folder(path: str | os.PathLike[str], root: Path | None = None) -> dict[str, list[str]]:
    """List the image files of each class folder in a folder, sorted by class and name.

    Parameters
    ----------
    path : path
        The folder, as for :func:`load_image_folder`.
    root : Path, optional
        The folder that links may not lead out of; the same, if not given.

    Returns
    -------
    dict of str to list of str
        By the name of each class the paths of its images.

    Raises
    ------
    ValueError
        If it has another layout, or a link that leads out of it.
    """
    with needed_by("load_image_folder"):
        from cnnclf.images._pictures import refuse_pictures

    folder = Path(path)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ValueError(unexpected(folder, "a folder with one sub-folder per class", found, "Check the path"))
    inside = Path(os.path.realpath(root or folder))
    classes = list_entries(folder)
    if not classes:
        advice = "Move the images into one sub-folder per class"
        raise ValueError(unexpected(folder, "one sub-folder per class", "none", advice))
    files: dict[str, list[str]] = {}
    wrong: dict[Path, str | None] = {}
    for subfolder in classes:
        wrong[subfolder] = find_wrong(subfolder, inside, is_class=True)
        if wrong[subfolder] is None:
            with os.scandir(subfolder) as scanned:  # which knows what most are without another call of the system
                members = sorted((entry for entry in scanned if not is_litter(entry)), key=lambda entry: entry.name)
            odd = [Path(entry.path) for entry in members if entry.is_symlink() or not entry.is_file()]
            wrong |= {file: find_wrong(file, inside, is_class=False) for file in odd}
            files[subfolder.name] = [entry.path for entry in members]
            if not members:
                wrong[subfolder] = "expected images of this class; got none. Add some, or remove the folder."
    refuse_pictures(
        folder,
        [(str(entry), f"{printable(str(entry))}: {error}") for entry, error in wrong.items() if error is not None],
    )
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
        return f"expected images directly in the folder of their class; got {kind}. Move it, or what is in it."
    return None
