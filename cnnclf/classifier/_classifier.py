"""``CNNClassifier``: the scikit-learn face of a convolutional network."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from cnnclf.architectures._layers import ArchitectureFunction
from cnnclf.classifier._auto import resolve_epochs
from cnnclf.classifier._checks import check_classes, check_known_images, check_training_data, check_validation_data
from cnnclf.classifier._exports import ExportMixin
from cnnclf.classifier._fitting import (
    build_net,
    check_same_network,
    check_warm_start,
    choose_augmentation,
    make_net,
    train,
    usable_augmentation,
    warn_of_unchanged_images,
)
from cnnclf.classifier._parameters import check_callbacks, check_parameters, is_exactly
from cnnclf.classifier._scoring import ScoreMixin
from cnnclf.training._augmentation import Augmentation, find_augmentation
from cnnclf.training._checkpoint import open_checkpoint
from cnnclf.training._data import as_tensor, fingerprint, prepare, remember
from cnnclf.training._runtime import draw_seed, session
from cnnclf.training._sklearn_callbacks import CallbackSupportMixin


class CNNClassifier(ExportMixin, CallbackSupportMixin, ScoreMixin, BaseEstimator):  # type: ignore[misc]
    """A convolutional network that classifies small images, as a scikit-learn estimator.

    Parameters
    ----------
    architecture : str or callable, default="auto"
        A name of :func:`cnnclf.list_architectures`, or a function ``(image_shape, n_classes) -> nn.Module`` whose
        module takes standardised images (n, channels, height, width) and returns logits (n, n_classes). ``"auto"``
        is "general" for images of every shape, which has a stage for each halving of the image.
    max_epochs : int or "auto", default="auto"
        Passes over the training data. ``"auto"`` shows the network about 200,000 images, in 4 to 30 epochs; of fewer
        than 100 rows it shows 3,000, in up to 200 epochs. Repetitions and whole-number weights count as rows.
    batch_size : int or "auto", default="auto"
        Images per gradient step, 1 means 2. ``"auto"`` makes about a hundred steps per epoch, with 16 to 128 images
        each.
    lr : float, default=0.01
        Peak learning rate.
    optimizer : {"muon", "adamw", "adam", "sgd"}, default="muon"
        "muon" takes orthogonal steps for convolutions (Jordan et al. 2024), and those of AdamW for all other layers;
        "sgd" has a Nesterov momentum of 0.9.
    lr_schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        How the learning rate changes over ``max_epochs``. With ``"constant"`` a skorch ``LRScheduler`` among the
        callbacks can change it.
    weight_decay : float, default=0.01
        Decay of weights; biases and normalisation are exempt.
    label_smoothing : float, default=0.0
        Share of the target probability that is spread evenly over all classes.
    augment : str, callable, sequence of str and callable, or None, default="auto"
        Random changes to training images of at least 8×8 pixels: "flip", "crop", "shift", "affine", "elastic",
        "colour", "erase", a function from a batch (n, channels, height, width) of raw pixels to a batch of the same
        shape, or several of these in order. Put "flip" first: it mirrors each image in every second epoch, and the
        pixels decide in which. ``cnnclf.plots.AugmentationDisplay`` shows the changed images. After each epoch the
        statistics of batch normalisation are measured on unchanged images. ``"auto"`` is None below 6 epochs, as the
        network then does not memorise the images; from 6 on it is those of "flip" and "shift" after which images of
        every class are still recognised, by a network that is trained briefly on unchanged ones, and "shift" for too
        few rows to find that out. With 25,000 rows or more it can be "flip" from 4 epochs on.
    weight_averaging : bool, default=False
        Keep an exponential moving average of the weights and use it for evaluation and prediction.
    early_stopping : bool, default=False
        Stop when the validation loss has not improved for ``patience`` epochs and restore the best weights. Unless
        ``fit`` is given ``X_val``, a stratified ``validation_fraction`` of the training data is set aside.
    validation_fraction : float, default=0.1
        Share of the distinct rows that is set aside for early stopping. Equal rows stay together, and at least one
        row of each class is trained on.
    patience : int, default=5
        Epochs without improvement before early stopping ends training.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes in the loss, the validation loss included; a class without an entry has weight one.
        "balanced" is n / (n_classes · count), with ``sample_weight`` Σw / (n_classes · Σw of the class).
    image_shape : tuple of int or None, default=None
        (channels, height, width), needed where the shape of ``X`` is not enough: for flat rows that are not square
        grey images, or an ambiguous channel order.
    preparation : {"resize", "pad", "handwriting"} or None, default=None
        How a picture *file* becomes an image of this network, in ``cnnclf predict`` and ``cnnclf evaluate``; stored
        in ``input_spec_`` and in files. It changes nothing in ``fit`` or ``predict``. "resize" scales the picture to
        the size of the training images, "pad" scales it in proportion and pads it, "handwriting" cleans ink on paper
        and places it as in MNIST. None pads a picture of another size, with a warning.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the training pass; "auto" is bfloat16 where the processor multiplies it natively. Prediction is
        always float32. So is training on a CPU where a strided convolution leaves a single column, which oneDNN
        computes wrongly in bfloat16.
    device : str, default="auto"
        A torch device; "auto" is a CUDA GPU when there is one, else the CPU.
    compile : bool, default=False
        Whether ``torch.compile`` is used.
    warm_start : bool, default=False
        Whether ``fit`` continues from the weights of the last ``fit``.
    checkpoint : path-like or None, default=None
        A folder, made if it is missing, in which one fit is saved after every epoch. ``fit`` with the same data and
        parameters continues where an earlier call was stopped, even by a power cut, and gives bit-identical results;
        nothing is trained if that call had finished. ``{fit}`` in the path is replaced by a hash of data and
        parameters, so that each fit of a search has its own folder; ``random_state`` must then be an integer.
    callbacks : list or None, default=None
        skorch callbacks, or (name, callback) pairs. A callback that could do nothing is an error: an ``LRScheduler``
        beside a schedule, a measurement of validation data without such data. Checkpoints do not hold their state.
    random_state : int, RandomState instance or None, default=None
        Seeds initialisation, order, dropout, augmentation and the validation split. The global random states of
        torch do not change.
    verbose : int, default=0
        1 shows a progress bar on stderr in a terminal or notebook, but not in log files.

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
    training_data_ : TrainingData
        What is remembered of the training data: its SHA-256, and hashes to recognise images by.
    architecture_ : str or callable
        The architecture that was fitted.
    max_epochs_ : int
        The epochs of the last training: those that ``max_epochs`` is or means, and 1 after ``partial_fit``.
    augment_ : str, callable, list or None
        The changes of the last training, as ``augment`` takes them.
    augment_probe_ : AugmentProbe or None
        What decided ``augment="auto"``: how many held-out images (``n_images``) a short training recognised
        (``recognised``), the share of this that it recognised of mirrored and of shifted images (``kept``, and
        ``kept_of_worst_class``), and what follows (``tolerated``). None where nothing had to be decided, or where there
        were too few images to hold out 30.
    seed_ : int
        The seed that was drawn from ``random_state``.
    net_ : cnnclf.training.Net
        The skorch net.
    module_ : nn.Module
        The torch module, from raw pixels to logits.
    history_ : list of dict
        One per epoch: epoch, train_loss, train_accuracy, lr, seconds, and valid_loss, valid_accuracy, valid_images
        where there is validation data. The training figures are running means of the epoch; with validation data they
        are measured like it, in evaluation mode, on ``train_images`` rows: as many as validation has and at least
        2,048, or all where that is missing. The last 10,000 epochs are kept.
    n_parameters_ : int
        Trainable parameters.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Fully connected networks.

    Notes
    -----
    The training rows are sorted by content before the seeded shuffle, so a fit does not depend on their order.
    Whole-number sample weights are bit-identical to repetitions, up to the limit stated in :meth:`fit`.

    Ctrl-C ends training with a warning and leaves a usable estimator, as in ``MLPClassifier``, and a search scores it.
    While ``augment="auto"`` is decided nothing is trained yet, and it raises ``KeyboardInterrupt``.
    To let Ctrl-C end the search as well, turn the warning "Training interrupted" into an error and pass
    ``error_score="raise"``.

    A checkpoint holds weights, optimiser, averages, early stopping, torch's random state and the history, and only the
    SHA-256 of the training data. Two epochs are kept in case the newest file is damaged. ``verbose`` may change between
    two calls. Another version of torch or cnnclf, or another number of threads, is an error, because it may change
    bits. With ``random_state=None`` the seed of the first call is kept.

    From scikit-learn 1.9 on, ``set_callbacks`` takes scikit-learn's own callbacks, such as ``ProgressBar``. They are
    called for a fit and for each of its epochs, with a copy of the classifier at that time.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits()
    >>> X, Xt, y, yt = train_test_split(X, y, random_state=0)
    >>> clf = CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> bool(clf.score(Xt, yt) > 0.95)
    True

    A fit that is complete in a checkpoint is not trained again:

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     first = CNNClassifier(max_epochs=1, checkpoint=folder, random_state=0).fit(X, y)
    ...     again = CNNClassifier(max_epochs=1, checkpoint=folder, random_state=0).fit(X, y)
    >>> again.history_ == first.history_
    True
    """

    def __init__(
        self,
        architecture: str | ArchitectureFunction = "auto",
        *,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float = 0.01,
        optimizer: str = "muon",
        lr_schedule: str = "one_cycle",
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        augment: str | Augmentation | Sequence[str | Augmentation] | None = "auto",
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
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n, height, width), (n, channels, height, width), (n, height, width, channels) or \
(n, n_features)
            Raw pixels, uint8 or float. Without ``image_shape`` a flat row whose length is a perfect square is a square
            grey image, and any other row is a single line of pixels.
        y : array-like of shape (n,)
            Class labels of any type; required.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each row in the loss. Whole numbers are bit-identical to repetitions, as long as
            their sum is at most ten times the number of rows with a weight. Beyond that they multiply the loss as
            fractions do, with a warning.
        X_val, y_val : array-like, optional
            Validation data, measured after each epoch and used for early stopping; never trained on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a parameter or data that cannot be used, and for a checkpoint of other data or parameters.
        TypeError
            For a sparse matrix.
        Exception
            Any exception of a callback. After an exception in training a first fit is not fitted, and a warm start has
            its earlier weights and history.
        OSError
            If the checkpoint cannot be written: at once for its first file, otherwise after training, when the
            estimator is fitted.
        """
        check_parameters(self)
        goes_on = check_warm_start(self)
        if not goes_on:
            self.__dict__.pop("net_", None)  # should this fit fail, no old network may speak for new classes
        data = check_training_data(self, X, y, sample_weight, self.classes_ if goes_on else None)
        validation = check_validation_data(self, X_val, y_val)
        check_callbacks(self.callbacks, self.lr_schedule, validates=self.early_stopping or validation is not None)
        seen = remember(self.training_data_, data)
        if not goes_on:
            self.seed_ = draw_seed(self.random_state)
        checkpoint = None
        if self.checkpoint is not None:
            checkpoint = open_checkpoint(self, seen.sha256, None if validation is None else fingerprint(validation))
            self.seed_ = checkpoint.seed
        rows = prepare(self, data, validation, held_out=self.validation_fraction if self.early_stopping else None)
        warn_of_unchanged_images(self)
        epochs = resolve_epochs(self.max_epochs, len(rows.rows.order))
        choose_augmentation(self, rows.rows, epochs, checkpoint, goes_on=goes_on)
        net = make_net(self, self.module_, rows.batch_size, self.net_.history) if goes_on else build_net(self, rows)
        given = X, y, sample_weight
        train(self, net, rows, seen, given, epochs=epochs, schedule=self.lr_schedule, checkpoint=checkpoint)
        return self

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train the network for one more epoch, at a constant learning rate.

        The first call makes the network. There is no early stopping and no checkpoint; score held-out data between
        the calls.

        Parameters
        ----------
        X, y : array-like
            As for :meth:`fit`. The pixels of the first call set the standardisation.
        classes : array-like of shape (n_classes,), optional
            All labels of all calls; needed in the first call.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each row in the loss.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As for :meth:`fit`, and if ``classes`` is missing at first or changes later, or ``architecture`` or
            ``image_shape`` were changed; no weight changes.
        """
        check_parameters(self)
        if is_exactly(self.class_weight, "balanced"):
            raise ValueError(
                "Expected class_weight to be None or a dict, as partial_fit never has all labels at once; "
                "got 'balanced'. Pass a dict from class to weight."
            )
        goes_on = hasattr(self, "net_")
        if goes_on:
            check_same_network(self, "partial_fit", "call fit")
        classes = check_classes(classes, self.classes_ if goes_on else None)
        data = check_training_data(self, X, y, sample_weight, classes)
        seen = remember(self.training_data_, data)
        if not goes_on:
            self.seed_ = draw_seed(self.random_state)
        rows = prepare(self, data)
        warn_of_unchanged_images(self)
        self.augment_, self.augment_probe_ = usable_augmentation(self), None
        net = self.net_ if goes_on else build_net(self, rows)
        net.augment = find_augmentation(self.augment_)
        train(self, net, rows, seen, (X, y, sample_weight), epochs=1, schedule="constant")
        return self

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
        positions = self._logits(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[positions]
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
            Columns in the order of ``classes_``. With two classes the shape is (n,), as in all of scikit-learn: the
            second logit minus the first.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        pixels = check_known_images(self, X)
        with session(self.net_.device):
            logits: NDArray[np.float32] = self.net_.logits(as_tensor(pixels)).numpy()
        return logits
