"""Which convolutions and poolings a CUDA plan runs as one kernel, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from launch import DEVICE, DTYPES
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from test_plan_cuda import check, program, randn, settle
from torch import Tensor, nn

import pycnn
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights


def stem(pool: nn.Module, act: nn.Module | None = None, c: int = 3, **fields: Any) -> nn.Module:
    fields = {"stride": 2, "padding": 1, "bias": False, **fields}
    layers = [nn.Conv2d(c, 20, 3, **fields), nn.BatchNorm2d(20), act or nn.ReLU(), pool]
    return settle(nn.Sequential(*layers, nn.Conv2d(20, 8, 1)))


def steps(made: Program, x: Tensor) -> list[str]:
    """The kernels of its plans for x as it lies in memory."""
    return [step.kernel for plan in made.plans([x]) for step in plan.steps]


def pooled(made: Program, x: Tensor) -> list[str]:
    return [step for step in steps(made, x) if "conv2d_pool" in step]


POOLS: dict[str, Callable[[], nn.Module]] = {
    "3": lambda: nn.MaxPool2d(3, 2, 1),
    "2": lambda: nn.MaxPool2d(2, 2),
    "ceil": lambda: nn.MaxPool2d(3, 2, 0, ceil_mode=True),
    "padded ceil": lambda: nn.MaxPool2d(2, 2, 1, ceil_mode=True),
}


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_stem_is_one_kernel(pool: str, dtype: torch.dtype, channels_last: bool) -> None:
    torch.manual_seed(6)
    net = stem(POOLS[pool]())
    for size in ((2, 3, 23, 30), (1, 3, 17, 16)):
        x = randn(*size).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
        made = check(net, x, factor=2)
        (found,) = pooled(made, x)
        assert ("row" in found) == channels_last and not any(
            "pool2d_w" in s for s in steps(made, x)
        )


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.usefixtures("last")
def test_torchs_own_pools_too(pool: str, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = randn(2, 3, 23, 30).to(dtype)
    made = check(stem(POOLS[pool]()), x, factor=2)
    assert pooled(made, x) == ["conv2d_pool_torch"] and taken(made, x) == 2


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (stem(nn.AvgPool2d(2)), "no maximum"),
        (stem(nn.MaxPool2d((3, 2), 2)), "no square window"),
        (stem(nn.MaxPool2d(3, 2, 1, dilation=2)), "dilated"),
        (stem(nn.MaxPool2d(2, 2), nn.SiLU()), "does not keep the order"),
        (stem(nn.MaxPool2d(2, 2), c=8), "more channels than an image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_it_must_not_be_one(net: nn.Module, why: str) -> None:
    x = randn(1, net[0].in_channels, 24, 24).bfloat16()
    made = check(net, x, factor=2)
    assert pooled(made, x) == []


class Colours(nn.Module):
    """The last three channels of six."""

    def __init__(self, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 2, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(self.conv(x[:, -3:]).relu(), 2)


@pytest.mark.parametrize(("c", "dilation"), [(6, 1), (3, 2), (6, 2)])
def test_an_image_that_neither_kernel_reads_as_it_lies_is_copied(c: int, dilation: int) -> None:
    torch.manual_seed(6)
    x = randn(2, c, 21, 18).bfloat16().contiguous(memory_format=torch.channels_last)
    made = check(settle(Colours(dilation)), x, factor=2)
    assert len(pooled(made, x)) == 1 and any("concat" in step for step in steps(made, x))


class Twice(nn.Module):
    """A map that is pooled and also read whole."""

    def __init__(self, returned: bool) -> None:
        super().__init__()
        self.conv, self.pool, self.returned = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2), returned
        self.last = nn.Conv2d(8, 8, 2, 2)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x).relu()
        return (self.pool(y), y) if self.returned else self.pool(y) + self.last(y)


@pytest.mark.parametrize("returned", [False, True])
def test_a_map_that_somebody_else_reads_is_made(returned: bool) -> None:
    torch.manual_seed(6)
    x = randn(1, 3, 16, 16).bfloat16()
    assert pooled(check(settle(Twice(returned)), x, factor=3), x) == []


@torch.no_grad()
def test_a_plan_with_a_memory_limit_keeps_the_two_apart() -> None:
    """Bands of rows have no kernel for both."""
    net = stem(nn.MaxPool2d(2, 2)).to(DEVICE, torch.bfloat16)
    x = randn(1, 3, 24, 24).bfloat16()
    free = program(net, x)
    weights = Weights(free.graph.tensors, free.target())
    tight = Program(free.graph, weights, free.target, memory_limit=1 << 20)
    assert pooled(free, x) and not pooled(tight, x)
    assert torch.equal(tight.run([x]), free.run([x]))


@torch.no_grad()
def test_what_is_told_of_it() -> None:
    model, x = (
        stem(nn.MaxPool2d(3, 2, 1)).to(DEVICE, torch.bfloat16),
        randn(1, 3, 24, 24).bfloat16(),
    )
    fast = pycnn.optimize(model)
    first = next(s for s in pycnn.explain(fast, x).steps if s.op == "conv2d_pool")
    assert first.fused == "batch_norm + relu + max_pool 3×3" and first.window == "3×3, stride 2"
    assert first.output == (1, 20, 6, 6) and first.flops == 2 * 12 * 12 * 20 * 27
    found = pycnn.verify(fast, model, x)
    assert found.ok and found.same_bits
    model[0].weight.mul_(2)
    model[1].running_mean.add_(0.3)
    again = pycnn.optimize(model)(x)
    assert torch.equal(fast(x), again)
