"""Thirty processes killed at random moments, and thirty networks that are the same to the bit."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnclf import CNNClassifier, load_digits
from helpers import CHILDREN

pytestmark = pytest.mark.acceptance

N_KILLS = 30
LONGEST = 600.0  # seconds, for a process that never gets ready


def make(folder: Path | None) -> CNNClassifier:
    """Everything that has a state: momentum, averages, early stopping, random shifts, dropout."""
    return CNNClassifier(
        "pool3_head1",
        max_epochs=12,
        augment="shift",
        weight_averaging=True,
        early_stopping=True,
        patience=12,
        checkpoint=folder,
        random_state=0,
    )


def fit(folder: Path, is_ready: multiprocessing.synchronize.Event) -> None:
    """Fit, with word of when it begins."""
    X, y = load_digits()
    CNNClassifier(max_epochs=1).fit(X[:20], y[:20])  # torch loads much of itself in its first training step
    is_ready.set()
    make(folder).fit(X[:400], y[:400])


def test_thirty_of_thirty_kills_at_random_moments_are_gone_on_from_to_the_bit(tmp_path: Path) -> None:
    X, y = load_digits()
    whole = make(None).fit(X[:400], y[:400])
    expected = whole.module_.state_dict()

    start = time.monotonic()
    make(tmp_path / "timed").fit(X[:400], y[:400])
    duration = time.monotonic() - start

    rng = np.random.default_rng(0)
    found = []
    for number in range(4 * N_KILLS):  # a fit that was faster than its killer does not count
        folder = tmp_path / str(number)
        is_ready = CHILDREN.Event()
        process = CHILDREN.Process(target=fit, args=(folder, is_ready))
        process.start()
        assert is_ready.wait(LONGEST)
        time.sleep(rng.uniform(0, duration))
        process.kill()
        process.join()
        if process.exitcode == 0:
            continue
        found.append(max((path.name for path in folder.glob("epoch-*.checkpoint")), default="nothing"))
        resumed = make(folder).fit(X[:400], y[:400])
        assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.module_.state_dict().items()), folder
        assert [row["train_loss"] for row in resumed.history_] == [row["train_loss"] for row in whole.history_]
        if len(found) == N_KILLS:
            break
    assert len(found) == N_KILLS
    assert len(set(found)) > 5  # all over the run
