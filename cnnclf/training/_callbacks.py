"""What watches a training: progress, early stopping, scikit-learn's callbacks, weight averaging."""

import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.utils import noop
from torch import nn
from tqdm import tqdm

from cnnclf._utils.text import percent, quote


def is_followed(stream: Any) -> bool:
    """Check whether a stream is shown at once, in a terminal or a notebook, rather than kept in a log."""
    below_a_cell = type(stream).__module__.partition(".")[0] == "ipykernel"
    return below_a_cell or (stream is not None and stream.isatty())


class Progress(Callback):  # type: ignore[misc]
    """A progress bar with epoch, loss, accuracy and time left; silent where stderr is not shown at once."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = tqdm(
            total=net.n_steps_,
            initial=net.step_,
            disable=not is_followed(sys.stderr),
            file=sys.stderr,
            unit="batch",
            dynamic_ncols=True,
        )

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Name the epoch."""
        self.bar_.set_description(f"epoch {net.history[-1]['epoch']}", refresh=False)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Advance by one step."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show the current loss and accuracy."""
        last = net.history[-1]
        kind = "valid" if "valid_loss" in last else "train"
        self.bar_.set_postfix_str(
            f"{kind} loss {last[f'{kind}_loss']:.4f}, accuracy {percent(last[f'{kind}_accuracy'])}"
        )

    def close(self) -> None:
        """Close the bar and keep its last line."""
        bar = self.__dict__.pop("bar_", None)
        if bar is not None:
            bar.close()


class StopEarly(EarlyStopping):  # type: ignore[misc]
    """skorch's early stopping on the validation loss, best weights restored, where there is validation data."""

    def __init__(self, patience: int) -> None:
        super().__init__(monitor="valid_loss", patience=patience, load_best=True, sink=noop)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Reset the counters, unless a checkpoint restored them."""
        if not net.step_:
            super().on_train_begin(net, **kwargs)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Count epochs without improvement."""
        if "valid_loss" in net.history[-1]:
            super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Restore the best weights, unless training was interrupted before its first epoch."""
        if net.history:
            super().on_train_end(net, **kwargs)


class Snapshots(Callback):  # type: ignore[misc]
    """Keep the weights of some epochs, for the slider in the page of :meth:`cnnclf.CNNClassifier.to_html`.

    Parameters
    ----------
    k : int, default=5
        How many, at least 2, spread evenly from before the first epoch of a fit to the last one.

    Attributes
    ----------
    snapshots_ : dict of int to dict of str to Tensor
        Per epoch the network's state; 0 is that before training.

    Raises
    ------
    ValueError
        When training begins, if ``k`` is not a whole number of at least 2.

    Notes
    -----
    Neither :meth:`~cnnclf.CNNClassifier.save` nor a checkpoint keeps them: write the page first. A pickle keeps them.

    Examples
    --------
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.training import Snapshots
    >>> X, y = load_digits()
    >>> snapshots = Snapshots(3)
    >>> clf = CNNClassifier("tiny", max_epochs=4, callbacks=[snapshots], random_state=0).fit(X, y)
    >>> list(snapshots.snapshots_)
    [0, 2, 4]
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Choose the epochs, and keep the weights before the first one."""
        if type(self.k) is not int or self.k < 2:
            raise ValueError(f"Expected k to be a whole number of at least 2; got {quote(self.k)}. Pass Snapshots(5).")
        done = len(net.history)
        n = net.max_epochs - (0 if net.checkpoint_ is None else done)
        self.epochs_ = {done + round(n * i / (self.k - 1)) for i in range(self.k)}
        self.snapshots_: dict[int, dict[str, torch.Tensor]] = {}
        self._keep(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights after one of the epochs."""
        self._keep(net)

    def _keep(self, net: Any) -> None:
        epoch = len(net.history)
        if epoch in self.epochs_:
            self.snapshots_[epoch] = {
                name: tensor.detach().cpu().clone() for name, tensor in net.network.state_dict().items()
            }


def list_snapshots(net: Any) -> list[tuple[int, nn.Sequential]]:
    """Return the epochs before the last that a net's :class:`Snapshots` kept, each with a network of its weights."""
    kept = [callback for _, callback in net.callbacks_ if isinstance(callback, Snapshots)]
    found = []
    for epoch, state in getattr(kept[0], "snapshots_", {}).items() if kept else ():
        if epoch < len(net.history):
            module = deepcopy(net.network).cpu()
            module.load_state_dict(state)
            found.append((epoch, module))
    return found


class ReportEpochs(Callback):  # type: ignore[misc]
    """Report every epoch to scikit-learn's callbacks.

    Parameters
    ----------
    estimator : CNNClassifier
        In training.
    task : sklearn.callback.CallbackContext
        Its fit, of which an epoch is a subtask.
    given : dict
        What the fit was given.
    snapshot : callable
        Returns the attributes that make a copy of the estimator stay where training stands.
    """

    def __init__(
        self, estimator: Any, task: Any, given: dict[str, Any], snapshot: Callable[[], dict[str, Any]]
    ) -> None:
        self.estimator = estimator
        self.task = task
        self.given = given
        self.snapshot = snapshot
        self.epoch: Any = None
        self.stopped = False

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin a subtask."""
        self.epoch = self.task.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the subtask, and the training where a callback asks for that."""
        if self._end():
            self.stopped = True
            raise KeyboardInterrupt  # as skorch's EarlyStopping does

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """End the last subtask where another callback ended the training first."""
        if self.epoch is not None and "dur" in net.history[-1]:
            self._end()

    def _end(self) -> bool:
        epoch, self.epoch = self.epoch, None
        stop: bool = epoch.call_on_fit_task_end(
            estimator=self.estimator, **self.given, reconstruction_attributes=self.snapshot
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
        """Update the average with the weights after a step."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        for average, live in zip(self.other, self._state(network), strict=True):
            average.lerp_(live, 1 - decay)

    def show(self, network: nn.Module, *, average: bool) -> None:
        """Make the network use the average, or its live weights."""
        if average == self.average_is_shown:
            return
        for shown, other in zip(self._state(network), self.other, strict=True):
            kept = shown.clone()
            shown.copy_(other)
            other.copy_(kept)
        self.average_is_shown = average
