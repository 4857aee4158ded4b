"""What `compare_architectures` promises: `cross_validate`'s scores with every fold's history, kept and gone on with."""

import functools
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, cross_validate
from skorch.callbacks import Callback, EpochTimer
from torch import nn

from cnnclf import CNNClassifier, compare_architectures
from cnnclf.architectures._summary import LayerSummary
from cnnclf.model_selection._compare import warm_up
from cnnclf.model_selection._comparison import ArchitectureResult, Comparison, Fold
from helpers import exactly, run_in_child

NAMES = ["tiny", "lenet5"]


def quick(**parameters):
    """Two epochs, seeded."""
    return CNNClassifier(**({"max_epochs": 2, "random_state": 0} | parameters))


def accuracies(comparison):
    return {result.name: list(result.accuracies) for result in comparison.results}


def cross_validated(X, y, names=NAMES, cv=3, **parameters):
    clf = quick(**parameters)
    return {
        name: cross_validate(clf.set_params(architecture=name), X, y, cv=cv)["test_score"].tolist() for name in names
    }


@pytest.fixture(scope="module")
def some(few_digits):
    return few_digits[:2]


@pytest.fixture(scope="module")
def comparison(some):
    return compare_architectures(*some, NAMES, cv=3, estimator=quick())


# Scores


def test_the_accuracies_are_those_of_cross_validate(comparison, some):
    assert accuracies(comparison) == cross_validated(*some)
    assert comparison.n_folds == 3
    assert len({accuracy for result in comparison.results for accuracy in result.accuracies}) > 2


@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(2, shuffle=True, random_state=1),
        KFold(2, shuffle=True, random_state=1),
        ShuffleSplit(2, test_size=50, train_size=150, random_state=1),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_any_splitter_gives_what_it_gives_cross_validate(cv, some):
    comparison = compare_architectures(*some, ["lenet5"], cv=cv, estimator=quick())
    assert accuracies(comparison) == cross_validated(*some, names=["lenet5"], cv=cv)
    sizes = [(len(train), len(test)) for train, test in cv.split(*some)]
    assert [(fold.n_train, fold.n_test) for fold in comparison.results[0].folds] == sizes


def test_folds_may_be_given_as_lists_or_as_masks(some):
    X, y = some
    folds = list(StratifiedKFold(2).split(X, y))
    masks = [tuple(np.isin(np.arange(len(y)), part) for part in fold) for fold in folds]
    lists = [tuple(part.tolist() for part in fold) for fold in folds]
    expected = cross_validated(X, y, names=["lenet5"], cv=folds)
    for cv in (masks, lists):
        comparison = compare_architectures(X, y, ["lenet5"], cv=cv, estimator=quick())
        assert accuracies(comparison) == expected
        assert [(fold.n_train, fold.n_test) for fold in comparison.results[0].folds] == [(200, 200)] * 2


def test_all_architectures_see_the_same_folds_though_each_split_is_another(some):
    cv = ShuffleSplit(2, test_size=50, random_state=None)
    comparison = compare_architectures(*some, {"one": "lenet5", "other": "lenet5"}, cv=cv, estimator=quick())
    losses = [[row["valid_loss"] for fold in result.folds for row in fold.history] for result in comparison.results]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4


def test_the_history_measures_the_fold_that_is_held_out_and_changes_no_weight(comparison, some):
    X, y = some
    # Without validation data: its networks are those of a fit that was measured on nothing.
    fits = cross_validate(quick(architecture="lenet5"), X, y, cv=3, return_estimator=True)
    for fold, clf, (_, test) in zip(
        comparison.results[1].folds, fits["estimator"], StratifiedKFold(3).split(X, y), strict=True
    ):
        last = fold.history[-1]
        assert [row["epoch"] for row in fold.history] == [1, 2]
        assert last["valid_accuracy"] == fold.accuracy == clf.score(X[test], y[test])
        assert last["valid_loss"] == pytest.approx(log_loss(y[test], clf.predict_proba(X[test])), rel=1e-5)


def test_early_stopping_never_sees_the_fold_that_is_held_out(some, monkeypatch):
    asked = []
    fit = CNNClassifier.fit
    monkeypatch.setattr(
        CNNClassifier, "fit", lambda self, *data, **more: asked.append(more) or fit(self, *data, **more)
    )
    parameters = {"early_stopping": True, "patience": 1, "max_epochs": 12, "lr": 0.02}
    comparison = compare_architectures(*some, ["lenet5"], cv=3, estimator=quick(**parameters))
    assert [more for more in asked if more] == []
    assert accuracies(comparison) == cross_validated(*some, names=["lenet5"], **parameters)
    assert min(len(fold.history) for fold in comparison.results[0].folds) < 12
    for fold in comparison.results[0].folds:  # a tenth of 266 or 267 images, 27
        assert {round(row["valid_accuracy"] * 27, 9).is_integer() for row in fold.history} == {True}


def test_a_class_that_cannot_be_learnt_counts_in_the_accuracy_alone(some):
    X, y = some
    y = np.where(np.arange(len(y)) == 7, 99, y)  # the only one of its kind
    folds = list(KFold(2).split(X))
    comparison = compare_architectures(X, y, ["lenet5"], cv=folds, estimator=quick())
    assert accuracies(comparison) == cross_validated(X, y, names=["lenet5"], cv=folds)
    first, second = comparison.results[0].folds
    # Of 200 images held out in the first fold, image 7 has no loss and is wrong; the second fold has learnt its class.
    assert round(first.history[-1]["valid_accuracy"] * 199) == round(first.accuracy * 200)
    assert second.history[-1]["valid_accuracy"] == second.accuracy


def test_a_fold_of_classes_that_cannot_be_learnt_has_no_curve(some):
    X, y = some
    folds = [(np.flatnonzero(y >= 5), np.flatnonzero(y < 5)), (np.flatnonzero(y < 5), np.flatnonzero(y >= 5))]
    comparison = compare_architectures(X, y, ["lenet5"], cv=folds, estimator=quick())
    assert accuracies(comparison) == {"lenet5": [0, 0]}
    assert not any("valid_loss" in row for fold in comparison.results[0].folds for row in fold.history)
    # Five classes: 84·5 + 5 parameters leave for 84·10 + 10.
    assert comparison.results[0].n_parameters == 14_762 - 425


FORMS = {
    "list": lambda X, y: (X.tolist(), y.tolist()),
    "rows": lambda X, y: (X.reshape(-1, 64), y),
    "pandas": lambda X, y: (pd.DataFrame(X.reshape(-1, 64)).add_prefix("pixel"), pd.Series(y)),
    "polars": lambda X, y: (pl.DataFrame(X.reshape(-1, 64)), pl.Series(y)),
    "words": lambda X, y: (X, np.array([f"digit {label}" for label in y])),
    "objects": lambda X, y: (X, np.array([f"digit {label}" for label in y], dtype=object)),
    "column of words": lambda X, y: (X, pd.Series([f"digit {label}" for label in y])),
    "bools": lambda X, y: (X, y > 4),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_images_and_labels(form, some, tmp_path):
    X, y = FORMS[form](*some)
    comparison = compare_architectures(X, y, ["lenet5"], cv=2, estimator=quick(), checkpoint=tmp_path)
    assert accuracies(comparison) == cross_validated(X, y, names=["lenet5"], cv=2)
    assert all(accuracy > 0.2 for accuracy in comparison.results[0].accuracies)
    assert compare_again(X, y, tmp_path, cv=2, names=["lenet5"]) == comparison.to_dict()


def test_images_on_disk(some, tmp_path):
    X, y = some
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    comparison = compare_architectures(on_disk, y, ["lenet5"], cv=3, estimator=quick())
    assert accuracies(comparison) == cross_validated(X, y, names=["lenet5"])


def test_a_mapping_names_functions_and_architectures(some):
    def build(image_shape, n_classes):
        channels, height, width = image_shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, n_classes))

    comparison = compare_architectures(*some, {"linear": build, "LeNet": "lenet5"}, cv=2, estimator=quick())
    linear, lenet = comparison.results
    assert (linear.name, linear.source, linear.n_parameters, linear.n_multiply_adds) == ("linear", "", 650, 640)
    assert (lenet.name, lenet.source[:18]) == ("LeNet", "LeCun et al. 1998,")
    assert linear.accuracies == tuple(cross_validated(*some, names=[build], cv=2)[build])


def test_facts_of_the_network(comparison):
    lenet = comparison.results[1]
    # 8 → 8 (5×5, padding 2) → 4 → 1 (a kernel of 4×4); 16 features
    #   parameters    (25·1 + 1)·6 + (16·6 + 1)·16 + (16 + 1)·120 + (120 + 1)·84 + (84 + 1)·10
    assert lenet.n_parameters == 156 + 1_552 + 2_040 + 10_164 + 850
    #   multiply-adds  8·8·25·6 + 16·6·16 + 16·120 + 120·84 + 84·10
    assert lenet.n_multiply_adds == 9_600 + 1_536 + 1_920 + 10_080 + 840
    assert lenet.layers[:2] == (
        LayerSummary("standardise", "Standardise", (1, 8, 8), 0, 0),
        LayerSummary("conv1", "Conv2d 5×5, padding 2", (6, 8, 8), 156, 9_600),
    )
    assert [fold.number for fold in lenet.folds] == [1, 2, 3]


def test_the_estimator_is_left_alone(some):
    clf = quick(max_epochs=1).fit(*some)
    before, parameters = clf.predict_proba(some[0]), clf.get_params()
    compare_architectures(*some, ["lenet5"], cv=2, estimator=clf)
    assert clf.get_params() == parameters
    assert (clf.predict_proba(some[0]) == before).all()


def test_the_default_estimator_is_seeded(some):
    X, y = (part[:60] for part in some)
    comparison = compare_architectures(X, y, ["lenet5"], cv=2)
    expected = cross_validate(CNNClassifier("lenet5", random_state=0), X, y, cv=2)["test_score"]
    assert accuracies(comparison) == {"lenet5": expected.tolist()}


def test_times_are_cpu_seconds_of_what_they_are_of(some):
    warm_up()
    start = time.process_time()
    with parallel_config(backend="threading", n_jobs=3):
        comparison = compare_architectures(*some, NAMES, cv=3, estimator=quick())
    total = time.process_time() - start
    folds = [fold for result in comparison.results for fold in result.folds]
    assert min(fold.fit_seconds for fold in folds) > 0
    assert min(fold.predict_seconds for fold in folds) > 0
    # Were the time of other threads in them, they would add up to more than all that was spent.
    spent = sum(fold.fit_seconds + fold.predict_seconds * fold.n_test for fold in folds)
    assert 0.3 * total < spent < total
    assert comparison.results[0].fit_seconds > 20 * comparison.results[0].predict_seconds


def test_a_line_for_each_fit(some, capfd):
    comparison = compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(), verbose=1)
    out, err = capfd.readouterr()
    first, second = comparison.results[0].folds
    assert out == ""
    assert err == (
        f"lenet5, fold 1 of 2: {100 * first.accuracy:.1f} % in {first.fit_seconds:.1f} CPU s\n"
        f"lenet5, fold 2 of 2: {100 * second.accuracy:.1f} % in {second.fit_seconds:.1f} CPU s\n"
    )
    compare_architectures(*some, ["lenet5"], cv=2, estimator=quick())
    assert capfd.readouterr() == ("", "")


# Parallel jobs


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_jobs_at_the_same_time_give_the_same_bits(backend, comparison, some):
    with parallel_config(backend=backend):
        parallel = compare_architectures(*some, NAMES, cv=3, estimator=quick(), n_jobs=2)
    assert accuracies(parallel) == accuracies(comparison)
    for one, other in zip(comparison.results, parallel.results, strict=True):
        assert (one.layers, one.n_parameters) == (other.layers, other.n_parameters)
        for here, there in zip(one.folds, other.folds, strict=True):
            assert [row["train_loss"] for row in here.history] == [row["train_loss"] for row in there.history]
            assert [row["valid_loss"] for row in here.history] == [row["valid_loss"] for row in there.history]


@pytest.mark.slow
def test_processes_that_are_forked_from_one_that_has_fitted():
    # In a child, since torch hangs in a fork of a process in which it has run several threads.
    program = """
from cnnclf import CNNClassifier, compare_architectures, load_digits
from joblib import parallel_config
X, y = load_digits()
clf = CNNClassifier(max_epochs=1, random_state=0)
here = compare_architectures(X, y, ["lenet5"], cv=2, estimator=clf)
with parallel_config(backend="multiprocessing"):
    there = compare_architectures(X, y, ["lenet5"], cv=2, estimator=clf, n_jobs=2)
assert here.results[0].accuracies == there.results[0].accuracies
"""
    run = run_in_child(program)
    assert run.returncode == 0, run.stderr


# Figures


def record(name, accuracies, n_parameters=1_234, seconds=(1.0, 2.0, 4.5)):
    folds = tuple(
        Fold(number, 20, 10, accuracy, ({"epoch": 1, "valid_accuracy": accuracy},), spent, spent * 1e-5)
        for number, (accuracy, spent) in enumerate(zip(accuracies, seconds, strict=True), start=1)
    )
    layers = (LayerSummary("output", "Linear", (10,), n_parameters, 7_000),)
    return ArchitectureResult(name, "made up", layers, n_parameters, 7_000, folds)


def test_mean_and_standard_deviation():
    result = record("a", (0.9, 0.8, 0.4))
    assert result.accuracies == (0.9, 0.8, 0.4)
    # (0.9 + 0.8 + 0.4) / 3 = 0.7; √((0.2² + 0.1² + 0.3²) / 2) = √0.07
    assert result.mean_accuracy == pytest.approx(0.7)
    assert result.std_accuracy == pytest.approx(0.07**0.5)
    # (1 + 2 + 4.5) / 3
    assert result.fit_seconds == pytest.approx(2.5)
    assert result.predict_seconds == pytest.approx(2.5e-5)


def test_the_best_is_the_most_accurate_and_of_equals_the_smallest():
    good, small, bad = record("a", (0.9, 0.8, 0.7)), record("b", (0.7, 0.8, 0.9), 99), record("c", (0.9, 0.7, 0.1), 1)
    assert Comparison((bad, good), 3).best is good
    assert good.mean_accuracy == small.mean_accuracy
    assert Comparison((good, bad, small), 3).best is small


def test_the_table():
    table = Comparison((record("a", (0.9, 0.8, 0.4)), record("a_longer_name", (1, 1, 1), 1_234_567)), 3).to_text()
    assert table.splitlines() == [
        "architecture   accuracy, 3 folds  parameters  multiply-adds  CPU s per fit  µs per image",
        "a                70.00 ± 26.46 %       1,234          7,000           2.50          25.0",
        "a_longer_name    100.00 ± 0.00 %   1,234,567          7,000           2.50          25.0",
    ]


def test_everything_as_json():
    comparison = Comparison((record("a", (0.9, 0.8, 0.4)),), 3)
    told = comparison.to_dict()
    assert json.loads(json.dumps(told)) == told
    (result,) = told["results"]
    assert told["n_folds"] == 3
    assert (result["name"], result["n_multiply_adds"], result["fit_seconds"]) == ("a", 7_000, 2.5)
    assert (result["mean_accuracy"], result["std_accuracy"]) == pytest.approx((0.7, 0.07**0.5))
    assert result["layers"] == [
        {"name": "output", "kind": "Linear", "output_shape": [10], "n_parameters": 1_234, "n_multiply_adds": 7_000}
    ]
    assert result["folds"][2] == {
        "number": 3,
        "n_train": 20,
        "n_test": 10,
        "accuracy": 0.4,
        "history": [{"epoch": 1, "valid_accuracy": 0.4}],
        "fit_seconds": 4.5,
        "predict_seconds": 4.5e-5,
    }


def test_a_comparison_is_pickled_without_its_networks(comparison):
    pickled = pickle.dumps(comparison)
    assert pickle.loads(pickled).to_dict() == comparison.to_dict()
    assert len(pickled) < 10_000  # a lenet5 alone has 14,762 weights of four bytes


# Checkpoints


def compare_again(X, y, folder, names=NAMES, cv=3, **parameters):
    """Compare where no fit is left to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CNNClassifier, "fit", lambda *_, **__: pytest.fail("fits again"))
        return compare_architectures(X, y, names, cv, estimator=quick(**parameters), checkpoint=folder).to_dict()


@pytest.fixture
def kept(some, tmp_path):
    """A folder with the fits of one comparison, and that comparison."""
    folder = tmp_path / "new" / "folder"
    return folder, compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(max_epochs=1), checkpoint=folder)


def test_finished_fits_are_read_and_not_repeated(some, kept):
    folder, comparison = kept
    assert len(list(folder.iterdir())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}\.json", path.name) for path in folder.iterdir())
    assert compare_again(*some, folder, names=["lenet5"], cv=2, max_epochs=1) == comparison.to_dict()
    # Progress bars make no other fit, nor does an equal splitter, nor do several jobs.
    with parallel_config(n_jobs=2):
        again = compare_again(
            *some, folder, names=["lenet5"], cv=StratifiedKFold(2), max_epochs=1, verbose=1, random_state=np.int64(0)
        )
    assert again == comparison.to_dict()


def test_only_what_is_missing_is_fitted(some, kept, capfd):
    folder, _ = kept
    max(folder.iterdir()).unlink()
    estimator = quick(max_epochs=1)
    names = ["tiny", "lenet5"]
    comparison = compare_architectures(*some, names, cv=2, estimator=estimator, checkpoint=folder, verbose=1)
    fitted = [line[: line.index(" of")] for line in capfd.readouterr().err.splitlines()]
    assert fitted[:2] == ["tiny, fold 1", "tiny, fold 2"]
    assert len(fitted) == 3
    assert accuracies(comparison) == cross_validated(*some, cv=2, max_epochs=1)
    assert [fold.number for fold in comparison.results[1].folds] == [1, 2]
    assert len(list(folder.iterdir())) == 4


OTHERS = {
    "a pixel": lambda X, y: {"X": np.where(np.arange(X.size).reshape(X.shape) == 1234, 7, X).astype(X.dtype)},
    "a dtype": lambda X, y: {"X": X.astype(np.float32)},
    "a shape": lambda X, y: {"X": X[:, np.newaxis]},
    "a label": lambda X, y: {"y": np.where(np.arange(len(y)) == 3, (y + 1) % 10, y), "cv": KFold(2)},
    "labels": lambda X, y: {"y": y + 1},
    "words": lambda X, y: {"y": np.array([f"digit {label}" for label in y], dtype=object)},
    "folds": lambda X, y: {"cv": StratifiedKFold(2, shuffle=True, random_state=0)},
    "a name": lambda X, y: {"names": {"another": "lenet5"}},
    "an architecture": lambda X, y: {"names": {"lenet5": "keras_mnist"}},
    "max_epochs": lambda X, y: {"estimator": quick(max_epochs=2)},
    "lr": lambda X, y: {"estimator": quick(max_epochs=1, lr=0.004)},
    "a seed": lambda X, y: {"estimator": quick(max_epochs=1, random_state=1)},
    "augment": lambda X, y: {"estimator": quick(max_epochs=1, augment="shift")},
    "class_weight": lambda X, y: {"estimator": quick(max_epochs=1, class_weight={3: 2})},
    "precision": lambda X, y: {"estimator": quick(max_epochs=1, precision="float32", optimizer="adam")},
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_data_or_parameters_are_another_fit(other, some, kept, monkeypatch):
    folder, _ = kept
    arguments = {"X": some[0], "y": some[1], "names": ["lenet5"], "cv": 2, "estimator": quick(max_epochs=1)}
    fits = []
    fit = CNNClassifier.fit
    monkeypatch.setattr(CNNClassifier, "fit", lambda self, *data, **more: fits.append(self) or fit(self, *data, **more))
    compare_architectures(**(arguments | OTHERS[other](*some)), checkpoint=folder)
    assert len(fits) == 2
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "value"), [("cnnclf", "9.9.9"), ("torch", "9.9.9"), ("skorch", "9.9.9"), ("scikit-learn", "9.9.9")]
)
def test_another_version_is_another_fit(name, value, some, kept, monkeypatch):
    folder, _ = kept
    versions = {"cnnclf": "1", "torch": "1", "skorch": "1", "scikit-learn": "1"}
    monkeypatch.setattr("cnnclf.training._identity.version", lambda package: versions[package])
    estimator = quick(max_epochs=1)
    compare_architectures(*some, ["lenet5"], cv=2, estimator=estimator, checkpoint=folder)
    versions[name] = value
    compare_architectures(*some, ["lenet5"], cv=2, estimator=estimator, checkpoint=folder)
    assert len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:500],
        lambda content: b"\xff\x00",
        lambda content: b"[]",
        lambda content: b"{}",
        lambda content: b"null",
        lambda content: b'{"sha256": 1, "result": {}}',
        lambda content: re.sub(rb'"accuracy": [\d.]+', b'"accuracy": 1.5', content),  # which none can be
    ],
    ids=["empty", "torn", "no text", "list", "dict", "null", "foreign", "changed"],
)
def test_a_file_that_is_torn_or_none_of_ours_is_ignored_and_replaced(damage, some, kept):
    folder, comparison = kept
    path = max(folder.iterdir())
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    estimator = quick(max_epochs=1)
    again = compare_architectures(*some, ["lenet5"], cv=2, estimator=estimator, checkpoint=folder)
    assert accuracies(again) == accuracies(comparison)
    assert compare_again(*some, folder, names=["lenet5"], cv=2, max_epochs=1) == again.to_dict()


def test_a_file_under_another_fits_name_is_ignored(some, kept):
    folder, comparison = kept
    one, other = folder.iterdir()
    one.write_bytes(other.read_bytes())
    again = compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(max_epochs=1), checkpoint=folder)
    assert accuracies(again) == accuracies(comparison)


class Perceptron(nn.Sequential):
    """An architecture that is a class."""

    def __init__(self, image_shape, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))


def hidden(n_hidden):
    """Make an architecture whose width is in its closure."""
    return lambda image_shape, n_classes: nn.Sequential(
        nn.Flatten(), nn.Linear(64, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_classes)
    )


def by_default(image_shape, n_classes, *, n_hidden=4):
    return hidden(n_hidden)(image_shape, n_classes)


def by_activation(relu):
    if relu:
        return lambda image_shape, n_classes: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(64, n_classes))
    return lambda image_shape, n_classes: nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(64, n_classes))


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Perceptron, Perceptron, hidden(4)),
        (hidden(4), hidden(4), hidden(5)),
        (functools.partial(by_default, n_hidden=4), functools.partial(by_default, n_hidden=4), by_default),
        (functools.partial(by_default, n_hidden=4), functools.partial(by_default, n_hidden=4), hidden(4)),
        (by_activation(True), by_activation(True), by_activation(False)),
    ],
    ids=["class", "closure", "partial", "function", "code"],
)
def test_a_function_is_known_by_what_it_does(one, same, other, some, tmp_path):
    estimator = quick(max_epochs=1)
    comparison = compare_architectures(*some, {"mine": one}, cv=2, estimator=estimator, checkpoint=tmp_path)
    assert compare_again(*some, tmp_path, names={"mine": same}, cv=2, max_epochs=1) == comparison.to_dict()
    compare_architectures(*some, {"mine": other}, cv=2, estimator=estimator, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.slow
def test_a_function_is_known_in_another_process(capsys):
    # A set of strings has another order in each process: in this one, and in a child of one that was started anew.
    program = """
from cnnclf.training._identity import canonical, digest
def build(image_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes if "a" in {"a", "b", "c", "d"} else ...))
print(digest(canonical(build)))
"""
    exec(program, {"__name__": "__main__"})
    here = capsys.readouterr().out
    assert len(here) == 65
    assert run_in_child(program).stdout == here


class Noise:
    def __call__(self, batch):
        return batch


def local_class():
    class Local(Perceptron):
        pass

    return Local


@pytest.mark.parametrize(
    ("parameters", "shown", "advice"),
    [
        ({"random_state": None}, "random_state=None", "an integer"),
        ({"random_state": np.random.RandomState(0)}, "random_state=RandomState(MT19937)", "an integer"),
        ({"callbacks": [Callback()]}, "callbacks=[<skorch.callbacks.base.Callback object at ", "None"),
        ({"augment": Noise()}, "augment=<tests.model_selection.test_", "a function or a class of a module"),
        ({"augment": torch.fliplr}, "augment=<built-in method fliplr of ", "a function or a class of a module"),
    ],
    ids=["no seed", "RandomState", "callbacks", "object", "builtin"],
)
def test_a_checkpoint_refuses_what_it_cannot_name(parameters, shown, advice, some, tmp_path):
    name = next(iter(parameters))
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared, but for addresses
        compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(**parameters), checkpoint=tmp_path / "new")
    sentence = str(error.value)
    beginning = f"Expected a checkpoint's {name} to have a name that a file can hold; got {shown}"
    end = f". Pass {name} as {advice}, or checkpoint=None."
    assert sentence.startswith(beginning)
    assert sentence.endswith(end)
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_refuses_a_class_whose_surroundings_it_cannot_see(some, tmp_path):
    sentence = "Pass architecture as a function or a class of a module, or checkpoint=None."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        compare_architectures(*some, {"local": local_class()}, cv=2, estimator=quick(), checkpoint=tmp_path)


def test_a_checkpoint_is_a_folder(some, tmp_path):
    file = tmp_path / "file"
    file.touch()
    sentence = f"Expected checkpoint to be a folder; got the file {file}. Pass another name."
    with pytest.raises(ValueError, match=exactly(sentence)):
        compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(), checkpoint=file)


# Interruption


class InterruptBatch(Callback):
    """What Ctrl-C does in the second epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 2:
            raise KeyboardInterrupt


def test_a_network_that_is_trained_by_half_is_not_judged(some, monkeypatch):
    monkeypatch.setattr(CNNClassifier, "score", lambda *_: pytest.fail("is evaluated"))
    with pytest.raises(KeyboardInterrupt):
        compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(callbacks=[InterruptBatch()]))


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
def test_an_interrupt_between_two_epochs_is_none_of_early_stopping(parameters, some, monkeypatch):
    warm_up()

    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(EpochTimer, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(max_epochs=5, **parameters))


def test_an_interrupt_of_the_first_untimed_fit_is_not_lost(some, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    warm_up.cache_clear()
    monkeypatch.setattr("torch.optim.AdamW.step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        warm_up()


def test_a_callback_may_end_training(some):
    class End(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    comparison = compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(callbacks=[End()]))
    assert [len(fold.history) for fold in comparison.results[0].folds] == [1, 1]


PROGRAM = """
import sys
from cnnclf import CNNClassifier, compare_architectures, load_digits
X, y = load_digits()
estimator = CNNClassifier(max_epochs=3, random_state=0)
if __name__ == "__main__":
    compare_architectures(
        X, y, ["lenet5", "compact"], cv=3, estimator=estimator, checkpoint=sys.argv[1]
    )
"""


@pytest.mark.slow
def test_a_checkpoint_lies_where_the_call_is_made_though_the_workers_were_started_elsewhere(
    some, tmp_path, monkeypatch
):
    (tmp_path / "earlier").mkdir()
    monkeypatch.chdir(tmp_path / "earlier")
    Parallel(n_jobs=2)(delayed(quick(max_epochs=1).fit)(*some) for _ in range(2))  # joblib keeps these workers
    monkeypatch.chdir(tmp_path)

    compare_architectures(*some, ["lenet5"], cv=2, estimator=quick(max_epochs=1), n_jobs=2, checkpoint="kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.slow
def test_after_ctrl_c_a_comparison_goes_on_where_it_was_stopped(digits, tmp_path):
    # In one process; the test of the command interrupts one of several.
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(tmp_path.glob("*.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")

    before = {path: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert 1 <= len(before) < 6
    arguments = {"names": ["lenet5", "compact"], "cv": 3, "estimator": quick(max_epochs=3)}
    resumed = compare_architectures(*digits, **arguments, checkpoint=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 6
    assert {path: path.read_bytes() for path in before} == before
    assert accuracies(resumed) == cross_validated(*digits, names=["lenet5", "compact"], max_epochs=3)


# Refusals


def test_all_names_are_checked_before_anything_is_fitted(some, monkeypatch):
    monkeypatch.setattr(CNNClassifier, "fit", lambda *_, **__: pytest.fail("fits"))
    with pytest.raises(ValueError, match=r"got 'lenet'\. Did you mean 'lenet5'\?\Z"):
        compare_architectures(*some, ["tiny", "lenet"])
    sentence = "Expected max_epochs to be 'auto', or a whole number, 1 or more; got 0. Change max_epochs."
    with pytest.raises(ValueError, match=exactly(sentence)):
        compare_architectures(*some, ["tiny"], estimator=quick(max_epochs=0))


@pytest.mark.parametrize(
    ("names", "error", "sentence"),
    [
        ("lenet5", TypeError, "Expected names to be a list or a mapping; got 'lenet5'. Pass ['tiny', 'lenet5']."),
        (7, TypeError, "Expected names to be a list or a mapping; got 7. Pass ['tiny', 'lenet5']."),
        ([], ValueError, "Expected one name or more; got none. Pass names of list_architectures()."),
        ({}, ValueError, "Expected one name or more; got none. Pass names of list_architectures()."),
        (
            [3],
            TypeError,
            "Expected names that are text; got 3. Pass functions as values of a mapping.",
        ),
        (
            ["tiny", "lenet5", "tiny"],
            ValueError,
            "Expected names that differ; got 'tiny' twice. Pass each once.",
        ),
        (
            {"mine": None},
            TypeError,
            (
                "Expected architecture to be 'auto', a name of list_architectures(), or a function (image_shape, "
                "n_classes) -> nn.Module; got None. Change architecture."
            ),
        ),
    ],
)
def test_refuses_names_that_are_none(names, error, sentence, some):
    with pytest.raises(error, match=exactly(sentence)):
        compare_architectures(*some, names)


def test_refuses_another_estimator(some):
    given = "KFold(n_splits=5, random_state=None, shuffle=False)"
    sentence = f"Expected estimator to be a CNNClassifier; got {given}. Pass CNNClassifier(...)."
    with pytest.raises(TypeError, match=exactly(sentence)):
        compare_architectures(*some, ["lenet5"], estimator=KFold())


def test_refuses_a_single_fold(some):
    with pytest.raises(ValueError, match=exactly("Expected cv to give two folds or more; got 1. Pass cv=5.")):
        compare_architectures(*some, ["lenet5"], cv=ShuffleSplit(1))


def test_refuses_images_without_labels(some):
    with pytest.raises(ValueError, match=exactly("Expected y to hold one label per image; got None. Pass the labels.")):
        compare_architectures(some[0], None, ["lenet5"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare_architectures(some[0], some[1][:-1], ["lenet5"])
