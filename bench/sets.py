"""The named sets of workloads, `python -m bench run --set NAME`."""

from __future__ import annotations

from pycnn.timing import Workload

_AT_THEIR_SIZE = (
    "lenet_like", "small_cnn", "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121",
    "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny",
)  # fmt: skip
_AT_256 = ("unet", "deeplabv3_mobilenet_v3_large")

MAIN = (
    *(f"{name}:{batch}" for name in _AT_THEIR_SIZE for batch in (1, 8)),
    *(f"{name}:{batch}:256" for name in _AT_256 for batch in (1, 8)),
)
# One or two of each kind of network that MAIN has not: what was not looked at while kernels were made.
OUTSIDE = (
    "resnext50_32x4d:1",  # grouped
    "shufflenet_v2_x1_0:1",  # shuffled
    "torchvision/squeezenet1_1:1", "seresnet50:1",  # squeezed
    "torchvision/regnet_x_400mf:1", "torchvision/regnet_y_400mf:1",
    "mobilenetv1_100:1", "torchvision/mnasnet1_0:1", "efficientnet_v2_s:1",
    "mobilevit_s:1:256",  # with attention
    "deeplabv3plus_resnet50:1:256",  # dilated
    "edsr_baseline_x2:1",  # super resolution
    "resnet50:1:200x320", "mobilenet_v2:1:200x320", "unet:1:200x320",  # odd sizes
)  # fmt: skip
SETS = {"main": MAIN, "outside": OUTSIDE}


def is_outside(workload: Workload) -> bool:
    """Whether it is one of `OUTSIDE`, whose results are reported apart from all others'."""
    return workload in map(Workload.parse, OUTSIDE)


def chosen(workloads: list[str], name: str | None) -> list[Workload]:
    """Those given, else those of the set called `name`; None: MAIN.

    Raises:
        ValueError: both are given, or a workload is none; see `Workload.parse`.
    """
    if workloads and name is not None:
        raise ValueError(f"give workloads or --set {name}, not both")
    return [Workload.parse(text) for text in workloads or SETS[name or "main"]]
