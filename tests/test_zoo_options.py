"""What the rows of tests/twins.py leave at its default: options of single families, against their references."""

import pytest
import torch
from nets import error, truth
from torch import nn
from torchvision_stub import models as torchvision
from twins import leaves, of_timm, randomise, tv, tv_segmentation

import pycnn
from pycnn import registry
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
        ("alexnet", {"drop_rate": 0.25}, 2),
        ("vgg11", {"drop_rate": 0.25}, 2),
        ("googlenet", {"drop_rate": 0.25, "drop_rate_aux": 0.25}, 3),
        ("inception_v3", {"drop_rate": 0.25}, 1),
        ("densenet121", {"drop_rate": 0.25}, 58),
        ("resnetv2_50", {"drop_rate": 0.25}, 1),
        ("seresnet50", {"drop_rate": 0.25}, 1),
        ("unet", {"drop_rate": 0.25}, 1),
        ("deeplabv3plus_resnet50", {"drop_rate": 0.25}, 1),
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


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("resnet18", {"groups": 2}, "BasicBlock has neither groups nor widths nor dilation"),
        (
            "resnet50",
            {"replace_stride_with_dilation": (True,)},
            "dilation=(True,) must be three flags",
        ),
        (
            "resnetv2_50",
            {"stochastic_depth": -0.5},
            "resnetv2: stochastic_depth=-0.5 is not in [0, 1]",
        ),
        ("seresnet50", {"stochastic_depth": 1.5}, "senet: stochastic_depth=1.5 is not in [0, 1]"),
        ("vgg11", {"drop_rate": 2.0}, "dropout probability has to be between 0 and 1, but got 2.0"),
        ("unet", {"width": 0}, "unet: width=0 must be positive"),
        ("unet", {"up": "cubic"}, "up='cubic' is neither 'transposed' nor 'bilinear'"),
    ],
)
def test_bad_options_are_named(name, option, message):
    with torch.device("meta"), pytest.raises(ValueError) as caught:
        pycnn.create_model(name, **option)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large"]
)
def test_segmentations_auxiliary_head(name):
    torch.manual_seed(10)
    mine = pycnn.create_model(name, num_classes=5, aux_loss=True)
    torch.manual_seed(10)
    plain = tv_segmentation(name)(num_classes=5, aux_loss=True)
    state = plain.state_dict()
    assert list(mine.state_dict()) == list(state)
    assert all(torch.equal(mine.state_dict()[key], state[key]) for key in state)
    x = torch.randn(2, 3, 33, 41)
    outputs = []
    for net in (mine, plain):
        torch.manual_seed(3)
        outputs.append(net.train()(x))
    assert list(outputs[0]) == list(outputs[1]) == ["out", "aux"]
    assert all(torch.equal(outputs[0][key], outputs[1][key]) for key in outputs[0])
    without = pycnn.create_model(name, num_classes=5, pretrained=state).eval()
    with torch.inference_mode():
        assert torch.equal(without(x)["out"], mine.eval()(x)["out"])


def test_deeplabv3plus_names_the_sizes_it_cannot_take():
    net = pycnn.create_model("deeplabv3plus_resnet50").eval()
    with pytest.raises(ValueError, match="the image is 48x50, both must be multiples of 16"):
        net(torch.zeros(1, 3, 48, 50))


def test_unet_without_padding_gives_the_papers_sizes():
    with torch.device("meta"):
        net = pycnn.create_model("unet", padding=False)
        assert net(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    torch.manual_seed(12)
    net = pycnn.create_model("unet", padding=False, width=4, num_classes=3).eval()
    x = torch.randn(1, 1, 204, 220)
    y = net(x)
    assert y.shape == (1, 3, 20, 36)
    moved = net(
        torch.roll(x, (16, 32), (2, 3))
    )  # multiples of the pooling: what is inside moves along
    assert torch.allclose(moved[:, :, 16:, 32:], y[:, :, :4, :4], atol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_unet_by_interpolation(size):
    torch.manual_seed(13)
    net = pycnn.create_model("unet", width=4, up="bilinear", batch_norm=True, in_channels=2)
    randomise(net)
    net.eval()
    x = torch.randn(2, 2, *size)
    block = net.up[-1]
    maps, skip = torch.randn(2, 8, 5, 6), torch.randn(2, 4, 11, 13)
    enlarged = nn.functional.interpolate(maps, (11, 13), mode="bilinear")
    with torch.inference_mode():
        assert net(x).shape == (2, 2, *size)
        # interpolated first, mixed second, as it is usually drawn
        expected = block.conv(torch.cat([skip, block.up(enlarged)], 1))
        assert error(block(maps, skip), expected.double()) < 1e-5


@pytest.mark.parametrize("name", ["resnetv2_50", "seresnet50"])
def test_stochastic_depth_and_dropout_are_timms(name):
    torch.manual_seed(14)
    mine = pycnn.create_model(name, num_classes=7, stochastic_depth=0.5, drop_rate=0.3)
    plain = of_timm(name, drop_path_rate=0.5, drop_rate=0.3)(num_classes=7)
    randomise(mine)
    plain.load_state_dict(mine.state_dict(), strict=True)
    x = torch.randn(4, 3, 33, 49)
    outputs = []
    for net in (mine, plain):
        torch.manual_seed(3)
        outputs.append(net.train()(x))
    assert torch.equal(*outputs)
    assert torch.equal(mine.eval()(x), plain.eval()(x))
    with torch.inference_mode():
        assert error(mine(x), truth(plain, x)) < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"width": 4}),
        ("unet", {"width": 4, "up": "bilinear", "batch_norm": True}),
        ("unet", {"width": 4, "padding": False}),
        ("unet_resnet34", {}),
        ("deeplabv3_mobilenet_v3_large", {"aux_loss": True}),
    ],
)
def test_one_optimised_segmentation_takes_any_size(name, options):
    torch.manual_seed(15)
    net = pycnn.create_model(name, num_classes=3, **options)
    randomise(net)
    fast = pycnn.optimize(net.eval())
    c = registry.find_model(name).family.in_channels
    sizes = (
        [(204, 220), (236, 204)]
        if options.get("padding") is False
        else [(33, 47), (48, 32), (49, 64)]
    )
    for n, size in enumerate(sizes, start=1):
        x = torch.randn(n, c, *size)
        with torch.inference_mode():
            found, eager = leaves(fast(x)), leaves(net(x))
        for y, z, reference in zip(found, eager, leaves(truth(net, x)), strict=True):
            assert y.shape == z.shape
            assert max(error(y, reference), error(z, reference)) <= 1e-4
