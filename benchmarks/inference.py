"""Inference on one core: `ONNXClassifier` against torch, the bare ONNX Runtime session and OpenVINO; and cold start.

Every engine gets the same raw uint8 images and gives probabilities, standardisation included. One thread, engines
interleaved within each repetition, CPU and wall time, and the share of the machine's own matrix-product peak.

    python benchmarks/inference.py    # n = 7, five to fifteen minutes; writes inference.json, .md and .png
    python benchmarks/inference.py --short
"""

import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime
import openvino
import torch
from environment import environment
from matplotlib.figure import Figure
from onnxruntime.quantization import quantize_static
from recording import footer, mean_sd, options, write

from cnnclf import CNNClassifier, ONNXClassifier, load_mnist
from cnnclf.training._runtime import choose_precision

Engine = Callable[[np.ndarray], np.ndarray]

BATCHES = (1, 32, 256, 1024)
EPOCHS = {"compact": 5, "keras_mnist": 5, "accurate": 1}
SECONDS = 0.15  # of CPU that one measurement takes at least
CALIBRATION = 500
EIGHT_BITS = {"reduce_range": False}  # what int8 files had before: other answers on processors without VNNI


def torch_engine(module: torch.nn.Module, *, channels_last: bool = False, bfloat16: bool = False) -> Engine:
    """Run a module, compiled or not, as torch's own users do."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(memory_format=layout)

    def predict(X: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            x = torch.from_numpy(X)[:, None].contiguous(memory_format=layout)
            return module(x).softmax(dim=1).float().numpy()

    return predict


def bare_session(path: Path) -> Engine:
    """Run ONNX Runtime as its own documentation shows, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda X: session.run(["label", "probabilities"], {"X": X})[1]


def openvino_engine(path: Path) -> Engine:
    """Run OpenVINO in float32 on one thread; its default would be bfloat16 where the processor has it."""
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(path, "CPU", settings)
    request, output = compiled.create_infer_request(), compiled.output("probabilities")
    return lambda X: request.infer({"X": X}, share_inputs=True)[output]


def engines(clf: CNNClassifier, folder: Path, calibration: np.ndarray) -> dict[str, Engine]:
    """Give every engine the same network."""
    float32, int8, eight_bits = (folder / f"{name}.onnx" for name in ("float32", "int8", "eight_bits"))
    clf.to_onnx(float32)
    clf.to_onnx(int8, quantize="int8", calibration=calibration)
    with patch("onnxruntime.quantization.quantize_static", lambda *a, **k: quantize_static(*a, **k | EIGHT_BITS)):
        clf.to_onnx(eight_bits, quantize="int8", calibration=calibration)

    def module() -> torch.nn.Module:
        return copy.deepcopy(clf.module_).eval()

    in_bfloat16 = {
        "torch eager, bfloat16": torch_engine(module(), bfloat16=True),
        "torch eager, bfloat16, channels last": torch_engine(module(), channels_last=True, bfloat16=True),
    }
    return {
        "torch eager": torch_engine(module()),
        "torch eager, channels last": torch_engine(module(), channels_last=True),
        # Emulated, it is 10 to 40 times slower than float32, and most of this benchmark's time.
        **(in_bfloat16 if choose_precision("auto", "cpu") == "bfloat16" else {}),
        "torch.compile": torch_engine(torch.compile(module(), dynamic=False)),
        "OpenVINO": openvino_engine(float32),
        "ONNX Runtime": bare_session(float32),
        "ONNXClassifier": ONNXClassifier(float32).predict_proba,
        "ONNXClassifier, int8": ONNXClassifier(int8).predict_proba,
        "ONNXClassifier, int8 with weights of 8 bits": ONNXClassifier(eight_bits).predict_proba,
    }


def measure(engine: Engine, X: np.ndarray, batch: int, n_images: int) -> tuple[float, float]:
    """CPU and wall microseconds an image."""
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, n_images, batch):
        engine(X[start % len(X) : start % len(X) + batch])
    return (time.process_time() - cpu) / n_images * 1e6, (time.perf_counter() - wall) / n_images * 1e6


def images_for(engine: Engine, X: np.ndarray, batch: int) -> int:
    """Find how many images take long enough to be timed."""
    engine(X[:batch])
    engine(X[:batch])
    cpu, _ = measure(engine, X, batch, 4 * batch)
    return batch * max(4, int(SECONDS * 1e6 / max(cpu, 1) / batch))


def gemm_peak() -> float:
    """Most float32 operations a second of one core, in the matrix product of the library that torch brings."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    best = np.inf
    for _ in range(20):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * 1024**3 / best


def cold_starts(path: Path, n: int) -> dict[str, list[float]]:
    """CPU seconds of a process that loads the file and predicts one image."""
    image = "numpy.zeros((1, 28, 28), numpy.uint8)"
    bare = f"import numpy, onnxruntime; onnxruntime.InferenceSession({str(path)!r}).run(None, {{'X': {image}}})"
    ours = f"import numpy; from cnnclf import ONNXClassifier; ONNXClassifier({str(path)!r}).predict({image})"
    programs = {"numpy alone": "import numpy", "bare ONNX Runtime script": bare, "ONNXClassifier": ours}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repetition in range(n + 1):
        for name, program in programs.items():
            before = os.times()
            subprocess.run([sys.executable, "-c", program], check=True)
            after = os.times()
            if repetition:  # the first fills the disk cache
                used = after.children_user + after.children_system - before.children_user - before.children_system
                seconds[name].append(used)
    return seconds


def main() -> None:
    """Run, print and write the comparison."""
    short = options(__doc__).parse_args().short
    n, networks = (2, {"compact": 1}) if short else (7, EPOCHS)

    torch.set_num_threads(1)
    X, y = load_mnist("train")
    X_test, y_test = load_mnist("test")
    result = {"n": n, "batches": BATCHES, "environment": environment("onnx", "onnxruntime", "openvino")}
    result["gemm_peak_gflops"] = gemm_peak() / 1e9
    result["networks"] = {}
    for name, epochs in networks.items():
        settings = {"optimizer": "adamw", "lr": 0.005, "augment": None}
        clf = CNNClassifier(name, max_epochs=epochs, **settings, random_state=0).fit(X, y)
        n_operations = 2 * sum(step.n_multiply_adds for step in clf.trace(X[0]).steps)
        with tempfile.TemporaryDirectory() as folder:
            contestants = engines(clf, Path(folder), X[:CALIBRATION])
            accuracy = {
                engine: float((contestants[engine](X_test).argmax(axis=1) == y_test).mean())
                for engine in contestants
                if engine == "torch eager" or engine.startswith("ONNXClassifier")
            }
            rows = []
            for batch in BATCHES:
                n_images = {engine: images_for(run, X_test, batch) for engine, run in contestants.items()}
                timings: dict[str, list[tuple[float, float]]] = {engine: [] for engine in contestants}
                for _ in range(n):
                    for engine, run in contestants.items():
                        timings[engine].append(measure(run, X_test, batch, n_images[engine]))
                for engine, pairs in timings.items():
                    cpu, wall = np.array(pairs).T
                    row = {"engine": engine, "batch": batch, "cpu_us": cpu.tolist(), "wall_us": wall.tolist()}
                    row["peak_share"] = n_operations / (cpu.mean() * 1e-6) / (result["gemm_peak_gflops"] * 1e9)
                    rows.append(row)
                    print(
                        f"{name:12} batch {batch:5} {engine:38} {cpu.mean():8.1f} ± {cpu.std(ddof=1):6.1f} µs",
                        flush=True,
                    )
            if name == "compact":
                result["cold_start_cpu_seconds"] = cold_starts(Path(folder) / "float32.onnx", n)
        result["networks"][name] = {"operations": n_operations, "test_accuracy": accuracy, "rows": rows}

    print(table := render(result))
    if not short:
        write("inference", result, table, draw(result))


def render(result: dict) -> str:
    """Write the result as Markdown."""
    lines = [
        "# Inference on one core",
        "",
        (
            "CPU microseconds an image, mean ± sd, raw uint8 image to probabilities; engines interleaved, "
            f"n = {result['n']}; made by `python benchmarks/inference.py`. In brackets the share of this core's "
            f"float32 matrix-product peak, {result['gemm_peak_gflops']:.0f} GFLOP/s. "
            f"{footer(result['environment'], 'one thread')}"
        ),
    ]
    for name, network in result["networks"].items():
        accuracy = network["test_accuracy"]
        lines += [
            "",
            f"## {name}: {network['operations'] / 1e6:.2f} million operations an image",
            "",
            "| engine | " + " | ".join(f"batch {batch}" for batch in result["batches"]) + " |",
            "|---|" + "---|" * len(result["batches"]),
        ]
        by_engine: dict[str, list[dict]] = {}
        for row in network["rows"]:
            by_engine.setdefault(row["engine"], []).append(row)
        for engine, rows in by_engine.items():
            cells = (f"{mean_sd(row['cpu_us'])} ({row['peak_share']:.0%})" for row in rows)
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
        lines += ["", *ratios(by_engine, result["batches"])]
        lines.append(
            f"Test accuracy: torch {accuracy['torch eager']:.2%}, ONNX file {accuracy['ONNXClassifier']:.2%}, "
            f"int8 {accuracy['ONNXClassifier, int8']:.2%}, with weights of 8 bits instead of 7 "
            f"{accuracy['ONNXClassifier, int8 with weights of 8 bits']:.2%}."
        )
    if "cold_start_cpu_seconds" in result:
        lines += ["", "## Cold start: a process that loads the file and predicts one image", ""]
        lines += ["| | CPU seconds |", "|---|---|"]
        lines += [f"| {name} | {mean_sd(values, 3)} |" for name, values in result["cold_start_cpu_seconds"].items()]
    return "\n".join(lines) + "\n"


def ratios(by_engine: dict[str, list[dict]], batches: tuple[int, ...]) -> list[str]:
    """Say how many times faster, from the same repetitions of both sides."""
    eager = [engine for engine in by_engine if engine.startswith("torch eager")]

    def times(slow: list[float], fast: list[float]) -> str:
        return f"{np.median(np.array(slow) / np.array(fast)):.2f}"

    lines = []
    for i, _ in enumerate(batches):
        cpu = {engine: rows[i]["cpu_us"] for engine, rows in by_engine.items()}
        best = min(eager, key=lambda engine: np.mean(cpu[engine]))
        ours = cpu["ONNXClassifier"]
        lines.append(
            f"- batch {batches[i]}: ONNXClassifier is {times(cpu[best], ours)} × the best of torch eager, "
            f"{times(cpu['OpenVINO'], ours)} × OpenVINO, {times(cpu['ONNX Runtime'], ours)} × the bare session; "
            f"int8 is {times(ours, cpu['ONNXClassifier, int8'])} × float32, with weights of 8 bits "
            f"{times(ours, cpu['ONNXClassifier, int8 with weights of 8 bits'])} ×"
        )
    return [*lines, ""]


# Ours thick and in colour; torch grey, each with a mark of its own.
STYLES = {
    "ONNXClassifier, int8": {"color": "#b64600", "linewidth": 2.6, "marker": "o"},
    "ONNXClassifier": {"color": "#2b7fc3", "linewidth": 2.6, "marker": "o"},
    "ONNX Runtime": {"color": "#2b7fc3", "linestyle": ":", "marker": "s"},
    "OpenVINO": {"color": "#333333", "linestyle": "--", "marker": "D"},
    "torch eager, bfloat16, channels last": {"color": "#777b83", "marker": "^"},
    "torch eager, channels last": {"color": "#777b83", "marker": "v"},
    "torch.compile": {"color": "#777b83", "linestyle": "--", "marker": "P"},
    "torch eager, bfloat16": {"color": "#aaadb3", "marker": "x"},
    "torch eager": {"color": "#aaadb3", "marker": "+"},
}


def draw(result: dict) -> Figure:
    """Draw images a second against the batch size."""
    n = len(result["networks"])
    figure = Figure(figsize=(3.8 * n, 4.8), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)
    for ax, (name, network) in zip(axes[0], result["networks"].items(), strict=True):
        for engine, style in STYLES.items():
            rates = [1e6 / np.mean(row["cpu_us"]) for row in network["rows"] if row["engine"] == engine]
            if rates:  # bfloat16 is measured where the processor has it
                ax.plot(range(len(rates)), rates, label=engine, markersize=5, **{"linewidth": 1.2} | style)
        ax.set(title=name, xlabel="batch size", ylim=(0, None))
        ax.set_xticks(range(len(result["batches"])), result["batches"])
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#777b83", alpha=0.25, linewidth=0.6)
    axes[0][0].set_ylabel("images a second on one core")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
