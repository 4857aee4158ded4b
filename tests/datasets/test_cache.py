"""``cache``: pictures that are larger than memory lie in a file, and a network trains from there."""

import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnclf import CNNClassifier, load_dataset
from cnnclf.datasets import _cache, load
from cnnclf.training._data import as_tensor
from helpers import error_of


@pytest.fixture
def folder(tmp_path):
    """Two classes of thirteen pictures, of two sizes, in colour."""
    rng = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(13):
            size = (9, 12, 3) if i % 2 else (10, 8, 3)
            pixels = rng.integers(shade - 40, shade + 40, size, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i:02}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("mode", [None, "grey"])
def test_images_are_those_in_memory_and_lie_in_a_file_as_a_network_takes_them(folder, tmp_path, mode):
    X, y = load_dataset(folder, size=8, mode=mode, cache=tmp_path / "cache")
    expected, labels = load_dataset(folder, size=8, mode=mode)
    assert isinstance(X, np.memmap)
    assert np.array_equal(X, expected)
    assert y.tolist() == labels.tolist()
    assert not X.flags.writeable
    (file,) = (tmp_path / "cache").iterdir()
    assert np.load(file).shape == ((26, 8, 8) if mode else (26, 3, 8, 8))


def test_a_network_that_trains_from_a_file_is_the_same_to_the_bit(folder, tmp_path):
    probabilities = []
    for cache in (None, tmp_path / "cache"):
        X, y = load_dataset(folder, size=8, cache=cache)
        clf = CNNClassifier("tiny", max_epochs=2, random_state=0).fit(X, y)
        probabilities.append(clf.predict_proba(X))
    assert probabilities[0].tobytes() == probabilities[1].tobytes()


def test_training_copies_nothing_of_a_file(folder, tmp_path):
    X, _ = load_dataset(folder, size=8, cache=tmp_path / "cache")
    pixels = np.moveaxis(X, 3, 1)
    assert pixels.flags.c_contiguous
    assert as_tensor(pixels).data_ptr() == X.__array_interface__["data"][0]


def test_a_tensor_keeps_the_memory_of_a_read_only_array():
    array = np.arange(1_000_000, dtype=np.uint8).reshape(1000, 1000)
    array.flags.writeable = False
    expected = array.copy()
    tensor = as_tensor(array)
    del array
    np.zeros((1000, 1000), np.uint8).fill(1)  # what was freed would be written over
    assert np.array_equal(tensor.numpy(), expected)


def test_pictures_are_decoded_once(folder, tmp_path, monkeypatch):
    load_dataset(folder, size="median", cache=tmp_path)
    monkeypatch.setattr(Image, "open", None)
    assert load_dataset(folder, size="median", cache=tmp_path)[0].shape == (26, 10, 8, 3)


def test_other_pictures_and_another_size_get_another_file(folder, tmp_path):
    cache = tmp_path / "cache"
    first = load_dataset(folder, size=8, cache=cache)[0]
    load_dataset(folder, size=7, cache=cache)
    load_dataset(folder, size=8, mode="grey", cache=cache)
    assert len(list(cache.iterdir())) == 3
    Image.new("RGB", (8, 10), "red").save(folder / "dark" / "00.png")
    changed = load_dataset(folder, size=8, cache=cache)[0]
    assert len(list(cache.iterdir())) == 4
    assert changed[0, 4, 4].tolist() == [255, 0, 0]
    assert np.array_equal(first[1:], changed[1:])


def test_files_of_one_size_and_time_that_change_places_are_other_pictures(tmp_path):
    for name, shade in (("a", 10), ("b", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("L", (4, 4), shade).save(tmp_path / "data" / name / "1.bmp")
        os.utime(tmp_path / "data" / name / "1.bmp", (1e9, 1e9))
    assert load_dataset(tmp_path / "data", cache=tmp_path / "cache")[0][:, 0, 0].tolist() == [10, 200]
    a, b = (tmp_path / "data" / name / "1.bmp" for name in "ab")
    a.rename(tmp_path / "t")
    b.rename(a)
    (tmp_path / "t").rename(b)
    assert load_dataset(tmp_path / "data", cache=tmp_path / "cache")[0][:, 0, 0].tolist() == [200, 10]


def test_what_a_killed_process_left_is_removed_after_an_hour(folder, tmp_path):
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    old, new = (file.with_name(f".{file.name}.{name}") for name in ("old", "new"))
    for left in (old, new):
        left.touch()
    os.utime(old, (1e9, 1e9))
    file.unlink()
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    assert set((tmp_path / "cache").iterdir()) == {file, new}


def test_another_process_may_finish_its_file_in_the_meantime(folder, tmp_path, monkeypatch):
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    content = file.read_bytes()
    file.unlink()
    gone = file.with_name(f".{file.name}.gone")  # is listed, and is not there any more
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    assert file.read_bytes() == content


@pytest.mark.parametrize("within", [".", "dark", "new/folder"])
def test_a_cache_within_the_images_is_refused_as_it_would_be_one_of_them(folder, within):
    message = error_of(load_dataset, folder, size=8, cache=folder / within)
    assert message.endswith(f"expected a folder outside of the images; got one in {folder}. Pass another cache.")
    assert not any(folder.rglob("*.npy"))
    assert load_dataset(folder, size=8)[0].shape == (26, 8, 8, 3)


@pytest.mark.parametrize("cache", [3, True, b"c", ""])
def test_a_cache_that_is_no_path_is_refused(folder, cache):
    message = error_of(load_dataset, folder, size=8, cache=cache, kind=TypeError)
    assert message == f"Expected cache to be the path of a folder or None; got {cache!r}. Pass a path."


def test_the_training_images_decide_also_with_a_cache(tmp_path):
    for split, n, shade in (("train", 4, (200, 9, 9)), ("test", 2, 90)):
        for name in "ab":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(n):
                Image.new("RGB" if split == "train" else "L", (6 + i, 6), shade).save(
                    tmp_path / "data" / split / name / f"{i}.png"
                )
    X, _ = load_dataset(tmp_path / "data", split="test", size="median", cache=tmp_path / "cache")
    assert X.shape == (4, 6, 8, 3)
    assert np.array_equal(X, load_dataset(tmp_path / "data", split="test", size="median")[0])


@pytest.mark.parametrize("cached", [False, True])
def test_the_parts_of_a_report_are_slices_of_images_that_are_there_once(folder, tmp_path, cached):
    data = load(str(folder), seed=0, size=8, cache=tmp_path / "cache" if cached else None)
    X = [part.X for part in data.parts.values()]
    assert [len(part) for part in X] == [18, 2, 6]
    assert all(isinstance(part, np.memmap) == cached for part in X)
    starts = [part.__array_interface__["data"][0] for part in X]
    assert [b - a for a, b in pairwise(starts)] == [18 * 192, 2 * 192]


def test_the_parts_are_the_same_with_and_without_a_cache(folder, tmp_path):
    with_cache, without = (load(str(folder), seed=3, size=8, cache=cache) for cache in (tmp_path / "cache", None))
    for name, part in without.parts.items():
        assert np.array_equal(with_cache.parts[name].X, part.X)
        assert np.array_equal(with_cache.parts[name].y, part.y)
        assert (part.X.mean(axis=(1, 2, 3)) > 120).tolist() == (part.y == "light").tolist()
    assert with_cache.description == without.description


def test_a_picture_that_cannot_be_read_leaves_no_file(folder, tmp_path):
    (folder / "light" / "05.png").write_bytes(b"no picture")
    for size in (8, "median", None):
        with pytest.raises(ValueError, match=r"05\.png: expected a picture"):
            load_dataset(folder, size=size, cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").glob("*"))
    assert not any((tmp_path / "cache").glob(".*"))


def test_a_full_disk_leaves_no_file(folder, tmp_path, monkeypatch):
    def full(opened, row, *, channels_last):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cache, "write_row", full)
    with pytest.raises(OSError, match="No space left on device"):
        load_dataset(folder, size=8, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9], lambda content: b"x" + content])
def test_a_damaged_file_is_named(folder, tmp_path, damage):
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=rf"\A{re.escape(str(file))}: expected .* Remove the file\.\Z"):
        load_dataset(folder, size=8, cache=tmp_path / "cache")


@pytest.mark.parametrize("other", [np.zeros(5), np.zeros((3, 3, 8, 8), np.uint8)], ids=["float64", "fewer"])
def test_an_array_of_another_kind_is_named(folder, tmp_path, other):
    load_dataset(folder, size=8, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    np.save(file, other)
    assert error_of(load_dataset, folder, size=8, cache=tmp_path / "cache") == (
        f"{file}: expected 26 images that were written here; got an array of shape {other.shape} of {other.dtype}. "
        "Remove the file."
    )


def test_images_that_are_numbers_need_no_cache(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 4, 4)), y=[0, 1])
    sentence = (
        f"{tmp_path / 'a.npz'}: expected pictures to decode into cache; got images that are numbers already. "
        "Leave out cache."
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        load_dataset(tmp_path / "a.npz", cache=tmp_path)


def test_a_file_in_the_place_of_the_folder(folder, tmp_path):
    shutil.copy(folder / "dark" / "00.png", tmp_path / "cache")
    sentence = f"{tmp_path / 'cache'}: expected a folder that can be made; got file exists. Pass another cache."
    assert error_of(load_dataset, folder, size=8, cache=tmp_path / "cache") == sentence
