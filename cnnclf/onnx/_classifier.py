"""``ONNXClassifier``: a classifier from one ``.onnx`` file, with NumPy and ONNX Runtime and nothing heavier."""

import math
import os
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.labels import check_none_missing, holds_text
from cnnclf._utils.text import quote_all
from cnnclf.images._arrays import check_images
from cnnclf.images._spec import ImageLayout, warn_of_another_unit
from cnnclf.onnx._file import check_file, read_file
from cnnclf.onnx._runtime import check_whole_number, open_session


class ONNXClassifier:
    """A fitted classifier from a file that :meth:`cnnclf.CNNClassifier.to_onnx` wrote.

    It takes the ``X`` that the exported estimator took, and predicts the same labels. The file is read and checked when
    the classifier is made, so that a bad file is an error there and not at the first prediction.

    Parameters
    ----------
    path : path-like
        The ``.onnx`` file.
    n_threads : int, default=None
        Threads within one prediction; None is one. They sleep while they wait and leave the processor to others. For
        many requests, several threads or processes, each with its own classifier of one thread, have a higher
        throughput.
    batch_size : int, default=32
        Images that go through the network at once. A larger batch saves no operations per image, but needs more
        cache: for networks of MNIST's size, 16 to 32 images are within a few per cent of the fastest.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Numbers in one row of ``X``.
    image_shape_ : tuple of int
        (channels, height, width) of the images.
    input_spec_ : cnnclf.images.InputSpec
        What the network takes: shapes, order of channels, dtype, the number that is white, mean and std of the training
        pixels, and how a picture file is prepared for it.
    training_data_ : TrainingData
        What the file stores of the training data: its SHA-256, and hashes to recognise images by.
    metadata_ : dict
        The file's metadata: classes, input, versions, training data.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged, incomplete or not written by ``to_onnx``, or for a parameter that cannot be used.

    Notes
    -----
    One classifier may be used by several threads at once. A pickle carries the file's content, so that it can be
    loaded where the file is not.

    scikit-learn accepts it as a fitted classifier, without being imported here. Where something would fit it, as
    ``VotingClassifier`` does with its members, wrap it in ``sklearn.frozen.FrozenEstimator``.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, ONNXClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.to_onnx(f"{folder}/digits.onnx")
    ...     served = ONNXClassifier(f"{folder}/digits.onnx")
    >>> bool((served.predict(X) == clf.predict(X)).all())
    True
    >>> served.predict_proba(X[:2]).shape
    (2, 10)
    """

    _estimator_type = "classifier"  # scikit-learn before 1.6, and some other libraries still, read this

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int | None = None, batch_size: int = 32) -> None:
        self.path = path
        self.n_threads = n_threads
        self.batch_size = batch_size
        self._open(read_file(path))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like
            Any number of images, also none, of the shape that the exported estimator was fitted with, or flat rows of
            as many numbers. If it was fitted with whole numbers 0 to 255 (uint8), any dtype may hold them.

        Returns
        -------
        ndarray of shape (n,)
            Members of ``classes_``.

        Raises
        ------
        ValueError
            If the images do not have that shape, or hold values that the network cannot take.
        TypeError
            If X is sparse, or holds objects that are not numbers.
        """
        pixels = self._check_images(X)
        return self._run("label", pixels, np.empty(len(pixels), dtype=self.classes_.dtype))

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like
            As for :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Columns in the order of ``classes_``.

        Raises
        ------
        ValueError, TypeError
            As :meth:`predict`.
        """
        pixels = self._check_images(X)
        return self._run("probabilities", pixels, np.empty((len(pixels), len(self.classes_)), dtype=np.float32))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Measure the accuracy.

        Parameters
        ----------
        X : array-like
            At least one image, as for :meth:`predict`.
        y : array-like of shape (n,)
            True labels.
        sample_weight : array-like of shape (n,), optional
            The weight of each image.

        Returns
        -------
        float
            Share of images whose predicted label is the true one, 0..1.

        Raises
        ------
        ValueError
            If there is not one label per image, if a label is missing, if labels are text and the classes numbers or
            the other way round, and as :meth:`predict`.
        """
        predicted, true = self.predict(X), np.asarray(y)
        if true.shape != predicted.shape or len(true) == 0:
            raise ValueError(
                f"Expected one image or more, and y of shape (n,) with one label each; "
                f"got {len(predicted)} images and y of shape {true.shape}."
            )
        check_none_missing(y, "y")
        if holds_text(true) != holds_text(self.classes_):  # which NumPy would find unequal, all of them
            raise ValueError(
                f"Expected labels of the kind of the classes, {quote_all(self.classes_)}; got {quote_all(true)}. "
                "Make all of them text, with y.astype(str), or all of them numbers."
            )
        weights: Any = sample_weight
        return float(np.average(predicted == true, weights=weights))

    def fit(self, X: Any, y: Any = None) -> NoReturn:
        """Refuse: the network in the file is already fitted.

        Raises
        ------
        NotImplementedError
            Always. The method is there because scikit-learn accepts no estimator without it.
        """
        raise NotImplementedError(
            "ONNXClassifier cannot be fitted: the network in its file is final. Fit a CNNClassifier and export it, or "
            "wrap this classifier in sklearn.frozen.FrozenEstimator to use it as it is."
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, as scikit-learn asks for them.

        Parameters
        ----------
        deep : bool, default=True
            Without effect: no parameter has parameters.

        Returns
        -------
        dict
            ``path``, ``n_threads`` and ``batch_size``.
        """
        return {"path": self.path, "n_threads": self.n_threads, "batch_size": self.batch_size}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; a new ``path`` is read and checked at once.

        Parameters
        ----------
        **params
            Any of :meth:`get_params`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FileNotFoundError
            For an unknown name, and as when the classifier is made; everything is then as it was before.
        """
        old = self.get_params()
        if unknown := params.keys() - old.keys():
            raise ValueError(f"Expected parameters among {', '.join(old)}; got {quote_all(sorted(unknown))}.")
        content = read_file(params["path"]) if "path" in params else self._content
        vars(self).update(params)
        try:
            self._open(content)
        except ValueError:
            vars(self).update(old)
            raise
        return self

    def __repr__(self) -> str:
        changed = [f", n_threads={self.n_threads}"] if self.n_threads is not None else []
        changed += [f", batch_size={self.batch_size}"] if self.batch_size != 32 else []
        return f"{type(self).__name__}({os.fspath(self.path)!r}{''.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(three_d_array=True),
            requires_fit=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"params": self.get_params(), "content": self._content}  # a session cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["params"])
        self._open(state["content"])

    def _open(self, content: bytes) -> None:
        """Check the parameters and a file's content, and get ready to predict."""
        check_whole_number("batch_size", self.batch_size, 1)
        if self.n_threads is not None:
            check_whole_number("n_threads", self.n_threads, 1)
        file = check_file(content, os.fspath(self.path))
        self._session = open_session(file, int(self.n_threads or 1))
        self._content = content
        self.metadata_ = file.metadata
        self.classes_ = file.classes
        self.input_spec_ = file.input_spec
        self.training_data_ = file.training_data
        self.image_shape_ = self.input_spec_.image_shape
        self.n_features_in_ = math.prod(self.input_spec_.input_shape)
        self._dtype = np.dtype(self.input_spec_.dtype)

    def _check_images(self, X: Any) -> NDArray[np.uint8 | np.float32]:
        """Return X as the network takes it, C-contiguous; X itself if it is so already."""
        input_shape = self.input_spec_.input_shape
        if (
            type(X) is np.ndarray
            and X.dtype == self._dtype
            and X.shape[1:] == input_shape
            and X.flags.c_contiguous
            and X.flags.aligned
            and (self._dtype == np.uint8 or (math.isfinite(X.min(initial=0)) and math.isfinite(X.max(initial=0))))
        ):
            warn_of_another_unit(X, self.input_spec_)
            return X
        # Declared as channels first whatever they are, so that nothing is moved: the network does that itself.
        layout = ImageLayout(input_shape, self.image_shape_, channels_last=False)
        pixels, _ = check_images(X, layout=layout, estimator=type(self).__name__, min_samples=0)
        warn_of_another_unit(pixels, self.input_spec_)
        return as_dtype(pixels, self._dtype).reshape(len(pixels), *input_shape)

    def _run(self, output: str, pixels: NDArray[Any], result: NDArray[Any]) -> NDArray[Any]:
        """Fill the result, one row per image, batch by batch."""
        for start in range(0, len(pixels), self.batch_size):
            batch = slice(start, start + self.batch_size)
            try:
                (rows,) = self._session.run([output], {"X": pixels[batch]})
            except Exception as error:  # onnxruntime's exceptions have no other base
                raise ValueError(
                    f"{self.path}: expected a graph that ONNX Runtime can run; got {error}. Export the model again."
                ) from error
            if rows.shape != result[batch].shape:
                raise ValueError(
                    f"{self.path}: expected {output} of shape {result[batch].shape}; its graph gave {rows.shape}. "
                    "Export the model again."
                )
            result[batch] = rows
        return result


def as_dtype(pixels: NDArray[np.uint8 | np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert checked pixels to the dtype of a network's input, if no value changes by that."""
    with np.errstate(invalid="ignore"):  # what does not fit is found by comparison
        converted = pixels.astype(dtype, copy=False)
    if not np.array_equal(converted, pixels):
        wrong = pixels[converted != pixels].flat[0]
        raise ValueError(
            f"Expected whole numbers from 0 to 255, as the network was fitted with uint8 images; got {wrong:g}. "
            "Give the images in the unit in which they were fitted."
        )
    return converted
