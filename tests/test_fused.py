"""`fused`: when it joins layers, when it leaves them to torch, and that both are the same function."""

import pytest
import torch
from nets import error, settle
from torch import nn

import pycnn
from pycnn.blocks import fused, fused_add, plain_torch
from pycnn.models import textbook as ours


def test_inference_goes_through_the_fused_ops(monkeypatch):
    calls = []
    conv_bn_act = pycnn.ops.conv_bn_act

    def counted(x, conv, bn, act, residual):
        calls.append((bn is not None, act, residual is not None))
        return conv_bn_act(x, conv, bn, act, residual)

    monkeypatch.setattr(pycnn.ops, "conv_bn_act", counted)
    net = pycnn.create_model("resnet18").eval()
    with torch.inference_mode():
        net(torch.zeros(1, 3, 64, 64))
    assert calls.count((True, "relu", False)) == 1 + 8
    assert calls.count((True, "relu", True)) == 8
    assert calls.count((True, "none", False)) == 3
    assert len(calls) == 20


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Identity(), nn.GELU(), nn.ReLU(inplace=True)])
@pytest.mark.parametrize("with_residual", [True, False])
@pytest.mark.parametrize("body", ["conv", "conv bn", "conv bn pool", "linear"])
def test_fused_is_its_equivalent(body, last, with_residual):
    torch.manual_seed(1)
    parts = {
        "conv": nn.Conv2d(6, 6, 3, padding=1),
        "bn": settle(nn.BatchNorm2d(6)),
        "pool": nn.MaxPool2d(3, stride=1, padding=1),
        "linear": nn.Linear(6, 6),
    }
    layers = nn.ModuleList([*(parts[name] for name in body.split()), last]).eval()
    x = torch.randn(2, 6, 6, 6)
    residual = torch.randn_like(x) if with_residual else None
    with torch.inference_mode():
        expected = x
        for layer in layers[:-1]:
            expected = layer(expected)
        expected = last(expected if residual is None else expected + residual)
        kept = x.clone()
        y = fused(x, *layers, residual=residual)
        assert torch.equal(x, kept)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("with_residual", [True, False])
def test_sequences_among_the_layers_are_flattened_around_the_residual(with_residual):
    a = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), settle(nn.BatchNorm2d(6)))
    b = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 1), nn.GELU())
    x = torch.randn(2, 6, 6, 6)
    with torch.inference_mode():
        expected = b(a(x) + x) if with_residual else b(a(x))
        y = fused(x, a, b, residual=x if with_residual else None)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
        if with_residual:
            assert error(fused_add(x, b, a, residual=x), a(b(x)) + x) < 1e-6


def test_replaced_layers_count():
    torch.manual_seed(0)
    net = pycnn.create_model("resnet18").eval()
    net.maxpool, net.fc, net.bn1 = nn.Identity(), nn.Identity(), nn.Identity()
    net.layer1[0].relu = nn.SiLU()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        y = net(x)
        with plain_torch():
            expected = net(x)
    assert y.shape == (1, 512)
    assert error(y, expected) <= 1e-5
    with torch.no_grad():
        net.layer1[0].relu = nn.ReLU()
        assert error(net(x), expected) > 1e-3


def test_a_slice_of_a_sequential_network_is_a_sequence_of_its_layers():
    net = ours.BasicCNN().eval()
    head = net[:3]
    assert [type(layer) for layer in head] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert head[0] is net[0]


def test_plain_torch_is_over_after_an_error(monkeypatch):
    with pytest.raises(ZeroDivisionError), plain_torch():
        raise ZeroDivisionError
    called = []
    monkeypatch.setattr(pycnn.ops, "linear", lambda *a, **k: called.append(1))
    with torch.inference_mode():
        fused(torch.zeros(1, 4), nn.Linear(4, 4))
    assert called == [1]


def test_export_sees_torchs_own_ops_only():
    torch.manual_seed(0)
    net = ours.InceptionLikeBlock(8).eval()
    x = torch.randn(2, 8, 7, 7)
    with torch.no_grad():
        exported = torch.export.export(net, (x,))
        assert not [node for node in exported.graph.nodes if "pycnn" in str(node.target)]
        with plain_torch():
            assert torch.equal(exported.module()(x), net(x))
