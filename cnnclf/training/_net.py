"""The skorch net: in-memory batches, learning-rate schedule, precision, weight averaging, callbacks."""

import hashlib
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, EpochTimer
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import TeeGenerator, noop
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from cnnclf._utils.text import percent, quote
from cnnclf.training._allocator import keep_freed_memory
from cnnclf.training._augmentation import Augmentation
from cnnclf.training._inference import rows_alike, rows_at_once
from cnnclf.training._recognition import hash_rows

keep_freed_memory()

# Images on which batch normalisation is measured after an epoch of changed ones: 2 % of a deviation, at the worst.
STATISTICS_ROWS = 2048

# Training images that are measured after an epoch at least, or all where there are fewer.
FEWEST_MEASURED = 2048

# Σw up to which whole-number weights become repetitions, in multiples of the number of rows.
REPETITION_LIMIT = 10

# Epochs that are remembered when training goes on and that are saved, so that partial fits can go on for ever.
KEPT_EPOCHS = 10_000

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), fused=True),
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}

Batch = tuple[Any, torch.Tensor]

# Held while random numbers are drawn: torch has one generator for all threads of a process.
ONE_SEED_AT_A_TIME = threading.RLock()

# For each Python thread in a session, torch's number of threads that it had outside.
THREADS_OUTSIDE: dict[int, int] = {}
THREADS_LOCK = threading.Lock()


def one_cycle(progress: float) -> float:
    """Rise linearly to the peak over the first 30 % of training, then fall along a cosine to zero.

    Source: Smith 2018, “A disciplined approach to neural network hyper-parameters”, section 4; the cosine
    descent as in fastai.
    """
    if progress < 0.3:
        return 0.1 + 0.9 * progress / 0.3
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7))


def cosine(progress: float) -> float:
    """Fall along a cosine from the peak to zero.

    Source: Loshchilov & Hutter 2017, “SGDR”, eq. 5 without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * progress))


# progress in [0, 1) → share of the peak learning rate; None leaves the optimiser's own value alone, so that
# a skorch LRScheduler callback can rule it.
SCHEDULES: dict[str, Callable[[float], float] | None] = {"one_cycle": one_cycle, "cosine": cosine, "constant": None}


class Rows(Dataset):  # type: ignore[misc]
    """Images and labels in memory, with the order in which training visits them.

    Parameters
    ----------
    X : Tensor of shape (n, channels, height, width), uint8 or float32
        Raw pixels.
    y : Tensor of shape (n,), int64
        Class indices.
    order : Tensor of shape (n_visits,), int64, optional
        Row numbers of one epoch before shuffling; a row may come several times. All rows once by default.
    weight : Tensor of shape (n,), float32, optional
        What each row's loss is multiplied with.
    """

    def __init__(
        self,
        X: torch.Tensor,
        y: torch.Tensor,
        order: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> None:
        super().__init__(X, y)
        self.order = torch.arange(len(y), device=y.device) if order is None else order
        self.weight = weight

    def to(self, device: str) -> "Rows":
        """Move everything to a device, once."""
        weight = None if self.weight is None else self.weight.to(device)
        return Rows(self.X.to(device), self.y.to(device), self.order.to(device), weight)

    def take(self, order: torch.Tensor) -> Batch:
        """Gather a batch; with weights, X is a dict, which is skorch's way for sample weights."""
        X = self.X.index_select(0, order)
        y = self.y.index_select(0, order)
        if self.weight is None:
            return X, y
        return {"X": X, "sample_weight": self.weight.index_select(0, order)}, y


class Batches:
    """One epoch over :class:`Rows`: shuffled for training, in order otherwise.

    Batches differ in size by at most one row, and a training batch has at least two: batch normalisation has no
    variance to learn from one.
    """

    def __init__(self, rows: Rows, batch_size: int, *, shuffle: bool) -> None:
        # A lone row stands beside itself.
        self.order = rows.order.repeat(2) if shuffle and len(rows.order) == 1 else rows.order
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        n_batches = math.ceil(len(self.order) / self.batch_size)
        return min(n_batches, len(self.order) // 2) if self.shuffle else n_batches

    def __iter__(self) -> Iterator[Batch]:
        order = self.order
        if self.shuffle:
            # Drawn on the CPU, so that every device sees the same order.
            order = order[torch.randperm(len(order)).to(order.device)]
        for part in order.tensor_split(len(self)):
            yield self.rows.take(part)


def arrange(
    pixels: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decide which rows an epoch visits, in an order that does not depend on how they came.

    Rows of weight zero are dropped. Whole-number weights become repetitions, so that a weight of two is a row
    that stands there twice, to the bit, shuffling and batch normalisation included; they do as long as Σw is at
    most ``REPETITION_LIMIT`` times the number of rows with a weight, which bounds an epoch to ten times its visits.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width)
        Checked images.
    labels : ndarray of shape (n,), int64
        Class indices.
    sample_weight : ndarray of shape (n,), float64, or None
        Non-negative, not all zero.

    Returns
    -------
    order : ndarray of shape (n_visits,), int64
        Row numbers, sorted by content.
    weight : ndarray of shape (n,), float64, or None
        What is left to multiply each row's loss with.

    Examples
    --------
    >>> pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> order, weight = arrange(pixels, np.zeros(4, np.int64), np.array([0.0, 1.0, 3.0, 0.0]))
    >>> np.bincount(order, minlength=4).tolist(), weight
    ([0, 1, 3, 0], None)
    """
    keys = [labels, hash_rows(pixels)]
    if sample_weight is None:
        return np.lexsort(keys), None
    if (sample_weight == np.floor(sample_weight)).all():
        n_rows = np.count_nonzero(sample_weight)
        limit = REPETITION_LIMIT * n_rows
        # The maximum is looked at first, as the sum of the largest numbers would overflow.
        if sample_weight.max() <= limit and sample_weight.sum() <= limit:
            order = np.lexsort(keys)
            return np.repeat(order, sample_weight[order].astype(np.int64)), None
        warnings.warn(
            f"Expected whole-number sample_weight of a sum of at most {limit:,}, {REPETITION_LIMIT} times the "
            f"{n_rows:,} rows, so that each weight is a repetition; got more, so they multiply the loss. "
            "If they are counts, repeat the rows with np.repeat; if not, divide them by their mean.",
            UserWarning,
            stacklevel=3,  # the caller of fit or partial_fit
        )
    order = np.lexsort([sample_weight, *keys])
    return order[sample_weight[order] > 0], sample_weight


def fingerprint(
    pixels: np.ndarray, labels: np.ndarray, weight: np.ndarray | None, order: np.ndarray, before: str = ""
) -> str:
    """Name training data by its content: SHA-256 of images, class indices and weights in the order of `arrange`.

    Data that came in several calls is named by all of them: `before` is the name of what came earlier.
    """
    sha256 = hashlib.sha256(f"{before} {pixels.dtype.str} {pixels.shape[1:]}\n".encode())
    for array in (pixels, labels, *([] if weight is None else [weight])):
        step = max(1, 2**17 // array[:1].nbytes)  # so that a gathered slice is still in the cache when it is hashed
        for start in range(0, len(order), step):
            sha256.update(array[order[start : start + step]])
    return sha256.hexdigest()


def choose_batch_size(batch_size: int | str, n_rows: int) -> int:
    """Resolve ``"auto"``: about a hundred steps an epoch, by a power of two from 16 to 128."""
    if not isinstance(batch_size, str):
        return int(batch_size)
    return int(2 ** np.clip(round(math.log2(max(1, n_rows) / 100)), 4, 7))


def choose_device(device: str) -> str:
    """Resolve ``"auto"``: a CUDA GPU when there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # what torch says depends on its build
        raise ValueError(f"device={quote(device)} is not available here. Pass device='auto' or 'cpu'.") from error
    return device


def choose_precision(precision: str, device: str) -> str:
    """Resolve ``"auto"``: bfloat16 where the processor multiplies it natively, else float32.

    Emulated bfloat16 is slower than float32, so torch's own "supported" is not asked but the instruction set.
    """
    if precision != "auto":
        return precision
    match torch.device(device).type:
        case "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            capabilities = torch.cpu.get_capabilities()
            native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
        case _:
            native = False
    return "bfloat16" if native else "float32"


def cheapest_order(network: nn.Module) -> list[nn.Module]:
    """List what to apply one after the other for a network's output: pooling comes before the ReLU it follows.

    A maximum commutes with ReLU, to the bit, and so do their gradients: the first largest of a window stays the first
    largest, and a window without a positive value passes nothing on either way. ReLU then has a quarter of the work.

    Parameters
    ----------
    network : nn.Module
        What is not an ``nn.Sequential``, and what hooks watch, is applied as it is.

    Returns
    -------
    list of nn.Module
        The very same layers, or the network itself.

    Examples
    --------
    >>> layers = cheapest_order(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()))
    >>> [type(layer).__name__ for layer in layers]
    ['Conv2d', 'MaxPool2d', 'ReLU', 'Flatten']
    """
    if type(network) is not nn.Sequential:
        return [network]
    layers = list(network)
    if any(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks for layer in (network, *layers)):
        return [network]
    for i, (layer, following) in enumerate(pairwise(network)):
        if type(layer) is nn.ReLU and type(following) is nn.MaxPool2d and not following.return_indices:
            layers[i : i + 2] = following, layer
    return layers


def steps_to_one_column(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Tell whether a convolution of stride 2 or more, anywhere in a network, leaves rows of a single column.

    In bfloat16 oneDNN multiplies memory there that nobody wrote (torch 2.13), which at times is not a number. A single
    row of a single column is well.

    Parameters
    ----------
    network : nn.Module
        Is left in evaluation mode.
    image_shape : tuple of int
        (channels, height, width) of the images it takes.

    Returns
    -------
    bool

    Examples
    --------
    >>> layer = nn.Conv2d(3, 8, 5, stride=2)
    >>> [steps_to_one_column(layer, (3, 17, width)) for width in (5, 6, 7)]
    [True, True, False]
    """
    found = []

    def look(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        height, width = output.shape[-2:]
        found.append(width == 1 < height)

    hooks = [
        layer.register_forward_hook(look)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.stride[1] > 1
    ]
    if hooks:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *image_shape, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return any(found)


# torch's switches for a whole process: how each is read and written, and what it has to be. Determinism is not among
# them: whoever asks for it on a GPU wants it here, too, and on a CPU it changes no bit.
SWITCHES: list[tuple[Callable[[], Any], Callable[[Any], None], Any]] = [
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    *(
        (partial(getattr, part, "fp32_precision"), partial(setattr, part, "fp32_precision"), "ieee")
        for part in (getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv"))
    ),
]


class OwnSwitches:
    """Set torch's switches to the needed values; the last of several threads inside restores the caller's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_inside = 0
        self.before: list[Any] = []

    def __enter__(self) -> None:
        with self.lock:
            if not self.n_inside:
                self.before = [read() for read, _, _ in SWITCHES]
                self.write([needed for _, _, needed in SWITCHES])
            self.n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.n_inside -= 1
            if not self.n_inside:
                self.write(self.before)

    @staticmethod
    def write(values: list[Any]) -> None:
        """Write those that have another value: some take long."""
        for (read, write, _), value in zip(SWITCHES, values, strict=True):
            if read() != value:
                write(value)


OWN_SWITCHES = OwnSwitches()


@contextmanager
def own_modes(device: str) -> Iterator[None]:
    """Keep out what the caller set torch to: default type and device, gradients, autocast, precision."""
    kind = torch.device(device).type
    with OWN_SWITCHES, torch.inference_mode(False), torch.autocast(kind, enabled=False), ExitStack() as default_device:
        if torch.get_default_device().type != "cpu":  # otherwise it would cost time in each of torch's functions
            default_device.enter_context(torch.device("cpu"))
        yield


@contextmanager
def threads_of_torch(n_threads: int) -> Iterator[None]:
    """Set torch's number of threads; give back what this Python thread had, and what later ones begin with.

    ``torch.set_num_threads`` is for the Python thread that calls it, and for all that ask torch for the first time
    later on. So one that asks while another is in here finds that one's number, and gets what the first had outside.
    """
    me, n_before = threading.get_ident(), None
    outermost = me not in THREADS_OUTSIDE
    try:
        with THREADS_LOCK:
            n_before = torch.get_num_threads()
            if outermost:
                if n_before == n_threads and THREADS_OUTSIDE:
                    n_before = next(iter(THREADS_OUTSIDE.values()))
                THREADS_OUTSIDE[me] = n_before
            torch.set_num_threads(n_threads)
        yield
    finally:
        if n_before is not None:
            with THREADS_LOCK:
                torch.set_num_threads(n_before)
                if outermost:
                    THREADS_OUTSIDE.pop(me, None)


@contextmanager
def session(device: str, seed: Sequence[int] | None = None) -> Iterator[None]:
    """Run torch with its own random numbers, modes and a fixed number of threads; leave the caller's as they were.

    One thread, as scikit-learn's own estimators: ``n_jobs`` is the way to use more cores, results are the same
    bits inside and outside of it, and spinning threads on a busy machine cost more than they bring.
    The environment variable ``CNNCLF_NUM_THREADS`` sets another number; the same bits hold for the same number.
    Seeded sessions of several Python threads take turns; within one of them another one may be opened. Once the last
    one has ended, threads that are started later begin with the number that there was before the first.

    Parameters
    ----------
    device : str
        Where torch runs.
    seed : sequence of int, optional
        Seeds torch; without it random numbers are not drawn.
    """
    n_threads = int(os.environ.get("CNNCLF_NUM_THREADS", "1"))
    devices = [torch.cuda.current_device()] if torch.device(device).type == "cuda" else []
    with (
        nullcontext() if seed is None else ONE_SEED_AT_A_TIME,
        threads_of_torch(n_threads),
        own_modes(device),
        torch.random.fork_rng(devices, enabled=seed is not None),
    ):
        if seed is not None:
            torch.manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> 1))
        yield


def is_followed(stream: Any) -> bool:
    """Tell whether somebody sees at once what is written: in a terminal or below a notebook's cell, not in a log."""
    below_a_cell = type(stream).__module__.partition(".")[0] == "ipykernel"
    return below_a_cell or (stream is not None and stream.isatty())


class Progress(Callback):  # type: ignore[misc]
    """A progress bar with epoch, loss, accuracy and time left; silent where nobody follows stderr."""

    def on_train_begin(self, net: "Net", **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = tqdm(
            total=net.n_steps_,
            initial=net.step_,
            disable=not is_followed(sys.stderr),
            file=sys.stderr,
            unit="batch",
            dynamic_ncols=True,
        )

    def on_epoch_begin(self, net: "Net", **kwargs: Any) -> None:
        """Name the epoch."""
        self.bar_.set_description(f"epoch {net.history[-1]['epoch']}", refresh=False)

    def on_batch_end(self, net: "Net", training: bool = False, **kwargs: Any) -> None:
        """Move on by a step."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: "Net", **kwargs: Any) -> None:
        """Show where the loss and the accuracy stand."""
        last = net.history[-1]
        kind = "valid" if "valid_loss" in last else "train"
        self.bar_.set_postfix_str(
            f"{kind} loss {last[f'{kind}_loss']:.4f}, accuracy {percent(last[f'{kind}_accuracy'])}"
        )

    def close(self) -> None:
        """Leave the last line standing."""
        bar = self.__dict__.pop("bar_", None)
        if bar is not None:
            bar.close()


class StopEarly(EarlyStopping):  # type: ignore[misc]
    """skorch's early stopping on the validation loss, best weights restored, where there is validation data."""

    def __init__(self, patience: int) -> None:
        super().__init__(monitor="valid_loss", patience=patience, load_best=True, sink=noop)

    def on_train_begin(self, net: "Net", **kwargs: Any) -> None:
        """Start counting, unless a checkpoint said where counting stood."""
        if not net.step_:
            super().on_train_begin(net, **kwargs)

    def on_epoch_end(self, net: "Net", **kwargs: Any) -> None:
        """Count epochs without improvement."""
        if "valid_loss" in net.history[-1]:
            super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net: "Net", **kwargs: Any) -> None:
        """Restore the best weights, unless training was interrupted before its first epoch."""
        if net.history:
            super().on_train_end(net, **kwargs)


class Epochs(History):  # type: ignore[misc]
    """skorch's history, where to look at one epoch costs the same however many there were."""

    def __getitem__(self, i: Any) -> Any:
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


class TellEpochs(Callback):  # type: ignore[misc]
    """Tell the callbacks of scikit-learn of every epoch.

    Parameters
    ----------
    estimator : CNNClassifier
        In training.
    task : sklearn.callback.CallbackContext
        Its fit, of which an epoch is a subtask.
    given : dict
        What the fit was given.
    """

    def __init__(self, estimator: Any, task: Any, given: dict[str, Any]) -> None:
        self.estimator = estimator
        self.task = task
        self.given = given
        self.epoch: Any = None
        self.stopped = False

    def on_epoch_begin(self, net: "Net", **kwargs: Any) -> None:
        """Begin a subtask."""
        self.epoch = self.task.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def on_epoch_end(self, net: "Net", **kwargs: Any) -> None:
        """End it, and the training where a callback asks for that."""
        if self._end():
            self.stopped = True
            raise KeyboardInterrupt  # as skorch's EarlyStopping does

    def on_train_end(self, net: "Net", **kwargs: Any) -> None:
        """End the last subtask where another callback has ended the training before this one heard of it."""
        if self.epoch is not None and "dur" in net.history[-1]:
            self._end()

    def _end(self) -> bool:
        epoch, self.epoch = self.epoch, None
        stop: bool = epoch.call_on_fit_task_end(
            estimator=self.estimator, **self.given, reconstruction_attributes=self.estimator._snapshot
        )
        return stop


class WeightAverage:
    """Exponential moving average of a network's floating-point state, batch-norm statistics included.

    Source: Polyak & Juditsky 1992, “Acceleration of stochastic approximation by averaging”; the decay warms up
    as min(decay, (1 + t) / (10 + t)).

    Parameters
    ----------
    network : nn.Module
        The network in training; it shows either its live weights or their average.
    decay : float
        Weight of the past in each update, once warmed up.
    """

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.decay = decay
        self.n_updates = 0
        self.other = [tensor.clone() for tensor in self._state(network)]
        self.average_is_shown = False

    @staticmethod
    def _state(network: nn.Module) -> list[torch.Tensor]:
        return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]

    def update(self, network: nn.Module) -> None:
        """Take one step's weights in."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        for average, live in zip(self.other, self._state(network), strict=True):
            average.lerp_(live, 1 - decay)

    def show(self, network: nn.Module, *, average: bool) -> None:
        """Put the average, or the live weights, into the network."""
        if average == self.average_is_shown:
            return
        for shown, other in zip(self._state(network), self.other, strict=True):
            kept = shown.clone()
            shown.copy_(other)
            other.copy_(kept)
        self.average_is_shown = average


class Keeper(Protocol):
    """Where training is kept, as :class:`cnnclf.checkpoint.Checkpoint` does it."""

    @property
    def n_epochs(self) -> int:
        """Epochs that are done."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""

    def restore(self, net: "Net") -> None:
        """Put a new net where training stood."""

    def write(self, net: "Net") -> None:
        """Keep where a net stands between two epochs."""


class Net(NeuralNetClassifier):  # type: ignore[misc]
    """skorch's classifier net, fed from memory.

    Parameters
    ----------
    module : nn.Module
        Takes raw pixels (n, channels, height, width), gives logits (n, n_classes).
    n_classes : int
        Number of logits.
    max_epochs, batch_size, lr, optimizer, weight_decay, label_smoothing, weight_averaging, callbacks, compile, verbose
        As in :class:`cnnclf.CNNClassifier`, already validated.
    schedule : {"one_cycle", "cosine", "constant"}
        Learning rate over training.
    augment : Augmentation or None
        Applied to training batches.
    precision : {"float32", "bfloat16"}
        Of the training pass; evaluation is always float32.
    patience : int or None
        Epochs without a better validation loss before training stops and the best weights come back.
    device : str
        Where it runs.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        n_classes: int,
        max_epochs: int,
        batch_size: int,
        lr: float,
        optimizer: str,
        schedule: str,
        weight_decay: float,
        label_smoothing: float,
        augment: Augmentation | None,
        weight_averaging: bool,
        precision: str,
        patience: int | None,
        callbacks: Sequence[Any],
        device: str,
        compile: bool,  # noqa: A002 - skorch's name
        verbose: int,
    ) -> None:
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.augment = augment
        self.weight_averaging = weight_averaging
        self.precision = precision
        self.patience = patience
        super().__init__(
            module,
            criterion=nn.CrossEntropyLoss(label_smoothing=label_smoothing),
            classes=list(range(n_classes)),
            optimizer=optimizer,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            train_split=None,
            callbacks=list(callbacks),
            device=device,
            compile=compile,
            verbose=verbose,
        )

    # Beside modules and optimisers, what skorch packs into pickles so that it can be loaded on another device.
    cuda_dependent_attributes_: ClassVar[list[str]] = ["average_"]

    checkpoint_: Keeper | None = None  # while training

    @property
    def network(self) -> nn.Module:
        """The module itself, also when it is compiled."""
        network: nn.Module = self.module_._orig_mod if self.compile else self.module_
        return network

    @property
    def answering_network(self) -> nn.Module:
        """The network as it is evaluated: on a CPU each row alike; not compiled, which would not be alike."""
        return rows_alike(self.network) if torch.device(self.device).type == "cpu" else self.network

    @property
    def n_epochs_(self) -> int:
        """Number of the last whole epoch; 0 before the first one."""
        return next((epoch["epoch"] for epoch in reversed(self.history) if "dur" in epoch), 0)

    @property
    def early_stopping_(self) -> StopEarly | None:
        """The callback that stops early, where there is one."""
        return next((callback for _, callback in self.callbacks_ if isinstance(callback, StopEarly)), None)

    @property
    def ended_(self) -> bool:
        """Whether the last training came to its end, be it a callback's, and was not interrupted."""
        if self.interrupted_ or "dur" not in self.history[-1]:
            return False
        stopping = self.early_stopping_
        return (
            self.completed_ or bool(self.callbacks) or (stopping is not None and stopping.misses_ == stopping.patience)
        )

    def train(
        self,
        rows: Rows,
        valid: Rows | None,
        *,
        epochs: int,
        schedule: str,
        checkpoint: Keeper | None = None,
        watcher: TellEpochs | None = None,
    ) -> "Net":
        """Train for some epochs, going on from the weights there are.

        Parameters
        ----------
        rows, valid : Rows
            What is learnt from, and what is only measured on.
        epochs : int
            Passes over ``rows``.
        schedule : str
            A key of ``SCHEDULES``, stretched over these epochs.
        checkpoint : Keeper, optional
            What a new net goes on from, and where it is kept before each epoch.
        watcher : TellEpochs, optional
            The last of the callbacks, for this training alone.
        """
        self.max_epochs = epochs
        self.schedule = schedule
        if checkpoint is not None and checkpoint.finished:
            checkpoint.restore(self)
            self.interrupted_, self.completed_ = False, True
            return self
        self.train_split = None if valid is None else predefined_split(valid.to(self.device))
        self.checkpoint_ = checkpoint
        if watcher is not None:
            self.callbacks_.append(("epochs", watcher))
        try:
            self.partial_fit(rows.to(self.device), epochs=epochs - (0 if checkpoint is None else checkpoint.n_epochs))
        finally:
            self.train_split = None  # would carry the validation images into every pickle
            self.checkpoint_ = None
            if watcher is not None:
                self.callbacks_.pop()  # it knows the training data
            for _, callback in self.callbacks_:
                if isinstance(callback, Progress):
                    callback.close()
        if watcher is not None and watcher.stopped:
            self.completed_ = True
        return self

    def stand(self) -> dict[str, Any]:
        """Copy all that training changes, for :meth:`return_to`."""
        return {
            "tensors": [tensor.detach().clone() for tensor in self._tensors()],
            "optimizer": deepcopy(self.optimizer_.state_dict()),
            "average": deepcopy(self.average_),
            "history": list(self.history),
        }

    def return_to(self, stand: Mapping[str, Any]) -> None:
        """Undo all training since :meth:`stand`."""
        with torch.no_grad():
            for tensor, before in zip(self._tensors(), stand["tensors"], strict=True):
                tensor.copy_(before)
        self.optimizer_.load_state_dict(stand["optimizer"])
        self.average_ = stand["average"]
        self.history[:] = stand["history"]

    def _tensors(self) -> list[torch.Tensor]:
        return [*self.network.parameters(), *self.network.buffers()]

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Evaluate raw pixels (n, channels, height, width) slice by slice; float32 (n, n_classes) on the CPU."""
        n_rows = self.rows_at_once(pixels)
        with torch.inference_mode():
            return torch.cat([self.infer(part).cpu() for part in torch.split(pixels, n_rows)])

    def rows_at_once(self, pixels: torch.Tensor) -> int:
        """Choose how many images are evaluated together; afterwards the network is in evaluation mode."""
        self._set_training(False)
        return rows_at_once(self.network, pixels[:2].to(self.device))

    # What skorch asks a net to provide.

    def initialize_history(self) -> None:
        """Start a history that many epochs do not slow down."""
        self.history_ = Epochs()

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Time every epoch; stop early and show progress where asked to."""
        callbacks: list[tuple[str, Callback]] = [("timer", EpochTimer())]
        if self.patience is not None:
            callbacks.append(("early_stopping", StopEarly(self.patience)))
        if self.verbose:
            callbacks.append(("progress", Progress()))
        return callbacks

    def initialize_module(self) -> "Net":
        """Lay the weights out channels-last: on CPUs and GPUs alike that is what convolutions want."""
        super().initialize_module()
        if all(parameter.ndim != 5 for parameter in self.module_.parameters()):  # torch has another word for Conv3d
            self.module_.to(memory_format=torch.channels_last)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> "Net":
        """Let weight decay pull on weights alone: biases and normalisation have nothing to overfit with."""
        parameters = [p for p in self.module_.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer_ = OPTIMIZERS[self.optimizer](groups, lr=self.lr)
        self.average_ = WeightAverage(self.network) if self.weight_averaging else None
        return self

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        """Compile the network alone: there is nothing to win in the criterion."""
        compiled: nn.Module = super().torch_compile(module, name) if name == "module" else module
        return compiled

    def get_dataset(self, X: Any, y: Any = None) -> Rows:
        """Wrap what a callback asks about; labels do not matter there."""
        if isinstance(X, Rows):
            return X
        X = torch.as_tensor(X)
        return Rows(X, torch.zeros(len(X), dtype=torch.int64) if y is None else torch.as_tensor(y))

    def __getstate__(self) -> dict[str, Any]:
        # skorch packs module_ for a change of device; the parameter is the same object, and would go along unpacked.
        return {**super().__getstate__(), "module": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.module = self.network

    def get_iterator(self, dataset: Rows, training: bool = False) -> Batches:
        """Slice memory; no worker, no per-sample call."""
        return Batches(dataset, self.batch_size if training else self.rows_at_once(dataset.X), shuffle=training)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Turn raw pixels into float32 logits; augmentation and low precision are for training mode alone."""
        x = (x["X"] if isinstance(x, dict) else x).to(self.device)
        training = self.module_.training
        if training and self.augment is not None:
            x = self.augment(x)
        low = training and self.precision == "bfloat16"
        # Without torch's cache of converted weights, which an autocast around this one would keep from step to step.
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low, cache_enabled=False):
            x = x.contiguous(memory_format=torch.channels_last)
            for layer in cheapest_order(self.module_) if training else [self.answering_network]:
                x = layer(x)
        logits: torch.Tensor = x.float()
        return logits

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training != training:  # walking through all layers costs as much as a small one
            super()._set_training(training)

    def get_loss(self, y_pred: torch.Tensor, y_true: torch.Tensor, X: Any = None, training: bool = False) -> Any:
        """Cross-entropy; smoothed in training, and Σ wᵢ lᵢ / n with weights of mean one."""
        smoothing = self.criterion_.label_smoothing if training else 0.0
        if not isinstance(X, dict):
            return cross_entropy(y_pred, y_true, label_smoothing=smoothing)
        loss = cross_entropy(y_pred, y_true, label_smoothing=smoothing, reduction="none")
        return (loss * X["sample_weight"].to(loss.device)).mean()

    def on_train_begin(self, net: "Net", X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Start the schedule anew, or go on with it."""
        steps = len(self.get_iterator(X, training=True))
        self.forget_early_epochs()
        self.step_ = 0
        self.n_steps_ = self.max_epochs * steps
        self.interrupted_, self.completed_ = True, False
        for group in self.optimizer_.param_groups:
            group["lr"] = self.lr
        if self.checkpoint_ is not None:
            self.checkpoint_.restore(self)
            self.step_ = self.checkpoint_.n_epochs * steps

    def forget_early_epochs(self) -> None:
        """Drop what would grow with every training: early epochs, and the batches of those that are kept."""
        del self.history[:-KEPT_EPOCHS]
        for epoch in reversed(self.history):
            if not epoch["batches"]:
                break
            epoch["batches"] = []

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> "Net":
        """Note that no interrupt ended the last epoch."""
        super().fit_loop(X, y, epochs, **kwargs)
        self.completed_ = True
        return self

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Take one optimisation step at the schedule's learning rate."""
        schedule = SCHEDULES[self.schedule]
        if schedule is not None:
            for group in self.optimizer_.param_groups:
                group["lr"] = self.lr * schedule(self.step_ / self.n_steps_)
        # None of our optimisers evaluates the loss twice, so there is no need for skorch's closure.
        self._zero_grad_optimizer()
        step: dict[str, Any] = self.train_step_single(batch, **fit_params)
        named = TeeGenerator(self.get_all_learnable_params())
        self.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
        self.optimizer_.step()
        self.step_ += 1
        if self.average_ is not None:
            self.average_.update(self.network)
        return step

    def run_single_epoch(
        self, iterator: Batches | None, training: bool, prefix: str, step_fn: Callable[..., Any], **fit_params: Any
    ) -> None:
        """Run over all batches; losses are read off the device once, at the end."""
        if iterator is None:
            return
        if training and self.average_ is not None:
            self.average_.show(self.network, average=False)
        losses, correct, sizes = [], [], []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"].detach())
            correct.append(step["y_pred"].detach().argmax(dim=1) == batch[1])
            sizes.append(len(batch[1]))
            self.notify("on_batch_end", batch=batch, training=training, **step)
        if training and self.average_ is not None:
            self.average_.show(self.network, average=True)
        if training and self.augment is not None:
            self.relearn_statistics(iterator.rows)
        batch_losses = torch.stack(losses).tolist()
        for record, loss, size in zip(self.history[-1]["batches"][-len(sizes) :], batch_losses, sizes, strict=True):
            record.update({f"{prefix}_loss": loss, f"{prefix}_batch_size": size})
        self.history.record(f"{prefix}_loss", float(np.average(batch_losses, weights=sizes)))
        self.history.record(f"{prefix}_accuracy", int(torch.cat(correct).sum()) / sum(sizes))
        self.history.record(f"{prefix}_batch_count", len(sizes))

    def relearn_statistics(self, rows: Rows) -> None:
        """Measure batch normalisation's means and variances anew, on a sample of images as they are.

        Training saw them changed, and resampled images are smoother than those that will be predicted.

        Source: Touvron et al. 2019, “Fixing the train-test resolution discrepancy”, section 4, of images whose size
        differs between training and test.
        """
        # What the layers remember with torch's momentum of 0.1: a smaller sample would know less.
        remembered = 10 * self.batch_size
        norms = [layer for layer in self.network.modules() if isinstance(layer, _BatchNorm)]
        norms = [layer for layer in norms if layer.track_running_stats]
        if not norms or len(rows.order) < remembered:
            return
        sample = rows.order[: max(STATISTICS_ROWS, remembered)]  # the order is by hash, so its beginning is a sample
        n_parts = max(1, len(sample) // max(2, self.rows_at_once(rows.X)))
        before = [(layer.momentum, {name: value.clone() for name, value in layer.named_buffers()}) for layer in norms]
        try:
            for layer in norms:
                layer.reset_running_stats()
                layer.momentum = None  # the plain mean over all batches
                layer.train()
            with torch.no_grad():
                for part in sample.tensor_split(n_parts):
                    self.network(rows.X.index_select(0, part).contiguous(memory_format=torch.channels_last))
        except BaseException:  # half of a measurement is none: an interrupted estimator keeps what it had
            for layer, (_, buffers) in zip(norms, before, strict=True):
                layer.load_state_dict(buffers, strict=False)
            raise
        finally:
            for layer, (momentum, _) in zip(norms, before, strict=True):
                layer.momentum = momentum
                layer.eval()

    def on_epoch_begin(self, net: "Net", **kwargs: Any) -> None:
        """Keep what all callbacks made of the last epoch; until this one's end, a KeyboardInterrupt is the user's."""
        self.interrupted_ = True
        if self.checkpoint_ is not None:
            self.checkpoint_.write(self)
        super().on_epoch_begin(net, **kwargs)
        self.history.record("epoch", self.n_epochs_ + 1)

    def on_epoch_end(
        self, net: "Net", dataset_train: Rows | None = None, dataset_valid: Rows | None = None, **kwargs: Any
    ) -> None:
        """Measure training data as validation data is measured: in evaluation mode, all of it or on as many rows."""
        if dataset_train is not None and dataset_valid is not None:
            # The order is by hash, so its beginning is a sample.
            X, y = dataset_train.take(dataset_train.order[: max(FEWEST_MEASURED, len(dataset_valid))])
            logits, y = self.logits(X["X"] if isinstance(X, dict) else X), y.cpu()
            self.history.record("train_loss", float(self.get_loss(logits, y, X)))
            self.history.record("train_accuracy", int((logits.argmax(dim=1) == y).sum()) / len(y))
            if len(y) < len(dataset_train.order):
                self.history.record("train_images", len(y))
            self.history.record("valid_acc", self.history[-1]["valid_accuracy"])  # as skorch's own classifier calls it
        for name, sign in (("train_loss", 1), ("valid_loss", 1), ("valid_acc", -1)):
            if name in self.history[-1]:  # what skorch's Checkpoint looks at
                earlier = [sign * row[name] for row in self.history[:-1] if name in row]
                self.history.record(f"{name}_best", sign * self.history[-1][name] < min(earlier, default=math.inf))
        if not math.isfinite(self.history[-1]["train_loss"]):
            raise ValueError(
                f"Training diverged in epoch {self.n_epochs_ + 1}: the loss is {self.history[-1]['train_loss']}. "
                f"It may be lr ({self.lr:g}) or weight_decay ({self.weight_decay:g}), too large"
                f"{'' if self.augment is None else ', or augment, if it gives NaN or infinity'}. Lower or change it."
            )
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        # From here on it is a callback's: that is how skorch's EarlyStopping ends training.
        self.interrupted_ = False

    def on_train_end(self, net: "Net", **kwargs: Any) -> None:
        """Leave the averaged weights in the network, also after an interruption."""
        if self.average_ is not None and self.average_.n_updates:
            self.average_.show(self.network, average=True)
