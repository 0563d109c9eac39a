"""The table of models."""

import subprocess
import sys

import pytest
import torch

import pycnn
from pycnn import registry
from pycnn.models import LeNetLike


def test_list_is_naturally_sorted_and_filtered():
    assert pycnn.list_models("resnet[0-9]*") == [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet50_fpn",
        "resnet101",
        "resnet152",
    ]
    assert {"basic_cnn", "lenet_like", "small_vgg", "small_cnn"} <= set(pycnn.list_models())
    assert pycnn.list_models("nothing*") == []


def test_the_table_is_full_after_import_of_pycnn_alone():
    code = "import pycnn; print(*pycnn.list_models())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == pycnn.list_models()


def logits(y):
    """The main output of a classifier; with auxiliary heads, the first of a tuple."""
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("name", pycnn.list_models(task="classification"))
def test_every_classifier_takes_classes_and_channels(name):
    c, h, w = registry.find_model(name).input_size
    with torch.device("meta"):
        default = pycnn.create_model(name)
        other = pycnn.create_model(name, num_classes=7, in_channels=5)
        y, z = default(torch.zeros(2, c, h, w)), other(torch.zeros(2, 5, h, w))
    assert logits(y).shape == (2, registry.find_model(name).num_classes)
    assert logits(z).shape == (2, 7)
    assert default.training


@pytest.mark.parametrize("name", pycnn.list_models(task="segmentation"))
def test_every_segmentation_takes_classes_and_channels(name):
    c, h, w = registry.find_model(name).input_size
    with torch.device("meta"):
        default = pycnn.create_model(name)
        other = pycnn.create_model(name, num_classes=7, in_channels=5)
        y, z = default(torch.zeros(2, c, h, w)), other(torch.zeros(2, 5, h, w))
    y, z = (maps["out"] if isinstance(maps, dict) else maps for maps in (y, z))
    assert y.shape == (2, registry.find_model(name).num_classes, h, w)
    assert z.shape == (2, 7, h, w)
    assert default.training
    with pytest.raises(ValueError, match="features_only needs a network that is a row of stages"):
        pycnn.create_model(name, features_only=True)


def test_defaults_are_the_variants_own():
    net = pycnn.create_model("lenet_like")
    assert isinstance(net, LeNetLike)
    assert net.features[0].in_channels == 1
    assert net.classifier[-1].out_features == 10


def test_duplicate_names_are_refused(monkeypatch):
    register = registry.model("net", registry.find_model("lenet_like").family)
    monkeypatch.setattr(registry, "_VARIANTS", {})
    register(LeNetLike)
    with pytest.raises(ValueError, match="model 'net' is already registered by LeNetLike"):
        register(LeNetLike)


def backbone(*out_indices):
    return pycnn.create_model("small_cnn", features_only=True, out_indices=out_indices)


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
        (lambda: pycnn.create_model("small_cnn", depth=3), TypeError, "unknown option 'depth'; it has num_classes, i"),
        (lambda: pycnn.create_model("small_cnn", out_indices=(1,)), ValueError, "out_indices=(1,) needs features_only"),
        (lambda: backbone(3), ValueError, "out_indices=(3,): the network has stages 0 to 2"),
        (lambda: backbone(-4, 1), ValueError, "has stages 0 to 2"),
        (lambda: backbone(), ValueError, "out_indices=(): the network has stages 0 to 2"),
        (lambda: pycnn.list_models(task="poetry"), ValueError, "unknown task 'poetry': it is one of classification, "),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_sentence(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tasks_and_papers():
    assert pycnn.list_models("vgg*", task="classification") == pycnn.list_models("vgg*") != []
    assert pycnn.list_models("resnet*", task="detection") == ["resnet50_fpn"]
    assert set(pycnn.list_models(task="segmentation")).isdisjoint(pycnn.list_models("resnet*"))
    paper = registry.find_model("resnet50").family.paper
    assert str(paper).startswith("He, Zhang, Ren, Sun 2015, Deep Residual")
    assert str(paper).endswith(", arXiv:1512.03385")
    with pytest.raises(ValueError, match="task 'poetry' is none of"):
        registry.Family("net", paper, (8, 8), task="poetry")
