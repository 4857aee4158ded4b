"""The exported file against the estimator: on MNIST's test images, on a hundred random networks, on another CPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import cnnclf
from cnnclf import CNNClassifier, ONNXClassifier, load_mnist
from cnnclf.architectures._build import build_sequential
from cnnclf.architectures._layers import Conv, Dense, Dropout, Flatten, Norm, Pool, ReLU
from cnnclf.architectures._table import ARCHITECTURES

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def mnist():
    return *load_mnist("train"), *load_mnist("test")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_named_architecture_on_mnist(mnist, tmp_path, name):
    X, y, X_test, _ = mnist
    clf = CNNClassifier(name, max_epochs=1, random_state=0).fit(X[:2_000], y[:2_000])
    clf.to_onnx(tmp_path / "m.onnx")
    served = ONNXClassifier(tmp_path / "m.onnx")

    assert (served.predict(X_test) == clf.predict(X_test)).all()
    assert np.abs(served.predict_proba(X_test) - clf.predict_proba(X_test)).max() <= 1e-5


@pytest.mark.parametrize("name", ["compact", "keras_mnist"])
def test_int8_keeps_the_accuracy(mnist, tmp_path, name):
    X, y, X_test, y_test = mnist
    clf = CNNClassifier(name, max_epochs=2, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "m.onnx", quantize="int8", calibration=X[:500])
    assert abs(ONNXClassifier(tmp_path / "m.onnx").score(X_test, y_test) - clf.score(X_test, y_test)) <= 0.0005


ASK = """
import sys
import numpy as np
from cnnclf import ONNXClassifier

model, rows, answers = sys.argv[1:]
np.save(answers, ONNXClassifier(model).predict_proba(np.load(rows)))
"""


@pytest.mark.parametrize("name", ["compact", "keras_mnist"])
def test_an_int8_file_gives_the_same_answers_on_a_processor_without_vnni(mnist, haswell, tmp_path, name):
    X, y, X_test, _ = mnist
    X, y = X[:10_000].copy(), y[:10_000]
    X[::2] = 255 - X[::2]  # every other image is bright: dark ink on white paper
    rows = X_test[:500].copy()
    rows[::2] = 255 - rows[::2]
    clf = CNNClassifier(name, max_epochs=1, random_state=0).fit(X, y)
    clf.to_onnx(tmp_path / "float32.onnx")
    clf.to_onnx(tmp_path / "int8.onnx", quantize="int8", calibration=X[:500])
    np.save(tmp_path / "rows.npy", rows)

    packages = os.pathsep.join([str(Path(cnnclf.__file__).parents[1]), *filter(None, sys.path)])
    subprocess.run(
        [*haswell, "-c", ASK, tmp_path / "int8.onnx", tmp_path / "rows.npy", tmp_path / "emulated.npy"],
        env=os.environ | {"PYTHONPATH": packages},
        check=True,
    )
    emulated = np.load(tmp_path / "emulated.npy")
    native = ONNXClassifier(tmp_path / "int8.onnx").predict_proba(rows)
    float32 = ONNXClassifier(tmp_path / "float32.onnx").predict_proba(rows)

    assert np.abs(emulated - native).max() <= 0.05
    second, first = np.sort(float32, axis=1)[:, -2:].T
    clear = first - second > 0.01
    assert (emulated.argmax(axis=1) == native.argmax(axis=1))[clear].all()


def random_layers(rng):
    """Draw layers that fit any image: they shrink where they must."""
    layers = []
    for _ in range(rng.integers(0, 4)):
        layers.append(
            Conv(
                int(rng.integers(1, 9)),
                kernel=int(rng.choice([1, 2, 3, 5])),
                stride=int(rng.choice([1, 1, 2])),
                padding=int(rng.choice([0, 0, 1, 2])),
                bias=bool(rng.integers(2)),
            )
        )
        # in every order that people write them down in
        layers += [layer for layer in rng.permutation([Pool(), Norm(), ReLU(), Dropout(0.2)]) if rng.integers(4)]
    layers.append(Flatten())
    for _ in range(rng.integers(0, 3)):
        layers += [Dense(int(rng.integers(1, 20))), ReLU()]
    return tuple(layers)


LABELS = [
    lambda k: np.arange(k),
    lambda k: np.arange(k) * 7 - 3,
    lambda k: np.array([f"class “{i}” ü" for i in range(k)]),
    lambda k: np.array([f"{i}" for i in range(k)], dtype=object),
    lambda k: np.arange(k) * 2.0,
    lambda k: np.arange(k, dtype=np.int32),
]


@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_networks(tmp_path, seed):
    rng = np.random.default_rng(seed)
    channels, height, width = int(rng.integers(1, 5)), *(int(n) for n in rng.integers(1, 20, 2))
    layers, n_classes, n = random_layers(rng), int(rng.integers(1, 8)), 40
    # classes by turns, so that each is there
    y = rng.permutation(np.arange(n) % n_classes)
    shape = [
        (n, channels * height * width),
        (n, channels, height, width),
        (n, height, width, channels),
    ][seed % 3]
    X = rng.integers(0, 256, shape) + 20 * y.reshape(-1, *[1] * (len(shape) - 1)) / n_classes
    dtype = [np.uint8, np.float32, np.float64, np.int16][rng.integers(4)]
    X = X.clip(0, 255).astype(dtype) if rng.integers(2) or dtype == np.uint8 else (X / 255 - 0.3).astype(np.float32)
    classes = LABELS[rng.integers(len(LABELS))](n_classes)

    def build(image_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
        net = build_sequential(layers, image_shape, n_outputs)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):  # as after a long training: some scales below zero
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
        return net

    clf = CNNClassifier(build, max_epochs=1, batch_size=8, image_shape=(channels, height, width), random_state=seed)
    clf.fit(X, classes[y])
    clf.to_onnx(tmp_path / "m.onnx")
    served = ONNXClassifier(tmp_path / "m.onnx")

    assert served.classes_.dtype == clf.classes_.dtype
    for rows in (X, X[:1]):
        probabilities, wanted = served.predict_proba(rows), clf.predict_proba(rows)
        assert np.abs(probabilities - wanted).max() <= 1e-5
        labels, expected = served.predict(rows), clf.predict(rows)
        assert labels.dtype == expected.dtype
        for i in np.flatnonzero(labels != expected):  # only where two classes are as likely, to the last bits
            best_two = np.sort(wanted[i])[-2:]
            assert best_two[1] - best_two[0] <= 1e-6
    nothing = served.predict(X[:0])
    assert (nothing.shape, nothing.dtype) == ((0,), clf.classes_.dtype)
    assert served.predict_proba(X[:0]).shape == (0, n_classes)
