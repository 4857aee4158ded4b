"""Checks of this machine: versions, devices, how a fit would run, data, and optional libraries."""

import importlib
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, TypeAlias

from cnnclf import __version__
from cnnclf._utils.text import quote
from cnnclf.datasets._mnist import MNIST_FILES, find_candidates, load_mnist

NEEDED = ("torch", "skorch", "sklearn", "numpy", "onnx", "onnxruntime")  # modules, by a fit and an export

# Extras for users, and their purpose; the others are for those who work on cnnclf itself.
EXTRAS = {
    "cli": "the cnnclf command",
    "data": "MNIST and picture files",
    "parquet": "datasets from the Hugging Face Hub",
    "report": "figures, reports and pages",
    "xlsx": "walkthroughs as workbooks",
    "skl2onnx": "pipelines as ONNX files",
    "serve": "MLflow as a server",
    "tracking": "MLflow and TensorBoard as callbacks",
    "cluster": "searches on Dask's and Ray's workers",
}

FEATURES = {  # of the processor, as torch names them
    "avx2": "AVX2",
    "avx512_f": "AVX-512",
    "avx512_bf16": "bfloat16 (AVX-512)",
    "amx_bf16": "bfloat16 (AMX)",
    "avx512_vnni": "int8 (VNNI)",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    value : str
        What was found.
    is_broken : bool
        Whether cnnclf does not work with it.
    advice : str
        What could be done; empty if all is well.
    """

    value: str
    is_broken: bool = False
    advice: str = ""


Named: TypeAlias = Iterator[tuple[str, Finding]]
Findings: TypeAlias = dict[str, dict[str, Finding]]


def examine() -> Findings:
    """Check everything.

    Returns
    -------
    dict of str to dict of str to Finding
        By topic and name; nothing is downloaded and nothing changed.

    Examples
    --------
    >>> findings = examine()
    >>> list(findings), is_broken(findings)
    (['versions', 'devices', 'training', 'data', 'extras'], False)
    """
    findings = {"versions": dict(check_versions())}
    if not is_broken(findings):  # else nothing can be computed
        findings |= {"devices": dict(check_devices()), "training": dict(check_training())}
    return findings | {"data": dict(check_data()), "extras": dict(check_extras())}


def is_broken(findings: Findings) -> bool:
    """Return whether cnnclf does not work with one of the findings."""
    return any(finding.is_broken for of_topic in findings.values() for finding in of_topic.values())


def check_versions() -> Named:
    """Check whether what cnnclf needs can be imported."""
    yield "cnnclf", Finding(__version__)
    yield "Python", Finding(f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for module in NEEDED:
        distribution = "scikit-learn" if module == "sklearn" else module
        try:
            importlib.import_module(module)
            yield distribution, Finding(version(distribution))
        except (ImportError, OSError, PackageNotFoundError) as error:  # OSError: a shared library that does not load
            advice = f"pip install --force-reinstall {distribution}"
            yield distribution, Finding(f"cannot be imported ({error})", is_broken=True, advice=advice)


def check_devices() -> Named:
    """Check what torch can compute on."""
    import torch

    from cnnclf.training._runtime import name_processor

    able = torch.cpu.get_capabilities()
    features = [name for key, name in FEATURES.items() if able.get(key, False)]
    known = f": {', '.join(features)}" if features else ""
    yield "processor", Finding(f"{name_processor()}{known}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield "GPU", Finding(", ".join(gpus) or "none that torch can use")


def check_training() -> Named:
    """Check how a fit with everything on "auto" would run."""
    from cnnclf.training._runtime import can_keep_freed_memory, choose_device, choose_precision

    device = choose_device("auto")
    yield "device", Finding(device)
    yield "precision", Finding(choose_precision("auto", device))
    yield "threads", check_threads(os.environ.get("CNNCLF_NUM_THREADS"))
    kept = "keeps freed memory during fit, which is faster" if can_keep_freed_memory() else "left as it is"
    yield "allocator", Finding(kept)


def check_threads(asked: str | None) -> Finding:
    """Check how many threads a fit has, given the environment variable CNNCLF_NUM_THREADS.

    Examples
    --------
    >>> check_threads("many").advice
    'unset CNNCLF_NUM_THREADS, or set it to a whole number of at least 1'
    """
    import torch

    machine = f"{os.cpu_count()} cores, torch's own number is {torch.get_num_threads()}"
    if asked is not None and not (asked.isdecimal() and int(asked) > 0):
        advice = "unset CNNCLF_NUM_THREADS, or set it to a whole number of at least 1"
        return Finding(f"CNNCLF_NUM_THREADS is {quote(asked)}", is_broken=True, advice=advice)
    how = "CNNCLF_NUM_THREADS is not set" if asked is None else "as set by CNNCLF_NUM_THREADS"
    return Finding(f"{asked or 1} per fit, {how}; {machine}")


def check_data() -> Named:
    """Check the data that cnnclf loads by name."""
    yield "MNIST", check_mnist()
    yield "digits", Finding("come with scikit-learn")


def check_mnist() -> Finding:
    """Check whether MNIST is there and undamaged."""
    try:
        import pooch
    except ImportError:
        return Finding("not looked for without pooch", advice="pip install pooch requests pillow")
    places = [Path(place).expanduser() for place in (os.environ.get("CNNCLF_DATA"), pooch.os_cache("cnnclf")) if place]
    try:
        for split in ("train", "test"):
            load_mnist(split, download=False)
    except FileNotFoundError:
        advice = "it is downloaded at the first use; without a network, set CNNCLF_DATA to a folder that has it"
        return Finding(f"not in {' and '.join(map(str, places))}", advice=advice)
    except ValueError as error:
        return Finding(str(error), is_broken=True, advice="delete that file; it is downloaded again")
    found = next(file for file in find_candidates(next(iter(MNIST_FILES)), places) if file.is_file())
    return Finding(f"whole, in {found.parent}")


def check_extras() -> Named:
    """Check which extras are installed."""
    for extra, purpose in EXTRAS.items():
        missing = [name for name in distributions_of(extra, requires("cnnclf") or []) if not is_installed(name)]
        state = f"{', '.join(missing)} not installed" if missing else "installed"
        yield extra, Finding(f"{purpose}: {state}", advice=f"pip install {' '.join(missing)}" if missing else "")


def distributions_of(extra: str, requirements: Sequence[str]) -> list[str]:
    """Return the distributions that an extra needs on every system.

    Examples
    --------
    >>> distributions_of("serve", ["mlflow>=3; extra == 'serve'", "x; (os_name == 'nt') and extra == 'serve'"])
    ['mlflow']
    """
    wanted = re.compile(rf"([\w.-]+)[^;]*; *extra == ['\"]{extra}['\"]")
    return [found[1] for found in map(wanted.fullmatch, requirements) if found]


def is_installed(distribution: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def to_text(findings: Findings) -> str:
    """Return findings as lines of text.

    Examples
    --------
    >>> print(to_text({"data": {"MNIST": Finding("nowhere", advice="get it")}}))
    data
      MNIST         nowhere
                    → get it
    """
    lines = []
    for topic, of_topic in findings.items():
        lines += ["", topic]
        for name, finding in of_topic.items():
            lines.append(f"  {name:13} {'BROKEN: ' if finding.is_broken else ''}{finding.value}")
            lines += [f"{'':16}→ {finding.advice}"] if finding.advice else []
    return "\n".join(lines[1:])


def to_dict(findings: Findings) -> dict[str, Any]:
    """Return findings as JSON types.

    Examples
    --------
    >>> to_dict({"data": {"digits": Finding("there")}})
    {'data': {'digits': {'value': 'there', 'is_broken': False, 'advice': ''}}}
    """
    return {topic: {name: asdict(finding) for name, finding in found.items()} for topic, found in findings.items()}
