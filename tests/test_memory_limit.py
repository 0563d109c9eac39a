"""`optimize(memory_limit=)`: kept, with the bits of the plan without one, or refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from captured import Fn
from nets import Branches, Views, conv_bn, settle
from random_nets import random_net
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

import pycnn
from pycnn.inspection import graphs_of
from pycnn.planning.program import Program


def needs(report: Any) -> int:
    return report.peak_bytes + report.workspace_bytes


def kernels(report: Any) -> list[str]:
    """Of the steps that compute."""
    return [step.kernel for step in report.steps if step.op not in ("concat", "layout")]


def leaves(result: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def least(net: nn.Module, x: Tensor, **options: Any) -> int:
    """The number that a refusal of one byte states."""
    with pytest.raises(pycnn.MemoryLimitError, match="memory_limit=1 bytes is too small") as found:
        pycnn.optimize(net, memory_limit=1, **options)(x)
    assert str(found.value).endswith(f"which needs {found.value.needed}")
    return found.value.needed


def check(net: nn.Module, x: Tensor, limit: int, **options: Any) -> Any:
    """A call within the limit: its report, after its numbers were held against the plan without one."""
    free, fast = pycnn.optimize(net, **options), pycnn.optimize(net, memory_limit=limit, **options)
    with torch.inference_mode():
        expected, found = leaves(free(x)), leaves(fast(x))
        report = pycnn.explain(fast, x)
        same = kernels(report) == kernels(pycnn.explain(free, x))
    (graph,) = graphs_of(fast)
    held = graph.program.target().arenas.bytes
    assert needs(report) <= limit and held <= limit + 8192  # whole pages
    for y, ref in zip(found, expected, strict=True):
        if same:
            assert torch.equal(y, ref)
        else:
            torch.testing.assert_close(y, ref, rtol=1e-4, atol=1e-5)
    return report


class Levels(nn.Module):
    """A U-Net of two levels with a body of residual blocks: skips, joins, strides, both ways up, a gate."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()
        self.stem, self.down = conv_bn(3, c), conv_bn(c, 2 * c, stride=2)
        self.body = nn.ModuleList(conv_bn(2 * c, 2 * c) for _ in range(6))
        self.up, self.last = nn.ConvTranspose2d(2 * c, c, 2, 2), conv_bn(2 * c, c, 5)
        self.gate, self.head = nn.Linear(c, c), nn.Conv2d(c, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = torch.relu(self.stem(x))
        y = torch.relu(self.down(skip))
        for layer in self.body:
            y = torch.relu(layer(y) + y)
        z = torch.relu(self.last(torch.cat([skip, self.up(y)], 1)))
        z = (
            nn.functional.max_pool2d(z, 3, 1, 1)
            * torch.sigmoid(self.gate(z.mean((2, 3))))[..., None, None]
        )
        return self.head(z)


NETS = {
    "levels": (Levels, (3, 3, 64, 40)),
    "one image": (Levels, (1, 3, 68, 36)),
    "branches": (Branches, (3, 3, 32, 27)),
    "views": (Views, (2, 3, 24, 24)),
    "shufflenet_v2_x0_5": (lambda: pycnn.create_model("shufflenet_v2_x0_5"), (2, 3, 64, 64)),
    "dncnn": (lambda: pycnn.create_model("dncnn"), (2, 1, 40, 48)),
    "srresnet_x4": (lambda: pycnn.create_model("srresnet_x4"), (1, 3, 24, 16)),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_any_limit_is_kept_or_refused_with_the_number_that_is_enough(
    name: str, channels_last: bool
) -> None:
    make, shape = NETS[name]
    net, x = settle(make()), torch.randn(shape)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        free = needs(pycnn.explain(pycnn.optimize(net), x))
        enough = least(net, x)
        assert enough < free
        with pytest.raises(pycnn.MemoryLimitError, match=f"={enough - 1} bytes .* needs {enough}$"):
            pycnn.optimize(net, memory_limit=enough - 1)(x)
    for part in (0.0, 0.3, 0.7):
        check(net, x, enough + int(part * (free - enough)))


@pytest.mark.parametrize("exact", [False, True])
def test_turns_and_bands_do_with_a_part_of_the_memory_and_change_no_bit(exact: bool) -> None:
    net, x = settle(Levels(32)), torch.randn(4, 3, 128, 96).to(memory_format=torch.channels_last)
    options: dict[str, Any] = {"threads": 1, "batch_invariant": True, "exact": exact}
    with torch.inference_mode():
        free = pycnn.explain(pycnn.optimize(net, **options), x)
    turns = check(net, x, needs(free) // 2, **options)
    bands = check(net, x, least(net, x, **options), **options)
    assert kernels(turns) == kernels(bands) == kernels(free)
    assert turns.peak_bytes < free.peak_bytes / 2 and bands.peak_bytes < turns.peak_bytes
    assert any("in 4 parts" in step.layout for step in turns.steps)
    assert max(int(s.layout.split(" ")[-2]) for s in bands.steps if "parts" in s.layout) > 16


def test_dilated_winograd_layers_run_in_bands_with_the_same_bits() -> None:
    layers = (nn.Conv2d(c, 32, 3, padding=2, dilation=2) for c in (3, 32, 32, 32))
    net, x = settle(nn.Sequential(*layers)), torch.randn(1, 3, 160, 96)
    with torch.inference_mode():
        free = pycnn.explain(pycnn.optimize(net, threads=1), x)
    report = check(net, x, int(0.7 * free.peak_bytes) + free.workspace_bytes, threads=1)
    assert kernels(report) == kernels(free) and any("winograd" in k for k in kernels(free))
    assert sum("parts" in step.layout for step in report.steps) > 2


@pytest.mark.parametrize(("name", "c"), [("dncnn", 1), ("edsr_baseline_x2", 3), ("unet", 3)])
def test_restoration_networks_run_in_bands_with_the_same_bits(name: str, c: int) -> None:
    width = {"width": 16} if name == "unet" else {}
    net, x = settle(pycnn.create_model(name, in_channels=c, **width)), torch.randn(1, c, 160, 96)
    with torch.inference_mode():
        free = pycnn.explain(pycnn.optimize(net), x)
    report = check(net, x, int(0.7 * free.peak_bytes) + free.workspace_bytes)
    assert kernels(report) == kernels(free)
    assert sum("parts" in step.layout for step in report.steps) > 2


def test_smaller_workspaces_come_after_parts_and_one_thread_last() -> None:
    layers = [conv_bn(64, 64), nn.ReLU(), conv_bn(64, 64), nn.ReLU(), conv_bn(64, 64)]
    net, x = settle(nn.Sequential(*layers)), torch.randn(1, 64, 56, 56)
    with torch.inference_mode():
        free = pycnn.explain(pycnn.optimize(net, threads=2), x)
        assert free.workspace_bytes > 0
        enough = least(net, x, threads=2)
    report = check(net, x, enough, threads=2)
    assert report.workspace_bytes < free.workspace_bytes
    fast = pycnn.optimize(net, threads=2, batch_invariant=True, memory_limit=1)
    with torch.inference_mode(), pytest.raises(pycnn.MemoryLimitError) as found:
        fast(x)  # whose kernels may not depend on what memory there is
    assert found.value.needed > enough


@pytest.mark.parametrize("seed", range(24))
def test_networks_put_together_by_dice(seed: int) -> None:
    dice = Random(seed)
    net, c = random_net(dice)
    torch.manual_seed(seed)
    x = torch.randn(dice.randint(1, 4), c, dice.randint(9, 64), dice.randint(9, 48))
    if dice.random() < 0.5:
        x = x.contiguous(memory_format=torch.channels_last)
    net.eval()
    with torch.inference_mode():
        free = needs(pycnn.explain(pycnn.optimize(net), x))
        enough = least(net, x) if free else 1
    check(net, x, max(enough, int(dice.random() * free)))


def test_another_order_of_branches_is_tried_first() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        wide = [self.wide(x + i) for i in range(4)]  # all alive before the first is narrowed
        return sum(self.narrow(w).mean((2, 3)) for w in wide)

    layers = {"wide": nn.Conv2d(4, 64, 1), "narrow": nn.Conv2d(64, 4, 1)}
    net, x = settle(Fn(forward, **layers)), torch.randn(1, 4, 32, 32)
    with torch.inference_mode():
        free = needs(pycnn.explain(pycnn.optimize(net), x))
    report = check(net, x, free // 2)
    assert not any("parts" in step.layout for step in report.steps)


class Cut(nn.Module):
    """Two segments with an op of torch's between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 64, 3, padding=1)
        self.third = nn.Conv2d(64, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)).roll(1, -1))))


def test_nothing_runs_before_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = settle(Cut()), torch.randn(1, 3, 48, 48)
    between = 8 * 48 * 48 * 4  # what roll returns, and the tensor it is given
    with torch.inference_mode():
        enough = least(net, x)
        assert enough > 2 * between
    ran: list[object] = []
    real = Program.run_torch

    def run_torch(self: Program, step: Any, inputs: list[Tensor], now: Any) -> Any:
        ran.extend(x for x in inputs if not isinstance(x, FakeTensor))
        return real(self, step, inputs, now)

    monkeypatch.setattr(Program, "run_torch", run_torch)
    fast = pycnn.optimize(net, memory_limit=enough - 1)
    with torch.inference_mode(), pytest.raises(pycnn.MemoryLimitError):
        fast(x)
    (graph,) = graphs_of(fast)
    assert not ran and graph.program.target().arenas.bytes == 0
    with torch.inference_mode():
        y = pycnn.optimize(net, memory_limit=enough)(x)
    assert ran
    torch.testing.assert_close(y, net(x), rtol=1e-4, atol=1e-5)


def test_a_smaller_call_passes_where_a_larger_one_is_refused() -> None:
    net = settle(Levels())
    small, large = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        fast = pycnn.optimize(net, memory_limit=least(net, small))
        for _ in range(2):
            with pytest.raises(MemoryError):
                fast(large)
            torch.testing.assert_close(fast(small), net(small), rtol=1e-4, atol=1e-5)


def test_reports_see_the_layers_of_a_plan_in_parts() -> None:
    net, x = settle(Levels()), torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        fast = pycnn.optimize(net, memory_limit=least(net, x))
        report, times = pycnn.explain(fast, x), pycnn.profile(fast, x, seconds=0.01)
        certificate = pycnn.verify(fast, net, x)
    assert any("parts" in step.layout for step in report.steps)
    assert certificate.ok and certificate.same_bits
    assert len(times.layers) == len(report.steps) and all(t.min_s > 0 for t in times.layers)


def test_what_is_known_before_running_is_what_is_allocated() -> None:
    net, x = settle(Levels()), torch.randn(2, 3, 40, 40)
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        report = pycnn.explain(fast, x)
        (graph,) = graphs_of(fast)
        arenas = graph.program.target().arenas
        assert arenas.bytes == 0 and report.workspace_bytes > 0
        fast(x)
    aligned = sum(-(-n // 64) * 64 for n in (report.peak_bytes, report.workspace_bytes))
    assert aligned <= arenas.bytes <= aligned + 64


def test_a_saved_network_is_loaded_with_a_limit_of_its_own(tmp_path: Path) -> None:
    net, x = settle(Levels()), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        fast = pycnn.optimize(net, memory_limit=least(net, x))
        expected = fast(x)
        pycnn.save(fast, tmp_path / "net.pycnn")
        assert pycnn.load(tmp_path / "net.pycnn")._options.memory_limit is None
        loaded = pycnn.load(tmp_path / "net.pycnn", memory_limit=fast._options.memory_limit)
        assert torch.equal(loaded(x), expected)
        with pytest.raises(pycnn.MemoryLimitError):
            pycnn.load(tmp_path / "net.pycnn", memory_limit=99)(x)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"memory_limit": 1.5}, TypeError, "memory_limit must be a number of bytes, an int, got 1.5"),
        ({"memory_limit": True}, TypeError, "memory_limit must be a number of bytes, an int, got True"),
        ({"memory_limit": "1G"}, TypeError, "memory_limit must be .* got '1G'"),
        ({"memory_limit": 0}, ValueError, "memory_limit=0 must be a positive number of bytes"),
        ({"memory_limit": -4}, ValueError, "memory_limit=-4 must be a positive number of bytes"),
        ({"memory_limit": 9, "tune": True}, ValueError, "tune=True runs every kernel"),
    ],
)  # fmt: skip
def test_bad_values_are_one_sentence(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"^optimize: {message}"):
        pycnn.optimize(nn.Identity(), **options)
