"""What several acceptance tests share."""

import pytest

from helpers import set_size


@pytest.fixture
def browser(chromium):
    """The browser on an empty page of desktop size; whatever a test does, the page logs no error."""
    set_size(chromium, 1280, 900)
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    yield chromium
    assert chromium.get_log("browser") == []
