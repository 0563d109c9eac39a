"""What is timed and what is found: plain data, the same in Python and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """One network, newly initialised with seed 0, on images of `size` (h, w); None: its own.

    `model` is a name of the zoo, or `torchvision/NAME` or `timm/NAME` of a network of those libraries.
    """

    model: str
    batch: int
    size: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Workload:
        """`NAME`, `NAME:BATCH` or `NAME:BATCH:SIZE`, the size as `parse_size` takes it.

        Raises:
            ValueError: the batch is not a positive integer, the size is none, or there is more.
        """
        where = f"workload {text!r}"
        name, *numbers = text.split(":")
        if len(numbers) > 2:
            raise ValueError(f"{where}: there is more than NETWORK:BATCH:SIZE")
        if numbers and not _positive(numbers[0]):
            raise ValueError(f"{where}: the batch must be a positive integer")
        size = parse_size(numbers[1], where) if len(numbers) > 1 else None
        return cls(name, int(numbers[0]) if numbers else 1, size)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Workload:
        """The way back from `dataclasses.asdict`, through JSON too."""
        size = data.get("size")
        return cls(data["model"], data["batch"], None if size is None else (size[0], size[1]))

    @property
    def network(self) -> str:
        """The network and, where it is not its own, the image size."""
        return self.model + self._at

    @property
    def label(self) -> str:
        """For a table."""
        return f"{self.model} {self.batch}{self._at}"

    @property
    def _at(self) -> str:
        if self.size is None:
            return ""
        h, w = self.size
        return f" at {h}²" if h == w else f" at {h}×{w}"

    @property
    def title(self) -> str:
        """For a sentence."""
        size = "" if self.size is None else f", {self.size[0]}×{self.size[1]}"
        return f"{self.model}, batch {self.batch}{size}"


def parse_size(text: str, where: str) -> tuple[int, int]:
    """(h, w) of `SIZE`, pixels each way, or of `HEIGHTxWIDTH`; `where` begins the sentence of an error.

    Raises:
        ValueError: it is neither.
    """
    h, x, w = text.partition("x")
    w = w if x else h
    if not (_positive(h) and _positive(w)):
        raise ValueError(f"{where}: the size must be a positive integer or HEIGHTxWIDTH")
    return int(h), int(w)


def _positive(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


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
        return cls(**{**data, "workload": Workload.from_dict(data["workload"])})


@dataclass(frozen=True)
class Failure:
    """An engine could not run a workload; `sentence` is its own first line."""

    workload: Workload
    engine: str
    sentence: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Failure:
        """The way back from `dataclasses.asdict`."""
        return cls(**{**data, "workload": Workload.from_dict(data["workload"])})
