"""Programmatic dependent launch: kernels wait for those before them before they touch what those may touch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from launch import DTYPES, Guarded, kernels, on_host, run
from torch import Tensor

from bench.gpu_convs import wgmma_on
from pycnn.planning.params import GATE, NORM

Params = dict[str, float]
C, H, W = 16, 5, 6
MAP = {"n": 1, "h": H, "w": W, "c": C, "k": C, "oh": H, "ow": W, "ldx": C, "ldy": C}
ROWS = {"pixels": H * W, "c": C, "ldx": C, "ldy": C, "ldr": C}


def window(size: int, stride: int = 1, **more: float) -> Params:
    out = {"oh": -(-H // stride), "ow": -(-W // stride)}
    pad = size // 2
    return {
        **MAP,
        **out,
        "kh": size,
        "kw": size,
        "sh": stride,
        "sw": stride,
        "ph": pad,
        "pw": pad,
        **more,
    }


# Each op's problems, and what it reads besides x: weights, a residual of rows, a third operand.
PROBLEMS: dict[str, list[Params]] = {
    "conv2d": [
        window(3),
        window(3, ldr=C),
        window(1, prologue=NORM),
        window(1, prologue=GATE, ldg=C),
        window(1, prologue=NORM, c=256, ldx=256),  # steps enough for four blocks to share
        window(1, prologue=GATE, c=256, ldx=256, ldg=256),
        *(window(size, stride, groups=C) for size in (3, 5, 7) for stride in (1, 2)),
    ],
    "conv2d_pool": [window(3, c=3, ldx=8, window=2, stride=2, pad=0, pooled_h=2, pooled_w=3)]
    + [window(3, c=3, ldx=3, window=2, stride=2, pad=0, pooled_h=2, pooled_w=3)],
    "conv2d_sums": [
        window(size, stride, groups=C, sums=-(-H // stride) * -(-W // stride) * C)
        for size in (3, 5)
        for stride in (1, 2)
    ],
    "conv2d_layer_norm": [window(7, groups=C)],
    "mlp": [{"pixels": H * W, "c": C, "s": 40, "k": C, "ldx": C, "ldy": C, "ldr": C}],
    "inverted_residual": [
        {name: value for name, value in window(3, stride, ldr=C).items() if name[0] != "k"}
        | {"k": C, "s": 40, "stride": stride, "ph": 1, "pw": 1}
        for stride in (1, 2)
    ],
    "excitation": [{"c": C, "s": 8, "ldx": C, "ldy": C}],
    "conv_transpose2d": [window(2, sh=2, sw=2, ph=0, pw=0, oh=2 * H, ow=2 * W)],
    "matmul": [
        {
            "m": 30,
            "c": 16,
            "k": 16,
            "am": 16,
            "ac": 1,
            "bk": 16,
            "bc": 1,
            "ym": 16,
            "yk": 1,
            "scale": 1,
        }
    ],
    "pool2d": [window(3, 2)],
    "global_pool": [{**MAP, "oh": 1, "ow": 1}],
    "add_act": [ROWS],
    "arith": [{"n": 1, **ROWS, "bn": 0, "bp": C, "bc": 1}],
    "elementwise": [ROWS],
    "concat": [ROWS],
    "upsample": [{**MAP, "oh": 2 * H, "ow": 2 * W}],
    "layer_norm": [ROWS],
    "group_norm": [{**ROWS, "n": 1, "groups": 4}],
    "local_response_norm": [{**ROWS, "size": 3}],
    "softmax": [ROWS],
    "layout": [{"pixels": H * W, "c": 3, "ld": 16}, {"pixels": H * W, "c": C, "ld": C}],
    "rearrange": [{"s7": 16, "x7": 1, "y7": 1, "s6": 30, "x6": 16, "y6": 16}],
}
WITH_RESIDUAL = ("add_act", "arith", "matmul", "mlp", "inverted_residual")


def cases() -> Iterator[tuple[str, str, str, Params]]:
    """op, kernel, dtype, params of every kernel of the table and problem that it takes."""
    for op in kernels().ops():
        fields = kernels().fields(op)
        for params in PROBLEMS[op]:
            asked = {name: value for name, value in params.items() if name in fields}
            for kernel, dtype, reason in kernels().kernels(op, asked):
                if reason is None:
                    yield op, kernel, dtype, asked


def launch(op: str, kernel: str, dtype: str, params: Params, drop: str) -> tuple[Tensor, list[str]]:
    """What it made, without the sums behind a map; where it waited."""
    rows = torch.ones(H * W, int(params.get("ldx", C)), dtype=DTYPES[dtype])
    sizes = [
        int(params.get(name, 1)) for name in ("pooled_h", "pooled_w", "oh", "ow", "pixels", "m")
    ]
    outputs = (
        sizes[0] * sizes[1] if op == "conv2d_pool" else sizes[2] * sizes[3] * sizes[4] * sizes[5]
    )
    count = H * W if op == "rearrange" else outputs
    made = torch.zeros(
        count + 2 * (op == "conv2d_sums"),
        int(params.get("c", C)) if op == "layout" else C,
        dtype=DTYPES[dtype],
    )
    y = Guarded(made, int(params.get("ld", C)), writable=True)
    weighted = kernels().packed_bytes(op, kernel, params) > 0
    residual = op in WITH_RESIDUAL or "ldr" in params and op == "conv2d"
    sites = run(
        op, kernel, params, Guarded(rows), y, drop=drop,
        weight=torch.ones(8192) if weighted else None,
        bias=torch.ones(C) if op.startswith("conv") else None,
        residual=Guarded(torch.ones(H * W, C, dtype=DTYPES[dtype])) if residual else None,
        gate=Guarded(torch.ones(1, int(params["c"]), dtype=DTYPES[dtype])) if params.get("prologue") == GATE else None,
    )  # fmt: skip
    return y.view[:count], [site for site in sites if site.startswith("wait_for_earlier")]


@on_host
@pytest.mark.parametrize("op", PROBLEMS)
def test_nothing_of_the_kernels_before_is_touched_before_they_are_done(op: str) -> None:
    """Until a thread has waited, operands are NaN to it and what it writes is NaN; weights and biases are there."""
    seen = set()
    with wgmma_on():
        for _, kernel, dtype, params in (case for case in cases() if case[0] == op):
            y, waits = launch(op, kernel, dtype, params, "")
            assert waits and not y.isnan().any(), (kernel, params)
            for site in waits:
                assert launch(op, kernel, dtype, params, site)[0].isnan().all(), (kernel, site)
            seen.add(kernel)
        names = {name for name, *_ in kernels().kernels(op, {})}
    assert seen == names, names - seen


@on_host
def test_weights_are_fetched_before_the_wait() -> None:
    """Where they may not be, the sums are wrong: they come while the kernels before end."""
    module, params = kernels(), window(3)
    x, y = (Guarded(torch.ones(H * W, C).bfloat16(), writable=w) for w in (False, True))
    with wgmma_on():
        names = list(module.candidates("conv2d", "bfloat16", False, True, params))
        for name in names:
            packed = torch.zeros(
                module.packed_bytes("conv2d", name, params) + 16, dtype=torch.uint8
            )
            at = packed.data_ptr() + -packed.data_ptr() % 16
            module.pack("conv2d", name, params, torch.ones(2304).data_ptr(), at)
            for constant in (True, False):
                module.configure(1, "")
                module.forbid_all()
                x.allow(module), y.allow(module)
                module.allow(at, packed.numel() - 16, False, constant=constant)
                module.run("conv2d", name, params, x.pointer, 0, at, 0, y.pointer, 0)
                assert bool(y.view.isnan().any()) != constant, name
    assert len(names) > 8
