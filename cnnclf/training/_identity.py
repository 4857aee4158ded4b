"""What identifies a fit: its parameters, data and sources, described and compared."""

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from types import CodeType, EllipsisType, FunctionType
from typing import Any

import numpy as np
import torch

from cnnclf._utils.text import quote
from cnnclf.training._runtime import choose_device, choose_precision

CHANGES_NO_RESULT = {"verbose", "checkpoint", "preparation"}

# What a checkpoint accepts for parameters that are not plain values.
NAMEABLE = {
    "architecture": "a function or a class of a module",
    "augment": "a function or a class of a module",
    "random_state": "an integer",
    "callbacks": "None",
}


# What determines a fit


def describe_training(clf: Any, training_data: str, validation_data: str | None, *, needs_seed: bool) -> dict[str, Any]:
    """Return everything that determines the result of a fit, as JSON types; a drawn seed is stored separately."""
    callbacks = [describe_callback(callback) for callback in clf.callbacks or ()]
    parameters = {**clf.get_params(deep=False), "callbacks": callbacks}
    if not needs_seed and not isinstance(clf.random_state, int | np.integer):
        del parameters["random_state"]
    named = describe_fit(clf, parameters)
    named["parameters"].setdefault("random_state", None)
    data = {"classes": clf.classes_.tolist(), "training data": training_data, "validation data": validation_data}
    described: dict[str, Any] = json.loads(json.dumps({**named, **data}))
    return described


def describe_fit(clf: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that determines the result of a fit except its data, as JSON types.

    Parameters
    ----------
    clf : CNNClassifier
        Fitted or not.
    parameters : mapping of str to object
        Its parameters, or those that matter.

    Returns
    -------
    dict
        Only JSON types.

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
                f"Expected a checkpoint's {name} to have a name that a file can hold; got "
                f"{name}={quote(getattr(clf, name))}. "
                f"Pass {name} as {NAMEABLE.get(name, 'plain values')}, or checkpoint=None."
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
    """Return the class and parameters of a callback, without its state."""
    if isinstance(callback, tuple):
        return [callback[0], describe_callback(callback[1])]
    return callback if isinstance(callback, type) else [type(callback), callback.get_params(deep=False)]


def canonical(value: Any) -> Any:
    """Return a value as JSON types, equal for equal values; TypeError where that cannot be.

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
    """Return in words how two descriptions differ; empty where they are equal.

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
    """Return a description with its parameters and versions on the top level."""
    flat: dict[str, Any] = {}
    for name, value in described.items():
        flat |= value if name in ("parameters", "versions") and isinstance(value, dict) else {name: value}
    return flat


def readable(named: Any) -> str:
    """Return what :func:`canonical` returned in the notation of Python.

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
