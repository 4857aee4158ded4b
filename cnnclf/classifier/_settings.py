"""The parameters of one classifier, explained: value, default, meaning, range, and the reason for the default."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnclf.classifier._parameters import PARAMETERS, Parameter, Range

UNEXPLAINED = Parameter("", Range(lambda _: True, ""), "")  # a parameter of a subclass


@dataclass(frozen=True)
class Setting:
    """One parameter of one classifier.

    Attributes
    ----------
    name : str
        The parameter.
    value : str
        Its value, and for a fitted classifier what "auto" became.
    default : str
        Its default; empty where the constructor has none.
    is_default : bool
        Whether the value is the default.
    meaning, range, reason : str
        As in the table ``PARAMETERS``; empty for a parameter that is not in it. The reason is empty, too, where another
        value than the default was set, because it explains the default.
    """

    name: str
    value: str
    default: str
    is_default: bool
    meaning: str
    range: str
    reason: str


def explain(clf: Any, *, on_mnist: bool = False, usual: Mapping[str, Any] | None = None) -> tuple[Setting, ...]:
    """Explain every parameter of a classifier.

    Parameters
    ----------
    clf : CNNClassifier
        Fitted or not.
    on_mnist : bool, default=False
        Whether it was trained on MNIST, so that measurements on MNIST apply.
    usual : mapping, optional
        Defaults of the program that made the classifier, in place of the constructor's.

    Returns
    -------
    tuple of Setting
        One per parameter, in the order of ``PARAMETERS``; other parameters of a subclass come last.

    Examples
    --------
    >>> from cnnclf import CNNClassifier
    >>> from cnnclf.classifier._settings import explain
    >>> settings = {setting.name: setting for setting in explain(CNNClassifier(lr=0.002))}
    >>> settings["lr"].value, settings["lr"].default, settings["lr"].is_default
    ('0.002', '0.01', False)
    >>> settings["optimizer"].range
    "'muon', 'adamw', 'adam' or 'sgd'"
    """
    parameters = clf.get_params(deep=False)
    arguments = inspect.signature(type(clf).__init__).parameters.values()
    of_the_class = {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}
    defaults = {**of_the_class, **(usual or {})}
    settings = []
    for name in sorted(parameters, key=place_of):
        row, value = PARAMETERS.get(name, UNEXPLAINED), parameters[name]
        probe = getattr(clf, "augment_probe_", None) if name == "augment" else None
        reason = " ".join(
            filter(None, [row.reason, row.on_mnist if on_mnist else "", "" if probe is None else probe.to_text()])
        )
        setting = Setting(
            name=name,
            value=resolved(clf, name),
            default=readable(defaults[name]) if name in defaults else "",
            is_default=is_default(value, name, defaults),
            meaning=row.meaning,
            range=row.range,
            reason=reason if is_default(value, name, of_the_class) else "",
        )
        settings.append(setting)
    return tuple(settings)


def is_default(value: Any, name: str, defaults: Mapping[str, Any]) -> bool:
    """Check whether a value is written like the default and is text if that is: a function may have the same name."""
    default = defaults.get(name, inspect.Parameter.empty)
    return readable(value) == readable(default) and isinstance(value, str) == isinstance(default, str)


def place_of(parameter: str) -> int:
    """Return the place of a parameter in the explanation; unknown ones come last."""
    return [*PARAMETERS, parameter].index(parameter)


def readable(value: Any) -> str:
    """Return a value as text that is the same in every run: without memory addresses.

    Examples
    --------
    >>> readable(0.003), readable(None), readable("adamw"), readable(readable), readable(object())
    ('0.003', 'None', 'adamw', 'readable', 'object(…)')
    """
    match value:
        case str():
            return value
        case np.generic():
            return readable(value.item())
        case None | bool() | int() | float():
            return repr(value)
        case list() | tuple():
            inside = ", ".join(readable(item) for item in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        case dict():
            return "{" + ", ".join(f"{readable(key)}: {readable(item)}" for key, item in value.items()) + "}"
        case os.PathLike():
            return str(value)
        case _ if hasattr(value, "__qualname__"):
            return str(value.__qualname__)
    return f"{type(value).__name__}(…)"


def resolved(clf: Any, parameter: str) -> str:
    """Return a parameter as text, for a fitted classifier with what "auto" became."""
    value, net = readable(getattr(clf, parameter)), getattr(clf, "net_", None)
    if value == "auto" and net is not None:
        for owner, name in ((clf, f"{parameter}_"), (net, parameter)):
            if hasattr(owner, name):
                return f"auto: {readable(getattr(owner, name))}"
    return value
