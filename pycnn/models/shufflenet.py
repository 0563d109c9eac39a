"""ShuffleNetV2: "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", Ma et al. 2018.

arXiv 1807.11164. State_dict keys and initialisation are torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.registry import Family, Paper, model


class ShuffleUnit(nn.Module):
    """Two branches side by side, their channels then interleaved: [n, c, h, w] -> [n, out_channels, h/s, w/s].

    At stride 1 the first branch is half of x as it is, and c = out_channels; at stride 2 both branches see all of it.

    Raises:
        ValueError: out_channels is odd, or a block of stride 1 changes the number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels % 2 or (stride == 1 and in_channels != out_channels):
            raise ValueError(
                f"shuffle unit: {in_channels} channels to {out_channels} at stride {stride}"
            )
        half = out_channels // 2
        c = half if stride == 1 else in_channels
        self.stride = stride
        self.branch1 = FusedSequential()
        if stride > 1:
            self.branch1 = FusedSequential(*_depthwise(c, stride), *_pointwise(c, half))
        self.branch2 = FusedSequential(
            *_pointwise(c, half), *_depthwise(half, stride), *_pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            kept, x = x.chunk(2, dim=1)
        else:
            kept = self.branch1(x)
        return F.channel_shuffle(concat([kept, self.branch2(x)]), 2)


def _depthwise(c: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(c, c, 3, stride, padding=1, groups=c, bias=False), nn.BatchNorm2d(c)]


def _pointwise(c: int, k: int) -> list[nn.Module]:
    return [nn.Conv2d(c, k, 1, bias=False), nn.BatchNorm2d(k), nn.ReLU(inplace=True)]


class ShuffleNetV2(nn.Module):
    """Stem, three stages of shuffle units, 1x1 convolution, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        channels: of the three stages and the last convolution.
        num_classes: number of logits.
        in_channels: channels of the image.
    """

    def __init__(
        self, channels: tuple[int, int, int, int], num_classes: int = 1000, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.conv1 = FusedSequential(
            nn.Conv2d(in_channels, 24, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2 = _stage(24, channels[0], 4)
        self.stage3 = _stage(channels[0], channels[1], 8)
        self.stage4 = _stage(channels[1], channels[2], 4)
        self.conv5 = FusedSequential(*_pointwise(channels[2], channels[3]))
        self.fc = nn.Linear(channels[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.conv1, self.maxpool)
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return fused(x.mean((2, 3)), self.fc)


def _stage(in_channels: int, out_channels: int, n: int) -> nn.Sequential:
    units = [ShuffleUnit(in_channels, out_channels, 2)]
    units += [ShuffleUnit(out_channels, out_channels, 1) for _ in range(1, n)]
    return nn.Sequential(*units)


SHUFFLENET_V2 = Family(
    "shufflenet_v2",
    Paper(
        "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
        "Ma, Zhang, Zheng, Sun",
        2018,
        "1807.11164",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={2: ("conv1",), 4: ("maxpool",), 8: ("stage2",), 16: ("stage3",), 32: ("stage4",)},
)
VARIANTS = {
    "shufflenet_v2_x0_5": (48, 96, 192, 1024),
    "shufflenet_v2_x1_0": (116, 232, 464, 1024),
    "shufflenet_v2_x1_5": (176, 352, 704, 1024),
    "shufflenet_v2_x2_0": (244, 488, 976, 2048),
}

for _name, _channels in VARIANTS.items():
    model(_name, SHUFFLENET_V2, channels=_channels)(ShuffleNetV2)
