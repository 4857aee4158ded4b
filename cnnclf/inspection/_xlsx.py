"""A trace as a workbook of live formulas: change a pixel and watch the prediction change.

A cover and a sheet per chosen layer are laid out in the order of computation, then XlsxWriter writes them.
"""

import io
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent, quote_all
from cnnclf.inspection._records import StepRecord, TraceRecord, follow, shape_of, walk
from cnnclf.inspection._xlsx_sheets import (
    ABOUT,
    COVER,
    N_COLUMNS,
    N_ROWS,
    Block,
    Sheet,
    Text,
    cell,
    decimals_apart,
    find_answer,
    lay_out_input,
    lay_out_layer,
    quote,
)

LARGEST = 100_000  # numbers in a workbook: holds lenet5, and a spreadsheet still recomputes it at once
N_LETTERS_OF_NAME = 31  # of a sheet: Excel's own limit
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


def lay_out(trace: TraceRecord, layers: Collection[str] | None) -> tuple[Sheet, ...]:
    """Return the sheets of the chosen layers, after a cover, and check that a spreadsheet can hold them."""
    names = [step.name for step in walk(trace.steps)]
    if layers is not None and not (layers and set(layers) <= set(names)):
        wrong = sorted(set(layers) - set(names), key=str)
        raise ValueError(f"Expected the names of layers, out of {quote_all(names)}; got {quote_all(wrong)}.")
    chosen = tuple(
        step for step in walk(trace.steps) if layers is None or any(is_within(step.name, layer) for layer in layers)
    )
    check_formulas(chosen)
    layout = Layout(trace, chosen)
    follow(trace.steps, None, layout.add)
    check_size(layout.sheets)
    answer = find_answer(layout.sheets[-1]) if trace.steps[-1] in chosen else None
    sheets = (with_answer(sheet, trace, answer) for sheet in layout.sheets)
    return (lay_out_cover(trace, layout.sheets, answer), *sheets)


def is_within(name: str, block: str) -> bool:
    """Check whether a name is that of a block or of a layer inside it."""
    return f"{name}.".startswith(f"{block}.")


def check_formulas(steps: tuple[StepRecord, ...]) -> None:
    """Check that formulas can compute the layers, and that cells can hold the numbers."""
    for i, step in enumerate(steps):
        if step.kind != "block" and (step.kind not in ABOUT or step.output.ndim not in (1, 3)):
            raise ValueError(
                f"Expected layers that formulas can compute; got {step.name!r} ({step.description}). "
                f"{instead(s for s in steps[:i] if not s.steps)}"
            )
        if not all(np.isfinite(array).all() for array in (step.input, step.output, *step.weights.values())):
            raise ValueError(
                f"Expected finite numbers, as a spreadsheet has no others; got NaN or infinity in layer {step.name!r}. "
                "Fit the network again with a lower learning rate."
            )


def check_size(sheets: list[Sheet]) -> None:
    """Check that a spreadsheet can hold the sheets and recompute them at once."""
    total = sum(sheet.size for sheet in sheets)
    if total > LARGEST:
        largest = max(sheets, key=lambda sheet: sheet.size)
        room = np.cumsum([sheet.size for sheet in sheets]) <= LARGEST
        fitting = (sheet.step for sheet, fits in zip(sheets, room, strict=True) if fits and sheet.step is not None)
        raise ValueError(
            f"Expected at most {LARGEST:,} pixels, weights and values, so that a spreadsheet computes them at once; "
            f"got {total:,}, of them {largest.size:,} on sheet {largest.name!r}. {instead(fitting)}"
        )
    for sheet in sheets:
        n_rows, n_columns = sheet.extent
        if n_rows > N_ROWS or n_columns > N_COLUMNS:
            raise ValueError(
                f"Expected at most {N_ROWS:,} rows and {N_COLUMNS:,} columns, the limits of Excel; "
                f"got {n_rows:,} and {n_columns:,} in sheet {sheet.name!r}. {instead(())}"
            )


def instead(steps: Iterable[StepRecord]) -> str:
    """Return the advice that ends an error: another format and, if any layers fit, these."""
    names = tuple(step.name for step in steps)
    return f"Write .html instead{f', or in Python to_xlsx(path, layers={names})' if names else ''}."


@dataclass(frozen=True)
class Layout:
    """The sheets of the chosen steps, one after the other, each with references to those before it."""

    trace: TraceRecord
    chosen: tuple[StepRecord, ...]
    sheets: list[Sheet] = field(default_factory=list)
    inputs: dict[str, Sheet] = field(default_factory=dict)  # of layers whose input is on no other sheet

    def add(self, step: StepRecord, sources: tuple[Sheet | None, ...]) -> Sheet | None:
        """Lay out one step; return the sheet that its output is on, None if it is on no sheet."""
        if step.kind == "block":
            return sources[0]
        if step not in self.chosen:
            return None
        known = [source or self.input_of(step) for source in sources]
        # A softmax in the middle of a network has features instead of classes.
        classes = self.trace.classes if step is self.trace.steps[-1] else np.arange(len(step.output))
        sheet = lay_out_layer(step, self.unused(step.name), known, classes)
        self.sheets.append(sheet)
        return sheet

    def input_of(self, step: StepRecord) -> Sheet:
        """Return the sheet with the input of the outermost chosen block around a step; it is laid out once."""
        outermost = next(each for each in self.chosen if is_within(step.name, each.name))
        if outermost.name not in self.inputs:
            name = "image" if outermost is self.trace.steps[0] else f"input of {outermost.name}"
            sheet = self.inputs[outermost.name] = lay_out_input(outermost, self.unused(name))
            self.sheets.append(sheet)
        return self.inputs[outermost.name]

    def unused(self, name: str) -> str:
        """Return a layer's name as a valid name of a sheet that is not taken, whatever the case of its letters."""
        # Apostrophes would have to be doubled, and XlsxWriter reads a word before a parenthesis as a function.
        allowed = re.sub(r"[\[\]:*?/\\'(\x00-\x1f]", "_", name)
        taken = {sheet.name.lower() for sheet in self.sheets} | {COVER, "history"}
        suffixes = ("", *(f" ({n})" for n in range(2, len(taken) + 2)))
        candidates = (allowed[: N_LETTERS_OF_NAME - len(suffix)] + suffix for suffix in suffixes)
        return next(candidate for candidate in candidates if candidate.lower() not in taken)


def lay_out_cover(trace: TraceRecord, sheets: list[Sheet], answer: tuple[str, str] | None) -> Sheet:
    """Return the first sheet: the prediction, how to use the workbook, and a table of the sheets."""
    about = "Each layer of a fitted network has a sheet; its cells are computed from those of the layer before."
    texts = [Text(0, 0, "From numbers to a prediction, in live formulas", "heading"), Text(1, 0, about)]
    blocks = []
    row = 3
    if answer is not None:
        label, share = answer
        probability = trace.probabilities.max().reshape(1, 1)
        texts += [
            *(Text(row, 1 + at, title, "header") for at, title in enumerate(("now", "as traced"))),
            *(Text(row + 1 + at, 0, title) for at, title in enumerate(("prediction", "probability"))),
            Text(row + 1, 1, str(trace.label), "answer", f"={label}"),
            Text(row + 1, 2, str(trace.label), "answer"),
        ]
        blocks.append(Block(row + 2, 1, probability, "percent", lambda *_: f"={share}"))
        blocks.append(Block(row + 2, 2, probability, "percent"))
        row += 4
    inputs = " or ".join(f"“{sheet.name}”" for sheet in sheets if sheet.step is None)
    texts.append(Text(row, 0, "How to use it", "subheading"))
    texts += [Text(row + 1 + i, 0, line.format(inputs=inputs)) for i, line in enumerate(HOW_TO)]
    row += len(HOW_TO) + 2
    texts.append(Text(row, 0, "Sheets", "subheading"))
    titles = ("sheet", "output", "parameters", "multiply-adds", "layer")
    texts += [Text(row + 1, at, title, "header") for at, title in enumerate(titles)]
    row += 2
    for i, sheet in enumerate(sheets):
        step = sheet.step
        texts += [
            Text(row + i, 0, sheet.name, "link", link=sheet.name),
            Text(row + i, 1, shape_of(sheet.output), "label"),
            Text(row + i, 4, step.description if step else "numbers to change"),
        ]
        if step:
            blocks.append(Block(row + i, 2, np.array([[step.n_parameters, step.n_multiply_adds]]), "amount"))
    widths = {0: 20.0, 1: 18.0, 2: 18.0, 3: 18.0, 4: 44.0}
    return Sheet(COVER, tuple(blocks), tuple(texts), None, trace.image, (), frozen=(0, 0), widths=widths)


HOW_TO = (
    "1. Go to the sheet {inputs} and type another number into a cell.",
    "2. All cells that depend on it change, up to the prediction. If not, allow editing and automatic calculation.",
    "3. Select a cell of a layer and press F2 to see its formula, with the cells that it uses in colours.",
    "Channels, features, rows and columns are counted from 0, as in Python. The weights are exact. The last digits of",
    "results may differ, as the network computes with 7 digits and a spreadsheet with 15.",
)


def with_answer(sheet: Sheet, trace: TraceRecord, answer: tuple[str, str] | None) -> Sheet:
    """Return an input sheet with the prediction above its numbers; any other sheet as it is."""
    if sheet.step is not None or answer is None:
        return sheet
    label, share = answer
    text = f"Prediction: {trace.label} ({percent(trace.share)})"
    formula = f'="Prediction: "&{label}&" ("&FIXED(100*{share},{decimals_apart(share)},TRUE)&" %)"'
    return replace(sheet, texts=(*sheet.texts, Text(2, 4, text, "subheading", formula)))


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
