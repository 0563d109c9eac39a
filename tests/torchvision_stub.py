"""`torchvision` as a test reference beside a CPU-only torch: its wheel's compiled ops do not load there.

Its import only asks that two operators exist; they are declared (never called) before it. The models are plain Python.
"""

import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
        LIBRARY.define(schema)

import timm  # noqa: E402  # it imports torchvision
import torchvision.models as models  # noqa: E402

__all__ = ["models", "timm"]
