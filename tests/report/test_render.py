"""What a page is made of: pictures, figures in the ink of the page, text that Markdown and HTML show as it is."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from PIL import Image

from cnnclf.inspection._items import Matrix, Picture
from cnnclf.plots._evaluation import INK
from cnnclf.report._data import CellImages
from cnnclf.report._render import (
    cell_json,
    data_uri,
    feature_maps,
    ink,
    pictures,
    shrink,
    standalone,
    strengths,
    templates,
    to_png,
    to_svg,
)


def draw(text="猫 & <b>"):
    """A figure with a line and a title that no font of matplotlib's has."""
    figure = Figure(figsize=(2, 1))
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1])
    ax.set_title(text, color=INK)
    return figure


def test_pictures_are_stretched_to_the_range_and_clipped():
    X = np.array([[[[-4, 0, 8, 16, 20]]]])
    assert pictures(X, (0, 16)).tolist() == [[[0, 0, 128, 255, 255]]]
    assert pictures(np.full((1, 1, 2, 2), 5.0), (5, 5)).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (2, 6, 5)), (2, (2, 6, 5)), (3, (2, 6, 5, 3)), (4, (2, 6, 5, 4)), (7, (2, 6, 5))]
)
def test_pictures_have_the_shape_that_pillow_and_matplotlib_take(channels, shape):
    shown = pictures(np.zeros((2, channels, 6, 5), np.uint8), (0, 255))
    assert shown.shape == shape
    assert shown.dtype == np.uint8
    Image.fromarray(shown[0])


def test_colours_stay_where_they_are():
    red = np.zeros((1, 3, 2, 2), np.uint8)
    red[:, 0] = 255
    assert pictures(red, (0, 255))[0, 0, 0].tolist() == [255, 0, 0]


def test_large_pictures_shrink_and_keep_their_proportions():
    assert pictures(np.zeros((2, 3, 400, 200), np.uint8), (0, 255)).shape == (2, 96, 48, 3)
    assert pictures(np.zeros((0, 1, 400, 200), np.uint8), (0, 255)).shape[0] == 0


def test_shrinking_takes_means_and_leaves_what_is_small_enough():
    levels = np.array([[[0, 100, 10, 10], [100, 200, 30, 30]]], np.uint8)
    assert shrink(levels, 2).tolist() == [[[100, 20]]]
    assert shrink(levels, 4) is levels


def test_strengths_are_shares_of_the_largest_number():
    matrix = Matrix("", (("4", "·"), ("-8", "")), ("0", "1"), ("0", "1"))
    assert strengths(matrix) == ((0.5, 0.0), (-1.0, 0.0))
    assert strengths(Matrix("", (("·", "·"),), ("0",), ("0", "1"))) == ((0.0, 0.0),)


def test_feature_maps_are_the_most_active_channels_on_one_scale():
    values = np.zeros((10, 2, 3), np.float32)
    values[7, 0, 0], values[2, 1, 2], values[4, 0, 1] = 4, 1, -4
    maps = feature_maps(values)
    assert list(maps) == [f"channel {i}" for i in (7, 2, 0, 1, 3, 4, 5, 6)]  # the others do not fit
    orange, blue = [201, 118, 0], [43, 127, 195]
    assert maps["channel 7"][0, 0].tolist() == [*orange, 255]
    assert maps["channel 2"][1, 2].tolist() == [*orange, round(255 * 0.25**0.75)]
    assert maps["channel 4"][0, 1].tolist() == [*blue, 255]
    assert maps["channel 0"][..., 3].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_row_of_features_is_one_picture_and_large_maps_shrink():
    assert {name: picture.shape for name, picture in feature_maps(np.ones(128)).items()} == {"": (2, 64, 4)}
    assert feature_maps(np.ones((1, 96, 48)))["channel 0"].shape == (48, 24, 4)


def test_ink_is_black_where_there_is_much_and_nothing_where_there_is_none():
    assert ink(Picture("", ((0.0, 0.2), (1.0, 0.0)))).tolist() == [[[0, 0], [0, 51]], [[0, 255], [0, 0]]]


def test_a_figure_is_one_element_in_the_ink_of_the_page_and_the_same_every_time():
    svg = to_svg(draw(), "line")
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "currentColor" in svg
    assert "猫 &amp; &lt;b&gt;" in svg  # as text, for the reader's own font
    assert "<metadata" not in svg
    assert to_svg(draw(), "line") == svg != to_svg(draw(), "other")  # two figures of a page share no id


def test_a_figure_beside_the_page_has_an_ink_of_its_own():
    svg = standalone(to_svg(draw(), "line"))
    assert svg.startswith("<svg")
    assert svg.count("<style>svg{color:") == 1
    assert "prefers-color-scheme:dark" in svg


def test_a_png_is_the_same_every_time():
    assert to_png(draw()) == to_png(draw())
    assert Image.open(io.BytesIO(to_png(draw()))).size == (320, 160)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2), (3, 2, 3), (3, 2, 4)], ids=["grey", "ink", "colour", "RGBA"])
def test_a_picture_in_an_address_is_the_picture(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    head, _, content = data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), picture)


def test_the_images_behind_the_cells_as_json():
    shown = np.zeros((2, 1, 1), np.uint8)
    cells = [CellImages(0, 12, (3, 4), (0.9999988, 0.1), shown), CellImages(1, 1, (5,), (None,), shown[:1])]
    uri = data_uri(shown[0])
    assert json.loads(cell_json(cells)) == {"0 12": [[3, 0.9999988, uri], [4, 0.1, uri]], "1 1": [[5, None, uri]]}
    assert not set("<>&") & set(cell_json(cells))  # nothing that could end the element around it


LETTERS = st.text(st.sampled_from("a1 |\\`*_[]()<>#&;~!-+.:$\"'"), min_size=1)
WORDS = st.sampled_from(["&amp;", "&#65;", "<script>", "</script>", "a|b", "~~a~~", "![x](y)", "{{ 7 }}", "| |", "\\|"])


@given(LETTERS | WORDS)
def test_markdown_shows_a_name_in_a_table_as_it_is(name):
    table = f"| a | b |\n|---|---|\n| {templates().filters['md'](name)} | end |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    cells = [tokens[i + 1].children for i, token in enumerate(tokens) if token.type == "td_open"]
    assert {token.type for cell in cells for token in cell} == {"text"}
    assert ["".join(token.content for token in cell) for cell in cells] == [" ".join(name.split()), "end"]
