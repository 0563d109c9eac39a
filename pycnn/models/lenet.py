"""LeNet-5: "Gradient-Based Learning Applied to Document Recognition", LeCun, Bottou, Bengio, Haffner 1998.

Layers and sizes are the paper's; as everywhere since, pooling has no trained coefficient, the second convolution sees
all six maps, and the output layer is linear with logits in place of distances to bitmaps: 61,706 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential
from pycnn.registry import Family, Paper, model

LENET = Family(
    "lenet",
    Paper(
        "Gradient-Based Learning Applied to Document Recognition",
        "LeCun, Bottou, Bengio, Haffner",
        1998,
    ),
    image_size=(32, 32),
    in_channels=1,
    stages={1: ("features.:2",), 2: ("features.2:5",), 4: ("features.5",)},
)


@model("lenet5", LENET)
class LeNet5(nn.Module):
    """Three 5x5 convolutions with tanh, two average poolings, two linear layers.

    [n, in_channels, 32, 32] -> [n, num_classes]; other sizes do not fit the linear layers.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = FusedSequential(
            nn.Conv2d(in_channels, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
        )
        self.classifier = FusedSequential(
            nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits
