"""Saved predictions of any classifier: what is read, and what is refused in words that say where and what to do."""

import io
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from cnnclf import Evaluation
from cnnclf._utils.text import quote_all
from cnnclf.evaluation import _predictions as predictions
from cnnclf.evaluation._predictions import read_predictions

PROBA = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]])


@pytest.fixture
def save(tmp_path):
    """Write a file and give its path."""

    def write(content, name="said.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def pack(save):
    """Write arrays into an NPZ file and give its path."""

    def write(**arrays):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return save(stream.getvalue(), "said.npz")

    return write


def same(a, b):
    """Whether two evaluations hold the same arrays, of the same types."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("y_true", "y_pred", "classes", "y_proba")]
    return all(np.array_equal(x, y) and getattr(x, "dtype", None) == getattr(y, "dtype", None) for x, y in pairs)


def test_probabilities_have_a_column_a_class(save):
    path = save("true,ant,bee,cow\nant,0.7,0.2,0.1\ncow,0.1,0.8,0.1\nbee,0.25,0.5,0.25\n")
    assert same(
        read_predictions(path), Evaluation.from_predictions(["ant", "cow", "bee"], PROBA, ["ant", "bee", "cow"])
    )


def test_labels_that_look_like_whole_numbers_become_numbers(save):
    path = save("7,-1,true,10\n0.7,0.2,10,0.1\n0.1,0.8,-1,0.1\n0.25,0.5,7,0.25\n")
    evaluated = read_predictions(path)
    assert same(evaluated, Evaluation.from_predictions([10, -1, 7], PROBA, [7, -1, 10]))
    assert evaluated.classes.tolist() == [7, -1, 10]


@pytest.mark.parametrize("word", ["07", "+7", "-0", "7.0", "1e1", "٧", "9" * 19, "x"])
def test_one_label_that_is_no_whole_number_leaves_all_of_them_words(save, word):
    evaluated = read_predictions(save(f"true,predicted\n7,{word}\n{word},{word}\n"))
    assert evaluated.classes.tolist() == sorted(["7", word])


def test_predicted_labels_have_one_column(save):
    path = save("predicted,true\nb,a\nb,b\nc,c\n")
    assert same(read_predictions(path), Evaluation.from_labels(["a", "b", "c"], ["b", "b", "c"]))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftrue,predicted\nK\xc3\xa4fer,Kuh\n",  # a byte order mark, as spreadsheets write it
        "true,predicted\r\nKäfer,Kuh\r\n",
        "true,predicted\n\nKäfer,Kuh\n\n",
        "true, predicted\nKäfer, Kuh",
        '"true","predicted"\n"Käfer","Kuh"\n',
    ],
)
def test_a_table_may_be_written_in_several_ways(save, content):
    assert same(read_predictions(save(content)), Evaluation.from_labels(["Käfer"], ["Kuh"]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_arrays_with_probabilities(pack, dtype):
    y_true, classes = np.array(["ant", "cow", "bee"]), np.array(["ant", "bee", "cow"])
    path = pack(y_true=y_true, y_proba=PROBA.astype(dtype), classes=classes, logits=np.zeros(3))
    assert same(read_predictions(path), Evaluation.from_predictions(y_true, PROBA.astype(dtype), classes))


def test_arrays_in_the_order_of_columns(pack):
    path = pack(y_true=[0, 2, 1], y_proba=np.asfortranarray(PROBA), classes=[0, 1, 2])
    assert same(read_predictions(path), Evaluation.from_predictions([0, 2, 1], PROBA, [0, 1, 2]))


def test_arrays_with_labels(pack):
    assert same(read_predictions(pack(y_true=[3, 5], y_pred=[5, 5])), Evaluation.from_labels([3, 5], [5, 5]))
    path = pack(y_true=[3, 5], y_pred=[5, 5], classes=[9, 5, 3])
    assert same(read_predictions(path), Evaluation.from_labels([3, 5], [5, 5], [9, 5, 3]))


def test_compressed_arrays(save):
    stream = io.BytesIO()
    np.savez_compressed(stream, y_true=[0, 1] * 50, y_pred=[0, 0] * 50)
    assert read_predictions(save(stream.getvalue(), "said.NPZ")).accuracy == 0.5


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*none\.csv"):
        read_predictions(tmp_path / "none.csv")


def refused(path):
    """The sentence with which a file is refused, without the name of the file that it begins with."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 - each caller compares the whole sentence
        read_predictions(path)
    name, sentence = str(error.value).split(": ", 1)
    assert name == str(path)
    return sentence


def refused_within(path):
    """The sentence with which a file is refused, and the most memory that took in bytes."""
    tracemalloc.start()
    try:
        return refused(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", "none"),
        ("\ntrue,predicted\na,b\n", "none"),
        ("label,predicted\na,b\n", "'label' and 'predicted'"),
        ("true\na\n", "'true'"),
        ("true,score\na,0.5\n", "'true' and 'score'"),
        ("true,true,false\n", "'true', 'true' and 'false'"),
        ("true,predicted,a,b\na,a,1,0\n", "'true', 'predicted', 'a' and 'b'"),
        ("true;a;b\na;1;0\n", "'true;a;b'"),
        (f"true,{'a' * 1000}\n", f"'true' and '{'a' * 27}...{'a' * 28}'"),  # 60 letters with its quotes
    ],
)
def test_refuses_other_columns(save, content, shown):
    assert refused(save(content)) == (
        "Expected a column true and either one column predicted or two or more columns named as the classes; got "
        f"the columns {shown}. Name them in the first line, separated by commas."
    )


@pytest.mark.parametrize(
    ("names", "shown", "column"),
    [("true,a,b,a", "a", 4), ("true,predicted,predicted", "predicted", 3), ("true,a,", "", 3)],
)
def test_refuses_columns_that_cannot_be_told_apart(save, names, shown, column):
    assert refused(save(f"{names}\n")) == (
        f"Expected columns with different names of 1 to 100 characters; got '{shown}' in column {column}. "
        "Name each column after its class."
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("true,a,b\n", "Expected one line or more below the names of the columns; got none. Write one per image."),
        (
            "true,a,b\na,1,0\n\na,1\n",
            "Expected 3 cells in line 4, as in the first; got 2. Write one per column, separated by commas.",
        ),
        (
            "true,a,b\na,1,0\nc,1,0\n",
            (
                "Expected one of the classes 'a' and 'b' in line 3, column true; got 'c'. "
                "Name a column after it, or leave the line out."
            ),
        ),
        (
            'true,a,b\na,"0,5","0,5"\n',
            "Expected a probability in line 2, column a; got '0,5'. Write it as in 0.25.",
        ),
        ("true,a,b\na,0.5,\n", "Expected a probability in line 2, column b; got ''. Write it as in 0.25."),
        (
            "true,predicted\na,b\n,b\n",
            "Expected a label of 1 to 100 characters in line 3, column true; got 0. Write one, or leave the line out.",
        ),
        (
            f"true,predicted\na,{'b' * 101}\n",
            (
                "Expected a label of 1 to 100 characters in line 2, column predicted; got 101. "
                "Write one, or leave the line out."
            ),
        ),
        (
            "true,a,b\na,1,0\na,0.5,0.4\n",
            (
                "Expected each row of y_proba to sum to 1; got 0.9 in row 1. Pass the output of predict_proba. "
                "Rows are counted from 0, below the names of the columns."
            ),
        ),
        (
            "true,a,b\na,nan,0\n",
            (
                "Expected probabilities between 0 and 1; got nan in row 0 of y_proba. Pass the output of "
                "predict_proba, not logits. Rows are counted from 0, below the names of the columns."
            ),
        ),
        (
            "true,a,b\na,3,-2\n",
            (
                "Expected probabilities between 0 and 1; got 3 in row 0 of y_proba. Pass the output of "
                "predict_proba, not logits. Rows are counted from 0, below the names of the columns."
            ),
        ),
        (
            "true,predicted\na,a\n",
            "Expected a row of two or more classes; got shape (1,). Pass clf.classes_.",
        ),
        (
            'true,predicted\na,"b',
            "Expected a CSV file; got one whose line 2 cannot be read (unexpected end of data). Save the table again.",
        ),
        (
            f"true,predicted\na,{'b' * 200_000}\n",
            (
                "Expected a CSV file; got one whose line 2 cannot be read (field larger than field limit (131072)). "
                "Save the table again."
            ),
        ),
        (
            b"true,predicted\nK\xe4fer,Kuh\n",
            (
                "Expected text in UTF-8; got 'utf-8' codec can't decode byte 0xe4 in position 16: invalid continuation "
                "byte. Save the table as CSV in UTF-8."
            ),
        ),
    ],
)
def test_refuses_tables_that_hold_no_predictions(save, content, sentence):
    assert refused(save(content)) == sentence


@pytest.mark.parametrize(
    ("name", "limit", "content", "sentence"),
    [
        (
            "LARGEST_FILE",
            20,
            "true,predicted\na,b\nb,b\n",
            "Expected at most 20 bytes; got more. Evaluate fewer images.",
        ),
        (
            "MOST_IMAGES",
            1,
            "true,predicted\na,b\nb,b\n",
            "Expected at most 1 images; got more. Evaluate a part of them.",
        ),
        ("MOST_CLASSES", 2, "true,a,b,c\n", "Expected at most 2 classes; got more. Evaluate a part of them."),
        (
            "MOST_CLASSES",
            2,
            "true,predicted\na,b\nc,c\n",
            "Expected at most 2 classes; got more. Evaluate a part of them.",
        ),
    ],
)
def test_refuses_tables_that_are_too_large(save, monkeypatch, name, limit, content, sentence):
    monkeypatch.setattr(predictions, name, limit)
    assert refused(save(content)) == sentence


def test_reads_no_more_of_a_file_than_it_may(save, monkeypatch):
    path = save("")
    with path.open("r+b") as file:
        file.truncate(2**28)
    monkeypatch.setattr(predictions, "LARGEST_FILE", 2**20)
    sentence, peak = refused_within(path)
    assert sentence == "Expected at most 1,048,576 bytes; got more. Evaluate fewer images."
    assert peak < 2**23


def test_a_table_may_be_as_large_as_the_limits(save, monkeypatch):
    content = "true,a,b\na,1,0\n"
    for name, limit in (("LARGEST_FILE", len(content)), ("MOST_IMAGES", 1), ("MOST_CLASSES", 2)):
        monkeypatch.setattr(predictions, name, limit)
    assert read_predictions(save(content)).n_samples == 1


@pytest.mark.parametrize(
    "names",
    [["y_pred", "y_true", "y_proba"], ["y_true"], ["y_pred"], ["y_proba", "y_true"], ["classes", "y_proba"]],
)
def test_refuses_other_arrays(pack, names):
    assert refused(pack(**{key: [0, 1] for key in names})) == (
        "Expected arrays y_true and either y_proba and classes, or y_pred; got "
        f"{quote_all(sorted(names))}. Save these with numpy.savez."
    )


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"y_true": np.array(["a", "b"], dtype=object), "y_pred": ["a", "a"]},
            (
                "Expected y_true to hold words or numbers; got dtype object. "
                "Objects could run code when they are loaded, so save words with .astype(str)."
            ),
        ),
        (
            {"y_true": [0, 1], "y_proba": [["1", "0"]], "classes": [0, 1]},
            (
                "Expected y_proba to hold numbers; got dtype <U1. "
                "Objects could run code when they are loaded, so save words with .astype(str)."
            ),
        ),
        (
            {"y_true": ["a", "b" * 101], "y_pred": ["a", "a"]},
            "Expected labels of 1 to 100 characters in y_true; got <U101. Use shorter ones.",
        ),
        (
            {"y_true": [0, 1], "y_pred": [0, 1, 1]},
            "Expected one label per image, 2 in y_pred as in y_true; got 3. Pass those of the same images.",
        ),
        (
            {"y_true": [0, 1], "y_proba": PROBA[:2], "classes": [0, 1]},
            "Expected y_proba of shape (2, 2), (images, classes); got (2, 3).",
        ),
        (
            {"y_true": 0, "y_proba": PROBA[:2], "classes": [0, 1, 2]},
            "Expected y_true to be a row of one or more labels; got shape ().",
        ),
        (
            {"y_true": np.zeros(0), "y_pred": np.zeros(0), "classes": [0, 1]},
            "Expected y_true to be a row of one or more labels; got shape (0,).",
        ),
    ],
)
def test_refuses_arrays_that_hold_no_predictions(pack, arrays, sentence):
    assert refused(pack(**arrays)) == sentence


@pytest.mark.parametrize(
    ("name", "limit", "sentence"),
    [
        ("LARGEST_FILE", 1500, "Expected arrays of at most 1,500 bytes; got more. Evaluate fewer images."),
        ("MOST_IMAGES", 99, "Expected at most 99 images; got more. Evaluate a part of them."),
        ("MOST_CLASSES", 2, "Expected at most 2 classes; got more. Evaluate a part of them."),
        ("MOST_MEMBERS", 1, "Expected an archive of at most 1 arrays; got more. Save only those needed."),
    ],
)
def test_refuses_archives_that_are_too_large(save, monkeypatch, name, limit, sentence):
    stream = io.BytesIO()
    # Unpacked, each of the two takes 128 + 100 · 8 bytes.
    np.savez_compressed(stream, y_true=[0, 1, 2, 3] * 25, y_pred=[0] * 100)
    monkeypatch.setattr(predictions, name, limit)
    assert refused(save(stream.getvalue(), "said.npz")) == sentence


def test_refuses_more_classes_than_a_matrix_can_hold(pack, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_CLASSES", 2)
    path = pack(y_true=[0, 1], y_proba=PROBA[:2], classes=[0, 1, 2])
    assert refused(path) == "Expected at most 2 classes; got more. Evaluate a part of them."


def archive(compression=zipfile.ZIP_STORED, **members):
    """The bytes of an archive of NumPy files, given as bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def header(shape, descr="<i8"):
    """What a NumPy file begins with."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**15,), (3,), (0, 2**70), (-1, -2), (10**9, 10**9)])
def test_refuses_an_array_that_is_not_as_large_as_it_says(save, shape):
    size = np.prod(shape, dtype=object) * 8
    content = archive(y_true=header(shape) + bytes(16), y_pred=header((2,)) + bytes(16))
    assert refused(save(content, "said.npz")) == (
        f"Expected {size:,} bytes of y_true, by its shape {shape}; got 16. Save it again."
    )


def test_refuses_labels_without_letters(save):
    # They take no room, so that there could be any number of them.
    content = archive(y_true=header((10**15,), "<U0"), y_pred=header((10**15,), "<U0"))
    sentence = refused(save(content, "said.npz"))
    assert re.fullmatch("Expected labels of 1 to 100 characters in y_(true|pred); got <U0. Use shorter ones.", sentence)


def test_refuses_compressions_that_unpack_without_bounds(save):
    content = archive(zipfile.ZIP_LZMA, y_true=header((2,)) + bytes(16), y_pred=header((2,)) + bytes(16))
    assert refused(save(content, "said.npz")).endswith(
        ' to be a readable array; got ValueError("a compression other than NumPy\'s"). Save it again.'
    )


def test_reads_no_more_of_an_archive_than_its_entry_says(save):
    # 64 MB of zeros in 64 kB, said to be 100 bytes.
    packed = archive(zipfile.ZIP_DEFLATED, y_true=bytes(2**26), y_pred=header((2,)) + bytes(16))
    size = struct.pack("<I", 2**26)
    assert packed.count(size) == 2  # before the entry, and in the table of contents
    path = save(packed.replace(size, struct.pack("<I", 100)), "said.npz")
    sentence, peak = refused_within(path)
    assert "BadZipFile(\"Bad CRC-32 for file 'y_true.npy'\")" in sentence
    assert peak < 2**22


def test_refuses_a_header_that_has_to_be_guessed_at(save):
    content = archive(
        y_true=header((2,)).replace(b"(2,)", b"(2L)") + bytes(16),
        y_pred=header((2,)).replace(b"(2,)", b"(2L)") + bytes(16),
    )
    assert "required additional header parsing" in refused(save(content, "said.npz"))


@pytest.mark.parametrize("content", [b"", b"true,predicted\na,b\n", b"PK\x05\x06"])
def test_refuses_what_is_no_archive(save, content):
    assert refused(save(content, "said.npz")) == (
        "Expected an NPZ file; got BadZipFile('File is not a zip file'). Save it again with numpy.savez."
    )


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_file_is_read_or_refused_by_name(save, seed):
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    saved = np.savez_compressed if seed % 2 else np.savez
    saved(stream, y_true=np.array(["ant", "cow", "bee"]), y_proba=PROBA, classes=np.array(["ant", "bee", "cow"]))
    content = bytearray(stream.getvalue())
    for place in rng.integers(len(content), size=rng.integers(1, 4)):
        content[place] = rng.integers(256)
    path = save(bytes(content[: rng.integers(len(content)) if seed % 3 == 0 else None]), "said.npz")
    outcome = f"{path}: Expected nothing else."
    try:
        read_predictions(path)
    except ValueError as error:
        outcome = str(error)
    assert outcome.startswith(f"{path}: Expected ")
