"""EfficientNet and EfficientNetV2, Tan & Le 2019 (arXiv 1905.11946) and 2021 (arXiv 2104.00298).

State_dict keys and initialisation are torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pycnn.blocks.conv import ConvBnAct, Norm, divisible
from pycnn.blocks.fused import FusedSequential, fused
from pycnn.blocks.inverted_residual import FusedInvertedResidual, InvertedResidual
from pycnn.registry import Family, Paper, model


class Stage(NamedTuple):
    """A row of the papers' tables: blocks of one kind, of which the first has the stride."""

    expansion: int
    kernel: int
    stride: int
    out: int
    n: int
    fused: bool = False  # a full 3x3 convolution in place of expansion and depthwise


class Scaled(NamedTuple):
    """A network's three dimensions after `compound_scale`."""

    depth: float
    width: float
    resolution: float


def compound_scale(
    depth: float,
    width: float,
    resolution: float,
    phi: float,
    *,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
) -> Scaled:
    """Scale a network's depth, width and resolution together, equation 3 of EfficientNet (arXiv 1905.11946).

    depth * alpha^phi, width * beta^phi, resolution * gamma^phi; operations grow by (alpha beta^2 gamma^2)^phi, which
    with the paper's constants is about 2^phi. Nothing is rounded: layers take `math.ceil`, channels a multiple of 8.
    The published B1 ... B7 round the factors further; theirs are in the table of this family.

    Args:
        depth, width, resolution: of the network at phi = 0: layers, channels, pixels.
        phi: how far; negative shrinks.
        alpha, beta, gamma: growth of each for phi = 1, at least 1.

    Returns:
        (depth, width, resolution).

    Raises:
        ValueError: a dimension is not positive, or a constant is below 1.

    Example:
        >>> compound_scale(18, 1280, 224, phi=1)
        Scaled(depth=21.6, width=1408.0, resolution=257.59999999999997)
    """
    sizes = {"depth": depth, "width": width, "resolution": resolution}
    for name, value in sizes.items():
        if not value > 0:
            raise ValueError(f"compound_scale: {name}={value} must be positive")
    for name, value in {"alpha": alpha, "beta": beta, "gamma": gamma}.items():
        if not value >= 1:
            raise ValueError(f"compound_scale: {name}={value} must be at least 1")
    return Scaled(depth * alpha**phi, width * beta**phi, resolution * gamma**phi)


class EfficientNet(nn.Module):
    """Stem, stages of (fused) inverted residuals, 1x1 convolution, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        stages: the rows of the table.
        stem: channels of the first convolution.
        head: channels of the last one; None: four times the last stage's.
        num_classes: number of logits.
        in_channels: channels of the image.
        width_mult, depth_mult: factors of the widths (then rounded to multiples of 8) and of the numbers of blocks
            (rounded up).
        drop_rate: of the dropout before the classifier.
        stochastic_depth: probability of dropping the last block; it grows linearly from 0 at the first.
        norm: from the number of channels to the normalisation.

    Raises:
        ValueError: a multiplier is not positive, or a rate is no probability.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        stem: int = 32,
        head: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        drop_rate: float = 0.2,
        stochastic_depth: float = 0.2,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if not (width_mult > 0 and depth_mult > 0):
            raise ValueError(
                f"efficientnet: width_mult={width_mult}, depth_mult={depth_mult} must be positive"
            )
        scaled = [
            stage._replace(out=divisible(stage.out * width_mult), n=math.ceil(stage.n * depth_mult))
            for stage in stages
        ]
        c = divisible(stem * width_mult)
        features: list[nn.Module] = [ConvBnAct(in_channels, c, 3, 2, act=nn.SiLU, norm=norm)]
        before, total = 0, sum(stage.n for stage in scaled)
        for stage in scaled:
            drops = [stochastic_depth * (before + i) / total for i in range(stage.n)]
            features.append(_stage(stage, c, drops, norm))
            c, before = stage.out, before + stage.n
        head = 4 * c if head is None else head
        features.append(ConvBnAct(c, head, 1, act=nn.SiLU, norm=norm))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = FusedSequential(
            nn.Dropout(drop_rate, inplace=True), nn.Linear(head, num_classes)
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(fused(self.features(x), self.avgpool), 1)
        logits: Tensor = self.classifier(x)
        return logits


def _stage(stage: Stage, in_channels: int, drops: list[float], norm: Norm) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for i, drop_path in enumerate(drops):
        c = in_channels if i == 0 else stage.out
        stride = stage.stride if i == 0 else 1
        expanded = divisible(c * stage.expansion)
        if stage.fused:
            block: nn.Module = FusedInvertedResidual(
                c, stage.out, expanded, stage.kernel, stride, norm=norm, drop_path=drop_path
            )
        else:
            block = InvertedResidual(
                c, stage.out, expanded, stage.kernel, stride,
                squeezed=max(1, c // 4), act=nn.SiLU, squeeze_act=partial(nn.SiLU, inplace=True),
                norm=norm, drop_path=drop_path,
            )  # fmt: skip
        blocks.append(block)
    return nn.Sequential(*blocks)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1.0 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)


B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
V2_S = (
    Stage(1, 3, 1, 24, 2, fused=True),
    Stage(4, 3, 2, 48, 4, fused=True),
    Stage(4, 3, 2, 64, 4, fused=True),
    Stage(4, 3, 2, 128, 6),
    Stage(6, 3, 1, 160, 9),
    Stage(6, 3, 2, 256, 15),
)
V2_M = (
    Stage(1, 3, 1, 24, 3, fused=True),
    Stage(4, 3, 2, 48, 5, fused=True),
    Stage(4, 3, 2, 80, 5, fused=True),
    Stage(4, 3, 2, 160, 7),
    Stage(6, 3, 1, 176, 14),
    Stage(6, 3, 2, 304, 18),
    Stage(6, 3, 1, 512, 5),
)
V2_L = (
    Stage(1, 3, 1, 32, 4, fused=True),
    Stage(4, 3, 2, 64, 7, fused=True),
    Stage(4, 3, 2, 96, 7, fused=True),
    Stage(4, 3, 2, 192, 10),
    Stage(6, 3, 1, 224, 19),
    Stage(6, 3, 2, 384, 25),
    Stage(6, 3, 1, 640, 7),
)
FEATURE_STAGES = {
    2: ("features.:2",),
    4: ("features.2",),
    8: ("features.3",),
    16: ("features.4:6",),
    32: ("features.6:-1",),
}
EFFICIENTNET = Family(
    "efficientnet",
    Paper(
        "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        "Tan, Le",
        2019,
        "1905.11946",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages=FEATURE_STAGES,
)
EFFICIENTNET_V2 = replace(
    EFFICIENTNET,
    name="efficientnet_v2",
    paper=Paper(
        "EfficientNetV2: Smaller Models and Faster Training", "Tan, Le", 2021, "2104.00298"
    ),
)
VARIANTS = {  # width, depth, resolution, dropout
    "efficientnet_b0": (1.0, 1.0, 224, 0.2),
    "efficientnet_b1": (1.0, 1.1, 240, 0.2),
    "efficientnet_b2": (1.1, 1.2, 260, 0.3),
    "efficientnet_b3": (1.2, 1.4, 300, 0.3),
    "efficientnet_b4": (1.4, 1.8, 380, 0.4),
    "efficientnet_b5": (1.6, 2.2, 456, 0.4),
    "efficientnet_b6": (1.8, 2.6, 528, 0.5),
    "efficientnet_b7": (2.0, 3.1, 600, 0.5),
}
V2_VARIANTS = {  # stages, stem, resolution, dropout
    "efficientnet_v2_s": (V2_S, 24, 384, 0.2),
    "efficientnet_v2_m": (V2_M, 24, 480, 0.3),
    "efficientnet_v2_l": (V2_L, 32, 480, 0.4),
}

for _name, (_width, _depth, _size, _drop) in VARIANTS.items():
    # torchvision's B5 to B7 come from TensorFlow's weights, whose batch-norms have these constants
    _norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01) if _width >= 1.6 else nn.BatchNorm2d
    model(
        _name,
        replace(EFFICIENTNET, image_size=(_size, _size)),
        stages=B0, width_mult=_width, depth_mult=_depth, drop_rate=_drop, norm=_norm,
    )(EfficientNet)  # fmt: skip

for _name, (_stages, _stem, _size, _drop) in V2_VARIANTS.items():
    model(
        _name,
        replace(EFFICIENTNET_V2, image_size=(_size, _size)),
        stages=_stages, stem=_stem, head=1280, drop_rate=_drop,
        norm=partial(nn.BatchNorm2d, eps=0.001),
    )(EfficientNet)  # fmt: skip
