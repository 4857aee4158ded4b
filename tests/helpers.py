"""What several test modules share: processes that start at once, callbacks, what is expected of a sentence."""

import contextlib
import importlib.util
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import settings
from skorch.callbacks import Callback
from torch import nn

ROOT = Path(__file__).parents[1]

unhurried = settings(deadline=None)  # on a busy machine one example may take longer than Hypothesis allows


# Sentences and records


def exactly(sentence):
    """Return the expression that matches a sentence from end to end, and nothing else."""
    return rf"\A{re.escape(sentence)}\Z"


def with_gaps(sentence):
    """Return the expression that matches a sentence from end to end, in which … stands for words that are not ours."""
    return exactly(sentence).replace("…", ".+")


def read_or_refused(load, file):
    """Return what `load` makes of `file`, or None if it is refused by name."""
    try:
        return load(file)
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith(f"{file}: expected ")
    return None


def error_of(function, *arguments, kind=ValueError, **named):
    """Return the sentence of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*arguments, **named)
    return str(caught.value)


def untimed(history):
    """Return the rows of a history without what differs from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def texts(ax):
    """Return every text in a plot."""
    return [text.get_text() for text in ax.texts]


# Networks and training


def sequential(**layers):
    """Return a network of named layers."""
    return nn.Sequential(OrderedDict(layers))


class EndAfter(Callback):
    """A callback that ends training after an epoch, as skorch's own do."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


# A classifier


def quick(architecture="compact", **parameters):
    """One epoch, seeded, of images as they are, but for what is asked for."""
    from cnnclf import CNNClassifier

    return CNNClassifier(architecture, **({"max_epochs": 1, "augment": None, "random_state": 0} | parameters))


def same_bits(clf, other, X, X_other=None):
    """Whether two fitted classifiers give the same probabilities, bit for bit."""
    a, b = clf.predict_proba(X), other.predict_proba(X if X_other is None else X_other)
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def cross_entropy(clf, X, y, weight=None):
    """The weighted mean of −ln p of the true class, from logits in float64, so that no probability is rounded to 0."""
    logits = clf.decision_function(X).astype(np.float64)
    log_p = logits[np.arange(len(y)), y] - np.logaddexp.reduce(logits, axis=1)
    return -np.average(log_p, weights=weight)


STRANGERS = "Expected every label of {} to be one of the classes {}; got {}. Leave those rows out, or fit with them."


class Seen(Callback):
    """Note the labels of each batch, of training (True) and of validation (False), and torch's random state then."""

    def on_train_begin(self, net, **kwargs):
        self.labels = {True: [], False: []}
        self.n_threads = set()

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.labels[training] += batch[1].tolist()
        self.n_threads.add(torch.get_num_threads())


class Interrupt(Callback):
    """The user's Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch and len(net.history[-1, "batches"]) == 2:
            raise KeyboardInterrupt


def layers(*modules, **named):
    return lambda image_shape, n_classes: nn.Sequential(*modules) if modules else nn.Sequential(OrderedDict(named))


# The command line


def cnnclf(*arguments):
    """Run a command in this process."""
    from typer.testing import CliRunner

    from cnnclf.cli._main import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# Processes

# Torch, what it imports when it trains for the first time (_dynamo) and scikit-learn take seconds to import, and what
# this file needs for tests half a second: once in a process that forks, instead of once in each child.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["torch._dynamo", "skorch", "sklearn.model_selection", "pytest", "hypothesis"])


def run_in_child(program, **environment):
    """Run a program, as ``python -c`` does, in a process that has imported torch and scikit-learn and nothing of ours.

    Parameters
    ----------
    program : str
        Python statements.
    **environment : str or None
        Variables of the environment; None is one that is not set.

    Returns
    -------
    subprocess.CompletedProcess
        With what it printed as text.
    """
    with TemporaryDirectory() as outputs:
        paths = Path(outputs, "stdout"), Path(outputs, "stderr")
        child = CHILDREN.Process(target=run_program, args=(program, *paths, environment))
        child.start()
        child.join()
        return subprocess.CompletedProcess(program, child.exitcode, *(path.read_text() for path in paths))


def run_program(program, stdout, stderr, environment):
    """Run a program in this process, which ends with it."""
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    sys.argv = ["-c"]
    exec(program, {"__name__": "__main__"})


# Programs and servers of the documentation

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Whoever asks for an address outside this machine is sent to a port that nobody listens at.
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
}


def need(package, extra="serve"):
    """Skip where a package of an extra is missing."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install '.[{extra}]'")


def run_python(program, folder):
    """Run a block as a program of its own; give what it prints."""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def free_ports(n):
    """Find ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


@contextlib.contextmanager
def serving(command, folder, ready, **environment):
    """Run a server until the block ends, which begins when an address answers 200."""
    log = folder / f"{command[0]}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server and what it has started: a session of their own
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(address):
    """Return whether an address answers 200."""
    import requests

    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


# The browser


def set_size(driver, width, height):
    """Give a page a window of a size, below 600 pixels that of a telephone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
