"""The least time a GPU allows each network, and what its CUDA plan is predicted to take; nothing is measured.

    python -m bench.gpu_floor             # writes the table of docs/cuda.md
    python -m bench.gpu_floor resnet50 8  # one network at one batch, step by step
    python -m bench.gpu_floor resnet50 8 --blocks  # with the kernels of several layers

The floor of a step is max(operations / rate, bytes / bandwidth), from an H200's data sheet, each byte of activations
and weights moved once. The prediction is csrc/base/cuda/cost.h's, of the kernel that the plan has for the step: waves
of tiles over the SMs, what tiles read of the L2, waits for memory, and what each launch of a CUDA graph costs. What
stays in the L2 between steps takes less than either.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from bench.gpu_convs import wgmma_on
from bench.gpu_pieces import NETWORKS, alive
from bench.host_kernels import built
from bench.report import ROOT
from bench.tables import markdown
from pycnn.files import write_text
from pycnn.frontend import capture
from pycnn.passes import WITH_PROLOGUES, run_passes
from pycnn.planning.cuda import CudaTarget
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights
from pycnn.work import work_of

DOCUMENT = ROOT / "docs" / "cuda.md"
BEGIN, END = "<!-- bench:gpu_floor -->", "<!-- /bench -->"
BATCHES = (1, 8, 64, 256)
BOUNDS = ("products", "l2", "waits", "memory")  # of a launch, as the kernels' predict() names them


@dataclass(frozen=True)
class Forecast:
    """Of one step: seconds, the prediction with the launch; `bound`: what it waits for."""

    kernel: str
    path: str
    floor: float
    predicted: float
    bound: str


def target(kernels: ModuleType) -> CudaTarget:
    """Plans of bf16, which are made and not run."""
    return CudaTarget(kernels=kernels, device=torch.device("cpu"), dtype=torch.bfloat16, tf32=False)


def program(name: str, on: CudaTarget) -> Program:
    """The network, planned for `on`."""
    net = alive(name).to(on.dtype)
    with torch.no_grad():
        graph = run_passes(
            capture(net, (torch.zeros(1, 3, 224, 224, dtype=on.dtype),), dtype=on.dtype),
            WITH_PROLOGUES,
        )
    return Program(graph, Weights(graph.tensors, on), lambda: on)


def forecasts(
    planned: Program, batch: int, wgmma: bool = False, blocks: bool = False
) -> list[Forecast]:
    """The steps of a call; with `wgmma` the kernels of Hopper's own instructions may be among them, with `blocks` those
    of several layers."""
    x = torch.empty(batch, 3, 224, 224, dtype=torch.bfloat16)
    on, given = planned.target(), [x.contiguous(memory_format=torch.channels_last)]
    assert isinstance(on, CudaTarget)
    gpu, found = on.kernels.gpu(), []
    with wgmma_on() if wgmma else nullcontext():
        # Plans made with and without are not the same.
        fresh = Program(planned.graph, planned.weights, lambda: replace(on, blocks=blocks))
        now = fresh.at(given)
        for step in (step for lowered in fresh.plans(given) for step in lowered.steps):
            work = work_of(step, now.shapes, on.itemsize)
            asked = step.op, step.kernel, step.params, work.bytes, work.flops
            told = on.kernels.predict(*asked)
            floor = max(work.flops / gpu["products"], work.bytes / gpu["memory"])
            bound = max(BOUNDS, key=told.__getitem__)
            found.append(Forecast(step.kernel, step.node.path, floor, told["seconds"], bound))
    return found


def floor_of(found: Sequence[Forecast]) -> float:
    """The sum over the steps."""
    return sum(step.floor for step in found)


def predicted_of(found: Sequence[Forecast]) -> float:
    """The sum over the steps: kernels run one after the other."""
    return sum(step.predicted for step in found)


def table() -> str:
    """Microseconds a call, a row a network: floor, predicted, predicted with the wgmma kernels on, and with those of
    several layers too."""
    rows, on = [], target(built("cuda_host"))
    for name in NETWORKS:
        planned, cells = program(name, on), []
        for batch in BATCHES:
            ways = (False, False), (True, False), (True, True)
            found = [forecasts(planned, batch, *way) for way in ways]
            times = floor_of(found[0]), *map(predicted_of, found)
            cells.append(" / ".join(f"{seconds * 1e6:,.0f}" for seconds in times))
        rows.append([name, *cells])
    return markdown(["network", *(f"batch {b}" for b in BATCHES)], rows)


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
    try:
        if not arguments:
            write()
            print(f"written: {DOCUMENT}")
            return 0
        name, *rest = (argument for argument in arguments if argument != "--blocks")
        batch, blocks = int(rest[0]) if rest else 1, "--blocks" in arguments
        found = forecasts(program(name, target(built("cuda_host"))), batch, blocks=blocks)
    except (RuntimeError, ValueError) as error:
        print(f"gpu_floor: {error}", file=sys.stderr)
        return 1
    print("  floor  predicted, us")
    for step in found:
        times = f"{step.floor * 1e6:7.2f} {step.predicted * 1e6:10.2f}"
        print(f"{times}  {step.bound:8}  {step.kernel:36} {step.path}")
    print(f"{floor_of(found) * 1e6:7.2f} {predicted_of(found) * 1e6:10.2f}  in all, batch {batch}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
