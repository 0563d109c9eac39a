"""The zoo: trainable torch modules whose forwards call `pycnn.ops`; importing it fills the registry."""

from pycnn.models.alexnet import AlexNet
from pycnn.models.create import create_model
from pycnn.models.densenet import DenseNet
from pycnn.models.features import FeatureExtractor
from pycnn.models.fused import FusedSequential, fused, plain_torch
from pycnn.models.googlenet import GoogLeNet
from pycnn.models.inception_v3 import InceptionV3
from pycnn.models.lenet import LeNet5
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
from pycnn.models.vgg import VGG
from pycnn.models.weights import load_weights
from pycnn.registry import list_models

__all__ = [
    "DenseNet",
    "GoogLeNet",
    "InceptionV3",
    "AlexNet",
    "LeNet5",
    "VGG",
    "BasicCNN",
    "BasicResidualBlock",
    "BottleneckBlock",
    "ClassifierHead",
    "DepthwiseSeparableConv",
    "FeatureExtractor",
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
    "load_weights",
    "plain_torch",
    "vgg_block",
]
