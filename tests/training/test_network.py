"""The answer for an image does not depend on the others in the batch: not on its place, nor on how many there are."""

import pytest
import torch
from torch import nn

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._table import ARCHITECTURES
from cnnclf.training._network import rows_alike, rows_at_once
from helpers import run_in_child

# As an AVX2 laptop computes, on every x86 processor that has more.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}

# A vector of AVX-512 holds 16 numbers, of AVX2 8; kernels of matrix products take 2 to 48 rows.
SIZES = (*range(1, 10), 13, 16, 17, 23, 24, 31, 32, 33, 48, 65, 100, 255)


class Own(nn.Module):
    """A network of one's own, no sequence: a convolution of one pixel, dense layers within a dictionary."""

    def __init__(self, activation, n_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding="same")
        self.mix = nn.Conv2d(8, 11, 1)
        self.dense = nn.ModuleDict({"hidden": nn.Linear(11, 37), "out": nn.Linear(37, n_classes)})
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.mix(self.activation(self.conv(x)))).mean((2, 3))
        return self.dense["out"](self.activation(self.dense["hidden"](x)))


def block():
    body = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.SiLU(), nn.Conv2d(5, 5, 3, padding=1, groups=5))
    return nn.Sequential(Residual(body, nn.Conv2d(1, 5, 1)), nn.Flatten(), nn.Linear(5 * 64, 3))


NETWORKS = {
    **{name: lambda name=name: ARCHITECTURES[name].build((1, 8, 8), 10) for name in ARCHITECTURES},
    "compact, 28×28": lambda: ARCHITECTURES["compact"].build((1, 28, 28), 10),
    "lenet5, 28×28": lambda: ARCHITECTURES["lenet5"].build((1, 28, 28), 10),
    "pool3_head3, 28×28": lambda: ARCHITECTURES["pool3_head3"].build((1, 28, 28), 10),
    "a residual block": block,
    **{
        f"own, {type(activation).__name__}": lambda activation=activation: Own(activation)
        for activation in (
            *(nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.SiLU(), nn.ELU(), nn.SELU(), nn.CELU(), nn.Softplus(), nn.Mish()),
            *(nn.GELU(), nn.GELU("tanh"), nn.Hardswish(), nn.LeakyReLU(), nn.PReLU(), nn.LogSigmoid()),
        )
    },
}


def sizes_and_places_that_matter(build, side):
    """List the sizes of batches in which a row gets other bits than in one of 256; 0 stands for a shuffled one."""
    torch.manual_seed(0)
    network = nn.Sequential(Standardise(torch.tensor([33.0]), torch.tensor([78.0])), build()).eval()
    network = rows_alike(network.to(memory_format=torch.channels_last))
    pixels = torch.randint(0, 256, (256, 1, side, side), dtype=torch.uint8)

    def answer(rows):
        with torch.inference_mode():
            return network(pixels[rows].contiguous(memory_format=torch.channels_last))

    wanted = answer(torch.arange(256))
    order = torch.randperm(256)
    found = [] if torch.equal(answer(order), wanted[order]) else [0]
    for size in SIZES:
        for start in {0, 5, 256 - size}:
            rows = torch.arange(256).roll(-start)[:size]
            if not torch.equal(answer(rows), wanted[rows]):
                found.append(size)
                break
    return found


def check(name):
    assert sizes_and_places_that_matter(NETWORKS[name], 28 if "28" in name else 8) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_is_answered_alike_at_every_place_of_every_batch(name):
    check(name)


def run(program, **environment):
    """Run a program in another process; libraries look at their variables when they compute for the first time."""
    run = run_in_child(program, **environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("variables", [AVX2, {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}], ids=["all of AVX2", "MKL alone"])
def test_a_row_is_answered_alike_on_an_avx2_processor(variables):
    program = "import tests.training.test_network as t\nfor name in t.NETWORKS: t.check(name)"
    run(program, **variables)


@pytest.mark.slow
def test_scikit_learns_check_of_the_order_of_rows_on_an_avx2_processor():
    program = """
from sklearn.utils.estimator_checks import check_methods_sample_order_invariance, check_methods_subset_invariance
from cnnclf import TestTimeAugmentation
from tests.classifier.test_sklearn_checks import CONFIGURATIONS
for estimator in [*CONFIGURATIONS, TestTimeAugmentation(CONFIGURATIONS[0])]:
    check_methods_sample_order_invariance(type(estimator).__name__, estimator)
    check_methods_subset_invariance(type(estimator).__name__, estimator)
"""
    run(program, **AVX2)


def test_one_image_alone_is_answered_as_among_all(few_digits):
    X, y, X_test, _ = few_digits
    clf = CNNClassifier("pool3_head3", max_epochs=1, random_state=0).fit(X, y)
    among_all = clf.predict_proba(X_test)
    for i in (0, 1, 399):
        assert clf.predict_proba(X_test[i : i + 1])[0].tolist() == among_all[i].tolist()


@pytest.mark.parametrize("n_rows", [1, 2, 300])
def test_answers_are_the_same_bits_while_another_thread_exports(few_digits, n_rows):
    # While it traces a network, torch.export turns oneDNN off for all threads.
    X, y, X_test, _ = few_digits
    clf = CNNClassifier("general", max_epochs=1, random_state=0).fit(X, y)
    usual = clf.predict_proba(X_test[:n_rows])
    torch.backends.mkldnn.set_flags(False)
    try:
        assert clf.predict_proba(X_test[:n_rows]).tobytes() == usual.tobytes()
    finally:
        torch.backends.mkldnn.set_flags(True)


def test_the_network_is_left_as_it_is_and_its_weights_are_not_copied():
    network = nn.Sequential(block(), nn.Linear(3, 2))
    before = {name: id(module) for name, module in network.named_modules()}
    alike = rows_alike(network)
    assert {name: id(module) for name, module in network.named_modules()} == before
    assert [*map(type, alike.modules())] == [*map(type, network.modules())]
    assert all(a is b for a, b in zip(alike.parameters(), network.parameters(), strict=True))
    x = torch.rand(4, 1, 8, 8)
    assert torch.allclose(alike(x), network(x), atol=1e-6)
    with torch.no_grad():
        network[1].weight.fill_(2.0)
    assert torch.allclose(alike(x), network(x), atol=1e-6)


def test_a_layer_of_ones_own_is_applied_as_it_is():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    patched = nn.Linear(2, 2)
    patched.forward = lambda x: x
    for layer in (Doubled(2, 2), patched, nn.ReLU()):
        assert rows_alike(layer) is layer


def test_the_largest_activation_is_found_within_a_layer():
    class Wide(nn.Module):
        def forward(self, x):
            return x.expand(-1, 2**20, 1, 1).relu().mean(1)  # 4 MiB an image

    assert rows_at_once(Wide(), torch.rand(2, 1, 1, 1)) == 16  # 2²⁶ / 2²²


@pytest.mark.slow
def test_memory_of_a_prediction_is_bounded_by_bytes():
    # What leaves the first layer of an image is 16 × 156 × 156 floats, 1.56 MB: of all images 399 MB, of a slice
    # 64 MiB, and two or three of them are alive at a time.
    program = """
import resource
import numpy as np
from cnnclf import CNNClassifier
X = np.random.default_rng(0).integers(0, 256, (256, 160, 160, 3), np.uint8)
clf = CNNClassifier(max_epochs=1, batch_size=4, random_state=0).fit(X[:8], np.arange(8) % 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
clf.predict(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert int(run(program)) < 350_000  # kB
