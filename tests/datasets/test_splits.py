"""How images are divided before anything is learnt: every image once, each class in proportion, by the seed."""

import re

import numpy as np
import pytest
from PIL import Image

from cnnclf import load_digits
from cnnclf.datasets import _splits as splits


def test_mnist_keeps_its_own_test_set_and_gives_up_a_tenth_of_its_training_set(monkeypatch):
    rng = np.random.default_rng(0)
    sets = {name: (rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10) for name, n in (("train", 200), ("test", 50))}
    monkeypatch.setattr(splits, "load_mnist", lambda split: sets[split])
    data = splits.load("auto", seed=0)
    assert (data.name, data.note, data.argument) == ("MNIST", "", "mnist")
    assert data.test.X is sets["test"][0]
    assert data.test.y is sets["test"][1]
    assert [np.bincount(part.y).tolist() for part in (data.training, data.validation)] == [[18] * 10, [2] * 10]


def test_the_parts_hold_every_image_once_and_each_class_in_proportion():
    y = np.repeat(["ant", "bee"], [300, 100])
    parts = splits.divide(np.arange(400), y, seed=0)
    assert sorted(np.concatenate([part.X for part in parts]).tolist()) == list(range(400))
    counts = [[int((part.y == label).sum()) for label in ("ant", "bee")] for part in parts]
    assert counts == [[216, 72], [24, 8], [60, 20]]


def test_labels_stay_with_their_images():
    X, y = load_digits()
    data = splits.load("digits", seed=3)
    label_of = {image.tobytes(): label for image, label in zip(X, y, strict=True)}
    for part in data.parts.values():
        assert [label_of[image.tobytes()] for image in part.X] == part.y.tolist()


def test_the_seed_decides_the_division():
    X, y = np.arange(400), np.repeat([0, 1], 200)
    tests = [splits.divide(X, y, seed=seed)[2].X.tolist() for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_the_digits_say_that_they_are_not_mnist():
    data = splits.load("digits", seed=0)
    assert (data.name, data.argument) == ("scikit-learn’s bundled digits", "digits")
    assert data.note == (
        "These are scikit-learn’s bundled digits, 1,797 images of 8 × 8 pixels, and not MNIST, because they were asked "
        "for with --dataset digits. Results on one do not carry over to the other."
    )


def test_each_part_says_what_it_is_for():
    origins = {name: part.origin for name, part in splits.load("digits", seed=0).parts.items()}
    assert origins == {
        "training": "All other images. The network learns from these.",
        "validation": "A tenth of each class of the training set. Evaluated after every epoch, never trained on.",
        "test": "A fifth of each class, drawn at random first. Evaluated once, at the end.",
    }


def test_where_mnist_cannot_be_had_auto_means_the_digits(monkeypatch, capsys):
    def load_mnist(split):
        raise FileNotFoundError("MNIST: expected files, found none")

    monkeypatch.setattr(splits, "load_mnist", load_mnist)
    data = splits.load("auto", seed=0)
    assert (data.name, data.argument) == ("scikit-learn’s bundled digits", "digits")
    assert "because MNIST was not found and could not be downloaded." in data.note
    assert capsys.readouterr().err == (
        "MNIST: expected files, found none\nUsing scikit-learn's bundled digits instead of MNIST.\n"
    )
    with pytest.raises(FileNotFoundError, match=r"\AMNIST: expected files, found none\Z"):
        splits.load("mnist", seed=0)


def save_images(folder, counts):
    """Write black pictures of 4 × 4 pixels, so many of each class."""
    for label, n in counts.items():
        (folder / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / label / f"{i}.png")
    return folder


def test_a_folder_is_divided_as_the_digits_are_and_asked_for_by_its_path(tmp_path):
    folder = save_images(tmp_path / "pets", {"cat": 30, "dog": 30})
    data = splits.load(str(folder), seed=0)
    assert (data.name, data.note, data.argument) == ("“pets”", "", str(folder))
    assert {name: len(part.y) for name, part in data.parts.items()} == {"training": 43, "validation": 5, "test": 12}


@pytest.mark.parametrize(
    ("counts", "got"),
    [
        ({"cat": 1, "dog": 30}, "20% of them aside; got 31 of 2 classes, 1 of 'cat'"),
        ({"cat": 2, "dog": 2, "owl": 2}, "20% of them aside; got 6 of 3 classes, 2 of 'cat'"),  # 2 for a test of 3
        ({"cat": 5, "dog": 4}, "10% of them aside; got 7 of 2 classes, 3 of 'dog'"),  # 2 for the test, then 1 of 7
    ],
)
def test_too_few_images_of_a_class_to_divide_and_how_many_suffice(tmp_path, counts, got):
    folder = save_images(tmp_path / "pets", counts)
    sentence = f"Expected enough images of each class to set {got}. Add images: 13 per class always suffice."
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        splits.load(str(folder), seed=0)
    more = save_images(tmp_path / "more", dict.fromkeys(counts, 13))
    assert all(set(part.y) == set(counts) for part in splits.load(str(more), seed=0).parts.values())


@pytest.mark.parametrize("training", [True, False])
def test_one_part_alone_is_that_of_the_report(training, monkeypatch):
    data = splits.load("digits", seed=0)
    part = data.training if training else data.test
    name, X, y, white = splits.load_part("digits", training=training)
    assert (name, white) == (data.name, 16)
    assert np.array_equal(X, part.X)
    assert np.array_equal(y, part.y)


def test_one_part_of_mnist_is_its_own_set(monkeypatch):
    sets = {split: (np.full((2, 28, 28), i), np.array([i, i])) for i, split in enumerate(("train", "test"))}
    monkeypatch.setattr(splits, "load_mnist", lambda split: sets[split])
    for training in (True, False):
        expected = sets["train" if training else "test"]
        assert splits.load_part("mnist", training=training) == ("MNIST", *expected, 255)


def test_a_folder_is_one_part_and_given_whole(tmp_path):
    folder = save_images(tmp_path / "pets", {"cat": 2, "dog": 3})
    for training in (True, False):
        name, X, y, white = splits.load_part(str(folder), training=training)
        assert (name, X.shape, y.tolist(), white) == ("“pets”", (5, 4, 4), ["cat"] * 2 + ["dog"] * 3, 255)
