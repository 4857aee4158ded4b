"""The page of a network: how long after a move of the pointer all of it is redrawn, and how large the file is.

An eight is drawn in headless Chromium, point by point, 60 moves a second. A move is answered when the page has redrawn
the outputs of all layers and the arithmetic of the chosen cell for a drawing that has it. Beside that, how long the
engine itself takes for one image, and for how long an answer kept the page's main thread busy. The networks take turns.

    python benchmarks/page.py    # 5 pages of each of two networks, about two minutes; writes page.json and .md
    python benchmarks/page.py --short
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from recording import footer, mean_sd, options, write
from selenium import webdriver

from cnnclf import CNNClassifier, load_mnist

N_POINTS = 120  # of the eight
RATE = 60  # moves a second
NETWORKS = ("compact", "auto")
N_IMAGES = 50  # that the engine computes one after the other

# The page redraws when the worker answers. A move is answered by the first answer to a request that was sent after it.
# The page sends the next request before it shows an answer, so what was sent is taken before.
WATCH = """
let moved = [], sent = [];
window.latencies = [];
window.busy = [];
pad.addEventListener("pointermove", (event) => moved.push(event.timeStamp), true);
const posted = worker.postMessage.bind(worker);
worker.postMessage = (...message) => { sent = moved; moved = []; return posted(...message); };
const taken = worker.onmessage;
worker.onmessage = (event) => {
  const start = performance.now(), answered = sent;
  taken(event);
  document.body.getBoundingClientRect();  // with the layout
  const now = performance.now();
  window.busy.push(now - start);
  window.latencies.push(...answered.map((then) => now - then));
};
const { left, top, width } = pad.getBoundingClientRect();
return [left, top, width];
"""
ENGINE = """
const pixels = drawing.pixels, times = [];
for (let i = 0; i < arguments[0]; i++) {
  const start = performance.now();
  cnnclf.predict(pixels);
  times.push(performance.now() - start);
}
return times;
"""


def main() -> None:
    """Measure and write the table."""
    short = options(__doc__).parse_args().short
    n_pages = 1 if short else 5
    load = os.getloadavg()[0]
    X, y = load_mnist()
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        networks = {name: make_page(name, X[:2000], y[:2000], Path(folder)) for name in NETWORKS}
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
        for _ in range(n_pages):
            for name, network in networks.items():
                measured[name].append(measure(driver, network[0]))
        rows = [networks[name][1] | summarise(measured[name]) for name in NETWORKS]
        version = driver.capabilities["browserVersion"]
    result = {"n_pages": n_pages, "load": load, "chromium": version, "networks": rows}
    result["environment"] = environment("selenium")
    print(table := render(result))
    if not short:
        write("page", result, table)


def make_page(name: str, X: Any, y: Any, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Fit a network briefly and write its page; return the file and the facts of the network."""
    clf = CNNClassifier(name, max_epochs=1, augment=None, preparation="handwriting", random_state=0).fit(X, y)
    path = clf.to_html(folder / f"{name}.html")
    trace = clf.trace(X[0])
    return path, {
        "name": name if name == clf.architecture_ else f"{clf.architecture_}, the default",
        "n_multiply_adds": trace.n_multiply_adds,
        "bytes": path.stat().st_size,
        "weight_bytes": 4 * trace.n_parameters,
    }


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start a headless Chromium."""
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = shutil.which("chromium") or ""
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        chosen.add_argument(f"--{flag}")
    with webdriver.Chrome(chosen, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


def measure(driver: webdriver.Chrome, path: Path) -> dict[str, float]:
    """Draw on a new page; return the milliseconds of its moves and of its engine."""
    driver.get("about:blank")
    size = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(path.as_uri())
    left, top, width = driver.execute_script(WATCH)
    t = np.linspace(0, 2 * np.pi, N_POINTS)
    x, y = 0.5 + 0.2 * np.sin(2 * t), 0.5 - 0.35 * np.cos(t)
    places = [{"x": left + a * width, "y": top + b * width} for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    start = time.perf_counter()
    for i, place in enumerate(places):
        time.sleep(max(0.0, start + i / RATE - time.perf_counter()))
        event = {"type": "mouseMoved" if i else "mousePressed", "button": "left", "buttons": 1, "clickCount": 1}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place)
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place | {"type": "mouseReleased"})
    time.sleep(1)  # for the last answer
    latencies, busy = driver.execute_script("return [window.latencies, window.busy]")
    engine = driver.execute_script(ENGINE, N_IMAGES)
    return {
        "moves": len(latencies),
        "median": float(np.median(latencies)),
        "high": float(np.quantile(latencies, 0.95)),
        "busy": max(busy),
        "engine": float(np.median(engine)),
    }


def summarise(pages: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return the figures of all pages by name."""
    return {key: [page[key] for page in pages] for key in pages[0]}


def render(result: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    text = (
        f"Milliseconds in headless Chromium, n = {result['n_pages']} pages of {N_POINTS - 1} moves of the pointer, "
        f"{RATE} a second: from a move to the page with all layers and the arithmetic redrawn, median and 95th "
        "percentile; the longest time that an answer kept the main thread busy; the engine for one image, median of "
        f"{N_IMAGES}. Mean ± sd; made by `python benchmarks/page.py`."
    )
    head = (
        "network, 28×28|multiply-adds|redrawn, median|95th percentile|main thread, longest|engine|file, kB|weights, kB"
    )
    lines = ["# The page of a network", "", text, "", f"| {head.replace('|', ' | ')} |", "|---" + "|---:" * 7 + "|"]
    for row in result["networks"]:
        figures = [mean_sd(row[key], 0) for key in ("median", "high", "busy")]
        lines.append(
            f"| {row['name']} | {row['n_multiply_adds']:,} | {' | '.join(figures)} | {mean_sd(row['engine'], 1)} | "
            f"{row['bytes'] / 1000:,.0f} | {row['weight_bytes'] / 1000:,.0f} |"
        )
    notes = f"load {result['load']:.1f} before the start", f"Chromium {result['chromium']}"
    return "\n".join(lines) + "\n\n" + footer(result["environment"], "one thread", *notes) + "\n"


if __name__ == "__main__":
    main()
