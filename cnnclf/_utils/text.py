"""Numbers and names as people read them."""

import difflib
import math
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from reprlib import Repr

LONGEST_QUOTE = 60  # letters of one value in a sentence
LONGEST_PATH = 200  # letters: what is asked for is at its end
MOST_QUOTED = 5  # values in a sentence

_SHORT_REPR = Repr()
_SHORT_REPR.maxlevel = 2
_SHORT_REPR.maxstring = _SHORT_REPR.maxother = _SHORT_REPR.maxlong = LONGEST_QUOTE
_SHORT_REPR.maxlist = _SHORT_REPR.maxtuple = _SHORT_REPR.maxdict = _SHORT_REPR.maxset = MOST_QUOTED


def percent(share: float, decimals: int = 2) -> str:
    """Write a share 0..1 as a percentage, such as ``99.21 %``.

    Every percentage that people read is written here; ``templates/percent.js`` writes the same ones in a browser. Only
    0 itself reads 0 % and only 1 itself reads 100 %: other shares get as many digits as that takes. A share below a
    millionth of a percent is written as such, as in the workbook of a trace.

    Parameters
    ----------
    share : float
        The share, 0..1.
    decimals : int, default=2
        Digits behind the point, at least.

    Returns
    -------
    str
        The number, a space and the sign.

    Examples
    --------
    >>> percent(0.9921), percent(0.9999988), percent(1.0), percent(2e-7), percent(4.2e-18)
    ('99.21 %', '99.9999 %', '100.00 %', '0.00002 %', '<0.000001 %')
    >>> percent(0.5, 1), percent(0.9999988, 1)
    ('50.0 %', '99.9999 %')
    """
    if 0 < share < 1e-8:
        return "<0.000001 %"
    return f"{Decimal(float(share)):.{decimals_apart(share, decimals + 2) - 2}%}".replace("%", " %")


def share_of(shares: Sequence[float], i: int) -> float:
    """Return one of some shares that add up to 1; where rounding made it 1, it is what the others leave.

    Parameters
    ----------
    shares : sequence of float
        Probabilities, such as a softmax in float32 gives them.
    i : int
        Which of them.

    Returns
    -------
    float
        The share: less than 1 where another one is above 0.

    Examples
    --------
    >>> percent(share_of([1.0, 2.0**-30], 0)), percent(share_of([1.0, 0.0], 0)), percent(share_of([0.75, 0.25], 1))
    ('99.9999999 %', '100.00 %', '25.00 %')
    """
    share = float(shares[i])
    if share != 1:
        return share
    rest = math.fsum(float(other) for j, other in enumerate(shares) if j != i)
    return min(1 - rest, math.nextafter(1, 0)) if rest else share


def decimals_apart(share: float | Decimal, decimals: int) -> int:
    """Return how many decimals distinguish a share from 0 and from 1.

    Parameters
    ----------
    share : float or Decimal
        The share, 0..1.
    decimals : int
        As many at least.

    Returns
    -------
    int
        The fewest with which only 0 reads 0 and only 1 reads 1.

    Examples
    --------
    >>> [decimals_apart(share, 4) for share in (0.0, 0.25, 0.9999988, 4.2e-18)]
    [4, 4, 6, 18]
    """
    while share not in (0, 1) and Decimal(f"{share:.{decimals}f}") in (0, 1):
        decimals += 1
    return decimals


def points(difference: float) -> str:
    """Write a difference of two shares in percentage points.

    Parameters
    ----------
    difference : float
        The difference, 0..1.

    Returns
    -------
    str
        As many digits as :func:`percent` writes.

    Examples
    --------
    >>> points(0.0123), points(0.00001)
    ('1.23 points', '0.001 points')
    """
    return f"{percent(difference).removesuffix(' %')} points"


def mean_and_deviation(mean: float, deviation: float) -> str:
    """Write the mean and the standard deviation of shares.

    Parameters
    ----------
    mean, deviation : float
        Both 0..1.

    Returns
    -------
    str
        Both as percentages.

    Examples
    --------
    >>> mean_and_deviation(0.9932, 0.0004)
    '99.32 ± 0.04 %'
    """
    return f"{percent(mean).removesuffix(' %')} ± {percent(deviation)}"


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


def counted(number: int, noun: str) -> str:
    """Write a count with its noun.

    Parameters
    ----------
    number : int
        The count.
    noun : str
        In the singular; its plural ends in s.

    Returns
    -------
    str
        The count and the noun, in the plural unless the count is 1.

    Examples
    --------
    >>> counted(1, "epoch"), counted(1_200, "image")
    ('1 epoch', '1,200 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
    """Write a value as Python does, shortened to one line.

    Parameters
    ----------
    value : object
        Any object. Of an array, a tensor or a data frame its type and shape are written. A NumPy scalar is written as
        the Python value, a path as its whole text.

    Returns
    -------
    str
        One line of 120 letters at most; of a list five elements at most, each of 60 letters at most. A path has up to
        200 letters.

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
        return repr(cut(str(os.fspath(value)), LONGEST_PATH))
    try:
        text = _SHORT_REPR.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"{type(value).__name__} of very many digits"
    return cut(re.sub(r"\s*\n\s*", " ", text), 2 * LONGEST_QUOTE)


def quote_all(values: Collection[object]) -> str:
    """Write the first five of some values, and how many more there are.

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


def unexpected(source: object, expected: str, found: object, advice: str) -> str:
    """Write the sentences of an error about a file.

    Parameters
    ----------
    source : object
        The file's name.
    expected, found, advice : str
        What was expected of it, what it is or holds, and what to do.

    Returns
    -------
    str
        Two sentences.

    Examples
    --------
    >>> unexpected("7.png", "a picture", "text", "Check the path")
    '7.png: expected a picture; got text. Check the path.'
    """
    return f"{printable(str(source))}: expected {expected}; got {found}. {advice}."


def printable(line: str) -> str:
    r"""Replace what is not shown, such as letters with which the name of a stranger's file commands a terminal.

    Parameters
    ----------
    line : str
        Any text.

    Returns
    -------
    str
        One line of as many letters.

    Examples
    --------
    >>> printable("7.png"), printable("\x1b[31mred.png")
    ('7.png', '�[31mred.png')
    """
    return line if line.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in line)


def of_all(n_chosen: int, n: int) -> str:
    """Write how many of all were chosen, or nothing where all were.

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
    """Suggest the known name that is nearest to an unknown one, as the end of a sentence.

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
    spelt = {known_name.lower(): known_name for known_name in known}
    nearest = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    return f" Did you mean {spelt[nearest[0]]!r}?" if nearest else ""


def say(sentence: str) -> None:
    """Print on stderr, at once, what is being done."""
    print(sentence, file=sys.stderr, flush=True)
