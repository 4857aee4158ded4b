"""The exported file: its input, its output, its metadata, and that it agrees with the network."""

import functools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
import sklearn
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.utils.fixes import parse_version
from torch import nn

from cnnclf import CNNClassifier, ONNXClassifier, TestTimeAugmentation
from cnnclf.architectures._build import build_sequential
from cnnclf.architectures._layers import Conv, Dense, Dropout, Flatten, Norm, Pool, ReLU
from cnnclf.architectures._modules import Standardise
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.images._spec import ImageLayout
from cnnclf.onnx import _export
from cnnclf.onnx._export import Served, to_graph
from cnnclf.onnx._graph import fold
from cnnclf.onnx._int8 import pool_as_channels


def run(path, X):
    """What onnxruntime, without a setting for the file, says of X."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        ["label", "probabilities"], {"X": X}
    )


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture(scope="module")
def clf(few_digits):
    X, y, _, _ = few_digits
    return CNNClassifier(max_epochs=2, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def path(clf, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    clf.to_onnx(path)
    return path


# --- what it takes and gives


@pytest.mark.parametrize(
    ("reshape", "dtype", "image_shape"),
    [
        ((1, 8, 8), np.uint8, None),
        ((8, 8, 1), np.float32, None),
        ((64,), np.float64, None),
        ((64,), np.float32, (4, 4, 4)),
    ],
)
def test_the_input_is_what_fit_saw(few_digits, tmp_path, reshape, dtype, image_shape):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, *reshape).astype(dtype) for a in (X, X_test))
    clf = CNNClassifier(max_epochs=1, image_shape=image_shape, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx")

    (given,) = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).get_inputs()
    expected = np.uint8 if dtype == np.uint8 else np.float32
    assert (given.name, given.shape[1:]) == ("X", list(reshape))
    assert isinstance(given.shape[0], str)  # any number of rows
    assert given.type == {np.uint8: "tensor(uint8)", np.float32: "tensor(float)"}[expected]
    labels, probabilities = run(tmp_path / "m.onnx", X_test.astype(expected))
    assert np.array_equal(labels, clf.predict(X_test))
    np.testing.assert_allclose(probabilities, clf.predict_proba(X_test), rtol=0, atol=1e-5)
    assert probabilities.dtype == np.float32


def test_colour_with_channels_last(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (60, 10, 7, 3), dtype=np.uint8), rng.integers(0, 3, 60)
    clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx")

    labels, probabilities = run(tmp_path / "m.onnx", X)
    assert np.array_equal(labels, clf.predict(X))
    np.testing.assert_allclose(probabilities, clf.predict_proba(X), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "tensor_type"),
    [
        (np.array(["ä", "日本", "</b>"], dtype=object), "tensor(string)"),
        (np.array([-3, 7, 10**12]), "tensor(int64)"),
        ([0.0, 2.0], "tensor(double)"),
        ([False, True], "tensor(bool)"),
        (np.array([4], dtype=np.int32), "tensor(int64)"),
    ],
)
def test_labels_of_every_type(few_digits, tmp_path, classes, tensor_type):
    X, y, X_test, _ = few_digits
    y = np.asarray(classes)[y % len(classes)]
    clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [(o.name, o.type) for o in session.get_outputs()] == [
        ("label", tensor_type),
        ("probabilities", "tensor(float)"),
    ]
    assert session.run(["label"], {"X": X_test})[0].tolist() == clf.predict(X_test).tolist()


@pytest.mark.parametrize("n", [0, 1, 2, 33])
def test_any_number_of_rows(clf, path, few_digits, n):
    X = few_digits[2][:n]
    model = onnx.load(path)
    for labels, probabilities in (run(path, X), ReferenceEvaluator(model).run(["label", "probabilities"], {"X": X})):
        assert labels.shape == (n,)
        assert probabilities.shape == (n, 10)
        if n:
            assert np.array_equal(labels, clf.predict(X))


def test_labels_beyond_int64_are_refused(few_digits, tmp_path):
    X, y, _, _ = few_digits
    clf = CNNClassifier(max_epochs=1).fit(X, (y % 2).astype(np.uint64) + np.uint64(2**63))
    with pytest.raises(ValueError, match="Expected whole numbers as labels to fit into int64; got "):
        clf.to_onnx(tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_named_architecture(few_digits, tmp_path, name):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(name, max_epochs=1, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx")

    labels, probabilities = run(tmp_path / "m.onnx", X_test)
    assert np.array_equal(labels, clf.predict(X_test))
    np.testing.assert_allclose(probabilities, clf.predict_proba(X_test), rtol=0, atol=1e-5)
    assert "BatchNormalization" not in operators(tmp_path / "m.onnx")


class Swish(nn.Module):
    """A layer that this package has never heard of."""

    def forward(self, x):
        return x * x.sigmoid()


def test_layers_of_the_users_own(few_digits, tmp_path):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(
        lambda shape, n: nn.Sequential(nn.LazyConv2d(5, 3), Swish(), nn.Flatten(), nn.LazyLinear(n)),
        max_epochs=1,
        random_state=0,
    ).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx")
    assert np.array_equal(run(tmp_path / "m.onnx", X_test)[0], clf.predict(X_test))


class Rows(nn.Module):
    """Rows of pixels as they are for one-dimensional layers: (n, channels, height × width)."""

    def forward(self, x):
        return x.flatten(2)


def weight_normed(kind, *parameters):
    # More weights than the exporter computes in advance, so that the graph computes them.
    return nn.utils.parametrizations.weight_norm(kind(64, 64, *parameters))


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Rows(), nn.Conv1d(1, 4, 3), nn.MaxPool1d(2), nn.BatchNorm1d(4)],
        lambda: [nn.Conv2d(1, 64, 3), weight_normed(nn.Conv2d, 3), nn.MaxPool2d(2), nn.BatchNorm2d(64)],
        lambda: [nn.Conv2d(1, 64, 3), nn.Flatten(2), weight_normed(nn.Conv1d, 3), nn.MaxPool1d(2), nn.BatchNorm1d(64)],
    ],
    ids=["one dimension", "weights computed in the graph", "both"],
)
def test_a_norm_behind_any_convolution_and_its_pooling(few_digits, tmp_path, layers):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(
        lambda shape, n: nn.Sequential(*layers(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(n)),
        max_epochs=1,
        random_state=0,
    ).fit(X[:128], y[:128])
    clf.to_onnx(tmp_path / "m.onnx")
    np.testing.assert_allclose(run(tmp_path / "m.onnx", X_test)[1], clf.predict_proba(X_test), rtol=0, atol=1e-5)


class Sheared(nn.Module):
    def forward(self, x):
        theta = torch.tensor([[[1.0, 0.2, 0.0], [0.0, 1.0, 0.0]]]).expand(x.shape[0], 2, 3)
        grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
        return nn.functional.grid_sample(x, grid, align_corners=False)


class PooledAndBack(nn.Module):
    def forward(self, x):
        values, positions = nn.functional.max_pool2d(x, 2, return_indices=True)
        return nn.functional.max_unpool2d(values, positions, 2)


class Where(nn.Module):
    def forward(self, x):
        values, positions = nn.functional.max_pool2d(x, 2, return_indices=True)
        return values + positions / 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        [Sheared()],
        [nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 3, groups=2)],
        [nn.Conv2d(1, 4, 3), PooledAndBack()],
        [nn.Conv2d(1, 4, 3), Where()],
    ],
    ids=["grid_sample", "grouped ConvTranspose2d", "max_unpool", "positions of maxima"],
)
def test_a_network_that_the_reference_cannot_run_is_compared_in_onnxruntime(few_digits, tmp_path, layers):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(
        lambda shape, n: nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(n)), max_epochs=1, random_state=0
    ).fit(X[:128], y[:128])
    with pytest.warns(UserWarning, match=r"\AThe file is compared with the network in onnxruntime alone: onnx\.refere"):
        clf.to_onnx(tmp_path / "m.onnx")
    np.testing.assert_allclose(run(tmp_path / "m.onnx", X_test)[1], clf.predict_proba(X_test), rtol=0, atol=1e-5)


class ByLen(nn.Module):
    def forward(self, x):
        return x.reshape(len(x), -1)


class ByInt(nn.Module):
    def forward(self, x):
        return x * torch.ones(int(x.shape[0]), 1, 1, 1)


class ByShape(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], -1)


@pytest.mark.parametrize("layer", [ByLen, ByInt])
def test_a_number_of_images_that_is_fixed_is_named(few_digits, tmp_path, layer):
    X, y, _, _ = few_digits
    clf = CNNClassifier(lambda shape, n: nn.Sequential(layer(), nn.Flatten(), nn.Linear(64, n)), max_epochs=1)
    clf.fit(X[:128], y[:128])
    with pytest.raises(
        RuntimeError,
        match=r"\AExpected a network for any number of images; got one whose exported graph takes 2 and no other number"
        r"\. In its forward use x\.shape\[0\], which stays open, instead of len\(x\), int\(x\.shape\[0\]\) or a con",
    ):
        clf.to_onnx(tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


def test_what_the_sentence_advises_is_exported(few_digits, tmp_path):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier(lambda shape, n: nn.Sequential(ByShape(), nn.Linear(64, n)), max_epochs=1, random_state=0)
    clf.fit(X[:128], y[:128]).to_onnx(tmp_path / "m.onnx")
    assert np.array_equal(run(tmp_path / "m.onnx", X_test)[0], clf.predict(X_test))


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "opset"), [("circular", 19), ("reflect", 18)])
def test_the_declared_opset_knows_the_way_of_padding(few_digits, tmp_path, mode, opset):
    # onnx's Pad: reflect since opset 2, a new signature in 18, "wrap" since 19.
    X, y, X_test, _ = few_digits

    def build(shape, n):
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode=mode), nn.Flatten(), nn.LazyLinear(n))

    clf = CNNClassifier(build, max_epochs=1, random_state=0).fit(X[:128], y[:128])
    clf.to_onnx(tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == opset
    assert np.array_equal(run(tmp_path / "m.onnx", X_test)[0], clf.predict(X_test))


class ByNumPy(nn.Module):
    """A layer that leaves torch, where no graph can follow."""

    def forward(self, x):
        return torch.from_numpy(np.sort(x.detach().numpy()))


def test_a_layer_that_cannot_be_exported(few_digits, tmp_path):
    X, y, _, _ = few_digits
    clf = CNNClassifier(lambda shape, n: nn.Sequential(ByNumPy(), nn.Flatten(), nn.Linear(64, n)), max_epochs=1).fit(
        X, y
    )
    with pytest.raises(
        RuntimeError, match=r"\AExpected a network of operations that torch\.onnx\.export knows; got one that it cannot"
    ):
        clf.to_onnx(tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


def test_a_loaded_estimator_gives_the_same_bytes(tmp_path, clf, path):
    clf.save(tmp_path / "m.cnn")
    CNNClassifier.load(tmp_path / "m.cnn").to_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_compiled_estimator(few_digits, tmp_path, monkeypatch):
    # torch traces the network but leaves out its C++ compiler, which would take a quarter of a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    X, y, X_test, _ = few_digits
    compiled = CNNClassifier(max_epochs=1, compile=True, random_state=0)
    compiled.fit(X[:64], y[:64]).to_onnx(tmp_path / "c.onnx")
    assert np.array_equal(run(tmp_path / "c.onnx", X_test)[0], compiled.predict(X_test))


def test_nothing_in_the_estimator_changes(clf, few_digits, tmp_path):
    before = {name: tensor.clone() for name, tensor in clf.module_.state_dict().items()}
    layout = {name: p.stride() for name, p in clf.module_.named_parameters()}
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    clf.to_onnx(tmp_path / "m.onnx", calibration=few_digits[0])

    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in clf.module_.state_dict().items())
    assert {name: p.stride() for name, p in clf.module_.named_parameters()} == layout


# --- its content


def test_one_small_file_without_traces_of_who_made_it(path):
    assert [p.name for p in path.parent.iterdir()] == ["digits.onnx"]
    content = path.read_bytes()
    for trace in (b"site-packages", b".py", b"forward", b"torch.ops", str(path.parent).encode(), b"File "):
        assert trace not in content
    model = onnx.load(path)
    assert not any(part.doc_string or part.metadata_props for part in (model.graph, *model.graph.node))
    n_parameters = sum(numpy_helper.to_array(t).size for t in model.graph.initializer if t.name != "class_table")
    hashes = 400 * 8 * 4 / 3  # of the images that it learnt from, eight bytes each in base64
    assert len(content) < 4 * n_parameters + hashes + 5_000


def test_runtimes_of_years_ago_can_read_it(path):
    model = onnx.load(path)
    assert model.ir_version <= 8  # onnxruntime 1.10, 2021
    assert [(opset.domain, opset.version <= 15) for opset in model.opset_import] == [("", True)]
    onnx.checker.check_model(model, full_check=True)


def test_metadata(clf, path, few_digits):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    metadata = json.loads(found["cnnclf"])

    X = few_digits[0]
    assert metadata["format"] == 2
    assert metadata["classes"] == {"dtype": "<i8", "values": list(range(10))}
    assert (
        metadata["input"]
        == clf.input_spec_.to_json()
        == {
            "input_shape": [8, 8],
            "image_shape": [1, 8, 8],
            "channels_last": False,
            "dtype": "uint8",
            "white": 16,
            "mean": [pytest.approx(X.mean())],
            "std": [pytest.approx(X.std())],
            "preparation": None,
        }
    )
    assert set(metadata["versions"]) == {"cnnclf", "torch", "onnx", "onnxruntime"}
    assert re.fullmatch("[0-9a-f]{64}", metadata["training_data"])
    assert (metadata["quantize"], metadata["session"]) == (None, {})
    assert re.fullmatch("[0-9a-f]{64}", found["cnnclf.sha256"])


def test_the_fingerprint_is_of_the_data_and_not_of_its_order(few_digits):
    X, y, _, _ = few_digits

    def fingerprint(X, y, **weights):
        return CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y, **weights).training_data_.sha256

    assert fingerprint(X, y) == fingerprint(X[::-1], y[::-1])
    assert len({fingerprint(X, y), fingerprint(X[1:], y[1:]), fingerprint(X, y, sample_weight=y + 0.5)}) == 3
    once = CNNClassifier("tiny", random_state=0).partial_fit(X, y, classes=y)
    first = once.training_data_.sha256
    assert once.partial_fit(X, y).training_data_.sha256 != first


# --- folding: the graph gets smaller, its function stays


def folded(layers, scale=None, mean=0.0, std=1.0):
    """Outputs before and after folding of a small net on random images, and what is left in the graph."""
    torch.manual_seed(0)
    net = nn.Sequential(Standardise(torch.tensor([mean]), torch.tensor([std])), build_sequential(layers, (1, 8, 8), 3))
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.bias.data.normal_()
            norm.weight.data = torch.linspace(*(scale or (0.5, 2)), len(norm.weight))
    X = mean + std * torch.randn(5, 1, 8, 8)
    model = to_graph(net, torch.zeros(2, 1, 8, 8), ["logits"])
    fold(model.graph)
    onnx.checker.check_model(model, full_check=True)
    with torch.no_grad():
        wanted = net.eval()(X).numpy()
    (found,) = ReferenceEvaluator(model).run(None, {"X": X.numpy()})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    return [node.op_type for node in model.graph.node]


def test_norm_behind_a_pool_goes_into_the_convolution_and_relu_before_the_pool():
    layers = (Conv(4), Pool(), Norm(), ReLU(), Flatten())
    assert folded(layers) == ["Conv", "Relu", "MaxPool", "Reshape", "Gemm"]


def test_a_falling_norm_behind_a_pool_stays():
    # max(−x) is not −max(x)
    layers = (Conv(4), Pool(), Norm(), ReLU(), Flatten())
    assert folded(layers, scale=(-1, 1)) == ["Conv", "MaxPool", "BatchNormalization", "Relu", "Reshape", "Gemm"]


def test_standardisation_goes_into_a_convolution_without_padding():
    assert folded((Conv(4), Flatten()), mean=33.0, std=78.0) == ["Conv", "Reshape", "Gemm"]


def test_standardisation_stays_before_padding():
    # zeros around a standardised image are not zeros around the pixels
    assert folded((Conv(4, padding=1), Flatten()), mean=3.0) == ["Sub", "Div", "Conv", "Reshape", "Gemm"]


def test_standardisation_stays_where_its_mean_would_swallow_the_digits():
    assert folded((Conv(4), Flatten()), mean=1e4, std=1.0) == ["Sub", "Div", "Conv", "Reshape", "Gemm"]


def test_dense_layers_alone():
    assert folded((Flatten(), Dense(4), ReLU(), Dropout(0.5))) == ["Sub", "Div", "Reshape", "Gemm", "Relu", "Gemm"]


# --- refusing


@pytest.mark.parametrize("weight", ["conv1.weight", "output.bias"])
def test_a_graph_that_disagrees_is_not_written(clf, tmp_path, monkeypatch, weight):
    def break_and_fold(graph):
        fold(graph)
        (tensor,) = (t for t in graph.initializer if t.name.strip("'") == f"network.{weight}")
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] += 0.1
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    monkeypatch.setattr(_export, "fold", break_and_fold)
    old = tmp_path / "m.onnx"
    old.write_bytes(b"the file of yesterday")
    with pytest.raises(
        RuntimeError,
        match=r"\AExpected a graph that agrees with the network within 1e-05; got in onnxruntime a probability that "
        r"differs by 0\.\d+, and a label's by \S+\. Nothing was written\. Please report it with the architecture and "
        r"the versions of torch and onnx\.\Z",
    ):
        clf.to_onnx(old)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert old.read_bytes() == b"the file of yesterday"


def test_training_images_are_compared_but_never_leave(clf, few_digits):
    import pickle

    assert np.array_equal(clf.training_data_.examples[:, 0], few_digits[0][:32])
    assert pickle.loads(pickle.dumps(clf)).training_data_.examples is None


def test_no_folder(clf, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder to write m\.onnx into; there is none"):
        clf.to_onnx(tmp_path / "nowhere" / "m.onnx")


def test_the_slow_reference_gets_fewer_of_large_images(tmp_path, monkeypatch):
    # 33 images of noise and 4 training images of 96·96·3 = 27,648 numbers: every fourth of these 37 are 10 · 27,648,
    # as ⌈37 · 27,648 / 2¹⁸⌉ = 4. Of 8×8 pixels the reference gets all.
    numbers = []
    of_reference = _export.run_by_reference
    monkeypatch.setattr(
        _export,
        "run_by_reference",
        lambda content, rows, quantize: numbers.append(rows.shape) or of_reference(content, rows, quantize),
    )
    for shape in ((96, 96, 3), (8, 8)):
        X = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
        CNNClassifier("keras_mnist", max_epochs=1, augment=None, random_state=0).fit(X, [0, 1, 0, 1]).to_onnx(
            tmp_path / "m.onnx"
        )
    assert numbers == [(10, 96, 96, 3), (37, 8, 8)]


# --- int8


@pytest.fixture(scope="module")
def in_int8(few_digits, tmp_path_factory):
    """Train a network of an architecture and export it in int8, once: the classifier and the file."""
    X, y, _, _ = few_digits

    @functools.cache
    def make(architecture):
        clf = CNNClassifier(architecture, max_epochs=10, random_state=0).fit(X, y)
        clf.to_onnx(path := tmp_path_factory.mktemp("int8") / "int8.onnx", quantize="int8", calibration=X)
        return clf, path

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compact", "keras_mnist", "tiny"])
def test_int8(few_digits, in_int8, tmp_path, name):
    X_test = few_digits[2]
    clf, path = in_int8(name)
    clf.to_onnx(tmp_path / "m.onnx")

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 8
    found = [node.op_type for node in model.graph.node if node.op_type in ("Cast", "Conv", "MaxPool", "Relu", "Gemm")]
    assert (
        " ".join(found)
        == {
            "compact": "Conv MaxPool Conv Gemm Gemm",  # bytes from the image on: no Cast
            "keras_mnist": "Conv MaxPool Conv Gemm",
            "tiny": "Cast Conv Relu Conv MaxPool Conv Conv Gemm",  # the first convolution in float32
        }[name]
    )
    scales = [t for t in model.graph.initializer if t.name.endswith("weight_scale") or "_scale" in t.name]
    assert any(len(numpy_helper.to_array(t).shape) for t in scales)  # one scale a channel
    metadata = json.loads({p.key: p.value for p in model.metadata_props}["cnnclf"])
    assert metadata["quantize"] == "int8"
    assert metadata["session"] == {"optimization.disable_specified_optimizers": "QDQPropagationTransformer"}
    assert path.stat().st_size < (tmp_path / "m.onnx").stat().st_size or name == "tiny"
    served = ONNXClassifier(path)
    # Probabilities of all images, as how many labels change depends on how many images lie between two classes.
    difference = np.abs(served.predict_proba(X_test) - clf.predict_proba(X_test))
    assert difference.max() <= 0.2
    assert difference.mean() <= 0.002


def depthwise(shape, n_classes):
    channels, _, _ = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(20),
        nn.ReLU(),
        nn.LazyLinear(n_classes),
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["compact", "tiny", depthwise], ids=["compact", "tiny", "depthwise"])
def test_no_int8_weight_can_saturate_a_processor_without_vnni(in_int8, architecture):
    _, path = in_int8(architecture)
    arrays = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    weights = [array for array in arrays if array.dtype == np.int8]
    assert weights
    for array in weights:
        # vpmaddubsw adds two products of an activation, 0 to 255, and a weight in 16 bits.
        assert 2 * 255 * np.abs(array.astype(int)).max() <= 2**15 - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "kernel", "channels_last"),
    [
        ((1, 28, 28), 5, False),
        ((1, 10, 6), 1, False),
        ((3, 14, 10), 4, False),
        ((3, 8, 12), 3, True),
    ],
)
def test_pooling_over_channels_says_what_pooling_over_pixels_says(shape, kernel, channels_last):
    torch.manual_seed(0)
    layers = (Conv(5, kernel), ReLU(), Pool(), Conv(4, 2), ReLU(), Flatten())
    net = nn.Sequential(Standardise(torch.tensor([90.0]), torch.tensor([70.0])), build_sequential(layers, shape, 3))
    channels, height, width = shape
    input_shape = (height, width, channels) if channels_last else (height * width * channels,)
    X = np.random.default_rng(0).integers(0, 256, (4, *input_shape), dtype=np.uint8)
    served = Served(net, ImageLayout(input_shape, shape, channels_last), raw_scores=True).eval()
    model = to_graph(served, torch.from_numpy(X[:2]), ["logits", "class_index"])
    fold(model.graph)
    (before, _) = ReferenceEvaluator(model).run(None, {"X": X})
    assert pool_as_channels(model) == "pixels_float"

    onnx.checker.check_model(model, full_check=True)
    (after, _) = ReferenceEvaluator(model).run(None, {"X": X})
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(after, served(torch.from_numpy(X))[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "shape", "dtype"),
    [
        ((Conv(5), ReLU(), Pool(), Flatten()), (1, 9, 8), torch.uint8),  # an odd height
        ((Conv(5, padding=1), ReLU(), Pool(), Flatten()), (1, 8, 8), torch.uint8),
        ((Conv(5, stride=2), ReLU(), Pool(), Flatten()), (1, 12, 12), torch.uint8),
        ((Conv(5), ReLU(), Conv(5), Flatten()), (1, 8, 8), torch.uint8),  # no pooling
        ((Conv(5), ReLU(), Pool(), Flatten()), (1, 8, 8), torch.float32),  # no bytes
        ((Flatten(), Dense(5)), (1, 8, 8), torch.uint8),
    ],
)
def test_other_beginnings_are_left_alone(layers, shape, dtype):
    net = nn.Sequential(Standardise(torch.tensor([9.0]), torch.tensor([7.0])), build_sequential(layers, shape, 3))
    model = to_graph(net, torch.zeros(2, *shape, dtype=dtype), ["logits"])
    fold(model.graph)
    before = model.SerializeToString(deterministic=True)
    assert pool_as_channels(model) is None
    assert model.SerializeToString(deterministic=True) == before


def test_int8_needs_calibration(clf, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"\AExpected calibration images for quantize='int8', which measures the range of every layer on them; "
        r"got none\. Pass a few hundred images as fit was given them, for example calibration=X\[:500\]\.\Z",
    ):
        clf.to_onnx(tmp_path / "m.onnx", quantize="int8")


def test_unknown_quantization(clf, tmp_path):
    with pytest.raises(ValueError, match=r"\AExpected quantize to be None or 'int8'; got 'int4'\. Change quantize\.\Z"):
        clf.to_onnx(tmp_path / "m.onnx", quantize="int4")


def test_int8_of_a_network_too_small(few_digits, tmp_path):
    X, y, _, _ = few_digits
    clf = CNNClassifier(lambda shape, n: build_sequential((Conv(4), Flatten()), shape, n), max_epochs=1).fit(X, y)
    with pytest.raises(
        ValueError,
        match=r"\AExpected for quantize='int8' a layer between the first convolution and the output layer, as these "
        r"two stay float32; got 2 layers with weights\. Export the network without quantize\.\Z",
    ):
        clf.to_onnx(tmp_path / "m.onnx", quantize="int8", calibration=X)
    assert not any(tmp_path.iterdir())


def test_int8_that_would_be_wrong_is_not_written(tmp_path):
    # Dark and bright images, −1 and 1 when standardised. After weights set by hand the hidden feature is 0.01 and 2.01,
    # and the logits (h − 1, 1 − h). Measured on dark images alone it ends at 0.01, so that all images are dark.
    X = np.repeat(np.array([0, 200], np.uint8), 50)[:, None, None] * np.ones((8, 8), np.uint8)
    layers = (Conv(1, kernel=1), ReLU(), Flatten(), Dense(1), ReLU())
    clf = CNNClassifier(lambda shape, n: build_sequential(layers, shape, n), max_epochs=1)
    clf.fit(X, np.repeat(["dark", "bright"], 50))
    by_hand = {"conv1": ([1], [1.01]), "dense1": ([1 / 64] * 64, [0]), "output": ([1, -1], [-1, 1])}
    with torch.no_grad():
        for name, (weight, bias) in by_hand.items():
            layer = clf.module_.get_submodule(name)
            layer.weight.copy_(torch.tensor(weight).reshape(layer.weight.shape))
            layer.bias.copy_(torch.tensor(bias))
    assert clf.predict(X[[0, -1]]).tolist() == ["dark", "bright"]
    with pytest.raises(
        RuntimeError,
        match=r"\AExpected an int8 file that gives at least 98 % of the images the network's label; got \d+\.\d+ % in "
        r"onnxruntime\. Nothing was written\. Pass more calibration images, like those that the file will see, or "
        r"export without quantize\.\Z",
    ):
        clf.to_onnx(tmp_path / "m.onnx", quantize="int8", calibration=X[:50])
    assert not any(tmp_path.iterdir())


# --- within scikit-learn's compositions


def converted(model, X):
    """What the model says of X when it is one ONNX graph."""
    pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx._converter import to_onnx

    graph = to_onnx(model, X)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it notes an initializer of skl2onnx's that nobody reads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def clfs(architecture="keras_mnist", **parameters):
    """Train for two epochs; by default what torch's exporter takes the shortest time for: no normalisation."""
    return CNNClassifier(architecture, max_epochs=2, random_state=0, **parameters)


LABELS = {
    "numbers": lambda y: y,
    "words": lambda y: np.array([f"a {digit}" for digit in y]),
    "two": lambda y: y % 2,
}


PIPELINE = make_pipeline(StandardScaler(), clfs("tiny"))
VOTING = VotingClassifier([("a", clfs()), ("b", clfs(lr=0.01))], voting="soft", flatten_transform=False)
CALIBRATED = CalibratedClassifierCV(clfs(), cv=2)
CALIBRATED_IN_A_PIPELINE = make_pipeline(MinMaxScaler(), CalibratedClassifierCV(clfs(), cv=2, ensemble=False))


# Two classes are calibrated in another way than many; otherwise a composition does not look at the labels.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (PIPELINE, LABELS["words"]),
        (VOTING, LABELS["two"]),
        (CALIBRATED, LABELS["words"]),
        (CALIBRATED, LABELS["two"]),
        (CALIBRATED_IN_A_PIPELINE, LABELS["numbers"]),
        (CALIBRATED_IN_A_PIPELINE, LABELS["two"]),
    ],
    ids=[
        "pipeline, words",
        "voting, two classes",
        "calibrated, words",
        "calibrated, two classes",
        "calibrated in a pipeline, numbers",
        "calibrated in a pipeline, two classes",
    ],
)
def test_a_composition_converts_as_a_whole(few_digits, model, labels):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = clone(model).fit(X, labels(y))

    predicted, probabilities = converted(model, X_test)
    assert np.array_equal(predicted, model.predict(X_test))
    np.testing.assert_allclose(probabilities, model.predict_proba(X_test), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("around", "labels", "within"),
    [
        (lambda clf: CalibratedClassifierCV(FrozenEstimator(clf)), LABELS["numbers"], 1e-5),
        (lambda clf: CalibratedClassifierCV(FrozenEstimator(clf)), LABELS["two"], 1e-5),
        pytest.param(
            lambda clf: CalibratedClassifierCV(FrozenEstimator(clf), method="temperature"),
            LABELS["two"],
            1e-5,
            marks=pytest.mark.skipif(
                parse_version(sklearn.__version__) < parse_version("1.8"),
                reason="scikit-learn has temperature scaling from 1.8 on",
            ),
        ),
        # an isotonic step makes more of a score's last bit
        (lambda clf: CalibratedClassifierCV(FrozenEstimator(clf), method="isotonic"), LABELS["numbers"], 1e-3),
        (lambda clf: TestTimeAugmentation(FrozenEstimator(clf)), LABELS["words"], 1e-5),
        (lambda clf: CalibratedClassifierCV(TestTimeAugmentation(FrozenEstimator(clf)), cv=2), LABELS["two"], 1e-5),
    ],
    ids=["sigmoid", "sigmoid, two classes", "temperature", "isotonic", "views", "calibrated views"],
)
def test_what_stands_around_a_frozen_classifier_converts(few_digits, around, labels, within):
    X, y, X_test, y_test = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = around(clfs().fit(X, labels(y))).fit(X_test[:300], labels(y_test[:300]))

    predicted, probabilities = converted(model, X_test[300:])
    assert np.array_equal(predicted, model.predict(X_test[300:]))
    np.testing.assert_allclose(probabilities, model.predict_proba(X_test[300:]), rtol=0, atol=within)


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(make_pipeline(StandardScaler(), clfs()), cv=2),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), clfs())), cv=2),
        VotingClassifier([("a", clfs()), ("b", clfs(lr=0.01))], voting="soft"),
        VotingClassifier(
            [("a", clfs()), ("b", "drop"), ("c", LogisticRegression(max_iter=1000))], voting="soft", weights=[2, 1, 1]
        ),
        TestTimeAugmentation(make_pipeline(StandardScaler(), clfs())),
    ],
    ids=["calibrated pipeline", "pipeline in a pipeline", "committee", "a member left out", "views of a pipeline"],
)
def test_compositions_that_skl2onnx_alone_refuses_or_computes_differently(few_digits, model):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = clone(model).fit(X, y)
    predicted, probabilities = converted(model, X_test)
    assert np.array_equal(predicted, model.predict(X_test))
    np.testing.assert_allclose(probabilities, model.predict_proba(X_test), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "parameters", [{"confidence": 0.5}, {"mirror": True, "reach": 0}, {"mirror": True, "confidence": 0.5}]
)
def test_mirror_images_and_views_of_uncertain_images_convert(few_digits, parameters):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    clf = clfs(lr=0.02).fit(X, y)
    model = TestTimeAugmentation(FrozenEstimator(clf), **parameters).fit(X, y)
    predicted, probabilities = converted(model, X_test)
    assert np.array_equal(predicted, model.predict(X_test))
    np.testing.assert_allclose(probabilities, model.predict_proba(X_test), rtol=0, atol=1e-5)

    # The same by NumPy, from the plain classifier.
    images, views = X_test.reshape(-1, 8, 8), []
    for sides in (images, images[:, :, ::-1])[: 1 + parameters.get("mirror", False)]:
        padded = np.pad(sides, ((0, 0), (1, 1), (1, 1)), mode="edge")
        moves = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)][: 1 if parameters.get("reach") == 0 else 5]
        views += [padded[:, r : r + 8, c : c + 8] for r, c in moves]
    each = [clf.predict_proba(view.reshape(-1, 64)) for view in views]
    is_certain = each[0].max(axis=1) >= parameters.get("confidence", 2)
    assert "confidence" not in parameters or 0 < is_certain.sum() < len(is_certain)
    expected = np.where(is_certain[:, np.newaxis], each[0], np.mean(each, axis=0))
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_a_vote_of_labels_converts(few_digits):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    vote = VotingClassifier([("a", clfs()), ("b", LogisticRegression(max_iter=1000)), ("c", GaussianNB())]).fit(X, y)
    assert np.array_equal(converted(vote, X_test)[0], vote.predict(X_test))


def test_a_class_that_a_frozen_classifier_never_saw(few_digits):
    X, y, X_test, y_test = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = CalibratedClassifierCV(FrozenEstimator(clfs().fit(X[y != 4], y[y != 4])))
    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):  # scikit-learn's
        model.fit(X_test, y_test)
    predicted, probabilities = converted(model, X_test)
    assert np.array_equal(predicted, model.predict(X_test))
    assert not probabilities[:, 4].any()


def test_a_converted_model_that_says_something_else_is_not_handed_over(few_digits, monkeypatch):
    pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx import _converter as skl2onnx_converter

    X, y, X_test, y_test = few_digits
    model = CalibratedClassifierCV(FrozenEstimator(clfs().fit(X, y))).fit(X_test, y_test)
    # the logits as if they were probabilities
    monkeypatch.setattr(
        skl2onnx_converter, "calibrated", lambda graph, model: graph.apply(model.estimator, scores=True)
    )
    with pytest.raises(
        RuntimeError,
        match=r"\AExpected a converted model that agrees with the estimator within 0\.001; got a probability that "
        r"differs by \S+, and a label's by \S+\. Export the CNNClassifier alone with its to_onnx, and compute the rest "
        r"where the file is served\.\Z",
    ):
        skl2onnx_converter.to_onnx(model, X_test)


def test_a_vote_of_other_labels_is_not_handed_over(few_digits, monkeypatch):
    pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx import _converter as skl2onnx_converter

    X, y, X_test, _ = few_digits
    vote = VotingClassifier([("a", clfs())]).fit(X, y)
    monkeypatch.setattr(skl2onnx_converter.Graph, "mean", lambda graph, parts, weights: graph.add("Sub", 1.0, parts[0]))
    with pytest.raises(
        RuntimeError,
        match=r"\AExpected a converted model that agrees .*; got other labels for \d+\.\d+ % of X\. Export the",
    ):
        skl2onnx_converter.to_onnx(vote, X_test)


def test_a_part_that_nobody_converts_is_named(few_digits):
    pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx._converter import to_onnx

    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = make_pipeline(FunctionTransformer(np.sqrt), clfs()).fit(X, y)
    with pytest.raises(
        RuntimeError, match=r"\AExpected a model of parts that skl2onnx converts; got one that it cannot \(.*FunctionTr"
    ) as caught:
        to_onnx(model, X_test)
    assert len(str(caught.value)) <= 300


def test_a_composition_that_is_not_fitted_or_takes_other_rows_says_so_itself(few_digits):
    pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx._converter import to_onnx

    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = make_pipeline(StandardScaler(), clfs())
    with pytest.raises(NotFittedError):
        to_onnx(model, X_test)
    with pytest.raises(ValueError, match=r"X has 63 features, but StandardScaler is expecting 64 features as input\."):
        to_onnx(model.fit(X, y), X_test[:, 1:])


def test_images_of_whole_numbers_convert_too(few_digits):
    X, y, X_test, _ = few_digits
    clf = clfs().fit(X, y)
    predicted, probabilities = converted(clf, X_test)
    assert np.array_equal(predicted, clf.predict(X_test))
    np.testing.assert_allclose(probabilities, clf.predict_proba(X_test), rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [np.array([0.0, 2.0]), np.array([False, True])], ids=["floats", "bools"])
def test_labels_of_other_types_convert_too(few_digits, classes):
    X, y, X_test, _ = few_digits
    X, X_test = (a.reshape(-1, 64).astype(np.float32) for a in (X, X_test))
    model = make_pipeline(StandardScaler(), clfs()).fit(X, classes[y % 2])
    predicted, _ = converted(model, X_test)
    assert predicted.dtype == classes.dtype
    assert np.array_equal(predicted, model.predict(X_test))


def test_a_converter_asked_for_too_old_an_opset(few_digits):
    skl2onnx = pytest.importorskip("skl2onnx", reason="the extra skl2onnx is not installed")
    from cnnclf.onnx._converter import register

    register()
    X, y, _, _ = few_digits
    with pytest.raises(
        ValueError,
        match=r"\AExpected target_opset to be 14 or more for this CNNClassifier; got 12\. Pass target_opset=14 to skl2",
    ):
        skl2onnx.to_onnx(clfs().fit(X, y), X[:1], target_opset=12)


def test_traces_are_verified_in_several_threads_at_once(clf, few_digits):
    traces = [clf.trace(image) for image in few_digits[0][:4]]
    with ThreadPoolExecutor(4) as pool:
        assert [verification.failed for verification in pool.map(lambda trace: trace.verify(), traces)] == 4 * [()]
