"""`optimize(tune=True)` for CUDA: the clock decides, its choices are kept by device, torch's own op among them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from launch import DEVICE, allow_everything, on_host
from test_own_op_cuda import CONV, OWN, target
from test_plan_cuda import HostTarget, program, randn, settle
from torch import Tensor, nn

import pycnn
from pycnn import compiled
from pycnn.planning import cuda_device, tune, tuned
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights


class Scripted:
    """A clock that says of the runs of a plan, in the order in which they come, what each of its steps took."""

    def __init__(self, durations: Iterator[int]) -> None:
        self._each, self._marks = next(durations), 0

    def start(self, marks: int) -> None:
        self._marks = marks

    def mark(self) -> None:
        self._marks -= 1

    def times(self) -> list[int]:
        assert self._marks == 0
        return [self._each] * 4


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.Flatten()]
    return settle(nn.Sequential(*layers, nn.Linear(8 * 36, 5))).to(DEVICE, torch.bfloat16)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYCNN_TUNED", str(tmp_path / "tuned.json"))
    monkeypatch.setattr(tune, "_SECONDS", 0.0)
    return tmp_path / "tuned.json"


def on(monkeypatch: pytest.MonkeyPatch, clock: Callable[[torch.device], Any]) -> None:
    """Models get the kernels on host threads, timed by this clock."""
    module = allow_everything()

    def target_of(
        model: nn.Module,
        inputs: list[Tensor],
        threads: int,
        exact: bool,
        invariant: bool,
        cast: Any,
    ) -> Callable[[], object]:
        table = None if invariant else tuned.shared_table()
        fields = {"device": inputs[0].device, "dtype": inputs[0].dtype, "tf32": False}
        made = HostTarget(
            kernels=module, batch_invariant=invariant, table=table, clock=clock, **fields
        )
        return lambda: made

    monkeypatch.setattr(compiled, "target_of", target_of)


def chosen(fast: nn.Module, x: Tensor) -> list[str]:
    return [step.kernel for step in pycnn.explain(fast, x).steps if step.op == "conv2d"]


def candidates(model: nn.Module, x: Tensor) -> list[list[str]]:
    """Of each convolution of the model, the rule's first."""
    return [target().candidates("conv2d", params) for params in problems(model, x)]


def script(of: list[list[str]], fastest: int) -> Callable[[torch.device], Scripted]:
    """Plans run by turns: once each, then round after round; there is one for each candidate of the longest list."""
    variants = max(map(len, of))
    runs = (900 if i % variants == fastest % variants else 1000 for i in range(10**6))
    return lambda device: Scripted(runs)


@on_host
@torch.no_grad()
def test_measured_times_choose_and_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = net(), randn(2, 8, 6, 6).bfloat16()
    on(monkeypatch, script(candidates(model, x), fastest=-1))
    rules = chosen(pycnn.optimize(model), x)
    assert not OWN & set(rules)
    fast = pycnn.optimize(model, tune=True)
    y = fast(x)
    assert chosen(fast, x) == ["conv2d_torch"] * 3
    data = json.loads(path.read_text())
    assert [*data["processors"]] == ["CUDA on the host, bfloat16"]
    measured = data["processors"]["CUDA on the host, bfloat16"]
    assert all(len(entry["microseconds"]) > 5 for key, entry in measured.items() if "conv2d" in key)
    tuned._tables.clear()  # as another process
    assert torch.equal(pycnn.optimize(model)(x), y)
    assert pycnn.verify(fast, model, x).same_bits
    assert chosen(pycnn.optimize(model, batch_invariant=True), x) == rules
    other = path.read_text().replace("CUDA on the host, bfloat16", "NVIDIA X, sm_80, bfloat16")
    path.write_text(other)
    tuned._tables.clear()
    assert chosen(pycnn.optimize(model), x) == rules


@on_host
@torch.no_grad()
@pytest.mark.parametrize("fastest", [1, 3])
def test_the_clock_decides(fastest: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = net(), randn(2, 8, 6, 6).bfloat16()
    able = candidates(model, x)
    on(monkeypatch, script(able, fastest))
    fast = pycnn.optimize(model, tune=True)
    fast(x)
    assert chosen(fast, x) == [names[fastest] for names in able]


def problems(model: nn.Module, x: Tensor) -> list[dict[str, float]]:
    made = program(model, x)
    now = made.at([x])
    return [
        s.params for s in made.planner.lowered(now.items[0], [x], now).steps if s.op == "conv2d"
    ]


@on_host
@torch.no_grad()
def test_equal_times_leave_the_rules_choices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, lambda device: Scripted(itertools.repeat(1000)))
    model, x = net(), randn(2, 8, 6, 6).bfloat16()
    fast = pycnn.optimize(model, tune=True)
    fast(x)
    assert chosen(fast, x) == chosen(pycnn.optimize(model, batch_invariant=True), x)


@on_host
@torch.no_grad()
def test_the_hosts_clock_times_every_candidate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, cuda_device.clock)
    model, x = net(), randn(2, 8, 6, 6).bfloat16()
    fast = pycnn.optimize(model, tune=True)
    fast(x)
    for params, kernel in zip(problems(model, x), chosen(fast, x), strict=True):
        found = tuned.Table.read(path).find(target().processor, tuned.problem("conv2d", params, 1))
        assert found is not None and found.kernel == kernel
        assert {*found.microseconds} == {*target().candidates("conv2d", params)}


def test_a_plan_in_parts_has_no_kernel_whose_bits_depend_on_the_parts(path: Path) -> None:
    """Measured choices may be torch's own op; those of a plan with a memory limit are the rule's."""
    measured = target(table=tuned.Table())
    key = tuned.problem("conv2d", CONV, 1)
    measured.table.add(measured.processor, key, {"conv2d_torch": 1.0}, "")
    assert measured.choose("conv2d", CONV, 0) == "conv2d_torch"
    assert measured.divisible().choose("conv2d", CONV, 0) == target().rule("conv2d", CONV)
    net = settle(nn.Conv2d(8, 8, 3, padding=1)).to(DEVICE, torch.bfloat16)
    graph = program(net, randn(2, 8, 8, 8).bfloat16()).graph
    tight = Program(graph, Weights(graph.tensors, measured), lambda: measured, memory_limit=10**6)
    assert tight.target().table is None


def test_events_are_on_the_stream_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls of torch.cuda: a delay, then an event on either side of each step."""
    said: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0

        def record(self) -> None:
            said.append("event")
            self.at = len(said)

        def synchronize(self) -> None:
            said.append("wait")

        def elapsed_time(self, later: Event) -> float:
            return (later.at - self.at) * 0.25  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: said.append("delay"))
    clock = cuda_device.EventClock()
    clock.start(2)
    for launches in (1, 3):
        said += ["launch"] * launches
        clock.mark()
    assert clock.times() == [500_000, 1_000_000]
    assert said == ["delay", "event", "launch", "event", *["launch"] * 3, "event", "wait"]
