"""One layer as a sheet of a workbook: the place of its numbers, and the formula of each cell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnclf.inspection._geometry import Window, look_back, unit_region, unravel
from cnnclf.inspection._records import POOLINGS, StepRecord, shape_of

N_ROWS, N_COLUMNS = 1_048_576, 16_384  # Excel's own limits
LARGEST_POWER = 700  # of e, below Excel's own limit of 709

COVER = "read me first"
LABEL, SHARE = (5, 6), (6, 6)  # where the prediction and its probability are on the softmax's sheet
TOP = 5  # row of the first numbers; above them a heading, what the layer does, a way back, a gap and the titles
ABREAST = 64  # columns for maps side by side, unless one map is wider

# The sentence at the top of each sheet; a layer of another kind has no formula.
ABOUT = {
    "standardise": "Each pixel minus the training mean of its channel, over the standard deviation; 0 if that is 0.",
    "conv": "Each cell: the sum of a patch of the layer before times the kernels on the left, plus the bias.",
    "norm": "Each cell minus the mean, over √(variance + ε), times the weight, plus the bias of its channel.",
    "relu": "Each cell, or 0 if it is negative.",
    "leaky_relu": "Each cell, times the slope if it is negative.",
    "gelu": "Each cell x as x·Φ(x), Φ the distribution function of the normal distribution.",
    "silu": "Each cell x as x/(1 + e^-x).",
    "sigmoid": "Each cell x as 1/(1 + e^-x).",
    "tanh": "The hyperbolic tangent of each cell.",
    "max_pool": "The largest number of each window.",
    "avg_pool": "The mean of each window.",
    "global_max_pool": "The largest number of each channel.",
    "global_avg_pool": "The mean of each channel.",
    "dropout": "The numbers do not change when the network predicts.",
    "flatten": "The maps, one number below the other.",
    "dense": "Each output: the sum of the inputs above times the weights on the right, plus the bias.",
    "residual": "The output of the residual branch plus that of the shortcut.",
    "softmax": "e to the power of each logit, as a share of their sum; the largest logit is subtracted first.",
}
HEADERS = {"running_mean": "mean", "running_var": "variance"}
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
        The values that the cells show until something is changed.
    look : str
        One of ``LOOKS``.
    formula : callable (row, column) -> str, optional
        The formula of each cell, counted from the block's corner; by default cells hold the numbers themselves.
    """

    row: int
    column: int
    numbers: Numbers
    look: str
    formula: Formula | None = None

    @property
    def where(self) -> tuple[int, int, int, int]:
        """The row and column of its first cell and of its last one."""
        height, width = self.numbers.shape
        return self.row, self.column, self.row + height - 1, self.column + width - 1


@dataclass(frozen=True)
class Text:
    """Text in a cell, perhaps the result of a formula, or a link to another sheet."""

    row: int
    column: int
    text: str
    look: str = "text"
    formula: str = ""
    link: str = ""


@dataclass(frozen=True, eq=False)
class Sheet:
    """The content of one sheet.

    Attributes
    ----------
    name : str
        As on its tab.
    blocks : tuple of Block
        The numbers.
    texts : tuple of Text
        The words.
    step : StepRecord, optional
        The layer on this sheet.
    output : ndarray of shape (channels, height, width) or (features,)
        The input of the next layer.
    corners : tuple of (row, column)
        Where the output begins: one rectangle per channel, or one column of features.
    frozen : (int, int)
        Rows and columns that stay in place when the sheet is scrolled.
    widths : mapping of int to float
        Widths of single columns, in letters.
    width, height : float
        Width of all other columns, in letters, and height of the rows, in points.
    zoom : int
        Zoom in per cent.
    """

    name: str
    blocks: tuple[Block, ...]
    texts: tuple[Text, ...]
    step: StepRecord | None
    output: Numbers
    corners: tuple[tuple[int, int], ...]
    frozen: tuple[int, int] = (TOP - 2, 0)
    widths: Mapping[int, float] = field(default_factory=dict)
    width: float = 8.0
    height: float = 15.0
    zoom: int = 100

    @property
    def size(self) -> int:
        """How many numbers there are, apart from indices."""
        return sum(block.numbers.size for block in self.blocks if block.look != "count")

    @property
    def extent(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        rows, columns = zip(*(b.where[2:] for b in self.blocks), *((t.row, t.column) for t in self.texts), strict=True)
        return max(rows) + 1, max(columns) + 1

    def at(self, channel: int, row: int, column: int) -> str:
        """Return the reference from another sheet to one value of the output."""
        return self.within(channel, row, column, row + 1, column + 1)

    def within(self, channel: int, top: int, left: int, bottom: int, right: int) -> str:
        """Return the reference from another sheet to a window of one channel, without bottom and right."""
        row, column = self.corners[channel]
        return f"{quote(self.name)}!{area(row + top, column + left, row + bottom, column + right)}"


def lay_out_input(step: StepRecord, name: str) -> Sheet:
    """Lay out plain numbers: the pixels, or the output of a layer that is not in the workbook."""
    look = "pixels" if name == "image" else "numbers"
    return lay_out_maps(name, step.input, look, f"Type another number into any cell: {step.name} is computed from it.")


def lay_out_layer(step: StepRecord, name: str, sources: list[Sheet], classes: Numbers) -> Sheet:
    """Lay out a layer, with references to the sheets of its inputs; a softmax has the labels of the classes."""
    match step.kind:
        case "conv":
            return lay_out_conv(step, name, sources[0])
        case "dense":
            return lay_out_dense(step, name, sources[0])
        case "softmax":
            return lay_out_softmax(step, name, sources[0], classes)
    return lay_out_cells(step, name, sources)


def lay_out_cells(step: StepRecord, name: str, sources: list[Sheet]) -> Sheet:
    """Lay out a layer whose cells each come from a cell or a window of the layer before."""
    weights = {key: array.ravel() for key, array in step.weights.items()}
    if step.kind == "flatten" and step.input.ndim == 3:
        weights = dict(zip(("channel", "row", "column"), np.indices(step.input.shape).reshape(3, -1), strict=True))
    # The table of weights has one row per channel or per feature; see lay_out_maps.
    is_map = step.output.ndim == 3
    columns = dict(zip(weights, range(1, 1 + len(weights)), strict=True))

    def formula(channel: int, row: int, column: int) -> str:
        line = TOP + (channel if is_map else row)
        w = {key: cell(line, at, fixed=True) for key, at in columns.items()}
        return cell_formula(step, sources, w, channel, row, column)

    return lay_out_maps(name, step.output, "numbers", ABOUT[step.kind], step, formula, weights)


def cell_formula(
    step: StepRecord, sources: list[Sheet], weights: Mapping[str, str], channel: int, row: int, column: int
) -> str:
    """Return the formula of one cell, with references to the layer before and to the layer's own weights."""
    (source, *others) = sources
    match step.kind:
        case kind if kind in POOLINGS:
            function = "MAX" if kind in ("max_pool", "global_max_pool") else "AVERAGE"
            (top, bottom), (left, right) = look_back(step, unit_region((row, column)))
            return f"={function}({source.within(channel, top, left, bottom, right)})"
        case "flatten" if step.input.ndim == 3:
            return f"={source.at(*unravel(row, step.input.shape))}"
    x = source.at(channel, row, column)
    match step.kind:
        case "standardise":
            varied = step.weights["std"][channel].item() > 0
            return f"=({x}-{weights['mean']})/{weights['std']}" if varied else f"=0*({x}-{weights['mean']})"
        case "norm":
            epsilon = repr(step.settings["eps"]).upper()
            scale = f"*{weights['weight']}" if "weight" in weights else ""
            shift = f"+{weights['bias']}" if "bias" in weights else ""
            return f"=({x}-{weights['running_mean']})/SQRT({weights['running_var']}+{epsilon}){scale}{shift}"
        case "relu":
            return f"=MAX(0,{x})"
        case "leaky_relu":
            return f"=IF({x}<0,{step.settings['slope']!r},1)*{x}"
        case "gelu":
            return f"={x}*NORMSDIST({x})"
        case "silu" | "sigmoid":
            return f"={x if step.kind == 'silu' else 1}/(1+EXP(MIN({LARGEST_POWER},-{x})))"
        case "tanh":
            return f"=TANH({x})"
        case "residual":
            return f"={x}+{others[0].at(channel, row, column)}"
    return f"={x}"


def lay_out_maps(
    name: str,
    values: Numbers,
    look: str,
    about: str,
    step: StepRecord | None = None,
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
    blocks, titles = [], []
    for at, (key, column) in enumerate(table.items()):
        blocks.append(Block(TOP, at, column[:, np.newaxis], "count" if column.dtype.kind == "i" else "weights"))
        titles.append(Text(TOP - 1, at, HEADERS.get(key, key), "header"))
    for k, (row, first) in enumerate(corners):
        blocks.append(Block(row, first, maps[k], look, formula and partial(formula, k)))
        title = (row - 1, first, f"channel {k}", "title") if is_map else (TOP - 1, left, "value", "header")
        titles.append(Text(*title))
    texts = (*head(name, about, step), *titles)
    height, zoom = (24.0, 80) if is_map else (15.0, 100)
    width = 4.2 if values.dtype == np.uint8 else 8.0
    return Sheet(name, tuple(blocks), texts, step, values, corners, width=width, height=height, zoom=zoom)


def lay_out_conv(step: StepRecord, name: str, source: Sheet) -> Sheet:
    """Lay out a convolution: a band for each output channel, with its kernels, its bias and its map."""
    kernels = with_holes(step.weights["weight"], step.settings["dilation"])
    n_maps, n_inputs, kernel_height, kernel_width = kernels.shape
    # A kernel of a later group looks at later inputs.
    firsts = [k * step.settings["groups"] // n_maps * n_inputs for k in range(n_maps)]
    pitch = kernel_width + 1
    bias_column = n_inputs * pitch
    band = max(step.output.shape[1], kernel_height) + 2
    corners = tuple((TOP + k * band, bias_column + 2) for k in range(n_maps))

    def formula(k: int, row: int, column: int) -> str:
        (top, bottom), (left, right) = look_back(step, unit_region((row, column)))
        if top >= bottom or left >= right:  # nothing but padding
            terms = []
        else:
            first_row, first_column = Window.of(step.settings).corner((row, column))
            # From a cell of the input to the weight of the kernel that it is multiplied by.
            down, across = corners[k][0] - first_row, -first_column
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
    """Return dilated kernels with zeros between their weights, so that they cover a patch without holes."""
    height, width = ((size - 1) * step + 1 for size, step in zip(kernels.shape[2:], dilation, strict=True))
    dilated = np.zeros((*kernels.shape[:2], height, width), kernels.dtype)
    dilated[:, :, :: dilation[0], :: dilation[1]] = kernels
    return dilated


def lay_out_dense(step: StepRecord, name: str, source: Sheet) -> Sheet:
    """Lay out a dense layer: the inputs as a row above the matrix of weights, the outputs to the left of it."""
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


def lay_out_softmax(step: StepRecord, name: str, source: Sheet, classes: Numbers) -> Sheet:
    """Lay out the softmax as a table of classes, with the prediction beside it."""
    n = len(classes)
    logits, powers, shares = (area(TOP, column, TOP + n, column + 1, fixed=True) for column in (1, 2, 3))
    exponentials = np.exp(step.input.astype(float) - step.input.max())[:, np.newaxis]
    blocks = (
        Block(TOP, 1, step.input[:, np.newaxis], "numbers", lambda row, _: f"={source.at(0, row, 0)}"),
        Block(TOP, 2, exponentials, "numbers", lambda row, _: f"=EXP({cell(TOP + row, 1)}-MAX({logits}))"),
        Block(TOP, 3, step.output[:, np.newaxis], "share", lambda row, _: f"={cell(TOP + row, 2)}/SUM({powers})"),
        Block(*SHARE, step.output.max().reshape(1, 1), "percent", lambda *_: f"=MAX({shares})"),
    )
    labels = area(TOP, 0, TOP + n, 1, fixed=True)
    predicted = f"=INDEX({labels},MATCH(MAX({logits}),{logits},0))"
    texts = (
        *head(name, ABOUT["softmax"], step),
        *(Text(TOP - 1, at, title, "header") for at, title in enumerate(("class", "logit", "e^…", "probability"))),
        *(Text(TOP + k, 0, str(label), "label") for k, label in enumerate(classes.tolist())),
        Text(TOP, 5, "prediction"),
        Text(TOP + 1, 5, "probability"),
        Text(*LABEL, str(classes[step.input.argmax()]), "label", predicted),
    )
    widths = {0: 18.0, 2: 12.0, 3: 12.0, 5: 14.0, 6: 18.0}
    return Sheet(name, blocks, texts, step, step.output, ((TOP, 3),), frozen=(TOP, 1), widths=widths)


def find_answer(softmax: Sheet) -> tuple[str, str]:
    """Return references to the predicted label and to its probability."""
    return f"{quote(softmax.name)}!{cell(*LABEL)}", f"{quote(softmax.name)}!{cell(*SHARE)}"


def head(name: str, about: str, step: StepRecord | None) -> tuple[Text, ...]:
    """Return the heading, the sentence and the link at the top of a sheet."""
    if step is not None:
        name = f"{step.name}: {step.description}, {shape_of(step.input)} → {shape_of(step.output)}"
    return (Text(0, 0, name, "heading"), Text(1, 0, about), Text(2, 0, f"← {COVER}", "link", link=COVER))


def decimals_apart(share: str) -> str:
    """Return the formula for the decimals, at least 2, that distinguish a percentage from 0 % and 100 %."""
    distance = f"MIN({share},1-{share})"
    return f"IF({distance}>0,MAX(2,-INT(LOG10(200*{distance}))),2)"


def quote(sheet: str) -> str:
    """Return a sheet's name in quotes, so that no formula takes it for a cell."""
    return f"'{sheet}'"


def cell(row: int, column: int, *, fixed: bool = False) -> str:
    """Return the reference to a cell; a fixed one stays as it is when a formula is copied."""
    return area(row, column, row + 1, column + 1, fixed=fixed)


def area(top: int, left: int, bottom: int, right: int, *, fixed: bool = False) -> str:
    """Return the reference to a rectangle, C5:G9, or a single cell, C5, without bottom and right.

    Examples
    --------
    >>> area(4, 2, 9, 7), area(4, 2, 5, 3, fixed=True)
    ('C5:G9', '$C$5')
    """
    from xlsxwriter.utility import xl_range, xl_range_abs  # an extra, which write() asks for

    reference: str = (xl_range_abs if fixed else xl_range)(top, left, bottom - 1, right - 1)
    return reference
