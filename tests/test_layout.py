"""The house: one flat package whose modules import downwards only, and public names that are loaded when used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import cnnclf

PACKAGE = Path(cnnclf.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

# Which modules of the package a module may import: when it is imported, and when one of its functions is called.
# Their union is a tree that points downwards. A new module needs a row here.
ANY = set(MODULES) - {"__init__", "cli"}
MAY_IMPORT = {
    "__init__": (set(), set()),
    "images": ({"wording"}, set()),
    "recognition": (set(), set()),
    "files": ({"wording"}, set()),
    "datasets": ({"files", "wording"}, {"pictures"}),
    "architectures": ({"wording"}, set()),
    "augment": ({"images", "wording"}, set()),
    "allocator": (set(), set()),
    "inference": (set(), set()),
    "training": ({"allocator", "augment", "inference", "recognition", "wording"}, set()),
    "persistence": ({"architectures", "files", "images", "wording"}, set()),
    "readonly": (set(), set()),
    "folding": ({"architectures"}, set()),
    "recomputing": (set(), set()),
    "explaining": ({"tables", "readonly", "recomputing", "wording"}, set()),
    "verifying": ({"tables", "folding", "recomputing", "training", "wording"}, {"onnx_export"}),  # the third engine
    "tracing": (
        {
            "tables",
            "architectures",
            "explaining",
            "folding",
            "inference",
            "readonly",
            "recomputing",
            "training",
            "verifying",
            "wording",
        },
        {"walkthrough", "walkthrough_html", "walkthrough_xlsx"},  # behind to_text and the like, to_html and to_xlsx
    ),
    "onnx_classifier": ({"files", "images", "wording"}, set()),
    "pictures": ({"images", "wording"}, set()),
    "strokes": ({"images", "pictures", "wording"}, set()),
    "app": ({"strokes", "walkthrough_html", "wording"}, set()),
    "doctor": ({"allocator", "datasets", "wording"}, {"training"}),  # what may be broken is imported one by one
    "onnx_graph": (set(), set()),
    "onnx_int8": ({"onnx_graph"}, set()),
    "onnx_export": (
        {"files", "onnx_classifier", "onnx_graph", "onnx_int8", "recognition", "training", "wording"},
        set(),
    ),
    "classifier": (
        {"architectures", "augment", "images", "recognition", "sklearn_callbacks", "training", "wording"},
        {"checkpoint", "persistence", "onnx_export", "tracing"},  # behind checkpoint=, save, load, to_onnx and trace
    ),
    "recipes": ({"wording"}, set()),
    "sklearn_callbacks": (set(), set()),
    "test_time": ({"images", "sklearn_callbacks", "wording"}, set()),
    "triton": ({"files", "onnx_classifier"}, set()),
    "mlserver": ({"files", "onnx_classifier"}, set()),
    "mlserver_runtime": ({"onnx_classifier"}, set()),
    "skl2onnx_converter": ({"classifier", "images", "onnx_export", "test_time", "wording"}, set()),
    "walkthrough": ({"tables", "wording"}, set()),
    "walkthrough_html": ({"files", "walkthrough", "wording"}, set()),
    "walkthrough_xlsx": ({"files", "wording"}, set()),
    "wording": (set(), set()),
    "tables": (set(), set()),
    "evaluation": ({"tables", "files", "wording"}, set()),
    "predictions": ({"evaluation", "files", "wording"}, set()),
    "overfitting": ({"wording"}, set()),
    "robustness": (set(), set()),
    "hyperparameters": (set(), set()),
    "checkpoint": ({"files", "persistence", "training", "wording"}, set()),
    "comparison": ({"tables", "architectures", "checkpoint", "classifier", "files", "training", "wording"}, set()),
    "drawing": ({"wording"}, set()),
    "plots_trace": ({"drawing", "wording"}, set()),
    "plots_comparison": ({"drawing", "wording"}, set()),
    "plots": ({"drawing", "evaluation", "plots_comparison", "plots_trace", "wording"}, set()),
    "rendering": ({"drawing", "walkthrough", "wording"}, set()),
    "records": ({"tables", "evaluation", "hyperparameters", "overfitting", "rendering", "robustness"}, set()),
    "model_card": ({"evaluation", "rendering"}, set()),
    "report": (
        {"drawing", "files", "model_card", "overfitting", "plots", "records", "rendering", "walkthrough"},
        set(),
    ),
    "splits": ({"datasets", "wording"}, set()),
    "study": (
        {"architectures", "classifier", "comparison", "evaluation", "images", "records", "robustness", "splits"},
        set(),
    ),
    "cli": (
        {"recipes", "wording"},
        ANY,
    ),  # a command starts fast: it imports what it needs, and the names that its help lists
}


def parse(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node, *, in_function=False):
    """Give (name of a module of this package, whether it is imported within a function) for everything under a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.split(".")[0] == "cnnclf":
                    yield alias.name.removeprefix("cnnclf").removeprefix("."), in_function
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are written in full"
            if child.module == "cnnclf":
                for alias in child.names:
                    # A module, or a public name that stands for the module it is loaded from.
                    name = alias.name if alias.name in MODULES else cnnclf._MODULE_OF.get(alias.name)
                    if name is not None:
                        yield name, in_function
            elif child.module.startswith("cnnclf."):
                yield child.module.removeprefix("cnnclf."), in_function
        elif not is_for_type_checkers(child):  # types alone need no module when the program runs
            yield from imports(child, in_function=in_function or isinstance(child, ast.FunctionDef | ast.Lambda))


def loaded_by(statement):
    """The names of all modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_table_allows(module):
    assert module in MAY_IMPORT, f"cnnclf/{module}.py has no row in the table of this test"
    at_import, when_called = MAY_IMPORT[module]
    for imported, in_function in imports(parse(module)):
        assert imported in (at_import | when_called if in_function else at_import), f"{module} imports {imported}"


def test_the_reader_of_imports_sees_all_of_them():
    source = """
import cnnclf.plots
from cnnclf import CNNClassifier, __version__, images
if TYPE_CHECKING:
    from cnnclf.report import Report
class Command:
    from cnnclf.cli import app
    def run(self):
        try:
            from cnnclf.tracing import Trace
        except ImportError:
            import numpy, cnnclf.datasets as data
"""
    assert list(imports(ast.parse(source))) == [
        ("plots", False),
        ("classifier", False),
        ("images", False),
        ("cli", False),
        ("tracing", True),
        ("datasets", True),
    ]


def test_the_table_has_no_circles():
    levels = {}

    def level(module, path=()):
        assert module not in path, " → ".join((*path, module))
        if module not in levels:
            at_import, when_called = MAY_IMPORT[module]
            levels[module] = 1 + max((level(m, (*path, module)) for m in at_import | when_called), default=0)
        return levels[module]

    for module in MAY_IMPORT:
        level(module)


def test_the_package_alone_loads_nothing_heavy():
    before, after = loaded_by("pass"), loaded_by("import cnnclf")
    assert {name for name in after - before if name.startswith("cnnclf")} == {"cnnclf"}
    assert not {name.split(".")[0] for name in after - before} - {"cnnclf"} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("from cnnclf import load_mnist, load_idx, load_image_folder", {"torch", "sklearn", "scipy", "PIL", "pooch"}),
        ("import cnnclf.images", {"torch", "sklearn", "scipy", "pandas"}),
        ("from cnnclf import Evaluation", {"torch", "matplotlib"}),
        ("from cnnclf import CNNClassifier", {"onnx", "onnxruntime", "onnxscript", "pooch", "jinja2", "typer"}),
        ("from cnnclf import ONNXClassifier", {"torch", "sklearn", "skorch", "scipy", "onnx", "pandas", "PIL"}),
        ("from cnnclf import TestTimeAugmentation", {"torch", "skorch", "onnxruntime", "PIL"}),
        ("from cnnclf import RECIPES", {"torch", "sklearn", "numpy"}),
        ("import cnnclf.pictures", {"torch", "sklearn", "scipy", "onnxruntime"}),
        ("import cnnclf.cli", {"torch", "sklearn", "matplotlib", "onnxruntime", "PIL"}),
    ],
)
def test_a_name_loads_what_it_needs_and_no_more(statement, unneeded):
    assert not unneeded & loaded_by(statement)


def test_the_public_names_are_those_a_type_checker_sees():
    (block,) = filter(is_for_type_checkers, parse("__init__").body)
    seen = {alias.name: statement.module for statement in block.body for alias in statement.names}

    assert sorted(cnnclf.__all__) == sorted(seen)
    assert {name: f"cnnclf.{module}" for name, module in cnnclf._MODULE_OF.items()} == seen
    assert {"CNNClassifier", "list_architectures", "load_digits", "load_mnist"} <= set(seen)


@pytest.mark.parametrize("name", cnnclf.__all__)
def test_every_public_name_resolves_and_has_a_docstring(name):
    module, public = importlib.import_module(f"cnnclf.{cnnclf._MODULE_OF[name]}"), getattr(cnnclf, name)
    assert public is getattr(module, name)
    if callable(public):
        assert (public.__name__, public.__module__) == (name, module.__name__)
    assert (public if callable(public) else module).__doc__  # a table is described by its module
    assert name in dir(cnnclf)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"\Amodule 'cnnclf' has no attribute 'CNN'\Z"):
        cnnclf.CNN  # noqa: B018 - the access is the test
