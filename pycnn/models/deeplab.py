"""DeepLabv3: "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al. 2017 (arXiv 1706.05587).

DeepLabv3+: "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", Chen et al. 2018 (arXiv
1802.02611). The first's keys, initial values and outputs are torchvision's, the second's segmentation_models_pytorch's.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from pycnn.blocks.aspp import ASPP, SeparableConv2d
from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.blocks.residual import Bottleneck
from pycnn.models.fcn import FCNHead, PixelClassifier
from pycnn.models.features import FeatureExtractor
from pycnn.models.mobilenet_v3 import LARGE, MobileNetV3
from pycnn.models.resnet import RESNET, ResNet, resnet_backbone
from pycnn.registry import Family, Paper, model

DEEPLAB = Family(
    "deeplabv3",
    Paper(
        "Rethinking Atrous Convolution for Semantic Image Segmentation",
        "Chen, Papandreou, Schroff, Adam",
        2017,
        "1706.05587",
    ),
    image_size=(520, 520),
    num_classes=21,
    task="segmentation",
)
DEEPLAB_PLUS = replace(
    DEEPLAB,
    name="deeplabv3plus",
    paper=Paper(
        "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
        "Chen, Zhu, Papandreou, Schroff, Adam",
        2018,
        "1802.02611",
    ),
    image_size=(512, 512),
)


class DeepLabHead(FusedSequential):
    """ASPP, 3x3 with batch-norm and ReLU, 1x1: [n, in_channels, h, w] -> [n, num_classes, h, w]."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(
            ASPP(in_channels, (12, 24, 36)),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, num_classes, 1),
        )


@model("deeplabv3_resnet50", DEEPLAB)
def deeplabv3_resnet50(
    num_classes: int = 21, in_channels: int = 3, aux_loss: bool = False
) -> PixelClassifier:
    """DeepLabv3 on a ResNet-50 of stride 8; `aux_loss` adds a head on the third stage."""
    stages = (3, 4) if aux_loss else (4,)
    backbone = resnet_backbone((3, 4, 6, 3), in_channels, stages, dilate=(False, True, True))
    aux = FCNHead(1024, num_classes) if aux_loss else None
    return PixelClassifier(backbone, DeepLabHead(2048, num_classes), aux)


@model("deeplabv3_mobilenet_v3_large", DEEPLAB)
def deeplabv3_mobilenet_v3_large(
    num_classes: int = 21, in_channels: int = 3, aux_loss: bool = False
) -> PixelClassifier:
    """DeepLabv3 on a MobileNetV3 of stride 16; `aux_loss` adds a head on its first block of stride 8."""
    net = MobileNetV3(LARGE, 1280, in_channels=in_channels, dilated=True)
    stages = {8: (":5",), 16: ("5:",)}
    backbone = FeatureExtractor(net.features, stages, (0, 1) if aux_loss else (1,))
    aux = FCNHead(backbone.channels[0], num_classes) if aux_loss else None
    return PixelClassifier(backbone, DeepLabHead(backbone.channels[-1], num_classes), aux)


class DeepLabV3Plus(nn.Module):
    """A ResNet-50 of stride 16, separable ASPP, the stride-4 map joined in: [n, c, h, w] -> [n, num_classes, h, w].

    Args:
        num_classes: number of logits of a pixel.
        in_channels: channels c of the image; h and w are multiples of 16.
        drop_rate: probability of the dropout in the ASPP.

    Raises:
        ValueError: in the forward, h or w is no multiple of 16.
    """

    def __init__(self, num_classes: int = 21, in_channels: int = 3, drop_rate: float = 0.5) -> None:
        super().__init__()
        encoder = ResNet(Bottleneck, (3, 4, 6, 3), in_channels=in_channels)
        _dilate(encoder.layer4, 2)
        self.encoder = FeatureExtractor(encoder, RESNET.stages or {}, out_indices=(1, 4))
        self.decoder = DeepLabV3PlusDecoder((256, 2048), 256, drop_rate)
        self.segmentation_head = FusedSequential(
            nn.Conv2d(256, num_classes, 1),
            nn.Upsample(scale_factor=4.0, mode="bilinear", align_corners=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 16 or x.shape[3] % 16:
            h, w = x.shape[2:]
            raise ValueError(f"deeplabv3plus: the image is {h}x{w}, both must be multiples of 16")
        y: Tensor = self.segmentation_head(self.decoder(self.encoder(x)))
        return y


class DeepLabV3PlusDecoder(nn.Module):
    """From the maps of stride 4 and 16 to one: [n, c, h/4, w/4], [n, d, h/16, w/16] -> [n, out_channels, h/4, w/4].

    Args:
        channels: (c, d).
        out_channels: of the result.
        drop_rate: probability of the dropout in the ASPP.
    """

    def __init__(self, channels: tuple[int, int], out_channels: int, drop_rate: float) -> None:
        super().__init__()
        fine, coarse = channels
        self.aspp = FusedSequential(
            ASPP(coarse, (12, 24, 36), out_channels, separable=True, dropout=drop_rate),
            SeparableConv2d(out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )
        self.up = nn.Upsample(scale_factor=4.0, mode="bilinear", align_corners=True)
        self.block1 = FusedSequential(
            nn.Conv2d(fine, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU()
        )
        self.block2 = FusedSequential(
            SeparableConv2d(48 + out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        fine, coarse = maps
        wide = fused(coarse, self.aspp, self.up)
        return fused(concat([wide, fused(fine, self.block1)]), self.block2)


def _dilate(stage: nn.Module, rate: int) -> None:
    """Every convolution of the stage with dilation instead of stride."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride, module.dilation = (1, 1), (rate, rate)
            module.padding = tuple(k // 2 * rate for k in module.kernel_size)


model("deeplabv3plus_resnet50", DEEPLAB_PLUS)(DeepLabV3Plus)
