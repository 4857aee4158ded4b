"""Training has glibc keep freed memory, unless that is switched off; before and after it nothing is kept."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from cnnclf import CNNClassifier
from cnnclf.training import _runtime as allocator
from cnnclf.training._runtime import FIXED, HIGHEST_ADJUSTED, WHILE_TRAINING, KeptMemory, thresholds_outside

pytestmark = pytest.mark.slow

ON_GLIBC = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ()) else None

# Blocks of 1 MiB are taken, filled and freed, ten times over; each page that comes from the system anew is a minor
# fault. It is done after training is imported, while it runs, and after it: with 16 blocks (4,096 pages of 4 KiB) while
# it runs and 32 otherwise. So at least 16 have to come from the system afterwards, even if a small block that is still
# in use lies above those that training freed, and keeps the heap from shrinking.
PROGRAM = """
import resource
import torch
from cnnclf.training import _net
from cnnclf.training._runtime import KEPT_MEMORY
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def churn(n_blocks):
    blocks = [torch.ones(2**18) for _ in range(n_blocks)]
def count(n_blocks):
    churn(n_blocks)
    before = faults()
    for _ in range(10):
        churn(n_blocks)
    return faults() - before
imported = count(32)
with KEPT_MEMORY:
    training = count(16)
print(imported, training, count(32))
"""


def count_faults(**environment):
    """Count the pages that ten rounds fault in, three times."""
    command = [sys.executable, "-c", PROGRAM]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "CNNCLF_"))}
    variables |= {"OMP_NUM_THREADS": "1"} | environment
    return map(int, subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.skipif(not ON_GLIBC, reason="needs glibc, whose allocator this is about")
def test_freed_memory_is_kept_while_training_and_no_longer():
    imported, training, after = count_faults(MALLOC_TRIM_THRESHOLD_="65536")
    assert training < 4096 < min(imported, after)


@pytest.mark.skipif(not ON_GLIBC, reason="needs glibc, whose allocator this is about")
def test_an_environment_variable_turns_it_off():
    assert min(count_faults(MALLOC_TRIM_THRESHOLD_="65536", CNNCLF_MALLOPT="0")) > 4096


@pytest.mark.skipif(not ON_GLIBC, reason="needs glibc, whose allocator this is about")
def test_without_variables_glibc_keeps_afterwards_what_it_keeps_at_most():
    _, training, after = count_faults()
    assert max(training, after) < 4096


@pytest.fixture
def settings(monkeypatch):
    """All thresholds that are set, in order."""
    settings = []
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator, "set_thresholds", settings.append)
    for name in [name for name in os.environ if name.startswith("MALLOC_")] + ["GLIBC_TUNABLES", "CNNCLF_MALLOPT"]:
        monkeypatch.delenv(name, raising=False)
    return settings


def test_fit_keeps_freed_memory_and_stops_to(settings):
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    clf = CNNClassifier("lenet5", max_epochs=1, random_state=0)
    assert settings == []
    clf.fit(images, [0, 0, 1, 1])
    assert settings == [WHILE_TRAINING, HIGHEST_ADJUSTED]
    clf.predict(images)
    clf.partial_fit(images, [0, 0, 1, 1])
    assert settings == 2 * [WHILE_TRAINING, HIGHEST_ADJUSTED]


def test_a_fit_that_fails_stops_to(settings):
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    with pytest.raises(ValueError, match="Training diverged"):
        CNNClassifier("lenet5", lr=1e30, max_epochs=3, random_state=0).fit(images, [0, 0, 1, 1])
    assert settings == [WHILE_TRAINING, HIGHEST_ADJUSTED]


def test_the_last_of_several_threads_stops_to(settings):
    kept, entered, leave = KeptMemory(), threading.Event(), threading.Event()

    def stay():
        with kept:
            entered.set()
            leave.wait(20)

    other = threading.Thread(target=stay)
    with kept:
        other.start()
        assert entered.wait(20)
    assert settings == [WHILE_TRAINING]
    leave.set()
    other.join()
    assert settings == [WHILE_TRAINING, HIGHEST_ADJUSTED]


def test_other_c_libraries_are_left_alone(monkeypatch, settings):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    with KeptMemory():
        pass
    assert settings == []


@pytest.mark.parametrize(
    ("environment", "mmap", "trim"),
    [
        ({"MALLOC_MMAP_THRESHOLD_": "4096"}, 4096, FIXED),
        ({"MALLOC_TOP_PAD_": "4096"}, FIXED, FIXED),
        ({"MALLOC_MMAP_THRESHOLD_": "1", "MALLOC_TRIM_THRESHOLD_": "2"}, 1, 2),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1:glibc.malloc.trim_threshold=2"}, FIXED, 2),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1", "MALLOC_ARENA_MAX": "1"}, 2**25, 2**26),
        ({"MALLOC_TRIM_THRESHOLD_": "much"}, 2**25, 2**26),
    ],
)
def test_what_the_environment_sets_comes_back(environment, mmap, trim):
    assert list(thresholds_outside(environment).values()) == [mmap, trim]
