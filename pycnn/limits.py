"""What this machine reaches at best, measured: multiply rate and bandwidths, the roof that layers are held against.

The roofline model (Williams, Waterman, Patterson, 2009): a layer of F operations that moves B bytes takes at least
max(F / rate, B / bandwidth) seconds, the bandwidth being that of the cache which holds its bytes.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

from pycnn import _C

_lock = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """Measured limits of `threads` threads together, kernels of instruction set (and dtype, where not fp32) `isa`.

    Attributes:
        threads, isa: what was measured.
        fma_flops: operations a second, a multiply-add being two, summed in fp32; `fma_1_flops`: of one thread alone.
        l2_bytes_s, l3_bytes_s, dram_bytes_s: bytes read a second from there.
        l2_copy_bytes_s, l3_copy_bytes_s, dram_copy_bytes_s: bytes read plus bytes written a second.
        l2_size_bytes: of a core; l3_size_bytes: of the cores that share one.
    """

    threads: int
    isa: str
    fma_flops: float
    fma_1_flops: float
    l2_bytes_s: float
    l3_bytes_s: float
    dram_bytes_s: float
    l2_copy_bytes_s: float
    l3_copy_bytes_s: float
    dram_copy_bytes_s: float
    l2_size_bytes: int
    l3_size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON; `Limits(**d)` is the way back."""
        return asdict(self)

    def bytes_s(self, resident_bytes: float) -> float:
        """Read bandwidth of the nearest cache that holds `resident_bytes` of all threads together."""
        if resident_bytes <= self.threads * self.l2_size_bytes:
            return self.l2_bytes_s
        return self.l3_bytes_s if resident_bytes <= self.l3_size_bytes else self.dram_bytes_s

    def least_seconds(
        self, flops: float, moved_bytes: float, resident_bytes: float | None = None
    ) -> float:
        """The roof: max(flops / fma_flops, moved_bytes / bytes_s).

        Args:
            flops: operations, a multiply-add being two.
            moved_bytes: read and written, each once.
            resident_bytes: what the caches have to hold for that; default `moved_bytes`.
        """
        resident = moved_bytes if resident_bytes is None else resident_bytes
        return max(flops / self.fma_flops, moved_bytes / self.bytes_s(resident))


def limits(threads: int | None = None, dtype: str = "float32") -> Limits:
    """Measure this machine with `threads` threads; takes about 0.5 s once a process, later calls are free.

    Busy neighbours lower the figures: measure on a quiet machine, or take `better` of two.

    Args:
        threads: default the usable cores (affinity, cgroup quota).
        dtype: of the factors of products, "float32" or "bfloat16".

    Raises:
        ValueError: threads is not a positive integer, dtype another; or there are no kernels of it on this machine.
    """
    count = int(_C.machine()["cores"]) if threads is None else threads
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"limits: threads={threads!r} must be a positive integer")
    with _lock:
        return _measured(count, dtype)


def remeasure(threads: int | None = None) -> Limits:
    """Measure again and keep the better of both, for what a busy moment hid."""
    first = limits(threads)
    with _lock:
        _measured.cache_clear()
    second = limits(first.threads)
    return first if first == second else better(first, second)


def better(a: Limits, b: Limits) -> Limits:
    """The higher of each rate of two measurements of one machine.

    Raises:
        ValueError: they are of different thread counts or instruction sets.
    """
    if (a.threads, a.isa) != (b.threads, b.isa):
        raise ValueError(
            f"limits of {a.threads} threads, {a.isa} and of {b.threads} threads, {b.isa} are not of one kind"
        )
    higher = {f.name: max(getattr(a, f.name), getattr(b, f.name)) for f in fields(Limits)}
    return Limits(**higher)


@functools.cache
def _measured(threads: int, dtype: str) -> Limits:
    machine = _C.machine()
    fma = _C.measure_fma(threads, dtype)
    if fma == 0:
        raise ValueError(f"limits: this machine has no kernels of {dtype}")
    l2, l3 = int(machine["l2_bytes"]), int(machine["l3_bytes"])
    # A thread's share: half its L2; more than its L2, so that nothing stays there, in half the L3, but at most 8 L2 (16
    # MiB of 4 KiB pages miss the TLB: 71 instead of 99 GB/s a core of a Zen 4); four times the L3, and enough of it
    # that no L3 of a machine with several of them holds it.
    sizes = {"l2": l2 // 2, "l3": max(2 * l2, min(8 * l2, l3 // (2 * threads)))}
    sizes["dram"] = max(16 << 20, 4 * l3 // threads)
    rates = {}
    for level, size in sizes.items():
        rates[f"{level}_bytes_s"] = _C.measure_read(threads, size)
        rates[f"{level}_copy_bytes_s"] = _C.measure_copy(threads, size)
    isa = str(machine["isa"])
    return Limits(
        threads=threads,
        isa=isa if dtype == "float32" else f"{isa} {dtype}",
        fma_flops=fma,
        fma_1_flops=fma if threads == 1 else _C.measure_fma(1, dtype),
        l2_size_bytes=l2,
        l3_size_bytes=l3,
        **rates,
    )
