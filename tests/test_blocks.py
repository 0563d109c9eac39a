"""What the shared blocks promise beyond being right inside the zoo's networks."""

import math

import pytest
import torch
from nets import error, settle

import pycnn
from pycnn.blocks import StochasticDepth
from pycnn.models import compound_scale


def test_stochastic_depth_keeps_the_expectation_and_drops_whole_images():
    drop = StochasticDepth(0.3).train()
    x = torch.randn(20000, 2, 3)
    y = drop(x)
    kept = (y != 0).any(dim=2).any(dim=1)
    assert torch.equal(y[kept], x[kept] * torch.tensor(1.0).div(0.7))
    assert not y[~kept].any()
    share = float(kept.float().mean())
    spread = math.sqrt(0.3 * 0.7 / len(x))
    assert abs(share - 0.7) < 5 * spread  # so that E[y] = share / 0.7 * x = x
    ones = torch.ones(20000, 1)
    assert abs(float(drop(ones).mean()) - 1) < 5 * spread / 0.7


def test_stochastic_depth_is_nothing_in_eval_and_at_its_ends():
    x = torch.randn(4, 3)
    assert StochasticDepth(0.5).eval()(x) is x
    assert StochasticDepth(0.0).train()(x) is x
    assert not StochasticDepth(1.0).train()(x).any()
    with pytest.raises(ValueError, match=r"p=1\.5 is not in \[0, 1\]"):
        StochasticDepth(1.5)


def test_stochastic_depth_grows_along_the_network():
    net = pycnn.create_model("efficientnet_b0", stochastic_depth=0.32)
    rates = [m.p for m in net.modules() if isinstance(m, StochasticDepth)]
    assert rates == [0.32 * i / 16 for i in range(16)]


def test_compound_scale_is_the_papers_formula():
    assert compound_scale(18, 1280, 224, 0) == (18, 1280, 224)
    once, twice = compound_scale(10, 100, 200, 1), compound_scale(10, 100, 200, 2)
    assert once == pytest.approx((12, 110, 230))
    assert twice == pytest.approx((14.4, 121, 264.5))
    growth = [a / b for a, b in zip(once, (10, 100, 200), strict=True)]
    assert growth[0] * growth[1] ** 2 * growth[2] ** 2 == pytest.approx(2, rel=0.05)
    assert compound_scale(1, 1, 1, 1, alpha=2, beta=1, gamma=1) == (2, 1, 1)
    with pytest.raises(ValueError, match="width=0 must be positive"):
        compound_scale(1, 0, 224, 1)
    with pytest.raises(ValueError, match=r"gamma=0\.5 must be at least 1"):
        compound_scale(1, 1, 224, 1, gamma=0.5)


@pytest.mark.parametrize(
    ("name", "mult"),
    [("mobilenetv1_100", 0.25), ("mobilenet_v2", 0.35), ("mobilenet_v3_small", 0.5)],
)
def test_width_multipliers(name, mult):
    whole, narrow = (pycnn.create_model(name, width_mult=m) for m in (1.0, mult))
    convs = [m.out_channels for m in narrow.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(c % 8 == 0 for c in convs)
    counts = [sum(p.numel() for p in net.parameters()) for net in (narrow, whole)]
    assert counts[0] < 0.8 * counts[1]
    settle(narrow)
    x = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        expected = narrow.double()(x.double())
        assert error(pycnn.optimize(narrow.float())(x), expected) < 1e-5
    with pytest.raises(ValueError, match="width_mult=0 must be positive"):
        pycnn.create_model(name, width_mult=0)
