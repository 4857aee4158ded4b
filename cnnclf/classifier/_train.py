"""Training of a classifier's net: watched by callbacks, undone by an error, remembered otherwise."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cnnclf.classifier._build import make_net
from cnnclf.training._callbacks import Epochs, ReportEpochs
from cnnclf.training._data import TrainingSet
from cnnclf.training._net import Net
from cnnclf.training._recognition import TrainingData
from cnnclf.training._runtime import session
from cnnclf.training._sklearn_callbacks import train_by_epochs

if TYPE_CHECKING:
    from cnnclf.training._checkpoint import Checkpoint


def train(
    clf: Any,
    net: Net,
    data: TrainingSet,
    seen: TrainingData,
    given: tuple[Any, Any, Any],
    *,
    epochs: int,
    schedule: str,
    checkpoint: "Checkpoint | None" = None,
) -> None:
    """Train a net and make it the classifier's.

    Parameters
    ----------
    clf : CNNClassifier
        Gets ``net_`` and ``training_data_``; after an exception it has what it had before.
    net : Net
        New, or the one that training goes on with.
    data : TrainingSet
        What it learns from.
    seen : TrainingData
        What is remembered of all training data, this included.
    given : tuple
        The X, y and sample_weight of the call, for scikit-learn's callbacks.
    epochs, schedule, checkpoint
        As for :meth:`cnnclf.training.Net.train`.
    """
    net.lr = float(clf.lr)
    X, y, weight = given
    metadata = None if weight is None else {"sample_weight": weight}
    told = {"X": X, "y": y, "metadata": metadata}

    def train_net(task: Any) -> None:
        watcher = None if task is None else ReportEpochs(clf, task, told, lambda: snapshot(clf))
        net.train(data.rows, data.valid, epochs=epochs, schedule=schedule, checkpoint=checkpoint, watcher=watcher)

    with session(net.device, (clf.seed_, 1 + net.n_epochs_)), undone_by_an_error(clf):
        clf.net_, clf.training_data_ = net, seen
        train_by_epochs(clf, train_net, int(epochs), told, lambda: snapshot(clf))
    if not net.ended_:
        warnings.warn(
            f"Training interrupted by user in epoch {net.n_epochs_ + 1}; the estimator is usable.",
            UserWarning,
            stacklevel=3,  # the caller of fit or partial_fit
        )
    if checkpoint is not None:
        checkpoint.close(net)


def snapshot(clf: Any) -> dict[str, Any]:
    """Return the attributes that make a copy of a classifier stay where training stands now."""
    stands = copy.copy(clf)
    stands.callbacks, stands.compile, stands.verbose = None, False, 0  # it is never trained
    return {"net_": make_net(stands, copy.deepcopy(clf.module_), clf.net_.batch_size, Epochs(clf.net_.history))}


@contextmanager
def undone_by_an_error(clf: Any) -> Iterator[None]:
    """Leave the classifier as it was where training raises, fitted or not; Ctrl-C keeps the whole epochs."""
    before = getattr(clf, "net_", None)
    stand = None if before is None else before.stand()
    seen = clf.training_data_
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if before is None:
            del clf.net_
        else:
            before.return_to(stand)
            clf.net_, clf.training_data_ = before, seen
        raise
