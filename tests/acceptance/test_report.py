"""The report in a browser without a network: what can be pressed does what it says, with mouse, keyboard and thumb.

On the digits, which is quick; at the end `cnnclf report --profile full` on real MNIST, as a newcomer types it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from cnnclf import load_mnist
from helpers import set_size

pytestmark = pytest.mark.acceptance

TABLES = ("comparison", "history", "classes", "pairs", "robustness", "costs")
LINES = "return [...arguments[0].tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))"


def make_report(folder: Path, *arguments: str) -> tuple[Path, str]:
    """Run the command in a process of its own; give the folder and what it printed."""
    command = [sys.executable, "-c", "from cnnclf.cli._main import main; main()", "report", *arguments]
    run = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on the digits with three networks, of which one epoch leaves enough mistakes."""
    how = ("--profile", "full", "--architectures", "tiny,lenet5,keras_mnist", "--folds", "2", "--epochs", "2")
    folder, _ = make_report(tmp_path_factory.mktemp("digits"), "--dataset", "digits", *how)
    return folder


def open_page(driver: webdriver.Chrome, folder: Path) -> str:
    page = (folder / "index.html").as_uri()
    driver.get(page)
    return page


def metrics(folder: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return numbers


def cell(driver: webdriver.Chrome, row: int, column: int) -> WebElement:
    """Find a cell of the confusion matrix."""
    path = f"#matrix tbody tr:nth-child({row + 1}) td:nth-of-type({column + 1})"
    return driver.find_element(By.CSS_SELECTOR, path)


def shown_images(driver: webdriver.Chrome) -> list[tuple[int, str]]:
    """Give number and address of each image that is open under the matrix."""
    images = driver.find_elements(By.CSS_SELECTOR, "#behind li img")
    return [
        (int((image.get_attribute("alt") or "").removeprefix("test image ")), image.get_attribute("src") or "")
        for image in images
    ]


def behind(folder: Path) -> dict[str, list[list[Any]]]:
    """Read what the page holds for each cell."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="cells">(.*?)</script>', page)
    assert found
    cells: dict[str, list[list[Any]]] = json.loads(found[1])
    return cells


def as_number(text: str) -> float:
    """Read a number as people write it; of a mean ± sd the mean."""
    found = re.fullmatch(r"([\d,.]+(?:e-\d+)?)(?: ± [\d.]+)?(?: %)?", text.replace("\xa0", " "))
    assert found, text
    return float(found[1].replace(",", ""))


def test_it_asks_the_network_for_nothing(report: Path, browser: webdriver.Chrome) -> None:
    page = open_page(browser, report)
    for button in browser.find_elements(By.CSS_SELECTOR, "#matrix td button, th button, #shares"):
        browser.execute_script("arguments[0].click()", button)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith("data:")] == [page]


def test_every_header_of_every_table_sorts_up_and_then_down(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    tables = browser.find_elements(By.CSS_SELECTOR, "table.sortable")
    assert tuple(table.get_attribute("id") for table in tables) == TABLES
    for table in tables:
        headers = table.find_elements(By.CSS_SELECTOR, "thead th")
        before = browser.execute_script(LINES, table)
        for column, header in enumerate(headers):
            for direction in ("ascending", "descending"):
                browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", header)
                header.find_element(By.TAG_NAME, "button").click()
                lines = browser.execute_script(LINES, table)
                where = f"{table.get_attribute('id')}, {header.text}, {direction}"
                assert [h.get_attribute("aria-sort") for h in headers] == [
                    direction if h is header else None for h in headers
                ], where
                assert sorted(lines) == sorted(before), where
                expected: list[Any]
                if table.get_attribute("id") in ("comparison", "robustness", "costs") and column == 0:  # names
                    values = [line[column] for line in lines]
                    expected = sorted(values, key=str.lower)
                else:
                    values = [as_number(line[column]) for line in lines]
                    expected = sorted(values)
                assert values == expected[:: 1 if direction == "ascending" else -1], where


def test_the_means_stay_below_the_classes(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    table = browser.find_element(By.ID, "classes")
    for _ in range(2):
        table.find_element(By.CSS_SELECTOR, "thead th:nth-child(4) button").click()
        last = [row.text.split(" ")[0] for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")[-2:]]
        assert last == ["mean", "mean"]


def test_a_pressed_number_shows_its_images_and_no_others(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    matrix = metrics(report)["test"]["confusion_matrix"]
    cells = behind(report)
    assert len(cells) == sum(count > 0 for row in matrix for count in row) > 12
    for place, shown in cells.items():
        row, column = map(int, place.split())
        button = cell(browser, row, column).find_element(By.TAG_NAME, "button")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        assert button.text == str(matrix[row][column])
        button.click()
        assert shown_images(browser) == [(index, uri) for index, _, uri in shown]
        confidences = [span.text for span in browser.find_elements(By.CSS_SELECTOR, "#behind li span")]
        assert [float(text.removesuffix(" %")) for text in confidences] == pytest.approx(
            [100 * confidence for _, confidence, _ in shown], abs=0.051
        )
        pressed = browser.find_elements(By.CSS_SELECTOR, "#matrix button[aria-pressed='true']")
        assert pressed == [button]
        heading = browser.find_element(By.CSS_SELECTOR, "#behind h3").text
        what = f"{row}, predicted correctly" if row == column else f"{row} → {column}"
        assert heading.startswith(f"{what}: {matrix[row][column]}")
        assert heading.endswith(f", {len(shown)} of them") == (len(shown) < matrix[row][column])


def test_a_number_that_never_happened_cannot_be_pressed(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    matrix = metrics(report)["test"]["confusion_matrix"]
    for row in range(10):
        for column in range(10):
            assert bool(cell(browser, row, column).find_elements(By.TAG_NAME, "button")) == (matrix[row][column] > 0)


def matrix_texts(driver: webdriver.Chrome) -> list[list[str]]:
    texts: list[list[str]] = driver.execute_script(
        "return [...document.querySelectorAll('#matrix tbody tr')].map((row) =>"
        " [...row.querySelectorAll('td')].map((cell) => cell.textContent))"
    )
    return texts


def test_the_matrix_turns_into_shares_and_back(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    matrix = metrics(report)["test"]["confusion_matrix"]
    counts = [[str(count or "") for count in row] for row in matrix]
    shares = [[str(round(100 * count / sum(row), 1)) if count else "" for count in row] for row in matrix]
    toggle = browser.find_element(By.ID, "shares")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", toggle)
    for _ in range(2):
        assert matrix_texts(browser) == counts
        assert toggle.get_attribute("aria-pressed") == "false"
        toggle.click()
        assert matrix_texts(browser) == shares
        assert toggle.get_attribute("aria-pressed") == "true"
        # The heading of the images still says how many.
        cell(browser, 0, 0).find_element(By.TAG_NAME, "button").click()
        assert browser.find_element(By.CSS_SELECTOR, "#behind h3").text.startswith(
            f"0, predicted correctly: {matrix[0][0]}"
        )
        toggle.click()


def tab_to(driver: webdriver.Chrome, target: WebElement) -> None:
    """Press Tab from a little before an element until it has the focus."""
    script = "document.activeElement.blur(); const before = document.createElement('span'); before.tabIndex = 0;"
    driver.execute_script(script + "arguments[0].before(before); before.focus()", target)
    ActionChains(driver).send_keys(Keys.TAB).perform()
    assert driver.switch_to.active_element == target


def test_both_work_with_the_keyboard(report: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, report)
    button = browser.find_element(By.CSS_SELECTOR, "#comparison thead th:nth-child(5) button")
    tab_to(browser, button)
    table = browser.find_element(By.ID, "comparison")
    for reverse in (False, True):
        ActionChains(browser).send_keys(Keys.ENTER).perform()
        counts = [as_number(line[4]) for line in browser.execute_script(LINES, table)]
        assert counts == sorted(counts, reverse=reverse)
        assert len(set(counts)) == 3

    toggle = browser.find_element(By.ID, "shares")
    tab_to(browser, toggle)
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert toggle.get_attribute("aria-pressed") == "true"
    # The next stop is the first number that can be pressed.
    ActionChains(browser).send_keys(Keys.TAB).perform()
    first = browser.find_element(By.CSS_SELECTOR, "#matrix td button")
    if browser.switch_to.active_element != first:  # a table that scrolls is a stop of its own
        ActionChains(browser).send_keys(Keys.TAB).perform()
    assert browser.switch_to.active_element == first
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    place = next(iter(behind(report)))
    assert shown_images(browser) == [(index, uri) for index, _, uri in behind(report)[place]]
    ActionChains(browser).send_keys(Keys.TAB, Keys.SPACE).perform()
    assert first.get_attribute("aria-pressed") == "false"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#matrix button[aria-pressed='true']")) == 1


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["wide", "phone"])
def test_nothing_sticks_out_sideways(size: tuple[int, int], report: Path, browser: webdriver.Chrome) -> None:
    set_size(browser, *size)
    open_page(browser, report)
    browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert browser.execute_script("return window.innerWidth") == size[0]
    assert browser.execute_script(fits)
    for button in browser.find_elements(By.CSS_SELECTOR, "#matrix td button, #shares"):
        browser.execute_script("arguments[0].click()", button)
        assert browser.execute_script(fits)
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_the_contents_lead_to_their_sections(report: Path, browser: webdriver.Chrome) -> None:
    page = open_page(browser, report)
    links = browser.find_elements(By.CSS_SELECTOR, "nav a")
    assert len(links) == 11
    for link in links:
        browser.execute_script("window.scrollTo(0, 0)")
        name = (link.get_attribute("href") or "").removeprefix(page + "#")
        link.click()
        assert browser.current_url == f"{page}#{name}"
        heading = browser.find_element(By.ID, name)
        assert heading.text.replace("\n", "") == link.text.replace(" ", "", 1)
        top, height = browser.execute_script(
            "return [arguments[0].getBoundingClientRect().top, window.innerHeight]", heading
        )
        assert -1 < top < height - 20, name  # a browser scrolls by whole pixels


def has_mnist() -> bool:
    """Whether MNIST is on this machine; it is not downloaded to find that out."""
    try:
        load_mnist("test", download=False)
    except FileNotFoundError:
        return False
    return True


@pytest.mark.skipif(not has_mnist(), reason="needs MNIST")
def test_the_full_report_on_mnist(browser: webdriver.Chrome, tmp_path: Path) -> None:
    how = ("--dataset", "mnist", "--profile", "full", "--epochs", "1")
    folder, stdout = make_report(tmp_path / "report", *how)
    assert re.search(r"^test accuracy 9[89]\.\d\d % \(.*\) on 10,000 images of MNIST$", stdout, flags=re.MULTILINE)
    numbers = metrics(folder)
    assert numbers["comparison"]["n_folds"] == 3
    names = [told["architecture"] for told in numbers["comparison"]["architectures"]]
    assert names == ["compact", "lenet5", "keras_mnist"]
    assert numbers["comparison"]["best"] == numbers["model"]["architecture"]

    open_page(browser, folder)
    assert [[int(text or 0) for text in row] for row in matrix_texts(browser)] == numbers["test"]["confusion_matrix"]
    assert sum(map(sum, numbers["test"]["confusion_matrix"])) == 10_000
    assert browser.find_element(By.ID, "walkthrough").text == "8How the network reads a 5"
    verdict = browser.find_element(By.ID, "verdict").text
    assert numbers["model"]["overfitting"]["reason"] in verdict.replace("\xa0", " ")
    assert (folder / "index.html").stat().st_size < 4_000_000
