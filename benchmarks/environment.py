"""What a benchmark's figures hold for: processor, cores, versions."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def environment(*packages: str) -> dict[str, Any]:
    """Describe the machine and the versions of Python, the usual packages and the ones named."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    usual = ("cnnclf", "torch", "skorch", "scikit-learn", "numpy")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in (*usual, *packages)},
    }
