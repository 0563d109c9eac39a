"""The table itself: torch function -> converter, filled by converters.py and activations.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .builder import Value

Converter = Callable[..., Value]
CONVERTERS: dict[Callable[..., Any], Converter] = {}
_NAMESPACES = (torch, F, torch.Tensor, torch._C._nn)


def converts(
    *names: str, where: Sequence[object] = _NAMESPACES
) -> Callable[[Converter], Converter]:
    """Enter a converter for the functions of these names, and their in-place twins, in the namespaces `where`."""

    def enter(converter: Converter) -> Converter:
        for name in (*names, *(f"{name}_" for name in names)):
            for namespace in where:
                if hasattr(namespace, name):
                    CONVERTERS[getattr(namespace, name)] = converter
        return converter

    return enter
