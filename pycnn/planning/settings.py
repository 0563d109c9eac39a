"""What decides, besides the problem itself, which kernel a step gets."""

from __future__ import annotations

from dataclasses import dataclass

from pycnn import _C
from pycnn.planning.params import Params


@dataclass(frozen=True)
class Settings:
    """`threads`: of the plan. `exact`: no kernel re-associates products. `batch_invariant`: the choice does not depend
    on the batch or the threads (what a kernel computes never does)."""

    threads: int
    exact: bool = False
    batch_invariant: bool = False

    def complete(self, op: str, params: Params) -> Params:
        """The kernel's parameters with what the settings add to them."""
        return {**params, "exact": 1} if self.exact and op == "conv2d" else params

    def choose(self, op: str, params: Params) -> str:
        """Name of the table's kernel for the problem."""
        if not self.batch_invariant:
            return _C.choose(op, params, self.threads)
        one = {**params, "n": 1} if "n" in params else params
        return _C.choose(op, one, 1)
