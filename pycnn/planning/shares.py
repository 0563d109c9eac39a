"""When each worker ran each step of a plan, from the numbers of its `run_timed`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One worker's share of a step: nanoseconds of time.perf_counter. `slot`: the step's number."""

    slot: int
    worker: int
    begin: int
    end: int


def shares_of(times: Sequence[int], workers: int, first: int = 0) -> Iterator[Share]:
    """The shares of a plan whose first step is slot `first`.

    times: [step][worker] (begin, end); 0, 0 where a worker had no part.
    """
    for place in range(len(times) // 2):
        begin, end = times[2 * place : 2 * place + 2]
        if begin:
            yield Share(first + place // workers, place % workers, begin, end)


def joined(shares: Iterable[Share], parts: Sequence[int], first: int) -> Iterator[Share]:
    """Those of steps that a plan runs in parts, as if the parts came one after the other; `parts`: which step of a
    segment, whose first is slot `first`, each of the plan's is a part of; -1: of none."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for share in shares:
        key = parts[share.slot], share.worker
        begin, end = found.get(key, (share.begin, share.begin))
        found[key] = begin, end + share.end - share.begin
    for (step, worker), (begin, end) in sorted(found.items()):
        if step >= 0:
            yield Share(first + step, worker, begin, end)


def durations(shares: Sequence[Share], by_image: Sequence[bool]) -> list[int]:
    """Nanoseconds of each step in one call: from the first worker's begin to the last one's end.

    Where steps run image by image (`by_image`), workers are at different ones at a time: the longest worker's time.
    """
    count = len(by_image)
    begins, ends, longest = [0] * count, [0] * count, [0] * count
    for share in shares:
        ends[share.slot] = max(ends[share.slot], share.end)
        begins[share.slot] = min(begins[share.slot] or share.begin, share.begin)
        longest[share.slot] = max(longest[share.slot], share.end - share.begin)
    return [longest[i] if alone else ends[i] - begins[i] for i, alone in enumerate(by_image)]
