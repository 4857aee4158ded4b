"""A file sealed by a SHA-256 of its own content: finding, computing and writing the digest.

A sealed safetensors file holds tensors and a JSON record, whose first entry is the digest.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PLACEHOLDER = "0" * 64  # the digest's value while it is computed


def find_digest(content: bytes, place: re.Pattern[bytes]) -> int | None:
    """Return the position of the only digest, group 1 of the pattern; None if there is none or more than one."""
    places = [match.start(1) for _, match in zip(range(2), place.finditer(content), strict=False)]
    return places[0] if len(places) == 1 else None


def compute_digest(content: bytes, start: int) -> bytes:
    """Hash a file as if its digest, which starts there, were all zeros; 64 hexadecimal digits."""
    view = memoryview(content)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(PLACEHOLDER.encode())
    sha256.update(view[start + len(PLACEHOLDER) :])
    return sha256.hexdigest().encode()


def put_digest(content: bytes, start: int) -> bytes:
    """Write a file's digest into its place."""
    return content[:start] + compute_digest(content, start) + content[start + len(PLACEHOLDER) :]


def holds_digest(content: bytes, start: int) -> bool:
    """Check whether the digest of a file, which starts there, is correct."""
    return content[start : start + len(PLACEHOLDER)] == compute_digest(content, start)


def place_of_digest(key: str) -> re.Pattern[bytes]:
    """Return the pattern that finds the digest in the record under a key of the header."""
    # JSON within JSON, whose quotes are escaped; those around the key are not, so that there is one such place.
    return re.compile(rb'"%b":"\{\\"sha256\\": \\"([0-9a-f]{64})\\"' % key.encode())


def seal(key: str, tensors: Mapping[str, "torch.Tensor"], record: Mapping[str, Any]) -> bytes:
    """Return the content of a sealed file.

    Examples
    --------
    >>> import torch
    >>> content = seal("model", {"w": torch.ones(2)}, {"classes": [0, 1]})
    >>> is_intact("model", content), is_intact("model", content.replace(b"classes", b"Classes"))
    (True, False)
    """
    from safetensors.torch import save  # here, as torch is behind it

    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = json.dumps({"sha256": PLACEHOLDER, **record}, ensure_ascii=False, allow_nan=True)
    content: bytes = save(contiguous, {key: header})
    start = find_digest(content, place_of_digest(key))
    assert start is not None  # it was just written
    return put_digest(content, start)


def is_intact(key: str, content: bytes) -> bool:
    """Check whether a file holds exactly one digest, and the correct one."""
    start = find_digest(content, place_of_digest(key))
    return start is not None and holds_digest(content, start)
