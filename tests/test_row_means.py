"""A depthwise layer leaves the means of its rows to the pooling of a squeeze behind it: the same bits, a pass less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captured import Fn
from nets import error, every_image_alone, fast, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn.blocks import SqueezeExcite
from pycnn.planning import sections
from pycnn.planning.cpu import CpuTarget


def squeezed(kernel: int = 3, groups: int = 24, stride: int = 1) -> nn.Module:
    layer = nn.Conv2d(24, 24, kernel, stride, kernel // 2, groups=groups)
    tail = nn.Conv2d(24, 8, 1)
    return settle(nn.Sequential(nn.Conv2d(3, 24, 1), layer, nn.SiLU(), SqueezeExcite(24, 8), tail))


def steps(net: nn.Module, x: Tensor, **options: Any) -> list[str]:
    with torch.inference_mode():
        return [step.op for step in pycnn.explain(pycnn.optimize(net, **options), x).steps]


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuTarget, "row_means", False)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (4, 1)])
@pytest.mark.parametrize("n", [1, 3])
def test_the_bits_are_those_of_pooling_the_map(
    kernel: int, stride: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = squeezed(kernel, stride=stride), torch.randn(n, 3, 19, 22)
    assert steps(net, x).count("conv2d_means") == 1
    y = fast(net, x)
    assert error(y, truth(net, x)) <= 1e-5
    without(monkeypatch)
    assert "conv2d_means" not in steps(net, x)
    assert torch.equal(fast(net, x), y)


def test_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    every_image_alone(monkeypatch)
    net, x = squeezed(), torch.randn(5, 3, 19, 22)
    with torch.inference_mode():
        told = pycnn.explain(pycnn.optimize(net, threads=2), x).steps
    (step,) = [step for step in told if step.op == "conv2d_means"]
    assert "image by image" in step.layout
    y = fast(net, x, threads=2)
    assert error(y, truth(net, x)) <= 1e-5
    without(monkeypatch)
    assert torch.equal(fast(net, x, threads=2), y)


def test_a_section_that_ends_before_the_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    every_image_alone(monkeypatch)
    monkeypatch.setattr(sections, "is_mean", lambda op: False)
    kept = sections._worth

    def until_the_pooling(node: Any, *rest: Any) -> bool | None:
        return False if node.op.name == "adaptive_pool2d" else kept(node, *rest)

    monkeypatch.setattr(sections, "_worth", until_the_pooling)
    net, x = squeezed(), torch.randn(5, 3, 19, 22)
    assert "conv2d_means" not in steps(net, x, threads=2)
    assert error(fast(net, x, threads=2), truth(net, x)) <= 1e-5


def test_what_leaves_none() -> None:
    x = torch.randn(1, 3, 19, 22)
    assert "conv2d_means" not in steps(squeezed(groups=8), x)
    assert "conv2d_means" not in steps(squeezed(kernel=1), x)
    assert "conv2d_means" not in steps(squeezed(), x, dtype=torch.bfloat16)

    def pooled_twice(self: Fn, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y.mean((2, 3), keepdim=True) + nn.functional.adaptive_avg_pool2d(y, 2).amax()

    def largest(self: Fn, x: Tensor) -> Tensor:
        return self.layer(x).amax((2, 3))

    layer = settle(nn.Conv2d(24, 24, 3, groups=24))
    x = torch.randn(2, 24, 9, 9)
    assert "conv2d_means" not in steps(Fn(largest, layer=layer).eval(), x)
    net = Fn(pooled_twice, layer=layer).eval()
    assert steps(net, x).count("conv2d_means") == 1  # the map is there as well
    assert error(fast(net, x), truth(net, x)) <= 1e-5


def test_within_a_memory_limit_the_bits_are_the_same() -> None:
    net, x = squeezed(), torch.randn(1, 3, 96, 96)
    free = fast(net, x)
    with pytest.raises(pycnn.MemoryLimitError) as found:
        pycnn.optimize(net, memory_limit=1)(x)
    tight = pycnn.optimize(net, memory_limit=found.value.needed)
    with torch.inference_mode():
        assert torch.equal(tight(x), free)
        told = pycnn.explain(tight, x).steps
    assert "conv2d_means" not in [step.op for step in told]


def test_every_value_can_be_looked_at_and_every_step_knows_what_it_reads() -> None:
    net, x = squeezed(), torch.randn(2, 3, 19, 22)
    with torch.inference_mode():
        made = pycnn.optimize(net)
        certificate = pycnn.verify(made, net, x)
        told = pycnn.explain(made, x).steps
    assert certificate.ok and certificate.same_bits
    at = [step.op for step in told].index("conv2d_means")
    (pool,) = [step for step in told if step.op == "global_pool"]
    assert pool.inputs == (at,)
