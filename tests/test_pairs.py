"""Pairs of steps in bands of rows: which are, and that nothing but the memory changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, images
from nets import error, every_image_alone, fast, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn.planning import pairs


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_BAND", 3000)  # of each of two workers


def bits_and_peaks(
    net: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> list[int]:
    """Bytes of the arena with bands and without, where both give the same bits, near fp64's."""
    results, peaks = [], []
    for band in (pairs._BAND, 1 << 40):
        monkeypatch.setattr(pairs, "_BAND", band)
        made = pycnn.optimize(net, **options)
        with torch.inference_mode():
            results.append(made(x))
            peaks.append(pycnn.explain(made, x).peak_bytes)
    assert torch.equal(*results)
    assert error(results[0], truth(net, x)) <= 1e-5
    return peaks


def norms(m: Fn, x: Tensor) -> Tensor:
    """The layer of a DenseNet, with an activation that no prologue takes: what its norm reads is read again."""
    x = m.stem(x)
    return torch.cat([x, m.pointwise(F.silu(m.norm(x)))], 1)


def layers() -> dict[str, nn.Module]:
    return {
        "stem": nn.Conv2d(3, 24, 3, padding=1),
        "norm": nn.BatchNorm2d(24),
        "pointwise": nn.Conv2d(24, 10, 1),
    }


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(13, 9), (32, 31), (5, 60)])
def test_a_norm_and_its_pointwise_convolution(
    size: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = settle(Fn(norms, **layers())), images(1, 3, *size)
    bands, whole = bits_and_peaks(net, x, monkeypatch, threads=threads)
    # The norm's 24 channels beside the join's 34; 6000 bytes of them, or 4 rows.
    assert whole >= 58 * size[0] * size[1] * 4
    assert bands <= 34 * size[0] * size[1] * 4 + max(2 * 6000, 24 * 8 * size[1] * 4)


WINDOWS = [  # of the convolution: size, stride, padding; of the pool after it
    ((7, 2, 3), (3, 2, 1)),
    ((3, 1, 1), (2, 2, 0)),
    ((3, 2, 0), (3, 1, 1)),
    ((5, 1, 4), (3, 3, 0)),
    ((1, 1, 0), (2, 2, 0)),
    ((2, 3, 1), (5, 2, 2)),
]


@pytest.mark.parametrize("k", [4, 40])  # planes of few outputs are read by another kernel
@pytest.mark.parametrize(("conv", "pool"), WINDOWS)
def test_a_first_convolution_and_its_pool(
    conv: tuple[int, int, int], pool: tuple[int, int, int], k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        return m.last(F.max_pool2d(F.relu(m.first(x)), *pool))

    first, last = nn.Conv2d(3, k, *conv), nn.Conv2d(k, 5, 1)
    net = Fn(forward, first=first, last=last).eval()
    bands, whole = bits_and_peaks(net, images(1, 3, 61, 53), monkeypatch, exact=True)
    assert bands < whole or k == 4  # another step's peak


def test_which_kernels_read_planes_from_a_row_further_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """stem, patch and planar, in fp32 and bf16, each with a border above and below."""
    net = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1, stride=2), nn.MaxPool2d(3, 2, 1)).eval()
    seen = set()
    for k, stride, dtype in (
        (40, 2, torch.float32),
        (4, 1, torch.float32),
        (40, 2, torch.bfloat16),
    ):
        net[0] = nn.Conv2d(3, k, 5, stride, 2)
        of, x = net.to(dtype), images(1, 3, 40, 41).to(dtype)
        made = pycnn.optimize(of)
        with torch.inference_mode():
            y = made(x)
            seen.add(pycnn.explain(made, x).steps[0].kernel.split("_")[1])
            with monkeypatch.context() as patch:
                patch.setattr(pairs, "_BAND", 1 << 40)
                assert torch.equal(pycnn.optimize(of)(x), y)
    assert seen == {"stem", "planar", "patch"}


def inverted(m: Fn, x: Tensor) -> Tensor:
    """Expansion, depthwise window, squeeze, projection."""
    y = F.silu(m.window(F.relu6(m.expand(x))))
    return m.project(y * torch.sigmoid(y.mean((2, 3), keepdim=True)))


def inverted_layers(kernel: int, stride: int, dilation: int = 1) -> dict[str, nn.Module]:
    window = nn.Conv2d(24, 24, kernel, stride, kernel // 2 * dilation, dilation, groups=24)
    return {"expand": nn.Conv2d(8, 24, 1), "window": window, "project": nn.Conv2d(24, 8, 1)}


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 1, 3), (4, 1, 1)],
)
@pytest.mark.parametrize(("size", "threads"), [((45, 20), 2), ((61, 31), 1), ((60, 9), 3)])
def test_an_expansion_and_the_depthwise_window_behind_it(
    size: tuple[int, int],
    threads: int,
    kernel: int,
    stride: int,
    dilation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = settle(Fn(inverted, **inverted_layers(kernel, stride, dilation)))
    bands, whole = bits_and_peaks(net, images(1, 8, *size), monkeypatch, threads=threads)
    assert bands < whole


@pytest.mark.parametrize("stride", [1, 2])
def test_within_each_image_of_a_batch(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that run image by image: each worker has bands of its own."""
    every_image_alone(monkeypatch)
    net = settle(Fn(inverted, **inverted_layers(3, stride)))
    x = images(5, 8, 40, 23)
    with torch.inference_mode():
        made = pycnn.optimize(net, threads=2)
        told = pycnn.explain(made, x).steps
        assert any("image by image" in step.layout for step in told)
        assert len(pycnn.profile(made, x, seconds=0.05).layers) == len(told)
        assert pycnn.verify(made, net, x).same_bits
    bands, whole = bits_and_peaks(net, x, monkeypatch, threads=2)
    assert bands < whole
    limit = pycnn.explain(made, x).peak_bytes + pycnn.explain(made, x).workspace_bytes
    assert torch.equal(fast(net, x, threads=2, memory_limit=limit), fast(net, x, threads=2))


def test_a_map_in_front_of_a_window_that_two_caches_hold_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "_BAND", 4 * 24 * 20 * 45 // 4)  # of two workers: half the map
    net = settle(Fn(inverted, **inverted_layers(3, 1)))
    bands, whole = bits_and_peaks(net, images(1, 8, 45, 20), monkeypatch, threads=2)
    assert bands == whole


def test_what_is_read_again_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(m: Fn, x: Tensor) -> Tensor:
        y = m.norm(m.stem(x).tanh())
        return m.pointwise(y) + y.mean(1, keepdim=True)

    bands, whole = bits_and_peaks(
        settle(Fn(forward, **layers())), images(1, 3, 32, 31), monkeypatch
    )
    assert bands == whole


def test_a_batch_is_not_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    bands, whole = bits_and_peaks(settle(Fn(norms, **layers())), images(2, 3, 32, 31), monkeypatch)
    assert bands == whole


def test_reports_tuning_and_limits_know_steps_in_bands(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYCNN_TUNED", str(tmp_path / "tuned.json"))
    net, x = settle(Fn(norms, **layers())), images(1, 3, 32, 31)
    expected = fast(net, x)
    with torch.inference_mode():
        tuned = pycnn.optimize(net, tune=True)
        assert error(tuned(x), truth(net, x)) <= 1e-4
        steps = pycnn.explain(tuned, x).steps
        assert [s.op for s in steps] == ["conv2d", "conv2d", "conv2d", "layout"]
        assert len(pycnn.profile(tuned, x, seconds=0.05).layers) == len(steps)
    assert pycnn.verify(pycnn.optimize(net), net, x).ok
    peak = pycnn.explain(pycnn.optimize(net), x)
    limit = peak.peak_bytes + peak.workspace_bytes
    assert torch.equal(fast(net, x, memory_limit=limit), expected)
