"""A file sealed by a SHA-256 of its own content: finding, computing and writing the digest."""

import hashlib
import re

PLACEHOLDER = "0" * 64  # what stands in a digest's place while it is computed


def find_digest(content: bytes, place: re.Pattern[bytes]) -> int | None:
    """Find where the one digest stands, group 1 of the pattern; None where there is none or more than one."""
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
    """Return whether a file's digest, which starts there, is that of the file."""
    return content[start : start + len(PLACEHOLDER)] == compute_digest(content, start)
