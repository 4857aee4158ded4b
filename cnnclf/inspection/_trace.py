"""One image on its way through a fitted network: every layer's values, recorded once, proved three times."""

import copy
import functools
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnclf._utils.frozen import ReadOnly
from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import percent, quote, quote_all, share_of
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._summary import MultiplyAdds, count_parameters, describe
from cnnclf.inspection._arithmetic import Cell, Explanation, check_cell, explain, unravel
from cnnclf.inspection._recompute import Recomputed, recompute
from cnnclf.inspection._record import How, Pass, fold_to_softmax, in_order, is_forward_of
from cnnclf.inspection._verify import Verification, same_bits, verify
from cnnclf.training._inference import rows_alike, rows_at_once
from cnnclf.training._runtime import session

Array = NDArray[np.float32]
Region = tuple[tuple[int, int], ...]  # one half-open interval an axis: rows and columns of maps, or features of a row

KINDS = (
    *("standardise", "conv", "norm", "relu", "max_pool", "avg_pool", "global_avg_pool"),
    *("dropout", "flatten", "dense", "softmax", "block", "residual", "unknown"),
)

IMAGE = ""  # stands for the image where names of layers are expected; no layer has an empty name


@dataclass(frozen=True, eq=False, repr=False)
class Step(Summarised, ReadOnly):
    """What one layer made of one image.

    Attributes
    ----------
    name : str
        The layer's name, "conv1"; inside a block with the block's name before it, "block1.conv1".
    kind : str
        One of ``KINDS``; "unknown" for a layer that is shown but not recomputed.
    description : str
        The layer in words, "Conv2d 5×5, padding 2".
    input, output : ndarray, float32 (the first input may be uint8)
        Without the batch axis: (channels, height, width) or (features,). Read-only copies.
    weights : mapping of str to ndarray, float32
        Named as in torch: "weight", "bias", "running_mean", "running_var", and "mean", "std" of the first layer.
        Read-only copies.
    settings : mapping of str to int, float or pairs of int
        What else the layer needs, each pair (vertical, horizontal). A convolution has "kernel", "stride", "padding"
        (both ends alike), "dilation" and "groups"; pooling "window", "stride" and "padding"; batch norm "eps".
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiplications that are added up, for one image.
    steps : tuple of Step
        What happened inside a block; empty for a single layer. In a residual block the last one is the short way.
    conv : Step or None
        For a batch norm, the convolution before it, into whose kernels it can be folded.
    """

    name: str
    kind: str
    description: str
    input: NDArray[Any]
    output: NDArray[Any]
    weights: Mapping[str, Array]
    settings: Mapping[str, Any]
    n_parameters: int
    n_multiply_adds: int
    steps: tuple["Step", ...] = ()
    conv: "Step | None" = None

    def _summary(self) -> Summary:
        return Summary(
            f"{self.name}: {self.description}, {self.kind}, {shape_of(self.input)} → {shape_of(self.output)}, "
            f"{self.n_parameters:,} parameters, {self.n_multiply_adds:,} multiply-adds"
        )

    @functools.cached_property
    def recomputed(self) -> Recomputed | None:
        """The output once more, by NumPy in float64 from the recorded input; None for an unknown layer."""
        return recompute(self)

    def explain(self, *cell: int) -> Explanation:
        """Take one number of the output apart.

        Parameters
        ----------
        *cell : int
            Channel, row and column in maps; the feature in a row of features.

        Returns
        -------
        Explanation
            Every product, bias and sum behind it.

        Raises
        ------
        ValueError
            For a cell that the output does not have, and for a layer that cannot be recomputed.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> explanation = trace["conv1"].explain(3, 0, 2)
        >>> explanation.shape, explanation.terms[7].source
        ((1, 5, 5), (0, 1, 4))
        """
        return explain(self, cell)


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the image, or of an earlier layer's maps, that a unit sees.

    Attributes
    ----------
    top, left, bottom, right : int
        Rows top to bottom − 1 and columns left to right − 1. A row of features counts as one row of a map.
    """

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class StepDiff:
    """How far one layer's outputs are apart in two traces.

    Attributes
    ----------
    name : str
        Of the layer.
    max_abs, mean_abs : float
        The largest and the mean distance of two numbers.
    relative : float
        ‖b − a‖ / ‖a‖, Euclidean.
    n_changed : int
        Numbers that are not the same.
    """

    name: str
    max_abs: float
    mean_abs: float
    relative: float
    n_changed: int


@dataclass(frozen=True)
class Contribution:
    """What one feature brings to a logit.

    Attributes
    ----------
    feature : int
        Its position in the input of the last dense layer.
    cell : tuple of int or None
        (channel, row, column) before flattening; None where the features are no flattened maps.
    value, weight, product : float
        The feature, its weight and what the two make.
    """

    feature: int
    cell: Cell | None
    value: float
    weight: float
    product: float


@dataclass(frozen=True, repr=False)
class Evidence(Summarised):
    """Why a logit, or the difference of two, is what it is: top + rest + bias = logit.

    Attributes
    ----------
    label : label
        Whose logit it is.
    against : label or None
        Whose logit is taken off.
    top : tuple of Contribution
        The strongest, either sign, strongest first.
    rest : float
        What the other features bring.
    n_rest : int
        How many those are.
    bias, logit : float
        In float64; the sum of all products, rest and bias is the logit exactly.
    recorded : float
        The logit as torch computed it.
    """

    label: Any
    against: Any
    top: tuple[Contribution, ...]
    rest: float
    n_rest: int
    bias: float
    logit: float
    recorded: float

    def _summary(self) -> Summary:
        against = "" if self.against is None else f" less that of {self.against}"
        return Summary(
            f"the logit of {self.label}{against} is {self.logit:.4f}: all products and a bias of {self.bias:.4f}",
            "rlrrr",
            ("feature", "cell", "value", "weight", "product"),
            tuple(
                (
                    str(part.feature),
                    "" if part.cell is None else ", ".join(map(str, part.cell)),
                    *(f"{number:.4f}" for number in (part.value, part.weight, part.product)),
                )
                for part in self.top
            ),
            (f"the other {self.n_rest:,}: {self.rest:.4f}",) if self.n_rest else (),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Summarised, ReadOnly):
    """The values of every layer of a fitted network for one image.

    Attributes
    ----------
    image : ndarray of shape (channels, height, width), uint8 or float32
        The raw pixels.
    classes : ndarray of shape (n_classes,)
        The labels, in the order of the logits.
    steps : tuple of Step
        One a layer, in the order in which the image passes them; the last one is the softmax.

    Notes
    -----
    A member of a search is traced with ``search.best_estimator_.trace(image)``, the last step of a pipeline with
    ``pipe[-1].trace(pipe[:-1].transform(X[:1])[0])``.
    """

    image: NDArray[Any]
    classes: NDArray[Any]
    steps: tuple[Step, ...]
    _module: nn.Sequential

    @classmethod
    def record(cls, module: nn.Sequential, image: NDArray[Any], classes: NDArray[Any]) -> "Trace":
        """Send one image (channels, height, width) through a copy of a network and keep what every layer gives."""
        module = copy.deepcopy(module).cpu().eval()
        return cls(image, classes, record_steps(module, image), module)

    def follow(self, image: NDArray[Any]) -> "Trace":
        """Trace another image through the same copy of the network; verifying both exports the network once.

        Parameters
        ----------
        image : ndarray of shape (channels, height, width)
            Raw pixels, laid out as :attr:`image`.

        Returns
        -------
        Trace
            Of the other image.

        Raises
        ------
        ValueError
            For another shape.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.diff(trace.follow(trace.image))[-1].n_changed
        0
        """
        if np.shape(image) != self.image.shape:
            raise ValueError(
                f"Expected an image of shape {self.image.shape}, (channels, height, width) as this trace's; "
                f"got {np.shape(image)}."
            )
        return Trace(image, self.classes, record_steps(self._module, image), self._module)

    def _summary(self) -> Summary:
        return Summary(
            f"{shape_of(self.image)} pixels → {self.label} with {percent(self.share)}",
            "llrrr",
            ("layer", "what it is", "output", "parameters", "multiply-adds"),
            tuple(
                (step.name, step.description, shape_of(step.output), *map("{:,}".format, counts_of(step)))
                for step in self.walk()
            ),
        )

    @property
    def logits(self) -> Array:
        """One number a class, before the softmax."""
        return self.steps[-1].input

    @property
    def probabilities(self) -> Array:
        """One probability a class."""
        return self.steps[-1].output

    @property
    def share(self) -> float:
        """The probability of the predicted class; 1 only where every other one is 0, whatever float32 rounds it to."""
        return share_of(self.probabilities.tolist(), int(self.logits.argmax()))

    @property
    def label(self) -> Any:
        """The predicted class."""
        return self.classes[self.logits.argmax()]

    @property
    def ranking(self) -> NDArray[Any]:
        """The classes, likeliest first."""
        ranked: NDArray[Any] = self.classes[np.argsort(-self.logits, kind="stable")]
        return ranked

    @property
    def coverage(self) -> float:
        """Share of the recorded numbers that NumPy recomputes: 1 where no layer is unknown."""
        innermost = [step for step in self.walk() if not step.steps]
        known = sum(step.output.size for step in innermost if step.kind != "unknown")
        return known / sum(step.output.size for step in innermost)

    @property
    def unknown(self) -> tuple[Step, ...]:
        """The layers that are shown but not recomputed."""
        return tuple(step for step in self.walk() if step.kind == "unknown")

    def __getitem__(self, name: str) -> Step:
        """Find a step by its layer's name; those inside blocks too."""
        for step in self.walk():
            if step.name == name:
                return step
        names = [step.name for step in self.walk()]
        raise KeyError(f"Expected the name of a layer, one of {quote_all(names)}; got {quote(name)}.")

    def walk(self) -> Iterator[Step]:
        """Give every step, a block before what is inside it."""
        return walk(self.steps)

    def verify(self) -> Verification:
        """Prove every recorded number by three engines.

        - torch computes the whole way again, from the image: every output and weight has the same bits.
        - NumPy recomputes each layer in float64 from its recorded input: convolutions and dense layers are within
          γₙ·Σ|w·x|, γₙ = n·u / (1 − n·u), u = 2⁻²⁴, of n products; what rounds less is held to less, and what does not
          round (ReLU, max pooling, flatten, dropout) is equal.
        - onnxruntime runs the exported graph, without any optimisation, and gives every layer's output within
          1e-5·max(1, max|a|).

        Returns
        -------
        Verification
            One check a layer; ``passed``, ``failed``, and a table when printed.

        Raises
        ------
        RuntimeError
            If torch cannot export the network.

        References
        ----------
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1.
        """
        return verify(self.steps, record_steps(self._module, self.image), self._module, self.image)

    def receptive_field(self, name: str, *cell: int, within: str | None = None) -> ReceptiveField:
        """Find what a unit sees of the image, or of an earlier layer's output.

        Changing anything outside leaves the unit as it is, to the bit. An unknown layer is taken to see everything.

        Parameters
        ----------
        name : str
            The unit's layer.
        *cell : int
            Row and column in maps; the feature in a row of features.
        within : str, optional
            A layer before it; without it, the field is in the image.

        Returns
        -------
        ReceptiveField
            Without the part that lies in the padding.

        Raises
        ------
        KeyError
            For a name that no layer has.
        ValueError
            For a unit that is not there, or a layer that the unit does not depend on.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.receptive_field("pool1", 0, 1)
        ReceptiveField(top=0, left=2, bottom=6, right=8)
        >>> trace.receptive_field("pool1", 0, 1, within="conv1")
        ReceptiveField(top=0, left=2, bottom=2, right=4)
        """
        unit = check_cell(name, axes(self[name].output.shape), cell)
        goal = IMAGE if within is None else self[within].name
        regions: dict[str, Region] = {name: tuple((i, i + 1) for i in unit)}
        for step, inputs in reversed(list(wire(self.steps, IMAGE))):
            if step.name in regions:
                seen = look_back(step, regions[step.name])
                for source in inputs:
                    regions[source] = unite(regions.get(source, seen), seen)
        if goal not in regions:
            raise ValueError(
                f"Expected within to name a layer that {quote(name)} is computed from; got {quote(within)}."
            )
        (top, bottom), (left, right) = ((0, 1), *regions[goal])[-2:]
        return ReceptiveField(top, left, bottom, right)

    def diff(self, other: "Trace") -> tuple[StepDiff, ...]:
        """Compare with the trace of another image, or of another network of the same architecture.

        Parameters
        ----------
        other : Trace
            Layers of the same names and shapes.

        Returns
        -------
        tuple of StepDiff
            One a layer, in the order of :meth:`walk`.

        Raises
        ------
        ValueError
            If the layers differ in name or shape.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> [diff.n_changed for diff in clf.trace(X[5]).diff(clf.trace(X[5]))][:3]
        [0, 0, 0]
        """
        mine, theirs = ([(step.name, step.output.shape) for step in trace.walk()] for trace in (self, other))
        if mine != theirs:
            raise ValueError(
                f"Expected two traces whose layers have the same names and shapes; got {show_layers(mine)} and "
                f"{show_layers(theirs)}. Compare networks of one architecture."
            )
        return tuple(map(compare_steps, self.walk(), other.walk()))

    def evidence(self, label: Any = None, against: Any = None, k: int = 10) -> Evidence:
        """Tell which features made the logit of a class, or set it apart from another's.

        Parameters
        ----------
        label : label, optional
            The class; the predicted one without it.
        against : label, optional
            A class whose logit is taken off. ``trace.evidence(against=trace.ranking[1])`` tells what separates the
            first class from the second.
        k : int, default=10
            How many features are told one by one.

        Returns
        -------
        Evidence
            top + rest + bias = logit.

        Raises
        ------
        ValueError
            For an unknown label, or if the logits do not come from a dense layer.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> evidence = trace.evidence(against=trace.ranking[1], k=3)
        >>> len(evidence.top), evidence.n_rest
        (3, 253)
        """
        if k < 0:
            raise ValueError(f"Expected k of at least 0; got {k}.")
        dense = find_last_dense(self)
        chosen = [self._position(self.label if label is None else label)]
        chosen += [] if against is None else [self._position(against)]
        weights, biases = dense.weights["weight"], dense.weights.get("bias", np.zeros(len(self.classes)))
        weight, bias, recorded = (
            functools.reduce(operator.sub, array.astype(np.float64)[chosen]) for array in (weights, biases, self.logits)
        )
        products = weight * dense.input
        order = np.argsort(-np.abs(products), kind="stable")
        shape = flattened_shape(self, dense)
        top = tuple(
            Contribution(
                int(i),
                None if shape is None else unravel(i, shape),
                dense.input[i].item(),
                weight[i].item(),
                products[i].item(),
            )
            for i in order[:k]
        )
        rest = math.fsum(products[order[k:]])
        logit = math.fsum([*(contribution.product for contribution in top), rest, bias])
        return Evidence(
            self.classes[chosen[0]],
            None if against is None else self.classes[chosen[1]],
            top,
            rest,
            len(products) - len(top),
            float(bias),
            logit,
            float(recorded),
        )

    def occlusion(self, size: int | None = None, label: Any = None) -> Array:
        """Measure how much each part of the image matters, by covering it.

        A square of the training images' mean grey (or colour) is laid on the image, centred at every pixel in turn.

        Parameters
        ----------
        size : int, optional
            Side of the square in pixels, an odd number; about a quarter of the image's shorter side without it.
        label : label, optional
            The class; the predicted one without it.

        Returns
        -------
        ndarray of shape (height, width), float32
            By how much the class's logit drops. The reference shows the probability, which hardly moves where a
            network is sure.

        Raises
        ------
        ValueError
            For an even or a negative size, and for an unknown label.

        References
        ----------
        Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, section 4.2.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.occlusion().shape
        (8, 8)
        """
        position = self._position(self.label if label is None else label)
        _, height, width = self.image.shape
        size = min(height, width) // 4 | 1 if size is None else size
        if size < 1 or size % 2 == 0:
            raise ValueError(f"Expected size to be an odd number of pixels, so that a square has a centre; got {size}.")
        covered = cover(self.image, self.steps[0].weights["mean"], size)
        with session("cpu"), torch.inference_mode():
            images = torch.from_numpy(covered)
            network, n_rows = rows_alike(self._module), rows_at_once(self._module, images)
            logits = torch.cat([network(part) for part in torch.split(images, n_rows)])
        drop: Array = self.logits[position] - logits[:, position].numpy()
        return drop.reshape(height, width)

    def gradient(self, label: Any = None) -> Array:
        """Differentiate a class's logit with respect to the raw pixels.

        Parameters
        ----------
        label : label, optional
            The class; the predicted one without it.

        Returns
        -------
        ndarray of shape (channels, height, width), float32
            By how much the logit rises with each pixel, per unit of the pixels.

        Raises
        ------
        ValueError
            For an unknown label.

        References
        ----------
        Simonyan et al. 2013, Deep inside convolutional networks, section 3.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.gradient().shape
        (1, 8, 8)
        """
        position = self._position(self.label if label is None else label)
        with session("cpu"):
            x = as_batch(self.image.astype(np.float32)).requires_grad_()
            (gradient,) = torch.autograd.grad(self._module(x)[0, position], x)
        return gradient[0].numpy()

    def to_text(self) -> str:
        """Tell the whole way as plain text, for the terminal."""
        from cnnclf.inspection._narrative import to_text

        return to_text(self)

    def to_markdown(self) -> str:
        """Tell the whole way as Markdown."""
        from cnnclf.inspection._narrative import to_markdown

        return to_markdown(self)

    def to_latex(self) -> str:
        """Tell the whole way as a LaTeX document."""
        from cnnclf.inspection._narrative import to_latex

        return to_latex(self)

    def to_xlsx(self, path: str | os.PathLike[str], layers: Sequence[str] | None = None) -> Path:
        """Write a workbook with live formulas: change a pixel and watch the prediction change.

        Parameters
        ----------
        path : path-like
            Replaced if it exists.
        layers : sequence of str, optional
            Only these layers, their inputs as plain numbers; the way for large networks.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            For a network that is too large for a workbook, or has an unknown layer.
        """
        from cnnclf.inspection._xlsx_sheets import write

        return write(self, path, layers)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page that works offline: every cell shows its arithmetic and what it sees.

        Parameters
        ----------
        path : path-like
            Replaced if it exists.

        Returns
        -------
        Path
            The file.
        """
        from cnnclf.inspection._html import write

        return write(self, path)

    def _position(self, label: Any) -> int:
        """Find a label among the classes."""
        classes: list[Any] = self.classes.tolist()
        if label not in classes:
            raise ValueError(f"Expected a label among the classes {quote_all(classes)}; got {quote(label)}.")
        return classes.index(label)


def shape_of(values: NDArray[Any]) -> str:
    """Write a shape, "16×24×24"."""
    return "×".join(map(str, values.shape))


def counts_of(step: Step) -> tuple[int, int]:
    """Give the two counts of a layer."""
    return step.n_parameters, step.n_multiply_adds


# Recording: what the fold over the layers gives, taken out of torch.


def record_steps(module: nn.Module, image: NDArray[Any]) -> tuple[Step, ...]:
    """Send one image (channels, height, width) through a network and keep every layer's numbers."""
    with session("cpu"), torch.inference_mode():
        # As prediction does, to the bit; what is counted are the products of the layers as they stand.
        passes = fold_to_softmax(module, as_batch(image), How(apply=lambda layer, x: rows_alike(layer)(x)))
        with MultiplyAdds() as counter:
            counted = fold_to_softmax(module, as_batch(image), How(count=lambda: counter.total))
        return to_steps(passes, counted)


def as_batch(image: NDArray[Any]) -> torch.Tensor:
    """Make a batch of one, laid out as for prediction."""
    return torch.from_numpy(np.array(image)[np.newaxis]).contiguous(memory_format=torch.channels_last)


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Give every step, a block before what is inside it."""
    for step in steps:
        yield step
        yield from walk(step.steps)


def to_steps(passes: tuple[Pass, ...], counted: tuple[Pass, ...]) -> tuple[Step, ...]:
    """Take tensors out of torch; show each batch norm the convolution before it."""
    steps: list[Step] = []
    conv = None
    for each, count in zip(passes, counted, strict=True):
        step = to_step(each, count, conv)
        if step.kind == "conv":
            conv = step
        elif step.kind not in ("max_pool", "avg_pool", "global_avg_pool", "dropout"):  # what a kernel folds through
            conv = None
        steps.append(step)
    return tuple(steps)


def to_step(each: Pass, counted: Pass, conv: Step | None) -> Step:
    """Take one layer's tensors out of torch."""
    kind, settings = recognise(each.layer, each.input)
    inner = to_steps(each.steps, counted.steps)
    weights = {} if inner else read_weights(each.layer, kind)
    return Step(
        each.name,
        kind,
        describe(each.layer),
        each.input[0].numpy(),
        each.output[0].numpy(),
        weights,
        settings,
        count_parameters(each.layer),
        counted.n_multiply_adds,
        inner,
        conv if kind == "norm" else None,
    )


RECOGNISED = (
    *(Standardise, nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Softmax),
    *(nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, nn.Linear, Residual, nn.Sequential),
)


def recognise(layer: nn.Module, x: torch.Tensor) -> tuple[str, dict[str, Any]]:
    """Tell what kind of layer this is, and its settings; "unknown" for whatever we could not recompute."""
    if not any(isinstance(layer, kind) and is_forward_of(layer, kind) for kind in RECOGNISED):
        return "unknown", {}
    match layer:
        case Standardise():
            return "standardise", {}
        case nn.Conv2d() if layer.padding_mode == "zeros" and (padding := conv_padding(layer)) is not None:
            return "conv", {
                "kernel": layer.kernel_size,
                "stride": layer.stride,
                "padding": padding,
                "dilation": layer.dilation,
                "groups": layer.groups,
            }
        case nn.BatchNorm2d() | nn.BatchNorm1d() if layer.running_mean is not None:
            return "norm", {"eps": layer.eps}
        case nn.ReLU():
            return "relu", {}
        case nn.MaxPool2d() if pair(layer.dilation) == (1, 1) and not layer.ceil_mode and not layer.return_indices:
            return "max_pool", pooling_settings(layer)
        case nn.AvgPool2d() if not layer.ceil_mode and layer.divisor_override is None and pair(layer.padding) == (0, 0):
            return "avg_pool", pooling_settings(layer)
        case nn.AdaptiveAvgPool2d() if pair(layer.output_size) == (1, 1):
            return "global_avg_pool", {}
        case nn.Dropout() | nn.Dropout2d() | nn.Identity():
            return "dropout", {}
        case nn.Flatten() if layer.start_dim == 1 and layer.end_dim == -1:
            return "flatten", {}
        case nn.Linear() if x.ndim == 2:
            return "dense", {}
        case nn.Softmax() if x.ndim == 2 and layer.dim in (1, -1):
            return "softmax", {}
        case Residual():
            return "residual", {}
        case nn.Sequential():
            return ("block" if len(layer) else "dropout"), {}  # an empty one changes nothing
    return "unknown", {}


def conv_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Resolve a convolution's padding to (vertical, horizontal); None where the two ends differ."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
    assert not isinstance(layer.padding, str)
    return pair(layer.padding)


def pooling_settings(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """Give a pooling layer's window, stride and padding as pairs."""
    return {name: pair(getattr(layer, attribute)) for name, attribute in POOLING_SETTINGS}


POOLING_SETTINGS = (("window", "kernel_size"), ("stride", "stride"), ("padding", "padding"))


def pair(value: Any) -> tuple[int, int]:
    """Give a setting that torch lets one number or two stand for as two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


WEIGHTS = ("weight", "bias", "running_mean", "running_var", "mean", "std")


def read_weights(layer: nn.Module, kind: str) -> dict[str, Array]:
    """Take a layer's numbers out of torch, those that a parametrisation computes included."""
    if kind == "unknown":
        tensors: dict[str, Any] = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    else:
        tensors = {name: getattr(layer, name, None) for name in WEIGHTS}
    return {
        name: tensor.detach().numpy()
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }


# Looking further.


def wire(steps: Sequence[Step], before: str) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """Give every step in the order of computation, with the names of those whose outputs it takes."""
    for step in steps:
        inputs: tuple[str, ...] = (before,)
        if step.kind == "residual":
            *body, shortcut = step.steps
            yield from wire(body, before)
            yield from wire([shortcut], before)
            inputs = (body[-1].name if body else before, shortcut.name)
        elif step.steps:
            yield from wire(step.steps, before)
            inputs = (step.steps[-1].name,)
        yield step, inputs
        before = step.name


def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the channels: the rows and columns of maps, or the features of a row."""
    return shape[1:] or shape


def look_back(step: Step, region: Region) -> Region:
    """Find the part of a layer's input that a part of its output is computed from."""
    sizes = axes(step.input.shape)
    s = step.settings
    if any(start == stop for start, stop in region):  # nothing but padding is seen
        return ((0, 0),) * len(sizes)
    if step.kind in ("conv", "max_pool", "avg_pool"):
        kernel, dilation = (s["kernel"], s["dilation"]) if step.kind == "conv" else (s["window"], (1, 1))
        seen = zip(region, kernel, s["stride"], s["padding"], dilation, sizes, strict=True)
        return tuple(
            clip(start * stride - pad, (stop - 1) * stride - pad + d * (k - 1) + 1, size)
            for (start, stop), k, stride, pad, d, size in seen
        )
    if step.kind == "flatten" and region != ((0, step.output.size),):
        ((feature, _),) = region
        return tuple((i, i + 1) for i in axes(unravel(feature, step.input.shape)))
    if step.kind in ("flatten", "global_avg_pool", "dense", "softmax", "unknown"):
        return tuple((0, size) for size in sizes)
    return region


def clip(start: int, stop: int, size: int) -> tuple[int, int]:
    """Cut an interval off at both ends of an axis."""
    start = min(max(start, 0), size)
    return start, max(min(stop, size), start)


def unite(a: Region, b: Region) -> Region:
    """Find the smallest region that holds two; one of nothing adds nothing."""
    regions = [region for region in (a, b) if all(start < stop for start, stop in region)] or [a]
    return tuple(
        (min(starts), max(stops)) for starts, stops in (zip(*axis, strict=True) for axis in zip(*regions, strict=True))
    )


def compare_steps(a: Step, b: Step) -> StepDiff:
    """Measure how far two outputs of one layer are apart."""
    x = a.output.astype(np.float64)
    distance = np.abs(b.output - x)
    norms = np.linalg.norm(distance), np.linalg.norm(x)
    relative = 0.0 if norms[0] == 0 else float(norms[0] / norms[1]) if norms[1] else math.inf
    return StepDiff(
        a.name,
        distance.max(initial=0).item(),
        distance.mean().item(),
        relative,
        int(np.count_nonzero(distance)),
    )


def show_layers(layers: list[tuple[str, tuple[int, ...]]]) -> str:
    """List layers with their shapes in a sentence."""
    return ", ".join(f"{name} {shape}" for name, shape in layers)


def find_last_dense(trace: Trace) -> Step:
    """Find the dense layer that gives the logits."""
    *_, last, _ = (step for step in in_order(trace.steps) if not step.steps)
    if last.kind != "dense" or not same_bits(last.output, trace.logits):
        raise ValueError(
            f"Expected logits that come from a dense layer, whose products are the evidence; got {last.name!r} "
            f"({last.description}) as the last layer. Use occlusion or gradient, which need none."
        )
    return last


def flattened_shape(trace: Trace, dense: Step) -> tuple[int, ...] | None:
    """Find the shape of the maps that a dense layer's features were flattened from, if they were."""
    wired = {step.name: (step, inputs) for step, inputs in wire(trace.steps, IMAGE)}
    _, inputs = wired[dense.name]
    while inputs[0] != IMAGE:
        step, inputs = wired[inputs[0]]
        if step.kind == "flatten":
            return step.input.shape
        if step.kind not in ("dropout", "relu", "norm", "block"):  # these keep every feature in its place
            return None
    return None


def cover(image: NDArray[Any], mean: Array, size: int) -> Array:
    """Lay a square of the mean on an image, once for each of its pixels: (height · width, channels, height, width)."""
    _, height, width = image.shape
    covered = np.repeat(image[np.newaxis].astype(np.float32), height * width, axis=0)
    reach = size // 2
    for i, (row, column) in enumerate(np.ndindex(height, width)):
        covered[i, :, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = mean
    return covered
