"""Numbers and names as people read them."""

import difflib
import math
import os
import re
from collections.abc import Collection, Iterable
from reprlib import Repr

LONGEST_QUOTE = 60  # letters of one value in a sentence
MOST_QUOTED = 5  # values in a sentence

_SHORT_REPR = Repr()
_SHORT_REPR.maxlevel = 2
_SHORT_REPR.maxstring = _SHORT_REPR.maxother = _SHORT_REPR.maxlong = LONGEST_QUOTE
_SHORT_REPR.maxlist = _SHORT_REPR.maxtuple = _SHORT_REPR.maxdict = _SHORT_REPR.maxset = MOST_QUOTED


def percent(share: float, decimals: int = 2) -> str:
    """Write a share 0..1 as per cent, such as ``99.21 %``.

    Rounding never turns an imperfect share into 100 %.

    Parameters
    ----------
    share : float
        The share, 0..1.
    decimals : int, default=2
        Digits after the point.

    Returns
    -------
    str
        The number, a space and the sign.

    Examples
    --------
    >>> percent(0.9921), percent(0.99999, 1), percent(1.0)
    ('99.21 %', '99.9 %', '100.00 %')
    """
    text = f"{share:.{decimals}%}"[:-1]
    if share < 1 and float(text) == 100:
        text = f"{math.floor(share * 100 * 10**decimals) / 10**decimals:.{decimals}f}"
    return f"{text} %"


def short(number: float) -> str:
    """Write a count in four letters or so, in thousands or millions where it is large.

    Parameters
    ----------
    number : float
        The count, 0 or more.

    Returns
    -------
    str
        The count.

    Examples
    --------
    >>> [short(n) for n in (7, 9_802, 10_000, 61_706, 1_199_882, 2e9)]
    ['7', '9,802', '10k', '62k', '1.2M', '2000M']
    """
    if number < 10_000:
        return f"{number:,.0f}"
    if number < 999_500:
        return f"{number / 1e3:.0f}k"
    return f"{number / 1e6:.2g}M" if number < 99.5e6 else f"{number / 1e6:.0f}M"


def cut(line: str, length: int) -> str:
    """Shorten a line to at most `length` letters.

    Parameters
    ----------
    line : str
        The line.
    length : int
        Letters at most, 1 or more.

    Returns
    -------
    str
        The line, or its start and an ellipsis.

    Examples
    --------
    >>> cut("ant", 3), cut("anteater", 4)
    ('ant', 'ant…')
    """
    return line if len(line) <= length else f"{line[: length - 1]}…"


def quote(value: object) -> str:
    """Write a value that somebody passed as Python does, shortened, on one line.

    Parameters
    ----------
    value : object
        Any object. Of an array, a tensor or a data frame its type and shape are written. A NumPy scalar is written as
        the Python value, a path as its text.

    Returns
    -------
    str
        One line of 120 letters at most; of a list five elements at most, each of 60 letters at most.

    Examples
    --------
    >>> quote("lenet"), quote(range(3)), quote(b"a" * 400_000)
    ("'lenet'", 'range(0, 3)', "b'aaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'")
    >>> quote([1, 2, 3, 4, 5, 6])
    '[1, 2, 3, 4, 5, ...]'
    """
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {quote(tuple(shape))}"
    if shape == () and callable(item := getattr(value, "item", None)):
        value = item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        text = _SHORT_REPR.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"{type(value).__name__} of very many digits"
    return cut(re.sub(r"\s*\n\s*", " ", text), 2 * LONGEST_QUOTE)


def quote_all(values: Collection[object]) -> str:
    """Write the first five of some values that somebody passed, and how many more there are.

    Parameters
    ----------
    values : collection
        Labels, names, paths: anything that :func:`quote` takes.

    Returns
    -------
    str
        The values as in a sentence; "none" where there are none.

    Examples
    --------
    >>> quote_all(["cat", "dog"]), quote_all([7]), quote_all([])
    ("'cat' and 'dog'", '7', 'none')
    >>> quote_all(range(100))
    '0, 1, 2, 3, 4 and 95 more'
    """
    if not len(values):
        return "none"
    words = [quote(value) for value, _ in zip(values, range(MOST_QUOTED), strict=False)]
    rest = len(values) - len(words)
    *first, last = [*words, f"{rest} more"] if rest else words
    return f"{', '.join(first)} and {last}" if first else last


def of_all(n_chosen: int, n: int) -> str:
    """Say how many were chosen, where not all were.

    Parameters
    ----------
    n_chosen, n : int
        How many were chosen of how many.

    Returns
    -------
    str
        Nothing, or the numbers in brackets after a space.

    Examples
    --------
    >>> of_all(16, 20), of_all(20, 20)
    (' (16 of 20)', '')
    """
    return f" ({n_chosen} of {n})" if n_chosen < n else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Offer the known name that is nearest to an unknown one, to be put behind a sentence.

    Parameters
    ----------
    name : str
        What was not found.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        A question with a space before it; empty where nothing is near.

    Examples
    --------
    >>> did_you_mean("lenet", ["compact", "lenet5"]), did_you_mean("x", ["compact"])
    (" Did you mean 'lenet5'?", '')
    """
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
