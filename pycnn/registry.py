"""The table of models: every network of the zoo under one name.

A family file registers its variants with `@model`; `pycnn.create_model` and `list_models` read the table. This file
knows no model, so whoever wants the full table imports `pycnn.models` (as `import pycnn` does).
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

TASKS = ("classification", "segmentation", "detection", "restoration", "generation")


@dataclass(frozen=True)
class Paper:
    """Where an architecture comes from; `arxiv` is None for what was published elsewhere only."""

    title: str
    authors: str
    year: int
    arxiv: str | None = None

    def __str__(self) -> str:
        where = "" if self.arxiv is None else f", arXiv:{self.arxiv}"
        return f"{self.authors} {self.year}, {self.title}{where}"


@dataclass(frozen=True)
class Family:
    """What the variants of one architecture share; `dataclasses.replace` makes the exception.

    Attributes:
        name: of the family, as in "resnet".
        paper: the one that proposed it.
        image_size: (h, w) the network was designed for.
        num_classes: the default; None where the network has no classes and takes no such argument.
        in_channels: the default.
        task: one of `TASKS`.
        extra_inputs: what the forward needs behind the image, such as a timestep.
        stages: for a backbone, {reduction: paths of the modules, one run on the other's output}; the stage's feature
            map is the last one's output and is h/reduction high. "features.3:7" stands for features.3 ... features.6.
            None where the network is not such a row of modules.
    """

    name: str
    paper: Paper
    image_size: tuple[int, int]
    num_classes: int | None = 10
    in_channels: int = 3
    task: str = "classification"
    extra_inputs: tuple[Any, ...] = ()
    stages: Mapping[int, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(
                f"family {self.name!r}: task {self.task!r} is none of {', '.join(TASKS)}"
            )


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: what `create_model` is given, lower case with underscores.
        factory: a class or function returning the module; takes `in_channels` and, unless the family has none,
            `num_classes`.
        family: what it shares with others.
        fixed: the other arguments of `factory` which make this variant (depths, widths, ...).
    """

    name: str
    factory: Callable[..., nn.Module]
    family: Family
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(c, h, w) of one image of the default network."""
        return (self.family.in_channels, *self.family.image_size)

    @property
    def num_classes(self) -> int | None:
        """Of the default network."""
        return self.family.num_classes

    @property
    def options(self) -> list[str]:
        """Names of the arguments of `factory` which `create_model` hands on."""
        return list(inspect.signature(self.factory).parameters)


_VARIANTS: dict[str, Variant] = {}


def model(name: str, family: Family, **fixed: Any) -> Callable[[Factory], Factory]:
    """Decorator which puts a model class or function into the table under `name`.

    A table of variants of one class is a loop: `model(name, RESNET, layers=depths)(ResNet)`.

    Raises:
        ValueError: the name is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in _VARIANTS:
            taken_by = _VARIANTS[name].factory.__qualname__
            raise ValueError(f"model {name!r} is already registered by {taken_by}")
        _VARIANTS[name] = Variant(name, factory, family, fixed)
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


def list_models(pattern: str | None = None, *, task: str | None = None) -> list[str]:
    """Names of the zoo's models, numbers in order of size (resnet18 before resnet101).

    Args:
        pattern: a shell pattern such as "resnet*"; None lists all.
        task: one of "classification", "segmentation", "detection", "restoration", "generation"; None lists all.

    Raises:
        ValueError: there is no such task.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"unknown task {task!r}: it is one of {', '.join(TASKS)}")
    rows = [v for v in _VARIANTS.values() if task is None or v.family.task == task]
    names = sorted((v.name for v in rows), key=_natural_key)
    return names if pattern is None else fnmatch.filter(names, pattern)


def _natural_key(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
