"""One image on its way through a network: records of every layer, their verification and rendering."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.inspection._arithmetic import Exact, Explanation, Term
    from cnnclf.inspection._trace import Contribution, Evidence, ReceptiveField, Step, StepDiff, Trace
    from cnnclf.inspection._verify import LayerCheck, Verification

__all__ = [
    "Contribution",
    "Evidence",
    "Exact",
    "Explanation",
    "LayerCheck",
    "ReceptiveField",
    "Step",
    "StepDiff",
    "Term",
    "Trace",
    "Verification",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Contribution": "_trace",
        "Evidence": "_trace",
        "Exact": "_arithmetic",
        "Explanation": "_arithmetic",
        "LayerCheck": "_verify",
        "ReceptiveField": "_trace",
        "Step": "_trace",
        "StepDiff": "_trace",
        "Term": "_arithmetic",
        "Trace": "_trace",
        "Verification": "_verify",
    },
)
