"""The skorch net: in-memory batches, learning-rate schedule, precision, weight averaging, callbacks."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import TeeGenerator
from torch import nn
from torch.nn.functional import cross_entropy

from cnnclf.training._augmentation import AugmentationInEpoch
from cnnclf.training._callbacks import Progress, ReportEpochs, StopEarly, WeightAverage
from cnnclf.training._data import Batch, Batches, Rows
from cnnclf.training._muon import Muon
from cnnclf.training._network import choose_memory_format, compute_logits, relearn_statistics, rows_at_once
from cnnclf.training._runtime import KEPT_MEMORY

if TYPE_CHECKING:
    from cnnclf.training._checkpoint import Checkpoint

# Training images that are measured after an epoch at least, or all where there are fewer.
FEWEST_MEASURED = 2048

# Epochs that are kept after training and in files, so that the number of partial fits is not limited.
KEPT_EPOCHS = 10_000

# The figures of an epoch by skorch's names, and what ``history_`` calls them.
PLAIN_NAMES = {
    name: name
    for name in (
        "epoch",
        "train_loss",
        "train_accuracy",
        "train_images",
        "valid_loss",
        "valid_accuracy",
        "valid_images",
    )
} | {"lr": "lr", "dur": "seconds"}

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "muon": partial(Muon, betas=(0.9, 0.99), fused=True),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), fused=True),
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


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


class Epochs(History):  # type: ignore[misc]
    """skorch's history, with one epoch read in constant time, however many there are."""

    def __getitem__(self, i: Any) -> Any:
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


def tidy_history(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is known of each whole epoch, under plain names."""
    return [{new: row[old] for old, new in PLAIN_NAMES.items() if old in row} for row in history if "dur" in row]


class Net(NeuralNetClassifier):  # type: ignore[misc]
    """skorch's classifier net, fed from memory.

    Parameters
    ----------
    module : nn.Module
        Takes raw pixels (n, channels, height, width), gives logits (n, n_classes).
    n_classes : int
        Number of logits.
    batch_size, lr, optimizer, weight_decay, label_smoothing, weight_averaging, callbacks, compile, verbose
        As in :class:`cnnclf.CNNClassifier`, already validated.
    augment : callable (pixels, n_epochs) -> pixels, or None
        Applied to training batches, with the number of epochs that are over: a ``Compose``.
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
        batch_size: int,
        lr: float,
        optimizer: str,
        weight_decay: float,
        label_smoothing: float,
        augment: AugmentationInEpoch | None,
        weight_averaging: bool,
        precision: str,
        patience: int | None,
        callbacks: Sequence[Any],
        device: str,
        compile: bool,  # noqa: A002 - skorch's name
        verbose: int,
    ) -> None:
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

    checkpoint_: "Checkpoint | None" = None  # while training

    @property
    def network(self) -> nn.Module:
        """The module itself, also when it is compiled."""
        network: nn.Module = self.module_._orig_mod if self.compile else self.module_
        return network

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
        """Whether the last training ended by itself or by a callback, and was not interrupted."""
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
        checkpoint: "Checkpoint | None" = None,
        watcher: ReportEpochs | None = None,
    ) -> "Net":
        """Train for some epochs, starting from the present weights.

        Parameters
        ----------
        rows, valid : Rows
            The training rows, and those that are only evaluated.
        epochs : int
            Number of passes over ``rows``.
        schedule : str
            A key of ``SCHEDULES``, stretched over these epochs.
        checkpoint : Checkpoint, optional
            Restores the state of a new net, and saves it before each epoch.
        watcher : ReportEpochs, optional
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
            with KEPT_MEMORY:
                rows = rows.to(self.device)
                self.partial_fit(rows, epochs=epochs - (0 if checkpoint is None else checkpoint.n_epochs))
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
        """Return a copy of all that training changes, for :meth:`return_to`."""
        return {
            "tensors": [tensor.detach().clone() for tensor in self._tensors()],
            "optimizer": deepcopy(self.optimizer_.state_dict()),
            "average": deepcopy(self.average_),
            "history": list(self.history),
        }

    def return_to(self, stand: Mapping[str, Any]) -> None:
        """Undo all training since :meth:`stand` was called."""
        with torch.no_grad():
            for tensor, before in zip(self._tensors(), stand["tensors"], strict=True):
                tensor.copy_(before)
        self.optimizer_.load_state_dict(stand["optimizer"])
        self.average_ = stand["average"]
        self.history[:] = stand["history"]

    def _tensors(self) -> list[torch.Tensor]:
        return [*self.network.parameters(), *self.network.buffers()]

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the logits (n, n_classes), float32 on the CPU, of raw pixels (n, channels, height, width)."""
        n_rows = self.rows_at_once(pixels)
        with torch.inference_mode():
            return torch.cat([self.infer(part).cpu() for part in torch.split(pixels, n_rows)])

    def rows_at_once(self, pixels: torch.Tensor) -> int:
        """Return how many images are evaluated together; the network is in evaluation mode afterwards."""
        self._set_training(False)
        return rows_at_once(self.network, pixels[:2].to(self.device))

    # What skorch asks a net to provide.

    def initialize_history(self) -> None:
        """Start a history that many epochs do not slow down."""
        self.history_ = Epochs()

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Time every epoch; stop early and show progress if requested."""
        callbacks: list[tuple[str, Callback]] = [("timer", EpochTimer())]
        if self.patience is not None:
            callbacks.append(("early_stopping", StopEarly(self.patience)))
        if self.verbose:
            callbacks.append(("progress", Progress()))
        return callbacks

    def initialize_module(self) -> "Net":
        """Store the weights in the memory format that the network is trained in."""
        super().initialize_module()
        if all(parameter.ndim != 5 for parameter in self.module_.parameters()):  # torch has another word for Conv3d
            self.module_.to(memory_format=choose_memory_format(self.module_))
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> "Net":
        """Apply weight decay to weights only: biases and normalisation do not overfit."""
        parameters = [p for p in self.module_.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer_ = OPTIMIZERS[self.optimizer](groups, lr=self.lr)
        self.average_ = WeightAverage(self.network) if self.weight_averaging else None
        return self

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        """Compile the network only: the criterion would not become faster."""
        compiled: nn.Module = super().torch_compile(module, name) if name == "module" else module
        return compiled

    def get_dataset(self, X: Any, y: Any = None) -> Rows:
        """Return the images of a callback as rows, with zeros for missing labels."""
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
        """Return batches that are slices of memory, without workers or calls per sample."""
        return Batches(dataset, self.batch_size if training else self.rows_at_once(dataset.X), shuffle=training)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Compute float32 logits of raw pixels, with augmentation and low precision in training mode only."""
        x = (x["X"] if isinstance(x, dict) else x).to(self.device)
        training = self.module_.training
        if training and self.augment is not None:
            x = self.augment(x, self.n_epochs_)
        low = training and self.precision == "bfloat16"
        # Without torch's cache of converted weights, which an autocast around this one would keep from step to step.
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low, cache_enabled=False):
            # Not compiled in evaluation, where each row would not be alike.
            return compute_logits(self.module_ if training else self.network, x).float()

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training != training:  # walking through all layers costs as much as a small one
            super()._set_training(training)

    def get_loss(self, y_pred: torch.Tensor, y_true: torch.Tensor, X: Any = None, training: bool = False) -> Any:
        """Compute the cross-entropy, smoothed in training; Σ wᵢ lᵢ / n with weights of mean one."""
        smoothing = self.criterion_.label_smoothing if training else 0.0
        if not isinstance(X, dict):
            return cross_entropy(y_pred, y_true, label_smoothing=smoothing)
        loss = cross_entropy(y_pred, y_true, label_smoothing=smoothing, reduction="none")
        return (loss * X["sample_weight"].to(loss.device)).mean()

    def on_train_begin(self, net: "Net", X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Start the schedule, or continue that of a checkpoint."""
        steps = len(self.get_iterator(X, training=True))
        self.forget_batches()
        self.step_ = 0
        self.n_steps_ = self.max_epochs * steps
        self.interrupted_, self.completed_ = True, False
        for group in self.optimizer_.param_groups:
            group["lr"] = self.lr
        if self.checkpoint_ is not None:
            self.checkpoint_.restore(self)
            self.step_ = self.checkpoint_.n_epochs * steps

    def forget_early_epochs(self) -> None:
        """Delete early epochs, so that the history does not grow without limit."""
        del self.history[:-KEPT_EPOCHS]

    def forget_batches(self) -> None:
        """Delete the figures of single batches of earlier trainings."""
        for epoch in reversed(self.history):
            if not epoch["batches"]:
                break
            epoch["batches"] = []

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> "Net":
        """Record that no epoch was interrupted."""
        super().fit_loop(X, y, epochs, **kwargs)
        self.completed_ = True
        return self

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Take one optimisation step at the schedule's learning rate."""
        schedule = SCHEDULES[self.schedule]
        if schedule is not None:
            lr = self.lr * schedule(self.step_ / self.n_steps_)
            for group in self.optimizer_.param_groups:
                group["lr"] = lr
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
        """Run over all batches; losses are read from the device once, at the end."""
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
            self._set_training(False)
            relearn_statistics(self.network, iterator.rows.X, iterator.rows.order, self.batch_size)
        batch_losses = torch.stack(losses).tolist()
        for record, loss, size in zip(self.history[-1]["batches"][-len(sizes) :], batch_losses, sizes, strict=True):
            record.update({f"{prefix}_loss": loss, f"{prefix}_batch_size": size})
        self.history.record(f"{prefix}_loss", float(np.average(batch_losses, weights=sizes)))
        self.history.record(f"{prefix}_accuracy", int(torch.cat(correct).sum()) / sum(sizes))
        self.history.record(f"{prefix}_batch_count", len(sizes))

    def on_epoch_begin(self, net: "Net", **kwargs: Any) -> None:
        """Write the checkpoint after all callbacks of the last epoch; from now on Ctrl-C comes from the user."""
        self.interrupted_ = True
        if self.checkpoint_ is not None:
            self.checkpoint_.write(self)
        super().on_epoch_begin(net, **kwargs)
        self.history.record("epoch", self.n_epochs_ + 1)

    def on_epoch_end(
        self, net: "Net", dataset_train: Rows | None = None, dataset_valid: Rows | None = None, **kwargs: Any
    ) -> None:
        """Compute the training figures as the validation figures are: in evaluation mode, on all or as many rows."""
        if dataset_train is not None and dataset_valid is not None:
            # The order is by hash, so its beginning is a sample.
            X, y = dataset_train.take(dataset_train.order[: max(FEWEST_MEASURED, len(dataset_valid))])
            logits, y = self.logits(X["X"] if isinstance(X, dict) else X), y.cpu()
            self.history.record("train_loss", float(self.get_loss(logits, y, X)))
            self.history.record("train_accuracy", int((logits.argmax(dim=1) == y).sum()) / len(y))
            if len(y) < len(dataset_train.order):
                self.history.record("train_images", len(y))
            self.history.record("valid_images", len(dataset_valid))
            self.history.record("valid_acc", self.history[-1]["valid_accuracy"])  # as skorch's own classifier calls it
        for name, sign in (("train_loss", 1), ("valid_loss", 1), ("valid_acc", -1)):
            if name in self.history[-1]:  # what skorch's Checkpoint looks at
                earlier = [sign * row[name] for row in self.history[:-1] if name in row]
                self.history.record(f"{name}_best", sign * self.history[-1][name] < min(earlier, default=math.inf))
        if not math.isfinite(self.history[-1]["train_loss"]):
            raise ValueError(
                f"Training diverged in epoch {self.n_epochs_ + 1}: the loss is {self.history[-1]['train_loss']}. "
                f"lr ({self.lr:g}) or weight_decay ({self.weight_decay:g}) may be too large"
                f"{'' if self.augment is None else ', or augment may give NaN or infinity'}. Change one of them."
            )
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        # From here on it is a callback's: that is how skorch's EarlyStopping ends training.
        self.interrupted_ = False

    def on_train_end(self, net: "Net", **kwargs: Any) -> None:
        """Keep the averaged weights in the network, also after an interruption."""
        if self.average_ is not None and self.average_.n_updates:
            self.average_.show(self.network, average=True)
