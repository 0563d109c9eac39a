"""Every layer is held against torch's own op: `python -m bench never_slower` exits with 1 where one is slower."""

from dataclasses import replace

import bench.__main__ as command
from bench import never_slower
from pycnn.timing import Workload


def test_every_layer_is_held_against_torch(capsys, monkeypatch):
    held = never_slower.hold(Workload("small_cnn", 2), seconds=0.0)
    assert len(held) > 4 and all(a.ours_s > 0 and a.torch_s > 0 for a in held)
    assert [a.torch_s / a.ours_s for a in held] == sorted(a.torch_s / a.ours_s for a in held)
    assert any("conv2d" in a.kernels for a in held) and any("pool2d" in a.kernels for a in held)
    slow = replace(held[0], ours_s=1.0, torch_s=0.5)
    assert slow.slower and not replace(slow, ours_s=0.52).slower
    monkeypatch.setattr(never_slower, "hold", lambda *_: [slow])
    assert command.main(["never_slower", "small_cnn"]) == 1
    assert "slower: small_cnn, " in capsys.readouterr().out
