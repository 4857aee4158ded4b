"""The skorch net, batches, augmentation, schedules, callbacks, runtime (threads, seeds, precision), checkpoints."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.training._augmentation import AUGMENTATIONS
    from cnnclf.training._callbacks import Snapshots
    from cnnclf.training._net import Net

__all__ = ["AUGMENTATIONS", "Net", "Snapshots"]

__getattr__, __dir__ = attach(
    __name__, {"_augmentation": ["AUGMENTATIONS"], "_callbacks": ["Snapshots"], "_net": ["Net"]}
)
