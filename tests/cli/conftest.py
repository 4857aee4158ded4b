"""A network of the digits and its files."""

import pytest

from cnnclf import RECIPES, CNNClassifier, load_digits


@pytest.fixture(scope="session")
def clf(digits):
    """A network of the digits, good enough to be asked."""
    return CNNClassifier(**RECIPES["handwriting"], random_state=0).fit(*digits)


@pytest.fixture(scope="session")
def model(clf, tmp_path_factory):
    """Its files."""
    folder = tmp_path_factory.mktemp("model")
    clf.save(folder / "digits.cnn")
    clf.to_onnx(folder / "digits.onnx")
    clf.to_onnx(folder / "int8.onnx", quantize="int8", calibration=load_digits()[0][:200])
    return folder
