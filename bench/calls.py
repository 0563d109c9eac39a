"""What a call costs besides its kernels: the first one, one of a shape that is new, and each.

    python -m bench calls [NETWORK[:BATCH[:SIZE]] ...]

Each network has a process of its own, so that its first call is the first. A steady call is the least of some.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from rich.table import Table
from torch import Tensor, nn

import pycnn
from bench.apart import last_line
from pycnn import _C
from pycnn.planning.call import Call
from pycnn.timing import Workload
from pycnn.timing.networks import network_and_input

DEFAULT = [
    "lenet_like", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "densenet201", "efficientnet_b7"
]  # fmt: skip
PROMISED = (
    "≤ 1 s; DenseNet-201, EfficientNet-B7 ≤ 2.5",
    "≤ 20",
    "≤ 20",
    "≤ 1.1",
    "≤ 5 + 0.05 a parameter",
)
BATCHES = (2, 3, 4, 8)
_CALLS, _ROUNDS, _LEAST_CALLS = 8, 6, 200


@dataclass(frozen=True)
class Row:
    """Of one network; times in seconds.

    Attributes:
        first_s: the first call less a steady one. batch_s, packed_bytes: batch -> the first call at it less a steady
            one, in the order of BATCHES, and the bytes of weights that were packed for kernels that no batch before
            had. size_s: another image size; None: the network is for one.
        alternating: ten shapes in turns (two where it is), over each of them by itself.
        call_s: of what stands around the plan, its caches warm. guard_s: of the watch over the weights behind a call.
    """

    title: str
    parameters: int
    steady_s: float
    first_s: float
    batch_s: dict[int, float]
    packed_bytes: dict[int, int]
    size_s: float | None
    alternating: float
    call_s: float
    guard_s: float


def measure(workload: Workload) -> Row:
    """In this process, which must not have run anything yet."""
    net, x = network_and_input(workload)
    fast, shape = pycnn.optimize(net), tuple(x.shape)
    with torch.inference_mode():
        first = _timed(fast, x)
        steady = _least(fast, x)
        batch_s, packed = {}, {}
        for n in (n for n in BATCHES if n != shape[0]):
            before = _packed(fast)
            batch_s[n] = _extra(fast, torch.randn(n, *shape[1:]))
            packed[n] = _packed(fast) - before
        sizes = _other_sizes(net, x)
        size_s = _extra(fast, sizes[-1]) if sizes else None
        ratio = _alternating(fast, [x, *(torch.cat([y] * 2) for y in (x, *sizes)), *sizes][:10])
        call_s, guard_s = _around(fast, x)
    parameters = sum(1 for _ in net.parameters())
    costs = first - steady, batch_s, packed, size_s, ratio, call_s, guard_s
    return Row(workload.title, parameters, steady, *costs)


def _other_sizes(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Images higher by 32 to 160 pixels; none where the network is for one size."""
    *rest, h, w = x.shape
    larger = [torch.randn(*rest, h + 32 * i, w) for i in range(1, 6)]
    try:
        net(larger[0])
    except (RuntimeError, ValueError):
        return []
    return larger


def _timed(f: Callable[[Tensor], object], x: Tensor) -> float:
    start = time.perf_counter()
    f(x)
    return time.perf_counter() - start


def _least(f: Callable[[Tensor], object], x: Tensor, calls: int = _CALLS) -> float:
    return min(_timed(f, x) for _ in range(calls))


def _extra(fast: nn.Module, x: Tensor) -> float:
    first = _timed(fast, x)
    return first - _least(fast, x)


def _packed(fast: nn.Module) -> int:
    return int(fast.__dict__["_compiled"].match.program.weights.bytes())


def _alternating(fast: nn.Module, inputs: list[Tensor]) -> float:
    fixed = [_least(fast, x, _ROUNDS) for x in inputs]
    turns = [[_timed(fast, x) for x in inputs] for _ in range(_ROUNDS)]
    return sum(map(min, zip(*turns, strict=True))) / sum(fixed)


def _around(fast: nn.Module, x: Tensor) -> tuple[float, float]:
    """Of a call whose plan does nothing, and of the watch where the plan has had the caches."""
    fast(x)
    direct = fast.__dict__["_direct"]
    calls = direct.calls
    (key,) = [k for k in calls if k[0] == x.shape]
    guard, call = calls[key]
    behind = []
    for _ in range(_CALLS):
        fast(x)
        start = time.perf_counter()
        guard.holds()
        behind.append(time.perf_counter() - start)
    idle = _Idle(call.lowered) if call.plan is None else replace(call, plan=_C.Plan(0, 0, 1, 1, 1))
    direct.keep({key: (guard, idle)})
    try:
        return _least(fast, x, _LEAST_CALLS), min(behind)
    finally:
        direct.keep(calls)


class _Idle(Call):
    """A call that does nothing but make its result."""

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.lowered.fresh_outputs()[0]
        return y


def apart(workload: Workload) -> Row:
    """`measure` in a process of its own.

    Raises:
        RuntimeError: it failed; with its last line.
    """
    code = f"from bench import calls; calls.tell(calls.{workload!r})"
    data = json.loads(last_line(code, workload.title))
    for name in ("batch_s", "packed_bytes"):
        data[name] = {int(n): value for n, value in data[name].items()}
    return Row(**data)


def tell(workload: Workload) -> None:
    """Print the row as JSON."""
    print(json.dumps(asdict(measure(workload))))


def table(rows: list[Row]) -> Table:
    """One line a network under what is promised."""
    found = Table(title="What calls cost besides their kernels")
    heads = (
        "first call s",
        f"batch {'/'.join(map(str, BATCHES))} ms",
        "size ms",
        "10 shapes",
        "each call us",
    )
    found.add_column("network, parameters")
    for head, promised in zip(heads, PROMISED, strict=True):
        found.add_column(f"{head}\n{promised}", justify="right")
    found.add_column("watch behind\na call us", justify="right")
    for row in rows:
        batches = "/".join(f"{s * 1e3:.1f}" for s in row.batch_s.values())
        packed = "/".join(f"{b / 2**20:.0f}" for b in row.packed_bytes.values())
        found.add_row(
            f"{row.title}, {row.parameters}",
            f"{row.first_s:.2f}",
            f"{batches}\npacks {packed} MiB",
            "one size" if row.size_s is None else f"{row.size_s * 1e3:.1f}",
            f"{row.alternating:.2f}",
            f"{row.call_s * 1e6:.1f}",
            f"{row.guard_s * 1e6:.1f}",
        )
    return found
