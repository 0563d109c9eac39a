"""Residual blocks: "Deep Residual Learning for Image Recognition", He, Zhang, Ren, Sun 2015 (1512.03385)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pycnn.blocks.fused import fused


@dataclass(frozen=True)
class Shape:
    """Of the blocks of one stage.

    Attributes:
        stride: of the 3x3 convolution.
        dilation: of the 3x3 convolution.
        groups: of the 3x3 convolution.
        base_width: channels of a group of the 3x3 convolution where `planes` is 64; it grows with `planes`.
    """

    stride: int = 1
    dilation: int = 1
    groups: int = 1
    base_width: int = 64


PLAIN = Shape()


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)), F = 3x3, 3x3: [n, in_channels, h, w] -> [n, planes, h/stride, w/stride].

    Args:
        in_channels: of x.
        planes: channels of the result.
        shape: its stride; a basic block has neither groups nor dilation.
        downsample: the shortcut where the shape changes; None: x itself.

    Raises:
        ValueError: `shape` asks for what it does not have.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        planes: int,
        shape: Shape = PLAIN,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if shape != Shape(stride=shape.stride):
            raise ValueError(f"BasicBlock has neither groups nor widths nor dilation, got {shape}")
        self.conv1 = nn.Conv2d(in_channels, planes, 3, shape.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Of the branch F."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.conv1, self.bn1, self.relu)
        shortcut = x if self.downsample is None else self.downsample(x)
        return fused(y, self.conv2, self.bn2, self.relu, residual=shortcut)


class Bottleneck(nn.Module):
    """relu(F(x) + shortcut(x)), F = 1x1, 3x3, 1x1: [n, in_channels, h, w] -> [n, 4 planes, h/stride, w/stride].

    Args:
        in_channels: of x.
        planes: a quarter of the result's channels; with shape's defaults the width of the 3x3 convolution.
        shape: of the 3x3 convolution.
        downsample: the shortcut where the shape changes; None: x itself.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        shape: Shape = PLAIN,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        width = planes * shape.base_width // 64 * shape.groups
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, shape.stride, shape.dilation, shape.dilation, shape.groups, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Of the branch F."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu)
        shortcut = x if self.downsample is None else self.downsample(x)
        return fused(y, self.conv3, self.bn3, self.relu, residual=shortcut)
