"""The front door: each form of a dataset is read pixel by pixel, or one sentence says what is wrong with it."""

import gzip
import json
import struct
import warnings
import zlib
from zipfile import ZipFile

import forms
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cnnclf import load_dataset
from cnnclf.datasets import describe
from cnnclf.datasets._archives import read_matrices
from cnnclf.images._pictures import read_picture
from cnnclf.images._spec import InputSpec
from helpers import error_of, exactly, read_or_refused, with_gaps

# All forms

BOTH = "75 images of 10×12 pixels, grey, 3 classes; train 60, test 15"


@pytest.mark.parametrize("form", forms.FORMS)
def test_every_form_gives_the_images_that_were_written(form, tmp_path):
    path, train, test = forms.make(form, tmp_path)
    for split, (X, y) in ((None, train), ("train", train), ("test", test)):
        images, labels = load_dataset(path, split=split)
        np.testing.assert_array_equal(images, X)
        assert images.dtype == np.uint8
        assert labels.tolist() == y.tolist()
        assert labels.dtype.kind == y.dtype.kind
    there = "got 'train' and 'test' alone. Add it, or pass the path of the images themselves."
    assert error_of(load_dataset, path, split="val") == f"{path}: expected a val split; {there}"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("folders", "class folders, 75 images of 10×12 pixels, grey, 3 classes; train 60, test 15"),
        ("idx", f"IDX files, {BOTH}"),
        (
            "emnist",
            f"IDX files, {BOTH}; EMNIST's images were turned upright",
        ),
        ("medmnist", "arrays of NumPy, 75 images of 10×12 pixels, RGB, 3 classes; train 60, test 15"),
        ("tables", "tables, labels in 'label', 75 images of 12×12 pixels, grey, 3 classes; train 60, test 15"),
        ("paths", "a table, labels in 'label', 75 images of 10×12 pixels, RGB, 3 classes; train 60, test 15"),
        ("hub", "Parquet files, 75 images of 10×12 pixels, grey, 3 classes; train 60, test 15"),
        (
            "svhn",
            "SVHN's .mat files, 75 images of 32×32 pixels, RGB, 3 classes; train 60, test 15; label 10 is the digit 0",
        ),
    ],
)
def test_a_line_says_what_was_understood(form, text, tmp_path):
    path, *_ = forms.make(form, tmp_path)
    assert describe(path) == f"{path}: {text}"


@pytest.mark.parametrize("form", ["folders", "keras", "tables", "hub"])
def test_all_forms_are_resized_as_the_network_will_resize_a_picture(form, tmp_path):
    path, _, (X, _) = forms.make(form, tmp_path)
    resized, _ = load_dataset(path, split="test", size=(20, 9))
    spec = InputSpec((20, 9), (1, 20, 9), False, "uint8", 255, preparation="pad")
    for image, row in zip(X, resized, strict=True):
        np.testing.assert_array_equal(read_picture(forms.png(image), spec), row)


def test_colours_can_be_chosen(tmp_path):
    X, y = forms.noise(6, (5, 4, 3))
    np.savez(tmp_path / "a.npz", X=X, y=y)
    forms.write_folders(tmp_path / "folders", X, y)
    order = np.argsort(y, kind="stable")
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in X])
    for path, expected in ((tmp_path / "a.npz", grey), (tmp_path / "folders", grey[order])):
        images, _ = load_dataset(path, mode="grey")
        assert np.abs(images.astype(int) - expected).max() <= 1  # Pillow rounds its luma down
    back, _ = load_dataset(tmp_path / "a.npz", mode="rgb")
    np.testing.assert_array_equal(back, X)


@pytest.mark.parametrize("size", [0, -3, 4097, 2**40, (3,), (3, 4, 5), (True, 5), True, 2.5, "large", [[3, 4]]])
def test_a_size_that_is_none_is_refused(size, tmp_path):
    sentence = error_of(load_dataset, tmp_path, size=size)
    assert sentence.startswith(
        "Expected size to be None, 'median', a whole number from 1 to 4,096, or two of them, (height, width); got "
    )


@pytest.mark.parametrize("mode", ["RGB", "L", ["grey"], 3])
def test_a_mode_that_is_none_is_refused(mode, tmp_path):
    assert error_of(load_dataset, tmp_path, mode=mode).startswith("Expected mode to be None, 'grey' or 'rgb'; got ")


def test_the_median_is_that_of_the_training_images(tmp_path):
    for split, sides in (("train", [(4, 8), (6, 8), (20, 9)]), ("test", [(50, 50)] * 5)):
        for i, (height, width) in enumerate(sides):
            for name in "ab":
                (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (width, height)).save(tmp_path / split / name / f"{i}.png")
    assert load_dataset(tmp_path, split="test", size="median")[0].shape == (10, 6, 8)
    assert load_dataset(tmp_path, size=5)[0].shape == (6, 5, 5)
    assert describe(tmp_path).endswith("16 images of 8×4 to 50×50 pixels, grey, 2 classes; train 6, test 10")
    sentence = (
        f"{tmp_path / 'train'}: expected images of one size; got 8×4 (2), 8×6 (2), 9×20 (2), width × height; the first "
        f"other is '{tmp_path / 'train' / 'a' / '1.png'}'. Pass size=(height, width) or size='median', "
        "or --size on the command line."
    )
    assert error_of(load_dataset, tmp_path) == sentence


@pytest.mark.parametrize("kind", ["folders", "arrays"])
def test_test_images_of_another_size_than_the_training_images_are_refused(kind, tmp_path):
    (X, y), (X_test, y_test) = forms.noise(6, (8, 8)), forms.noise(6, (8, 9))
    if kind == "folders":
        path, where = tmp_path, tmp_path / "test"
        forms.write_folders(tmp_path / "train", X, y)
        forms.write_folders(tmp_path / "test", X_test, y_test)
    else:
        path = where = tmp_path / "a.npz"
        np.savez(path, x_train=X, y_train=y, x_test=X_test, y_test=y_test)
    sentence = f"{where}: expected images of 8×8, as the training images are; got 9×8 (6), width × height…"
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_dataset(path, split="test")
    assert load_dataset(path, split="test", size=8)[0].shape == (6, 8, 8)


# Folders


def test_grey_or_colour_is_decided_by_the_training_images(tmp_path):
    X, y = forms.noise(6, (4, 4))
    forms.write_folders(tmp_path / "train", np.stack([X] * 3, axis=-1) + np.uint8([0, 1, 2]), y)
    forms.write_folders(tmp_path / "val", X, y)
    assert load_dataset(tmp_path, split="val")[0].shape == (6, 4, 4, 3)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    for name in ("car", "train", "test"):
        (tmp_path / name).mkdir()
        Image.new("L", (3, 2)).save(tmp_path / name / "1.png")
    assert load_dataset(tmp_path)[1].tolist() == ["car", "test", "train"]
    assert describe(tmp_path).endswith("; taken as classes: 'test' and 'train'")


def test_what_lies_beside_the_splits_is_not_used_and_said(tmp_path):
    path, *_ = forms.make("folders", tmp_path)
    (tmp_path / "report").mkdir()  # `cnnclf report --dataset .` has been here
    (tmp_path / "report" / "metrics.json").write_text("{}")
    (tmp_path / "report" / "samples.png").write_bytes(b"x")
    for name in ("annotations", "__MACOSX", ".cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("x")
    (tmp_path / "labels.csv").write_text("name,label\n")
    (tmp_path / "meta.pkl").write_bytes(b"x")
    assert describe(path).endswith("; train 60, test 15; not used: 'annotations' and 'labels.csv'")


def test_a_test_folder_without_labels_is_said(tmp_path):
    forms.write_folders(tmp_path / "train", *forms.noise(6))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(forms.png(forms.noise(1)[0][0]))
    assert describe(tmp_path).endswith("; train 6; test has no labels")
    assert load_dataset(tmp_path)[0].shape == (6, 12, 10)
    assert error_of(load_dataset, tmp_path, split="test") == (
        f"{tmp_path}: expected labels in test; got images without. `cnnclf predict` classifies pictures without labels."
    )


def test_two_folders_for_one_split_are_refused(tmp_path):
    for name in ("train", "Training", "test"):
        forms.write_folders(tmp_path / name, *forms.noise(3))
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected one train split; got 'Training' and 'train'. Move all but one away."
    )


def test_a_split_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    forms.write_folders(tmp_path / "elsewhere", *forms.noise(3))
    forms.write_folders(tmp_path / "data" / "train", *forms.noise(3))
    (tmp_path / "data" / "test").symlink_to(tmp_path / "elsewhere")
    sentence = f"{tmp_path / 'data' / 'test'}: expected links within the folder only; got one that leads out of it. …"
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_dataset(tmp_path / "data")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_sizes_are_those_of_upright_pictures(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.new("L", (30, 20)).save(tmp_path / name / f"{i}.jpg", kind, exif=exif)
    assert "2 images of 20×30 pixels" in describe(tmp_path)
    assert load_dataset(tmp_path)[0].shape[1:3] == (30, 20)
    assert load_dataset(tmp_path, size="median")[0].shape[1:3] == (30, 20)


def test_pictures_of_sixteen_bits_that_are_nearly_black_are_said(tmp_path):
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((3, 2), 4095 - i, np.uint16)).save(tmp_path / name / "1.png")
    Image.fromarray(np.full((3, 2), 40_000, np.uint16)).save(tmp_path / "a" / "2.png")
    # 4095 / 257 = 15.9, rounded 16: white of twelve bits is nearly black in sixteen.
    names = f"'{tmp_path / 'a' / '1.png'}' and '{tmp_path / 'b' / '1.png'}'"
    got = f"got 2 nearly black, as of 12 bits: {names}. Save them in 8 bits."
    sentence = f"Expected grey of 16 bits with white at 65535; {got}"
    with pytest.warns(UserWarning, match=exactly(sentence)) as caught:
        load_dataset(tmp_path)
    assert [warning.filename for warning in caught] == [__file__]
    spec = InputSpec((3, 2), (1, 3, 2), False, "uint8", 255, preparation="pad")
    with pytest.warns(UserWarning, match="got 1 nearly black, as of 12 bits") as caught:
        read_picture(tmp_path / "a" / "1.png", spec)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_few_colour_images_among_grey_ones_are_said_to_the_caller(tmp_path):
    X, y = forms.noise(9, (4, 4))
    forms.write_folders(tmp_path, X, y)
    forms.write_folders(tmp_path, forms.noise(1, (4, 4, 3))[0], [0], suffix="bmp")
    with pytest.warns(UserWarning, match="1 of 10 images has colour, so all are loaded as RGB: ") as caught:
        assert load_dataset(tmp_path)[0].shape == (10, 4, 4, 3)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_class_may_have_the_name_of_a_note(tmp_path):
    for name in ("license", "Mt.url", "car"):
        (tmp_path / name).mkdir()
        Image.new("L", (3, 2)).save(tmp_path / name / "1.png")
    assert load_dataset(tmp_path)[1].tolist() == ["Mt.url", "car", "license"]


def test_links_may_lead_to_pictures_of_another_split_and_not_to_nothing(tmp_path):
    forms.write_folders(tmp_path / "all", *forms.noise(6))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for name in forms.CLASSES:
            (tmp_path / split / name).symlink_to(tmp_path / "all" / name)
    assert load_dataset(tmp_path, split="test")[0].shape == (6, 12, 10)
    (tmp_path / "val").symlink_to(tmp_path / "nothing")
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path / 'val'}: expected a folder; got a link to nothing. Remove it, or restore its target."
    )


def test_a_split_with_classes_that_training_lacks_is_refused(tmp_path):
    forms.write_folders(tmp_path / "train", *forms.noise(6))
    (tmp_path / "val" / "images").mkdir(parents=True)  # as of Tiny ImageNet
    (tmp_path / "val" / "images" / "1.png").write_bytes(forms.png(forms.noise(1)[0][0]))
    for function in (load_dataset, describe):
        assert "expected every class of val in train, too" in error_of(
            function, tmp_path, **({"split": "val"} if function is load_dataset else {})
        )
    assert error_of(load_dataset, tmp_path, split="val") == (
        f"{tmp_path}: expected every class of val in train, too; got 'images' in val alone. Add images of these, or "
        "remove them."
    )


def test_a_folder_too_deep_is_named(tmp_path):
    (tmp_path / "inner").mkdir()
    path, *_ = forms.make("folders", tmp_path / "inner")
    wanted = "a folder of class folders, IDX files, .npz, .csv, .parquet or .mat"
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected {wanted}; got such files in 'inner'. Pass '{path}', or another, if that is the dataset."
    )
    forms.write_folders(tmp_path / "more" / "all", *forms.noise(3))
    more = tmp_path / "more"
    assert error_of(load_dataset, more) == (
        f"{more}: expected class folders; got folders that hold folders. Pass '{more / 'all'}' if that is the dataset."
    )


def test_images_that_no_model_file_takes_are_refused(tmp_path):
    forms.write_folders(tmp_path, *forms.noise(6))
    assert error_of(load_dataset, tmp_path, size=1025) == (
        f"{tmp_path}: expected images of at most 1,048,576 numbers; got 1025×1025 pixels. Pass a smaller size, "
        "or --size on the command line."
    )


def test_all_splits_of_arrays_become_bytes_if_a_size_is_given(tmp_path):
    X, y = forms.noise(6, (8, 8))
    floats = X / np.float64(255)
    np.savez(tmp_path / "a.npz", x_train=floats, y_train=y, x_test=floats[:, :7], y_test=y)
    for split in ("train", "test"):
        assert load_dataset(tmp_path / "a.npz", split=split, size=8)[0].dtype == np.uint8
    np.testing.assert_array_equal(load_dataset(tmp_path / "a.npz", size=8)[0], X)


# Tables


def square(n=12, seed=0):
    return forms.noise(n, (4, 4), seed)


HEADERS = {
    "names": "label,{}",
    "capitals": "Label,{}",
    "none": None,
    "counting": "0," + ",".join(map(str, range(1, 17))),
    "repeated": "5,0," + ",".join(f"0.{i}" for i in range(1, 16)),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"], ids=["", "BOM", "blank lines"])
def test_a_table_is_read_with_any_header(header, delimiter, start, tmp_path):
    X, y = square()
    X[:, 0, 0] = X[:, -1, -1] = 0  # as at the edges of digits
    path = forms.write_csv(tmp_path / "digits.CSV", X, y, header)
    path.write_text(start + path.read_text().replace(",", delimiter), encoding="utf-8")
    images, labels = load_dataset(path)
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)


def test_a_table_of_pandas_with_its_index_and_other_columns(tmp_path):
    X, y = square()
    frame = pd.DataFrame(X.reshape(12, -1), columns=[f"{i}x{j}" for i in range(4) for j in range(4)])
    frame.insert(0, "fold", 3)
    frame["class"] = y
    frame.to_csv(tmp_path / "a.csv")
    images, labels = load_dataset(tmp_path / "a.csv")
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)


def test_the_label_is_the_last_column_without_a_header(tmp_path):
    X, y = square()
    X[:, 0, 0] = 0
    pd.DataFrame(np.c_[X.reshape(12, -1), y]).to_csv(tmp_path / "a.csv", header=False, index=False)
    images, labels = load_dataset(tmp_path / "a.csv")
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("label", ["kind", "KIND", 3, -14, "3"])
def test_the_label_is_the_column_that_is_named(label, tmp_path):
    X, y = square()
    frame = pd.DataFrame(X.reshape(12, -1), columns=[f"pixel{i}" for i in range(16)])
    frame.insert(3, "kind", y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    images, labels = load_dataset(tmp_path / "a.csv", label=label)
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)
    assert "3 classes" in describe(tmp_path / "a.csv", label=label)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["01", "1", "1"], ["01", "1", "1"]),
        (["3", "-4", "0"], [3, -4, 0]),
        (["3.0", "4.0", "4.0"], [3, 4, 4]),
        (["A", "a", "7"], ["A", "a", "7"]),
    ],
)
def test_labels_are_whole_numbers_only_if_they_are_written_so(labels, expected, tmp_path):
    forms.write_csv(tmp_path / "a.csv", square(3)[0], labels)
    assert load_dataset(tmp_path / "a.csv")[1].tolist() == expected


def test_pixels_may_be_floats_and_are_left_in_their_unit(tmp_path):
    X, y = square()
    path = tmp_path / "a.csv"
    forms.write_csv(path, X / 255, y)
    images, _ = load_dataset(path)
    np.testing.assert_allclose(images, X / 255, atol=1e-7)
    np.testing.assert_array_equal(load_dataset(path, mode="rgb")[0][..., 0], X)


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_flat_rows_of_three_channels_are_read_in_the_order_that_gives_smooth_images(last, tmp_path):
    rows, columns = np.mgrid[:8, :8]
    X = np.stack([10 * rows, 255 - 10 * columns, np.full((8, 8), 128)], axis=-1).astype(np.uint8)
    X = np.stack([X, X[::-1], X[:, ::-1]] * 2)
    flat = X if last else np.moveaxis(X, 3, 1)
    forms.write_csv(tmp_path / "a.csv", flat, np.arange(6) % 3)
    np.testing.assert_array_equal(load_dataset(tmp_path / "a.csv")[0], X)


@pytest.mark.parametrize(
    ("header", "shape"),
    [
        (lambda i, j: f"pixel{4 * i + j}", (4, 4)),
        (lambda i, j: f"{16 - 4 * i - j}", (4, 4)),
        (lambda i, j: f"r{i}c{j}", (4, 4)),
        (lambda i, j: f"{4 * i + j}.0", (4, 4)),
    ],
)
def test_pixels_are_ordered_by_the_numbers_in_their_names(header, shape, tmp_path):
    X, y = square()
    frame = pd.DataFrame({header(i, j): X[:, i, j] for i in range(4) for j in range(4)} | {"label": y})
    frame = frame[sorted(frame.columns)]  # as text: pixel0, pixel1, pixel10, pixel11, …
    frame.to_csv(tmp_path / "a.csv", index=False)
    images, labels = load_dataset(tmp_path / "a.csv")
    # Names that count down mean that the first pixel is the last one.
    np.testing.assert_array_equal(images, X if header(0, 0) != "16" else X[:, ::-1, ::-1])
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("name", ["col{1}_row{0}", "x{1}_y{0}", "row{0}_col{1}", "{0}x{1}", "h{0}w{1}"])
def test_words_in_the_names_of_pixels_say_which_number_is_the_row(name, tmp_path):
    X, y = forms.noise(6, (3, 8))
    frame = pd.DataFrame({name.format(i, j): X[:, i, j] for j in range(8) for i in range(3)} | {"label": y})
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(load_dataset(tmp_path / "a.csv")[0], X)


def test_a_number_that_is_a_name_and_a_position_is_told_apart(tmp_path):
    X, y = square()
    pd.DataFrame(X.reshape(12, -1)).assign(species=y).to_csv(tmp_path / "a.csv", index=False)
    path = tmp_path / "a.csv"
    assert "got columns 'species'. Pass label, or --label" in error_of(load_dataset, path)
    np.testing.assert_array_equal(load_dataset(path, label=-1)[1], y)
    pd.DataFrame(np.c_[y, X.reshape(12, -1)]).set_axis(["kind", *range(16)], axis=1).to_csv(path, index=False)
    np.testing.assert_array_equal(load_dataset(path, label=0)[1], y)
    assert error_of(load_dataset, path, label="0") == (
        f"{path}: expected a column; got '0', the name of one and the position of another. Pass its name, or in Python "
        "its position as an int."
    )


def test_the_tables_of_numpy_and_pandas_as_they_write_them_by_default(tmp_path):
    X, y = square()
    X[:, -1, -1] = 0
    numbers = np.c_[y, X.reshape(12, -1)]
    np.savetxt(tmp_path / "numpy.csv", numbers, delimiter=",")
    pd.DataFrame(numbers).to_csv(tmp_path / "pandas.csv")
    for name, label in (("numpy.csv", None), ("numpy.csv", 0), ("pandas.csv", 1)):
        images, labels = load_dataset(tmp_path / name, label=label)
        np.testing.assert_array_equal(images, X)
        assert labels.tolist() == y.tolist()


def test_columns_that_are_not_used_are_said(tmp_path):
    X, _ = forms.noise(3)
    for i, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "a.csv").write_text("image_id,x,y,breed,label\n0.png,1,2,a,c\n1.png,1,2,b,d\n2.png,3,4,a,c\n")
    assert describe(tmp_path / "a.csv").removeprefix(str(tmp_path / "a.csv")) == (
        ": a table, labels in 'label', 3 images of 10×12 pixels, grey, 2 classes; not used: 'x', 'y' and 'breed'"
    )
    assert load_dataset(tmp_path / "a.csv", label="breed")[1].tolist() == ["a", "b", "a"]


def test_missing_pixels_at_an_end_without_a_name_are_no_edge(tmp_path):
    X, y = square()
    rows = [f"{label},{','.join(map(str, image.ravel()[:-1]))},NA" for image, label in zip(X, y, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    sentence = f"{tmp_path / 'a.csv'}: expected a column that is clearly the label; got none."
    assert error_of(load_dataset, tmp_path / "a.csv").startswith(sentence)


def test_two_numbers_in_each_name_are_the_size(tmp_path):
    X, y = forms.noise(6, (2, 8))
    forms.write_csv(tmp_path / "a.csv", X, y, names=[f"r{i}c{j}" for i in range(2) for j in range(8)])
    np.testing.assert_array_equal(load_dataset(tmp_path / "a.csv")[0], X)


@pytest.mark.parametrize(
    "labels",
    [[0] * 40, [0] * 39 + [1], list(range(20)) * 2, [0, 9] * 20, [0.5, 1.5] * 20],
    ids=["constant", "one in forty", "half as many as rows", "not dense", "no whole numbers"],
)
def test_a_column_without_a_name_is_no_label_unless_it_clearly_is(labels, tmp_path):
    X, _ = square(40)  # whose last pixel varies
    forms.write_csv(tmp_path / "a.csv", X, labels, None)
    assert "expected a column that is clearly the label; got none." in error_of(load_dataset, tmp_path / "a.csv")
    assert load_dataset(tmp_path / "a.csv", label=0)[1].tolist() == labels or labels[0] == 0.5


@pytest.mark.parametrize("cell", ["1_0", "٣", "1e400", "0x1f", "--1"])
def test_what_only_python_reads_as_a_number_is_none(cell, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{header_of(16)}\n{ROW}\n{ROW[:-1]}{cell}\n", encoding="utf-8")
    assert f"expected a number for each pixel; got {cell!r} in line 3." in error_of(load_dataset, path)
    path.write_text(f"{header_of(16)}\n{ROW[:-1]}{cell}x\n", encoding="utf-8")
    assert "expected one column of paths, or numbers alone; got text in 'p15'." in error_of(load_dataset, path)


def test_a_table_of_paths_needs_no_header_and_its_pictures_must_be_there(tmp_path):
    X, _ = forms.noise(3)
    for i, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "a.csv").write_text("0.png,a\n1.png,b\n2.png,a\n")
    images, labels = load_dataset(tmp_path / "a.csv", label=1)
    np.testing.assert_array_equal(images, X)
    assert labels.tolist() == ["a", "b", "a"]
    for name in ("3.png", "a" * 300 + ".png", "https://x.org/3.png", "."):
        (tmp_path / "b.csv").write_text(f"path,label\n0.png,a\n{name},b\n")
        with pytest.raises(
            ValueError, match=with_gaps(f"{tmp_path / 'b.csv'}: expected paths of pictures; got 1 that are …")
        ):
            load_dataset(tmp_path / "b.csv")


def test_pictures_beside_a_table_are_those_of_the_table(tmp_path):
    X, y = forms.noise(6)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    lines = [f"images/{i}.png,{forms.CLASSES[label]}" for i, label in enumerate(y)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *lines]))
    assert load_dataset(tmp_path)[1].tolist() == ["cat", "dog", "owl"] * 2
    (tmp_path / "train.csv").unlink()
    (tmp_path / "images").rename(tmp_path / "train")
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected class folders in train; got pictures without labels. Move them into one sub-folder per "
        "class."
    )


def test_tables_of_two_datasets_and_two_splits_in_a_name_are_refused(tmp_path):
    forms.write_csv(tmp_path / "mnist_train.csv", *square())
    forms.write_csv(tmp_path / "fashion_test.csv", *square())
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected tables of one dataset; got 'fashion_test.csv' and 'mnist_train.csv'. Pass the path of "
        "one."
    )
    (tmp_path / "fashion_test.csv").rename(tmp_path / "mnist_train_test.csv")
    assert describe(tmp_path).endswith("; train 12; not used: 'mnist_train_test.csv'")


def test_the_images_of_emnists_tables_are_turned_upright_too(tmp_path):
    X, y = square()
    path = forms.write_csv(tmp_path / "emnist-letters-train.csv", X.transpose(0, 2, 1), y)
    np.testing.assert_array_equal(load_dataset(path)[0], X)
    assert describe(path).endswith("; EMNIST's images were turned upright")


def test_labels_are_text_in_all_splits_if_they_are_in_training(tmp_path):
    X, _ = square(8)
    frame = pd.DataFrame(X.reshape(8, -1)).add_prefix("pixel")
    frame["label"], frame["split"] = list("1a1a1111"), ["train"] * 4 + ["test"] * 4
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert load_dataset(tmp_path / "a.csv", split="test")[1].tolist() == ["1"] * 4


def test_white_is_that_of_the_training_images(tmp_path):
    X, y = forms.noise(6)
    floats = X / np.float64(255)
    np.savez(tmp_path / "a.npz", x_train=floats, y_train=y, x_test=(floats > 0.5).astype(np.uint8), y_test=y)
    images, _ = load_dataset(tmp_path / "a.npz", split="test", mode="rgb")
    np.testing.assert_array_equal(images[..., 1], 255 * (floats > 0.5))
    np.savez(tmp_path / "b.npz", x_train=257 * X.astype(np.uint16), y_train=y, x_test=X.astype(np.uint16), y_test=y)
    images, _ = load_dataset(tmp_path / "b.npz", split="test", mode="rgb")
    np.testing.assert_array_equal(images[..., 1], np.rint(X / 257))


def test_a_split_in_another_unit_than_the_training_images_is_refused(tmp_path):
    X, y = forms.noise(6)
    np.savez(tmp_path / "a.npz", x_train=X / np.float64(255), y_train=y, x_test=X, y_test=y)
    assert error_of(load_dataset, tmp_path / "a.npz", split="test") == (
        f"{tmp_path / 'a.npz'}: expected pixels of 0 to 1, as the training images have; got up to {X.max()}. Bring all "
        "splits to one unit."
    )


def test_without_training_images_a_split_must_be_named(tmp_path):
    X, y = square()
    np.savez(tmp_path / "a.npz", x_test=X, y_test=y)
    assert error_of(load_dataset, tmp_path / "a.npz") == (
        f"{tmp_path / 'a.npz'}: expected a training split; got 'test' alone. Add training images, or "
        "pass split to load_dataset."
    )
    assert len(load_dataset(tmp_path / "a.npz", split="test")[0]) == 12


def test_kaggles_test_table_without_labels_is_said(tmp_path):
    X, y = square()
    forms.write_csv(tmp_path / "train.csv", X, y)
    pd.DataFrame(X.reshape(12, -1)).add_prefix("pixel").to_csv(tmp_path / "test.csv", index=False)
    assert describe(tmp_path).endswith("; train 12; test has no labels")
    assert "expected labels in test" in error_of(load_dataset, tmp_path, split="test")


def header_of(n):
    return ",".join(["label", *(f"p{i}" for i in range(n))])


ROW = ",".join(["1", *["7"] * 16])
BAD_TABLES = {
    "empty": ("", "a table of images; got an empty file. Check the path."),
    "header alone": (header_of(16), "rows below the header; got none. Check the file."),
    "short row": (
        f"{header_of(16)}\n{ROW}\n1,2\n",
        "17 columns, as in the first row; got 2 in line 3. Correct that line.",
    ),
    "long row": (
        f"{header_of(16)}\n{ROW}\n{ROW},3\n",
        "17 columns, as in the first row; got 18 in line 3. Correct that line.",
    ),
    "no number": (
        f"{header_of(16)}\n{ROW}\n{ROW[:-1]}x\n",
        "a number for each pixel; got 'x' in line 3. Correct the line, or remove it.",
    ),
    "missing pixel": (
        f"{header_of(16)}\n{ROW}\n{ROW[:-1]}\n",
        "a number for each pixel; got '' in line 3. Correct the line, or remove it.",
    ),
    "NaN": (
        f"{header_of(16)}\n{ROW}\n{ROW[:-1]}nan\n",
        "a number for each pixel; got 'nan' in line 3. Correct the line, or remove it.",
    ),
    "missing label": (
        f"{header_of(16)}\n{ROW}\n{ROW[1:]}\n",
        "a label in each row; got '' in line 3. Correct the line, or remove it.",
    ),
    "ids alone": (
        "id,label\n1,3\n2,4\n",
        "16 columns of pixels or more, or a column of paths; got 0 beside the label. Check the file.",
    ),
    "no square": (
        f"{header_of(17)}\n{ROW},3\n",
        "rows of a square number of pixels; got rows of 17 numbers. Store them as images.",
    ),
    "two columns of text": (
        "label,photo,thumb\n1,a.png,b.png\n",
        "one column of paths, or numbers alone; got text in 'photo' and 'thumb'. Remove the others.",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_is_none_is_refused(text, sentence, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert error_of(load_dataset, path) == f"{path}: expected {sentence}"


def test_a_label_that_could_be_several_columns_or_none_is_asked_for(tmp_path):
    X, y = square()
    path = forms.write_csv(tmp_path / "a.csv", X, y, "kind,{}")
    assert error_of(load_dataset, path) == (
        f"{path}: expected one column named label, labels, class, classid or so; got columns 'kind', 'pixel0', "
        "'pixel1', 'pixel2', 'pixel3' and 12 more. Pass label, or --label on the command line."
    )
    assert error_of(load_dataset, path, label="knd") == (
        f"{path}: expected a column 'knd'; got 'kind', 'pixel0', 'pixel1', 'pixel2', 'pixel3' and 12 more. Pass one of "
        "them, or its position, from 0. Did you mean 'kind'?"
    )
    forms.write_csv(path, X, X[:, -1, -1] % 3, None)
    pd.DataFrame(np.c_[y, X.reshape(12, -1)[:, :-1], y]).to_csv(path, header=False, index=False)
    assert error_of(load_dataset, path) == (
        f"{path}: expected a column that is clearly the label; got none. Pass label=0 for the first column or label=-1 "
        "for the last one."
    )


def test_a_packed_table_that_is_damaged_or_a_bomb_is_refused(tmp_path):
    path = forms.write_csv(tmp_path / "a.csv.gz", *square())
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ValueError, match=with_gaps(f"{path}: expected a readable table; got EOFError(…). …")):
        load_dataset(path)
    path.write_bytes(gzip.compress(b"0," * 2**26))
    with pytest.raises(ValueError, match=with_gaps(f"{path}: expected a table of pixels; got too long a line…")):
        load_dataset(path)


# Archives


@pytest.mark.parametrize(
    ("names", "split", "size"),
    [
        (("X", "y"), None, 12),
        (("images", "labels"), None, 12),
        (("data", "target"), None, 12),
        (("X_val", "y_val"), "val", 12),
    ],
)
def test_arrays_are_found_by_their_usual_names(names, split, size, tmp_path):
    X, y = square()
    np.savez(tmp_path / "a.npz", **dict(zip(names, (X, y), strict=True)), extra=np.zeros(3))
    images, labels = load_dataset(tmp_path / "a.npz", split=split)
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)
    assert describe(tmp_path / "a.npz").endswith("; not used: 'extra'")


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(25,), (5, 5), (5, 5, 1), (1, 5, 5), (3, 5, 5)])
def test_arrays_keep_their_dtype_and_get_their_channels_last(dtype, shape, tmp_path):
    X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 256, (6, *shape)).astype(dtype)
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(6) % 2)
    images, _ = load_dataset(tmp_path / "a.npz")
    assert images.dtype == X.dtype
    np.testing.assert_array_equal(images, np.moveaxis(X, 1, 3) if shape[0] == 3 else X.reshape(6, 5, 5))


AXIS = "one axis of 1, 3 or 4 channels, the first or the last of an image"
SAVE_AGAIN = "Save it again with np.savez_compressed(path, X=X, y=y)."
BAD_ARRAYS = {
    "one-hot": (
        {"X": np.zeros((3, 4, 4)), "y": np.eye(3)},
        "one label per image; got 3 numbers (one-hot). Save y.argmax(axis=1).",
    ),
    "several labels": (
        {"X": np.zeros((3, 4, 4)), "y": np.ones((3, 2))},
        "one label per image; got 2 numbers (several labels). Choose one of them.",
    ),
    "too few labels": (
        {"X": np.zeros((3, 4, 4)), "y": np.zeros(2)},
        "3 labels, one per image; got an array of shape (2,). Check it.",
    ),
    "objects": (
        {"X": np.zeros((3, 4, 4)), "y": np.array(["a", None, 3], object)},
        f"numbers or text in y; got Python objects, which can run code. {SAVE_AGAIN}",
    ),
    "NaN label": (
        {"X": np.zeros((3, 4, 4)), "y": np.array([0, np.nan, 1])},
        "labels that are whole numbers or text; got nan. Check the file.",
    ),
    "NaN pixel": (
        {"X": np.full((3, 4, 4), np.nan), "y": np.zeros(3)},
        "finite pixels; got some that are NaN or infinite. Check the file.",
    ),
    "channels": (
        {"X": np.zeros((3, 5, 5, 5)), "y": np.zeros(3)},
        f"{AXIS}; got an array of shape (3, 5, 5, 5). Store it with the shape (n, height, width, channels).",
    ),
    "no images": (
        {"X": np.zeros((0, 4, 4)), "y": np.zeros(0)},
        "images, as rows of real numbers; got an array of shape (0, 4, 4) of float64. Check the file.",
    ),
    "names": (
        {"a": np.zeros((3, 4, 4)), "b": np.zeros(3)},
        f"arrays X and y, or such of splits, as x_train and y_train; got 'a' and 'b'. {SAVE_AGAIN}",
    ),
    "two of one kind": (
        {"X": np.zeros((3, 4, 4)), "images": np.zeros((3, 4, 4)), "y": np.zeros(3)},
        "one dataset; got 'images' and 'X'. Move all but one away.",
    ),
}


@pytest.mark.parametrize(("arrays", "sentence"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_no_images_are_refused(arrays, sentence, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    assert error_of(load_dataset, path) == f"{path}: expected {sentence}"


def test_archives_that_are_damaged_or_unpack_without_bounds_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.zeros((70_000, 32, 32), np.uint8), y=np.zeros(70_000, np.uint8))
    with pytest.raises(
        ValueError, match=with_gaps(f"{path}: expected an archive that unpacks to at most …; got one …")
    ):
        load_dataset(path)
    np.savez_compressed(path, X=forms.noise(50)[0], y=np.zeros(50))
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        assert read_or_refused(lambda file: load_dataset(file)[0], path) is None or at < len(content)
    with ZipFile(path, "w") as archive:
        for name, array in (("X", np.zeros((3, 4, 4))), ("y", np.zeros(3))):
            header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999, {array.size}), }}".ljust(117)
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00v\x00" + header.encode() + b"\n" + array.tobytes())
    with pytest.raises(ValueError, match=with_gaps(f"{path}: expected X as large as its header says; got …")):
        load_dataset(path)


def test_only_svhns_ten_is_zero(tmp_path):
    from scipy.io import savemat

    X = forms.noise(4, (32, 32, 3))[0]
    path = tmp_path / "test_32x32.mat"
    for labels, expected in (
        ([10, 1, 2, 3], [0, 1, 2, 3]),
        ([10, 0, 2, 3], [10, 0, 2, 3]),
        ([20, 1, 2, 3], [20, 1, 2, 3]),
    ):
        savemat(path, {"X": X.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]})
        assert load_dataset(path)[1].tolist() == expected
    savemat(path, {"X": X, "y": np.arange(4)[:, None]})
    with pytest.raises(
        ValueError, match=with_gaps(f"{path}: expected X (height, width, channels, n) and y (n, 1), as …")
    ):
        load_dataset(path)


def test_matrices_are_those_that_scipy_reads(tmp_path):
    from scipy.io import loadmat, savemat

    rng = np.random.default_rng(0)
    kinds = (np.uint8, np.int16, np.int32, np.float32, np.float64)
    arrays = {f"a{i}": (100 * rng.random((3, i + 1, 2))).astype(kind) for i, kind in enumerate(kinds)}
    for compressed in (True, False):
        savemat(
            tmp_path / "a.mat",
            arrays | {"text": "words", "cell": np.array([1, "b"], object)},
            do_compression=compressed,
        )
        found, expected = read_matrices(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat")
        assert found.keys() == arrays.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("compressed", [True, False])
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_mat_file_is_refused_or_read(compressed, data, tmp_path):
    from scipy.io import savemat

    path = tmp_path / "a.mat"
    X, y = forms.noise(4, (5, 6, 3))
    savemat(path, {"X": X.transpose(1, 2, 3, 0), "y": y[:, None]}, do_compression=compressed)
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read_or_refused(lambda file: load_dataset(file)[0], path)


def test_a_mat_file_that_unpacks_without_bounds_or_is_of_another_version_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    start = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    packed = zlib.compress(bytes(2**26))
    path.write_bytes(start + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(ValueError, match=with_gaps(f"{path}: expected elements that unpack to at most …")):
        load_dataset(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert "expected a .mat file of version 5; got one of version 7.3. Save it again" in error_of(load_dataset, path)


# Parquet


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [
        ([0, -1, 1], ["a", "b"], "labels; got -1, which hides them. Pass another split."),
        ([0, 2, 1], ["a", "b"], "labels from 0 to 1, as there are so many names; got 2. Check the file."),
    ],
)
def test_labels_of_parquet_that_are_none_are_refused(labels, names, sentence, tmp_path):
    path = tmp_path / "a.parquet"
    forms.write_parquet(path, forms.noise(3)[0], labels, names)
    assert error_of(load_dataset, path) == f"{path}: expected {sentence}"


def test_parquet_takes_whole_floats_as_labels_and_no_column_of_splits(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    columns = {"image": [forms.png(image) for image in forms.noise(3)[0]], "label": [0.0, 1.0, 2.0]}
    parquet.write_table(pa.table(columns), path)
    assert load_dataset(path)[1].tolist() == [0, 1, 2]
    parquet.write_table(pa.table(columns | {"split": ["train", "train", "test"]}), path)
    got = "got a column 'split' in one file. Write a file, such as train.parquet, for each."
    assert error_of(load_dataset, path) == f"{path}: expected a file for each split; {got}"


def test_missing_pictures_and_labels_of_parquet_are_named_by_their_row(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "train_0.parquet"
    picture = {"bytes": forms.png(forms.noise(1)[0][0]), "path": None}
    for pictures, labels in (
        ([picture, None], [0, 1]),
        ([picture, {"bytes": None, "path": "x"}], [0, 1]),
        ([picture] * 2, [0, None]),
    ):
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        parquet.write_table(pa.table({"img": pa.array(pictures, kind), "label": labels}), path)
        assert error_of(load_dataset, tmp_path) == (
            f"{path}: expected a picture and a label in each row; got none in row 1. Remove the row."
        )
    path.unlink()
    path = tmp_path / "train-00000-of-00002.parquet"
    forms.write_parquet(path, forms.noise(3)[0], [0, 1, 2])
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected 2 files, numbered from 0; got 'train-00000-of-00002.parquet'. Add or move away files."
    )
    forms.write_parquet(tmp_path / "train-00001-of-00002.parquet", forms.noise(3)[0], [0, 1, 2], ["dog", "cat", "owl"])
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected the same classes in all files; got others in some files. Pass the path of one file."
    )
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    path = path.rename(tmp_path / "train_0.parquet")
    path.write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(ValueError, match=with_gaps(f"{path}: expected a readable Parquet file; got …")):
        load_dataset(path)


# What else is refused


@pytest.mark.parametrize("name", ["no such", "a.txt", "a.png"])
def test_what_is_no_dataset_is_refused(name, tmp_path):
    path = tmp_path / name
    if name != "no such":
        path.write_bytes(b"x")
    got = {
        "no such": "no such path. Check the path.",
        "a.txt": "another file. Check the path.",
        "a.png": "one picture. `cnnclf predict` classifies single pictures.",
    }[name]
    for function in (load_dataset, describe):
        wanted = "a folder of class folders, IDX files, .npz, .csv, .parquet or .mat"
        assert error_of(function, path) == f"{path}: expected {wanted}; got {got}"


@pytest.mark.parametrize(
    ("names", "files", "n", "at"),
    [
        (["data_batch_1", "test_batch", "batches.meta"], [f"data_batch_{i}.bin" for i in range(1, 6)], 3073, 1),
        (["data_batch_1.bin", "test_batch.bin"], [f"data_batch_{i}.bin" for i in range(1, 6)], 3073, 1),
        (["meta", "train", "test"], ["train.bin"], 3074, 2),
    ],
)
def test_cifars_own_files_are_refused_with_what_converts_them(names, files, n, at, tmp_path, monkeypatch):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    sentence = error_of(load_dataset, tmp_path)
    lines = sentence.partition("version: ")[2].removesuffix(".").split("; ")
    # The advice is carried out on two rows for each file: labels, then a picture whose channels come first.
    rows = np.random.default_rng(0).integers(0, 256, (2 * len(files), n), np.uint8)
    for i, file in enumerate(files):
        (tmp_path / file).write_bytes(rows[2 * i : 2 * i + 2].tobytes())
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {"np": np})
    X, y = load_dataset(tmp_path / "train.npz")
    np.testing.assert_array_equal(X, np.moveaxis(rows[:, at:].reshape(-1, 3, 32, 32), 1, 3))
    assert y.tolist() == rows[:, at - 1].tolist()


def test_a_label_is_for_tables(tmp_path):
    path, *_ = forms.make("folders", tmp_path)
    assert error_of(load_dataset, path, label="kind") == (
        f"{path}: expected a table for label='kind'; got class folders. Leave out label."
    )


def test_a_folder_of_one_file_is_that_file_and_of_several_without_splits_is_refused(tmp_path):
    np.savez(tmp_path / "digits.npz", X=np.zeros((2, 4, 4)), y=[0, 1])
    assert load_dataset(tmp_path)[0].shape == (2, 4, 4)
    np.savez(tmp_path / "letters.npz", X=np.zeros((2, 4, 4)), y=[0, 1])
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected files of train and test; got files whose names say no split: 'digits.npz' and "
        "'letters.npz'. Pass the path of one file."
    )


def test_two_forms_in_one_folder_are_refused(tmp_path):
    forms.make("idx", tmp_path)
    forms.make("svhn", tmp_path)
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected one dataset; got 'IDX files' and \"SVHN's .mat files\". Pass the path of a file, or "
        "move the others away."
    )


def test_a_path_of_one_file_is_that_file_alone(tmp_path):
    for form in ("idx", "tables"):
        (tmp_path / form).mkdir()
        path, _, (X, y) = forms.make(form, tmp_path / form)
        file = path / {"idx": "t10k-images-idx3-ubyte.gz", "tables": "sign_mnist_test.csv.gz"}[form]
        images, labels = load_dataset(file)
        np.testing.assert_array_equal(images, X)
        np.testing.assert_array_equal(labels, y)
        sentence = f"{file}: expected a train split; got undivided images. Leave out split."
        assert error_of(load_dataset, file, split="train") == sentence


def test_idx_files_of_several_datasets_are_told_apart_by_the_beginning_of_their_names(tmp_path):
    forms.make("emnist", tmp_path)
    forms.make("idx", tmp_path)
    assert error_of(load_dataset, tmp_path) == (
        f"{tmp_path}: expected the IDX files of one dataset; got files that begin with '' and 'emnist-letters-'. Pass "
        f"such a beginning, '{tmp_path / 'emnist-letters'}'."
    )
    assert load_dataset(tmp_path / "emnist-letters", split="test")[0].shape == (15, 12, 10)


def test_idx_images_without_labels_do_not_hide_the_others(tmp_path):
    path, (X, _), _ = forms.make("idx", tmp_path)
    (path / "t10k-labels-idx1-ubyte.gz").unlink()
    (path / "train-labels-idx1-ubyte").mkdir()  # is no file
    np.testing.assert_array_equal(load_dataset(path)[0], X)
    assert describe(path).endswith("; train 60; test has no labels")


def test_it_prints_nothing_and_warns_of_nothing(tmp_path, capsys):
    path, *_ = forms.make("folders", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset(path, size=7)
    assert capsys.readouterr() == ("", "")
    assert json.dumps(describe(path))


def test_only_the_headers_of_training_images_are_read_for_those_of_another_split(tmp_path, monkeypatch):
    for split, n in (("train", 5), ("test", 2)):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(n):
                Image.new("RGB", (6, 5), "red").save(tmp_path / split / name / f"{i}.png")
    loaded = []
    load = PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", lambda image: loaded.append(image) or load(image))
    assert load_dataset(tmp_path, split="test")[0].shape == (4, 5, 6, 3)
    assert len({id(image) for image in loaded}) <= 4
