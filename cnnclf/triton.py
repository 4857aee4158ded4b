"""ONNX file → model repository, the folder from which NVIDIA's Triton Inference Server serves."""

import os
from collections.abc import Iterator
from pathlib import Path

from onnxruntime import NodeArg

from cnnclf.files import name_model, write_atomically
from cnnclf.onnx_classifier import make_session, read_file, read_metadata

# ONNX Runtime's names of types, and Triton's.
TYPES = {
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(float)": "TYPE_FP32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(double)": "TYPE_FP64",
    "tensor(bool)": "TYPE_BOOL",
    "tensor(string)": "TYPE_STRING",
}
MAX_BATCH_SIZE = 64  # more images at once are no faster: their feature maps leave the processor's cache


def write_repository(model: str | os.PathLike[str], folder: str | os.PathLike[str], name: str | None = None) -> Path:
    """Write what Triton needs to serve a file of :meth:`cnnclf.CNNClassifier.to_onnx`.

    Parameters
    ----------
    model : path-like
        The ``.onnx`` file.
    folder : path-like
        The model repository, which may hold other models; made if it is missing.
    name : str, optional
        What requests call the model; the file's name without its ending where nothing is said. A model of this name
        that is there already is replaced.

    Returns
    -------
    Path
        ``folder/name``, with ``config.pbtxt`` and the file as ``1/model.onnx``.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged or not written by ``to_onnx``, or if the name has characters that a folder or an
        address cannot have.
    OSError
        If the folder cannot be written to.

    Notes
    -----
    Triton's ONNX Runtime backend hands no setting of its own choice on to ONNX Runtime; so an int8 file of a network
    whose first pooling has no ReLU beside it may be slower there than float32. The named architectures are not. See
    "Other Optimization Options with ONNX Runtime", https://github.com/triton-inference-server/onnxruntime_backend.

    References
    ----------
    "Model Repository" and "Model Configuration" in Triton's user guide,
    https://github.com/triton-inference-server/server/tree/main/docs/user_guide.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.to_onnx(f"{folder}/digits.onnx")
    ...     written = write_repository(f"{folder}/digits.onnx", f"{folder}/models")
    ...     sorted(path.relative_to(folder).as_posix() for path in written.rglob("*.*"))
    ['models/digits/1/model.onnx', 'models/digits/config.pbtxt']
    """
    name = name_model(model, name)
    content, source = read_file(model), os.fspath(model)
    session = make_session(content, read_metadata(content, source), 1, source)
    config = describe(name, session.get_inputs(), session.get_outputs())
    version = Path(folder) / name / "1"
    # The model comes last: before it is there whole, Triton finds a folder that it cannot load, and not one for which
    # it would make up a configuration of its own.
    version.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(version.parent / "config.pbtxt", config.encode())
    version.mkdir(exist_ok=True)
    write_atomically(version / "model.onnx", content)
    return version.parent


def describe(name: str, inputs: list[NodeArg], outputs: list[NodeArg]) -> str:
    """Write the model configuration: one thread in each of two instances, and requests that wait run as one batch."""
    return "\n".join(
        [
            f'name: "{name}"',
            'backend: "onnxruntime"',
            f"max_batch_size: {MAX_BATCH_SIZE}",
            *list_tensors("input", inputs),
            *list_tensors("output", outputs),
            "dynamic_batching { }",
            "instance_group [ { kind: KIND_CPU count: 2 } ]",
            'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }',
            "",
        ]
    )


def list_tensors(kind: str, tensors: list[NodeArg]) -> Iterator[str]:
    """Write down name, type and dims of a model's inputs or outputs, without the batch axis, which they all have."""
    for tensor in tensors:
        dims = tensor.shape[1:]
        yield f"{kind} {{"
        yield f'  name: "{tensor.name}"'
        yield f"  data_type: {TYPES[tensor.type]}"
        yield f"  dims: {dims or [1]}"
        if not dims:  # what has shape (n,) is served as (n, 1)
            yield "  reshape: { shape: [ ] }"
        yield "}"
