"""The main job on real MNIST, as a newcomer meets it: one command, and the page it leaves in a browser."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from cnnclf import CNNClassifier, load_mnist

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``cnnclf report`` leaves with its defaults."""
    folder = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-c", "from cnnclf.cli import main; main()", "report", "--dataset", "mnist"]
    run = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == str(folder / "index.html")
    assert re.fullmatch(r"test accuracy 99\.\d\d % \(.*\) on 10,000 images of MNIST", run.stdout.splitlines()[1])
    return folder


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["wide", "phone"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium that has no network."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "this test needs chromium: install Debian's chromium and chromium-driver"
    assert chromedriver, "this test needs chromedriver: install Debian's chromium and chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    width, height = request.param
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    yield driver
    driver.quit()


def test_accuracy_of_the_defaults(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] >= 0.99


def test_the_page_in_a_browser(report: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    accuracy = json.loads((report / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"]
    page = (report / "index.html").as_uri()
    browser.get(page)
    assert browser.find_element(By.ID, "test-accuracy").text == f"{accuracy:.2%}".replace("%", " %")
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked_for = [r["request"]["url"] for r in requests if r["documentURL"] == page]
    assert [url for url in asked_for if not url.startswith("data:")] == [page]  # itself, and nothing else
    # Nothing sticks out sideways, and every picture has loaded.
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.save_screenshot(str(tmp_path / "report.png"))


def test_the_model_file_predicts_what_the_report_says(report: Path) -> None:
    clf = CNNClassifier.load(report / "model.cnn")
    X, y = load_mnist("test")
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert clf.score(X, y) == metrics["test"]["accuracy"]
    assert np.array_equal(clf.predict(X[:1]), clf.predict(X)[:1])
