"""ONNX Runtime, loaded so that it sends no telemetry, and its sessions; every other module takes it from here."""

import numbers
import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cnnclf._utils.text import quote
from cnnclf.onnx._file import DISABLED_OPTIMIZERS, ModelFile

# From 1.29 on, ONNX Runtime sends telemetry when it is loaded, and keeps a device's number on disk for it; this
# variable, which it reads only at that moment, turns it off: https://github.com/microsoft/onnxruntime/pull/27379
_SWITCH = "ORT_DISABLE_TELEMETRY"
_by_user = os.environ.get(_SWITCH)
os.environ.setdefault(_SWITCH, "1")
try:
    import onnxruntime as onnxruntime
finally:
    if _by_user is None:
        del os.environ[_SWITCH]

# A graph's constants are computed when it is loaded, but for those that would take more bytes than this.
LARGEST_CONSTANT = ("optimization.constant_folding_max_output_size_in_bytes", str(32 * 2**20))


def limit_memory(n_bytes: int) -> None:
    """Bound the memory of all models together that this process opens from now on: weights, and results of graphs.

    A graph of a few bytes can ask for arrays of any size when it predicts. Where models come from strangers, call this
    before the first is opened; a model that needs more memory then raises a ``ValueError``.

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
    ValueError: Expected n_bytes to be a whole number, 1,048,576 or more; got 1. Change n_bytes.
    """
    check_whole_number("n_bytes", n_bytes, 2**20)
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # 1: grow by the requested bytes, and not to the next power of two, which would reach the limit at half of it.
    arena = onnxruntime.OrtArenaCfg({"max_mem": int(n_bytes), "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(where, arena)


def check_whole_number(name: str, value: object, least: int) -> None:
    """Check that a parameter is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"Expected {name} to be a whole number, {least:,} or more; got {quote(value)}. Change {name}.")


def open_session(file: ModelFile, n_threads: int) -> onnxruntime.InferenceSession:
    """Load a checked file on the CPU.

    Raises
    ------
    ValueError
        If ONNX Runtime cannot load it, or if its graph has other inputs or outputs than its metadata describes.
    """
    try:
        session = load_graph(file.content, file.metadata["session"], n_threads)
    except Exception as error:  # onnxruntime's exceptions have no other base
        raise ValueError(
            f"{file.source}: expected a graph that ONNX Runtime {onnxruntime.__version__} can load; got {error}. "
            "Upgrade onnxruntime, or export the model again."
        ) from error
    number = {"uint8": "uint8", "float32": "float"}[file.input_spec.dtype]
    expected = [
        ("X", f"tensor({number})", [*file.input_spec.input_shape]),
        ("label", f"tensor({label_type(file.classes)})", []),
        ("probabilities", "tensor(float)", [len(file.classes)]),
    ]
    found = [(end.name, end.type, end.shape[1:]) for end in [*session.get_inputs(), *session.get_outputs()]]
    if found != expected:
        raise ValueError(
            f"{file.source}: expected a graph that takes and gives {quote(expected)}, by its metadata; got "
            f"{quote(found)}. Export the model again."
        )
    return session


def load_graph(
    content: bytes, settings: Mapping[str, str] | None = None, n_threads: int = 1
) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU, with bounds on its memory and the settings that a file's metadata asks for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised anyway
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*LARGEST_CONSTANT)
    options.add_session_config_entry("session.use_env_allocators", "1")  # where limit_memory has made one
    options.add_session_config_entry(DISABLED_OPTIMIZERS, (settings or {}).get(DISABLED_OPTIMIZERS, ""))
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def label_type(classes: NDArray[Any]) -> str:
    """Return the type in which ONNX holds labels: string, int64, double or bool."""
    return {"U": "string", "O": "string", "T": "string", "b": "bool", "f": "double"}.get(classes.dtype.kind, "int64")
