"""A depthwise convolution and the layer norm behind it in one kernel: against fp64, barriers, plans with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from launch import DEVICE, DTYPES, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import UNIT, Conv, arithmetic, rows
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from test_plan_cuda import check, program, randn, settle
from test_pooled_plan_cuda import steps
from torch import Tensor, nn

import pycnn
from pycnn import ops
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights

ALL = [(name, dtype) for name, dtype, _ in kernels().kernels("conv2d_layer_norm", {})]
EPS = 1e-3


def launch(conv: Conv, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran | str:
    """The kernel's results on a random problem, or why it does not take it."""
    generator, to = torch.Generator().manual_seed(7), DTYPES[dtype]
    x = torch.randn(conv.n, conv.c, conv.h, conv.w, generator=generator).to(to)
    weight = torch.randn(conv.c, 1, *conv.kernel, generator=generator).to(to)
    bias, scale, shift = torch.randn(3, conv.c, generator=generator)
    plain = conv.reference(x.double(), weight.double(), None) + bias.double().view(-1, 1, 1)
    n, c, oh, ow = plain.shape
    v = rows(ops.apply_act(plain, conv.act))
    expected = F.layer_norm(v, (c,), scale.double(), shift.double(), EPS)
    # Sums of c values of a window's products each; what they lose grows by the norm's division.
    size = v.abs().amax(1, keepdim=True) / (v.var(1, correction=0, keepdim=True) + EPS).sqrt()
    bound = (
        2**-18 * (1 + size) * (scale.abs() + shift.abs())
        + UNIT[arithmetic(kernel)] * expected.abs()
    )
    params = {
        "n": n, "h": conv.h, "w": conv.w, "c": c, "k": c, "groups": c, "oh": oh, "ow": ow,
        "kh": conv.kernel[0], "kw": conv.kernel[1], "sh": conv.stride[0], "sw": conv.stride[1],
        "ph": conv.padding[0], "pw": conv.padding[1], "dh": conv.dilation[0], "dw": conv.dilation[1],
        "ldx": c + conv.gap, "ldy": c + conv.gap, "act": ops.ACTS[conv.act], "eps": EPS,
    }  # fmt: skip
    found = kernels().kernels("conv2d_layer_norm", params)
    reason = next(why for name, _, why in found if name == kernel)
    if reason is not None:
        return str(reason)
    y = Guarded(torch.full((n * oh * ow, c), torch.nan, dtype=to), c + conv.gap, writable=True)
    packed = torch.cat([weight.float().flatten(), scale, shift])
    operands = Guarded(rows(x), c + conv.gap), y, packed, bias
    sites = run("conv2d_layer_norm", kernel, params, *operands, seed=seed, drop=drop)
    assert y.untouched(), "memory around y was written"
    return Ran(y, expected, bound, sites)


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_problems(kernel: str, dtype: str) -> None:
    """Teams of one thread, of less and more than 16, of the whole block; slices; lines that end inside a group."""
    step = 16 // DTYPES[dtype].itemsize
    window = {"kernel": (7, 7), "padding": (3, 3, 3, 3)} if "7x7" in kernel else {"kernel": (3, 3)}
    for c, h, w, n, gap in (
        (2, 5, 9, 2, 0),
        (12 * step, 7, 6, 2, step),
        (24 * step + 3, 4, 5, 1, 1),
        (96 * step, 3, 5, 1, 0),
        (256 * step, 3, 3, 1, 0),
    ):
        ran = launch(Conv(c, c, h, w, n=n, groups=c, gap=gap, **window), kernel, dtype)
        assert isinstance(ran, Ran) and ran.wrong() == 0, (c, h, w)
    c = 257 * step
    wide = launch(Conv(c, c, 3, 3, groups=c, **window), kernel, dtype)
    assert isinstance(wide, str) and "more channels than 256 pieces" in wide
    odd = Conv(16, 16, 6, 8, (2, 3), (1, 2), (2, 1, 0, 2), (2, 1), 16, act="silu")
    ran = launch(odd, kernel, dtype)
    assert isinstance(ran, str) if "7x7" in kernel else isinstance(ran, Ran) and ran.wrong() == 0


@on_host
def test_any_order_of_threads_and_every_barrier() -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some. Teams of 12 threads, which add
    up once, and of 25."""
    problems = [Conv(c, c, 4, 6, (7, 7), padding=(3, 3, 3, 3), groups=c) for c in (96, 200)]

    def ran(conv: Conv, seed: int, drop: str = "") -> Ran:
        found = launch(conv, "conv2d_layer_norm7x7_bf16_sm80", "bfloat16", seed, drop)
        assert isinstance(found, Ran)
        return found

    first = [ran(conv, 1) for conv in problems]
    for seed in range(2, 6):
        for conv, one in zip(problems, first, strict=True):
            assert torch.equal(ran(conv, seed).y.view, one.y.view) and not one.wrong()
    sites = {site for one in first for site in one.sites}
    assert len(sites) >= 2
    for site in sites:
        found = (ran(conv, seed, site).wrong() for conv in problems for seed in range(1, 25))
        assert any(found), f"{site} may be dropped"


class Norm(nn.Module):
    """A layer norm of channels, as ConvNeXt has it."""

    def __init__(self, c: int, affine: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c, elementwise_affine=affine)
        if affine:
            nn.init.normal_(self.norm.weight), nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def net(c: int = 16, affine: bool = True, **fields: Any) -> nn.Sequential:
    fields = {"kernel_size": 7, "padding": 3, "groups": c, **fields}
    return nn.Sequential(
        nn.Conv2d(3, c, 1), nn.Conv2d(c, c, **fields), Norm(c, affine), nn.Conv2d(c, 8, 1)
    )


def normed(found: list[str]) -> int:
    return sum("conv2d_layer_norm" in step for step in found)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("affine", [False, True])
def test_a_norm_is_part_of_the_convolution_before_it(affine: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    made = settle(net(affine=affine))
    for shape in ((2, 3, 9, 11), (1, 3, 4, 4)):
        x = randn(*shape).to(dtype)
        assert normed(steps(check(made, x, factor=2), x)) == 1


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.usefixtures("last")
def test_torchs_own_convolution_with_the_norm(dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = randn(2, 3, 9, 11).to(dtype)
    made = check(settle(net()), x, factor=2)
    assert "conv2d_layer_norm_torch" in steps(made, x) and taken(made, x) == 3


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (net(groups=1), "no depthwise convolution"),
        (net(c=2056, kernel_size=1, padding=0), "too many channels"),
        (nn.Sequential(nn.Conv2d(3, 16, 1), nn.GELU(), Norm(16), nn.Conv2d(16, 8, 1)), "a 1x1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_it_must_not_be(made: nn.Module, why: str) -> None:
    torch.manual_seed(6)
    x = randn(1, 3, 6, 5).bfloat16()
    assert normed(steps(check(settle(made), x, factor=2), x)) == 0


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), Norm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) * y


def test_a_map_that_somebody_else_reads_is_made() -> None:
    torch.manual_seed(6)
    x = randn(1, 8, 6, 5).bfloat16()
    assert normed(steps(check(Twice().eval(), x, factor=2), x)) == 0


@torch.no_grad()
def test_convnexts_norms_and_what_is_told_of_them() -> None:
    torch.manual_seed(0)
    model, x = settle(pycnn.create_model("convnext_tiny")), randn(1, 3, 32, 32).bfloat16()
    found = steps(check(model, x), x)
    assert normed(found) == 18 and sum("layer_norm_rows" in step for step in found) == 5
    made, x = settle(net()).to(DEVICE, torch.bfloat16), randn(1, 3, 9, 7).bfloat16()
    fast = pycnn.optimize(made)
    (told,) = (s for s in pycnn.explain(fast, x).steps if s.op == "conv2d_layer_norm")
    assert told.fused == "layer_norm" and told.window == "7×7, groups 16"
    certificate = pycnn.verify(fast, made, x)
    assert certificate.ok and certificate.same_bits
    for tensor in (made[1].weight, made[2].norm.weight, made[2].norm.bias):
        tensor.mul_(1.5)
        assert torch.equal(fast(x), pycnn.optimize(made)(x))
    free = program(made, x)
    weights = Weights(free.graph.tensors, free.target())
    tight = Program(free.graph, weights, free.target, memory_limit=1 << 20)
    assert normed(steps(tight, x)) == 0
