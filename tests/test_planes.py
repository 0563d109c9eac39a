"""Results in NCHW that the last op writes itself, with no copy behind it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pycnn


class Head(nn.Module):
    """A score map at another size, as segmentation networks end."""

    def __init__(self, mode: str, reads: bool = False, c: int = 21) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, c, 3, padding=1)
        self.mode, self.reads = mode, reads

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = F.interpolate(self.conv(x), scale_factor=(3.0, 2.5), mode=self.mode)
        return (y, y.relu()) if self.reads else y


def kernels(fast: nn.Module, x: Tensor) -> list[str]:
    return [step.kernel.rsplit("_", 2)[0] for step in pycnn.explain(fast, x).steps]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 3])
def test_a_map_at_another_size_is_written_where_it_goes(
    mode: str, dtype: torch.dtype, n: int
) -> None:
    net = Head(mode).eval()
    fast = pycnn.optimize(net, dtype=dtype, threads=2)
    for h, w in ((9, 8), (1, 5), (12, 41)):
        x = torch.randn(n, 16, h, w)
        with torch.inference_mode():
            y, expected = fast(x), net(x)
            exact = pycnn.optimize(net, dtype=dtype, batch_invariant=True)
            one = exact(x[:1])
            assert torch.equal(one, exact(x)[:1])
        assert y.is_contiguous() and y.dtype == dtype
        tolerance = 1e-5 if dtype == torch.float32 else 5e-2
        torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
        assert kernels(fast, x)[-1] == "upsample_planes"


def test_not_where_something_reads_it_nor_in_other_formats() -> None:
    x = torch.randn(2, 16, 9, 8)
    for net, given in (
        (Head("bilinear", reads=True), x),
        (Head("bilinear"), x.to(memory_format=torch.channels_last)),
        (Head("bilinear", c=1), x),
    ):
        fast = pycnn.optimize(net.eval())
        with torch.inference_mode():
            torch.testing.assert_close(fast(given), net(given), rtol=1e-5, atol=1e-5)
        assert "upsample_planes" not in kernels(fast, given)


def test_within_a_memory_limit() -> None:
    net, x = Head("bilinear").eval(), torch.randn(3, 16, 20, 20)
    whole = pycnn.explain(pycnn.optimize(net, threads=1), x)
    limit = whole.peak_bytes * 2 // 3
    fast = pycnn.optimize(net, threads=1, memory_limit=limit)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), net(x), rtol=1e-5, atol=1e-5)
    report = pycnn.explain(fast, x)
    assert report.peak_bytes <= limit and "upsample_planes" in kernels(fast, x)


def test_every_value_is_looked_at_where_it_lies() -> None:
    net, x = Head("bilinear").eval(), torch.randn(2, 16, 9, 8)
    report = pycnn.verify(pycnn.optimize(net), net, x)
    assert report.ok and max(layer.error for layer in report.layers) < 1e-5
