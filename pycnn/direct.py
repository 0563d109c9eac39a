"""Plans that a call with one plain tensor goes straight to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from pycnn import _C
from pycnn.planning.call import Call

_MOST = 64

Calls = dict[Any, tuple[_C.Guard, Call]]  # by shape, stride, dtype, device and torch's threads


class Direct:
    """The last calls of a module, by what they were called with.

    Attributes:
        run: of an object: the result of the call that it fits; None where none does, where the guard of the one that
            does no longer holds, or where torch is to see more than a result: gradients, hooks of all modules, modes,
            autocast, transforms, forward derivatives, tracing.
    """

    def __init__(self) -> None:
        self.keep({})

    def keep(self, calls: Calls) -> None:
        """These and no others."""
        self.calls = calls
        self.run: Callable[[object], Any] = _C.direct_calls(
            [(*key, guard, call, call.plan, call.like) for key, (guard, call) in calls.items()]
        )

    def add(self, x: Tensor, guard: _C.Guard, call: Call, keeps: Callable[[Any], bool]) -> None:
        """The call of such a tensor; of those before, the last ones under the same guard whose plans `keeps` knows."""
        calls = {k: v for k, v in self.calls.items() if v[0] is guard and keeps(v[1].lowered)}
        calls[x.shape, x.stride(), x.dtype, x.device, torch.get_num_threads()] = guard, call
        self.keep(dict(list(calls.items())[-_MOST:]))

    def retain(self, guards: Collection[_C.Guard]) -> None:
        """Only what is under one of these: plans over weights that are gone may go."""
        if any(guard not in guards for guard, _ in self.calls.values()):
            self.keep({k: v for k, v in self.calls.items() if v[0] in guards})
