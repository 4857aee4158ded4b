"""Evaluation of predictions: metrics, McNemar's test, overfitting, robustness, saved predictions."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.evaluation._evaluation import (
        ConfusedPair,
        Evaluation,
        McNemar,
        Mistake,
        ReliabilityBin,
        Scores,
        compare,
        wilson_interval,
    )
    from cnnclf.evaluation._overfitting import RULE, Verdict, diagnose
    from cnnclf.evaluation._predictions import read_predictions
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
        "RULE": "_overfitting",
        "ConfusedPair": "_evaluation",
        "Evaluation": "_evaluation",
        "McNemar": "_evaluation",
        "Mistake": "_evaluation",
        "ReliabilityBin": "_evaluation",
        "Robustness": "_robustness",
        "Scores": "_evaluation",
        "Verdict": "_overfitting",
        "compare": "_evaluation",
        "diagnose": "_overfitting",
        "probe": "_robustness",
        "read_predictions": "_predictions",
        "wilson_interval": "_evaluation",
    },
)
