"""What `cnnclf.allocator` promises: glibc keeps freed memory, unless it is told not to."""

import os
import subprocess
import sys

import pytest

from cnnclf.training._allocator import keep_freed_memory

ON_GLIBC = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ()) else None

# Sixteen blocks of 1 MiB are taken, filled and freed, ten times over; each page that comes from the system anew is a
# minor fault. 16 MiB are 4,096 pages of 4 KiB.
PROGRAM = """
import resource
import torch
if {train}:
    import cnnclf.training._net
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def churn():
    blocks = [torch.ones(2**18) for _ in range(16)]
churn()
before = faults()
for _ in range(10):
    churn()
print(faults() - before)
"""


def faults(train, **environment):
    """Count the pages that ten rounds fault in, where memory goes back to the system as soon as it is free."""
    trimmed = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-c", PROGRAM.format(train=train)]
    return int(subprocess.run(command, env=trimmed, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not ON_GLIBC, reason="needs glibc, whose allocator this is about")
def test_importing_training_keeps_freed_memory():
    assert faults(train=True) < 4096 < faults(train=False)


@pytest.mark.skipif(not ON_GLIBC, reason="needs glibc, whose allocator this is about")
def test_an_environment_variable_turns_it_off():
    assert faults(train=True, CNNCLF_MALLOPT="0") > 4096


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert not keep_freed_memory()
