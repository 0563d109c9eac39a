"""Plans whose launches are recorded once and then replayed, one call in place of one for each kernel.

What is recorded reads and writes the same memory every time: inputs are copied in, results out into the caller's
tensors. A plan is recorded at its second call, the first one having made all that launches need. All that is recorded
in a process shares a number of bytes; it goes with the plan, so that packed weights are there as long as it is.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger("pycnn.replay")

KEPT_BYTES = 1 << 30  # of all graphs of a process
_SECOND = 2  # call, at which a plan is recorded
_BACK_OFF = 8  # times as many calls before a plan that had to make room is recorded again

Tensors = Sequence[Tensor]


class Recorder(Protocol):
    """A device's part in it. Calls are about the current stream."""

    def capturing(self) -> bool:
        """Whether the caller records the stream himself."""

    def record(self, launch: Callable[[], None]) -> Callable[[], None]:
        """A function that puts on the stream what `launch` does; nothing of it runs now. RuntimeError: it cannot."""

    def wait(self, mark: object) -> None:
        """What the stream gets from now on waits for all that came before the mark, on whatever stream."""

    def mark(self, used: Tensors) -> object:
        """A mark behind all that the stream was given so far, which uses these tensors' memory."""


class Recordable(Protocol):
    """What a plan tells."""

    @property
    def memory_bytes(self) -> int:
        """Of its values and workspace."""

    def new_memory(self) -> Tensor:
        """For `run_in`."""

    def run_in(self, memory: Tensor, inputs: Tensors, outputs: Tensors) -> None:
        """Launch every step."""


@dataclass
class _Recorded:
    """`last`: behind the newest replay, for which the next one waits: they share memory."""

    replay: Callable[[], None]
    memory: Tensor
    inputs: Tensors
    outputs: Tensors
    last: object


class Graphs:
    """Which plans are recorded: within `limit` bytes, the one not used for longest dropped first. Thread-safe."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._sizes: weakref.WeakKeyDictionary[Replay, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def admit(self, replay: Replay, size: int) -> None:
        """Make room for it."""
        with self._lock:
            self._sizes.pop(replay, None)
            while self._sizes and sum(self._sizes.values()) + size > self.limit:
                oldest = next(iter(self._sizes))
                del self._sizes[oldest]
                oldest.drop()
            self._sizes[replay] = size

    def used(self, replay: Replay) -> bool:
        """It is the newest from now on; False: it had to make room."""
        with self._lock:
            size = self._sizes.pop(replay, None)
            if size is not None:
                self._sizes[replay] = size
            return size is not None

    def release(self, replay: Replay) -> None:
        """It needs no room."""
        with self._lock:
            self._sizes.pop(replay, None)

    def bytes(self) -> int:
        """Of all that are recorded."""
        with self._lock:
            return sum(self._sizes.values())


class Replay:
    """Of one plan. `reason`: why it is never recorded."""

    def __init__(self, recorder: Recorder, graphs: Graphs) -> None:
        self._recorder, self._graphs = recorder, graphs
        self._lock = threading.Lock()  # one call at a time: they share memory
        self._held: _Recorded | None = None
        self._calls, self._wanted = 0, _SECOND
        self.reason = ""

    def __str__(self) -> str:
        if self.reason:
            return f"no CUDA graph: {self.reason}"
        held = self._held
        if held is None:
            return f"a CUDA graph from the {'second call' if self._wanted == _SECOND else 'next calls'} on"
        return f"a CUDA graph, which keeps {_bytes(held) / 2**20:.2f} MiB"

    def run(self, plan: Recordable, inputs: Tensors, outputs: Tensors) -> bool:
        """Fill the outputs by a replay; False: not this time."""
        if self.reason or self._recorder.capturing():
            return False
        with self._lock:
            held = self._held or self._recorded(plan, inputs, outputs)
            if held is None:
                return False
            self._recorder.wait(held.last)
            _copy(held.inputs, inputs)
            held.replay()
            _copy(outputs, held.outputs)
            held.last = self._recorder.mark([held.memory, *held.inputs, *held.outputs])
            if not self._graphs.used(self):
                self._held = None
        return True

    def drop(self) -> None:
        """Make room: a call that runs now ends with what it has."""
        self._held, self._calls = None, 0
        self._wanted *= _BACK_OFF

    def _recorded(self, plan: Recordable, inputs: Tensors, outputs: Tensors) -> _Recorded | None:
        """The plan, recorded if this call is the one to do it."""
        self._calls += 1
        if self._calls < self._wanted:
            return None
        size = plan.memory_bytes + sum(t.nbytes for t in (*inputs, *outputs))
        if size > self._graphs.limit:
            self.reason = f"it would keep {size} bytes, more than {self._graphs.limit}"
            return None
        self._graphs.admit(self, size)
        try:
            held = self._record(plan, inputs, outputs)
        except RuntimeError as error:
            self._graphs.release(self)
            self.reason = f"it cannot be recorded: {error}"
            log.warning("a plan runs launch by launch: %s", self.reason)
            return None
        self._held = held
        return held

    def _record(self, plan: Recordable, inputs: Tensors, outputs: Tensors) -> _Recorded:
        with torch.inference_mode(False):  # calls outside of it write into these tensors too
            memory = plan.new_memory()
            own, made = ([torch.empty_like(t) for t in of] for of in (inputs, outputs))
        replay = self._recorder.record(lambda: plan.run_in(memory, own, made))
        return _Recorded(replay, memory, own, made, self._recorder.mark([]))


def _copy(to: Tensors, of: Tensors) -> None:
    for a, b in zip(to, of, strict=True):
        a.copy_(b)


def _bytes(held: _Recorded) -> int:
    return sum(t.nbytes for t in (held.memory, *held.inputs, *held.outputs))


shared_graphs = Graphs()
