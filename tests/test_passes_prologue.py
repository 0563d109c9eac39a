"""A batch norm or a gate before a 1x1 convolution: what the pass takes, and what networks make of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, lowered, norm, op, said
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import ir
from pycnn.passes import WITH_PROLOGUES

X = (2, 16, 6, 7)


def fused(model: nn.Module, *shapes: tuple[int, ...]) -> ir.Graph:
    return lowered(model, *(shapes or (X,)), passes=WITH_PROLOGUES)


def gated(self: Fn, x: Tensor) -> Tensor:
    g = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
    return self.conv(g * x)


def squeeze_excite(c: int = 16, **modules: nn.Module) -> dict[str, nn.Module]:
    return {
        "down": nn.Conv2d(c, 4, 1), "up": nn.Conv2d(4, c, 1), "conv": nn.Conv2d(c, 24, 1), **modules
    }  # fmt: skip


def preact(self: Fn, x: Tensor) -> Tensor:
    return self.conv(F.relu(self.bn(x)))


def test_a_batch_norm_and_its_relu() -> None:
    graph = fused(Fn(preact, bn=norm(16), conv=nn.Conv2d(16, 5, 1)), X, (1, 16, 3, 3))
    assert graph.has(batch_norm=0, conv2d=1, elementwise=0)
    conv = op(graph, "conv2d")
    assert isinstance(conv, ir.Conv2d) and conv.prologue is not None
    assert conv.prologue.act == ir.Act("relu")


def test_sizes_of_what_is_no_longer_made_are_those_of_the_map() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = x * self.down(F.adaptive_avg_pool2d(x, 1))
        n, _, h, w = y.shape
        z = self.conv(y).reshape(n, 3, 4, h, w).transpose(1, 2)
        return z.reshape(n, 12, h, w)

    graph = fused(
        Fn(forward, down=nn.Conv2d(16, 16, 1), conv=nn.Conv2d(16, 12, 1)), X, (3, 16, 4, 9)
    )
    assert any(getattr(n.op, "has_gate", False) for n in graph.nodes)


def test_a_gate_behind_the_residual() -> None:
    model = Fn(lambda self, x: x + gated(self, x), **squeeze_excite(conv=nn.Conv2d(16, 16, 1)))
    graph = fused(model, X, (3, 16, 2, 2))
    assert graph.has(arith=0, add=0)
    (node,) = (n for n in graph.nodes if getattr(n.op, "has_gate", False))
    assert node.inputs[:2] == (graph.inputs[0],) * 2 and len(node.inputs) == 3


STAYS: dict[str, tuple[Callable[[Fn, Tensor], Tensor], dict[str, nn.Module]]] = {
    "used elsewhere": (
        lambda self, x: (y := F.relu(self.bn(x)), self.conv(y) + self.conv(y))[1],
        {"bn": norm(16), "conv": nn.Conv2d(16, 16, 1)},
    ),
    "pool2d reads it": (lambda self, x: F.max_pool2d(self.bn(x), 2), {"bn": norm(16)}),
    "not a 1x1 one": (preact, {"bn": norm(16), "conv": nn.Conv2d(16, 4, 3, padding=1)}),
    "its activation is silu": (
        lambda self, x: self.conv(F.silu(self.bn(x))),
        {"bn": norm(16), "conv": nn.Conv2d(16, 4, 1)},
    ),
    "and one group": (preact, {"bn": norm(16), "conv": nn.Conv2d(16, 4, 1, groups=2)}),
    "conv behind it": (preact, {"bn": norm(16), "conv": nn.Conv2d(16, 4, 1, padding=1)}),
}


@pytest.mark.parametrize("reason", STAYS)
def test_what_stays(reason: str) -> None:
    function, modules = STAYS[reason]
    graph = fused(Fn(function, **modules))
    assert not any(getattr(n.op, "prologue", None) for n in graph.nodes)
    assert reason.removeprefix("conv behind it") in said(graph, "fuse_prologue")


def test_a_gate_of_one_pixel_for_one_pixel_stays() -> None:
    graph = fused(Fn(gated, **squeeze_excite()), (2, 16, 1, 1))
    assert not any(getattr(n.op, "has_gate", False) for n in graph.nodes)


def test_a_gate_that_is_no_pixel_is_refused() -> None:
    graph = fused(Fn(gated, **squeeze_excite()))
    (conv,) = (n.op for n in graph.nodes if getattr(n.op, "has_gate", False))
    assert conv.infer([(2, 16, 6, 7), (2, 16, 1, 1)], graph.tensors) == ((2, 24, 6, 7),)
    with pytest.raises(ir.ShapeError, match="gate"):
        conv.infer([(2, 16, 6, 7), (2, 16, 6, 7)], graph.tensors)


NETS = {
    "prologue": Fn(preact, bn=norm(16), conv=nn.Conv2d(16, 5, 1, stride=2)),
    "gate": Fn(gated, **squeeze_excite()),
    "gate and residual": Fn(
        lambda self, x: F.silu(x + gated(self, x)), **squeeze_excite(conv=nn.Conv2d(16, 16, 1))
    ),
    "slices of a join": Fn(
        lambda self, x: self.conv(F.relu(self.bn(torch.cat([x, self.down(x)], 1)))),
        down=nn.Conv2d(16, 8, 1), bn=norm(24), conv=nn.Conv2d(24, 9, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(1, 16, 9, 5), (5, 16, 6, 7), (2, 16, 1, 1)])
def test_networks_as_in_fp64(name: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = NETS[name].eval()
    fast = pycnn.optimize(model, strict=True)
    for x in (torch.randn(size), torch.randn(size).to(memory_format=torch.channels_last)):
        with torch.inference_mode():
            assert error(fast(x), truth(model, x)) < 1e-5


@pytest.mark.parametrize("name", ["prologue", "gate and residual"])
def test_image_by_image_and_in_bands_with_the_same_bits(name: str) -> None:
    torch.manual_seed(0)
    model, x = NETS[name].eval(), torch.randn(3, 16, 96, 80)
    with torch.inference_mode():
        whole = pycnn.optimize(model, threads=1)(x)
        told = pycnn.explain(pycnn.optimize(model, threads=1), x)
        limit = told.peak_bytes // 2 + told.workspace_bytes
        limited = pycnn.optimize(model, threads=1, memory_limit=limit)
        assert torch.equal(limited(x), whole)
        for i in range(3):
            assert torch.equal(pycnn.optimize(model, batch_invariant=True)(x)[i], limited(x)[i])


def test_a_changed_batch_norm_is_packed_again() -> None:
    torch.manual_seed(0)
    model = Fn(preact, bn=norm(16), conv=nn.Conv2d(16, 5, 1)).eval()
    fast, x = pycnn.optimize(model), torch.randn(X)
    with torch.inference_mode():
        before = fast(x)
        model.bn.running_mean.add_(1)
        after = fast(x)
        assert not torch.equal(before, after)
        assert error(after, truth(model, x)) < 1e-5


@pytest.mark.parametrize("name", NETS)
def test_bf16_networks(name: str) -> None:
    torch.manual_seed(0)
    model, x = NETS[name].eval(), torch.randn(2, 16, 6, 7)
    fast = pycnn.optimize(model, dtype=torch.bfloat16)
    with torch.inference_mode():
        theirs = error(model.to(torch.bfloat16)(x.bfloat16()).float(), truth(model.float(), x))
        assert error(fast(x).float(), truth(model, x)) < max(1.5 * theirs, 1e-2)


def test_explain_names_them() -> None:
    x = torch.randn(X)
    gate = pycnn.explain(pycnn.optimize(NETS["gate"].eval()), x)
    norm_ = pycnn.explain(pycnn.optimize(NETS["prologue"].eval()), x)
    assert any("gate" in step.fused for step in gate.steps)
    assert any("prologue: batch_norm + relu" in step.fused for step in norm_.steps)
