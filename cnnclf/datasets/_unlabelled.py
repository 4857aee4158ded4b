"""Tables of images whose labels are to be predicted, as in Kaggle's competitions."""

from dataclasses import dataclass
from pathlib import Path

from cnnclf._utils.text import unexpected
from cnnclf.datasets._contents import Arrays
from cnnclf.datasets._pictures import Pictures
from cnnclf.datasets._tables import find_columns, read_table, rows_of

KAGGLE_IDENTIFIER = "ImageId"  # of the digit recogniser, whose table has none: rows are counted from 1


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """The images of a table, and what tells its rows apart.

    Attributes
    ----------
    content : Arrays or Pictures
        The images.
    of_identifier : str
        The name of the column that tells rows apart.
    identifiers : list of str
        That column; the numbers of the rows from 1, if there is none.
    unused : tuple of str
        The names of other columns.
    """

    content: Arrays | Pictures
    of_identifier: str
    identifiers: list[str]
    unused: tuple[str, ...]


def read_unlabelled(path: Path, n_pixels: int) -> Unlabelled:
    """Read a table of so many pixels, or of paths of pictures, without the labels that it may have.

    Raises
    ------
    ValueError
        If it has nothing that is an image.
    """
    columns = find_columns(path, None, labelled=False)
    if columns.pixels and len(columns.pixels) != n_pixels:
        one_more = not columns.has_header and len(columns.pixels) == n_pixels + 1
        advice = "Name the columns, as one may be a label" if one_more else "Pass the table that goes with the network"
        expected, found = f"{n_pixels:,} columns of pixels, as the network takes", f"{len(columns.pixels):,}"
        raise ValueError(unexpected(path, expected, found, advice))
    content = read_table(path, columns, None)
    if columns.identifier >= 0:
        identifiers = [row[columns.identifier].strip() for _, row in rows_of(path, columns)]
        unused = tuple(name for name in columns.unused if name != columns.of_identifier)
        return Unlabelled(content, columns.of_identifier, identifiers, unused)
    return Unlabelled(content, KAGGLE_IDENTIFIER, [str(i + 1) for i in range(len(content.y))], columns.unused)
