"""ConvNeXt: "A ConvNet for the 2020s", Liu, Mao, Wu, Feichtenhofer, Darrell, Xie 2022 (arXiv 2201.03545).

State_dict keys and initialisation are torchvision's.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from pycnn.blocks.convnext import ConvNeXtBlock, LayerNorm2d
from pycnn.blocks.fused import FusedSequential, fused
from pycnn.registry import Family, Paper, model

norm = partial(LayerNorm2d, eps=1e-6)


class ConvNeXt(nn.Module):
    """A 4x4 patch stem, four stages of blocks, linear: [n, in_channels, h, w] -> [n, num_classes]; h, w >= 32.

    Args:
        depths, widths: numbers of blocks and of channels of the four stages.
        num_classes: number of logits.
        in_channels: channels of the image.
        stochastic_depth: probability of dropping the last block; it grows linearly from 0 at the first.
        layer_scale: initial factor of each block.

    Raises:
        ValueError: stochastic_depth is no probability.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        num_classes: int = 1000,
        in_channels: int = 3,
        stochastic_depth: float = 0.0,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = [
            FusedSequential(nn.Conv2d(in_channels, widths[0], 4, stride=4), norm(widths[0]))
        ]
        before, total = 0, sum(depths)
        for i, (n, c) in enumerate(zip(depths, widths, strict=True)):
            if i > 0:
                features.append(
                    FusedSequential(norm(widths[i - 1]), nn.Conv2d(widths[i - 1], c, 2, stride=2))
                )
            drops = [stochastic_depth * (before + j) / (total - 1.0) for j in range(n)]
            features.append(nn.Sequential(*(ConvNeXtBlock(c, layer_scale, p) for p in drops)))
            before += n
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = FusedSequential(
            norm(widths[-1]), nn.Flatten(1), nn.Linear(widths[-1], num_classes)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(fused(self.features(x), self.avgpool))
        return logits


CONVNEXT = Family(
    "convnext",
    Paper(
        "A ConvNet for the 2020s",
        "Liu, Mao, Wu, Feichtenhofer, Darrell, Xie",
        2022,
        "2201.03545",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        4: ("features.:2",),
        8: ("features.2:4",),
        16: ("features.4:6",),
        32: ("features.6:8",),
    },
)
VARIANTS = {  # depths, widths, stochastic depth
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "convnext_small": ((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "convnext_base": ((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    "convnext_large": ((3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
}

for _name, (_depths, _widths, _drop) in VARIANTS.items():
    model(_name, CONVNEXT, depths=_depths, widths=_widths, stochastic_depth=_drop)(ConvNeXt)
