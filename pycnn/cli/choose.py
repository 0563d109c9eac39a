"""`pycnn choose`."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from pycnn import _C
from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, Size, Threads, cite, network
from pycnn.limits import Limits, limits
from pycnn.models.figures import figures
from pycnn.optimize import optimize
from pycnn.registry import TASKS, Variant, find_model, list_models
from pycnn.work import Work, roof

# What a kind of classification prefers: families of the zoo, and the largest side of its images; None: the model's own.
KINDS: dict[str, tuple[tuple[str, ...], int | None]] = {
    "small-images": (("textbook", "lenet", "resnet", "resnetv2", "senet"), 32),
    "large-images": (("resnet", "resnext", "convnext", "efficientnet", "efficientnet_v2"), None),
    "mobile": (("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "mobilevit", "shufflenet_v2"), None),
}  # fmt: skip
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
WINOGRAD = 4.0  # F(4x4, 3x3) takes 36 multiplications for 144: no kernel is that much faster than the direct sum's roof
TURN = 0.3  # seconds of calls that a median is taken of


@dataclass(frozen=True)
class Candidate:
    """A model, what it is predicted to take, and what it took.

    Attributes:
        model, family, paper: of the registry.
        size: (h, w) of the images.
        parameters: number of them.
        gmacs: 10^9 multiply-adds of a call, the whole batch.
        predicted_s: seconds of a call that the roofline allows a direct sum.
        measured_s: median seconds of a call; None where it was not timed.
        fits: measured, or False where the prediction is `WINOGRAD` times the latency; None: only timing would tell.
        note: why it was not timed.
    """

    model: str
    family: str
    paper: str
    size: tuple[int, int]
    parameters: int
    gmacs: float
    predicted_s: float
    measured_s: float | None = None
    fits: bool | None = None
    note: str = ""


@command("choose")
def choose_command(
    task: Annotated[
        str, typer.Option(help=f"{', '.join(TASKS)}; of classification also {', '.join(KINDS)}.")
    ],
    latency: Annotated[str, typer.Option(help="Of a call, as 20ms, 0.02s, 500us.")],
    batch: Batch = 1,
    size: Size = None,
    max_params: Annotated[
        int | None, typer.Option(min=1, help="Leave out models of more parameters.")
    ] = None,
    max_gmacs: Annotated[
        float | None, typer.Option(min=0, help="Leave out calls of more 10⁹ multiply-adds.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            min=0, help="Of timing; no model is begun when it has less left than the last one took."
        ),
    ] = 20.0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find the models of a task that are fast enough here: predicted by the machine's roofline, then really timed.

    The cheapest predicted comes first. Exit status 1 if none was found to fit. Nothing is known of their accuracy.
    Busy neighbours slow the predictions and the calls alike: ask a quiet machine.

    Examples: [bold]pycnn choose --task segmentation --latency 200ms[/],
    [bold]pycnn choose --task mobile --latency 20ms --batch 4 --max-params 5000000 --json[/]
    """
    allowed = parse_latency(latency)
    usable = int(_C.machine()["cores"])
    count = min(threads or torch.get_num_threads(), usable)
    chosen = _variants(task)
    with Console(stderr=True).status("measuring the machine") as status:
        machine = limits(count)
        found = [_predict(v, batch, _side(v, task, size), machine) for v in chosen]
        found = [
            c
            for c in sorted(found, key=lambda c: c.predicted_s)
            if (max_params is None or c.parameters <= max_params)
            and (max_gmacs is None or c.gmacs <= max_gmacs)
        ]
        if not found:
            raise ValueError(
                f"none of the {len(chosen)} models for {task} is as small as asked for"
            )
        _time_all(found, batch, count, allowed, seconds, status)
    _show(found, task, allowed, batch, count, as_json)
    if not any(c.fits for c in found):
        raise ValueError(f"no model for {task} was measured to take at most {latency}")


def parse_latency(text: str) -> float:
    """Seconds, from "20ms", "0.02s", "500us".

    Raises:
        ValueError: another form, or not positive.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*(?:e-?\d+)?|\.\d+)\s*(s|ms|us|µs)\s*", text)
    if found is None or float(found[1]) <= 0:
        raise ValueError(
            f"latency {text!r} must be a positive time with its unit, as 20ms or 0.02s"
        )
    return float(found[1]) * UNITS[found[2]]


def _variants(task: str) -> list[Variant]:
    if task not in KINDS:
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}: it is one of {', '.join((*TASKS, *KINDS))}")
        return [find_model(name) for name in list_models(task=task)]
    families, _ = KINDS[task]
    rows = (find_model(name) for name in list_models(task="classification"))
    return [v for v in rows if v.family.name in families]


def _side(variant: Variant, task: str, size: int | None) -> int | None:
    """Height and width to run at, None for the model's own."""
    if size is not None:
        return size
    _, most = KINDS.get(task, ((), None))
    return most if most is not None and max(variant.family.image_size) > most else None


def _predict(variant: Variant, batch: int, side: int | None, machine: Limits) -> Candidate:
    """From the table's figures: multiply-adds grow with the pixels, parameters and images are read once."""
    known = figures(variant.name)
    own_h, own_w = variant.family.image_size
    h, w = (own_h, own_w) if side is None else (side, side)
    macs = known.macs * batch * h * w / (own_h * own_w)
    images, weights = 4.0 * batch * variant.family.in_channels * h * w, 4.0 * known.parameters
    least = roof(Work(2 * macs, images, weights), machine, images + weights).seconds
    family = variant.family
    return Candidate(
        variant.name, family.name, str(family.paper), (h, w), known.parameters, macs / 1e9, least
    )


def _time_all(
    found: list[Candidate], batch: int, threads: int, allowed: float, seconds: float, status: Status
) -> None:
    """Time those that may fit, in order, each in place, until the seconds are over; at least one."""
    end = time.monotonic() + seconds
    last = 0.0  # seconds the model before took, building and planning included
    for i, candidate in enumerate(found):
        if candidate.predicted_s > WINOGRAD * allowed:
            found[i] = replace(candidate, fits=False, note="predicted too slow, not timed")
            continue
        began = time.monotonic()
        if last and began + last > end:
            found[i] = replace(candidate, note="no time left, only predicted")
            continue
        status.update(f"timing {candidate.model}")
        found[i] = _time(candidate, batch, threads, allowed)
        last = time.monotonic() - began


def _time(candidate: Candidate, batch: int, threads: int, allowed: float) -> Candidate:
    """Median of the calls of `TURN` seconds, at least one, behind the call that plans."""
    variant = find_model(candidate.model)
    side = None if candidate.size == variant.family.image_size else candidate.size[0]
    taken: list[float] = []
    try:
        model, arguments = network(candidate.model, batch, side)
        fast = optimize(model, threads=threads)
        with torch.inference_mode():
            fast(*arguments)
            while sum(taken) < TURN:
                began = time.perf_counter()
                fast(*arguments)
                taken.append(time.perf_counter() - began)
    except (RuntimeError, ValueError) as error:
        h, w = candidate.size
        reason = str(error).strip().partition("\n")[0]
        return replace(candidate, fits=False, note=f"cannot run on {h}x{w} images: {reason}")
    median = statistics.median(taken)
    return replace(candidate, measured_s=median, fits=median <= allowed)


def _show(
    found: Sequence[Candidate], task: str, allowed: float, batch: int, threads: int, as_json: bool
) -> None:
    if as_json:
        record = {"task": task, "latency_s": allowed, "batch": batch, "threads": threads}
        print(json.dumps({**record, "candidates": [asdict(c) for c in found]}, indent=2))
        return
    # a terminal's own width; one line a model for whoever reads a pipe
    console = Console() if sys.stdout.isatty() else Console(width=180)
    title = f"{task}: at most {_ms(allowed)} ms a call of {batch}, {threads} threads"
    table = Table("model", "fits", title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("measured\nms", "predicted\nms", "params\nM", "\nGMACs"):
        table.add_column(column, justify="right")
    table.add_column("input")
    table.add_column("paper, or why it was not timed")
    for c in found:
        fits = {True: "yes", False: "no", None: "?"}[c.fits]
        measured = "" if c.measured_s is None else _ms(c.measured_s)
        about = (f"{c.parameters / 1e6:.2f}", f"{c.gmacs:.3f}", "×".join(map(str, c.size)))
        why = c.note or cite(find_model(c.model).family.paper)
        table.add_row(c.model, fits, measured, _ms(c.predicted_s), *about, why)
    for part in table.columns[:-1]:
        part.no_wrap = True
    console.print(table)
    timed = sum(c.measured_s is not None for c in found)
    rest = ", the others only predicted" if timed < len(found) else ""
    console.print(f"{timed} of {len(found)} measured{rest}")
    fitting = [c for c in found if c.fits]
    if fitting:
        most = max(fitting, key=lambda c: c.gmacs)
        quick = min(fitting, key=lambda c: c.measured_s or 0)
        console.print(
            f"of {len(fitting)} that fit: fastest {quick.model}, most multiply-adds {most.model}"
        )


def _ms(seconds: float) -> str:
    ms = 1e3 * seconds
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"
