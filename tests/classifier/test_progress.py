"""Progress that is shown, and a fit that is interrupted."""

import fcntl
import os
import pickle
import struct
import sys
import termios
import threading

import pytest

from cnnclf._utils.text import percent
from helpers import Interrupt, exactly, quick, same_bits

# Progress


@pytest.mark.parametrize("verbose", [0, 1, True])
def test_nothing_is_printed_where_there_is_no_terminal(verbose, some, capfd):
    X, y = some
    quick(max_epochs=3, verbose=verbose, early_stopping=True, patience=1).fit(X, y).predict(X)
    assert capfd.readouterr() == ("", "")


def test_a_program_without_stderr_shows_no_bar(some, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw.exe
    quick("tiny", verbose=1).fit(*some)


@pytest.mark.parametrize(("verbose", "valid"), [(1, False), (1, True), (0, False)])
def test_a_terminal_shows_a_bar(verbose, valid, some, monkeypatch, capfd):
    X, y = some
    terminal, screen = os.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # lines, columns, pixels
    shown = []

    def read():
        while True:
            try:
                shown.append(os.read(terminal, 4096))
            except OSError:  # the other end is closed: that is how a pseudo-terminal ends
                return

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(screen, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        clf = quick(max_epochs=2, batch_size=40, verbose=verbose)
        clf.fit(X, y, X_val=X if valid else None, y_val=y if valid else None)
        monkeypatch.undo()
    reader.join(timeout=60)
    os.close(terminal)
    text = b"".join(shown).decode()

    assert capfd.readouterr().out == ""
    if not verbose:
        assert text == ""
        return
    last = clf.history_[-1]
    kind = "valid" if valid else "train"
    assert "epoch 2: 100%" in text
    assert "6/6" in text  # 120 rows in batches of 40, twice
    assert f"{kind} loss {last[f'{kind}_loss']:.4f}, accuracy {percent(last[f'{kind}_accuracy'])}" in text


# Interruption


@pytest.mark.parametrize("parameters", [{}, {"weight_averaging": True}, {"early_stopping": True}, {"augment": "shift"}])
@pytest.mark.parametrize("whole_epochs", [0, 2])
def test_an_interrupted_fit_is_a_fit(whole_epochs, parameters, some):
    X, y = some
    clf = quick(max_epochs=9, batch_size=20, callbacks=[Interrupt(whole_epochs + 1)], **parameters)
    sentence = f"Training interrupted by user in epoch {whole_epochs + 1}; the estimator is usable."
    with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
        assert clf.fit(X, y) is clf
    assert [warning.filename for warning in caught] == [__file__]  # it points at the call of fit

    assert len(clf.history_) == whole_epochs
    assert set(clf.predict(X)) <= set(range(10))
    assert not clf.module_.training
    assert same_bits(pickle.loads(pickle.dumps(clf)), clf, X)
    clf.set_params(callbacks=None)
    clf.partial_fit(X, y)
    assert len(clf.history_) == whole_epochs + 1


def test_after_an_interruption_training_goes_on_where_it_stood(some):
    X, y = some
    clf = quick(max_epochs=4, batch_size=20, warm_start=True, callbacks=[Interrupt(3)])
    with pytest.warns(UserWarning, match=r"\ATraining interrupted by user in epoch 3; "):
        clf.fit(X, y)
    loss = clf.history_[-1]["train_loss"]
    clf.set_params(callbacks=None).fit(X, y)
    assert len(clf.history_) == 6
    assert clf.history_[2]["train_loss"] < loss
