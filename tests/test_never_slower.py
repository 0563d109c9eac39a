"""Every layer is held against torch's own op: `python -m bench never_slower` exits with 1 where one is slower."""

from dataclasses import replace

import pytest
import torch

import bench.__main__ as command
import pycnn
from bench import never_slower
from pycnn.inspection import compiled_for
from pycnn.ir import Conv2d, Linear, resolve, run_op
from pycnn.timing import Workload
from pycnn.timing.networks import network_and_input


def test_every_layer_is_held_against_torch(capsys, monkeypatch):
    held = never_slower.hold(Workload("lenet_like", 2), seconds=0.0)
    assert len(held) > 4 and all(a.ours_s > 0 and a.torch_s > 0 for a in held)
    assert [a.torch_s / a.ours_s for a in held] == sorted(a.torch_s / a.ours_s for a in held)
    assert any("conv2d" in a.kernels for a in held) and any("pool2d" in a.kernels for a in held)
    slow = replace(held[0], ours_s=1.0, torch_s=0.5)
    assert slow.slower and not replace(slow, ours_s=0.52).slower
    monkeypatch.setattr(never_slower, "hold", lambda *_: [slow])
    assert command.main(["never_slower", "lenet_like"]) == 1
    assert "slower: lenet_like, " in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, has", [("mobilenet_v3_small", "has_gate"), ("densenet121", "prologue")]
)
def test_torchs_call_computes_the_layer_with_all_that_is_fused(name, has):
    net, x = network_and_input(Workload(name, 1, (64, 64)))
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        fast(x)
        compiled, _ = compiled_for("test", fast, (x,), {})
        program = compiled.program
        shapes, tensors = program.at([x]).shapes, program.graph.tensors
        fused = 0
        for node in program.graph.nodes:
            op = resolve(node.op, shapes)
            if not isinstance(op, (Conv2d, Linear)):
                continue
            fused += isinstance(op, Conv2d) and getattr(op, has) not in (None, False)
            inputs = [torch.randn(shapes[v]) for v in node.inputs]
            found = never_slower._torch_call(node, shapes, tensors)(inputs)
            torch.testing.assert_close(found, run_op(op, inputs, tensors), rtol=1e-4, atol=1e-4)
        assert fused > 4
