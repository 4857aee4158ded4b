"""Searches over Dask's and Ray's workers: the scores of one process, killed workers, and the page about clusters."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch.callbacks import Callback

from cnnclf import CNNClassifier
from helpers import ROOT

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed", reason="needs Dask's workers: pip install distributed")

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _the_environment_stays_as_it_was():
    """Take away what Dask and Ray leave in the environment, such as OMP_NUM_THREADS=1."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A scheduler and two worker processes of one thread each, started by the page's two commands on this machine."""
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    scheduler, worker = (shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines())
    assert (scheduler, worker[:3]) == (["dask", "scheduler"], ["dask", "worker", "tcp://192.168.1.10:8786"])
    folder = tmp_path_factory.mktemp("dask")
    # The workers get the address that is printed and written into a file.
    here, told = str(Path(sys.executable).with_name("dask")), folder / "scheduler.json"
    of_scheduler = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    two = [*worker[3:], "--dashboard-address", "127.0.0.1:0", "--local-directory", str(folder)]
    two[two.index("--nworkers") + 1] = "2"
    commands = [
        [here, *scheduler[1:], *of_scheduler, "--scheduler-file", str(told)],
        [here, worker[1], "--scheduler-file", str(told), *two],
    ]
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            )
            stack.callback(os.killpg, process.pid, signal.SIGTERM)
        client = stack.enter_context(distributed.Client(scheduler_file=str(told)))
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="module")
def some(few_digits):
    """200 images and labels that may be written to: Dask sends them as they are."""
    X, y, *_ = few_digits
    return X[:200].copy(), y[:200].copy()


def search(**parameters):
    """Two candidates in three folds on whatever workers there are."""
    clf = CNNClassifier("lenet5", max_epochs=2, random_state=0, **parameters)
    return GridSearchCV(clf, {"lr": [0.002, 0.005]}, cv=3, n_jobs=-1, error_score="raise")


@pytest.fixture(scope="module")
def in_process(some):
    """The same search in one process."""
    return search().set_params(n_jobs=1).fit(*some)


def assert_same_bits(there, here, X):
    names = [name for name in here.cv_results_ if name.startswith("split")]
    assert len(names) == 3
    for name in names:
        np.testing.assert_array_equal(there.cv_results_[name], here.cv_results_[name])
    assert len(set(here.cv_results_["mean_test_score"])) == 2  # not all alike, which would be no evidence
    assert there.best_params_ == here.best_params_
    np.testing.assert_array_equal(there.predict_proba(X), here.predict_proba(X))


# Dask


def test_workers_that_are_started_by_hand_have_one_thread_each(client):
    assert [*client.nthreads().values()] == [1, 1]


def test_dask_gives_the_scores_of_one_process_to_the_bit(client, some, in_process):
    class Noted(Callback):
        """Record on the scheduler which process fits."""

        def on_train_end(self, net, **kwargs):
            distributed.get_client().log_event("fits", os.getpid())

    with joblib.parallel_config(backend="dask"):
        there = search(callbacks=[Noted()]).fit(*some)
    fitters = {pid for _, pid in client.get_events("fits")}

    assert_same_bits(there, in_process, some[0])
    assert fitters == {os.getpid(), *client.run(os.getpid).values()}  # the best once more in this process


def test_dask_is_sent_the_images_once(client, some):
    n_sent = 0

    class Images(np.ndarray):
        """Images that count how often they leave this process."""

        def __reduce_ex__(self, protocol):
            nonlocal n_sent
            n_sent += 1
            return np.asarray(self).__reduce_ex__(protocol)

    @distributed.protocol.dask_serialize.register(Images)
    def serialise(images):
        nonlocal n_sent
        n_sent += 1
        return distributed.protocol.numpy.serialize_numpy_ndarray(np.asarray(images))

    X, y = some[0].view(Images), some[1]
    with joblib.parallel_config(backend="dask", scatter=[X, y]):
        search().fit(X, y)
        search().fit(X, y)
    assert n_sent == 1

    n_sent = 0
    with joblib.parallel_config(backend="dask"):  # joblib then does it in each search anew
        search().fit(X, y)
        search().fit(X, y)
    assert n_sent == 2


def test_dask_survives_a_worker_that_is_killed_in_a_fit(client, some, in_process, tmp_path):
    X, y = some
    marker = tmp_path / "killed"

    class KillOnce(Callback):
        """Kill the process in the second epoch of the second candidate, once."""

        def on_batch_end(self, net, **kwargs):
            if net.lr == 0.005 and len(net.history) == 2 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    before = set(client.run(os.getpid).values())
    folds = list(StratifiedKFold(3).split(X, y))
    client.amm.stop()  # would take away all copies but one
    # What lies on one worker alone dies with it, so the row numbers of the folds are sent to all workers, too.
    with joblib.parallel_config(backend="dask", scatter=[X, y, *(rows for fold in folds for rows in fold)]):
        there = search(callbacks=[KillOnce()]).set_params(cv=folds).fit(X, y)

    assert marker.exists()
    assert_same_bits(there, in_process, X)
    client.wait_for_workers(2)
    assert len(before & set(client.run(os.getpid).values())) == 1  # the other one is new


# The page


def test_the_page_runs_and_its_settings_arrive_in_the_workers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, of_search = {}, {}
    for block in BLOCKS:
        if "import ray" not in block:
            exec(block, names)
            of_search[block] = names["search"].cv_results_["mean_test_score"].tolist()

    alone, on_dask, sent_once, kept, _ = of_search.values()
    assert alone == on_dask == sent_once
    assert max(alone) > 0.8
    assert len(names["scores"]) == 3
    assert len(list(tmp_path.glob("search/*"))) == 5  # 2 × 2 fits, and the best once more on all images
    assert kept != alone
    # Dask's own setting is 65536 for the first, which the page's first cluster leaves behind, and none for the others.
    shown = re.findall(r"^(\w+) \{'tcp://127\.0\.0\.1:\d+': '(\d+)'\}$", capsys.readouterr().out, flags=re.MULTILINE)
    assert shown == [
        ("MALLOC_TRIM_THRESHOLD_", str(2**30)),
        ("MALLOC_MMAP_THRESHOLD_", str(2**25)),
        ("MALLOC_TOP_PAD_", str(2**26)),
    ]


@pytest.mark.acceptance
def test_the_page_on_ray_gives_the_scores_of_one_process_to_the_bit(tmp_path, monkeypatch, some, in_process):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray keeps the token that its processes show each other
    (block,) = (block for block in BLOCKS if "import ray" in block)
    X, y = some
    names = {"joblib": joblib, "GridSearchCV": GridSearchCV, "X": X, "y": y}
    names |= {"clf": search().estimator, "grid": search().param_grid}
    try:
        exec(block, names)
    finally:
        ray.shutdown()

    assert_same_bits(names["search"], in_process, X)
