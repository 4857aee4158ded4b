"""Traces of an image through a network: recomputed, verified, explained; as text, LaTeX, workbook and page."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.inspection._arithmetic import Exact, Explanation, Term
    from cnnclf.inspection._evidence import Contribution, Evidence
    from cnnclf.inspection._geometry import ReceptiveField
    from cnnclf.inspection._records import StepDiff
    from cnnclf.inspection._sliding import SlidingWindow
    from cnnclf.inspection._trace import Step, Trace
    from cnnclf.inspection._verify import LayerCheck, Verification

__all__ = [
    "Contribution",
    "Evidence",
    "Exact",
    "Explanation",
    "LayerCheck",
    "ReceptiveField",
    "SlidingWindow",
    "Step",
    "StepDiff",
    "Term",
    "Trace",
    "Verification",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "_arithmetic": ["Exact", "Explanation", "Term"],
        "_evidence": ["Contribution", "Evidence"],
        "_geometry": ["ReceptiveField"],
        "_records": ["StepDiff"],
        "_sliding": ["SlidingWindow"],
        "_trace": ["Step", "Trace"],
        "_verify": ["LayerCheck", "Verification"],
    },
)
