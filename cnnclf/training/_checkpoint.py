"""One fit, kept on disk epoch by epoch, so that a stopped one goes on to the very bits it would have come to.

A generation is one safetensors file: the tensors that training changes and, as JSON in its header, everything else.
Reading it runs no code. The SHA-256 of the whole file stands in the header, so that a torn or damaged one is found, and
the one before it is used.
"""

import contextlib
import hashlib
import inspect
import json
import math
import os
import re
import time
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import CodeType, EllipsisType, FunctionType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cnnclf._utils.files import PLACEHOLDER, find_digest, holds_digest, plain, put_digest, write_atomically
from cnnclf._utils.text import quote
from cnnclf.training._net import Epochs, Net, choose_device, choose_precision

SCHEMA = 1
KEY = "cnnclf-checkpoint"
# JSON within JSON, whose quotes are escaped; those around the key are not, so that there is one such place.
DIGEST = re.compile(rb'"cnnclf-checkpoint":"\{\\"sha256\\": \\"([0-9a-f]{64})\\"')
FILE_NAME = re.compile(r"epoch-(\d{4,})\.checkpoint")
ANY_FIT = "{fit}"  # what a path has in it when each fit is to have a place of its own
LEFTOVER_SECONDS = 60  # no write takes so long: what is older was left by a process that was killed

CHANGES_NO_RESULT = {"verbose", "checkpoint", "preparation"}

# What a checkpoint takes for parameters that have more in them than their name says.
NAMEABLE = {
    "architecture": "a function or a class of a module",
    "augment": "a function or a class of a module",
    "random_state": "an integer",
    "callbacks": "None",
}

# What each optimiser keeps of a parameter, "step" as one number, all else in the parameter's shape.
OPTIMIZER_STATE = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}


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


class Checkpoint:
    """The folder of one fit, with its two newest generations.

    Parameters
    ----------
    folder : Path
        Where they are.
    decides : mapping of str to JSON-able values
        All that decides the fit.
    seed : int
        Of a fit that is new.
    newest : Generation or None
        What the fit goes on from.

    Attributes
    ----------
    seed : int
        Of the fit, which is the one it was begun with.
    """

    def __init__(self, folder: Path, decides: Mapping[str, Any], seed: int, newest: Generation | None) -> None:
        self.folder = folder
        self.decides = decides
        self.newest = newest
        self.seed = seed if newest is None else newest.seed
        self.has_written = False
        self.failure: str | None = None

    @property
    def n_epochs(self) -> int:
        """Epochs that are done."""
        return 0 if self.newest is None else len(self.newest.progress["history"])

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.newest is not None and self.newest.finished

    def restore(self, net: Net) -> None:
        """Put a new net where the fit stood; ValueError if the file is none of such a net."""
        if self.newest is None:
            return
        try:
            restore(net, self.newest)
        except ValueError as error:
            raise ValueError(f"{self.newest.path}: {error} Delete {self.folder} to start anew.") from error

    def write(self, net: Net, *, finished: bool = False) -> None:
        """Keep where a net stands, and of the generations before only one.

        Raises
        ------
        OSError
            If the first file cannot be written. A failure later on ends writing, not training: see :meth:`close`.
        """
        if self.failure is not None:
            return
        epoch = len(net.history)
        path = self.folder / f"epoch-{epoch:04d}.checkpoint"
        content = {
            "schema": SCHEMA,
            "decides": self.decides,
            "seed": self.seed,
            "finished": finished,
            "progress": describe_progress(net),
        }
        tensors = live_tensors(net) | ({} if finished else random_numbers(net.device))
        try:
            write_generation(path, tensors, content)
            drop_generations(self.folder, epoch)
        except OSError as error:
            self.failure = f"{path} could not be written ({error.strerror or error})"
            if not self.has_written:
                raise OSError(
                    f"{self.failure}, so nothing was trained. Make room, or pass another folder as checkpoint."
                ) from error
        self.has_written = True

    def close(self, net: Net) -> None:
        """Keep a fit that came to its end as a finished one.

        Raises
        ------
        OSError
            If a file could not be written since training began.
        """
        if net.ended_ and not self.finished:
            self.write(net, finished=True)
        if self.failure is not None:
            raise OSError(
                f"{self.failure}. Training went on without it: the fitted model is in memory, "
                "so save it elsewhere, or make room and fit again."
            )


def open_checkpoint(clf: Any, training_data: str, validation_data: str | None) -> Checkpoint:
    """Find or make the place of a fit, and what it goes on from.

    Parameters
    ----------
    clf : CNNClassifier
        About to train: data and parameters are checked, the seed is drawn.
    training_data : str
        The fingerprint of ``X`` and ``y``.
    validation_data : str or None
        The fingerprint of ``X_val`` and ``y_val``.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ValueError
        If the folder is a file, holds another fit or nothing but damaged files, or a parameter has no name that a file
        could hold.
    OSError
        If the folder cannot be made.
    """
    given = os.fspath(clf.checkpoint)
    decides = describe_training(clf, training_data, validation_data, needs_seed=ANY_FIT in given)
    folder = Path(given.replace(ANY_FIT, digest(decides)[:16]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"checkpoint must be a folder; {folder} is a file. Pass another name.") from None
    except OSError as error:
        raise OSError(
            f"{folder} could not be made ({error.strerror}), so nothing was trained. Pass another folder as checkpoint."
        ) from error
    drop_leftovers(folder)
    return Checkpoint(folder, decides, clf._seed, find_newest(folder, decides))


# What decides a fit


def describe_training(clf: Any, training_data: str, validation_data: str | None, *, needs_seed: bool) -> dict[str, Any]:
    """Name all that decides a fit, as JSON knows it; a seed that is drawn is kept apart."""
    callbacks = [describe_callback(callback) for callback in clf.callbacks or ()]
    parameters = {**clf.get_params(deep=False), "callbacks": callbacks}
    if not needs_seed and not isinstance(clf.random_state, int | np.integer):
        del parameters["random_state"]
    named = describe_fit(clf, parameters)
    named["parameters"].setdefault("random_state", None)
    data = {
        "classes": clf.classes_.tolist(),
        "training data": training_data,
        "validation data": validation_data,
    }
    described: dict[str, Any] = json.loads(json.dumps({**named, **data}))
    return described


def describe_fit(clf: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name all that decides a fit beside its data, as JSON knows it.

    Parameters
    ----------
    clf : CNNClassifier
        Fitted or not.
    parameters : mapping of str to object
        Its parameters, or those of them that decide.

    Returns
    -------
    dict
        What JSON knows.

    Raises
    ------
    ValueError
        For a parameter that has no name which a file could hold.
    """
    named = {}
    for name, value in parameters.items():
        if name in CHANGES_NO_RESULT:
            continue
        try:
            if name == "random_state" and not isinstance(value, int | np.integer):
                raise TypeError
            named[name] = canonical(value)
        except (TypeError, ValueError, RecursionError):  # also of a function's closure: an empty cell, a circle
            raise ValueError(
                f"checkpoint must tell from {name} whether a fit is the same; {name}={quote(getattr(clf, name))} does "
                f"not tell. Pass {name} as {NAMEABLE.get(name, 'plain values')}, or checkpoint=None."
            ) from None
    device = choose_device(clf.device)
    return {
        "estimator": f"{type(clf).__module__}.{type(clf).__qualname__}",
        "parameters": {**named, "device": device, "precision": choose_precision(clf.precision, device)},
        "versions": {name: version(name) for name in ("cnnclf", "torch", "skorch", "scikit-learn")},
        "processor": torch.backends.cpu.get_cpu_capability(),
        "n_threads": os.environ.get("CNNCLF_NUM_THREADS", "1"),
    }


def describe_callback(callback: Any) -> Any:
    """Name a callback by its class and parameters; its state is its own."""
    if isinstance(callback, tuple):
        return [callback[0], describe_callback(callback[1])]
    return callback if isinstance(callback, type) else [type(callback), callback.get_params(deep=False)]


def canonical(value: Any) -> Any:
    """Name a value in JSON so that equal values have equal names; TypeError for one that cannot be named.

    Examples
    --------
    >>> canonical({7: (np.float32(0.5), None)})
    {'dict': [[7, [0.5, None]]]}
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes() | complex() | EllipsisType():
            return {"repr": repr(value)}
        case np.generic():
            return canonical(value.item())
        case list() | tuple():
            return [canonical(item) for item in value]
        case frozenset():
            return {"set": sorted(map(canonical, value), key=repr)}
        case dict():
            return {"dict": sorted(([canonical(name), canonical(item)] for name, item in value.items()), key=repr)}
        case partial():
            return {"partial": [canonical(value.func), canonical(value.args), canonical(value.keywords)]}
        case CodeType():  # what it does, and not where it is written
            code = value.co_code, value.co_names, value.co_varnames, value.co_freevars, value.co_consts
            return {"code": canonical(code)}
        case FunctionType():
            closure = [cell.cell_contents for cell in value.__closure__ or ()]
            inside = canonical([value.__code__, value.__defaults__, value.__kwdefaults__, closure])
            return {"function": f"{value.__module__}.{value.__qualname__}", "sha256": digest(inside)}
        case type() if "<locals>" not in value.__qualname__:  # what surrounds a local class is not in its source
            return {"class": f"{value.__module__}.{value.__qualname__}", "sha256": digest(source_of(value))}
    raise TypeError(f"{quote(value)} has no canonical name")


def source_of(cls: type) -> str:
    """Read the source of a class; TypeError where there is none."""
    try:
        return inspect.getsource(cls)
    except OSError as error:
        raise TypeError(str(error)) from error


def digest(value: Any) -> str:
    """Hash a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in what two descriptions differ; nothing where they are the same.

    Examples
    --------
    >>> differences({"parameters": {"lr": 0.1}, "classes": [0]}, {"parameters": {"lr": 0.2}, "classes": [1]})
    'lr was 0.1 and is 0.2; the classes differ'
    """
    was, now = flatten(was), flatten(now)
    changed = [name for name in was | now if was.get(name) != now.get(name)]
    return "; ".join(
        f"{name} was {readable(was.get(name))} and is {readable(now.get(name))}"
        if name not in ("classes", "training data", "validation data")
        else f"the {name} {'differ' if name == 'classes' else 'differs'}"
        for name in changed
    )


def flatten(described: Mapping[str, Any]) -> dict[str, Any]:
    """Put parameters and versions beside everything else."""
    flat: dict[str, Any] = {}
    for name, value in described.items():
        flat |= value if name in ("parameters", "versions") and isinstance(value, dict) else {name: value}
    return flat


def readable(named: Any) -> str:
    """Write what :func:`canonical` gave as people write it.

    Examples
    --------
    >>> readable({"dict": [[3, 2.0]]}), readable("adamw"), readable({"function": "nets.small", "sha256": "0a1b2c3d4e"})
    ('{3: 2.0}', "'adamw'", 'nets.small (code 0a1b2c3d)')
    """
    match named:
        case {"dict": [*items]}:
            return "{" + ", ".join(f"{readable(name)}: {readable(value)}" for name, value in items) + "}"
        case {"function": name, "sha256": code} | {"class": name, "sha256": code}:
            return f"{name} (code {str(code)[:8]})"
        case [*items]:
            return f"[{', '.join(map(readable, items))}]"
    return repr(named)


# Files


def list_generations(folder: Path) -> list[tuple[int, Path]]:
    """List the files of a checkpoint with their epochs, newest first."""
    named = ((FILE_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)


def drop_generations(folder: Path, epoch: int) -> None:
    """Keep an epoch and the one before it: newer ones are damaged, older ones of no use."""
    older = [number for number, _ in list_generations(folder) if number < epoch]
    for number, path in list_generations(folder):
        if number not in (epoch, *older[:1]):
            path.unlink(missing_ok=True)


def drop_leftovers(folder: Path) -> None:
    """Delete half-written files of processes that were killed; a young one may be another process at work."""
    for path in folder.glob(".epoch-*.checkpoint.*"):
        with contextlib.suppress(FileNotFoundError):  # it has just got its name
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def find_newest(folder: Path, decides: Mapping[str, Any]) -> Generation | None:
    """Read the newest generation that is whole; ValueError if it is another fit's, or if none is whole."""
    paths = [path for _, path in list_generations(folder)]
    newest = next(filter(None, map(read_generation, paths)), None)
    if newest is None:
        if paths:
            raise ValueError(f"Every checkpoint in {folder} is damaged. Delete the folder to start anew.")
        return None
    different = differences(newest.decides, decides)
    if different:
        raise ValueError(
            f"checkpoint {folder} is of another fit: {different}. Go on as it was begun, delete the folder to "
            f"start anew, or pass another one; {ANY_FIT} in its name gives each fit a folder of its own."
        )
    if newest.path != paths[0]:
        # This function, open_checkpoint, the estimator's method, fit, and who called that.
        warnings.warn(f"{paths[0]} is damaged; going on from {newest.path.name}.", UserWarning, stacklevel=5)
    return newest


def write_generation(path: Path, tensors: Mapping[str, torch.Tensor], told: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all, with its digest in it."""
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(contiguous, {KEY: json.dumps({"sha256": PLACEHOLDER, **told}, allow_nan=True)})
    start = find_digest(content, DIGEST)
    assert start is not None  # it was just written
    write_atomically(path, put_digest(content, start))


def read_generation(path: Path) -> Generation | None:
    """Read what was written; None where the file is damaged, ValueError where another version wrote it."""
    try:
        content = path.read_bytes()
        start = find_digest(content, DIGEST)
        if start is None or not holds_digest(content, start):
            return None
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        told = json.loads(header["__metadata__"][KEY])
        tensors = load(content)
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    match told:
        case {
            "schema": int(schema),
            "decides": dict(decides),
            "seed": int(seed),
            "finished": bool(finished),
            "progress": {"history": list()} as progress,
        } if schema == SCHEMA and 0 <= seed < 2**32:
            return Generation(path, tensors, decides, seed, finished, progress)
    raise ValueError(
        f"{path}: expected a checkpoint of schema {SCHEMA}; got another. "
        f"Go on with the version of cnnclf that wrote it, or delete {path.parent} to start anew."
    )


# A net in the middle of its training


def live_tensors(net: Net) -> dict[str, torch.Tensor]:
    """Name every tensor that training changes."""
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
    """Name the states of torch's random number generators."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def describe_progress(net: Net) -> dict[str, Any]:
    """Give all that changes in training beside tensors, as JSON knows it; batches of past epochs are left out."""
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
    """Put a new net where a file says that training stood; ValueError if it is of no such net."""
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
    """Check that what stands beside the tensors is of such a net."""
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
    """Tell numbers from everything else that JSON knows."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_epoch(row: Any) -> bool:
    """Tell whether this is an epoch of a history."""
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
    """Tell whether these are the counters of weight averaging."""
    match value:
        case {"n_updates": int(n), "is_shown": bool()}:
            return n >= 0
    return False


def is_stopping(value: Any) -> bool:
    """Tell whether these are the counters of early stopping."""
    match value:
        case {"misses": int(), "threshold": threshold, "best_epoch": int()}:
            return is_number(threshold)
    return False
