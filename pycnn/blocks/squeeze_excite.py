"""Squeeze and excitation: "Squeeze-and-Excitation Networks", Hu, Shen, Albanie, Sun, Wu 2017 (1709.01507)."""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.conv import Act
from pycnn.blocks.fused import fused, gated


class SqueezeExcite(nn.Module):
    """x * gate(fc2(act(fc1(mean of x over h, w)))): [n, channels, h, w] -> the same shape.

    Keys "fc1.*" [squeezed, channels, 1, 1] and "fc2.*" [channels, squeezed, 1, 1].

    Args:
        channels: of x.
        squeezed: channels between the two 1x1 convolutions.
        act: class of the activation between them.
        gate: class of the activation which makes the factors, one for each image and channel.
    """

    def __init__(
        self, channels: int, squeezed: int, act: Act = nn.ReLU, gate: Act = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = act()
        self.scale_activation = gate()

    def forward(self, x: Tensor) -> Tensor:
        squeeze = fused(x, self.avgpool, self.fc1, self.activation)
        return gated(x, fused(squeeze, self.fc2, self.scale_activation))
