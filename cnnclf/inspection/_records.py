"""The records of a trace, walking through nested blocks, and comparing records; engines and renderers build on them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnnclf._utils.frozen import ReadOnly
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import quote, quote_all, share_of

Array = NDArray[np.float32]
Cell = tuple[int, ...]

IMAGE = ""  # the image, where names of layers are expected; no layer has an empty name

# Kinds of steps that work number by number, and those that take one number from each window or map.
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "sigmoid", "tanh")
GLOBAL_POOLINGS = ("global_max_pool", "global_avg_pool")
POOLINGS = ("max_pool", "avg_pool", *GLOBAL_POOLINGS)


@dataclass(frozen=True, eq=False, repr=False)
class StepRecord(Summarised, ReadOnly):
    """The data of a :class:`cnnclf.inspection.Step`, which documents the attributes."""

    name: str
    kind: str
    description: str
    input: NDArray[Any]
    output: NDArray[Any]
    weights: Mapping[str, Array]
    settings: Mapping[str, Any]
    n_parameters: int
    n_multiply_adds: int
    steps: tuple[Self, ...] = ()
    conv: Self | None = None

    def _summary(self) -> Summary:
        return Summary(
            f"{self.name}: {self.description}, {self.kind}, {shape_of(self.input)} → {shape_of(self.output)}, "
            f"{self.n_parameters:,} parameters, {self.n_multiply_adds:,} multiply-adds"
        )


@dataclass(frozen=True, eq=False, repr=False)
class TraceRecord(ReadOnly):
    """The data of a :class:`cnnclf.inspection.Trace`, which documents the attributes."""

    image: NDArray[Any]
    classes: NDArray[Any]
    steps: tuple[StepRecord, ...]

    @property
    def logits(self) -> Array:
        """One number per class, before the softmax."""
        return self.steps[-1].input

    @property
    def probabilities(self) -> Array:
        """One probability per class."""
        return self.steps[-1].output

    @property
    def n_parameters(self) -> int:
        """Trainable parameters of all layers."""
        return sum(step.n_parameters for step in self.steps)

    @property
    def n_multiply_adds(self) -> int:
        """Multiplications with an addition of all layers, for one image."""
        return sum(step.n_multiply_adds for step in self.steps)

    @property
    def share(self) -> float:
        """The probability of the predicted class; 1 only where all others are 0, however float32 rounds it."""
        return share_of(self.probabilities.tolist(), int(self.logits.argmax()))

    @property
    def label(self) -> Any:
        """The predicted class."""
        return self.classes[self.logits.argmax()]

    @property
    def ranking(self) -> NDArray[Any]:
        """The classes, the most probable first."""
        ranked: NDArray[Any] = self.classes[np.argsort(-self.logits, kind="stable")]
        return ranked


def shape_of(values: NDArray[Any]) -> str:
    """Return a shape as text, "16×24×24"."""
    return "×".join(map(str, values.shape))


def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the channels: rows and columns of maps, or the features of a row."""
    return shape[1:] or shape


# The sides of the columns of a table of layers, and their names.
LAYER_TABLE = "llrrr", ("layer", "what it is", "output", "parameters", "multiply-adds")


def list_layer_rows(trace: TraceRecord) -> tuple[tuple[str, ...], ...]:
    """Return the rows of a table of layers."""
    return tuple(
        (s.name, s.description, shape_of(s.output), f"{s.n_parameters:,}", f"{s.n_multiply_adds:,}")
        for s in walk(trace.steps)
    )


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Compare bit for bit, NaN and −0 included."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# Walking through nested blocks.


class Nested(Protocol):
    """A layer's record that holds those of the layers inside it."""

    @property
    def steps(self) -> tuple[Self, ...]:
        """The layers inside; none for a single layer."""


N = TypeVar("N", bound=Nested)
S = TypeVar("S", bound=StepRecord)
T = TypeVar("T")


def walk(steps: Iterable[N], *, inside_first: bool = False) -> Iterator[N]:
    """Yield every step, a block before the layers inside it, or after them as in the order of computation."""
    for step in steps:
        if not inside_first:
            yield step
        yield from walk(step.steps, inside_first=inside_first)
        if inside_first:
            yield step


def follow(steps: Iterable[StepRecord], source: T, visit: Callable[[StepRecord, tuple[T, ...]], T]) -> T:
    """Visit every step in the order of computation; return the result of the last visit.

    ``visit(step, sources)`` returns what represents the step's output: a name, a number, a sheet. Its ``sources`` are
    the results for the steps whose outputs it takes: residual branch and shortcut for a residual block, one for every
    other step. ``source`` represents the input of the first step.
    """
    for step in steps:
        sources: tuple[T, ...] = (source,)
        if step.kind == "residual":
            *body, shortcut = step.steps
            sources = follow(body, source, visit), follow([shortcut], source, visit)
        elif step.steps:
            sources = (follow(step.steps, source, visit),)
        source = visit(step, sources)
    return source


def wire(steps: Iterable[StepRecord]) -> list[tuple[StepRecord, tuple[str, ...]]]:
    """Return every step in the order of computation, with the names of the steps whose outputs it takes."""
    wired: list[tuple[StepRecord, tuple[str, ...]]] = []

    def visit(step: StepRecord, sources: tuple[str, ...]) -> str:
        wired.append((step, sources))
        return step.name

    follow(steps, IMAGE, visit)
    return wired


def find_step(steps: Iterable[S], name: str) -> S:
    """Return the step with a layer's name, inside blocks too."""
    names = []
    for step in walk(steps):
        if step.name == name:
            return step
        names.append(step.name)
    raise KeyError(f"Expected the name of a layer, one of {quote_all(names)}; got {quote(name)}.")


def residual_summands(step: StepRecord) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what a residual block adds up: the output of the residual branch, and that of the shortcut."""
    *body, shortcut = step.steps
    return body[-1].output if body else step.input, shortcut.output


# Comparing two traces.


@dataclass(frozen=True)
class StepDiff:
    """How far the outputs of one layer differ between two traces.

    Attributes
    ----------
    name : str
        The layer's name.
    max_abs, mean_abs : float
        The largest and the mean absolute difference of two numbers.
    relative : float
        ‖b − a‖ / ‖a‖, Euclidean.
    n_changed : int
        How many numbers differ.
    """

    name: str
    max_abs: float
    mean_abs: float
    relative: float
    n_changed: int


def compare_traces(a: TraceRecord, b: TraceRecord) -> tuple[StepDiff, ...]:
    """Compare two traces layer by layer; the layers must have the same names and shapes."""
    ours, theirs = ([(step.name, step.output.shape) for step in walk(trace.steps)] for trace in (a, b))
    if ours != theirs:
        raise ValueError(
            f"Expected two traces whose layers have the same names and shapes; got {show_layers(ours)} and "
            f"{show_layers(theirs)}. Compare networks of one architecture."
        )
    return tuple(map(compare_steps, walk(a.steps), walk(b.steps)))


def compare_steps(a: StepRecord, b: StepRecord) -> StepDiff:
    """Compute how far two outputs of one layer differ."""
    x = a.output.astype(np.float64)
    distance = np.abs(b.output - x)
    norms = np.linalg.norm(distance), np.linalg.norm(x)
    relative = 0.0 if norms[0] == 0 else float(norms[0] / norms[1]) if norms[1] else math.inf
    return StepDiff(
        a.name, distance.max(initial=0).item(), distance.mean().item(), relative, int(np.count_nonzero(distance))
    )


def show_layers(layers: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """Return layers with their shapes as a phrase."""
    return ", ".join(f"{name} {shape}" for name, shape in layers)
