"""Pictures of any kind, as the network's preparation says: as they are, resized, padded, or framed as digits."""

import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cnnclf import CNNClassifier, load_digits
from cnnclf.images._decode import FORMATS, decode
from cnnclf.images._handwriting import Frame, clean_ink, frame_ink, otsu_threshold
from cnnclf.images._pictures import as_grey, read_picture
from cnnclf.images._spec import InputSpec
from helpers import error_of

MNIST = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,), "handwriting")
DIGITS = InputSpec((8, 8), (1, 8, 8), False, "uint8", 16, (4.9,), (6.0,), "handwriting")
FASHION = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (72.9,), (90.0,), "pad")
COLOUR = InputSpec((3, 32, 32), (3, 32, 32), False, "uint8", 255, (120.0,) * 3, (60.0,) * 3, "pad")
OF_MNIST = Frame.of((28, 28))

FIVE = [(210, 80), (110, 80), (100, 190), (160, 175), (205, 220), (200, 290), (150, 320), (90, 295)]


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def five(mode="L", paper="white", ink="black", width=18):
    """A 5 drawn on paper of 300×400 pixels."""
    image = Image.new(mode, (300, 400), paper)
    ImageDraw.Draw(image).line(FIVE, fill=ink, width=width, joint="curve")
    return image


def centre_of_mass(pixels):
    pixels = pixels.astype(float)
    rows, columns = np.indices(pixels.shape)
    return float((rows * pixels).sum() / pixels.sum()), float((columns * pixels).sum() / pixels.sum())


def difference(row):
    """Mean difference of pixels 0..255 from the 5, up to a pixel in its place, as centres of mass are rounded."""
    shifted = [np.roll(row, (i, j), axis=(0, 1)).astype(float) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return min(np.abs(pixels - WANTED).mean() for pixels in shifted)


WANTED = read_picture(file_of(five()), MNIST)


# What already is as the network wants it


@pytest.mark.parametrize("preparation", [None, "resize", "pad"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("ground", [0, 255])
def test_an_image_of_the_training_set_comes_back_to_the_bit(preparation, dtype, ground):
    rng = np.random.default_rng(0)
    pixels = np.full((28, 28), ground, dtype=np.uint8)
    pixels[3:9, 2:20] = rng.integers(0, 256, (6, 18))  # not centred, and left so
    spec = replace(FASHION, preparation=preparation, dtype=dtype)
    assert np.array_equal(read_picture(file_of(Image.fromarray(pixels)), spec), pixels)


def test_the_unit_of_the_training_pixels():
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[10, 10:13] = 51, 128, 255
    floats = replace(FASHION, white=1, dtype="float32")
    row = read_picture(file_of(Image.fromarray(pixels)), floats)
    assert row.dtype == np.float32
    assert np.array_equal(row, pixels.astype(np.float32) / np.float32(255))
    # Truth values are bytes too: 0.2 becomes 0, 0.502 becomes 1.
    row = read_picture(file_of(Image.fromarray(pixels)), replace(floats, dtype="uint8"))
    assert row[10, 10:13].tolist() == [0, 1, 1]


def test_a_network_that_does_not_know_what_white_is_says_how_to_set_it():
    assert error_of(read_picture, file_of(five()), replace(MNIST, white=None)) == (
        "Expected training pixels in a usual unit, with white at 1, 16, 255 or 65535; got another. Set it with "
        "clf.input_spec_ = dataclasses.replace(clf.input_spec_, white=255), or pass pixels in that unit to predict."
    )


@pytest.mark.parametrize(
    ("shape", "channels_last"), [((784,), False), ((28, 28), False), ((1, 28, 28), False), ((28, 28, 1), True)]
)
def test_a_row_has_the_shape_that_the_network_was_trained_on(shape, channels_last):
    row = read_picture(file_of(five()), replace(MNIST, input_shape=shape, channels_last=channels_last))
    assert row.shape == shape
    assert row.ravel().tolist() == WANTED.ravel().tolist()


def test_channels_first_and_last():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = file_of(Image.fromarray(pixels))
    assert np.array_equal(read_picture(file, COLOUR), np.moveaxis(pixels, -1, 0))
    assert np.array_equal(read_picture(file, replace(COLOUR, input_shape=(32, 32, 3), channels_last=True)), pixels)


# Drawings


def test_a_drawing_is_framed_as_mnist_was():
    # The ink just fits 20×20; the digit is taller than wide. Its centre of mass is at the centre of the 28×28 field:
    # in MNIST that is the pixel 14, counted from 0, so from 13.5 to 14.5.
    rows, columns = np.flatnonzero(WANTED.any(axis=1)), np.flatnonzero(WANTED.any(axis=0))
    assert len(rows) == 20
    assert 8 < len(columns) < 20
    assert all(13.5 <= middle <= 14.5 for middle in centre_of_mass(WANTED))
    assert (WANTED.min(), WANTED.max()) == (0, 255)


@pytest.mark.parametrize(
    "image",
    [
        five(paper="black", ink="white"),
        five("1"),
        five("RGB", "ivory", "navy"),
        five("RGB", "midnightblue", "yellow"),
        five("P"),
        five("RGBA", (255, 255, 255, 255), "black"),
        five("RGBA", (0, 0, 0, 0), "black"),
        five("RGBA", (255, 255, 255, 0), "white"),
        five("LA", (255, 0), (0, 255)),
        five("RGB").convert("CMYK"),
        Image.fromarray(np.asarray(five(), dtype=np.uint16) * 257),
        five().resize((600, 800)),
        five().crop((80, 60, 260, 350)),
        Image.fromarray(np.pad(np.asarray(five()), 200, constant_values=255)),
    ],
    ids=[
        *("white on black", "bilevel", "navy on ivory", "yellow on blue", "palette", "opaque", "transparent paper"),
        *("white ink on nothing", "grey with alpha", "CMYK", "16 bits", "larger", "cropped", "small on its paper"),
    ],
)
def test_the_same_drawing_in_any_mode_size_and_polarity_is_nearly_the_same_digit(image):
    row = read_picture(file_of(image, "TIFF" if image.mode == "CMYK" else "PNG"), MNIST)
    assert difference(row) < 5


def photograph(noise, shade):
    """The 5 in pencil on grey paper, the light falling off to one side."""
    rng = np.random.default_rng(0)
    grey = np.asarray(five(paper=180, ink=60), dtype=float) * np.linspace(1, shade, 300)
    return Image.fromarray((grey + rng.normal(0, noise, grey.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(("noise", "shade"), [(20, 1.0), (0, 0.5), (10, 0.6)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_of_a_drawing(noise, shade, kind):
    row = read_picture(file_of(photograph(noise, shade), kind), MNIST)
    assert difference(row) < 6


def test_the_thinnest_pen_is_ink_too():
    # A line of one pixel: blurred, it is broader than that, and the greater part of it is paper.
    grey = np.full((40, 30), 0.3, dtype=np.float32)
    grey[5:35, 15] = 0.9
    cleaned = clean_ink(grey)
    assert cleaned[10:30, 15].tolist() == [1] * 20
    assert not cleaned[10:30, :15].any()
    assert not cleaned[10:30, 16:].any()


def test_paper_without_a_drawing():
    sentence = "expected a drawing that contrasts with its paper; got an even shade."
    assert error_of(read_picture, file_of(Image.new("L", (300, 400), 230)), MNIST) == f"picture: {sentence}"
    noise = np.random.default_rng(0).integers(200, 230, (400, 300), dtype=np.uint8)
    assert error_of(clean_ink, 1 - noise.astype(np.float32) / 255, "page.png") == f"page.png: {sentence}"


def test_framing_by_hand():
    # 4 rows of 2 pixels. The box is 20×20, so each pixel becomes 5×5: 20 rows, 10 columns. Rows have equal ink, so the
    # centre of mass is the 10th row's lower edge, 9.5; of the columns, the left half has 3 times the ink of the right:
    # (3·2 + 1·7)/4 = 3.25. The first row is the smallest that brings 9.5 to 13.5 or more: 4; the first column the
    # smallest that brings 3.25 there: 11, to 14.25.
    ink = np.zeros((50, 60), dtype=np.float32)
    ink[7:11, 30], ink[7:11, 31] = 0.9, 0.3
    expected = np.zeros((28, 28))
    expected[4:24, 11:16], expected[4:24, 16:21] = 1, 1 / 3
    assert frame_ink(ink, OF_MNIST) == pytest.approx(expected, abs=1e-6)


def test_a_small_dot_and_a_broad_line_stay_inside():
    dot = np.zeros((9, 9), dtype=np.float32)
    dot[0, 8] = 1
    assert frame_ink(dot, OF_MNIST).sum() == 400  # fills the box
    # All its mass at one end, 20×20 pixels in the 28×28 field can move by 8 at most.
    line = np.full((20, 20), 0.001, dtype=np.float32)
    line[:, :2] = 1
    assert frame_ink(line, OF_MNIST)[:, -1].max() == pytest.approx(0.001)


def test_framing_as_scikit_learns_digits_were():
    # The ink is stretched to 32 rows and 20 columns, at columns 6 to 25 of 32. Pixels are means of 4×4: columns 1
    # (6, 7 of 4 to 7) and 6 (24, 25) half, 2 to 5 whole.
    framed = frame_ink(np.ones((3, 3), dtype=np.float32), Frame.of((8, 8)))
    assert framed.tolist() == [[0, 0.5, 1, 1, 1, 1, 0.5, 0]] * 8


def test_otsu_by_hand():
    # Two heaps, at 10 and 11 and at 200: every threshold from 11 to 199 parts them alike, and the first is taken.
    assert otsu_threshold(np.array([[10, 11, 10, 200, 200]], dtype=np.uint8)) == 11


def test_a_drawn_digit_is_recognised():
    X, y = load_digits()
    clf = CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    assert clf.predict(read_picture(file_of(five()), DIGITS)[np.newaxis]).tolist() == [5]


def test_a_network_that_was_taught_dark_ink_gets_dark_ink():
    taught_dark = replace(MNIST, mean=(255 - 33.3,))
    assert np.array_equal(read_picture(file_of(five()), taught_dark), 255 - WANTED)
    assert np.array_equal(read_picture(file_of(five(paper="black", ink="white")), taught_dark), 255 - WANTED)


# What is done is what the network's preparation says


@pytest.mark.parametrize(
    "spec",
    [
        replace(MNIST, input_shape=(28, 28, 3), image_shape=(3, 28, 28), channels_last=True, mean=(33.3,) * 3),
        replace(MNIST, input_shape=(3, 28, 28), image_shape=(3, 28, 28), mean=(33.3,) * 3),
    ],
    ids=["channels last", "channels first"],
)
def test_handwriting_is_framed_for_a_network_of_colours_too(spec):
    row = read_picture(file_of(five("RGB", "ivory", "navy")), spec)
    planes = np.moveaxis(row, -1, 0) if spec.channels_last else row
    assert difference(planes[0]) < 5
    assert np.array_equal(planes, np.stack([planes[0]] * 3))


def test_a_fourth_channel_of_handwriting_is_opaque():
    spec = replace(MNIST, input_shape=(4, 28, 28), image_shape=(4, 28, 28), mean=(33.3, 33.3, 33.3, 255.0))
    row = read_picture(file_of(five()), spec)
    assert np.array_equal(row, np.stack([WANTED] * 3 + [np.full((28, 28), 255)]))


@pytest.mark.parametrize(
    ("size", "box"),
    [((32, 32), 23), ((56, 56), 40), ((28, 40), 20)],  # 20 of 28 pixels of the shorter side: 22.9, 40 and 20
)
def test_handwriting_is_framed_in_proportion_at_any_size(size, box):
    spec = replace(MNIST, input_shape=size, image_shape=(1, *size))
    row = read_picture(file_of(five()), spec)
    rows, columns = np.flatnonzero(row.any(axis=1)), np.flatnonzero(row.any(axis=0))
    assert row.shape == size
    assert len(rows) == box  # the 5 is taller than wide
    assert len(columns) < box
    # The pixel n/2, counted from 0, as in MNIST.
    assert centre_of_mass(row) == pytest.approx([side / 2 for side in size], abs=0.51)


@pytest.mark.parametrize("preparation", [None, "resize", "pad"])
def test_a_network_that_was_not_told_so_frames_no_handwriting(preparation):
    # As little ink as MNIST has, on its size and its black ground: a picture twice as large is the same picture.
    small = np.zeros((28, 28), dtype=np.uint8)
    small[2:8, 3:9] = 200
    file = file_of(Image.fromarray(small.repeat(2, axis=0).repeat(2, axis=1)))
    spec = replace(MNIST, preparation=preparation)
    if preparation is None:
        with pytest.warns(UserWarning, match="Expected pictures of 28×28 pixels"):
            row = read_picture(file, spec)
    else:
        row = read_picture(file, spec)
    assert np.abs(row.astype(int) - small).mean() < 2  # the edges are antialiased


def test_a_picture_of_another_size_for_a_network_that_was_told_nothing_is_warned_of():
    sentence = (
        "Expected pictures of 28×28 pixels, as this network was fitted without preparation; one is of another size, "
        "resized in proportion and padded. Choose at fit how to prepare them: preparation='resize', 'pad' or "
        "'handwriting'."
    )
    with pytest.warns(UserWarning, match=rf"\A{re.escape(sentence)}\Z"):
        row = read_picture(file_of(five()), replace(FASHION, preparation=None))
    assert np.array_equal(row, read_picture(file_of(five()), FASHION))


@pytest.mark.parametrize("times", [1, 2, 3, 10])
@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_drawing_is_prepared_alike_whatever_its_size_and_place(times, shift, inverted):
    # A picture that has the network's size is no exception: its digit may lie off the middle, too.
    pixels = np.roll(WANTED, (-shift, -shift), axis=(0, 1))
    assert WANTED[:shift].sum() == WANTED[:, :shift].sum() == 0  # nothing is pushed over the edge
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    assert difference(read_picture(file_of(Image.fromarray(255 - pixels if inverted else pixels)), MNIST)) < 3


def test_one_of_the_small_digits_themselves_is_taken_as_it_is():
    X, _ = load_digits()
    bytes_of = np.rint(X[:10] / 16 * 255).astype(np.uint8)
    for image, pixels in zip(X[:10], bytes_of, strict=True):
        assert np.array_equal(read_picture(file_of(Image.fromarray(pixels)), DIGITS), image)
        assert np.array_equal(read_picture(file_of(Image.fromarray(255 - pixels)), DIGITS), image)


def test_other_pictures_are_padded_and_not_inverted():
    image = Image.new("L", (112, 56), "white")
    ImageDraw.Draw(image).rectangle((40, 16, 71, 39), fill="black")
    row = read_picture(file_of(image), FASHION)
    # A quarter as large, 28×14, is rows 7 to 20; the ink is rows 11 to 16 and columns 10 to 17.
    assert [(row < 128).any(axis=axis).nonzero()[0].tolist() for axis in (1, 0)] == [[*range(11, 17)], [*range(10, 18)]]
    assert (row[:7] == 255).all()
    assert (row[21:] == 255).all()


def test_resizing_fills_the_image_whatever_the_proportions():
    image = Image.new("L", (112, 56), "white")
    ImageDraw.Draw(image).rectangle((40, 16, 71, 39), fill="black")
    row = read_picture(file_of(image), replace(FASHION, preparation="resize"))
    # 56 rows become 28 and 112 columns 28: the ink is rows 8 to 19 and columns 10 to 17.
    assert [(row < 128).any(axis=axis).nonzero()[0].tolist() for axis in (1, 0)] == [[*range(8, 20)], [*range(10, 18)]]


# Other pictures


def test_colours_are_fitted_and_padded_with_their_ground():
    image = Image.new("RGB", (64, 32), (10, 200, 30))
    ImageDraw.Draw(image).rectangle((24, 8, 39, 23), fill=(255, 0, 0))
    row = read_picture(file_of(image), COLOUR)
    # 64×32 becomes 32×16, rows 8 to 23; the red square columns 12 to 19, rows 12 to 19.
    assert row[:, :9].reshape(3, -1).T.tolist() == [[10, 200, 30]] * (9 * 32)
    assert row[:, 14:18, 14:18].reshape(3, -1).T.tolist() == [[255, 0, 0]] * 16


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 77), [77, 77, 77]),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), [255, 255, 255]),
        (Image.new("P", (8, 8), 0), [0, 0, 0]),
        (Image.fromarray(np.full((8, 8), 200 * 257, dtype=np.uint16)), [200, 200, 200]),
    ],
    ids=["grey", "transparent", "palette", "16 bits"],
)
def test_three_channels_from_any_mode(image, expected):
    assert read_picture(file_of(image), COLOUR)[:, 16, 16].tolist() == expected


def test_four_channels_keep_transparency():
    wants = InputSpec((8, 8, 4), (4, 8, 8), True, "uint8", 255, (100.0,) * 4, (50.0,) * 4)
    row = read_picture(file_of(Image.new("RGBA", (8, 8), (1, 2, 3, 40))), wants)
    assert row[5, 5].tolist() == [1, 2, 3, 40]
    assert read_picture(file_of(Image.new("L", (8, 8), 9)), wants)[5, 5].tolist() == [9, 9, 9, 255]


def test_grey_is_luma():
    # ITU-R 601-2: 0.299 R + 0.587 G + 0.114 B
    assert 255 * as_grey(Image.new("RGB", (1, 1), (200, 100, 50)))[0, 0] == pytest.approx(124.2, abs=0.5)


def test_two_channels_are_no_picture():
    spec = InputSpec((2, 8, 8), (2, 8, 8), False, "uint8", 255, (100.0,) * 2, (50.0,) * 2)
    assert error_of(read_picture, file_of(five()), spec) == (
        "Expected a network of pictures, with 1, 3 or 4 channels; got one with 2."
    )


# Files


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(orientation):
    upright = five()
    turned_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # EXIF says how to turn it back: by 270 degrees
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turned_by[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(decode(file_of(stored, exif=exif))), np.asarray(upright))


def test_a_file_and_its_content_are_the_same_picture(tmp_path):
    (tmp_path / "five.png").write_bytes(file_of(five()))
    assert np.array_equal(read_picture(tmp_path / "five.png", MNIST), WANTED)
    assert np.array_equal(read_picture(str(tmp_path / "five.png"), MNIST), WANTED)


def test_no_file(tmp_path):
    for missing in (tmp_path / "no.png", tmp_path):
        message = error_of(read_picture, missing, MNIST, kind=FileNotFoundError)
        assert message == f"{missing}: expected an image file; there is none. Check the path."


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_the_name_of_a_strangers_file_commands_no_terminal(tmp_path, content):
    path = tmp_path / "\x1b[31mred\x1b]0;owned\x07\n.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match="�") as raised:
        decode(path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_no_picture(tmp_path, content):
    (tmp_path / "page.png").write_bytes(content)
    assert error_of(read_picture, tmp_path / "page.png", MNIST) == (
        f"{tmp_path / 'page.png'}: expected a picture ({', '.join(FORMATS)}); got another or a damaged file. "
        "Save it as PNG."
    )


def test_half_a_picture():
    message = error_of(read_picture, file_of(five())[:300], MNIST)
    assert message.startswith("picture: expected a readable picture; got OSError(")
    assert message.endswith("). Save it again as PNG.")


def test_a_moving_picture():
    frames = [five(), five(width=30)]
    assert error_of(read_picture, file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]), MNIST) == (
        "picture: expected one picture; got several frames. Save the right frame on its own."
    )


def test_floats_have_no_known_unit():
    image = Image.fromarray(np.zeros((9, 9), dtype=np.float32))
    assert error_of(read_picture, file_of(image, "TIFF"), MNIST) == (
        "picture: expected whole-number pixels; got floats, whose unit is unknown. Save it as PNG."
    )


def bomb(side):
    """A PNG of some bytes that says it is side×side pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 50_000])  # where Pillow warns, and where it refuses
def test_a_picture_that_would_fill_the_memory(side):
    message = error_of(read_picture, bomb(side), MNIST)
    assert message.startswith(f"picture: expected a picture that is safe to decode; got Image size ({side**2} pixels) ")
    assert message.endswith(" Make it smaller.")
