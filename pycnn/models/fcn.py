"""FCN: "Fully Convolutional Networks for Semantic Segmentation", Long, Shelhamer, Darrell 2014 (arXiv 1411.4038).

Keys, initial values and outputs are torchvision's: a ResNet-50 of stride 8, no skip connections.
"""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential
from pycnn.blocks.resize import image_size, resize
from pycnn.models.features import FeatureExtractor
from pycnn.models.resnet import resnet_backbone
from pycnn.registry import Family, Paper, model

FCN = Family(
    "fcn",
    Paper(
        "Fully Convolutional Networks for Semantic Segmentation",
        "Long, Shelhamer, Darrell",
        2014,
        "1411.4038",
    ),
    image_size=(520, 520),
    num_classes=21,
    task="segmentation",
)


class PixelClassifier(nn.Module):
    """A classifier on a backbone's last map, its logits enlarged to the image.

    [n, c, h, w] -> {"out": [n, num_classes, h, w]}, and with an auxiliary head {"out": ..., "aux": the same shape}.

    Args:
        backbone: gives one map, or, with an auxiliary head, the head's and the last.
        classifier: from the last map to logits.
        aux_classifier: from the earlier map to logits, or None.
    """

    def __init__(
        self, backbone: FeatureExtractor, classifier: nn.Module, aux_classifier: nn.Module | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(x)
        outputs = {"out": resize(self.classifier(maps[-1]), image_size(x), "bilinear")}
        if self.aux_classifier is not None:
            outputs["aux"] = resize(self.aux_classifier(maps[0]), image_size(x), "bilinear")
        return outputs

    def current_key(self, key: str) -> str | None:
        """Files have the auxiliary head; a network without it leaves it out."""
        left_out = self.aux_classifier is None and key.startswith("aux_classifier.")
        return None if left_out else key


class FCNHead(FusedSequential):
    """3x3 with batch-norm and ReLU, dropout, 1x1: [n, in_channels, h, w] -> [n, num_classes, h, w]."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        inner = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inner, num_classes, 1),
        )


@model("fcn_resnet50", FCN)
def fcn_resnet50(
    num_classes: int = 21, in_channels: int = 3, aux_loss: bool = False
) -> PixelClassifier:
    """FCN on a ResNet-50 whose last two stages are dilated; `aux_loss` adds a head on the third stage."""
    stages = (3, 4) if aux_loss else (4,)
    backbone = resnet_backbone((3, 4, 6, 3), in_channels, stages, dilate=(False, True, True))
    aux = FCNHead(1024, num_classes) if aux_loss else None
    return PixelClassifier(backbone, FCNHead(2048, num_classes), aux)
