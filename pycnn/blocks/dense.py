"""Dense connections: "Densely Connected Convolutional Networks", Huang et al. 2016 (1608.06993)."""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused


class DenseLayer(nn.Module):
    """New maps from all before: BN-ReLU-1x1, BN-ReLU-3x3: [n, in_channels, h, w] -> [n, growth, h, w].

    Args:
        in_channels: of x.
        growth: channels it adds.
        bottleneck: channels between the convolutions, in multiples of `growth`.
        drop_rate: probability of the dropout of what it adds.
    """

    def __init__(
        self, in_channels: int, growth: int, bottleneck: int = 4, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(drop_rate) if drop_rate > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.norm1, self.relu1, self.conv1, self.norm2, self.relu2, self.conv2)
        return y if self.dropout is None else fused(y, self.dropout)


class DenseBlock(nn.ModuleDict):
    """`n` dense layers, each of which sees all maps so far: [n, c, h, w] -> [n, c + n growth, h, w].

    Keys "denselayer1.*" ... as torchvision's.
    """

    def __init__(
        self, n: int, in_channels: int, growth: int, bottleneck: int = 4, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        for i in range(n):
            layer = DenseLayer(in_channels + i * growth, growth, bottleneck, drop_rate)
            self[f"denselayer{i + 1}"] = layer

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.values():
            maps.append(layer(concat(maps)))
        return concat(maps)


class Transition(FusedSequential):
    """BN-ReLU-1x1 and 2x2 average pooling: [n, in_channels, h, w] -> [n, out_channels, h/2, w/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2)
