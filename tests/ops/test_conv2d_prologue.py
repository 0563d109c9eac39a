"""1x1 convolutions that change their input on its way, by a batch norm or a gate: kernels by name, against fp64."""

from __future__ import annotations

from dataclasses import dataclass

import pinned
import pytest
import tolerance
import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn import _C, ops

KERNELS = [n for n in pinned.kernels("conv2d") if "igemm" in n or "reference" in n]
BF16 = [n for n in pinned.kernels("conv2d", "bfloat16") if "igemm" in n]
NORM, GATE = 1, 2
CLAMPS = ("none", "relu", "relu6")


@dataclass(frozen=True)
class Case:
    c: int
    k: int
    h: int = 3
    w: int = 5
    n: int = 1
    stride: int = 1

    def tensors(self) -> dict[str, Tensor]:
        g = torch.Generator().manual_seed(self.c * 31 + self.k)
        oh, ow = ((size - 1) // self.stride + 1 for size in (self.h, self.w))

        def made(*shape: int) -> Tensor:
            return torch.randn(shape, generator=g)

        return {
            "x": made(self.n, self.c, self.h, self.w),
            "weight": made(self.k, self.c) / self.c**0.5,
            "bias": made(self.k),
            "residual": made(self.n, self.k, oh, ow),
            "scale": made(self.c),
            "shift": made(self.c),
            "gate": torch.rand(self.n, self.c, generator=g),
        }


def expected(case: Case, t: dict[str, Tensor], prologue: int, act: str) -> tuple[Tensor, Tensor]:
    """fp64's result before the last activation and its bound; what is made of a pixel is rounded three times."""
    t = {name: value.double() for name, value in t.items()}
    each = lambda v: v.reshape(-1, case.c, 1, 1)  # noqa: E731
    if prologue == NORM:
        made = ops.apply_act(t["x"] * each(t["scale"]) + each(t["shift"]), act, 0.0)
        size = t["x"].abs() * each(t["scale"]).abs() + each(t["shift"]).abs()
    else:
        made = t["x"] * each(t["gate"])
        size = made.abs()
    weight = t["weight"].reshape(case.k, case.c, 1, 1)
    y = F.conv2d(made, weight, t["bias"], case.stride) + t["residual"]
    magnitude = F.conv2d(size, weight.abs(), t["bias"].abs(), case.stride) + t["residual"].abs()
    return y, tolerance.sums(case.c, magnitude) + 3 * tolerance.EPS * magnitude


def run(
    kernel: str,
    case: Case,
    t: dict[str, Tensor],
    prologue: int,
    prologue_act: str = "relu",
    act: str = "none",
    gap: int = 5,
    workers: int = 1,
) -> Tensor:
    n, k, oh, ow = t["residual"].shape
    params = {
        "n": n, "h": case.h, "w": case.w, "c": case.c, "k": k, "kh": 1, "kw": 1, "oh": oh, "ow": ow,
        "sh": case.stride, "sw": case.stride, "ldx": case.c + gap, "ldr": k + 2 * gap, "ldy": k + 3 * gap,
        "act": ops.ACTS[act], "prologue": prologue, "prologue_act": ops.ACTS[prologue_act], "ldg": case.c + gap,
    }  # fmt: skip
    norm = prologue == NORM
    weight = torch.cat([t["weight"].flatten(), t["scale"], t["shift"]]) if norm else t["weight"]
    y = pinned.call(
        "conv2d",
        kernel,
        params,
        pinned.spread(pinned.nhwc(t["x"]), case.c + gap),
        (n * oh * ow, k),
        pinned.spread(pinned.nhwc(t["residual"]), k + 2 * gap),
        workers,
        weight.contiguous(),
        t["bias"],
        None if norm else pinned.spread(t["gate"], case.c + gap),
    )
    return pinned.nchw(y, n, oh, ow)


# Channels at the ends of vectors, blocks of which weights fit L2 and do not, tiles that cross images, strides.
GRID = [
    *(Case(c, 19) for c in (8, 9, 15, 16, 17, 33, 67)),
    *(Case(24, k, 5, 7, 2) for k in (1, 15, 16, 17, 40, 130)),
    Case(40, 24, 9, 9, 3),
    Case(32, 35, 9, 8, 2, stride=2),
    Case(1024, 200, 9, 9),
    Case(256, 1100, 3, 3),
]


@pytest.mark.parametrize("prologue", [NORM, GATE], ids=["norm", "gate"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_against_fp64(kernel: str, prologue: int) -> None:
    for case in GRID:
        t = case.tensors()
        for gap in (0, 5):
            y = run(kernel, case, t, prologue, gap=gap)
            tolerance.check(y, *expected(case, t, prologue, "relu"))


@pytest.mark.parametrize("act", CLAMPS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_before_and_behind(kernel: str, act: str) -> None:
    case = Case(35, 21, 4, 5, 2)
    t = case.tensors()
    before, bound = expected(case, t, NORM, act)
    y = run(kernel, case, t, NORM, act, "silu")
    tolerance.check(y, F.silu(before), tolerance.activated(before, bound))


@pytest.mark.parametrize("prologue", [NORM, GATE], ids=["norm", "gate"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_bits_for_any_workers_and_for_an_image_alone(kernel: str, prologue: int) -> None:
    for case in (Case(40, 50, 7, 9, 3), Case(512, 600, 4, 4, 3)):
        t = case.tensors()
        one = run(kernel, case, t, prologue)
        for workers in (2, 3, 7):
            assert torch.equal(run(kernel, case, t, prologue, workers=workers), one)
        alone = {name: v[1:2] if v.shape[0] == case.n else v for name, v in t.items()}
        image = Case(case.c, case.k, case.h, case.w)
        assert torch.equal(run(kernel, image, alone, prologue), one[1:2])


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_passes_and_relu_drops_minus_infinity(kernel: str) -> None:
    case = Case(17, 5, 2, 3)
    t = case.tensors()
    t["scale"].abs_()
    t["x"][0, 16, 0, 0], t["x"][0, 3, 1, 1] = torch.nan, -torch.inf
    y = run(kernel, case, t, NORM)
    nan = torch.zeros(1, 5, 2, 3, dtype=torch.bool)
    nan[..., 0, 0] = True
    assert torch.equal(y.isnan(), nan)
    assert y[~nan].isfinite().all()


@pytest.mark.parametrize("prologue", [NORM, GATE], ids=["norm", "gate"])
@pytest.mark.parametrize("kernel", BF16)
def test_bf16(kernel: str, prologue: int) -> None:
    for case in (Case(8, 19), Case(33, 40, 5, 7, 2), Case(1024, 200, 9, 9)):
        t = {name: v.bfloat16().float() for name, v in case.tensors().items()}
        y, _ = expected(case, t, prologue, "relu")
        halves = {n: v.bfloat16() if n in ("x", "residual", "gate") else v for n, v in t.items()}
        made = run(kernel, case, halves, prologue)
        off = (made.double() - y).abs()
        # One rounding of each made pixel and one of the result, the first of random sign in a sum of c.
        assert (off <= 2.0**-8 * (y.abs() + 4)).all()


@pytest.mark.parametrize("kernel", pinned.kernels("conv2d"))
def test_what_takes_none(kernel: str) -> None:
    takes = {"c": 16, "k": 16, "h": 4, "w": 4, "oh": 4, "ow": 4}

    def reason(**changed: int) -> str | None:
        return dict(_C.kernels("conv2d", {**takes, "prologue": NORM, **changed}))[kernel]

    if kernel not in KERNELS:
        assert reason() is not None
        return
    assert reason() is None
    assert "1 x 1" in str(reason(kh=3, kw=3, ph=1, pw=1))
    assert "1 x 1" in str(reason(groups=2))
    assert "1 x 1" in str(reason(ph=1, oh=6))
    assert "1 x 1" in str(reason(ow=5))
    if "igemm" in kernel:
        assert "relu" in str(reason(prologue_act=ops.ACTS["silu"]))
