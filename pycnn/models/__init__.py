"""The zoo: trainable torch modules whose forwards call `pycnn.ops`; importing it fills the registry."""

from pycnn.blocks.fused import FusedSequential, fused, plain_torch
from pycnn.models.alexnet import AlexNet
from pycnn.models.convnext import ConvNeXt
from pycnn.models.create import create_model
from pycnn.models.deeplab import DeepLabV3Plus, deeplabv3_resnet50
from pycnn.models.densenet import DenseNet
from pycnn.models.diffusion_unet import DiffusionUNet
from pycnn.models.efficientnet import EfficientNet, compound_scale
from pycnn.models.fcn import PixelClassifier, fcn_resnet50
from pycnn.models.features import FeatureExtractor
from pycnn.models.googlenet import GoogLeNet
from pycnn.models.inception_v3 import InceptionV3
from pycnn.models.lenet import LeNet5
from pycnn.models.mobilenet_v1 import MobileNetV1
from pycnn.models.mobilenet_v2 import MobileNetV2
from pycnn.models.mobilenet_v3 import MobileNetV3
from pycnn.models.mobilevit import MobileViT
from pycnn.models.resnet import ResNet
from pycnn.models.resnetv2 import ResNetV2
from pycnn.models.restoration import EDSR, DnCNN, SRResNet
from pycnn.models.retinanet import ResNetPyramid, RetinaNet
from pycnn.models.senet import SEResNet
from pycnn.models.shufflenet import ShuffleNetV2
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
from pycnn.models.unet import UNet, UNetResNet34
from pycnn.models.vgg import VGG
from pycnn.models.weights import load_weights
from pycnn.registry import list_models

__all__ = [
    "EDSR",
    "VGG",
    "AlexNet",
    "BasicCNN",
    "BasicResidualBlock",
    "BottleneckBlock",
    "ClassifierHead",
    "ConvNeXt",
    "DeepLabV3Plus",
    "DenseNet",
    "DepthwiseSeparableConv",
    "DiffusionUNet",
    "DnCNN",
    "EfficientNet",
    "FeatureExtractor",
    "FusedSequential",
    "GoogLeNet",
    "InceptionLikeBlock",
    "InceptionV3",
    "LeNet5",
    "LeNetLike",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "MobileViT",
    "PixelClassifier",
    "ProjectionResidualBlock",
    "ResNet",
    "ResNetPyramid",
    "ResNetV2",
    "RetinaNet",
    "SEResNet",
    "SRResNet",
    "ShuffleNetV2",
    "SmallCNN",
    "SmallVGG",
    "UNet",
    "UNetResNet34",
    "alex_block",
    "compound_scale",
    "create_model",
    "deeplabv3_resnet50",
    "fcn_resnet50",
    "fused",
    "list_models",
    "load_weights",
    "plain_torch",
    "vgg_block",
]
