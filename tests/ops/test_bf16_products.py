"""Kernels of bf16 for products of values, attention and embedded steps; against fp64 of the same bf16 numbers."""

import itertools

import pinned
import pytest
import tolerance
import torch
from test_attention import expected as attended
from test_attention import run as attend
from test_bf16_kernels import BF16, HALF_ULP
from test_matmul import apart, run
from torch import Tensor

from pycnn import _C
from pycnn.ops.timestep_embedding import frequencies, reference

MATMUL = pinned.kernels("matmul", "bfloat16")
ORDERS = ["".join(order) for order in itertools.permutations("prc")]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def check(y: Tensor, a: Tensor, b: Tensor, r: Tensor | None = None, scale: float = 1.0) -> None:
    """Sums in fp32, scaled there, rounded once."""
    a, b = a.double() * scale, b.double()
    expected, magnitude = a @ b, a.abs() @ b.abs()
    if r is not None:
        expected, magnitude = expected + r.double(), magnitude + r.double().abs()
    assert y.dtype == BF16
    bound = tolerance.sums(a.shape[-1] + 1, magnitude) + HALF_ULP * expected.abs()
    tolerance.check(y, expected, bound)


@pytest.mark.parametrize("kernel", MATMUL)
def test_products_at_the_edges_of_tiles_and_pairs(kernel: str) -> None:
    edges = (1, 2, 3, 8, 15, 16, 17, 33, 64)
    for i, (m, c, k) in enumerate(itertools.product(edges, edges, edges)):
        a, b = random(1 + i % 3, m, c, seed=i), random(1 + i % 3, c, k, seed=i + 1)
        check(run(kernel, a, b), a, b)


@pytest.mark.parametrize("kernel", MATMUL)
def test_operands_and_results_in_any_order_of_axes(kernel: str) -> None:
    results = [order for order in ORDERS if order[2] != "p"]
    for i, (left, right, result) in enumerate(itertools.product(ORDERS, ORDERS, results)):
        m, c, k = ((5, 9, 18), (33, 8, 3), (15, 17, 20), (1, 6, 19), (20, 5, 1), (17, 34, 33))[
            i % 6
        ]
        a, b, r = random(3, m, c), random(3, c, k, seed=1), random(3, m, k, seed=2)
        # Gaps of both parities: columns lie on pairs, or between them.
        given = apart(a, left, i % 4), apart(b, right, i // 2 % 4), apart(r, ORDERS[i % 6])
        y = run(kernel, *given, scale=-0.6, order=result)
        check(y, a, b, r, -0.6)
        for workers in (2, 5):
            assert torch.equal(run(kernel, *given, -0.6, result, workers), y)


@pytest.mark.parametrize("kernel", MATMUL)
def test_bits_depend_on_neither_workers_nor_the_batch(kernel: str) -> None:
    for m, c, k in ((3, 40, 200), (150, 33, 17), (70, 700, 150), (1, 65, 40)):
        a, b = random(3, m, c), random(3, c, k, seed=1)
        y = run(kernel, a, b)
        check(y, a, b)
        for workers in (2, 3, 7):
            assert torch.equal(run(kernel, a, b, workers=workers), y)
            assert torch.equal(run(kernel, a[1:2], b[1:2], workers=workers)[0], y[1])
        assert torch.equal(run(kernel, a[:, :1], b), y[:, :1])


@pytest.mark.parametrize("kernel", pinned.kernels("attention", "bfloat16"))
def test_attention(kernel: str) -> None:
    for n, heads, length, keys, d, dv in (
        (1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 4, 4), (1, 2, 14, 16, 8, 16), (1, 1, 15, 17, 16, 9), (2, 1, 6, 33, 17, 35),
        (1, 4, 29, 15, 36, 36), (3, 2, 64, 64, 5, 20), (1, 1, 3, 130, 64, 67),
    ):  # fmt: skip
        q, k = random(n, length, heads * d), random(n, keys, heads * d, seed=1)
        v = random(n, keys, heads * dv, seed=2)
        y = attend(kernel, q, k, v, heads, 0.7, 1)
        ref = attended(q, k, v, heads, 0.7)
        assert y.dtype == BF16
        tolerance.check(y, ref, HALF_ULP * ref.abs() + 1e-5)
        for workers in (2, 5):
            assert torch.equal(attend(kernel, q, k, v, heads, 0.7, workers), y)


@pytest.mark.parametrize("kernel", pinned.kernels("timestep_embedding", "bfloat16"))
def test_embedded_steps_are_the_rounded_ones(kernel: str) -> None:
    waves = frequencies(10, 1.0)
    for i, steps in enumerate((torch.tensor([0.0, 3.5, 999]), *([torch.tensor([7, 38])] * 2))):
        steps = steps.int() if i == 2 else steps
        params = {"n": len(steps), "width": 10, "cosine_first": i % 2, "steps": i, "ldy": 13}
        packed, y = (
            pinned.pack("timestep_embedding", kernel, params, waves),
            torch.zeros(4, 13).to(BF16),
        )
        at = steps.data_ptr(), 0, packed.data_ptr(), 0, y.data_ptr()
        _C.run("timestep_embedding", kernel, params, *at, 2)
        found, rest = y[: len(steps), :10], y[len(steps) :]
        expected = reference(steps, waves, bool(i % 2))
        tolerance.check(found, expected, HALF_ULP * expected.abs() + 2e-7)
        assert not rest.any() and not y[:, 10:].any()
