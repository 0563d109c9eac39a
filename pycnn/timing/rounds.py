"""`compare`: engines take turns on workloads."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pycnn import _C
from pycnn.models import plain_torch
from pycnn.timing.engines import ENGINES, TORCH_ENGINES
from pycnn.timing.networks import check_networks, network_and_input
from pycnn.timing.process import EngineError, Worker
from pycnn.timing.results import Failure, Timing, Workload

PAUSE = 0.05  # seconds between turns: OpenMP's workers spin 5-10 ms after a call


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """Whom `compare` tells what it does.

    Attributes:
        on_build: called before an engine builds a workload.
        on_turn: called after each of the rounds * engines * workloads turns, also those of an engine that failed.
        on_timing: called with each result, so that an interrupted run has lost nothing.
        on_failure: called when an engine cannot run a workload; None: compare raises RuntimeError.
    """

    on_build: Callable[[Workload, str], None] = _ignore
    on_turn: Callable[[], None] = _ignore
    on_timing: Callable[[Timing], None] = _ignore
    on_failure: Callable[[Failure], None] | None = None


def compare(
    workloads: Sequence[Workload],
    *,
    engines: Sequence[str] = TORCH_ENGINES,
    threads: int | None = None,
    rounds: int = 4,
    seconds: float = 0.3,
    listener: Listener | None = None,
) -> list[Timing]:
    """Time every engine on every workload, and measure its error.

    Args:
        workloads: what to run.
        engines: names of `ENGINES`.
        threads: of every engine; default the usable cores.
        rounds: turns of each engine on each workload, forwards and backwards through the engines by turns (ABBA).
        seconds: length of a turn; a turn is at least three calls.
        listener: for progress; see `Listener`.

    Returns:
        One `Timing` per workload and engine, in that order, less the failures which the listener took.

    Raises:
        ValueError: see `check_names`.
        RuntimeError: a worker failed or died, and nobody listens to failures; the message says which and why.
    """
    check_names(workloads, engines)
    plan = _Plan(
        list(engines),
        int(_C.machine()["cores"]) if threads is None else threads,
        rounds,
        seconds,
        listener or Listener(),
    )
    return [timing for workload in workloads for timing in _workload(plan, workload)]


def check_names(workloads: Sequence[Workload], engines: Sequence[str]) -> None:
    """Before any work.

    Raises:
        ValueError: an unknown network or engine, or a size the network does not take.
    """
    for name in engines:
        if name not in ENGINES:
            raise ValueError(f"unknown engine {name!r}: one of {', '.join(ENGINES)}")
    check_networks(workloads)


@dataclass(frozen=True)
class _Plan:
    engines: list[str]
    threads: int
    rounds: int
    seconds: float
    listener: Listener


@dataclass
class _Turns:
    """What one engine's turns on one workload have brought so far."""

    built: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    stalls: int = 0
    wall_s: float = 0.0
    foreign_s: float = 0.0

    def take(self, worker: Worker, seconds: float) -> None:
        time.sleep(PAUSE)
        reply = worker.ask("turn", seconds=seconds)
        self.wall_s += reply["wall_s"]
        self.foreign_s += reply["foreign_s"]
        median = statistics.median(reply["seconds"])
        self.stalls += sum(s > 2 * median for s in reply["seconds"])
        self.seconds += reply["seconds"]

    def timing(self, workload: Workload, engine: str, end: dict[str, Any]) -> Timing:
        s = sorted(self.seconds)
        return Timing(
            workload, engine, s[0], s[len(s) // 5], s[len(s) // 2], len(s),
            stalls=self.stalls, foreign_cpus=self.foreign_s / self.wall_s, **self.built, **end,
        )  # fmt: skip


def _workload(plan: _Plan, workload: Workload) -> list[Timing]:
    listener, found = plan.listener, []
    with _expected(workload) as expected, ExitStack() as stack:
        workers = {n: stack.enter_context(Worker(n, plan.threads)) for n in plan.engines}
        turns: dict[str, _Turns] = {}
        for name, worker in workers.items():
            listener.on_build(workload, name)
            with _failure(workload, name, listener):
                request = {"workload": asdict(workload), "expected": str(expected)}
                turns[name] = _Turns(worker.ask("build", **request))
        for turn in range(plan.rounds):
            for name in plan.engines if turn % 2 == 0 else reversed(plan.engines):
                if name in turns:
                    with _failure(workload, name, listener, turns):
                        turns[name].take(workers[name], plan.seconds)
                listener.on_turn()
        for name in [n for n in plan.engines if n in turns]:
            with _failure(workload, name, listener):
                timing = turns[name].timing(workload, name, workers[name].ask("end"))
                found.append(timing)
                listener.on_timing(timing)
    return found


@contextmanager
def _failure(
    workload: Workload, engine: str, listener: Listener, turns: dict[str, _Turns] | None = None
) -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        sentence = f"{workload.title}: {error}"
        if listener.on_failure is None:
            raise RuntimeError(f"timing: {sentence}") from None
        listener.on_failure(Failure(workload, engine, sentence))
        if turns is not None:
            del turns[engine]


@contextmanager
def _expected(workload: Workload) -> Iterator[Path]:
    """A file with the outputs of the network in fp64, computed here so that no engine's memory has it."""
    with torch.random.fork_rng(devices=[]):
        net, x = network_and_input(workload)
    with torch.inference_mode(), plain_torch():
        leaves = tree_leaves(net.double()(x.double()))
    with tempfile.TemporaryDirectory(prefix="pycnn-timing-") as folder:
        path = Path(folder) / "expected.pt"
        torch.save([leaf for leaf in leaves if isinstance(leaf, Tensor)], path)
        yield path
