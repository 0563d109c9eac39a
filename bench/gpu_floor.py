"""The least time a GPU allows each network, predicted from its steps and the card's data sheet; nothing is measured.

    python -m bench.gpu_floor             # writes the table of docs/cuda.md
    python -m bench.gpu_floor resnet50 8  # one network at one batch, step by step

Every step takes max(operations / rate, bytes / bandwidth), each byte of activations and weights moved once; what stays
in the L2 between steps takes less, launches take more.
"""

from __future__ import annotations

import sys

import torch

import pycnn
from bench.gpu_pieces import NETWORKS, alive
from bench.report import ROOT, markdown
from pycnn.explain import Report, StepReport
from pycnn.files import write_text

DOCUMENT = ROOT / "docs" / "cuda.md"
BEGIN, END = "<!-- bench:gpu_floor -->", "<!-- /bench -->"
# H200, NVIDIA's data sheet: dense bf16 products, and HBM3e.
RATE, BANDWIDTH = 989e12, 4.8e12
BATCHES = (1, 8, 64, 256)
HALF = 0.5  # bytes of bf16 over those of fp32, which the plan on the CPU moves


def report(name: str, batch: int) -> Report:
    """The steps of a plan, made and not run."""
    fast = pycnn.optimize(alive(name), exact=True)
    x = torch.zeros(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return pycnn.explain(fast, x)


def step_seconds(step: StepReport) -> float:
    """The roof of one step in bf16."""
    return max(step.flops / RATE, HALF * (step.activation_bytes + step.weight_bytes) / BANDWIDTH)


def seconds(found: Report) -> float:
    """The sum over the steps."""
    return sum(map(step_seconds, found.steps))


def table() -> str:
    """Microseconds a call and images a second, a row a network."""
    rows = []
    for name in NETWORKS:
        floors = [seconds(report(name, batch)) for batch in BATCHES]
        rate = BATCHES[-1] / floors[-1]
        rows.append([name, *(f"{floor * 1e6:,.0f}" for floor in floors), f"{rate / 1e3:,.0f} k"])
    return markdown(["network", *(f"batch {b}, µs" for b in BATCHES), "images/s at most"], rows)


def write() -> None:
    """The section of docs/cuda.md; ValueError: it has none."""
    text = DOCUMENT.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{DOCUMENT} has no section {BEGIN} ... {END}")
    write_text(DOCUMENT, f"{before}{BEGIN}\n{table()}\n{END}{after}")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    if not arguments:
        write()
        print(f"written: {DOCUMENT}")
        return 0
    try:
        name, batch = arguments[0], int(arguments[1]) if len(arguments) > 1 else 1
        found = report(name, batch)
    except ValueError as error:
        print(f"gpu_floor: {error}", file=sys.stderr)
        return 1
    for step in found.steps:
        print(f"{step_seconds(step) * 1e6:8.2f} us  {step.op:12} {step.path}")
    print(f"{seconds(found) * 1e6:8.2f} us  at least, batch {batch}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
