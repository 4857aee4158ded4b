"""One fit, saved on disk after every epoch, so that a stopped fit continues and gives bit-identical results.

A generation is one safetensors file: the tensors that training changes and, as JSON in its header, everything else.
Reading it runs no code. The SHA-256 of the whole file stands in the header, so that a torn or damaged one is found, and
the one before it is used.
"""

import contextlib
import json
import os
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load

from cnnclf._utils.files import write_atomically
from cnnclf._utils.sealed import is_whole, seal
from cnnclf.training._identity import describe_training, differences, digest
from cnnclf.training._net import Net
from cnnclf.training._snapshot import Generation, describe_progress, live_tensors, random_numbers, restore

SCHEMA = 1
KEY = "cnnclf-checkpoint"
FILE_NAME = re.compile(r"epoch-(\d{4,})\.checkpoint")
ANY_FIT = "{fit}"  # what a path has in it when each fit is to have a place of its own
LEFTOVER_SECONDS = 60  # no write takes so long: what is older was left by a process that was killed


class Checkpoint:
    """The folder of one fit, with its two newest files.

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
        """Number of finished epochs."""
        return 0 if self.newest is None else len(self.newest.progress["history"])

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.newest is not None and self.newest.finished

    def restore(self, net: Net) -> None:
        """Set a new net to the saved state; ValueError if the file is of another net."""
        if self.newest is None:
            return
        try:
            restore(net, self.newest)
        except ValueError as error:
            raise ValueError(f"{self.newest.path}: {error} Delete {self.folder} to start anew.") from error

    def write(self, net: Net, *, finished: bool = False) -> None:
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

    def close(self, net: Net) -> None:
        """Mark a fit that came to its end as finished.

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
    """Find or make the folder of a fit, and read the state that it continues from.

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
    """Delete half-written files of processes that were killed; a young one may be another process at work."""
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
                f"Expected a whole checkpoint in {folder}; got damaged ones alone. Delete it to start anew."
            )
        return None
    different = differences(newest.decides, decides)
    if different:
        raise ValueError(
            f"Expected a checkpoint of this fit; {folder} has another: {different}. Go on as it was begun, delete it "
            f"to start anew, or pass another one; {ANY_FIT} in its name gives each fit a folder of its own."
        )
    if newest.path != paths[0]:
        # This function, open_checkpoint, fit, and who called that.
        warnings.warn(f"{paths[0]} is damaged; going on from {newest.path.name}.", UserWarning, stacklevel=4)
    return newest


def read_generation(path: Path) -> Generation | None:
    """Read a file; None if it is damaged, ValueError if another version wrote it."""
    try:
        content = path.read_bytes()
        if not is_whole(KEY, content):
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
