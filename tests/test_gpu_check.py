"""bench.gpu_check without a GPU: which pieces run, the record, what it says where there is nothing to run on."""

import json
import os

import pytest
import torch

import pycnn
from bench import gpu_check, gpu_pieces
from bench.gpu_check import Piece
from pycnn.explain import Report
from pycnn.explain.report import StepReport
from pycnn.planning import tuned


def test_pieces_are_found_by_pattern():
    quick = {piece.name for piece in gpu_check.wanted([], quick=True)}
    assert {"ceilings", "kernels", "errors_resnet50"} <= quick and "times_1_resnet50" not in quick
    found = [piece.name for piece in gpu_check.wanted(["times_8_*", "machine"], quick=False)]
    assert found[0] == "machine" and len(found) == 1 + len(gpu_pieces.NETWORKS)
    assert len(gpu_check.wanted([], quick=False)) == len(gpu_check.PIECES)
    with pytest.raises(ValueError, match="no piece named tmes: there are machine, ceilings"):
        gpu_check.wanted(["tmes"], quick=False)


def test_finished_pieces_are_not_run_again_and_failures_are_kept(tmp_path):
    calls = []

    def good(record):
        calls.append("good")
        return {"rate": 3.0}

    def bad(record):
        assert record["good"]["rate"] == 3.0
        calls.append("bad")
        raise RuntimeError("CUDA error: an illegal address\nand a page more")

    pieces, path = [Piece("good", good), Piece("bad", bad)], tmp_path / "deep" / "record.json"
    expected = ["bad: RuntimeError: CUDA error: an illegal address"]
    assert gpu_check.run(pieces, path, again=False, seconds=60) == (expected, 0)
    assert gpu_check.run(pieces, path, again=False, seconds=60) == (expected, 0)
    assert calls == ["good", "bad"]
    assert gpu_check.run(pieces, path, again=True, seconds=60) == (expected, 0)
    assert calls == ["good", "bad"] * 2
    more = [*pieces, Piece("late", good)]
    assert gpu_check.run(more, path, again=False, seconds=-1) == (expected, 1)
    assert set(json.loads(path.read_text())) == {"good", "bad"}
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is no record of gpu_check"):
        gpu_check.read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        gpu_check.read(path)


def test_without_a_gpu_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--quick"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("gpu_check: torch ") and said.endswith("sees no CUDA device\n")
    assert gpu_check.main(["nonsense"]) == 1


def test_the_file_is_named_after_the_gpu():
    path = gpu_check.default_path("NVIDIA H200 NVL")
    assert path.parent.name == "h200-nvl" and path.suffix == ".json"


def test_times_are_told_with_the_fraction_of_the_floor():
    found = {"took_s": 3.5, "seconds": {"pycnn": 2e-3, "torch": 4e-3}, "of_floor": 0.25}
    line = "times_1_net: 3.5 s, 0 failures; pycnn 2.000 ms; torch 4.000 ms; 25% of the floor"
    assert gpu_check.told("times_1_net", found) == line
    assert (
        gpu_check.told("machine", {"took_s": 0.1, "failures": ["x"]})
        == "machine: 0.1 s, 1 failures"
    )


def test_plans_by_rule_see_no_table_and_leave_the_setting(tmp_path, monkeypatch):
    mine, x = tmp_path / "mine.json", torch.randn(1, 3, 8, 8)
    monkeypatch.setenv("PYCNN_TUNED", str(mine))
    with torch.inference_mode():
        fast = gpu_pieces.by_rule(torch.nn.Conv2d(3, 8, 3).eval(), x)
    assert os.environ["PYCNN_TUNED"] == str(mine)
    found = {path for path in tuned._tables if path is not None and path.name == "none.json"}
    assert found and pycnn.explain(fast, x).steps and not mine.exists()


def test_errors_are_held_against_fp64_and_torchs_own():
    found = gpu_pieces.errors("mobilenet_v3_small", {}, device="cpu", size=64)
    assert set(found["errors"]) == {"bf16", "fp16", "fp32"} and not found["failures"]
    assert 0 < found["errors"]["fp32"]["pycnn"] < 1e-4 < found["errors"]["bf16"]["torch"]


def test_the_floor_is_the_sum_of_each_steps_roof():
    step = StepReport(
        "a", "conv2d", "k", (1,), (1,), "", flops=8e9, activation_bytes=1e6, weight_bytes=1e6
    )
    bound = StepReport("b", "add_act", "k", (1,), (1,), "", flops=1.0, activation_bytes=3e9)
    report = Report("net", (step, bound))
    assert gpu_pieces.floor(report, {"bf16_flops": 8e12, "copy_bytes_s": 3e12}) == pytest.approx(
        2e-3
    )


def test_bits_with_and_without_early_starts_are_compared(monkeypatch):
    """On the CPU, which has none; a call that differs is counted."""
    monkeypatch.setattr(gpu_pieces, "seconds", lambda call, budget: 0.5)
    found = gpu_pieces.early("mobilenet_v3_small", {}, device="cpu", size=32)
    assert found["failures"] == [] and list(found["seconds"]) == [
        "PYCNN_CUDA_PDL=0",
        "PYCNN_CUDA_PDL=1",
    ]
    assert "PYCNN_CUDA_PDL" not in os.environ
    monkeypatch.setattr(gpu_pieces.torch, "equal", lambda a, b: False)
    found = gpu_pieces.early("mobilenet_v3_small", {}, device="cpu", size=32)
    assert found["failures"][1] == "mobilenet_v3_small, PYCNN_CUDA_PDL=1: 50 of 50 calls differ"
