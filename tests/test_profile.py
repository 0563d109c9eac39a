"""profile: work by hand, rows for every step, JSON, page, picture and trace."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from captured import Fn, net
from nets import Branches, Outputs, Views, settle
from test_page import Reader
from torch import Tensor, nn

import pycnn
from pycnn.limits import Limits
from pycnn.planning import sections
from pycnn.planning.shares import Share, durations
from pycnn.profile.measure import slots
from pycnn.profile.roofline import roofline
from pycnn.work import Work, describe, roof

MACHINE = Limits(
    threads=2, isa="avx2", fma_flops=200e9, fma_1_flops=100e9,
    l2_bytes_s=400e9, l3_bytes_s=100e9, dram_bytes_s=20e9,
    l2_copy_bytes_s=1, l3_copy_bytes_s=1, dram_copy_bytes_s=1, l2_size_bytes=1 << 20, l3_size_bytes=8 << 20,
)  # fmt: skip


def profiled(model: nn.Module, *args: Any, **kwargs: Any) -> pycnn.Profile:
    return pycnn.profile(pycnn.optimize(model), *args, seconds=0, **kwargs)


def works(model: nn.Module, x: Tensor) -> list[tuple[str, Work]]:
    """(kernel op or "torch", its work) of every step."""
    fast = pycnn.optimize(model.eval())
    with torch.no_grad():
        compiled, _ = fast._current((x,), {})
        assert compiled is not None
        found, _ = slots(compiled.program, [x])
    return [("torch" if s.step is None else s.step.op, s.work) for s in found]


def nhwc(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def test_work_of_a_convolution_by_hand() -> None:
    ((op, work), *_) = works(nn.Conv2d(3, 8, 3, padding=1), nhwc(2, 3, 10, 12))
    assert op == "conv2d"
    assert work.flops == 2 * (2 * 10 * 12) * 8 * (3 * 9)
    assert work.activation_bytes == 4 * (2 * 10 * 12) * (3 + 8)
    assert work.weight_bytes == 4 * (8 * 3 * 9 + 8)


def test_a_strided_1x1_reads_a_quarter_and_groups_have_fewer_weights() -> None:
    ((_, work), *_) = works(nn.Conv2d(16, 8, 1, stride=2, bias=False), nhwc(1, 16, 8, 8))
    assert work.activation_bytes == 4 * (4 * 4) * (16 + 8)
    ((_, work), *_) = works(nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False), nhwc(1, 16, 8, 8))
    assert work.flops == 2 * 4 * 4 * 16 * 9
    assert work.activation_bytes == 4 * 16 * (8 * 8 + 4 * 4)
    assert work.weight_bytes == 4 * 16 * 9


def test_work_of_the_other_ops_by_hand() -> None:
    def forward(self, x):
        return self.fc(torch.relu(self.pool(x) + x).mean((2, 3)))

    model = Fn(forward, pool=nn.MaxPool2d(3, 1, 1), fc=nn.Linear(8, 5))
    found = dict(works(model, nhwc(2, 8, 6, 6)))
    elements = 2 * 8 * 6 * 6
    assert found["pool2d"] == Work(9.0 * elements, 4.0 * 2 * elements, 0.0)
    assert found["add_act"] == Work(2.0 * elements, 4.0 * 3 * elements, 0.0)
    assert found["global_pool"].activation_bytes == 4 * (elements + 16)
    dense = found.get("linear", found.get("conv2d"))
    assert dense is not None and dense.flops == 2 * 2 * 8 * 5
    assert dense.weight_bytes == 4 * (8 * 5 + 5)


def test_work_of_copies_and_torch_steps_by_hand() -> None:
    weight = nn.Parameter(torch.randn(1, 10, 7))
    model = Fn(
        lambda self, x: (x.transpose(1, 2), torch.bmm(torch.tanh(self.conv(x)).flatten(2), self.w)),
        conv=nn.Conv2d(16, 4, 1),
    )
    model.w = weight
    found = works(model, torch.randn(1, 16, 2, 5))
    copies = [work for op, work in found if op == "layout"]
    assert copies[0] == Work(0.0, 4.0 * 2 * 16 * 10, 0.0)  # the NCHW input
    torch_steps = [work for op, work in found if op == "torch"]
    assert Work() in torch_steps  # the transposed view moves nothing
    assert max(work.flops for work in torch_steps) == 2 * 4 * 10 * 7


def test_the_roof_by_hand() -> None:
    assert roof(Work(200e9, 1.0, 1.0), MACHINE, 0).bound == "compute"
    assert roof(Work(200e9, 1.0, 1.0), MACHINE, 0).seconds == 1.0
    # 1 MB of activations from L2, 4 MB of weights from memory, since the network has 50 MB of them
    found = roof(Work(1e3, 1e6, 4e6), MACHINE, 50e6)
    assert found.bound == "memory"
    assert roof(Work(), MACHINE, 50e6).bound == ""
    assert found.seconds == pytest.approx(1e6 / 400e9 + 4e6 / 20e9)
    assert describe(MACHINE) == (
        "limit of 2 threads, avx2: 200 GFLOP/s; L2 400 GB/s, L3 100 GB/s, memory 20 GB/s"
    )


def test_a_steps_time_is_from_the_first_begin_to_the_last_end() -> None:
    shares = [Share(0, 0, 100, 150), Share(0, 1, 110, 190), Share(1, 0, 195, 200)]
    assert durations(shares, [False, False]) == [90, 5]


def test_of_steps_that_run_image_by_image_the_longest_worker_counts() -> None:
    shares = [Share(0, 0, 100, 150), Share(0, 1, 190, 270), Share(1, 0, 150, 160)]
    assert durations(shares, [True, True]) == [80, 10]


@pytest.mark.parametrize("images", [2, 3])
def test_the_steps_of_a_section_follow_each_other(
    images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "_CACHES", 0)
    found = profiled(settle(net()), torch.randn(images, 3, 128, 128))
    lanes: dict[int, list[tuple[float, float]]] = {}
    for span in found.spans:
        lanes.setdefault(span.worker, []).append((span.begin_s, span.end_s))
    assert len(lanes) == max(layer.workers for layer in found.layers)
    for lane in lanes.values():
        assert all(begin <= end for begin, end in lane)
        assert all(
            end <= begin + 1e-9 for (_, end), (begin, _) in zip(lane, lane[1:], strict=False)
        )


@pytest.mark.parametrize("make", [Branches, Views, Outputs, net])
def test_every_step_has_a_row(make: Any) -> None:
    model = settle(make())
    x = torch.randn(1, 3, 12, 12)
    found = profiled(model, x)
    steps = pycnn.explain(pycnn.optimize(model), x).steps
    assert [(layer.op, layer.kernel) for layer in found.layers] == [(s.op, s.kernel) for s in steps]
    assert len({layer.path for layer in found.layers}) == len(found.layers)
    assert found.rounds == 5 and found.inputs == ((1, 3, 12, 12),)
    for layer in found.layers:
        assert 0 < layer.min_s <= layer.median_s
        assert layer.percent == pytest.approx(100 * layer.limit_s / layer.min_s)
        assert layer.flops_s * layer.min_s == pytest.approx(layer.flops)
    assert sum(layer.min_s for layer in found.layers) <= found.sum_min_s * (1 + 1e-9)
    assert found.sum_min_s <= found.sum_median_s
    assert sum(found.share(layer) for layer in found.layers) == pytest.approx(1)
    assert sum(count for _, count, _ in found.kernels()) == len(found.layers)


def test_names_are_those_of_modules_and_fused_parts() -> None:
    paths = [layer.path for layer in profiled(settle(net()), torch.randn(1, 3, 8, 8)).layers]
    assert paths[:2] == ["0 + batch_norm + relu", "3"]
    found = profiled(settle(Branches()), torch.randn(1, 3, 12, 12))
    copies = [layer for layer in found.layers if layer.path.endswith(": copy")]
    assert {layer.op for layer in copies} <= {"concat", "layout"}
    assert "mix.0 + silu" in [layer.path for layer in found.layers]


def test_several_inputs_and_a_net_that_runs_as_it_is() -> None:
    extra = torch.randn(1, 16, 6, 6)
    found = profiled(settle(Outputs()), torch.randn(1, 3, 6, 6), extra=extra)
    assert found.inputs == ((1, 3, 6, 6), (1, 16, 6, 6))

    model = Fn(
        lambda self, x: self.conv(x) if x.sum() > 0 else -self.conv(x), conv=nn.Conv2d(3, 4, 1)
    )
    whole = profiled(model.eval(), torch.randn(2, 3, 5, 5))
    (layer,) = whole.layers
    assert (layer.path, layer.op, layer.kernel, layer.shape) == ("model", "model", "", (2, 4, 5, 5))
    assert layer.flops == 2 * 2 * 25 * 4 * 3
    assert "runs as it is" in whole.notes[0] and "runs as it is" in str(whole)
    assert whole.call_median_s == layer.median_s


def test_json() -> None:
    found = profiled(settle(Branches()), torch.randn(1, 3, 12, 12))
    read = json.loads(found.to_json())
    assert set(read) == {
        "model", "inputs", "call_min_s", "call_median_s", "sum_min_s", "sum_median_s", "rounds", "limits", "layers",
        "notes",
    }  # fmt: skip
    assert set(read["layers"][0]) == {
        "path", "op", "kernel", "shape", "workers", "min_s", "median_s", "flops", "bytes", "limit_s", "bound",
        "flops_s", "bytes_s", "percent",
    }  # fmt: skip
    assert Limits(**read["limits"][0]) == found.limits[0]
    assert [layer["path"] for layer in read["layers"]] == [layer.path for layer in found.layers]


def test_the_page_has_every_layer_once(tmp_path: Path) -> None:
    found = profiled(settle(Branches()), torch.randn(1, 3, 12, 12))
    found.to_html(tmp_path / "profile.html")
    html = (tmp_path / "profile.html").read_text()
    heads, *rows = (row for row in Reader(html).rows if len(row) == 11)
    assert [row[0][0] for row in rows] == [layer.path for layer in found.layers]
    assert [row[5][0] for row in rows] == [f"{each.median_s * 1e6:,.1f}" for each in found.layers]
    assert [head[0] for head in heads][4:9] == [
        "minµs",
        "medianµs",
        "part%",
        "rateGFLOP/s",
        "movedGB/s",
    ]
    assert html.count("<circle") == sum(1 for layer in found.layers if layer.flops)
    assert not any(word in html for word in ("http:", "https:", "src=", "nan", "inf "))


def test_the_picture_is_a_png_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = profiled(settle(net()), torch.randn(1, 3, 12, 12))
    found.plot(tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    data = roofline(found)
    for point in data.points:
        assert data.x_range[0] < point.intensity < data.x_range[1]
        assert data.y_range[0] < point.flops_s < data.y_range[1]
    with pytest.raises(FileNotFoundError):
        found.plot(tmp_path / "none" / "roof.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r"the plot needs matplotlib.*pip install 'pycnn\[plot\]'"
    ):
        found.plot(tmp_path / "other.png")
    assert [p.name for p in tmp_path.iterdir()] == ["roof.png"]


def test_the_trace_has_a_lane_a_worker_and_no_overlaps(tmp_path: Path) -> None:
    found = profiled(settle(net()), torch.randn(1, 3, 128, 128))  # enough for a second worker
    found.to_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    lanes: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event["ph"] == "X":
            lanes.setdefault(event["tid"], []).append(event)
    assert names == {worker: f"worker {worker}" for worker in lanes}
    assert max(layer.workers for layer in found.layers) == len(lanes)
    for lane in lanes.values():
        assert [event["name"] for event in lane] == [layer.path for layer in found.layers]
        for before, after in zip(lane, lane[1:], strict=False):
            assert before["ts"] >= 0 and before["dur"] >= 0
            assert after["ts"] >= before["ts"] + before["dur"] - 1e-6
    assert min(event["ts"] for event in events if event["ph"] == "X") == 0


def test_misuse() -> None:
    x, fast = torch.zeros(1, 3, 8, 8), pycnn.optimize(settle(net()))
    with pytest.raises(TypeError, match="profile: expected what optimize"):
        pycnn.profile(nn.ReLU(), x)
    with pytest.raises(ValueError, match="training mode"):
        pycnn.profile(pycnn.optimize(nn.ReLU()), x)
    with pytest.raises(TypeError, match="seconds must be a number, got '1'"):
        pycnn.profile(fast, x, seconds="1")
    with pytest.raises(ValueError, match="seconds=-1 must not be negative"):
        pycnn.profile(fast, x, seconds=-1)
