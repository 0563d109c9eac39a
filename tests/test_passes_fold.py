"""Passes that remove and fold: each where it fires, and where it must not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, X, lowered, norm, op, said
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import capture
from pycnn.passes import run_passes

# --- drop_identity


def test_identities_go() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = F.dropout2d(F.relu(x), training=False).clone()
        return torch.sigmoid(F.pad(y.flatten(2, 2).contiguous(), (0, 0, 0, 0)).detach())

    graph = lowered(Fn(forward), X, (1, 3, 5, 2))
    assert [n.op.name for n in graph.nodes] == ["elementwise", "elementwise"]


def test_a_returned_copy_stays_a_copy() -> None:
    graph = lowered(Fn(lambda self, x: x.clone()), X)
    assert graph.has(identity=1)
    assert "must be a copy" in said(graph, "drop_identity")
    graph = lowered(Fn(lambda self, x: (y := F.relu(x), y.clone())), X)
    assert graph.has(identity=1)
    graph = lowered(Fn(lambda self, x: F.relu(x).clone()), X)
    assert graph.has(identity=0)


# --- fold_pad


def test_zero_pads_fold_into_the_convolution() -> None:
    model = nn.Sequential(
        nn.ZeroPad2d((1, 2, 0, 3)), nn.ZeroPad2d(1), nn.Conv2d(4, 5, 3, 2, padding=1)
    )
    graph = lowered(model, X, (1, 4, 3, 9))
    assert graph.has(conv2d=1, pad=0)
    assert op(graph, "conv2d").padding == (2, 3, 5, 4)


def test_zero_pad_folds_into_an_average_pool_that_counts_it() -> None:
    graph = lowered(nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, 2)), X, (1, 4, 7, 5))
    assert graph.has(pad=0)
    assert op(graph, "pool2d").padding == (1, 1)


PAD_STAYS = {
    "pads with zeros": [nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 4, 3)],
    "-inf": [nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)],
    "not symmetric": [nn.ZeroPad2d((1, 0, 0, 0)), nn.AvgPool2d(3, 2)],
    "in another way": [nn.ZeroPad2d(1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)],
    "more than half": [nn.ZeroPad2d(2), nn.AvgPool2d(3, 2)],
}


@pytest.mark.parametrize("reason", PAD_STAYS)
def test_a_pad_stays_where_folding_is_not_exact(reason: str) -> None:
    graph = lowered(nn.Sequential(*PAD_STAYS[reason]), X)
    assert graph.has(pad=1)
    assert reason in said(graph, "fold_pad")


def test_a_pad_with_another_reader_stays_for_that_one() -> None:
    model = Fn(
        lambda self, x: (y := F.pad(x, (1, 1, 1, 1)), self.conv(y) + y[:, :, 1:-1, 1:-1])[1],
        conv=nn.Conv2d(4, 4, 3),
    )
    graph = lowered(model, X)
    assert graph.has(pad=1)
    assert op(graph, "conv2d").padding == (1, 1, 1, 1)


# --- fold_batch_norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norms_fold(affine: bool, bias: bool) -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, bias=bias), norm(6, affine), norm(6))
    graph = lowered(model, X, (1, 4, 3, 8))
    assert graph.has(conv2d=1, batch_norm=0)
    assert len(op(graph, "conv2d").norms) == 2


def test_the_fold_is_rounded_once_from_fp64() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3), norm(6)).eval()
    graph = run_passes(capture(model, (torch.randn(X),)))
    weight, bias = ir.folded_weight(op(graph, "conv2d"), graph.tensors)
    conv, bn = copy.deepcopy(model).double()
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    torch.testing.assert_close(
        weight, (conv.weight * scale.reshape(-1, 1, 1, 1)).float(), rtol=6e-8, atol=0
    )
    torch.testing.assert_close(
        bias, ((conv.bias - bn.running_mean) * scale + bn.bias).float(), rtol=6e-8, atol=1e-9
    )


def test_linear_takes_its_batch_norm_too() -> None:
    bn = nn.BatchNorm1d(5)
    nn.init.normal_(bn.running_mean)
    graph = lowered(
        nn.Sequential(nn.Flatten(), nn.Linear(144, 7), nn.ReLU(), nn.Linear(7, 5), bn), X
    )
    assert graph.has(batch_norm=0)
    assert len(op(graph, "linear").norms) == 1


def test_a_pair_called_twice_folds_in_both_places() -> None:
    model = Fn(
        lambda self, x: self.bn(self.conv(self.bn(self.conv(x)))),
        conv=nn.Conv2d(4, 4, 3),
        bn=norm(4),
    )
    graph = lowered(model, X, (3, 4, 5, 9))
    assert graph.has(conv2d=2, batch_norm=0)
    assert all(len(n.op.norms) == 1 for n in graph.nodes)


NORM_STAYS = {
    "used elsewhere": lambda self, x: (y := self.conv(x), self.bn(y) * y)[1],
    "conv2d is used elsewhere too": lambda self, x: (y := self.conv(x), (self.bn(y), y))[1],
    "the model's input": lambda self, x: self.bn(x),
    "follows pool2d": lambda self, x: self.bn(F.max_pool2d(x, 2)),
    "follows elementwise": lambda self, x: self.bn(F.relu(self.conv(x))),
}


@pytest.mark.parametrize("reason", NORM_STAYS)
def test_a_batch_norm_stays(reason: str) -> None:
    graph = lowered(Fn(NORM_STAYS[reason], conv=nn.Conv2d(4, 4, 1), bn=norm(4)), X)
    assert graph.has(batch_norm=1)
    assert reason in said(graph, "fold_batch_norm")


def test_a_size_read_between_conv_and_norm_survives_the_fold() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        y = self.conv(x)
        n, k, h, w = y.shape
        return F.relu(self.bn(y)).reshape(n, k, h * w).sum(2) + torch.ones(k)

    graph = lowered(Fn(forward, conv=nn.Conv2d(4, 5, 3), bn=norm(5)), X, (1, 4, 9, 4))
    assert graph.has(batch_norm=0, elementwise=0)
