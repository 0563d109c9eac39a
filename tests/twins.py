"""The zoo's rows and the reference implementation of each: what tests/test_zoo.py runs over.

`twin("name", make)` says that `make(num_classes=...)` builds the network whose state_dict keys, shapes, initial values,
outputs and gradients `pycnn.create_model("name", num_classes=...)` has to have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision_stub import models as torchvision
from torchvision_stub import timm

import segmentation_models_pytorch as smp  # isort: skip  # it imports torchvision

import pycnn
from pycnn.registry import find_model

CLASSES = 17


@dataclass(frozen=True)
class Twin:
    """One variant's reference.

    Attributes:
        make: builds the reference; takes `num_classes` if the variant does.
        size: (h, w) of the images that outputs are compared on, odd where the network takes it.
        trains: the small variant of its class: compared in training mode and as a backbone too.
        slow: outputs are compared in the slow tier only.
        options: of `create_model`, to match `make`.
        extra: further positional inputs of the forward, such as a timestep.
        draws: it draws its initial values in the order of the reference, so that the same seed gives the same network;
            where it does not, their statistics are compared.
    """

    make: Callable[..., nn.Module]
    size: tuple[int, int] = (49, 65)
    trains: bool = False
    slow: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    extra: tuple[Any, ...] = ()
    draws: bool = True


TWINS: dict[str, Twin] = {}


def twin(name: str, make: Callable[..., nn.Module], **facts: Any) -> None:
    assert name not in TWINS, name
    TWINS[name] = Twin(make, **facts)


def classes(name: str, n: int = CLASSES) -> dict[str, int]:
    """`num_classes` for networks which have classes."""
    return {} if find_model(name).num_classes is None else {"num_classes": n}


def build(name: str) -> tuple[nn.Module, nn.Module]:
    """(ours, the reference), both newly initialised from the same seed."""
    t = TWINS[name]
    torch.manual_seed(5)
    mine = pycnn.create_model(name, **classes(name), **t.options)
    torch.manual_seed(5)
    return mine, t.make(**classes(name))


def pair(name: str) -> tuple[nn.Module, nn.Module, tuple[Any, ...]]:
    """(ours, the reference with the same random weights and statistics, inputs of a batch of 3)."""
    mine, plain = build(name)
    randomise(mine)
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(3, find_model(name).input_size[0], *TWINS[name].size)
    return mine.eval(), plain.eval(), (x, *TWINS[name].extra)


def randomise(net: nn.Module) -> None:
    """Statistics and whatever is initialised to a constant (biases, norms, layer scales) get random values.

    Left alone, two of them exchanged, or one that is not applied, would not be seen.
    """
    with torch.no_grad():
        for name, t in [*net.named_parameters(), *net.named_buffers()]:
            if not t.is_floating_point():
                continue
            if name.endswith(("running_mean", "bias")):
                t.normal_(0, 0.2)
            elif name.endswith("running_var"):
                t.uniform_(0.5, 2)
            elif t.numel() == 1 or bool((t == t.flatten()[0]).all()):
                t.uniform_(0.5, 1.5)


def tv(name: str, **options: Any) -> Callable[..., nn.Module]:
    """torchvision's `name`, without its weights."""
    return lambda **kw: getattr(torchvision, name)(weights=None, **options, **kw)


def tv_segmentation(name: str, **options: Any) -> Callable[..., nn.Module]:
    """torchvision's segmentation network `name`, without any weights."""
    make = getattr(torchvision.segmentation, name)
    return lambda **kw: make(weights=None, weights_backbone=None, **options, **kw)


def of_timm(name: str, **options: Any) -> Callable[..., nn.Module]:
    """timm's `name`, without its weights."""
    return lambda **kw: timm.create_model(name, pretrained=False, **options, **kw)


def of_smp(kind: str, encoder: str) -> Callable[..., nn.Module]:
    """segmentation_models_pytorch's architecture `kind` on `encoder`, without any weights."""
    make = getattr(smp, kind)
    return lambda num_classes: make(encoder, encoder_weights=None, classes=num_classes)


def leaves(y: Any) -> list[Tensor]:
    """The tensors of an output, whatever holds them."""
    return [t for t in torch.utils._pytree.tree_leaves(y) if isinstance(t, Tensor)]


def lenet5(num_classes: int) -> nn.Module:
    """What is called LeNet-5 today, written with torch alone; no library has it."""
    pool, tanh = nn.AvgPool2d(2), nn.Tanh()
    convs = [nn.Conv2d(1, 6, 5), tanh, pool, nn.Conv2d(6, 16, 5), tanh, pool]
    net = nn.Sequential()
    net.features = nn.Sequential(*convs, nn.Conv2d(16, 120, 5), tanh)
    net.classifier = nn.Sequential(
        nn.Flatten(), nn.Linear(120, 84), tanh, nn.Linear(84, num_classes)
    )
    return net


class PlainUNet(nn.Module):
    """The paper's network written with torch alone; no library has it."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        c = [width, 2 * width, 4 * width, 8 * width, 16 * width]
        self.down = nn.ModuleList(map(self.pair, [1, *c[:4]], c))
        self.pool, self.dropout = nn.MaxPool2d(2), nn.Dropout(0.5)
        self.up = nn.ModuleList(nn.Module() for _ in range(4))
        for block, k in zip(self.up, c[3::-1], strict=True):
            block.up = nn.ConvTranspose2d(2 * k, k, 2, stride=2)
            block.conv = self.pair(2 * k, k)
        self.head = nn.Conv2d(width, num_classes, 1)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(m.weight)
                nn.init.zeros_(m.bias)

    @staticmethod
    def pair(c: int, k: int) -> nn.Sequential:
        first, second = nn.Conv2d(c, k, 3, padding=1), nn.Conv2d(k, k, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, convs in enumerate(self.down):
            x = convs(self.pool(x) if i else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for block in self.up:
            skip = skips.pop()
            x = block.conv(torch.cat([skip, block.up(x, output_size=skip.shape[2:])], 1))
        return self.head(x)


twin("resnet18", tv("resnet18"), trains=True)
twin("resnet34", tv("resnet34"), slow=True)
twin("resnet50", tv("resnet50"))
twin("resnet101", tv("resnet101"), slow=True)
twin("resnet152", tv("resnet152"), slow=True)
twin("resnext50_32x4d", tv("resnext50_32x4d"))
twin("resnext101_32x8d", tv("resnext101_32x8d"), slow=True)
twin("wide_resnet50_2", tv("wide_resnet50_2"), slow=True)
twin("wide_resnet101_2", tv("wide_resnet101_2"), slow=True)

twin("resnetv2_50", of_timm("resnetv2_50"), trains=True)
twin("seresnet50", of_timm("seresnet50"), trains=True)

twin("lenet5", lenet5, size=(32, 32), trains=True)
twin("alexnet", tv("alexnet"), size=(65, 97), trains=True)
twin("vgg11", tv("vgg11"), slow=True)
twin("vgg11_bn", tv("vgg11_bn"), trains=True)
for deeper in ("vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"):
    twin(deeper, tv(deeper), slow=True)

twin("googlenet", tv("googlenet", init_weights=True), trains=True)
twin(  # its auxiliary head, which takes images of 299 only: tests/test_zoo_options.py
    "inception_v3",
    tv("inception_v3", init_weights=True, aux_logits=False),
    options={"aux_logits": False},
    size=(75, 97),
    trains=True,
)
twin("densenet121", tv("densenet121"), trains=True)
for deeper in ("densenet161", "densenet169", "densenet201"):
    twin(deeper, tv(deeper), slow=True)

twin("fcn_resnet50", tv_segmentation("fcn_resnet50"), trains=True)
twin("deeplabv3_resnet50", tv_segmentation("deeplabv3_resnet50"), trains=True)
twin(
    "deeplabv3_mobilenet_v3_large",
    tv_segmentation("deeplabv3_mobilenet_v3_large"),
    trains=True,
)
twin(
    "unet",
    lambda num_classes: PlainUNet(num_classes, 8),
    size=(33, 47),
    trains=True,
    options={"width": 8},
)
twin("unet_resnet34", of_smp("Unet", "resnet34"), trains=True)
twin(
    "deeplabv3plus_resnet50",
    of_smp("DeepLabV3Plus", "resnet50"),
    size=(48, 64),
    trains=True,
)
