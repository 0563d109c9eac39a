"""Which torch call of a run makes each value of the captured graph, so that another run can be looked at there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..ir import Origin, tensors_in
from .aten import functional
from .questions import is_question
from .trace import Trace


class Origins:
    """Filled during a capture: value -> the call that made it, in `of`."""

    def __init__(self, trace: Trace) -> None:
        self.of: dict[int, Origin] = {}
        self._trace = trace
        self._number = 0

    def note(self, func: Callable[..., Any], result: Any, arguments: Any) -> None:
        """`func(arguments)`, the next call of the run, gave `result`; an in-place call wrote an argument instead."""
        for returned, tensors in ((True, tensors_in(result)), (False, tensors_in(arguments))):
            for index, twin in enumerate(tensors):
                value = self._trace.twins.stands_for(twin)
                if value is not None and value >= len(self._trace.inputs):
                    self.of.setdefault(value, Origin(self._number, func, returned, index))
        self._number += 1


class Replay(TorchFunctionMode):
    """Inside, a run of the captured model shows its tensors: `see(value, tensor)` right after the call that made it.

    The run may differ in dtype or weights. From the first call that is another function than at capture on, nothing
    more is shown, and `diverged` is the sentence about it.
    """

    def __init__(self, origins: Mapping[int, Origin], see: Callable[[int, Tensor], None]) -> None:
        super().__init__()
        self.diverged = ""
        self._see = see
        self._number = 0
        self._expected: dict[int, list[tuple[int, Origin]]] = {}
        for value, origin in origins.items():
            self._expected.setdefault(origin.call, []).append((value, origin))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not is_question(*functional(func, args, kwargs or {})[:2]):
            expected = self._expected.get(self._number, [])
            self._number += 1
            if expected and not self.diverged:
                self._show(func, expected, tensors_in(result), tensors_in((args, kwargs or {})))
        return result

    def _show(
        self,
        func: Callable[..., Any],
        expected: list[tuple[int, Origin]],
        returned: list[Tensor],
        arguments: list[Tensor],
    ) -> None:
        for value, origin in expected:
            tensors = returned if origin.returned else arguments
            if func != origin.func or origin.index >= len(tensors):
                then, now = (getattr(f, "__name__", str(f)) for f in (origin.func, func))
                self.diverged = f"call {origin.call} is {now}, at capture it was {then}"
                return
            self._see(value, tensors[origin.index])
