"""What goes torch's way, with torch's own results: autocast, other dtypes, tensor subclasses, torch.func, tracing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import conv_bn, settle
from torch import Tensor, nn
from torch.autograd import forward_ad

import pycnn


class Marked(Tensor):
    """A subclass that torch hands on to every result."""


@pytest.fixture
def net() -> nn.Module:
    return settle(nn.Sequential(*conv_bn(3, 8), nn.ReLU(), nn.Conv2d(8, 4, 1)))


def test_autocast(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        plain = fast(x), fast(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert fast(x).dtype == torch.bfloat16 and torch.equal(fast(x), net(x))
            assert "autocast" in pycnn.explain(fast, x).fallbacks[0]
        assert torch.equal(fast(x), plain[0])


def test_fp64(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net.double()), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(fast(x), net(x))
        assert all("float64" in found for found in pycnn.explain(fast, x).fallbacks)
        assert pycnn.explain(fast, x).fallbacks


def test_an_input_of_a_subclass(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        fast(x)
        y = fast(x.as_subclass(Marked))
        assert type(y) is Marked and torch.equal(y, net(x.as_subclass(Marked)))
        assert "Marked" in pycnn.explain(fast, x.as_subclass(Marked)).fallbacks[0]


@pytest.mark.parametrize("called_before", [False, True])
def test_a_parameter_of_a_subclass(net: nn.Module, called_before: bool) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        if called_before:
            fast(x), fast(x)
        net[3].weight = nn.Parameter(net[3].weight.detach().as_subclass(Marked))
        assert type(fast(x)) is Marked and torch.equal(fast(x), net(x))
        assert "3.weight is a Marked, not a plain tensor" in pycnn.explain(fast, x).fallbacks[0]


def _dual(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
        assert tangent is not None
        return tangent


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "vmap": lambda f, x: torch.vmap(f)(x[None]),
    "grad": lambda f, x: torch.func.grad(lambda z: f(z).sum())(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,))[1],
    "forward mode": _dual,
}


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_functions(net: nn.Module, name: str, called_before: bool) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        if called_before:
            fast(x), fast(x)
        if name in ("vmap", "forward mode"):  # they reach the direct call too
            torch.testing.assert_close(TRANSFORMS[name](fast, x), TRANSFORMS[name](net, x))
    torch.testing.assert_close(TRANSFORMS[name](fast, x), TRANSFORMS[name](net, x))


def test_replaced_parameters_of_a_functional_call(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    zeros = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    with torch.no_grad():
        before = fast(x), fast(x)
        assert torch.func.functional_call(fast, zeros, (x,)).abs().max() == 0
        assert torch.equal(fast(x), before[0])


def test_tracing_and_compiling_see_torch(net: nn.Module) -> None:
    """Both of a module whose plan is at hand: what they record is torch's ops, not a call that they cannot see."""
    fast, x, other = pycnn.optimize(net), torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        fast(x), fast(x)
        traced = torch.jit.trace(fast, x)
        compiled = torch.compile(fast, backend="eager", fullgraph=True)
        assert torch.equal(traced(other), net(other))
        assert torch.equal(compiled(other), net(other))


def test_hooks_that_come_later_run(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        y = fast(x)
        assert torch.equal(fast(x), y)
        for register in (
            fast.register_forward_hook,
            nn.modules.module.register_module_forward_hook,
        ):
            handle = register(lambda module, args, result: result + 1 if module is fast else None)
            torch.testing.assert_close(fast(x), y + 1)
            handle.remove()
            assert torch.equal(fast(x), y)


def test_a_tensor_whose_negation_is_still_to_be_done(net: nn.Module) -> None:
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        y = fast(-x), fast(-x)
        assert torch.equal(fast(torch._neg_view(x)), y[0])
