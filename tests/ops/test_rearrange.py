"""rearrange, a strided copy: every kernel against torch's as_strided, bit for bit, nothing else written."""

from __future__ import annotations

import pinned
import pytest
import torch

from pycnn import _C

Axes = list[tuple[int, int, int]]  # size, stride in x, stride in y

_PAD = 64


def params_of(axes: Axes) -> dict[str, float]:
    padded = [(1, 0, 0)] * (8 - len(axes)) + axes
    return {f"{s}{i}": v for i, axis in enumerate(padded) for s, v in zip("sxy", axis, strict=True)}


def check(kernel: str, axes: Axes) -> None:
    def reach(side: int) -> int:
        return 1 + sum((axis[0] - 1) * axis[side] for axis in axes)

    sizes = [axis[0] for axis in axes]
    x = torch.arange(reach(1), dtype=torch.float32) + 1
    expected = torch.full((reach(2) + 2 * _PAD,), -7.0)
    to = expected[_PAD:].as_strided(sizes, [axis[2] for axis in axes], _PAD)
    to.copy_(x.as_strided(sizes, [axis[1] for axis in axes]))
    for workers in (1, 2, 5):
        y = torch.full_like(expected, -7.0)
        at = y[_PAD:].data_ptr()
        _C.run("rearrange", kernel, params_of(axes), x.data_ptr(), 0, 0, 0, at, workers)
        assert torch.equal(y, expected), (axes, workers)


@pytest.mark.parametrize("c", pinned.EDGES)
@pytest.mark.parametrize("kernel", pinned.kernels("rearrange"))
def test_every_kernel_at_vector_edges(kernel: str, c: int) -> None:
    for rows in (1, 2, 5, 16, 17, 300):
        check(kernel, [(rows, c + 3, c), (c, 1, 1)])  # rows
        check(kernel, [(2, rows * c, rows * c), (rows, 1, c), (c, rows, 1)])  # a transpose
        check(kernel, [(rows, 1, c + 2), (c, rows + 1, 1)])
        check(kernel, [(rows, 3, 2 * c), (c, 3 * rows, 2)])  # adjacent on neither side
        check(kernel, [(3, 0, rows * c), (rows, 0, c), (c, 1, 1)])  # repeated
        check(kernel, [(rows * c, 1, 2), (2, rows * c + 1, 1)])  # two interleaved


@pytest.mark.parametrize("kernel", pinned.kernels("rearrange"))
def test_all_eight_axes(kernel: str) -> None:
    sizes = (2, 1, 3, 2, 2, 3, 5, 4)
    order = (3, 6, 0, 7, 4, 1, 2, 5)
    x = torch.empty(sizes).permute(order)
    y = torch.empty(x.shape)
    check(kernel, list(zip(x.shape, x.stride(), y.stride(), strict=True)))
