"""`ReadImages` and `load_paths`: a column of pictures in a pipeline, each of them decoded once."""

import io
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from cnnclf import CNNClassifier, ReadImages, load_dataset
from cnnclf.datasets import _memo, load_paths


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of two classes and two sizes, in JPEG and PNG."""
    rng = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            size = (14, 20, 3) if i % 2 else (18, 12, 3)
            pixels = rng.integers(shade - 40, shade + 40, size, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.{'jpg' if i % 3 else 'png'}")
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """The files that Pillow opens."""
    names = []
    image_open = Image.open

    def note(file, **options):
        names.append(Path(file.name).name)
        return image_open(file, **options)

    monkeypatch.setattr(Image, "open", note)
    return names


def classifier():
    return CNNClassifier("tiny", max_epochs=20, batch_size=16, random_state=0)


# What it reads


@pytest.mark.parametrize("size", [16, (16, 12), "median"])
@pytest.mark.parametrize("mode", [None, "grey", "rgb"])
def test_pixels_are_those_of_load_dataset(folder, size, mode):
    X, y = load_dataset(folder, size=size, mode=mode)
    paths, labels = load_paths(folder)
    reader = ReadImages(size, mode)
    assert np.array_equal(reader.fit_transform(paths), X)
    assert np.array_equal(reader.fit(paths).transform(paths), X)
    assert labels.tolist() == y.tolist()
    assert (reader.size_, reader.mode_) == (X.shape[1:3], "grey" if mode == "grey" else "rgb")


@pytest.mark.parametrize(
    "column",
    [
        list,
        np.array,
        lambda paths: np.array(paths)[:, np.newaxis],
        lambda paths: pd.Series(paths, index=range(5, 17)),
        lambda paths: pd.DataFrame({"file": paths}),
        lambda paths: [Path(path).read_bytes() for path in paths],
        lambda paths: pd.DataFrame({"image": [{"bytes": Path(path).read_bytes(), "path": None} for path in paths]}),
        lambda paths: [Path(path) for path in paths],
    ],
    ids=["list", "array", "column", "Series", "DataFrame", "bytes", "Hugging Face", "Path"],
)
def test_a_column_of_any_kind(folder, column):
    paths, _ = load_paths(folder)
    assert np.array_equal(ReadImages(16).fit_transform(column(paths.tolist())), load_dataset(folder, size=16)[0])


def test_the_images_of_fit_decide_for_all(folder, tmp_path):
    paths, _ = load_paths(folder)
    reader = ReadImages("median", "grey").fit(paths[1::2])  # those of 14×20 pixels
    assert reader.transform(paths).shape == (12, 14, 20)


def test_a_column_transformer_passes_its_column(folder):
    paths, y = load_paths(folder)
    table = pd.DataFrame({"number": range(12), "file": paths})
    columns = make_column_transformer((ReadImages(16), "file"), sparse_threshold=0)
    with pytest.raises(ValueError, match="2D"):  # scikit-learn joins columns, and images have more axes
        columns.fit_transform(table)
    assert make_pipeline(ReadImages(16), classifier()).fit(table["file"], y).predict(table["file"]).shape == (12,)


# Searches


def test_a_search_over_paths_decodes_each_file_once_per_size(folder, opened):
    paths, y = load_paths(folder)
    pipeline = make_pipeline(ReadImages(mode="rgb"), classifier())
    search = GridSearchCV(pipeline, {"readimages__size": [16, (12, 20)]}, cv=3).fit(paths, y)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    assert sorted(opened) == sorted([Path(path).name for path in paths] * 2)
    assert (search.predict(paths) == y).mean() > 0.9
    assert len(opened) == 24  # the best pipeline shares what was read


@pytest.mark.parametrize(("parameters", "times"), [({"size": 16}, 2), ({"size": "median"}, 2)])
def test_headers_are_read_once_too(folder, opened, parameters, times):
    paths, y = load_paths(folder)
    cross_val_score(make_pipeline(ReadImages(**parameters), classifier()), paths, y, cv=3)
    # The first picture's header is looked at once more, where one pass over all might do.
    assert len(opened) <= times * 12 + 3


def test_scores_are_those_of_images_that_were_loaded_before(folder):
    paths, y = load_paths(folder)
    X, _ = load_dataset(folder, size=16, mode="rgb")
    of_paths = cross_val_score(make_pipeline(ReadImages(16, "rgb"), classifier()), paths, y, cv=3)
    assert of_paths.tolist() == cross_val_score(classifier(), X, y, cv=3).tolist()


def test_a_changed_file_is_read_again(folder):
    paths, _ = load_paths(folder)
    reader = clone(ReadImages(16, "rgb"))
    before = reader.fit_transform(paths)
    status = os.stat(paths[0])  # noqa: PTH116 - a path as text
    Image.new("RGB", (16, 16), "red").save(paths[0])
    os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))  # as a program that copies it with its time
    after = reader.transform(paths)
    assert after[0, 0, 0, 1] < 5
    assert np.array_equal(before[1:], after[1:])


def test_what_is_returned_may_be_changed(folder):
    paths, _ = load_paths(folder)
    reader = clone(ReadImages(16))
    X = reader.fit_transform(paths)
    expected = X.copy()
    X[:] = 0
    assert np.array_equal(reader.transform(paths), expected)


def test_without_a_clone_and_in_a_file_nothing_is_kept(folder, opened):
    paths, _ = load_paths(folder)
    reader = ReadImages(16, "rgb").fit(paths)
    assert opened == []
    reader.transform(paths)
    reader.transform(paths)
    assert len(opened) == 24
    copied = clone(reader).fit(paths)
    copied.transform(paths)
    assert len(pickle.dumps(copied)) < 2_000
    assert np.array_equal(pickle.loads(pickle.dumps(copied)).transform(paths), reader.transform(paths))


def test_what_is_kept_is_bounded(folder, opened, monkeypatch):
    paths, _ = load_paths(folder)
    monkeypatch.setattr(_memo, "MOST_BYTES", 5 * (16 * 16 * 3 + _memo.OVERHEAD))
    reader = clone(ReadImages(16, "rgb")).fit(paths)
    X = reader.transform(paths)
    del opened[:]
    assert np.array_equal(reader.transform(paths), X)
    assert len(opened) == 12 - 5


# What is wrong


def test_all_pictures_that_cannot_be_read_are_named_at_once(folder):
    paths, _ = load_paths(folder)
    for path in paths[[2, 5]]:
        Path(path).write_bytes(b"no picture")
    for reader in (ReadImages(16, "rgb"), ReadImages(16), ReadImages()):
        with pytest.raises(ValueError, match=r"\AX: 2 files cannot be read: ") as raised:
            reader.fit_transform(paths)
        assert paths[2] in str(raised.value)
        assert paths[5] in str(raised.value)


def test_sizes_that_differ_are_refused_with_what_helps(folder):
    paths, _ = load_paths(folder)
    sentence = re.escape(
        "X: expected images of one size; got 12×18 (6), 20×14 (6), width × height; the first other is "
    )
    with pytest.raises(ValueError, match=rf"\A{sentence}.* Pass size=\(height, width\) or size='median', or --size"):
        ReadImages().fit(paths)


def picture():
    file = io.BytesIO()
    Image.new("L", (9, 9)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        ("a.png", "Expected a column of paths or pictures; got 'a.png' alone. Pass it in a list."),
        ([], "Found array with 0 sample(s) while a minimum of 1 is required by ReadImages."),
        (
            np.zeros((2, 5)),
            "Expected one column of paths or pictures; got the shape (2, 5). Pass that column alone.",
        ),
        (
            [picture(), 7],
            "Expected a path or the content of a picture in each row; got 7 in row 1. Pass that column alone.",
        ),
        (
            ["a.png", None],
            "Expected a path or the content of a picture in each row; got None in row 1. Pass that column alone.",
        ),
        (
            np.array([picture()]),
            "Expected pictures as objects; got an array of bytes, whose last zeros are lost. Pass dtype=object.",
        ),
        (5, "Expected a column of paths or pictures; got int. Pass a list or a column."),
        ({"a": "b.png"}, "Expected a column of paths or pictures; got dict. Pass a list or a column."),
        ([""], "Expected a path or the content of a picture in each row; got '' in row 0. Pass that column alone."),
        (["no.png"], "no.png: expected an image file; there is none. Check the path."),
        (["a\0.png"], "a�.png: expected an image file; there is none. Check the path."),
    ],
)
def test_other_columns_are_refused(X, sentence):
    with pytest.raises((ValueError, OSError), match=rf"\A{re.escape(sentence)}\Z"):
        ReadImages(8).fit_transform(X)


def test_a_long_path_does_not_make_a_long_error():
    with pytest.raises(ValueError, match="expected an image file; there is none") as raised:
        ReadImages(8).fit_transform(["x" * 5000])
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("n_jobs", [0, 1.5, "a", True])
def test_n_jobs_that_is_no_number_of_jobs_is_refused(n_jobs):
    sentence = f"Expected n_jobs to be None or a whole number but 0; got {n_jobs!r}. Change n_jobs."
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        ReadImages(8, n_jobs=n_jobs).fit([picture()])


@pytest.mark.parametrize("parameters", [{"size": 0}, {"size": "mean"}, {"mode": "L"}, {"size": (9000, 9000)}])
def test_parameters_are_checked_by_fit(folder, parameters):
    reader = ReadImages(**parameters)
    with pytest.raises(ValueError, match="Expected "):
        reader.fit(load_paths(folder)[0])


def test_a_size_that_no_network_takes_is_refused(folder):
    with pytest.raises(ValueError, match=r"X: expected images of at most 1,048,576 numbers; got 4000×4000 pixels"):
        ReadImages(4000).fit(load_paths(folder)[0])


def test_transform_needs_fit():
    with pytest.raises(NotFittedError):
        ReadImages(8).transform([picture()])


# Paths


def test_paths_of_a_split_and_contents_of_parquet_files(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    contents = [picture(), picture()]
    parquet.write_table(pa.table({"image": contents, "label": [1, 0]}), tmp_path / "a.parquet")
    sources, y = load_paths(tmp_path / "a.parquet")
    assert sources.tolist() == contents
    assert y.tolist() == [1, 0]
    for split, name in (("train", "x"), ("test", "y")):
        (tmp_path / "data" / split / "one").mkdir(parents=True)
        (tmp_path / "data" / split / "one" / f"{name}.png").write_bytes(picture())
    assert [Path(path).name for path in load_paths(tmp_path / "data", split="test")[0]] == ["y.png"]


def test_images_that_are_numbers_have_no_paths(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 4, 4)), y=[0, 1])
    sentence = (
        f"{tmp_path / 'a.npz'}: expected pictures in files; got images that are numbers already. "
        "Load them with load_dataset."
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        load_paths(tmp_path / "a.npz")
