"""The page of `cnnclf app`: what a request takes the server, and how long after a move of the pointer it is answered.

An eight is drawn, point by point, and each point asks about all that is drawn so far. The server's CPU time is that of
the whole process, one thread each for the server and for its client. In headless Chromium the pointer moves 60 times a
second; a move is answered when the first probabilities of a drawing that has it are in the page. The files take turns.

    python benchmarks/app.py    # n = 240 requests and 5 pages, about a minute and a half; writes app.json and .md
    python benchmarks/app.py --short
"""

import http.client
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment
from recording import footer, mean_sd, options, write
from selenium import webdriver

from cnnclf import RECIPES, CNNClassifier, ONNXClassifier, load_mnist
from cnnclf.cli._app_network import ExportedNetwork, TracedNetwork
from cnnclf.cli._app_server import Reader, Server
from cnnclf.images._strokes import SIDE, Paper

N_POINTS = 120  # of the eight
PEN = 80  # the page's
RATE = 60  # moves a second
TURN = 12  # requests

# Each move waits for the request that has it, and for the probabilities that this gives.
WATCH = """
let moved = [], asked = [];
window.latencies = [];
document.getElementById("pad").addEventListener("pointermove", (event) => moved.push(event.timeStamp), true);
const fetched = window.fetch;
window.fetch = (...request) => { asked = moved; moved = []; return fetched(...request); };
new MutationObserver(() => {
  const now = performance.now();
  window.latencies.push(...asked.map((then) => now - then));
  asked = [];
}).observe(document.getElementById("bars"), { childList: true, characterData: true, subtree: true });
const { left, top, width } = document.getElementById("pad").getBoundingClientRect();
return [left, top, width];
"""


def eight() -> list[list[int]]:
    """Give the points of an eight on the pad, (x, y) in whole numbers."""
    t = np.linspace(0, 2 * np.pi, N_POINTS)
    points = SIDE / 2 + np.stack([0.2 * SIDE * np.sin(2 * t), -0.35 * SIDE * np.cos(t)], axis=1)
    return np.rint(points).astype(int).tolist()


@contextmanager
def serving(reader: Reader) -> Iterator[Server]:
    """Serve the page meanwhile."""
    with Server(reader) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def measure_requests(server: Server) -> list[float]:
    """Ask `TURN` times over one connection; give the CPU milliseconds of each request, the client's share included."""
    points, spent = eight(), []
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for i in range(-1, TURN):  # the first does not count
        told = {"strokes": [points[: N_POINTS * (i + 1) // TURN or 1]], "width": PEN}
        start = time.process_time()
        connection.request("POST", "/read", json.dumps(told), {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        if i >= 0:
            spent.append((time.process_time() - start) * 1000)
        assert b"probabilities" in answer
    connection.close()
    return spent


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start a headless Chromium."""
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = shutil.which("chromium") or ""
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        chosen.add_argument(f"--{flag}")
    with webdriver.Chrome(chosen, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


def measure_page(driver: webdriver.Chrome, server: Server) -> dict[str, float]:
    """Draw on a new page; give the milliseconds from a move to its probabilities, and how many requests there were."""
    driver.get(server.url)
    left, top, width = driver.execute_script(WATCH)
    places = [{"x": left + x * width / SIDE, "y": top + y * width / SIDE} for x, y in eight()]
    kinds = ["mousePressed", *["mouseMoved"] * (N_POINTS - 1)]
    start = time.perf_counter()
    for i, (kind, place) in enumerate(zip(kinds, places, strict=True)):
        time.sleep(max(0.0, start + i / RATE - time.perf_counter()))
        event = {"type": kind, "button": "left", "buttons": 1, "clickCount": 1}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place)
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place | {"type": "mouseReleased"})
    time.sleep(0.5)  # for the last answer
    latencies = driver.execute_script("return window.latencies")
    n_requests = driver.execute_script("return performance.getEntriesByName(new URL('read', location)).length")
    middle, high = np.quantile(latencies, (0.5, 0.95))
    return {"moves": len(latencies), "requests": n_requests, "median": middle, "high": high}


def main() -> None:
    """Run, print and write the figures."""
    short = options(__doc__).parse_args().short
    n_turns, n_pages, n_images = (1, 1, 2560) if short else (20, 5, 60_000)
    torch.set_num_threads(1)
    X, y = (array[:n_images] for array in load_mnist())
    clf = CNNClassifier(**RECIPES["first_look"], preparation="handwriting", random_state=0).fit(X, y)
    paper = Paper.of(clf.input_spec_)
    with tempfile.TemporaryDirectory() as folder:
        clf.to_onnx(Path(folder) / "digits.onnx")
        networks = {"cnn": TracedNetwork(clf), "onnx": ExportedNetwork(ONNXClassifier(Path(folder) / "digits.onnx"))}
    readers = {name: Reader(network, paper, "A network.") for name, network in networks.items()}

    result: dict[str, Any] = {"n": n_turns * TURN, "load": os.getloadavg()[0], "chromium": None}
    result |= {what: {name: [] for name in readers} for what in ("requests", "pages")}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(reader)) for name, reader in readers.items()}
        for _ in range(n_turns):
            for name, server in servers.items():
                result["requests"][name] += measure_requests(server)
        if shutil.which("chromium") and shutil.which("chromedriver"):
            driver = stack.enter_context(browser())
            result["chromium"] = driver.capabilities["browserVersion"]
            for _ in range(n_pages):
                for name, server in servers.items():
                    result["pages"][name].append(measure_page(driver, server))
    result["environment"] = environment("onnxruntime", "selenium")

    print(table := render(result))
    if not short:
        write("app", result, table)


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = []
    for name, spent in result["requests"].items():
        pages = result["pages"][name]
        cells = ["not measured"] * 3
        if pages:
            middles, highs, requests = ([page[what] for page in pages] for what in ("median", "high", "requests"))
            cells = [mean_sd(middles), mean_sd(highs), mean_sd(requests, 0)]
        rows.append(f"| `.{name}` | **{mean_sd(spent, 2)}** | {' | '.join(cells)} |\n")
    load = f"load {result['load']:.1f} before the start"
    chromium = f"Chromium {result['chromium']}" if result["chromium"] else "no Chromium was found"
    return (
        "# The page to draw on\n\n"
        f"What a request takes the server, n = {result['n']}, the client's share included. In headless Chromium: how "
        "long after a move of the pointer the probabilities of a drawing that has it are in the page; median and "
        f"95th percentile of {N_POINTS - 1} moves, {RATE} a second, n = {len(result['pages']['cnn'])} pages. "
        "Mean ± sd; made by `python benchmarks/app.py`.\n\n"
        "| file | CPU ms a request | wall ms from a move to its answer, median | 95th percentile | requests a page |\n"
        "|---|---:|---:|---:|---:|\n"
        f"{''.join(rows)}\n"
        f"{footer(result['environment'], 'one thread', load, chromium)}\n"
    )


if __name__ == "__main__":
    main()
