"""Every variant of the zoo against its reference implementation; the registry is the list of cases."""

import math

import pytest
import torch
import twins_mobile  # noqa: F401
import twins_pixels  # noqa: F401
from nets import error, truth
from twins import TWINS, build, classes, leaves, pair

import pycnn
from pycnn.registry import find_model

TEXTBOOK = ["basic_cnn", "lenet_like", "small_cnn", "small_vgg"]  # tests/test_models.py has theirs
SMALL = [name for name, t in TWINS.items() if t.trains]
TIERS = [pytest.param(n, marks=pytest.mark.slow) if t.slow else n for n, t in TWINS.items()]
BACKBONES = [n for n in pycnn.list_models() if find_model(n).family.stages is not None]


def test_every_variant_has_a_reference():
    assert sorted([*TWINS, *TEXTBOOK]) == sorted(pycnn.list_models())
    assert {find_model(n).factory for n in SMALL} == {find_model(n).factory for n in TWINS}
    classifiers = pycnn.list_models(task="classification")
    assert sorted(BACKBONES) == sorted(classifiers)


@pytest.mark.parametrize("name", TWINS)
def test_keys_shapes_and_parameters_are_the_references(name):
    with torch.device("meta"):
        mine = pycnn.create_model(name, **TWINS[name].options)
        plain = TWINS[name].make(**classes(name, find_model(name).num_classes))
    rows = [(key, t.shape, t.dtype) for key, t in mine.state_dict().items()]
    assert sorted(rows) == sorted((key, t.shape, t.dtype) for key, t in plain.state_dict().items())
    counts = [sum(p.numel() for p in net.parameters()) for net in (mine, plain)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", SMALL)
def test_initial_values_are_the_references(name):
    mine, plain = (net.state_dict() for net in build(name))
    for key, expected in plain.items():
        found = mine[key]
        if TWINS[name].draws or not expected.is_floating_point() or expected.std() == 0:
            assert torch.equal(found, expected), key
        elif expected.numel() >= 256:
            wide = 5 / expected.numel() ** 0.5  # 5 standard errors of a mean; a spread's is smaller
            assert abs(found.std() / expected.std() - 1) < wide, key
            assert abs(found.mean() - expected.mean()) < 2 * wide * expected.std(), key


@pytest.mark.parametrize("name", TIERS)
def test_outputs_are_the_references(name):
    mine, plain, inputs = pair(name)
    with torch.inference_mode():
        found, expected = leaves(mine(*inputs)), leaves(plain(*inputs))
        fast = pycnn.optimize(mine, strict=True)
        optimised = leaves(fast(*inputs))
        assert pycnn.explain(fast, *inputs).fallbacks == ()
    references = [
        t.clone() for t in leaves(truth(plain, *inputs))
    ]  # last: it doubles the memory needed
    assert len(found) == len(optimised) == len(references) > 0
    for y, twins, quick, reference in zip(found, expected, optimised, references, strict=True):
        assert y.shape == twins.shape and math.isfinite(float(reference.abs().max()))
        own = error(twins, reference)
        assert error(y, reference) <= max(1e-5, 3 * own)
        assert error(quick, reference) <= max(1e-4, 3 * own)


def trained(net, inputs):
    """Output, gradients and statistics of a step of training, under a seed of its own."""
    x = inputs[0].clone().requires_grad_()
    net.train()
    torch.manual_seed(3)
    outputs = leaves(net(x, *inputs[1:]))
    loss = sum((y * torch.randn_like(y)).sum() for y in outputs)
    loss.backward()
    grads = [p.grad for _, p in sorted(net.named_parameters())]
    return [*outputs, x.grad, *grads, *(b for _, b in sorted(net.named_buffers()))]


@pytest.mark.parametrize("name", SMALL)
def test_training_is_the_references_bit_by_bit(name):
    mine, plain, inputs = pair(name)
    found, expected = trained(mine, inputs), trained(plain, inputs)
    for a, b in zip(found, expected, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_the_channels_and_reductions_they_say(name):
    c, h, w = find_model(name).input_size
    with torch.device("meta"):
        backbone = pycnn.create_model(name, features_only=True).eval()
        maps = backbone(torch.empty(2, c, h, w))
    assert [y.shape[1] for y in maps] == backbone.channels
    assert backbone.reductions == list(find_model(name).family.stages)
    for y, reduction in zip(maps, backbone.reductions, strict=True):
        assert (
            0.55 <= y.shape[2] / (h / reduction) <= 1.2
        )  # convolutions without padding take a rim


def test_a_backbone_returns_the_stages_asked_for_and_has_no_later_ones():
    net = pycnn.create_model("resnet18", features_only=True, out_indices=(-2, 1, 1))
    assert (net.out_indices, net.channels, net.reductions) == ([1, 3], [64, 256], [4, 16])
    assert [name for name, _ in net.named_children()] == [
        "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3",
    ]  # fmt: skip
    assert [y.shape for y in net(torch.zeros(1, 3, 64, 32))] == [(1, 64, 16, 8), (1, 256, 4, 2)]


@pytest.mark.parametrize("name", [n for n in SMALL if n in BACKBONES])
def test_backbone_maps_are_the_networks_own(name):
    net, _, (x, *_) = pair(name)
    options = {**classes(name), **TWINS[name].options, "pretrained": net.state_dict()}
    backbone = pycnn.create_model(name, **options, features_only=True).eval()
    seen = []
    for stage in backbone.stage_paths:
        last = net.get_submodule(stage[-1])
        last.register_forward_hook(lambda module, args, y: seen.append(y.detach().clone()))
    net(x)  # gradients are on, so each module is called
    maps = [y.detach() for y in backbone(x)]
    assert len(maps) == len(seen)
    assert all(torch.equal(a, b) for a, b in zip(maps, seen, strict=True))
    with torch.inference_mode():
        eager, quick = backbone(x), pycnn.optimize(backbone, strict=True)(x)
    for y, z, reference in zip(eager, quick, maps, strict=True):
        assert error(y, reference.double()) <= 1e-4  # of two fp32 results
        assert error(z, reference.double()) <= 2e-4
