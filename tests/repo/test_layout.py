"""The house: thirteen packages whose imports point downwards, and public names that are loaded when used."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnclf
from helpers import run_in_child

PACKAGE = Path(cnnclf.__file__).parent
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if name.count("/") == 1 and not name.endswith("__init__")]

# Which packages a package may import, whether at its top, for type checkers or when a function of it is called.
MAY_IMPORT = {
    "_utils": set(),
    "images": {"_utils"},
    "architectures": {"_utils"},
    "datasets": {"_utils", "images"},
    "evaluation": {"_utils"},
    "training": {"_utils", "images", "architectures"},
    "onnx": {"_utils", "images", "training", "classifier"},  # training behind export, classifier behind the converter
    "inspection": {"_utils", "images", "architectures", "training", "onnx"},
    "classifier": {"_utils", "images", "architectures", "training", "inspection", "onnx"},
    "model_selection": {"_utils", "architectures", "training", "classifier"},
    # A display is made from the record it draws; images, training and classifier are behind that of augmentation.
    "plots": {"_utils", "images", "evaluation", "training", "inspection", "classifier", "model_selection"},
    "report": {"_utils", "images", "architectures", "datasets", "evaluation", "training", "onnx", "inspection"}
    | {"classifier", "model_selection", "plots"},
    "cli": {"_utils", "images", "architectures", "datasets", "evaluation", "training", "onnx", "inspection"}
    | {"classifier", "model_selection", "plots", "report"},
}


def imported_by(tree):
    """Yield the name of every module of this package that a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "cnnclf":
                # The longest part of the name that is a file; a package stands for its __init__.
                places = ["/".join(parts[1:end]) for end in range(len(parts), 1, -1)]
                found = next((place for place in places if place in FILES), None)
                package = next((place for place in places if f"{place}/__init__" in FILES), "")
                yield found or f"{package}/__init__".lstrip("/")


def parse(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def test_there_are_thirteen_packages_and_nothing_else_on_the_top_floor():
    assert {path.name for path in PACKAGE.iterdir()} - {"__pycache__"} == {
        "__init__.py",
        "_lazy.py",
        "py.typed",
        *MAY_IMPORT,
    }
    assert len(MAY_IMPORT) == 13


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_what_its_row_says_and_nothing_in_its_row_is_idle(package):
    imported = {
        place.split("/")[0]
        for name in FILES
        if name.startswith(f"{package}/")
        for place in imported_by(parse(name))
        if "/" in place
    }
    assert imported - {package, "__init__"} <= MAY_IMPORT[package]


def test_no_circle_among_files():
    graph = {name: {place for place in imported_by(parse(name)) if place in MODULES} for name in MODULES}
    done = set()

    def follow(name, path=()):
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                follow(other, (*path, name))
            done.add(name)

    for name in MODULES:
        follow(name)


def test_no_module_uses_an_underscore_name_of_another():
    wrong = []
    for name in MODULES:
        for node in ast.walk(parse(name)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cnnclf"):
                wrong += [
                    f"{name}: {node.module}.{alias.name}"
                    for alias in node.names
                    if alias.name.startswith("_") and not alias.name.startswith("__")
                    if f"{node.module}.{alias.name}".removeprefix("cnnclf.").replace(".", "/") not in FILES
                ]
    assert wrong == []


# Names with an underscore that other libraries offer nothing else for, and whose they are.
FOREIGN = {
    "_modules": "torch.nn.Module",
    "_forward_hooks": "torch.nn.Module",
    "_forward_pre_hooks": "torch.nn.Module",
    "_backward_hooks": "torch.nn.Module",
    "_orig_mod": "what torch.compile returns",
    "_linear_pointwise": "torch.ops.mkldnn",
    "_init_callback_context": "scikit-learn's CallbackSupportMixin",
}


def private_attributes(tree):
    """Yield each attribute with one underscore that is asked of anything but self, cls and super()."""
    for node in ast.walk(tree):
        is_private = isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr)
        if is_private and ast.unparse(node.value) not in ("self", "cls", "super()"):
            yield node.attr


def test_no_module_asks_for_a_private_attribute_of_another_object():
    found = {(name, attribute) for name in FILES for attribute in private_attributes(parse(name))}
    assert {(name, attribute) for name, attribute in found if attribute not in FOREIGN} == set()
    assert {attribute for _, attribute in found} == set(FOREIGN)


def test_the_reader_of_attributes_sees_all_of_them():
    source = "self._a, cls._b, super()._c, self.net._d, clf._e(1), [x._f for x in y], x.__dict__, x.y_"
    assert [*private_attributes(ast.parse(source))] == ["_d", "_e", "_f"]


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def loaded_by(statement):
    """The names of all modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_reader_of_imports_sees_all_of_them():
    source = """
import cnnclf.plots._evaluation
from cnnclf import CNNClassifier, __version__, images
if TYPE_CHECKING:
    from cnnclf.report._write import Report
class Command:
    from cnnclf.cli import app
    def run(self):
        try:
            from cnnclf.inspection import _trace
        except ImportError:
            import numpy, cnnclf.datasets as data
"""
    assert sorted(imported_by(ast.parse(source))) == [
        "__init__",
        "__init__",
        "cli/__init__",
        "datasets/__init__",
        "images/__init__",
        "inspection/_trace",
        "plots/_evaluation",
        "report/_write",
    ]


def test_the_package_alone_loads_nothing_heavy():
    before, after = loaded_by("pass"), loaded_by("import cnnclf")
    assert {name for name in after - before if name.startswith("cnnclf")} == {"cnnclf", "cnnclf._lazy"}
    assert not {name.split(".")[0] for name in after - before} - {"cnnclf"} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("from cnnclf import load_mnist, load_idx, load_image_folder", {"torch", "sklearn", "scipy", "PIL", "pooch"}),
        ("from cnnclf import load_dataset", {"torch", "sklearn", "scipy", "PIL", "pooch", "pandas", "pyarrow"}),
        ("import cnnclf.images._arrays", {"torch", "sklearn", "scipy", "pandas"}),
        ("from cnnclf import Evaluation", {"torch", "matplotlib"}),
        ("from cnnclf import CNNClassifier", {"onnx", "onnxruntime", "onnxscript", "pooch", "jinja2", "typer"}),
        ("from cnnclf import ONNXClassifier", {"torch", "sklearn", "skorch", "scipy", "onnx", "pandas", "PIL"}),
        ("from cnnclf import TestTimeAugmentation", {"torch", "skorch", "onnxruntime", "PIL"}),
        ("from cnnclf import list_architectures", {"torch", "sklearn", "numpy"}),
        ("from cnnclf import RECIPES", {"torch", "sklearn", "numpy"}),
        ("import cnnclf.images._pictures", {"torch", "sklearn", "scipy", "onnxruntime"}),
        ("import cnnclf.cli._main", {"torch", "sklearn", "matplotlib", "onnxruntime", "PIL"}),
    ],
)
def test_a_name_loads_what_it_needs_and_no_more(statement, unneeded):
    assert not unneeded & loaded_by(statement)


@pytest.mark.slow
@pytest.mark.parametrize("by_user", [None, "0"])
def test_importing_changes_nothing_in_the_process(by_user):
    """What torch and others change when they are imported is theirs."""
    program = """
import os, signal, threading, warnings
import onnx, skl2onnx, sklearn, skorch, torch
def state():
    switches = torch.get_num_threads(), torch.get_default_dtype(), torch.backends.mkldnn.conv.fp32_precision
    return dict(os.environ), warnings.filters[:], threading.active_count(), signal.getsignal(signal.SIGINT), switches
before = state()
import cnnclf.classifier._classifier, cnnclf.model_selection, cnnclf.training._net, cnnclf.onnx._converter
from cnnclf import CNNClassifier, Evaluation, ONNXClassifier
import onnxruntime
assert state() == before, (before, state())
"""
    run = run_in_child(program, ORT_DISABLE_TELEMETRY=by_user)
    assert run.returncode == 0, run.stderr


def test_onnx_runtime_is_imported_in_one_place_that_keeps_it_quiet():
    importing = {
        name
        for name in MODULES
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Import) and "onnxruntime" in [alias.name for alias in node.names]
    }
    assert importing == {"onnx/_runtime"}


@pytest.mark.parametrize("package", ["", *MAY_IMPORT])
def test_the_public_names_are_those_a_type_checker_sees(package):
    name = f"{package}/__init__".lstrip("/")
    module = importlib.import_module(f"cnnclf.{package}".rstrip("."))
    blocks = [*filter(is_for_type_checkers, parse(name).body)]
    seen = {alias.name for block in blocks for statement in block.body for alias in statement.names}
    assert set(getattr(module, "__all__", ())) == seen


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (p, name)
        for p in ("", *MAY_IMPORT)
        for name in getattr(importlib.import_module(f"cnnclf.{p}".rstrip(".")), "__all__", ())
    ],
)
def test_every_public_name_resolves_and_has_a_docstring(package, name):
    module = importlib.import_module(f"cnnclf.{package}".rstrip("."))
    public = getattr(module, name)
    if callable(public) and name != "app":
        assert public.__name__ == name
        assert public.__doc__
    assert name in dir(module)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"\Amodule 'cnnclf' has no attribute 'CNN'\Z"):
        cnnclf.CNN  # noqa: B018 - the access is the test
