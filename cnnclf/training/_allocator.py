"""glibc's allocator, told to keep the memory that training frees between two batches."""

import ctypes
import os
import platform

# mallopt's numbers for its options, and their values in bytes. glibc allows 32 MiB at most for the first.
M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 32 * 2**20
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 2**30


def keep_freed_memory() -> bool:
    """Keep freed blocks in the process instead of handing them back to the system after every batch.

    Each batch frees its activations, a few megabytes each, and the next one asks for the same sizes. With glibc's own
    thresholds some of them go back to the system and are mapped, zeroed and faulted in again; with
    ``MALLOC_TRIM_THRESHOLD_=65536``, as Dask sets it for its workers, nearly all. Blocks up to 32 MiB are now taken
    from the heap, and up to 1 GiB of free heap is kept. The numbers are in benchmarks/allocator.md.

    It is done once, when training is imported; the environment variable ``CNNCLF_MALLOPT=0`` leaves the allocator as
    it is. Other C libraries are left alone.

    Returns
    -------
    bool
        Whether the allocator took both values.

    References
    ----------
    mallopt(3), Linux man-pages.

    Examples
    --------
    >>> keep_freed_memory() in (True, False)
    True
    """
    if os.environ.get("CNNCLF_MALLOPT") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(
        [mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD) == 1, mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD) == 1],
    )
