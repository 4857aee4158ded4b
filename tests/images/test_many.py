"""`map_pictures`: the same results one by one, in threads and in processes, and Python's warnings left alone."""

import errno
import io
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from cnnclf.images import _many
from cnnclf.images._decode import decode
from cnnclf.images._many import Unreadable, map_pictures


def where(source, most_bytes, name):
    """Return a picture's first pixel and the process that decoded it."""
    return np.asarray(decode(source, most_bytes, name)).flat[0], os.getpid()


def encoded(shade, size=(3, 2)):
    file = io.BytesIO()
    Image.new("L", size, shade).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """Nine files, of which the fourth is no picture and the last is not there."""
    paths = [tmp_path / f"{shade}.png" for shade in range(9)]
    for shade, path in enumerate(paths[:-1]):
        path.write_bytes(b"no picture" if shade == 3 else encoded(shade))
    return paths


@pytest.mark.parametrize("way", ["one by one", "threads", "processes"])
def test_results_and_errors_are_in_the_order_of_the_pictures(pictures, monkeypatch, way):
    if way == "threads":
        monkeypatch.setattr(_many, "LARGE", 0)
    if way == "processes":
        monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
        monkeypatch.setattr(_many, "AT_ONCE", 2)
    names = [path.name for path in pictures]
    results = list(map_pictures(where, names, pictures, n_jobs=2))
    shades = [None if isinstance(result, Unreadable) else int(result[0]) for result in results]
    assert shades == [0, 1, 2, None, 4, 5, 6, 7, None]
    assert results[3].sentence.startswith("3.png: expected a picture (")
    assert results[8].sentence == "8.png: expected an image file; there is none. Check the path."
    others = {result[1] for result in results if not isinstance(result, Unreadable)} - {os.getpid()}
    assert bool(others) == (way == "processes")


@pytest.fixture
def kept():
    """The processes of joblib's workers, which end with the test.

    Otherwise one that has done next to nothing would train a network in a later test, joblib would take its memory for
    a leak, and joblib's warning of that, here an error, would end the thread that everybody waits for.
    """
    get_reusable_executor().shutdown(wait=True)
    yield set(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(8)))
    get_reusable_executor().shutdown(wait=True)


def test_processes_end_with_the_reading_and_are_not_those_that_joblib_keeps(pictures, monkeypatch, kept):
    # One that has only read pictures and then trains a network grows by more than joblib lets its processes grow.
    monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
    used = {process for _, process in map_pictures(where, ["a"] * 3, pictures[:3], n_jobs=2)}
    assert not used & (kept | {os.getpid()})
    for process in used:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    for process in kept:
        os.kill(process, 0)  # is there


def ignores_interrupts(source, most_bytes, name):
    """Return whether Ctrl-C ends this process."""
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_interrupt_ends_the_reading_and_the_processes_say_nothing_of_it(pictures, monkeypatch):
    monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
    handler = signal.getsignal(signal.SIGINT)
    assert list(map_pictures(ignores_interrupts, ["a"] * 3, pictures[:3], n_jobs=2)) == [True] * 3
    assert signal.getsignal(signal.SIGINT) is handler


def ends_its_process(source, most_bytes, name):
    """End as a process does that the system kills."""
    os._exit(9)


def test_a_process_that_is_killed_is_an_error_with_advice(pictures, monkeypatch):
    monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
    with pytest.raises(RuntimeError, match=r"Expected processes to read pictures to the end; got one that was killed"):
        list(map_pictures(ends_its_process, ["a"] * 3, pictures[:3], n_jobs=2))


def test_without_semaphores_as_without_dev_shm_this_process_reads(pictures, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", refuse)
    results = map_pictures(where, ["a"] * 3, pictures[:3], n_jobs=2)
    assert [process for _, process in results] == [os.getpid()] * 3


KILLED = """
import os, signal
from cnnclf.images import _many
pool = _many.start_processes(2)
print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_the_processes_end_soon_after_one_that_was_killed():
    run = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with run:
        assert run.stdout.readline().strip()
        run.communicate(timeout=60)  # the pipe, which they have, too, ends when the last of them has ended
    assert run.returncode == -signal.SIGKILL


def processes_of_a_worker(names, pictures):
    """Return the process that calls this, and those in which it reads pictures."""
    _many.FEWEST_PER_PROCESS = 1
    return os.getpid(), {process for _, process in map_pictures(where, names, pictures, n_jobs=2)}


@pytest.mark.usefixtures("kept")
def test_a_worker_starts_no_processes_of_its_own(pictures):
    for worker, used in Parallel(n_jobs=2)(delayed(processes_of_a_worker)(["a"] * 3, pictures[:3]) for _ in range(2)):
        assert used == {worker}


def test_contents_are_read_as_files_are():
    contents = [encoded(7), encoded(9)]
    assert [shade for shade, _ in map_pictures(where, ["a", "b"], contents)] == [7, 9]


def test_a_picture_may_unpack_to_a_hundred_times_the_mean_of_all_files(monkeypatch):
    # 32 MB are free for all together; 4,000 × 4,000 grey pixels are 16 MB, of which two may be, and three not.
    large = encoded(5, (4000, 4000))
    assert len(large) < 30_000
    assert [shade for shade, _ in map_pictures(where, ["a", "b"], [large] * 2)] == [5, 5]
    refused = list(map_pictures(where, ["a", "b", "c"], [large] * 3))
    assert all("a hundred times the bytes of all files" in result.sentence for result in refused)


def test_a_photograph_among_thumbnails_may_unpack_to_a_hundred_times_its_own_size():
    # 2,000 × 2,000 pixels of noise are 4 MB, packed and unpacked; a share of 32 MB and 4 MB × 100 for 2,001 is 217 KB.
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    contents = [encoded(7)] * 2000 + [file.getvalue()]
    assert list(map_pictures(where, ["a"] * 2001, contents, n_jobs=1))[-1][0] == noise[0, 0]


@pytest.mark.parametrize("large", [0, 2**20], ids=["threads", "one by one"])
def test_the_filters_of_warnings_are_as_before_also_when_the_rest_is_not_wanted(pictures, monkeypatch, large):
    monkeypatch.setattr(_many, "LARGE", large)
    before = list(warnings.filters)
    results = map_pictures(where, [path.name for path in pictures], pictures, n_jobs=2)
    assert next(results)[0] == 0
    results.close()
    assert warnings.filters == before


def test_damage_that_pillow_only_warns_of_is_an_error_in_threads_too(pictures, monkeypatch):
    def warns(source, most_bytes, name):
        try:
            warnings.warn("damage", UserWarning, stacklevel=1)
        except UserWarning as error:
            raise ValueError(f"{name}: {error}") from error

    monkeypatch.setattr(_many, "LARGE", 0)
    results = list(map_pictures(warns, [path.name for path in pictures], pictures, n_jobs=2))
    assert [result.sentence for result in results] == [f"{path.name}: damage" for path in pictures]


@pytest.mark.parametrize("large", [0, 2**20], ids=["threads", "processes"])
def test_where_an_onnx_file_predicts_neither_joblib_nor_tqdm_is_needed(pictures, monkeypatch, large):
    monkeypatch.setattr(_many, "LARGE", large)
    monkeypatch.setattr(_many, "FEWEST_PER_PROCESS", 1)
    monkeypatch.setitem(sys.modules, "joblib.externals.loky", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    results = list(map_pictures(where, [path.name for path in pictures], pictures, n_jobs=2))
    assert [isinstance(result, Unreadable) for result in results] == [i in (3, 8) for i in range(9)]
