"""Files from strangers: each is refused with a sentence that names it and says why, and costs little.

`hostile` makes the files and reads each in a process of its own. Here is said what has to come of it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hostile
from cnnclf import CNNClassifier, ONNXClassifier, load_digits
from helpers import run_in_child
from hostile import HOSTILE, MARK, place

pytestmark = pytest.mark.slow

PACKAGE = Path(hostile.digest.__file__).parent.parent
SCRIPT = hostile.__file__
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # a process with waiting threads cannot be forked safely
MOST_MEGABYTES = 256
MOST_SECONDS = 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of hostile files."""
    folder = tmp_path_factory.mktemp("hostile")
    run_script(folder)
    return folder


@pytest.fixture(scope="module")
def said(corpus):
    """What was raised by each of them, by (reader, name)."""
    lines = map(json.loads, run_script(corpus, "--try").splitlines())
    return {(line["reader"], line["name"]): line for line in lines}


def run_script(folder, *options):
    """Write the files in a process of its own; return what it prints."""
    command = [SCRIPT, str(folder), *options]
    run = run_in_child(f"import runpy, sys\nsys.argv = {command!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')")
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(("reader", "name"), HOSTILE)
def test_it_is_refused_by_name_with_the_reason_and_costs_little(corpus, said, reader, name):
    raised = said[reader, name]
    assert raised["kind"] == "ValueError"
    assert raised["message"].startswith(str(place(corpus, reader, name)))
    assert HOSTILE[reader, name] in raised["message"]
    assert len(raised["message"]) < 2000
    assert raised["megabytes"] < MOST_MEGABYTES
    assert raised["seconds"] < MOST_SECONDS


@pytest.mark.usefixtures("said")
def test_nothing_was_run_and_nothing_was_written(corpus):
    made = {*hostile.ENDINGS, "good", "good.cnn", "good.onnx", "good.png"}
    assert {path.name for path in corpus.iterdir()} == made
    assert not [*corpus.rglob(MARK)]
    assert not Path(MARK).exists()


def test_the_good_files_of_the_corpus_are_good(corpus):
    for reader, name in (("load", "good.cnn"), ("onnx", "good.onnx"), ("picture", "good.png")):
        hostile.read(reader, corpus / name)


COMMANDS = {
    "load": (
        "predict {0} {good}.png",
        "evaluate {0} --dataset {good}",
        "export {0} --out x.onnx",
        "trace {0} --digit 1",
    ),
    "onnx": ("predict {0} {good}.png", "evaluate {0} --dataset {good}", "export {0} --out x.onnx"),
    "picture": ("predict {good}.cnn {0}", "trace {good}.cnn --image {0}"),
    "folder": ("evaluate {good}.cnn --dataset {0}",),
    "npz": ("report --from-predictions {0} --out out",),
    "csv": ("report --from-predictions {0} --out out",),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("reader", COMMANDS)
def test_the_command_says_one_sentence(corpus, tmp_path, reader):
    # One process a reader, as starting takes longest; each command in a child of that.
    calls = [
        (str(place(corpus, reader, name)), command.format(place(corpus, reader, name), good=corpus / "good").split())
        for kind, name in HOSTILE
        if kind == reader
        for command in COMMANDS[reader]
    ]
    program = f"import sys; sys.path.append({str(Path(SCRIPT).parent)!r})\n{RUN_COMMANDS}"
    run = subprocess.run(
        [sys.executable, "-c", program, str(corpus / "good")],
        input=json.dumps(calls), capture_output=True, text=True, check=True, cwd=tmp_path, env=ONE_THREAD,
    )  # fmt: skip
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(calls)
    understood = f"{corpus / 'good'}: class folders, 2 images of 4×4 pixels, grey, 2 classes\n"
    for (path, call), (code, said) in zip(calls, answers, strict=True):
        text = said.removeprefix(understood)
        assert code == 1, (call, text)
        assert text.startswith("error: "), (call, text)
        assert path in text, (call, text)
        assert "Traceback" not in text, (call, text)
        assert len(text) < 2000, (call, text)
    assert not (tmp_path / "x.onnx").exists()


RUN_COMMANDS = """
import json, os, sys, tempfile
import hostile
import cnnclf.classifier._classifier, cnnclf.onnx._classifier, cnnclf.classifier._persistence, cnnclf.images._pictures
import cnnclf.evaluation._predictions
import cnnclf.cli._main, cnnclf.report._write, cnnclf.datasets._splits

def call(words, stderr):
    os.dup2(stderr.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["cnnclf", *words]
    try:
        cnnclf.cli.main()
    except SystemExit as error:
        return error.code
    return "did not exit"

hostile.read("load", sys.argv[1] + ".cnn")  # so that no child has to import what all need
hostile.read("onnx", sys.argv[1] + ".onnx")
hostile.read("picture", sys.argv[1] + ".png")
for _, words in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as stderr:
        said = hostile.in_a_child(lambda: call(words, stderr), 60)
        stderr.seek(0)
        code = int(said["message"]) if said["kind"] is None and said["message"].isdecimal() else said["kind"]
        print(json.dumps([code, stderr.read()]), flush=True)
"""


# One bit


@pytest.fixture(scope="module")
def good(corpus):
    """The bytes of good files, and what is predicted with them of every pixel's brightest and darkest."""
    return {kind: (corpus / f"good.{kind}").read_bytes() for kind in ("cnn", "onnx")}


X = np.random.default_rng(0).integers(0, 256, (5, 4, 4), dtype=np.uint8)
OPEN = {"cnn": CNNClassifier.load, "onnx": ONNXClassifier}


def refused_or_the_same(kind, path, content, original):
    """Whether changed content is refused; else it must give the same classifier."""
    path.write_bytes(content)
    try:
        clf = OPEN[kind](path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(str(path))
        return True
    path.write_bytes(original)
    wanted = OPEN[kind](path)
    assert np.array_equal(clf.predict_proba(X), wanted.predict_proba(X))
    assert clf.predict(X).tolist() == wanted.predict(X).tolist()
    return False


def flip(content, bit):
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("n", [50, pytest.param(1000, marks=pytest.mark.acceptance)])
def test_every_flipped_bit_is_refused(good, tmp_path, kind, n):
    bits = np.random.default_rng(n).integers(0, 8 * len(good[kind]), n)
    refused = [refused_or_the_same(kind, tmp_path / f"m.{kind}", flip(good[kind], bit), good[kind]) for bit in bits]
    assert all(refused)  # the digest is of all bytes


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", OPEN)
def test_every_flipped_bit_of_a_trained_network_is_refused(tmp_path, kind):
    X, y = load_digits()
    clf = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    path = tmp_path / f"m.{kind}"
    {"cnn": clf.save, "onnx": clf.to_onnx}[kind](path)
    content = path.read_bytes()
    assert (OPEN[kind](path).predict(X) == clf.predict(X)).all()
    for bit in np.random.default_rng(0).integers(0, 8 * len(content), 1000):
        path.write_bytes(flip(content, bit))
        with pytest.raises(ValueError, match=re.escape(str(path))):
            OPEN[kind](path)


@pytest.mark.parametrize("kind", OPEN)
def test_every_flipped_bit_of_the_first_bytes_is_refused(good, tmp_path, kind):
    for bit in range(8 * 40):
        assert refused_or_the_same(kind, tmp_path / f"m.{kind}", flip(good[kind], bit), good[kind])


LIMITED = """
import resource
from pathlib import Path
import hostile
from cnnclf.onnx import limit_memory

path = Path({path!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for megabytes, columns in ((256, 2**12), (256, 16), (32, 16)):  # 16 GiB and 64 MiB from a file of a kilobyte
    path.write_bytes(hostile.with_model(hostile.constant([2**20, columns]))())
    limit_memory(megabytes * 2**20)
    try:
        hostile.read("onnx", path)
        print("predicted")
    except ValueError as error:
        print(str(error).splitlines()[0])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_what_a_graph_asks_for_when_it_predicts_can_be_bounded(tmp_path):
    run = run_in_child(LIMITED.format(path=str(tmp_path / "large.onnx")))
    assert run.returncode == 0, run.stderr
    refused, within, refused_too, megabytes = run.stdout.splitlines()
    assert refused.startswith(f"{tmp_path / 'large.onnx'}: expected a graph that ONNX Runtime can run; got ")
    assert within == "predicted"
    assert refused_too.startswith(f"{tmp_path / 'large.onnx'}: expected a graph that ONNX Runtime can run; got ")
    assert float(megabytes) < MOST_MEGABYTES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=9), inside, max_size=4),
    max_leaves=8,
)
STATE = {
    "params": [
        "architecture",
        "max_epochs",
        "lr",
        "class_weight",
        "augment",
        "image_shape",
        "callbacks",
        "random_state",
    ],
    "fitted": ["input", "feature_names", "batch_size", "seed", "history"],
    "classes": ["dtype"],  # other values may be a file's own labels
}
INPUT = ["input_shape", "image_shape", "channels_last", "dtype", "white", "mean", "std", "preparation"]
PLACES = [("state", part, name) for part, names in STATE.items() for name in names]
PLACES += [("state", "fitted", "input", name) for name in INPUT]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.sampled_from(PLACES), value=JSON)
def test_whatever_the_metadata_of_a_sealed_model_says_is_refused_or_harmless(good, tmp_path, at, value):
    refused_or_the_same("cnn", tmp_path / "m.cnn", hostile.with_state(*at, to=value)(good["cnn"]), good["cnn"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.sampled_from([*(("input", name) for name in INPUT), ("input",), ("session",), ("x",)]), value=JSON)
def test_whatever_the_metadata_of_a_sealed_export_says_is_refused_or_harmless(good, tmp_path, at, value):
    refused_or_the_same("onnx", tmp_path / "m.onnx", hostile.with_metadata(*at, to=value)(), good["onnx"])


# The package itself


def test_no_module_can_run_what_it_reads():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for call in ("torch.load(", "pickle.load", "joblib.load", "allow_pickle=True", "eval(", "exec(", "__import__("):
            assert call not in source.replace(".eval(", "").replace("literal_eval(", ""), f"{path.name}: {call}"


OFFLINE = """
import socket
def refuse(*arguments, **named):
    raise AssertionError("the network was used")
socket.create_connection = socket.getaddrinfo = socket.socket.__init__ = refuse
import numpy as np
import cnnclf
for name in cnnclf.__all__:
    getattr(cnnclf, name)
import cnnclf.cli._main, cnnclf.report._write
X = np.zeros((1, 4, 4), np.uint8)
for clf in cnnclf.CNNClassifier.load({good!r} + ".cnn"), cnnclf.ONNXClassifier({good!r} + ".onnx"):
    print(*clf.predict(X))
"""


def test_importing_and_predicting_use_no_network(corpus):
    run = run_in_child(OFFLINE.format(good=str(corpus / "good")))
    assert (run.returncode, run.stderr) == (0, "")
    assert len(run.stdout.split()) == 2
