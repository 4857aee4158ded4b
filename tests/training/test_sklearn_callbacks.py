"""``set_callbacks``: scikit-learn's own callbacks run for a fit and for each of its epochs."""

import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnnclf import CNNClassifier, TestTimeAugmentation

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")


class Recorder:
    """Keep the calls, as lines, and the classifiers that were passed at the end of epochs."""

    def __init__(self, stop_at=None):
        self.told, self.snapshots, self.given, self.stop_at = [], [], [], stop_at

    def setup(self, estimator, context):
        self.told.append("setup")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.told.append(f"begin {context.task_name} {context.task_id}")
        self.given.append((X, y, metadata))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.told.append(f"end {context.task_name} {context.task_id}")
        if context.task_name == "epoch":
            self.snapshots.append(fitted_estimator)
            return context.task_id == self.stop_at
        return False

    def teardown(self, estimator, context):
        self.told.append("teardown")


class Everywhere(Recorder):
    max_propagation_depth = None  # so scikit-learn hands it on to the estimators within


EPOCH_BY_EPOCH = ["begin epoch 0", "end epoch 0", "begin epoch 1", "end epoch 1"]


def tiny(**parameters):
    return CNNClassifier(**{"architecture": "tiny", "max_epochs": 2, "random_state": 0, **parameters})


@pytest.fixture
def images(few_digits):
    X, y, _, _ = few_digits
    return X[:200], y[:200]


def test_a_fit_is_a_task_and_each_epoch_one_of_its_subtasks(images):
    X, y = images
    weight = np.linspace(1, 2, len(y))
    recorder = Recorder()
    tiny().set_callbacks(recorder).fit(X, y, sample_weight=weight)
    assert recorder.told == ["setup", "begin fit 0", *EPOCH_BY_EPOCH, "end fit 0", "teardown"]
    for X_told, y_told, metadata in recorder.given:
        assert X_told is X
        assert y_told is y
        assert metadata["sample_weight"] is weight


def test_a_partial_fit_is_a_task_of_one_epoch(images):
    recorder = Recorder()
    tiny().set_callbacks(recorder).partial_fit(*images, classes=range(10))
    assert recorder.told == ["setup", "begin fit 0", *EPOCH_BY_EPOCH[:2], "end fit 0", "teardown"]


def test_scikit_learns_progress_bar_shows_the_fit(images, capsys):
    tiny().set_callbacks(callback.ProgressBar()).fit(*images)
    assert "CNNClassifier - fit" in capsys.readouterr().out


def test_scikit_learns_scoring_monitor_has_a_score_of_every_epoch(images):
    X, y = images
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = tiny(max_epochs=3).set_callbacks(monitor).fit(X, y)
    score_of = {row["task_id_path"]: row["accuracy"] for row in monitor.get_logs().data}
    assert [*score_of] == [(0,), (0, 0), (0, 1), (0, 2)]  # the fit, then its epochs
    assert score_of[0,] == score_of[0, 2] == clf.score(X, y)


@pytest.mark.parametrize(
    "parameters", [{}, {"weight_averaging": True, "augment": "shift"}], ids=["plain", "averaged and augmented"]
)
def test_what_is_handed_over_stays_as_if_training_had_stopped_there(images, parameters):
    X, y = images
    recorder = Recorder()
    tiny(max_epochs=3, lr_schedule="constant", **parameters).set_callbacks(recorder).fit(X, y)
    for n_epochs, snapshot in enumerate(recorder.snapshots, start=1):
        stopped = tiny(max_epochs=n_epochs, lr_schedule="constant", **parameters).fit(X, y)
        assert np.array_equal(snapshot.predict_proba(X), stopped.predict_proba(X))
        assert len(snapshot.history_) == n_epochs


@pytest.mark.parametrize(
    "parameters", [{}, {"architecture": "pytorch_mnist", "augment": "affine"}, {"early_stopping": True}]
)
def test_being_watched_changes_no_bit(images, parameters):
    X, y = images
    watched = tiny(**parameters).set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(X, y)
    assert np.array_equal(watched.predict_proba(X), tiny(**parameters).fit(X, y).predict_proba(X))


def test_a_callback_that_asks_for_it_ends_the_training_without_a_warning(images):
    recorder = Recorder(stop_at=0)
    clf = tiny(max_epochs=5).set_callbacks(recorder).fit(*images)
    assert len(clf.history_) == 1
    assert recorder.told == ["setup", "begin fit 0", *EPOCH_BY_EPOCH[:2], "end fit 0", "teardown"]


def test_the_epoch_that_early_stopping_ends_is_ended(images):
    X, y = images
    recorder = Recorder()
    clf = tiny(max_epochs=30, early_stopping=True, patience=1, lr=0.05).set_callbacks(recorder).fit(X, y)
    n_epochs = len(clf.history_)
    assert n_epochs < 30
    assert recorder.told[-3:] == [f"end epoch {n_epochs - 1}", "end fit 0", "teardown"]
    assert np.array_equal(recorder.snapshots[-1].predict_proba(X), clf.predict_proba(X))  # the best weights


def test_a_fit_that_fails_tears_down(images):
    X, y = images
    recorder = Recorder()
    with pytest.raises(ValueError, match="diverged"):
        tiny(optimizer="sgd", lr=1e30).set_callbacks(recorder).fit(X, y)
    assert recorder.told == ["setup", "begin fit 0", "begin epoch 0", "teardown"]


def test_a_fitted_classifier_keeps_nothing_of_the_fits_tasks(images):
    watched, alone = tiny().set_callbacks(Recorder()).fit(*images), tiny().fit(*images)
    assert vars(watched).keys() - vars(alone).keys() == {"_skl_callbacks"}
    assert [name for name, _ in watched.net_.callbacks_] == [name for name, _ in alone.net_.callbacks_]
    assert len(pickle.dumps(watched.net_)) == pytest.approx(len(pickle.dumps(alone.net_)), rel=0.01)


def test_a_checkpoint_that_has_finished_has_no_epoch_to_tell_of(images, tmp_path):
    tiny(checkpoint=tmp_path).fit(*images)
    recorder = Recorder()
    tiny(checkpoint=tmp_path).set_callbacks(recorder).fit(*images)
    assert recorder.told == ["setup", "begin fit 0", "end fit 0", "teardown"]


def test_a_search_hands_its_progress_bar_on(images):
    # Any estimator without support would be warned of, and warnings are errors here.
    search = GridSearchCV(tiny(max_epochs=1), {"lr": [0.005, 0.01]}, cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(*images)


def test_a_pipeline_hands_its_callbacks_on(images):
    X, y = images
    recorder = Everywhere()
    make_pipeline(StandardScaler(), tiny()).set_callbacks(recorder).fit(X.reshape(len(X), -1), y)
    assert [line for line in recorder.told if "epoch" in line] == EPOCH_BY_EPOCH


def test_test_time_augmentation_hands_its_callbacks_on(images):
    recorder = Everywhere()
    TestTimeAugmentation(tiny()).set_callbacks(recorder).fit(*images)
    inner = ["begin fit 0", *EPOCH_BY_EPOCH, "end fit 0"]  # the classifier's own fit, the only subtask of the outer one
    assert recorder.told == ["setup", "begin fit 0", *inner, "end fit 0", "teardown"]
