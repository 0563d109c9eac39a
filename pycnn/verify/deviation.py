"""How far a tensor is from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Deviation:
    """max|y - ref|; that over max|ref|; <y, ref> / (|y| |ref|)."""

    max_abs: float
    error: float
    cosine: float


def deviation(y: Tensor, ref: Tensor) -> Deviation:
    """y against ref of as many elements, both read in fp64.

    Where ref is not finite, y must be the same (a NaN for a NaN); if it is not, or is not finite where ref is, max_abs
    and error are infinite. Two empty or two zero tensors have cosine 1.
    """
    y, ref = (_real(t).reshape(-1) for t in (y, ref))
    finite = torch.isfinite(ref)
    if not bool(finite.all()):
        odd_y, odd_ref = y[~finite], ref[~finite]
        if not bool(((odd_y == odd_ref) | (odd_y.isnan() & odd_ref.isnan())).all()):
            return Deviation(math.inf, math.inf, math.nan)
        y, ref = y[finite], ref[finite]
    if not bool(torch.isfinite(y).all()):
        return Deviation(math.inf, math.inf, math.nan)
    if ref.numel() == 0:
        return Deviation(0.0, 0.0, 1.0)
    max_abs, largest = float((y - ref).abs().max()), float(ref.abs().max())
    norms = float(y.norm()) * float(ref.norm())
    cosine = float(y @ ref) / norms if norms > 0 else float(max_abs == 0)
    return Deviation(max_abs, relative(max_abs, largest), min(cosine, 1.0))


def relative(difference: float, largest: float) -> float:
    """difference / largest; 0 / 0 is 0."""
    if largest > 0:
        return difference / largest
    return math.inf if difference > 0 else 0.0


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one shape and dtype and the same elements, NaNs in the same places."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _real(t: Tensor) -> Tensor:
    return (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t).double()
