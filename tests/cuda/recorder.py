"""A stand-in for the device's part in recorded plans, and models whose plans are recorded by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from launch import DEVICE, ON_HOST, allow_everything
from test_plan_cuda import HostTarget
from torch import Tensor, nn

from pycnn import compiled
from pycnn.planning import cuda_device
from pycnn.planning.replay import Graphs

Tensors = list[Tensor]


@dataclass
class Stand:
    """A recorder that runs launches where a graph would be replayed, and notes what was asked of it."""

    said: list[str] = field(default_factory=list)
    stream: str = "a"
    captured: bool = False
    broken: bool = False

    def capturing(self) -> bool:
        return self.captured

    def record(self, launch: Callable[[], None]) -> Callable[[], None]:
        if self.broken:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.said.append("record")

        def replay() -> None:
            self.said.append(f"replay on {self.stream}")
            launch()

        return replay

    def wait(self, mark: object) -> None:
        self.said.append(f"{self.stream} waits for {mark}")

    def mark(self, used: Tensors) -> object:
        self.said.append(f"mark {self.stream}{len(self.said)} over {len(used)}")
        return f"{self.stream}{len(self.said) - 1}"

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for line in self.said)


def use(monkeypatch: pytest.MonkeyPatch, graphs: Graphs) -> Stand:
    module, made = allow_everything(), Stand()
    recorder: Any = made if ON_HOST else cuda_device.GraphRecorder(DEVICE)

    def target_of(model: nn.Module, inputs: Tensors, *asked: object) -> Callable[[], object]:
        fields = {"device": inputs[0].device, "dtype": inputs[0].dtype, "tf32": False}
        found = HostTarget(kernels=module, recorder=recorder, graphs=graphs, **fields)
        return lambda: found

    monkeypatch.setattr(compiled, "target_of", target_of)
    return made
