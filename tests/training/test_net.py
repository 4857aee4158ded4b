"""What `cnnclf.training` promises: schedules, batches, canonical order, averages, and steps redone by hand."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.training._callbacks import WeightAverage
from cnnclf.training._data import REPETITION_LIMIT, Batches, Rows, arrange, choose_batch_size
from cnnclf.training._net import SCHEDULES, Net, cosine, one_cycle
from cnnclf.training._network import cheapest_order, steps_to_one_column
from cnnclf.training._recognition import hash_rows
from cnnclf.training._runtime import choose_device, choose_precision, session
from helpers import run_in_child, unhurried


def make_net(module, **changes):
    """A net that takes plain, full-precision SGD steps at a constant rate, but for the changes."""
    plain = {
        "n_classes": 2,
        "batch_size": 2,
        "lr": 0.1,
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "augment": None,
        "weight_averaging": False,
        "precision": "float32",
        "patience": None,
        "callbacks": [],
        "device": "cpu",
        "compile": False,
        "verbose": 0,
    }
    return Net(module, **(plain | changes)).initialize()


# Schedules


@pytest.mark.parametrize(
    ("progress", "share"),
    [
        (0.0, 0.1),  # starts at a tenth of the peak
        (0.15, 0.55),  # halfway up: 0.1 + 0.9 / 2
        (0.3, 1.0),  # the peak
        (0.475, (1 + math.sqrt(0.5)) / 2),  # a quarter down the cosine: (1 + cos 45°) / 2
        (0.65, 0.5),  # half down: (1 + cos 90°) / 2
        (1.0, 0.0),
    ],
)
def test_one_cycle_rises_linearly_and_falls_along_a_cosine(progress, share):
    assert one_cycle(progress) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0.0, 1.0), (0.25, (1 + math.sqrt(0.5)) / 2), (0.5, 0.5), (2 / 3, 0.25), (1.0, 0.0)],  # cos 120° = −1/2
)
def test_cosine_falls_from_the_peak(progress, share):
    assert cosine(progress) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("name", [name for name, schedule in SCHEDULES.items() if schedule is not None])
@given(progress=st.floats(0, 1))
@unhurried
def test_a_schedule_never_exceeds_the_peak_nor_turns_negative(name, progress):
    assert 0 <= SCHEDULES[name](progress) <= 1


class LearningRates(Callback):
    """Note the learning rate of every step."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.seen.append([group["lr"] for group in net.optimizer_.param_groups])


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        # 4 rows in batches of 2 for 2 epochs are 4 steps; their progress is 0, 1/4, 1/2, 3/4.
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("constant", [1, 1, 1, 1]),
        # Up: 0.1 + 0.9 · (1/4) / 0.3 = 0.85. Down: the cosine at 2/7 and at 9/14 of a half turn.
        ("one_cycle", [0.1, 0.85, (1 + math.cos(2 * math.pi / 7)) / 2, (1 + math.cos(9 * math.pi / 14)) / 2]),
    ],
)
def test_the_schedule_stretches_over_the_steps_of_a_training(schedule, shares):
    rates = LearningRates()
    rows = Rows(torch.ones(4, 1, 1, 1), torch.tensor([0, 1, 0, 1]))
    net = make_net(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), lr=0.2, callbacks=[rates])

    for _ in range(2):  # and starts anew in the next training
        net.train(rows, None, epochs=2, schedule=schedule)
        assert rates.seen == [pytest.approx([0.2 * share] * 2) for share in shares]
    # Each epoch's record holds the rate of its last step.
    assert [row["lr"] for row in net.history] == pytest.approx([0.2 * shares[1], 0.2 * shares[3]] * 2)


# Batches


def visits_of(batches):
    """The row numbers of each batch of rows whose one pixel is their number."""
    return [X.flatten().tolist() for X, _ in batches]


def numbered_rows(order):
    order = torch.tensor(order)
    n = int(order.max()) + 1
    return Rows(torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1), torch.arange(n), order)


@given(order=st.lists(st.integers(0, 20), min_size=2, max_size=60), batch_size=st.integers(1, 25))
@unhurried
def test_training_batches_are_even_and_visit_everything_once(order, batch_size):
    batches = Batches(numbered_rows(order), batch_size, shuffle=True)
    parts = visits_of(batches)
    sizes = [len(part) for part in parts]

    assert sorted(visit for part in parts for visit in part) == sorted(order)
    assert len(parts) == len(batches)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2  # batch normalisation has no variance to learn from one row
    assert max(sizes) <= max(batch_size, 3)  # where two rows a batch are forced, the odd one makes it three


@given(n=st.integers(1, 60), batch_size=st.integers(1, 25))
@unhurried
def test_evaluation_batches_keep_the_order(n, batch_size):
    parts = visits_of(Batches(numbered_rows(list(range(n))), batch_size, shuffle=False))
    sizes = [len(part) for part in parts]

    assert [visit for part in parts for visit in part] == list(range(n))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size


def test_a_lone_row_stands_beside_itself():
    assert visits_of(Batches(numbered_rows([0]), 16, shuffle=True)) == [[0, 0]]


def test_every_epoch_is_shuffled_anew_by_torchs_seed():
    def epochs():
        torch.manual_seed(3)
        batches = Batches(numbered_rows(list(range(50))), 10, shuffle=True)
        return visits_of(batches), visits_of(batches)

    with torch.random.fork_rng():
        first, second = epochs()
        assert first != second
        assert epochs() == (first, second)


def test_weights_travel_with_their_rows():
    rows = Rows(torch.arange(3.0).reshape(3, 1, 1, 1), torch.arange(3), weight=torch.tensor([0.5, 1.0, 1.5]))
    X, y = rows.take(torch.tensor([2, 0]))
    assert X["X"].flatten().tolist() == [2, 0]
    assert X["sample_weight"].tolist() == [1.5, 0.5]
    assert y.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("n_rows", "batch_size"),
    [
        (1, 16),  # never fewer
        (1_797, 16),  # log2(17.97) = 4.17, next to 4
        (3_000, 32),  # log2(30) = 4.91, next to 5
        (6_000, 64),  # log2(60) = 5.91, next to 6
        (60_000, 128),  # never more
    ],
)
def test_auto_makes_about_a_hundred_steps(n_rows, batch_size):
    assert choose_batch_size("auto", n_rows) == batch_size


@pytest.mark.parametrize("batch_size", [7, np.int64(7), np.uint8(7)])
def test_a_batch_size_of_any_integer_type_is_taken_as_it_is(batch_size):
    assert choose_batch_size(batch_size, 60_000) == 7


# The canonical order of rows


def black(n):
    """Rows without ink: their hash is zero, so the order is decided by what comes after the hash."""
    return np.zeros((n, 1, 2, 3), np.uint8)


def test_rows_are_sorted_by_content_then_label():
    # Row 1 has ink, so its hash is not zero; the black rows 3, 0, 2 follow their labels 0, 1, 2 and come before it.
    pixels = black(4)
    pixels[1, 0, 0, 0] = 1
    order, weight = arrange(pixels, np.array([1, 0, 2, 0]), None)
    assert order.tolist() == [3, 0, 2, 1]
    assert weight is None


@pytest.mark.parametrize(
    ("labels", "sample_weight", "visits"),
    [
        ([2, 0, 1], [1, 1, 1], [1, 2, 0]),
        ([2, 0, 1], [1, 2, 0], [1, 1, 0]),  # row 1 twice, row 2 never
        ([0, 0], [19, 1], [0] * 19 + [1]),  # Σw = 20 = 10 · n is still repeated
    ],
)
def test_whole_number_weights_are_repetitions(labels, sample_weight, visits):
    order, weight = arrange(black(len(labels)), np.array(labels), np.array(sample_weight, float))
    assert order.tolist() == visits
    assert weight is None


@pytest.mark.parametrize(
    ("labels", "sample_weight", "visits"),
    [
        ([0, 0, 0], [0.5, 1.5, 1.0], [0, 2, 1]),  # equal rows are sorted by weight
        ([1, 0, 0], [0.5, 0.0, 1.5], [2, 0]),  # weight zero is dropped
    ],
)
def test_other_weights_stay_weights(labels, sample_weight, visits):
    sample_weight = np.array(sample_weight, float)
    order, weight = arrange(black(len(labels)), np.array(labels), sample_weight)
    assert order.tolist() == visits
    np.testing.assert_array_equal(weight, sample_weight)


@pytest.mark.parametrize(
    ("sample_weight", "visits", "limit"),
    [
        ([20, 1], [1, 0], 20),  # Σw = 21 > 10 · n
        ([1e300, 1], [1, 0], 20),
        ([1e308, 1e308], [0, 1], 20),  # whose sum is beyond all numbers
        ([20, 0], [0], 10),  # row 1 is not there
    ],
)
def test_whole_numbers_of_too_large_a_sum_stay_weights_with_a_warning(sample_weight, visits, limit):
    sample_weight = np.array(sample_weight, float)
    with pytest.warns(UserWarning, match=rf"\AExpected whole-number sample_weight of a sum of at most {limit}, "):
        order, weight = arrange(black(2), np.array([0, 0]), sample_weight)
    assert order.tolist() == visits
    np.testing.assert_array_equal(weight, sample_weight)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.0])), min_size=1, max_size=20
    ),
    st.sampled_from([1.0, 0.5]),
    st.randoms(use_true_random=False),
)
@unhurried
def test_the_order_does_not_depend_on_how_rows_come(rows, unit, random):
    def visited(rows):
        pixel, label, weight = map(np.array, zip(*rows, strict=True))
        pixels = pixel.astype(np.uint8).reshape(-1, 1, 1, 1)
        order, left = arrange(pixels, label, weight * unit)
        return pixel[order].tolist(), label[order].tolist(), None if left is None else left[order].tolist()

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert visited(shuffled) == visited(rows)


def test_the_memory_of_repetition_is_bounded():
    n = 1_000
    order, _ = arrange(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, int), np.full(n, float(REPETITION_LIMIT)))
    assert order.nbytes == 80 * n
    with pytest.warns(UserWarning, match=r"\AExpected whole-number sample_weight of a sum of at most 10,000, "):
        order, _ = arrange(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, int), np.full(n, 1e9))
    assert order.nbytes == 8 * n


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (1, 8, 8), (3, 3, 3), (1, 5, 13)])  # also no multiple of 8
def test_a_hash_is_the_sum_of_its_words_times_odd_multipliers(dtype, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(dtype)

    # With Python's integers of any size: little-endian words of 8 bytes, the last one filled up with zeros.
    row_bytes = [row.tobytes() for row in pixels]
    n_words = -(-len(row_bytes[0]) // 8)
    multipliers = [2 * int(half) + 1 for half in np.random.default_rng(0).integers(0, 2**63, n_words, dtype=np.uint64)]
    expected = [
        sum(int.from_bytes(row[8 * i : 8 * i + 8], "little") * m for i, m in enumerate(multipliers)) % 2**64
        for row in row_bytes
    ]
    assert hash_rows(pixels).tolist() == expected


@given(st.lists(st.binary(min_size=11, max_size=11), min_size=1, max_size=12))
@unhurried
def test_equal_rows_have_equal_hashes_and_others_do_not(rows):
    pixels = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 1, 1, 11)
    hashes = hash_rows(pixels).tolist()
    assert len(set(zip(rows, hashes, strict=True))) == len(set(rows)) == len(set(hashes))


def test_a_hash_does_not_depend_on_the_other_rows():
    # 2²² bytes of rows are hashed at a time: here 3 rows of 2²⁰ and then 1, or 4, or each alone.
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 1024, 1024), dtype=np.uint8)
    assert hash_rows(pixels).tolist() == [hash_rows(pixels[i : i + 1]).item() for i in range(5)]


def test_transposed_images_have_different_hashes():
    pixels = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
    both = np.concatenate([pixels, pixels.transpose(0, 1, 3, 2)])
    assert len(set(hash_rows(both).tolist())) == 2


# The first layer


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("n", [6, 5_000])  # the larger one is read in several slices
def test_standardise_learns_mean_and_deviation_of_each_channel(dtype, n):
    rng = np.random.default_rng(0)
    pixels = (rng.integers(0, 256, (n, 3, 5, 16)) // [[[1]], [[3]], [[20]]]).astype(dtype)
    order = rng.integers(0, n, 2 * n)  # repeated rows count repeatedly
    layer = Standardise.learn(torch.from_numpy(pixels), torch.from_numpy(order))

    visited = pixels[order].astype(np.float64)
    np.testing.assert_allclose(layer.mean.flatten(), visited.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(layer.std.flatten(), visited.std(axis=(0, 2, 3)), rtol=1e-7)

    standardised = layer(torch.from_numpy(pixels[order])).double().numpy()
    np.testing.assert_allclose(standardised.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(standardised.std(axis=(0, 2, 3)), 1, atol=1e-6)


def test_standardise_by_hand():
    # One channel holds 1, 3, 5, 7: mean 4, deviations −3, −1, 1, 3, variance (9 + 1 + 1 + 9) / 4 = 5.
    pixels = torch.tensor([1, 3, 5, 7], dtype=torch.uint8).reshape(2, 1, 1, 2)
    layer = Standardise.learn(pixels, torch.tensor([0, 1]))
    expected = torch.tensor([-3, -1, 1, 3]).reshape(2, 1, 1, 2) / math.sqrt(5)
    torch.testing.assert_close(layer(pixels), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("value", [7, 255, 0.1])  # float32 has no 0.1: sums of many are rounded
def test_a_channel_that_never_varied_has_no_say(value, dtype):
    pixels = torch.full((3_000, 2, 5, 5), value).to(dtype)
    pixels[:, 1] = torch.arange(25).reshape(5, 5)
    pixels[-1, 0] = 99  # a row that training does not visit
    layer = Standardise.learn(pixels, torch.arange(2_999))
    assert layer.std.flatten()[0] == 0
    assert (layer(pixels)[:, 0] == 0).all()
    torch.testing.assert_close(
        layer(pixels)[0, 1], (torch.arange(25.0).reshape(5, 5) - 12) / math.sqrt(52)
    )  # (25²−1)/12


# Weight averaging


def test_the_average_is_that_of_the_definition():
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    average = WeightAverage(network, decay=0.9)
    rng = np.random.default_rng(0)
    floats = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    expected = {name: t.double().numpy().copy() for name, t in floats.items()}

    for t in range(1, 201):
        decay = min(0.9, (1 + t) / (10 + t))  # 2/11 first, 0.9 from t = 80 on
        for name, live in floats.items():
            new = rng.normal(size=tuple(live.shape))
            live.copy_(torch.from_numpy(new))
            expected[name] = decay * expected[name] + (1 - decay) * live.double().numpy()
        average.update(network)

    assert {"1.running_mean", "1.running_var", "3.weight"} <= set(floats)  # batch-norm statistics are averaged too
    live = {name: t.clone() for name, t in network.state_dict().items()}
    average.show(network, average=True)
    for name, shown in network.state_dict().items():
        if name in expected:
            np.testing.assert_allclose(shown.double().numpy(), expected[name], rtol=1e-5, atol=1e-6)
    average.show(network, average=True)  # already there
    average.show(network, average=False)
    assert all(torch.equal(t, live[name]) for name, t in network.state_dict().items())


# Batch normalisation after an epoch of changed images


def halve(x, epoch):
    return x.float() / 2


def fit_norm(n, watch=None, **changes):
    """Train batch normalisation of n one-pixel images, 0 to n − 1, in batches of 2; give the layer."""
    norm = nn.BatchNorm2d(1)
    net = make_net(
        nn.Sequential(nn.Identity() if watch is None else watch, norm, nn.Flatten(), nn.Linear(1, 2)), **changes
    )
    pixels = torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1)
    net.train(Rows(pixels, torch.arange(n) % 2), None, epochs=1, schedule="constant")
    return norm


@pytest.mark.parametrize("weight_averaging", [False, True])
def test_statistics_are_those_of_images_as_they_are(weight_averaging):
    # 0 … 19 has mean 19 / 2 and variance 20 · 21 / 12 = 35 (with n − 1); training saw the halves.
    norm = fit_norm(20, augment=halve, weight_averaging=weight_averaging)
    assert norm.running_mean.tolist() == [9.5]
    assert norm.running_var.tolist() == pytest.approx([35])
    assert norm.momentum == 0.1


def test_a_sample_smaller_than_ten_batches_would_know_less():
    # Running averages start at 0 and see halves of 0 … 18: their mean stays below 9 / 2.
    assert fit_norm(19, augment=halve).running_mean.item() < 4.75


def test_without_augmentation_the_running_averages_stay():
    # Ten batches leave 0.9¹⁰ = 0.35 of the start at 0.
    assert fit_norm(20).running_mean.item() < 9


def test_an_interrupted_measurement_keeps_the_running_averages():
    class Interrupt(nn.Module):
        def forward(self, x):
            if not self.training:
                raise KeyboardInterrupt
            return x

    norm = fit_norm(20, watch=Interrupt(), augment=halve)
    assert 0 < norm.running_mean.item() < 4.75
    assert norm.num_batches_tracked == 10
    assert norm.momentum == 0.1
    assert not norm.training


# The net, by hand


def test_logits_by_hand():
    # The image is standardised with mean 4 and deviation 2:
    #     0 1 2        −2.0 −1.5 −1.0
    #     3 4 5   →    −0.5  0.0  0.5
    #     6 7 8         1.0  1.5  2.0
    # First kernel [[1, 0], [0, −1]]: a pixel minus its lower right neighbour, −2 everywhere; + 3 = 1; its maximum is 1.
    # Second kernel [[0, 1], [1, 0]]: right plus lower neighbour, −2, −1, 1, 2; ReLU gives 0, 0, 1, 2; its maximum is 2.
    # Dense [[1, 1], [2, 0], [0, −1]] · (1, 2) + (0, −1, 3) = (3, 1, 1).
    conv = nn.Conv2d(1, 2, 2)
    dense = nn.Linear(2, 3)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[[1.0, 0], [0, -1]]], [[[0, 1], [1, 0]]]]))
        conv.bias.copy_(torch.tensor([3.0, 0]))
        dense.weight.copy_(torch.tensor([[1.0, 1], [2, 0], [0, -1]]))
        dense.bias.copy_(torch.tensor([0.0, -1, 3]))
    standardise = Standardise(torch.tensor([4.0]), torch.tensor([2.0]))
    net = make_net(nn.Sequential(standardise, conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), dense), n_classes=3)
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)

    assert net.logits(image).tolist() == [[3, 1, 1]]
    assert net.logits(image.repeat(600, 1, 1, 1)).tolist() == [[3, 1, 1]] * 600  # more than one slice


# Two rows of one pixel, 2 and 4, of the classes 0 and 1. Both logits are equal at first, so p = 1/2, the loss is ln 2
# and its gradient with respect to a row's logits is (p − target) / 2: (−1/4, 1/4) for the first row, (1/4, −1/4) for
# the second. Nesterov's first step with momentum 0.9 is 1.9 · lr · gradient = 0.19 · gradient.
TWO_ROWS = (torch.tensor([2.0, 4.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1]))


def step_once(start=0.0, weight=None, epochs=1, **changes):
    dense = nn.Linear(1, 2)
    nn.init.constant_(dense.weight, start)
    nn.init.constant_(dense.bias, start)
    net = make_net(nn.Sequential(nn.Flatten(), dense), **changes)
    net.train(Rows(*TWO_ROWS, weight=weight), None, epochs=epochs, schedule="constant")
    return net, dense.weight.flatten().tolist(), dense.bias.tolist()


def test_a_plain_step_by_hand():
    # For weight 0: −1/4 · 2 + 1/4 · 4 = 1/2, so −0.19 / 2; the opposite for weight 1. For the biases: −1/4 + 1/4 = 0.
    net, weights, biases = step_once()
    assert weights == pytest.approx([-0.095, 0.095])
    assert biases == pytest.approx([0, 0])
    assert net.history[-1, "train_loss"] == pytest.approx(math.log(2))
    assert net.history[-1, "train_accuracy"] == 0.5  # of two equal logits the first wins


def test_a_weighted_step_by_hand():
    # Weights 1.5 and 0.5: the rows' gradients are (−3/8, 3/8) and (1/8, −1/8).
    # For weight 0: −3/8 · 2 + 1/8 · 4 = −1/4. For bias 0: −3/8 + 1/8 = −1/4. Times −0.19: 0.0475.
    net, weights, biases = step_once(weight=torch.tensor([1.5, 0.5]))
    assert weights == pytest.approx([0.0475, -0.0475])
    assert biases == pytest.approx([0.0475, -0.0475])
    assert net.history[-1, "train_loss"] == pytest.approx(math.log(2))


def test_a_step_with_weight_decay_by_hand():
    # From ones, decay 0.2 adds 0.2 · 1 to the gradients ±1/2 of the weights, 0.7 and −0.3, but nothing to the biases.
    _, weights, biases = step_once(start=1.0, weight_decay=0.2)
    assert weights == pytest.approx([1 - 0.19 * 0.7, 1 + 0.19 * 0.3])
    assert biases == pytest.approx([1, 1])


def test_a_step_with_label_smoothing_by_hand():
    # Smoothing by 0.2 makes the targets 0.9 and 0.1: the gradients are (0.5 − 0.9) / 2 = ∓1/5.
    # For weight 0: −1/5 · 2 + 1/5 · 4 = 2/5. At equal logits the loss is ln 2 whatever the targets are.
    net, weights, _ = step_once(label_smoothing=0.2)
    assert weights == pytest.approx([-0.19 * 0.4, 0.19 * 0.4])
    assert net.history[-1, "train_loss"] == pytest.approx(math.log(2))


def test_an_averaged_step_by_hand():
    # The first update keeps 2/11 of the start, which is zero, and takes 9/11 of the plain step.
    _, weights, _ = step_once(weight_averaging=True)
    assert weights == pytest.approx([-0.095 * 9 / 11, 0.095 * 9 / 11])


def test_averaging_watches_training_and_leaves_it_alone():
    class LiveWeights(Callback):
        def on_train_begin(self, net, **kwargs):
            self.seen = []

        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                self.seen.append(net.network[1].weight.detach().flatten().tolist())

    plain, averaged = LiveWeights(), LiveWeights()
    # Three epochs of one step each, 0, w₁, w₂, w₃; the average keeps 2/11, then 3/12, then 4/13 of itself.
    step_once(epochs=3, callbacks=[plain])
    _, weights, _ = step_once(epochs=3, callbacks=[averaged], weight_averaging=True)
    assert averaged.seen == plain.seen
    w1, w2, w3 = np.array(plain.seen)
    assert weights == pytest.approx(4 / 13 * (3 / 12 * (9 / 11 * w1) + 9 / 12 * w2) + 9 / 13 * w3)


class Watch(Callback):
    """A hook on every layer, which keeps the least value of each output of the first ReLU and its pooling."""

    def __init__(self):
        self.least = []

    def on_train_begin(self, net, **kwargs):
        for layer in list(net.module_)[1:3]:
            layer.register_forward_hook(lambda _, args, output: self.least.append(float(output.detach().min())))


def relu_then_pool():
    """(n, 1, 9, 9) → convolution, 7×7 → ReLU → pooling, 3×3, which leaves out a row and a column → two logits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 2)
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pooling_comes_before_relu_and_learns_the_same_bits(precision):
    """Float pixels of few values: windows have ties, and many of them hold no positive value."""
    random = np.random.default_rng(0)
    rows = Rows(
        torch.from_numpy(random.integers(-2, 3, (40, 1, 9, 9)).astype(np.float32)),
        torch.arange(40, dtype=torch.int64) % 2,
    )
    weights = {}
    for watched in (False, True):
        watch = Watch()
        torch.manual_seed(0)
        net = make_net(relu_then_pool(), batch_size=4, precision=precision, callbacks=[watch] if watched else [])
        torch.manual_seed(1)
        net.train(rows, None, epochs=3, schedule="one_cycle")
        weights[watched] = net.module_.state_dict()
        assert [type(layer) for layer in net.module_][1:3] == [nn.ReLU, nn.MaxPool2d]
        assert len(watch.least) == (2 * 10 * 3 if watched else 0)
        assert min(watch.least, default=0) == 0  # where hooks watch, ReLU comes first
    for name, value in weights[False].items():
        assert torch.equal(value, weights[True][name]), name


def test_training_passes_relu_what_is_pooled_and_evaluation_keeps_the_order(monkeypatch):
    sides, relu = [], nn.ReLU.forward
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: (sides.append(x.shape[-1]), relu(self, x))[1])
    net = make_net(relu_then_pool(), batch_size=4)
    pixels = torch.zeros(4, 1, 9, 9)
    net.train(Rows(pixels, torch.arange(4) % 2), None, epochs=1, schedule="constant")
    net.logits(pixels)
    assert sides == [3, 7, 7]  # the second time, one image shows how many fit


@pytest.mark.parametrize(
    ("network", "order"),
    [
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(3)), [1, 0, 3, 2]),
        (nn.Sequential(nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)), [0, 2, 1]),
        (nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), [0, 1]),  # a mean does not commute with ReLU
        (nn.Sequential(nn.GELU(), nn.MaxPool2d(2)), [0, 1]),  # nor a maximum with what falls
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True)), [0, 1]),  # another kind of output
    ],
)
def test_only_relu_and_max_pooling_change_places(network, order):
    assert cheapest_order(network) == [network[i] for i in order]


class Twice(nn.Sequential):
    """A sequence with a pass of its own."""

    def forward(self, x):
        return super().forward(super().forward(x))


@pytest.mark.parametrize("network", [nn.ReLU(), Twice(nn.ReLU(), nn.MaxPool2d(2))])
def test_what_is_no_plain_sequence_is_applied_as_it_is(network):
    assert cheapest_order(network) == [network]


def test_validation_rows_are_measured_not_learnt():
    dense = nn.Linear(1, 2)
    nn.init.zeros_(dense.weight)
    nn.init.zeros_(dense.bias)
    net = make_net(nn.Sequential(nn.Flatten(), dense))
    # One row of class 0 with pixel 10. After the step its logits are −0.95 and 0.95: the loss is ln(1 + e^1.9).
    valid = Rows(torch.full((1, 1, 1, 1), 10.0), torch.tensor([0]))
    net.train(Rows(*TWO_ROWS), valid, epochs=1, schedule="constant")

    assert dense.weight.flatten().tolist() == pytest.approx([-0.095, 0.095])
    assert net.history[-1, "valid_loss"] == pytest.approx(math.log(1 + math.exp(1.9)))
    assert net.history[-1, "valid_accuracy"] == 0
    # Training rows are measured the same way, after the step; of so few both.
    of_class_0, of_class_1 = math.log(1 + math.exp(0.19 * 2)), math.log(1 + math.exp(-0.19 * 4))
    assert net.history[-1, "train_loss"] == pytest.approx((of_class_0 + of_class_1) / 2)


# Where and how it runs


@pytest.fixture
def three_threads():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(n_threads)


def test_a_session_leaves_threads_and_random_numbers_as_they_were(three_threads):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with pytest.raises(KeyError) as failure, session("cpu", (1, 2)):  # also when it fails
        raise KeyError(torch.get_num_threads(), torch.rand(3))
    assert failure.value.args[0] == 1
    assert torch.get_num_threads() == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_sessions_of_several_python_threads_leave_torch_its_threads(three_threads):
    # One enters, a second one enters, the first one leaves, the second one leaves.
    one_is_in, two_is_in, one_is_out = threading.Event(), threading.Event(), threading.Event()

    def one():
        with session("cpu"), session("cpu"):  # within one of them another one may be opened
            one_is_in.set()
            assert two_is_in.wait(60)
        one_is_out.set()
        return torch.get_num_threads()

    def two():
        assert one_is_in.wait(60)
        with session("cpu"):
            two_is_in.set()
            assert one_is_out.wait(60)
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(one), pool.submit(two)
        assert first.result() == 3
        assert second.result() == (1, 3)
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:  # a thread that is started later
        assert pool.submit(torch.get_num_threads).result() == 3


def test_fits_and_predictions_in_several_python_threads_leave_torch_its_threads(few_digits, three_threads):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier("tiny", max_epochs=1, random_state=0).fit(X, y)
    labels = clf.predict(X_test).tolist()

    def work(i):
        again = clone(clf).fit(X, y) if i % 4 == 0 else clf
        return again.predict(X_test).tolist() == labels, torch.get_num_threads()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(16))) == {(True, 3)}
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3


def test_a_session_is_seeded_by_all_of_its_numbers():
    def numbers(*seed):
        with session("cpu", seed):
            return torch.rand(4).tolist()

    assert numbers(1, 2) == numbers(1, 2)
    assert len({tuple(numbers(*seed)) for seed in [(1, 2), (2, 1), (1, 3), (1, 2, 3), (2**31 - 2, 0)]}) == 5


def test_an_environment_variable_sets_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("CNNCLF_NUM_THREADS", "2")
    with session("cpu"):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"avx2": True, "avx512_bf16": False}, "float32"),  # emulated bfloat16 is slower than float32
        ({}, "float32"),
    ],
)
def test_auto_precision_asks_the_processor(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", "cpu") == precision
    assert choose_precision("float32", "cpu") == "float32"
    assert choose_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_device_is_a_gpu_where_there_is_one(monkeypatch, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto") == device
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("side", "n_rows"),
    [
        (2, 256),  # as many as fit a cache
        (1024, 16),  # 2²⁶ bytes: 16 images of 1024 × 1024 numbers of 4 bytes
        (1448, 8),  # 2²⁶ / (1448² · 4) = 8.002
        (8192, 1),  # 2²⁸ bytes each: one there must be
    ],
)
def test_images_are_evaluated_in_slices_that_bytes_bound(side, n_rows):
    sizes = []

    class Spy(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.expand(-1, 1, side, side).mean(3).flatten(1)[:, :2]  # what is given is what counts

    net = make_net(nn.Sequential(Spy(), nn.Linear(2, 2)))
    images, labels = torch.ones(2 * n_rows + 1, 1, 1, 1), torch.zeros(2 * n_rows + 1, dtype=torch.int64)
    net.logits(images)
    assert sizes == [1, n_rows, n_rows, 1]  # one to look at what an image takes
    assert len(net.get_iterator(Rows(images, labels))) == 3  # in validation, too
    assert max(len(y) for _, y in net.get_iterator(Rows(images, labels))) <= n_rows


def plain(image_shape, n_classes):
    return nn.Sequential(nn.Conv2d(3, 7, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(49, n_classes))


def in_a_block(image_shape, n_classes):
    block = Residual(nn.Sequential(nn.Conv2d(3, 7, 5, stride=2)), nn.Conv2d(3, 7, 5, stride=2))
    return nn.Sequential(block, nn.ReLU(), nn.Flatten(), nn.Linear(49, n_classes))


@pytest.mark.parametrize("build", [plain, in_a_block])
def test_in_bfloat16_a_stride_to_one_column_multiplies_nothing_that_nobody_wrote(build):
    # oneDNN's own convolution of these shapes gives NaN in most of such trials, as memory that was freed holds NaN.
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (16, 3, 17, 5), np.uint8), np.arange(16) % 2
    for seed in range(20):
        freed = [torch.full((int(n),), float("nan")) for n in rng.integers(1, 5000, 30)]
        del freed
        clf = CNNClassifier(build, precision="bfloat16", max_epochs=1, batch_size=8, random_state=seed).fit(X, y)
        assert np.isfinite(clf.history_[-1]["train_loss"])


@pytest.mark.parametrize(
    ("layer", "image_shape", "steps"),
    [
        (nn.Conv2d(1, 1, 3, stride=2), (1, 9, 3), True),  # 4 × 1
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), (1, 9, 2), True),  # 5 × 1
        (nn.Conv2d(1, 1, 3, stride=2), (1, 9, 5), False),  # 4 × 2
        (nn.Conv2d(1, 1, 3, stride=2), (1, 4, 4), False),  # 1 × 1
        (nn.Conv2d(1, 1, 3, stride=(2, 1)), (1, 9, 3), False),  # 4 × 1, but by no step sideways
        (nn.Linear(3, 1), (1, 9, 3), False),
    ],
)
def test_only_a_stride_to_rows_of_one_column_is_one(layer, image_shape, steps):
    assert steps_to_one_column(nn.Sequential(layer), image_shape) is steps


STEPPING_ONES = """
import numpy as np
from torch import nn
from cnnclf import CNNClassifier

def build(image_shape, n_classes):
    return nn.Sequential(nn.Conv2d(image_shape[0], 8, 1, stride=2), nn.Flatten(), nn.LazyLinear(n_classes))

for channels in (2, 3, 7):
    X = np.random.default_rng(0).integers(0, 256, (320, channels, 16, 14)).astype(np.uint8)
    clf = CNNClassifier(build, max_epochs=3, batch_size=8, image_shape=X.shape[1:], random_state=0)
    clf.fit(X, np.arange(320) % 2)
print("fitted")
"""


def test_a_network_whose_gradient_onednn_writes_beyond_its_memory_is_trained():
    # 1×1, stride 2, channels-last, a number of channels that AVX2 does not divide: the process ended, at times at once.
    avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    run = run_in_child(STEPPING_ONES, **avx2)
    assert (run.returncode, run.stdout) == (0, "fitted\n"), run.stderr
