"""U-Net: "U-Net: Convolutional Networks for Biomedical Image Segmentation", Ronneberger, Fischer, Brox 2015.

arXiv 1505.04597. `unet` is the paper's, with options; `unet_resnet34` has a ResNet on its way down, and
segmentation_models_pytorch's keys and initial values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.blocks.residual import BasicBlock
from pycnn.blocks.resize import image_size, resize
from pycnn.blocks.up import DoubleConv, UpBlock
from pycnn.models.resnet import resnet_backbone
from pycnn.registry import Family, Paper, model

UNET = Family(
    "unet",
    Paper(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "Ronneberger, Fischer, Brox",
        2015,
        "1505.04597",
    ),
    image_size=(512, 512),
    num_classes=2,
    in_channels=1,
    task="segmentation",
)


@model("unet", UNET)
class UNet(nn.Module):
    """Four steps down by pooling, four up, maps of equal size joined: [n, in_channels, h, w] -> [n, num_classes, h, w].

    Args:
        num_classes: number of logits of a pixel.
        in_channels: channels of the image; h, w >= 16.
        width: channels of the first level; each level down doubles them.
        padding: the 3x3 convolutions keep the size. Without, as in the paper, the result is 184 pixels smaller than the
            image, whose sides are to be 16 k + 188 with k > 0 (572 gives 388).
        up: "transposed", a 2x2 transposed convolution, or "bilinear" interpolation.
        batch_norm: a batch-norm after each 3x3 convolution; the paper is older.
        drop_rate: probability of the dropout at the end of the way down.

    Raises:
        ValueError: width is not positive, or `up` is neither.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        *,
        width: int = 64,
        padding: bool = True,
        up: Literal["transposed", "bilinear"] = "transposed",
        batch_norm: bool = False,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"unet: width={width} must be positive")
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            DoubleConv(c, k, padding, batch_norm)
            for c, k in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(drop_rate)
        self.up = nn.ModuleList(
            UpBlock(2 * k, k, k, up=up, padding=padding, batch_norm=batch_norm)
            for k in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():  # the paper's: a deviation of sqrt(2 / inputs of a node)
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for level, convs in enumerate(self.down):
            x = fused(x, convs) if level == 0 else fused(x, self.pool, convs)
            maps.append(x)
        x = fused(maps.pop(), self.dropout)
        for block in self.up:
            x = block(x, maps.pop())
        return fused(x, self.head)


class UNetResNet34(nn.Module):
    """A ResNet-34 on the way down, five steps up by nearest pixel: [n, in_channels, h, w] -> [n, num_classes, h, w].

    Args:
        num_classes: number of logits of a pixel.
        in_channels: channels of the image; any h, w.
    """

    def __init__(self, num_classes: int = 1, in_channels: int = 3) -> None:
        super().__init__()
        self.encoder = resnet_backbone((3, 4, 6, 3), in_channels, (0, 1, 2, 3, 4), block=BasicBlock)
        self.decoder = UNetDecoder(self.encoder.channels, (256, 128, 64, 32, 16))
        self.segmentation_head = FusedSequential(nn.Conv2d(16, num_classes, 3, padding=1))
        for module in self.decoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        head = self.segmentation_head[0]
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        nn.init.xavier_uniform_(head.weight)
        nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.segmentation_head(self.decoder([x, *self.encoder(x)]))
        return y


class UNetDecoder(nn.Module):
    """From the image and its maps, each half the one before, to a map of the image's size.

    Args:
        channels: of the maps, from the finest to the coarsest.
        widths: channels of each step up; the last is the result's.
    """

    def __init__(self, channels: list[int], widths: tuple[int, ...]) -> None:
        super().__init__()
        coarse, *skips = reversed(channels)
        c = coarse
        blocks = []
        for skip, width in zip([*skips, 0], widths, strict=True):
            blocks.append(UNetDecoderBlock(c + skip, width))
            c = width
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: list[Tensor]) -> Tensor:
        image, *skips, x = maps
        for block in self.blocks:
            skip = skips.pop() if skips else None
            x = block(x, image_size(image if skip is None else skip), skip)
        return x


class UNetDecoderBlock(nn.Module):
    """Nearest pixel to `size`, joined with the skipped map, two 3x3: [n, ...] -> [n, out_channels, *size].

    Args:
        in_channels: of the joined map.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels)
        self.conv2 = _conv(out_channels, out_channels)

    def forward(self, x: Tensor, size: tuple[int, int], skip: Tensor | None) -> Tensor:
        x = resize(x, size, "nearest")
        return fused(x if skip is None else concat([x, skip]), self.conv1, self.conv2)


def _conv(in_channels: int, out_channels: int) -> FusedSequential:
    return FusedSequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


_FAMILY = replace(UNET, image_size=(224, 224), num_classes=1, in_channels=3)
model("unet_resnet34", _FAMILY)(UNetResNet34)
