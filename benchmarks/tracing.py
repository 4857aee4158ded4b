"""The walkthrough of one MNIST image through the default network: seconds to trace, verify and write it.

    python benchmarks/tracing.py            # n = 10, about a minute; writes tracing.json and tracing.md
    python benchmarks/tracing.py --short

Verifying exports the network anew each time, as for the first image of an estimator; "verify, next image" is what
another image of the same estimator costs. torch's exporter is imported before the clock starts.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment
from recording import footer, mean_sd, options, write

from cnnclf import CNNClassifier, load_mnist


def main() -> None:
    """Run, print and write the figures."""
    short = options(__doc__).parse_args().short
    n = 2 if short else 10

    torch.set_num_threads(1)
    X, y = load_mnist()
    clf = CNNClassifier("compact", max_epochs=1, optimizer="adamw", lr=0.005, random_state=0).fit(
        X[:10_000], y[:10_000]
    )
    clf.trace(X[0]).verify()

    seconds: dict[str, list[tuple[float, float]]] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        seconds.setdefault(name, []).append((time.process_time() - cpu, time.perf_counter() - wall))
        return result

    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            clf.module_.output.bias.data += 0.0 if i == 0 else 1e-3  # another network, which must be exported anew
            trace = timed("trace", lambda i=i: clf.trace(X[i]))
            assert timed("verify", trace.verify).passed
            following = trace.follow(X[i + 1][np.newaxis])
            assert timed("verify, next image", following.verify).passed
            page = timed("to_html", lambda trace=trace: trace.to_html(Path(folder) / "page.html"))
            for name in ("to_text", "to_markdown", "to_latex"):
                timed(name, getattr(trace, name))
        n_bytes = Path(page).stat().st_size

    result = {"n": n, "seconds": seconds, "page_bytes": n_bytes, "environment": environment("onnx", "onnxruntime")}
    print(table := render(result))
    if not short:
        write("tracing", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = "".join(
        f"| {name} | {mean_sd(cpu, 3)} | {mean_sd(wall, 3)} |\n"
        for name, pairs in result["seconds"].items()
        for cpu, wall in [np.array(pairs).T]
    )
    return (
        "# Tracing one MNIST image through the default network\n\n"
        f"One thread, n = {result['n']}; made by `python benchmarks/tracing.py`. The page has "
        f"{result['page_bytes'] / 1e6:.2f} MB.\n\n"
        f"| | CPU seconds, mean ± sd | wall seconds, mean ± sd |\n|---|---|---|\n{rows}\n"
        f"{footer(result['environment'], 'one thread')}\n"
    )


if __name__ == "__main__":
    main()
