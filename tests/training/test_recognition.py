"""The images that a network learnt from are recognised, in any order and dtype, and cannot be read from its file."""

import numpy as np
import pytest

from cnnclf import CNNClassifier, ONNXClassifier
from cnnclf.training._recognition import MOST_KEPT, NONE_YET, count_learnt, from_text, hash_images, keep, to_text


def some_images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)


def test_of_few_images_each_is_recognised_and_no_other():
    learnt, others = some_images(500), some_images(300, seed=1)
    kept = keep(NONE_YET, hash_images(learnt))
    assert count_learnt(kept, learnt) == (500, 500)
    assert count_learnt(kept, others) == (0, 300)
    assert count_learnt(kept, np.concatenate([learnt[:7], others])) == (7, 307)
    assert count_learnt(NONE_YET, others) == (0, 300)


def test_of_many_images_a_random_share_is_kept():
    # 2,048 of 20,480 are kept, a tenth, so of 1,000 images about 100 are looked up: a binomial of deviation 9.5.
    images = some_images(20_480)
    kept = keep(NONE_YET, hash_images(images))
    assert len(kept) == MOST_KEPT
    n_learnt, n_looked_up = count_learnt(kept, images[:1000])
    assert n_learnt == n_looked_up
    assert 50 <= n_learnt <= 150
    n_learnt, n_looked_up = count_learnt(kept, some_images(1000, seed=1))
    assert (n_learnt, 50 <= n_looked_up <= 150) == (0, True)


@pytest.mark.parametrize("n", [100, 5000])
def test_order_calls_repetitions_and_dtype_do_not_matter(n):
    images = some_images(n)
    kept = keep(NONE_YET, hash_images(images))
    in_parts = NONE_YET
    for part in np.array_split(images[::-1], 7):
        in_parts = keep(keep(in_parts, hash_images(part.astype(np.float32))), hash_images(part))
    assert (in_parts == kept).all()


def test_what_is_kept_is_bounded_and_survives_as_text():
    kept = keep(NONE_YET, hash_images(some_images(5000)))
    assert kept.nbytes == 16_384
    assert len(to_text(kept)) == 21_848  # four letters for three bytes
    assert (from_text(to_text(kept)) == kept).all()


@pytest.mark.parametrize("text", [None, 5, "?", "AAAA", to_text(np.arange(3)[::-1]), to_text(np.arange(MOST_KEPT + 1))])
def test_what_is_no_list_of_hashes_is_refused(text):
    sentence = r"\AExpected learnt to be sorted hashes of at most 2,048 images; got others\. Save the model again\.\Z"
    with pytest.raises(ValueError, match=sentence):
        from_text(text)


def test_both_kinds_of_file_keep_what_was_learnt_from_and_not_what_had_no_weight(few_digits, tmp_path):
    X, y, *_ = few_digits
    weight = np.repeat([1.0, 0.0], 200)
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y, weight, X_val=X[200:], y_val=y[200:])
    clf.save(tmp_path / "net.cnn")
    clf.to_onnx(tmp_path / "net.onnx")
    loaded, served = CNNClassifier.load(tmp_path / "net.cnn"), ONNXClassifier(tmp_path / "net.onnx")
    expected = to_text(keep(NONE_YET, hash_images(X[:200, np.newaxis])))
    assert to_text(loaded.training_data_.learnt) == to_text(served.training_data_.learnt) == expected


def test_partial_fit_adds_and_a_fit_begins_anew(few_digits):
    X, y, *_ = few_digits
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0)
    for part in np.array_split(np.arange(400), 4):
        clf.partial_fit(X[part], y[part], classes=range(10))
    assert np.array_equal(clf.training_data_.learnt, keep(NONE_YET, hash_images(X[:, np.newaxis])))
    clf.fit(X[:9], y[:9])
    assert np.array_equal(clf.training_data_.learnt, keep(NONE_YET, hash_images(X[:9, np.newaxis])))
