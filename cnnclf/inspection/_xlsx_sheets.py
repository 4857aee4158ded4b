"""A trace as a workbook of live formulas: change a pixel and watch the prediction change."""

import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent, quote_all

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Step, Trace

LARGEST = 100_000  # numbers in a workbook: all of lenet5, and a spreadsheet still answers a changed pixel at once
N_ROWS, N_COLUMNS, N_LETTERS, N_LETTERS_OF_NAME = 1_048_576, 16_384, 8_192, 31  # Excel's own limits

COVER = "read me first"
LABEL, SHARE = (5, 6), (6, 6)  # where the prediction and its probability are on the softmax's sheet
TOP = 5  # row of the first numbers; above them a heading, what the layer does, a way back, a gap and the titles
ABREAST = 64  # columns for maps side by side, unless one map is wider

INK, FAINT = "#33363b", "#777b83"
BLUE = "#2b7fc3"
COLD, WARM = "#5b9fd6", "#eba54a"  # pale enough to read a number on
MORE_DECIMALS = range(3, 15)  # of percentages that two decimals do not tell from 0 % or 100 %
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

# In words, for the top of each sheet.
ABOUT = {
    "standardise": (
        "Each pixel, minus the mean of its channel in the training images, over their standard deviation; 0 in a "
        "channel that never varied there."
    ),
    "conv": "Each cell: the patch of the layer before, times the kernels to the left, all products and the bias added.",
    "norm": "Each cell, minus the mean, over √(variance + ε), times the weight, plus the bias of its channel.",
    "relu": "Each cell, or 0 where it is negative.",
    "max_pool": "The largest number of each window.",
    "avg_pool": "The mean of each window.",
    "global_avg_pool": "The mean of each channel.",
    "dropout": "Does nothing when the network predicts.",
    "flatten": "The maps, one number below the other.",
    "dense": "Each output: the inputs above, times the weights to the right, all products and the bias added.",
    "residual": "What leaves the block's layers, plus what came in by the short way.",
    "softmax": "e to the power of each logit, as a share of their sum; the largest logit is subtracted first.",
}

TALL = ("heading", "answer")

Numbers = NDArray[Any]
Formula = Callable[[int, int], str]
MapFormula = Callable[[int, int, int], str]


@dataclass(frozen=True, eq=False)
class Block:
    """A rectangle of numbers.

    Attributes
    ----------
    row, column : int
        Its top left cell, from 0.
    numbers : ndarray of shape (height, width)
        What the cells show until something is changed.
    look : str
        One of ``LOOKS``.
    formula : callable (row, column) -> str, optional
        What stands in each cell, counted from the block's corner; without it the numbers themselves.
    """

    row: int
    column: int
    numbers: Numbers
    look: str
    formula: Formula | None = None


@dataclass(frozen=True)
class Text:
    """Words in a cell, which a formula may compute or a link lead from to another sheet."""

    row: int
    column: int
    text: str
    look: str = "text"
    formula: str = ""
    link: str = ""


@dataclass(frozen=True, eq=False)
class Sheet:
    """All that stands on one sheet.

    Attributes
    ----------
    name : str
        As on its tab.
    blocks : tuple of Block
        The numbers.
    texts : tuple of Text
        The words.
    step : Step, optional
        The layer that is here.
    output : ndarray of shape (channels, height, width) or (features,)
        What the next layer takes from here.
    corners : tuple of (row, column)
        Where that begins: one rectangle a channel, or one column of features.
    frozen : (int, int)
        Rows and columns that stay when the rest is scrolled.
    widths : mapping of int to float
        Of single columns, in letters.
    width, height : float
        Of all other columns, in letters, and of the rows, in points.
    zoom : int
        In per cent.
    """

    name: str
    blocks: tuple[Block, ...]
    texts: tuple[Text, ...]
    step: "Step | None"
    output: Numbers
    corners: tuple[tuple[int, int], ...]
    frozen: tuple[int, int] = (TOP - 2, 0)
    widths: Mapping[int, float] = field(default_factory=dict)
    width: float = 8.0
    height: float = 15.0
    zoom: int = 100

    @property
    def size(self) -> int:
        """How many numbers there are, other than those that count."""
        return sum(block.numbers.size for block in self.blocks if block.look != "count")

    def at(self, channel: int, row: int, column: int) -> str:
        """Refer from another sheet to one value of the output."""
        return self.within(channel, row, column, row + 1, column + 1)

    def within(self, channel: int, top: int, left: int, bottom: int, right: int) -> str:
        """Refer from another sheet to a window of one channel; bottom and right are the first outside."""
        row, column = self.corners[channel]
        return f"{quote(self.name)}!{area(row + top, column + left, row + bottom, column + right)}"


def write(trace: "Trace", path: str | os.PathLike[str], layers: Collection[str] | None = None) -> Path:
    """Write a trace as an Excel workbook in which every layer is computed from the one before it.

    The pixels stand on the sheet "image". Each layer has a sheet with its weights, to the last digit, and its values as
    formulas, so that whoever changes a pixel sees the prediction change. Until then the cells show the network's own
    numbers, also in viewers that do not compute.

    Parameters
    ----------
    trace : Trace
        From ``clf.trace(image)``.
    path : path-like
        The .xlsx file to write, whole or not at all.
    layers : collection of str, optional
        Only these layers, blocks with all that is inside them; all layers by default. What they take from a layer that
        is not among them becomes plain numbers, which can be changed as pixels can.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        Without XlsxWriter, which the extra ``xlsx`` brings.
    ValueError
        For more than 100,000 numbers, layers without a formula, names that no layer has, and numbers that are not
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


def lay_out(trace: "Trace", layers: Collection[str] | None) -> tuple[Sheet, ...]:
    """Lay the chosen layers out on sheets, the cover first, and check that a spreadsheet can hold them."""
    names = [step.name for step in choose(trace.steps, None)]
    if layers is not None and not (layers and set(layers) <= set(names)):
        wrong = sorted(set(layers) - set(names), key=str)
        raise ValueError(f"Expected the names of layers, out of {quote_all(names)}; got {quote_all(wrong)}.")
    chosen = tuple(choose(trace.steps, layers))
    check_formulas(chosen)
    layout = Layout(trace, chosen)
    layout.follow(trace.steps, None)
    check_size(layout.sheets)
    answer = find_answer(layout.sheets[-1]) if trace.steps[-1] in chosen else None
    sheets = (with_answer(sheet, trace, answer) for sheet in layout.sheets)
    return (lay_out_cover(trace, layout.sheets, answer), *sheets)


def choose(steps: Iterable["Step"], layers: Collection[str] | None, *, inside: bool = False) -> Iterator["Step"]:
    """Walk through all steps, a block before what is inside it, and give those that are wanted or inside such a one."""
    for step in steps:
        wanted = inside or layers is None or step.name in layers
        if wanted:
            yield step
        yield from choose(step.steps, layers, inside=wanted)


def check_formulas(steps: tuple["Step", ...]) -> None:
    """Refuse layers that no formula can stand for, and numbers that no cell can hold."""
    for i, step in enumerate(steps):
        if step.kind != "block" and (step.kind not in ABOUT or step.output.ndim not in (1, 3)):
            raise ValueError(
                f"Expected layers that formulas can compute; {step.name!r} ({step.description}) is not one. "
                f"{instead(s for s in steps[:i] if not s.steps)}"
            )
        if not all(np.isfinite(array).all() for array in (step.input, step.output, *step.weights.values())):
            raise ValueError(
                f"Expected finite numbers, which are all that a spreadsheet knows; layer {step.name!r} has others. "
                "Fit the network anew, with a lower learning rate."
            )


def check_size(sheets: list[Sheet]) -> None:
    """Refuse what a spreadsheet could not compute at once, or not hold at all."""
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
        n_rows = max(block.row + block.numbers.shape[0] for block in sheet.blocks)
        n_columns = max(block.column + block.numbers.shape[1] for block in sheet.blocks)
        if n_rows > N_ROWS or n_columns > N_COLUMNS:
            raise ValueError(
                f"Expected at most {N_ROWS:,} rows and {N_COLUMNS:,} columns, which is what Excel holds; "
                f"sheet {sheet.name!r} needs {n_rows:,} and {n_columns:,}. {instead(())}"
            )


def instead(steps: Iterable["Step"]) -> str:
    """Say what can be written, at the command line, too; in Python, layers that would do where there are some."""
    names = tuple(step.name for step in steps)
    return f"Write .html instead{f', or in Python to_xlsx(path, layers={names})' if names else ''}."


class Layout:
    """Lays steps out on one sheet after the other, each with references to those before it."""

    def __init__(self, trace: "Trace", chosen: tuple["Step", ...]) -> None:
        self.trace = trace
        self.chosen = chosen
        self.sheets: list[Sheet] = []
        self.layouts: dict[str, Callable[[Step, str, list[Sheet]], Sheet]] = {
            "conv": lay_out_conv,
            "dense": lay_out_dense,
            "softmax": partial(lay_out_softmax, trace),
        }

    def follow(self, steps: Iterable["Step"], source: Sheet | None) -> Sheet | None:
        """Lay out one step after the other; give where the last one's output is, None if it is on no sheet."""
        for step in steps:
            source = self.add(step, source)
        return source

    def add(self, step: "Step", source: Sheet | None) -> Sheet | None:
        """Lay out one step and what is inside it."""
        wanted = step in self.chosen
        if wanted and source is None:
            source = lay_out_input(
                step, self.unused("image" if step is self.trace.steps[0] else f"input of {step.name}")
            )
            self.sheets.append(source)
        if step.kind == "block":
            return self.follow(step.steps, source)
        sources = [source]
        if step.kind == "residual":
            *body, shortcut = step.steps
            sources = [self.follow(body, source), self.add(shortcut, source)]
        if not wanted:
            return None
        layout = self.layouts.get(step.kind, lay_out_cells)
        sheet = layout(step, self.unused(step.name), [source for source in sources if source is not None])
        self.sheets.append(sheet)
        return sheet

    def unused(self, name: str) -> str:
        """Turn a layer's name into that of a sheet: allowed, at most 31 letters, and not taken in any case."""
        # Apostrophes would have to be doubled, and XlsxWriter takes what is before a parenthesis for a function.
        allowed = re.sub(r"[\[\]:*?/\\'(\x00-\x1f]", "_", name)
        taken = {sheet.name.lower() for sheet in self.sheets} | {COVER, "history"}
        suffixes = ("", *(f" ({n})" for n in range(2, len(taken) + 2)))
        candidates = (allowed[: N_LETTERS_OF_NAME - len(suffix)] + suffix for suffix in suffixes)
        return next(candidate for candidate in candidates if candidate.lower() not in taken)


def lay_out_input(step: "Step", name: str) -> Sheet:
    """Lay out plain numbers: the pixels, or what a layer takes from one that is not in the workbook."""
    look = "pixels" if name == "image" else "numbers"
    return lay_out_maps(name, step.input, look, f"Type another number into any cell: {step.name} is computed from it.")


def lay_out_cells(step: "Step", name: str, sources: list[Sheet]) -> Sheet:
    """Lay out a layer whose cells each come from a cell or a window of the layer before."""
    weights = {key: array.ravel() for key, array in step.weights.items()}
    if step.kind == "flatten" and step.input.ndim == 3:
        weights = dict(zip(("channel", "row", "column"), np.indices(step.input.shape).reshape(3, -1), strict=True))
    # The table of weights has one row a channel, or one a feature; see lay_out_maps.
    is_map = step.output.ndim == 3
    columns = dict(zip(weights, range(1, 1 + len(weights)), strict=True))

    def formula(channel: int, row: int, column: int) -> str:
        line = TOP + (channel if is_map else row)
        w = {key: cell(line, at, fixed=True) for key, at in columns.items()}
        return cell_formula(step, sources, w, channel, row, column)

    return lay_out_maps(name, step.output, "numbers", ABOUT[step.kind], step, formula, weights)


def cell_formula(
    step: "Step", sources: list[Sheet], weights: Mapping[str, str], channel: int, row: int, column: int
) -> str:
    """Write what one cell of a layer is, in references to the layer before and to the layer's own weights."""
    (source, *others) = sources
    match step.kind:
        case "max_pool" | "avg_pool":
            function = "MAX" if step.kind == "max_pool" else "AVERAGE"
            top, left, bottom, right = window(step, row, column)
            return f"={function}({source.within(channel, top, left, bottom, right)})"
        case "global_avg_pool":
            return f"=AVERAGE({source.within(channel, 0, 0, *step.input.shape[1:])})"
        case "flatten" if step.input.ndim == 3:
            return f"={source.at(*map(int, np.unravel_index(row, step.input.shape)))}"
    x = source.at(channel, row, column)
    match step.kind:
        case "standardise":
            varied = step.weights["std"][channel].item() > 0
            return f"=({x}-{weights['mean']})/{weights['std']}" if varied else f"=0*({x}-{weights['mean']})"
        case "norm":
            scaled = (
                f"({x}-{weights['running_mean']})/SQRT({weights['running_var']}+{repr(step.settings['eps']).upper()})"
            )
            scale = f"*{weights['weight']}" if "weight" in weights else ""
            shift = f"+{weights['bias']}" if "bias" in weights else ""
            return f"={scaled}{scale}{shift}"
        case "relu":
            return f"=MAX(0,{x})"
        case "residual":
            return f"={x}+{others[0].at(channel, row, column)}"
    return f"={x}"


def window(step: "Step", row: int, column: int) -> tuple[int, int, int, int]:
    """Give the part of a layer's input that a cell looks at, without padding: top, left, bottom, right."""
    size = step.settings["kernel" if step.kind == "conv" else "window"]
    dilation = step.settings.get("dilation", (1, 1))
    edges = []
    for axis, place in enumerate((row, column)):
        start = place * step.settings["stride"][axis] - step.settings["padding"][axis]
        end = start + dilation[axis] * (size[axis] - 1) + 1
        edges.append((max(start, 0), min(end, step.input.shape[1 + axis])))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right


def lay_out_maps(
    name: str,
    values: Numbers,
    look: str,
    about: str,
    step: "Step | None" = None,
    formula: MapFormula | None = None,
    weights: Mapping[str, Numbers] | None = None,
) -> Sheet:
    """Lay out maps side by side, or features one below the other, with a table of their weights to the left."""
    is_map = values.ndim == 3
    maps = values if is_map else values.reshape(1, -1, 1)
    n_maps, height, width = maps.shape
    table = dict(weights or {})
    if table or not is_map:
        numbers = {"channel": np.arange(n_maps)} if is_map else {"feature": np.arange(height)}
        table = {**numbers, **table}
    left = len(table) + (is_map and bool(table))  # an empty column between the table and the maps
    abreast = max(1, ABREAST // (width + 1))
    corners = tuple((TOP + k // abreast * (height + 2), left + k % abreast * (width + 1)) for k in range(n_maps))
    blocks = [
        Block(TOP, at, column[:, np.newaxis], "count" if column.dtype.kind == "i" else "weights")
        for at, column in enumerate(table.values())
    ]
    blocks += [
        Block(row, column, maps[k], look, formula and partial(formula, k)) for k, (row, column) in enumerate(corners)
    ]
    titles = [Text(TOP - 1, at, HEADERS.get(key, key), "header") for at, key in enumerate(table)]
    if is_map:
        titles += [Text(row - 1, column, f"channel {k}", "title") for k, (row, column) in enumerate(corners)]
    else:
        titles.append(Text(TOP - 1, left, "value", "header"))
    return Sheet(
        name,
        tuple(blocks),
        (*head(name, about, step), *titles),
        step,
        values,
        corners,
        width=4.2 if values.dtype == np.uint8 else 8.0,
        height=24.0 if is_map else 15.0,
        zoom=80 if is_map else 100,
    )


HEADERS = {"running_mean": "mean", "running_var": "variance"}


def lay_out_conv(step: "Step", name: str, sources: list[Sheet]) -> Sheet:
    """Lay out a convolution: a band for each output channel, with its kernels, its bias and its map."""
    (source,) = sources
    kernels = with_holes(step.weights["weight"], step.settings["dilation"])
    n_maps, n_inputs, kernel_height, kernel_width = kernels.shape
    # A kernel of a later group looks at later inputs.
    firsts = [k * step.settings["groups"] // n_maps * n_inputs for k in range(n_maps)]
    pitch = kernel_width + 1
    bias_column = n_inputs * pitch
    band = max(step.output.shape[1], kernel_height) + 2
    corners = tuple((TOP + k * band, bias_column + 2) for k in range(n_maps))

    def formula(k: int, row: int, column: int) -> str:
        top, left, bottom, right = window(step, row, column)
        if top >= bottom or left >= right:  # nothing but padding
            terms = []
        else:
            # Where the kernel's own first cell lies on its sheet, less where the patch begins.
            down = corners[k][0] - row * step.settings["stride"][0] + step.settings["padding"][0]
            across = step.settings["padding"][1] - column * step.settings["stride"][1]
            terms = [
                f"SUMPRODUCT({source.within(firsts[k] + i, top, left, bottom, right)},"
                f"{area(top + down, left + across + i * pitch, bottom + down, right + across + i * pitch, fixed=True)})"
                for i in range(n_inputs)
            ]
        if "bias" in step.weights:
            terms.append(cell(corners[k][0], bias_column, fixed=True))
        return "=" + ("+".join(terms) or "0")

    blocks, titles = [], []
    for k, (top, left) in enumerate(corners):
        for i in range(n_inputs):
            blocks.append(Block(top, i * pitch, kernels[k, i], "weights"))
            titles.append(Text(top - 1, i * pitch, f"kernel {k}, input {firsts[k] + i}", "title"))
        if "bias" in step.weights:
            blocks.append(Block(top, bias_column, step.weights["bias"][k].reshape(1, 1), "weights"))
            titles.append(Text(top - 1, bias_column, "bias", "title"))
        blocks.append(Block(top, left, step.output[k], "numbers", partial(formula, k)))
        titles.append(Text(top - 1, left, f"channel {k}", "title"))
    texts = (*head(name, ABOUT["conv"], step), *titles)
    return Sheet(name, tuple(blocks), texts, step, step.output, corners, height=24.0, zoom=80)


def with_holes(kernels: Numbers, dilation: tuple[int, int]) -> Numbers:
    """Write zeros between the weights of dilated kernels, so that each is laid on a patch without holes."""
    height, width = ((size - 1) * step + 1 for size, step in zip(kernels.shape[2:], dilation, strict=True))
    dilated = np.zeros((*kernels.shape[:2], height, width), kernels.dtype)
    dilated[:, :, :: dilation[0], :: dilation[1]] = kernels
    return dilated


def lay_out_dense(step: "Step", name: str, sources: list[Sheet]) -> Sheet:
    """Lay out a dense layer: the inputs as a row above the matrix of weights, the outputs to the left of it."""
    (source,) = sources
    n_outputs, n_inputs = step.weights["weight"].shape
    inputs, first = TOP, TOP + 2  # rows of the inputs and of the first output
    numbers = [
        Block(first, 0, np.arange(n_outputs)[:, np.newaxis], "count"),
        Block(TOP - 1, 3, np.arange(n_inputs)[np.newaxis], "count"),
    ]
    weights = [Block(first, 3, step.weights["weight"], "weights")]
    if "bias" in step.weights:
        weights.append(Block(first, 2, step.weights["bias"][:, np.newaxis], "weights"))

    def formula(row: int, _: int) -> str:
        row += first
        bias = f"+{cell(row, 2)}" if "bias" in step.weights else ""
        patch = area(inputs, 3, inputs + 1, 3 + n_inputs, fixed=True)
        return f"=SUMPRODUCT({patch},{area(row, 3, row + 1, 3 + n_inputs)}){bias}"

    values = [
        Block(inputs, 3, step.input[np.newaxis], "numbers", lambda _, column: f"={source.at(0, column, 0)}"),
        Block(first, 1, step.output[:, np.newaxis], "numbers", formula),
    ]
    titles = [Text(inputs, 2, "input", "title"), Text(TOP - 1, 2, "feature", "title")]
    titles += [Text(first - 1, at, title, "header") for at, title in enumerate(("feature", "value", "bias", "weights"))]
    texts = (*head(name, ABOUT["dense"], step), *titles)
    return Sheet(name, (*numbers, *weights, *values), texts, step, step.output, ((first, 1),), frozen=(first, 3))


def lay_out_softmax(trace: "Trace", step: "Step", name: str, sources: list[Sheet]) -> Sheet:
    """Lay out the softmax as a table of classes, with the prediction beside it."""
    (source,) = sources
    # A softmax in the middle of a network has features instead of classes.
    classes = trace.classes if step is trace.steps[-1] else np.arange(len(step.output))
    n = len(classes)
    logits, powers, shares = (area(TOP, column, TOP + n, column + 1, fixed=True) for column in (1, 2, 3))
    exponentials = np.exp(step.input.astype(float) - step.input.max())
    blocks = (
        Block(TOP, 1, step.input[:, np.newaxis], "numbers", lambda row, _: f"={source.at(0, row, 0)}"),
        Block(
            *(TOP, 2, exponentials[:, np.newaxis], "numbers"),
            lambda row, _: f"=EXP({cell(TOP + row, 1)}-MAX({logits}))",
        ),
        Block(TOP, 3, step.output[:, np.newaxis], "share", lambda row, _: f"={cell(TOP + row, 2)}/SUM({powers})"),
        Block(*SHARE, step.output.max().reshape(1, 1), "percent", lambda *_: f"=MAX({shares})"),
    )
    labels = area(TOP, 0, TOP + n, 1, fixed=True)
    winner = f"=INDEX({labels},MATCH(MAX({logits}),{logits},0))"
    texts = (
        *head(name, ABOUT["softmax"], step),
        *(Text(TOP - 1, at, title, "header") for at, title in enumerate(("class", "logit", "e^…", "probability"))),
        *(Text(TOP + k, 0, str(label), "label") for k, label in enumerate(classes.tolist())),
        Text(TOP, 5, "prediction"),
        Text(TOP + 1, 5, "probability"),
        Text(*LABEL, str(classes[step.input.argmax()]), "label", winner),
    )
    widths = {0: 18.0, 2: 12.0, 3: 12.0, 5: 14.0, 6: 18.0}
    return Sheet(name, blocks, texts, step, step.output, ((TOP, 3),), frozen=(TOP, 1), widths=widths)


def head(name: str, about: str, step: "Step | None") -> tuple[Text, ...]:
    """Write what stands at the top of a sheet."""
    heading = name if step is None else f"{step.name}: {step.description}, {shape(step.input)} → {shape(step.output)}"
    return (
        Text(0, 0, heading, "heading"),
        Text(1, 0, about),
        Text(2, 0, f"← {COVER}", "link", link=COVER),
    )


def find_answer(softmax: Sheet) -> tuple[str, str]:
    """Refer to the predicted label and to its probability."""
    return f"{quote(softmax.name)}!{cell(*LABEL)}", f"{quote(softmax.name)}!{cell(*SHARE)}"


def with_answer(sheet: Sheet, trace: "Trace", answer: tuple[str, str] | None) -> Sheet:
    """Write above numbers that are there to be changed what the network makes of them."""
    if sheet.step is not None or answer is None:
        return sheet
    label, share = answer
    text = f"Prediction: {trace.label} ({percent(trace.share)})"
    formula = f'="Prediction: "&{label}&" ("&FIXED(100*{share},{decimals_apart(share)},TRUE)&" %)"'
    return replace(sheet, texts=(*sheet.texts, Text(2, 4, text, "subheading", formula)))


def lay_out_cover(trace: "Trace", sheets: list[Sheet], answer: tuple[str, str] | None) -> Sheet:
    """Lay out the first sheet: what this is, the prediction, how to use it, and the layers."""
    texts = [
        Text(0, 0, "From numbers to a prediction, in live formulas", "heading"),
        Text(
            1, 0, "Each layer of a fitted network has a sheet; its cells are computed from those of the layer before."
        ),
    ]
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
        blocks += [
            Block(row + 2, 1, probability, "percent", lambda *_: f"={share}"),
            Block(row + 2, 2, probability, "percent"),
        ]
        row += 4
    inputs = " or ".join(f"“{sheet.name}”" for sheet in sheets if sheet.step is None)
    texts.append(Text(row, 0, "How to use it", "subheading"))
    texts += [Text(row + 1 + i, 0, line.format(inputs=inputs)) for i, line in enumerate(HOW_TO)]
    row += len(HOW_TO) + 2
    texts.append(Text(row, 0, "Sheets", "subheading"))
    titles = ("sheet", "what leaves it", "parameters", "multiply-adds", "layer")
    texts += [Text(row + 1, at, title, "header") for at, title in enumerate(titles)]
    row += 2
    for i, sheet in enumerate(sheets):
        step = sheet.step
        texts += [
            Text(row + i, 0, sheet.name, "link", link=sheet.name),
            Text(row + i, 1, shape(sheet.output), "label"),
            Text(row + i, 4, step.description if step else "numbers to change"),
        ]
        if step:
            blocks.append(Block(row + i, 2, np.array([[step.n_parameters, step.n_multiply_adds]]), "amount"))
    widths = {0: 20.0, 1: 18.0, 2: 18.0, 3: 18.0, 4: 44.0}
    return Sheet(COVER, tuple(blocks), tuple(texts), None, trace.image, (), frozen=(0, 0), widths=widths)


HOW_TO = (
    "1. Go to the sheet {inputs} and type another number into a cell.",
    "2. All that follows from it is computed anew, to the prediction. If not, allow editing and automatic calculation.",
    "3. Select a cell of a layer and press F2: its formula, and in colours the cells that it looks at.",
    "Channels, features, rows and columns are counted from 0, as in Python. Weights are the network's own, to the last",
    "digit. The network computes with 7 digits and a spreadsheet with 15, so the last digits shown may differ.",
)


def write_sheet(worksheet: Any, sheet: Sheet, formats: Mapping[str, Any]) -> None:
    """Hand one sheet to XlsxWriter."""
    n_columns = max(
        *(block.column + block.numbers.shape[1] for block in sheet.blocks), *(text.column + 1 for text in sheet.texts)
    )
    worksheet.hide_gridlines(2)
    worksheet.set_default_row(sheet.height)
    worksheet.set_zoom(sheet.zoom)
    worksheet.freeze_panes(*sheet.frozen)
    fractions = [block.numbers for block in sheet.blocks if block.numbers.dtype.kind == "f"]
    width = max((float(len(f"{-np.abs(numbers).max():.4f}")) for numbers in fractions), default=0.0)
    worksheet.set_column(0, n_columns - 1, max(sheet.width, width))
    for column, width in sheet.widths.items():
        worksheet.set_column(column, column, width)
    # Digits are labels where we say so, and a patch at the edge of a map is meant to be smaller.
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
            tell_apart(worksheet, block, formats)


def write_block(worksheet: Any, sheet: Sheet, block: Block, look: Any) -> None:
    """Write one number or formula after the other."""
    for i, row in enumerate(block.numbers.tolist()):
        for j, number in enumerate(row):
            at = block.row + i, block.column + j
            if block.formula is None:
                worksheet.write_number(*at, Exact(number), look)
                continue
            formula = block.formula(i, j)
            if len(formula) > N_LETTERS:
                raise ValueError(
                    f"Expected formulas of at most {N_LETTERS:,} letters, which is what Excel holds; a cell of sheet "
                    f"{sheet.name!r} needs {len(formula):,}. Choose other layers."
                )
            worksheet.write_formula(*at, formula, look, number)


class Exact(float):
    """A number that is written with all its digits; XlsxWriter would format it with sixteen, which can be too few."""

    def __format__(self, spec: str) -> str:
        """Write as many digits as it takes to read the same number again, whatever is asked for."""
        return repr(self)


def colour(worksheet: Any, sheet: Sheet, bright: Any) -> None:
    """Lay colours under numbers: grey for pixels, blue – white – orange around zero for all else, bars for shares."""
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for block in sheet.blocks:
        lows[block.look] = min(lows.get(block.look, 0.0), float(block.numbers.min()))
        highs[block.look] = max(highs.get(block.look, 0.0), float(block.numbers.max()))
    for block in sheet.blocks:
        height, width = block.numbers.shape
        where = (block.row, block.column, block.row + height - 1, block.column + width - 1)
        low, high = lows[block.look], highs[block.look]
        match block.look:
            case "pixels":
                if block.numbers.dtype == np.uint8:
                    low, high = 0, 255
                    worksheet.data_validation(*where, PIXEL_RULE)
                # On bright greys the number is black.
                worksheet.conditional_format(
                    *where, {"type": "cell", "criteria": ">", "value": low + 0.4 * (high - low), "format": bright}
                )
                worksheet.conditional_format(*where, {**GREYS, "min_value": low, "max_value": high})
            case "numbers" | "weights":
                reach = max(-low, high) or 1.0
                worksheet.conditional_format(*where, {**DIVERGING, "min_value": -reach, "max_value": reach})
            case "share":
                worksheet.conditional_format(*where, BAR)


def tell_apart(worksheet: Any, block: Block, formats: Mapping[str, Any]) -> None:
    """Give percentages the decimals that :func:`cnnclf.wording.percent` gives them, whatever the formulas come to."""
    height, width = block.numbers.shape
    where = (block.row, block.column, block.row + height - 1, block.column + width - 1)
    share = cell(block.row, block.column)
    rules = {f"=AND({share}>0,{share}<1E-8)": "tiny percent"}
    rules |= {f"={decimals_apart(share)}={n}": f"percent{n}" for n in MORE_DECIMALS}
    for criteria, name in rules.items():
        worksheet.conditional_format(*where, {"type": "formula", "criteria": criteria, "format": formats[name]})


def decimals_apart(share: str) -> str:
    """Write the formula for the decimals that tell the percentage in a cell from 0 % and 100 %, 2 or more."""
    distance = f"MIN({share},1-{share})"
    return f"IF({distance}>0,MAX(2,-INT(LOG10(200*{distance}))),2)"


PIXEL_RULE = {
    "validate": "decimal",
    "criteria": "between",
    "minimum": 0,
    "maximum": 255,
    "error_title": "A pixel",
    "error_message": "is a number from 0 (dark) to 255 (bright).",
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


def shape(array: Numbers) -> str:
    """Write a shape as one says it, 6×28×28."""
    return "×".join(map(str, array.shape))


def quote(sheet: str) -> str:
    """Write a sheet's name so that no formula takes it for anything else, such as a cell."""
    return f"'{sheet}'"


def area(top: int, left: int, bottom: int, right: int, *, fixed: bool = False) -> str:
    """Refer to a rectangle, C5:G9, or a single cell, C5; bottom and right are the first outside.

    Examples
    --------
    >>> area(4, 2, 9, 7), area(4, 2, 5, 3, fixed=True)
    ('C5:G9', '$C$5')
    """
    first, last = cell(top, left, fixed=fixed), cell(bottom - 1, right - 1, fixed=fixed)
    return first if first == last else f"{first}:{last}"


def cell(row: int, column: int, *, fixed: bool = False) -> str:
    """Refer to a cell, from its row and column counted from 0; a fixed reference stays when a formula is copied.

    Examples
    --------
    >>> cell(0, 0), cell(4, 27, fixed=True)
    ('A1', '$AB$5')
    """
    letters = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"${letters}${row + 1}" if fixed else f"{letters}{row + 1}"
