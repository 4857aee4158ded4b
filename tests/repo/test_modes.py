"""torch's global modes: whatever a caller has set, the answers are the same bits, and the modes stay as they were."""

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf import CNNClassifier, ONNXClassifier
from cnnclf.architectures._summary import summarize
from cnnclf.training._runtime import session


def own(image_shape, n_classes):
    """Make a network whose layers take their shape, and with it their type, from what comes."""
    return nn.Sequential(
        OrderedDict(conv=nn.LazyConv2d(4, 3), relu=nn.ReLU(), flatten=nn.Flatten(), output=nn.LazyLinear(n_classes))
    )


def quick(architecture="tiny", **parameters):
    """An epoch that draws random numbers of all kinds."""
    return CNNClassifier(
        architecture, max_epochs=1, augment=("shift", "elastic"), weight_averaging=True, early_stopping=True,
        random_state=0, **parameters,
    )  # fmt: skip


def switch(write, on, off):
    """Make a context of a switch that torch knows no context for."""

    @contextmanager
    def switched():
        write(on)
        try:
            yield
        finally:
            write(off)

    return switched


MODES = {
    "default dtype": switch(torch.set_default_dtype, torch.float64, torch.float32),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "default device": switch(torch.set_default_device, "meta", None),
    "device": lambda: torch.device("meta"),
    "deterministic algorithms": switch(torch.use_deterministic_algorithms, True, False),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "precision of matrix products": switch(torch.set_float32_matmul_precision, "medium", "highest"),
}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def modes_now():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )


@pytest.fixture(scope="module")
def some(few_digits):
    X, y, *_ = few_digits
    return X[:100], y[:100]


@pytest.fixture(scope="module")
def fitted(some, tmp_path_factory):
    """A classifier of either kind, and the file of each."""
    folder = tmp_path_factory.mktemp("models")
    known, unknown = quick().fit(*some), quick(own).fit(*some)
    known.save(folder / "known.cnn")
    unknown.save(folder / "own.cnn")
    known.to_onnx(folder / "known.onnx")
    return known, unknown, folder


@pytest.fixture(scope="module")
def usual(some, fitted):
    """What a classifier shows and tells outside of all modes."""
    X, _ = some
    known, _, folder = fitted
    trace = known.trace(X[0])
    return {
        "verification": trace.verify(),
        "gradient": trace.gradient().tobytes(),
        "text": trace.to_text(),
        "rows": known._repr_html_().count("<tr>"),
        "summary": summarize(known.module_, known.image_shape_),
        "answers": ONNXClassifier(folder / "known.onnx").predict_proba(X).tobytes(),
    }


@modes
@pytest.mark.parametrize(
    "parameters", [{}, {"architecture": own}, {"precision": "bfloat16"}], ids=["known", "own", "bfloat16"]
)
def test_a_fit_is_the_same_in_any_mode(parameters, mode, some):
    X, y = some
    weight = np.linspace(0.5, 1.5, len(y))
    usual = quick(**parameters).fit(X, y).partial_fit(X, y, sample_weight=weight).predict_proba(X)
    with mode():
        before = modes_now()
        clf = quick(**parameters).fit(X, y).partial_fit(X, y, sample_weight=weight)
        assert modes_now() == before
        within = clf.predict_proba(X)
    assert within.tobytes() == usual.tobytes()
    assert clf.predict_proba(X).tobytes() == usual.tobytes()


@modes
def test_a_warm_start_is_the_same_in_any_mode(mode, some):
    X, y = some
    usual = quick(warm_start=True).fit(X, y).fit(X, y).predict_proba(X)
    with mode():
        clf = quick(warm_start=True).fit(X, y)
    assert clf.fit(X, y).predict_proba(X).tobytes() == usual.tobytes()
    clf = quick(warm_start=True).fit(X, y)
    with mode():
        assert clf.fit(X, y).predict_proba(X).tobytes() == usual.tobytes()


@modes
def test_a_file_is_read_and_asked_in_any_mode(mode, some, fitted):
    X, _ = some
    known, unknown, folder = fitted
    with mode():
        loaded, loaded_own = CNNClassifier.load(folder / "known.cnn"), CNNClassifier.load(folder / "own.cnn", own)
        assert loaded.predict_proba(X).tobytes() == known.predict_proba(X).tobytes()
        assert loaded_own.predict_proba(X).tobytes() == unknown.predict_proba(X).tobytes()
    assert loaded.predict_proba(X).tobytes() == known.predict_proba(X).tobytes()


@pytest.mark.slow
@modes
def test_a_trace_an_export_and_a_display_are_the_same_in_any_mode(mode, some, fitted, usual, tmp_path):
    X, _ = some
    known, *_ = fitted
    with mode():
        trace = known.trace(X[0])
        within = {
            "verification": trace.verify(),
            "gradient": trace.gradient().tobytes(),
            "text": trace.to_text(),
            "rows": known._repr_html_().count("<tr>"),
            "summary": summarize(known.module_, known.image_shape_),
        }
        known.to_onnx(tmp_path / "within.onnx")
    assert within | {"answers": ONNXClassifier(tmp_path / "within.onnx").predict_proba(X).tobytes()} == usual


def test_the_last_of_several_threads_puts_the_default_dtype_back():
    # The first thread to come leaves while the second is still inside; the second one needs float32 to its end.
    both_inside, first_is_out = Barrier(2, timeout=60), Barrier(2, timeout=60)

    def first():
        with session("cpu"):
            both_inside.wait()
        first_is_out.wait()

    def second():
        with session("cpu"):
            both_inside.wait()
            first_is_out.wait()
            return torch.get_default_dtype()

    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(2) as pool:
            _, within = pool.submit(first), pool.submit(second)
            assert within.result() == torch.float32
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
