"""Results take the memory of an operand that dies with them: where, where not, and with the same bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, images
from nets import Branches, conv_bn, error, every_image_alone, settle, truth
from test_sections import Mixed
from torch import Tensor, nn

import pycnn
from pycnn.planning.check import PlacementError, check
from pycnn.planning.cpu import CpuTarget
from pycnn.planning.memory import Block, Placement

MAP = 8 * 12 * 12 * 4  # bytes of 8 channels


def convs(*sizes: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(8, 8, size, padding=size // 2) for size in sizes)


def peak(forward: Callable[..., object], x: Tensor, **layers: nn.Module) -> int:
    """Maps of 8 channels that are alive at once in the plan's arena."""
    net = Fn(forward, **layers).eval()
    with torch.inference_mode():
        fast = pycnn.optimize(net)
        assert error(fast(x), truth(net, x)) <= 1e-5
        bytes_ = pycnn.explain(fast, x).peak_bytes
    assert bytes_ % MAP == 0
    return bytes_ // MAP


X = images(1, 8, 12, 12).contiguous(memory_format=torch.channels_last)


def test_a_convolution_takes_the_memory_of_its_residual() -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        r = m.c[0](x)
        y = F.relu(m.c[2](m.c[1](r)) + r)  # r and the middle; then y in r's place
        return m.c[3](y)

    assert peak(forward, X, c=convs(3, 3, 3, 3)) == 2


def test_not_of_a_residual_that_is_read_later() -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        r = m.c[0](x)
        y = F.relu(m.c[2](m.c[1](r)) + r)
        return m.c[3](y) + r

    assert peak(forward, X, c=convs(3, 3, 3, 3)) == 3


def test_not_of_a_residual_whose_neighbours_it_reads() -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        r = m.c[0](x)
        return m.c[2](m.c[1](r) + r)

    assert peak(forward, X, c=convs(3, 3, 3)) == 2


def test_a_sum_and_an_activation_take_the_memory_of_what_they_are_of() -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        a, b = F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)
        y = F.relu(a + b)
        gate = y.mean((2, 3), keepdim=True)
        return F.max_pool2d(torch.sigmoid(torch.tanh(y * gate)), 3, 1, 1)

    def kept(m: Fn, x: Tensor) -> Tensor:
        a, b = F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)
        return F.max_pool2d(F.relu(a + b) * a, 3, 1, 1) + b

    assert peak(kept, X) == 3
    found = pycnn.explain(pycnn.optimize(Fn(forward).eval()), X)
    assert found.peak_bytes // MAP == 2


def test_a_slice_of_a_join_is_no_place_for_a_whole_map() -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        joined = torch.cat([F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)], 1)
        a, b = joined.chunk(2, 1)
        return F.max_pool2d(m.c[0](a) + b, 3, 1, 1)

    assert peak(forward, X, c=convs(3)) == 3


class Tower(nn.Module):
    """Residual blocks of every kind the plan has: pointwise, dense, depthwise, of a gate, of a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 24)
        self.blocks = nn.ModuleList(
            conv_bn(24, 24, k, groups=g) for k, g in [(1, 1), (3, 1), (5, 24)] * 2
        )
        self.norm, self.head = nn.BatchNorm2d(24), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = F.gelu(block(torch.tanh(x)) + x)
        x = F.silu(self.norm(F.avg_pool2d(x, 3, 2, 1)))
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        y = x.flatten(2).mean(2)
        return torch.relu(self.head(y) + y)


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [Tower, Branches, Mixed])
def test_bits_are_those_of_memory_of_their_own(
    make: Callable[[], nn.Module],
    dtype: torch.dtype,
    by_image: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if by_image:
        every_image_alone(monkeypatch)
    torch.manual_seed(0)
    net = settle(make()).to(dtype)
    x = images(3, 3, 14, 18).to(dtype)
    results, sizes = [], []
    for in_place in (True, False):
        monkeypatch.setattr(CpuTarget, "in_place", in_place)
        fast = pycnn.optimize(net)
        with torch.inference_mode():
            results.append(fast(x))
            sizes.append(pycnn.explain(fast, x).peak_bytes)
    for one, other in zip(*[(r,) if isinstance(r, Tensor) else r for r in results], strict=True):
        assert torch.equal(one, other)
    assert sizes[0] <= sizes[1]
    assert sizes[0] < sizes[1] or make is not Tower


def test_the_verifier_knows_where_a_block_may_be() -> None:
    blocks = [Block(0, 100, 0, 2), Block(1, 100, 2, 3), Block(2, 100, 0, 1)]
    check(blocks, Placement({0: 0, 1: 0, 2: 128}, 256), {1: 0})
    with pytest.raises(PlacementError, match="block 1 is not where block 0 ends"):
        check(blocks, Placement({0: 0, 1: 64, 2: 128}, 256), {1: 0})
    with pytest.raises(PlacementError, match="block 1 is not where block 2 ends"):
        check(blocks, Placement({0: 0, 1: 128, 2: 128}, 256), {1: 2})
    larger = [Block(0, 100, 0, 2), Block(1, 101, 2, 3)]
    with pytest.raises(PlacementError, match="block 1 is not where block 0 ends"):
        check(larger, Placement({0: 0, 1: 0}, 128), {1: 0})
    third = [*blocks[:2], Block(2, 100, 2, 2)]
    with pytest.raises(PlacementError, match="share bytes at step 2"):
        check(third, Placement({0: 0, 1: 0, 2: 0}, 128), {1: 0})
