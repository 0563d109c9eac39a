"""attention against torch's scaled_dot_product_attention, eager and in plans."""

import pinned
import pytest
import torch
import torch.nn.functional as F
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import _C, ops

_POISON = -(2.0**112)  # in bf16 too


def expected(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float | None = None) -> Tensor:
    q, k, v = (t.double().unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def check(y: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(y.double(), reference, rtol=3e-6, atol=3e-6, equal_nan=True)


def run(
    kernel: str, q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, workers: int
) -> Tensor:
    (n, length, c), (_, keys, cv) = q.shape, v.shape
    rows = [pinned.spread(t.reshape(-1, t.shape[2]), t.shape[2] + 3) for t in (q, k, v)]
    ldy = cv + 5
    params = {
        "n": n,
        "heads": heads,
        "l": length,
        "s": keys,
        "d": c // heads,
        "dv": cv // heads,
        "scale": scale,
    }
    params |= {"ldq": c + 3, "ldk": c + 3, "ldv": cv + 3, "ldy": ldy}
    buffer = torch.full((n * length + 2, ldy), _POISON, dtype=q.dtype)
    inside = buffer[1:-1]
    x, r, w = (t.data_ptr() for t in rows)
    _C.run("attention", kernel, params, x, r, w, 0, inside.data_ptr(), workers)
    y = inside[:, :cv].clone()
    inside[:, :cv] = _POISON
    assert torch.all(buffer == _POISON), f"{kernel} wrote outside its rows"
    return y.view(n, length, cv)


@pytest.mark.parametrize("kernel", pinned.kernels("attention"))
def test_every_kernel_at_tile_edges(kernel: str) -> None:
    for n, heads, length, keys, d, dv in (
        (1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 4, 4), (1, 2, 14, 16, 8, 16), (1, 1, 15, 17, 16, 9), (2, 1, 6, 33, 17, 35),
        (1, 4, 29, 15, 36, 36), (3, 2, 64, 64, 5, 20), (1, 1, 3, 130, 64, 67),
    ):  # fmt: skip
        q, k, v = (torch.randn(n, t, heads * w) for t, w in ((length, d), (keys, d), (keys, dv)))
        y = run(kernel, q, k, v, heads, 0.7, 1)
        check(y, expected(q, k, v, heads, 0.7))
        for workers in (2, 5):
            assert torch.equal(run(kernel, q, k, v, heads, 0.7, workers), y)


@pytest.mark.parametrize("kernel", pinned.kernels("attention"))
def test_sharp_and_spoilt_scores(kernel: str) -> None:
    q, k, v = torch.randn(1, 6, 8) * 40, torch.randn(1, 20, 8) * 40, torch.randn(1, 20, 8)
    torch.testing.assert_close(
        run(kernel, q, k, v, 1, 1.0, 1).double(), expected(q, k, v, 1, 1.0), rtol=0, atol=2e-3
    )
    q[0, 2, 1] = torch.nan
    y = run(kernel, q, k, v, 1, 1.0, 1)
    assert y[0, 2].isnan().all() and y[0].isnan().all(1).sum() == 1


def test_slices_of_a_wider_projection_are_read_where_they_lie() -> None:
    wide = torch.randn(2, 10, 3 * 24)
    q, k, v = wide.chunk(3, dim=2)
    for args in (
        (q, k, v),
        (q[:1], k[:1], v[:1]),
        (q.transpose(0, 1).contiguous().transpose(0, 1), k, v),
    ):
        y = ops.attention(*args, heads=3)
        check(y, expected(*args, 3))
        assert y.is_contiguous()
    check(
        ops.attention(q, k[:, :4], v[:, :4], heads=2, scale=0.1),
        expected(q, k[:, :4], v[:, :4], 2, 0.1),
    )
    assert ops.attention(q[:, :0], k, v).shape == (2, 0, 24)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: ops.attention(3, x, x), TypeError, "q must be a Tensor, got int"),
        (lambda x: ops.attention(x[0], x, x), ValueError, "q must have 3 dimensions"),
        (lambda x: ops.attention(x, x[:, :3], x), ValueError, r"\(2, 4, 6\), \(2, 3, 6\) and \(2, 4, 6\)"),
        (lambda x: ops.attention(x, x, x, heads=4), ValueError, "heads=4 does not divide 6 and 6"),
        (lambda x: ops.attention(x, x[:, :0], x[:, :0]), ValueError, "has no keys"),
        (lambda x: ops.attention(x, x.double(), x), TypeError, "k is torch.float64"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(torch.zeros(2, 4, 6))


def test_opcheck_and_gradients() -> None:
    args = [torch.randn(2, 5, 8, requires_grad=True) for _ in range(3)]
    torch.library.opcheck(torch.ops.pycnn.attention.default, (*args, 2, 0.5, ""))
    g = torch.randn(2, 5, 8)
    ours = torch.autograd.grad(torch.ops.pycnn.attention(*args, 2, 0.5, ""), args, g)
    torchs = torch.autograd.grad(ops.attention(*args, heads=2, scale=0.5), args, g)
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


class Timms(nn.Module):
    """As timm writes it: one projection, cut into queries, keys and values of each head."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, c = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, 4, c // 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, c))


class Diffusers(nn.Module):
    """As diffusers writes it: the pixels of a map as tokens, three projections."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(24, 24) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, c, h * w).transpose(1, 2)
        q, k, v = (m(x).view(n, -1, 3, c // 3).transpose(1, 2) for m in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=False)
        y = y.transpose(1, 2).reshape(n, -1, c)
        return y.transpose(-1, -2).reshape(n, c, h, w)


def test_common_spellings_become_one_step_that_reads_the_projections() -> None:
    timms, diffusers = (
        (Timms(), ((2, 7, 24), (3, 16, 24)), 0),
        (Diffusers(), ((2, 24, 5, 6), (1, 24, 4, 4)), 1),
    )
    for net, shapes, copies in (timms, diffusers):
        fast = pycnn.optimize(net.eval(), strict=True)
        for shape in shapes:
            x = torch.randn(shape)
            with torch.inference_mode():
                assert error(fast(x), truth(net, x)) < 1e-5
                steps = [s.op for s in pycnn.explain(fast, x).steps]
            assert steps.count("attention") == 1
            assert (
                steps.count("rearrange") + steps.count("layout") + steps.count("concat")
                <= 2 * copies
            ), steps


def test_masks_are_torchs() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    x = torch.randn(2, 3, 5, 8)
    with torch.inference_mode():
        fast = pycnn.optimize(Masked().eval())
        assert error(fast(x), truth(Masked(), x)) < 1e-5
    assert "mask" in str(pycnn.explain(fast, x))
