"""What a fitted classifier becomes: a file, an ONNX file, a trace, a table of its layers."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted
from torch import nn

from cnnclf._utils.tables import html_table
from cnnclf.architectures._layers import ArchitectureFunction, ImageShape
from cnnclf.architectures._summary import count_parameters, summarize
from cnnclf.classifier._checks import check_known_images
from cnnclf.images._spec import InputSpec
from cnnclf.training._callbacks import list_snapshots
from cnnclf.training._net import Net, tidy_history
from cnnclf.training._runtime import session

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Trace


class ExportMixin:
    """The methods and attributes of a classifier that read what fitting learnt, and change nothing.

    Attributes
    ----------
    classes_, input_spec_, net_
        As in :class:`cnnclf.CNNClassifier`, which sets them.
    """

    classes_: NDArray[Any]
    input_spec_: InputSpec
    net_: Net

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one safetensors file, which is read without running code.

        Parameters
        ----------
        path : path-like
            Replaced, if it exists, whole or not at all.

        Raises
        ------
        ValueError
            If labels are neither text, numbers nor bools, if weights are not finite, and for a model that is larger
            than :meth:`load` takes: 128 MiB, 10,000 classes, images of 2²⁰ numbers.
        OSError
            If the file cannot be written.

        Notes
        -----
        Functions, callbacks, the checkpoint's folder and the optimiser's state are not stored: predictions are
        bit-identical, and ``partial_fit`` continues with a new optimiser. The file holds no training image, only a
        SHA-256 of all and hashes of 64 bits of at most 2,048 images, with which ``cnnclf evaluate`` recognises
        training images.

        Examples
        --------
        >>> import tempfile
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/digits.cnn")
        ...     loaded = CNNClassifier.load(f"{folder}/digits.cnn")
        >>> bool((loaded.predict_proba(X) == clf.predict_proba(X)).all())
        True
        """
        from cnnclf.classifier._persistence import save_estimator

        check_is_fitted(self)
        save_estimator(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], architecture: ArchitectureFunction | None = None) -> Self:
        """Load a fitted estimator that :meth:`save` wrote; no code is run, and any damage is an error.

        SECURITY.md states what is guaranteed for files from untrusted sources.

        Parameters
        ----------
        path : path-like
            The file.
        architecture : callable, optional
            The function that was the ``architecture``, where it was a function: files hold no code.

        Returns
        -------
        CNNClassifier
            Fitted.

        Raises
        ------
        FileNotFoundError
            If there is no file.
        ValueError
            If it is another kind of file, is damaged, or does not fit the architecture.
        """
        from cnnclf.classifier._persistence import load_estimator

        with session("cpu"):
            loaded: Self = load_estimator(cls, path, architecture)
        return loaded

    def to_onnx(
        self, path: str | os.PathLike[str], quantize: str | None = None, calibration: ArrayLike | None = None
    ) -> None:
        """Write one ONNX file, from images as :meth:`fit` takes them to labels and probabilities.

        Parameters
        ----------
        path : path-like
            Replaced, if it exists, whole or not at all.
        quantize : {"int8"} or None, default=None
            "int8" makes a smaller and faster file with slightly different probabilities.
        calibration : array-like, optional
            A few hundred images, as for :meth:`fit`. int8 measures the range of every layer on them, and the file is
            compared with the network on them.

        Raises
        ------
        ValueError
            If int8 is asked for without calibration images or of a network too small for it.
        RuntimeError
            If torch cannot export the network for any number of images, or if the file disagrees with the network;
            nothing is written then.
        OSError
            If the file cannot be written.

        See Also
        --------
        cnnclf.ONNXClassifier : A classifier from such a file, without torch.

        Notes
        -----
        Input ``X`` is uint8 or float32, of the shape that :meth:`fit` was given, with any number of rows. Outputs are
        ``label`` and ``probabilities``, named as scikit-learn's converters name them. Before it is written the file is
        run by ONNX Runtime and by ONNX's reference implementation and compared with torch; where the reference cannot
        run a layer, a warning says that ONNX Runtime alone did.

        An int8 file gives the same results on every processor: its weights have seven bits, so that sums do not
        overflow on processors that add in 16 bits.

        Examples
        --------
        >>> import tempfile
        >>> from cnnclf import CNNClassifier, ONNXClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.to_onnx(f"{folder}/digits.onnx")
        ...     served = ONNXClassifier(f"{folder}/digits.onnx")
        >>> bool((served.predict(X) == clf.predict(X)).all())
        True
        """
        from cnnclf.onnx._export import export

        check_is_fitted(self)
        pixels = None if calibration is None else check_known_images(self, calibration)
        with session("cpu"):
            export(self, path, quantize=quantize, calibration=pixels)

    def trace(self, image: Any) -> "Trace":
        """Record the output of every layer for one image.

        Parameters
        ----------
        image : array-like
            One image, in the shape of a row of ``X`` of :meth:`fit`.

        Returns
        -------
        Trace
            One :class:`~cnnclf.inspection.Step` per layer.

        Raises
        ------
        ValueError
            If it is not one image of that shape.

        Notes
        -----
        The best estimator of a search is traced with ``search.best_estimator_.trace(image)``, the last step of a
        pipeline with ``pipe[-1].trace(pipe[:-1].transform(X[:1])[0])``.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
        >>> trace = clf.trace(X[0])
        >>> int(trace.label), trace["conv1"].output.shape
        (0, (24, 8, 8))
        """
        from cnnclf.inspection._trace import Trace

        check_is_fitted(self)
        pixels = check_known_images(self, np.asarray(image)[np.newaxis])
        with session("cpu"):
            return Trace.record(self.module_, pixels[0], self.classes_, self.input_spec_)

    def to_html(self, path: str | os.PathLike[str], images: ArrayLike | None = None) -> Path:
        """Write the network as one offline page that runs it: every layer, every number and its arithmetic.

        On the page you draw, paint single pixels, open a picture or pick one of ``images``. It shows what every layer
        computes from that, explains why the network answers one class and not another, and has a tour. With a
        :class:`cnnclf.training.Snapshots` among the callbacks of ``fit``, a slider goes through the epochs.

        Parameters
        ----------
        path : path-like
            Replaced, if it exists, whole or not at all.
        images : array-like, optional
            Some rows of ``X`` that can be picked, of at most 120 kB together: about 150 of MNIST's, 39 of CIFAR-10's.
            The page opens at the first one.

        Returns
        -------
        Path
            The file. It has all weights, and needs neither a server nor any other file.

        Raises
        ------
        ValueError
            If the page cannot compute a layer, which is named; ``clf.trace(image).to_html(path)`` then writes the page
            of one image. If the images are too many.
        OSError
            If the file cannot be written.

        Warns
        -----
        UserWarning
            If the page is larger than 8 MB.

        Notes
        -----
        The page has a strict content security policy and makes no request. ``window.cnnclf.predict(pixels)`` returns
        the probabilities for raw pixels, channels first, in one row.

        Examples
        --------
        >>> import tempfile
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> clf.to_html(f"{tempfile.mkdtemp()}/digits.html", images=X[:10]).name
        'digits.html'
        """
        from cnnclf.inspection import _html
        from cnnclf.inspection._trace import Trace

        check_is_fitted(self)
        blank = np.zeros((1, *self.image_shape_), dtype=self.input_spec_.dtype)
        is_empty = images is None or np.size(images) == 0
        pixels = blank[:0] if is_empty else check_known_images(self, images)
        first = pixels[0] if len(pixels) else blank[0]
        with session("cpu"):
            modules = list_snapshots(self.net_)
            traces = [Trace.record(module, first, self.classes_, self.input_spec_) for _, module in modules]
            trace = Trace.record(self.module_, first, self.classes_, self.input_spec_)
        _html.check_runs(trace)
        snapshots = [(epoch, each) for (epoch, _), each in zip(modules, traces, strict=True)]
        return _html.write(trace, self.input_spec_, path, list(pixels), snapshots)

    @property
    def image_shape_(self) -> ImageShape:
        """(channels, height, width) of the images."""
        return self.input_spec_.image_shape

    @property
    def n_features_in_(self) -> int:
        """Numbers in one row of ``X``."""
        return math.prod(self.input_spec_.input_shape)

    @property
    def module_(self) -> nn.Sequential:
        """The torch module, from raw pixels to logits."""
        return cast(nn.Sequential, self.net_.network)

    @property
    def history_(self) -> list[dict[str, Any]]:
        """What is known of each finished epoch."""
        return tidy_history(self.net_.history)

    @property
    def n_parameters_(self) -> int:
        """Number of trainable parameters."""
        return count_parameters(self.module_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _html_repr(self) -> str:
        page: str = estimator_html_repr(self)
        with session("cpu"):
            return page + layers_html(self.module_, self.image_shape_) if hasattr(self, "net_") else page


def layers_html(module: nn.Module, image_shape: ImageShape) -> str:
    """Return the layers of a network as a folded table in HTML."""
    rows = [("layer", "kind", "output", "parameters")]
    for layer in summarize(module, image_shape):
        n_parameters = f"{layer.n_parameters:,}" if layer.n_parameters else "–"
        rows.append((layer.name, layer.kind, " × ".join(map(str, layer.output_shape)), n_parameters))
    return (
        '<details style="margin:.5em;font-family:monospace">'
        f'<summary style="cursor:pointer">Layers ({count_parameters(module):,} parameters)</summary>'
        f"{html_table('lllr', rows)}</details>"
    )
