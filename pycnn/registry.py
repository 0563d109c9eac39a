"""The table of models: every network of the zoo under one name.

A family file registers its variants with `@model`; `create_model` and `list_models` read the table. This file knows
no model, so whoever wants the full table imports `pycnn.models` (as `import pycnn` does).
"""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Variant:
    """One row of the table: a name, how to build it, and the input it was designed for.

    Attributes:
        name: what `create_model` is given, lower case with underscores.
        factory: a class or function returning the module; takes `num_classes` and `in_channels`.
        image_size: (h, w) the network was designed for.
        num_classes, in_channels: the defaults.
        fixed: the other arguments of `factory` which make this variant (depths, widths, ...).
    """

    name: str
    factory: Callable[..., nn.Module]
    image_size: tuple[int, int]
    num_classes: int = 10
    in_channels: int = 3
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(c, h, w) of one image of the default network."""
        return (self.in_channels, *self.image_size)


_VARIANTS: dict[str, Variant] = {}


def model(
    name: str,
    *,
    image_size: tuple[int, int],
    num_classes: int = 10,
    in_channels: int = 3,
    **fixed: Any,
) -> Callable[[Factory], Factory]:
    """Decorator which puts a model class or function into the table under `name`.

    A table of variants of one class is a loop: `model(name, image_size=..., layers=depths)(ResNet)`.

    Raises:
        ValueError: the name is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in _VARIANTS:
            taken_by = _VARIANTS[name].factory.__qualname__
            raise ValueError(f"model {name!r} is already registered by {taken_by}")
        _VARIANTS[name] = Variant(name, factory, image_size, num_classes, in_channels, fixed)
        return factory

    return register


def find_model(name: str) -> Variant:
    """The row of the table called `name`.

    Raises:
        ValueError: there is none; the message names the nearest ones.
    """
    if name in _VARIANTS:
        return _VARIANTS[name]
    near = difflib.get_close_matches(str(name).lower(), _VARIANTS, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see pycnn.list_models()"
    raise ValueError(f"unknown model {name!r}: {hint}")


def create_model(
    name: str, num_classes: int | None = None, in_channels: int | None = None, **kwargs: Any
) -> nn.Module:
    """Build a network of the zoo, newly initialised, in training mode.

    Args:
        name: a name from `list_models()`.
        num_classes: number of logits; None takes the variant's own (10 or 1000).
        in_channels: channels of the input image; None takes the variant's own (3, or 1 for `lenet_like`).
        **kwargs: other arguments of the variant's class.

    Returns:
        An ordinary `nn.Module`, fp32 on the CPU, from [n, in_channels, h, w] to [n, num_classes].

    Raises:
        ValueError: an unknown name, or a count which is not positive.
        TypeError: a count which is no int, or an argument the class does not have.

    Example:
        >>> net = pycnn.create_model("resnet18", num_classes=10)
    """
    variant = find_model(name)
    counts = {
        "num_classes": variant.num_classes if num_classes is None else num_classes,
        "in_channels": variant.in_channels if in_channels is None else in_channels,
    }
    for argument, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"create_model({name!r}): {argument} must be an int, got {count!r}")
        if count < 1:
            raise ValueError(f"create_model({name!r}): {argument} must be positive, got {count}")
    arguments = {**variant.fixed, **counts, **kwargs}
    try:
        inspect.signature(variant.factory).bind(**arguments)
    except TypeError as error:
        raise TypeError(f"create_model({name!r}): {error}") from None
    return variant.factory(**arguments)


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the zoo's models, numbers in order of size (resnet18 before resnet101).

    Args:
        pattern: a shell pattern such as "resnet*"; None lists all.
    """
    names = sorted(_VARIANTS, key=_natural_key)
    return names if pattern is None else fnmatch.filter(names, pattern)


def _natural_key(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
