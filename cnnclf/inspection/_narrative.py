"""A trace as text: for the terminal, as Markdown, as LaTeX.

One walk through the trace tells the story in records; three small renderers write them down. The same trace gives the
same bytes.
"""

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.tables import aligned
from cnnclf._utils.text import percent, share_of

if TYPE_CHECKING:
    from cnnclf.inspection._arithmetic import Explanation
    from cnnclf.inspection._trace import Step, Trace

DECIMALS = 4  # of worked arithmetic
MATRIX_DECIMALS = 2  # of maps that are not whole numbers
LARGEST_MAP = (12, 12)  # rows and columns of a map that are written out, around its largest value
LARGEST_IMAGE = (32, 32)  # the same for the image and for kernels
MATRIX_WIDTH = 98  # characters
PICTURE_WIDTH = 28  # pixels
N_PICTURES = 4  # channels shown beside each other
N_PARTS = 6  # of a sum that are written out; the others are added up
MOST_LINES = 12  # of arithmetic, before a sum is told by its largest parts
MOST_CLASSES = 20
BAR = 30  # characters that a probability of 1 fills
LINE = 110  # characters of a line of text
MOST_UNKNOWN = 5  # layers that are named at the top
LABEL = 40  # characters of a label or name
GAP = 3  # characters between what stands side by side


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Arithmetic:
    """Equations, each true as printed."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; ``align`` has one of l and r for each column."""

    align: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Matrix:
    """Numbers as printed, with the names of rows and columns where they are not all there, and perhaps one marked."""

    caption: str
    cells: tuple[tuple[str, ...], ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    marked: tuple[int, int] | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels, each between 0, blank, and 1, full ink."""

    caption: str
    ink: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Beside:
    """Matrices and pictures side by side."""

    blocks: tuple[Matrix | Picture, ...]


Item = Paragraph | Arithmetic | Table | Beside


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; ``depth`` counts the blocks it is inside."""

    heading: str
    items: tuple[Item, ...]
    depth: int = 0


def to_text(trace: "Trace") -> str:
    """Write a trace for the terminal.

    Parameters
    ----------
    trace : Trace
        What ``clf.trace(image)`` gives.

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
    title, *sections = tell(trace)
    return "\n".join([*text_section(title, "="), *(line for section in sections for line in text_section(section))])


def to_markdown(trace: "Trace") -> str:
    """Write a trace as Markdown.

    Parameters
    ----------
    trace : Trace
        What ``clf.trace(image)`` gives.

    Returns
    -------
    str
        As GitHub renders it: headings, tables, and fenced blocks for whatever has to stand aligned.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    >>> print(to_markdown(clf.trace(X[0]))[:36])
    # From 1×8×8 pixels to a prediction:
    """
    title, *sections = tell(trace)
    return "\n\n".join([*markdown_section(title, 1), *(b for s in sections for b in markdown_section(s, 2))]) + "\n"


def to_latex(trace: "Trace") -> str:
    r"""Write a trace as a LaTeX document.

    Parameters
    ----------
    trace : Trace
        What ``clf.trace(image)`` gives.

    Returns
    -------
    str
        A whole document for ``pdflatex``; it needs no more than a basic TeX Live. A character that pdflatex does not
        know, as may be in a label, is given as its code point.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    >>> print(to_latex(clf.trace(X[0])).splitlines()[0])
    \documentclass[10pt,a4paper]{article}
    """
    title, *sections = tell(trace)
    body = [*latex_section(title, r"\section*"), *(line for section in sections for line in latex_section(section))]
    return "\n\n".join([LATEX_HEAD, *body, r"\end{document}"]) + "\n"


def tell(trace: "Trace") -> tuple[Section, ...]:
    """Turn a trace into the sections of its story, the title first."""
    steps = [tell_step(trace, step, depth) for depth, step in nested(trace.steps)]
    numbered = [replace(section, heading=f"{n}. {section.heading}") for n, section in enumerate(steps, start=1)]
    return (tell_title(trace), tell_image(trace), *numbered, *tell_decision(trace))


def nested(steps: Iterable["Step"], depth: int = 0) -> Iterator[tuple[int, "Step"]]:
    """Give every step with the number of blocks it is inside, a block before what is inside it."""
    for step in steps:
        yield depth, step
        yield from nested(step.steps, depth + 1)


def tell_title(trace: "Trace") -> Section:
    """Say what the network says, and through which layers the image goes."""
    order = np.argsort(-trace.logits, kind="stable")[:2]
    (first, share), *second = [
        (plain(trace.classes[i]), percent(share_of(trace.probabilities.tolist(), int(i)))) for i in order
    ]
    runner_up = "".join(f"; next comes {label} with {percentage}" for label, percentage in second)
    steps = list(nested(trace.steps))
    layers = [
        (plain(s.name), s.description, shape(s.output), f"{s.n_parameters:,}", f"{s.n_multiply_adds:,}")
        for _, s in steps
    ]
    parameters, products = (
        sum(getattr(step, key) for step in trace.steps) for key in ("n_parameters", "n_multiply_adds")
    )
    return Section(
        f"From {shape(trace.image)} pixels to a prediction: {first}",
        (
            *draw(trace.image),
            Paragraph(
                f"The network takes this image for {first} and is {share} sure{runner_up}. {caveat(trace)}"
                "This is how it gets there, layer by layer:"
            ),
            Table(
                "llrrr",
                ("layer", "what it is", "output", "parameters", "multiply-adds"),
                (*layers, ("all together", "", "", f"{parameters:,}", f"{products:,}")),
            ),
            Paragraph(
                "How to read it. Channels, rows, columns and features are counted from 0; shapes are channels×height×"
                f"width. A dot stands for exactly 0. Arithmetic is shown to {DECIMALS} decimals and adds up on paper: "
                "where rounded numbers alone would miss the result, a term marked (rounding) closes the gap. "
                "In pictures, the more ink the larger the number. The marked cell of a matrix is worked out below it; "
                "trace[layer].explain(channel, row, column) works out any other."
            ),
        ),
    )


def caveat(trace: "Trace") -> str:
    """Say which layers are not worked out, with a blank behind it; nothing where all are."""
    names = [f"{plain(step.name)} ({plain(step.description)})" for step in trace.unknown]
    if not names:
        return ""
    shown = ", ".join(names[:MOST_UNKNOWN]) + (
        f" and {len(names) - MOST_UNKNOWN} more" if len(names) > MOST_UNKNOWN else ""
    )
    one = len(names) == 1
    return (
        f"Not all arithmetic is worked out: {'layer' if one else 'layers'} {shown} {'is' if one else 'are'} not known "
        f"here, and {'its' if one else 'their'} numbers are shown as they were recorded. "
    )


def tell_image(trace: "Trace") -> Section:
    """Show the raw pixels."""
    return Section("The image: raw pixels", tuple(maps(trace.image, LARGEST_IMAGE)))


def tell_step(trace: "Trace", step: "Step", depth: int) -> Section:
    """Tell what one layer does and what comes out of it, and work out the largest number that does."""
    counts = (
        f" {step.n_parameters:,} parameters" * (step.n_parameters > 0)
        + f", {step.n_multiply_adds:,} multiply-adds" * (step.n_multiply_adds > 0)
        + "." * (step.n_parameters > 0)
    )
    items: list[Item] = [Paragraph(SENTENCES[step.kind](step) + counts)]
    if sizes := output_sizes(step):
        items.append(Arithmetic(sizes))
    if step.kind in PICTURED:
        items += draw(step.output)
    if step.kind in WRITTEN_OUT and (step.kind, step.output.ndim) != ("relu", 1):  # a row stands before it already
        items += maps(step.output, LARGEST_MAP)
    items += work_out(trace, step)
    shapes = f"{shape(step.input)} → {shape(step.output)}"
    return Section(f"{plain(step.name)} – {plain(step.description)}, {shapes}", tuple(items), depth)


PICTURED = ("conv", "relu", "residual", "unknown")
WRITTEN_OUT = (*PICTURED, "max_pool", "avg_pool", "global_avg_pool", "dense")

# What each kind of layer does, to someone who has never seen one.
SENTENCES: dict[str, Callable[["Step"], str]] = {
    "standardise": lambda step: (
        "Every pixel becomes (pixel - mean)/(standard deviation), both learnt from the training images"
        f"{'; 0 in a channel that never varied there' * bool((step.weights['std'] == 0).any())}."
    ),
    "conv": lambda step: (
        f"{step.output.shape[0]} kernels of {shape(step.weights['weight'][0])} numbers. A kernel is laid on every "
        f"place of the input; the products of the numbers that then lie on each other are added up"
        f"{', and a bias' * ('bias' in step.weights)}."
    ),
    "norm": lambda step: (
        "x becomes (x - μ)/√(σ² + ε)×γ + β, with four numbers learnt for each channel: mean μ, variance σ², scale γ "
        "and shift β. The last line does the same in one multiplication and one addition."
    ),
    "relu": lambda step: (
        f"Negative numbers become 0, all others stay: {np.count_nonzero(step.output):,} of "
        f"{step.output.size:,} are not 0."
    ),
    "max_pool": lambda step: f"Of every {size(step)} window only the largest number goes on.",
    "avg_pool": lambda step: f"Every {size(step)} window becomes its mean.",
    "global_avg_pool": lambda step: "Every channel becomes one number, its mean.",
    "dropout": lambda step: (
        f"What comes in goes on unchanged{'; dropout works in training only' * step.description.startswith('Dropout')}."
    ),
    "flatten": lambda step: (
        f"All maps, channel after channel and row after row, become one row of {step.output.size:,} features."
    ),
    "dense": lambda step: (
        f"Each of the {step.output.size:,} numbers that come out is a sum of all {step.input.size:,} that come in, "
        f"each times a weight of its own{', plus a bias' * ('bias' in step.weights)}."
    ),
    "softmax": lambda step: (
        "e to the power of each logit, divided by the sum of them all: numbers between 0 and 1 that add up to 1."
    ),
    "block": lambda step: f"A block of {len(step.steps)} layers, one after the other.",
    "residual": lambda step: (
        "A residual block: what leaves the last of its layers is added to what came in"
        f"{', sent through the shortcut' * (step.steps[-1].kind != 'dropout')}."
    ),
    "unknown": lambda step: (
        "Not recomputed: the arithmetic of this layer is not known here. Its values are shown as they are."
    ),
}


def size(step: "Step") -> str:
    """Write the size of a pooling window, "2×2"."""
    return "×".join(map(str, step.settings["window"]))


def output_sizes(step: "Step") -> tuple[str, ...]:
    """Fill in the formula for the height and width of what leaves a convolution or a pooling.

    References
    ----------
    Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, relationships 6 and 15.
    """
    if step.kind not in ("conv", "max_pool", "avg_pool"):
        return ()
    settings = step.settings
    window = settings["kernel"] if step.kind == "conv" else settings["window"]
    dilation = settings.get("dilation", (1, 1))
    lines = [
        f"⌊({before} + 2×{padding} - {d}×({k} - 1) - 1) / {stride}⌋ + 1 = {after}"
        if d > 1
        else f"⌊({before} + 2×{padding} - {k}) / {stride}⌋ + 1 = {after}"
        for before, padding, d, k, stride, after in zip(
            step.input.shape[1:],
            settings["padding"],
            dilation,
            window,
            settings["stride"],
            step.output.shape[1:],
            strict=True,
        )
    ]
    if lines[0] == lines[1]:
        return (f"height and width: {lines[0]}",)
    return f"height: {lines[0]}", f"width: {lines[1]}"


def work_out(trace: "Trace", step: "Step") -> list[Item]:
    """Work out the largest number that leaves a layer."""
    if step.kind in ("dropout", "block", "unknown"):
        return []
    cell = peak(step.output)
    if step.kind == "flatten":
        return flatten_place(step, cell)
    explanation = step.explain(*cell)
    if step.kind == "softmax":
        labels = [plain(label) for label in trace.classes] if step is trace.steps[-1] else range(len(step.output))
        return work_softmax(step, explanation, list(map(str, labels)))
    axes = AXES.get(len(cell), ("index",) * len(cell))
    place = ", ".join(f"{axis} {index}" for axis, index in zip(axes, cell, strict=True))
    announced = Paragraph(f"The largest of all, {place}, worked out:")
    if step.kind == "conv":
        return [announced, *work_conv(step, explanation)]
    if step.kind == "dense":
        return [announced, Arithmetic(work_dense(explanation))]
    lines = explanation.lines(DECIMALS)
    return [announced, Arithmetic(lines if len(lines) <= MOST_LINES else lines[-1:])]


AXES = {1: ("feature",), 2: ("row", "column"), 3: ("channel", "row", "column")}


def flatten_place(step: "Step", cell: tuple[int, ...]) -> list[Item]:
    """Say where the largest feature comes from."""
    if step.input.ndim != 3:
        return []
    _, height, width = step.input.shape
    channel, row, column = np.unravel_index(cell[0], step.input.shape)
    return [
        Paragraph(
            f"Channel c, row i, column j becomes feature c×{height * width} + i×{width} + j. The largest comes from "
            f"channel {channel}, row {row}, column {column}:"
        ),
        Arithmetic((f"{channel}×{height * width} + {row}×{width} + {column} = {cell[0]}",)),
    ]


def work_conv(step: "Step", explanation: "Explanation") -> list[Item]:
    """Lay the kernel on its patch and add up: all channels, or where they are many the strongest and then the sums."""
    cell = explanation.cell
    n_channels, height, width = explanation.shape
    channels = batched(explanation.terms, height * width)
    sums = [math.fsum(term.product for term in terms) for terms in channels]
    (strongest,) = largest(sums, 1)
    terms = channels[strongest]
    first = cell[0] * step.settings["groups"] // step.output.shape[0] * n_channels  # channel of this group
    top, left = (
        place * stride - padding
        for place, stride, padding in zip(cell[1:], step.settings["stride"], step.settings["padding"], strict=True)
    )
    down, right = step.settings["dilation"]
    patch = matrix(
        f"patch of channel {first + strongest}",
        numbers(np.reshape([term.value for term in terms], (height, width)), DECIMALS),
        range(top, top + down * height, down),
        range(left, left + right * width, right),
        limits=LARGEST_IMAGE,
    )
    kernel = matrix(
        f"kernel {cell[0]} for channel {first + strongest}",
        numbers(np.reshape([term.weight for term in terms], (height, width)), DECIMALS),
        range(height),
        range(width),
        limits=LARGEST_IMAGE,
    )
    pair = Beside((patch, kernel))
    cut = left_out(kernel, height, width)
    lines = explanation.lines(DECIMALS)
    if n_channels == 1 or len(lines) <= MOST_LINES:
        return [*[Paragraph(f"Kernel of {height}×{width}{cut}:")] * bool(cut), pair, Arithmetic(lines)]
    part = replace(explanation, terms=terms, shape=(1, height, width), bias=None, value=sums[strongest])
    summands = gather([(value, f"channel {first + i}") for i, value in enumerate(sums)], explanation.bias)
    return [
        Paragraph(f"Of the {n_channels} channels that come in, channel {first + strongest} counts most{cut}:"),
        pair,
        Arithmetic(part.lines(DECIMALS)),
        Paragraph("All channels together:"),
        Arithmetic((sum_up(summands, explanation.value),)),
    ]


def work_dense(explanation: "Explanation") -> tuple[str, ...]:
    """Write out the products that count most, and add up all."""
    products = [term.product for term in explanation.terms]
    lines = []
    for i in largest(products, N_PARTS):
        part = replace(explanation, terms=explanation.terms[i : i + 1], shape=(1,), bias=None, value=products[i])
        lines.append(f"feature {i}: {part.lines(DECIMALS)[0]}")
    summands = gather([(product, f"feature {i}") for i, product in enumerate(products)], explanation.bias)
    return *lines, sum_up(summands, explanation.value)


def work_softmax(step: "Step", explanation: "Explanation", labels: Sequence[str]) -> list[Item]:
    """List logits, exponentials and probabilities of the likeliest classes, and work out the first."""
    order = largest(explanation.parts["exponentials"], len(labels))
    shown, hidden = order[:MOST_CLASSES], order[MOST_CLASSES:]
    shares = step.output.tolist()
    probabilities = [share_of(shares, i) for i in range(len(shares))]
    rows = [
        (
            labels[i],
            fixed(step.input[i].item()),
            brief(explanation.parts["exponentials"][i]),
            percent(probabilities[i]),
            bar(probabilities[i]),
        )
        for i in shown
    ]
    if hidden:
        rest = math.fsum(probabilities[i] for i in hidden)
        rows.append((f"the other {len(hidden):,}", "", "", percent(rest), bar(rest)))
    table = Table("lrrrl", ("class", "logit", "exp(logit - largest)", "probability", ""), tuple(rows))
    lines = explanation.lines(DECIMALS)  # one a class, those of the sum, and the quotient
    sums = lines[len(labels) : -1] if len(labels) <= MOST_CLASSES else ()
    return [table, Arithmetic((*(lines[i] for i in order[:2]), *sums, lines[-1]))]


def gather(parts: Sequence[tuple[float, str]], bias: float | None) -> list[tuple[float, str]]:
    """Keep the largest parts of a sum, each with its name, and put the others together."""
    kept = largest([part for part, _ in parts], N_PARTS)
    others = [part for i, (part, _) in enumerate(parts) if i not in kept]
    summands = [parts[i] for i in kept]
    if others:
        summands.append((math.fsum(others), f"the other {len(others)}"))
    return summands if bias is None else [*summands, (bias, "bias")]


def sum_up(summands: Sequence[tuple[float, str]], value: float) -> str:
    """Write a sum, with a term of rounding where what is printed would miss the value."""
    gap = Decimal(fixed(value)) - sum(Decimal(fixed(summand)) for summand, _ in summands)
    closed = [*summands, (float(gap), "rounding")] if gap else summands
    written = " + ".join(f"{signed(summand)} ({note})" for summand, note in closed)
    written = re.sub(r"^\((-[\d.]+)\)", r"\1", written)  # at the beginning a minus needs no parentheses
    return f"{written} = {fixed(value)}"


def tell_decision(trace: "Trace") -> tuple[Section, ...]:
    """Tell what speaks for the winner rather than the second best."""
    if len(trace.classes) == 1:
        return ()
    first, second = trace.ranking[:2]
    try:
        evidence = trace.evidence(against=second, k=N_PARTS)
    except ValueError:  # the logits do not come from a dense layer, so there are no products to tell
        return ()
    summands = [(part.product, origin(part.feature, part.cell)) for part in evidence.top]
    if evidence.n_rest:
        summands.append((evidence.rest, f"the other {evidence.n_rest}"))
    return (
        Section(
            f"Why {plain(first)} and not {plain(second)}",
            (
                Paragraph(
                    f"The logit of {plain(first)} is larger than that of {plain(second)} by {fixed(evidence.logit)}. "
                    "Each feature brings what it is times the difference of its two weights; what is positive speaks "
                    f"for {plain(first)}, what is negative for {plain(second)}:"
                ),
                Arithmetic((sum_up([*summands, (evidence.bias, "bias")], evidence.logit),)),
            ),
        ),
    )


def origin(feature: int, cell: tuple[int, ...] | None) -> str:
    """Name a feature, and the cell it was before flattening."""
    return f"feature {feature}" + (f" from {', '.join(map(str, cell))}" if cell else "")


def bar(share: float) -> str:
    """Draw a share of 1."""
    return "█" * round(BAR * share) or "▏"


def maps(values: NDArray[Any], limits: tuple[int, int]) -> list[Item]:
    """Write out the most active channel, or as much of it as fits around its largest value."""
    cell = peak(values)
    one_each = values.ndim < 3 or values[0].size == 1  # one number a channel
    chosen = values.ravel() if one_each else values[cell[0]]
    decimals = 0 if (chosen == np.round(chosen)).all() else MATRIX_DECIMALS
    if chosen.ndim == 2 and 1 not in chosen.shape:
        cells = numbers(chosen, decimals)
        rows, columns = map(range, chosen.shape)
        marked = (cell[1], cell[2])
    else:  # a long row, broken into rows of ten
        (written,) = numbers(chosen.reshape(1, -1), decimals)
        n = min(10, len(written))
        cells = tuple((*ten, *[""] * (n - len(ten))) for ten in batched(written, 10))
        rows, columns = range(0, len(written), 10), range(n)
        marked, limits = divmod(int(chosen.argmax()), 10), (limits[0] // 2, 10)
    shown = matrix("", cells, rows, columns, marked, limits)
    which = (
        f"Channel {cell[0]} of {len(values)}, the most active" if not one_each and len(values) > 1 else "Its numbers"
    )
    precision = f", to {decimals} decimals" * (decimals > 0)
    return [Paragraph(f"{which}{precision}{left_out(shown, len(cells), len(cells[0]))}:"), Beside((shown,))]


def left_out(shown: Matrix, n_rows: int, n_columns: int) -> str:
    """Say how much of a matrix is shown, where that is not all."""
    rows, columns = len(shown.rows), len(shown.columns)
    if (rows, columns) == (n_rows, n_columns):
        return ""
    return f"; {rows} of {n_rows} rows and {columns} of {n_columns} columns are shown"


def matrix(
    caption: str,
    cells: tuple[tuple[str, ...], ...],
    rows: Sequence[int],
    columns: Sequence[int],
    marked: tuple[int, int] | None = None,
    limits: tuple[int, int] = LARGEST_MAP,
) -> Matrix:
    """Keep as much of a matrix, around its marked cell, as there is room for."""
    row, column = marked or (0, 0)
    top, bottom = window(len(cells), row, limits[0])
    for n in range(min(limits[1], len(cells[0])), 0, -1):
        left, right = window(len(cells[0]), column, n)
        kept = tuple(line[left:right] for line in cells[top:bottom])
        if sum(1 + max(map(len, each)) for each in zip(*kept, strict=True)) <= MATRIX_WIDTH:
            break
    return Matrix(
        caption,
        kept,
        tuple(map(str, rows[top:bottom])),
        tuple(map(str, columns[left:right])),
        (row - top, column - left) if marked else None,
    )


def window(length: int, centre: int, size: int) -> tuple[int, int]:
    """Place a window of at most ``size`` within ``length`` so that ``centre`` is as near to its middle as can be."""
    start = max(0, min(centre - size // 2, length - size))
    return start, min(length, start + size)


def draw(values: NDArray[Any]) -> list[Item]:
    """Draw the most active channels, as many as stand beside each other, from their smallest to their largest value."""
    if values.ndim != 3 or min(values.shape[1:]) == 1:
        return []
    _, height, width = values.shape
    f = math.ceil(max(width / PICTURE_WIDTH, height / (2 * PICTURE_WIDTH)))  # one pixel drawn for f×f of them
    n = min(N_PICTURES, (MATRIX_WIDTH + GAP) // (math.ceil(width / f) + GAP))
    order = np.argsort(-values.max(axis=(1, 2)).astype(np.float64), kind="stable")[:n]
    drawn = values[order].astype(np.float64)
    scale = drawn.max() - drawn.min()
    ink = (drawn - drawn.min()) / (scale if scale > 0 else 1)
    padded = np.pad(ink, ((0, 0), (0, -height % f), (0, -width % f)), mode="edge")
    means = padded.reshape(len(order), padded.shape[1] // f, f, padded.shape[2] // f, f).mean(axis=(2, 4))
    return [
        Beside(
            tuple(
                Picture(f"channel {channel}" if len(values) > 1 else "", tuple(map(tuple, picture.tolist())))
                for channel, picture in zip(order, means, strict=True)
            )
        )
    ]


def peak(values: NDArray[Any]) -> tuple[int, ...]:
    """Find the largest value."""
    return tuple(int(i) for i in np.unravel_index(int(values.argmax()), values.shape))


def largest(parts: Sequence[float], n: int) -> list[int]:
    """Find the ``n`` parts of a sum that are largest, whatever their sign."""
    return [int(i) for i in np.argsort(-np.abs(np.array(parts)), kind="stable")[:n]]


def batched(row: Sequence[Any], n: int) -> list[Any]:
    """Cut a row into pieces of ``n``."""
    return [row[i : i + n] for i in range(0, len(row), n)]


def numbers(values: NDArray[Any], decimals: int) -> tuple[tuple[str, ...], ...]:
    """Print a matrix; a dot stands for exactly 0."""
    return tuple(tuple("·" if v == 0 else fixed(v, decimals) for v in row) for row in values.tolist())


def fixed(value: float, decimals: int = DECIMALS) -> str:
    """Print a number to a fixed number of decimals, never as -0."""
    return f"{value:z.{decimals}f}"


def brief(value: float) -> str:
    """Print a positive number to a fixed number of decimals, or as a power of ten where those would all be 0."""
    return fixed(value) if value == 0 or round(value, DECIMALS) else f"{value:.1e}"


def signed(value: float) -> str:
    """Print a number as a term of a sum."""
    return f"({fixed(value)})" if fixed(value).startswith("-") else fixed(value)


def shape(values: NDArray[Any]) -> str:
    """Print a shape, "16×24×24"."""
    return "×".join(f"{n}" for n in values.shape)


def plain(label: Any) -> str:
    """Print a label or name on one line, without what a terminal would obey."""
    printable = "".join(c if c.isprintable() else "�" for c in " ".join(str(label).split()))
    return printable if len(printable) <= LABEL else f"{printable[: LABEL - 1]}…"


def text_section(section: Section, rule: str = "-") -> list[str]:
    """Write a section as lines, indented by the blocks it is inside."""
    indent = "  " * section.depth
    lines = [section.heading, rule * len(section.heading), ""]
    for item in section.items:
        announces = isinstance(item, Paragraph) and item.text.endswith(":")
        lines += [*text_item(item, LINE - len(indent)), *[""] * (not announces)]
    return [(indent + line).rstrip() for line in lines]


def text_item(item: Item, width: int = LINE) -> list[str]:
    """Write an item as lines."""
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
    """Break a long equation before a sign or after a comma, and indent what follows."""
    wrapped = textwrap.wrap(hold(line), width, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    return [part.replace(" ", " ") for part in wrapped]


def hold(line: str) -> str:
    """Make the blanks of an equation that are not before a sign or after a comma such that no line breaks there."""
    return re.sub(r"(?<!,) (?![+=] )", " ", line)


def text_table(table: Table) -> list[str]:
    """Align the columns of a table."""
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    head, *rows = aligned(table.align, (table.head, *table.rows))
    return [head, "  ".join("─" * width for width in widths), *rows]


def text_matrix(matrix: Matrix) -> list[str]:
    """Align a matrix; its marked cell stands in brackets."""
    widths = [max(map(len, column)) for column in zip(matrix.columns, *matrix.cells, strict=True)]
    side = max(map(len, matrix.rows))
    lines = [matrix.caption] * bool(matrix.caption)
    lines.append(" " * (side + 2) + " ".join(["", *map(str.rjust, matrix.columns, widths)]))
    for i, (label, row) in enumerate(zip(matrix.rows, matrix.cells, strict=True)):
        line = f"{label.rjust(side)} │"
        for j, (cell, width) in enumerate(zip(row, widths, strict=True)):
            opening = "[" if (i, j) == matrix.marked else "]" if (i, j - 1) == matrix.marked else " "
            # The bracket stands at the number, not at the edge of its column.
            line += (opening + cell).rjust(width + 1) if opening == "[" else opening + cell.rjust(width)
        lines.append(line + "]" * ((i, len(row) - 1) == matrix.marked))
    return lines


def text_picture(picture: Picture) -> list[str]:
    """Draw two rows of pixels in each line, so that a pixel is about as high as it is wide."""
    rows = [*picture.ink, *[(0.0,) * len(picture.ink[0])] * (len(picture.ink) % 2)]
    return [
        *[picture.caption] * bool(picture.caption),
        *("".join(map(shade, *pair)) for pair in batched(rows, 2)),
    ]


def shade(top: float, bottom: float) -> str:
    """Draw two pixels, one above the other, in one character."""
    if abs(top - bottom) > 0.5:
        return "▀" if top > bottom else "▄"
    return " ░▒▓█"[min(4, int(5 * (top + bottom) / 2))]


def text_beside(blocks: list[list[str]], width: int) -> list[str]:
    """Put blocks side by side as far as there is room, the others below."""
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
    """Write a section as blocks of Markdown."""
    heading = f"{'#' * min(6, level + section.depth)} {markdown(section.heading)}"
    return [heading, *map(markdown_item, section.items)]


def markdown_item(item: Item) -> str:
    """Write an item as a block of Markdown."""
    match item:
        case Paragraph(text):
            return markdown(text)
        case Table(align, head, rows):
            rule = ["---:" if side == "r" else "---" for side in align]
            lines = [map(markdown, head), rule, *(map(markdown, row) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(["```text", *(line.rstrip() for line in text_item(item)), "```"])


def markdown(text: str) -> str:
    """Escape text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", text)


# What pdflatex does not know by itself: the signs used above, and a bar's blocks.
LATEX_SIGNS = {
    **{"×": r"\times", "→": r"\to", "·": r"\cdot", "√": r"\surd", "⌊": r"\lfloor", "⌋": r"\rfloor", "²": "^2"},
    **{"μ": r"\mu", "σ": r"\sigma", "γ": r"\gamma", "β": r"\beta", "ε": r"\varepsilon", "Σ": r"\Sigma"},
    **{"█": r"\rule{.4em}{1.2ex}", "▏": r"\rule{.08em}{1.2ex}"},
}
LATEX_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ–—‘’“”…"  # known to every pdflatex
LATEX_ESCAPES = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "-": "{-}"},
}
LATEX_HEADINGS = (r"\subsection*", r"\subsubsection*", r"\paragraph*")
LATEX_HEAD = "\n".join(
    [
        r"\documentclass[10pt,a4paper]{article}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage[margin=15mm]{geometry}",
        r"\usepackage{amsmath,color,longtable}",
        *(
            rf"\DeclareUnicodeCharacter{{{ord(sign):04X}}}{{\ensuremath{{{command}}}}}"
            for sign, command in LATEX_SIGNS.items()
        ),
        r"\newcommand{\pixel}[1]{\textcolor[gray]{#1}{\rule{1.4mm}{1.4mm}}}",
        r"\setlength{\parindent}{0pt}\setlength{\parskip}{6pt}\setlength{\fboxsep}{1pt}\setlength{\LTleft}{0pt}",
        r"\raggedright",
        r"\begin{document}",
    ]
)


def latex_section(section: Section, command: str = "") -> list[str]:
    """Write a section as paragraphs of LaTeX."""
    command = command or LATEX_HEADINGS[min(section.depth, len(LATEX_HEADINGS) - 1)]
    return [f"{command}{{{latex(section.heading)}}}", *map(latex_item, section.items)]


def latex_item(item: Item) -> str:
    """Write an item in LaTeX."""
    match item:
        case Paragraph(text):
            return latex(text) + r"\nopagebreak" * text.endswith(":")
        case Arithmetic(lines):
            return "\n".join(
                [
                    r"{\footnotesize\parskip=2pt\hangindent=2em",
                    "\\par\\hangindent=2em\n".join(map(latex_equation, lines)),
                    r"\par}",
                ]
            )
        case Table(align, head, rows):
            written = [rf"{' & '.join(map(latex, row))} \\" for row in (head, *rows)]
            return "\n".join(
                [
                    rf"{{\small\begin{{longtable}}{{@{{}}{align}@{{}}}}",
                    written[0],
                    r"\hline",
                    *written[1:],
                    r"\end{longtable}}",
                ]
            )
        case Beside(blocks):
            return "\\qquad\n".join(latex_matrix(b) if isinstance(b, Matrix) else latex_picture(b) for b in blocks)


def latex_matrix(matrix: Matrix) -> str:
    """Write a matrix as an array under its caption; its marked cell stands in a box."""
    rows = [
        [rf"\fbox{{${cell}$}}" if (i, j) == matrix.marked else cell for j, cell in enumerate(row)]
        for i, row in enumerate(matrix.cells)
    ]
    body = "\n".join(
        [
            r"$\setlength{\arraycolsep}{2pt}\renewcommand{\arraystretch}{1.15}",
            rf"\begin{{array}}{{r|{'r' * len(matrix.columns)}}}",
            rf" & {' & '.join(matrix.columns)} \\ \hline \rule{{0pt}}{{2.4ex}}",
            *(rf"{label} & {' & '.join(row)} \\" for label, row in zip(matrix.rows, rows, strict=True)),
            r"\end{array}$",
        ]
    )
    return latex_block(matrix.caption, rf"{{\scriptsize{body}}}")


def latex_picture(picture: Picture) -> str:
    """Draw a picture as rows of grey squares under its caption."""
    rows = ["".join(rf"\pixel{{{1 - ink:.2f}}}" for ink in row) for row in picture.ink]
    body = "\n".join([r"\vbox{\offinterlineskip\lineskip=0pt", *(rf"\hbox{{{row}}}" for row in rows), "}"])
    return latex_block(picture.caption, body)


def latex_block(caption: str, body: str) -> str:
    """Put a caption over a block, both at the left."""
    title = f"{latex(caption)}\\\\[2pt]\n" if caption else ""
    return f"\\begin{{tabular}}[t]{{@{{}}l@{{}}}}{title}{body}\\end{{tabular}}"


def latex_equation(line: str) -> str:
    """Turn a printed equation into mathematics: roots get a roof, words stay upright."""
    line = re.sub(r"√\(([^()]*)\)", r"\\sqrt{\1}", line)
    line = re.sub(r" \((?=[a-z])", r"\\ (", line)  # mathematics knows no blanks
    words = re.compile(r"(?<![\\A-Za-z])[A-Za-z][A-Za-z0-9]*(?: [A-Za-z0-9]+)*")
    line = words.sub(lambda match: match[0] if len(match[0]) == 1 else rf"\text{{{match[0]}}}", line)
    breakable = line.replace(", ", r",\allowbreak ")
    return f"${breakable}$"


def latex(text: str) -> str:
    """Escape text; a character that pdflatex cannot set becomes its code point."""
    return "".join(
        LATEX_ESCAPES.get(c, c if c.isascii() or c in LATEX_SIGNS or c in LATEX_LETTERS else f"[U+{ord(c):04X}]")
        for c in text
    )
