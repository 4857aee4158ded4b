"""What the fuzz targets share: seeds from the hostile corpus, a file for every input, and what may be raised."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

sys.path.append(str(Path(__file__).parents[1]))

LARGEST_SEED = 60_000  # bytes

# Where libFuzzer is to look for new ways: in the package, and in what reads for it in Python.
INSTRUMENTED = ["cnnclf", "zipfile", "gzip", "csv", "PIL", "numpy.lib"]


def instrumented() -> object:
    """Give the context in which modules are imported so that they can be fuzzed."""
    return atheris.instrument_imports(include=INSTRUMENTED)


def fuzz(seeds: Iterable[bytes], read: Callable[[Path], object], make: Callable[[bytes], bytes], name: str) -> None:
    """Feed mutated inputs to a reader until the time is up: whatever is wrong must be a ValueError that names the file.

    Parameters
    ----------
    seeds : iterable of bytes
        Inputs to begin with.
    read : callable
        Takes the path of a file that holds what `make` gave.
    make : callable
        Turns an input into the content of a file.
    name : str
        Of the file.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        begin = Path(folder, "seeds")
        begin.mkdir()
        for i, seed in enumerate(seeds):
            if len(seed) <= LARGEST_SEED:
                (begin / f"{i:04}").write_bytes(seed)
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)

        def test_one_input(data: bytes) -> None:
            path.write_bytes(make(data))
            try:
                read(path)
            except ValueError as error:
                if str(path) not in str(error):
                    raise

        options = ["-timeout=30", "-rss_limit_mb=1500", f"-max_len={LARGEST_SEED}", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(begin)], test_one_input)
        atheris.Fuzz()
