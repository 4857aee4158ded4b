"""Numbers and names as people read them."""

import difflib
import math
from collections.abc import Iterable


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
