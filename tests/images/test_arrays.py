"""What `cnnclf.images` promises: any array of images in, one checked array and its reading out."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cnnclf import CNNClassifier
from cnnclf.images._arrays import check_images
from cnnclf.images._spec import ImageLayout, infer_layout
from helpers import exactly, unhurried


def same_array(actual, expected):
    """Whether two arrays have the same shape, dtype and bytes."""
    return actual.shape == expected.shape and actual.dtype == expected.dtype and actual.tobytes() == expected.tobytes()


# How the shape of a row becomes the shape of an image


@pytest.mark.parametrize(
    ("input_shape", "image_shape", "channels_last"),
    [
        ((784,), (1, 28, 28), False),  # a perfect square is a square
        ((1,), (1, 1, 1), False),
        ((10,), (1, 1, 10), False),  # anything else is one line
        ((28, 28), (1, 28, 28), False),
        ((3, 5), (1, 3, 5), False),
        ((1, 28, 28), (1, 28, 28), False),
        ((3, 32, 48), (3, 32, 48), False),
        ((4, 32, 48), (4, 32, 48), False),
        ((32, 48, 1), (1, 32, 48), True),
        ((32, 48, 3), (3, 32, 48), True),
        ((32, 48, 4), (4, 32, 48), True),
        ((1, 3, 28), (1, 3, 28), False),  # the axis in the middle is never the channels
        ((1, 1, 1), (1, 1, 1), False),  # one pixel: both channel orders are the same image
    ],
)
def test_the_shape_of_a_row_tells_how_it_is_read(input_shape, image_shape, channels_last):
    assert infer_layout(input_shape) == ImageLayout(input_shape, image_shape, channels_last)


@pytest.mark.parametrize(
    ("input_shape", "image_shape", "channels_last"),
    [
        ((784,), (1, 14, 56), False),
        ((3072,), (3, 32, 32), False),
        ((28, 28), (1, 28, 28), False),
        ((5, 28, 28), (5, 28, 28), False),  # any number of channels, once it is said
        ((28, 28, 5), (5, 28, 28), True),
        ((3, 32, 3), (3, 32, 3), False),  # and either side of what would be ambiguous
        ((3, 32, 3), (3, 3, 32), True),
        ((3, 3, 3), (3, 3, 3), False),  # where both orders fit, the channels come first
    ],
)
def test_image_shape_decides(input_shape, image_shape, channels_last):
    assert infer_layout(input_shape, image_shape) == ImageLayout(input_shape, image_shape, channels_last)


@pytest.mark.parametrize("image_shape", [[1, 2, 3], tuple(np.arange(1, 4)), torch.Size([1, 2, 3])])
def test_image_shape_may_be_any_sequence_of_whole_numbers(image_shape):
    inferred = infer_layout((6,), image_shape).image_shape
    assert inferred == (1, 2, 3)
    assert [type(length) for length in inferred] == [int, int, int]


@pytest.mark.parametrize(
    "image_shape",
    [
        28,
        "abc",
        (28, 28),
        (1, 28, 28, 1),
        (0, 28, 28),
        (1, -28, 28),
        (1, 28, 0),
        (1.0, 28, 28),
        (True, 28, 28),
        (1, None, 28),
        {1, 2, 3},
    ],
)
def test_image_shape_must_be_three_positive_whole_numbers(image_shape):
    sentence = (
        "Expected image_shape to be three positive whole numbers (channels, height, width); "
        f"got {image_shape!r}. For a grey image of 28 by 28 pixels pass (1, 28, 28)."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout((784,), image_shape)


def test_image_shape_must_have_the_pixels_of_a_flat_row():
    sentence = (
        "Expected image_shape to have 784 pixels, as a row of X has; got (3, 16, 16) with 768. "
        "Give the (channels, height, width) whose product is the number of features."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout((784,), (3, 16, 16))


@pytest.mark.parametrize(
    ("input_shape", "image_shape", "shape_of_x", "readings"),
    [
        ((28, 28), (1, 14, 56), "(n, 28, 28)", "(1, 28, 28)"),
        ((32, 48, 3), (32, 48, 1), "(n, 32, 48, 3)", "(32, 48, 3) or (3, 32, 48)"),
    ],
)
def test_image_shape_must_be_one_of_the_readings(input_shape, image_shape, shape_of_x, readings):
    sentence = (
        f"Expected image_shape to be {readings} for X of shape {shape_of_x}; got {image_shape}. "
        "Give image_shape as (channels, height, width), or reshape X."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout(input_shape, image_shape)


@pytest.mark.parametrize(
    ("input_shape", "channels_first", "channels_last"),
    [
        ((3, 32, 3), (3, 32, 3), (3, 3, 32)),
        ((1, 28, 1), (1, 28, 1), (1, 1, 28)),  # the same pixels, but upright or lying
        ((4, 28, 1), (4, 28, 1), (1, 4, 28)),
        ((3, 3, 3), (3, 3, 3), (3, 3, 3)),  # the same shape, but other pixels
    ],
)
def test_two_different_readings_are_refused(input_shape, channels_first, channels_last):
    sentence = (
        f"Expected one possible channel order; got X of shape (n, {str(input_shape)[1:-1]}), which can be images of "
        f"(channels, height, width) = {channels_first}, channels first, or {channels_last}, channels last. "
        "Pass image_shape=(channels, height, width) to choose."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout(input_shape)


def test_an_unusual_number_of_channels_must_be_said():
    sentence = (
        "Expected 1, 3 or 4 channels as the first or the last axis of an image; got X of shape (n, 2, 28, 28). "
        "Pass image_shape=(channels, height, width) to choose the axis."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout((2, 28, 28))


@pytest.mark.parametrize(
    ("input_shape", "shape_of_x"),
    [
        ((), "(n)"),
        ((0,), "(n, 0)"),
        ((28, 0), "(n, 28, 0)"),
        ((3, 0, 28), "(n, 3, 0, 28)"),
        ((1, 1, 28, 28), "(n, 1, 1, 28, 28)"),
    ],
)
def test_a_row_has_one_to_three_axes_and_none_is_empty(input_shape, shape_of_x):
    sentence = (
        "Expected X of shape (n, features), (n, height, width), (n, channels, height, width) or "
        f"(n, height, width, channels), no length zero; got {shape_of_x}. Reshape X to one of these."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        infer_layout(input_shape)


lengths = st.integers(0, 6) | st.sampled_from([28, 784])


@unhurried
@given(
    input_shape=st.lists(lengths, max_size=5).map(tuple),
    image_shape=st.none() | st.lists(st.integers(-1, 6), max_size=4).map(tuple),
)
def test_every_shape_is_read_or_refused_with_a_value_error(input_shape, image_shape):
    try:
        layout = infer_layout(input_shape, image_shape)
    except ValueError:
        return
    assert layout.input_shape == input_shape
    assert np.prod(layout.image_shape) == np.prod(input_shape)
    assert min(layout.image_shape) > 0
    assert image_shape is None or layout.image_shape == image_shape


# Where each pixel goes


def test_a_flat_row_is_in_channel_height_width_order():
    pixels, _ = check_images(np.arange(12)[np.newaxis], image_shape=(2, 2, 3))
    assert pixels.tolist() == [[[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]]


def test_channels_last_are_moved_to_the_front():
    # Two pixels side by side, red-green-blue each.
    pixels, layout = check_images([[[[1, 2, 3], [4, 5, 6]]]], image_shape=(3, 1, 2))
    assert pixels.tolist() == [[[[1, 4]], [[2, 5]], [[3, 6]]]]
    assert layout == ImageLayout((1, 2, 3), (3, 1, 2), channels_last=True)


def test_a_grey_stack_gains_its_channel_axis():
    pixels, layout = check_images(np.arange(12).reshape(2, 2, 3))
    assert pixels.tolist() == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8], [9, 10, 11]]]]
    assert layout == ImageLayout((2, 3), (1, 2, 3), channels_last=False)


stacks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=5))


@unhurried
@given(images=stacks)
def test_one_stack_reads_the_same_in_every_arrangement(images):
    n, c, h, w = images.shape
    arrangements = [images, images.reshape(n, -1)]
    if not c == h == w:  # there, (height, width, channels) is read as (channels, height, width), as documented
        arrangements.append(np.moveaxis(images, 1, -1))
    if c == 1:
        arrangements.append(images[:, 0])
    for arranged in arrangements:
        pixels, layout = check_images(arranged, image_shape=(c, h, w))
        assert layout.image_shape == (c, h, w)
        assert same_array(pixels, images)


# What kind of array comes out


@pytest.mark.parametrize("dtype", [np.uint8, np.bool])
def test_bytes_and_truth_values_become_uint8(dtype):
    pixels, _ = check_images(np.array([[0, 1, 1, 0]], dtype=dtype))
    assert same_array(pixels, np.array([[[[0, 1], [1, 0]]]], dtype=np.uint8))


REAL_DTYPES = ["int8", "int16", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64", "longdouble"]


@pytest.mark.parametrize("dtype", [*REAL_DTYPES, ">i2", ">f4", ">f8", "object"])
def test_every_other_real_dtype_becomes_float32(dtype):
    pixels, _ = check_images(np.array([[0, 1, 2, 127]], dtype=dtype))
    assert same_array(pixels, np.array([[[[0, 1], [2, 127]]]], dtype=np.float32))
    assert pixels.dtype.isnative


numbers = hnp.arrays(
    st.sampled_from([np.uint8, np.float16, np.float32]),
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=4),
    elements=st.integers(0, 255),
)


def unaligned(X):
    raw = bytearray(X.nbytes + 1)
    shifted = np.frombuffer(raw, X.dtype, X.size, offset=1).reshape(X.shape)
    shifted[...] = X
    return shifted


def read_only(X):
    copy = X.copy()
    copy.flags.writeable = False
    return copy


def every_other(X):
    return np.repeat(X, 2, axis=-1)[..., ::2]


ARRANGEMENTS = {
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "Fortran order": np.asfortranarray,
    "negative strides": lambda X: np.flip(np.flip(X).copy()),
    "gaps": every_other,
    "unaligned": unaligned,
    "read-only": read_only,
    "torch": torch.from_numpy,
}


@pytest.mark.parametrize("arrange", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@unhurried
@given(X=numbers)
def test_where_the_numbers_lie_in_memory_does_not_matter(arrange, X):
    expected, layout = check_images(X)
    pixels, same_layout = check_images(arrange(X))
    assert same_layout == layout
    assert same_array(pixels, expected)


WRITINGS = {
    "nested lists": np.ndarray.tolist,
    "objects": lambda X: X.astype(object),
    "float16": lambda X: X.astype(np.float16),
    "float64": lambda X: X.astype(np.float64),
    "int64": lambda X: X.astype(np.int64),
}


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS)
@unhurried
@given(X=numbers)
def test_how_the_numbers_are_written_does_not_matter(write, X):
    pixels, layout = check_images(write(X))
    assert layout == check_images(X)[1]
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, check_images(X)[0])


@pytest.mark.parametrize("arrange", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@unhurried
@given(X=numbers)
def test_the_result_can_always_be_handed_to_torch(arrange, X):
    pixels, _ = check_images(arrange(X))
    assert pixels.flags.c_contiguous
    assert pixels.flags.aligned
    assert pixels.dtype.isnative
    assert torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).shape == pixels.shape


def test_the_last_image_of_a_reversed_stack_has_no_negative_stride():
    # NumPy calls this slice contiguous, yet its first stride is negative and torch refuses it.
    last = np.zeros((5, 1, 2, 2), dtype=np.float32)[::-1][:1]
    pixels, _ = check_images(last)
    assert pixels.strides == (16, 16, 8, 4)


@unhurried
@given(X=numbers)
def test_the_input_is_never_modified(X):
    before = X.copy()
    check_images(X)
    assert same_array(X, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_nothing_is_copied_that_needs_no_conversion(dtype):
    X = np.zeros((2, 28, 28), dtype=dtype)
    assert np.shares_memory(check_images(X)[0], X)


def test_a_memmap_is_read_in_place(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(8, dtype=np.uint8).reshape(2, 4))
    X = np.load(tmp_path / "images.npy", mmap_mode="r")
    pixels, _ = check_images(X)
    assert np.shares_memory(pixels, X)
    assert pixels.tolist() == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]]


# What may come in


FRAME = {"left": [1.0, 4.0], "middle": [2.0, 5.0], "right": [3.0, 6.0]}


class WithArray:
    def __array__(self, dtype=None, copy=None):
        return np.array(list(FRAME.values())).T


class WithDlpack:
    """What the array API standard asks for, and nothing more."""

    def __init__(self):
        self.data = np.array(WithArray())

    def __dlpack__(self, **keywords):
        return self.data.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2, 3], [4, 5, 6]],
        ((1, 2, 3), (4, 5, 6)),
        [np.array([1, 2, 3]), np.array([4, 5, 6])],
        [torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])],
        pd.DataFrame(FRAME),
        pd.DataFrame(FRAME, dtype="Int64"),
        pd.DataFrame(FRAME).astype({"left": object}),
        pd.DataFrame(FRAME).set_axis(["detach", "nnz", "toarray"], axis=1),
        pl.DataFrame(FRAME),
        np.ma.masked_array([[1, 2, 3], [4, 5, 6]], mask=False),
        np.array([["1", "2", "3"], ["4", "5", "6"]], dtype=object),
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True),
        torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.bfloat16),
        torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int64),
        WithArray(),
        WithDlpack(),
    ],
    ids=[
        "lists",
        "tuples",
        "list of arrays",
        "list of tensors",
        "pandas",
        "pandas extension dtype",
        "pandas with an object column",
        "pandas with column names like methods",
        "polars",
        "masked array without a mask",
        "objects that say numbers",
        "torch with gradient",
        "torch bfloat16",
        "torch int64",
        "__array__",
        "__dlpack__",
    ],
)
def test_every_array_like_is_read(X):
    pixels, layout = check_images(X)
    assert same_array(pixels, np.array([[[[1, 2, 3]]], [[[4, 5, 6]]]], dtype=np.float32))
    assert layout == ImageLayout((3,), (1, 1, 3), channels_last=False)


def test_a_byte_tensor_stays_bytes():
    pixels, _ = check_images(torch.arange(8, dtype=torch.uint8).reshape(2, 2, 2))
    assert same_array(pixels, np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2))


# What is refused, and in which words


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_array, scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_matrices_are_refused(sparse):
    sentence = f"Expected a dense array of images; got a sparse {sparse.__name__}. Use X.toarray() to convert it."
    with pytest.raises(TypeError, match=exactly(sentence)):
        check_images(sparse(np.eye(4)))


def test_masked_values_are_refused():
    sentence = (
        "Expected a value for every pixel; got a masked array with masked values. Fill them with X.filled(value)."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.ma.masked_equal([[0, 1, 2, 3]], 2))


@pytest.mark.parametrize(
    ("X", "found"),
    [
        ([[1, 2, 3], [4, 5]], "(3,) for the first and (2,) for row 1"),
        ([np.zeros((28, 28))] * 3 + [np.zeros((28, 30))], "(28, 28) for the first and (28, 30) for row 3"),
        ([(np.zeros((8, 8)), 3), (np.zeros((8, 8)), 5)], "rows of type tuple that are no arrays"),  # image and label
    ],
)
def test_images_of_several_sizes_are_refused(X, found):
    sentence = (
        f"Expected images that all have one size; got {found}. "
        "Give one array per image, resized or padded to one size, and stack them with np.stack."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize(
    ("X", "what", "shown"),
    [
        (5, "scalar", "5"),
        (None, "scalar", "None"),
        ([], "1D", "ndarray of shape (0,)"),
        ([1, 2], "1D", "ndarray of shape (2,)"),
        (np.zeros(400_000), "1D", "ndarray of shape (400000,)"),
        (pd.Series([np.zeros((8, 8))] * 3), "1D", "ndarray of shape (3,) of ndarray"),
    ],
)
def test_less_than_two_axes_are_refused_in_the_words_of_scikit_learn(X, what, shown):
    sentence = (
        f"Expected 2D array, got {what} array instead: {shown}. "
        "Reshape your data using array.reshape(1, -1) if it is a single row, "
        "or stack your images with np.stack(images)."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


class Pairs(torch.utils.data.Dataset):
    """Four images with a label each."""

    def __getitem__(self, i):
        return np.zeros((8, 8)), i

    def __len__(self):
        return 4


PICTURE = Image.new("L", (8, 8))
DECODE = "If they are an encoded picture, decode it with np.asarray(PIL.Image.open(io.BytesIO(data)))."
READ = "If it is a path, read the pictures first, for example with cnnclf.load_image_folder."
STACK = "Make one array of it, for example with np.stack(list(images))."
CONVERT = 'Convert each with np.asarray(image.convert("RGB")), or "L", and stack them with np.stack.'


@pytest.mark.parametrize(
    ("X", "found", "advice"),
    [
        ("digits/7.png", "the text 'digits/7.png'", READ),
        (Path("digits"), "the path 'digits'", READ),
        (["7.png", "8.png"], "2 rows of type str_, the first the text '7.png'", READ),
        (pd.Series([b"PNG" * 30] * 300), "300 rows of type bytes, the first 90 bytes", DECODE),
        (pd.DataFrame({"image": ["7.png"] * 5}), "5 rows of type str, the first the text '7.png'", READ),
        (b"PNG" * 200_000, "600,000 bytes", DECODE),
        (
            {"images": [[0]], "labels": [0]},
            "dict with the keys ['images', 'labels']",
            "Pass the array of images in it.",
        ),
        (
            [{"bytes": b"PNG", "path": None}] * 7,
            "7 rows of type dict, the first dict with the keys ['bytes', 'path']",
            "Pass the array of images in it.",
        ),
        (
            Pairs(),
            "Pairs",
            "Collect its images and labels in arrays, for example X, y = map(np.stack, zip(*dataset)).",
        ),
        (
            torch.utils.data.DataLoader(Pairs()),
            "DataLoader",
            "Collect its images and labels in tensors, for example X, y = map(torch.cat, zip(*loader)).",
        ),
        ((np.zeros((8, 8)) for _ in range(3)), "generator", STACK),
        ({1, 2}, "set", STACK),
        (PICTURE, "PIL's Image", CONVERT),
        (pd.Series([PICTURE, PICTURE]), "2 rows of type Image, the first PIL's Image", CONVERT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_images_that_are_no_array_are_named_with_what_to_do(X, found, advice):
    with pytest.raises(TypeError, match=exactly(f"Expected X to be one array of images; got {found}. {advice}")):
        check_images(X)


def test_what_the_refusals_say_to_do_works():
    dataset = Pairs()
    X, y = map(np.stack, zip(*(dataset[i] for i in range(4)), strict=True))
    assert check_images(X)[0].shape == (4, 1, 8, 8)
    assert y.tolist() == [0, 1, 2, 3]
    X, y = map(torch.cat, zip(*torch.utils.data.DataLoader(dataset, batch_size=3), strict=True))
    assert check_images(X)[0].shape == (4, 1, 8, 8)
    assert check_images(np.stack([np.asarray(PICTURE)]))[0].shape == (1, 1, 8, 8)
    data = io.BytesIO()
    PICTURE.save(data, "PNG")
    assert np.asarray(Image.open(io.BytesIO(data.getvalue()))).shape == (8, 8)


def test_a_list_that_numpy_cannot_read_is_named():
    X = [torch.zeros(8, 8, requires_grad=True)] * 2
    sentence = (
        "Expected X to be one array of images; got list, which NumPy cannot read (Can't call numpy() on Tensor that "
        "requires grad. Use tensor.detach().numpy() instead). Convert it to a NumPy array."
    )
    with pytest.raises(TypeError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize(
    ("n", "size"),
    [(785, "28 × 28"), (65, "8 × 8"), (3073, "32 × 32 × 3")],  # 28 · 28 + 1, 8 · 8 + 1, 32 · 32 · 3 + 1
)
def test_a_label_left_in_the_columns_is_warned_of(n, size):
    table = pd.DataFrame(np.zeros((2, n)), columns=["label", *(f"pixel{i}" for i in range(n - 1))])
    sentence = (
        f"X has rows of {n} = {n - 1} + 1 numbers, which are read as one line of {n} pixels; {n - 1} would be images "
        f"of {size}. Drop the column that is no pixel, such as a label or a row number, or pass "
        f"image_shape=(1, 1, {n}) if a line is right."
    )
    with pytest.warns(UserWarning, match=exactly(sentence)):
        check_images(table)


def test_the_warning_of_a_column_too_many_names_the_line_of_the_fit():
    clf = CNNClassifier("tiny", max_epochs=1)
    with pytest.warns(UserWarning, match="one line of 785 pixels") as caught:
        clf.fit(np.zeros((4, 785)), [0, 1, 0, 1])
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("n", "image_shape"),
    [(784, None), (3072, None), (786, None), (50, None), (785, (1, 1, 785)), (785, (5, 157, 1))],
)
def test_rows_of_other_lengths_and_of_a_given_shape_are_not_warned_of(n, image_shape):
    check_images(np.zeros((2, n)), image_shape=image_shape)  # any warning is an error here


@pytest.mark.parametrize("shape", [(0, 3), (0, 28, 28), (0, 0)])
def test_no_images_are_refused_in_the_words_of_scikit_learn(shape):
    sentence = f"Found array with 0 sample(s) (shape={shape}) while a minimum of 1 is required."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.empty(shape))


@pytest.mark.parametrize(
    ("X", "image_shape"),
    [
        (np.empty((0, 4), dtype=np.uint8), (1, 2, 2)),
        (np.empty((0, 5, 6)), (1, 5, 6)),
        (np.empty((0, 5, 6, 3)), (3, 5, 6)),
    ],
)
def test_no_images_are_an_empty_stack_where_that_is_allowed(X, image_shape):
    pixels, layout = check_images(X, min_samples=0)
    assert pixels.shape == (0, *image_shape)
    assert layout.image_shape == image_shape


def test_no_features_are_refused_in_the_words_of_scikit_learn():
    sentence = "Found array with 0 feature(s) (shape=(12, 0)) while a minimum of 1 is required."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.empty((12, 0)))


@pytest.mark.parametrize("shape", [(2, 1, 1, 28, 28), (2, 0, 28)])
def test_five_axes_or_an_empty_one_are_refused(shape):
    sentence = (
        "Expected X of shape (n, features), (n, height, width), (n, channels, height, width) or "
        f"(n, height, width, channels), no length zero; got (n, {str(shape[1:])[1:-1]}). Reshape X to one of these."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused_in_the_words_of_scikit_learn(dtype):
    sentence = f"Complex data not supported: expected real pixels; got X of dtype {dtype}. Pass X.real or np.abs(X)."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.zeros((2, 4), dtype=dtype))


@pytest.mark.parametrize("dtype", ["<U1", "|S1", "StringDType()"])
def test_strings_are_refused_in_the_words_of_scikit_learn(dtype):
    X = np.array([["1", "2"]], dtype=np.dtypes.StringDType() if dtype == "StringDType()" else dtype)
    sentence = (
        f"dtype='numeric' is not compatible with arrays of bytes/strings: got X of dtype {dtype}. "
        "Convert your data to numeric values explicitly instead."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize("dtype", ["datetime64[D]", "timedelta64[s]", "|V4", "[('red', 'u1'), ('green', 'u1')]"])
def test_dtypes_that_are_no_numbers_are_refused(dtype):
    X = np.zeros((2, 4), dtype=[("red", "u1"), ("green", "u1")] if dtype.startswith("[") else dtype)
    sentence = f"Expected pixels of a real numeric dtype; got X of dtype {dtype}. Convert it to float32."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("cat", "could not convert string to float: 'cat'"),
        ([1, 2], "setting an array element with a sequence"),
        pytest.param(10**400, "int too large to convert to float", id="huge"),
    ],
)
def test_objects_that_do_not_convert_are_refused(value, reason):
    X = np.zeros((1, 2), dtype=object)
    X[0, 0] = value
    sentence = (
        f"Expected a number for every pixel; got X of dtype object with another value: {reason}. "
        "Give every pixel as a number."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize("value", [{"foo": "bar"}, 1j, pd.NA])
def test_objects_that_are_no_numbers_are_refused_in_the_words_of_python(value):
    sentence = (
        "Expected a number for every pixel; got X of dtype object with another value: float() argument must be "
        f"a string or a real number, not '{type(value).__name__}'. Give every pixel as a number."
    )
    with pytest.raises(TypeError, match=exactly(sentence)):
        check_images(np.array([[0.5, value]], dtype=object))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, object, ">f8"])
@pytest.mark.parametrize("others", [0.0, np.inf])
def test_nan_is_refused(dtype, others):
    X = np.full((3, 4), others, dtype=dtype)
    X[1, 2] = np.nan
    sentence = "Input X contains NaN. Fill the missing pixels or drop those images before you pass X."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(X)


@pytest.mark.parametrize("X", [[[1, None]], pl.DataFrame({"a": [1, None]})])
def test_what_is_missing_counts_as_nan(X):
    with pytest.raises(ValueError, match=r"\AInput X contains NaN\."):
        check_images(X)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39, -1e39])
@pytest.mark.parametrize("container", [np.array, torch.tensor, list, lambda X: np.array(X, dtype=object)])
def test_infinity_and_what_overflows_float32_are_refused(container, value):
    sentence = (
        "Input X contains infinity or a value too large for dtype('float32'). "
        "Scale or clip the pixels before you pass X."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(container([[0.0, value]]))


def test_large_finite_pixels_are_accepted_though_their_sum_overflows():
    largest = np.finfo(np.float32).max
    pixels, _ = check_images(np.full((2, 4), largest))
    assert (pixels == largest).all()


def test_floating_point_errors_set_to_raise_change_nothing():
    # 1e-46 underflows float32.
    with np.errstate(all="raise"):
        pixels, _ = check_images(np.array([[1e-46, 1.0]]))
    assert pixels.tolist() == [[[[0.0, 1.0]]]]


# A second array must be like the first


@unhurried
@given(X=numbers)
def test_a_known_layout_reads_the_same_array_the_same_way(X):
    pixels, layout = check_images(X)
    again, same_layout = check_images(X, layout=layout)
    assert same_layout == layout
    assert same_array(again, pixels)


def test_a_known_layout_keeps_the_image_shape_it_was_given():
    _, layout = check_images(np.zeros((2, 6)), image_shape=(1, 2, 3))
    pixels, _ = check_images(np.zeros((4, 6)), layout=layout)
    assert pixels.shape == (4, 1, 2, 3)


@pytest.mark.parametrize("estimator", ["CNNClassifier", "ONNXClassifier"])
def test_another_number_of_features_is_refused_in_the_words_of_scikit_learn(estimator):
    sentence = f"X has 1 features, but {estimator} is expecting 4 features as input."
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images([[1.0]], layout=infer_layout((4,)), estimator=estimator)


@pytest.mark.parametrize(
    ("shape", "fitted", "expected"),
    [
        ((5, 28, 30), (28, 28), "(n, 28, 28)"),
        ((28, 28), (28, 28), "(n, 28, 28)"),  # one image on its own
        ((5, 28, 28), (784,), "(n, 784)"),
        ((5, 3, 32, 48), (32, 48, 3), "(n, 32, 48, 3)"),
        ((5, 28, 0), (28, 28), "(n, 28, 28)"),
    ],
)
def test_images_of_another_shape_are_refused(shape, fitted, expected):
    sentence = (
        f"X has shape {shape}, but CNNClassifier is expecting {expected} as input. "
        "Give the images in the shape they were fitted in, a single one as image[np.newaxis]."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        check_images(np.zeros(shape), layout=infer_layout(fitted))


# The company it keeps


HEAVY = {"numpy", "onnxruntime", "pandas", "polars", "scipy", "skorch", "sklearn", "torch"}


def test_importing_it_loads_numpy_and_nothing_heavier():
    script = f"import sys, cnnclf.images._arrays; print(*sorted({HEAVY} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "numpy\n"
