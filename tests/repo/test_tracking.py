"""``docs/tracking.md``: its programs, run as written, and what they leave in MLflow's store and TensorBoard's."""

import re

import pytest
from skorch.callbacks import Callback

from cnnclf import CNNClassifier
from helpers import ROOT, need, run_python

PAGE = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}


def programs(section: str, language: str = "python") -> str:
    """All blocks of a section, one after another."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], flags=re.DOTALL))


class Logger(Callback):  # type: ignore[misc]
    """Note what is there at an epoch's end, as skorch's loggers do."""

    def __init__(self, seen: list[dict[str, float]]) -> None:
        self.seen = seen

    def on_epoch_end(self, net, **kwargs) -> None:  # type: ignore[no-untyped-def]
        self.seen.append({name: value for name, value in net.history[-1].items() if isinstance(value, float)})


def test_a_logger_sees_what_the_history_has(few_digits):
    X, y, *_ = few_digits
    seen: list[dict[str, float]] = []
    clf = CNNClassifier("lenet5", max_epochs=2, early_stopping=True, random_state=0, callbacks=[Logger(seen)])
    clf.fit(X, y)
    assert [epoch.keys() - {"dur", "valid_acc"} for epoch in seen] == [
        epoch.keys() - {"epoch", "valid_images", "seconds"} for epoch in clf.history_
    ]
    for epoch, row in zip(seen, clf.history_, strict=True):
        assert epoch["valid_acc"] == row["valid_accuracy"]
        assert {name: row[name] for name in row.keys() & epoch.keys()} == {
            name: epoch[name] for name in row.keys() & epoch.keys()
        }


@pytest.mark.acceptance
def test_a_run_has_parameters_epochs_and_the_model(tmp_path):
    need("mlflow", "tracking")
    look = """
store = mlflow.MlflowClient()
told = store.get_run(run.info.run_id)
assert told.info.status == "FINISHED"
assert told.data.params == {name: str(value) for name, value in clf.get_params().items()}
assert told.data.metrics["test_accuracy"] == clf.score(X_test, y_test)
for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr"):
    logged_values = [(each.step, each.value) for each in store.get_metric_history(run.info.run_id, name)]
    assert logged_values == [(row["epoch"], row[name]) for row in clf.history_], name
assert [output.model_id for output in told.outputs.model_outputs] == [logged.model_id]
onnx.checker.check_model(graph)
assert graph == onnx.load("digits.onnx")
assert store.list_artifacts(run.info.run_id) == []

again = CNNClassifier("lenet5", max_epochs=1, random_state=0, callbacks=[MlflowLogger()])
with mlflow.start_run() as run:
    again.fit(X, y)
kept = {file.path for file in store.list_artifacts(run.info.run_id)}
assert kept == {"criterion.pth", "history.json", "optimizer.pth", "params.pth"}

import copy
import pickle

for copied in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
    assert (copied.predict(X_test) == again.predict(X_test)).all()
"""
    assert run_python(programs("MLflow") + look, tmp_path) == programs("MLflow", "text")


@pytest.mark.acceptance
def test_each_fit_of_a_grid_search_has_a_run_inside_the_search_s(tmp_path):
    need("mlflow", "tracking")
    look = """
runs = mlflow.search_runs(experiment_names=["search"], output_format="list")
(parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
inner = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
assert len(runs) == 6 and len(inner) == 5
assert {run.info.status for run in runs} == {"FINISHED"}
best = str(search.best_params_["lr"])
assert parent.data.params == {"lr": best}
assert sorted(run.data.params["lr"] for run in inner) == sorted(["0.002", "0.005"] * 2 + [best])
assert all(run.data.metrics["train_loss"] > 0 for run in inner)
assert parent.data.metrics.keys() == {"mean_test_score"}
"""
    run_python(programs("MLflow in a grid search") + look, tmp_path)


@pytest.mark.acceptance
def test_mlflow_refuses_a_plain_folder_as_the_page_says(tmp_path):
    need("mlflow", "tracking")
    program = """
import mlflow
try:
    mlflow.set_tracking_uri("file:./mlruns")
    mlflow.set_experiment("digits")
except mlflow.exceptions.MlflowException as error:
    print("maintenance mode" in str(error), "MLFLOW_ALLOW_FILE_STORE=true" in str(error))
"""
    assert run_python(program, tmp_path) == "True True\n"


@pytest.mark.acceptance
def test_skorch_cannot_copy_a_logger_that_was_used_as_the_page_says(tmp_path):
    need("mlflow", "tracking")
    program = """
import mlflow
from skorch.callbacks import MlflowLogger
from sklearn.base import clone

mlflow.set_tracking_uri("sqlite:///mlflow.db")
logger = MlflowLogger()
clone(logger)
logger.initialize().on_train_begin(None)
try:
    clone(logger)
except TypeError as error:
    print(error)
"""
    assert run_python(program, tmp_path).strip().endswith("got an unexpected keyword argument '_batch_count'")


@pytest.mark.acceptance
def test_tensorboard_has_every_epoch(tmp_path):
    need("tensorboard", "tracking")
    look = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("runs/digits").Reload()
for tag, name in (("Loss/train_loss", "train_loss"), ("Loss/valid_loss", "valid_loss"), ("lr", "lr")):
    for event, row in zip(events.Scalars(tag), clf.history_, strict=True):
        assert event.step == row["epoch"] and abs(event.value - row[name]) <= 1e-6 * abs(row[name]), tag

from sklearn.base import clone
with SummaryWriter("runs/search") as writer:
    try:
        clone(CNNClassifier(callbacks=[TensorBoard(writer)]))
    except TypeError as error:
        print(error)
"""
    assert run_python(programs("TensorBoard") + look, tmp_path) == "cannot pickle '_thread.lock' object\n"
