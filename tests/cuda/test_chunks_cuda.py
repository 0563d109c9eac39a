"""Plans for CUDA that run some images at a time: where the model of costs says so, with the bits of whole steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
import torch
from launch import DEVICE, allow_everything, on_host
from random_nets import random_net
from test_plan_cuda import HostTarget, randn, results, settle
from torch import Tensor, nn

import pycnn
from pycnn.frontend import capture
from pycnn.ir import Act, Elementwise, Node
from pycnn.passes import WITH_PROLOGUES, run_passes
from pycnn.planning import cuda, own_op
from pycnn.planning.homes import Home
from pycnn.planning.lower import Lowered
from pycnn.planning.params import Params
from pycnn.planning.program import Program
from pycnn.planning.step import Step
from pycnn.planning.weights import Weights

LAUNCH = 100.0  # what a launch costs in bytes moved


@dataclass(frozen=True)
class SmallCache(HostTarget):
    """A cache of `room` bytes, from which bytes cost a tenth; each launch costs as much as some bytes."""

    room: int = 32 << 10
    chunks: bool = True

    @property
    def cache_bytes(self) -> int:
        return self.room if self.chunks else 0

    def predicted(self, step: Step, moved: float, cached: float) -> float:
        assert 0 <= cached <= moved
        return LAUNCH + moved - 0.9 * cached


def program(net: nn.Module, x: Tensor, **fields: object) -> Program:
    target = SmallCache(kernels=allow_everything(), device=x.device, dtype=x.dtype, tf32=False)
    target = replace(target, **fields)  # type: ignore[arg-type]
    with torch.no_grad():
        graph = run_passes(capture(net, (x,), dtype=x.dtype), WITH_PROLOGUES)
    return Program(graph, Weights(graph.tensors, target), lambda: target)


def layers(channels: Sequence[int]) -> nn.Sequential:
    convs = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
        for a, b in zip(channels, channels[1:], strict=False)
    ]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 5))


def parts(planned: Program, x: Tensor) -> list[int]:
    """How many parts each step has."""
    (lowered,) = planned.plans([x])
    assert isinstance(lowered, Lowered)
    counts = Counter(lowered.parts)
    return [counts[i] for i in range(len(lowered.steps))]


def test_large_layers_run_in_chunks_that_fit() -> None:
    """An image of 32 channels is 16 KiB: two of them in and out, and the weights of two layers, are within 128 KiB."""
    net = layers((8, 32, 32, 32)).to(DEVICE, torch.bfloat16).eval()
    x = randn(8, 8, 16, 16).bfloat16()
    with torch.no_grad():
        whole, chunked = (program(net, x, room=256 << 10, chunks=on) for on in (False, True))
        assert set(parts(whole, x)) == {1}
        # NCHW becomes NHWC whole; rows are few bytes.
        assert parts(chunked, x) == [1, 4, 4, 4, 4, 1]
        assert torch.equal(chunked.run([x]), whole.run([x]))


@pytest.mark.parametrize(
    "fields",
    [
        {"room": 16 << 20},  # all of it fits as it is
        {"room": 8 << 10},  # not one image does
        {"chunks": False},
    ],
)
def test_where_it_gains_nothing_steps_stay_whole(fields: dict[str, object]) -> None:
    net = layers((8, 32, 32, 32)).to(DEVICE, torch.bfloat16).eval()
    x = randn(8, 8, 16, 16).bfloat16()
    assert set(parts(program(net, x, **fields), x)) == {1}


def test_many_weights_leave_no_room_for_images() -> None:
    few, many = (layers((8, 16, c, c, 16)).to(DEVICE, torch.bfloat16).eval() for c in (16, 256))
    x = randn(16, 8, 16, 16).bfloat16()
    assert max(parts(program(few, x, room=64 << 10), x)) > 1
    assert set(parts(program(many, x, room=1 << 20), x)) == {1}


def test_dear_launches_are_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = layers((8, 32, 32, 32)).to(DEVICE, torch.bfloat16).eval()
    x = randn(8, 8, 16, 16).bfloat16()
    monkeypatch.setitem(globals(), "LAUNCH", 1e6)
    assert set(parts(program(net, x, room=256 << 10), x)) == {1}


def test_a_steps_time_is_that_of_its_parts() -> None:
    """As `tune` asks for it, which measures plans as they will run."""
    net = layers((8, 32, 32, 32)).to(DEVICE, torch.bfloat16).eval()
    x = randn(8, 8, 16, 16).bfloat16()
    with torch.no_grad():
        planned = program(net, x, room=256 << 10, clock=Ticks)
        (lowered,) = planned.plans([x])
        outputs = lowered.fresh_outputs()
        of = lowered.steps, lowered.parts
        assert lowered.target.times(lowered.plan, *of, [x], outputs) == [1, 4, 4, 4, 4, 1]


class Ticks:
    """A clock on which every launch takes a nanosecond."""

    def __init__(self, device: torch.device) -> None:
        self.marks = 0

    def start(self, marks: int) -> None:
        self.marks = marks

    def mark(self) -> None:
        pass

    def times(self) -> list[int]:
        return [1] * self.marks


def test_torchs_own_convolution_stays_whole() -> None:
    """It is the last of the variants that are measured."""
    net = layers((8, 32, 32, 32)).to(DEVICE, torch.bfloat16).eval()
    x = randn(8, 8, 16, 16).bfloat16()
    with torch.no_grad():
        planned = program(net, x, room=256 << 10, variant=99)
        (lowered,) = planned.plans([x])
        assert "conv2d_torch" in [step.kernel for step in lowered.steps]
        assert set(parts(planned, x)) == {1}


@pytest.mark.parametrize("batch", [5, 8])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks_have_the_bits_of_whole_plans(seed: int, batch: int) -> None:
    """Skips, joins, slices and pools among them; images that do not divide evenly."""
    net, c = random_net(Random(seed))
    net, x = net.to(DEVICE), randn(batch, c, 20, 18)
    with torch.no_grad():
        whole = results(program(net, x, chunks=False).run([x]))
        chunked = results(program(net, x, room=24 << 10).run([x]))
    assert all(map(torch.equal, chunked, whole))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_networks_of_the_zoo_have_the_bits_of_whole_plans(name: str) -> None:
    torch.manual_seed(0)
    net = settle(pycnn.create_model(name)).to(DEVICE, torch.bfloat16)
    x = randn(8, 3, 64, 64).bfloat16()
    with torch.no_grad():
        planned = program(net, x, room=512 << 10)
        assert max(parts(planned, x)) > 1
        assert torch.equal(planned.run([x]), program(net, x, chunks=False).run([x]))


@on_host
def test_the_kernels_own_model_weighs_it() -> None:
    """A step that is bound by memory takes less out of the L2, by what the L2 is faster."""
    target = HostTarget(
        kernels=allow_everything(), device=torch.device("cpu"), dtype=torch.bfloat16, tf32=False
    )
    on = replace(target, chunks=True)
    assert target.cache_bytes == 0 and on.cache_bytes == 50 << 20
    params: Params = {"pixels": 1 << 20, "c": 64, "ldx": 64, "ldy": 64}
    home, node = Home("arena", 1, 64), Node(Elementwise(Act("relu")), (0,), (1,))
    step = Step("elementwise", target.rule("elementwise", params), params, node, home, home)
    far, near = on.predicted(step, 2e8, 0), on.predicted(step, 2e8, 2e8)
    assert far == pytest.approx(2e8 / 4.8e12 + 1.5e-6)
    assert near == pytest.approx(2e8 / 7.2e12 + 1.5e-6)
    conv: Params = {"n": 1, "h": 8, "w": 8, "c": 8, "k": 8, "oh": 8, "ow": 8, "ldx": 8, "ldy": 8}
    by_rule, own = target.rule("conv2d", conv), own_op.kernel_of("conv2d")
    steps = [replace(step, op="conv2d", kernel=kernel, params=conv) for kernel in (by_rule, own)]
    assert on.predicted(steps[0], 0, 0) == on.predicted(steps[1], 0, 0) > 0


def test_it_is_on_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = cuda.targets(allow_everything(), torch.device("cuda", 0), torch.bfloat16)
    assert not made().chunks
    monkeypatch.setenv(cuda.CHUNKS, "1")
    assert made().chunks and made() != replace(made(), chunks=False)
