"""verify on networks of every kind: steps of torch, several inputs and outputs, calls that are several layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captured import Fn, net
from nets import Branches, Outputs, Views, conv_bn, error, fast, settle, truth, verified
from torch import nn

import pycnn

X = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", [Branches, Views, Outputs, net])
@pytest.mark.parametrize("channels_last", [False, True])
def test_torch_steps_joins_and_several_outputs(model: Any, channels_last: bool) -> None:
    x = torch.randn(2, 3, 12, 10)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    certificate = verified(settle(model()), x)
    assert certificate.ok and certificate.same_bits
    assert certificate.notes == ()
    assert len(certificate.layers) >= 3
    if model is Branches:
        joins = [c for c in certificate.layers if c.op == "concat"]
        assert [c.shape for c in joins] == [(2, 20, 12, 10), (2, 32, 12, 10)]
    if model is Views:
        assert {"interpolate", "upsample"} & {c.op for c in certificate.layers}
    if model is Outputs:
        assert [c.path for c in certificate.outputs] == ["output 0", "output 1", "output 2"]


def test_a_torch_step_between_kernels() -> None:
    model = Fn(
        lambda self, x: self.b(self.a(x).roll(1, -1)), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1)
    )
    certificate = verified(model.eval(), X)
    assert [(c.op, bool(c.kernel)) for c in certificate.layers] == [
        ("conv2d", True), ("roll", False), ("conv2d", True),
    ]  # fmt: skip
    assert certificate.ok


def test_several_inputs() -> None:
    model = settle(Outputs())
    x, extra = torch.randn(1, 3, 6, 6), torch.randn(1, 16, 6, 6)
    certificate = verified(model, x, 2.0, extra=extra)
    assert certificate.ok
    assert any("add" in check.path for check in certificate.layers)


def test_a_net_that_runs_as_it_is_has_its_outputs_checked() -> None:
    model = Fn(
        lambda self, x: self.conv(x) if x.sum() > 0 else -self.conv(x), conv=nn.Conv2d(3, 4, 1)
    )
    certificate = verified(model.eval(), X)
    assert certificate.layers == () and certificate.ok
    assert certificate.worst.path == "output"
    assert certificate.worst.torch_error == certificate.worst.error
    assert "runs as it is" in certificate.notes[0]


def test_a_module_called_twice_and_one_layer_in_place() -> None:
    model = settle(
        Fn(
            lambda self, x: self.act(self.conv(self.conv(x)) + 0),
            conv=conv_bn(3, 3),
            act=nn.ReLU(True),
        )
    )
    names = [check.path for check in verified(model, X).layers]
    assert len(names) == len(set(names))
    assert "conv.0 + batch_norm (2)" in names


def test_where_the_original_takes_another_way_in_fp64_it_says_so() -> None:
    def forward(self, x):
        x = self.pool(self.a(x))
        return self.b(x.tanh() if x.dtype == torch.float64 else x.sigmoid())

    model = Fn(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1), pool=nn.MaxPool2d(2)).eval()
    certificate = verified(model, X)
    assert [check.path for check in certificate.layers] == ["a", "pool"]
    assert "at capture it was sigmoid" in certificate.notes[0]
    (output,) = certificate.outputs
    assert output.error == pytest.approx(output.torch_error, rel=1e-3) and output.error > 0.1


def test_what_a_call_becomes_in_several_steps_is_compared() -> None:
    model = Fn(
        lambda self, x: self.fc(self.conv(x).mean((2, 3))), conv=conv_bn(3, 8), fc=nn.Linear(8, 5)
    )
    certificate = verified(settle(model), X)
    assert [check.op for check in certificate.layers] == ["conv2d", "adaptive_pool2d", "conv2d"]
    assert certificate.ok and certificate.notes == ()


@pytest.mark.parametrize("name", ["small_cnn", "resnet18"])
def test_networks_of_the_zoo(name: str) -> None:
    model = settle(pycnn.create_model(name, num_classes=7))
    x = torch.randn(2, 3, 32, 32)
    certificate = verified(model, x)
    assert certificate.ok and certificate.notes == ()
    assert error(fast(model, x), truth(model, x)) == pytest.approx(certificate.outputs[0].error)
    ops = "conv2d", "conv2d_pool"
    convs = [c for c in certificate.layers if c.op in ops and "conv" in c.kernel]
    assert len(convs) == {"small_cnn": 6, "resnet18": 21}[name]
