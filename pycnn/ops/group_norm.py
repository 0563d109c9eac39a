"""Group norm with its activation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act

_NAMES = {code: name for name, code in ACTS.items()}


def reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    eps: float,
    act: str,
    act_param: float,
) -> Tensor:
    """The torch composition."""
    return apply_act(F.group_norm(x, groups, weight, bias, eps), act, act_param)


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    act: str = "none",
    act_param: float = LEAKY_SLOPE,
) -> Tensor:
    """``y = act((x - mean) / sqrt(var + eps) * weight + bias)``, mean and biased variance of an image's group.

    "Group Normalization", Wu, He 2018 (arXiv 1803.08494). A group is c / groups neighbouring channels of one image,
    over all pixels.

    Equivalent to: ``act(F.group_norm(x, groups, weight, bias, eps))``

    Args:
        x: [n, c, ...]. fp32 on the CPU runs our kernel, NCHW and channels_last maps as they lie; anything else, and a
            call that needs a gradient, runs the torch composition above.
        groups: divides c.
        weight, bias: [c] each, or None for 1 and 0; same dtype and device as x.
        eps: added to the variance.
        act, act_param: as in :func:`pycnn.ops.conv2d`.

    Returns: a tensor of x's shape, channels_last if x is.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: x has fewer than 2 dimensions, groups does not divide c, weight or bias is not [c], or the
            activation is unknown; the message has the values.
    """
    _torch.check_tensor("group_norm", "x", x)
    _torch.check_same("group_norm", x, weight=weight, bias=bias)
    code = act_code("group_norm", act)
    if x.dim() < 2:
        raise ValueError(f"group_norm: x must have at least 2 dimensions, got {tuple(x.shape)}")
    c = x.shape[1]
    if not isinstance(groups, int) or groups < 1 or c % groups:
        raise ValueError(f"group_norm: groups={groups} does not divide c={c}")
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != (c,):
            raise ValueError(f"group_norm: {name} has shape {tuple(t.shape)}, x has {c} channels")
    if _torch.falls_back("group_norm", x, weight, bias):
        return reference(x, weight, bias, groups, eps, act, act_param)
    op = torch.ops.pycnn.group_norm.default
    y: Tensor = op(x, weight, bias, groups, eps, code, act_param, "")
    return y


def _raw_reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    eps: float,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    return reference(x, weight, bias, groups, eps, _NAMES[act], act_param)


def _fake(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    eps: float,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    return _torch.empty_map(x, x.shape, not x.is_contiguous() and _torch.channels_last(x))


_torch.register("group_norm", _fake, _raw_reference, tensors=3)
