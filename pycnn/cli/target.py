"""What `pycnn run` runs, and how pictures become its input; a network of the zoo."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pycnn.cli.images import Preparation
from pycnn.models import create_model
from pycnn.optimize import optimize
from pycnn.registry import find_model

TASKS = ("classification", "segmentation", "restoration")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass(frozen=True)
class Target:
    """Attributes:
    name: the model's, or the file's.
    task: one of `TASKS`.
    channels: of a picture, 1 or 3. image: (h, w) it was made for; None: any.
    white: the value it takes for white.
    num_classes: None where it has none, or they are not known.
    batch: images it takes at once; None: any number.
    trained: whether its weights are somebody's.
    load: to the optimised module, on at most so many threads (None: torch's).
    """

    name: str
    task: str
    channels: int
    image: tuple[int, int] | None
    white: float
    num_classes: int | None
    batch: int | None
    trained: bool
    load: Callable[[int | None], nn.Module]

    def preparation(self, size: int | None, mean: str | None, std: str | None) -> Preparation:
        """How a picture becomes its input. Raises ValueError: numbers that are none, or too many."""
        classifier = self.task == "classification"
        imagenet = self.channels == 3 and self.task != "restoration"
        return Preparation(
            self.channels,
            self.image if size is None else (size, size),
            crop=classifier,
            white=self.white,
            mean=_numbers("--mean", mean, self.channels, MEAN if imagenet else None),
            std=_numbers("--std", std, self.channels, STD if imagenet else None),
        )


def zoo_target(
    name: str, num_classes: int | None, in_channels: int | None, weights: Path | None
) -> Target:
    """A network of the zoo. Raises ValueError: the name or the task is none that pictures are for."""
    variant = find_model(name)
    task = variant.family.task
    if task not in TASKS:
        raise ValueError(f"run is for {', '.join(TASKS)}; {name} is for {task}")
    channels = variant.family.in_channels if in_channels is None else in_channels
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, {name} would take {channels}")
    parameter = inspect.signature(variant.factory).parameters.get("value_range")

    def load(threads: int | None) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                net = create_model(name, num_classes, in_channels, pretrained=weights).eval()
            except TypeError as error:  # what lies in the file
                raise ValueError(str(error)) from None
        return optimize(net, threads=threads)

    return Target(
        name,
        task,
        channels,
        variant.family.image_size if task == "classification" else None,
        1.0 if parameter is None else float(parameter.default),
        variant.num_classes if num_classes is None else num_classes,
        None,
        weights is not None,
        load,
    )


def _numbers(
    option: str, text: str | None, channels: int, default: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if text is None:
        return default
    if text == "none":
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option} {text}: numbers with commas between them, or none") from None
    if len(found) not in (1, channels):
        raise ValueError(f"{option} {text}: {len(found)} numbers for {channels} channels")
    if option == "--std" and not all(value > 0 for value in found):
        raise ValueError(f"--std {text}: must be positive")
    return found * channels if len(found) == 1 else found
