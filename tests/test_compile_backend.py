"""torch.compile(model, backend="pycnn"): the same promises as optimize, through dynamo's graphs."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Branches, Outputs, Views, conv_bn, error, settle, truth
from torch import Tensor, nn

from pycnn.backend import compile_graph
from pycnn.optimize import OptimizedModule


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The plans' runs: empty if everything went through torch."""
    runs: list[Any] = []
    run = OptimizedModule._run

    def counted(self: OptimizedModule, compiled: Any, inputs: Any) -> Any:
        runs.append(compiled)
        return run(self, compiled, inputs)

    monkeypatch.setattr(OptimizedModule, "_run", counted)
    return runs


def compiled(net: nn.Module, **options: Any) -> Any:
    return torch.compile(net, backend=compile_graph, **options)


ROOT = Path(__file__).parents[1]
ALONE = """
import sys, torch
from torch import nn
assert "pycnn" in torch._dynamo.list_backends(), torch._dynamo.list_backends()
assert not any(name.partition(".")[0] == "pycnn" for name in sys.modules)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
fast, x = torch.compile(net, backend="pycnn"), torch.randn(2, 3, 16, 16)
with torch.inference_mode():
    torch.testing.assert_close(fast(x), net(x))
assert "pycnn.planning.program" in sys.modules
"""


def test_found_without_importing_pycnn(tmp_path: Path) -> None:
    """The metadata that an installation writes is enough: nobody says `import pycnn`."""
    made = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
    script = f"import sys\nsys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n" + ALONE
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("make", [Branches, Views])
def test_any_shape(make: type[nn.Module], planned: list[Any]) -> None:
    net = settle(make())
    fast = compiled(net)
    with torch.inference_mode():
        for shape in ((2, 3, 20, 20), (1, 3, 33, 21), (3, 3, 8, 12), (5, 3, 40, 24)):
            x = torch.randn(shape)
            y, expected = fast(x), net(x)
            assert error(y, truth(net, x)) <= 1e-5
            assert y.stride() == expected.stride()
    assert len(planned) == 4


def test_symbolic_sizes_are_read_from_the_tensors(planned: list[Any]) -> None:
    """One graph of dynamo's, in which sizes are inputs, is one graph of ours for every size."""
    net = settle(Views())
    fast = compiled(net, dynamic=True, fullgraph=True)
    with torch.inference_mode():
        for n, h, w in ((2, 20, 24), (3, 12, 16), (4, 31, 18)):
            x = torch.randn(n, 3, h, w)
            assert error(fast(x), truth(net, x)) <= 1e-5
    assert len(planned) == 3 and len({id(plan.program) for plan in planned}) == 1


def test_outputs_keep_their_structure() -> None:
    net = settle(Outputs())
    fast, x = compiled(net, fullgraph=True), torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        y, expected = fast(x, scale=2.0), net(x, scale=2.0)
    assert list(y) == list(expected) and y["pair"][1] == 7 and y["input"] is x
    torch.testing.assert_close(y["map"], expected["map"])
    torch.testing.assert_close(y["pair"][0], expected["pair"][0])


class Breaks(nn.Module):
    """Control flow on values: two graphs, and one of them not a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_bn(3, 8), conv_bn(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        if y.mean() > 0.1:
            y = y * 0.5
        return self.second(y).flatten(1)


def test_several_graphs(planned: list[Any]) -> None:
    net = settle(Breaks())
    fast = compiled(net)
    with torch.inference_mode():
        for scale in (1.0, 1e-3, 1.0):
            x = torch.randn(2, 3, 12, 12) * scale
            assert error(fast(x), truth(net, x)) <= 1e-5
    assert len({id(plan.program) for plan in planned}) >= 2
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(net, fullgraph=True)(torch.randn(2, 3, 12, 12))


@pytest.mark.parametrize(
    "net",
    [nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)), nn.Softmax(1), nn.Identity()],
)
def test_no_convolution(net: nn.Module) -> None:
    x = torch.randn(3, 6)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(net.eval())(x), net(x))


def test_functions_and_their_weights() -> None:
    """A weight that is an argument is an input like any other."""
    weight = torch.randn(4, 3, 3, 3)

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return torch.relu(torch.nn.functional.conv2d(x, weight, padding=1))

    fast, x = torch.compile(call, backend=compile_graph), torch.randn(1, 3, 8, 8)
    for w in (weight, weight * 2, -weight):
        torch.testing.assert_close(fast(x, w), call(x, w))


def _train(net: nn.Module) -> None:
    net.train()
    net(torch.randn(4, 3, 12, 12) * 3)
    net.eval()


@pytest.mark.parametrize("edit", ["in_place", "replaced", "set_data", "assign", "trained"])
def test_edits_of_weights_are_noticed(edit: str) -> None:
    net, x = settle(Branches()), torch.randn(2, 3, 12, 12)
    fast = compiled(net)
    with torch.no_grad():
        before = [fast(x), fast(x)][1]
        {
            "in_place": lambda: net.stem[0][0].weight.mul_(1.5),
            "replaced": lambda: setattr(net.mix[0], "bias", nn.Parameter(torch.randn(24))),
            "set_data": lambda: setattr(net.head.weight, "data", torch.randn(10, 24 * 9)),
            "assign": lambda: net.load_state_dict(settle(Branches()).state_dict(), assign=True),
            "trained": lambda: _train(net),
        }[edit]()
        y = fast(x)
    ref = truth(net, x)
    assert error(before, ref) > 1e-3, "the edit must matter"
    assert error(y, ref) <= 1e-5


def test_two_modules_of_a_class_keep_their_weights_apart() -> None:
    nets = [settle(conv_bn(3, 8)) for _ in range(2)]
    for net in nets:
        net.compile(backend=compile_graph)
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        for net in nets * 3:
            assert error(net(x), truth(net, x)) <= 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_torchs(training: bool) -> None:
    net = settle(Branches()).train(training)
    twin = copy.deepcopy(net)
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    y, expected = compiled(net)(x), twin(z)
    assert (torch.equal if training else torch.allclose)(y, expected)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad)
    assert torch.equal(x.grad, z.grad)
    for (name, p), q in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        assert torch.equal(p.grad, q[1].grad), name
    for b, c in zip(net.buffers(), twin.buffers(), strict=True):
        assert torch.equal(b, c)


def test_training_then_inference() -> None:
    net, x = settle(Branches()), torch.randn(4, 3, 12, 12)
    fast = compiled(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        net.train()
        optimizer.zero_grad()
        fast(x).square().mean().backward()
        optimizer.step()
        net.eval()
        with torch.no_grad():
            assert error(fast(x), truth(net, x)) <= 1e-5


def test_autocast_goes_torchs_way() -> None:
    net, x = settle(conv_bn(3, 8)), torch.randn(1, 3, 8, 8)

    def call(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = net[0](x)
        return y

    with torch.inference_mode():
        y = torch.compile(call, backend=compile_graph)(x)
        assert y.dtype == torch.bfloat16 and torch.equal(y, call(x))


def test_options() -> None:
    x = torch.randn(1, 3, 12, 12)
    net = settle(nn.Sequential(nn.Conv2d(3, 8, 3), nn.LPPool2d(2, 2)))
    with torch.inference_mode():
        torch.testing.assert_close(compiled(net, options={"threads": 1, "exact": True})(x), net(x))
        with pytest.raises(NotImplementedError, match=r"lp_pool2d in 1"):
            compiled(net, options={"strict": True})(x)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fast": True}, r"unknown option 'fast'; the options are those of pycnn.optimize: exact,"),
        ({"threads": 0}, "threads=0 must be a positive integer"),
        ({"exact": 1}, "exact must be a bool"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match=sentence):
        compiled(conv_bn(3, 4).eval(), options=options)(torch.randn(1, 3, 8, 8))


def test_a_mode_is_ignored_aloud() -> None:
    net, x = settle(conv_bn(3, 8)), torch.randn(1, 3, 8, 8)
    fast = compiled(net, mode="max-autotune")
    with torch.inference_mode(), pytest.warns(UserWarning, match="mode='max-autotune' is ignored"):
        torch.testing.assert_close(fast(x), net(x))


def test_the_caller_s_int_is_an_argument() -> None:
    class Repeat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor, scale: int) -> Tensor:
            return self.conv(x) * scale

    net = Repeat().eval()
    fast, x = compiled(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        for scale in (2, 3, 5, 7):
            torch.testing.assert_close(fast(x, scale), net(x, scale))
