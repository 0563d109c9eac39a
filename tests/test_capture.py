"""Capture: models become the ops they call, and the live model is never touched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, captured, images, net
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import capture


def test_a_net_becomes_its_ops_at_every_batch_and_size() -> None:
    graph = captured(net(), images(1, 3, 8, 8), images(4, 3, 13, 9), images(1, 3, 30, 8))
    assert graph.has(
        conv2d=1,
        batch_norm=1,
        elementwise=1,
        pool2d=1,
        adaptive_pool2d=1,
        flatten=1,
        linear=1,
        torch=0,
    )
    assert not graph.sizes_read
    assert not graph.guards
    assert [node.path for node in graph.nodes] == ["0", "1", "2", "3", "5", "6", "7"]


def test_the_live_model_is_neither_read_nor_changed() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[:] = float("nan")
    before = {
        name: (id(t), t._version, t.data_ptr())
        for name, t in model.state_dict(keep_vars=True).items()
    }
    x = images(1, 3, 8, 8)
    capture(model, (x,))
    after = {
        name: (id(t), t._version, t.data_ptr())
        for name, t in model.state_dict(keep_vars=True).items()
    }
    assert after == before
    assert x._version == 0
    assert all(p.requires_grad for p in model.parameters())


def test_sources_follow_the_live_tensors() -> None:
    model, x = net(), images(2, 3, 8, 8)
    graph = capture(model, (x,))
    with torch.no_grad():
        model[7].weight.mul_(3)
        model[0].weight.data = torch.ones(8, 3, 3, 3)
        model[7].bias = nn.Parameter(torch.full((5,), 2.0))
        assert torch.equal(ir.run_torch(graph, [x]), model(x))
    assert graph.tensors.same_modules()
    model[2] = nn.ReLU()
    assert not graph.tensors.same_modules()


ACTIVATIONS = {
    "relu": [
        F.relu,
        torch.relu,
        Tensor.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        lambda x: x.clamp(min=0),
    ],
    "relu6": [
        F.relu6,
        nn.ReLU6(True),
        lambda x: F.hardtanh(x, 0.0, 6.0),
        lambda x: torch.clamp(x, 0, 6),
    ],
    "leaky_relu": [F.leaky_relu, nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.3, True)],
    "silu": [F.silu, nn.SiLU(inplace=True)],
    "hardswish": [F.hardswish, nn.Hardswish(inplace=True)],
    "hardsigmoid": [F.hardsigmoid, nn.Hardsigmoid()],
    "sigmoid": [torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, F.sigmoid, nn.Sigmoid()],
    "tanh": [torch.tanh, Tensor.tanh_, nn.Tanh()],
    "gelu": [F.gelu, nn.GELU()],
    "mish": [F.mish, nn.Mish(inplace=True)],
    "elu": [F.elu, nn.ELU(0.7), nn.ELU(inplace=True), lambda x: F.elu(x, 0.3, True)],
    "gelu_tanh": [lambda x: F.gelu(x, approximate="tanh"), nn.GELU(approximate="tanh")],
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_spelling_of_an_activation(kind: str) -> None:
    for function in ACTIVATIONS[kind]:
        x = images(2, 3, 5, 5) * 4
        graph = captured(Fn(lambda self, x, f=function: f(x * 1.5)), x)
        acts = [n.op.act for n in graph.nodes if isinstance(n.op, ir.Elementwise)]
        assert [act.kind for act in acts] == [kind], function
        assert graph.has(arith=1, torch=0), "the product only"


CALLS: list[tuple[str, Callable[[Tensor], Tensor], dict[str, int]]] = [
    ("max pool, torch's", lambda x: torch.max_pool2d(x, 3, 2, 1, ceil_mode=True), {"pool2d": 1, "torch": 0}),
    ("max pool, dilated", lambda x: F.max_pool2d(x, (2, 3), 1, 0, 2), {"pool2d": 1, "torch": 0}),
    ("max pool, indices", lambda x: F.max_pool2d(x, 2, return_indices=True)[0], {"pool2d": 0, "torch": 1}),
    ("avg pool", lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), {"pool2d": 1, "torch": 0}),
    ("avg pool, divisor", lambda x: F.avg_pool2d(x, 2, divisor_override=3), {"pool2d": 1, "torch": 0}),
    ("adaptive, a None", lambda x: F.adaptive_avg_pool2d(x, (None, 3)), {"adaptive_pool2d": 1, "torch": 0}),
    ("adaptive max", lambda x: F.adaptive_max_pool2d(x, 2), {"adaptive_pool2d": 1, "torch": 0}),
    ("mean", lambda x: x.mean((2, 3)), {"adaptive_pool2d": 1, "flatten": 1, "torch": 0}),
    ("mean, kept", lambda x: torch.mean(x, dim=[-1, -2], keepdim=True), {"adaptive_pool2d": 1, "torch": 0}),
    ("mean of channels", lambda x: x.mean(1), {"rearrange": 1, "adaptive_pool2d": 1, "reshape": 1, "torch": 0}),
    ("cat", lambda x: torch.cat([x, x, x], -3), {"concat": 1, "torch": 0}),
    ("add", lambda x: torch.add(x, x), {"add": 1, "torch": 0}),
    ("radd", lambda x: x.__radd__(x), {"add": 1, "torch": 0}),
    ("add, alpha", lambda x: torch.add(x, x, alpha=2), {"add": 0, "torch": 1}),
    ("add, scalar", lambda x: x + 1, {"add": 0, "arith": 1, "torch": 0}),
    ("add, broadcast", lambda x: x + x[:, :1], {"add": 0, "arith": 1, "slice": 1, "torch": 0}),
    ("pad", lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), {"pad": 1, "torch": 0}),
    ("pad, width", lambda x: nn.ZeroPad2d((1, 1, 0, 0))(x), {"pad": 1, "torch": 0}),
    ("pad, crop", lambda x: F.pad(x, (-1, 1)), {"pad": 1, "torch": 0}),
    ("pad, reflect", lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), {"pad": 1, "torch": 0}),
    ("double", lambda x: F.relu(x.double()), {"elementwise": 0, "torch": 2}),
    ("unflattened view", lambda x: F.relu(x).view(-1, 7), {"reshape": 1, "torch": 0}),
    ("channel shuffle", lambda x: F.relu(x).view(2, 2, 2, 7, 7).transpose(1, 2).reshape(2, 4, 7, 7),
     {"reshape": 2, "permute": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "counts"), CALLS, ids=[c[0] for c in CALLS])
def test_calls(name: str, function: Callable[[Tensor], Tensor], counts: dict[str, int]) -> None:
    graph = captured(Fn(lambda self, x: function(x)), images(2, 4, 7, 7))
    assert graph.has(**counts), str(graph)
    assert all(n.op.reason for n in graph.nodes if isinstance(n.op, ir.Torch))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [1, 2, (3, 4), (5, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_even_kernels_are_asymmetric(kernel: int, dilation: int) -> None:
    conv = nn.Conv2d(3, 4, kernel, padding="same", dilation=dilation)
    graph = captured(
        Fn(lambda self, x: self.conv(x), conv=conv), images(2, 3, 9, 8), images(1, 3, 6, 11)
    )
    assert graph.has(conv2d=1, torch=0)


def test_shapes_inferred_are_torchs() -> None:
    """Every window rule at edge sizes: capture and inference use no torch kernel, so they must agree with one."""
    for k, s, p, d in [(3, 2, 1, 1), (2, 3, 1, 1), (3, 1, 0, 2), (1, 1, 0, 1), (5, 4, 2, 1)]:
        for ceil in (False, True):
            pool = nn.MaxPool2d(k, s, p, d, ceil_mode=ceil)
            conv = nn.Conv2d(3, 2, k, s, p, d)
            for h in range(d * (k - 1) + 1, d * (k - 1) + 9):
                captured(pool, images(1, 3, h, 12))
                captured(conv, images(1, 3, h, 12))


def test_unbatched_input_runs_as_torch() -> None:
    graph = (
        captured(net()[:4], images(3, 8, 8))
        if False
        else captured(nn.Conv2d(3, 4, 3), images(3, 8, 8))
    )
    assert graph.has(conv2d=0, torch=1)
    assert "3 axes" in graph.nodes[0].op.reason


def test_batch_norm_with_batch_statistics_is_exact() -> None:
    graph = captured(
        nn.BatchNorm2d(3, track_running_stats=False), images(4, 3, 5, 5), images(2, 3, 4, 4)
    )
    assert graph.has(batch_norm=0, torch=1)


def test_batch_norm_in_training_updates_the_statistics_at_each_call() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train(), images(4, 3, 5, 5)
    twin = copy.deepcopy(model)
    graph = capture(model, (x,))
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(ir.run_torch(graph, [x]), twin(x), rtol=0, atol=0)
    assert torch.equal(model[1].running_mean, twin[1].running_mean)
    assert model[1].num_batches_tracked == 2


def test_random_ops_run_at_each_call() -> None:
    graph = capture(Fn(lambda self, x: F.dropout(x, 0.5, training=True)), (images(1, 3, 8, 8),))
    x = torch.ones(1, 3, 8, 8)
    assert not torch.equal(ir.run_torch(graph, [x]), ir.run_torch(graph, [x]))
