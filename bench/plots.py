"""A record as pictures: times as dots, layers under the machine's roof. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.layers import of_roof
from pycnn.extras import load_matplotlib
from pycnn.files import whole_file
from pycnn.timing import ENGINES, Record
from pycnn.timing.table import dtype_of, speedup, workloads

COLOURS = {
    "torch NCHW": "#9aa5b1", "torch NHWC": "#5c6b7a", "torch.compile": "#3b6ea5", "ONNX Runtime": "#6a9f58",
    "OpenVINO": "#8e6bbf", "OpenVINO throughput": "#c3b1e1", "pycnn exact": "#eda3ac", "pycnn": "#d1495b",
}  # fmt: skip
BOUND = {"multiply": "#d1495b", "memory": "#3b6ea5"}


def _figure(**size: Any) -> Any:
    figure_class, canvas_class = load_matplotlib()
    figure = figure_class(layout="constrained", **size)
    canvas_class(figure)
    return figure


def _save(figure: Any, path: Path) -> Path:
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=110)
    return path


def times(record: Record, path: Path) -> Path:
    """One row a workload, one dot an engine of fp32: its p20 over pycnn's."""
    found = [w for w in workloads(record.timings) if speedup(record.timings, w) is not None]
    own = {t.workload: t.p20_s for t in record.timings if t.engine == "pycnn"}
    figure = _figure(figsize=(9, 1.6 + 0.27 * len(found)))
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.axvline(1, color=COLOURS["pycnn"], label="pycnn")
    for engine in (n for n in ENGINES if dtype_of(n) == "float32" and n != "pycnn"):
        dots = [
            (t.p20_s / own[t.workload], found.index(t.workload))
            for t in record.timings
            if t.engine == engine and t.workload in found
        ]
        if dots:
            axes.scatter(*zip(*dots, strict=True), color=COLOURS[engine], label=engine, zorder=2)
    axes.set_yticks(range(len(found)), [w.label for w in found], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(
        f"time a call (20th percentile) over pycnn's, each engine in its own process\n"
        f"{record.cpu}, {record.threads} threads, {record.date[:10]}",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def roofline(record: Record, path: Path) -> Path:
    """Layers by operations a byte and rate, under the multiply rate and the bandwidths."""
    limits = record.limits
    figure = _figure(figsize=(9, 6))
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    points = [(r["flops"] / r["bytes"], r["flops"] / r["min_s"] / 1e9, r) for r in record.layers]
    low, high = min(p[0] for p in points) / 2, max(p[0] for p in points) * 2
    for word, style in (("l2", "-"), ("l3", "--"), ("dram", ":")):
        rate = getattr(limits, f"{word}_bytes_s")
        corner = min(high, limits.fma_flops / rate)
        ends = [low, corner, max(corner, high)]
        heights = [min(limits.fma_flops, x * rate) / 1e9 for x in ends]
        label = f"{word.upper()} {rate / 1e9:.0f} GB/s"
        axes.plot(ends, heights, style, color="#333333", label=label, linewidth=1)
    for bound, colour in BOUND.items():
        mine = [p for p in points if of_roof(p[2], limits)[1] == bound]
        sizes = [20 + 8 * p[2]["times"] for p in mine]
        axes.scatter(
            [p[0] for p in mine], [p[1] for p in mine], sizes, color=colour, alpha=0.6,
            label=f"layers whose roof is {bound}",
        )  # fmt: skip
    names = ", ".join(dict.fromkeys(r["network"] for r in record.layers))
    axes.set_title(
        f"{names}\n{record.cpu}, {record.threads} threads, {limits.fma_flops / 1e9:.0f} GFLOP/s fp32",
        fontsize=10,
    )
    axes.set_xlabel("operations a byte (input, weights, output, each once)")
    axes.set_ylabel("GFLOP/s (of direct convolution)")
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3, which="both")
    return _save(figure, path)


def draw(record: Record, outside: Record, folder: Path, kind: str = "png") -> list[Path]:
    """The pictures both parts of a record have figures for, in `folder`, which is made; kind: png, or svg as the
    documents show."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for part, name in ((record, "networks"), (outside, "outside")):
        if any(speedup(part.timings, w) is not None for w in workloads(part.timings)):
            drawn.append(times(part, folder / f"{name}.{kind}"))
    if record.layers:
        drawn.append(roofline(record, folder / f"roofline.{kind}"))
    return drawn
