"""One fit, saved on disk after every epoch, so that a stopped fit continues and gives bit-identical results.

A generation is one safetensors file: the tensors that training changes and, as JSON in its header, everything else.
Reading it runs no code. The SHA-256 of the whole file is in the header, so that a torn or damaged one is found, and
the one before it is used.
"""

import contextlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from cnnclf._utils.digest import is_intact, seal
from cnnclf._utils.files import write_atomically
from cnnclf._utils.labels import plain
from cnnclf.training._identity import describe_training, differences, digest
from cnnclf.training._muon import is_kernel

SCHEMA = 2
KEY = "cnnclf-checkpoint"
FILE_NAME = re.compile(r"epoch-(\d{4,})\.checkpoint")
ANY_FIT = "{fit}"  # what a path has in it when each fit is to have a place of its own
LEFTOVER_SECONDS = 60  # no write takes so long: what is older was left by a process that was killed

# What each optimiser keeps of a parameter, "step" as one number, all else in the parameter's shape.
OF_ADAM = ("step", "exp_avg", "exp_avg_sq")
OPTIMIZER_STATE = {"adamw": OF_ADAM, "adam": OF_ADAM, "sgd": ("momentum_buffer",), "muon": OF_ADAM}
OF_MUON_KERNELS = ("step", "exp_avg")

# What a file calls the counters of weight averaging and of early stopping, and their attributes.
OF_AVERAGE = {"n_updates": "n_updates", "is_shown": "average_is_shown"}
OF_STOPPING = {"misses": "misses_", "threshold": "dynamic_threshold_", "best_epoch": "best_epoch_"}


@dataclass(frozen=True, eq=False)
class Generation:
    """The state of a training after some epoch, as a file holds it.

    Attributes
    ----------
    path : Path
        The file.
    tensors : mapping of str to Tensor
        What :func:`live_tensors` and :func:`random_numbers` named.
    decides : mapping of str to JSON-able values
        What :func:`describe_training` gave.
    seed : int
        The seed of the fit.
    probe : mapping or None
        See :class:`Checkpoint`.
    finished : bool
        Whether there is nothing left to train.
    progress : mapping of str to JSON-able values
        What :func:`describe_progress` gave.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    decides: Mapping[str, Any]
    seed: int
    probe: Mapping[str, Any] | None
    finished: bool
    progress: Mapping[str, Any]


class Checkpoint:
    """The folder of one fit, with its two newest files.

    Parameters
    ----------
    folder : Path
        The folder.
    decides : mapping of str to JSON-able values
        Everything that determines the result of the fit.
    seed : int
        The seed of a new fit.
    newest : Generation or None
        The state to continue from.

    Attributes
    ----------
    seed : int
        The seed that the fit was begun with.
    probe : mapping or None
        The figures that decided ``augment="auto"``, as JSON types; None where there are none.
    """

    def __init__(self, folder: Path, decides: Mapping[str, Any], seed: int, newest: Generation | None) -> None:
        self.folder = folder
        self.decides = decides
        self.newest = newest
        self.seed = seed if newest is None else newest.seed
        self.probe = None if newest is None else newest.probe
        self.has_written = False
        self.failure: str | None = None

    @property
    def n_epochs(self) -> int:
        """Number of finished epochs."""
        return 0 if self.newest is None else len(self.newest.progress["history"])

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.newest is not None and self.newest.finished

    def restore(self, net: Any) -> None:
        """Set a new net to the saved state; ValueError if the file is of another net."""
        if self.newest is None:
            return
        try:
            restore(net, self.newest)
        except ValueError as error:
            raise ValueError(f"{self.newest.path}: {error} Delete {self.folder} to start anew.") from error

    def write(self, net: Any, *, finished: bool = False) -> None:
        """Write the state of a net, and keep only one of the earlier files.

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
            "probe": self.probe,
            "finished": finished,
            "progress": describe_progress(net),
        }
        tensors = live_tensors(net) | ({} if finished else random_numbers(net.device))
        try:
            write_atomically(path, seal(KEY, tensors, content))
            drop_generations(self.folder, epoch)
        except OSError as error:
            self.failure = f"{path} could not be written ({error.strerror or error})"
            if not self.has_written:
                raise OSError(
                    f"{self.failure}, so nothing was trained. Make room, or pass another folder as checkpoint."
                ) from error
        self.has_written = True

    def close(self, net: Any) -> None:
        """Mark a fit that ended as finished.

        Raises
        ------
        OSError
            If a file could not be written since training began.
        """
        if net.ended_ and not self.finished:
            self.write(net, finished=True)
        if self.failure is not None:
            raise OSError(
                f"{self.failure}. Training continued without it: the fitted model is in memory, "
                "so save it elsewhere, or make room and fit again."
            )


def open_checkpoint(clf: Any, training_data: str, validation_data: str | None) -> Checkpoint:
    """Find or make the folder of a fit, and read the state to continue from.

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
        raise ValueError(f"Expected checkpoint to be a folder; {folder} is a file. Pass another name.") from None
    except OSError as error:
        raise OSError(
            f"{folder} could not be made ({error.strerror}), so nothing was trained. Pass another folder as checkpoint."
        ) from error
    drop_leftovers(folder)
    return Checkpoint(folder, decides, clf.seed_, find_newest(folder, decides))


# Files


def list_generations(folder: Path) -> list[tuple[int, Path]]:
    """List the files of a checkpoint with their epochs, newest first."""
    named = ((FILE_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)


def drop_generations(folder: Path, epoch: int) -> None:
    """Delete all files but those of an epoch and the one before it: newer ones are damaged, older ones not needed."""
    older = [number for number, _ in list_generations(folder) if number < epoch]
    for number, path in list_generations(folder):
        if number not in (epoch, *older[:1]):
            path.unlink(missing_ok=True)


def drop_leftovers(folder: Path) -> None:
    """Delete half-written files of killed processes; a recent one may belong to a process at work."""
    for path in folder.glob(".epoch-*.checkpoint.*"):
        with contextlib.suppress(FileNotFoundError):  # it has just got its name
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def find_newest(folder: Path, decides: Mapping[str, Any]) -> Generation | None:
    """Read the newest generation that is not damaged; ValueError if it is of another fit, or if all are damaged."""
    paths = [path for _, path in list_generations(folder)]
    newest = next(filter(None, map(read_generation, paths)), None)
    if newest is None:
        if paths:
            raise ValueError(
                f"Expected a whole checkpoint in {folder}; got only damaged ones. Delete it to start anew."
            )
        return None
    different = differences(newest.decides, decides)
    if different:
        raise ValueError(
            f"Expected a checkpoint of this fit; {folder} has another: {different}. Continue it as it was begun, "
            f"delete it to start anew, or pass another one; {ANY_FIT} in its name gives each fit a folder of its own."
        )
    if newest.path != paths[0]:
        # This function, open_checkpoint, fit, and who called that.
        warnings.warn(f"{paths[0]} is damaged; continuing from {newest.path.name}.", UserWarning, stacklevel=4)
    return newest


def read_generation(path: Path) -> Generation | None:
    """Read a file; None if it is damaged, ValueError if another version wrote it."""
    try:
        content = path.read_bytes()
        if not is_intact(KEY, content):
            return None
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        fields = json.loads(header["__metadata__"][KEY])
        tensors = load(content)
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    match fields:
        case {
            "schema": int(schema),
            "decides": dict(decides),
            "seed": int(seed),
            "probe": (None | dict()) as probe,
            "finished": bool(finished),
            "progress": {"history": list()} as progress,
        } if schema == SCHEMA and 0 <= seed < 2**32:
            return Generation(path, tensors, decides, seed, probe, finished, progress)
    raise ValueError(
        f"{path}: expected a checkpoint of schema {SCHEMA}; got another. "
        f"Continue with the version of cnnclf that wrote it, or delete {path.parent} to start anew."
    )


# The state of a net in training


def live_tensors(net: Any) -> dict[str, torch.Tensor]:
    """Return every tensor that training changes, by name."""
    network = net.network.state_dict()
    named = {f"module.{name}": tensor for name, tensor in network.items()}
    if net.average_ is not None:
        averaged = [name for name, tensor in network.items() if tensor.is_floating_point()]
        named |= {f"average.{name}": tensor for name, tensor in zip(averaged, net.average_.other, strict=True)}
    for name, parameter in net.network.named_parameters():
        state = net.optimizer_.state.get(parameter, {})
        named |= {f"{kind}.{name}": state[kind] for kind in kept_of(net, parameter) if kind in state}
    best = getattr(net.early_stopping_, "best_model_weights_", None)
    if best is not None:
        named |= {f"best.{name}": tensor for name, tensor in zip(network, best.values(), strict=True)}
    return named


def kept_of(net: Any, parameter: torch.Tensor) -> tuple[str, ...]:
    """Return the names of what the net's optimiser keeps of a parameter."""
    return OF_MUON_KERNELS if net.optimizer == "muon" and is_kernel(parameter) else OPTIMIZER_STATE[net.optimizer]


def random_numbers(device: str) -> dict[str, torch.Tensor]:
    """Return the states of torch's random number generators, by name."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def describe_progress(net: Any) -> dict[str, Any]:
    """Return all that changes in training except tensors, as JSON types, without the batches of past epochs."""
    return {
        "history": [{name: plain(value) for name, value in row.items() if name != "batches"} for row in net.history],
        "lr": [plain(group["lr"]) for group in net.optimizer_.param_groups],
        "average": read_counters(net.average_, OF_AVERAGE),
        "early_stopping": read_counters(net.early_stopping_, OF_STOPPING),
    }


def read_counters(owner: Any, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return attributes of an object, where there is one, by their names in a file."""
    return None if owner is None else {name: plain(getattr(owner, attribute)) for name, attribute in names.items()}


def restore(net: Any, generation: Generation) -> None:
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
    net.history[:] = [{**row, "batches": []} for row in progress["history"]]
    for group, lr in zip(net.optimizer_.param_groups, progress["lr"], strict=True):
        group["lr"] = lr
    counted = (("average", net.average_, OF_AVERAGE), ("early_stopping", net.early_stopping_, OF_STOPPING))
    for part, owner, names in counted:
        if owner is not None:
            for name, attribute in names.items():
                setattr(owner, attribute, progress[part][name])
    try:
        if "random.cpu" in generators:
            torch.set_rng_state(generation.tensors["random.cpu"])
        if "random.cuda" in generators:
            torch.cuda.set_rng_state(generation.tensors["random.cuda"], net.device)
    except RuntimeError as error:
        raise ValueError("expected states of torch's random number generators; got others.") from error


def make_room(net: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Create the tensors that a new net does not have yet: the optimiser's, and the best weights of early stopping."""
    for name, parameter in net.network.named_parameters():
        kinds = kept_of(net, parameter)
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


def check_progress(net: Any, progress: Mapping[str, Any]) -> None:
    """Check that the history and the counters belong to such a net."""
    match progress:
        case {
            "history": list(history),
            "lr": list(rates),
            "average": (None | {"n_updates": int(), "is_shown": bool()}) as average,
            "early_stopping": (None | {"misses": int(), "threshold": _, "best_epoch": int()}) as stopping,
        }:
            fits = (
                len(history) <= net.max_epochs
                and all(map(is_epoch, history))
                and len(rates) == len(net.optimizer_.param_groups)
                and all(is_number(rate) and math.isfinite(rate) for rate in rates)
                and (average is None) == (net.average_ is None)
                and (average is None or average["n_updates"] >= 0)
                and (stopping is None) == (net.early_stopping_ is None)
                and (stopping is None or is_number(stopping["threshold"]))
            )
            if fits:
                return
    raise ValueError("expected the history and the counters of this training; got others.")


def is_number(value: Any) -> bool:
    """Check whether a value from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_epoch(row: Any) -> bool:
    """Check whether a value is an epoch of a history."""
    always = ("train_loss", "train_accuracy", "lr", "dur")
    sometimes = ("valid_loss", "valid_accuracy", "valid_acc", "train_images", "valid_images")
    return (
        isinstance(row, dict)
        and all(is_number(row.get(name)) for name in always)
        and all(is_number(row.get(name, 0)) for name in sometimes)
    )
