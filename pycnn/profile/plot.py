"""The roofline as a PNG, by matplotlib."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pycnn.extras import load_matplotlib
from pycnn.files import whole_file
from pycnn.profile.roofline import roofline

if TYPE_CHECKING:
    from pycnn.profile.report import Profile

INK, COLOUR = "#5c6b7a", "#d1495b"
NAMED = 6  # layers written beside their circles: those that take most of the time


def write_plot(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Draw and save; `path` is either whole or as it was."""
    figure_class, canvas_class = load_matplotlib()
    figure = figure_class(figsize=(11, 6.5), layout="constrained")
    canvas_class(figure)
    axes = figure.subplots()
    data = roofline(profile)
    axes.set(xscale="log", yscale="log", xlim=data.x_range)
    axes.set_ylim(data.y_range[0] / 1e9, data.y_range[1] / 1e9)
    axes.set(xlabel="FLOP a byte moved", ylabel="GFLOP/s")
    for style, (name, bytes_s) in zip(("-", "--", ":"), data.roofs, strict=True):
        ridge = data.peak / bytes_s
        label = f"{name}: {bytes_s / 1e9:,.0f} GB/s"
        ends = [data.x_range[0], ridge, data.x_range[1]]
        heights = [data.x_range[0] * bytes_s / 1e9, data.peak / 1e9, data.peak / 1e9]
        axes.plot(ends, heights, color=INK, linestyle=style, label=label)
    points = sorted(data.points, key=lambda point: -point.share)
    axes.scatter(
        [point.intensity for point in points],
        [point.flops_s / 1e9 for point in points],
        s=[20 + 3000 * point.share for point in points],
        facecolors=["none" if point.torch else COLOUR for point in points],
        edgecolors=COLOUR,
        alpha=0.6,
    )
    for number, point in enumerate(points[:NAMED], start=1):
        label = f"{number}. {point.name}: {100 * point.share:.1f} % of the time"
        axes.plot([], [], " ", label=label)
        at = (point.intensity, point.flops_s / 1e9)
        axes.annotate(str(number), at, ha="center", va="center", fontsize=8)
    axes.set_title(
        f"{profile.title()}: {profile.call_median_s * 1e3:,.3f} ms a call; "
        f"limit {data.peak / 1e9:,.0f} GFLOP/s of {data.threads} threads",
        loc="left",
        fontsize=11,
    )
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
