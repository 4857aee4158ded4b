"""A function over many pictures: in parallel where that pays, with a progress bar, errors kept beside results."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

from cnnclf._utils.files import LARGEST_RATIO, most_unpacked
from cnnclf.images._decode import damage_raised

Source: TypeAlias = str | os.PathLike[str] | bytes
Result = TypeVar("Result")
Item = TypeVar("Item")

# Bytes of a picture from which on decoding, in which other threads run, takes longer than all the rest. Smaller ones
# need processes, each for so many of them or more: to start one takes a third of the time that they take.
LARGE = 2**15
FEWEST_PER_PROCESS = 5_000
AT_ONCE = 200  # small pictures in one task
TASKS_PER_JOB = 4  # that are handed out before the first result is wanted
MOST_RETURNED = 2**22  # bytes that a task returns


@dataclass(frozen=True)
class Unreadable:
    """Why a picture cannot be read, as a sentence with its name."""

    sentence: str


def map_pictures(
    function: Callable[[Source, int | None, str], Result],
    names: Sequence[str],
    sources: Sequence[Source],
    *,
    returned: int = 0,
    n_jobs: int = -1,
) -> Iterator[Result | Unreadable]:
    """Give what a function returns for each picture, in their order, or why it cannot be read.

    Parameters
    ----------
    function : callable (source, most_bytes, name) -> result
        Such as :func:`cnnclf.images._decode.decode`. Other processes call it, so a module's function, or its partial.
    names : sequence of str
        What errors call the pictures.
    sources : sequence of path-like or bytes
        The files, or their contents.
    returned : int, default=0
        About so many bytes the function returns.
    n_jobs : int, default=-1
        How many pictures are read at once; -1 is one per processor core.
    """
    n = len(sources)
    sizes = [bytes_of(source) for source in sources]
    # A picture's share of what all may unpack to is too little for a photograph among thumbnails.
    share = most_unpacked(sum(sizes)) // max(1, n)
    most_bytes = (max(share, LARGEST_RATIO * size) for size in sizes)
    are_large = sum(sizes) >= LARGE * n
    per_task = 1 if are_large else max(1, min(AT_ONCE, MOST_RETURNED // max(1, returned)))
    paths_or_bytes = (source if isinstance(source, bytes) else os.fspath(source) for source in sources)
    pictures = zip(paths_or_bytes, most_bytes, names, strict=True)
    tasks = (partial(do_task, function, task) for task in in_parts(pictures, per_task))
    run: Callable[[Iterable[Callable[[], Item]], int], Iterator[Item]] = in_threads if are_large else in_processes
    at_once = min(n_jobs if n_jobs > 0 else count_cores(), n if are_large else n // FEWEST_PER_PROCESS)
    if at_once < 2:
        run = one_by_one
    with progress_bar(n) as update:
        for of_task in run(tasks, at_once):
            yield from of_task
            update(len(of_task))


def one_by_one(tasks: Iterable[Callable[[], Item]], n_jobs: int) -> Iterator[Item]:
    """Give the results of tasks."""
    return (task() for task in tasks)


def in_threads(tasks: Iterable[Callable[[], Item]], n_jobs: int) -> Iterator[Item]:
    """Give the results of tasks, some at a time: between them no thread runs, and warnings are as before."""
    for some in in_parts(tasks, TASKS_PER_JOB * n_jobs):
        with damage_raised(), ThreadPoolExecutor(n_jobs) as pool:
            results = list(pool.map(lambda task: task(), some))
        yield from results


def in_processes(tasks: Iterable[Callable[[], Item]], n_jobs: int) -> Iterator[Item]:
    """Give the results of tasks; where no processes can be started, of this one."""
    pool = start_processes(n_jobs)
    if pool is None:
        yield from one_by_one(tasks, n_jobs)
        return
    ahead: deque[Future[Item]] = deque()
    try:
        with pool:
            try:
                for task in tasks:
                    ahead.append(pool.submit(task))
                    if len(ahead) > TASKS_PER_JOB * n_jobs:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:  # the rest may not be wanted
                for future in ahead:
                    future.cancel()
    except BrokenProcessPool as error:
        found = "one that was killed, as the system does when memory runs out"
        advice = "Close other programs and try again"
        raise RuntimeError(f"Expected processes to read pictures to the end; got {found}. {advice}.") from error


def start_processes(n: int) -> Executor | None:
    """Start processes that end with the ``with`` block of what is returned, or None where that cannot be.

    It cannot be without joblib, as where an ONNX file predicts, and where the system has no semaphores, as without
    /dev/shm; a worker starts no further ones. The processes that joblib keeps are not used: as soon as one that has
    only read pictures has trained a network, joblib would take its memory for a leak and stop it.
    """
    if multiprocessing.parent_process() is not None:
        return None
    try:
        from joblib.externals.loky import ProcessPoolExecutor

        with interrupt_ignored():
            pool: Executor = ProcessPoolExecutor(n, initializer=end_with, initargs=(os.getpid(),))
            pool.submit(int)  # starts all of them
    except (ModuleNotFoundError, OSError):
        return None
    return pool


@contextmanager
def interrupt_ignored() -> Iterator[None]:
    """Let the processes that are started ignore Ctrl-C for ever, as this one ends them; for a moment this one does."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:  # where handlers cannot be set
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def end_with(parent: int) -> None:
    """End this process soon after the one that has started it, which cannot say so when it is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def do_task(
    function: Callable[[Source, int | None, str], Result], task: Sequence[tuple[Source, int, str]]
) -> list[Result | Unreadable]:
    """Call the function for some pictures."""
    results: list[Result | Unreadable] = []
    with damage_raised():
        for picture in task:
            try:
                results.append(function(*picture))
            except (ValueError, OSError) as error:
                results.append(Unreadable(str(error)))
    return results


@contextmanager
def progress_bar(n: int) -> Iterator[Callable[[int], object]]:
    """Show how many of n images are done, on a terminal, and where they take longer than a second.

    Gives the function to call with the number of images that have become done. Without tqdm, as where an ONNX file
    predicts, nothing is shown.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda n: None
        return
    with tqdm(total=n, desc="reading images", unit=" images", delay=1, leave=False, disable=None) as bar:
        yield bar.update


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bytes_of(source: Source) -> int:
    """Return how long a picture's file is; 0 where there is none."""
    if isinstance(source, bytes):
        return len(source)
    try:
        return os.stat(source).st_size  # noqa: PTH116 - faster than pathlib's
    except (OSError, ValueError):
        return 0


def in_parts(items: Iterable[Item], n: int) -> Iterator[list[Item]]:
    """Divide items into lists of n; the last may be shorter.

    Examples
    --------
    >>> list(in_parts("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    items = iter(items)
    while part := list(islice(items, n)):
        yield part
