"""`Evaluation` of predictions, McNemar's test, the overfitting verdict, robustness, saved predictions."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.evaluation._evaluation import Evaluation
    from cnnclf.evaluation._mcnemar import McNemar, compare
    from cnnclf.evaluation._overfitting import RULE, Verdict, diagnose
    from cnnclf.evaluation._predictions import read_predictions
    from cnnclf.evaluation._records import ConfusedPair, Mistake, ReliabilityBin, Scores, wilson_interval
    from cnnclf.evaluation._robustness import Robustness, probe

__all__ = [
    "RULE",
    "ConfusedPair",
    "Evaluation",
    "McNemar",
    "Mistake",
    "ReliabilityBin",
    "Robustness",
    "Scores",
    "Verdict",
    "compare",
    "diagnose",
    "probe",
    "read_predictions",
    "wilson_interval",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "_evaluation": ["Evaluation"],
        "_mcnemar": ["McNemar", "compare"],
        "_overfitting": ["RULE", "Verdict", "diagnose"],
        "_predictions": ["read_predictions"],
        "_records": ["ConfusedPair", "Mistake", "ReliabilityBin", "Scores", "wilson_interval"],
        "_robustness": ["Robustness", "probe"],
    },
)
