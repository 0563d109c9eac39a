"""Transposed convolutions in optimised networks: what is fused, sizes that follow the input, what torch runs."""

import pytest
import torch
from nets import error, truth
from torch import nn

import pycnn


class Net(nn.Module):
    """A map halved and, by `up`, enlarged again."""

    def __init__(self, up, act=nn.Identity, norm=nn.Identity, to_size=False):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up, self.norm, self.act, self.to_size = up, norm(), act(), to_size

    def forward(self, x):
        y = self.down(x)
        y = self.up(y, output_size=x.shape[2:]) if self.to_size else self.up(y)
        return self.act(self.norm(y))


def steps(fast, x):
    return [s for s in pycnn.explain(fast, x).steps if s.op == "conv_transpose2d" and s.kernel]


def trained_norm(c):
    norm = nn.BatchNorm2d(c)
    with torch.no_grad():
        for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            t.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ({}, ""),
        ({"act": nn.ReLU}, "relu"),
        ({"act": nn.SiLU, "norm": lambda: trained_norm(6)}, "batch_norm + silu"),
    ],
)
def test_epilogues_are_fused(groups, options, fused):
    torch.manual_seed(1)
    up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, groups=groups)
    net = Net(up, **options).eval()
    fast = pycnn.optimize(net, strict=True)
    for size in ((12, 14), (9, 20)):
        x = torch.randn(2, 3, *size)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            (step,) = steps(fast, x)
        assert step.fused == fused
        assert len(pycnn.explain(fast, x).steps) <= 4


def test_a_result_of_the_callers_size():
    torch.manual_seed(1)
    net = Net(nn.ConvTranspose2d(8, 5, 2, stride=2), to_size=True).eval()
    net.down = nn.Conv2d(3, 8, 2, stride=2)
    fast = pycnn.optimize(net, strict=True)
    for size in ((12, 14), (13, 14), (13, 15)):  # h' is 2h or 2h + 1
        x = torch.randn(1, 3, *size)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            assert [s.output for s in steps(fast, x)] == [(1, 5, *size)]


def test_live_weights_and_a_second_reader():
    torch.manual_seed(1)
    net = Net(nn.ConvTranspose2d(8, 6, 2, stride=2), norm=lambda: trained_norm(6)).eval()
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 10)
    with torch.inference_mode():
        before = fast(x)
    for tensor in (net.up.weight, net.up.bias, net.norm.running_var):
        with torch.no_grad():
            tensor.mul_(1.5)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            assert not torch.equal(fast(x), before)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)

        def forward(self, x):
            y = self.up(x)
            return torch.relu(y), y

    both = Twice().eval()
    with torch.inference_mode():
        fast = pycnn.optimize(both)
        for mine, theirs in zip(fast(x), truth(both, x), strict=True):
            assert error(mine, theirs) < 1e-5
        assert [s.fused for s in steps(fast, x)] == [""]


@pytest.mark.parametrize(
    ("forward", "dtype", "reason"),
    [
        (lambda m, x: m(x), torch.float64, "float64"),
        (lambda m, x: m(x[0]), torch.float32, "3"),
        (
            lambda m, x: torch.nn.functional.conv_transpose2d(x, m.weight * x.mean(), m.bias),
            torch.float32,
            "weight is computed, not a tensor of the model",
        ),
    ],
)
def test_what_torch_runs(forward, dtype, reason):
    torch.manual_seed(1)

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 3)

        def forward(self, x):
            return forward(self.up, x)

    net, x = Other().to(dtype).eval(), torch.randn(1, 3, 5, 6, dtype=dtype)
    with torch.inference_mode():
        fast = pycnn.optimize(net)
        assert error(fast(x), truth(net, x)) < 1e-5
        assert not steps(fast, x)
        assert reason in str(pycnn.explain(fast, x).fallbacks)
