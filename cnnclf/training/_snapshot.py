"""The state of a fit after an epoch: written, checked and restored."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cnnclf._utils.labels import plain
from cnnclf.training._callbacks import Epochs
from cnnclf.training._net import Net


@dataclass(frozen=True, eq=False)
class Generation:
    """A training as a file holds it, after some epoch.

    Attributes
    ----------
    path : Path
        The file.
    tensors : mapping of str to Tensor
        What :func:`live_tensors` and :func:`random_numbers` named.
    decides : mapping of str to JSON-able values
        What :func:`describe_training` gave.
    seed : int
        Of the fit.
    finished : bool
        Whether there is nothing left to train.
    progress : mapping of str to JSON-able values
        What :func:`describe_progress` gave.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    decides: Mapping[str, Any]
    seed: int
    finished: bool
    progress: Mapping[str, Any]


# What each optimiser keeps of a parameter, "step" as one number, all else in the parameter's shape.
OPTIMIZER_STATE = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}


# A net in the middle of its training


def live_tensors(net: Net) -> dict[str, torch.Tensor]:
    """Return every tensor that training changes, by name."""
    network = net.network.state_dict()
    named = {f"module.{name}": tensor for name, tensor in network.items()}
    if net.average_ is not None:
        averaged = [name for name, tensor in network.items() if tensor.is_floating_point()]
        named |= {f"average.{name}": tensor for name, tensor in zip(averaged, net.average_.other, strict=True)}
    for name, parameter in net.network.named_parameters():
        state = net.optimizer_.state.get(parameter, {})
        named |= {f"{kind}.{name}": state[kind] for kind in OPTIMIZER_STATE[net.optimizer] if kind in state}
    best = getattr(net.early_stopping_, "best_model_weights_", None)
    if best is not None:
        named |= {f"best.{name}": tensor for name, tensor in zip(network, best.values(), strict=True)}
    return named


def random_numbers(device: str) -> dict[str, torch.Tensor]:
    """Return the states of torch's random number generators, by name."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def describe_progress(net: Net) -> dict[str, Any]:
    """Return all that changes in training except tensors, as JSON types, without the batches of past epochs."""
    stopping = net.early_stopping_
    return {
        "history": [{name: plain(value) for name, value in row.items() if name != "batches"} for row in net.history],
        "lr": [plain(group["lr"]) for group in net.optimizer_.param_groups],
        "average": None
        if net.average_ is None
        else {"n_updates": net.average_.n_updates, "is_shown": net.average_.average_is_shown},
        "early_stopping": None
        if stopping is None
        else {
            "misses": stopping.misses_,
            "threshold": plain(stopping.dynamic_threshold_),
            "best_epoch": stopping.best_epoch_,
        },
    }


def restore(net: Net, generation: Generation) -> None:
    """Set a new net to the state in a file; ValueError if the file is of another net."""
    check_progress(net, generation.progress)
    make_room(net, generation.tensors)
    targets = live_tensors(net)
    generators = {} if generation.finished else random_numbers(net.device)
    check_tensors(generation.tensors, targets | generators)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(generation.tensors[name])

    progress = generation.progress
    net.history = Epochs({**row, "batches": []} for row in progress["history"])
    for group, lr in zip(net.optimizer_.param_groups, progress["lr"], strict=True):
        group["lr"] = lr
    if net.average_ is not None:
        net.average_.n_updates = progress["average"]["n_updates"]
        net.average_.average_is_shown = progress["average"]["is_shown"]
    stopping = net.early_stopping_
    if stopping is not None:
        stopping.misses_ = progress["early_stopping"]["misses"]
        stopping.dynamic_threshold_ = progress["early_stopping"]["threshold"]
        stopping.best_epoch_ = progress["early_stopping"]["best_epoch"]
    try:
        if "random.cpu" in generators:
            torch.set_rng_state(generation.tensors["random.cpu"])
        if "random.cuda" in generators:
            torch.cuda.set_rng_state(generation.tensors["random.cuda"], net.device)
    except RuntimeError as error:
        raise ValueError("expected states of torch's random number generators; got others.") from error


def make_room(net: Net, tensors: Mapping[str, torch.Tensor]) -> None:
    """Make the tensors that a new net does not have yet: the optimiser's, and the best weights of early stopping."""
    kinds = OPTIMIZER_STATE[net.optimizer]
    for name, parameter in net.network.named_parameters():
        if f"{kinds[0]}.{name}" in tensors:  # not there for a parameter that no loss depends on
            net.optimizer_.state[parameter] = {
                kind: torch.zeros((), dtype=torch.float32, device=parameter.device)
                if kind == "step"
                else torch.zeros_like(parameter)
                for kind in kinds
            }
    stopping = net.early_stopping_
    if stopping is not None:
        has_best = any(name.startswith("best.") for name in tensors)
        stopping.best_model_weights_ = deepcopy(net.module_.state_dict()) if has_best else None


def check_tensors(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Check that there are exactly the expected tensors, of their shapes and types, with finite numbers."""
    strange = sorted(tensors.keys() ^ expected.keys())
    if strange:
        raise ValueError(f"expected the tensors of this training; {strange[0]} is missing or too many.")
    for name, tensor in tensors.items():
        like = expected[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"expected {name} of shape {tuple(like.shape)} and type {like.dtype}; "
                f"got {tuple(tensor.shape)} and {tensor.dtype}."
            )
        if not tensor.isfinite().all():
            raise ValueError(f"expected finite numbers; {name} has others.")


def check_progress(net: Net, progress: Mapping[str, Any]) -> None:
    """Check that the history and the counters belong to such a net."""
    match progress:
        case {"history": list(history), "lr": list(rates), "average": average, "early_stopping": stopping}:
            fits = (
                len(history) <= net.max_epochs
                and all(map(is_epoch, history))
                and len(rates) == len(net.optimizer_.param_groups)
                and all(is_number(rate) and math.isfinite(rate) for rate in rates)
                and (average is None if net.average_ is None else is_average(average))
                and (stopping is None if net.early_stopping_ is None else is_stopping(stopping))
            )
            if fits:
                return
    raise ValueError("expected the history and the counters of this training; got others.")


def is_number(value: Any) -> bool:
    """Check whether a value from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_epoch(row: Any) -> bool:
    """Check whether a value is an epoch of a history."""
    always, sometimes = (
        ("train_loss", "train_accuracy", "lr", "dur"),
        ("valid_loss", "valid_accuracy", "valid_acc", "train_images"),
    )
    return (
        isinstance(row, dict)
        and all(is_number(row.get(name)) for name in always)
        and all(is_number(row.get(name, 0)) for name in sometimes)
    )


def is_average(value: Any) -> bool:
    """Check whether a value holds the counters of weight averaging."""
    match value:
        case {"n_updates": int(n), "is_shown": bool()}:
            return n >= 0
    return False


def is_stopping(value: Any) -> bool:
    """Check whether a value holds the counters of early stopping."""
    match value:
        case {"misses": int(), "threshold": threshold, "best_epoch": int()}:
            return is_number(threshold)
    return False
