"""glibc's allocator, told to keep the memory that training frees between two batches."""

import ctypes
import os
import platform
import threading
from collections.abc import Mapping

# mallopt's numbers for its options, and values in bytes; 32 MiB are the most that glibc allows for the first.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
WHILE_TRAINING = {M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 2**30}

# glibc raises both thresholds as larger blocks are freed, up to these.
HIGHEST_ADJUSTED = {M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 64 * 2**20}
# It does not where the environment sets any of these; each threshold is then its own variable's, or 128 KiB.
VARIABLES = ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD", "MMAP_MAX")
FIXED = 128 * 2**10


def can_keep_freed_memory() -> bool:
    """Check that the C library is glibc, and that ``CNNCLF_MALLOPT=0`` does not ask to leave its allocator alone.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_keep_freed_memory() in (True, False)
    True
    """
    return os.environ.get("CNNCLF_MALLOPT") != "0" and platform.libc_ver()[0] == "glibc"


def thresholds_outside(environment: Mapping[str, str]) -> dict[int, int]:
    """Return the thresholds to go back to, as glibc has no function that returns them.

    Parameters
    ----------
    environment : mapping from str to str
        The environment variables of the process.

    Returns
    -------
    dict
        By mallopt's number, in bytes: what the environment makes of them, or else the highest values of glibc's own
        adjustment, which mallopt ends for good: with its first ones, each large block would be mapped anew.

    Examples
    --------
    >>> thresholds_outside({"MALLOC_TRIM_THRESHOLD_": "65536"})  # as Dask sets it for its workers
    {-3: 131072, -1: 65536}
    >>> thresholds_outside({})
    {-3: 33554432, -1: 67108864}
    """
    tunables = dict(part.partition("=")[::2] for part in environment.get("GLIBC_TUNABLES", "").split(":"))
    asked = {}
    for name in VARIABLES:
        value = environment.get(f"MALLOC_{name}_") or tunables.get(f"glibc.malloc.{name.lower()}", "")
        if value.isdecimal():
            asked[name] = int(value)
    if not asked:
        return HIGHEST_ADJUSTED
    return {
        M_MMAP_THRESHOLD: asked.get("MMAP_THRESHOLD", FIXED),
        M_TRIM_THRESHOLD: asked.get("TRIM_THRESHOLD", FIXED),
    }


class KeptMemory:
    """Keep freed blocks in the process instead of handing them back to the system after every batch.

    Each batch frees its activations, a few megabytes each, and the next one asks for the same sizes. With glibc's own
    thresholds some of them go back to the system and are mapped, zeroed and faulted in again; with
    ``MALLOC_TRIM_THRESHOLD_=65536``, as Dask sets it for its workers, nearly all. Within this context blocks up to
    32 MiB are taken from the heap, and up to 1 GiB of free heap is kept. The numbers are in benchmarks/allocator.md.

    The setting is one for the process: the last of several threads inside goes back to `thresholds_outside`.

    References
    ----------
    mallopt(3), Linux man-pages.

    Examples
    --------
    >>> with KeptMemory():
    ...     blocks = [bytearray(2**20) for _ in range(4)]
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_inside = 0
        self.changed = False

    def __enter__(self) -> None:
        with self.lock:
            if not self.n_inside and can_keep_freed_memory():
                self.changed = True
                set_thresholds(WHILE_TRAINING)
            self.n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.n_inside -= 1
            if not self.n_inside and self.changed:
                self.changed = False
                set_thresholds(thresholds_outside(os.environ))


def set_thresholds(thresholds: Mapping[int, int]) -> None:
    """Set glibc's thresholds; one that it refuses stays as it is."""
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in thresholds.items():
        mallopt(option, value)


KEPT_MEMORY = KeptMemory()
