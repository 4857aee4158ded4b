"""The kernel that moves over an image in a notebook: SciPy's numbers, whatever is changed in the page."""

import re

import numpy as np
import pytest
from scipy.signal import correlate2d
from selenium.webdriver.common.by import By

from cnnclf.inspection import SlidingWindow

IMAGE = np.arange(30.0).reshape(5, 6) % 7
KERNEL = np.array([[-1.0, 0.5], [2.0, 0.0], [1.0, -3.0]])


@pytest.fixture
def page(chromium, tmp_path):
    """The page as a notebook shows it: in a frame without rights."""
    chromium.get_log("browser")
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>notebook</title>{SlidingWindow(IMAGE, KERNEL)._repr_html_()}", "utf-8")
    chromium.get(path.as_uri())
    chromium.switch_to.frame(0)
    yield chromium
    chromium.switch_to.default_content()
    assert chromium.get_log("browser") == []


def numbers(driver, table):
    rows = driver.execute_script(
        "return [...document.getElementById(arguments[0]).rows].map((row) => [...row.cells].map((c) => c.textContent))",
        table,
    )
    return np.array([[float(text.replace("−", "-")) for text in row] for row in rows])


def enter(driver, name, value):
    driver.execute_script(
        "const field = document.querySelector(arguments[0]); field.value = arguments[1]; field.oninput();", name, value
    )


def test_the_result_is_scipys(page):
    assert np.array_equal(numbers(page, "image"), IMAGE)
    assert np.array_equal(numbers(page, "result"), correlate2d(IMAGE, KERNEL, mode="valid"))


def test_stride_padding_and_weights_can_be_changed(page):
    enter(page, "#padding", "1")
    padded = np.pad(IMAGE, 1)
    assert np.array_equal(numbers(page, "image"), padded)
    assert np.array_equal(numbers(page, "result"), correlate2d(padded, KERNEL, mode="valid"))
    enter(page, "#stride", "2")
    assert np.array_equal(numbers(page, "result"), correlate2d(padded, KERNEL, mode="valid")[::2, ::2])
    enter(page, "#kernel tr:nth-child(2) input", "-4.5")
    changed = KERNEL.copy()
    changed[1, 0] = -4.5
    assert np.array_equal(numbers(page, "result"), correlate2d(padded, changed, mode="valid")[::2, ::2])


def test_the_sum_of_the_chosen_result_adds_up(page):
    page.execute_script("document.querySelectorAll('#result button')[6].focus()")  # row 1, column 1 of 3 × 5
    assert page.find_element(By.ID, "sum").text == "0·(−1) + 1·0.5 + 6·2 + 0·0 + 5·1 + 6·(−3) = −0.5"
    assert len(page.find_elements(By.CSS_SELECTOR, "#image .under")) == 6
    page.find_element(By.ID, "next").click()
    assert page.find_element(By.ID, "sum").text.endswith(f"= {correlate2d(IMAGE, KERNEL, mode='valid')[1, 2]:g}")


def test_what_does_not_fit_changes_nothing_and_is_marked(page):
    for value in ("0", "9", "1.5", ""):
        enter(page, "#stride", value)
        assert page.execute_script("return document.getElementById('stride').ariaInvalid") == "true"
        assert numbers(page, "result").shape == (3, 5)


ZEROS, ONE = np.zeros((3, 3)), np.ones((1, 1))


@pytest.mark.parametrize(
    ("image", "kernel", "settings", "begins", "ends"),
    [
        (
            np.zeros((17, 3)),
            np.zeros((2, 2)),
            {},
            "Expected an image of at most 16×16 numbers and a kernel, two matrices; got shapes (17, 3) and (2, 2). ",
            "Cut a patch out of the image.",
        ),
        (
            ZEROS,
            np.zeros((6, 2)),
            {"padding": 1},
            "Expected a kernel that fits the padded image; got (6, 2) on (3, 3) with padding 1. ",
            "Make the kernel smaller.",
        ),
        (ZEROS, ONE, {"stride": 1.5}, "Expected stride to be a whole number of at least 1; got 1.5. ", "Pass 1."),
        (ZEROS, ONE, {"padding": -1}, "Expected padding to be a whole number of at least 0; got -1. ", "Pass 0."),
        ([["a"]], ONE, {}, "Expected finite numbers; got [['a']]. ", "Remove what is no number."),
        ([[float("nan")]], ONE, {}, "Expected finite numbers; got [[nan]]. ", "Remove what is no number."),
    ],
)
def test_what_cannot_be_shown(image, kernel, settings, begins, ends):
    with pytest.raises(ValueError, match=rf"\A{re.escape(begins + ends)}\Z"):
        SlidingWindow(image, kernel, **settings)
