"""`CNNClassifier`, its parameters, labels, files, recipes, and test-time augmentation."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.classifier._recipes import RECIPES
    from cnnclf.classifier._test_time import TestTimeAugmentation

__all__ = ["RECIPES", "CNNClassifier", "TestTimeAugmentation"]

__getattr__, __dir__ = attach(
    __name__, {"_classifier": ["CNNClassifier"], "_recipes": ["RECIPES"], "_test_time": ["TestTimeAugmentation"]}
)
