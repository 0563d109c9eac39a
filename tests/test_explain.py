"""explain tells what runs: kernels, fusions, fallbacks, memory."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from nets import Branches, conv_bn, settle
from torch import nn

import pycnn
from pycnn.limits import Limits

LIMITS = Limits(1, "avx2", 1e9, 1e9, 8e9, 4e9, 2e9, 8e9, 4e9, 2e9, 1 << 20, 1 << 24)


def test_a_plain_net_is_all_kernels() -> None:
    opt = pycnn.optimize(settle(Branches()))
    report = pycnn.explain(opt, torch.randn(1, 3, 12, 12))
    stem = report.steps[0]
    assert (stem.path, stem.op, stem.fused) == ("stem.0.0", "conv2d", "batch_norm + relu")
    assert stem.kernel.startswith(("conv2d_patch", "conv2d_planar")) and stem.output == (
        1,
        8,
        12,
        12,
    )
    assert report.peak_bytes > 0 and report.packed_bytes > 0
    assert json.loads(report.to_json())["steps"][0]["op"] == "conv2d"
    assert "stem.0.0" in str(report)


def test_torch_steps_are_named_with_their_reason() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2, mode="bicubic"))
    report = pycnn.explain(pycnn.optimize(settle(net)), torch.randn(1, 3, 12, 12))
    (line,) = [f for f in report.fallbacks if f.startswith("interpolate")]
    assert ":" in line
    assert [s.op for s in report.steps if not s.kernel].count("interpolate") == 1


def test_reasons_for_not_fusing() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = conv_bn(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.pair[0](x)
            return self.pair[1](y) + y

    report = pycnn.explain(pycnn.optimize(settle(Shared())), torch.randn(1, 3, 8, 8))
    assert any("fold_batch_norm" in note for note in report.notes)


def test_concat_costs_no_step() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 9, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.a(x), self.b(x)], 1).mean((2, 3))

    report = pycnn.explain(pycnn.optimize(settle(Join())), torch.randn(2, 3, 8, 8))
    assert [s.op for s in report.steps] == ["conv2d", "conv2d", "global_pool"]


def test_misuse() -> None:
    with pytest.raises(TypeError, match="expected what optimize"):
        pycnn.explain(nn.ReLU(), torch.zeros(1))
    with pytest.raises(ValueError, match="training mode"):
        pycnn.explain(pycnn.optimize(nn.ReLU()), torch.zeros(1))


class Residual(nn.Module):
    """A projection beside two convolutions, then a block whose sum skips past two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.a, self.b, self.p = (nn.Conv2d(8, 8, k, padding=k // 2) for k in (3, 3, 1))
        self.c, self.d = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = (self.b(self.a(x).relu()) + self.p(x)).relu()
        return self.d(self.c(x)) + x


def test_what_each_step_reads() -> None:
    report = pycnn.explain(pycnn.optimize(settle(Residual())), torch.randn(1, 3, 16, 16))
    paths = [step.path for step in report.steps]
    convs = {step.path: step for step in report.steps if step.op == "conv2d"}
    read = {path: {paths[i] if i >= 0 else i for i in c.inputs} for path, c in convs.items()}
    joined, other = ("b", "p") if "residual" in convs["b"].fused else ("p", "b")
    assert read["stem"] == {-1} and read["a"] == {"stem"}
    assert read[joined] == {"a" if joined == "b" else "stem", other}
    assert read[other] == {"a" if other == "b" else "stem"}
    assert read["c"] == {joined} and read["d"] == {"c", joined}


def test_a_join_reads_its_slices() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 16, 1), nn.Conv2d(24, 4, 1)
            self.d = nn.Conv2d(16, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            a, b = self.a(x), self.b(x)
            return self.c(torch.cat([a, b], 1)), self.d(b)

    report = pycnn.explain(pycnn.optimize(settle(Join())), torch.randn(1, 3, 8, 8))
    paths = [step.path for step in report.steps]
    convs = [step for step in report.steps if step.op == "conv2d"]
    read = {step.path: [paths[i] if i >= 0 else i for i in step.inputs] for step in convs}
    assert read["c"] == ["a", "b"]
    assert read["d"] == ["b"]  # a slice of the joined buffer, not all of it


def test_predicted_times_are_the_roofs() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(2)))
    report = pycnn.explain(pycnn.optimize(net), torch.randn(1, 3, 16, 16))
    conv, pool = report.steps[0], next(s for s in report.steps if s.op == "pool2d")
    assert (conv.window, pool.window) == ("3×3", "2×2, stride 2")
    assert conv.layout == "NCHW → NHWC" and pool.layout == "NHWC"
    assert conv.flops == 2 * 16 * 16 * 16 * 3 * 9
    assert conv.activation_bytes == 4 * (3 + 16) * 256 and conv.weight_bytes == 4 * (3 * 9 + 1) * 16
    roofs = report.predict(LIMITS)
    assert roofs[0].bound == "compute" and roofs[0].seconds == conv.flops / 1e9
    assert pool.activation_bytes == 4 * 16 * (256 + 64) and pool.weight_bytes == 0
    assert len(roofs) == len(report.steps)


def test_the_page_has_every_step_and_reason(tmp_path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = conv_bn(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.pair[0](x)
            return nn.functional.interpolate(self.pair[1](y) + y, scale_factor=2, mode="bicubic")

    report = pycnn.explain(pycnn.optimize(settle(Shared())), torch.randn(1, 3, 8, 8))
    report.to_html(tmp_path / "x.html", LIMITS)
    assert list(tmp_path.iterdir()) == [tmp_path / "x.html"]
    page = (tmp_path / "x.html").read_text().replace("<wbr>", "")
    svg = ET.fromstring(re.search(r"<svg.*</svg>", page, re.S)[0])
    blocks = [e for e in svg.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "block"]
    assert len(blocks) == len(report.steps) + 1  # the input
    assert page.count("<tr>") == len(report.steps) + 1  # the head
    for text in (
        "What runs: Shared, 1×3×8×8",
        "1 thread, avx2",
        "interpolate",
        "fold_batch_norm",
        "torch: ",
    ):
        assert text in page
    assert [n for s in report.steps for n in s.unfused], "each reason stands at its step"
    with pytest.raises(OSError):
        report.to_html(tmp_path / "none" / "x.html", LIMITS)


def test_a_model_that_runs_as_it_is_has_a_page(tmp_path) -> None:
    class Values(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    report = pycnn.explain(pycnn.optimize(Values().eval()), torch.ones(1, 3, 4, 4))
    report.to_html(tmp_path / "x.html", LIMITS)
    assert "the model runs as it is" in (tmp_path / "x.html").read_text()


def test_stages_are_those_of_the_summary() -> None:
    net = pycnn.create_model("resnet18", num_classes=3).eval()
    report = pycnn.explain(pycnn.optimize(net), torch.zeros(1, 3, 64, 64))
    of = {step.path: step.stage for step in report.steps}
    assert of["conv1"] == "stem" and of["layer3.0.downsample.0"] == "stage 3" and of["fc"] == "head"
