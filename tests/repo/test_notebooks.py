"""The notebooks: each runs from its first cell to its last, and what is kept of it is what a reader should meet."""

import ast
import os
import re
import time
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from helpers import CHILDREN, ROOT, run_program

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/cnnclf/cnnclf/blob/main/notebooks/{}.ipynb)"
)
LARGEST = 250 * 1024  # bytes
SHORT = {"DATASET": "digits", "EPOCHS": 2, "ROWS": 600}
PATH_OF_A_MACHINE = re.compile(r"(?<![\w./])/(?:home|root|tmp|Users|private|usr|opt|var|mnt|content)/|\b[A-Z]:\\")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts(output):
    """Give what an output says, pictures left out."""
    yield output.get("text", "")
    yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def parameters(notebook):
    """Find the one cell of parameters, and the names and values that it assigns."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    statements = ast.parse(cell.source).body
    assert all(isinstance(statement, ast.Assign) and len(statement.targets) == 1 for statement in statements)
    return cell, {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}


def set_parameters(notebook, values):
    """Give the parameters that the notebook has other values."""
    cell, own = parameters(notebook)
    chosen = own | {name: value for name, value in values.items() if name in own}
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in chosen.items())


def run(notebook, folder, monkeypatch):
    """Execute a notebook; a cell that fails or warns is shown, and no more than that."""
    monkeypatch.syspath_prepend(FOLDER)
    try:
        import_module("execute").execute(notebook, folder)
    except CellExecutionError as error:
        pytest.fail(str(error), pytrace=False)
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                pytest.fail(f"cell {number} says on stderr: {output.text}\n{cell.source}", pytrace=False)


KERNEL = """
import os, sys, warnings
os.setsid()  # as a kernel is started, to be interrupted with all that it starts
os.environ["JPY_PARENT_PID"] = str(os.getppid())
os.chdir({folder!r})
sys.path[:] = [path for path in sys.path if path not in {paths_of_the_tests!r}]
for option in filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")):
    warnings.filterwarnings(*option.split(":"))  # which Python reads when it starts
sys.argv = {command!r}
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


class Forked:
    """A kernel's process, with what jupyter_client asks of a Popen, that need not import torch and scikit-learn."""

    stdin = stdout = stderr = None

    def __init__(self, command, *, env, cwd=None, **_):
        assert command[1:3] == ["-m", "ipykernel_launcher"]
        tests = [str(ROOT / "tests"), str(FOLDER)]
        program = KERNEL.format(folder=str(cwd or Path.cwd()), paths_of_the_tests=tests, command=command[2:])
        self.process = CHILDREN.Process(target=run_program, args=(program, os.devnull, os.devnull, env))
        self.process.start()
        self.pid = self.process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.01)

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode


@pytest.fixture
def forked_kernels(monkeypatch):
    """Let kernels start in a process that has imported torch and scikit-learn, and nothing of ours."""
    monkeypatch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", Forked)


def shown_below(*sources):
    """Run cells in a kernel; give what each says on stderr, as a reader sees it once it has run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    texts = ["".join(o.text for o in cell.outputs if o.get("name") == "stderr") for cell in notebook.cells]
    return [text.rstrip("\n").rpartition("\r")[2] for text in texts]


@pytest.mark.usefixtures("forked_kernels")
def test_progress_is_shown_below_a_cell():
    epochs, again, silent = shown_below(
        """from cnnclf import CNNClassifier, load_digits
X, y = load_digits()
clf = CNNClassifier("tiny", max_epochs=2, batch_size=64, verbose=1, random_state=0)
_ = clf.fit(X[:128], y[:128])""",
        "_ = clf.partial_fit(X[:128], y[:128])",
        "_ = clf.set_params(verbose=0).fit(X[:128], y[:128])",
    )
    assert re.match(r"epoch 2: 100%\|.*\| 4/4 \[.*, train loss \d\.\d{4}, accuracy ", epochs), epochs  # 2 · 128 / 64
    assert re.match(r"epoch 3: 100%\|.*\| 2/2 \[", again), again
    assert silent == ""


@pytest.mark.slow
@pytest.mark.usefixtures("forked_kernels")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_on_the_digits(name, tmp_path, monkeypatch):
    notebook = read(name)
    set_parameters(notebook, SHORT)
    run(notebook, tmp_path, monkeypatch)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_on_mnist(name, tmp_path, monkeypatch):
    notebook = read(name)
    set_parameters(notebook, SHORT | {"DATASET": "mnist"})
    run(notebook, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_in_colab_and_installs_what_it_needs_there(name):
    notebook = read(name)
    install = code_cells(notebook)[0].source
    assert re.match(r"# .+\n\n", notebook.cells[0].source)
    assert BADGE.format(name) in notebook.cells[0].source
    assert install.startswith(
        'import sys\n\nPACKAGE = "cnnclf[all]"  # after release; before it, the path of a clone and [all]\n'
        'if "google.colab" in sys.modules:\n    %pip install -q {PACKAGE}'
    )
    assert len(install.splitlines()) == 5  # elsewhere it does nothing


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_one_cell_of_parameters_that_are_plain_values(name):
    _, values = parameters(read(name))
    assert values
    assert values.get("DATASET", "auto") == "auto"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_kept_of_a_notebook_is_one_clean_run(name):
    notebook = read(name)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert outputs(notebook)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_knows_nothing_of_the_machine_that_ran_it(name, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    notebook = read(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= LARGEST
    assert dict(notebook.metadata) == import_module("execute").METADATA
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    written = [cell.source for cell in notebook.cells] + [text for out in outputs(notebook) for text in texts(out)]
    for text in written:
        assert not PATH_OF_A_MACHINE.search(text)
        assert str(FOLDER.parent) not in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_from_a_notebook_to_others_lead_somewhere(name):
    for cell in read(name).cells:
        for link in re.findall(r"\]\(([^)#:]+)\)", cell.source) if cell.cell_type == "markdown" else ():
            assert (FOLDER / link).exists(), link


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("see /home/ann/digits", True),
        ("File '/tmp/ipykernel_1/2.py'", True),
        ("C:\\Users\\ann", True),
        ("https://example.org/home/ann", False),
        ("POST /v2/models/digits/infer", False),
        ("docs/usr/lib", False),
    ],
)
def test_a_path_of_a_machine_is_known_by_its_first_folder(text, is_one):
    assert bool(PATH_OF_A_MACHINE.search(text)) == is_one


def test_parameters_are_replaced_where_the_notebook_has_them():
    cell = nbformat.v4.new_code_cell('# Which.\nDATASET = "auto"\nDEPTH = 3', metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("DATASET"), cell])
    set_parameters(notebook, SHORT)
    assert [cell.source for cell in notebook.cells] == ["DATASET", "DATASET = 'digits'\nDEPTH = 3"]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_kernels")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("half = 1 / 0", r"half = 1 / 0[^\x1b]*ZeroDivisionError: division by zero[^\x1b]*\Z"),
        ("import warnings\nwarnings.warn('old')", r"\Acell 1 says on stderr: .*UserWarning: old\n[^\x1b]*\Z"),
    ],
)
def test_a_cell_that_fails_or_warns_is_shown(source, said, tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(pytest.fail.Exception) as failure:
        run(notebook, tmp_path, monkeypatch)
    assert re.search(said, failure.value.msg, flags=re.DOTALL)


@pytest.mark.slow
def test_running_in_place_keeps_a_notebook_that_fails_and_rewrites_one_that_does_not(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    execute = import_module("execute")
    cell = nbformat.v4.new_code_cell("import os\nos.getcwd(), os.environ['OMP_NUM_THREADS'], os.listdir()")
    cell.metadata = {"tags": ["parameters"], "collapsed": True}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"title": "one"})
    path = tmp_path / "one.ipynb"
    nbformat.write(notebook, path)

    execute.rewrite(path)

    (kept,) = nbformat.read(path, as_version=4).cells
    folder, threads, files = ast.literal_eval(kept.outputs[0].data["text/plain"])
    assert kept.execution_count == 1
    assert kept.metadata == {"tags": ["parameters"]}
    assert threads == "1"
    assert folder not in (str(tmp_path), str(FOLDER), str(Path.cwd()))
    assert files == [".ipython"]
    assert not Path(folder).exists()
    assert re.fullmatch(r"one\.ipynb: \d+ s, 1 kB\n", capsys.readouterr().out)

    notebook.cells[0].source = "1 / 0"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError):
        execute.rewrite(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("has_mnist", "said"), [(False, r"\AMNIST: not found\Z"), (True, r"two\.ipynb'\Z")])
def test_the_command_says_what_is_missing_and_touches_nothing(has_mnist, said, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    execute = import_module("execute")

    def load_mnist(split):
        if not has_mnist:
            raise FileNotFoundError("MNIST: not found")

    monkeypatch.setattr(execute, "HERE", tmp_path)
    monkeypatch.setattr(execute, "load_mnist", load_mnist)
    monkeypatch.setattr("sys.argv", ["execute.py", "two"])
    with pytest.raises(SystemExit, match=said):
        execute.main()
    assert not list(tmp_path.iterdir())
