"""What `CNNClassifier(checkpoint=...)` promises: a fit that was stopped anywhere goes on to the very same bits."""

import itertools
import json
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback, EpochScoring, EpochTimer, LRScheduler
from torch import nn
from tqdm import tqdm

from cnnclf import CNNClassifier, compare_architectures
from cnnclf._utils.digest import place_of_digest, put_digest
from cnnclf.training import _callbacks, _identity
from cnnclf.training import _checkpoint as checkpoint
from cnnclf.training._checkpoint import KEY, OPTIMIZER_STATE, read_generation
from cnnclf.training._identity import readable
from cnnclf.training._net import OPTIMIZERS, Net
from cnnclf.training._runtime import session
from helpers import CHILDREN, EndAfter, exactly, untimed

N_EPOCHS, N_STEPS = 4, 3  # of `quick` on the 60 rows of `some`, in batches of 20


def quick(**parameters):
    """Four short epochs, seeded, but for what is asked for."""
    return CNNClassifier(**({"max_epochs": N_EPOCHS, "batch_size": 20, "random_state": 0} | parameters))


@pytest.fixture(scope="module")
def some(few_digits):
    X, y, *_ = few_digits
    return X[:60], y[:60]


def same(clf, other):
    """Whether two fitted classifiers are the same to the bit, batch-norm buffers and history included."""
    ours, theirs = clf.module_.state_dict(), other.module_.state_dict()
    return (
        list(ours) == list(theirs)
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
        and untimed(clf.history_) == untimed(other.history_)
    )


class Stopped(BaseException):
    """What nobody catches: within one process the nearest thing to being killed."""


def stop_after(monkeypatch, n_steps):
    """Break training off in the step after so many."""
    count, train_step = itertools.count(), Net.train_step

    def step(net, *args, **kwargs):
        if next(count) == n_steps:
            raise Stopped
        return train_step(net, *args, **kwargs)

    monkeypatch.setattr(Net, "train_step", step)


def fit_until(n_steps, clf, *data, **more):
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, n_steps)
        with pytest.raises(Stopped):
            clf.fit(*data, **more)


def count_steps(monkeypatch):
    """List the epochs that steps are taken in."""
    taken, train_step = [], Net.train_step

    def step(net, *args, **kwargs):
        taken.append(len(net.history))
        return train_step(net, *args, **kwargs)

    monkeypatch.setattr(Net, "train_step", step)
    return taken


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


# Going on


def dropout_net(image_shape, n_classes):
    return nn.Sequential(nn.Conv2d(image_shape[0], 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(n_classes))


def net_with_an_idle_part(image_shape, n_classes):
    class Idle(nn.Flatten):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.ones(2))

    return nn.Sequential(Idle(), nn.LazyLinear(n_classes))


def brighten(x):
    return x.float() * torch.rand(len(x), 1, 1, 1)


TRAININGS = {
    "plain": {},
    "averaged": {"weight_averaging": True},
    "early stopping": {"early_stopping": True},
    "averaged, early stopping": {"weight_averaging": True, "early_stopping": True},
    "dropout": {"architecture": dropout_net},
    "a parameter without gradient": {"architecture": net_with_an_idle_part},
    "shift": {"augment": "shift"},
    "flip and a function": {"augment": ["flip", brighten]},
    "sgd": {"optimizer": "sgd"},
    "muon": {"optimizer": "muon"},
    "adam": {"optimizer": "adam"},
    "bfloat16": {"precision": "bfloat16"},
    "balanced": {"class_weight": "balanced"},
    "cosine": {"lr_schedule": "cosine"},
    "constant": {"lr_schedule": "constant"},
}


@pytest.mark.parametrize("parameters", TRAININGS.values(), ids=TRAININGS.keys())
def test_a_fit_that_was_stopped_in_any_epoch_comes_to_the_same_bits(parameters, some, tmp_path, monkeypatch):
    whole = quick(**parameters).fit(*some)
    for n_whole in range(N_EPOCHS):
        folder = tmp_path / str(n_whole)
        fit_until(n_whole * N_STEPS + 1, quick(checkpoint=folder, **parameters), *some)
        with monkeypatch.context() as patch:
            taken = count_steps(patch)
            resumed = quick(checkpoint=folder, **parameters).fit(*some)
        assert sorted(set(taken)) == list(range(n_whole + 1, N_EPOCHS + 1))
        assert same(resumed, whole)
        assert files(folder) == ["epoch-0003.checkpoint", "epoch-0004.checkpoint"]


def test_a_checkpoint_changes_no_bit(some, tmp_path):
    assert same(quick(checkpoint=tmp_path).fit(*some), quick().fit(*some))


def test_a_fit_that_is_stopped_again_and_again(some, tmp_path):
    whole = quick(augment="shift", weight_averaging=True).fit(*some)
    clf = quick(augment="shift", weight_averaging=True, checkpoint=tmp_path)
    for _ in range(N_EPOCHS - 1):  # each time one epoch further
        fit_until(N_STEPS + 1, clf, *some)
    assert same(clf.fit(*some), whole)


def test_weights_of_samples_and_validation_data_are_part_of_the_data(few_digits, some, tmp_path):
    weight = np.random.default_rng(0).random(60)
    data = {"sample_weight": weight, "X_val": few_digits[2][:30], "y_val": few_digits[3][:30]}
    whole = quick().fit(*some, **data)
    fit_until(2 * N_STEPS, quick(checkpoint=tmp_path), *some, **data)
    assert same(quick(checkpoint=tmp_path).fit(*some, **data), whole)


def test_rows_in_another_order_are_the_same_data(some, tmp_path):
    X, y = some
    fit_until(2 * N_STEPS, quick(checkpoint=tmp_path), X, y)
    assert same(quick(checkpoint=tmp_path).fit(X[::-1], y[::-1]), quick().fit(X, y))


@pytest.mark.parametrize("n_whole", range(1, 4))
def test_early_stopping_goes_on_counting_and_restores_the_best_weights(n_whole, few_digits, some, tmp_path):
    X_val, y_val = few_digits[2][:40], few_digits[3][:40]
    wrong = {"X_val": X_val, "y_val": 9 - y_val}  # the better the network, the worse
    parameters = {"max_epochs": 20, "early_stopping": True, "patience": 3}
    whole = quick(**parameters).fit(*some, **wrong)
    losses = [row["valid_loss"] for row in whole.history_]
    assert len(losses) == np.argmin(losses) + 1 + 3 < 20  # it stopped, three epochs after the best one

    fit_until(n_whole * N_STEPS + 2, quick(checkpoint=tmp_path, **parameters), *some, **wrong)
    resumed = quick(checkpoint=tmp_path, **parameters).fit(*some, **wrong)
    assert same(resumed, whole)
    assert same(quick(checkpoint=tmp_path, **parameters).fit(*some, **wrong), whole)  # finished, though before the end


def test_a_compiled_network(some, tmp_path, monkeypatch):
    # torch traces the network but leaves out its C++ compiler, which would take a quarter of a minute.
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: compile_(*args, **kwargs, backend="eager"))
    parameters = {"compile": True, "early_stopping": True}
    whole = quick(**parameters).fit(*some)
    fit_until(2 * N_STEPS + 1, quick(checkpoint=tmp_path, **parameters), *some)
    assert same(quick(checkpoint=tmp_path, **parameters).fit(*some), whole)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=["None", "RandomState"])
def test_a_seed_that_is_drawn_is_kept(random_state, some, tmp_path):
    fit_until(2 * N_STEPS + 1, quick(random_state=random_state, checkpoint=tmp_path), *some)
    resumed = quick(random_state=random_state, checkpoint=tmp_path).fit(*some)
    assert same(resumed, quick(random_state=Seed(resumed.seed_)).fit(*some))


class Seed(np.random.RandomState):
    """Draws the numbers that it is given."""

    def __init__(self, seed):
        super().__init__()
        self.seed_ = seed

    def randint(self, *_):
        return self.seed_


def test_the_callers_random_numbers_are_left_alone(some, tmp_path):
    for n_steps in (4, 100):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        if n_steps < N_EPOCHS * N_STEPS:
            fit_until(n_steps, quick(checkpoint=tmp_path), *some)
        else:
            quick(checkpoint=tmp_path).fit(*some)
        assert torch.equal(torch.get_rng_state(), before)


# Finished fits


def test_a_finished_fit_is_read_and_trains_nothing(some, tmp_path):
    parameters = {"weight_averaging": True, "early_stopping": True}
    clf = quick(checkpoint=tmp_path, **parameters).fit(*some)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 0)
        read = quick(checkpoint=tmp_path, **parameters).fit(*some)
    assert same(read, clf)
    assert read.history_ == clf.history_  # times included
    assert not read.net_.interrupted_
    assert read.net_.ended_
    assert clf.net_.checkpoint_ is None  # no file's content goes into pickles
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    # Whatever comes next is the same, too.
    assert same(read.partial_fit(*some), clf.partial_fit(*some))
    assert same(pickle.loads(pickle.dumps(read)), read)


def test_the_progress_bar_may_come_later_and_begins_where_training_does(some, tmp_path, monkeypatch):
    bars = []

    def bar(*args, **kwargs):
        bars.append(kwargs)
        return tqdm(*args, **kwargs)

    fit_until(N_STEPS + 1, quick(checkpoint=tmp_path), *some)
    monkeypatch.setattr(_callbacks, "tqdm", bar)
    assert same(quick(checkpoint=tmp_path, verbose=1).fit(*some), quick().fit(*some))
    assert [(kwargs["initial"], kwargs["total"]) for kwargs in bars] == [(N_STEPS, N_EPOCHS * N_STEPS)]


def test_a_fit_that_a_callback_has_ended_is_finished(some, tmp_path):
    clf = quick(callbacks=[EndAfter(2)], checkpoint=tmp_path).fit(*some)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 0)
        assert same(quick(callbacks=[EndAfter(2)], checkpoint=tmp_path).fit(*some), clf)
    assert len(clf.history_) == 2


class Interrupt(Callback):
    """The user's Ctrl-C, in the given moment of the third epoch."""

    there = True

    def __init__(self, moment):
        self.moment = moment

    def notify(self, moment, net):
        if self.there and moment == self.moment and len(net.history) == 3:
            type(self).there = False
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self.notify("begin", net)

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.notify("batch", net)


@pytest.mark.parametrize("moment", ["begin", "batch"])
def test_an_interrupted_fit_is_a_fit_and_goes_on(moment, some, tmp_path):
    Interrupt.there = True
    clf = quick(callbacks=[Interrupt(moment)], checkpoint=tmp_path)
    with pytest.warns(UserWarning, match=r"\ATraining interrupted by user in epoch 3; the estimator is usable\.\Z"):
        clf.fit(*some)
    assert len(clf.history_) == 2
    assert len(clf.predict(some[0])) == 60
    assert files(tmp_path) == ["epoch-0001.checkpoint", "epoch-0002.checkpoint"]
    assert same(clf.fit(*some), quick().fit(*some))


def test_an_interrupt_at_the_end_of_an_epoch_is_no_callbacks(some, tmp_path, monkeypatch):
    on_epoch_end = EpochTimer.on_epoch_end

    def interrupt(timer, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt
        on_epoch_end(timer, net, **kwargs)

    clf = quick(callbacks=[EndAfter(4)], checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(EpochTimer, "on_epoch_end", interrupt)
        with pytest.warns(UserWarning, match=r"interrupted by user in epoch 3; "):
            clf.fit(*some)
    assert not clf.net_.ended_
    assert same(clf.fit(*some), quick().fit(*some))


@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_an_interrupt_while_writing_is_the_users(epoch, some, tmp_path, monkeypatch):
    write = checkpoint.write_atomically

    def interrupted(path, content):
        if path.name == f"epoch-{epoch:04d}.checkpoint":
            raise KeyboardInterrupt
        write(path, content)

    clf = quick(checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", interrupted)
        if epoch == N_EPOCHS:  # training is over, and so is what skorch catches
            with pytest.raises(KeyboardInterrupt):
                clf.fit(*some)
        else:
            with pytest.warns(UserWarning, match=rf"interrupted by user in epoch {epoch + 1}; "):
                clf.fit(*some)
    assert len(clf.history_) == epoch
    assert len(clf.predict(some[0])) == 60
    assert same(clf.fit(*some), quick().fit(*some))


def test_callbacks_see_a_net_that_is_where_it_was(some, tmp_path):
    # skorch's EpochScoring looks for the best score of the epochs before: only the first can be the best here.
    parameters = {"callbacks": [EpochScoring(minus_epochs, name="score", lower_is_better=False, on_train=True)]}
    fit_until(2 * N_STEPS + 1, quick(checkpoint=tmp_path, **parameters), *some)
    clf = quick(checkpoint=tmp_path, **parameters).fit(*some)
    assert clf.net_.history[:, "score"] == [-1, -2, -3, -4]
    assert clf.net_.history[:, "score_best"] == [True, False, False, False]


def minus_epochs(net, X, y):
    return -len(net.history)


# Another fit


def other_net(image_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(n_classes))


DIFFERENT = {
    "lr": ({"lr": 0.02}, "lr was 0.01 and is 0.02"),
    "epochs": ({"max_epochs": 5}, "max_epochs was 4 and is 5"),
    "two": ({"lr": 1, "optimizer": "sgd"}, "lr was 0.01 and is 1; optimizer was 'muon' and is 'sgd'"),
    "seed": ({"random_state": 1}, "random_state was 0 and is 1"),
    "no seed": ({"random_state": None}, "random_state was 0 and is None"),
    "class weight": ({"class_weight": {3: 2.0}}, "class_weight was None and is {3: 2.0}"),
    "augment": ({"augment": ["shift", "erase"]}, "augment was 'auto' and is ['shift', 'erase']"),
    "precision": ({"precision": "bfloat16"}, "precision was 'float32' and is 'bfloat16'"),
}


@pytest.fixture(scope="module")
def begun(some, tmp_path_factory):
    """The folder of a fit that stopped in its third epoch."""
    folder = tmp_path_factory.mktemp("begun")
    fit_until(2 * N_STEPS + 1, quick(checkpoint=folder, precision="float32"), *some)
    return folder


def of_another_fit(folder, difference):
    return exactly(
        f"Expected a checkpoint of this fit; {folder} has another: {difference}. Continue it as it was begun, "
        "delete it to start anew, or pass another one; {fit} in its name gives each fit a folder of its own."
    )


@pytest.mark.parametrize(("parameters", "difference"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_other_parameters_are_refused_by_name(parameters, difference, begun, some):
    before = files(begun)
    with pytest.raises(ValueError, match=of_another_fit(begun, difference)):
        quick(**({"checkpoint": begun, "precision": "float32"} | parameters)).fit(*some)
    assert files(begun) == before


def test_other_data_are_refused_by_name(begun, some):
    X, y = some
    clf = quick(checkpoint=begun, precision="float32")
    for data, difference in [
        ((X[1:], y[1:]), "the training data differs"),
        ((X, y, np.arange(1, 61) / 60), "the training data differs"),
        ((X, y, None, X, y), "the validation data differs"),
        ((X, y + 1), "the classes differ"),
        ((X.astype(np.float32), y), "the training data differs"),
    ]:
        with pytest.raises(ValueError, match=of_another_fit(begun, difference)):
            clf.fit(*data)


def test_another_version_processor_or_number_of_threads_is_refused(begun, some, monkeypatch):
    versions = _identity.version
    clf = quick(checkpoint=begun, precision="float32")
    with monkeypatch.context() as patch:
        patch.setattr(_identity, "version", lambda name: "9.9" if name == "torch" else versions(name))
        with pytest.raises(ValueError, match=of_another_fit(begun, f"torch was '{versions('torch')}' and is '9.9'")):
            clf.fit(*some)
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "abacus")
        with pytest.raises(ValueError, match=r"has another: processor was '.*' and is 'abacus'\. "):
            clf.fit(*some)
    monkeypatch.setenv("CNNCLF_NUM_THREADS", "2")
    with pytest.raises(ValueError, match=of_another_fit(begun, "n_threads was '1' and is '2'")):
        clf.fit(*some)


def test_functions_differ_by_their_code(some, tmp_path):
    quick(architecture=dropout_net, checkpoint=tmp_path, max_epochs=1).fit(*some)
    here = re.escape(__name__)
    names = rf"architecture was {here}\.dropout_net \(code \w{{8}}\) and is {here}\.other_net \(code \w{{8}}\)"
    with pytest.raises(ValueError, match=names):
        quick(architecture=other_net, checkpoint=tmp_path, max_epochs=1).fit(*some)


def test_callbacks_differ_by_class_and_parameters(some, tmp_path):
    quick(callbacks=[("end", EndAfter(2)), LRScheduler], lr_schedule="constant", checkpoint=tmp_path).fit(*some)
    named = r"\[\['end', \[helpers\.EndAfter \(code \w{8}\), {'epoch': %d}\]\], skorch.*LRScheduler .*\]"
    with pytest.raises(ValueError, match=f"has another: callbacks was {named % 2} and is {named % 3}. Continue"):
        quick(callbacks=[("end", EndAfter(3)), LRScheduler], lr_schedule="constant", checkpoint=tmp_path).fit(*some)


class Nameless(Callback):
    def __init__(self, thing):
        self.thing = thing


def test_what_no_file_can_name_is_refused(some, tmp_path):
    sentence = r"\AExpected a checkpoint\'s {0} to have a name that a file can hold; got {0}=.*\. Pass {0} as {1}, "
    with pytest.raises(ValueError, match=sentence.format("callbacks", "None")):
        quick(callbacks=[Nameless(object())], checkpoint=tmp_path).fit(*some)
    with pytest.raises(ValueError, match=sentence.format("augment", "a function or a class of a module")):
        quick(augment=nn.Identity(), checkpoint=tmp_path).fit(*some)


def test_two_ways_to_go_on_are_one_too_many(some, tmp_path):
    sentence = (
        "Expected warm_start=True or a checkpoint, which are two ways to continue; got both, with "
        f"checkpoint={str(tmp_path)!r}. "
        "Pass warm_start=False, or checkpoint=None."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(warm_start=True, checkpoint=str(tmp_path)).fit(*some)


def test_partial_fit_neither_reads_nor_writes_checkpoints(some, tmp_path):
    quick(checkpoint=tmp_path, warm_start=True).partial_fit(*some, classes=range(10))
    clf = quick(checkpoint=tmp_path / "there").fit(*some)
    before = files(tmp_path / "there")
    clf.partial_fit(*some)
    assert len(clf.history_) == N_EPOCHS + 1
    assert files(tmp_path) == ["there"]
    assert files(tmp_path / "there") == before


@pytest.mark.parametrize("values", [({"a": 1}, "{'a': 1}"), ([1, "b"], "[1, 'b']"), (None, "None")])
def test_what_is_named_reads_well(values):
    value, text = values
    assert readable(_identity.canonical(value)) == text


# Searches


def count_epochs(monkeypatch):
    """List the learning rate of every epoch that is trained."""
    epochs, on_epoch_end = [], Net.on_epoch_end

    def on_end(net, *args, **kwargs):
        epochs.append(net.lr)
        return on_epoch_end(net, *args, **kwargs)

    monkeypatch.setattr(Net, "on_epoch_end", on_end)
    return epochs


def search(folder=None):
    where = None if folder is None else f"{folder}/{{fit}}"
    return GridSearchCV(quick(max_epochs=2, checkpoint=where), {"lr": [0.001, 0.01]}, cv=2, error_score="raise")


def scores(fitted):
    return {name: list(values) for name, values in fitted.cv_results_.items() if "time" not in name}


def test_a_search_that_was_stopped_repeats_no_finished_fit(some, tmp_path, monkeypatch):
    whole = search().fit(*some)  # 2 candidates × 2 folds, and the best one on all rows: 5 fits of 2 epochs
    fit_until(2 * 2 * 2 + 3, search(tmp_path), *some)  # 30 rows are 2 steps: 2 fits of 2 epochs, 1 epoch and 1 step
    assert len(files(tmp_path)) == 3

    with monkeypatch.context() as patch:
        epochs = count_epochs(patch)
        resumed = search(tmp_path).fit(*some)
    # The other epoch of the third fit, and two of the fourth and the last one.
    assert epochs == [0.01] * 3 + [resumed.best_params_["lr"]] * 2
    assert scores(resumed) == scores(whole)
    assert same(resumed.best_estimator_, whole.best_estimator_)

    with monkeypatch.context() as patch:
        epochs = count_epochs(patch)
        assert scores(search(tmp_path).fit(*some)) == scores(whole)
    assert epochs == []
    assert len(files(tmp_path)) == 5


def test_folds_and_architectures_have_places_of_their_own(some, tmp_path, monkeypatch):
    clf = quick(max_epochs=1, checkpoint=tmp_path / "{fit}")
    expected = cross_val_score(quick(max_epochs=1), *some, cv=2).tolist()
    assert cross_val_score(clf, *some, cv=2, n_jobs=2).tolist() == expected
    assert len(files(tmp_path)) == 2
    first = compare_architectures(*some, ["tiny", "lenet5"], cv=2, estimator=clf)
    assert len(files(tmp_path)) == 6
    epochs = count_epochs(monkeypatch)
    again = compare_architectures(*some, ["tiny", "lenet5"], cv=2, estimator=clf)
    assert epochs == []
    for one, other in zip(first.results, again.results, strict=True):
        assert one.accuracies == other.accuracies


def test_the_place_of_a_comparison_does_not_depend_on_that_of_its_fits(some, tmp_path, monkeypatch):
    where = {"cv": 2, "checkpoint": tmp_path / "comparison"}
    compare_architectures(*some, ["lenet5"], estimator=quick(max_epochs=1), **where)
    epochs = count_epochs(monkeypatch)
    clf = quick(max_epochs=1, checkpoint=tmp_path / "{fit}")
    compare_architectures(*some, ["lenet5"], estimator=clf, **where)
    assert epochs == []


def test_a_place_of_its_own_needs_a_seed(some, tmp_path):
    with pytest.raises(ValueError, match=r"got random_state=None\. Pass random_state as an integer, or check"):
        quick(random_state=None, checkpoint=tmp_path / "{fit}").fit(*some)
    assert files(tmp_path) == []


# Files


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped bit": damage,
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "foreign": lambda path: path.write_bytes(save({"w": torch.ones(2)})),
    "pickle": lambda path: path.write_bytes(pickle.dumps(1)),
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_makes_room_for_the_one_before(harm, some, tmp_path):
    fit_until(3 * N_STEPS + 1, quick(checkpoint=tmp_path), *some)
    assert files(tmp_path) == ["epoch-0002.checkpoint", "epoch-0003.checkpoint"]
    harm(tmp_path / "epoch-0003.checkpoint")
    sentence = f"{tmp_path / 'epoch-0003.checkpoint'} is damaged; continuing from epoch-0002.checkpoint."
    with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
        clf = quick(checkpoint=tmp_path).fit(*some)
    assert [warning.filename for warning in caught] == [__file__]  # it points at the call of fit
    assert same(clf, quick().fit(*some))
    assert files(tmp_path) == ["epoch-0003.checkpoint", "epoch-0004.checkpoint"]


def test_a_damaged_file_never_pushes_a_whole_one_out(some, tmp_path):
    fit_until(3 * N_STEPS + 1, quick(checkpoint=tmp_path), *some)
    damage(tmp_path / "epoch-0003.checkpoint")
    with pytest.warns(UserWarning, match="is damaged"):
        fit_until(1, quick(checkpoint=tmp_path), *some)
    assert files(tmp_path) == ["epoch-0002.checkpoint"]


def test_nothing_but_damaged_files_is_an_error(some, tmp_path):
    quick(checkpoint=tmp_path).fit(*some)
    for path in tmp_path.iterdir():
        damage(path)
    sentence = f"Expected a whole checkpoint in {tmp_path}; got only damaged ones. Delete it to start anew."
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(checkpoint=tmp_path).fit(*some)


def test_every_flipped_bit_of_the_header_is_found(some, tmp_path):
    quick(checkpoint=tmp_path, max_epochs=1).fit(*some)
    path = tmp_path / "epoch-0001.checkpoint"
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(8, 8 + int.from_bytes(content[:8], "little"), 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert read_generation(path) is None


def forge(path, change):
    """Change tensors and JSON of a file, and seal it again."""
    content = path.read_bytes()
    tensors = load(content)
    told = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][KEY])
    change(tensors, told)
    told = {"sha256": "0" * 64} | {name: value for name, value in told.items() if name != "sha256"}
    content = save(tensors, {KEY: json.dumps(told)})
    path.write_bytes(put_digest(content, place_of_digest(KEY).search(content).start(1)))


def setting(name, value):
    return lambda tensors, told: tensors.__setitem__(name, value)


def progress(**values):
    return lambda tensors, told: told["progress"].update(values)


BIAS = "module.output.bias"
TENSORS = "expected the tensors of this training; {} is missing or too many."
OTHERS = "expected the history and the counters of this training; got others."
FORGED = {
    "a tensor too few": (lambda tensors, told: tensors.pop(BIAS), TENSORS.format(BIAS)),
    "a tensor too many": (setting("module.x", torch.ones(1)), TENSORS.format("module.x")),
    "no random numbers": (lambda tensors, told: tensors.pop("random.cpu"), TENSORS.format("random.cpu")),
    "no states of random numbers": (
        lambda tensors, told: tensors["random.cpu"].zero_(),
        "expected states of torch's random number generators; got others.",
    ),
    "a part of the optimiser": (
        lambda tensors, told: tensors.pop("exp_avg.output.bias"),
        TENSORS.format("exp_avg.output.bias"),
    ),
    "shape": (
        setting(BIAS, torch.ones(11)),
        f"expected {BIAS} of shape (10,) and type torch.float32; got (11,) and torch.float32.",
    ),
    "type": (
        setting(BIAS, torch.ones(10, dtype=torch.float64)),
        f"expected {BIAS} of shape (10,) and type torch.float32; got (10,) and torch.float64.",
    ),
    "not finite": (setting(BIAS, torch.full((10,), torch.inf)), f"expected finite numbers; {BIAS} has others."),
    "no rates at all": (lambda tensors, told: told["progress"].pop("lr"), OTHERS),
    "epochs too many": (lambda tensors, told: told["progress"].update(history=told["progress"]["history"] * 3), OTHERS),
    "no epochs": (progress(history=[1, 2]), OTHERS),
    "no loss": (lambda tensors, told: told["progress"]["history"][0].pop("train_loss"), OTHERS),
    "no rates": (progress(lr=[]), OTHERS),
    "text as a rate": (progress(lr=["1", "1"]), OTHERS),
    "average": (progress(average={"n_updates": -1, "is_shown": True}), OTHERS),
    "no average": (progress(average=None), OTHERS),
    "early stopping": (progress(early_stopping={"misses": "0", "threshold": 1, "best_epoch": 1}), OTHERS),
}


@pytest.mark.parametrize(("change", "reason"), FORGED.values(), ids=FORGED.keys())
def test_a_strangers_file_is_checked_against_the_network(change, reason, some, tmp_path):
    parameters = {"checkpoint": tmp_path, "weight_averaging": True, "early_stopping": True, "architecture": "lenet5"}
    fit_until(2 * N_STEPS + 1, quick(**parameters), *some)
    path = tmp_path / "epoch-0002.checkpoint"
    forge(path, change)
    with pytest.raises(ValueError, match=exactly(f"{path}: {reason} Delete {tmp_path} to start anew.")):
        quick(**parameters).fit(*some)


@pytest.mark.parametrize(
    "change", [{"schema": 1}, {"seed": -1}, {"seed": "0"}, {"probe": []}, {"progress": {}}, {"finished": 1}]
)
def test_another_schema_is_refused(change, some, tmp_path):
    fit_until(1, quick(checkpoint=tmp_path), *some)
    path = tmp_path / "epoch-0000.checkpoint"
    forge(path, lambda tensors, told: told.update(change))
    sentence = (
        f"{path}: expected a checkpoint of schema 2; got another. "
        f"Continue with the version of cnnclf that wrote it, or delete {tmp_path} to start anew."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        quick(checkpoint=tmp_path).fit(*some)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_that_an_optimiser_keeps_is_in_the_table(name):
    weight = nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS[name]([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    assert sorted(optimizer.state[weight]) == sorted(OPTIMIZER_STATE[name])


def test_training_images_are_not_in_the_files(some, tmp_path):
    X, y = some
    quick(checkpoint=tmp_path).fit(X, y)
    for path in tmp_path.iterdir():
        assert not any(image.tobytes() in path.read_bytes() for image in X)


def test_what_killed_processes_left_is_deleted_in_time(some, tmp_path):
    old, young = (tmp_path / f".epoch-0001.checkpoint.{name}" for name in ("old", "young"))
    theirs = tmp_path / "notes.txt"
    for path in (old, young, theirs):
        path.write_bytes(b"")
        os.utime(path, (0, 0) if path is not young else None)
    quick(checkpoint=tmp_path).fit(*some)
    assert files(tmp_path) == [young.name, "epoch-0003.checkpoint", "epoch-0004.checkpoint", theirs.name]


# Where nothing can be written


def full_after(n_files):
    """What writes files until the disk is full."""
    count, write = itertools.count(), checkpoint.write_atomically

    def write_or_fail(path, content):
        if next(count) >= n_files:
            raise OSError(28, "No space left on device")
        write(path, content)

    return write_or_fail


def test_a_disk_that_is_full_at_once_trains_nothing(some, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "write_atomically", full_after(0))
    stop_after(monkeypatch, 0)
    sentence = (
        f"{tmp_path / 'epoch-0000.checkpoint'} could not be written (No space left on device), so nothing was trained. "
        "Make room, or pass another folder as checkpoint."
    )
    with pytest.raises(OSError, match=exactly(sentence)):
        quick(checkpoint=tmp_path).fit(*some)


@pytest.mark.parametrize("n_files", [1, 2, 4])
def test_a_disk_that_gets_full_costs_no_model(n_files, some, tmp_path, monkeypatch):
    whole = quick().fit(*some)
    clf = quick(checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full_after(n_files))
        sentence = (
            f"{tmp_path / f'epoch-{n_files:04d}.checkpoint'} could not be written (No space left on device). "
            "Training continued without it: the fitted model is in memory, so save it elsewhere, or make room and fit "
            "again."
        )
        with pytest.raises(OSError, match=exactly(sentence)):
            clf.fit(*some)
    assert same(clf, whole)
    clf.save(tmp_path / "model.cnn")
    assert (CNNClassifier.load(tmp_path / "model.cnn").predict_proba(some[0]) == whole.predict_proba(some[0])).all()
    # What was kept before is there, and fit goes on from it.
    assert f"epoch-{n_files - 1:04d}.checkpoint" in files(tmp_path)
    assert same(quick(checkpoint=tmp_path).fit(*some), whole)


def test_a_folder_that_becomes_read_only(some, begun, monkeypatch):
    def refused(path, content):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "write_atomically", refused)
    with pytest.raises(OSError, match=r"epoch-0002\.checkpoint could not be written \(Permission denied\), so nothing"):
        quick(checkpoint=begun, precision="float32").fit(*some)


def test_a_folder_that_cannot_be_made(some, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        sentence = f"Expected checkpoint to be a folder; {path} is a file. Pass another name."
        with pytest.raises(ValueError, match=exactly(sentence)):
            quick(checkpoint=path).fit(*some)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    sentence = "new could not be made (Permission denied), so nothing was trained. Pass another folder as checkpoint."
    with pytest.raises(OSError, match=exactly(sentence)):
        quick(checkpoint="new").fit(*some)


# Copies


def test_pickles_keep_the_parameter(some, tmp_path):
    clf = quick(checkpoint=str(tmp_path / "run")).fit(*some)
    assert clf.get_params()["checkpoint"] == str(tmp_path / "run")
    assert pickle.loads(pickle.dumps(clf)).checkpoint == str(tmp_path / "run")


# Threads


def test_seeded_sessions_of_several_threads_draw_what_each_would_draw_alone():
    def draw(seed, pause=0.0):
        with session("cpu", (seed,)):
            first = torch.rand(3)
            time.sleep(pause)
            with session("cpu", (seed, 1)):  # a fit within a fit
                inside = torch.rand(3)
            return torch.cat([first, inside, torch.rand(3)]).tolist()

    alone = [draw(seed) for seed in range(4)]
    together = [None] * 4

    def note(seed):
        together[seed] = draw(seed, pause=0.02)

    threads = [threading.Thread(target=note, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_fits_in_threads_come_to_the_same_bits(some):
    alone = [quick(augment="shift", random_state=seed).fit(*some) for seed in range(3)]
    together = [quick(augment="shift", random_state=seed) for seed in range(3)]
    threads = [threading.Thread(target=clf.fit, args=some) for clf in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same, together, alone))


def test_the_same_fit_twice_at_once_in_one_place(some, tmp_path):
    both = [quick(checkpoint=tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=clf.fit, args=some) for clf in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = quick().fit(*some)
    assert all(same(clf, whole) for clf in [*both, quick(checkpoint=tmp_path).fit(*some)])


# Processes


def fit_and_die(folder, epoch, moment, some):
    """Fit, and be killed before or after a file gets its name, or by half of its bytes."""

    def die(path):
        if path.name == f"epoch-{epoch:04d}.checkpoint":
            os.kill(os.getpid(), signal.SIGKILL)

    write, replace = checkpoint.write_atomically, Path.replace

    def write_and_die(path, content):
        if moment == "half a file" and path.name == f"epoch-{epoch:04d}.checkpoint":
            (path.parent / f".{path.name}.half").write_bytes(content[: len(content) // 2])
            die(path)
        write(path, content)
        if moment == "named":
            die(path)

    def die_and_replace(path, target):
        if moment == "unnamed":
            die(Path(target))
        return replace(path, target)

    checkpoint.write_atomically, Path.replace = write_and_die, die_and_replace
    quick(weight_averaging=True, augment="shift", checkpoint=folder).fit(*some)


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "moment"), [(2, "half a file"), (1, "unnamed"), (3, "named")])
def test_a_killed_process_leaves_what_another_goes_on_from(epoch, moment, some, tmp_path):
    process = CHILDREN.Process(target=fit_and_die, args=(tmp_path, epoch, moment, some))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    newest = epoch if moment == "named" else epoch - 1
    assert files(tmp_path)[-1] == f"epoch-{newest:04d}.checkpoint"
    resumed = quick(weight_averaging=True, augment="shift", checkpoint=tmp_path).fit(*some)
    assert same(resumed, quick(weight_averaging=True, augment="shift").fit(*some))
