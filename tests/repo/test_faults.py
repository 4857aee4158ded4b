"""Load and faults: many threads, killed processes, Ctrl-C at any moment, and the same bits in any surroundings."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EpochTimer

from cnnclf import CNNClassifier, ONNXClassifier, compare_architectures
from cnnclf._utils.files import write_atomically
from cnnclf.architectures._table import find_architecture
from cnnclf.training._callbacks import Progress, StopEarly
from cnnclf.training._net import Net
from helpers import EndAfter, exactly, untimed

N_EPOCHS = 4


def quick(**parameters):
    """Four epochs of images as they are, seeded."""
    fixed = {"architecture": "tiny", "max_epochs": N_EPOCHS, "augment": None, "random_state": 0}
    return CNNClassifier(**(fixed | parameters))


def same_bits(clf, other, X):
    return clf.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()


@pytest.fixture(scope="module")
def some(few_digits):
    X, y, *_ = few_digits
    return X[:150], y[:150]


@pytest.fixture(scope="module")
def held_out(few_digits):
    *_, X, y = few_digits
    return {"X_val": X[:100], "y_val": y[:100]}


# Threads


@pytest.mark.slow
def test_eight_threads_with_batches_of_all_sizes_get_what_one_gets(some, few_digits, tmp_path):
    quick(max_epochs=1).fit(*some).to_onnx(tmp_path / "digits.onnx")
    clf, X = ONNXClassifier(tmp_path / "digits.onnx"), few_digits[2]
    sizes = (0, 1, 7, 32, 33, 100, 257)  # no batch, a part of one, a whole one, several
    expected = {n: (clf.predict(X[:n]), clf.predict_proba(X[:n])) for n in sizes}
    together = threading.Barrier(8)

    def count_wrong(seed):
        together.wait(timeout=60)
        wrong = 0
        for n in np.random.default_rng(seed).choice(sizes, 50):
            labels, probabilities = expected[n]
            wrong += clf.predict(X[:n]).tobytes() != labels.tobytes()
            wrong += clf.predict_proba(X[:n]).tobytes() != probabilities.tobytes()
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count_wrong, range(8))) == [0] * 8


# Killed processes


@pytest.mark.slow
def test_a_search_whose_worker_is_killed_is_an_error_and_never_a_score(few_digits, tmp_path):
    X, y, *_ = few_digits
    marker = tmp_path / "killed"

    class KillOnce(Callback):  # defined here, the other processes need not import this whole module for it
        """Kill the process in the second epoch of the second candidate, once."""

        def on_batch_end(self, net, **kwargs):
            if net.lr == 0.005 and len(net.history) == 2 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    grid = {"lr": [0.002, 0.005]}
    undisturbed = GridSearchCV(quick(), grid, cv=2).fit(X, y)
    search = GridSearchCV(quick(callbacks=[KillOnce()]), grid, cv=2, n_jobs=2)
    with pytest.raises(TerminatedWorkerError, match=r"\AA worker process .* was unexpectedly terminated"):
        search.fit(X, y)
    assert marker.exists()
    assert not hasattr(search, "cv_results_")

    search.fit(X, y)  # n_jobs as before: a killed process is not the end of its pool
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        assert search.cv_results_[name].tolist() == undisturbed.cv_results_[name].tolist()
    assert same_bits(search, undisturbed, X)


@pytest.mark.slow
def test_a_comparison_whose_worker_is_killed_goes_on_to_the_undisturbed_scores(some, tmp_path):
    folder, marker = tmp_path / "fits", tmp_path / "killed"

    def mortal(image_shape, n_classes, folder=str(folder), marker=str(marker)):
        """Build LeNet; once, when a fit is kept already, kill the process instead."""
        if list(Path(folder).glob("*.json")) and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return find_architecture("lenet5").build(image_shape, n_classes)

    arguments = {"names": {"mortal": mortal}, "cv": 5, "estimator": quick(), "checkpoint": folder}
    with pytest.raises(TerminatedWorkerError):
        compare_architectures(*some, **arguments, n_jobs=2)
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    assert 1 <= len(kept) < 5

    resumed = compare_architectures(*some, **arguments)
    assert {path: path.read_bytes() for path in kept} == kept
    undisturbed = cross_validate(quick(architecture="lenet5"), *some, cv=5)
    assert list(resumed.results[0].accuracies) == undisturbed["test_score"].tolist()


WRITE_FOR_EVER = """
import sys
from cnnclf._utils.files import write_atomically
contents = bytes(4_000_000), b"1" * 4_000_000
print("ready", flush=True)
while True:
    for content in contents:
        write_atomically(sys.argv[1], content)
"""


@pytest.mark.slow
def test_a_file_whose_writer_is_killed_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "model"
    contents = bytes(4_000_000), b"1" * 4_000_000
    write_atomically(path, contents[0])
    rng = np.random.default_rng(0)
    for n_kills in range(1, 6):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.05))
            writer.kill()
        assert path.read_bytes() in contents
        assert len(list(tmp_path.iterdir())) <= 1 + n_kills  # a killed process leaves one half of a file at most
    write_atomically(path, b"the next")
    assert path.read_bytes() == b"the next"


# Ctrl-C


class CtrlC(Callback):
    """What the user's Ctrl-C does at a moment of an epoch."""

    def __init__(self, moment, epoch):
        self.moment = moment
        self.epoch = epoch

    def strike(self, moment, net):
        if moment == self.moment and len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self.strike("before the epoch", net)

    def on_batch_begin(self, net, training=False, **kwargs):
        self.strike("before the first step" if training else "before validation", net)

    def on_grad_computed(self, net, **kwargs):
        self.strike("within a step", net)

    def on_batch_end(self, net, training=False, **kwargs):
        self.strike("after a step" if training else "in validation", net)


KINDS = {
    "plain": {},
    "averaging": {"weight_averaging": True},
    "stopping": {"early_stopping": True},
    "both": {"weight_averaging": True, "early_stopping": True},
}
kinds = pytest.mark.parametrize("parameters", KINDS.values(), ids=KINDS)


def interrupted_in(epoch):
    return exactly(f"Training interrupted by user in epoch {epoch}; the estimator is usable.")


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("epoch", [1, 3])
def test_the_history_of_an_interrupted_fit_is_that_of_its_whole_epochs(epoch, parameters, some, held_out, tmp_path):
    whole = quick(**parameters).fit(*some, **held_out)
    for moment in (
        "before the epoch",
        "before the first step",
        "within a step",
        "after a step",
        "before validation",
        "in validation",
    ):
        clf = quick(callbacks=[CtrlC(moment, epoch)], **parameters)
        with pytest.warns(UserWarning, match=interrupted_in(epoch)):
            clf.fit(*some, **held_out)
        assert untimed(clf.history_) == untimed(whole.history_[: epoch - 1]), moment
        assert np.isfinite(clf.predict_proba(some[0])).all(), moment
        assert not clf.module_.training, moment
        clf.save(tmp_path / "model.cnn")
        assert same_bits(CNNClassifier.load(tmp_path / "model.cnn"), clf, some[0]), moment
        assert same_bits(clf.set_params(callbacks=None).fit(*some, **held_out), whole, some[0]), moment


@kinds
def test_an_interrupt_before_a_step_leaves_the_weights_of_the_epoch_before(parameters, some, held_out):
    ended = quick(callbacks=[EndAfter(2)], **parameters).fit(*some, **held_out)
    for moment in ("before the epoch", "before the first step"):
        clf = quick(callbacks=[CtrlC(moment, 3)], **parameters)
        with pytest.warns(UserWarning, match=interrupted_in(3)):
            clf.fit(*some, **held_out)
        assert same_bits(clf, ended, some[0]), moment


class Spoil(Callback):
    """Set all weights to zero at the end of an epoch's training: the loss of every image is then ln 10."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, training=False, **kwargs):
        if not training and len(net.history) == self.epoch:
            with torch.no_grad():
                for parameter in net.module_.parameters():
                    parameter.zero_()


def test_an_interrupt_brings_back_the_best_weights(some, held_out):
    callbacks = [Spoil(4), CtrlC("after a step", 5)]
    clf = quick(max_epochs=5, early_stopping=True, callbacks=callbacks)
    with pytest.warns(UserWarning, match=interrupted_in(5)):
        clf.fit(*some, **held_out)
    losses = [row["valid_loss"] for row in clf.history_]
    assert losses[3] == pytest.approx(np.log(10), rel=1e-5)
    assert min(losses) < 2
    found = log_loss(held_out["y_val"], clf.predict_proba(held_out["X_val"]), labels=clf.classes_)
    assert found == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize(
    ("where", "whole_epochs"),
    [(EpochTimer, 0), (StopEarly, 1), (Progress, 1)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_interrupt_between_two_epochs_is_said_too(where, whole_epochs, some, monkeypatch):
    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, "on_epoch_end", interrupt)
    clf = quick(early_stopping=True, verbose=1)
    with pytest.warns(UserWarning, match=interrupted_in(whole_epochs + 1)):
        clf.fit(*some)
    assert len(clf.history_) == whole_epochs
    assert len(clf.predict(some[0])) == len(some[0])


@kinds
def test_an_interrupt_before_the_first_epoch(parameters, some, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Net, "get_split_datasets", interrupt)
    clf = quick(**parameters)
    with pytest.warns(UserWarning, match=interrupted_in(1)):
        clf.fit(*some)
    assert clf.history_ == []
    assert len(clf.predict(some[0])) == len(some[0])


class AtTheEdge(Callback):
    """An interrupt that skorch does not catch."""

    def __init__(self, moment):
        self.moment = moment

    def on_train_begin(self, net, **kwargs):
        if self.moment == "begin":
            raise KeyboardInterrupt

    def on_train_end(self, net, **kwargs):
        if self.moment == "end":
            raise KeyboardInterrupt


@pytest.mark.parametrize(("moment", "whole_epochs"), [("begin", 0), ("end", N_EPOCHS)])
@pytest.mark.parametrize("again", [False, True])
def test_an_interrupt_at_the_edge_of_training_is_raised_and_the_history_is_that_of_the_network(
    again, moment, whole_epochs, some
):
    clf = quick(max_epochs=1).fit(*some) if again else quick()
    clf.set_params(max_epochs=N_EPOCHS, callbacks=[AtTheEdge(moment)])
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*some)
    assert len(clf.history_) == whole_epochs
    whole = quick().fit(*some)
    assert same_bits(clf, whole, some[0]) == (whole_epochs == N_EPOCHS)
    assert same_bits(clf.set_params(callbacks=None).fit(*some), whole, some[0])


@pytest.mark.parametrize("fault", ["an interrupt", "an error"])
def test_a_second_fit_that_fails_before_training_leaves_no_old_network_with_new_labels(fault, some, monkeypatch):
    X, y = some
    clf = quick(max_epochs=1).fit(X, y)

    def interrupt(*_):
        raise KeyboardInterrupt

    if fault == "an interrupt":
        monkeypatch.setattr("cnnclf.classifier._classifier.remember", interrupt)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, np.array(list("abcdefghij"))[y])
    else:
        with pytest.raises(ValueError, match=r"\AExpected sample_weight of shape \(150,\)"):
            clf.fit(X, np.array(list("abcdefghij"))[y], sample_weight=[1.0])
    with pytest.raises(NotFittedError):
        clf.predict(X)


# Errors in training


class Fail(Callback):
    """A callback of one's own with a fault that shows at some moment, once it is armed."""

    def __init__(self, moment, error=RuntimeError, armed=False):
        self.moment = moment
        self.error = error
        self.armed = armed

    def strike(self, moment):
        if self.armed and moment == self.moment:
            raise self.error("a fault")

    def on_train_begin(self, net, **kwargs):
        self.strike("train begin")

    def on_epoch_begin(self, net, **kwargs):
        self.strike("epoch begin")

    def on_grad_computed(self, net, **kwargs):
        self.strike("within a step")

    def on_epoch_end(self, net, **kwargs):
        self.strike("epoch end")

    def on_train_end(self, net, **kwargs):
        self.strike("train end")


moments = pytest.mark.parametrize(
    "moment",
    ["train begin", "epoch begin", "within a step", "epoch end", "train end"],
    ids=lambda m: m.replace(" ", "_"),
)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_first_fit_that_diverged_is_not_fitted(method, some):
    X, y = some
    classes = {"classes": range(10)} if method == "partial_fit" else {}
    clf = quick(optimizer="sgd", lr=1e30)
    with pytest.raises(ValueError, match=r"\ATraining diverged in epoch 1: the loss is nan\. "):
        getattr(clf, method)(X * 1e3, y, **classes)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert same_bits(clf.set_params(lr=0.01, optimizer="adam").fit(X, y), quick(lr=0.01, optimizer="adam").fit(X, y), X)


@moments
@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_first_fit_whose_callback_fails_is_not_fitted(error, moment, some):
    clf = quick(callbacks=[Fail(moment, error, armed=True)], verbose=1)
    with pytest.raises(error, match=r"\Aa fault\Z"):
        clf.fit(*some)
    with pytest.raises(NotFittedError):
        clf.predict(some[0])


@kinds
def test_a_warm_start_that_diverged_has_its_earlier_weights(parameters, some, tmp_path):
    clf, other = (quick(warm_start=True, **parameters).fit(*some) for _ in range(2))
    clf.save(tmp_path / "before.cnn")
    with pytest.raises(ValueError, match=rf"\ATraining diverged in epoch {N_EPOCHS + 1}: the loss is nan\. "):
        clf.set_params(lr=1e30).fit(*some)
    clf.set_params(lr=other.lr).save(tmp_path / "after.cnn")
    # Weights, history and what the training data was.
    assert (tmp_path / "after.cnn").read_bytes() == (tmp_path / "before.cnn").read_bytes()
    assert same_bits(clf.fit(*some), other.fit(*some), some[0])
    assert untimed(clf.history_) == untimed(other.history_)


@moments
def test_a_warm_start_whose_callback_fails_has_its_earlier_weights(moment, some):
    fail = Fail(moment)
    clf, other = quick(warm_start=True, callbacks=[fail], verbose=1).fit(*some), quick(warm_start=True).fit(*some)
    fail.armed = True
    with pytest.raises(RuntimeError, match=r"\Aa fault\Z"):
        clf.fit(*some)
    assert same_bits(clf, other, some[0])
    assert untimed(clf.history_) == untimed(other.history_)
    assert same_bits(pickle.loads(pickle.dumps(clf)), other, some[0])
    fail.armed = False
    assert same_bits(clf.fit(*some), other.fit(*some), some[0])


@moments
@pytest.mark.parametrize("parameters", [{}, {"weight_averaging": True}, {"optimizer": "sgd"}], ids=str)
def test_a_partial_fit_that_fails_leaves_weights_and_optimiser_as_they_were(parameters, moment, some):
    fail = Fail(moment)
    clf, other = quick(callbacks=[fail], **parameters), quick(**parameters)
    for each in (clf, other):
        each.partial_fit(*some, classes=range(10))
    fail.armed = True
    with pytest.raises(RuntimeError, match=r"\Aa fault\Z"):
        clf.partial_fit(*some)
    fail.armed = False
    diverged = pytest.raises(ValueError, match=r"\ATraining diverged in epoch 2: ")
    with pytest.warns(UserWarning, match="another unit"), diverged:
        clf.set_params(lr=1e30).partial_fit(some[0] * 1e3, some[1])
    assert same_bits(clf, other, some[0])
    clf.set_params(lr=other.lr)
    for each in (clf, other):
        each.partial_fit(*some)
    assert same_bits(clf, other, some[0])
    assert untimed(clf.history_) == untimed(other.history_)


# Surroundings

FIT_AND_HASH = """
import hashlib
from cnnclf import CNNClassifier, load_digits
X, y = load_digits()
clf = CNNClassifier(
    "pool3_head1", max_epochs=2, augment="affine", early_stopping=True, weight_averaging=True, random_state=7
).fit(X[:200], y[:200])
sha256 = hashlib.sha256()
for name, tensor in clf.module_.state_dict().items():
    sha256.update(name.encode() + tensor.contiguous().numpy().tobytes())
print(sha256.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "environment"),
    [
        ("import onnxruntime", {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "3"}),
        ("import sklearn.ensemble", {"PYTHONHASHSEED": "2", "MKL_NUM_THREADS": "2", "MKL_DYNAMIC": "FALSE"}),
    ],
)
def test_the_same_seed_gives_the_same_weights_in_other_surroundings(first, environment, tmp_path, capsys):
    exec(FIT_AND_HASH, {})
    run = subprocess.run(
        [sys.executable, "-c", f"{first}\n{FIT_AND_HASH}"],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == capsys.readouterr().out
    assert len(run.stdout.strip()) == 64
