"""Batched products on tensor cores: against fp64 at the edges of tiles and pieces, operands and results that lie
anywhere, repeated entries; any order of threads; barriers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from launch import DTYPES, Guarded, kernels, on_host, run
from test_conv2d_cuda import PRODUCT, SUM, UNIT, arithmetic
from torch import Tensor

ALL = [(name, dtype) for name, dtype, _ in kernels().kernels("matmul", {})]


@dataclass(frozen=True)
class Product:
    """How each operand lies: "rows" of `gap` elements more than there are columns, "columns" likewise, or "apart", with
    neither adjacent; `repeats`: operands that are the same for all of the first axis of the batch."""

    m: int
    c: int
    k: int
    batch: tuple[int, ...] = ()
    a: str = "rows"
    b: str = "rows"
    y: str = "rows"
    r: str = ""
    gap: int = 0
    scale: float = 1.0
    repeats: str = ""

    def strides(self, how: str, rows: int, columns: int) -> tuple[int, int, int]:
        """From row to row, from column to column, from entry to entry."""
        if how == "rows":
            return columns + self.gap, 1, rows * (columns + self.gap)
        if how == "columns":
            return 1, rows + self.gap, columns * (rows + self.gap)
        return 2 * columns, 2, rows * 2 * columns


@dataclass
class Operand:
    memory: Guarded
    strides: dict[str, int]
    values: Tensor  # [batch, rows, columns]


def operand(
    p: Product, name: str, letters: str, rows: int, columns: int, dtype: torch.dtype
) -> Operand:
    """Values in memory of their own, NaN between them. Named strides: of the batch's axes, of rows and columns."""
    how = getattr(p, name)
    row, column, entry = p.strides(how, rows, columns)
    batch = [1 if name in p.repeats and axis == 0 else size for axis, size in enumerate(p.batch)]
    generator = torch.Generator().manual_seed(ord(name))
    values = torch.randn(*batch, rows, columns, generator=generator).to(dtype)
    apart, size = [], entry
    for length in reversed(batch):
        apart.insert(0, 0 if length == 1 else size)
        size *= length
    flat = torch.full((1, size), torch.nan, dtype=dtype)
    flat[0].as_strided(values.shape, (*apart, row, column)).copy_(values)
    first = 4 - len(batch)
    named = {f"{name}{first + axis}": stride for axis, stride in enumerate(apart)}
    named |= {f"{name}{letters[0]}": row, f"{name}{letters[1]}": column}
    return Operand(Guarded(flat, writable=name == "y"), named, values.double())


@dataclass
class Ran:
    y: Tensor
    expected: Tensor
    bound: Tensor
    sites: list[str]

    def wrong(self) -> int:
        return int((~((self.y.double() - self.expected).abs() <= self.bound)).sum())


def launch(p: Product, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran:
    to = DTYPES[dtype]
    a, b = operand(p, "a", "mc", p.m, p.c, to), operand(p, "b", "ck", p.c, p.k, to)
    y = operand(replace(p, repeats=""), "y", "mk", p.m, p.k, to)
    r = operand(p, "r", "mk", p.m, p.k, to) if p.r else None
    added = torch.zeros(1).double() if r is None else r.values
    expected = (p.scale * (a.values @ b.values) + added).expand(*p.batch, p.m, p.k)
    kind = arithmetic(kernel)
    sums = abs(p.scale) * (a.values.abs() @ b.values.abs()) + added.abs()
    bound = (PRODUCT[kind] + SUM) * sums + UNIT[kind] * expected.abs() + 2**-24 * (kind == "f16")
    sizes = {f"s{4 - len(p.batch) + axis}": size for axis, size in enumerate(p.batch)}
    params = {"m": p.m, "c": p.c, "k": p.k, "scale": p.scale, **sizes, **a.strides, **b.strides}
    params |= {**y.strides, **({} if r is None else r.strides)}
    memory = y.memory._of(y.memory.memory)[0]
    strides = [y.strides[f"y{4 - len(p.batch) + axis}"] for axis in range(len(p.batch))]
    place = (*expected.shape,), (*strides, y.strides["ym"], y.strides["yk"])
    memory.as_strided(*place, memory.storage_offset()).fill_(torch.nan)
    third = None if r is None else r.memory
    sites = run(
        "matmul", kernel, params, a.memory, y.memory, None, None, b.memory, seed, drop, third=third
    )
    found = memory.as_strided(*place, memory.storage_offset())
    result = found.clone().cpu()
    found.fill_(torch.nan)
    assert bool(y.memory.memory.isnan().all()), "memory around y was written"
    return Ran(result, expected, bound, sites)


PRODUCTS = [
    Product(1, 1, 1),
    Product(64, 32, 64),
    Product(65, 33, 67, batch=(2,)),
    Product(49, 24, 49, batch=(2, 3), b="columns", scale=0.25),  # queries times keys
    Product(49, 49, 24, batch=(2, 3), b="rows", gap=8),  # scores times values
    Product(130, 40, 72, a="columns", b="columns", gap=8, r="rows"),
    Product(21, 40, 21, batch=(2,), a="columns", b="rows", gap=3),  # a piece of rows, some there
    Product(40, 16, 70, a="columns", b="rows", gap=3, y="columns"),
    Product(17, 9, 21, batch=(2, 2), a="apart", b="apart", y="apart", r="apart"),
    Product(16, 48, 40, batch=(3, 2), repeats="abr", r="columns", scale=-2.0),
    Product(5, 200, 6, batch=(1, 2, 1, 2), gap=8, r="rows"),
    Product(8, 7, 120, batch=(2,), y="columns", gap=8, b="columns"),
]


@pytest.mark.parametrize("product", PRODUCTS, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_products(kernel: str, dtype: str, product: Product) -> None:
    assert launch(product, kernel, dtype).wrong() == 0


@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "64x64" in k])
def test_addresses_off_16_bytes(kernel: str, dtype: str) -> None:
    """Strides in whole pieces, operands that begin between two."""
    p, to = Product(24, 32, 40, gap=8), DTYPES[dtype]
    a = torch.randn(24, 40, generator=torch.Generator().manual_seed(1)).to(to)
    b = torch.randn(32, 48, generator=torch.Generator().manual_seed(2)).to(to)
    given, y = Guarded(a.view(1, -1)), Guarded(torch.zeros(24, 48, dtype=to), writable=True)
    params = {"m": 24, "c": 32, "k": 40, "am": 40, "bc": 48, "bk": 1, "ym": 48}
    run("matmul", kernel, params, given, y, residual=Guarded(b), skip=3)
    expected = a.flatten()[3:].as_strided((24, 32), (40, 1)).double() @ b[:, : p.k].double()
    error = (y.view[:, : p.k].double() - expected).abs().max()
    assert float(error) <= 2 * UNIT[arithmetic(kernel)] * float(expected.abs().max()) + 1e-4


def test_what_it_does_not_take() -> None:
    reasons = kernels().kernels("matmul", {"m": 1 << 29, "k": 1 << 29, "c": 4})
    assert all(why == "has more than 2^30 tiles" for _, _, why in reasons)
    reasons = kernels().kernels("matmul", {"s0": 1 << 20, "s1": 1 << 20})
    assert all(why == "has more than 2^30 entries" for _, _, why in reasons)


@on_host
@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "bf16" in k])
def test_any_order_of_threads_and_every_barrier(kernel: str, dtype: str) -> None:
    """Copies that fly, stores that do not, a reduction that ends in the stage the epilogue writes, or in another."""
    products = [
        Product(70, 160, 66, b="columns"),
        Product(70, 200, 72, a="columns", b="rows", gap=2),
    ]
    first = [launch(p, kernel, dtype) for p in products]
    for seed in range(2, 6):
        again = [launch(p, kernel, dtype, seed) for p in products]
        assert all(
            torch.equal(x.y, y.y) and not y.wrong() for x, y in zip(first, again, strict=True)
        )
    sites = {site for ran in first for site in ran.sites}
    assert len(sites) >= 4
    for site in sites:
        assert any(
            _noticed(p, kernel, dtype, seed, site) for p in products for seed in range(1, 25)
        ), f"{site} may be dropped"


def _noticed(p: Product, kernel: str, dtype: str, seed: int, drop: str) -> bool:
    try:
        return launch(p, kernel, dtype, seed, drop).wrong() > 0
    except RuntimeError:
        return True
