"""``CNNClassifier``: the scikit-learn face of a convolutional network."""

import copy
import html
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import (
    Tags,
    check_consistent_length,
    check_random_state,
    estimator_html_repr,
)
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from cnnclf._utils.text import quote
from cnnclf.architectures._layers import ArchitectureFunction, ImageShape
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._network import build_module
from cnnclf.architectures._summary import count_parameters, summarize
from cnnclf.classifier._checks import check_callbacks, check_parameters, is_exactly
from cnnclf.classifier._labels import check_classes, check_labels, check_sample_weight, class_weights, encode
from cnnclf.images._arrays import check_images
from cnnclf.images._spec import InputSpec, warn_of_another_unit
from cnnclf.training._augmentation import AUGMENTATIONS, Augmentation, Compose
from cnnclf.training._callbacks import KEPT_EPOCHS, Epochs, TellEpochs
from cnnclf.training._data import (
    Labelled,
    Pixels,
    Rows,
    TrainingData,
    arrange,
    as_tensor,
    choose_batch_size,
    fingerprint,
    make_rows,
    measure,
    split_rows,
)
from cnnclf.training._net import Net
from cnnclf.training._network import steps_to_one_column
from cnnclf.training._recognition import NONE_YET, Hashes, from_text, hash_images, keep, to_text
from cnnclf.training._runtime import choose_device, choose_precision, session
from cnnclf.training._sklearn_callbacks import CallbackSupportMixin, train_by_epochs

if TYPE_CHECKING:
    from cnnclf.inspection._trace import Trace
    from cnnclf.training._checkpoint import Checkpoint
MANY_PARAMETERS = 3_000_000  # of a named network: its dense layer has grown with the image beyond what it was made for
N_EXAMPLES = 32  # training images that are kept while the program runs, to compare an exported file on


class CNNClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A convolutional network that classifies small images, as a scikit-learn estimator.

    Parameters
    ----------
    architecture : str or callable, default="compact"
        A name of :func:`cnnclf.list_architectures`, or a function ``(image_shape, n_classes) -> nn.Module`` whose
        module takes standardised images (n, channels, height, width) and gives logits (n, n_classes).
    max_epochs : int, default=10
        Passes over the training data.
    batch_size : int or "auto", default="auto"
        Images of one gradient step. ``"auto"`` makes about a hundred steps an epoch, within 16 and 128 images.
    lr : float, default=0.005
        Peak learning rate.
    optimizer : {"adamw", "adam", "sgd"}, default="adamw"
        "sgd" has a Nesterov momentum of 0.9.
    lr_schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        How the learning rate runs over ``max_epochs``. With ``"constant"`` it is left alone, so that a skorch
        ``LRScheduler`` among the callbacks can rule it.
    weight_decay : float, default=0.01
        Decay of weights; biases and normalisation are exempt.
    label_smoothing : float, default=0.0
        Share of the target probability that is spread evenly over all classes.
    augment : str, sequence of str, callable or None, default=None
        Random changes to training images of at least 8×8 pixels: "shift", "affine", "elastic", "erase", several of
        them in order, or a function from a batch (n, channels, height, width) of raw pixels to a batch of the same
        shape. Batch normalisation's means and variances are measured after each epoch on images as they are.
    weight_averaging : bool, default=False
        Keep an exponential moving average of the weights and use it for evaluation and prediction.
    early_stopping : bool, default=False
        Stop when the validation loss has not improved for ``patience`` epochs and restore the best weights. Unless
        ``fit`` is given ``X_val``, a stratified ``validation_fraction`` of the training data is set aside.
    validation_fraction : float, default=0.1
        Share of the distinct rows that is set aside for early stopping: a row that stands there twice, or weighs two,
        is set aside whole or learnt whole. At least one row of each class is learnt.
    patience : int, default=5
        Epochs without improvement before early stopping ends training.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes in the loss, the validation loss included; a class that is not named weighs one. "balanced"
        gives n / (n_classes · count), with ``sample_weight`` Σw / (n_classes · Σw of the class).
    image_shape : tuple of int or None, default=None
        (channels, height, width) where the shape of ``X`` does not tell: flat rows that are no square grey images,
        or an ambiguous channel order.
    preparation : {"resize", "pad", "handwriting"} or None, default=None
        How a picture *file* becomes an image of this network, as ``cnnclf predict`` and :mod:`cnnclf.pictures` do it;
        kept in ``input_spec_`` and stored with the model. It changes nothing in ``fit`` or ``predict``. "resize" brings
        it to the size of the training images, "pad" does so in proportion and pads it, "handwriting" takes it for ink
        on paper, which is cleaned and placed as MNIST's digits were. None takes a picture of that size as it is, and
        pads any other with a warning.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the training pass; "auto" is bfloat16 where the processor multiplies it natively. Prediction
        is always float32, and so is the training, on a CPU, of a network that steps to rows of a single column, which
        oneDNN gets wrong in bfloat16.
    device : str, default="auto"
        A torch device; "auto" is a CUDA GPU when there is one, else the CPU.
    compile : bool, default=False
        Whether ``torch.compile`` is used.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last ``fit``.
    checkpoint : path-like or None, default=None
        A folder, made if it is missing, that keeps one fit epoch by epoch. ``fit`` with the same data and parameters
        goes on where an earlier one was stopped, even by a power cut, and comes to the same bits; where that one had
        finished, nothing is trained. ``{fit}`` in the path gives each fit a folder of its own, as searches need it:
        it becomes a name for data and parameters, of which ``random_state`` must then be an integer.
    callbacks : list or None, default=None
        skorch callbacks, or (name, callback) pairs. One that could do nothing is refused: an ``LRScheduler`` beside a
        schedule, a measurement of validation data where there is none. Their own state is not in a checkpoint, where
        it starts anew.
    random_state : int, RandomState instance or None, default=None
        Seeds initialisation, order, dropout, augmentation and the validation split. The global random states of
        torch are left as they were.
    verbose : int, default=0
        1 shows a progress bar on stderr, in a terminal or below a notebook's cell; log files stay free of it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Numbers in one row of ``X``.
    feature_names_in_ : ndarray of str
        Column names, where ``X`` was a data frame with string names.
    image_shape_ : tuple of int
        (channels, height, width) of the images.
    input_spec_ : cnnclf.images.InputSpec
        What the network takes: shapes, order of channels, dtype, the number that is white, mean and std of the training
        pixels, and the ``preparation``.
    net_ : cnnclf.training.Net
        The skorch net.
    module_ : nn.Module
        The torch module, from raw pixels to logits.
    history_ : list of dict
        One an epoch: epoch, train_loss, train_accuracy, lr, seconds, and valid_loss, valid_accuracy where there is
        validation data. With validation data the training figures are measured as the validation figures are: in
        evaluation mode, on all rows or, of more than 2,048, on as many as validation has and at least so many, which
        ``train_images`` then names; otherwise they are the epoch's running means. A fit or partial fit that goes
        on remembers the last 10,000 epochs before it, and so many are saved.
    n_parameters_ : int
        Trainable parameters.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Fully connected networks.

    Notes
    -----
    The rows of the training data are sorted by content before the seeded shuffle, so that a fit does not depend on
    the order in which they came; whole-number sample weights are the same as repetitions, to the bit, up to the limit
    that :meth:`fit` states.

    Ctrl-C ends training with a warning and leaves a usable estimator, as ``MLPClassifier`` does. A search scores it as
    it stands: so that Ctrl-C ends the search, too, make the warning "Training interrupted" an error, and pass
    ``error_score="raise"``.

    A checkpoint holds weights, optimiser, averages, early stopping, torch's random numbers and the history, and of the
    training data its SHA-256 alone. Two epochs are kept: should the newest file be damaged, the one before it is used.
    ``verbose`` may change between two calls; another version of torch or cnnclf, or another number of threads, is
    refused, as it may give other bits. With ``random_state=None`` the seed of the first call is kept.

    From scikit-learn 1.9 on, ``set_callbacks`` takes scikit-learn's own callbacks, such as its ``ProgressBar``. They
    are told of a fit and of each of its epochs, and given a copy of the classifier as it stands then.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits()
    >>> X, Xt, y, yt = train_test_split(X, y, random_state=0)
    >>> clf = CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> bool(clf.score(Xt, yt) > 0.95)
    True

    What is kept in a folder need not be trained again:

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     first = CNNClassifier(max_epochs=1, checkpoint=folder, random_state=0).fit(X, y)
    ...     again = CNNClassifier(max_epochs=1, checkpoint=folder, random_state=0).fit(X, y)
    >>> again.history_ == first.history_
    True
    """

    def __init__(
        self,
        architecture: str | ArchitectureFunction = "compact",
        *,
        max_epochs: int = 10,
        batch_size: int | str = "auto",
        lr: float = 0.005,
        optimizer: str = "adamw",
        lr_schedule: str = "one_cycle",
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        augment: str | Sequence[str] | Augmentation | None = None,
        weight_averaging: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        class_weight: dict[Any, float] | str | None = None,
        image_shape: Sequence[int] | None = None,
        preparation: str | None = None,
        precision: str = "auto",
        device: str = "auto",
        compile: bool = False,  # noqa: A002 - torch's and skorch's name
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.architecture = architecture
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.augment = augment
        self.weight_averaging = weight_averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.image_shape = image_shape
        self.preparation = preparation
        self.precision = precision
        self.device = device
        self.compile = compile
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n, height, width), (n, channels, height, width), (n, height, width, channels) or \
(n, n_features)
            Raw pixels, uint8 or float. A flat row whose length is a perfect square is a square grey image, any other
            a single line of numbers, unless ``image_shape`` says more.
        y : array-like of shape (n,)
            Class labels of any type.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each row in the loss. Whole numbers are repetitions, to the bit, as long as their sum
            is at most ten times the number of rows that weigh something: an epoch then visits so many rows. Beyond that
            they multiply the loss as fractions do, with a warning.
        X_val, y_val : array-like, optional
            Validation data, measured after each epoch and used for early stopping; never learnt from.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a parameter or data that cannot be used; the sentence says what was expected and what came. For a
            checkpoint of other data or parameters it says what differs.
        TypeError
            For a sparse matrix.
        Exception
            Whatever a callback raises. After an exception in training a first fit is not fitted, and a warm start has
            the weights and the history it had before.
        OSError
            If the checkpoint cannot be written: at once where its first file cannot, else when training has come to
            its end. The estimator is fitted then.
        """
        check_parameters(self.get_params(deep=False))
        if self.warm_start and self.checkpoint is not None:
            raise ValueError(
                f"warm_start=True and checkpoint={quote(Path(self.checkpoint))} are two ways to go on; expected one of "
                "them. Pass warm_start=False, or checkpoint=None."
            )
        going_on = self.warm_start and hasattr(self, "net_")
        if going_on and (self.architecture, self.image_shape) != self._made_with:
            raise ValueError(
                "warm_start=True goes on with the network there is, made with "
                f"architecture={quote(self._made_with[0])} and image_shape={quote(self._made_with[1])}; "
                f"got architecture={quote(self.architecture)} and image_shape={quote(self.image_shape)}. "
                "Set them back, or warm_start=False to start anew."
            )
        if not going_on:
            self.__dict__.pop("net_", None)  # should this fit fail, no old network may speak for new classes
        pixels, labels, weight = self._check_training_data(
            X, y, sample_weight, classes=self.classes_ if going_on else None, reset=not going_on
        )
        validation = self._check_validation_data(X_val, y_val)
        check_callbacks(self.callbacks, self.lr_schedule, validates=self.early_stopping or validation is not None)
        order, weight = arrange(pixels, labels, weight)
        data = self._name_data(pixels, labels, weight, order)
        if not going_on:
            self._draw_seed()
        checkpoint = None if self.checkpoint is None else self._open_checkpoint(data.sha256, validation)
        if self.early_stopping and validation is None:
            order, held_out = split_rows(order, pixels, labels, self.validation_fraction, self._seed)
            validation = pixels[held_out], labels[held_out], None if weight is None else weight[held_out]
        of_class = class_weights(self.class_weight, self.classes_, labels, weight, order)
        rows = make_rows(pixels, labels, weight, of_class, order)
        valid = None if validation is None else make_rows(*validation, of_class)
        batch_size = choose_batch_size(self.batch_size, len(order))
        if going_on:
            net = self._make_net(self.module_, batch_size, self.net_.history)
        else:
            net = self._make_net(self._begin_module(rows), batch_size)
        given = as_told(X, y, sample_weight)
        return self._train(net, rows, valid, data, given, self.max_epochs, self.lr_schedule, checkpoint)

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch at a constant learning rate, going on from where the network stands.

        Early stopping has nothing to stop here; to monitor, score held-out data between the calls. No checkpoint is
        read or written.

        Parameters
        ----------
        X, y : array-like
            As for :meth:`fit`. The pixels of the first call set the standardisation.
        classes : array-like of shape (n_classes,), optional
            All labels that will ever come; needed in the first call.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each row in the loss.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As for :meth:`fit`, and if ``classes`` is missing in the first call or changes in a later one. After an
            exception in training the weights, the optimiser's state and the history are those before the call.
        """
        check_parameters(self.get_params(deep=False))
        if is_exactly(self.class_weight, "balanced"):
            raise ValueError(
                "class_weight='balanced' needs all labels at once, which partial_fit does not have; "
                "pass a dict from class to weight."
            )
        first = not hasattr(self, "net_")
        classes = check_classes(classes, None if first else self.classes_)
        pixels, labels, weight = self._check_training_data(X, y, sample_weight, classes=classes, reset=first)
        order, weight = arrange(pixels, labels, weight)
        data = self._name_data(pixels, labels, weight, order)
        of_class = class_weights(self.class_weight, self.classes_, labels, weight, order)
        rows = make_rows(pixels, labels, weight, of_class, order)
        if first:
            self._draw_seed()
            net = self._make_net(self._begin_module(rows), choose_batch_size(self.batch_size, len(order)))
        else:
            net = self.net_
        return self._train(net, rows, None, data, as_told(X, y, sample_weight), epochs=1, schedule="constant")

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like
            Images of the shape that :meth:`fit` was given, apart from their number, or flat rows of as many numbers.

        Returns
        -------
        ndarray of shape (n,)
            Members of ``classes_``.
        """
        winners = self._logits(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[winners]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like
            Images of the shape that :meth:`fit` was given, apart from their number, or flat rows of as many numbers.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            The softmax of the logits; columns in the order of ``classes_``.
        """
        logits = torch.from_numpy(self._logits(X))
        with session("cpu"):  # a process in which torch has started threads cannot be forked safely
            probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
        return probabilities

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Compute the logits.

        Parameters
        ----------
        X : array-like
            Images of the shape that :meth:`fit` was given, apart from their number, or flat rows of as many numbers.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Columns in the order of ``classes_``. With two classes, as everywhere in scikit-learn, one number a row:
            the second logit minus the first.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

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
        Functions, callbacks, the checkpoint's folder and the optimiser's state are not stored: what is loaded predicts
        the same bits, and ``partial_fit`` goes on from the weights with a fresh optimiser. Of the training data a file
        keeps no image: a SHA-256 of all, and a hash of 64 bits of each of at most 2,048 images, so that
        ``cnnclf evaluate`` can say whether it was given training images.

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
        """Read a fitted estimator that :meth:`save` wrote; no code of the file is run, and any damage is found.

        What is promised of files from strangers, and what is not, is in SECURITY.md.

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
            If it is no such file, is damaged, or does not fit the architecture.
        """
        from cnnclf.classifier._persistence import load_estimator

        with session("cpu"):
            loaded: Self = load_estimator(cls, path, architecture)
        return loaded

    def to_onnx(
        self, path: str | os.PathLike[str], quantize: str | None = None, calibration: ArrayLike | None = None
    ) -> None:
        """Write one ONNX file that takes what :meth:`fit` took and gives labels and probabilities.

        Parameters
        ----------
        path : path-like
            Replaced, if it exists, whole or not at all.
        quantize : {"int8"} or None, default=None
            "int8" makes a smaller and faster file of slightly other probabilities.
        calibration : array-like, optional
            Images as they were given to :meth:`fit`, a few hundred. int8 measures the range of every layer on them, and
            the file is compared with the network on them, too.

        Raises
        ------
        ValueError
            If int8 is asked for without calibration images or of a network too small for it.
        RuntimeError
            If torch cannot export the network, or not for any number of images, or the file would say something else
            than the network; nothing is written then.
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

        An int8 file gives the same answers on every processor: its weights have seven bits, so that no sum is cut off
        where a processor adds them in 16.

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
        with session("cpu"):
            export(self, path, quantize=quantize, calibration=calibration)

    def trace(self, image: Any) -> "Trace":
        """Record what every layer makes of one image.

        Parameters
        ----------
        image : array-like
            One image, as a row of ``X`` was given to :meth:`fit`, without the first axis.

        Returns
        -------
        Trace
            One :class:`~cnnclf.inspection.Step` a layer; nothing in the estimator changes.

        Raises
        ------
        ValueError
            If it is not one image of the shape that :meth:`fit` was given.

        Notes
        -----
        Trace the winner of a search with ``search.best_estimator_.trace(image)``, the last step of a pipeline with
        ``pipe[-1].trace(pipe[:-1].transform(X[:1])[0])``.

        Examples
        --------
        >>> from cnnclf import CNNClassifier, load_digits
        >>> X, y = load_digits()
        >>> clf = CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
        >>> trace = clf.trace(X[0])
        >>> int(trace.label), trace["conv1"].output.shape
        (0, (16, 4, 4))
        """
        from cnnclf.inspection._trace import Trace

        check_is_fitted(self)
        pixels = self._check_images(np.asarray(image)[np.newaxis], reset=False)
        with session("cpu"):
            return Trace.record(self.module_, pixels[0], self.classes_)

    @property
    def module_(self) -> nn.Sequential:
        """The torch module, from raw pixels to logits."""
        return cast(nn.Sequential, self.net_.network)

    @property
    def history_(self) -> list[dict[str, Any]]:
        """What is known of each whole epoch."""
        return tidy_history(self.net_.history)

    @property
    def n_parameters_(self) -> int:
        """Number of trainable parameters."""
        return count_parameters(self.module_)

    def __getstate__(self) -> dict[str, Any]:
        # Training images have no business in a pickle: whoever gets the model need not get the data.
        return {**super().__getstate__(), "_examples": None} if hasattr(self, "_examples") else super().__getstate__()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _html_repr(self) -> str:
        page: str = estimator_html_repr(self)
        with session("cpu"):
            return page + layers_html(self.module_, self.image_shape_) if hasattr(self, "net_") else page

    def _check_images(self, X: Any, *, reset: bool) -> Pixels:
        pixels, layout = check_images(
            X,
            image_shape=self.image_shape,
            layout=None if reset else self.input_spec_,
            estimator=type(self).__name__,
        )
        validate_data(self, X, reset=reset, skip_check_array=True, ensure_2d=False)  # feature names alone
        if reset:
            self.input_spec_: InputSpec = InputSpec.of(pixels, layout)
            self._training_data = ""
            self._learnt: Hashes = NONE_YET
            self._examples: Pixels | None = pixels[:N_EXAMPLES].copy()
            self.image_shape_ = layout.image_shape
            self.n_features_in_ = math.prod(layout.input_shape)
        else:
            warn_of_another_unit(pixels, self.input_spec_)
        return pixels

    def _check_training_data(
        self, X: Any, y: Any, sample_weight: Any, *, classes: NDArray[Any] | None, reset: bool
    ) -> Labelled:
        pixels = self._check_images(X, reset=reset)  # first, as a loader or a dataset may hold y, too
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        self.input_spec_ = replace(self.input_spec_, preparation=self.preparation)
        y = check_labels(y)
        check_consistent_length(pixels, y)
        if reset:
            self.classes_ = np.unique(y) if classes is None else classes
        return pixels, encode(y, self.classes_), check_sample_weight(sample_weight, len(pixels))

    def _check_validation_data(self, X_val: Any, y_val: Any) -> Labelled | None:
        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"Validation data needs both X_val and y_val; {missing} is missing.")
        if X_val is None:
            return None
        pixels = self._check_images(X_val, reset=False)
        y_val = check_labels(y_val, "y_val")
        check_consistent_length(pixels, y_val)
        return pixels, encode(y_val, self.classes_, "y_val"), None

    def _name_data(
        self,
        pixels: Pixels,
        labels: NDArray[np.int64],
        weight: NDArray[np.float64] | None,
        order: NDArray[np.int64],
    ) -> TrainingData:
        sha256 = fingerprint(pixels, labels, weight, order, self._training_data)
        return TrainingData(sha256, keep(self._learnt, hash_images(pixels)[order]))

    def _draw_seed(self) -> None:
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _open_checkpoint(self, training_data: str, validation: Labelled | None) -> "Checkpoint":
        from cnnclf.training._checkpoint import open_checkpoint

        measured = None if validation is None else fingerprint(*validation, np.arange(len(validation[0])))
        checkpoint = open_checkpoint(self, training_data, measured)
        self._seed = checkpoint.seed
        return checkpoint

    def _measure(self, rows: Rows) -> Standardise:
        """Learn the first layer, and note down what it learnt."""
        standardise = measure(rows, one_unit=self.input_spec_.white is not None)
        mean, std = (tuple(learnt.flatten().tolist()) for learnt in (standardise.mean, standardise.std))
        self.input_spec_ = replace(self.input_spec_, mean=mean, std=std)
        return standardise

    def _make_module(self, standardise: Standardise) -> nn.Sequential:
        self._made_with = self.architecture, self.image_shape
        with session("cpu", (self._seed, 0)):
            return build_module(self.architecture, self.image_shape_, len(self.classes_), standardise)

    def _begin_module(self, rows: Rows) -> nn.Sequential:
        """Make the network that training begins with, and warn of one that has outgrown its architecture."""
        module = self._make_module(self._measure(rows))
        n_parameters = count_parameters(module)
        if isinstance(self.architecture, str) and n_parameters > MANY_PARAMETERS:
            _, height, width = self.image_shape_
            warnings.warn(
                f"Expected at most {MANY_PARAMETERS:,} parameters of architecture={self.architecture!r}; got "
                f"{n_parameters:,}, as its dense layer grows with the image, here {height}×{width}. Make the images "
                "smaller, or pass an architecture of your own that pools globally, with nn.AdaptiveAvgPool2d(1).",
                UserWarning,
                stacklevel=3,  # the caller of fit or partial_fit
            )
        return module

    def _make_net(self, module: nn.Sequential, batch_size: int, history: Epochs | None = None) -> Net:
        """Put a network, new or trained, into a skorch net with the parameters that are set now."""
        device = choose_device(self.device)
        with session(device):
            precision = choose_precision(self.precision, device)
            on_cpu = torch.device(device).type == "cpu"
            if on_cpu and precision == "bfloat16" and steps_to_one_column(module, self.image_shape_):
                precision = "float32"
            augment = [self.augment] if isinstance(self.augment, str) or callable(self.augment) else self.augment
            steps = [AUGMENTATIONS[step] if isinstance(step, str) else step for step in augment or ()]
            net: Net = Net(
                module,
                n_classes=len(self.classes_),
                max_epochs=int(self.max_epochs),
                batch_size=batch_size,
                lr=float(self.lr),
                optimizer=self.optimizer,
                schedule=self.lr_schedule,
                weight_decay=float(self.weight_decay),
                label_smoothing=float(self.label_smoothing),
                augment=Compose(steps) if steps else None,
                weight_averaging=bool(self.weight_averaging),
                precision=precision,
                patience=int(self.patience) if self.early_stopping else None,
                callbacks=self.callbacks or (),
                device=device,
                compile=bool(self.compile),
                verbose=int(self.verbose),
            ).initialize()
        if history is not None:
            net.history = history
        return net

    def _fitted_state(self) -> dict[str, Any]:
        """All that fitting learnt, beside the tensors of the module."""
        return {
            "classes": self.classes_,
            "input": self.input_spec_.to_json(),
            "training_data": self._training_data,
            "learnt": to_text(self._learnt),
            "feature_names": getattr(self, "feature_names_in_", None),
            "batch_size": self.net_.batch_size,
            "seed": self._seed,
            "history": self.history_[-KEPT_EPOCHS:],
        }

    def _restore(self, fitted: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Become the estimator that :meth:`_fitted_state` and the module's tensors describe."""
        check_parameters(self.get_params(deep=False))
        self.classes_ = fitted["classes"]
        self.input_spec_ = fitted["input"]
        self._training_data = fitted["training_data"]
        self._learnt = from_text(fitted["learnt"])
        self._examples = None
        self.image_shape_ = self.input_spec_.image_shape
        self.n_features_in_ = math.prod(self.input_spec_.input_shape)
        if fitted["feature_names"] is not None:
            self.feature_names_in_ = np.asarray(fitted["feature_names"], dtype=object)
        self._seed = fitted["seed"]
        module = self._make_module(Standardise(tensors["standardise.mean"], tensors["standardise.std"]))
        module.load_state_dict(tensors)
        history = Epochs({"batches": [], **row, "dur": row["seconds"]} for row in fitted["history"])
        self.net_ = self._make_net(module, fitted["batch_size"], history)

    def _train(
        self,
        net: Net,
        rows: Rows,
        valid: Rows | None,
        data: TrainingData,
        given: dict[str, Any],
        epochs: int,
        schedule: str,
        checkpoint: "Checkpoint | None" = None,
    ) -> Self:
        net.lr = float(self.lr)

        def train(task: Any) -> None:
            watcher = None if task is None else TellEpochs(self, task, given)
            net.train(rows, valid, epochs=epochs, schedule=schedule, checkpoint=checkpoint, watcher=watcher)

        with session(net.device, (self._seed, 1 + net.n_epochs_)), self._undone_by_an_error():
            self.net_, (self._training_data, self._learnt) = net, data
            train_by_epochs(self, train, int(epochs), given)
        if not net.ended_:
            warnings.warn(
                f"Training interrupted by user in epoch {net.n_epochs_ + 1}; the estimator is usable.",
                UserWarning,
                stacklevel=3,
            )
        if checkpoint is not None:
            checkpoint.close(net)
        return self

    def _snapshot(self) -> dict[str, Any]:
        """Give the attributes that make a copy of this estimator stay where training stands now."""
        stands = copy.copy(self)
        stands.callbacks, stands.compile, stands.verbose = None, False, 0  # it is never trained
        net = stands._make_net(copy.deepcopy(self.module_), self.net_.batch_size, Epochs(self.net_.history))
        return {"net_": net}

    @contextmanager
    def _undone_by_an_error(self) -> Iterator[None]:
        """Be as before where training raises, unfitted or fitted; after Ctrl-C be what the whole epochs made."""
        before = getattr(self, "net_", None)
        stand = None if before is None else before.stand()
        data = self._training_data, self._learnt
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException:
            if before is None or stand is None:
                del self.net_
            else:
                before.return_to(stand)
                self.net_, (self._training_data, self._learnt) = before, data
            raise

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        pixels = self._check_images(X, reset=False)
        with session(self.net_.device):
            logits: NDArray[np.float32] = self.net_.logits(as_tensor(pixels)).numpy()
        return logits


def as_told(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Name what a fit was given as scikit-learn's callbacks take it."""
    return {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}


def tidy_history(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep what is said of each whole epoch, under plain names."""
    names = {
        name: name
        for name in ("epoch", "train_loss", "train_accuracy", "train_images", "valid_loss", "valid_accuracy", "lr")
    } | {"dur": "seconds"}
    return [{new: row[old] for old, new in names.items() if old in row} for row in history if "dur" in row]


def layers_html(module: nn.Module, image_shape: ImageShape) -> str:
    """List the layers of a fitted network as a table."""
    cell = "padding:.15em .8em;text-align:"
    head = "".join(
        f'<th style="{cell}{side};border-bottom:1px solid">{name}</th>'
        for name, side in (("layer", "left"), ("kind", "left"), ("output", "left"), ("parameters", "right"))
    )
    rows = "".join(
        f'<tr><td style="{cell}left">{html.escape(layer.name)}</td>'
        f'<td style="{cell}left">{html.escape(layer.kind)}</td>'
        f'<td style="{cell}left">{" × ".join(map(str, layer.output_shape))}</td>'
        f'<td style="{cell}right">{f"{layer.n_parameters:,}" if layer.n_parameters else "–"}</td></tr>'
        for layer in summarize(module, image_shape)
    )
    return (
        '<details style="margin:.5em;font-family:monospace">'
        f'<summary style="cursor:pointer">Layers ({count_parameters(module):,} parameters)</summary>'
        '<table style="border-collapse:collapse;margin:.4em 1em">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
    )
