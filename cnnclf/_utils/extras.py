"""Optional libraries: which extra of the package brings each, and the sentence where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

# Distribution and extra of each library, by the name it is imported by; pyproject.toml has the versions.
LIBRARIES = {
    "PIL": ("pillow", "data"),
    "jinja2": ("jinja2", "report"),
    "matplotlib": ("matplotlib", "report"),
    "pooch": ("pooch", "data"),
    "pyarrow": ("pyarrow", "parquet"),
    "requests": ("requests", "data"),
    "rich": ("rich", "cli"),
    "skl2onnx": ("skl2onnx", "skl2onnx"),
    "typer": ("typer", "cli"),
    "xlsxwriter": ("xlsxwriter", "xlsx"),
}


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Name the extra to install where a library that is imported inside is missing.

    Parameters
    ----------
    what : str
        The name of the function or class that cannot do without.

    Raises
    ------
    ImportError
        In place of ``ModuleNotFoundError`` where an extra brings the library; another one passes as it is.

    Examples
    --------
    >>> with needed_by("to_html"):
    ...     raise ModuleNotFoundError(name="jinja2")
    Traceback (most recent call last):
    ImportError: Expected jinja2 to be installed, which to_html needs; got none. Install it with pip install 'cnnclf[report]'.
    """  # noqa: E501 - the error is one line
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in LIBRARIES:
            raise
        distribution, extra = LIBRARIES[library]
        raise ImportError(
            f"Expected {distribution} to be installed, which {what} needs; got none. "
            f"Install it with pip install 'cnnclf[{extra}]'.",
            name=library,
        ) from error
