"""What was read of pictures, so that no file is decoded twice: `Memo`."""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnclf.images._many import Result, Source, Unreadable

MOST_BYTES = 2**31  # that are kept; what comes then is read again each time
OVERHEAD = 800  # bytes that each result takes beside its pixels


class Memo:
    """The results of functions of pictures; a file that has changed is another picture.

    A copy of it, as in another process, and what was unpickled begin without results.
    """

    def __init__(self) -> None:
        self.results: dict[Hashable, Any] = {}
        self.n_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"results": {}, "n_bytes": 0}

    def map(
        self,
        function: "Callable[[Source, int | None, str], Result]",
        what: Hashable,
        names: Sequence[str],
        sources: "Sequence[Source]",
        *,
        returned: int,
        n_jobs: int,
    ) -> "Iterator[Result | Unreadable]":
        """Give what :func:`cnnclf.images._many.map_pictures` does, and read only pictures that are new.

        Parameters
        ----------
        function, names, sources, returned, n_jobs
            As there.
        what : hashable
            What the function returns, as its results are known by that.
        """
        from cnnclf.images._many import Unreadable, map_pictures

        keys = [(what, identify(source)) for source in sources]
        new = [i for i, key in enumerate(keys) if key not in self.results]
        results = map_pictures(
            function, [names[i] for i in new], [sources[i] for i in new], returned=returned, n_jobs=n_jobs
        )
        are_new = set(new)
        for i, key in enumerate(keys):
            if i not in are_new:
                yield self.results[key]
                continue
            result = next(results)
            if not isinstance(result, Unreadable) and self.n_bytes + returned + OVERHEAD <= MOST_BYTES:
                self.results[key] = result
                self.n_bytes += returned + OVERHEAD
            yield result


def identify(source: "Source") -> Hashable:
    """Return what tells a picture from all others: of a file its path, its times and its size, of bytes a digest."""
    if isinstance(source, bytes):
        return blake2b(source, digest_size=16).digest()
    try:
        status = os.stat(source)  # noqa: PTH116 - faster than pathlib's
    except (OSError, ValueError):
        return os.fspath(source)
    # Archives give all their files one time, and programs that copy keep it; the system's own time they cannot set.
    times = status.st_mtime_ns, status.st_ctime_ns
    return os.path.abspath(source), *times, status.st_size, status.st_ino  # noqa: PTH100 - faster than pathlib's
