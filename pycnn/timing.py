"""Engines timed side by side, each in a process of its own.

Idle thread pools of one engine slow the next one in the same process (measured 1.5-5x), so every engine gets a worker:
`python -m pycnn.timing ENGINE`, which answers JSON requests on stdin with JSON lines on stdout. `compare` lets the
workers take turns in ABBA order, so that a slow phase of the machine falls on all of them.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from pycnn.models import create_model, plain_torch
from pycnn.optimize import optimize
from pycnn.registry import find_model

PAUSE = 0.05  # seconds between turns: OpenMP's workers spin 5-10 ms after a call


@dataclass(frozen=True)
class Workload:
    """One network of the zoo, newly initialised with seed 0, at its own image size."""

    model: str
    batch: int


@dataclass(frozen=True)
class Timing:
    """Seconds a call of one engine on one workload, and max|y - ref| / max|ref| against the network in fp64."""

    workload: Workload
    engine: str
    min_s: float
    p20_s: float
    median_s: float
    calls: int
    error: float


def _torch_nchw(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    return net, x


def _torch_nhwc(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net, x.contiguous(memory_format=torch.channels_last)


def _pycnn(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    return optimize(net), x


ENGINES: dict[str, Callable[[nn.Module, Tensor], tuple[nn.Module, Tensor]]] = {
    "torch NCHW": _torch_nchw,
    "torch NHWC": _torch_nhwc,
    "pycnn": _pycnn,
}


def compare(
    workloads: Sequence[Workload],
    *,
    rounds: int = 4,
    seconds: float = 0.3,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Timing]:
    """Time every engine of `ENGINES` on every workload, and measure its error.

    Args:
        workloads: what to run.
        rounds: turns of each engine on each workload, forwards and backwards through the engines by turns (ABBA).
        seconds: length of a turn; a turn is at least three calls.
        on_turn: called after each of the `rounds * len(ENGINES) * len(workloads)` turns.

    Returns:
        One `Timing` per workload and engine, in that order.

    Raises:
        ValueError: an unknown model.
        RuntimeError: a worker failed or died (its own words are on stderr); the message says which.
    """
    for workload in workloads:
        find_model(workload.model)
    timings = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(name)) for name in ENGINES}
        for workload in workloads:
            times: dict[str, list[float]] = {name: [] for name in ENGINES}
            errors: dict[str, float] = {}
            for turn in range(rounds):
                for name in list(ENGINES) if turn % 2 == 0 else reversed(ENGINES):
                    time.sleep(PAUSE)
                    reply = workers[name].ask(workload, seconds)
                    times[name] += reply["seconds"]
                    errors[name] = reply["error"]
                    on_turn()
            timings += [_summary(workload, name, times[name], errors[name]) for name in ENGINES]
    return timings


def _summary(workload: Workload, engine: str, seconds: list[float], error: float) -> Timing:
    s = sorted(seconds)
    return Timing(workload, engine, s[0], s[len(s) // 5], s[len(s) // 2], len(s), error)


class _Worker:
    """The process of one engine; killed on leaving the `with` block."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pycnn.timing", engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which ends this process
        )

    def ask(self, workload: Workload, seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"model": workload.model, "batch": workload.batch, "seconds": seconds}
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            raise RuntimeError(f"timing: the process of {self.engine!r} ended with status {code}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()


class _Run:
    """A workload built and warmed up in the worker of one engine."""

    def __init__(self, engine: str, workload: Workload) -> None:
        torch.manual_seed(0)
        net = create_model(workload.model).eval()
        x = torch.randn(workload.batch, *find_model(workload.model).input_size)
        with torch.inference_mode(), plain_torch():
            expected = copy.deepcopy(net).double()(x.double())
        self.call, self.x = ENGINES[engine](net, x)
        with torch.inference_mode(), plain_torch():
            y = self.call(self.x)
            self.error = float((y - expected).abs().max() / expected.abs().max())
        self.times(0.1)

    def times(self, seconds: float) -> list[float]:
        call, x, clock = self.call, self.x, time.perf_counter
        found: list[float] = []
        with torch.inference_mode(), plain_torch():
            end = clock() + seconds
            while clock() < end or len(found) < 3:
                start = clock()
                call(x)
                found.append(clock() - start)
        return found


def _serve(engine: str) -> None:
    runs: dict[Workload, _Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        workload = Workload(request["model"], request["batch"])
        if workload not in runs:
            runs[workload] = _Run(engine, workload)
        run = runs[workload]
        reply = {"seconds": run.times(request["seconds"]), "error": run.error}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ENGINES:
        sys.exit(f"usage: python -m pycnn.timing ENGINE, where ENGINE is one of {list(ENGINES)}")
    _serve(sys.argv[1])
