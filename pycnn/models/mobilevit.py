"""MobileViT: "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", Mehta & Rastegari.

2021, arXiv 2110.02178: inverted residuals, and between them transformers whose tokens are the pixels at one place of
their 2x2 patch. State_dict keys and initialisation are timm's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import attended, concat, fused, fused_add
from pycnn.blocks.resize import resize
from pycnn.registry import Family, Paper, model

PATCH = 2  # pixels, each way
HEADS = 4


class ConvNormAct(nn.Module):
    """silu(bn(conv(x))) or bn(conv(x)), keys "conv.weight" and "bn.*": [n, c, h, w] -> [n, k, h/stride, w/stride]."""

    def __init__(
        self, c: int, k: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, k, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(k)
        self.act = nn.SiLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.conv, self.bn, self.act)


class Expansion(nn.Module):
    """An inverted residual with SiLU under timm's keys: [n, c, h, w] -> [n, k, h/stride, w/stride].

    The factor of the last batch-norm is 0 at first where x is added: the block then begins as the identity.
    """

    def __init__(self, c: int, k: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c * expansion
        self.conv1_1x1 = ConvNormAct(c, wide, 1)
        self.conv2_kxk = ConvNormAct(wide, wide, 3, stride, groups=wide)
        self.conv3_1x1 = ConvNormAct(wide, k, 1, act=False)
        self.adds = stride == 1 and c == k

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2_kxk(self.conv1_1x1(x))
        last = self.conv3_1x1
        return fused_add(y, last.conv, last.bn, residual=x) if self.adds else last(y)


class Attention(nn.Module):
    """Multi-head self-attention: [n, tokens, width] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = fused(x, self.qkv).chunk(3, dim=2)
        return fused(attended(q, k, v, HEADS), self.proj)


class Mlp(nn.Module):
    """Two linear layers, twice as wide between: [n, tokens, width] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.act = nn.SiLU()
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.fc1, self.act, self.fc2)


class Transformer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): [n, tokens, width] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class MobileViTBlock(nn.Module):
    """Convolution for what is near, transformers for what is far: [n, channels, h, w] -> the same shape.

    A map whose sides are no multiples of the patch is resized to the next ones (bilinear) and back.

    Args:
        channels: of x.
        width: of the tokens.
        depth: number of transformers.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.conv_kxk = ConvNormAct(channels, channels, 3)
        self.conv_1x1 = nn.Conv2d(channels, width, 1, bias=False)
        self.transformer = nn.Sequential(*(Transformer(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.conv_proj = ConvNormAct(width, channels, 1)
        self.conv_fusion = ConvNormAct(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = fused(self.conv_kxk(x), self.conv_1x1)
        n, c, h, w = y.shape
        rows, columns = math.ceil(h / PATCH), math.ceil(w / PATCH)
        fits = (rows * PATCH, columns * PATCH) == (h, w)
        if not fits:
            y = _resize(y, rows * PATCH, columns * PATCH)
        y = y.reshape(n, c, rows, PATCH, columns, PATCH).permute(0, 3, 5, 2, 4, 1)
        y = y.reshape(n * PATCH**2, rows * columns, c)
        y = self.norm(self.transformer(y))
        y = y.reshape(n, PATCH, PATCH, rows, columns, c).permute(0, 5, 3, 1, 4, 2)
        y = y.reshape(n, c, rows * PATCH, columns * PATCH)
        if not fits:
            y = _resize(y, h, w)
        joined: Tensor = self.conv_fusion(concat([x, self.conv_proj(y)]))
        return joined


def _resize(x: Tensor, h: int, w: int) -> Tensor:
    return resize(x, (h, w), "bilinear")


class Head(nn.Module):
    """Global average and linear: [n, c, h, w] -> [n, num_classes]; keys "fc.*"."""

    def __init__(self, c: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(c, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(fused(x, self.global_pool), 1)
        return fused(x, self.drop, self.fc)


class Widths(NamedTuple):
    """A column of table 4 of the paper."""

    channels: tuple[int, int, int, int, int]
    tokens: tuple[int, int, int]  # width of the transformers' tokens
    head: int
    expansion: int


class MobileViT(nn.Module):
    """Stem, five stages, 1x1 convolution, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        widths: of the stages.
        num_classes: number of logits.
        in_channels: channels of the image.
        drop_rate: of the dropout before the classifier.
    """

    def __init__(
        self, widths: Widths, num_classes: int = 1000, in_channels: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        c, expansion = 16, widths.expansion
        self.stem = ConvNormAct(in_channels, c, 3, stride=2)
        stages = []
        for i, k in enumerate(widths.channels):
            stage: list[nn.Module] = [Expansion(c, k, 1 if i == 0 else 2, expansion)]
            if i == 1:
                stage += [Expansion(k, k, 1, expansion) for _ in range(2)]
            if i > 1:
                stage.append(MobileViTBlock(k, widths.tokens[i - 2], (2, 4, 3)[i - 2]))
            stages.append(nn.Sequential(*stage))
            c = k
        self.stages = nn.Sequential(*stages)
        self.final_conv = ConvNormAct(c, widths.head, 1)
        self.head = Head(widths.head, num_classes, drop_rate)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)
            elif isinstance(module, Expansion) and module.adds:
                nn.init.zeros_(module.conv3_1x1.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.final_conv(self.stages(self.stem(x))))
        return logits


MOBILEVIT = Family(
    "mobilevit",
    Paper(
        "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
        "Mehta, Rastegari",
        2021,
        "2110.02178",
    ),
    image_size=(256, 256),
    num_classes=1000,
    stages={
        2: ("stem", "stages.0"),
        4: ("stages.1",),
        8: ("stages.2",),
        16: ("stages.3",),
        32: ("stages.4",),
    },
)
VARIANTS = {
    "mobilevit_xxs": Widths((16, 24, 48, 64, 80), (64, 80, 96), 320, 2),
    "mobilevit_xs": Widths((32, 48, 64, 80, 96), (96, 120, 144), 384, 4),
    "mobilevit_s": Widths((32, 64, 96, 128, 160), (144, 192, 240), 640, 4),
}

for _name, _widths in VARIANTS.items():
    model(_name, MOBILEVIT, widths=_widths)(MobileViT)
