"""What calls of an optimised module captured: for the reports, `verify`, `profile` and `save`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from pycnn.compiled import Compiled
from pycnn.inputs import torch_watches
from pycnn.optimize import OptimizedModule


def parts_of(fast: OptimizedModule) -> Iterator[tuple[str, str]]:
    """Of a module whose whole is not captured: (path, why it runs as it is; "" where it does not) of what its calls so
    far ran of its submodules."""
    parts = fast.__dict__["_parts"]
    for path, part in {} if parts is None else parts.wrapped().items():
        state = part.__dict__["_compiled"]
        if state is None:
            continue
        yield path, state.reason or ""
        if state.reason:
            yield from ((f"{path}.{inner}", why) for inner, why in parts_of(part))


def graphs_of(fast: OptimizedModule) -> tuple[Compiled, ...]:
    """The graphs of the calls so far, over the present weights."""
    state = fast.__dict__["_compiled"]
    return () if state is None else state.graphs


def compiled_for(
    caller: str, fast: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Compiled | None, str]:
    """The graph that ``fast(*args, **kwargs)`` runs, or None and the reason why the model runs as it is.

    Raises:
        TypeError: fast is not an optimised module. ValueError: it is in training mode. Both name the `caller`.
    """
    if not isinstance(fast, OptimizedModule):
        raise TypeError(f"{caller}: expected what optimize() returned, got {type(fast).__name__}")
    if fast.training:
        raise ValueError(
            f"{caller}: the module is in training mode and runs as torch; call .eval()"
        )
    if watching := torch_watches():
        return None, watching
    compiled, reason = fast._current(args, kwargs)
    return compiled, reason or ""
