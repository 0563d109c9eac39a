"""Weights may change at any time: the next call sees it, and packs again only what changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import Branches, conv_bn, error, settle, truth
from torch import nn

import pycnn

Edit = Callable[[nn.Module], object]


def _step(net: nn.Module) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.randn(2, 3, 12, 12)).square().mean().backward()
    optimizer.step()


def _set_data(net: nn.Module) -> None:
    net.head.weight.data = torch.randn_like(net.head.weight)


def _statistics(net: nn.Module) -> None:
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 12, 12) * 3)
    net.eval()


EDITS: dict[str, Edit] = {
    "load_state_dict": lambda net: net.load_state_dict(settle(Branches()).state_dict()),
    "load_assign": lambda net: net.load_state_dict(settle(Branches()).state_dict(), assign=True),
    "optimizer": _step,
    "in_place": torch.no_grad()(lambda net: net.stem[0][0].weight.mul_(1.5)),
    "bias_in_place": torch.no_grad()(lambda net: net.mix[0].bias.add_(1)),
    "set_data": _set_data,
    "new_parameter": lambda net: setattr(net.head, "bias", nn.Parameter(torch.randn(10))),
    "new_submodule": lambda net: setattr(net, "head", nn.Linear(24 * 9, 7)),
    "statistics": _statistics,
    "running_var": lambda net: net.stem[0][1].running_var.mul_(2),
}


@pytest.mark.parametrize("through", ["model", "optimised"])
@pytest.mark.parametrize("edit", EDITS)
def test_edits_are_noticed(edit: str, through: str) -> None:
    net = settle(Branches())
    opt = pycnn.optimize(net)
    x = torch.randn(2, 3, 12, 12)
    with torch.inference_mode():
        opt(x), opt(x)
        before = opt(x)
    EDITS[edit](net if through == "model" else opt)
    with torch.inference_mode():
        y = opt(x)
    ref = truth(net, x)
    assert y.shape != before.shape or error(before, ref) > 1e-3, "the edit must matter"
    assert error(y, ref) <= 1e-5
    with torch.inference_mode():
        assert torch.equal(opt(x), y)


def test_in_place_edit_through_data_needs_refresh() -> None:
    """`p.data.mul_()` bumps no version: the promise is refresh(), and that it suffices."""
    net = settle(conv_bn(3, 8))
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        opt(x)
        net[0].weight.detach().data.mul_(2)
        opt.refresh()
        assert error(opt(x), truth(net, x)) <= 1e-5


def test_only_what_changed_is_packed_again() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 12, 12)
    with torch.inference_mode():
        opt(x)
        before = dict(opt._compiled.match.program.weights._packed)
        net.head.weight.mul_(2)
        opt(x)
        after = opt._compiled.match.program.weights._packed
    same = [key for key in before if after[key][1] is before[key][1]]
    assert len(before) - len(same) == 1


def test_train_then_eval() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(4, 3, 12, 12)
    with torch.inference_mode():
        opt(x)
    opt.train()
    assert net.training and opt.training and net.stem[0][1].training
    torch.manual_seed(0)
    y = opt(x)
    opt.eval()
    assert not net.training and y.requires_grad
    with torch.inference_mode():
        assert error(opt(x), truth(net, x)) <= 1e-5


def test_one_batch_norm_in_train_mode_is_exact() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(4, 3, 12, 12)
    with torch.inference_mode():
        opt(x)
    net.b[1].train()
    twin = settle(Branches())
    twin.load_state_dict(net.state_dict())
    twin.b[1].train()
    with torch.inference_mode():
        assert error(opt(x), twin(x).double()) <= 1e-5
    torch.testing.assert_close(net.b[1].running_mean, twin.b[1].running_mean)
    assert net.b[1].num_batches_tracked == 1


def test_to_another_dtype_and_back() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 12, 12)
    with torch.inference_mode():
        opt(x)
        opt.double()
        assert opt(x.double()).dtype == torch.float64
        opt.float()
        assert error(opt(x), truth(net, x)) <= 1e-5


SETTINGS: dict[str, Edit] = {
    "eps": lambda net: setattr(net[1], "eps", 0.5),
    "stride": lambda net: setattr(net[0], "stride", (2, 2)),
    "a function": lambda net: setattr(net, "last", torch.sigmoid),
    "a method": lambda net: setattr(net[1], "forward", lambda x: x),
    "another layer": lambda net: net.append(nn.Sigmoid()),
    "a layer less": lambda net: net.pop(1),
}


class WithLast(nn.Sequential):
    """A network with a setting of its own."""

    last = staticmethod(torch.relu)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(super().forward(x))


@pytest.mark.parametrize("edit", SETTINGS)
def test_settings_of_modules_are_noticed(edit: str) -> None:
    net = settle(WithLast(*conv_bn(3, 8)))
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        before = fast(x), fast(x)
        SETTINGS[edit](net)
        y, own = fast(x), net(x)
        assert y.shape == own.shape and error(y, truth(net, x)) <= 1e-5
        assert y.shape != before[0].shape or error(before[0], own) > 1e-3, "the edit must matter"


def test_a_setting_that_is_set_to_what_it_was_or_is_private_costs_no_second_plan() -> None:
    net = settle(conv_bn(3, 8))
    fast, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        fast(x)
        first = fast._compiled.match
        net[1].eps = net[1].eps
        net[0]._version_of_mine = None
        del net[0]._version_of_mine
        fast(x)
    assert fast._compiled.match is first


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_set_on_a_submodule_later_runs_and_may_be_taken_off_again(register: str) -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    fast, x, seen = pycnn.optimize(net), torch.randn(1, 3, 8, 8), []
    with torch.inference_mode():
        expected = fast(x)
        assert not seen
        handle = getattr(net[1], register)(lambda module, *_: seen.append(module))
        for calls in (1, 2):
            assert torch.allclose(fast(x), expected, atol=1e-5)
            assert seen == [net[1]] * calls
        handle.remove()
        assert torch.equal(fast(x), expected)
    assert len(seen) == 2
