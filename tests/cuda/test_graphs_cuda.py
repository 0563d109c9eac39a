"""One plan's graph by itself: streams, threads, room; and what is asked of torch.cuda."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from launch import DEVICE, on_host
from recorder import Stand, Tensors
from torch import Tensor

from pycnn.planning import cuda_device
from pycnn.planning.replay import Graphs, Replay


class Doubling:
    """A plan of one step, in some time."""

    memory_bytes = 64

    def new_memory(self) -> Tensor:
        return torch.empty(16)

    def run_in(self, memory: Tensor, inputs: Tensors, outputs: Tensors) -> None:
        memory.copy_(inputs[0])
        threading.Event().wait(0.0005)
        torch.mul(memory, 2, out=outputs[0])


def test_replays_of_several_streams_follow_each_other() -> None:
    """Each waits for the one before it, whatever stream that was on, copies in, replays, copies out, and marks."""
    stand = Stand()
    replay = Replay(stand, Graphs())
    x, y = torch.ones(16), torch.zeros(16)
    assert not replay.run(Doubling(), [x], [y])
    for stream in "aba":
        stand.stream = stream
        assert replay.run(Doubling(), [x], [y])
    assert stand.said == [
        "record",
        "mark a1 over 0",
        "a waits for a1",
        "replay on a",
        "mark a4 over 3",
        "b waits for a4",
        "replay on b",
        "mark b7 over 3",
        "a waits for b7",
        "replay on a",
        "mark a10 over 3",
    ]


def test_threads_never_share_a_graphs_memory_at_once() -> None:
    replay, plan, wrong = Replay(Stand(), Graphs()), Doubling(), []

    def work(number: int) -> None:
        for i in range(20):
            x, y = torch.full((16,), float(number * 100 + i)), torch.zeros(16)
            if not replay.run(plan, [x], [y]):
                plan.run_in(plan.new_memory(), [x], [y])
            if not torch.equal(y, 2 * x):
                wrong.append((number, i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Interrupted(Stand):
    """Somebody else's plan takes the room while this one is recorded, or replayed."""

    def record(self, launch: Callable[[], None]) -> Callable[[], None]:
        if self.at == "record":
            self.graphs.admit(self.other, 200)
        return super().record(launch)

    def wait(self, mark: object) -> None:
        if self.at == "wait":
            self.graphs.admit(self.other, 200)
        super().wait(mark)


@pytest.mark.parametrize("at", ["record", "wait"])
def test_a_graph_that_makes_room_while_it_runs_ends_its_call(at: str) -> None:
    graphs, plan = Graphs(limit=300), Doubling()
    stand, other = Interrupted(), Replay(Stand(), graphs)
    stand.graphs, stand.other, stand.at = graphs, other, at
    replay, x, y = Replay(stand, graphs), torch.ones(16), torch.zeros(16)
    assert not replay.run(plan, [x], [y])
    assert replay.run(plan, [x], [y]) and torch.equal(y, 2 * x)
    assert str(replay) == "a CUDA graph from the next calls on" and graphs.bytes() == 200
    assert not replay.run(plan, [x], [y])
    del other, stand.other
    gc.collect()
    assert graphs.bytes() == 0


@on_host
def test_what_the_recorder_asks_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream beside the caller's, other threads undisturbed; marks are events of the current stream."""
    said: list[str] = []

    class Event:
        pass

    class Stream:
        def __init__(self, device: torch.device | None = None) -> None:
            self.name = "current" if device is None else "beside"

        def wait_event(self, event: Event) -> None:
            said.append(f"{self.name} waits")

        def record_event(self) -> Event:
            said.append(f"{self.name} is marked")
            return Event()

    class Used:
        def record_stream(self, stream: Stream) -> None:
            said.append(f"used on {stream.name}")

    class Graph:
        def replay(self) -> None:
            said.append("replay")

    @contextmanager
    def graph(graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        said.append(f"capture on {stream.name}, {capture_error_mode}")
        yield
        said.append("captured")

    for name, fake in (
        ("Event", Event),
        ("Stream", Stream),
        ("CUDAGraph", Graph),
        ("graph", graph),
    ):
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    recorder = cuda_device.GraphRecorder(DEVICE)
    replay = recorder.record(lambda: said.append("launch"))
    recorder.wait(recorder.mark([Used()]))  # type: ignore[list-item]
    replay()
    assert said == [
        "capture on beside, thread_local", "launch", "captured",
        "used on current", "current is marked", "current waits", "replay",
    ]  # fmt: skip
