"""The compiled extension: kernels by name, plans, and the watch over a live model (csrc/runtime/bind.cpp)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

# kind, then: byte offset, address or index; byte offset in an input or output; in a section, bytes from image to image
# and from worker to worker
Slot = tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int, int]

def machine() -> dict[str, Any]: ...
def ops() -> list[str]: ...
def fields(op: str) -> list[str]: ...
def kernels(
    op: str, params: Mapping[str, float], dtype: str = "float32"
) -> list[tuple[str, str | None]]: ...
def choose(op: str, params: Mapping[str, float], workers: int, dtype: str = "float32") -> str: ...
def packed_size(op: str, kernel: str, params: Mapping[str, float]) -> int: ...
def pack(op: str, kernel: str, params: Mapping[str, float], w: int, out: int) -> None: ...
def workspace(op: str, kernel: str, params: Mapping[str, float], workers: int) -> int: ...
def run(
    op: str,
    kernel: str,
    params: Mapping[str, float],
    x: int,
    residual: int,
    w: int,
    bias: int,
    y: int,
    workers: int,
    gate: int = 0,
) -> None: ...
def measure_fma(workers: int, dtype: str = "float32") -> float: ...
def measure_read(workers: int, bytes: int) -> float: ...
def measure_copy(workers: int, bytes: int) -> float: ...

class Buffer:
    """fp32 memory for kernels, 64-byte aligned, not initialised; gives its memory through the buffer protocol."""

    def __init__(self, floats: int) -> None: ...

class Arenas:
    """Memory that the plans made with it run in; ``bytes``: what no call is using just now, of ``most`` buffers."""

    def __init__(self, most: int = 64) -> None: ...
    @property
    def bytes(self) -> int: ...

class Loan:
    """At least so many bytes of the arenas' memory, 64-byte aligned, not initialised, until nothing refers to it;
    gives it through the buffer protocol."""

    def __init__(self, arenas: Arenas, bytes: int) -> None: ...

class Plan:
    def __init__(
        self,
        arena_bytes: int,
        workspace_bytes: int,
        workers: int,
        n_inputs: int,
        n_outputs: int,
        pool: bool = True,
        arenas: Arenas | None = None,
        wakes: bool = True,
    ) -> None: ...
    def add(
        self,
        op: str,
        kernel: str,
        params: Mapping[str, float],
        x: Slot,
        residual: Slot,
        w: Slot,
        bias: Slot,
        y: Slot,
        gate: Slot = ("none", 0),
    ) -> None: ...
    def section(self, begin: int, end: int, images: int) -> None: ...
    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None: ...
    def run_single(self, input: int, output: int) -> None: ...
    def run_in(self, memory: int, inputs: Sequence[int], outputs: Sequence[int]) -> None: ...
    def run_timed(self, inputs: Sequence[int], outputs: Sequence[int]) -> list[int]: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def workers(self) -> int: ...
    def __len__(self) -> int: ...

def direct_calls(
    entries: list[
        tuple[
            tuple[int, ...],  # shape
            tuple[int, ...],  # stride
            torch.dtype,
            torch.device,
            int,  # threads of torch
            Guard,
            Callable[[torch.Tensor], Any],
            Plan | None,  # run instead of the callable, into memory like the next
            torch.Tensor | None,
        ]
    ],
) -> Callable[[object], Any]: ...

class Guard:
    def __init__(self) -> None: ...
    def watch_item(self, holder: dict[str, Any], key: str, value: object) -> None: ...
    def watch_tensor(self, holder: dict[str, Any], key: str, tensor: object) -> None: ...
    def watch_size(self, holder: dict[Any, Any]) -> None: ...
    def changed(self) -> list[int]: ...
    def holds(self) -> bool: ...
