"""The words of sm_90 one by one, as fibers do them: against torch, and what happens when one is left out."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from launch import built, on_host
from torch import Tensor

pytestmark = on_host
SEEDS = range(1, 9)


def run(
    word: str, out: Tensor, *given: Tensor, seed: int = 1, drop: str = "", **arguments: Any
) -> list[str]:
    """The kernel of a word: it may read `given` and write `out`. The barriers it passed."""
    module = built("cuda_words")
    module.configure(seed, drop)
    module.forbid_all()
    for tensor in given:
        module.allow(tensor.data_ptr(), tensor.numel() * tensor.element_size(), False)
    module.allow(out.data_ptr(), out.numel() * out.element_size(), True)
    module.run(word, {"out": out.data_ptr(), **arguments})
    return list(module.sites())


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).bfloat16()


def matrix(of: Tensor, box: int = 64) -> dict[str, Any]:
    """The map of a matrix in boxes of `box` rows of 64 elements."""
    rows, columns = of.shape
    return {
        "address": of.data_ptr(),
        "dim": [columns, rows],
        "stride": [columns * 2],
        "box": [64, box],
    }


def noticed(drop: str, word: str, right: Tensor, *given: Tensor, **arguments: Any) -> bool:
    """Whether for one of the seeds `word` without the barrier `drop` is wrong, or fails."""
    for seed in SEEDS:
        out = torch.full_like(right, torch.nan)
        try:
            run(word, out, *given, seed=seed, drop=drop, **arguments)
        except RuntimeError:
            return True
        if not torch.equal(out, right):
            return True
    return False


def test_an_mbarrier_hands_over_value_after_value() -> None:
    right = torch.arange(6.0).repeat_interleave(32)
    for seed in SEEDS:
        out = torch.zeros(6 * 32)
        sites = run("hand_over", out, seed=seed, phases=6)
        assert torch.equal(out, right)
    assert len(sites) == 6
    for site in sites:  # TMA does not meet these barriers, and only it needs the fence
        needed = "fence" not in site
        assert noticed(site, "hand_over", right, phases=6) == needed, site


@pytest.mark.parametrize("at", [(0, 0), (64, 30), (8, -3), (40, 200), (88, 0), (24, -64)])
def test_a_box_of_a_matrix_is_zero_outside(at: tuple[int, int]) -> None:
    x = random(90, 88)
    right = F.pad(x.float(), (0, 64, 256, 256))[at[1] + 256 :, at[0] :][:64, :64]
    for seed in SEEDS:
        out = torch.full((64, 64), torch.nan)
        sites = run("load", out, x, seed=seed, x=matrix(x), at=[*at, 0, 0])
        assert torch.equal(out, right)
    for site in sites:
        assert noticed(site, "load", right, x, x=matrix(x), at=[*at, 0, 0]), site


WINDOWS = [  # kernel, stride, padding (top, left, bottom, right), dilation
    ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1, 0, 0), (1, 1)),
    ((3, 2), (1, 2), (2, 0, 1, 3), (1, 2)),
    ((1, 1), (2, 3), (0, 0, 0, 0), (1, 1)),
    ((2, 2), (1, 1), (-1, -2, 0, 0), (1, 1)),
    ((3, 3), (1, 1), (4, 4, 4, 4), (4, 4)),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("first", [0, 3, 50])
def test_pixels_of_a_window_are_those_of_unfold(window: tuple, first: int) -> None:
    (kh, kw), (sh, sw), (top, left, bottom, right), (dh, dw) = window
    n, c, h, w = 2, 72, 7, 9
    x = random(n, h, w, c)
    padded = F.pad(x.float().permute(0, 3, 1, 2), (left, right, top, bottom))
    oh = (padded.shape[2] - (kh - 1) * dh - 1) // sh + 1
    ow = (padded.shape[3] - (kw - 1) * dw - 1) // sw + 1
    columns = F.unfold(padded, (kh, kw), (dh, dw), 0, (sh, sw)).view(n, c, kh * kw, oh * ow)
    spec = {
        "address": x.data_ptr(), "im2col": True, "dim": [c, w, h, n], "box": [64, 64], "step": [sw, sh],
        "stride": [c * 2, w * c * 2, h * w * c * 2], "lower": [-left, -top],
        "upper": [(ow - 1) * sw - left - (w - 1), (oh - 1) * sh - top - (h - 1)],
    }  # fmt: skip
    ox, oy, image = first % ow, first // ow % oh, first // ow // oh
    for tap in (0, kh * kw - 1):
        for channel in (0, 64):
            rows = columns[:, channel : channel + 64, tap].permute(0, 2, 1).reshape(n * oh * ow, -1)
            rows = F.pad(rows, (0, 64 - rows.shape[1], 0, 64))[first:][:64]
            rows = F.pad(rows, (0, 0, 0, 64 - len(rows)))
            out = torch.full((64, 64), torch.nan)
            at = [channel, ox * sw - left, oy * sh - top, image]
            offset = [tap % kw * dw, tap // kw * dh]
            run("load_im2col", out, x, seed=tap + 1, x=spec, at=at, offset=offset)
            assert torch.equal(out, rows)


def test_stores_leave_out_what_lies_outside() -> None:
    given = random(128, 64)
    right = torch.full((100, 80), 7.0).bfloat16()
    right[:, 24:] = given[:100, :56]
    for seed in SEEDS:
        y = torch.full((100, 80), 7.0).bfloat16()
        sites = run(
            "store",
            y,
            given,
            seed=seed,
            y=matrix(y),
            at=[24, 0, 0, 0],
            **{"from": given.data_ptr()},
        )
        assert torch.equal(y, right)
    needed = [site for site in sites if "init_fence" not in site]
    assert len(needed) == 5
    for site in needed:
        assert stores_wrong(given, right, site), f"{site} may be dropped"


def stores_wrong(given: Tensor, right: Tensor, drop: str) -> bool:
    for seed in range(1, 25):
        y = torch.full((100, 80), 7.0).bfloat16()
        arguments = {"y": matrix(y), "at": [24, 0, 0, 0], "from": given.data_ptr()}
        run("store", y, given, seed=seed, drop=drop, **arguments)
        if not torch.equal(y, right):
            return True
    return False


@pytest.mark.parametrize("n", [64, 128])
def test_products_of_a_warpgroup(n: int) -> None:
    a, b = random(64, 64), random(n, 64)
    right = 2 * (a.double() @ b.double().T)
    maps = {"x": matrix(a), "y": matrix(b, n)}
    for seed in SEEDS:
        out = torch.full((64, n), torch.nan)
        sites = run(f"multiply{n}", out, a, b, seed=seed, **maps)
        torch.testing.assert_close(out.double(), right, rtol=1e-5, atol=1e-4)
    assert len(sites) == 5
    for site in sites:
        assert noticed(site, f"multiply{n}", out, a, b, **maps), f"{site} may be dropped"


def test_blocks_of_a_cluster_see_each_other() -> None:
    right = torch.tensor(
        [[(block // 4 * 4 + (block + 1) % 4) * 10 + i for i in range(4)] for block in range(8)]
    )
    for seed in SEEDS:
        out = torch.zeros(8, 4)
        sites = run("neighbour", out, seed=seed)
        assert torch.equal(out, right.float())
    first = min(sites, key=lambda site: int(site.rpartition(":")[2]))
    assert noticed(first, "neighbour", right.float())


def test_what_must_not_be_done_is_one_sentence() -> None:
    x = random(64, 64)
    out = torch.zeros(64, 64)
    with pytest.raises(RuntimeError, match="deadlock in block"):
        run("load", out, x, x=matrix(x), at=[0, 0, 0, 0], bytes=16384)
    with pytest.raises(RuntimeError, match="of global memory are read"):
        run("load", out, x=matrix(x), at=[0, 0, 0, 0])
    with pytest.raises(RuntimeError, match="of global memory are written"):
        arguments = {"y": matrix(x), "at": [0, 0, 0, 0], "from": x.data_ptr()}
        run("store", out, x, **arguments)
    with pytest.raises(RuntimeError, match="a tap's offset is not within 0..254"):
        image = {**matrix(x), "im2col": True, "dim": [64, 8, 8, 1], "stride": [128, 1024, 8192]}
        run("load_im2col", out, x, x=image, at=[0, 0, 0, 0], offset=[0, 255])


GOOD = {
    "im2col": True, "dim": [64, 56, 56, 8], "stride": [128, 7168, 401408], "box": [64, 128], "step": [1, 1],
    "lower": [-1, -1], "upper": [-1, -1],
}  # fmt: skip
LIMITS = [
    ({"address": 8}, "does not start on a multiple of 16"),
    ({"dim": [64, 0, 56, 8]}, "a dimension is 0"),
    ({"dim": [2**32 + 1, 56, 56, 8]}, "more than 2\\^32"),
    ({"stride": [136, 7168, 401408]}, "not a multiple of 16"),
    ({"stride": [128, 7168, 2**40]}, "2\\^40 bytes or more"),
    ({"box": [72, 128]}, "more than 128 bytes"),
    ({"box": [64, 1025]}, "1024 pixels"),
    ({"im2col": False, "box": [64, 257]}, "256 rows"),
    ({"step": [9, 1]}, "more than 8"),
    ({"lower": [-129, 0]}, "more than 128 from"),
    ({"upper": [0, 128]}, "more than 128 from"),
    ({"upper": [0, -57]}, "box is empty"),
]


@pytest.mark.parametrize(("change", "sentence"), LIMITS)
def test_limits_of_tensor_maps(change: dict[str, Any], sentence: str) -> None:
    limit = built("cuda_words").limit
    assert limit(GOOD) is None
    assert re.search(sentence, limit({**GOOD, **change}))
