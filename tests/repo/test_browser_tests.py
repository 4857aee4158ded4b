"""Tests in a browser where there is none: skipped with the reason, but not in continuous integration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT

pytestmark = pytest.mark.slow


def run_a_browser_test(folder, *programs, ci):
    """Run a test that asks for the browser, with no programs on the path but the ones named."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "test_page.py").write_text("def test_page(chromium):\n    pass\n")
    for name in programs:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", f"--rootdir={folder}", "test_page.py"],
        cwd=folder,
        env=environment | {"PATH": str(folder), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ci,
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stdout


def test_without_a_browser_a_browser_test_is_skipped_and_says_what_is_missing(tmp_path):
    code, said = run_a_browser_test(tmp_path, ci={})
    assert code == 0, said
    assert "1 skipped" in said
    assert "chromium is not installed: this test needs Debian's chromium and chromium-driver" in said


def test_in_continuous_integration_it_fails(tmp_path):
    code, said = run_a_browser_test(tmp_path, "chromium", ci={"CI": "true"})
    assert code == 1, said
    assert "chromedriver is not installed: this test needs Debian's chromium and chromium-driver" in said
