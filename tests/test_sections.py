"""Depth first over the batch: which stretches run image by image, and that nothing but the order changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captured import Fn
from nets import Branches, conv_bn, error, every_image_alone, fast, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn import _C
from pycnn.planning import sections


@pytest.fixture(autouse=True)
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of a few pixels count as too large for the caches, any weights as few."""
    every_image_alone(monkeypatch)


def by_image(net: nn.Module, x: Tensor, **options: Any) -> list[str]:
    """Ops of the steps that run image by image."""
    with torch.inference_mode():
        steps = pycnn.explain(pycnn.optimize(net, **options), x).steps
    return [step.op for step in steps if "image by image" in step.layout]


class Mixed(nn.Module):
    """Slices, joins, a residual over several layers, upsampling, arithmetic, a result used inside and outside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a, self.b = conv_bn(8, 16), conv_bn(16, 8, stride=2)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.shift = nn.Parameter(torch.randn(16, 1, 1))
        self.last = conv_bn(40, 12, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        left, right = x.chunk(2, 1)
        y = torch.relu(self.a(left) + x) * self.shift
        z = self.up(torch.relu(self.b(y)))
        w = nn.functional.interpolate(nn.functional.max_pool2d(z, 2), scale_factor=2.0)
        joined = torch.cat([y, right, z, w], 1)
        return self.last(joined), z.mean((2, 3))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("images", [2, 3, 5, 8])
def test_results_are_the_nets(images: int, threads: int, channels_last: bool) -> None:
    net = settle(Mixed())
    x = torch.randn(images, 3, 14, 18)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert len(by_image(net, x, threads=threads)) > 6
    results = fast(net, x, threads=threads)
    for y, ref in zip(results, truth(net, x), strict=True):
        assert error(y, ref) <= 1e-5
    branches = settle(Branches())
    assert error(fast(branches, x, threads=threads), truth(branches, x)) <= 1e-5


def test_an_images_bits_are_the_same_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = settle(Branches()), torch.randn(7, 3, 21, 17)
    options = {"batch_invariant": True}
    together = fast(net, images, **options)
    assert torch.equal(together, torch.cat([fast(net, x[None], **options) for x in images]))
    monkeypatch.setattr(sections, "_CACHES", 1e9)
    assert not by_image(net, images, **options)
    assert torch.equal(together, fast(net, images, **options))


def test_every_value_can_be_looked_at() -> None:
    net, x = settle(Branches()), torch.randn(4, 3, 21, 17)
    with torch.inference_mode():
        certificate = pycnn.verify(pycnn.optimize(net), net, x)
    assert certificate.ok and certificate.same_bits


def test_what_passes_between_layers_has_room_for_a_worker_and_not_for_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = settle(
        nn.Sequential(conv_bn(3, 16), nn.ReLU(), conv_bn(16, 16), nn.ReLU(), conv_bn(16, 3))
    )
    x = torch.randn(16, 3, 32, 32)
    with torch.inference_mode():
        small = pycnn.explain(pycnn.optimize(net, threads=2), x).peak_bytes
        monkeypatch.setattr(sections, "_CACHES", 1e9)
        large = pycnn.explain(pycnn.optimize(net, threads=2), x).peak_bytes
    maps = 16 * 32 * 32 * 4
    assert small <= 2 * 2 * maps + 3 * maps < 16 * maps <= large


def test_a_last_cache_of_many_processors_does_not_count_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {**_C.machine(), "l3_bytes": 480 << 20}
    monkeypatch.setattr(_C, "machine", lambda: found)
    monkeypatch.setattr(sections, "_CACHES", 0.1)
    net = settle(nn.Sequential(conv_bn(8, 16), nn.ReLU(), conv_bn(16, 8)))
    layout_and_convs = by_image(net, torch.randn(4, 8, 96, 96))  # 3.5 MB a layer
    assert layout_and_convs == ["layout", "conv2d", "conv2d"]
    assert not by_image(net, torch.randn(4, 8, 64, 64))


def test_one_image_and_layers_of_another_kind_are_left_alone() -> None:
    body = settle(nn.Sequential(conv_bn(3, 8), nn.ReLU(), conv_bn(8, 8)))
    assert not by_image(body, torch.randn(1, 3, 9, 9))
    assert by_image(body, torch.randn(2, 3, 9, 9)) == ["conv2d", "conv2d"]

    def join(self: Fn, x: Tensor) -> Tensor:
        return self.body(torch.cat([x, x], 0))  # twice the images within

    net, x = settle(Fn(join, body=body)), torch.randn(2, 3, 9, 9)
    assert "concat" not in by_image(net, x)
    assert error(fast(net, x), truth(net, x)) <= 1e-6

    def shift(self: Fn, x: Tensor) -> Tensor:
        return torch.relu(x + self.each)  # every image its own

    own = Fn(shift)
    own.each = nn.Parameter(torch.randn(2, 3, 9, 9))
    assert not by_image(own.eval(), x)
    assert error(fast(own, x), truth(own, x)) <= 1e-6
    one = settle(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert by_image(one, x) == ["conv2d", "global_pool"]


def test_many_weights_stay_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    net = settle(
        nn.Sequential(conv_bn(3, 8), conv_bn(8, 8), conv_bn(8, 256, 1), conv_bn(256, 256, 1))
    )
    x = torch.randn(2, 3, 12, 12)
    assert len(by_image(net, x)) == 4
    monkeypatch.setattr(sections, "_WEIGHTS", 1.5)
    assert len(by_image(net, x)) == 3


def test_a_section_is_checked() -> None:
    plan = _C.Plan(4096, 0, 2, 1, 1)
    params = {"pixels": 16, "c": 4, "ldx": 4, "ldy": 4}
    none = ("none", 0)
    kernel = "elementwise_reference"
    x = ("input", 0, 0, 256, 0)
    plan.add("elementwise", kernel, params, x, none, none, none, ("arena", 0, 0, 0, 256))
    plan.add(
        *("elementwise", kernel, params, ("arena", 0, 0, 0, 256)),
        *(none, none, none, ("arena", 512, 0, 256, 0)),
    )
    for begin, end, images in ((0, 3, 2), (1, 1, 2), (0, 2, 0)):
        with pytest.raises(ValueError, match=f"steps {begin} to {end} of 2 for {images} images"):
            plan.section(begin, end, images)
    with pytest.raises(ValueError, match="a slot of image 15 is out of range"):
        plan.section(0, 2, 16)
    plan.section(0, 2, 4)
    with pytest.raises(ValueError, match="not behind the last"):
        plan.section(1, 2, 4)
    conv = {"c": 16, "k": 16, "ldx": 16, "ldy": 16}
    igemm = next(n for n, r in _C.kernels("conv2d", conv) if r is None and "igemm" in n)
    need = 4 * _C.workspace("conv2d", igemm, conv, 1)
    plan = _C.Plan(0, 2 * need - 64, 1, 1, 1)
    plan.add("conv2d", igemm, conv, ("input", 0), none, none, none, ("output", 0))
    plan.section(0, 1, 2)
    plan = _C.Plan(0, 2 * need, 2, 1, 1)
    plan.add("conv2d", igemm, conv, ("input", 0), none, none, none, ("output", 0))
    plan.section(0, 1, 2)
