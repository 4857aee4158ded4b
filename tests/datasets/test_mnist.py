"""What `cnnclf.datasets` promises: all that the file holds, or one sentence that names the file; never half of it."""

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import numpy as np
import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnclf.datasets import _mnist as datasets
from cnnclf.datasets._idx import load_idx
from cnnclf.datasets._mnist import load_digits, load_mnist
from helpers import read_or_refused, unhurried, with_gaps

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def to_idx(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, IDX_CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


idx_arrays = hnp.arrays(
    dtype=st.sampled_from(sorted(IDX_CODES)),
    shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A file that each example of a property writes anew."""
    return tmp_path_factory.mktemp("scratch") / "file"


# IDX: what is read


def test_an_idx_file_read_by_hand(tmp_path):
    file = tmp_path / "numbers.idx"
    # 00 00, 0b = int16, 2 dimensions: 2 and 3; big-endian
    file.write_bytes(bytes.fromhex("00000b02 00000002 00000003 0001 0002 0003 ffff 0100 7fff"))
    array = load_idx(file)
    assert array.dtype == np.int16
    assert array.dtype.isnative
    # ffff = -1, 0100 = 256, 7fff = 2^15 - 1
    assert array.tolist() == [[1, 2, 3], [-1, 256, 32767]]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@unhurried
@given(array=idx_arrays)
def test_what_was_written_is_read_back_to_the_bit(scratch, compress, array):
    scratch.write_bytes(compress(to_idx(array)))
    read = load_idx(scratch)
    assert (read.shape, read.dtype, read.tobytes()) == (array.shape, array.dtype, array.tobytes())


def test_the_content_says_whether_it_is_compressed_and_not_the_name(tmp_path):
    numbers = np.arange(6, dtype=np.uint8)
    (tmp_path / "plain.gz").write_bytes(to_idx(numbers))
    (tmp_path / "packed").write_bytes(gzip.compress(to_idx(numbers)))
    assert load_idx(str(tmp_path / "plain.gz")).tolist() == load_idx(tmp_path / "packed").tolist() == [0, 1, 2, 3, 4, 5]


def test_an_array_read_from_idx_can_be_written_to(tmp_path):
    (tmp_path / "file").write_bytes(to_idx(np.zeros(3, dtype=np.uint8)))
    array = load_idx(tmp_path / "file")
    array[0] = 7
    assert array.tolist() == [7, 0, 0]


# IDX: what is refused


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "expected at least 4 bytes, as its header says; got 0. The file is cut short: fetch it again."),
        ("0000", "expected at least 4 bytes, as its header says; got 2. The file is cut short: fetch it again."),
        (
            "00000802 0000",
            "expected at least 12 bytes, as its header says; got 6. The file is cut short: fetch it again.",
        ),
        (
            "00000d01 00000002 00000000",
            "expected at least 16 bytes, as its header says; got 12. The file is cut short: fetch it again.",
        ),
        (
            "00000801 00000002 010203",
            "expected 10 bytes, as its header says; got more. The file is damaged: fetch it again.",
        ),
        *(
            (
                f"{magic} 00000000",
                (
                    "expected an IDX file, which starts with 00 00, a type (08, 09, 0b, 0c, 0d or 0e) and a number of "
                    f"dimensions (01 or more); got {magic}. Check that this is the right file."
                ),
            )
            for magic in ["00 01 08 01", "01 00 08 01", "00 00 0a 01", "00 00 0f 01", "00 00 08 00", "89 50 4e 47"]
        ),
        (
            f"00000841 {'00000001' * 65} 00",
            f"expected a shape that NumPy can hold; got {(1,) * 65} (…). Check that this is the right file.",
        ),
        (
            "00000804 00000000 ffffffff ffffffff ffffffff",
            (
                "expected a shape that NumPy can hold; got (0, 4294967295, 4294967295, 4294967295) (…). "
                "Check that this is the right file."
            ),
        ),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_that_is_no_idx_file_is_refused(tmp_path, compress, content, sentence):
    file = tmp_path / "file"
    file.write_bytes(compress(bytes.fromhex(content)))
    with pytest.raises(ValueError, match=with_gaps(f"{file}: {sentence}")):
        load_idx(file)


def unreadable(file, error):
    return with_gaps(
        f"{file}: expected a readable IDX file, compressed with gzip or not; got {error}. "
        "Check the path, or fetch the file again."
    )


PACKED = gzip.compress(to_idx(np.arange(100, dtype=np.uint8)), mtime=0)  # ten bytes of gzip header, eight of trailer


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (PACKED[:-20], "EOFError(…)"),
        (PACKED[:-4], "EOFError(…)"),
        (PACKED[:10] + b"\xff" + PACKED[11:], "error(…)"),  # zlib.error: no such kind of block
        (PACKED[:-8] + bytes(4) + PACKED[-4:], "BadGzipFile(…)"),  # the checksum
        (PACKED + b"more", "BadGzipFile(…)"),
    ],
    ids=["cut in the data", "cut in the trailer", "bad deflate", "bad checksum", "trailing bytes"],
)
def test_a_damaged_gzip_is_refused(tmp_path, content, error):
    file = tmp_path / "file.gz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=unreadable(file, error)):
        load_idx(file)


def test_a_path_without_a_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=unreadable(tmp_path / "none", "FileNotFoundError(…)")):
        load_idx(tmp_path / "none")
    with pytest.raises(ValueError, match=unreadable(tmp_path, "…Error(…)")):
        load_idx(tmp_path)


@unhurried
@given(array=idx_arrays, data=st.data())
def test_every_truncation_is_refused(scratch, array, data):
    def cut(content):
        return content[: data.draw(st.integers(0, len(content) - 1))]

    content = to_idx(array)
    for damaged in (cut(content), gzip.compress(cut(content)), cut(gzip.compress(content))):
        scratch.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{scratch}: expected ")):
            load_idx(scratch)


@unhurried
@given(array=idx_arrays, more=st.binary(min_size=1, max_size=8))
def test_every_extension_is_refused(scratch, array, more):
    for damaged in (to_idx(array) + more, gzip.compress(to_idx(array) + more)):
        scratch.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"got more\. The file is damaged: fetch it again\.\Z"):
            load_idx(scratch)


def idx_file_of(file):
    """Return the bytes that stand for the array that is read from `file`."""
    return to_idx(load_idx(file))


@unhurried
@given(array=idx_arrays, data=st.data())
def test_a_changed_byte_is_refused_or_is_another_arrays_own_file(scratch, array, data):
    """An IDX file has no checksum: uint8 changed to int8 is as good a file, and must be read as what it now says."""
    content = bytearray(to_idx(array))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(content)
    assert read_or_refused(idx_file_of, scratch) in (None, content)


@unhurried
@given(array=idx_arrays, data=st.data())
def test_a_changed_byte_in_a_gzip_is_refused_or_changes_nothing(scratch, array, data):
    """A gzip has a checksum of its content, and a header with a time and a name that matter to nobody."""
    content = bytearray(gzip.compress(to_idx(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(content)
    assert read_or_refused(idx_file_of, scratch) in (None, to_idx(array))


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@unhurried
@given(start=st.sampled_from([b"", b"\0\0\x08", b"\0\0\x0e\x01", b"\x1f\x8b\x08"]), rest=st.binary())
def test_arbitrary_bytes_are_refused_or_are_an_arrays_own_file(scratch, compress, start, rest):
    scratch.write_bytes(compress(start + rest))
    assert read_or_refused(idx_file_of, scratch) in (None, start + rest)


def test_a_gzip_bomb_is_unpacked_one_byte_too_far(tmp_path, monkeypatch):
    content = to_idx(np.zeros(100, dtype=np.uint8))  # 8 + 100 bytes
    bomb = gzip.compress(content + bytes(2**24))
    file = tmp_path / "bomb.gz"
    # Unpacked further, this would be refused as cut short.
    file.write_bytes(bomb[: len(bomb) // 2])
    handed_out = []
    read = gzip.GzipFile.read

    def counting_read(stream, size=-1):
        handed_out.append(read(stream, size))
        return handed_out[-1]

    monkeypatch.setattr(gzip.GzipFile, "read", counting_read)
    with pytest.raises(ValueError, match=r"expected 108 bytes, as its header says; got more"):
        load_idx(file)
    assert sum(map(len, handed_out)) == 109


def test_mnist_of_another_size_is_refused_by_its_header(published, tmp_path):
    # Header of a million images with none behind it: reading on would refuse it as cut short instead.
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(bytes.fromhex("00000803 00100000 0000001c 0000001c")))
    with pytest.raises(ValueError, match=re.escape("uint8 of shape (3, 28, 28); got uint8 of shape (1048576, 28, 28)")):
        load_mnist(data_home=tmp_path, download=False)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_memory_follows_the_bytes_that_are_there_and_not_the_header(tmp_path, compress):
    file = tmp_path / "liar"
    file.write_bytes(compress(bytes.fromhex("00000e03 ffffffff ffffffff ffffffff 00")))
    tracemalloc.start()
    try:
        n_bytes = 16 + 8 * (2**32 - 1) ** 3
        with pytest.raises(ValueError, match=rf"expected at least {n_bytes} bytes|got one of {n_bytes:,}\."):
            load_idx(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


# MNIST: where it is looked for, on a published set of three images and three labels


class Published:
    """A stand-in for MNIST: the content of its four files, and the arrays in them."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.arrays = {
            "train-images-idx3-ubyte": rng.integers(0, 256, (3, 28, 28), dtype=np.uint8),
            "train-labels-idx1-ubyte": np.array([5, 0, 9], dtype=np.uint8),
            "t10k-images-idx3-ubyte": rng.integers(0, 256, (2, 28, 28), dtype=np.uint8),
            "t10k-labels-idx1-ubyte": np.array([7, 2], dtype=np.uint8),
        }
        self.content = {name: to_idx(array) for name, array in self.arrays.items()}

    def table(self):
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.content.items()}

    def put(self, folder, pattern="{}.gz"):
        """Write the four files into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            file = folder / pattern.format(name)
            file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
        return folder


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A small MNIST, no environment variable, an empty cache, and no mirror."""
    small = Published()
    monkeypatch.setattr(datasets, "MNIST_FILES", small.table())
    monkeypatch.setattr(datasets, "SPLITS", {"train": ("train", 3), "test": ("t10k", 2)})
    monkeypatch.setattr(datasets, "MIRRORS", ())
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("CNNCLF_DATA", raising=False)
    return small


@pytest.mark.parametrize("pattern", ["{}.gz", "{}", "mnist/{}.gz", "mnist/{}"])
@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_is_found_directly_or_in_mnist_compressed_or_not(published, tmp_path, pattern, separator, split):
    (tmp_path / "mnist").mkdir()
    for name, content in published.content.items():
        file = tmp_path / pattern.format(name.replace("-idx", f"{separator}idx"))
        file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    X, y = load_mnist(split, data_home=tmp_path, download=False)
    prefix = {"train": "train", "test": "t10k"}[split]
    np.testing.assert_array_equal(X, published.arrays[f"{prefix}-images-idx3-ubyte"])
    np.testing.assert_array_equal(y, published.arrays[f"{prefix}-labels-idx1-ubyte"])
    assert (X.dtype, y.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_data_home_comes_before_the_variable_and_the_variable_before_the_cache(published, tmp_path, monkeypatch, first):
    places = [tmp_path / "home", tmp_path / "variable", tmp_path / "cache" / "cnnclf"]
    monkeypatch.setenv("CNNCLF_DATA", str(places[1]))
    published.put(places[first])
    for later in places[first + 1 :]:  # damaged, so that looking here would be an error
        later.mkdir(parents=True)
        (later / TRAIN_IMAGES).write_bytes(b"damaged")
    X, _ = load_mnist(data_home=places[0], download=False)
    np.testing.assert_array_equal(X, published.arrays[TRAIN_IMAGES])


@pytest.mark.parametrize("place", ["home", "variable", "cache/cnnclf"])
def test_a_damaged_file_is_an_error_even_where_a_later_place_has_a_good_one(published, tmp_path, monkeypatch, place):
    monkeypatch.setenv("CNNCLF_DATA", str(tmp_path / "variable"))
    published.put(tmp_path / "cache" / "cnnclf")
    damaged = tmp_path / place / f"{TRAIN_IMAGES}.gz"
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(gzip.compress(published.content[TRAIN_IMAGES])[:-9])
    with pytest.raises(ValueError, match=unreadable(damaged, "EOFError(…)")):
        load_mnist(data_home=tmp_path / "home")


def test_a_tilde_is_the_users_home(published, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    published.put(tmp_path / "digits")
    assert load_mnist(data_home="~/digits", download=False)[1].tolist() == [5, 0, 9]


def test_mnist_that_is_nowhere_and_not_downloaded(published, tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCLF_DATA", str(tmp_path / "variable"))
    sentence = (
        f"MNIST: expected {TRAIN_IMAGES}.gz or {TRAIN_IMAGES} in one of {tmp_path / 'home'}, {tmp_path / 'variable'}, "
        f"{tmp_path / 'cache' / 'cnnclf'}; found neither. "
        "Set CNNCLF_DATA or pass data_home to name a folder that has MNIST's files."
    )
    with pytest.raises(FileNotFoundError, match=with_gaps(sentence)):
        load_mnist(data_home=tmp_path / "home", download=False)
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_mnist_does_not_have(published):
    with pytest.raises(
        ValueError, match=with_gaps("Expected split to be 'train' or 'test'; got 'validation'. Change split.")
    ):
        load_mnist("validation")


# MNIST: what is refused


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        (
            TRAIN_IMAGES,
            np.zeros((3, 28, 28), dtype=np.int8),
            "uint8 of shape (3, 28, 28); got int8 of shape (3, 28, 28)",
        ),
        (
            TRAIN_IMAGES,
            np.zeros((3, 784), dtype=np.uint8),
            "uint8 of shape (3, 28, 28); got uint8 of shape (3, 784)",
        ),
        (TRAIN_LABELS, np.zeros(2, dtype=np.uint8), "uint8 of shape (3,); got uint8 of shape (2,)"),
    ],
    ids=["type", "dimensions", "fewer labels than images"],
)
def test_arrays_unlike_mnists_are_refused(published, tmp_path, name, array, sentence):
    file = published.put(tmp_path) / name
    (tmp_path / f"{name}.gz").unlink()
    file.write_bytes(to_idx(array))
    with pytest.raises(
        ValueError, match=with_gaps(f"{file}: expected MNIST's {name}, {sentence}. Replace it with the published file.")
    ):
        load_mnist(data_home=tmp_path)


def test_labels_over_nine_are_refused(published, tmp_path):
    published.content[TRAIN_LABELS] = to_idx(np.array([5, 10, 9], dtype=np.uint8))
    file = published.put(tmp_path, "{}") / TRAIN_LABELS
    sentence = f"{file}: expected MNIST's labels, 0 to 9; got a label 10. Replace it with the published file."
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_mnist(data_home=tmp_path)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
def test_one_changed_bit_is_refused(published, tmp_path, name):
    good = published.content[name]
    changed = good[:-1] + bytes([good[-1] ^ 1])
    published.content[name] = changed
    file = published.put(tmp_path) / f"{name}.gz"
    sentence = (
        f"{file}: expected MNIST's {name}, content with SHA-256 {hashlib.sha256(good).hexdigest()}; "
        f"got SHA-256 {hashlib.sha256(changed).hexdigest()}. Replace it with the published file."
    )
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_mnist(data_home=tmp_path)


def test_each_split_has_as_many_labels_as_images(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        datasets, "load_mnist_file", lambda name, shape, *_: asked.setdefault(name, shape) and np.zeros(1, np.uint8)
    )
    for split in ("train", "test"):
        load_mnist(split, download=False)
    assert asked == {
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }
    assert datasets.MNIST_FILES.keys() == asked.keys()


# MNIST: mirrors, on a server of our own


class Mirror(ThreadingHTTPServer):
    """A server that answers with `answers[path]`: a status, a body, and the length that it announces."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = {}
        self.asked = []

    def url(self, folder):
        return f"http://127.0.0.1:{self.server_port}/{folder}/"

    def serve(self, folder, name, body, *, status=200, announced=None):
        self.answers[f"/{folder}/{name}.gz"] = (status, body, len(body) if announced is None else announced)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body, announced = self.server.answers.get(self.path, (404, b"", 0))
        self.send_response(status)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(monkeypatch, published):
    """Two mirrors, ``bad`` and ``good``, of which the second has everything."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(datasets, "MIRRORS", (server.url("bad"), server.url("good")))
        for name, content in published.content.items():
            server.serve("good", name, gzip.compress(content))
        yield server
        server.shutdown()
        thread.join()


def files_under(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


@pytest.mark.parametrize("explicit", [True, False], ids=["into data_home", "into the cache"])
def test_what_is_found_nowhere_is_downloaded_once(mirror, published, tmp_path, explicit):
    home = tmp_path / "home" if explicit else None
    X, y = load_mnist(data_home=home)
    np.testing.assert_array_equal(X, published.arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(y, [5, 0, 9])
    folder = tmp_path / "home" if explicit else tmp_path / "cache" / "cnnclf"
    assert files_under(tmp_path / ("home" if explicit else "cache")) == sorted(
        str((folder / "mnist" / f"{name}.gz").relative_to(folder if explicit else tmp_path / "cache"))
        for name in (TRAIN_IMAGES, TRAIN_LABELS)
    )
    asked = len(mirror.asked)
    np.testing.assert_array_equal(load_mnist(data_home=home)[0], X)
    assert len(mirror.asked) == asked


def test_nothing_is_downloaded_where_that_is_not_wanted(mirror, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found neither\. Set CNNCLF_DATA"):
        load_mnist(data_home=tmp_path, download=False)
    assert mirror.asked == []


GARBAGE = {
    "not found": {"body": b"", "status": 404},
    "no gzip": {"body": b"<html>moved</html>"},
    "another content": {"body": gzip.compress(to_idx(np.zeros((3, 28, 28), dtype=np.uint8)))},
    "interrupted": {"body": PACKED[:20], "announced": 100},
    "cut short": {"body": PACKED[:20]},
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_the_next_mirror_is_asked_when_one_serves_garbage(mirror, published, tmp_path, garbage):
    mirror.serve("bad", TRAIN_IMAGES, **garbage)
    mirror.serve("bad", TRAIN_LABELS, gzip.compress(published.content[TRAIN_LABELS]))
    X, y = load_mnist(data_home=tmp_path / "home")
    np.testing.assert_array_equal(X, published.arrays[TRAIN_IMAGES])
    assert y.tolist() == [5, 0, 9]
    assert mirror.asked == [
        f"/{folder}/{name}.gz"
        for folder, name in [("bad", TRAIN_IMAGES), ("good", TRAIN_IMAGES), ("bad", TRAIN_LABELS)]
    ]


def test_without_a_network_the_reason_is_short(published, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:9/mnist/",))  # port 9: nobody listens
    sentence = "found neither, and no mirror supplied it: 127.0.0.1 (no connection). Set CNNCLF_DATA or pass data_home"
    with pytest.raises(FileNotFoundError, match=re.escape(sentence)):
        load_mnist()


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_failed_download_leaves_no_file(mirror, tmp_path, garbage):
    for folder in ("bad", "good"):
        mirror.serve(folder, TRAIN_IMAGES, **garbage)
    sentence = (
        f"MNIST: expected {TRAIN_IMAGES}.gz or {TRAIN_IMAGES} in one of {tmp_path / 'home'}, "
        f"{tmp_path / 'cache' / 'cnnclf'}; found neither, and no mirror supplied it: "
        f"{mirror.url('bad')} (…), {mirror.url('good')} (…). "
        "Set CNNCLF_DATA or pass data_home to name a folder that has MNIST's files."
    )
    with pytest.raises(FileNotFoundError, match=with_gaps(sentence)):
        load_mnist(data_home=tmp_path / "home")
    assert files_under(tmp_path) == []


def test_a_damaged_download_is_reported_by_its_address(mirror, tmp_path):
    for folder in ("bad", "good"):
        mirror.serve(folder, TRAIN_IMAGES, gzip.compress(b"\0\0\x08"))
    address = f"{mirror.url('good')}{TRAIN_IMAGES}.gz"
    reason = (
        f"({address}: expected at least 4 bytes, as its header says; got 3. The file is cut short: fetch it again.)"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(reason)):
        load_mnist(data_home=tmp_path)


def test_a_download_stopped_by_hand_leaves_nothing(mirror, tmp_path, monkeypatch):
    def stopped(self, url, output_file, pooch):
        Path(output_file).write_bytes(PACKED[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        load_mnist(data_home=tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_a_reason_like_any_other(mirror, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    reason = (
        f"no mirror supplied it: {mirror.url('bad')} (…), {mirror.url('good')} (…). Set CNNCLF_DATA or pass data_home"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(reason).replace("…", ".+")):
        load_mnist(data_home=tmp_path / "file")
    assert mirror.asked == []


class Terminal(StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only(mirror, tmp_path, monkeypatch, capsys):
    load_mnist(data_home=tmp_path / "silent")
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    load_mnist(data_home=tmp_path / "shown")
    assert "100%" in terminal.getvalue()


def test_there_is_more_than_one_mirror_and_each_is_safe_in_transit():
    assert len({mirror.split("/")[2] for mirror in datasets.MIRRORS}) > 1
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in datasets.MIRRORS)


# MNIST itself


@pytest.fixture
def real_mnist():
    if not os.environ.get("CNNCLF_DATA"):
        pytest.fail("set CNNCLF_DATA to a folder that has MNIST's four files")


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("split", "images_md5", "labels_md5", "counts"),
    [
        (
            "train",
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        ),
        (
            "test",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
    ],
)
def test_mnist_is_the_one_that_was_published(real_mnist, split, images_md5, labels_md5, counts):
    X, y = load_mnist(split, download=False)
    assert hashlib.md5(to_idx(X)).hexdigest() == images_md5
    assert hashlib.md5(to_idx(y.astype(np.uint8))).hexdigest() == labels_md5
    assert np.bincount(y).tolist() == counts
    assert (X.dtype, y.dtype) == (np.uint8, np.int64)


# The digits


def test_the_digits_are_scikit_learns():
    X, y = load_digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 8, 8), np.uint8, (1797,), np.int64)
    assert (X.min(), X.max()) == (0, 16)
    # the first digit, a nought, as UCI publishes it
    assert y[0] == 0
    assert X[0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]


# What it costs


def test_importing_the_module_costs_numpy_alone():
    code = (
        "import sys, cnnclf.datasets._mnist; print({'PIL', 'pooch', 'requests', 'sklearn', 'torch'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
