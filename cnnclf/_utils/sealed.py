"""A safetensors file of tensors and a JSON record that holds the SHA-256 of itself, its own digits counted as zeros."""

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save

from cnnclf._utils.digest import PLACEHOLDER, find_digest, holds_digest, put_digest


def place_of_digest(key: str) -> re.Pattern[bytes]:
    """Return the pattern that finds the digest in the record under a key of the header."""
    # JSON within JSON, whose quotes are escaped; those around the key are not, so that there is one such place.
    return re.compile(rb'"%b":"\{\\"sha256\\": \\"([0-9a-f]{64})\\"' % key.encode())


def seal(key: str, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> bytes:
    """Return the content of a sealed file.

    Examples
    --------
    >>> content = seal("model", {"w": torch.ones(2)}, {"classes": [0, 1]})
    >>> is_whole("model", content), is_whole("model", content.replace(b"classes", b"Classes"))
    (True, False)
    """
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = json.dumps({"sha256": PLACEHOLDER, **record}, ensure_ascii=False, allow_nan=True)
    content: bytes = save(contiguous, {key: header})
    start = find_digest(content, place_of_digest(key))
    assert start is not None  # it was just written
    return put_digest(content, start)


def is_whole(key: str, content: bytes) -> bool:
    """Return whether a file holds one digest, and it is that of the file."""
    start = find_digest(content, place_of_digest(key))
    return start is not None and holds_digest(content, start)
