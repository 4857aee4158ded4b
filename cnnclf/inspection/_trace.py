"""The public trace of one image through a fitted network; each method points to the module that does the work."""

import copy
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import percent
from cnnclf.images._spec import InputSpec, infer_layout
from cnnclf.inspection import _attribution, _evidence, _explain, _geometry, _latex, _records, _run, _text, _verify
from cnnclf.inspection._arithmetic import Explanation
from cnnclf.inspection._evidence import Evidence
from cnnclf.inspection._geometry import ReceptiveField
from cnnclf.inspection._recompute import Recomputed, recompute
from cnnclf.inspection._records import Array, StepDiff, StepRecord, TraceRecord, shape_of
from cnnclf.inspection._verify import Verification


@dataclass(frozen=True, eq=False, repr=False)
class Step(StepRecord):
    """The input, output and weights of one layer for one image.

    Attributes
    ----------
    name : str
        The layer's name, "conv1"; inside a block with the block's name before it, "block1.conv1".
    kind : str
        One of "standardise", "conv", "norm", "relu", "leaky_relu", "gelu", "silu", "sigmoid", "tanh", "max_pool",
        "avg_pool", "global_max_pool", "global_avg_pool", "dropout", "flatten", "dense", "softmax", "block" and
        "residual"; "unknown" for a layer that is shown but not recomputed.
    description : str
        The layer in words, "Conv2d 5×5, padding 2".
    input, output : ndarray, float32 (the first input may be uint8)
        Without the batch axis: (channels, height, width) or (features,). Read-only copies.
    weights : mapping of str to ndarray, float32
        Named as in torch: "weight", "bias", "running_mean", "running_var", and "mean", "std" of the first layer.
        Read-only copies.
    settings : mapping of str to int, float or pairs of int
        What else the layer needs, each pair (vertical, horizontal). A convolution has "kernel", "stride", "padding"
        (both ends alike), "dilation" and "groups"; pooling "window", "stride" and "padding"; batch norm "eps"; leaky
        ReLU "slope".
    n_parameters : int
        Trainable parameters.
    n_multiply_adds : int
        Multiplications with an addition, for one image.
    steps : tuple of Step
        The layers inside a block; empty for a single layer. In a residual block the last one is the shortcut.
    conv : Step or None
        For a batch norm, the convolution before it, into whose kernels it can be folded.
    """

    @functools.cached_property
    def recomputed(self) -> Recomputed | None:
        """The output computed again by NumPy in float64 from the recorded input; None for an unknown layer."""
        return recompute(self)

    def explain(self, *cell: int) -> Explanation:
        """Return the arithmetic behind one number of the output.

        Parameters
        ----------
        *cell : int
            Channel, row and column in maps; the feature in a row of features.

        Returns
        -------
        Explanation
            Every product, bias and sum.

        Raises
        ------
        ValueError
            If the output has no such cell, or if the layer cannot be recomputed.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier("compact", max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> explanation = trace["conv1"].explain(3, 0, 2)
        >>> explanation.shape, explanation.terms[7].source
        ((1, 5, 5), (0, 1, 4))
        """
        return _explain.explain(self, cell, _explain.last_layer(self).recomputed)


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Summarised, TraceRecord):
    """The values of every layer of a fitted network for one image.

    Attributes
    ----------
    image : ndarray of shape (channels, height, width), uint8 or float32
        The raw pixels.
    classes : ndarray of shape (n_classes,)
        The labels, in the order of the logits.
    steps : tuple of Step
        One per layer, in the order of computation; the last one is the softmax.

    Notes
    -----
    A member of a search is traced with ``search.best_estimator_.trace(image)``, the last step of a pipeline with
    ``pipe[-1].trace(pipe[:-1].transform(X[:1])[0])``.
    """

    steps: tuple[Step, ...]
    _module: nn.Sequential
    _spec: InputSpec

    @classmethod
    def record(
        cls, module: nn.Sequential, image: NDArray[Any], classes: NDArray[Any], spec: InputSpec | None = None
    ) -> "Trace":
        """Run a copy of a network on one image (channels, height, width) and record the output of every layer."""
        module = copy.deepcopy(module).cpu().eval()
        spec = spec or InputSpec.of(image[np.newaxis], infer_layout(image.shape, image.shape))
        return cls(image, classes, _run.record_steps(module, image, Step), module, spec)

    def follow(self, image: NDArray[Any]) -> "Trace":
        """Return the trace of another image through the same copy of the network, which is exported once for both.

        Parameters
        ----------
        image : ndarray of shape (channels, height, width)
            Raw pixels, in the shape of :attr:`image`.

        Returns
        -------
        Trace
            The trace of the other image.

        Raises
        ------
        ValueError
            If the shape differs.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.diff(trace.follow(trace.image))[-1].n_changed
        0
        """
        _geometry.check_shape(image, self.image.shape)
        steps = _run.record_steps(self._module, image, Step)
        return Trace(image, self.classes, steps, self._module, self._spec)

    def _summary(self) -> Summary:
        title = f"{shape_of(self.image)} pixels → {self.label} with {percent(self.share)}"
        return Summary(title, *_records.LAYER_TABLE, _records.list_layer_rows(self))

    @property
    def coverage(self) -> float:
        """Share of the recorded numbers that NumPy recomputes: 1 where no layer is unknown."""
        sizes = [(step.output.size, step.kind != "unknown") for step in self.walk() if not step.steps]
        return sum(size for size, known in sizes if known) / sum(size for size, _ in sizes)

    @property
    def unknown(self) -> tuple[Step, ...]:
        """The layers that are shown but not recomputed."""
        return tuple(step for step in self.walk() if step.kind == "unknown")

    def __getitem__(self, name: str) -> Step:
        """Return the step with a layer's name, inside blocks too."""
        return _records.find_step(self.steps, name)

    def walk(self) -> Iterator[Step]:
        """Yield every step, a block before what is inside it."""
        return _records.walk(self.steps)

    def verify(self) -> Verification:
        """Check every recorded number with three engines.

        - torch computes all layers again, from the image: every output and weight has the same bits.
        - NumPy recomputes each layer in float64 from its recorded input: convolutions and dense layers are within
          γₙ·Σ|w·x|, γₙ = n·u / (1 − n·u), u = 2⁻²⁴, for n products; layers with fewer roundings have smaller bounds;
          layers without rounding (ReLU, max pooling, flatten, dropout) are equal.
        - onnxruntime runs the exported graph without optimisation: every output is within 1e-5·max(1, max|a|).

        Returns
        -------
        Verification
            One check per layer; ``passed``, ``failed``, and a table when printed.

        Raises
        ------
        RuntimeError
            If torch cannot export the network.

        References
        ----------
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1.
        """
        return _verify.verify(self, self._module)

    def receptive_field(self, name: str, *cell: int, within: str | None = None) -> ReceptiveField:
        """Return the part of the image, or of an earlier layer's output, that a unit depends on.

        Changes outside it leave the unit bit-identical. An unknown layer is assumed to depend on its whole input.

        Parameters
        ----------
        name : str
            The unit's layer.
        *cell : int
            Row and column in maps; the feature in a row of features.
        within : str, optional
            An earlier layer; by default the field is in the image.

        Returns
        -------
        ReceptiveField
            The field, without padding.

        Raises
        ------
        KeyError
            If no layer has the name.
        ValueError
            If the layer has no such unit, or the unit does not depend on ``within``.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier("compact", max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> trace.receptive_field("pool1", 0, 1)
        ReceptiveField(top=0, left=2, bottom=6, right=8)
        >>> trace.receptive_field("pool1", 0, 1, within="conv1")
        ReceptiveField(top=0, left=2, bottom=2, right=4)
        """
        return _geometry.find_receptive_field(self, name, cell, within)

    def diff(self, other: "Trace") -> tuple[StepDiff, ...]:
        """Compare with the trace of another image, or of another network of the same architecture.

        Parameters
        ----------
        other : Trace
            Layers of the same names and shapes.

        Returns
        -------
        tuple of StepDiff
            One per layer, in the order of :meth:`walk`.

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
        return _records.compare_traces(self, other)

    def evidence(self, label: Any = None, against: Any = None, k: int = 10) -> Evidence:
        """Compute which features produced the logit of a class, or its difference from another class.

        Parameters
        ----------
        label : label, optional
            The class; the predicted one by default.
        against : label, optional
            A class whose logit is subtracted. ``trace.evidence(against=trace.ranking[1])`` shows what separates the
            first class from the second.
        k : int, default=10
            How many features are listed one by one.

        Returns
        -------
        Evidence
            top + rest + bias = logit.

        Raises
        ------
        ValueError
            If the label is unknown, or if the logits do not come from a dense layer.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> trace = CNNClassifier(max_epochs=1, random_state=0).fit(X, y).trace(X[5])
        >>> evidence = trace.evidence(against=trace.ranking[1], k=3)
        >>> len(evidence.top), evidence.n_rest
        (3, 93)
        """
        return _evidence.collect_evidence(self, label, against, k)

    def occlusion(self, size: int | None = None, label: Any = None) -> Array:
        """Compute how much each part of the image matters, by covering it.

        A square of the training images' mean grey (or colour) covers the image, centred at each pixel in turn.

        Parameters
        ----------
        size : int, optional
            Side of the square in pixels, an odd number; by default about a quarter of the image's shorter side.
        label : label, optional
            The class; the predicted one by default.

        Returns
        -------
        ndarray of shape (height, width), float32
            The drop of the class's logit. The reference shows the probability, which hardly changes where it is near 1.

        Raises
        ------
        ValueError
            If the size is even or negative, or if the label is unknown.

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
        return _attribution.compute_occlusion(self, self._module, size, label)

    def gradient(self, label: Any = None) -> Array:
        """Compute the gradient of a class's logit with respect to the raw pixels.

        Parameters
        ----------
        label : label, optional
            The class; the predicted one by default.

        Returns
        -------
        ndarray of shape (channels, height, width), float32
            The rise of the logit per unit of each pixel.

        Raises
        ------
        ValueError
            If the label is unknown.

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
        return _attribution.compute_gradient(self, self._module, label)

    def to_text(self) -> str:
        """Return the walkthrough as plain text, for the terminal."""
        return _text.to_text(self)

    def to_markdown(self) -> str:
        """Return the walkthrough as Markdown."""
        return _text.to_markdown(self)

    def to_latex(self) -> str:
        """Return the walkthrough as a LaTeX document."""
        return _latex.to_latex(self)

    def to_xlsx(self, path: str | os.PathLike[str], layers: Sequence[str] | None = None) -> Path:
        """Write a workbook with live formulas: change a pixel and watch the prediction change.

        Parameters
        ----------
        path : path-like
            Replaced if it exists.
        layers : sequence of str, optional
            Only these layers, with their inputs as plain numbers; for large networks.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            If the network is too large for a workbook, or has an unknown layer.
        """
        from cnnclf.inspection import _xlsx

        return _xlsx.write(self, path, layers)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one offline page that runs the network, opened at this image: see :meth:`cnnclf.CNNClassifier.to_html`.

        With a layer that the page cannot compute, it shows the recorded numbers of this image and takes no other.

        Parameters
        ----------
        path : path-like
            Replaced if it exists, whole or not at all.

        Returns
        -------
        Path
            The file.
        """
        from cnnclf.inspection import _html

        return _html.write(self, self._spec, path, [self.image])
