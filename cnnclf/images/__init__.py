"""Arrays and picture files → checked images; `InputSpec`, the record of what a network takes; the only decoder."""

from typing import TYPE_CHECKING

from cnnclf._lazy import attach

if TYPE_CHECKING:
    from cnnclf.images._arrays import check_images
    from cnnclf.images._pictures import read_picture, read_pictures
    from cnnclf.images._spec import InputSpec

__all__ = ["InputSpec", "check_images", "read_picture", "read_pictures"]

__getattr__, __dir__ = attach(
    __name__, {"_arrays": ["check_images"], "_pictures": ["read_picture", "read_pictures"], "_spec": ["InputSpec"]}
)
