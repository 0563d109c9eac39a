"""concat against torch.cat: always the same bits."""

import logging
from collections.abc import Callable

import pinned
import pytest
import torch
from torch import Tensor

from pycnn import ops


@pytest.mark.parametrize("c", pinned.EDGES)
@pytest.mark.parametrize("kernel", pinned.kernels("concat"))
def test_every_kernel_at_vector_edges(kernel: str, c: int) -> None:
    x = torch.randn(7, c)
    for ldx, ldy in ((c, c), (c + 3, c), (c, c + 6), (c + 1, c + 2)):
        params = {"pixels": 7, "c": c, "ldx": ldx, "ldy": ldy}
        for workers in (1, 2, 5, 9):
            y = pinned.call(
                "concat", kernel, params, pinned.spread(x, ldx), (7, c), workers=workers
            )
            assert torch.equal(y, x)


@pytest.mark.parametrize("kernel", pinned.kernels("concat"))
def test_a_copy_keeps_every_bit(kernel: str) -> None:
    """NaN payloads, signed zeros and subnormals too: it is a copy, not arithmetic."""
    bits = torch.tensor(
        [0x7FC01234, -0x3FEDCC, 1, -0x80000000, 0x007FFFFF, 0x7F800000] * 6, dtype=torch.int32
    )
    x = bits.view(torch.float32)[None]
    params = {"pixels": 1, "c": 36, "ldx": 36, "ldy": 36}
    y = pinned.call("concat", kernel, params, x, (1, 36))
    assert torch.equal(y.view(torch.int32)[0], bits)


def sources() -> list[list[Tensor]]:
    def map_of(c: int, last: bool, n: int = 2, h: int = 4, w: int = 6) -> Tensor:
        x = torch.randn(n, c, h, w)
        return x.contiguous(memory_format=torch.channels_last) if last else x

    pooled = torch.randn(2, 5, 1, 1).as_strided((2, 5, 1, 1), (5, 1, 5, 5))
    return [
        [map_of(3, False), map_of(17, False), map_of(1, False)],
        [map_of(3, True), map_of(17, True), map_of(8, True)],
        [map_of(3, True), map_of(1, True)],
        [map_of(3, True), map_of(5, False)],
        [map_of(9, True)[:, 2:7], map_of(9, True)[:, :4]],
        [map_of(9, False)[:, 2:7], map_of(9, False)[:, :4]],
        [map_of(9, True, 3, 6, 7)[1:, :, 1:5, 1:], map_of(4, True)],
        [map_of(3, False, n=1).expand(2, -1, -1, -1), map_of(1, True).expand(-1, 5, -1, -1)],
        [map_of(4, False).mT, map_of(4, False, 2, 6, 4)],
        [map_of(4, True)],
        [map_of(4, True), map_of(4, True)[:, :0]],
        [map_of(4, False), map_of(0, False)],
        [map_of(4, True, 0), map_of(3, True, 0)],
        [map_of(4, True, 2, 0, 3), map_of(3, True, 2, 0, 3)],
        [pooled, pooled],
        [pooled, torch.randn(2, 3, 1, 1)],
        [torch.randn(2, 3, 1, 1)] * 3,
    ]


@pytest.mark.parametrize("i", range(len(sources())))
def test_channels_of_maps_keep_torchs_bits_and_strides(i: int) -> None:
    tensors = sources()[i]
    for dim in (1, -3):
        y, expected = ops.concat(tensors, dim), torch.cat(tensors, dim)
        assert torch.equal(y, expected)
        assert y.stride() == expected.stride()
        assert all(y.data_ptr() != t.data_ptr() for t in tensors if y.numel() > 0)


@pytest.mark.parametrize(
    ("tensors", "dim"),
    [
        ([torch.randn(2, 3, 4, 5), torch.randn(1, 3, 4, 5)], 0),
        ([torch.randn(2, 3, 4, 5), torch.randn(2, 3, 1, 5)], 2),
        ([torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 7)], -1),
        ([torch.randn(2, 3), torch.randn(2, 4)], 1),
        ([torch.randn(2, 3, 4, 5), torch.empty(0)], 1),
        ([torch.randn(2, 3, 4, 5).double()] * 2, 1),
        ([torch.randn(2, 3, 4, 5, requires_grad=True)] * 2, 1),
        ((torch.arange(3), torch.arange(2)), 0),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    tensors: list[Tensor], dim: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        y = ops.concat(tensors, dim)
    assert torch.equal(y, torch.cat(tensors, dim))
    assert y.dtype == tensors[0].dtype
    assert "concat: torch's own op runs" in caplog.text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.concat([]), ValueError, "concat: tensors is empty"),
        (lambda: ops.concat(torch.zeros(2, 3)), TypeError, "must be a sequence of Tensors, got Tensor"),
        (lambda: ops.concat(5), TypeError, "must be a sequence of Tensors, got int"),
        (lambda: ops.concat([torch.zeros(1, 1), 3]), TypeError, r"tensors\[1\] must be a Tensor, got int"),
        (lambda: ops.concat([torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3)]), ValueError,
         r"shapes \(1, 1, 2, 2\) and \(1, 1, 2, 3\) differ beside dim=1"),
        (lambda: ops.concat([torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2)]), ValueError, "differ beside dim=1"),
        (lambda: ops.concat([torch.zeros(1, 1)], 2), ValueError, "dim=2 is not a dimension of tensors with 2"),
        (lambda: ops.concat([torch.zeros(1, 1), torch.zeros(1, 1).double()]), TypeError,
         r"x is torch.float32, tensors\[1\] is torch.float64"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("i", [0, 1, 3, 4])
def test_opcheck(i: int) -> None:
    tensors = [t.detach().requires_grad_() for t in sources()[i]]
    torch.library.opcheck(torch.ops.pycnn.concat.default, (tensors, ""))


@pinned.fp32_gradcheck
def test_gradcheck() -> None:
    x, y = (torch.randn(2, c, 2, 3, dtype=torch.float64, requires_grad=True) for c in (3, 2))
    assert torch.autograd.gradcheck(lambda x, y: ops.concat([x, y, x]), (x, y))
    small = x.detach().float().requires_grad_(), y.detach().float().requires_grad_()
    raw = torch.ops.pycnn.concat
    assert torch.autograd.gradcheck(
        lambda x, y: raw([x, y, x], ""), small, eps=1 / 8, atol=1e-4, rtol=0
    )


def test_the_raw_ops_gradient_is_torchs_bit_for_bit() -> None:
    x, y = (torch.randn(2, c, 2, 3, requires_grad=True) for c in (3, 2))
    g = torch.randn(2, 8, 2, 3)
    ours = torch.autograd.grad(torch.ops.pycnn.concat([x, y, x], ""), (x, y), g)
    torchs = torch.autograd.grad(torch.cat([x, y, x], 1), (x, y), g)
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))
