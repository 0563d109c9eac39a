"""`train()` is the original module; copies, hooks and submodules are the model's; pickling points to `save`."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from nets import Branches, error, settle, truth
from torch import nn

import pycnn


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_copies(how: Callable[[nn.Module], nn.Module]) -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 20, 20)
    with torch.inference_mode():
        y = opt(x)
        twin = how(opt)
        assert isinstance(twin, pycnn.OptimizedModule) and torch.equal(twin(x), y)
    shared = twin.head.weight.data_ptr() == net.head.weight.data_ptr()
    assert shared is (how is copy.copy)


@pytest.mark.parametrize("write", [pickle.dumps, lambda opt: torch.save(opt, io.BytesIO())])
def test_pickling_points_to_save(write: Callable[[nn.Module], object]) -> None:
    net = settle(Branches())
    with pytest.raises(TypeError, match=r"an optimised Branches is not pickled: pycnn\.save\(fast"):
        write(nn.Sequential(pycnn.optimize(net)))
    pickle.loads(pickle.dumps(net))


def test_hooks_fire() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 20, 20)
    seen = []
    with torch.inference_mode():
        y = opt(x)
        opt.register_forward_hook(lambda m, args, out: seen.append(out))
        assert torch.equal(opt(x), y)
    assert len(seen) == 1 and torch.equal(seen[0], y)


def test_training_with_frozen_batch_norms_follows_torchs() -> None:
    net = settle(Branches())
    twin = copy.deepcopy(net)
    fast = pycnn.optimize(net)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05) for m in (fast, twin)]
    for module in (fast, twin):
        module.train()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    for step in range(3):
        x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(step))
        for module, optimizer in zip((fast, twin), optimizers, strict=True):
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    fast.eval()
    with torch.inference_mode():
        assert error(fast(x), truth(twin, x)) <= 1e-5


def test_submodules_and_keys_are_the_models() -> None:
    net = settle(Branches())
    fast = pycnn.optimize(net)
    assert fast.head is net.head and fast.get_submodule("stem.0") is net.stem[0]
    assert list(fast.state_dict()) == list(net.state_dict())
    fast.head = nn.Linear(24 * 9, 3)
    assert net.head is fast.head
    fast.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_hooks_of_all_modules_see_each_of_them() -> None:
    net = settle(Branches())
    fast, x, seen = pycnn.optimize(net), torch.randn(1, 3, 20, 20), set()
    with torch.inference_mode():
        expected = fast(x), fast(x)
        hook = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.add(m))
        try:
            torch.testing.assert_close(fast(x), expected[0])
        finally:
            hook.remove()
        assert {net.stem, net.head, net.mix[0]} <= seen
        seen.clear()
        assert torch.equal(fast(x), expected[0]) and not seen


def test_backward_hooks_of_submodules_fire() -> None:
    net = settle(Branches())
    fast, x, seen = pycnn.optimize(net), torch.randn(1, 3, 20, 20, requires_grad=True), []
    net.head.register_full_backward_hook(lambda m, *_: seen.append(m))
    fast(x).sum().backward()
    assert seen == [net.head]
