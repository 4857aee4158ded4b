"""Displays, drawn with matplotlib in one style."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.plots._augmentation import AugmentationDisplay
    from cnnclf.plots._comparison import AccuracyCostDisplay, FoldBoxDisplay, FoldCurvesDisplay
    from cnnclf.plots._data import ClassDistributionDisplay, ImageGridDisplay, TrainingCurvesDisplay
    from cnnclf.plots._evaluation import ConfusionMatrixDisplay, PerClassDisplay, ReliabilityDisplay
    from cnnclf.plots._style import signed_colours
    from cnnclf.plots._trace import ClassScoresDisplay, FeatureMapsDisplay, KernelsDisplay, TraceDisplay

__all__ = [
    "AccuracyCostDisplay",
    "AugmentationDisplay",
    "ClassDistributionDisplay",
    "ClassScoresDisplay",
    "ConfusionMatrixDisplay",
    "FeatureMapsDisplay",
    "FoldBoxDisplay",
    "FoldCurvesDisplay",
    "ImageGridDisplay",
    "KernelsDisplay",
    "PerClassDisplay",
    "ReliabilityDisplay",
    "TraceDisplay",
    "TrainingCurvesDisplay",
    "signed_colours",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "_augmentation": ["AugmentationDisplay"],
        "_comparison": ["AccuracyCostDisplay", "FoldBoxDisplay", "FoldCurvesDisplay"],
        "_data": ["ClassDistributionDisplay", "ImageGridDisplay", "TrainingCurvesDisplay"],
        "_evaluation": ["ConfusionMatrixDisplay", "PerClassDisplay", "ReliabilityDisplay"],
        "_style": ["signed_colours"],
        "_trace": ["ClassScoresDisplay", "FeatureMapsDisplay", "KernelsDisplay", "TraceDisplay"],
    },
)
