"""Photographs as phones leave them train and predict with one number to set: the size."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from cnnclf import load_dataset
from helpers import cnnclf

SIZE = 16
# How EXIF says that a picture is stored: what was done to the upright one, by its orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photograph(width, height, colour):
    """Sky above and ground of this colour below, with a white sun at the upper left."""
    image = Image.new("RGB", (width, height), (120, 160, 240))
    image.paste(colour, (0, height // 2, width, height))
    image.paste("white", (0, 0, width // 4, height // 4))
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of one motif, grass and sand, turned in all ways, in several formats, up to twelve megapixels."""
    folder = tmp_path_factory.mktemp("phone")
    for name, colour in (("grass", (30, 140, 40)), ("sand", (220, 190, 120))):
        (folder / name).mkdir()
        for orientation, how in STORED.items():
            size = (4000, 3000) if orientation == 6 else (160, 120) if orientation % 2 else (90, 120)
            image = photograph(*size, colour)
            if orientation == 6:  # as a sensor makes it: a smooth picture of so many pixels would be taken for a bomb
                noise = np.random.default_rng(0).integers(0, 40, (3000, 4000, 3), dtype=np.uint8)
                image = Image.fromarray((np.asarray(image) // 8 * 7 + noise // 2).astype(np.uint8))
            exif = Image.Exif()
            exif[0x0112] = orientation
            stored = image if how is None else image.transpose(how)
            stored.save(folder / name / f"{orientation}.jpg", quality=95, exif=exif)
        two_views = photograph(120, 90, colour)
        two_views.save(folder / name / "views.mpo", save_all=True, append_images=[photograph(120, 90, "black")])
        grey = np.asarray(photograph(100, 80, colour).convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(folder / name / "sixteen.png")
        photograph(100, 80, colour).convert("CMYK").save(folder / name / "print.jpg", quality=95)
        photograph(100, 80, colour).quantize(8).save(folder / name / "palette.png")
        photograph(100, 80, colour).save(folder / name / "phone.webp", quality=95)
    return folder


def test_all_are_upright_and_in_proportion(folder):
    X, y = load_dataset(folder, size=SIZE)
    assert X.shape == (26, SIZE, SIZE, 3)
    files = sorted(folder.glob("*/*"))
    for row, label, file in zip(X, y, files, strict=True):
        assert label == file.parent.name
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            height, width = upright.height, upright.width
            scale = SIZE / max(height, width)
            top, left = (SIZE - round(height * scale)) // 2, (SIZE - round(width * scale)) // 2
        shown = row[top : SIZE - top, left : SIZE - left].astype(int)
        # The sun is at the upper left, whichever way the picture was stored; the ground differs from the sky.
        assert shown[1, 1].min() > 215
        assert shown[1, -2].min() < 215
        assert np.abs(shown[-3, 3] - shown[3, -3]).max() > 25


def test_one_number_is_all_that_a_report_and_its_predictions_need(folder, tmp_path):
    report = cnnclf(
        *("report", "--dataset", folder, "--size", str(SIZE), "--architecture", "tiny", "--epochs", "60"),
        *("--out", tmp_path / "report"),
    )
    assert report.exit_code == 0, report.stderr
    files = [
        file for file in sorted(folder.glob("*/*")) if file.name != "sixteen.png"
    ]  # grey tells grass from sand less
    said = json.loads(cnnclf("predict", tmp_path / "report" / "model.cnn", *files, "--json").stdout)
    right = [prediction["label"] == file.parent.name for prediction, file in zip(said, files, strict=True)]
    assert np.mean(right) > 0.9
