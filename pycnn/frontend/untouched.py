"""The live model comes out of a capture as it went in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .calls import CaptureError

_MISSING = object()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Undo what a run changes in attributes, parameters and buffers of `model` and its submodules.

    CaptureError if one of them held a tensor of the run: the model keeps it for the next call, a graph would not.
    Lists and dicts are looked into one level deep.
    """
    modules = list(model.named_modules())
    before = [(path, vars(m), dict(vars(m)), _copies(vars(m))) for path, m in modules]
    kept: list[str] = []
    try:
        yield
    finally:
        for path, now, then, copies in before:
            for key in [key for key in now if now[key] is not then.get(key, _MISSING)]:
                kept += [f"{path}.{key}".lstrip(".")] if _holds_meta([now[key]]) else []
                del now[key]
            now.update(then)
            for key, copy in copies.items():
                kept += _refill(f"{path}.".lstrip("."), key, then[key], copy)
    if kept:
        raise CaptureError(f"the model keeps a tensor in {kept[0]} from one call to the next")


def _copies(attributes: dict[str, Any]) -> dict[str, list[Any] | dict[Any, Any]]:
    """Shallow copies of the lists and dicts (a module's parameters and buffers are such dicts)."""
    found: dict[str, list[Any] | dict[Any, Any]] = {}
    for key, value in attributes.items():
        if isinstance(value, (list, dict)):
            found[key] = list(value) if isinstance(value, list) else dict(value)
    return found


def _refill(prefix: str, key: str, container: Any, copy: Any) -> list[str]:
    """Give `container` the contents of `copy` again; the names under which it held tensors of the run."""
    items, old = (
        list(c.items()) if isinstance(c, dict) else list(enumerate(c)) for c in (container, copy)
    )
    same = [i == j and a is b for (i, a), (j, b) in zip(items, old, strict=False)]
    if len(items) == len(old) and all(same):
        return []
    known = {id(value) for _, value in old}
    new = [(name, value) for name, value in items if id(value) not in known]
    container.clear()
    (container.update if isinstance(container, dict) else container.extend)(copy)
    return [
        prefix + (str(name) if key.startswith("_") else key)
        for name, value in new
        if _holds_meta([value])
    ]


def _holds_meta(values: Iterable[Any]) -> bool:
    for value in values:
        if isinstance(value, Tensor) and value.is_meta:
            return True
        if isinstance(value, (list, tuple)) and _holds_meta(value):
            return True
        if isinstance(value, dict) and _holds_meta(value.values()):
            return True
    return False
