"""Layers between permutes on maps, and factors of channels in weights: structure, numbers, and where neither fires."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, X, lowered, norm, op, said
from nets import error, fast, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn import ir
from pycnn.blocks import ConvNeXtBlock
from pycnn.planning import sections

C = X[1]


def mlp() -> dict[str, nn.Module]:
    return {"norm": nn.LayerNorm(C), "up": nn.Linear(C, 3 * C), "down": nn.Linear(3 * C, C)}


def last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def moved(graph: ir.Graph) -> int:
    """Steps that move elements."""
    return graph.count()["permute"] + graph.count()["rearrange"]


# --- sink_permute


def test_a_convnext_block_is_four_steps() -> None:
    block = settle(ConvNeXtBlock(C, layer_scale=0.7))
    graph = lowered(block, X)
    assert graph.has(conv2d=3, layer_norm=1)
    assert [node.op.name for node in graph.nodes] == ["conv2d", "layer_norm", "conv2d", "conv2d"]
    up, down = graph.nodes[2].op, graph.nodes[3].op
    assert up.act == ir.Act("gelu") and up.weight_shape == (4 * C, C, 1, 1)
    assert down.has_residual and len(down.norms) == 1


def test_additions_and_numbers_between_the_permutes_move_too() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = last(x)
        y = y + self.down(F.relu(self.up(self.norm(y)))) * 0.5
        return first(F.silu(y))

    graph = lowered(Fn(forward, **mlp()), X)
    assert graph.has(layer_norm=1, conv2d=2)
    assert op(graph, "layer_norm").axis == 1


def test_who_reads_the_permuted_value_gets_it() -> None:
    def both(self: Fn, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.up(last(x))
        return first(y), y.flatten(1, 2)

    graph = lowered(Fn(both, **mlp()), X)
    assert graph.has(conv2d=1) and moved(graph) > 0

    def returned(self: Fn, x: Tensor) -> Tensor:
        return self.norm(last(x))

    graph = lowered(Fn(returned, **mlp()), X)
    assert graph.has(layer_norm=1, permute=1)


STAYS = {
    "another permutation": lambda self, x: first(self.wide(x.permute(0, 3, 2, 1))),
    "not back": lambda self, x: self.narrow(last(x)).permute(0, 2, 1, 3),
}


@pytest.mark.parametrize("reason", STAYS)
def test_other_permutations_are_copies(reason: str) -> None:
    net = Fn(STAYS[reason], wide=nn.Linear(C, 5), narrow=nn.Linear(C, 5)).eval()
    x = torch.randn(X)
    assert error(fast(net, x), truth(net, x)) <= 1e-5
    assert moved(lowered(net, X)) > 0


def test_a_tensor_of_the_model_moves_with_its_axes_permuted() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = F.gelu(self.up(last(x)) * self.scale) * self.number + self.field
        return first(y / (self.rows.exp() + 1))

    net = Fn(forward, up=nn.Linear(C, 5))
    net.scale, net.number = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(1))
    net.field = nn.Parameter(torch.randn(X[0], *X[2:], 5))
    net.rows = nn.Parameter(torch.randn(X[2], 1, 5))
    graph = lowered(net, X)
    assert graph.has(conv2d=1, arith=3) and not moved(graph)  # the scale is part of the weight
    fast, x = pycnn.optimize(net, strict=True), torch.randn(X)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 1e-5
        net.scale.mul_(-2)
        net.field.add_(1)
        assert error(fast(x), truth(net, x)) <= 1e-5


def test_slopes_of_rows_stay_between_the_permutes() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        return first(self.slopes(self.up(last(x))))

    net = Fn(forward, up=nn.Linear(C, 5), slopes=nn.PReLU(X[2]))
    assert moved(lowered(net, X)) > 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_results_have_torchs_strides(channels_last: bool) -> None:
    x = torch.randn(2, C, 5, 7)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)

    def normed(self: Fn, x: Tensor) -> Tensor:
        return first(self.norm(last(x)))

    def widened(self: Fn, x: Tensor) -> Tensor:
        return first(F.gelu(self.up(last(x))))

    def activated(self: Fn, x: Tensor) -> Tensor:
        return self.conv(first(F.gelu(last(x))))

    for forward in (normed, widened, activated):
        net = Fn(forward, conv=nn.Conv2d(C, 3, 1), **mlp()).eval()
        with torch.inference_mode():
            assert fast(net, x).stride() == net(x).stride(), forward.__name__


def test_verify_compares_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "_CACHES", 0)
    net = settle(nn.Sequential(nn.Conv2d(3, C, 3), ConvNeXtBlock(C, 0.5), ConvNeXtBlock(C, 0.5)))
    x = torch.randn(3, 3, 9, 11)
    with torch.inference_mode():
        certificate = pycnn.verify(pycnn.optimize(net), net, x)
    assert certificate.ok and len(certificate.layers) == 9 and not certificate.notes
    assert "1.block.3 + gelu" in [layer.path for layer in certificate.layers]


# --- fold_scale


def scaled(shape: tuple[int, ...] | None, after: Any = lambda self, y: y) -> Fn:
    """conv * scale, or conv * 0.25."""

    def forward(self: Fn, x: Tensor) -> Tensor:
        return after(self, self.conv(x)) * (0.25 if shape is None else self.scale)

    net = Fn(forward, conv=nn.Conv2d(C, 5, 3, padding=1), bn=norm(5))
    if shape is not None:
        net.scale = nn.Parameter(torch.randn(shape))
    return net


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1, 1), (1,), None])
def test_factors_of_channels_are_part_of_the_weight(shape: tuple[int, ...] | None) -> None:
    assert lowered(scaled(shape), X).has(conv2d=1, arith=0)
    graph = lowered(scaled(shape, lambda self, y: self.bn(y)), X)
    assert graph.has(conv2d=1, arith=0, batch_norm=0)
    assert [type(n).__name__ for n in op(graph, "conv2d").norms] == ["Norm", "Scale"]


def test_factors_behind_a_linear_layer_are_its_features() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        return F.relu(self.fc(x) * self.scale)

    net = Fn(forward, fc=nn.Linear(6, 5))
    net.scale = nn.Parameter(torch.randn(5))
    graph = lowered(net, (2, 3, 6))
    assert graph.has(linear=1, arith=0, elementwise=0)


FACTORS_STAY = {
    "are not the channels'": scaled((1, 6)),
    "it follows elementwise": scaled((5, 1, 1), lambda self, y: F.relu(y)),
    "it follows pool2d": scaled((5, 1, 1), lambda self, y: F.max_pool2d(y, 2)),
}


def used_twice() -> Fn:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * self.scale + F.max_pool2d(y, 3, 1, 1)

    net = Fn(forward, conv=nn.Conv2d(C, 5, 1))
    net.scale = nn.Parameter(torch.randn(5, 1, 1))
    return net


@pytest.mark.parametrize("reason", [*FACTORS_STAY, "is used elsewhere too"])
def test_factors_stay(reason: str) -> None:
    graph = lowered(FACTORS_STAY[reason] if reason in FACTORS_STAY else used_twice(), X)
    assert graph.has(arith=1)
    assert reason in said(graph, "fold_scale")


def test_an_edited_factor_is_seen() -> None:
    net = scaled((5, 1, 1)).eval()
    optimised, x = pycnn.optimize(net), torch.randn(X)
    with torch.inference_mode():
        assert error(optimised(x), truth(net, x)) <= 1e-6
    with torch.no_grad():
        net.scale.mul_(-3)
    with torch.inference_mode():
        assert error(optimised(x), truth(net, x)) <= 1e-6
