"""The `cnnclf` command."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.cli._entry import main
    from cnnclf.cli._main import app

__all__ = ["app", "main"]

__getattr__, __dir__ = attach(__name__, {"_entry": ["main"], "_main": ["app"]})
