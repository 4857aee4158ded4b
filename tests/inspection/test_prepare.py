"""What a page makes of a picture or of drawn strokes equals, pixel by pixel, what Python makes of them."""

import base64
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from selenium.common.exceptions import JavascriptException

from cnnclf._utils.jinja import page_templates, read_as_is
from cnnclf.images._decode import ENOUGH_PIXELS, reduce
from cnnclf.images._handwriting import Frame, enlarge, frame_ink, light, otsu_threshold, shrink
from cnnclf.images._pictures import as_row, from_ink, prepare
from cnnclf.images._spec import InputSpec
from drawings import HANDS, drawing, drawings

Run = Callable[..., Any]

# A page gets bytes as text: `pictureOf` gives {pixels, width, height, bands} and `rgbaOf` what getImageData would.
HELPERS = """
function bytesIn(text) {
  const letters = atob(text), bytes = new Uint8ClampedArray(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}
function pictureOf({ text, width, height, bands, isFloat }) {
  const bytes = bytesIn(text);
  return { pixels: isFloat ? new Float32Array(bytes.buffer) : bytes, width, height, bands };
}
function rgbaOf(told) {
  const { pixels, width, height, bands } = pictureOf(told);
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; i++) {
    for (let band = 0; band < Math.max(3, bands); band++) {
      rgba[4 * i + band] = pixels[i * bands + (bands > 1 ? band : 0)];
    }
  }
  return [rgba, width, height];
}
"""


def told_picture(image: Image.Image) -> dict[str, Any]:
    pixels = np.asarray(image)
    text = base64.b64encode(pixels.tobytes()).decode()
    bands = len(image.getbands())
    return {"text": text, "width": image.width, "height": image.height, "bands": bands, "isFloat": image.mode == "F"}


def told_frame(size: tuple[int, int]) -> dict[str, Any]:
    return asdict(Frame.of(size))


def told_spec(spec: InputSpec) -> dict[str, Any]:
    _, height, width = spec.image_shape
    return {
        "shape": spec.image_shape,
        "white": spec.white,
        "whole": spec.white != 1 or spec.dtype != "float32",
        "mean": spec.mean,
        "preparation": spec.preparation,
        "frame": told_frame((height, width)),
    }


@pytest.fixture
def run(chromium: Any) -> Run:
    """Give a function that runs a script where the page's functions are."""
    if chromium.execute_script("return typeof prepare === 'function' && typeof rgbaOf === 'function'"):
        return chromium.execute_script  # of the test before
    scripts = read_as_is(page_templates("cnnclf.inspection"), "resample.js", "prepare.js")
    chromium.get("data:text/html,")
    chromium.execute_script(
        "const tag = document.createElement('script'); tag.textContent = arguments[0]; document.head.append(tag);",
        HELPERS + scripts,
    )
    return chromium.execute_script


def spec_of(
    shape: tuple[int, int, int],
    preparation: str | None,
    white: int = 255,
    is_bright: bool = False,
    dtype: str = "float32",
) -> InputSpec:
    mean = (white * (0.9 if is_bright else 0.1),) * shape[0]
    return InputSpec(shape, shape, False, dtype, white, mean, mean, preparation)


def prepared(run: Run, image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    script = "return Array.from(prepare(...rgbaOf(arguments[0]), arguments[1]));"
    return np.array(run(script, told_picture(image), told_spec(spec)), dtype=np.float32).reshape(spec.image_shape)


def check(run: Run, image: Image.Image, spec: InputSpec) -> None:
    expected = prepare(reduce(image), spec, "picture")
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(prepared(run, image, spec), expected)


def photo(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """Give a smooth picture with noise and hard edges, which bicubic interpolation overshoots."""
    rng = np.random.default_rng([seed, width, height])
    bands = len(mode) if mode != "L" else 1
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, bands), dtype=np.uint8).squeeze(), mode)
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noisy = smooth + rng.normal(0, 20, smooth.shape)
    noisy[height // 3 : height // 2, width // 4 :] = rng.choice([0, 255], bands)
    pixels = noisy.round().clip(0, 255).astype(np.uint8)
    if mode == "RGBA":  # holes, glass and opaque parts
        pixels[: height // 4, :, 3], pixels[-(height // 4) :, :, 3] = 0, 255
    return Image.fromarray(pixels, mode)


def paper(
    digit: int = 5, side: int = 400, ink: int = 30, ground: int = 230, shade: float = 0.0, noise: float = 0.0
) -> Image.Image:
    """Photograph a digit on paper: darker towards a corner by a shade, and with noise."""
    strokes, _ = drawing(digit, 1, "small, in a corner")
    picture = Image.new("L", (side, side * 3 // 4), ground)
    pen = ImageDraw.Draw(picture)
    for stroke in strokes:
        way = [(x * side / 1000, y * side * 0.75 / 1000) for x, y in stroke]
        pen.line(way, fill=ink, width=max(1, side // 50), joint="curve")
    pixels = np.asarray(picture, dtype=float)
    y, x = np.indices(pixels.shape) / side
    pixels = pixels * (1 - shade * (x + y) / 2) + np.random.default_rng(digit).normal(0, noise or 1e-9, pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def colourful(grey: Image.Image) -> Image.Image:
    """Give a grey picture a cast, as of a lamp."""
    return Image.merge("RGB", [grey.point(lambda v, k=k: int(v * k)) for k in (1.0, 0.9, 0.7)])


# ---- Pillow's part ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "F"])
@pytest.mark.parametrize("name", ["BOX", "BILINEAR", "BICUBIC"])
def test_resizing_is_pillows(run: Run, mode: str, name: str) -> None:
    picture = photo("L" if mode == "F" else mode, 61, 43).convert(mode)
    for size in [(28, 28), (61, 20), (100, 43), (97, 130), (1, 1), (9, 200), (61, 43)]:
        script = f"return Array.from(resized(pictureOf(arguments[0]), ...arguments[1], {name}).pixels);"
        expected = np.asarray(picture.resize(size, Image.Resampling[name]))
        np.testing.assert_array_equal(run(script, told_picture(picture), size), expected.ravel(), err_msg=f"{size}")


@pytest.mark.parametrize("factor", range(2, 8))
def test_averaging_is_pillows(run: Run, factor: int) -> None:
    for mode, script in (("RGB", "averaged"), ("RGBA", "((p, n) => divided(averaged(multiplied(p), n)))")):
        picture = photo(mode, 61, 43)
        found = run(f"return Array.from({script}(pictureOf(arguments[0]), {factor}).pixels);", told_picture(picture))
        np.testing.assert_array_equal(found, np.asarray(picture.reduce(factor)).ravel())


@pytest.mark.parametrize("size", [(36, 27), (61, 43), (5, 4), (1, 30), (3, 1)])
def test_filters_are_pillows(run: Run, size: tuple[int, int]) -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, size[::-1], dtype=np.uint8))
    for script, step in [
        ("ranked(picture, 13, smaller)", ImageFilter.MinFilter(13)),
        ("ranked(picture, 13, larger)", ImageFilter.MaxFilter(13)),
        ("ranked(picture, 5, larger)", ImageFilter.MaxFilter(5)),
        ("blurred(picture, 4)", ImageFilter.GaussianBlur(4)),
        ("blurred(picture, 1.5)", ImageFilter.GaussianBlur(1.5)),
    ]:
        found = run(
            f"const picture = pictureOf(arguments[0]); return Array.from({script}.pixels);", told_picture(picture)
        )
        np.testing.assert_array_equal(found, np.asarray(picture.filter(step)).ravel(), err_msg=script)


@pytest.mark.parametrize("ground", [0, 255])
def test_compositing_is_pillows(run: Run, ground: int) -> None:
    values, alphas = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    picture = Image.fromarray(np.stack([values, values[::-1], values.T, alphas], axis=-1))
    below = Image.new("RGBA", picture.size, (ground, ground, ground))
    found = run(f"return Array.from(composited(pictureOf(arguments[0]), {ground}).pixels);", told_picture(picture))
    np.testing.assert_array_equal(found, np.asarray(Image.alpha_composite(below, picture)).ravel())


# ---- Numpy's part ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 15, 16, 20, 28, 127, 128, 129, 160, 224, 300, 1000])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_sums_have_numpys_order(run: Run, n: int, kind: str) -> None:
    for values in np.random.default_rng(n).random((10, n)).astype(np.float32).astype(kind):
        array = kind.replace("float", "Float") + "Array"
        assert run(f"return pairwiseSum(new {array}(arguments[0]))", values.tolist()) == float(values.sum())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 11, 57, 20001])
def test_medians_and_quantiles_are_numpys(run: Run, n: int) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=n).astype(np.float32)
        script = "const values = new Float32Array(arguments[0]); return [median(values), quantile(values, 0.9)];"
        expected = [float(np.median(values)), float(np.quantile(values, 0.9))]
        assert run(script, values.tolist()) == expected


def test_otsus_threshold_is_the_same(run: Run) -> None:
    rng = np.random.default_rng(0)
    for n in [2, 3, 10, 1000, 78400]:
        levels = np.where(rng.random(n) < 0.3, rng.normal(180, 20, n), rng.normal(40, 15, n)).clip(0, 255)
        levels = levels.astype(np.uint8)
        assert run("return otsuThreshold(arguments[0])", levels.tolist()) == otsu_threshold(levels)


def test_the_light_is_the_same(run: Run) -> None:
    grey = (np.asarray(paper(noise=3, shade=0.6), dtype=np.float32) / np.float32(255)).astype(np.float32)
    small = shrink(Image.fromarray(1 - grey), 280)
    found = run("return Array.from(lightOf(pictureOf(arguments[0])))", told_picture(small))
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), light(small).ravel())


# ---- Pictures --------------------------------------------------------------------------------------------------------

SIZES = [(28, 28), (100, 75), (19, 23), (28, 40), (57, 200), (1, 7), (33, 28), (56, 56)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("preparation", ["resize", "pad", None])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_grey_network_gets_the_same(run: Run, mode: str, preparation: str | None, size: tuple[int, int]) -> None:
    check(run, photo(mode, *size), spec_of((1, 28, 28), preparation))


@pytest.mark.parametrize("size", [(32, 32), (200, 133), (19, 23), (32, 57), (31, 32), (300, 7)], ids=str)
@pytest.mark.parametrize("preparation", ["resize", "pad", None])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_network_of_colours_gets_the_same(
    run: Run, channels: int, mode: str, preparation: str | None, size: tuple[int, int]
) -> None:
    check(run, photo(mode, *size), spec_of((channels, 32, 32), preparation))


@pytest.mark.parametrize("preparation", ["resize", "pad"])
@pytest.mark.parametrize("shape", [(1, 20, 45), (3, 45, 20), (4, 9, 31)], ids=str)
def test_a_network_of_other_than_squares_gets_the_same(run: Run, shape: tuple[int, int, int], preparation: str) -> None:
    check(run, photo("RGBA", 77, 51), spec_of(shape, preparation))


@pytest.mark.parametrize(("white", "dtype"), [(1, "float32"), (1, "uint8"), (16, "uint8"), (65535, "float32")])
@pytest.mark.parametrize("preparation", ["resize", "pad", "handwriting"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)], ids=str)
def test_every_unit_is_the_same(
    run: Run, shape: tuple[int, int, int], preparation: str, white: int, dtype: str
) -> None:
    check(run, paper(ground=150, noise=40, shade=0.9), spec_of(shape, preparation, white, dtype=dtype))


@pytest.mark.parametrize("preparation", ["resize", "handwriting"])
def test_bright_ink_without_a_ground_is_laid_on_black_and_dark_ink_on_white(run: Run, preparation: str) -> None:
    shape = paper(7, ground=0, ink=255)
    for ink in (0, 90, 127, 128, 170, 255):
        picture = Image.new("RGBA", shape.size, (ink, ink, min(255, ink + 10)))
        picture.putalpha(shape)
        check(run, picture, spec_of((1, 28, 28), preparation))


@pytest.mark.parametrize(
    ("mode", "preparation"), [("L", "handwriting"), ("RGB", "pad"), ("RGBA", "resize"), ("RGBA", "handwriting")]
)
def test_a_huge_picture_is_averaged_first_as_in_python(run: Run, mode: str, preparation: str) -> None:
    picture = paper(3, side=2501, shade=0.4, noise=2)
    assert picture.width * picture.height > ENOUGH_PIXELS
    if mode != "L":
        picture = colourful(picture)
    if mode == "RGBA":
        picture.putalpha(ImageChops.invert(picture.getchannel("G")))
    check(run, picture, spec_of((len(mode) if mode != "L" else 1, 28, 28), preparation))


# ---- Handwriting -----------------------------------------------------------------------------------------------------

PAPERS: dict[str, dict[str, Any]] = {
    "clean": {},
    "dark paper": {"ink": 240, "ground": 20},
    "uneven light": {"shade": 0.8},
    "noise": {"noise": 8, "shade": 0.2},
    "faint": {"ink": 190},
    "large": {"side": 600, "noise": 3},
    "small": {"side": 40},
    "tiny": {"side": 28},
}


@pytest.mark.parametrize("kind", PAPERS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (4, 40, 25)], ids=str)
@pytest.mark.parametrize("is_bright", [False, True])
def test_handwriting_is_the_same(run: Run, shape: tuple[int, int, int], is_bright: bool, kind: str) -> None:
    spec = spec_of(shape, "handwriting", 16 if shape[1] == 8 else 255, is_bright)
    for digit in (1, 4, 8):
        picture = paper(digit, **PAPERS[kind])
        check(run, colourful(picture) if digit == 4 else picture, spec)


def test_a_network_of_large_digits_gets_the_same(run: Run) -> None:
    # Sums of more than 128 numbers are halved, and where centres lie depends on their last bits.
    for digit in range(0, 10, 3):
        check(run, paper(digit, side=400), spec_of((1, 230, 250), "handwriting", 1))


@pytest.mark.parametrize("size", [(8, 8), (28, 28)])
def test_pixels_of_the_networks_size_are_the_same(run: Run, size: tuple[int, int]) -> None:
    # Those of 8×8 are left as they are, but for their colour of ink.
    digit = paper(2, ground=250).resize(size, Image.Resampling.BOX)
    for is_bright in (False, True):
        check(run, digit, spec_of((1, *size), "handwriting", 16, is_bright))


def test_centres_between_two_pixels_are_moved_alike(run: Run) -> None:
    # Symmetric ink has its centre between two pixels, or in the middle of one, to the last bit.
    for width in range(1, 41, 3):
        picture = Image.new("L", (120, 120), "white")
        ImageDraw.Draw(picture).rectangle((30, 25, 30 + width, 85), fill="black")
        for shape in ((1, 28, 28), (1, 29, 31)):
            check(run, picture, spec_of(shape, "handwriting"))
            check(run, picture.transpose(Image.Transpose.ROTATE_90), spec_of(shape, "handwriting"))


@pytest.mark.parametrize("ground", [0, 100, 255])
def test_an_empty_drawing_is_refused_as_in_python(run: Run, ground: int) -> None:
    empty, spec = Image.new("L", (60, 50), ground), spec_of((1, 28, 28), "handwriting")
    with pytest.raises(ValueError, match="xpected a drawing that contrasts with its paper; got an even shade"):
        prepare(empty, spec, "picture")
    with pytest.raises(
        JavascriptException, match="Expected a drawing that contrasts with its paper; got an even shade"
    ):
        prepared(run, empty, spec)


# ---- Strokes ---------------------------------------------------------------------------------------------------------


def ink_of(run: Run, strokes: list[Any], pen: float, size: tuple[int, int]) -> NDArray[np.float32]:
    script = "return Array.from(inkOfStrokes(...arguments))"
    return np.array(run(script, strokes, pen, told_frame(size)), dtype=np.float32).reshape(size)


def draw(strokes: list[Any], pen: float) -> NDArray[np.float32]:
    """Draw strokes with Pillow, 320 pixels at the longer side, with a pen of 1.75 to 4 of MNIST's 20 pixels."""
    points = np.concatenate([np.array(stroke, dtype=float) for stroke in strokes])
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    longest = float(extent.max())
    # A pen of t pixels in a box of 20 leaves 20 − t for the path of its centre.
    width = min(max(pen, longest * 1.75 / 18.25), longest * 4 / 16) if longest else pen
    scale = 320 / (longest + width)
    radius = scale * width / 2
    columns, rows = (math.ceil(length * scale + 2 * radius) + 1 for length in extent)
    image = Image.new("L", (columns, rows))
    brush = ImageDraw.Draw(image)
    for stroke in strokes:
        way = [(x, y) for x, y in ((np.array(stroke) - low) * scale + radius).tolist()]
        brush.line(way, fill=255, width=round(2 * radius))
        for x, y in way:  # rounds the ends and the corners
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def framed(strokes: list[Any], pen: float, size: tuple[int, int]) -> NDArray[np.float32]:
    return frame_ink(draw(strokes, pen), Frame.of(size))


@pytest.mark.parametrize("size", [(28, 28), (8, 8)])
def test_drawn_strokes_look_the_same(run: Run, size: tuple[int, int]) -> None:
    differences = []
    for _, strokes, pen in drawings():
        expected = framed(strokes, pen, size)
        found = ink_of(run, strokes, pen, size)
        assert found.max() == 1
        differences.append(np.abs(found - expected).mean())
        if differences[-1] >= 0.02:  # centred a pixel off, as the centre of mass lies at the edge between two
            moved = [np.roll(found, by, axis) for axis in (0, 1) for by in (-1, 1)]
            assert min(np.abs(image - expected).mean() for image in moved) < 0.02
    assert np.mean(differences) < 0.004
    assert sum(difference >= 0.02 for difference in differences) <= (2 if size == (28, 28) else 0)


@pytest.mark.parametrize("strokes", [[[[500, 500]]], [[[10, 20], [10, 20]]], [[[0, 0]], [[1000, 1000]]]], ids=str)
def test_dots_look_the_same(run: Run, strokes: list[Any]) -> None:
    assert np.abs(ink_of(run, strokes, 60, (28, 28)) - framed(strokes, 60, (28, 28))).mean() < 0.02


def test_no_stroke_is_refused(run: Run) -> None:
    with pytest.raises(JavascriptException, match="Expected a drawing of one stroke or more; got none"):
        ink_of(run, [], 60, (28, 28))


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("size", [(28, 28), (8, 8)])
def test_the_same_fine_drawing_is_framed_alike(run: Run, size: tuple[int, int], hand: str) -> None:
    for digit in range(10):
        fine = draw(*drawing(digit, 0, hand))
        script = "return Array.from(frameInk(pictureOf(arguments[0]), arguments[1]))"
        found = run(script, told_picture(Image.fromarray(fine)), told_frame(size))
        np.testing.assert_array_equal(np.array(found, dtype=np.float32), frame_ink(fine, Frame.of(size)).ravel())


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("white", [1, 16, 255, 65535])
@pytest.mark.parametrize("is_bright", [False, True])
def test_ink_is_coloured_alike(run: Run, is_bright: bool, white: int, channels: int) -> None:
    ink = np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(28, 28)
    spec = spec_of((channels, 28, 28), "handwriting", white, is_bright)
    found = run(
        "return Array.from(fromInk(new Float32Array(arguments[0]), arguments[1]))",
        ink.ravel().tolist(),
        told_spec(spec),
    )
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), as_row(from_ink(ink, spec), spec).ravel())


def test_small_pictures_are_enlarged_alike(run: Run) -> None:
    for size in [(8, 8), (5, 9), (55, 3), (56, 2)]:
        picture = photo("L", *size).convert("F")
        found = run("return Array.from(enlarged(pictureOf(arguments[0])).pixels)", told_picture(picture))
        np.testing.assert_array_equal(found, enlarge(np.asarray(picture)).ravel())
