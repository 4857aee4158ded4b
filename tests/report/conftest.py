"""One report, its page, and a folder with all of it."""

import pytest

from cnnclf.report._write import write
from reports import Page, make_comparison, make_report, render


@pytest.fixture(scope="session")
def report():
    return make_report(comparison=make_comparison())


@pytest.fixture(scope="session")
def html(report):
    return render(report)


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


@pytest.fixture(scope="session")
def written(report, tmp_path_factory):
    """A folder with the whole report."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    assert write(report, folder) == folder / "index.html"
    return folder
