"""Plans kept are bounded by number and by bytes; what a dropped plan alone held goes with it."""

from __future__ import annotations

import gc
import weakref

import torch
from nets import settle
from torch import nn

import pycnn
from pycnn.inspection import graphs_of
from pycnn.planning import kept
from pycnn.planning.kept import KeptPlans
from pycnn.planning.lower import Lowered
from pycnn.planning.program import Program


def net() -> nn.Module:
    layers = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1)]
    return settle(nn.Sequential(*layers)).eval()


def plan(program: Program, size: int, n: int = 1) -> Lowered:
    x = torch.zeros(n, 16, size, size)
    now = program.at([x])
    return program.planner.lowered(now.items[0], [x], now)


def program_of(fast: nn.Module) -> Program:
    with torch.inference_mode():
        fast(torch.zeros(1, 16, 9, 9))
    (graph,) = graphs_of(fast)
    return graph.program


def test_the_plan_not_used_for_longest_goes_first() -> None:
    program = program_of(pycnn.optimize(net()))
    plans = [plan(program, 8 + i) for i in range(3)]
    held = KeptPlans()
    for i, each in enumerate(plans):
        assert not held.keep(i, each, 3)
    assert held.find(0) is plans[0] and held.find(7) is None
    assert held.keep(3, plan(program, 20), 3)
    assert [held.find(i) is not None for i in range(4)] == [True, False, True, True]
    held.drop(2)
    assert held.find(2) is None and len(held) == 2


def test_bytes_bound_them_before_their_number_does() -> None:
    program = program_of(pycnn.optimize(net(), batch_invariant=True))
    one = KeptPlans()
    one.keep("", plan(program, 8), 1)
    table = one.bytes()  # all read the same packed weights: tables alone are counted
    held = KeptPlans(limit=4 * table)
    dropped = [held.keep(i, plan(program, 8, n), 64) for i, n in enumerate(range(2, 8))]
    assert dropped == [False] * 4 + [True] * 2
    assert len(held) == 4 and held.bytes() == 4 * table
    assert KeptPlans(limit=0).keep("one", plan(program, 8), 64) is False


def test_weights_that_the_newest_plan_does_not_read_count() -> None:
    program = program_of(pycnn.optimize(net(), threads=1))
    small = plan(program, 2)  # too few pixels for Winograd
    large = plan(program, 64)
    names = [[s.kernel for s in p.steps if s.op == "conv2d"] for p in (small, large)]
    assert not set(names[0]) & set(names[1])
    held = KeptPlans()
    held.keep("large", large, 64)
    alone = held.bytes()
    held.keep("small", small, 64)
    assert held.bytes() > alone + sum(t.nbytes for t in kept.packed(large))


def test_a_dropped_plan_takes_its_weights_and_its_direct_call_with_it() -> None:
    fast = pycnn.optimize(net(), threads=1)
    program = program_of(fast)
    shapes = [(1, 16, 64, 64), (1, 16, 2, 2), (1, 16, 3, 3)]
    with torch.inference_mode():
        y = fast(torch.ones(shapes[0]))
        first = weakref.ref(plan(program, 64).plan)
        both = program.weights.bytes()
        program.planner._kept._limit = 0  # room for the newest alone
        fast(torch.ones(shapes[1]))
        fast(torch.ones(shapes[2]))
        gc.collect()
        assert first() is None
        assert len(program.planner._kept) == len(fast._direct.calls) == 1
        assert program.weights.bytes() < both
        assert torch.equal(fast(torch.ones(shapes[0])), y)
