"""One call of a torch function, with operands in place of tensors; what refuses a capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..ir import Ref, Source, Torch
from ..ir.torch_op import FACTORIES
from .builder import Value


class CaptureError(RuntimeError):
    """The model cannot be captured as one graph; the message is the reason, in one sentence."""


@dataclass(frozen=True)
class Call:
    """A torch call as the model made it, with operands in place of tensors."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        return getattr(self.func, "__name__", str(self.func))


def torch_op(call: Call, reason: str = "", view: bool = False) -> tuple[Torch, tuple[int, ...]]:
    """`call` as a Torch op and the values it reads, in order of first use."""
    values: list[int] = []

    def leaf(x: Any) -> Any:
        if not isinstance(x, Value):
            return x
        if x.id not in values:
            values.append(x.id)
        return Ref(values.index(x.id))

    args, kwargs = map_leaves(call.args, leaf), map_leaves(call.kwargs, leaf)
    return Torch(call.func, args, kwargs, reason, view=view), tuple(values)


def map_leaves(argument: Any, leaf: Callable[[Any], Any]) -> Any:
    """`argument` rebuilt with `leaf` applied inside tuples, lists, dicts and slices."""
    if isinstance(argument, tuple):
        items = [map_leaves(item, leaf) for item in argument]
        if type(argument) is tuple:
            return tuple(items)
        return _rebuilt(argument, items)
    if isinstance(argument, list):
        return [map_leaves(item, leaf) for item in argument]
    if isinstance(argument, dict):
        return {key: map_leaves(item, leaf) for key, item in argument.items()}
    if isinstance(argument, slice):
        return slice(leaf(argument.start), leaf(argument.stop), leaf(argument.step))
    return leaf(argument)


def _rebuilt(argument: tuple[Any, ...], items: list[Any]) -> Any:
    kind = type(argument)
    if isinstance(argument, torch.Size) or not hasattr(argument, "_fields"):
        return kind(items)  # torch.Size and torch.return_types take one sequence
    return kind(*items)


def storage(twin: Tensor) -> int:
    """The identity of the memory behind a tensor."""
    return int(twin.untyped_storage()._cdata)


def call_sources(call: Call) -> list[Source]:
    found: list[Source] = []
    map_leaves(
        (call.args, call.kwargs), lambda x: found.append(x) if isinstance(x, Source) else None
    )
    return found


_RANDOM = frozenset(
    [
        "bernoulli",
        "normal",
        "multinomial",
        "exponential",
        "uniform",
        "poisson",
        "rrelu",
        "gumbel_softmax",
    ]
)


def is_random(call: Call) -> bool:
    """Whether the call draws random numbers, so that dropping it would shift those of later calls."""
    name = call.name.rstrip("_")
    return name in _RANDOM or name.startswith("rand") or "dropout" in name


def is_inplace(func: Callable[..., Any]) -> bool:
    """Whether the function's name says that it writes its first operand: relu_, __iadd__."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith("__i")
    return name.endswith("_")


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def memory_format_like(operands: Sequence[Tensor], rank: int) -> torch.memory_format:
    """The format of a new tensor: channels_last begets channels_last, as in torch."""
    like = operands[0] if operands else None
    if like is None or like.dim() != 4 or rank != 4 or like.is_contiguous():
        return torch.contiguous_format
    last = like.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def device_problem(call: Call, device: torch.device) -> str:
    """Why `call` does not stay on the device of the input; "" if it does."""
    devices = [d for d in (*call.args, *call.kwargs.values()) if isinstance(d, torch.device)]
    if any(d.type not in (device.type, "meta") for d in devices):
        return f"{call.name} asks for another device than {device}"
    if call.func in FACTORIES and not devices and device.type != "cpu":
        return f"{call.name} makes a tensor on the CPU, the input is on {device}"
    return ""
