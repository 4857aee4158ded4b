"""A trace as a workbook of live formulas: change a pixel and watch the prediction change."""

import io
import os
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import write_atomically
from cnnclf.inspection._records import TraceRecord
from cnnclf.inspection._xlsx_layout import lay_out
from cnnclf.inspection._xlsx_sheets import N_COLUMNS, N_ROWS, Block, Sheet, cell, decimals_apart, quote

N_LETTERS = 8_192  # of a formula: Excel's own limit

INK, FAINT = "#33363b", "#777b83"
BLUE = "#2b7fc3"
COLD, WARM = "#5b9fd6", "#eba54a"  # pale enough to read a number on
MORE_DECIMALS = range(3, 15)  # of percentages that would read 0 % or 100 % with two decimals


LOOKS: Mapping[str, Mapping[str, Any]] = {
    "heading": {"bold": True, "font_size": 16},
    "subheading": {"bold": True, "font_size": 12},
    "text": {},
    "link": {"font_color": BLUE, "underline": 1},
    "title": {"font_color": FAINT, "font_size": 9, "valign": "bottom"},
    "header": {"font_color": FAINT, "font_size": 9, "align": "center", "bottom": 1, "bottom_color": FAINT},
    "label": {"align": "center"},
    "answer": {"font_color": BLUE, "bold": True, "font_size": 16, "align": "center"},
    "count": {"num_format": "#,##0", "align": "center"},
    "share": {"num_format": "0.00%", "align": "center"},
    "amount": {"num_format": '#,##0;-#,##0;"–"', "align": "center"},
    "percent": {"num_format": "0.00%", "align": "center"},
    "pixels": {"num_format": "0.###", "font_color": "#989da6", "font_size": 9, "align": "center"},
    "bright": {"font_color": "#000000"},
    **{f"percent{n}": {"num_format": f"0.{'0' * n}%"} for n in MORE_DECIMALS},
    "tiny percent": {"num_format": '"<0.000001%"'},
    "numbers": {"num_format": "0.0000", "font_size": 9, "align": "center"},
    "weights": {"num_format": "0.0000", "font_size": 9, "align": "center", "border": 4, "border_color": "#b5b9c1"},
}
TALL = ("heading", "answer")

PIXEL_RULE = {
    **{"validate": "decimal", "criteria": "between", "minimum": 0, "maximum": 255},
    **{"error_title": "A pixel", "error_message": "is a number from 0 (dark) to 255 (bright)."},
}

GREYS = {
    **{"type": "2_color_scale", "min_type": "num", "max_type": "num"},
    **{"min_color": "#000000", "max_color": "#ffffff"},
}

DIVERGING = {
    **{"type": "3_color_scale", "min_type": "num", "mid_type": "num", "max_type": "num", "mid_value": 0},
    **{"min_color": COLD, "mid_color": "#ffffff", "max_color": WARM},
}

BAR = {
    **{"type": "data_bar", "min_type": "num", "max_type": "num", "min_value": 0, "max_value": 1},
    **{"bar_color": "#a9cbe8", "bar_solid": True},
}


def write(trace: TraceRecord, path: str | os.PathLike[str], layers: Collection[str] | None = None) -> Path:
    """Write a trace as an Excel workbook in which every layer is computed from the one before it.

    The sheet "image" holds the pixels. Each layer has a sheet with its exact weights and its values as formulas, so
    that a changed pixel changes the prediction. Until then the cells show the network's own numbers, also in viewers
    that do not compute.

    Parameters
    ----------
    trace : TraceRecord
        From ``clf.trace(image)``.
    path : path-like
        The .xlsx file to write, whole or not at all.
    layers : collection of str, optional
        Only these layers, blocks with all layers inside; all layers by default. Inputs from a layer that is not among
        them become plain numbers, which can be changed like pixels.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        Without XlsxWriter, which the extra ``xlsx`` brings.
    ValueError
        If there are more than 100,000 numbers, layers without a formula, unknown names, or numbers that are not
        finite.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X, y)
    >>> write(clf.trace(X[5]), Path(tempfile.mkdtemp()) / "five.xlsx").name
    'five.xlsx'
    """
    with needed_by("to_xlsx"):
        import xlsxwriter
    sheets = lay_out(trace, layers)
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2000, 1, 1)})  # so that the same trace gives the same bytes
        formats = {name: book.add_format({"font_color": INK, "valign": "vcenter", **LOOKS[name]}) for name in LOOKS}
        for sheet in sheets:
            write_sheet(book.add_worksheet(sheet.name), sheet, formats)
    write_atomically(path, buffer.getvalue())
    return Path(path)


def write_sheet(worksheet: Any, sheet: Sheet, formats: Mapping[str, Any]) -> None:
    """Write one sheet with XlsxWriter."""
    worksheet.hide_gridlines(2)
    worksheet.set_default_row(sheet.height)
    worksheet.set_zoom(sheet.zoom)
    worksheet.freeze_panes(*sheet.frozen)
    fractions = [block.numbers for block in sheet.blocks if block.numbers.dtype.kind == "f"]
    width = max((float(len(f"{-np.abs(numbers).max():.4f}")) for numbers in fractions), default=0.0)
    worksheet.set_column(0, sheet.extent[1] - 1, max(sheet.width, width))
    for column, width in sheet.widths.items():
        worksheet.set_column(column, column, width)
    # Labels may consist of digits, and patches at the edge of a map are smaller on purpose.
    warnings = ("number_stored_as_text", "formula_differs", "formula_range")
    worksheet.ignore_errors(dict.fromkeys(warnings, f"A1:{cell(N_ROWS - 1, N_COLUMNS - 1)}"))
    for text in sheet.texts:
        if text.look in TALL:
            worksheet.set_row(text.row, 26)
        if text.formula:
            worksheet.write_formula(text.row, text.column, text.formula, formats[text.look], text.text)
        elif text.link:
            worksheet.write_url(text.row, text.column, f"internal:{quote(text.link)}!A1", formats[text.look], text.text)
        else:
            worksheet.write_string(text.row, text.column, text.text, formats[text.look])
    for block in sheet.blocks:
        write_block(worksheet, sheet, block, formats[block.look])
    colour(worksheet, sheet, formats["bright"])
    for block in sheet.blocks:
        if block.look in ("share", "percent"):
            format_percentages(worksheet, block, formats)


def write_block(worksheet: Any, sheet: Sheet, block: Block, look: Any) -> None:
    """Write the numbers or formulas of one block."""
    for i, row in enumerate(block.numbers.tolist()):
        for j, number in enumerate(row):
            at = block.row + i, block.column + j
            if block.formula is None:
                worksheet.write_number(*at, Exact(number), look)
                continue
            formula = block.formula(i, j)
            if len(formula) > N_LETTERS:
                raise ValueError(
                    f"Expected formulas of at most {N_LETTERS:,} letters, the limit of Excel; "
                    f"got {len(formula):,} in sheet {sheet.name!r}. Choose other layers."
                )
            worksheet.write_formula(*at, formula, look, number)


class Exact(float):
    """A number that is written with all its digits; XlsxWriter formats with sixteen, which can be too few."""

    def __format__(self, spec: str) -> str:
        """Return the shortest text that reads back as the same number, whatever the format."""
        return repr(self)


def colour(worksheet: Any, sheet: Sheet, bright: Any) -> None:
    """Colour cells: grey for pixels, blue – white – orange around zero for other numbers, bars for probabilities."""
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for block in sheet.blocks:
        lows[block.look] = min(lows.get(block.look, 0.0), float(block.numbers.min()))
        highs[block.look] = max(highs.get(block.look, 0.0), float(block.numbers.max()))
    for block in sheet.blocks:
        low, high = lows[block.look], highs[block.look]
        match block.look:
            case "pixels":
                if block.numbers.dtype == np.uint8:
                    low, high = 0, 255
                    worksheet.data_validation(*block.where, PIXEL_RULE)
                is_bright = {"type": "cell", "criteria": ">", "value": low + 0.4 * (high - low), "format": bright}
                worksheet.conditional_format(*block.where, is_bright)  # numbers on bright greys are black
                worksheet.conditional_format(*block.where, {**GREYS, "min_value": low, "max_value": high})
            case "numbers" | "weights":
                reach = max(-low, high) or 1.0
                worksheet.conditional_format(*block.where, {**DIVERGING, "min_value": -reach, "max_value": reach})
            case "share":
                worksheet.conditional_format(*block.where, BAR)


def format_percentages(worksheet: Any, block: Block, formats: Mapping[str, Any]) -> None:
    """Format percentages with the decimals of :func:`cnnclf._utils.text.percent`, for any result of the formulas."""
    share = cell(block.row, block.column)
    rules = {f"=AND({share}>0,{share}<1E-8)": "tiny percent"}
    rules |= {f"={decimals_apart(share)}={n}": f"percent{n}" for n in MORE_DECIMALS}
    for criteria, name in rules.items():
        rule = {"type": "formula", "criteria": criteria, "format": formats[name]}
        worksheet.conditional_format(*block.where, rule)
