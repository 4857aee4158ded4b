"""The cost of glibc's allocator in a fit: with its defaults, and set to keep freed memory as `cnnclf.training` sets it.

Every fit is a process of its own on one thread; the settings take turns. `MALLOC_TRIM_THRESHOLD_=65536` is what Dask
sets for its workers. A throw-away fit of 256 rows comes first and does not count.

    python benchmarks/allocator.py    # n = 5, about five minutes; writes allocator.json and .md
    python benchmarks/allocator.py --short
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from environment import environment
from recording import footer, mean_sd, options, write

FITS = (("compact", "bfloat16"), ("compact", "float32"), ("pytorch_mnist", "float32"))
SETTINGS = {  # name: environment variables
    "glibc as it is": {"CNNCLF_MALLOPT": "0"},
    "keeping freed memory": {},
    "glibc under Dask": {"CNNCLF_MALLOPT": "0", "MALLOC_TRIM_THRESHOLD_": "65536"},
    "keeping freed memory under Dask": {"MALLOC_TRIM_THRESHOLD_": "65536"},
}


def child(architecture: str, precision: str, n_images: int) -> None:
    """Fit once and print what it took."""
    from cnnclf import CNNClassifier, load_mnist

    X, y = (array[:n_images] for array in load_mnist())
    settings = {"optimizer": "adamw", "batch_size": 128, "precision": precision, "random_state": 0}
    clf = CNNClassifier(architecture, max_epochs=1, **settings)
    clf.fit(X[:256], y[:256])
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    clf.fit(X, y)
    spent, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF)
    peak = after.ru_maxrss / 1024  # MiB, as Linux counts in KiB
    print(json.dumps({"cpu_seconds": spent, "page_faults": after.ru_minflt - before.ru_minflt, "peak_mib": peak}))


def main() -> None:
    """Run, print and write the comparison."""
    parser = options(__doc__)
    parser.add_argument("--child", nargs=3, metavar=("ARCHITECTURE", "PRECISION", "IMAGES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        architecture, precision, n_images = args.child
        child(architecture, precision, int(n_images))
        return

    n, n_images = (1, 640) if args.short else (5, 6400)
    runs: dict[tuple[str, str, str], list[dict[str, float]]] = {(*fit, name): [] for fit in FITS for name in SETTINGS}
    for _ in range(n):
        for architecture, precision, setting in runs:
            command = [sys.executable, __file__, "--child", architecture, precision, str(n_images)]
            variables = os.environ | {"OMP_NUM_THREADS": "1"} | SETTINGS[setting]
            said = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout
            runs[architecture, precision, setting].append(json.loads(said))
    rows = [
        {"architecture": architecture, "precision": precision, "setting": setting}
        | {name: [run[name] for run in measured] for name in measured[0]}
        for (architecture, precision, setting), measured in runs.items()
    ]
    result = {"n": n, "images": n_images, "rows": rows, "environment": environment()}
    print(table := render(result))
    if not args.short:
        write("allocator", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown; every setting is compared with the same fit under glibc as it is."""
    usual = {
        (row["architecture"], row["precision"]): np.mean(row["cpu_seconds"])
        for row in result["rows"]
        if row["setting"] == next(iter(SETTINGS))
    }
    rows = "".join(
        f"| `{row['architecture']}`, {row['precision']} | {row['setting']} | {mean_sd(row['cpu_seconds'], 2)} "
        f"| {np.mean(row['cpu_seconds']) / usual[row['architecture'], row['precision']]:.2f} "
        f"| {np.median(row['page_faults']):,.0f} | {np.mean(row['peak_mib']):,.0f} |\n"
        for row in result["rows"]
    )
    return (
        "# The allocator\n\n"
        f"One epoch over {result['images']:,} MNIST images in batches of 128, n = {result['n']}, mean ± sd; made by "
        "`python benchmarks/allocator.py`. A page fault is a page of 4 KiB that the system had to give anew; the peak "
        "is that of the whole process.\n\n"
        "| fit | allocator | CPU s | × as it is | page faults | peak, MiB |\n|---|---|---:|---:|---:|---:|\n"
        f"{rows}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


if __name__ == "__main__":
    main()
