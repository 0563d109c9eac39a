"""ResNet: "Deep Residual Learning for Image Recognition", He, Zhang, Ren, Sun 2015 (arXiv 1512.03385).

ResNeXt: "Aggregated Residual Transformations for Deep Neural Networks", Xie, Girshick, Dollár, Tu, He 2016 (arXiv
1611.05431): grouped 3x3 convolutions. "Wide Residual Networks", Zagoruyko, Komodakis 2016 (arXiv 1605.07146): wider
3x3 convolutions.

State_dict keys, initialisation and stride placement are torchvision's, so its weights load as they are: a bottleneck
strides in its 3x3 convolution ("v1.5"), where the paper strides in the first 1x1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused
from pycnn.blocks.residual import BasicBlock, Bottleneck, Shape
from pycnn.models.features import FeatureExtractor
from pycnn.registry import Family, Paper, model

Block: TypeAlias = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """Stem, four stages of blocks, global average, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: number of blocks of each of the four stages.
        num_classes: number of logits.
        in_channels: channels of the image.
        groups, width_per_group: of the 3x3 convolutions of `Bottleneck`: 32 and 4 make a ResNeXt 32x4d.
        zero_init_residual: each branch starts as zero, each block as the identity (Goyal et al. 2017, 1706.02677).
        replace_stride_with_dilation: for stages 2, 3 and 4; `Bottleneck` only.

    Raises:
        ValueError: a basic block is to have groups, a width or dilation; or there are not three flags.
    """

    def __init__(
        self,
        block: Block,
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        zero_init_residual: bool = False,
        replace_stride_with_dilation: tuple[bool, bool, bool] = (False, False, False),
    ) -> None:
        super().__init__()
        if len(replace_stride_with_dilation) != 3:
            given = replace_stride_with_dilation
            raise ValueError(f"resnet: replace_stride_with_dilation={given!r} must be three flags")
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        c, dilation = 64, 1
        for i, dilate in enumerate((None, *replace_stride_with_dilation)):
            shape = Shape(1 if dilate in (None, True) else 2, dilation, groups, width_per_group)
            dilation *= 2 if dilate else 1
            planes = 64 * 2**i
            stages.append(_stage(block, (c, planes), layers[i], shape, dilation))
            c = planes * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(c, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                nn.init.zeros_(module.last_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.conv1, self.bn1, self.relu, self.maxpool)
        x = fused(x, self.layer1, self.layer2, self.layer3, self.layer4)
        x = torch.flatten(fused(x, self.avgpool), 1)
        return fused(x, self.fc)


def _stage(
    block: Block, channels: tuple[int, int], n: int, first: Shape, dilation: int
) -> nn.Sequential:
    """`n` blocks, the first with `first`'s stride and dilation and, where shapes change, a projection shortcut."""
    c, planes = channels
    out_channels = planes * block.expansion
    downsample = None
    if first.stride != 1 or c != out_channels:
        downsample = FusedSequential(
            nn.Conv2d(c, out_channels, 1, first.stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    blocks = [block(c, planes, first, downsample)]
    others = replace(first, stride=1, dilation=dilation)
    blocks += [block(out_channels, planes, others, None) for _ in range(1, n)]
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
RESNEXT = replace(
    RESNET,
    name="resnext",
    paper=Paper(
        "Aggregated Residual Transformations for Deep Neural Networks",
        "Xie, Girshick, Dollár, Tu, He", 2016, "1611.05431",
    ),
)  # fmt: skip
WIDE = replace(
    RESNET,
    name="wide_resnet",
    paper=Paper("Wide Residual Networks", "Zagoruyko, Komodakis", 2016, "1605.07146"),
)
VARIANTS: dict[str, tuple[Family, Block, tuple[int, int, int, int], dict[str, int]]] = {
    "resnet18": (RESNET, BasicBlock, (2, 2, 2, 2), {}),
    "resnet34": (RESNET, BasicBlock, (3, 4, 6, 3), {}),
    "resnet50": (RESNET, Bottleneck, (3, 4, 6, 3), {}),
    "resnet101": (RESNET, Bottleneck, (3, 4, 23, 3), {}),
    "resnet152": (RESNET, Bottleneck, (3, 8, 36, 3), {}),
    "resnext50_32x4d": (RESNEXT, Bottleneck, (3, 4, 6, 3), {"groups": 32, "width_per_group": 4}),
    "resnext101_32x8d": (RESNEXT, Bottleneck, (3, 4, 23, 3), {"groups": 32, "width_per_group": 8}),
    "wide_resnet50_2": (WIDE, Bottleneck, (3, 4, 6, 3), {"width_per_group": 128}),
    "wide_resnet101_2": (WIDE, Bottleneck, (3, 4, 23, 3), {"width_per_group": 128}),
}

for _name, (_family, _block, _layers, _widths) in VARIANTS.items():
    model(_name, _family, block=_block, layers=_layers, **_widths)(ResNet)


def resnet_backbone(
    layers: tuple[int, int, int, int],
    in_channels: int,
    out_indices: tuple[int, ...],
    dilate: tuple[bool, bool, bool] = (False, False, False),
    block: Block = Bottleneck,
) -> FeatureExtractor:
    """A ResNet without its head, for the networks built on one; `dilate` as `replace_stride_with_dilation`."""
    net = ResNet(block, layers, in_channels=in_channels, replace_stride_with_dilation=dilate)
    assert RESNET.stages is not None
    return FeatureExtractor(net, RESNET.stages, out_indices)
