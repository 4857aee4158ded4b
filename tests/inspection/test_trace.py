"""What a trace records: every number is torch's, whatever the network and the image, and nothing changes."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.inspection._narrative import SENTENCES
from cnnclf.inspection._recompute import RECOMPUTE
from cnnclf.training._network import rows_alike
from helpers import exactly, quick, sequential
from small_networks import BOTH, Twice, arange, hand_set, record, same_bits


def state_of(clf):
    """All that tracing could change."""
    module = clf.module_
    tensors = {name: (t.numpy().tobytes(), t.stride()) for name, t in module.state_dict().items()}
    rng = torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global one
    return tensors, [layer.training for layer in module.modules()], rng, torch.get_num_threads(), clf.get_params()


def assert_is_torchs(trace, clf, X):
    """Whether the trace of the first row is what the estimator gives for it, to the bit."""
    assert same_bits(trace.logits, clf.decision_function(X[:1])[0])
    assert same_bits(trace.probabilities, clf.predict_proba(X[:1])[0])
    assert trace.label == clf.predict(X[:1])[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (12, 3, 16, 13), dtype=np.uint8), np.arange(12) % 3
    clf = quick(name).fit(X, y)
    trace = clf.trace(X[0])
    assert_is_torchs(trace, clf, X)
    assert trace.coverage == 1.0
    assert sum(step.n_parameters for step in trace.steps) == clf.n_parameters_
    for before, after in zip(trace.steps[:-1], trace.steps[1:], strict=True):
        assert same_bits(before.output, after.input)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_in_the_estimator_changes(few_digits, training):
    X, y, X_test, _ = few_digits
    clf = quick("accurate").fit(X, y)  # has dropout and batch norm
    clf.module_.train(training)
    before = state_of(clf)
    trace = clf.trace(X_test[0])
    assert state_of(clf) == before
    trace.occlusion()
    trace.gradient()
    assert state_of(clf) == before
    assert all(parameter.grad is None for parameter in trace._module.parameters())


def test_a_trace_is_a_copy(clf, few_digits):
    image = few_digits[2][0].copy()
    clf = copy.deepcopy(clf)
    trace = clf.trace(image)
    values = [step.output.copy() for step in trace.walk()]
    weights = trace["conv1"].weights["weight"].copy()
    image[:] = 0
    with torch.no_grad():
        clf.module_.conv1.weight.zero_()
    assert same_bits(trace.image[0], few_digits[2][0])
    assert all(same_bits(step.output, value) for step, value in zip(trace.walk(), values, strict=True))
    assert same_bits(trace["conv1"].weights["weight"], weights)
    for array in (trace.image, trace.classes, trace["conv1"].input, trace["conv1"].output, weights.base):
        assert array is None or not array.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace["conv1"].name = "conv2"
    with pytest.raises(TypeError):
        trace["conv1"].weights["weight"] = weights


def contents(trace):
    """All that a trace records, as plain values; arrays as dtype, shape and bytes."""

    def bits(array):
        return array.dtype, array.shape, array.tobytes()

    steps = [
        (
            *(step.name, step.kind, step.description, step.n_parameters, step.n_multiply_adds, dict(step.settings)),
            *(bits(step.input), bits(step.output), {name: bits(array) for name, array in step.weights.items()}),
        )
        for step in trace.walk()
    ]
    return bits(trace.image), bits(trace.classes), steps


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copied", "pickled"])
@BOTH
def test_a_trace_that_is_copied_or_pickled(trace, again):
    other = again(trace)
    assert contents(other) == contents(trace)
    assert contents(other.follow(trace.image)) == contents(trace)  # its network came along
    assert other["norm1"].conv is other["conv1"]
    # It is as read-only as the first one was.
    for step in other.walk():
        arrays = step.input, step.output, *step.weights.values()
        assert not any(array.flags.writeable for array in (other.image, other.classes, *arrays))
        for mapping in (step.weights, step.settings):
            with pytest.raises(TypeError):
                mapping["weight"] = 0

    step, explanation = again(trace["norm1"]), again(trace["norm1"].explain(2, 0, 1))
    assert same_bits(step.output, trace["norm1"].output)
    assert same_bits(step.conv.output, trace["conv1"].output)
    assert explanation.lines() == trace["norm1"].explain(2, 0, 1).lines()
    assert same_bits(explanation.parts["kernel"], trace["norm1"].explain(2, 0, 1).parts["kernel"])


def test_a_step_with_another_output_is_a_copy_too(digit):
    output = np.zeros((16, 4, 4), dtype=np.float32)
    step = dataclasses.replace(digit["conv1"], output=output)
    output[:] = 1
    assert not step.output.any()


COLOUR = np.random.default_rng(0).integers(0, 256, (12, 3, 9, 14), dtype=np.uint8)
INPUTS = {
    "grey": COLOUR[:, 0],
    "channels first": COLOUR,
    "channels last": COLOUR.transpose(0, 2, 3, 1),
    "square rows": COLOUR[:, 0, :8, :8].reshape(12, 64),
    "tabular rows": COLOUR[:, 0, :1, :7].reshape(12, 7).astype(np.float64),
    "0 to 1": (COLOUR / 255).astype(np.float32),
}


@pytest.mark.parametrize("X", INPUTS.values(), ids=INPUTS.keys())
def test_inputs(X):
    labels = np.array(["cat", "dog", "5 & more"])[np.arange(12) % 3]
    clf = quick().fit(X, labels)
    trace = clf.trace(X[0])
    assert trace.image.shape == clf.image_shape_
    assert_is_torchs(trace, clf, X)


def test_two_classes():
    X = COLOUR[:, 0]
    clf = quick().fit(X, np.arange(12) % 2)
    trace = clf.trace(X[0])
    # as everywhere in scikit-learn, the decision is one number: the second logit minus the first
    assert clf.decision_function(X[:1]).tolist() == [trace.logits[1] - trace.logits[0]]
    assert same_bits(trace.probabilities, clf.predict_proba(X[:1])[0])


def test_where_an_estimator_may_come_from(clf, few_digits, tmp_path):
    X, y, X_test, _ = few_digits
    clf.save(tmp_path / "model.cnn")
    search = GridSearchCV(quick(), {"lr": [0.01]}, cv=2).fit(X, y)
    pipe = make_pipeline(FunctionTransformer(np.negative), quick()).fit(X.astype(np.float32), y)
    for other in (pickle.loads(pickle.dumps(clf)), CNNClassifier.load(tmp_path / "model.cnn"), search.best_estimator_):
        assert_is_torchs(other.trace(X_test[0]), other, X_test)
    inverted = pipe[:-1].transform(X_test[:1].astype(np.float32))
    trace = pipe[-1].trace(inverted[0])
    assert same_bits(trace.probabilities, pipe.predict_proba(X_test[:1].astype(np.float32))[0])


def test_a_compiled_estimator(few_digits, monkeypatch):
    # What compiling leaves behind is a wrapper; a stand-in for the compiler makes the same one in no time.
    monkeypatch.setattr(torch, "compile", lambda module, **_: torch._dynamo.OptimizedModule(module, lambda f: f))
    X, y, X_test, _ = few_digits
    clf = quick(compile=True).fit(X, y)
    assert type(clf.net_.module_).__name__ == "OptimizedModule"
    trace = clf.trace(X_test[0])
    assert [step.kind for step in trace.steps][:3] == ["standardise", "conv", "max_pool"]
    assert_is_torchs(trace, clf, X_test)


class LeakyByHand(nn.ReLU):
    def forward(self, x):
        return torch.maximum(x, 0.1 * x)


def test_kinds(zoo):
    seen = {step.kind for step in zoo.walk()}
    assert seen == set(SENTENCES) - {"unknown"}
    assert set(RECOMPUTE) == set(SENTENCES) - {"unknown"}
    assert zoo.coverage == 1.0
    x = torch.from_numpy(zoo.image[np.newaxis].copy()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert same_bits(zoo.logits, rows_alike(zoo._module)(x)[0].numpy())  # as prediction computes it


def test_any_sequence():
    relu = nn.ReLU(inplace=True)
    conv = hand_set(nn.Conv2d(1, 2, 3), weight=1.0)
    bare = nn.Sequential(conv, nn.Sequential(relu, nn.Sequential()), relu, nn.Flatten())
    trace = record(-arange(1, 4, 4), body=bare, act=relu, out=nn.Linear(8, 2), softmax=nn.Softmax(dim=1))
    # A layer object that is there twice has two steps; an empty sequence passes things on; no two names are equal.
    assert [(step.name, step.kind) for step in trace.walk()] == [
        *(("body", "block"), ("body.0", "conv"), ("body.1", "block"), ("body.1.0", "relu"), ("body.1.1", "dropout")),
        *(("body.2", "relu"), ("body.3", "flatten"), ("act", "relu"), ("out", "dense")),
        *(("softmax", "softmax"), ("softmax_", "softmax")),
    ]
    # A layer that writes over its input has been seen before it did.
    assert trace["body.1.0"].input.min() < 0
    assert trace["body.1.0"].output.min() == 0
    assert same_bits(trace["body.0"].output, trace["body.1.0"].input)


def test_names_inside_a_residual_block_are_unique():
    block = Residual(sequential(shortcut=nn.Conv2d(1, 1, 1)))
    trace = record(arange(1, 2, 2), block1=block)
    assert [step.name for step in trace.walk()] == ["block1", "block1.shortcut", "block1.shortcut_", "softmax"]


def test_a_residual_block_whose_layers_write_over_its_input():
    # −1 becomes 0 in the residual branch, in place, and so does the shortcut's: 0 + 0, not 0 + (−1).
    image = np.array([[[-1.0, 2.0]]], dtype=np.float32)
    block = Residual(sequential(relu1=nn.ReLU(inplace=True)))
    trace = record(image, block1=block)
    assert (
        trace["block1"].output.tolist() == block(torch.from_numpy(image[np.newaxis].copy()))[0].tolist() == [[[0, 4]]]
    )
    assert trace["block1.shortcut"].output.tolist() == [[[0, 2]]]


def test_unknown_layers():
    # 8 numbers of an identity, 8 of an unknown layer, twice over 2 numbers, softmax 2: 8 + 2 of 8 + 8 + 8 + 2 + 2 + 2.
    layers = {"id": nn.Identity(), "twice": Twice(), "leaky": LeakyByHand(), "flat": nn.Flatten(0, -1)}
    with pytest.raises(IndexError):  # the batch axis must stay
        record(arange(1, 2, 4), **layers)
    layers = {"id": nn.Identity(), "twice": Twice(), "leaky": LeakyByHand(), "flat": nn.Flatten(), "out": nn.Softplus()}
    trace = record(arange(1, 2, 4), n_classes=8, **layers)
    assert [step.kind for step in trace.steps] == ["dropout", "unknown", "unknown", "flatten", "unknown", "softmax"]
    assert trace.coverage == 3 / 6
    assert trace["twice"].output.tolist() == (2 * arange(1, 2, 4)).tolist()
    assert trace["twice"].recomputed is None
    sentence = "Expected a layer that NumPy can recompute; got 'out' (Softplus). Look at its input and output instead."
    with pytest.raises(ValueError, match=exactly(sentence)):
        trace["out"].explain(0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 1, 2, padding="same"),
        nn.MaxPool2d(3, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(2),
        nn.BatchNorm2d(1, track_running_stats=False),
        nn.Flatten(start_dim=2),
        nn.Softmax(dim=1),
        nn.Linear(5, 5),
    ],
    ids=repr,
)
def test_what_we_would_compute_otherwise_is_unknown(layer):
    assert record(arange(1, 5, 5), n_classes=5, layer=layer)["layer"].kind == "unknown"


def test_layers_in_disguise():
    normed = weight_norm(nn.Conv2d(1, 2, 2))  # its weight is computed from two parameters
    lazy = nn.LazyLinear(2)
    trace = record(arange(1, 3, 3), conv1=normed, flatten1=nn.Flatten(), out=nn.Sequential(lazy))
    assert [step.kind for step in trace.steps] == ["conv", "flatten", "block", "softmax"]
    assert same_bits(trace["conv1"].weights["weight"], normed.weight.detach().numpy())
    assert trace["conv1"].recomputed.value == pytest.approx(trace["conv1"].output, abs=1e-5)


class Last(nn.Module):
    def forward(self, outputs):
        return outputs[0][:, -1]


def test_a_layer_that_gives_several_tensors_shows_the_first():
    layers = {"rows": nn.Flatten(1, 2), "gru": nn.GRU(4, 3, batch_first=True), "last": Last()}
    trace = record(arange(1, 5, 4), n_classes=3, **layers)
    assert trace["gru"].output.shape == trace["last"].input.shape == (5, 3)
    assert same_bits(trace["last"].output, trace["gru"].output[-1])


def test_a_bare_module_is_one_layer(few_digits):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(64, 10)

        def forward(self, x):
            return self.dense(x.flatten(1))

    X, y, X_test, _ = few_digits
    clf = quick(lambda image_shape, n_classes: Net()).fit(X, y)
    trace = clf.trace(X_test[0])
    assert [(step.name, step.kind) for step in trace.steps] == [
        ("standardise", "standardise"),
        ("module", "unknown"),
        ("softmax", "softmax"),
    ]
    assert set(trace["module"].weights) == {"dense.weight", "dense.bias"}
    assert trace.coverage == (64 + 10) / (64 + 10 + 10)
    assert_is_torchs(trace, clf, X_test)


def test_a_name_that_no_layer_has():
    trace = record(arange(1, 1, 2), flatten1=nn.Flatten(), out=sequential(dense=nn.Linear(2, 2)))
    sentence = "Expected the name of a layer, one of 'flatten1', 'out', 'out.dense' and 'softmax'; got 'conv1'."
    with pytest.raises(KeyError) as error:
        trace["conv1"]
    assert error.value.args == (sentence,)


def test_another_image_goes_the_same_way(clf, digit, few_digits):
    image = few_digits[2][1]
    followed, traced = digit.follow(image[np.newaxis]), clf.trace(image)
    for a, b in zip(followed.walk(), traced.walk(), strict=True):
        assert same_bits(a.output, b.output)
    assert followed._module is digit._module
    sentence = "Expected an image of shape (1, 8, 8), as the traced one; got (8, 8)."
    with pytest.raises(ValueError, match=exactly(sentence)):
        digit.follow(image)


def test_renderings_are_made_elsewhere(digit, monkeypatch, tmp_path):
    for module, name in (("_text", "text"), ("_text", "markdown"), ("_latex", "latex")):
        monkeypatch.setattr(f"cnnclf.inspection.{module}.to_{name}", lambda trace, name=name: (name, trace))
    for module in ("_html", "_xlsx"):
        monkeypatch.setattr(f"cnnclf.inspection.{module}.write", lambda *call: call)
    assert digit.to_text() == ("text", digit)
    assert digit.to_markdown() == ("markdown", digit)
    assert digit.to_latex() == ("latex", digit)
    assert digit.to_html(tmp_path)[::2] == (digit, tmp_path)
    assert digit.to_xlsx(tmp_path, ["conv1"]) == (digit, tmp_path, ["conv1"])
