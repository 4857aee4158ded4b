"""Which pixels matter: occlusion and the gradient."""

import copy

import numpy as np
import pytest
import torch

from helpers import exactly


@pytest.mark.parametrize(("size", "label"), [(1, "dog"), (5, "bee"), (None, None)])
def test_occlusion_pixel_by_pixel(zoo, size, label):
    drop = zoo.occlusion(size, label)
    assert drop.shape == (13, 17)
    position = zoo.classes.tolist().index(label or zoo.label)
    reach = (size or 3) // 2  # a quarter of 13 rows, made odd
    mean = np.array([120.0, 99.5, -3.0], dtype=np.float32)
    for row, column in [(0, 0), (12, 16), (0, 9), (6, 8), (11, 2)]:
        image = zoo.image.astype(np.float32)
        for r in range(row - reach, row + reach + 1):
            for c in range(column - reach, column + reach + 1):
                if 0 <= r < 13 and 0 <= c < 17:
                    image[:, r, c] = mean
        with torch.no_grad():
            logit = zoo._module(torch.from_numpy(image[np.newaxis]))[0, position].item()
        # the second channel's tiny standard deviation makes logits of some thousands
        assert drop[row, column] == pytest.approx(zoo.logits[position] - logit, rel=1e-4, abs=1e-6 * abs(logit))


@pytest.mark.parametrize("size", [0, 2, -1])
def test_squares_without_a_centre(zoo, size):
    sentence = f"Expected size to be an odd number of pixels, so that a square has a centre; got {size}."
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.occlusion(size)


def test_the_gradient_against_central_differences(digit):
    # In float64, where a step of 1e-5 grey levels is far from the rounding and far from the next kink.
    module = copy.deepcopy(digit._module).double()
    image, h = torch.from_numpy(digit.image.astype(np.float64))[np.newaxis], 1e-5
    for label in (None, 3):
        gradient = digit.gradient(label)
        assert gradient.shape == digit.image.shape
        position = digit.classes.tolist().index(digit.label if label is None else label)
        differences = np.zeros(gradient.shape)
        for pixel in np.ndindex(gradient.shape):
            up, down = image.clone(), image.clone()
            up[0][pixel] += h
            down[0][pixel] -= h
            with torch.no_grad():
                differences[pixel] = (module(up) - module(down))[0, position].item() / (2 * h)
        assert gradient == pytest.approx(differences, rel=1e-3, abs=1e-5 * np.abs(differences).max())
