"""The plans of a graph that are kept: bounded by number and by bytes, the one not used for longest dropped first."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Sequence

from torch import Tensor

from pycnn.planning.lower import Lowered

KEPT_SHAPES = 64  # plans a segment, within
KEPT_BYTES = 512 << 20  # of a graph
# 1.5 to 1.7 KB by tracemalloc (ResNet-50, DenseNet-121, MobileNetV2); parameters and slots.
_PYTHON_STEP_BYTES, _PLAN_STEP_BYTES = 1700, 500


class KeptPlans:
    """Plans by key. They count what they hold besides the arena and the packed weights that the newest of them reads:
    those of a graph whose weights alone are more than `limit` are kept all the same."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._plans: dict[Hashable, Lowered] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Lowered]:
        return iter(self._plans.values())

    def find(self, key: Hashable) -> Lowered | None:
        """The plan, which is the newest from now on."""
        found = self._plans.pop(key, None)
        if found is not None:
            self._plans[key] = found
        return found

    def drop(self, key: Hashable) -> None:
        self._plans.pop(key, None)

    def keep(self, key: Hashable, plan: Lowered, most: int) -> bool:
        """Keep it and drop others, until at most `most` are left within the bytes; whether any was dropped."""
        self._plans.pop(key, None)
        self._plans[key] = plan
        before = len(self._plans)
        while len(self._plans) > most or (len(self._plans) > 1 and self.bytes() > self._limit):
            del self._plans[next(iter(self._plans))]
        return len(self._plans) < before

    def bytes(self) -> int:
        """Of the tables and constants of all, and of packed weights that the newest does not read."""
        *_, newest = self._plans.values()
        own = {id(t): t for plan in self._plans.values() for t in packed(plan)}
        for tensor in packed(newest):
            own.pop(id(tensor), None)
        tables = sum(_table_bytes(plan) for plan in self._plans.values())
        return tables + sum(tensor.nbytes for tensor in own.values())


def packed(plan: Lowered) -> Sequence[Tensor]:
    """The weights that the plan reads by address."""
    return [step.packed.weight for step in plan.steps if step.packed is not None]


def _table_bytes(plan: Lowered) -> int:
    constants = sum(tensor.nbytes + sys.getsizeof(tensor) for tensor in plan.constants)
    steps = len(plan.steps) * _PYTHON_STEP_BYTES + len(plan.parts) * _PLAN_STEP_BYTES
    return steps + constants
