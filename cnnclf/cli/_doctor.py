"""What cnnclf finds on this machine: versions, devices, how it will train, data, and what else could be installed."""

import importlib
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from cnnclf import __version__
from cnnclf._utils.text import quote
from cnnclf.datasets._mnist import MNIST_FILES, find_candidates, load_mnist
from cnnclf.training._allocator import can_keep_freed_memory

# Distribution and module: what a first fit and a first export need.
NEEDED = {
    "torch": "torch",
    "skorch": "skorch",
    "scikit-learn": "sklearn",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
}

# Extras for users, and what they are for; the others are for those who work on cnnclf itself.
EXTRAS = {
    "cli": "the cnnclf command",
    "data": "MNIST and picture files",
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
    """One thing that was looked at.

    Attributes
    ----------
    topic, name : str
        What it is.
    value : str
        What was found.
    is_broken : bool
        Whether cnnclf does not work with it.
    advice : str
        What could be done; empty where all is well.
    """

    topic: str
    name: str
    value: str
    is_broken: bool = False
    advice: str = ""


def examine() -> list[Finding]:
    """Look at all of it.

    Returns
    -------
    list of Finding
        By topic; nothing is downloaded and nothing changed.

    Examples
    --------
    >>> findings = examine()
    >>> list(dict.fromkeys(finding.topic for finding in findings))
    ['versions', 'devices', 'training', 'data', 'extras']
    >>> any(finding.is_broken for finding in findings)
    False
    """
    findings = list(look_at_versions())
    if not any(finding.is_broken for finding in findings):  # else there is nothing to ask
        findings += [*look_at_devices(), *look_at_training()]
    return [*findings, *look_at_data(), *look_at_extras()]


def look_at_versions() -> Iterator[Finding]:
    """See whether what cnnclf needs is there and can be imported."""
    yield Finding("versions", "cnnclf", __version__)
    yield Finding("versions", "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for distribution, module in NEEDED.items():
        try:
            importlib.import_module(module)
            yield Finding("versions", distribution, version(distribution))
        except (
            ImportError,
            OSError,
            PackageNotFoundError,
        ) as error:  # an OSError is a shared library that does not load
            advice = f"pip install --force-reinstall {distribution}"
            yield Finding("versions", distribution, f"cannot be imported ({error})", is_broken=True, advice=advice)


def look_at_devices() -> Iterator[Finding]:
    """See what torch can compute on."""
    import torch

    able = torch.cpu.get_capabilities()
    features = [name for key, name in FEATURES.items() if able.get(key, False)]
    known = f": {', '.join(features)}" if features else ""
    yield Finding("devices", "processor", f"{able.get('cpu_name') or platform.machine()}{known}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("devices", "GPU", ", ".join(gpus) or "none that torch can use")


def look_at_training() -> Iterator[Finding]:
    """See how a fit with everything on "auto" would run."""
    from cnnclf.training._runtime import choose_device, choose_precision

    device = choose_device("auto")
    yield Finding("training", "device", device)
    yield Finding("training", "precision", choose_precision("auto", device))
    yield look_at_threads(os.environ.get("CNNCLF_NUM_THREADS"))
    kept = "keeps freed memory during fit, which is faster" if can_keep_freed_memory() else "left as it is"
    yield Finding("training", "allocator", kept)


def look_at_threads(asked: str | None) -> Finding:
    """Describe how many threads a fit has, given the environment variable CNNCLF_NUM_THREADS.

    Examples
    --------
    >>> look_at_threads("many").advice
    'unset CNNCLF_NUM_THREADS, or set it to a whole number of at least 1'
    """
    import torch

    machine = f"{os.cpu_count()} cores, torch's own number is {torch.get_num_threads()}"
    if asked is not None and not (asked.isdecimal() and int(asked) > 0):
        advice = "unset CNNCLF_NUM_THREADS, or set it to a whole number of at least 1"
        return Finding("training", "threads", f"CNNCLF_NUM_THREADS is {quote(asked)}", is_broken=True, advice=advice)
    how = "CNNCLF_NUM_THREADS is not set" if asked is None else "as CNNCLF_NUM_THREADS says"
    return Finding("training", "threads", f"{asked or 1} a fit, {how}; {machine}")


def look_at_data() -> Iterator[Finding]:
    """See whether MNIST is there and whole."""
    try:
        import pooch
    except ImportError:
        yield Finding("data", "MNIST", "not looked for without pooch", advice="pip install pooch requests pillow")
        yield Finding("data", "digits", "come with scikit-learn")
        return
    places = [Path(place).expanduser() for place in (os.environ.get("CNNCLF_DATA"), pooch.os_cache("cnnclf")) if place]
    try:
        for split in ("train", "test"):
            load_mnist(split, download=False)
    except FileNotFoundError:
        advice = "it is downloaded at the first use; without a network, set CNNCLF_DATA to a folder that has it"
        looked_in = " and ".join(map(str, places))
        yield Finding("data", "MNIST", f"not in {looked_in}", advice=advice)
    except ValueError as error:
        yield Finding("data", "MNIST", str(error), is_broken=True, advice="delete that file; it is downloaded again")
    else:
        found = next(file for file in find_candidates(MNIST_FILES["train"][0].name, places) if file.is_file())
        yield Finding("data", "MNIST", f"whole, in {found.parent}")
    yield Finding("data", "digits", "come with scikit-learn")


def look_at_extras() -> Iterator[Finding]:
    """See which extras are installed."""
    for extra, purpose in EXTRAS.items():
        missing = [name for name in distributions_of(extra, requires("cnnclf") or []) if not is_installed(name)]
        if missing:
            advice = f"pip install {' '.join(missing)}"
            yield Finding("extras", extra, f"{purpose}: {', '.join(missing)} not installed", advice=advice)
        else:
            yield Finding("extras", extra, f"{purpose}: installed")


def distributions_of(extra: str, requirements: Sequence[str]) -> list[str]:
    """Name what an extra needs everywhere; what only some systems can have does not count.

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


def to_text(findings: Sequence[Finding]) -> str:
    """Write findings down, a topic after the other.

    Parameters
    ----------
    findings : sequence of Finding
        By topic.

    Returns
    -------
    str
        Lines.

    Examples
    --------
    >>> print(to_text([Finding("data", "MNIST", "nowhere", advice="get it")]))
    data
      MNIST         nowhere
                    → get it
    """
    lines = []
    for topic in dict.fromkeys(finding.topic for finding in findings):
        lines += ["", topic]
        for finding in findings:
            if finding.topic == topic:
                lines.append(f"  {finding.name:13} {'BROKEN: ' if finding.is_broken else ''}{finding.value}")
                lines += [f"{'':16}→ {finding.advice}"] if finding.advice else []
    return "\n".join(lines[1:])


def to_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as nested dictionaries, by topic and name.

    Parameters
    ----------
    findings : sequence of Finding
        By topic.

    Returns
    -------
    dict
        Ready for JSON.

    Examples
    --------
    >>> to_dict([Finding("data", "digits", "there")])
    {'data': {'digits': {'value': 'there', 'is_broken': False, 'advice': ''}}}
    """
    told: dict[str, Any] = {}
    for finding in findings:
        entry = {"value": finding.value, "is_broken": finding.is_broken, "advice": finding.advice}
        told.setdefault(finding.topic, {})[finding.name] = entry
    return told
