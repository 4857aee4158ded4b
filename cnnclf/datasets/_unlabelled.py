"""Tables of images whose labels are to be predicted, as in Kaggle's competitions."""

from dataclasses import dataclass
from pathlib import Path

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


def read_unlabelled(path: Path) -> Unlabelled:
    """Read a table of pixels, or of paths of pictures, without the labels that it may have.

    Raises
    ------
    ValueError
        If it has nothing that is an image.
    """
    columns = find_columns(path, None, labelled=False)
    content = read_table(path, columns, None)
    if columns.identifier >= 0 and columns.of_identifier:
        identifiers = [row[columns.identifier].strip() for _, row in rows_of(path, columns)]
        unused = tuple(name for name in columns.unused if name != columns.of_identifier)
        return Unlabelled(content, columns.of_identifier, identifiers, unused)
    return Unlabelled(content, KAGGLE_IDENTIFIER, [str(i + 1) for i in range(len(content.y))], columns.unused)
