"""Calls one kernel of a table by name on buffers that show a read or a write out of place."""

import pytest
import torch
from torch import Tensor

from pycnn import _C

# One below, at and above each vector width (4, 8, 16), two vectors and three lanes, and more than one block of vectors.
EDGES = (1, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 19, 35, 67)
# gradcheck of a raw op, which takes fp32 alone, warns about that.
fp32_gradcheck = pytest.mark.filterwarnings("ignore:Input #. requires gradient:UserWarning")

_POISON = -(2.0**112)  # in bf16 too
_GUARD = 64


def kernels(op: str, dtype: str = "float32") -> list[str]:
    """Names of the op's kernels that this machine runs."""
    of = _C.kernels(op, {}, dtype)
    return [name for name, reason in of if not str(reason).startswith("needs avx")]


def nhwc(x: Tensor) -> Tensor:
    """[n, c, h, w] as rows [n * h * w, c]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def nchw(rows: Tensor, n: int, h: int, w: int) -> Tensor:
    return rows.view(n, h, w, -1).permute(0, 3, 1, 2)


def spread(rows: Tensor, ld: int) -> Tensor:
    """The rows `ld` apart in one buffer, with NaN between them: what is read there spoils the result."""
    buffer = torch.full((rows.shape[0], ld), torch.nan, dtype=rows.dtype)
    buffer[:, : rows.shape[1]] = rows
    return buffer


def pack(op: str, kernel: str, params: dict[str, float], weight: Tensor) -> Tensor:
    """The kernel's weights; asserts that packing writes all of them and nothing after."""
    size = _C.packed_size(op, kernel, params)
    packed = torch.full((size + _GUARD,), _POISON)
    _C.pack(op, kernel, params, weight.data_ptr(), packed.data_ptr())
    assert torch.all((packed == _POISON) == (torch.arange(size + _GUARD) >= size))
    return packed


def call(
    op: str,
    kernel: str,
    params: dict[str, float],
    x: Tensor,
    out: tuple[int, int],
    residual: Tensor | None = None,
    workers: int = 1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    gate: Tensor | None = None,
    over: str = "",
) -> Tensor:
    """Rows [out] of y, in x's dtype; asserts that nothing was written before, after or between them.

    x, residual and gate are buffers made by `spread` for params' ldx, ldr and ldg; y's rows lie params["ldy"] apart.
    weight, contiguous, is packed first. `over`: "x" or "residual", whose rows lie in y's memory.
    """
    rows, c = out
    ldy = int(params["ldy"])
    buffer = torch.full((2 * _GUARD + rows * ldy,), _POISON, dtype=x.dtype)
    inside = buffer[_GUARD : buffer.numel() - _GUARD].view(rows, ldy)
    packed = None if weight is None else pack(op, kernel, params, weight)
    if over:
        given = x if over == "x" else residual
        assert given is not None and params["ldr" if over == "residual" else "ldx"] == ldy
        inside[:, :c] = given[:, :c]
        x, residual = (inside, residual) if over == "x" else (x, inside)
    r, w, b, g = (0 if t is None else t.data_ptr() for t in (residual, packed, bias, gate))
    _C.run(op, kernel, params, x.data_ptr(), r, w, b, inside.data_ptr(), workers, g)
    y = inside[:, :c].clone()
    inside[:, :c] = _POISON
    assert torch.all(buffer == _POISON), f"{kernel} wrote outside its rows"
    return y
