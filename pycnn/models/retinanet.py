"""RetinaNet: "Focal Loss for Dense Object Detection", Lin, Goyal, Girshick, He, Dollár 2017 (arXiv 1708.02002).

State_dict keys and initialisation are torchvision's; `resnet50_fpn` is its `resnet_fpn_backbone("resnet50")`. The
network itself, backbone, pyramid and heads, is one graph from images to raw outputs; `RetinaNet.detections` makes boxes
of them in plain torch.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.blocks.fused import FusedSequential, fused
from pycnn.blocks.pyramid import FeaturePyramid, LastLevels
from pycnn.models.boxes import Boxes, anchors, select
from pycnn.models.resnet import resnet_backbone
from pycnn.registry import Family, Paper, model

RESNET50 = (3, 4, 6, 3)
ANCHORS = 9  # a pixel: three sizes, three shapes
PRIOR = 0.01  # probability of an object at first
LEVELS = range(3, 8)  # maps of 1/8 to 1/128


class ResNetPyramid(nn.Module):
    """ResNet-50 with a feature pyramid: [n, in_channels, h, w] -> {"0": [n, 256, h/4, w/4], "1": 1/8, ...}.

    The others are "2" (1/16), "3" (1/32) and "pool" (1/64), all of 256 channels. Keys "body.*" and "fpn.*".
    """

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.body = resnet_backbone(RESNET50, in_channels, (1, 2, 3, 4))
        self.fpn = FeaturePyramid(self.body.channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: list[Tensor] = self.fpn(self.body(x))
        named = {str(i): y for i, y in enumerate(maps)}
        named["pool"] = F.max_pool2d(maps[-1], 1, stride=2)
        return named


class DetectionPyramid(nn.Module):
    """ResNet-50, a feature pyramid and two coarser levels: [n, c, h, w] -> five maps of 256 channels, 1/8 to 1/128."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.body = resnet_backbone(RESNET50, in_channels, (2, 3, 4))
        last = LastLevels(256)  # torchvision draws its initial values first
        self.fpn = FeaturePyramid(self.body.channels)
        self.fpn.extra_blocks = last

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.fpn(self.body(x))
        coarser: list[Tensor] = self.fpn.get_submodule("extra_blocks")(maps[-1])
        return maps + coarser


class Tower(nn.Module):
    """Four 3x3 convolutions with ReLU and one for the answer, on maps of any size: [n, c, h, w] -> [n, h w 9, values].

    Keys "conv.<i>.0.*" and "<name>.*".

    Args:
        c: channels.
        name: of the last convolution.
        values: what it says of each anchor.
        bias: its initial bias.
        last_first: whether the last convolution draws its initial weights before the others', as torchvision's do.
    """

    def __init__(self, c: int, name: str, values: int, bias: float, last_first: bool) -> None:
        super().__init__()
        self.conv = FusedSequential(
            *(
                FusedSequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(inplace=True))
                for _ in range(4)
            )
        )
        convs = [m for m in self.conv.modules() if isinstance(m, nn.Conv2d)]
        if not last_first:
            _normal(convs)
        self.last, self.values = name, values
        answer = nn.Conv2d(c, ANCHORS * values, 3, padding=1)
        self.add_module(name, answer)
        _normal([answer])
        nn.init.constant_(answer.bias, bias)  # type: ignore[arg-type]
        if last_first:
            _normal(convs)

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.conv, self.get_submodule(self.last))
        n, _, h, w = y.shape
        y = y.view(n, ANCHORS, self.values, h, w).permute(0, 3, 4, 1, 2)
        return y.reshape(n, h * w * ANCHORS, self.values)


def _normal(convs: list[nn.Conv2d]) -> None:
    for conv in convs:
        nn.init.normal_(conv.weight, std=0.01)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)


class Head(nn.Module):
    """Both towers over all maps: five maps -> {"cls_logits": [n, all, classes], "bbox_regression": [n, all, 4]}."""

    def __init__(self, c: int, num_classes: int) -> None:
        super().__init__()
        bias = -math.log((1 - PRIOR) / PRIOR)
        self.classification_head = Tower(c, "cls_logits", num_classes, bias, last_first=False)
        self.regression_head = Tower(c, "bbox_reg", 4, 0.0, last_first=True)

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        logits = torch.cat([self.classification_head(y) for y in maps], dim=1)
        deltas = torch.cat([self.regression_head(y) for y in maps], dim=1)
        return {"cls_logits": logits, "bbox_regression": deltas}


class RetinaNet(nn.Module):
    """ResNet-50, feature pyramid, two heads: [n, in_channels, h, w] -> raw outputs of 9 anchors a pixel of five maps.

    Outputs: {"cls_logits": [n, anchors, num_classes], "bbox_regression": [n, anchors, 4]}, maps from 1/8 to 1/128.
    Images are scaled to mean 0 and deviation 1 of ImageNet and padded to multiples of 32 as torchvision does it before.

    Args:
        num_classes: with the background as class 0, which is never learnt.
        in_channels: channels of the image.
        norm_eps: of the batch-norms; torchvision's COCO weights want 0.
    """

    def __init__(self, num_classes: int = 91, in_channels: int = 3, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.backbone = DetectionPyramid(in_channels)
        self.head = Head(256, num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_eps

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.head(self.backbone(x))
        return outputs

    @staticmethod
    def current_key(key: str) -> str:
        """The present name of a key: files written before torchvision 0.14 have no layer index in head and pyramid."""
        parts = key.split(".")
        if "conv" in parts[2:3] and len(parts) == 5 and parts[0] == "head":
            return ".".join([*parts[:3], str(int(parts[3]) // 2), "0", parts[4]])
        if len(parts) == 5 and parts[2] in ("inner_blocks", "layer_blocks"):
            return ".".join([*parts[:4], "0", parts[4]])
        return key

    @staticmethod
    def detections(
        outputs: dict[str, Tensor],
        image_size: tuple[int, int],
        *,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        candidates: int = 1000,
        per_image: int = 300,
    ) -> list[Boxes]:
        """What the images show.

        Args:
            outputs: of the network, or of its optimised form.
            image_size: (h, w) of the images given to it.
            score_threshold: the least probability of a class.
            iou_threshold: of two boxes of one class that overlap more, the more probable one stays.
            candidates: boxes kept of each map before that.
            per_image: boxes kept of each image.

        Returns:
            One `Boxes` an image, the most probable first.
        """
        levels = anchors(image_size, LEVELS)
        counts = [len(level) for level in levels]
        logits = torch.split(outputs["cls_logits"], counts, dim=1)
        deltas = torch.split(outputs["bbox_regression"], counts, dim=1)
        found = []
        for i in range(len(logits[0])):
            maps = [(a[i], b[i], c) for a, b, c in zip(logits, deltas, levels, strict=True)]
            found.append(
                select(maps, image_size, (score_threshold, iou_threshold), candidates, per_image)
            )
        return found


RETINANET = Family(
    "retinanet",
    Paper(
        "Focal Loss for Dense Object Detection",
        "Lin, Goyal, Girshick, He, Dollár",
        2017,
        "1708.02002",
    ),
    image_size=(800, 800),
    num_classes=91,
    task="detection",
)
FPN = replace(
    RETINANET,
    name="resnet_fpn",
    paper=Paper(
        "Feature Pyramid Networks for Object Detection",
        "Lin, Dollár, Girshick, He, Hariharan, Belongie",
        2016,
        "1612.03144",
    ),
    num_classes=None,
)
model("resnet50_fpn", FPN)(ResNetPyramid)
model("retinanet_resnet50_fpn", RETINANET)(RetinaNet)
