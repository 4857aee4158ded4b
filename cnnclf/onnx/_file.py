"""The ONNX file: metadata, interface and session."""

import json
import numbers
import os
from typing import Any

import numpy as np

from cnnclf._utils.files import check_image_size, read_bounded
from cnnclf._utils.labels import decode_labels
from cnnclf._utils.text import quote
from cnnclf.images._spec import InputSpec
from cnnclf.onnx._digest import EXPECTED, check_digest, find_foreign, read_entries
from cnnclf.onnx._runtime import onnxruntime
from cnnclf.training._recognition import TrainingData

FORMAT = 2
KEY = "cnnclf"

# The one thing that a file may ask of the session it is loaded into.
DISABLED_OPTIMIZERS = "optimization.disable_specified_optimizers"
MAY_BE_DISABLED = ("", "QDQPropagationTransformer")

# A graph's constants are computed when it is loaded, but for those that would take more bytes than this.
LARGEST_CONSTANT = ("optimization.constant_folding_max_output_size_in_bytes", str(32 * 2**20))


def limit_memory(n_bytes: int) -> None:
    """Bound the memory of all models together that this process opens from now on: weights, and what graphs compute.

    A graph of a few bytes can ask for arrays of any size when it predicts. Where models come from strangers, call this
    before the first is opened; what would need more then raises a ``ValueError``.

    Parameters
    ----------
    n_bytes : int
        Bytes, at least a megabyte.

    Raises
    ------
    ValueError
        If it is less than a megabyte.

    Examples
    --------
    >>> from cnnclf.onnx import limit_memory
    >>> limit_memory(1)
    Traceback (most recent call last):
        ...
    ValueError: n_bytes must be a whole number of at least 1,048,576; got 1.
    """
    if not isinstance(n_bytes, int | np.integer) or n_bytes < 2**20:
        raise ValueError(f"n_bytes must be a whole number of at least {2**20:,}; got {quote(n_bytes)}.")
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # 1: grown by what is asked for, and not to the next power of two, which would meet the limit at half of it.
    arena = onnxruntime.OrtArenaCfg({"max_mem": int(n_bytes), "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(where, arena)


def check_positive(name: str, value: object) -> None:
    """Check that a parameter is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {quote(value)}.")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file, unless it is missing or too large."""
    return read_bounded(path, EXPECTED)


def read_metadata(content: bytes, source: str) -> dict[str, Any]:
    """Check a file's content, which errors call `source`, before anything is run, and read its metadata.

    Raises
    ------
    ValueError
        If it is damaged, not ours, refers to other files, holds graphs within its graph or functions or operators
        that are not ONNX's own, or says of itself what cannot be.
    """
    check_digest(content, source)
    try:
        foreign = find_foreign(content)
        metadata = json.loads(read_entries(content).get(KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{source}: expected {EXPECTED}; it cannot be read as one ({error}). Export the model again."
        ) from error
    if foreign is not None:
        raise ValueError(
            f"{source}: expected one self-contained file; {foreign}. Export the model again with CNNClassifier.to_onnx."
        )
    if not isinstance(metadata, dict):
        raise ValueError(f"{source}: expected {EXPECTED}; it has no metadata {KEY!r}. Export the model again.")
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{source}: expected format {FORMAT}; got {quote(metadata.get('format'))}. "
            "Load it with the version of cnnclf that wrote it, or upgrade cnnclf."
        )
    try:
        check_metadata(metadata)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return metadata


def check_metadata(metadata: dict[str, Any]) -> None:
    """Refuse metadata of which a part is missing or cannot be."""
    match metadata:
        case {"classes": _, "input": dict(told), "session": dict(session)}:
            pass
        case _:
            raise ValueError(f"expected {EXPECTED}; its metadata lacks parts. Export the model again.")
    decode_labels(metadata["classes"])
    TrainingData.from_json(metadata)
    check_image_size(InputSpec.from_json(told).image_shape)
    if (disabled := session.get(DISABLED_OPTIMIZERS, "")) not in MAY_BE_DISABLED:
        raise ValueError(f"session may only switch off {MAY_BE_DISABLED[1]}; got {quote(disabled)}.")


def make_session(content: bytes, metadata: dict[str, Any], n_threads: int, source: str) -> onnxruntime.InferenceSession:
    """Load a checked model on the CPU, as its metadata asks for.

    Raises
    ------
    ValueError
        If ONNX Runtime cannot load it, or it takes or gives something else than its metadata says.
    """
    options = make_options(metadata, n_threads)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other base
        raise ValueError(
            f"{source}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}. Upgrade onnxruntime, or export "
            "the model again."
        ) from error
    check_interface(session, metadata, source)
    return session


def make_options(metadata: dict[str, Any], n_threads: int) -> onnxruntime.SessionOptions:
    """Return the options of a session, bounds on memory and what the metadata asks for among them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*LARGEST_CONSTANT)
    options.add_session_config_entry("session.use_env_allocators", "1")  # where limit_memory has made one
    options.add_session_config_entry(DISABLED_OPTIMIZERS, metadata["session"].get(DISABLED_OPTIMIZERS, ""))
    return options


def check_interface(session: onnxruntime.InferenceSession, metadata: dict[str, Any], source: str) -> None:
    """Refuse a graph that does not take and give what its metadata says."""
    kind = decode_labels(metadata["classes"]).dtype.kind
    label = {"U": "string", "O": "string", "b": "bool", "f": "double"}.get(kind, "int64")
    number = {"uint8": "uint8", "float32": "float"}[metadata["input"]["dtype"]]
    expected = [
        ("X", f"tensor({number})", metadata["input"]["input_shape"]),
        ("label", f"tensor({label})", []),
        ("probabilities", "tensor(float)", [len(metadata["classes"]["values"])]),
    ]
    found = [(end.name, end.type, end.shape[1:]) for end in [*session.get_inputs(), *session.get_outputs()]]
    if found != expected:
        raise ValueError(
            f"{source}: expected a graph that takes and gives {quote(expected)}, as its metadata says; got "
            f"{quote(found)}. Export the model again."
        )
