"""The profile as one self-contained page: totals, roofline, kernels, every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycnn.page import Bar, Cell, Column, Page
from pycnn.profile.roofline import roofline
from pycnn.profile.svg import draw
from pycnn.work import describe

if TYPE_CHECKING:
    from pycnn.profile.report import Profile


def page(profile: Profile) -> Page:
    """Every layer is one row of the last table."""
    result = Page(f"Profile of {profile.title()}", "; ".join(map(describe, profile.limits)))
    between = profile.call_median_s - profile.sum_median_s
    result.facts(
        {
            "call, median": _ms(profile.call_median_s),
            "call, minimum": _ms(profile.call_min_s),
            "all steps, median": _ms(profile.sum_median_s),
            "call less steps": _ms(between),
            "operations": f"{sum(each.flops for each in profile.layers) / 1e9:,.3f} GFLOP",
            "rate of the call": f"{_rate(profile) / 1e9:,.1f} GFLOP/s",
            "rounds": str(profile.rounds),
        }
    )
    if profile.notes:
        result.items(profile.notes)
    result.section("Roofline")
    caption = (
        "Each circle is a layer, its area the layer's part of the time; hollow where torch runs it. "
        "Operations are those of the direct sum, so Winograd's layers may lie above the roof."
    )
    result.figure(draw(roofline(profile)), caption)
    result.section("By kernel")
    total = sum(each.median_s for each in profile.layers) or 1.0
    kernels = [Column("kernel", path=True), Column("steps", "", "d"), Column("time", "µs", ",.1f")]
    rows: list[list[Cell]] = [
        [name, count, seconds * 1e6, Bar(100 * seconds / total, seconds / total)]
        for name, count, seconds in profile.kernels()
    ]
    result.table([*kernels, Column("part of the time", "%", ".1f")], rows)
    result.section("By layer, in order")
    _layers(result, profile)
    return result


def _layers(result: Page, profile: Profile) -> None:
    columns = [
        Column("layer", path=True),
        Column("kernel", path=True),
        Column("output"),
        Column("threads", "", "d"),
        Column("min", "µs", ",.1f"),
        Column("median", "µs", ",.1f"),
        Column("part", "%", ".1f"),
        Column("rate", "GFLOP/s", ",.1f"),
        Column("moved", "GB/s", ",.1f"),
        Column("of the limit", "%", ".0f"),
        Column("bound"),
    ]
    rows: list[list[Cell]] = [
        [
            layer.path,
            layer.kernel or f"torch: {layer.op}",
            "×".join(map(str, layer.shape)),
            layer.workers,
            layer.min_s * 1e6,
            layer.median_s * 1e6,
            Bar(100 * profile.share(layer), profile.share(layer)),
            layer.flops_s / 1e9 if layer.flops else None,
            layer.bytes_s / 1e9,
            Bar(layer.percent, layer.percent / 100),
            layer.bound,
        ]
        for layer in profile.layers
    ]
    result.table(columns, rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.3f} ms"


def _rate(profile: Profile) -> float:
    flops = sum(each.flops for each in profile.layers)
    return flops / profile.call_median_s if profile.call_median_s > 0 else 0.0
