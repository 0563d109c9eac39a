"""Inverted residual blocks in one kernel: against fp64, bit by bit against three kernels, barriers, plans with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from launch import DEVICE, DTYPES, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import SUM, UNIT, arithmetic, rows
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_plan_cuda import HostTarget, check, program, randn, settle, steps
from torch import Tensor, nn

import pycnn
from pycnn import ops
from pycnn.blocks.inverted_residual import InvertedResidual

ALL = [(name, dtype) for name, dtype, _ in kernels().kernels("inverted_residual", {})]
Params = dict[str, float]


@dataclass(frozen=True)
class Block:
    """c channels of h x w pixels, s hidden ones, k results; pad: (top, left, bottom, right); gap: elements between
    pixels that are nobody's."""

    c: int
    s: int
    k: int
    h: int = 5
    w: int = 7
    n: int = 1
    stride: int = 1
    pad: tuple[int, int, int, int] = (1, 1, 1, 1)
    acts: tuple[str, str, str] = ("relu6", "relu6", "none")
    gap: int = 0
    residual: bool = True


def of(kernel: str, c: int, s: int, k: int, **fields: object) -> Block:
    """One of the kernel's stride."""
    return replace(Block(c, s, k, stride=2 if "_s2_" in kernel else 1), **fields)


@dataclass(frozen=True)
class Operands:
    x: Tensor
    w: tuple[Tensor, Tensor, Tensor]
    b: tuple[Tensor, Tensor, Tensor]
    r: Tensor

    @staticmethod
    def of(p: Block, dtype: str) -> Operands:
        generator, to = torch.Generator().manual_seed(5), DTYPES[dtype]

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        w = random(p.s, p.c, 1, 1) / p.c**0.5, random(p.s, 1, 3, 3) / 3, random(p.k, p.s, 1, 1)
        w1, w2, w3 = w[0].to(to), w[1].to(to), (w[2] / p.s**0.5).to(to)
        x = random(p.n, p.c, p.h, p.w).to(to)
        oh, ow = size(p)
        biases = random(p.s), random(p.s), random(p.k)
        return Operands(x, (w1, w2, w3), biases, random(p.n, p.k, oh, ow).to(to))


def size(p: Block) -> tuple[int, int]:
    top, left, bottom, right = p.pad
    return (p.h + top + bottom - 3) // p.stride + 1, (p.w + left + right - 3) // p.stride + 1


def params_of(p: Block) -> Params:
    (oh, ow), names = size(p), ("act", "dw_act", "out_act")
    return {
        "n": p.n, "h": p.h, "w": p.w, "c": p.c, "s": p.s, "k": p.k, "oh": oh, "ow": ow,
        "stride": p.stride, "ph": p.pad[0], "pw": p.pad[1], "ldx": -(-(p.c + p.gap) // 8) * 8,
        "ldy": p.k + p.gap, "ldr": (p.k + p.gap) * p.residual,
        **{name: ops.ACTS[act] for name, act in zip(names, p.acts, strict=True)},
    }  # fmt: skip


def reasons(params: Params, name: str = "") -> list[str | None]:
    found = kernels().kernels("inverted_residual", params)
    return [why for each, _, why in found if name in each]


def truth(p: Block, o: Operands, unit: float) -> tuple[Tensor, Tensor]:
    """In fp64, and how far from it roundings of maps and of sums may lead."""
    (w1, w2, w3), (b1, b2, b3) = ([t.double() for t in ts] for ts in (o.w, o.b))
    x, pad = o.x.double(), (p.pad[1], p.pad[3], p.pad[0], p.pad[2])

    def window(map_: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(F.pad(map_, pad), w, stride=p.stride, groups=p.s)

    def column(b: Tensor) -> Tensor:
        return b.view(-1, 1, 1)

    hidden = ops.apply_act(F.conv2d(x, w1) + column(b1), p.acts[0])
    off = SUM * (F.conv2d(x.abs(), w1.abs()) + column(b1.abs())) * 1.2 + unit * hidden.abs() + 2e-6
    middle = ops.apply_act(window(hidden, w2) + column(b2), p.acts[1])
    off = window(off + SUM * hidden.abs(), w2.abs()) + SUM * column(b2.abs())
    off = off * 1.2 + unit * middle.abs() + 2e-6
    r = o.r.double() * p.residual
    expected = ops.apply_act(F.conv2d(middle, w3) + column(b3) + r, p.acts[2])
    off = F.conv2d(off + SUM * middle.abs(), w3.abs()) + SUM * (column(b3.abs()) + r.abs())
    return rows(expected), rows(off * 1.2 + unit * expected.abs() + 2e-6)


def launch(p: Block, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran | str:
    """The kernel's results on a random problem, or why it does not take it."""
    o, to, params = Operands.of(p, dtype), DTYPES[dtype], params_of(p)
    (reason,) = reasons(params, kernel)
    if reason is not None:
        return reason
    expected, bound = truth(p, o, UNIT[arithmetic(kernel)])
    blank = torch.full((len(expected), p.k), torch.nan, dtype=to)
    y = Guarded(blank, p.k + p.gap, writable=True)
    pairs = zip(o.w, o.b, strict=True)
    packed = torch.cat([part for w, b in pairs for part in (w.float().flatten(), b)])
    added = Guarded(rows(o.r), p.k + p.gap) if p.residual else None
    given = Guarded(rows(o.x), int(params["ldx"])), y, packed, None, added
    sites = run("inverted_residual", kernel, params, *given, seed=seed, drop=drop)
    assert y.untouched(), "memory around y was written"
    return Ran(y, expected, bound, sites)


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_problems(kernel: str, dtype: str) -> None:
    """Maps at the edges of tiles, channels at those of chunks, paddings, slices."""
    for p in (
        of(kernel, 8, 1, 1, h=1, w=1),
        of(kernel, 24, 40, 24, h=9, w=18, n=2),
        of(kernel, 13, 32, 31, h=17, w=17, gap=3),
        of(kernel, 40, 33, 8, pad=(0, 2, 2, 0), acts=("silu", "relu", "relu6"), residual=False),
        of(kernel, 128, 70, 29, h=3, w=4, acts=("hardswish", "none", "none"), gap=8),
    ):
        ran = launch(p, kernel, dtype)
        assert isinstance(ran, Ran) and ran.wrong() == 0, p
    widest = int(kernel.split("_")[3])
    ran = launch(of(kernel, 16, 48, widest), kernel, dtype)
    assert isinstance(ran, Ran) and ran.wrong() == 0
    assert "more channels than its tile" in str(launch(of(kernel, 8, 8, widest + 1), kernel, dtype))


def test_what_it_needs() -> None:
    able = params_of(Block(8, 8, 8))
    for changed, said in (
        ({"stride": 3}, "another stride"),
        ({"ph": 3}, "at most 2 pixels"),
        ({"pw": -1}, "at most 2 pixels"),
        ({"c": 136, "ldx": 136}, "more than 128 channels"),
        ({"ldx": 12}, "16 bytes"),
        ({"h": 1 << 20, "w": 1 << 20}, "2^30"),
    ):
        assert all(said in str(why) for why in reasons(able | changed, "_s1_")), changed
    assert not any(dtype == "float32" for _, dtype in ALL)


@pytest.mark.parametrize("stride", [1, 2])
def test_bits_are_those_of_three_kernels(stride: int) -> None:
    """Sums in the same order, the maps between rounded as they would be."""
    p = Block(24, 72, 24, 9, 18, stride=stride)
    o, ran = (
        Operands.of(p, "bfloat16"),
        launch(p, f"inverted_residual_s{stride}_32_bf16_sm80", "bfloat16"),
    )
    assert isinstance(ran, Ran)

    def layer(x: Tensor, w: Tensor, b: Tensor, r: Tensor | None, act: str, name: str) -> Tensor:
        n, c, h, width = x.shape
        k, size = len(w), w.shape[2]
        step, pad = (stride, 1) if size == 3 else (1, 0)
        oh, ow = ((v + 2 * pad - size) // step + 1 for v in (h, width))
        y = Guarded(torch.full((n * oh * ow, k), torch.nan, dtype=x.dtype), writable=True)
        params = {
            "h": h, "w": width, "c": c, "k": k, "kh": size, "kw": size, "oh": oh, "ow": ow,
            "sh": step, "sw": step, "ph": pad, "pw": pad, "groups": c // w.shape[1],
            "ldx": c, "ldy": k, "ldr": 0 if r is None else k, "act": ops.ACTS[act],
        }  # fmt: skip
        added = None if r is None else Guarded(rows(r))
        run("conv2d", f"{name}_bf16_sm80", params, Guarded(rows(x)), y, w.float(), b, added)
        return y.view.view(n, oh, ow, k).permute(0, 3, 1, 2)

    product, window = "conv2d_igemm128x64", f"conv2d_depthwise3x3{'s2' if stride == 2 else ''}"
    hidden = layer(o.x, o.w[0], o.b[0], None, "relu6", product)
    middle = layer(hidden, o.w[1], o.b[1], None, "relu6", window)
    expected = layer(middle, o.w[2], o.b[2], o.r, "none", product)
    assert torch.equal(rows(expected), ran.y.view)


@on_host
@pytest.mark.parametrize("which", ["s1_32", "s2_32", "s1_64"])
def test_any_order_of_threads_and_every_barrier(which: str) -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some. Not without the warp's before
    `ldmatrix`, where a warp of the host meets anyway."""
    kernel = f"inverted_residual_{which}_bf16_sm80"
    p = of(kernel, 16, 96, 20, h=9, w=10)

    def ran(seed: int, drop: str = "") -> Ran:
        found = launch(p, kernel, "bfloat16", seed, drop)
        assert isinstance(found, Ran)
        return found

    first = ran(1)
    assert len(first.sites) >= 3 and not first.wrong()
    assert all(torch.equal(ran(seed).y.view, first.y.view) for seed in range(2, 5))
    sites = [site for site in first.sites if not site.startswith("sync_warp tile.h")]
    for site in sites:
        assert any(ran(seed, site).wrong() for seed in range(1, 25)), f"{site} may be dropped"


def net(*, last: int = 16, **fields: object) -> nn.Module:
    torch.manual_seed(6)
    return settle(nn.Sequential(nn.Conv2d(3, 16, 1), InvertedResidual(16, last, 40, **fields)))


def blocks(found: list[str]) -> int:
    return sum("inverted_residual" in step for step in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("act", [nn.ReLU6, nn.SiLU])
def test_a_block_is_one_step(act: type[nn.Module], stride: int, dtype: torch.dtype) -> None:
    for shape in ((2, 3, 9, 11), (1, 3, 4, 4), (1, 3, 1, 1)):
        x = randn(*shape).to(dtype)
        made = check(net(stride=stride, act=act), x, factor=2, blocks=True)
        assert blocks(steps(made, x)) == 1, steps(made, x)


@pytest.mark.parametrize(
    ("made", "dtype"),
    [
        (net(kernel_size=5), torch.bfloat16),
        (net(dilation=2), torch.bfloat16),
        (net(squeezed=4), torch.bfloat16),
        (net(last=72), torch.bfloat16),
        (net(), torch.float32),
    ],
    ids=["5x5", "dilation", "squeeze-and-excitation", "wide", "fp32"],
)
def test_where_it_must_not_be(made: nn.Module, dtype: torch.dtype) -> None:
    x = randn(1, 3, 6, 5).to(dtype)
    assert blocks(steps(check(made, x, factor=3, blocks=True), x)) == 0


class Read(nn.Module):
    """The hidden map is a result too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.expand = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1)
        self.window, self.project = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.expand(self.first(x))
        return self.project(self.window(hidden)), hidden


@torch.no_grad()
def test_maps_that_somebody_else_reads_are_made() -> None:
    x = randn(1, 3, 6, 5).bfloat16()
    assert blocks(steps(check(Read().eval(), x, factor=3, blocks=True), x)) == 0
    assert blocks(steps(program(net().to(DEVICE, torch.bfloat16), x), x)) == 0  # off by default


@torch.no_grad()
def test_mobilenets_blocks_and_what_is_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = settle(pycnn.create_model("mobilenet_v2")), randn(1, 3, 32, 32).bfloat16()
    with monkeypatch.context() as always:
        always.setattr(HostTarget, "is_shorter", lambda *_: True)
        assert blocks(steps(check(model, x, factor=2), x)) == 9  # of at most 64 channels
    monkeypatch.setenv("PYCNN_CUDA_BLOCKS", "1")
    made, x = net().to(DEVICE, torch.bfloat16), randn(1, 3, 9, 7).bfloat16()
    fast = pycnn.optimize(made)
    (told,) = (s for s in pycnn.explain(fast, x).steps if s.op == "inverted_residual")
    layer = "conv2d + batch_norm + relu6"
    assert told.fused == f"{layer} + {layer} + conv2d + batch_norm + residual"
    assert told.flops == 2 * 9 * 7 * 40 * (16 + 9 + 16)
    certificate = pycnn.verify(fast, made, x)
    assert certificate.ok and certificate.same_bits
    for name, tensor in made.named_parameters():
        tensor.mul_(1.1)
        assert torch.equal(fast(x), pycnn.optimize(made)(x)), name
