"""The networks and blocks of a textbook chapter on CNN architectures, each under its own name.

Every class has the state_dict keys of the plain `torch.nn` code in the chapter and computes the same function; the
forwards differ only in handing their layers to `fused`. Shapes are [n, c, h, w], fp32.

The ideas: LeNet (LeCun et al. 1998), AlexNet (Krizhevsky et al. 2012), VGG (Simonyan & Zisserman 2014, 1409.1556),
Inception (Szegedy et al. 2014, 1409.4842), residual and bottleneck blocks (He et al. 2015, 1512.03385),
depthwise-separable convolution (Howard et al. 2017, 1704.04861).
"""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.registry import Family, Paper, model

LENET = Paper(
    "Gradient-Based Learning Applied to Document Recognition",
    "LeCun, Bottou, Bengio, Haffner",
    1998,
)
VGG = Paper(
    "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    "Simonyan, Zisserman", 2014, "1409.1556",
)  # fmt: skip
BATCH_NORM = Paper(
    "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
    "Ioffe, Szegedy", 2015, "1502.03167",
)  # fmt: skip
GLOBAL_POOLING = Paper("Network In Network", "Lin, Chen, Yan", 2013, "1312.4400")


@model(
    "basic_cnn",
    Family("textbook", GLOBAL_POOLING, (64, 64), stages={1: ("0", "1"), 2: ("2:5",), 4: ("5:8",)}),
)
class BasicCNN(FusedSequential):
    """Three convolutions, two poolings, global average, linear: [n, in_channels, h, w] -> [n, num_classes].

    Keys "0.weight" (conv), "3.weight" (conv), "6.weight" (conv), "10.weight" (linear) and their biases; h, w >= 4.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
            nn.Linear(128, num_classes),
        )


@model(
    "lenet_like",
    Family(
        "textbook", LENET, (28, 28), in_channels=1,
        stages={1: ("features.:2",), 2: ("features.2:5",), 4: ("features.5",)},
    ),
)  # fmt: skip
class LeNetLike(nn.Module):
    """LeNet for 28x28 digits, tanh and average pooling: [n, in_channels, 28, 28] -> [n, num_classes]."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = FusedSequential(
            nn.Conv2d(in_channels, 6, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=2),
        )
        self.classifier = FusedSequential(
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        logits: Tensor = self.classifier(x)
        return logits


def alex_block() -> nn.Sequential:
    """AlexNet's stem, an 11x11 convolution and a pooling, both overlapping: [n, 3, h, w] -> [n, 64, ~h/8, ~w/8]."""
    return FusedSequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )


def vgg_block(in_channels: int, out_channels: int, num_convs: int) -> nn.Sequential:
    """`num_convs` 3x3 convolutions with ReLU, then a pooling: [n, in_channels, h, w] -> [n, out_channels, h/2, w/2]."""
    layers: list[nn.Module] = []
    for i in range(num_convs):
        c = in_channels if i == 0 else out_channels
        layers += [nn.Conv2d(c, out_channels, kernel_size=3, padding=1), nn.ReLU()]
    layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return FusedSequential(*layers)


@model(
    "small_vgg",
    Family("textbook", VGG, (64, 64), stages={2: ("0",), 4: ("1",), 8: ("2",)}),
)
class SmallVGG(FusedSequential):
    """Three VGG blocks and a head: [n, in_channels, h, w] -> [n, num_classes]; keys "0.0.weight" ... "5.bias"."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(
            vgg_block(in_channels, 64, 2),
            vgg_block(64, 128, 2),
            vgg_block(128, 256, 3),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
            nn.Linear(256, num_classes),
        )


class BasicResidualBlock(nn.Module):
    """y = relu(x + F(x)), F two 3x3 convolutions with batch-norm: [n, channels, h, w] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, *self.block, self.activation, residual=x)


class ProjectionResidualBlock(nn.Module):
    """y = relu(F(x) + P(x)), P a 1x1 convolution: [n, in_channels, h, w] -> [n, out_channels, h/stride, w/stride]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = FusedSequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, *self.block, self.activation, residual=self.shortcut(x))


class BottleneckBlock(nn.Module):
    """y = relu(F(x) + P(x)), F = 1x1, 3x3, 1x1: [n, in_channels, h, w] -> [n, out_channels, h/stride, w/stride]."""

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(),
            nn.Conv2d(
                mid_channels, mid_channels, kernel_size=3, stride=stride, padding=1, bias=False
            ),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(),
            nn.Conv2d(mid_channels, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = FusedSequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, *self.block, self.activation, residual=self.shortcut(x))


class InceptionLikeBlock(nn.Module):
    """1x1, 3x3, 5x5 and pooling branches side by side: [n, in_channels, h, w] -> [n, 32 + 64 + 64 + 32, h, w]."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1 = nn.Conv2d(in_channels, 32, kernel_size=1)
        self.branch2 = FusedSequential(
            nn.Conv2d(in_channels, 32, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
        )
        self.branch3 = FusedSequential(
            nn.Conv2d(in_channels, 32, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=5, padding=2),
        )
        self.branch4 = FusedSequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            nn.Conv2d(in_channels, 32, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return concat([fused(x, self.branch1), self.branch2(x), self.branch3(x), self.branch4(x)])


class DepthwiseSeparableConv(nn.Module):
    """A 3x3 filter per channel, then a 1x1 mix: [n, in_channels, h, w] -> [n, out_channels, h/stride, w/stride].

    It has 9 in_channels + in_channels out_channels convolution weights, a standard one 9 in_channels out_channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.net = FusedSequential(
            nn.Conv2d(
                in_channels, in_channels, kernel_size=3, stride=stride, padding=1,
                groups=in_channels, bias=False,
            ),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class ClassifierHead(FusedSequential):
    """Global average pooling and a linear layer: [n, in_features, h, w] -> [n, num_classes], any h, w; keys "2.*"."""

    def __init__(self, in_features: int = 512, num_classes: int = 1000) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(in_features, num_classes)
        )


@model(
    "small_cnn",
    Family(
        "textbook", BATCH_NORM, (32, 32),
        stages={1: ("features.:6",), 2: ("features.6:13",), 4: ("features.13:17",)},
    ),
)  # fmt: skip
class SmallCNN(nn.Module):
    """Five convolutions with batch-norm for 32x32 images: [n, in_channels, h, w] -> [n, num_classes]; h, w >= 4."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.features = FusedSequential(
            nn.Conv2d(in_channels, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 1)),
        )
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.flatten(1)
        return fused(x, self.classifier)
