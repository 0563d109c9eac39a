"""The table itself: torch function -> converter, filled by the files that converters.py lists."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .builder import Value

Converter = Callable[..., Value]
CONVERTERS: dict[Callable[..., Any], Converter] = {}
MAY_ALIAS: set[Callable[..., Any]] = (
    set()
)  # may return their argument or a view: torch is asked, on meta
_NAMESPACES = (torch, F, torch.Tensor, torch._C._nn)


def converts(
    *names: str, where: Sequence[object] = _NAMESPACES, may_alias: bool = False
) -> Callable[[Converter], Converter]:
    """Enter a converter for the functions of these names, and their in-place twins, in the namespaces `where`."""

    def enter(converter: Converter) -> Converter:
        for name in (*names, *(f"{name}_" for name in names)):
            for namespace in where:
                function = getattr(namespace, name, None)
                if function is not None:
                    CONVERTERS[function] = converter
                    MAY_ALIAS.update([function] if may_alias else [])
        return converter

    return enter


def attribute(name: str) -> Callable[..., Any]:
    """What a TorchFunctionMode is given as the function when code reads `tensor.<name>`."""
    getter: Callable[..., Any] = inspect.getattr_static(torch.Tensor, name).__get__
    return getter


def reads(*names: str) -> Callable[[Converter], Converter]:
    """Enter a converter for these attributes of tensors, which are views."""

    def enter(converter: Converter) -> Converter:
        for name in names:
            CONVERTERS[attribute(name)] = converter
            MAY_ALIAS.add(attribute(name))
        return converter

    return enter
