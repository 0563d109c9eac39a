"""group_norm against torch's: maps in both formats, vectors of pixels, with activation, eager and in plans."""

import pinned
import pytest
import torch
import torch.nn.functional as F
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import _C, ops
from pycnn.ops import ACTS, apply_act

EPS = 1e-5


def expected(x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, act: str) -> Tensor:
    to64 = [None if t is None else t.double() for t in (w, b)]
    return apply_act(F.group_norm(x.double(), groups, *to64, EPS), act)


def check(y: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(y.double(), reference, rtol=3e-6, atol=4e-6, equal_nan=True)


def run(
    kernel: str, x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, act: str, workers: int
) -> Tensor:
    """x [n, c, pixels], as the kernel's layout has it."""
    n, c, pixels = x.shape
    planar = "planar" in kernel
    rows = x.reshape(n * c, pixels) if planar else x.transpose(1, 2).reshape(n * pixels, c)
    params = {
        "n": n,
        "c": c,
        "pixels": pixels,
        "groups": groups,
        "planar": int(planar),
        "eps": EPS,
        "act": ACTS[act],
    }
    params |= {"ldx": rows.shape[1] + 3, "ldy": rows.shape[1] + 5}
    spread = pinned.spread(rows, rows.shape[1] + 3)
    y = pinned.call("group_norm", kernel, params, spread, tuple(rows.shape), None, workers, w, b)
    return y.view(n, c, pixels) if planar else y.view(n, pixels, c).transpose(1, 2)


@pytest.mark.parametrize("kernel", pinned.kernels("group_norm"))
def test_every_kernel_at_vector_and_block_edges(kernel: str) -> None:
    for c, groups, pixels in (
        (1, 1, 5), (4, 4, 33), (8, 2, 1), (15, 3, 31), (16, 4, 32), (17, 1, 65), (34, 2, 3), (64, 32, 40),
        (67, 67, 7), (130, 10, 34), (6, 1, 2050), (3, 3, 4099),
    ):  # fmt: skip
        x, w, b = torch.randn(2, c, pixels) * 2 + 3, torch.randn(c), torch.randn(c)
        if c == groups and pixels == 1:
            continue
        for weight, bias, act in ((w, b, "none"), (None, None, "relu"), (w, None, "silu")):
            reference = expected(x, groups, weight, bias, act)
            y = run(kernel, x, groups, weight, bias, act, 1)
            check(y, reference)
            for workers in (2, 3, 5):  # more of them than groups share the pixels of one
                assert torch.equal(run(kernel, x, groups, weight, bias, act, workers), y)


@pytest.mark.parametrize("kernel", pinned.kernels("group_norm"))
def test_a_large_mean_does_not_cancel(kernel: str) -> None:
    """fp32 at 1000 resolves 6e-5 of a deviation of 1; E[x^2] - E[x]^2 would be off by 0.1 and more."""
    x = torch.randn(1, 8, 3000) + 1000
    y = run(kernel, x, 2, None, None, "none", 2)
    reference = expected(x, 2, None, None, "none")
    torch.testing.assert_close(y.double(), reference, rtol=0, atol=3e-4)


@pytest.mark.parametrize("kernel", pinned.kernels("group_norm"))
def test_nan_and_infinities_spoil_their_group_alone(kernel: str) -> None:
    x = torch.randn(2, 12, 37)
    x[0, 1, 3], x[1, 11, 36] = torch.nan, torch.inf
    y = run(kernel, x, 4, None, None, "none", 1)
    spoilt = torch.zeros(2, 4, dtype=torch.bool)
    spoilt[0, 0] = spoilt[1, 3] = True
    assert torch.equal(y.reshape(2, 4, -1).isnan().all(2), spoilt)
    assert torch.equal(y.reshape(2, 4, -1).isnan().any(2), spoilt)


def test_views_keep_torchs_values_and_strides() -> None:
    maps, w, b = torch.randn(3, 12, 6, 5), torch.randn(12), torch.randn(24)[::2]
    last = maps.contiguous(memory_format=torch.channels_last)
    for x in (maps, last, maps[:1], last[:, :, 1:4], last[..., :3], maps[:, :, ::2], maps.transpose(2, 3), maps[:0],
              maps[:, :, 0], maps[:, :, 0, 0], torch.randn(2, 12, 3, 2, 2), maps[:, :, :1, :1]):  # fmt: skip
        if x.numel():
            y = ops.group_norm(x, 3, w, b, eps=EPS, act="silu")
            check(y, expected(x, 3, w, b, "silu"))
            assert y.stride() == F.group_norm(x, 3, w, b, EPS).stride()
        else:
            assert ops.group_norm(x, 3, w, b).shape == x.shape


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.group_norm(3, 1), TypeError, "x must be a Tensor, got int"),
        (lambda: ops.group_norm(torch.zeros(4), 2), ValueError, r"at least 2 dimensions, got \(4,\)"),
        (lambda: ops.group_norm(torch.zeros(2, 6, 3), 4), ValueError, "groups=4 does not divide c=6"),
        (lambda: ops.group_norm(torch.zeros(2, 6), 0), ValueError, "groups=0 does not divide c=6"),
        (lambda: ops.group_norm(torch.zeros(2, 6), 2, torch.zeros(5)), ValueError, r"\(5,\), x has 6 channels"),
        (lambda: ops.group_norm(torch.zeros(2, 6), 2, act="swish"), ValueError, "act='swish'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_opcheck() -> None:
    x, w, b = (torch.randn(s, requires_grad=True) for s in ((2, 6, 3, 2), 6, 6))
    # Without a gradient of x torch's own backward crashes on channels_last.
    last = torch.randn(2, 6, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    for args in ((x, w, b), (x, None, None), (last, w, None)):
        torch.library.opcheck(torch.ops.pycnn.group_norm.default, (*args, 2, EPS, 4, 0.01, ""))


@pinned.fp32_gradcheck
def test_gradients_are_torchs() -> None:
    small = [torch.randn(s, requires_grad=True) for s in ((2, 6, 3, 3), 6, 6)]
    g = torch.randn(2, 6, 3, 3)
    ours = torch.autograd.grad(torch.ops.pycnn.group_norm(*small, 3, EPS, 0, 0.01, ""), small, g)
    torchs = torch.autograd.grad(F.group_norm(small[0], 3, *small[1:], EPS), small, g)
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


@pytest.mark.parametrize("affine", [True, False])
def test_in_a_plan_with_its_activation_it_follows_the_weights(affine: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8, affine=affine), nn.SiLU(), nn.Conv2d(8, 4, 1)
    ).eval()
    fast = pycnn.optimize(net, strict=True)
    for shape in ((1, 3, 9, 7), (3, 3, 12, 12)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            assert [s.op for s in pycnn.explain(fast, x).steps][:3] == [
                "conv2d",
                "group_norm",
                "conv2d",
            ]
    if affine:
        with torch.no_grad():
            net[1].weight.mul_(3), net[1].bias.add_(1)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5


def test_vectors_and_sequences_in_plans() -> None:
    for net, shape in (
        (nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(2, 8), nn.ReLU()), (3, 5)),
        (nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 8), nn.Tanh()), (3, 8, 11)),
    ):
        x = torch.randn(shape)
        fast = pycnn.optimize(net.eval(), strict=True)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5


def test_a_planar_problem_is_refused_by_the_kernel_for_maps() -> None:
    reasons = dict(_C.kernels("group_norm", {"planar": 1}))
    assert all("not adjacent" in str(r) for name, r in reasons.items() if "maps" in name)


@pytest.mark.parametrize("kernel", pinned.kernels("group_norm"))
def test_a_group_of_equal_numbers_becomes_zeros(kernel: str) -> None:
    x = torch.randn(3, 4, 1, 1).expand(3, 4, 5, 47).reshape(3, 20, 47)
    for workers in (1, 3):
        assert run(kernel, x, 4, None, None, "none", workers).abs().max() < 1e-5
