"""The zoo: trainable torch modules whose forwards call `pycnn.ops`; importing it fills the registry."""

from pycnn.models.fused import FusedSequential, fused, plain_torch
from pycnn.models.resnet import ResNet
from pycnn.models.textbook import (
    BasicCNN,
    BasicResidualBlock,
    BottleneckBlock,
    ClassifierHead,
    DepthwiseSeparableConv,
    InceptionLikeBlock,
    LeNetLike,
    ProjectionResidualBlock,
    SmallCNN,
    SmallVGG,
    alex_block,
    vgg_block,
)
from pycnn.registry import create_model, list_models

__all__ = [
    "BasicCNN",
    "BasicResidualBlock",
    "BottleneckBlock",
    "ClassifierHead",
    "DepthwiseSeparableConv",
    "FusedSequential",
    "InceptionLikeBlock",
    "LeNetLike",
    "ProjectionResidualBlock",
    "ResNet",
    "SmallCNN",
    "SmallVGG",
    "alex_block",
    "create_model",
    "fused",
    "list_models",
    "plain_torch",
    "vgg_block",
]
