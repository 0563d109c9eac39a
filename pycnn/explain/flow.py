"""Which step reads what which other wrote: followed through the buffers that the plan gives to values."""

from __future__ import annotations

from collections.abc import Sequence

from pycnn.planning.homes import Home, Rows
from pycnn.planning.lower import Lowered
from pycnn.planning.segments import Segment, TorchStep
from pycnn.planning.step import Step, results

Sources = tuple[int, ...]  # step numbers; -1 - i is input i of the network


class Flow:
    """Numbers steps as they are handed over and tells what each reads."""

    def __init__(self, inputs: Sequence[int]) -> None:
        self._makers: dict[int, Sources] = {v: (-1 - i,) for i, v in enumerate(inputs)}
        self._count = 0

    def torch_step(self, step: TorchStep) -> Sources:
        """What one step of torch's reads."""
        read = self._of(step.node.inputs)
        self._makers.update(dict.fromkeys(step.node.outputs, (self._count,)))
        self._count += 1
        return read

    def segment(self, segment: Segment, lowered: Lowered) -> list[Sources]:
        """What each step of a plan reads."""
        written: dict[tuple[str, int], list[tuple[int, int]]] = {}  # buffer -> (offset, step)

        def read(home: Home, width: int) -> Sources:
            if home.kind == "const":
                return ()
            if home.kind == "input":
                return self._of([segment.inputs[home.index]])
            writers = written.get((home.kind, home.index), [])
            inside = [n for at, n in writers if home.offset <= at < home.offset + width]
            return tuple(inside or [n for _, n in writers])

        found: list[Sources] = []
        for step in lowered.steps:
            sources = read(step.x, _width(step, lowered))
            others = [home for home in (step.residual, step.third) if home is not None]
            for value, home in zip(step.node.inputs[1:], others, strict=False):
                sources += read(home, Rows.of(lowered.homes.shapes[value]).c)
            found.append(tuple(dict.fromkeys(sources)))
            for home in results(step):
                written.setdefault((home.kind, home.index), []).append((home.offset, self._count))
            self._count += 1
        for index, value in enumerate(segment.outputs):
            at = ("output", index) if ("output", index) in written else None
            home = lowered.homes[value]
            writers = written.get(at or (home.kind, home.index), [])
            passed = self._of([segment.inputs[home.index]]) if home.kind == "input" else ()
            self._makers[value] = tuple(n for _, n in writers) or passed
        return found

    def _of(self, values: Sequence[int]) -> Sources:
        return tuple(dict.fromkeys(n for v in values for n in self._makers.get(v, ())))


def _width(step: Step, lowered: Lowered) -> int:
    """Floats of a row that the step reads."""
    c = step.params.get("c")
    return Rows.of(lowered.homes.shapes[step.node.inputs[0]]).c if c is None else int(c)
