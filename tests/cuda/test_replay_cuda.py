"""Recorded plans: what is recorded when, kept within which bytes, replayed by whom. The device's part is a stand-in
that runs what it was given; on a GPU (PYCNN_TEST_DEVICE=cuda) it is CUDA graphs."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from launch import DEVICE, ON_HOST, on_host
from nets import Branches
from recorder import Stand, use
from test_plan_cuda import Mixed, randn, settle
from torch import Tensor, nn

import pycnn
from pycnn import compiled
from pycnn.inspection import graphs_of
from pycnn.planning.replay import Graphs

Tensors = list[Tensor]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Models get the kernels on host threads, their plans recorded by it."""
    return use(monkeypatch, Graphs())


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1)]
    return settle(nn.Sequential(*layers)).to(DEVICE, torch.bfloat16)


def image(n: int = 1) -> Tensor:
    return randn(n, 8, 6, 6).bfloat16()


def kept(fast: nn.Module, x: Tensor) -> str:
    (said,) = pycnn.explain(fast, x).issued
    return said


@torch.no_grad()
def test_the_second_call_records_and_outputs_are_fresh(stand: Stand) -> None:
    model, first, second = net(), image(2), image(2)
    fast = pycnn.optimize(model)
    assert kept(fast, first) == "a CUDA graph from the second call on"
    plain = [fast(first)]
    assert not ON_HOST or stand.said == []
    plain.append(pycnn.optimize(model)(second))
    ys = [fast(x) for x in (first, second, first, second)]
    assert [torch.equal(y, plain[i % 2]) for i, y in enumerate(ys)] == [True] * 4
    assert len({y.data_ptr() for y in ys}) == 4
    assert not ON_HOST or (stand.count("record"), stand.count("replay")) == (1, 4)
    assert kept(fast, first).startswith("a CUDA graph, which keeps 0.0")
    assert "a CUDA graph, which keeps" in str(pycnn.explain(fast, first))
    fast(image(3))
    assert not ON_HOST or stand.count("record") == 1


@torch.no_grad()
def test_inference_tensors_and_plain_ones_take_turns(stand: Stand) -> None:
    fast, x = pycnn.optimize(net()), image()
    expected = fast(x)
    for mode in (True, False, True, False):
        with torch.inference_mode(mode), torch.no_grad():
            assert torch.equal(fast(x), expected)
    assert not ON_HOST or stand.count("replay") == 4


@torch.no_grad()
def test_warmup_records(stand: Stand) -> None:
    fast = pycnn.optimize(net())
    fast.warmup((2, 8, 6, 6), image(3))
    assert not ON_HOST or (stand.count("record"), stand.count("replay")) == (2, 2)
    assert kept(fast, image(2)).startswith("a CUDA graph, which keeps")


@on_host
@torch.no_grad()
def test_several_inputs_outputs_and_plans_around_torchs_steps(stand: Stand) -> None:
    torch.manual_seed(2)
    for model, plans in ((Branches(), 1), (Mixed(), 2)):
        model = settle(model).bfloat16()
        x = randn(2, 3, 8, 8).bfloat16()
        fast = pycnn.optimize(model)
        expected = torch.utils._pytree.tree_leaves(fast(x))
        before = stand.count("record")
        for _ in range(3):
            for y, first in zip(torch.utils._pytree.tree_leaves(fast(x)), expected, strict=True):
                assert torch.equal(y, first)
        assert stand.count("record") - before == plans == len(pycnn.explain(fast, x).issued)


@on_host
@torch.no_grad()
def test_a_budget_of_bytes_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs()
    stand, model = use(monkeypatch, graphs), net()
    fast = pycnn.optimize(model)
    xs = [image(n) for n in (4, 5, 6)]
    for x in (*xs[:2], *xs[:2]):
        fast(x)
    assert stand.count("record") == 2
    graphs.limit = graphs.bytes() + 100  # two of them, or a later one and nothing else
    fast(xs[0])
    fast(xs[2])
    fast(xs[2])  # takes the room of both: it is larger
    assert stand.count("record") == 3 and graphs.bytes() <= graphs.limit
    assert kept(fast, xs[1]) == "a CUDA graph from the next calls on"
    held = [kept(fast, x).startswith("a CUDA graph, which keeps") for x in xs]
    assert held == [True, False, True] or held == [False, False, True]
    expected = [pycnn.optimize(model)(x) for x in xs]
    for _ in range(20):  # who had to go comes back, but not at every call
        assert all(torch.equal(fast(x), y) for x, y in zip(xs, expected, strict=True))
        assert graphs.bytes() <= graphs.limit
    assert 4 <= stand.count("record") <= 7


@on_host
@torch.no_grad()
def test_what_is_larger_than_the_budget_is_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = use(monkeypatch, Graphs(limit=1000))
    fast, x = pycnn.optimize(net()), image()
    ys = [fast(x) for _ in range(4)]
    assert torch.equal(ys[0], ys[3]) and stand.said == []
    assert "no CUDA graph: it would keep" in kept(fast, x) and "more than 1000" in kept(fast, x)


@torch.no_grad()
def test_changed_weights_drop_graphs_and_make_new_ones(stand: Stand) -> None:
    model, x = net(), image()
    fast = pycnn.optimize(model)
    first = [fast(x) for _ in range(3)][-1]
    (graph,) = graphs_of(fast)
    (plan,) = graph.program.plans([x])
    gone = weakref.ref(plan.plan.replay)
    del graph, plan
    model[0].weight.mul_(2)
    fast(x.repeat(1, 1, 1, 2)[..., ::2])  # not a call of a known shape
    gc.collect()
    assert gone() is None
    ys = [fast(x) for _ in range(3)]
    assert all(torch.equal(y, pycnn.optimize(model)(x)) for y in ys)
    assert not torch.equal(ys[0], first)
    assert not ON_HOST or stand.count("record") == 2
    fast.refresh()
    assert torch.equal(fast(x), ys[0])


@on_host
def test_callers_that_record_or_want_gradients_launch(stand: Stand) -> None:
    model, x = net(), image()
    fast = pycnn.optimize(model)
    for _ in range(3):
        y = fast(x)
        y.float().square().sum().backward()
    assert stand.said == []
    with torch.no_grad():
        fast(x)
        fast(x)
        count = len(stand.said)
        stand.captured = True
        assert torch.equal(fast(x), y) and len(stand.said) == count
        stand.captured = False
        assert torch.equal(fast(x), y) and len(stand.said) > count


@on_host
@torch.no_grad()
def test_a_memory_limit_leaves_no_room_for_graphs(stand: Stand) -> None:
    fast, x = pycnn.optimize(net(), memory_limit=1 << 20), image()
    for _ in range(3):
        fast(x)
    assert stand.said == []
    assert kept(fast, x) == "no CUDA graph: it would keep memory beside memory_limit"


@on_host
@torch.no_grad()
def test_cudnns_own_measuring_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    stand, target = use(monkeypatch, Graphs()), compiled.target_of

    def tuned(*asked: Any) -> Callable[[], object]:
        made = target(*asked)()
        object.__setattr__(made, "variant", 99)
        return lambda: made

    monkeypatch.setattr(compiled, "target_of", tuned)
    fast, x = pycnn.optimize(net()), image()
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    ys = [fast(x) for _ in range(3)]
    assert stand.said == []
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    ys += [fast(x) for _ in range(3)]
    assert stand.count("record") == 1 and all(torch.equal(y, ys[0]) for y in ys)


@on_host
@torch.no_grad()
def test_what_cannot_be_recorded_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = Graphs()
    stand = use(monkeypatch, graphs)
    stand.broken = True
    fast, x = pycnn.optimize(net()), image()
    with caplog.at_level(logging.WARNING, logger="pycnn.replay"):
        ys = [fast(x) for _ in range(4)]
    assert all(torch.equal(y, ys[0]) for y in ys)
    assert len(caplog.records) == 1 and "it cannot be recorded: operation not" in caplog.text
    assert kept(fast, x).startswith("no CUDA graph: it cannot be recorded")
    assert graphs.bytes() == 0
