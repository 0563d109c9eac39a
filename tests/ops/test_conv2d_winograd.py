"""Winograd's kernels, called by name: every size of the last tile, block and vector against F.conv2d in fp64."""

import dataclasses
import itertools

import convolutions
import pytest
import tolerance
import torch
from convolutions import LANES, Conv, Problem, check_activation, expected, problem, run

from pycnn import _C, ops

KERNELS = [name for name in convolutions.KERNELS if "winograd" in name]
# Roundings of the transforms, which sum up to nine times larger terms, against those of the sums of products.
AMPLIFIED = {"conv2d_winograd2": 4.0, "conv2d_winograd4": 12.0, "conv2d_winograd5x5": 12.0}


def window(kernel: str) -> int:
    return 5 if "5x5" in kernel else 3


def conv(kernel: str, c: int, k: int, h: int, w: int, pads=None, groups: int = 1, n: int = 1):
    """A layer of the kernel's window; outputs as many as inputs unless `pads` says otherwise."""
    size = window(kernel)
    return Conv(c, k, h, w, (size, size), (1, 1), pads or (size // 2,) * 4, groups=groups, n=n)


def amplified(kernel: str, bound: torch.Tensor) -> torch.Tensor:
    """A tile's outputs share the roundings of its largest terms, so that the bound is that of an image and channel."""
    factor = AMPLIFIED[kernel.rsplit("_", 2)[0]]
    return factor * bound.amax((2, 3), keepdim=True).expand_as(bound)


def check(
    kernel: str, problem_of: Conv, extras: bool = True, gap: int = 5, workers: int = 1
) -> None:
    y = run(
        kernel,
        problem_of,
        problem(problem_of),
        gap=gap,
        with_bias=extras,
        with_residual=extras,
        workers=workers,
    )
    truth, bound = expected(problem_of, extras, extras)
    tolerance.check(y, truth, amplified(kernel, bound))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_height_and_width_of_the_last_tile(kernel: str) -> None:
    for h in (*range(1, 10), 13):
        for w in (1, 2, 3, 4, 5, 7, 8, 11):
            check(kernel, conv(kernel, 17, 16, h, w))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3), (4, 2), (12, 12)])
def test_dilated_windows(kernel: str, dilation: tuple[int, int]) -> None:
    dh, dw = dilation
    for pads in ((dh, dw, dh, dw), (2 * dh, 0, 1, 2 * dw), (dh - 1, dw + 3, 3 * dh, dw)):
        for h, w in ((1, 1), (2, 9), (8, 8), (9, 17), (16, 16), (13, 30)):
            reach = window(kernel) - 1
            if h + pads[0] + pads[2] > reach * dh and w + pads[1] + pads[3] > reach * dw:
                layer = dataclasses.replace(
                    conv(kernel, 17, 18, h, w, pads, n=2), dilation=dilation
                )
                check(kernel, layer, workers=1 + h % 3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_at_vector_edges(kernel: str) -> None:
    lanes = LANES[kernel.rsplit("_", 1)[1]]
    for c in (16, 17, 2 * lanes + 3, 4 * lanes + 1):
        for k in (16, 19, 4 * lanes, 4 * lanes + 1, 9 * lanes + 2):
            if k >= 16:
                check(kernel, conv(kernel, max(c, 16), k, 6, 7), gap=0 if c == k else 5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "pads", [(0, 0, 0, 0), (2, 2, 2, 2), (2, 0, 1, 3), (0, 1, 2, 0), (5, 6, 4, 7)]
)
def test_paddings_and_groups(kernel: str, pads: tuple[int, int, int, int]) -> None:
    for c, k, groups in ((16, 20, 1), (32, 34, 2), (51, 48, 3)):
        check(kernel, conv(kernel, c, k, 6, 9, pads, groups, n=2))
        check(kernel, conv(kernel, c, k, 6, 9, pads, groups, n=2), extras=False, gap=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_tiles_than_one_block_and_more_outputs_than_one_block_of_products(kernel: str) -> None:
    check(kernel, conv(kernel, 24, 20, 33, 34, n=3))
    check(kernel, conv(kernel, 24, 20, 33, 34, n=3), workers=3)
    check(kernel, conv(kernel, 256, 131, 6, 6, n=2))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    layer = conv(kernel, 18, 35, 6, 9, n=2)
    check_activation(kernel, layer, act, lambda b: amplified(kernel, b))
    layer = dataclasses.replace(layer, padding=(2, 3, 2, 3), dilation=(2, 3))
    check_activation(kernel, layer, act, lambda b: amplified(kernel, b))


@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str, act: str) -> None:
    for c, k, h, w in ((17, 35, 6, 5), (64, 160, 2, 2), (32, 48, 30, 9)):
        layer = conv(kernel, c, k, h, w, n=3)
        p = problem(layer)
        one = run(kernel, layer, p, act=act)
        for workers in (2, 3, 7):
            assert torch.equal(run(kernel, layer, p, act=act, workers=workers), one)
        alone = Problem(p.x[1:2].clone(), p.weight, p.bias, p.residual[1:2])
        assert torch.equal(run(kernel, dataclasses.replace(layer, n=1), alone, act=act), one[1:2])
        assert torch.equal(run(kernel, layer, p, act=act, gap=0), one)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nan_reaches_its_windows_and_stays_in_their_tiles(kernel: str) -> None:
    layer = conv(kernel, 16, 16, 12, 12)
    p = problem(layer)
    x = p.x.clone()
    x[0, 3, 5, 6] = torch.nan
    y = run(kernel, layer, dataclasses.replace(p, x=x))
    clean = run(kernel, layer, p)
    reach, first = (3, 2) if window(kernel) == 5 else (2, 4)
    assert y[:, :, 6 - reach : 5 + reach, 7 - reach : 6 + reach].isnan().all()
    far = torch.ones_like(y, dtype=torch.bool)
    far[:, :, first:8, 4 : 6 + 2 * (reach - 1)] = False
    assert torch.equal(y[far], clean[far])


@pytest.mark.parametrize("kernel", KERNELS)
def test_rms_error_is_within_eight_times_that_of_direct_convolution(kernel: str) -> None:
    set_of = kernel.rsplit("_", 1)[1]
    for c, size in ((64, 16), (256, 8)):
        layer = conv(kernel, c, 32, size, size)
        drawn = problem(layer)
        p = dataclasses.replace(drawn, x=drawn.x.relu())
        truth = layer(p.x.double(), p.weight.double(), p.bias.double())
        errors = []
        for name in (kernel, f"conv2d_igemm_f32_{set_of}"):
            y = run(name, layer, p, with_residual=False)
            errors.append(float((y - truth).square().mean().sqrt()))
        assert errors[0] <= 8 * errors[1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_refusals_name_the_reason(kernel: str) -> None:
    size = window(kernel)
    fits = {
        "c": 16, "k": 16, "h": 8, "w": 8, "oh": 8, "ow": 8, "kh": size, "kw": size, "ldx": 16, "ldy": 16,
    }  # fmt: skip
    for change, reason in [
        ({}, None),
        ({"exact": 1}, "exact: products may not be re-associated"),
        ({"kw": size - 1}, f"needs a {size} x {size} kernel"),
        ({"sh": 2}, "needs stride 1"),
        ({"dw": 2}, None),
        ({"x_nchw": 1}, "needs an NHWC input"),
        ({"c": 15}, "needs at least 16 channels a group"),
        ({"groups": 2}, "needs at least 16 channels a group"),
    ]:
        assert dict(_C.kernels("conv2d", {**fits, **change}))[kernel] == reason


def test_kernels_of_weaker_sets_are_never_chosen() -> None:
    """Costs are in vectors of each set; on small maps those of AVX2 look like less."""
    for c, k, h, workers in itertools.product(
        (16, 24, 64), (16, 24, 64), (4, 14, 20, 28), (1, 2, 4)
    ):
        params = {"c": c, "k": k, "ldx": c, "ldy": k, "kh": 3, "kw": 3, "ph": 1, "pw": 1}
        params |= {"h": h, "w": h, "oh": h, "ow": h}
        for dtype in ("float32", "bfloat16"):
            able = [n for n, why in _C.kernels("conv2d", params, dtype) if why is None]
            if able:
                chosen = _C.choose("conv2d", params, workers, dtype)
                assert chosen.rsplit("_", 1)[1] == able[0].rsplit("_", 1)[1]


def test_the_table_chooses_by_predicted_time() -> None:
    def chosen(size: int, c: int, batch: int, window: int = 3, **more: int) -> str:
        params = {
            "n": batch, "h": size, "w": size, "oh": size, "ow": size, "c": c, "k": c, "kh": window, "kw": window,
            "ph": window // 2, "pw": window // 2, "ldx": c, "ldy": c, **more,
        }  # fmt: skip
        return _C.choose("conv2d", params, 2).split("_")[1]

    assert chosen(56, 64, 1) == "winograd4"
    assert chosen(56, 64, 1, exact=1) == "igemm"
    assert (
        chosen(7, 512, 1) == "winograd2"
    )  # the 4x larger weights of winograd4 would come from memory
    assert chosen(7, 512, 8) == "winograd4"
    assert chosen(2, 512, 1) in ("winograd2", "igemm")
    assert chosen(1, 64, 1) == "igemm"
    assert chosen(27, 64, 1, window=5) == "winograd5x5"
    assert chosen(27, 64, 1, window=5, exact=1) == "igemm"
    assert chosen(1, 64, 1, window=5) == "igemm"
