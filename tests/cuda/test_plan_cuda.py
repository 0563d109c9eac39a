"""Networks planned for CUDA and run on host threads: plan, kernels and torch's steps against fp64."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from random import Random

import pytest
import torch
from launch import DEVICE, DTYPES, allow_everything, kernels
from nets import Branches, Outputs, Views
from random_nets import random_net
from torch import Tensor, nn

import pycnn
from pycnn.frontend import capture
from pycnn.passes import WITH_PROLOGUES, run_passes
from pycnn.planning.cuda import CudaTarget
from pycnn.planning.devices import NoTargetError, target_of
from pycnn.planning.limit import MemoryLimitError
from pycnn.planning.program import Program
from pycnn.planning.segments import Segment, TorchStep
from pycnn.planning.weights import Weights

UNIT = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2e-6}  # of one rounding


@dataclass(frozen=True)
class HostTarget(CudaTarget):
    """Plans as for CUDA, on the host; memory that no kernel wrote holds NaN."""

    def memory(self, size: int) -> Tensor:
        return super().memory(size).fill_(torch.nan)


def program(net: nn.Module, x: Tensor, tf32: bool = False, blocks: bool = False) -> Program:
    asked = {"device": x.device, "dtype": x.dtype, "tf32": tf32, "blocks": blocks}
    target = HostTarget(kernels=allow_everything(), **asked)
    with torch.no_grad():
        graph = run_passes(capture(net, (x,), dtype=x.dtype), WITH_PROLOGUES)
    return Program(graph, Weights(graph.tensors, target), lambda: target)


def settle(net: nn.Module) -> nn.Module:
    """Statistics that are no identity, in eval mode."""
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def randn(*shape: int) -> Tensor:
    """On the device of the kernels, the same numbers on each."""
    return torch.randn(shape).to(DEVICE)


def results(value: object) -> list[Tensor]:
    return [v for v in torch.utils._pytree.tree_leaves(value) if isinstance(v, Tensor)]


@torch.no_grad()
def check(
    net: nn.Module, x: Tensor, tf32: bool = False, factor: float = 1.5, blocks: bool = False
) -> Program:
    """Error against fp64 at most `factor` times torch's own in that dtype, or two roundings; formats of torch."""
    net = net.to(DEVICE, x.dtype)
    truth = results(copy.deepcopy(net).double()(x.double()))
    made = program(net, x, tf32, blocks)
    own, found = results(net(x)), results(made.run([x]))
    for y, plain, wanted in zip(found, own, truth, strict=True):
        assert y.dtype == plain.dtype and y.shape == plain.shape
        scale = max(float(wanted.abs().max()), 0.1)
        error, least = (float((t.double() - wanted).abs().max()) / scale for t in (y, plain))
        assert error <= max(factor * least, 2 * UNIT[x.dtype], 2e-3 * tf32), (error, least)
    return made


def steps(made: Program, x: Tensor) -> list[str]:
    """The kernels of a plan, or torch's functions in brackets."""
    now, found = made.at([x]), []
    for item in now.items:
        if isinstance(item, TorchStep):
            found.append(f"[{item.reason}]")
        else:
            assert isinstance(item, Segment)
            inputs = [x.new_empty(now.shapes[v]) for v in item.inputs]
            found += [step.kernel for step in made.planner.lowered(item, inputs, now).steps]
    return found


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "efficientnet_b0", "densenet121"])
def test_the_zoos_networks_run_on_kernels_alone(name: str) -> None:
    torch.manual_seed(0)
    net = settle(pycnn.create_model(name))  # of a few results the largest error is luck
    x = randn(1, 3, 32, 32).bfloat16()
    found = steps(check(net, x), x)
    assert len(found) > 20 and not any(step.startswith("[") for step in found)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("make", [Branches, Views, Outputs])
@pytest.mark.parametrize("channels_last", [False, True])
def test_branches_views_and_outputs(
    make: type[nn.Module], dtype: torch.dtype, channels_last
) -> None:
    torch.manual_seed(1)
    x = randn(2, 3, 12, 10).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    made = check(settle(make()), x, factor=3)
    with torch.no_grad():
        for y, plain in zip(
            results(made.run([x])), results(made.run([x.contiguous()])), strict=True
        ):
            assert torch.equal(y, plain)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("block", range(3))
def test_random_networks(block: int, dtype: torch.dtype) -> None:
    """As many as in 5 seconds, at two sizes each: the second one plans over the weights of the first."""
    for seed in range(500 + block * 6, 506 + block * 6):
        dice = Random(seed)
        net, c = random_net(dice)
        made = check(net, randn(2, c, dice.randint(9, 17), dice.randint(9, 17)).to(dtype), factor=4)
        x = randn(1, c, dice.randint(9, 17), dice.randint(9, 17)).to(dtype)
        with torch.no_grad():
            for y, plain in zip(made.run([x]), net(x), strict=True):
                scale = max(float(plain.abs().max()), 0.1)
                assert float((y - plain).abs().max()) <= 64 * UNIT[dtype] * scale, f"seed {seed}"


class Mixed(nn.Module):
    """What has no kernel here, between layers that have."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, 2, 1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x).relu()
        rows = y.flatten(2).transpose(1, 2)
        y = (
            nn.functional.scaled_dot_product_attention(rows, rows, rows)
            .transpose(1, 2)
            .reshape(y.shape)
        )
        return self.last(self.norm(self.up(y)).relu())


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_what_has_no_kernel_runs_in_torch(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    x = randn(2, 3, 8, 8).to(dtype)
    found = steps(check(settle(Mixed()), x, factor=4), x)
    assert "[no kernel for attention on this device]" in found
    assert any(step.startswith("conv_transpose2d_igemm") for step in found)


class Scores(nn.Module):
    """Attention written out, with a bias of each head."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.bias = nn.Linear(8, 24), nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(x.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * 0.5 + self.bias
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_attention_written_out_runs_on_kernels(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    x = randn(3, 5, 8).to(dtype)
    found = steps(check(Scores().eval(), x, factor=4), x)
    assert sum(step.startswith("matmul_tile") for step in found) == 2
    assert any(step.startswith("softmax") for step in found)
    assert not any(step.startswith("[") for step in found)


def test_fp32_multiplies_in_tf32_where_that_is_allowed() -> None:
    net = settle(nn.Sequential(nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 8)))
    x = randn(2, 16, 8, 8)
    for tf32, word in ((False, "_f32_"), (True, "_tf32_")):
        found = [step for step in steps(check(net, x, tf32), x) if step.startswith("conv2d")]
        assert len(found) == 2 and all(word in step for step in found)


def test_an_input_off_16_bytes_is_copied() -> None:
    net = settle(nn.Conv2d(8, 8, 1).bfloat16())
    whole = randn(1, 6, 6, 9).bfloat16()
    x = whole.flatten()[1 : 1 + 288].view(1, 6, 6, 8).permute(0, 3, 1, 2)
    assert x.data_ptr() % 16 != 0 and x.is_contiguous(memory_format=torch.channels_last)
    check(net, x)


def test_weights_are_packed_again_where_they_changed() -> None:
    net, x = settle(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))), randn(1, 8, 4, 4)
    made = check(net, x)
    with torch.no_grad():
        net[1].weight.mul_(2)
        again = made.with_weights(made.weights.without({"1.weight"}))
        torch.testing.assert_close(again.run([x]), net(x), rtol=1e-5, atol=1e-5)
        assert again.weights.bytes() == made.weights.bytes() > 0


def test_the_target_follows_the_tensors_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)
    asked = {"threads": None, "exact": False, "batch_invariant": False}
    assert target_of(net, [x], **asked)().device.type == "cpu"
    with pytest.raises(NoTargetError, match="weight is on cpu, input 0 on meta"):
        target_of(net, [x.to("meta")], **asked)
    with pytest.raises(NoTargetError, match="weight is on meta$"):
        target_of(net.to("meta"), [x.to("meta")], **asked)


def test_a_library_that_is_missing_or_broken_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pycnn.planning import devices

    def broken(name: str) -> None:
        raise ImportError("libfoo.so: cannot open shared object file")

    monkeypatch.setattr(devices.importlib, "import_module", broken)
    devices.cuda_kernels.cache_clear()
    with pytest.raises(NoTargetError, match="the CUDA kernels do not load: libfoo.so"):
        devices.cuda_kernels()

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(devices.importlib, "import_module", missing)
    with pytest.raises(
        NoTargetError, match="built without CUDA kernels: build it with PYCNN_CUDA=ON"
    ):
        devices.cuda_kernels()


def test_a_plan_refuses_what_it_cannot_hold() -> None:
    plan = kernels().Plan(64, 1, 1)
    params, name = {"pixels": 1, "c": 4, "ldx": 4, "ldy": 4}, "elementwise_pieces_f32_sm80"
    none, x, y = ("none", 0), ("input", 0), ("output", 0)
    plan.add("elementwise", name, params, x, none, none, none, y, none)
    for slot in (("input", 1), ("arena", 65), ("output", -1)):
        with pytest.raises(ValueError, match="out of range"):
            plan.add("elementwise", name, params, slot, none, none, none, y, none)
    with pytest.raises(ValueError, match="expected 1 inputs and 1 outputs"):
        plan.run(0, [], [0], 0)
    assert len(plan) == 1 and plan.arena_bytes == 64


def test_a_memory_limit_is_kept_in_turns_and_bands() -> None:
    torch.manual_seed(5)
    net = settle(
        nn.Sequential(*(nn.Conv2d(c, k, 3, padding=1) for c, k in ((4, 24), (24, 24), (24, 3))))
    )
    x = randn(3, 4, 16, 12).bfloat16().contiguous(memory_format=torch.channels_last)
    free = program(net.bfloat16(), x)
    with torch.no_grad():
        expected = free.run([x])
        now = free.at([x])
        whole = free.planner.lowered(now.items[0], [x], now)
        for part in (2, 3):
            limit = whole.plan.memory_bytes // part
            tight = Program(free.graph, free.weights, free.target, memory_limit=limit)
            assert torch.equal(tight.run([x]), expected)
            found = tight.planner.lowered(now.items[0], [x], now)
            assert found.plan.memory_bytes <= limit and len(found.parts) > len(whole.parts)
        with pytest.raises(MemoryLimitError, match="memory_limit=64 bytes is too small"):
            Program(free.graph, free.weights, free.target, memory_limit=64).run([x])
