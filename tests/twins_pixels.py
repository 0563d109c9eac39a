"""The rows of the table in `twins` for networks which give images: restoration and generation."""

from functools import partial

import torch
from diffusers import UNet2DModel
from torch import nn
from torchvision_stub import models
from twins import twin

detection = models.detection


def ddpm() -> UNet2DModel:
    """google/ddpm-cifar10-32 without its weights, giving the tensor itself."""
    plain, attends = "Block2D", "AttnDownBlock2D"
    net = UNet2DModel(
        block_out_channels=(128, 256, 256, 256),
        down_block_types=(f"Down{plain}", attends, f"Down{plain}", f"Down{plain}"),
        up_block_types=(f"Up{plain}", f"Up{plain}", "AttnUpBlock2D", f"Up{plain}"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    net.register_forward_hook(lambda module, args, y: y.sample)
    return net


twin(
    "diffusion_unet", ddpm, size=(16, 24), trains=True,
    extra=(torch.tensor([3, 500, 999]),),
)  # fmt: skip


class PlainEDSR(nn.Module):
    """EDSR baseline as the authors' text describes it, 16 blocks of 64 channels, in torch.nn alone."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)
            )

        def forward(self, x):
            return x + self.body(x)

    def __init__(self, steps: tuple[int, ...]) -> None:
        super().__init__()
        mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040])
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        for layer, bias in ((self.sub_mean, -mean), (self.add_mean, mean)):
            layer.weight.data = torch.eye(3).view(3, 3, 1, 1)
            layer.bias.data = bias
            layer.requires_grad_(False)
        self.head = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1))
        blocks = [self.Block() for _ in range(16)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(64, 64, 3, padding=1))
        up = [(nn.Conv2d(64, 64 * r * r, 3, padding=1), nn.PixelShuffle(r)) for r in steps]
        upsampler = nn.Sequential(*(layer for pair in up for layer in pair))
        self.tail = nn.Sequential(upsampler, nn.Conv2d(64, 3, 3, padding=1))

    def forward(self, x):
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(x + self.body(x)))


class PlainSRResNet(nn.Module):
    """Figure 4 of the paper, 16 blocks, in torch.nn alone."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
            self.prelu = nn.PReLU()
            self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)

        def forward(self, x):
            return self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x))))) + x

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU())
        blocks = [self.Block() for _ in range(16)]
        last = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.body = nn.Sequential(*blocks, last, nn.BatchNorm2d(64))
        up = []
        for _ in range(2):
            up += [nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.tail = nn.Sequential(*up, nn.Conv2d(64, 3, 9, padding=4))

    def forward(self, x):
        x = self.head(x)
        return self.tail(self.body(x) + x)


class PlainDnCNN(nn.Module):
    """Figure 1 of the paper, 17 layers, grey images, in torch.nn alone."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 64, 3, padding=1), nn.ReLU()]
        for _ in range(15):
            layers += [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64, eps=1e-4), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1))

    def forward(self, x):
        return x - self.model(x)


class PlainRetinaNet(detection.RetinaNet):
    """torchvision's, from a batch of equal images to the outputs of its heads."""

    def forward(self, x):
        return self.head(list(self.backbone(x).values()))


def retinanet(num_classes: int) -> nn.Module:
    net = detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=num_classes
    )
    net.__class__ = PlainRetinaNet
    return net


def fpn() -> nn.Module:
    return detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )


twin("dncnn", PlainDnCNN, size=(21, 34), trains=True)
for scale, steps in {2: (2,), 3: (3,), 4: (2, 2)}.items():
    make = partial(PlainEDSR, steps)
    twin(f"edsr_baseline_x{scale}", make, size=(13, 18), trains=scale == 2)
twin("srresnet_x4", PlainSRResNet, size=(13, 18), trains=True)
twin("resnet50_fpn", fpn, trains=True)
twin("retinanet_resnet50_fpn", retinanet, trains=True)
