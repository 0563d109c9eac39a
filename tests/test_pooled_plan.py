"""Winograd's convolutions pool their maps themselves: the same bits, and a map less in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captured import Fn
from nets import conv_bn, error, every_image_alone, fast, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn.planning.cpu import CpuTarget


def net(pool: nn.Module | None = None, act: nn.Module | None = None, k: int = 64) -> nn.Module:
    """A stem, a layer of Winograd's that is pooled, a layer behind."""
    pool, act = pool or nn.MaxPool2d(2), act or nn.ReLU()
    layers = nn.Conv2d(3, 64, 3, padding=1), conv_bn(64, k), act, pool, nn.Conv2d(k, 8, 1)
    return settle(nn.Sequential(*layers))


def kernels(net: nn.Module, x: Tensor, **options: Any) -> list[str]:
    """Those of steps that pool what they convolve."""
    with torch.inference_mode():
        told = pycnn.explain(pycnn.optimize(net, **options), x).steps
    return [step.kernel for step in told if step.op == "conv2d_pool"]


def apart(net: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Tensor:
    """What the net gives where no kernel does both."""
    with monkeypatch.context() as without:
        without.setattr(CpuTarget, "reads", lambda *_: False)
        assert kernels(net, x, **options) == []
        return fast(net, x, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 56, 56), (3, 3, 57, 58), (2, 3, 31, 90)])
@pytest.mark.parametrize("ceil", [False, True])
def test_the_bits_are_those_of_two_steps(
    ceil: bool, shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = net(nn.MaxPool2d(2, ceil_mode=ceil)), torch.randn(shape)
    y = fast(model, x, dtype=dtype)
    assert error(y, truth(model, x)) <= (1e-4 if dtype == torch.float32 else 2e-2)
    assert torch.equal(apart(model, x, monkeypatch, dtype=dtype), y)
    if dtype == torch.float32:
        (kernel,) = kernels(model, x)
        assert kernel.startswith("conv2d_pool_winograd")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (net(nn.MaxPool2d(3, 2, 1)), {}),
        (net(nn.MaxPool2d(2, 1)), {}),
        (net(nn.MaxPool2d(2, padding=1)), {}),
        (net(nn.MaxPool2d((2, 1))), {}),
        (net(nn.AvgPool2d(2)), {}),
        (net(act=nn.SiLU()), {}),
        (net(k=8), {}),
        (net(), {"exact": True}),
    ],
    ids=["3x3", "overlapping", "padded", "2x1", "mean", "silu", "narrow", "exact"],
)
def test_what_stays_two_steps(model: nn.Module, options: dict[str, Any]) -> None:
    x = torch.randn(1, 3, 56, 56)
    assert kernels(model, x, **options) == []
    assert error(fast(model, x, **options), truth(model, x)) <= 1e-4


def test_a_map_that_somebody_else_reads_stays() -> None:
    def both(self: Fn, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x).relu()
        return y, nn.functional.max_pool2d(y, 2)

    def twice(self: Fn, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        return nn.functional.max_pool2d(y, 2) + nn.functional.avg_pool2d(y, 2)

    x = torch.randn(1, 64, 56, 56)
    for forward in (both, twice):
        model = Fn(forward, conv=nn.Conv2d(64, 64, 3, padding=1)).eval()
        assert kernels(model, x) == []


def test_a_gated_convolution_is_pooled_by_itself() -> None:
    """The gate is a second operand, which no kernel of both has."""

    def forward(self: Fn, x: Tensor) -> Tensor:
        y = self.conv(x)
        gated = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return nn.functional.max_pool2d(self.project(gated), 2)

    layers = {"conv": nn.Conv2d(3, 20, 3), "gate": nn.Conv2d(20, 20, 1)}
    model = Fn(forward, **layers, project=nn.Conv2d(20, 9, 1)).eval()
    x = torch.randn(2, 3, 13, 34)
    assert kernels(model, x) == []
    assert error(fast(model, x), truth(model, x)) <= 1e-5


def test_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    every_image_alone(monkeypatch)
    model, x = net(), torch.randn(5, 3, 56, 57)
    with torch.inference_mode():
        told = pycnn.explain(pycnn.optimize(model, threads=2), x).steps
    (step,) = [step for step in told if step.op == "conv2d_pool"]
    assert "image by image" in step.layout
    y = fast(model, x, threads=2)
    assert error(y, truth(model, x)) <= 1e-4
    assert torch.equal(apart(model, x, monkeypatch, threads=2), y)


def test_within_a_memory_limit_the_bits_are_the_same() -> None:
    """In bands of rows, which have no kernel for both."""
    model, x = net(), torch.randn(1, 3, 112, 112)
    free = pycnn.optimize(model)
    with torch.inference_mode():
        tight = pycnn.optimize(model, memory_limit=pycnn.explain(free, x).peak_bytes)
        assert torch.equal(tight(x), free(x))
        told = [step.kernel for step in pycnn.explain(tight, x).steps]
    assert "conv2d_winograd4_f32" in " ".join(told) and "conv2d_pool" not in " ".join(told)


def test_the_map_between_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = net(), torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        joined = pycnn.explain(pycnn.optimize(model), x).peak_bytes
        monkeypatch.setattr(CpuTarget, "reads", lambda *_: False)
        whole = pycnn.explain(pycnn.optimize(model), x).peak_bytes
    assert joined <= whole - 4 * 64 * 56 * 56


def test_batches_do_not_change_bits() -> None:
    model, x = net(), torch.randn(6, 3, 30, 31)
    made = pycnn.optimize(model, batch_invariant=True)
    with torch.inference_mode():
        y = made(x)
        assert all(torch.equal(made(x[i : i + 1]), y[i : i + 1]) for i in range(6))


def test_what_is_told_of_it() -> None:
    model, x = net(), torch.randn(1, 3, 56, 56)
    made = pycnn.optimize(model)
    with torch.inference_mode():
        (step,) = [s for s in pycnn.explain(made, x).steps if s.op == "conv2d_pool"]
        certificate = pycnn.verify(made, model, x)
        layers = [layer.path for layer in pycnn.profile(made, x, seconds=0.01).layers]
    assert step.fused == "batch_norm + relu + max_pool 2×2"
    assert step.flops == 2 * 56 * 56 * 64 * 64 * 9 and step.output == (1, 64, 28, 28)
    assert certificate.ok and certificate.same_bits
    assert layers[1] == "1.0 + batch_norm + relu + pool2d"


def test_weights_changed_in_place_are_packed_again() -> None:
    model, x = net(), torch.randn(1, 3, 56, 56)
    made = pycnn.optimize(model)
    with torch.inference_mode():
        made(x)
        model[1][0].weight.mul_(2)
        model[1][1].running_mean.add_(0.3)
        y = made(x)
        assert torch.equal(pycnn.optimize(model)(x), y)
    assert error(y, truth(model, x)) <= 1e-4


def test_saved_and_loaded(tmp_path: Any) -> None:
    model, x = net(), torch.randn(2, 3, 56, 56)
    made = pycnn.optimize(model)
    with torch.inference_mode():
        y = made(x)
        for packed in (False, True):
            path = tmp_path / f"{packed}.pycnn"
            pycnn.save(made, path, packed=packed)
            assert torch.equal(pycnn.load(path)(x), y)
