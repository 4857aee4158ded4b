"""``ONNXClassifier``: a classifier from one ``.onnx`` file, with NumPy and ONNX Runtime and nothing heavier.

The file carries all that a caller has to know in its metadata, as JSON under ``KEY``, and the SHA-256 of itself, as 64
hexadecimal digits under ``DIGEST_KEY``, so that a flipped bit is found.
"""

import json
import math
import numbers
import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn, Self

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from cnnclf._utils.files import PLACEHOLDER as PLACEHOLDER
from cnnclf._utils.files import (
    check_image_size,
    decode_labels,
    find_digest,
    holds_digest,
    holds_text,
    put_digest,
    read_bounded,
)
from cnnclf._utils.text import quote, quote_all
from cnnclf.images._arrays import ImageLayout, InputSpec, check_images, warn_of_another_unit

FORMAT = 2
KEY = "cnnclf"
DIGEST_KEY = "cnnclf.sha256"
EXPECTED = "an ONNX file written by CNNClassifier.to_onnx"

# A protobuf string is a tag, its length in bytes and its bytes; a metadata entry's value has the tag 0x12.
_DIGEST = re.compile(re.escape(DIGEST_KEY.encode()) + rb"\x12\x40([0-9a-f]{64})")

# The one thing that a file may ask of the session it is loaded into.
_DISABLED_OPTIMIZERS = "optimization.disable_specified_optimizers"
_MAY_BE_DISABLED = ("", "QDQPropagationTransformer")

# A graph's constants are computed when it is loaded, but for those that would take more bytes than this.
_LARGEST_CONSTANT = ("optimization.constant_folding_max_output_size_in_bytes", str(32 * 2**20))

MOST_FIELDS = 1_000_000  # of a protobuf message; weights are one field each
MOST_LEVELS = 100  # of messages within messages, which is also where protobuf stops
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # the operators of the standard, none that would come with other code


class ONNXClassifier:
    """A fitted classifier from a file that :meth:`cnnclf.CNNClassifier.to_onnx` wrote.

    It takes the ``X`` that the exported estimator took, and gives the same labels. The file is read and checked when
    the classifier is made, so that a bad file is an error there and not at the first prediction.

    Parameters
    ----------
    path : path-like
        The ``.onnx`` file.
    n_threads : int, default=None
        Threads within one prediction; None is one. They sleep while they wait and leave the processor to others. To
        serve many requests, several threads or processes with one classifier of one thread each do more.
    batch_size : int, default=32
        Images that go through the network at once. More need no fewer operations each, but more cache: for networks
        of MNIST's size, 16 to 32 images are within a few per cent of the fastest.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Numbers in one row of ``X``.
    image_shape_ : tuple of int
        (channels, height, width) of the images.
    input_spec_ : cnnclf.images.InputSpec
        What the network takes: shapes, order of channels, dtype, the number that is white, mean and std of the training
        pixels, and how a picture file is prepared for it.
    metadata_ : dict
        What the file says of itself: classes, input, versions, training data.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged, incomplete or not written by ``to_onnx``, or for a parameter that cannot be used.

    Notes
    -----
    One classifier may be used by several threads at once. A pickle carries the file's content, so that it can be
    loaded where the file is not.

    scikit-learn takes it for a fitted classifier, without being imported here. Where something would fit it, as
    ``VotingClassifier`` does with its members, wrap it in ``sklearn.frozen.FrozenEstimator``.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, ONNXClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.to_onnx(f"{folder}/digits.onnx")
    ...     served = ONNXClassifier(f"{folder}/digits.onnx")
    >>> bool((served.predict(X) == clf.predict(X)).all())
    True
    >>> served.predict_proba(X[:2]).shape
    (2, 10)
    """

    _estimator_type = "classifier"  # how scikit-learn before 1.6, and others still, tell

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int | None = None, batch_size: int = 32) -> None:
        self.path = path
        self.n_threads = n_threads
        self.batch_size = batch_size
        self._open(read_file(path))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like
            Images of the shape that the exported estimator was fitted with, apart from their number, which may be 0,
            or flat rows of as many numbers.
            Where that were whole numbers 0 to 255 (uint8), any dtype will do that holds such.

        Returns
        -------
        ndarray of shape (n,)
            Members of ``classes_``.

        Raises
        ------
        ValueError
            If the images do not have that shape, or hold values that the network cannot take.
        TypeError
            If X is sparse, or holds objects that are not numbers.
        """
        pixels = self._check_images(X)
        return self._run("label", pixels, np.empty(len(pixels), dtype=self.classes_.dtype))

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like
            As for :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Columns in the order of ``classes_``.

        Raises
        ------
        ValueError, TypeError
            As :meth:`predict`.
        """
        pixels = self._check_images(X)
        return self._run("probabilities", pixels, np.empty((len(pixels), len(self.classes_)), dtype=np.float32))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Measure the accuracy.

        Parameters
        ----------
        X : array-like
            At least one image, as for :meth:`predict`.
        y : array-like of shape (n,)
            True labels.
        sample_weight : array-like of shape (n,), optional
            How much each image counts.

        Returns
        -------
        float
            Share of images whose predicted label is the true one, 0..1.

        Raises
        ------
        ValueError
            If there is not one label an image, if labels are text and the classes numbers or the other way round, and
            as :meth:`predict`.
        """
        predicted, true = self.predict(X), np.asarray(y)
        if true.shape != predicted.shape or len(true) == 0:
            raise ValueError(
                f"Expected one image or more, and y of shape (n,) with one label each; "
                f"got {len(predicted)} images and y of shape {true.shape}."
            )
        if holds_text(true) != holds_text(self.classes_):  # which NumPy would find unequal, all of them
            raise ValueError(
                f"Expected labels of the kind of the classes, {quote_all(self.classes_)}; got {quote_all(true)}. "
                "Make all of them text, with y.astype(str), or all of them numbers."
            )
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return float(np.average(predicted == true, weights=weights))

    def fit(self, X: Any, y: Any = None) -> NoReturn:
        """Refuse: the network in the file is finished.

        Raises
        ------
        NotImplementedError
            Always. The method is there because scikit-learn takes nothing for an estimator that has none.
        """
        raise NotImplementedError(
            "ONNXClassifier cannot be fitted: the network in its file is finished. Fit a CNNClassifier and export it, "
            "or wrap this classifier in sklearn.frozen.FrozenEstimator to use it as it is."
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters, as scikit-learn asks for them.

        Parameters
        ----------
        deep : bool, default=True
            Without effect: no parameter has parameters.

        Returns
        -------
        dict
            ``path``, ``n_threads`` and ``batch_size``.
        """
        return {"path": self.path, "n_threads": self.n_threads, "batch_size": self.batch_size}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; a new ``path`` is read and checked at once.

        Parameters
        ----------
        **params
            Any of :meth:`get_params`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FileNotFoundError
            For an unknown name, and as when the classifier is made; everything is then as it was before.
        """
        old = self.get_params()
        if unknown := params.keys() - old.keys():
            raise ValueError(f"Expected parameters among {', '.join(old)}; got {quote_all(sorted(unknown))}.")
        content = read_file(params["path"]) if "path" in params else self._content
        vars(self).update(params)
        try:
            self._open(content)
        except ValueError:
            vars(self).update(old)
            raise
        return self

    def __repr__(self) -> str:
        changed = [f", n_threads={self.n_threads}"] if self.n_threads is not None else []
        changed += [f", batch_size={self.batch_size}"] if self.batch_size != 32 else []
        return f"{type(self).__name__}({os.fspath(self.path)!r}{''.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(three_d_array=True),
            requires_fit=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"params": self.get_params(), "content": self._content}  # a session cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["params"])
        self._open(state["content"])

    def _open(self, content: bytes) -> None:
        """Check the parameters and a file's content, and get ready to predict."""
        check_positive("batch_size", self.batch_size)
        if self.n_threads is not None:
            check_positive("n_threads", self.n_threads)
        source = os.fspath(self.path)
        metadata = read_metadata(content, source)
        self._session = make_session(content, metadata, int(self.n_threads or 1), source)
        self._content = content
        self.metadata_ = metadata
        self.classes_ = decode_labels(metadata["classes"])
        self.input_spec_ = InputSpec.from_json(metadata["input"])
        self.image_shape_ = self.input_spec_.image_shape
        self.n_features_in_ = math.prod(self.input_spec_.input_shape)
        self._dtype = np.dtype(self.input_spec_.dtype)

    def _check_images(self, X: Any) -> NDArray[np.uint8 | np.float32]:
        """Give X as the network takes it, C-contiguous; X itself if it is so already."""
        input_shape = self.input_spec_.input_shape
        if (
            type(X) is np.ndarray
            and X.dtype == self._dtype
            and X.shape[1:] == input_shape
            and X.flags.c_contiguous
            and X.flags.aligned
            and (self._dtype == np.uint8 or (math.isfinite(X.min(initial=0)) and math.isfinite(X.max(initial=0))))
        ):
            warn_of_another_unit(X, self.input_spec_)
            return X
        # Declared as channels first whatever they are, so that nothing is moved: the network does that itself.
        layout = ImageLayout(input_shape, self.image_shape_, channels_last=False)
        pixels, _ = check_images(X, layout=layout, estimator=type(self).__name__, min_samples=0)
        warn_of_another_unit(pixels, self.input_spec_)
        return as_dtype(pixels, self._dtype).reshape(len(pixels), *input_shape)

    def _run(self, output: str, pixels: NDArray[Any], result: NDArray[Any]) -> NDArray[Any]:
        """Fill one row of the result an image, batch by batch."""
        for start in range(0, len(pixels), self.batch_size):
            batch = slice(start, start + self.batch_size)
            try:
                (rows,) = self._session.run([output], {"X": pixels[batch]})
            except Exception as error:  # onnxruntime's exceptions have no other base
                raise ValueError(
                    f"{self.path}: ONNX Runtime cannot run it: {error}. Export the model again."
                ) from error
            if rows.shape != result[batch].shape:
                raise ValueError(
                    f"{self.path}: expected {output} of shape {result[batch].shape}; its graph gave {rows.shape}. "
                    "Export the model again."
                )
            result[batch] = rows
        return result


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
    >>> from cnnclf.onnx._classifier import limit_memory
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


def as_dtype(pixels: NDArray[np.uint8 | np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert checked pixels to the dtype of a network's input, if no value changes by that."""
    with np.errstate(invalid="ignore"):  # what does not fit is found by comparison
        converted = pixels.astype(dtype, copy=False)
    if not np.array_equal(converted, pixels):
        wrong = pixels[converted != pixels].flat[0]
        raise ValueError(
            f"Expected whole numbers from 0 to 255, as the network was fitted with uint8 images; got {wrong:g}. "
            "Give the images in the unit in which they were fitted."
        )
    return converted


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
    check_image_size(InputSpec.from_json(told).image_shape)
    if (disabled := session.get(_DISABLED_OPTIMIZERS, "")) not in _MAY_BE_DISABLED:
        raise ValueError(f"session may only switch off {_MAY_BE_DISABLED[1]}; got {quote(disabled)}.")


def make_session(content: bytes, metadata: dict[str, Any], n_threads: int, source: str) -> onnxruntime.InferenceSession:
    """Load a checked model on the CPU, as its metadata asks for.

    Raises
    ------
    ValueError
        If ONNX Runtime cannot load it, or it takes or gives something else than its metadata says.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*_LARGEST_CONSTANT)
    options.add_session_config_entry("session.use_env_allocators", "1")  # where limit_memory has made one
    options.add_session_config_entry(_DISABLED_OPTIMIZERS, metadata["session"].get(_DISABLED_OPTIMIZERS, ""))
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other base
        raise ValueError(
            f"{source}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}. Upgrade onnxruntime, or export "
            "the model again."
        ) from error
    check_interface(session, metadata, source)
    return session


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


def seal(content: bytes) -> bytes:
    """Put the digest of a serialised model where its metadata has a place for it.

    Parameters
    ----------
    content : bytes
        An ONNX model with the entry ``DIGEST_KEY`` in its metadata, its value ``PLACEHOLDER``.

    Returns
    -------
    bytes
        As long as `content`, with the SHA-256 of `content` as the value.

    Raises
    ------
    ValueError
        If there is no such place, or more than one.

    Examples
    --------
    >>> sealed = seal(b"a model, cnnclf.sha256" + bytes([0x12, 64]) + PLACEHOLDER.encode())
    >>> sealed[24:32]
    b'43922db2'
    >>> check_digest(sealed, "model.onnx")
    """
    start = find_digest(content, _DIGEST)
    if start is None:
        raise ValueError(
            f"Expected a model with one metadata entry {DIGEST_KEY!r} of 64 hexadecimal digits; "
            f"got {len(_DIGEST.findall(content))}. Add one with the value PLACEHOLDER."
        )
    return put_digest(content, start)


def check_digest(content: bytes, source: str) -> None:
    """Refuse a file whose bytes are not those that were sealed; errors call it `source`.

    Raises
    ------
    ValueError
        If the file has no digest, or has the digest of something else.
    """
    start = find_digest(content, _DIGEST)
    if start is None:
        raise ValueError(
            f"{source}: expected {EXPECTED}; it holds no {DIGEST_KEY!r}, so it was "
            "made by another program, or is cut short or damaged. Export the model again."
        )
    if not holds_digest(content, start):
        raise ValueError(
            f"{source}: the file is damaged: its SHA-256 is not the one stored in it. Export or copy it again."
        )


# Which fields of which protobuf messages hold a message that may, somewhere inside, hold a tensor; from onnx.proto.
_NESTED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION, _MODEL_METADATA = 13, 14, 14
_NODE_DOMAIN = 7


def find_foreign(content: bytes) -> str | None:
    """Say what a serialised model holds that is not to be run, None if nothing.

    ONNX Runtime would read a tensor that lies in another file from wherever the model says. Graphs within the graph can
    run forever, and such within each other take exponential time to load. So this is looked up before, in the bytes.
    """
    n_fields = 0
    pending = [("model", read_fields(memoryview(content)))]
    while pending:
        kind, fields = pending[-1]
        if (field := next(fields, None)) is None:
            pending.pop()
            continue
        number, value = field
        n_fields += 1
        if n_fields > MOST_FIELDS or len(pending) > MOST_LEVELS:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields, or more than {MOST_LEVELS} within each other")
        if kind == "tensor" and (number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value)):
            return "it refers to other files for its weights"
        if not isinstance(value, memoryview):
            continue
        if kind == "node" and number == _NODE_DOMAIN and (domain := str(value, "utf-8")) not in DOMAINS:
            return f"it needs operators of {quote(domain)}, which are not ONNX's own"
        if (inner := _NESTED[kind].get(number)) is not None:
            if (inner == "graph" and kind != "model") or inner in ("function", "training"):
                return "it holds graphs or functions within its graph, such as loops"
            pending.append((inner, read_fields(value)))
    return None


def read_entries(content: bytes) -> dict[str, str]:
    """Read the metadata of a serialised model, whose fields were counted: its keys and values.

    ONNX Runtime gives them only after it has loaded the model, and they say how it has to be loaded.
    """
    entries = {}
    for number, message in read_fields(memoryview(content)):
        if number == _MODEL_METADATA and isinstance(message, memoryview):
            entry = {i: str(text, "utf-8") for i, text in read_fields(message) if isinstance(text, memoryview)}
            entries[entry.get(1, "")] = entry.get(2, "")
    return entries


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Give number and value of each field of a serialised protobuf message.

    See "Encoding" in the documentation of Protocol Buffers, https://protobuf.dev/programming-guides/encoding/.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value: int | memoryview
        match tag & 7:  # the wire type
            case 0:
                value, at = read_varint(message, at)
            case 2:
                length, at = read_varint(message, at)
                value, at = message[at : at + length], at + length
            case (1 | 5) as wire_type:
                length = 8 if wire_type == 1 else 4
                value, at = message[at : at + length], at + length
            case wire_type:
                raise ValueError(f"a field has the unknown type {wire_type}")
        if at > len(message):
            raise ValueError("a field is longer than the message it is in")
        yield tag >> 3, value


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a whole number, seven bits a byte, lowest first; give it and where the next field or value starts."""
    number = 0
    for i, byte in enumerate(message[at : at + 10]):  # ten bytes hold 64 bits
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, at + i + 1
    raise ValueError("a number has no end")
