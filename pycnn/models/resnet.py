"""ResNet: "Deep Residual Learning for Image Recognition", He, Zhang, Ren, Sun 2015 (arXiv 1512.03385).

State_dict keys, initialisation and stride placement are torchvision's, so its weights load as they are: a bottleneck
strides in its 3x3 convolution ("v1.5"), where the paper strides in the first 1x1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.models.fused import FusedSequential, fused
from pycnn.registry import Family, Paper, model


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)), F = 3x3, 3x3: [n, c, h, w] -> [n, planes, h/stride, w/stride]."""

    expansion = 1

    def __init__(
        self, in_channels: int, planes: int, stride: int, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = fused(x, self.conv1, self.bn1, self.relu)
        return fused(y, self.conv2, self.bn2, self.relu, residual=shortcut)


class Bottleneck(nn.Module):
    """relu(F(x) + shortcut(x)), F = 1x1, 3x3, 1x1: [n, c, h, w] -> [n, 4 planes, h/stride, w/stride]."""

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, stride: int, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = fused(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu)
        return fused(y, self.conv3, self.bn3, self.relu, residual=shortcut)


class ResNet(nn.Module):
    """Stem, four stages of blocks, global average, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: number of blocks of each of the four stages.
        num_classes: number of logits.
        in_channels: channels of the image.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, layers[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, layers[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, layers[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.conv1, self.bn1, self.relu, self.maxpool)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = torch.flatten(fused(x, self.avgpool), 1)
        return fused(x, self.fc)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, planes: int, n: int, stride: int
) -> nn.Sequential:
    """`n` blocks, the first with the stride and, where shapes change, a projection shortcut."""
    out_channels = planes * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = FusedSequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    blocks = [block(in_channels, planes, stride, downsample)]
    blocks += [block(out_channels, planes, 1, None) for _ in range(1, n)]
    return nn.Sequential(*blocks)


RESNET = Family(
    "resnet",
    Paper(
        "Deep Residual Learning for Image Recognition", "He, Zhang, Ren, Sun", 2015, "1512.03385"
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("conv1", "bn1", "relu"),
        4: ("maxpool", "layer1"),
        8: ("layer2",),
        16: ("layer3",),
        32: ("layer4",),
    },
)
VARIANTS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}

for _name, (_block, _layers) in VARIANTS.items():
    model(_name, RESNET, block=_block, layers=_layers)(ResNet)
