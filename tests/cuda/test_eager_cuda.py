"""The ops of pycnn.ops called by themselves on tensors of a GPU: values, gradients, devices, mixed devices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from launch import DEVICE, DTYPES, ON_HOST, on_host
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pycnn import ops
from pycnn.planning import cuda_device

MAP, ROWS = (2, 8, 6, 6), (2, 5, 8)
C = (8,)
Call = Callable[..., Tensor]
# name -> the call, and the shapes of its tensors
CALLS: dict[str, tuple[Call, tuple[tuple[int, ...], ...]]] = {
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, 3), (MAP,)),
    "adaptive_max_pool2d": (lambda x: ops.adaptive_max_pool2d(x, 4), (MAP,)),
    "add_act": (lambda x, y: ops.add_act(x, y, act="relu"), (MAP, MAP)),
    "apply_act": (lambda x: ops.apply_act(x, "hardswish"), (MAP,)),
    "arith": (lambda x, y: ops.arith(x, y, "mul", act="silu"), (MAP, (2, 8, 1, 1))),
    "attention": (lambda q, k, v: ops.attention(q, k, v, heads=2), (ROWS, ROWS, ROWS)),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, 1), (MAP,)),
    "channel_gate": (lambda x, g: ops.channel_gate(x, g), (MAP, (2, 8))),
    "channel_shuffle": (lambda x: ops.channel_shuffle(x, 2), (MAP,)),
    "concat": (lambda x, y: ops.concat([x, y]), (MAP, MAP)),
    "conv2d": (
        lambda x, w, b, r: ops.conv2d(x, w, b, padding=1, act="relu", residual=r),
        (MAP, (8, 8, 3, 3), C, MAP),
    ),
    "conv_transpose2d": (
        lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2, act="silu"),
        (MAP, (8, 4, 2, 2), (4,)),
    ),
    "elementwise": (lambda x: ops.elementwise(x, "gelu"), (MAP,)),
    "global_avg_pool2d": (lambda x: ops.global_avg_pool2d(x), (MAP,)),
    "group_norm": (lambda x, w, b: ops.group_norm(x, 2, w, b, act="silu"), (MAP, C, C)),
    "layer_norm": (lambda x, w, b: ops.layer_norm(x, w, b, channels_first=True), (MAP, C, C)),
    "linear": (lambda x, w, b: ops.linear(x, w, b, act="tanh"), (ROWS, (3, 8), (3,))),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 3), (MAP,)),
    "matmul": (lambda a, b: ops.matmul(a, b, scale=0.5), ((2, 2, 3, 8), (2, 2, 8, 5))),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2), (MAP,)),
    "pixel_shuffle": (lambda x: ops.pixel_shuffle(x, 2), (MAP,)),
    "pixel_unshuffle": (lambda x: ops.pixel_unshuffle(x, 2), (MAP,)),
    "prelu": (lambda x, w: ops.prelu(x, w), (MAP, C)),
    "softmax": (lambda x: ops.softmax(x), (ROWS,)),
    "squeeze_excite": (
        lambda x, a, b, c, d: ops.squeeze_excite(x, (a, b), (c, d)),
        (MAP, (4, 8), (4,), (8, 4), C),
    ),
    "upsample": (lambda x: ops.upsample(x, scale_factor=2, mode="bilinear"), (MAP,)),
}
# Its input has no gradient; and what takes modules.
OTHERS = {"ACTS", "timestep_embedding", "conv_bn_act"}


def test_every_op_is_here() -> None:
    assert {*CALLS, *OTHERS} == {*ops.__all__}


def given(name: str, to: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator).to(DEVICE, to) for shape in CALLS[name][1]]


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    call, tensors = CALLS[name][0], given(name, dtype)
    if ON_HOST and name == "local_response_norm" and dtype != torch.float32:
        with pytest.raises(NotImplementedError, match="avg_pool3d"):  # torch has none on the CPU
            call(*tensors)
        return
    exact = [t.double().requires_grad_() for t in tensors]
    truth = call(*exact)
    truth.square().sum().backward()
    truth = truth.detach()
    with torch.inference_mode():
        y = call(*tensors)
    unit = torch.finfo(dtype).eps
    scale = float(truth.abs().max())
    assert y.device == tensors[0].device and y.dtype == dtype and y.shape == truth.shape
    assert float((y.double() - truth).abs().max()) <= 8 * unit * scale
    leaves = [t.clone().requires_grad_() for t in tensors]
    call(*leaves).square().sum().backward()
    for leaf, wanted in zip(leaves, exact, strict=True):
        assert leaf.grad is not None and wanted.grad is not None and leaf.grad.dtype == dtype
        error = float((leaf.grad.double() - wanted.grad).abs().max())
        assert error <= 64 * unit * max(float(wanted.grad.abs().max()), scale)


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_ops_of_modules_and_of_steps(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    conv, norm = nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4).eval()
    x = torch.randn(MAP)
    truth = norm.double()(conv.double()(x.double())).relu().detach()
    with torch.inference_mode():
        made = ops.conv_bn_act(
            x.to(DEVICE, dtype), conv.to(DEVICE, dtype), norm.to(DEVICE, dtype), "relu"
        )
        waves = ops.timestep_embedding(torch.arange(3, device=DEVICE), 8)
    assert float((made.cpu().double() - truth).abs().max()) <= 0.05 * float(truth.abs().max())
    assert waves.device.type == DEVICE.type and waves.shape == (3, 8)


@pytest.mark.parametrize("name", CALLS)
def test_a_device_that_this_machine_has_not(name: str) -> None:
    """Whatever a call does before torch's own op on the way, it leaves tensors on their GPU."""
    call, shapes = CALLS[name]
    with FakeTensorMode():
        y = call(*(torch.empty(shape, device="cuda:1", dtype=torch.half) for shape in shapes))
    assert y.device == torch.device("cuda", 1) and y.dtype == torch.half


def test_tensors_of_two_devices_are_one_sentence() -> None:
    with FakeTensorMode():
        x, w = torch.empty(MAP, device="cuda:0"), torch.empty(4, 8, 3, 3, device="cuda:1")
        with pytest.raises(ValueError, match="conv2d: x is on cuda:0, weight on cuda:1"):
            ops.conv2d(x, w)
        with pytest.raises(ValueError, match="x is on cuda:0, "):
            ops.add_act(x, torch.empty(MAP))


@on_host
def test_a_plans_device_is_current_while_it_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device guard: another GPU than the current one is made current for a call, and only for it; by thread."""
    now = threading.local()
    now.device = 0

    @contextmanager
    def device(wanted: torch.device) -> Any:
        before, now.device = now.device, wanted.index
        yield
        now.device = before

    monkeypatch.setattr(torch.cuda, "current_device", lambda: now.device)
    monkeypatch.setattr(torch.cuda, "device", device)
    with cuda_device.current(torch.device("cuda", 1)):
        assert now.device == 1
        with cuda_device.current(torch.device("cuda", 0)):
            assert now.device == 0
        assert now.device == 1
    assert now.device == 0
