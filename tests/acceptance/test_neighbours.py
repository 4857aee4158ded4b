"""``docs/works_with.md``: every line of its table is run, and does with this package what it is there for."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score

from cnnclf import CNNClassifier, TestTimeAugmentation
from helpers import ROOT

pytestmark = pytest.mark.acceptance

PAGE = (ROOT / "docs" / "works_with.md").read_text(encoding="utf-8")
(SETUP,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ROWS = [row.strip("|").split("|") for row in PAGE.splitlines() if row.startswith("|")][2:]
# The words that a row begins with, to its modules and its line.
LINES = {
    re.split(r"[:;]", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", library))[0].strip(): (
        re.findall(r"`(.*?)`", library),
        line.strip(" `"),
    )
    for library, line, _ in ROWS
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Whatever the page's first block defines."""
    namespace: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("page"))
        exec(SETUP, namespace)
    return namespace


def run(row: str, page: dict[str, Any]) -> Any:
    """Run the line of a row; a library that is missing is named."""
    modules, line = LINES[row]
    names = {}
    for module in modules:
        pytest.importorskip(module.split(".")[0])
        library = importlib.import_module(module)
        names |= {name: getattr(library, name) for name in re.findall(r"\w+", line) if hasattr(library, name)}
    return eval(line, names | page)


def test_every_row_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [row for row in LINES if f'run("{row}", page)' not in source] == []


def test_sets_of_labels_hold_the_right_one_nine_times_in_ten(page: dict[str, Any]) -> None:
    _, sets = run("MAPIE", page)
    y_test = page["y_test"][600:]  # 597 of them: a share of .9 has a standard deviation of .012, and .017 with that of
    covered = sets[np.arange(len(y_test)), y_test, 0].mean()  # the 600 that it was set on
    assert 0.85 < covered < 0.97 or (covered >= 0.97 and sets.sum() == len(y_test))
    _, of_onnx = run("MAPIE, around an ONNX file", page)
    assert np.mean(sets == of_onnx) > 0.999  # two engines round differently


def test_wrong_labels_are_found(page: dict[str, Any]) -> None:
    wrong = page["y_noisy"] != page["y"]  # 15 of 600
    found = run("cleanlab", page)
    assert found[wrong].mean() > 0.5
    assert found[~wrong].mean() < 0.05


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename")  # cleanlab's own, of pandas 3
def test_datalab_goes_through_the_probabilities(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cleanlab, all kinds of issues", page) is None
    assert re.search(r"\d+ issues found in the dataset", capsys.readouterr().out)


def test_training_without_wrong_labels(page: dict[str, Any]) -> None:
    assert run("cleanlab, training without wrong labels", page) > 0.85


def test_rows_to_label_next_are_rows_without_a_label(page: dict[str, Any]) -> None:
    queried = run("scikit-activeml", page)
    assert len(set(queried)) == 5
    assert np.isnan(page["y_partly"][queried]).all()


def test_a_pipeline_that_resamples(page: dict[str, Any]) -> None:
    pipeline = run("imbalanced-learn", page)
    assert pipeline.score(page["flat_test"], page["y_test"]) > 0.85


def test_a_report_has_the_accuracy_of_score(page: dict[str, Any]) -> None:
    assert run("skore", page) == page["clf"].score(page["X_test"], page["y_test"])


def test_groups_are_compared(page: dict[str, Any]) -> None:
    by_group = run("fairlearn", page)
    right, group = page["clf"].predict(page["X_test"]) == page["y_test"], page["group"]
    assert by_group.to_dict() == {False: right[~group].mean(), True: right[group].mean()}


def test_attributions_add_up_to_the_difference_of_the_logits(page: dict[str, Any]) -> None:
    attributions = run("captum", page)
    clf, images = page["clf"], page["images"]
    with torch.no_grad():
        logits, of_nothing = clf.module_(images), clf.module_(0 * images)
    label = torch.from_numpy(clf.predict(page["X_test"][:4]))[:, None]
    difference = (logits - of_nothing).gather(1, label)[:, 0]
    assert attributions.sum(dim=(1, 2, 3)).tolist() == pytest.approx(difference.tolist(), abs=0.5)


def test_activations_are_those_of_a_trace(page: dict[str, Any]) -> None:
    log = run("TorchLens", page)
    trace = page["clf"].trace(page["X_test"][0])
    for name in ("conv1", "pool1", "conv4"):
        assert log[name].out[0].detach().numpy() == pytest.approx(trace[name].output, abs=1e-5)


def test_a_study_runs(page: dict[str, Any]) -> None:
    assert run("Optuna", page) is None  # every trial that fails is raised


def test_a_progress_bar_shows(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(run("scikit-learn", page), CNNClassifier)
    assert "CNNClassifier - fit" in capsys.readouterr().out


def labels_of_graph(model: Any, X: Any) -> Any:
    from onnxruntime import InferenceSession

    session = InferenceSession(model.SerializeToString())
    (taken,) = session.get_inputs()
    return session.run(
        None, {taken.name: X.astype({"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[taken.type])}
    )[0]


def test_a_calibrated_classifier_is_one_graph(page: dict[str, Any]) -> None:
    assert accuracy_score(page["y_test"], labels_of_graph(run("skl2onnx", page), page["X_test"])) > 0.9


def test_a_vote_is_one_graph(page: dict[str, Any]) -> None:
    assert accuracy_score(page["y_test"], labels_of_graph(run("skl2onnx, a vote", page), page["X_test"])) > 0.9


def test_a_mean_over_shifted_images_is_one_graph(page: dict[str, Any]) -> None:
    model = run("skl2onnx, the mean over shifted images", page)
    views = TestTimeAugmentation(FrozenEstimator(page["clf"])).fit(page["X"], page["y"])
    assert (labels_of_graph(model, page["X_test"]) == views.predict(page["X_test"])).all()
