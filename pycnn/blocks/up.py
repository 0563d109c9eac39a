"""The way up of encoder-decoder networks: "U-Net", Ronneberger, Fischer, Brox 2015 (1505.04597)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.blocks.resize import image_size, resize


class DoubleConv(FusedSequential):
    """Two 3x3 convolutions with ReLU: [n, in_channels, h, w] -> [n, out_channels, h, w], or h-4, w-4 without padding.

    Keys "0.*" and "2.*"; with batch-norm "0.weight", "1.*", "3.weight", "4.*".
    """

    def __init__(
        self, in_channels: int, out_channels: int, padding: bool = True, batch_norm: bool = False
    ) -> None:
        layers: list[nn.Module] = []
        for c in (in_channels, out_channels):
            layers.append(nn.Conv2d(c, out_channels, 3, padding=int(padding), bias=not batch_norm))
            layers += [nn.BatchNorm2d(out_channels)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UpBlock(nn.Module):
    """Twice as large, joined with the map of that size on the way down, two 3x3 convolutions.

    [n, in_channels, h, w] and [n, skip_channels, h', w'] -> [n, out_channels, h', w'], where h' is 2h or 2h + 1.
    Without padding the larger map is cut to the middle 2h x 2w, and the result is 4 pixels smaller.

    Args:
        in_channels, skip_channels, out_channels: of the two inputs and the result.
        up: "transposed", a 2x2 transposed convolution of stride 2, or "bilinear", a 1x1 convolution and interpolation;
            either halves the channels.
        padding: the 3x3 convolutions have it.
        batch_norm: a batch-norm after each 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        up: Literal["transposed", "bilinear"] = "transposed",
        padding: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if up not in ("transposed", "bilinear"):
            raise ValueError(f"UpBlock: up={up!r} is neither 'transposed' nor 'bilinear'")
        half = in_channels // 2
        self.padding = padding
        self.up = (
            nn.ConvTranspose2d(in_channels, half, 2, stride=2)
            if up == "transposed"
            else nn.Conv2d(in_channels, half, 1)
        )
        self.conv = DoubleConv(half + skip_channels, out_channels, padding, batch_norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        h, w = image_size(skip) if self.padding else (2 * x.shape[2], 2 * x.shape[3])
        if isinstance(self.up, nn.ConvTranspose2d):
            x = self.up(x, output_size=(h, w))
        else:  # a 1x1 convolution and interpolation may change places: on the small map it is 4 times cheaper
            x = resize(fused(x, self.up), (h, w), "bilinear")
        if image_size(skip) != (h, w):
            skip = centre(skip, h, w)
        return fused(concat([skip, x]), self.conv)


def centre(x: Tensor, h: int, w: int) -> Tensor:
    """The middle h x w pixels of x [n, c, ...]; of an odd rim the larger half is cut at the end."""
    top, left = (x.shape[2] - h) // 2, (x.shape[3] - w) // 2
    return x[:, :, top : top + h, left : left + w]
