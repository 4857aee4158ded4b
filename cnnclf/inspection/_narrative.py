"""The walkthrough of a trace as sections of text items, one section per layer, for the renderers to write."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cnnclf._utils.text import percent, quote_all, share_of
from cnnclf.inspection import _items as items
from cnnclf.inspection._arithmetic import MOST_LINES, Explanation, batched, sum_up
from cnnclf.inspection._evidence import collect_evidence, find_class, keep_largest
from cnnclf.inspection._explain import explain
from cnnclf.inspection._geometry import AXES, Window, unravel
from cnnclf.inspection._items import DECIMALS, Arithmetic, Item, Paragraph, Section, Table, fixed, plain
from cnnclf.inspection._recompute import recompute
from cnnclf.inspection._records import (
    ACTIVATIONS,
    LAYER_TABLE,
    POOLINGS,
    StepRecord,
    TraceRecord,
    list_layer_rows,
    shape_of,
    walk,
)

N_PARTS = 6  # of a sum that are written out; the others are added up
MOST_CLASSES = 20
BAR = 30  # characters that a probability of 1 fills


def narrate(trace: TraceRecord) -> tuple[Section, ...]:
    """Return a trace as the sections of its walkthrough: title, image, one per layer, and the decision."""
    image = Section("The image: raw pixels", tuple(items.maps(trace.image, items.LARGEST_IMAGE)))
    steps = [describe_step(trace, step) for step in walk(trace.steps)]
    numbered = [replace(section, heading=f"{n}. {section.heading}") for n, section in enumerate(steps, start=1)]
    return (describe_network(trace), image, *numbered, *explain_decision(trace))


def describe_network(trace: TraceRecord) -> Section:
    """Return the section of the title: the prediction, and a table of the layers."""
    first, *second = trace.ranking[:2]
    runner_up = "".join(
        f", followed by {plain(label)} with {percent(trace.probabilities[find_class(trace, label)].item())}"
        for label in second
    )
    layers = ((plain(name), *others) for name, *others in list_layer_rows(trace))
    total = ("total", "", "", f"{trace.n_parameters:,}", f"{trace.n_multiply_adds:,}")
    return Section(
        f"From {shape_of(trace.image)} pixels to a prediction: {plain(first)}",
        (
            *items.draw(trace.image),
            Paragraph(
                f"The network predicts {plain(first)} with a probability of {percent(trace.share)}{runner_up}."
                f"{caveat(trace)}"
            ),
            Table(*LAYER_TABLE, (*layers, total)),
            Paragraph(
                "How to read it. Channels, rows, columns and features are counted from 0; shapes are channels×height×"
                f"width. A dot is exactly 0. Arithmetic has {DECIMALS} decimals; where the rounded numbers do not give "
                "the result, a term marked (rounding) closes the gap. In pictures, more ink means a larger number. "
                "The arithmetic of the marked cell of a matrix is below it; trace[layer].explain(channel, row, column) "
                "shows that of any other cell."
            ),
        ),
    )


def caveat(trace: TraceRecord) -> str:
    """Return a sentence that names the layers without arithmetic, with a space before it; empty if there are none."""
    names = [f"{step.name} ({step.description})" for step in walk(trace.steps) if step.kind == "unknown"]
    return f" cnnclf cannot recompute {quote_all(names)}, so only the recorded numbers are shown." if names else ""


def describe_step(trace: TraceRecord, step: StepRecord) -> Section:
    """Return the section of one layer: what it does, its output, and the arithmetic of the largest number in it."""
    counts = {"parameters": step.n_parameters, "multiply-adds": step.n_multiply_adds}
    costs = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    parts: list[Item] = [Paragraph(SENTENCES[step.kind](step) + (f" {costs}." if costs else ""))]
    if sizes := output_sizes(step):
        parts.append(Arithmetic(sizes))
    if step.kind in PICTURED:
        parts += items.draw(step.output)
    # The features of a row are written out before their activation.
    if step.kind in WRITTEN_OUT and not (step.kind in ACTIVATIONS and step.output.ndim == 1):
        parts += items.maps(step.output, items.LARGEST_MAP)
    parts += work_out(trace, step)
    heading = f"{plain(step.name)} – {plain(step.description)}, {shape_of(step.input)} → {shape_of(step.output)}"
    return Section(heading, tuple(parts), depth=step.name.count("."))


PICTURED = ("conv", *ACTIVATIONS, "residual", "unknown")
WRITTEN_OUT = (*PICTURED, *POOLINGS, "dense")


# What each kind of layer does, for a reader who has never seen one.
SENTENCES: dict[str, Callable[[StepRecord], str]] = {
    "standardise": lambda step: (
        "Every pixel becomes (pixel - mean)/(standard deviation), both learnt from the training images"
        f"{'; 0 in a channel that never varied there' * bool((step.weights['std'] == 0).any())}."
    ),
    "conv": lambda step: (
        f"{step.output.shape[0]} kernels of {shape_of(step.weights['weight'][0])} weights. Each kernel moves over the "
        "input; at every position its weights are multiplied by the numbers that it covers, and the products"
        f"{' and a bias' * ('bias' in step.weights)} are added up."
    ),
    "norm": lambda step: (
        "x becomes (x - μ)/√(σ² + ε)×γ + β, with four numbers learnt for each channel: mean μ, variance σ², scale γ "
        "and shift β. The last line does the same in one multiplication and one addition."
    ),
    "relu": lambda step: (
        f"Negative numbers become 0, all others stay the same: {np.count_nonzero(step.output):,} of "
        f"{step.output.size:,} are not 0."
    ),
    "leaky_relu": lambda step: (
        f"Negative numbers are multiplied by the slope {step.settings['slope']:g}; all others stay the same."
    ),
    "gelu": lambda step: (
        "Every x becomes x×(1 + erf(x/√2))/2: nearly x if it is large, nearly 0 if it is far below 0. erf is the "
        "error function."
    ),
    "silu": lambda step: "Every x becomes x/(1 + exp(-x)): nearly x if it is large, nearly 0 if it is far below 0.",
    "sigmoid": lambda step: "Every x becomes 1/(1 + exp(-x)), a number between 0 and 1.",
    "tanh": lambda step: "Every x becomes tanh(x) = 2/(1 + exp(-2x)) - 1, a number between -1 and 1.",
    "max_pool": lambda step: f"Every {pooling_window(step)} window becomes its largest number.",
    "avg_pool": lambda step: f"Every {pooling_window(step)} window becomes its mean.",
    "global_max_pool": lambda step: "Every channel becomes one number, its largest.",
    "global_avg_pool": lambda step: "Every channel becomes one number, its mean.",
    "dropout": lambda step: (
        f"The numbers do not change{'; dropout is active in training only' * step.description.startswith('Dropout')}."
    ),
    "flatten": lambda step: (
        f"All maps, channel after channel and row after row, become one row of {step.output.size:,} features."
    ),
    "dense": lambda step: (
        f"Each of the {step.output.size:,} outputs is the sum of all {step.input.size:,} inputs, each multiplied by a "
        f"weight{', plus a bias' * ('bias' in step.weights)}."
    ),
    "softmax": lambda step: "Each probability is e to the power of its logit, divided by the sum of all these powers.",
    "block": lambda step: f"A block of {len(step.steps)} layers, one after the other.",
    "residual": lambda step: (
        "A residual block: the output of the residual branch plus "
        f"{'the input' if step.steps[-1].kind == 'dropout' else 'the output of the shortcut'}."
    ),
    "unknown": lambda step: "Not recomputed: cnnclf does not know the arithmetic of this layer.",
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
    lines = []
    for before, padding, d, k, stride, after in per_axis:
        span = f"{d}×({k} - 1) - 1" if d > 1 else k
        lines.append(f"⌊({before} + 2×{padding} - {span}) / {stride}⌋ + 1 = {after}")
    if lines[0] == lines[1]:
        return (f"height and width: {lines[0]}",)
    return f"height: {lines[0]}", f"width: {lines[1]}"


def work_out(trace: TraceRecord, step: StepRecord) -> list[Item]:
    """Return the arithmetic of the largest number in a layer's output."""
    if step.kind in ("dropout", "block", "unknown"):
        return []
    cell = items.peak(step.output)
    if step.kind == "flatten":
        return flatten_place(step, cell)
    explanation = explain(step, cell, recompute(step))
    if step.kind == "softmax":
        labels = [plain(label) for label in trace.classes] if step is trace.steps[-1] else range(len(step.output))
        return work_softmax(step, explanation, list(map(str, labels)))
    axes = AXES.get(len(cell), ("index",) * len(cell))
    place = ", ".join(f"{axis} {index}" for axis, index in zip(axes, cell, strict=True))
    announced = Paragraph(f"The arithmetic of the largest number, {place}:")
    if step.kind == "conv":
        return [announced, *work_conv(step, explanation)]
    lines = work_dense(explanation) if step.kind == "dense" else explanation.lines(DECIMALS)
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
    strongest = int(np.argmax(np.abs(sums)))
    terms = channels[strongest]
    first = cell[0] * step.settings["groups"] // step.output.shape[0] * n_channels  # channel of this group
    window = Window.of(step.settings)
    (top, left), (down, right) = window.corner(cell[1:]), window.dilation
    values, weights = (
        items.numbers(np.reshape([getattr(term, factor) for term in terms], (height, width)), DECIMALS)
        for factor in ("value", "weight")
    )
    rows, columns = range(top, top + down * height, down), range(left, left + right * width, right)
    patch = items.matrix(f"patch of channel {first + strongest}", values, rows, columns)
    kernel = items.matrix(f"kernel {cell[0]} for channel {first + strongest}", weights, range(height), range(width))
    pair = items.Beside((patch, kernel))
    cut = items.left_out(kernel, height, width)
    lines = explanation.lines(DECIMALS)
    if n_channels == 1 or len(lines) <= MOST_LINES:
        return [*[Paragraph(f"Kernel of {height}×{width}{cut}:")] * bool(cut), pair, Arithmetic(lines)]
    part = replace(explanation, terms=terms, shape=(1, height, width), bias=None, value=sums[strongest])
    kept, rest, n_rest = keep_largest(sums, N_PARTS)
    summands = [(sums[i], f"channel {first + i}") for i in kept]
    return [
        Paragraph(f"Of the {n_channels} input channels, channel {first + strongest} contributes most{cut}:"),
        pair,
        Arithmetic(part.lines(DECIMALS)),
        Paragraph("All channels together:"),
        Arithmetic((sum_largest(summands, rest, n_rest, explanation.bias, explanation.value),)),
    ]


def work_dense(explanation: Explanation) -> tuple[str, ...]:
    """Return the largest products as equations, and the sum of all."""
    products = [term.product for term in explanation.terms]
    kept, rest, n_rest = keep_largest(products, N_PARTS)
    lines = []
    for i in kept:
        part = replace(explanation, terms=explanation.terms[i : i + 1], shape=(1,), bias=None, value=products[i])
        lines.append(f"feature {i}: {part.lines(DECIMALS)[0]}")
    summands = [(products[i], f"feature {i}") for i in kept]
    return *lines, sum_largest(summands, rest, n_rest, explanation.bias, explanation.value)


def work_softmax(step: StepRecord, explanation: Explanation, labels: Sequence[str]) -> list[Item]:
    """Return a table of the most probable classes, and the arithmetic of the first one."""
    shares, exponentials = step.output.tolist(), explanation.parts["exponentials"]
    order, *_ = keep_largest(exponentials, len(labels))
    probabilities = [share_of(shares, i) for i in range(len(shares))]
    drawn = [(percent(probability), bar(probability)) for probability in probabilities]
    rows = [(labels[i], fixed(step.input[i].item()), brief(exponentials[i]), *drawn[i]) for i in order[:MOST_CLASSES]]
    if hidden := order[MOST_CLASSES:]:
        rest = math.fsum(probabilities[i] for i in hidden)
        rows.append((f"the other {len(hidden):,}", "", "", percent(rest), bar(rest)))
    table = Table("lrrrl", ("class", "logit", "exp(logit - largest)", "probability", ""), tuple(rows))
    lines = explanation.lines(DECIMALS)  # one per class, those of the sum, and the quotient
    sums = lines[len(labels) : -1] if len(labels) <= MOST_CLASSES else ()
    return [table, Arithmetic((*(lines[i] for i in order[:2]), *sums, lines[-1]))]


def sum_largest(
    summands: Sequence[tuple[float, str]], rest: float, n_rest: int, bias: float | None, value: float
) -> str:
    """Return a sum as an equation: its largest parts with their names, the sum of the others, and the bias."""
    others = [(rest, f"the other {n_rest}")] if n_rest else []
    constant = [] if bias is None else [(bias, "bias")]
    return sum_up([*summands, *others, *constant], value, DECIMALS)


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
    text = (
        f"The logit of {plain(first)} is larger than that of {plain(second)} by {fixed(evidence.logit)}. "
        "Each feature contributes its value times the difference of its two weights; positive contributions favour "
        f"{plain(first)}, negative ones {plain(second)}:"
    )
    total = sum_largest(summands, evidence.rest, evidence.n_rest, evidence.bias, evidence.logit)
    return (Section(f"Why {plain(first)} and not {plain(second)}", (Paragraph(text), Arithmetic((total,)))),)


def origin(feature: int, cell: tuple[int, ...] | None) -> str:
    """Return the name of a feature, with its cell before flattening."""
    return f"feature {feature}" + (f" from {', '.join(map(str, cell))}" if cell else "")


def bar(share: float) -> str:
    """Return a bar whose length is a share of the longest."""
    return "█" * round(BAR * share) or "▏"


def brief(value: float) -> str:
    """Return a positive number with fixed decimals, or as a power of ten where those would all be 0."""
    return fixed(value) if value == 0 or round(value, DECIMALS) else f"{value:.1e}"
