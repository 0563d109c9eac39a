"""The live model comes out of a capture as it went in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .calls import CaptureError

_MISSING = object()


@contextmanager
def untouched(
    model: nn.Module, made_again: Callable[[Tensor], bool] = lambda _: False
) -> Iterator[None]:
    """Undo what a run changes in attributes, parameters and buffers of `model` and its submodules.

    CaptureError if one of them held a tensor of the run: the model keeps it for the next call, a graph would not; but
    for those that are `made_again` at each call, as a bias gathered once from a table of the model's (LeViT).
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
                new = _keeps([now[key]], made_again)
                kept += [f"{path}.{key}".lstrip(".")] if new else []
                del now[key]
            now.update(then)
            for key, copy in copies.items():
                for name, value in _refilled(then[key], copy):
                    if _keeps([value], made_again):
                        kept.append(f"{path}.{name if key.startswith('_') else key}".lstrip("."))
    if kept:
        raise CaptureError(f"the model keeps a tensor in {kept[0]} from one call to the next")


def _copies(attributes: dict[str, Any]) -> dict[str, list[Any] | dict[Any, Any]]:
    """Shallow copies of the lists and dicts (a module's parameters and buffers are such dicts)."""
    found: dict[str, list[Any] | dict[Any, Any]] = {}
    for key, value in attributes.items():
        if isinstance(value, (list, dict)):
            found[key] = list(value) if isinstance(value, list) else dict(value)
    return found


def _refilled(container: Any, copy: Any) -> list[tuple[Any, Any]]:
    """Give `container` the contents of `copy` again; what it held besides, by name."""
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
    return new


def _keeps(values: Iterable[Any], made_again: Callable[[Tensor], bool]) -> bool:
    """Whether a tensor of the run, but for those, is among the values or in a list, tuple or dict of them."""
    for value in values:
        if isinstance(value, Tensor) and value.is_meta and not made_again(value):
            return True
        if isinstance(value, (list, tuple)) and _keeps(value, made_again):
            return True
        if isinstance(value, dict) and _keeps(value.values(), made_again):
            return True
    return False
