"""Records of a study → web page, Markdown, model card and `metrics.json`."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.report._records import Report
    from cnnclf.report._write import write

__all__ = ["Report", "write"]

__getattr__, __dir__ = attach(__name__, {"_records": ["Report"], "_write": ["write"]})
