"""conv_transpose2d's CUDA kernels against fp64: strides, paddings, dilations, groups, taps that no output sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from launch import DTYPES, Guarded, kernels, run
from test_conv2d_cuda import PRODUCT, SUM, UNIT, arithmetic, rows

from pycnn import ops

NAMES = [(name, dtype) for name, dtype, _ in kernels().kernels("conv_transpose2d", {})]
#        kernel, stride, padding, output_padding, dilation, groups
WINDOWS = [
    ((2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1),
    ((4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
    ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 2),
    ((3, 2), (1, 3), (1, 0), (0, 1), (1, 1), 1),
    ((3, 3), (2, 3), (2, 1), (1, 0), (2, 3), 1),
    ((1, 1), (2, 2), (0, 0), (1, 0), (1, 1), 1),  # phases without a tap: the bias alone
    ((5, 3), (4, 1), (0, 2), (3, 0), (3, 2), 2),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("kernel", "dtype"), NAMES)
def test_windows(kernel: str, dtype: str, window: tuple) -> None:
    size, stride, padding, more, dilation, groups = window
    to, step = DTYPES[dtype], 16 // DTYPES[dtype].itemsize
    for c, k, gap in ((2 * step, 20, 0), (2 * step, 8, step), (6, 10, 3)):
        generator = torch.Generator().manual_seed(5)

        def random(*shape: int, g: torch.Generator = generator) -> torch.Tensor:
            return torch.randn(shape, generator=g)

        x = random(2, c, 4, 5).to(to)
        weight, bias = random(c, k // groups, *size).to(to), random(k)
        options = stride, padding, more, groups, dilation
        plain = F.conv_transpose2d(x.double(), weight.double(), None, *options)
        bound = F.conv_transpose2d(x.double().abs(), weight.double().abs(), None, *options)
        before = plain + bias.double().view(1, -1, 1, 1)
        bound = bound + bias.double().abs().view(1, -1, 1, 1)
        _, _, oh, ow = plain.shape
        params = {
            "n": 2, "h": 4, "w": 5, "c": c, "k": k, "kh": size[0], "kw": size[1], "oh": oh, "ow": ow,
            "sh": stride[0], "sw": stride[1], "ph": padding[0], "pw": padding[1], "dh": dilation[0],
            "dw": dilation[1], "groups": groups, "ldx": c + gap, "ldy": k + gap, "act": ops.ACTS["relu"],
        }  # fmt: skip
        reason = next(r for n, _, r in kernels().kernels("conv_transpose2d", params) if n == kernel)
        takes = c % step == 0 and gap % step == 0 and (groups == 1 or c // groups % step == 0)
        assert (reason is None) == (takes or "gather" in kernel)
        if reason is not None:
            continue
        y = Guarded(torch.full((2 * oh * ow, k), torch.nan, dtype=to), k + gap, writable=True)
        run("conv_transpose2d", kernel, params, Guarded(rows(x), c + gap), y, weight.float(), bias)
        kind = arithmetic(kernel)
        expected = rows(before.relu())
        slack = (
            rows((PRODUCT[kind] + SUM) * bound) + UNIT[kind] * expected + 2**-24 * (kind == "f16")
        )
        assert bool(((y.view.double() - expected).abs() <= slack).all()) and y.untouched()
