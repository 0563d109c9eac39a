"""How far fp32 sums may lie from fp64's: the bounds of every dense op, in one place."""

import torch
from torch import Tensor

EPS = 2.0**-24  # one rounding to nearest of fp32, relative
# csrc/base/simd/activate.h states 4e-7 absolute for sigmoid, tanh and erf; silu and gelu multiply them by x.
ACT_ERROR = 5e-7
STEEPEST = 1.5  # slope of any activation: hardswish's at 3


def sums(reduction: int, magnitude: Tensor) -> Tensor:
    """Bound of a sum of `reduction` products, bias and residual, whose absolute values add up to `magnitude`.

    A partial sum is at most `magnitude`, so each addition rounds by at most EPS * magnitude; the roundings have
    random signs, so that n of them add up as sqrt(n) of one. Twice that, for the tail of the walk.
    """
    return 2 * EPS * (reduction + 3) ** 0.5 * magnitude


def activated(before: Tensor, bound: Tensor) -> Tensor:
    """Bound after any activation of `before`, which is itself known within `bound`."""
    return STEEPEST * bound + ACT_ERROR * before.abs().clamp(min=1)


def check(y: Tensor, expected: Tensor, bound: Tensor) -> None:
    """Every element of y within its own bound of `expected`; NaN is never within."""
    assert y.shape == expected.shape
    off = (y.double() - expected.double()).abs()
    bad = ~(off <= bound)
    if bad.any():
        at = tuple(bad.nonzero()[0].tolist())
        message = f"{int(bad.sum())} of {y.numel()} off, first at {at}: "
        message += f"{y[at]:.9g}, expected {expected[at]:.9g} within {bound[at]:.3g}"
        raise AssertionError(message)


def check_values(y: Tensor, expected: Tensor) -> None:
    """For results with NaN and infinities, each where `expected` has it; the rest of size about 1."""
    torch.testing.assert_close(y.double(), expected.double(), rtol=1e-5, atol=1e-5, equal_nan=True)
