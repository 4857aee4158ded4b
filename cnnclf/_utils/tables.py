"""Records as people see them: a table of text where they are printed, one of HTML in a notebook."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROWS = 40


@dataclass(frozen=True)
class Summary:
    """The printed form of a record.

    Attributes
    ----------
    title : str
        The sentence above the table.
    align : str
        One of l and r for each column.
    head : tuple of str
        The name of each column; empty where there is no table.
    rows : tuple of tuple of str
        The cells; of more than 40 rows the first are shown.
    notes : tuple of str
        Lines below the table.
    """

    title: str
    align: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def below(self) -> tuple[str, ...]:
        """The notes, and before them how many rows are not shown."""
        n_more = len(self.rows) - MOST_ROWS
        return (*((f"… and {n_more:,} more",) if n_more > 0 else ()), *self.notes)


class Summarised:
    """A record that is printed as its summary, also as the last line of a notebook's cell."""

    def _summary(self) -> Summary:
        """Return the printed form."""
        raise NotImplementedError

    def __repr__(self) -> str:
        summary = self._summary()
        table = aligned(summary.align, (summary.head, *summary.rows[:MOST_ROWS])) if summary.head else []
        parts = [[summary.title], table, list(summary.below)]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def _repr_html_(self) -> str:
        summary = self._summary()
        table = html_table(summary.align, (summary.head, *summary.rows[:MOST_ROWS])) if summary.head else ""
        title, *below = (f"<p>{html.escape(text)}</p>" for text in (summary.title, *summary.below))
        return "".join([title, table, *below])


def aligned(align: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns of a table.

    Parameters
    ----------
    align : str
        One of l and r for each column.
    rows : sequence of sequence of str
        The cells, the head first.

    Returns
    -------
    list of str
        A line for each row.

    Examples
    --------
    >>> aligned("lr", [("layer", "values"), ("conv1", "9,216")])
    ['layer  values', 'conv1   9,216']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        ).rstrip()
        for row in rows
    ]


def html_table(align: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML.

    Parameters
    ----------
    align : str
        One of l and r for each column.
    rows : sequence of sequence of str
        The cells, the head first.

    Returns
    -------
    str
        One ``<table>``, whose text is escaped.

    Examples
    --------
    >>> html_table("r", [["n"], ["<b>"]])[-69:]
    '<tr><td style="text-align: right">&lt;b&gt;</td></tr></tbody></table>'
    """
    sides = ["right" if side == "r" else "left" for side in align]

    def row(tag: str, cells: Sequence[str]) -> str:
        written = (
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>"

    head, *body = rows
    return (
        f'<table style="border-spacing: 1em .2em"><thead>{row("th", head)}</thead>'
        f"<tbody>{''.join(row('td', cells) for cells in body)}</tbody></table>"
    )
