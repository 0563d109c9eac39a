"""`explain`: what runs where, and why something did not fuse."""

from __future__ import annotations

from typing import Any

from torch import nn

from pycnn.explain.report import Report, StepReport
from pycnn.explain.steps import report
from pycnn.inspection import compiled_for, parts_of
from pycnn.optimize import OptimizedModule
from pycnn.summary import stage_of

__all__ = ["Report", "StepReport", "explain"]


def explain(fast: nn.Module, *args: Any, **kwargs: Any) -> Report:
    """The steps that ``fast(*args, **kwargs)`` runs: kernel, sizes, what was fused, why something was not.

    Args:
        fast: what :func:`pycnn.optimize` returned, in eval mode.
        args, kwargs: the arguments of a call; nothing is computed on them.

    Returns:
        A `Report`: print it; ``.steps``, ``.fallbacks``, ``.peak_bytes``, ``.to_json()``, ``.to_html(path)``.

    Raises:
        TypeError: fast is not an optimised module. ValueError: it is in training mode.
    """
    compiled, reason = compiled_for("explain", fast, args, kwargs)
    assert isinstance(fast, OptimizedModule)
    model = fast.__dict__["_model"]
    name = type(model).__name__
    if compiled is None:
        whole = StepReport("", "model", "", (), (), "", reason)
        return Report(name, (whole,), (f"the model runs as it is: {reason}",), _parts(fast))
    return report(name, compiled, compiled.inputs(args, kwargs), stage_of(model, args, kwargs))


def _parts(fast: OptimizedModule) -> tuple[str, ...]:
    """What became of the submodules in the calls so far."""
    return tuple(
        f"{path}: runs as it is: {why}" if why else f"{path}: is optimised by itself"
        for path, why in parts_of(fast)
    )
