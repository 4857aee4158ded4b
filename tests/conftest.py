"""What several test modules share: scikit-learn's digits, whole and in a small part."""

import copy
import functools
import os
import platform
import shutil
import sys

# scikit-learn checks dispatch on array namespaces only where SciPy's switch is on, and skips that check otherwise.
# SciPy reads the switch once, when it is imported: hence here, before anything that imports SciPy.
os.environ["SCIPY_ARRAY_API"] = "1"

# OpenMP's threads that wait for each other by spinning cost more than layers as small as the tests' do, and pytest's
# workers have a core each. OpenMP reads the number once, when torch is imported, in these processes and their children.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="write the files in tests/inspection/golden anew")


def pytest_collection_modifyitems(items):
    """Mark what needs a browser, which takes seconds to start, as slow."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup():
    """Let the exports of a process share what torch's exporter reads anew for each of them."""
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")  # there once a test has exported
    if registration is not None and not hasattr(registration, "read_once"):
        registration.read_once = functools.cache(registration.ONNXRegistry.from_torchlib)
        registration.ONNXRegistry.from_torchlib = staticmethod(functools.partial(translations, registration.read_once))


def translations(read_once, **options):
    """Return the exporter's table of ONNX translations, whose sources take 0.4 s to read, in a copy of its own."""
    table = copy.copy(read_once(**options))
    table.functions = {target: [*ways] for target, ways in table.functions.items()}
    return table


def read_only(*arrays):
    for array in arrays:
        array.flags.writeable = False  # shared by all tests, so none may change them
    return arrays


@pytest.fixture(scope="session")
def digits():
    """All 1,797 digits: X (n, 8, 8) uint8, y (n,) int64."""
    from cnnclf import load_digits

    return read_only(*load_digits())


@pytest.fixture(scope="session")
def few_digits(digits):
    """400 digits to learn from and 400 others to score on, classes in equal shares: X, y, X_test, y_test."""
    from sklearn.model_selection import train_test_split

    X, y = digits
    X, X_test, y, y_test = train_test_split(X, y, train_size=400, test_size=400, stratify=y, random_state=0)
    return read_only(X, y, X_test, y_test)


def leave(reason):
    """Skip a test for want of a program; continuous integration installs them, and must not skip."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture
def haswell():
    """The command that runs this Python on an emulated processor of 2013: AVX2, and neither AVX-512 nor VNNI."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        leave("this test needs qemu-x86_64, of Debian's qemu-user, on an x86-64 processor")
    return [emulator, "-cpu", "Haswell", os.path.realpath(sys.executable)]  # the interpreter itself, no link to it


@pytest.fixture(scope="session")
def browser_process(tmp_path_factory):
    """A headless Chromium, which takes seconds to start."""
    from selenium import webdriver

    binary, driver_binary = shutil.which("chromium"), shutil.which("chromedriver")
    for name, found in (("chromium", binary), ("chromedriver", driver_binary)):
        if found is None:
            leave(f"{name} is not installed: this test needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-ipc-flooding-protection")  # else only 200 addresses in 10 s are gone to
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_binary))
    driver.set_script_timeout(300)
    driver.execute_cdp_cmd("Network.enable", {})
    yield driver
    driver.quit()


@pytest.fixture
def chromium(browser_process):
    """A headless Chromium that has no network, and nothing of the tests before: neither a size nor a colour scheme."""
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser_process.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    browser_process.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser_process.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser_process.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})
    return browser_process
