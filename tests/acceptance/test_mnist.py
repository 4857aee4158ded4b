"""The main job on real MNIST, as a newcomer meets it: one command, and the page it leaves in a browser."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from cnnclf import CNNClassifier, load_mnist
from cnnclf._utils.text import percent

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``cnnclf report`` leaves after one epoch; `test_readme.py` trains for as many as the defaults choose."""
    folder = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-c", "from cnnclf.cli._main import main; main()", "report", "--dataset", "mnist"]
    run = subprocess.run([*command, "--epochs", "1", "--out", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == str(folder / "index.html")
    assert re.fullmatch(r"test accuracy 99\.\d\d % \(.*\) on 10,000 images of MNIST", run.stdout.splitlines()[1])
    return folder


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["wide", "phone"])
def browser(request: pytest.FixtureRequest, chromium: webdriver.Chrome) -> webdriver.Chrome:
    """The browser on an empty page, as wide as a desk's or a phone's; what happened before is not in its logs."""
    width, height = request.param
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    return chromium


def asked_for(browser: webdriver.Chrome, page: str) -> list[str]:
    """Every address that a page has asked for since the log was last read."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = [r["request"]["url"] for r in requests if r["documentURL"] == page]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def test_accuracy_after_one_epoch(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] >= 0.99


def test_the_page_in_a_browser(report: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    accuracy = json.loads((report / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"]
    page = (report / "index.html").as_uri()
    browser.get(page)
    assert browser.find_element(By.ID, "test-accuracy").text == f"{accuracy:.2%}".replace("%", " %")
    assert browser.get_log("browser") == []
    assert asked_for(browser, page) == [page]  # itself, and nothing else
    assert (report / "index.html").stat().st_size < 2_500_000
    browser.execute_script("for (const layer of document.querySelectorAll('details')) layer.open = true")
    # Nothing sticks out sideways, and every picture has loaded.
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.save_screenshot(str(tmp_path / "report.png"))


def test_the_page_shows_how_the_network_reads_a_5(report: Path, browser: webdriver.Chrome) -> None:
    clf = CNNClassifier.load(report / "model.cnn")
    X, y = load_mnist("test")
    trace = clf.trace(X[np.flatnonzero((y == 5) & (clf.predict(X) == 5))[0]])
    browser.get((report / "index.html").as_uri())
    assert browser.find_element(By.ID, "walkthrough").text.endswith("How the network reads a 5")
    story = browser.find_element(By.ID, "story")
    assert f"The network predicts 5 with a probability of {percent(trace.share)}" in story.text
    rows = story.find_elements(By.CSS_SELECTOR, ".pixels tbody tr")
    pixels = [[cell.text.replace("·", "0") for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    assert np.array_equal(np.array(pixels, dtype=int), trace.image[0])
    layers = story.find_elements(By.TAG_NAME, "details")
    assert len(layers) == len(trace.steps)
    folded = next(layer for layer in layers if not layer.get_attribute("open"))
    assert "The arithmetic of the largest number" not in folded.text
    folded.find_element(By.TAG_NAME, "summary").click()
    assert "The arithmetic of the largest number" in folded.text


def test_the_link_leads_to_the_page_to_explore(report: Path, browser: webdriver.Chrome) -> None:
    page = (report / "walkthrough.html").as_uri()
    browser.get((report / "index.html").as_uri())
    browser.get_log("performance")  # what the report asked for is not counted
    browser.find_element(By.CSS_SELECTOR, '#story a[href="walkthrough.html"]').click()
    WebDriverWait(browser, 10).until(lambda driver: driver.current_url.startswith(page))
    WebDriverWait(browser, 10).until(lambda driver: driver.title.startswith("5 with "))
    WebDriverWait(browser, 10).until(lambda driver: driver.find_element(By.ID, "value").text)
    assert browser.get_log("browser") == []
    assert asked_for(browser, page) == [page]
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_model_file_predicts_what_the_report_says(report: Path) -> None:
    clf = CNNClassifier.load(report / "model.cnn")
    X, y = load_mnist("test")
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert clf.score(X, y) == metrics["test"]["accuracy"]
    assert np.array_equal(clf.predict(X[:1]), clf.predict(X)[:1])
