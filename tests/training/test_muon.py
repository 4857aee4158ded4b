"""Muon: kernels take orthogonal steps, all other parameters those of AdamW."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.training._muon import Muon, orthogonal

RATE, DECAY = 0.1, 0.5


def fitted_gradients(seed=0):
    """A network with kernels, norms and dense weights, and the gradients of one batch."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))
    network(torch.randn(5, 2, 4, 4)).square().mean().backward()
    return network


def groups(network):
    return [{"params": list(network.parameters()), "weight_decay": DECAY}]


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (64, 2, 3, 3), (4, 4, 1, 1), (1, 5, 1, 1), (6, 5, 3)])
def test_the_iteration_keeps_singular_vectors_and_takes_singular_values_towards_one(shape):
    torch.manual_seed(0)
    kernel = torch.randn(shape)
    u, singular, v = np.linalg.svd(kernel.flatten(1).double().numpy(), full_matrices=False)
    singular /= np.linalg.norm(singular)  # of a matrix of length 1
    for _ in range(3):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    np.testing.assert_allclose(orthogonal(kernel).flatten(1), u @ np.diag(singular) @ v, rtol=0, atol=1e-5)


def test_a_kernel_of_zeros_stays_zeros():
    assert not orthogonal(torch.zeros(3, 2, 3, 3)).any()


def test_the_step_of_a_single_row_by_hand():
    # The gradient (3, 4) of one row has length 5, so the iterations begin with the singular value σ = 1:
    # σ ← 3.4445·σ − 4.775·σ³ + 2.0315·σ⁵ gives 0.7010, 1.1136 and 0.7207.
    # The first momentum is a tenth of the gradient, and what is ahead of it has the same direction, (0.6, 0.8).
    # Step: rate · 0.4 · √max(1, 2) · 0.7207 = 0.1 · 0.4 · 1.41421 · 0.7207 = 0.040769, along (0.6, 0.8).
    # Decay: the kernel shrinks by 1 − 0.1 · 0.5 = 0.95 before it.
    kernel = nn.Parameter(torch.tensor([[[[10.0, 20.0]]]]))
    kernel.grad = torch.tensor([[[[3.0, 4.0]]]])
    Muon([kernel], lr=RATE, weight_decay=DECAY).step()
    expected = [9.5 - 0.040769 * 0.6, 19.0 - 0.040769 * 0.8]
    np.testing.assert_allclose(kernel.detach().flatten(), expected, rtol=0, atol=2e-6)


def test_momentum_carries_on_where_the_gradient_ends():
    kernel = nn.Parameter(torch.zeros(1, 1, 1, 2))
    optimizer = Muon([kernel], lr=RATE, weight_decay=0.0)
    for gradient in ([1.0, 0.0], [0.0, 0.0]):
        kernel.grad = torch.tensor(gradient).reshape(1, 1, 1, 2)
        optimizer.step()
    # Both steps have the length of the last test, whatever the length of what they come from.
    np.testing.assert_allclose(kernel.detach().flatten(), [-2 * 0.040769, 0.0], rtol=0, atol=2e-6)


def test_all_other_parameters_are_adamws_to_the_bit():
    network = fitted_gradients()
    other = copy.deepcopy(network)
    for parameter, twin in zip(network.parameters(), other.parameters(), strict=True):
        twin.grad = parameter.grad.clone()
    ours = Muon(groups(network), lr=RATE, betas=(0.9, 0.99), fused=True)
    theirs = torch.optim.AdamW(groups(other), lr=RATE, betas=(0.9, 0.99), fused=True)
    for _ in range(3):
        ours.step()
        theirs.step()
    same = [torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True)]
    assert same == [False, True, True, True, True, True]  # the kernels come first


def test_gradients_are_there_after_a_step_and_a_closure_is_called_once():
    network = fitted_gradients()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    calls = []
    assert Muon(groups(network), lr=RATE).step(lambda: calls.append(torch.is_grad_enabled()) or 7.0) == 7.0
    assert calls == [True]
    assert all(torch.equal(a, p.grad) for a, p in zip(before, network.parameters(), strict=True))


def test_a_kernel_without_a_gradient_stays_as_it_is():
    network = fitted_gradients()
    network[0].weight.grad = None
    before = network[0].weight.detach().clone()
    Muon(groups(network), lr=RATE).step()
    assert torch.equal(network[0].weight, before)


def test_its_state_is_that_of_another_after_a_copy():
    network = fitted_gradients()
    optimizer = Muon(groups(network), lr=RATE)
    optimizer.step()
    twin = copy.deepcopy(network)
    for parameter, other in zip(network.parameters(), twin.parameters(), strict=True):
        other.grad = parameter.grad.clone()
    resumed = Muon(groups(twin), lr=RATE)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step()
    resumed.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))
