"""In eval with gradients enabled the forward is fast and gradients are torch's own, to the bit."""

from __future__ import annotations

import copy

import torch
from nets import Branches, Outputs, conv_bn, error, settle, truth
from torch import nn

import pycnn


def test_gradients_are_bit_equal() -> None:
    net = settle(Branches())
    twin = copy.deepcopy(net)
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    y = pycnn.optimize(net)(x)
    assert error(y.detach(), truth(net, x.detach())) <= 1e-5
    grad = torch.randn_like(y)
    y.backward(grad)
    twin(z).backward(grad)
    assert torch.equal(x.grad, z.grad)
    for (name, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name


def test_frozen_parameters_get_no_gradient() -> None:
    net = settle(conv_bn(3, 8))
    net[0].weight.requires_grad_(False)
    x = torch.randn(1, 3, 8, 8)
    pycnn.optimize(net)(x).sum().backward()
    assert net[0].weight.grad is None and net[1].weight.grad is not None


def test_several_outputs_of_which_some_are_used() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 5, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, object]]:
            return self.a(x), {"b": self.b(x), "n": 3}

    net = settle(Two())
    twin = copy.deepcopy(net)
    x = torch.randn(1, 3, 8, 8)
    _, rest = pycnn.optimize(net)(x)
    rest["b"].square().sum().backward()
    twin(x)[1]["b"].square().sum().backward()
    assert rest["n"] == 3 and net.a.weight.grad is None
    torch.testing.assert_close(net.b.weight.grad, twin.b.weight.grad, rtol=1e-5, atol=1e-5)


def test_second_derivatives() -> None:
    net = settle(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 1)))
    x = torch.randn(1, 2, 6, 6, requires_grad=True)

    def penalty(f: nn.Module) -> torch.Tensor:
        (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), x)[0]

    torch.testing.assert_close(penalty(pycnn.optimize(net)), penalty(net))


def test_pass_through_outputs_keep_their_graph() -> None:
    net = settle(Outputs())
    x = torch.randn(1, 3, 6, 6, requires_grad=True)
    out = pycnn.optimize(net)(x)
    assert out["input"] is x
    out["map"].sum().backward()
    assert x.grad is not None


def test_fine_tuning_follows_torchs() -> None:
    net = settle(Branches())
    twin = copy.deepcopy(net)
    x, target = torch.randn(8, 3, 12, 12), torch.randint(0, 10, (8,))

    def losses(f: nn.Module) -> list[float]:
        optimizer = torch.optim.SGD(f.parameters(), lr=0.05, momentum=0.9)
        found = []
        for _ in range(8):
            loss = nn.functional.cross_entropy(f(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        return found

    fast, slow = losses(pycnn.optimize(net)), losses(twin)
    assert fast[-1] < fast[0]
    assert max(abs(a - b) for a, b in zip(fast, slow, strict=True)) < 1e-4
