"""Networks of torchvision and timm under one name, with random weights: neither is needed for anything else."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from pycnn.extras import load_extra

LIBRARIES = ("torchvision", "timm")
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache
def _declare_operators(package: Path) -> Any:
    """torchvision's import asks that two operators exist. Where its compiled ones do not load (its wheel beside a torch
    of another build), they are declared, never called: the models are plain Python. Returns what keeps them."""
    library, ops = cast("Any", torch.library), cast("Any", torch.ops)
    for compiled in package.glob("_C.*"):
        with contextlib.suppress(OSError):
            ops.load_library(compiled)
    declared = library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATORS:
        if not hasattr(ops.torchvision, schema.partition("(")[0]):
            declared.define(schema)
    return declared


def load_torchvision() -> Any:
    """`torchvision.models`.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    found = importlib.util.find_spec("torchvision")
    if found is not None and found.origin is not None:
        _declare_operators(Path(found.origin).parent)
    return load_extra("torchvision.models", "torchvision", "bench")


def load_timm() -> Any:
    """`timm`, which imports torchvision.

    Raises:
        MissingExtraError: one of them cannot be imported.
    """
    load_torchvision()
    return load_extra("timm", "timm", "bench")


def list_networks(library: str) -> list[str]:
    """What `make` knows: classifiers and segmentation networks of torchvision, all of timm.

    Raises:
        ValueError: there is no such library. MissingExtraError: it is not installed.
    """
    if library == "timm":
        return list(load_timm().list_models())
    if library != "torchvision":
        raise ValueError(f"unknown library {library!r}: one of {', '.join(LIBRARIES)}")
    models = load_torchvision()
    return [*models.list_models(models), *_segmentation()]


def _segmentation() -> list[str]:
    models = load_torchvision()
    return list(models.list_models(models.segmentation))


def check_name(library: str, name: str) -> None:
    """Before any work.

    Raises:
        ValueError: the library or the network is unknown. MissingExtraError: the library is not installed.
    """
    known = list_networks(library)
    if name not in known:
        raise ValueError(f"unknown network {name!r} of {library}{_hint(name, known)}")


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


def make(library: str, name: str) -> nn.Module:
    """The network with random weights, in eval mode.

    Raises:
        ValueError, MissingExtraError: see `check_name`.
    """
    check_name(library, name)
    if library == "timm":
        net: nn.Module = load_timm().create_model(name)
    else:
        extra = {"weights_backbone": None} if name in _segmentation() else {}
        net = load_torchvision().get_model(name, weights=None, **extra)
    return net.eval()


def input_size(library: str, name: str) -> tuple[int, int, int]:
    """(c, h, w) of the image the network's published weights are for.

    Raises:
        ValueError, MissingExtraError: see `check_name`.
    """
    check_name(library, name)
    if library == "timm":
        said = load_timm().get_pretrained_cfg(name)
        c, h, w = (3, 224, 224) if said is None else said.input_size
        return c, h, w
    weights = load_torchvision().get_model_weights(name).DEFAULT
    crop = weights.transforms.keywords
    size = int(crop["crop_size" if "crop_size" in crop else "resize_size"])
    return 3, size, size
