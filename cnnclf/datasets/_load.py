"""The front door: any form of a dataset of images → ``load_dataset`` and ``describe``."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import PICTURE_ENDINGS
from cnnclf._utils.text import counted, cut, quote, quote_all, unexpected
from cnnclf.datasets._archives import find_mat, find_npz
from cnnclf.datasets._cache import check_cache, name_cache, open_cache, write_cache
from cnnclf.datasets._contents import MODES, Arrays, Images, Labels, Plan, Size, check_pixels, pixels
from cnnclf.datasets._folders import find_folders, list_entries, pictures_of
from cnnclf.datasets._idx import find_idx
from cnnclf.datasets._parquet import find_parquet
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._source import WHOLE, Source, is_data
from cnnclf.datasets._tables import find_tables

LARGEST_SIDE = 4096
FORMS = "a folder of class folders, IDX files, .npz, .csv, .parquet or .mat"


def load_dataset(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    size: int | tuple[int, int] | str | None = None,
    mode: str | None = None,
    label: str | int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> tuple[Images, Labels]:
    """Load images and labels from any of the usual forms of a dataset.

    - A folder with one sub-folder of pictures per class, or with such folders in ``train``, ``val`` and ``test``. What
      :func:`load_image_folder` says about pictures holds here, too.
    - A folder of IDX files with the usual names of MNIST's kin; or the beginning of their names, such as
      ``gzip/emnist-letters``. EMNIST's images are turned upright, and labelled by its mapping if that lies beside them.
    - An ``.npz`` archive with arrays X and y, or with such of splits, as Keras, MedMNIST and KMNIST have them.
    - A ``.csv`` table, also packed with gzip, of a label and pixels, or of a label and paths of pictures, which begin
      at the table's folder. A column may name the splits. Names such as ``mnist_train.csv`` are found in a folder.
    - A ``.parquet`` file, or a folder of them, with pictures in a column, as on the Hugging Face Hub.
    - SVHN's ``.mat`` files.

    Nothing is run that a file holds, and nothing is printed; :func:`cnnclf.datasets.describe` says what was understood.

    Parameters
    ----------
    path : path
        The folder or the file.
    split : {"train", "val", "test"}, default=None
        Which images. None are the training images, or all where there are no splits.
    size : int, (int, int) or "median", default=None
        The (height, width) that all images get, in pixels; one number is both, and "median" the medians of the training
        images. Proportions are kept, and the rest is padded, as by ``CNNClassifier(preparation="pad")``, which should
        be passed then, so that ``cnnclf predict`` does the same. None refuses images of different sizes.
    mode : {"grey", "rgb"}, default=None
        The colours that all images get. None is grey if all training images are, else RGB, or RGBA if any has
        transparency.
    label : str or int, default=None
        The column of a table with the labels, by name or by position. None is one with a usual name, such as label or
        class, or, without names, the first or the last.
    cache : path, default=None
        A folder for images that are larger than memory: pictures are decoded into a ``.npy`` file there, once, and X is
        that file, mapped into memory, read-only. ``fit`` trains from it as it is. Changed pictures and another size get
        another file; remove the folder to free the disk. None loads all into memory.

    Returns
    -------
    X : ndarray of shape (n, height, width), (n, height, width, 3) or (n, height, width, 4)
        Pixels: uint8, 0 to 255, unless they are an array of another dtype and neither size nor mode is given.
    y : ndarray of shape (n,), dtype int64 or str
        Labels: whole numbers, or the names of classes.

    Raises
    ------
    ValueError
        If there is no dataset in one of these forms or no such split, if images have different sizes or too large
        ones, if a split has classes that the training images do not have, or if a file is damaged. The error lists the
        sizes or classes found. Also for a cache of images that are numbers already, or within the images.
    OSError
        If the cache cannot be written.

    Warns
    -----
    UserWarning
        If fewer than half of the images have colour or transparency, or pictures of 16 bits are nearly black.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from cnnclf import load_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "noise.npz")
    ...     images = np.arange(6 * 20 * 30, dtype=np.uint16).reshape(6, 20, 30) % 256
    ...     np.savez(file, x_train=images[:4], y_train=[0, 1, 0, 1], x_test=images[4:], y_test=[0, 1])
    ...     X, y = load_dataset(file, split="test", size=16)
    >>> X.shape, X.dtype, y.tolist()
    ((2, 16, 16), dtype('uint8'), [0, 1])
    """
    size, mode = check_size(size), check_mode(mode)
    source = find_source(path, label)
    key = source.choose(split)
    contents = {name: source.readers[name]() for name in {key, source.training}}
    return load_contents(source, contents, size, mode, [key], cache=cache, stacklevel=2)[key]


def load_contents(
    source: Source,
    contents: Mapping[str, Arrays | Pictures],
    size: Size | str | None,
    mode: str | None,
    splits: Collection[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    stacklevel: int,
) -> dict[str, tuple[Images, Labels]]:
    """Load some splits, in the size and colours that the training split decides, which must be among the contents."""
    first = contents[source.training]
    for split in splits:
        check_known_classes(source, split, contents[split].y, first.y)
    if cache is not None and not isinstance(first, Pictures):
        found, advice = "images that are numbers already", "Leave out cache"
        raise ValueError(unexpected(source.path, "pictures to decode into cache", found, advice))
    with needed_by("load_dataset"):
        loaded: dict[str, tuple[Images, Labels]] = {}
        plan: Plan | None = None
        for split in splits:
            content = contents[split]
            file = X = None
            if cache is not None and isinstance(first, Pictures) and isinstance(content, Pictures):
                file = name_cache(check_cache(cache, source.path), split, first.identity, size, mode, content.identity)
                X = open_cache(file, len(content.y))
            if X is None:
                decodes = cache is None and source.training in splits
                plan = plan or make_plan(source, first, size, mode, stacklevel + 1, decodes=decodes)
                X = load_images(content, plan, file, stacklevel + 1)
            y = content.y.astype(str) if first.y.dtype.kind == "U" else content.y  # where names are, numbers are names
            loaded[split] = X, y
    return loaded


def make_plan(
    source: Source,
    first: Arrays | Pictures,
    size: Size | str | None,
    mode: str | None,
    stacklevel: int,
    *,
    decodes: bool,
) -> Plan:
    """Return what all splits become, by the training images."""
    if isinstance(first, Pictures):
        plan = first.plan(size, mode, stacklevel + 1, decodes=decodes)
    else:
        plan = first.plan(size, mode)
    check_pixels(source.path, plan)
    return plan


def load_images(content: Arrays | Pictures, plan: Plan, file: Path | None, stacklevel: int) -> Images:
    """Return the images of a split, by way of a file if one is given."""
    if not isinstance(content, Pictures):
        return content.load(plan)
    if file is None:
        return content.load(plan, stacklevel + 1)
    write_cache(file, len(content.names), plan.spec, lambda keep: content.load_into(keep, plan, stacklevel + 3))
    X = open_cache(file, len(content.names))
    assert X is not None
    return X


def check_known_classes(source: Source, split: str, y: Labels, y_train: Labels) -> None:
    """Refuse a split with classes that the training images do not have, as of a folder that holds no class."""
    known = set(map(str, y_train.tolist()))
    unknown = sorted({label for label in y.tolist() if str(label) not in known}, key=str)
    if unknown:
        expected, advice = f"every class of {split} in {source.training}, too", "Add images of these, or remove them"
        raise ValueError(unexpected(source.path, expected, f"{quote_all(unknown)} in {split} alone", advice))


def describe(path: str | os.PathLike[str], *, label: str | int | None = None) -> str:
    """Describe in one line what :func:`load_dataset` makes of a path; of pictures, only the first bytes are read.

    Parameters
    ----------
    path : path
        The folder or the file.
    label : str or int, default=None
        As for :func:`load_dataset`.

    Returns
    -------
    str
        Form, number of images, their size, colours, classes and splits.

    Raises
    ------
    ValueError
        As :func:`load_dataset`, apart from what only the pixels show.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from cnnclf.datasets import describe
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "noise.npz")
    ...     np.savez(file, X=np.zeros((2, 20, 30), np.uint8), y=["a", "b"])
    ...     print(describe(file).replace(folder, ""))
    /noise.npz: arrays of NumPy, 2 images of 30×20 pixels, grey, 2 classes
    """
    source = find_source(path, label)
    contents = source.read()
    for split, content in contents.items():
        check_known_classes(source, split, content.y, contents[source.training].y)
    return describe_contents(source, contents)


def describe_contents(source: Source, contents: Mapping[str, Arrays | Pictures]) -> str:
    """Describe what was understood, in one line."""
    with needed_by("describe"):
        sizes: Counter[Size] = sum((content.sizes for content in contents.values()), Counter())
    smallest, largest = (
        (of_all(size[0] for size in sizes), of_all(size[1] for size in sizes)) for of_all in (min, max)
    )
    of = pixels(smallest) if len(sizes) == 1 else f"{pixels(smallest)} to {pixels(largest)}"
    colours = {colour for content in contents.values() for colour in content.colours}
    n, n_classes = sum(sizes.values()), len(np.unique(np.concatenate([content.y for content in contents.values()])))
    parts = [
        f"{' '.join(str(source.path).splitlines())}: {source.form}, {counted(n, 'image')} of {of} pixels",
        *sorted(colours),
        f"{n_classes:,} {'class' if n_classes == 1 else 'classes'}",
    ]
    text = ", ".join(parts)
    if WHOLE not in contents:
        text += "; " + ", ".join(f"{split} {len(content.y):,}" for split, content in contents.items())
    notes = [*source.notes, *(f"{split} has no labels" for split in source.unlabelled)]
    return "; ".join([text, *notes])


def find_source(path: str | os.PathLike[str], label: str | int | None = None) -> Source:
    """Find a dataset in any form; nothing but names and the first rows of tables are read.

    Raises
    ------
    ValueError
        If there is none, or if there are several.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"Expected a path; got {quote(path)}. Pass that of a folder or a file.")
    try:
        with needed_by("load_dataset"):
            path = Path(path).expanduser()
            source = find_folder(path, label) if path.is_dir() else find_file(path, label)
    except OSError as error:  # too long a name, or no permission
        raise ValueError(unexpected(cut(str(path), 200), FORMS, error.strerror, "Check the path")) from error
    if label is not None and not source.takes_label:
        raise ValueError(unexpected(source.path, f"a table for label={label!r}", source.form, "Leave out label"))
    return source


def find_file(path: Path, label: str | int | None) -> Source:
    """Find the dataset in one file, or in the files that begin with a path that is none."""
    if path.exists() and not path.is_file():  # a pipe would never end
        found = "a pipe or a device"
        raise ValueError(unexpected(path, "a folder or a file", found, "Copy its content into a file"))
    source = find_idx(path)
    if source is None and path.exists():
        source = find_tables(path, label) or find_npz(path) or find_parquet(path, label) or find_mat(path)
    if source is not None:
        return source
    refuse_cifar(path)
    if not path.exists():
        found, advice = "no such path", "Check the path"
    elif path.suffix.lower() in PICTURE_ENDINGS:
        found, advice = "one picture", "`cnnclf predict` classifies single pictures"
    else:
        found, advice = "another file", "Check the path"
    raise ValueError(unexpected(path, FORMS, found, advice))


def find_folder(path: Path, label: str | int | None) -> Source:
    """Find the dataset in a folder."""
    folders = find_folders(path)
    if folders is not None:
        return folders
    finders = (find_idx(path), find_parquet(path, label), find_tables(path, label), find_npz(path), find_mat(path))
    sources = [source for source in finders if source is not None]
    if len(sources) == 1:
        return sources[0]
    if sources:
        forms = quote_all([source.form for source in sources])
        raise ValueError(unexpected(path, "one dataset", forms, "Pass the path of a file, or move the others away"))
    refuse_cifar(path)
    data = [file for file in sorted(path.iterdir()) if is_data(file) and file.is_file()]
    if len(data) == 1:
        return find_file(data[0], label)
    if data:
        found = f"files whose names say no split: {quote_all([file.name for file in data])}"
        raise ValueError(unexpected(path, "files of train and test", found, "Pass the path of one file"))
    inside = [entry for entry in list_entries(path) if entry.is_dir() and (find_idx(entry) or find_folders(entry))]
    if inside:
        found = f"such files in {quote_all([entry.name for entry in inside])}"
        raise ValueError(unexpected(path, FORMS, found, f"Pass {quote(inside[0])}, or another, if that is the dataset"))
    return Source(path, "class folders", {WHOLE: partial(pictures_of, path)})  # reading it says what is wrong with it


def refuse_cifar(path: Path) -> None:
    """Refuse CIFAR's own files, of which pickles may run code, with what converts the binary ones."""
    names = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
    if {"train.bin", "test.bin"} & set(names) or {"meta", "train", "test"} <= set(names):
        files, n, at = "np.fromfile('train.bin', np.uint8)", 3074, 2
    elif any(name.startswith(("data_batch", "test_batch", "batches.meta")) for name in names):
        each = "np.fromfile(f'data_batch_{i}.bin', np.uint8) for i in range(1, 6)"
        files, n, at = f"np.concatenate([{each}])", 3073, 1
    else:
        return
    advice = (
        f"From its binary version: rows = {files}.reshape(-1, {n}); np.savez('train.npz', "
        f"X=rows[:, {at}:].reshape(-1, 3, 32, 32), y=rows[:, {at - 1}])"
    )
    raise ValueError(unexpected(path, "no pickles, which may run code", "CIFAR’s own files", advice))


def check_size(size: Any) -> Size | str | None:
    """Return a size as (height, width), "median" or None.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    sides = (size, size) if is_side(size) else tuple(size.tolist()) if isinstance(size, np.ndarray) else size
    match sides:
        case None | "median":
            return None if sides is None else "median"
        case (height, width) if is_side(height) and is_side(width):
            return int(height), int(width)
    raise ValueError(
        f"Expected size to be None, 'median', a whole number from 1 to {LARGEST_SIDE:,}, or two of them, (height, "
        f"width); got {quote(size)}. Change size."
    )


def is_side(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 1 <= int(value) <= LARGEST_SIDE


def check_mode(mode: Any) -> str | None:
    """Return Pillow's name of a mode.

    Raises
    ------
    ValueError
        If there is no such mode.
    """
    if mode is None:
        return None
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(f"Expected mode to be None, 'grey' or 'rgb'; got {quote(mode)}. Change mode.")
    return MODES[mode]
