"""What a fit runs on: device, precision, threads, random numbers, the switches of torch, and freed memory."""

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from cnnclf._utils.text import quote

# Held while random numbers are drawn: torch has one generator for all threads of a process.
ONE_SEED_AT_A_TIME = threading.RLock()

# For each Python thread in a session, torch's number of threads that it had outside.
THREADS_OUTSIDE: dict[int, int] = {}
THREADS_LOCK = threading.Lock()


def draw_seed(random_state: Any) -> int:
    """Draw the seed of a fit from the parameter ``random_state``."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def choose_device(device: str) -> str:
    """Resolve ``"auto"``: a CUDA GPU when there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # what torch says depends on its build
        raise ValueError(
            f"Expected a device that is available here; got {quote(device)}. Pass device='auto' or 'cpu'."
        ) from error
    return device


def name_processor() -> str:
    """Return the name of the processor as torch knows it, or its architecture."""
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())


def choose_precision(precision: str, device: str) -> str:
    """Resolve ``"auto"``: bfloat16 where the processor multiplies it natively, else float32.

    Emulated bfloat16 is slower than float32, so the instruction set decides, not torch's own "supported".
    """
    if precision != "auto":
        return precision
    match torch.device(device).type:
        case "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            capabilities = torch.cpu.get_capabilities()
            native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
        case _:
            native = False
    return "bfloat16" if native else "float32"


# torch's switches for a whole process: how each is read and written, and what it has to be. Determinism is not among
# them: whoever asks for it on a GPU wants it here, too, and on a CPU it changes no bit.
SWITCHES: list[tuple[Callable[[], Any], Callable[[Any], None], Any]] = [
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    *(
        (partial(getattr, part, "fp32_precision"), partial(setattr, part, "fp32_precision"), "ieee")
        for part in (getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv"))
    ),
]


class ProcessSwitch:
    """A context that changes the whole process while any thread is inside; the last one to leave undoes it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_inside = 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.n_inside:
                self.turn_on()
            self.n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.n_inside -= 1
            if not self.n_inside:
                self.turn_off()

    def turn_on(self) -> None:
        """Change the process."""

    def turn_off(self) -> None:
        """Undo the change."""


class OwnSwitches(ProcessSwitch):
    """Set torch's switches to the needed values, and then back to the caller's."""

    def turn_on(self) -> None:
        """Remember the caller's values, and write the needed ones."""
        self.before = [read() for read, _, _ in SWITCHES]
        self.write([needed for _, _, needed in SWITCHES])

    def turn_off(self) -> None:
        """Write the caller's values."""
        self.write(self.before)

    @staticmethod
    def write(values: list[Any]) -> None:
        """Write the values that differ, because some take long."""
        for (read, write, _), value in zip(SWITCHES, values, strict=True):
            if read() != value:
                write(value)


OWN_SWITCHES = OwnSwitches()


@contextmanager
def own_modes(device: str) -> Iterator[None]:
    """Override the caller's settings of torch: default type and device, gradients, autocast, precision."""
    kind = torch.device(device).type
    with OWN_SWITCHES, torch.inference_mode(False), torch.autocast(kind, enabled=False), ExitStack() as default_device:
        if torch.get_default_device().type != "cpu":  # otherwise it would cost time in each of torch's functions
            default_device.enter_context(torch.device("cpu"))
        yield


@contextmanager
def threads_of_torch(n_threads: int) -> Iterator[None]:
    """Set torch's number of threads; restore it afterwards for this Python thread and for those started later.

    ``torch.set_num_threads`` is for the Python thread that calls it, and for all that ask torch for the first time
    later on. So one that asks while another is in here finds that one's number, and gets what the first had outside.
    """
    me, n_before = threading.get_ident(), None
    outermost = me not in THREADS_OUTSIDE
    try:
        with THREADS_LOCK:
            n_before = torch.get_num_threads()
            if outermost:
                if n_before == n_threads and THREADS_OUTSIDE:
                    n_before = next(iter(THREADS_OUTSIDE.values()))
                THREADS_OUTSIDE[me] = n_before
            torch.set_num_threads(n_threads)
        yield
    finally:
        if n_before is not None:
            with THREADS_LOCK:
                torch.set_num_threads(n_before)
                if outermost:
                    THREADS_OUTSIDE.pop(me, None)


@contextmanager
def session(device: str, seed: Sequence[int] | None = None) -> Iterator[None]:
    """Run torch with its own random numbers, modes and a fixed number of threads; leave the caller's as they were.

    One thread, as scikit-learn's own estimators: ``n_jobs`` is the way to use more cores, results are the same
    bits inside and outside of it, and spinning threads on a busy machine cost more than they bring.
    The environment variable ``CNNCLF_NUM_THREADS`` sets another number; the same bits hold for the same number.
    Seeded sessions of several Python threads take turns; within one of them another one may be opened. Once the last
    one has ended, threads that are started later begin with the number that there was before the first.

    Parameters
    ----------
    device : str
        Where torch runs.
    seed : sequence of int, optional
        Seeds torch; without it random numbers are not drawn.
    """
    n_threads = int(os.environ.get("CNNCLF_NUM_THREADS", "1"))
    devices = [torch.cuda.current_device()] if torch.device(device).type == "cuda" else []
    with (
        nullcontext() if seed is None else ONE_SEED_AT_A_TIME,
        threads_of_torch(n_threads),
        own_modes(device),
        torch.random.fork_rng(devices, enabled=seed is not None),
    ):
        if seed is not None:
            torch.manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> 1))
        yield


# glibc's allocator keeps the memory that training frees between two batches.

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
    return {M_MMAP_THRESHOLD: asked.get("MMAP_THRESHOLD", FIXED), M_TRIM_THRESHOLD: asked.get("TRIM_THRESHOLD", FIXED)}


class KeptMemory(ProcessSwitch):
    """Keep freed blocks in the process instead of handing them back to the system after every batch.

    Each batch frees its activations, a few megabytes each, and the next one asks for the same sizes. With glibc's own
    thresholds some of them go back to the system and are mapped, zeroed and faulted in again; with
    ``MALLOC_TRIM_THRESHOLD_=65536``, as Dask sets it for its workers, nearly all. Within this context blocks up to
    32 MiB are taken from the heap, and up to 1 GiB of free heap is kept. The numbers are in benchmarks/allocator.md.

    Afterwards the thresholds are those of `thresholds_outside`.

    References
    ----------
    mallopt(3), Linux man-pages.

    Examples
    --------
    >>> with KeptMemory():
    ...     blocks = [bytearray(2**20) for _ in range(4)]
    """

    def turn_on(self) -> None:
        """Set the thresholds of training, where that can be done."""
        self.changed = can_keep_freed_memory()
        if self.changed:
            set_thresholds(WHILE_TRAINING)

    def turn_off(self) -> None:
        """Set the thresholds from before training."""
        if self.changed:
            set_thresholds(thresholds_outside(os.environ))


def set_thresholds(thresholds: Mapping[int, int]) -> None:
    """Set glibc's thresholds; one that it refuses stays as it is."""
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in thresholds.items():
        mallopt(option, value)


KEPT_MEMORY = KeptMemory()
