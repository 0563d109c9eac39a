"""Passes that fuse, and whole networks through all of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, X, lowered, norm, op, said
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import capture
from pycnn.passes import run_passes

# --- fuse_activation


def test_activations_fuse_into_conv_linear_and_add() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = F.silu(self.conv(x))
        z = F.leaky_relu(y + F.max_pool2d(x, 3, 1, 1), 0.3)
        return F.gelu(self.fc(z))

    graph = lowered(Fn(forward, conv=nn.Conv2d(4, 4, 3, padding=1), fc=nn.Linear(6, 3)), X)
    assert graph.has(elementwise=0, add=1)
    assert op(graph, "add").act == ir.Act("leaky_relu", 0.3)
    assert op(graph, "linear").act == ir.Act("gelu")


def test_an_activation_fuses_into_a_batch_norm_of_its_own() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.bn(x)))

    graph = lowered(Fn(forward, bn=norm(4), conv=nn.Conv2d(4, 4, 1)), X)
    assert graph.has(batch_norm=1, conv2d=1, elementwise=0)
    assert op(graph, "batch_norm").act == ir.Act("silu")


ACT_STAYS = {
    "used elsewhere": lambda self, x: (y := self.conv(x), F.relu(y) * y)[1],
    "the activation relu already": lambda self, x: torch.sigmoid(F.relu(self.conv(x))),
    "follows pool2d": lambda self, x: F.relu(F.max_pool2d(x, 2)),
    "the model's input": lambda self, x: F.relu(x),
}


@pytest.mark.parametrize("reason", ACT_STAYS)
def test_an_activation_stays(reason: str) -> None:
    graph = lowered(Fn(ACT_STAYS[reason], conv=nn.Conv2d(4, 4, 1)), X)
    assert graph.has(elementwise=1)
    assert reason in said(graph, "fuse_activation")


# --- fuse_residual


def basic_block(self: Fn, x: Tensor) -> Tensor:
    y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
    y += x
    return F.relu(y, inplace=True)


def convs() -> dict[str, nn.Module]:
    return {
        "conv1": nn.Conv2d(4, 4, 3, padding=1, bias=False), "bn1": norm(4),
        "conv2": nn.Conv2d(4, 4, 3, padding=1, bias=False), "bn2": norm(4),
    }  # fmt: skip


def test_a_basic_block_is_two_convolutions() -> None:
    graph = lowered(Fn(basic_block, **convs()), X, (3, 4, 5, 9))
    assert [n.op.name for n in graph.nodes] == ["conv2d", "conv2d"]
    last = graph.nodes[1]
    assert last.inputs == (graph.nodes[0].outputs[0], graph.inputs[0])
    assert (last.op.has_residual, last.op.act.kind) == (True, "relu")
    assert [n.path for n in graph.nodes] == ["conv1", "conv2"]


def test_of_two_convolutions_the_later_takes_the_sum() -> None:
    for flip in (False, True):

        def forward(self: Fn, x: Tensor, flip: bool = flip) -> Tensor:
            a, b = self.conv1(x), self.conv2(x)
            return b + a if flip else a + b

        graph = lowered(Fn(forward, **convs()), X)
        assert graph.has(conv2d=2, add=0)
        assert [n.op.has_residual for n in graph.nodes] == [False, True]


def test_an_earlier_convolution_waits_for_its_residual() -> None:
    graph = lowered(Fn(lambda self, x: self.conv1(x) + F.max_pool2d(x, 3, 1, 1), **convs()), X)
    assert [n.op.name for n in graph.nodes] == ["pool2d", "conv2d"]


def test_a_chain_of_sums() -> None:
    graph = lowered(Fn(lambda self, x: self.conv1(x) + self.conv2(x) + x, **convs()), X)
    assert graph.has(conv2d=2, add=1)
    assert "has a residual already" in said(graph, "fuse_residual")


def test_linear_takes_a_residual() -> None:
    graph = lowered(
        nn.Sequential(Fn(lambda self, x: x + self.fc(x), fc=nn.Linear(6, 6)), nn.ReLU()), X
    )
    assert [n.op.name for n in graph.nodes] == ["flatten", "linear", "unflatten"]


SUM_STAYS = {
    "both operands are the same": lambda self, x: (y := self.conv1(x), y + y)[1],
    "activation before the addition": lambda self, x: F.silu(self.conv1(x)) + x,
    "used elsewhere": lambda self, x: (y := self.conv1(x), (y + x) * y)[1],
    "made by pool2d": lambda self, x: F.max_pool2d(x, 3, 1, 1) + x,
    "the size of the output of conv2d": lambda self, x: (
        y := self.conv1(x), z := F.max_pool2d(x, 3, 1, 1).reshape(y.shape), y + z)[2],
}  # fmt: skip


@pytest.mark.parametrize("reason", SUM_STAYS)
def test_a_sum_stays(reason: str) -> None:
    graph = lowered(Fn(SUM_STAYS[reason], **convs()), X)
    assert graph.has(add=1)
    assert reason in said(graph, "fuse_residual")


# --- flatten_linear


def test_a_classifier_reads_the_map_as_it_lies() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 2)
    )
    graph = lowered(model, X, (7, 4, 4, 10))
    assert [n.op.name for n in graph.nodes] == ["conv2d", "conv2d", "flatten", "linear"]
    whole = graph.nodes[1].op
    assert (whole.weight_shape, whole.act.kind) == ((5, 3, 4, 4), "relu")
    assert ir.resolve(whole, ir.infer_shapes(graph, [(7, 4, 4, 10)])).weight_shape == (5, 3, 2, 8)
    with pytest.raises(ir.ShapeError, match="cannot be viewed"):
        ir.infer_shapes(graph, [(1, 4, 8, 8)])


def test_after_a_global_pool_the_classifier_is_pointwise() -> None:
    graph = lowered(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)), X, (1, 4, 3, 9)
    )
    assert [n.op.name for n in graph.nodes] == ["adaptive_pool2d", "conv2d", "flatten"]
    assert op(graph, "conv2d").weight_shape == (5, 4, 1, 1)
    assert not any(isinstance(leaf, ir.Dim) for leaf in ir.walk(op(graph, "conv2d")))


LINEAR_STAYS = {
    "the batch is flattened too": lambda self, x: F.linear(x.flatten(), torch.ones(2, 288)),
    "another reader": lambda self, x: F.linear(x, self.fc.weight),
    "part of the map": lambda self, x: self.fc(x.flatten(2)[:, :, :6]),
}


@pytest.mark.parametrize("case", LINEAR_STAYS)
def test_a_linear_layer_stays(case: str) -> None:
    assert lowered(Fn(LINEAR_STAYS[case], fc=nn.Linear(6, 3)), X).has(conv2d=0)


# --- dead_code


def test_unused_nodes_go_and_effects_stay() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        unused = self.conv1(x) * 2
        torch.rand(3)
        return F.relu(x) if unused is not None else x

    graph = lowered(Fn(forward, **convs()), X)
    assert graph.has(conv2d=0, torch=1, elementwise=1)


def test_a_value_whose_size_is_used_stays() -> None:
    graph = lowered(
        Fn(
            lambda self, x: F.interpolate(x, size=self.conv(x).shape[2:]),
            conv=nn.Conv2d(4, 4, 3, 2),
        ),
        X,
        (1, 4, 9, 12),
    )
    assert graph.has(conv2d=1)


# --- whole nets


class Bottleneck(nn.Module):
    def __init__(self, c: int, m: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, m, 1, bias=False), norm(m)
        self.conv2, self.bn2 = nn.Conv2d(m, m, 3, stride, 1, bias=False), norm(m)
        self.conv3, self.bn3 = nn.Conv2d(m, 4 * m, 1, bias=False), norm(4 * m)
        self.relu = nn.ReLU(inplace=True)
        same = c == 4 * m and stride == 1
        self.downsample = (
            None if same else nn.Sequential(nn.Conv2d(c, 4 * m, 1, stride, bias=False), norm(4 * m))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def test_a_residual_net_is_convolutions_and_pools() -> None:
    stem = [
        nn.Conv2d(3, 16, 7, 2, 3, bias=False),
        norm(16),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    blocks = [Bottleneck(16, 8), Bottleneck(32, 8), Bottleneck(32, 16, 2), Bottleneck(64, 16)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(), nn.Linear(64, 10)]
    graph = lowered(nn.Sequential(*stem, *blocks, *head), (2, 3, 64, 64), (1, 3, 75, 48))
    assert graph.has(conv2d=16, pool2d=1, adaptive_pool2d=1, flatten=1, linear=0)
    assert len(graph.nodes) == 19
    assert sum(getattr(n.op, "has_residual", False) for n in graph.nodes) == 4
    assert not graph.notes


def test_a_dense_inverted_and_gated_net() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = F.hardswish(self.bn1(self.depth(x)))
        gate = F.hardsigmoid(self.conv1(F.adaptive_avg_pool2d(y, 1)))
        return self.conv2(torch.cat([y * gate, x], 1)[:, 2:6]).add_(x)

    modules = {**convs(), "depth": nn.Conv2d(4, 4, 5, padding="same", groups=4)}
    graph = lowered(Fn(forward, **modules), X, (1, 4, 9, 3), (1, 4, 1, 1))
    assert graph.has(
        conv2d=3, concat=1, arith=1, slice=1, torch=0, add=0, elementwise=0, batch_norm=0
    )


def test_an_error_names_the_pass() -> None:
    def breaks(graph: ir.Graph) -> ir.Graph:
        return graph.replace(nodes=graph.nodes[1:])

    graph = capture(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)), (torch.randn(X),))
    with pytest.raises(ir.GraphError, match=r"after breaks: node 0"):
        run_passes(graph, (breaks,))
