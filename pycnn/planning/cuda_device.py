"""What plans ask of a CUDA device. On the CPU, where tests run the same plans, there is no stream to ask for."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

# Clock cycles that a launch and its event take the host at most, with room: at 2 GHz, 20 us.
_CYCLES_A_MARK = 40_000


def current(device: torch.device) -> AbstractContextManager[object]:
    """The device made current, where it is not."""
    if device.type != "cuda" or torch.cuda.current_device() == device.index:
        return nullcontext()
    return torch.cuda.device(device)


def stream(device: torch.device) -> int:
    """The handle of torch's current stream there."""
    if device.type != "cuda":
        return 0
    return int(torch.cuda.current_stream(device).cuda_stream)


def synchronize(device: torch.device) -> None:
    """Wait for the device. RuntimeError while a CUDA graph is captured, in which nothing can be waited for."""
    if device.type != "cuda":
        return
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "optimize: a plan must be made before a CUDA graph is captured; call warmup() with its shapes"
        )
    torch.cuda.synchronize(device)


@functools.cache
def name(device: torch.device) -> str:
    """What measured times hold for: the GPU and its compute capability, as "NVIDIA H200, sm_90"."""
    if device.type != "cuda":
        return "CUDA on the host"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, sm_{found.major}{found.minor}"


class GraphRecorder:
    """CUDA graphs of a device, for planning/replay.py. One is captured at a time, on a stream of its own, while other
    threads may go on."""

    _one = threading.Lock()

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def capturing(self) -> bool:
        return torch.cuda.is_current_stream_capturing()

    def record(self, launch: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        beside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        mode = "thread_local"
        with self._one, torch.cuda.graph(graph, stream=beside, capture_error_mode=mode):
            launch()
        return graph.replay

    def wait(self, mark: object) -> None:
        assert isinstance(mark, torch.cuda.Event)
        torch.cuda.current_stream(self._device).wait_event(mark)

    def mark(self, used: Sequence[Tensor]) -> object:
        stream = torch.cuda.current_stream(self._device)
        for tensor in used:
            tensor.record_stream(stream)
        return stream.record_event()


class Clock(Protocol):
    """Times what is put on the current stream between its marks."""

    def start(self, marks: int) -> None:
        """Begin; so many marks will follow."""

    def mark(self) -> None:
        """After what was put there since the mark before."""

    def times(self) -> list[int]:
        """Nanoseconds up to each mark from the one before, when all is done."""


class EventClock:
    """CUDA events. The stream is held up until all launches are on it: what is timed is the device, not the host."""

    def start(self, marks: int) -> None:
        torch.cuda._sleep(_CYCLES_A_MARK * (marks + 1))  # type: ignore[no-untyped-call]
        make = partial(torch.cuda.Event, enable_timing=True)
        self._events = [make() for _ in range(marks + 1)]
        self._at = 0
        self.mark()

    def mark(self) -> None:
        self._events[self._at].record()
        self._at += 1

    def times(self) -> list[int]:
        self._events[-1].synchronize()
        pairs = zip(self._events, self._events[1:], strict=False)
        return [max(round(a.elapsed_time(b) * 1e6), 1) for a, b in pairs]


class HostClock:
    """Of a device whose launches are over when they return."""

    def start(self, marks: int) -> None:
        self._at = [time.perf_counter_ns()]

    def mark(self) -> None:
        self._at.append(time.perf_counter_ns())

    def times(self) -> list[int]:
        return [max(b - a, 1) for a, b in zip(self._at, self._at[1:], strict=False)]


def clock(device: torch.device) -> Clock:
    """One for the device."""
    return EventClock() if device.type == "cuda" else HostClock()
