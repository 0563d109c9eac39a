"""Capture: the graph says what the model does (structure, then numbers through the interpreter)."""

from __future__ import annotations

import copy
import math
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import CaptureError, capture


class Fn(nn.Module):
    """A module around a function of (module, *args)."""

    def __init__(self, function: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.function(self, *args, **kwargs)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def captured(model: nn.Module, x: Tensor, *others: Tensor) -> ir.Graph:
    """The graph of model(x); it gives eager's numbers for x and for each other input."""
    graph = capture(model.eval(), (x.clone(),))
    for inputs in (x, *others):
        with torch.no_grad():
            expected = model(inputs.clone())
        torch.testing.assert_close(ir.run_torch(graph, [inputs.clone()]), expected, rtol=0, atol=0)
    return graph


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Dropout(0.5), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    return layers.eval()


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
    "gelu_tanh": [lambda x: F.gelu(x, approximate="tanh"), nn.GELU(approximate="tanh")],
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_spelling_of_an_activation(kind: str) -> None:
    for function in ACTIVATIONS[kind]:
        x = images(2, 3, 5, 5) * 4
        graph = captured(Fn(lambda self, x, f=function: f(x * 1.5)), x)
        acts = [n.op.act for n in graph.nodes if isinstance(n.op, ir.Elementwise)]
        assert [act.kind for act in acts] == [kind], function
        assert graph.has(torch=1), "the product only"


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
    ("mean of channels", lambda x: x.mean(1), {"adaptive_pool2d": 0, "torch": 1}),
    ("cat", lambda x: torch.cat([x, x, x], -3), {"concat": 1, "torch": 0}),
    ("add", lambda x: torch.add(x, x), {"add": 1, "torch": 0}),
    ("radd", lambda x: x.__radd__(x), {"add": 1, "torch": 0}),
    ("add, alpha", lambda x: torch.add(x, x, alpha=2), {"add": 0, "torch": 1}),
    ("add, scalar", lambda x: x + 1, {"add": 0, "torch": 1}),
    ("add, broadcast", lambda x: x + x[:, :1], {"add": 0, "torch": 2}),
    ("pad", lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), {"pad": 1, "torch": 0}),
    ("pad, width", lambda x: nn.ZeroPad2d((1, 1, 0, 0))(x), {"pad": 1, "torch": 0}),
    ("pad, crop", lambda x: F.pad(x, (-1, 1)), {"pad": 0, "torch": 1}),
    ("pad, reflect", lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), {"pad": 0, "torch": 1}),
    ("double", lambda x: F.relu(x.double()), {"elementwise": 0, "torch": 2}),
    ("unflattened view", lambda x: F.relu(x).view(-1, 7), {"reshape": 1, "torch": 0}),
    ("channel shuffle", lambda x: F.relu(x).view(2, 2, 2, 7, 7).transpose(1, 2).reshape(2, 4, 7, 7),
     {"reshape": 2, "torch": 1}),
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


# --- in place


INPLACE = {
    "later use": lambda self, x: (y := self.conv(x), F.relu(y, inplace=True), y + 1)[-1],
    "iadd": lambda self, x: (y := self.conv(x), z := F.relu(y), z.__iadd__(y), z * y)[-1],
    "add_ alpha": lambda self, x: self.conv(x).add_(x, alpha=2),
    "add_ broadcast": lambda self, x: self.conv(x).add_(x[:, :1]),
    "mul_ twice": lambda self, x: self.conv(x).mul_(2).mul_(x),
    "setitem": lambda self, x: (y := self.conv(x), y.__setitem__((slice(None), 0), 3.0), y)[-1],
    "out": lambda self, x: (y := torch.zeros(2, 3, 6, 6), torch.add(x, x, out=y), y)[-1],
    "old value used": lambda self, x: (y := self.conv(x), z := y * 2, y.relu_(), z + y)[-1],
    "view, base dead": lambda self, x: F.relu(self.conv(x).flatten(1), inplace=True),
    "same object": lambda self, x: (y := self.conv(x), r := y, y.sigmoid_(), r * 2)[-1],
}


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_calls_are_made_functional(name: str) -> None:
    captured(Fn(INPLACE[name], conv=nn.Conv2d(3, 3, 1)), images(2, 3, 6, 6))


REFUSED = [
    ("relu_ writes into the memory of the model's input", lambda self, x: x.relu_()),
    ("add_ writes into the memory of the model's input", lambda self, x: x.view(-1).add_(1)),
    ("relu_ wrote into memory it shares", lambda self, x: (y := self.conv(x), y[:, :1].relu_(), y)[-1]),
    ("add_ wrote into memory it shares",
     lambda self, x: (y := self.conv(x), v := y.flatten(1), y.add_(y), v)[-1]),
    ("mul_ writes into the memory of a tensor of the model",
     lambda self, x: (self.conv.weight.view(-1).mul_(2), self.conv(x))[-1]),
    ("conv2d reads a tensor that the model writes",
     lambda self, x: (self.conv.bias.add_(1), self.conv(x))[-1]),
    ("item", lambda self, x: self.conv(x) if x.sum().item() > 0 else x),
    ("data_ptr looks at memory", lambda self, x: x if x.data_ptr() else x),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "function"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals_carry_their_reason(reason: str, function: Callable[..., Tensor]) -> None:
    model = Fn(function, conv=nn.Conv2d(3, 3, 1))
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(CaptureError, match=reason):
        capture(model, (images(2, 3, 6, 6),))
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_a_branch_on_values_is_refused_even_if_the_model_catches_it() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        try:
            return x * 2 if x.sum() > 0 else x
        except RuntimeError:
            return x

    with pytest.raises(CaptureError, match="meta"):
        capture(Fn(forward), (images(1, 3, 4, 4),))


class Keeps(nn.Module):
    """Keeps state in every way a module can."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls, self.seen = how, 0, []
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.how == "last":
            self.last = x
        elif self.how == "seen":
            self.seen.append(x)
        elif self.how == "total":
            self.total = self.total + x.sum()
        return x * 2


@pytest.mark.parametrize("how", ["last", "seen", "total", "nothing"])
def test_a_model_that_keeps_tensors_is_refused_and_restored(how: str) -> None:
    inner = Keeps(how)
    total = inner.total
    model = nn.Sequential(nn.ReLU(), inner)
    if how == "nothing":
        capture(model, (images(1, 3, 4, 4),))
    else:
        with pytest.raises(CaptureError, match=rf"keeps a tensor in 1\.{how}"):
            capture(model, (images(1, 3, 4, 4),))
    assert not hasattr(inner, "last")
    assert inner.seen == []
    assert inner.total is total
    assert inner.calls == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused() -> None:
    scripted = torch.jit.trace(nn.Conv2d(3, 3, 1), images(1, 3, 4, 4))
    with pytest.raises(CaptureError, match="0 is TorchScript"):
        capture(nn.Sequential(scripted, nn.ReLU()), (images(1, 3, 4, 4),))


def test_hooks_and_hidden_tensors_are_refused() -> None:
    x = images(1, 3, 4, 4)
    model = net()
    model[2].register_forward_hook(lambda module, args, result: None)
    with pytest.raises(CaptureError, match="2 has a forward hook"):
        capture(model, (images(1, 3, 8, 8),))

    class Box:
        def __init__(self, x: Tensor) -> None:
            self.x = x

    with pytest.raises(CaptureError, match="an argument is a Box"):
        capture(Fn(lambda self, x, box: x + box.x), (x, Box(x)))
    with pytest.raises(CaptureError, match="returns a Box"):
        capture(Fn(lambda self, x: Box(x)), (x,))


def test_hooks_are_gone_after_a_refusal() -> None:
    with pytest.raises(CaptureError):
        capture(Fn(lambda self, x: x.sum().item()), (images(1, 3, 4, 4),))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


# --- sizes


def test_view_by_batch_size_is_a_flatten_for_every_shape() -> None:
    model = Fn(lambda self, x: F.relu(x).view(x.size(0), -1))
    graph = captured(model, images(2, 3, 4, 4), images(5, 3, 6, 2), images(1, 3, 1, 1))
    assert graph.sizes_read
    assert graph.has(flatten=1, reshape=0)


def test_view_to_literal_features_is_a_flatten_under_a_guard() -> None:
    model = Fn(lambda self, x: F.relu(x).view(-1, 48))
    graph = captured(model, images(2, 3, 4, 4), images(5, 3, 2, 8))
    assert graph.has(flatten=1)
    with pytest.raises(ir.ShapeError, match="captured where"):
        ir.infer_shapes(graph, [(2, 3, 8, 8)])
    assert captured(model, images(2, 3, 8, 8)).has(reshape=1)


def test_sizes_are_computed_again() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = F.interpolate(F.avg_pool2d(x, 2), size=x.shape[-2:])
        return (y + torch.ones(h, w + 0)).reshape(n, c, h * w).narrow(2, 0, h * w // 2)

    graph = captured(Fn(forward), images(2, 3, 8, 6), images(1, 3, 5, 7), images(3, 3, 2, 2))
    assert graph.sizes_read


def test_a_branch_on_a_size_is_guarded() -> None:
    model = Fn(lambda self, x: F.relu(x) if x.shape[2] > 4 and x.size(0) else torch.sigmoid(x))
    graph = captured(model, images(2, 3, 5, 5), images(1, 3, 9, 5))
    assert len(graph.guards) == 2
    with pytest.raises(ir.ShapeError):
        ir.run_torch(graph, [images(2, 3, 4, 5)])


def test_second_capture_tells_generic_from_specialised() -> None:
    generic = Fn(lambda self, x: x.reshape(x.shape[0], x.shape[1], -1) * 2)
    hidden = Fn(lambda self, x: sum((x * i for i in range(x.shape[0])), x))
    added = Fn(lambda self, x: x + torch.linspace(0, 1, x.shape[3]))
    a, b = (images(2, 3, 4, 4),), (images(3, 3, 5, 6),)
    assert ir.same_structure(capture(added, a), capture(added, b))
    assert ir.same_structure(capture(generic, a), capture(generic, b))
    assert not ir.same_structure(capture(hidden, a), capture(hidden, b))
    shaped = Fn(lambda self, x: F.relu(x) + torch.full((1,), float(x.shape[2])))
    assert not ir.same_structure(capture(shaped, a), capture(shaped, b))


def test_dim_arithmetic_and_guards() -> None:
    h = ir.Dim(6, ir.Size(0, 2))
    with ir.recording_guards() as guards:
        value = (2 * h - 1) // 3 % 5 + (10 - h)
        assert isinstance(value, ir.Dim)
        assert not guards
        assert ir.evaluate(value.expr, {0: (1, 1, 9)}) == (2 * 9 - 1) // 3 % 5 + 1
        assert max(h, 4) is h
        assert h / 4 == 1.5
        assert [0] * h == [0] * 6
    assert [str(g) for g in guards] == ["not 4 > size(%0, 2)", "size(%0, 2) == 6"] or len(
        guards
    ) == 2
    assert all(g.holds({0: (1, 1, 6)}) for g in guards)
    assert not all(g.holds({0: (1, 1, 7)}) for g in guards)


# --- inputs and outputs


@dataclass
class Pair:
    first: Tensor
    rest: list[Tensor]
    label: str = "pair"


Named = namedtuple("Named", ["a", "b"])


def test_outputs_keep_their_structure() -> None:
    def forward(self: Fn, x: Tensor) -> object:
        y = F.relu(x)
        pair = Pair(y * 2, [y * 3, y])
        return {
            "pair": pair,
            "named": Named(y, None),
            "n": x.shape[0],
            "text": "t",
            "w": self.conv.weight,
        }

    model, x = Fn(forward, conv=nn.Conv2d(1, 1, 1)), images(2, 3, 4, 4)
    graph = capture(model, (x,))
    for inputs in (x, images(5, 3, 4, 4)):
        result, expected = ir.run_torch(graph, [inputs]), model(inputs)
        assert list(result) == list(expected)
        assert isinstance(result["pair"], Pair)
        assert isinstance(result["named"], Named)
        assert (result["n"], result["text"], result["named"].b) == (len(inputs), "t", None)
        assert result["w"] is model.conv.weight
        assert result["pair"].rest[1] is result["named"].a
        torch.testing.assert_close(result["pair"].rest, expected["pair"].rest)


def test_pass_through_and_aliased_outputs() -> None:
    def forward(self: Fn, x: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(x)
        return x, x.flatten(1)[:, 1:], y, y.view(-1), y + 1, x.clone()

    x = images(2, 3, 4, 4)
    graph = capture(Fn(forward), (x,))
    got, expected = ir.run_torch(graph, [x]), Fn(forward)(x)
    torch.testing.assert_close(got, expected)
    assert got[0] is x
    assert got[1].data_ptr() == expected[1].data_ptr()
    assert got[3].data_ptr() == got[2].data_ptr()
    assert got[5].data_ptr() != x.data_ptr()
    values = graph.output_values()
    assert values[0] == graph.inputs[0]
    assert {values[1], values[3]} <= graph.aliased
    assert not graph.aliased & {values[0], values[4], values[5]}


def test_several_keyword_and_constant_inputs() -> None:
    def forward(
        self: Fn, x: Tensor, *, scale: Tensor, mode: str = "a", pair: list[Tensor]
    ) -> Tensor:
        return (x + pair[0]) * scale if mode == "a" else x

    x, s, p = images(2, 3, 4, 4), torch.tensor(2.0), images(2, 3, 4, 4)
    kwargs = {"scale": s, "mode": "a", "pair": [p]}
    graph = capture(Fn(forward), (x,), kwargs)
    tensors = graph.input_tree.tensors((x,), kwargs)
    assert tensors is not None
    torch.testing.assert_close(ir.run_torch(graph, tensors), (x + p) * s)
    assert graph.input_tree.tensors((x,), {**kwargs, "mode": "b"}) is None
    assert graph.input_tree.tensors((x, x), kwargs) is None


def test_device_dtype_and_factories_are_the_real_ones() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        assert x.device.type == "cpu"
        assert not x.is_meta
        mask = torch.arange(x.shape[3], device=x.device) % 2
        return x.to(x.device) * mask.to(x.dtype)

    captured(Fn(forward), images(2, 3, 4, 5), images(1, 3, 4, 8))


def test_computed_weights_stay_torch() -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    graph = captured(conv, images(1, 3, 8, 8))
    assert graph.has(conv2d=0)
    assert any("computed" in n.op.reason for n in graph.nodes if isinstance(n.op, ir.Torch))


def test_capture_inside_inference_mode() -> None:
    with torch.inference_mode():
        graph = capture(net(), (images(1, 3, 8, 8),))
    assert graph.has(conv2d=1, torch=0)


def test_captures_in_several_threads_do_not_mix() -> None:
    models = [nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(20 + i))).eval() for i in range(4)]
    x = images(1, 3, 4, 4)
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda model: capture(model, (x,)), models * 5))
    for model, graph in zip(models * 5, graphs, strict=True):
        assert [node.path for node in graph.nodes] == [str(i) for i in range(len(model))]


def test_verify_names_the_bad_node() -> None:
    graph = capture(net(), (images(1, 3, 8, 8),))
    with pytest.raises(ir.GraphError, match=r"node 0, .*batch_norm.*before it is defined"):
        ir.verify(graph.replace(nodes=graph.nodes[1:]))
    with pytest.raises(ir.GraphError, match="a second time"):
        ir.verify(graph.replace(nodes=(graph.nodes[0], *graph.nodes)))
