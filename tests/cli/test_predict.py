"""`cnnclf predict` of tables, with a submission and a contact sheet as its results."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnclf import load_digits
from helpers import cnnclf


@pytest.fixture
def table(tmp_path):
    """Twenty digits as a table of 64 pixels, without labels."""
    X, _ = load_digits()
    return pd.DataFrame(X[:20].reshape(20, 64)).add_prefix("pixel")


def rows_of(file):
    with Path(file).open(newline="") as opened:
        return list(csv.reader(opened))


def expected(clf):
    return [str(label) for label in clf.predict(load_digits()[0][:20])]


@pytest.mark.parametrize("kind", ["cnn", "onnx"])
def test_a_submission_has_a_line_for_each_row_counted_from_one_as_kaggle_wants_it(clf, model, table, tmp_path, kind):
    table.to_csv(tmp_path / "test.csv", index=False)
    result = cnnclf("predict", model / f"digits.{kind}", tmp_path / "test.csv", "--out", tmp_path / "submission.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{tmp_path / 'submission.csv'}: 20 labels\n"
    head, *rows = rows_of(tmp_path / "submission.csv")
    assert head == ["ImageId", "Label"]
    assert rows == [[str(i), label] for i, label in enumerate(expected(clf), 1)]


@pytest.mark.parametrize("file", ["a.csv", "a.csv.gz", "a.tsv"])
def test_a_column_of_numbers_of_rows_is_kept(clf, model, table, tmp_path, file):
    table.insert(0, "id", range(500, 520))
    table.to_csv(tmp_path / file, index=False, sep="\t" if file == "a.tsv" else ",")
    cnnclf("predict", model / "digits.onnx", tmp_path / file, "--out", tmp_path / "out.csv")
    head, *rows = rows_of(tmp_path / "out.csv")
    assert head == ["id", "label"]
    assert rows == [[str(i), label] for i, label in enumerate(expected(clf), 500)]


def test_an_index_without_a_name_as_pandas_writes_it_is_kept(clf, model, table, tmp_path):
    table.set_axis(range(100, 120)).to_csv(tmp_path / "a.csv")
    cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--out", tmp_path / "out.csv")
    assert rows_of(tmp_path / "out.csv") == [
        ["id", "label"],
        *([str(i), label] for i, label in enumerate(expected(clf), 100)),
    ]


def test_an_identifier_may_be_text_beside_pixels(clf, model, table, tmp_path):
    table.insert(0, "id", [f"img{i}" for i in range(20)])
    table.to_csv(tmp_path / "a.csv", index=False)
    cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--out", tmp_path / "out.csv")
    assert rows_of(tmp_path / "out.csv")[1:] == [[f"img{i}", label] for i, label in enumerate(expected(clf))]


def test_labels_and_other_columns_are_not_used_and_that_is_said(clf, model, table, tmp_path):
    table.insert(0, "label", [""] + ["9"] * 19)  # one is missing, as labels are not read
    table["writer"] = 7
    table.to_csv(tmp_path / "a.csv", index=False)
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--json")
    assert result.stderr == f"{tmp_path / 'a.csv'}: not used: 'label' and 'writer'\n"
    assert [str(row["label"]) for row in json.loads(result.stdout)] == expected(clf)


def test_a_table_without_names_has_pixels_alone(clf, model, table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False, header=False)
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--json")
    assert [str(row["label"]) for row in json.loads(result.stdout)] == expected(clf)


def test_a_table_of_paths_is_a_table_of_pictures(model, tmp_path):
    X, _ = load_digits()
    for i in range(3):
        Image.fromarray((X[i] * 15.9).astype(np.uint8)).save(tmp_path / f"{i}.png")
    pd.DataFrame({"file": [f"{i}.png" for i in range(3)]}).to_csv(tmp_path / "a.csv", index=False)
    of_table = json.loads(cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--json").stdout)
    pictures = [tmp_path / f"{i}.png" for i in range(3)]
    of_pictures = json.loads(cnnclf("predict", model / "digits.onnx", *pictures, "--json").stdout)
    assert [row["top"] for row in of_table] == [row["top"] for row in of_pictures]
    cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--out", tmp_path / "out.csv")
    assert [row[0] for row in rows_of(tmp_path / "out.csv")] == ["file", "0.png", "1.png", "2.png"]


def test_pictures_are_named_in_a_submission(model, tmp_path):
    Image.fromarray((load_digits()[0][3] * 15.9).astype(np.uint8)).save(tmp_path / "three, or so.png")
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "three, or so.png", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0
    assert rows_of(tmp_path / "out.csv") == [["image", "label"], [str(tmp_path / "three, or so.png"), "3"]]


def test_a_contact_sheet_shows_what_the_network_sees(model, table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--show", tmp_path / "sheet.png")
    assert result.stderr == f"{tmp_path / 'sheet.png'}: the images as the network sees them\n"
    assert len(result.stdout.splitlines()) == 21
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")).astype(int)
    # Three rows of eight, and four in the last one: white is left of it, black and white in a digit.
    height, width = sheet.shape
    cells = [np.ptp(cell) for row in np.array_split(sheet, 3) for cell in np.array_split(row, 8, axis=1)]
    assert [contrast > 200 for contrast in cells] == [True] * 20 + [False] * 4
    assert height < width


def test_a_contact_sheet_of_many_images_says_how_many_it_shows(model, tmp_path):
    X, _ = load_digits()
    pd.DataFrame(X[:120].reshape(120, 64)).add_prefix("pixel").to_csv(tmp_path / "a.csv", index=False)
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv", "--show", tmp_path / "sheet.png")
    assert result.stderr == f"{tmp_path / 'sheet.png'}: the images as the network sees them (96 of 120)\n"


def test_an_image_that_cannot_be_read_leaves_the_submission_unwritten(model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "out.csv").write_text("older")
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "bad.png", "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert first.startswith(f"error: {tmp_path / 'bad.png'}: expected a picture")
    sentence = "expected a label for each image; got 1 that cannot be read. Nothing is written."
    assert last == f"error: {tmp_path / 'out.csv'}: {sentence}"
    assert (tmp_path / "out.csv").read_text() == "older"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.csv", "b.png"], "Expected one table, or pictures; got 'a.csv' and 'b.png'. Pass them one by one."),
        (["a.csv", "--out", "b.txt"], "Expected --out to end in .csv; got 'b.txt'. Change its name."),
        (
            ["a.csv", "--out", "no/b.csv"],
            "Expected --out to be in a folder that is there; got 'no/b.csv'. Make it first.",
        ),
        (["a.csv", "--out", "a.csv"], "Expected --out to be another file than what is read; got 'a.csv' for both."),
        (["a.csv", "--show", "b.jpg"], "Expected --show to end in .png; got 'b.jpg'. Change its name."),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(model, table, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    table.to_csv("a.csv", index=False)
    result = cnnclf("predict", model / "digits.onnx", *words)
    assert (result.exit_code, result.stderr) == (2, f"error: {sentence}\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n", "expected 16 columns of pixels or more, or a column of paths; got 0. Check the file."),
        ("", "expected a table of images; got an empty file. Check the path."),
        (
            ",".join(["0"] * 65) + "\n",
            "expected 64 columns of pixels, as the network takes; got 65. Name the columns, as one may be a label.",
        ),
        (
            ",".join(f"p{i}" for i in range(100)) + "\n" + ",".join(["0"] * 100) + "\n",
            "expected 64 columns of pixels, as the network takes; got 100. Pass the table that goes with the network.",
        ),
        ("file\nno.png\n", "expected paths of pictures; got 1 that are none, such as 'no.png' in line 2."),
    ],
)
def test_a_table_without_images_is_refused(model, tmp_path, content, sentence):
    (tmp_path / "a.csv").write_text(content)
    result = cnnclf("predict", model / "digits.onnx", tmp_path / "a.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'a.csv'}: {sentence}")
