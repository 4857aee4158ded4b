"""Fitted estimator ↔ one safetensors file; reading it runs no code.

The file holds the network's tensors and, as JSON in the header, everything else. It also holds its own SHA-256, so that
any flipped bit is found.

A file may come from a stranger. It is checked in this order: size, header, schema, what the header says of the
estimator, the names, shapes and types of the tensors compared with its architecture, digest, finite weights.
"""

import inspect
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from cnnclf._utils.digest import is_intact, seal
from cnnclf._utils.files import check_image_size, check_size, read_bounded, write_atomically
from cnnclf._utils.labels import decode_labels, encode_labels, plain
from cnnclf._utils.text import quote, quote_all
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._table import find_architecture
from cnnclf.classifier._auto import AugmentProbe, is_auto
from cnnclf.classifier._fitting import make_module, make_net
from cnnclf.classifier._parameters import are_augmentations, check_parameters, is_augmentation
from cnnclf.images._spec import InputSpec, is_whole
from cnnclf.training._net import KEPT_EPOCHS, PLAIN_NAMES, Epochs
from cnnclf.training._recognition import TrainingData

SCHEMA = 3
KEY = "cnnclf"
LARGEST_HEADER = 4 * 2**20  # bytes: JSON takes up to thirty times its size when it is read

EXPECTED = "a model file written by CNNClassifier.save"
ONNX = re.compile(rb"\x08[\x03-\x20]\x12")  # ir_version (field 1, a small number), then producer_name (field 2)

Tensors = Mapping[str, torch.Tensor]
Specification = dict[str, tuple[str, tuple[int, ...]]]  # what safetensors calls the type, and the shape, of each tensor

# A folder that fit would write to: it belongs to a machine, and a stranger's file must not name one.
OF_THIS_PLACE = {"checkpoint"}


def is_epoch(row: object) -> bool:
    """Check whether a value from JSON is what the history says of an epoch."""
    return (
        isinstance(row, dict)
        and {"epoch", "seconds"} <= row.keys() <= set(PLAIN_NAMES.values())
        and is_whole(row["epoch"], 1)
        and all(type(value) in (int, float) for value in row.values())
    )


# What a file stores of fitting: a check and its words.
PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input": (lambda v: isinstance(v, dict), "what the network takes"),
    "feature_names": (
        lambda v: v is None or (isinstance(v, list) and all(isinstance(name, str) for name in v)),
        "null or a list of text",
    ),
    "batch_size": (lambda v: is_whole(v, 1), "a whole number of at least 1"),
    "seed": (is_whole, "a whole number of at least 0"),
    "architecture": (lambda v: v is None or isinstance(v, str), "null or a name"),
    "max_epochs": (lambda v: is_whole(v, 1), "a whole number of at least 1"),
    "augment": (lambda v: v is None or is_augmentation(v) or are_augmentations(v), "null or names of augmentations"),
    "augment_probe": (lambda v: v is None or isinstance(v, dict), "null or the figures of a probe"),
    "history": (lambda v: isinstance(v, list) and all(map(is_epoch, v)), "a list of epochs"),
}


def save_estimator(clf: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted ``CNNClassifier``; see :meth:`cnnclf.CNNClassifier.save`."""
    check_image_size(clf.image_shape_)
    params = {name: plain(value) for name, value in clf.get_params(deep=False).items() if name not in OF_THIS_PLACE}
    if clf.callbacks:
        params["callbacks"] = None  # live objects, of which `plain` leaves the list
    params["augment"] = plain_augment(clf.augment)
    if isinstance(clf.class_weight, dict):
        params["class_weight"] = [[plain(label), float(weight)] for label, weight in clf.class_weight.items()]
    state = {
        "params": params,
        "classes": encode_labels(clf.classes_),
        "fitted": describe_fitted(clf),
        "versions": {name: version(name) for name in ("cnnclf", "torch", "skorch", "scikit-learn")},
    }
    write_model(path, clf.module_.state_dict(), state)


def load_estimator(cls: Any, path: str | os.PathLike[str], architecture: Callable[..., Any] | None) -> Any:
    """Read a fitted ``CNNClassifier``; see :meth:`cnnclf.CNNClassifier.load`."""
    content = read_bounded(path, EXPECTED)
    try:
        state, specification = read_header(content)
        clf = make_estimator(cls, state, architecture)
        check_specification(specification, specify(clf))
        tensors = read_tensors(content)
        check_parameters(clf)
        restore_net(clf, state["fitted"], tensors)
    # the last two come from enormous numbers
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: {error}") from error
    return clf


def make_estimator(cls: Any, state: Any, architecture: Callable[..., Any] | None) -> Any:
    """Check the state in a header; return the estimator with all of its fitted attributes but the net."""
    match state:
        case {"params": {"architecture": saved, "class_weight": weights, **rest}, "fitted": dict(fitted)}:
            others = {str(name): value for name, value in rest.items() if name not in OF_THIS_PLACE}
        case _:
            raise ValueError(f"Expected {EXPECTED}; its metadata lacks parts. Save the model again.")
    if unknown := others.keys() - inspect.signature(cls).parameters.keys():
        raise ValueError(f"Expected parameters of {cls.__name__}; got {quote_all(sorted(unknown))}. Upgrade cnnclf.")
    if saved is None and architecture is None:
        raise ValueError(
            "Expected the function that was the architecture, as a file holds no code; got none. Pass it in Python, "
            "CNNClassifier.load(path, architecture=function); for the command line, write an ONNX file with to_onnx."
        )
    if saved is not None and (not isinstance(saved, str) or architecture is not None):
        raise ValueError(
            f"Expected no architecture beside that of the file, {quote(saved)}; got {quote(architecture)}. "
            "Call load without architecture."
        )
    if isinstance(weights, list):
        weights = {label: weight for label, weight in weights}  # noqa: C416 - each a list of two
    classes = decode_labels(state.get("classes"))
    clf = cls(architecture=saved if architecture is None else architecture, class_weight=weights, **others)
    set_fitted(clf, fitted, classes)
    return clf


def describe_fitted(clf: Any) -> dict[str, Any]:
    """Return all that fitting learnt as JSON types, beside the classes and the tensors."""
    learnt = {
        "feature_names": getattr(clf, "feature_names_in_", None),
        "batch_size": clf.net_.batch_size,
        "seed": clf.seed_,
        "architecture": clf.architecture_,
        "max_epochs": clf.max_epochs_,
        "augment": plain_augment(clf.augment_),
        "augment_probe": None if clf.augment_probe_ is None else asdict(clf.augment_probe_),
        "history": clf.history_[-KEPT_EPOCHS:],
    }
    return {"input": clf.input_spec_.to_json(), **clf.training_data_.to_json(), **plain(learnt)}


def plain_augment(augment: Any) -> Any:
    """Return names of augmentations as JSON types; None for a function and for a list with a function in it."""
    named = plain(augment)
    return None if isinstance(named, list) and None in named else named


def set_fitted(clf: Any, fields: Mapping[str, Any], classes: NDArray[Any]) -> None:
    """Check what :func:`describe_fitted` returned, which may come from a stranger, and set the fitted attributes."""
    names = [*PARTS, *TrainingData().to_json()]
    if fields.keys() != set(names):
        raise ValueError(f"Expected {', '.join(names)} of fitting; got other parts. Save the model again.")
    for name, (is_valid, expected) in PARTS.items():
        if not is_valid(fields[name]):
            raise ValueError(f"Expected {name} to be {expected}; got {quote(fields[name])}. Save the model again.")
    if classes.tolist() != sorted(classes.tolist()):
        raise ValueError(f"Expected sorted class labels; got {quote_all(classes)}. Save the model again.")
    spec = InputSpec.from_json(fields["input"])
    check_image_size(spec.image_shape)
    features, n_features = fields["feature_names"], math.prod(spec.input_shape)
    if features is not None and len(features) != n_features:
        raise ValueError(f"Expected {n_features:,} feature_names; got {len(features):,}. Save the model again.")
    clf.classes_, clf.input_spec_, clf.training_data_ = classes, spec, TrainingData.from_json(fields)
    clf.seed_, clf.max_epochs_, clf.augment_ = fields["seed"], fields["max_epochs"], fields["augment"]
    clf.architecture_ = fields["architecture"] if is_auto(clf.architecture) else clf.architecture
    if clf.architecture_ is None:
        raise ValueError("Expected the name of the architecture that was chosen; got none. Save the model again.")
    clf.augment_probe_ = None if fields["augment_probe"] is None else AugmentProbe.from_json(fields["augment_probe"])
    if features is not None:
        clf.feature_names_in_ = np.asarray(features, dtype=object)


def restore_net(clf: Any, fitted: Mapping[str, Any], tensors: Tensors) -> None:
    """Set the net of a classifier from what fitting learnt and the tensors of its network."""
    standardise = Standardise(tensors["standardise.mean"], tensors["standardise.std"])
    module = make_module(clf, standardise)
    module.load_state_dict(tensors)
    history = Epochs({"batches": [], **row, "dur": row["seconds"]} for row in fitted["history"])
    clf.net_ = make_net(clf, module, fitted["batch_size"], history)


def specify(clf: Any) -> Specification:
    """Return which tensors a network has. For a named architecture this takes no memory, whatever the shapes."""
    image_shape, n_classes = clf.image_shape_, len(clf.classes_)
    n_channels = image_shape[0]
    standardise = Standardise(torch.zeros(n_channels), torch.ones(n_channels))
    if isinstance(clf.architecture_, str):
        with torch.device("meta"):
            body = find_architecture(clf.architecture_).build(image_shape, n_classes)
        parts = {f"standardise.{name}": tensor for name, tensor in standardise.state_dict().items()}
        tensors = parts | body.state_dict()
    else:
        tensors = make_module(clf, standardise).state_dict()
    return {name: (name_type(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()}


def name_type(dtype: torch.dtype) -> str:
    """Return what safetensors calls a type.

    Examples
    --------
    >>> [name_type(dtype) for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool)]
    ['F32', 'BF16', 'I64', 'U8', 'BOOL']
    """
    kind = "F" if dtype.is_floating_point else "I" if dtype.is_signed else "U"
    return {torch.bfloat16: "BF16", torch.bool: "BOOL"}.get(dtype, f"{kind}{8 * dtype.itemsize}")


def check_specification(found: Specification, expected: Specification) -> None:
    """Check that the tensors are exactly those of the network."""
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"Expected the weights of the architecture; {missing[0]} is missing. Save the model again.")
    if extra := sorted(found.keys() - expected.keys()):
        raise ValueError(
            f"Expected the weights of the architecture; got {quote(extra[0])} beside them. Save the model again."
        )
    for name in sorted(expected):
        if found[name] != expected[name]:
            (want_type, want_shape), (got_type, got_shape) = expected[name], found[name]
            raise ValueError(
                f"Expected {name} of type {want_type} and shape {want_shape}; got {got_type} and {got_shape}. "
                "Load it with the architecture it was saved with."
            )


def write_model(path: str | os.PathLike[str], tensors: Tensors, state: Mapping[str, Any]) -> None:
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
    ValueError
        If :func:`load_estimator` would refuse the file: it is too large, or a weight is not finite.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.cnn"
    >>> write_model(path, {"w": torch.ones(2)}, {"classes": [0, 1]})
    >>> read_header(path.read_bytes())
    ({'classes': [0, 1]}, {'w': ('F32', (2,))})
    """
    check_finite(tensors)
    content = seal(KEY, tensors, {"schema": SCHEMA, "state": state})
    check_size(len(content))
    check_header_size(int.from_bytes(content[:8], "little"))
    write_atomically(path, content)


def read_header(content: bytes) -> tuple[Any, Specification]:
    """Return the state in a header, and the specification of the tensors."""
    size = int.from_bytes(content[:8], "little")
    try:
        if len(content) < 8 + size:
            raise ValueError("it ends within its header")
        check_header_size(size)
        header = json.loads(content[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        specification = {
            str(name): (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in header.items()
        }
        fields = json.loads(metadata.get(KEY, "null"))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        if ONNX.match(content):
            raise ValueError(
                f"expected {EXPECTED} (.cnn); it is an ONNX file, which holds too little to be traced, exported or "
                "trained on. Give the .cnn file; ONNXClassifier, predict and evaluate take this one."
            ) from error
        raise ValueError(f"expected {EXPECTED}; it cannot be read as one ({error}). Save the model again.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"expected {EXPECTED}; got a safetensors file without {KEY!r} metadata. Give another file.")
    if fields.get("schema") != SCHEMA:
        raise ValueError(
            f"expected schema {SCHEMA}; got {quote(fields.get('schema'))}. "
            "Load it with the version of cnnclf that saved it, or upgrade cnnclf."
        )
    return fields.get("state"), specification


def read_tensors(content: bytes) -> dict[str, torch.Tensor]:
    """Check the digest and return the tensors."""
    if not is_intact(KEY, content):
        raise ValueError("the file is damaged: its SHA-256 is not the one stored in it. Save or copy it again.")
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"expected {EXPECTED}; it cannot be read as one ({error}). Save the model again.") from error
    check_finite(tensors)
    return tensors


def check_header_size(size: int) -> None:
    """Check that a header does not take too much memory."""
    if size > LARGEST_HEADER:
        raise ValueError(f"expected a header of at most {LARGEST_HEADER:,} bytes; got {size:,}")


def check_finite(tensors: Tensors) -> None:
    """Check that all weights are finite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"Expected finite weights; {name} holds NaN or infinity. Train the network again, slower (lr)."
            )
