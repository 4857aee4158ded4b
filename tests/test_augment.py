"""What the augmentations promise: small, random, exact changes that are different for each image of a batch."""

import math

import numpy as np
import pytest
import torch

from cnnclf.augment import AUGMENTATIONS, Compose, affine, erase, shift

pytestmark = pytest.mark.usefixtures("one_thread")

CUSTOM = {"mirror": lambda x: x.flip(3)}


@pytest.fixture(autouse=True)
def own_random_numbers():
    """Each test starts from the same seed and leaves torch's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def noise(n, channels=1, height=16, width=16):
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
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


@pytest.mark.parametrize("name", AUGMENTATIONS)
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


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 64), (64, 32)])
def test_an_affine_change_is_a_small_rotation_zoom_shear_and_move_in_pixels(height, width):
    # Two channels hold each pixel's own column and row: the change shows where each pixel was taken from.
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    taken_from = affine(torch.stack([columns, rows]).float().repeat(500, 1, 1, 1))

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


@pytest.mark.parametrize("steps", [[shift], [affine], [erase], [shift, affine, erase], [CUSTOM["mirror"]]])
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (7, 100), (100, 7), (1, 64)])
def test_small_images_are_left_alone(steps, shape):
    x = noise(6, 1, *shape)
    assert Compose(steps)(x) is x


def test_steps_are_taken_in_order():
    x = noise(4, 1, 8, 8).float()
    steps = [lambda x: x + 1, lambda x: 2 * x]
    assert torch.equal(Compose(steps)(x), 2 * (x + 1))
    assert torch.equal(Compose(steps[::-1])(x), 2 * x + 1)
