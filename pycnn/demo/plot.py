"""demo.png: held-out digits with their predictions, and the engines' times as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycnn.demo.compare import Comparison, speedup
from pycnn.demo.digits import Digits
from pycnn.extras import load_matplotlib
from pycnn.files import whole_file
from pycnn.timing import TORCH_ENGINES, Timing

COLOURS = {"torch NCHW": "#9aa5b1", "torch NHWC": "#5c6b7a", "pycnn": "#d1495b"}
SHOWN = 24


def write_plot(path: Path, digits: Digits, comparison: Comparison, timings: list[Timing]) -> None:
    """Draw and save; `path` is either whole or as it was before."""
    figure_class, canvas_class = load_matplotlib("demo")
    figure = figure_class(figsize=(12, 5), layout="constrained")
    canvas_class(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2))
    _draw_digits(left, digits, comparison)
    _draw_times(right, timings)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _draw_digits(figure: Any, digits: Digits, comparison: Comparison) -> None:
    figure.suptitle(
        f"held-out digits and pycnn's predictions\naccuracy {comparison.accuracy_pycnn:.4f}, "
        f"{comparison.different} of {comparison.images} differ from torch"
    )
    for i, axes in enumerate(figure.subplots(4, SHOWN // 4).flat):
        label = comparison.predictions[i]
        axes.imshow(digits.test_x[i, 0].numpy(), cmap="gray_r")
        right = label == int(digits.test_y[i])
        axes.set_title(str(label), color="black" if right else "red", fontsize=10)
        axes.axis("off")


def _draw_times(figure: Any, timings: list[Timing]) -> None:
    workloads = list(dict.fromkeys(t.workload for t in timings))
    figure.suptitle(
        "µs a call (20th percentile) and speed-up over the faster torch,\neach engine in its own process"
    )
    panels = figure.subplots(len(workloads), 1, squeeze=False)[:, 0]
    for axes, workload in zip(panels, workloads, strict=True):
        rows = [t for t in timings if t.workload == workload]
        bars = axes.barh(
            [t.engine for t in rows],
            [t.p20_s * 1e6 for t in rows],
            color=[COLOURS[name] for name in TORCH_ENGINES],
        )
        texts = [f"{t.p20_s * 1e6:,.0f} µs   {speedup(t, timings):.2f}×" for t in rows]
        axes.bar_label(bars, texts, padding=3, fontsize=9)
        axes.set_title(f"{workload.model}, batch {workload.batch}", fontsize=10, loc="left")
        axes.invert_yaxis()
        axes.margins(x=0.35)
        axes.spines[["top", "right"]].set_visible(False)
