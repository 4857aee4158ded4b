"""What the doctor looks at: what is there is named, what is missing comes with its cure, what is broken fails."""

import importlib
import json
import sys
from importlib.metadata import version

import pytest
import torch
from typer.testing import CliRunner

from cnnclf import __version__
from cnnclf.cli import _doctor as doctor
from cnnclf.cli import _main as cli
from cnnclf.training._runtime import choose_precision
from helpers import run_in_child


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """A machine whose environment says nothing, with an empty user cache."""
    for name in ("CNNCLF_NUM_THREADS", "CNNCLF_MALLOPT", "CNNCLF_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)


def examined():
    """Run the command with --json: exit code and what it says."""
    result = CliRunner().invoke(cli.app, ["doctor", "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_versions():
    code, told = examined()
    assert code == 0
    assert told["versions"]["cnnclf"]["value"] == __version__
    assert told["versions"]["Python"]["value"].startswith(sys.version.split()[0])
    for distribution in ("torch", "skorch", "scikit-learn", "numpy", "onnx", "onnxruntime"):
        assert told["versions"][distribution] == {"value": version(distribution), "is_broken": False, "advice": ""}


def test_what_cannot_be_imported_is_broken_and_nothing_is_asked_of_it(monkeypatch):
    def import_module(name, of=importlib.import_module):
        if name == "torch":
            raise OSError("libtorch.so: cannot open shared object file")
        return of(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    code, told = examined()
    assert code == 1
    assert told["versions"]["torch"] == {
        "value": "cannot be imported (libtorch.so: cannot open shared object file)",
        "is_broken": True,
        "advice": "pip install --force-reinstall torch",
    }
    assert told.keys() == {"versions", "data", "extras"}


def test_the_processor_and_its_bfloat16(monkeypatch):
    able = {"cpu_name": "Z1", "avx2": True, "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    _, told = examined()
    assert told["devices"]["processor"]["value"] == "Z1: AVX2, AVX-512, bfloat16 (AVX-512)"
    assert told["training"]["precision"]["value"] == choose_precision("auto", "cpu") == "bfloat16"
    able["avx512_bf16"] = False
    _, told = examined()
    assert told["training"]["precision"]["value"] == "float32"


def test_gpus_by_name(monkeypatch):
    assert examined()[1]["devices"]["GPU"]["value"] == "none that torch can use"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU {'AB'[i]}")
    assert examined()[1]["devices"]["GPU"]["value"] == "GPU A, GPU B"


def test_threads(monkeypatch):
    machine = f"cores, torch's own number is {torch.get_num_threads()}"
    value = examined()[1]["training"]["threads"]["value"]
    assert value.startswith("1 per fit, CNNCLF_NUM_THREADS is not set; ")
    assert value.endswith(machine)
    monkeypatch.setenv("CNNCLF_NUM_THREADS", "4")
    assert examined()[1]["training"]["threads"]["value"].startswith("4 per fit, as set by CNNCLF_NUM_THREADS; ")


@pytest.mark.parametrize("asked", ["0", "-1", "two", ""])
def test_a_number_of_threads_that_is_none_is_broken(monkeypatch, asked):
    monkeypatch.setenv("CNNCLF_NUM_THREADS", asked)
    code, told = examined()
    assert code == 1
    assert told["training"]["threads"] == {
        "value": f"CNNCLF_NUM_THREADS is {asked!r}",
        "is_broken": True,
        "advice": "unset CNNCLF_NUM_THREADS, or set it to a whole number of at least 1",
    }


def test_the_allocator(monkeypatch):
    monkeypatch.setenv("CNNCLF_MALLOPT", "0")
    assert examined()[1]["training"]["allocator"]["value"] == "left as it is"


def test_mnist_that_is_not_there_is_not_broken_and_the_cure_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNCLF_DATA", str(tmp_path))
    code, told = examined()
    assert (code, told["data"]["digits"]["value"]) == (0, "come with scikit-learn")
    assert told["data"]["MNIST"] == {
        "value": f"not in {tmp_path} and {tmp_path / 'cache' / 'cnnclf'}",
        "is_broken": False,
        "advice": "it is downloaded at the first use; without a network, set CNNCLF_DATA to a folder that has it",
    }


def test_without_pooch_mnist_is_not_looked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    code, told = examined()
    assert (code, told["data"]["digits"]["value"]) == (0, "come with scikit-learn")
    assert told["data"]["MNIST"] == {
        "value": "not looked for without pooch",
        "is_broken": False,
        "advice": "pip install pooch requests pillow",
    }


def test_damaged_mnist_is_broken(monkeypatch, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"not this")
    monkeypatch.setenv("CNNCLF_DATA", str(tmp_path))
    code, told = examined()
    assert code == 1
    assert told["data"]["MNIST"]["is_broken"]
    assert told["data"]["MNIST"]["value"].startswith(f"{tmp_path / 'train-images-idx3-ubyte'}: expected ")
    assert told["data"]["MNIST"]["advice"] == "delete that file; it is downloaded again"


def test_where_mnist_is(monkeypatch, tmp_path):
    """Its loader checks whether it is whole, which is tested elsewhere."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    monkeypatch.setenv("CNNCLF_DATA", str(tmp_path))
    asked = []
    monkeypatch.setattr(doctor, "load_mnist", lambda split, download: asked.append((split, download)))
    assert examined()[1]["data"]["MNIST"]["value"] == f"whole, in {tmp_path / 'mnist'}"
    assert asked == [("train", False), ("test", False)]


def test_extras(monkeypatch):
    monkeypatch.setattr(doctor, "is_installed", lambda name: name != "xlsxwriter")
    code, told = examined()
    assert code == 0
    assert told["extras"]["xlsx"] == {
        "value": "walkthroughs as workbooks: xlsxwriter not installed",
        "is_broken": False,
        "advice": "pip install xlsxwriter",
    }
    assert told["extras"]["skl2onnx"]["value"] == "pipelines as ONNX files: installed"


def test_every_extra_that_is_named_is_one():
    requirements = doctor.requires("cnnclf")
    assert all(doctor.distributions_of(extra, requirements) for extra in doctor.EXTRAS)


def test_the_text_names_all_of_it_in_lines():
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "versions",
        "devices",
        "training",
        "data",
        "extras",
    ]
    assert f"  torch         {version('torch')}" in lines


def test_it_loads_no_plots():
    """A second or two are torch's; figures and reports have no part in it."""
    program = "import sys\nfrom cnnclf.cli._doctor import examine\nexamine()\nprint(*sys.modules)"
    run = run_in_child(program)
    assert run.returncode == 0, run.stderr
    assert not {"matplotlib", "onnxscript", "jinja2"} & set(run.stdout.split())
