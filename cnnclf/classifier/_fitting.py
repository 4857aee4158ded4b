"""What a fit does once its data is checked: build a network, train it, and keep it or undo it."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnclf._utils.text import quote
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._network import build_module
from cnnclf.architectures._summary import count_parameters
from cnnclf.classifier._auto import (
    AugmentProbe,
    is_auto,
    name_changes,
    needs_probe,
    probe_augmentation,
    resolve_architecture,
)
from cnnclf.images._spec import SMALLEST_SIDE
from cnnclf.training._augmentation import find_augmentation
from cnnclf.training._callbacks import ReportEpochs
from cnnclf.training._checkpoint import Checkpoint
from cnnclf.training._data import Rows, TrainingSet, measure
from cnnclf.training._net import Epochs, Net
from cnnclf.training._network import steps_to_one_column
from cnnclf.training._recognition import TrainingData
from cnnclf.training._runtime import choose_device, choose_precision, session
from cnnclf.training._sklearn_callbacks import train_by_epochs

MANY_PARAMETERS = 3_000_000  # of a named network: its dense layer has grown with the image beyond what it was made for


def check_warm_start(clf: Any) -> bool:
    """Return whether a fit continues an earlier one; ValueError where the parameters are of another network."""
    if clf.warm_start and clf.checkpoint is not None:
        raise ValueError(
            f"Expected warm_start=True or a checkpoint, which are two ways to continue; got both, with checkpoint="
            f"{quote(Path(clf.checkpoint))}. Pass warm_start=False, or checkpoint=None."
        )
    if not (clf.warm_start and hasattr(clf, "net_")):
        return False
    check_same_network(clf, "warm_start=True", "pass warm_start=False")
    return True


def check_same_network(clf: Any, how: str, instead: str) -> None:
    """Check that the parameters of a fitted classifier are of its network, which is trained further."""
    is_same_shape = clf.image_shape is None or tuple(clf.image_shape) == clf.image_shape_
    is_same = is_auto(clf.architecture) or clf.architecture == clf.architecture_
    if not (is_same and is_same_shape):
        raise ValueError(
            f"Expected {how} to continue training the fitted network, "
            f"architecture={quote(clf.architecture_)} for images of shape {clf.image_shape_}; got "
            f"architecture={quote(clf.architecture)} and image_shape={quote(clf.image_shape)}. "
            f"Set them back, or {instead} to start anew."
        )


def make_module(clf: Any, standardise: Standardise) -> nn.Sequential:
    """Return a classifier's network with the initial weights of its seed."""
    with session("cpu", (clf.seed_, 0)):
        return build_module(clf.architecture_, clf.input_spec_.image_shape, len(clf.classes_), standardise)


def warn_of_many_parameters(clf: Any, module: nn.Module) -> None:
    """Warn of a network that has outgrown its architecture."""
    n_parameters = count_parameters(module)
    pools_globally = any(isinstance(layer, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d) for layer in module.children())
    if isinstance(clf.architecture_, str) and n_parameters > MANY_PARAMETERS and not pools_globally:
        _, height, width = clf.input_spec_.image_shape
        warnings.warn(
            f"Expected at most {MANY_PARAMETERS:,} parameters of architecture={clf.architecture_!r}; got "
            f"{n_parameters:,}, as its dense layer grows with the image, here {height}×{width}. Pass "
            "architecture='general', which pools globally, or make the images smaller.",
            UserWarning,
            stacklevel=4,  # the caller of fit or partial_fit
        )


def usable_augmentation(clf: Any) -> Any:
    """Return the augmentation that is asked for; None where it is left to fit or images are too small for it."""
    too_small = min(clf.input_spec_.image_shape[1:]) < SMALLEST_SIDE
    return None if is_auto(clf.augment) or too_small else clf.augment


def warn_of_unchanged_images(clf: Any) -> None:
    """Warn where ``augment`` is set but the images are too small for it."""
    if not is_auto(clf.augment) and clf.augment and usable_augmentation(clf) is None:
        _, height, width = clf.input_spec_.image_shape
        warnings.warn(
            f"Expected images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels for augment={quote(clf.augment)}; got "
            f"{height}×{width}. They are not changed. Pass augment=None.",
            UserWarning,
            stacklevel=3,  # the caller of fit or partial_fit
        )


def build_net(clf: Any, data: TrainingSet) -> Net:
    """Return a skorch net around a new network; the classifier's ``input_spec_`` gets the statistics of the pixels."""
    standardise = measure(data.rows, one_unit=clf.input_spec_.white is not None)
    mean, std = (tuple(statistic.flatten().tolist()) for statistic in (standardise.mean, standardise.std))
    clf.input_spec_ = replace(clf.input_spec_, mean=mean, std=std)
    clf.architecture_ = resolve_architecture(clf.architecture)
    module = make_module(clf, standardise)
    warn_of_many_parameters(clf, module)
    return make_net(clf, module, data.batch_size)


def make_net(clf: Any, module: nn.Sequential, batch_size: int, history: Epochs | None = None) -> Net:
    """Return a skorch net around a new or trained network, with the parameters that the classifier has now."""
    device = choose_device(clf.device)
    with session(device):
        precision = choose_precision(clf.precision, device)
        on_cpu = torch.device(device).type == "cpu"
        if on_cpu and precision == "bfloat16" and steps_to_one_column(module, clf.input_spec_.image_shape):
            precision = "float32"
        net: Net = Net(
            module,
            n_classes=len(clf.classes_),
            batch_size=batch_size,
            lr=float(clf.lr),
            optimizer=clf.optimizer,
            weight_decay=float(clf.weight_decay),
            label_smoothing=float(clf.label_smoothing),
            augment=find_augmentation(clf.augment_),
            weight_averaging=bool(clf.weight_averaging),
            precision=precision,
            patience=int(clf.patience) if clf.early_stopping else None,
            callbacks=clf.callbacks or (),
            device=device,
            compile=bool(clf.compile),
            verbose=int(clf.verbose),
        ).initialize()
    if history is not None:
        net.history = history
    return net


def choose_augmentation(clf: Any, rows: Rows, epochs: int, checkpoint: Checkpoint | None, *, goes_on: bool) -> None:
    """Set ``augment_`` and ``augment_probe_``; a fit that continues keeps what an earlier one chose."""
    if goes_on and is_auto(clf.augment):
        return
    probe, changes = None, None
    if needs_probe(clf.augment, epochs, len(rows.order), clf.input_spec_.image_shape):
        saved = None if checkpoint is None else checkpoint.probe
        probe = probe_augmentation(clf, rows) if saved is None else AugmentProbe.from_json(saved)
        changes = name_changes(probe, epochs)
    if checkpoint is not None:
        checkpoint.probe = None if probe is None else asdict(probe)
    clf.augment_probe_ = probe
    clf.augment_ = changes if is_auto(clf.augment) else usable_augmentation(clf)


def train(
    clf: Any,
    net: Net,
    data: TrainingSet,
    seen: TrainingData,
    given: tuple[Any, Any, Any],
    *,
    epochs: int,
    schedule: str,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a net and make it the classifier's.

    Parameters
    ----------
    clf : CNNClassifier
        Gets ``net_``, ``training_data_`` and ``max_epochs_``; after an exception it has what it had before.
    net : Net
        New, or the one to continue with.
    data : TrainingSet
        The images to learn from.
    seen : TrainingData
        The record of all training data, this included.
    given : tuple
        The X, y and sample_weight of the call, for scikit-learn's callbacks.
    epochs, schedule, checkpoint
        As for :meth:`cnnclf.training.Net.train`.
    """
    net.lr = float(clf.lr)
    X, y, weight = given
    metadata = None if weight is None else {"sample_weight": weight}
    call = {"X": X, "y": y, "metadata": metadata}

    def train_net(task: Any) -> None:
        watcher = None if task is None else ReportEpochs(clf, task, call, lambda: snapshot(clf))
        net.train(data.rows, data.valid, epochs=epochs, schedule=schedule, checkpoint=checkpoint, watcher=watcher)

    with session(net.device, (clf.seed_, 1 + net.n_epochs_)), undone_by_an_error(clf):
        clf.net_, clf.training_data_, clf.max_epochs_ = net, seen, epochs
        train_by_epochs(clf, train_net, epochs, call, lambda: snapshot(clf))
    if not net.ended_:
        warnings.warn(
            f"Training interrupted by user in epoch {net.n_epochs_ + 1}; the estimator is usable.",
            UserWarning,
            stacklevel=3,  # the caller of fit or partial_fit
        )
    if checkpoint is not None:
        checkpoint.close(net)  # which counts all epochs
    net.forget_early_epochs()


def snapshot(clf: Any) -> dict[str, Any]:
    """Return the attributes with which a copy of a classifier keeps the present state of training."""
    stands = copy.copy(clf)
    stands.callbacks, stands.compile, stands.verbose = None, False, 0  # it is never trained
    return {"net_": make_net(stands, copy.deepcopy(clf.module_), clf.net_.batch_size, Epochs(clf.net_.history))}


@contextmanager
def undone_by_an_error(clf: Any) -> Iterator[None]:
    """Restore the classifier where training raises, fitted or not; Ctrl-C keeps the finished epochs."""
    before = getattr(clf, "net_", None)
    stand = None if before is None else before.stand()
    seen, epochs = clf.training_data_, getattr(clf, "max_epochs_", None)
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if before is None:
            del clf.net_, clf.max_epochs_
        else:
            before.return_to(stand)
            clf.net_, clf.training_data_, clf.max_epochs_ = before, seen, epochs
        raise
