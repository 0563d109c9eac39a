"""Models whose whole cannot be captured: their submodules run by themselves, as fast as they can."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from nets import error, settle, truth
from torch import Tensor, nn
from torchvision_stub import models as torchvision_models

import pycnn


def stage(c: int, k: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c, k, 3, padding=1), nn.BatchNorm2d(k), nn.ReLU())


class Decides(nn.Module):
    """Looks at values: which head runs, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.single = stage(3, 8), nn.Conv2d(8, 8, 1)
        self.blocks = nn.ModuleList([stage(8, 8), nn.ReLU(), stage(8, 8)])
        self.heads = nn.ModuleDict({"low": stage(8, 2), "high": stage(8, 2)})
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.single(self.body(x))
        assert isinstance(self.body, nn.Sequential) and len(self.body) > 1
        for block in self.blocks:
            y = block(y) + y
        return self.heads["high" if float(x.detach().mean()) > 0 else "low"](y)


@pytest.fixture
def decides() -> Any:
    torch.manual_seed(1)
    return settle(Decides())


def test_submodules_run_in_plans_and_explain_says_so(decides: Decides) -> None:
    fast = pycnn.optimize(decides)
    with torch.inference_mode():
        for shape in ((2, 3, 8, 6), (1, 3, 9, 9)):
            for sign in (1, -1):
                x = sign * torch.randn(shape).abs()
                assert error(fast(x), truth(decides, x)) < 1e-5
    found = pycnn.explain(fast, x)
    assert "the model runs as it is" in found.fallbacks[0]
    assert set(found.notes) == {
        f"{path}: is optimised by itself"
        for path in ("body", "blocks.0", "blocks.2", "heads.low", "heads.high")
    }
    assert decides.calls == 4  # state that code keeps is the model's own


def test_what_changes_is_noticed(decides: Decides) -> None:
    fast, x = pycnn.optimize(decides), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        fast(x)
    with torch.no_grad():
        decides.body[0].weight.mul_(2)
    decides.blocks[0] = settle(stage(8, 8))
    decides.heads["low"] = decides.heads["high"] = settle(stage(8, 2))
    with torch.inference_mode():
        assert error(fast(x), truth(decides, x)) < 1e-5
    decides.body = settle(nn.Sequential(stage(3, 8), stage(8, 8)))
    with torch.inference_mode():
        assert error(fast(x), truth(decides, x)) < 1e-5
    seen: list[Tensor] = []
    handle = decides.blocks[2][0].register_forward_hook(lambda m, a, y: seen.append(y))
    with torch.inference_mode():
        fast(x)
        assert len(seen) == 1
        handle.remove()
        assert error(fast(x), truth(decides, x)) < 1e-5
    assert len(seen) == 1


def test_a_hooked_layer_keeps_its_module_alone_from_the_plan() -> None:
    net = settle(nn.Sequential(stage(3, 8), stage(8, 8), nn.Flatten()))
    seen: list[Tensor] = []
    net[1][1].register_forward_hook(lambda m, a, y: seen.append(y))
    fast, x = pycnn.optimize(net), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) < 1e-5
    notes = pycnn.explain(fast, x).notes
    assert "0: is optimised by itself" in notes and any(
        n.startswith("1: runs as it is") for n in notes
    )
    assert len(seen) == 2


def test_gradients_are_the_models_bits(decides: Decides) -> None:
    fast = pycnn.optimize(decides)
    leaves = [torch.ones(1, 3, 6, 6, requires_grad=True) for _ in range(2)]
    found = torch.autograd.grad(
        fast(leaves[0]).sum(), [leaves[0], *decides.parameters()], allow_unused=True
    )
    expected = torch.autograd.grad(
        decides(leaves[1]).sum(), [leaves[1], *decides.parameters()], allow_unused=True
    )
    assert all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(found, expected, strict=True)
    )
    fast.train()
    assert torch.equal(fast(leaves[0].detach()), fast(leaves[0].detach())) and decides.training


def test_a_refused_capture_is_not_tried_again(
    decides: Decides, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    capture = pycnn.compiled.capture
    monkeypatch.setattr("pycnn.compiled.capture", lambda *a: (tried.append(a[0]), capture(*a))[1])
    fast, x = pycnn.optimize(decides), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        for _ in range(4):
            fast(x)
    assert tried.count(decides) == 1
    with torch.inference_mode():
        fast(torch.randn(1, 3, 9, 8))
    assert tried.count(decides) == 2


def test_from_several_threads(decides: Decides) -> None:
    fast = pycnn.optimize(decides)
    xs = [torch.randn(1, 3, 8 + i % 3, 8) for i in range(12)]
    expected = [truth(decides, x) for x in xs]
    errors: list[float] = []

    def work(i: int) -> None:
        with torch.inference_mode():
            for _ in range(5):
                errors.append(error(fast(xs[i]), expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 60 and max(errors) < 1e-5


def test_a_detector_of_torchvision_runs_with_its_backbone_optimised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # torchvision's own operator is compiled against another torch.
    monkeypatch.setattr("torchvision.ops.boxes.batched_nms", pycnn.models.boxes.batched_nms)
    torch.manual_seed(2)
    net = torchvision_models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=7
    ).eval()
    fast = pycnn.optimize(net)
    images = [torch.rand(3, 120, 160)]
    with torch.inference_mode():
        mine, theirs = fast(images)[0], net(images)[0]
    assert mine.keys() == theirs.keys()
    assert mine["scores"].shape == theirs["scores"].shape
    torch.testing.assert_close(mine["scores"], theirs["scores"], rtol=1e-3, atol=1e-4)
    notes = pycnn.explain(fast, images).notes
    assert "backbone: is optimised by itself" in notes, notes
    assert any(note.startswith("head") and note.endswith("by itself") for note in notes), notes


def test_strict_refuses(decides: Decides) -> None:
    with pytest.raises(NotImplementedError, match="strict: the model runs in torch"):
        pycnn.optimize(decides, strict=True)(torch.randn(1, 3, 8, 8))
