"""Folders of images: every picture of every class is read, or one sentence names the file and says why not."""

import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnclf.datasets._folders import load_image_folder
from cnnclf.images._decode import FORMATS
from cnnclf.images._pictures import list_pictures, read_picture
from cnnclf.images._spec import InputSpec
from helpers import read_or_refused, with_gaps

# Folders of images: what is read

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 7)], axis=-1)
OPAQUE = np.dstack([COLOUR, np.full_like(GREY, 255)])
SHADED = np.dstack([COLOUR, GREY])


def put_image(folder, name, image, **options):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)
    return file


def test_classes_and_files_are_sorted_and_hidden_ones_passed_over(tmp_path):
    for name, grey in [("b/2.png", 4), ("b/10.png", 3), ("a/x.PNG", 2), ("C/y.bmp", 1)]:
        put_image(tmp_path, name, Image.new("L", (3, 2), grey))
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".note").write_text("hidden")
    (tmp_path / "a" / ".note").write_text("hidden")
    X, y = load_image_folder(str(tmp_path))
    assert X.shape == (4, 2, 3)
    assert X[:, 0, 0].tolist() == [1, 2, 3, 4]
    assert y.tolist() == ["C", "a", "b", "b"]
    assert (X.dtype, y.dtype) == (np.uint8, np.dtype("<U1"))


def test_rows_are_rows_and_columns_are_columns(tmp_path):
    put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    assert load_image_folder(tmp_path)[0].tolist() == [GREY.tolist()]


@pytest.mark.parametrize("extension", ["bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"])
def test_every_format(tmp_path, extension):
    put_image(tmp_path, f"a/1.{extension}", Image.new("L", (3, 2), 0))
    X, y = load_image_folder(tmp_path)
    assert X.shape[:3] == (1, 2, 3)
    assert not X.any()
    assert y.tolist() == ["a"]


def palette(transparency=None):
    """GREY's values as indices into a palette of COLOUR's colours."""
    image = Image.fromarray((GREY // 50).astype(np.uint8))
    image.putpalette(COLOUR.reshape(-1).tolist())
    image.info |= {} if transparency is None else {"transparency": transparency}
    return image


@pytest.mark.parametrize(
    ("image", "extension", "expected"),
    [
        (Image.fromarray(GREY), "png", GREY),
        (Image.fromarray(GREY > 100), "png", np.where(GREY > 100, 255, 0)),
        (Image.fromarray(COLOUR), "png", COLOUR),
        (Image.fromarray(SHADED), "png", SHADED),
        (Image.fromarray(SHADED[..., [0, 3]]), "png", np.dstack([GREY, GREY, GREY, GREY])),
        (palette(), "png", COLOUR),
        (palette(transparency=bytes([0, 50, 100, 150, 200, 250])), "png", SHADED),
        (Image.fromarray(COLOUR).convert("CMYK"), "tif", COLOUR),
        (Image.new("YCbCr", (3, 2), (77, 128, 128)), "tif", np.full((2, 3, 3), 77)),
    ],
    ids=["L", "1", "RGB", "RGBA", "LA", "P", "P with transparency", "CMYK", "YCbCr"],
)
def test_every_mode(tmp_path, image, extension, expected):
    put_image(tmp_path, f"a/1.{extension}", image)
    X, _ = load_image_folder(tmp_path)
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X, expected[np.newaxis])


@pytest.mark.parametrize(
    ("image", "transparent", "expected"),
    [
        (Image.fromarray(GREY), 50, np.dstack([GREY, GREY, GREY, np.where(GREY == 50, 0, 255)])),
        (Image.fromarray(COLOUR), (50, 205, 7), np.dstack([COLOUR, np.where(GREY == 50, 0, 255)])),
    ],
    ids=["L", "RGB"],
)
def test_one_level_that_is_transparent_becomes_an_alpha_channel(tmp_path, image, transparent, expected):
    put_image(tmp_path, "a/1.png", image, transparency=transparent)
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], expected[np.newaxis])


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (COLOUR, [np.dstack([GREY, GREY, GREY]), COLOUR]),
        (SHADED, [np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)]), SHADED]),
    ],
    ids=["grey and RGB", "grey and RGBA"],
)
def test_images_that_differ_in_mode_take_the_richest(tmp_path, second, expected):
    put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    put_image(tmp_path, "b/1.png", Image.fromarray(second))
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], expected)


def test_rgb_beside_rgba_is_opaque(tmp_path):
    put_image(tmp_path, "a/1.png", Image.fromarray(COLOUR))
    put_image(tmp_path, "a/2.png", Image.fromarray(SHADED))
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], [OPAQUE, SHADED])


# Folders of images: what is refused


@pytest.mark.parametrize(
    ("files", "named", "sentence"),
    [
        (
            [],
            ".",
            "expected one sub-folder per class; got none. Move the images into one sub-folder per class.",
        ),
        ([], "none", "expected a folder with one sub-folder per class; got no such folder. Check the path."),
        (
            ["a/1.png", "2.png"],
            "2.png",
            "expected only sub-folders, one per class; got a file. Move it into that of its class, or away.",
        ),
        (["a/1.png", "b/.hidden"], "b", "expected images of this class; got none. Add some, or remove the folder."),
        (
            ["a/1.png", "b/README.txt"],
            "b",
            "expected images of this class; got none. Add some, or remove the folder.",
        ),
        (
            ["a/1.png", "a/b.png/2.png"],
            "a/b.png",
            "expected images directly in the folder of their class; got a folder. Move it, or what is in it.",
        ),
    ],
)
def test_a_folder_that_is_not_laid_out_by_class_is_refused(tmp_path, files, named, sentence):
    for name in files:
        put_image(tmp_path, name, Image.fromarray(GREY), format="PNG")
    target = tmp_path / named
    with pytest.raises(ValueError, match=with_gaps(f"{target}: {sentence}")):
        load_image_folder(target if named == "none" else tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    file = put_image(tmp_path, "1.png", Image.fromarray(GREY))
    sentence = f"{file}: expected a folder with one sub-folder per class; got a file. Check the path."
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_image_folder(file)


def test_images_of_different_sizes_are_refused(tmp_path):
    put_image(tmp_path, "a/1.png", Image.new("L", (3, 2)))
    put_image(tmp_path, "a/2.png", Image.new("L", (3, 2)))
    other = put_image(tmp_path, "b/1.png", Image.new("L", (2, 3)))
    sentence = (
        f"{tmp_path}: expected images of one size; got 3×2 (2), 2×3 (1), width × height; the first other is "
        f"'{other}'. Pass size=(height, width) or size='median', or --size on the command line."
    )
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (
            Image.fromarray(GREY.astype(np.float32)),
            "whole-number pixels; got floats, whose unit is unknown. Save it as PNG.",
        ),
        (
            Image.fromarray(GREY.astype(np.int32) * 1000),
            "pixels of 8 or 16 bits; got more, whose unit is unknown. Save it in 8.",
        ),
    ],
    ids=["F", "I"],
)
def test_pixels_that_sixteen_bits_cannot_hold_are_refused(tmp_path, image, reason):
    file = put_image(tmp_path, "a/1.tif", image)
    with pytest.raises(ValueError, match=with_gaps(f"{file}: expected {reason}")):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(("kind", "extension"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif")])
def test_grey_of_sixteen_bits_is_rounded_to_eight(tmp_path, kind, extension):
    # 65535 = 255 · 257, so 1000 is 3.89 and 128 is 0.498 of 255.
    grey = np.array([[0, 128, 129], [1000, 65534, 65535]], dtype=kind)
    put_image(tmp_path, f"a/1.{extension}", Image.fromarray(grey))
    assert load_image_folder(tmp_path)[0].tolist() == [[[0, 0, 1], [4, 255, 255]]]


@pytest.mark.parametrize("extension", ["gif", "png", "tif", "webp"])
def test_an_animation_is_refused(tmp_path, extension):
    frames = [Image.new("L", (3, 2), grey) for grey in (0, 100, 200)]
    file = put_image(tmp_path, f"a/1.{extension}", frames[0], save_all=True, append_images=frames[1:])
    sentence = f"{file}: expected one picture; got several frames. Save the right frame on its own."
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_image_folder(tmp_path)


def unreadable_image(file, error):
    if error == "UnidentifiedImageError(…)":
        kinds = ", ".join(FORMATS)
        return with_gaps(f"{file}: expected a picture ({kinds}); got another or a damaged file. Save it as PNG.")
    return with_gaps(f"{file}: expected a readable picture; got {error}. Save it again as PNG.")


def saved(extension, **options):
    stream = BytesIO()
    Image.fromarray(GREY).save(stream, extension, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "UnidentifiedImageError(…)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 3 2\n", "UnidentifiedImageError(…)"),
        (saved("PNG")[:-24], "OSError(…)"),
        (saved("BMP")[:-2], "OSError(…)"),
        (saved("TIFF")[:-30], "UserWarning(…)"),
        (saved("PNG").replace(b"\x10IDAT", b"\x00IDAT"), "SyntaxError(…)"),
        # The first of the two numbers names the tag StripOffsets, the second says what it holds: integers, then text.
        (saved("TIFF").replace(struct.pack("<HH", 273, 4), struct.pack("<HH", 273, 2)), "TypeError(…)"),
        (saved("GIF")[:-1] + b"!", "IndexError(…)"),
        (saved("GIF")[:-1] + b"!\xf9\x01\x00", "error(…)"),  # struct.error
    ],
    ids=[
        *("empty", "EPS", "cut PNG", "cut BMP", "cut TIFF", "PNG with a bad length", "TIFF with text for a number"),
        *("GIF with a bare extension", "GIF with a short extension"),
    ],
)
@pytest.mark.filterwarnings("default")  # as they are for users: a warning alone does not stop Pillow
def test_an_unreadable_image_is_refused(tmp_path, content, error):
    file = tmp_path / "a" / "1.png"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(ValueError, match=unreadable_image(file, error)):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("limit", [5, 2], ids=["warned of", "error"])
@pytest.mark.filterwarnings("default")
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, limit):
    file = put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    # Pillow warns of an image with more pixels than this, and refuses one with twice as many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    sentence = f"{file}: expected a picture that is safe to decode; got … Make it smaller."
    with pytest.raises(ValueError, match=with_gaps(sentence)):
        load_image_folder(tmp_path)


def image_in(file):
    return load_image_folder(file.parent.parent)[0]


@pytest.fixture(scope="module")
def scratch_image(tmp_path_factory):
    """The only file of the only class in a folder, which each example of a property writes anew."""
    folder = tmp_path_factory.mktemp("images") / "a"
    folder.mkdir()
    return folder / "1.png"


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_a_truncated_image_is_refused_or_has_lost_no_pixel(scratch_image, form, data):
    content = saved(form)
    scratch_image.write_bytes(content)
    whole = image_in(scratch_image)
    scratch_image.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    truncated = read_or_refused(image_in, scratch_image)
    assert truncated is None or np.array_equal(truncated, whole)


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_a_changed_image_is_refused_by_name_or_read_as_another(scratch_image, form, data):
    content = bytearray(saved(form))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    scratch_image.write_bytes(content)
    changed = read_or_refused(image_in, scratch_image)
    assert changed is None or changed.dtype == np.uint8


# One decoder


def lying_down(extension):
    """A picture of 3 rows and 2 columns, and the content of a file that holds it turned by a quarter."""
    upright = Image.fromarray(np.kron(GREY.T, np.ones((16, 16))).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    stream = BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, extension, exif=exif)
    return np.asarray(upright), stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_is_learnt_from_as_upright_as_it_is_predicted(tmp_path, kind):
    upright, content = lying_down(kind)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jfif").write_bytes(content)  # its content decides the kind, not its name
    X, _ = load_image_folder(tmp_path)
    assert X.shape[1:3] == upright.shape
    spec = InputSpec(X.shape[1:], (X[0].size // upright.size, *upright.shape), X.ndim == 4, "uint8", 255)
    assert np.array_equal(read_picture(tmp_path / "a" / "1.jfif", spec), X[0])
    grey = X[0] if X.ndim == 3 else X[0, ..., 0]
    assert np.abs(grey.astype(int) - upright).mean() < 8


def test_of_a_picture_with_several_views_the_first_is_read(tmp_path):
    views = [Image.new("RGB", (8, 8), (grey, grey, grey)) for grey in (200, 10)]
    put_image(tmp_path, "a/1.jpg", views[0], format="MPO", save_all=True, append_images=views[1:])
    assert np.abs(load_image_folder(tmp_path)[0].astype(int) - 200).max() <= 2


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow was built without AVIF")
def test_avif(tmp_path):
    put_image(tmp_path, "a/1.avif", Image.new("RGB", (8, 8), (200, 10, 60)))
    assert np.abs(load_image_folder(tmp_path)[0].astype(int) - (200, 10, 60)).max() <= 6


# All at once


def test_all_broken_files_are_named_at_once_and_of_many_five(tmp_path):
    for i in range(9):
        put_image(tmp_path, f"a/{i}.png", Image.fromarray(GREY))
    for i in range(7):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"broken")
    names = ", ".join(f"'{tmp_path / 'a' / f'{i}.png'}'" for i in range(5))
    with pytest.raises(
        ValueError, match=with_gaps(f"{tmp_path}: 7 files cannot be read: {names} and 2 more. The first: …")
    ):
        load_image_folder(tmp_path)


def test_of_many_sizes_the_four_most_frequent_are_listed(tmp_path):
    for side, n in [(2, 1), (3, 1), (4, 2), (5, 3), (6, 1)]:
        for i in range(n):
            put_image(tmp_path, f"a/{side}{i}.png", Image.new("L", (side, 2)))
    sentence = "expected images of one size; got 5×2 (3), 4×2 (2), 2×2 (1), 3×2 (1) and 1 more size, width × height; …"
    with pytest.raises(ValueError, match=with_gaps(f"{tmp_path}: {sentence}")):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("litter", ["Thumbs.db", "desktop.ini", ".DS_Store", "README.txt", "labels.csv", "LICENSE"])
def test_what_usually_lies_beside_pictures_is_passed_over(tmp_path, litter):
    put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    (tmp_path / litter).write_bytes(b"x")
    (tmp_path / "a" / litter).write_bytes(b"x")
    assert len(load_image_folder(tmp_path)[0]) == 1
    assert list_pictures(tmp_path) == [tmp_path / "a" / "1.png"]  # as `cnnclf predict` lists them


def test_one_transparent_image_among_grey_ones_is_said(tmp_path):
    for i in range(3):
        put_image(tmp_path, f"a/{i}.png", Image.fromarray(GREY))
    odd = put_image(tmp_path, "a/3.png", Image.fromarray(SHADED[..., [0, 3]]))
    with pytest.warns(
        UserWarning,
        match=with_gaps(
            f"1 of 4 images has transparency, so all are loaded as RGBA: '{odd}'. Save them like the others to avoid "
            "this."
        ),
    ):
        assert load_image_folder(tmp_path)[0].shape == (4, 2, 3, 4)


@pytest.mark.parametrize("channels", [[0, 3], [0, 1, 2, 3]], ids=["LA", "RGBA"])
def test_an_alpha_channel_that_is_opaque_is_dropped(tmp_path, channels):
    put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    put_image(tmp_path, "a/2.png", Image.fromarray(OPAQUE[..., channels]))
    assert load_image_folder(tmp_path)[0].shape == ((2, 2, 3) if len(channels) == 2 else (2, 2, 3, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_grey_image_that_is_stored_in_colour_among_grey_ones_is_grey(tmp_path, mode):
    for i in range(3):
        put_image(tmp_path, f"a/{i}.png", Image.fromarray(GREY))
    put_image(tmp_path, "a/3.png", Image.fromarray(GREY).convert(mode))  # RGBA: opaque
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], [GREY] * 4)


def test_one_pixel_of_colour_among_grey_images_is_colour(tmp_path):
    put_image(tmp_path, "a/1.png", Image.fromarray(GREY))
    almost = np.dstack([GREY, GREY, GREY])
    almost[1, 2, 2] ^= 1
    put_image(tmp_path, "a/2.png", Image.fromarray(almost))
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], [np.dstack([GREY, GREY, GREY]), almost])


def test_pictures_of_one_size_and_colour_are_opened_once_and_the_first_once_more(tmp_path, monkeypatch):
    for name, shade in (("dark", 10), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (6, 5), (shade + i,) * 3).save(tmp_path / name / f"{i}.png")
    opened = []
    image_open = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.append(file) or image_open(file, **options))
    X, y = load_image_folder(tmp_path)
    assert len(opened) == 1 + 6
    assert X[:, 0, 0, 0].tolist() == [10, 11, 12, 200, 201, 202]
    assert y.tolist() == ["dark"] * 3 + ["light"] * 3
