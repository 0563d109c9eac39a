"""The zoo against the same networks in plain torch: keys, outputs, gradients, shapes and formulae."""

from collections import Counter

import document
import pytest
import torch
from nets import error, settle, truth
from torch import nn
from torchvision_stub import models as torchvision_models

import pycnn
from pycnn.models import plain_torch
from pycnn.models import textbook as ours

BLOCKS = {  # name: ours, the chapter's code, input, output of the chapter's shape flow
    "basic_cnn": (ours.BasicCNN, document.basic_cnn, (2, 3, 64, 64), (2, 10)),
    "lenet_like": (ours.LeNetLike, document.LeNetLike, (2, 1, 28, 28), (2, 10)),
    "alex_block": (ours.alex_block, document.alex_block, (2, 3, 224, 224), (2, 64, 27, 27)),
    "vgg_block": (
        lambda: ours.vgg_block(3, 16, 2), lambda: document.vgg_block(3, 16, 2),
        (2, 3, 16, 16), (2, 16, 8, 8),
    ),
    "small_vgg": (ours.SmallVGG, document.small_vgg, (2, 3, 32, 32), (2, 10)),
    "basic_residual": (
        lambda: ours.BasicResidualBlock(16), lambda: document.BasicResidualBlock(16),
        (2, 16, 9, 11), (2, 16, 9, 11),
    ),
    "projection_residual": (
        lambda: ours.ProjectionResidualBlock(8, 24, stride=2),
        lambda: document.ProjectionResidualBlock(8, 24, stride=2),
        (2, 8, 14, 14), (2, 24, 7, 7),
    ),
    "bottleneck": (
        lambda: ours.BottleneckBlock(32, 8, 48, stride=2),
        lambda: document.BottleneckBlock(32, 8, 48, stride=2),
        (2, 32, 15, 15), (2, 48, 8, 8),
    ),
    "inception": (
        lambda: ours.InceptionLikeBlock(24), lambda: document.InceptionLikeBlock(24),
        (2, 24, 13, 13), (2, 192, 13, 13),
    ),
    "depthwise_separable": (
        lambda: ours.DepthwiseSeparableConv(16, 40, stride=2),
        lambda: document.DepthwiseSeparableConv(16, 40, stride=2),
        (2, 16, 12, 12), (2, 40, 6, 6),
    ),
    "classifier_head": (
        ours.ClassifierHead, document.classifier_head, (2, 512, 7, 7), (2, 1000),
    ),
    "small_cnn": (ours.SmallCNN, document.SmallCNN, (2, 3, 32, 32), (2, 10)),
}  # fmt: skip
RESNETS = {
    "resnet18": (2, 3, 64, 64),
    "resnet50": (2, 3, 64, 64),
}


@pytest.fixture(params=[*BLOCKS, *RESNETS])
def twins(request):
    """(ours, the plain torch net with the same state, an input)."""
    torch.manual_seed(7)
    if request.param in BLOCKS:
        make_ours, make_plain, shape, _ = BLOCKS[request.param]
        mine, plain = settle(make_ours()), make_plain()
    else:
        shape = RESNETS[request.param]
        mine = settle(pycnn.create_model(request.param, num_classes=17))
        plain = getattr(torchvision_models, request.param)(num_classes=17)
    plain.load_state_dict(mine.state_dict(), strict=True)
    return mine, plain, torch.randn(shape)


def test_keys_and_shapes_are_the_documents(twins):
    mine, plain, _ = twins
    shapes = [(key, t.shape, t.dtype) for key, t in mine.state_dict().items()]
    assert shapes == [(key, t.shape, t.dtype) for key, t in plain.state_dict().items()]
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1)
    mine.load_state_dict(plain.state_dict(), strict=True)
    assert all(
        torch.equal(a, b) for a, b in zip(mine.parameters(), plain.parameters(), strict=True)
    )


def test_inference_is_exact(twins):
    mine, plain, x = twins
    mine.eval(), plain.eval()
    reference = truth(plain, x)
    with torch.inference_mode():
        y, y_torch = mine(x), plain(x)
        assert error(y, reference) <= max(1e-5, 3 * error(y_torch, reference))
        with plain_torch():
            assert torch.equal(mine(x), y_torch)


def test_optimised_is_exact_and_has_no_torch_step(twins):
    mine, plain, x = twins
    mine.eval(), plain.eval()
    reference = truth(plain, x)
    with torch.inference_mode():
        bound = max(1e-5, 3 * error(plain(x), reference))
        steps = []
        for net in (mine, plain):
            fast = pycnn.optimize(net, strict=True)
            assert error(fast(x), reference) <= bound
            report = pycnn.explain(fast, x)
            assert report.fallbacks == ()
            steps.append([s for s in report.steps if s.op != "layout"])
    mine_steps, plain_steps = (
        sorted((s.path, s.op, s.input, s.output) for s in found) for found in steps
    )
    assert mine_steps == plain_steps
    # A shortcut runs before its block here and after it in torch: whoever comes last adds the other.
    mine_fused, plain_fused = (
        Counter(" + ".join(s.fused for s in found).split(" + ")) for found in steps
    )
    assert mine_fused == plain_fused


def gradients(net, x):
    x = x.clone().requires_grad_()
    y = net(x)
    torch.manual_seed(3)
    y.backward(torch.randn_like(y))
    return [y, x.grad, *(p.grad for p in net.parameters()), *net.buffers()]


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_torchs_bit_by_bit(twins, training):
    mine, plain, x = twins
    found = gradients(mine.train(training), x)
    expected = gradients(plain.train(training), x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", BLOCKS)
def test_shape_flow(name):
    make_ours, _, shape, expected = BLOCKS[name]
    with torch.inference_mode():
        assert make_ours().eval()(torch.zeros(shape)).shape == expected


def shapes_after(net, x, names):
    """Output shapes of the named submodules; gradients are on, so each is called as a module."""
    found = []
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda m, a, y: found.append(tuple(y.shape)))
    net(x)
    return found


def test_shape_flow_inside_basic_cnn():
    found = shapes_after(ours.BasicCNN(), torch.zeros(8, 3, 64, 64), ["2", "5", "8", "9", "10"])
    assert found == [(8, 32, 32, 32), (8, 64, 16, 16), (8, 128, 1, 1), (8, 128), (8, 10)]


def test_shape_flow_inside_small_cnn():
    names = ["features.6", "features.13", "features.14", "features.17", "classifier"]
    found = shapes_after(ours.SmallCNN(), torch.zeros(2, 3, 32, 32), names)
    assert found == [(2, 32, 16, 16), (2, 64, 8, 8), (2, 128, 8, 8), (2, 128, 1, 1), (2, 10)]


def test_resnet_stages_are_the_documents():
    names = ["relu", "layer1", "layer2", "layer3", "layer4", "fc"]
    found = shapes_after(pycnn.create_model("resnet18"), torch.zeros(2, 3, 224, 224), names)
    stages = [(2, 64, 56, 56), (2, 128, 28, 28), (2, 256, 14, 14), (2, 512, 7, 7)]
    assert found == [(2, 64, 112, 112), *stages, (2, 1000)]


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 1), (16, 40), (512, 512)])
def test_depthwise_separable_parameter_formula(c_in, c_out):
    convs = [
        m for m in ours.DepthwiseSeparableConv(c_in, c_out).modules() if isinstance(m, nn.Conv2d)
    ]
    assert sum(m.weight.numel() for m in convs) == c_in * 3 * 3 + c_in * c_out
    standard = nn.Conv2d(c_in, c_out, 3, bias=False)
    assert sum(p.numel() for p in standard.parameters()) == c_in * c_out * 3 * 3


@pytest.mark.parametrize(("convs", "reach"), [(2, 5), (3, 7)])
def test_receptive_field_of_stacked_3x3(convs, reach):
    block = ours.vgg_block(1, 4, convs)[:-1]  # without the pooling
    x = torch.zeros(1, 1, 15, 15, requires_grad=True)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(0.1)
    block(x)[0, 0, 7, 7].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (7 - reach // 2, 7 + reach // 2)
