"""Products of activations in plans for CUDA: every spelling and every way operands lie, on kernels alone."""

from __future__ import annotations

import pytest
import torch
from launch import DTYPES
from test_plan_cuda import check, randn, steps
from test_products import SPELLINGS, Biased, Fn, Maps, Shared
from torch import nn

from pycnn.planning.program import Program


def products(made: Program, x: torch.Tensor) -> int:
    found = steps(made, x)
    assert not any(step.startswith("[") for step in found), found
    return sum(step.startswith("matmul_tile") for step in found)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize(
    ("net", "shape", "count"),
    [
        (Biased(), (2, 9, 24), 2),
        (Biased(tokens=70), (1, 70, 24), 2),
        (Maps(), (2, 6, 4, 5), 2),
        (Shared(), (2, 6, 4, 5), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_attention_as_networks_write_it(
    net: nn.Module, shape: tuple[int, ...], count: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(8)
    x = randn(*shape).to(dtype)
    assert products(check(net.eval(), x, factor=4), x) == count


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling(case: str, dtype: torch.dtype) -> None:
    torch.manual_seed(9)
    function, shape = SPELLINGS[case]
    net = Fn(function).eval()
    net.w = nn.Parameter(torch.randn(5, 6))
    x = randn(*shape).to(dtype)
    made = check(net, x, factor=4)
    assert products(made, x) >= (0 if case == "a matrix of the model" else 1)
