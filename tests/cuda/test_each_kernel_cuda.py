"""One problem of each kernel that there is: what compute-sanitizer runs, which slows a launch down a hundred times."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import test_conv2d_cuda as conv2d
import test_conv2d_layer_norm_cuda as conv2d_layer_norm
import test_conv2d_pool_cuda as conv2d_pool
import test_conv2d_prologue_cuda as prologue
import test_conv_transpose2d_cuda as conv_transpose2d
import test_excitation_cuda as excitation
import test_inverted_residual_cuda as inverted_residual
import test_matmul_cuda as matmul
import test_mlp_cuda as mlp
import test_ops_cuda as plain
import torch
from launch import DTYPES, ON_HOST, kernels
from test_wgmma_cuda import SWITCH

ALL = [
    (op, kernel, dtype) for op in kernels().ops() for kernel, dtype, _ in kernels().kernels(op, {})
]


def _conv2d(kernel: str, dtype: str) -> None:
    step = 16 // DTYPES[dtype].itemsize
    if kernel.startswith(("conv2d_norm", "conv2d_gate")):
        problem = prologue.DEEP if "wgmma" in kernel else prologue.PROBLEMS[1]
        assert prologue.launch(problem, kernel, dtype).wrong() == 0
        return
    if "wgmma" in kernel:  # steps enough for eight blocks to share
        conv = conv2d.Conv(512, 72, 3, 9, gap=8)
    elif "depthwise" in kernel:
        conv = _depthwise(kernel, 2 * step + 1)
    else:
        conv = conv2d.Conv(3 if "stem" in kernel else 2 * step, 20, 5, 7, (3, 3), (2, 2), (1,) * 4)
    assert conv2d.check(conv, kernel, dtype)


def _depthwise(kernel: str, c: int) -> conv2d.Conv:
    """A problem for the window in the kernel's name, or for those of any."""
    found = re.search(r"(\d)x\d(s2)?_", kernel)
    size, stride = (int(found[1]), 1 + bool(found[2])) if found else (3, 3)
    window = (size, size), (stride, stride), (size // 2,) * 4
    return conv2d.Conv(c, c, 5, 9, *window, groups=c)


def _sums(kernel: str, dtype: str) -> None:
    ran = excitation.summed(_depthwise(kernel, 24), kernel, dtype)
    assert not isinstance(ran, str) and excitation.wrong(ran[1]) == excitation.wrong(ran[2]) == 0


def _layer_norm(kernel: str, dtype: str) -> None:
    ran = conv2d_layer_norm.launch(_depthwise(kernel, 24), kernel, dtype)
    assert not isinstance(ran, str) and ran.wrong() == 0


def _mlp(kernel: str, dtype: str) -> None:
    ran = mlp.launch(mlp.Pair(40, 24, 40, 20), kernel, dtype)
    assert not isinstance(ran, str) and ran.wrong() == 0


def _inverted_residual(kernel: str, dtype: str) -> None:
    ran = inverted_residual.launch(inverted_residual.of(kernel, 24, 40, 20), kernel, dtype)
    assert not isinstance(ran, str) and ran.wrong() == 0


# op -> one problem for a kernel of a dtype. Those of test_ops_cuda.py choose the kernel by the dtype.
ONE: dict[str, Callable[[str, str], Any]] = {
    "conv2d": _conv2d,
    "conv2d_pool": lambda kernel, dtype: conv2d_pool.test_stems(
        kernel, dtype, conv2d_pool.STEMS[1]
    ),
    "conv2d_sums": _sums,
    "conv2d_layer_norm": _layer_norm,
    "excitation": lambda kernel, dtype: excitation.test_both_layers_of_a_gate(kernel, dtype, 3),
    "mlp": _mlp,
    "inverted_residual": _inverted_residual,
    "conv_transpose2d": lambda kernel, dtype: conv_transpose2d.test_windows(
        kernel, dtype, conv_transpose2d.WINDOWS[0]
    ),
    "matmul": lambda kernel, dtype: matmul.test_products(kernel, dtype, matmul.PRODUCTS[0]),
    "pool2d": lambda _, dtype: plain.test_pool2d(plain.POOLS[0], dtype),
    "global_pool": lambda _, dtype: plain.test_global_pool(dtype),
    "add_act": lambda _, dtype: plain.test_elementwise_and_add_act("silu", dtype),
    "arith": lambda _, dtype: plain.test_arith("mul", dtype),
    "elementwise": lambda _, dtype: plain.test_elementwise_and_add_act("relu", dtype),
    "concat": lambda _, dtype: plain.test_concat_copies_rows_between_strides(dtype),
    "upsample": lambda _, dtype: plain.test_upsample(dtype),
    "layer_norm": lambda _, dtype: plain.test_layer_norm_and_softmax(dtype),
    "group_norm": lambda _, dtype: plain.test_group_norm(dtype),
    "local_response_norm": lambda _, dtype: plain.test_local_response_norm(dtype),
    "softmax": lambda _, dtype: plain.test_layer_norm_and_softmax(dtype),
    "layout": lambda _, dtype: plain.test_layout(9, dtype),
    "rearrange": lambda _, dtype: plain.test_rearrange(dtype),
}


@pytest.mark.parametrize(("op", "kernel", "dtype"), ALL, ids=[kernel for _, kernel, _ in ALL])
def test_one_problem(op: str, kernel: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ON_HOST and "sm90" in kernel and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("this GPU is not of compute capability 9.0")
    monkeypatch.setenv(SWITCH, "1")
    module, ran = kernels(), set[str]()
    run = module.run

    def noted(op: str, name: str, *rest: Any) -> None:
        ran.add(name)
        run(op, name, *rest)

    monkeypatch.setattr(module, "run", noted)
    ONE[op](kernel, dtype)
    assert kernel in ran
