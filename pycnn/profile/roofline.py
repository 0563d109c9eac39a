"""The roofline of a profile as data: what the SVG on the page and the PNG both draw.

Williams, Waterman, Patterson: "Roofline: an insightful visual performance model for multicore architectures" (2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycnn.profile.report import Profile

LEVELS = ("L2", "L3", "memory")


@dataclass(frozen=True)
class Point:
    """A layer: operations a byte, operations a second, part of the call's time."""

    name: str
    intensity: float
    flops_s: float
    share: float
    torch: bool


@dataclass(frozen=True)
class Roofline:
    """`roofs`: (name, bytes a second); `peak`: operations a second; the ranges of both axes are powers of ten."""

    points: tuple[Point, ...]
    roofs: tuple[tuple[str, float], ...]
    peak: float
    threads: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def roofline(profile: Profile) -> Roofline:
    """Of the layers that compute something, under the limits of the most threads any of them has."""
    limits = max(profile.limits, key=lambda each: each.threads)
    points = tuple(
        Point(p.path, p.flops / p.bytes, p.flops_s, profile.share(p), not p.kernel)
        for p in profile.layers
        if p.flops > 0 and p.bytes > 0 and p.min_s > 0
    )
    rates = (limits.l2_bytes_s, limits.l3_bytes_s, limits.dram_bytes_s)
    ridge = limits.fma_flops / limits.dram_bytes_s
    xs = [point.intensity for point in points] + [0.1, 10 * ridge]
    ys = [point.flops_s for point in points] + [1.5 * limits.fma_flops, limits.fma_flops / 100]
    return Roofline(
        points,
        tuple(zip(LEVELS, rates, strict=True)),
        limits.fma_flops,
        limits.threads,
        (min(xs) / 1.3, max(xs) * 1.3),
        (min(ys) / 1.3, max(ys) * 1.3),
    )
