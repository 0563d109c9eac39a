"""F.interpolate and nn.Upsample in optimised networks: sizes that follow the input, and what torch runs."""

import pytest
import torch
import torch.nn.functional as F
from nets import conv_bn, error, truth
from torch import nn

import pycnn


class Resizes(nn.Module):
    """A map enlarged by `resize(map, image)` between two convolutions, joined with the image."""

    def __init__(self, resize):
        super().__init__()
        self.down, self.up = conv_bn(3, 16, stride=2), conv_bn(19, 4)
        self.resize = resize

    def forward(self, x):
        return self.up(torch.cat([x, self.resize(self.down(x), x)], 1))


NATIVE = {
    "nearest to a size": lambda y, x: F.interpolate(y, x.shape[2:]),
    "bilinear to a size": lambda y, x: F.interpolate(y, x.shape[-2:], mode="bilinear"),
    "aligned": lambda y, x: F.interpolate(y, size=(x.size(2), x.size(3)), mode="bilinear", align_corners=True),
    "by a factor": lambda y, x: F.interpolate(y, scale_factor=2)[:, :, : x.shape[2], : x.shape[3]],
    "by two factors": lambda y, x: F.interpolate(y, scale_factor=(2.0, 2.0), mode="bilinear"),
}  # fmt: skip


@pytest.mark.parametrize("name", NATIVE)
def test_resizes_run_our_kernel_at_every_size(name):
    torch.manual_seed(1)
    net = Resizes(NATIVE[name]).eval()
    fast = pycnn.optimize(net)
    for size in ((12, 14), (20, 8)) if "factor" in name else ((12, 14), (13, 15), (9, 20)):
        x = torch.randn(2, 3, *size)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            steps = [s for s in pycnn.explain(fast, x).steps if s.op == "upsample"]
        assert [s.output for s in steps] == [(2, 16, *size)]


@pytest.mark.parametrize(
    ("resize", "reason"),
    [
        (lambda y, x: F.interpolate(y, x.shape[2:], mode="bicubic"), "mode='bicubic', antialias=False"),
        (
            lambda y, x: F.interpolate(y, x.shape[2:], mode="bilinear", antialias=True),
            "mode='bilinear', antialias=True",
        ),
        (
            lambda y, x: F.interpolate(y, scale_factor=2.0, recompute_scale_factor=True),
            "a recomputed scale factor is run by torch",
        ),
    ],
)  # fmt: skip
def test_other_resizes_are_torchs(resize, reason):
    torch.manual_seed(1)
    net = Resizes(resize).eval()
    x = torch.randn(2, 3, 12, 14)
    with torch.inference_mode():
        fast = pycnn.optimize(net)
        assert error(fast(x), truth(net, x)) < 1e-5
        (fallback,) = pycnn.explain(fast, x).fallbacks
    assert reason in str(fallback)


def test_modules_of_a_row_are_resized_by_our_kernel():
    layers = nn.Conv2d(3, 8, 3), nn.Upsample(scale_factor=1.5, mode="bilinear", align_corners=True)
    row = pycnn.blocks.FusedSequential(
        *layers, nn.Upsample((20, 30)), nn.Upsample(2, mode="bicubic")
    )
    x = torch.randn(2, 3, 9, 12)
    with torch.no_grad():
        assert error(row(x), truth(nn.Sequential(*row), x)) < 1e-5
