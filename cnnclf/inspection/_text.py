"""A trace as plain text for the terminal, and as Markdown."""

import re
import textwrap

from cnnclf._utils.tables import aligned
from cnnclf.inspection._arithmetic import batched
from cnnclf.inspection._items import GAP, Arithmetic, Beside, Item, Matrix, Paragraph, Picture, Section, Table
from cnnclf.inspection._narrative import narrate
from cnnclf.inspection._records import TraceRecord

LINE = 110  # characters of a line of text


def to_text(trace: TraceRecord) -> str:
    """Write a trace for the terminal.

    Returns
    -------
    str
        Plain UTF-8, lines of at most 110 characters.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    >>> print(to_text(clf.trace(X[0]))[:34])
    From 1×8×8 pixels to a prediction:
    """
    title, *sections = narrate(trace)
    return "\n".join([*text_section(title, "="), *(line for section in sections for line in text_section(section))])


def to_markdown(trace: TraceRecord) -> str:
    """Write a trace as Markdown.

    Returns
    -------
    str
        As GitHub renders it: headings, tables, and fenced blocks for everything that must be aligned.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    >>> print(to_markdown(clf.trace(X[0]))[:36])
    # From 1×8×8 pixels to a prediction:
    """
    title, *sections = narrate(trace)
    return "\n\n".join([*markdown_section(title, 1), *(b for s in sections for b in markdown_section(s, 2))]) + "\n"


def text_section(section: Section, rule: str = "-") -> list[str]:
    """Return a section as lines, indented by the blocks it is inside."""
    indent = "  " * section.depth
    lines = [section.heading, rule * len(section.heading), ""]
    for item in section.items:
        announces = isinstance(item, Paragraph) and item.text.endswith(":")
        lines += [*text_item(item, LINE - len(indent)), *[""] * (not announces)]
    return [(indent + line).rstrip() for line in lines]


def text_item(item: Item, width: int = LINE) -> list[str]:
    """Return an item as lines."""
    match item:
        case Paragraph(text):
            return textwrap.wrap(text, width, break_on_hyphens=False)
        case Arithmetic(lines):
            return [part for line in lines for part in wrap_equation(line, width - 2)]
        case Table():
            return text_table(item)
        case Beside(blocks):
            return text_beside([text_matrix(b) if isinstance(b, Matrix) else text_picture(b) for b in blocks], width)


def wrap_equation(line: str, width: int) -> list[str]:
    """Return an equation as lines, broken before a sign or after a comma and indented."""
    wrapped = textwrap.wrap(hold(line), width, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    return [part.replace(" ", " ") for part in wrapped]


def hold(line: str) -> str:
    """Return an equation with non-breaking spaces, except before a sign and after a comma."""
    return re.sub(r"(?<!,) (?![+=] )", " ", line)


def text_table(table: Table) -> list[str]:
    """Return a table as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    return aligned(table.align, (table.head, ["─" * width for width in widths], *table.rows))


def text_matrix(matrix: Matrix) -> list[str]:
    """Return a matrix as aligned lines; the marked cell is in brackets."""
    widths = [max(map(len, column)) for column in zip(matrix.columns, *matrix.cells, strict=True)]
    side = max(map(len, matrix.rows))
    lines = [matrix.caption] * bool(matrix.caption)
    lines.append(" " * (side + 2) + " ".join(["", *map(str.rjust, matrix.columns, widths)]))
    for i, (label, row) in enumerate(zip(matrix.rows, matrix.cells, strict=True)):
        line = f"{label.rjust(side)} │"
        for j, (cell, width) in enumerate(zip(row, widths, strict=True)):
            opening = "[" if (i, j) == matrix.marked else "]" if (i, j - 1) == matrix.marked else " "
            # The bracket is next to the number, not at the edge of its column.
            line += (opening + cell).rjust(width + 1) if opening == "[" else opening + cell.rjust(width)
        lines.append(line + "]" * ((i, len(row) - 1) == matrix.marked))
    return lines


def text_picture(picture: Picture) -> list[str]:
    """Return a picture as lines of two rows of pixels each, so that a pixel is about as high as it is wide."""
    rows = [*picture.ink, *[(0.0,) * len(picture.ink[0])] * (len(picture.ink) % 2)]
    return [*[picture.caption] * bool(picture.caption), *("".join(map(shade, *pair)) for pair in batched(rows, 2))]


def shade(top: float, bottom: float) -> str:
    """Return one character for two pixels, one above the other."""
    if abs(top - bottom) > 0.5:
        return "▀" if top > bottom else "▄"
    return " ░▒▓█"[min(4, int(5 * (top + bottom) / 2))]


def text_beside(blocks: list[list[str]], width: int) -> list[str]:
    """Return blocks side by side as far as there is room, the others below."""
    first, *others = blocks
    for i, block in enumerate(others):
        side = max(map(len, first))
        if side + GAP + max(map(len, block)) > width:
            return [*first, "", *text_beside(others[i:], width)]
        height = max(len(first), len(block))
        left, right = ([*lines, *[""] * (height - len(lines))] for lines in (first, block))
        first = [one.ljust(side + GAP) + other for one, other in zip(left, right, strict=True)]
    return first


def markdown_section(section: Section, level: int) -> list[str]:
    """Return a section as blocks of Markdown."""
    heading = f"{'#' * min(6, level + section.depth)} {markdown(section.heading)}"
    return [heading, *map(markdown_item, section.items)]


def markdown_item(item: Item) -> str:
    """Return an item as a block of Markdown."""
    match item:
        case Paragraph(text):
            return markdown(text)
        case Table(align, head, rows):
            rule = ["---:" if side == "r" else "---" for side in align]
            lines = [map(markdown, head), rule, *(map(markdown, row) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(["```text", *(line.rstrip() for line in text_item(item)), "```"])


def markdown(text: str) -> str:
    """Return text escaped so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", text)
