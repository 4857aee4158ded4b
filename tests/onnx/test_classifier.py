"""``ONNXClassifier``: what the estimator says, from one file checked to the bit, without torch or scikit-learn."""

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.validation import check_is_fitted

from cnnclf import CNNClassifier, ONNXClassifier
from cnnclf._utils.digest import PLACEHOLDER
from cnnclf._utils.labels import encode_labels
from cnnclf.images._spec import InputSpec
from cnnclf.onnx._file import DIGEST_KEY, FORMAT, KEY, NESTED, check_digest, seal
from helpers import error_of

# The network of most tests: a 2×2 image [[a, b], [c, d]] has the logits ln2·(a + b) and ln2·(c + d), so the
# probabilities 2^(a+b) / (2^(a+b) + 2^(c+d)) and the rest: weights (4 pixels, 2 classes).
ROWS = np.log(2) * np.array([[1, 0], [1, 0], [0, 1], [0, 1]])

X = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 1]], [[2, 1], [1, 0]]], dtype=np.uint8)
#             2^1 : 2^0          2^0 : 2^2          2^3 : 2^1
PROBABILITIES = np.array([[2 / 3, 1 / 3], [1 / 5, 4 / 5], [4 / 5, 1 / 5]])
WINNERS = [0, 1, 0]

LABELS = {
    "int64": np.array([3, 7]),
    "int8": np.array([-1, 1], dtype=np.int8),
    "text": np.array(["cat", "parrot"]),
    "object": np.array(["cat", "parrot"], dtype=object),
    "bool": np.array([False, True]),
    "float": np.array([0.5, 1.5]),
}


def make_model(
    weights=ROWS,
    *,
    input_shape=(2, 2),
    image_shape=(1, 2, 2),
    channels_last=False,
    dtype="uint8",
    classes=LABELS["int64"],
    **changed,
):
    """A dense layer and a softmax, with the metadata of an export; `changed` replaces some of it."""
    encoded = encode_labels(classes)["values"]
    if classes.dtype.kind in "OU":
        table = helper.make_tensor("classes", TensorProto.STRING, [len(classes)], [v.encode() for v in encoded])
    else:
        kind = {"b": np.bool_, "f": np.float64}.get(classes.dtype.kind, np.int64)
        table = numpy_helper.from_array(np.array(encoded, dtype=kind), "classes")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["X"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
            helper.make_node("ArgMax", ["logits"], ["class_index"], axis=1, keepdims=0),
            helper.make_node("Gather", ["classes", "class_index"], ["label"]),
        ],
        "dense",
        [helper.make_tensor_value_info("X", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["n", *input_shape])],
        [
            helper.make_tensor_value_info("label", table.data_type, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(classes)]),
        ],
        [numpy_helper.from_array(np.asarray(weights, dtype=np.float32), "weights"), table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = {
        "format": FORMAT,
        "classes": encode_labels(classes),
        "input": {
            "input_shape": input_shape,
            "image_shape": image_shape,
            "channels_last": channels_last,
            "dtype": dtype,
            "white": None,
            "mean": [0.0] * image_shape[0],
            "std": [1.0] * image_shape[0],
            "preparation": None,
        },
        "versions": {},
        "training_data": "",
        "learnt": "",
        "quantize": None,
        "session": {},
    }
    helper.set_model_props(model, {KEY: json.dumps(metadata | changed), DIGEST_KEY: PLACEHOLDER})
    return model


def write(path, model):
    path.write_bytes(seal(model.SerializeToString()))
    return path


@pytest.fixture
def path(tmp_path):
    """A good file."""
    return write(tmp_path / "rows.onnx", make_model())


@pytest.fixture
def clf(path):
    return ONNXClassifier(path)


@pytest.fixture(scope="module")
def exported(few_digits, tmp_path_factory):
    """A trained estimator, its file and 400 images that it has not seen."""
    X, y, X_test, y_test = few_digits
    estimator = CNNClassifier(max_epochs=3, random_state=0).fit(X, y)
    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    estimator.to_onnx(path)
    return estimator, path, X_test, y_test


# What it says


def test_probabilities_and_labels(clf):
    assert clf.predict_proba(X) == pytest.approx(PROBABILITIES, abs=1e-6)
    assert clf.predict_proba(X).dtype == np.float32
    assert clf.predict(X).tolist() == [3, 7, 3]


def test_attributes(clf):
    assert clf.classes_.tolist() == [3, 7]
    assert clf.image_shape_ == (1, 2, 2)
    assert clf.n_features_in_ == 4
    assert clf.input_spec_ == InputSpec((2, 2), (1, 2, 2), False, "uint8", None, (0.0,), (1.0,), None)


@pytest.mark.parametrize("classes", LABELS.values(), ids=LABELS.keys())
def test_labels_have_the_type_they_were_fitted_with(tmp_path, classes):
    clf = ONNXClassifier(write(tmp_path / "model.onnx", make_model(classes=classes)))
    labels = clf.predict(X)
    assert labels.tolist() == classes[WINNERS].tolist()
    assert labels.dtype == clf.classes_.dtype == classes.dtype
    assert clf.classes_.tolist() == classes.tolist()


def test_no_images_give_no_rows_of_the_right_type(clf):
    for nothing in (X[:0], np.empty((0, 2, 2))):
        assert clf.predict(nothing).shape == (0,)
        assert clf.predict(nothing).dtype == np.int64
        assert clf.predict_proba(nothing).shape == (0, 2)
        assert clf.predict_proba(nothing).dtype == np.float32


def test_score_is_scikit_learns_accuracy(clf):
    y, weight = [3, 3, 3], [1, 2, 3]  # the second is wrong: 2/3 of the images, 4/6 of the weight
    assert clf.score(X, y) == accuracy_score(y, clf.predict(X)) == 2 / 3
    weight = [1.0, 4.0, 3.0]
    assert clf.score(X, y, sample_weight=weight) == accuracy_score(y, clf.predict(X), sample_weight=weight) == 0.5


@pytest.mark.parametrize(("n", "y", "shape"), [(3, [3, 7], "(2,)"), (3, [[3], [7], [3]], "(3, 1)"), (0, [], "(0,)")])
def test_score_wants_one_label_an_image(clf, n, y, shape):
    assert error_of(clf.score, X[:n], y) == (
        f"Expected one image or more, and y of shape (n,) with one label each; got {n} images and y of shape {shape}."
    )


def test_it_says_what_the_exported_estimator_says(exported):
    estimator, path, X_test, y_test = exported
    clf = ONNXClassifier(path)
    assert clf.predict(X_test).tolist() == estimator.predict(X_test).tolist()
    assert np.abs(clf.predict_proba(X_test) - estimator.predict_proba(X_test)).max() < 1e-5
    assert clf.score(X_test, y_test) == estimator.score(X_test, y_test)
    assert clf.n_features_in_ == estimator.n_features_in_
    assert clf.image_shape_ == estimator.image_shape_


# What it takes


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        lambda x: x.astype(bool) * np.uint8(1),
        lambda x: x.astype(">i4"),
        lambda x: x.astype(np.float64),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
        lambda x: np.ma.array(x),
        torch.from_numpy,
    ],
    ids=["lists", "bool·1", "big endian", "float64", "Fortran", "strided", "unmasked", "torch"],
)
def test_any_array_of_whole_numbers_will_do_for_uint8(clf, convert):
    images = X.clip(max=1)
    assert clf.predict_proba(convert(images)).tolist() == clf.predict_proba(images).tolist()


def test_read_only_arrays_and_memory_maps_are_taken_as_they_are(clf, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert clf.predict_proba(mapped).tolist() == clf.predict_proba(X).tolist()
    assert np.shares_memory(clf._check_images(mapped), mapped)
    assert clf._check_images(X) is X


@pytest.mark.parametrize("value", [0.5, 256, -1, 1e30])
def test_a_uint8_network_takes_no_other_numbers(clf, value):
    images = X.astype(np.float64)
    images[1, 0, 1] = value
    assert error_of(clf.predict, images) == (
        f"Expected whole numbers from 0 to 255, as the network was fitted with uint8 images; got {value:g}. "
        "Give the images in the unit in which they were fitted."
    )


@pytest.fixture
def on_floats(tmp_path):
    return ONNXClassifier(write(tmp_path / "floats.onnx", make_model(dtype="float32")))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64, ">f4"])
def test_a_float32_network_takes_every_real_dtype(on_floats, dtype):
    assert on_floats.predict_proba(X.astype(dtype)) == pytest.approx(PROBABILITIES, abs=1e-6)


INFINITE = (
    "Input X contains infinity or a value too large for dtype('float32'). Scale or clip the pixels before you pass X."
)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "Input X contains NaN. Fill the missing pixels or drop those images before you pass X."),
        (np.inf, INFINITE),
        (-np.inf, INFINITE),
    ],
)
def test_what_is_no_number_is_refused_on_the_short_way_too(on_floats, value, sentence):
    images = X.astype(np.float32)
    images[2, 1, 1] = value
    assert error_of(on_floats.predict_proba, images) == sentence


@pytest.mark.parametrize("n_images", [1, 31, 32, 33, 100])
@pytest.mark.parametrize(
    ("input_shape", "image_shape", "channels_last"),
    [
        ((6,), (1, 2, 3), False),
        ((2, 3), (1, 2, 3), False),
        ((3, 2, 2), (3, 2, 2), False),
        ((2, 3, 4), (4, 2, 3), True),
    ],
)
def test_images_reach_the_network_in_the_order_they_came_in(
    tmp_path, n_images, input_shape, image_shape, channels_last
):
    # The network weighs every pixel differently, so a moved axis would show. The reference is NumPy's float64.
    rng = np.random.default_rng(0)
    n_features = int(np.prod(input_shape))
    weights = rng.normal(size=(n_features, 3)) / n_features
    model = make_model(
        weights,
        input_shape=input_shape,
        image_shape=image_shape,
        channels_last=channels_last,
        classes=np.array([1, 2, 3]),
    )
    clf = ONNXClassifier(write(tmp_path / "model.onnx", model))
    images = rng.integers(0, 10, (n_images, *input_shape), dtype=np.uint8)
    powers = np.exp(images.reshape(n_images, -1) @ weights)
    for given_as in (images, images.astype(np.float64), np.asfortranarray(images)):
        assert clf.predict_proba(given_as) == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-6)
    assert clf.n_features_in_ == n_features
    assert clf.image_shape_ == image_shape


def test_a_data_frame_of_pixels(tmp_path):
    clf = ONNXClassifier(write(tmp_path / "model.onnx", make_model(input_shape=(4,))))
    frame = pd.DataFrame(X.reshape(3, 4), columns=list("abcd"))
    assert clf.predict_proba(frame) == pytest.approx(PROBABILITIES, abs=1e-6)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (
            np.zeros((5, 3, 2)),
            (
                "X has shape (5, 3, 2), but ONNXClassifier is expecting (n, 2, 2) as input. "
                "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
            ),
        ),
        (
            X[0],
            (
                "X has shape (2, 2), but ONNXClassifier is expecting (n, 2, 2) as input. "
                "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
            ),
        ),
        (
            X.astype(complex),
            "Complex data not supported: expected real pixels; got X of dtype complex128. Pass X.real or np.abs(X).",
        ),
    ],
)
def test_wrong_images(clf, images, sentence):
    assert error_of(clf.predict, images) == sentence
    assert error_of(clf.predict_proba, images) == sentence


def test_large_inputs_go_through_in_batches(path, monkeypatch):
    clf = ONNXClassifier(path, batch_size=32)
    images = np.random.default_rng(0).integers(0, 5, (70, 2, 2), dtype=np.uint8)
    sizes = []

    class Session:
        def run(self, names, inputs, session=clf._session):
            sizes.append(len(inputs["X"]))
            return session.run(names, inputs)

    monkeypatch.setattr(clf, "_session", Session())
    labels = clf.predict(images)
    assert sizes == [32, 32, 6]
    whole = ONNXClassifier(path, batch_size=1000)
    assert labels.tolist() == whole.predict(images).tolist()
    assert clf.predict_proba(images) == pytest.approx(whole.predict_proba(images), abs=1e-7)


@pytest.mark.slow
def test_memory_stays_flat_over_a_million_images(path):
    program = (
        "import numpy as np, resource; from cnnclf import ONNXClassifier\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"clf = ONNXClassifier({str(path)!r}); X = np.ones((50_000, 2, 2), dtype=np.uint8); clf.predict_proba(X)\n"
        "before = peak(); [clf.predict_proba(X) for _ in range(20)]; print(peak() / before)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1.02


# Bad files


def test_no_file(tmp_path):
    for missing in (tmp_path / "no.onnx", tmp_path):
        assert error_of(ONNXClassifier, missing, kind=FileNotFoundError) == (
            f"{missing}: expected an ONNX file written by CNNClassifier.to_onnx; there is none. Check the path."
        )


NO_DIGEST = (
    "expected an ONNX file written by CNNClassifier.to_onnx; it holds no 'cnnclf.sha256', so it was made by another "
    "program, or is cut short or damaged. Export the model again."
)
DAMAGED = "expected an intact file; its SHA-256 is not the one stored in it. Export or copy it again."


def foreign_model():
    model = make_model()
    del model.metadata_props[:]
    return model.SerializeToString()


@pytest.mark.parametrize(
    "content",
    [b"", b"no model at all\n" * 50, foreign_model(), seal(make_model().SerializeToString())[:-1]],
    ids=["empty", "text", "foreign", "one byte short"],
)
def test_what_is_not_ours_or_not_whole(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    assert error_of(ONNXClassifier, tmp_path / "bad.onnx") == f"{tmp_path / 'bad.onnx'}: {NO_DIGEST}"


def test_what_comes_behind_the_end_is_damage(path):
    path.write_bytes(path.read_bytes() + b"\0")
    assert error_of(ONNXClassifier, path) == f"{path}: {DAMAGED}"


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(data):
    content = bytearray(seal(make_model().SerializeToString()))
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    content[position // 8] ^= 1 << position % 8
    assert error_of(check_digest, bytes(content), "file") in (f"file: {NO_DIGEST}", f"file: {DAMAGED}")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_file_that_is_cut_short_is_found(data):
    content = seal(make_model().SerializeToString())
    length = data.draw(st.integers(0, len(content) - 1))
    assert error_of(check_digest, content[:length], "file") == f"file: {NO_DIGEST}"


def test_a_flipped_bit_in_a_weight_of_an_exported_file(exported, tmp_path):
    content = bytearray(exported[1].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.onnx").write_bytes(content)
    message = error_of(ONNXClassifier, tmp_path / "flipped.onnx")
    assert message == f"{tmp_path / 'flipped.onnx'}: {DAMAGED}"


def test_the_seal_is_the_digest_of_the_file_with_zeros_in_its_place():
    content = make_model().SerializeToString()
    sealed = seal(content)
    digest = hashlib.sha256(content).hexdigest()
    assert sealed == content.replace(PLACEHOLDER.encode(), digest.encode())
    assert onnx.load_from_string(sealed).metadata_props[1].value == digest
    assert seal(sealed) == sealed


@pytest.mark.parametrize("n", [0, 2])
def test_there_must_be_one_place_for_the_seal(n):
    place = DIGEST_KEY.encode() + b"\x12\x40" + PLACEHOLDER.encode()
    assert error_of(seal, n * place) == (
        f"Expected a model with one metadata entry 'cnnclf.sha256' of 64 hexadecimal digits; got {n}. "
        "Add one with the value PLACEHOLDER."
    )


def test_sealed_without_our_metadata(tmp_path):
    model = make_model()
    helper.set_model_props(model, {DIGEST_KEY: PLACEHOLDER})
    path = write(tmp_path / "model.onnx", model)
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected an ONNX file written by CNNClassifier.to_onnx; it has no metadata 'cnnclf'. "
        "Export the model again."
    )


def test_a_later_format(tmp_path):
    path = write(tmp_path / "model.onnx", make_model(format=3))
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected format 2; got 3. Load it with the version of cnnclf that wrote it, or upgrade cnnclf."
    )


PLACE = DIGEST_KEY.encode() + b"\x12\x40" + PLACEHOLDER.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x0b" + PLACE, "a field has the unknown type 3"),
        (b"\x0a\x7f" + PLACE, "a field is longer than the message it is in"),
        (b"\x0a" + bytes([len(PLACE)]) + PLACE + b"\x0d\0", "a field is longer than the message it is in"),
        (b"\x08" + 10 * b"\xff" + PLACE, "a number has no end"),
        (b"\x72\x02\x0a\x80\x0a" + bytes([len(PLACE)]) + PLACE, "a number has no end"),
    ],
)
def test_sealed_but_no_protobuf(tmp_path, content, reason):
    path = tmp_path / "model.onnx"
    path.write_bytes(seal(content))
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected an ONNX file written by CNNClassifier.to_onnx; it cannot be read as one ({reason}). "
        "Export the model again."
    )


def test_what_onnx_runtime_cannot_load(tmp_path):
    model = make_model()
    model.graph.node[2].op_type = "MatMulOfTheFuture"
    path = write(tmp_path / "model.onnx", model)
    message = error_of(ONNXClassifier, path)
    assert message.startswith(f"{path}: expected a graph that ONNX Runtime {onnxruntime.__version__} can load; got ")
    assert "MatMulOfTheFuture" in message
    assert message.endswith(". Upgrade onnxruntime, or export the model again.")


def outside(tensor, location):
    """Let a tensor lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def in_an_initializer(model):
    return model.graph.initializer[0]


def in_a_constant(model):
    weights = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weights"], value=weights))
    return model.graph.node[0].attribute[0].t


def in_a_branch(model):
    inner = helper.make_graph([], "branch", [], [], [model.graph.initializer.pop(0)])
    model.graph.node.insert(0, helper.make_node("If", ["X"], ["weights"], then_branch=inner, else_branch=inner))
    return model.graph.node[0].attribute[0].g.initializer[0]


def in_a_function(model):
    node = helper.make_node("Constant", [], ["y"], value=model.graph.initializer[0])
    model.functions.append(helper.make_function("own", "weights", [], ["y"], [node], [helper.make_opsetid("", 13)]))
    return model.functions[0].node[0].attribute[0].t


@pytest.mark.parametrize("place", [in_an_initializer, in_a_constant])
@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_another_file_are_refused_before_onnx_runtime_sees_them(tmp_path, monkeypatch, place, location):
    # The file is there and right, where ONNX Runtime would look for it: beside the model and in the working directory.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(ROWS.astype(np.float32).tobytes())
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("it was loaded"))
    model = make_model()
    outside(place(model), location)
    path = write(tmp_path / "model.onnx", model)
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected one self-contained file; it refers to other files for its weights. "
        "Export the model again with CNNClassifier.to_onnx."
    )


@pytest.mark.parametrize("place", [in_a_branch, in_a_function])
def test_graphs_within_the_graph_are_refused_before_onnx_runtime_sees_them(tmp_path, monkeypatch, place):
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("it was loaded"))
    model = make_model()
    place(model)
    path = write(tmp_path / "model.onnx", model)
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected one self-contained file; it holds graphs or functions within its graph, such as loops. "
        "Export the model again with CNNClassifier.to_onnx."
    )


def test_operators_that_are_not_onnx_own_are_refused_before_onnx_runtime_sees_them(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("it was loaded"))
    model = make_model()
    model.graph.node[2].domain = "com.microsoft"
    path = write(tmp_path / "model.onnx", model)
    assert error_of(ONNXClassifier, path) == (
        f"{path}: expected one self-contained file; it needs operators of 'com.microsoft', which are not ONNX's own. "
        "Export the model again with CNNClassifier.to_onnx."
    )


def test_the_search_for_such_weights_knows_every_message_of_onnx():
    # ONNX's own description of its messages: whatever can hold a tensor has to be in the table.
    ours = {
        "model": onnx.ModelProto,
        "training": onnx.TrainingInfoProto,
        "graph": onnx.GraphProto,
        "function": onnx.FunctionProto,
        "node": onnx.NodeProto,
        "attribute": onnx.AttributeProto,
        "sparse": onnx.SparseTensorProto,
        "tensor": onnx.TensorProto,
    }
    name_of = {message.DESCRIPTOR.full_name: name for name, message in ours.items()}
    table = {
        name: {
            field.number: name_of[field.message_type.full_name]
            for field in message.DESCRIPTOR.fields
            if field.message_type is not None and field.message_type.full_name in name_of
        }
        for name, message in ours.items()
    }
    assert table == NESTED

    def holds_tensor(descriptor, above=()):
        return descriptor.full_name == "onnx.TensorProto" or any(
            holds_tensor(field.message_type, (*above, descriptor.full_name))
            for field in descriptor.fields
            if field.message_type is not None and field.message_type.full_name not in above
        )

    others = {
        field.message_type
        for message in ours.values()
        for field in message.DESCRIPTOR.fields
        if field.message_type is not None and field.message_type.full_name not in name_of
    }
    assert not [other.full_name for other in others if holds_tensor(other)]


# Parameters


@pytest.mark.parametrize("name", ["n_threads", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", True])
def test_bad_parameters(path, name, value):
    assert error_of(ONNXClassifier, path, **{name: value}) == (
        f"Expected {name} to be a whole number, 1 or more; got {value!r}. Change {name}."
    )


def test_the_session_is_quiet_and_as_asked_for(path):
    for n_threads, expected in ((None, 1), (2, 2), (np.int64(2), 2)):
        session = ONNXClassifier(path, n_threads=n_threads)._session
        options = session.get_session_options()
        assert options.intra_op_num_threads == expected
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert session.get_providers() == ["CPUExecutionProvider"]


def test_the_file_says_how_it_is_loaded(tmp_path):
    key = "optimization.disable_specified_optimizers"
    model = make_model(session={key: "QDQPropagationTransformer", "session.intra_op.allow_spinning": "1"})
    options = ONNXClassifier(write(tmp_path / "model.onnx", model))._session.get_session_options()
    assert options.get_session_config_entry(key) == "QDQPropagationTransformer"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_parameters_are_stored_untouched_and_can_be_set(path, tmp_path):
    clf = ONNXClassifier(str(path), n_threads=2)
    assert clf.get_params() == {"path": str(path), "n_threads": 2, "batch_size": 32}
    other = write(tmp_path / "other.onnx", make_model(classes=LABELS["text"]))
    assert clf.set_params(path=other, batch_size=8) is clf
    assert clf.get_params(deep=False) == {"path": other, "n_threads": 2, "batch_size": 8}
    assert clf.predict(X).tolist() == ["cat", "parrot", "cat"]


@pytest.mark.parametrize(
    ("params", "kind", "sentence"),
    [
        ({"depth": 3}, ValueError, "Expected parameters among path, n_threads, batch_size; got 'depth'."),
        (
            {"batch_size": 0},
            ValueError,
            "Expected batch_size to be a whole number, 1 or more; got 0. Change batch_size.",
        ),
        (
            {"path": "no.onnx", "batch_size": 8},
            FileNotFoundError,
            "no.onnx: expected an ONNX file written by CNNClassifier.to_onnx; there is none. Check the path.",
        ),
    ],
)
def test_what_cannot_be_set_changes_nothing(clf, params, kind, sentence):
    before = clf.get_params()
    assert error_of(clf.set_params, **params, kind=kind) == sentence
    assert clf.get_params() == before
    assert clf.predict(X).tolist() == [3, 7, 3]


def test_repr_is_the_call_that_makes_it(path):
    assert repr(ONNXClassifier(path)) == f"ONNXClassifier({str(path)!r})"
    text = repr(ONNXClassifier(path, n_threads=2, batch_size=64))
    assert text == f"ONNXClassifier({str(path)!r}, n_threads=2, batch_size=64)"
    assert eval(text).get_params() == {"path": str(path), "n_threads": 2, "batch_size": 64}


# Threads, processes, other machines


@pytest.mark.parametrize(
    "send",
    [
        lambda clf, _: pickle.loads(pickle.dumps(clf)),
        lambda clf, _: copy.deepcopy(clf),
        lambda clf, path: dumped(clf, path),
    ],
    ids=["pickle", "deepcopy", "joblib"],
)
def test_a_copy_needs_no_file(path, send, tmp_path):
    clf = ONNXClassifier(path, n_threads=2, batch_size=8)
    path.unlink()
    sent = send(clf, tmp_path / "clf.joblib")
    assert sent.get_params() == clf.get_params()
    assert sent.predict_proba(X).tolist() == clf.predict_proba(X).tolist()
    assert sent.set_params(batch_size=4).predict(X).tolist() == [3, 7, 3]


def dumped(clf, path):
    joblib.dump(clf, path)
    return joblib.load(path)


def test_many_threads_get_what_one_gets(exported):
    _, path, X_test, _ = exported
    clf = ONNXClassifier(path)
    expected = clf.predict_proba(X_test)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(clf.predict_proba, [X_test] * 40):
            assert np.array_equal(found, expected)


def test_it_loads_neither_torch_nor_scikit_learn(path):
    program = (
        "import sys, numpy as np; from cnnclf import ONNXClassifier\n"
        f"clf = ONNXClassifier({str(path)!r}); clf.predict(np.ones((1, 2, 2))); clf.score(np.ones((1, 2, 2)), [3])\n"
        "import pickle; pickle.dumps(clf)\n"
        "print(*{'torch', 'sklearn', 'skorch', 'scipy', 'onnx', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("\n", "")


def test_it_reports_to_nobody_and_keeps_no_number_of_the_device(path, tmp_path):
    """ONNX Runtime 1.29 and later would; it looks whether it is in a CI, where it does not."""
    (home := tmp_path / "home").mkdir()
    kept_quiet = ("ORT_DISABLE_TELEMETRY", "CI", "TF_BUILD", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION")
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(home))
    program = (
        "import numpy as np; from cnnclf import ONNXClassifier\n"
        f"ONNXClassifier({str(path)!r}).predict(np.ones((1, 2, 2)))"
    )
    others = {name: value for name, value in os.environ.items() if name not in kept_quiet}
    subprocess.run([sys.executable, "-c", program], cwd=home, env=others | homes, check=True)
    assert list(home.rglob("*")) == []


# scikit-learn


def test_scikit_learn_takes_it_for_a_fitted_classifier(clf):
    assert is_classifier(clf)
    check_is_fitted(clf)
    assert get_tags(clf).input_tags.three_d_array


def test_a_clone_predicts(clf):
    cloned = clone(clf)
    assert cloned is not clf
    assert cloned.get_params() == clf.get_params()
    assert cloned.predict(X).tolist() == [3, 7, 3]


def test_it_cannot_be_fitted(clf):
    assert error_of(clf.fit, X, [3, 7, 3], kind=NotImplementedError) == (
        "ONNXClassifier cannot be fitted: the network in its file is final. Fit a CNNClassifier and export it, "
        "or wrap this classifier in sklearn.frozen.FrozenEstimator to use it as it is."
    )


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_members_of_a_vote(exported, voting):
    estimator, path, X_test, y_test = exported
    vote = VotingClassifier(
        [("served", FrozenEstimator(ONNXClassifier(path))), ("trained", FrozenEstimator(estimator))], voting=voting
    ).fit(X_test, y_test)
    assert vote.predict(X_test).tolist() == estimator.predict(X_test).tolist()


def test_calibration(exported):
    _, path, X_test, y_test = exported
    calibrated = CalibratedClassifierCV(FrozenEstimator(ONNXClassifier(path))).fit(X_test[:200], y_test[:200])
    assert calibrated.predict_proba(X_test[200:]).shape == (200, 10)
    assert calibrated.score(X_test[200:], y_test[200:]) > 0.9


@pytest.mark.parametrize(
    ("input_shape", "image_shape", "channels_last"), [((2, 2), (1, 2, 2), False), ((2, 2, 1), (1, 2, 2), True)]
)
def test_flat_rows_are_the_images_that_fit_was_given(tmp_path, input_shape, image_shape, channels_last):
    model = make_model(input_shape=input_shape, image_shape=image_shape, channels_last=channels_last)
    clf = ONNXClassifier(write(tmp_path / "m.onnx", model))
    X = np.random.default_rng(0).integers(0, 256, (50, *input_shape), dtype=np.uint8)
    for flat in (X.reshape(50, clf.n_features_in_), X.reshape(50, clf.n_features_in_).tolist()):
        assert np.array_equal(clf.predict_proba(flat), clf.predict_proba(X))
        assert np.array_equal(clf.predict(flat), clf.predict(X))


def test_displays_importances_and_pipelines(exported, tmp_path):
    _, path, X_test, y_test = exported
    clf = ONNXClassifier(path)
    display = ConfusionMatrixDisplay.from_estimator(clf, X_test, y_test)
    assert display.confusion_matrix.trace() == (clf.predict(X_test) == y_test).sum()
    pipe = make_pipeline(FunctionTransformer(lambda rows: rows.reshape(-1, 8, 8)), clf)
    assert pipe.score(X_test.reshape(-1, 64), y_test) == clf.score(X_test, y_test)
    assert "ONNXClassifier" in estimator_html_repr(pipe)
    small = ONNXClassifier(write(tmp_path / "small.onnx", make_model()))  # of images of 2 × 2, here as flat rows
    images = np.random.default_rng(0).integers(0, 2, (50, 4), dtype=np.uint8)
    importances = permutation_importance(small, images, small.predict(images), random_state=0)
    assert (importances.importances_mean > 0).all()  # each of the four pixels counts
