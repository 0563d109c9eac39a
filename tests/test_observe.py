"""Every value of a plan can be seen, and every step timed, with the numbers of the ordinary run."""

import time

import pytest
import torch
from captured import net
from nets import Branches, Outputs, Views, settle
from torch import Tensor, nn

from pycnn import _C
from pycnn.frontend import capture
from pycnn.ir import infer_shapes, resolve, run_op, run_torch_op
from pycnn.ir.ops import Torch
from pycnn.passes import run_passes
from pycnn.planning import cpu
from pycnn.planning.formats import readable
from pycnn.planning.observe import observe
from pycnn.planning.program import Program
from pycnn.planning.segments import Segment
from pycnn.planning.target import addresses
from pycnn.planning.weights import Weights


def made(net: nn.Module, x: Tensor) -> Program:
    graph = run_passes(capture(settle(net), (x,)))
    target = cpu.targets()
    return Program(graph, Weights(graph.tensors, target()), target)


def by_torch(program: Program, x: Tensor) -> dict[int, Tensor]:
    """Every value of the graph, op by op in plain torch."""
    graph = program.graph
    shapes, values = infer_shapes(graph, [tuple(x.shape)]), {graph.inputs[0]: x}
    for node in graph.nodes:
        op, operands = resolve(node.op, shapes), [values[v] for v in node.inputs]
        if isinstance(op, Torch):
            results = run_torch_op(op, operands, graph.tensors.__getitem__)
        else:
            results = [run_op(op, operands, graph.tensors)]
        values.update(zip(node.outputs, results, strict=True))
    return values


@pytest.mark.parametrize("make", [Branches, Views, Outputs])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_value_is_seen(make: type[nn.Module], channels_last: bool) -> None:
    x = torch.randn(2, 3, 12, 10)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        program = made(make(), x)
        expected = by_torch(program, x)
        seen: dict[int, Tensor] = {}

        def on_segment(segment, inputs, now):
            _, values = observe(program, segment, inputs, now)
            seen.update(values)
            return {v: values[v] for v in segment.outputs}

        program.walk([x], on_segment, program.run_torch)
        segments = [item for item in program.at([x]).items if isinstance(item, Segment)]
    assert set(seen) == {v for s in segments for node in s.nodes for v in node.outputs}
    for value, found in seen.items():
        torch.testing.assert_close(found, expected[value], rtol=1e-4, atol=1e-5)


def test_the_kept_plan_gives_the_bits_of_the_plan() -> None:
    x = torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        program = made(net(), x)
        now = program.at([x])
        (segment,) = now.items
        lowered, values = observe(program, segment, [x], now)
        y = program.run([x])
    assert torch.equal(values[segment.outputs[0]], y)
    assert lowered.arena_bytes > program.planner.lowered(segment, [x], now).arena_bytes


@pytest.mark.parametrize("workers", [1, 2])
def test_a_timed_run_has_the_bits_of_the_run_and_its_times_are_in_order(workers: int) -> None:
    x = torch.randn(1, 3, 128, 128)  # enough for a second thread
    before = torch.get_num_threads()
    torch.set_num_threads(workers)
    try:
        with torch.no_grad():
            program = made(net(), x)
            now = program.at([x])
            (segment,) = now.items
            lowered = program.planner.lowered(segment, [readable(x)], now)
            (y,) = lowered.fresh_outputs()
            start = time.perf_counter_ns()
            times = lowered.plan.run_timed(addresses([x]), addresses([y]))
            end = time.perf_counter_ns()
            assert torch.equal(y, program.run([x]))
    finally:
        torch.set_num_threads(before)
    assert lowered.plan.workers == min(workers, _C.machine()["cores"])
    assert len(times) == len(lowered.steps) * lowered.plan.workers * 2
    last = start  # the clock is time.perf_counter's
    for step in torch.tensor(times).reshape(len(lowered.steps), -1, 2):
        took_part = step[step[:, 0] > 0]
        assert len(took_part) > 0
        assert int(took_part[:, 0].min()) >= last  # no worker begins before all have ended
        assert bool((took_part[:, 1] >= took_part[:, 0]).all())
        last = int(took_part[:, 1].max())
    assert last <= end


def test_memory_and_addresses_are_checked() -> None:
    plan = _C.Plan(64, 0, 1, 1, 1)
    memory = torch.empty(64)
    odd = memory.data_ptr() + 4
    with pytest.raises(ValueError, match="not aligned to 64 bytes"):
        plan.run_in(odd, [0], [0])
    with pytest.raises(ValueError, match="expected 1 inputs and 1 outputs"):
        plan.run_timed([], [0])
    with pytest.raises(ValueError, match="expected 1 inputs and 1 outputs"):
        plan.run_in(0, [0], [])
