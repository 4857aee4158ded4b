"""Load and faults in earnest: 80,000 calls, thirty kills or interrupts of each kind, every surrounding by itself."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from cnnclf import CNNClassifier, ONNXClassifier, load_digits
from helpers import untimed
from tests.repo.test_faults import FIT_AND_HASH

pytestmark = pytest.mark.acceptance

N_KILLS = 30


# Threads

# Text as labels, whose every answer is an array of objects that are to be freed.
HAMMER = """
import sys, threading
import numpy as np
from cnnclf import ONNXClassifier

N_THREADS, N_CALLS = 8, 10_000
clf, X = ONNXClassifier(sys.argv[1]), np.load(sys.argv[2])
sizes = (0, 1, 7, 32, 33, 100, 257)
expected = {n: (clf.predict(X[:n]).tobytes(), clf.predict_proba(X[:n]).tobytes()) for n in sizes}
wrong, resident = [0] * N_THREADS, []

def measure():
    with open("/proc/self/statm") as file:
        resident.append(int(file.read().split()[1]) * 4096)

together = threading.Barrier(N_THREADS, action=measure)

def hammer(number):
    for call, n in enumerate(np.random.default_rng(number).choice(sizes, N_CALLS)):
        if call == N_CALLS // 10:
            together.wait()
        function = clf.predict_proba if call % 2 else clf.predict
        wrong[number] += function(X[:n]).tobytes() != expected[n][call % 2]
    together.wait()

threads = [threading.Thread(target=hammer, args=(number,)) for number in range(N_THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(wrong), *resident)
"""


def test_eighty_thousand_calls_in_eight_threads_give_the_same_bits_in_flat_memory(tmp_path: Path) -> None:
    X, y = load_digits()
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X[:400], names[y[:400]]).to_onnx(tmp_path / "digits.onnx")
    np.save(tmp_path / "X.npy", X[:257])
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "digits.onnx"), str(tmp_path / "X.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    wrong, early, late = map(int, run.stdout.split())
    assert wrong == 0
    # Of the 72,000 calls in between none may keep so much as a small object: 4 MiB are 58 bytes a call.
    assert late - early < 4 * 2**20


# Kills

DISK = 0.05  # seconds that the disk takes: so many kills find a file half written

# Forks a child at every line it reads: all of them write two models in turns under one name.
WRITERS = f"""
import os, sys, time
from cnnclf import CNNClassifier
folder, action = sys.argv[1:]
models = [CNNClassifier.load(f"{{folder}}/{{number}}.cnn") for number in (0, 1)]
write = getattr(CNNClassifier, action)
write(models[0], f"{{folder}}/first")  # whatever is imported or compiled at the first time is there now
fsync = os.fsync

def fsync_slowly(descriptor):
    time.sleep({DISK})
    fsync(descriptor)

os.fsync = fsync_slowly
for line in sys.stdin:
    pid = os.fork()
    while not pid:
        write(models[int(line)], f"{{folder}}/kept/model")
        line = 1 - int(line)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.mark.parametrize(
    ("action", "read", "longest"), [("save", CNNClassifier.load, 0.5), ("to_onnx", ONNXClassifier, 3.0)]
)
def test_thirty_of_thirty_kills_leave_the_old_or_the_new_file(
    action: str, read: Callable[[Path], Any], longest: float, tmp_path: Path
) -> None:
    X, y = load_digits()
    path = tmp_path / "kept" / "model"
    path.parent.mkdir()
    expected = []
    for seed in (0, 1):
        clf = CNNClassifier("pytorch_mnist", max_epochs=1, random_state=seed).fit(X[:100], y[:100])
        clf.save(tmp_path / f"{seed}.cnn")
        getattr(clf, action)(path)
        expected.append(read(path).predict_proba(X).tobytes())
    assert expected[0] != expected[1]

    rng = np.random.default_rng(0)
    found = []
    command = [sys.executable, "-c", WRITERS, str(tmp_path), action]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # torch hangs in forks of processes that ran more
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=one_thread
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for number in range(N_KILLS):
            before = set(path.parent.iterdir())
            writers.stdin.write(f"{number % 2}\n")
            pid = int(writers.stdout.readline())
            try:
                if number % 3:  # at any moment, or while a file is written
                    start = time.monotonic()
                    while set(path.parent.iterdir()) == before:
                        assert time.monotonic() - start < 60, "nothing is written beside the old file"
                        time.sleep(0.001)
                time.sleep(rng.uniform(0, 1.5 * DISK if number % 3 else longest))
            finally:  # the writers wait for it
                os.kill(pid, signal.SIGKILL)
            assert int(writers.stdout.readline()) == signal.SIGKILL
            found.append(expected.index(read(path).predict_proba(X).tobytes()))
            assert len(list(path.parent.iterdir())) <= 2 + number  # a killed process leaves one half of a file at most
    halves = set(path.parent.iterdir()) - {path}
    assert len(halves) > 5  # so many were killed at work
    assert set(found) == {0, 1}

    getattr(CNNClassifier.load(tmp_path / "0.cnn"), action)(path)  # what lies there is in nobody's way
    assert read(path).predict_proba(X).tobytes() == expected[0]
    assert set(path.parent.iterdir()) == halves | {path}


# Ctrl-C


def test_ctrl_c_at_thirty_random_moments_is_said_and_leaves_an_estimator() -> None:
    X, y = load_digits()
    X, y = X[:300], y[:300]

    def make() -> CNNClassifier:
        return CNNClassifier(
            max_epochs=6, augment="shift", weight_averaging=True, early_stopping=True, patience=6, random_state=0
        )

    whole = make().fit(X, y)
    start = time.monotonic()
    make().fit(X, y)
    duration = time.monotonic() - start
    n_threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(N_KILLS):
        clf, outcome = make(), "whole"
        timer = threading.Timer(rng.uniform(0, duration), signal.raise_signal, [signal.SIGINT])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                timer.start()
                clf.fit(X, y)
                timer.cancel()
                timer.join()
            except KeyboardInterrupt:
                outcome = "raised"
        if caught:
            (warning,) = caught
            assert str(warning.message).startswith("Training interrupted by user in epoch ")
            outcome = "said"
        outcomes.append(outcome)
        assert torch.get_num_threads() == n_threads
        try:
            assert np.isfinite(clf.predict_proba(X)).all()
        except NotFittedError:
            assert outcome == "raised"  # before there was anything
        else:
            assert untimed(clf.history_) == untimed(whole.history_[: len(clf.history_)])
            assert outcome != "whole" or len(clf.history_) == 6
        assert clf.fit(X, y).predict_proba(X).tobytes() == whole.predict_proba(X).tobytes()
    assert outcomes.count("said") >= N_KILLS // 2


# Surroundings

IN_JOBS = """
import hashlib
from cnnclf import CNNClassifier, load_digits
from sklearn.model_selection import cross_validate
X, y = load_digits()
clf = CNNClassifier("pool3_head1", max_epochs=2, augment="affine", weight_averaging=True, random_state=7)
for n_jobs in (1, 2):
    sha256 = hashlib.sha256()
    for fitted in cross_validate(clf, X[:300], y[:300], cv=4, n_jobs=n_jobs, return_estimator=True)["estimator"]:
        for name, tensor in fitted.module_.state_dict().items():
            sha256.update(name.encode() + tensor.contiguous().numpy().tobytes())
    print(sha256.hexdigest())
"""


def run(program: str, cwd: Path, environment: dict[str, str]) -> list[str]:
    """Run a program in a new process; give what it says."""
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", program], env=env, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_same_seed_gives_the_same_weights_in_every_surrounding(tmp_path: Path) -> None:
    orders = ("", "import torch", "import sklearn.ensemble", "import cnnclf.onnx._classifier", "import onnxruntime")
    # Several variables in one process: any of them that changed a bit would be seen.
    environments = [
        {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        {"PYTHONHASHSEED": "4321", "OMP_NUM_THREADS": "4", "OMP_DYNAMIC": "TRUE"},
        {"MKL_NUM_THREADS": "4", "MKL_DYNAMIC": "FALSE", "OPENBLAS_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "1"},
        {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONOPTIMIZE": "1"},
    ]
    found = {order: run(f"{order}\n{FIT_AND_HASH}", tmp_path, {}) for order in orders}
    found |= {str(variables): run(FIT_AND_HASH, Path.cwd(), variables) for variables in environments}
    assert len({tuple(digests) for digests in found.values()}) == 1, found


def test_the_same_seed_gives_the_same_weights_in_one_job_and_in_two(tmp_path: Path) -> None:
    digests = run(IN_JOBS, tmp_path, {"PYTHONHASHSEED": "0"}) + run(IN_JOBS, tmp_path, {"OMP_NUM_THREADS": "2"})
    assert len(digests) == 4
    assert len(set(digests)) == 1
