"""Saved networks that hold packed weights, written and taken apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from nets import conv_bn, settle
from torch import Tensor, nn

import pycnn
from pycnn import saved


def small() -> nn.Module:
    return settle(nn.Sequential(conv_bn(3, 32), nn.ReLU(), conv_bn(32, 32), nn.Conv2d(32, 32, 1)))


def written(net: nn.Module, path: Path, *shapes: tuple[int, ...], **options: Any) -> Any:
    fast = pycnn.optimize(net, **options)
    fast.warmup(*shapes)
    pycnn.save(fast, path, packed=True)
    return fast


def contents(path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    return json.loads(header["network"]), header, tensors


def rewrite(
    path: Path, described: dict[str, Any], header: dict[str, str], tensors: dict[str, Tensor]
) -> None:
    """As `save` would."""
    data = safetensors.torch.save(tensors, {**header, "network": json.dumps(described)})
    path.write_bytes(b"".join(saved._aligned(data)))
