"""Fitted estimator ↔ one safetensors file; reading it runs no code.

The file holds the network's tensors and, as JSON in the header, everything else. The SHA-256 of the tensors stands
in the JSON, so that a flipped bit is found.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cnnclf.files import decode_labels, encode_labels, write_atomically

SCHEMA = 1
KEY = "cnnclf"


def save_estimator(clf: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted ``CNNClassifier``; see :meth:`cnnclf.CNNClassifier.save`."""
    params = {name: plain(value) for name, value in clf.get_params(deep=False).items()}
    if isinstance(clf.class_weight, dict):
        params["class_weight"] = [[plain(label), float(weight)] for label, weight in clf.class_weight.items()]
    fitted = {name: plain(value) for name, value in clf._fitted_state().items() if name != "classes"}
    state = {
        "params": params,
        "classes": encode_labels(clf.classes_),
        "fitted": fitted,
        "versions": {name: version(name) for name in ("cnnclf", "torch", "skorch", "scikit-learn")},
    }
    write_model(path, clf.module_.state_dict(), state)


def load_estimator(cls: Any, path: str | os.PathLike[str], architecture: Callable[..., Any] | None) -> Any:
    """Read a fitted ``CNNClassifier``; see :meth:`cnnclf.CNNClassifier.load`."""
    tensors, state = read_model(path)
    try:
        params = dict(state["params"])
        if (params["architecture"] is None) != (architecture is not None):
            saved = params["architecture"] or "a function, which a file cannot hold"
            raise ValueError(f"the saved architecture is {saved}; got architecture={architecture!r}.")
        if architecture is not None:
            params["architecture"] = architecture
        if isinstance(params["class_weight"], list):
            params["class_weight"] = {label: weight for label, weight in params["class_weight"]}  # noqa: C416
        clf = cls(**params)
        clf._restore({**state["fitted"], "classes": decode_labels(state["classes"])}, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return clf


def plain(value: Any) -> Any:
    """Give a value as JSON knows it; None for functions and live objects, which JSON does not know.

    Examples
    --------
    >>> plain((1, np.float32(0.5), len))
    [1, 0.5, None]
    """
    match value:
        case np.generic():
            return value.item()
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case str() | bool() | int() | float():
            return value
    return None


def write_model(path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state to one file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    tensors : mapping of str to Tensor
        The network's parameters and buffers.
    state : mapping of str to JSON-able values
        Everything else.

    Raises
    ------
    OSError
        If the folder is missing or cannot be written to; an older file at ``path`` is left as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.cnn"
    >>> write_model(path, {"w": torch.ones(2)}, {"classes": [0, 1]})
    >>> read_model(path)
    ({'w': tensor([1., 1.])}, {'classes': [0, 1]})
    """
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"schema": SCHEMA, "sha256": digest(contiguous), "state": state}
    write_atomically(path, save(contiguous, {KEY: json.dumps(header, ensure_ascii=False, allow_nan=True)}))


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read back what :func:`write_model` wrote.

    Parameters
    ----------
    path : path-like
        A file written by :func:`write_model`.

    Returns
    -------
    tensors : dict of str to Tensor
    state : dict

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is no such file, of an unknown schema, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a model file written by CNNClassifier.save; there is none.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected a model file written by CNNClassifier.save; it cannot be read as one ({error}). "
            "Save the model again."
        ) from error
    if not isinstance(header, dict):
        raise ValueError(
            f"{path}: expected a model file written by CNNClassifier.save; "
            f"it is a safetensors file without {KEY!r} metadata."
        )
    if header.get("schema") != SCHEMA:
        raise ValueError(
            f"{path}: expected schema {SCHEMA}; got {header.get('schema')!r}. "
            "Load it with the version of cnnclf that saved it, or upgrade cnnclf."
        )
    if header.get("sha256") != digest(tensors):
        raise ValueError(f"{path}: the weights are damaged: their SHA-256 is not the one stored. Save the model again.")
    return tensors, header["state"]


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash names, types, shapes and bytes of contiguous tensors."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        sha256.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()
