"""What a benchmark's figures hold for: processor, its extensions, cores, precision, versions."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cnnclf.training._runtime import choose_precision

# Extensions of x86 and Arm for vectors and matrices, as Linux names them, that such figures hang on.
EXTENSIONS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "sve", "bf16", "i8mm"),
)


def environment(*packages: str, device: str = "cpu") -> dict[str, Any]:
    """Describe the machine, the precision it trains in, the versions of Python, the usual packages and those named."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = told.get("flags", told.get("Features"))
    usual = ("cnnclf", "torch", "skorch", "scikit-learn", "numpy")
    return {
        "cpu": told.get("model name", platform.processor()),
        "extensions": None if flags is None else [name for name in EXTENSIONS if name in flags.split()],
        "cores": os.cpu_count(),
        "precision": choose_precision("auto", device),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in (*usual, *packages)},
    }
