"""One image on its way through a fitted network: every layer's values, and what can be done with them.

The records lie in ``_records``; each method here points to the function that does the work.
"""

import copy
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import nn

from cnnclf._utils.tables import Summarised, Summary
from cnnclf._utils.text import percent
from cnnclf.inspection import _attribution, _evidence, _explain, _geometry, _latex, _record, _records, _text, _verify
from cnnclf.inspection._arithmetic import Explanation
from cnnclf.inspection._evidence import Evidence
from cnnclf.inspection._geometry import ReceptiveField
from cnnclf.inspection._recompute import Recomputed, recompute
from cnnclf.inspection._records import Array, StepDiff, StepRecord, TraceRecord, shape_of
from cnnclf.inspection._verify import Verification


@dataclass(frozen=True, eq=False, repr=False)
class Step(StepRecord):
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

    @functools.cached_property
    def recomputed(self) -> Recomputed | None:
        """The output computed again by NumPy in float64 from the recorded input; None for an unknown layer."""
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
        One a layer, in the order in which the image passes them; the last one is the softmax.

    Notes
    -----
    A member of a search is traced with ``search.best_estimator_.trace(image)``, the last step of a pipeline with
    ``pipe[-1].trace(pipe[:-1].transform(X[:1])[0])``.
    """

    steps: tuple[Step, ...]
    _module: nn.Sequential

    @classmethod
    def record(cls, module: nn.Sequential, image: NDArray[Any], classes: NDArray[Any]) -> "Trace":
        """Send one image (channels, height, width) through a copy of a network and keep what every layer gives."""
        module = copy.deepcopy(module).cpu().eval()
        return cls(image, classes, _record.record_steps(module, image, Step), module)

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
        _geometry.check_shape(image, self.image.shape)
        return Trace(image, self.classes, _record.record_steps(self._module, image, Step), self._module)

    def _summary(self) -> Summary:
        counts = ((step, f"{step.n_parameters:,}", f"{step.n_multiply_adds:,}") for step in self.walk())
        return Summary(
            f"{shape_of(self.image)} pixels → {self.label} with {percent(self.share)}",
            "llrrr",
            ("layer", "what it is", "output", "parameters", "multiply-adds"),
            tuple((step.name, step.description, shape_of(step.output), *numbers) for step, *numbers in counts),
        )

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
        """Return the step of a layer's name; those inside blocks too."""
        return _records.find_step(self.steps, name)

    def walk(self) -> Iterator[Step]:
        """Yield every step, a block before what is inside it."""
        return _records.walk(self.steps)

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
        return _verify.verify(self, self._module)

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
        return _records.compare_traces(self, other)

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
        return _evidence.collect_evidence(self, label, against, k)

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
        return _attribution.compute_occlusion(self, self._module, size, label)

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
        from cnnclf.inspection import _xlsx

        return _xlsx.write(self, path, layers)

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
        from cnnclf.inspection import _html

        return _html.write(self, path)
