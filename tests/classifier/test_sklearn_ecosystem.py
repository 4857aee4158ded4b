"""`CNNClassifier` in everything that people put a classifier into, on real digits."""

import copy
import functools
import io
import pickle

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes HalvingGridSearchCV importable
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder
from skorch.callbacks import Callback
from skorch.exceptions import DeviceWarning

from cnnclf import CNNClassifier


def quick(**parameters):
    """Three epochs in small batches, seeded: 0.9 on unseen digits after 400."""
    return CNNClassifier(**({"max_epochs": 3, "batch_size": 16, "random_state": 0} | parameters))


@pytest.fixture(scope="module")
def fitted(few_digits):
    X, y, _, _ = few_digits
    return quick().fit(X, y)


@pytest.fixture(scope="module")
def flat(few_digits):
    """The digits as rows of 64 features."""
    X, y, X_test, y_test = few_digits
    return X.reshape(-1, 64), y, X_test.reshape(-1, 64), y_test


# Cross-validation


def test_cross_val_score_is_the_loop_over_folds(few_digits):
    X, y, _, _ = few_digits
    folds = StratifiedKFold(3)
    scores = [quick().fit(X[train], y[train]).score(X[test], y[test]) for train, test in folds.split(X, y)]
    assert cross_val_score(quick(), X, y, cv=folds).tolist() == scores
    assert min(scores) > 0.75


def test_cross_validate_gives_scores_and_estimators(few_digits):
    X, y, X_test, y_test = few_digits
    results = cross_validate(
        quick(), X, y, cv=3, scoring=["accuracy", "neg_log_loss"], return_train_score=True, return_estimator=True
    )
    assert results["test_accuracy"].min() > 0.75
    assert (results["train_accuracy"] > results["test_accuracy"]).all()
    assert (results["test_neg_log_loss"] > -np.log(10)).all()  # better than a tenth for each class
    assert min(clf.score(X_test, y_test) for clf in results["estimator"]) > 0.75


def test_cross_val_predict_gives_every_row_the_probabilities_of_a_fit_without_it(few_digits):
    X, y, _, _ = few_digits
    folds = StratifiedKFold(3)
    probabilities = cross_val_predict(quick(), X, y, cv=folds, method="predict_proba")
    for train, test in folds.split(X, y):
        assert (probabilities[test] == quick().fit(X[train], y[train]).predict_proba(X[test])).all()
    assert np.mean(probabilities.argmax(axis=1) == y) > 0.8
    logits = cross_val_predict(quick(), X, y, cv=folds, method="decision_function")
    np.testing.assert_array_equal(logits.argmax(axis=1), probabilities.argmax(axis=1))


@pytest.mark.slow
def test_repeated_stratified_folds_of_string_labels(few_digits):
    X, y, _, _ = few_digits
    names = np.array([f"digit {k}" for k in y])
    folds = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    scores = cross_val_score(quick(), X, names, cv=folds, scoring="f1_macro")
    assert scores.shape == (4,)
    assert scores.min() > 0.6


@pytest.mark.slow
def test_a_learning_curve_rises_with_the_data(few_digits):
    X, y, _, _ = few_digits
    sizes, _, scores = learning_curve(quick(), X, y, cv=3, train_sizes=[50, 250], shuffle=True, random_state=0)
    assert sizes.tolist() == [50, 250]
    few, many = scores.mean(axis=1)
    assert many > few + 0.2


@pytest.mark.slow
def test_a_validation_curve_rises_with_the_epochs(few_digits):
    X, y, _, _ = few_digits
    learnt, scores = validation_curve(quick(), X, y, param_name="max_epochs", param_range=[1, 4], cv=3)
    assert learnt.shape == scores.shape == (2, 3)
    once, four_times = scores.mean(axis=1)
    assert four_times > once + 0.1


# Searches


@pytest.mark.slow
def test_grid_search(few_digits):
    X, y, X_test, y_test = few_digits
    grid = {"architecture": ["compact", "lenet5"], "lr": [1e-5, 0.005], "batch_size": [16, 64]}
    search = GridSearchCV(quick(), grid, cv=3).fit(X, y)

    table = pd.DataFrame(search.cv_results_)
    assert len(table) == 8
    assert search.best_params_["lr"] == 0.005  # the other one learns nothing in three epochs
    assert table.loc[table["param_lr"] == 1e-5, "mean_test_score"].max() < 0.5
    assert search.best_score_ == table["mean_test_score"].max() > 0.8
    best = quick(**search.best_params_)
    assert search.best_score_ == np.mean(cross_val_score(best, X, y, cv=3))
    assert (search.predict_proba(X_test) == best.fit(X, y).predict_proba(X_test)).all()
    assert search.score(X_test, y_test) > 0.8
    assert search.classes_.tolist() == list(range(10))


@pytest.mark.slow
def test_randomized_search(few_digits):
    X, y, X_test, y_test = few_digits
    distributions = {"lr": loguniform(2e-3, 1e-2), "batch_size": randint(10, 40), "weight_decay": [0.0, 0.01]}
    search = RandomizedSearchCV(quick(), distributions, n_iter=4, cv=2, random_state=0).fit(X, y)
    assert search.score(X_test, y_test) > 0.75
    assert 10 <= search.best_params_["batch_size"] < 40
    assert search.best_estimator_.net_.batch_size == search.best_params_["batch_size"]  # a NumPy integer


@pytest.mark.slow
def test_halving_search_spends_epochs_on_the_best(few_digits):
    X, y, X_test, y_test = few_digits
    search = HalvingGridSearchCV(
        quick(),
        {"lr": [1e-6, 1e-5, 1e-4, 0.005]},
        resource="max_epochs",
        factor=2,
        min_resources=1,
        max_resources=4,
        cv=2,
        random_state=0,
    ).fit(X, y)
    assert search.n_resources_ == [1, 2, 4]  # epochs
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_params_ == {"lr": 0.005, "max_epochs": 4}
    assert len(search.best_estimator_.history_) == 4
    assert search.score(X_test, y_test) > 0.8


# Pipelines


def test_a_pipeline_is_its_steps(flat):
    X, y, X_test, y_test = flat
    pipeline = make_pipeline(MinMaxScaler(), quick()).fit(X, y)
    scaler = MinMaxScaler().fit(X)
    clf = quick().fit(scaler.transform(X), y)
    assert (pipeline.predict_proba(X_test) == clf.predict_proba(scaler.transform(X_test))).all()
    assert pipeline.score(X_test, y_test) > 0.8
    assert pipeline[-1].image_shape_ == (1, 8, 8)

    search = GridSearchCV(pipeline, {"cnnclassifier__lr": [1e-5, 0.005]}, cv=2).fit(X, y)
    assert search.best_params_ == {"cnnclassifier__lr": 0.005}


def test_images_go_through_a_pipeline_that_shapes_them(flat):
    X, y, X_test, y_test = flat
    shape = FunctionTransformer(lambda X: X.reshape(-1, 8, 8))
    pipeline = make_pipeline(shape, quick()).fit(X, y)
    assert pipeline[-1].n_features_in_ == 64
    assert pipeline.score(X_test, y_test) > 0.8


def test_a_column_transformer_upstream(flat):
    # A table of pixels among other columns: a serial number to drop and a kind to encode.
    X, y, X_test, y_test = flat
    pixels = [f"pixel_{i}" for i in range(64)]

    def table(X):
        frame = pd.DataFrame(X, columns=pixels)
        frame.insert(0, "serial", np.arange(len(X)) * 1_000_003)
        frame["paper"] = np.where(X[:, 20] > 8, "white", "grey")
        return frame

    columns = ColumnTransformer([("pixels", MinMaxScaler(), pixels)], remainder="drop")
    pipeline = make_pipeline(columns, quick()).fit(table(X), y)
    assert pipeline.score(table(X_test), y_test) > 0.8
    assert (
        pipeline.predict_proba(table(X_test)) == make_pipeline(MinMaxScaler(), quick()).fit(X, y).predict_proba(X_test)
    ).all()

    with_kind = ColumnTransformer(
        [("pixels", MinMaxScaler(), pixels), ("paper", OneHotEncoder(sparse_output=False), ["paper"])]
    ).set_output(transform="pandas")
    pipeline = make_pipeline(with_kind, quick()).fit(table(X), y)
    assert pipeline[-1].n_features_in_ == 66
    assert pipeline[-1].feature_names_in_.tolist()[-2:] == ["paper__paper_grey", "paper__paper_white"]
    assert pipeline[-1].image_shape_ == (1, 1, 66)
    assert pipeline.score(table(X_test), y_test) > 0.7


# Ensembles and other classifiers made of classifiers


def test_a_soft_vote_is_the_mean_of_probabilities(few_digits):
    X, y, X_test, y_test = few_digits
    members = [("compact", quick()), ("lenet5", quick(architecture="lenet5")), ("other seed", quick(random_state=1))]
    vote = VotingClassifier(members, voting="soft").fit(X, y)
    mean = np.mean([member.fit(X, y).predict_proba(X_test) for _, member in members], axis=0)
    np.testing.assert_allclose(vote.predict_proba(X_test), mean, rtol=1e-6)
    assert vote.score(X_test, y_test) >= min(member.score(X_test, y_test) for _, member in members)
    assert VotingClassifier(members, voting="hard").fit(X, y).score(X_test, y_test) > 0.8


@pytest.mark.slow
def test_stacking(flat):
    X, y, X_test, y_test = flat
    stack = StackingClassifier(
        [("cnn", quick()), ("bayes", GaussianNB())], final_estimator=LogisticRegression(max_iter=1000), cv=3
    ).fit(X, y)
    assert stack.transform(X_test).shape == (400, 20)
    assert stack.score(X_test, y_test) > max(0.85, GaussianNB().fit(X, y).score(X_test, y_test))


@pytest.mark.slow
def test_bagging_of_rows_and_of_features(flat):
    X, y, X_test, y_test = flat  # scikit-learn's bagging takes rows of features only
    bag = BaggingClassifier(quick(), n_estimators=3, random_state=0).fit(X, y)
    assert len({clf.random_state for clf in bag.estimators_}) == 3
    assert bag.score(X_test, y_test) > 0.8
    # The drawn rows reach each member as whole-number weights; a member on its own is that fit.
    weight = np.bincount(bag.estimators_samples_[0], minlength=len(y))
    alone = clone(bag.estimators_[0]).fit(X, y, sample_weight=weight)
    assert (alone.predict_proba(X_test) == bag.estimators_[0].predict_proba(X_test)).all()

    bag = BaggingClassifier(quick(), n_estimators=3, max_features=0.5, random_state=0).fit(X, y)
    assert [clf.image_shape_ for clf in bag.estimators_] == [(1, 1, 32)] * 3
    assert bag.score(X_test, y_test) > 0.6


@pytest.mark.slow
def test_adaboost_gives_weight_to_what_was_wrong(few_digits):
    X, y, X_test, y_test = few_digits
    boost = AdaBoostClassifier(quick(max_epochs=2), n_estimators=3, random_state=0).fit(X, y)
    assert len(boost.estimators_) == 3
    assert boost.estimator_errors_.max() < 0.9  # guessing among ten
    assert boost.score(X_test, y_test) > 0.75
    # SAMME: the second member's weights are those of the first one's mistakes, raised by its odds and normalised.
    first, second = boost.estimators_[:2]
    weight = np.where(first.predict(X) != y, np.exp(boost.estimator_weights_[0]), 1)
    weighted = clone(second).fit(X, y, sample_weight=weight / weight.sum())
    np.testing.assert_allclose(weighted.predict_proba(X_test), second.predict_proba(X_test), atol=1e-2)
    unweighted = clone(second).fit(X, y)
    assert np.abs(unweighted.predict_proba(X_test) - second.predict_proba(X_test)).max() > 0.1


def surprise(y, probabilities):
    """The mean of −ln p of the true class, as log_loss has it, which asks for sums in float64's precision."""
    return -np.log(probabilities[np.arange(len(y)), y].clip(min=1e-7)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration(method, few_digits):
    X, y, X_test, y_test = few_digits
    calibrated = CalibratedClassifierCV(quick(), method=method, cv=3).fit(X, y)
    probabilities = calibrated.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert calibrated.score(X_test, y_test) > 0.8
    assert surprise(y_test, probabilities) < 1.2  # a tenth for each class would be 2.3


def test_calibration_of_a_frozen_classifier_does_not_learn_again(few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick(label_smoothing=0.3).fit(X[:300], y[:300])  # less certain than it is right
    before = clf.predict_proba(X_test)
    calibrated = CalibratedClassifierCV(FrozenEstimator(clf), method="temperature").fit(X[300:], y[300:])
    assert (clf.predict_proba(X_test) == before).all()
    # One temperature for all logits sharpens or softens, but never changes which one is the largest.
    np.testing.assert_array_equal(calibrated.predict(X_test), clf.predict(X_test))
    assert surprise(y_test, calibrated.predict_proba(X_test)) < surprise(y_test, before)


def test_a_frozen_classifier_stays_as_it_is(fitted, few_digits):
    _, _, X_test, y_test = few_digits
    frozen = FrozenEstimator(fitted)
    before = fitted.predict_proba(X_test)
    frozen.fit(X_test, (y_test + 1) % 10)
    assert (clone(frozen).predict_proba(X_test) == before).all()


@pytest.mark.slow
def test_one_versus_rest(few_digits):
    X, y, X_test, y_test = few_digits
    rows = y < 4
    ovr = OneVsRestClassifier(quick(max_epochs=5)).fit(X[rows], y[rows])
    test = y_test < 4
    assert [clf.classes_.tolist() for clf in ovr.estimators_] == [[0, 1]] * 4
    np.testing.assert_array_equal(
        ovr.decision_function(X_test), np.transpose([clf.decision_function(X_test) for clf in ovr.estimators_])
    )
    assert ovr.score(X_test[test], y_test[test]) > 0.9


# Inspection


@pytest.mark.slow
def test_permutation_importance_finds_the_pixels_that_matter(flat):
    X, y, X_test, y_test = flat
    clf = quick().fit(X, y)
    importance = permutation_importance(clf, X_test, y_test, n_repeats=1, random_state=0).importances_mean
    blank = (X_test == X_test[0]).all(axis=0)  # swapping equal pixels changes nothing
    assert blank.sum() >= 3
    assert (importance[blank] == 0).all()
    middle = importance.reshape(8, 8)[2:6, 2:6]
    assert middle.mean() > 0.01
    assert middle.mean() > 3 * importance.reshape(8, 8)[:, [0, 7]].mean()


def test_a_confusion_matrix_display(fitted, few_digits):
    _, _, X_test, y_test = few_digits
    display = ConfusionMatrixDisplay.from_estimator(fitted, X_test, y_test)
    plt.close(display.figure_)
    np.testing.assert_array_equal(display.confusion_matrix, confusion_matrix(y_test, fitted.predict(X_test)))
    assert display.confusion_matrix.trace() == round(fitted.score(X_test, y_test) * 400) > 320


# Copies

COPIES = {
    "pickle": lambda clf: pickle.loads(pickle.dumps(clf)),
    "deepcopy": copy.deepcopy,
    "joblib": lambda clf: through_joblib(clf, compress=0),
    "joblib, compressed": lambda clf: through_joblib(clf, compress=3),
}


def through_joblib(clf, compress):
    file = io.BytesIO()
    joblib.dump(clf, file, compress=compress)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    ("form", "parameters"),
    [*((form, {}) for form in COPIES), ("pickle", {"weight_averaging": True}), ("pickle", {"early_stopping": True})],
)
def test_a_copy_predicts_and_goes_on_as_the_original(form, parameters, few_digits):
    X, y, X_test, _ = few_digits
    clf = quick(**parameters).fit(X, y)
    copied = COPIES[form](clf)
    assert copied.history_ == clf.history_
    assert (copied.predict_proba(X_test) == clf.predict_proba(X_test)).all()
    # The optimiser's state is copied too: training goes on to the bit, and each with weights of its own.
    before = clf.predict_proba(X_test)
    copied.partial_fit(X, y)
    assert (clf.predict_proba(X_test) == before).all()
    assert (copied.predict_proba(X_test) == clf.partial_fit(X, y).predict_proba(X_test)).all()


def test_an_unfitted_copy_is_unfitted(few_digits):
    X, y, X_test, _ = few_digits
    clf = quick()
    for copied in (clone(clf), *(form(clf) for form in COPIES.values())):
        assert copied.get_params() == clf.get_params()
        assert not hasattr(copied, "net_")
    assert (copied.fit(X, y).predict_proba(X_test) == clf.fit(X, y).predict_proba(X_test)).all()


def test_a_clone_forgets_the_fit_and_learns_the_same(fitted, few_digits):
    X, y, X_test, _ = few_digits
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    assert not hasattr(cloned, "net_")
    assert not hasattr(cloned, "classes_")
    assert (cloned.fit(X, y).predict_proba(X_test) == fitted.predict_proba(X_test)).all()


def test_a_pickle_holds_weights_not_images(digits):
    X, y = digits
    sizes = [
        len(pickle.dumps(quick(max_epochs=1, batch_size=n // 4, **extra).fit(X[:n], y[:n])))
        for n, extra in [(200, {}), (1600, {}), (1600, {"early_stopping": True})]
    ]
    # 1,400 digits more would be 89,600 bytes; a hash of each, to recognise it by, has eight.
    assert max(sizes) - min(sizes) < 5_000 + 8 * 1_400
    # Weights and the optimiser's two moments are float32, so 12 bytes a parameter; the rest is bookkeeping.
    clf = quick(max_epochs=1).fit(X[:200], y[:200])
    assert len(pickle.dumps(clf)) < 12 * clf.n_parameters_ + 60_000


class TensorFinder(pickle.Pickler):
    """Count the tensors that are pickled as such."""

    def __init__(self):
        super().__init__(io.BytesIO())
        self.n_tensors = 0

    def reducer_override(self, obj):
        self.n_tensors += isinstance(obj, torch.Tensor)
        return NotImplemented


@pytest.mark.parametrize("parameters", [{}, {"weight_averaging": True}, {"early_stopping": True}])
def test_a_classifier_from_a_gpu_loads_where_there_is_none(parameters, few_digits, monkeypatch):
    # Tensors that skorch does not pack for the move would be unpickled on the device they came from, and fail.
    X, y, X_test, _ = few_digits
    clf = quick(**parameters).fit(X, y)
    finder = TensorFinder()
    finder.dump(clf.net_)
    assert finder.n_tensors == 0

    before = clf.predict_proba(X_test)
    clf.net_.device = "cuda"
    pickled = pickle.dumps(clf)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(DeviceWarning) as caught:
        loaded = pickle.loads(pickled)
    assert "no CUDA devices are available" in str(caught[0].message)
    assert (loaded.predict_proba(X_test) == before).all()
    assert len(loaded.partial_fit(X, y).history_) == 4


# Parameters

OTHER_VALUES = {  # for every parameter a value that makes another classifier, or None where it changes no number
    "architecture": "lenet5",
    "max_epochs": 2,
    "batch_size": 25,
    "lr": 0.001,
    "optimizer": "sgd",
    "lr_schedule": "constant",
    "weight_decay": 1.0,
    "label_smoothing": 0.2,
    "augment": ("shift", "erase"),
    "weight_averaging": True,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "patience": 1,
    "class_weight": {3: 9.0},
    "image_shape": [1, 4, 16],
    "preparation": "pad",
    "precision": "float32",
    "device": "cpu",
    "compile": True,
    "warm_start": True,
    "checkpoint": "run",
    "callbacks": [],
    "random_state": 5,
    "verbose": 1,
}
CHANGES_NO_NUMBER = {"patience", "preparation", "device", "warm_start", "checkpoint", "callbacks", "verbose"}
# The first matters only with early stopping; whether the second matters, and how much, is the processor's choice.
NEEDS = {"validation_fraction": {"early_stopping": True}, "precision": {"precision": "bfloat16"}}


def test_every_parameter_is_set_in_these_tests():
    assert sorted(OTHER_VALUES) == sorted(CNNClassifier().get_params())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(OTHER_VALUES) - {"compile"}))
def test_set_params_before_and_after_fit(name, flat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a checkpoint goes
    X, y, X_test, _ = (part[:150] for part in flat)
    value, needs = OTHER_VALUES[name], NEEDS.get(name, {})
    before_fit = quick(**needs).set_params(**{name: value})
    assert before_fit.get_params()[name] is value
    before_fit.fit(X, y)
    by_constructor = quick(**(needs | {name: value})).fit(X, y)
    assert (before_fit.predict_proba(X_test) == by_constructor.predict_proba(X_test)).all()

    # After fit nothing happens until the next fit, and then everything.
    after_fit = quick(**needs).fit(X, y)
    predicted = after_fit.predict_proba(X_test)
    after_fit.set_params(**{name: value})
    assert (after_fit.predict_proba(X_test) == predicted).all()
    if name == "warm_start":
        assert len(after_fit.fit(X, y).history_) == 6
        return
    after_fit.fit(X, y)
    assert (after_fit.predict_proba(X_test) == by_constructor.predict_proba(X_test)).all()
    assert (after_fit.predict_proba(X_test) == predicted).all() == (name in CHANGES_NO_NUMBER)


@pytest.mark.slow
def test_a_compiled_network_predicts_what_it_predicts_uncompiled(few_digits, monkeypatch):
    # torch traces the network but leaves out its C++ compiler, which would take a quarter of a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    X, y, X_test, y_test = few_digits
    compiled, plain = quick(compile=True).fit(X, y), quick().fit(X, y)
    np.testing.assert_allclose(compiled.predict_proba(X_test), plain.predict_proba(X_test), atol=1e-3)
    assert compiled.score(X_test, y_test) > 0.8
    assert list(compiled.module_.state_dict()) == list(plain.module_.state_dict())
    assert (COPIES["pickle"](compiled).predict_proba(X_test) == compiled.predict_proba(X_test)).all()


# Metadata routing


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def doubtful(few_digits):
    """Every second label is wrong and weighs little, so that it shows whether weights arrive."""
    X, y, X_test, y_test = few_digits
    wrong = np.arange(len(y)) % 2 == 0
    return X, np.where(wrong, (y + 1) % 10, y), np.where(wrong, 0.0, 1.0), X_test, y_test


@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed_through_a_pipeline(doubtful):
    X, y, weight, X_test, y_test = doubtful
    shape = FunctionTransformer(lambda X: X / 16)
    pipeline = make_pipeline(shape, quick().set_fit_request(sample_weight=True)).fit(X, y, sample_weight=weight)
    direct = quick().fit(X / 16, y, sample_weight=weight)
    assert (pipeline.predict_proba(X_test) == direct.predict_proba(X_test / 16)).all()
    assert pipeline.score(X_test, y_test) > 0.6


@pytest.mark.slow
@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed_through_a_search(doubtful):
    X, y, weight, X_test, _ = doubtful
    small = quick(architecture="compact")  # twenty steps are enough for it
    clf = clone(small).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(lambda X: X / 16), clf), {"cnnclassifier__lr": [1e-5, 0.005]}, cv=2
    )
    search.fit(X, y, sample_weight=weight)
    direct = small.set_params(lr=0.005).fit(X / 16, y, sample_weight=weight)
    assert search.best_params_ == {"cnnclassifier__lr": 0.005}
    assert (search.predict_proba(X_test) == direct.predict_proba(X_test / 16)).all()
    # Scores are weighted too, so the wrong labels do not count: they alone would halve the score.
    assert search.best_score_ > 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed_through_cross_validation(doubtful):
    X, y, weight, _, _ = doubtful
    clf = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    folds = StratifiedKFold(2)
    scores = cross_validate(clf, X, y, cv=folds, params={"sample_weight": weight})["test_score"]
    expected = [
        quick().fit(X[a], y[a], sample_weight=weight[a]).score(X[b], y[b], sample_weight=weight[b])
        for a, b in folds.split(X, y)
    ]
    assert scores.tolist() == expected


@pytest.mark.usefixtures("routing")
def test_a_pipeline_transforms_validation_data_too(few_digits):
    X, y, X_test, y_test = few_digits
    clf = quick().set_fit_request(X_val=True, y_val=True)
    pipeline = make_pipeline(FunctionTransformer(lambda X: X / 16), clf, transform_input=["X_val"])
    pipeline.fit(X, y, X_val=X_test, y_val=y_test)
    direct = quick().fit(X / 16, y, X_val=X_test / 16, y_val=y_test)
    assert [row["valid_loss"] for row in pipeline[-1].history_] == [row["valid_loss"] for row in direct.history_]
    assert direct.history_[-1]["valid_loss"] < 1


# Parallel jobs


@pytest.mark.slow
def test_two_jobs_give_the_same_bits_as_one(few_digits):
    X, y, X_test, _ = few_digits

    class Threads(Callback):  # defined here, the other processes need not import this whole module for it
        """Note in the history how many threads torch had."""

        def on_epoch_end(self, net, **kwargs):
            net.history.record("n_threads", torch.get_num_threads())

    def validate(n_jobs):
        clf = quick(architecture="pool3_head1", max_epochs=2, augment="affine", callbacks=[Threads()])
        scoring = ["accuracy", "neg_log_loss"]
        return cross_validate(clf, X, y, cv=4, n_jobs=n_jobs, scoring=scoring, return_estimator=True)

    one, two = validate(n_jobs=1), validate(n_jobs=2)
    for score in ("test_accuracy", "test_neg_log_loss"):
        assert one[score].tolist() == two[score].tolist()
    for here, there in zip(one["estimator"], two["estimator"], strict=True):
        assert (here.predict_proba(X_test) == there.predict_proba(X_test)).all()
        # Two jobs of one thread each: no core has more to do than there are jobs.
        assert {row["n_threads"] for row in there.net_.history} == {1}

    # In the same two processes, since starting them is what takes long.
    grid = {"lr": [0.002, 0.005], "architecture": ["compact", "keras_mnist"]}
    one, two = (GridSearchCV(quick(max_epochs=2), grid, cv=2, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2))
    assert one.cv_results_["mean_test_score"].tolist() == two.cv_results_["mean_test_score"].tolist()
    assert (one.predict_proba(X_test) == two.predict_proba(X_test)).all()
