"""``ReadImages``: paths or encoded pictures → images, as a step of a scikit-learn pipeline."""

import os
from collections.abc import Mapping, Sequence, Set, Sized
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from cnnclf._utils.extras import needed_by
from cnnclf._utils.text import cut, quote, unexpected
from cnnclf.datasets._contents import COLOURS, Labels, Plan, Size, check_pixels
from cnnclf.datasets._load import check_mode, check_size, find_source
from cnnclf.datasets._memo import Memo
from cnnclf.datasets._pictures import Pictures

MODES = {mode: name.lower() for mode, name in COLOURS.items()}


class ReadImages(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[misc,call-arg]
    """Read picture files into one array of images, as the first step of a pipeline.

    X is a column of paths or of encoded pictures, so a search over folders of pictures moves no pixels but those that a
    network is trained on. Pictures are prepared as :func:`cnnclf.load_dataset` does it. Clones, such as a search or a
    cross-validation makes for each fold, share what was decoded, so that no picture is decoded twice for one size; it
    takes as much memory as all images together, 2 GB at most. Other processes (``n_jobs`` of the search) decode anew.
    Files that change are read again; only the ``memory`` of a pipeline does not notice, as it knows paths alone. Images
    are no table, so a ``ColumnTransformer`` cannot join them with other columns.

    Parameters
    ----------
    size : int, (int, int) or "median", default=None
        The (height, width) that all images get, in pixels; one number is both, and "median" the medians of the images
        of fit. Proportions are kept, and the rest is padded. None refuses images of different sizes.
    mode : {"grey", "rgb"}, default=None
        The colours that all images get. None is grey if all images of fit are, else RGB, or RGBA if any has
        transparency.
    n_jobs : int, default=None
        How many pictures are decoded at once, as in scikit-learn: None is one, -1 one per processor core.

    Attributes
    ----------
    size_ : tuple of int
        The (height, width) of the images.
    mode_ : {"grey", "rgb", "rgba"}
        Their colours.
    n_features_in_ : int
        1, as X is one column.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn.pipeline import make_pipeline
    >>> from cnnclf import CNNClassifier, ReadImages
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder, f"{i}.png") for i in range(20)]
    ...     for i, path in enumerate(paths):
    ...         Image.new("L", (20, 10 + i), 200 * (i % 2)).save(path)
    ...     clf = make_pipeline(ReadImages(16), CNNClassifier("tiny", max_epochs=30, random_state=0))
    ...     clf.fit(paths, ["dark", "light"] * 10).predict(paths[:2]).tolist()
    ['dark', 'light']
    """

    def __init__(
        self, size: int | tuple[int, int] | str | None = None, mode: str | None = None, *, n_jobs: int | None = None
    ) -> None:
        self.size = size
        self.mode = mode
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Decide the size and the colours of all images; only as much is read as that needs.

        Parameters
        ----------
        X : sequence, array of shape (n,) or (n, 1), Series, or data frame of one column
            Paths, or the contents of picture files as bytes.
        y : object
            Is ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X is none of these, a picture cannot be read, or sizes differ and ``size`` is None. One error
            counts all such pictures and names five.
        """
        self._set_plan(self._pictures_of(X))
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.uint8]:
        """Decide the size and the colours of all images, and read them, in one pass where they have one size.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n, height, width), (n, height, width, 3) or (n, height, width, 4), dtype uint8
            Pixels, 0 to 255.
        """
        pictures = self._pictures_of(X)
        self._set_plan(pictures)
        return pictures.load(self._plan)

    def transform(self, X: Any) -> NDArray[np.uint8]:
        """Read pictures.

        Parameters
        ----------
        X : sequence, array of shape (n,) or (n, 1), Series, or data frame of one column
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n, height, width), (n, height, width, 3) or (n, height, width, 4), dtype uint8
            Pixels, 0 to 255.

        Raises
        ------
        ValueError
            As in :meth:`fit`.
        """
        check_is_fitted(self)
        return self._pictures_of(X).load(self._plan)

    def _pictures_of(self, X: Any) -> Pictures:
        names, sources = as_sources(X)
        n_jobs = self.n_jobs
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer | None) or n_jobs == 0:
            raise ValueError(f"Expected n_jobs to be None or a whole number but 0; got {quote(n_jobs)}. Change n_jobs.")
        n_jobs = effective_n_jobs(n_jobs)
        return Pictures("X", names, sources, np.zeros(len(names)), getattr(self, "_memo", None), n_jobs)

    def _set_plan(self, pictures: Pictures) -> None:
        with needed_by("ReadImages"):
            self._plan: Plan = pictures.plan(check_size(self.size), check_mode(self.mode), stacklevel=4)
        check_pixels("X", self._plan)
        self.size_: Size = self._plan.size
        self.mode_ = MODES[self._plan.mode]
        self.n_features_in_ = 1

    def __sklearn_clone__(self) -> Self:
        if not hasattr(self, "_memo"):
            self._memo = Memo()
        copy = type(self)(**clone(self.get_params(deep=False), safe=False))
        copy.__dict__["_memo"] = self._memo
        return copy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.no_validation = True
        return tags


def as_sources(X: Any) -> tuple[list[str], list[str | bytes]]:
    """Return the names and the sources of the pictures in a column.

    Examples
    --------
    >>> as_sources(["a.png", b"content"])
    (['a.png', 'row 1'], ['a.png', b'content'])
    """
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(f"Expected a column of paths or pictures; got {cut(quote(X), 60)} alone. Pass it in a list.")
    if not isinstance(X, Sized) or isinstance(X, Mapping | Set):
        raise ValueError(f"Expected a column of paths or pictures; got {type(X).__name__}. Pass a list or a column.")
    if getattr(getattr(X, "dtype", None), "kind", "") == "S":
        raise ValueError(
            "Expected pictures as objects; got an array of bytes, whose last zeros are lost. Pass dtype=object."
        )
    column: Any = X.to_pandas() if hasattr(X, "to_pandas") else X  # of polars and pyarrow
    column = column.to_numpy() if hasattr(column, "to_numpy") else column
    shape = np.shape(column) if isinstance(column, np.ndarray) else (len(column),)
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        raise ValueError(f"Expected one column of paths or pictures; got the shape {shape}. Pass that column alone.")
    rows: Sequence[Any] = column.ravel().tolist() if isinstance(column, np.ndarray) else list(column)
    if not rows:
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required by ReadImages.")
    pairs = [as_source(i, row) for i, row in enumerate(rows)]
    return [name for name, _ in pairs], [source for _, source in pairs]


def as_source(i: int, row: Any) -> tuple[str, str | bytes]:
    """Return the name and the source of one picture; of Hugging Face's pairs, its content or else its path."""
    if isinstance(row, Mapping) and {"bytes", "path"} & set(row):
        row = row.get("bytes") or row.get("path")
    if isinstance(row, bytes | bytearray | memoryview):
        return f"row {i:,}", bytes(row)
    if isinstance(row, str | os.PathLike):
        path = os.fspath(row)
        if isinstance(path, str) and path:
            return path, path
    found = f"{cut(quote(row), 60)} in row {i:,}"
    raise ValueError(f"Expected a path or the content of a picture in each row; got {found}. Pass that column alone.")


def load_paths(
    path: str | os.PathLike[str], *, split: str | None = None, label: str | int | None = None
) -> tuple[NDArray[Any], Labels]:
    """List the pictures and the labels of a dataset, for :class:`ReadImages`; no picture is read.

    Parameters
    ----------
    path : path
        A folder of class folders, a table of paths, or Parquet files, as for :func:`cnnclf.load_dataset`.
    split, label : optional
        As for :func:`cnnclf.load_dataset`.

    Returns
    -------
    paths : ndarray of shape (n,), dtype object
        The paths of the pictures as str; their contents as bytes where they are in Parquet files.
    y : ndarray of shape (n,), dtype int64 or str
        Labels.

    Raises
    ------
    ValueError
        As :func:`cnnclf.load_dataset`, and if the images are no encoded pictures.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from cnnclf.datasets import load_paths
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("black", "white"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (4, 3), name).save(Path(folder, name, "1.png"))
    ...     paths, y = load_paths(folder)
    >>> [Path(path).parts[-2:] for path in paths], y.tolist()
    ([('black', '1.png'), ('white', '1.png')], ['black', 'white'])
    """
    source = find_source(path, label)
    content = source.readers[source.choose(split)]()
    if not isinstance(content, Pictures):
        advice = "Load them with load_dataset"
        raise ValueError(unexpected(source.path, "pictures in files", "images that are numbers already", advice))
    sources = np.empty(len(content.sources), dtype=object)
    sources[:] = [source if isinstance(source, bytes) else os.fspath(source) for source in content.sources]
    return sources, content.y
