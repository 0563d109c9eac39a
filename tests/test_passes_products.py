"""fuse_product and read_through: what becomes part of a product, and what stays where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, lowered, op
from torch import Tensor, nn

from pycnn import ir


def product(graph: ir.Graph) -> ir.MatMul:
    found = op(graph, "matmul")
    assert isinstance(found, ir.MatMul)
    return found


def test_factors_of_operands_are_folded() -> None:
    graph = lowered(Fn(lambda m, x: (x * 0.5).transpose(1, 2) @ (x / 4)), (2, 3, 5), (1, 4, 5))
    assert graph.has(matmul=1, arith=0) and product(graph).scale == 0.125


NOT_FOLDED: dict[str, tuple[Callable[[nn.Module, Tensor], object], float, int]] = {
    "before an addition": (lambda m, x: (x * 0.5).mT @ (x * 2 + 1), 0.5, 2),
    "behind an activation": (lambda m, x: F.relu(x.mT @ x * 0.5) * 3, 0.5, 1),
    "behind the addition": (lambda m, x: (x.mT @ x + m.bias) * 3, 1.0, 1),
    "read twice": (lambda m, x: twice(x.mT @ x, lambda y: y * 2 + y.relu()), 1.0, 1),
    "an operand read twice": (lambda m, x: twice(x * 2, lambda y: y.mT @ x + y.mean()), 1.0, 2),
    "a tensor": (lambda m, x: x.mT @ x * m.alpha, 1.0, 1),
}


def twice(value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    return function(value)


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_factors_that_stay(case: str) -> None:
    function, scale, count = NOT_FOLDED[case]
    net = Fn(function)
    net.bias, net.alpha = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.tensor(0.4))
    graph = lowered(net, (2, 3, 5), (1, 4, 5))
    assert product(graph).scale == scale and graph.count()["arith"] == count


NOT_ADDED: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "one row for all": lambda m, x: x.mT @ x + m.row,
    "of each image": lambda m, x: x.mT @ x + m.images,
    "the second": lambda m, x: x.mT @ x + m.bias + m.bias,
    "read twice": lambda m, x: twice(x.mT @ x, lambda y: y + m.bias + y),
}


@pytest.mark.parametrize("case", NOT_ADDED)
def test_additions_that_stay(case: str) -> None:
    net = Fn(NOT_ADDED[case])
    net.row, net.bias = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(5, 5))
    net.images = nn.Parameter(torch.randn(2, 5, 5))
    assert lowered(net, (2, 3, 5)).count()["arith"] == 1


def test_movements_that_something_else_reads_stay() -> None:
    graph = lowered(Fn(lambda m, x: (lambda y: (y @ y.mT, y.relu()))(x.mT)), (2, 3, 5), (1, 4, 5))
    assert product(graph).a == () and graph.has(permute=1)
    graph = lowered(Fn(lambda m, x: (x.mT @ x)[:, 1:3]), (2, 3, 5))
    assert product(graph).y == () and graph.has(slice=1)
    graph = lowered(Fn(lambda m, x: (lambda y: (y.mT, y))(x.mT @ x)), (2, 3, 5))
    assert product(graph).y == ()
