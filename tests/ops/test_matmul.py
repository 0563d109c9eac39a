"""matmul against fp64: every kernel at the edges of tiles and vectors, in any strides; the op; gradients."""

import itertools

import pinned
import pytest
import tolerance
import torch
from torch import Tensor

from pycnn import _C, ops

EDGES = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
_POISON = -(2.0**112)  # in bf16 too


def apart(t: Tensor, order: str, gap: int = 3) -> Tensor:
    """t [p, rows, columns] with its axes nested as `order` says, outermost first, and NaN between its rows."""
    axes = ["prc".index(axis) for axis in order]
    shape = [t.shape[axis] for axis in axes]
    buffer = torch.full((*shape[:2], shape[2] + gap), torch.nan, dtype=t.dtype)
    inner = buffer[..., : shape[2]]
    inner.copy_(t.permute(axes))
    return inner.permute([axes.index(axis) for axis in range(3)])


def params(a: Tensor, b: Tensor, r: Tensor | None, y: Tensor, scale: float) -> dict[str, float]:
    named = {"s3": a.shape[0], "m": a.shape[1], "c": a.shape[2], "k": b.shape[2], "scale": scale}
    for (p, row, column), t in (
        (("a3", "am", "ac"), a), (("b3", "bc", "bk"), b), (("r3", "rm", "rk"), r), (("y3", "ym", "yk"), y),
    ):  # fmt: skip
        if t is not None:
            named |= dict(zip((p, row, column), t.stride(), strict=True))
    return named


def run(
    kernel: str, a: Tensor, b: Tensor, r: Tensor | None = None, scale: float = 1.0, order: str = "prc",
    workers: int = 1,
) -> Tensor:  # fmt: skip
    """The product in a buffer of that order of axes; asserts that nothing was written between its rows."""
    shape = (a.shape[0], a.shape[1], b.shape[2])
    y = apart(torch.zeros(shape, dtype=a.dtype), order)
    flat = y.as_strided((y.untyped_storage().nbytes() // y.itemsize,), (1,))
    flat.fill_(_POISON)
    at = [0 if t is None else t.data_ptr() for t in (a, r, b)]
    _C.run(
        "matmul", kernel, params(a, b, r, y, scale), at[0], at[2], at[1], 0, y.data_ptr(), workers
    )
    made = y.clone()
    y.fill_(_POISON)
    assert torch.all(flat == _POISON), f"{kernel} wrote outside its rows"
    return made


def check(y: Tensor, a: Tensor, b: Tensor, r: Tensor | None = None, scale: float = 1.0) -> None:
    a, b = a.double() * scale, b.double()
    expected, magnitude = a @ b, a.abs() @ b.abs()
    if r is not None:
        expected, magnitude = expected + r, magnitude + r.abs()
    tolerance.check(y, expected, tolerance.sums(a.shape[-1] + 1, magnitude))


KERNELS = pinned.kernels("matmul")


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_at_the_edges_of_tiles(kernel: str) -> None:
    sizes = [(m, c, k) for m, c, k in itertools.product(EDGES, EDGES, EDGES)]
    for i, (m, c, k) in enumerate(sizes[:: 1 if "reference" not in kernel else 40]):
        p = 1 + i % 3
        a, b = torch.randn(p, m, c), torch.randn(p, c, k)
        check(run(kernel, a, b), a, b)


@pytest.mark.parametrize("kernel", KERNELS)
def test_operands_and_results_in_any_order_of_axes(kernel: str) -> None:
    orders = ["".join(order) for order in itertools.permutations("prc")]
    results = [o for o in orders if o[2] != "p"] if "reference" not in kernel else orders
    for i, (left, right, result) in enumerate(itertools.product(orders, orders, results)):
        m, c, k = ((5, 9, 18), (33, 7, 3), (15, 17, 20), (1, 6, 19), (20, 5, 1))[i % 5]
        a, b, r = torch.randn(3, m, c), torch.randn(3, c, k), torch.randn(3, m, k)
        given = apart(a, left), apart(b, right), apart(r, orders[i % 6])
        y = run(kernel, *given, scale=-0.6, order=result)
        check(y, a, b, r, -0.6)
        for workers in (2, 5):
            assert torch.equal(run(kernel, *given, -0.6, result, workers), y)


@pytest.mark.parametrize("kernel", KERNELS)
def test_operands_that_repeat(kernel: str) -> None:
    for p, m, c, k in ((4, 21, 6, 34), (3, 8, 65, 5)):
        a, b = torch.randn(p, m, c), torch.randn(1, c, k).expand(p, c, k)
        for r in (torch.randn(1, m, k), torch.randn(1, 1, k), torch.randn(p, m, 1)):
            r = r.expand(p, m, k)
            check(run(kernel, a, b, r, 0.3), a, b, r, 0.3)
            check(run(kernel, a[:1].expand(p, m, c), b, r), a[:1].expand(p, m, c), b, r)


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_bits_for_any_number_of_workers_and_any_batch(kernel: str) -> None:
    """Rows or panels are shared, and b is packed at once or in parts: what is added in which order stays."""
    for m, c, k in ((3, 40, 200), (150, 33, 17), (70, 700, 150)):
        if "reference" in kernel and c > 500:
            continue
        a, b = torch.randn(3, m, c), torch.randn(3, c, k)
        y = run(kernel, a, b)
        check(y, a, b)
        for workers in (2, 3, 7):
            assert torch.equal(run(kernel, a, b, workers=workers), y)
            for i in range(3):
                assert torch.equal(run(kernel, a[i:][:1], b[i:][:1], workers=workers)[0], y[i])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_single_row_has_the_bits_it_has_among_others(kernel: str) -> None:
    for c, k in ((40, 3), (33, 64), (7, 67), (130, 150)):
        a, b, r = torch.randn(1, 5, c), torch.randn(1, c, k), torch.randn(1, 5, k)
        y = run(kernel, a, b, r, 0.7)
        check(y, a, b, r, 0.7)
        for given in (r, apart(r, "pcr")):
            for workers in (1, 3):
                assert torch.equal(
                    run(kernel, a[:, 2:3], b, given[:, 2:3], 0.7, workers=workers), y[:, 2:3]
                )
            columns = run(kernel, a[:, 2:3], apart(b, "pcr"), given[:, 2:3], 0.7)
            assert torch.equal(columns, y[:, 2:3])
        turned = run(kernel, b.mT, a[:, 2:3].mT, order="pcr")
        assert torch.equal(turned.mT, run(kernel, a[:, 2:3], b))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_not_finite_spoils_its_row_alone(kernel: str) -> None:
    a, b = torch.randn(1, 6, 8), torch.randn(1, 8, 20)
    a[0, 2, 3] = torch.nan
    y = run(kernel, a, b)
    assert y[0, 2].isnan().all() and y[0].isnan().any(1).sum() == 1


def test_a_result_with_neither_rows_nor_columns_adjacent_is_refused() -> None:
    apart_both = {"m": 4, "c": 4, "k": 4, "ym": 8, "yk": 2}
    for name, reason in _C.kernels("matmul", apart_both):
        if name in KERNELS and "reference" not in name:
            assert reason == "needs the rows or the columns of the result adjacent"


OPERANDS = {
    "matrices": lambda: (torch.randn(5, 7), torch.randn(7, 9)),
    "one batch": lambda: (torch.randn(3, 5, 7), torch.randn(3, 7, 9)),
    "heads": lambda: (torch.randn(2, 3, 5, 7), torch.randn(2, 3, 7, 9)),
    "transposed": lambda: (torch.randn(2, 7, 5).mT, torch.randn(2, 9, 7).mT),
    "slices": lambda: (torch.randn(2, 6, 16)[:, 1:5, 4:11], torch.randn(2, 14, 20)[:, ::2, 3:]),
    "a matrix for all": lambda: (torch.randn(2, 3, 5, 7), torch.randn(7, 9)),
    "broadcast both ways": lambda: (torch.randn(2, 1, 5, 7), torch.randn(3, 7, 9)),
    "five axes apart": lambda: (torch.randn(2, 3, 2, 2, 3, 4, 5).transpose(0, 4), torch.randn(3, 3, 2, 2, 2, 5, 6)),
    "no entries": lambda: (torch.randn(0, 5, 7), torch.randn(0, 7, 9)),
    "no rows": lambda: (torch.randn(2, 0, 7), torch.randn(2, 7, 9)),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERANDS)
def test_the_op_is_torchs_matmul(case: str) -> None:
    a, b = OPERANDS[case]()
    expected = torch.matmul(a, b)
    for shape in ((), expected.shape[-1:], (*expected.shape[-2:-1], 1), expected.shape):
        added = torch.randn(shape)
        y = ops.matmul(a, b, added=added, scale=0.7)
        assert y.shape == expected.shape and y.is_contiguous()
        batch = expected.shape[:-2]
        check(y, a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:]), added.double(), 0.7)  # fmt: skip
    torch.testing.assert_close(ops.matmul(a, b), expected)
    torch.testing.assert_close(ops.matmul(a.double(), b.double()), torch.matmul(a.double(), b.double()))  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda a: ops.matmul(3, a), TypeError, "a must be a Tensor, got int"),
        (lambda a: ops.matmul(a, a.double()), TypeError, "b is torch.float64"),
        (lambda a: ops.matmul(a, a[:, :3]), ValueError, r"\(2, 4, 4\) and \(2, 3, 4\) are not"),
        (lambda a: ops.matmul(a, a[0, 0]), ValueError, r"\(2, 4, 4\) and \(4,\) are not"),
        (lambda a: ops.matmul(a, a[:1].expand(3, 4, 4)), ValueError, "leading axes of .* do not broadcast"),
        (lambda a: ops.matmul(a[..., :0], a[:, :0]), ValueError, "no products to add"),
        (lambda a: ops.matmul(a, a, added=a[..., :3]), ValueError, r"\(2, 4, 3\), which does not broadcast"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(torch.zeros(2, 4, 4))


def test_opcheck() -> None:
    a, b = torch.randn(2, 3, 5, 7, requires_grad=True), torch.randn(2, 3, 7, 4, requires_grad=True)
    added = torch.randn(2, 3, 5, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.pycnn.matmul.default, (a, b, added, 0.5, ""))
    torch.library.opcheck(torch.ops.pycnn.matmul.default, (a, b, None, 1.0, ""))


@pinned.fp32_gradcheck
def test_gradients() -> None:
    a, b = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    added = torch.randn(2, 3, 4, requires_grad=True)

    def call(a: Tensor, b: Tensor, added: Tensor) -> Tensor:
        return torch.ops.pycnn.matmul(a, b, added, 0.5, "")

    assert torch.autograd.gradcheck(call, (a, b, added), eps=1e-2, atol=1e-3, rtol=1e-3)
    g = torch.randn(2, 3, 4)
    ours = torch.autograd.grad(call(a, b, added), (a, b, added), g)
    torchs = torch.autograd.grad(ops.matmul(a, b, added=added, scale=0.5), (a, b, added), g)
    assert all(torch.equal(x, y) for x, y in zip(ours, torchs, strict=True))
