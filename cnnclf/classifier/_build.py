"""From a classifier's parameters to a network, and to the skorch net that trains it."""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnclf.architectures._layers import ArchitectureFunction, ImageShape
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._network import build_module
from cnnclf.architectures._summary import count_parameters
from cnnclf.training._augmentation import AUGMENTATIONS, Augmentation, Compose
from cnnclf.training._callbacks import Epochs
from cnnclf.training._data import TrainingSet, measure
from cnnclf.training._net import Net
from cnnclf.training._network import steps_to_one_column
from cnnclf.training._runtime import choose_device, choose_precision, session

MANY_PARAMETERS = 3_000_000  # of a named network: its dense layer has grown with the image beyond what it was made for


def make_module(
    architecture: str | ArchitectureFunction,
    image_shape: ImageShape,
    n_classes: int,
    standardise: Standardise,
    seed: int,
) -> nn.Sequential:
    """Return a network with the initial weights of a seed."""
    with session("cpu", (seed, 0)):
        return build_module(architecture, image_shape, n_classes, standardise)


def warn_of_many_parameters(module: nn.Module, architecture: Any, image_shape: ImageShape) -> None:
    """Warn of a network that has outgrown its architecture."""
    n_parameters = count_parameters(module)
    if isinstance(architecture, str) and n_parameters > MANY_PARAMETERS:
        _, height, width = image_shape
        warnings.warn(
            f"Expected at most {MANY_PARAMETERS:,} parameters of architecture={architecture!r}; got "
            f"{n_parameters:,}, as its dense layer grows with the image, here {height}×{width}. Make the images "
            "smaller, or pass an architecture of your own that pools globally, with nn.AdaptiveAvgPool2d(1).",
            UserWarning,
            stacklevel=4,  # the caller of fit or partial_fit
        )


def build_net(clf: Any, data: TrainingSet) -> Net:
    """Return a skorch net around a new network; the classifier's ``input_spec_`` gets the statistics of the pixels."""
    standardise = measure(data.rows, one_unit=clf.input_spec_.white is not None)
    mean, std = (tuple(statistic.flatten().tolist()) for statistic in (standardise.mean, standardise.std))
    clf.input_spec_, clf.architecture_ = replace(clf.input_spec_, mean=mean, std=std), clf.architecture
    module = make_module(clf.architecture, clf.image_shape_, len(clf.classes_), standardise, clf.seed_)
    warn_of_many_parameters(module, clf.architecture, clf.image_shape_)
    return make_net(clf, module, data.batch_size)


def make_net(clf: Any, module: nn.Sequential, batch_size: int, history: Epochs | None = None) -> Net:
    """Return a skorch net around a new or trained network, with the parameters that the classifier has now."""
    device = choose_device(clf.device)
    with session(device):
        precision = choose_precision(clf.precision, device)
        on_cpu = torch.device(device).type == "cpu"
        if on_cpu and precision == "bfloat16" and steps_to_one_column(module, clf.image_shape_):
            precision = "float32"
        net: Net = Net(
            module,
            n_classes=len(clf.classes_),
            max_epochs=int(clf.max_epochs),
            batch_size=batch_size,
            lr=float(clf.lr),
            optimizer=clf.optimizer,
            schedule=clf.lr_schedule,
            weight_decay=float(clf.weight_decay),
            label_smoothing=float(clf.label_smoothing),
            augment=find_augmentation(clf.augment),
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


def find_augmentation(augment: Any) -> Augmentation | None:
    """Return one function for the parameter ``augment``: a name, a function, or a sequence of them."""
    steps = [augment] if isinstance(augment, str) or callable(augment) else augment or ()
    functions = [AUGMENTATIONS[step] if isinstance(step, str) else step for step in steps]
    return Compose(functions) if functions else None
