"""Kernels with barriers, run in many orders of threads: the same bits; and a wrong value where a barrier is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from launch import Guarded, on_host, run
from test_ops_cuda import kernel_of, random, rows
from torch import Tensor

Launch = Callable[[int, str], tuple[Tensor, Tensor, list[str]]]


def _global_pool(seed: int, drop: str) -> tuple[Tensor, Tensor, list[str]]:
    x = random(2, 24, 9, 5, dtype="float32")
    y = Guarded(torch.zeros(2, 24), writable=True)
    params = {"n": 2, "h": 9, "w": 5, "c": 24, "ldx": 24, "ldy": 24}
    name = kernel_of("global_pool", "float32")
    sites = run("global_pool", name, params, Guarded(rows(x)), y, seed=seed, drop=drop)
    return y.view, x.mean((2, 3)), sites


def _group_norm(seed: int, drop: str) -> tuple[Tensor, Tensor, list[str]]:
    x = random(2, 4, 30, 20, dtype="float32")
    y = Guarded(torch.zeros(1200, 4), writable=True)
    params = {"n": 2, "pixels": 600, "c": 4, "groups": 2, "ldx": 4, "ldy": 4}
    name = kernel_of("group_norm", "float32")
    sites = run("group_norm", name, params, Guarded(rows(x)), y, seed=seed, drop=drop)
    return y.view, rows(F.group_norm(x, 2)), sites


def _layout(seed: int, drop: str) -> tuple[Tensor, Tensor, list[str]]:
    x = random(1, 40, 50, dtype="float32")
    y = Guarded(torch.zeros(50, 40), writable=True)
    params = {"pixels": 50, "c": 40, "ld": 40}
    name = kernel_of("layout", "float32")
    sites = run("layout", name, params, Guarded(x.reshape(1, -1)), y, seed=seed, drop=drop)
    return y.view, x[0].T, sites


@on_host
@pytest.mark.parametrize("launch", [_global_pool, _group_norm, _layout])
def test_any_order_of_threads_and_every_barrier(launch: Launch) -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some."""
    first, wanted, sites = launch(1, "")
    torch.testing.assert_close(first, wanted)
    assert sites and all(torch.equal(launch(seed, "")[0], first) for seed in range(2, 6))
    for site in sites:
        found = (launch(seed, site)[0] for seed in range(1, 25))
        assert any(not torch.equal(y, first) for y in found), f"{site} may be dropped"
