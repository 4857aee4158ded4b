"""The walkthrough of a trace as sections of text items, one section per layer, for the renderers to write."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from cnnclf._utils.text import percent, share_of
from cnnclf.inspection._arithmetic import Explanation
from cnnclf.inspection._evidence import collect_evidence
from cnnclf.inspection._explain import explain
from cnnclf.inspection._geometry import AXES, Window, unravel
from cnnclf.inspection._items import (
    DECIMALS,
    LARGEST_IMAGE,
    LARGEST_MAP,
    Arithmetic,
    Beside,
    Item,
    Paragraph,
    Section,
    Table,
    batched,
    draw,
    fixed,
    left_out,
    maps,
    matrix,
    numbers,
    peak,
    plain,
)
from cnnclf.inspection._recompute import recompute
from cnnclf.inspection._records import StepRecord, TraceRecord, shape_of, walk

N_PARTS = 6  # of a sum that are written out; the others are added up
MOST_LINES = 12  # of arithmetic; a longer sum is shortened to its largest parts
MOST_CLASSES = 20
BAR = 30  # characters that a probability of 1 fills
MOST_UNKNOWN = 5  # layers that are named at the top


def narrate(trace: TraceRecord) -> tuple[Section, ...]:
    """Return a trace as the sections of its walkthrough: title, image, one per layer, and the decision."""
    image = Section("The image: raw pixels", tuple(maps(trace.image, LARGEST_IMAGE)))
    steps = [describe_step(trace, step) for step in walk(trace.steps)]
    numbered = [replace(section, heading=f"{n}. {section.heading}") for n, section in enumerate(steps, start=1)]
    return (describe_network(trace), image, *numbered, *explain_decision(trace))


def describe_network(trace: TraceRecord) -> Section:
    """Return the section of the title: the prediction, and a table of the layers."""
    order = np.argsort(-trace.logits, kind="stable")[:2]
    (first, share), *second = [
        (plain(trace.classes[i]), percent(share_of(trace.probabilities.tolist(), int(i)))) for i in order
    ]
    runner_up = "".join(f"; next comes {label} with {percentage}" for label, percentage in second)
    layers = [
        (plain(s.name), s.description, shape_of(s.output), f"{s.n_parameters:,}", f"{s.n_multiply_adds:,}")
        for s in walk(trace.steps)
    ]
    parameters, products = (
        sum(getattr(step, key) for step in trace.steps) for key in ("n_parameters", "n_multiply_adds")
    )
    return Section(
        f"From {shape_of(trace.image)} pixels to a prediction: {first}",
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


def caveat(trace: TraceRecord) -> str:
    """Return a sentence that names the layers without arithmetic, with a space after it; empty if there are none."""
    names = [f"{plain(step.name)} ({plain(step.description)})" for step in walk(trace.steps) if step.kind == "unknown"]
    if not names:
        return ""
    one, n_more = len(names) == 1, len(names) - MOST_UNKNOWN
    shown = ", ".join(names[:MOST_UNKNOWN]) + f" and {n_more} more" * (n_more > 0)
    return (
        f"Not all arithmetic is worked out: {'layer' if one else 'layers'} {shown} {'is' if one else 'are'} not known "
        f"here, and {'its' if one else 'their'} numbers are shown as they were recorded. "
    )


def describe_step(trace: TraceRecord, step: StepRecord) -> Section:
    """Return the section of one layer: what it does, its output, and the arithmetic of the largest number in it."""
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
    # The features of a row are written out before their ReLU.
    if step.kind in WRITTEN_OUT and (step.kind, step.output.ndim) != ("relu", 1):
        items += maps(step.output, LARGEST_MAP)
    items += work_out(trace, step)
    heading = f"{plain(step.name)} – {plain(step.description)}, {shape_of(step.input)} → {shape_of(step.output)}"
    return Section(heading, tuple(items), depth=step.name.count("."))


PICTURED = ("conv", "relu", "residual", "unknown")
WRITTEN_OUT = (*PICTURED, "max_pool", "avg_pool", "global_avg_pool", "dense")


# What each kind of layer does, for a reader who has never seen one.
SENTENCES: dict[str, Callable[[StepRecord], str]] = {
    "standardise": lambda step: (
        "Every pixel becomes (pixel - mean)/(standard deviation), both learnt from the training images"
        f"{'; 0 in a channel that never varied there' * bool((step.weights['std'] == 0).any())}."
    ),
    "conv": lambda step: (
        f"{step.output.shape[0]} kernels of {shape_of(step.weights['weight'][0])} numbers. A kernel is laid on every "
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
    "max_pool": lambda step: f"Of every {pooling_window(step)} window only the largest number goes on.",
    "avg_pool": lambda step: f"Every {pooling_window(step)} window becomes its mean.",
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


def pooling_window(step: StepRecord) -> str:
    """Return the size of a pooling window as text, "2×2"."""
    return "×".join(map(str, step.settings["window"]))


def output_sizes(step: StepRecord) -> tuple[str, ...]:
    """Return the formula for the height and width of the output of a convolution or a pooling, with its numbers.

    References
    ----------
    Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, relationships 6 and 15.
    """
    if step.kind not in ("conv", "max_pool", "avg_pool"):
        return ()
    w = Window.of(step.settings)
    per_axis = zip(step.input.shape[1:], w.padding, w.dilation, w.size, w.stride, step.output.shape[1:], strict=True)
    lines = [
        f"⌊({before} + 2×{padding} - {d}×({k} - 1) - 1) / {stride}⌋ + 1 = {after}"
        if d > 1
        else f"⌊({before} + 2×{padding} - {k}) / {stride}⌋ + 1 = {after}"
        for before, padding, d, k, stride, after in per_axis
    ]
    if lines[0] == lines[1]:
        return (f"height and width: {lines[0]}",)
    return f"height: {lines[0]}", f"width: {lines[1]}"


def work_out(trace: TraceRecord, step: StepRecord) -> list[Item]:
    """Return the arithmetic of the largest number in a layer's output."""
    if step.kind in ("dropout", "block", "unknown"):
        return []
    cell = peak(step.output)
    if step.kind == "flatten":
        return flatten_place(step, cell)
    explanation = explain(step, cell, recompute(step))
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


def flatten_place(step: StepRecord, cell: tuple[int, ...]) -> list[Item]:
    """Return the position in the maps that the largest feature comes from."""
    if step.input.ndim != 3:
        return []
    _, height, width = step.input.shape
    channel, row, column = unravel(cell[0], step.input.shape)
    return [
        Paragraph(
            f"Channel c, row i, column j becomes feature c×{height * width} + i×{width} + j. The largest comes from "
            f"channel {channel}, row {row}, column {column}:"
        ),
        Arithmetic((f"{channel}×{height * width} + {row}×{width} + {column} = {cell[0]}",)),
    ]


def work_conv(step: StepRecord, explanation: Explanation) -> list[Item]:
    """Return kernel, patch and sum: of all channels, or of the strongest one and then the sums of all."""
    cell = explanation.cell
    n_channels, height, width = explanation.shape
    channels = batched(explanation.terms, height * width)
    sums = [math.fsum(term.product for term in terms) for terms in channels]
    (strongest,) = largest(sums, 1)
    terms = channels[strongest]
    first = cell[0] * step.settings["groups"] // step.output.shape[0] * n_channels  # channel of this group
    window = Window.of(step.settings)
    (top, left), (down, right) = window.corner(cell[1:]), window.dilation
    values, weights = (
        numbers(np.reshape([getattr(term, factor) for term in terms], (height, width)), DECIMALS)
        for factor in ("value", "weight")
    )
    rows, columns = range(top, top + down * height, down), range(left, left + right * width, right)
    patch = matrix(f"patch of channel {first + strongest}", values, rows, columns)
    kernel = matrix(f"kernel {cell[0]} for channel {first + strongest}", weights, range(height), range(width))
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


def work_dense(explanation: Explanation) -> tuple[str, ...]:
    """Return the largest products as equations, and the sum of all."""
    products = [term.product for term in explanation.terms]
    lines = []
    for i in largest(products, N_PARTS):
        part = replace(explanation, terms=explanation.terms[i : i + 1], shape=(1,), bias=None, value=products[i])
        lines.append(f"feature {i}: {part.lines(DECIMALS)[0]}")
    summands = gather([(product, f"feature {i}") for i, product in enumerate(products)], explanation.bias)
    return *lines, sum_up(summands, explanation.value)


def work_softmax(step: StepRecord, explanation: Explanation, labels: Sequence[str]) -> list[Item]:
    """Return a table of the most probable classes, and the arithmetic of the first one."""
    order = largest(explanation.parts["exponentials"], len(labels))
    shown, hidden = order[:MOST_CLASSES], order[MOST_CLASSES:]
    shares, exponentials = step.output.tolist(), explanation.parts["exponentials"]
    probabilities = [share_of(shares, i) for i in range(len(shares))]
    drawn = [(percent(probability), bar(probability)) for probability in probabilities]
    rows = [(labels[i], fixed(step.input[i].item()), brief(exponentials[i]), *drawn[i]) for i in shown]
    if hidden:
        rest = math.fsum(probabilities[i] for i in hidden)
        rows.append((f"the other {len(hidden):,}", "", "", percent(rest), bar(rest)))
    table = Table("lrrrl", ("class", "logit", "exp(logit - largest)", "probability", ""), tuple(rows))
    lines = explanation.lines(DECIMALS)  # one per class, those of the sum, and the quotient
    sums = lines[len(labels) : -1] if len(labels) <= MOST_CLASSES else ()
    return [table, Arithmetic((*(lines[i] for i in order[:2]), *sums, lines[-1]))]


def gather(parts: Sequence[tuple[float, str]], bias: float | None) -> list[tuple[float, str]]:
    """Return the largest parts of a sum with their names, the sum of the others, and the bias."""
    kept = largest([part for part, _ in parts], N_PARTS)
    others = [part for i, (part, _) in enumerate(parts) if i not in kept]
    summands = [parts[i] for i in kept]
    if others:
        summands.append((math.fsum(others), f"the other {len(others)}"))
    return summands if bias is None else [*summands, (bias, "bias")]


def sum_up(summands: Sequence[tuple[float, str]], value: float) -> str:
    """Return a sum as an equation, with a rounding term where the printed numbers do not add up to the value."""
    gap = Decimal(fixed(value)) - sum(Decimal(fixed(summand)) for summand, _ in summands)
    closed = [*summands, (float(gap), "rounding")] if gap else summands
    written = " + ".join(f"{signed(summand)} ({note})" for summand, note in closed)
    written = re.sub(r"^\((-[\d.]+)\)", r"\1", written)  # at the beginning a minus needs no parentheses
    return f"{written} = {fixed(value)}"


def explain_decision(trace: TraceRecord) -> tuple[Section, ...]:
    """Return a section on why the first class has a higher logit than the second; none without a dense layer."""
    if len(trace.classes) == 1:
        return ()
    first, second = trace.ranking[:2]
    try:
        evidence = collect_evidence(trace, against=second, k=N_PARTS)
    except ValueError:  # the logits do not come from a dense layer, so there are no products to show
        return ()
    summands = [(part.product, origin(part.feature, part.cell)) for part in evidence.top]
    if evidence.n_rest:
        summands.append((evidence.rest, f"the other {evidence.n_rest}"))
    text = (
        f"The logit of {plain(first)} is larger than that of {plain(second)} by {fixed(evidence.logit)}. "
        "Each feature brings what it is times the difference of its two weights; what is positive speaks "
        f"for {plain(first)}, what is negative for {plain(second)}:"
    )
    total = Arithmetic((sum_up([*summands, (evidence.bias, "bias")], evidence.logit),))
    return (Section(f"Why {plain(first)} and not {plain(second)}", (Paragraph(text), total)),)


def origin(feature: int, cell: tuple[int, ...] | None) -> str:
    """Return the name of a feature, with its cell before flattening."""
    return f"feature {feature}" + (f" from {', '.join(map(str, cell))}" if cell else "")


def bar(share: float) -> str:
    """Return a bar whose length is a share of the longest."""
    return "█" * round(BAR * share) or "▏"


def largest(parts: Sequence[float], n: int) -> list[int]:
    """Return the positions of the ``n`` parts of a sum with the largest absolute values."""
    return [int(i) for i in np.argsort(-np.abs(np.array(parts)), kind="stable")[:n]]


def brief(value: float) -> str:
    """Return a positive number with fixed decimals, or as a power of ten where those would all be 0."""
    return fixed(value) if value == 0 or round(value, DECIMALS) else f"{value:.1e}"


def signed(value: float) -> str:
    """Return a number as a term of a sum, in parentheses where it is negative."""
    return f"({fixed(value)})" if fixed(value).startswith("-") else fixed(value)
