"""What is timed and what is found: plain data, the same in Python and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """One network of the zoo, newly initialised with seed 0, on images of `size` pixels each way; None: its own."""

    model: str
    batch: int
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Workload:
        """`NAME`, `NAME:BATCH` or `NAME:BATCH:SIZE`.

        Raises:
            ValueError: the batch or the size is not a positive integer, or there is more.
        """
        name, *numbers = text.split(":")
        for what, number in zip(("batch", "size", "rest"), numbers, strict=False):
            if what == "rest" or not (number.isdecimal() and int(number) > 0):
                raise ValueError(f"workload {text!r}: the {what} must be a positive integer")
        return cls(name, *(map(int, numbers or ["1"])))

    @property
    def label(self) -> str:
        """For a table."""
        return f"{self.model} {self.batch}" + ("" if self.size is None else f" at {self.size}²")

    @property
    def title(self) -> str:
        """For a sentence."""
        size = "" if self.size is None else f", {self.size}×{self.size}"
        return f"{self.model}, batch {self.batch}{size}"


@dataclass(frozen=True)
class Timing:
    """One engine on one workload.

    Attributes:
        min_s, p20_s, median_s: seconds a call, over `calls` calls; for an engine which keeps `requests` calls in flight
            at a time, seconds of wall time divided by `requests`.
        error: max|y - ref| / max|ref| over all outputs, ref the network in fp64.
        stalls: calls which took more than twice the median of their turn.
        build_s: seconds of export, conversion and compilation before the first call.
        first_call_s: seconds of the first call, in which torch.compile compiles, and pycnn captures, packs and plans.
        second_shape_s: the first call at another batch size less a steady call at that size; None where the engine was
            built for one shape.
        peak_bytes: the most memory the process has had (VmHWM), building included.
        foreign_cpus: processors' worth of work that others did during the engine's turns, steal time included.
    """

    workload: Workload
    engine: str
    min_s: float
    p20_s: float
    median_s: float
    calls: int
    error: float
    requests: int = 1
    stalls: int = 0
    build_s: float = 0.0
    first_call_s: float = 0.0
    second_shape_s: float | None = None
    peak_bytes: int = 0
    foreign_cpus: float = 0.0

    @property
    def setup_s(self) -> float:
        """Seconds until the engine is steady: building, and what the first call takes more than a steady one."""
        return self.build_s + max(0.0, self.first_call_s - self.requests * self.median_s)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timing:
        """The way back from `dataclasses.asdict`."""
        return cls(**{**data, "workload": Workload(**data["workload"])})


@dataclass(frozen=True)
class Failure:
    """An engine could not run a workload; `sentence` is its own first line."""

    workload: Workload
    engine: str
    sentence: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Failure:
        """The way back from `dataclasses.asdict`."""
        return cls(**{**data, "workload": Workload(**data["workload"])})
