"""What a network makes of a drawing: the label, the probabilities and the maps of its layers."""

import base64
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnclf.inspection._html import render

if TYPE_CHECKING:
    from onnx import GraphProto

    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.onnx._classifier import ONNXClassifier


KINDS = ("conv", "max_pool", "avg_pool", "global_max_pool", "global_avg_pool")  # of a trace's steps
OPERATORS = ("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")  # of a graph's nodes

MOST_MAPS = 16  # of a layer that the page shows, evenly spread


@dataclass(frozen=True, eq=False)
class Maps:
    """What leaves one layer.

    Attributes
    ----------
    name : str
        The layer's.
    values : ndarray of shape (channels, height, width), float32
        Its feature maps.
    """

    name: str
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """What a network makes of one image.

    Attributes
    ----------
    probabilities : ndarray of shape (n_classes,), float32
        In the order of the network's classes.
    maps : tuple of Maps
        Of every convolution and pooling, in their order.
    """

    probabilities: NDArray[np.float32]
    maps: tuple[Maps, ...]


class Network(Protocol):
    """A network that can be asked about one image."""

    labels: list[str]

    def look(self, row: NDArray[Any]) -> Look:
        """Run one row of X."""

    def walk(self, row: NDArray[Any]) -> str | None:
        """Build the page that walks through every number of it; None where the network cannot be traced."""


class TracedNetwork:
    """A fitted estimator that is asked about one image.

    Parameters
    ----------
    clf : CNNClassifier
        Fitted.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> network = TracedNetwork(CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X[:100], y[:100]))
    >>> {maps.name: maps.values.shape for maps in network.look(X[0]).maps}
    {'conv1': (6, 8, 8), 'pool1': (6, 4, 4), 'conv2': (16, 1, 1)}
    """

    def __init__(self, clf: "CNNClassifier") -> None:
        self.clf = clf
        self.labels = [str(label) for label in clf.classes_.tolist()]

    def look(self, row: NDArray[Any]) -> Look:
        """Run one row of X."""
        trace = self.clf.trace(row)
        maps = (Maps(step.name, step.output) for step in trace.walk() if step.kind in KINDS and step.output.ndim == 3)
        return Look(trace.probabilities, tuple(maps))

    def walk(self, row: NDArray[Any]) -> str:
        """Build the page that walks through every number of it."""
        return render(self.clf.trace(row))


class ExportedNetwork:
    """An exported classifier that is asked about one image.

    Parameters
    ----------
    clf : ONNXClassifier
        From a file that :meth:`cnnclf.CNNClassifier.to_onnx` wrote.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, ONNXClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier("lenet5", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.to_onnx(f"{folder}/digits.onnx")
    ...     network = ExportedNetwork(ONNXClassifier(f"{folder}/digits.onnx"))
    >>> {maps.name: maps.values.shape for maps in network.look(X[0]).maps}
    {'conv1': (6, 8, 8), 'pool1': (6, 4, 4), 'conv2': (16, 1, 1)}
    """

    def __init__(self, clf: "ONNXClassifier") -> None:
        import onnx

        from cnnclf.onnx._file import read_file
        from cnnclf.onnx._runtime import load_graph

        self.clf = clf
        self.labels = [str(label) for label in clf.classes_.tolist()]
        model = onnx.load_from_string(read_file(clf.path))
        self._name_of = name_outputs(model.graph)
        model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in self._name_of)
        self._session = load_graph(model.SerializeToString(), clf.metadata_["session"], int(clf.n_threads or 1))

    def look(self, row: NDArray[Any]) -> Look:
        """Run one row of X."""
        (probabilities,) = self.clf.predict_proba(row[np.newaxis])
        # The second session's own probabilities would differ for int8: layers whose output is asked for are not joined.
        outputs = self._session.run(list(self._name_of), {"X": row[np.newaxis]}) if self._name_of else []
        maps = (
            Maps(name, output[0])
            for name, output in zip(self._name_of.values(), outputs, strict=True)
            if output.ndim == 4  # (n, channels, height, width)
        )
        return Look(probabilities, tuple(maps))

    def walk(self, row: NDArray[Any]) -> None:
        """Build no page: the graph has the function of the network, and not its layers."""


def name_outputs(graph: "GraphProto") -> dict[str, str]:
    """Find the tensors that leave convolutions and poolings; name them as architectures do: conv1, pool1, conv2."""
    counts: Counter[str] = Counter()
    names = {}
    for node in graph.node:
        if node.op_type in OPERATORS:
            kind = "conv" if node.op_type == "Conv" else "pool"
            counts[kind] += 1
            names[node.output[0]] = f"{kind}{counts[kind]}"
    return names


def pack(maps: Maps) -> dict[str, Any]:
    """Write feature maps down in few bytes: a number is seen as one of 255 shades."""
    n = len(maps.values)
    channels = np.arange(n) if n <= MOST_MAPS else np.arange(MOST_MAPS) * n // MOST_MAPS
    largest = float(np.abs(maps.values).max()) or 1.0
    shades = np.rint(maps.values[channels] / np.float32(largest) * 127).astype(np.int8)
    return {
        "name": maps.name,
        "shape": maps.values.shape,
        "channels": channels.tolist(),
        "largest": float(f"{largest:.2g}"),
        "values": base64.b64encode(shades.tobytes()).decode(),
    }
