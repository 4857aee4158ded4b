"""The installed script ``cnnclf``; if its libraries are missing, it prints one sentence with the extra to install."""

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
