"""`pip install .` into an empty environment: what needs no extra works, and the rest names the extra that it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT

pytestmark = pytest.mark.acceptance


PROGRAM = """
import sys
from cnnclf import CNNClassifier, Evaluation, ONNXClassifier, compare_architectures, load_digits, load_mnist

X, y = load_digits()
clf = CNNClassifier(max_epochs=2, verbose=1, random_state=0).fit(X[:1400], y[:1400])
print("fit", Evaluation.from_estimator(clf, X[1400:], y[1400:]).accuracy > 0.9)
clf.save("digits.cnn")
loaded = CNNClassifier.load("digits.cnn")
print("load", (loaded.predict(X[1400:]) == clf.predict(X[1400:])).all())
clf.to_onnx("digits.onnx")
clf.to_onnx("small.onnx", quantize="int8", calibration=X[:300])
print("onnx", (ONNXClassifier("digits.onnx").predict(X[1400:]) == clf.predict(X[1400:])).all())
trace = clf.trace(X[0])
print("trace", trace.verify().passed, len(trace.to_text()) > 100)
few = CNNClassifier(max_epochs=1)
print("compare", len(compare_architectures(X[:60], y[:60], ["tiny"], cv=2, estimator=few).results))

def of_plots():
    from cnnclf.plots import ConfusionMatrixDisplay

def of_pipelines():
    from cnnclf.onnx import to_onnx

for needing in (of_plots, of_pipelines, load_mnist, lambda: trace.to_xlsx("five.xlsx")):
    try:
        needing()
    except ImportError as error:
        print(error)
"""

PRINTED = """fit True
load True
onnx True
trace True True
compare 1
Expected matplotlib to be installed, which ConfusionMatrixDisplay needs; got none. \
Install it with pip install 'cnnclf[report]'.
Expected skl2onnx to be installed, which to_onnx needs; got none. Install it with pip install 'cnnclf[skl2onnx]'.
Expected pooch to be installed, which load_mnist needs; got none. Install it with pip install 'cnnclf[data]'.
Expected xlsxwriter to be installed, which to_xlsx needs; got none. Install it with pip install 'cnnclf[xlsx]'.
"""
COMMAND = (
    "error: Expected typer to be installed, which the cnnclf command needs; got none. "
    "Install it with pip install 'cnnclf[cli]'.\n"
)


def test_the_core_dependencies_are_enough(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PYTHONWARNINGS": "error"}
    binaries = tmp_path / "environment" / "bin"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    subprocess.run([sys.executable, "-m", "venv", binaries.parent], check=True)
    pip = [str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    subprocess.run(pip, env=environment | {"PYTHONWARNINGS": "default"}, check=True)
    assert run(str(binaries / "python"), "-c", PROGRAM).stdout == PRINTED
    command = run(str(binaries / "cnnclf"), "doctor")
    assert (command.returncode, command.stderr) == (1, COMMAND)
