"""bench.gpu_convs on the host's kernels: which it runs, what it says of a wrong one."""

from __future__ import annotations

import os

import pytest
import torch
from launch import allow_everything, on_host

from bench import gpu_convs
from bench.gpu_convs import SWITCH, Convolution, on_layer
from bench.shapes import Layer
from pycnn.planning.cuda import CudaTarget

LAYER = Layer(
    "features.3", 1, "conv2d", 9, 7, 136, 40, 3, 3, 2, 1, 1, 1, 1, 1, residual=1, act="silu"
)


def target() -> CudaTarget:
    kernels = allow_everything()
    return CudaTarget(kernels=kernels, device=torch.device("cpu"), dtype=torch.bfloat16, tf32=False)


@on_host
def test_wgmma_kernels_are_run_beside_the_one_chosen_without_them() -> None:
    calls = []
    found = on_layer(target(), LAYER, 2, lambda call: calls.append(call()) or 0.5)
    assert found["failures"] == [] and SWITCH not in os.environ
    first, *rest = found["seconds"]
    assert "igemm" in first and rest[-1] == "torch" and len(calls) == len(rest) + 1
    assert [name.split("_")[1:3] for name in rest[:-1]] == [
        ["wgmma128x256", "bf16"], ["wgmma128x128", "bf16"], ["wgmma128x64", "bf16"], ["wgmma128x64", "split2"],
        ["wgmma128x64", "split4"], ["wgmma128x64", "split8"],
    ]  # fmt: skip


@on_host
def test_wrong_results_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Convolution.expected
    monkeypatch.setattr(
        Convolution, "expected", lambda self: (whole(self)[0] * 1.02, whole(self)[1])
    )
    found = on_layer(target(), LAYER, 1, lambda call: 0.5)
    assert len(found["failures"]) == 7
    assert found["failures"][1].startswith("features.3 at batch 1, conv2d_wgmma128x256_bf16_sm90: ")


@on_host
def test_layers_that_no_kernel_takes_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gpu_convs, "read", lambda path: [LAYER, Layer("stem", 1, "conv2d", 8, 8, 3, 8)]
    )
    monkeypatch.setattr(gpu_convs, "BATCHES", (1,))
    found = gpu_convs.on_network("resnet50", target(), lambda call: 0.5)
    assert list(found["layers"]) == ["features.3 1"] and found["failures"] == []
