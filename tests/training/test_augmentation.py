"""What the augmentations promise: small, random, exact changes that are different for each image of a batch."""

import math

import numpy as np
import pytest
import torch

from cnnclf.training import _augmentation as augment
from cnnclf.training._augmentation import (
    AUGMENTATIONS,
    ELASTIC_SD,
    Compose,
    affine,
    colour,
    crop,
    elastic,
    erase,
    find_augmentation,
    flip,
    shift,
)

CUSTOM = {"mirror": lambda x: x.flip(3)}


@pytest.fixture(autouse=True)
def own_random_numbers():
    """Each test starts from the same seed and leaves torch's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def noise(n, channels=1, height=16, width=16):
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8)


def columns_and_rows(height, width):
    """Two channels that hold each pixel's own column and row: a change shows where each pixel was taken from."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows]).float()


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - {"colour"}))
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 32, 16), (1, 4, 9, 28)])
def test_shape_and_range_are_kept(name, shape):
    x = noise(*shape)
    changed = AUGMENTATIONS[name](x)
    assert changed.shape == x.shape
    # A mean and an interpolation lie within the range; float32 rounding of numbers below 256 adds less than 2⁻¹⁵.
    low, high = x.amin(dim=(2, 3), keepdim=True).float(), x.amax(dim=(2, 3), keepdim=True).float()
    assert (changed >= low - 2**-15).all()
    assert (changed <= high + 2**-15).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_batch_that_came_in_is_not_written_to(name):
    x = noise(20).float()
    before = x.clone()
    AUGMENTATIONS[name](x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - {"flip"}))
def test_every_image_gets_its_own_change_and_the_seed_decides_which(name):
    x = noise(1).repeat(40, 1, 1, 1)

    def run(seed):
        torch.manual_seed(seed)
        return AUGMENTATIONS[name](x)

    first = run(1)
    # A shift of 16 pixels has 9 outcomes, an erasure leaves half of the images alone; all others are unique.
    assert len(first.unique(dim=0)) >= 8
    assert torch.equal(run(1), first)
    assert not torch.equal(run(2), first)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_all_channels_of_an_image_change_alike(name):
    x = noise(30)
    changed = AUGMENTATIONS[name](x.repeat(1, 3, 1, 1))
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert not torch.equal(changed[:, :1], x.to(changed.dtype))


@pytest.mark.parametrize(
    ("height", "width", "down", "right"),
    [
        (8, 8, 1, 1),  # 7 % of 8 is 0.56, so 1
        (28, 28, 2, 2),  # 1.96
        (8, 50, 1, 4),  # 3.5, rounded to even
        (15, 9, 1, 1),  # 1.05 and 0.63
    ],
)
def test_a_shifted_image_is_an_exact_shift(height, width, down, right):
    image = torch.arange(height * width).reshape(height, width).numpy()
    padded = np.pad(image, ((down, down), (right, right)), mode="edge")  # the border is repeated
    expected = {
        padded[r : r + height, c : c + width].tobytes() for r in range(2 * down + 1) for c in range(2 * right + 1)
    }

    shifted = shift(torch.from_numpy(image).repeat(1_000, 1, 1, 1))
    assert shifted.dtype == torch.int64
    # Every shift comes, no other does; with 1,000 images at most 45 outcomes are missed once in 10⁸ runs.
    assert {one[0].tobytes() for one in shifted.numpy()} == expected


@pytest.mark.parametrize(
    ("height", "width", "down", "right"),
    [
        (8, 8, 1, 1),
        (28, 28, 3, 3),  # 3.5
        (8, 50, 1, 6),  # 6.25
        (15, 9, 1, 1),  # 1.875 and 1.125
        (32, 16, 4, 2),
    ],
)
def test_a_crop_is_a_window_of_the_image_padded_by_reflection(height, width, down, right):
    image = torch.arange(height * width).reshape(height, width).numpy()
    padded = np.pad(image, ((down, down), (right, right)), mode="reflect")
    expected = {
        padded[r : r + height, c : c + width].tobytes() for r in range(2 * down + 1) for c in range(2 * right + 1)
    }

    cropped = crop(torch.from_numpy(image).repeat(1_500, 1, 1, 1))
    assert cropped.dtype == torch.int64
    # Every window comes, no other does; with 1,500 images at most 49 outcomes are missed once in 10¹¹ runs.
    assert {one[0].tobytes() for one in cropped.numpy()} == expected


def one_bright_pixel(height, width, dtype):
    """As many images as pixels, black but for another pixel."""
    return torch.eye(height * width, dtype=dtype).reshape(-1, 1, height, width)


ALIKE = {  # images that differ as little as images do, or have few bits that differ
    "noise": lambda: noise(1_000, 3),
    "black and white": lambda: 255 * torch.randint(0, 2, (1_000, 1, 8, 8), dtype=torch.uint8),
    "truth values": lambda: torch.randint(0, 2, (1_000, 1, 8, 8), dtype=torch.uint8),
    "even numbers": lambda: 16 * torch.randint(0, 16, (1_000, 1, 8, 8), dtype=torch.uint8),
    "whole numbers as floats": lambda: torch.randint(0, 17, (1_000, 1, 8, 8)).float(),
    "shares": lambda: torch.rand(1_000, 1, 9, 8),
    "one pixel": lambda: one_bright_pixel(30, 34, torch.uint8),
    "one pixel as floats": lambda: one_bright_pixel(30, 34, torch.float32),
}


@pytest.mark.parametrize("images", ALIKE.values(), ids=ALIKE)
def test_half_of_the_images_are_mirrored_and_the_others_in_the_next_epoch(images):
    x = images()
    mirror = torch.from_numpy(x.numpy()[..., ::-1].copy())
    first, second, *later = (flip(x, epoch) for epoch in (0, 1, 2, 3, 300))
    is_mirrored = (first == mirror).all(dim=3).all(dim=2).all(dim=1)
    expected = torch.where(is_mirrored[:, None, None, None], mirror, x)
    assert first.dtype == x.dtype
    assert torch.equal(first, expected)
    assert torch.equal(second, torch.where(is_mirrored[:, None, None, None], x, mirror))
    for flipped, same in zip(later, (first, second, first), strict=True):
        assert torch.equal(flipped, same)
    # A fair coin over n images: n/2 ± 5 · √n/2.
    assert abs(int(is_mirrored.sum()) - len(x) / 2) <= 5 * math.sqrt(len(x)) / 2


def test_which_half_begins_mirrored_depends_on_the_pixels_alone():
    x = noise(200, 3)
    expected = flip(x)
    state = torch.get_rng_state()
    assert torch.equal(flip(x[100:]), expected[100:])
    assert torch.equal(flip(x.flip(0)), expected.flip(0))
    assert torch.equal(flip(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(flip(x.repeat(2, 1, 1, 1)), expected.repeat(2, 1, 1, 1))
    assert torch.equal(torch.get_rng_state(), state)  # no random number was drawn


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 64), (64, 32)])
def test_an_affine_change_is_a_small_rotation_zoom_shear_and_move_in_pixels(height, width):
    taken_from = affine(columns_and_rows(height, width).expand(500, -1, -1, -1))

    # The Jacobian, from neighbours in the middle, which no change takes beyond the border.
    r, c = height // 2 - 1, width // 2 - 1
    by_column = taken_from[:, :, r, c + 1] - taken_from[:, :, r, c]
    by_row = taken_from[:, :, r + 1, c] - taken_from[:, :, r, c]

    # Zoom Z, rotation R and shear S, each in pixels:
    #     Z · R · S = [zx · cos   zx · (shear · cos − sin)]
    #                 [zy · sin   zy · (shear · sin + cos)]   with determinant zx · zy.
    (xx, yx), (xy, yy) = by_column.T, by_row.T
    determinant = xx * yy - xy * yx
    cos15, sin15, tolerance = math.cos(math.radians(15)), math.sin(math.radians(15)), 1e-3
    for entry, low, high in [
        (determinant, 0.9**2, 1.1**2),
        (xx, 0.9 * cos15, 1.1),
        (yx, -1.1 * sin15, 1.1 * sin15),
        (xy, -1.1 * (0.1 * cos15 + sin15), 1.1 * (0.1 * cos15 + sin15)),
        (yy, 0.9 * (cos15 - 0.1 * sin15), 1.1 * math.hypot(1, 0.1)),  # 0.1 · sin + cos is largest where tan is 0.1
    ]:
        assert low - tolerance <= entry.min()
        assert entry.max() <= high + tolerance
        # The whole range is used, its ends but for the rare coincidence of several extremes.
        assert entry.max() - entry.min() >= 0.7 * (high - low)

    # The image's middle moves by at most 7 % of either side, and nearly does.
    middle = taken_from[:, :, r : r + 2, c : c + 2].mean(dim=(2, 3))
    moved = (middle - torch.tensor([(width - 1) / 2, (height - 1) / 2])).abs().amax(dim=0)
    reach = 0.07 * torch.tensor([width, height])
    assert (moved <= reach + tolerance).all()
    assert (moved >= 0.95 * reach).all()


def test_an_affine_change_is_one_straight_map():
    # A plane stays a plane: away from the border every pixel is what the map makes of it.
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    inner = affine((3.0 * columns + 5.0 * rows).repeat(50, 1, 1, 1))[:, 0, 12:20, 12:20]
    torch.testing.assert_close(inner.diff(n=2, dim=1), torch.zeros(50, 6, 8), atol=1e-3, rtol=0)
    torch.testing.assert_close(inner.diff(n=2, dim=2), torch.zeros(50, 8, 6), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (33, 65), (65, 33)])
def test_an_elastic_change_moves_the_middle_by_a_normal_share_of_each_side(height, width):
    # The middle pixel of an odd side lies on the middle of the 5×5 points, so it moves by that point's number alone.
    # It moves by 2 % of 65 pixels, 1.3, so the border, 16 pixels and more than 10 standard deviations away, is never
    # in reach, and a plane is sampled exactly.
    n = 4_000
    image, middle = columns_and_rows(height, width), (height // 2, width // 2)
    moved = elastic(image.expand(n, -1, -1, -1))[:, :, *middle] - image[:, *middle]
    share = (moved / torch.tensor([width, height])).double()  # of the side, along x and y

    # n normal numbers of standard deviation s: their own has the standard error s / √(2n) = 1.1 % of s, their mean
    # s / √n = 1.6 % of s, and the correlation of two such rows 1 / √n = 0.016. Five standard errors each.
    assert (share.std(dim=0) / ELASTIC_SD - 1).abs().max() <= 5 / math.sqrt(2 * n)
    assert share.mean(dim=0).abs().max() <= 5 * ELASTIC_SD / math.sqrt(n)
    assert abs(torch.corrcoef(share.T)[0, 1]) <= 5 / math.sqrt(n)
    # 68.27 % of normal numbers lie within one standard deviation; of 4,000, √(.68 · .32 / 4000) = 0.74 %.
    assert abs(float((share.abs() < ELASTIC_SD).double().mean()) - 0.6827) <= 5 * 0.0074


def test_an_elastic_change_is_smooth_and_not_one_straight_map():
    # Where pixels are taken from, in the middle half of 33×33, which holds 3×3 of the 5×5 points, 8 pixels apart.
    taken_from = elastic(columns_and_rows(33, 33).expand(200, -1, -1, -1))[:, :, 8:25, 8:25].double()
    along_rows, along_columns = taken_from.diff(dim=3), taken_from.diff(dim=2)
    # Halfway between p₁ and p₂, with p₀ and p₃ beyond, the cubic of the usual kernel (a = −3/4) has the slope
    # (1.3125 (p₂ − p₁) − 0.1875 (p₃ − p₀)) / 8, of standard deviation √(2 (1.3125² + 0.1875²)) · 0.02 · 33 / 8 = 0.15
    # at most: a whole pixel, with which neighbours would change places, is more than six of them.
    for step, expected in [(along_rows, (1.0, 0.0)), (along_columns, (0.0, 1.0))]:
        assert (step - torch.tensor(expected)[:, None, None]).abs().max() < 1
    # A straight map has no second differences; the affine one has 1e-3 at most, from rounding.
    assert along_rows.diff(dim=3).abs().amax(dim=(1, 2, 3)).min() > 1e-2


def test_erasing_fills_a_rectangle_in_half_of_the_images_with_their_mean():
    height, width = 16, 24
    # All pixels differ from each other and from their mean, 383 / 2.
    x = torch.arange(height * width).reshape(1, 1, height, width).repeat(1_000, 1, 1, 1)
    x += torch.arange(1_000).reshape(-1, 1, 1, 1)
    changed = erase(x)
    erased = changed != x

    heights, widths, tops, lefts = [], [], [], []
    for image, mask, original in zip(changed[:, 0], erased[:, 0], x[:, 0], strict=True):
        if not mask.any():
            continue
        covered_rows, covered_columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        (top, bottom), (left, right) = covered_rows.aminmax(), covered_columns.aminmax()
        assert mask[top : bottom + 1, left : right + 1].all()
        assert (image[mask] == original.double().mean()).all()
        heights.append(int(bottom - top) + 1)
        widths.append(int(right - left) + 1)
        tops.append(int(top))
        lefts.append(int(left))

    # A fair coin over 1,000 images: 500 ± 5 · √250 = 500 ± 79.
    assert 421 <= len(heights) <= 579
    # 1/8 to 3/8 of 16 and of 24, and anywhere within the image, its edges included.
    assert (min(heights), max(heights)) == (2, 6)
    assert (min(widths), max(widths)) == (3, 9)
    assert min(tops) == min(lefts) == 0
    assert max(t + h for t, h in zip(tops, heights, strict=True)) == height
    assert max(left + w for left, w in zip(lefts, widths, strict=True)) == width


def factors_of_colour(x):
    """What `colour` made of each image, and the factors of two differences: of grey pixels, and of red and blue."""
    before, after = x.double().numpy(), colour(x).double().numpy()
    # Grey pixels: out = b (m + c (p − m)), so two of them, here the first two, differ by b c times as much as before.
    slope = (after[:, 0, 0, 1] - after[:, 0, 0, 0]) / (before[:, 0, 0, 1] - before[:, 0, 0, 0])
    chroma = (after[:, -1, 0, 2] - after[:, 0, 0, 2]) / 150
    return before, after, slope, chroma


def images_with_two_grey_pixels(n, channels):
    x = torch.rand(n, channels, 8, 8) * 200
    x[:, :, 0, 0], x[:, :, 0, 1] = 50, 150
    x[:, 0, 0, 2], x[:, -1, 0, 2] = 30, 180
    return x


def assert_fills(factor):
    """All are 0.8 to 1.2; of 500 uniform ones the outermost are within 0.02 of these, but once in 10¹¹ runs."""
    assert 0.8 - 1e-4 <= factor.min() <= 0.82
    assert 1.18 <= factor.max() <= 1.2 + 1e-4


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colour_changes_brightness_and_contrast(channels):
    before, after, slope, chroma = factors_of_colour(images_with_two_grey_pixels(500, channels))
    # The mean stays where contrast changes, so it shows the brightness; what is left of the slope is contrast.
    mean = before.mean(axis=(1, 2, 3))
    brightness = after.mean(axis=(1, 2, 3)) / mean
    assert_fills(brightness)
    assert_fills(slope / brightness)
    assert abs(np.corrcoef(brightness, slope / brightness)[0, 1]) <= 5 / math.sqrt(500)
    if channels > 1:
        np.testing.assert_allclose(chroma, slope, rtol=1e-4)  # colours are as far apart as greys
    line = brightness * mean - slope * mean
    expected = slope[:, None, None, None] * before + line[:, None, None, None]
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-2)  # nothing is clipped


def test_colour_changes_the_saturation_of_three_channels():
    before, after, slope, chroma = factors_of_colour(images_with_two_grey_pixels(500, 3))
    saturation = chroma / slope  # out_R − out_B = b c s (R − B)
    assert_fills(saturation)
    luma = np.tensordot(before, [0.299, 0.587, 0.114], axes=(1, 0))[:, None]
    saturated = luma + saturation[:, None, None, None] * (before - luma)
    mean = saturated.mean(axis=(1, 2, 3))
    brightness = after.mean(axis=(1, 2, 3)) / mean
    assert_fills(brightness)
    assert_fills(slope / brightness)
    line = brightness * mean - slope * mean
    expected = slope[:, None, None, None] * saturated + line[:, None, None, None]
    np.testing.assert_allclose(after, expected, rtol=0, atol=2e-2)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_unit_of_the_pixels_does_not_matter_to_colour(channels):
    x = noise(20, channels)
    torch.manual_seed(1)
    whole = colour(x)
    torch.manual_seed(1)
    assert torch.equal(colour(x / 256), whole / 256)  # a power of two, so exactly
    assert whole.dtype == torch.float32


def test_changes_of_place_in_a_row_are_one_resampling(monkeypatch):
    seen = []

    def resample(x, maps):
        seen.append(maps)
        return x

    monkeypatch.setattr(augment, "resample", resample)
    Compose([affine, elastic, erase, elastic])(noise(1))
    assert seen == [[augment.turn, augment.bend], [augment.bend]]


def test_the_last_change_of_place_is_asked_first():
    # The first change takes each pixel from the one to its left, the second swaps left and right. On 0 1 2 3 the first
    # gives 0 0 1 2 (the border is repeated), the second 2 1 0 0. A pixel of 4 is half a unit wide.
    image = torch.arange(4.0).reshape(1, 1, 1, 4)
    left, mirror = (lambda p: p - torch.tensor([0.5, 0])), (lambda p: p * torch.tensor([-1.0, 1]))
    assert augment.resample(image, [left, mirror]).flatten().tolist() == [2, 1, 0, 0]
    assert augment.resample(image, [mirror, left]).flatten().tolist() == [3, 3, 2, 1]


@pytest.mark.parametrize(
    "steps", [*([step] for step in AUGMENTATIONS.values()), [shift, affine, elastic, erase], [CUSTOM["mirror"]]]
)
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (7, 100), (100, 7), (1, 64)])
def test_small_images_are_left_alone(steps, shape):
    x = noise(6, 1, *shape)
    assert Compose(steps)(x) is x


def test_steps_are_taken_in_order():
    x = noise(4, 1, 8, 8).float()
    steps = [lambda x: x + 1, lambda x: 2 * x]
    assert torch.equal(Compose(steps)(x), 2 * (x + 1))
    assert torch.equal(Compose(steps[::-1])(x), 2 * x + 1)


def test_names_and_functions_are_steps_and_flip_alone_is_told_the_epoch():
    x = noise(50)
    augment = find_augmentation(["flip", CUSTOM["mirror"], "flip"])
    for epoch in (0, 1):
        once = flip(flip(x, epoch).flip(3), epoch)
        assert torch.equal(augment(x, epoch), once)
    assert torch.equal(augment(x), augment(x, 0))
    assert not torch.equal(augment(x, 0), augment(x, 1))
    assert [find_augmentation(none) for none in (None, (), [])] == [None] * 3
