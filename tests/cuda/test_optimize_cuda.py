"""`optimize` of networks in half precision on CUDA, or as on CUDA: what a user meets around a plan."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import pytest
import torch
from launch import DEVICE, ON_HOST, allow_everything
from test_plan_cuda import HostTarget, randn, settle
from torch import Tensor, nn

import pycnn
from pycnn import compiled
from pycnn.planning import cpu
from pycnn.planning.cuda import BLOCKS


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, models in half precision get the kernels on host threads."""
    if not ON_HOST:
        return
    module = allow_everything()

    def target_of(
        model: nn.Module,
        inputs: list[Tensor],
        threads: int,
        exact: bool,
        batch_invariant: bool,
        cast: torch.dtype | None,
    ) -> Callable[[], object]:
        x = inputs[0]
        if x.dtype == torch.float32:
            return cpu.targets(threads, torch.float32, exact, batch_invariant)
        made = HostTarget(
            kernels=module,
            device=x.device,
            dtype=x.dtype,
            tf32=False,
            batch_invariant=batch_invariant,
            blocks=os.environ.get(BLOCKS) == "1",
        )
        return lambda: made

    monkeypatch.setattr(compiled, "target_of", target_of)


def net() -> nn.Module:
    torch.manual_seed(0)
    made = settle(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
        )
    )  # fmt: skip
    return made.to(DEVICE)


def close(y: Tensor, x: Tensor, model: nn.Module) -> bool:
    wanted = model(x)
    return y.dtype == wanted.dtype and float((y - wanted).abs().max() / wanted.abs().max()) < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_calls_sizes_and_weights(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    fast = pycnn.optimize(model, strict=True)
    fast.warmup((2, 3, 12, 12))
    for shape in ((2, 3, 12, 12), (1, 3, 9, 15), (2, 3, 12, 12)):
        x = randn(*shape).to(dtype)
        first = fast(x)
        assert close(first, x, model) and torch.equal(fast(x), first)
    model[0].weight.mul_(2)
    model[1].running_var.mul_(0.5)
    assert close(fast(x), x, model) and not torch.equal(fast(x), first)
    fast.float()
    assert close(fast(x.float()), x.float(), model)


@torch.no_grad()
def test_an_input_off_16_bytes_after_one_that_is_not() -> None:
    """The same shape and strides: a call of a known shape looks at the address too."""
    model = settle(nn.Conv2d(8, 8, 1)).to(DEVICE, torch.bfloat16)
    fast, whole = pycnn.optimize(model), randn(1, 6, 6, 9).bfloat16()
    x = whole.flatten()[1 : 1 + 288].view(1, 6, 6, 8).permute(0, 3, 1, 2)
    aligned = x.clone(memory_format=torch.preserve_format)
    first, second = fast(aligned), fast(aligned)
    assert x.data_ptr() % 16 != 0 and x.stride() == aligned.stride()
    assert torch.equal(first, second) and torch.equal(fast(x), first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_model_of_fp32_runs_in_another_dtype(dtype: torch.dtype) -> None:
    model, x = net(), randn(2, 3, 12, 12)
    fast = pycnn.optimize(model, strict=True, dtype=dtype)
    y, half = fast(x), copy.deepcopy(model).to(dtype)
    assert torch.equal(y, pycnn.optimize(half, strict=True)(x.to(dtype)))
    assert close(y, x.to(dtype), half) and model[0].weight.dtype == torch.float32
    assert torch.equal(fast(x.to(dtype)), y)


def test_explain_and_verify_tell_kernels_and_errors() -> None:
    model, x = net().bfloat16(), randn(2, 3, 12, 12).bfloat16()
    fast = pycnn.optimize(model)
    report = pycnn.explain(fast, x)
    assert report.isa == f"{DEVICE.type} bfloat16" and not report.fallbacks
    assert "conv2d_depthwise3x3_bf16_sm80" in {step.kernel for step in report.steps}
    found = pycnn.verify(fast, model, x)
    assert (
        found.ok
        and found.same_bits
        and len(found.layers) >= 4
        and all(c.tol >= c.error for c in found.layers)
    )
    with pytest.raises(NotImplementedError, match=r"profile: steps on .* are not timed"):
        pycnn.profile(fast, x)


def test_gradients_are_the_models_bits() -> None:
    model, x = net().bfloat16(), randn(1, 3, 12, 12).bfloat16()
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    pycnn.optimize(model)(one).square().sum().backward()
    assert one.grad is not None
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    y = model(two)
    fast = pycnn.optimize(model)(two).detach()
    y.backward(2 * fast)  # the loss saw the fast forward's values
    assert torch.equal(one.grad, two.grad)
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))


def test_autocast_runs_as_torch_runs_it() -> None:
    model, x = net(), randn(1, 3, 12, 12)
    fast = pycnn.optimize(model)
    with torch.inference_mode(), torch.autocast(DEVICE.type, torch.bfloat16):
        assert torch.equal(fast(x), model(x))


def test_saved_networks_in_half_precision(tmp_path) -> None:
    model, x = net().half(), randn(1, 3, 12, 12).half()
    fast = pycnn.optimize(model)
    with torch.inference_mode():
        y = fast(x)
        pycnn.save(fast, tmp_path / "net.pycnn")
        again = pycnn.load(tmp_path / "net.pycnn")(x)
    assert torch.equal(again, y)


def test_autocast_around_a_call_that_has_a_plan() -> None:
    """Of the tensors' device, as of CUDA while a model has not been called yet: torch decides what it casts."""
    model, x = net().bfloat16(), randn(1, 3, 12, 12).bfloat16()
    fast = pycnn.optimize(model)
    with torch.inference_mode():
        torch.set_autocast_enabled("cuda", True)
        try:
            assert torch.equal(fast(x), model(x))
        finally:
            torch.set_autocast_enabled("cuda", False)
        planned = fast(x)
        assert torch.equal(fast(x), planned) and not torch.equal(planned, model(x))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            assert torch.equal(fast(x), model(x))


@torch.no_grad()
def test_a_model_moves_to_another_device_and_back() -> None:
    model, x = net().bfloat16(), randn(2, 3, 12, 12).bfloat16()
    fast = pycnn.optimize(model)
    first, weights = fast(x), copy.deepcopy(model.state_dict())
    there = torch.device("meta" if ON_HOST else "cpu")
    fast.to(there)
    moved = fast(x.to(there))
    assert moved.device == there and moved.shape == first.shape
    fast.to_empty(device=DEVICE)
    fast.load_state_dict(weights)
    assert torch.equal(fast(x), first)
