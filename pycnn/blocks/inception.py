"""Multi-branch blocks: "Going Deeper with Convolutions", Szegedy et al. 2014 (1409.4842)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused


class BasicConv2d(nn.Module):
    """relu(bn(conv(x))), eps 0.001: [n, in_channels, h, w] -> [n, out_channels, ...]; keys "conv.weight", "bn.*".

    Args:
        in_channels, out_channels, kernel_size: of the convolution, which has no bias.
        **options: its stride, padding, ...
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.conv, self.bn, self.relu)


class InceptionBlock(nn.Module):
    """1x1, 1x1-3x3, 1x1-3x3 and pooling-1x1 side by side: [n, in_channels, h, w] -> [n, sum of widths, h, w].

    Keys are torchvision's GoogLeNet's, and so is the third branch: 3x3 where the paper has 5x5.

    Args:
        in_channels: of x.
        single: channels of the 1x1 branch.
        double, triple: channels (between, out) of the second and third branch.
        pooled: channels of the pooling branch.
    """

    def __init__(
        self,
        in_channels: int,
        single: int,
        double: tuple[int, int],
        triple: tuple[int, int],
        pooled: int,
    ) -> None:
        super().__init__()
        self.out_channels = single + double[1] + triple[1] + pooled
        self.branch1 = BasicConv2d(in_channels, single)
        self.branch2 = FusedSequential(
            BasicConv2d(in_channels, double[0]), BasicConv2d(*double, 3, padding=1)
        )
        self.branch3 = FusedSequential(
            BasicConv2d(in_channels, triple[0]), BasicConv2d(*triple, 3, padding=1)
        )
        self.branch4 = FusedSequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(in_channels, pooled)
        )

    def forward(self, x: Tensor) -> Tensor:
        return concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)])


class InputTransform(nn.Module):
    """From images normalised by ImageNet's mean and deviation to (image - 0.5) / 0.5: [n, 3, h, w] -> the same.

    Weights that came from TensorFlow (GoogLeNet's, Inception's) were trained on the latter.
    """

    MEAN = (0.485, 0.456, 0.406)
    DEVIATION = (0.229, 0.224, 0.225)

    def forward(self, x: Tensor) -> Tensor:
        planes = [
            x[:, i : i + 1] * (deviation / 0.5) + (mean - 0.5) / 0.5
            for i, (mean, deviation) in enumerate(zip(self.MEAN, self.DEVIATION, strict=True))
        ]
        return concat(planes)


def input_transform(enabled: bool, in_channels: int) -> nn.Module:
    """`InputTransform`, or nothing.

    Raises:
        ValueError: it is asked for on images which are not RGB.
    """
    if enabled and in_channels != 3:
        raise ValueError(f"transform_input=True is for 3 channels, got in_channels={in_channels}")
    return InputTransform() if enabled else nn.Identity()
