"""The installed script ``cnnclf``, which says in one sentence what is missing where its libraries are not installed."""

import sys

from cnnclf._utils.extras import needed_by


def main() -> None:
    """Run the ``cnnclf`` command; exit with 1 and one sentence without typer."""
    try:
        with needed_by("the cnnclf command"):
            from cnnclf.cli._main import main as run
    except ImportError as error:
        sys.exit(f"error: {error}")
    run()
