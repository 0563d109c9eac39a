"""What the rows of tests/twins.py leave at its default: options of single families, against their references."""

import pytest
import torch
from nets import error, truth
from torch import nn
from torchvision_stub import models as torchvision
from twins import randomise, tv

import pycnn
from pycnn.models import inception_v3


def test_inceptions_auxiliary_head():
    torch.manual_seed(1)
    mine = inception_v3.AuxiliaryHead(768, 17)
    randomise(mine)
    plain = torchvision.inception.InceptionAux(768, 17)
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(2, 768, 17, 18)
    assert torch.equal(mine(x), plain(x))


def test_inceptions_keys_and_initial_values_with_the_auxiliary_head():
    torch.manual_seed(2)
    mine = pycnn.create_model("inception_v3").state_dict()
    torch.manual_seed(2)
    plain = tv("inception_v3", init_weights=True)().state_dict()
    assert list(mine) == list(plain)
    assert all(torch.equal(mine[key], plain[key]) for key in plain)


@pytest.mark.slow
def test_inception_trains_with_its_auxiliary_head():
    torch.manual_seed(2)
    mine = pycnn.create_model("inception_v3", num_classes=7).train()
    plain = tv("inception_v3", init_weights=False, num_classes=7)()
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(2, 3, 299, 299)
    outputs = []
    for net in (mine, plain.train()):
        torch.manual_seed(3)
        outputs.append(net(x))
    assert type(outputs[0])._fields == type(outputs[1])._fields
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize(("name", "size"), [("googlenet", (33, 49)), ("inception_v3", (75, 81))])
def test_transform_input(name, size):
    torch.manual_seed(4)
    options = {"aux_logits": False, "transform_input": True, "num_classes": 7}
    mine = pycnn.create_model(name, **options).eval()
    plain = tv(name, init_weights=False, **options)().eval()
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(3, 3, *size)
    with torch.inference_mode():
        reference = truth(plain, x)
        assert error(mine(x), reference) <= max(1e-5, 3 * error(plain(x), reference))
    maps = pycnn.create_model(
        name, **options, features_only=True, pretrained=mine.state_dict()
    ).eval()(x)
    seen = []
    mine.get_submodule(maps_end(name)).register_forward_hook(lambda m, a, y: seen.append(y))
    mine(x)
    assert torch.equal(maps[-1], seen[0])
    with pytest.raises(
        ValueError, match="transform_input=True is for 3 channels, got in_channels=1"
    ):
        pycnn.create_model(name, in_channels=1, transform_input=True)


def maps_end(name: str) -> str:
    return {"googlenet": "inception5b", "inception_v3": "Mixed_7c"}[name]


@pytest.mark.parametrize(
    ("name", "option", "layers"),
    [
        ("alexnet", {"dropout": 0.25}, 2),
        ("vgg11", {"dropout": 0.25}, 2),
        ("googlenet", {"dropout": 0.25, "dropout_aux": 0.25}, 3),
        ("inception_v3", {"dropout": 0.25}, 1),
        ("densenet121", {"drop_rate": 0.25}, 58),
    ],
)
def test_dropout(name, option, layers):
    with torch.device("meta"):
        net = pycnn.create_model(name, **option)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.25] * layers


def test_dense_layers_drop_as_the_references():
    torch.manual_seed(6)
    mine = pycnn.create_model("densenet121", num_classes=7, drop_rate=0.5)
    plain = tv("densenet121", drop_rate=0.5, num_classes=7)()
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(2, 3, 33, 33)
    outputs = []
    for net in (mine, plain):
        torch.manual_seed(3)
        outputs.append(net.train()(x))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("dilate", [(False, True, True), (True, True, True), (False, False, True)])
def test_resnets_stride_replaced_by_dilation(dilate):
    torch.manual_seed(8)
    mine = pycnn.create_model("resnet50", num_classes=7, replace_stride_with_dilation=dilate)
    plain = tv("resnet50", replace_stride_with_dilation=list(dilate), num_classes=7)().eval()
    plain.load_state_dict(mine.eval().state_dict(), strict=True)
    x = torch.randn(1, 3, 33, 49)
    assert torch.equal(mine(x), plain(x))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_branches_that_start_as_zero(name):
    torch.manual_seed(9)
    mine = pycnn.create_model(name, zero_init_residual=True).state_dict()
    torch.manual_seed(9)
    plain = tv(name, zero_init_residual=True)().state_dict()
    assert all(torch.equal(mine[key], plain[key]) for key in plain)


def test_basic_blocks_have_no_groups():
    with pytest.raises(ValueError, match="BasicBlock has neither groups nor widths nor dilation"):
        pycnn.create_model("resnet18", groups=2)
