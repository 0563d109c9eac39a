"""Every kernel that plans let write over an operand gives the same bits when it does (pycnn/planning/in_place.py)."""

import dataclasses
import itertools

import convolutions
import pinned
import pytest
import torch
from convolutions import Conv
from torch import Tensor

from pycnn import _C, ops
from pycnn.ops.arith import KINDS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ACTS = ("none", "relu", "gelu")  # of the clamps, which are in the epilogue, and of a pass after it


def kernels(op: str) -> list[tuple[str, str]]:
    return [(kernel, dtype) for dtype in DTYPES for kernel in pinned.kernels(op, dtype)]


# The last panels, tiles and blocks of each kernel are in part empty.
CONVS = [
    Conv(9, 35, 5, 8, (3, 3), (1, 1), (1, 1, 1, 1), n=2),
    Conv(64, 300, 2, 2, n=2),  # shares are of outputs
    Conv(16, 17, 7, 9, (1, 1), (2, 2)),
    Conv(36, 70, 13, 11, (3, 3), (1, 1), (1, 1, 1, 1)),
    Conv(40, 40, 6, 10, (3, 3), (1, 1), (1, 1, 1, 1), groups=2, n=2),
    Conv(36, 40, 9, 11, (5, 5), (1, 1), (2, 2, 2, 2), n=2),
    Conv(24, 24, 6, 10, (3, 3), (1, 1), (1, 1, 1, 1), groups=6, n=2),
    Conv(3, 40, 9, 30, (3, 3), (2, 2), (1, 1, 1, 1)),
    Conv(3, 2, 9, 19, (3, 3), (1, 1), (1, 1, 1, 1)),
    Conv(16, 20, 9, 31, (3, 3), (1, 1), (4, 7, 4, 7), (4, 7)),  # tiles cut by taps
    *(Conv(35, 35, 9, 8, (k, k), (s, s), (k // 2,) * 4, groups=35) for k in (3, 5, 7) for s in (1, 2)),
    Conv(12, 12, 6, 7, (5, 3), (1, 1), (2, 1, 2, 1), groups=12),
    Conv(131, 131, 4, 5, groups=131),
]  # fmt: skip


def refuses(kernel: str, conv: Conv, nchw: bool) -> bool:
    names = ("n", "c", "h", "w", "k", "groups")
    params = {name: getattr(conv, name) for name in names} | {"x_nchw": int(nchw), "ldx": conv.c}
    for name, pair in {"k": conv.kernel, "s": conv.stride, "d": conv.dilation}.items():
        params |= {f"{name}h": pair[0], f"{name}w": pair[1]}
    params["ph"], params["pw"] = conv.padding[:2]
    params["oh"], params["ow"] = convolutions.problem(conv).residual.shape[2:]
    dtype = "bfloat16" if "_bf16_" in kernel else "float32"
    return dict(_C.kernels("conv2d", params, dtype))[kernel] is not None


@pytest.mark.parametrize(("kernel", "dtype"), kernels("conv2d"))
def test_a_convolution_over_its_residual(kernel: str, dtype: str) -> None:
    taken = 0
    for conv, nchw in itertools.product(CONVS, (False, True)):
        if refuses(kernel, conv, nchw):
            continue
        taken += 1
        p = convolutions.problem(conv)
        x, residual = p.x.to(DTYPES[dtype]), p.residual.to(DTYPES[dtype])
        p = dataclasses.replace(p, x=x, residual=residual)
        for act, gap, workers in itertools.product(ACTS, (0, 5), (1, 3)):
            options = {"act": act, "gap": gap, "nchw": nchw, "workers": workers}
            apart = convolutions.run(kernel, conv, p, **options)
            assert torch.equal(convolutions.run(kernel, conv, p, over="residual", **options), apart)
            if "conv2d_scale" in kernel:
                assert torch.equal(convolutions.run(kernel, conv, p, over="x", **options), apart)
    assert taken


def rows(m: int, c: int, dtype: str, seed: int) -> Tensor:
    return torch.randn(m, c, generator=torch.Generator().manual_seed(seed)).to(DTYPES[dtype])


@pytest.mark.parametrize(("kernel", "dtype"), kernels("linear"))
def test_a_linear_layer_over_its_residual(kernel: str, dtype: str) -> None:
    for (m, c, k), act, gap in itertools.product(((1, 7, 300), (29, 64, 33)), ACTS, (0, 3)):
        x, residual, weight = rows(m, c, dtype, 1), rows(m, k, dtype, 2), rows(k, c, "float32", 3)
        params = {"m": m, "c": c, "k": k, "ldx": c, "ldy": k + gap, "ldr": k + gap}
        params |= {"act": ops.ACTS[act]}
        given = x, (m, k), pinned.spread(residual, k + gap), 3, weight, None
        apart = pinned.call("linear", kernel, params, *given)
        assert torch.equal(pinned.call("linear", kernel, params, *given, over="residual"), apart)


@pytest.mark.parametrize("op", ["add_act", "arith", "elementwise"])
def test_an_elementwise_op_over_an_operand(op: str) -> None:
    for (kernel, dtype), c, act, gap in itertools.product(kernels(op), (19, 1030), ACTS, (0, 3)):
        x, b = rows(6, c, dtype, 1), rows(6, c, dtype, 2)
        params = {"pixels": 6, "c": c, "ldx": c + gap, "ldy": c + gap, "act": ops.ACTS[act]}
        if op == "arith":
            params |= {"n": 2, "pixels": 3, "kind": KINDS["mul"], "bn": c + gap, "bc": 1}  # a gate
        elif op == "add_act":
            params["ldr"] = c + gap
        second = None if op == "elementwise" else pinned.spread(b, c + gap)
        given = pinned.spread(x, c + gap), (6, c), second, 3
        apart = pinned.call(op, kernel, params, *given)
        for over in ("x", "residual") if op == "add_act" else ("x",):
            assert torch.equal(pinned.call(op, kernel, params, *given, over=over), apart)
