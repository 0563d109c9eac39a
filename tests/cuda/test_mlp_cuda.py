"""Two 1x1 convolutions in one kernel: against fp64, bit by bit against two kernels, barriers, plans with it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from launch import DEVICE, DTYPES, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import SUM, UNIT, arithmetic
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_plan_cuda import HostTarget, check, program, randn, settle, steps
from torch import Tensor, nn

import pycnn
from pycnn import ops

ALL = [(name, dtype) for name, dtype, _ in kernels().kernels("mlp", {})]
BF16 = [name for name, dtype in ALL if dtype == "bfloat16"]


@dataclass(frozen=True)
class Pair:
    """rows pixels of c channels, s hidden ones, k results; gap: elements between pixels that are nobody's."""

    rows: int
    c: int
    s: int
    k: int
    act: str = "gelu"
    out_act: str = "none"
    gap: int = 0
    residual: bool = True


@dataclass(frozen=True)
class Operands:
    x: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    r: Tensor

    @staticmethod
    def of(p: Pair, dtype: str) -> Operands:
        generator, to = torch.Generator().manual_seed(5), DTYPES[dtype]

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        w1, w2 = random(p.s, p.c).div(p.c**0.5).to(to), random(p.k, p.s).div(p.s**0.5).to(to)
        x, r = random(p.rows, p.c).to(to), random(p.rows, p.k).to(to)
        return Operands(x, w1, random(p.s), w2, random(p.k), r)


def reasons(params: dict[str, float], name: str = "") -> list[str | None]:
    return [why for each, _, why in kernels().kernels("mlp", params) if name in each]


def launch(p: Pair, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran | str:
    """The kernel's results on a random problem, or why it does not take it."""
    o, to, unit = Operands.of(p, dtype), DTYPES[dtype], UNIT[arithmetic(kernel)]
    ldx = -(-(p.c + p.gap) // 8) * 8
    params = {
        "pixels": p.rows, "c": p.c, "s": p.s, "k": p.k, "ldx": ldx, "ldy": p.k + p.gap,
        "ldr": (p.k + p.gap) * p.residual, "act": ops.ACTS[p.act], "out_act": ops.ACTS[p.out_act],
    }  # fmt: skip
    (reason,) = reasons(params, kernel)
    if reason is not None:
        return reason
    x, w1, w2, b1 = o.x.double(), o.w1.double(), o.w2.double(), o.b1.double()
    hidden = ops.apply_act(x @ w1.T + b1, p.act)
    before = hidden @ w2.T + o.b2.double() + o.r.double() * p.residual
    sizes = (x.abs() @ w1.abs().T + b1.abs()) * SUM * 1.2 + hidden.abs() * unit + 2e-6
    bound = (sizes + hidden.abs() * SUM) @ w2.abs().T
    bound = bound + SUM * (o.b2.abs() + o.r.double().abs()) + 2e-6
    expected = ops.apply_act(before, p.out_act)
    y = Guarded(torch.full((p.rows, p.k), torch.nan, dtype=to), p.k + p.gap, writable=True)
    packed = torch.cat([o.w1.float().flatten(), o.b1, o.w2.float().flatten(), o.b2])
    added = Guarded(o.r, p.k + p.gap) if p.residual else None
    given = Guarded(o.x, ldx), y, packed, None, added
    sites = run("mlp", kernel, params, *given, seed=seed, drop=drop)
    assert y.untouched(), "memory around y was written"
    return Ran(y, expected, bound * 1.2 + unit * expected.abs(), sites)


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_problems(kernel: str, dtype: str) -> None:
    """Pixels at the edges of tiles, hidden channels at those of chunks, channels of all widths, slices."""
    for p in (
        Pair(1, 8, 1, 1),
        Pair(130, 96, 40, 96),
        Pair(33, 61, 33, 29, gap=3),
        Pair(31, 24, 128, 40, "relu", "relu6", residual=False),
        Pair(17, 96, 97, 16, "silu", "gelu", gap=8),
    ):
        ran = launch(p, kernel, dtype)
        assert isinstance(ran, Ran) and ran.wrong() == 0, p
    widest = int(kernel.split("_")[0].split("x")[1])
    ran = launch(Pair(5, widest, 64, widest), kernel, dtype)
    assert isinstance(ran, Ran) and ran.wrong() == 0
    for p in (Pair(5, widest + 8, 8, 8), Pair(5, 8, 8, widest + 1)):
        assert "more channels" in str(launch(p, kernel, dtype))


def test_what_it_needs() -> None:
    assert all("16 bytes" in str(why) for why in reasons({"c": 8, "k": 8, "ldx": 12}))
    assert all("2^30" in str(why) for why in reasons({"n": 1 << 16, "pixels": 1 << 16}))
    assert not any(dtype == "float32" for _, dtype in ALL)


@pytest.mark.parametrize("kernel", BF16)
def test_bits_are_those_of_two_kernels(kernel: str) -> None:
    """Sums in the same order, the hidden map rounded as it would be."""
    p = Pair(70, 96, 72, 88)
    o, ran = Operands.of(p, "bfloat16"), launch(p, kernel, "bfloat16")
    assert isinstance(ran, Ran)

    def layer(x: Tensor, w: Tensor, b: Tensor, r: Tensor | None, act: str) -> Tensor:
        (k, c), count = w.shape, len(x)
        y = Guarded(torch.full((count, k), torch.nan, dtype=x.dtype), writable=True)
        params = {"w": count, "ow": count, "c": c, "k": k, "ldx": c, "ldy": k, "act": ops.ACTS[act]}
        params["ldr"] = 0 if r is None else k
        added = None if r is None else Guarded(r)
        name = "conv2d_igemm128x64_bf16_sm80"
        run("conv2d", name, params, Guarded(x), y, w.float(), b, added)
        return y.view

    hidden = layer(o.x, o.w1, o.b1, None, "gelu")
    assert torch.equal(layer(hidden, o.w2, o.b2, o.r, "none"), ran.y.view)


@on_host
@pytest.mark.parametrize("kernel", [name for name in BF16 if "256" not in name])
def test_any_order_of_threads_and_every_barrier(kernel: str) -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some. The last barrier guards what
    the epilogue turns around."""
    p = Pair(70, 96, 5 * 32, 72)

    def ran(seed: int, drop: str = "") -> Ran:
        found = launch(p, kernel, "bfloat16", seed, drop)
        assert isinstance(found, Ran)
        return found

    first = ran(1)
    assert first.sites and not first.wrong()
    assert all(torch.equal(ran(seed).y.view, first.y.view) for seed in range(2, 5))
    for site in first.sites:
        assert any(ran(seed, site).wrong() for seed in range(1, 25)), f"{site} may be dropped"


class Block(nn.Module):
    """ConvNeXt's, without the depthwise convolution."""

    def __init__(
        self, c: int = 24, s: int = 56, act: nn.Module | None = None, **fields: int
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.expand, self.act = nn.Conv2d(c, s, 1, **fields), act or nn.GELU()
        self.project, self.scale = nn.Conv2d(s, c, 1), nn.Parameter(torch.randn(c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.project(self.act(self.expand(x))) * self.scale
        return y + x if y.shape == x.shape else y


def mlps(found: list[str]) -> int:
    return sum("mlp" in step for step in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("act", [nn.GELU(), nn.ReLU(), nn.Hardsigmoid()], ids=str)
def test_two_layers_are_one_step(act: nn.Module, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    for shape in ((2, 3, 9, 11), (1, 3, 4, 4)):
        x = randn(*shape).to(dtype)
        made = check(Block(act=act).eval(), x, factor=2, blocks=True)
        assert mlps(steps(made, x)) == 1 and len(steps(made, x)) == 4  # two are copies


class Wrong(Block):
    """`which`: the hidden map is read twice, or is the result."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.first(x)
        hidden = self.act(self.expand(x))
        y: Tensor = self.project(hidden)
        if self.which == "gated":
            return self.project(hidden * hidden.mean((2, 3), keepdim=True))
        return (y, hidden) if self.which == "returned" else y + hidden[:, :24]


@pytest.mark.parametrize(
    ("net", "dtype"),
    [
        (Block(c=200), torch.bfloat16),
        (Block(stride=2), torch.bfloat16),
        (Block(padding=1), torch.bfloat16),
        (Block(groups=2), torch.bfloat16),
        (Block(), torch.float32),
        (Wrong("read twice"), torch.bfloat16),
        (Wrong("returned"), torch.bfloat16),
        (Wrong("gated"), torch.bfloat16),
    ],
    ids=["wide", "stride", "padding", "groups", "fp32", "read twice", "returned", "gated"],
)
def test_where_it_must_not_be(net: nn.Module, dtype: torch.dtype) -> None:
    x = randn(1, 3, 6, 5).to(dtype)
    assert mlps(steps(check(net.eval(), x, factor=3, blocks=True), x)) == 0


@torch.no_grad()
def test_where_it_is_predicted_to_take_longer() -> None:
    """A block of pixels reads all weights: few of many channels do not pay; neither does any by default."""
    x = randn(1, 3, 6, 5).bfloat16()
    net = Block(c=192, s=4096).eval().to(DEVICE, torch.bfloat16)
    assert mlps(steps(program(net, x, blocks=True), x)) == 0
    assert mlps(steps(program(Block().eval().to(DEVICE, torch.bfloat16), x), x)) == 0


@torch.no_grad()
def test_convnexts_layers_and_what_is_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = settle(pycnn.create_model("convnext_tiny")), randn(1, 3, 32, 32).bfloat16()
    with monkeypatch.context() as always:
        always.setattr(HostTarget, "is_shorter", lambda *_: True)
        assert mlps(steps(check(model, x, factor=2), x)) == 6  # of 96 and of 192 channels
    monkeypatch.setenv("PYCNN_CUDA_BLOCKS", "1")
    made, x = Block().eval().to(DEVICE, torch.bfloat16), randn(1, 3, 9, 7).bfloat16()
    fast = pycnn.optimize(made)
    (told,) = (s for s in pycnn.explain(fast, x).steps if s.op == "mlp")
    assert told.fused == "conv2d + gelu + conv2d + scale + residual"
    assert told.flops == 2 * 9 * 7 * 2 * 24 * 56
    certificate = pycnn.verify(fast, made, x)
    assert certificate.ok and certificate.same_bits
    for tensor in (made.expand.weight, made.project.bias, made.scale):
        tensor.mul_(1.5)
        assert torch.equal(fast(x), pycnn.optimize(made)(x))
