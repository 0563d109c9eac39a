"""Results written over an operand that nobody reads after them: a residual block's sum takes the memory of its skip.

Only where each element of the result lies where that one of the operand did, and the kernel reads it there before it
writes, and nowhere else: a residual and a sum are read in the epilogue, at the element that is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pycnn.planning.homes import Home
from pycnn.planning.step import Step, operands, uses_of

Over = Mapping[int, int]  # key of a result's buffer -> that of the operand whose memory it takes

# What every kernel of an op may write over (the contract is in csrc/ops/<op>/<op>.h).
_OPERANDS = {
    "add_act": ("x", "residual"),
    "arith": ("x",),
    "conv2d": ("residual",),
    "elementwise": ("x",),
    "linear": ("residual",),
}
_SCALE = "conv2d_scale_"  # a batch norm by itself


def written_over(steps: Sequence[Step], sizes: Mapping[int, int]) -> Over:
    """`sizes`: of the arena's buffers. Only buffers of one size, whose rows lie alike, share memory."""
    uses = uses_of(steps)
    found: dict[int, int] = {}
    for at, step in enumerate(steps):
        if step.y.kind != "arena" or uses[step.y.index][0] != at:
            continue
        held = [home.index for home in operands(step) if home is not None and home.kind == "arena"]
        for home in _may_go(step):
            dies = home.kind == "arena" and uses[home.index][1] == at
            if dies and held.count(home.index) == 1 and _alike(home, step.y, sizes):
                found[step.y.index] = home.index
                break
    return found


def is_scale(step: Step) -> bool:
    """Whether it multiplies and adds, element by element."""
    return step.kernel.startswith(_SCALE)


def _may_go(step: Step) -> list[Home]:
    names = ("x",) if is_scale(step) else ()
    homes = (getattr(step, name) for name in (*_OPERANDS.get(step.op, ()), *names))
    return [home for home in homes if home is not None]


def _alike(operand: Home, y: Home, sizes: Mapping[int, int]) -> bool:
    lies = ((home.ld, home.offset, home.image, sizes[home.index]) for home in (operand, y))
    return next(lies) == next(lies)


def owner(key: int, over: Over) -> int:
    """The buffer whose memory it has."""
    while key in over:
        key = over[key]
    return key
