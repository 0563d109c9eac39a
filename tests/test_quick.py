"""A first call captures, packs and plans; a new shape only plans. `python -m bench calls` says what each costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from nets import Branches, settle

import bench.__main__ as command
import pycnn
from bench import calls
from pycnn import compiled
from pycnn.planning.weights import Weights
from pycnn.timing import Workload


def test_nothing_is_captured_or_packed_again_for_a_new_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captured, packed = [], []
    capture, pack = compiled.capture, Weights._pack
    monkeypatch.setattr(compiled, "capture", lambda *a: captured.append(a) or capture(*a))
    monkeypatch.setattr(Weights, "_pack", lambda *a: packed.append(a) or pack(*a))
    fast = pycnn.optimize(settle(Branches()), exact=True)
    with torch.inference_mode():
        fast(torch.randn(2, 3, 24, 24))
        assert len(captured) == 1 and packed
        packed.clear()
        for n, size in ((1, 24), (7, 24), (2, 30)):
            fast(torch.randn(n, 3, size, size))
        assert len(captured) == 1
        assert not packed, "the same kernels read the same weights"


def test_a_first_call_imports_no_symbolic_mathematics() -> None:
    """Under torch.compile and torch.export it is used; its import takes longer than a first call."""
    code = (
        "import sys, pycnn, torch; net = pycnn.optimize(pycnn.create_model('small_cnn').eval())\n"
        "with torch.inference_mode(): net(torch.randn(1, 3, 32, 32))\n"
        "assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_calls_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = calls.measure(Workload("small_cnn", 1))
    assert row.parameters == len(list(pycnn.create_model("small_cnn").parameters()))
    assert set(row.batch_s) == set(row.packed_bytes) == set(calls.BATCHES)
    assert all(value >= 0 for value in row.packed_bytes.values())
    assert row.guard_s > 0 and 0 < row.call_s < row.steady_s + row.first_s
    assert calls.measure(Workload("lenet_like", 1)).size_s is None
    monkeypatch.setattr(
        calls, "apart", lambda _: replace(row, first_s=0.25, packed_bytes={2: 3 << 20})
    )
    assert command.main(["calls", "small_cnn"]) == 0
    assert "0.25" in (shown := capsys.readouterr().out) and "packs 3 MiB" in shown
    assert command.main(["calls", "small_cnn:no"]) == 1
