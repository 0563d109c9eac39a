"""The table of models."""

import subprocess
import sys

import pytest
import torch

import pycnn
from pycnn import registry
from pycnn.models import LeNetLike


def test_list_is_naturally_sorted_and_filtered():
    assert pycnn.list_models("resnet*") == [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
    ]
    assert {"basic_cnn", "lenet_like", "small_vgg", "small_cnn"} <= set(pycnn.list_models())
    assert pycnn.list_models("nothing*") == []


def test_the_table_is_full_after_import_of_pycnn_alone():
    code = "import pycnn; print(*pycnn.list_models())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == pycnn.list_models()


@pytest.mark.parametrize("name", pycnn.list_models())
def test_every_model_takes_classes_and_channels(name):
    c, h, w = registry.find_model(name).input_size
    with torch.device("meta"):
        default = pycnn.create_model(name)
        other = pycnn.create_model(name, num_classes=7, in_channels=5)
        y, z = default(torch.zeros(2, c, h, w)), other(torch.zeros(2, 5, h, w))
    assert y.shape == (2, registry.find_model(name).num_classes)
    assert z.shape == (2, 7)
    assert default.training


def test_defaults_are_the_variants_own():
    net = pycnn.create_model("lenet_like")
    assert isinstance(net, LeNetLike)
    assert net.features[0].in_channels == 1
    assert net.classifier[-1].out_features == 10


def test_duplicate_names_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "_VARIANTS", {})
    register = registry.model("net", image_size=(8, 8))
    register(LeNetLike)
    with pytest.raises(ValueError, match="model 'net' is already registered by LeNetLike"):
        register(LeNetLike)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: pycnn.create_model("resnet19"), ValueError, "unknown model 'resnet19': did you mean 'resnet1"),
        (lambda: pycnn.create_model("ResNet50"), ValueError, "did you mean 'resnet50'"),
        (lambda: pycnn.create_model("xyzzy"), ValueError, "unknown model 'xyzzy': see pycnn.list_models()"),
        (lambda: pycnn.create_model("small_cnn", num_classes=0), ValueError, "num_classes must be positive, got 0"),
        (lambda: pycnn.create_model("small_cnn", in_channels=-3), ValueError, "in_channels must be positive, got -3"),
        (lambda: pycnn.create_model("small_cnn", num_classes=2.0), TypeError, "num_classes must be an int, got 2.0"),
        (lambda: pycnn.create_model("small_cnn", num_classes=True), TypeError, "num_classes must be an int, got True"),
        (lambda: pycnn.create_model("small_cnn", depth=3), TypeError, "unexpected keyword argument 'depth'"),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_sentence(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
