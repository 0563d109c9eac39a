"""Networks which give a better image: denoising and super-resolution.

DnCNN: "Beyond a Gaussian Denoiser", Zhang, Zuo, Chen, Meng, Zhang 2016 (arXiv 1608.03981).
SRResNet: "Photo-Realistic Single Image Super-Resolution Using a GAN", Ledig et al. 2016 (arXiv 1609.04802).
EDSR: "Enhanced Deep Residual Networks for Single Image Super-Resolution", Lim et al. 2017 (arXiv 1707.02921).

Images are [n, c, h, w] of any size. Keys are those of the authors' PyTorch code: KAIR's for DnCNN ("model.0.weight"),
EDSR-PyTorch's for EDSR ("body.0.body.0.weight").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused, fused_add
from pycnn.registry import Family, Paper, model

MEAN_COLOUR = (0.4488, 0.4371, 0.4040)  # of DIV2K's images, white being 1


class DnCNN(nn.Module):
    """x minus the noise that a row of 3x3 convolutions finds in it: [n, in_channels, h, w] -> the same shape.

    Args:
        in_channels: channels of the image.
        depth: number of convolutions, at least 3; the paper's 17 for one noise level, 20 for blind denoising.
        width: channels between them.
        batch_norm: False for weights whose batch-norms are already folded, as KAIR's files.

    Raises:
        ValueError: depth is below 3.
    """

    def __init__(
        self, in_channels: int = 1, depth: int = 17, width: int = 64, batch_norm: bool = True
    ) -> None:
        super().__init__()
        if depth < 3:
            raise ValueError(f"dncnn: depth={depth} must be at least 3")
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width, eps=1e-4))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width, in_channels, 3, padding=1))
        self.model = FusedSequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        noise: Tensor = self.model(x)
        return x - noise


class ResBlock(nn.Module):
    """x + scale * conv(relu(conv(x))): [n, width, h, w] -> the same shape; keys "body.0.*", "body.2.*"."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.body = FusedSequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return fused_add(x, self.body, residual=x)
        y: Tensor = self.body(x) * self.scale + x
        return y


def mean_shift(factor: float) -> nn.Conv2d:
    """x + factor * DIV2K's mean colour, as the frozen 1x1 convolution that EDSR's files hold."""
    layer = nn.Conv2d(3, 3, 1)
    layer.weight = nn.Parameter(torch.eye(3)[:, :, None, None], requires_grad=False)
    layer.bias = nn.Parameter(factor * torch.tensor(MEAN_COLOUR), requires_grad=False)
    return layer


class EDSR(nn.Module):
    """Residual blocks at low resolution, then pixel shuffles: [n, in_channels, h, w] -> [n, in_channels, s h, s w].

    Args:
        in_channels: channels of the image; with 3, DIV2K's mean colour is subtracted first and added last.
        scale: how much larger the image becomes: 2, 3 or a power of 2.
        depth: number of residual blocks.
        width: their channels.
        block_scale: factor of each block's branch, 0.1 in the large network.
        value_range: the white of the images, 255 in the authors' weights.

    Raises:
        ValueError: a scale that is none of these.
    """

    def __init__(
        self,
        in_channels: int = 3,
        scale: int = 2,
        depth: int = 16,
        width: int = 64,
        block_scale: float = 1.0,
        value_range: float = 255.0,
    ) -> None:
        super().__init__()
        colour = in_channels == 3
        self.sub_mean = mean_shift(-value_range) if colour else nn.Identity()
        self.add_mean = mean_shift(value_range) if colour else nn.Identity()
        self.head = FusedSequential(nn.Conv2d(in_channels, width, 3, padding=1))
        self.body = FusedSequential(
            *(ResBlock(width, block_scale) for _ in range(depth)),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.tail = FusedSequential(
            _upsampler(width, scale), nn.Conv2d(width, in_channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.sub_mean, self.head)
        return fused(fused_add(x, self.body, residual=x), self.tail, self.add_mean)


def _upsampler(width: int, scale: int) -> FusedSequential:
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    if scale < 2 or (scale != 3 and scale != 2 ** len(steps)):
        raise ValueError(f"edsr: scale={scale} is neither 3 nor a power of 2")
    layers: list[nn.Module] = []
    for r in steps:
        layers += [nn.Conv2d(width, width * r * r, 3, padding=1), nn.PixelShuffle(r)]
    return FusedSequential(*layers)


class SRResBlock(nn.Module):
    """x + bn(conv(prelu(bn(conv(x))))): [n, width, h, w] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.conv1, self.bn1, self.prelu)
        return fused_add(y, self.conv2, self.bn2, residual=x)


class SRResNet(nn.Module):
    """The generator of SRGAN: [n, in_channels, h, w] -> [n, in_channels, 4h, 4w].

    Args:
        in_channels: channels of the image.
        depth: number of residual blocks.
        width: their channels.
    """

    def __init__(self, in_channels: int = 3, depth: int = 16, width: int = 64) -> None:
        super().__init__()
        self.head = FusedSequential(nn.Conv2d(in_channels, width, 9, padding=4), nn.PReLU())
        self.body = FusedSequential(
            *(SRResBlock(width) for _ in range(depth)),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.tail = FusedSequential(*layers, nn.Conv2d(width, in_channels, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y: Tensor = self.tail(fused_add(x, self.body, residual=x))
        return y


DNCNN = Family(
    "dncnn",
    Paper(
        "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
        "Zhang, Zuo, Chen, Meng, Zhang",
        2016,
        "1608.03981",
    ),
    image_size=(256, 256),
    num_classes=None,
    in_channels=1,
    task="restoration",
)
EDSR_FAMILY = Family(
    "edsr",
    Paper(
        "Enhanced Deep Residual Networks for Single Image Super-Resolution",
        "Lim, Son, Kim, Nah, Lee",
        2017,
        "1707.02921",
    ),
    image_size=(128, 128),
    num_classes=None,
    task="restoration",
)
SRRESNET = Family(
    "srresnet",
    Paper(
        "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
        "Ledig, Theis, Huszár, Caballero, Cunningham, Acosta, Aitken, Tejani, Totz, Wang, Shi",
        2016,
        "1609.04802",
    ),
    image_size=(128, 128),
    num_classes=None,
    task="restoration",
)
model("dncnn", DNCNN)(DnCNN)
model("srresnet_x4", SRRESNET)(SRResNet)
for _scale in (2, 3, 4):
    model(f"edsr_baseline_x{_scale}", EDSR_FAMILY, scale=_scale)(EDSR)
