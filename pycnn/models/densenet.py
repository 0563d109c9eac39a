"""DenseNet: "Densely Connected Convolutional Networks", Huang, Liu, van der Maaten, Weinberger 2016 (arXiv 1608.06993).

Keys and initial values are torchvision's; the dotted keys of its older files ("norm.1") are accepted.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from pycnn.blocks.dense import DenseBlock, Transition
from pycnn.blocks.fused import FusedSequential, fused
from pycnn.registry import Family, Paper, model

DENSENET = Family(
    "densenet",
    Paper(
        "Densely Connected Convolutional Networks",
        "Huang, Liu, van der Maaten, Weinberger",
        2016,
        "1608.06993",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("features.conv0", "features.norm0", "features.relu0"),
        4: ("features.pool0", "features.denseblock1"),
        8: ("features.transition1", "features.denseblock2"),
        16: ("features.transition2", "features.denseblock3"),
        32: ("features.transition3", "features.denseblock4", "features.norm5", "relu"),
    },
)
DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


class DenseNet(nn.Module):
    """Stem, four dense blocks with transitions between, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        growth: channels each dense layer adds.
        layers: number of dense layers of each block.
        stem: channels of the first convolution.
        num_classes: number of logits.
        in_channels: channels of the image; h, w >= 29.
        drop_rate: probability of the dropout in each dense layer.
    """

    def __init__(
        self,
        growth: int,
        layers: tuple[int, int, int, int],
        stem: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        features = FusedSequential()
        features.conv0 = nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
        features.norm0 = nn.BatchNorm2d(stem)
        features.relu0 = nn.ReLU(inplace=True)
        features.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        c = stem
        for i, n in enumerate(layers, 1):
            features.add_module(f"denseblock{i}", DenseBlock(n, c, growth, drop_rate=drop_rate))
            c += n * growth
            if i < len(layers):
                features.add_module(f"transition{i}", Transition(c, c // 2))
                c //= 2
        features.norm5 = nn.BatchNorm2d(c)
        self.features = features
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(c, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = fused(self.features(x), self.relu, self.avgpool)
        return fused(torch.flatten(x, 1), self.classifier)

    def current_key(self, key: str) -> str:
        """ "...norm.1.weight" of older files is "...norm1.weight"."""
        dotted = DOTTED.fullmatch(key)
        return key if dotted is None else "".join(dotted.groups())


VARIANTS = {  # growth, layers of each block, channels of the stem
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet161": (48, (6, 12, 36, 24), 96),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
}

for _name, (_growth, _layers, _stem) in VARIANTS.items():
    model(_name, DENSENET, growth=_growth, layers=_layers, stem=_stem)(DenseNet)
