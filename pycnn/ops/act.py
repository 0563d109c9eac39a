"""Activations of the fused epilogue: names at the Python edge, numbers in ``csrc/base/act.h``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ACTS: dict[str, int] = {
    "none": 0,
    "relu": 1,
    "relu6": 2,
    "leaky_relu": 3,
    "silu": 4,
    "hardswish": 5,
    "hardsigmoid": 6,
    "sigmoid": 7,
    "tanh": 8,
    "gelu": 9,
    "gelu_tanh": 10,
    "mish": 11,
    "elu": 12,
}
LEAKY_SLOPE = 0.01


def act_code(op: str, act: str) -> int:
    """Number of activation ``act``; ValueError naming the choices when there is none."""
    if act not in ACTS:
        raise ValueError(f"{op}: act={act!r} is not one of {', '.join(ACTS)}")
    return ACTS[act]


def apply_act(x: Tensor, act: str, act_param: float = LEAKY_SLOPE) -> Tensor:
    """The torch composition of an activation; ``act_param`` is leaky_relu's slope or elu's alpha."""
    match act:
        case "none":
            return x
        case "leaky_relu":
            return F.leaky_relu(x, act_param)
        case "elu":
            return F.elu(x, act_param)
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "sigmoid" | "tanh":
            return torch.sigmoid(x) if act == "sigmoid" else torch.tanh(x)
        case "relu" | "relu6" | "silu" | "hardswish" | "hardsigmoid" | "mish":
            result: Tensor = getattr(F, act)(x)
            return result
    raise ValueError(f"act={act!r} is not one of {', '.join(ACTS)}")
