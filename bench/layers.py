"""Every convolution of a network against the machine's own multiply rate, batch 1, as the plan runs it.

    python bench/layers.py [bench/shapes/resnet50.txt] [--batch N] [--threads N] [--json FILE]

Prints time, GFLOP/s and the percentage of the measured fp32 rate for each layer, with the error against torch in fp64.
Each layer is timed as the minimum and the 20th percentile over rounds; run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

import pycnn
from pycnn import _C
from pycnn.planning.homes import pixel_stride

REPEAT, ROUNDS, MIN_PIXELS, FLOOR = 4, 40, 196, 80
NONE = ("none", 0)


@dataclass(frozen=True)
class Layer:
    name: str
    times: int
    h: int
    w: int
    c: int
    k: int
    kernel: int
    stride: int
    padding: int

    def params(self, batch: int) -> dict[str, float]:
        oh, ow = ((s + 2 * self.padding - self.kernel) // self.stride + 1 for s in (self.h, self.w))
        return {
            "n": batch, "h": self.h, "w": self.w, "c": self.c, "k": self.k, "act": pycnn.ops.ACTS["relu"],
            "kh": self.kernel, "kw": self.kernel, "sh": self.stride, "sw": self.stride, "oh": oh, "ow": ow,
            "ph": self.padding, "pw": self.padding, "ldx": pixel_stride(self.c), "ldy": pixel_stride(self.k),
        }  # fmt: skip

    def counts(self, batch: int) -> bool:
        """Whether the speed floor names this layer: stride-1 1x1 or 3x3 with at least 196 pixels."""
        return self.stride == 1 and self.kernel in (1, 3) and batch * self.h * self.w >= MIN_PIXELS


@dataclass(frozen=True)
class Result:
    layer: Layer
    kernel: str
    us: float
    p20_us: float
    gflops: float
    error: float
    counts: bool


def read(path: Path) -> list[Layer]:
    rows = [line.split() for line in path.read_text().splitlines() if line and line[0] != "#"]
    return [Layer(name, *map(int, numbers)) for name, *numbers in rows]


def measure(layer: Layer, batch: int, threads: int) -> Result:
    p = layer.params(batch)
    kernel = _C.choose("conv2d", p, threads)
    pixels = (batch, int(p["oh"]), int(p["ow"]))
    x = torch.zeros(batch, layer.h, layer.w, int(p["ldx"]))
    x[..., : layer.c] = torch.randn(batch, layer.h, layer.w, layer.c)
    weight = (
        torch.randn(layer.k, layer.c, layer.kernel, layer.kernel)
        / (layer.c * layer.kernel**2) ** 0.5
    )
    bias, y = torch.randn(layer.k), torch.empty(*pixels, int(p["ldy"]))
    packed = torch.empty(_C.packed_size("conv2d", kernel, p))
    _C.pack("conv2d", kernel, p, weight.data_ptr(), packed.data_ptr())
    plan = _C.Plan(0, 4 * _C.workspace("conv2d", kernel, p, threads), threads, 1, 1)
    constants = ("const", packed.data_ptr()), ("const", bias.data_ptr())
    for _ in range(REPEAT):
        plan.add("conv2d", kernel, p, ("input", 0), NONE, *constants, ("output", 0))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        plan.run_single(x.data_ptr(), y.data_ptr())
        times.append((time.perf_counter() - start) / REPEAT)
    maps = x[..., : layer.c].permute(0, 3, 1, 2).double()
    ref = F.conv2d(maps, weight.double(), bias.double(), layer.stride, layer.padding).relu()
    error = float((y[..., : layer.k].permute(0, 3, 1, 2) - ref).abs().max() / ref.max())
    rate = 2 * batch * pixels[1] * pixels[2] * weight.numel() / min(times)
    p20 = statistics.quantiles(times, n=5)[0]
    us, p20 = min(times) * 1e6, statistics.quantiles(times, n=5)[0] * 1e6
    return Result(layer, kernel, us, p20, rate / 1e9, error, layer.counts(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "shapes", nargs="?", type=Path, default=Path(__file__).parent / "shapes/resnet50.txt"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=int(_C.machine()["cores"]))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    # Before and after, the better of the two: a busy moment would flatter every layer.
    before = _C.measure_fma(options.threads)
    results = [measure(layer, options.batch, options.threads) for layer in read(options.shapes)]
    peak = max(before, _C.measure_fma(options.threads))
    table = Table(
        title=f"{options.shapes.stem}, batch {options.batch}, {options.threads} threads, "
        f"{peak / 1e9:.0f} GFLOP/s measured, torch {torch.__version__}, {_C.machine()['isa']}"
    )
    for title in (
        "layer",
        "x",
        "kernel",
        "min us",
        "p20 us",
        "GFLOP/s",
        "% of rate",
        "error",
        f">= {FLOOR} %",
    ):
        table.add_column(title, justify="left" if title in ("layer", "kernel") else "right")
    for r in results:
        percent = 100e9 * r.gflops / peak
        verdict = "" if not r.counts else "yes" if percent >= FLOOR else "no"
        table.add_row(
            r.layer.name, str(r.layer.times), r.kernel, f"{r.us:.0f}", f"{r.p20_us:.0f}", f"{r.gflops:.0f}",
            f"{percent:.0f}", f"{r.error:.1e}", verdict,
        )  # fmt: skip
    Console(width=130).print(table)
    if options.json:
        data = {"machine": _C.machine(), "peak": peak, "torch": torch.__version__}
        rows = [asdict(r) for r in results]
        options.json.write_text(
            json.dumps({**data, "threads": options.threads, "layers": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
