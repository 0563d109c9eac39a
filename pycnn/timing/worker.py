"""The process of one engine: builds one workload, then times it whenever it is asked to."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import IO, Any

import torch
from torch import Tensor

from pycnn.models import plain_torch
from pycnn.timing.engines import Engine
from pycnn.timing.facts import Load, peak_bytes
from pycnn.timing.networks import network_and_input
from pycnn.timing.results import Workload

WARM_UP_S = 0.1


def worst_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """max|y - ref| / max|ref|, the worst of all outputs.

    Raises:
        RuntimeError: other outputs than expected, in number or shape.
    """
    shapes = [list(y.shape) for y in found], [list(y.shape) for y in expected]
    if shapes[0] != shapes[1]:
        raise RuntimeError(f"outputs of shapes {shapes[0]}, where torch's have {shapes[1]}")
    pairs = zip(found, expected, strict=True)
    return max(float((y.double() - ref).abs().max() / ref.abs().max()) for y, ref in pairs)


class Run:
    """A workload built and called for the first time."""

    def __init__(self, engine: Engine, workload: Workload, threads: int) -> None:
        net, self.x = network_and_input(workload)
        start = time.perf_counter()
        self.ready = engine.build(net, self.x, threads)
        self.build_s = time.perf_counter() - start
        start = time.perf_counter()
        result = self.ready.call()
        self.first_call_s = time.perf_counter() - start
        self.tensors = self.ready.tensors(result)
        self.times(WARM_UP_S)

    def times(self, seconds: float) -> list[float]:
        """Seconds of each call, for at least `seconds` and three calls."""
        call, clock, requests = self.ready.call, time.perf_counter, self.ready.requests
        found: list[float] = []
        end = clock() + seconds
        while clock() < end or len(found) < 3:
            start = clock()
            call()
            found.append((clock() - start) / requests)
        return found

    def second_shape(self) -> float | None:
        """Seconds that the first call with one image more takes longer than later ones; None: built for one shape."""
        if self.ready.module is None:
            return None
        x = torch.cat([self.x, self.x[:1]]).to(next(self.ready.module.parameters()).dtype)
        if not self.x.is_contiguous():
            x = x.contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            self.ready.module(x)
            times.append(time.perf_counter() - start)
        return max(0.0, times[0] - min(times[1:]))


class Service:
    """Answers the parent's requests."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine, self.threads = engine, threads
        self.run: Run | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "build":
            workload = Workload.from_dict(request["workload"])
            self.run = Run(self.engine, workload, self.threads)
            expected = torch.load(request["expected"], weights_only=True)
            return {
                "error": worst_error(self.run.tensors, expected),
                "requests": self.run.ready.requests,
                "build_s": self.run.build_s,
                "first_call_s": self.run.first_call_s,
            }
        assert self.run is not None
        if request["do"] == "turn":
            load, own, start = Load.now(), time.process_time(), time.perf_counter()
            seconds = self.run.times(request["seconds"])
            wall_s, own_s = time.perf_counter() - start, time.process_time() - own
            return {
                "seconds": seconds,
                "wall_s": wall_s,
                "foreign_s": Load.now().foreign_s(load, own_s),
            }
        peak = peak_bytes()  # before a larger batch runs
        return {"peak_bytes": peak, "second_shape_s": self.run.second_shape()}


def serve(engine: Engine, threads: int) -> None:
    """Answer each line of stdin with a line on what was stdout; what engines print goes to stderr."""
    replies: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    service = Service(engine, threads)
    with torch.inference_mode(), plain_torch():
        for line in sys.stdin:
            try:
                reply = service.answer(json.loads(line))
            except Exception as error:
                first = (str(error).strip() or "no message").splitlines()[0]
                reply = {"failed": f"{type(error).__name__}: {first[:300]}"}
            print(json.dumps(reply), file=replies, flush=True)
