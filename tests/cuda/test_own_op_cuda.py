"""torch's own convolution as a kernel of CUDA plans: what it computes there, and when measured times choose it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from launch import DEVICE, DTYPES, kernels
from nets import Branches
from random_nets import random_net
from test_plan_cuda import HostTarget, check, program, randn, settle, steps
from torch import Tensor, nn

import pycnn
from pycnn.planning import own_op
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights

OWN = {
    "conv2d_torch",
    "conv2d_pool_torch",
    "conv2d_sums_torch",
    "conv2d_layer_norm_torch",
    "conv_transpose2d_torch",
}
LAST = 99  # the variant that is torch's own op wherever it is a candidate


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of `check` take the last candidate for every step."""
    monkeypatch.setattr(HostTarget, "__init__", _with_variant(HostTarget.__init__))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def _with_variant(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, *args, **fields: init(self, *args, **{"variant": LAST, **fields})


def taken(made: Program, x: Tensor) -> int:
    return sum(step in OWN for step in steps(made, x))


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(5, 7, 3, stride=2, padding=1),
        nn.Conv2d(8, 12, (3, 2), padding=(2, 0), dilation=(2, 1), groups=4, bias=False),
        nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.Conv2d(6, 6, 1),
        nn.Conv2d(4, 8, 3, padding=8, dilation=8),  # taps that see padding alone are left out
        nn.ConvTranspose2d(6, 9, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(8, 4, (2, 3), stride=(2, 1), groups=2, dilation=(1, 2), bias=False),
        nn.BatchNorm2d(6),
    ],
    ids=lambda layer: f"{type(layer).__name__}{getattr(layer, 'kernel_size', '')}",
)
@pytest.mark.usefixtures("last")
def test_every_kind_of_convolution(layer: nn.Module, dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    layer.reset_parameters()  # those of its making are other ones in every run
    c = getattr(layer, "in_channels", 6)
    net = settle(nn.Sequential(layer, nn.SiLU()))
    for size in ((2, c, 9, 7), (1, c, 12, 5)):
        x = randn(*size).to(dtype)
        assert taken(check(net, x, factor=2), x) == 1


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
@pytest.mark.usefixtures("last")
def test_networks_of_torchs_own_convolutions(name: str) -> None:
    """Residuals, slices of joins, layers of rows, activations: all in the launch that follows."""
    torch.manual_seed(0)
    net, x = settle(pycnn.create_model(name)), randn(1, 3, 32, 32).bfloat16()
    assert taken(check(net, x), x) > 20


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.usefixtures("last")
def test_branches_and_random_networks(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    check(settle(Branches()), randn(2, 3, 12, 10).to(dtype), factor=3)
    for seed in range(700, 706):
        dice = Random(seed)
        net, c = random_net(dice)
        check(net, randn(2, c, dice.randint(9, 17), dice.randint(9, 17)).to(dtype), factor=4)


def target(dtype: torch.dtype = torch.bfloat16, **fields: Any) -> HostTarget:
    fields = {"device": DEVICE, "tf32": False, **fields}
    return HostTarget(kernels=kernels(), dtype=dtype, **fields)


CONV = {
    "n": 2,
    "h": 8,
    "w": 8,
    "c": 8,
    "k": 8,
    "kh": 3,
    "kw": 3,
    "oh": 8,
    "ow": 8,
    "ph": 1,
    "pw": 1,
}
CONV |= {"ldx": 8, "ldy": 8}


def test_where_torchs_own_is_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    for params, able in (
        ({}, True),
        ({"oh": 7}, False),  # padded above alone
        ({"ph": -1, "oh": 4}, False),
        ({"x_nchw": 1}, False),
    ):
        found = target().candidates("conv2d", {**CONV, **params}) if able else []
        assert own_op.takes("conv2d", {**CONV, **params}) == able == ("conv2d_torch" in found)
    assert "conv2d_torch" not in target(batch_invariant=True).candidates("conv2d", CONV)
    assert not any("torch" in name for name in target().candidates("elementwise", {"c": 8}))
    for allowed, tf32, able in ((True, False, False), (False, False, True), (True, True, True)):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        found = target(torch.float32, tf32=tf32).candidates("conv2d", CONV)
        assert ("conv2d_torch" in found) == able
        assert any("_tf32_" in name for name in found) == tf32


def test_candidates_are_those_that_take_the_problem() -> None:
    able = target().candidates("conv2d", CONV)
    assert able[0] == target().rule("conv2d", CONV) and able[-1] == "conv2d_torch"
    assert len(set(able)) == len(able) and sum("igemm" in name for name in able) > 1
    assert not any(
        "igemm" in name for name in target().candidates("conv2d", CONV, 3)
    )  # off 16 bytes
    assert all(target().takes("conv2d", name, CONV, 0) for name in able)
    assert not target().takes("conv2d", able[0].replace("bf16", "f16"), CONV, 0)


def test_what_torch_makes_counts_as_memory() -> None:
    net, x = settle(nn.Conv2d(8, 24, 3, padding=1)).to(DEVICE, torch.bfloat16), randn(2, 8, 6, 5)
    made = program(net, x.bfloat16())
    own = replace(made.target(), variant=LAST)
    again = Program(made.graph, Weights(made.graph.tensors, own), lambda: own)
    now = made.at([x.bfloat16()])
    plans = [p.planner.lowered(now.items[0], [x.bfloat16()], now) for p in (made, again)]
    sizes = [plan.plan.memory_bytes for plan in plans]
    assert sizes[1] - sizes[0] == plans[1].workspace_bytes == 2 * 24 * 6 * 5 * 2


@torch.no_grad()
def test_a_timed_run_is_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of torch's own ops once, each step's launches between two marks."""
    layers = [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1)]
    net, x = settle(nn.Sequential(*layers)).to(DEVICE, torch.bfloat16), randn(2, 8, 6, 6).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    graph, own = program(net, x).graph, target(variant=LAST)
    made = Program(graph, Weights(graph.tensors, own), lambda: own)
    now = made.at([x])
    plan = made.planner.lowered(now.items[0], [x], now)
    calls = []
    run = own_op.OwnConvolution.__call__
    monkeypatch.setattr(
        own_op.OwnConvolution, "__call__", lambda *args: calls.append(1) or run(*args)
    )
    first, second = plan.fresh_outputs(), plan.fresh_outputs()
    own.run(plan.plan, [x], first)
    assert len(calls) == 2
    second[0].fill_(torch.nan)
    times = own.times(plan.plan, plan.steps, plan.parts, [x], second)
    assert len(calls) == 4 and len(times) == len(plan.steps) == 3 and min(times) > 0
    assert torch.equal(first[0], second[0])
